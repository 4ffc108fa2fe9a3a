//! Networks of clients, as `10.0.0.0/8` or a single address.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use super::value::{digits, quoted};
use crate::limits;

/// All addresses that begin with the same bits.
///
/// As read from text it has one form only: no bit is set below the prefix, IPv4 is never mapped into IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    /// The first address.
    pub address: IpAddr,
    /// Number of leading bits that count, at most 32 for IPv4 and 128 for IPv6.
    pub prefix: u8,
}

impl Network {
    /// Whether `address` belongs to this network; one mapped into IPv6 (`::ffff:10.0.0.1`) counts as IPv4.
    ///
    /// A network of one kind holds no address of the other: `::/0` is all of IPv6 only.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let (own, other) = (self.address.to_canonical(), address.to_canonical());
        if own.is_ipv4() != other.is_ipv4() {
            return false;
        }
        (bits(own) ^ bits(other)) & !below(own, self.prefix) == 0
    }
}

/// An address as a number, an IPv4 one in the lowest 32 bits.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The bits that do not count under that prefix.
fn below(address: IpAddr, prefix: u8) -> u128 {
    let free = width(address).saturating_sub(prefix);
    1u128.checked_shl(free.into()).map_or(u128::MAX, |bit| bit - 1)
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl FromStr for Network {
    type Err = String;

    /// Reads `address/prefix` or an address alone; the error is one line that does not repeat the value.
    fn from_str(text: &str) -> Result<Self, String> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| not_an_address(address))?;
        let width = width(address);
        let prefix = match prefix {
            None => width,
            Some(text) => digits(text)
                .filter(|prefix| *prefix <= width)
                .ok_or_else(|| format!("prefix {} must be a whole number from 0 to {width}", quoted(text)))?,
        };
        let set_below = bits(address) & below(address, prefix);
        if set_below != 0 {
            let first = bits(address) ^ set_below;
            let first = match address {
                IpAddr::V4(_) => IpAddr::from((first as u32).to_be_bytes()),
                IpAddr::V6(_) => Ipv6Addr::from_bits(first).into(),
            };
            return Err(format!("has bits set below its prefix; write {first}/{prefix}"));
        }
        // The 96 bits of a mapped address's beginning are all below a shorter prefix, and the last is set.
        let canonical = address.to_canonical();
        Ok(Self { address: canonical, prefix: prefix - (width - self::width(canonical)) })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// What to write in place of something that is no address.
fn not_an_address(text: &str) -> String {
    let bare = text.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(bare, _)| bare);
    let without_port = bare.or_else(|| text.rsplit_once(':').map(|(address, _)| address));
    match without_port.and_then(|text| text.parse::<IpAddr>().ok()) {
        Some(address) => format!("an address alone, without brackets or a port; write {address}"),
        None => "not a numeric address or network; write it like 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32"
            .to_owned(),
    }
}

/// Reads comma-separated networks, in their order; white space around each is let pass.
///
/// # Errors
/// One line: the network at fault in quotes, what is wrong with it and what would be right.
pub fn parse_networks(list: &str) -> Result<Vec<Network>, String> {
    if list.trim().is_empty() {
        return Err(format!("{}: no network; write one or more, like 10.0.0.0/8", quoted(list)));
    }
    let mut networks: Vec<Network> = Vec::new();
    for element in list.split(',').map(str::trim) {
        if element.is_empty() {
            let wrong = "an empty element; put one comma between two networks and none at the ends";
            return Err(format!("{}: {wrong}", quoted(list)));
        }
        let network = element.parse().map_err(|reason| format!("{}: {reason}", quoted(element)))?;
        if networks.contains(&network) {
            return Err(format!("{}: given twice; name each network once", quoted(element)));
        }
        if networks.len() == limits::NETWORKS_MAX {
            return Err(format!("{}: at most {} networks are taken", quoted(element), limits::NETWORKS_MAX));
        }
        networks.push(network);
    }
    Ok(networks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap_or_else(|reason| panic!("{text}: {reason}"))
    }

    #[test]
    fn networks_are_read() {
        let cases = [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.0.0.0/08", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("192.0.2.7", "192.0.2.7/32"),
            ("192.0.2.7/32", "192.0.2.7/32"),
            ("192.0.2.128/25", "192.0.2.128/25"),
            ("::/0", "::/0"),
            ("::1", "::1/128"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("fe80::/10", "fe80::/10"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.0.0.1", "10.0.0.1/32"),
            ("::ffff:0.0.0.0/96", "0.0.0.0/0"),
        ];
        for (text, right) in cases {
            assert_eq!(network(text).to_string(), right, "{text}");
            assert_eq!(network(right), network(text), "{text}");
        }
        let list: Vec<String> =
            parse_networks(" ::1 ,10.0.0.0/8").expect("two").iter().map(Network::to_string).collect();
        assert_eq!(list, ["::1/128", "10.0.0.0/8"]);
    }

    #[test]
    fn bad_networks_are_refused() {
        const NOT: &str = "not a numeric address or network; write it like";
        let cases = [
            ("", "\"\": no network; write one or more, like 10.0.0.0/8"),
            (" ", "\" \": no network"),
            (",", "\",\": an empty element"),
            ("::1,", "\"::1,\": an empty element; put one comma between two networks and none at the ends"),
            ("10.0.0.1/8", "\"10.0.0.1/8\": has bits set below its prefix; write 10.0.0.0/8"),
            (
                "::1,255.255.255.255/0",
                "\"255.255.255.255/0\": has bits set below its prefix; write 0.0.0.0/0",
            ),
            ("2001:db8::1/32", "has bits set below its prefix; write 2001:db8::/32"),
            ("::ffff:10.0.0.0/95", "has bits set below its prefix; write ::fffe:0:0/95"),
            ("10.0.0.0/33", "prefix \"33\" must be a whole number from 0 to 32"),
            ("10.0.0.0/255.0.0.0", "prefix \"255.0.0.0\" must be a whole number from 0 to 32"),
            ("10.0.0.0/", "prefix \"\" must be"),
            ("10.0.0.0/-1", "prefix \"-1\" must be"),
            ("10.0.0.0/+8", "prefix \"+8\" must be"),
            ("10.0.0.0/8/8", "prefix \"8/8\" must be"),
            ("10.0.0.0/ 8", "prefix \" 8\" must be"),
            ("::/129", "prefix \"129\" must be a whole number from 0 to 128"),
            ("::/999999999999", "prefix \"999999999999\" must be"),
            ("10.0.0.1:80", "an address alone, without brackets or a port; write 10.0.0.1"),
            ("[::1]", "an address alone, without brackets or a port; write ::1"),
            ("[::1]:80", "without brackets or a port; write ::1"),
            ("localhost", NOT),
            ("10.0.0", NOT),
            ("10.0/16", NOT),
            ("010.0.0.1", NOT),
            ("10.0.0.256", NOT),
            ("10.0.0.0 /8", NOT),
            ("/8", NOT),
            ("fe80::1%eth0", NOT),
            ("::1\n,::2\n3", "\"::2\\n3\": not a numeric"),
            ("*", NOT),
            ("::1,0::1/128", "\"0::1/128\": given twice; name each network once"),
            ("10.0.0.1,::ffff:10.0.0.1", "\"::ffff:10.0.0.1\": given twice"),
        ];
        for (list, wrong) in cases {
            let message = parse_networks(list).expect_err(list);
            assert!(message.contains(wrong), "{list:?} gave {message:?}");
            assert!(!message.contains(char::is_control), "{list:?} gave {message:?}");
        }
    }

    #[test]
    fn networks_are_bounded() {
        let list = |count: usize| {
            (0..count).map(|i| format!("10.0.{}.{}", i / 256, i % 256)).collect::<Vec<_>>().join(",")
        };
        assert_eq!(parse_networks(&list(limits::NETWORKS_MAX)).map(|n| n.len()), Ok(limits::NETWORKS_MAX));
        let message = parse_networks(&list(limits::NETWORKS_MAX + 1)).expect_err("one too many");
        assert_eq!(message, "\"10.0.4.0\": at most 1024 networks are taken");
    }

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        let cases = [
            ("10.0.0.0/8", "10.0.0.0", true),
            ("10.0.0.0/8", "10.255.255.255", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "9.255.255.255", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("10.0.0.0/8", "::ffff:11.1.2.3", false),
            ("10.0.0.0/8", "::10.1.2.3", false),
            ("10.0.0.0/8", "a00::", false),
            ("::ffff:10.0.0.0/104", "10.1.2.3", true),
            ("192.0.2.128/25", "192.0.2.127", false),
            ("192.0.2.128/25", "192.0.2.128", true),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.6", false),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "::ffff:1.2.3.4", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::", true),
            ("::/0", "ffff::", true),
            ("::/0", "1.2.3.4", false),
            ("::/0", "::ffff:1.2.3.4", false),
            ("2001:db8::/33", "2001:db8:7fff::1", true),
            ("2001:db8::/33", "2001:db8:8000::1", false),
            ("::1", "::1", true),
            ("::1", "::2", false),
            ("::1", "0.0.0.1", false),
        ];
        for (text, address, right) in cases {
            let address: IpAddr = address.parse().expect(address);
            assert_eq!(network(text).contains(address), right, "{text} {address}");
        }
    }

    /// Fields are open, so that any value must at least not panic.
    #[test]
    fn a_prefix_too_long_is_as_long_as_the_address() {
        let address: IpAddr = "10.0.0.1".parse().expect("an address");
        assert!(Network { address, prefix: 255 }.contains(address));
        assert!(!Network { address, prefix: 255 }.contains("10.0.0.0".parse().expect("an address")));
        assert!(Network { address, prefix: 8 }.contains("10.9.9.9".parse().expect("an address")));
    }
}
