//! Reading a receiver's URL, and checking the addresses it leads to.

use std::hint::black_box;
use std::net::IpAddr;
use std::process::ExitCode;

use vk_egress::{Policy, ReceiverUrl, address};

fn main() -> ExitCode {
    vk_hot_path::measure("egress", |paths| {
        paths.add("parse-url", 200, || {
            parses("https://hooks.acme-fabrication.com/vantagekit/events?tenant=42")
        });
        paths.add("parse-url-of-an-address", 200, || {
            parses("https://93.184.215.14:8443/vantagekit/events")
        });
        // One check is a look through a table: all kinds of answers are counted together.
        paths.add("check-addresses", 200, || {
            let policy = Policy {
                allow: vec!["10.20.0.0/16".parse().expect("it is a network")],
                allow_http: false,
            };
            let addresses = ADDRESSES.map(|text| -> IpAddr { text.parse().expect(text) });
            move || {
                for address in black_box(addresses) {
                    black_box(policy.allows(address) || address::refusal(address).is_none());
                }
            }
        });
    })
}

fn parses(text: &'static str) -> impl FnMut() -> ReceiverUrl {
    let policy = Policy::default();
    move || ReceiverUrl::parse(black_box(text), &policy).expect("it is fine")
}

/// Ordinary ones above all, one that the operator allows, and the kinds that are refused.
const ADDRESSES: [&str; 16] = [
    "93.184.215.14",
    "8.8.8.8",
    "203.0.114.7",
    "198.20.1.1",
    "2606:2800:21f:cb07:6820:80da:af6b:8b2c",
    "2a00:1450:4001:82a::200e",
    "2001:4860:4860::8888",
    "10.20.1.1",
    "10.1.2.3",
    "127.0.0.1",
    "169.254.169.254",
    "192.168.1.1",
    "::1",
    "::ffff:10.0.0.1",
    "64:ff9b::a00:1",
    "fd00:ec2::254",
];
