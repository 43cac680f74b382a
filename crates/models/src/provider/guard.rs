//! Which addresses may be reached.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Whether a provider or a picture may be at an address. Where clouds answer their machines about
/// themselves (link-local addresses) nothing may ever be.
pub(crate) fn may_reach(address: IpAddr, private: bool) -> bool {
    match address {
        IpAddr::V4(address) => may_reach_v4(address, private),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => may_reach_v4(mapped, private),
            None => may_reach_v6(address, private),
        },
    }
}

fn may_reach_v4(address: Ipv4Addr, private: bool) -> bool {
    let [a, b, c, _] = address.octets();
    let never = address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_unspecified()
        // Alibaba's and Oracle's metadata.
        || address == Ipv4Addr::new(100, 100, 100, 200)
        // Azure's.
        || address == Ipv4Addr::new(168, 63, 129, 16)
        || (a == 192 && b == 0 && c == 0);
    let ours = address.is_private()
        || address.is_loopback()
        || a == 0
        // Behind a carrier's translation, for measuring, for documentation, reserved.
        || (a == 100 && (64..128).contains(&b))
        || (a == 198 && (b == 18 || b == 19))
        || address.is_documentation()
        || a >= 240;
    !never && (private || !ours)
}

fn may_reach_v6(address: Ipv6Addr, private: bool) -> bool {
    let [first, second, ..] = address.segments();
    let never = address.is_multicast()
        || address.is_unspecified()
        || address.is_unicast_link_local()
        // Amazon's metadata.
        || address == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)
        // Google's.
        || address == Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)
        // A translated IPv4 address leads where that one leads.
        || !translated(address).is_none_or(|inner| may_reach_v4(inner, true));
    // Embedded IPv4 addresses lead where those lead.
    let embedded = matches!((first, second), (0x64, 0xff9b) | (0x2002, _) | (0x2001, 0));
    let ours = address.is_loopback() || address.is_unique_local() || embedded;
    let documentation = first == 0x2001 && second == 0xdb8;
    !never && (private || !(ours || documentation))
}

/// The IPv4 address inside one of NAT64 (RFC 6052) or 6to4 (RFC 3056).
fn translated(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [first, second, third, .., seventh, eighth] = address.segments();
    let (high, low) = match (first, second) {
        (0x64, 0xff9b) => (seventh, eighth),
        (0x2002, _) => (second, third),
        _ => return None,
    };
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Some(Ipv4Addr::new(a, b, c, d))
}

/// Where a connection may lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// To public addresses.
    Public,
    /// To private ones, too.
    Private,
    /// To private ones alone: what is not encrypted goes through nobody else's network.
    Inside,
}

impl Reach {
    pub(super) fn allows(self, address: IpAddr) -> bool {
        match self {
            Self::Public => may_reach(address, false),
            Self::Private => may_reach(address, true),
            Self::Inside => may_reach(address, true) && !may_reach(address, false),
        }
    }
}

/// Resolves names, and leaves out addresses that must not be reached: a name that led somewhere
/// else when it was looked at leads nowhere.
#[derive(Debug, Clone, Copy)]
pub(super) struct Guarded(pub(super) Reach);

/// A name leads only to addresses that may not be reached.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` leads only to addresses that may not be reached")]
struct Forbidden(String);

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> =
                found.filter(|address| reach.allows(address.ip())).collect();
            if allowed.is_empty() {
                return Err(Forbidden(host).into());
            }
            let addresses: Addrs = Box::new(allowed.into_iter());
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inside_of_the_network_is_reached_only_where_that_was_allowed() {
        for (address, private, public) in [
            ("93.184.216.34", true, true),
            ("2606:4700::1", true, true),
            ("127.0.0.1", true, false),
            ("10.0.0.1", true, false),
            ("192.168.1.1", true, false),
            ("172.16.9.9", true, false),
            ("100.64.0.1", true, false),
            ("::1", true, false),
            ("fc00::1", true, false),
            ("::ffff:127.0.0.1", true, false),
            ("64:ff9b::7f00:1", true, false),
            ("169.254.169.254", false, false),
            ("::ffff:169.254.169.254", false, false),
            ("fe80::1", false, false),
            ("fd00:ec2::254", false, false),
            ("100.100.100.200", false, false),
            ("168.63.129.16", false, false),
            ("64:ff9b::a9fe:a9fe", false, false),
            ("2002:a9fe:a9fe::1", false, false),
            ("0.0.0.0", false, false),
            ("::", false, false),
        ] {
            let ip = address.parse().unwrap();
            assert_eq!(may_reach(ip, true), private, "{address} in private");
            assert_eq!(may_reach(ip, false), public, "{address} in public");
            let inside = private && !public;
            assert_eq!(Reach::Inside.allows(ip), inside, "{address} inside");
        }
    }
}
