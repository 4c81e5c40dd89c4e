//! The authorization request, up to the point where a person is asked (OAZ-01 to OAZ-06, OAZ-09). Judging it changes
//! nothing but a row that says what was asked, and that only for somebody who is signed in.

use model::{AppError, ErrorKind, Scope, oauth::ClientKind};
use serde::{Deserialize, Serialize};
use store::oauth_codes::Request;

use super::{
    Fault, MINUTE, Outcome,
    clients::{self, Client},
    document, hashed, redirect,
    resource::{Named, Resource},
};
use crate::{
    Env, Result,
    authz::unauthenticated,
    request::{Origin, RequestContext, SignedIn},
};

/// How long a person has to decide.
pub(crate) const DECIDE_WITHIN: i64 = 10 * MINUTE;
/// What a packed query begins with.
const RESUME: &str = "resume=";
/// Requests of one person that may be open at once.
const MOST_OPEN: i64 = 20;

/// A known client and a redirect URI of its own: from here on the client may be told what is wrong.
#[derive(Clone, Debug)]
pub struct Trusted {
    /// Who asks.
    pub client: Client,
    /// Where the answer goes.
    pub redirect_uri: String,
}

/// What else the request says, in good form.
#[derive(Clone, Debug, Default)]
pub struct Ask<'a> {
    /// `state`.
    pub state: Option<&'a str>,
    /// `scope`.
    pub scope: Option<&'a str>,
    /// `resource`.
    pub resource: Option<&'a str>,
    /// The S256 challenge.
    pub code_challenge: &'a str,
    /// Whether no page may be shown.
    pub silent: bool,
    /// Whether the person has to log in again for this request.
    pub log_in_again: bool,
    /// How long ago they may have logged in, seconds.
    pub max_age: Option<i64>,
    /// From when on a log-in counts, because an earlier look at this request said so; Unix milliseconds.
    pub signed_in_after: Option<i64>,
}

/// What has to happen next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// The person logs in and comes back.
    LogIn {
        /// Although they are signed in: a log-in counts from then on, Unix milliseconds.
        again: Option<i64>,
    },
    /// The person decides; this names the stored request.
    Consent(String),
}

/// What is stored of a request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Asked {
    pub(crate) redirect_uri: String,
    pub(crate) state: Option<String>,
    pub(crate) scope: Scope,
    pub(crate) code_challenge: String,
    pub(crate) resource: Option<Resource>,
}

/// The query that asks the same once more, after a log-in. It is packed, because on the way it is part of another
/// address, and is decoded there more often than it was encoded.
pub fn pack(query: &str) -> String {
    format!("{RESUME}{}", data_encoding::BASE64URL_NOPAD.encode(query.as_bytes()))
}

/// The query that was packed, if this is one.
pub fn unpack(query: &str) -> Option<String> {
    let packed = query.strip_prefix(RESUME)?;
    String::from_utf8(data_encoding::BASE64URL_NOPAD.decode(packed.as_bytes()).ok()?).ok()
}

/// Looks at who asks and where the answer would go. An error is for the person alone, on a page (OAZ-01).
pub async fn trust(
    env: &Env,
    origin: &Origin,
    client_id: Option<&str>,
    redirect_uri: Option<&str>,
) -> Result<Trusted> {
    let unknown = || {
        redirect::refused(
            "unknown_client",
            "The app that sent you here is not known to Gatehouse, so nothing was given to it. Remove the connection in the app and add it again.",
        )
    };
    let id = client_id.ok_or_else(unknown)?;
    let client = if document::is_url(id) {
        document::find(env, origin.address, id).await?
    } else {
        clients::find(env, id).await?
    };
    let client = client.ok_or_else(unknown)?;
    let redirect_uri = redirect_uri.filter(|uri| redirect::is_registered(&client.redirect_uris, uri)).ok_or_else(|| {
        redirect::refused(
            "bad_redirect_uri",
            "The app that sent you here wants the answer at an address that it did not register, so nothing was given to it. Remove the connection in the app and add it again.",
        )
    })?;
    Ok(Trusted { redirect_uri: redirect_uri.to_owned(), client })
}

/// Judges the rest of the request and, when a person is there to be asked, stores it.
pub async fn judge(ctx: &RequestContext, trusted: &Trusted, ask: &Ask<'_>) -> Outcome<Next> {
    let env = &ctx.env;
    let client = &trusted.client;
    if client.kind == ClientKind::Machine {
        return Err(
            Fault::UnauthorizedClient.because("This client has no people; it uses client credentials.")
        );
    }
    let (named, scope) = asked_for(env, client, ask)?;
    let Some(signed_in) = &ctx.signed_in else {
        if ask.silent {
            return Err(Fault::LoginRequired.because("Nobody is signed in."));
        }
        return Ok(Next::LogIn { again: None });
    };
    let now = env.now();
    if let Some(after) = must_log_in(ctx, signed_in, ask).await? {
        if ask.silent {
            return Err(Fault::LoginRequired.because("The person logged in too long ago."));
        }
        return Ok(Next::LogIn { again: Some(after) });
    }
    let resource = reachable(env, signed_in, client, named.as_ref(), &scope).await?;
    if ask.silent {
        // Consent is never remembered, so it always has to be asked for.
        return Err(Fault::ConsentRequired.because("The person has to be asked."));
    }
    let asked = Asked {
        redirect_uri: trusted.redirect_uri.clone(),
        state: ask.state.map(ToOwned::to_owned),
        scope,
        code_challenge: ask.code_challenge.to_owned(),
        resource,
    };
    let request = Request {
        session: signed_in.session,
        user: signed_in.user,
        client: client.id.clone(),
        params: serde_json::to_string(&asked).map_err(|why| crate::Error::Internal(why.to_string()))?,
        created_at: now,
        expires_at: now + DECIDE_WITHIN,
    };
    let value = env.token();
    let mut tx = env.db.write().await?;
    store::oauth_codes::insert_request(&mut tx, &hashed(&value), &request, MOST_OPEN).await?;
    tx.commit().await?;
    Ok(Next::Consent(value))
}

/// Reads scope and resource, as far as that can be done for anybody: whether an organisation exists is not told yet.
fn asked_for(env: &Env, client: &Client, ask: &Ask<'_>) -> Outcome<(Option<Named>, Scope)> {
    let asked: Scope = ask.scope.unwrap_or_default().parse().map_err(|_| {
        Fault::InvalidScope.because("Known scopes are mcp:call, mcp:call:<connector> and offline_access.")
    })?;
    let asked =
        if asked.is_empty() { Scope { offline: asked.offline, ..Scope::everything() } } else { asked };
    let named = match ask.resource {
        None => None,
        Some(text) => Some(Named::parse(&env.settings, text).ok_or_else(|| {
            Fault::InvalidTarget.because("The resource is no MCP endpoint of this instance.")
        })?),
    };
    let registered = Scope { offline: true, ..client.scope.clone() };
    let mut scope = asked.narrowed(&registered);
    if let Some(named) = &named {
        scope = scope.narrowed(&named.limit());
    }
    if scope.is_empty() {
        return Err(Fault::InvalidScope.because("Nothing that this client may have is left of this scope."));
    }
    Ok((named, scope))
}

/// From when on a log-in would count, when the present one does not.
async fn must_log_in(ctx: &RequestContext, signed_in: &SignedIn, ask: &Ask<'_>) -> Result<Option<i64>> {
    let now = ctx.env.now();
    if ask.log_in_again {
        return Ok(Some(now));
    }
    let oldest = ask.max_age.map(|seconds| now.saturating_sub(seconds.saturating_mul(1000)));
    // A time to come would never be reached.
    let after = ask.signed_in_after.filter(|after| *after <= now);
    let Some(needed) = oldest.max(after) else { return Ok(None) };
    let mut tx = ctx.env.db.read().await?;
    let sessions = store::sessions::list_of_user(&mut tx, signed_in.user).await?;
    let since = sessions
        .iter()
        .find(|session| session.id == signed_in.session)
        .map_or(0, |session| session.created_at);
    // A log-in that was made for this request counts, however short max_age is.
    let in_answer = after.is_some_and(|after| since >= after && now - after <= DECIDE_WITHIN);
    let enough = in_answer || since >= needed;
    Ok(if enough { None } else { Some(now) })
}

/// The organisation that the request names, if this person may be asked about it at all (OAZ-06).
async fn reachable(
    env: &Env,
    signed_in: &SignedIn,
    client: &Client,
    named: Option<&Named>,
    scope: &Scope,
) -> Outcome<Option<Resource>> {
    let mut tx = env.db.read().await?;
    let not_a_member = || Fault::AccessDenied.because("The person is not a member of this organisation.");
    if let Some(owner) = client.org
        && store::members::find_role(&mut tx, owner, signed_in.user).await?.is_none()
    {
        return Err(not_a_member());
    }
    let Some(named) = named else { return Ok(None) };
    let unknown = || Fault::InvalidTarget.because("The resource is no MCP endpoint of this instance.");
    let org = named.find(&mut tx).await?.ok_or_else(unknown)?;
    if client.org.is_some_and(|owner| owner != org.id) {
        return Err(Fault::InvalidTarget.because("This client belongs to another organisation."));
    }
    if store::members::find_role(&mut tx, org.id, signed_in.user).await?.is_none() {
        return Err(not_a_member());
    }
    let connectors = store::connectors::list(&mut tx, org.id).await?;
    let is_there = |slug: &model::ConnectorSlug| connectors.iter().any(|connector| connector.slug == *slug);
    if named.connector.as_ref().is_some_and(|slug| !is_there(slug)) {
        return Err(unknown());
    }
    if let Some(missing) = scope.connectors.iter().find(|slug| !is_there(slug)) {
        let words = format!("The organisation has no connector {}.", missing.as_str());
        return Err(Fault::InvalidScope.because(words));
    }
    Ok(Some(Resource { org: org.id, url: named.url(&env.settings) }))
}

/// A stored request that the signed-in person may decide.
pub(crate) struct Open {
    pub(crate) hash: [u8; 32],
    pub(crate) request: Request,
    pub(crate) asked: Asked,
    pub(crate) client: Client,
}

/// Finds a stored request, for the person and the session that it was stored for and nobody else.
pub(crate) async fn open(tx: &mut store::Tx, ctx: &RequestContext, value: &str) -> Result<Open> {
    let gone = || {
        AppError::new(
            ErrorKind::NotFound,
            "request_gone",
            "This request was answered already, has expired, or is somebody else's.",
        )
    };
    let signed_in = ctx.signed_in.as_ref().ok_or_else(unauthenticated)?;
    let hash = hashed(value);
    let request = store::oauth_codes::find_request(tx, &hash).await?.ok_or_else(gone)?;
    let mine = request.session == signed_in.session && request.user == signed_in.user;
    if !mine || request.expires_at <= ctx.env.now() {
        return Err(gone().into());
    }
    let asked: Asked = serde_json::from_str(&request.params)
        .map_err(|_| crate::Error::Internal("a stored request does not read".to_owned()))?;
    let row = store::oauth_clients::find(tx, &request.client).await?.ok_or_else(gone)?;
    let client = Client::read(&row)?;
    // The client may have changed since: what it no longer registers gets no answer, and is asked for anew (OAD-05).
    if !redirect::is_registered(&client.redirect_uris, &asked.redirect_uri) {
        return Err(gone().into());
    }
    Ok(Open { hash, request, asked, client })
}
