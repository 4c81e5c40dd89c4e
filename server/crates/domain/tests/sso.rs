//! Logging in at an organisation's own provider on both databases, with a provider and a name server in the process.

mod signing;

use std::sync::{Arc, Mutex};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use domain::{
    Env, Error, OrgActor,
    accounts::{self, AfterPassword, SignIn},
    deletion, env_test, invitations,
    mfa::{self, Shown},
    orgs::{self, OperatorChanges},
    own_account,
    request::{BySso, RequestContext},
    roles,
    sso::{
        domains,
        flow::{self, Finished},
        recheck::recheck,
        settings::{self, Input},
    },
    step_up::{self, Proven},
    team,
    testing::{NameServer, PASSWORD, TestEnv, TestMember},
    upstream_oauth::flow::Return,
};
use model::{
    AppError, ErrorKind, Plan, Role, UserId,
    permissions::can,
    sso_login::{SsoLoginPage, SsoMode},
};
use serde_json::{Value, json};
use signing::{b64, jwk, token};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use url::Url;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// What the provider answers: its metadata, its keys, and the status and body of its token endpoint. `None` hangs up.
#[derive(Default)]
struct Answers {
    metadata: Value,
    keys: Value,
    token: Option<(u16, Value)>,
    /// The bodies that the token endpoint got.
    asked: Vec<String>,
}

struct Idp {
    issuer: String,
    answers: Arc<Mutex<Answers>>,
}

impl Idp {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let answers = Arc::new(Mutex::new(Answers {
            metadata: json!({
                "issuer": issuer,
                "authorization_endpoint": format!("{issuer}/authorize"),
                "token_endpoint": format!("{issuer}/token"),
                "jwks_uri": format!("{issuer}/keys"),
            }),
            keys: json!({"keys": [jwk(0, "a")]}),
            ..Answers::default()
        }));
        let known = answers.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let known = known.clone();
                tokio::spawn(async move {
                    let mut buffer = vec![0; 16 * 1024];
                    let mut length = 0;
                    // Head and body may come in pieces.
                    loop {
                        let read = stream.read(&mut buffer[length..]).await.unwrap_or(0);
                        length += read;
                        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                        let whole = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
                            let wanted = head.lines().find_map(|line| {
                                line.to_ascii_lowercase()
                                    .strip_prefix("content-length:")?
                                    .trim()
                                    .parse::<usize>()
                                    .ok()
                            });
                            body.len() >= wanted.unwrap_or(0)
                        });
                        if read == 0 || whole {
                            break;
                        }
                    }
                    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                    let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
                    let answer = {
                        let mut known = known.lock().unwrap();
                        match path.as_str() {
                            "/.well-known/openid-configuration" => Some((200, known.metadata.clone())),
                            "/keys" => Some((200, known.keys.clone())),
                            "/token" => {
                                known
                                    .asked
                                    .push(text.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned());
                                known.token.clone()
                            }
                            _ => Some((404, Value::Null)),
                        }
                    };
                    let Some((status, body)) = answer else { return };
                    let body = body.to_string();
                    let head = format!(
                        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                        body.len()
                    );
                    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
                });
            }
        });
        Self { issuer, answers }
    }

    fn input(&self) -> Input {
        Input {
            issuer: self.issuer.clone(),
            client_id: "gatehouse".to_owned(),
            client_secret: "a secret".to_owned().into(),
            default_role: "member".to_owned(),
            mode: SsoMode::Optional,
        }
    }

    fn answers_with(&self, token: Option<(u16, Value)>) {
        self.answers.lock().unwrap().token = token;
    }

    fn issues(&self, id_token: &str) {
        self.answers_with(Some((
            200,
            json!({"access_token": "opaque", "token_type": "Bearer", "id_token": id_token}),
        )));
    }
}

async fn page(t: &TestEnv, member: &TestMember) -> SsoLoginPage {
    settings::page(&t.env, &member.actor().await).await.unwrap()
}

/// Claims a domain, and proves it without a name server.
async fn prove(t: &TestEnv, member: &TestMember, domain: &str) {
    domains::add(&t.env, &member.actor().await, domain).await.unwrap();
    let id = page(t, member).await.domains.into_iter().find(|row| row.domain == domain).unwrap().id;
    let mut tx = t.env.db.write().await.unwrap();
    assert!(store::sso_domains::set_verified(&mut tx, member.org_id(), id, t.env.now()).await.unwrap());
    tx.commit().await.unwrap();
}

/// An organisation whose people of `{slug}.example` may log in at a provider.
async fn configured(t: &TestEnv, slug: &str) -> (TestMember, Idp) {
    let owner = t.org(slug).await;
    let idp = Idp::new().await;
    settings::put(&owner.ctx, &owner.actor().await, &idp.input()).await.expect("it is kept");
    prove(t, &owner, &format!("{slug}.example")).await;
    (owner, idp)
}

fn claims(t: &TestEnv, idp: &Idp, email: &str, nonce: &str) -> Value {
    let now = t.env.now() / 1000;
    json!({
        "iss": idp.issuer, "aud": "gatehouse", "sub": email, "iat": now, "exp": now + 300, "nonce": nonce,
        "email": email, "email_verified": true, "name": "Ada Lovelace",
    })
}

fn query(url: &str, name: &str) -> String {
    let url = Url::parse(url).unwrap();
    url.query_pairs()
        .find(|(known, _)| known == name)
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

fn back(state: &str) -> Return {
    Return { state: Some(state.to_owned()), code: Some("code".to_owned()), ..Return::default() }
}

/// Goes there and comes back, with claims that `change` may spoil.
async fn come(
    t: &TestEnv,
    ctx: &RequestContext,
    idp: &Idp,
    email: &str,
    change: impl FnOnce(&mut Value),
) -> domain::Result<Finished> {
    let link = flow::begin(ctx, email, "/connectors").await?;
    let mut claims = claims(t, idp, email, &query(&link.url, "nonce"));
    change(&mut claims);
    idp.issues(&token(0, &json!({"alg": "RS256", "kid": "a"}), &claims));
    flow::finish(ctx, &back(&query(&link.url, "state"))).await
}

fn signed_in(finished: domain::Result<Finished>) -> SignIn {
    match finished.expect("logged in") {
        Finished::SignedIn(done, next) => {
            assert_eq!(next, "/connectors");
            done
        }
        other => panic!("{other:?}"),
    }
}

fn refused(result: domain::Result<impl core::fmt::Debug>) -> AppError {
    match result.expect_err("a refusal") {
        Error::App(error) => error,
        other => panic!("no words for people: {other}"),
    }
}

async fn role(t: &TestEnv, member: &TestMember, user: UserId) -> Option<Role> {
    let mut tx = t.env.db.read().await.unwrap();
    let role = store::members::find_role(&mut tx, member.org_id(), user).await.unwrap();
    role.and_then(|role| Role::parse(role.as_str()))
}

async fn team_role(t: &TestEnv, member: &TestMember, user: UserId) -> String {
    let mut tx = t.env.db.read().await.unwrap();
    store::members::find_role(&mut tx, member.org_id(), user).await.unwrap().expect("a member").name
}

async fn has_account(t: &TestEnv, email: &str) -> bool {
    let mut tx = t.env.db.read().await.unwrap();
    store::users::find_by_email(&mut tx, email).await.unwrap().is_some()
}

async fn actions(t: &TestEnv, member: &TestMember) -> Vec<String> {
    let mut tx = t.env.db.read().await.unwrap();
    let all = store::audit::list_actions(&mut tx, Some(member.org_id())).await.unwrap();
    all.into_iter().map(|(action, _)| action).collect()
}

/// A context in which somebody is logged in as they just did.
fn inside(t: &TestEnv, done: &SignIn) -> RequestContext {
    let mut ctx = t.signed_in(done.user, done.org.unwrap());
    ctx.signed_in.as_mut().unwrap().sso = done.sso;
    ctx
}

env_test!(somebody_new_joins_in_the_role_of_newcomers_and_is_the_same_person_next_time, |t| async {
    let (owner, idp) = configured(&t, "acme").await;
    let browser = t.anonymous();
    let link = flow::begin(&browser, "Ada@Acme.Example", "/connectors").await.unwrap();
    assert!(link.url.starts_with(&format!("{}/authorize?", idp.issuer)), "{}", link.url);
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "gatehouse"),
        ("redirect_uri", "http://localhost:3000/oauth/sso/callback"),
        ("scope", "openid email profile"),
        ("code_challenge_method", "S256"),
        ("login_hint", "Ada@Acme.Example"),
    ] {
        assert_eq!(query(&link.url, name), value, "{name}");
    }
    let done = signed_in(come(&t, &browser, &idp, "ada@acme.example", |_| ()).await);
    assert_eq!(done.sso, Some(BySso { org: owner.org_id(), second_factor: false }));
    assert_eq!(role(&t, &owner, done.user).await, Some(Role::Member));
    let asked = idp.answers.lock().unwrap().asked.last().cloned().unwrap();
    assert!(asked.contains("code_verifier=") && asked.contains("grant_type=authorization_code"), "{asked}");

    // The subject decides: another address and another name are the same person, whoever vouches for them.
    let again = come(&t, &browser, &idp, "ada@acme.example", |claims| {
        claims["email"] = json!("countess@elsewhere.example");
        claims["email_verified"] = json!(false);
    });
    assert_eq!(signed_in(again.await).user, done.user);
    let all = actions(&t, &owner).await;
    for action in ["auth.user_created", "auth.sso_linked", "team.member_added", "auth.signed_in"] {
        assert!(all.iter().any(|known| known == action), "{action} in {all:?}");
    }
    // They have no password, and no guess is one.
    for guess in ["", PASSWORD] {
        let wrong = accounts::sign_in(&t.env, &browser.origin, "ada@acme.example", guess, None).await;
        assert_eq!(refused(wrong).code, "wrong_credentials");
    }
});

env_test!(an_answer_that_is_not_for_this_question_lets_nobody_in, |t| async {
    let (owner, idp) = configured(&t, "acme").await;
    let browser = t.anonymous();
    let now = t.env.now() / 1000;
    let spoilt: Vec<(&str, Value, &str)> = vec![
        ("nonce", json!("another"), "nonce"),
        ("nonce", Value::Null, "nonce"),
        ("iss", json!("https://evil.example"), "iss"),
        ("aud", json!("somebody-else"), "aud"),
        ("aud", json!(["gatehouse", "somebody-else"]), "azp"),
        ("azp", json!("somebody-else"), "azp"),
        ("exp", json!(now - 61), "exp"),
        ("exp", Value::Null, "exp"),
        ("iat", json!(now - 11 * 60), "iat"),
        ("iat", json!(now + 120), "iat"),
        ("nbf", json!(now + 120), "iat"),
        ("sub", json!(""), "sub"),
    ];
    for (claim, value, why) in spoilt {
        let done = come(&t, &browser, &idp, "ada@acme.example", |claims| claims[claim] = value.clone()).await;
        let error = refused(done);
        assert_eq!(error.code, "sso_refused", "{claim} {value}");
        assert!(error.message.contains(&format!("({why})")), "{claim}: {}", error.message);
    }
    // Whoever vouches for an address has to say so, and for one of ours.
    for (claim, value, code) in [
        ("email_verified", json!(false), "email_unverified"),
        ("email_verified", Value::Null, "email_unverified"),
        ("email_verified", json!("false"), "email_unverified"),
        ("email", json!("eve@elsewhere.example"), "foreign_domain"),
        ("email", json!("eve@evil.example@acme.example"), "no_email"),
        ("email", Value::Null, "no_email"),
    ] {
        let done = come(&t, &browser, &idp, "ada@acme.example", |claims| claims[claim] = value.clone()).await;
        assert_eq!(refused(done).code, code, "{claim} {value}");
    }
    // Signed by nobody, with a shared secret, or by somebody else.
    let link = flow::begin(&browser, "ada@acme.example", "/").await.unwrap();
    let good = claims(&t, &idp, "ada@acme.example", &query(&link.url, "nonce")).to_string();
    for (header, signature) in [
        (json!({"alg": "none"}), String::new()),
        (json!({"alg": "HS256", "kid": "a"}), b64("guess")),
        (json!({"alg": "ES256", "kid": "a"}), b64([7; 64])),
        (json!({"alg": "RS256", "kid": "a", "crit": ["exp"]}), b64("guess")),
        (json!({"alg": "RS256", "kid": "a"}), b64([7; 256])),
    ] {
        let link = flow::begin(&browser, "ada@acme.example", "/").await.unwrap();
        idp.issues(&format!("{}.{}.{signature}", b64(header.to_string()), b64(&good)));
        let done = flow::finish(&browser, &back(&query(&link.url, "state"))).await;
        assert_eq!(refused(done).code, "sso_refused", "{header}");
    }
    assert!(!has_account(&t, "ada@acme.example").await && !has_account(&t, "eve@elsewhere.example").await);
    assert!(
        actions(&t, &owner).await.iter().any(|action| action == "auth.signed_in"),
        "failures are written down"
    );
});

env_test!(state_counts_once_in_the_browser_that_began_for_ten_minutes, |t| async {
    let (owner, idp) = configured(&t, "acme").await;
    let browser = t.anonymous();
    let other = RequestContext { form_token: "of another browser".to_owned(), ..t.anonymous() };
    let link = flow::begin(&browser, "ada@acme.example", "/connectors").await.unwrap();
    let claims = claims(&t, &idp, "ada@acme.example", &query(&link.url, "nonce"));
    idp.issues(&token(0, &json!({"alg": "RS256", "kid": "a"}), &claims));
    let state = query(&link.url, "state");
    assert_eq!(refused(flow::finish(&other, &back(&state)).await).code, "sign_in_gone");
    assert_eq!(refused(flow::finish(&browser, &back("made-up")).await).code, "sign_in_gone");
    assert_eq!(refused(flow::finish(&browser, &Return::default()).await).code, "sign_in_gone");
    // The other browser's try took nothing away.
    signed_in(flow::finish(&browser, &back(&state)).await);
    assert_eq!(refused(flow::finish(&browser, &back(&state)).await).code, "sign_in_gone");

    let late = flow::begin(&browser, "ada@acme.example", "/").await.unwrap();
    t.clock.advance(10 * MINUTE);
    assert_eq!(refused(flow::finish(&browser, &back(&query(&late.url, "state"))).await).code, "sign_in_gone");

    // RFC 9207: whoever names itself has to be the one that was asked; whoever promises to name itself has to.
    let link = flow::begin(&browser, "ada@acme.example", "/").await.unwrap();
    let mixed = Return { iss: Some("https://evil.example".to_owned()), ..back(&query(&link.url, "state")) };
    assert!(refused(flow::finish(&browser, &mixed).await).message.contains("(answer_iss)"));
    idp.answers.lock().unwrap().metadata["authorization_response_iss_parameter_supported"] = json!(true);
    settings::put(
        &owner.ctx,
        &owner.actor().await,
        &Input { client_secret: String::new().into(), ..idp.input() },
    )
    .await
    .unwrap();
    let silent = come(&t, &browser, &idp, "ada@acme.example", |_| ()).await;
    assert!(refused(silent).message.contains("(answer_iss)"));
    // What was configured otherwise meanwhile is not gone on with.
    let link = flow::begin(&browser, "ada@acme.example", "/").await.unwrap();
    settings::put(&owner.ctx, &owner.actor().await, &Input { mode: SsoMode::Off, ..idp.input() })
        .await
        .unwrap();
    assert_eq!(refused(flow::finish(&browser, &back(&query(&link.url, "state"))).await).code, "sign_in_gone");
    assert_eq!(refused(flow::begin(&browser, "ada@acme.example", "/").await).code, "no_sso");
});

env_test!(a_provider_that_is_down_or_refuses_us_is_told_apart_in_the_test, |t| async {
    let (owner, idp) = configured(&t, "acme").await;
    let test = async |token: Option<(u16, Value)>| {
        let link = flow::begin_test(&owner.ctx, &owner.actor().await).await.unwrap();
        idp.answers_with(token);
        let done = flow::finish(&owner.ctx, &back(&query(&link.url, "state"))).await.unwrap();
        assert!(matches!(done, Finished::Tested), "{done:?}");
        let tested = page(&t, &owner).await.provider.unwrap().tested.unwrap();
        assert!(!tested.passed);
        tested.checks.last().unwrap().detail.clone()
    };
    assert!(test(None).await.contains("did not answer"));
    assert!(test(Some((503, json!({})))).await.contains("503"));
    let wrong = test(Some((401, json!({"error": "invalid_client"})))).await;
    assert!(wrong.contains("invalid_client") && wrong.contains("secret"), "{wrong}");
    assert!(test(Some((400, json!({"error": "invalid_grant"})))).await.contains("invalid_grant"));
    assert!(test(Some((200, json!({"access_token": "a", "token_type": "Bearer"})))).await.contains("openid"));
    // Whoever logs in learns that it failed, and not why.
    let browser = t.anonymous();
    let link = flow::begin(&browser, "ada@acme.example", "/").await.unwrap();
    idp.answers_with(Some((401, json!({"error": "invalid_client"}))));
    let error = refused(flow::finish(&browser, &back(&query(&link.url, "state"))).await);
    assert!(error.code == "sso_refused" && !error.message.contains("invalid_client"), "{}", error.message);
    // The provider's own refusal.
    let link = flow::begin(&browser, "ada@acme.example", "/").await.unwrap();
    let denied =
        Return { code: None, error: Some("access_denied".to_owned()), ..back(&query(&link.url, "state")) };
    assert!(refused(flow::finish(&browser, &denied).await).message.contains("did not let you in"));
});

env_test!(a_test_says_what_came_and_logs_nobody_in, |t| async {
    let owner = t.org("acme").await;
    let idp = Idp::new().await;
    settings::put(&owner.ctx, &owner.actor().await, &Input { mode: SsoMode::Off, ..idp.input() })
        .await
        .unwrap();
    let test = async || {
        let link = flow::begin_test(&owner.ctx, &owner.actor().await).await.unwrap();
        let claims = claims(&t, &idp, "ada@acme.example", &query(&link.url, "nonce"));
        idp.issues(&token(0, &json!({"alg": "RS256", "kid": "a"}), &claims));
        flow::finish(&owner.ctx, &back(&query(&link.url, "state"))).await.unwrap();
        page(&t, &owner).await.provider.unwrap()
    };
    let provider = test().await;
    let tested = provider.tested.unwrap();
    assert_eq!(tested.checks.last().unwrap().code, "domain");
    assert!(!tested.passed && !provider.test_passed);
    assert!(tested.claims.contains(&("email".to_owned(), "ada@acme.example".to_owned())));
    let required = || Input { mode: SsoMode::Required, client_secret: String::new().into(), ..idp.input() };
    let error = refused(settings::put(&owner.ctx, &owner.actor().await, &required()).await);
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Conflict, "not_tested"));

    prove(&t, &owner, "acme.example").await;
    assert!(test().await.test_passed);
    assert!(!has_account(&t, "ada@acme.example").await, "nobody was logged in");
    // From here on owners need a second factor.
    t.enrol(&owner.ctx).await;
    settings::put(&owner.ctx, &owner.actor().await, &required()).await.unwrap();
    // The last proven domain stays while members have to come by it.
    let id = page(&t, &owner).await.domains[0].id;
    assert_eq!(refused(domains::remove(&t.env, &owner.actor().await, id).await).code, "last_domain");
    // Another client is another provider: it has to be tested anew, and the secret is not taken along.
    let other = Input { client_id: "other".to_owned(), ..required() };
    let error = refused(settings::put(&owner.ctx, &owner.actor().await, &other).await);
    assert_eq!(error.fields[0].field, "client_secret");
    let other = Input { client_secret: "new".to_owned().into(), ..other };
    assert_eq!(refused(settings::put(&owner.ctx, &owner.actor().await, &other).await).code, "not_tested");
    // No secret is in what the page gets, nor in the log.
    let shown = serde_json::to_string(&page(&t, &owner).await).unwrap();
    assert!(!shown.contains("a secret"));
});

env_test!(where_sso_is_required_a_password_opens_everything_but_that_organisation, |t| async {
    let (acme, idp) = configured(&t, "acme").await;
    let beta = t.org("beta").await;
    let dev = t.member(&acme, "dev", Role::Admin).await;
    orgs::put_member(&t.env, &OrgActor::operator(beta.org_id()), "dev@acme.example", Role::Developer)
        .await
        .unwrap();
    {
        let mut tx = t.env.db.write().await.unwrap();
        let asked = (idp.issuer.as_str(), "gatehouse");
        assert!(store::sso::set_tested(&mut tx, acme.org_id(), asked, "{}", true).await.unwrap());
        tx.commit().await.unwrap();
    }
    let required = Input { mode: SsoMode::Required, client_secret: String::new().into(), ..idp.input() };
    settings::put(&acme.ctx, &acme.actor().await, &required).await.unwrap();
    // Running sessions are caught with the next request.
    let error = refused(OrgActor::<can::ConnectorsRead>::require(&dev.ctx).await);
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Forbidden, "sso_required"));
    let in_beta = t.signed_in(dev.user, beta.org_id());
    assert!(OrgActor::<can::ConnectorsRead>::require(&in_beta).await.is_ok());

    // Owners get in with a password and a second factor.
    let error = refused(OrgActor::<can::SsoManage>::require(&acme.ctx).await);
    assert_eq!(error.code, "mfa_enrollment_required");
    t.enrol(&acme.ctx).await;
    assert!(OrgActor::<can::SsoManage>::require(&acme.ctx).await.is_ok());

    // What the provider vouched for opens its own organisation, and no other one of the same person.
    let done = signed_in(come(&t, &t.anonymous(), &idp, "dev@acme.example", |_| ()).await);
    assert_eq!((done.user, role(&t, &acme, dev.user).await), (dev.user, Some(Role::Admin)));
    let mut by_sso = inside(&t, &done);
    assert!(OrgActor::<can::ConnectorsRead>::require(&by_sso).await.is_ok());
    // Lists say at which provider (SES-05).
    let mut shown = by_sso.clone();
    assert!(
        proof(&t, &shown).await.is_err(),
        "what a provider says proves nothing for an account with a password"
    );
    let row = {
        let mut tx = t.env.db.write().await.unwrap();
        let mut row = store::sessions::list_of_user(&mut tx, dev.user).await.unwrap().remove(0);
        store::sessions::delete(&mut tx, &row.token_hash).await.unwrap();
        row.method = Some("sso".to_owned());
        store::sessions::upsert(&mut tx, &row).await.unwrap();
        tx.commit().await.unwrap();
        row
    };
    shown.signed_in.as_mut().unwrap().session = row.id;
    assert_eq!(domain::sessions::list(&shown).await.unwrap()[0].way, "SSO at 127.0.0.1");
    let me = orgs::me(&by_sso).await.unwrap();
    assert_eq!(me.orgs.iter().map(|org| org.org).collect::<Vec<_>>(), [acme.org_id()]);
    assert_eq!(refused(orgs::switch(&by_sso, beta.org_id()).await).code, "sso_elsewhere");
    assert_eq!(refused(team::leave(&by_sso, beta.org_id()).await).code, "sso_elsewhere");
    assert_eq!(refused(orgs::create(&by_sso, "Gamma", "gamma").await).code, "sso_elsewhere");
    by_sso.signed_in.as_mut().unwrap().org = Some(beta.org_id());
    let seen = OrgActor::<can::ConnectorsRead>::require(&by_sso).await.unwrap();
    assert_eq!(seen.org(), acme.org_id(), "whatever the session remembers");

    // Their account has a password: what the provider says is no proof for acts on it.
    assert_eq!(refused(proof(&t, &by_sso).await).code, "reauth_required");
});

/// A session of this context that has just begun, and the proof that it is.
async fn proof(t: &TestEnv, ctx: &RequestContext) -> domain::Result<Proven> {
    let signed_in = ctx.signed_in.clone().unwrap();
    let now = t.env.now();
    let row = store::sessions::Session {
        token_hash: signed_in.session.to_string().into_bytes(),
        id: signed_in.session,
        user: Some(signed_in.user),
        data: "{}".to_owned(),
        address: String::new(),
        user_agent: String::new(),
        created_at: now,
        last_seen_at: now,
        expires_at: now + 60 * MINUTE,
        in_view: signed_in.org,
        renew: false,
        sso_org: signed_in.sso.map(|sso| sso.org),
        method: None,
    };
    let mut tx = t.env.db.write().await.unwrap();
    store::sessions::upsert(&mut tx, &row).await.unwrap();
    tx.commit().await.unwrap();
    Proven::require(ctx).await
}

env_test!(sessions_of_a_provider_end_with_it, |t| async {
    let (acme, idp) = configured(&t, "acme").await;
    let done = signed_in(come(&t, &t.anonymous(), &idp, "ada@acme.example", |_| ()).await);
    let ctx = inside(&t, &done);
    // Nobody else vouches for an account without a password.
    assert!(proof(&t, &ctx).await.is_ok());
    assert!(proof(&t, &acme.ctx).await.is_ok());
    settings::delete(&acme.ctx, &acme.actor().await).await.unwrap();
    let mut tx = t.env.db.read().await.unwrap();
    assert!(store::sessions::list_of_user(&mut tx, done.user).await.unwrap().is_empty());
    assert_eq!(store::sessions::list_of_user(&mut tx, acme.user).await.unwrap().len(), 1);
});

env_test!(mfa_06_a_second_factor_counts_if_the_provider_says_so, |t| async {
    let (acme, idp) = configured(&t, "acme").await;
    let browser = t.anonymous();
    t.enrol(&acme.ctx).await;
    let proven = t.prove(&acme.ctx).await;
    domain::org_security::set_require_mfa(&t.env, &acme.actor().await, &proven, true).await.unwrap();
    // Somebody without one of their own: the provider's counts, its silence does not.
    let done = signed_in(come(&t, &browser, &idp, "ada@acme.example", |_| ()).await);
    let error = refused(OrgActor::<can::ConnectorsRead>::require(&inside(&t, &done)).await);
    assert_eq!(error.code, "mfa_enrollment_required");
    let asserted = |claims: &mut Value| claims["amr"] = json!(["pwd", "mfa"]);
    let done = signed_in(come(&t, &browser, &idp, "ada@acme.example", asserted).await);
    assert!(OrgActor::<can::ConnectorsRead>::require(&inside(&t, &done)).await.is_ok());

    // Somebody with one: it is asked for unless the provider has seen one.
    let dev = t.member(&acme, "dev", Role::Developer).await;
    let codes = t.enrol(&dev.ctx).await;
    let step = match come(&t, &browser, &idp, "dev@acme.example", |_| ()).await.unwrap() {
        Finished::SecondFactor(step, next) => {
            assert_eq!(next, "/connectors");
            step
        }
        other => panic!("{other:?}"),
    };
    let done = mfa::finish(&t.env, &browser.origin, Some(&step), &codes[0], None).await.unwrap();
    assert_eq!(done.sso, Some(BySso { org: acme.org_id(), second_factor: false }));
    assert!(OrgActor::<can::ConnectorsRead>::require(&inside(&t, &done)).await.is_ok());
    assert_eq!(signed_in(come(&t, &browser, &idp, "dev@acme.example", asserted).await).user, dev.user);
    // A password leads where it led before.
    let password =
        accounts::sign_in(&t.env, &browser.origin, "dev@acme.example", PASSWORD, None).await.unwrap();
    assert!(matches!(password, AfterPassword::SecondFactor(_)));
});

env_test!(an_address_binds_only_an_account_that_is_known_to_be_its, |t| async {
    let (acme, idp) = configured(&t, "acme").await;
    let browser = t.anonymous();
    // Somebody made it with this address and waits: nobody has proven the address, and they are no member.
    let squatter =
        accounts::create_by_operator(&t.env, "ada@acme.example", PASSWORD, Some("Squatter")).await.unwrap();
    let done = come(&t, &browser, &idp, "ada@acme.example", |_| ()).await;
    assert_eq!(refused(done).code, "address_unproven");
    assert_eq!(role(&t, &acme, squatter).await, None);
    {
        let mut tx = t.env.db.write().await.unwrap();
        store::users::set_verified(&mut tx, squatter, t.env.now()).await.unwrap();
        tx.commit().await.unwrap();
    }
    assert_eq!(signed_in(come(&t, &browser, &idp, "ada@acme.example", |_| ()).await).user, squatter);
    // The address is given to somebody new: they do not get what was the other's.
    let heir = come(&t, &browser, &idp, "ada@acme.example", |claims| claims["sub"] = json!("another")).await;
    assert_eq!(refused(heir).code, "address_bound");

    // Whoever was removed does not come back by themself, but may be invited.
    let by = acme.guarded().await;
    team::remove(&t.env, &by, squatter).await.unwrap();
    assert_eq!(refused(come(&t, &browser, &idp, "ada@acme.example", |_| ()).await).code, "not_invited");
    invitations::invite(&t.env, &acme.actor().await, "ada@acme.example", Role::Developer).await.unwrap();
    signed_in(come(&t, &browser, &idp, "ada@acme.example", |_| ()).await);
    assert_eq!(role(&t, &acme, squatter).await, Some(Role::Developer), "as they were invited");
    // And where newcomers need an invitation, nobody else joins.
    let closed = Input { default_role: String::new(), client_secret: String::new().into(), ..idp.input() };
    settings::put(&acme.ctx, &acme.actor().await, &closed).await.unwrap();
    assert_eq!(refused(come(&t, &browser, &idp, "eve@acme.example", |_| ()).await).code, "not_invited");
    assert!(!has_account(&t, "eve@acme.example").await, "no account is left behind");
});

/// Who may do nothing but manage the provider, or nearly.
async fn manager(t: &TestEnv, acme: &TestMember) -> TestMember {
    let input = roles::Input {
        name: "SSO".to_owned(),
        description: String::new(),
        permissions: vec!["sso:manage".to_owned()],
    };
    let role = roles::create(&t.env, &acme.actor().await, &input).await.unwrap();
    t.member(acme, "keeper", role).await
}

env_test!(ten_04_a_provider_logs_in_nobody_who_holds_more_than_whoever_chose_it, |t| async {
    let (acme, theirs) = configured(&t, "acme").await;
    let keeper = manager(&t, &acme).await;
    t.member(&acme, "boss", Role::Admin).await;
    t.member(&acme, "look", Role::Viewer).await;
    let browser = t.anonymous();
    // What an owner chose logs in everybody, and who holds less takes nothing back by saving it.
    let again = Input {
        default_role: Role::Admin.to_string(),
        client_secret: String::new().into(),
        ..theirs.input()
    };
    settings::put(&acme.ctx, &acme.actor().await, &again).await.unwrap();
    settings::put(&keeper.ctx, &keeper.actor().await, &again).await.unwrap();
    assert_eq!(page(&t, &acme).await.provider.unwrap().chosen_by, Some(Role::Owner));
    let owner = signed_in(come(&t, &browser, &theirs, "owner@acme.example", |_| ()).await);
    assert_eq!(owner.user, acme.user);

    // A provider of one's own that says what one likes: nobody above, no newcomer, no invitation.
    let own = Idp::new().await;
    let put = async |by: &TestMember, client: &str| {
        let input =
            Input { client_id: client.to_owned(), default_role: Role::Admin.to_string(), ..own.input() };
        settings::put(&by.ctx, &by.actor().await, &input).await.unwrap();
    };
    put(&keeper, "gatehouse").await;
    assert_eq!(page(&t, &acme).await.provider.unwrap().chosen_by, None);
    invitations::invite(&t.env, &acme.actor().await, "guest@acme.example", Role::Owner).await.unwrap();
    for email in ["owner", "boss", "look", "new", "guest"].map(|name| format!("{name}@acme.example")) {
        let error = refused(come(&t, &browser, &own, &email, |_| ()).await);
        assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Forbidden, "sso_beyond"), "{email}");
    }
    assert!(!has_account(&t, "new@acme.example").await, "nothing is left of it");
    let done = signed_in(come(&t, &browser, &own, "keeper@acme.example", |_| ()).await);
    let by_sso = inside(&t, &done);
    assert!(OrgActor::<can::SsoManage>::require(&by_sso).await.is_ok());
    // More rights than the provider may speak for: the session counts no longer, a password does.
    let operator = OrgActor::operator(acme.org_id());
    orgs::put_member(&t.env, &operator, "keeper@acme.example", Role::Admin).await.unwrap();
    assert_eq!(refused(OrgActor::<can::SsoRead>::require(&by_sso).await).code, "sso_beyond");
    assert!(OrgActor::<can::SsoRead>::require(&keeper.ctx).await.is_ok());

    // An admin reaches everybody but owners; an owner vouches by saving.
    put(&keeper, "another").await;
    let come_to = async |email: &str| {
        let change = |claims: &mut Value| claims["aud"] = json!("another");
        come(&t, &browser, &own, email, change).await
    };
    signed_in(come_to("boss@acme.example").await);
    signed_in(come_to("look@acme.example").await);
    assert_eq!(refused(come_to("owner@acme.example").await).code, "sso_beyond");
    put(&acme, "another").await;
    signed_in(come_to("owner@acme.example").await);
    // The log says who chose what.
    assert!(actions(&t, &acme).await.iter().filter(|action| *action == "sso.login_updated").count() >= 4);
});

env_test!(ten_04_a_provider_is_required_of_whom_it_logs_in, |t| async {
    let (acme, _) = configured(&t, "acme").await;
    let (keeper, dev) = (manager(&t, &acme).await, t.member(&acme, "dev", Role::Developer).await);
    let own = Idp::new().await;
    let input = Input { default_role: String::new(), ..own.input() };
    settings::put(&keeper.ctx, &keeper.actor().await, &input).await.unwrap();
    let mut tx = t.env.db.write().await.unwrap();
    let asked = (own.issuer.as_str(), "gatehouse");
    assert!(store::sso::set_tested(&mut tx, acme.org_id(), asked, "{}", true).await.unwrap());
    tx.commit().await.unwrap();
    let required = Input { mode: SsoMode::Required, client_secret: String::new().into(), ..input };
    settings::put(&keeper.ctx, &keeper.actor().await, &required).await.unwrap();
    // Whoever manages it locks nobody out who holds more: they come with password and second factor, as owners do.
    assert_eq!(refused(OrgActor::<can::SsoRead>::require(&keeper.ctx).await).code, "sso_required");
    for above in [&acme, &dev] {
        let error = refused(OrgActor::<can::ConnectorsRead>::require(&above.ctx).await);
        assert_eq!(error.code, "mfa_enrollment_required");
        t.enrol(&above.ctx).await;
        assert!(OrgActor::<can::ConnectorsRead>::require(&above.ctx).await.is_ok());
    }
});

env_test!(ten_04_newcomers_get_a_role_that_the_organisation_made, |t| async {
    let (acme, idp) = configured(&t, "acme").await;
    let (admin, browser) = (t.member(&acme, "admin", Role::Admin).await, t.anonymous());
    let wanted = |name: &str, permissions: &[&str]| roles::Input {
        name: name.to_owned(),
        description: String::new(),
        permissions: permissions.iter().map(|name| (*name).to_owned()).collect(),
    };
    let guests =
        roles::create(&t.env, &acme.actor().await, &wanted("Guests", &["connectors:read"])).await.unwrap();
    let chosen =
        |role: String| Input { default_role: role, client_secret: String::new().into(), ..idp.input() };
    settings::put(&admin.ctx, &admin.actor().await, &chosen(guests.to_string())).await.unwrap();
    assert!(page(&t, &acme).await.roles.contains(&(guests.to_string(), "Guests".to_owned())));
    let done = signed_in(come(&t, &browser, &idp, "ada@acme.example", |_| ()).await);
    assert_eq!(team_role(&t, &acme, done.user).await, "Guests");
    // It is in use without anybody who has it, and what newcomers get moves on with its members.
    assert!(roles::list(&t.env, &acme.actor().await).await.unwrap().custom[0].newcomers);
    let delete = async |instead| roles::delete(&t.env, &acme.actor().await, guests, instead).await;
    assert_eq!(refused(delete(None).await).code, "role_in_use");
    delete(Some(Role::Viewer.into())).await.unwrap();
    assert_eq!(team_role(&t, &acme, done.user).await, "viewer");
    let done = signed_in(come(&t, &browser, &idp, "bob@acme.example", |_| ()).await);
    assert_eq!(team_role(&t, &acme, done.user).await, "viewer");
    // Nobody lets others in with more than they hold.
    let sso = ["sso:manage", "team:roles"];
    let keeper = roles::create(&t.env, &acme.actor().await, &wanted("SSO", &sso)).await.unwrap();
    let wide = roles::create(&t.env, &acme.actor().await, &wanted("Wide", &["logs:read"])).await.unwrap();
    let keeper = t.member(&acme, "keeper", keeper).await;
    for role in [wide.to_string(), Role::Developer.to_string(), guests.to_string()] {
        let error = refused(settings::put(&keeper.ctx, &keeper.actor().await, &chosen(role)).await);
        assert_eq!(error.fields[0].field, "default_role");
    }
});

env_test!(two_at_once_make_one_account, |t| async {
    let (acme, idp) = configured(&t, "acme").await;
    let browser = t.anonymous();
    let first = flow::begin(&browser, "ada@acme.example", "/connectors").await.unwrap();
    let second = flow::begin(&browser, "ada@acme.example", "/connectors").await.unwrap();
    let issue = |nonce: &str| {
        idp.issues(&token(
            0,
            &json!({"alg": "RS256", "kid": "a"}),
            &claims(&t, &idp, "ada@acme.example", nonce),
        ));
    };
    // The provider issues one token at a time, so the first waits for the database and not for the provider.
    issue(&query(&first.url, "nonce"));
    let one = flow::finish(&browser, &back(&query(&first.url, "state"))).await;
    issue(&query(&second.url, "nonce"));
    let two = flow::finish(&browser, &back(&query(&second.url, "state"))).await;
    assert_eq!(signed_in(one).user, signed_in(two).user);
    let once = back(&query(&flow::begin(&browser, "ada@acme.example", "/").await.unwrap().url, "state"));
    let (a, b) = tokio::join!(flow::finish(&browser, &once), flow::finish(&browser, &once));
    assert!(
        [a, b]
            .iter()
            .filter(|done| matches!(done, Err(Error::App(error)) if error.code == "sign_in_gone"))
            .count()
            >= 1
    );
    assert_eq!(team::list(&t.env, &acme.actor().await).await.unwrap().len(), 2);
});

env_test!(a_domain_is_proven_by_its_record_and_by_one_organisation, |t| async {
    let names = NameServer::start().await;
    let env = names.env(&t.env);
    let (acme, beta) = (t.org("acme").await, t.org("beta").await);
    for owner in [&acme, &beta] {
        domains::add(&env, &owner.actor().await, "@Corp.Example.").await.unwrap();
    }
    assert_eq!(refused(domains::add(&env, &acme.actor().await, "corp.example").await).code, "domain_taken");
    for bad in ["", "corp", "https://corp.example", "127.0.0.1"] {
        assert_eq!(
            refused(domains::add(&env, &acme.actor().await, bad).await).fields[0].field,
            "domain",
            "{bad}"
        );
    }
    let (of_acme, of_beta) =
        (page(&t, &acme).await.domains[0].clone(), page(&t, &beta).await.domains[0].clone());
    assert_eq!(of_acme.record, "_gatehouse-verify.corp.example");
    assert_ne!(of_acme.value, of_beta.value);
    let check = async |owner: &TestMember, id| domains::check(&env, &owner.actor().await, id).await;
    let seen = check(&acme, of_acme.id).await.unwrap();
    assert!(!seen.verified && seen.found.is_empty());
    // What is there is told; another organisation's record proves nothing here.
    names.txt(&of_beta.record, &of_beta.value);
    let seen = check(&acme, of_acme.id).await.unwrap();
    assert_eq!((seen.verified, seen.found), (false, vec![of_beta.value.clone()]));
    assert_eq!(page(&t, &acme).await.domains[0].verified_at, None);
    names.txt(&of_acme.record, &of_acme.value);
    // Of two at once one has it.
    let (one, two) = tokio::join!(check(&acme, of_acme.id), check(&beta, of_beta.id));
    assert_eq!([&one, &two].iter().filter(|done| done.as_ref().is_ok_and(|seen| seen.verified)).count(), 1);
    let lost = one.err().or(two.err()).expect("the other is refused");
    assert_eq!(refused(Err::<(), _>(lost)).code, "domain_taken");
    // Another organisation's domain is not found (TEN-01).
    for foreign in [
        check(&beta, of_acme.id).await.err(),
        domains::remove(&env, &beta.actor().await, of_acme.id).await.err(),
    ] {
        assert_eq!(refused(Err::<(), _>(foreign.unwrap())).kind, ErrorKind::NotFound);
    }
});

env_test!(with_another_plan_sso_opens_nothing_and_passwords_do, |t| async {
    let (acme, idp) = configured(&t, "acme").await;
    let viewer = t.member(&acme, "vera", Role::Viewer).await;
    assert!(settings::page(&t.env, &viewer.actor().await).await.is_ok());
    for role in [Role::Viewer, Role::Developer, Role::Member] {
        let member = t.member(&acme, role.as_str(), role).await;
        assert_eq!(
            refused(OrgActor::<can::SsoManage>::require(&member.ctx).await).kind,
            ErrorKind::Forbidden
        );
    }
    // Nobody lets others in with more than they hold, and nobody as owner.
    for role in ["owner", "nonsense"] {
        let input = Input { default_role: role.to_owned(), ..idp.input() };
        let error = refused(settings::put(&acme.ctx, &acme.actor().await, &input).await);
        assert_eq!(error.fields[0].field, "default_role", "{role}");
    }
    let set_plan = async |plan| {
        let changes = OperatorChanges { plan: Some(plan), ..OperatorChanges::default() };
        orgs::set_by_operator(&t.env, acme.org_id(), changes).await.unwrap();
    };
    // Members have to, one of them is on the way, and another is in.
    {
        let mut tx = t.env.db.write().await.unwrap();
        let mut row = store::sso::find(&mut tx, acme.org_id()).await.unwrap().unwrap();
        row.required = true;
        store::sso::put(&mut tx, acme.org_id(), &row).await.unwrap();
        tx.commit().await.unwrap();
    }
    let error = refused(OrgActor::<can::SsoRead>::require(&viewer.ctx).await);
    assert_eq!(error.code, "sso_required");
    let browser = t.anonymous();
    let link = flow::begin(&browser, "ada@acme.example", "/").await.unwrap();
    let vouched = inside(&t, &signed_in(come(&t, &t.anonymous(), &idp, "bob@acme.example", |_| ()).await));
    assert!(OrgActor::<can::ConnectorsRead>::require(&vouched).await.is_ok());
    set_plan(Plan::Team).await;
    // A password is enough again, also for owners without a second factor.
    assert!(OrgActor::<can::SsoRead>::require(&viewer.ctx).await.is_ok());
    assert!(OrgActor::<can::SsoManage>::require(&acme.ctx).await.is_ok());
    assert_eq!(refused(flow::begin(&t.anonymous(), "ada@acme.example", "/").await).code, "no_sso");
    let claims = claims(&t, &idp, "ada@acme.example", &query(&link.url, "nonce"));
    idp.issues(&token(0, &json!({"alg": "RS256", "kid": "a"}), &claims));
    let late = refused(flow::finish(&browser, &back(&query(&link.url, "state"))).await);
    assert_eq!(late.code, "sign_in_gone");
    for refusal in [
        refused(settings::put(&acme.ctx, &acme.actor().await, &idp.input()).await),
        refused(domains::add(&t.env, &acme.actor().await, "other.example").await),
        refused(flow::begin_test(&acme.ctx, &acme.actor().await).await),
    ] {
        assert_eq!((refusal.kind, refusal.code.as_str()), (ErrorKind::Forbidden, "plan"));
    }
    // What is there works again with the plan, and can be deleted without.
    set_plan(Plan::Enterprise).await;
    signed_in(come(&t, &t.anonymous(), &idp, "ada@acme.example", |_| ()).await);
    set_plan(Plan::Pro).await;
    settings::delete(&acme.ctx, &acme.actor().await).await.unwrap();
    assert_eq!(refused(flow::begin(&t.anonymous(), "ada@acme.example", "/").await).code, "no_sso");
    assert!(page(&t, &acme).await.provider.is_none());
});

env_test!(what_a_provider_says_of_itself_is_looked_at, |t| async {
    let owner = t.org("acme").await;
    let idp = Idp::new().await;
    let good = idp.answers.lock().unwrap().metadata.clone();
    for (name, value) in [
        ("issuer", json!("https://evil.example")),
        ("authorization_endpoint", json!("javascript:alert(1)")),
        ("authorization_endpoint", json!("http://127.0.0.2/authorize")),
        ("token_endpoint", json!("http://10.0.0.1/token")),
        ("jwks_uri", Value::Null),
        ("id_token_signing_alg_values_supported", json!(["HS256", "none"])),
        ("code_challenge_methods_supported", json!(["plain"])),
    ] {
        let mut spoilt = good.clone();
        spoilt[name] = value.clone();
        idp.answers.lock().unwrap().metadata = spoilt;
        let error = refused(settings::put(&owner.ctx, &owner.actor().await, &idp.input()).await);
        assert_eq!(
            (error.code.as_str(), error.fields[0].field.as_str()),
            ("discovery_failed", "issuer"),
            "{name} {value}"
        );
    }
    for issuer in ["http://localhost:3000", "http://10.0.0.1", "ftp://x.example", ""] {
        let input = Input { issuer: issuer.to_owned(), ..idp.input() };
        let error = refused(settings::put(&owner.ctx, &owner.actor().await, &input).await);
        assert_eq!(error.fields[0].field, "issuer", "{issuer}");
    }
    assert!(page(&t, &owner).await.provider.is_none());
});

env_test!(es256_is_accepted, |t| async {
    let (_, idp) = configured(&t, "acme").await;
    let rng = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &rng).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
    let point = key.public_key().as_ref()[1..].to_vec();
    let (x, y) = point.split_at(32);
    idp.answers.lock().unwrap().keys =
        json!({"keys": [jwk(0, "a"), {"kty": "EC", "crv": "P-256", "kid": "e", "x": b64(x), "y": b64(y)}]});
    let browser = t.anonymous();
    for (header, good) in [
        (json!({"alg": "ES256", "kid": "e"}), true),
        // The key decides which algorithm it is for, not the token.
        (json!({"alg": "RS256", "kid": "e"}), false),
        (json!({"alg": "ES256", "kid": "a"}), false),
    ] {
        let link = flow::begin(&browser, "ada@acme.example", "/connectors").await.unwrap();
        let claims = claims(&t, &idp, "ada@acme.example", &query(&link.url, "nonce"));
        let message = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
        let signature = key.sign(&rng, message.as_bytes()).unwrap();
        idp.issues(&format!("{message}.{}", b64(signature.as_ref())));
        let done = flow::finish(&browser, &back(&query(&link.url, "state"))).await;
        assert_eq!(done.is_ok(), good, "{header}");
    }
});

/// The members of an organisation may log in at its provider; the record of its domain, which is told, is in the name server.
async fn with_record(t: &TestEnv) -> (TestMember, Idp, Env, NameServer, [String; 2]) {
    let names = NameServer::start().await;
    let env = names.env(&t.env);
    let (acme, idp) = configured(t, "acme").await;
    let domain = page(t, &acme).await.domains.remove(0);
    names.txt(&domain.record, &domain.value);
    (acme, idp, env, names, [domain.record, domain.value])
}

async fn told(t: &TestEnv) -> Vec<(String, String)> {
    let mut told: Vec<_> = t.mails().await.into_iter().map(|mail| (mail.to, mail.subject)).collect();
    told.retain(|(_, subject)| subject.contains("acme.example"));
    told.sort();
    told
}

env_test!(a_domain_whose_record_is_gone_for_three_days_counts_no_longer, |t| async {
    let (acme, idp, env, names, [record, value]) = with_record(&t).await;
    t.member(&acme, "adam", Role::Admin).await;
    t.member(&acme, "dev", Role::Developer).await;
    prove(&t, &acme, "two.example").await;
    let two = page(&t, &acme).await.domains.remove(1);
    names.txt(&two.record, &two.value);
    signed_in(come(&t, &t.anonymous(), &idp, "ada@acme.example", |_| ()).await);
    t.mails().await;
    assert_eq!(recheck(&env).await.unwrap(), 0, "it was looked for when it was proven");
    t.clock.advance(24 * HOUR);
    assert_eq!(recheck(&env).await.unwrap(), 2);
    assert_eq!(recheck(&env).await.unwrap(), 0, "daily");
    assert_eq!(told(&t).await, []);

    // Its record goes. Of two nodes one looks, and one mail goes to each admin.
    names.remove(&record);
    t.clock.advance(24 * HOUR);
    let (one, other) = tokio::join!(recheck(&env), recheck(&env));
    assert_eq!(one.unwrap() + other.unwrap(), 2);
    let domain = || async { page(&t, &acme).await.domains.remove(0) };
    let first = domain().await;
    assert!(first.verified_at.is_some() && first.missing_since == Some(t.env.now()), "{first:?}");
    let subject = "The record of acme.example for SSO of acme is gone".to_owned();
    assert_eq!(
        told(&t).await,
        [("adam@acme.example".to_owned(), subject.clone()), ("owner@acme.example".to_owned(), subject)]
    );
    for _ in 0..2 {
        t.clock.advance(24 * HOUR);
        recheck(&env).await.unwrap();
        signed_in(come(&t, &t.anonymous(), &idp, "ada@acme.example", |_| ()).await);
    }
    assert_eq!(told(&t).await, []);

    t.clock.advance(24 * HOUR);
    recheck(&env).await.unwrap();
    let lapsed = domain().await;
    assert_eq!((lapsed.verified_at, lapsed.missing_since, lapsed.lapsed_at), (None, None, Some(t.env.now())));
    assert_eq!(told(&t).await.len(), 2);
    let link = flow::begin(&t.anonymous(), "ada@acme.example", "/").await;
    assert_eq!(refused(link).code, "no_sso");
    // Nor by the address of another domain, as whom the provider knows already.
    let as_ada = |claims: &mut Value| {
        claims["sub"] = json!("ada@acme.example");
        claims["email"] = json!("ada@acme.example");
    };
    let error = refused(come(&t, &t.anonymous(), &idp, "bob@two.example", as_ada).await);
    assert_eq!(error.code, "domain_lapsed");
    signed_in(come(&t, &t.anonymous(), &idp, "bob@two.example", |_| ()).await);

    // Where SSO is required, owners are not locked out: password and second factor.
    {
        let mut tx = t.env.db.write().await.unwrap();
        let mut row = store::sso::find(&mut tx, acme.org_id()).await.unwrap().unwrap();
        row.required = true;
        store::sso::put(&mut tx, acme.org_id(), &row).await.unwrap();
        tx.commit().await.unwrap();
    }
    t.enrol(&acme.ctx).await;
    let actor: OrgActor<can::SsoManage> = OrgActor::require(&acme.ctx).await.unwrap();
    // The record is back: it is proven as it was the first time.
    names.txt(&record, &value);
    let seen = domains::check(&env, &actor, lapsed.id).await.unwrap();
    assert!(seen.verified);
    assert_eq!(domain().await.lapsed_at, None);
    signed_in(come(&t, &t.anonymous(), &idp, "ada@acme.example", |_| ()).await);
    let log = actions(&t, &acme).await;
    for event in ["sso.domain_missing", "sso.domain_lapsed"] {
        assert_eq!(log.iter().filter(|action| *action == event).count(), 1, "{event}");
    }
});

env_test!(a_record_that_comes_back_in_time_and_a_silent_name_server_change_nothing, |t| async {
    let (acme, idp, env, names, [record, value]) = with_record(&t).await;
    let domain = || async { page(&t, &acme).await.domains.remove(0) };
    // The name server is not able to say anything: the record is not missing, and is asked for again in an hour.
    names.fail(true);
    for _ in 0..5 {
        t.clock.advance(24 * HOUR);
        assert_eq!(recheck(&env).await.unwrap(), 1);
        assert_eq!(recheck(&env).await.unwrap(), 0);
        assert_eq!(domain().await.missing_since, None);
    }
    t.clock.advance(HOUR);
    assert_eq!(recheck(&env).await.unwrap(), 1);
    assert_eq!(told(&t).await, []);
    // Another value is as good as none; back in time it is as if nothing had been.
    names.fail(false);
    let set = |value: &str| {
        names.remove(&record);
        names.txt(&record, value);
    };
    set("gatehouse-sso=another");
    t.clock.advance(24 * HOUR);
    recheck(&env).await.unwrap();
    assert!(domain().await.missing_since.is_some());
    set(&value);
    t.clock.advance(24 * HOUR);
    recheck(&env).await.unwrap();
    assert_eq!(domain().await.missing_since, None);
    t.clock.advance(72 * HOUR);
    recheck(&env).await.unwrap();
    assert!(domain().await.verified_at.is_some());
    // By hand as well.
    set("");
    t.clock.advance(24 * HOUR);
    recheck(&env).await.unwrap();
    set(&value);
    let seen = domains::check(&env, &acme.actor().await, domain().await.id).await.unwrap();
    assert!(seen.verified);
    assert_eq!(domain().await.missing_since, None);
    signed_in(come(&t, &t.anonymous(), &idp, "ada@acme.example", |_| ()).await);
    let log = actions(&t, &acme).await;
    assert_eq!(log.iter().filter(|action| *action == "sso.domain_found").count(), 2);
    assert!(!log.contains(&"sso.domain_lapsed".to_owned()));
});

env_test!(del_04_mfa_05_an_account_without_a_password_shows_a_fresh_log_in_instead, |t| async {
    let (_acme, idp) = configured(&t, "acme").await;
    let done = signed_in(come(&t, &t.anonymous(), &idp, "ada@acme.example", |_| ()).await);
    let ctx = inside(&t, &done);
    assert!(own_account::overview(&ctx).await.unwrap().no_password);
    // Without a session that has just begun nothing is proven, whatever is typed.
    for password in ["", PASSWORD] {
        let stale = refused(deletion::delete_own(&ctx, "ada@acme.example", password).await);
        assert_eq!((stale.kind, stale.code.as_str()), (ErrorKind::Forbidden, "reauth_required"));
        assert!(stale.message.contains("SSO"), "{}", stale.message);
    }
    let proven =
        proof(&t, &ctx).await.expect("their provider's word counts for an account without a password");
    let told = mfa::enrol(&ctx, &proven).await.unwrap();
    let codes = mfa::confirm(&ctx, &proven, &mfa::code_of(&told.secret, t.env.now())).await.unwrap();
    assert!(mfa::status(&ctx).await.unwrap().no_password);
    // A factor goes with a fresh log-in and a code; neither alone does.
    let no_code = refused(mfa::turn_off(&ctx, "", Shown::Code("")).await);
    assert!(no_code.at("code").is_some() && no_code.at("password").is_none(), "{no_code:?}");
    t.clock.advance(6 * MINUTE);
    let old = refused(mfa::turn_off(&ctx, "", Shown::Code(&codes[0])).await);
    assert_eq!(old.code, "reauth_required");
    // A code proves them again, as it does everybody.
    step_up::prove(&ctx, "", Shown::Code(&codes[1])).await.unwrap();
    assert!(mfa::turn_off(&ctx, "", Shown::Code(&codes[2])).await.unwrap(), "the last factor");
    // No password is made by knowing the one that is not there.
    let none = refused(own_account::change_password(&ctx, "", "a wholly different horse 7 saddles").await);
    assert_eq!(none.code, "no_password");
    t.clock.advance(6 * MINUTE);
    assert_eq!(refused(deletion::delete_own(&ctx, "ada@acme.example", "").await).code, "reauth_required");
    let again = inside(&t, &signed_in(come(&t, &t.anonymous(), &idp, "ada@acme.example", |_| ()).await));
    proof(&t, &again).await.expect("logged in again");
    deletion::delete_own(&again, "ada@acme.example", "").await.unwrap();
    assert!(!has_account(&t, "ada@acme.example").await);
});
