//! The resources that tokens are for (RFC 8707): the MCP endpoints of organisations, and of single connectors.

use model::{ConnectorSlug, OrgId, OrgSlug, Scope, paths};
use serde::{Deserialize, Serialize};

use crate::Settings;

/// An endpoint of ours, by what its URL says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The organisation's slug.
    pub org: OrgSlug,
    /// The connector's, for the endpoint of one.
    pub connector: Option<ConnectorSlug>,
}

impl Named {
    /// Reads the `resource` parameter. A slash at the end is forgiven, because clients add one; nothing else is.
    pub fn parse(settings: &Settings, text: &str) -> Option<Self> {
        let rest = text.strip_prefix(&settings.absolute("/mcp/"))?;
        let mut segments = rest.strip_suffix('/').unwrap_or(rest).split('/');
        let org = segments.next()?.parse().ok()?;
        let connector =
            segments.next().map(|slug| slug.parse().ok()).map_or(Some(None), |slug| slug.map(Some))?;
        segments.next().is_none().then_some(Self { org, connector })
    }

    /// The URL, as it stands in tokens.
    pub fn url(&self, settings: &Settings) -> String {
        let org = self.org.as_str();
        settings.absolute(&match &self.connector {
            Some(connector) => paths::mcp_connector(org, connector.as_str()),
            None => paths::mcp(org),
        })
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
        Settings {
            public_url: "https://gate.example".parse().unwrap(),
            default_plan: model::Plan::Enterprise,
            demo: false,
            node: String::new(),
            sign_up: model::links::SignUp::default(),
            session_idle_ms: 0,
            registration: true,
            cimd: true,
            native_schemes: Vec::new(),
        }
    }

    #[test]
    fn oaz_06_only_endpoints_of_ours_are_resources() {
        let settings = settings();
        for (text, url) in [
            ("https://gate.example/mcp/acme", "https://gate.example/mcp/acme"),
            ("https://gate.example/mcp/acme/", "https://gate.example/mcp/acme"),
            ("https://gate.example/mcp/acme/files", "https://gate.example/mcp/acme/files"),
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
            "https://gate.example.evil/mcp/acme",
            "https://evil.example/mcp/acme",
            "http://gate.example/mcp/acme",
        ] {
            assert_eq!(Named::parse(&settings, bad), None, "{bad}");
        }
        assert!(
            is_same("https://g/mcp/a", "https://g/mcp/a/") && !is_same("https://g/mcp/a", "https://g/mcp/ab")
        );
    }
}
