//! The connection doctor on both databases: what is noted, who may read it, and the self-test against a server that is
//! broken in one place after the other.

use std::sync::{Arc, Mutex};

use domain::{
    Error, OrgActor, custom_domain,
    doctor::{self, Journal, Step},
    env_test,
    testing::{NameServer, TestEnv, TestMember},
};
use model::{
    ErrorKind, Role,
    doctor::{DoctorPage, Outcome, SelfTest, Stage},
    permissions::can,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

const DAY: i64 = 24 * 60 * 60 * 1000;

fn step(stage: Stage, of: Option<&TestMember>, id: Option<&str>) -> Step {
    Step {
        org: of.map(TestMember::org_id),
        client_id: id.map(str::to_owned),
        address: Some("192.0.2.1".parse().unwrap()),
        user_agent: Some("claude-code/2.1".to_owned()),
        ..Step::new(stage)
    }
}

async fn page(t: &TestEnv, member: &TestMember) -> DoctorPage {
    doctor::page(&t.env, &member.actor().await).await.unwrap()
}

env_test!(attempts_are_told_with_the_registrations_of_clients_that_were_seen_here, |t| async {
    let (acme, bolt) = (t.org("acme").await, t.org("bolt").await);
    let note = |step| {
        t.clock.advance(1000);
        t.env.journal.note(t.env.now(), step);
    };
    note(step(Stage::Challenge, Some(&acme), None));
    note(step(Stage::Register, None, Some("ours")));
    note(Step { user_agent: Some("other/1".into()), ..step(Stage::Register, None, Some("theirs")) });
    note(step(Stage::Authorize, Some(&acme), Some("ours")));
    note(Step { user_agent: Some("other/1".into()), ..step(Stage::Authorize, Some(&bolt), Some("theirs")) });
    let told = page(&t, &acme).await.attempts;
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!((told[0].client.as_str(), told[0].client_id.as_deref()), ("Claude Code", Some("ours")));
    let stages: Vec<_> = told[0].steps.iter().map(|step| step.stage).collect();
    assert_eq!(stages, [Stage::Challenge, Stage::Register, Stage::Authorize]);
    assert_eq!(told[0].outcome, Outcome::UnderWay);
    // TEN-01: of the other organisation's client nothing is told, not even that it registered.
    let text = serde_json::to_string(&told).unwrap();
    assert!(!text.contains("theirs") && !text.contains("other/1"), "{text}");
    assert_eq!(page(&t, &bolt).await.attempts[0].client_id.as_deref(), Some("theirs"));
});

env_test!(a_connection_that_was_revoked_is_not_told_as_connected, |t| async {
    let acme = t.org("acme").await;
    let note = |stage| {
        t.clock.advance(1000);
        t.env.journal.note(t.env.now(), step(stage, Some(&acme), Some("ours")));
    };
    note(Stage::Authorize);
    note(Stage::Consent);
    t.grant(&acme, "ours", "mcp:call").await;
    note(Stage::Token);
    note(Stage::FirstCall);
    let told = page(&t, &acme).await.attempts;
    assert_eq!((told.len(), told[0].outcome), (1, Outcome::Connected), "{told:#?}");
    t.clock.advance(1000);
    let id = {
        let mut tx = t.env.db.read().await.unwrap();
        store::connections::list(&mut tx, acme.org_id()).await.unwrap()[0].id
    };
    domain::connections::revoke(&t.env, &acme.guarded().await, id).await.unwrap();
    let told = page(&t, &acme).await.attempts;
    let revoked = told[0].revoked.clone().unwrap();
    assert_eq!((told[0].outcome, revoked.at), (Outcome::Revoked, t.env.now()));
    assert!(!revoked.by.is_empty() && told[0].diagnosis.is_empty());
    // It signs in again: that attempt is connected, the one before stays revoked.
    t.clock.advance(2 * 60 * 1000);
    note(Stage::Authorize);
    note(Stage::Consent);
    t.grant(&acme, "ours", "mcp:call").await;
    note(Stage::Token);
    note(Stage::FirstCall);
    let told = page(&t, &acme).await.attempts;
    let outcomes: Vec<_> = told.iter().map(|attempt| attempt.outcome).collect();
    assert_eq!(outcomes, [Outcome::Connected, Outcome::Revoked]);
});

env_test!(what_is_noted_is_bounded_and_gone_after_a_week, |t| async {
    let acme = t.org("acme").await;
    let noisy =
        |n: u32| Step { user_agent: Some(format!("flood/{n}")), ..step(Stage::Challenge, Some(&acme), None) };
    for n in 0..10_000 {
        t.env.journal.note(t.env.now(), noisy(n));
    }
    // The same again within a minute, and our own self-test, are not noted at all.
    t.env.journal.note(t.env.now(), noisy(0));
    t.env.journal.note(
        t.env.now(),
        Step { user_agent: Some("gatehouse/0.1".into()), ..step(Stage::Challenge, Some(&acme), None) },
    );
    t.env.journal.flush(&t.env).await.unwrap();
    let seen = page(&t, &acme).await;
    assert!(seen.more && seen.attempts.len() == 50);
    let count = async || {
        let mut tx = t.env.db.read().await.unwrap();
        store::connect_events::list(&mut tx, acme.org_id(), 0, 100_000).await.unwrap().len()
    };
    assert_eq!(count().await, 256, "one organisation does not fill the queue");
    for round in 1..20u32 {
        for n in 0..256 {
            t.env.journal.note(t.env.now(), noisy(round * 100_000 + n));
        }
        t.env.journal.flush(&t.env).await.unwrap();
    }
    assert_eq!(count().await, 2000);
    t.clock.advance(7 * DAY + 1);
    assert!(page(&t, &acme).await.attempts.is_empty());
    Journal::clean(&t.env).await.unwrap();
    assert_eq!(count().await, 0);
    // One that was deleted meanwhile takes nothing down with it.
    let gone = model::OrgId::from_uuid(t.env.uuid());
    t.env.journal.note(t.env.now(), Step { org: Some(gone), ..step(Stage::Challenge, None, None) });
    t.env.journal.note(t.env.now(), step(Stage::Challenge, Some(&acme), None));
    t.env.journal.flush(&t.env).await.unwrap();
    assert_eq!(count().await, 1);
});

env_test!(only_who_may_see_clients_sees_attempts, |t| async {
    let owner = t.org("acme").await;
    for (name, role, may) in
        [("dev", Role::Developer, true), ("vic", Role::Viewer, true), ("mem", Role::Member, false)]
    {
        let member = t.member(&owner, name, role).await;
        let actor = OrgActor::<can::OauthClientsRead>::require(&member.ctx).await;
        assert_eq!(actor.is_ok(), may, "{role}");
        if let Err(Error::App(error)) = actor {
            assert_eq!(error.kind, ErrorKind::Forbidden);
        }
    }
});

env_test!(steps_that_name_nobody_belong_to_whoever_was_asked_about_if_that_is_certain, |t| async {
    let (acme, bolt) = (t.org("acme").await, t.org("bolt").await);
    let from = |agent: &str, step: Step| {
        t.clock.advance(1000);
        t.env.journal.note(t.env.now(), Step { user_agent: Some(agent.to_owned()), ..step });
    };
    let failed = || Step { error: Some("invalid_redirect_uri".into()), ..Step::new(Stage::Register) };
    let about = |org: &TestMember| Step { org: Some(org.org_id()), ..Step::new(Stage::ResourceMetadata) };
    from("one/1", about(&acme));
    from("one/1", Step::new(Stage::ServerMetadata));
    from("one/1", failed());
    // A program in a cloud works for both, so nobody is told what it did between.
    from("cloud/1", about(&acme));
    from("cloud/1", about(&bolt));
    from("cloud/1", Step::new(Stage::ServerMetadata));
    from("cloud/1", failed());
    // Nobody asked, or too long ago.
    from("other/1", Step::new(Stage::ServerMetadata));
    t.clock.advance(3 * 60 * 1000);
    from("one/1", Step::new(Stage::ServerMetadata));
    let stages = |page: &DoctorPage, agent: &str| -> Vec<Stage> {
        let found = page.attempts.iter().find(|attempt| attempt.named == agent);
        found.map(|attempt| attempt.steps.iter().map(|step| step.stage).collect()).unwrap_or_default()
    };
    let ours = page(&t, &acme).await;
    assert_eq!(stages(&ours, "one/1"), [Stage::ResourceMetadata, Stage::ServerMetadata, Stage::Register]);
    assert_eq!(stages(&ours, "cloud/1"), [Stage::ResourceMetadata]);
    assert_eq!(ours.attempts.len(), 2);
    assert_eq!(stages(&page(&t, &bolt).await, "cloud/1"), [Stage::ResourceMetadata]);
});

/// A site that answers as it is told: by method and path the whole response, with `BASE` for its address.
async fn site(t: &mut TestEnv) -> Arc<Mutex<Vec<(&'static str, String)>>> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    Arc::make_mut(&mut t.env.settings).public_url = base.parse().unwrap();
    let answers: Arc<Mutex<Vec<(&'static str, String)>>> = Arc::default();
    let known = answers.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = vec![0; 8192];
            let length = stream.read(&mut buffer).await.unwrap_or(0);
            let request = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let line = request.split(" HTTP/").next().unwrap_or_default().to_owned();
            let answer = known
                .lock()
                .unwrap()
                .iter()
                .find(|(asked, _)| *asked == line)
                .map(|(_, answer)| answer.clone());
            let (head, body) = match &answer {
                Some(answer) => answer.split_once("\n\n").unwrap_or((answer, "")),
                None => ("404 Not Found", ""),
            };
            let (head, body) = (head.replace("BASE", &base), body.replace("BASE", &base));
            let head = head.replace('\n', "\r\n");
            let length = body.len();
            let whole =
                format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
            let _ = stream.write_all(whole.as_bytes()).await;
        }
    });
    answers
}

const ENDPOINT: &str = "POST /mcp/acme";
const RESOURCE: &str = "GET /.well-known/oauth-protected-resource/mcp/acme";
const SERVER: &str = "GET /.well-known/oauth-authorization-server";
const KEYS: &str = "GET /oauth/jwks.json";
const AUTHORIZE: &str = "GET /oauth/authorize";

fn good() -> Vec<(&'static str, String)> {
    let challenge = "401 Unauthorized\nWWW-Authenticate: Bearer resource_metadata=\"BASE/.well-known/oauth-protected-resource/mcp/acme\", scope=\"mcp:call\"\n\n{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32001,\"message\":\"x\"}}";
    let resource = "200 OK\n\n{\"resource\":\"BASE/mcp/acme\",\"authorization_servers\":[\"BASE\"]}";
    let server = "200 OK\n\n{\"issuer\":\"BASE\",\"authorization_endpoint\":\"BASE/oauth/authorize\",\"token_endpoint\":\"BASE/oauth/token\",\"jwks_uri\":\"BASE/oauth/jwks.json\",\"registration_endpoint\":\"BASE/oauth/register\",\"code_challenge_methods_supported\":[\"S256\"]}";
    [
        (ENDPOINT, challenge),
        (RESOURCE, resource),
        (SERVER, server),
        (KEYS, "200 OK\n\n{\"keys\":[{\"kty\":\"RSA\"}]}"),
        (AUTHORIZE, "400 Bad Request\n\nno"),
    ]
    .into_iter()
    .map(|(asked, answer)| (asked, answer.to_owned()))
    .collect()
}

async fn tested(t: &TestEnv, member: &TestMember) -> SelfTest {
    doctor::self_test(&t.env, &member.actor().await).await.unwrap()
}

#[tokio::test]
async fn the_self_test_passes_a_good_instance_though_it_is_on_a_private_address() {
    // Nothing inside is allowed: the instance's own address is, for this alone.
    let mut t = TestEnv::with_egress(store::Kind::Sqlite, "").await;
    let owner = t.org("acme").await;
    let answers = site(&mut t).await;
    *answers.lock().unwrap() = good();
    let found = tested(&t, &owner).await;
    assert!(found.passed(), "{found:#?}");
    assert_eq!(u32::try_from(found.probes.len()).unwrap(), found.planned);
    // What the documents name elsewhere is not gone to.
    let canary = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let elsewhere = format!("http://{}", canary.local_addr().unwrap());
    for (asked, answer) in answers.lock().unwrap().iter_mut() {
        if *asked == SERVER {
            *answer = answer.replace("BASE/oauth/jwks.json", &format!("{elsewhere}/oauth/jwks.json"));
        }
    }
    let found = tested(&t, &owner).await;
    assert_eq!((found.probes.len(), found.passed()), (4, false));
    assert!(tokio::time::timeout(std::time::Duration::from_millis(50), canary.accept()).await.is_err());
}

#[tokio::test]
async fn the_self_test_names_the_step_that_fails_and_the_way_out() {
    let mut t = TestEnv::new(store::Kind::Sqlite).await;
    let owner = t.org("acme").await;
    let answers = site(&mut t).await;
    for (asked, from, to, step, fix) in [
        (ENDPOINT, "401 Unauthorized", "302 Found\nLocation: https://x.test", 1, "A proxy redirects"),
        (ENDPOINT, "401 Unauthorized", "502 Bad Gateway", 1, "does not reach Gatehouse"),
        (ENDPOINT, "401 Unauthorized", "421 Misdirected Request", 1, "header Host"),
        (ENDPOINT, "{\"jsonrpc\"", "<html>{\"jsonrpc\"", 1, "log-in of the proxy"),
        (ENDPOINT, "WWW-Authenticate", "X-Gone", 2, "takes WWW-Authenticate out"),
        (
            ENDPOINT,
            "Bearer resource_metadata=\"BASE",
            "Bearer resource_metadata=\"https://old.test",
            2,
            "GATEHOUSE_PUBLIC_URL",
        ),
        (ENDPOINT, "Bearer resource_metadata=", "Basic realm=", 2, "Exempt /mcp"),
        (RESOURCE, "200 OK", "404 Not Found", 3, "Forward /mcp, /oauth and /.well-known"),
        (RESOURCE, "BASE/mcp/acme", "http://inside:3000/mcp/acme", 3, "GATEHOUSE_PUBLIC_URL"),
        (RESOURCE, "[\"BASE\"]", "[]", 3, "cache"),
        (SERVER, "{\"issuer\"", "<!doctype html>", 4, "Forward these paths"),
        (SERVER, "\"issuer\":\"BASE\"", "\"issuer\":\"https://old.test\"", 4, "GATEHOUSE_PUBLIC_URL"),
        (SERVER, "S256", "plain", 4, "rewrites"),
        (KEYS, "{\"kty\":\"RSA\"}", "", 5, "signing keys"),
        (SERVER, "registration_endpoint", "nothing", 6, "OAuth clients"),
        (AUTHORIZE, "400 Bad Request", "404 Not Found", 7, "Forward /mcp, /oauth"),
    ] {
        let mut broken = good();
        for (name, answer) in &mut broken {
            if *name == asked {
                assert!(answer.contains(from), "{from}");
                *answer = answer.replace(from, to);
            }
        }
        *answers.lock().unwrap() = broken;
        let found = tested(&t, &owner).await;
        let last = found.probes.last().unwrap();
        assert_eq!((found.probes.len(), last.passed), (step, false), "{asked} {to}: {found:#?}");
        assert!(last.fix.contains(fix), "{asked} {to}: {}", last.fix);
        assert!(found.probes[..step - 1].iter().all(|probe| probe.passed));
    }
    // Nobody is there at all.
    Arc::make_mut(&mut t.env.settings).public_url = "http://127.0.0.1:9".parse().unwrap();
    let found = tested(&t, &owner).await;
    assert_eq!(found.probes.len(), 1);
    assert!(found.probes[0].fix.contains("hairpin"), "{found:#?}");
}

const HOST: &str = "api.acme.example";
const AT_DOMAIN: &str = "POST /mcp";
const RESOURCE_AT_DOMAIN: &str = "GET /.well-known/oauth-protected-resource/mcp";

/// What a good instance answers besides on a domain.
fn good_at_domain(base: &str) -> Vec<(&'static str, String)> {
    let challenge = "401 Unauthorized\nWWW-Authenticate: Bearer resource_metadata=\"DOMAIN/.well-known/oauth-protected-resource/mcp\"\n\n{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32001,\"message\":\"x\"}}";
    let mut all = good();
    all.push((AT_DOMAIN, challenge.replace("DOMAIN", base)));
    all.push((RESOURCE_AT_DOMAIN, format!("200 OK\n\n{{\"resource\":\"{base}/mcp\"}}")));
    all
}

#[tokio::test]
async fn ten_06_the_self_test_goes_on_at_the_domain_of_the_organisation_and_nowhere_else_inside() {
    let mut t = TestEnv::with_egress(store::Kind::Sqlite, "").await;
    let owner = t.org("acme").await;
    let answers = site(&mut t).await;
    let names = NameServer::start().await;
    Arc::make_mut(&mut t.env.settings).gateway_host = "gateway.example.net".to_owned();
    t.env = names.env(&t.env);
    let base = t.env.settings.base_at(HOST);
    *answers.lock().unwrap() = good_at_domain(&base);
    // One that is only claimed is nobody's business.
    custom_domain::add(&t.env, &owner.actor().await, HOST).await.unwrap();
    let found = tested(&t, &owner).await;
    assert_eq!((found.probes.len(), found.planned, found.passed()), (7, 7, true), "{found:#?}");
    let mut tx = t.env.db.write().await.unwrap();
    let row = store::custom_domains::find(&mut tx, owner.org_id()).await.unwrap().unwrap();
    let row = store::custom_domains::CustomDomain { verified_at: Some(t.env.now()), ..row };
    store::custom_domains::update(&mut tx, owner.org_id(), &row).await.unwrap();
    tx.commit().await.unwrap();

    let found = tested(&t, &owner).await;
    let last = found.probes.last().unwrap();
    assert_eq!((found.probes.len(), found.planned, last.passed), (8, 11, false));
    assert!(last.detail.contains("no CNAME record") && last.fix.contains("gateway.example.net"), "{last:?}");
    names.cname(HOST, "gateway.example.net");
    let found = tested(&t, &owner).await;
    assert!(found.probes.last().unwrap().fix.contains("does not resolve here"), "{found:#?}");
    names.address_of(HOST, [127, 0, 0, 1].into());
    let found = tested(&t, &owner).await;
    assert!(found.passed() && found.probes.len() == 11, "{found:#?}");

    for (asked, from, to, step, fix) in [
        (AT_DOMAIN, "401 Unauthorized", "404 Not Found", 9, "changes the header Host"),
        (AT_DOMAIN, "401 Unauthorized", "302 Found\nLocation: https://x.test", 9, "A proxy redirects"),
        (AT_DOMAIN, "{\"jsonrpc\"", "<html>{\"jsonrpc\"", 9, "log-in of the proxy"),
        (AT_DOMAIN, HOST, "gateway.example.com", 10, "changes the header Host"),
        (RESOURCE_AT_DOMAIN, HOST, "api.other.example", 10, "changes the header Host"),
        (RESOURCE_AT_DOMAIN, "200 OK", "502 Bad Gateway", 10, "does not reach Gatehouse"),
    ] {
        let mut broken = good_at_domain(&base);
        for (_, answer) in broken.iter_mut().filter(|(name, _)| *name == asked) {
            assert!(answer.contains(from), "{from}");
            *answer = answer.replace(from, to);
        }
        *answers.lock().unwrap() = broken;
        let found = tested(&t, &owner).await;
        let last = found.probes.last().unwrap();
        assert_eq!((found.probes.len(), last.passed), (step, false), "{asked} {to}: {found:#?}");
        assert!(last.fix.contains(fix), "{asked} {to}: {}", last.fix);
    }

    // Its owner may have turned the name to something else inside by now: nobody goes there (SSR-02).
    *answers.lock().unwrap() = good_at_domain(&base);
    let port = t.env.settings.public_url.port().unwrap();
    let canary = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
    names.remove(HOST);
    names.cname(HOST, "gateway.example.net");
    names.address_of(HOST, [127, 0, 0, 2].into());
    let fresh = names.env(&t.env);
    let found = doctor::self_test(&fresh, &owner.actor().await).await.unwrap();
    let last = found.probes.last().unwrap();
    assert_eq!((found.probes.len(), last.passed), (9, false), "{found:#?}");
    assert!(last.fix.contains("leave only the CNAME record"), "{last:?}");
    assert!(tokio::time::timeout(std::time::Duration::from_millis(50), canary.accept()).await.is_err());
}
