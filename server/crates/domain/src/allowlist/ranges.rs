//! Ranges of addresses: how they are read, and whether an address is in one (IPA-02).

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use model::AppError;
use serde::{Deserialize, Serialize};

/// One range, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Range {
    #[serde(with = "as_text")]
    pub(crate) net: IpNet,
    pub(crate) note: String,
    pub(crate) by: String,
    pub(crate) at: i64,
}

/// A range in JSON is its text.
mod as_text {
    use ipnet::IpNet;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(net: &IpNet, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(net)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<IpNet, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// A list, as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct List {
    /// Whether it is enforced.
    pub(crate) on: bool,
    pub(crate) ranges: Vec<Range>,
}

impl List {
    /// Whether an address is in one of the ranges, enforced or not. An unknown one is in none (IPA-01).
    pub(crate) fn contains(&self, address: Option<IpAddr>) -> bool {
        address
            .map(unmapped)
            .is_some_and(|address| self.ranges.iter().any(|range| range.net.contains(&address)))
    }

    /// Whether the list, with this range besides, lets in so many that it might as well be off: the range alone is wider than
    /// the widest that one network is given (/8, or /16 of IPv6), or all together are a sixteenth of the IPv4 addresses or
    /// a 256th of the IPv6 ones, of which no more than an eighth are in use anywhere.
    pub(crate) fn opened_by(&self, net: IpNet) -> bool {
        let (widest, all): (u8, u8) = if net.addr().is_ipv4() { (8, 4) } else { (16, 8) };
        if net.prefix_len() < widest {
            return true;
        }
        let mut nets: Vec<IpNet> = self.ranges.iter().map(|range| range.net).collect();
        if nets.iter().any(|known| known.contains(&net)) {
            return false;
        }
        nets.push(net);
        // In units of the smallest network that can make a difference: a /24, a /64. Many smaller ones count as one each.
        let unit: u8 = if net.addr().is_ipv4() { 24 } else { 64 };
        let same = IpNet::aggregate(&nets);
        let same = same.iter().filter(|one| one.addr().is_ipv4() == net.addr().is_ipv4());
        let wide: u64 = same.map(|one| 1u64 << unit.saturating_sub(one.prefix_len()).min(63)).sum();
        wide >= 1 << (unit - all)
    }

    /// Whether a request from this address may come in.
    pub(crate) fn admits(&self, address: Option<IpAddr>) -> bool {
        !self.on || self.contains(address)
    }
}

/// An IPv4 address in IPv6's clothes as what it is.
pub(crate) fn unmapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// Reads an address or a range as somebody typed it. Host bits are refused, with what was probably meant.
pub(crate) fn parse(text: &str) -> Result<IpNet, AppError> {
    let at = |code: &str, words: String| AppError::field("range", code, words);
    let text = text.trim();
    if text.is_empty() {
        return Err(at("required", "Enter an address or a range".to_owned()));
    }
    let unreadable = || {
        at(
            "range_form",
            "Enter an address such as 203.0.113.7 or 2001:db8::7, or a range such as 203.0.113.0/24"
                .to_owned(),
        )
    };
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    // The zone of a link-local address means something on one machine only.
    let address = address.split('%').next().unwrap_or_default();
    let address: IpAddr = address.parse().map_err(|_| unreadable())?;
    let whole = if address.is_ipv4() { 32 } else { 128 };
    let prefix: u8 = match prefix {
        None => whole,
        Some(prefix) if prefix.bytes().all(|b| b.is_ascii_digit()) => {
            prefix.parse().map_err(|_| unreadable())?
        }
        Some(_) => return Err(unreadable()),
    };
    let net = IpNet::new(address, prefix).map_err(|_| unreadable())?;
    let net = match net {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => match v6.addr().to_ipv4_mapped() {
            Some(v4) => IpNet::V4(Ipv4Net::new(v4, v6.prefix_len() - 96).map_err(|_| unreadable())?),
            None => net,
        },
        _ => net,
    };
    if net.trunc() != net {
        let words = format!("{net} has bits set behind its prefix. Did you mean {}?", net.trunc());
        return Err(at("host_bits", words));
    }
    Ok(net)
}

/// Whether a range is everybody.
pub(crate) fn is_everybody(net: &IpNet) -> bool {
    net.prefix_len() == 0
}

/// An address as it is compared with ranges, from the text in a log.
pub(crate) fn read_address(text: &str) -> Option<IpAddr> {
    text.parse().ok().filter(|address| *address != IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipa_02_ranges_are_read_as_people_write_them() {
        for (typed, read) in [
            ("203.0.113.7", "203.0.113.7/32"),
            (" 203.0.113.0/24 ", "203.0.113.0/24"),
            ("2001:DB8::/48", "2001:db8::/48"),
            ("2001:db8::7", "2001:db8::7/128"),
            ("::ffff:1.2.3.4", "1.2.3.4/32"),
            ("::ffff:1.2.3.0/120", "1.2.3.0/24"),
            ("fe80::1%eth0", "fe80::1/128"),
            ("0.0.0.0/0", "0.0.0.0/0"),
        ] {
            assert_eq!(parse(typed).map(|net| net.to_string()).as_deref(), Ok(read), "{typed}");
        }
        for (typed, meant) in [("10.0.0.5/8", "10.0.0.0/8"), ("2001:db8::7/64", "2001:db8::/64")] {
            let error = parse(typed).unwrap_err();
            assert_eq!(error.code, "host_bits");
            assert!(error.message.contains(&format!("Did you mean {meant}?")), "{}", error.message);
        }
        for bad in
            ["", "10", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/+8", "::/129", "host.example", "10.0.0.0/8/8"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn pin_04_a_list_of_nearly_everybody_is_as_good_as_none() {
        let list = |texts: &[&str]| {
            let range = |text: &&str| Range {
                net: parse(text).unwrap(),
                note: String::new(),
                by: String::new(),
                at: 0,
            };
            List { on: true, ranges: texts.iter().map(range).collect() }
        };
        let opens = |known: &[&str], new: &str| list(known).opened_by(parse(new).unwrap());
        for everybody in ["0.0.0.0/0", "::/0", "128.0.0.0/1", "2000::/3", "64.0.0.0/7", "2600::/15"] {
            assert!(opens(&[], everybody), "{everybody}");
        }
        for network in ["10.0.0.0/8", "203.0.113.0/24", "203.0.113.7", "2001:db8::/32", "2600::/16"] {
            assert!(!opens(&["192.168.0.0/16", "11.0.0.0/8"], network), "{network}");
        }
        // In pieces.
        let pieces: Vec<String> = (16..31).map(|n| format!("{n}.0.0.0/8")).collect();
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
        assert!(opens(&pieces, "31.0.0.0/8") && opens(&pieces, "99.0.0.0/8"));
        assert!(!opens(&pieces[1..], "31.0.0.0/8") && !opens(&pieces, "10.1.0.0/16"));
        let known = opens(&["0.0.0.0/0"], "198.51.100.0/24");
        assert!(!known, "what is let in already opens nothing");
    }

    #[test]
    fn ipa_02_mapped_addresses_are_what_they_carry() {
        let range =
            |text: &str| Range { net: parse(text).unwrap(), note: String::new(), by: String::new(), at: 0 };
        let list = List { on: true, ranges: vec![range("1.2.3.4"), range("2001:db8::/32")] };
        let admits = |text: &str| list.admits(text.parse().ok());
        assert!(admits("1.2.3.4") && admits("::ffff:1.2.3.4") && admits("2001:db8:1::9"));
        assert!(
            !admits("1.2.3.5") && !admits("::ffff:1.2.3.5") && !admits("2001:db9::1") && !admits("::1.2.3.4")
        );
        assert!(!list.admits(None), "an address that nobody knows");
        assert!(List { on: false, ..list }.admits(None));
    }
}
