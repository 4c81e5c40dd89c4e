//! Every primitive, and what servers ask of clients in the middle of a call.

use std::time::Duration;

use axum::body::Body;
use http::Method;
use serde_json::{Value, json};

use crate::{
    events::Events,
    support::{Bench, MODERN, Speaks, ask, call_params, modern, post, rpc},
};

async fn session(bench: &Bench, capabilities: Value) -> String {
    let body = json!({"jsonrpc":"2.0","id":0,"method":"initialize","params":
        {"protocolVersion":"2025-11-25","capabilities":capabilities,"clientInfo":{"name":"t","version":"1"}}});
    bench.bare("/mcp/acme", 1, &body).await.header("mcp-session-id").to_owned()
}

fn within(session: &str, body: &Value) -> http::Request<Body> {
    post("/mcp/acme")
        .key(1)
        .header("mcp-session-id", session)
        .header("mcp-protocol-version", "2025-11-25")
        .header("accept", "application/json, text/event-stream")
        .json(body)
}

fn with_capabilities(mut params: Value, capabilities: Value) -> Value {
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = capabilities;
    params
}

#[tokio::test]
async fn ups_11_a_servers_question_reaches_the_client_that_can_be_asked_and_no_other() {
    let bench = Bench::new(Speaks::Legacy);
    let session_id = session(&bench, json!({"elicitation":{}})).await;
    let call = rpc(7, "tools/call", call_params("alpha__ask", "m"));
    let mut events = Events::new(bench.open(within(&session_id, &call)).await);
    let question = events.message().await;
    assert_eq!(question["method"], "elicitation/create");
    assert_eq!(question["params"], json!({"message":"?"}));
    // Nobody else can answer it.
    let told = json!({"jsonrpc":"2.0","id":question["id"],"result":{"action":"accept","content":{"a":1}}});
    let stranger = post("/mcp/acme").key(2).header("mcp-session-id", &session_id).json(&told);
    assert_eq!(bench.send(stranger).await.status, 404);
    assert_eq!(bench.send(within(&session_id, &told)).await.status, 202);
    let result = events.message().await;
    assert_eq!(result["id"], 7);
    let text = result["result"]["content"][0]["text"].as_str().unwrap();
    assert!(text.starts_with("told ") && text.contains("accept"), "{text}");
    assert!(
        bench.upstream.seen("initialize").last().unwrap().body["params"]["capabilities"]["elicitation"]
            .is_object()
    );

    let other = session(&bench, json!({"roots":{}})).await;
    let mut events = Events::new(bench.open(within(&other, &call)).await);
    assert_eq!(events.message().await["result"]["content"][0]["text"], "refused with -32601");
}

#[tokio::test]
async fn ups_11_a_legacy_servers_question_is_input_required_to_a_modern_client() {
    let bench = Bench::new(Speaks::Legacy);
    let can = json!({"elicitation":{}});
    let first = with_capabilities(call_params("alpha__ask", "m"), can.clone());
    let answer = bench.modern("/mcp/acme", 1, "tools/call", first.clone()).await.events().pop().unwrap();
    let result = &answer["result"];
    assert_eq!(result["resultType"], "input_required");
    assert_eq!(result["inputRequests"]["question-1"]["method"], "elicitation/create");
    let state = result["requestState"].as_str().unwrap().to_owned();
    let again = |tool: &str, state: &str, responses: Value| {
        let mut params = with_capabilities(call_params(tool, "m"), can.clone());
        params["requestState"] = json!(state);
        params["inputResponses"] = responses;
        params
    };
    let responses = json!({"question-1":{"action":"decline"}});
    // RSV-12: a state is of one principal and one call.
    for (key, tool) in [(2, "alpha__ask"), (1, "alpha__echo"), (1, "beta__echo")] {
        let answer =
            bench.modern("/mcp/acme", key, "tools/call", again(tool, &state, responses.clone())).await;
        assert_eq!(
            (answer.code(), answer.word().as_str()),
            (-32602, "invalid_request_state"),
            "{key} {tool}"
        );
    }
    let mut changed = state.clone();
    changed.replace_range(30..31, if &state[30..31] == "A" { "B" } else { "A" });
    let answer =
        bench.modern("/mcp/acme", 1, "tools/call", again("alpha__ask", &changed, responses.clone())).await;
    assert_eq!(answer.word(), "invalid_request_state");
    // Without the answer it is asked again.
    let asked_again =
        bench.modern("/mcp/acme", 1, "tools/call", again("alpha__ask", &state, json!({}))).await;
    let asked_again = asked_again.json();
    assert_eq!(asked_again["result"]["resultType"], "input_required");
    let state = asked_again["result"]["requestState"].as_str().unwrap().to_owned();
    let done =
        bench.modern("/mcp/acme", 1, "tools/call", again("alpha__ask", &state, responses.clone())).await;
    let done = done.events().pop().unwrap();
    assert_eq!(done["result"]["resultType"], "complete");
    assert!(done["result"]["content"][0]["text"].as_str().unwrap().contains("decline"));
    // It was answered: there is nothing left to answer.
    let answer = bench.modern("/mcp/acme", 1, "tools/call", again("alpha__ask", &state, responses)).await;
    assert_eq!((answer.code(), answer.word().as_str()), (-32602, "request_state_expired"));
    assert_eq!(bench.upstream.seen("tools/call").len(), 1, "the call was made once");
}

#[tokio::test]
async fn ups_11_a_servers_state_is_sealed_on_its_way_through_the_client() {
    let bench = Bench::new(Speaks::Modern);
    let first = with_capabilities(call_params("alpha__input", "m"), json!({}));
    let answer = bench.modern("/mcp/acme", 1, "tools/call", first.clone()).await.json();
    let state = answer["result"]["requestState"].as_str().unwrap().to_owned();
    assert!(state.len() > 40 && answer["result"]["resultType"] == "input_required");
    let mut params = first;
    params["requestState"] = json!(state);
    bench.modern("/mcp/acme", 1, "tools/call", params.clone()).await;
    assert_eq!(bench.upstream.seen("tools/call").last().unwrap().body["params"]["requestState"], "s");
    let stolen = bench.modern("/mcp/acme", 2, "tools/call", params.clone()).await;
    assert_eq!(stolen.word(), "invalid_request_state");
    bench.clock.advance(31 * 60 * 1000);
    let late = bench.modern("/mcp/acme", 1, "tools/call", params).await;
    assert_eq!(late.word(), "invalid_request_state");
    assert_eq!(bench.upstream.seen("tools/call").len(), 2);
    // A bare call has nobody to ask.
    let bare = bench.bare("/mcp/acme", 1, &rpc(1, "tools/call", call_params("alpha__input", "m"))).await;
    assert_eq!((bare.code(), bare.word().as_str()), (-32012, "input_not_supported"));
}

#[tokio::test]
async fn lists_of_several_servers_are_one_list_with_one_cursor() {
    for speaks in [Speaks::Modern, Speaks::Legacy] {
        let bench = Bench::new(speaks);
        let first = bench.bare("/mcp/acme", 1, &rpc(1, "prompts/list", json!({}))).await.json();
        let names = |page: &Value| {
            let prompts = page["result"]["prompts"].as_array().unwrap();
            prompts.iter().map(|prompt| prompt["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(&first), ["alpha__p1", "beta__p1"]);
        assert_eq!(first["result"]["prompts"][1]["vendor"], "beta.upstream.test");
        let cursor = &first["result"]["nextCursor"];
        let second =
            bench.bare("/mcp/acme", 1, &rpc(2, "prompts/list", json!({"cursor":cursor}))).await.json();
        assert_eq!(names(&second), ["alpha__p2", "beta__p2"]);
        assert!(second["result"].get("nextCursor").is_none());
        for (method, cursor) in [("prompts/list", json!("x")), ("resources/list", cursor.clone())] {
            let refused = bench.bare("/mcp/acme", 1, &rpc(3, method, json!({"cursor":cursor}))).await;
            assert_eq!((refused.code(), refused.word().as_str()), (-32602, "invalid_cursor"), "{method}");
        }
        // A key for one connector sees that one, and cannot use a cursor to see another.
        let scoped =
            bench.bare("/mcp/acme", 3, &rpc(4, "prompts/list", json!({"cursor":cursor}))).await.json();
        assert_eq!(names(&scoped), ["beta__p2"]);
        let forbidden = bench.bare("/mcp/acme", 3, &rpc(5, "prompts/get", json!({"name":"alpha__p1"}))).await;
        assert_eq!(forbidden.status, 403);
    }
}

#[tokio::test(start_paused = true)]
async fn ups_09_a_list_has_what_is_healthy_and_names_what_is_missing() {
    let bench = Bench::new(Speaks::Modern);
    bench.upstream.down.lock().unwrap().insert("alpha.upstream.test".into());
    let listed = bench.modern("/mcp/acme", 1, "resources/list", json!({})).await.json();
    let result = &listed["result"];
    assert_eq!(result["resources"].as_array().unwrap().len(), 1);
    assert_eq!(result["resources"][0]["uri"], "mcp.beta+test://beta.upstream.test/1");
    assert_eq!(result["_meta"]["gatehouse/unavailable"], json!(["alpha"]));
    assert_eq!((&result["cacheScope"], &result["ttlMs"]), (&json!("private"), &json!(0)));
    // When nothing answers it is no empty list.
    bench.upstream.down.lock().unwrap().insert("beta.upstream.test".into());
    let failed = bench.modern("/mcp/acme", 1, "resources/list", json!({})).await;
    assert_eq!(failed.code(), -32010);
}

#[tokio::test]
async fn resources_prompts_and_completions_go_to_their_connector_and_back() {
    for speaks in [Speaks::Modern, Speaks::Legacy] {
        let bench = Bench::new(speaks);
        let bare = |method: &'static str, params: Value| {
            let body = rpc(1, method, params);
            async { (bench.bare("/mcp/acme", 1, &body).await, body) }
        };
        let (read, _) = bare("resources/read", json!({"uri":"mcp.beta+test://x/1"})).await;
        let contents = &read.json()["result"]["contents"][0];
        assert_eq!(contents, &json!({"uri":"mcp.beta+test://x/1","text":"beta.upstream.test","vendor":[1]}));
        let (got, _) = bare("prompts/get", json!({"name":"alpha__p1"})).await;
        assert_eq!(got.json()["result"]["messages"][0]["content"]["text"], "p1");
        let reference =
            json!({"ref":{"type":"ref/prompt","name":"beta__p1"},"argument":{"name":"a","value":""}});
        let (completed, _) = bare("completion/complete", reference).await;
        assert_eq!(completed.json()["result"]["completion"]["values"], json!(["p1", "beta.upstream.test"]));
        // On a connector's own endpoint nothing has a prefix.
        let own = rpc(1, "resources/read", json!({"uri":"test://x/1"}));
        let own = bench.bare("/mcp/acme/beta", 1, &own).await.json();
        assert_eq!(own["result"]["contents"][0]["uri"], "test://x/1");
        // Two connectors have resources: a name without a prefix is nobody's.
        let params = json!({"uri":"test://x/1"});
        let legacy = bench.bare("/mcp/acme", 1, &rpc(1, "resources/read", params.clone())).await;
        assert_eq!(legacy.code(), -32002);
        let request = post("/mcp/acme").key(1).header("mcp-protocol-version", MODERN);
        let request = request.header("mcp-method", "resources/read").header("mcp-name", "test://x/1");
        let mut params = params;
        params["_meta"] = json!({"io.modelcontextprotocol/protocolVersion":MODERN,"io.modelcontextprotocol/clientCapabilities":{}});
        let answer = bench.send(request.json(&rpc(1, "resources/read", params))).await;
        assert_eq!((answer.code(), &answer.json()["error"]["data"]["uri"]), (-32602, &json!("test://x/1")));
    }
}

#[tokio::test]
async fn rsv_12_a_session_goes_on_after_a_restart() {
    let (before, after) = (Bench::new(Speaks::Legacy), Bench::new(Speaks::Legacy));
    let id = session(&before, json!({"elicitation":{}})).await;
    let ping = rpc(1, "ping", json!({}));
    assert_eq!(after.send(within(&id, &ping)).await.json()["result"], json!({}));
    // What the client can be asked is still known.
    let call = rpc(7, "tools/call", call_params("alpha__ask", "m"));
    let mut events = Events::new(after.open(within(&id, &call)).await);
    assert_eq!(events.message().await["method"], "elicitation/create");
    let stranger = post("/mcp/acme").key(2).header("mcp-session-id", &id).json(&ping);
    assert_eq!(after.send(stranger).await.status, 404);
}

fn switch_echo_off(bench: &Bench) {
    bench.directory.change(|plane| {
        for connector in &mut plane.connectors {
            if connector.slug.as_str() == "alpha" {
                let changed = crate::support::connector(1, "alpha", &[("stream", true)]);
                *connector = std::sync::Arc::new(changed);
            }
        }
    });
    bench.gateway.invalidate_all();
}

#[tokio::test(start_paused = true)]
async fn changes_are_pushed_to_a_session_and_resumed_after_a_break() {
    let bench = Bench::new(Speaks::Legacy);
    let id = session(&bench, json!({})).await;
    let open = |last: Option<String>| {
        let mut request = ask(Method::GET, "/mcp/acme")
            .key(1)
            .header("mcp-session-id", &id)
            .header("accept", "text/event-stream");
        if let Some(last) = &last {
            request = request.header("last-event-id", last);
        }
        bench.open(request.empty())
    };
    let mut events = Events::new(open(None).await);
    switch_echo_off(&bench);
    let (first, _, data) = events.next().await.unwrap();
    assert!(data.contains("notifications/tools/list_changed"), "{data}");
    drop(events);
    // What happens while nobody reads is kept.
    bench.directory.change(|plane| plane.connectors.truncate(1));
    bench.gateway.invalidate_all();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let mut events = Events::new(open(Some(first)).await);
    let mut methods = Vec::new();
    for _ in 0..3 {
        methods.push(events.message().await["method"].as_str().unwrap().to_owned());
    }
    methods.sort();
    assert_eq!(
        methods,
        [
            "notifications/prompts/list_changed",
            "notifications/resources/list_changed",
            "notifications/tools/list_changed"
        ]
    );
    // Without a session there is no stream, and another's is not found.
    let none =
        bench.send(ask(Method::GET, "/mcp/acme").key(1).header("accept", "text/event-stream").empty()).await;
    assert_eq!(none.status, 405);
    let other = ask(Method::GET, "/mcp/acme").key(2).header("mcp-session-id", &id).empty();
    assert_eq!(bench.send(other).await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn changes_are_pushed_to_modern_listeners_whom_they_concern() {
    let bench = Bench::new(Speaks::Modern);
    let wish = json!({"notifications":{"toolsListChanged":true,"resourceSubscriptions":["mcp.alpha+a:b"]}});
    let open = |key: u64| bench.open(modern("/mcp/acme", key, "subscriptions/listen", wish.clone()));
    let (mut all, mut scoped) = (Events::new(open(1).await), Events::new(open(3).await));
    let acknowledged = all.message().await;
    assert_eq!(acknowledged["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(
        acknowledged["params"]["notifications"],
        json!({"toolsListChanged":true,"resourceSubscriptions":["mcp.alpha+a:b"]})
    );
    // This key is for beta alone.
    assert_eq!(scoped.message().await["params"]["notifications"], json!({"toolsListChanged":true}));
    switch_echo_off(&bench);
    let changed = all.message().await;
    assert_eq!(changed["method"], "notifications/tools/list_changed");
    assert_eq!(changed["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], 1);
    let nothing = tokio::time::timeout(Duration::from_secs(8), scoped.message()).await;
    assert!(nothing.is_err(), "{nothing:?}");
    // APK-05: the stream ends with its key.
    bench.directory.change(|plane| plane.keys.clear());
    bench.gateway.invalidate_all();
    assert!(all.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn the_transport_of_2024_11_05_answers_on_its_stream() {
    let bench = Bench::new(Speaks::Legacy);
    let refused = bench.send(ask(Method::GET, "/mcp/acme/sse").empty()).await;
    assert_eq!(refused.status, 401);
    let mut events = Events::new(bench.open(ask(Method::GET, "/mcp/acme/sse").key(1).empty()).await);
    let (_, kind, path) = events.next().await.unwrap();
    assert_eq!(kind, "endpoint");
    assert!(path.starts_with("/mcp/acme/sse?session_id="), "{path}");
    let say = |key: u64, body: Value| bench.send(post(&path).key(key).json(&body));
    let initialize = json!({"jsonrpc":"2.0","id":0,"method":"initialize","params":
        {"protocolVersion":"2024-11-05","capabilities":{"elicitation":{}},"clientInfo":{"name":"t","version":"1"}}});
    assert_eq!(say(2, initialize.clone()).await.status, 404, "it is its opener's alone (RSV-14)");
    assert_eq!(say(1, initialize).await.status, 202);
    assert_eq!(events.message().await["result"]["protocolVersion"], "2024-11-05");
    assert_eq!(say(1, rpc(1, "tools/call", call_params("alpha__ask", "m"))).await.status, 202);
    let question = events.message().await;
    assert_eq!(question["method"], "elicitation/create");
    say(1, json!({"jsonrpc":"2.0","id":question["id"],"result":{"action":"cancel"}})).await;
    let text = events.message().await["result"]["content"][0]["text"].clone();
    assert!(text.as_str().unwrap().contains("cancel"), "{text}");
    drop(events);
    assert_eq!(say(1, rpc(2, "ping", json!({}))).await.status, 404);
}
