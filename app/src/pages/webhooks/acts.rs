//! What can be done with one webhook: try it out, send events once more, delete it.

use leptos::prelude::*;
use model::{
    orgs::PinAsked,
    paths,
    webhooks::{KEPT_DAYS, Webhook},
};

use super::{
    api::{CountReplay, DeleteWebhook, PauseWebhook, ReplayEvents, TestWebhook},
    parts::{attempt, crumbs_of, events},
};
use crate::{
    components::{Callout, Card, Checkbox, CodeBlock, LinkButton, PageHeader, SubmitButton, TextField, Tone},
    erase::Erase as _,
    form::{ErrorSummary, Form, PostForm, use_form},
    pages::deletion::{self, Deletion},
};

/// The forms of these pages.
pub(super) struct Acts {
    test: Form<TestWebhook>,
    count: Form<CountReplay>,
    replay: Form<ReplayEvents>,
    delete: Form<DeleteWebhook>,
    pause: Form<PauseWebhook>,
}

impl Acts {
    pub(super) fn new() -> Self {
        Self {
            test: use_form(),
            count: use_form(),
            replay: use_form(),
            delete: use_form(),
            pause: use_form(),
        }
    }
}

/// Sends a test and shows what came of it.
pub(super) fn test(webhook: &Webhook, forms: &Acts, now: i64) -> AnyView {
    let form = forms.test;
    let (id, url) = (webhook.id, webhook.url.clone());
    let result = move || {
        form.ok().get().map(|detail| {
            let answer = detail.attempts.first().map(|one| attempt(one, now.max(one.at)));
            let delivered = detail.attempts.first().is_some_and(|one| one.delivered);
            let (tone, title) = if delivered {
                (Tone::Ok, "The receiver took it")
            } else {
                (Tone::Bad, "The receiver did not take it")
            };
            let path = paths::webhook_delivery(id, detail.delivery.id);
            view! {
                <Card title="What came of it">
                    <div class="stack" role="status">
                        <Callout tone=tone title=title>
                            <p>"A delivery counts as taken when it is answered with a status from 200 to 299."</p>
                        </Callout>
                        {answer}
                        <CodeBlock label="Body that was sent" text=detail.body />
                        <p><a href=path>"This test in the log"</a></p>
                    </div>
                </Card>
            }
            .erase()
        })
    };
    view! {
        <div class="narrow">
            <PageHeader title="Send Test" crumbs=crumbs_of(webhook) />
            <div class="stack-wide">
                <Card
                    title="Test event"
                    about="Sends webhook.test, signed like every other event, and waits up to 20 seconds for the answer. It is not tried again."
                >
                    <PostForm form=form>
                        <ErrorSummary form=form />
                        <input type="hidden" name="id" value=id.to_string() />
                        <p>"To " <code class="mono">{url}</code></p>
                        <div class="actions">
                            <SubmitButton form=form label="Send Test" busy="Sending…" />
                            <LinkButton href=paths::webhook(id) label="Back" />
                        </div>
                    </PostForm>
                </Card>
                {result}
            </div>
        </div>
    }
    .erase()
}

/// Sends the events of some days once more; first it tells how many.
pub(super) fn replay(webhook: &Webhook, forms: &Acts) -> AnyView {
    let (count, send) = (forms.count, forms.replay);
    let id = webhook.id;
    let confirm = move || {
        count.ok().get().map(|range| {
            let which = if range.delivered_too { "all of them" } else { "those that were given up or skipped" };
            let until = if range.to.is_empty() { "today".to_owned() } else { range.to.clone() };
            let about = format!("{} from {} to {until}, {which}.", events(range.count), range.from);
            let body = if range.count == 0 {
                view! { <p>"Nothing is there to send. Take other days, or also those that were delivered."</p> }.erase()
            } else {
                let delivered = range
                    .delivered_too
                    .then(|| view! { <input type="hidden" name="delivered" value="on" /> }.erase());
                view! {
                    <PostForm form=send>
                        <ErrorSummary form=send />
                        <input type="hidden" name="id" value=id.to_string() />
                        <input type="hidden" name="from" value=range.from />
                        <input type="hidden" name="to" value=range.to />
                        {delivered}
                        <p>"They keep their ids, so that a receiver knows those that it has seen."</p>
                        <SubmitButton form=send label=format!("Replay {}", events(range.count)) busy="Replaying…" />
                    </PostForm>
                }
                .erase()
            };
            view! {
                <Card title="What is sent" about=about>
                    <div class="stack" role="status">{body}</div>
                </Card>
            }
            .erase()
        })
    };
    let kept = format!("Events of the last {KEPT_DAYS} days. Days are UTC.");
    view! {
        <div class="narrow">
            <PageHeader title="Replay events" crumbs=crumbs_of(webhook) />
            <div class="stack-wide">
                <Card title="Which" about=kept>
                    <PostForm form=count>
                        <ErrorSummary form=count />
                        <input type="hidden" name="id" value=id.to_string() />
                        <TextField form=count name="from" label="First day" hint="For example 2026-03-12." kind="date" />
                        <TextField form=count name="to" label="Last day (optional)" kind="date" />
                        <Checkbox form=count name="delivered" label="Also events that were delivered" />
                        <div class="actions">
                            <SubmitButton form=count label="Count events" busy="Counting…" />
                            <LinkButton href=paths::webhook(id) label="Back" />
                        </div>
                    </PostForm>
                </Card>
                {confirm}
            </div>
        </div>
    }
    .erase()
}

/// Asks before a webhook is deleted.
pub(super) fn delete(webhook: &Webhook, forms: &Acts, pin: PinAsked) -> AnyView {
    let waiting = (webhook.waiting > 0)
        .then(|| format!("{} that wait are not sent.", events(webhook.waiting)).into_any());
    let always = [
        "It hears of nothing from then on.",
        "The log of its deliveries is deleted with it, and its secret.",
        "The audit log keeps what was done with it.",
        "This cannot be undone. Pausing it stops it just the same, and can be.",
    ];
    let deletion = Deletion {
        name: webhook.host().to_owned(),
        id: webhook.id.to_string(),
        crumbs: crumbs_of(webhook),
        back: paths::webhook(webhook.id),
        warning: None,
        consequences: waiting.into_iter().chain(always.map(IntoAny::into_any)).collect(),
        instead: None,
        confirm: None,
        label: "Delete webhook",
        pin,
    };
    deletion::question(deletion, forms.delete.into(), forms.pause.into())
}
