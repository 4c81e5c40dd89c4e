//! What several pages of webhooks show.

use leptos::prelude::*;
use model::{
    paths,
    webhooks::{Attempt, Cause, Delivery, DeliveryState, Webhook, WebhookState, answer},
};

use crate::{
    components::{Ago, Badge, Callout, CodeBlock, Crumb, DataTable, Fact, Facts, Time, Tone},
    erase::Erase as _,
};

pub(super) fn crumbs() -> Vec<Crumb> {
    vec![Crumb::new(paths::settings(), "Settings"), Crumb::new(paths::settings_webhooks(), "Webhooks")]
}

/// The crumbs of pages below one webhook.
pub(super) fn crumbs_of(webhook: &Webhook) -> Vec<Crumb> {
    let mut crumbs = crumbs();
    crumbs.push(Crumb::new(paths::webhook(webhook.id), webhook.host().to_owned()));
    crumbs
}

/// "1 event", "12 events".
pub(super) fn events(count: i64) -> String {
    format!("{count} event{}", if count == 1 { "" } else { "s" })
}

pub(super) fn state(webhook: &Webhook) -> AnyView {
    let (label, tone) = match webhook.state {
        WebhookState::Active if webhook.failing_since.is_some() => ("Failing", Tone::Warn),
        WebhookState::Active => ("Active", Tone::Ok),
        WebhookState::Paused => ("Paused", Tone::Neutral),
        WebhookState::Disabled => ("Disabled", Tone::Bad),
    };
    view! { <Badge label=label tone=tone /> }.erase()
}

/// "98 % of 120", of the last 24 hours.
pub(super) fn rate(webhook: &Webhook) -> String {
    match webhook.tried {
        0 => "None sent".to_owned(),
        tried => format!("{} % of {tried}", webhook.taken * 100 / tried),
    }
}

pub(super) fn became(state: DeliveryState, attempts: i64) -> AnyView {
    let (label, tone) = match state {
        DeliveryState::Pending if attempts == 0 => ("Waiting", Tone::Neutral),
        DeliveryState::Pending => ("Retrying", Tone::Warn),
        DeliveryState::Delivered => ("Delivered", Tone::Ok),
        DeliveryState::Failed => ("Given up", Tone::Bad),
        DeliveryState::Skipped => ("Skipped", Tone::Neutral),
    };
    view! { <Badge label=label tone=tone /> }.erase()
}

/// "120 ms", "4.2 s".
pub(super) fn took(ms: i64) -> String {
    if ms < 1000 { format!("{ms} ms") } else { format!("{}.{} s", ms / 1000, ms % 1000 / 100) }
}

/// Deliveries in a table.
pub(super) fn table(webhook: &Webhook, deliveries: &[Delivery], now: i64) -> AnyView {
    let id = webhook.id;
    let rows = deliveries
        .iter()
        .map(|one| {
            let next = one.next_at.map(|at| {
                if webhook.state != WebhookState::Active {
                    "when resumed".into_any()
                } else if at <= now {
                    "now".into_any()
                } else {
                    view! { <Time at=at now=now /> }.erase()
                }
            });
            view! {
                <tr>
                    <td data-label="Status">{became(one.state, one.attempts)}</td>
                    <th scope="row" data-label="Event">
                        <a class="connector-link" href=paths::webhook_delivery(id, one.id)><code class="mono">{one.event.clone()}</code></a>
                    </th>
                    <td data-label="Happened"><Ago at=one.created_at now=now /></td>
                    <td data-label="Answer">{one.answer()}</td>
                    <td data-label="Took" class="number">{one.took.map(took)}</td>
                    <td data-label="Attempts" class="number">{one.attempts}</td>
                    <td data-label="Next attempt">{next}</td>
                </tr>
            }
            .erase()
        })
        .collect_view();
    view! {
        <DataTable
            caption="Deliveries, the newest event first"
            columns=vec!["Status", "Event", "Happened", "Answer", "Took", "Attempts", "Next attempt"]
        >
            {rows}
        </DataTable>
    }
    .erase()
}

/// One attempt: what was answered.
pub(super) fn attempt(attempt: &Attempt, now: i64) -> AnyView {
    let cause = match attempt.cause {
        Cause::Event => "The event",
        Cause::Retry => "An attempt before failed",
        Cause::Replay => "Somebody replayed it",
        Cause::Test => "A test",
    };
    let told = answer(attempt.status, attempt.error.as_deref());
    let tone = if attempt.delivered { Tone::Ok } else { Tone::Bad };
    let headers = (!attempt.headers.is_empty()).then(|| {
        let text: Vec<_> = attempt.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        view! { <CodeBlock label="Headers of the answer" text=text.join("\n") /> }.erase()
    });
    let body = (!attempt.body.is_empty()).then(|| {
        let label = if attempt.cut { "Body of the answer, its beginning" } else { "Body of the answer" };
        view! { <CodeBlock label=label text=attempt.body.clone() /> }.erase()
    });
    let redirect = attempt.status.is_some_and(|status| (300..400).contains(&status)).then(|| {
        view! {
            <Callout tone=Tone::Info title="Redirects are not followed">
                <p>"Enter the address that it points to as the webhook's URL."</p>
            </Callout>
        }
        .erase()
    });
    let (at, took) = (attempt.at, took(attempt.took));
    view! {
        <div class="stack">
            <Facts>
                <Fact term="Answer"><Badge label=told tone=tone /></Fact>
                <Fact term="When"><Time at=at now=now /></Fact>
                <Fact term="Took">{took}</Fact>
                <Fact term="Reason">{cause}</Fact>
            </Facts>
            {redirect}
            {headers}
            {body}
        </div>
    }
    .erase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_a_few_letters() {
        assert_eq!((took(12), took(4230), took(20_000)), ("12 ms".into(), "4.2 s".into(), "20.0 s".into()));
        assert_eq!((events(1), events(0)), ("1 event".to_owned(), "0 events".to_owned()));
    }
}
