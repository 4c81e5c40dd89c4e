use leptos::prelude::*;
use leptos_router::{LazyRoute, hooks::use_location, lazy_route};
use model::{
    Permission, paths,
    webhooks::{DisabledFor, KEPT_DAYS, Webhook, WebhookState},
};

use super::{
    acts::{self, Acts},
    api::{LoadWebhook, OneWebhook, PauseWebhook, ResumeWebhook},
    parts::{crumbs, events, rate, state, table},
};
use crate::{
    components::{
        ButtonForm, ButtonKind, Callout, Card, Choice, DeniedState, Fact, Facts, LinkButton, NotFound,
        PageHeader, RadioGroup, SubmitButton, Time, Tone,
    },
    erase::Erase as _,
    form::{ErrorSummary, Form, PostForm, use_form},
    page::{Loaded, load_by, page},
};

/// One webhook; at further addresses, what can be done with it.
pub struct WebhookPage {
    one: Loaded<OneWebhook>,
}

#[lazy_route]
impl LazyRoute for WebhookPage {
    fn data() -> Self {
        Self { one: load_by("id", |id| LoadWebhook { id }) }
    }

    fn view(this: Self) -> AnyView {
        let pause = use_form::<PauseWebhook>();
        let resume = use_form::<ResumeWebhook>();
        let forms = Acts::new();
        let path = use_location().pathname;
        page(this.one, move |one, me| {
            let Some(webhook) = &one.webhook else { return view! { <NotFound /> }.erase() };
            let may_write = me.can(Permission::WebhooksWrite);
            let path = path.get_untracked();
            match path.rsplit('/').next() {
                Some("test" | "replay" | "delete") if !may_write => {
                    view! { <DeniedState permission=Some(Permission::WebhooksWrite) /> }.erase()
                }
                Some("test") => acts::test(webhook, &forms, one.now),
                Some("replay") => acts::replay(webhook, &forms),
                Some("delete") => acts::delete(webhook, &forms, me.pin),
                _ => overview(webhook, &one, may_write, pause, resume),
            }
        })
    }
}

fn overview(
    webhook: &Webhook,
    one: &OneWebhook,
    may_write: bool,
    pause: Form<PauseWebhook>,
    resume: Form<ResumeWebhook>,
) -> AnyView {
    let (id, now) = (webhook.id, one.now);
    let test = may_write.then(|| {
        view! { <LinkButton href=paths::test_webhook(id) label="Send Test" kind=ButtonKind::Primary /> }
            .erase()
    });
    let deliveries = if one.recent.is_empty() {
        view! { <p class="muted">"Nothing has happened yet that it hears of. Send a test to see how a delivery looks."</p> }
            .erase()
    } else {
        view! {
            {table(webhook, &one.recent, now)}
            <p><a href=paths::webhook_deliveries(id)>"All deliveries, with filters"</a></p>
        }
        .erase()
    };
    let replay = (may_write && !one.recent.is_empty())
        .then(|| view! { <LinkButton href=paths::replay_webhook(id) label="Replay…" /> }.erase());
    let about = webhook.description.clone();
    view! {
        <PageHeader title=webhook.host().to_owned() crumbs=crumbs() about=about nostrip:action=test />
        <div class="stack-wide">
            <ErrorSummary form=pause />
            {standing(webhook, may_write, resume, now)}
            {facts(webhook, may_write, pause, now)}
            <section class="stack" aria-labelledby="deliveries">
                <div class="actions">
                    <h2 id="deliveries">"Latest deliveries"</h2>
                    {replay}
                </div>
                {deliveries}
                <p class="fine">{format!("Deliveries are kept for {KEPT_DAYS} days, and can be replayed as long.")}</p>
            </section>
        </div>
    }
    .erase()
}

fn facts(webhook: &Webhook, may_write: bool, pause: Form<PauseWebhook>, now: i64) -> AnyView {
    let id = webhook.id;
    let hears = if webhook.all {
        "All, also future ones".into_any()
    } else {
        let names = webhook.events.iter();
        let names = names
            .map(|name| view! { <li><code class="mono">{name.clone()}</code></li> }.erase())
            .collect_view();
        view! { <ul class="plain-list">{names}</ul> }.erase()
    };
    let last = match webhook.delivered_at {
        Some(at) => view! { <Time at=at now=now /> }.erase(),
        None => "Never".into_any(),
    };
    let pausing = (webhook.state == WebhookState::Active).then(|| {
        view! {
            <ButtonForm form=pause label="Pause">
                <input type="hidden" name="id" value=id.to_string() />
            </ButtonForm>
        }
        .erase()
    });
    let acts = may_write.then(|| {
        view! {
            <div class="actions">
                <LinkButton href=paths::edit_webhook(id) label="Edit" icon="pencil" name="Edit webhook" />
                {pausing}
            </div>
        }
        .erase()
    });
    let (state, url, rate) = (state(webhook), webhook.url.clone(), rate(webhook));
    let (by, at) = (webhook.created_by.clone(), webhook.created_at);
    view! {
        <Card title="Webhook" nostrip:action=acts>
            <Facts>
                <Fact term="Status">{state}</Fact>
                <Fact term="URL"><code class="mono webhook-url">{url}</code></Fact>
                <Fact term="Events">{hears}</Fact>
                <Fact term="Delivered, 24 hours">{rate}</Fact>
                <Fact term="Last delivery">{last}</Fact>
                <Fact term="Added">{by} ", " <Time at=at now=now /></Fact>
            </Facts>
        </Card>
    }
    .erase()
}

/// What is out of the ordinary, and what can be done about it.
fn standing(webhook: &Webhook, may_write: bool, resume: Form<ResumeWebhook>, now: i64) -> AnyView {
    let waiting = match webhook.waiting {
        0 => "Nothing waits yet.".to_owned(),
        1 => "1 event waits.".to_owned(),
        many => format!("{many} events wait."),
    };
    let (tone, title, why) = match (webhook.state, webhook.reason, webhook.failing_since) {
        (WebhookState::Active, _, None) => return ().into_any(),
        (WebhookState::Active, _, Some(since)) => {
            return view! {
                <Callout tone=Tone::Warn title="It takes no events">
                    <p>
                        "The first delivery failed " <Time at=since now=now />
                        ". Gatehouse goes on trying, and disables the webhook after five days without a success."
                    </p>
                </Callout>
            }
            .erase();
        }
        (WebhookState::Paused, ..) => (Tone::Info, "Paused", "Events that happen now wait for 30 days."),
        (WebhookState::Disabled, Some(DisabledFor::Gone), _) => (
            Tone::Bad,
            "Disabled: the receiver is gone",
            "It answered 410 Gone. Events that happen now wait for 30 days.",
        ),
        (WebhookState::Disabled, ..) => (
            Tone::Bad,
            "Disabled: it took no event for five days",
            "Events that happen now wait for 30 days.",
        ),
    };
    let form = may_write.then(|| {
        let id = webhook.id.to_string();
        let choice = (webhook.waiting > 0).then(|| {
            let skip = format!("Skip the {}", events(webhook.waiting));
            let ways = vec![
                Choice::new("send", "Send them, the oldest first"),
                Choice::new("skip", skip).hint("They stay in the log and can be replayed."),
            ];
            view! { <RadioGroup form=resume name="waiting" label="What waits" value="send" choices=ways /> }
                .erase()
        });
        view! {
            <PostForm form=resume>
                <ErrorSummary form=resume />
                <input type="hidden" name="id" value=id />
                {choice}
                <SubmitButton form=resume label="Resume" busy="Resuming…" kind=ButtonKind::Secondary />
            </PostForm>
        }
        .erase()
    });
    let since = webhook.state_at;
    view! {
        <Callout tone=tone title=title>
            <p>{why} " Since " <Time at=since now=now /> ". " {waiting}</p>
            {form}
        </Callout>
    }
    .erase()
}
