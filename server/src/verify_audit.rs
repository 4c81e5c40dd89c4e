//! `gatehouse verify-audit`: whether the audit log is what was written.

use std::process::ExitCode;

use domain::audit::{self, Report};
use serde_json::{Value, json};
use store::audit_chain;

use crate::{admin::words, cli::Output, config::Config, serve};

/// Walks every chain, or that of one organisation. Exits non-zero, and names the first row that does not fit, if one is
/// broken.
pub async fn run(config: &Config, org: Option<&str>, output: Output) -> Result<ExitCode, String> {
    let env = serve::environment(config).await?;
    let reports = async {
        // Logs of before there was a chain get theirs; it is marked where it begins.
        audit::adopt_all(&env).await?;
        let only = match org {
            Some(slug) => Some(domain::orgs::find_by_slug(&env, slug).await?.id),
            None => None,
        };
        audit::verify_all(&env, only).await
    };
    let reports = reports.await.map_err(words)?;
    env.db.close().await;
    let whole = reports.iter().all(|report| report.broken.is_none());
    print(&reports, whole, output);
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn described(report: &Report) -> Value {
    json!({
        "chain": audit_chain::name(report.chain),
        "ok": report.broken.is_none(),
        "events": report.events,
        "versions": report.versions,
        "last_seq": report.last,
        "removed_to_seq": report.removed_to,
        "adopted_to_seq": report.adopted.map(|(seq, _)| seq),
        "broken": report.broken.as_ref().map(|broken| json!({"seq": broken.seq, "id": broken.id, "why": broken.why, "reads": broken.reads})),
    })
}

#[expect(clippy::print_stdout, reason = "the answer of a command goes to standard output")]
fn print(reports: &[Report], whole: bool, output: Output) {
    if output.json {
        let chains: Vec<_> = reports.iter().map(described).collect();
        println!("{}", json!({"ok": whole, "chains": chains}));
        return;
    }
    for report in reports {
        let chain = audit_chain::name(report.chain);
        match &report.broken {
            None => {
                let removed = match report.removed_to {
                    0 => String::new(),
                    seq => format!("; those up to {seq} were removed by retention"),
                };
                let adopted = report.adopted.map(|(seq, _)| {
                    format!("; those up to {seq} are of before there was a chain, and were taken in later")
                });
                println!(
                    "ok      {chain}: {} events, the last is {}{removed}{}",
                    report.events,
                    report.last,
                    adopted.unwrap_or_default()
                );
            }
            Some(broken) => {
                let id = broken.id.as_ref().map(|id| format!(" ({id})")).unwrap_or_default();
                println!("BROKEN  {chain}: at event {}{id}: {}", broken.seq, broken.why);
                if let Some(reads) = &broken.reads {
                    println!("        it reads now: {reads}");
                }
            }
        }
    }
}
