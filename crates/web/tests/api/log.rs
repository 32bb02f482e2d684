//! What the log says of a request, and what it never says.

use std::cell::RefCell;
use std::io;
use std::sync::Once;

use serde_json::json;

use crate::rig::{ADMIN, Rig};

thread_local! {
    static KEPT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The log of this thread, and so of this test: each has a thread and a runtime of its own.
struct OfThisThread;

impl io::Write for OfThisThread {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        KEPT.with_borrow_mut(|kept| kept.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps the log of every test. It is one subscriber for all of them, made before anything is
/// logged, because `tracing` remembers for the whole process whom a line is of interest to.
pub(crate) fn keep() {
    static KEEP: Once = Once::new();
    KEEP.call_once(|| {
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(|| OfThisThread)
            .init();
    });
}

/// What was logged in this test so far.
pub(crate) fn kept() -> String {
    String::from_utf8(KEPT.with_borrow(Clone::clone)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_request_is_one_line_without_secrets_or_queries() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let body = json!({"url": "https://hooks.receiver.dev/ok?secret=in-the-url"});
    let made = rig.call("POST", "/v1/webhook-endpoints").key(&team.key);
    let made = made.json(&body).send().await.data();
    let secret = made["secret"].as_str().unwrap();
    let event = rig.publish(&team).await;
    let delivery = rig.deliveries_of(&team, &event).await[0].clone();
    rig.until(&team, &delivery, "delivered").await;
    let link = rig.call("POST", "/v1/teams/acme/settings-link").key(ADMIN);
    let link = link.header("host", "localhost").send().await.data();
    let link = link["url"].as_str().unwrap();
    let token = link.split_once("token=").unwrap().1;
    let before = kept().lines().count();
    rig.call("GET", link).send().await;
    let lines = kept();
    let added: Vec<_> = lines
        .lines()
        .skip(before)
        .filter(|line| line.contains("answered"))
        .collect();
    assert_eq!(added.len(), 1, "{lines}");
    assert!(
        added[0].contains("DEBUG") && added[0].contains("path=\"/settings/enter\""),
        "{lines}"
    );
    let panicking = json!({"url": "https://panic.receiver.dev/"});
    let panicked = rig
        .call("POST", "/v1/webhook-endpoints")
        .key(&team.key)
        .json(&panicking);
    panicked.send().await.assert_error(500, "internal_error");
    let log = kept();
    assert!(
        log.contains("ERROR") && log.contains("a probe that panics"),
        "{log}"
    );
    assert!(
        log.contains(" WARN ") && log.contains("status=500"),
        "{log}"
    );
    for hidden in [
        &team.key[8..],
        &ADMIN[9..],
        &secret[6..],
        token,
        "in-the-url",
    ] {
        assert!(!log.contains(hidden), "{hidden}: {log}");
    }
}
