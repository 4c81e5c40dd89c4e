//! Roles that organisations make. Members, invitations and providers name a role by its key: the name of a built-in one or
//! the id of one of these.

use std::collections::BTreeMap;

use model::{
    OrgId, RoleId, UserId,
    roles::{MemberRole, Rights, RoleKey},
};

use crate::{Error, Result, Tx, db::parsed};

statements! {
    FIND = "SELECT id, name, description, permissions FROM roles WHERE org_id = $1 AND id = $2";
    LIST = "SELECT id, name, description, permissions FROM roles WHERE org_id = $1 ORDER BY name_key";
    INSERT = "INSERT INTO roles (id, org_id, name, name_key, description, permissions, created_at, updated_at) \
              VALUES ($1, $2, $3, $4, $5, $6, $7, $7)";
    UPDATE = "UPDATE roles SET name = $3, name_key = $4, description = $5, permissions = $6, updated_at = $7 \
              WHERE org_id = $1 AND id = $2";
    DELETE = "DELETE FROM roles WHERE org_id = $1 AND id = $2";
    LIST_MEMBERS = "SELECT user_id FROM members WHERE org_id = $1 AND role = $2 ORDER BY user_id";
    COUNT_MEMBERS = "SELECT role, COUNT(*) FROM members WHERE org_id = $1 GROUP BY role";
    COUNT_INVITED = "SELECT role, COUNT(*) FROM invitations WHERE org_id = $1 AND state = 'open' GROUP BY role";
    FORGET_INVITED = "DELETE FROM invitations WHERE org_id = $1 AND role = $2 AND state <> 'open'";
    MOVE_MEMBERS = "UPDATE members SET role = $3 WHERE org_id = $1 AND role = $2";
    MOVE_INVITED = "UPDATE invitations SET role = $3 WHERE org_id = $1 AND role = $2";
    MOVE_NEWCOMERS = "UPDATE sso_providers SET default_role = $3 WHERE org_id = $1 AND default_role = $2";
}

/// A role that an organisation made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Its id.
    pub id: RoleId,
    /// What people call it.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// What it allows.
    pub rights: Rights,
}

impl Role {
    /// As members hold it.
    pub fn held(&self) -> MemberRole {
        MemberRole { key: self.id.into(), name: self.name.clone(), rights: self.rights }
    }
}

type Row = (String, String, String, String);

fn role((id, name, description, permissions): Row) -> Result<Role> {
    let id = parsed(&id, "roles", "id", &id)?;
    Ok(Role { id, name, description, rights: Rights::parse(&permissions) })
}

/// The role behind a key and what was found with it, as rows of other tables name it. A key without a role is no role at
/// all, least of all a built-in one.
pub(crate) fn held(
    key: &str,
    found: Option<(String, String)>,
    table: &'static str,
    row: &str,
) -> Result<MemberRole> {
    match (RoleKey::parse(key), found) {
        (Some(RoleKey::Built(role)), _) => Ok(role.into()),
        (Some(key), Some((name, permissions))) => {
            Ok(MemberRole { key, name, rights: Rights::parse(&permissions) })
        }
        _ => Err(Error::Inconsistent { table, column: "role", row: row.to_owned() }),
    }
}

/// The form in which two names are compared.
pub fn name_key(name: &str) -> String {
    name.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A role of the organisation.
pub async fn find(tx: &mut Tx, org: OrgId, id: RoleId) -> Result<Option<Role>> {
    let (org, id) = (org.to_string(), id.to_string());
    let row: Option<Row> = on!(tx, |c| sqlx::query_as(FIND).bind(org).bind(id).fetch_optional(c).await)?;
    row.map(role).transpose()
}

/// The role with this key in the organisation.
pub async fn find_held(tx: &mut Tx, org: OrgId, key: RoleKey) -> Result<Option<MemberRole>> {
    match key {
        RoleKey::Built(role) => Ok(Some(role.into())),
        RoleKey::Custom(id) => Ok(find(tx, org, id).await?.map(|role| role.held())),
    }
}

/// The organisation's roles, by name.
pub async fn list(tx: &mut Tx, org: OrgId) -> Result<Vec<Role>> {
    let org = org.to_string();
    let rows: Vec<Row> = on!(tx, |c| sqlx::query_as(LIST).bind(org).fetch_all(c).await)?;
    rows.into_iter().map(role).collect()
}

/// Adds a role. [`Error::Taken`] when the organisation has one of this name.
pub async fn insert(tx: &mut Tx, org: OrgId, new: &Role, at: i64) -> Result<()> {
    on!(tx, |c| sqlx::query(INSERT)
        .bind(new.id.to_string())
        .bind(org.to_string())
        .bind(&new.name)
        .bind(name_key(&new.name))
        .bind(&new.description)
        .bind(new.rights.names())
        .bind(at)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Writes a role. [`Error::Taken`] likewise.
pub async fn update(tx: &mut Tx, org: OrgId, new: &Role, at: i64) -> Result<()> {
    on!(tx, |c| sqlx::query(UPDATE)
        .bind(org.to_string())
        .bind(new.id.to_string())
        .bind(&new.name)
        .bind(name_key(&new.name))
        .bind(&new.description)
        .bind(new.rights.names())
        .bind(at)
        .execute(c)
        .await
        .map(drop))?;
    Ok(())
}

/// Deletes a role that nobody has any more, and the invitations to it that are over; whether it was there.
pub async fn delete(tx: &mut Tx, org: OrgId, id: RoleId) -> Result<bool> {
    let (org, id) = (org.to_string(), id.to_string());
    on!(tx, |c| sqlx::query(FORGET_INVITED).bind(&org).bind(&id).execute(c).await.map(drop))?;
    let done = on!(tx, |c| sqlx::query(DELETE)
        .bind(org)
        .bind(id)
        .execute(c)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(done == 1)
}

/// The members who have a role.
pub async fn list_members(tx: &mut Tx, org: OrgId, key: RoleKey) -> Result<Vec<UserId>> {
    let (org, key) = (org.to_string(), key.to_string());
    let rows: Vec<(String,)> =
        on!(tx, |c| sqlx::query_as(LIST_MEMBERS).bind(org).bind(key).fetch_all(c).await)?;
    rows.into_iter().map(|(user,)| parsed(&user, "members", "user_id", &user)).collect()
}

/// How many members have each role that somebody has, by its key.
pub async fn count_members(tx: &mut Tx, org: OrgId) -> Result<BTreeMap<String, i64>> {
    count(tx, org, COUNT_MEMBERS).await
}

/// How many open invitations there are to each role that somebody is invited to, by its key.
pub async fn count_invited(tx: &mut Tx, org: OrgId) -> Result<BTreeMap<String, i64>> {
    count(tx, org, COUNT_INVITED).await
}

async fn count(tx: &mut Tx, org: OrgId, statement: &'static str) -> Result<BTreeMap<String, i64>> {
    let org = org.to_string();
    let rows: Vec<(String, i64)> = on!(tx, |c| sqlx::query_as(statement).bind(org).fetch_all(c).await)?;
    Ok(rows.into_iter().collect())
}

/// Gives everybody who has a role, was invited to it, or would get it as a newcomer, another one.
pub async fn move_all(tx: &mut Tx, org: OrgId, from: RoleKey, to: RoleKey) -> Result<()> {
    for statement in [MOVE_MEMBERS, MOVE_INVITED, MOVE_NEWCOMERS] {
        let (org, from, to) = (org.to_string(), from.to_string(), to.to_string());
        on!(tx, |c| sqlx::query(statement).bind(org).bind(from).bind(to).execute(c).await.map(drop))?;
    }
    Ok(())
}
