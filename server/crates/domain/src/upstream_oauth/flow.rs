//! A person on the way to an authorization server and back (RFC 6749 §4.1, RFC 7636, RFC 9207).

use model::{
    AppError, ConnectorId, ErrorKind, OrgId, UserId,
    credentials::{CredentialKind, SignInLink},
    permissions::{Grant, can},
};
use serde_json::json;
use store::upstream_credentials::{Attempt, Client};

use super::{
    client,
    config::{self, New, ask_for, connector, server, whole_url},
    discovery::{self, Found, Server},
    sealed,
    token::{self, Ask, TokenError},
};
use crate::{
    Env, Error, OrgActor, Result,
    authz::unauthenticated,
    change::Event,
    key_format,
    request::{RequestContext, SignedIn, Wants},
};

/// How long a person may stay away, milliseconds.
const AWAY: i64 = 10 * 60 * 1000;
/// The longest code that is taken, bytes.
const LONGEST_CODE: usize = 4096;

fn gone(message: &str) -> Error {
    AppError::new(ErrorKind::Invalid, "sign_in_gone", message).into()
}

/// Where a member goes to give access for the whole organisation.
pub async fn begin(
    ctx: &RequestContext,
    actor: &OrgActor<can::ConnectorsWrite>,
    id: ConnectorId,
) -> Result<SignInLink> {
    begin_as(ctx, actor, id, CredentialKind::AuthorizationCode).await
}

/// Where a member goes to give access for themselves.
pub async fn begin_own(
    ctx: &RequestContext,
    actor: &OrgActor<can::PlaygroundUse>,
    id: ConnectorId,
) -> Result<SignInLink> {
    begin_as(ctx, actor, id, CredentialKind::PerUser).await
}

async fn begin_as<P: Grant>(
    ctx: &RequestContext,
    actor: &OrgActor<P>,
    id: ConnectorId,
    kind: CredentialKind,
) -> Result<SignInLink> {
    let (env, org) = (&ctx.env, actor.org());
    let SignedIn { session, user, .. } = ctx.signed_in.clone().ok_or_else(unauthenticated)?;
    let (row, stored) = {
        let mut tx = env.db.read().await?;
        (
            connector(&mut tx, org, id).await?,
            store::upstream_credentials::find_client(&mut tx, org, id).await?,
        )
    };
    let stored = stored.filter(|stored| stored.kind == kind).ok_or_else(|| {
        Error::App(AppError::new(
            ErrorKind::Conflict,
            "other_credentials",
            "This connector does not authenticate itself that way any more. Nothing was changed: look at its credentials again.",
        ))
    })?;
    let (stored, found) = current(env, org, &row, stored).await?;
    let scope = ask_for(&stored.scope, &stored.scope_wanted, &found);
    let known = {
        let mut tx = env.db.read().await?;
        sealed::open_client(env, &mut tx, org, &stored).await?
    };
    let (state, verifier) = (env.token(), env.token());
    let hash = key_format::hash(&state);
    let url = token::authorize_url(
        &found.server,
        &known,
        &client::redirect_uri(env),
        &stored.resource,
        &scope,
        &state,
        &verifier,
    )?;
    let mut tx = env.db.write().await?;
    let now = env.now();
    let place = data_encoding::HEXLOWER.encode(&hash);
    let attempt = Attempt {
        org,
        connector: id,
        session,
        user,
        personal: kind == CredentialKind::PerUser,
        issuer: stored.issuer.clone(),
        client_id: stored.client_id.clone(),
        scope,
        verifier_sealed: sealed::seal_verifier(env, &mut tx, org, &place, &verifier).await?,
        created_at: now,
        expires_at: now + AWAY,
    };
    store::upstream_credentials::insert_attempt(&mut tx, &hash, &attempt).await?;
    tx.commit().await?;
    Ok(SignInLink { url, host: found.server.host(), connector: id })
}

/// The client as it has to be today. A server that has moved to another issuer gets another client, and what was given to
/// the old one is forgotten; a client that was typed is not taken along.
async fn current(
    env: &Env,
    org: OrgId,
    row: &store::connectors::Connector,
    stored: Client,
) -> Result<(Client, Found)> {
    let kept = server(&stored)?;
    let url = whole_url(env, org, row).await?;
    let typed = kept.typed.then_some(stored.issuer.as_str());
    let found = match discovery::discover(env, &url, typed).await {
        Ok(found) => found,
        // It can be reached or it cannot: the person will see. What it said last is all there is.
        Err(error) => {
            tracing::info!(%error, connector.id = %row.id, "an authorization server could not be asked anew");
            Found { resource: stored.resource.clone(), scope: String::new(), server: kept }
        }
    };
    let ended = stored.secret_expires_at.is_some_and(|at| at <= env.now());
    if found.server.issuer == stored.issuer && found.resource == stored.resource && !ended {
        return Ok((stored, found));
    }
    if stored.source == Some(model::credentials::ClientSource::Typed) {
        return Err(AppError::new(
            ErrorKind::Conflict,
            "server_moved",
            format!(
                "The server asks for a sign-in at {} now. The stored client id and secret belong to {} and are not sent there. \
                 Nothing was changed: enter those for the new one in the connector's credentials.",
                found.server.host(),
                discovery::host(&stored.issuer)
            ),
        )
        .into());
    }
    let input = config::Input {
        kind: stored.kind,
        issuer: typed.unwrap_or_default().to_owned(),
        scope: stored.scope.clone(),
        ..config::Input::default()
    };
    config::put(env, &OrgActor::<can::ConnectorsWrite>::system(org), row.id, &input).await?;
    let mut tx = env.db.read().await?;
    let fresh = store::upstream_credentials::find_client(&mut tx, org, row.id).await?;
    Ok((fresh.ok_or_else(|| Error::not_found("connector"))?, found))
}

/// What an authorization server sent along with the person.
#[derive(Clone, Default)]
pub struct Return {
    /// `state`.
    pub state: Option<String>,
    /// `code`.
    pub code: Option<String>,
    /// `iss` (RFC 9207).
    pub iss: Option<String>,
    /// `error`.
    pub error: Option<String>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// For which organisation.
    pub org: OrgId,
    /// Which connector.
    pub connector: ConnectorId,
    /// Whether for the person alone.
    pub personal: bool,
}

/// Takes the person back. `state` counts once, for ten minutes, in the session that it was made in.
pub async fn finish(ctx: &RequestContext, back: &Return) -> Result<Finished> {
    let env = &ctx.env;
    let signed_in = ctx.signed_in.as_ref().ok_or_else(unauthenticated)?;
    let state = back.state.as_deref().ok_or_else(|| gone("The authorization server sent you back without what tells where you came from. Nothing was changed: start again at the connector."))?;
    let hash = key_format::hash(state);
    let attempt = {
        let mut tx = env.db.write().await?;
        let attempt = store::upstream_credentials::find_attempt(&mut tx, &hash).await?;
        // Another session's attempt is left to it.
        let attempt = attempt
            .filter(|attempt| attempt.session == signed_in.session && attempt.user == signed_in.user)
            .ok_or_else(|| gone("This sign-in was not begun in this browser, or is done already. Nothing was changed: start again at the connector."))?;
        store::upstream_credentials::take_attempt(&mut tx, &hash).await?;
        tx.commit().await?;
        attempt
    };
    if attempt.expires_at <= env.now() {
        return Err(gone(
            "This sign-in took longer than ten minutes. Nothing was changed: start again at the connector.",
        ));
    }
    // The organisation that it was begun in, whichever is in view by now.
    let mut there = ctx.clone();
    there.signed_in = Some(SignedIn { org: Some(attempt.org), ..signed_in.clone() });
    there.wants = Wants::Change { made_in: Some(attempt.org) };
    if attempt.personal {
        let actor = OrgActor::<can::PlaygroundUse>::require(&there).await?;
        take(env, &actor, &attempt, &hash, back).await?;
    } else {
        let actor = OrgActor::<can::ConnectorsWrite>::require(&there).await?;
        take(env, &actor, &attempt, &hash, back).await?;
    }
    Ok(Finished { org: attempt.org, connector: attempt.connector, personal: attempt.personal })
}

async fn take<P: Grant>(
    env: &Env,
    actor: &OrgActor<P>,
    attempt: &Attempt,
    hash: &[u8],
    back: &Return,
) -> Result<()> {
    let org = actor.org();
    let (row, stored, known, verifier) = {
        let mut tx = env.db.read().await?;
        let row = connector(&mut tx, org, attempt.connector).await?;
        let stored = store::upstream_credentials::find_client(&mut tx, org, attempt.connector).await?;
        let stored = stored.filter(|stored| same(stored, attempt)).ok_or_else(changed)?;
        let known = sealed::open_client(env, &mut tx, org, &stored).await?;
        let place = data_encoding::HEXLOWER.encode(hash);
        let verifier = sealed::open_verifier(env, &mut tx, org, &place, &attempt.verifier_sealed).await?;
        (row, stored, known, verifier)
    };
    let server = server(&stored)?;
    check_issuer(&server, back.iss.as_deref())?;
    if let Some(error) = &back.error {
        return Err(said_no(&server, error));
    }
    let code =
        back.code.as_deref().filter(|code| code.len() <= LONGEST_CODE).ok_or_else(|| said_no(&server, ""))?;
    let redirect_uri = client::redirect_uri(env);
    let ask = Ask::Code { code, verifier: &verifier, redirect_uri: &redirect_uri };
    let granted = token::ask(env, &server, &known, &stored.resource, ask).await?;
    let granted = granted.map_err(|error| no_tokens(&server, &error))?;

    let mut change = env.change(actor).await?;
    let now = store::upstream_credentials::find_client(change.tx(), org, attempt.connector).await?;
    let now = now.filter(|now| same(now, attempt)).ok_or_else(changed)?;
    let user: Option<UserId> = attempt.personal.then_some(attempt.user);
    let all = store::upstream_credentials::list(change.tx(), org).await?;
    for old in all.iter().filter(|old| old.connector == attempt.connector && old.user == user) {
        env.upstream.forget(old.id);
    }
    let scope = granted.scope.unwrap_or_else(|| attempt.scope.clone());
    let new = New {
        connector: attempt.connector,
        user,
        scope: Some(scope.clone()),
        expires_at: granted.expires_at,
    };
    let by = actor.principal().name();
    config::insert(env, change.tx(), org, &now, new, &granted.tokens, by).await?;
    let event = Event::new("mcp.authorized")
        .target("connector", row.id, &row.name)
        .with("personal", attempt.personal)
        .with("issuer", now.issuer.as_str())
        .with("scope", scope)
        .publish("mcp.updated", json!({"mcp_id": row.id, "name": row.name}));
    change.commit(event).await
}

/// Whether the connector still asks where this attempt was sent.
fn same(stored: &Client, attempt: &Attempt) -> bool {
    stored.issuer == attempt.issuer
        && stored.client_id == attempt.client_id
        && (stored.kind == CredentialKind::PerUser) == attempt.personal
        && stored.kind != CredentialKind::ClientCredentials
}

fn changed() -> Error {
    AppError::new(
        ErrorKind::Conflict,
        "changed_meanwhile",
        "The connector's credentials were changed while you were away. Nothing was kept: start again at the connector.",
    )
    .into()
}

/// RFC 9207 §2.4: whoever promises to name itself has to; whoever names itself has to be the one that was asked.
fn check_issuer(server: &Server, iss: Option<&str>) -> Result<()> {
    match iss {
        Some(iss) if iss == server.issuer => Ok(()),
        None if !server.iss => Ok(()),
        _ => Err(AppError::new(
            ErrorKind::Invalid,
            "wrong_issuer",
            format!(
                "Somebody else than {} sent you back, or it did not say who it is. Nothing was changed. Start again at the \
                 connector, and tell whoever runs that server if it stays so.",
                server.host()
            ),
        )
        .into()),
    }
}

fn said_no(server: &Server, error: &str) -> Error {
    let plain: String = error.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(64).collect();
    let code = if plain.is_empty() { String::new() } else { format!(" ({plain})") };
    AppError::new(
        ErrorKind::Invalid,
        "not_given",
        format!("{} gave no access{code}. Nothing was changed: start again at the connector.", server.host()),
    )
    .into()
}

fn no_tokens(server: &Server, error: &TokenError) -> Error {
    let host = server.host();
    let why = match error {
        TokenError::Refused(code) => format!("it refuses to ({code})"),
        TokenError::Later(trouble) => format!("it did not answer as it should. {trouble}"),
        TokenError::Nonsense => "its answer is none of OAuth".to_owned(),
    };
    AppError::new(
        ErrorKind::Invalid,
        "no_tokens",
        format!("{host} sent you back, but issued no token: {why}. Nothing was changed: start again at the connector."),
    )
    .into()
}
