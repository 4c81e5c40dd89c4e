use crate::erase::Erase as _;
use leptos::prelude::*;
use leptos_router::{LazyRoute, hooks::use_query_map, lazy_route};
use model::{
    factors::{PasskeyPurpose, SecondStep},
    orgs::Me,
    paths,
};

use super::{
    api::{
        CompleteSetup, CreateOrg, FinishSignIn, FinishWithPasskey, LoadNewOrg, LoadSetup, LoadSignIn,
        RestartSignIn, SetupStart, SignIn, SignInStart, SignInWithPasskey,
    },
    org_fields::OrgFields,
    refused::Refused,
};
use crate::{
    components::{
        ButtonKind, Callout, Card, Checkbox, EmptyState, LinkButton, PageHeader, PasswordField, SubmitButton,
        TextField, Tone, passkey_button,
    },
    copy,
    form::{ErrorSummary, Form, FormCore, PostForm, use_form},
    page::{Loaded, go, load, load_by, load_by_query, page, page_of_data, path_param, query_param},
    set_status,
};

const NAME_MAX: usize = 64;

/// Log in.
pub struct SignInPage {
    start: Loaded<SignInStart>,
}

#[lazy_route]
impl LazyRoute for SignInPage {
    fn data() -> Self {
        Self { start: load_by_query("next", |next| LoadSignIn { next }) }
    }

    fn view(this: Self) -> AnyView {
        let form = use_form::<SignIn>();
        let passkey = use_form::<SignInWithPasskey>();
        let steps = Steps { finish: use_form(), passkey: use_form(), restart: use_form() };
        let finish = steps.finish;
        // The second step is over: begin again with the password.
        let start = this.start;
        Effect::new(move |_| {
            if finish
                .error()
                .with(|error| error.as_ref().is_some_and(|error| error.code == "second_step_over"))
            {
                start.refetch();
            }
        });
        let (query, asked) = (use_query_map(), query_param("next"));
        page_of_data(this.start, move |start| {
            let next = next_of(Some(&asked.get_untracked()));
            // An app may ask that somebody who is logged in logs in once more.
            let again = query.with_untracked(|query| query.get_str("again").is_some());
            if start.signed_in && !again {
                go(&next);
            }
            let over = finish.error().get().filter(|error| error.code == "second_step_over").map(|error| {
                view! { <Callout tone=Tone::Warn title="You are not logged in"><p>{error.message}</p></Callout> }.erase()
            });
            if let Some(ways) = start.waiting.filter(|_| again || !start.signed_in) {
                return second_step(&steps, ways, start, next);
            }
            if start.set_up { sign_in_form(form, passkey, over, start, next) } else { nobody_yet() }
        })
    }
}

/// Where to go after logging in. Back to here would be a circle.
pub(super) fn next_of(asked: Option<&str>) -> String {
    let next = paths::safe_next(asked);
    if next.starts_with(paths::sign_in()) { paths::overview() } else { next }.to_owned()
}

/// Who has asked to be connected, as it named itself.
fn on_the_way(client: Option<String>) -> Option<AnyView> {
    client.map(|client| {
        view! { <p class="auth-client">"Log in to connect " <strong>{client}</strong> " to " {copy::PRODUCT} "."</p> }.erase()
    })
}

/// What the second step can do.
#[derive(Clone, Copy)]
struct Steps {
    finish: Form<FinishSignIn>,
    passkey: Form<FinishWithPasskey>,
    restart: Form<RestartSignIn>,
}

/// The password was right: now the second factor.
fn second_step(steps: &Steps, ways: SecondStep, start: SignInStart, next: String) -> AnyView {
    let Steps { finish, passkey, restart } = *steps;
    let SignInStart { csrf, client, trust: offered, .. } = start;
    let trust = move |form: FormCore| {
        offered.then(|| {
            view! { <Checkbox form=form name="trust" label="Trust this browser for 30 days" hint="Your password alone logs you in here then. Not on a computer that others use." /> }.erase()
        })
    };
    let (csrf_again, next_again) = (csrf.clone(), next.clone());
    let by_passkey = (ways.passkey && start.passkeys).then(|| {
        let label = "Use a passkey";
        let trust = trust(passkey.into());
        passkey_form(passkey.into(), PasskeyPurpose::SecondStep, label, (csrf.clone(), next.clone()), trust)
    });
    let hint = if ways.app {
        "The six digits that your authenticator app shows, or one of your backup codes."
    } else {
        "One of your backup codes, if your passkey is not at hand."
    };
    let lost = if ways.app {
        "Lost your phone? A backup code works once in place of the app."
    } else {
        "A backup code works once in place of the passkey."
    };
    let title = if ways.app { "Enter your code" } else { "Use your passkey" };
    view! {
        <div class="alone">
            <PageHeader title=title about="Your password was right. One more step." />
            {on_the_way(client)}
            {by_passkey}
            <PostForm form=finish>
                <Refused form=finish title="You are not logged in yet" />
                <input type="hidden" name="csrf" value=csrf />
                <input type="hidden" name="next" value=next />
                <TextField
                    form=finish
                    name="code"
                    label="Code"
                    hint=hint
                    autocomplete="one-time-code"
                    inputmode="text"
                    mono=true
                />
                {trust(finish.into())}
                <SubmitButton form=finish label="Log in" busy="Logging in…" />
            </PostForm>
            <p class="auth-note muted">
                {lost} " Without one, whoever operates this "
                "instance can take the second factor off your account."
            </p>
            <PostForm form=restart class="inline-form">
                <input type="hidden" name="csrf" value=csrf_again />
                <input type="hidden" name="next" value=next_again />
                <SubmitButton form=restart label="Log in as somebody else" busy="Leaving…" kind=ButtonKind::Quiet />
            </PostForm>
        </div>
    }
    .erase()
}

/// A passkey in place of what the form beside it asks for.
fn passkey_form(
    form: FormCore,
    purpose: PasskeyPurpose,
    label: &'static str,
    (csrf, next): (String, String),
    trust: Option<AnyView>,
) -> AnyView {
    view! {
        <PostForm form=form class="by-passkey">
            <Refused form=form title="You are not logged in yet" />
            <input type="hidden" name="csrf" value=csrf />
            <input type="hidden" name="next" value=next />
            {trust}
            {passkey_button(purpose, label)}
        </PostForm>
    }
    .erase()
}

fn sign_in_form(
    form: Form<SignIn>,
    passkey: Form<SignInWithPasskey>,
    over: Option<AnyView>,
    start: SignInStart,
    next: String,
) -> AnyView {
    let sso = paths::sign_in_sso_then(&next);
    let SignInStart { csrf, client, .. } = start;
    let by_passkey = start.passkeys.then(|| {
        let label = "Log in with a passkey";
        passkey_form(passkey.into(), PasskeyPurpose::SignIn, label, (csrf.clone(), next.clone()), None)
    });
    let sign_up = start.sign_up.then(|| view! { " · " <a href=paths::sign_up()>"Sign up"</a> }.erase());
    view! {
        <div class="alone">
            <PageHeader title="Log in" />
            {over}
            {on_the_way(client)}
            <PostForm form=form>
                <Refused form=form title="You are not logged in" />
                <input type="hidden" name="csrf" value=csrf />
                <input type="hidden" name="next" value=next />
                <TextField
                    form=form
                    name="email"
                    label="Email"
                    kind="email"
                    inputmode="email"
                    autocomplete="username"
                />
                <PasswordField form=form name="password" label="Password" />
                <SubmitButton form=form label="Log in" busy="Logging in…" />
            </PostForm>
            {by_passkey}
            <p class="auth-note"><a class="button" href=sso>"Continue with SSO"</a></p>
            <p class="auth-note"><a href=paths::forgot_password()>"Forgot your password?"</a> {sign_up}</p>
        </div>
    }
    .erase()
}

/// There is nobody who could log in.
fn nobody_yet() -> AnyView {
    view! {
        <div class="alone">
            <PageHeader
                title=format!("Set up {}", copy::PRODUCT)
                about="Nobody has an account here yet. Whoever opens the set-up link becomes the first owner."
            />
            <Card title="Where the set-up link is">
                <ol class="steps">
                    <li>
                        "Look at what " {copy::PRODUCT} " printed when it started: in its terminal, with "
                        <code>"docker logs"</code> ", or with " <code>"journalctl"</code> "."
                    </li>
                    <li>"Open the address with " <code>"/setup/"</code> " in it. It works once."</li>
                </ol>
                <p class="hint">"Lost it? Each start prints a new one, and the one before stops working."</p>
            </Card>
        </div>
    }
    .erase()
}

/// Set up Gatehouse.
pub struct SetupPage {
    token: Memo<String>,
    start: Loaded<SetupStart>,
}

#[lazy_route]
impl LazyRoute for SetupPage {
    fn data() -> Self {
        Self { token: path_param("token"), start: load_by("token", |token| LoadSetup { token }) }
    }

    fn view(this: Self) -> AnyView {
        let form = use_form::<CompleteSetup>();
        page_of_data(this.start, move |start| {
            if start.works {
                setup_form(form, this.token.get_untracked(), start)
            } else {
                dead_link(start.signed_in)
            }
        })
    }
}

fn setup_form(form: Form<CompleteSetup>, token: String, start: SetupStart) -> AnyView {
    view! {
        <div class="alone">
            <PageHeader
                title=format!("Set up {}", copy::PRODUCT)
                about="You become the first owner. This link works once."
            />
            <PostForm form=form>
                <ErrorSummary form=form />
                <input type="hidden" name="csrf" value=start.csrf />
                <input type="hidden" name="token" value=token />
                <h2>"You"</h2>
                <TextField form=form name="name" label="Your name" autocomplete="name" max=NAME_MAX />
                <TextField
                    form=form
                    name="email"
                    label="Email"
                    hint="You log in with it."
                    kind="email"
                    inputmode="email"
                    autocomplete="username"
                />
                <PasswordField
                    form=form
                    name="password"
                    label="Password"
                    hint="At least 15 characters. A few words that only you would put together are good."
                    autocomplete="new-password"
                />
                <h2 class="auth-part">"Your organisation"</h2>
                <OrgFields form=form name="org_name" slug="org_slug" endpoint=start.endpoint />
                <SubmitButton form=form label=format!("Set up {}", copy::PRODUCT) busy="Setting up…" />
            </PostForm>
        </div>
    }
    .erase()
}

fn dead_link(signed_in: bool) -> AnyView {
    set_status(404);
    let (way_on, about) = if signed_in {
        let link = view! { <LinkButton href=paths::overview() label="Go to the overview" kind=ButtonKind::Primary /> };
        (link.erase(), "This instance is set up, and you are logged in.")
    } else {
        let link = view! { <LinkButton href=paths::sign_in() label="Log in" kind=ButtonKind::Primary /> };
        let about = "Until somebody has set this instance up, Gatehouse prints a new link each time it starts: \
                     start it again and open the newest link. If you have an account, log in.";
        (link.erase(), about)
    };
    view! {
        <div class="alone">
            <PageHeader title="This set-up link does not work" />
            <EmptyState
                icon="unlink"
                title="It was used, replaced or cut off"
                about=about
            >
                {way_on}
            </EmptyState>
        </div>
    }
    .erase()
}

/// New organisation.
pub struct NewOrgPage {
    endpoint: Loaded<String>,
}

#[lazy_route]
impl LazyRoute for NewOrgPage {
    fn data() -> Self {
        Self { endpoint: load(LoadNewOrg {}) }
    }

    fn view(this: Self) -> AnyView {
        let form = use_form::<CreateOrg>();
        page(this.endpoint, move |endpoint, me| new_org_form(form, endpoint, &me))
    }
}

fn new_org_form(form: Form<CreateOrg>, endpoint: String, me: &Me) -> AnyView {
    let about = if me.org.is_some() {
        "It has its own connectors, keys, members and endpoint. You become its owner."
    } else {
        "You are not a member of any organisation. Create one, or ask an owner of one to add you."
    };
    let back = me.org.as_ref().map(|org| {
        view! { <LinkButton href=paths::overview() label=format!("Back to {}", org.name) kind=ButtonKind::Quiet /> }.erase()
    });
    view! {
        <div class="alone">
            <PageHeader title="New organisation" about=about />
            <Card title="Name and address">
                <PostForm form=form>
                    <ErrorSummary form=form />
                    <OrgFields form=form name="name" slug="slug" endpoint=endpoint />
                    <div class="actions">
                        <SubmitButton form=form label="Create organisation" busy="Creating…" />
                        {back}
                    </div>
                </PostForm>
            </Card>
        </div>
    }
    .erase()
}

#[cfg(test)]
mod tests {
    use super::next_of;

    #[test]
    fn ses_09_logging_in_leads_to_a_path_of_ours_and_not_back_here() {
        assert_eq!(next_of(None), "/");
        assert_eq!(next_of(Some("/connectors?q=a")), "/connectors?q=a");
        assert_eq!(next_of(Some("//evil.example")), "/");
        assert_eq!(next_of(Some("/sign-in?next=/sign-in")), "/");
    }
}
