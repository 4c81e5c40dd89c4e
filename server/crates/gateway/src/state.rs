//! `requestState` on its way through a client (RSV-12, UPS-11). What an upstream server wants kept is sealed together with
//! whose call it is, so that nobody can change it, use it for another call, or show it to another server.

use core::fmt::Write as _;

use model::ConnectorId;

use crate::{handler::Caller, sessions::identity};

/// How long a client has for its answer, milliseconds.
const LIFE_MS: i64 = 30 * 60 * 1000;

/// What waits for a client's answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// What the server of the modern era wants back: a JSON value.
    Upstream(String),
    /// A call of a server of the legacy era that is held open on this node.
    Held(u128),
}

/// The call that a state is of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) connector: ConnectorId,
    pub(crate) method: &'static str,
    pub(crate) name: &'a str,
}

fn bound(caller: &Caller, place: &Place<'_>) -> [String; 5] {
    [
        caller.ready.plane.org.to_string(),
        identity(&caller.access.principal),
        place.connector.to_string(),
        place.method.to_owned(),
        place.name.to_owned(),
    ]
}

/// Seals a state for one call.
pub(crate) fn seal(caller: &Caller, place: &Place<'_>, state: &State) -> String {
    let inner = &caller.inner;
    let mut plain = (inner.clock.now() + LIFE_MS).to_be_bytes().to_vec();
    match state {
        State::Upstream(value) => {
            plain.push(b'u');
            plain.extend_from_slice(value.as_bytes());
        }
        State::Held(id) => {
            plain.push(b'h');
            plain.extend_from_slice(&id.to_be_bytes());
        }
    }
    let bound = bound(caller, place);
    inner.tickets.seal("request-state", &bound.each_ref().map(String::as_str), &plain, &*inner.rng)
}

/// Opens what a client sends back; nothing when it is not of this call, was changed, or is too old.
pub(crate) fn open(caller: &Caller, place: &Place<'_>, text: &str) -> Option<State> {
    let bound = bound(caller, place);
    let plain = caller.inner.tickets.open("request-state", &bound.each_ref().map(String::as_str), text)?;
    let (ends, rest) = plain.split_first_chunk()?;
    if i64::from_be_bytes(*ends) < caller.inner.clock.now() {
        return None;
    }
    let (kind, rest) = rest.split_first()?;
    match kind {
        b'u' => String::from_utf8(rest.to_vec()).ok().map(State::Upstream),
        b'h' => Some(State::Held(u128::from_be_bytes(rest.try_into().ok()?))),
        _ => None,
    }
}

/// The members of a map of questions: each question's key, and what is asked.
pub(crate) struct InputRequest<'a> {
    pub(crate) key: String,
    pub(crate) method: String,
    pub(crate) params: &'a str,
}

/// Reads `inputRequests` of a result. Nothing for what is not a map of requests.
pub(crate) fn input_requests(result: &str) -> Option<Vec<InputRequest<'_>>> {
    use domain::mcp::json;
    let Some(map) = json::get(result, "inputRequests") else { return Some(Vec::new()) };
    if !map.starts_with('{') {
        return None;
    }
    json::members(map)
        .map(|(key, request, _)| {
            Some(InputRequest {
                key: key.text()?.into_owned(),
                method: json::get(request, "method").and_then(json::string)?.into_owned(),
                params: json::get(request, "params").unwrap_or("{}"),
            })
        })
        .collect()
}

/// `inputResponses` from what was answered: keys and results, as written.
pub(crate) fn input_responses<'a>(answers: impl Iterator<Item = (&'a String, &'a String)>) -> String {
    let mut out = String::from("{");
    for (key, result) in answers {
        let comma = if out.len() > 1 { "," } else { "" };
        let _ = write!(out, "{comma}{}:{result}", domain::mcp::json::quoted(key));
    }
    out.push('}');
    out
}
