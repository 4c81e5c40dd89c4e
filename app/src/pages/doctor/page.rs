use crate::erase::Erase as _;
use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};
use model::{
    doctor::{Attempt, DoctorPage as Page, Outcome, Revoked, SeenStep, SelfTest, Stage},
    paths,
};

use super::api::{LoadDoctor, RunSelfTest};
use crate::{
    components::{
        Badge, ButtonForm, Callout, Card, CheckItem, CheckList, CopyField, Crumb, Day, EmptyState, Icon,
        PageHeader, Time, Tone,
    },
    form::{ErrorSummary, Form, use_form},
    page::{Loaded, load, page},
};

/// The connection doctor.
pub struct DoctorPage {
    data: Loaded<Page>,
}

#[lazy_route]
impl LazyRoute for DoctorPage {
    fn data() -> Self {
        Self { data: load(LoadDoctor {}) }
    }

    fn view(this: Self) -> AnyView {
        let test = use_form::<RunSelfTest>();
        page(this.data, move |data, _| {
            let Page { attempts, more, endpoint, now } = data;
            view! {
                <div class="narrow">
                    <PageHeader
                        title="Connection doctor"
                        crumbs=vec![
                            Crumb::new(paths::settings(), "Settings"),
                            Crumb::new(paths::settings_connections(), "MCP connections"),
                        ]
                        about="What clients did on their way to a connection in the last seven days, and where they got stuck."
                    />
                    {self_test(test, endpoint)}
                    {list(attempts, more, now)}
                </div>
            }
            .erase()
        })
    }
}

fn self_test(test: Form<RunSelfTest>, endpoint: String) -> AnyView {
    let button = view! { <ButtonForm form=test label="Run self-test" icon="refresh-cw" /> }.erase();
    let result = move || test.ok().get().map(|found| tested(&found));
    view! {
        <Card
            title="Self-test"
            about="Gatehouse calls its own public address as a client would, and names the proxy or setting that blocks it."
            action=button
        >
            <div class="stack">
                <ErrorSummary form=test />
                <CopyField label="endpoint URL" text=endpoint />
                <div role="status">{result}</div>
            </div>
        </Card>
    }
    .erase()
}

fn tested(found: &SelfTest) -> AnyView {
    let passed = found.passed();
    let (tone, title, about) = if passed {
        (
            Tone::Ok,
            "Clients can find their way here",
            "Every step answered as it should. What still fails then lies between the client and this server.".to_owned(),
        )
    } else {
        let left = found.planned.saturating_sub(u32::try_from(found.probes.len()).unwrap_or(found.planned));
        let left = match left {
            0 => String::new(),
            1 => " One step behind it was not tried.".to_owned(),
            many => format!(" {many} steps behind it were not tried."),
        };
        (Tone::Bad, "Clients get stuck here", format!("The last step below failed.{left}"))
    };
    let items = found
        .probes
        .iter()
        .map(|probe| {
            let (title, detail, fix) = (probe.title.clone(), probe.detail.clone(), probe.fix.clone());
            view! { <CheckItem passed=probe.passed title=title detail=detail fix=fix /> }.erase()
        })
        .collect_view();
    view! {
        <div class="stack">
            <Callout tone=tone title=title>
                <p>{about}</p>
            </Callout>
            <CheckList>{items}</CheckList>
        </div>
    }
    .erase()
}

fn list(attempts: Vec<Attempt>, more: bool, now: i64) -> AnyView {
    if attempts.is_empty() {
        return view! {
            <EmptyState
                icon="history"
                title="No client came by in the last seven days"
                about="As soon as one asks the endpoint without a credential, its way from there stands here."
            >
                <a class="button" href=paths::help_quickstart()>"How to connect a client"</a>
            </EmptyState>
        }
        .erase();
    }
    let items = attempts.into_iter().map(|attempt| attempt_view(attempt, now)).collect_view();
    let more = more.then(|| view! { <p class="muted">"Older attempts are left out."</p> }.erase());
    view! {
        <section class="attempts" aria-labelledby="attempts">
            <h2 id="attempts">"Attempts"</h2>
            {items}
            {more}
        </section>
    }
    .erase()
}

fn attempt_view(attempt: Attempt, now: i64) -> AnyView {
    let (word, tone) = match attempt.outcome {
        Outcome::Connected => ("Connected", Tone::Ok),
        Outcome::Revoked => ("Revoked", Tone::Bad),
        Outcome::UnderWay => ("Under way", Tone::Info),
        Outcome::Failed => ("Failed", Tone::Bad),
        Outcome::Stopped => ("Stopped", Tone::Warn),
    };
    let last = attempt.last_at();
    let from =
        [attempt.named, attempt.address].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>();
    let from = from.join(" · ");
    let id = attempt.client_id.map(|id| view! { <p class="fine">"Client id " <code>{id}</code></p> }.erase());
    let missing = (attempt.outcome == Outcome::Stopped).then_some(attempt.stuck).flatten();
    let open = attempt.outcome == Outcome::Failed;
    let steps = attempt.steps.into_iter().map(|step| step_view(step, now)).collect_view();
    let missing = missing.map(missing_view);
    let diagnosis = match attempt.revoked {
        Some(Revoked { at, by }) => {
            let by = if by.is_empty() { ".".to_owned() } else { format!(" by {by}.") };
            view! { <p>"Was connected; revoked " <Day at=at /> {by}</p> }.erase()
        }
        None => view! { <p>{attempt.diagnosis}</p> }.erase(),
    };
    let fix = (!attempt.fix.is_empty()).then(|| {
        let (tone, fix) = (tone, attempt.fix);
        view! {
            <Callout tone=tone title="What to do">
                <p>{fix}</p>
            </Callout>
        }
        .erase()
    });
    view! {
        <article class="card attempt">
            <div class="card-head">
                <div>
                    <h3>{attempt.client}</h3>
                    <p class="muted">{from}</p>
                </div>
                <div class="attempt-state">
                    <Badge label=word tone=tone />
                    <Time at=last now=now />
                </div>
            </div>
            <div class="stack">
                {diagnosis}
                {fix}
                <details class="disclosure" open=open>
                    <summary>
                        <Icon name="chevron-right" />
                        <span>"Timeline"</span>
                    </summary>
                    <div class="disclosure-body">
                        <ol class="checks">{steps} {missing}</ol>
                        {id}
                    </div>
                </details>
            </div>
        </article>
    }
    .erase()
}

fn step_view(step: SeenStep, now: i64) -> AnyView {
    let (icon, said, tone) = match &step.error {
        None => ("circle-check", "Done: ", "ok"),
        Some(_) => ("circle-x", "Failed: ", "bad"),
    };
    let error = step.error.map(|error| view! { <code>{error}</code> }.erase());
    let times = (step.times > 1).then(|| format!(" {} times", step.times));
    let detail = (!step.detail.is_empty()).then(|| view! { <p class="muted">{step.detail}</p> }.erase());
    let at = step.at;
    view! {
        <li data-tone=tone>
            <Icon name=icon />
            <div>
                <p class="check-title"><span class="visually-hidden">{said}</span> {step.stage.title()} " " {error}</p>
                <p class="muted"><Time at=at now=now /> {times}</p>
                {detail}
            </div>
        </li>
    }
    .erase()
}

/// The step that did not come.
fn missing_view(stage: Stage) -> AnyView {
    view! {
        <li data-tone="neutral">
            <Icon name="circle-dashed" />
            <div>
                <p class="check-title"><span class="visually-hidden">"Missing: "</span> {stage.title()}</p>
                <p class="muted">"Was not seen."</p>
            </div>
        </li>
    }
    .erase()
}
