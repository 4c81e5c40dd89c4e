//! What several pages of OAuth clients show.

use leptos::prelude::*;
use model::{
    ConnectorSlug, Scope,
    oauth::{NewOauthClient, OauthClient},
    paths,
};

use super::api::ShownSecret;
use crate::{
    components::{
        ButtonKind, Callout, Card, Checkbox, CheckboxGroup, Choice, CodeBlock, CopyField, Crumb, LinkButton,
        RadioGroup, TextArea, Tone,
    },
    erase::Erase as _,
    form::FormCore,
};

pub(super) fn crumbs() -> Vec<Crumb> {
    vec![
        Crumb::new(paths::settings(), "Settings"),
        Crumb::new(paths::settings_oauth_clients(), "OAuth clients"),
    ]
}

/// "1 connection", "12 connections".
pub(super) fn connections(count: i64) -> String {
    format!("{count} connection{}", if count == 1 { "" } else { "s" })
}

/// The hosts, or schemes of apps, that redirect URIs lead to.
pub(super) fn hosts(client: &OauthClient) -> String {
    model::text::each_once(client.redirect_uris.iter().map(|uri| host(uri))).join(", ")
}

fn host(uri: &str) -> &str {
    match uri.split_once("://") {
        Some(("http" | "https", rest)) => rest.split(['/', '?']).next().unwrap_or_default(),
        _ => uri.split(':').next().unwrap_or_default(),
    }
}

/// Which connectors a client may ask for.
pub(super) fn access(form: FormCore, scope: &Scope, connectors: Vec<(ConnectorSlug, String)>) -> AnyView {
    if connectors.is_empty() && scope.all {
        return view! {
            <input type="hidden" name="access" value="all" />
            <p class="hint">"There are no connectors yet. The client will reach all that are added."</p>
        }
        .erase();
    }
    let ways = vec![
        Choice::new("all", "All connectors").hint("The scope mcp:call. Also those that are added later."),
        Choice::new("only", "Only selected connectors").hint("The scopes mcp:call:… of these."),
    ];
    let choices = connectors
        .into_iter()
        .map(|(slug, name)| Choice::new(slug.to_string(), name).hint(format!("mcp:call:{slug}")))
        .collect();
    let values = scope.connectors.iter().map(ToString::to_string).collect();
    view! {
        <RadioGroup form=form name="access" label="Access" value=if scope.all { "all" } else { "only" } choices=ways />
        <div class="only-these">
            <CheckboxGroup form=form name="connectors[]" label="Selected connectors" values=values choices=choices />
        </div>
    }
    .erase()
}

/// Where a client for people may be sent back to.
pub(super) fn redirect_uris(form: FormCore, uris: &[String]) -> AnyView {
    view! {
        <TextArea
            form=form
            name="redirect_uris"
            label="Redirect URIs"
            hint="One a line. https, http on localhost, or the scheme of an app. They are compared letter by letter; only the port of localhost may differ."
            value=uris.join("\n")
        />
    }
    .erase()
}

/// The box that says what making or deleting a client does to all others. Without live connections there is nothing to
/// choose.
pub(super) fn cut(form: FormCore, act: &str, org: &str, live: i64) -> AnyView {
    if live == 0 {
        return view! { <input type="hidden" name="cut" value="on" /> }.erase();
    }
    let have = if live == 1 { "has" } else { "have" };
    let about = format!(
        "{} {have} to authorise again. The access tokens stop working within a second.",
        connections(live)
    );
    view! {
        <Callout tone=Tone::Warn title=format!("{act} a client revokes all refresh tokens of {org}")>
            <p>{about}</p>
            <Checkbox
                form=form
                name="cut"
                label="Revoke all refresh tokens now"
                hint="Untick to leave the other connections alone. Machine clients are never touched."
                checked=true
            />
        </Callout>
    }
    .erase()
}

/// The answer that holds a secret: the only time that the whole secret is on a page.
pub(super) fn shown(shown: ShownSecret, title: String, about: String) -> AnyView {
    let ShownSecret { made, token } = shown;
    let NewOauthClient { client, secret, revoked } = made;
    let secret = match secret {
        Some(secret) => view! {
            <div class="settings-copy"><p>"Client secret"</p> <CopyField label="client secret" text=secret /></div>
            <Callout tone=Tone::Warn title="You will not see this secret again">
                <p>"Only its hash is kept. Copy it now, and store it where your other secrets are."</p>
            </Callout>
        }
        .erase(),
        None => view! {
            <Callout tone=Tone::Info title="This client has no secret">
                <p>"It is a public client: it proves itself with PKCE, in every flow anew."</p>
            </Callout>
        }
        .erase(),
    };
    let cut = (revoked > 0).then(|| {
        let (count, have) = (connections(revoked), if revoked == 1 { "has" } else { "have" });
        view! { <p>{format!("{count} {have} to authorise again.")}</p> }.erase()
    });
    let token = token.map(|token| {
        view! {
            <Card title="Get a token" about="It works for an hour. The secret is hidden here and whole when copied.">
                <CodeBlock label=token.label text=token.text shown=token.shown />
            </Card>
        }
        .erase()
    });
    view! {
        <Card title=title about=about>
            <div class="stack" role="status">
                <div class="settings-copy"><p>"Client ID"</p> <CopyField label="client ID" text=client.id.clone() /></div>
                {secret}
                {cut}
                <div class="actions">
                    <LinkButton href=paths::oauth_client(&client.id) label="I have saved it" kind=ButtonKind::Primary />
                </div>
            </div>
        </Card>
        {token}
    }
    .erase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirect_uris_are_told_by_their_hosts() {
        for (uri, is) in [
            ("https://claude.ai/api/cb", "claude.ai"),
            ("http://localhost:33418", "localhost:33418"),
            ("https://a.example?x=/", "a.example"),
            ("cursor://anysphere/cb", "cursor"),
            ("com.example.app:/cb", "com.example.app"),
        ] {
            assert_eq!(host(uri), is);
        }
        assert_eq!(
            (connections(1), connections(12)),
            ("1 connection".to_owned(), "12 connections".to_owned())
        );
    }
}
