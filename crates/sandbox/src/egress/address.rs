//! Which addresses are public, and which names are addresses in disguise.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Lower case, without brackets and without a last dot.
pub(super) fn normal(host: &str) -> String {
    let host = host
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
        .unwrap_or(host);
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// What stands where a host name is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name to be resolved.
    Name,
    /// An address.
    Literal(IpAddr),
    /// A number that some resolvers would read as an address, such as `2130706433` or `0x7f.1`.
    Disguised,
    /// Nothing that is a host.
    Nonsense,
}

pub(super) fn kind(host: &str) -> Kind {
    if let Ok(address) = host.parse() {
        return Kind::Literal(address);
    }
    let sound = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    if host.len() > 253 || !host.split('.').all(sound) {
        return Kind::Nonsense;
    }
    // No top-level domain begins with a digit, and every numeric form of an address does.
    let last = host.rsplit('.').next().unwrap_or_default();
    if last
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_digit())
    {
        return Kind::Disguised;
    }
    Kind::Name
}

/// Whether an address is one of the public internet, also inside its disguises.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// The special-purpose registry of RFC 6890, as far as it is not reachable from everywhere.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = matches!(
        (a, b, c),
        (0 | 10 | 127 | 224..=255, _, _)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 168, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    );
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    if let Some(inner) = address.to_ipv4_mapped() {
        return is_public_v4(inner);
    }
    let [.., high, low] = address.segments();
    match (first, second) {
        // Translated to IPv4 by a gateway, and 6to4.
        (0x64, 0xff9b) => embedded(high, low),
        (0x2002, _) => {
            let [_, high, low, ..] = address.segments();
            embedded(high, low)
        }
        // Documentation, Teredo and other special blocks.
        (0x2001, 0..=0x1ff | 0xdb8) => false,
        // Global unicast is 2000::/3; everything else is local, multicast or unassigned.
        _ => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_hosts_networks_are_not_public() {
        for text in [
            "127.0.0.1",
            "10.1.2.3",
            "172.31.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:db8::1",
            "2001::1",
            "::7f00:1",
            "fec0::1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn public_addresses_are_public() {
        for text in [
            "1.1.1.1",
            "151.101.1.1",
            "172.32.0.1",
            "2606:4700::1",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
        ] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn numbers_in_disguise_are_not_names() {
        for text in [
            "2130706433",
            "0x7f000001",
            "127.1",
            "0177.0.0.1",
            "1.2.3.4.5",
            "a.0x7f",
        ] {
            assert_eq!(kind(text), Kind::Disguised, "{text}");
        }
        assert_eq!(kind("files.example.org"), Kind::Name);
        assert_eq!(kind("1.example"), Kind::Name);
        assert_eq!(kind("::1"), Kind::Literal(IpAddr::V6(Ipv6Addr::LOCALHOST)));
        for text in [
            "",
            ".",
            "a..b",
            "a b",
            "a/b",
            "a@b",
            "ä.example",
            "fe80::1%eth0",
        ] {
            assert_eq!(kind(text), Kind::Nonsense, "{text}");
        }
    }

    #[test]
    fn names_are_compared_in_one_form() {
        assert_eq!(normal("Example.ORG."), "example.org");
        assert_eq!(normal("[::1]"), "::1");
    }
}
