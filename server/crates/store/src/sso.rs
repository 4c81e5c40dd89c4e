//! Logging in to the dashboard at an organisation's own `OpenID` provider: the provider, who is who there, and who is on
//! the way. Secrets come here sealed, `state` and the browser hashed.

use model::{IdentityProviderId, OrgId, UserId};

use crate::{Error, Result, Tx, db::parsed};

statements! {
    FIND = "SELECT id, issuer, client_id, secret_sealed, server, discovered_at, enabled, required, default_role, tested, \
            test_passed, created_at, updated_at, updated_by, reach FROM sso_providers WHERE org_id = $1";
    PUT = "INSERT INTO sso_providers (id, org_id, issuer, client_id, secret_sealed, server, discovered_at, enabled, \
           required, default_role, tested, test_passed, created_at, updated_at, updated_by, reach) \
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) \
           ON CONFLICT (org_id) DO UPDATE SET issuer = excluded.issuer, client_id = excluded.client_id, \
           secret_sealed = excluded.secret_sealed, server = excluded.server, discovered_at = excluded.discovered_at, \
           enabled = excluded.enabled, required = excluded.required, default_role = excluded.default_role, \
           tested = excluded.tested, test_passed = excluded.test_passed, updated_at = excluded.updated_at, \
           updated_by = excluded.updated_by, reach = excluded.reach";
    SET_SERVER = "UPDATE sso_providers SET server = $3, discovered_at = $4 WHERE org_id = $1 AND issuer = $2";
    SET_TESTED = "UPDATE sso_providers SET tested = $4, test_passed = (test_passed OR $5) \
                  WHERE org_id = $1 AND issuer = $2 AND client_id = $3";
    DELETE = "DELETE FROM sso_providers WHERE org_id = $1";
    FIND_RULE = "SELECT required AND enabled, reach FROM sso_providers WHERE org_id = $1";
    FIND_IDENTITY = "SELECT user_id FROM sso_identities WHERE org_id = $1 AND issuer = $2 AND subject = $3";
    FIND_SUBJECT = "SELECT subject FROM sso_identities WHERE org_id = $1 AND issuer = $2 AND user_id = $3";
    INSERT_IDENTITY = "INSERT INTO sso_identities (org_id, issuer, subject, user_id, created_at, last_used_at) \
                       VALUES ($1, $2, $3, $4, $5, $5)";
    TOUCH_IDENTITY = "UPDATE sso_identities SET last_used_at = $4 WHERE org_id = $1 AND issuer = $2 AND subject = $3";
    LIST_IDENTIFIED = "SELECT DISTINCT user_id FROM sso_identities WHERE org_id = $1";
    INSERT_ATTEMPT = "INSERT INTO sso_attempts (state_hash, org_id, browser_hash, tester, issuer, client_id, secrets_sealed, next, expires_at) \
                      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    FIND_ATTEMPT = "SELECT org_id, tester, issuer, client_id, secrets_sealed, next, expires_at FROM sso_attempts \
                    WHERE state_hash = $1 AND browser_hash = $2";
    TAKE_ATTEMPT = "DELETE FROM sso_attempts WHERE state_hash = $1";
    DELETE_EXPIRED = "DELETE FROM sso_attempts WHERE expires_at <= $1";
    DELETE_SESSIONS = "DELETE FROM sessions WHERE sso_org = $1 AND id <> $2";
    SET_STEP_ORG = "UPDATE sign_in_steps SET sso_org = $2 WHERE token_hash = $1";
    FIND_STEP_ORG = "SELECT sso_org FROM sign_in_steps WHERE token_hash = $1";
}

/// A provider's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// Its id.
    pub id: IdentityProviderId,
    /// Its issuer identifier, byte for byte.
    pub issuer: String,
    /// Gatehouse as it is known there.
    pub client_id: String,
    /// The client's secret, sealed; `None` for a client without one.
    pub secret_sealed: Option<Vec<u8>>,
    /// JSON: what it said about itself.
    pub server: String,
    /// When it did, Unix milliseconds.
    pub discovered_at: i64,
    /// Whether people may log in with it.
    pub enabled: bool,
    /// Whether members other than owners have to.
    pub required: bool,
    /// What somebody becomes who comes for the first time; `None` lets in only who was invited.
    pub default_role: Option<String>,
    /// JSON: what came of the last test.
    pub tested: Option<String>,
    /// Whether a test went well since issuer or client changed.
    pub test_passed: bool,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Unix milliseconds.
    pub updated_at: i64,
    /// Who changed it last, by name.
    pub updated_by: String,
    /// What whoever chose it held: the name of a built-in role, or names of permissions with spaces between.
    pub reach: String,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    issuer: String,
    client_id: String,
    secret_sealed: Option<Vec<u8>>,
    server: String,
    discovered_at: i64,
    enabled: bool,
    required: bool,
    default_role: Option<String>,
    tested: Option<String>,
    test_passed: bool,
    created_at: i64,
    updated_at: i64,
    updated_by: String,
    reach: String,
}

impl TryFrom<Row> for Provider {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: parsed(&row.id, "sso_providers", "id", &row.id)?,
            issuer: row.issuer,
            client_id: row.client_id,
            secret_sealed: row.secret_sealed,
            server: row.server,
            discovered_at: row.discovered_at,
            enabled: row.enabled,
            required: row.required,
            default_role: row.default_role,
            tested: row.tested,
            test_passed: row.test_passed,
            created_at: row.created_at,
            updated_at: row.updated_at,
            updated_by: row.updated_by,
            reach: row.reach,
        })
    }
}

/// The organisation's provider.
pub async fn find(tx: &mut Tx, org: OrgId) -> Result<Option<Provider>> {
    let org = org.to_string();
    let row: Option<Row> = on!(tx, |c| sqlx::query_as(FIND).bind(org).fetch_optional(c).await)?;
    row.map(Provider::try_from).transpose()
}

/// Writes the organisation's provider, in place of the one it had.
pub async fn put(tx: &mut Tx, org: OrgId, provider: &Provider) -> Result<()> {
    let (id, org) = (provider.id.to_string(), org.to_string());
    on!(tx, |c| sqlx::query(PUT)
        .bind(id)
        .bind(org)
        .bind(&provider.issuer)
        .bind(&provider.client_id)
        .bind(&provider.secret_sealed)
        .bind(&provider.server)
        .bind(provider.discovered_at)
        .bind(provider.enabled)
        .bind(provider.required)
        .bind(&provider.default_role)
        .bind(&provider.tested)
        .bind(provider.test_passed)
        .bind(provider.created_at)
        .bind(provider.updated_at)
        .bind(&provider.updated_by)
        .bind(&provider.reach)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Notes what the provider says about itself by now.
pub async fn set_server(tx: &mut Tx, org: OrgId, issuer: &str, server: &str, at: i64) -> Result<()> {
    let org = org.to_string();
    on!(tx, |c| sqlx::query(SET_SERVER)
        .bind(org)
        .bind(issuer)
        .bind(server)
        .bind(at)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Notes what came of a test of this issuer and client; whether they are still the ones.
pub async fn set_tested(
    tx: &mut Tx,
    org: OrgId,
    (issuer, client_id): (&str, &str),
    tested: &str,
    passed: bool,
) -> Result<bool> {
    let org = org.to_string();
    let done = on!(tx, |c| sqlx::query(SET_TESTED)
        .bind(org)
        .bind(issuer)
        .bind(client_id)
        .bind(tested)
        .bind(passed)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(done == 1)
}

/// Deletes the organisation's provider; whether there was one.
pub async fn delete(tx: &mut Tx, org: OrgId) -> Result<bool> {
    let org = org.to_string();
    Ok(on!(tx, |c| sqlx::query(DELETE).bind(org).execute(c).await.map(|done| done.rows_affected()))? == 1)
}

/// Whether members have to log in with the provider, and its [`Provider::reach`].
pub async fn find_rule(tx: &mut Tx, org: OrgId) -> Result<Option<(bool, String)>> {
    let org = org.to_string();
    Ok(on!(tx, |c| sqlx::query_as(FIND_RULE).bind(org).fetch_optional(c).await)?)
}

/// Whether members have to log in with the provider.
pub async fn is_required(tx: &mut Tx, org: OrgId) -> Result<bool> {
    Ok(find_rule(tx, org).await?.is_some_and(|(required, _)| required))
}

/// Whose account a subject of an issuer is in this organisation.
pub async fn find_identity(tx: &mut Tx, org: OrgId, issuer: &str, subject: &str) -> Result<Option<UserId>> {
    let org = org.to_string();
    let row: Option<(String,)> = on!(tx, |c| sqlx::query_as(FIND_IDENTITY)
        .bind(org)
        .bind(issuer)
        .bind(subject)
        .fetch_optional(c)
        .await)?;
    row.map(|(user,)| parsed(&user, "sso_identities", "user_id", &user)).transpose()
}

/// As which subject of an issuer somebody is known in this organisation.
pub async fn find_subject(tx: &mut Tx, org: OrgId, issuer: &str, user: UserId) -> Result<Option<String>> {
    let (org, user) = (org.to_string(), user.to_string());
    let row: Option<(String,)> =
        on!(tx, |c| sqlx::query_as(FIND_SUBJECT).bind(org).bind(issuer).bind(user).fetch_optional(c).await)?;
    Ok(row.map(|(subject,)| subject))
}

/// Binds a subject of an issuer to an account. [`Error::Taken`] when it is bound already.
pub async fn insert_identity(
    tx: &mut Tx,
    org: OrgId,
    (issuer, subject): (&str, &str),
    user: UserId,
    at: i64,
) -> Result<()> {
    let (org, user) = (org.to_string(), user.to_string());
    on!(tx, |c| sqlx::query(INSERT_IDENTITY)
        .bind(org)
        .bind(issuer)
        .bind(subject)
        .bind(user)
        .bind(at)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Notes that a subject came.
pub async fn touch_identity(tx: &mut Tx, org: OrgId, issuer: &str, subject: &str, at: i64) -> Result<()> {
    let org = org.to_string();
    on!(tx, |c| sqlx::query(TOUCH_IDENTITY)
        .bind(org)
        .bind(issuer)
        .bind(subject)
        .bind(at)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Everybody who has come by the organisation's provider at least once.
pub async fn list_identified(tx: &mut Tx, org: OrgId) -> Result<Vec<UserId>> {
    let org = org.to_string();
    let rows: Vec<(String,)> = on!(tx, |c| sqlx::query_as(LIST_IDENTIFIED).bind(org).fetch_all(c).await)?;
    rows.into_iter().map(|(user,)| parsed(&user, "sso_identities", "user_id", &user)).collect()
}

/// Somebody on the way to a provider and back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Whose provider it is.
    pub org: OrgId,
    /// Who tries it out; `None` when somebody logs in.
    pub tester: Option<UserId>,
    /// The issuer that was asked.
    pub issuer: String,
    /// As which client.
    pub client_id: String,
    /// The nonce and the verifier of PKCE, sealed.
    pub secrets_sealed: Vec<u8>,
    /// Where the person goes afterwards.
    pub next: String,
    /// Until when it counts, Unix milliseconds.
    pub expires_at: i64,
}

/// Adds an attempt of a browser.
pub async fn insert_attempt(
    tx: &mut Tx,
    state_hash: &[u8],
    browser_hash: &[u8],
    attempt: &Attempt,
) -> Result<()> {
    let org = attempt.org.to_string();
    let tester = attempt.tester.map(|user| user.to_string());
    on!(tx, |c| sqlx::query(INSERT_ATTEMPT)
        .bind(state_hash)
        .bind(org)
        .bind(browser_hash)
        .bind(tester)
        .bind(&attempt.issuer)
        .bind(&attempt.client_id)
        .bind(&attempt.secrets_sealed)
        .bind(&attempt.next)
        .bind(attempt.expires_at)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

type AttemptRow = (String, Option<String>, String, String, Vec<u8>, String, i64);

/// Takes out the attempt that this browser began. Of two at once, one gets it; another browser's is left alone.
pub async fn take_attempt(tx: &mut Tx, state_hash: &[u8], browser_hash: &[u8]) -> Result<Option<Attempt>> {
    let row: Option<AttemptRow> = on!(tx, |c| sqlx::query_as(FIND_ATTEMPT)
        .bind(state_hash)
        .bind(browser_hash)
        .fetch_optional(c)
        .await)?;
    let Some((org, tester, issuer, client_id, secrets_sealed, next, expires_at)) = row else {
        return Ok(None);
    };
    let taken = on!(tx, |c| sqlx::query(TAKE_ATTEMPT)
        .bind(state_hash)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
    if taken != 1 {
        return Ok(None);
    }
    let tester = tester.map(|user| parsed(&user, "sso_attempts", "tester", &user)).transpose()?;
    let org = parsed(&org, "sso_attempts", "org_id", &org)?;
    Ok(Some(Attempt { org, tester, issuer, client_id, secrets_sealed, next, expires_at }))
}

/// Forgets attempts that do not count any more.
pub async fn delete_expired(tx: &mut Tx, now: i64) -> Result<()> {
    on!(tx, |c| sqlx::query(DELETE_EXPIRED).bind(now).execute(c).await.map(drop))?;
    Ok(())
}

/// Ends the sessions that were begun by the organisation's provider, but for one (its public id, or nothing); how many
/// that were.
pub async fn delete_sessions(tx: &mut Tx, org: OrgId, keep: &str) -> Result<u64> {
    let org = org.to_string();
    Ok(on!(tx, |c| sqlx::query(DELETE_SESSIONS)
        .bind(org)
        .bind(keep)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?)
}

/// Notes that a log-in that waits for its second step was begun by the organisation's provider.
pub async fn set_step_org(tx: &mut Tx, token_hash: &[u8], org: OrgId) -> Result<()> {
    let org = org.to_string();
    on!(tx, |c| sqlx::query(SET_STEP_ORG).bind(token_hash).bind(org).execute(c).await.map(drop))?;
    Ok(())
}

/// By whose provider a log-in that waits was begun.
pub async fn find_step_org(tx: &mut Tx, token_hash: &[u8]) -> Result<Option<OrgId>> {
    let row: Option<(Option<String>,)> =
        on!(tx, |c| sqlx::query_as(FIND_STEP_ORG).bind(token_hash).fetch_optional(c).await)?;
    row.and_then(|(org,)| org).map(|org| parsed(&org, "sign_in_steps", "sso_org", &org)).transpose()
}
