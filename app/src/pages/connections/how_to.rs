use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};
use model::{oauth::OauthWay, paths};

use super::{api::LoadOauthWays, list::three_steps};
use crate::{
    components::{Card, Crumb, Disclosure, PageHeader},
    erase::Erase as _,
    page::{Loaded, load, page},
    pages::api_keys::{also_at, oauth_way},
};

/// How to connect an MCP client by signing in.
pub struct HowToConnectPage {
    ways: Loaded<(Vec<OauthWay>, Option<String>)>,
}

#[lazy_route]
impl LazyRoute for HowToConnectPage {
    fn data() -> Self {
        Self { ways: load(LoadOauthWays {}) }
    }

    fn view(this: Self) -> AnyView {
        page(this.ways, |(ways, other), _| how_to(ways, other))
    }
}

fn how_to(ways: Vec<OauthWay>, other: Option<String>) -> AnyView {
    let desktop =
        ways.iter().find(|way| way.client == "claude-desktop").and_then(|way| way.snippets.last().cloned());
    let clients = ways
        .into_iter()
        .map(|way| {
            let title = way.title.clone();
            view! { <Disclosure title=title group="ways">{oauth_way(way)}</Disclosure> }.erase()
        })
        .collect_view();
    view! {
        <div class="narrow">
            <PageHeader
                title="How to connect"
                crumbs=vec![
                    Crumb::new(paths::settings(), "Settings"),
                    Crumb::new(paths::settings_connections(), "MCP connections"),
                ]
                about="By signing in. No key is copied, and what the client gets ends by itself."
            />
            <Card title="Claude Desktop">{three_steps(desktop)}</Card>
            <Card title="Your client" about="The same for each client, without a key.">{also_at(other)} {clients}</Card>
            <p class="key-help">
                <a href=paths::help_claude_ai()>"Connect to Claude.ai, step by step"</a> " · "
                <a href=paths::settings_api_keys()>"Use an API key instead"</a>
            </p>
        </div>
    }
    .erase()
}
