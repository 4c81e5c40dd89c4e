//! The authorization server's rules on both databases.

mod ends;
mod misuse;

use std::sync::Arc;

use domain::{
    Error, connectors, env_test,
    oauth::{
        self, Failure, Fault, Issued, Outcome,
        authorize::{self, Ask, Next, Trusted},
        clients::{AuthMethod, Client, Credentials, authenticate},
        code::{self, Redeem},
        consent::{self, Decision},
        credentials,
        refresh::{self, Refresh},
        register::{self, Registered},
        revoke,
    },
    request::{Origin, RequestContext},
    sealer::{MasterKey, Sealer},
    testing::{TestEnv, TestMember},
    tokens,
};
use model::{
    ClientSecretId, Role, Scope,
    oauth::{ClientKind, OauthSettings, RefreshLifetime, ReusePolicy},
};
use serde_json::{Value, json};
use store::oauth_clients::{ClientSecret, OauthClient};

const MINUTE: i64 = 60 * 1000;
const DAY: i64 = 24 * 60 * MINUTE;
const REDIRECT: &str = "http://localhost:4444/callback";
// RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

fn fault<T: core::fmt::Debug>(outcome: Outcome<T>) -> Fault {
    match outcome {
        Err(Failure::Refused(refusal)) => refusal.fault,
        other => panic!("no refusal: {other:?}"),
    }
}

fn word(error: Error) -> String {
    match error {
        Error::App(app) => app.code,
        other => panic!("no words for people: {other}"),
    }
}

/// A browser that is really there: codes end with their session.
async fn at_a_browser(t: &TestEnv, member: &TestMember) {
    let signed_in = member.ctx.signed_in.as_ref().unwrap();
    let now = t.env.now();
    let session = store::sessions::Session {
        token_hash: signed_in.session.to_string().into_bytes(),
        id: signed_in.session,
        user: Some(member.user),
        data: "{}".to_owned(),
        address: String::new(),
        user_agent: String::new(),
        created_at: now,
        last_seen_at: now,
        expires_at: now + 365 * DAY,
        in_view: None,
        renew: false,
        sso_org: None,
        method: None,
    };
    let mut tx = t.env.db.write().await.unwrap();
    store::sessions::upsert(&mut tx, &session).await.unwrap();
    tx.commit().await.unwrap();
}

async fn register(t: &TestEnv, more: Value) -> Registered {
    let mut said = json!({"client_name": "Some app", "redirect_uris": [REDIRECT]});
    said.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    register::register(&t.env, &Origin::default(), said.as_object().unwrap()).await.unwrap()
}

fn trusted(client: &Client) -> Trusted {
    Trusted { client: client.clone(), redirect_uri: REDIRECT.to_owned() }
}

fn ask() -> Ask<'static> {
    Ask { code_challenge: CHALLENGE, state: Some("xyz"), ..Ask::default() }
}

async fn request(ctx: &RequestContext, client: &Client, ask: &Ask<'_>) -> String {
    match authorize::judge(ctx, &trusted(client), ask).await {
        Ok(Next::Consent(value)) => value,
        other => panic!("{other:?}"),
    }
}

fn allow(request: &str, member: &TestMember) -> Decision {
    Decision {
        request: request.to_owned(),
        allow: true,
        org: Some(member.org_id()),
        all: true,
        connectors: vec![],
    }
}

async fn code_of(t: &TestEnv, member: &TestMember, client: &Client) -> String {
    at_a_browser(t, member).await;
    let value = request(&member.ctx, client, &ask()).await;
    consent::decide(&member.ctx, &allow(&value, member)).await.unwrap().result.unwrap()
}

fn redemption(code: &str) -> Redeem<'_> {
    Redeem { code, redirect_uri: Some(REDIRECT), verifier: Some(VERIFIER), resource: None }
}

async fn redeem(t: &TestEnv, client: &Client, code: &str) -> Outcome<Issued> {
    code::redeem(&t.env, &Origin::default(), client, &redemption(code)).await
}

async fn connected(t: &TestEnv, member: &TestMember, client: &Client) -> Issued {
    let code = code_of(t, member, client).await;
    redeem(t, client, &code).await.unwrap()
}

async fn renew(t: &TestEnv, client: &Client, token: &str) -> Outcome<Issued> {
    let given = Refresh { token, scope: None, resource: None };
    refresh::refresh(&t.env, &Origin::default(), client, &given).await
}

fn next_of(issued: &Issued) -> String {
    issued.refresh_token.clone().unwrap()
}

async fn actions(t: &TestEnv, member: &TestMember) -> Vec<String> {
    let mut tx = t.env.db.read().await.unwrap();
    let lines = store::audit::list_latest(&mut tx, member.org_id(), 100).await.unwrap();
    lines.into_iter().map(|line| line.action).collect()
}

async fn choose(t: &TestEnv, member: &TestMember, settings: OauthSettings) {
    let mut tx = t.env.db.write().await.unwrap();
    store::orgs::set_oauth_settings(&mut tx, member.org_id(), settings).await.unwrap();
    tx.commit().await.unwrap();
}

const SETTINGS: OauthSettings =
    OauthSettings { lifetime: RefreshLifetime::Month, reuse: ReusePolicy::Revoke, open_clients: true };

/// A client of an organisation, with a secret.
async fn own_client(
    t: &TestEnv,
    member: &TestMember,
    kind: ClientKind,
    scope: &str,
) -> (Client, Credentials) {
    let now = t.env.now();
    let row = OauthClient {
        id: format!("gth_client_{}", t.env.uuid().simple()),
        org: Some(member.org_id()),
        kind,
        name: "Own".to_owned(),
        redirect_uris: json!([REDIRECT]).to_string(),
        auth_method: "client_secret_basic".to_owned(),
        scope: scope.to_owned(),
        metadata: "{}".to_owned(),
        management_hash: None,
        fresh_until: None,
        created_at: now,
        created_by: "test".to_owned(),
        updated_at: now,
        last_used_at: None,
    };
    let plain = format!("secret of {}", row.id);
    let secret = ClientSecret {
        id: ClientSecretId::from_uuid(t.env.uuid()),
        client: row.id.clone(),
        hash: domain::key_format::hash(&plain).to_vec(),
        last4: "cret".to_owned(),
        created_at: now,
        created_by: "test".to_owned(),
        expires_at: None,
        last_used_at: None,
    };
    let mut tx = t.env.db.write().await.unwrap();
    store::oauth_clients::insert(&mut tx, &row).await.unwrap();
    store::oauth_clients::insert_secret(&mut tx, row.org, &secret).await.unwrap();
    tx.commit().await.unwrap();
    let given = Credentials { id: row.id, method: AuthMethod::Basic, secret: plain };
    (authenticate(&t.env, &Origin::default(), &given).await.unwrap(), given)
}

env_test!(oaz_01_only_a_known_client_and_its_own_address_are_trusted, |t| async {
    let client = register(&t, json!({})).await.client;
    let trust = async |id: Option<&str>, uri: Option<&str>| {
        authorize::trust(&t.env, &Origin::default(), id, uri).await.map(drop).map_err(word)
    };
    let id = client.id.as_str();
    assert_eq!(trust(Some(id), Some("http://localhost:9/callback")).await, Ok(()));
    for unknown in [None, Some(""), Some("gth_client_nobody"), Some("https://localhost/x"), Some("' OR 1=1")]
    {
        assert_eq!(trust(unknown, Some(REDIRECT)).await, Err("unknown_client".to_owned()), "{unknown:?}");
    }
    for bad in [None, Some("https://evil.example/cb"), Some("http://localhost:4444/callback/")] {
        assert_eq!(trust(Some(id), bad).await, Err("bad_redirect_uri".to_owned()), "{bad:?}");
    }
});

env_test!(oaz_05_scopes_are_known_and_those_of_the_organisation, |t| async {
    let member = t.org("acme").await;
    connectors::add_demo(&t.env, &member.actor().await).await.unwrap();
    let client = register(&t, json!({})).await.client;
    let judged = async |scope: &'static str| {
        let ask = Ask { scope: Some(scope), resource: Some("http://localhost:3000/mcp/acme"), ..ask() };
        authorize::judge(&member.ctx, &trusted(&client), &ask).await
    };
    for good in ["mcp:call", "mcp:call offline_access", "mcp:call:demo", "offline_access", ""] {
        assert!(matches!(judged(good).await, Ok(Next::Consent(_))), "{good}");
    }
    for bad in ["mcp:call:nothing", "openid", "mcp:call:demo admin", "mcp:call:*", "MCP:CALL"] {
        assert_eq!(fault(judged(bad).await), Fault::InvalidScope, "{bad}");
    }
});

env_test!(oaz_06_a_resource_is_an_endpoint_of_an_organisation_of_the_person, |t| async {
    let member = t.org("acme").await;
    let other = t.org("globex").await;
    let client = register(&t, json!({})).await.client;
    let judged = async |resource: &'static str| {
        let ask = Ask { resource: Some(resource), ..ask() };
        authorize::judge(&member.ctx, &trusted(&client), &ask).await
    };
    for good in ["http://localhost:3000/mcp/acme", "http://localhost:3000/mcp/acme/"] {
        assert!(matches!(judged(good).await, Ok(Next::Consent(_))), "{good}");
    }
    for bad in [
        "http://localhost:3000/mcp/nobody",
        "http://localhost:3000/mcp/acme/nothing",
        "http://localhost:3000/mcp/acme#x",
        "http://localhost:3000",
        "/mcp/acme",
        "acme",
        "https://evil.example/mcp/acme",
    ] {
        assert_eq!(fault(judged(bad).await), Fault::InvalidTarget, "{bad}");
    }
    assert_eq!(fault(judged("http://localhost:3000/mcp/globex").await), Fault::AccessDenied);
    // Nobody is told which organisations there are before they are signed in.
    let ask = Ask { resource: Some("http://localhost:3000/mcp/nobody"), ..ask() };
    let next = authorize::judge(&t.anonymous(), &trusted(&client), &ask).await;
    assert!(matches!(next, Ok(Next::LogIn { again: None })), "{next:?}");
    drop(other);
});

env_test!(oaz_07_a_request_is_decided_once_in_its_own_session_within_ten_minutes, |t| async {
    let member = t.org("acme").await;
    let client = register(&t, json!({})).await.client;
    let value = request(&member.ctx, &client, &ask()).await;
    // Somebody else, another browser of the same person, nobody: it is not there.
    let other = t.org("globex").await;
    let elsewhere = t.signed_in(member.user, member.org_id());
    for ctx in [&other.ctx, &elsewhere] {
        assert_eq!(word(consent::view(ctx, &value).await.unwrap_err()), "request_gone");
        assert_eq!(word(consent::decide(ctx, &allow(&value, &member)).await.unwrap_err()), "request_gone");
    }
    assert_eq!(word(consent::view(&t.anonymous(), &value).await.unwrap_err()), "unauthenticated");
    let seen = consent::view(&member.ctx, &value).await.unwrap();
    assert_eq!((seen.client_name.as_str(), seen.redirect_host.as_str()), ("Some app", "localhost:4444"));
    assert!(seen.loopback && !seen.other_app && seen.orgs.len() == 1);
    assert_eq!(consent::form_target(&member.ctx, &value).await.unwrap(), "http://localhost:4444");

    let answer = consent::decide(&member.ctx, &allow(&value, &member)).await.unwrap();
    assert_eq!(answer.state.as_deref(), Some("xyz"));
    assert!(answer.result.unwrap().len() > 43);
    assert_eq!(
        word(consent::decide(&member.ctx, &allow(&value, &member)).await.unwrap_err()),
        "request_gone"
    );

    let late = request(&member.ctx, &client, &ask()).await;
    t.clock.advance(10 * MINUTE);
    assert_eq!(word(consent::view(&member.ctx, &late).await.unwrap_err()), "request_gone");
    assert_eq!(word(consent::decide(&member.ctx, &allow(&late, &member)).await.unwrap_err()), "request_gone");

    let no = request(&member.ctx, &client, &ask()).await;
    let denied = Decision { request: no, ..Decision::default() };
    let answer = consent::decide(&member.ctx, &denied).await.unwrap();
    assert_eq!(answer.result.unwrap_err().fault, Fault::AccessDenied);
    assert!(actions(&t, &member).await.contains(&"oauth.consent_denied".to_owned()));
});

env_test!(oaz_07_a_person_has_at_most_twenty_open_requests, |t| async {
    let member = t.org("acme").await;
    let client = register(&t, json!({})).await.client;
    let mut values = Vec::new();
    for _ in 0..21 {
        values.push(request(&member.ctx, &client, &ask()).await);
        t.clock.advance(1);
    }
    assert_eq!(word(consent::view(&member.ctx, &values[0]).await.unwrap_err()), "request_gone");
    assert!(consent::view(&member.ctx, &values[1]).await.is_ok());
});

env_test!(oaz_07_who_may_give_access_and_to_what, |t| async {
    let owner = t.org("acme").await;
    connectors::add_demo(&t.env, &owner.actor().await).await.unwrap();
    let client = register(&t, json!({})).await.client;
    for (role, may) in
        [(Role::Admin, true), (Role::Developer, true), (Role::Member, true), (Role::Viewer, false)]
    {
        let member = t.member(&owner, role.as_str(), role).await;
        let value = request(&member.ctx, &client, &ask()).await;
        let seen = consent::view(&member.ctx, &value).await.unwrap();
        assert_eq!(seen.orgs[0].refused.is_none(), may, "{role}");
        assert_eq!(seen.orgs[0].connectors[0].slug.as_str(), "demo");
        let decided = consent::decide(&member.ctx, &allow(&value, &member)).await;
        assert_eq!(decided.is_ok(), may, "{role}");
    }
    // Of several organisations one has to be chosen; a foreign one cannot be.
    let foreign = t.org("globex").await;
    let value = request(&owner.ctx, &client, &ask()).await;
    let wrong = Decision { org: Some(foreign.org_id()), ..allow(&value, &owner) };
    assert_eq!(word(consent::decide(&owner.ctx, &wrong).await.unwrap_err()), "required");
    // Nothing chosen, and something that is not there: the request stays open.
    let nothing = Decision { all: false, ..allow(&value, &owner) };
    assert_eq!(word(consent::decide(&owner.ctx, &nothing).await.unwrap_err()), "required");
    let missing = Decision { all: false, connectors: vec!["nope".into()], ..allow(&value, &owner) };
    assert_eq!(word(consent::decide(&owner.ctx, &missing).await.unwrap_err()), "not_found");
    choose(&t, &owner, OauthSettings { open_clients: false, ..SETTINGS }).await;
    assert_eq!(
        word(consent::decide(&owner.ctx, &allow(&value, &owner)).await.unwrap_err()),
        "not_allowed_here"
    );
    let (own, _) = own_client(&t, &owner, ClientKind::Code, "mcp:call:demo").await;
    let value = request(&owner.ctx, &own, &ask()).await;
    assert_eq!(consent::view(&owner.ctx, &value).await.unwrap().scope.to_string(), "mcp:call:demo");
    consent::decide(&owner.ctx, &allow(&value, &owner)).await.unwrap();
    // A client of one organisation is nothing in another.
    let judged = authorize::judge(&foreign.ctx, &trusted(&own), &ask()).await;
    assert_eq!(fault(judged), Fault::AccessDenied);
});

env_test!(mfa_06_nobody_consents_for_an_organisation_that_wants_a_second_factor_of_them, |t| async {
    let acme = t.org("acme").await;
    let client = register(&t, json!({})).await.client;
    let dev = t.member(&acme, "dev", Role::Developer).await;
    at_a_browser(&t, &dev).await;
    let value = request(&dev.ctx, &client, &ask()).await;
    t.enrol(&acme.ctx).await;
    domain::org_security::set_require_mfa_by_operator(&t.env, acme.org_id(), true).await.unwrap();
    let shown = consent::view(&dev.ctx, &value).await.unwrap_err();
    assert_eq!(word(shown), "mfa_enrollment_required", "the page says it in place of the question");
    let refused = consent::decide(&dev.ctx, &allow(&value, &dev)).await.unwrap_err();
    assert_eq!(word(refused), "mfa_enrollment_required");
    assert!(!actions(&t, &acme).await.contains(&"oauth.consent_granted".to_owned()));
    // In another browser of theirs.
    t.enrol(&t.signed_in(dev.user, acme.org_id())).await;
    consent::decide(&dev.ctx, &allow(&value, &dev)).await.expect("with a second factor");
});

env_test!(oaz_05_nobody_is_given_more_than_was_chosen, |t| async {
    let member = t.org("acme").await;
    connectors::add_demo(&t.env, &member.actor().await).await.unwrap();
    let client = register(&t, json!({})).await.client;
    at_a_browser(&t, &member).await;
    let value = request(&member.ctx, &client, &ask()).await;
    let some = Decision { all: false, connectors: vec!["demo".into()], ..allow(&value, &member) };
    let code = consent::decide(&member.ctx, &some).await.unwrap().result.unwrap();
    assert_eq!(redeem(&t, &client, &code).await.unwrap().scope.to_string(), "mcp:call:demo");
});

env_test!(oaz_09_prompt_and_max_age_are_honoured, |t| async {
    let member = t.org("acme").await;
    at_a_browser(&t, &member).await;
    let client = register(&t, json!({})).await.client;
    let judged =
        async |ctx: &RequestContext, ask: Ask<'static>| authorize::judge(ctx, &trusted(&client), &ask).await;
    let silent = || Ask { silent: true, ..ask() };
    assert_eq!(fault(judged(&t.anonymous(), silent()).await), Fault::LoginRequired);
    assert_eq!(fault(judged(&member.ctx, silent()).await), Fault::ConsentRequired);
    t.clock.advance(MINUTE);
    let now = t.env.now();
    let again = judged(&member.ctx, Ask { log_in_again: true, ..ask() }).await.unwrap();
    assert_eq!(again, Next::LogIn { again: Some(now) });
    assert!(matches!(judged(&member.ctx, Ask { max_age: Some(60), ..ask() }).await, Ok(Next::Consent(_))));
    let old = judged(&member.ctx, Ask { max_age: Some(59), ..ask() }).await.unwrap();
    assert_eq!(old, Next::LogIn { again: Some(now) });
    assert_eq!(fault(judged(&member.ctx, Ask { max_age: Some(0), ..silent() }).await), Fault::LoginRequired);
    let after = |at| Ask { signed_in_after: Some(at), ..ask() };
    assert!(matches!(judged(&member.ctx, after(now)).await, Ok(Next::LogIn { .. })));
    // A time to come would never be reached.
    assert!(matches!(judged(&member.ctx, after(i64::MAX)).await, Ok(Next::Consent(_))));
    at_a_browser(&t, &member).await;
    let back = Ask { max_age: Some(0), ..after(now) };
    let renewed = t.signed_in(member.user, member.org_id());
    let fresh = TestMember { ctx: renewed, ..member.clone() };
    at_a_browser(&t, &fresh).await;
    t.clock.advance(5000);
    assert!(matches!(judged(&fresh.ctx, back).await, Ok(Next::Consent(_))));
});

env_test!(oat_02_a_code_brings_a_connection_once, |t| async {
    let member = t.org("acme").await;
    let client = register(&t, json!({})).await.client;
    let code = code_of(&t, &member, &client).await;
    let issued = redeem(&t, &client, &code).await.unwrap();
    let access = tokens::read(&t.env, &issued.access_token).await.unwrap();
    assert_eq!(access.audience, "http://localhost:3000/mcp/acme");
    assert_eq!((access.org, access.subject.as_str()), (member.org_id(), member.user.to_string().as_str()));
    assert_eq!((issued.expires_in, issued.scope.clone()), (3600, Scope::everything()));
    let named = access.grant.unwrap();
    {
        let mut tx = t.env.db.read().await.unwrap();
        let connections = store::connections::list(&mut tx, member.org_id()).await.unwrap();
        assert_eq!(connections.len(), 1);
        assert_eq!(connections[0].key, named.key);
        assert!(connections[0].key_prefix.starts_with("gth_conn_sk_"));
        assert_eq!(connections[0].created_address, "203.0.113.7");
        assert_eq!(connections[0].last_token_at, Some(t.env.now()), "the first token is one");
        assert_eq!(
            store::oauth_grants::list_live(&mut tx, member.org_id(), t.env.now()).await.unwrap().len(),
            1
        );
        let sent = store::outbox::list(&mut tx, member.org_id()).await.unwrap();
        assert!(sent.iter().any(|(event, _)| event == "connection.created"));
    }
    assert!(actions(&t, &member).await.contains(&"connection.created".to_owned()));

    // The same once more: what the code brought is dead.
    assert_eq!(fault(redeem(&t, &client, &code).await), Fault::InvalidGrant);
    assert_eq!(fault(renew(&t, &client, &next_of(&issued)).await), Fault::InvalidGrant);
    let mut tx = t.env.db.read().await.unwrap();
    assert!(store::oauth_grants::list_live(&mut tx, member.org_id(), t.env.now()).await.unwrap().is_empty());
    drop(tx);
    assert!(actions(&t, &member).await.contains(&"oauth.code_reuse_detected".to_owned()));

    // A further consent renews the connection and adds a grant.
    connected(&t, &member, &client).await;
    let mut tx = t.env.db.read().await.unwrap();
    assert_eq!(store::connections::list(&mut tx, member.org_id()).await.unwrap().len(), 1);
});

env_test!(oat_02_of_forty_at_once_one_succeeds, |t| async {
    let member = t.org("acme").await;
    let client = register(&t, json!({})).await.client;
    let code: Arc<str> = code_of(&t, &member, &client).await.into();
    t.env.keys.signer(&t.env).await.unwrap();
    let mut at_once = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let (env, client, code) = (t.env.clone(), client.clone(), Arc::clone(&code));
        at_once
            .spawn(async move { code::redeem(&env, &Origin::default(), &client, &redemption(&code)).await });
    }
    let mut good = 0;
    for done in at_once.join_all().await {
        match done {
            Ok(_) => good += 1,
            refused => assert_eq!(fault(refused), Fault::InvalidGrant),
        }
    }
    assert_eq!(good, 1);
});

env_test!(oat_02_a_code_is_bound_to_everything_and_a_failed_attempt_uses_it_up, |t| async {
    let member = t.org("acme").await;
    let client = register(&t, json!({})).await.client;
    let other = register(&t, json!({})).await.client;
    let origin = Origin::default();
    let wrong: &[(&str, Redeem<'_>, Fault)] = &[
        ("verifier", Redeem { verifier: Some(CHALLENGE), ..redemption("") }, Fault::InvalidGrant),
        ("no verifier", Redeem { verifier: None, ..redemption("") }, Fault::InvalidGrant),
        (
            "redirect",
            Redeem { redirect_uri: Some("http://localhost:1/callback"), ..redemption("") },
            Fault::InvalidGrant,
        ),
        ("no redirect", Redeem { redirect_uri: None, ..redemption("") }, Fault::InvalidGrant),
        (
            "resource",
            Redeem { resource: Some("http://localhost:3000/mcp/globex"), ..redemption("") },
            Fault::InvalidTarget,
        ),
    ];
    for (what, given, expected) in wrong {
        let code = code_of(&t, &member, &client).await;
        let given = Redeem { code: &code, ..given.clone() };
        assert_eq!(fault(code::redeem(&t.env, &origin, &client, &given).await), *expected, "{what}");
        assert_eq!(fault(redeem(&t, &client, &code).await), Fault::InvalidGrant, "{what}");
    }
    let code = code_of(&t, &member, &client).await;
    assert_eq!(fault(redeem(&t, &other, &code).await), Fault::InvalidGrant);
    assert_eq!(fault(redeem(&t, &client, &code).await), Fault::InvalidGrant);

    let code = code_of(&t, &member, &client).await;
    t.clock.advance(60 * 1000);
    assert_eq!(fault(redeem(&t, &client, &code).await), Fault::InvalidGrant, "after a minute");
    assert_eq!(fault(redeem(&t, &client, "gth_code_unknown").await), Fault::InvalidGrant);

    let code = code_of(&t, &member, &client).await;
    let session = member.ctx.signed_in.as_ref().unwrap().session;
    let mut tx = t.env.db.write().await.unwrap();
    store::sessions::delete_of_user(&mut tx, member.user, session).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(fault(redeem(&t, &client, &code).await), Fault::InvalidGrant, "the session ended");
});

env_test!(oat_04_a_client_authenticates_as_it_registered, |t| async {
    use AuthMethod::{Basic, None, Post};
    let member = t.org("acme").await;
    let public = register(&t, json!({})).await.client;
    let post = register(&t, json!({"token_endpoint_auth_method": "client_secret_post"})).await;
    let (_, basic) = own_client(&t, &member, ClientKind::Machine, "mcp:call").await;
    let secret = post.secret.clone().unwrap();
    let try_it = async |id: &str, method: AuthMethod, secret: &str| {
        let given = Credentials { id: id.to_owned(), method, secret: secret.to_owned() };
        authenticate(&t.env, &Origin::default(), &given).await.is_ok()
    };
    assert!(try_it(&public.id, None, "").await);
    assert!(try_it(&post.client.id, Post, &secret).await);
    assert!(try_it(&basic.id, Basic, &basic.secret).await);
    assert!(!try_it(&public.id, Post, "x").await && !try_it(&public.id, Basic, "x").await);
    assert!(!try_it(&post.client.id, Basic, &secret).await && !try_it(&post.client.id, None, "").await);
    assert!(
        !try_it(&basic.id, Post, &basic.secret).await && !try_it(&basic.id, Basic, "secret of another").await
    );
    assert!(!try_it("nobody", None, "").await && !try_it("", Basic, "x").await);
    // Two secrets live side by side until the overlap ends.
    let mut tx = t.env.db.write().await.unwrap();
    let old = store::oauth_clients::list_secrets(&mut tx, &basic.id).await.unwrap().remove(0);
    store::oauth_clients::expire_secret(&mut tx, old.id, t.env.now() + MINUTE).await.unwrap();
    tx.commit().await.unwrap();
    assert!(try_it(&basic.id, Basic, &basic.secret).await);
    t.clock.advance(MINUTE);
    assert!(!try_it(&basic.id, Basic, &basic.secret).await);
});

env_test!(oat_05_machines_get_a_token_of_their_organisation, |t| async {
    let member = t.org("acme").await;
    connectors::add_demo(&t.env, &member.actor().await).await.unwrap();
    t.org("globex").await;
    let (machine, _) = own_client(&t, &member, ClientKind::Machine, "mcp:call:demo mcp:call:files").await;
    let issue = async |client: &Client, scope: Option<&'static str>, resource: Option<&'static str>| {
        credentials::issue(&t.env, &t.anonymous().origin, client, scope, resource).await
    };
    let issued = issue(&machine, None, None).await.unwrap();
    assert_eq!((issued.refresh_token.clone(), issued.expires_in), (None, 3600));
    let access = tokens::read(&t.env, &issued.access_token).await.unwrap();
    assert_eq!(access.audience, "http://localhost:3000/mcp/acme");
    assert_eq!(
        (access.subject.clone(), access.org, access.grant),
        (machine.id.clone(), member.org_id(), None)
    );
    assert_eq!(access.scope.to_string(), "mcp:call:demo mcp:call:files");
    let less = issue(&machine, Some("mcp:call:demo"), Some("http://localhost:3000/mcp/acme/")).await.unwrap();
    assert_eq!(less.scope.to_string(), "mcp:call:demo");
    for wider in ["mcp:call", "mcp:call:other", "mcp:call:demo mcp:call:other", "nonsense"] {
        assert_eq!(fault(issue(&machine, Some(wider), None).await), Fault::InvalidScope, "{wider}");
    }
    // One that may ask for everything is told as well that what it names is not there.
    let (every, _) = own_client(&t, &member, ClientKind::Machine, "mcp:call").await;
    for missing in ["mcp:call:nope", "mcp:call:demo mcp:call:nope"] {
        assert_eq!(fault(issue(&every, Some(missing), None).await), Fault::InvalidScope, "{missing}");
    }
    assert_eq!(issue(&every, Some("mcp:call:demo"), None).await.unwrap().scope.to_string(), "mcp:call:demo");
    for other in ["http://localhost:3000/mcp/globex", "http://localhost:3000/", "x"] {
        assert_eq!(fault(issue(&machine, None, Some(other)).await), Fault::InvalidTarget, "{other}");
    }
    let public = register(&t, json!({})).await.client;
    let (code, _) = own_client(&t, &member, ClientKind::Code, "mcp:call").await;
    for client in [&public, &code] {
        assert_eq!(fault(issue(client, None, None).await), Fault::UnauthorizedClient);
    }
});

env_test!(oar_01_a_grant_lasts_from_consent_as_the_organisation_chose, |t| async {
    let member = t.org("acme").await;
    let client = register(&t, json!({})).await.client;
    choose(&t, &member, OauthSettings { lifetime: RefreshLifetime::Day, ..SETTINGS }).await;
    let mut token = next_of(&connected(&t, &member, &client).await);
    // Rotation does not prolong it, nor does a longer choice made later.
    choose(&t, &member, OauthSettings { lifetime: RefreshLifetime::Quarter, ..SETTINGS }).await;
    for _ in 0..2 {
        t.clock.advance(DAY / 2 - MINUTE);
        token = next_of(&renew(&t, &client, &token).await.unwrap());
    }
    assert!(token.len() >= 43 && token.starts_with("gth_rt_"));
    t.clock.advance(2 * MINUTE);
    assert_eq!(fault(renew(&t, &client, &token).await), Fault::InvalidGrant);
});

env_test!(oar_02_each_refresh_brings_another_token_with_the_same_scope, |t| async {
    let member = t.org("acme").await;
    let client = register(&t, json!({})).await.client;
    let first = connected(&t, &member, &client).await;
    let second = renew(&t, &client, &next_of(&first)).await.unwrap();
    assert_ne!(next_of(&first), next_of(&second));
    assert_eq!(first.scope, second.scope);
});

env_test!(oat_06_scope_and_resource_may_narrow_and_never_widen, |t| async {
    let member = t.org("acme").await;
    connectors::add_demo(&t.env, &member.actor().await).await.unwrap();
    let client = register(&t, json!({})).await.client;
    let first = connected(&t, &member, &client).await;
    let second = renew(&t, &client, &next_of(&first)).await.unwrap();
    // One access token may have less; the next one has it all again. More than was granted is refused.
    let token = next_of(&second);
    let given = Refresh {
        token: &token,
        scope: Some("mcp:call:demo"),
        resource: Some("http://localhost:3000/mcp/acme"),
    };
    let less = refresh::refresh(&t.env, &Origin::default(), &client, &given).await.unwrap();
    assert_eq!(less.scope.to_string(), "mcp:call:demo");
    assert_eq!(renew(&t, &client, &next_of(&less)).await.unwrap().scope, first.scope);
    let bad = |scope, resource| Refresh { token: &token, scope, resource };
    for given in [bad(Some("openid"), None), bad(None, Some("http://localhost:3000/mcp/globex"))] {
        assert!(refresh::refresh(&t.env, &Origin::default(), &client, &given).await.is_err());
    }
});

env_test!(oar_03_the_token_of_another_client_is_refused_and_noted, |t| async {
    let member = t.org("acme").await;
    let client = register(&t, json!({})).await.client;
    let other = register(&t, json!({})).await.client;
    let token = next_of(&connected(&t, &member, &client).await);
    assert_eq!(fault(renew(&t, &other, &token).await), Fault::InvalidGrant);
    assert!(actions(&t, &member).await.contains(&"oauth.refresh_refused".to_owned()));
    assert!(renew(&t, &client, &token).await.is_ok(), "its own client still may");
});

env_test!(oar_04_what_ends_a_connection_ends_its_tokens, |t| async {
    let member = t.org("acme").await;
    let client = register(&t, json!({})).await.client;
    let token = next_of(&connected(&t, &member, &client).await);
    let mut tx = t.env.db.write().await.unwrap();
    let connection = store::connections::list(&mut tx, member.org_id()).await.unwrap().remove(0);
    store::connections::revoke(&mut tx, member.org_id(), connection.id, t.env.now(), "x", "x").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(fault(renew(&t, &client, &token).await), Fault::InvalidGrant);
    // After a revocation a further consent makes another connection beside it.
    let token = next_of(&connected(&t, &member, &client).await);
    let mut tx = t.env.db.write().await.unwrap();
    assert_eq!(store::connections::list(&mut tx, member.org_id()).await.unwrap().len(), 2);
    store::members::set_role(&mut tx, member.org_id(), member.user, Role::Viewer).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(fault(renew(&t, &client, &token).await), Fault::InvalidGrant, "a viewer has no connections");
});

env_test!(oar_05_of_twenty_at_once_all_get_the_same_successor, |t| async {
    let member = t.org("acme").await;
    let client = register(&t, json!({})).await.client;
    let token: Arc<str> = next_of(&connected(&t, &member, &client).await).into();
    let mut at_once = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (env, client, token) = (t.env.clone(), client.clone(), Arc::clone(&token));
        at_once.spawn(async move {
            let given = Refresh { token: &token, scope: None, resource: None };
            refresh::refresh(&env, &Origin::default(), &client, &given).await.unwrap()
        });
    }
    let all = at_once.join_all().await;
    assert_eq!(all.len(), 20);
    assert!(all.iter().all(|issued| issued.refresh_token == all[0].refresh_token));
    let mut access: Vec<_> = all.iter().map(|issued| &issued.access_token).collect();
    access.sort();
    access.dedup();
    assert_eq!(access.len(), 20);
    assert!(renew(&t, &client, &next_of(&all[0])).await.is_ok());
});

env_test!(oar_06_a_replaced_token_is_known_after_a_restart_and_a_rollback_uses_nothing_up, |t| async {
    let member = t.org("acme").await;
    let client = register(&t, json!({})).await.client;
    let first = next_of(&connected(&t, &member, &client).await);
    // The database fails over in the middle of a refresh.
    {
        let mut tx = t.env.db.write().await.unwrap();
        let hash = domain::key_format::hash(&first);
        let grant = store::oauth_grants::find_by_token(&mut tx, &hash).await.unwrap().unwrap();
        assert!(store::oauth_grants::rotate(&mut tx, grant.org, grant.id, 1, t.env.now()).await.unwrap());
    }
    let second = next_of(&renew(&t, &client, &first).await.unwrap());
    let third = next_of(&renew(&t, &client, &second).await.unwrap());
    // Another process with the same database and the same master key.
    let restarted = domain::Env {
        oauth: Arc::default(),
        keys: Arc::new(domain::signing::KeyRing::for_tests()),
        ..t.env.clone()
    };
    let given = |token| Refresh { token, scope: None, resource: None };
    let again = refresh::refresh(&restarted, &Origin::default(), &client, &given(&second)).await.unwrap();
    assert_eq!(next_of(&again), third);
    let refused = refresh::refresh(&restarted, &Origin::default(), &client, &given(&first)).await;
    assert_eq!(fault(refused), Fault::InvalidGrant);
    assert_eq!(fault(renew(&t, &client, &third).await), Fault::InvalidGrant, "the family is dead");
});

env_test!(oar_07_a_replay_after_the_grace_ends_the_family, |t| async {
    let member = t.org("acme").await;
    let client = register(&t, json!({})).await.client;
    let first = next_of(&connected(&t, &member, &client).await);
    let second = next_of(&renew(&t, &client, &first).await.unwrap());
    t.clock.advance(119 * 1000);
    assert_eq!(next_of(&renew(&t, &client, &first).await.unwrap()), second, "within two minutes");
    // An access token of the successor is used: the successor arrived.
    let mut tx = t.env.db.write().await.unwrap();
    let hash = domain::key_format::hash(&second);
    let grant = store::oauth_grants::find_by_token(&mut tx, &hash).await.unwrap().unwrap();
    store::oauth_grants::set_used(&mut tx, grant.org, grant.id, 2).await.unwrap();
    tx.commit().await.unwrap();
    t.clock.advance(10 * MINUTE);
    assert_eq!(fault(renew(&t, &client, &first).await), Fault::InvalidGrant);
    assert_eq!(fault(renew(&t, &client, &second).await), Fault::InvalidGrant, "and its successor is dead");
    let events = actions(&t, &member).await;
    let detected = events.iter().filter(|action| *action == "oauth.refresh_reuse_detected").count();
    assert_eq!(detected, 1, "{events:?}");
});

env_test!(oar_07_a_lost_answer_can_be_asked_for_again_at_any_time, |t| async {
    let member = t.org("acme").await;
    let client = register(&t, json!({})).await.client;
    let first = next_of(&connected(&t, &member, &client).await);
    let second = next_of(&renew(&t, &client, &first).await.unwrap());
    t.clock.advance(5 * DAY);
    assert_eq!(next_of(&renew(&t, &client, &first).await.unwrap()), second);
    assert!(renew(&t, &client, &second).await.is_ok());
});

env_test!(oar_07_a_grandparent_has_no_grace, |t| async {
    let member = t.org("acme").await;
    let client = register(&t, json!({})).await.client;
    let first = next_of(&connected(&t, &member, &client).await);
    let second = next_of(&renew(&t, &client, &first).await.unwrap());
    let third = next_of(&renew(&t, &client, &second).await.unwrap());
    assert_eq!(fault(renew(&t, &client, &first).await), Fault::InvalidGrant);
    assert_eq!(fault(renew(&t, &client, &third).await), Fault::InvalidGrant);
});

env_test!(oar_07_an_organisation_may_only_reject, |t| async {
    let member = t.org("acme").await;
    let client = register(&t, json!({})).await.client;
    choose(&t, &member, OauthSettings { reuse: ReusePolicy::Reject, ..SETTINGS }).await;
    let first = next_of(&connected(&t, &member, &client).await);
    let second = next_of(&renew(&t, &client, &first).await.unwrap());
    let third = next_of(&renew(&t, &client, &second).await.unwrap());
    assert_eq!(fault(renew(&t, &client, &first).await), Fault::InvalidGrant);
    assert!(renew(&t, &client, &third).await.is_ok());
    assert!(actions(&t, &member).await.contains(&"oauth.refresh_reuse_detected".to_owned()));
});

env_test!(oar_07_the_successor_is_found_after_the_master_key_was_replaced, |t| async {
    let key = |text: &str| MasterKey::parse(text).unwrap();
    let (old, new) =
        ("rRq0uY2c5Jt1mEoWv7Zr3bNd9sKgHfPa6TxLi4Dq0Ek", "x8Xq0uY2c5Jt1mEoWv7Zr3bNd9sKgHfPa6TxLi4Dq0A");
    let member = t.org("acme").await;
    let client = register(&t, json!({})).await.client;
    let first = next_of(&connected(&t, &member, &client).await);
    // The signing keys stay readable: only what is derived matters here.
    let with = |sealer| domain::Env { sealer: Arc::new(sealer), ..t.env.clone() };
    let given = Refresh { token: &first, scope: None, resource: None };
    let before = with(Sealer::new(key(old)));
    let second = refresh::refresh(&before, &Origin::default(), &client, &given).await.unwrap();
    let after = with(Sealer::with_previous(key(new), vec![key(old)]));
    let again = refresh::refresh(&after, &Origin::default(), &client, &given).await.unwrap();
    assert_eq!(next_of(&second), next_of(&again));
});

env_test!(oad_01_the_server_decides_what_a_client_is_called, |t| async {
    let said = json!({
        "client_id": "https://mine.example/x", "client_secret": "mine", "software_statement": "x.y.z",
        "client_name": "A\u{202E}b\u{0}c", "scope": "openid mcp:call:files", "something": {"else": 1},
    });
    let made = register(&t, said).await;
    assert!(made.client.id.starts_with("gth_client_"));
    assert_eq!((made.client.name.as_str(), made.client.auth_method), ("Abc", AuthMethod::None));
    assert_eq!(made.secret, None);
    assert_eq!(made.client.scope.to_string(), "mcp:call:files offline_access");
    let web = register(&t, json!({"redirect_uris": ["https://app.example.com/cb"]})).await;
    assert_eq!(web.client.auth_method, AuthMethod::Basic, "RFC 7591's default");
    assert!(web.secret.unwrap().len() > 40);
});

env_test!(oad_03_what_cannot_be_is_refused_and_floods_are, |t| async {
    let try_it = async |origin: &Origin, said: Value| {
        register::register(&t.env, origin, said.as_object().unwrap()).await.map(drop)
    };
    let nowhere = Origin::default();
    for bad in [
        json!({}),
        json!({"redirect_uris": []}),
        json!({"redirect_uris": "http://localhost/cb"}),
        json!({"redirect_uris": [1]}),
        json!({"redirect_uris": ["javascript:alert(1)"]}),
        json!({"redirect_uris": vec![REDIRECT; 11]}),
    ] {
        assert_eq!(fault(try_it(&nowhere, bad.clone()).await), Fault::InvalidRedirectUri, "{bad}");
    }
    for bad in [
        json!({"grant_types": ["client_credentials"]}),
        json!({"grant_types": ["implicit"]}),
        json!({"response_types": ["token"]}),
        json!({"token_endpoint_auth_method": "private_key_jwt"}),
        json!({"client_name": "x".repeat(129)}),
        json!({"client_name": 7}),
        json!({"logo_uri": "http://example.com/logo.svg"}),
        json!({"client_uri": "javascript:alert(1)"}),
        json!({"application_type": "toaster"}),
        json!({"contacts": "me"}),
    ] {
        let mut said = json!({"redirect_uris": [REDIRECT]});
        said.as_object_mut().unwrap().extend(bad.as_object().unwrap().clone());
        assert_eq!(fault(try_it(&nowhere, said).await), Fault::InvalidClientMetadata, "{bad}");
    }
    let from = |address: &str| Origin { address: Some(address.parse().unwrap()), ..Origin::default() };
    let good = json!({"redirect_uris": [REDIRECT]});
    for n in 0..10 {
        try_it(&from(&format!("2001:db8::{n}")), good.clone()).await.unwrap();
    }
    let Err(Failure::Failed(Error::App(full))) = try_it(&from("2001:db8::ffff"), good.clone()).await else {
        panic!("the eleventh of an hour")
    };
    assert_eq!((full.kind, full.retry_after), (model::ErrorKind::RateLimited, Some(3600)));
    assert!(try_it(&from("2001:db8:0:1::1"), good.clone()).await.is_ok());
    t.clock.advance(60 * MINUTE);
    assert!(try_it(&from("2001:db8::1"), good).await.is_ok());
});

env_test!(oad_03_clients_that_are_not_used_are_forgotten, |t| async {
    let member = t.org("acme").await;
    let idle = register(&t, json!({})).await.client;
    let used = register(&t, json!({})).await.client;
    connected(&t, &member, &used).await;
    t.clock.advance(DAY + MINUTE);
    oauth::purge(&t.env).await.unwrap();
    assert!(oauth::clients::find(&t.env, &idle.id).await.unwrap().is_none());
    assert!(oauth::clients::find(&t.env, &used.id).await.unwrap().is_some());
    t.clock.advance(91 * DAY);
    oauth::purge(&t.env).await.unwrap();
    assert!(oauth::clients::find(&t.env, &used.id).await.unwrap().is_some(), "it has a live connection");
});

env_test!(oad_04_a_registration_is_managed_with_its_token, |t| async {
    let member = t.org("acme").await;
    let made = register(&t, json!({})).await;
    let other = register(&t, json!({})).await;
    let (id, token) = (made.client.id.as_str(), made.management.as_str());
    let issued = connected(&t, &member, &made.client).await;
    for wrong in [other.management.as_str(), "", "x"] {
        assert_eq!(fault(register::get(&t.env, id, wrong).await), Fault::InvalidToken);
        assert_eq!(fault(register::delete(&t.env, &Origin::default(), id, wrong).await), Fault::InvalidToken);
    }
    assert_eq!(fault(register::get(&t.env, "nobody", token).await), Fault::InvalidToken);
    assert_eq!(register::get(&t.env, id, token).await.unwrap().client.name, "Some app");
    let put = async |said: Value| register::put(&t.env, id, token, said.as_object().unwrap()).await;
    assert_eq!(fault(put(json!({"redirect_uris": [REDIRECT]})).await), Fault::InvalidRequest, "no client_id");
    let changed =
        put(json!({"client_id": id, "client_name": "New", "redirect_uris": [REDIRECT]})).await.unwrap();
    assert_eq!(changed.client.name, "New");
    register::delete(&t.env, &Origin::default(), id, token).await.unwrap();
    assert_eq!(fault(register::get(&t.env, id, token).await), Fault::InvalidToken);
    assert_eq!(fault(renew(&t, &made.client, &next_of(&issued)).await), Fault::InvalidGrant);
    assert!(actions(&t, &member).await.contains(&"connection.revoked".to_owned()));
});

env_test!(oak_01_a_client_revokes_its_own_tokens, |t| async {
    let member = t.org("acme").await;
    let client = register(&t, json!({})).await.client;
    let other = register(&t, json!({})).await.client;
    let issued = connected(&t, &member, &client).await;
    let token = next_of(&issued);
    let origin = Origin::default();
    for unknown in ["", "nonsense", "gth_rt_unknown", "a.b.c"] {
        revoke::revoke(&t.env, &origin, &client, unknown).await.unwrap();
    }
    revoke::revoke(&t.env, &origin, &other, &token).await.unwrap();
    revoke::revoke(&t.env, &origin, &other, &issued.access_token).await.unwrap();
    let token = next_of(&renew(&t, &client, &token).await.unwrap());
    let listed = async || {
        let mut tx = t.env.db.read().await.unwrap();
        store::signing_keys::list_revoked(&mut tx, member.org_id(), t.env.now()).await.unwrap()
    };
    assert!(listed().await.is_empty());
    revoke::revoke(&t.env, &origin, &client, &issued.access_token).await.unwrap();
    assert_eq!(listed().await, [tokens::read(&t.env, &issued.access_token).await.unwrap().jti.clone()]);
    // The last grant takes the connection with it: the client signed out.
    revoke::revoke(&t.env, &origin, &client, &token).await.unwrap();
    assert_eq!(fault(renew(&t, &client, &token).await), Fault::InvalidGrant);
    let mut tx = t.env.db.read().await.unwrap();
    let connection = store::connections::list(&mut tx, member.org_id()).await.unwrap().remove(0);
    assert!(connection.revoked_at.is_some());
});

env_test!(oak_02_only_the_client_itself_is_told_about_a_token, |t| async {
    let member = t.org("acme").await;
    let client = register(&t, json!({"token_endpoint_auth_method": "client_secret_post"})).await.client;
    let (other, _) = own_client(&t, &member, ClientKind::Machine, "mcp:call").await;
    let public = register(&t, json!({})).await.client;
    let issued = connected(&t, &member, &client).await;
    let token = next_of(&issued);
    assert_eq!(
        fault(revoke::introspect(&t.env, &t.anonymous().origin, &public, &token).await),
        Fault::InvalidClient
    );
    let inactive = json!({"active": false});
    for known in [&issued.access_token, &token] {
        assert_eq!(revoke::introspect(&t.env, &t.anonymous().origin, &other, known).await.unwrap(), inactive);
        let told = revoke::introspect(&t.env, &t.anonymous().origin, &client, known).await.unwrap();
        assert_eq!((&told["active"], &told["client_id"]), (&json!(true), &json!(client.id)));
        assert_eq!(told["aud"], "http://localhost:3000/mcp/acme");
    }
    assert_eq!(
        revoke::introspect(&t.env, &t.anonymous().origin, &client, "nonsense").await.unwrap(),
        inactive
    );
    let own = credentials::issue(&t.env, &t.anonymous().origin, &other, None, None).await.unwrap();
    assert_eq!(
        revoke::introspect(&t.env, &t.anonymous().origin, &other, &own.access_token).await.unwrap()["active"],
        true
    );
    revoke::revoke(&t.env, &Origin::default(), &other, &own.access_token).await.unwrap();
    assert_eq!(
        revoke::introspect(&t.env, &t.anonymous().origin, &other, &own.access_token).await.unwrap(),
        inactive
    );
    revoke::revoke(&t.env, &Origin::default(), &client, &token).await.unwrap();
    for dead in [&issued.access_token, &token] {
        assert_eq!(revoke::introspect(&t.env, &t.anonymous().origin, &client, dead).await.unwrap(), inactive);
    }
});
