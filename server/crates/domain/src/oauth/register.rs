//! Clients that register themselves (RFC 7591), and how they manage that (RFC 7592).

use model::{ClientSecretId, Scope, oauth::ClientKind};
use serde_json::{Map, Value, json};
use store::oauth_clients::{ClientSecret, OauthClient as Row};
use subtle::ConstantTimeEq as _;

use super::{
    DAY, Fault, MINUTE, Outcome,
    clients::{AuthMethod, Client},
    hashed,
    redirect::{self, Application},
    revoke,
};
use crate::{Env, key_format, request::Origin, throttle};

/// Registrations an hour from one address.
const PER_ADDRESS: i64 = 10;
/// Registrations a day on the whole instance.
const PER_INSTANCE: i64 = 1000;
/// The most redirect URIs of a client.
const MOST_REDIRECT_URIS: usize = 10;

/// What a client says about itself, checked.
#[derive(Clone, Debug)]
pub struct Metadata {
    /// Its name, without characters that cannot be seen; perhaps empty.
    pub name: String,
    /// Where it may be sent back to.
    pub redirect_uris: Vec<String>,
    /// How it authenticates.
    pub auth_method: AuthMethod,
    /// What it may ask for.
    pub scope: Scope,
    /// What else it says, as it is shown: text, never a link.
    pub claims: Map<String, Value>,
}

/// A registration, as it is answered.
#[derive(Clone)]
pub struct Registered {
    /// The client.
    pub client: Client,
    /// What else it said.
    pub claims: Map<String, Value>,
    /// The registration access token.
    pub management: String,
    /// The secret, when one was made just now.
    pub secret: Option<String>,
}

impl core::fmt::Debug for Registered {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Registered").field("client", &self.client).finish_non_exhaustive()
    }
}

fn invalid(description: impl Into<String>) -> super::Failure {
    Fault::InvalidClientMetadata.because(description)
}

fn text<'a>(object: &'a Map<String, Value>, name: &str) -> Outcome<Option<&'a str>> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(invalid(format!("{name} is a text."))),
    }
}

fn texts<'a>(object: &'a Map<String, Value>, name: &str) -> Outcome<Option<Vec<&'a str>>> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| item.as_str().ok_or_else(|| invalid(format!("{name} is a list of texts."))))
            .collect::<Outcome<Vec<_>>>()
            .map(Some),
        Some(_) => Err(invalid(format!("{name} is a list of texts."))),
    }
}

/// Only what is among `known` may be asked for.
fn among(object: &Map<String, Value>, name: &str, known: &[&str]) -> Outcome<()> {
    for item in texts(object, name)?.unwrap_or_default() {
        if !known.contains(&item) {
            return Err(invalid(format!("{name} may hold {} here.", known.join(", "))));
        }
    }
    Ok(())
}

/// Reads what a client says about itself. What is not known is ignored (RFC 7591 §2).
pub(crate) fn read(env: &Env, object: &Map<String, Value>) -> Outcome<Metadata> {
    let application = match text(object, "application_type")? {
        None => Application::Unsaid,
        Some("web") => Application::Web,
        Some("native") => Application::Native,
        Some(_) => return Err(invalid("application_type is web or native.")),
    };
    let wrong = |description: &str| Fault::InvalidRedirectUri.because(description);
    let uris = texts(object, "redirect_uris").map_err(|_| wrong("redirect_uris is a list of texts."))?;
    let uris =
        uris.filter(|uris| !uris.is_empty()).ok_or_else(|| wrong("Give at least one redirect URI."))?;
    if uris.len() > MOST_REDIRECT_URIS {
        return Err(wrong("Give at most ten redirect URIs."));
    }
    for uri in &uris {
        redirect::check(uri, application, &env.settings.native_schemes, env.outbound.allow())
            .map_err(wrong)?;
    }
    among(object, "grant_types", &["authorization_code", "refresh_token"])?;
    among(object, "response_types", &["code"])?;
    let is_app = application == Application::Native || uris.iter().all(|uri| !uri.starts_with("https:"));
    let auth_method = match text(object, "token_endpoint_auth_method")? {
        Some(name) => AuthMethod::parse(name).ok_or_else(|| {
            invalid("token_endpoint_auth_method is none, client_secret_basic or client_secret_post here.")
        })?,
        None if is_app => AuthMethod::None,
        None => AuthMethod::Basic,
    };
    let name = text(object, "client_name")?.unwrap_or_default();
    let name: String = name.chars().filter(|c| model::text::printable(*c)).collect();
    let name = name.trim().to_owned();
    if name.chars().count() > model::oauth::MAX_CLIENT_NAME {
        return Err(invalid("client_name has at most 128 characters."));
    }
    Ok(Metadata {
        name,
        redirect_uris: uris.into_iter().map(ToOwned::to_owned).collect(),
        auth_method,
        scope: scope(text(object, "scope")?),
        claims: claims(object)?,
    })
}

/// What a client may ask for: what it named, as far as it is known here, else everything.
fn scope(named: Option<&str>) -> Scope {
    let mut scope = Scope::default();
    for word in named.unwrap_or_default().split(' ') {
        if let Ok(one) = word.parse::<Scope>() {
            scope.all |= one.all;
            scope.connectors.extend(one.connectors);
        }
    }
    let scope = if scope.is_empty() { Scope::everything() } else { scope };
    Scope { offline: true, ..scope }
}

/// The rest of what a client says that is worth showing to a person.
fn claims(object: &Map<String, Value>) -> Outcome<Map<String, Value>> {
    let mut claims = Map::new();
    for name in ["client_uri", "logo_uri", "tos_uri", "policy_uri"] {
        if let Some(uri) = text(object, name)?.filter(|uri| !uri.is_empty()) {
            let good = uri.len() <= redirect::MAX
                && uri.bytes().all(|b| (0x21..0x7F).contains(&b))
                && url::Url::parse(uri).is_ok_and(|url| url.scheme() == "https" && url.username().is_empty());
            if !good {
                return Err(invalid(format!("{name} is an https URL.")));
            }
            claims.insert(name.to_owned(), json!(uri));
        }
    }
    for name in ["software_id", "software_version", "application_type"] {
        if let Some(value) = text(object, name)? {
            let value: String = value.chars().filter(|c| model::text::printable(*c)).take(128).collect();
            claims.insert(name.to_owned(), json!(value));
        }
    }
    if let Some(contacts) = texts(object, "contacts")? {
        let contacts: Vec<String> = contacts
            .into_iter()
            .take(10)
            .map(|contact| contact.chars().filter(|c| model::text::printable(*c)).take(256).collect())
            .collect();
        claims.insert("contacts".to_owned(), json!(contacts));
    }
    Ok(claims)
}

/// Whether clients may register themselves.
pub fn is_open(env: &Env) -> bool {
    env.settings.registration
}

/// Registers a client.
pub async fn register(env: &Env, origin: &Origin, object: &Map<String, Value>) -> Outcome<Registered> {
    if !is_open(env) {
        return Err(Fault::AccessDenied.because("Clients cannot register themselves on this instance."));
    }
    let metadata = read(env, object)?;
    let now = env.now();
    let whole = "register:all";
    let full = |until: i64| super::Failure::from(throttle::wait(until - now));
    // First what memory knows: a flood from many addresses must not write a line for each of them.
    if let Some(until) = env.oauth.refused_until(whole, now) {
        return Err(full(until));
    }
    if let Some(address) = origin.address {
        throttle::take(env, "register", address, PER_ADDRESS, 60 * MINUTE).await?;
    }
    let management = format!("gth_reg_{}", env.token());
    let row = Row {
        id: key_format::client_id(|bytes| env.rng.fill(bytes)),
        org: None,
        kind: ClientKind::Registered,
        name: metadata.name,
        redirect_uris: json!(metadata.redirect_uris).to_string(),
        auth_method: metadata.auth_method.as_str().to_owned(),
        scope: metadata.scope.to_string(),
        metadata: Value::Object(metadata.claims.clone()).to_string(),
        management_hash: Some(hashed(&management).to_vec()),
        fresh_until: None,
        created_at: now,
        created_by: origin.address_text(),
        updated_at: now,
        last_used_at: None,
    };
    let mut tx = env.db.write().await?;
    if store::oauth_clients::count_registered_since(&mut tx, now - DAY).await? >= PER_INSTANCE {
        // Looked at again in a while, not for each of a flood (OAD-03).
        let until = now + 5 * MINUTE;
        env.oauth.refuse(whole, until, now);
        return Err(full(until));
    }
    store::oauth_clients::insert(&mut tx, &row).await?;
    let secret = match metadata.auth_method {
        AuthMethod::None => None,
        AuthMethod::Basic | AuthMethod::Post => Some(add_secret(env, &mut tx, &row.id).await?),
    };
    tx.commit().await?;
    Ok(Registered { client: Client::read(&row)?, claims: metadata.claims, management, secret })
}

async fn add_secret(env: &Env, tx: &mut store::Tx, client: &str) -> Outcome<String> {
    let secret = key_format::generate_as(key_format::CLIENT_SECRET_PREFIX, |bytes| env.rng.fill(bytes));
    let row = ClientSecret {
        id: ClientSecretId::from_uuid(env.uuid()),
        client: client.to_owned(),
        hash: hashed(&secret).to_vec(),
        last4: secret[secret.len() - 4..].to_owned(),
        created_at: env.now(),
        created_by: String::new(),
        expires_at: None,
        last_used_at: None,
    };
    store::oauth_clients::insert_secret(tx, None, &row).await?;
    Ok(secret)
}

/// The registration that a token manages (OAD-04).
///
/// # Errors
/// `invalid_token` for another token as for an unknown client.
async fn managed(tx: &mut store::Tx, id: &str, token: &str) -> Outcome<Row> {
    let hash = hashed(token);
    store::oauth_clients::find(tx, id)
        .await?
        .filter(|row| row.kind == ClientKind::Registered)
        .filter(|row| row.management_hash.as_ref().is_some_and(|kept| kept.as_slice().ct_eq(&hash).into()))
        .ok_or_else(|| Fault::InvalidToken.because("This token does not manage this client."))
}

fn answered(row: &Row, token: &str) -> Outcome<Registered> {
    let claims = serde_json::from_str(&row.metadata).unwrap_or_default();
    Ok(Registered { client: Client::read(row)?, claims, management: token.to_owned(), secret: None })
}

/// Reads a registration.
pub async fn get(env: &Env, id: &str, token: &str) -> Outcome<Registered> {
    let mut tx = env.db.read().await?;
    let row = managed(&mut tx, id, token).await?;
    answered(&row, token)
}

/// Replaces what a client says about itself.
pub async fn put(env: &Env, id: &str, token: &str, object: &Map<String, Value>) -> Outcome<Registered> {
    let mut tx = env.db.write().await?;
    let mut row = managed(&mut tx, id, token).await?;
    if object.get("client_id").and_then(Value::as_str) != Some(id) {
        return Err(Fault::InvalidRequest.because("client_id is that of this client."));
    }
    let given = [
        "registration_access_token",
        "registration_client_uri",
        "client_secret_expires_at",
        "client_id_issued_at",
    ];
    if given.iter().any(|name| object.contains_key(*name)) {
        return Err(Fault::InvalidRequest
            .because("What the server gave out is not part of an update (RFC 7592 §2.2)."));
    }
    let metadata = read(env, object)?;
    if let Some(secret) = text(object, "client_secret")? {
        let known = store::oauth_clients::list_secrets(&mut tx, id).await?;
        let hash = hashed(secret);
        if !known.iter().any(|known| known.hash.as_slice().ct_eq(&hash).into()) {
            return Err(Fault::InvalidRequest.because("client_secret is not this client's."));
        }
    }
    row.name = metadata.name;
    row.redirect_uris = json!(metadata.redirect_uris).to_string();
    row.scope = metadata.scope.to_string();
    row.metadata = Value::Object(metadata.claims).to_string();
    row.updated_at = env.now();
    let had_secret = AuthMethod::parse(&row.auth_method) != Some(AuthMethod::None);
    metadata.auth_method.as_str().clone_into(&mut row.auth_method);
    let secret = match (had_secret, metadata.auth_method) {
        (false, AuthMethod::Basic | AuthMethod::Post) => Some(add_secret(env, &mut tx, id).await?),
        (true, AuthMethod::None) => {
            for secret in store::oauth_clients::list_secrets(&mut tx, id).await? {
                store::oauth_clients::delete_secret(&mut tx, secret.id).await?;
            }
            None
        }
        _ => None,
    };
    store::oauth_clients::update(&mut tx, &row).await?;
    tx.commit().await?;
    Ok(Registered { secret, ..answered(&row, token)? })
}

/// Deletes a registration; its connections are revoked with it.
pub async fn delete(env: &Env, origin: &Origin, id: &str, token: &str) -> Outcome<()> {
    let client = {
        let mut tx = env.db.read().await?;
        Client::read(&managed(&mut tx, id, token).await?)?
    };
    revoke::connections_of(env, origin, &client, "The client withdrew its registration").await?;
    let mut tx = env.db.write().await?;
    store::oauth_clients::delete(&mut tx, id).await?;
    tx.commit().await?;
    Ok(())
}
