//! Access tokens in memory, and their renewal: by one caller for all, on one node for all.
//!
//! Who renews holds a lease on the row, so that no two nodes present the same refresh token; whoever comes meanwhile waits
//! for the outcome and takes the new tokens from the row. The renewal is a task of its own: a client that hangs up must not
//! lose tokens that have just been issued. When its outcome is not known (no answer, a crash) the same refresh token is
//! presented again, because there is no other and the server alone knows whether it counts; once an answer with a successor
//! has come, the old one is never sent again.

use std::{
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use http::HeaderValue;
use model::{
    AuthorizationId,
    credentials::{ClientSource, CredentialKind},
    permissions::can,
};
use serde_json::json;
use store::upstream_credentials::{Authorization, Client, Renewed};

use super::{
    discovery::{Server, host, union},
    sealed,
    standing::{ELSEWHERE, Holder, NotAuthorized, fits},
    token::{self, Ask, Granted, TokenError, Tokens},
};
use crate::{Env, Error, OrgActor, Result, change::Event};

/// How long one renewal may hold its lease, milliseconds: three times what its request may take.
const LEASE: i64 = 30_000;
/// How long a caller waits for another node's renewal.
const PATIENCE: Duration = Duration::from_secs(35);
/// Between two looks at what another node is doing.
const LOOK: Duration = Duration::from_millis(100);
/// Tokens are renewed this long before they end, milliseconds, or a fifth of their life if that is less.
const AHEAD: i64 = 60_000;
/// Rests between tries while an authorization server does not answer, milliseconds: doubled each time.
const REST: (i64, i64) = (1000, 60_000);
/// For how long new tokens may be refused before they count as refused for good, and after which time an earlier
/// refusal is another matter; milliseconds.
const REFUSED: (i64, i64) = (10_000, 600_000);
/// How often saving new tokens is tried before the process gives up: half a minute in all.
const SAVES: u32 = 8;
/// Authorisations that are kept in memory. Others are read again when they are used.
const KEPT: u64 = 20_000;

/// An access token, as a header, and which one it is.
#[derive(Clone)]
pub struct Held {
    /// `Authorization`; marked sensitive.
    pub header: HeaderValue,
    /// Raised with each renewal.
    pub generation: i64,
}

impl core::fmt::Debug for Held {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Held").field("generation", &self.generation).finish_non_exhaustive()
    }
}

/// Where tokens come from: for the data plane, which must not know the database.
pub trait Keeper: Send + Sync + 'static {
    /// The token in memory, if it is good for now. One that ends soon is renewed in the background.
    fn at_hand(&self, holder: &Holder) -> Option<Held>;

    /// A good token; newer than generation `refused`, which the server does not take. It may ask the database and the
    /// authorization server.
    fn obtain<'a>(
        &'a self,
        holder: &'a Holder,
        refused: Option<i64>,
    ) -> BoxFuture<'a, core::result::Result<Held, NotAuthorized>>;

    /// Says that the server refuses a token that was only just issued. Why the call cannot be made.
    fn refused<'a>(&'a self, holder: &'a Holder, generation: i64) -> BoxFuture<'a, NotAuthorized>;

    /// Says that the server wants a wider scope. Why the call cannot be made.
    fn wants_more<'a>(&'a self, holder: &'a Holder, scope: Option<String>) -> BoxFuture<'a, NotAuthorized>;
}

#[derive(Clone)]
struct Token {
    held: Held,
    /// From when on it is renewed in the background; `None` when it cannot be.
    renew_at: Option<i64>,
    /// From when on it is not used.
    ends_at: Option<i64>,
}

#[derive(Default)]
struct Rest {
    until: i64,
    pause: i64,
    why: String,
}

#[derive(Default)]
struct Entry {
    token: RwLock<Option<Token>>,
    /// Held while this process renews.
    turn: tokio::sync::Mutex<()>,
    /// Whether a renewal in the background is under way.
    ahead: AtomicBool,
    rest: Mutex<Rest>,
    /// Since when the server refuses what was only just issued.
    refused_since: Mutex<Option<i64>>,
}

impl Entry {
    fn good(&self, now: i64) -> Option<Token> {
        let token = self.token.read().unwrap_or_else(PoisonError::into_inner).clone()?;
        token.ends_at.is_none_or(|at| now < at).then_some(token)
    }

    fn hold(&self, token: Token) {
        let mut slot = self.token.write().unwrap_or_else(PoisonError::into_inner);
        if slot.as_ref().is_none_or(|old| old.held.generation <= token.held.generation) {
            *slot = Some(token);
        }
    }

    fn forget(&self) {
        *self.token.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn resting(&self, now: i64) -> Option<String> {
        let rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        (now < rest.until).then(|| rest.why.clone())
    }

    fn rest(&self, now: i64, why: &str) {
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        rest.pause = (rest.pause * 2).clamp(REST.0, REST.1);
        rest.until = now + rest.pause;
        why.clone_into(&mut rest.why);
    }

    /// Notes that a new token was refused. Whether that has been so for longer than servers need to agree.
    fn is_refused_for_long(&self, now: i64) -> bool {
        let mut since = self.refused_since.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = since.filter(|since| (0..REFUSED.1).contains(&(now - since)));
        let first = recent.unwrap_or(now);
        *since = Some(first);
        now - first >= REFUSED.0
    }

    fn rested(&self) {
        *self.rest.lock().unwrap_or_else(PoisonError::into_inner) = Rest::default();
    }
}

/// The tokens that one process has in memory.
pub struct Shared {
    entries: moka::sync::Cache<AuthorizationId, Arc<Entry>>,
    /// How long one exchange with an authorization server may take.
    pub(super) patience: Duration,
}

impl core::fmt::Debug for Shared {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Shared").field("entries", &self.entries.entry_count()).finish_non_exhaustive()
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self::with_patience(Duration::from_secs(10))
    }
}

impl Shared {
    /// One that waits for authorization servers for this long.
    pub fn with_patience(patience: Duration) -> Self {
        let entries = moka::sync::Cache::builder().max_capacity(KEPT).time_to_idle(Duration::from_hours(1));
        Self { entries: entries.build(), patience }
    }

    fn entry(&self, id: AuthorizationId) -> Arc<Entry> {
        self.entries.get_with(id, Arc::default)
    }

    /// Forgets a token: its authorisation is gone.
    pub(super) fn forget(&self, id: AuthorizationId) {
        self.entries.invalidate(&id);
    }
}

fn held(access: &str, row: &Authorization) -> Result<Token> {
    let mut header = HeaderValue::try_from(format!("Bearer {access}"))
        .map_err(|_| Error::Internal(format!("a token of {} fits into no header", row.id)))?;
    header.set_sensitive(true);
    let life = row.expires_at.map(|at| (at - row.issued_at).max(0));
    Ok(Token {
        held: Held { header, generation: row.generation },
        renew_at: row
            .expires_at
            .zip(life)
            .filter(|_| row.refreshable)
            .map(|(at, life)| at - AHEAD.min(life / 5)),
        // A little early, for what is under way when it ends.
        ends_at: row.expires_at.zip(life).map(|(at, life)| at - 5000.min(life / 10)),
    })
}

impl Keeper for Env {
    fn at_hand(&self, holder: &Holder) -> Option<Held> {
        let entry = self.upstream.entries.get(&holder.authorization)?;
        let now = self.now();
        let token = entry.good(now)?;
        if token.renew_at.is_some_and(|at| at <= now)
            && entry.resting(now).is_none()
            && !entry.ahead.swap(true, Ordering::AcqRel)
        {
            let (env, holder, generation) = (self.clone(), holder.clone(), token.held.generation);
            tokio::spawn(async move {
                if let Err(why) = renew(&env, &holder, Some(generation)).await {
                    tracing::warn!(org.id = %holder.org, connector.id = %holder.connector, %why, "an access token was not renewed");
                }
                entry.ahead.store(false, Ordering::Release);
            });
        }
        Some(token.held)
    }

    fn obtain<'a>(
        &'a self,
        holder: &'a Holder,
        refused: Option<i64>,
    ) -> BoxFuture<'a, core::result::Result<Held, NotAuthorized>> {
        let (env, holder) = (self.clone(), holder.clone());
        Box::pin(async move {
            tokio::spawn(async move { renew(&env, &holder, refused).await })
                .await
                .unwrap_or_else(|_| Err(NotAuthorized::for_now("Gatehouse failed inside. Try again.")))
        })
    }

    fn refused<'a>(&'a self, holder: &'a Holder, generation: i64) -> BoxFuture<'a, NotAuthorized> {
        Box::pin(async move {
            let why = "The server refuses the access token, though it was issued a moment ago.";
            let entry = self.upstream.entry(holder.authorization);
            if !entry.is_refused_for_long(self.now()) {
                // A server of several nodes may not yet know what another of them issued.
                entry.rest(self.now(), why);
                return NotAuthorized::for_now(format!("{why} Try again in a few seconds."));
            }
            match lose(self, holder, generation, why).await {
                Ok(()) => holder.ended(why),
                Err(error) => unreadable(holder, &error),
            }
        })
    }

    fn wants_more<'a>(&'a self, holder: &'a Holder, scope: Option<String>) -> BoxFuture<'a, NotAuthorized> {
        Box::pin(async move {
            if let Some(scope) = &scope
                && let Err(error) = note_wanted(self, holder, scope).await
            {
                tracing::error!(%error, connector.id = %holder.connector, "what a server asks for could not be noted");
            }
            let scope = scope.map(|scope| format!(" ({scope})")).unwrap_or_default();
            NotAuthorized {
                reason: format!(
                    "Its server wants a wider permission for this than it was given{scope}. It can be given at {}",
                    holder.page
                ),
                page: Some(holder.page.clone()),
            }
        })
    }
}

fn unreadable(holder: &Holder, error: &Error) -> NotAuthorized {
    tracing::error!(%error, org.id = %holder.org, connector.id = %holder.connector, "an authorisation cannot be read or written");
    NotAuthorized::for_now("Gatehouse cannot read its tokens just now. Try again.")
}

/// What is in the database about an authorisation.
struct Found {
    row: Authorization,
    client: Client,
    fits: bool,
}

async fn find(env: &Env, holder: &Holder) -> Result<Option<Found>> {
    let mut tx = env.db.read().await?;
    let row = store::upstream_credentials::find(&mut tx, holder.org, holder.authorization).await?;
    let client = store::upstream_credentials::find_client(&mut tx, holder.org, holder.connector).await?;
    let connector = store::connectors::find(&mut tx, holder.org, holder.connector).await?;
    Ok(row.zip(client).zip(connector).map(|((row, client), connector)| {
        let fits = fits(&connector, &client, &row);
        Found { row, client, fits }
    }))
}

/// A token that is newer than `refused`: from memory, from the row, or from the authorization server.
async fn renew(
    env: &Env,
    holder: &Holder,
    refused: Option<i64>,
) -> core::result::Result<Held, NotAuthorized> {
    let entry = env.upstream.entry(holder.authorization);
    let _turn = entry.turn.lock().await;
    let wanted = |generation: i64| refused.is_none_or(|refused| generation > refused);
    if let Some(token) = entry.good(env.now()).filter(|token| wanted(token.held.generation)) {
        return Ok(token.held);
    }
    let give_up = tokio::time::Instant::now() + PATIENCE;
    loop {
        let found = find(env, holder).await.map_err(|error| unreadable(holder, &error))?;
        let Some(found) = found else {
            entry.forget();
            return Err(holder.ended("It was taken back."));
        };
        if let Some((_, why)) = &found.row.lost {
            entry.forget();
            return Err(holder.ended(why));
        }
        if !found.fits {
            entry.forget();
            return Err(holder.ended(ELSEWHERE));
        }
        match look(env, holder, &entry, &found.row, wanted(found.row.generation)).await {
            Ok(Some(held)) => return Ok(held),
            Ok(None) => {}
            Err(error) => return Err(unreadable(holder, &error)),
        }
        if !found.row.refreshable {
            let why = "Its access token works no more, and it came without a way to renew it.";
            lose(env, holder, found.row.generation, why).await.map_err(|error| unreadable(holder, &error))?;
            return Err(holder.ended(why));
        }
        if let Some(why) = entry.resting(env.now()) {
            return Err(NotAuthorized::for_now(why));
        }
        let lease = env.token();
        if take(env, holder, found.row.generation, &lease)
            .await
            .map_err(|error| unreadable(holder, &error))?
        {
            return with_lease(env, holder, &entry, found, &lease).await;
        }
        // Somebody else is at it, on another node.
        if tokio::time::Instant::now() >= give_up {
            return Err(NotAuthorized::for_now(
                "Its tokens are being renewed, which takes too long. Try again.",
            ));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Takes the row's token into memory if it will do.
async fn look(
    env: &Env,
    holder: &Holder,
    entry: &Entry,
    row: &Authorization,
    wanted: bool,
) -> Result<Option<Held>> {
    if !wanted {
        return Ok(None);
    }
    let mut tx = env.db.read().await?;
    let tokens = sealed::open_tokens(env, &mut tx, holder.org, row).await?;
    let token = held(&tokens.access, row)?;
    if token.ends_at.is_some_and(|at| at <= env.now()) {
        return Ok(None);
    }
    entry.hold(token.clone());
    Ok(Some(token.held))
}

async fn take(env: &Env, holder: &Holder, generation: i64, lease: &str) -> Result<bool> {
    let now = env.now();
    let mut tx = env.db.write().await?;
    let (org, id) = (holder.org, holder.authorization);
    let got =
        store::upstream_credentials::lease(&mut tx, org, id, generation, lease, now + LEASE, now).await?;
    tx.commit().await?;
    Ok(got)
}

async fn release(env: &Env, holder: &Holder, lease: &str) {
    let done = async {
        let mut tx = env.db.write().await?;
        store::upstream_credentials::release(&mut tx, holder.org, holder.authorization, lease).await?;
        tx.commit().await
    };
    if let Err(error) = done.await {
        // It ends by itself.
        tracing::warn!(%error, connector.id = %holder.connector, "the lease of a renewal was not given back");
    }
}

async fn with_lease(
    env: &Env,
    holder: &Holder,
    entry: &Entry,
    found: Found,
    lease: &str,
) -> core::result::Result<Held, NotAuthorized> {
    let Found { row, client, .. } = found;
    let asked = ask(env, holder, &row, &client).await;
    let (old, outcome) = match asked {
        Ok(asked) => asked,
        Err(error) => {
            release(env, holder, lease).await;
            return Err(unreadable(holder, &error));
        }
    };
    let later = |why: String| {
        format!(
            "Its authorization server {} cannot be asked for a token just now. {why}",
            host(&client.issuer)
        )
    };
    let why = match outcome {
        Ok(granted) => {
            entry.rested();
            return keep(env, holder, entry, row, old, granted)
                .await
                .map_err(|error| unreadable(holder, &error));
        }
        Err(TokenError::Later(trouble)) => later(trouble.to_string()),
        Err(TokenError::Nonsense) => later("Its answer is none of OAuth.".to_owned()),
        Err(TokenError::Refused(code)) => {
            let why = refusal(&code, &client);
            // Written only if nobody has renewed it meanwhile: then the refusal was of an old token.
            lose(env, holder, row.generation, &why).await.map_err(|error| unreadable(holder, &error))?;
            if code == "invalid_client" {
                retire(env, holder, &client).await.map_err(|error| unreadable(holder, &error))?;
            }
            let now = find(env, holder).await.map_err(|error| unreadable(holder, &error))?;
            if let Some(now) = now.filter(|now| now.row.lost.is_none()) {
                match look(env, holder, entry, &now.row, now.row.generation > row.generation).await {
                    Ok(Some(held)) => return Ok(held),
                    Ok(None) => {}
                    Err(error) => return Err(unreadable(holder, &error)),
                }
            }
            entry.forget();
            return Err(holder.ended(&why));
        }
    };
    entry.rest(env.now(), &why);
    release(env, holder, lease).await;
    Err(NotAuthorized::for_now(why))
}

/// Marks a client as ended that its authorization server has forgotten, so that the next authorisation registers another.
async fn retire(env: &Env, holder: &Holder, client: &Client) -> Result<()> {
    if client.source != Some(ClientSource::Registered) {
        return Ok(());
    }
    let mut tx = env.db.write().await?;
    let now = store::upstream_credentials::find_client(&mut tx, holder.org, holder.connector).await?;
    if now.as_ref() == Some(client) {
        let ended = Client { secret_expires_at: Some(env.now()), ..client.clone() };
        store::upstream_credentials::put_client(&mut tx, holder.org, &ended).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// What a refusal of the token endpoint means to a person.
fn refusal(code: &str, client: &Client) -> String {
    let host = host(&client.issuer);
    match (code, client.kind) {
        ("invalid_client" | "unauthorized_client", _) => {
            format!("{host} does not accept Gatehouse's client id or secret any more ({code}).")
        }
        ("invalid_grant", _) => {
            format!("{host} does not renew it any more: it expired, or was taken back there (invalid_grant).")
        }
        (code, _) => format!("{host} refuses to issue a token ({code})."),
    }
}

type Asked = (Tokens, core::result::Result<Granted, TokenError>);

async fn ask(env: &Env, holder: &Holder, row: &Authorization, client: &Client) -> Result<Asked> {
    let (tokens, known) = {
        let mut tx = env.db.read().await?;
        (
            sealed::open_tokens(env, &mut tx, holder.org, row).await?,
            sealed::open_client(env, &mut tx, holder.org, client).await?,
        )
    };
    let server: Server = serde_json::from_str(&client.server).map_err(|_| {
        Error::Internal(format!("the authorization server of {} cannot be read", client.connector))
    })?;
    let what = match (&tokens.refresh, client.kind) {
        (_, CredentialKind::ClientCredentials) => Ask::Client { scope: &client.scope },
        (Some(refresh), _) => Ask::Refresh(refresh),
        (None, _) => return Ok((tokens, Err(TokenError::Refused("invalid_grant".to_owned())))),
    };
    let outcome = token::ask(env, &server, &known, &row.resource, what).await?;
    Ok((tokens, outcome))
}

/// Takes new tokens into memory, then into the row. They exist nowhere else, so saving is tried for a while.
async fn keep(
    env: &Env,
    holder: &Holder,
    entry: &Entry,
    mut row: Authorization,
    mut old: Tokens,
    mut granted: Granted,
) -> Result<Held> {
    let generation = row.generation;
    // RFC 6749 §6: without a new refresh token the old one stays.
    if granted.tokens.refresh.is_none() {
        granted.tokens.refresh = old.refresh.take();
    }
    row.generation += 1;
    row.issued_at = env.now();
    row.expires_at = granted.expires_at;
    row.scope = granted.scope.take().unwrap_or(row.scope);
    let token = held(&granted.tokens.access, &row)?;
    entry.hold(token.clone());
    let mut tries = 0;
    loop {
        match save(env, holder, generation, &row, &granted.tokens).await {
            Ok(true) => return Ok(token.held),
            Ok(false) => {
                // Taken back or given anew while the server was asked: these tokens are nobody's any more.
                entry.forget();
                return Ok(token.held);
            }
            Err(error) if tries < SAVES => {
                tracing::warn!(%error, connector.id = %holder.connector, "new tokens could not be saved yet");
                tries += 1;
                tokio::time::sleep(Duration::from_millis(100 << tries)).await;
            }
            Err(error) => {
                tracing::error!(%error, connector.id = %holder.connector, "new tokens are in memory alone: they end with this process");
                return Ok(token.held);
            }
        }
    }
}

async fn save(
    env: &Env,
    holder: &Holder,
    generation: i64,
    row: &Authorization,
    tokens: &Tokens,
) -> Result<bool> {
    let mut tx = env.db.write().await?;
    let sealed = sealed::seal_tokens(env, &mut tx, holder.org, row.id, tokens).await?;
    let renewed = Renewed {
        tokens_sealed: &sealed,
        issued_at: row.issued_at,
        expires_at: row.expires_at,
        refreshable: row.refreshable,
        scope: &row.scope,
    };
    let saved = store::upstream_credentials::renew(&mut tx, holder.org, row.id, generation, &renewed).await?;
    // A renewal changes nothing that a person gave, so it is no event, and no snapshot has to be made anew.
    tx.commit().await?;
    Ok(saved)
}

/// Notes that an authorisation works no more, for everybody to see, unless it was renewed meanwhile.
async fn lose(env: &Env, holder: &Holder, generation: i64, why: &str) -> Result<()> {
    let (org, id) = (holder.org, holder.authorization);
    let mut change = env.change(&OrgActor::<can::ConnectorsWrite>::system(org)).await?;
    let now = env.now();
    if !store::upstream_credentials::lose(change.tx(), org, id, generation, now, why).await? {
        return Ok(());
    }
    let connector = store::connectors::find(change.tx(), org, holder.connector).await?;
    let name = connector.map(|connector| connector.name).unwrap_or_default();
    env.upstream.forget(id);
    let event = Event::new("mcp.authorization_lost")
        .target("connector", holder.connector, &name)
        .with("personal", holder.personal)
        .with("reason", why)
        .publish(
            "mcp.needs_reauth",
            json!({"mcp_id": holder.connector, "name": name, "personal": holder.personal, "reason": why, "url": holder.page}),
        );
    change.commit(event).await
}

/// Remembers what the server asks for, so that the next authorisation asks for it as well (step-up).
async fn note_wanted(env: &Env, holder: &Holder, scope: &str) -> Result<()> {
    let found = find(env, holder).await?;
    let Some(Found { client, .. }) = found else { return Ok(()) };
    let wanted = union(&client.scope_wanted, scope);
    // Servers that ask for another scope with each call must not fill the row.
    if wanted == client.scope_wanted || wanted.len() > 2048 {
        return Ok(());
    }
    let mut tx = env.db.write().await?;
    store::upstream_credentials::set_scope_wanted(&mut tx, holder.org, holder.connector, &wanted).await?;
    tx.commit().await?;
    Ok(())
}
