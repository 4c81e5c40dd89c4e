use crate::erase::Erase as _;
use leptos::prelude::*;
use model::{Permission, api_keys::ApiKey, orgs::Me, paths};

use super::{
    api::{DeleteApiKey, OneKey, SetApiKeyEnabled},
    card::last_used,
};
use crate::{
    components::{Callout, Crumb, DeniedState, Tone, relative},
    form::{Form, use_form},
    page::{Loaded, page},
    pages::deletion::{self, Confirm, Deletion, disable_instead},
};

/// Asks before a key is deleted.
pub(super) fn view(key: Loaded<OneKey>) -> AnyView {
    let delete = use_form::<DeleteApiKey>();
    let disable = use_form::<SetApiKeyEnabled>();
    // It was used since the page was drawn: draw it again, with the warning.
    Effect::new(move |_| {
        if delete.error().with(|error| error.as_ref().is_some_and(|error| error.code == "recently_used")) {
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

fn question(
    key: &ApiKey,
    now: i64,
    me: &Me,
    delete: Form<DeleteApiKey>,
    disable: Form<SetApiKeyEnabled>,
) -> AnyView {
    let recent = key.used_within_a_day(now);
    let instead = (key.enabled && me.can(Permission::ApiKeysUpdate))
        .then(|| disable_instead(disable.into(), &key.name, key.id.to_string()));
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
    let unused = (!recent).then(|| match key.last_used_at {
        None => "It was never used.".into_any(),
        Some(_) => view! { "Last used " {last_used(key, now)} "." }.erase(),
    });
    let always = [
        "Requests with it get 401 from then on.",
        "The audit log keeps what was done with it.",
        "This cannot be undone.",
    ];
    let confirm = recent.then(|| {
        let acknowledged = view! { <input type="hidden" name="acknowledged" value="yes" /> }.erase();
        Confirm { text: key.name.clone(), mono: false, hidden: Some(acknowledged.into_any()) }
    });
    let deletion = Deletion {
        name: key.name.clone(),
        id: key.id.to_string(),
        crumbs: vec![
            Crumb::new(paths::settings(), "Settings"),
            Crumb::new(paths::settings_api_keys(), "API keys"),
        ],
        back: paths::settings_api_keys().to_owned(),
        warning,
        consequences: unused.into_iter().chain(always.map(IntoAny::into_any)).collect(),
        instead,
        confirm,
        label: if recent { "Delete anyway" } else { "Delete key" },
        pin: me.pin,
    };
    deletion::question(deletion, delete.into(), disable.into())
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
            ranges: Vec::new(),
        };
        assert_eq!(used(&key, 1_000_000 + 14 * 60_000), "Used 14 minutes ago by Claude Code (203.0.113.7)");
        key.last_used_agent = None;
        key.last_used_address = None;
        assert_eq!(used(&key, 1_000_000), "Used just now");
    }
}
