use leptos::prelude::*;
use model::paths;

use super::page::Endpoint;
use crate::{
    components::{Callout, CopyField, PageHeader, Tone},
    erase::Erase as _,
};

/// Connect Claude.ai, step by step.
pub(super) fn walkthrough(endpoint: Endpoint) -> AnyView {
    let Endpoint { url, own } = endpoint;
    let sign_in = (!own).then(|| {
        view! {
            <p>
                <a href=paths::sign_in_then(paths::help_claude_ai())>"Log in"</a>
                " to see the URL of your organisation here."
            </p>
        }
        .erase()
    });
    let troubles = [
        (
            "Claude says that it could not connect",
            "It calls your Gatehouse from the internet: the address must be reachable from there, with https. Open the URL in a browser on another network: an answer that says 401 is a good one.",
        ),
        (
            "The page says that the client is not known",
            "Claude remembers an earlier registration. Remove the connector in Claude, and add it again.",
        ),
        (
            "The page says that only clients made by the organisation are accepted",
            "Somebody switched off clients that register themselves. An admin can switch them on under OAuth clients.",
        ),
        (
            "Your organisation is not in the list",
            "You are logged in with another account, or not a member. Log out, log in with the right one, and start again from Claude.",
        ),
        (
            "It worked, and now asks to connect again",
            "The connection ended: its lifetime is over, it was revoked, or an OAuth client was created or deleted. Connect it once more.",
        ),
        (
            "There are no tools",
            "No connector is enabled, or you allowed none. Look at Connectors, then disconnect and connect again.",
        ),
    ]
    .into_iter()
    .map(|(trouble, remedy)| view! { <h3>{trouble}</h3> <p>{remedy}</p> }.erase())
    .collect_view();
    view! {
        <PageHeader title="Connect to Claude.ai" about="No key, no registration: you log in and allow it." />
        <div class="prose">
            {sign_in}
            <h2>"1. Add a custom connector"</h2>
            <p>"In Claude.ai, open Settings, then Connectors, and choose Add custom connector. In a team, an owner does this once for everybody."</p>
            <h2>"2. Paste the URL"</h2>
            <CopyField label="connector URL" text=url />
            <p>"Give it a name and save. Leave the fields for a client ID and secret empty: Claude registers itself."</p>
            <h2>"3. Log in"</h2>
            <p>"Choose Connect. Claude sends you to Gatehouse: log in as usual."</p>
            <h2>"4. Allow it"</h2>
            <p>
                "The page says who asks, where you are sent back to, and what it will reach. It has to say "
                <strong>"claude.ai"</strong>
                ". Leave ticked what Claude may use, and choose Allow. You are back in Claude, and the tools are there."
            </p>
            <Callout tone=Tone::Info title="See it, and take it back">
                <p>
                    "The connection is listed under " <a href=paths::settings_connections()>"MCP connections"</a> " and under "
                    <a href=paths::profile_connections()>"your own connections"</a>
                    ". Revoke it there: Claude gets 401 with its next request. How long it lasts by itself is set under "
                    <a href=paths::settings_oauth_clients()>"OAuth clients"</a> "."
                </p>
            </Callout>
            <h2>"When it fails"</h2>
            {troubles}
            <p>"Other clients: " <a href=paths::how_to_connect()>"how to connect"</a> "."</p>
        </div>
    }
    .erase()
}
