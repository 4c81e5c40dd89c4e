//! OAuth clients: those that an organisation makes, those that registered themselves, and what both may do here.

use std::collections::{BTreeMap, HashSet};

use model::{
    AppError, ClientSecretId, ConnectionId, ErrorKind, OrgId, Scope,
    oauth::{
        ClientKind, ClientSecret, MAX_CLIENT_NAME, NewOauthClient, OauthClient, OauthClientsPage,
        OauthSettings, Overlap,
    },
    paths,
    permissions::can,
    text,
};
use serde_json::{Value, json};
use store::{
    Tx,
    oauth_clients::{ClientSecret as SecretRow, OauthClient as Row},
};

use crate::{
    Env, Error, OrgActor, Result,
    change::{Change, Event},
    connections, key_format,
    oauth::{
        authorize,
        redirect::{self, Application},
    },
};

/// The most clients that an organisation may make.
const MOST_CLIENTS: usize = 500;
/// The longest claim of a client that registered itself that is shown, in characters.
const LONGEST_CLAIM: usize = 300;
const DAY: i64 = 24 * 60 * 60 * 1000;

const CREATED: &str = "An OAuth client was created";
const DELETED: &str = "An OAuth client was deleted";
const OWN_DELETED: &str = "Its OAuth client was deleted";
const ALL_REVOKED: &str = "All connections of its client were revoked";

/// How a client that an organisation makes proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The secret stands in the body of the token request.
    Post,
    /// The secret stands in the `Authorization` header of the token request.
    Basic,
    /// Nothing: a public client, which has PKCE only.
    None,
}

impl Proof {
    /// The name that RFC 7591 gives it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Post => "client_secret_post",
            Self::Basic => "client_secret_basic",
            Self::None => "none",
        }
    }

    /// The method with this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Post, Self::Basic, Self::None].into_iter().find(|proof| proof.as_str() == name)
    }
}

/// What a new client shall be.
#[derive(Clone, Debug)]
pub struct NewClient {
    /// What it is called.
    pub name: String,
    /// Whether people sign in with it, at these redirect URIs; otherwise it is a machine.
    pub redirect_uris: Option<Vec<String>>,
    /// How it proves who it is.
    pub proof: Proof,
    /// What it may ask for.
    pub scope: Scope,
    /// Leaves the refresh tokens of the organisation alone.
    pub keep_refresh_tokens: bool,
}

/// What may be changed about a client.
#[derive(Clone, Debug)]
pub struct ClientChanges {
    /// What it is called.
    pub name: String,
    /// Where it may be sent back to; not looked at for machines.
    pub redirect_uris: Vec<String>,
    /// What it may ask for.
    pub scope: Scope,
}

/// Everything the page shows.
pub async fn page(env: &Env, actor: &OrgActor<can::OauthClientsRead>) -> Result<OauthClientsPage> {
    let now = env.now();
    let org = actor.org();
    let mut tx = env.db.read().await?;
    let live = live(&mut tx, org, now).await?;
    let mut own = Vec::new();
    for row in store::oauth_clients::list(&mut tx, org).await? {
        own.push(listed(&mut tx, row, &live.by_client, now).await?);
    }
    let mut others = Vec::new();
    for row in store::oauth_clients::list_connected(&mut tx, org).await? {
        others.push(listed(&mut tx, row, &live.by_client, now).await?);
    }
    let connectors = store::connectors::list(&mut tx, org).await?;
    Ok(OauthClientsPage {
        own,
        others,
        settings: store::orgs::oauth_settings(&mut tx, org).await?,
        lifetimes: live.by_days.into_iter().collect(),
        connectors: connectors.into_iter().map(|c| (c.slug, c.name)).collect(),
        now,
    })
}

/// One client that the organisation made, or one that was given access in it.
pub async fn get(env: &Env, actor: &OrgActor<can::OauthClientsRead>, id: &str) -> Result<OauthClient> {
    let now = env.now();
    let mut tx = env.db.read().await?;
    let row = find(&mut tx, actor.org(), id).await?;
    let live = live(&mut tx, actor.org(), now).await?;
    listed(&mut tx, row, &live.by_client, now).await
}

/// A client that this organisation may see. Of another organisation's clients it learns nothing (TEN-01).
async fn find(tx: &mut Tx, org: OrgId, id: &str) -> Result<Row> {
    let missing = || Error::not_found("OAuth client");
    let row = store::oauth_clients::find(tx, id).await?.ok_or_else(missing)?;
    let visible = match row.org {
        Some(owner) => owner == org,
        None => store::connections::list(tx, org).await?.iter().any(|row| row.client == id),
    };
    if visible { Ok(row) } else { Err(missing()) }
}

async fn find_own(tx: &mut Tx, org: OrgId, id: &str) -> Result<Row> {
    find(tx, org, id)
        .await
        .and_then(|row| if row.org == Some(org) { Ok(row) } else { Err(Error::not_found("OAuth client")) })
}

/// The live connections of an organisation, counted.
struct Live {
    connections: HashSet<ConnectionId>,
    by_client: BTreeMap<String, i64>,
    by_days: BTreeMap<i64, i64>,
}

async fn live(tx: &mut Tx, org: OrgId, now: i64) -> Result<Live> {
    let mut live = Live { connections: HashSet::new(), by_client: BTreeMap::new(), by_days: BTreeMap::new() };
    let mut grants = store::oauth_grants::list_live(tx, org, now).await?;
    // The grant of a connection that ends last is the one that says how long it lasts.
    grants.sort_by_key(|grant| -grant.expires_at);
    for grant in grants {
        if live.connections.insert(grant.connection) {
            *live.by_client.entry(grant.client).or_default() += 1;
            *live.by_days.entry((grant.expires_at - grant.created_at + DAY / 2) / DAY).or_default() += 1;
        }
    }
    Ok(live)
}

async fn listed(tx: &mut Tx, row: Row, live: &BTreeMap<String, i64>, now: i64) -> Result<OauthClient> {
    let wrong = |what: &str| Error::Internal(format!("{what} of {} cannot be read", row.id));
    let redirect_uris = serde_json::from_str(&row.redirect_uris).map_err(|_| wrong("the redirect URIs"))?;
    let scope = row.scope.parse().map_err(|_| wrong("the scope"))?;
    let secrets = store::oauth_clients::list_secrets(tx, &row.id).await?;
    Ok(OauthClient {
        redirect_uris,
        scope,
        secrets: secrets.into_iter().filter(|secret| lives(secret, now)).map(shown).collect(),
        claims: claims(&row.metadata),
        connections: live.get(&row.id).copied().unwrap_or_default(),
        name: connections::named(&row.name).to_owned(),
        kind: row.kind,
        auth_method: row.auth_method,
        created_at: row.created_at,
        created_by: row.created_by,
        last_used_at: row.last_used_at,
        id: row.id,
    })
}

fn lives(secret: &SecretRow, now: i64) -> bool {
    secret.expires_at.is_none_or(|at| at > now)
}

fn shown(secret: SecretRow) -> ClientSecret {
    ClientSecret {
        id: secret.id,
        last4: secret.last4,
        created_at: secret.created_at,
        created_by: secret.created_by,
        expires_at: secret.expires_at,
        last_used_at: secret.last_used_at,
    }
}

/// What a client says about itself, as text. Nobody has checked any of it.
fn claims(metadata: &str) -> Vec<(String, String)> {
    let Ok(Value::Object(members)) = serde_json::from_str(metadata) else { return Vec::new() };
    let plain =
        |text: &str| text.chars().filter(|c| text::printable(*c)).take(LONGEST_CLAIM).collect::<String>();
    members
        .iter()
        .filter_map(|(name, value)| {
            let value = match value {
                Value::String(text) => plain(text),
                Value::Array(items) => {
                    plain(&items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "))
                }
                Value::Number(_) | Value::Bool(_) => value.to_string(),
                Value::Null | Value::Object(_) => return None,
            };
            (!value.trim().is_empty()).then(|| (plain(name), value))
        })
        .collect()
}

/// A scope may name connectors of the organisation only, and has to name something.
async fn check_scope(tx: &mut Tx, org: OrgId, scope: &Scope) -> Result<()> {
    if scope.is_empty() {
        let message = "Choose at least one connector, or all of them";
        return Err(AppError::field("connectors", "required", message).into());
    }
    let known = store::connectors::list(tx, org).await?;
    match scope.connectors.iter().find(|slug| known.iter().all(|connector| connector.slug != **slug)) {
        None => Ok(()),
        Some(slug) => {
            let message = format!("There is no connector {slug} in this organisation");
            Err(AppError::field("connectors", "unknown_connector", message).into())
        }
    }
}

/// The most redirect URIs of one client (OAD-02).
const MOST_REDIRECTS: usize = 10;

fn check_redirects(env: &Env, uris: &[String]) -> Result<()> {
    let at = |message: String| AppError::field("redirect_uris", "invalid_redirect_uri", message);
    if uris.is_empty() || uris.len() > MOST_REDIRECTS {
        return Err(at(format!("Enter 1 to {MOST_REDIRECTS} redirect URIs, one a line")).into());
    }
    let settings = &env.settings;
    for uri in uris {
        redirect::check(uri, Application::Native, &settings.native_schemes, env.outbound.allow())
            .map_err(|why| at(format!("{uri}: {why}")))?;
    }
    Ok(())
}

fn new_secret(env: &Env, client: &str, by: &str) -> (SecretRow, String) {
    let secret = key_format::generate_as(key_format::CLIENT_SECRET_PREFIX, |bytes| env.rng.fill(bytes));
    let row = SecretRow {
        id: ClientSecretId::from_uuid(env.uuid()),
        client: client.to_owned(),
        hash: key_format::hash(&secret).to_vec(),
        last4: secret[secret.len() - 4..].to_owned(),
        created_at: env.now(),
        created_by: by.to_owned(),
        expires_at: None,
        last_used_at: None,
    };
    (row, secret)
}

/// Makes a client. Its secret is in the answer and nowhere else. Every refresh token of the organisation is revoked with
/// it, unless they are to be kept.
pub async fn create(
    env: &Env,
    actor: &OrgActor<can::OauthClientsWrite>,
    new: &NewClient,
) -> Result<NewOauthClient> {
    let name = text::name("name", "this client", &new.name, MAX_CLIENT_NAME)?;
    let kind = if new.redirect_uris.is_some() { ClientKind::Code } else { ClientKind::Machine };
    if kind == ClientKind::Machine && new.proof == Proof::None {
        let message = "A machine has to prove who it is: choose how it sends its secret";
        return Err(AppError::field("proof", "secret_needed", message).into());
    }
    let redirect_uris = new.redirect_uris.clone().unwrap_or_default();
    if kind == ClientKind::Code {
        check_redirects(env, &redirect_uris)?;
    }
    let now = env.now();
    let org = actor.org();
    let by = actor.principal().name();
    let mut change = env.change(actor).await?;
    check_scope(change.tx(), org, &new.scope).await?;
    if store::oauth_clients::list(change.tx(), org).await?.len() >= MOST_CLIENTS {
        let message = format!(
            "This organisation has {MOST_CLIENTS} clients. Delete some that are not used; none was made."
        );
        return Err(AppError::new(ErrorKind::Conflict, "too_many_clients", message).into());
    }
    let row = Row {
        id: key_format::client_id(|bytes| env.rng.fill(bytes)),
        org: Some(org),
        kind,
        name,
        redirect_uris: json!(redirect_uris).to_string(),
        auth_method: new.proof.as_str().to_owned(),
        scope: new.scope.to_string(),
        metadata: "{}".to_owned(),
        management_hash: None,
        fresh_until: None,
        created_at: now,
        created_by: by.to_owned(),
        updated_at: now,
        last_used_at: None,
    };
    store::oauth_clients::insert(change.tx(), &row).await?;
    let secret = if new.proof == Proof::None {
        None
    } else {
        let (secret_row, secret) = new_secret(env, &row.id, by);
        store::oauth_clients::insert_secret(change.tx(), Some(org), &secret_row).await?;
        Some(secret)
    };
    let revoked =
        if new.keep_refresh_tokens { 0 } else { cut_all(env, &mut change, org, by, CREATED).await? };
    let event = Event::new("oauth_client.created")
        .target("oauth_client", &row.id, &row.name)
        .with("kind", kind.as_str())
        .with("scope", row.scope.as_str())
        .with("redirect_uris", json!(redirect_uris))
        .with("auth_method", row.auth_method.as_str())
        .with("connections_revoked", revoked);
    let client = listed(change.tx(), row, &BTreeMap::new(), now).await?;
    change.commit(event).await?;
    Ok(NewOauthClient { client, secret, revoked })
}

/// Revokes every connection that has refresh tokens (seed of the rule: a new or a lost client means that trust is set up
/// anew). How many that were.
async fn cut_all(env: &Env, change: &mut Change, org: OrgId, by: &str, reason: &str) -> Result<i64> {
    let live = live(change.tx(), org, env.now()).await?.connections;
    cut(env, change, org, by, reason, |row| live.contains(&row.id)).await
}

/// Revokes the live connections that are `wanted`; how many that were.
pub(crate) async fn cut(
    env: &Env,
    change: &mut Change,
    org: OrgId,
    by: &str,
    reason: &str,
    wanted: impl Fn(&store::connections::Connection) -> bool,
) -> Result<i64> {
    let mut count = 0;
    for row in store::connections::list(change.tx(), org).await? {
        if row.revoked_at.is_none() && wanted(&row) {
            let event = connections::cut(env, change, org, &row, by, reason).await?;
            change.record(&event).await?;
            count += 1;
        }
    }
    Ok(count)
}

/// Gives a client a new secret. The one before it works on for the overlap; any older one ends now, so that there are
/// never more than two (OAT-04).
pub async fn rotate_secret(
    env: &Env,
    actor: &OrgActor<can::OauthClientsWrite>,
    id: &str,
    overlap: Overlap,
) -> Result<NewOauthClient> {
    let now = env.now();
    let org = actor.org();
    let mut change = env.change(actor).await?;
    let row = find_own(change.tx(), org, id).await?;
    if row.auth_method == Proof::None.as_str() {
        return Err(AppError::new(
            ErrorKind::Conflict,
            "public_client",
            "This client has no secret: it proves itself with PKCE alone. Nothing was changed.",
        )
        .into());
    }
    for (at, old) in store::oauth_clients::list_secrets(change.tx(), id).await?.into_iter().enumerate() {
        // Newest first.
        if at == 0 && overlap != Overlap::None && lives(&old, now) {
            store::oauth_clients::expire_secret(change.tx(), old.id, now + overlap.millis()).await?;
        } else {
            store::oauth_clients::delete_secret(change.tx(), old.id).await?;
        }
    }
    let (secret_row, secret) = new_secret(env, id, actor.principal().name());
    store::oauth_clients::insert_secret(change.tx(), Some(org), &secret_row).await?;
    let event = Event::new("oauth_client.secret_rotated")
        .target("oauth_client", id, &row.name)
        .secret("secret", true)
        .with("overlap", overlap.as_str());
    let live = live(change.tx(), org, now).await?;
    let client = listed(change.tx(), row, &live.by_client, now).await?;
    change.commit(event).await?;
    Ok(NewOauthClient { client, secret: Some(secret), revoked: 0 })
}

/// Changes name, redirect URIs and scope of a client that the organisation made.
pub async fn update(
    env: &Env,
    actor: &OrgActor<can::OauthClientsWrite>,
    id: &str,
    changes: &ClientChanges,
) -> Result<()> {
    let name = text::name("name", "this client", &changes.name, MAX_CLIENT_NAME)?;
    let org = actor.org();
    let mut change = env.change(actor).await?;
    let old = find_own(change.tx(), org, id).await?;
    check_scope(change.tx(), org, &changes.scope).await?;
    let mut new = old.clone();
    new.name = name;
    new.scope = changes.scope.to_string();
    if old.kind == ClientKind::Code {
        check_redirects(env, &changes.redirect_uris)?;
        new.redirect_uris = json!(changes.redirect_uris).to_string();
    }
    if new == old {
        return Ok(());
    }
    new.updated_at = env.now();
    store::oauth_clients::update(change.tx(), &new).await?;
    let event = Event::new("oauth_client.updated")
        .target("oauth_client", id, &new.name)
        .changed("name", old.name, new.name.as_str())
        .changed("scope", old.scope, new.scope.as_str())
        .changed("redirect_uris", old.redirect_uris, new.redirect_uris.as_str());
    change.commit(event).await
}

/// Deletes a client: its own tokens die in any case, and every refresh token of the organisation with them, unless they
/// are to be kept. A client that registered itself belongs to nobody: of it, all connections in this organisation are
/// revoked. How many connections were.
pub async fn delete(
    env: &Env,
    actor: &OrgActor<can::OauthClientsWrite>,
    id: &str,
    keep_refresh_tokens: bool,
) -> Result<i64> {
    let org = actor.org();
    let by = actor.principal().name();
    let mut change = env.change(actor).await?;
    let row = find(change.tx(), org, id).await?;
    let name = connections::named(&row.name).to_owned();
    if row.org.is_none() {
        let revoked = cut(env, &mut change, org, by, ALL_REVOKED, |row| row.client == id).await?;
        if revoked == 0 {
            let message = "No connection of this client is live, so nothing was changed.";
            return Err(AppError::new(ErrorKind::Conflict, "already_revoked", message).into());
        }
        let event = Event::new("oauth_client.access_revoked")
            .target("oauth_client", id, &name)
            .with("connections_revoked", revoked);
        change.commit(event).await?;
        return Ok(revoked);
    }
    let mut revoked = cut(env, &mut change, org, by, OWN_DELETED, |row| row.client == id).await?;
    if !keep_refresh_tokens {
        revoked += cut_all(env, &mut change, org, by, DELETED).await?;
    }
    store::oauth_clients::delete(change.tx(), id).await?;
    let event = Event::new("oauth_client.deleted")
        .target("oauth_client", id, &name)
        .with("kind", row.kind.as_str())
        .with("connections_revoked", revoked);
    change.commit(event).await?;
    Ok(revoked)
}

/// The name of the client that sent somebody to the log-in page: `next` is where they go afterwards. Anybody may ask, so
/// it tells no more than what the client says of itself.
pub async fn name_on_the_way(env: &Env, next: &str) -> Result<Option<String>> {
    let Some(query) = next.strip_prefix(paths::authorize()).and_then(|rest| rest.strip_prefix('?')) else {
        return Ok(None);
    };
    let query = authorize::unpack(query).unwrap_or_else(|| query.to_owned());
    let id = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "client_id");
    let Some((_, id)) = id else { return Ok(None) };
    let found = store::oauth_clients::find(&mut env.db.read().await?, &id).await?;
    Ok(found.map(|row| {
        let name = connections::named(&row.name);
        name.chars().filter(|c| text::printable(*c)).take(MAX_CLIENT_NAME).collect()
    }))
}

/// What the organisation chose, for whoever may see it.
pub async fn settings(env: &Env, actor: &OrgActor<can::OauthClientsRead>) -> Result<OauthSettings> {
    Ok(store::orgs::oauth_settings(&mut env.db.read().await?, actor.org()).await?)
}

/// Changes how long connections last, what the replay of a refresh token does, and whether clients that nobody of the
/// organisation registered may be given access. It applies to what is granted from now on (OAR-01).
pub async fn set_settings(
    env: &Env,
    actor: &OrgActor<can::OauthClientsWrite>,
    settings: OauthSettings,
) -> Result<()> {
    let org = actor.org();
    let mut change = env.change(actor).await?;
    let old = store::orgs::oauth_settings(change.tx(), org).await?;
    if old == settings {
        return Ok(());
    }
    store::orgs::set_oauth_settings(change.tx(), org, settings).await?;
    let event = Event::new("settings.updated")
        .target("org", org, "OAuth")
        .changed("refresh_days", old.lifetime.days(), settings.lifetime.days())
        .changed("reuse_policy", old.reuse.as_str(), settings.reuse.as_str())
        .changed("open_clients", old.open_clients, settings.open_clients);
    change.commit(event).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hdr_04_claims_are_plain_text() {
        let metadata = json!({
            "client_uri": "https://a.example",
            "contacts": ["a@a.example", "b@a.example"],
            "software_version": "1\u{202E}2",
            "jwks": {"keys": []},
            "tos_uri": "",
            "default_max_age": 3600,
        });
        assert_eq!(
            claims(&metadata.to_string()),
            [
                ("client_uri", "https://a.example"),
                ("contacts", "a@a.example, b@a.example"),
                ("software_version", "12"),
                ("default_max_age", "3600"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        assert!(claims("[]").is_empty() && claims("no JSON").is_empty());
    }
}
