//! Which addresses a name may lead to, and which names are addresses in disguise.

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

/// Whether a name on the list may lead to an address, also inside its disguises.
///
/// The list's names are the operator's own, so a mirror in a private network is reached. What no
/// name ever leads to is this machine, its neighbours on the link (the metadata services of clouds
/// among them), and addresses that are no single host.
pub(super) fn may_be_named(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => may_be_named_v4(address),
        IpAddr::V6(address) => may_be_named_v6(address),
    }
}

fn may_be_named_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, d] = address.octets();
    let refused = matches!(
        (a, b, c, d),
        // "This network", loopback, link-local, multicast, reserved and broadcast (RFC 6890).
        (0 | 127 | 224..=255, ..) | (169, 254, ..)
        // A metadata service outside the link-local block.
        | (100, 100, 100, 200)
    );
    !refused
}

fn may_be_named_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        may_be_named_v4(Ipv4Addr::new(a, b, c, d))
    };
    if let Some(inner) = address.to_ipv4_mapped() {
        return may_be_named_v4(inner);
    }
    let [.., high, low] = address.segments();
    match (first, second) {
        // Translated to IPv4 by a gateway, and 6to4.
        (0x64, 0xff9b) => embedded(high, low),
        (0x2002, _) => {
            let [_, high, low, ..] = address.segments();
            embedded(high, low)
        }
        // A metadata service with a private address.
        (0xfd00, 0xec2) => false,
        // Global unicast is 2000::/3, private networks are fc00::/7; everything else is local to
        // the machine or the link, multicast or unassigned.
        _ => first & 0xe000 == 0x2000 || first & 0xfe00 == 0xfc00,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_to_this_machine_its_link_or_a_metadata_service() {
        for text in [
            "127.0.0.1",
            "169.254.169.254",
            "100.100.100.200",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "::7f00:1",
            "fec0::1",
        ] {
            assert!(!may_be_named(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn names_lead_to_the_internet_and_to_mirrors_in_private_networks() {
        for text in [
            "1.1.1.1",
            "10.1.2.3",
            "172.31.0.1",
            "192.168.1.1",
            "203.0.113.80",
            "fd12::1",
            "2606:4700::1",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
        ] {
            assert!(may_be_named(text.parse().unwrap()), "{text}");
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
