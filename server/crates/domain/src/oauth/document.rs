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
}
