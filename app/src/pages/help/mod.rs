//! Built-in help. It is there for everybody, signed in or not.

mod claude_ai;
mod domain;
mod exports;
mod page;
mod webhooks;

use leptos::prelude::*;
use leptos_router::{LazyRoute, hooks::use_location, lazy_route};
use model::paths;

use crate::page::page_for_all;

/// All of it, by the page's path: one piece of code, as each is small.
pub struct HelpPage;

#[lazy_route]
impl LazyRoute for HelpPage {
    fn data() -> Self {
        Self
    }

    fn view(HelpPage: Self) -> AnyView {
        let path = use_location().pathname;
        page_for_all(move |me| {
            let view = move || {
                let endpoint = page::endpoint(me.as_ref());
                path.with(|path| match path.as_str() {
                    _ if path == paths::help_authentication() => page::authentication(endpoint),
                    _ if path == paths::help_claude_ai() => claude_ai::walkthrough(endpoint),
                    _ if path == paths::help_domain() => domain::help(),
                    _ if path == paths::help_export() => exports::help(),
                    _ if path == paths::help_quickstart() => page::quickstart(endpoint),
                    _ => webhooks::help(),
                })
            };
            view.into_any()
        })
    }
}
