//! Clients as the endpoints see them, and how they prove who they are (OAT-04).

use model::{OrgId, Scope, oauth::ClientKind};
use store::oauth_clients::OauthClient as Row;
use subtle::{Choice, ConstantTimeEq as _};

use super::{Failure, Fault, Outcome, hashed, quiet};
use crate::{Env, Error, Result, authz::Principal, change::Event, request::Origin, throttle};

/// Failures a minute from one address.
const PER_ADDRESS: i64 = 60;
/// Failures a minute of one client, wherever they come from.
const PER_CLIENT: i64 = 120;

/// How a client authenticates at the token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMethod {
    /// Not at all: a public client, which PKCE and its redirect URI have to tell from others.
    None,
    /// HTTP Basic.
    Basic,
    /// In the body.
    Post,
}

impl AuthMethod {
    /// Every method, as the metadata lists them.
    pub const ALL: &[Self] = &[Self::None, Self::Basic, Self::Post];

    /// The name on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Basic => "client_secret_basic",
            Self::Post => "client_secret_post",
        }
    }

    /// The method with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|method| method.as_str() == name)
    }
}

/// A client, read.
#[derive(Clone, Debug)]
pub struct Client {
    /// `gth_client_…`, or the URL of its metadata document.
    pub id: String,
    /// Whose it is; `None` for one that registered itself.
    pub org: Option<OrgId>,
    /// How it came to be known.
    pub kind: ClientKind,
    /// How it calls itself: untrusted text, perhaps empty.
    pub name: String,
    /// Where it may be sent back to.
    pub redirect_uris: Vec<String>,
    /// How it authenticates.
    pub auth_method: AuthMethod,
    /// The most it may ask for.
    pub scope: Scope,
    /// When it was registered or first seen, Unix milliseconds.
    pub created_at: i64,
    /// When a token was last issued to it, at most a minute stale.
    pub last_used_at: Option<i64>,
}

impl Client {
    /// Reads a row.
    pub(crate) fn read(row: &Row) -> Result<Self> {
        let wrong = |column| {
            Error::Store(store::Error::Inconsistent { table: "oauth_clients", column, row: row.id.clone() })
        };
        Ok(Self {
            id: row.id.clone(),
            org: row.org,
            kind: row.kind,
            name: row.name.clone(),
            redirect_uris: serde_json::from_str(&row.redirect_uris).map_err(|_| wrong("redirect_uris"))?,
            auth_method: AuthMethod::parse(&row.auth_method).ok_or_else(|| wrong("auth_method"))?,
            scope: row.scope.parse().map_err(|_| wrong("scope"))?,
            created_at: row.created_at,
            last_used_at: row.last_used_at,
        })
    }

    /// Whether nobody of an organisation made it, so that an organisation may refuse it altogether.
    pub fn is_open(&self) -> bool {
        matches!(self.kind, ClientKind::Registered | ClientKind::Document)
    }
}

/// A client that is known already.
pub async fn find(env: &Env, id: &str) -> Result<Option<Client>> {
    let mut tx = env.db.read().await?;
    store::oauth_clients::find(&mut tx, id).await?.as_ref().map(Client::read).transpose()
}

/// What a request said about who sends it.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The client's id.
    pub id: String,
    /// How the secret came.
    pub method: AuthMethod,
    /// The secret; empty with [`AuthMethod::None`].
    pub secret: String,
}

impl core::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Credentials")
            .field("id", &self.id)
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

/// The client that sends a request, if it proves it in the way it registered and in no other.
///
/// Only failures are counted, and only they are refused with 429: whoever floods a client's id, even from its own
/// address, cannot lock the client out.
///
/// # Errors
/// `invalid_client`, in the same words whatever is wrong; a time to wait after too many of those.
pub async fn authenticate(env: &Env, origin: &Origin, given: &Credentials) -> Outcome<Client> {
    match prove(env, given).await {
        Err(Failure::Refused(refusal)) if refusal.fault == Fault::InvalidClient => {
            failed(env, origin, given).await?;
            Err(Failure::Refused(refusal))
        }
        proved => proved,
    }
}

/// Counts a failure, or refuses it unanswered.
async fn failed(env: &Env, origin: &Origin, given: &Credentials) -> Result<()> {
    if let Some(address) = origin.address {
        throttle::take(env, "client-auth", address, PER_ADDRESS, super::MINUTE).await?;
    }
    // A public client has nothing to guess, and ids that do not exist must not fill any table.
    let found = store::oauth_clients::find(&mut env.db.read().await?, &given.id).await?;
    let Some(row) = found.filter(|row| row.auth_method != AuthMethod::None.as_str()) else { return Ok(()) };
    if let Some(org) = row.org {
        let event = Event::new("oauth_client.authentication_failed")
            .target("oauth_client", &row.id, &row.name)
            .with("method", given.method.as_str());
        let key = ("client-auth", row.id.clone());
        quiet::note_seldom(env, key, org, &Principal::System, origin, event).await?;
    }
    throttle::take_of(env, format!("client-auth:{}", row.id), PER_CLIENT, super::MINUTE).await
}

async fn prove(env: &Env, given: &Credentials) -> Outcome<Client> {
    let refused =
        || Fault::InvalidClient.because("The client is unknown, or did not authenticate as it registered.");
    let mut tx = env.db.read().await?;
    let row = store::oauth_clients::find(&mut tx, &given.id).await?.ok_or_else(refused)?;
    let client = Client::read(&row)?;
    if client.auth_method != given.method {
        return Err(refused());
    }
    if client.auth_method == AuthMethod::None {
        return Ok(client);
    }
    let now = env.now();
    let hash = hashed(&given.secret);
    // All of them are compared, so that the time does not tell which one was near.
    let mut used = None;
    for secret in store::oauth_clients::list_secrets(&mut tx, &client.id).await? {
        let live = secret.expires_at.is_none_or(|at| at > now);
        if bool::from(secret.hash.as_slice().ct_eq(&hash) & Choice::from(u8::from(live))) {
            used = Some(secret);
        }
    }
    let secret = used.ok_or_else(refused)?;
    drop(tx);
    if secret.last_used_at.is_none_or(|at| at < now - super::MINUTE) {
        let mut tx = env.db.write().await?;
        store::oauth_clients::set_secret_used(&mut tx, secret.id, now).await?;
        tx.commit().await?;
    }
    Ok(client)
}
