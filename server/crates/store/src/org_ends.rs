//! Organisations that were deleted (DEL-01 to DEL-03): what goes at once, what goes in portions, and what is left.

use model::OrgId;

use crate::{Kind, Result, Tx, audit_chain, db::parsed, instance_facts, orgs};

statements! {
    MARK = "UPDATE orgs SET deleted_at = $2, data_key = $3, name = '', description = '' WHERE id = $1 AND deleted_at IS NULL";
    BURY = "INSERT INTO slug_tombstones (slug, buried_at, org_digest, buried_by) \
            SELECT slug, $2, $3, $4 FROM orgs WHERE id = $1 ON CONFLICT (slug) DO NOTHING";
    LEAVE_SESSIONS = "UPDATE sessions SET in_view = NULL WHERE in_view = $1";
    LEAVE_USERS = "UPDATE users SET last_org_id = NULL WHERE last_org_id = $1";
    MEMBERS = "DELETE FROM members WHERE org_id = $1";
    INVITATIONS = "DELETE FROM invitations WHERE org_id = $1";
    API_KEYS = "DELETE FROM api_keys WHERE org_id = $1";
    CODES = "DELETE FROM oauth_codes WHERE org_id = $1";
    TOKENS = "DELETE FROM refresh_tokens WHERE org_id = $1";
    GRANTS = "DELETE FROM oauth_grants WHERE org_id = $1";
    CONNECTIONS = "DELETE FROM connections WHERE org_id = $1";
    CLIENTS = "DELETE FROM oauth_clients WHERE org_id = $1";
    PROVIDERS = "DELETE FROM identity_providers WHERE org_id = $1";
    CUSTOM_DOMAINS = "DELETE FROM custom_domains WHERE org_id = $1";
    SSO_SESSIONS = "DELETE FROM sessions WHERE sso_org = $1";
    CONNECTORS = "DELETE FROM connectors WHERE org_id = $1";
    LOG_INS = "DELETE FROM sso_attempts WHERE org_id = $1";
    LOG_IN_IDENTITIES = "DELETE FROM sso_identities WHERE org_id = $1";
    LOG_IN_DOMAINS = "DELETE FROM sso_domains WHERE org_id = $1";
    LOG_IN_PROVIDERS = "DELETE FROM sso_providers WHERE org_id = $1";
    ALLOWLISTS = "DELETE FROM allowlists WHERE org_id = $1";
    PINS = "DELETE FROM member_pins WHERE org_id = $1";
    MAILS = "DELETE FROM mails WHERE org_id = $1";
    STREAMS = "DELETE FROM audit_streams WHERE org_id = $1";
    WEBHOOKS = "DELETE FROM webhooks WHERE org_id = $1";
    EXPORTS = "DELETE FROM exports WHERE org_id = $1";
    OUTBOX = "DELETE FROM outbox WHERE org_id = $1";
    LIST = "SELECT id, deleted_at FROM orgs WHERE deleted_at IS NOT NULL ORDER BY deleted_at, id";
    SOME_REQUESTS = "DELETE FROM request_log WHERE id IN (SELECT id FROM request_log WHERE org_id = $1 LIMIT $2)";
    SOME_EVENTS = "DELETE FROM audit_events WHERE id IN (SELECT id FROM audit_events WHERE org_id = $1 LIMIT $2)";
    THROTTLES = "DELETE FROM sign_in_failures WHERE bucket LIKE '%' || $1 || '%'";
    END = "DELETE FROM orgs WHERE id = $1 AND deleted_at IS NOT NULL";
    COUNTS = "SELECT (SELECT COUNT(*) FROM connectors WHERE org_id = $1), \
              (SELECT COUNT(*) FROM api_keys WHERE org_id = $1), \
              (SELECT COUNT(*) FROM members WHERE org_id = $1), \
              (SELECT COUNT(*) FROM connections WHERE org_id = $1 AND revoked_at IS NULL), \
              (SELECT COUNT(*) FROM oauth_clients WHERE org_id = $1), \
              (SELECT COUNT(*) FROM invitations WHERE org_id = $1), \
              (SELECT COUNT(*) FROM audit_events WHERE org_id = $1), \
              (SELECT COUNT(*) FROM webhooks WHERE org_id = $1), \
              (SELECT COUNT(*) FROM custom_domains WHERE org_id = $1), \
              (SELECT COUNT(*) FROM identity_providers WHERE org_id = $1) + (SELECT COUNT(*) FROM sso_providers WHERE org_id = $1), \
              (SELECT COUNT(*) FROM roles WHERE org_id = $1), \
              (SELECT COUNT(*) FROM exports WHERE org_id = $1)";
}

/// What lets somebody in, or acts by itself. The rest is only kept ([`ONLY_KEPT`]), and goes in portions.
const AT_ONCE: &[&str] = &[
    LEAVE_SESSIONS,
    LEAVE_USERS,
    MEMBERS,
    INVITATIONS,
    API_KEYS,
    CODES,
    TOKENS,
    GRANTS,
    CONNECTIONS,
    CLIENTS,
    PROVIDERS,
    CUSTOM_DOMAINS,
    SSO_SESSIONS,
    CONNECTORS,
    LOG_INS,
    LOG_IN_IDENTITIES,
    LOG_IN_DOMAINS,
    LOG_IN_PROVIDERS,
    ALLOWLISTS,
    PINS,
    MAILS,
    STREAMS,
    WEBHOOKS,
    EXPORTS,
    OUTBOX,
];

/// Tables with rows of organisations that let nobody in and do nothing by themselves: they go with the organisation's row, the
/// long ones in portions before. A test asks of every table with an `org_id` whether it is one of these or goes at once.
pub const ONLY_KEPT: &[&str] = &[
    "audit_checkpoints",
    "audit_events",
    "audit_heads",
    "connect_events",
    "connector_slugs",
    "rate_buckets",
    "request_log",
    // Tokens that are good no more stay so.
    "revoked_tokens",
    // Nobody has one of them any more.
    "roles",
    "usage_alerts",
    "usage_days",
    "usage_hours",
    "usage_latency",
    "usage_latency_days",
    "usage_months",
    "usage_outcome_days",
    "usage_principal_days",
    "usage_settings",
    "usage_tool_days",
    "usage_tool_hours",
];

/// The tables of which an organisation's rows go with the first step of its deletion.
pub fn tables_at_once() -> impl Iterator<Item = &'static str> {
    AT_ONCE.iter().filter_map(|sql| sql.strip_prefix("DELETE FROM ")?.split(' ').next())
}

/// How much there is of an organisation, in the order of the page that tells of it: connectors, keys, members, live
/// connections, OAuth clients, invitations, audit events, webhooks, custom domains, identity providers, own roles, exports.
pub async fn counts(tx: &mut Tx, org: OrgId) -> Result<[i64; 12]> {
    type Row = (i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64);
    let org = org.to_string();
    let row: Row = on!(tx, |c| sqlx::query_as(COUNTS).bind(org).fetch_one(c).await)?;
    Ok(row.into())
}

/// Takes everything from an organisation that works, destroys its data key, and keeps its slug from being issued again. `by`
/// is the id of whoever did it, `digest` stands for the organisation from now on. Whether it was there.
pub async fn begin(tx: &mut Tx, id: OrgId, at: i64, digest: &str, by: &str) -> Result<bool> {
    let org = id.to_string();
    on!(tx, |c| sqlx::query(BURY).bind(&org).bind(at).bind(digest).bind(by).execute(c).await.map(drop))?;
    let none: &[u8] = &[];
    let marked = on!(tx, |c| sqlx::query(MARK)
        .bind(&org)
        .bind(at)
        .bind(none)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
    for sql in AT_ONCE {
        on!(tx, |c| sqlx::query(*sql).bind(&org).execute(c).await.map(drop))?;
    }
    // Every node hears of it as of any change.
    orgs::stamp(tx, id).await?;
    Ok(marked > 0)
}

/// Those on their way out, and since when, the oldest first.
pub async fn list(tx: &mut Tx) -> Result<Vec<(OrgId, i64)>> {
    let rows: Vec<(String, i64)> = on!(tx, |c| sqlx::query_as(LIST).fetch_all(c).await)?;
    rows.into_iter().map(|(id, at)| Ok((parsed(&id, "orgs", "id", &id)?, at))).collect()
}

/// Removes at most so many rows of each of the long tables; how many went.
pub async fn remove_some(tx: &mut Tx, org: OrgId, most: i64) -> Result<u64> {
    audit_chain::clear(tx, Some(org)).await?;
    let id = org.to_string();
    let mut gone = 0;
    for sql in [SOME_REQUESTS, SOME_EVENTS] {
        gone += on!(tx, |c| sqlx::query(sql)
            .bind(&id)
            .bind(most)
            .execute(c)
            .await
            .map(|done| done.rows_affected()))?;
    }
    audit_chain::end_clearance(tx, Some(org)).await?;
    Ok(gone)
}

/// The fact that the write-ahead log of `SQLite` may still hold something of an organisation that is gone. Its value is the
/// last of these.
const UNFOLDED: &str = "unfolded";

/// What [`set_folded`] is told after [`crate::Db::fold`] did its work; `None` when there is nothing to fold.
pub async fn unfolded(tx: &mut Tx) -> Result<Option<Vec<u8>>> {
    instance_facts::find(tx, UNFOLDED).await
}

/// It was folded after that was the last of them.
pub async fn set_folded(tx: &mut Tx, last: &[u8]) -> Result<()> {
    instance_facts::delete(tx, UNFOLDED, last).await
}

/// Removes the organisation's row and, by that, all that still belongs to it. Until [`set_folded`] it is noted that the log
/// of the database is to be folded. The `note`, another one each time, is made with the removal, so that nobody who is interrupted forgets it.
pub async fn end(tx: &mut Tx, org: OrgId, note: &[u8]) -> Result<()> {
    audit_chain::clear(tx, Some(org)).await?;
    let id = org.to_string();
    for sql in [THROTTLES, END] {
        on!(tx, |c| sqlx::query(sql).bind(&id).execute(c).await.map(drop))?;
    }
    if tx.kind() == Kind::Sqlite {
        instance_facts::put(tx, UNFOLDED, note).await?;
    }
    audit_chain::end_clearance(tx, Some(org)).await
}
