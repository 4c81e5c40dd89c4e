//! The steps about people: accounts, sessions, members, invitations, and organisations that must not work.

use domain::{
    Env, Error, OrgActor, accounts, invitations, orgs, own_account, recovery, roles, suspension, team,
};
use model::{links::Outcome, permissions::can};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::{Done, described, password, refused};
use crate::cli::{InviteCommand, MemberCommand, Output, SessionsCommand, UserCommand};

pub(super) async fn user(env: &Env, command: UserCommand) -> Done {
    match command {
        UserCommand::Create { email, password: given, name, output } => {
            let secret = password(given)?;
            let id =
                accounts::create_by_operator(env, &email, secret.expose_secret(), name.as_deref()).await?;
            Ok((json!({"id": id, "email": email}), output))
        }
        UserCommand::SetPassword { email, password: given, output } => {
            let secret = password(given)?;
            own_account::set_password_by_operator(env, &email, secret.expose_secret()).await?;
            Ok((json!({"email": email, "sessions": "ended"}), output))
        }
        UserCommand::ResetMfa { email, output } => {
            let had = domain::mfa::reset_by_operator(env, &email).await?;
            Ok((json!({"email": email, "had_second_factor": had, "sessions": "ended"}), output))
        }
        UserCommand::ResetLink { email, output } => {
            let link = recovery::link_by_operator(env, &email).await?;
            Ok((json!({"email": email, "link": link}), output))
        }
        UserCommand::SetEmail { email, new_email, output } => {
            own_account::set_address_by_operator(env, &email, &new_email).await?;
            Ok((json!({"email": new_email}), output))
        }
        UserCommand::Delete { email, output } => {
            let id = domain::deletion::delete_by_operator(env, &email).await?;
            Ok((json!({"id": id, "email": email, "deleted": true}), output))
        }
    }
}

pub(super) async fn sessions(env: &Env, command: SessionsCommand) -> Done {
    let SessionsCommand::Revoke { email, output } = command;
    let ended = own_account::end_sessions_by_operator(env, &email).await?;
    Ok((json!({"email": email, "ended": ended}), output))
}

pub(super) async fn rename(env: &Env, slug: &str, to: &str, output: Output) -> Done {
    let (org, revoked) = domain::renaming::rename(env, slug, to).await?;
    let mut answer = described(&org);
    answer["connections_revoked"] = json!(revoked);
    Ok((answer, output))
}

pub(super) async fn suspend(env: &Env, slug: &str, on: bool, output: Output) -> Done {
    let found = orgs::find_by_slug(env, slug).await?;
    suspension::set(env, found.id, on).await?;
    let mut answer = described(&found);
    answer["suspended"] = json!(on);
    Ok((answer, output))
}

pub(super) async fn member(env: &Env, command: MemberCommand) -> Done {
    match command {
        MemberCommand::Add { org, email, role: name, output } => {
            let found = orgs::find_by_slug(env, &org).await?;
            let role = roles::named(env, found.id, &name).await?;
            let user = orgs::put_member(env, &OrgActor::operator(found.id), &email, role).await?;
            Ok((json!({"org_id": found.id, "user_id": user, "email": email, "role": role}), output))
        }
        MemberCommand::Remove { org, email, output } => {
            let found = orgs::find_by_slug(env, &org).await?;
            let user = accounts::find_by_email(env, &email).await?;
            team::remove(env, &domain::pin::Guarded::operator(found.id), user).await?;
            Ok((json!({"org_id": found.id, "user_id": user, "email": email, "removed": true}), output))
        }
    }
}

pub(super) async fn invite(env: &Env, command: InviteCommand) -> Done {
    let (org, email, outcome, output) = match command {
        InviteCommand::Create { org, email, role: name, output } => {
            let actor = OrgActor::<can::TeamInvite>::operator(orgs::find_by_slug(env, &org).await?.id);
            let role = roles::named(env, actor.org(), &name).await?;
            let sent = invitations::invite(env, &actor, &email, role).await?;
            let outcome = sent.lines.into_iter().next().map(|(_, outcome)| outcome);
            (org, email, outcome.unwrap_or(Outcome::NoAddress), output)
        }
        InviteCommand::Link { org, email, output } => {
            let actor = OrgActor::operator(orgs::find_by_slug(env, &org).await?.id);
            let open = invitations::list(env, &OrgActor::operator(actor.org())).await?.open;
            let found = open.into_iter().find(|one| one.email.eq_ignore_ascii_case(email.trim()));
            let id = found.ok_or_else(|| Error::not_found("invitation"))?.id;
            (org, email, invitations::renew(env, &actor, id, true).await?, output)
        }
    };
    let link = match outcome {
        Outcome::Mailed => Value::Null,
        Outcome::Link(link) => json!(link),
        Outcome::Member => return Err(refused("this address is a member already")),
        Outcome::Invited => {
            return Err(refused("this address is invited already; invite link makes a new link"));
        }
        Outcome::NoAddress => return Err(refused("--email must be an address like name@example.com")),
        Outcome::TooMany => {
            return Err(refused("this address was sent too many invitations in the last hour"));
        }
    };
    Ok((json!({"org": org, "email": email, "mailed": link.is_null(), "link": link}), output))
}
