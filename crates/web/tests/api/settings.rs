//! The settings page: how one gets in, what keeps others out, and what it shows.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use web::WebOptions;

use crate::rig::{ADMIN, Answer, Call, Rig};

const HOST: &str = "127.0.0.1:8080";

/// A link for a team, without its host.
async fn link(rig: &Rig, team: &str) -> String {
    let call = rig
        .call("POST", &format!("/v1/teams/{team}/settings-link"))
        .key(ADMIN);
    let made = call.header("host", HOST).send().await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    let url = made.data()["url"].as_str().unwrap().to_owned();
    url.strip_prefix(&format!("http://{HOST}"))
        .unwrap()
        .to_owned()
}

fn own_form(call: Call, body: &str) -> Call {
    let call = call
        .header("host", HOST)
        .header("origin", &format!("http://{HOST}"));
    let call = call.header("content-type", "application/x-www-form-urlencoded");
    call.body(body.to_owned().into())
}

async fn enter(rig: &Rig, link: &str) -> Answer {
    rig.call("GET", link).send().await
}

/// The cookie that an answer sets, as it is sent back.
fn cookie(answer: &Answer) -> String {
    answer
        .header("set-cookie")
        .split(';')
        .next()
        .unwrap()
        .to_owned()
}

fn assert_page(answer: &Answer, status: StatusCode) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    let policy = answer.header("content-security-policy");
    assert!(
        policy.starts_with("default-src 'none'") && !policy.contains("unsafe"),
        "{policy}"
    );
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("referrer-policy"), "same-origin");
    assert!(!answer.text().contains("<script"), "{}", answer.text());
}

#[tokio::test(start_paused = true)]
async fn a_link_opens_the_page_once() {
    let rig = Rig::new().await;
    rig.team("acme").await;
    let link = link(&rig, "acme").await;
    // Asking for its head, as a preview of the link does, uses nothing up.
    for _ in 0..3 {
        let head = rig.call("HEAD", &link).send().await;
        assert_eq!(head.status, StatusCode::NO_CONTENT);
        assert!(head.headers.get("set-cookie").is_none());
    }
    let entered = enter(&rig, &link).await;
    assert_eq!(
        (entered.status, entered.header("location")),
        (StatusCode::SEE_OTHER, "/settings")
    );
    let set = entered.header("set-cookie");
    assert!(set.starts_with("vk_session="), "{set}");
    assert!(
        set.ends_with("; Path=/; Max-Age=43200; HttpOnly; SameSite=Lax"),
        "{set}"
    );
    let page = rig
        .call("GET", "/settings")
        .header("cookie", &cookie(&entered))
        .send()
        .await;
    assert_page(&page, StatusCode::OK);
    assert!(page.text().contains("acme"), "{}", page.text());
    for part in ["title", "h1"] {
        let named = format!("<{part}>Deals &amp; Rooms webhooks</{part}>");
        assert!(page.text().contains(&named), "{}", page.text());
    }
    assert_page(&enter(&rig, &link).await, StatusCode::GONE);
    let head = rig.call("HEAD", &link).send().await;
    assert_eq!(head.status, StatusCode::GONE);
}

#[tokio::test(start_paused = true)]
async fn a_link_works_for_ten_minutes_and_a_session_for_twelve_hours() {
    let rig = Rig::new().await;
    rig.team("acme").await;
    let (early, late) = (link(&rig, "acme").await, link(&rig, "acme").await);
    tokio::time::advance(Duration::from_secs(590)).await;
    let session = cookie(&enter(&rig, &early).await);
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_page(&enter(&rig, &late).await, StatusCode::GONE);
    let show = || {
        rig.call("GET", "/settings")
            .header("cookie", &session)
            .send()
    };
    tokio::time::advance(Duration::from_secs(12 * 3600 - 60)).await;
    assert_eq!(show().await.status, StatusCode::OK);
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_page(&show().await, StatusCode::UNAUTHORIZED);
}

#[tokio::test(start_paused = true)]
async fn signing_out_ends_the_session_for_good() {
    let rig = Rig::new().await;
    rig.team("acme").await;
    let session = cookie(&enter(&rig, &link(&rig, "acme").await).await);
    let out = own_form(
        rig.call("POST", "/settings/sign-out")
            .header("cookie", &session),
        "",
    );
    let out = out.send().await;
    assert_eq!(out.status, StatusCode::SEE_OTHER);
    assert!(
        out.header("set-cookie")
            .starts_with("vk_session=; Path=/; Max-Age=0")
    );
    let page = rig
        .call("GET", "/settings")
        .header("cookie", &session)
        .send()
        .await;
    assert_page(&page, StatusCode::UNAUTHORIZED);
}

#[tokio::test(start_paused = true)]
async fn forms_of_other_sites_do_nothing() {
    let rig = Rig::new().await;
    rig.team("acme").await;
    let link = link(&rig, "acme").await;
    let session = cookie(&enter(&rig, &link).await);
    for origin in [
        Some("https://evil.example"),
        Some("null"),
        Some("http://127.0.0.1:9"),
        None,
    ] {
        let mut call = rig
            .call("POST", "/settings/sign-out")
            .header("host", HOST)
            .header("cookie", &session);
        if let Some(origin) = origin {
            call = call.header("origin", origin);
        }
        assert_page(&call.send().await, StatusCode::FORBIDDEN);
    }
    let still = rig
        .call("GET", "/settings")
        .header("cookie", &session)
        .send()
        .await;
    assert_eq!(still.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn nothing_else_opens_it() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let link = link(&rig, "acme").await;
    let token = link.split_once("token=").unwrap().1;
    for cookie in [
        "",
        "vk_session=",
        "vk_session=x",
        &format!("vk_session={token}"),
        &format!("vk_session={}", team.key),
    ] {
        let page = rig
            .call("GET", "/settings")
            .header("cookie", cookie)
            .send()
            .await;
        assert_page(&page, StatusCode::UNAUTHORIZED);
    }
    let session = cookie(&enter(&rig, &link).await);
    let value = session.split_once('=').unwrap().1;
    // A session is neither a link nor a key.
    assert_page(
        &enter(&rig, &format!("/settings/enter?token={value}")).await,
        StatusCode::GONE,
    );
    rig.call("GET", "/v1/events")
        .key(value)
        .send()
        .await
        .assert_error(401, "unauthorized");
    rig.call("GET", "/v1/events")
        .header("cookie", &session)
        .send()
        .await
        .assert_error(401, "unauthorized");
    // And none for a team that is gone.
    rig.call("DELETE", "/v1/teams/acme").key(ADMIN).send().await;
    let page = rig
        .call("GET", "/settings")
        .header("cookie", &session)
        .send()
        .await;
    assert_page(&page, StatusCode::UNAUTHORIZED);
}

#[tokio::test(start_paused = true)]
async fn it_shows_the_team_s_own_endpoints_and_deliveries_as_text() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let other = rig.team("other").await;
    let change = rig.call("PATCH", "/v1/teams/acme").key(ADMIN);
    change
        .json(&json!({"name": "<img src=x onerror=alert(1)>"}))
        .send()
        .await;
    let body = json!({"url": "https://hooks.receiver.dev/ok?a=1&b=%27%22", "description": "\"><script>alert(1)</script>"});
    rig.call("POST", "/v1/webhook-endpoints")
        .key(&team.key)
        .json(&body)
        .send()
        .await;
    let hidden = rig.endpoint(&other, "hidden").await;
    let event = rig.publish(&team).await;
    let delivery = rig.deliveries_of(&team, &event).await[0].clone();
    rig.until(&team, &delivery, "delivered").await;
    rig.publish(&other).await;
    let session = cookie(&enter(&rig, &link(&rig, "acme").await).await);
    let page = rig
        .call("GET", "/settings")
        .header("cookie", &session)
        .send()
        .await;
    assert_page(&page, StatusCode::OK);
    let text = page.text();
    for shown in [
        "&lt;img src=x onerror=alert(1)&gt;",
        "&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;",
        "https://hooks.receiver.dev/ok?a=1&amp;b=",
        "1 of 10 used",
        "badge delivered",
        "badge healthy",
        &delivery,
    ] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    assert!(!text.contains("<img") && !text.contains(&hidden) && !text.contains("/hidden"));
    assert!(!text.contains("whsec_"));
    let style = rig.call("GET", "/settings/style.css").send().await;
    assert_eq!(
        (style.status, style.header("content-type")),
        (StatusCode::OK, "text/css; charset=utf-8")
    );
}

#[tokio::test(start_paused = true)]
async fn behind_https_links_and_cookies_are_for_https() {
    let rig = Rig::with(WebOptions {
        public_url: Some("https://hooks.example.com/".into()),
        ..WebOptions::default()
    })
    .await;
    rig.team("acme").await;
    let call = rig.call("POST", "/v1/teams/acme/settings-link").key(ADMIN);
    let made = call.header("host", "10.0.0.5:8080").send().await.data();
    assert!(
        made["expiresAt"]
            .as_str()
            .unwrap()
            .starts_with("2026-04-01T12:10:")
    );
    let link = made["url"]
        .as_str()
        .unwrap()
        .strip_prefix("https://hooks.example.com")
        .unwrap();
    let call = rig.call("GET", link).header("host", "10.0.0.5:8080");
    let entered = call.send().await;
    assert_eq!(entered.status, StatusCode::SEE_OTHER);
    let set = entered.header("set-cookie");
    assert!(
        set.starts_with("__Host-vk_session=") && set.ends_with("; Secure"),
        "{set}"
    );
    let page = rig
        .call("GET", "/settings")
        .header("cookie", &cookie(&entered))
        .send()
        .await;
    assert_eq!(page.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_link_needs_a_host_to_lead_to() {
    let rig = Rig::new().await;
    rig.team("acme").await;
    for host in [None, Some("a b"), Some("user@evil.example"), Some("")] {
        let mut call = rig.call("POST", "/v1/teams/acme/settings-link").key(ADMIN);
        if let Some(host) = host {
            call = call.header("host", host);
        }
        call.send().await.assert_error(400, "invalid_request");
    }
    let none = rig
        .call("POST", "/v1/teams/none/settings-link")
        .key(ADMIN)
        .header("host", HOST);
    none.send().await.assert_error(404, "not_found");
}
