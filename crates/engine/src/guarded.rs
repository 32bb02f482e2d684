//! Hides what becomes of an attempt whose own code panics: it fails, and nothing else does.
//!
//! An attempt meets what strangers send, so a bug in reading that must not end the process: the delivery
//! would be attempted again at the next start, and end that too.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;

use egress::{Exchange, Failure};
use futures_util::FutureExt;
use model::attempt::{Reason, Timings};

/// What the receiver's developer is told.
const SENTENCE: &str = "This service failed while it made the attempt. That is a bug of this service and not the \
                        receiver's fault: the delivery is retried on schedule, and the service's log has the details.";

/// The exchange; where it panics the failure that stands for it, and `count` is called.
pub(crate) async fn guarded(
    exchange: impl Future<Output = Exchange>,
    count: impl FnOnce(),
) -> Exchange {
    // Whatever the exchange shares is behind locks that go on after a panic.
    match AssertUnwindSafe(exchange).catch_unwind().await {
        Ok(exchange) => exchange,
        Err(panic) => {
            count();
            let words = words_of(&*panic);
            tracing::error!(
                "an attempt panicked, which is a bug: please report it with the lines above. The attempt \
                 counts as failed, and everything else goes on: {words}"
            );
            failed(words)
        }
    }
}

fn words_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without words")
}

fn failed(words: &str) -> Exchange {
    Exchange {
        remote_addr: None,
        timings: Timings::default(),
        // Nobody knows how far it came.
        sent_twice: false,
        result: Err(Failure {
            // Most of what an attempt does with a stranger's input is reading the response.
            reason: Reason::InvalidResponse,
            detail: SENTENCE.to_owned(),
            operator_detail: format!("the attempt panicked: {words}"),
            // It spends a try: what panics every time has to come to an end.
            ours: false,
            partial: None,
        }),
    }
}
