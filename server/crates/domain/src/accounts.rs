//! Accounts: the first owner, signing in and out, passwords.

use hmac::{Hmac, KeyInit, Mac};
use model::{AppError, ErrorKind, OrgId, UserId, orgs::Org, paths, text};
use sha2::{Digest, Sha256};
use store::Tx;

use crate::{
    Env, Error, Result,
    authz::{self, Principal},
    change::{Event, note},
    mfa, notices,
    orgs::{self, NewOrg},
    request::{AuthMethod, BySso, Origin, RequestContext},
    throttle,
    trips::Who,
    trusted_browsers,
};

/// The longest display name in characters.
pub const MAX_NAME: usize = 64;

fn hash_token(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}

/// The set-up link of an instance that nobody owns yet: a new one at each start, the older one dies. `None` once
/// somebody has an account.
pub async fn setup_link(env: &Env) -> Result<Option<String>> {
    let mut tx = env.db.write().await?;
    if store::users::count(&mut tx).await? > 0 {
        store::setup_links::delete_all(&mut tx).await?;
        tx.commit().await?;
        return Ok(None);
    }
    let token = env.token();
    store::setup_links::replace(&mut tx, &hash_token(&token), env.now()).await?;
    tx.commit().await?;
    Ok(Some(env.settings.absolute(&paths::setup(&token))))
}

/// Whether somebody has an account.
pub async fn is_set_up(env: &Env) -> Result<bool> {
    let mut tx = env.db.read().await?;
    Ok(store::users::count(&mut tx).await? > 0)
}

/// Whether this is the set-up link's token. Looking changes nothing.
pub async fn setup_link_works(env: &Env, token: &str) -> Result<bool> {
    let mut tx = env.db.read().await?;
    Ok(store::users::count(&mut tx).await? == 0
        && store::setup_links::matches(&mut tx, &hash_token(token)).await?)
}

/// What the first owner types.
#[derive(Clone)]
pub struct FirstOwner<'a> {
    /// Their name.
    pub name: &'a str,
    /// Their address.
    pub email: &'a str,
    /// Their password.
    pub password: &'a str,
    /// Their organisation's name.
    pub org_name: &'a str,
    /// Their organisation's slug.
    pub org_slug: &'a str,
}

/// Uses the set-up link: makes the first owner and their organisation. Of two at once, one succeeds.
pub async fn complete_setup(
    env: &Env,
    origin: &Origin,
    token: &str,
    input: &FirstOwner<'_>,
) -> Result<SignIn> {
    if !setup_link_works(env, token).await? {
        return Err(setup_link_used());
    }
    let name = text::name("name", "yourself", input.name, MAX_NAME);
    let email = text::email("email", input.email);
    let org_name = text::name("org_name", "the organisation", input.org_name, orgs::MAX_NAME);
    let slug = input
        .org_slug
        .trim()
        .parse()
        .map_err(|why: model::slug::InvalidSlug| AppError::field("org_slug", "slug", why.to_string()));
    let password = check_password(env, input.password, &[input.email, input.name, input.org_name]);
    let (name, email, org_name, slug) = match (name, email, org_name, slug, password) {
        (Ok(name), Ok(email), Ok(org_name), Ok(slug), Ok(())) => (name, email, org_name, slug),
        (name, email, org_name, slug, password) => {
            // In the order of the form.
            return Err(joined([name.err(), email.err(), password.err(), org_name.err(), slug.err()]));
        }
    };
    let hash = env.passwords.hash(env.rng.as_ref(), input.password).await?;

    let mut tx = env.db.write().await?;
    if store::users::count(&mut tx).await? > 0
        || !store::setup_links::take(&mut tx, &hash_token(token)).await?
    {
        return Err(setup_link_used());
    }
    let user = UserId::from_uuid(env.uuid());
    store::users::insert(&mut tx, user, &email, &name, &hash, env.now()).await?;
    let principal = Principal::User { id: user, name: name.clone() };
    let plan = env.settings.default_plan;
    let (org, mut change, event) = orgs::insert(
        env,
        tx,
        NewOrg { name: org_name, slug, plan, owner: user },
        principal,
        origin.shown(AuthMethod::Link),
    )
    .await
    .map_err(at_org_slug)?;
    change.record(&Event::new("auth.setup_completed").target("user", user, &email)).await?;
    change.commit(event).await?;
    Ok(signed_in(env, user, Some(org.id), AuthMethod::Link))
}

/// In the set-up form the field of the slug has another name.
pub(crate) fn at_org_slug(error: Error) -> Error {
    match error {
        Error::App(mut app) => {
            app.fields
                .iter_mut()
                .filter(|at| at.field == "slug")
                .for_each(|at| "org_slug".clone_into(&mut at.field));
            Error::App(app)
        }
        other => other,
    }
}

fn setup_link_used() -> Error {
    AppError::new(
        ErrorKind::NotFound,
        "setup_link_used",
        "This set-up link has been used or replaced. Gatehouse prints a new one at each start until somebody has set it up; if you have an account, log in.",
    )
    .into()
}

/// Joins the errors of several fields into one, so that a person sees all at once.
pub(crate) fn joined(errors: impl IntoIterator<Item = Option<AppError>>) -> Error {
    let error = errors.into_iter().flatten().reduce(AppError::and);
    error.map_or_else(|| Error::Internal("no error to tell".into()), Into::into)
}

pub(crate) fn check_password(
    env: &Env,
    password: &str,
    about: &[&str],
) -> core::result::Result<(), AppError> {
    env.passwords.check("password", password, about)
}

/// As [`check_password`]; with a second factor beside it a shorter one will do (PWD-03).
pub(crate) fn check_password_beside(
    env: &Env,
    password: &str,
    about: &[&str],
    second_factor: bool,
) -> core::result::Result<(), AppError> {
    if second_factor {
        env.passwords.check_with_second_factor("password", password, about)
    } else {
        check_password(env, password, about)
    }
}

/// The first user and organisation by the CLI. Done again with the same address and slug, it changes nothing.
pub async fn setup_by_operator(
    env: &Env,
    email: &str,
    password: &str,
    org_name: &str,
    org_slug: &str,
) -> Result<(UserId, Org)> {
    let user = match create_by_operator(env, email, password, None).await {
        Ok(user) => user,
        Err(Error::App(error)) if error.code == "email_taken" => {
            let mut tx = env.db.read().await?;
            store::users::find_by_email(&mut tx, email).await?.ok_or_else(|| Error::not_found("user"))?.id
        }
        Err(error) => return Err(error),
    };
    match orgs::find_by_slug(env, org_slug).await {
        Ok(org) => {
            let mut tx = env.db.read().await?;
            if store::members::find_role(&mut tx, org.id, user).await?.is_none() {
                return Err(AppError::new(
                    ErrorKind::Conflict,
                    "slug_taken",
                    "This slug belongs to an organisation that the user is not a member of. Choose another slug; no organisation was made.",
                )
                .into());
            }
            Ok((user, org))
        }
        Err(Error::App(error)) if error.kind == ErrorKind::NotFound => {
            Ok((user, orgs::create_by_operator(env, org_name, org_slug, email, None).await?))
        }
        Err(error) => Err(error),
    }
}

/// Makes an account, as the operator.
pub async fn create_by_operator(
    env: &Env,
    email: &str,
    password: &str,
    name: Option<&str>,
) -> Result<UserId> {
    let email = text::email("email", email)?;
    let name = match name {
        Some(name) => text::name("name", "the person", name, MAX_NAME)?,
        None => email.split('@').next().unwrap_or_default().chars().take(MAX_NAME).collect(),
    };
    {
        let mut tx = env.db.read().await?;
        if store::users::find_by_email(&mut tx, &email).await?.is_some() {
            return Err(email_taken());
        }
    }
    check_password(env, password, &[&email, &name])?;
    let hash = env.passwords.hash(env.rng.as_ref(), password).await?;
    let mut tx = env.db.write().await?;
    let id = UserId::from_uuid(env.uuid());
    match store::users::insert(&mut tx, id, &email, &name, &hash, env.now()).await {
        Err(store::Error::Taken(_)) => return Err(email_taken()),
        done => done?,
    }
    store::setup_links::delete_all(&mut tx).await?;
    let event = Event::new("auth.user_created").target("user", id, &email);
    note(env, &mut tx, &[], &Principal::Operator, &Origin::default(), &event, "ok").await?;
    tx.commit().await?;
    Ok(id)
}

fn email_taken() -> Error {
    let mut error = AppError::field("email", "email_taken", "This address has an account already");
    error.kind = ErrorKind::Conflict;
    error.into()
}

/// A sign-in that worked.
#[derive(Clone, Debug)]
pub struct SignIn {
    /// Whose.
    pub user: UserId,
    /// The organisation that the session opens.
    pub org: Option<OrgId>,
    /// The value of the cookie that lets this browser keep its own count of failures (PWD-06).
    pub device: String,
    /// How they showed who they are.
    pub by: AuthMethod,
    /// By whose provider; `None` by password.
    pub sso: Option<BySso>,
}

/// What a right password leads to.
#[derive(Clone, Debug)]
pub enum AfterPassword {
    /// A session: the account has no second factor.
    SignedIn(SignIn),
    /// The second step, which the value in a cookie of this browser stands for; nobody is signed in yet (MFA-03).
    SecondFactor(String),
}

/// What a browser that logs in has shown before.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// The cookie of an earlier sign-in from it (PWD-06).
    pub device: Option<&'a str>,
    /// The cookie that lets it skip the second step.
    pub trusted: Option<&'a str>,
}

impl<'a> From<Option<&'a str>> for Known<'a> {
    fn from(device: Option<&'a str>) -> Self {
        Self { device, trusted: None }
    }
}

/// Checks address and password. Unknown addresses and wrong passwords answer the same, in the same time (PWD-05), and
/// both are counted (PWD-06).
pub async fn sign_in<'a>(
    env: &Env,
    origin: &Origin,
    email: &str,
    password: &str,
    browser: impl Into<Known<'a>>,
) -> Result<AfterPassword> {
    let Known { device, trusted } = browser.into();
    let email_key = store::users::email_key(email);
    let user = {
        let mut tx = env.db.read().await?;
        store::users::find_by_email(&mut tx, email).await?
    };
    let known = device.filter(|cookie| user.as_ref().is_some_and(|user| is_device_of(env, cookie, user.id)));
    let attempt = throttle::begin(env, &email_key, known, origin.address).await;
    if throttle::is_limit(&attempt) {
        let stranger =
            || origin.address.map_or(Who::Others, |address| Who::Address(throttle::network(address)));
        let who = user.as_ref().map_or_else(stranger, |user| Who::Account(user.id));
        env.oauth.trips.note(who, "log-ins", origin.address);
    }
    let attempt = attempt?;
    let hash = user.as_ref().map(|user| user.password_hash.as_str());
    let verified = match env.passwords.verify(hash, password).await {
        Ok(verified) => verified,
        Err(busy) => {
            attempt.not_made(env).await?;
            return Err(busy.into());
        }
    };
    let mut tx = env.db.write().await?;
    let event = Event::new("auth.signed_in").with("method", "password");
    let Some(user) = user.as_ref().filter(|_| verified.ok) else {
        // The address may be a password typed into the wrong field, so an unknown one is not written down.
        let by = &Principal::System;
        match &user {
            Some(user) => {
                note_of_user(env, &mut tx, user.id, by, &origin.stranger(), &event, "failed").await?;
            }
            None => note(env, &mut tx, &[], by, &origin.stranger(), &event, "failed").await?,
        }
        tx.commit().await?;
        return Err(AppError::new(
            ErrorKind::Unauthenticated,
            "wrong_credentials",
            "Email or password is not right.",
        )
        .into());
    };
    let failures = attempt.failures_before();
    attempt.succeeded(&mut tx).await?;
    let by = Principal::User { id: user.id, name: user.name.clone() };
    let has_factor = store::factors::has(&mut tx, user.id).await?;
    let skips = has_factor && trusted_browsers::skips(env, &mut tx, user.id, trusted).await?;
    let step =
        if has_factor && !skips { Some(mfa::begin(env, &mut tx, user, failures).await?) } else { None };
    // Who has come half way has not logged in: the mail goes with the second step.
    if step.is_none() {
        notices::signed_in(env, &mut tx, user, known.is_some(), failures, origin).await?;
    }
    let event = match (&step, skips) {
        (Some(_), _) => Event::new("auth.password_accepted"),
        (None, true) => event.with("second_factor", "trusted_browser"),
        (None, false) => event,
    };
    let event = event.target("user", user.id, &user.email);
    let origin = &origin.shown(AuthMethod::Password);
    note_of_user(env, &mut tx, user.id, &by, origin, &event, "ok").await?;
    let org = org_in_view(&mut tx, user).await?;
    tx.commit().await?;
    // The next sign-in will do as well, should the gate be full now.
    if verified.needs_rehash
        && let Ok(hash) = env.passwords.hash(env.rng.as_ref(), password).await
    {
        let mut tx = env.db.write().await?;
        store::users::set_password_hash(&mut tx, user.id, &hash, env.now()).await?;
        tx.commit().await?;
    }
    Ok(match step {
        Some(step) => AfterPassword::SecondFactor(step),
        None => AfterPassword::SignedIn(signed_in(env, user.id, org, AuthMethod::Password)),
    })
}

/// A sign-in of somebody who has shown all that is asked of them.
pub(crate) fn signed_in(env: &Env, user: UserId, org: Option<OrgId>, by: AuthMethod) -> SignIn {
    SignIn { user, org, device: device_cookie(env, user), by, sso: None }
}

/// The organisation that a new session opens.
pub(crate) async fn org_in_view(tx: &mut Tx, user: &store::users::User) -> Result<Option<OrgId>> {
    match authz::membership(tx, user, None).await {
        Ok((org, _)) => Ok(Some(org)),
        Err(Error::App(error)) if error.kind == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Notes that somebody signed out; the caller ends the session.
pub async fn sign_out(ctx: &RequestContext) -> Result<()> {
    let Some(signed_in) = &ctx.signed_in else { return Ok(()) };
    let mut tx = ctx.env.db.write().await?;
    if let Some(user) = store::users::find(&mut tx, signed_in.user).await? {
        let event = Event::new("auth.signed_out").target("user", user.id, &user.email);
        let by = Principal::User { id: user.id, name: user.name };
        note_of_user(&ctx.env, &mut tx, user.id, &by, &ctx.origin, &event, "ok").await?;
    }
    tx.commit().await?;
    Ok(())
}

/// The account with an address, for the operator.
pub async fn find_by_email(env: &Env, email: &str) -> Result<UserId> {
    let mut tx = env.db.read().await?;
    Ok(store::users::find_by_email(&mut tx, email).await?.ok_or_else(|| Error::not_found("user"))?.id)
}

/// Changes the signed-in person's display name.
pub async fn rename(ctx: &RequestContext, name: &str) -> Result<()> {
    let signed_in = ctx.signed_in.as_ref().ok_or_else(authz::unauthenticated)?;
    let name = text::name("name", "yourself", name, MAX_NAME)?;
    let mut tx = ctx.env.db.write().await?;
    let user = store::users::find(&mut tx, signed_in.user).await?.ok_or_else(authz::unauthenticated)?;
    store::users::set_name(&mut tx, user.id, &name, ctx.env.now()).await?;
    let event = Event::new("profile.updated").target("user", user.id, &user.email).changed(
        "name",
        user.name.clone(),
        name.as_str(),
    );
    let by = Principal::User { id: user.id, name: user.name };
    note_of_user(&ctx.env, &mut tx, user.id, &by, &ctx.origin, &event, "ok").await?;
    tx.commit().await?;
    Ok(())
}

/// Appends what somebody did, or what was done to their account, to the log of each of their organisations.
pub(crate) async fn note_of_user(
    env: &Env,
    tx: &mut Tx,
    user: UserId,
    by: &Principal,
    origin: &Origin,
    event: &Event,
    result: &str,
) -> Result<()> {
    let mut orgs: Vec<OrgId> =
        store::orgs::list_of_user(tx, user).await?.into_iter().map(|org| org.id).collect();
    // Each is locked in turn: in one order for everybody, so that two never wait for each other.
    orgs.sort_unstable();
    note(env, tx, &orgs, by, origin, event, result).await
}

/// A cookie that proves an earlier sign-in of this account from this browser: a random name and a MAC over it and the
/// account. It opens nothing; it only keeps strangers' failures from locking a known browser out.
pub(crate) fn device_cookie(env: &Env, user: UserId) -> String {
    let mut name = [0; 16];
    env.rng.fill(&mut name);
    let name = data_encoding::BASE64URL_NOPAD.encode(&name);
    format!("{name}.{}", device_mac(env, &name, user))
}

fn device_mac(env: &Env, name: &str, user: UserId) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(env.sealer.derive("sign-in device").as_slice())
        .expect("any length of key will do");
    mac.update(name.as_bytes());
    mac.update(user.uuid().as_bytes());
    data_encoding::BASE64URL_NOPAD.encode(&mac.finalize().into_bytes())
}

pub(crate) fn is_device_of(env: &Env, cookie: &str, user: UserId) -> bool {
    use subtle::ConstantTimeEq as _;
    cookie.split_once('.').is_some_and(|(name, mac)| {
        name.len() == 22 && bool::from(device_mac(env, name, user).as_bytes().ct_eq(mac.as_bytes()))
    })
}
