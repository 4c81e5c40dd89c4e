//! Who is in which organisation, in which role.

use model::{MemberRole, OrgId, Role, RoleKey, UserId};

use crate::{Result, Tx, db::parsed, roles::held};

statements! {
    FIND_ROLE = "SELECT m.role, r.name, r.permissions FROM members m LEFT JOIN roles r ON r.org_id = m.org_id AND r.id = m.role \
                 WHERE m.org_id = $1 AND m.user_id = $2";
    LIST = "SELECT u.id, u.email, u.name, m.role, r.name, r.permissions FROM members m JOIN users u ON u.id = m.user_id \
            LEFT JOIN roles r ON r.org_id = m.org_id AND r.id = m.role \
            WHERE m.org_id = $1 ORDER BY u.name, u.id";
    LIST_FULL = "SELECT u.id AS id, u.email AS email, u.name AS name, m.role AS role, r.name AS role_name, r.permissions AS permissions, m.created_at AS joined_at, \
                 (SELECT MAX(s.last_seen_at) FROM sessions s WHERE s.user_id = u.id) AS last_seen_at \
                 FROM members m JOIN users u ON u.id = m.user_id \
                 LEFT JOIN roles r ON r.org_id = m.org_id AND r.id = m.role WHERE m.org_id = $1 ORDER BY u.name, u.id";
    INSERT = "INSERT INTO members (org_id, user_id, role, created_at) VALUES ($1, $2, $3, $4)";
    SET_ROLE = "UPDATE members SET role = $3 WHERE org_id = $1 AND user_id = $2";
    DELETE = "DELETE FROM members WHERE org_id = $1 AND user_id = $2";
    COUNT_IN_ROLE = "SELECT COUNT(*) FROM members WHERE org_id = $1 AND role = $2";
}

/// A member as lists show them.
#[derive(Clone, Debug)]
pub struct Member {
    /// The person.
    pub user: UserId,
    /// Their address.
    pub email: String,
    /// Their name.
    pub name: String,
    /// Their role.
    pub role: MemberRole,
}

type Custom = (Option<String>, Option<String>);

fn role(key: &str, (name, permissions): Custom, org: OrgId) -> Result<MemberRole> {
    held(key, name.zip(permissions), "members", &org.to_string())
}

/// The person's role in the organisation, if they are a member.
pub async fn find_role(tx: &mut Tx, org: OrgId, user: UserId) -> Result<Option<MemberRole>> {
    let (key, user) = (org.to_string(), user.to_string());
    let row: Option<(String, Option<String>, Option<String>)> =
        on!(tx, |c| sqlx::query_as(FIND_ROLE).bind(key).bind(user).fetch_optional(c).await)?;
    row.map(|(key, name, permissions)| role(&key, (name, permissions), org)).transpose()
}

type ListRow = (String, String, String, String, Option<String>, Option<String>);

/// Every member, by name.
pub async fn list(tx: &mut Tx, org: OrgId) -> Result<Vec<Member>> {
    let key = org.to_string();
    let rows: Vec<ListRow> = on!(tx, |c| sqlx::query_as(LIST).bind(key).fetch_all(c).await)?;
    rows.into_iter()
        .map(|(id, email, name, role_key, custom, permissions)| {
            let role = role(&role_key, (custom, permissions), org)?;
            Ok(Member { user: parsed(&id, "users", "id", &id)?, email, name, role })
        })
        .collect()
}

/// A member with what the team's page tells of them.
#[derive(Clone, Debug)]
pub struct FullMember {
    /// The person.
    pub user: UserId,
    /// Their address.
    pub email: String,
    /// Their name.
    pub name: String,
    /// Their role.
    pub role: MemberRole,
    /// Since when, Unix milliseconds.
    pub joined_at: i64,
    /// When a browser of theirs was last seen, Unix milliseconds.
    pub last_seen_at: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct FullRow {
    id: String,
    email: String,
    name: String,
    role: String,
    role_name: Option<String>,
    permissions: Option<String>,
    joined_at: i64,
    last_seen_at: Option<i64>,
}

/// Every member with what the team's page tells of them, by name.
pub async fn list_full(tx: &mut Tx, org: OrgId) -> Result<Vec<FullMember>> {
    let key = org.to_string();
    let rows: Vec<FullRow> = on!(tx, |c| sqlx::query_as(LIST_FULL).bind(key).fetch_all(c).await)?;
    rows.into_iter()
        .map(|row| {
            Ok(FullMember {
                user: parsed(&row.id, "users", "id", &row.id)?,
                email: row.email,
                name: row.name,
                role: role(&row.role, (row.role_name, row.permissions), org)?,
                joined_at: row.joined_at,
                last_seen_at: row.last_seen_at,
            })
        })
        .collect()
}

/// Adds a member. [`Error::Taken`] when they are one.
pub async fn insert(tx: &mut Tx, org: OrgId, user: UserId, role: impl Into<RoleKey>, at: i64) -> Result<()> {
    let (org, user, role) = (org.to_string(), user.to_string(), role.into().to_string());
    on!(tx, |c| sqlx::query(INSERT).bind(org).bind(user).bind(role).bind(at).execute(c).await.map(drop))?;
    Ok(())
}

/// Changes a member's role.
pub async fn set_role(tx: &mut Tx, org: OrgId, user: UserId, role: impl Into<RoleKey>) -> Result<()> {
    let (org, user, role) = (org.to_string(), user.to_string(), role.into().to_string());
    on!(tx, |c| sqlx::query(SET_ROLE).bind(org).bind(user).bind(role).execute(c).await.map(drop))?;
    Ok(())
}

/// How many members have the role: the last-owner guard.
pub async fn count_in_role(tx: &mut Tx, org: OrgId, role: Role) -> Result<i64> {
    let org = org.to_string();
    let (count,): (i64,) =
        on!(tx, |c| sqlx::query_as(COUNT_IN_ROLE).bind(org).bind(role.as_str()).fetch_one(c).await)?;
    Ok(count)
}

/// Ends a membership, and with it what the person had authorised for themselves there; whether there was one.
pub async fn delete(tx: &mut Tx, org: OrgId, user: UserId) -> Result<bool> {
    let (org, user) = (org.to_string(), user.to_string());
    let done = on!(tx, |c| sqlx::query(DELETE)
        .bind(org)
        .bind(user)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(done == 1)
}
