//! Somebody on the way to their organisation's provider and back (RFC 6749 §4.1, RFC 7636, RFC 9207, `OpenID` Connect
//! Core §3.1). `state` counts once, for ten minutes, in the browser that it was made in.

use model::{
    AppError, ErrorKind, OrgId, paths,
    permissions::can,
    sso_login::{LoginLink, LoginTest},
    text,
};
use sha2::{Digest as _, Sha256};
use store::{
    Tx,
    sso::{Attempt, Provider},
};

use super::{
    domains,
    id_token::{self, Expected, Failed, Looked, Person},
    is_included, join,
    provider::{self, Secrets, Server},
};
use crate::{
    Env, Error, OrgActor, Result, accounts,
    accounts::SignIn,
    authz::{Principal, unauthenticated},
    change::{Event, note},
    idp::{config::entitled, jwks::KeySource},
    key_format, mfa, notices,
    request::{AuthMethod, BySso, RequestContext},
    suspension, throttle,
    upstream_oauth::flow::Return,
};

const MINUTE: i64 = 60 * 1000;
/// How long a person may stay away, milliseconds.
const AWAY: i64 = 10 * MINUTE;
/// Log-ins that are begun from one address in a minute.
const BEGINNINGS: i64 = 60;
/// After so long a provider is asked anew what it says about itself, milliseconds.
const STALE: i64 = 60 * MINUTE;
/// The longest code that is taken, bytes.
const LONGEST_CODE: usize = 4096;

/// Where providers send people back to: one address for all of them.
pub fn callback(env: &Env) -> String {
    env.settings.absolute(paths::sso_callback())
}

fn gone(message: &str) -> Error {
    AppError::new(ErrorKind::Invalid, "sign_in_gone", message).into()
}

/// What tells this browser from others before anybody is signed in.
fn browser(ctx: &RequestContext) -> [u8; 32] {
    Sha256::digest(ctx.form_token.as_bytes()).into()
}

/// Where somebody with this address logs in. Whether they have an account is no part of the answer.
pub async fn begin(ctx: &RequestContext, email: &str, next: &str) -> Result<LoginLink> {
    let env = &ctx.env;
    let email = text::email("email", email)?;
    let address = ctx.origin.address_text();
    throttle::take_of(env, format!("sso:begin:{address}"), BEGINNINGS, MINUTE).await?;
    let nobody = || {
        AppError::field(
            "email",
            "no_sso",
            "No organisation here has people of this domain log in with SSO. Check the address, or log in with your password",
        )
    };
    let (org, row) = {
        let mut tx = env.db.read().await?;
        let owner = match domains::of_address(&email) {
            Some(domain) => store::sso_domains::find_owner(&mut tx, &domain).await?,
            None => None,
        };
        let org = owner.ok_or_else(nobody)?;
        let row = store::sso::find(&mut tx, org).await?.filter(|row| row.enabled).ok_or_else(nobody)?;
        // Whoever comes has a password, or can have one sent: that is what opens the organisation now.
        if !is_included(&mut tx, org).await? {
            return Err(nobody().into());
        }
        suspension::check(&mut tx, org).await?;
        (org, row)
    };
    go(ctx, org, row, None, next, Some(&email)).await
}

/// Where somebody who configures it goes to try it out. Nobody is logged in by that.
pub async fn begin_test(ctx: &RequestContext, actor: &OrgActor<can::SsoManage>) -> Result<LoginLink> {
    let tester = ctx.signed_in.as_ref().ok_or_else(unauthenticated)?.user;
    let row = {
        let mut tx = ctx.env.db.read().await?;
        let org = store::orgs::find(&mut tx, actor.org()).await?;
        entitled(org.ok_or_else(|| Error::not_found("organisation"))?.plan)?;
        store::sso::find(&mut tx, actor.org()).await?.ok_or_else(|| Error::not_found("provider"))?
    };
    go(ctx, actor.org(), row, Some(tester), paths::settings_sso_login(), None).await
}

async fn go(
    ctx: &RequestContext,
    org: OrgId,
    row: Provider,
    tester: Option<model::UserId>,
    next: &str,
    hint: Option<&str>,
) -> Result<LoginLink> {
    let env = &ctx.env;
    let server = current(env, org, &row, tester.is_some()).await?;
    let (state, secrets) = (env.token(), Secrets { nonce: env.token(), verifier: env.token() });
    let hash = key_format::hash(&state);
    let mut tx = env.db.write().await?;
    let known = provider::known(env, &mut tx, org, &row).await?;
    let url = provider::authorize_url(env, &server, &known, &state, &secrets, hint)?;
    let place = data_encoding::HEXLOWER.encode(&hash);
    let attempt = Attempt {
        org,
        tester,
        secrets_sealed: provider::seal_attempt(env, &mut tx, org, &place, &secrets).await?,
        issuer: row.issuer,
        client_id: row.client_id,
        next: paths::safe_next(Some(next)).to_owned(),
        expires_at: env.now() + AWAY,
    };
    store::sso::insert_attempt(&mut tx, &hash, &browser(ctx), &attempt).await?;
    tx.commit().await?;
    Ok(LoginLink { url, host: server.host() })
}

/// The provider as it describes itself today, or did when it last answered.
async fn current(env: &Env, org: OrgId, row: &Provider, anew: bool) -> Result<Server> {
    let kept = Server::of(row)?;
    if !anew && env.now() < row.discovered_at + STALE {
        return Ok(kept);
    }
    match provider::discover(env, &row.issuer).await {
        Ok(server) => {
            let mut tx = env.db.write().await?;
            store::sso::set_server(&mut tx, org, &row.issuer, &server.to_text()?, env.now()).await?;
            tx.commit().await?;
            Ok(server)
        }
        Err(why) => {
            tracing::info!(%why, org.id = %org, "an identity provider could not be asked anew");
            Ok(kept)
        }
    }
}

/// What came of it.
#[derive(Clone, Debug)]
pub enum Finished {
    /// Somebody is logged in, and goes on to this path.
    SignedIn(SignIn, String),
    /// Their account's second factor is next, which the value in a cookie stands for; then this path.
    SecondFactor(String, String),
    /// It was tried out; what came of it is on the page of the settings.
    Tested,
}

/// Takes the person back.
pub async fn finish(ctx: &RequestContext, back: &Return) -> Result<Finished> {
    let env = &ctx.env;
    let state = back.state.as_deref().ok_or_else(|| {
        gone("The identity provider sent you back without what tells where you came from. Nothing was changed: log in again.")
    })?;
    let hash = key_format::hash(state);
    let (attempt, row, included, secrets) = {
        let mut tx = env.db.write().await?;
        let attempt = store::sso::take_attempt(&mut tx, &hash, &browser(ctx)).await?;
        let attempt = attempt.ok_or_else(|| {
            gone("This log-in was not begun in this browser, or is done already. Nothing was changed: log in again, and allow cookies for this site.")
        })?;
        let row = store::sso::find(&mut tx, attempt.org).await?;
        let included = is_included(&mut tx, attempt.org).await?;
        let place = data_encoding::HEXLOWER.encode(&hash);
        let secrets =
            provider::open_attempt(env, &mut tx, attempt.org, &place, &attempt.secrets_sealed).await?;
        tx.commit().await?;
        (attempt, row, included, secrets)
    };
    if attempt.expires_at <= env.now() {
        return Err(gone("This log-in took longer than ten minutes. Nothing was changed: log in again."));
    }
    let row = row.filter(|row| {
        included
            && row.issuer == attempt.issuer
            && row.client_id == attempt.client_id
            && (row.enabled || attempt.tester.is_some())
    });
    let row = row.ok_or_else(|| {
        gone("The identity provider of your organisation was changed or switched off while you were away. Nothing was changed: log in again.")
    })?;
    let mut looked = Looked::default();
    let person = answered(env, attempt.org, &row, &secrets, back, &mut looked).await?;
    if attempt.tester.is_some() {
        tested(ctx, &attempt, &row, person, looked).await?;
        return Ok(Finished::Tested);
    }
    let Ok(person) = person else {
        failed(ctx, attempt.org, &looked.why()).await?;
        return Err(not_believed(env, attempt.org, &looked).await?);
    };
    let done = log_in(ctx, &attempt, &row, &person).await;
    if let Err(Error::App(error)) = &done {
        failed(ctx, attempt.org, &error.code).await?;
    }
    done
}

/// What the provider sent along with the person, judged.
async fn answered(
    env: &Env,
    org: OrgId,
    row: &Provider,
    secrets: &Secrets,
    back: &Return,
    looked: &mut Looked,
) -> Result<core::result::Result<Person, Failed>> {
    let server = Server::of(row)?;
    match back.iss.as_deref() {
        Some(iss) if iss == row.issuer => looked.pass("answer_iss", "Answering issuer (iss)", iss),
        None if !server.iss => {}
        _ => {
            let detail = "Somebody else than the provider sent you back, or it did not say who it is although it promises to.";
            return Ok(Err(looked.fail("answer_iss", "Answering issuer (iss)", detail)));
        }
    }
    if let Some(error) = &back.error {
        let plain: String =
            error.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(64).collect();
        let detail = format!("The provider let nobody in ({plain}). Look there who may use this client.");
        return Ok(Err(looked.fail("refused", "Log-in at the provider", detail)));
    }
    let Some(code) = back.code.as_deref().filter(|code| code.len() <= LONGEST_CODE) else {
        return Ok(Err(looked.fail("code", "Code", "The provider sent none.")));
    };
    looked.pass("code", "Code", "The provider sent one.");
    let known = {
        let mut tx = env.db.read().await?;
        provider::known(env, &mut tx, org, row).await?
    };
    let token = match provider::id_token(env, &server, &known, code, secrets).await? {
        Ok(token) => token,
        Err(why) => return Ok(Err(looked.fail("token", "ID token", why))),
    };
    looked.pass("token", "ID token", "Issued for the code.");
    let expected = Expected {
        issuer: &row.issuer,
        client_id: &row.client_id,
        nonce: &secrets.nonce,
        keys: KeySource { org, id: row.id, jwks_uri: server.jwks_uri, es256: true },
    };
    Ok(id_token::judge(env, &expected, &token, looked).await)
}

/// Notes a log-in that failed.
async fn failed(ctx: &RequestContext, org: OrgId, why: &str) -> Result<()> {
    let env = &ctx.env;
    let mut tx = env.db.write().await?;
    let event = Event::new("auth.signed_in").with("method", "sso").with("reason", why);
    note(env, &mut tx, &[org], &Principal::System, &ctx.origin, &event, "failed").await?;
    Ok(tx.commit().await?)
}

/// The refusal of an answer. What was wrong with it is for whoever manages the provider.
async fn not_believed(env: &Env, org: OrgId, looked: &Looked) -> Result<Error> {
    let mut tx = env.db.read().await?;
    let name = super::name_of(&mut tx, org).await?;
    let why = looked.why();
    let message = if why == "refused" {
        format!(
            "The identity provider of {name} did not let you in. Nothing was changed: ask whoever manages it."
        )
    } else {
        format!(
            "What the identity provider of {name} answered was not accepted ({why}). Nothing was changed: log in again. If it stays so, tell an owner of {name}; the test on the SSO page says more."
        )
    };
    Ok(AppError::new(ErrorKind::Invalid, "sso_refused", message).into())
}

async fn log_in(
    ctx: &RequestContext,
    attempt: &Attempt,
    row: &Provider,
    person: &Person,
) -> Result<Finished> {
    let (env, org) = (&ctx.env, attempt.org);
    {
        let mut tx = env.db.read().await?;
        suspension::check(&mut tx, org).await?;
        crate::allowlist::admit(env, &mut tx, org, ctx.origin.address).await?;
    }
    let origin = ctx.origin.shown(AuthMethod::Sso);
    let (user, mut change) = join::person(env, &origin, org, row, person).await?;
    let step = if !person.second_factor && store::factors::has(change.tx(), user.id).await? {
        Some(mfa::begin_by_sso(env, change.tx(), &user, org).await?)
    } else {
        None
    };
    let known = ctx.device.as_deref().is_some_and(|cookie| accounts::is_device_of(env, cookie, user.id));
    if step.is_none() {
        notices::signed_in(env, change.tx(), &user, known, 0, &origin).await?;
    }
    let action = if step.is_some() { "auth.sso_accepted" } else { "auth.signed_in" };
    let event = Event::new(action)
        .target("user", user.id, &user.email)
        .with("method", "sso")
        .with("issuer", row.issuer.as_str())
        .with("second_factor", person.second_factor);
    change.commit(event).await?;
    let next = attempt.next.clone();
    if let Some(step) = step {
        return Ok(Finished::SecondFactor(step, next));
    }
    let sso = Some(BySso { org, second_factor: person.second_factor });
    Ok(Finished::SignedIn(
        SignIn { sso, ..accounts::signed_in(env, user.id, Some(org), AuthMethod::Sso) },
        next,
    ))
}

/// Keeps what came of a test, for the page.
async fn tested(
    ctx: &RequestContext,
    attempt: &Attempt,
    row: &Provider,
    person: core::result::Result<Person, Failed>,
    mut looked: Looked,
) -> Result<()> {
    let env = &ctx.env;
    let mut there = ctx.clone();
    let signed_in = ctx.signed_in.as_ref().ok_or_else(unauthenticated)?;
    // The organisation that it was begun in, whichever is in view by now.
    there.signed_in = Some(crate::request::SignedIn { org: Some(attempt.org), ..signed_in.clone() });
    there.wants = crate::request::Wants::Change { made_in: Some(attempt.org) };
    let actor = OrgActor::<can::SsoManage>::require(&there).await?;
    if attempt.tester != Some(signed_in.user) {
        return Err(gone("This test was begun by somebody else. Nothing was changed: begin it again."));
    }
    let mut change = env.change(&actor).await?;
    let passed = match &person {
        Ok(person) => address(change.tx(), attempt.org, person, &mut looked).await?,
        Err(Failed) => false,
    };
    let outcome = LoginTest {
        at: env.now(),
        by: actor.principal().name().to_owned(),
        passed,
        checks: looked.checks,
        claims: looked.claims,
    };
    let text = serde_json::to_string(&outcome).map_err(|why| Error::Internal(why.to_string()))?;
    let asked = (row.issuer.as_str(), row.client_id.as_str());
    if !store::sso::set_tested(change.tx(), attempt.org, asked, &text, passed).await? {
        return Err(gone(
            "The provider was changed while you were away. Nothing was kept: begin the test again.",
        ));
    }
    let event = Event::new("sso.login_tested")
        .target("identity_provider", row.id, &row.issuer)
        .with("passed", passed);
    change.commit(event).await
}

/// Whether somebody new could come with this address.
async fn address(tx: &mut Tx, org: OrgId, person: &Person, looked: &mut Looked) -> Result<bool> {
    let email = person.email.as_deref().and_then(|email| text::email("email", email).ok());
    let Some(email) = email else {
        looked.fail("email", "Address (email)", "It is not there. Have the provider send the claim email.");
        return Ok(false);
    };
    if !person.email_verified {
        let detail = format!(
            "The provider does not vouch for {email}: email_verified is not true. Nobody new can come."
        );
        looked.fail("email_verified", "Verified address (email_verified)", detail);
        return Ok(false);
    }
    looked.pass("email", "Address (email)", format!("{email}, verified by the provider."));
    let owner = match domains::of_address(&email) {
        Some(domain) => store::sso_domains::find_owner(tx, &domain).await?,
        None => None,
    };
    if owner == Some(org) {
        looked.pass("domain", "Domain", "Proven by this organisation.");
        Ok(true)
    } else {
        let detail = "This organisation has not proven it. Add it below, then test again.";
        looked.fail("domain", "Domain", detail);
        Ok(false)
    }
}
