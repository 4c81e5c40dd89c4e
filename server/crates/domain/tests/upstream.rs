//! What is kept of connectors' servers: their health over time, their tools, and what people decided about those. On both
//! databases.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use bytes::Bytes;
use domain::{
    Env, Error,
    connectors::{self, NewConnector, ToolChanges},
    dataplane::{Directory as _, PlaneTool, Planes},
    env_test,
    mcp::{
        exchange::{BodyStream, Exchange, NetError},
        upstream::{UpstreamSettings, Upstreams},
    },
    testing::{TestEnv, TestMember},
};
use futures_util::{StreamExt as _, future::BoxFuture, stream};
use model::{
    AppError, ConnectorId,
    connectors::{HEALTH_SLOT, Health, Review, Tool, ToolPolicy},
};
use serde_json::{Value, json};

/// A modern server whose tools a test sets, as the text that it sends.
#[derive(Clone, Default)]
struct Server {
    tools: Arc<Mutex<String>>,
    /// Further members of what it says about itself.
    says: Arc<Mutex<String>>,
    down: Arc<AtomicBool>,
    listed: Arc<AtomicUsize>,
}

impl Server {
    fn offer(&self, tools: &Value) {
        *self.tools.lock().unwrap() = tools.to_string();
    }

    fn is_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }
}

impl Exchange for Server {
    fn send(
        &self,
        request: http::Request<Bytes>,
    ) -> BoxFuture<'_, Result<http::Response<BodyStream>, NetError>> {
        Box::pin(async move {
            if self.down.load(Ordering::SeqCst) {
                return Err(NetError::Unreachable);
            }
            let message: Value = serde_json::from_slice(request.body()).unwrap_or_default();
            let result = if message["method"] == "tools/list" {
                self.listed.fetch_add(1, Ordering::SeqCst);
                format!(r#"{{"tools":{}}}"#, self.tools.lock().unwrap())
            } else {
                format!(r#"{{"supportedVersions":["2026-07-28"]{}}}"#, self.says.lock().unwrap())
            };
            let answer = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, message["id"]);
            let body = stream::iter([Ok(Bytes::from(answer))]).boxed();
            Ok(http::Response::builder().header("content-type", "application/json").body(body).unwrap())
        })
    }
}

/// The environment of another process that reaches the same server.
fn process(t: &TestEnv, server: &Server) -> Env {
    let mut env = t.env.clone();
    let clock = Arc::clone(&env.clock);
    env.upstreams =
        Upstreams::new(Arc::new(server.clone()), Arc::new(move || clock.now()), UpstreamSettings::default());
    env
}

fn tool(name: &str, description: &str) -> Value {
    json!({"name":name,"description":description,"inputSchema":{"type":"object"}})
}

async fn add(env: &Env, owner: &TestMember, slug: &str) -> ConnectorId {
    let new = NewConnector {
        name: slug.to_owned(),
        slug: slug.to_owned(),
        description: String::new(),
        url: format!("https://{slug}.example/mcp"),
        headers: Vec::new(),
        even_if_unreachable: true,
    };
    connectors::add(env, &owner.actor().await, &new).await.unwrap().id
}

async fn tools(env: &Env, owner: &TestMember, id: ConnectorId) -> Vec<Tool> {
    connectors::get(env, &owner.actor().await, id).await.unwrap().1
}

async fn one(env: &Env, owner: &TestMember, id: ConnectorId, name: &str) -> Tool {
    tools(env, owner, id).await.into_iter().find(|tool| tool.name == name).expect("the tool")
}

/// What the data plane sees.
async fn plane(env: &Env, owner: &TestMember) -> Arc<domain::dataplane::PlaneConnector> {
    let planes = Planes::load(env.clone()).await.unwrap();
    Arc::clone(&planes.plane(owner.org_id()).await.unwrap().unwrap().connectors[0])
}

fn offered(tool: &PlaneTool) -> bool {
    tool.enabled && !tool.held
}

fn told(error: Error) -> AppError {
    match error {
        Error::App(app) => app,
        other => panic!("no words for people: {other}"),
    }
}

/// The events that subscribers hear of, with their data.
async fn published(t: &TestEnv, owner: &TestMember, event: &str) -> Vec<Value> {
    let mut tx = t.env.db.read().await.unwrap();
    let all = store::outbox::list(&mut tx, owner.org_id()).await.unwrap();
    all.into_iter()
        .filter(|(name, _)| name == event)
        .map(|(_, data)| serde_json::from_str(&data).unwrap())
        .collect()
}

env_test!(ups_15_two_processes_check_once_and_tell_of_a_change_once, |t| async {
    let server = Server::default();
    server.offer(&json!([tool("a", "x")]));
    let (here, there) = (process(&t, &server), process(&t, &server));
    let owner = t.org("acme").await;
    let id = add(&here, &owner, "docs").await;
    let minute = 60_000;
    let round = async || {
        t.clock.advance(minute + minute / 4);
        let (one, two) = tokio::join!(
            Box::pin(connectors::check_due(&here, minute, 64)),
            Box::pin(connectors::check_due(&there, minute, 64))
        );
        assert_eq!(one.unwrap() + two.unwrap(), 1);
    };
    assert_eq!(connectors::check_due(&here, minute, 64).await.unwrap(), 0, "it was just looked at");
    let listed = server.listed.load(Ordering::SeqCst);
    round().await;
    assert_eq!(server.listed.load(Ordering::SeqCst), listed + 1);
    server.is_down(true);
    for _ in 0..5 {
        round().await;
    }
    server.is_down(false);
    for _ in 0..3 {
        round().await;
    }
    let states: Vec<_> = published(&t, &owner, "mcp.health_changed")
        .await
        .iter()
        .map(|data| data["status"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(states, ["degraded", "down", "degraded", "healthy"]);
    let actor = owner.actor().await;
    assert_eq!(connectors::get(&here, &owner.actor().await, id).await.unwrap().0.health, Health::Healthy);
    let history = connectors::history(&here, &actor, id).await.unwrap();
    let (good, failed) =
        history.slots.iter().fold((0, 0), |(good, failed), slot| (good + slot.good, failed + slot.failed));
    assert_eq!((good, failed), (1 + 1 + 3, 5));
    assert!(history.slots.iter().all(|slot| slot.began_at % HEALTH_SLOT == 0));
    let reason = history.slots.iter().find_map(|slot| slot.error.clone()).unwrap();
    assert!(reason.contains("could not be reached"), "{reason}");
    // Another organisation's is not found; what is older than a week is forgotten.
    let bolt = t.org("bolt").await;
    assert!(connectors::history(&here, &bolt.actor().await, id).await.is_err());
    t.clock.advance(9 * 24 * 60 * minute);
    connectors::purge(&here).await.unwrap();
    let mut tx = t.env.db.read().await.unwrap();
    let left = store::connector_health::list_since(&mut tx, owner.org_id(), id, 0).await.unwrap();
    assert!(left.is_empty());
});

env_test!(ups_12_what_a_server_offers_never_breaks_the_database, |t| async {
    let server = Server::default();
    let long = "n".repeat(200);
    *server.tools.lock().unwrap() = format!(
        r#"[{{"name":"nul","description":"a\u0000b","inputSchema":{{"type":"object"}}}},
            {{"name":"nul\u0000name","inputSchema":{{}}}},
            {{"name":"lone","description":"\ud800","inputSchema":{{}}}},
            {{"name":"{long}","inputSchema":{{}}}},
            {{"name":"hidden","description":"x\u200b\u202e\udb40\udc41y","inputSchema":{{}}}},
            {{"name":"esc","description":"\u001b[8m","inputSchema":{{}}}},
            {{"name":"hidden","inputSchema":{{}}}},
            {{"name":"big","description":"{}","inputSchema":{{}}}}]"#,
        "d".repeat(200_000)
    );
    let env = process(&t, &server);
    let owner = t.org("acme").await;
    let id = add(&env, &owner, "docs").await;
    let all = tools(&env, &owner, id).await;
    let names: Vec<_> = all.iter().map(|tool| tool.name.as_str()).collect();
    assert!(names.starts_with(&["nul"]) && names.contains(&"hidden") && names.contains(&"esc"), "{names:?}");
    assert!(!names.contains(&long.as_str()) && names.iter().filter(|name| **name == "hidden").count() == 1);
    for tool in &all {
        assert!(tool.description.chars().all(|c| c == '\n' || model::text::printable(c)), "{}", tool.name);
    }
    for name in ["nul", "hidden", "esc"] {
        let found = all.iter().find(|tool| tool.name == name).unwrap();
        assert!(found.warnings.iter().any(|text| text.contains("invisible")), "{name}: {:?}", found.warnings);
    }
    // It is read back as it came.
    assert!(plane(&env, &owner).await.tools[0].definition.get().contains(r"a\u0000b"));
});

env_test!(ups_13_a_changed_tool_is_told_of_and_blocked_where_that_is_wanted, |t| async {
    let server = Server::default();
    server.offer(&json!([tool("a", "one"), tool("b", "one")]));
    let env = process(&t, &server);
    let owner = t.org("acme").await;
    let id = add(&env, &owner, "docs").await;
    let look = async || {
        t.clock.advance(1000);
        connectors::test(&env, &owner.actor().await, id).await.unwrap().unwrap();
    };
    assert!(tools(&env, &owner, id).await.iter().all(|tool| tool.review == Review::Approved));
    // Nothing that counts has changed.
    server.offer(&json!([{"inputSchema":{"type":"object"},"name":"a","description":"one","_meta":{"v":2}}, tool("b", "one")]));
    look().await;
    assert_eq!(one(&env, &owner, id, "a").await.review, Review::Approved);
    // Under the milder policy it is offered, and shown.
    server.offer(&json!([tool("a", "two"), tool("b", "one"), tool("c", "new")]));
    look().await;
    let told_of = published(&t, &owner, "mcp.tools_changed").await.pop().unwrap();
    assert_eq!((&told_of["changed"], &told_of["added"]), (&json!(["a"]), &json!(["c"])));
    assert_eq!(one(&env, &owner, id, "a").await.review, Review::Changed);
    assert!(plane(&env, &owner).await.tools.iter().all(offered));
    // Under the stricter one it is not, at once.
    connectors::set_tool_policy(&env, &owner.actor().await, id, ToolPolicy::Block).await.unwrap();
    let state =
        async |name: &str| plane(&env, &owner).await.tools.iter().find(|tool| tool.name == name).map(offered);
    assert_eq!((state("a").await, state("b").await), (Some(false), Some(true)));
    // What is approved is what somebody saw.
    let actor = owner.actor().await;
    let detail = connectors::tool(&env, &owner.actor().await, id, "a").await.unwrap().1;
    let signs: Vec<_> =
        detail.diff.iter().filter(|line| line.sign != ' ').map(|line| line.text.trim()).collect();
    assert_eq!(signs, [r#""description": "one","#, r#""description": "two","#]);
    server.offer(&json!([tool("a", "three"), tool("b", "one"), tool("d", "newer")]));
    look().await;
    let stale = connectors::review_tool(&env, &actor, id, "a", &detail.fingerprint, true).await.unwrap_err();
    assert_eq!(told(stale).code, "changed_meanwhile");
    let seen = connectors::tool(&env, &owner.actor().await, id, "a").await.unwrap().1.fingerprint;
    connectors::review_tool(&env, &actor, id, "a", &seen, true).await.unwrap();
    assert_eq!(state("a").await, Some(true));
    // New tools wait.
    assert_eq!((state("d").await, one(&env, &owner, id, "d").await.review), (Some(false), Review::New));
    assert_eq!(connectors::approve_new(&env, &actor, id).await.unwrap(), 1);
    assert_eq!(state("d").await, Some(true));
    // A tool that goes and comes back as another is not the one that was approved.
    server.offer(&json!([tool("b", "one")]));
    look().await;
    assert_eq!(state("a").await, None);
    server.offer(&json!([tool("a", "bait"), tool("b", "one")]));
    look().await;
    assert_eq!((state("a").await, one(&env, &owner, id, "a").await.review), (Some(false), Review::Changed));
    // Rejected, it is not offered under any policy, until the server takes the change back.
    let seen = connectors::tool(&env, &owner.actor().await, id, "a").await.unwrap().1.fingerprint;
    connectors::review_tool(&env, &actor, id, "a", &seen, false).await.unwrap();
    connectors::set_tool_policy(&env, &actor, id, ToolPolicy::Alert).await.unwrap();
    assert_eq!((state("a").await, one(&env, &owner, id, "a").await.review), (Some(false), Review::Rejected));
    server.offer(&json!([tool("a", "three"), tool("b", "one")]));
    look().await;
    assert_eq!((state("a").await, one(&env, &owner, id, "a").await.review), (Some(true), Review::Approved));
});

env_test!(ups_12_a_tool_is_published_as_its_admin_says_and_names_are_given_once, |t| async {
    let server = Server::default();
    let long = "list_all_the_pull_requests_of_a_repository_with_their_reviews";
    server.offer(&json!([tool("a", "one"), tool("b", "two"), tool(long, "three")]));
    let env = process(&t, &server);
    let owner = t.org("acme").await;
    let id = add(&env, &owner, "docs").await;
    let actor = owner.actor().await;
    let changes = |alias: &str, description: &str, timeout: &str| ToolChanges {
        alias: alias.to_owned(),
        description: description.to_owned(),
        timeout: timeout.to_owned(),
    };
    let set =
        async |name: &str, changes: ToolChanges| connectors::set_tool(&env, &actor, id, name, &changes).await;
    set("a", changes("search", "Searches \"everything\"", "300")).await.unwrap();
    let published = plane(&env, &owner).await;
    let a = &published.tools[0];
    assert_eq!((a.name.as_str(), a.published.as_str(), a.timeout.unwrap().as_secs()), ("a", "search", 300));
    let definition: Value = serde_json::from_str(a.definition.get()).unwrap();
    assert_eq!(definition["description"], "Searches \"everything\"");
    assert_eq!(definition["inputSchema"], json!({"type":"object"}));
    let shortened = one(&env, &owner, id, long).await;
    assert!(shortened.shortened && shortened.public_name.len() == 60, "{}", shortened.public_name);
    assert_eq!(format!("docs__{}", published.tools[2].published), shortened.public_name);
    for (changes, field) in [
        (changes("b", "", ""), "alias"),
        (changes("not a name", "", ""), "alias"),
        (changes(&"x".repeat(55), "", ""), "alias"),
        (changes("", "", "0"), "timeout"),
        (changes("", "", "3601"), "timeout"),
        (changes("", "a\u{202e}b", ""), "description"),
    ] {
        assert_eq!(told(set("a", changes).await.unwrap_err()).fields[0].field, field);
    }
    // What the server adds later does not take a name that somebody chose.
    server.offer(&json!([tool("search", "late"), tool("a", "one")]));
    connectors::test(&env, &owner.actor().await, id).await.unwrap().unwrap();
    assert_eq!(one(&env, &owner, id, "search").await.clash.as_deref(), Some("a"));
    let names: Vec<_> = plane(&env, &owner).await.tools.iter().map(|tool| tool.name.clone()).collect();
    assert_eq!(names, ["a"]);
    // What was decided outlives a list without the tool.
    server.offer(&json!([tool("search", "late")]));
    connectors::test(&env, &owner.actor().await, id).await.unwrap().unwrap();
    assert!(one(&env, &owner, id, "a").await.gone_at.is_some());
    assert_eq!(one(&env, &owner, id, "search").await.clash, None);
    server.offer(&json!([tool("a", "one")]));
    connectors::test(&env, &owner.actor().await, id).await.unwrap().unwrap();
    let back = one(&env, &owner, id, "a").await;
    assert_eq!(
        (back.gone_at, back.alias.as_deref(), back.timeout_seconds),
        (None, Some("search"), Some(300))
    );
    // Empty fields are the server's own again.
    set("a", changes("", "", "")).await.unwrap();
    let own = one(&env, &owner, id, "a").await;
    assert_eq!((own.public_name.as_str(), own.description.as_str()), ("docs__a", "one"));
});

env_test!(ten_01_tools_of_another_organisation_are_not_found, |t| async {
    let server = Server::default();
    server.offer(&json!([tool("a", "one")]));
    let env = process(&t, &server);
    let (acme, bolt) = (t.org("acme").await, t.org("bolt").await);
    let id = add(&env, &acme, "docs").await;
    let fingerprint = connectors::tool(&env, &acme.actor().await, id, "a").await.unwrap().1.fingerprint;
    let foreign = bolt.actor().await;
    let changes = ToolChanges::default();
    for error in [
        connectors::tool(&env, &bolt.actor().await, id, "a").await.map(drop).unwrap_err(),
        connectors::set_tool(&env, &foreign, id, "a", &changes).await.unwrap_err(),
        connectors::review_tool(&env, &foreign, id, "a", &fingerprint, true).await.unwrap_err(),
        connectors::approve_new(&env, &foreign, id).await.map(drop).unwrap_err(),
        connectors::set_tool_policy(&env, &foreign, id, ToolPolicy::Block).await.unwrap_err(),
    ] {
        assert_eq!(told(error).kind, model::ErrorKind::NotFound);
    }
});

env_test!(what_a_server_says_about_itself_is_kept, |t| async {
    let server = Server::default();
    server.offer(&json!([]));
    let say = |text: &str| *server.says.lock().unwrap() = format!(r#","instructions":{}"#, json!(text));
    let env = process(&t, &server);
    let owner = t.org("acme").await;
    say("Ask for\na list \u{202e}first.\u{0}");
    let id = add(&env, &owner, "alpha").await;
    assert_eq!(plane(&env, &owner).await.instructions.as_deref(), Some("Ask for\na list first."));
    // What it says later counts from the next check on, in a new snapshot; the client asks it anew.
    let check = async |text: &str| {
        let before =
            Planes::load(env.clone()).await.unwrap().plane(owner.org_id()).await.unwrap().unwrap().version;
        say(text);
        let again = process(&t, &server);
        connectors::test(&again, &owner.actor().await, id).await.unwrap().unwrap();
        let after =
            Planes::load(env.clone()).await.unwrap().plane(owner.org_id()).await.unwrap().unwrap().version;
        after > before
    };
    assert!(!check("Ask for\na list \u{202e}first.\u{0}").await, "the same is no news");
    assert!(check(&"x".repeat(10_000)).await);
    assert_eq!(plane(&env, &owner).await.instructions.as_deref().map(str::len), Some(4096));
    assert!(check("").await);
    assert_eq!(plane(&env, &owner).await.instructions, None);
    // Where definitions wait for approval nobody has approved what it says.
    assert!(check("Something new.").await);
    connectors::set_tool_policy(&env, &owner.actor().await, id, ToolPolicy::Block).await.unwrap();
    assert_eq!(plane(&env, &owner).await.instructions, None);
});

env_test!(ups_12_only_a_lone_connector_loses_its_prefix, |t| async {
    let server = Server::default();
    server.offer(&json!([tool("echo", ""), tool("beta__echo", "")]));
    let env = process(&t, &server);
    let owner = t.org("acme").await;
    let alpha = add(&env, &owner, "alpha").await;
    connectors::set_unprefixed(&env, &owner.actor().await, alpha, true).await.unwrap();
    assert!(plane(&env, &owner).await.unprefixed);
    assert_eq!(one(&env, &owner, alpha, "beta__echo").await.public_name, "beta__echo");
    // It keeps its names when another comes, but for one that is the other's by its prefix, and that is said.
    let beta = add(&env, &owner, "beta").await;
    assert!(connectors::get(&env, &owner.actor().await, alpha).await.unwrap().0.unprefixed);
    assert_eq!(one(&env, &owner, alpha, "echo").await.clash, None);
    assert_eq!(one(&env, &owner, alpha, "beta__echo").await.clash.as_deref(), Some("of the connector beta"));
    assert_eq!(one(&env, &owner, beta, "echo").await.public_name, "beta__echo");
    // Two without would take each other's names.
    let refused = connectors::set_unprefixed(&env, &owner.actor().await, beta, true).await.unwrap_err();
    assert_eq!(told(refused).code, "prefix_needed");
    connectors::set_unprefixed(&env, &owner.actor().await, alpha, false).await.unwrap();
    assert_eq!(one(&env, &owner, alpha, "echo").await.public_name, "alpha__echo");
    let foreign = t.org("bolt").await.actor().await;
    let refused = connectors::set_unprefixed(&env, &foreign, alpha, true).await.unwrap_err();
    assert_eq!(told(refused).kind, model::ErrorKind::NotFound);
});
