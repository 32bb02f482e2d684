//! Who gets in, how long they stay, and what nobody gets to see.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use web::WebOptions;

use super::{Browser, HOST, assert_page, cookie, form, link, link_for, sign_in, token_of};
use crate::rig::{ADMIN, Rig};

const HOME: &str = "/settings/teams/acme/webhooks";

#[tokio::test(start_paused = true)]
async fn a_link_opens_the_pages_once() {
    let rig = Rig::new().await;
    rig.team("acme").await;
    let link = link(&rig, "acme").await;
    // Asking for its head, as a preview of the link does, uses nothing up.
    for _ in 0..3 {
        let head = rig.call("HEAD", &link).send().await;
        assert_eq!(head.status, StatusCode::NO_CONTENT);
        assert!(head.headers.get("set-cookie").is_none());
    }
    let entered = rig.call("GET", &link).send().await;
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
    let session = cookie(&entered, "vk_session");
    let start = rig
        .call("GET", "/settings")
        .header("cookie", &session)
        .send()
        .await;
    assert_eq!(
        (start.status, start.header("location")),
        (StatusCode::SEE_OTHER, HOME)
    );
    let page = rig
        .call("GET", HOME)
        .header("cookie", &session)
        .send()
        .await;
    assert_page(&page, StatusCode::OK);
    assert!(
        page.text().contains("acme") && page.text().contains("Deals &#38; Rooms"),
        "{}",
        page.text()
    );
    assert_page(&rig.call("GET", &link).send().await, StatusCode::GONE);
    let head = rig.call("HEAD", &link).send().await;
    assert_eq!(head.status, StatusCode::GONE);
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_when_it_is_idle_and_when_it_is_old() {
    let rig = Rig::new().await;
    rig.team("acme").await;
    let (early, late) = (link(&rig, "acme").await, link(&rig, "acme").await);
    tokio::time::advance(Duration::from_secs(590)).await;
    let entered = rig.call("GET", &early).send().await;
    let session = cookie(&entered, "vk_session");
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_page(&rig.call("GET", &late).send().await, StatusCode::GONE);
    let idle = Browser::of(&rig, "acme").await;
    let show = || rig.call("GET", HOME).header("cookie", &session).send();
    // Every hour and a half, which is within the two hours: to the end of its twelve hours.
    for hour in 1..8 {
        tokio::time::advance(Duration::from_secs(5400)).await;
        assert_eq!(show().await.status, StatusCode::OK, "{hour}");
    }
    assert_page(&idle.get(HOME).await, StatusCode::UNAUTHORIZED);
    tokio::time::advance(Duration::from_secs(5400)).await;
    assert_page(&show().await, StatusCode::UNAUTHORIZED);
}

#[tokio::test(start_paused = true)]
async fn signing_out_ends_the_session_for_good() {
    let rig = Rig::new().await;
    rig.team("acme").await;
    let browser = Browser::of(&rig, "acme").await;
    let out = browser.post(HOME, "/settings/sign-out", &[]).await;
    assert_eq!(out.status, StatusCode::SEE_OTHER);
    assert!(
        out.header("set-cookie")
            .starts_with("vk_session=; Path=/; Max-Age=0")
    );
    assert_page(&browser.get(HOME).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test(start_paused = true)]
async fn a_key_signs_in_and_its_session_ends_with_it() {
    let rig = Rig::new().await;
    rig.team("acme").await;
    for wrong in ["", "vk_live_00000000000000000000000000000000", "<script>"] {
        let refused = sign_in(&rig, wrong).await;
        assert_page(&refused, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(!refused.text().contains("<script>"), "{}", refused.text());
    }
    let made = rig.call("POST", "/v1/teams/acme/api-keys").key(ADMIN);
    let made = made
        .json(&json!({"name": "k", "scopes": ["read"]}))
        .send()
        .await
        .data();
    let key = made["key"].as_str().unwrap();
    let browser = Browser::with_key(&rig, key).await;
    let page = browser.get(HOME).await;
    assert_page(&page, StatusCode::OK);
    // What may only look is shown nothing to change things with, and is refused if it tries.
    assert!(!page.text().contains("Add endpoint"), "{}", page.text());
    let token = token_of(&page);
    for (path, fields) in [
        ("/webhooks", &[("url", "https://hooks.receiver.dev/x")][..]),
        ("/deliveries/retry", &[]),
        ("/keys", &[("name", "n"), ("scope", "read")]),
    ] {
        let path = format!("/settings/teams/acme{path}");
        let refused = browser.post_with(&path, &token, fields).await;
        assert_page(&refused, StatusCode::FORBIDDEN);
    }
    // Looking at the page for signing in signs nobody out.
    let knocked = browser.get("/settings/sign-in").await;
    for set in knocked.headers.get_all("set-cookie") {
        assert!(!set.to_str().unwrap().contains("session"), "{set:?}");
    }
    let path = format!("/v1/teams/acme/api-keys/{}", made["id"].as_str().unwrap());
    rig.call("DELETE", &path).key(ADMIN).send().await;
    assert_page(&browser.get(HOME).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test(start_paused = true)]
async fn the_operator_sees_all_teams_and_nobody_else_does() {
    let rig = Rig::new().await;
    let acme = rig.team("acme").await;
    rig.team("other").await;
    let operator = Browser::with_key(&rig, ADMIN).await;
    let teams = operator.get("/settings").await;
    assert_page(&teams, StatusCode::OK);
    for team in ["acme", "other"] {
        assert!(
            teams
                .text()
                .contains(&format!("/settings/teams/{team}/webhooks"))
        );
        let page = operator
            .get(&format!("/settings/teams/{team}/webhooks"))
            .await;
        assert_page(&page, StatusCode::OK);
    }
    let made = operator
        .post(
            "/settings",
            "/settings",
            &[("name", "Third"), ("id", "third")],
        )
        .await;
    assert_eq!(made.header("location"), "/settings/teams/third/webhooks");
    for (fields, status) in [
        ([("name", ""), ("id", "")], StatusCode::UNPROCESSABLE_ENTITY),
        (
            [("name", "A"), ("id", "a b")],
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        ([("name", "A"), ("id", "acme")], StatusCode::CONFLICT),
    ] {
        assert_page(
            &operator.post("/settings", "/settings", &fields).await,
            status,
        );
    }
    let member = Browser::with_key(&rig, &acme.key).await;
    assert_eq!(member.get("/settings").await.header("location"), HOME);
    let refused = member.post(HOME, "/settings", &[("name", "Mine")]).await;
    assert_page(&refused, StatusCode::NOT_FOUND);
}

#[tokio::test(start_paused = true)]
async fn the_first_run_makes_one_team_and_no_second() {
    let rig = Rig::new().await;
    let link = web::first_run_link(&rig.engine).await.unwrap().unwrap();
    let page = rig.call("GET", &link).send().await;
    assert_page(&page, StatusCode::OK);
    let token = link.split_once("token=").unwrap().1;
    let send = |fields: Vec<(&'static str, String)>| {
        let call = rig.call("POST", "/settings/first-run").header("host", HOST);
        let call = call.header("cookie", &cookie(&page, "vk_knocking"));
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        form(call, &token_of(&page), &fields).send()
    };
    let own = |name: &str| {
        vec![
            ("token", token.to_owned()),
            ("name", name.to_owned()),
            ("id", "first".into()),
        ]
    };
    let forged = vec![("token", "x".to_owned()), ("name", "A".to_owned())];
    assert_page(&send(forged).await, StatusCode::GONE);
    assert_page(&send(own(" ")).await, StatusCode::UNPROCESSABLE_ENTITY);
    let made = send(own("First")).await;
    assert_eq!(made.status, StatusCode::SEE_OTHER, "{}", made.text());
    let session = cookie(&made, "vk_session");
    let home = rig
        .call("GET", "/settings")
        .header("cookie", &session)
        .send()
        .await;
    assert_eq!(home.header("location"), "/settings/teams/first/webhooks");
    assert_page(&send(own("Second")).await, StatusCode::GONE);
    assert_eq!(web::first_run_link(&rig.engine).await, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn the_first_run_s_link_ends_with_a_team_made_otherwise() {
    let rig = Rig::new().await;
    let link = web::first_run_link(&rig.engine).await.unwrap().unwrap();
    let page = rig.call("GET", &link).send().await;
    assert_page(&page, StatusCode::OK);
    rig.team("acme").await;
    let page = rig.call("GET", &link).send().await;
    assert_page(&page, StatusCode::GONE);
}

/// Every route that changes something, and where its form is.
fn unsafe_routes(endpoint: &str, delivery: &str, key: &str) -> Vec<String> {
    let team = "/settings/teams/acme";
    vec![
        "/settings/sign-out".into(),
        format!("{team}/webhooks"),
        format!("{team}/webhooks/{endpoint}/settings"),
        format!("{team}/webhooks/{endpoint}/state"),
        format!("{team}/webhooks/{endpoint}/rotate"),
        format!("{team}/webhooks/{endpoint}/delete"),
        format!("{team}/webhooks/{endpoint}/test"),
        format!("{team}/deliveries/retry"),
        format!("{team}/deliveries/retry-all"),
        format!("{team}/deliveries/{delivery}/retry"),
        format!("{team}/debugger"),
        format!("{team}/keys"),
        format!("{team}/keys/{key}/revoke"),
    ]
}

#[tokio::test(start_paused = true)]
async fn forms_of_other_sites_do_nothing() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let endpoint = rig.endpoint(&team, "ok").await;
    let event = rig.publish(&team).await;
    let delivery = rig.deliveries_of(&team, &event).await.remove(0);
    rig.until(&team, &delivery, "delivered").await;
    let key = rig.key_ids("acme").await.remove(0);
    let browser = Browser::of(&rig, "acme").await;
    let token = token_of(&browser.get(HOME).await);
    let mut routes = unsafe_routes(&endpoint, &delivery, &key);
    for path in [
        "/settings",
        "/settings/enter",
        "/settings/sign-in",
        "/settings/first-run",
    ] {
        routes.push(path.into());
    }
    let all = web::page_routes();
    let posts = all.iter().filter(|(method, _)| method == "POST").count();
    assert_eq!(
        routes.len(),
        posts,
        "a route that takes forms is not among these"
    );
    let received = rig.receivers.received().len();
    for path in routes {
        for (origin, token) in [
            (Some("https://evil.example"), token.as_str()),
            (Some("null"), &token),
            (Some("http://127.0.0.1:9"), &token),
            (None, &token),
            // From here, but without what only a page of this session has.
            (Some("http://127.0.0.1:8080"), ""),
            (
                Some("http://127.0.0.1:8080"),
                "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            ),
        ] {
            let mut call = browser.call("POST", &path);
            if let Some(origin) = origin {
                call = call.header("origin", origin);
            }
            let call = call.header("content-type", "application/x-www-form-urlencoded");
            let refused = call.body(format!("csrf={token}").into()).send().await;
            assert_eq!(
                refused.status,
                StatusCode::FORBIDDEN,
                "{path} {origin:?} {token}"
            );
            assert_page(&refused, StatusCode::FORBIDDEN);
        }
    }
    assert_eq!(browser.get(HOME).await.status, StatusCode::OK);
    assert_eq!(rig.receivers.received().len(), received, "nothing was sent");
    // The token of another session is none here.
    let other = token_of(&Browser::of(&rig, "acme").await.get(HOME).await);
    assert_ne!(other, token);
    let refused = browser.post_with("/settings/sign-out", &other, &[]).await;
    assert_page(&refused, StatusCode::FORBIDDEN);
    // Nor is what the page for signing in gives to anybody, its cookie beside the session's.
    let knocked = rig.call("GET", "/settings/sign-in").send().await;
    let cookies = format!("{}; {}", browser.cookie, cookie(&knocked, "vk_knocking"));
    let call = rig.call("POST", "/settings/sign-out").header("host", HOST);
    let call = call.header("cookie", &cookies);
    let refused = form(call, &token_of(&knocked), &[]).send().await;
    assert_page(&refused, StatusCode::FORBIDDEN);
}

#[tokio::test(start_paused = true)]
async fn nothing_else_opens_them() {
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
        let page = rig.call("GET", HOME).header("cookie", cookie).send().await;
        assert_page(&page, StatusCode::UNAUTHORIZED);
    }
    let browser = Browser::of(&rig, "acme").await;
    let value = browser.cookie.split_once('=').unwrap().1;
    // A session is neither a link nor a key.
    let entered = rig
        .call("GET", &format!("/settings/enter?token={value}"))
        .send()
        .await;
    assert_page(&entered, StatusCode::GONE);
    let api = rig.call("GET", "/v1/events").key(value).send().await;
    api.assert_error(401, "unauthorized");
    let api = browser.get("/v1/events").await;
    api.assert_error(401, "unauthorized");
    // And none for a team that is gone.
    rig.call("DELETE", "/v1/teams/acme").key(ADMIN).send().await;
    assert_page(&browser.get(HOME).await, StatusCode::UNAUTHORIZED);
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
    let session = cookie(&entered, "__Host-vk_session");
    let page = rig
        .call("GET", HOME)
        .header("cookie", &session)
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

#[tokio::test(start_paused = true)]
async fn a_plan_without_webhooks_has_no_pages() {
    let rig = Rig::new().await;
    rig.team_on("acme", "free").await;
    let browser = Browser::of(&rig, "acme").await;
    assert_page(&browser.get(HOME).await, StatusCode::PAYMENT_REQUIRED);
}

#[tokio::test(start_paused = true)]
async fn a_link_ends_the_session_that_the_browser_had() {
    let rig = Rig::new().await;
    rig.team("acme").await;
    rig.team("other").await;
    let browser = Browser::of(&rig, "acme").await;
    assert_eq!(browser.get(HOME).await.status, StatusCode::OK);
    let entered = browser.get(&link(&rig, "other").await).await;
    assert_eq!(entered.status, StatusCode::SEE_OTHER, "{}", entered.text());
    assert_eq!(browser.get(HOME).await.status, StatusCode::UNAUTHORIZED);
}

/// Whoever has a link of their own team could else have anybody's browser work for that team unnoticed.
#[tokio::test(start_paused = true)]
async fn a_link_that_another_site_leads_to_asks_before_it_ends_a_session() {
    let rig = Rig::new().await;
    let acme = rig.team("acme").await;
    rig.team("other").await;
    for site in ["cross-site", "same-site"] {
        for browser in [
            Browser::of(&rig, "acme").await,
            Browser::with_key(&rig, &acme.key).await,
            Browser::with_key(&rig, ADMIN).await,
        ] {
            let link = link(&rig, "other").await;
            let led = || browser.call("GET", &link).header("sec-fetch-site", site);
            for _ in 0..2 {
                let asked = led().send().await;
                assert_page(&asked, StatusCode::OK);
                assert!(asked.headers.get("set-cookie").is_none());
                let text = asked.text();
                assert!(text.contains("Continue to other?"), "{text}");
                assert_eq!(browser.get(HOME).await.status, StatusCode::OK);
            }
            let asked = led().send().await;
            let token = link.split_once("token=").unwrap().1;
            // Another site cannot answer in the place of who is asked.
            for (csrf, status) in [
                ("x", StatusCode::FORBIDDEN),
                (&token_of(&asked), StatusCode::SEE_OTHER),
                (&token_of(&asked), StatusCode::GONE),
            ] {
                let fields = [("token", token)];
                let went_on = browser.post_with("/settings/enter", csrf, &fields).await;
                assert_eq!(went_on.status, status, "{}", went_on.text());
                if status == StatusCode::SEE_OTHER {
                    let cookie = cookie(&went_on, "vk_session");
                    let there = Browser { rig: &rig, cookie };
                    let page = there.get("/settings/teams/other/webhooks").await;
                    assert_page(&page, StatusCode::OK);
                }
            }
            assert_eq!(browser.get(HOME).await.status, StatusCode::UNAUTHORIZED);
        }
    }
}

/// What somebody does would else be remembered under the name of whoever had them follow a link.
#[tokio::test(start_paused = true)]
async fn a_link_for_somebody_else_of_the_same_team_asks_too() {
    let rig = Rig::new().await;
    rig.team("acme").await;
    for (session, leads_to, asks) in [
        (Some("jane@acme.example"), Some("jane@acme.example"), false),
        (Some("jane@acme.example"), Some("bob@acme.example"), true),
        (Some("jane@acme.example"), None, true),
        (None, Some("bob@acme.example"), true),
        (None, None, false),
    ] {
        let browser = Browser::named(&rig, "acme", session).await;
        let link = link_for(&rig, "acme", leads_to).await;
        let led = browser
            .call("GET", &link)
            .header("sec-fetch-site", "cross-site")
            .send()
            .await;
        let expected = match asks {
            true => StatusCode::OK,
            false => StatusCode::SEE_OTHER,
        };
        assert_eq!(led.status, expected, "{session:?} {leads_to:?}");
        if asks {
            for name in [session, leads_to].into_iter().flatten() {
                assert!(
                    led.text().contains(&format!("acme as {name}")),
                    "{}",
                    led.text()
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_link_asks_nothing_where_nothing_would_end() {
    let rig = Rig::new().await;
    rig.team("acme").await;
    rig.team("other").await;
    let (own, other) = (link(&rig, "acme").await, link(&rig, "other").await);
    // Nobody is signed in.
    let led = rig
        .call("GET", &other)
        .header("sec-fetch-site", "cross-site");
    assert_eq!(led.send().await.status, StatusCode::SEE_OTHER);
    // The same team.
    let browser = Browser::of(&rig, "acme").await;
    let led = browser
        .call("GET", &own)
        .header("sec-fetch-site", "cross-site");
    assert_eq!(led.send().await.status, StatusCode::SEE_OTHER);
    // Typed, or opened out of a message; and a link that is over is over.
    let browser = Browser::of(&rig, "acme").await;
    let led = browser
        .call("GET", &other)
        .header("sec-fetch-site", "cross-site");
    assert_page(&led.send().await, StatusCode::GONE);
    let typed = link(&rig, "other").await;
    let typed = browser.call("GET", &typed).header("sec-fetch-site", "none");
    assert_eq!(typed.send().await.status, StatusCode::SEE_OTHER);
    // Another team's session that is over by itself.
    let idle = Browser::of(&rig, "acme").await;
    tokio::time::advance(Duration::from_secs(7200)).await;
    let other = link(&rig, "other").await;
    let led = idle
        .call("GET", &other)
        .header("sec-fetch-site", "cross-site");
    assert_eq!(led.send().await.status, StatusCode::SEE_OTHER);
}
