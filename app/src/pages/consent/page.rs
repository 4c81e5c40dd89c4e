use leptos::prelude::*;
use leptos_router::{LazyRoute, hooks::use_query_map, lazy_route};
use model::{
    AppError,
    oauth::{ClientKind, Connection, Consent, ConsentConnector, ConsentOrg},
    paths,
};

use super::api::{Asked, LoadConsent};
use crate::{
    components::{
        Avatar, Badge, ButtonForm, ButtonKind, Callout, Day, HealthBadge, Icon, LinkButton, PageHeader, Tone,
        relative,
    },
    erase::Erase as _,
    form::{Form, use_form},
    page::{Loaded, load_by_query, page},
    pages::auth::api::SignOut,
    set_status,
};

/// What to do when nothing was ticked.
const CHOOSE: &str = "Choose at least one connector, or deny the request";

/// May this client have access?
pub struct ConsentPage {
    asked: Loaded<Asked>,
}

#[lazy_route]
impl LazyRoute for ConsentPage {
    fn data() -> Self {
        Self { asked: load_by_query("request", |request| LoadConsent { request }) }
    }

    fn view(this: Self) -> AnyView {
        let query = use_query_map();
        let sign_out = use_form::<SignOut>();
        page(this.asked, move |asked, _| match asked {
            Ok(consent) => (move || {
                let (chosen, flaw) = query.with(|query| {
                    let text = |name: &str| query.get_str(name).map(str::to_owned);
                    (text("org"), text("error"))
                });
                ask(&consent, chosen.as_deref(), flaw.as_deref(), sign_out)
            })
            .into_any(),
            Err(error) => gone(&error),
        })
    }
}

/// The request ended, was answered, or is somebody else's.
fn gone(error: &AppError) -> AnyView {
    set_status(error.status());
    view! {
        <div class="alone">
            <PageHeader title="This request cannot be answered" />
            <Callout tone=Tone::Bad title=error.message.clone()>
                <p>
                    "If you allowed it, the connection is listed under "
                    <a href=paths::profile_connections()>"MCP connections"</a>
                    ". If not, nothing was given to anybody: start again in the app that sent you here."
                </p>
            </Callout>
            <p class="auth-note"><LinkButton href=paths::overview() label="Go to the overview" /></p>
        </div>
    }
    .erase()
}

fn client_name(consent: &Consent) -> String {
    let name = consent.client_name.trim();
    if name.is_empty() { Connection::UNNAMED.to_owned() } else { name.to_owned() }
}

fn ask(consent: &Consent, chosen: Option<&str>, flaw: Option<&str>, sign_out: Form<SignOut>) -> AnyView {
    let client = client_name(consent);
    let org = match consent.orgs.as_slice() {
        [only] => Some(only),
        many => many.iter().find(|org| Some(org.id.to_string().as_str()) == chosen),
    };
    let title = match org {
        Some(org) => format!("{client} wants to use the tools of {}", called(org)),
        None => format!("{client} wants to use your tools"),
    };
    let body = match org {
        _ if consent.orgs.is_empty() => nowhere(consent),
        None => choose(consent),
        Some(org) => decide(consent, org, flaw == Some("connectors")),
    };
    let to = org.map(|org| {
        view! {
            <Icon name="arrow-right" />
            <Avatar name=org.name.clone() />
        }
        .erase()
    });
    view! {
        <div class="alone consent">
            <p class="consent-marks" aria-hidden="true"><Avatar name=client.clone() /> {to}</p>
            <PageHeader title=title />
            <div class="stack-wide">
                <div class="consent-person">
                    <p>"You are logged in as " <strong>{consent.user_email.clone()}</strong> "."</p>
                    <ButtonForm form=sign_out label="Not you? Log out" kind=ButtonKind::Quiet />
                </div>
                {who_asks(consent, &client)}
                {body}
            </div>
        </div>
    }
    .erase()
}

/// The organisation's name, and its slug where another has the same.
fn called(org: &ConsentOrg) -> String {
    if org.namesake { format!("{} ({})", org.name, org.slug) } else { org.name.clone() }
}

/// Who asks, and where the answer goes: never folded away.
fn who_asks(consent: &Consent, client: &str) -> AnyView {
    let host = consent.redirect_host.clone();
    let back = if consent.loopback {
        view! { "Sends you back to an app on this computer (" <strong>{host}</strong> ")." }.erase()
    } else if consent.other_app {
        view! { "Sends you to another app on this device, the one that opens " <strong>{format!("{host}:")}</strong> " links." }
            .erase()
    } else {
        view! { "Sends you back to " <strong>{host}</strong> "." }.erase()
    };
    let warning = match consent.client_kind {
        ClientKind::Registered => {
            let when = relative(consent.client_since, consent.now);
            view! {
                <Callout tone=Tone::Warn title=format!("Unverified: this app registered itself {when}")>
                    <p>"Its name is what it says of itself. Allow it only if you started this."</p>
                </Callout>
            }
            .erase()
        }
        ClientKind::Document => {
            let from = consent.client_id.trim_start_matches("https://").split('/').next().unwrap_or_default();
            view! { <p>"Described by a document of " <strong>{from.to_owned()}</strong> "."</p> }.erase()
        }
        ClientKind::Code | ClientKind::Machine => view! { <p>"Registered by your organisation."</p> }.erase(),
    };
    let loopback = (consent.loopback && consent.client_kind != ClientKind::Registered).then(|| {
        view! { <p class="muted">"Any program on this computer can pretend to be it. Allow it only if you started this."</p> }.erase()
    });
    view! {
        <section class="stack" aria-labelledby="who-asks">
            <h2 id="who-asks">"Who asks"</h2>
            <p><strong>{client.to_owned()}</strong> " · " {back}</p>
            {warning}
            {loopback}
        </section>
    }
    .erase()
}

/// Nothing but "no" can be said here.
fn deny_only(consent: &Consent) -> AnyView {
    view! {
        <form class="consent-form" method="post" action=paths::consent_decision()>
            <input type="hidden" name="request" value=consent.request.clone() />
            <div class="consent-buttons">
                <button class="button" type="submit" name="decision" value="deny">"Deny"</button>
            </div>
        </form>
    }
    .erase()
}

fn nowhere(consent: &Consent) -> AnyView {
    view! {
        <Callout tone=Tone::Bad title="There is no organisation to give access to">
            <p>"You are not a member of the organisation that it asks for, or of any. Ask an owner to add you, then start again from the app."</p>
        </Callout>
        {deny_only(consent)}
    }
    .erase()
}

/// Several organisations: one has to be chosen before its connectors are shown. A link and not a script, so that it
/// works everywhere.
fn choose(consent: &Consent) -> AnyView {
    let orgs = consent
        .orgs
        .iter()
        .map(|org| {
            let href = format!("{}&org={}", paths::consent(&consent.request), org.id);
            let name = called(org);
            let about = match (&org.refused, org.connectors.len()) {
                (Some(_), _) => "Not possible here".to_owned(),
                (None, 1) => "1 connector".to_owned(),
                (None, count) => format!("{count} connectors"),
            };
            view! {
                <li>
                    <a class="consent-org" href=href>
                        <Avatar name=org.name.clone() />
                        <span class="two-lines"><span>{name}</span> <span class="fine">{about}</span></span>
                        <Icon name="chevron-right" />
                    </a>
                </li>
            }
            .erase()
        })
        .collect_view();
    view! {
        <section class="stack" aria-labelledby="which-org">
            <div>
                <h2 id="which-org">"For which organisation?"</h2>
                <p class="muted">"It gets access to this one, and to no other of yours."</p>
            </div>
            <ul class="consent-orgs">{orgs}</ul>
        </section>
        {deny_only(consent)}
    }
    .erase()
}

fn decide(consent: &Consent, org: &ConsentOrg, nothing_chosen: bool) -> AnyView {
    let other = (consent.orgs.len() > 1).then(|| {
        view! { <p><a href=paths::consent(&consent.request)>"Choose another organisation"</a></p> }.erase()
    });
    if let Some(refused) = org.refused.clone() {
        let way_on = org.may_change.then(|| {
            view! { <p><a href=paths::settings_oauth_clients()>"Open the OAuth clients"</a></p> }.erase()
        });
        return view! {
            <Callout tone=Tone::Bad title="You cannot give access here">
                <p>{refused}</p>
                {way_on}
            </Callout>
            {other}
            {deny_only(consent)}
        }
        .erase();
    }
    if !consent.scope.all && org.connectors.is_empty() {
        let none = format!("{} has none of the connectors that it asks for.", org.name);
        return view! {
            <Callout tone=Tone::Bad title="What it asks for is not here">
                <p>{none}</p>
            </Callout>
            {other}
            {deny_only(consent)}
        }
        .erase();
    }
    let again = org.connected_at.map(|at| {
        view! { <p class="muted">"You connected it here on " <Day at=at /> ". Allowing it again renews that connection: from then on it reaches what you allow here and no more."</p> }.erase()
    });
    let days = if org.days == 1 { "1 day".to_owned() } else { format!("{} days", org.days) };
    view! {
        <form class="consent-form" method="post" action=paths::consent_decision()>
            <input type="hidden" name="request" value=consent.request.clone() />
            <input type="hidden" name="org" value=org.id.to_string() />
            {nothing_chosen.then(|| nothing_is_chosen(consent, org))}
            {what(consent, org, nothing_chosen)}
            <section class="stack" aria-labelledby="how-long">
                <h2 id="how-long">"How long"</h2>
                <p>{format!("Stays connected {days}, or until it is revoked under MCP connections. It acts as you.")}</p>
                {again}
            </section>
            {other}
            // Enter presses the first: so that is the one that gives nothing away.
            <div class="consent-buttons">
                <button class="button" type="submit" name="decision" value="deny">"Deny"</button>
                <button class="button primary" type="submit" name="decision" value="allow">"Allow"</button>
            </div>
        </form>
    }
    .erase()
}

/// Above the form that allowed nothing: it takes the focus and leads to what can be ticked.
fn nothing_is_chosen(consent: &Consent, org: &ConsentOrg) -> AnyView {
    if let Some(refresh) = use_context::<crate::state::Refresh>() {
        refresh.note_failure(true);
    }
    let first = match org.connectors.first() {
        Some(connector) if !consent.scope.all => format!("#consent-{}", connector.slug),
        _ => "#consent-all".to_owned(),
    };
    view! {
        <div class="error-summary" role="alert" tabindex="-1" autofocus>
            <h2>"Nothing was given yet"</h2>
            <ul>
                <li><a href=first rel="external">{CHOOSE}</a></li>
            </ul>
        </div>
    }
    .erase()
}

/// What it would reach. Of what is asked for each part can be left out. After an answer with nothing ticked nothing is.
fn what(consent: &Consent, org: &ConsentOrg, nothing_chosen: bool) -> AnyView {
    let ticked = !nothing_chosen;
    let invalid = nothing_chosen.then_some("true");
    let connectors = org.connectors.iter().map(|row| connector(row, ticked)).collect_view();
    let all = consent.scope.all.then(|| {
        view! {
            <div class="choice">
                <input
                    type="checkbox"
                    id="consent-all"
                    name="all"
                    value="on"
                    checked=ticked
                    aria-describedby="consent-all-hint"
                    aria-invalid=invalid
                />
                <label for="consent-all">{format!("All connectors of {}", org.name)}</label>
                <p class="hint" id="consent-all-hint">"Also those that are added later. Untick to choose."</p>
            </div>
        }
        .erase()
    });
    let list = if org.connectors.is_empty() {
        view! { <p class="muted">"There are no connectors yet. It will reach those that are added."</p> }
            .erase()
    } else {
        let legend = if consent.scope.all { "Connectors today" } else { "Connectors that it asks for" };
        view! {
            <fieldset
                class="field consent-connectors"
                aria-describedby=nothing_chosen.then_some("consent-error")
            >
                <legend>{legend}</legend>
                {connectors}
            </fieldset>
        }
        .erase()
    };
    view! {
        <section class="stack" aria-labelledby="what">
            <h2 id="what">"What it can do"</h2>
            <p>"List and call the tools of the connectors that you leave ticked."</p>
            <div class="stack" data-invalid=invalid>
                {nothing_chosen.then(|| view! { <p class="field-error" id="consent-error">{CHOOSE}</p> }.erase())}
                {all}
                {list}
            </div>
        </section>
    }
    .erase()
}

fn connector(connector: &ConsentConnector, ticked: bool) -> AnyView {
    let slug = connector.slug.to_string();
    let id = format!("consent-{slug}");
    let hint = format!("{id}-hint");
    let tools = if connector.tools == 1 { "1 tool".to_owned() } else { format!("{} tools", connector.tools) };
    let badges = badges(connector);
    view! {
        <div class="choice">
            <input type="checkbox" id=id.clone() name="connectors" value=slug checked=ticked aria-describedby=hint.clone() />
            <label for=id>{connector.name.clone()}</label>
            <p class="hint consent-badges" id=hint>{tools} {badges}</p>
        </div>
    }
    .erase()
}

/// What the tools say of themselves, and the connector's health where it matters.
fn badges(connector: &ConsentConnector) -> AnyView {
    let changing = connector.tools - connector.read_only - connector.destructive;
    let badge = |label: &'static str, tone: Tone| view! { <Badge label=label tone=tone /> }.erase();
    let mut badges = Vec::new();
    if connector.tools > 0 && connector.read_only == connector.tools {
        badges.push(badge("read-only", Tone::Ok));
    }
    if changing > 0 {
        badges.push(badge("can change data", Tone::Info));
    }
    if connector.destructive > 0 {
        badges.push(badge("destructive", Tone::Warn));
    }
    if matches!(connector.health, model::connectors::Health::Down | model::connectors::Health::Degraded) {
        badges.push(view! { <HealthBadge health=connector.health /> }.erase());
    }
    badges.into_any()
}
