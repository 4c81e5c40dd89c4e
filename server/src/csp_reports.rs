//! Where browsers tell what the content security policy of a page kept from happening (HDR-01; Reporting API §3.4, Content
//! Security Policy Level 3 §5). Anybody can send such a report, so it counts, and may write a line, and does nothing else.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::State,
    http::{HeaderMap, Request, StatusCode, header},
    routing::post,
};
use domain::Env;
use model::paths;
use serde::Deserialize;

use crate::middleware::client;

/// The longest body that is read, bytes: some reports of one page.
const LONGEST: usize = 16 * 1024;
/// Reports of one body that are looked at.
const AT_ONCE: usize = 8;
/// Lines in a minute, of whomever: a flood fills no disk.
const LINES: u32 = 20;
const MINUTE: i64 = 60 * 1000;
/// The longest part of a report that is told, characters.
const TOLD: usize = 120;

/// One report of a browser (Reporting API §4.1). What is not named here is not read.
#[derive(Debug, Deserialize)]
struct Report {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    body: Violation,
}

/// What was kept from happening (Content Security Policy Level 3 §5.3).
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Violation {
    #[serde(rename = "documentURL")]
    document_url: String,
    #[serde(rename = "blockedURL")]
    blocked_url: String,
    effective_directive: String,
}

/// What came since the process began, and how many lines this minute has.
#[derive(Debug, Default)]
struct Seen {
    reports: u64,
    minute: i64,
    lines: u32,
}

#[derive(Clone)]
struct Reports {
    env: Env,
    seen: Arc<Mutex<Seen>>,
}

/// The route.
pub fn router(env: &Env) -> Router {
    let reports = Reports { env: env.clone(), seen: Arc::default() };
    Router::new().route(paths::csp_reports(), post(take).with_state(reports))
}

async fn take(State(reports): State<Reports>, headers: HeaderMap, request: Request<Body>) -> StatusCode {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/reports+json") {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE;
    }
    let Ok(body) = to_bytes(request.into_body(), LONGEST).await else { return StatusCode::PAYLOAD_TOO_LARGE };
    let Ok(all) = serde_json::from_slice::<Vec<Report>>(&body) else { return StatusCode::BAD_REQUEST };
    for report in all.iter().filter(|report| report.kind == "csp-violation").take(AT_ONCE) {
        reports.note(&report.body);
    }
    StatusCode::NO_CONTENT
}

impl Reports {
    fn note(&self, violation: &Violation) {
        let minute = self.env.now() / MINUTE;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.reports += 1;
        if seen.minute != minute {
            (seen.minute, seen.lines) = (minute, 0);
        }
        if seen.lines >= LINES {
            return;
        }
        seen.lines += 1;
        let reports = seen.reports;
        drop(seen);
        let (page, blocked) = (page_of(&violation.document_url), blocked_of(&violation.blocked_url));
        let directive = told(&violation.effective_directive);
        tracing::warn!(page, blocked, directive, reports, "a browser kept a page from something");
    }
}

fn told(text: &str) -> String {
    text.chars().take(TOLD).flat_map(char::escape_debug).collect()
}

/// The path of a page, as the log has paths: without its query, and without what is secret in it (ERR-02).
fn page_of(url: &str) -> String {
    url.parse::<url::Url>().map_or_else(|_| "?".to_owned(), |url| told(&client::shown(url.path())))
}

/// What was blocked: `inline`, `eval`, or whose it was. More of a URL may be a secret.
fn blocked_of(url: &str) -> String {
    match url.parse::<url::Url>() {
        Ok(url) => told(&format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default())),
        Err(_) => told(url),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hdr_01_err_02_a_report_tells_no_secret() {
        assert_eq!(page_of("https://g.example/reset-password/tok?x=1#y"), "/reset-password/…");
        assert_eq!(page_of("https://g.example/settings?key=secret"), "/settings");
        assert_eq!(page_of("nonsense\n"), "?");
        assert_eq!(blocked_of("https://evil.example/a?token=secret"), "https://evil.example");
        assert_eq!(blocked_of("inline"), "inline");
        assert_eq!(blocked_of("a\r\nb"), "a\\r\\nb");
        assert_eq!(told(&"x".repeat(1000)).len(), TOLD);
    }
}
