//! Reading what is published, and judging what came of an attempt.

use std::hint::black_box;
use std::process::ExitCode;

use vk_hot_path::EVENT;
use vk_model::attempt::{Outcome, Reason};
use vk_model::catalog::Catalog;
use vk_model::event::{parse_batch, parse_publication};
use vk_model::health::Health;
use vk_model::id::{DeliveryId, IdCodec};
use vk_model::retry::RetrySchedule;
use vk_model::time::Timestamp;

const NOW: Timestamp = Timestamp::from_millis(1_775_044_800_000);

fn main() -> ExitCode {
    vk_hot_path::measure("model", |paths| {
        paths.add("parse-publication", 200, || {
            let catalog = Catalog::vantagekit();
            move || parse_publication(&catalog, black_box(EVENT.as_bytes())).expect("it is valid")
        });
        paths.add("parse-batch-of-100", 5, || {
            let catalog = Catalog::vantagekit();
            let body = format!(r#"{{"events":[{}]}}"#, [EVENT; 100].join(","));
            move || parse_batch(&catalog, black_box(body.as_bytes())).expect("it is valid")
        });
        // One verdict is a handful of instructions: all that a delivery can meet are counted.
        paths.add("retry-verdicts", 500, || {
            let schedule = RetrySchedule::default();
            move || {
                for nth in 1..=6 {
                    for outcome in [
                        Outcome::Delivered,
                        Outcome::Retry,
                        Outcome::PermanentFailure,
                    ] {
                        let schedule = black_box(&schedule);
                        black_box(schedule.judge(DELIVERY, nth, black_box(outcome), NOW));
                    }
                }
            }
        });
        paths.add("health-steps", 500, || {
            let failed = Some(Reason::HttpStatus);
            let mut health = Health::default();
            move || {
                for failure in [None, failed, failed, failed, failed, failed, None] {
                    health = black_box(health.after(black_box(failure), NOW));
                    black_box(health.is_unhealthy());
                }
            }
        });
        paths.add("id-to-text", 500, || {
            let codec = codec();
            move || codec.uuid(black_box(DELIVERY)).to_string()
        });
        paths.add("text-to-id", 500, || {
            let codec = codec();
            let text = codec.uuid(DELIVERY).to_string();
            move || {
                codec
                    .parse::<DeliveryId>(black_box(&text))
                    .expect("it is ours")
            }
        });
    })
}

const DELIVERY: DeliveryId = DeliveryId(165_000_000_000_000_042);

fn codec() -> IdCodec {
    IdCodec::new(*b"a store's secret")
}
