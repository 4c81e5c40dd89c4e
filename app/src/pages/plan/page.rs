use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};
use model::{
    Permission, Plan,
    activity::UsageSettings,
    audit,
    orgs::Me,
    paths,
    text::{limit, number},
};

use super::api::{ChangePlan, LoadPlan};
use crate::{
    components::{
        Badge, ButtonKind, Card, Crumb, DataTable, Fact, Facts, LinkButton, PageHeader, SubmitButton, Tone,
    },
    erase::Erase as _,
    form::{ErrorSummary, Form, PostForm, use_form},
    page::{Loaded, load, page, query_param},
    pages::deletion::pin_field,
};

/// The plan; with `?to=` another one, the question before it is changed.
pub struct PlanPage {
    plan: Loaded<UsageSettings>,
}

#[lazy_route]
impl LazyRoute for PlanPage {
    fn data() -> Self {
        Self { plan: load(LoadPlan {}) }
    }

    fn view(this: Self) -> AnyView {
        let form = use_form::<ChangePlan>();
        let to = query_param("to");
        page(this.plan, move |now, me| {
            let view = move || {
                let to = to.with(|to| Plan::parse(to)).filter(|to| *to != now.plan);
                match to {
                    Some(to) => question(form, &now, to, &me),
                    None => overview(&now, &me),
                }
            };
            view.into_any()
        })
    }
}

fn kept(plan: Plan) -> String {
    if !audit::readable(plan) {
        return "Not included".to_owned();
    }
    match audit::days_of(plan) {
        Some(365) => "Kept for a year".to_owned(),
        Some(days) => format!("Kept for {days} days"),
        None => "Kept for ever".to_owned(),
    }
}

fn overview(now: &UsageSettings, me: &Me) -> AnyView {
    let may = me.can(Permission::BillingManage);
    let rows = Plan::ALL.iter().map(|plan| row(*plan, now.plan, may)).collect_view();
    let who = (!may).then(|| {
        view! { <p class="hint">"An owner of the organisation can change it: that takes billing:manage."</p> }.erase()
    });
    view! {
        <PageHeader title="Plan" about="What this organisation may use, and how much of it is used." />
        {used(now)}
        <Card title="Plans" about="Limits that whoever operates this instance has set for this organisation hold on every plan.">
            <div class="stack">
                <DataTable
                    caption="Plans"
                    columns=vec!["Plan", "Calls a month", "Requests a minute, each key", "Custom domain", "Audit log", "Own identity provider", ""]
                >
                    {rows}
                </DataTable>
                {who}
            </div>
        </Card>
    }
    .erase()
}

fn used(now: &UsageSettings) -> AnyView {
    let used = now.used;
    let meter = now.limits.calls_per_month.filter(|most| *most > 0).map(|most| {
        let percent = (used.saturating_mul(100) / most).to_string();
        let words = format!("{percent} % of this month's calls are used");
        let label = words.clone();
        view! { <progress class="meter" max=most.to_string() value=used.min(most).to_string() aria-label=label>{words}</progress> }
            .erase()
    });
    let calls = match now.limits.calls_per_month {
        Some(most) => format!("{} of {}", number(used), number(most)),
        None => format!("{}, without a limit", number(used)),
    };
    let rate = limit(now.limits.key_per_minute.map(u64::from));
    let plan = now.plan.to_string();
    view! {
        <Card title="This month" about="The month is a calendar month in UTC. A call counts once it is passed on to a connector.">
            <div class="stack">
                <Facts>
                    <Fact term="Plan"><strong>{plan}</strong></Fact>
                    <Fact term="Calls">{calls}</Fact>
                    <Fact term="Requests a minute, each key">{rate}</Fact>
                </Facts>
                {meter}
                <p><a href=format!("{}#usage", paths::overview())>"Usage by day, connector and tool"</a></p>
            </div>
        </Card>
    }
    .erase()
}

fn row(plan: Plan, now: Plan, may: bool) -> AnyView {
    let gives = plan.limits();
    let (calls, rate) = (limit(gives.calls_per_month), limit(gives.calls_per_minute.map(u64::from)));
    let provider = if plan.own_identity_provider() { "Included" } else { "Not included" };
    let act = if plan == now {
        view! { <Badge label="Current" tone=Tone::Ok /> }.erase()
    } else if may {
        let href = format!("{}?to={}", paths::settings_plan(), plan.as_str());
        let name = format!("Change to {plan}");
        view! { <LinkButton href=href label="Change" name=name /> }.erase()
    } else {
        ().into_any()
    };
    view! {
        <tr>
            <th scope="row" data-label="Plan">{plan.to_string()}</th>
            <td data-label="Calls a month">{calls}</td>
            <td data-label="Requests a minute, each key">{rate}</td>
            <td data-label="Custom domain">{if plan.custom_domain() { "Included" } else { "Not included" }}</td>
            <td data-label="Audit log">{kept(plan)}</td>
            <td data-label="Own identity provider">{provider}</td>
            <td><div class="row-actions">{act}</div></td>
        </tr>
    }
    .erase()
}

/// What changes, point by point.
fn consequences(now: &UsageSettings, to: Plan) -> Vec<String> {
    let (before, after) = (now.plan.limits(), to.limits());
    let mut lines = Vec::new();
    if before.calls_per_month != after.calls_per_month {
        lines.push(match after.calls_per_month {
            Some(most) if now.used > most => format!(
                "{} calls a month. This month has {} already, so that calls get 429 until it ends.",
                number(most),
                number(now.used)
            ),
            most => format!("Calls a month: {}.", limit(most)),
        });
    }
    if before.calls_per_minute != after.calls_per_minute {
        lines.push(format!(
            "Requests a minute of each key: {}.",
            limit(after.calls_per_minute.map(u64::from))
        ));
    }
    if now.days > after.most_log_days {
        lines.push(format!(
            "Requests older than {} days leave the request log within the hour.",
            after.most_log_days
        ));
    }
    match (audit::readable(now.plan), audit::readable(to)) {
        (true, false) => lines.push("Nobody can read the audit log any more.".to_owned()),
        (false, true) => lines.push("The audit log can be read.".to_owned()),
        _ => {}
    }
    let days = |plan| audit::days_of(plan).unwrap_or(i64::MAX);
    if days(to) < days(now.plan) {
        lines
            .push(format!("Audit events older than {} days are removed for good within the hour.", days(to)));
    }
    match (now.plan.own_identity_provider(), to.own_identity_provider()) {
        (true, false) => {
            lines.push("Tokens of the organisation's own identity provider get 401 at once.".to_owned());
            lines.push("Nobody can log in to the dashboard with SSO any more, and whoever did is logged out: members use their password, or have a link to set one mailed. What is configured is kept.".to_owned());
        }
        (false, true) => lines.push("The organisation's own identity provider can be used.".to_owned()),
        _ => {}
    }
    match (now.plan.custom_domain(), to.custom_domain()) {
        (true, false) => lines.push("A custom domain stops answering at once. It is kept, and works again with a plan that includes it.".to_owned()),
        (false, true) => lines.push("The organisation can have a domain of its own.".to_owned()),
        _ => {}
    }
    lines.push("It holds from the next request on, and is in the audit log.".to_owned());
    lines
}

fn question(form: Form<ChangePlan>, now: &UsageSettings, to: Plan, me: &Me) -> AnyView {
    let lines =
        consequences(now, to).into_iter().map(|line| view! { <li>{line}</li> }.erase()).collect_view();
    let pin = pin_field(form.into(), me.pin);
    view! {
        <div class="narrow">
            <PageHeader title=format!("Change to {to}?") crumbs=vec![Crumb::new(paths::settings_plan(), "Plan")] />
            <Card title="What changes">
                <div class="stack">
                    <ul class="consequences">{lines}</ul>
                    <PostForm form=form>
                        <ErrorSummary form=form />
                        <input type="hidden" name="plan" value=to.as_str() />
                        {pin}
                        <div class="actions">
                            <a class="button" href=paths::settings_plan()>"Cancel"</a>
                            <SubmitButton form=form label="Change plan" busy="Changing…" kind=ButtonKind::Primary />
                        </div>
                    </PostForm>
                </div>
            </Card>
        </div>
    }
    .erase()
}
