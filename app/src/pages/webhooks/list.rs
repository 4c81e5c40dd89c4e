use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};
use model::{Permission, paths, webhooks::topics};

use super::{
    api::{LoadWebhooks, WebhookList},
    parts::{rate, state},
};
use crate::{
    components::{Ago, ButtonKind, DataTable, EmptyState, LinkButton, PageHeader},
    erase::Erase as _,
    page::{Loaded, load, page},
};

/// Webhooks.
pub struct WebhooksPage {
    list: Loaded<WebhookList>,
}

#[lazy_route]
impl LazyRoute for WebhooksPage {
    fn data() -> Self {
        Self { list: load(LoadWebhooks {}) }
    }

    fn view(this: Self) -> AnyView {
        page(this.list, |list, me| {
            let may_write = me.can(Permission::WebhooksWrite);
            let add = (may_write && !list.webhooks.is_empty()).then(add_webhook);
            let body = if list.webhooks.is_empty() { empty(may_write) } else { table(&list) };
            view! {
                <PageHeader
                    title="Webhooks"
                    about="Your own systems hear of what happens here, as signed HTTP requests."
                    nostrip:action=add
                />
                {body}
                <p class="key-help">"Help: " <a href=paths::help_webhooks()>"Webhooks and their signatures"</a></p>
            }
            .erase()
        })
    }
}

fn add_webhook() -> AnyView {
    view! { <LinkButton href=paths::new_webhook() label="Add Webhook" kind=ButtonKind::Primary icon="plus" /> }
        .erase()
}

fn empty(may_write: bool) -> AnyView {
    let add = may_write.then(add_webhook);
    let about = format!(
        "A webhook sends a request to a URL of yours when one of {} events happens: a connector goes down, a key is made, somebody joins.",
        topics()
    );
    view! {
        <EmptyState icon="webhook" title="No webhooks yet" about=about>
            {add}
            <a href=paths::help_webhooks()>"What is sent"</a>
        </EmptyState>
    }
    .erase()
}

fn table(list: &WebhookList) -> AnyView {
    let now = list.now;
    let rows = list
        .webhooks
        .iter()
        .map(|webhook| {
            let about = (!webhook.description.is_empty())
                .then(|| view! { <span class="muted">{webhook.description.clone()}</span> }.erase());
            let delivered = match webhook.delivered_at {
                Some(at) => view! { <Ago at=at now=now /> }.erase(),
                None => "Never".into_any(),
            };
            view! {
                <tr>
                    <th scope="row" data-label="URL">
                        <div class="two-lines">
                            <a class="connector-link webhook-url" href=paths::webhook(webhook.id)>{webhook.url.clone()}</a>
                            {about}
                        </div>
                    </th>
                    <td data-label="Events">{webhook.hears_of()}</td>
                    <td data-label="Status">{state(webhook)}</td>
                    <td data-label="Delivered, 24 hours">{rate(webhook)}</td>
                    <td data-label="Last delivery">{delivered}</td>
                </tr>
            }
            .erase()
        })
        .collect_view();
    view! {
        <DataTable
            caption="Webhooks of this organisation"
            columns=vec!["URL", "Events", "Status", "Delivered, 24 hours", "Last delivery"]
        >
            {rows}
        </DataTable>
    }
    .erase()
}
