//! Clients that are named by the URL of a document about them (OAD-05): fetched through the guard, kept for as long as the
//! document says, between five minutes and a day.

use std::{
    net::IpAddr,
    sync::{Arc, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, StatusCode, header};
use model::{Scope, oauth::ClientKind};
use serde_json::Value;
use store::oauth_clients::OauthClient as Row;
use url::Url;

use super::{
    MINUTE,
    clients::{AuthMethod, Client},
    redirect,
    register::{self, Metadata},
};
use crate::{Env, Result, throttle};

/// The longest URL of a document, in bytes.
const MAX_URL: usize = 512;
/// The largest document, in bytes.
const MAX_DOCUMENT: usize = 5 * 1024;
/// How long a document is good for, at least and at most.
const FRESH: (i64, i64) = (5 * MINUTE, 24 * 60 * MINUTE);
/// How long a document that could not be had is not asked for again.
const NOT_AGAIN: i64 = 30 * 1000;
/// New documents a minute from one address.
const PER_ADDRESS: i64 = 10;

/// Whether a client id is one of these. Ids that are given out here never begin so.
pub fn is_url(id: &str) -> bool {
    id.starts_with("https://")
}

/// Whether the id can be the URL of a document, by what it says. There is one way to write it, because it is compared
/// byte for byte.
fn is_acceptable(id: &str) -> bool {
    let dots = |segment: &str| {
        let plain = segment.to_ascii_lowercase().replace("%2e", ".");
        plain == "." || plain == ".."
    };
    id.len() <= MAX_URL
        && id.bytes().all(|b| (0x21..0x7F).contains(&b))
        && !id.contains(['#', '\\'])
        && Url::parse(id).is_ok_and(|url| {
            url.scheme() == "https"
                && url.as_str() == id
                && url.username().is_empty()
                && url.password().is_none()
                && url.path().len() > 1
                && !url.path().split('/').any(dots)
        })
}

/// The client that a document describes: from what was kept while it is fresh, else fetched. `None` when there is none to
/// be had; why is not told, so that nobody learns what can be reached from here.
pub async fn find(env: &Env, address: Option<IpAddr>, id: &str) -> Result<Option<Client>> {
    if !env.settings.cimd || !is_acceptable(id) {
        return Ok(None);
    }
    fetch_in_turn(env, address, id).await
}

async fn fetch_in_turn(env: &Env, address: Option<IpAddr>, id: &str) -> Result<Option<Client>> {
    if let Some(known) = fresh(env, id).await? {
        return Ok(Some(known));
    }
    let gate = Arc::clone(
        env.oauth.documents.lock().unwrap_or_else(PoisonError::into_inner).entry(id.to_owned()).or_default(),
    );
    let turn = gate.lock().await;
    let found = fetch_once(env, address, id).await;
    drop(turn);
    drop(gate);
    let mut documents = env.oauth.documents.lock().unwrap_or_else(PoisonError::into_inner);
    documents.retain(|_, gate| Arc::strong_count(gate) > 1);
    found
}

async fn fresh(env: &Env, id: &str) -> Result<Option<Client>> {
    let mut tx = env.db.read().await?;
    let row = store::oauth_clients::find(&mut tx, id).await?;
    row.filter(|row| row.fresh_until.is_some_and(|until| until > env.now()))
        .as_ref()
        .map(Client::read)
        .transpose()
}

async fn fetch_once(env: &Env, address: Option<IpAddr>, id: &str) -> Result<Option<Client>> {
    // Somebody else may have fetched it while this one waited for its turn.
    if let Some(known) = fresh(env, id).await? {
        return Ok(Some(known));
    }
    let now = env.now();
    let name = format!("document:{id}");
    if env.oauth.refused_until(&name, now).is_some() {
        return Ok(None);
    }
    if let Some(address) = address {
        throttle::take(env, "document", address, PER_ADDRESS, MINUTE).await?;
    }
    let patience = env.oauth.patience;
    let started = tokio::time::Instant::now();
    let fetched = tokio::time::timeout(patience, fetch(env, id)).await.ok().flatten();
    let Some((document, headers)) = fetched else {
        env.oauth.refuse(&name, env.now() + NOT_AGAIN, now);
        // Refused, unresolved and silent destinations take the same time (SSR-08).
        let mut jitter = [0];
        env.rng.fill(&mut jitter);
        tokio::time::sleep_until(started + patience + Duration::from_millis(u64::from(jitter[0]) / 5)).await;
        return Ok(None);
    };
    let Some(metadata) = read(env, id, &document) else {
        env.oauth.refuse(&name, env.now() + NOT_AGAIN, now);
        return Ok(None);
    };
    keep(env, id, metadata, fresh_until(&headers, env.now())).await.map(Some)
}

/// `None` for whatever is not a small JSON document with status 200.
async fn fetch(env: &Env, id: &str) -> Option<(Bytes, HeaderMap)> {
    let request =
        http::Request::get(id).header(header::ACCEPT, "application/json").body(Bytes::new()).ok()?;
    let response = env.outbound.send(request).await.ok()?;
    let (parts, mut body) = response.into_parts();
    let kind =
        parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let is_json =
        kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"));
    if parts.status != StatusCode::OK || !is_json {
        return None;
    }
    let mut document = Vec::new();
    while let Some(piece) = body.next().await {
        document.extend_from_slice(&piece.ok()?);
        if document.len() > MAX_DOCUMENT {
            return None;
        }
    }
    Some((document.into(), parts.headers))
}

/// Until when a document counts as fresh, by its `Cache-Control`.
fn fresh_until(headers: &HeaderMap, now: i64) -> i64 {
    let directives = headers
        .get_all(header::CACHE_CONTROL)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(|directive| directive.trim().to_ascii_lowercase());
    let (mut seconds, mut forbidden) = (None, false);
    for directive in directives {
        forbidden |= directive == "no-store" || directive == "no-cache";
        let age =
            directive.strip_prefix("max-age=").and_then(|age| age.trim_matches('"').parse::<i64>().ok());
        seconds = seconds.or(age);
    }
    let wanted = if forbidden { 0 } else { seconds.unwrap_or(0).saturating_mul(1000) };
    now.saturating_add(wanted.clamp(FRESH.0, FRESH.1))
}

/// What a document says, if it is one about this client and asks for nothing that cannot be.
fn read(env: &Env, id: &str, document: &[u8]) -> Option<Metadata> {
    let document: Value = serde_json::from_slice(document).ok()?;
    let object = document.as_object()?;
    let has_secret = object.keys().any(|name| name.starts_with("client_secret"));
    if object.get("client_id")?.as_str()? != id || has_secret {
        return None;
    }
    let mut metadata = register::read(env, object).ok()?;
    // A secret would have to be in the document, for everybody to read: a method that is not named is `none`.
    if object.contains_key("token_endpoint_auth_method") && metadata.auth_method != AuthMethod::None {
        return None;
    }
    metadata.auth_method = AuthMethod::None;
    Some(metadata)
}

async fn keep(env: &Env, id: &str, metadata: Metadata, fresh_until: i64) -> Result<Client> {
    let now = env.now();
    let host = redirect::Destination::of(id).host;
    let mut tx = env.db.write().await?;
    let known = store::oauth_clients::find(&mut tx, id).await?;
    let row = Row {
        id: id.to_owned(),
        org: None,
        kind: ClientKind::Document,
        name: metadata.name,
        redirect_uris: serde_json::json!(metadata.redirect_uris).to_string(),
        auth_method: metadata.auth_method.as_str().to_owned(),
        scope: Scope { offline: true, ..Scope::everything() }.to_string(),
        metadata: Value::Object(metadata.claims).to_string(),
        management_hash: None,
        fresh_until: Some(fresh_until),
        created_at: known.as_ref().map_or(now, |known| known.created_at),
        created_by: host,
        updated_at: now,
        last_used_at: None,
    };
    if known.is_some() {
        store::oauth_clients::update(&mut tx, &row).await?;
    } else {
        match store::oauth_clients::insert(&mut tx, &row).await {
            // Another node was first with the same document.
            Err(store::Error::Taken(_)) => return Client::read(&row),
            done => done?,
        }
    }
    tx.commit().await?;
    Client::read(&row)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    #[test]
    fn oad_05_which_urls_can_name_a_client() {
        for good in [
            "https://claude.ai/oauth/claude-code-client-metadata",
            "https://example.com/client.json?v=1",
            "https://example.com:8443/c",
        ] {
            assert!(is_acceptable(good), "{good}");
        }
        let long = format!("https://example.com/{}", "a".repeat(MAX_URL));
        for bad in [
            "https://example.com",
            "https://example.com/",
            "http://example.com/client.json",
            "https://example.com/client.json#x",
            "https://user@example.com/client.json",
            "https://user:pass@example.com/client.json",
            "https://example.com/a/../client.json",
            "https://example.com/./client.json",
            "https://example.com/%2e%2e/client.json",
            "https://example.com/%2E/client.json",
            "https://EXAMPLE.com/client.json",
            "https://example.com:443/client.json",
            "https://exämple.com/client.json",
            "https://example.com\\client.json",
            "https://example.com/ client.json",
            &long,
        ] {
            assert!(!is_acceptable(bad), "{bad}");
        }
    }

    #[test]
    fn oad_05_freshness_is_five_minutes_to_a_day() {
        let until = |line: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(line) = line {
                headers.insert(header::CACHE_CONTROL, http::HeaderValue::from_static(line));
            }
            fresh_until(&headers, 0)
        };
        assert_eq!(until(None), 5 * MINUTE);
        assert_eq!(until(Some("max-age=1")), 5 * MINUTE);
        assert_eq!(until(Some("public, Max-Age=3600")), 60 * MINUTE);
        assert_eq!(until(Some("max-age=9999999999999999")), 24 * 60 * MINUTE);
        assert_eq!(until(Some("max-age=3600, no-cache")), 5 * MINUTE);
        assert_eq!(until(Some("max-age=soon")), 5 * MINUTE);
    }

    /// A server that gives one answer, and how often it was asked.
    async fn server(answer: impl Fn(&str) -> String + Send + 'static) -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let id = format!("http://{}/client.json", listener.local_addr().unwrap());
        let count = Arc::new(AtomicUsize::new(0));
        let (text, counted) = (answer(&id), Arc::clone(&count));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let mut buffer = [0; 2048];
                let _ = stream.read(&mut buffer).await;
                let _ = stream.write_all(text.as_bytes()).await;
            }
        });
        (id, count)
    }

    fn answer(status: &str, headers: &str, body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n{body}")
    }

    const JSON: &str = "Content-Type: application/json; charset=utf-8\r\n";

    fn document(id: &str, more: &str) -> String {
        format!(
            r#"{{"client_id":"{id}","client_name":"Docs","redirect_uris":["http://localhost/cb"]{more}}}"#
        )
    }

    crate::env_test!(oad_05_a_document_is_fetched_once_and_kept, |t| async {
        let (id, count) = server(|id| {
            answer("200 OK", &format!("{JSON}Cache-Control: max-age=600\r\n"), &document(id, ""))
        })
        .await;
        let mut at_once = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (env, id) = (t.env.clone(), id.clone());
            at_once.spawn(async move { fetch_in_turn(&env, None, &id).await.unwrap().unwrap() });
        }
        let found = at_once.join_all().await;
        assert!(found.iter().all(|client| client.name == "Docs" && client.kind == ClientKind::Document));
        assert_eq!(found[0].auth_method, AuthMethod::None);
        assert_eq!(count.load(Ordering::SeqCst), 1);
        t.clock.advance(10 * MINUTE);
        assert!(fetch_in_turn(&t.env, None, &id).await.unwrap().is_some());
        assert_eq!(count.load(Ordering::SeqCst), 2);
    });

    crate::env_test!(oad_05_what_is_no_document_about_the_client_is_none, |t| async {
        let long = format!(r#","client_uri":"https://example.com/{}""#, "a".repeat(MAX_DOCUMENT));
        let secret = r#","client_secret":"s""#;
        let expires = r#","client_secret_expires_at":0"#;
        let symmetric = r#","token_endpoint_auth_method":"client_secret_basic""#;
        let evil = r#","redirect_uris":["javascript:alert(1)"]"#;
        for (what, status, headers, more) in [
            ("status", "404 Not Found", JSON, ""),
            ("other success", "203 Non-Authoritative Information", JSON, ""),
            ("redirect", "302 Found", "Content-Type: application/json\r\nLocation: /x\r\n", ""),
            ("type", "200 OK", "Content-Type: text/html\r\n", ""),
            ("no type", "200 OK", "", ""),
            ("size", "200 OK", JSON, long.as_str()),
            ("secret", "200 OK", JSON, secret),
            ("secret's end", "200 OK", JSON, expires),
            ("method", "200 OK", JSON, symmetric),
            ("redirect URI", "200 OK", JSON, evil),
        ] {
            let (status, headers, more) = (status.to_owned(), headers.to_owned(), more.to_owned());
            let (id, count) = server(move |id| answer(&status, &headers, &document(id, &more))).await;
            assert!(fetch_in_turn(&t.env, None, &id).await.unwrap().is_none(), "{what}");
            assert!(fetch_in_turn(&t.env, None, &id).await.unwrap().is_none(), "{what}");
            assert_eq!(count.load(Ordering::SeqCst), 1, "{what}: not again at once");
            t.clock.advance(NOT_AGAIN + 1);
            assert!(fetch_in_turn(&t.env, None, &id).await.unwrap().is_none(), "{what}");
            assert_eq!(count.load(Ordering::SeqCst), 2, "{what}");
        }
        let (id, _) = server(|id| answer("200 OK", JSON, &document(&format!("{id}x"), ""))).await;
        assert!(fetch_in_turn(&t.env, None, &id).await.unwrap().is_none(), "another's");
        let (id, _) = server(|_| answer("200 OK", JSON, "[]")).await;
        assert!(fetch_in_turn(&t.env, None, &id).await.unwrap().is_none(), "no object");
    });

    crate::env_test!(oad_05_failures_take_the_same_time_and_new_documents_are_rationed, |t| async {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent = (format!("http://{}/c", silent.local_addr().unwrap()), silent);
        for id in
            [silent.0.as_str(), "https://10.0.0.1/c", "https://nothing.invalid/c", "http://127.0.0.1:9/c"]
        {
            let started = tokio::time::Instant::now();
            assert!(fetch_in_turn(&t.env, None, id).await.unwrap().is_none());
            let took = started.elapsed();
            assert!(took >= t.env.oauth.patience && took < t.env.oauth.patience * 2, "{id}: {took:?}");
        }
        let address = "203.0.113.9".parse().unwrap();
        for _ in 0..PER_ADDRESS {
            throttle::take(&t.env, "document", address, PER_ADDRESS, MINUTE).await.unwrap();
        }
        assert!(fetch_in_turn(&t.env, Some(address), "https://10.0.0.1/other").await.is_err());
    });
}
