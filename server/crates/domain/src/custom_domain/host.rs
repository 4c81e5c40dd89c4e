//! Which host names may become somebody's domain (TEN-06).

use model::AppError;
use url::Host;

use crate::{Settings, sso::domains::normal};

/// Reads a host name in the form in which hosts are compared: lower case, ASCII, without a dot at its end.
///
/// # Errors
/// What is wrong with it, in words for the field.
pub(super) fn parse(settings: &Settings, text: &str) -> Result<String, AppError> {
    let refuse = |code: &str, words: String| Err(AppError::field("host", code, words));
    let text = text.trim();
    if text.is_empty() {
        return refuse("required", "Enter a domain such as mcp.acme.com".to_owned());
    }
    if text.contains('*') {
        return refuse(
            "wildcard",
            "A domain with * stands for many: enter one, such as mcp.acme.com".to_owned(),
        );
    }
    let typed = text.trim_end_matches('.');
    let is_ip = typed.parse::<core::net::IpAddr>().is_ok()
        || matches!(Host::parse(typed), Ok(Host::Ipv4(_) | Host::Ipv6(_)));
    if is_ip {
        return refuse(
            "ip",
            "An IP address cannot be a domain: enter a name such as mcp.acme.com".to_owned(),
        );
    }
    if text.contains(['/', ':', '@', '?', '#']) {
        let words = "Enter the name alone, such as mcp.acme.com, without https://, port and path";
        return refuse("domain", words.to_owned());
    }
    let Some(host) = normal(typed) else {
        let words = if typed.contains('.') {
            "This is no host name: use letters, digits and hyphens between dots, such as mcp.acme.com"
        } else {
            "A name without a dot is known in one network only: enter a whole one, such as mcp.acme.com"
        };
        return refuse("domain", words.to_owned());
    };
    if matches!(host.rsplit('.').next(), Some("localhost" | "arpa")) {
        let words = "Names that end in .localhost or .arpa lead to no server of yours";
        return refuse("domain", words.to_owned());
    }
    if zones(settings).any(|zone| is_within(&host, &zone)) {
        let words = "This name belongs to whoever operates this instance: use a domain of your own";
        return refuse("own_zone", words.to_owned());
    }
    let Some(whole) = psl::domain(host.as_bytes()) else {
        return refuse(
            "public_suffix",
            "Anybody registers names under this one: enter one below your own domain, such as mcp.acme.com"
                .to_owned(),
        );
    };
    if whole.as_bytes().len() == host.len() {
        let is_platform = whole.suffix().typ() == Some(psl::Type::Private);
        return if is_platform {
            refuse("platform", "This name belongs to a hosting platform, where you cannot set its records: use a domain of your own".to_owned())
        } else {
            refuse(
                "apex",
                format!("A whole domain cannot have a CNAME record: use a name below it, such as mcp.{host}"),
            )
        };
    }
    Ok(host)
}

/// The domains that this instance stands in.
fn zones(settings: &Settings) -> impl Iterator<Item = String> {
    let gateway = settings.gateway_host.to_ascii_lowercase();
    let public = settings.public_url.domain().map(str::to_owned);
    public.into_iter().chain([gateway]).map(|host| {
        let zone = psl::domain(host.as_bytes()).and_then(|zone| str::from_utf8(zone.as_bytes()).ok());
        zone.map_or_else(|| host.clone(), str::to_owned)
    })
}

fn is_within(host: &str, zone: &str) -> bool {
    host.strip_suffix(zone).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::settings;

    fn settings_at(public: &str, gateway: &str) -> Settings {
        Settings { public_url: public.parse().unwrap(), gateway_host: gateway.to_owned(), ..settings() }
    }

    #[test]
    fn ten_06_only_names_below_somebodys_own_domain_are_taken() {
        let settings = settings_at("https://gate.plex.example", "gateway.plex.example");
        for (text, host) in [
            ("api.acme.com", "api.acme.com"),
            (" API.Acme.COM. ", "api.acme.com"),
            ("mcp.bücher.example", "mcp.xn--bcher-kva.example"),
            ("a.b.acme.co.uk", "a.b.acme.co.uk"),
            ("mcp.acme.uk.com", "mcp.acme.uk.com"),
            ("mcp.notplex.example", "mcp.notplex.example"),
        ] {
            assert_eq!(parse(&settings, text).as_deref(), Ok(host), "{text}");
        }
        for (text, code) in [
            ("", "required"),
            ("  ", "required"),
            ("acme.com", "apex"),
            ("acme.co.uk.", "apex"),
            ("co.uk", "public_suffix"),
            ("com", "domain"),
            ("github.io", "public_suffix"),
            ("acme.github.io", "platform"),
            ("acme.vercel.app", "platform"),
            ("localhost", "domain"),
            ("api.localhost", "domain"),
            ("1.0.0.127.in-addr.arpa", "domain"),
            ("intranet", "domain"),
            ("127.0.0.1", "ip"),
            ("127.1", "ip"),
            ("0x7f.0.0.1", "ip"),
            ("::1", "ip"),
            ("[2001:db8::1]", "ip"),
            ("*.acme.com", "wildcard"),
            ("https://api.acme.com", "domain"),
            ("api.acme.com:443", "domain"),
            ("api.acme.com/mcp", "domain"),
            ("api..acme.com", "domain"),
            ("-api.acme.com", "domain"),
            ("a_b.acme.com", "domain"),
            ("gate.plex.example", "own_zone"),
            ("x.gate.plex.example", "own_zone"),
            ("GATEWAY.plex.example.", "own_zone"),
            ("other.plex.example", "own_zone"),
            ("plex.example", "own_zone"),
        ] {
            let refused = parse(&settings, text).expect_err(text);
            assert_eq!((refused.kind, refused.code.as_str()), (model::ErrorKind::Invalid, code), "{text}");
            assert_eq!(refused.fields[0].field, "host");
        }
        // An instance on a bare address stands in no domain of its own.
        let bare = settings_at("http://127.0.0.1:3000", "127.0.0.1");
        assert_eq!(parse(&bare, "api.acme.com").as_deref(), Ok("api.acme.com"));
    }
}
