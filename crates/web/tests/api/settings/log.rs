//! The delivery log: what is found in it, and what is retried from it, as a browser without scripts does it.

use http::StatusCode;
use serde_json::json;

use super::{Browser, assert_page, between, token_of};
use crate::rig::{ADMIN, Rig};

const BASE: &str = "/settings/teams/acme";

#[tokio::test(start_paused = true)]
async fn the_log_is_filtered_paged_and_retried() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let dead = rig.endpoint(&team, "gone").await;
    rig.endpoint(&team, "ok").await;
    let mut events = Vec::new();
    for _ in 0..30 {
        events.push(rig.publish(&team).await);
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    for event in &events {
        for delivery in rig.deliveries_of(&team, event).await {
            let path = format!("/v1/deliveries/{delivery}");
            for _ in 0..200 {
                let found = rig
                    .call("GET", &path)
                    .key(ADMIN)
                    .team("acme")
                    .send()
                    .await
                    .data();
                if ["delivered", "dead_letter"].contains(&found["status"].as_str().unwrap()) {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
    let browser = Browser::of(&rig, "acme").await;
    let log = format!("{BASE}/deliveries");
    let count = |text: &str| text.matches("<tr data-id=").count();
    // Sixty deliveries, 25 a page.
    let mut next = log.clone();
    let mut sizes = Vec::new();
    for _ in 0..3 {
        let page = browser.get(&next).await;
        assert_page(&page, StatusCode::OK);
        sizes.push(count(page.text()));
        if !page.text().contains("rel=\"next\"") {
            break;
        }
        let older = page.text().rsplit_once("\" rel=\"next\"").unwrap().0;
        next = older
            .rsplit_once("href=\"")
            .unwrap()
            .1
            .replace("&#38;", "&");
    }
    assert_eq!(sizes, [25, 25, 10]);
    let last = rig.deliveries_of(&team, &events[29]).await.remove(0);
    for (query, rows) in [
        ("status=delivered".to_owned(), 25),
        (format!("endpoint={dead}&status=delivered"), 0),
        (format!("endpoint={dead}&type=link.expired"), 25),
        ("type=link.created".into(), 0),
        ("until=2026-04-01T11:00".into(), 0),
        ("since=2026-04-01T11:00".into(), 25),
        (format!("id={last}"), 1),
        (format!("id={}", events[0]), 2),
        (format!("id={}", &last[..13]), 2),
        (format!("id={}", &last[..20]), 1),
        ("id=0".into(), 25),
        ("id=ffff".into(), 0),
        ("id=019a6c3e-7d40-7a11-8f3b-5d2c1e0f9a87".into(), 0),
        ("status=lost".into(), 0),
    ] {
        let page = browser.get(&format!("{log}?{query}")).await;
        assert_page(&page, StatusCode::OK);
        assert_eq!(count(page.text()), rows, "{query}");
    }
    for wrong in ["since=soon", "id=xyz"] {
        assert_page(
            &browser.get(&format!("{log}?{wrong}")).await,
            StatusCode::BAD_REQUEST,
        );
    }

    // One, and those picked.
    let page = browser.get(&format!("{log}?status=dead_letter")).await;
    let ids: Vec<&str> = page
        .text()
        .split("<tr data-id=\"")
        .skip(1)
        .map(|rest| &rest[..36])
        .collect();
    let one = browser
        .post(&log, &format!("{log}/{}/retry", ids[0]), &[])
        .await;
    assert_eq!(
        one.header("location"),
        format!("{log}/{}?retried=1", ids[0])
    );
    rig.until(&team, ids[0], "dead_letter").await;
    let picked = browser
        .post(
            &log,
            &format!("{log}/retry"),
            &[
                ("pick", ids[1]),
                ("pick", ids[2]),
                ("status", "dead_letter"),
            ],
        )
        .await;
    assert_eq!(
        picked.header("location"),
        format!("{log}?retried=2&status=dead_letter")
    );
    assert!(
        browser
            .get(picked.header("location"))
            .await
            .text()
            .contains("2 deliveries are on the way again")
    );
    for id in &ids[1..3] {
        let found = rig.until(&team, id, "dead_letter").await;
        assert_eq!(found["attemptCount"], 2);
    }
    assert_page(
        &browser.post(&log, &format!("{log}/retry"), &[]).await,
        StatusCode::BAD_REQUEST,
    );

    // All that match, counted first.
    let confirm = browser
        .get(&format!("{log}/retry?status=dead_letter&type=link.expired"))
        .await;
    assert_page(&confirm, StatusCode::OK);
    assert!(
        confirm.text().contains("<strong>30 dead letters</strong>"),
        "{}",
        confirm.text()
    );
    let begun = browser
        .post_with(
            &format!("{log}/retry-all"),
            &token_of(&confirm),
            &[("status", "dead_letter"), ("type", "link.expired")],
        )
        .await;
    assert_eq!(begun.status, StatusCode::SEE_OTHER, "{}", begun.text());
    let progress = begun.header("location").to_owned();
    let mut said = String::new();
    for _ in 0..100 {
        said = browser
            .call("GET", &progress)
            .header("x-fragment", "1")
            .send()
            .await
            .text()
            .to_owned();
        if said.contains("done") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(
        said.contains("30 dead letters are on the way again."),
        "{said}"
    );
    assert_page(&browser.get(&progress).await, StatusCode::OK);
}

/// Nothing is retried where one of those that were picked cannot be.
#[tokio::test(start_paused = true)]
async fn those_that_are_picked_are_retried_all_or_none() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let (stays, goes) = (
        rig.endpoint(&team, "ok").await,
        rig.endpoint(&team, "ok2").await,
    );
    let event = rig.publish(&team).await;
    let deliveries = rig.deliveries_of(&team, &event).await;
    for delivery in &deliveries {
        rig.until(&team, delivery, "delivered").await;
    }
    let path = format!("/v1/webhook-endpoints/{goes}");
    let deleted = rig.call("DELETE", &path).key(&team.key).send().await;
    assert!(deleted.status.is_success(), "{}", deleted.text());
    let browser = Browser::of(&rig, "acme").await;
    let log = format!("{BASE}/deliveries");
    let shown = browser.get(&log).await;
    assert_eq!(
        shown.text().matches("name=\"pick\"").count(),
        1,
        "only the one that can be"
    );
    let both: Vec<_> = deliveries.iter().map(|id| ("pick", id.as_str())).collect();
    let refused = browser.post(&log, &format!("{log}/retry"), &both).await;
    assert_page(&refused, StatusCode::CONFLICT);
    assert!(
        refused.text().contains("none was retried"),
        "{}",
        refused.text()
    );
    for delivery in &deliveries {
        let path = format!("/v1/deliveries/{delivery}");
        let now = rig.call("GET", &path).key(&team.key).send().await.data();
        assert_eq!(now["attemptCount"], 1, "{now}");
    }
    let alone = browser.get(&format!("{log}?endpoint={stays}")).await;
    let id = between(alone.text(), "name=\"pick\" value=\"", "\"").to_owned();
    let retried = browser
        .post(&log, &format!("{log}/retry"), &[("pick", &id)])
        .await;
    assert_eq!(retried.status, StatusCode::SEE_OTHER, "{}", retried.text());
}

#[tokio::test(start_paused = true)]
async fn an_id_is_looked_for_by_its_digits_and_nothing_else_is_one() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let (one, other) = (
        rig.endpoint(&team, "ok").await,
        rig.endpoint(&team, "ok2").await,
    );
    rig.publish(&team).await;
    let browser = Browser::of(&rig, "acme").await;
    for (query, status, rows) in [
        ("id=%2B1", StatusCode::BAD_REQUEST, 0),
        ("id=%2B", StatusCode::BAD_REQUEST, 0),
        ("id=-", StatusCode::BAD_REQUEST, 0),
        ("id=g", StatusCode::BAD_REQUEST, 0),
        ("id=0", StatusCode::OK, 2),
        (&format!("id={one}"), StatusCode::OK, 1),
        (&format!("id={one}&endpoint={one}"), StatusCode::OK, 1),
        (&format!("id={one}&endpoint={other}"), StatusCode::OK, 0),
        ("since=2026-04-01T12:00:00%2B02:00", StatusCode::OK, 2),
    ] {
        let page = browser.get(&format!("{BASE}/deliveries?{query}")).await;
        assert_page(&page, status);
        assert_eq!(page.text().matches("<tr data-id=").count(), rows, "{query}");
        assert!(!page.text().contains("Retry all"), "{query}");
    }
    let page = browser
        .get(&format!(
            "{BASE}/deliveries?since=2026-04-01T12:00:00%2B02:00"
        ))
        .await;
    assert!(
        page.text().contains("value=\"2026-04-01T10:00:00\""),
        "{}",
        page.text()
    );
}

/// A batch's deliveries are of one millisecond: their ids differ only behind the first twelve digits.
#[tokio::test(start_paused = true)]
async fn a_long_beginning_of_an_id_finds_it_among_those_of_its_millisecond() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    rig.endpoint(&team, "ok").await;
    let events: Vec<_> = (0..60).map(|_| crate::rig::link_expired("batch")).collect();
    let batch = rig.call("POST", "/v1/events/batch").key(&team.key);
    let made = batch.json(&json!({"events": events})).send().await;
    assert_eq!(made.status, StatusCode::ACCEPTED, "{}", made.text());
    let browser = Browser::of(&rig, "acme").await;
    for event in [0, 30, 59] {
        let event = made.data()[event]["id"].as_str().unwrap().to_owned();
        let delivery = rig.deliveries_of(&team, &event).await.remove(0);
        let log = format!("{BASE}/deliveries?id={}", &delivery[..30]);
        let found = browser.get(&log).await;
        assert_eq!(
            found.text().matches("<tr data-id=").count(),
            1,
            "{delivery}"
        );
        assert!(found.text().contains(&delivery), "{delivery}");
    }
}
