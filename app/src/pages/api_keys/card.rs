use crate::erase::Erase as _;
use leptos::{html, prelude::*};
use leptos_router::hooks::use_location;
use model::{
    ApiKeyId, ConnectorId, Permission,
    api_keys::{ApiKey, KeyScope, MAX_NAME},
    orgs::{KeyVisibility, Me, PinAsked},
    paths,
};

use super::{
    api::{CopyApiKey, RenameApiKey, SetApiKeyEnabled},
    fields::Day,
};
use crate::{
    components::{
        Badge, ButtonKind, CopyButton, CopyField, Fact, Facts, Icon, LinkButton, Switch, Time, Tone,
    },
    form::{Form, FormCore, PostForm, use_form_for},
};

/// What all cards of the page need.
#[derive(Clone)]
pub(super) struct Cards {
    pub(super) connectors: Vec<(ConnectorId, String, String)>,
    pub(super) visibility: KeyVisibility,
    pub(super) now: i64,
    pub(super) may_update: bool,
    pub(super) may_copy: bool,
    pub(super) may_delete: bool,
    pub(super) copy: Form<CopyApiKey>,
    pub(super) pin: PinAsked,
}

impl Cards {
    pub(super) fn of(page: &model::api_keys::ApiKeysPage, me: &Me, copy: Form<CopyApiKey>) -> Self {
        Self {
            connectors: page.connectors.clone(),
            visibility: page.visibility,
            now: page.now,
            may_update: me.can(Permission::ApiKeysUpdate),
            may_copy: me.can(Permission::ApiKeysCreate),
            may_delete: me.can(Permission::ApiKeysRevoke),
            copy,
            pin: me.pin,
        }
    }

    /// The card of one key.
    pub(super) fn card(&self, key: ApiKey, usage: Option<String>) -> AnyView {
        let now = self.now;
        let switch = use_form_for::<SetApiKeyEnabled>("id", key.id);
        let ended = key.enabled && key.expires_at.is_some_and(|at| at <= now);
        let state = ended.then(|| view! { <Badge label="Expired" tone=Tone::Bad /> }.erase());
        let in_urls = key.url_key.then(|| view! { <Badge label="Works in URLs" tone=Tone::Warn /> }.erase());
        let expires = match key.expires_at {
            None => "Never".into_any(),
            Some(at) if at <= now => view! { "Expired " <Time at=at now=now /> }.erase(),
            Some(at) => view! { <Time at=at now=now /> }.erase(),
        };
        let actions = self.actions(&key);
        let (secret, access, used) = (self.secret(&key), self.access(&key), last_used(&key, now));
        let (created_at, created_by) = (key.created_at, key.created_by.clone());
        let from = (!key.ranges.is_empty()).then(|| {
            let ranges = key.ranges.join(", ");
            view! { <Fact term="Allowed from"><span class="mono">{ranges}</span></Fact> }.erase()
        });
        let usage = usage.map(|drawn| {
            view! { <Fact term="Usage"><div class="key-usage" inner_html=drawn></div></Fact> }.erase()
        });
        view! {
            <li class="key-card">
                <div class="key-head">
                    {name(&key, self.may_update)}
                    <div class="key-state">
                        {state}
                        {in_urls}
                        <Switch form=switch label=format!("Key {}, enabled", key.name) on=key.enabled allowed=self.may_update />
                    </div>
                </div>
                {row_error(switch.into())}
                {secret}
                <Facts>
                    <Fact term="Access">{access}</Fact>
                    <Fact term="Last used">{used}</Fact>
                    {usage}
                    <Fact term="Created"><Day at=created_at /> " by " {created_by}</Fact>
                    <Fact term="Expires">{expires}</Fact>
                    {from}
                </Facts>
                {actions}
            </li>
        }
        .erase()
    }

    fn actions(&self, key: &ApiKey) -> Option<AnyView> {
        let edit = self.may_update.then(|| {
            view! {
                <LinkButton
                    href=paths::edit_api_key(key.id)
                    label="Edit"
                    kind=ButtonKind::Quiet
                    icon="pencil"
                    name=format!("Edit key {}", key.name)
                />
            }
            .erase()
        });
        let delete = self.may_delete.then(|| {
            view! {
                <LinkButton
                    href=paths::delete_api_key(key.id)
                    label="Delete"
                    kind=ButtonKind::Quiet
                    icon="trash-2"
                    name=format!("Delete key {}", key.name)
                />
            }
            .erase()
        });
        (self.may_update || self.may_delete)
            .then(|| view! { <div class="key-actions">{edit} {delete}</div> }.erase())
    }

    /// The masked key and what can be copied of it.
    fn secret(&self, key: &ApiKey) -> AnyView {
        let masked = key.masked();
        let id = key.id;
        let button = match self.visibility {
            _ if !self.may_copy => None,
            KeyVisibility::Copyable if key.copyable => Some(copy_form(self.copy, key, self.pin)),
            _ => Some(
                view! {
                    <CopyButton
                        text=key.prefix.clone()
                        name=format!("Copy prefix of key {}", key.name)
                        label="Copy prefix"
                    />
                    <span class="fine">"The whole key was shown once."</span>
                }
                .erase(),
            ),
        };
        let copy = self.copy;
        let label = format!("API key {}", key.name);
        let whole = move || {
            copy.ok().get().filter(|shown| shown.key.id == id).map(|shown| {
                view! {
                    <div class="whole-key" role="status">
                        <p class="fine">"This is the whole key. That you saw it is in the audit log."</p>
                        <CopyField label=label.clone() text=shown.secret />
                        <a class="button quiet" href=paths::settings_api_keys() on:click=move |_| copy.forget()>"Hide"</a>
                    </div>
                }.erase()
            })
        };
        view! {
            <div class="key-secret">
                <code>{masked}</code>
                {button}
            </div>
            {whole}
        }
        .erase()
    }

    fn access(&self, key: &ApiKey) -> AnyView {
        let chip = |text: String| view! { <li class="chip">{text}</li> }.erase();
        let chips = match &key.scope {
            KeyScope::All => vec![chip("All connectors".to_owned())],
            KeyScope::Only(ids) if ids.is_empty() => {
                return view! { <Badge label="None: its connectors were deleted" tone=Tone::Warn /> }.erase();
            }
            KeyScope::Only(ids) => ids
                .iter()
                .map(|id| {
                    let known = self.connectors.iter().find(|(known, ..)| known == id);
                    chip(known.map_or_else(|| id.to_string(), |(_, name, _)| name.clone()))
                })
                .collect(),
        };
        view! { <ul class="chips">{chips}</ul> }.erase()
    }
}

/// Asks for the whole key. One form serves all cards, and its answer stands on the card it was asked for.
fn copy_form(copy: Form<CopyApiKey>, key: &ApiKey, pin: PinAsked) -> AnyView {
    let (id, name) = (key.id.to_string(), format!("Show key {}", key.name));
    let pin = match pin {
        PinAsked::No => None,
        PinAsked::Yes => {
            let label = format!("Your PIN, to show key {}", key.name);
            Some(view! {
                <input class="input pin" type="password" name="pin" inputmode="numeric" autocomplete="off" maxlength="6" placeholder="PIN" aria-label=label />
            }.erase())
        }
        PinAsked::Unset => Some(view! { <a href=paths::profile_pin()>"Set your PIN first"</a> }.erase()),
    };
    view! {
        <PostForm form=copy class="inline-form">
            <input type="hidden" name="id" value=id />
            {pin}
            <button class="button quiet" type="submit" aria-label=name><Icon name="eye" /> <span>"Show key"</span></button>
        </PostForm>
    }
    .erase()
}

/// Why a small form on a card did not work.
fn row_error(form: FormCore) -> impl IntoView {
    let error = form.error();
    move || error.get().map(|error| view! { <p class="field-error" role="alert">{error.message}</p> }.erase())
}

/// "14 minutes ago · Claude Code · 203.0.113.7"
pub(super) fn last_used(key: &ApiKey, now: i64) -> AnyView {
    let Some(at) = key.last_used_at else { return "Never used".into_any() };
    let more = [&key.last_used_agent, &key.last_used_address]
        .into_iter()
        .flatten()
        .filter(|text| !text.is_empty())
        .fold(String::new(), |line, text| line + " · " + text);
    view! { <Time at=at now=now /> {more} }.erase()
}

/// The name, which can be changed in place. Without scripts the pencil leads to the page that does it.
fn name(key: &ApiKey, may_update: bool) -> AnyView {
    let id = key.id;
    let text = key.name.clone();
    if !may_update {
        return view! { <h3 class="key-name">{text}</h3> }.erase();
    }
    let form = use_form_for::<RenameApiKey>("id", id);
    let editing = RwSignal::new(form.error().get_untracked().is_some());
    let pencil = NodeRef::<html::A>::new();
    let input = NodeRef::<html::Input>::new();
    Effect::new(move |was: Option<bool>| {
        let now = editing.get();
        if let Some(was) = was
            && was != now
        {
            if now {
                if let Some(input) = input.get() {
                    _ = input.focus();
                    input.select();
                }
            } else if let Some(pencil) = pencil.get() {
                _ = pencil.focus();
            }
        }
        now
    });
    // While a new name is under way the old one is not shown again.
    view! {
        {move || {
            if editing.get() {
                rename(form, text.clone(), editing, input)
            } else {
                shown_name(id, text.clone(), editing, pencil)
            }
        }}
    }
    .into_any()
}

fn shown_name(id: ApiKeyId, text: String, editing: RwSignal<bool>, pencil: NodeRef<html::A>) -> AnyView {
    let label = format!("Rename key {text}");
    view! {
        <h3 class="key-name">
            {text}
            // The router stays away, so that the click can be taken.
            <a
                class="button quiet"
                href=paths::edit_api_key(id)
                rel="external"
                aria-label=label
                node_ref=pencil
                on:click=move |event| {
                    if !(event.ctrl_key() || event.meta_key() || event.shift_key()) {
                        event.prevent_default();
                        editing.set(true);
                    }
                }
            >
                <Icon name="pencil" />
            </a>
        </h3>
    }
    .erase()
}

fn rename(
    form: Form<RenameApiKey>,
    text: String,
    editing: RwSignal<bool>,
    input: NodeRef<html::Input>,
) -> AnyView {
    let error = form.error_at("name");
    let error_id = format!("{}-error", form.id_of("name"));
    let described = error_id.clone();
    let label = format!("New name of key {text}");
    view! {
        <PostForm form=form class="rename">
            <input
                class="input"
                id=form.id_of("name")
                name="name"
                value=text
                maxlength=MAX_NAME.to_string()
                autocomplete="off"
                aria-label=label
                aria-invalid=move || error.with(Option::is_some).then_some("true")
                aria-describedby=move || error.with(Option::is_some).then(|| described.clone())
                node_ref=input
                on:keydown=move |event| {
                    if event.key() == "Escape" {
                        editing.set(false);
                    }
                }
            />
            <button class="button" type="submit">"Save"</button>
            <button class="button quiet" type="button" on:click=move |_| editing.set(false)>"Cancel"</button>
            {move || {
                form.error().get().map(|error| {
                    view! { <p class="field-error" role="alert" id=error_id.clone()>{error.message}</p> }.erase()
                })
            }}
        </PostForm>
    }
    .erase()
}

/// What was just switched, and the way back. The page's address says which key it was; the data, whether it is so.
pub(super) fn switched(keys: &[ApiKey], may_update: bool) -> AnyView {
    let keys: Vec<_> = keys.iter().map(|key| (key.id, key.name.clone(), key.enabled)).collect();
    let search = use_location().search;
    let toast = move || {
        let (word, id) = search.with(|search| asked(search))?;
        let (id, name, enabled) = keys.iter().find(|key| key.0 == id && key.2 == word)?.clone();
        let undo = may_update.then(|| {
            let form = use_form_for::<SetApiKeyEnabled>("id", id);
            view! {
                <PostForm form=form class="inline-form">
                    <input type="hidden" name="enabled" value=(!enabled).to_string() />
                    <button class="button quiet" type="submit">"Undo"</button>
                </PostForm>
            }
            .erase()
        });
        let text = if enabled {
            format!("Key {name} enabled. Requests with it work again.")
        } else {
            format!("Key {name} disabled. Requests with it now get 401.")
        };
        Some(view! {
            <div class="toast">
                <Icon name="circle-check" />
                <span>{text}</span>
                {undo}
                <a class="button quiet" href=paths::settings_api_keys() aria-label="Close this message"><Icon name="x" /></a>
            </div>
        }.erase())
    };
    view! { <div class="notices" role="status">{toast}</div> }.erase()
}

/// `disabled=key_…` or `enabled=key_…` in a query.
fn asked(search: &str) -> Option<(bool, ApiKeyId)> {
    search.trim_start_matches('?').split('&').find_map(|pair| match pair.split_once('=')? {
        ("enabled", id) => Some((true, id.parse().ok()?)),
        ("disabled", id) => Some((false, id.parse().ok()?)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::asked;

    #[test]
    fn the_address_says_what_was_switched() {
        let id = "key_00000000000000000000000007";
        let key = id.parse().unwrap();
        assert_eq!(asked(&format!("?do=x&disabled={id}")), Some((false, key)));
        assert_eq!(asked(&format!("enabled={id}")), Some((true, key)));
        assert_eq!(asked("enabled=org_1"), None);
        assert_eq!(asked(""), None);
    }
}
