//! Accounts that people make for themselves, where the operator lets them.
//!
//! The address comes first: the form for everything else is behind a link that was sent to it, so each account has proven
//! its address, and nobody learns from the answer who has one (PWD-05).

use model::{AppError, ErrorKind, UserId, links::SignUp, text};
use store::Tx;

use crate::{
    Env, Error, Result,
    accounts::{MAX_NAME, SignIn, check_password, joined, signed_in},
    authz::Principal,
    change::Event,
    mail::{self, Letter, Wanted, letters},
    one_time::{self, Kind},
    orgs::{self, NewOrg},
    recovery::admit,
    request::{AuthMethod, Origin},
};

/// The refusal where the operator does not let strangers in.
fn not_open(env: &Env) -> Error {
    let message = match env.settings.sign_up {
        SignUp::Closed => "Accounts on this instance are made by whoever operates it. Ask them for one.",
        _ => {
            "Accounts on this instance are made by invitation. Ask an owner or admin of the organisation that you want to join."
        }
    };
    AppError::new(ErrorKind::Forbidden, "sign_up_closed", message).into()
}

/// Asks for a link to make an account. The answer is the same whether or not the address has one.
pub async fn ask(env: &Env, origin: &Origin, email: &str) -> Result<()> {
    if env.settings.sign_up != SignUp::Open {
        return Err(not_open(env));
    }
    let email = text::email("email", email)?;
    if admit(env, origin, "sign-up", &email).await? {
        let mut tx = env.db.write().await?;
        mail::queue(env, &mut tx, None, None, &Wanted::SignUp { email }, one_time::LIFETIME).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// Writes the mail for a queued wish: a link, or word that there is an account already.
pub(crate) async fn write_letter(env: &Env, tx: &mut Tx, email: &str) -> Result<Option<Letter>> {
    if let Some(user) = store::users::find_by_email(tx, email).await? {
        return Ok(Some(letters::has_account(&env.settings, &user.email)));
    }
    let link = one_time::make(env, tx, Kind::SignUp, None, email).await?;
    Ok(Some(letters::sign_up(email, link)))
}

/// What somebody types to finish their sign-up.
#[derive(Clone, Copy)]
pub struct NewAccount<'a> {
    /// Their name.
    pub name: &'a str,
    /// Their password.
    pub password: &'a str,
    /// Their organisation's name.
    pub org_name: &'a str,
    /// Their organisation's slug.
    pub org_slug: &'a str,
}

/// Makes the account that a link is for, and its organisation.
pub async fn complete(env: &Env, origin: &Origin, token: &str, input: &NewAccount<'_>) -> Result<SignIn> {
    if env.settings.sign_up != SignUp::Open {
        return Err(not_open(env));
    }
    let email = {
        let mut tx = env.db.read().await?;
        one_time::find(env, &mut tx, Kind::SignUp, token).await?.email
    };
    let name = text::name("name", "yourself", input.name, MAX_NAME);
    let password = check_password(env, input.password, &[&email, input.name, input.org_name]);
    let org_name = text::name("org_name", "the organisation", input.org_name, orgs::MAX_NAME);
    let slug = input
        .org_slug
        .trim()
        .parse()
        .map_err(|why: model::slug::InvalidSlug| AppError::field("org_slug", "slug", why.to_string()));
    let (name, org_name, slug) = match (name, password, org_name, slug) {
        (Ok(name), Ok(()), Ok(org_name), Ok(slug)) => (name, org_name, slug),
        (name, password, org_name, slug) => {
            return Err(joined([name.err(), password.err(), org_name.err(), slug.err()]));
        }
    };
    let hash = env.passwords.hash(env.rng.as_ref(), input.password).await?;

    let mut tx = env.db.write().await?;
    one_time::take(env, &mut tx, Kind::SignUp, token).await?;
    let user = UserId::from_uuid(env.uuid());
    match store::users::insert(&mut tx, user, &email, &name, &hash, env.now()).await {
        Err(store::Error::Taken(_)) => return Err(one_time::dead()),
        done => done?,
    }
    store::users::set_verified(&mut tx, user, env.now()).await?;
    let principal = Principal::User { id: user, name };
    let plan = env.settings.default_plan;
    let new = NewOrg { name: org_name, slug, plan, owner: user };
    let (org, mut change, event) = orgs::insert(env, tx, new, principal, origin.shown(AuthMethod::Link))
        .await
        .map_err(crate::accounts::at_org_slug)?;
    change.record(&Event::new("auth.user_created").target("user", user, &email)).await?;
    change.commit(event).await?;
    Ok(signed_in(env, user, Some(org.id), AuthMethod::Link))
}
