//! The egress guard: which URLs and which addresses Gatehouse connects to (SSR-02, SSR-03).
//!
//! [`check_url`] judges what a URL says by itself and is good for an early answer in a form; it promises nothing about the
//! addresses behind a name. Those are judged when a connection is made, by `net::outbound`.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use url::{Host, Url};

use super::allow::{EgressAllow, canonical};

/// Why a destination is refused; `Display` is a sentence for people and names no address (SSR-08).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Blocked {
    /// Neither `https` nor, for a destination that the operator has allowed, `http`.
    #[error("Gatehouse connects by https only. An operator can allow this one with GATEHOUSE_EGRESS_ALLOW.")]
    Scheme,
    /// A user name or a password in the URL.
    #[error("Put credentials into a header, not into the URL.")]
    Credentials,
    /// No host.
    #[error("Enter a URL with a host, such as https://mcp.example.com/mcp.")]
    Host,
    /// A port on which no web server is expected.
    #[error("Gatehouse does not connect to this port. An operator can allow it with GATEHOUSE_EGRESS_ALLOW.")]
    Port,
    /// An address that is private, local or reserved, or a name for one.
    #[error(
        "Gatehouse does not connect to private or local addresses. An operator can allow this one with GATEHOUSE_EGRESS_ALLOW."
    )]
    Address,
}

/// Judges a URL by what it says: scheme, credentials, port, and a host that is an address or a well-known local name.
///
/// A name that passes may still be refused when it is resolved.
pub fn check_url(url: &Url, allow: &EgressAllow) -> Result<(), Blocked> {
    Rules::of(url, allow).map(drop)
}

/// Whether an address may be connected to at a port: a public one that is not ours, or one that the operator has allowed.
pub fn address_allowed(address: IpAddr, port: u16, allow: &EgressAllow) -> bool {
    allow.allows_address(address, port) || (is_public(address) && !is_own(address))
}

/// What decides about the addresses of one connection. Destinations with equal rules may share connections' settings.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Rules {
    /// Whether public addresses will do, or why not.
    public: Result<(), Blocked>,
    /// The networks that the operator has allowed at this port.
    nets: Vec<IpNet>,
    /// The names that the operator has allowed at this port.
    names: Vec<String>,
}

impl Rules {
    /// The rules for a URL that passes [`check_url`].
    pub(super) fn of(url: &Url, allow: &EgressAllow) -> Result<Self, Blocked> {
        let secure = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(Blocked::Scheme),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Blocked::Credentials);
        }
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(Blocked::Host);
        };
        let public = match () {
            () if !secure => Err(Blocked::Scheme),
            () if !public_port(port) => Err(Blocked::Port),
            () => Ok(()),
        };
        let (nets, names) = allow.at(port);
        let rules = Self { public, nets, names };
        match host {
            Host::Ipv4(address) => rules.check_address(address.into())?,
            Host::Ipv6(address) => rules.check_address(address.into())?,
            Host::Domain(name) if rules.allows_name(name) => {}
            Host::Domain(name) => {
                if local_name(&canonical(name)) {
                    return Err(Blocked::Address);
                }
                // A name that might resolve into an allowed network is judged by its addresses.
                if rules.nets.is_empty() {
                    rules.public?;
                }
            }
        }
        Ok(rules)
    }

    /// Judges all addresses of a name: one that is refused refuses them all (SSR-01), or a name with mixed answers would
    /// get through by retrying.
    pub(super) fn check_name(&self, name: &str, addresses: &[IpAddr]) -> Result<(), Blocked> {
        if self.allows_name(name) {
            return Ok(());
        }
        addresses.iter().try_for_each(|address| self.check_address(*address))
    }

    fn check_address(&self, address: IpAddr) -> Result<(), Blocked> {
        if self.nets.iter().any(|net| net.contains(&address)) {
            Ok(())
        } else if !is_public(address) || is_own(address) {
            Err(Blocked::Address)
        } else {
            self.public
        }
    }

    fn allows_name(&self, name: &str) -> bool {
        self.names.contains(&canonical(name))
    }
}

/// Ports of services that have no business with an MCP gateway, though they are above 1023.
const REFUSED_PORTS: [u16; 19] = [
    1433, 1521, 2375, 2376, 2379, 2380, 3306, 3389, 5432, 5984, 6379, 9200, 9300, 10250, 10255, 11211, 27017,
    27018, 27019,
];

/// Whether a public address may be reached at this port (SSR-03).
fn public_port(port: u16) -> bool {
    port == 443 || (port >= 1024 && !REFUSED_PORTS.contains(&port))
}

/// Whether a canonical name is a known name of this host or of a cloud's metadata service.
fn local_name(name: &str) -> bool {
    const METADATA: [&str; 7] = [
        "instance-data",
        "instance-data.ec2.internal",
        "metadata",
        "metadata.azure.internal",
        "metadata.goog",
        "metadata.google.internal",
        "metadata.internal",
    ];
    name.is_empty()
        || name == "localhost"
        || name.ends_with(".localhost")
        || name == "localhost.localdomain"
        || METADATA.contains(&name)
}

const fn net4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn net6(a: u16, b: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), prefix)
}

const REFUSED_V4: [Ipv4Net; 16] = [
    net4(0, 0, 0, 0, 8),        // this host
    net4(10, 0, 0, 0, 8),       // private
    net4(100, 64, 0, 0, 10),    // carrier-grade NAT
    net4(127, 0, 0, 0, 8),      // loopback
    net4(168, 63, 129, 16, 32), // Azure's wire server: a public number that is answered inside the host
    net4(169, 254, 0, 0, 16),   // link-local, metadata services
    net4(172, 16, 0, 0, 12),    // private
    net4(192, 0, 0, 0, 24),     // protocol assignments
    net4(192, 0, 2, 0, 24),     // documentation
    net4(192, 88, 99, 0, 24),   // 6to4 relays
    net4(192, 168, 0, 0, 16),   // private
    net4(198, 18, 0, 0, 15),    // benchmarking
    net4(198, 51, 100, 0, 24),  // documentation
    net4(203, 0, 113, 0, 24),   // documentation
    net4(224, 0, 0, 0, 4),      // multicast
    net4(240, 0, 0, 0, 4),      // reserved, broadcast
];

/// The only allocated unicast space. Everything that maps, embeds or is local lies outside of it, but for the exceptions below.
const GLOBAL_V6: Ipv6Net = net6(0x2000, 0, 3);

const REFUSED_V6: [Ipv6Net; 4] = [
    net6(0x2001, 0, 23),     // protocol assignments, Teredo, ORCHID, benchmarking
    net6(0x2001, 0xdb8, 32), // documentation
    net6(0x2002, 0, 16),     // 6to4
    net6(0x3fff, 0, 20),     // documentation
];

/// Whether an address is one of the public Internet (SSR-02).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !REFUSED_V4.iter().any(|net| net.contains(&address)),
        IpAddr::V6(address) => {
            GLOBAL_V6.contains(&address) && !REFUSED_V6.iter().any(|net| net.contains(&address))
        }
    }
}

/// Whether an address is one of this machine's own: behind a public one there may be services that only this machine reaches.
fn is_own(address: IpAddr) -> bool {
    static OWN: LazyLock<Vec<IpAddr>> = LazyLock::new(|| {
        // Linux tells without a system call of its own; elsewhere only the ranges above protect.
        let v4 = std::fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
        let v6 = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
        own_v4(&v4).map(IpAddr::V4).chain(own_v6(&v6).map(IpAddr::V6)).collect()
    });
    OWN.contains(&address)
}

/// The local addresses in `/proc/net/fib_trie`: a line with the address, then one with `/32 host LOCAL`.
fn own_v4(trie: &str) -> impl Iterator<Item = Ipv4Addr> {
    let mut last = None;
    trie.lines().filter_map(move |line| {
        if let Some(address) = line.trim_start().strip_prefix("|-- ") {
            last = address.trim().parse().ok();
            return None;
        }
        line.contains("/32 host LOCAL").then_some(last).flatten()
    })
}

/// The addresses in `/proc/net/if_inet6`: 32 hexadecimal digits at the start of each line.
fn own_v6(table: &str) -> impl Iterator<Item = Ipv6Addr> {
    table.lines().filter_map(|line| {
        let digits = line.split_whitespace().next().filter(|digits| digits.len() == 32)?;
        u128::from_str_radix(digits, 16).ok().map(Ipv6Addr::from_bits)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, allow: &str) -> Result<(), Blocked> {
        check_url(&Url::parse(url).unwrap_or_else(|e| panic!("{url}: {e}")), &allow.parse().unwrap())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn ssr_02_every_reserved_range_is_refused_at_both_ends() {
        for range in [
            ("0.0.0.0", "0.255.255.255"),
            ("10.0.0.0", "10.255.255.255"),
            ("100.64.0.0", "100.127.255.255"),
            ("127.0.0.0", "127.255.255.255"),
            ("168.63.129.16", "168.63.129.16"),
            ("169.254.0.0", "169.254.255.255"),
            ("172.16.0.0", "172.31.255.255"),
            ("192.0.0.0", "192.0.0.255"),
            ("192.0.2.0", "192.0.2.255"),
            ("192.88.99.0", "192.88.99.255"),
            ("192.168.0.0", "192.168.255.255"),
            ("198.18.0.0", "198.19.255.255"),
            ("198.51.100.0", "198.51.100.255"),
            ("203.0.113.0", "203.0.113.255"),
            ("224.0.0.0", "239.255.255.255"),
            ("240.0.0.0", "255.255.255.255"),
            ("::", "::1"),
            ("::0.0.0.2", "::255.255.255.255"),
            ("::ffff:0.0.0.0", "::ffff:255.255.255.255"),
            ("::ffff:8.8.8.8", "::ffff:127.0.0.1"),
            ("64:ff9b::", "64:ff9b::ffff:ffff"),
            ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff"),
            ("100::", "100::ffff:ffff:ffff:ffff"),
            ("2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("2001:2::", "2001:20::1"),
            ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("fd00:ec2::254", "fd20:ce::254"),
            ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("1::1", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("4000::", "8000::1"),
        ] {
            for address in [ip(range.0), ip(range.1)] {
                assert!(!address_allowed(address, 443, &EgressAllow::default()), "{address}");
            }
        }
    }

    #[test]
    fn ssr_02_the_public_internet_is_allowed() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2003::1",
            "2600::1",
            "2a00::1",
            "3ffe:ffff::1",
            "3fff:1000::1",
        ] {
            assert!(address_allowed(ip(address), 443, &EgressAllow::default()), "{address}");
        }
    }

    #[test]
    fn ssr_02_every_spelling_of_a_local_host_is_refused() {
        for host in [
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "0177.0.0.1",
            "127.1",
            "127.0.1",
            "127.0.0.1.",
            "0",
            "0.0.0.0",
            "[::]",
            "[::1]",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:7f00:1]",
            "[0:0:0:0:0:ffff:127.0.0.1]",
            "[::127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[64:ff9b::169.254.169.254]",
            "[2002:7f00:1::]",
            "[2001:0:7f00:1::]",
            "[fe80::1]",
            "[fec0::1]",
            "[fd00:ec2::254]",
            "localhost",
            "localhost.",
            "LOCALHOST",
            "LocalHost.",
            "foo.localhost",
            "foo.LOCALHOST.",
            "localhost.localdomain",
            "%6c%6fcalhost",
            "１２７．０．０．１",
            "127。0。0。1",
            "ⓛocalhost",
            "169.254.169.254",
            "0xa9fea9fe",
            "metadata.google.internal",
            "METADATA.google.internal.",
            "metadata",
            "metadata.goog",
            "instance-data",
            "100.100.100.200",
            "192.168.1.1",
            "10.0.0.1",
        ] {
            for url in [format!("https://{host}/mcp"), format!("https://{host}:8443/")] {
                assert_eq!(check(&url, ""), Err(Blocked::Address), "{url}");
            }
        }
    }

    #[test]
    fn ssr_02_tricks_with_authorities() {
        // The host is what the URL standard says it is, and that is also what is dialled.
        assert_eq!(check("https://ok.test@127.0.0.1/", ""), Err(Blocked::Credentials));
        assert_eq!(check("https://a:b@ok.test/", ""), Err(Blocked::Credentials));
        assert_eq!(check("https://127.0.0.1#@ok.test", ""), Err(Blocked::Address));
        assert_eq!(check("https://127.0.0.1?@ok.test", ""), Err(Blocked::Address));
        assert_eq!(check(r"https://127.0.0.1\@ok.test", ""), Err(Blocked::Address));
        assert_eq!(check(r"https:\\127.0.0.1\x", ""), Err(Blocked::Address));
        assert_eq!(check("https:127.0.0.1", ""), Err(Blocked::Address));
        assert_eq!(check("https://127.0.0.1\t/", ""), Err(Blocked::Address));
        assert_eq!(check("https://127.0.\n0.1/", ""), Err(Blocked::Address));
        for unparseable in
            ["https://", "https://[::1", "https://127.0.0.1.%00/", "https://a b/", "https://256.0.0.1/"]
        {
            assert!(Url::parse(unparseable).is_err(), "{unparseable}");
        }
    }

    #[test]
    fn ssr_03_https_only_unless_allowed() {
        assert_eq!(check("https://mcp.example.com/mcp", ""), Ok(()));
        assert_eq!(check("http://mcp.example.com/mcp", ""), Err(Blocked::Scheme));
        for url in [
            "file:///etc/passwd",
            "gopher://a.test/",
            "ftp://a.test/",
            "data:text/plain,x",
            "gatehouse:demo",
            "ws://a.test",
        ] {
            assert_eq!(check(url, "0.0.0.0/0"), Err(Blocked::Scheme), "{url}");
        }
        assert_eq!(check("http://8.8.8.8/", ""), Err(Blocked::Scheme));
        assert_eq!(check("http://127.0.0.1/", ""), Err(Blocked::Address));
    }

    #[test]
    fn ssr_03_ports() {
        for port in [443, 8443, 1024, 3000, 8080, 65535] {
            assert_eq!(check(&format!("https://a.test:{port}/"), ""), Ok(()), "{port}");
        }
        for port in [1, 22, 25, 80, 1023, 2375, 2376, 2379, 3306, 5432, 5984, 6379, 9200, 10250, 11211, 27017]
        {
            assert_eq!(check(&format!("https://a.test:{port}/"), ""), Err(Blocked::Port), "{port}");
            assert_eq!(check(&format!("https://8.8.8.8:{port}/"), ""), Err(Blocked::Port), "{port}");
        }
    }

    #[test]
    fn ssr_07_the_operator_allows_addresses_and_names() {
        let allow = "10.0.0.0/8,127.0.0.0/8:8000-9000,mcp.internal:80,localhost:3000,metadata:80";
        for url in [
            "http://10.1.2.3/",
            "https://10.1.2.3:22/",
            "http://127.0.0.1:8000/",
            "http://0x7f.1:9000/",
            "http://mcp.internal/",
            "https://MCP.internal.:80/",
            "http://localhost:3000/",
            // May resolve into 10.0.0.0/8; decided when it is dialled.
            "http://other.test/",
        ] {
            assert_eq!(check(url, allow), Ok(()), "{url}");
        }
        for (url, why) in [
            ("http://127.0.0.1:7999/", Blocked::Address),
            ("http://localhost:3001/", Blocked::Address),
            ("http://localhost:8000/", Blocked::Address),
            ("https://169.254.169.254/", Blocked::Address),
            ("http://8.8.8.8/", Blocked::Scheme),
            ("https://8.8.8.8:22/", Blocked::Port),
        ] {
            assert_eq!(check(url, allow), Err(why), "{url}");
        }
        assert_eq!(check("http://mcp.internal:81/", "mcp.internal:80"), Err(Blocked::Scheme));
    }

    #[test]
    fn ssr_01_one_refused_answer_refuses_all() {
        let rules =
            |url: &str, allow: &str| Rules::of(&Url::parse(url).unwrap(), &allow.parse().unwrap()).unwrap();
        let strict = rules("https://a.test/", "");
        assert_eq!(strict.check_name("a.test", &[ip("8.8.8.8"), ip("2600::1")]), Ok(()));
        assert_eq!(strict.check_name("a.test", &[ip("8.8.8.8"), ip("127.0.0.1")]), Err(Blocked::Address));
        assert_eq!(strict.check_name("a.test", &[ip("::1"), ip("8.8.8.8")]), Err(Blocked::Address));
        let http = rules("http://a.test/", "10.0.0.0/8");
        assert_eq!(http.check_name("a.test", &[ip("10.0.0.1")]), Ok(()));
        assert_eq!(http.check_name("a.test", &[ip("10.0.0.1"), ip("8.8.8.8")]), Err(Blocked::Scheme));
        let named = rules("http://a.test/", "a.test:80");
        assert_eq!(named.check_name("A.test.", &[ip("192.168.0.1")]), Ok(()));
    }

    #[test]
    fn ssr_02_own_addresses_are_read_from_proc() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     |-- 93.184.1.0\n        /24 link UNICAST\n\
            Local:\n        |-- 93.184.1.7\n           /32 host LOCAL\n        |-- 93.184.1.255\n           /32 link BROADCAST\n";
        assert_eq!(own_v4(trie).collect::<Vec<_>>(), [Ipv4Addr::new(93, 184, 1, 7)]);
        let table = "26001f18000000000000000000000007 02 40 00 80 eth0\n";
        assert_eq!(own_v6(table).map(IpAddr::V6).collect::<Vec<_>>(), [ip("2600:1f18::7")]);
    }
}
