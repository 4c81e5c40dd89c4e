use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};
use model::{
    Permission,
    activity::UsageSettings,
    paths,
    text::{limit, number},
};

use super::api::{LoadActivitySettings, SetActivity};
use crate::{
    components::{Card, Checkbox, Crumb, Fact, Facts, PageHeader, SubmitButton, TextField, Unsaved},
    erase::Erase as _,
    form::{ErrorSummary, Form, PostForm, use_form},
    page::{Loaded, load, page},
};

/// What is kept of requests, and the limits that hold.
pub struct ActivitySettingsPage {
    settings: Loaded<UsageSettings>,
}

#[lazy_route]
impl LazyRoute for ActivitySettingsPage {
    fn data() -> Self {
        Self { settings: load(LoadActivitySettings {}) }
    }

    fn view(this: Self) -> AnyView {
        let save = use_form::<SetActivity>();
        page(this.settings, move |settings, me| {
            let kept =
                if me.can(Permission::SecurityManage) { form(save, &settings) } else { shown(&settings) };
            view! {
                <div class="narrow">
                    <PageHeader
                        title="What is kept"
                        crumbs=vec![Crumb::new(paths::activity(), "Activity")]
                        about="Of each request: when, who, connector, tool, outcome, times and sizes."
                    />
                    {kept}
                    {limits(&settings)}
                </div>
            }
            .erase()
        })
    }
}

fn thresholds(settings: &UsageSettings) -> String {
    settings.thresholds.iter().map(u8::to_string).collect::<Vec<_>>().join(", ")
}

fn form(save: Form<SetActivity>, settings: &UsageSettings) -> AnyView {
    let most = settings.plan.limits().most_log_days;
    let hint =
        format!("1 to {most}, the most of the {} plan. Usage in numbers is kept longer.", settings.plan);
    let (bodies, days, told) = (settings.bodies, settings.days.to_string(), thresholds(settings));
    view! {
        <Card title="Request log">
            <PostForm form=save>
                <ErrorSummary form=save />
                <Checkbox
                    form=save
                    name="bodies"
                    label="Keep arguments and results"
                    hint="Everybody with logs:read can then read them. What looks like a credential is taken out, and long ones are cut. Switching it off does not remove those that are kept already: they go with their requests."
                    checked=bodies
                />
                <TextField
                    form=save
                    name="days"
                    label="Keep requests for so many days"
                    hint=hint
                    value=days
                    inputmode="numeric"
                />
                <TextField
                    form=save
                    name="thresholds"
                    label="Tell when so much of the monthly quota is used, per cent"
                    hint="Once each a month, as the webhook event usage.threshold and in the audit log. Leave it empty for never."
                    value=told
                />
                <div class="actions">
                    <SubmitButton form=save label="Save" name="Save what is kept" />
                    <Unsaved />
                </div>
            </PostForm>
        </Card>
    }
    .erase()
}

fn shown(settings: &UsageSettings) -> AnyView {
    let bodies = if settings.bodies { "Kept, without credentials" } else { "Not kept" };
    let (days, told) = (settings.days, thresholds(settings));
    view! {
        <Card title="Request log" about="Those who hold security:manage can change it.">
            <Facts>
                <Fact term="Arguments and results">{bodies}</Fact>
                <Fact term="Days">{days}</Fact>
                <Fact term="Thresholds">{told}</Fact>
            </Facts>
        </Card>
    }
    .erase()
}

fn limits(settings: &UsageSettings) -> AnyView {
    let of = settings.limits;
    let quota = match of.calls_per_month {
        Some(quota) => format!("{} of {}", number(settings.used), number(quota)),
        None => format!("{}, no limit", number(settings.used)),
    };
    let plan = settings.plan.to_string();
    view! {
        <Card
            title="Limits"
            about="A call counts once it is passed on to a connector, whatever comes back. Lists, handshakes and refusals do not count."
        >
            <Facts>
                <Fact term="Plan">{plan}</Fact>
                <Fact term="Calls this month (UTC)">{quota}</Fact>
                <Fact term="Requests a minute, each key">{limit(of.key_per_minute.map(u64::from))}</Fact>
                <Fact term="Requests a minute, all keys">{limit(of.org_per_minute.map(u64::from))}</Fact>
                <Fact term="Calls a minute, each connector">{limit(of.connector_per_minute.map(u64::from))}</Fact>
            </Facts>
        </Card>
    }
    .erase()
}
