//! Hides nothing: receivers whose name is the trouble. The first answer of each is given when its
//! endpoint is made.

use std::net::{IpAddr, Ipv4Addr};

use hickory_proto::op::ResponseCode::{NXDomain, Refused, ServFail};
use model::attempt::Reason::{self, BlockedAddress, DnsFailed, DnsNotFound, DnsTimeout};

use super::{DONE, OK};
use crate::name_server::{Answer, addresses, list};
use crate::script::{Expect, Script, says};

pub(super) fn scripts() -> Vec<Script> {
    [unresolved(), blocked(), resolved()].concat()
}

/// A receiver that nobody should come to, or that anybody may come to.
fn named(name: &str, does: &str, answers: Vec<Answer>, expect: Expect) -> Script {
    Script::new(name, does, says(DONE), expect).named(answers)
}

fn good() -> Answer {
    addresses(&["127.0.0.1"])
}

/// A receiver's name as DNS has it.
fn full(label: &str) -> String {
    format!("{label}.receivers.example.com.")
}

fn both(v4: Answer, v6: Answer) -> Answer {
    Answer::ByFamily(Box::new(v4), Box::new(v6))
}

fn unresolved() -> Vec<Script> {
    use Answer::{Alias, Code, Garbage, OfAnother, Silence, Truncated, WrongId};
    let ours = || list(&["127.0.0.1"]);
    let rows: Vec<(&str, &str, Answer, Reason)> = vec![
        (
            "dns-nxdomain",
            "its name does not exist",
            Code(NXDomain),
            DnsNotFound,
        ),
        (
            "dns-empty",
            "its name has no address",
            addresses(&[]),
            DnsNotFound,
        ),
        (
            "dns-servfail",
            "its name servers fail",
            Code(ServFail),
            DnsFailed,
        ),
        (
            "dns-refused",
            "its name servers refuse to answer",
            Code(Refused),
            DnsFailed,
        ),
        (
            "dns-silent",
            "its name servers do not answer",
            Silence,
            DnsTimeout,
        ),
        (
            "dns-no-v4-and-failing-v6",
            "its name has no A records, and the query for AAAA records fails",
            both(addresses(&[]), Code(ServFail)),
            DnsFailed,
        ),
        (
            "dns-no-v6-and-failing-v4",
            "its name has no AAAA records, and the query for A records fails",
            both(Code(ServFail), addresses(&[])),
            DnsFailed,
        ),
        (
            "dns-no-v4-and-silent-v6",
            "its name has no A records, and the query for AAAA records is not answered",
            both(addresses(&[]), Silence),
            DnsTimeout,
        ),
        (
            "dns-garbage",
            "its name servers send what is no DNS",
            Garbage,
            DnsTimeout,
        ),
        (
            "dns-wrong-id",
            "its name servers answer another query",
            WrongId(ours()),
            DnsTimeout,
        ),
        (
            "dns-another-name",
            "its name servers give addresses of another name",
            OfAnother(ours()),
            DnsNotFound,
        ),
        (
            "dns-truncated",
            "its name servers want to be asked over TCP, and say nothing there",
            Truncated,
            DnsTimeout,
        ),
        (
            "dns-alias-loop",
            "its name is an alias of an alias of itself",
            Alias(full("dns-alias-loop-other")),
            DnsNotFound,
        ),
        (
            "dns-alias-chain",
            "its name is an alias over twenty aliases",
            Alias(full("dns-alias-chain-0")),
            DnsNotFound,
        ),
    ];
    let mut scripts: Vec<Script> = rows
        .into_iter()
        .map(|(name, does, answer, reason)| named(name, does, vec![answer], Expect::fail(reason)))
        .collect();
    let alias = |from: &str, to: &str| (from.to_owned(), vec![Alias(full(to))]);
    for script in &mut scripts {
        match script.name.as_str() {
            "dns-alias-loop" => script
                .zone
                .push(alias("dns-alias-loop-other", "dns-alias-loop")),
            "dns-alias-chain" => script.zone.extend((0..20).map(|n| {
                let name = |n: usize| format!("dns-alias-chain-{n}");
                alias(&name(n), &name(n + 1))
            })),
            _ => {}
        }
    }
    scripts
}

/// Names that were good when the endpoint was made.
fn blocked() -> Vec<Script> {
    let since = |name: &str, does: &str, answer: Answer| {
        named(
            name,
            does,
            vec![good(), answer],
            Expect::fail(BlockedAddress).tells("may not be reached"),
        )
    };
    let many = (0..1000u32).map(|n| IpAddr::V4(Ipv4Addr::from(0x7f00_0001 + n)));
    let private = list(&["10.0.0.1"]);
    let mut scripts = vec![
        since(
            "dns-private",
            "its name leads to a private address",
            addresses(&["10.0.0.1"]),
        ),
        since(
            "dns-mixed",
            "its name leads to a good and to a private address",
            addresses(&["127.0.0.1", "10.0.0.1"]),
        ),
        since(
            "dns-mixed-v6",
            "its name leads to a good and to a private address (IPv6)",
            addresses(&["127.0.0.1", "fd00::1"]),
        ),
        since(
            "dns-mapped",
            "its name leads to a private address written as IPv6",
            addresses(&["127.0.0.1", "::ffff:10.0.0.1"]),
        ),
        since(
            "dns-zero",
            "its name leads to 0.0.0.0",
            addresses(&["0.0.0.0"]),
        ),
        since("dns-zero-v6", "its name leads to ::", addresses(&["::"])),
        since(
            "dns-metadata",
            "its name leads to a cloud's metadata service",
            addresses(&["169.254.169.254"]),
        ),
        since(
            "dns-alias-inside",
            "its name is an alias of a name at a private address",
            Answer::AliasTo("inside.example.net.".to_owned(), private.clone()),
        ),
        since(
            "dns-one-of-1000",
            "its name leads to 1,000 addresses, one of them private",
            Answer::Addresses(many.chain(private).collect()),
        ),
    ];
    scripts.push(Script {
        later: Some(Expect::fail(BlockedAddress).tells("may not be reached")),
        ..Script::new(
            "dns-rebinding",
            "its name leads to a private address after the first attempt",
            says(format!(
                "{OK}connection: close\r\ncontent-length: 2\r\n\r\nhi"
            )),
            Expect::answer(200, "hi"),
        )
        .named(vec![good(), good(), addresses(&["10.0.0.1"])])
    });
    scripts
}

fn resolved() -> Vec<Script> {
    use Answer::{Addresses, Code, Silence};
    let many = (0..1000u32).map(|n| IpAddr::V4(Ipv4Addr::from(0x7f00_0001 + n)));
    vec![
        named(
            "dns-1000",
            "its name leads to 1,000 addresses, none of them forbidden",
            vec![Addresses(many.collect())],
            Expect::answer(200, "hi"),
        ),
        named(
            "dns-first-address-dead",
            "nobody listens at the first of its addresses",
            vec![addresses(&["127.0.0.9", "127.0.0.1"])],
            Expect::answer(200, "hi"),
        ),
        named(
            "dns-silent-v6",
            "its name servers do not answer for AAAA records",
            vec![both(good(), Silence)],
            Expect::answer(200, "hi"),
        ),
        named(
            "dns-failing-v6",
            "its name servers fail for AAAA records",
            vec![both(good(), Code(ServFail))],
            Expect::answer(200, "hi"),
        ),
        named(
            "dns-alias",
            "its name is an alias of a name with good addresses",
            vec![Answer::AliasTo(
                "elsewhere.example.net.".to_owned(),
                list(&["127.0.0.1"]),
            )],
            Expect::answer(200, "hi"),
        ),
    ]
}
