use crate::erase::Erase as _;
use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};
use model::{
    Permission, Role,
    orgs::{Activity, Me, Overview},
    paths,
};

use super::{
    activity::ActivityList,
    api::{AddDemoConnector, DismissOnboarding, LoadOverview},
};
use crate::{
    components::{
        ButtonKind, Callout, Card, Checklist, CodeBlock, CopyField, LinkButton, PageHeader, Step,
        SubmitButton, Time,
    },
    form::{ErrorSummary, Form, PostForm, use_form},
    page::{Loaded, load_by_search, page},
};

/// Overview.
pub struct OverviewPage {
    data: Loaded<(Overview, String, i64)>,
}

#[lazy_route]
impl LazyRoute for OverviewPage {
    fn data() -> Self {
        Self { data: load_by_search("search", |search| LoadOverview { search }) }
    }

    fn view(this: Self) -> AnyView {
        let add_demo = use_form::<AddDemoConnector>();
        let dismiss = use_form::<DismissOnboarding>();
        page(this.data, move |(overview, usage, now), me| {
            overview_view(add_demo, dismiss, overview, usage, now, &me)
        })
    }
}

fn overview_view(
    add_demo: Form<AddDemoConnector>,
    dismiss: Form<DismissOnboarding>,
    overview: Overview,
    usage: String,
    now: i64,
    me: &Me,
) -> AnyView {
    let org = me.org.as_ref().map(|org| org.name.clone()).unwrap_or_default();
    let mut steps = steps(&overview);
    // Whoever works alone is done when the first call is made.
    let open = steps.iter().any(|step| !step.done) && !overview.onboarding_dismissed;
    if me.can(Permission::TeamInvite) {
        steps.push(invite_step(&overview));
    }
    let onboarding = (open && me.can(Permission::ConnectorsWrite)).then(|| {
        onboarding(add_demo, dismiss, steps, overview.demo_available, me.can(Permission::ApiKeysCreate))
    });
    let waiting = (overview.connectors.total == 0 && !me.can(Permission::ConnectorsWrite)).then(|| {
        let who = Role::holders(Permission::ConnectorsWrite).map(Role::as_str).collect::<Vec<_>>().join(", ");
        view! {
            <Callout title="Nothing is connected yet">
                <p>{format!("Connectors appear here when somebody adds them. The roles that can: {who}.")}</p>
            </Callout>
        }
        .erase()
    });
    view! {
        <PageHeader title="Overview" about=org />
        <div class="overview">
            {onboarding}
            {waiting}
            {endpoint(&overview, me.can(Permission::ApiKeysCreate), open)}
            {stats(&overview, now)}
            <Card title="Usage"><div id="usage" class="usage" inner_html=usage></div></Card>
            {overview.last_call_at.is_none().then(|| first_call(&overview.endpoint))}
            {activity(overview.activity, now, me.can(Permission::AuditRead))}
        </div>
    }
    .erase()
}

/// From nothing to the first call. A call proves that there was a key, even if it is gone by now.
fn steps(overview: &Overview) -> Vec<Step> {
    let called = overview.last_call_at.is_some();
    vec![
        Step {
            done: overview.connectors.total > 0,
            title: "Add connector".to_owned(),
            about: "Connect an MCP server, so that its tools are offered at your endpoint.".to_owned(),
            href: paths::new_connector().to_owned(),
        },
        Step {
            done: overview.active_keys > 0 || overview.connections > 0 || called,
            title: "Create a key or connect a client".to_owned(),
            about: "A key lets an agent or a server call your endpoint. Many clients can sign in instead, without one."
                .to_owned(),
            href: paths::new_api_key().to_owned(),
        },
        Step {
            done: called,
            title: "Make the first call".to_owned(),
            about: "Connect a client, or send the request below. This step is done when it arrives."
                .to_owned(),
            href: paths::connect_agent().to_owned(),
        },
        Step {
            done: overview.second_factor,
            title: "Turn on two-factor authentication".to_owned(),
            about: "A code from your phone beside your password: a stolen password alone opens nothing."
                .to_owned(),
            href: paths::profile_two_factor().to_owned(),
        },
    ]
}

/// Not alone any more.
fn invite_step(overview: &Overview) -> Step {
    Step {
        done: overview.people > 1,
        title: "Invite people".to_owned(),
        about: "Colleagues manage connectors with you, or connect clients of their own.".to_owned(),
        href: paths::team_invitations().to_owned(),
    }
}

fn onboarding(
    add_demo: Form<AddDemoConnector>,
    dismiss: Form<DismissOnboarding>,
    steps: Vec<Step>,
    demo: bool,
    keys: bool,
) -> AnyView {
    let no_connector = steps.first().is_some_and(|step| !step.done);
    let demo = (demo && no_connector).then(|| {
        view! {
            <div class="demo">
                <p class="muted">"No MCP server at hand? The built-in demo server has three small tools."</p>
                <PostForm form=add_demo class="inline-form">
                    <SubmitButton
                        form=add_demo
                        label="Add the demo server"
                        busy="Adding…"
                        kind=ButtonKind::Secondary
                        icon="plus"
                    />
                </PostForm>
            </div>
        }
        .erase()
    });
    let next = steps.iter().find(|step| !step.done).map(|step| {
        // The only primary action of the page, until all is done.
        let allowed = keys || [paths::new_connector(), paths::profile_two_factor()].contains(&step.href.as_str());
        allowed.then(|| {
            view! { <LinkButton href=step.href.clone() label=step.title.clone() kind=ButtonKind::Primary /> }.erase()
        })
    });
    let close = view! {
        <PostForm form=dismiss class="inline-form">
            <SubmitButton
                form=dismiss
                label="Close"
                name="Close the first steps"
                busy="Closing…"
                kind=ButtonKind::Quiet
                icon="x"
            />
        </PostForm>
    }
    .erase();
    view! {
        <Card title="First steps" action=close class="onboarding">
            <ErrorSummary form=add_demo />
            <ErrorSummary form=dismiss />
            <Checklist steps=steps />
            <div class="actions">{next}</div>
            {demo}
        </Card>
    }
    .erase()
}

fn endpoint(overview: &Overview, connect: bool, steps_open: bool) -> AnyView {
    let url = overview.endpoint.clone();
    let also_at = overview.also_at.clone().map(|url| {
        view! {
            <p class="hint">"The address of this instance works as well:"</p>
            <CopyField label="endpoint URL at this instance" text=url />
        }
        .erase()
    });
    let kind = if steps_open { ButtonKind::Secondary } else { ButtonKind::Primary };
    let connect = connect
        .then(|| view! { <LinkButton href=paths::connect_agent() label="Connect a client" kind=kind icon="plug" /> }.erase());
    view! {
        <Card title="Your MCP endpoint" about="Every agent reaches all enabled connectors at this one URL.">
            <div class="stack">
                <CopyField label="endpoint URL" text=url />
                {also_at}
                <div class="actions">
                    {connect}
                    <LinkButton href=paths::help_quickstart() label="Read the quickstart" kind=ButtonKind::Quiet />
                </div>
            </div>
        </Card>
    }
    .erase()
}

fn stats(overview: &Overview, now: i64) -> AnyView {
    let counts = overview.connectors;
    let connectors = match (counts.total, counts.total - counts.enabled.min(counts.total)) {
        (0, _) => "None yet".to_owned(),
        (_, 0) => format!("{} healthy", counts.healthy),
        (_, off) => format!("{} healthy · {off} disabled", counts.healthy),
    };
    let call = match overview.last_call_at {
        Some(at) => view! { <Time at=at now=now /> }.erase(),
        None => "No call yet".into_any(),
    };
    let day = overview.last_day.map(|day| {
        let errors = match (day.requests, day.errors) {
            (0, _) => "None failed".to_owned(),
            (all, failed) => format!("{}.{} % failed", failed * 100 / all, failed * 1000 / all % 10),
        };
        let p95 = day.p95_ms.map(|ms| format!(" · 95 of 100 calls under {ms} ms"));
        view! {
            <div>
                <dt><a href=format!("{}?range=24h", paths::activity())>"Requests in the last 24 hours"</a></dt>
                <dd class="figure">{day.requests}</dd>
                <dd class="muted">{errors} {p95}</dd>
            </div>
        }
        .erase()
    });
    let keys = if overview.active_keys == 0 {
        "No key is enabled. Every request with a key gets 401."
    } else {
        "Enabled and not expired"
    };
    view! {
        <dl class="stats">
            <div>
                <dt><a href=paths::connectors()>"Enabled connectors"</a></dt>
                <dd class="figure">{counts.enabled}</dd>
                <dd class="muted">{connectors}</dd>
            </div>
            <div>
                <dt><a href=paths::settings_api_keys()>"Active API keys"</a></dt>
                <dd class="figure">{overview.active_keys}</dd>
                <dd class="muted">{keys}</dd>
            </div>
            {day}
            <div>
                <dt>"Last call"</dt>
                <dd class="figure">{call}</dd>
                <dd class="muted">"By any client. Up to a minute late."</dd>
            </div>
        </dl>
    }
    .erase()
}

fn first_call(endpoint: &str) -> AnyView {
    let curl = format!(
        "curl -X POST {endpoint} \\\n  -H \"Content-Type: application/json\" \\\n  -H \"X-API-Key: YOUR_API_KEY\" \\\n  -d '{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\",\"params\":{{}}}}'"
    );
    view! {
        <Card title="No calls yet" about="This request lists your tools. Put a key of yours where YOUR_API_KEY stands.">
            <CodeBlock label="Terminal (bash)" text=curl />
        </Card>
    }
    .erase()
}

fn activity(lines: Vec<Activity>, now: i64, allowed: bool) -> AnyView {
    let body = if !allowed {
        let who = Role::holders(Permission::AuditRead).map(Role::as_str).collect::<Vec<_>>().join(" or ");
        view! {
            <p class="muted">
                "You need " <code>{Permission::AuditRead.as_str()}</code> " to see it. Ask for the role "
                {who} "."
            </p>
        }
        .erase()
    } else if lines.is_empty() {
        view! { <p class="muted">"Nothing has happened yet. Changes and log-ins appear here."</p> }.erase()
    } else {
        view! { <ActivityList lines=lines now=now /> }.erase()
    };
    view! { <Card title="Recent activity">{body}</Card> }.erase()
}

#[cfg(test)]
mod tests {
    use model::orgs::ConnectorCounts;

    use super::*;

    #[test]
    fn steps_are_done_one_after_the_other() {
        let mut overview = Overview {
            last_day: None,
            endpoint: String::new(),
            also_at: None,
            connectors: ConnectorCounts::default(),
            active_keys: 0,
            connections: 0,
            last_call_at: None,
            people: 1,
            second_factor: false,
            onboarding_dismissed: false,
            demo_available: true,
            activity: Vec::new(),
        };
        let done = |overview: &Overview| steps(overview).iter().filter(|step| step.done).count();
        assert_eq!(done(&overview), 0);
        overview.connectors.total = 1;
        assert_eq!(done(&overview), 1);
        overview.active_keys = 1;
        assert_eq!(done(&overview), 2);
        overview.active_keys = 0;
        overview.connections = 1;
        assert_eq!(done(&overview), 2);
        overview.connections = 0;
        overview.last_call_at = Some(1);
        assert_eq!(done(&overview), 3);
        assert!(!invite_step(&overview).done);
        overview.people = 2;
        assert!(invite_step(&overview).done);
        overview.second_factor = true;
        assert_eq!(done(&overview), 4);
    }
}
