//! The person's decision: what they are shown, and what comes of their answer (OAZ-07).

use model::{
    AppError, ConnectorSlug, ErrorKind, MemberRole, OrgId, Permission, Scope,
    doctor::Stage,
    oauth::{Consent, ConsentConnector, ConsentOrg},
    orgs::Org,
};
use serde_json::{Value, json};
use store::{Tx, oauth_codes::Code};

use super::{
    Fault, Refusal,
    authorize::{Asked, Open, open},
    clients::Client,
    hashed,
    redirect::Destination,
};
use crate::{
    Error, Result,
    authz::{Principal, unauthenticated},
    change::{Change, Event, note},
    doctor::Step,
    org_security,
    request::RequestContext,
};

/// How long a code is good for, milliseconds (OAT-02).
const CODE: i64 = 60 * 1000;

/// What the person answered.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// The stored request.
    pub request: String,
    /// Whether they allow it.
    pub allow: bool,
    /// For which organisation.
    pub org: Option<OrgId>,
    /// Whether for everything that is asked for.
    pub all: bool,
    /// Else for which connectors.
    pub connectors: Vec<String>,
}

/// What the client is told, and where.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// Where the browser goes.
    pub redirect_uri: String,
    /// What the client gave to recognise its request by.
    pub state: Option<String>,
    /// A code, or why there is none.
    pub result: core::result::Result<String, Refusal>,
}

impl core::fmt::Debug for Answer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Answer").field("redirect_uri", &self.redirect_uri).finish_non_exhaustive()
    }
}

/// Everything that the consent page shows.
pub async fn view(ctx: &RequestContext, request: &str) -> Result<Consent> {
    let signed_in = ctx.signed_in.as_ref().ok_or_else(unauthenticated)?;
    let mut tx = ctx.env.db.read().await?;
    let Open { request: stored, asked, client, .. } = open(&mut tx, ctx, request).await?;
    let user = store::users::find(&mut tx, stored.user).await?.ok_or_else(unauthenticated)?;
    let names: Vec<String> =
        store::orgs::list_of_user(&mut tx, user.id).await?.into_iter().map(|org| org.name).collect();
    let mut orgs = Vec::new();
    for org in candidates(&mut tx, &stored, &asked, &client).await? {
        let role = store::members::find_role(&mut tx, org.id, user.id).await?;
        let days = store::orgs::oauth_settings(&mut tx, org.id).await?.lifetime.days();
        let connected = store::connections::find_active(&mut tx, org.id, user.id, &client.id).await?;
        let connected_at = match connected {
            Some(id) => store::connections::find(&mut tx, org.id, id).await?.map(|found| found.created_at),
            None => None,
        };
        orgs.push(ConsentOrg {
            refused: match org_security::admit(&ctx.env, &mut tx, &ctx.origin, org.id, signed_in).await {
                Ok(()) => refusal(&mut tx, &org, role.as_ref(), &client).await?,
                Err(Error::App(error)) => Some(error.message),
                Err(error) => return Err(error),
            },
            namesake: names.iter().filter(|name| **name == org.name).count() > 1,
            may_change: role.as_ref().is_some_and(|role| role.allows(Permission::OauthClientsWrite)),
            connectors: connectors(&mut tx, org.id, &asked.scope).await?,
            id: org.id,
            name: org.name,
            slug: org.slug.into(),
            days,
            connected_at,
        });
    }
    // Where there is nothing to choose, what the organisation asks for first is the whole answer.
    if let [only] = orgs.as_slice() {
        org_security::admit(&ctx.env, &mut tx, &ctx.origin, only.id, signed_in).await?;
    }
    let destination = Destination::of(&asked.redirect_uri);
    Ok(Consent {
        request: request.to_owned(),
        client_id: client.id,
        client_name: client.name,
        client_kind: client.kind,
        client_since: client.created_at,
        redirect_host: destination.host,
        loopback: destination.loopback,
        other_app: destination.other_app,
        scope: asked.scope,
        orgs,
        user_email: user.email,
        now: ctx.env.now(),
    })
}

/// How the consent page's content security policy has to name the place that its form leads to in the end (OAZ-08).
pub async fn form_target(ctx: &RequestContext, request: &str) -> Result<String> {
    let mut tx = ctx.env.db.read().await?;
    let open = open(&mut tx, ctx, request).await?;
    Ok(Destination::of(&open.asked.redirect_uri).form_target)
}

/// The organisations that may be chosen from: the one that the request names, that of the client, or the person's.
async fn candidates(
    tx: &mut Tx,
    stored: &store::oauth_codes::Request,
    asked: &Asked,
    client: &Client,
) -> Result<Vec<Org>> {
    let only = asked.resource.as_ref().map(|resource| resource.org).or(client.org);
    let orgs = store::orgs::list_of_user(tx, stored.user).await?;
    Ok(orgs.into_iter().filter(|org| only.is_none_or(|only| only == org.id)).collect())
}

/// Why this person cannot give this client access to this organisation, in words.
async fn refusal(
    tx: &mut Tx,
    org: &Org,
    role: Option<&MemberRole>,
    client: &Client,
) -> Result<Option<String>> {
    if store::orgs::suspended_at(tx, org.id).await?.is_some() {
        return Ok(Some(format!("Whoever operates this instance has suspended {}.", org.name)));
    }
    if !role.is_some_and(may_connect) {
        return Ok(Some(format!(
            "Your role in {} does not include connections of your own. Ask an owner or admin for another role.",
            org.name
        )));
    }
    if client.is_open() && !store::orgs::oauth_settings(tx, org.id).await?.open_clients {
        let way_on = if role.is_some_and(|role| role.allows(Permission::OauthClientsWrite)) {
            "You can make one, or accept others, on the page of the OAuth clients."
        } else {
            "Ask an owner or admin to make one."
        };
        return Ok(Some(format!("{} gives access only to clients that it made itself. {way_on}", org.name)));
    }
    Ok(None)
}

/// Whether somebody in this role may have connections of their own.
pub(crate) fn may_connect(role: &MemberRole) -> bool {
    role.allows(Permission::PlaygroundUse)
}

/// The enabled connectors of an organisation that are asked for.
async fn connectors(tx: &mut Tx, org: OrgId, scope: &Scope) -> Result<Vec<ConsentConnector>> {
    let tools = store::connectors::list_tools(tx, org).await?;
    let mut found = Vec::new();
    for row in store::connectors::list(tx, org).await? {
        if !row.enabled || !scope.reaches(row.slug.as_str()) {
            continue;
        }
        let (mut count, mut read_only, mut destructive) = (0, 0, 0);
        for tool in
            tools.iter().filter(|tool| tool.connector == row.id && tool.enabled && tool.gone_at.is_none())
        {
            let definition: Value = serde_json::from_str(&tool.definition).unwrap_or_default();
            let hint = |name: &str| definition["annotations"][name].as_bool();
            count += 1;
            read_only += i64::from(hint("readOnlyHint") == Some(true));
            destructive +=
                i64::from(hint("destructiveHint") == Some(true) && hint("readOnlyHint") != Some(true));
        }
        let health = row.health;
        found.push(ConsentConnector {
            slug: row.slug,
            name: row.name,
            health,
            tools: count,
            read_only,
            destructive,
        });
    }
    Ok(found)
}

/// The decision as the connection doctor hears of it.
fn seen(ctx: &RequestContext, open: &Open) -> Step {
    Step::new(Stage::Consent).of(&open.client.id, &open.client.name).by(&ctx.origin)
}

/// Takes the person's answer, once. An error leaves the request open, so that they can go back and choose again.
pub async fn decide(ctx: &RequestContext, decision: &Decision) -> Result<Answer> {
    let env = &ctx.env;
    let signed_in = ctx.signed_in.as_ref().ok_or_else(unauthenticated)?;
    let mut tx = env.db.write().await?;
    let open = open(&mut tx, ctx, &decision.request).await?;
    let user = store::users::find(&mut tx, open.request.user).await?.ok_or_else(unauthenticated)?;
    let said_no = format!("{} chose Deny.", user.name);
    let principal = Principal::User { id: user.id, name: user.name };
    let candidates = candidates(&mut tx, &open.request, &open.asked, &open.client).await?;
    let wanted = decision.org.or(match candidates.as_slice() {
        [only] => Some(only.id),
        _ => None,
    });
    let org = candidates.into_iter().find(|org| Some(org.id) == wanted);
    if !decision.allow {
        taken(store::oauth_codes::take_request(&mut tx, &open.hash).await?)?;
        let event = about(Event::new("oauth.consent_denied"), &open);
        let orgs: Vec<_> = org.iter().map(|org| org.id).collect();
        note(env, &mut tx, &orgs, &principal, &ctx.origin, &event, "denied").await?;
        tx.commit().await?;
        let step = Step {
            org: org.map(|org| org.id),
            error: Some("access_denied".to_owned()),
            detail: said_no,
            ..seen(ctx, &open)
        };
        env.journal.note(env.now(), step);
        return Ok(Answer {
            redirect_uri: open.asked.redirect_uri,
            state: open.asked.state,
            result: Err(Refusal {
                fault: Fault::AccessDenied,
                description: "The person did not allow it.".to_owned(),
            }),
        });
    }
    let org = org.ok_or_else(|| AppError::field("org", "required", "Choose one of your organisations"))?;
    store::orgs::lock(&mut tx, org.id).await?;
    let role = store::members::find_role(&mut tx, org.id, open.request.user).await?;
    org_security::admit(env, &mut tx, &ctx.origin, org.id, signed_in).await?;
    if let Some(words) = refusal(&mut tx, &org, role.as_ref(), &open.client).await? {
        return Err(AppError::new(ErrorKind::Forbidden, "not_allowed_here", words).into());
    }
    let scope = granted(&mut tx, org.id, &open.asked.scope, decision).await?;
    taken(store::oauth_codes::take_request(&mut tx, &open.hash).await?)?;

    let now = env.now();
    let code = format!("gth_code_{}", env.token());
    let resource = open.asked.resource.as_ref().map_or_else(
        || env.settings.absolute(&model::paths::mcp(org.slug.as_str())),
        |resource| resource.url.clone(),
    );
    let row = Code {
        org: org.id,
        user: open.request.user,
        client: open.client.id.clone(),
        redirect_uri: open.asked.redirect_uri.clone(),
        code_challenge: open.asked.code_challenge.clone(),
        scope: scope.to_string(),
        resource,
        session: open.request.session,
        address: ctx.origin.address_text(),
        user_agent: ctx.origin.user_agent.clone().unwrap_or_default(),
        created_at: now,
        expires_at: now + CODE,
        used_at: None,
        grant: None,
    };
    store::oauth_codes::insert(&mut tx, &hashed(&code), &row).await?;
    let event = about(Event::new("oauth.consent_granted"), &open).with("scope", row.scope.as_str());
    Change::within(env, tx, org.id, principal, ctx.origin.clone()).commit(event).await?;
    env.journal.note(now, Step { org: Some(org.id), ..seen(ctx, &open) });
    Ok(Answer { redirect_uri: row.redirect_uri, state: open.asked.state, result: Ok(code) })
}

fn taken(was_there: bool) -> Result<()> {
    if was_there {
        return Ok(());
    }
    // Somebody pressed twice, and the first press counts.
    Err(AppError::new(ErrorKind::Conflict, "request_gone", "This request was answered already.").into())
}

fn about(event: Event, open: &Open) -> Event {
    let host = Destination::of(&open.asked.redirect_uri).host;
    event.target("oauth_client", &open.client.id, &open.client.name).with("redirect_host", json!(host))
}

/// What was asked for and what the person chose of it; never more (OAZ-05).
async fn granted(tx: &mut Tx, org: OrgId, asked: &Scope, decision: &Decision) -> Result<Scope> {
    let there: Vec<ConnectorSlug> =
        store::connectors::list(tx, org).await?.into_iter().map(|connector| connector.slug).collect();
    let nothing =
        || AppError::field("connectors", "required", "Choose at least one connector, or deny the request");
    if decision.all {
        if asked.all {
            return Ok(asked.clone());
        }
        let connectors = asked.connectors.iter().filter(|slug| there.contains(slug)).cloned();
        let scope = Scope { offline: asked.offline, ..Scope::only(connectors) };
        return if scope.is_empty() { Err(nothing().into()) } else { Ok(scope) };
    }
    let mut chosen = Vec::new();
    for slug in &decision.connectors {
        let slug: ConnectorSlug = slug.parse().map_err(|_| Error::not_found("connector"))?;
        if !there.contains(&slug) || !asked.reaches(slug.as_str()) {
            return Err(Error::not_found("connector"));
        }
        chosen.push(slug);
    }
    if chosen.is_empty() {
        return Err(nothing().into());
    }
    Ok(Scope { offline: asked.offline, ..Scope::only(chosen) })
}
