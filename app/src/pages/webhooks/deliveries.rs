use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};
use model::{
    Permission, paths,
    webhooks::{Cause, DeliveryDetail, DeliveryList, DeliveryState, TEST, TOPICS, WebhookState},
};

use super::{
    api::{Deliveries, LoadDeliveries, ReplayDelivery},
    parts::{attempt, became, crumbs_of, table},
};
use crate::{
    components::{
        ButtonForm, ButtonKind, Callout, Card, CodeBlock, CopyField, Disclosure, EmptyState, Fact, Facts,
        PageHeader, Time, Tone,
    },
    erase::Erase as _,
    form::{ErrorSummary, Form, use_form},
    page::{Loaded, load_by_search, page},
};

/// What became of events on their way to a webhook; at a second address, of one event.
pub struct DeliveriesPage {
    data: Loaded<Deliveries>,
}

#[lazy_route]
impl LazyRoute for DeliveriesPage {
    fn data() -> Self {
        Self { data: load_by_search("search", |search| LoadDeliveries { search }) }
    }

    fn view(this: Self) -> AnyView {
        let replay = use_form::<ReplayDelivery>();
        page(this.data, move |data, me| match data {
            Deliveries::Many(list) => many(&list),
            Deliveries::One(detail, now) => one(&detail, me.can(Permission::WebhooksWrite), replay, now),
        })
    }
}

fn many(list: &DeliveryList) -> AnyView {
    let all = paths::webhook_deliveries(list.webhook.id);
    let test = paths::test_webhook(list.webhook.id);
    let problem = list.problem.clone().map(|problem| {
        view! { <Callout tone=Tone::Bad title="Nothing was looked for"><p>{problem} "."</p></Callout> }
            .erase()
    });
    let found = if !list.deliveries.is_empty() {
        table(&list.webhook, &list.deliveries, list.now)
    } else if list.query.is_filtered() {
        view! {
            <EmptyState icon="search" title="No deliveries match these filters" about="Take other days, another event or another status.">
                <a class="button" href=all>"Clear filters"</a>
            </EmptyState>
        }
        .erase()
    } else {
        view! {
            <EmptyState icon="webhook" title="No deliveries yet" about="Events that this webhook hears of stand here from now on.">
                <a class="button" href=test>"Send Test"</a>
            </EmptyState>
        }
        .erase()
    };
    let older = list.older.map(|before| {
        view! {
            <nav class="actions" aria-label="Pages of deliveries">
                <a class="button" rel="next" href=list.query.older(before)>"Older"</a>
            </nav>
        }
        .erase()
    });
    view! {
        <PageHeader title="Deliveries" crumbs=crumbs_of(&list.webhook) about="Every event and what became of it, for 30 days." />
        <div class="stack">
            {filter_bar(list)}
            {problem}
            {found}
            {older}
        </div>
    }
    .erase()
}

fn option(value: &'static str, text: &'static str, chosen: &str) -> AnyView {
    let selected = value == chosen;
    view! { <option value=value selected=selected>{text}</option> }.erase()
}

fn filter_bar(list: &DeliveryList) -> AnyView {
    let query = &list.query;
    let states = [
        (DeliveryState::Delivered, "Delivered"),
        (DeliveryState::Pending, "Waiting or retrying"),
        (DeliveryState::Failed, "Given up"),
        (DeliveryState::Skipped, "Skipped"),
    ];
    let states =
        states.into_iter().map(|(state, words)| option(state.as_str(), words, &query.state)).collect_view();
    let names = TOPICS.iter().flat_map(|(_, topics)| topics.iter().map(|topic| topic.name)).chain([TEST]);
    let names = names.map(|name| option(name, name, &query.event)).collect_view();
    let clear = query.is_filtered().then(|| {
        let all = paths::webhook_deliveries(list.webhook.id);
        view! { <a class="button quiet" href=all>"Clear filters"</a> }.erase()
    });
    view! {
        <form class="filter filter-bar" method="get" role="search" aria-label="Filter deliveries">
            <input type="hidden" name="webhook" value=query.webhook.clone() />
            <label class="audit-day">
                <span>"From"</span>
                <input class="input" type="date" name="from" value=query.from.clone() />
            </label>
            <label class="audit-day">
                <span>"To"</span>
                <input class="input" type="date" name="to" value=query.to.clone() />
            </label>
            <select class="input" name="state" aria-label="Status">
                <option value="">"Any status"</option>
                {states}
            </select>
            <select class="input" name="event" aria-label="Event">
                <option value="">"Any event"</option>
                {names}
            </select>
            <button class="button" type="submit">"Filter"</button>
            {clear}
        </form>
    }
    .erase()
}

fn one(detail: &DeliveryDetail, may_write: bool, replay: Form<ReplayDelivery>, now: i64) -> AnyView {
    let delivery = &detail.delivery;
    let webhook = &detail.webhook;
    let is_test = delivery.event == TEST;
    let (hook, id) = (webhook.id.to_string(), delivery.id.to_string());
    let again = (may_write && !is_test).then(|| {
        let (hook, id) = (hook.clone(), id.clone());
        view! {
            <ButtonForm form=replay label="Replay" kind=ButtonKind::Primary icon="rotate-ccw">
                <input type="hidden" name="webhook" value=hook />
                <input type="hidden" name="id" value=id />
            </ButtonForm>
        }
        .erase()
    });
    let next = delivery.next_at.map(|at| {
        let when = if webhook.state != WebhookState::Active {
            "When the webhook is resumed".into_any()
        } else if at <= now {
            "Now".into_any()
        } else {
            view! { <Time at=at now=now /> }.erase()
        };
        view! { <Fact term="Next attempt">{when}</Fact> }.erase()
    });
    let newest = detail.attempts.first().map(|attempt| attempt.number);
    let attempts = detail
        .attempts
        .iter()
        .map(|one| {
            let kind = match one.cause {
                Cause::Event | Cause::Test => "",
                Cause::Retry => ", retry",
                Cause::Replay => ", replay",
            };
            let title = format!(
                "Attempt {}{kind}: {}",
                one.number,
                model::webhooks::answer(one.status, one.error.as_deref())
            );
            let (open, told) = (Some(one.number) == newest, attempt(one, now));
            view! { <Disclosure title=title open=open>{told}</Disclosure> }.erase()
        })
        .collect_view();
    let attempts = if detail.attempts.is_empty() {
        view! { <p class="muted">"It was not tried yet."</p> }.erase()
    } else {
        view! { <div>{attempts}</div> }.erase()
    };
    let sent = format!(
        "content-type: application/json\nwebhook-id: {}\nwebhook-timestamp: the time of the attempt, Unix seconds\nwebhook-signature: v1,…",
        delivery.id
    );
    let (became, at, body) =
        (became(delivery.state, delivery.attempts), delivery.created_at, detail.body.clone());
    view! {
        <div class="narrow">
            <PageHeader title=delivery.event.clone() crumbs=crumbs_of(webhook) nostrip:action=again />
            <div class="stack-wide">
                <ErrorSummary form=replay />
                <Card title="Delivery">
                    <Facts>
                        <Fact term="Status">{became}</Fact>
                        <Fact term="Happened"><Time at=at now=now /></Fact>
                        {next}
                        <Fact term="ID"><CopyField label="event ID" text=id /></Fact>
                    </Facts>
                </Card>
                <Card title="Attempts" about="The newest first.">{attempts}</Card>
                <Card title="Request" about="The same at every attempt, but for time and signature.">
                    <div class="stack">
                        <CodeBlock label="Headers" text=sent />
                        <CodeBlock label="Body" text=body />
                    </div>
                </Card>
            </div>
        </div>
    }
    .erase()
}
