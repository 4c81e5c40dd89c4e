use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};
use model::{
    Permission,
    connectors::HIDDEN_QUERY,
    paths,
    webhooks::{MAX_DESCRIPTION, ShownWebhook, TOPICS, Webhook},
};

use super::{
    api::{CreateWebhook, LoadWebhook, OneWebhook, RotateWebhook, UpdateWebhook},
    parts::{crumbs, crumbs_of},
};
use crate::{
    components::{
        ButtonKind, Callout, Card, CheckboxGroup, Choice, CopyField, DeniedState, Fact, Facts, LinkButton,
        PageHeader, RadioGroup, SubmitButton, TextField, Time, Tone, Unsaved,
    },
    erase::Erase as _,
    form::{ErrorSummary, Form, FormCore, PostForm, use_form},
    page::{Loaded, load_by, page},
};

/// Add a webhook, or change one: URL, events, secret.
pub struct EditWebhookPage {
    one: Loaded<OneWebhook>,
}

#[lazy_route]
impl LazyRoute for EditWebhookPage {
    fn data() -> Self {
        Self { one: load_by("id", |id| LoadWebhook { id }) }
    }

    fn view(this: Self) -> AnyView {
        let create = use_form::<CreateWebhook>();
        let update = use_form::<UpdateWebhook>();
        let rotate = use_form::<RotateWebhook>();
        page(this.one, move |one, me| {
            if !me.can(Permission::WebhooksWrite) {
                return view! { <DeniedState permission=Some(Permission::WebhooksWrite) /> }.erase();
            }
            (move || match (create.ok().get(), rotate.ok().get(), &one.webhook) {
                (Some(made), ..) => shown(made, "Webhook added", "It hears of events from now on."),
                (None, Some(made), _) => {
                    shown(made, "New secret made", "The old one signs besides it for 24 hours.")
                }
                (None, None, Some(webhook)) => edit(webhook, update, rotate, one.now),
                (None, None, None) => new(create),
            })
            .into_any()
        })
    }
}

/// The answer that holds a secret: the only time that it is on a page.
fn shown(made: ShownWebhook, title: &'static str, about: &'static str) -> AnyView {
    let id = made.webhook.id;
    view! {
        <div class="narrow">
            <PageHeader title=title crumbs=crumbs_of(&made.webhook) />
            <Card title="Its secret" about=about>
                <div class="stack" role="status">
                    <div class="settings-copy"><p>"Signing secret"</p> <CopyField label="signing secret" text=made.secret /></div>
                    <Callout tone=Tone::Warn title="You will not see this secret again">
                        <p>
                            "Your receiver verifies with it that a request comes from here: "
                            <a href=paths::help_webhooks()>"how"</a> "."
                        </p>
                    </Callout>
                    <div class="actions">
                        <LinkButton href=paths::test_webhook(id) label="Send a test" kind=ButtonKind::Primary />
                        <LinkButton href=paths::webhook(id) label="I have saved it" />
                    </div>
                </div>
            </Card>
        </div>
    }
    .erase()
}

fn fields(form: FormCore, url: String, description: String, all: bool, chosen: Vec<String>) -> AnyView {
    let hint = if url.ends_with(HIDDEN_QUERY) {
        "What stands after ? is sealed and not shown. Leave the dots to keep it, or type the whole URL."
    } else {
        "Begins with https://. What stands after ? is sealed and not shown again."
    };
    let ways = vec![
        Choice::new("all", "All events").hint("Also those that future versions add."),
        Choice::new("only", "Only selected events"),
    ];
    let choices = TOPICS
        .iter()
        .flat_map(|(_, topics)| topics.iter())
        .map(|topic| Choice::new(topic.name, topic.name).hint(topic.about))
        .collect();
    view! {
        <TextField form=form name="url" label="URL" hint=hint value=url mono=true />
        <TextField
            form=form
            name="description"
            label="Description (optional)"
            hint="What receives it? For example incident channel."
            value=description
            max=MAX_DESCRIPTION
        />
        <RadioGroup form=form name="access" label="Events" value=if all { "all" } else { "only" } choices=ways />
        <div class="only-these">
            <CheckboxGroup form=form name="events[]" label="Selected events" values=chosen choices=choices />
        </div>
    }
    .erase()
}

fn new(create: Form<CreateWebhook>) -> AnyView {
    let fields = fields(create.into(), String::new(), String::new(), true, Vec::new());
    view! {
        <div class="narrow">
            <PageHeader title="Add Webhook" crumbs=crumbs() />
            <Card title="Receiver">
                <PostForm form=create class="key-form">
                    <ErrorSummary form=create />
                    {fields}
                    <div class="actions">
                        <SubmitButton form=create label="Save" />
                        <a class="button" href=paths::settings_webhooks()>"Cancel"</a>
                    </div>
                </PostForm>
            </Card>
        </div>
    }
    .erase()
}

fn edit(webhook: &Webhook, update: Form<UpdateWebhook>, rotate: Form<RotateWebhook>, now: i64) -> AnyView {
    let fields = fields(
        update.into(),
        webhook.url.clone(),
        webhook.description.clone(),
        webhook.all,
        webhook.events.clone(),
    );
    let id = webhook.id.to_string();
    let (back, delete) = (paths::webhook(webhook.id), paths::delete_webhook(webhook.id));
    view! {
        <div class="narrow">
            <PageHeader title=format!("Edit {}", webhook.host()) crumbs=crumbs_of(webhook) />
            <div class="stack-wide">
                <Card title="Receiver">
                    <PostForm form=update class="key-form">
                        <ErrorSummary form=update />
                        <input type="hidden" name="id" value=id />
                        {fields}
                        <div class="actions">
                            <SubmitButton form=update label="Save" />
                            <a class="button" href=back>"Cancel"</a>
                            <Unsaved />
                        </div>
                    </PostForm>
                </Card>
                {secrets(webhook, rotate, now)}
                <Card title="Delete webhook" about="Its log is deleted with it, and what waits is not sent.">
                    <LinkButton href=delete label="Delete webhook…" kind=ButtonKind::Danger />
                </Card>
            </div>
        </div>
    }
    .erase()
}

fn secrets(webhook: &Webhook, rotate: Form<RotateWebhook>, now: i64) -> AnyView {
    let id = webhook.id.to_string();
    let rows = webhook
        .secrets
        .iter()
        .map(|secret| {
            let until = match secret.expires_at {
                None => "signs every delivery".into_any(),
                Some(at) => view! { "signs besides it, ends " <Time at=at now=now /> }.erase(),
            };
            let (by, at) = (secret.created_by.clone(), secret.created_at);
            view! { <Fact term="Made">{by} ", " <Time at=at now=now /> ": " {until}</Fact> }.erase()
        })
        .collect_view();
    view! {
        <Card
            title="Signing secret"
            about="A new one is shown once. For 24 hours every delivery has two signatures, one of each secret, so nothing is lost while you change it."
        >
            <div class="stack">
                <Facts>{rows}</Facts>
                <PostForm form=rotate>
                    <ErrorSummary form=rotate />
                    <input type="hidden" name="id" value=id />
                    <SubmitButton form=rotate label="Rotate secret" busy="Rotating…" kind=ButtonKind::Secondary />
                </PostForm>
            </div>
        </Card>
    }
    .erase()
}
