//! Invitations to an organisation: bound to address, organisation and role (TEN-04), good once, for a week (PWD-08).

mod ask;

use model::{
    AppError, ErrorKind, InvitationId, MemberRole, OrgId, Permission, Role, RoleKey, UserId,
    links::{Delivery, Invitation, Invitations, Outcome, Sent, SignUp},
    paths,
    permissions::can,
    text,
};
use serde_json::json;
use store::{Tx, invitations::Invitation as Row};

pub use self::ask::ask_again;
use crate::{
    Env, Error, OrgActor, Result,
    accounts::{MAX_NAME, SignIn, check_password_beside, signed_in},
    allowlist,
    authz::{self, Principal},
    both,
    change::{Change, Event},
    mail::{self, Wanted, letters},
    one_time,
    request::{AuthMethod, Origin, RequestContext},
    roles, sso, throttle,
};

const HOUR: i64 = 60 * 60 * 1000;
/// For how long an invitation's link works, milliseconds: seven days.
pub const LIFETIME: i64 = 7 * 24 * HOUR;
/// Addresses that are invited at once.
const AT_ONCE: usize = 50;
/// Invitations of an organisation in an hour.
const PER_ORG: i64 = 200;
/// Invitations to one address in an hour, from whichever organisation.
const PER_ADDRESS: i64 = 5;

/// Whether somebody with this role (`None` is the operator) may give that one: nobody gives more than they hold.
pub fn may_give(by: Option<&MemberRole>, role: &MemberRole) -> bool {
    by.is_none_or(|by| by.covers(role))
}

async fn role_of(tx: &mut Tx, org: OrgId, by: &Principal) -> Result<Option<MemberRole>> {
    match by {
        Principal::User { id, .. } => {
            let role = store::members::find_role(tx, org, *id).await?;
            role.map(Some).ok_or_else(|| authz::denied(Permission::TeamInvite).into())
        }
        Principal::Operator | Principal::System => Ok(None),
    }
}

/// The open invitations, and what whoever looks may do about them.
pub async fn list(env: &Env, actor: &OrgActor<can::TeamRead>) -> Result<Invitations> {
    let mut tx = env.db.read().await?;
    let by = role_of(&mut tx, actor.org(), actor.principal()).await?;
    let open = store::invitations::list_open(&mut tx, actor.org()).await?;
    Ok(Invitations {
        open: open
            .into_iter()
            .map(|row| Invitation {
                id: row.id,
                email: row.email,
                role: row.role,
                inviter: row.inviter_name,
                delivery: Delivery::parse(&row.mail).unwrap_or(Delivery::ByHand),
                created_at: row.created_at,
                expires_at: row.expires_at,
                asked_at: row.asked_at,
            })
            .collect(),
        roles: if actor.also(Permission::TeamInvite) {
            let built = Role::ALL.iter().map(|role| MemberRole::from(*role));
            let custom = store::roles::list(&mut tx, actor.org()).await?;
            let all = built.chain(custom.iter().map(store::roles::Role::held));
            all.filter(|role| may_give(by.as_ref(), role)).collect()
        } else {
            Vec::new()
        },
        mails: env.sends_mail(),
        now: env.now(),
    })
}

/// The addresses in a text: one a line, or with commas, semicolons or spaces between. Each once.
fn addresses(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for part in
        text.split(|c: char| c.is_whitespace() || c == ',' || c == ';').filter(|part| !part.is_empty())
    {
        let part = part.trim_matches(['<', '>']);
        if !found.iter().any(|known| store::users::email_key(known) == store::users::email_key(part)) {
            found.push(part.to_owned());
        }
    }
    found
}

/// Invites people by their addresses, all with one role. Each address has an outcome of its own: one that is a member
/// already does not keep the others from being invited.
pub async fn invite(
    env: &Env,
    actor: &OrgActor<can::TeamInvite>,
    emails: &str,
    role: impl Into<RoleKey>,
) -> Result<Sent> {
    let role = role.into();
    let wanted = addresses(emails);
    if wanted.is_empty() {
        return Err(AppError::field("emails", "required", "Enter at least one email address").into());
    }
    if wanted.len() > AT_ONCE {
        let words = format!("Invite at most {AT_ONCE} people at once");
        return Err(AppError::field("emails", "too_many", words).into());
    }
    let mut sent = Sent::default();
    for email in wanted {
        let outcome = match text::email("emails", &email) {
            Ok(email) => invite_one(env, actor, &email, role).await?,
            Err(_) => Outcome::NoAddress,
        };
        sent.lines.push((email, outcome));
    }
    Ok(sent)
}

/// Whether an address may be sent one more invitation.
async fn admit(env: &Env, org: OrgId, email: &str) -> Result<bool> {
    throttle::take_of(env, format!("invite:{org}"), PER_ORG, HOUR).await?;
    let bucket = format!("invite:account:{}", store::users::email_key(email));
    match throttle::take_of(env, bucket, PER_ADDRESS, HOUR).await {
        Ok(()) => Ok(true),
        Err(Error::App(error)) if error.kind == ErrorKind::RateLimited => Ok(false),
        Err(error) => Err(error),
    }
}

async fn invite_one(
    env: &Env,
    actor: &OrgActor<can::TeamInvite>,
    email: &str,
    key: RoleKey,
) -> Result<Outcome> {
    let org = actor.org();
    {
        let mut tx = env.db.read().await?;
        let role = roles::chosen(&mut tx, org, key).await?;
        let by = role_of(&mut tx, org, actor.principal()).await?;
        if !may_give(by.as_ref(), &role) {
            return Err(roles::above_own());
        }
        if let Some(user) = store::users::find_by_email(&mut tx, email).await?
            && store::members::find_role(&mut tx, org, user.id).await?.is_some()
        {
            return Ok(Outcome::Member);
        }
        if let Some(open) = store::invitations::find_open(&mut tx, org, email).await?
            && open.expires_at > env.now()
        {
            return Ok(Outcome::Invited);
        }
    }
    if !admit(env, org, email).await? {
        return Ok(Outcome::TooMany);
    }
    let mut change = env.change(actor).await?;
    // Again, with the organisation locked: meanwhile their own role may have changed.
    let by = role_of(change.tx(), org, actor.principal()).await?;
    let role = roles::chosen(change.tx(), org, key).await?;
    if !may_give(by.as_ref(), &role) || by.is_some_and(|by| !by.allows(Permission::TeamInvite)) {
        return Err(roles::above_own());
    }
    let now = env.now();
    if let Some(open) = store::invitations::find_open(change.tx(), org, email).await? {
        if open.expires_at > now {
            return Ok(Outcome::Invited);
        }
        // One that is too old makes room.
        store::invitations::close(change.tx(), org, open.id, "withdrawn", now).await?;
    }
    let (user, name) = match actor.principal() {
        Principal::User { id, name } => (Some(*id), name.clone()),
        other => (None, other.name().to_owned()),
    };
    let token = env.token();
    let row = Row {
        id: InvitationId::from_uuid(env.uuid()),
        org,
        email: email.to_owned(),
        role: role.clone(),
        invited_by: user,
        inviter_name: name,
        mail: if env.sends_mail() { Delivery::Queued } else { Delivery::ByHand }.as_str().to_owned(),
        created_at: now,
        expires_at: now + LIFETIME,
        state: "open".to_owned(),
        asked_at: None,
    };
    store::invitations::insert(change.tx(), &row, &one_time::hash(&token)).await?;
    let outcome = hand_over(env, change.tx(), &row, &token).await?;
    let event =
        Event::new("invitation.created").target("invitation", row.id, email).with("role", role.as_str());
    change.commit(event).await?;
    // Without mail, whoever lost what they were shown finds it with the operator: it is never lost.
    log_link(&row, &outcome);
    Ok(outcome)
}

fn log_link(row: &Row, outcome: &Outcome) {
    if let Outcome::Link(link) = outcome {
        tracing::info!(target: crate::KEPT, invitation = %row.id, link, "this invitation is to be passed on by hand");
    }
}

/// Queues the mail, or gives the link to whoever invited: it is shown to nobody else.
async fn hand_over(env: &Env, tx: &mut Tx, row: &Row, token: &str) -> Result<Outcome> {
    let link = env.settings.absolute(&paths::invitation(token));
    if !env.sends_mail() {
        return Ok(Outcome::Link(link));
    }
    let org = store::orgs::find(tx, row.org).await?.ok_or_else(|| Error::not_found("organisation"))?;
    let letter = letters::invitation(&row.email, &org.name, &row.inviter_name, &row.role, link);
    let wanted = Wanted::Letter(letter);
    mail::queue(env, tx, Some(row.org), Some(row.id), &wanted, LIFETIME).await?;
    Ok(Outcome::Mailed)
}

fn not_open() -> Error {
    Error::not_found("invitation")
}

/// Gives an invitation a new link for another seven days; the one before stops working. `by_hand` shows the link instead of
/// sending it.
pub async fn renew(
    env: &Env,
    actor: &OrgActor<can::TeamInvite>,
    id: InvitationId,
    by_hand: bool,
) -> Result<Outcome> {
    let org = actor.org();
    let email = {
        let mut tx = env.db.read().await?;
        let row = store::invitations::find(&mut tx, org, id).await?;
        row.filter(|row| row.state == "open").ok_or_else(not_open)?.email
    };
    if !admit(env, org, &email).await? {
        return Err(AppError::new(
            ErrorKind::RateLimited,
            "too_many_requests",
            "This address was sent too many invitations in the last hour. Nothing was changed; the latest link works.",
        )
        .into());
    }
    let mut change = env.change(actor).await?;
    let by = role_of(change.tx(), org, actor.principal()).await?;
    let row = store::invitations::find(change.tx(), org, id).await?;
    let mut row = row.filter(|row| row.state == "open").ok_or_else(not_open)?;
    if !may_give(by.as_ref(), &row.role) || by.is_some_and(|by| !by.allows(Permission::TeamInvite)) {
        return Err(authz::denied(Permission::TeamRoles).into());
    }
    let by_hand = by_hand || !env.sends_mail();
    let token = env.token();
    let delivery = if by_hand { Delivery::ByHand } else { Delivery::Queued };
    delivery.as_str().clone_into(&mut row.mail);
    row.expires_at = env.now() + LIFETIME;
    store::mails::delete_of_invitation(change.tx(), id).await?;
    let hash = one_time::hash(&token);
    if !store::invitations::renew(change.tx(), org, id, &hash, &row.mail, row.expires_at).await? {
        return Err(not_open());
    }
    let outcome = if by_hand {
        Outcome::Link(env.settings.absolute(&paths::invitation(&token)))
    } else {
        hand_over(env, change.tx(), &row, &token).await?
    };
    let event =
        Event::new("invitation.renewed").target("invitation", id, &row.email).with("role", row.role.as_str());
    change.commit(event).await?;
    if !env.sends_mail() {
        log_link(&row, &outcome);
    }
    Ok(outcome)
}

/// Takes an invitation back: its link stops working at once.
pub async fn withdraw(env: &Env, actor: &OrgActor<can::TeamInvite>, id: InvitationId) -> Result<()> {
    let mut change = env.change(actor).await?;
    let row = store::invitations::find(change.tx(), actor.org(), id).await?;
    let row = row.filter(|row| row.state == "open").ok_or_else(not_open)?;
    let event = take_back(env, &mut change, &row).await?;
    change.commit(event).await
}

async fn take_back(env: &Env, change: &mut Change, row: &Row) -> Result<Event> {
    store::invitations::close(change.tx(), row.org, row.id, "withdrawn", env.now()).await?;
    store::mails::delete_of_invitation(change.tx(), row.id).await?;
    Ok(Event::new("invitation.withdrawn")
        .target("invitation", row.id, &row.email)
        .with("role", row.role.as_str()))
}

/// Takes back what somebody invited to and could not any more, after their role changed (`None`: they are gone).
pub(crate) async fn take_back_of(
    env: &Env,
    change: &mut Change,
    org: OrgId,
    user: UserId,
    now: Option<&MemberRole>,
) -> Result<()> {
    for row in store::invitations::list_open(change.tx(), org).await? {
        if row.invited_by == Some(user) && !now.is_some_and(|now| may_still_give(now, &row.role)) {
            let event = take_back(env, change, &row).await?;
            change.record(&event).await?;
        }
    }
    Ok(())
}

/// Takes back every invitation to what its maker could not give any more, after a role became another.
pub(crate) async fn take_back_beyond(env: &Env, change: &mut Change, org: OrgId) -> Result<()> {
    let members = store::members::list(change.tx(), org).await?;
    for row in store::invitations::list_open(change.tx(), org).await? {
        let Some(by) = row.invited_by else { continue };
        let maker = members.iter().find(|member| member.user == by).map(|member| &member.role);
        if !maker.is_some_and(|role| may_still_give(role, &row.role)) {
            let event = take_back(env, change, &row).await?;
            change.record(&event).await?;
        }
    }
    Ok(())
}

/// Whether somebody with this role may invite to that one.
fn may_still_give(by: &MemberRole, role: &MemberRole) -> bool {
    by.allows(Permission::TeamInvite) && may_give(Some(by), role)
}

/// The invitation of a link that can be accepted, or the refusal.
async fn acceptable(env: &Env, tx: &mut Tx, token: &str) -> Result<Row> {
    let row = store::invitations::find_by_token(tx, &one_time::hash(token)).await?;
    let row = row.ok_or_else(one_time::dead)?;
    if counts(tx, &row, env.now()).await? { Ok(row) } else { Err(one_time::dead()) }
}

/// Whether an invitation can be accepted: it is open, and whoever invited still could.
pub(crate) async fn counts(tx: &mut Tx, row: &Row, now: i64) -> Result<bool> {
    if row.state != "open" || row.expires_at <= now {
        return Ok(false);
    }
    let Some(by) = row.invited_by else { return Ok(true) };
    let role = store::members::find_role(tx, row.org, by).await?;
    Ok(role.is_some_and(|role| may_still_give(&role, &row.role)))
}

/// Makes an account with the address of an invitation, and joins, from an address that the organisation lets in (IPA-03).
pub async fn accept_as_new(
    env: &Env,
    origin: &Origin,
    token: &str,
    name: &str,
    password: &str,
) -> Result<SignIn> {
    let (row, org, requires) = {
        let mut tx = env.db.read().await?;
        let row = acceptable(env, &mut tx, token).await?;
        if store::users::find_by_email(&mut tx, &row.email).await?.is_some() {
            return Err(has_account());
        }
        let org = store::orgs::find(&mut tx, row.org).await?.ok_or_else(one_time::dead)?;
        let requires = store::org_security::get(&mut tx, row.org).await?.require_mfa;
        (row, org, requires)
    };
    if env.settings.sign_up == SignUp::Closed {
        return Err(AppError::new(
            ErrorKind::Forbidden,
            "sign_up_closed",
            "Accounts on this instance are made by whoever operates it. Ask them for one, then open this link again.",
        )
        .into());
    }
    let (name, ()) = both(
        text::name("name", "yourself", name, MAX_NAME).map_err(Into::into),
        // Where a second factor has to be set up before anything else, it stands beside the password.
        check_password_beside(env, password, &[&row.email, name, &org.name], requires).map_err(Into::into),
    )?;
    let hash = env.passwords.hash(env.rng.as_ref(), password).await?;
    let mut tx = env.db.write().await?;
    store::orgs::lock(&mut tx, row.org).await?;
    let row = acceptable(env, &mut tx, token).await?;
    allowlist::admit(env, &mut tx, row.org, origin.address).await?;
    let user = UserId::from_uuid(env.uuid());
    match store::users::insert(&mut tx, user, &row.email, &name, &hash, env.now()).await {
        Err(store::Error::Taken(_)) => return Err(has_account()),
        done => done?,
    }
    let principal = Principal::User { id: user, name };
    let mut change = Change::within(env, tx, row.org, principal, origin.shown(AuthMethod::Link));
    change.record(&Event::new("auth.user_created").target("user", user, &row.email)).await?;
    let event = join(env, &mut change, &row, user, &row.email).await?;
    change.commit(event).await?;
    Ok(signed_in(env, user, Some(row.org), AuthMethod::Link))
}

fn has_account() -> Error {
    AppError::new(
        ErrorKind::Conflict,
        "email_taken",
        "This address has an account. Log in with it, then accept the invitation; nothing was changed.",
    )
    .into()
}

/// Joins with the account that is signed in, if it has the address of the invitation, from an address that the organisation
/// lets in (IPA-03). Which organisation that is.
pub async fn accept(ctx: &RequestContext, token: &str) -> Result<OrgId> {
    let env = &ctx.env;
    let signed_in = ctx.signed_in.as_ref().ok_or_else(authz::unauthenticated)?;
    let mut tx = env.db.write().await?;
    let org = acceptable(env, &mut tx, token).await?.org;
    sso::reach(&mut tx, signed_in, Some(org)).await?;
    store::orgs::lock(&mut tx, org).await?;
    let row = acceptable(env, &mut tx, token).await?;
    let user = own(&mut tx, signed_in.user, &row).await?;
    // A second factor is asked for next, before anything else: `org_security::admit` lets nobody in without.
    allowlist::admit(env, &mut tx, org, ctx.origin.address).await?;
    if store::members::find_role(&mut tx, org, user.id).await?.is_some() {
        return Err(AppError::new(
            ErrorKind::Conflict,
            "member_already",
            "You are a member of this organisation already. Nothing was changed.",
        )
        .into());
    }
    let principal = Principal::User { id: user.id, name: user.name.clone() };
    let mut change = Change::within(env, tx, org, principal, ctx.origin.clone());
    let event = join(env, &mut change, &row, user.id, &user.email).await?;
    change.commit(event).await?;
    Ok(org)
}

/// The signed-in person, if the invitation is theirs.
async fn own(tx: &mut Tx, user: UserId, row: &Row) -> Result<store::users::User> {
    let user = store::users::find(tx, user).await?.ok_or_else(authz::unauthenticated)?;
    if store::users::email_key(&user.email) == store::users::email_key(&row.email) {
        return Ok(user);
    }
    let message = format!(
        "You are logged in as {}, and this invitation is for {}. Log out, then log in with that address; nothing was changed.",
        user.email, row.email
    );
    Err(AppError::new(ErrorKind::Forbidden, "other_address", message).into())
}

async fn join(env: &Env, change: &mut Change, row: &Row, user: UserId, email: &str) -> Result<Event> {
    let now = env.now();
    if !store::invitations::close(change.tx(), row.org, row.id, "accepted", now).await? {
        return Err(one_time::dead());
    }
    // The link was sent there, or whoever invited vouches for it: only the former proves the address.
    if row.mail != Delivery::ByHand.as_str() {
        store::users::set_verified(change.tx(), user, now).await?;
    }
    store::members::insert(change.tx(), row.org, user, &row.role, now).await?;
    store::users::set_last_org(change.tx(), user, row.org).await?;
    store::sessions::renew_all(change.tx(), user).await?;
    let data = json!({"user_id": user, "email": email, "role": row.role.as_str()});
    Ok(Event::new("team.member_added")
        .target("user", user, email)
        .with("role", row.role.as_str())
        .with("invitation", row.id.to_string())
        .with("invited_by", row.inviter_name.as_str())
        .publish("team.member_added", data))
}

/// Declines: the link stops working. Whoever has it may; it takes no account.
pub async fn decline(ctx: &RequestContext, token: &str) -> Result<()> {
    let env = &ctx.env;
    let mut tx = env.db.write().await?;
    let org = acceptable(env, &mut tx, token).await?.org;
    store::orgs::lock(&mut tx, org).await?;
    let row = acceptable(env, &mut tx, token).await?;
    let by = match &ctx.signed_in {
        Some(signed_in) => {
            let user = own(&mut tx, signed_in.user, &row).await?;
            Principal::User { id: user.id, name: user.name }
        }
        None => Principal::System,
    };
    let mut change = Change::within(env, tx, org, by, ctx.origin.clone());
    if !store::invitations::close(change.tx(), org, row.id, "declined", env.now()).await? {
        return Err(one_time::dead());
    }
    let event = Event::new("invitation.declined")
        .target("invitation", row.id, &row.email)
        .with("role", row.role.as_str());
    change.commit(event).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_04_nobody_gives_more_than_they_hold() {
        let may = |by: Role, role: Role| may_give(Some(&by.into()), &role.into());
        assert!(Role::ALL.iter().all(|role| may_give(None, &(*role).into()) && may(Role::Owner, *role)));
        assert!(may(Role::Admin, Role::Admin) && !may(Role::Admin, Role::Owner));
        assert!(!may(Role::Developer, Role::Viewer), "a viewer sees the team");
        assert!(!may(Role::Member, Role::Developer) && may(Role::Member, Role::Member));
    }

    #[test]
    fn addresses_are_read_as_people_paste_them() {
        assert_eq!(
            addresses(" a@example.com, <b@example.com>;\nA@Example.com\n\n c@example.com"),
            ["a@example.com", "b@example.com", "c@example.com"]
        );
    }
}
