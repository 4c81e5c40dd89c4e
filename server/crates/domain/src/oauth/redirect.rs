//! Where an answer may be sent: which redirect URIs can be registered (OAD-02), and when one that is asked for is one
//! that was registered (OAZ-02).

use std::net::IpAddr;

use model::{AppError, ErrorKind};
use url::{Host, Url};

use crate::net::{EgressAllow, address_allowed};

/// The longest redirect URI, in bytes.
pub const MAX: usize = 2048;

/// Schemes of apps that are known to sign in this way. Others need a scheme with a dot in it, a domain read backwards,
/// or the operator's word (`GATEHOUSE_NATIVE_SCHEMES`).
pub const KNOWN_SCHEMES: &[&str] = &[
    "claude",
    "code-oss",
    "cursor",
    "goose",
    "kiro",
    "lmstudio",
    "raycast",
    "trae",
    "vscode",
    "vscode-insiders",
    "vscodium",
    "warp",
    "windsurf",
    "zed",
];

/// Schemes that run or show something instead of handing over an answer; not even the operator can allow them.
const REFUSED_SCHEMES: &[&str] = &[
    "about",
    "blob",
    "chrome",
    "data",
    "file",
    "filesystem",
    "ftp",
    "http",
    "https",
    "intent",
    "jar",
    "javascript",
    "mailto",
    "tel",
    "vbscript",
    "view-source",
    "ws",
    "wss",
];

/// What a client says it is (`application_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Application {
    /// Nothing was said.
    Unsaid,
    /// A web server.
    Web,
    /// An app on somebody's machine.
    Native,
}

/// Whether a scheme can be one of an app at all: for the operator's list.
pub fn can_be_native(scheme: &str) -> bool {
    let fits = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b));
    fits && !REFUSED_SCHEMES.contains(&scheme) && !scheme.starts_with("chrome") && !scheme.starts_with("ms-")
}

/// Whether a redirect URI may be registered; if not, why.
pub fn check(
    uri: &str,
    application: Application,
    more_schemes: &[String],
    allow: &EgressAllow,
) -> Result<(), &'static str> {
    if uri.is_empty() || uri.len() > MAX {
        return Err("A redirect URI has 1 to 2048 bytes.");
    }
    if !uri.bytes().all(|b| (0x21..0x7F).contains(&b))
        || uri.contains(['\\', '*', '"', '<', '>', '^', '`', '{', '|', '}'])
    {
        return Err("A redirect URI is plain ASCII, without wildcards.");
    }
    if uri.contains('#') {
        return Err("A redirect URI has no fragment.");
    }
    let url = Url::parse(uri).map_err(|_| "A redirect URI is absolute.")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("A redirect URI holds no user name or password.");
    }
    // As it is written is how it is compared, so there is one way to write it.
    if url.as_str() != uri && url.as_str().strip_suffix('/') != Some(uri) {
        return Err(
            "Write the redirect URI in its normal form: lower-case host, no default port, no dot segments.",
        );
    }
    match url.scheme() {
        "https" => match url.host() {
            Some(Host::Domain(name)) if !is_local_name(name) => Ok(()),
            Some(Host::Ipv4(address)) if is_reachable(address.into(), &url, allow) => Ok(()),
            Some(Host::Ipv6(address)) if is_reachable(address.into(), &url, allow) => Ok(()),
            _ => Err("An https redirect URI has a public host; use http for 127.0.0.1, [::1] and localhost."),
        },
        "http" if loopback(uri).is_some() => Ok(()),
        "http" => Err("An http redirect URI is on 127.0.0.1, [::1] or localhost; everywhere else use https."),
        scheme => {
            let known = KNOWN_SCHEMES.contains(&scheme) || more_schemes.iter().any(|more| more == scheme);
            let owned = scheme.contains('.') && application == Application::Native;
            if application == Application::Web || !can_be_native(scheme) || !(known || owned) {
                return Err(
                    "This scheme is not accepted. Apps use a domain of theirs read backwards, such as com.example.app, and say application_type native.",
                );
            }
            Ok(())
        }
    }
}

fn is_local_name(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    name == "localhost" || name.ends_with(".localhost") || name.is_empty()
}

fn is_reachable(address: IpAddr, url: &Url, allow: &EgressAllow) -> bool {
    address_allowed(address, url.port_or_known_default().unwrap_or(443), allow)
}

/// Takes an `http` URI on this computer apart: the host as written, and everything after the port.
fn loopback(uri: &str) -> Option<(&str, &str)> {
    let rest = uri.strip_prefix("http://")?;
    let host = ["127.0.0.1", "[::1]", "localhost"].into_iter().find(|host| rest.starts_with(host))?;
    let rest = &rest[host.len()..];
    let rest = match rest.strip_prefix(':') {
        Some(port) => {
            let digits = port.bytes().take_while(u8::is_ascii_digit).count();
            if !matches!(port[..digits].parse::<u16>(), Ok(1..)) {
                return None;
            }
            &port[digits..]
        }
        None => rest,
    };
    (rest.is_empty() || rest.starts_with(['/', '?'])).then_some((host, rest))
}

/// Whether the redirect URI is one of the registered ones: byte for byte, except that an app on this computer may
/// listen on any port (RFC 8252 §7.3).
pub fn is_registered(registered: &[String], asked: &str) -> bool {
    registered.iter().any(|known| {
        known == asked
            || loopback(known).is_some_and(|parts| !asked.contains('#') && loopback(asked) == Some(parts))
    })
}

/// Where an answer goes, as a person is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The host with its port, or the scheme of an app.
    pub host: String,
    /// Whether that is this computer.
    pub loopback: bool,
    /// Whether it is an app with a scheme of its own.
    pub other_app: bool,
    /// How a content security policy names it.
    pub form_target: String,
}

impl Destination {
    /// The destination of a registered redirect URI.
    pub fn of(uri: &str) -> Self {
        let Ok(url) = Url::parse(uri) else {
            return Self {
                host: String::new(),
                loopback: false,
                other_app: false,
                form_target: String::new(),
            };
        };
        if !matches!(url.scheme(), "http" | "https") {
            let scheme = url.scheme();
            return Self {
                host: scheme.to_owned(),
                loopback: false,
                other_app: true,
                form_target: format!("{scheme}:"),
            };
        }
        let host = url.host_str().unwrap_or_default();
        let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        Self {
            form_target: format!("{}://{host}", url.scheme()),
            host,
            loopback: loopback(uri).is_some(),
            other_app: false,
        }
    }
}

/// The page for a request whose answer has nowhere to go.
pub(crate) fn refused(code: &str, message: &str) -> AppError {
    AppError::new(ErrorKind::Invalid, code, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(uri: &str, application: Application) -> bool {
        check(uri, application, &["acme-ide".to_owned()], &EgressAllow::default()).is_ok()
    }

    #[test]
    fn oad_02_what_may_be_registered() {
        use Application::{Native, Unsaid, Web};
        for good in [
            "https://claude.ai/api/mcp/auth_callback",
            "https://vscode.dev/redirect",
            "https://example.com",
            "https://example.com:8443/cb?tenant=1",
            "https://203.0.114.9/cb",
            "http://localhost:3334/oauth/callback",
            "http://127.0.0.1/",
            "http://127.0.0.1:33418/",
            "http://[::1]:8080/cb",
            "http://localhost",
            "cursor://anysphere.cursor-mcp/oauth/callback",
            "vscode://vscode.github-authentication/did-authenticate",
            "acme-ide://callback",
        ] {
            assert!(may(good, Unsaid), "{good}");
        }
        assert!(may("com.example.app:/oauth2redirect", Native));
        assert!(!may("com.example.app:/oauth2redirect", Unsaid) && !may("cursor://cb", Web));
        let long = format!("https://example.com/{}", "a".repeat(MAX));
        for bad in [
            "",
            &long,
            "/relative",
            "example.com/cb",
            "https://example.com/cb#fragment",
            "https://user@example.com/cb",
            "https://user:pass@example.com/cb",
            "https://*.example.com/cb",
            "https://example.com/*",
            "https://example.com\\@evil.example/",
            "https://EXAMPLE.com/cb",
            "https://example.com:443/cb",
            "https://example.com/a/../b",
            "https://example.com/a/%2e%2e/b",
            "https://exämple.com/cb",
            "https://example.com/c b",
            "https://localhost/cb",
            "https://10.0.0.1/cb",
            "https://[::1]/cb",
            "https://169.254.169.254/cb",
            "http://example.com/cb",
            "http://127.0.0.2/cb",
            "http://localhost.evil.example/cb",
            "http://localhost@evil.example/cb",
            "http://127.0.0.1:0/cb",
            "http://127.0.0.1:99999/cb",
            "javascript:alert(1)",
            "data:text/html,x",
            "vbscript:x",
            "file:///etc/passwd",
            "blob:https://example.com/x",
            "about:blank",
            "ftp://example.com/",
            "ws://example.com/",
            "wss://example.com/",
            "intent://x#Intent;end",
            "chrome://settings",
            "chrome-extension://abc/cb",
            "view-source:https://example.com",
            "myapp://cb",
        ] {
            assert!(!may(bad, Native), "{bad}");
        }
    }

    #[test]
    fn oaz_02_redirect_uris_are_compared_byte_for_byte() {
        let web = vec!["https://good.example/cb".to_owned()];
        assert!(is_registered(&web, "https://good.example/cb"));
        for bad in [
            "https://good.example/cb/",
            "https://good.example/cb/x",
            "https://good.example/cb?x=1",
            "https://good.example/cb#x",
            "https://good.example/a/../cb",
            "https://good.example/%63b",
            "https://good.example/CB",
            "https://good.example/c",
            "https://GOOD.example/cb",
            "https://good@evil.example/cb",
            "https://good.example@evil.example/cb",
            "https://good.example.evil.example/cb",
            "https://good.example./cb",
            "https://good.example:443/cb",
            "https://good.example:8443/cb",
            "https://gооd.example/cb",
            "https://good.example\\/cb",
            "http://good.example/cb",
            "https://good.example/cb\0",
            " https://good.example/cb",
            "",
        ] {
            assert!(!is_registered(&web, bad), "{bad}");
        }
        let app = vec!["http://localhost:1234/callback".to_owned(), "http://127.0.0.1/".to_owned()];
        for good in
            ["http://localhost:50000/callback", "http://localhost/callback", "http://127.0.0.1:59656/"]
        {
            assert!(is_registered(&app, good), "{good}");
        }
        for bad in [
            "http://localhost:50000/callback/",
            "http://localhost:50000/Callback",
            "http://localhost:50000/callback?x",
            "http://localhost:50000/callback#x",
            "http://localhost:50000@evil.example/callback",
            "http://localhost:x/callback",
            "http://localhost:0/callback",
            "http://localhost:/callback",
            "http://localhost.evil.example/callback",
            "https://localhost:50000/callback",
            "http://127.0.0.1:50000/callback",
            "http://[::1]:50000/callback",
            "http://127.0.0.1",
        ] {
            assert!(!is_registered(&app, bad), "{bad}");
        }
    }

    #[test]
    fn oaz_08_destinations_are_named_for_people_and_for_the_policy() {
        let of = |uri| {
            let d = Destination::of(uri);
            (d.host, d.loopback, d.other_app, d.form_target)
        };
        assert_eq!(
            of("https://a.example/cb"),
            ("a.example".into(), false, false, "https://a.example".into())
        );
        assert_eq!(
            of("http://localhost:99/cb"),
            ("localhost:99".into(), true, false, "http://localhost:99".into())
        );
        assert_eq!(of("cursor://x/cb"), ("cursor".into(), false, true, "cursor:".into()));
    }
}
