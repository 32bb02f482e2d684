//! What the log says of a request, and what it never says.

use std::io;
use std::sync::{Arc, Mutex};

use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use crate::rig::{ADMIN, Rig};

/// A log kept in memory.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Kept {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Kept {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_is_one_line_without_secrets_or_queries() {
    let kept = Kept::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(kept.clone());
    let _guard = tracing::subscriber::set_default(subscriber.finish());
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
    let before = kept.text().lines().count();
    rig.call("GET", link).send().await;
    let lines = kept.text();
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
    let log = kept.text();
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
