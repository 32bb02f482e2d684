//! Hides how an operator's exceptions are compared with addresses.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

use crate::address;

/// What may be reached beyond the default rules. The default is: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Addresses allowed in spite of the SSRF rules (`--allow-cidr`).
    pub allow: Vec<IpNet>,
    /// Whether `http:` is allowed too (`--allow-http`).
    pub allow_http: bool,
}

impl Policy {
    /// Whether an operator's exception covers `address`. An IPv4-mapped IPv6 address and the IPv4
    /// address in it are the same address here, because the kernel connects to the same machine.
    /// Where an IPv6 address carries another IPv4 address, for NAT64 or a tunnel, the range must not
    /// open what is behind it: the IPv4 address must be public or in an allowed range itself.
    pub fn allows(&self, address: IpAddr) -> bool {
        let plain = address.to_canonical();
        if !self.covers(address) && !self.covers(plain) {
            return false;
        }
        match plain {
            // A range of IPv6 that is not written as IPv4 opens none: `::/0` has every mapped address in it.
            IpAddr::V4(_) => {
                self.covers(plain) || (address.is_ipv6() && address::refusal(plain).is_none())
            }
            // Neither carries anything, though they are in the range of the IPv4-compatible ones.
            IpAddr::V6(Ipv6Addr::LOCALHOST | Ipv6Addr::UNSPECIFIED) => true,
            IpAddr::V6(v6) => address::carried(v6).is_none_or(|inner| {
                let inner = IpAddr::V4(inner);
                self.covers(inner) || address::refusal(inner).is_none()
            }),
        }
    }

    fn covers(&self, address: IpAddr) -> bool {
        self.allow
            .iter()
            .any(|net| net.contains(&address) || unmapped(net, address))
    }

    /// One sentence for each rule that is relaxed, for the operator's log at start. Empty by default.
    pub fn relaxations(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        if !self.allow.is_empty() {
            let nets: Vec<String> = self.allow.iter().map(ToString::to_string).collect();
            sentences.push(format!(
                "deliveries may reach {} in spite of the rules against internal addresses \
                 (--allow-cidr): customers can make this service talk to whatever answers there",
                nets.join(", ")
            ));
        }
        if self.allow_http {
            sentences.push(
                "deliveries may go to http: URLs (--allow-http): anyone on the way can read and \
                 change them"
                    .to_owned(),
            );
        }
        sentences
    }
}

/// Whether `net` is written in the IPv4-mapped form (`::ffff:10.0.0.0/104`) and covers `address`.
fn unmapped(net: &IpNet, address: IpAddr) -> bool {
    let (IpNet::V6(net), IpAddr::V4(address)) = (net, address) else {
        return false;
    };
    let (Some(base), Some(prefix)) = (
        net.addr().to_ipv4_mapped(),
        net.prefix_len().checked_sub(96),
    ) else {
        return false;
    };
    Ipv4Net::new(base, prefix).is_ok_and(|net| net.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_covers_its_range_in_both_notations_and_nothing_else() {
        for (net, address, expected) in [
            ("127.0.0.0/8", "127.0.0.1", true),
            ("127.0.0.0/8", "::ffff:127.0.0.1", true),
            ("127.0.0.0/8", "128.0.0.0", false),
            ("127.0.0.0/8", "::1", false),
            ("::1/128", "::1", true),
            ("::1/128", "127.0.0.1", false),
            ("::ffff:10.0.0.0/104", "10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "11.0.0.0", false),
            ("::/0", "10.1.2.3", false),
            ("::/0", "::ffff:10.1.2.3", false),
            ("::/0", "::ffff:169.254.169.254", false),
            ("::/0", "::ffff:8.8.8.8", true),
            ("::/64", "::ffff:10.1.2.3", false),
            ("fd00::/8", "fd12::1", true),
            ("fd00::/8", "fd12::5efe:8.8.8.8", true),
            ("fd00::/8", "fd12::5efe:10.0.0.1", false),
            ("64:ff9b::/96", "64:ff9b::8.8.8.8", true),
            ("64:ff9b::/96", "64:ff9b::169.254.169.254", false),
            ("64:ff9b::/96", "64:ff9b::10.0.0.1", false),
            ("64:ff9b:1::/48", "64:ff9b:1::127.0.0.1", false),
            ("2002::/16", "2002:a9fe:a9fe::1", false),
            ("2001::/32", "2001:0:808:808::f5ff:fffe", false),
            ("::/0", "64:ff9b::169.254.169.254", false),
            ("::/0", "::169.254.169.254", false),
            ("::/0", "::1", true),
        ] {
            let policy = Policy {
                allow: vec![net.parse().unwrap()],
                ..Policy::default()
            };
            let allowed = policy.allows(address.parse().unwrap());
            assert_eq!(allowed, expected, "{net} {address}");
        }
    }

    #[test]
    fn relaxations_are_none_by_default_and_each_has_its_sentence() {
        assert!(Policy::default().relaxations().is_empty());
        let policy = Policy {
            allow: vec!["10.0.0.0/8".parse().unwrap()],
            allow_http: true,
        };
        let sentences = policy.relaxations();
        assert_eq!(sentences.len(), 2);
        assert!(sentences[0].contains("10.0.0.0/8"));
        assert!(sentences[1].contains("--allow-http"));
    }
}
