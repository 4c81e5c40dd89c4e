use crate::erase::Erase as _;
use leptos::prelude::*;
use leptos_router::{LazyRoute, hooks::use_query_map, lazy_route};
use model::{
    Permission,
    connectors::{Connector, Health, Probe, STDIO, Transport},
    credentials::{CredentialKind, Credentials},
    orgs::Me,
    paths,
};

use super::{
    api::{LoadConnector, OneConnector, SetConnectorEnabled, TestConnector},
    credentials::lost,
    health::health,
    local::processes,
    parts::{counted, transport},
    tools::tools,
};
use crate::{
    components::{
        ButtonKind, Callout, Card, CopyField, Crumb, Fact, Facts, HealthBadge, LinkButton, PageHeader,
        SubmitButton, Switch, Time, Tone,
    },
    form::{ErrorSummary, Form, PostForm, use_form},
    page::{Loaded, load_by, page},
    state::SiteAssets,
};

/// One connector: its state and its tools.
pub struct ConnectorPage {
    connector: Loaded<OneConnector>,
}

#[lazy_route]
impl LazyRoute for ConnectorPage {
    fn data() -> Self {
        Self { connector: load_by("id", |id| LoadConnector { id }) }
    }

    fn view(this: Self) -> AnyView {
        let test = use_form::<TestConnector>();
        let switch = use_form::<SetConnectorEnabled>();
        let query = use_query_map();
        page(this.connector, move |one, me| {
            let OneConnector { connector, tools: all, history, credentials, local, now } = one;
            let may_write = me.can(Permission::ConnectorsWrite);
            let of_tools = connector.clone();
            let disabled = (!connector.enabled).then(|| {
                view! {
                    <Callout tone=Tone::Warn title="This connector is disabled">
                        <p>"None of its tools is offered to agents. Switch it on to offer them again."</p>
                    </Callout>
                }
                .erase()
            });
            view! {
                <PageHeader
                    title=connector.name.clone()
                    crumbs=vec![Crumb::new(paths::connectors(), "Connectors")]
                    about=connector.description.clone()
                    action=actions(&connector, &me, test, switch)
                />
                <ErrorSummary form=test />
                <ErrorSummary form=switch />
                <div class="stack-wide">
                    {move || test.ok().get().map(|result| tested(result, may_write))}
                    {disabled}
                    {lost(credentials.authorization.as_ref().filter(|_| credentials.kind != CredentialKind::PerUser), now)}
                    {state(connector, &credentials, &me, now)}
                    {health(history, now)}
                    {local.map(|local| processes(local, now))}
                    {move || {
                        let filter = query.with(|query| query.get_str("q").unwrap_or_default().to_owned());
                        tools(&of_tools, &all, filter, may_write)
                    }}
                </div>
            }
            .erase()
        })
    }
}

fn actions(
    connector: &Connector,
    me: &Me,
    test: Form<TestConnector>,
    switch: Form<SetConnectorEnabled>,
) -> AnyView {
    let may_write = me.can(Permission::ConnectorsWrite);
    let (id, test_id) = (connector.id.to_string(), connector.id.to_string());
    let name = connector.name.as_str();
    let write = may_write.then(|| {
        view! {
            <PostForm form=test class="inline-form">
                <input type="hidden" name="id" value=test_id />
                <SubmitButton form=test label="Test now" busy="Testing…" kind=ButtonKind::Primary icon="refresh-cw" />
            </PostForm>
            <LinkButton
                href=paths::edit_connector(connector.id)
                label="Edit"
                icon="pencil"
                name=format!("Edit connector {name}")
            />
        }.erase()
    });
    let delete = me.can(Permission::ConnectorsDelete).then(|| {
        view! {
            <LinkButton
                href=paths::delete_connector(connector.id)
                label="Delete"
                kind=ButtonKind::Quiet
                icon="trash-2"
                name=format!("Delete connector {name}")
            />
        }
        .erase()
    });
    view! {
        <div class="actions">
            <Switch form=switch label=format!("Connector {name}") on=connector.enabled allowed=may_write>
                <input type="hidden" name="id" value=id />
            </Switch>
            {write}
            {delete}
        </div>
    }
    .erase()
}

/// What a test that was just made found.
fn tested(result: Result<Probe, String>, may_write: bool) -> AnyView {
    match result {
        Ok(probe) => view! {
            <div role="status">
                <Callout tone=Tone::Ok title="The server answered">
                    <p>{summary(&probe)}</p>
                </Callout>
            </div>
        }
        .erase(),
        Err(why) => view! {
            <div role="alert">
                <Callout tone=Tone::Bad title="The test failed">
                    <p>{why}</p>
                    {may_write.then_some("The connector is kept as it is, and checked again in the background.")}
                </Callout>
            </div>
        }
        .erase(),
    }
}

/// "It is github 1.4.2, speaks MCP 2026-07-28 and offers 12 tools."
fn summary(probe: &Probe) -> String {
    let server = named(probe.server_name.as_deref(), probe.server_version.as_deref())
        .map(|server| format!("is {server}, "))
        .unwrap_or_default();
    format!("It {server}speaks MCP {} and offers {}.", probe.protocol_version, counted(probe.tools, "tool"))
}

/// Name and version that a server gave itself.
fn named(name: Option<&str>, version: Option<&str>) -> Option<String> {
    match (name, version) {
        (Some(name), Some(version)) => Some(format!("{name} {version}")),
        (Some(one), None) | (None, Some(one)) => Some(one.to_owned()),
        (None, None) => None,
    }
}

fn state(connector: Connector, credentials: &Credentials, me: &Me, now: i64) -> AnyView {
    let base = use_context::<SiteAssets>().map(|site| site.public_url).unwrap_or_default();
    let endpoint = me.org.as_ref().map(|org| {
        let path = paths::mcp_connector(org.slug.as_str(), connector.slug.as_str());
        view! {
            <Fact term="Its own endpoint">
                <CopyField label="connector endpoint" text=format!("{base}{path}") />
            </Fact>
        }
        .erase()
    });
    let checked = match connector.checked_at {
        Some(at) => view! { <Time at=at now=now /> }.erase(),
        None => "Not checked yet".into_any(),
    };
    let problem = connector.health_error.clone().map(|why| {
        let tone = if connector.health == Health::Down { Tone::Bad } else { Tone::Warn };
        let title =
            if connector.health == Health::Down { "The last checks failed" } else { "The last check failed" };
        let edit = me.can(Permission::ConnectorsWrite).then(|| {
            view! {
                " If its address or credentials changed, "
                <a href=paths::edit_connector(connector.id)>"edit the connector"</a>
                "."
            }
            .erase()
        });
        view! {
            <Callout tone=tone title=title>
                <p class="server-text">{why}</p>
                <p>"Look whether the server runs and can be reached from here, then test it again." {edit}</p>
            </Callout>
        }
        .erase()
    });
    let reached = match connector.transport {
        Transport::Demo => "The demo server, inside Gatehouse itself".into_any(),
        Transport::Stdio => {
            let name = connector.url.trim_start_matches(STDIO).to_owned();
            view! { <span>"The server " <code>{name}</code> " on the machine of Gatehouse"</span> }.erase()
        }
        Transport::Http | Transport::Sse => view! { <code>{connector.url.clone()}</code> }.erase(),
    };
    let slug = connector.slug.to_string();
    let way = match (credentials.kind, connector.headers.len()) {
        (CredentialKind::Static, 0) => "None",
        (CredentialKind::Static, _) => "Static headers",
        (kind, _) => kind.label(),
    };
    let protocol = connector.protocol_version.clone().unwrap_or_else(|| "Unknown".to_owned());
    let server = named(connector.server_name.as_deref(), connector.server_version.as_deref())
        .unwrap_or_else(|| "It gave no name".to_owned());
    let headers = if connector.headers.is_empty() {
        "None".into_any()
    } else {
        let names = connector
            .headers
            .iter()
            .map(|header| {
                view! {
                    <li><code>{header.name.clone()}</code> " set " <Time at=header.set_at now=now /> " by " {header.set_by.clone()}</li>
                }.erase()
            })
            .collect_view();
        view! { <ul class="stack-tight">{names}</ul> }.erase()
    };
    view! {
        <Card title="State">
            <div class="stack">
                {problem}
                <Facts>
                    <Fact term="Health"><HealthBadge health=connector.health /></Fact>
                    <Fact term="Last check">{checked}</Fact>
                    <Fact term="Reached at">{reached}</Fact>
                    <Fact term="Transport">{transport(connector.transport)}</Fact>
                    <Fact term="Protocol revision">{protocol}</Fact>
                    <Fact term="Server">{server}</Fact>
                    <Fact term="Credentials">
                        <span>{way} " " <a href=paths::connector_credentials(connector.id)>"See credentials"</a></span>
                    </Fact>
                    <Fact term="Static headers">{headers}</Fact>
                    <Fact term="Slug"><code>{slug}</code></Fact>
                    {endpoint}
                </Facts>
            </div>
        </Card>
    }
    .erase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_told_in_a_sentence() {
        let mut probe = Probe {
            protocol_version: "2026-07-28".to_owned(),
            server_name: Some("everything".to_owned()),
            server_version: Some("2.0".to_owned()),
            tools: 1,
        };
        assert_eq!(summary(&probe), "It is everything 2.0, speaks MCP 2026-07-28 and offers 1 tool.");
        probe.server_name = None;
        probe.server_version = None;
        probe.tools = 12;
        assert_eq!(summary(&probe), "It speaks MCP 2026-07-28 and offers 12 tools.");
    }
}
