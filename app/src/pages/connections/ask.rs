//! The questions before a connection is revoked, or gets a new key.

use leptos::prelude::*;
use leptos_router::{LazyRoute, hooks::use_location, lazy_route};
use model::{Permission, oauth::Connection, orgs::Me, paths};

use super::{
    api::{LoadConnection, RegenerateConnection, RevokeConnection},
    list::{reach, status},
};
use crate::{
    components::{
        Ago, ButtonKind, Callout, Card, Crumb, Day, DeniedState, Fact, Facts, PageHeader, SubmitButton, Time,
        Tone,
    },
    erase::Erase as _,
    form::{ErrorSummary, FormCore, PostForm, use_form},
    page::{Loaded, load_by, page},
    pages::deletion::pin_field,
};

/// What is asked, word for word as people know it from elsewhere.
pub(super) const REVOKE: &str = "Revoke this MCP connection? The associated API key will be deactivated and the client will need to re-authorize.";
const REGENERATE: &str =
    "Regenerate the API key for this connection? The old key will be deactivated immediately.";

pub(super) const REVOKED: [&str; 3] = [
    "The client gets 401 with its next request, at once.",
    "It has to go through the whole flow again: log in, allow it, new tokens and a new key.",
    "This cannot be undone. The connection stays in the list as revoked.",
];
const REGENERATED: [&str; 2] = [
    "The client stays connected and picks up a new token with its next request, within 1 hour at most.",
    "Nobody has to sign in again.",
];

/// Asks before a connection is revoked, or gets a new key: one part of the wasm for both.
pub struct AskConnectionPage {
    connection: Loaded<(Connection, i64)>,
}

#[lazy_route]
impl LazyRoute for AskConnectionPage {
    fn data() -> Self {
        Self { connection: load_by("id", |id| LoadConnection { id }) }
    }

    fn view(this: Self) -> AnyView {
        let (form, question): (FormCore, _) = if use_location().pathname.get_untracked().ends_with("/revoke")
        {
            let question = Question {
                title: "Revoke",
                words: REVOKE,
                consequences: &REVOKED,
                label: "Revoke connection",
                busy: "Revoking…",
                kind: ButtonKind::Danger,
                names_key: false,
            };
            (use_form::<RevokeConnection>().into(), question)
        } else {
            let question = Question {
                title: "Regenerate the key of",
                words: REGENERATE,
                consequences: &REGENERATED,
                label: "Regenerate key",
                busy: "Regenerating…",
                kind: ButtonKind::Primary,
                names_key: true,
            };
            (use_form::<RegenerateConnection>().into(), question)
        };
        page(this.connection, move |(connection, now), me| ask(form, connection, now, &me, question))
    }
}

#[derive(Clone, Copy)]
struct Question {
    title: &'static str,
    words: &'static str,
    consequences: &'static [&'static str],
    label: &'static str,
    busy: &'static str,
    kind: ButtonKind,
    /// Whether the form says which key it is about.
    names_key: bool,
}

fn ask(form: FormCore, connection: Connection, now: i64, me: &Me, question: Question) -> AnyView {
    if !me.can(Permission::ApiKeysRevoke) {
        return view! { <DeniedState permission=Some(Permission::ApiKeysRevoke) /> }.erase();
    }
    let pin = me.pin;
    let body = if connection.is_active() {
        let prefix = question.names_key.then(|| {
            view! { <input type="hidden" name="prefix" value=connection.key_prefix.clone() /> }.erase()
        });
        let lines =
            question.consequences.iter().map(|line| view! { <li>{*line}</li> }.erase()).collect_view();
        view! {
            <p>{question.words}</p>
            <ul class="consequences">{lines}</ul>
            <PostForm form=form>
                <ErrorSummary form=form />
                <input type="hidden" name="id" value=connection.id.to_string() />
                {prefix}
                {pin_field(form, pin)}
                <div class="actions">
                    <a class="button" href=paths::settings_connections() autofocus>"Cancel"</a>
                    <SubmitButton form=form label=question.label busy=question.busy kind=question.kind />
                </div>
            </PostForm>
        }
        .erase()
    } else {
        view! {
            <Callout tone=Tone::Neutral title="This connection is revoked already">
                <p>"There is nothing left to do. Its client can be authorised again at any time."</p>
            </Callout>
            <p><a class="button" href=paths::settings_connections()>"Back to the connections"</a></p>
        }
        .erase()
    };
    // The question itself is the first sentence below, in the words that people know.
    let title = format!("{} {}", question.title, connection.client_name);
    let facts = facts(connection, now);
    view! {
        <div class="narrow">
            <PageHeader
                title=title
                crumbs=vec![
                    Crumb::new(paths::settings(), "Settings"),
                    Crumb::new(paths::settings_connections(), "MCP connections"),
                ]
            />
            <Card title="What happens">
                <div class="stack">{body}</div>
            </Card>
            <Card title="The connection">{facts}</Card>
        </div>
    }
    .erase()
}

fn facts(connection: Connection, now: i64) -> AnyView {
    let last = match connection.last_token_at {
        Some(at) => view! { <Ago at=at now=now /> }.erase(),
        None => "Never".into_any(),
    };
    let used = match connection.last_used_at {
        Some(at) => {
            let from = connection.last_used_address.clone().map(|from| format!(" from {from}"));
            view! { <Time at=at now=now /> {from} }.erase()
        }
        None => "Never".into_any(),
    };
    let (status, reach) = (status(&connection), reach(&connection.scope));
    let prefix = format!("{}…", connection.key_prefix);
    let (created_at, expires_at) = (connection.created_at, connection.expires_at);
    view! {
        <Facts>
            <Fact term="Client">{connection.client_name}</Fact>
            <Fact term="Status">{status}</Fact>
            <Fact term="User">{connection.user_email}</Fact>
            <Fact term="Sent back to">{connection.redirect_host}</Fact>
            <Fact term="Reaches">{reach}</Fact>
            <Fact term="API key prefix">
                <code class="mono">{prefix}</code>
            </Fact>
            <Fact term="Connected">
                <Day at=created_at />
            </Fact>
            <Fact term="Ends by itself">
                "On " <Day at=expires_at />
            </Fact>
            <Fact term="Last token">{last}</Fact>
            <Fact term="Last request">{used}</Fact>
        </Facts>
    }
    .erase()
}
