//! Where an OAuth client may be sent back to (OAD-02).

use core::{fmt, net::IpAddr};

use url::{Host, Url};

use crate::net::{EgressAllow, address_allowed};

/// The most redirect URIs of one client.
pub const MOST: usize = 10;
/// The longest redirect URI in bytes.
pub const LONGEST: usize = 2048;

/// Schemes of apps that are in use without the form of a reversed domain name.
const KNOWN_APPS: &[&str] = &[
    "antigravity",
    "chatgpt",
    "claude",
    "codex",
    "cursor",
    "goose",
    "kiro",
    "raycast",
    "trae",
    "vscode",
    "vscode-insiders",
    "vscodium",
    "warp",
    "windsurf",
    "windsurf-next",
    "zed",
];

/// Schemes that lead into the browser itself or to protocols of other kinds.
const NEVER: &[&str] = &[
    "about",
    "blob",
    "data",
    "file",
    "filesystem",
    "ftp",
    "ftps",
    "intent",
    "javascript",
    "jar",
    "mailto",
    "sms",
    "tel",
    "vbscript",
    "view-source",
    "ws",
    "wss",
];

/// Where a redirect URI leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A site: its host.
    Site(String),
    /// An app on the person's own computer that listens on loopback: the host.
    Loopback(String),
    /// An app that is opened by its scheme.
    App(String),
}

impl Target {
    /// The host, or the scheme of an app: what people are shown.
    pub fn name(&self) -> &str {
        match self {
            Self::Site(name) | Self::Loopback(name) | Self::App(name) => name,
        }
    }
}

/// Why a redirect URI is refused; `Display` says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// None, or too many.
    Count,
    /// Too long.
    Length,
    /// No absolute URI, or not written the way that it would be sent.
    Form,
    /// A fragment, a user name, or a wildcard.
    Part,
    /// `http` elsewhere than on loopback.
    Plain,
    /// `https` to an address that only one network knows.
    Private,
    /// A scheme that is not taken.
    Scheme,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Count => "Give 1 to 10 redirect URIs",
            Self::Length => "Use at most 2048 characters",
            Self::Form => {
                "Write the whole URI as it is sent, such as https://app.example.com/callback: lower-case scheme and host, no spaces, no default port"
            }
            Self::Part => "Leave out fragments (#), user names (@) and wildcards (*)",
            Self::Plain => "Use https. Plain http is for this computer only: localhost, 127.0.0.1 or [::1]",
            Self::Private => "Use a public host name, or localhost with http",
            Self::Scheme => {
                "Use https, http on localhost, or the scheme of an app in reverse-domain form, such as com.example.app:/callback"
            }
        })
    }
}

impl core::error::Error for Refused {}

/// Checks all redirect URIs of a client. Schemes of apps are for clients that say they are native.
pub fn check_all<'a>(uris: impl IntoIterator<Item = &'a str>, native: bool) -> Result<(), Refused> {
    let mut count = 0;
    for uri in uris {
        check(uri, native)?;
        count += 1;
    }
    if (1..=MOST).contains(&count) { Ok(()) } else { Err(Refused::Count) }
}

/// Checks one redirect URI, and says where it leads. Redirect URIs are later compared byte for byte, so one that a
/// browser would write in another way is refused here, where somebody can still mend it.
pub fn check(uri: &str, native: bool) -> Result<Target, Refused> {
    if uri.len() > LONGEST {
        return Err(Refused::Length);
    }
    if !uri.bytes().all(|b| b.is_ascii_graphic()) || uri.contains(['\\', '<', '>', '"']) {
        return Err(Refused::Form);
    }
    if uri.contains(['#', '*']) {
        return Err(Refused::Part);
    }
    let url = Url::parse(uri).map_err(|_| Refused::Form)?;
    if !url.username().is_empty() || url.password().is_some() || authority(uri).contains('@') {
        return Err(Refused::Part);
    }
    let scheme = url.scheme();
    if NEVER.contains(&scheme) || scheme.starts_with("chrome") || scheme.contains("extension") {
        return Err(Refused::Scheme);
    }
    // The parser adds the slash after a bare host.
    if url.as_str() != uri && url.as_str() != format!("{uri}/") {
        return Err(Refused::Form);
    }
    match (scheme, url.host()) {
        ("https", Some(host)) => match host {
            _ if is_loopback(&host) => Err(Refused::Private),
            Host::Domain(name) if !name.contains('.') || name.ends_with('.') => Err(Refused::Private),
            Host::Domain(name) => Ok(Target::Site(name.to_owned())),
            Host::Ipv4(address) => public(address.into(), &host),
            Host::Ipv6(address) => public(address.into(), &host),
        },
        ("http", Some(host)) if is_loopback(&host) => Ok(Target::Loopback(host.to_string())),
        ("http" | "https", _) => Err(Refused::Plain),
        (app, _) if native && (app.contains('.') || KNOWN_APPS.contains(&app)) => {
            Ok(Target::App(app.to_owned()))
        }
        _ => Err(Refused::Scheme),
    }
}

fn public(address: IpAddr, host: &Host<&str>) -> Result<Target, Refused> {
    if address_allowed(address, 443, &EgressAllow::default()) {
        Ok(Target::Site(host.to_string()))
    } else {
        Err(Refused::Private)
    }
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

/// What stands between `//` and the path.
fn authority(uri: &str) -> &str {
    let rest = uri.split_once("//").map_or("", |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oad_02_sites_and_loopback_are_taken() {
        for (uri, target) in [
            ("https://claude.ai/api/mcp/auth_callback", Target::Site("claude.ai".into())),
            ("https://app.example.com", Target::Site("app.example.com".into())),
            ("https://app.example.com:8443/cb?a=b", Target::Site("app.example.com".into())),
            ("https://1.1.1.1/cb", Target::Site("1.1.1.1".into())),
            ("http://localhost:33418/callback", Target::Loopback("localhost".into())),
            ("http://127.0.0.1/callback", Target::Loopback("127.0.0.1".into())),
            ("http://[::1]:3000/cb", Target::Loopback("[::1]".into())),
        ] {
            assert_eq!(check(uri, false), Ok(target), "{uri}");
        }
    }

    #[test]
    fn oad_02_schemes_of_apps_are_for_native_clients() {
        for uri in [
            "cursor://anysphere.cursor-retrieval/oauth/user-acme/callback",
            "vscode://vscode.github-authentication/did-authenticate",
            "com.example.app:/oauth",
        ] {
            assert!(matches!(check(uri, true), Ok(Target::App(_))), "{uri}");
            assert_eq!(check(uri, false), Err(Refused::Scheme), "{uri}");
        }
        assert_eq!(check("unknown-app://callback", true), Err(Refused::Scheme));
    }

    #[test]
    fn oad_02_what_could_run_or_lead_elsewhere_is_refused() {
        for uri in [
            "javascript:alert(1)",
            "JavaScript:alert(1)",
            "data:text/html,x",
            "vbscript:x",
            "file:///etc/passwd",
            "blob:https://a.example/1",
            "about:blank",
            "ftp://a.example/",
            "ws://a.example/",
            "wss://a.example/",
            "intent://a.example/#Intent;end",
            "chrome://settings",
            "chrome-extension://abc/cb",
            "moz-extension://abc/cb",
            "view-source:https://a.example/",
            "https://a.example/cb#x",
            "https://user@a.example/cb",
            "https://good.example@evil.example/cb",
            "https://a.example/*",
            "https://*.a.example/cb",
            "https://A.example/cb",
            "HTTPS://a.example/cb",
            "https://a.example/a/../cb",
            "https://a.example/%2e%2e/cb",
            "https://a.example:443/cb",
            "https://a.example\\@evil.example/",
            "https:a.example/cb",
            "https://аpple.example/cb",
            "https://a.example./cb",
            "https://intranet/cb",
            "https://localhost/cb",
            "https://10.0.0.1/cb",
            "https://169.254.169.254/",
            "https://[fd00::1]/cb",
            "http://a.example/cb",
            "http://localhost.evil.example/cb",
            "http://127.0.0.1.evil.example/cb",
            "http://2130706433/cb",
            "//a.example/cb",
            "/cb",
            "a b",
            " https://a.example/cb",
            "",
        ] {
            for native in [false, true] {
                assert!(check(uri, native).is_err(), "{uri}");
            }
        }
        assert_eq!(check(&format!("https://a.example/{}", "x".repeat(LONGEST)), false), Err(Refused::Length));
    }

    #[test]
    fn oad_02_one_to_ten() {
        let uri = "https://a.example/cb";
        assert_eq!(check_all([], false), Err(Refused::Count));
        assert_eq!(check_all([uri; 10], false), Ok(()));
        assert_eq!(check_all([uri; 11], false), Err(Refused::Count));
        assert_eq!(check_all([uri, "javascript:x"], true), Err(Refused::Scheme));
    }
}
