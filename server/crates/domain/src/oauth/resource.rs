//! The resources that tokens are for (RFC 8707): the MCP endpoints of organisations, and of single connectors.

use model::{ConnectorSlug, OrgId, OrgSlug, Scope, orgs::Org, paths};
use serde::{Deserialize, Serialize};
use store::Tx;

use crate::{Result, Settings, custom_domain};

/// An endpoint of ours, by what its URL says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The host, if it is none of the instance's.
    pub host: Option<String>,
    /// The organisation's slug. On a domain of its own it need not be there.
    pub org: Option<OrgSlug>,
    /// The connector's, for the endpoint of one.
    pub connector: Option<ConnectorSlug>,
}

impl Named {
    /// The endpoint of an organisation at the instance's own address.
    pub const fn main(org: OrgSlug) -> Self {
        Self { host: None, org: Some(org), connector: None }
    }

    /// Reads the `resource` parameter. A slash at the end is forgiven, because clients add one; nothing else is.
    pub fn parse(settings: &Settings, text: &str) -> Option<Self> {
        let (host, path) = if let Some(path) = text.strip_prefix(&settings.absolute("/mcp")) {
            (None, path)
        } else {
            let authority = text.strip_prefix(settings.public_url.scheme())?.strip_prefix("://")?;
            let host = &authority[..authority.find(['/', ':'])?];
            (Some(host), text.strip_prefix(&settings.base_at(host))?.strip_prefix(paths::mcp_at_domain())?)
        };
        let path = path.strip_suffix('/').unwrap_or(path);
        if path.is_empty() {
            let host = Some(host?.to_owned());
            return Some(Self { host, org: None, connector: None });
        }
        let mut segments = path.strip_prefix('/')?.split('/');
        let org = Some(segments.next()?.parse().ok()?);
        let connector =
            segments.next().map(|slug| slug.parse().ok()).map_or(Some(None), |slug| slug.map(Some))?;
        segments.next().is_none().then(|| Self { host: host.map(str::to_owned), org, connector })
    }

    /// Whose endpoint it is, if it is anybody's: on a domain, only as long as that is proven (TEN-06).
    pub async fn find(&self, tx: &mut Tx) -> Result<Option<Org>> {
        let Some(host) = &self.host else {
            let Some(slug) = &self.org else { return Ok(None) };
            return Ok(store::orgs::find_by_slug(tx, slug).await?);
        };
        let Some(owner) = custom_domain::owner(tx, host).await? else { return Ok(None) };
        let org = store::orgs::find(tx, owner).await?;
        Ok(org.filter(|org| self.org.as_ref().is_none_or(|slug| *slug == org.slug)))
    }

    /// The URL, as it stands in tokens.
    pub fn url(&self, settings: &Settings) -> String {
        let path = match (&self.org, &self.connector) {
            (Some(org), Some(connector)) => paths::mcp_connector(org.as_str(), connector.as_str()),
            (Some(org), None) => paths::mcp(org.as_str()),
            (None, _) => paths::mcp_at_domain().to_owned(),
        };
        match &self.host {
            Some(host) => format!("{}{path}", settings.base_at(host)),
            None => settings.absolute(&path),
        }
    }

    /// The most that a token for this endpoint may do.
    pub fn limit(&self) -> Scope {
        let scope = self.connector.clone().map_or_else(Scope::everything, |slug| Scope::only([slug]));
        Scope { offline: true, ..scope }
    }
}

/// A resource that a stored request names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// Whose endpoint it is.
    pub org: OrgId,
    /// Its URL.
    pub url: String,
}

/// Whether a `resource` parameter names the granted one.
pub(crate) fn is_same(granted: &str, asked: &str) -> bool {
    asked == granted || asked.strip_suffix('/') == Some(granted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings { public_url: "https://gate.example".parse().unwrap(), ..crate::testing::settings() }
    }

    #[test]
    fn oaz_06_only_endpoints_of_ours_are_resources() {
        let settings = settings();
        for (text, url) in [
            ("https://gate.example/mcp/acme", "https://gate.example/mcp/acme"),
            ("https://gate.example/mcp/acme/", "https://gate.example/mcp/acme"),
            ("https://gate.example/mcp/acme/files", "https://gate.example/mcp/acme/files"),
            ("https://api.acme.com/mcp", "https://api.acme.com/mcp"),
            ("https://api.acme.com/mcp/", "https://api.acme.com/mcp"),
            ("https://api.acme.com/mcp/acme/files", "https://api.acme.com/mcp/acme/files"),
        ] {
            assert_eq!(Named::parse(&settings, text).unwrap().url(&settings), url);
        }
        for bad in [
            "",
            "/mcp/acme",
            "https://gate.example",
            "https://gate.example/mcp",
            "https://gate.example/mcp/",
            "https://gate.example/mcp/Acme",
            "https://gate.example/mcp/acme#x",
            "https://gate.example/mcp/acme?x",
            "https://gate.example/mcp/acme//",
            "https://gate.example/mcp/acme/files/x",
            "https://gate.example/mcp/../mcp/acme",
            "http://gate.example/mcp/acme",
            "https://gate.example:8443/mcp/acme",
            "https://api.acme.com:443/mcp",
            "https://api.acme.com",
            "https://api.acme.com/v1/mcp",
            "https://user@api.acme.com/mcpx",
        ] {
            assert_eq!(Named::parse(&settings, bad), None, "{bad}");
        }
        assert!(
            is_same("https://g/mcp/a", "https://g/mcp/a/") && !is_same("https://g/mcp/a", "https://g/mcp/ab")
        );
    }
}
