use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};
use model::{
    Permission,
    audit::readable,
    audit_stream::{AuditStream, AuditStreamPage as Page, KEPT_DAYS, StreamKind},
    paths,
};

use super::api::{DeleteAuditStream, LoadAuditStream, PutAuditStream, TestAuditStream};
use crate::{
    components::{
        Badge, ButtonForm, ButtonKind, Callout, Card, Checkbox, Choice, Crumb, Fact, Facts, PageHeader,
        RadioGroup, SubmitButton, TextField, Time, Tone,
    },
    erase::Erase as _,
    form::{ErrorSummary, Form, PostForm, use_form},
    page::{Loaded, load, page},
};

/// Where the audit log is streamed to.
pub struct AuditStreamPage {
    data: Loaded<Page>,
}

#[lazy_route]
impl LazyRoute for AuditStreamPage {
    fn data() -> Self {
        Self { data: load(LoadAuditStream {}) }
    }

    fn view(this: Self) -> AnyView {
        let save = use_form::<PutAuditStream>();
        let test = use_form::<TestAuditStream>();
        let delete = use_form::<DeleteAuditStream>();
        page(this.data, move |data, me| {
            let may = me.can(Permission::SecurityManage);
            let included = readable(data.plan);
            let plan = data.plan.to_string();
            let note = (!included).then(|| {
                view! {
                    <Callout tone=Tone::Info title="Included in the plans Pro, Team and Enterprise">
                        <p>"This organisation has the plan " {plan} ". " "An owner changes plans in " <a href=paths::settings_plan()>"Settings → Plan"</a> "."</p>
                    </Callout>
                }
                .erase()
            });
            let denied = (!may).then(|| {
                view! {
                    <Callout tone=Tone::Neutral>
                        <p>"You need " <code>{Permission::SecurityManage.as_str()}</code> " to change this."</p>
                    </Callout>
                }
                .erase()
            });
            let state = data.stream.as_ref().map(|stream| state(stream, data.now, test, may && included));
            let fields = (may && included).then(|| fields(save, data.stream.as_ref()));
            let remove = data.stream.as_ref().filter(|_| may).map(|stream| remove(stream, delete));
            view! {
                <div class="narrow">
                    <PageHeader
                        title="Audit stream"
                        crumbs=vec![Crumb::new(paths::settings_audit(), "Audit log")]
                        about="Every event is also sent to your SIEM, in order and at least once."
                    />
                    <div class="stack-wide">{note} {denied} {state} {fields} {remove}</div>
                </div>
            }
            .erase()
        })
    }
}

fn state(stream: &AuditStream, now: i64, test: Form<TestAuditStream>, may: bool) -> AnyView {
    let (label, tone) = match (stream.enabled, &stream.last_error) {
        (false, _) => ("Off", Tone::Neutral),
        (true, Some(_)) => ("Failing", Tone::Bad),
        (true, None) => ("Streaming", Tone::Ok),
    };
    let sent = match stream.last_sent_at {
        Some(at) => view! { <Time at=at now=now /> }.erase(),
        None => "Nothing yet".into_any(),
    };
    let waiting = match (stream.waiting, stream.waiting_since) {
        (0, _) => "No events wait.".into_any(),
        (count, Some(at)) => {
            let events = if count == 1 { "1 event waits".to_owned() } else { format!("{count} events wait") };
            view! { {events} ", the oldest since " <Time at=at now=now /> }.erase()
        }
        (count, None) => format!("{count} wait").into_any(),
    };
    let error = stream.last_error.clone().map(|(why, at)| {
        let next = stream.next_at.map(|at| view! { " Next attempt " <Time at=at now=now /> "." }.erase());
        view! { <Fact term="Last error"><Time at=at now=now /> ": " {why} {next}</Fact> }.erase()
    });
    let skipped = (stream.skipped > 0).then(|| {
        let skipped = stream.skipped;
        view! { <Fact term="Not sent">{skipped} " events were removed by retention before they could be sent."</Fact> }
            .erase()
    });
    let outcome = move || {
        test.ok().get().map(|outcome| match outcome {
            Ok(()) => view! { <Callout tone=Tone::Ok title="The receiver took the test event"><p>"It is no event of this log."</p></Callout> }.erase(),
            Err(why) => {
                view! { <Callout tone=Tone::Bad title="The test event was not taken"><p>{why}</p></Callout> }
                    .erase()
            }
        })
    };
    let button = if may {
        view! { <ButtonForm form=test label="Send a test event" /> }.erase()
    } else {
        ().into_any()
    };
    let (url, by, updated) = (stream.url.clone(), stream.updated_by.clone(), stream.updated_at);
    view! {
        <Card title="State" action=button>
            <div class="stack">
                <ErrorSummary form=test />
                <div role="status">{outcome}</div>
                <Facts>
                    <Fact term="Stream"><Badge label=label tone=tone /></Fact>
                    <Fact term="Receiver"><code>{url}</code></Fact>
                    <Fact term="Last sent">{sent}</Fact>
                    <Fact term="Waiting">{waiting}</Fact>
                    {error}
                    {skipped}
                    <Fact term="Changed"><Time at=updated now=now /> " by " {by}</Fact>
                </Facts>
            </div>
        </Card>
    }
    .erase()
}

fn fields(save: Form<PutAuditStream>, old: Option<&AuditStream>) -> AnyView {
    let kinds = vec![
        Choice::new(StreamKind::JsonLines.as_str(), "JSON lines")
            .hint("One object a line. The token goes as Authorization: Bearer."),
        Choice::new(StreamKind::SplunkHec.as_str(), "Splunk HTTP Event Collector")
            .hint("The URL ends in /services/collector/event. The token goes as Authorization: Splunk."),
    ];
    let kind = old.map_or(StreamKind::JsonLines, |old| old.kind).as_str();
    let url = old.map(|old| old.url.clone()).unwrap_or_default();
    let has_token = old.is_some_and(|old| old.has_token);
    let enabled = old.is_none_or(|old| old.enabled);
    let hint = if has_token {
        "One is stored. Left empty, it stays."
    } else {
        "It is sealed, and never shown again."
    };
    let bare = has_token.then(|| {
        view! { <Checkbox form=save name="bare" label="Erase the stored token and send none" /> }.erase()
    });
    let label = if old.is_some() { "Save changes" } else { "Start streaming" };
    let about = format!(
        "While the receiver is down, events wait for at least {KEPT_DAYS} days. After an interruption some may come twice: tell them apart by their id."
    );
    view! {
        <Card title="Receiver" about=about>
            <PostForm form=save>
                <ErrorSummary form=save />
                <RadioGroup form=save name="kind" label="Form" value=kind choices=kinds />
                <TextField
                    form=save
                    name="url"
                    label="URL"
                    hint="Such as https://siem.example.com/ingest"
                    value=url
                    kind="url"
                    inputmode="url"
                    mono=true
                />
                <TextField form=save name="token" label="Token" hint=hint kind="password" autocomplete="new-password" />
                {bare}
                <Checkbox form=save name="enabled" label="Send events" checked=enabled />
                <div class="actions"><SubmitButton form=save label=label /></div>
            </PostForm>
        </Card>
    }
    .erase()
}

fn remove(stream: &AuditStream, delete: Form<DeleteAuditStream>) -> AnyView {
    let waiting = stream.waiting;
    let unsent = (waiting > 0).then(|| {
        view! { <li>{waiting} " events that wait are not sent; they stay in the log."</li> }.erase()
    });
    view! {
        <Card title="End the stream">
            <PostForm form=delete>
                <ErrorSummary form=delete />
                <ul class="consequences">
                    <li>"Nothing is sent any more, and the token is erased."</li>
                    {unsent}
                </ul>
                <SubmitButton form=delete label="End the stream" busy="Ending…" kind=ButtonKind::Danger />
            </PostForm>
        </Card>
    }
    .erase()
}
