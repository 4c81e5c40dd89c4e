//! What an organisation's endpoint makes of several servers: names and instructions.

use std::sync::Arc;

use domain::dataplane::PlaneConnector;
use serde_json::{Value, json};

use crate::support::{Bench, Speaks, TOOLS, ask, call_params, connector, initialize, rpc};

fn names(list: &Value) -> Vec<&str> {
    let tools = list["result"]["tools"].as_array().unwrap();
    tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn ups_12_one_connector_can_do_without_its_prefix_and_takes_nobodys_name() {
    for speaks in [Speaks::Modern, Speaks::Legacy] {
        let bench = Bench::new(speaks);
        bench.directory.change(|plane| {
            let tools = [("echo", true), ("beta__echo", true), ("gamma__echo", true)];
            let alpha = PlaneConnector { unprefixed: true, ..connector(1, "alpha", &tools) };
            plane.connectors[0] = Arc::new(alpha);
        });
        bench.gateway.invalidate_all();
        let bare = |method: &'static str, params: Value| {
            let body = rpc(1, method, params);
            let bench = &bench;
            async move { bench.bare("/mcp/acme", 1, &body).await.json() }
        };
        let listed = bare("tools/list", json!({})).await;
        // What would be beta's name is left out, and the dashboard says so.
        assert_eq!(names(&listed), ["echo", "gamma__echo", "beta__echo", "beta__other"]);
        let host = |number: usize| bench.upstream.seen("tools/call")[number].host.clone();
        for (number, (name, server)) in
            [("echo", "alpha"), ("gamma__echo", "alpha"), ("beta__echo", "beta"), ("alpha__echo", "alpha")]
                .into_iter()
                .enumerate()
        {
            bare("tools/call", call_params(name, "m")).await;
            assert_eq!(host(number), format!("{server}.upstream.test"), "{name}");
        }
        let prompts = bare("prompts/list", json!({})).await;
        let prompts: Vec<_> =
            prompts["result"]["prompts"].as_array().unwrap().iter().map(|p| p["name"].clone()).collect();
        assert_eq!(prompts, ["p1", "beta__p1"]);
        let got = bare("prompts/get", json!({"name":"p1"})).await;
        assert_eq!(got["result"]["messages"][0]["content"]["text"], "p1");
        let resources = bare("resources/list", json!({})).await;
        assert_eq!(resources["result"]["resources"][0]["uri"], "test://alpha.upstream.test/1");
        assert_eq!(resources["result"]["resources"][1]["uri"], "mcp.beta+test://beta.upstream.test/1");
        let read = bare("resources/read", json!({"uri":"test://x/1"})).await;
        assert_eq!(
            read["result"]["contents"][0],
            json!({"uri":"test://x/1","text":"alpha.upstream.test","vendor":[1]})
        );
        // Without its scope a name leads nowhere rather than to another.
        let denied = bench.bare("/mcp/acme", 3, &rpc(1, "tools/call", call_params("echo", "m"))).await;
        assert_eq!(denied.status, 403);
        let rest = bench.send(ask(http::Method::GET, "/v1/mcp/tools").key(1).empty()).await.json();
        assert_eq!(
            (&rest["tools"][0]["connector"], &rest["tools"][0]["tool"]),
            (&json!("alpha"), &json!("echo"))
        );
    }
}

#[tokio::test]
async fn what_servers_say_about_themselves_is_told_under_their_connectors_names() {
    let bench = Bench::new(Speaks::Modern);
    bench.directory.change(|plane| {
        let say = |number, slug: &str, said: &str| {
            let instructions = Some(Box::from(said));
            Arc::new(PlaneConnector { instructions, ..connector(number, slug, TOOLS) })
        };
        plane.connectors = vec![say(1, "alpha", "Ask \"alpha\" first."), say(2, "beta", "Then beta.")];
    });
    bench.gateway.invalidate_all();
    let both = "# alpha (names that begin with alpha__)\n\nAsk \"alpha\" first.\n\n# beta (names that begin with beta__)\n\nThen beta.";
    let discovered = bench.modern("/mcp/acme", 1, "server/discover", json!({})).await.json();
    assert_eq!(discovered["result"]["instructions"], both);
    let initialized = bench.bare("/mcp/acme", 1, &initialize("2025-11-25")).await.json();
    assert_eq!(initialized["result"]["instructions"], both);
    // Whoever reaches one connector hears of one, and on its own endpoint its server's words alone.
    let scoped = bench.bare("/mcp/acme", 3, &initialize("2025-11-25")).await.json();
    assert_eq!(scoped["result"]["instructions"], "# beta (names that begin with beta__)\n\nThen beta.");
    let own = bench.bare("/mcp/acme/beta", 1, &initialize("2025-11-25")).await.json();
    assert_eq!(own["result"]["instructions"], "Then beta.");
    // However much they say, it is bounded, and nobody's words are cut.
    bench.directory.change(|plane| {
        let many = (1..=9).map(|number| {
            let instructions = Some(Box::from("x".repeat(4000)));
            Arc::new(PlaneConnector { instructions, ..connector(number, &format!("c{number}"), TOOLS) })
        });
        plane.connectors = many.collect();
    });
    bench.gateway.invalidate_all();
    let bounded = bench.bare("/mcp/acme", 1, &initialize("2025-11-25")).await.json();
    let said = bounded["result"]["instructions"].as_str().unwrap();
    assert!(said.len() <= 16 << 10 && said.matches("# c").count() == 4, "{}", said.len());
    let silent = Bench::new(Speaks::Modern);
    let nothing = silent.bare("/mcp/acme", 1, &initialize("2025-11-25")).await.json();
    assert!(nothing["result"].get("instructions").is_none());
}
