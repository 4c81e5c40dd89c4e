//! Invitations to organisations. Only the SHA-256 of a link's token is here (PWD-08).

use model::{InvitationId, MemberRole, OrgId, UserId};

use crate::{Error, Result, Tx, db::parsed, roles::held};

statements! {
    FIND = "SELECT i.id, i.org_id, i.email, i.role, r.name AS role_name, r.permissions, i.invited_by, i.inviter_name, i.mail, i.created_at, i.expires_at, i.state, i.asked_at \
            FROM invitations i LEFT JOIN roles r ON r.org_id = i.org_id AND r.id = i.role WHERE i.org_id = $1 AND i.id = $2";
    FIND_BY_TOKEN = "SELECT i.id, i.org_id, i.email, i.role, r.name AS role_name, r.permissions, i.invited_by, i.inviter_name, i.mail, i.created_at, i.expires_at, i.state, i.asked_at \
                     FROM invitations i LEFT JOIN roles r ON r.org_id = i.org_id AND r.id = i.role WHERE i.token_hash = $1";
    FIND_OPEN = "SELECT i.id, i.org_id, i.email, i.role, r.name AS role_name, r.permissions, i.invited_by, i.inviter_name, i.mail, i.created_at, i.expires_at, i.state, i.asked_at \
                 FROM invitations i LEFT JOIN roles r ON r.org_id = i.org_id AND r.id = i.role WHERE i.org_id = $1 AND i.email_key = $2 AND i.state = 'open'";
    LIST_OPEN = "SELECT i.id, i.org_id, i.email, i.role, r.name AS role_name, r.permissions, i.invited_by, i.inviter_name, i.mail, i.created_at, i.expires_at, i.state, i.asked_at \
                 FROM invitations i LEFT JOIN roles r ON r.org_id = i.org_id AND r.id = i.role WHERE i.org_id = $1 AND i.state = 'open' ORDER BY i.created_at DESC, i.id";
    LIST_OPEN_OF_ADDRESS = "SELECT i.id, i.org_id, i.email, i.role, r.name AS role_name, r.permissions, i.invited_by, i.inviter_name, i.mail, i.created_at, i.expires_at, i.state, i.asked_at \
                            FROM invitations i LEFT JOIN roles r ON r.org_id = i.org_id AND r.id = i.role WHERE i.email_key = $1 AND i.state = 'open' ORDER BY i.created_at, i.id";
    INSERT = "INSERT INTO invitations (id, org_id, email, email_key, role, token_hash, invited_by, inviter_name, mail, \
              created_at, expires_at, state, state_at) \
              VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'open', $10)";
    RENEW = "UPDATE invitations SET token_hash = $3, mail = $4, expires_at = $5, asked_at = NULL \
             WHERE org_id = $1 AND id = $2 AND state = 'open'";
    CLOSE = "UPDATE invitations SET state = $3, state_at = $4 WHERE org_id = $1 AND id = $2 AND state = 'open'";
    ASK_AGAIN = "UPDATE invitations SET asked_at = $2 WHERE token_hash = $1 AND (asked_at IS NULL OR asked_at < $3) \
                 AND ((state = 'open' AND expires_at <= $2) OR state = 'declined') \
                 RETURNING id, org_id, email, role, invited_by, inviter_name, mail, created_at, expires_at, state, asked_at, \
                 (SELECT r.name FROM roles r WHERE r.org_id = invitations.org_id AND r.id = invitations.role) AS role_name, \
                 (SELECT r.permissions FROM roles r WHERE r.org_id = invitations.org_id AND r.id = invitations.role) AS permissions";
    SET_MAIL = "UPDATE invitations SET mail = $2 WHERE id = $1 AND state = 'open'";
    DELETE_OF_ADDRESS = "DELETE FROM invitations WHERE email_key = $1 AND state <> 'open'";
    COUNT_OF_ORG = "SELECT COUNT(*) FROM invitations WHERE org_id = $1";
    DELETE_BEFORE = "DELETE FROM invitations WHERE expires_at < $1";
}

/// An invitation.
#[derive(Clone, Debug)]
pub struct Invitation {
    /// Its id.
    pub id: InvitationId,
    /// Where to.
    pub org: OrgId,
    /// Whom: the address as it was typed.
    pub email: String,
    /// As what.
    pub role: MemberRole,
    /// Who invited; `None` is the operator, or somebody whose account is gone.
    pub invited_by: Option<UserId>,
    /// Their name at that time.
    pub inviter_name: String,
    /// `link`, `queued`, `sent` or `failed`.
    pub mail: String,
    /// Since when, Unix milliseconds.
    pub created_at: i64,
    /// Until when the link works, Unix milliseconds.
    pub expires_at: i64,
    /// `open`, `accepted`, `declined` or `withdrawn`.
    pub state: String,
    /// When somebody whose link was too old asked for another, Unix milliseconds.
    pub asked_at: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    org_id: String,
    email: String,
    role: String,
    role_name: Option<String>,
    permissions: Option<String>,
    invited_by: Option<String>,
    inviter_name: String,
    mail: String,
    created_at: i64,
    expires_at: i64,
    state: String,
    asked_at: Option<i64>,
}

impl TryFrom<Row> for Invitation {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: parsed(&row.id, "invitations", "id", &row.id)?,
            org: parsed(&row.org_id, "invitations", "org_id", &row.id)?,
            role: held(&row.role, row.role_name.zip(row.permissions), "invitations", &row.id)?,
            invited_by: row
                .invited_by
                .map(|user| parsed(&user, "invitations", "invited_by", &row.id))
                .transpose()?,
            email: row.email,
            inviter_name: row.inviter_name,
            mail: row.mail,
            created_at: row.created_at,
            expires_at: row.expires_at,
            state: row.state,
            asked_at: row.asked_at,
        })
    }
}

/// An invitation of the organisation.
pub async fn find(tx: &mut Tx, org: OrgId, id: InvitationId) -> Result<Option<Invitation>> {
    let (org, id) = (org.to_string(), id.to_string());
    let row: Option<Row> = on!(tx, |c| sqlx::query_as(FIND).bind(org).bind(id).fetch_optional(c).await)?;
    row.map(Invitation::try_from).transpose()
}

/// The invitation whose newest link has this token.
pub async fn find_by_token(tx: &mut Tx, token_hash: &[u8]) -> Result<Option<Invitation>> {
    let row: Option<Row> =
        on!(tx, |c| sqlx::query_as(FIND_BY_TOKEN).bind(token_hash).fetch_optional(c).await)?;
    row.map(Invitation::try_from).transpose()
}

/// Notes that somebody asks for another invitation in place of a link that is too old or was declined; `None` when the
/// link is no such one, or somebody asked since `since`.
pub async fn ask_again(tx: &mut Tx, token_hash: &[u8], now: i64, since: i64) -> Result<Option<Invitation>> {
    let row: Option<Row> = on!(tx, |c| sqlx::query_as(ASK_AGAIN)
        .bind(token_hash)
        .bind(now)
        .bind(since)
        .fetch_optional(c)
        .await)?;
    row.map(Invitation::try_from).transpose()
}

/// The open invitation of an address to the organisation.
pub async fn find_open(tx: &mut Tx, org: OrgId, email: &str) -> Result<Option<Invitation>> {
    let (org, key) = (org.to_string(), crate::users::email_key(email));
    let row: Option<Row> =
        on!(tx, |c| sqlx::query_as(FIND_OPEN).bind(org).bind(key).fetch_optional(c).await)?;
    row.map(Invitation::try_from).transpose()
}

/// The open invitations of the organisation, the newest first.
pub async fn list_open(tx: &mut Tx, org: OrgId) -> Result<Vec<Invitation>> {
    let org = org.to_string();
    let rows: Vec<Row> = on!(tx, |c| sqlx::query_as(LIST_OPEN).bind(org).fetch_all(c).await)?;
    rows.into_iter().map(Invitation::try_from).collect()
}

/// The open invitations of an address to any organisation: for whoever the address belongs to.
pub async fn list_open_of_address(tx: &mut Tx, email: &str) -> Result<Vec<Invitation>> {
    let key = crate::users::email_key(email);
    let rows: Vec<Row> = on!(tx, |c| sqlx::query_as(LIST_OPEN_OF_ADDRESS).bind(key).fetch_all(c).await)?;
    rows.into_iter().map(Invitation::try_from).collect()
}

/// Adds an open invitation. [`Error::Taken`] when the address has one to the organisation.
pub async fn insert(tx: &mut Tx, new: &Invitation, token_hash: &[u8]) -> Result<()> {
    let by = new.invited_by.map(|user| user.to_string());
    on!(tx, |c| sqlx::query(INSERT)
        .bind(new.id.to_string())
        .bind(new.org.to_string())
        .bind(&new.email)
        .bind(crate::users::email_key(&new.email))
        .bind(new.role.key.to_string())
        .bind(token_hash)
        .bind(by)
        .bind(&new.inviter_name)
        .bind(&new.mail)
        .bind(new.created_at)
        .bind(new.expires_at)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Gives an open invitation a new link; the one before stops working. Whether it was open.
pub async fn renew(
    tx: &mut Tx,
    org: OrgId,
    id: InvitationId,
    token_hash: &[u8],
    mail: &str,
    expires_at: i64,
) -> Result<bool> {
    let (org, id) = (org.to_string(), id.to_string());
    Ok(on!(tx, |c| sqlx::query(RENEW)
        .bind(org)
        .bind(id)
        .bind(token_hash)
        .bind(mail)
        .bind(expires_at)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?
        == 1)
}

/// Closes an open invitation as `accepted`, `declined` or `withdrawn`. Of two at once, one gets `true`.
pub async fn close(tx: &mut Tx, org: OrgId, id: InvitationId, state: &str, at: i64) -> Result<bool> {
    let (org, id) = (org.to_string(), id.to_string());
    Ok(on!(tx, |c| sqlx::query(CLOSE)
        .bind(org)
        .bind(id)
        .bind(state)
        .bind(at)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?
        == 1)
}

/// Notes what became of the mail that brings it.
pub async fn set_mail(tx: &mut Tx, id: &str, mail: &str) -> Result<()> {
    on!(tx, |c| sqlx::query(SET_MAIL).bind(id).bind(mail).execute(c).await.map(drop))?;
    Ok(())
}

/// How many invitations of the organisation there are, whatever became of them.
pub async fn count_of_org(tx: &mut Tx, org: OrgId) -> Result<i64> {
    let org = org.to_string();
    let (count,): (i64,) = on!(tx, |c| sqlx::query_as(COUNT_OF_ORG).bind(org).fetch_one(c).await)?;
    Ok(count)
}

/// Forgets the closed invitations of an address.
pub async fn delete_of_address(tx: &mut Tx, email: &str) -> Result<()> {
    let key = crate::users::email_key(email);
    on!(tx, |c| sqlx::query(DELETE_OF_ADDRESS).bind(key).execute(c).await.map(drop))?;
    Ok(())
}

/// Forgets invitations whose link ended before a time.
pub async fn delete_before(tx: &mut Tx, before: i64) -> Result<()> {
    on!(tx, |c| sqlx::query(DELETE_BEFORE).bind(before).execute(c).await.map(drop))?;
    Ok(())
}
