use crate::erase::Erase as _;
use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};
use model::{Permission, api_keys::ApiKey, orgs::Me, paths};

use super::{
    api::{DeleteApiKey, LoadApiKey, OneKey, SetApiKeyEnabled},
    card::last_used,
};
use crate::{
    components::{
        ButtonForm, ButtonKind, Callout, Card, Crumb, DeniedState, PageHeader, SubmitButton, TextField, Tone,
        relative,
    },
    form::{ErrorSummary, Form, PostForm, use_form},
    page::{Loaded, load_by, page},
};

/// Asks before a key is deleted.
pub struct DeleteApiKeyPage {
    key: Loaded<OneKey>,
}

#[lazy_route]
impl LazyRoute for DeleteApiKeyPage {
    fn data() -> Self {
        Self { key: load_by("id", |id| LoadApiKey { id }) }
    }

    fn view(this: Self) -> AnyView {
        let delete = use_form::<DeleteApiKey>();
        let disable = use_form::<SetApiKeyEnabled>();
        let key = this.key;
        // It was used since the page was drawn: draw it again, with the warning.
        Effect::new(move |_| {
            if delete.error().with(|error| error.as_ref().is_some_and(|error| error.code == "recently_used"))
            {
                key.refetch();
            }
        });
        page(key, move |one, me| {
            if me.can(Permission::ApiKeysRevoke) {
                question(&one.key, one.now, &me, delete, disable)
            } else {
                view! { <DeniedState permission=Some(Permission::ApiKeysRevoke) /> }.erase()
            }
        })
    }
}

fn question(
    key: &ApiKey,
    now: i64,
    me: &Me,
    delete: Form<DeleteApiKey>,
    disable: Form<SetApiKeyEnabled>,
) -> AnyView {
    let recent = key.used_within_a_day(now);
    let instead = (key.enabled && me.can(Permission::ApiKeysUpdate)).then(|| {
        let id = key.id.to_string();
        view! {
            <ButtonForm form=disable label="Disable instead" name=format!("Disable instead: {}", key.name)>
                <input type="hidden" name="id" value=id />
                <input type="hidden" name="enabled" value="false" />
            </ButtonForm>
        }
        .erase()
    });
    let (warning, instead) = if recent {
        let warning = view! {
            <Callout tone=Tone::Warn title=used(key, now)>
                <p>
                    "Deleting it breaks whatever is still calling with it. Disabling stops it just the same, and can be undone."
                </p>
                {instead}
            </Callout>
        }.erase();
        (Some(warning), None)
    } else {
        let instead = instead.map(|button| {
            view! {
                <p>"Disabling it stops it just the same, and can be undone."</p>
                {button}
            }
            .erase()
        });
        (None, instead)
    };
    let unused = (!recent).then(|| {
        let used = match key.last_used_at {
            None => "It was never used.".into_any(),
            Some(_) => view! { "Last used " {last_used(key, now)} "." }.erase(),
        };
        view! { <li>{used}</li> }.erase()
    });
    let id = key.id.to_string();
    let confirm = recent.then(|| {
        view! {
            <input type="hidden" name="acknowledged" value="yes" />
            <TextField form=delete name="confirm" label=format!("Type {} to confirm", key.name) />
        }
        .erase()
    });
    let label = if recent { "Delete anyway" } else { "Delete key" };
    view! {
        <div class="narrow">
            <PageHeader
                title=format!("Delete {}?", key.name)
                crumbs=vec![
                    Crumb::new(paths::settings(), "Settings"),
                    Crumb::new(paths::settings_api_keys(), "API keys"),
                ]
            />
            <Card title="What happens">
                <div class="stack">
                    <ErrorSummary form=disable />
                    {warning}
                    <ul class="consequences">
                        {unused}
                        <li>"Requests with it get 401 from then on."</li>
                        <li>"The audit log keeps what was done with it."</li>
                        <li>"This cannot be undone."</li>
                    </ul>
                    {instead}
                    <PostForm form=delete>
                        <ErrorSummary form=delete />
                        <input type="hidden" name="id" value=id />
                        {confirm}
                        <div class="actions">
                            <a class="button" href=paths::settings_api_keys() autofocus>"Cancel"</a>
                            <SubmitButton form=delete label=label busy="Deleting…" kind=ButtonKind::Danger />
                        </div>
                    </PostForm>
                </div>
            </Card>
        </div>
    }
    .erase()
}

/// "Used 14 minutes ago by Claude Code (203.0.113.7)"
fn used(key: &ApiKey, now: i64) -> String {
    let when = key.last_used_at.map(|at| relative(at, now)).unwrap_or_default();
    let by =
        key.last_used_agent.as_deref().filter(|agent| !agent.is_empty()).map(|agent| format!(" by {agent}"));
    let from = key.last_used_address.as_deref().map(|address| format!(" ({address})"));
    format!("Used {when}{}{}", by.unwrap_or_default(), from.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use model::{ApiKeyId, api_keys::KeyScope};

    use super::*;

    #[test]
    fn the_warning_says_when_and_by_whom() {
        let mut key = ApiKey {
            id: "key_00000000000000000000000007".parse::<ApiKeyId>().unwrap(),
            name: "ci".to_owned(),
            prefix: String::new(),
            last4: String::new(),
            scope: KeyScope::All,
            enabled: true,
            url_key: false,
            copyable: false,
            expires_at: None,
            last_used_at: Some(1_000_000),
            last_used_address: Some("203.0.113.7".to_owned()),
            last_used_agent: Some("Claude Code".to_owned()),
            created_at: 0,
            created_by: "Ada".to_owned(),
        };
        assert_eq!(used(&key, 1_000_000 + 14 * 60_000), "Used 14 minutes ago by Claude Code (203.0.113.7)");
        key.last_used_agent = None;
        key.last_used_address = None;
        assert_eq!(used(&key, 1_000_000), "Used just now");
    }
}
