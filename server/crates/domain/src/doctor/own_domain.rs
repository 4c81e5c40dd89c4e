//! The self-test on an organisation's own domain: that its name leads here, that the proxy has a certificate for it, and that
//! the endpoint of this organisation answers there (TEN-06).
//!
//! The name is a tenant's, and its records may say anything by now. So the guard is opened for the addresses of this
//! instance alone, and not for the name.

use http::Method;
use model::{doctor::Probe, paths};
use serde_json::Value;

use super::self_test::{Answer, Found, PING, Walk, odd, short, told};
use crate::{Env, net::NetError};

/// How many steps there are.
pub(super) const PLANNED: u32 = 4;

struct Domain<'a> {
    walk: Walk<'a>,
    host: &'a str,
    target: &'a str,
}

/// Adds the steps to the list. The first one that fails ends it.
pub(super) async fn walk(env: &Env, host: &str, slug: &str, probes: &mut Vec<Probe>) -> Option<()> {
    let settings = &env.settings;
    let target = settings.gateway_host.trim_end_matches('.');
    let own = [settings.public_url.host_str().unwrap_or_default(), target];
    let port = settings.public_url.port_or_known_default().unwrap_or(443);
    let base = settings.base_at(host);
    let domain = Domain {
        walk: Walk {
            env,
            outbound: env.outbound.reaching_addresses_of(&own, port).await,
            endpoint: format!("{base}{}", paths::mcp_at_domain()),
            issuer: settings.absolute(""),
        },
        host,
        target,
    };
    told(probes, "Look up your domain", domain.record().await)?;
    let answer = told(probes, "Call the endpoint on your domain", domain.challenge().await)?;
    told(probes, "Read the resource metadata of your domain", domain.resource(&base, &answer).await)?;
    told(probes, "Find this organisation on your domain", domain.slug(&base, slug).await)
}

impl Domain<'_> {
    async fn record(&self) -> Found<()> {
        let (host, target) = (self.host, self.target);
        let Ok(found) = self.walk.env.outbound.cname(host).await else {
            return Err((
                "The name server did not answer.".to_owned(),
                "Try again in a minute. If it stays so, the operator has to look at GATEHOUSE_DNS_RESOLVER."
                    .to_owned(),
            ));
        };
        if found.iter().any(|name| name.eq_ignore_ascii_case(target)) {
            return Ok((format!("{host} leads to {target}."), ()));
        }
        let said = match found.first() {
            Some(name) => format!("{host} leads to {name} rather than {target}."),
            None => format!("{host} has no CNAME record."),
        };
        Err((said, format!("Set the CNAME record of {host} to {target}, before the domain is removed.")))
    }

    fn unreachable(&self, why: NetError) -> (String, String) {
        let (host, target) = (self.host, self.target);
        let fix = match why {
            NetError::Tls => format!(
                "The proxy has no certificate for {host}. Let it ask Gatehouse whether it may get one (see the help on custom domains), and look at the proxy's log and at CAA records of the domain."
            ),
            NetError::Dns => format!(
                "{target} does not resolve here: correct GATEHOUSE_GATEWAY_HOST, or add the name to DNS."
            ),
            NetError::Blocked(_) => format!(
                "{host} leads to an address inside that is not one of {target}. Remove its A and AAAA records, and leave only the CNAME record."
            ),
            NetError::Timeout | NetError::Unreachable => format!(
                "Check that the proxy at {target} takes {host} as well, and forwards it to Gatehouse."
            ),
            NetError::BadResponse | NetError::Process(_) => format!("Check what answers at {host}."),
        };
        (format!("{} {why}", self.walk.endpoint), fix)
    }

    fn odd(&self, what: &str, answer: &Answer) -> (String, String) {
        let (said, fix) = odd(what, answer);
        let fix = match answer.status.as_u16() {
            300..=399 => {
                format!("A proxy redirects {}. Clients do not follow: let it forward instead.", self.host)
            }
            404 | 405 | 421 => format!(
                "The proxy does not forward {} to Gatehouse, or changes the header Host. Forward the domain whole, with the Host of the client.",
                self.host
            ),
            _ => fix,
        };
        (said, fix)
    }

    async fn challenge(&self) -> Found<Answer> {
        let url = &self.walk.endpoint;
        let answer = self.walk.ask(Method::POST, url, PING).await.map_err(|why| self.unreachable(why))?;
        if !answer.is_challenge() {
            return Err(self.odd(url, &answer));
        }
        Ok((format!("{url} answers 401, as it should."), answer))
    }

    async fn resource(&self, base: &str, challenge: &Answer) -> Found<()> {
        let mixed = || {
            format!(
                "The proxy changes the header Host of {}, or rewrites answers. Let both pass as they are.",
                self.host
            )
        };
        let url = format!("{base}{}", paths::protected_resource_metadata(paths::mcp_at_domain()));
        let (_, named) = challenge.named_metadata();
        if named != Some(url.as_str()) {
            let named = named.unwrap_or("nothing");
            return Err((format!("The header WWW-Authenticate names {named} rather than {url}."), mixed()));
        }
        let answer = self.walk.ask(Method::GET, &url, "").await.map_err(|why| self.unreachable(why))?;
        let document: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        if !answer.status.is_success() || document.is_null() {
            return Err(self.odd(&url, &answer));
        }
        if document["resource"] != self.walk.endpoint.as_str() {
            let said = short(&document["resource"]);
            return Err((format!("It is about {said} rather than {}.", self.walk.endpoint), mixed()));
        }
        Ok((format!("It is about {}.", self.walk.endpoint), ()))
    }

    /// Under its slug only one organisation answers on a domain: the one whose it is.
    async fn slug(&self, base: &str, slug: &str) -> Found<()> {
        let url = format!("{base}{}", paths::mcp(slug));
        let answer = self.walk.ask(Method::POST, &url, PING).await.map_err(|why| self.unreachable(why))?;
        if !answer.is_challenge() {
            let fix = format!(
                "Another instance of Gatehouse answers on {}. Compare where {} leads with where this instance runs.",
                self.host, self.target
            );
            return Err((format!("{url} answered with {}.", answer.status.as_u16()), fix));
        }
        Ok((format!("{} is the domain of {slug}.", self.host), ()))
    }
}
