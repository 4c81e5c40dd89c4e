//! Sessions: a cookie of 256 random bits, of which only the SHA-256 is stored (SES-01); listable, revocable, with an idle
//! and an absolute end. Time is the injected clock's.
//!
//! A session begins by signing in; whoever is not signed in has none. Each change is written when it is made, so that
//! the operation that makes it learns whether it worked; [`BrowserSession::set_cookie`] is what is left for the answer.

use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::{
    Env, Result,
    request::{Origin, SessionControl, SignedIn},
};
use futures_util::future::BoxFuture;
use model::{OrgId, SessionId, UserId};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use store::sessions::Session as Row;

/// A session ends after this long whatever happens in it, milliseconds.
const LONGEST: i64 = 30 * 24 * 60 * 60 * 1000;
/// Last-seen is written at most this often, milliseconds.
const TOUCH_EVERY: i64 = 60 * 1000;

/// What a session remembers, beside what stands in columns of its own.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Data {
    /// The organisation in view.
    org: Option<OrgId>,
}

impl Data {
    fn text(org: Option<OrgId>) -> String {
        serde_json::to_string(&Self { org }).unwrap_or_default()
    }
}

fn hash(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}

/// The name of the session cookie: with the `__Host-` promise wherever the scheme allows it.
pub fn cookie_name(env: &Env) -> &'static str {
    if is_https(env) { "__Host-gatehouse" } else { "gatehouse" }
}

/// Whether people reach this instance by https.
pub fn is_https(env: &Env) -> bool {
    env.settings.public_url.scheme() == "https"
}

/// The browser's session, as rules may touch it.
pub struct BrowserSession {
    env: Env,
    origin: Origin,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The SHA-256 of the cookie that opens the session, if there is one.
    opened_by: Option<Vec<u8>>,
    /// What the browser has to be told.
    cookie: Option<Cookie>,
}

enum Cookie {
    Set(String),
    Remove,
}

impl BrowserSession {
    /// The session of a cookie, and who is signed in with it.
    ///
    /// # Errors
    /// When the database does not answer: who cannot be recognised is not let in (ERR-05).
    pub async fn open(env: Env, origin: Origin, cookie: Option<&str>) -> Result<(Self, Option<SignedIn>)> {
        let mut state = State::default();
        let mut signed_in = None;
        if let Some(cookie) = cookie {
            let token = hash(cookie);
            signed_in = find(&env, &origin, &token).await?;
            // A cookie that opens nothing is not worth keeping.
            state = match signed_in {
                Some(_) => State { opened_by: Some(token), cookie: None },
                None => State { opened_by: None, cookie: Some(Cookie::Remove) },
            };
        }
        Ok((Self { env, origin, state: Mutex::new(state) }, signed_in))
    }

    /// The `Set-Cookie` of the answer, if it needs one.
    pub fn set_cookie(&self) -> Option<String> {
        let state = self.state();
        let (value, age) = match state.cookie.as_ref()? {
            Cookie::Set(token) => (token.as_str(), ""),
            Cookie::Remove => ("", "; Max-Age=0"),
        };
        let secure = if is_https(&self.env) { "; Secure" } else { "" };
        Some(format!("{}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{age}", cookie_name(&self.env)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn opened_by(&self) -> Option<Vec<u8>> {
        self.state().opened_by.clone()
    }
}

async fn find(env: &Env, origin: &Origin, token: &[u8]) -> Result<Option<SignedIn>> {
    let row = {
        let mut tx = env.db.read().await?;
        store::sessions::find(&mut tx, token).await?
    };
    let now = env.now();
    // What has ended is cleared away in the background.
    let Some(row) =
        row.filter(|row| now < row.expires_at && now < row.last_seen_at + env.settings.session_idle_ms)
    else {
        return Ok(None);
    };
    let Some(user) = row.user else { return Ok(None) };
    if now - row.last_seen_at >= TOUCH_EVERY
        && let Err(error) = touch(env, origin, token, now).await
    {
        // A page can be read while the database cannot be written to (D03).
        tracing::warn!(%error, "a session's last-seen time was not written");
    }
    let data: Data = serde_json::from_str(&row.data).unwrap_or_default();
    Ok(Some(SignedIn { session: row.id, user, org: data.org }))
}

async fn touch(env: &Env, origin: &Origin, token: &[u8], now: i64) -> Result<()> {
    let mut tx = env.db.write().await?;
    store::sessions::touch(&mut tx, token, now, &origin.address_text()).await?;
    Ok(tx.commit().await?)
}

impl SessionControl for BrowserSession {
    fn begin(&self, user: UserId, org: Option<OrgId>) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let (token, now) = (self.env.token(), self.env.now());
            let row = Row {
                token_hash: hash(&token),
                id: SessionId::from_uuid(self.env.uuid()),
                user: Some(user),
                data: Data::text(org),
                address: self.origin.address_text(),
                user_agent: self.origin.user_agent.clone().unwrap_or_default(),
                created_at: now,
                last_seen_at: now,
                expires_at: now + LONGEST,
            };
            let mut tx = self.env.db.write().await?;
            // Never a session under an identifier that was there before (SES-02).
            if let Some(before) = self.opened_by() {
                store::sessions::delete(&mut tx, &before).await?;
            }
            store::sessions::insert(&mut tx, &row).await?;
            tx.commit().await?;
            *self.state() = State { opened_by: Some(row.token_hash), cookie: Some(Cookie::Set(token)) };
            Ok(())
        })
    }

    fn set_org(&self, org: OrgId) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let Some(token) = self.opened_by() else { return Ok(()) };
            let mut tx = self.env.db.write().await?;
            // A session that was ended meanwhile stays ended (SES-03).
            store::sessions::set_data(&mut tx, &token, &Data::text(Some(org))).await?;
            Ok(tx.commit().await?)
        })
    }

    fn end(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            if let Some(token) = self.opened_by() {
                let mut tx = self.env.db.write().await?;
                store::sessions::delete(&mut tx, &token).await?;
                tx.commit().await?;
            }
            *self.state() = State { opened_by: None, cookie: Some(Cookie::Remove) };
            Ok(())
        })
    }
}
