//! Lists of tools, and calls on their way up and back.

use std::{sync::atomic::Ordering, time::Duration};

use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use crate::support::{Bench, Speaks, call_params, key, modern, org_id, post, rpc};

fn names(list: &Value) -> Vec<String> {
    let tools = list["result"]["tools"].as_array().unwrap();
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn ups_12_tools_are_prefixed_and_otherwise_untouched() {
    let bench = Bench::new(Speaks::Modern);
    let answer = bench.bare("/mcp/acme", 1, &rpc(1, "tools/list", json!({}))).await;
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    // Byte for byte, spaces and order included; only the name is another.
    assert!(text.contains(
        r#"{ "vendorField" : [1, 2.50], "name":"alpha__echo","inputSchema":{"type":"object","properties":{"marker":{"type":"string"}}},"annotations":{"x-unknown":true} }"#
    ));
    let all = names(&answer.json());
    assert_eq!(all.first().unwrap(), "alpha__echo");
    assert_eq!(all.last().unwrap(), "beta__other");
    assert!(!all.contains(&"alpha__off".to_owned()));
    let again = bench.bare("/mcp/acme", 2, &rpc(1, "tools/list", json!({}))).await;
    assert_eq!(answer.body, again.body);
    let one = bench.bare("/mcp/acme/beta", 1, &rpc(1, "tools/list", json!({}))).await;
    assert_eq!(names(&one.json()), ["echo", "other"]);
    // Nobody upstream was asked.
    assert!(bench.upstream.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn long_lists_have_pages_and_cursors_are_checked() {
    let bench = Bench::with(Speaks::Modern, |settings| settings.page = 4);
    let mut found = Vec::new();
    let mut cursor = Value::Null;
    loop {
        let page = bench.bare("/mcp/acme", 1, &rpc(1, "tools/list", json!({"cursor":cursor}))).await.json();
        found.extend(names(&page));
        assert!(names(&page).len() <= 4);
        cursor = page["result"]["nextCursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!(found.len(), 16);
    let first = bench.bare("/mcp/acme", 1, &rpc(1, "tools/list", json!({}))).await.json();
    let good = first["result"]["nextCursor"].clone();
    for bad in [json!("x"), json!(""), json!(7), json!("MS4wMDAwMDAwMA")] {
        let answer = bench.bare("/mcp/acme", 1, &rpc(1, "tools/list", json!({"cursor":bad}))).await;
        assert_eq!(answer.code(), -32602, "{bad}");
    }
    // Of another key's list.
    assert_eq!(
        bench.bare("/mcp/acme", 3, &rpc(1, "tools/list", json!({"cursor":good}))).await.code(),
        -32602
    );
    bench.directory.change(|plane| {
        plane.connectors.pop();
    });
    bench.gateway.invalidate(org_id(1));
    assert_eq!(
        bench.bare("/mcp/acme", 1, &rpc(1, "tools/list", json!({"cursor":good}))).await.code(),
        -32602
    );
}

#[tokio::test]
async fn rsv_07_no_credential_of_the_client_goes_upstream() {
    for speaks in [Speaks::Modern, Speaks::Legacy] {
        let bench = Bench::new(speaks);
        let mut request = modern("/mcp/acme", 1, "tools/call", call_params("alpha__echo", "m"));
        for (name, value) in [
            ("x-api-key", key(1).as_str()),
            ("cookie", "a=b"),
            ("proxy-authorization", "Basic eA=="),
            ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-user", "ada"),
            ("x-own", "forged"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("te", "trailers"),
        ] {
            request.headers_mut().insert(
                http::HeaderName::from_bytes(name.as_bytes()).unwrap(),
                http::HeaderValue::from_str(value).unwrap(),
            );
        }
        let answer = bench.send(request).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        for seen in bench.upstream.seen.lock().unwrap().iter() {
            assert_eq!(seen.headers["x-own"], "secret-of-alpha");
            assert!(seen.headers.get("host").is_none());
            assert_eq!(
                seen.headers.get_all("accept").iter().collect::<Vec<_>>(),
                ["application/json, text/event-stream"]
            );
            for name in [
                "authorization",
                "x-api-key",
                "cookie",
                "proxy-authorization",
                "x-forwarded-for",
                "x-forwarded-user",
                "x-hop",
                "te",
                "user-agent",
            ] {
                assert!(seen.headers.get(name).is_none(), "{name}");
            }
        }
        // Nor does anything of the server's reach the client.
        for name in ["set-cookie", "www-authenticate", "location", "mcp-session-id"] {
            assert!(answer.headers.get(name).is_none(), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rsv_11_a_thousand_calls_with_id_0_get_their_own_answers() {
    for speaks in [Speaks::Modern, Speaks::Legacy] {
        let bench = Bench::with(speaks, |settings| settings.streams_per_key = 300);
        let calls = (0..1000u64).map(|n| {
            let bench = &bench;
            async move {
                let (path, number) =
                    [("/mcp/acme", 1), ("/mcp/acme", 2), ("/mcp/bolt", 11), ("/mcp/bolt", 12)]
                        [(n % 4) as usize];
                let marker = format!("marker-{n}");
                let tool = if n % 3 == 0 { "alpha__stream" } else { "alpha__echo" };
                let mut params = call_params(tool, &marker);
                // The same token for everybody.
                params["_meta"]["progressToken"] = json!(0);
                let mut request = modern(path, number, "tools/call", params);
                let mut body: Value = {
                    let bytes = std::mem::take(request.body_mut()).collect().await.unwrap().to_bytes();
                    serde_json::from_slice(&bytes).unwrap()
                };
                body["id"] = json!(0);
                *request.body_mut() = body.to_string().into();
                let answer = bench.send(request).await;
                assert_eq!(answer.status, 200, "{answer:?}");
                let last = if n % 3 == 0 {
                    let mut events = answer.events();
                    let last = events.pop().unwrap();
                    let progress: Vec<_> = events.iter().map(|e| e["params"]["progress"].clone()).collect();
                    assert_eq!(progress, [json!(1), json!(2)]);
                    for event in events {
                        assert_eq!(event["params"]["progressToken"], 0);
                        assert_eq!(event["params"]["message"], json!(marker));
                    }
                    last
                } else {
                    answer.json()
                };
                assert_eq!(last["id"], 0);
                assert_eq!(last["result"]["content"][0]["future"], json!(marker));
            }
        });
        futures_util::future::join_all(calls).await;
        let seen = bench.upstream.seen("tools/call");
        let ids: std::collections::HashSet<_> = seen
            .iter()
            .map(|seen| (seen.host.clone(), seen.headers["x-own"].clone(), seen.body["id"].to_string()))
            .collect();
        // One request upstream for each call. Two organisations have a connector of that name, each with ids of its own.
        assert_eq!(seen.len(), 1000);
        assert!(ids.len() >= 500);
        // And one handshake for each connection, however many came at once.
        let handshakes =
            bench.upstream.seen(if speaks == Speaks::Modern { "server/discover" } else { "initialize" });
        assert_eq!(handshakes.len(), 2);
    }
}

#[tokio::test]
async fn req_06_streams_carry_what_the_client_asked_for() {
    for speaks in [Speaks::Modern, Speaks::Legacy] {
        let bench = Bench::new(speaks);
        // Without a progress token and a log level there is only the result.
        let quiet = bench.modern("/mcp/acme", 1, "tools/call", call_params("alpha__stream", "m")).await;
        assert_eq!((quiet.header("x-accel-buffering"), quiet.header("cache-control")), ("no", "no-store"));
        assert_eq!(quiet.events().len(), 1);
        assert_eq!(quiet.events()[0]["result"]["resultType"], "complete");
        let mut params = call_params("alpha__stream", "m");
        params["_meta"]["progressToken"] = json!("my token");
        params["_meta"]["io.modelcontextprotocol/logLevel"] = json!("info");
        params["_meta"]["traceparent"] = json!("00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01");
        params["_meta"]["com.example/own"] = json!({"kept":true});
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({"elicitation":{},"sampling":{},"roots":{},"extensions":{"io.modelcontextprotocol/ui":{},"io.modelcontextprotocol/tasks":{}}});
        let events = bench.modern("/mcp/acme", 1, "tools/call", params.clone()).await.events();
        let methods: Vec<_> = events.iter().map(|e| e["method"].as_str().unwrap_or("result")).collect();
        assert_eq!(
            methods,
            ["notifications/progress", "notifications/message", "notifications/progress", "result"]
        );
        assert_eq!(events[0]["params"]["progressToken"], "my token");
        let seen = bench.upstream.seen("tools/call").pop().unwrap().body;
        let meta = &seen["params"]["_meta"];
        assert_eq!(meta["progressToken"], seen["id"]);
        assert_eq!(meta["traceparent"], params["_meta"]["traceparent"]);
        assert_eq!(meta["com.example/own"], json!({"kept":true}));
        if speaks == Speaks::Modern {
            assert_eq!(meta["io.modelcontextprotocol/logLevel"], "info");
            assert_eq!(meta["io.modelcontextprotocol/clientInfo"]["name"], "gatehouse");
            assert_eq!(
                meta["io.modelcontextprotocol/clientCapabilities"],
                json!({"elicitation":{},"sampling":{},"roots":{},"extensions":{"io.modelcontextprotocol/ui":{}}})
            );
        } else {
            assert!(meta.as_object().unwrap().keys().all(|key| !key.starts_with("io.modelcontextprotocol/")));
        }
        params["_meta"]["io.modelcontextprotocol/logLevel"] = json!("error");
        let events = bench.modern("/mcp/acme", 1, "tools/call", params).await.events();
        assert!(events.iter().all(|e| e["method"] != "notifications/message"));
    }
}

#[tokio::test(start_paused = true)]
async fn req_06_a_quiet_stream_shows_signs_of_life() {
    let bench = Bench::new(Speaks::Modern);
    let mut params = call_params("alpha__drip", "m");
    params["_meta"]["io.modelcontextprotocol/logLevel"] = json!("info");
    let mut body = bench.open(modern("/mcp/acme", 1, "tools/call", params)).await.into_body();
    body.frame().await.unwrap().unwrap();
    let begun = tokio::time::Instant::now();
    let comment = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(comment.starts_with(b":") && comment.ends_with(b"\n\n"));
    assert!(begun.elapsed() <= Duration::from_secs(18));
    // A client that goes away takes the call with it.
    drop(body);
    assert_eq!(bench.upstream.dropped.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn ups_03_a_stream_that_never_ends_is_ended() {
    let bench = Bench::new(Speaks::Modern);
    let begun = tokio::time::Instant::now();
    let answer = bench.modern("/mcp/acme", 1, "tools/call", call_params("alpha__drip", "m")).await;
    assert_eq!(answer.events().pop().unwrap()["error"]["code"], -32011);
    assert!(begun.elapsed() <= Duration::from_secs(121));
}

#[tokio::test(start_paused = true)]
async fn ups_02_a_silent_server_times_out_and_is_told() {
    for speaks in [Speaks::Modern, Speaks::Legacy] {
        let bench = Bench::new(speaks);
        let begun = tokio::time::Instant::now();
        let answer = bench.bare("/mcp/acme", 1, &rpc(4, "tools/call", call_params("alpha__slow", "m"))).await;
        assert_eq!((answer.status, answer.code(), &answer.json()["id"]), (200, -32011, &json!(4)));
        assert_eq!(answer.word(), "upstream_timeout");
        assert!(begun.elapsed() <= Duration::from_secs(31));
        assert_eq!(bench.upstream.dropped.load(Ordering::SeqCst), 1);
        tokio::time::sleep(Duration::from_millis(10)).await;
        let told = bench.upstream.seen("notifications/cancelled");
        assert_eq!(told.len(), usize::from(speaks == Speaks::Legacy));
        let calls = bench.upstream.seen("tools/call");
        assert_eq!(calls.len(), 1, "a call is never repeated");
        if let Some(told) = told.first() {
            assert_eq!(told.body["params"]["requestId"], calls[0].body["id"]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn req_06_a_client_that_disconnects_cancels_upstream() {
    for speaks in [Speaks::Modern, Speaks::Legacy] {
        let bench = Bench::new(speaks);
        let request = modern("/mcp/acme", 1, "tools/call", call_params("alpha__slow", "m"));
        let gone = tokio::time::timeout(Duration::from_millis(500), bench.open(request)).await;
        assert!(gone.is_err());
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(bench.upstream.dropped.load(Ordering::SeqCst), 1);
        assert_eq!(
            bench.upstream.seen("notifications/cancelled").len(),
            usize::from(speaks == Speaks::Legacy)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_legacy_client_cancels_by_notification() {
    let bench = Bench::new(Speaks::Legacy);
    let session = bench.session("/mcp/acme", 1).await;
    let within = |body: &Value| {
        let request = post("/mcp/acme").key(1).header("mcp-session-id", &session);
        request.header("accept", "application/json, text/event-stream").json(body)
    };
    let call = rpc(77, "tools/call", call_params("alpha__slow", "m"));
    let cancel = json!({"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":77}});
    let cancelling = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        // Of another request: nothing happens.
        let other = json!({"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"77"}});
        bench.send(within(&other)).await;
        assert_eq!(bench.upstream.dropped.load(Ordering::SeqCst), 0);
        bench.send(within(&cancel)).await
    };
    let (called, cancelled) = tokio::join!(bench.send(within(&call)), cancelling);
    assert_eq!((called.status, called.body.len(), cancelled.status), (202, 0, 202));
    assert_eq!(bench.upstream.dropped.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_tool_that_is_not_there_is_a_clear_error() {
    let bench = Bench::new(Speaks::Modern);
    for name in [
        "alpha__nothing",
        "alpha__off",
        "nobody__echo",
        "echo",
        "alpha",
        "",
        "alpha__",
        "__echo",
        "ALPHA__echo",
    ] {
        let answer = bench.bare("/mcp/acme", 1, &rpc(2, "tools/call", json!({"name":name}))).await;
        assert_eq!((answer.status, answer.code()), (200, -32602), "{name}");
        assert_eq!(answer.word(), "unknown_tool");
    }
    for params in [json!({}), json!({"name":7}), json!({"name":"alpha__echo","arguments":[]})] {
        assert_eq!(bench.bare("/mcp/acme", 1, &rpc(2, "tools/call", params)).await.code(), -32602);
    }
    assert!(bench.upstream.seen("tools/call").is_empty());
    let one = bench.bare("/mcp/acme/alpha", 1, &rpc(2, "tools/call", call_params("echo", "m"))).await;
    assert_eq!(one.json()["result"]["content"][0]["future"], "m");
}

#[tokio::test]
async fn ups_05_what_goes_wrong_upstream_is_said_and_not_repeated() {
    let bench = Bench::new(Speaks::Modern);
    for (tool, code, word) in [
        ("html", -32012, "upstream_protocol_error"),
        ("odd", -32012, "upstream_protocol_error"),
        ("broken", -32012, "upstream_protocol_error"),
        ("big", -32013, "upstream_too_large"),
        ("busy", -32010, "upstream_rate_limited"),
        ("input", -32012, "input_not_supported"),
    ] {
        let answer = bench
            .bare("/mcp/acme", 1, &rpc(8, "tools/call", call_params(&format!("alpha__{tool}"), "m")))
            .await;
        assert_eq!((answer.status, answer.code(), answer.word().as_str()), (200, code, word), "{tool}");
        assert_eq!(answer.json()["id"], 8);
        assert_eq!(answer.json()["error"]["data"]["connector"], "alpha");
        assert!(!String::from_utf8_lossy(&answer.body).contains("secret"), "{tool}");
    }
    let busy = bench.bare("/mcp/acme", 1, &rpc(8, "tools/call", call_params("alpha__busy", "m"))).await;
    assert_eq!((busy.header("retry-after"), &busy.json()["error"]["data"]["retry_after"]), ("7", &json!(7)));
    // The server's own error is passed on as it is, with the client's id.
    let own = bench.bare("/mcp/acme", 1, &rpc(8, "tools/call", call_params("alpha__bare_error", "m"))).await;
    assert_eq!(own.json(), json!({"jsonrpc":"2.0","id":8,"error":{"code":-32099,"message":"no"}}));
    // And the others go on.
    let good = bench.bare("/mcp/acme", 1, &rpc(8, "tools/call", call_params("beta__echo", "m"))).await;
    assert_eq!(good.json()["result"]["content"][0]["future"], "m");
}

#[tokio::test]
async fn ups_11_a_question_in_the_middle_of_a_call_is_refused_upstream() {
    let bench = Bench::new(Speaks::Legacy);
    for streaming in [true, false] {
        let text = if streaming {
            let answer = bench.modern("/mcp/acme", 1, "tools/call", call_params("alpha__ask", "m")).await;
            let events = answer.events();
            assert_eq!(events.len(), 1, "the question does not reach the client");
            events[0]["result"]["content"][0]["text"].clone()
        } else {
            let answer =
                bench.bare("/mcp/acme", 1, &rpc(1, "tools/call", call_params("alpha__ask", "m"))).await;
            answer.json()["result"]["content"][0]["text"].clone()
        };
        assert_eq!(text, "refused with -32601");
    }
}

#[tokio::test]
async fn a_forgotten_session_upstream_is_made_anew_and_the_call_repeated_once() {
    let bench = Bench::new(Speaks::Legacy);
    let call = rpc(1, "tools/call", call_params("alpha__echo", "m"));
    assert_eq!(bench.bare("/mcp/acme", 1, &call).await.status, 200);
    bench.upstream.sessions.lock().unwrap().clear();
    let answer = bench.bare("/mcp/acme", 1, &call).await;
    assert_eq!(answer.json()["result"]["content"][0]["future"], "m");
    assert_eq!(bench.upstream.seen("initialize").len(), 2);
    assert_eq!(bench.upstream.seen("notifications/initialized").len(), 2);
}

#[tokio::test]
async fn a_server_that_was_exchanged_for_one_of_the_other_era_is_met_again() {
    for (first, second) in [(Speaks::Legacy, Speaks::Modern), (Speaks::Modern, Speaks::Legacy)] {
        let bench = Bench::new(first);
        let call = rpc(1, "tools/call", call_params("alpha__echo", "m"));
        assert_eq!(bench.bare("/mcp/acme", 1, &call).await.json()["result"]["content"][0]["future"], "m");
        *bench.upstream.speaks.lock().unwrap() = second;
        // The call that finds out may fail, since nobody knows what the new server did with it; the next one does not.
        bench.bare("/mcp/acme", 1, &call).await;
        let answer = bench.bare("/mcp/acme", 1, &call).await;
        assert_eq!(answer.json()["result"]["content"][0]["future"], "m", "{answer:?}");
    }
}

#[tokio::test]
async fn a_new_snapshot_keeps_connections_unless_the_connector_changed() {
    let bench = Bench::new(Speaks::Modern);
    let call = rpc(1, "tools/call", call_params("alpha__echo", "m"));
    bench.bare("/mcp/acme", 1, &call).await;
    bench.directory.change(|_| ());
    bench.gateway.invalidate(org_id(1));
    bench.bare("/mcp/acme", 1, &call).await;
    assert_eq!(bench.upstream.seen("server/discover").len(), 1);
    bench.directory.change(|plane| {
        let mut changed = crate::support::connector(1, "alpha", crate::support::TOOLS);
        changed.version = 2;
        changed.headers = vec![(http::HeaderName::from_static("x-own"), "new".to_owned().into())];
        plane.connectors[0] = std::sync::Arc::new(changed);
    });
    bench.gateway.invalidate(org_id(1));
    bench.bare("/mcp/acme", 1, &call).await;
    assert_eq!(bench.upstream.seen("server/discover").len(), 2);
    assert_eq!(bench.upstream.seen("tools/call").pop().unwrap().headers["x-own"], "new");
}

#[tokio::test(start_paused = true)]
async fn rlm_06_too_many_calls_of_one_key_are_429() {
    let bench = Bench::with(Speaks::Modern, |settings| {
        settings.calls_per_key = 2;
        settings.waiting_per_key = 1;
    });
    let slow = rpc(1, "tools/call", call_params("alpha__slow", "m"));
    let calls = futures_util::future::join_all((0..5).map(|_| bench.bare("/mcp/acme", 1, &slow)));
    let others = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        // Another key is not concerned, nor is a list.
        let echo = rpc(1, "tools/call", call_params("alpha__echo", "m"));
        assert_eq!(bench.bare("/mcp/acme", 2, &echo).await.status, 200);
        assert_eq!(bench.bare("/mcp/acme", 1, &rpc(1, "tools/list", json!({}))).await.status, 200);
    };
    let (answers, ()) = tokio::join!(calls, others);
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert_eq!(refused.len(), 3);
    assert!(
        refused.iter().all(|answer| answer.word() == "concurrency" && answer.header("retry-after") == "1")
    );
    assert!(refused.iter().all(|answer| answer.json()["id"] == 1));
    let echo = rpc(1, "tools/call", call_params("alpha__echo", "m"));
    assert_eq!(bench.bare("/mcp/acme", 1, &echo).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn req_06_a_call_over_the_limit_of_streams_is_answered_without_one() {
    let bench = Bench::with(Speaks::Modern, |settings| settings.streams_per_key = 1);
    let open = bench.open(modern("/mcp/acme", 1, "tools/call", call_params("alpha__drip", "m"))).await;
    assert_eq!(open.headers()["content-type"], "text/event-stream");
    let answer = bench.modern("/mcp/acme", 1, "tools/call", call_params("alpha__stream", "m")).await;
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.json()["result"]["content"][0]["future"], "m");
    drop(open);
    let answer = bench.modern("/mcp/acme", 1, "tools/call", call_params("alpha__stream", "m")).await;
    assert_eq!(answer.header("content-type"), "text/event-stream");
}

#[tokio::test]
async fn the_demo_server_answers_like_any_other() {
    let bench = Bench::new(Speaks::Modern);
    bench.directory.change(|plane| {
        let mut demo = crate::support::connector(9, "demo", &[]);
        demo.transport = model::connectors::Transport::Demo;
        demo.tools = domain::mcp::demo::Demo::list_tools(6)
            .tools
            .into_iter()
            .map(|tool| domain::dataplane::PlaneTool {
                published: tool.name.clone(),
                name: tool.name,
                enabled: true,
                held: false,
                timeout: None,
                definition: tool.raw,
            })
            .collect();
        plane.connectors.push(std::sync::Arc::new(demo));
    });
    let add = json!({"name":"demo__add","arguments":{"a":2,"b":3}});
    let answer = bench.modern("/mcp/acme", 1, "tools/call", add.clone()).await.json();
    assert_eq!(
        (&answer["result"]["structuredContent"], &answer["result"]["resultType"]),
        (&json!({"sum":5}), &json!("complete"))
    );
    let bare = bench.bare("/mcp/acme", 1, &rpc(1, "tools/call", add)).await.json();
    assert_eq!(bare["result"]["structuredContent"]["sum"], 5);
    let time = bench.bare("/mcp/acme", 1, &rpc(1, "tools/call", json!({"name":"demo__time"}))).await.json();
    assert_eq!(time["result"]["content"][0]["text"], "2026-11-21T00:00:00Z");
}
