//! Lists of prompts, resources and templates, which are asked of the servers each time.
//!
//! On a connector's own endpoint the server's page passes as it is. On the organisation's endpoint a page has one page of
//! each connector, and its cursor says where each of them is. What does not answer is left out, and named in `_meta`.

use std::{
    collections::HashMap,
    fmt::Write as _,
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

use axum::response::Response;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use domain::mcp::{
    IMPLEMENTATION, code,
    envelope::Raw,
    json, meta,
    tools::SEPARATOR,
    upstream::{Call, Method, Reply, UpstreamError},
};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use http::StatusCode;
use model::ConnectorId;
use tokio::time::{Instant, timeout_at};

use super::{Era, Exchange, View};
use crate::{
    planes::ReadyConnector,
    reply::{self, RpcError},
    sessions::Live,
    uris,
};

/// How long the others wait for a connector, counted from the last answer: for one that never answered a list; at least,
/// and for one that did not answer last time (UPS-09); at most, for one that is slow but there.
const UNKNOWN: Duration = Duration::from_secs(5);
const LEAST: Duration = Duration::from_millis(900);
const MOST: Duration = Duration::from_secs(15);
/// What a connector took last time, so many times, is what it is given.
const SLOWER: u32 = 3;
/// Names the connectors that are missing from a list.
const UNAVAILABLE: &str = "gatehouse/unavailable";

/// What one list is of.
struct Kind {
    /// The member of the result.
    member: &'static str,
    /// The capability of servers that have it.
    capability: &'static str,
    /// The member of an element that gets the connector's prefix.
    named_by: &'static str,
}

const fn kind(method: Method) -> Kind {
    match method {
        Method::ListPrompts => Kind { member: "prompts", capability: "prompts", named_by: "name" },
        Method::ListTemplates => {
            Kind { member: "resourceTemplates", capability: "resources", named_by: "uriTemplate" }
        }
        _ => Kind { member: "resources", capability: "resources", named_by: "uri" },
    }
}

/// One connector's part of a page.
struct Part {
    items: Bytes,
    next: Option<String>,
}

/// Where the connectors are that have more: slugs and their cursors, a JSON string each.
type Cursors = Vec<(String, String)>;

fn write_cursor(method: Method, cursors: &Cursors) -> String {
    let parts: Vec<_> =
        cursors.iter().map(|(slug, cursor)| format!("[{},{cursor}]", json::quoted(slug))).collect();
    let text = format!("{}[{}]", method.as_str(), parts.join(","));
    let checksum = crc32fast::hash(text.as_bytes());
    URL_SAFE_NO_PAD.encode(format!("{checksum:08x}{text}"))
}

fn read_cursor(method: Method, cursor: &str) -> Option<Cursors> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let (checksum, text) = std::str::from_utf8(&bytes).ok()?.split_at_checked(8)?;
    if checksum != format!("{:08x}", crc32fast::hash(text.as_bytes())) {
        return None;
    }
    let list = text.strip_prefix(method.as_str())?;
    // It is what clients send, so its grammar is checked like any other.
    json::scan(list, &json::Limits::REQUEST, |_| ()).ok()?;
    json::elements(list)
        .map(|pair| {
            let mut pair = json::elements(pair);
            let slug = json::string(pair.next()?)?.into_owned();
            let cursor = pair.next()?;
            json::string(cursor)?;
            Some((slug, cursor.to_owned()))
        })
        .collect()
}

impl Exchange<'_> {
    pub(super) async fn list_all(
        &self,
        era: Era,
        session: Option<&Arc<Live>>,
        method: Method,
    ) -> Result<Response, RpcError> {
        let _slot = self.caller.inner.limits.own_turn(self.caller).await?;
        let cursor = self.message.params.cursor.filter(|cursor| *cursor != "null");
        if let Some(only) = self.only {
            return self.list_one(era, session, method, only, cursor).await;
        }
        let invalid = || {
            RpcError::new(
                StatusCode::BAD_REQUEST,
                code::INVALID_PARAMS,
                "The cursor is not of this list. Start again without a cursor.",
            )
            .word("invalid_cursor")
        };
        let wanted: Vec<(&ReadyConnector, Option<String>)> = match cursor {
            None => self.reachable().map(|connector| (connector, None)).collect(),
            Some(cursor) => {
                let cursors = json::string(cursor).and_then(|cursor| read_cursor(method, &cursor));
                let cursors = cursors.ok_or_else(invalid)?;
                let found = self.reachable().filter_map(|connector| {
                    let slug = connector.plane.slug.as_str();
                    let at = cursors.iter().find(|(known, _)| known == slug)?;
                    Some((connector, Some(at.1.clone())))
                });
                let found: Vec<_> = found.collect();
                if found.is_empty() {
                    return Err(invalid());
                }
                found
            }
        };
        self.caller.trace.passed_on(false);
        let parts = self.caller.trace.passing(self.parts(era, session, method, &wanted)).await?;
        self.caller.trace.given();
        Ok(self.respond(era, self.join(era, method, &wanted, parts)))
    }

    /// One connector's page, as its server gives it.
    async fn list_one(
        &self,
        era: Era,
        session: Option<&Arc<Live>>,
        method: Method,
        connector: &ReadyConnector,
        cursor: Option<&str>,
    ) -> Result<Response, RpcError> {
        let view = View {
            caller: self.caller,
            era,
            id: self.message.id,
            method,
            connector: &connector.plane,
            name: "",
            prefixed: false,
            asks: domain::mcp::asks::Asks::NONE,
        };
        let failed = |error: UpstreamError| view.failed(&error);
        let trace = &self.caller.trace;
        trace.goes_to(&connector.plane, "");
        let _permits = self.caller.inner.limits.list(self.caller, connector).await?;
        trace.passed_on(false);
        let answer = trace.passing(async {
            if !self.upstream(connector).offers(kind(method).capability).await? {
                return Ok(None);
            }
            self.ask_page(era, session, method, connector, cursor).await
        });
        match answer.await.map_err(failed)? {
            Some(answer) => {
                trace.answered(&answer);
                view.render(answer).map(|(status, message)| self.respond_as(era, status, message))
            }
            None => Ok(self.respond(era, self.join(era, method, &[], Vec::new()))),
        }
    }

    /// A page of a connector; nothing when its server does not know the method.
    async fn ask_page(
        &self,
        era: Era,
        session: Option<&Arc<Live>>,
        method: Method,
        connector: &ReadyConnector,
        cursor: Option<&str>,
    ) -> Result<Option<domain::mcp::upstream::Answer>, UpstreamError> {
        let mut others: Vec<Raw<'_>> = self.message.params.others.clone();
        others.extend(cursor.map(|cursor| ("cursor", cursor)));
        let upstream_session = self.upstream_session(era, session);
        let declared = session.map(|live| live.asks.capabilities());
        let call =
            Call { method, others: &others, ..self.call_of(session, upstream_session, declared.as_deref()) };
        let upstream = self.upstream(connector);
        let mut tries = 0;
        let answer = loop {
            let reply = upstream.call(&call).await;
            match reply {
                // Listing changes nothing, so a server that fails is asked again (UPS-07).
                Err(UpstreamError::Failed(_)) if tries < 2 => tries += 1,
                other => break other.map(Reply::finish)?.await?,
            }
            tokio::time::sleep(Duration::from_millis(150 * tries)).await;
        };
        Ok((answer.error != Some(code::METHOD_NOT_FOUND)).then_some(answer))
    }

    /// Asks several connectors at once. Those that failed have nothing.
    async fn parts(
        &self,
        era: Era,
        session: Option<&Arc<Live>>,
        method: Method,
        wanted: &[(&ReadyConnector, Option<String>)],
    ) -> Result<Vec<Option<Part>>, RpcError> {
        let kind = kind(method);
        let mut asked: FuturesUnordered<_> = wanted
            .iter()
            .enumerate()
            .map(|(at, (connector, cursor))| {
                let kind = &kind;
                async move { (at, self.part(era, session, method, kind, connector, cursor.as_deref()).await) }
            })
            .collect();
        let mut parts: Vec<Option<Part>> = wanted.iter().map(|_| None).collect();
        let mut answered = vec![false; wanted.len()];
        let mut first_error = None;
        let began = Instant::now();
        let mut since = began;
        loop {
            let patience = {
                let known = self.patience();
                let open = answered.iter().zip(wanted).filter(|(answered, _)| !**answered);
                let patience = open
                    .map(|(_, (connector, _))| known.get(&connector.plane.id).copied().unwrap_or(UNKNOWN));
                patience.max().unwrap_or(LEAST)
            };
            let Ok(Some((at, outcome))) = timeout_at(since + patience, asked.next()).await else { break };
            answered[at] = true;
            since = Instant::now();
            let connector = wanted[at].0;
            let next_time =
                if outcome.is_ok() { (began.elapsed() * SLOWER).clamp(LEAST, MOST) } else { LEAST };
            self.patience().insert(connector.plane.id, next_time);
            match outcome {
                Ok(part) => parts[at] = Some(part),
                Err(error) => {
                    first_error.get_or_insert((connector, error));
                }
            }
        }
        drop(asked);
        for (at, _) in answered.iter().enumerate().filter(|(_, answered)| !**answered) {
            let connector = wanted[at].0;
            self.patience().insert(connector.plane.id, LEAST);
            first_error.get_or_insert((connector, UpstreamError::Timeout(began.elapsed())));
        }
        match first_error {
            Some((connector, error)) if parts.iter().all(Option::is_none) => {
                Err(super::outcome::failed(self.caller, connector.plane.slug.as_str(), &error))
            }
            _ => Ok(parts),
        }
    }

    fn patience(&self) -> MutexGuard<'_, HashMap<ConnectorId, Duration>> {
        self.caller.inner.patience.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn part(
        &self,
        era: Era,
        session: Option<&Arc<Live>>,
        method: Method,
        kind: &Kind,
        connector: &ReadyConnector,
        cursor: Option<&str>,
    ) -> Result<Part, UpstreamError> {
        let none = Part { items: Bytes::from_static(b"[]"), next: None };
        // One that is asked too often is left out like one that fails.
        let permits = self.caller.inner.limits.list(self.caller, connector).await;
        let _permits = permits.map_err(|_| UpstreamError::Busy { retry_after: Some(1) })?;
        if !self.upstream(connector).offers(kind.capability).await? {
            return Ok(none);
        }
        let Some(answer) = self.ask_page(era, session, method, connector, cursor).await? else {
            return Ok(none);
        };
        if let Some(code) = answer.error {
            return Err(UpstreamError::Refused(code));
        }
        let text = answer.text();
        let items = json::get(text, kind.member).filter(|items| items.starts_with('['));
        let items = items.ok_or(UpstreamError::Protocol("its list is none"))?;
        let slug = connector.plane.slug.as_str();
        let next = json::get(text, "nextCursor").filter(|next| next.starts_with('"'));
        let items = if connector.plane.unprefixed {
            answer.value.slice_ref(items.as_bytes())
        } else if kind.named_by == "name" {
            uris::in_list(items, &format!("{slug}{SEPARATOR}"), kind.named_by)
        } else {
            uris::in_list(items, &uris::prefix(slug), kind.named_by)
        };
        Ok(Part { items, next: next.map(str::to_owned) })
    }

    fn join(
        &self,
        era: Era,
        method: Method,
        wanted: &[(&ReadyConnector, Option<String>)],
        parts: Vec<Option<Part>>,
    ) -> reply::Message {
        let mut message =
            reply::Message::new(self.message.id, "result").text(&format!(r#"{{"{}":["#, kind(method).member));
        let (mut some, mut cursors, mut missing) = (false, Cursors::new(), Vec::new());
        for ((connector, _), part) in wanted.iter().zip(parts) {
            let slug = connector.plane.slug.as_str();
            let Some(part) = part else {
                missing.push(json::quoted(slug));
                continue;
            };
            let inside = part.items.slice(1..part.items.len() - 1);
            if !inside.trim_ascii().is_empty() {
                if some {
                    message = message.value(Bytes::from_static(b","));
                }
                some = true;
                message = message.value(inside);
            }
            cursors.extend(part.next.map(|next| (slug.to_owned(), next)));
        }
        let mut tail = String::from("]");
        if !cursors.is_empty() {
            let _ = write!(tail, r#","nextCursor":"{}""#, write_cursor(method, &cursors));
        }
        let mut own = Vec::new();
        if !missing.is_empty() {
            own.push(format!(r#""{UNAVAILABLE}":[{}]"#, missing.join(",")));
        }
        if era == Era::Modern {
            tail.push_str(r#","resultType":"complete","ttlMs":0,"cacheScope":"private""#);
            own.push(format!(r#""{}":{IMPLEMENTATION}"#, meta::SERVER_INFO));
        }
        if !own.is_empty() {
            let _ = write!(tail, r#","_meta":{{{}}}"#, own.join(","));
        }
        tail.push('}');
        message.text(&tail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_of_its_list_alone() {
        let cursors = vec![("alpha".to_owned(), r#""a\"b""#.to_owned()), ("beta".into(), "\"\"".into())];
        let text = write_cursor(Method::ListPrompts, &cursors);
        assert_eq!(read_cursor(Method::ListPrompts, &text), Some(cursors));
        assert_eq!(read_cursor(Method::ListResources, &text), None);
        for wrong in ["", "x", "AAAAAAAAAAAA", &text[1..]] {
            assert_eq!(read_cursor(Method::ListPrompts, wrong), None, "{wrong}");
        }
    }
}
