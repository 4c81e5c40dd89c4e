//! What HTTP has to look like, and how the envelope is judged.

use axum::body::Body;
use http::Method;
use serde_json::{Value, json};

use crate::support::{Bench, MODERN, Speaks, ask, call_params, modern, post, rpc};

#[tokio::test]
async fn rsv_10_origin_and_host_come_before_the_credential() {
    let bench = Bench::new(Speaks::Modern);
    let list = rpc(1, "tools/list", json!({}));
    let host = |host: &str| {
        let builder =
            http::Request::post("/mcp/acme").header("host", host).header("content-type", "application/json");
        bench.send(builder.body(Body::from("{}")).unwrap())
    };
    assert_eq!(host("evil.test").await.status, 421);
    assert_eq!(host("gate.test:8443").await.status, 421);
    assert_eq!(host("gate.test").await.status, 401);
    let foreign = bench.send(post("/mcp/acme").header("origin", "https://evil.test").json(&list)).await;
    assert_eq!((foreign.status, foreign.word().as_str()), (403, "origin_not_allowed"));
    assert!(foreign.headers.get("access-control-allow-origin").is_none());
    let own = bench.send(post("/mcp/acme").key(1).header("origin", "https://gate.test").json(&list)).await;
    assert_eq!((own.status, own.header("access-control-allow-origin")), (200, "https://gate.test"));
    assert!(own.header("access-control-expose-headers").contains("Mcp-Session-Id"));
    let question = |origin: &str| {
        bench.send(
            ask(Method::OPTIONS, "/mcp/acme")
                .header("origin", origin)
                .header("access-control-request-method", "POST")
                .header("access-control-request-headers", "mcp-param-region, x-evil")
                .empty(),
        )
    };
    let allowed = question("https://gate.test").await;
    assert_eq!(allowed.status, 204);
    let headers = allowed.header("access-control-allow-headers");
    assert!(
        headers.contains("Mcp-Session-Id")
            && headers.contains("mcp-param-region")
            && !headers.contains("evil")
    );
    assert_eq!(question("https://evil.test").await.status, 403);
}

#[tokio::test]
async fn req_01_a_body_over_the_limit_is_413() {
    let bench = Bench::with(Speaks::Modern, |settings| settings.max_body = 10_000);
    let big = rpc(1, "tools/call", call_params("alpha__echo", &"x".repeat(10_000)));
    assert_eq!(bench.bare("/mcp/acme", 1, &big).await.status, 413);
    // The length alone is enough; the body is never asked for.
    let claimed = post("/mcp/acme")
        .key(1)
        .header("content-type", "application/json")
        .header("content-length", "10001")
        .body(Body::from_stream(futures_util::stream::pending::<Result<bytes::Bytes, std::io::Error>>()));
    let answer = bench.send(claimed).await;
    assert_eq!((answer.status, answer.header("connection")), (413, "close"));
    // Without a length, what arrives is counted.
    let endless =
        futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(bytes::Bytes::from(vec![b' '; 1000])));
    let chunked =
        post("/mcp/acme").key(1).header("content-type", "application/json").body(Body::from_stream(endless));
    assert_eq!(bench.send(chunked).await.status, 413);
}

#[tokio::test(start_paused = true)]
async fn req_04_a_body_that_dribbles_is_cut() {
    use futures_util::StreamExt as _;

    let bench = Bench::new(Speaks::Modern);
    let dribble = futures_util::stream::repeat(()).then(|()| async {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        Ok::<_, std::io::Error>(bytes::Bytes::from_static(b" "))
    });
    let request =
        post("/mcp/acme").key(1).header("content-type", "application/json").body(Body::from_stream(dribble));
    assert_eq!(bench.send(request).await.status, 408);
}

#[tokio::test]
async fn req_02_deep_and_wide_bodies_are_invalid() {
    let bench = Bench::new(Speaks::Modern);
    for body in [
        "[".repeat(100_000),
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"a":[{}1]}}}}"#, "1,".repeat(100_000)),
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"a":"{}"}}}}"#, "x".repeat(1 << 20)),
    ] {
        let answer = bench.send(post("/mcp/acme").key(1).text(&body)).await;
        assert_eq!((answer.status, answer.code()), (400, -32600));
    }
}

#[tokio::test]
async fn req_03_types_encodings_and_accept() {
    let bench = Bench::new(Speaks::Modern);
    let ping = rpc(1, "ping", json!({})).to_string();
    let typed = |kind: &str| {
        bench.send(post("/mcp/acme").key(1).header("content-type", kind).body(ping.clone().into()))
    };
    assert_eq!(typed("application/json").await.status, 200);
    assert_eq!(typed("Application/JSON; charset=utf-8").await.status, 200);
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
        assert_eq!(typed(kind).await.status, 415, "{kind}");
    }
    assert_eq!(bench.send(post("/mcp/acme").key(1).body(ping.clone().into())).await.status, 415);
    let packed = post("/mcp/acme").key(1).header("content-encoding", "gzip").text(&ping);
    assert_eq!(bench.send(packed).await.status, 415);
    for (accept, status) in [
        ("application/json", 200),
        ("text/event-stream", 200),
        ("*/*", 200),
        ("text/html", 406),
        ("image/*", 406),
    ] {
        let answer = bench.send(post("/mcp/acme").key(1).header("accept", accept).text(&ping)).await;
        assert_eq!(answer.status, status, "{accept}");
    }
    let broken = post("/mcp/acme")
        .key(1)
        .header("content-type", "application/json")
        .body(vec![b'"', 0xFF, b'"'].into());
    let answer = bench.send(broken).await;
    assert_eq!((answer.status, answer.code()), (400, -32700));
    assert_eq!(answer.json()["id"], Value::Null);
}

#[tokio::test]
async fn req_05_other_methods_are_405_with_allow() {
    let bench = Bench::new(Speaks::Modern);
    for method in [Method::GET, Method::PUT, Method::PATCH, Method::OPTIONS] {
        let answer = bench.send(ask(method.clone(), "/mcp/acme").key(1).empty()).await;
        assert_eq!(
            (answer.status, answer.header("allow")),
            (405, if method == Method::GET { "POST, DELETE" } else { "POST, GET, DELETE" })
        );
    }
    let delete = bench.send(ask(Method::DELETE, "/mcp/acme").key(1).empty()).await;
    assert_eq!((delete.status, delete.header("allow")), (405, "POST"));
}

#[tokio::test]
async fn rsv_09_the_envelope_is_strict() {
    let bench = Bench::new(Speaks::Modern);
    for (body, code) in [
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}"#, -32600),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"alpha__echo","name":"beta__echo"}}"#,
            -32600,
        ),
        (r#"{"jsonrpc":"2.0","id":1,"Method":"ping"}"#, -32600),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, -32600),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, -32600),
        ("{", -32700),
    ] {
        let answer = bench.send(post("/mcp/acme").key(1).text(body)).await;
        assert_eq!((answer.status, answer.code()), (400, code), "{body}");
    }
    assert!(bench.upstream.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn rsv_09_upstream_gets_an_envelope_of_ours() {
    let bench = Bench::new(Speaks::Modern);
    let body = r#"{"jsonrpc":"2.0","extra":"x","id":"mine","method":"tools/call","Method":"y","params":{"future":[1.50,"\u00e9"],"task":{},"name":"alpha__echo","Name":"z","arguments":{"marker":"m","big":12345678901234567890}}}"#;
    let answer = bench.send(post("/mcp/acme").key(1).text(body)).await;
    assert_eq!(answer.json()["id"], "mine");
    let seen = bench.upstream.seen("tools/call").remove(0).body;
    assert!(seen["id"].is_u64());
    assert!(
        seen.get("extra").is_none() && seen.get("Method").is_none() && seen["params"].get("task").is_none()
    );
    assert_eq!(seen["params"]["name"], "echo");
    assert_eq!(seen["params"]["future"], json!([1.50, "é"]));
    assert_eq!(seen["params"]["arguments"]["big"].to_string(), "12345678901234567890");
}

#[tokio::test]
async fn rsv_08_headers_and_body_agree() {
    let bench = Bench::new(Speaks::Modern);
    let params = || {
        let mut params = call_params("alpha__echo", "m");
        params["_meta"] = json!({"io.modelcontextprotocol/protocolVersion":MODERN,"io.modelcontextprotocol/clientCapabilities":{}});
        params
    };
    let send = |headers: Vec<(&'static str, &'static str)>, params: Value| {
        let asking = headers.iter().fold(post("/mcp/acme").key(1), |asking, (n, v)| asking.header(n, v));
        bench.send(asking.json(&json!({"jsonrpc":"2.0","id":9,"method":"tools/call","params":params})))
    };
    let good =
        || vec![("mcp-protocol-version", MODERN), ("mcp-method", "tools/call"), ("mcp-name", "alpha__echo")];
    assert_eq!(send(good(), params()).await.status, 200);
    let mut encoded = good();
    encoded[2].1 = "=?base64?YWxwaGFfX2VjaG8=?=";
    assert_eq!(send(encoded, params()).await.status, 200);
    for at in 0..3 {
        let mut without = good();
        without.remove(at);
        let answer = send(without, params()).await;
        assert_eq!((answer.status, answer.code(), &answer.json()["id"]), (400, -32020, &json!(9)), "{at}");
        for wrong in ["2025-11-25", "tools/list", "beta__echo", "ALPHA__ECHO", "=?base64?*?="] {
            let mut other = good();
            other[at].1 = wrong;
            let answer = send(other, params()).await;
            assert_eq!((answer.status, answer.code()), (400, -32020), "{at} {wrong}");
        }
        let mut twice = good();
        twice.push(good()[at]);
        assert_eq!(send(twice, params()).await.status, 400);
    }
    assert_eq!(bench.upstream.seen("tools/call").len(), 2);

    let mut old = params();
    old["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("1900-01-01");
    let mut headers = good();
    headers[0].1 = "1900-01-01";
    let answer = send(headers, old).await;
    assert_eq!((answer.status, answer.code()), (400, -32022));
    let data = &answer.json()["error"]["data"];
    assert_eq!((&data["requested"], &data["supported"][0]), (&json!("1900-01-01"), &json!(MODERN)));

    let mut bare = params();
    bare["_meta"].as_object_mut().unwrap().remove("io.modelcontextprotocol/clientCapabilities");
    let answer = send(good(), bare).await;
    assert_eq!((answer.status, answer.code()), (400, -32602));
    let answer = send(good(), call_params("alpha__echo", "m")).await;
    assert_eq!((answer.status, answer.code()), (400, -32602));
}

#[tokio::test]
async fn rsv_08_marked_arguments_are_checked_and_sent_on() {
    let bench = Bench::new(Speaks::Modern);
    let request = |value: Option<&str>| {
        let mut request = modern("/mcp/acme", 1, "tools/call", call_params("alpha__region", "eu-west"));
        request.headers_mut().insert("mcp-param-unknown", "kept".parse().unwrap());
        if let Some(value) = value {
            request.headers_mut().insert("mcp-param-region", value.parse().unwrap());
        }
        bench.send(request)
    };
    assert_eq!(request(Some("eu-west")).await.status, 200);
    assert_eq!(request(Some("=?base64?ZXUtd2VzdA==?=")).await.status, 200);
    for wrong in [None, Some("us-west"), Some("=?base64?ZX?=")] {
        let answer = request(wrong).await;
        assert_eq!((answer.status, answer.code()), (400, -32020), "{wrong:?}");
    }
    for seen in bench.upstream.seen("tools/call") {
        assert_eq!(seen.headers["mcp-param-region"], "eu-west");
        assert_eq!(seen.headers["mcp-param-unknown"], "kept");
        assert_eq!(seen.headers["mcp-name"], "region");
        assert_eq!(seen.headers["mcp-method"], "tools/call");
    }
    // A bare caller sends no such headers; the server behind gets them all the same.
    bench.bare("/mcp/acme", 1, &rpc(1, "tools/call", call_params("alpha__region", "ü"))).await;
    assert_eq!(bench.upstream.seen("tools/call")[2].headers["mcp-param-region"], "=?base64?w7w=?=");
}
