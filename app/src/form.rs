//! The one way in which a page changes something: a real form that posts to the page's own address.
//!
//! Without scripts the server runs the server function named in `?do=` and renders the same page again with a
//! [`PostOutcome`] in context. With scripts [`PostForm`] intercepts the submission and calls the same function by
//! `fetch`. Either way a page reads the outcome from its [`Form`] and does not know which of the two it was.

use core::marker::PhantomData;

use crate::erase::Erase as _;
use leptos::{
    ev::SubmitEvent,
    form::form_data_from_event,
    prelude::*,
    reactive::owner::{Owner, use_context},
    task::spawn_local,
    web_sys::UrlSearchParams,
};
use leptos_router::hooks::use_location;
use model::{AppError, ErrorKind, error::OTHER_ORGANISATION};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use server_fn::ServerFn;

use crate::{
    call::{post, read, read_error},
    state::Refresh,
};

/// What a form post led to, when the answer to it is a page. The server provides it in context; the browser finds it
/// in the page while it hydrates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostOutcome {
    /// The server function's endpoint: `update_org`.
    pub function: String,
    /// The HTTP status of the answer.
    pub status: u16,
    /// JSON: the function's output when it succeeded, else an [`AppError`].
    pub result: String,
    /// What was typed, without passwords and other secrets.
    pub fields: Vec<(String, String)>,
}

impl PostOutcome {
    /// Whether the function succeeded.
    pub const fn is_ok(&self) -> bool {
        self.status < 400
    }
}

/// The hidden field with the organisation that a form was made in: it changes that one or, if another is in view by
/// then, none.
pub const MADE_IN: &str = "made_in_org";

/// Whether what was typed into the field `name` must not travel back: passwords, secrets and header values.
pub fn is_secret_field(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["password", "secret", "value_", "token", "header_value"].iter().any(|word| name.contains(word))
        || matches!(name.as_str(), "pin" | "new_pin" | "again_pin" | "code" | "passkey")
}

/// A server function that a form can call: declared with `#[server(prefix = "/api", endpoint = "…")]`, returning
/// `Result<T, AppError>`. Implemented for all of them.
pub trait Act: ServerFn<Error = AppError, Output: DeserializeOwned + 'static> + 'static {}

impl<S> Act for S where S: ServerFn<Error = AppError, Output: DeserializeOwned + 'static> + 'static {}

/// What a form's components need, whatever function it calls. Copy; made from a [`Form`].
#[derive(Clone, Copy)]
pub struct FormCore {
    function: &'static str,
    key: StoredValue<Option<(&'static str, String)>>,
    pending: RwSignal<bool>,
    error: RwSignal<Option<AppError>>,
    failures: RwSignal<u32>,
    values: StoredValue<Vec<(String, String)>>,
    ok: RwSignal<Option<String>>,
    path: Option<&'static str>,
    refresh: Option<Refresh>,
}

impl FormCore {
    /// A form that calls nothing, to show components in the gallery and in tests.
    pub fn inert(function: &'static str, error: Option<AppError>, values: Vec<(String, String)>) -> Self {
        Self {
            function,
            key: StoredValue::new(None),
            pending: RwSignal::new(false),
            error: RwSignal::new(error),
            failures: RwSignal::new(0),
            values: StoredValue::new(values),
            ok: RwSignal::new(None),
            path: None,
            refresh: None,
        }
    }

    /// The form that calls the server function at `path`: the same code for all of them.
    #[inline(never)]
    fn of(path: &'static str, key: Option<(&'static str, String)>) -> Self {
        let function = path.rsplit('/').next().unwrap_or_default();
        let outcome = outcome_for(function, key.as_ref());
        let (result, values) = outcome.map_or((None, Vec::new()), |o| {
            (Some(if o.is_ok() { Ok(o.result) } else { Err(read_error(&o.result)) }), o.fields)
        });
        let (ok, error) = match result {
            Some(Ok(json)) => (Some(json), None),
            Some(Err(error)) => (None, Some(error)),
            None => (None, None),
        };
        let refresh = use_context::<Refresh>();
        if let (Some(refresh), true) = (refresh, error.is_some()) {
            refresh.note_failure(true);
        }
        Self {
            key: StoredValue::new(key),
            ok: RwSignal::new(ok),
            path: Some(path),
            refresh,
            ..Self::inert(function, error, values)
        }
    }

    /// The failure of the last submission.
    pub fn error(self) -> Signal<Option<AppError>> {
        self.error.into()
    }

    /// What the last submission said about one field.
    pub fn error_at(self, name: &str) -> Signal<Option<String>> {
        let name = name.to_owned();
        let error = self.error;
        Signal::derive(move || error.with(|e| e.as_ref().and_then(|e| e.at(&name).map(str::to_owned))))
    }

    /// Whether a submission is under way.
    pub fn pending(self) -> Signal<bool> {
        self.pending.into()
    }

    /// What was typed into a field before the page was rendered again, if it was.
    pub fn value_of(self, name: &str) -> Option<String> {
        self.values.with_value(|values| values.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone()))
    }

    /// All values of a field that can come more than once (`connectors[]`), or `None` when nothing was submitted.
    pub fn values_of(self, name: &str) -> Option<Vec<String>> {
        self.values.with_value(|values| {
            (!values.is_empty())
                .then(|| values.iter().filter(|(n, _)| n == name).map(|(_, v)| v.clone()).collect())
        })
    }

    /// The id of the control for a field; the error summary links to it.
    pub fn id_of(self, name: &str) -> String {
        let mut id = self.function.to_owned();
        let mut push = |part: &str| {
            id.push('-');
            id.extend(part.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_'));
        };
        self.key.with_value(|key| {
            if let Some((_, value)) = key {
                push(value);
            }
        });
        push(name);
        id
    }

    /// The page's own address with `?do=`, other parameters kept.
    fn action(self, path: &str, search: &str) -> String {
        let mut action = format!("{path}?");
        for pair in search.trim_start_matches('?').split('&') {
            if !pair.is_empty() && !pair.starts_with("do=") && !pair.starts_with("notice=") {
                action.push_str(pair);
                action.push('&');
            }
        }
        action.push_str("do=");
        action.push_str(self.function);
        action
    }

    fn submit(self, event: SubmitEvent) {
        let Some(path) = self.path.filter(|_| !event.default_prevented()) else { return };
        event.prevent_default();
        // A second click while the first is under way is the same wish.
        if self.pending.get_untracked() {
            return;
        }
        let Some(fields) = urlencoded(&event) else {
            let error = AppError::new(ErrorKind::Invalid, "bad_form", crate::copy::BAD_FORM);
            return self.finish(Err(error));
        };
        self.pending.set(true);
        spawn_local(async move { self.finish(post(path, fields).await.0) });
    }

    /// The page may be gone by now, and the signals with it: hence `try_`.
    fn finish(self, answer: Result<String, AppError>) {
        let failed = answer.is_err();
        if !failed {
            mark_saved();
        }
        _ = self.pending.try_set(false);
        let error = match answer {
            Ok(json) => {
                _ = self.ok.try_set(Some(json));
                None
            }
            Err(error) => Some(error),
        };
        _ = self.error.try_set(error);
        if failed {
            _ = self.failures.try_update(|n| *n += 1);
        }
        if let Some(refresh) = self.refresh {
            refresh.note_failure(failed);
            if !failed {
                refresh.after_change();
            }
        }
    }
}

/// Takes from the form that is under way what boot.js marks changed forms with.
fn mark_saved() {
    if let Ok(Some(form)) = document().query_selector("form[data-dirty][aria-busy]") {
        _ = form.remove_attribute("data-dirty");
    }
}

/// One form of a page: it submits the arguments of the server function `S`, and knows what came of it.
pub struct Form<S> {
    core: FormCore,
    reads: PhantomData<fn() -> S>,
}

impl<S> Clone for Form<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Form<S> {}

impl<S> core::ops::Deref for Form<S> {
    type Target = FormCore;

    fn deref(&self) -> &FormCore {
        &self.core
    }
}

impl<S> From<Form<S>> for FormCore {
    fn from(form: Form<S>) -> Self {
        form.core
    }
}

impl<S: Act> Form<S> {
    /// What the last successful submission answered, such as a secret that is shown once.
    pub fn ok(self) -> Output<S::Output> {
        Output { json: self.core.ok, reads: PhantomData }
    }

    /// Forgets the answer, so that a secret leaves the page.
    pub fn forget(self) {
        self.core.ok.set(None);
    }
}

/// What a submission answered; read into its type when somebody asks.
pub struct Output<T> {
    json: RwSignal<Option<String>>,
    reads: PhantomData<fn() -> T>,
}

impl<T> Clone for Output<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Output<T> {}

impl<T: DeserializeOwned> Output<T> {
    /// The answer, if there is one. Whoever asks is told when there is another.
    pub fn get(self) -> Option<T> {
        self.json.with(|json| read(json.as_deref()?).ok())
    }
}

/// The form that calls `S`. Call it in the page's `view`, not inside the part that is rendered from loaded data: that
/// part is made anew when the data changes, and an outcome in it would be lost.
pub fn use_form<S: Act>() -> Form<S> {
    make_form(None)
}

/// One of several forms on a page that call the same function, such as one per row. It takes an outcome for its own
/// only if the submitted `field` was `value`; the form has to hold a hidden input with just these.
pub fn use_form_for<S: Act>(field: &'static str, value: impl ToString) -> Form<S> {
    make_form(Some((field, value.to_string())))
}

fn make_form<S: Act>(key: Option<(&'static str, String)>) -> Form<S> {
    Form { core: FormCore::of(S::PATH, key), reads: PhantomData }
}

/// What is in a form with these controls, as it would be sent without scripts.
fn urlencoded(event: &SubmitEvent) -> Option<String> {
    let data = form_data_from_event(event).ok()?;
    let pairs = UrlSearchParams::new_with_str_sequence_sequence(&data).ok()?;
    pairs.to_string().as_string()
}

/// What the page was rendered with. In the browser only while hydrating: on a later visit to the page it is an old story.
fn fresh_outcome() -> Option<PostOutcome> {
    let fresh = cfg!(feature = "ssr")
        || Owner::current_shared_context().is_some_and(|context| context.during_hydration());
    let Outcome(outcome) = use_context::<Outcome>().filter(|_| fresh)?;
    outcome
}

/// What the page was rendered with, if it was this form's doing.
fn outcome_for(function: &str, key: Option<&(&'static str, String)>) -> Option<PostOutcome> {
    fresh_outcome().filter(|o| {
        o.function == function
            && key.is_none_or(|(field, value)| o.fields.iter().any(|(n, v)| n == field && v == value))
    })
}

/// The refusal of a form that was made in another organisation, and the id of that one, if that is what the page was
/// rendered with. The page would belong to the one in view.
pub(crate) fn made_elsewhere() -> Option<(AppError, String)> {
    let outcome = fresh_outcome().filter(|outcome| outcome.status == 409)?;
    let error = Some(read_error(&outcome.result)).filter(|error| error.code == OTHER_ORGANISATION)?;
    let org = outcome.fields.into_iter().find_map(|(name, value)| (name == MADE_IN).then_some(value));
    Some((error, org.unwrap_or_default()))
}

/// The outcome as the app hands it down to forms, the same on both sides of hydration.
#[derive(Clone)]
struct Outcome(Option<PostOutcome>);

/// Hands the server's [`PostOutcome`] to forms and, inside the page, to the browser. Called once, by the app.
pub(crate) fn provide_outcome() {
    let outcome = SharedValue::new(use_context::<PostOutcome>).into_inner();
    provide_context(Outcome(outcome));
}

/// `<form method="post">` to the page's own address. It works without scripts, and before they have arrived.
#[component]
pub fn PostForm(
    /// The form.
    #[prop(into)]
    form: FormCore,
    /// A class for its layout.
    #[prop(optional)]
    class: &'static str,
    /// The fields and the button.
    children: Children,
) -> impl IntoView {
    let location = use_location();
    let action =
        move || location.pathname.with(|path| location.search.with(|search| form.action(path, search)));
    // A page that is left while it is made has let go of both.
    let key = form.key.try_with_value(|key| {
        key.clone().map(|(name, value)| view! { <input type="hidden" name=name value=value /> }.erase())
    });
    let key = key.flatten();
    let org = form.refresh.and_then(|refresh| refresh.org.try_get_value()).filter(|org| !org.is_empty());
    let org = org.map(|org| view! { <input type="hidden" name=MADE_IN value=org /> }.erase());
    view! {
        <form
            class=class
            method="post"
            action=action
            novalidate
            aria-busy=move || form.pending.get().then_some("true")
            on:submit=move |event| form.submit(event)
        >
            {org}
            {key}
            {children()}
        </form>
    }
    .erase()
}

/// What stands above a form whose submission failed: it takes the focus and links to the fields.
#[component]
pub fn ErrorSummary(
    /// The form.
    #[prop(into)]
    form: FormCore,
) -> impl IntoView {
    let node = NodeRef::<leptos::html::Div>::new();
    // Not after hydration: then `autofocus` has done it, and the reader may already be elsewhere.
    Effect::new(move |_| {
        if form.failures.get() > 0
            && let Some(node) = node.get()
        {
            _ = node.focus();
        }
    });
    move || form.error.get().map(|error| error_summary(form, error, node))
}

fn error_summary(form: FormCore, error: AppError, node: NodeRef<leptos::html::Div>) -> AnyView {
    let links = error
        .fields
        .iter()
        .map(|e| {
            let href = format!("#{}", form.id_of(&e.field));
            view! { <li><a href=href rel="external">{e.message.clone()}</a></li> }.erase()
        })
        .collect_view();
    let body = if error.fields.is_empty() {
        view! { <p>{error.message.clone()}</p> }.erase()
    } else {
        view! { <ul>{links}</ul> }.erase()
    };
    let id = crate::components::request_id(&error);
    view! {
        <div class="error-summary" role="alert" tabindex="-1" autofocus node_ref=node>
            <h2>{crate::copy::NOT_SAVED}</h2>
            {body}
            {id}
        </div>
    }
    .erase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_posts_to_its_own_page_and_keeps_the_query() {
        let owner = Owner::new();
        owner.with(|| {
            let form = FormCore::inert("update_org", None, Vec::new());
            assert_eq!(form.action("/settings", ""), "/settings?do=update_org");
            assert_eq!(
                form.action("/sign-in", "next=/a%3Fb&do=old&notice=saved"),
                "/sign-in?next=/a%3Fb&do=update_org"
            );
            assert_eq!(form.id_of("connectors[]"), "update_org-connectors");
        });
    }

    #[test]
    fn secrets_are_not_sent_back() {
        for name in [
            "password",
            "new_password",
            "client_secret",
            "value_0",
            "header_value",
            "Token",
            "pin",
            "new_pin",
            "code",
        ] {
            assert!(is_secret_field(name), "{name}");
        }
        for name in ["name", "email", "header_name", "description", "pinned", "code_challenge"] {
            assert!(!is_secret_field(name), "{name}");
        }
    }
}
