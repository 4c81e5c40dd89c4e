//! Mails that have to be sent: written with the change that they are about, sent by a job, removed once they have left.

use model::{InvitationId, MailId, OrgId};

use crate::{Result, Tx};

statements! {
    INSERT = "INSERT INTO mails (id, org_id, invitation_id, sealed, attempts, due_at, expires_at, created_at) \
              VALUES ($1, $2, $3, $4, 0, $5, $6, $5)";
    LIST_DUE = "SELECT id, invitation_id, sealed, attempts, due_at, expires_at FROM mails WHERE due_at <= $1 ORDER BY due_at, id LIMIT $2";
    CLAIM = "UPDATE mails SET attempts = attempts + 1, due_at = $3 WHERE id = $1 AND due_at = $2";
    REPLACE = "UPDATE mails SET sealed = $2 WHERE id = $1";
    PUT_OFF = "UPDATE mails SET due_at = $2 WHERE id = $1";
    DELETE = "DELETE FROM mails WHERE id = $1";
    DELETE_OF_INVITATION = "DELETE FROM mails WHERE invitation_id = $1";
    COUNT = "SELECT COUNT(*) FROM mails";
}

/// A mail that is due.
#[derive(Clone, Debug)]
pub struct Due {
    /// Its id.
    pub id: String,
    /// The invitation that it brings.
    pub invitation: Option<String>,
    /// The letter, or what it is to be made of.
    pub sealed: Vec<u8>,
    /// How often it was tried.
    pub attempts: i64,
    /// Since when, Unix milliseconds.
    pub due_at: i64,
    /// When nobody needs it any more, Unix milliseconds.
    pub expires_at: i64,
}

/// Adds a mail that is due at once.
pub async fn insert(
    tx: &mut Tx,
    id: MailId,
    org: Option<OrgId>,
    invitation: Option<InvitationId>,
    sealed: &[u8],
    at: i64,
    expires_at: i64,
) -> Result<()> {
    let (org, invitation) = (org.map(|org| org.to_string()), invitation.map(|id| id.to_string()));
    on!(tx, |c| sqlx::query(INSERT)
        .bind(id.to_string())
        .bind(org)
        .bind(invitation)
        .bind(sealed)
        .bind(at)
        .bind(expires_at)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Mails that are due, the longest waiting first.
pub async fn list_due(tx: &mut Tx, now: i64, limit: i64) -> Result<Vec<Due>> {
    type Row = (String, Option<String>, Vec<u8>, i64, i64, i64);
    let rows: Vec<Row> = on!(tx, |c| sqlx::query_as(LIST_DUE).bind(now).bind(limit).fetch_all(c).await)?;
    Ok(rows
        .into_iter()
        .map(|(id, invitation, sealed, attempts, due_at, expires_at)| Due {
            id,
            invitation,
            sealed,
            attempts,
            due_at,
            expires_at,
        })
        .collect())
}

/// Takes a mail that was due at `due_at` for oneself, until `until`. Of two nodes at once, one gets `true`.
pub async fn claim(tx: &mut Tx, id: &str, due_at: i64, until: i64) -> Result<bool> {
    Ok(on!(tx, |c| sqlx::query(CLAIM)
        .bind(id)
        .bind(due_at)
        .bind(until)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?
        == 1)
}

/// Puts a letter in place of what it was made of.
pub async fn replace(tx: &mut Tx, id: &str, sealed: &[u8]) -> Result<()> {
    on!(tx, |c| sqlx::query(REPLACE).bind(id).bind(sealed).execute(c).await.map(drop))?;
    Ok(())
}

/// Tries it again at a later time.
pub async fn put_off(tx: &mut Tx, id: &str, due_at: i64) -> Result<()> {
    on!(tx, |c| sqlx::query(PUT_OFF).bind(id).bind(due_at).execute(c).await.map(drop))?;
    Ok(())
}

/// Removes a mail: it has left, or nobody needs it.
pub async fn delete(tx: &mut Tx, id: &str) -> Result<()> {
    on!(tx, |c| sqlx::query(DELETE).bind(id).execute(c).await.map(drop))?;
    Ok(())
}

/// Removes the mails of an invitation: its link does not work any more.
pub async fn delete_of_invitation(tx: &mut Tx, id: InvitationId) -> Result<()> {
    on!(tx, |c| sqlx::query(DELETE_OF_INVITATION).bind(id.to_string()).execute(c).await.map(drop))?;
    Ok(())
}

/// How many wait.
pub async fn count(tx: &mut Tx) -> Result<i64> {
    let (count,): (i64,) = on!(tx, |c| sqlx::query_as(COUNT).fetch_one(c).await)?;
    Ok(count)
}
