//! The overview of an organisation with ten million requests behind it. Log and usage are put into the database as Gatehouse
//! would have written them by and by: the log row by row, the numbers by hour and by day as what the log adds up to.

use std::time::Instant;

use crate::{
    Done, Plan,
    audit::{Browser, Hands, PASSWORD},
    machine::{Gatehouse, Place},
    stats::Times,
};

/// Looks at each page.
const LOOKS: usize = 40;
const HOUR: i64 = 60 * 60 * 1000;
/// Over how many days the requests are spread.
const DAYS: i64 = 90;
/// Rows that are put in at once.
const CHUNK: i64 = 500_000;
/// The class of duration of a request, as Gatehouse has them.
const CLASS: &str = "CASE WHEN total_us < 1000 THEN 0 WHEN total_us < 2000 THEN 1 WHEN total_us < 5000 THEN 2 WHEN total_us < 10000 \
     THEN 3 WHEN total_us < 20000 THEN 4 WHEN total_us < 50000 THEN 5 WHEN total_us < 100000 THEN 6 WHEN total_us < 200000 THEN 7 \
     WHEN total_us < 500000 THEN 8 WHEN total_us < 1000000 THEN 9 WHEN total_us < 2000000 THEN 10 WHEN total_us < 5000000 THEN 11 \
     WHEN total_us < 10000000 THEN 12 ELSE 13 END";
const FAILED: &str = "SUM(CASE WHEN outcome IN ('ok', 'cancelled') THEN 0 ELSE 1 END)";

/// So many requests of 20 connectors with 10 tools each, by 500 keys, spread evenly over the days until now.
async fn fill(hands: &mut Hands, org: &str, rows: i64) -> Done {
    let seconds = match hands {
        Hands::Sqlite(_) => "SELECT CAST(strftime('%s', 'now') AS INTEGER)",
        Hands::Postgres(_) => "SELECT CAST(EXTRACT(EPOCH FROM now()) AS BIGINT)",
    };
    let now = hands.one(seconds).await? * 1000;
    let span = DAYS * 24 * HOUR;
    let first = now - span;
    for from in (0..rows).step_by(usize::try_from(CHUNK)?) {
        let to = (from + CHUNK).min(rows) - 1;
        let (numbers, id) = match hands {
            Hands::Sqlite(_) => (
                format!(
                    "WITH RECURSIVE n(i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i < {to})"
                ),
                "'log_' || printf('%026d', i)",
            ),
            Hands::Postgres(_) => (
                format!("WITH n AS (SELECT generate_series(CAST({from} AS BIGINT), {to}) AS i)"),
                "'log_' || lpad(CAST(i AS TEXT), 26, '0')",
            ),
        };
        hands
            .run(&format!(
                "INSERT INTO request_log (id, org_id, at, method, connector_id, connector_slug, tool, principal_kind, principal_id, \
                 principal_name, outcome, total_us, words, detail) {numbers} SELECT {id}, '{org}', \
                 {first} + i * {span} / {rows}, 'tools/call', 'mcp_' || (i * 13 % 20), 'c' || (i * 13 % 20), \
                 'tool_' || (i * 13 % 200), 'api_key', 'key_' || (i * 31 % 500), 'Key', \
                 CASE i % 50 WHEN 0 THEN 'tool_error' WHEN 1 THEN 'upstream_error' WHEN 2 THEN 'rate_limited' ELSE 'ok' END, \
                 1000 * (1 + i * 17 % 300), 'tools/call', '{{}}' FROM n"
            ))
            .await?;
    }
    let kept = (now / HOUR) - 36 * 24;
    for sql in [
        format!(
            "INSERT INTO usage_hours (org_id, hour, connector_id, outcome, requests, duration_us, bytes_in, bytes_out) SELECT org_id, \
             at / {HOUR}, connector_id, outcome, COUNT(*), SUM(total_us), 0, 0 FROM request_log WHERE at / {HOUR} >= {kept} GROUP BY 1, 2, 3, 4"
        ),
        format!(
            "INSERT INTO usage_outcome_days (org_id, day, connector_id, outcome, requests, duration_us) SELECT org_id, at / {HOUR} / 24, \
             connector_id, outcome, COUNT(*), SUM(total_us) FROM request_log GROUP BY 1, 2, 3, 4"
        ),
        format!(
            "INSERT INTO usage_latency (org_id, hour, class, requests) SELECT org_id, at / {HOUR}, {CLASS}, COUNT(*) FROM request_log \
             WHERE at / {HOUR} >= {kept} GROUP BY 1, 2, 3"
        ),
        format!(
            "INSERT INTO usage_latency_days (org_id, day, class, requests) SELECT org_id, at / {HOUR} / 24, {CLASS}, COUNT(*) \
             FROM request_log GROUP BY 1, 2, 3"
        ),
        format!(
            "INSERT INTO usage_tool_hours (org_id, hour, connector_id, tool, calls, errors, duration_us) SELECT org_id, at / {HOUR}, \
             connector_id, tool, COUNT(*), {FAILED}, SUM(total_us) FROM request_log WHERE at / {HOUR} >= {kept} GROUP BY 1, 2, 3, 4"
        ),
        format!(
            "INSERT INTO usage_tool_days (org_id, day, connector_id, tool, calls, errors, duration_us) SELECT org_id, at / {HOUR} / 24, \
             connector_id, tool, COUNT(*), {FAILED}, SUM(total_us) FROM request_log GROUP BY 1, 2, 3, 4"
        ),
        format!(
            "INSERT INTO usage_principal_days (org_id, principal_kind, principal_id, day, calls, errors, duration_us) SELECT org_id, \
             principal_kind, principal_id, at / {HOUR} / 24, COUNT(*), {FAILED}, SUM(total_us) FROM request_log GROUP BY 1, 2, 3, 4"
        ),
        format!(
            "INSERT INTO usage_days (org_id, day, connector_id, tool, principal_kind, principal_id, calls, errors, duration_us, bytes_in, \
             bytes_out) SELECT org_id, at / {HOUR} / 24, connector_id, tool, principal_kind, principal_id, COUNT(*), {FAILED}, \
             SUM(total_us), 0, 0 FROM request_log GROUP BY 1, 2, 3, 4, 5, 6"
        ),
    ] {
        hands.run(&sql).await?;
    }
    hands.run("ANALYZE").await
}

/// The figures.
pub(crate) async fn figures(plan: &Plan) -> Done {
    let place = Place::new(plan)?;
    let email = "usage@example.com";
    let setup =
        ["setup", "--email", email, "--password", PASSWORD, "--org-name", "Usage", "--org-slug", "usage"];
    place.admin(&setup).await?;
    let began = Instant::now();
    {
        let mut hands = Hands::on(&place).await?;
        let org = hands.text("SELECT id FROM orgs WHERE slug = 'usage'").await?;
        fill(&mut hands, &org, plan.rows).await?;
    }
    println!("## {} · the overview of an organisation with {} requests\n", place.database(), plan.rows);
    println!("put in after {:.0} s", began.elapsed().as_secs_f64());
    let gatehouse = Gatehouse::start(&place).await?;
    let mut browser = Browser::open(&gatehouse.server.address).await?;
    browser.log_in(email).await?;
    println!("\n| range | median ms | p95 ms | slowest ms |\n| --- | ---: | ---: | ---: |");
    for range in ["24h", "7d", "30d", "90d"] {
        let path = format!("/?range={range}");
        let mut times = Times::default();
        for _ in 0..LOOKS {
            let began = Instant::now();
            let (status, page) = browser.page(&path).await?;
            times.push(began.elapsed());
            if status != 200 || !page.contains("Requests by outcome") || !page.contains("tool_") {
                return Err(format!("{path} was answered with {status}").into());
            }
        }
        println!("| {range} | {:.1} | {:.1} | {:.1} |", times.at(0.5), times.at(0.95), times.at(1.0));
    }
    Ok(())
}
