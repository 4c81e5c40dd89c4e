//! Organisations: making, changing and looking at them.

use model::{
    AppError, ConnectorId, ErrorKind, OrgId, OrgSlug, Permission, Plan, Role, RoleKey, UserId,
    orgs::{Activity, ConnectorCounts, KeyVisibility, Me, Membership, Org, Overview, PinAsked},
    permissions::can,
    slug, text,
};
use serde_json::Value;
use store::Tx;

use crate::{
    Env, Error, OrgActor, Result,
    authz::{self, Principal},
    both,
    change::{Change, Event},
    request::{Origin, RequestContext},
    roles, sso, usage,
};

/// The longest organisation name in characters.
pub const MAX_NAME: usize = 64;
/// The longest description in characters.
pub const MAX_DESCRIPTION: usize = 280;

/// Checks a slug that a person chose; the error is at `field`.
pub fn parse_slug(field: &str, input: &str) -> Result<OrgSlug> {
    input
        .trim()
        .parse()
        .map_err(|why: slug::InvalidSlug| AppError::field(field, "slug", why.to_string()).into())
}

pub(crate) fn slug_taken(field: &str) -> Error {
    let mut error = AppError::field(field, "slug_taken", "Choose another slug: this one is, or was, in use");
    error.kind = ErrorKind::Conflict;
    error.into()
}

/// What a new organisation shall be; checked.
pub(crate) struct NewOrg {
    pub(crate) name: String,
    pub(crate) slug: OrgSlug,
    pub(crate) plan: Plan,
    pub(crate) owner: UserId,
}

/// Writes a new organisation and its first owner into an open transaction, with the audit event; the caller commits
/// through the [`Change`] that comes back.
pub(crate) async fn insert(
    env: &Env,
    mut tx: Tx,
    new: NewOrg,
    principal: Principal,
    origin: Origin,
) -> Result<(Org, Change, Event)> {
    let NewOrg { name, slug, plan, owner } = new;
    let now = env.now();
    if store::orgs::is_buried(&mut tx, slug.as_str()).await?
        || store::orgs::find_by_slug(&mut tx, &slug).await?.is_some()
    {
        return Err(slug_taken("slug"));
    }
    let org = Org {
        id: OrgId::from_uuid(env.uuid()),
        slug,
        name,
        description: String::new(),
        plan,
        key_visibility: KeyVisibility::Once,
        url_keys: false,
        created_at: now,
    };
    let data_key = env.sealer.new_data_key(org.id, env.rng.as_ref());
    match store::orgs::insert(&mut tx, &org, &data_key).await {
        Err(store::Error::Taken(_)) => return Err(slug_taken("slug")),
        done => done?,
    }
    store::members::insert(&mut tx, org.id, owner, Role::Owner, now).await?;
    if matches!(&principal, Principal::User { .. }) {
        // Somebody who made it wants to see it; an operator's new organisation must not move its owner from their own.
        store::users::set_last_org(&mut tx, owner, org.id).await?;
    }
    let event = Event::new("org.created").target("org", org.id, &org.name).with("slug", org.slug.as_str());
    Ok((org.clone(), Change::within(env, tx, org.id, principal, origin), event))
}

/// Makes an organisation whose owner is the signed-in person.
pub async fn create(ctx: &RequestContext, name: &str, slug: &str) -> Result<Org> {
    let env = &ctx.env;
    let signed_in = ctx.signed_in.as_ref().ok_or_else(authz::unauthenticated)?;
    let name = text::name("name", "the organisation", name, MAX_NAME)?;
    let slug = parse_slug("slug", slug)?;
    let mut tx = env.db.write().await?;
    let user = store::users::find(&mut tx, signed_in.user).await?.ok_or_else(authz::unauthenticated)?;
    sso::reach(&mut tx, signed_in, None).await?;
    let principal = Principal::User { id: user.id, name: user.name };
    let plan = env.settings.default_plan;
    let (org, change, event) =
        insert(env, tx, NewOrg { name, slug, plan, owner: user.id }, principal, ctx.origin.clone()).await?;
    change.commit(event).await?;
    Ok(org)
}

/// Makes an organisation for somebody else, as the operator.
pub async fn create_by_operator(
    env: &Env,
    name: &str,
    slug: &str,
    owner_email: &str,
    plan: Option<Plan>,
) -> Result<Org> {
    let name = text::name("name", "the organisation", name, MAX_NAME)?;
    let slug = parse_slug("slug", slug)?;
    let mut tx = env.db.write().await?;
    let owner =
        store::users::find_by_email(&mut tx, owner_email).await?.ok_or_else(|| Error::not_found("user"))?;
    let plan = plan.unwrap_or(env.settings.default_plan);
    let (org, change, event) =
        insert(env, tx, NewOrg { name, slug, plan, owner: owner.id }, Principal::Operator, Origin::default())
            .await?;
    change.commit(event).await?;
    Ok(org)
}

/// The organisation with this slug, for the operator.
pub async fn find_by_slug(env: &Env, slug: &str) -> Result<Org> {
    let slug = parse_slug("org", slug)?;
    let mut tx = env.db.read().await?;
    store::orgs::find_by_slug(&mut tx, &slug).await?.ok_or_else(|| Error::not_found("organisation"))
}

/// Adds somebody to an organisation, or gives a member another role. An organisation keeps at least one owner.
pub async fn put_member(
    env: &Env,
    actor: &OrgActor<can::TeamRoles>,
    email: &str,
    role: impl Into<RoleKey>,
) -> Result<UserId> {
    let mut change = env.change(actor).await?;
    let role = roles::chosen(change.tx(), actor.org(), role.into()).await?;
    let user =
        store::users::find_by_email(change.tx(), email).await?.ok_or_else(|| Error::not_found("user"))?;
    match store::members::find_role(change.tx(), actor.org(), user.id).await? {
        Some(old) if old.key == role.key => Ok(user.id),
        Some(old) => {
            if old == Role::Owner
                && store::members::count_in_role(change.tx(), actor.org(), Role::Owner).await? < 2
            {
                return Err(AppError::new(
                    ErrorKind::Conflict,
                    "last_owner",
                    "This is the last owner. Make another member an owner first; nothing was changed.",
                )
                .into());
            }
            store::members::set_role(change.tx(), actor.org(), user.id, &role).await?;
            store::sessions::renew_all(change.tx(), user.id).await?;
            crate::invitations::take_back_of(env, &mut change, actor.org(), user.id, Some(&role)).await?;
            let event = Event::new("team.role_changed").target("user", user.id, &user.email).changed(
                "role",
                old.as_str(),
                role.as_str(),
            );
            change.commit(event).await?;
            Ok(user.id)
        }
        None => {
            let now = env.now();
            store::members::insert(change.tx(), actor.org(), user.id, &role, now).await?;
            // Nobody waits for an answer any more.
            if let Some(open) = store::invitations::find_open(change.tx(), actor.org(), email).await? {
                store::invitations::close(change.tx(), actor.org(), open.id, "accepted", now).await?;
            }
            store::sessions::renew_all(change.tx(), user.id).await?;
            let data = serde_json::json!({"user_id": user.id, "email": user.email, "role": role.as_str()});
            let event = Event::new("team.member_added")
                .target("user", user.id, &user.email)
                .with("role", role.as_str())
                .publish("team.member_added", data);
            change.commit(event).await?;
            Ok(user.id)
        }
    }
}

/// Who is signed in and where.
pub async fn me(ctx: &RequestContext) -> Result<Me> {
    let signed_in = ctx.signed_in.as_ref().ok_or_else(authz::unauthenticated)?;
    let mut tx = ctx.env.db.read().await?;
    let user = store::users::find(&mut tx, signed_in.user).await?.ok_or_else(authz::unauthenticated)?;
    let mut orgs = Vec::new();
    for org in store::orgs::list_of_user(&mut tx, user.id).await? {
        if !signed_in.reaches(org.id) {
            continue;
        }
        if let Some(role) = store::members::find_role(&mut tx, org.id, user.id).await? {
            orgs.push(Membership { org: org.id, slug: org.slug, name: org.name, role });
        }
    }
    let in_view = [signed_in.org, user.last_org]
        .into_iter()
        .flatten()
        .find_map(|id| orgs.iter().find(|org| org.org == id))
        .or(orgs.first())
        .cloned();
    let pin = match &in_view {
        Some(org) => crate::pin::asked(&mut tx, org.org, user.id).await?,
        None => PinAsked::No,
    };
    Ok(Me { user: user.id, name: user.name, email: user.email, org: in_view, orgs, pin })
}

/// Turns to another organisation of the signed-in person; the caller notes it in the session.
pub async fn switch(ctx: &RequestContext, org: OrgId) -> Result<()> {
    let signed_in = ctx.signed_in.as_ref().ok_or_else(authz::unauthenticated)?;
    let mut tx = ctx.env.db.write().await?;
    if store::members::find_role(&mut tx, org, signed_in.user).await?.is_none() {
        return Err(Error::not_found("organisation"));
    }
    sso::reach(&mut tx, signed_in, Some(org)).await?;
    store::users::set_last_org(&mut tx, signed_in.user, org).await?;
    tx.commit().await?;
    Ok(())
}

/// The organisation in view, whole.
pub async fn get(env: &Env, actor: &OrgActor<can::ConnectorsRead>) -> Result<Org> {
    let mut tx = env.db.read().await?;
    store::orgs::find(&mut tx, actor.org()).await?.ok_or_else(|| Error::not_found("organisation"))
}

/// Changes name and description.
pub async fn update(
    env: &Env,
    actor: &OrgActor<can::OrgUpdate>,
    name: &str,
    description: &str,
) -> Result<()> {
    update_from(env, actor, name, description, None).await
}

/// What a form about name and description started from.
#[derive(Clone, Debug)]
pub struct Was {
    /// The name.
    pub name: String,
    /// The description.
    pub description: String,
}

/// Changes name and description, unless somebody changed them since the form was opened: then both values are told, and
/// nothing is changed.
pub async fn update_from(
    env: &Env,
    actor: &OrgActor<can::OrgUpdate>,
    name: &str,
    description: &str,
    was: Option<&Was>,
) -> Result<()> {
    let (name, description) = both(
        text::name("name", "the organisation", name, MAX_NAME).map_err(Into::into),
        text::description("description", description, MAX_DESCRIPTION).map_err(Into::into),
    )?;
    edit(env, actor, |org| {
        if let Some(was) = was {
            changed_meanwhile(org, was, &name, &description)?;
        }
        org.name = name;
        org.description = description;
        Ok(())
    })
    .await
}

/// The refusal of what was made from something that is not there any more.
fn changed_meanwhile(org: &Org, was: &Was, name: &str, description: &str) -> Result<()> {
    // Forms send line breaks as two characters.
    let plain = |text: &str| text.replace("\r\n", "\n").trim().to_owned();
    let told = |field: &str, was: &str, is: &str, wanted: &str| {
        let moved = plain(was) != plain(is) && plain(wanted) != plain(is);
        let is = if is.is_empty() { "empty".to_owned() } else { format!("“{is}”") };
        let wanted = if wanted.is_empty() { "empty".to_owned() } else { format!("“{wanted}”") };
        let words = format!("Somebody changed this meanwhile: it is {is} now, and yours is {wanted}");
        moved.then(|| AppError::field(field, "changed_meanwhile", words))
    };
    let flaws = [
        told("name", &was.name, &org.name, name),
        told("description", &was.description, &org.description, description),
    ];
    let Some(mut error) = flaws.into_iter().flatten().reduce(AppError::and) else { return Ok(()) };
    error.kind = ErrorKind::Conflict;
    Err(error.into())
}

/// What the operator may set on an organisation; `None` leaves it.
#[derive(Clone, Copy, Debug, Default)]
pub struct OperatorChanges {
    /// The plan.
    pub plan: Option<Plan>,
    /// Whether keys can be read again.
    pub key_visibility: Option<KeyVisibility>,
    /// Whether keys work in URLs.
    pub url_keys: Option<bool>,
}

/// Changes what only the operator may change, and the two key settings.
pub async fn set_by_operator(env: &Env, org: OrgId, changes: OperatorChanges) -> Result<()> {
    let limits = changes.plan.is_some();
    edit(env, &OrgActor::<can::OrgUpdate>::operator(org), |org| {
        org.plan = changes.plan.unwrap_or(org.plan);
        org.key_visibility = changes.key_visibility.unwrap_or(org.key_visibility);
        org.url_keys = changes.url_keys.unwrap_or(org.url_keys);
        Ok(())
    })
    .await?;
    if limits {
        usage::alerts::limits_changed(env, org).await;
    }
    Ok(())
}

/// Changes whether keys can be read again and whether they work in URLs (§6.1 and §6.2 of the API keys page). Going
/// back to *shown once* destroys the sealed copies at once.
pub async fn set_key_settings(
    env: &Env,
    actor: &OrgActor<can::SecurityManage>,
    visibility: KeyVisibility,
    url_keys: bool,
) -> Result<()> {
    edit(env, actor, |org| {
        org.key_visibility = visibility;
        org.url_keys = url_keys;
        Ok(())
    })
    .await
}

async fn edit<P: model::permissions::Grant>(
    env: &Env,
    actor: &OrgActor<P>,
    apply: impl FnOnce(&mut Org) -> Result<()>,
) -> Result<()> {
    let mut change = env.change(actor).await?;
    let old =
        store::orgs::find(change.tx(), actor.org()).await?.ok_or_else(|| Error::not_found("organisation"))?;
    let mut new = old.clone();
    apply(&mut new)?;
    if new == old {
        return Ok(());
    }
    store::orgs::update(change.tx(), &new).await?;
    sso::end_with_plan(change.tx(), new.id, (old.plan, new.plan), "").await?;
    if new.key_visibility == KeyVisibility::Once && old.key_visibility == KeyVisibility::Copyable {
        store::api_keys::erase_sealed(change.tx(), actor.org()).await?;
    }
    let event = Event::new("settings.updated")
        .target("org", new.id, &new.name)
        .changed("name", old.name, new.name.as_str())
        .changed("description", old.description, new.description.as_str())
        .changed("plan", old.plan.as_str(), new.plan.as_str())
        .changed("key_visibility", old.key_visibility.as_str(), new.key_visibility.as_str())
        .changed("url_keys", old.url_keys, new.url_keys);
    change.commit(event).await
}

/// What the overview shows.
pub async fn overview(env: &Env, actor: &OrgActor<can::ConnectorsRead>) -> Result<Overview> {
    let now = env.now();
    let org_id = actor.org();
    let mut tx = env.db.read().await?;
    let org = store::orgs::find(&mut tx, org_id).await?.ok_or_else(|| Error::not_found("organisation"))?;
    let connectors = store::connectors::list(&mut tx, org_id).await?;
    let keys = store::api_keys::list(&mut tx, org_id).await?;
    let connections =
        store::connections::list(&mut tx, org_id).await?.iter().filter(|c| c.revoked_at.is_none()).count();
    let count = |wanted: &dyn Fn(&store::connectors::Connector) -> bool| {
        u32::try_from(connectors.iter().filter(|c| wanted(c)).count()).unwrap_or(u32::MAX)
    };
    let activity = if actor.also(Permission::AuditRead) {
        let lines = store::audit::list_latest(&mut tx, org_id, ACTIVITY_READ).await?;
        grouped(lines.into_iter().map(activity_line))
    } else {
        Vec::new()
    };
    let last_day = if actor.also(Permission::UsageRead) {
        Some(crate::usage::last_day(&mut tx, org_id, now).await?)
    } else {
        None
    };
    let second_factor = match actor.principal() {
        Principal::User { id, .. } => store::factors::has(&mut tx, *id).await?,
        Principal::Operator | Principal::System => true,
    };
    let (endpoint, also_at) = crate::custom_domain::addresses(env, &mut tx, &org).await?.split();
    Ok(Overview {
        last_day,
        second_factor,
        endpoint,
        also_at,
        connectors: ConnectorCounts {
            total: count(&|_| true),
            enabled: count(&|c| c.enabled),
            healthy: count(&|c| c.enabled && c.health == model::connectors::Health::Healthy),
        },
        active_keys: u32::try_from(
            keys.iter().filter(|k| k.disabled_at.is_none() && k.expires_at.is_none_or(|at| at > now)).count(),
        )
        .unwrap_or(u32::MAX),
        connections: u32::try_from(connections).unwrap_or(u32::MAX),
        last_call_at: store::api_keys::last_used(&mut tx, org_id)
            .await?
            .max(store::connections::last_used(&mut tx, org_id).await?)
            // Machines, tokens of an identity provider and people at the playground have neither.
            .max(store::request_log::last_at(&mut tx, org_id).await?),
        people: u32::try_from(
            store::members::list(&mut tx, org_id).await?.len()
                + store::invitations::list_open(&mut tx, org_id).await?.len(),
        )
        .unwrap_or(u32::MAX),
        onboarding_dismissed: store::orgs::onboarding_dismissed_at(&mut tx, org_id).await?.is_some(),
        demo_available: env.settings.demo
            && !connectors.iter().any(|c| c.transport == model::connectors::Transport::Demo),
        activity,
    })
}

/// The most lines of recent activity.
const ACTIVITY_SHOWN: usize = 10;
/// So many events are looked at for them, because many may be of one kind.
const ACTIVITY_READ: i64 = 100;
/// Log-ins that failed are one line as long as no more than this lies between two, milliseconds.
const ACTIVITY_NEAR: i64 = 60 * 60 * 1000;

/// The lines, newest first: whoever tries passwords does not push everything else out of view.
fn grouped(lines: impl Iterator<Item = Activity>) -> Vec<Activity> {
    let mut shown: Vec<Activity> = Vec::new();
    // Where the failures stand, and when the oldest of them was.
    let mut failures: Option<(usize, i64)> = None;
    for line in lines {
        let failed = line.action == "auth.signed_in" && !line.ok;
        match &mut failures {
            Some((at, oldest)) if failed && *oldest - line.at <= ACTIVITY_NEAR => {
                shown[*at].times += 1;
                *oldest = line.at;
            }
            _ => {
                if failed {
                    failures = Some((shown.len(), line.at));
                }
                shown.push(line);
            }
        }
    }
    shown.truncate(ACTIVITY_SHOWN);
    shown
}

fn activity_line(line: store::audit::Line) -> Activity {
    let detail: Value = serde_json::from_str(&line.detail).unwrap_or_default();
    Activity {
        at: line.occurred_at / 1000,
        actor: line.actor_name,
        target: detail["targets"][0]["name"].as_str().unwrap_or_default().to_owned(),
        ok: line.result == "ok",
        action: line.action,
        times: 1,
    }
}

/// Closes the onboarding checklist for everybody in the organisation.
pub async fn dismiss_onboarding(env: &Env, actor: &OrgActor<can::ConnectorsWrite>) -> Result<()> {
    let mut change = env.change(actor).await?;
    let now = env.now();
    store::orgs::dismiss_onboarding(change.tx(), actor.org(), now).await?;
    change.commit(Event::new("onboarding.dismissed")).await
}

/// The organisation's wrapped data key, opened.
pub(crate) async fn data_key(env: &Env, tx: &mut Tx, org: OrgId) -> Result<crate::sealer::DataKey> {
    let wrapped = store::orgs::data_key(tx, org).await?;
    env.sealer
        .open_data_key(org, &wrapped)
        .map_err(|_| Error::Internal(format!("the data key of {org} does not open with this master key")))
}

/// A key that limits others to connectors may only name connectors of the organisation.
pub(crate) async fn check_connectors(tx: &mut Tx, org: OrgId, wanted: &[ConnectorId]) -> Result<()> {
    let known: Vec<_> = store::connectors::list(tx, org).await?.into_iter().map(|c| c.id).collect();
    if wanted.iter().all(|id| known.contains(id)) { Ok(()) } else { Err(Error::not_found("connector")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_log_ins_are_one_line_and_push_nothing_out() {
        let line = |at: i64, action: &str, ok: bool| Activity {
            at,
            actor: "System".into(),
            action: action.into(),
            target: String::new(),
            ok,
            times: 1,
        };
        let minute = 60 * 1000;
        // Newest first: forty failures, one log-in among them, and before that what was done.
        let mut lines: Vec<_> = (0..40).map(|n| line((400 - n) * minute, "auth.signed_in", false)).collect();
        lines.insert(20, line(380 * minute, "auth.signed_in", true));
        lines.push(line(300 * minute, "mcp.created", true));
        lines.push(line(200 * minute, "auth.signed_in", false));
        let shown = grouped(lines.into_iter());
        let told: Vec<_> = shown.iter().map(|line| (line.at / minute, line.ok, line.times)).collect();
        assert_eq!(told, [(400, false, 40), (380, true, 1), (300, true, 1), (200, false, 1)]);
        let many = (0..30).map(|n| line(-n, "mcp.updated", true));
        assert_eq!(grouped(many).len(), ACTIVITY_SHOWN);
    }
}
