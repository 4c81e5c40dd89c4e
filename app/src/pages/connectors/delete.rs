use crate::erase::Erase as _;
use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};
use model::{Permission, orgs::Me, paths};

use super::{
    api::{ConnectorToDelete, DeleteConnector, LoadConnectorToDelete, SetConnectorEnabled},
    parts::counted,
};
use crate::{
    components::Crumb,
    form::{Form, use_form},
    page::{Loaded, load_by, page},
    pages::deletion::{self, Confirm, Deletion, disable_instead},
};

/// Asks before a connector is deleted.
pub struct DeleteConnectorPage {
    connector: Loaded<ConnectorToDelete>,
}

#[lazy_route]
impl LazyRoute for DeleteConnectorPage {
    fn data() -> Self {
        Self { connector: load_by("id", |id| LoadConnectorToDelete { id }) }
    }

    fn view(this: Self) -> AnyView {
        let delete = use_form::<DeleteConnector>();
        let disable = use_form::<SetConnectorEnabled>();
        page(this.connector, move |facts, me| question(&facts, &me, delete, disable))
    }
}

fn question(
    facts: &ConnectorToDelete,
    me: &Me,
    delete: Form<DeleteConnector>,
    disable: Form<SetConnectorEnabled>,
) -> AnyView {
    let connector = &facts.connector;
    let instead = (connector.enabled && me.can(Permission::ConnectorsWrite)).then(|| {
        let button = disable_instead(disable.into(), &connector.name, connector.id.to_string());
        view! {
            <div class="stack">
                <p>"Disabling it stops its tools just the same, and can be undone."</p>
                {button}
            </div>
        }
        .erase()
    });
    let back = paths::connector(connector.id);
    let deletion = Deletion {
        name: connector.name.clone(),
        id: connector.id.to_string(),
        crumbs: vec![
            Crumb::new(paths::connectors(), "Connectors"),
            Crumb::new(back.clone(), connector.name.clone()),
        ],
        back,
        warning: None,
        consequences: consequences(facts).into_iter().map(IntoAny::into_any).collect(),
        instead,
        confirm: Some(Confirm { text: connector.slug.to_string(), mono: true, hidden: None }),
        label: "Delete connector",
        pin: me.pin,
    };
    deletion::question(deletion, delete.into(), disable.into())
}

fn consequences(facts: &ConnectorToDelete) -> Vec<String> {
    let connector = &facts.connector;
    let mut lines = vec![format!(
        "{} of it will no longer be listed, and calls to them will get an error.",
        counted(connector.tools_total, "tool")
    )];
    match facts.keys {
        None => lines.push("API keys that are limited to it will reach no tools of it.".to_owned()),
        Some(0) => {
            lines.push("No API key is limited to it; keys for all connectors keep working.".to_owned());
        }
        Some(keys) => {
            let alone = match facts.keys_left_empty {
                0 => String::new(),
                left => format!(" {left} of them can use nothing else, and will reach no tools at all."),
            };
            let are = if keys == 1 { "is" } else { "are" };
            lines.push(format!(
                "{} {are} limited to connectors with this one among them.{alone}",
                counted(keys, "API key")
            ));
        }
    }
    lines.push(match connector.headers.len() {
        0 => "It has no stored credentials.".to_owned(),
        1 => "Its stored header is erased.".to_owned(),
        many => format!("Its {many} stored headers are erased."),
    });
    lines.push("The audit log keeps what was done with it.".to_owned());
    lines.push(format!(
        "The slug {} stays taken, so that no other server's tools can pass for its own.",
        connector.slug
    ));
    lines.push("This cannot be undone.".to_owned());
    lines
}
