//! Hides the special addresses of the Internet once more, as the registries have them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use egress::{Connections, Policy, ReceiverUrl, Request, Transport, address};
use http::HeaderMap;
use model::attempt::Reason;
use tokio::time::Instant;

use crate::choices::Choices;
use crate::network::{BODY, End, Outside, Script};

/// The IANA IPv4 Special-Purpose Address Registry, multicast, and a metadata service at a public address.
const SPECIAL_V4: &[(&str, u32)] = &[
    ("0.0.0.0", 8),
    ("10.0.0.0", 8),
    ("100.64.0.0", 10),
    ("127.0.0.0", 8),
    ("168.63.129.16", 32),
    ("169.254.0.0", 16),
    ("172.16.0.0", 12),
    ("192.0.0.0", 24),
    ("192.0.2.0", 24),
    ("192.31.196.0", 24),
    ("192.52.193.0", 24),
    ("192.88.99.0", 24),
    ("192.168.0.0", 16),
    ("192.175.48.0", 24),
    ("198.18.0.0", 15),
    ("198.51.100.0", 24),
    ("203.0.113.0", 24),
    ("224.0.0.0", 4),
    ("240.0.0.0", 4),
];

/// The only IPv6 addresses that the Internet has so far, and what of them is special by the IANA registry.
const GLOBAL_V6: (&str, u32) = ("2000::", 3);
const SPECIAL_V6: &[(&str, u32)] = &[
    ("2001::", 23),
    ("2001:db8::", 32),
    ("2002::", 16),
    ("2620:4f:8000::", 48),
    ("3fff::", 20),
];

/// What operators may have allowed.
const ALLOWED: [&[&str]; 4] = [
    &[],
    &["127.0.0.0/8", "::1/128"],
    &["10.1.0.0/16", "fd00::/8", "192.168.7.7/32"],
    &["::ffff:10.0.0.0/104", "64:ff9b::/96"],
];

static V4: LazyLock<Vec<(u32, u32)>> = LazyLock::new(|| {
    let range =
        |(text, prefix): &(&str, u32)| (text.parse::<Ipv4Addr>().expect(text).into(), *prefix);
    SPECIAL_V4.iter().map(range).collect()
});
static V6: LazyLock<Vec<(u128, u32)>> = LazyLock::new(|| SPECIAL_V6.iter().map(range_v6).collect());

static OUTSIDE: LazyLock<Vec<Mutex<Outside>>> = LazyLock::new(|| {
    let outside = |nets: &&[&str]| {
        Mutex::new(Outside::new(Policy {
            allow: nets.iter().map(|net| net.parse().expect(net)).collect(),
            allow_http: true,
        }))
    };
    ALLOWED.iter().map(outside).collect()
});

fn range_v6((text, prefix): &(&str, u32)) -> (u128, u32) {
    (text.parse::<Ipv6Addr>().expect(text).into(), *prefix)
}

fn forbidden_v4(address: Ipv4Addr) -> bool {
    let bits = u32::from(address);
    V4.iter()
        .any(|(base, prefix)| (bits ^ base) >> (32 - prefix) == 0)
}

fn forbidden_v6(address: Ipv6Addr) -> bool {
    let bits = u128::from(address);
    let inside = |(base, prefix): &(u128, u32)| (bits ^ base) >> (128 - prefix) == 0;
    let isatap = matches!((bits >> 32) as u32, 0x0000_5efe | 0x0200_5efe);
    !inside(&range_v6(&GLOBAL_V6)) || V6.iter().any(inside) || isatap
}

fn forbidden(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => forbidden_v4(address),
        IpAddr::V6(address) => forbidden_v6(address),
    }
}

pub(super) fn target(bytes: &[u8]) {
    let mut choices = Choices::of(bytes);
    if choices.flag() {
        answers(&mut choices);
        return;
    }
    let v4 = Ipv4Addr::from(choices.array::<4>());
    check(v4.into());
    let v6 = Ipv6Addr::from(choices.array::<16>());
    check(v6.into());
    // However an IPv6 address carries an IPv4 one, the rest of it is any bits.
    for carrier in carriers(v4, v6.into()) {
        check(carrier.into());
        assert!(
            address::refusal(carrier.into()).is_some(),
            "{carrier} carries {v4}"
        );
    }
    let mapped = IpAddr::V6(v4.to_ipv6_mapped());
    for outside in OUTSIDE.iter() {
        let outside = outside.lock().unwrap_or_else(PoisonError::into_inner);
        let policy = &outside.policy;
        assert_eq!(policy.allows(v4.into()), policy.allows(mapped), "{v4}");
    }
}

/// Whether `address` is what a DNS64 adds to an answer that has an IPv4 address: it is left out.
fn synthesized(address: IpAddr, answer: &[IpAddr]) -> bool {
    let IpAddr::V6(v6) = address else {
        return false;
    };
    let well_known = v6.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0];
    let local = v6.segments()[..3] == [0x64, 0xff9b, 1];
    let [.., a, b, c, d] = v6.octets();
    let inner = IpAddr::from([a, b, c, d]);
    (well_known || local) && answer.iter().any(IpAddr::is_ipv4) && !forbidden(inner)
}

fn check(address: IpAddr) {
    let refusal = address::refusal(address);
    assert_eq!(
        refusal.is_some(),
        forbidden(address),
        "{address}: {refusal:?}"
    );
    assert!(refusal.is_none_or(|what| what.len() > 5), "{address}");
}

/// IPv6 addresses behind which an IPv4 address may be reached, with other bits at random.
fn carriers(v4: Ipv4Addr, random: u128) -> [Ipv6Addr; 9] {
    let low = u128::from(u32::from(v4));
    let base = |text: &str| u128::from(text.parse::<Ipv6Addr>().expect(text));
    let some = |bits: u32| random & ((1 << bits) - 1);
    [
        low,                                                           // IPv4-compatible (RFC 4291)
        base("::ffff:0:0") | low,                                      // IPv4-mapped (RFC 4291)
        base("::ffff:0:0:0") | low,                                    // IPv4-translated (RFC 2765)
        base("64:ff9b::") | low,                                       // NAT64 (RFC 6052)
        base("64:ff9b:1::") | some(80) & !0xffff_ffff | low,           // local NAT64 (RFC 8215)
        base("2002::") | low << 80 | some(80),                         // 6to4 (RFC 3056)
        base("2001::") | some(96) & !0xffff_ffff | !low & 0xffff_ffff, // Teredo (RFC 4380)
        random >> 64 << 64 | base("::5efe:0:0") | low,                 // ISATAP (RFC 5214)
        random >> 64 << 64 | base("::200:5efe:0:0") | low,
    ]
    .map(Ipv6Addr::from)
}

/// One address that may not be reached spoils a whole answer; else only what is in it is connected to.
fn answers(choices: &mut Choices<'_>) {
    let outside = choices.one_of(&OUTSIDE);
    let outside = outside.lock().unwrap_or_else(PoisonError::into_inner);
    let mut answer = Vec::new();
    while !choices.is_over() && answer.len() < 12 {
        answer.push(match choices.below(3) {
            0 => IpAddr::from(choices.array::<4>()),
            1 => IpAddr::from(choices.array::<16>()),
            _ => {
                let near = choices.one_of(&V4).0;
                Ipv4Addr::from(near.wrapping_sub(u32::from(choices.flag()))).into()
            }
        });
    }
    let policy = &outside.policy;
    let spoilt = answer
        .iter()
        .filter(|address| !synthesized(**address, &answer))
        .any(|address| forbidden(*address) && !policy.allows(*address));
    let url = ReceiverUrl::parse("http://receiver.example.com:8080/", policy);
    let url = url.expect("it is fine");
    let script = Script {
        end: End::Close,
        ..Script::default()
    };
    let (failure, seen) = outside.run(&answer, [script], async |egress| {
        let request = Request {
            url: &url,
            headers: &HeaderMap::new,
            body: Bytes::from_static(BODY),
            deadline: Instant::now() + Duration::from_secs(10),
        };
        let exchange = egress.exchange(&Connections::default(), request).await;
        exchange.result.expect_err("nobody answers")
    });
    assert_eq!(
        failure.reason == Reason::BlockedAddress,
        spoilt,
        "{answer:?}"
    );
    assert_eq!(
        seen.dialed.is_empty(),
        spoilt || answer.is_empty(),
        "{answer:?}"
    );
    for address in seen.dialed {
        assert!(
            answer.contains(&address.ip()) && address.port() == 8080,
            "{answer:?}"
        );
    }
    let told = &failure.detail;
    for address in answer.iter().map(ToString::to_string) {
        assert!(
            address.len() < 4 || !told.contains(&address),
            "an address is told: {told}"
        );
    }
}
