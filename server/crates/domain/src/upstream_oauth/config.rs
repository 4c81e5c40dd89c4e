//! Which way a connector authenticates itself, as an organisation's people choose it.

use model::{
    AppError, AuthorizationId, ConnectorId, ErrorKind, OrgId, UserId,
    credentials::{self, ClientSource, CredentialKind, Credentials},
    permissions::can,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use store::{
    Tx,
    connectors::Connector as ConnectorRow,
    upstream_credentials::{Authorization, Client},
};
use url::Url;

use super::{
    client::{self, NewClient},
    discovery::{self, DiscoveryError, Found, Server, is_scope},
    sealed,
    token::{self, Ask, KnownClient, TokenError, Tokens},
};
use crate::{Env, Error, OrgActor, Result, authz::Principal, change::Event, connectors};

/// What somebody chose.
#[derive(Clone)]
pub struct Input {
    /// The way.
    pub kind: CredentialKind,
    /// The authorization server, where the server does not name it; else empty.
    pub issuer: String,
    /// The scope to ask for; empty to ask for what the server names.
    pub scope: String,
    /// A client id that was got by hand; else empty.
    pub client_id: String,
    /// Its secret; empty to keep the stored one.
    pub client_secret: SecretString,
}

impl Default for Input {
    fn default() -> Self {
        Self {
            kind: CredentialKind::Static,
            issuer: String::new(),
            scope: String::new(),
            client_id: String::new(),
            client_secret: SecretString::from(String::new()),
        }
    }
}

pub(super) async fn connector(tx: &mut Tx, org: OrgId, id: ConnectorId) -> Result<ConnectorRow> {
    store::connectors::find(tx, org, id).await?.ok_or_else(|| Error::not_found("connector"))
}

pub(super) fn server(row: &Client) -> Result<Server> {
    serde_json::from_str(&row.server)
        .map_err(|_| Error::Internal(format!("the authorization server of {} cannot be read", row.connector)))
}

/// A connector's credentials, for everybody who may see connectors; secrets stay where they are.
pub async fn get(env: &Env, actor: &OrgActor<can::ConnectorsRead>, id: ConnectorId) -> Result<Credentials> {
    let org = actor.org();
    let mut tx = env.db.read().await?;
    let row = connector(&mut tx, org, id).await?;
    let headers = store::connectors::list_headers(&mut tx, org).await?;
    let headers =
        headers.iter().filter(|header| header.connector == id && !header.name.starts_with(':')).count();
    let client = store::upstream_credentials::find_client(&mut tx, org, id).await?;
    let all = store::upstream_credentials::list(&mut tx, org).await?;
    let mut shown = Credentials {
        connector: id,
        name: row.name,
        slug: row.slug,
        kind: CredentialKind::Static,
        headers: u32::try_from(headers).unwrap_or(u32::MAX),
        issuer: String::new(),
        host: String::new(),
        scope: String::new(),
        scope_wanted: String::new(),
        client: None,
        has_secret: false,
        set: None,
        authorization: None,
        members: (0, 0),
    };
    let Some(client) = client else { return Ok(shown) };
    let viewer = match actor.principal() {
        Principal::User { id, .. } => Some(*id),
        _ => None,
    };
    let personal = client.kind == CredentialKind::PerUser;
    let own = |row: &&Authorization| {
        if personal { row.user.is_some() && row.user == viewer } else { row.user.is_none() }
    };
    let of: Vec<&Authorization> = all.iter().filter(|row| row.connector == id).collect();
    shown.authorization = of.iter().copied().find(own).map(shown_authorization);
    let members = of.iter().filter(|row| row.user.is_some());
    shown.members = members.fold((0, 0), |(all, lost), row| (all + 1, lost + u32::from(row.lost.is_some())));
    let asked = server(&client)?;
    shown.kind = client.kind;
    shown.host = asked.host();
    shown.issuer = client.issuer;
    shown.scope = client.scope;
    shown.scope_wanted = client.scope_wanted;
    shown.has_secret = client.secret_sealed.is_some();
    shown.client = client.source.map(|source| (client.client_id, source));
    shown.set = Some((client.set_at, client.set_by));
    Ok(shown)
}

/// The same, with the authorization server that somebody typed; empty if nobody did.
pub async fn get_with_issuer(
    env: &Env,
    actor: &OrgActor<can::ConnectorsRead>,
    id: ConnectorId,
) -> Result<(Credentials, String)> {
    let shown = get(env, actor, id).await?;
    let mut tx = env.db.read().await?;
    let client = store::upstream_credentials::find_client(&mut tx, actor.org(), id).await?;
    let typed = match &client {
        Some(client) if server(client)?.typed => client.issuer.clone(),
        _ => String::new(),
    };
    Ok((shown, typed))
}

pub(super) fn shown_authorization(row: &Authorization) -> credentials::Authorization {
    credentials::Authorization {
        id: row.id,
        by: row.authorized_by.clone(),
        at: row.authorized_at,
        scope: row.scope.clone(),
        renewed_at: row.issued_at,
        expires_at: row.expires_at,
        renews: row.refreshable,
        lost: row.lost.clone(),
    }
}

fn at_issuer(error: &DiscoveryError) -> AppError {
    AppError::field("issuer", "no_authorization_server", error.to_string())
}

/// Sets the way of a connector. The server is asked at once who gives access to it, a client is found or registered there,
/// and client credentials are tried: what does not work is an error at its field, and nothing is kept.
pub async fn put(
    env: &Env,
    actor: &OrgActor<can::ConnectorsWrite>,
    id: ConnectorId,
    input: &Input,
) -> Result<()> {
    let org = actor.org();
    let (row, old, works) = {
        let mut tx = env.db.read().await?;
        let given = store::upstream_credentials::list(&mut tx, org).await?;
        (
            connector(&mut tx, org, id).await?,
            store::upstream_credentials::find_client(&mut tx, org, id).await?,
            given.iter().any(|given| given.connector == id && given.lost.is_none()),
        )
    };
    if input.kind == CredentialKind::Static {
        return back_to_headers(env, actor, &row, old.is_some()).await;
    }
    if row.transport == model::connectors::Transport::Demo {
        return Err(AppError::new(
            ErrorKind::Invalid,
            "demo",
            "The demo server takes no credentials. Nothing was changed.",
        )
        .into());
    }
    if row.transport == model::connectors::Transport::Stdio {
        return Err(AppError::new(
            ErrorKind::Invalid,
            "local",
            "A server on this machine gets its credentials from the operator. Nothing was changed.",
        )
        .into());
    }
    let scope = input.scope.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    if !is_scope(&scope) {
        return Err(AppError::field(
            "scope",
            "scope",
            "Write scopes as the server names them, with spaces between",
        )
        .into());
    }
    let (issuer, client_id) = (input.issuer.trim(), input.client_id.trim());
    if client_id.len() > 2048 || !client_id.bytes().all(|b| (0x21..0x7F).contains(&b)) {
        return Err(AppError::field(
            "client_id",
            "client_id",
            "Copy the client id as the authorization server shows it",
        )
        .into());
    }
    if input.client_secret.expose_secret().len() > 4096 {
        return Err(AppError::field(
            "client_secret",
            "client_secret",
            "Use a secret of at most 4096 characters",
        )
        .into());
    }
    let url = whole_url(env, org, &row).await?;
    let typed = Some(issuer).filter(|issuer| !issuer.is_empty());
    let found = discovery::discover(env, &url, typed).await.map_err(|error| at_issuer(&error))?;
    check_server(&found.server, input.kind)?;
    let same_issuer = old.as_ref().filter(|old| old.issuer == found.server.issuer);
    let new = match (client_id.is_empty(), input.kind) {
        (false, kind) => {
            let kept = same_issuer.filter(|old| old.client_id == client_id);
            typed_client(env, org, &found.server, client_id, &input.client_secret, kept, kind).await?
        }
        (true, CredentialKind::ClientCredentials) => {
            return Err(AppError::field(
                "client_id",
                "required",
                "Enter the client id that the authorization server gave you",
            )
            .into());
        }
        (true, _) => match same_issuer.filter(|old| is_good(env, old, works)) {
            Some(old) => stored_client(env, org, old).await?,
            None => client::obtain(env, &found.server, &ask_for(&scope, "", &found))
                .await
                .map_err(|error| AppError::field("client_id", "no_client", error.to_string()))?,
        },
    };
    let known =
        KnownClient { id: new.id.clone(), secret: new.secret.clone(), auth_method: new.auth_method.clone() };
    let granted = if input.kind == CredentialKind::ClientCredentials {
        let wanted = if scope.is_empty() { &found.scope } else { &scope };
        let ask = Ask::Client { scope: wanted };
        let granted = token::ask(env, &found.server, &known, &found.resource, ask).await?;
        Some((granted.map_err(|error| at_client(&found.server, &error))?, wanted.clone()))
    } else {
        None
    };

    let mut change = env.change(actor).await?;
    let now = env.now();
    if store::connectors::find(change.tx(), org, id).await?.is_none_or(|current| current.url != row.url)
        || store::upstream_credentials::find_client(change.tx(), org, id).await? != old
    {
        return Err(AppError::new(
            ErrorKind::Conflict,
            "changed_meanwhile",
            "Somebody else changed this connector in the meantime. Nothing was saved: look at it again.",
        )
        .into());
    }
    let secret_sealed = match &new.secret {
        Some(secret) => Some(sealed::seal_secret(env, change.tx(), org, id, secret).await?),
        None => None,
    };
    let mut described = found.server.clone();
    described.typed = typed.is_some();
    let client = Client {
        connector: id,
        kind: input.kind,
        issuer: found.server.issuer.clone(),
        server: serde_json::to_string(&described).unwrap_or_default(),
        resource: found.resource.clone(),
        // What the server names now is asked for with client credentials ever after; people's consent asks again each time.
        scope: granted.as_ref().map_or(scope, |(_, wanted)| wanted.clone()),
        scope_wanted: String::new(),
        source: Some(new.source),
        client_id: new.id,
        secret_sealed,
        auth_method: new.auth_method,
        secret_expires_at: new.secret_expires_at,
        set_at: now,
        set_by: actor.principal().name().to_owned(),
    };
    store::upstream_credentials::put_client(change.tx(), org, &client).await?;
    let keeps = old.as_ref().is_some_and(|old| {
        old.kind == client.kind
            && old.issuer == client.issuer
            && old.client_id == client.client_id
            && old.resource == client.resource
            && granted.is_none()
    });
    if !keeps {
        forget_all(env, change.tx(), org, id).await?;
    }
    if let Some((granted, _)) = granted {
        let tokens = granted.tokens;
        let new = New { connector: id, user: None, scope: granted.scope, expires_at: granted.expires_at };
        insert(env, change.tx(), org, &client, new, &tokens, actor.principal().name()).await?;
    }
    let before = old.as_ref().map_or(CredentialKind::Static, |old| old.kind);
    let mut event = Event::new("mcp.credentials_changed")
        .target("connector", id, &row.name)
        .changed("kind", before.as_str(), client.kind.as_str())
        .changed("issuer", old.as_ref().map_or("", |old| old.issuer.as_str()), client.issuer.as_str())
        .changed(
            "client_id",
            old.as_ref().map_or("", |old| old.client_id.as_str()),
            client.client_id.as_str(),
        )
        .changed("scope", old.as_ref().map_or("", |old| old.scope.as_str()), client.scope.as_str());
    if !input.client_secret.expose_secret().is_empty() {
        event = event.secret("client_secret", old.is_some_and(|old| old.secret_sealed.is_some()));
    }
    change.commit(event.publish("mcp.updated", json!({"mcp_id": id, "name": row.name}))).await
}

/// The connector's URL as it is called.
pub(super) async fn whole_url(env: &Env, org: OrgId, row: &ConnectorRow) -> Result<Url> {
    let url = connectors::whole_url(env, org, row).await?;
    Url::parse(url.expose_secret()).map_err(|_| Error::Internal("a stored URL is none".into()))
}

/// Whether a server can do what its use needs.
fn check_server(server: &Server, kind: CredentialKind) -> Result<()> {
    if kind == CredentialKind::ClientCredentials {
        return Ok(());
    }
    let bad = |why: &str| {
        let message = format!("{} cannot be used: {why}.", server.host());
        Err(AppError::field("issuer", "no_authorization_server", message).into())
    };
    if server.authorization_endpoint.is_empty() {
        return bad("it names no page where people sign in");
    }
    if !server.s256 {
        // 2026-07-28, basic/authorization: without it a stolen code would be worth something.
        return bad("it does not say that it supports PKCE with S256");
    }
    Ok(())
}

/// What is asked for: what was typed, else what the server names; what it wanted beyond; and a refresh token where it has some.
pub(super) fn ask_for(typed: &str, wanted: &str, found: &Found) -> String {
    let base = if typed.is_empty() { found.scope.as_str() } else { typed };
    let scope = discovery::union(base, wanted);
    if found.server.scopes.iter().any(|scope| scope == discovery::OFFLINE) {
        discovery::union(&scope, discovery::OFFLINE)
    } else {
        scope
    }
}

/// Whether a client that was found or registered may go on being used. One that nothing works with may have been
/// forgotten over there: registering anew costs little.
fn is_good(env: &Env, client: &Client, works: bool) -> bool {
    let lives = client.secret_expires_at.is_none_or(|at| env.now() < at);
    match client.source {
        Some(ClientSource::Registered) => lives && works,
        // An instance that moved is another client.
        Some(ClientSource::Document) => {
            client::document_url(env).as_deref() == Some(client.client_id.as_str())
        }
        Some(ClientSource::Typed) | None => false,
    }
}

async fn stored_client(env: &Env, org: OrgId, old: &Client) -> Result<NewClient> {
    let mut tx = env.db.read().await?;
    let known = sealed::open_client(env, &mut tx, org, old).await?;
    Ok(NewClient {
        source: old.source.unwrap_or(ClientSource::Typed),
        id: known.id,
        secret: known.secret,
        auth_method: known.auth_method,
        secret_expires_at: old.secret_expires_at,
    })
}

async fn typed_client(
    env: &Env,
    org: OrgId,
    server: &Server,
    id: &str,
    secret: &SecretString,
    kept: Option<&Client>,
    kind: CredentialKind,
) -> Result<NewClient> {
    let typed = !secret.expose_secret().is_empty();
    let stored = match kept {
        Some(kept) if !typed => stored_client(env, org, kept).await?.secret,
        _ => None,
    };
    let secret = if typed { Some(secret.clone()) } else { stored };
    if secret.is_none() && kind == CredentialKind::ClientCredentials {
        return Err(AppError::field(
            "client_secret",
            "required",
            "Enter the client secret that belongs to this client id",
        )
        .into());
    }
    let source = kept.and_then(|kept| kept.source).unwrap_or(ClientSource::Typed);
    let auth_method = match kept.filter(|kept| kept.source != Some(ClientSource::Typed)) {
        Some(kept) => kept.auth_method.clone(),
        None => client::auth_method(server, secret.is_some()).to_owned(),
    };
    let secret_expires_at = kept.filter(|_| !typed).and_then(|kept| kept.secret_expires_at);
    Ok(NewClient { source, id: id.to_owned(), secret, auth_method, secret_expires_at })
}

fn at_client(server: &Server, error: &TokenError) -> AppError {
    let host = server.host();
    match error {
        TokenError::Refused(code) if code == "invalid_client" || code == "unauthorized_client" => {
            AppError::field(
                "client_secret",
                "client_refused",
                format!("Check id and secret: {host} does not accept them for client credentials ({code})"),
            )
        }
        TokenError::Refused(code) if code == "invalid_scope" => AppError::field(
            "scope",
            "scope_refused",
            format!("Enter another scope: {host} does not give this one"),
        ),
        TokenError::Refused(code) => {
            AppError::field("client_id", "client_refused", format!("{host} issues no token ({code})"))
        }
        TokenError::Later(trouble) => AppError::field(
            "issuer",
            "no_authorization_server",
            format!("{host} could not be asked for a token. {trouble}"),
        ),
        TokenError::Nonsense => AppError::field(
            "issuer",
            "no_authorization_server",
            format!("{host} answers with something that is no token of OAuth"),
        ),
    }
}

async fn back_to_headers(
    env: &Env,
    actor: &OrgActor<can::ConnectorsWrite>,
    row: &ConnectorRow,
    had_any: bool,
) -> Result<()> {
    if !had_any {
        return Ok(());
    }
    let org = actor.org();
    let mut change = env.change(actor).await?;
    let Some(old) = store::upstream_credentials::find_client(change.tx(), org, row.id).await? else {
        return Ok(());
    };
    forget_all(env, change.tx(), org, row.id).await?;
    store::upstream_credentials::delete_client(change.tx(), org, row.id).await?;
    let event = Event::new("mcp.credentials_changed")
        .target("connector", row.id, &row.name)
        .changed("kind", old.kind.as_str(), CredentialKind::Static.as_str())
        .publish("mcp.updated", json!({"mcp_id": row.id, "name": row.name}));
    change.commit(event).await
}

async fn forget_all(env: &Env, tx: &mut Tx, org: OrgId, id: ConnectorId) -> Result<()> {
    for row in store::upstream_credentials::list(tx, org).await?.iter().filter(|row| row.connector == id) {
        env.upstream.forget(row.id);
    }
    store::upstream_credentials::delete_all_of(tx, org, id).await?;
    Ok(())
}

/// An authorisation that is about to be written.
pub(super) struct New {
    pub(super) connector: ConnectorId,
    pub(super) user: Option<UserId>,
    pub(super) scope: Option<String>,
    pub(super) expires_at: Option<i64>,
}

pub(super) async fn insert(
    env: &Env,
    tx: &mut Tx,
    org: OrgId,
    client: &Client,
    new: New,
    tokens: &Tokens,
    by: &str,
) -> Result<()> {
    let id = AuthorizationId::from_uuid(env.uuid());
    let now = env.now();
    let row = Authorization {
        id,
        connector: new.connector,
        user: new.user,
        issuer: client.issuer.clone(),
        resource: client.resource.clone(),
        scope: new.scope.unwrap_or_default(),
        tokens_sealed: sealed::seal_tokens(env, tx, org, id, tokens).await?,
        issued_at: now,
        expires_at: new.expires_at,
        refreshable: tokens.refresh.is_some() || client.kind == CredentialKind::ClientCredentials,
        generation: 1,
        lost: None,
        authorized_at: now,
        authorized_by: by.to_owned(),
    };
    store::upstream_credentials::replace(tx, org, &row).await?;
    Ok(())
}

/// Takes back what was given for the whole organisation. The tokens are erased here; the authorization server is told where
/// people can do so themselves, because not all of them take a revocation.
pub async fn disconnect(env: &Env, actor: &OrgActor<can::ConnectorsWrite>, id: ConnectorId) -> Result<()> {
    let org = actor.org();
    let mut change = env.change(actor).await?;
    let row = connector(change.tx(), org, id).await?;
    let all = store::upstream_credentials::list(change.tx(), org).await?;
    let Some(own) = all.iter().find(|other| other.connector == id && other.user.is_none()) else {
        return Ok(());
    };
    store::upstream_credentials::delete(change.tx(), org, own.id).await?;
    env.upstream.forget(own.id);
    let event = Event::new("mcp.authorization_removed")
        .target("connector", id, &row.name)
        .with("personal", false)
        .publish("mcp.updated", json!({"mcp_id": id, "name": row.name}));
    change.commit(event).await
}
