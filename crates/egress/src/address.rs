//! Hides which addresses on the Internet are safe to send to: the IANA special-purpose registries
//! and the ways an IPv6 address can carry an IPv4 one, behind one question.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// Why `address` may not be reached, as a noun phrase such as "a private network (RFC 1918)";
/// `None` where it is an ordinary public unicast address.
///
/// Stricter than the registries' "globally reachable": whoever is in *any* special-purpose row is
/// refused, also the few rows (AS112, PCP and TURN anycast) that are reachable but serve the
/// network itself and never a webhook.
pub fn refusal(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => refusal_v4(address),
        IpAddr::V6(address) => refusal_v6(address),
    }
}

fn refusal_v4(address: Ipv4Addr) -> Option<&'static str> {
    SPECIAL_V4
        .iter()
        .find(|(net, _)| net.contains(&address))
        .map(|(_, what)| *what)
}

fn refusal_v6(address: Ipv6Addr) -> Option<&'static str> {
    if let Some((_, what)) = SPECIAL_V6.iter().find(|(net, _)| net.contains(&address)) {
        return Some(what);
    }
    if !GLOBAL_UNICAST.contains(&address) {
        return Some("an IPv6 range that is not assigned for use on the Internet (RFC 4291)");
    }
    is_isatap(address).then_some("an address that carries an IPv4 address (ISATAP, RFC 5214)")
}

/// ISATAP hides an IPv4 address behind the interface identifiers `0000:5efe` and `0200:5efe`, under
/// any prefix whatever.
fn is_isatap(address: Ipv6Addr) -> bool {
    let [.., high, low, _, _] = address.segments();
    (high == 0 || high == 0x0200) && low == 0x5efe
}

/// The IPv4 address that `address` carries for a mechanism of transition, and that its packets end up
/// at; `None` where it carries none.
pub fn carried(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [.., a, b] = address.segments();
    let last = || Some(two(a, b));
    let [first, second, third, ..] = address.segments();
    let in_row = |net: &Ipv6Net| net.contains(&address);
    if CARRIED_LAST.iter().any(in_row) || is_isatap(address) {
        return last();
    }
    match (first, second) {
        (0x2002, _) => Some(two(second, third)),
        // Teredo hides the client's address by turning each of its bits.
        (0x2001, 0) => Some(two(!a, !b)),
        _ => None,
    }
}

const fn two(high: u16, low: u16) -> Ipv4Addr {
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Ipv4Addr::new(a, b, c, d)
}

/// Ranges whose addresses carry an IPv4 address in their last 32 bits: IPv4-mapped, IPv4-translated,
/// IPv4-compatible, NAT64 and local NAT64.
const CARRIED_LAST: [Ipv6Net; 5] = [
    v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96),
    v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96),
    v6([0, 0, 0, 0, 0, 0, 0, 0], 96),
    WELL_KNOWN_NAT64,
    LOCAL_NAT64,
];

const WELL_KNOWN_NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);
const LOCAL_NAT64: Ipv6Net = v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48);

/// Returns true if `address` was made by DNS64 out of an IPv4 address, as far as its prefix shows
/// (RFC 6052, RFC 8215).
pub(crate) fn is_nat64(address: Ipv6Addr) -> bool {
    WELL_KNOWN_NAT64.contains(&address) || LOCAL_NAT64.contains(&address)
}

const METADATA: &str = "a cloud provider's metadata service";

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

/// The first matching row names the refusal, so the narrower rows come first.
///
/// Sources: the metadata addresses from the providers' own manuals (Azure's is a public address);
/// the rest is the IANA IPv4 Special-Purpose Address Registry, with multicast (RFC 5771) and the
/// reserved space.
const SPECIAL_V4: &[(Ipv4Net, &str)] = &[
    (v4(169, 254, 169, 254, 32), METADATA),
    (v4(168, 63, 129, 16, 32), METADATA),
    (v4(100, 100, 100, 200, 32), METADATA),
    (v4(192, 0, 0, 192, 32), METADATA),
    (v4(0, 0, 0, 0, 8), "\"this network\" (RFC 791)"),
    (v4(10, 0, 0, 0, 8), "a private network (RFC 1918)"),
    (
        v4(100, 64, 0, 0, 10),
        "a provider's shared address space (RFC 6598)",
    ),
    (v4(127, 0, 0, 0, 8), "the loopback range (RFC 1122)"),
    (v4(169, 254, 0, 0, 16), "the link-local range (RFC 3927)"),
    (v4(172, 16, 0, 0, 12), "a private network (RFC 1918)"),
    (
        v4(192, 0, 0, 0, 24),
        "the IETF protocol assignments (RFC 6890)",
    ),
    (v4(192, 0, 2, 0, 24), "a documentation range (RFC 5737)"),
    (v4(192, 31, 196, 0, 24), "the AS112 service (RFC 7535)"),
    (v4(192, 52, 193, 0, 24), "the AMT service (RFC 7450)"),
    (
        v4(192, 88, 99, 0, 24),
        "the deprecated 6to4 relay range (RFC 7526)",
    ),
    (v4(192, 168, 0, 0, 16), "a private network (RFC 1918)"),
    (v4(192, 175, 48, 0, 24), "the AS112 service (RFC 7534)"),
    (v4(198, 18, 0, 0, 15), "the benchmarking range (RFC 2544)"),
    (v4(198, 51, 100, 0, 24), "a documentation range (RFC 5737)"),
    (v4(203, 0, 113, 0, 24), "a documentation range (RFC 5737)"),
    (v4(224, 0, 0, 0, 4), "the multicast range (RFC 5771)"),
    (
        v4(255, 255, 255, 255, 32),
        "the limited broadcast address (RFC 919)",
    ),
    (v4(240, 0, 0, 0, 4), "the reserved range (RFC 1112)"),
];

const fn v6(segments: [u16; 8], prefix: u8) -> Ipv6Net {
    let [a, b, c, d, e, f, g, h] = segments;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix)
}

/// The only part of the IPv6 space handed out for the Internet so far (IANA IPv6 Global Unicast
/// Address Assignments).
const GLOBAL_UNICAST: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// The first matching row names the refusal, so the narrower rows come first.
///
/// Source: the IANA IPv6 Special-Purpose Address Registry. The rows outside 2000::/3 would be
/// refused anyway; they are here so that the sentence can name them.
const SPECIAL_V6: &[(Ipv6Net, &str)] = &[
    (v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128), METADATA),
    (v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128), METADATA),
    (
        v6([0, 0, 0, 0, 0, 0, 0, 0], 128),
        "the unspecified address (RFC 4291)",
    ),
    (
        v6([0, 0, 0, 0, 0, 0, 0, 1], 128),
        "the loopback address (RFC 4291)",
    ),
    (
        v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96),
        "an address that carries an IPv4 address (IPv4-mapped, RFC 4291)",
    ),
    (
        v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96),
        "an address that carries an IPv4 address (IPv4-translated, RFC 2765)",
    ),
    (
        v6([0, 0, 0, 0, 0, 0, 0, 0], 96),
        "an address that carries an IPv4 address (IPv4-compatible, RFC 4291)",
    ),
    (
        v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96),
        "an address that carries an IPv4 address (NAT64, RFC 6052)",
    ),
    (
        v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48),
        "an address that carries an IPv4 address (local NAT64, RFC 8215)",
    ),
    (
        v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64),
        "the discard-only range (RFC 6666)",
    ),
    (
        v6([0x100, 0, 0, 1, 0, 0, 0, 0], 64),
        "the dummy IPv6 prefix (RFC 9780)",
    ),
    (
        v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32),
        "an address that carries an IPv4 address (Teredo, RFC 4380)",
    ),
    (
        v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48),
        "the benchmarking range (RFC 5180)",
    ),
    (
        v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
        "the IETF protocol assignments (RFC 2928)",
    ),
    (
        v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
        "a documentation range (RFC 3849)",
    ),
    (
        v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16),
        "an address that carries an IPv4 address (6to4, RFC 3056)",
    ),
    (
        v6([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48),
        "the AS112 service (RFC 7534)",
    ),
    (
        v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
        "a documentation range (RFC 9637)",
    ),
    (
        v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16),
        "the segment routing range (RFC 9602)",
    ),
    (
        v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),
        "a private network (unique local, RFC 4193)",
    ),
    (
        v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
        "the link-local range (RFC 4291)",
    ),
    (
        v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10),
        "the deprecated site-local range (RFC 3879)",
    ),
    (
        v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8),
        "the multicast range (RFC 4291)",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Widens an address to a number so that the neighbour of a range's edge can be named.
    fn step(address: IpAddr, by: i128) -> Option<IpAddr> {
        match address {
            IpAddr::V4(v4) => u32::try_from(i128::from(u32::from(v4)) + by)
                .ok()
                .map(|bits| IpAddr::V4(bits.into())),
            IpAddr::V6(v6) => u128::from(v6)
                .checked_add_signed(by)
                .map(|bits| IpAddr::V6(bits.into())),
        }
    }

    #[test]
    fn every_row_is_refused_from_its_first_to_its_last_address() {
        let v4 = SPECIAL_V4.iter().map(|(net, _)| ipnet::IpNet::V4(*net));
        let v6 = SPECIAL_V6.iter().map(|(net, _)| ipnet::IpNet::V6(*net));
        for net in v4.chain(v6) {
            for address in [net.network(), net.broadcast()] {
                assert!(refusal(address).is_some(), "{address} of {net}");
            }
        }
    }

    #[test]
    fn the_neighbours_of_a_row_are_public_unless_another_row_holds_them() {
        let public_outside = [
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "191.255.255.255",
            "192.0.1.0",
            "192.0.1.255",
            "192.0.3.0",
            "192.31.195.255",
            "192.31.197.0",
            "192.52.192.255",
            "192.52.194.0",
            "192.88.98.255",
            "192.88.100.0",
            "192.167.255.255",
            "192.169.0.0",
            "192.175.47.255",
            "192.175.49.0",
            "198.17.255.255",
            "198.20.0.0",
            "198.51.99.255",
            "198.51.101.0",
            "203.0.112.255",
            "203.0.114.0",
            "223.255.255.255",
            "1.0.0.0",
            "168.63.129.15",
            "168.63.129.17",
            "2000::",
            "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "2001:200::",
            "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
            "2001:db9::",
            "2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "2003::",
            "2620:4f:7fff:ffff:ffff:ffff:ffff:ffff",
            "2620:4f:8001::",
            "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "3fff:1000::",
            "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        ];
        for text in public_outside {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(refusal(address), None, "{text}");
        }
        // Each of them is the neighbour of a refused one, or else the list has a slip in it.
        for text in public_outside {
            let address: IpAddr = text.parse().unwrap();
            let beside_a_row = [-1, 1]
                .into_iter()
                .filter_map(|by| step(address, by))
                .any(|next| refusal(next).is_some());
            let edge_of_nothing = ["2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff"];
            assert!(beside_a_row || edge_of_nothing.contains(&text), "{text}");
        }
    }

    #[test]
    fn what_an_address_carries_is_found_in_each_notation() {
        for (text, expected) in [
            ("::ffff:10.0.0.1", Some("10.0.0.1")),
            ("::ffff:0:10.0.0.1", Some("10.0.0.1")),
            ("::10.0.0.1", Some("10.0.0.1")),
            ("64:ff9b::169.254.169.254", Some("169.254.169.254")),
            ("64:ff9b:1::10.0.0.1", Some("10.0.0.1")),
            ("2002:a9fe:a9fe::1", Some("169.254.169.254")),
            ("2001:0:808:808::f5ff:fffe", Some("10.0.0.1")),
            ("2a00:1450::5efe:10.0.0.1", Some("10.0.0.1")),
            ("fd00::200:5efe:10.0.0.1", Some("10.0.0.1")),
            ("64:ff9b:2::10.0.0.1", None),
            ("2a00:1450::1", None),
            ("fd00::1", None),
        ] {
            let expected = expected.map(|text| text.parse().unwrap());
            assert_eq!(carried(text.parse().unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn outside_2000_slash_3_nothing_is_public() {
        for text in [
            "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "4000::",
            "64:ff9b:2::",
            "f000::",
        ] {
            assert!(refusal(text.parse().unwrap()).is_some(), "{text}");
        }
    }

    #[test]
    fn the_phrase_names_the_narrowest_row() {
        for (text, part) in [
            ("169.254.169.254", "metadata"),
            ("169.254.169.253", "link-local"),
            ("168.63.129.16", "metadata"),
            ("100.100.100.200", "metadata"),
            ("192.0.0.192", "metadata"),
            ("192.0.0.9", "IETF"),
            ("fd00:ec2::254", "metadata"),
            ("fd00:ec2::255", "unique local"),
            ("2001::1", "Teredo"),
            ("2001:1::1", "IETF"),
            ("255.255.255.255", "broadcast"),
            ("::ffff:8.8.8.8", "IPv4-mapped"),
            ("64:ff9b::8.8.8.8", "NAT64"),
            ("::8.8.8.8", "IPv4-compatible"),
            ("2002:808:808::", "6to4"),
            ("2a00:1450::5efe:808:808", "ISATAP"),
            ("2a00:1450::200:5efe:808:808", "ISATAP"),
        ] {
            let phrase = refusal(text.parse().unwrap()).unwrap_or_default();
            assert!(phrase.contains(part), "{text}: {phrase:?}");
        }
        assert_eq!(refusal("2a00:1450::5eff:808:808".parse().unwrap()), None);
    }
}
