//! People who deleted their account and whose names are still to be taken out of the log.

use model::OrgId;

use crate::{Result, Tx};

statements! {
    INSERT = "INSERT INTO erasures (user_id, sealed, created_at) VALUES ($1, $2, $3) ON CONFLICT (user_id) DO NOTHING";
    LIST = "SELECT user_id, sealed FROM erasures ORDER BY created_at, user_id";
    DELETE = "DELETE FROM erasures WHERE user_id = $1";
    API_KEYS = "UPDATE api_keys SET created_by = $3 WHERE org_id = $1 AND created_by = $2";
    HEADERS = "UPDATE connector_headers SET set_by = $3 WHERE org_id = $1 AND set_by = $2";
    TOOLS = "UPDATE connector_tools SET reviewed_by = $3 WHERE org_id = $1 AND reviewed_by = $2";
    CLIENTS = "UPDATE oauth_clients SET created_by = $3 WHERE org_id = $1 AND created_by = $2";
    SECRETS = "UPDATE oauth_client_secrets SET created_by = $3 WHERE org_id = $1 AND created_by = $2";
    CONNECTIONS = "UPDATE connections SET revoked_by = $3 WHERE org_id = $1 AND revoked_by = $2";
    PROVIDERS = "UPDATE identity_providers SET updated_by = $3 WHERE org_id = $1 AND updated_by = $2";
    INVITATIONS = "UPDATE invitations SET inviter_name = $3 WHERE org_id = $1 AND inviter_name = $2";
    OAUTH = "UPDATE connector_oauth SET set_by = $3 WHERE org_id = $1 AND set_by = $2";
    GIVEN = "UPDATE upstream_authorizations SET authorized_by = $3 WHERE org_id = $1 AND authorized_by = $2";
    EXPORTS = "UPDATE exports SET created_by = $3 WHERE org_id = $1 AND created_by = $2";
    NAMESAKES = "SELECT COUNT(*) FROM members m JOIN users u ON u.id = m.user_id WHERE m.org_id = $1 AND u.name = $2";
}

/// Adds somebody; `sealed` is what has to be found.
pub async fn insert(tx: &mut Tx, user: &str, sealed: &[u8], at: i64) -> Result<()> {
    on!(tx, |c| sqlx::query(INSERT).bind(user).bind(sealed).bind(at).execute(c).await.map(drop))?;
    Ok(())
}

/// Everybody, the longest waiting first.
pub async fn list(tx: &mut Tx) -> Result<Vec<(String, Vec<u8>)>> {
    Ok(on!(tx, |c| sqlx::query_as(LIST).fetch_all(c).await)?)
}

/// Puts other words in place of a name wherever an organisation's rows say who made them, unless a member has that name.
pub async fn forget_name(tx: &mut Tx, org: OrgId, name: &str, instead: &str) -> Result<()> {
    let org = org.to_string();
    let (namesakes,): (i64,) =
        on!(tx, |c| sqlx::query_as(NAMESAKES).bind(&org).bind(name).fetch_one(c).await)?;
    if namesakes > 0 {
        return Ok(());
    }
    for sql in [
        API_KEYS,
        HEADERS,
        TOOLS,
        CLIENTS,
        SECRETS,
        CONNECTIONS,
        PROVIDERS,
        INVITATIONS,
        OAUTH,
        GIVEN,
        EXPORTS,
    ] {
        on!(tx, |c| sqlx::query(sql).bind(&org).bind(name).bind(instead).execute(c).await.map(drop))?;
    }
    Ok(())
}

/// Their names are gone.
pub async fn delete(tx: &mut Tx, user: &str) -> Result<()> {
    on!(tx, |c| sqlx::query(DELETE).bind(user).execute(c).await.map(drop))?;
    Ok(())
}
