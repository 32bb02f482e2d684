//! What a delivery's page says of how an attempt was sent: exactly that, or that it is not known any more.

use std::time::Duration;

use serde_json::{Value, json};

use super::Browser;
use crate::rig::{Rig, Team};

const NOT_KNOWN: &str = "cannot be shown";

struct Scene {
    rig: Rig,
    team: Team,
    endpoint: String,
}

impl Scene {
    async fn new() -> Self {
        let rig = Rig::new().await;
        let team = rig.team("acme").await;
        let made = rig.call("POST", "/v1/webhook-endpoints").key(&team.key);
        let url = json!({"url": "https://hooks.receiver.dev/first?token=hidden"});
        let made = made.json(&url).send().await.data();
        Self {
            endpoint: made["id"].as_str().unwrap().to_owned(),
            rig,
            team,
        }
    }

    /// Sends an event; the path of its delivery's page.
    async fn send(&self) -> String {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let event = self.rig.publish(&self.team).await;
        let delivery = self.rig.deliveries_of(&self.team, &event).await.remove(0);
        self.rig.until(&self.team, &delivery, "delivered").await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        format!("/settings/teams/acme/deliveries/{delivery}")
    }

    async fn change(&self, edit: Value) {
        let path = format!("/v1/webhook-endpoints/{}", self.endpoint);
        let call = self.rig.call("PATCH", &path).key(&self.team.key);
        call.json(&edit).send().await.data();
    }

    async fn page(&self, path: &str) -> String {
        let browser = Browser::of(&self.rig, "acme").await;
        browser.get(path).await.text().replace("&#39;", "'")
    }

    /// Asserts that a page shows the headers as the n-th request that was received had them.
    async fn assert_as_sent(&self, path: &str, nth: usize) {
        let text = self.page(path).await;
        let (_, headers, _) = self.rig.receivers.received().swap_remove(nth);
        for name in [
            "x-vantagekit-signature",
            "x-vantagekit-timestamp",
            "webhook-signature",
        ] {
            let value = headers[name].to_str().unwrap();
            let shown = format!("<span class=\"name\">{name}:</span> {value}\n");
            assert!(text.contains(&shown), "{shown}: {text}");
        }
        assert!(!text.contains(NOT_KNOWN), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn headers_are_shown_until_the_url_or_a_secret_is_another() {
    let scene = Scene::new().await;
    let first = scene.send().await;
    scene.assert_as_sent(&first, 0).await;
    for edit in [
        json!({"description": "CRM"}),
        json!({"eventTypes": ["link.expired"]}),
        json!({"paused": true}),
        json!({"paused": false, "disabled": true}),
        json!({"disabled": false}),
        json!({"url": "https://hooks.receiver.dev/first?token=hidden", "description": null}),
    ] {
        scene.change(edit.clone()).await;
        scene.assert_as_sent(&first, 0).await;
    }
    let rotate = format!("/v1/webhook-endpoints/{}/rotate-secret", scene.endpoint);
    let rotated = scene.rig.call("POST", &rotate).key(&scene.team.key);
    rotated.json(&json!({})).send().await.data();
    assert!(scene.page(&first).await.contains(NOT_KNOWN));
    let second = scene.send().await;
    scene.assert_as_sent(&second, 1).await;
    let both = "x-vantagekit-signature-next:";
    assert!(scene.page(&second).await.contains(both));
}

#[tokio::test(start_paused = true)]
async fn the_url_of_an_attempt_is_remembered_after_it_was_changed() {
    let scene = Scene::new().await;
    let first = scene.send().await;
    let url = "https://hooks.receiver.dev/first?token=hidden";
    assert!(scene.page(&first).await.contains(url));
    scene
        .change(json!({"description": "it says [\"url\",\"https://other.dev/\"]"}))
        .await;
    scene
        .change(json!({"url": "https://hooks.receiver.dev/second"}))
        .await;
    let second = scene.send().await;
    scene
        .change(json!({"url": "https://hooks.receiver.dev/third"}))
        .await;
    let third = scene.send().await;
    scene.assert_as_sent(&third, 2).await;
    let shown = |path: &str, text: &str, note: &str| {
        let (_, rest) = text.split_once("<strong>POST</strong> ").unwrap();
        let line = rest.split("</p>").next().unwrap();
        assert!(
            line.starts_with(path) && line.contains(note),
            "{path}: {line}"
        );
        assert_eq!(line.contains("<span"), !note.is_empty(), "{line}");
        assert!(text.contains(NOT_KNOWN), "{text}");
    };
    // Its query may hold a secret, so the log does not have it.
    let before = "https://hooks.receiver.dev/first?…";
    let said = "(its query is not kept)";
    shown(before, &scene.page(&first).await, said);
    shown(
        "https://hooks.receiver.dev/second",
        &scene.page(&second).await,
        "",
    );
    // Also when it is gone.
    let path = format!("/v1/webhook-endpoints/{}", scene.endpoint);
    scene
        .rig
        .call("DELETE", &path)
        .key(&scene.team.key)
        .send()
        .await;
    shown(before, &scene.page(&first).await, said);
    shown(
        "https://hooks.receiver.dev/third",
        &scene.page(&third).await,
        "",
    );
}
