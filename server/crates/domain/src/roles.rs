//! Roles that an organisation makes of permissions. Nobody makes, gives or touches a role that holds more than their own,
//! and no role but owner deletes the organisation, changes its plan or deals with owners (TEN-04).

mod names;

use model::{
    AppError, ErrorKind, OrgId, Permission, RoleId,
    permissions::can,
    roles::{CustomRole, MAX_ROLE_ABOUT, MAX_ROLE_NAME, MOST_ROLES, MemberRole, Rights, RoleKey, Roles},
    text,
};
use store::{Tx, roles::Role as Row};

use crate::{
    Env, Error, OrgActor, Result,
    authz::{self, Principal},
    change::{Change, Event},
    invitations,
    mail::{self, letters},
};

/// What a person enters.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// What people call it.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// The names of its permissions.
    pub permissions: Vec<String>,
}

/// What no role holds but owner.
const OWNERS_ALONE: [Permission; 2] = [Permission::OrgDelete, Permission::BillingManage];

fn not_found() -> Error {
    Error::not_found("role")
}

/// The refusal to reach beyond one's own role.
pub(crate) fn above_own() -> Error {
    AppError::field("role", "role_above_own", "Choose a role that holds no more rights than your own").into()
}

/// The role with this key, as somebody chose it in a form.
pub(crate) async fn chosen(tx: &mut Tx, org: OrgId, key: RoleKey) -> Result<MemberRole> {
    let found = store::roles::find_held(tx, org, key).await?;
    found.ok_or_else(|| AppError::field("role", "role", "Choose one of the roles in the list").into())
}

/// The role that a word of the CLI means: its key, or the name of one that the organisation made.
pub async fn named(env: &Env, org: OrgId, word: &str) -> Result<RoleKey> {
    let mut tx = env.db.read().await?;
    if let Some(key) = RoleKey::parse(word)
        && store::roles::find_held(&mut tx, org, key).await?.is_some()
    {
        return Ok(key);
    }
    let wanted = store::roles::name_key(word);
    let all = store::roles::list(&mut tx, org).await?;
    let found = all.into_iter().find(|role| store::roles::name_key(&role.name) == wanted);
    found.map(|role| role.id.into()).ok_or_else(|| {
        AppError::field(
            "role",
            "role",
            "--role must be owner, admin, developer, member, viewer or the name of a role of the organisation",
        )
        .into()
    })
}

/// Everything the page shows.
pub async fn list(env: &Env, actor: &OrgActor<can::TeamRead>) -> Result<Roles> {
    let org = actor.org();
    let mut tx = env.db.read().await?;
    let own = role_of(&mut tx, org, actor.principal()).await?;
    let newcomers = store::sso::find(&mut tx, org).await?.and_then(|row| row.default_role);
    let members = store::roles::count_members(&mut tx, org).await?;
    let invited = store::roles::count_invited(&mut tx, org).await?;
    let custom = store::roles::list(&mut tx, org).await?.into_iter().map(|row| {
        let key = row.id.to_string();
        CustomRole {
            members: members.get(&key).copied().unwrap_or_default(),
            invitations: invited.get(&key).copied().unwrap_or_default(),
            newcomers: newcomers.as_deref() == Some(key.as_str()),
            role: row.held(),
            description: row.description,
        }
    });
    let custom = custom.collect();
    Ok(Roles { custom, own: own.unwrap_or_else(|| model::Role::Owner.into()) })
}

/// The role of whoever acts; `None` is the operator.
async fn role_of(tx: &mut Tx, org: OrgId, by: &Principal) -> Result<Option<MemberRole>> {
    let Principal::User { id, .. } = by else { return Ok(None) };
    let role = store::members::find_role(tx, org, *id).await?;
    role.map(Some).ok_or_else(|| authz::denied(Permission::TeamRoles).into())
}

/// The same once the organisation is locked, if they may still deal with roles.
async fn still(change: &mut Change, actor: &OrgActor<can::TeamRoles>) -> Result<Option<MemberRole>> {
    let by = role_of(change.tx(), actor.org(), actor.principal()).await?;
    if by.as_ref().is_some_and(|by| !by.allows(Permission::TeamRoles)) {
        return Err(authz::denied(Permission::TeamRoles).into());
    }
    Ok(by)
}

fn checked(input: &Input, by: Option<&MemberRole>) -> Result<(String, String, Rights)> {
    let refuse = |code: &str, message: String| AppError::field("permissions", code, message);
    let rights = || {
        let mut rights = Rights::default();
        for name in &input.permissions {
            let permission = Permission::parse(name)
                .ok_or_else(|| refuse("permission", format!("{name} is no permission")))?;
            if OWNERS_ALONE.contains(&permission) {
                return Err(refuse("owners_only", format!("{name} belongs to owners alone")));
            }
            rights = rights.with(permission);
        }
        if rights == Rights::default() {
            return Err(refuse("required", "Choose at least one permission".to_owned()));
        }
        let rights = rights.with_reads();
        match by.and_then(|by| rights.iter().find(|permission| !by.allows(*permission))) {
            Some(lacking) => Err(refuse(
                "role_above_own",
                format!("You do not hold {lacking} yourself, so you cannot give it"),
            )),
            None => Ok(rights),
        }
    };
    let name = text::name("name", "this role", &input.name, MAX_ROLE_NAME).and_then(|name| {
        match names::resembles(&name) {
            Some(role) => {
                Err(name_taken(&format!("This name looks like the built-in role {role}. Choose another")))
            }
            None => Ok(name),
        }
    });
    let about = text::description("description", &input.description, MAX_ROLE_ABOUT);
    let ((name, description), rights) = crate::both(
        crate::both(name.map_err(Error::from), about.map_err(Error::from)),
        rights().map_err(Error::from),
    )?;
    Ok((name, description, rights))
}

fn name_taken(message: &str) -> AppError {
    let mut error = AppError::field("name", "name_taken", message);
    error.kind = ErrorKind::Conflict;
    error
}

fn taken(error: store::Error) -> Error {
    match error {
        store::Error::Taken(_) => name_taken("A role of this organisation has this name already").into(),
        other => other.into(),
    }
}

/// Makes a role.
pub async fn create(env: &Env, actor: &OrgActor<can::TeamRoles>, input: &Input) -> Result<RoleId> {
    let mut change = env.change(actor).await?;
    let by = still(&mut change, actor).await?;
    let (name, description, rights) = checked(input, by.as_ref())?;
    if store::roles::list(change.tx(), actor.org()).await?.len() >= MOST_ROLES {
        let message = format!("An organisation has at most {MOST_ROLES} roles of its own. Delete one first");
        return Err(AppError::field("name", "too_many", message).into());
    }
    let row = Row { id: RoleId::from_uuid(env.uuid()), name, description, rights };
    store::roles::insert(change.tx(), actor.org(), &row, env.now()).await.map_err(taken)?;
    let event = Event::new("role.created")
        .target("role", row.id, &row.name)
        .changed("description", "", row.description.as_str())
        .changed("permissions", "", row.rights.names());
    change.commit(event).await?;
    Ok(row.id)
}

/// Changes a role. Whoever has it meets the change with their next request.
pub async fn update(env: &Env, actor: &OrgActor<can::TeamRoles>, id: RoleId, input: &Input) -> Result<()> {
    let org = actor.org();
    let mut change = env.change(actor).await?;
    let by = still(&mut change, actor).await?;
    let old = store::roles::find(change.tx(), org, id).await?.ok_or_else(not_found)?;
    reach(by.as_ref(), &old)?;
    let (name, description, rights) = checked(input, by.as_ref())?;
    let row = Row { id, name, description, rights };
    if row == old {
        return Ok(());
    }
    store::roles::update(change.tx(), org, &row, env.now()).await.map_err(taken)?;
    if row.rights != old.rights {
        store::sessions::renew_all_in_role(change.tx(), org, id.into()).await?;
        invitations::take_back_beyond(env, &mut change, org).await?;
    }
    let event = Event::new("role.updated")
        .target("role", id, &row.name)
        .changed("name", old.name, row.name.as_str())
        .changed("description", old.description, row.description.as_str())
        .changed("permissions", old.rights.names(), row.rights.names());
    change.commit(event).await
}

fn reach(by: Option<&MemberRole>, role: &Row) -> Result<()> {
    if by.is_none_or(|by| by.covers(&role.held())) {
        return Ok(());
    }
    Err(AppError::new(
        ErrorKind::Forbidden,
        "role_above_own",
        "This role holds rights that yours does not. Ask an owner or admin; nothing was changed.",
    )
    .into())
}

/// Deletes a role. Whoever has it, was invited to it or would get it as a newcomer gets `instead`, which has to be said
/// while there is anybody.
pub async fn delete(
    env: &Env,
    actor: &OrgActor<can::TeamRoles>,
    id: RoleId,
    instead: Option<RoleKey>,
) -> Result<()> {
    let org = actor.org();
    let mut change = env.change(actor).await?;
    let by = still(&mut change, actor).await?;
    let old = store::roles::find(change.tx(), org, id).await?.ok_or_else(not_found)?;
    reach(by.as_ref(), &old)?;
    let members = store::roles::list_members(change.tx(), org, id.into()).await?;
    let invited = store::roles::count_invited(change.tx(), org).await?.contains_key(&id.to_string());
    let newcomers = store::sso::find(change.tx(), org).await?.and_then(|row| row.default_role);
    let in_use = !members.is_empty() || invited || newcomers == Some(id.to_string());
    let mut event = Event::new("role.deleted")
        .target("role", id, &old.name)
        .changed("description", old.description.as_str(), "")
        .changed("permissions", old.rights.names(), "");
    if in_use {
        let next = replacement(change.tx(), org, by.as_ref(), id, instead).await?;
        store::sessions::renew_all_in_role(change.tx(), org, id.into()).await?;
        store::roles::move_all(change.tx(), org, id.into(), next.key).await?;
        let named = store::orgs::find(change.tx(), org).await?.map(|org| org.name).unwrap_or_default();
        for user in &members {
            let person = store::users::find(change.tx(), *user).await?;
            let email = person.map(|person| person.email).unwrap_or_default();
            if actor.principal().id() != user.to_string() {
                mail::notify(env, change.tx(), letters::role_changed(&email, &named, &next)).await?;
            }
            let moved = Event::new("team.role_changed").target("user", user, &email);
            change.record(&moved.changed("role", old.name.as_str(), next.as_str())).await?;
        }
        invitations::take_back_beyond(env, &mut change, org).await?;
        event = event.with("instead", next.as_str()).with("members", members.len());
    }
    store::roles::delete(change.tx(), org, id).await?;
    change.commit(event).await
}

/// What the members of a role that goes get instead, as whoever deletes it chose: something that they may give.
async fn replacement(
    tx: &mut Tx,
    org: OrgId,
    by: Option<&MemberRole>,
    gone: RoleId,
    instead: Option<RoleKey>,
) -> Result<MemberRole> {
    let refuse = |code: &str, message: &str| AppError::field("instead", code, message);
    let Some(key) = instead.filter(|key| *key != RoleKey::from(gone)) else {
        let mut error =
            refuse("role_in_use", "Somebody has this role, or would get it: choose what they get instead");
        error.kind = ErrorKind::Conflict;
        return Err(error.into());
    };
    let next = store::roles::find_held(tx, org, key).await?;
    let next = next.ok_or_else(|| refuse("role", "Choose one of the roles in the list"))?;
    if next == model::Role::Owner || by.is_some_and(|by| !by.covers(&next)) {
        let words = "Choose a role that holds no more rights than your own, and not owner";
        return Err(refuse("role_above_own", words).into());
    }
    Ok(next)
}
