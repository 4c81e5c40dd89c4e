//! What the connection doctor hears of from here: clients that are asked to sign in, that read where, and that come back
//! with what they got.

use std::net::IpAddr;

use domain::{
    doctor::Step,
    key_format,
    request::ClientIp,
    tokens::{AccessToken, claimed_issuer},
};
use http::{HeaderMap, header, request};
use model::{OrgId, doctor::Stage};

use crate::{
    Inner,
    auth::{Endpoint, Presented},
};

fn from(step: Step, address: Option<IpAddr>, headers: &HeaderMap) -> Step {
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    Step { address, user_agent: agent.map(str::to_owned), ..step }
}

fn address(head: &request::Parts) -> Option<IpAddr> {
    head.extensions.get::<ClientIp>().map(|ip| ip.0)
}

/// A request that was answered with 401. Mistyped keys are not worth a look at whose endpoint it was (APK-01).
pub(crate) fn refused(
    inner: &Inner,
    endpoint: &Endpoint<'_>,
    head: &request::Parts,
    presented: &Presented<'_>,
) {
    let (stage, error) = match presented {
        Presented::Nothing => (Stage::Challenge, None),
        Presented::Forbidden | Presented::Query(_) => (Stage::Challenge, Some("credential_in_query")),
        Presented::Key(key) | Presented::Bearer(key) if key_format::check(key) => {
            (Stage::Challenge, Some("key_invalid"))
        }
        Presented::Bearer(token) if !token.starts_with(key_format::PREFIX) => {
            let ours = claimed_issuer(token).is_none_or(|issuer| issuer == endpoint.site.absolute(""));
            (Stage::FirstCall, Some(if ours { "invalid_token" } else { "foreign_token" }))
        }
        Presented::Key(_) | Presented::Bearer(_) => return,
    };
    if let Some(org) = inner.planes.lookup(endpoint.slug) {
        let step = Step { org: Some(org), error, ..Step::new(stage) };
        inner.journal.note(inner.clock.now(), from(step, address(head), &head.headers));
    }
}

/// A request with a token of a connection that was found good: the first one is worth a note.
pub(crate) fn called(
    inner: &Inner,
    org: OrgId,
    token: &AccessToken,
    name: Option<&str>,
    head: &request::Parts,
) {
    let Some(grant) = token.grant else { return };
    inner.journal.first_call(inner.clock.now(), grant.grant.uuid(), || {
        let step = Step {
            org: Some(org),
            client_id: Some(token.client.clone()),
            client_name: name.map(str::to_owned),
            ..Step::new(Stage::FirstCall)
        };
        from(step, address(head), &head.headers)
    });
}

/// Somebody read the metadata of an organisation's endpoint.
pub(crate) fn metadata(inner: &Inner, org: OrgId, address: Option<IpAddr>, headers: &HeaderMap) {
    let step = Step { org: Some(org), ..Step::new(Stage::ResourceMetadata) };
    inner.journal.note(inner.clock.now(), from(step, address, headers));
}
