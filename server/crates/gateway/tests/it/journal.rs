//! What the request log hears of.

use bytes::Bytes;
use domain::{dataplane::Principal, mcp::upstream::UpstreamSettings};
use model::activity::Outcome;
use serde_json::json;

use crate::support::*;

fn call(tool: &str) -> serde_json::Value {
    rpc(1, "tools/call", call_params(tool, "m"))
}

#[tokio::test]
async fn each_request_is_told_once_with_what_came_of_it() {
    let bench = Bench::new(Speaks::Modern);
    for (body, outcome, tool) in [
        (call("alpha__echo"), Outcome::Ok, "echo"),
        (call("alpha__bare_error"), Outcome::ToolError, "bare_error"),
        (call("alpha__html"), Outcome::UpstreamError, "html"),
        (call("alpha__nothing"), Outcome::BadRequest, "alpha__nothing"),
        (call("alpha__input"), Outcome::UpstreamError, "input"),
        (rpc(1, "tools/list", json!({})), Outcome::Ok, ""),
        (rpc(1, "nonsense", json!({})), Outcome::BadRequest, ""),
    ] {
        let answer = bench.bare("/mcp/acme", 1, &body).await;
        let ended = bench.ended();
        assert_eq!(ended.len(), 1, "{body}");
        let record = &ended[0];
        assert_eq!((record.outcome, record.tool.as_str()), (outcome, tool), "{body}");
        assert_eq!(record.access.principal, Principal::ApiKey(key_id(1)));
        assert_eq!(u64::try_from(answer.body.len()).unwrap(), record.bytes_out);
        assert_eq!(u64::try_from(body.to_string().len()).unwrap(), record.bytes_in);
        assert_eq!(record.status, answer.status);
        assert_eq!(record.connector.is_some(), !tool.is_empty() && tool != "alpha__nothing");
        assert!(record.bodies.is_none());
    }
    // Out of scope: what was asked for, and that it was denied.
    bench.bare("/mcp/acme", 3, &call("alpha__echo")).await;
    assert_eq!(bench.ended()[0].outcome, Outcome::Denied);
    // Nobody without a credential, no notification and no ping.
    bench.bare("/mcp/acme", 99, &call("alpha__echo")).await;
    bench.bare("/mcp/acme", 1, &json!({"jsonrpc":"2.0","method":"notifications/initialized"})).await;
    bench.bare("/mcp/acme", 1, &rpc(1, "ping", json!({}))).await;
    assert!(bench.ended().is_empty());
}

#[tokio::test]
async fn a_stream_is_told_when_it_ends() {
    let bench = Bench::new(Speaks::Modern);
    let answer = bench.send(modern("/mcp/acme", 1, "tools/call", call_params("alpha__stream", "m"))).await;
    assert_eq!(answer.events().len(), 1, "{answer:?}");
    let ended = bench.ended();
    assert_eq!((ended.len(), ended[0].outcome), (1, Outcome::Ok));
    assert_eq!(ended[0].bytes_out, u64::try_from(answer.body.len()).unwrap());
    assert!(ended[0].upstream_requests >= 1);
    // A client that goes away.
    let open = bench.open(modern("/mcp/acme", 1, "tools/call", call_params("alpha__drip", "m"))).await;
    assert!(bench.ended().is_empty(), "it runs");
    drop(open);
    let ended = bench.ended();
    assert_eq!((ended.len(), ended[0].outcome), (1, Outcome::Cancelled));
}

#[tokio::test(start_paused = true)]
async fn times_add_up() {
    let first_byte = std::time::Duration::from_secs(5);
    let patience = UpstreamSettings { first_byte, ..UpstreamSettings::default() };
    let bench = Bench::patient(Speaks::Modern, patience, |_| ());
    bench.bare("/mcp/acme", 1, &call("alpha__slow")).await;
    let record = bench.ended().remove(0);
    assert_eq!(record.outcome, Outcome::UpstreamError);
    let timings = record.timings;
    assert!((5_000_000..6_000_000).contains(&(timings.first_byte + timings.upstream)), "{timings:?}");
    assert!(timings.total >= timings.first_byte + timings.upstream);
    assert!(timings.gateway() < 100_000, "{timings:?}");
}

#[tokio::test]
async fn bodies_are_told_only_where_they_are_wanted() {
    let bench = Bench::new(Speaks::Modern);
    bench.directory.change(|plane| plane.policy.log_bodies = true);
    bench.gateway.invalidate(org_id(1));
    bench.bare("/mcp/acme", 1, &call("alpha__echo")).await;
    let (arguments, result) = bench.ended().remove(0).bodies.unwrap();
    assert_eq!(arguments, Bytes::from_static(br#"{"marker":"m"}"#));
    assert!(result.starts_with(b"{") && result.windows(7).any(|part| part == b"content"));
    bench.bare("/mcp/acme", 1, &rpc(1, "tools/list", json!({}))).await;
    assert!(bench.ended()[0].bodies.is_none());
}

#[tokio::test]
async fn every_method_is_told_with_where_it_went() {
    let reference = json!({"ref":{"type":"ref/prompt","name":"beta__p1"},"argument":{"name":"a","value":""}});
    for speaks in [Speaks::Modern, Speaks::Legacy] {
        for (path, method, params, connector, counted) in [
            ("/mcp/acme", "tools/call", call_params("alpha__echo", "m"), Some("alpha"), true),
            ("/mcp/acme", "prompts/get", json!({"name":"alpha__p1"}), Some("alpha"), true),
            ("/mcp/acme", "resources/read", json!({"uri":"mcp.beta+test://x/1"}), Some("beta"), true),
            ("/mcp/acme", "completion/complete", reference.clone(), Some("beta"), true),
            ("/mcp/acme", "prompts/list", json!({}), None, false),
            ("/mcp/acme", "resources/list", json!({}), None, false),
            ("/mcp/acme/alpha", "prompts/list", json!({}), Some("alpha"), false),
            ("/mcp/acme/alpha", "resources/list", json!({}), Some("alpha"), false),
        ] {
            let bench = Bench::new(speaks);
            let answer = bench.bare(path, 1, &rpc(1, method, params)).await;
            assert_eq!(answer.status, 200, "{method}: {answer:?}");
            let ended = bench.ended();
            assert_eq!(ended.len(), 1, "{method}");
            let told = ended[0].connector.as_ref().map(|connector| connector.slug.as_str());
            assert_eq!(
                (told, ended[0].counted, ended[0].outcome),
                (connector, counted, Outcome::Ok),
                "{method}"
            );
            assert!(ended[0].upstream_requests >= 1, "{method}");
            assert!(ended[0].timings.first_byte > 0, "{method}: {:?}", ended[0].timings);
        }
    }
}

#[tokio::test]
async fn what_has_no_one_answer_is_told_as_given() {
    // A stream of news ends when its client has had enough.
    let bench = Bench::new(Speaks::Modern);
    let wish = json!({"notifications":{"toolsListChanged":true}});
    let stream = bench.open(modern("/mcp/acme", 1, "subscriptions/listen", wish)).await;
    assert!(bench.ended().is_empty());
    drop(stream);
    let ended = bench.ended();
    assert_eq!((ended[0].method.as_str(), ended[0].outcome), ("subscriptions/listen", Outcome::Ok));
    // Questions are an answer too, and the round that brings theirs is the same call of the month (RLM-04).
    let bench = Bench::new(Speaks::Legacy);
    let mut params = call_params("alpha__ask", "m");
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({"elicitation":{}});
    let asked = bench.modern("/mcp/acme", 1, "tools/call", params.clone()).await.events().pop().unwrap();
    params["requestState"] = asked["result"]["requestState"].clone();
    params["inputResponses"] = json!({"question-1":{"action":"decline"}});
    let done = bench.modern("/mcp/acme", 1, "tools/call", params).await.events().pop().unwrap();
    assert_eq!(done["result"]["resultType"], "complete", "{done}");
    let ended = bench.ended();
    let told: Vec<_> = ended.iter().map(|record| (record.outcome, record.counted)).collect();
    assert_eq!(told, [(Outcome::Ok, true), (Outcome::Ok, false)]);
}
