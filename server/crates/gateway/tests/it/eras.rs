//! Three ways to speak: without a session (2026-07-28), in one (before), and with nothing but a body.

use http::Method;
use serde_json::{Value, json};

use crate::support::{Bench, MODERN, Speaks, ask, call_params, initialize, modern, post, rpc};

#[tokio::test]
async fn a_modern_client_discovers_lists_and_calls() {
    for speaks in [Speaks::Modern, Speaks::Legacy] {
        let bench = Bench::new(speaks);
        let discovered = bench.modern("/mcp/acme", 1, "server/discover", json!({})).await;
        assert_eq!(discovered.status, 200);
        let result = &discovered.json()["result"];
        assert_eq!(result["supportedVersions"], json!([MODERN, "2025-11-25", "2025-06-18", "2025-03-26"]));
        assert_eq!(
            result["capabilities"],
            json!({"tools":{"listChanged":true},"prompts":{"listChanged":true},"resources":{"subscribe":true,"listChanged":true},"completions":{},"logging":{}})
        );
        assert_eq!(result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "gatehouse");
        let listed = bench.modern("/mcp/acme", 1, "tools/list", json!({})).await.json();
        for result in [result, &listed["result"]] {
            assert_eq!(
                (&result["resultType"], &result["cacheScope"]),
                (&json!("complete"), &json!("private"))
            );
            assert!(result["ttlMs"].as_u64().is_some());
        }
        let called = bench.modern("/mcp/acme", 1, "tools/call", call_params("alpha__echo", "m1")).await;
        assert_eq!(called.header("content-type"), "application/json");
        assert!(called.headers.get("mcp-session-id").is_none());
        let result = &called.json()["result"];
        assert_eq!(result["resultType"], "complete", "{speaks:?}");
        // A content type that no model knows passes through.
        assert_eq!(result["content"], json!([{"type":"video","future":"m1"}]));
    }
}

#[tokio::test]
async fn a_modern_request_for_a_removed_method_is_404() {
    let bench = Bench::new(Speaks::Modern);
    for method in ["initialize", "ping", "logging/setLevel", "resources/subscribe", "nonsense"] {
        let answer = bench.modern("/mcp/acme", 1, method, json!({})).await;
        assert_eq!((answer.status, answer.code()), (404, -32601), "{method}");
        assert_eq!(answer.json()["id"], 1);
    }
    let mut note =
        rpc(0, "notifications/whatever", json!({"_meta":{"io.modelcontextprotocol/protocolVersion":MODERN}}));
    note.as_object_mut().unwrap().remove("id");
    let answer = bench.send(post("/mcp/acme").key(1).json(&note)).await;
    assert_eq!((answer.status, answer.body.len()), (202, 0));
}

#[tokio::test]
async fn rsv_12_a_legacy_session_lives_from_initialize_to_delete() {
    for speaks in [Speaks::Modern, Speaks::Legacy] {
        let bench = Bench::new(speaks);
        for (asked, agreed) in [
            ("2025-11-25", "2025-11-25"),
            ("2025-06-18", "2025-06-18"),
            ("2025-03-26", "2025-03-26"),
            ("2024-11-05", "2024-11-05"),
            ("2099-01-01", "2025-11-25"),
        ] {
            let answer = bench.bare("/mcp/acme", 1, &initialize(asked)).await.json();
            assert_eq!(answer["result"]["protocolVersion"], agreed);
            assert_eq!(answer["result"]["serverInfo"]["name"], "gatehouse");
        }
        let session = bench.session("/mcp/acme", 1).await;
        assert!(session.len() >= 22 && session.bytes().all(|b| b.is_ascii_graphic()));
        let within = |number: u64, path: &'static str, body: Value| {
            let request = post(path)
                .key(number)
                .header("mcp-session-id", &session)
                .header("mcp-protocol-version", "2025-11-25")
                // Measured: a legacy client that sends a modern header.
                .header("mcp-method", "initialize")
                .header("accept", "application/json, text/event-stream");
            bench.send(request.json(&body))
        };
        let initialized = json!({"jsonrpc":"2.0","method":"notifications/initialized"});
        let answer = within(1, "/mcp/acme", initialized).await;
        assert_eq!((answer.status, answer.body.len()), (202, 0));
        assert_eq!(within(1, "/mcp/acme", rpc(1, "ping", json!({}))).await.json()["result"], json!({}));
        let listed = within(1, "/mcp/acme", rpc(2, "tools/list", json!({}))).await.json();
        assert!(listed["result"].get("resultType").is_none() && listed["result"].get("ttlMs").is_none());
        let called =
            within(1, "/mcp/acme", rpc(3, "tools/call", call_params("alpha__echo", "m2"))).await.json();
        assert_eq!(
            called["result"],
            json!({"content":[{"type":"video","future":"m2"}],"isError":false}),
            "{speaks:?}"
        );
        let unknown = within(1, "/mcp/acme", rpc(4, "subscriptions/listen", json!({}))).await;
        assert_eq!((unknown.status, unknown.code()), (200, -32601));
        let responded = within(1, "/mcp/acme", json!({"jsonrpc":"2.0","id":1,"result":{}})).await;
        assert_eq!(responded.status, 202);
        // Another credential, organisation or path does not find it.
        for (number, path) in [(2, "/mcp/acme"), (11, "/mcp/bolt"), (1, "/mcp/acme/alpha")] {
            assert_eq!(within(number, path, rpc(5, "ping", json!({}))).await.status, 404, "{number} {path}");
        }
        let delete = |number: u64| {
            bench
                .send(ask(Method::DELETE, "/mcp/acme").key(number).header("mcp-session-id", &session).empty())
        };
        assert_eq!(delete(2).await.status, 404);
        assert_eq!(delete(1).await.status, 204);
        assert_eq!(delete(1).await.status, 404);
        let gone = within(1, "/mcp/acme", rpc(6, "ping", json!({}))).await;
        assert_eq!((gone.status, &gone.json()["id"]), (404, &json!(6)));
    }
}

#[tokio::test]
async fn rsv_12_a_session_needs_a_valid_initialize() {
    let bench = Bench::new(Speaks::Modern);
    for body in [
        json!({"jsonrpc":"2.0","id":1,"method":"initialize"}),
        json!({"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":7}}),
        json!({"jsonrpc":"2.0","method":"initialize","params":{"protocolVersion":"2025-11-25"}}),
    ] {
        let answer = bench.bare("/mcp/acme", 1, &body).await;
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.headers.get("mcp-session-id").is_none());
    }
    let request = post("/mcp/acme").key(1).header("mcp-protocol-version", "2031-01-01");
    assert_eq!(bench.send(request.json(&rpc(1, "ping", json!({})))).await.status, 400);
}

#[tokio::test]
async fn a_bare_call_needs_nothing_but_a_key_and_a_body() {
    for speaks in [Speaks::Modern, Speaks::Legacy] {
        let bench = Bench::new(speaks);
        for accept in
            [None, Some("*/*"), Some("application/json"), Some("application/json, text/event-stream")]
        {
            for tool in ["alpha__echo", "alpha__stream"] {
                let mut request = post("/mcp/acme").header("x-api-key", &crate::support::key(1));
                if let Some(accept) = accept {
                    request = request.header("accept", accept);
                }
                let answer = bench.send(request.json(&rpc(1, "tools/call", call_params(tool, "m3")))).await;
                assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
                assert_eq!(
                    answer.json()["result"],
                    json!({"content":[{"type":"video","future":"m3"}],"isError":false})
                );
            }
        }
        assert_eq!(bench.bare("/mcp/acme", 1, &rpc(1, "ping", json!({}))).await.json()["result"], json!({}));
        let note = json!({"jsonrpc":"2.0","method":"notifications/initialized"});
        assert_eq!(bench.bare("/mcp/acme", 1, &note).await.status, 202);
        assert_eq!(bench.bare("/mcp/acme", 1, &rpc(1, "nonsense", json!({}))).await.code(), -32601);
    }
}

#[tokio::test]
async fn who_takes_only_events_gets_events() {
    let bench = Bench::new(Speaks::Modern);
    let mut request = modern("/mcp/acme", 1, "tools/call", call_params("alpha__echo", "m"));
    request.headers_mut().insert("accept", "text/event-stream".parse().unwrap());
    let answer = bench.send(request).await;
    assert_eq!(answer.events()[0]["result"]["content"][0]["future"], "m");
}

#[tokio::test]
async fn rsv_08_the_second_round_of_a_call_is_not_taken_on_trust() {
    let bench = Bench::new(Speaks::Modern);
    for member in ["requestState", "inputResponses"] {
        let mut params = call_params("alpha__echo", "m");
        params[member] = json!("forged");
        let answer = bench.modern("/mcp/acme", 1, "tools/call", params).await;
        assert_eq!((answer.status, answer.code()), (400, -32602));
    }
    assert!(bench.upstream.seen("tools/call").is_empty());
}
