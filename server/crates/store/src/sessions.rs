//! Browser sessions. Only the SHA-256 of a cookie's value is here (SES-01).

use model::{OrgId, RoleKey, SessionId, UserId};

use crate::{Result, Tx, db::parsed};

statements! {
    FIND = "SELECT token_hash, id, user_id, data, address, user_agent, created_at, last_seen_at, expires_at, in_view, renew, sso_org, method \
            FROM sessions WHERE token_hash = $1 OR (previous_hash = $1 AND previous_until > $2)";
    UPSERT = "INSERT INTO sessions (token_hash, id, user_id, data, address, user_agent, created_at, last_seen_at, expires_at, in_view, renew, sso_org, method) \
              VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, FALSE, $11, $12) \
              ON CONFLICT (token_hash) DO UPDATE SET user_id = excluded.user_id, data = excluded.data, \
              last_seen_at = excluded.last_seen_at, expires_at = excluded.expires_at, in_view = excluded.in_view";
    UPDATE = "UPDATE sessions SET user_id = $2, data = $3, last_seen_at = $4, expires_at = $5, in_view = $6 \
              WHERE token_hash = $1 OR previous_hash = $1";
    LIST_OF_USER = "SELECT token_hash, id, user_id, data, address, user_agent, created_at, last_seen_at, expires_at, in_view, renew, sso_org, method \
                    FROM sessions WHERE user_id = $1 ORDER BY last_seen_at DESC, id";
    LIST_METHODS = "SELECT s.user_id, s.method, s.sso_org FROM sessions s JOIN members m ON m.user_id = s.user_id \
                    WHERE m.org_id = $1 AND (s.sso_org IS NULL OR s.sso_org = $1) ORDER BY s.last_seen_at, s.id";
    TOUCH = "UPDATE sessions SET last_seen_at = $2, address = $3 WHERE token_hash = $1 AND last_seen_at < $2";
    DELETE = "DELETE FROM sessions WHERE token_hash = $1";
    DELETE_OF_USER = "DELETE FROM sessions WHERE user_id = $1 AND id = $2";
    DELETE_ALL_OF_USER = "DELETE FROM sessions WHERE user_id = $1";
    DELETE_OTHERS = "DELETE FROM sessions WHERE user_id = $1 AND id <> $2";
    DELETE_EXPIRED = "DELETE FROM sessions WHERE expires_at < $1 OR (user_id IS NULL AND last_seen_at < $2)";
    DELETE_IN_VIEW = "DELETE FROM sessions WHERE user_id = $1 AND in_view = $2";
    COUNT_IN_VIEW = "SELECT COUNT(*) FROM sessions WHERE user_id = $1 AND in_view = $2";
    RENEW_ALL = "UPDATE sessions SET renew = TRUE WHERE user_id = $1";
    RENEW_ALL_IN_ROLE = "UPDATE sessions SET renew = TRUE WHERE user_id IN \
                         (SELECT user_id FROM members WHERE org_id = $1 AND role = $2)";
    RENEW = "UPDATE sessions SET token_hash = $2, previous_hash = token_hash, previous_until = $3, renew = FALSE \
             WHERE token_hash = $1 AND renew";
    STRICTEST = "SELECT MIN(COALESCE(o.session_minutes, $2)) FROM members m JOIN orgs o ON o.id = m.org_id WHERE m.user_id = $1";
    MINUTES = "SELECT session_minutes FROM orgs WHERE id = $1";
    SET_MINUTES = "UPDATE orgs SET session_minutes = $2 WHERE id = $1";
}

/// A session.
#[derive(Clone, Debug)]
pub struct Session {
    /// SHA-256 of the cookie's value.
    pub token_hash: Vec<u8>,
    /// Its public id.
    pub id: SessionId,
    /// Whose it is; `None` before sign-in.
    pub user: Option<UserId>,
    /// What the session layer keeps in it, JSON.
    pub data: String,
    /// Where it was last seen from.
    pub address: String,
    /// The browser's own description.
    pub user_agent: String,
    /// When it began, Unix milliseconds.
    pub created_at: i64,
    /// When it was last seen, Unix milliseconds.
    pub last_seen_at: i64,
    /// When it ends at the latest, Unix milliseconds.
    pub expires_at: i64,
    /// The organisation that it shows, as far as it remembers one.
    pub in_view: Option<OrgId>,
    /// Whether its next request gets a new identifier (SES-02). Writing a session leaves it alone.
    pub renew: bool,
    /// By whose provider it was begun; `None` by password.
    pub sso_org: Option<OrgId>,
    /// How its person showed who they are, as the audit log names it; `None` where an older version began it.
    pub method: Option<String>,
}

#[derive(sqlx::FromRow)]
struct Row {
    token_hash: Vec<u8>,
    id: String,
    user_id: Option<String>,
    data: String,
    address: String,
    user_agent: String,
    created_at: i64,
    last_seen_at: i64,
    expires_at: i64,
    in_view: Option<String>,
    renew: bool,
    sso_org: Option<String>,
    method: Option<String>,
}

impl TryFrom<Row> for Session {
    type Error = crate::Error;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: parsed(&row.id, "sessions", "id", &row.id)?,
            user: row.user_id.map(|user| parsed(&user, "sessions", "user_id", &row.id)).transpose()?,
            token_hash: row.token_hash,
            data: row.data,
            address: row.address,
            user_agent: row.user_agent,
            created_at: row.created_at,
            last_seen_at: row.last_seen_at,
            expires_at: row.expires_at,
            in_view: row.in_view.map(|org| parsed(&org, "sessions", "in_view", &row.id)).transpose()?,
            renew: row.renew,
            sso_org: row.sso_org.map(|org| parsed(&org, "sessions", "sso_org", &row.id)).transpose()?,
            method: row.method,
        })
    }
}

/// The session with this cookie, or which had it until it was renewed a moment ago.
pub async fn find(tx: &mut Tx, token_hash: &[u8], now: i64) -> Result<Option<Session>> {
    let row: Option<Row> =
        on!(tx, |c| sqlx::query_as(FIND).bind(token_hash).bind(now).fetch_optional(c).await)?;
    row.map(Session::try_from).transpose()
}

/// Writes a session, new or changed.
pub async fn upsert(tx: &mut Tx, session: &Session) -> Result<()> {
    let id = session.id.to_string();
    let user = session.user.map(|user| user.to_string());
    let in_view = session.in_view.map(|org| org.to_string());
    let sso_org = session.sso_org.map(|org| org.to_string());
    on!(tx, |c| sqlx::query(UPSERT)
        .bind(&session.token_hash)
        .bind(id)
        .bind(user)
        .bind(&session.data)
        .bind(&session.address)
        .bind(&session.user_agent)
        .bind(session.created_at)
        .bind(session.last_seen_at)
        .bind(session.expires_at)
        .bind(in_view)
        .bind(sso_org)
        .bind(&session.method)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Writes a changed session, unless it was ended meanwhile (SES-03).
pub async fn update(tx: &mut Tx, session: &Session) -> Result<()> {
    let user = session.user.map(|user| user.to_string());
    let in_view = session.in_view.map(|org| org.to_string());
    on!(tx, |c| sqlx::query(UPDATE)
        .bind(&session.token_hash)
        .bind(user)
        .bind(&session.data)
        .bind(session.last_seen_at)
        .bind(session.expires_at)
        .bind(in_view)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// The sessions of a person, the latest first.
pub async fn list_of_user(tx: &mut Tx, user: UserId) -> Result<Vec<Session>> {
    let user = user.to_string();
    let rows: Vec<Row> = on!(tx, |c| sqlx::query_as(LIST_OF_USER).bind(user).fetch_all(c).await)?;
    rows.into_iter().map(Session::try_from).collect()
}

/// How the members of an organisation showed who they are, session by session, the latest last: as the audit log names it
/// (`None` where an older version began it), and whether at the organisation's provider. Sessions that do not open this
/// organisation are left out.
pub async fn list_methods(tx: &mut Tx, org: OrgId) -> Result<Vec<(UserId, Option<String>, bool)>> {
    let org = org.to_string();
    let rows: Vec<(String, Option<String>, Option<String>)> =
        on!(tx, |c| sqlx::query_as(LIST_METHODS).bind(org).fetch_all(c).await)?;
    rows.into_iter()
        .map(|(user, method, sso)| Ok((parsed(&user, "sessions", "user_id", &user)?, method, sso.is_some())))
        .collect()
}

/// Notes that a session was seen.
pub async fn touch(tx: &mut Tx, token_hash: &[u8], at: i64, address: &str) -> Result<()> {
    on!(tx, |c| sqlx::query(TOUCH).bind(token_hash).bind(at).bind(address).execute(c).await.map(drop))?;
    Ok(())
}

/// Ends the session with this cookie.
pub async fn delete(tx: &mut Tx, token_hash: &[u8]) -> Result<()> {
    on!(tx, |c| sqlx::query(DELETE).bind(token_hash).execute(c).await.map(drop))?;
    Ok(())
}

/// Ends one session of a person; how many that were (0 or 1).
pub async fn delete_of_user(tx: &mut Tx, user: UserId, id: SessionId) -> Result<u64> {
    let (user, id) = (user.to_string(), id.to_string());
    Ok(on!(tx, |c| sqlx::query(DELETE_OF_USER)
        .bind(user)
        .bind(id)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?)
}

/// Ends all sessions of a person but one; how many that were.
pub async fn delete_others(tx: &mut Tx, user: UserId, keep: SessionId) -> Result<u64> {
    let (user, keep) = (user.to_string(), keep.to_string());
    Ok(on!(tx, |c| sqlx::query(DELETE_OTHERS)
        .bind(user)
        .bind(keep)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?)
}

/// Ends the sessions of a person that show an organisation; how many that were.
pub async fn delete_in_view(tx: &mut Tx, user: UserId, org: OrgId) -> Result<u64> {
    let (user, org) = (user.to_string(), org.to_string());
    Ok(on!(tx, |c| sqlx::query(DELETE_IN_VIEW)
        .bind(user)
        .bind(org)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?)
}

/// How many sessions of a person show an organisation.
pub async fn count_in_view(tx: &mut Tx, user: UserId, org: OrgId) -> Result<i64> {
    let (user, org) = (user.to_string(), org.to_string());
    let (count,): (i64,) =
        on!(tx, |c| sqlx::query_as(COUNT_IN_VIEW).bind(user).bind(org).fetch_one(c).await)?;
    Ok(count)
}

/// Has every session of a person get a new identifier with its next request (SES-02).
pub async fn renew_all(tx: &mut Tx, user: UserId) -> Result<()> {
    let user = user.to_string();
    on!(tx, |c| sqlx::query(RENEW_ALL).bind(user).execute(c).await.map(drop))?;
    Ok(())
}

/// The same for everybody who has a role in an organisation.
pub async fn renew_all_in_role(tx: &mut Tx, org: OrgId, role: RoleKey) -> Result<()> {
    let (org, role) = (org.to_string(), role.to_string());
    on!(tx, |c| sqlx::query(RENEW_ALL_IN_ROLE).bind(org).bind(role).execute(c).await.map(drop))?;
    Ok(())
}

/// Gives a session that is due the cookie whose hash is `new`, and answers to the old one until then (Unix milliseconds).
/// Of several requests at once one does; whether this is the one.
pub async fn renew(tx: &mut Tx, old: &[u8], new: &[u8], answers_until: i64) -> Result<bool> {
    Ok(on!(tx, |c| sqlx::query(RENEW)
        .bind(old)
        .bind(new)
        .bind(answers_until)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?
        == 1)
}

/// After how many minutes without a request a person is logged out: the strictest of their organisations counts (SES-04).
/// `default` is for organisations that chose nothing, and for people without one.
pub async fn strictest_minutes(tx: &mut Tx, user: UserId, default: i64) -> Result<i64> {
    let user = user.to_string();
    let (minutes,): (Option<i64>,) =
        on!(tx, |c| sqlx::query_as(STRICTEST).bind(user).bind(default).fetch_one(c).await)?;
    Ok(minutes.unwrap_or(default))
}

/// After how many minutes without a request an organisation logs its members out; `None` if it chose nothing.
pub async fn minutes(tx: &mut Tx, org: OrgId) -> Result<Option<i64>> {
    let org = org.to_string();
    let row: Option<(Option<i64>,)> = on!(tx, |c| sqlx::query_as(MINUTES).bind(org).fetch_optional(c).await)?;
    Ok(row.and_then(|(minutes,)| minutes))
}

/// Sets after how many minutes without a request an organisation logs its members out.
pub async fn set_minutes(tx: &mut Tx, org: OrgId, minutes: i64) -> Result<()> {
    let org = org.to_string();
    on!(tx, |c| sqlx::query(SET_MINUTES).bind(org).bind(minutes).execute(c).await.map(drop))?;
    Ok(())
}

/// Removes sessions that ended before `now`, and those of nobody that were not seen since `seen_before`; how many that
/// were.
pub async fn delete_expired(tx: &mut Tx, now: i64, seen_before: i64) -> Result<u64> {
    Ok(on!(tx, |c| sqlx::query(DELETE_EXPIRED)
        .bind(now)
        .bind(seen_before)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?)
}

/// Ends every session of a person; how many that were.
pub async fn delete_all_of_user(tx: &mut Tx, user: UserId) -> Result<u64> {
    let user = user.to_string();
    Ok(on!(tx, |c| sqlx::query(DELETE_ALL_OF_USER)
        .bind(user)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?)
}
