//! Own identity providers on both databases, with a provider in the process that can be broken on demand.

mod signing;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use aws_lc_rs::{encoding::AsDer as _, signature::KeyPair as _};
use domain::{
    Error, OrgActor,
    dataplane::{Directory as _, Planes},
    env_test,
    idp::{
        Condition, IdpSubject, PlaneIdp, Refused,
        config::{self, Input},
        tester, verify,
    },
    orgs::{self, OperatorChanges},
    testing::{TestEnv, TestMember},
};
use model::{AppError, ErrorKind, Plan, Role, permissions::can};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use signing::{KEYS, b64, jwk, raw, sign, token};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// An identity provider: two documents over HTTP, and how often each was asked for.
struct Provider {
    issuer: String,
    documents: Arc<Mutex<HashMap<String, (String, Value)>>>,
    asked: Arc<AtomicUsize>,
    down: Arc<AtomicBool>,
}

impl Provider {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let documents: Arc<Mutex<HashMap<String, (String, Value)>>> = Arc::default();
        let (asked, down) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (known, count, broken) = (documents.clone(), asked.clone(), down.clone());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (known, count, broken) = (known.clone(), count.clone(), broken.clone());
                tokio::spawn(async move {
                    let mut buffer = vec![0; 4096];
                    let length = stream.read(&mut buffer).await.unwrap_or(0);
                    let request = String::from_utf8_lossy(&buffer[..length]).into_owned();
                    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                    if path == "/keys" {
                        count.fetch_add(1, Ordering::SeqCst);
                    }
                    let found = known.lock().unwrap().get(&path).cloned();
                    let (status, headers, body) = match found {
                        _ if broken.load(Ordering::SeqCst) => ("503 Down", String::new(), String::new()),
                        Some((headers, Value::String(body))) => ("200 OK", headers, body),
                        Some((headers, body)) => ("200 OK", headers, body.to_string()),
                        None => ("404 Not Found", String::new(), String::new()),
                    };
                    let length = body.len();
                    let head = format!(
                        "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
                    );
                    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
                });
            }
        });
        let provider = Self { issuer, documents, asked, down };
        provider.serve(
            "/.well-known/openid-configuration",
            "",
            &json!({"issuer": provider.issuer, "jwks_uri": provider.jwks_uri()}),
        );
        provider.publish(&[jwk(0, "a")]);
        provider
    }

    fn jwks_uri(&self) -> String {
        format!("{}/keys", self.issuer)
    }

    fn serve(&self, path: &str, headers: &str, document: &Value) {
        self.documents.lock().unwrap().insert(path.to_owned(), (headers.to_owned(), document.clone()));
    }

    fn publish(&self, keys: &[Value]) {
        self.serve("/keys", "Cache-Control: max-age=3600\r\n", &json!({"keys": keys}));
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn input(&self) -> Input {
        Input {
            issuer: self.issuer.clone(),
            audience: "http://localhost:3000/mcp/acme".to_owned(),
            enabled: true,
            ..Input::default()
        }
    }

    fn claims(&self, t: &TestEnv) -> Value {
        let now = t.env.now() / 1000;
        json!({"iss": self.issuer, "aud": "http://localhost:3000/mcp/acme", "sub": "agent-7", "iat": now, "exp": now + 600})
    }

    fn token(&self, t: &TestEnv) -> String {
        token(0, &json!({"alg": "RS256", "kid": "a"}), &self.claims(t))
    }
}

fn app(error: Error) -> AppError {
    match error {
        Error::App(app) => app,
        other => panic!("no words for people: {other}"),
    }
}

async fn put(t: &TestEnv, member: &TestMember, input: &Input) {
    config::put(&t.env, &member.actor().await, input).await.expect("a provider");
}

async fn refusal(t: &TestEnv, member: &TestMember, input: &Input) -> (String, String) {
    let error = app(config::put(&t.env, &member.actor().await, input).await.expect_err("a refusal"));
    assert_eq!(error.status(), 422, "{error:?}");
    (error.fields[0].field.clone(), error.code)
}

async fn plane(t: &TestEnv, member: &TestMember) -> Option<PlaneIdp> {
    let planes = Planes::load(t.env.clone()).await.unwrap();
    let plane = planes.plane(member.org_id()).await.unwrap().unwrap();
    plane.idp.as_deref().cloned()
}

async fn check(t: &TestEnv, member: &TestMember, token: &str) -> Result<IdpSubject, Refused> {
    verify(&t.env, &plane(t, member).await.expect("an enabled provider"), token).await
}

async fn failed(t: &TestEnv, member: &TestMember, token: &str) -> Condition {
    check(t, member, token).await.expect_err("refused").condition
}

async fn actions(t: &TestEnv, member: &TestMember) -> Vec<String> {
    let mut tx = t.env.db.read().await.unwrap();
    let all = store::audit::list_actions(&mut tx, Some(member.org_id())).await.unwrap();
    all.into_iter().map(|(action, _)| action).filter(|action| action.starts_with("sso.")).collect()
}

async fn set_plan(t: &TestEnv, member: &TestMember, plan: Plan) {
    let changes = OperatorChanges { plan: Some(plan), ..OperatorChanges::default() };
    orgs::set_by_operator(&t.env, member.org_id(), changes).await.unwrap();
}

env_test!(idp_01_keys_of_two_organisations_never_cross, |t| async {
    let (one, two) = (t.org("acme").await, t.org("bolt").await);
    let (provider, other) = (Provider::new().await, Provider::new().await);
    other.publish(&[jwk(1, "a")]);
    put(&t, &one, &provider.input()).await;
    // The same issuer, with keys from somewhere else and under the same name.
    let input = Input { jwks_uri: other.jwks_uri(), audience: "bolt".into(), ..provider.input() };
    put(&t, &two, &input).await;
    let mut claims = provider.claims(&t);
    assert!(check(&t, &one, &token(0, &json!({"alg": "RS256", "kid": "a"}), &claims)).await.is_ok());
    assert_eq!(
        failed(&t, &one, &token(1, &json!({"alg": "RS256", "kid": "a"}), &claims)).await,
        Condition::Signature
    );
    claims["aud"] = json!(["bolt", "http://localhost:3000/mcp/acme"]);
    let theirs = token(1, &json!({"alg": "RS256", "kid": "a"}), &claims);
    let subject = check(&t, &two, &theirs).await.unwrap();
    assert_eq!((subject.org, subject.subject.as_str()), (two.org_id(), "agent-7"));
    assert_eq!(failed(&t, &one, &theirs).await, Condition::Signature, "also for both audiences");
});

env_test!(idp_02_what_is_refused_and_at_which_field, |t| async {
    let owner = t.org("acme").await;
    let provider = Provider::new().await;
    let good = provider.input();
    for (issuer, code) in [
        ("", "required"),
        ("id.example.com", "url"),
        ("http://localhost:3000", "own_issuer"),
        ("HTTP://LOCALHOST:3000/", "own_issuer"),
        ("http://localhost:3000/oauth/", "own_issuer"),
        ("http://id.example.com", "unreachable"),
        ("https://10.0.0.1", "blocked_destination"),
        ("https://metadata.google.internal", "blocked_destination"),
        ("https://user:pass@id.example.com", "blocked_destination"),
        ("https://id.example.com/?a=b", "url"),
        ("https://id.example.com/#x", "url"),
        ("javascript:alert(1)", "url"),
    ] {
        let found = refusal(&t, &owner, &Input { issuer: issuer.into(), ..good.clone() }).await;
        // localhost is a local name before it is ours.
        let own = code == "own_issuer" && found.1 == "blocked_destination";
        assert!(found == ("issuer".to_owned(), code.to_owned()) || own, "{issuer}: {found:?}");
    }
    for (audience, code) in [
        ("", "required"),
        ("*", "audience"),
        ("https://x.example/*", "audience"),
        ("a b", "audience"),
        ("http://localhost:3000/mcp/bolt", "audience_foreign"),
        ("http://localhost:3000", "audience_foreign"),
        ("http://localhost:3000/mcp/acme2", "audience_foreign"),
    ] {
        let found = refusal(&t, &owner, &Input { audience: audience.into(), ..good.clone() }).await;
        assert_eq!(found, ("audience".to_owned(), code.to_owned()), "{audience}");
    }
    for (uri, code) in [
        ("https://169.254.169.254/keys", "blocked_destination"),
        ("http://keys.example.com/", "jwks"),
        ("nonsense", "url"),
        (&format!("{}/missing", provider.issuer), "jwks"),
        (&format!("{}/.well-known/openid-configuration", provider.issuer), "jwks"),
    ] {
        let found = refusal(&t, &owner, &Input { jwks_uri: uri.into(), ..good.clone() }).await;
        assert_eq!(found, ("jwks_uri".to_owned(), code.to_owned()), "{uri}");
    }
    // A provider that calls itself by another name, if only by a slash.
    let found = refusal(&t, &owner, &Input { issuer: format!("{}/", provider.issuer), ..good.clone() }).await;
    assert_eq!(found, ("issuer".to_owned(), "issuer_mismatch".to_owned()));
    // Keys for something else.
    provider.publish(&[json!({"kty": "EC", "kid": "e"})]);
    assert_eq!(refusal(&t, &owner, &good).await.1, "jwks_empty");
    provider.serve("/.well-known/openid-configuration", "", &json!({"issuer": provider.issuer}));
    assert_eq!(refusal(&t, &owner, &good).await, ("jwks_uri".to_owned(), "discovery_failed".to_owned()));
    assert!(actions(&t, &owner).await.is_empty() && plane(&t, &owner).await.is_none());
});

env_test!(idp_02_one_issuer_and_audience_is_of_one_organisation, |t| async {
    let (one, two) = (t.org("acme").await, t.org("bolt").await);
    let provider = Provider::new().await;
    let input = Input { audience: "shared".into(), ..provider.input() };
    put(&t, &one, &input).await;
    assert_eq!(refusal(&t, &two, &input).await, ("audience".to_owned(), "audience_taken".to_owned()));
    put(&t, &two, &Input { audience: "own".into(), ..input.clone() }).await;
    assert_eq!(refusal(&t, &two, &input).await.1, "audience_taken", "a change neither");
    // Given up, it is free.
    config::delete(&t.env, &one.actor().await).await.unwrap();
    put(&t, &two, &input).await;
});

env_test!(idp_02_shared_issuers_need_a_rule_that_tells_their_customers_apart, |t| async {
    let owner = t.org("acme").await;
    for issuer in [
        "https://accounts.google.com",
        "https://login.microsoftonline.com/common/v2.0",
        "https://login.microsoftonline.com/organizations/v2.0",
        "https://token.actions.githubusercontent.com",
    ] {
        let input = Input { issuer: issuer.into(), audience: "x".into(), ..Input::default() };
        assert_eq!(refusal(&t, &owner, &input).await, ("claims".to_owned(), "shared_issuer".to_owned()));
        let input = Input { claims: "email_verified = true".into(), ..input };
        assert_eq!(refusal(&t, &owner, &input).await.1, "shared_issuer");
    }
});

env_test!(idp_03_every_condition_of_a_token, |t| async {
    let owner = t.org("acme").await;
    let provider = Provider::new().await;
    put(&t, &owner, &provider.input()).await;
    let good = provider.token(&t);
    assert_eq!(check(&t, &owner, &good).await.unwrap().subject, "agent-7");
    let header = |change: &Value| {
        let mut header = json!({"alg": "RS256", "kid": "a"});
        for (name, value) in change.as_object().unwrap() {
            header[name] = value.clone();
        }
        token(0, &header, &provider.claims(&t))
    };
    for fine in [
        json!({"typ": "JWT"}),
        json!({"typ": "at+jwt"}),
        json!({"typ": "application/AT+jwt"}),
        json!({"jku": "http://evil.test/"}),
    ] {
        assert!(check(&t, &owner, &header(&fine)).await.is_ok(), "{fine}");
    }
    for (change, condition) in [
        (json!({"alg": "none"}), Condition::Algorithm),
        (json!({"alg": "None"}), Condition::Algorithm),
        (json!({"alg": ""}), Condition::Algorithm),
        (json!({"alg": null}), Condition::Algorithm),
        (json!({"alg": "HS256"}), Condition::Algorithm),
        (json!({"alg": "RS512"}), Condition::Algorithm),
        (json!({"alg": "PS256"}), Condition::Algorithm),
        (json!({"alg": ["RS256"]}), Condition::Algorithm),
        (json!({"typ": "logout+jwt"}), Condition::Kind),
        (json!({"typ": "dpop+jwt"}), Condition::Kind),
        (json!({"typ": "secevent+jwt"}), Condition::Kind),
        (json!({"typ": "JOSE"}), Condition::Kind),
        (json!({"typ": 1}), Condition::Kind),
        (json!({"crit": ["b64"]}), Condition::Critical),
        (json!({"crit": []}), Condition::Critical),
        (json!({"kid": "b"}), Condition::Key),
        (json!({"kid": 7}), Condition::Key),
        (json!({"kid": "../../etc/passwd"}), Condition::Key),
    ] {
        assert_eq!(failed(&t, &owner, &header(&change)).await, condition, "{change}");
    }
    let now = t.env.now() / 1000;
    let with = |change: &Value| {
        let mut claims = provider.claims(&t);
        for (name, value) in change.as_object().unwrap() {
            if *value == json!("-") {
                claims.as_object_mut().unwrap().remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
        token(0, &json!({"alg": "RS256", "kid": "a"}), &claims)
    };
    for fine in [
        json!({"aud": ["x", "http://localhost:3000/mcp/acme"]}),
        json!({"exp": now - 59}),
        json!({"iat": now + 60, "nbf": now + 60}),
        json!({"iat": "-"}),
        json!({"email": "anybody@example.com"}),
    ] {
        assert!(check(&t, &owner, &with(&fine)).await.is_ok(), "{fine}");
    }
    let slash = format!("{}/", provider.issuer);
    for (change, condition) in [
        (json!({"iss": "-"}), Condition::Issuer),
        (json!({"iss": slash}), Condition::Issuer),
        (json!({"iss": provider.issuer.to_uppercase()}), Condition::Issuer),
        (json!({"iss": [provider.issuer]}), Condition::Issuer),
        (json!({"iss": "http://localhost:3000"}), Condition::Issuer),
        (json!({"aud": "-"}), Condition::Audience),
        (json!({"aud": "*"}), Condition::Audience),
        (json!({"aud": "http://localhost:3000/mcp/acme/"}), Condition::Audience),
        (json!({"aud": "http://localhost:3000/mcp/bolt"}), Condition::Audience),
        (json!({"aud": ["http://localhost:3000/mcp/acme", 7]}), Condition::Audience),
        (json!({"aud": {"http://localhost:3000/mcp/acme": true}}), Condition::Audience),
        (json!({"exp": "-"}), Condition::Expiry),
        (json!({"exp": null}), Condition::Expiry),
        (json!({"exp": "9999999999"}), Condition::Expiry),
        (json!({"exp": 1e308}), Condition::Expiry),
        (json!({"exp": now - 60}), Condition::Expiry),
        (json!({"nbf": "x"}), Condition::Begin),
        (json!({"nbf": now + 61}), Condition::Begin),
        (json!({"iat": now + 61}), Condition::Begin),
        (json!({"sub": "-"}), Condition::Subject),
        (json!({"sub": ""}), Condition::Subject),
        (json!({"sub": 7}), Condition::Subject),
        (json!({"sub": "x".repeat(513)}), Condition::Subject),
        (json!({"cnf": {"jkt": "x"}}), Condition::Unbound),
        (json!({"nonce": "n"}), Condition::NoIdToken),
        (json!({"at_hash": "h"}), Condition::NoIdToken),
        (json!({"typ": "ID"}), Condition::NoIdToken),
        (json!({"token_use": "id"}), Condition::NoIdToken),
    ] {
        assert_eq!(failed(&t, &owner, &with(&change)).await, condition, "{change}");
    }
    // Written ambiguously, cut off, or no token at all.
    let header = r#"{"alg":"RS256","kid":"a"}"#;
    let claims = provider.claims(&t).to_string();
    let twice = raw(0, header, &claims.replacen('{', r#"{"sub":"somebody-else","#, 1));
    let twice_alg = raw(0, r#"{"alg":"none","alg":"RS256","kid":"a"}"#, &claims);
    let long = with(&json!({"groups": "x".repeat(9000)}));
    let padded = format!("{good}=");
    for bad in [
        "",
        "opaque",
        "a.b.c",
        "a.b.c.d.e",
        "..",
        &twice,
        &twice_alg,
        &long,
        &padded,
        &good[..good.len() - 2].replace('.', " ."),
    ] {
        assert_eq!(failed(&t, &owner, bad).await, Condition::Form, "{bad}");
    }
    let (message, _) = good.rsplit_once('.').unwrap();
    let other = b64(sign(1, message));
    for bad in [
        format!("{message}."),
        format!("{message}.{other}"),
        format!("{message}.{}", b64(&sign(0, message)[..255])),
    ] {
        assert_eq!(failed(&t, &owner, &bad).await, Condition::Signature);
    }
    // ID tokens where the organisation wants them.
    put(&t, &owner, &Input { id_tokens: true, ..provider.input() }).await;
    assert!(check(&t, &owner, &with(&json!({"nonce": "n", "at_hash": "h"}))).await.is_ok());
});

env_test!(idp_03_the_public_key_is_no_shared_secret, |t| async {
    let owner = t.org("acme").await;
    let provider = Provider::new().await;
    put(&t, &owner, &provider.input()).await;
    let der = KEYS[0].public_key().as_der().unwrap();
    let secrets: [Vec<u8>; 3] = [
        der.as_ref().to_vec(),
        jwk(0, "a").to_string().into_bytes(),
        jwk(0, "a")["n"].as_str().unwrap().as_bytes().to_vec(),
    ];
    for secret in secrets {
        let message =
            format!("{}.{}", b64(r#"{"alg":"HS256","kid":"a"}"#), b64(provider.claims(&t).to_string()));
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret);
        let forged = format!("{message}.{}", b64(aws_lc_rs::hmac::sign(&key, message.as_bytes())));
        assert_eq!(failed(&t, &owner, &forged).await, Condition::Algorithm);
    }
});

env_test!(idp_04_a_flood_of_unknown_keys_leads_to_three_fetches_a_minute, |t| async {
    let owner = t.org("acme").await;
    let provider = Provider::new().await;
    put(&t, &owner, &provider.input()).await;
    let plane = plane(&t, &owner).await.unwrap();
    let (before, good) = (provider.asked(), provider.token(&t));
    let claims = b64(provider.claims(&t).to_string());
    for n in 0..5000 {
        let header = b64(json!({"alg": "RS256", "kid": format!("random-{n}")}).to_string());
        let refused = verify(&t.env, &plane, &format!("{header}.{claims}.AAAA")).await.unwrap_err();
        assert_eq!(refused.condition, Condition::Key);
        if n % 100 == 0 {
            assert!(verify(&t.env, &plane, &good).await.is_ok());
        }
        t.clock.advance(12);
    }
    assert!(provider.asked() - before <= 3, "{}", provider.asked() - before);
});

env_test!(idp_04_tokens_of_others_never_lead_to_a_fetch, |t| async {
    let owner = t.org("acme").await;
    let provider = Provider::new().await;
    put(&t, &owner, &provider.input()).await;
    let before = provider.asked();
    t.clock.advance(MINUTE);
    let mut claims = provider.claims(&t);
    claims["iss"] = json!("https://elsewhere.example");
    let foreign = token(1, &json!({"alg": "RS256", "kid": "unknown"}), &claims);
    assert_eq!(failed(&t, &owner, &foreign).await, Condition::Issuer);
    assert_eq!(provider.asked(), before);
});

env_test!(idp_04_many_who_wait_for_keys_share_one_fetch, |t| async {
    let owner = t.org("acme").await;
    let provider = Provider::new().await;
    put(&t, &owner, &provider.input()).await;
    let plane = plane(&t, &owner).await.unwrap();
    // Another process, or this one after a restart: nothing is known yet.
    let mut env = t.env.clone();
    env.jwks = Arc::default();
    let before = provider.asked();
    let token = provider.token(&t);
    let all = (0..50).map(|_| verify(&env, &plane, &token));
    assert!(futures_util::future::join_all(all).await.iter().all(Result::is_ok));
    assert_eq!(provider.asked() - before, 1);
});

env_test!(idp_04_a_client_that_hangs_up_does_not_stop_the_fetch, |t| async {
    let owner = t.org("acme").await;
    let provider = Provider::new().await;
    put(&t, &owner, &provider.input()).await;
    let plane = plane(&t, &owner).await.unwrap();
    t.clock.advance(MINUTE);
    provider.publish(&[jwk(1, "b")]);
    let new = token(1, &json!({"alg": "RS256", "kid": "b"}), &provider.claims(&t));
    // Polled once, then dropped.
    let asked = tokio::time::timeout(std::time::Duration::from_nanos(1), verify(&t.env, &plane, &new)).await;
    assert!(asked.is_err() || asked.is_ok_and(|found| found.is_ok()));
    assert!(verify(&t.env, &plane, &new).await.is_ok(), "whoever comes next waits for the same fetch");
});

env_test!(idp_04_keys_follow_the_provider_and_outlive_it_for_a_day, |t| async {
    let owner = t.org("acme").await;
    let provider = Provider::new().await;
    put(&t, &owner, &provider.input()).await;
    let old = |t: &TestEnv| token(0, &json!({"alg": "RS256", "kid": "a"}), &provider.claims(t));
    let new = |t: &TestEnv| token(1, &json!({"alg": "RS256", "kid": "b"}), &provider.claims(t));
    assert!(check(&t, &owner, &old(&t)).await.is_ok());
    // Rotated: the new key is found as soon as half a minute is over, the removed one ends with the hour at the latest.
    provider.publish(&[jwk(1, "b")]);
    t.clock.advance(29_000);
    assert_eq!(failed(&t, &owner, &new(&t)).await, Condition::Key, "keys were fetched less than 30 s ago");
    t.clock.advance(1000);
    assert!(check(&t, &owner, &new(&t)).await.is_ok());
    assert_eq!(failed(&t, &owner, &old(&t)).await, Condition::Key);
    // Removed without a word: an hour later nobody is let in by what was known then.
    provider.publish(&[jwk(0, "a")]);
    t.clock.advance(HOUR);
    assert_eq!(failed(&t, &owner, &new(&t)).await, Condition::Key);
    assert!(check(&t, &owner, &old(&t)).await.is_ok());
    // Down: what is known works for a day, what is not is refused, and nothing is open after it.
    provider.down.store(true, Ordering::SeqCst);
    for _ in 0..23 {
        t.clock.advance(HOUR);
        assert!(check(&t, &owner, &old(&t)).await.is_ok());
        assert_eq!(failed(&t, &owner, &new(&t)).await, Condition::Key);
    }
    t.clock.advance(HOUR + MINUTE);
    assert_eq!(failed(&t, &owner, &old(&t)).await, Condition::Key);
    let page = config::page(&t.env, &owner.actor().await).await.unwrap();
    assert!(page.keys.error.is_some());
    provider.down.store(false, Ordering::SeqCst);
    t.clock.advance(MINUTE);
    assert!(check(&t, &owner, &old(&t)).await.is_ok());
    let page = config::page(&t.env, &owner.actor().await).await.unwrap();
    assert_eq!((page.keys.usable, page.keys.total, page.keys.error), (1, 1, None));
});

env_test!(idp_04_large_sets_redirects_and_nonsense_are_no_keys, |t| async {
    let owner = t.org("acme").await;
    let provider = Provider::new().await;
    let many: Vec<Value> = (0..65).map(|n| jwk(0, &n.to_string())).collect();
    provider.publish(&many);
    assert_eq!(refusal(&t, &owner, &provider.input()).await.1, "jwks");
    provider.publish(&many[..64]);
    put(&t, &owner, &provider.input()).await;
    config::delete(&t.env, &owner.actor().await).await.unwrap();
    for nonsense in [
        json!([]),
        json!("<html>"),
        json!({"keys": {}}),
        json!({"keys": "x"}),
        json!({"padding": "x".repeat(300 << 10), "keys": [jwk(0, "a")]}),
    ] {
        provider.serve("/keys", "", &nonsense);
        assert_eq!(refusal(&t, &owner, &provider.input()).await.1, "jwks");
    }
});

env_test!(idp_05_an_identity_is_organisation_issuer_and_subject, |t| async {
    let owner = t.org("acme").await;
    let provider = Provider::new().await;
    put(&t, &owner, &provider.input()).await;
    let mut claims = provider.claims(&t);
    claims["email"] = json!("owner@acme.example");
    claims["email_verified"] = json!(true);
    let found = check(&t, &owner, &token(0, &json!({"alg": "RS256", "kid": "a"}), &claims)).await.unwrap();
    assert_eq!(
        (found.org, found.issuer.as_str(), found.subject.as_str()),
        (owner.org_id(), provider.issuer.as_str(), "agent-7")
    );
    // Switched off it is out of the snapshot, and the tester still explains.
    config::set_enabled(&t.env, &owner.actor().await, false).await.unwrap();
    assert!(plane(&t, &owner).await.is_none());
    let tested = tester::test(&t.env, &owner.actor().await, &provider.token(&t)).await.unwrap();
    assert!(tested.accepted() && !tested.enabled);
    config::set_enabled(&t.env, &owner.actor().await, true).await.unwrap();
    assert!(plane(&t, &owner).await.is_some());
    config::delete(&t.env, &owner.actor().await).await.unwrap();
    assert!(plane(&t, &owner).await.is_none());
    assert_eq!(actions(&t, &owner).await, ["sso.configured", "sso.disabled", "sso.enabled", "sso.deleted"]);
});

env_test!(idp_06_rules_and_a_scope_forbid_what_is_otherwise_good, |t| async {
    let owner = t.org("acme").await;
    let provider = Provider::new().await;
    let rules = Input {
        claims: "tid = t-1, t-2\ngroups = agents\nlevel = 3".into(),
        scope: "tools".into(),
        ..provider.input()
    };
    put(&t, &owner, &rules).await;
    let with = |change: Value| {
        let mut claims = provider.claims(&t);
        claims["tid"] = json!("t-2");
        claims["groups"] = json!(["people", "agents"]);
        claims["level"] = json!(3);
        claims["scope"] = json!("openid tools");
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        token(0, &json!({"alg": "RS256", "kid": "a"}), &claims)
    };
    assert!(check(&t, &owner, &with(json!({}))).await.is_ok());
    assert!(check(&t, &owner, &with(json!({"scope": "x", "scp": ["tools"]}))).await.is_ok());
    for (change, condition) in [
        (json!({"tid": "t-3"}), Condition::Claims),
        (json!({"tid": null}), Condition::Claims),
        (json!({"groups": ["Agents"]}), Condition::Claims),
        (json!({"groups": {"agents": true}}), Condition::Claims),
        (json!({"level": 4}), Condition::Claims),
        (json!({"scope": "tools2 xtools"}), Condition::Scope),
        (json!({"scope": null}), Condition::Scope),
    ] {
        let refused = check(&t, &owner, &with(change.clone())).await.unwrap_err();
        assert_eq!(refused.condition, condition, "{change}");
        assert!(refused.is_forbidden());
    }
    // By default every good token may call (IDP-06).
    put(&t, &owner, &provider.input()).await;
    assert!(check(&t, &owner, &with(json!({"scope": "nothing"}))).await.is_ok());
    assert!(!check(&t, &owner, "x").await.unwrap_err().is_forbidden());
});

env_test!(the_tester_names_what_passed_and_what_did_not, |t| async {
    let owner = t.org("acme").await;
    let provider = Provider::new().await;
    put(&t, &owner, &provider.input()).await;
    let good = provider.token(&t);
    let tested = tester::test(&t.env, &owner.actor().await, &format!(" Bearer {good}\n")).await.unwrap();
    assert!(tested.accepted() && tested.enabled && tested.checks.iter().all(|check| check.passed));
    assert_eq!(tested.subject.as_deref(), Some("agent-7"));
    let mut claims = provider.claims(&t);
    claims["aud"] = json!("account");
    let wrong = token(0, &json!({"alg": "RS256", "kid": "a"}), &claims);
    let tested = tester::test(&t.env, &owner.actor().await, &wrong).await.unwrap();
    let last = tested.checks.last().unwrap();
    assert!(!tested.accepted() && !last.passed && last.code == "aud");
    assert!(last.detail.contains("account") && last.detail.contains("http://localhost:3000/mcp/acme"));
    assert!(tested.checks[..tested.checks.len() - 1].iter().all(|check| check.passed));
    // Nothing of it is kept.
    let said = serde_json::to_string(&tested).unwrap();
    assert!(!said.contains(&wrong[wrong.len() - 40..]));
    assert_eq!(actions(&t, &owner).await, ["sso.configured"]);
});

env_test!(what_is_found_is_filled_in_and_what_did_not_change_is_not_asked_again, |t| async {
    let owner = t.org("acme").await;
    let provider = Provider::new().await;
    let found = config::discover(&t.env, &owner.actor().await, &provider.issuer).await.unwrap();
    assert_eq!((found.issuer, found.jwks_uri), (provider.issuer.clone(), provider.jwks_uri()));
    put(&t, &owner, &provider.input()).await;
    let page = config::page(&t.env, &owner.actor().await).await.unwrap();
    assert_eq!(page.provider.unwrap().jwks_uri, provider.jwks_uri());
    assert_eq!(page.endpoint, "http://localhost:3000/mcp/acme");
    // Only RFC 8414.
    let other = Provider::new().await;
    other.documents.lock().unwrap().remove("/.well-known/openid-configuration");
    let issuer = format!("{}/tenant", other.issuer);
    other.serve(
        "/.well-known/oauth-authorization-server/tenant",
        "",
        &json!({"issuer": issuer, "jwks_uri": other.jwks_uri()}),
    );
    assert_eq!(
        config::discover(&t.env, &owner.actor().await, &issuer).await.unwrap().jwks_uri,
        other.jwks_uri()
    );
    let error = app(config::discover(&t.env, &owner.actor().await, &other.issuer).await.unwrap_err());
    assert_eq!((error.code.as_str(), error.fields[0].field.as_str()), ("discovery_failed", "issuer"));
    // The provider is down, and its audience changes all the same.
    provider.down.store(true, Ordering::SeqCst);
    let input = Input { jwks_uri: provider.jwks_uri(), audience: "acme".into(), ..provider.input() };
    put(&t, &owner, &input).await;
    assert_eq!(actions(&t, &owner).await, ["sso.configured", "sso.updated"]);
});

env_test!(idp_01_only_a_plan_that_includes_it_has_one_and_who_manages_it_may_save, |t| async {
    let mut t = t;
    Arc::make_mut(&mut t.env.settings).default_plan = Plan::Team;
    let owner = t.org("acme").await;
    let provider = Provider::new().await;
    let error = app(config::put(&t.env, &owner.actor().await, &provider.input()).await.unwrap_err());
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Forbidden, "plan"));
    set_plan(&t, &owner, Plan::Enterprise).await;
    put(&t, &owner, &provider.input()).await;
    assert!(plane(&t, &owner).await.is_some());
    // With a smaller plan it does nothing, but is kept: it works again with the plan.
    for plan in [Plan::Team, Plan::Pro, Plan::Free] {
        set_plan(&t, &owner, plan).await;
        assert!(plane(&t, &owner).await.is_none(), "{plan}");
        let tested = tester::test(&t.env, &owner.actor().await, &provider.token(&t)).await;
        assert_eq!(app(tested.unwrap_err()).code, "plan", "{plan}");
    }
    set_plan(&t, &owner, Plan::Enterprise).await;
    assert!(check(&t, &owner, &provider.token(&t)).await.is_ok());
    // It can be switched off and not on again.
    set_plan(&t, &owner, Plan::Pro).await;
    config::set_enabled(&t.env, &owner.actor().await, false).await.unwrap();
    assert_eq!(app(config::set_enabled(&t.env, &owner.actor().await, true).await.unwrap_err()).code, "plan");

    let viewer = t.member(&owner, "vera", Role::Viewer).await;
    assert!(config::page(&t.env, &viewer.actor().await).await.is_ok());
    for (name, role) in [("dev", Role::Developer), ("vic", Role::Viewer), ("mem", Role::Member)] {
        let member = t.member(&owner, name, role).await;
        let error = OrgActor::<can::SsoManage>::require(&member.ctx).await.unwrap_err();
        assert_eq!(app(error).kind, ErrorKind::Forbidden, "{role}");
    }
    // Another organisation sees nothing of it (TEN-01).
    let other = t.org("bolt").await;
    assert!(config::page(&t.env, &other.actor().await).await.unwrap().provider.is_none());
    assert_eq!(
        app(config::delete(&t.env, &other.actor().await).await.unwrap_err()).kind,
        ErrorKind::NotFound
    );
    let tested = tester::test(&t.env, &other.actor().await, &provider.token(&t)).await;
    assert_eq!(app(tested.unwrap_err()).kind, ErrorKind::NotFound);
});
