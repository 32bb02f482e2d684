//! How often the pages answer, and how many wrong keys may be tried.

use std::time::Duration;

use http::StatusCode;
use model::rate::RateLimit;
use web::WebOptions;

use super::{Browser, assert_page, link, sign_in};
use crate::rig::{ADMIN, Answer, Rig};

const HOME: &str = "/settings/teams/acme/webhooks";

fn assert_too_many(answer: &Answer, seconds: &str) {
    assert_page(answer, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.header("retry-after"), seconds);
    let text = answer.text();
    assert!(
        text.contains("Too many requests") && text.contains("Try again in"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn pages_are_bounded_for_a_session_and_for_a_team() {
    let mut rig = Rig::with(WebOptions {
        session_limit: RateLimit::per_minute(3),
        team_pages_limit: RateLimit::per_minute(5),
        ..WebOptions::default()
    })
    .await;
    rig.team("acme").await;
    rig.team("other").await;
    let (one, two) = (
        Browser::of(&rig, "acme").await,
        Browser::of(&rig, "acme").await,
    );
    let other = Browser::of(&rig, "other").await;
    let begun = tokio::time::Instant::now();
    for _ in 0..3 {
        assert_page(&one.get(HOME).await, StatusCode::OK);
    }
    assert_too_many(&one.get(HOME).await, "60");
    // Neither a page that is not there nor a form is a way around.
    assert_too_many(&one.get("/settings/teams/acme/webhooks/x").await, "60");
    assert_too_many(
        &one.post_with("/settings/teams/acme/keys", "x", &[]).await,
        "60",
    );
    for _ in 0..2 {
        assert_page(&two.get(HOME).await, StatusCode::OK);
    }
    tokio::time::advance(Duration::from_millis(20_500)).await;
    assert_too_many(&two.get(HOME).await, "40");
    assert_page(
        &other.get("/settings/teams/other/webhooks").await,
        StatusCode::OK,
    );
    tokio::time::advance(Duration::from_secs(60) - begun.elapsed()).await;
    assert_page(&one.get(HOME).await, StatusCode::OK);
    assert_page(&two.get(HOME).await, StatusCode::OK);
    // The operator's sessions are bounded too.
    let operator = Browser::with_key(&rig, ADMIN).await;
    for _ in 0..3 {
        assert_page(&operator.get("/settings").await, StatusCode::OK);
    }
    assert_too_many(&operator.get("/settings").await, "60");
    drop((one, two, other, operator));
    // By default nobody who reads them comes near.
    rig = Rig::new().await;
    rig.team("acme").await;
    let browser = Browser::of(&rig, "acme").await;
    for _ in 0..1200 {
        let page = browser.get("/settings").await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.text());
    }
    assert_too_many(&browser.get("/settings").await, "60");
}

#[tokio::test(start_paused = true)]
async fn wrong_keys_are_bounded_for_an_address_and_links_work_all_the_same() {
    let mut rig = Rig::new().await;
    let acme = rig.team("acme").await;
    let from = |address: &str| address.parse().unwrap();
    let all = rig.api.clone();
    rig.api = all.at(from("2001:db8::1"));
    for _ in 0..30 {
        // Right ones do not count.
        assert_eq!(sign_in(&rig, &acme.key).await.status, StatusCode::SEE_OTHER);
        let refused = sign_in(&rig, "vk_live_00000000000000000000000000000000").await;
        assert_page(&refused, StatusCode::UNPROCESSABLE_ENTITY);
    }
    assert_too_many(&sign_in(&rig, &acme.key).await, "60");
    let entered = rig.call("GET", &link(&rig, "acme").await).send().await;
    assert_eq!(entered.status, StatusCode::SEE_OTHER);
    // The next address of the same customer is no other; another's is.
    rig.api = all.at(from("2001:db8::2"));
    assert_too_many(&sign_in(&rig, &acme.key).await, "60");
    rig.api = all.at(from("192.0.2.1"));
    assert_eq!(sign_in(&rig, &acme.key).await.status, StatusCode::SEE_OTHER);
    tokio::time::advance(Duration::from_secs(60)).await;
    rig.api = all.at(from("2001:db8::1"));
    assert_eq!(sign_in(&rig, &acme.key).await.status, StatusCode::SEE_OTHER);
}
