//! Signing and verifying a delivery of ordinary size.

use std::hint::black_box;
use std::process::ExitCode;

use vk_hot_path::EVENT;
use vk_signature::{Scheme, SigningKeys, Verifier};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=";
const ID: &str = "0198a6f0-3a5b-7c1d-9e2f-0123456789ae";
const SENT_AT: i64 = 1_775_044_800;

fn main() -> ExitCode {
    vk_hot_path::measure("signature", |paths| {
        paths.add("sign-both", 200, || {
            let keys = SigningKeys::new(SECRET);
            move || {
                let body = black_box(EVENT.as_bytes());
                (
                    keys.vantagekit(SENT_AT, body),
                    keys.standard(ID, SENT_AT, body),
                )
            }
        });
        for (name, scheme) in [
            ("verify-vantagekit", Scheme::VantageKit),
            ("verify-standard", Scheme::Standard),
        ] {
            paths.add(name, 200, || {
                let verifier = Verifier::new(SECRET);
                let headers = headers();
                move || {
                    let pairs = headers.iter().map(|(name, value)| (*name, value.as_str()));
                    let verified =
                        verifier.verify(scheme, pairs, black_box(EVENT.as_bytes()), SENT_AT);
                    assert!(verified.is_ok(), "{verified:?}");
                }
            });
        }
    })
}

/// All that a receiver gets.
fn headers() -> Vec<(&'static str, String)> {
    let keys = SigningKeys::new(SECRET);
    let body = EVENT.as_bytes();
    vec![
        ("host", "receiver.example".into()),
        ("user-agent", "VantageKit-Webhooks/1.0".into()),
        ("content-type", "application/json".into()),
        ("content-length", body.len().to_string()),
        ("x-vantagekit-event", "document.viewed".into()),
        ("x-vantagekit-delivery", ID.into()),
        ("x-vantagekit-timestamp", SENT_AT.to_string()),
        (
            "x-vantagekit-signature",
            keys.vantagekit(SENT_AT, body).to_string(),
        ),
        ("webhook-id", ID.into()),
        ("webhook-timestamp", SENT_AT.to_string()),
        (
            "webhook-signature",
            keys.standard(ID, SENT_AT, body).to_string(),
        ),
    ]
}
