//! Sessions in our own store, under tower-sessions: listable, revocable, with an idle and an absolute end.
//!
//! The cookie's value is never stored, only its SHA-256 (SES-01). Who the session is of stands in columns of its own, so
//! that a person's sessions can be listed and ended. Time is the injected clock's.

use async_trait::async_trait;
use domain::{
    Env,
    request::{Auth, AuthMethod, BySso, Origin, SignedIn},
};
use model::{OrgId, SessionId, UserId};
use sha2::{Digest as _, Sha256};
use store::sessions::Session as Row;
use time::OffsetDateTime;
use tower_sessions::{
    Session, SessionManagerLayer, SessionStore,
    cookie::SameSite,
    session::{Id, Record},
    session_store::{Error, Result},
};

/// A session ends after this long whatever happens in it, milliseconds.
const LONGEST: i64 = 30 * 24 * 60 * 60 * 1000;
/// Last-seen is written at most this often, milliseconds.
const TOUCH_EVERY: i64 = 60 * 1000;

const USER: &str = "user";
const ORG: &str = "org";
const SID: &str = "sid";
const CREATED: &str = "created";
const ADDRESS: &str = "address";
const AGENT: &str = "agent";
/// By whose provider it was begun, and whether that says that a second factor was shown.
const SSO: &str = "sso";
const SSO_FACTOR: &str = "sso_factor";
/// How its person showed who they are. Sessions that an older version began do not say it.
const METHOD: &str = "method";
/// In what is loaded, never in what is stored. First whether the session gets a new identifier now, or got it a moment ago
/// while this request was under way with the old one; then the new identifier.
const RENEW: &str = "renew";
/// For how long the identifier from before a renewal is answered still, milliseconds: requests that were under way then.
const ANSWERS_FOR: i64 = 10 * 1000;

/// Sessions in the database.
#[derive(Clone, Debug)]
pub struct Sessions {
    env: Env,
}

fn hash(id: &Id) -> Vec<u8> {
    Sha256::digest(id.0.to_le_bytes()).to_vec()
}

/// The identifier that follows this one. Whoever has the one cannot know the other, but this server always finds the same:
/// every request that was under way with the old one gets it, and it is stored nowhere in clear.
fn following(env: &Env, id: &Id) -> Id {
    let mut digest = Sha256::new();
    digest.update(env.sealer.derive("renewed session").as_slice());
    digest.update(id.0.to_le_bytes());
    let mut following = [0; 16];
    following.copy_from_slice(&digest.finalize()[..16]);
    Id(i128::from_le_bytes(following))
}

fn backend(error: impl core::fmt::Display) -> Error {
    Error::Backend(error.to_string())
}

impl Sessions {
    /// The store on this environment's database.
    pub fn new(env: Env) -> Self {
        Self { env }
    }

    fn row(&self, record: &Record) -> Result<Row> {
        let text =
            |key: &str| record.data.get(key).and_then(|value| value.as_str()).unwrap_or_default().to_owned();
        let now = self.env.now();
        let created_at = record.data.get(CREATED).and_then(serde_json::Value::as_i64).unwrap_or(now);
        Ok(Row {
            token_hash: hash(&record.id),
            id: text(SID).parse().unwrap_or_else(|_| SessionId::from_uuid(self.env.uuid())),
            user: text(USER).parse().ok(),
            data: serde_json::to_string(&record.data).map_err(|why| Error::Encode(why.to_string()))?,
            address: text(ADDRESS),
            user_agent: text(AGENT),
            created_at,
            last_seen_at: now,
            expires_at: created_at + LONGEST,
            in_view: text(ORG).parse().ok(),
            renew: false,
            sso_org: text(SSO).parse().ok(),
            method: Some(text(METHOD)).filter(|method| !method.is_empty()),
        })
    }
}

#[async_trait]
impl SessionStore for Sessions {
    async fn create(&self, record: &mut Record) -> Result<()> {
        let mut tx = self.env.db.write().await.map_err(backend)?;
        if let Some(renewed) = record.data.remove(RENEW) {
            record.id = renewed.as_str().and_then(|id| id.parse().ok()).unwrap_or_default();
            // Not new: if it was revoked meanwhile it stays so.
            store::sessions::update(&mut tx, &self.row(record)?).await.map_err(backend)?;
            return tx.commit().await.map_err(backend);
        }
        let now = self.env.now();
        while store::sessions::find(&mut tx, &hash(&record.id), now).await.map_err(backend)?.is_some() {
            record.id = Id::default();
        }
        let row = self.row(record)?;
        store::sessions::upsert(&mut tx, &row).await.map_err(backend)?;
        if let Some(user) = row.user {
            domain::sessions::end_surplus(&mut tx, user).await.map_err(backend)?;
        }
        tx.commit().await.map_err(backend)
    }

    async fn save(&self, record: &Record) -> Result<()> {
        let mut tx = self.env.db.write().await.map_err(backend)?;
        // A session that was revoked while its request ran must not come back by being saved.
        store::sessions::update(&mut tx, &self.row(record)?).await.map_err(backend)?;
        tx.commit().await.map_err(backend)
    }

    async fn load(&self, id: &Id) -> Result<Option<Record>> {
        let token = hash(id);
        let (row, idle) = {
            let mut tx = self.env.db.read().await.map_err(backend)?;
            let found = store::sessions::find(&mut tx, &token, self.env.now()).await.map_err(backend)?;
            let Some(row) = found else { return Ok(None) };
            // Asked each time: a shorter setting ends sessions that are idle already, on every node (SES-04).
            let idle = domain::sessions::idle_ms(&self.env, &mut tx, row.user).await.map_err(backend)?;
            (row, idle)
        };
        let now = self.env.now();
        // With the identifier from before it was renewed: it is answered, and never renewed again.
        let late = row.token_hash != token;
        if late && row.token_hash != hash(&following(&self.env, id)) {
            return Ok(None);
        }
        if now >= row.expires_at || now >= row.last_seen_at + idle {
            let mut tx = self.env.db.write().await.map_err(backend)?;
            store::sessions::delete(&mut tx, &row.token_hash).await.map_err(backend)?;
            tx.commit().await.map_err(backend)?;
            return Ok(None);
        }
        if now - row.last_seen_at >= TOUCH_EVERY {
            let mut tx = self.env.db.write().await.map_err(backend)?;
            store::sessions::touch(&mut tx, &row.token_hash, now, &row.address).await.map_err(backend)?;
            tx.commit().await.map_err(backend)?;
        }
        let mut data: std::collections::HashMap<String, serde_json::Value> =
            serde_json::from_str(&row.data).map_err(|why| Error::Decode(why.to_string()))?;
        data.remove(RENEW);
        if late || row.renew {
            data.insert(RENEW.to_owned(), (!late).into());
        }
        let expiry_date = OffsetDateTime::from_unix_timestamp(row.expires_at / 1000).map_err(backend)?;
        Ok(Some(Record { id: *id, data, expiry_date }))
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        let mut tx = self.env.db.write().await.map_err(backend)?;
        store::sessions::delete(&mut tx, &hash(id)).await.map_err(backend)?;
        tx.commit().await.map_err(backend)
    }
}

/// The name of the session cookie: with the `__Host-` promise wherever the scheme allows it.
pub fn cookie_name(env: &Env) -> &'static str {
    if is_https(env) { "__Host-gatehouse" } else { "gatehouse" }
}

/// Whether people reach this instance by https.
pub fn is_https(env: &Env) -> bool {
    env.settings.public_url.scheme() == "https"
}

/// The layer that reads and writes the cookie.
pub fn layer(env: &Env) -> SessionManagerLayer<Sessions> {
    SessionManagerLayer::new(Sessions::new(env.clone()))
        .with_name(cookie_name(env))
        .with_secure(is_https(env))
        .with_same_site(SameSite::Lax)
        .with_http_only(true)
        .with_path("/")
}

/// Who is signed in with this session.
pub async fn signed_in(
    session: &Session,
) -> core::result::Result<Option<SignedIn>, tower_sessions::session::Error> {
    let user: Option<UserId> = session.get(USER).await?;
    let sid: Option<SessionId> = session.get(SID).await?;
    // Nothing is in view of somebody who is a member of nothing; older sessions say that with a null.
    let org: Option<OrgId> = session.get::<Option<OrgId>>(ORG).await?.flatten();
    let sso: Option<OrgId> = session.get(SSO).await?;
    let second_factor = session.get(SSO_FACTOR).await? == Some(true);
    let sso = sso.map(|org| BySso { org, second_factor });
    Ok(user.zip(sid).map(|(user, session)| SignedIn { session, user, org, sso }))
}

/// How the person of this session showed who they are, with its public id as the credential (AUD-01).
pub async fn auth(session: &Session) -> core::result::Result<Auth, tower_sessions::session::Error> {
    let method: Option<String> = session.get(METHOD).await?;
    let key: Option<String> = session.get(SID).await?;
    Ok(Auth { method: method.as_deref().and_then(AuthMethod::parse), key: key.unwrap_or_default() })
}

/// Makes the session a signed-in one, under a new identifier (SES-02).
pub async fn begin(
    session: &Session,
    env: &Env,
    user: UserId,
    (org, sso): (Option<OrgId>, Option<BySso>),
    origin: &Origin,
    by: AuthMethod,
) -> core::result::Result<(), tower_sessions::session::Error> {
    session.clear().await;
    session.cycle_id().await?;
    session.insert(USER, user).await?;
    session.insert(SID, SessionId::from_uuid(env.uuid())).await?;
    session.insert(CREATED, env.now()).await?;
    session.insert(ADDRESS, origin.address_text()).await?;
    session.insert(AGENT, origin.user_agent.as_deref().unwrap_or_default()).await?;
    session.insert(METHOD, by.as_str()).await?;
    if let Some(sso) = sso {
        session.insert(SSO, sso.org).await?;
        session.insert(SSO_FACTOR, sso.second_factor).await?;
    }
    set_org(session, org).await
}

/// Gives the session a new identifier when the rights of its person have changed since its last request (SES-02). Of
/// several requests at once one does; the others, and those that come a moment later with the old one, are answered as the
/// same session and set the same new cookie.
pub async fn renew_if_due(
    session: &Session,
    env: &Env,
) -> core::result::Result<(), tower_sessions::session::Error> {
    let Some(due) = session.get::<bool>(RENEW).await? else { return Ok(()) };
    let Some(old) = session.id() else { return Ok(()) };
    let new = following(env, &old);
    if due {
        let renewed = async {
            let mut tx = env.db.write().await?;
            let until = env.now() + ANSWERS_FOR;
            store::sessions::renew(&mut tx, &hash(&old), &hash(&new), until).await?;
            tx.commit().await
        };
        renewed.await.map_err(backend)?;
    }
    session.insert(RENEW, new.to_string()).await?;
    session.cycle_id().await?;
    // At once: what follows in this request is done to the renewed session.
    session.save().await
}

/// Notes which organisation is in view.
pub async fn set_org(
    session: &Session,
    org: Option<OrgId>,
) -> core::result::Result<(), tower_sessions::session::Error> {
    session.insert(ORG, org).await
}
