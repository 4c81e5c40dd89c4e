//! What the binary does when there is no more of something (D14).

use std::time::Duration;

use serde_json::json;

use crate::process::{Place, Running, reqwest_client, start, start_with_files};

/// A field of `/proc/PID/stat` behind the name, and resident memory in KiB.
fn cost(running: &Running) -> (f64, usize) {
    let file =
        |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", running.process.id())).unwrap();
    let stat = file("stat");
    let rest = stat.rsplit_once(") ").unwrap().1;
    let field = |n: usize| rest.split(' ').nth(n).unwrap().parse::<f64>().unwrap();
    let status = file("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    // The kernel counts in hundredths of a second.
    ((field(11) + field(12)) / 100.0, line.trim().trim_end_matches(" kB").parse().unwrap())
}

async fn answers(running: &Running) -> bool {
    let live = reqwest_client().get(format!("{}/livez", running.base)).timeout(Duration::from_secs(2));
    live.send().await.is_ok_and(|answer| answer.status().as_u16() == 200)
}

#[tokio::test(flavor = "multi_thread")]
async fn d14_without_file_descriptors_it_neither_spins_nor_ends() {
    let place = Place::new();
    place.set_up();
    let mut running = tokio::task::block_in_place(|| start_with_files(&place, 256));
    assert!(answers(&running).await);
    let address = running.base.strip_prefix("http://").unwrap().to_owned();
    let mut held = Vec::new();
    for _ in 0..400 {
        // Those that are not accepted wait in the system's queue.
        held.push(tokio::net::TcpStream::connect(&address).await.unwrap());
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = cost(&running).0;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let used = cost(&running).0 - before;
    assert!(used < 1.0, "{used} s of processor time in 3 s");
    assert!(running.process.try_wait().unwrap().is_none(), "it has ended");
    let log = std::fs::read_to_string(place.path("log")).unwrap();
    assert!(log.contains("could not be accepted"), "{log}");
    drop(held);
    let mut recovered = false;
    for _ in 0..50 {
        recovered |= answers(&running).await;
        if recovered {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(recovered, "it recovers by itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn d14_posts_of_nobody_leave_nothing_behind() {
    let place = Place::new();
    place.set_up();
    let running = tokio::task::block_in_place(|| start(&place));
    let client = reqwest_client();
    let post = async |number: usize| {
        let params =
            json!({"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}});
        let body = json!({"jsonrpc":"2.0","id":number,"method":"initialize","params":params});
        let request = client
            .post(format!("{}/mcp/acme", running.base))
            .header("content-type", "application/json")
            .header("mcp-session-id", format!("made-up-{number}"));
        // Without a key, with one that is none, with a bearer that is none.
        let request = match number % 3 {
            0 => request,
            1 => request.header("x-api-key", format!("gth_live_sk_{number:038}")),
            _ => request.bearer_auth(format!("e30.e30.{number}")),
        };
        let status = request.body(body.to_string()).send().await.unwrap().status().as_u16();
        assert!(status == 401 || status == 429, "{status}");
    };
    // So many at once because each refusal of an address that is over its limit is held back for half a second.
    let flood = async |numbers: std::ops::Range<usize>| {
        use futures_util::StreamExt as _;
        futures_util::stream::iter(numbers).for_each_concurrent(512, post).await;
    };
    flood(0..4_000).await;
    let before = cost(&running).1;
    flood(4_000..16_000).await;
    let rise = cost(&running).1.saturating_sub(before);
    assert!(rise < 16 << 10, "{rise} KiB more");
}
