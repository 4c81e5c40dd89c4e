//! `GATEHOUSE_EGRESS_ALLOW`: what the operator lets Gatehouse reach besides public addresses (SSR-07).

use core::{fmt, net::IpAddr, ops::RangeInclusive, str::FromStr};

use ipnet::IpNet;
use url::{Host, Url};

/// The destinations an operator has allowed. Empty by default; it is never set by a tenant.
///
/// Parsed from a comma-separated list of CIDRs (`10.0.0.0/8`, `::1/128`), CIDRs with ports (`127.0.0.0/8:8000-9000`,
/// `[::1]/128:8000`) and hosts with a port (`mcp.internal:8080`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EgressAllow {
    nets: Vec<(IpNet, Ports)>,
    names: Vec<(String, Ports)>,
}

/// An inclusive range of ports.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ports(RangeInclusive<u16>);

impl Ports {
    const ALL: Self = Self(0..=u16::MAX);
}

/// Why an entry of the list is refused; `Display` is one sentence that quotes the entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAllow {
    /// Neither a network nor a host.
    #[error(
        "`{0}` is neither a network such as 10.0.0.0/8 nor a host with a port such as mcp.internal:8080."
    )]
    Entry(String),
    /// A host name without its port.
    #[error("`{0}` needs a port, as in `{0}:8080`.")]
    PortMissing(String),
    /// A port that is none, or a range that is empty.
    #[error("`{0}` has no valid port: give a number from 1 to 65535, or a range such as 8000-9000.")]
    Port(String),
}

impl EgressAllow {
    /// Whether nothing is allowed besides public addresses.
    pub fn is_empty(&self) -> bool {
        self.nets.is_empty() && self.names.is_empty()
    }

    /// Whether the operator has allowed this address at this port.
    pub fn allows_address(&self, address: IpAddr, port: u16) -> bool {
        self.nets.iter().any(|(net, ports)| ports.0.contains(&port) && net.contains(&address))
    }

    /// Whether the operator has allowed this name at this port, to whatever it resolves.
    pub fn allows_name(&self, name: &str, port: u16) -> bool {
        let name = canonical(name);
        self.names.iter().any(|(allowed, ports)| ports.0.contains(&port) && *allowed == name)
    }

    /// The same, and this URL's own host at its port.
    pub(super) fn with_origin(&self, url: &Url) -> Self {
        let mut wider = self.clone();
        if let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) {
            let port = Ports(port..=port);
            match host {
                Host::Domain(name) => wider.names.push((canonical(name), port)),
                Host::Ipv4(address) => wider.nets.push((IpAddr::V4(address).into(), port)),
                Host::Ipv6(address) => wider.nets.push((IpAddr::V6(address).into(), port)),
            }
        }
        wider
    }

    /// The same, and these addresses at a port.
    pub(super) fn with_addresses(&self, addresses: impl Iterator<Item = IpAddr>, port: u16) -> Self {
        let mut wider = self.clone();
        wider.nets.extend(addresses.map(|address| (address.into(), Ports(port..=port))));
        wider
    }

    /// The entries that apply at a port, without their ports.
    pub(super) fn at(&self, port: u16) -> (Vec<IpNet>, Vec<String>) {
        let nets = self.nets.iter().filter(|(_, ports)| ports.0.contains(&port)).map(|(net, _)| *net);
        let names =
            self.names.iter().filter(|(_, ports)| ports.0.contains(&port)).map(|(name, _)| name.clone());
        (nets.collect(), names.collect())
    }

    fn push(&mut self, entry: &str) -> Result<(), InvalidAllow> {
        let unreadable = || InvalidAllow::Entry(entry.to_owned());
        if let Some((address, rest)) = entry.split_once('/') {
            let (prefix, ports) = match rest.split_once(':') {
                Some((prefix, ports)) => (prefix, parse_ports(entry, ports)?),
                None => (rest, Ports::ALL),
            };
            let address: IpAddr = unbracket(address).parse().map_err(|_| unreadable())?;
            let prefix = prefix.parse().map_err(|_| unreadable())?;
            let net = IpNet::new(address, prefix).map_err(|_| unreadable())?;
            self.nets.push((net.trunc(), ports));
            return Ok(());
        }
        if let Ok(address) = unbracket(entry).parse::<IpAddr>() {
            self.nets.push((address.into(), Ports::ALL));
            return Ok(());
        }
        let (host, ports) = entry.rsplit_once(':').map_or((entry, None), |(host, ports)| (host, Some(ports)));
        if host.is_empty() || host.contains('*') {
            return Err(unreadable());
        }
        let host = Host::parse(host).map_err(|_| unreadable())?;
        let ports = parse_ports(entry, ports.ok_or_else(|| InvalidAllow::PortMissing(entry.to_owned()))?)?;
        match host {
            Host::Domain(name) => self.names.push((canonical(&name), ports)),
            Host::Ipv4(address) => self.nets.push((IpAddr::V4(address).into(), ports)),
            Host::Ipv6(address) => self.nets.push((IpAddr::V6(address).into(), ports)),
        }
        Ok(())
    }
}

impl FromStr for EgressAllow {
    type Err = InvalidAllow;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut allow = Self::default();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            allow.push(entry)?;
        }
        Ok(allow)
    }
}

impl fmt::Display for EgressAllow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nets = self.nets.iter().map(|(net, ports)| match net {
            IpNet::V6(net) if *ports != Ports::ALL => {
                format!("[{}]/{}{ports}", net.addr(), net.prefix_len())
            }
            _ => format!("{net}{ports}"),
        });
        let names = self.names.iter().map(|(name, ports)| format!("{name}{ports}"));
        f.write_str(&nets.chain(names).collect::<Vec<_>>().join(","))
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.0.start(), self.0.end());
        match () {
            () if *self == Self::ALL => Ok(()),
            () if first == last => write!(f, ":{first}"),
            () => write!(f, ":{first}-{last}"),
        }
    }
}

/// A host name as it is compared: lower case, without the dot of the root.
pub(super) fn canonical(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

fn unbracket(text: &str) -> &str {
    text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text)
}

fn parse_ports(entry: &str, text: &str) -> Result<Ports, InvalidAllow> {
    let invalid = || InvalidAllow::Port(entry.to_owned());
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(invalid);
    let range = match text.split_once('-') {
        Some((first, last)) => port(first)?..=port(last)?,
        None => port(text)?..=port(text)?,
    };
    if range.is_empty() { Err(invalid()) } else { Ok(Ports(range)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow(text: &str) -> EgressAllow {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn ssr_07_networks_with_and_without_ports() {
        let list = allow("10.0.0.0/8, 127.0.0.0/8:8000-9000,[::1]/128:443 , ::2/128,fd00::/8:80");
        assert!(list.allows_address(ip("10.1.2.3"), 22));
        assert!(!list.allows_address(ip("11.1.2.3"), 22));
        assert!(list.allows_address(ip("127.0.0.2"), 8000) && list.allows_address(ip("127.0.0.2"), 9000));
        assert!(!list.allows_address(ip("127.0.0.2"), 7999) && !list.allows_address(ip("127.0.0.2"), 9001));
        assert!(list.allows_address(ip("::1"), 443) && !list.allows_address(ip("::1"), 80));
        assert!(list.allows_address(ip("::2"), 1));
        assert!(list.allows_address(ip("fd12::1"), 80) && !list.allows_address(ip("fd12::1"), 81));
        // A mapped address is not the address that it carries.
        assert!(!list.allows_address(ip("::ffff:10.0.0.1"), 80));
    }

    #[test]
    fn ssr_07_hosts_with_ports() {
        let list = allow("MCP.internal.:8080,10.0.0.5:9000,[::1]:7000,192.168.0.1");
        assert!(list.allows_name("mcp.internal", 8080) && list.allows_name("MCP.INTERNAL.", 8080));
        assert!(!list.allows_name("mcp.internal", 8081) && !list.allows_name("x.mcp.internal", 8080));
        assert!(list.allows_address(ip("10.0.0.5"), 9000) && !list.allows_address(ip("10.0.0.5"), 9001));
        assert!(list.allows_address(ip("::1"), 7000));
        assert!(list.allows_address(ip("192.168.0.1"), 1));
        assert!(allow("").is_empty() && allow(" , ").is_empty() && !list.is_empty());
    }

    #[test]
    fn ssr_07_a_list_prints_as_it_is_parsed() {
        let list = allow("10.9.9.9/8,127.0.0.0/8:8000-9000,[::1]/128:443,fd00::/8,mcp.internal:80");
        assert_eq!(
            list.to_string(),
            "10.0.0.0/8,127.0.0.0/8:8000-9000,[::1]/128:443,fd00::/8,mcp.internal:80"
        );
        assert_eq!(allow(&list.to_string()), list);
    }

    #[test]
    fn ssr_07_our_own_address_is_let_in_at_its_port_alone() {
        let list = allow("10.0.0.0/8");
        let own = |url: &str| list.with_origin(&Url::parse(url).unwrap());
        assert!(own("https://Gate.test/x").allows_name("gate.test", 443));
        assert!(!own("https://gate.test").allows_name("gate.test", 80));
        assert!(!own("https://gate.test").allows_name("x.gate.test", 443));
        assert!(own("http://127.0.0.1:3000").allows_address(ip("127.0.0.1"), 3000));
        assert!(!own("http://127.0.0.1:3000").allows_address(ip("127.0.0.1"), 3001));
        assert!(!own("http://127.0.0.1:3000").allows_address(ip("127.0.0.2"), 3000));
        assert!(own("http://[::1]:3000").allows_address(ip("::1"), 3000));
        assert!(own("http://[::1]:3000").allows_address(ip("10.1.1.1"), 22), "what was allowed stays so");
    }

    #[test]
    fn ssr_07_mistakes_are_named_in_one_sentence() {
        for (text, error) in [
            ("mcp.internal", InvalidAllow::PortMissing("mcp.internal".into())),
            ("*.internal:80", InvalidAllow::Entry("*.internal:80".into())),
            (":80", InvalidAllow::Entry(":80".into())),
            ("10.0.0.0/33", InvalidAllow::Entry("10.0.0.0/33".into())),
            ("10.0.0.0/8:0", InvalidAllow::Port("10.0.0.0/8:0".into())),
            ("10.0.0.0/8:9-8", InvalidAllow::Port("10.0.0.0/8:9-8".into())),
            ("a.test:http", InvalidAllow::Port("a.test:http".into())),
            ("https://a.test", InvalidAllow::Entry("https://a.test".into())),
        ] {
            assert_eq!(text.parse::<EgressAllow>().unwrap_err(), error, "{text}");
        }
        assert_eq!(
            "mcp.internal".parse::<EgressAllow>().unwrap_err().to_string(),
            "`mcp.internal` needs a port, as in `mcp.internal:8080`."
        );
    }
}
