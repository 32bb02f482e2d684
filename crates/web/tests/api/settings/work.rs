//! All that can be done from the pages, done as a browser without scripts does it.

use http::StatusCode;
use serde_json::json;

use super::{Browser, assert_page, token_of};
use crate::rig::{ADMIN, Rig};

const BASE: &str = "/settings/teams/acme";

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let (_, rest) = text
        .split_once(before)
        .unwrap_or_else(|| panic!("no {before} in {text}"));
    rest.split(after).next().unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_is_added_tried_changed_and_deleted() {
    let rig = Rig::new().await;
    rig.team("acme").await;
    let browser = Browser::of(&rig, "acme").await;
    let empty = browser.get(&format!("{BASE}/webhooks")).await;
    assert!(
        empty.text().contains("Three steps") && empty.text().contains("createHmac"),
        "{}",
        empty.text()
    );
    let new = format!("{BASE}/webhooks/new");
    let list = format!("{BASE}/webhooks");
    for (fields, said) in [
        (&[("url", "http://hooks.receiver.dev/")][..], "must"),
        (
            &[("url", "https://inside.receiver.dev/")],
            "may not be reached",
        ),
        (
            &[("url", "https://hooks.receiver.dev/"), ("events", "some")],
            "No event is chosen",
        ),
        (
            &[
                ("url", "https://hooks.receiver.dev/"),
                ("events", "some"),
                ("type", "no.such"),
            ],
            "unknown event type",
        ),
    ] {
        let refused = browser.post(&new, &list, fields).await;
        assert_page(
            &refused,
            if refused.text().contains("No event") {
                StatusCode::BAD_REQUEST
            } else {
                StatusCode::UNPROCESSABLE_ENTITY
            },
        );
        assert!(refused.text().contains(said), "{said}: {}", refused.text());
        let (_, url) = fields[0];
        assert!(
            refused.text().contains(&format!("value=\"{url}\"")),
            "what was typed is kept"
        );
    }
    let fields = [
        ("url", "https://new.receiver.dev/ok"),
        ("description", "CRM"),
        ("events", "some"),
        ("category", "Link"),
        ("type", "agreement.signed"),
    ];
    let created = browser.post(&new, &list, &fields).await;
    assert_page(&created, StatusCode::CREATED);
    let text = created.text();
    assert!(text.contains("The name does not resolve yet."), "{text}");
    let secret = between(text, "<code id=\"secret\">", "</code>");
    assert!(secret.starts_with("whsec_"), "{secret}");
    // Once beside its heading, once in the code of each language.
    assert_eq!(text.matches(secret).count(), 5, "{text}");
    let path = between(text, "<a class=\"button quiet\" href=\"", "\"").to_owned();
    let settings = format!("{path}/settings");
    let shown = browser.get(&settings).await;
    assert!(!shown.text().contains(secret));
    for checked in [
        "value=\"link.created\" checked",
        "value=\"link.expired\" checked",
        "value=\"agreement.signed\" checked",
    ] {
        assert!(
            shown.text().contains(checked),
            "{checked}: {}",
            shown.text()
        );
    }
    // A whole category is shown by its types: ticked itself, it would keep them from being unticked.
    for category in ["Link", "Agreement"] {
        let ticked = format!("value=\"{category}\" checked");
        assert!(!shown.text().contains(&ticked), "{category}");
    }

    let sent = browser
        .post(
            &settings,
            &format!("{path}/test"),
            &[("type", "document.viewed")],
        )
        .await;
    assert_eq!(sent.status, StatusCode::SEE_OTHER, "{}", sent.text());
    let delivery = sent.header("location").to_owned();
    let mut result = String::new();
    for _ in 0..100 {
        result = browser
            .get(&format!("{delivery}/result"))
            .await
            .text()
            .to_owned();
        if result.contains("badge good") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(result.contains("Your endpoint answered 200 OK"), "{result}");
    let edited = [("type", "document.viewed"), ("data", "{\"a\": 1}")];
    let refused = browser
        .post(&settings, &format!("{path}/test"), &edited)
        .await;
    assert_page(&refused, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.text().contains("/data/"), "{}", refused.text());

    let edit = [
        ("url", "https://hooks.receiver.dev/ok"),
        ("description", ""),
        ("events", "all"),
    ];
    let saved = browser.post(&settings, &settings, &edit).await;
    assert_eq!(saved.header("location"), format!("{settings}?done=saved"));
    for (to, shown) in [
        ("pause", "Paused"),
        ("resume", "Resumed"),
        ("disable", "Disabled"),
        ("enable", "Enabled"),
    ] {
        let done = browser
            .post(&settings, &format!("{path}/state"), &[("to", to)])
            .await;
        let page = browser.get(done.header("location")).await;
        assert!(page.text().contains(shown), "{to}: {}", page.text());
    }
    let rotated = browser
        .post(&settings, &format!("{path}/rotate"), &[("overlap", "3600")])
        .await;
    assert_page(&rotated, StatusCode::OK);
    let newer = between(rotated.text(), "<code id=\"secret\">", "</code>");
    assert!(newer.starts_with("whsec_") && newer != secret);
    assert!(
        browser
            .get(&settings)
            .await
            .text()
            .contains("A secret from before is in use until")
    );
    for (name, status) in [
        ("CRM", StatusCode::UNPROCESSABLE_ENTITY),
        ("https://hooks.receiver.dev/ok", StatusCode::SEE_OTHER),
    ] {
        let deleted = browser
            .post(&settings, &format!("{path}/delete"), &[("name", name)])
            .await;
        assert_eq!(deleted.status, status, "{name}");
    }
    assert_page(&browser.get(&path).await, StatusCode::NOT_FOUND);
}

#[tokio::test(start_paused = true)]
async fn a_url_is_checked_with_the_api_s_own_sentences() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let browser = Browser::of(&rig, "acme").await;
    for url in [
        "https://192.168.0.1/",
        "http://a.dev/",
        "https://inside.receiver.dev/",
        "https://u:p@a.dev/",
        "nonsense",
    ] {
        let query = url::form_urlencoded::byte_serialize(url.as_bytes()).collect::<String>();
        let said = browser
            .get(&format!("{BASE}/webhooks/check?url={query}"))
            .await;
        let api = rig.call("POST", "/v1/webhook-endpoints").key(&team.key);
        let sentence = api
            .json(&json!({ "url": url }))
            .send()
            .await
            .assert_error(422, "invalid_url");
        let shown = said.text().replace("&#34;", "\"").replace("&#39;", "'");
        assert!(shown.contains(&sentence), "{url}: {shown}");
    }
    let good = browser
        .get(&format!(
            "{BASE}/webhooks/check?url=https%3A%2F%2Fhooks.receiver.dev%2F"
        ))
        .await;
    assert!(good.text().contains("said good"), "{}", good.text());
    let new = browser
        .get(&format!(
            "{BASE}/webhooks/check?url=https%3A%2F%2Fnew.receiver.dev%2F"
        ))
        .await;
    assert!(new.text().contains("said wait"), "{}", new.text());
}

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

#[tokio::test(start_paused = true)]
async fn keys_are_made_shown_once_and_revoked() {
    let rig = Rig::new().await;
    rig.team("acme").await;
    let browser = Browser::of(&rig, "acme").await;
    let keys = format!("{BASE}/keys");
    let fields = [
        ("name", "Backend <b>"),
        ("scope", "read"),
        ("scope", "events:write"),
        ("expires", "2030-12-31"),
    ];
    let made = browser.post(&keys, &keys, &fields).await;
    assert_page(&made, StatusCode::CREATED);
    let key = between(made.text(), "<code id=\"key-text\">", "</code>");
    rig.call("GET", "/v1/events").key(key).send().await.data();
    rig.call("POST", "/v1/webhook-endpoints")
        .key(key)
        .json(&json!({}))
        .send()
        .await
        .assert_error(403, "forbidden");
    let list = browser.get(&keys).await;
    assert!(
        !list.text().contains(key) && list.text().contains(&key[..16]),
        "{}",
        list.text()
    );
    assert!(list.text().contains("Backend &#60;b&#62;") && list.text().contains("just now"));
    for (fields, said) in [
        (&[("name", "")][..], "characters"),
        (&[("name", "a")], "at least one"),
        (&[("name", "a"), ("scope", "all")], "at least one"),
        (
            &[("name", "a"), ("scope", "read"), ("expires", "2020-01-01")],
            "today or later",
        ),
    ] {
        let refused = browser.post(&keys, &keys, fields).await;
        assert!(
            refused.status.is_client_error() && refused.text().contains(said),
            "{said}"
        );
    }
    let path = list
        .text()
        .rsplit_once("/revoke\"")
        .unwrap()
        .0
        .rsplit_once("action=\"")
        .unwrap()
        .1;
    let revoked = browser.post(&keys, &format!("{path}/revoke"), &[]).await;
    assert_eq!(revoked.status, StatusCode::SEE_OTHER);
    rig.call("GET", "/v1/events")
        .key(key)
        .send()
        .await
        .assert_error(401, "unauthorized");
}

#[tokio::test(start_paused = true)]
async fn the_debugger_knows_the_delivery_and_says_what_differs() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let url = json!({"url": "https://hooks.receiver.dev/ok"});
    let made = rig
        .call("POST", "/v1/webhook-endpoints")
        .key(&team.key)
        .json(&url)
        .send()
        .await
        .data();
    let secret = made["secret"].as_str().unwrap();
    let event = rig.publish(&team).await;
    let delivery = rig.deliveries_of(&team, &event).await.remove(0);
    rig.until(&team, &delivery, "delivered").await;
    let (_, headers, body) = rig.receivers.received().remove(0);
    let headers: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap()))
        .collect();
    let body = String::from_utf8(body.to_vec()).unwrap();
    let respaced = body.replace("\":", "\": ");
    // Which keeps its members by their names: another order than the one they are sent in.
    let members: serde_json::Map<_, _> = serde_json::from_str(&body).unwrap();
    let pairs = members
        .iter()
        .map(|(name, value)| format!("\"{name}\":{value}"));
    let reordered = format!("{{{}}}", pairs.collect::<Vec<_>>().join(","));
    assert_ne!(reordered, body);
    let edited = body.replace("link.expired", "link.created");
    let browser = Browser::of(&rig, "acme").await;
    let debugger = format!("{BASE}/debugger");
    for (secret, body, said) in [
        (
            secret,
            &body,
            &[
                "valid",
                "The signature is right",
                "byte for byte what was sent",
                "current one of",
            ][..],
        ),
        (
            secret,
            &respaced,
            &["body_rewritten", "differs from byte 9", "·"],
        ),
        (
            "whsec_AAAA",
            &body,
            &["wrong_secret", "The secret is not one of"],
        ),
        (secret, &reordered, &["body_rewritten", "differs from byte"]),
        (secret, &edited, &["body_differs", "differs from byte"]),
        (
            "whsec_AAAA",
            &edited,
            &["secret_or_body_differs", "The secret is not one of"],
        ),
        ("", &body, &["Paste the endpoint"]),
    ] {
        let fields = [
            ("headers", headers.as_str()),
            ("body", body),
            ("secret", secret),
        ];
        let page = browser.post(&debugger, &debugger, &fields).await;
        assert_page(&page, StatusCode::OK);
        for said in said {
            assert!(page.text().contains(said), "{said}: {}", page.text());
        }
        assert!(
            secret.is_empty() || !page.text().contains(secret),
            "the secret is not shown again"
        );
    }
    let judged = async |headers: &str, secret: &str| {
        let fields = [("headers", headers), ("body", &body), ("secret", secret)];
        let page = browser.post(&debugger, &debugger, &fields).await;
        assert_page(&page, StatusCode::OK);
        page.text().to_owned()
    };
    // Each scheme has a timestamp of its own.
    let later = headers.replace("timestamp: 17", "timestamp: 18");
    assert_ne!(later, headers);
    let page = judged(&later, secret).await;
    assert!(page.contains("timestamp_or_id_differs"), "{page}");
    // A secret that was replaced with no overlap is told from one that never was.
    let list = browser.get(&format!("{BASE}/webhooks")).await;
    let path = between(list.text(), "<h2><a href=\"", "\"").to_owned();
    let settings = format!("{path}/settings");
    let rotated = browser
        .post(&settings, &format!("{path}/rotate"), &[("overlap", "0")])
        .await;
    assert_page(&rotated, StatusCode::OK);
    let page = judged(&headers, secret).await;
    assert!(
        page.contains("The signature is right") && page.contains("not in use any more"),
        "{page}"
    );
}

/// Where somebody else changed it meanwhile, what they did is not undone unseen.
#[tokio::test(start_paused = true)]
async fn a_page_that_is_out_of_date_does_not_save_over_what_is_there() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let endpoint = rig.endpoint(&team, "ok").await;
    let browser = Browser::of(&rig, "acme").await;
    let settings = format!("{BASE}/webhooks/{endpoint}/settings");
    let seen = |page: &str| between(page, "name=\"seen\" value=\"", "\"").to_owned();
    let before = seen(browser.get(&settings).await.text());
    tokio::time::advance(std::time::Duration::from_secs(5)).await;
    let path = format!("/v1/webhook-endpoints/{endpoint}");
    let moved = json!({"url": "https://hooks.receiver.dev/moved"});
    let call = rig.call("PATCH", &path).key(&team.key);
    assert_eq!(call.json(&moved).send().await.status, StatusCode::OK);
    let fields = |seen| {
        [
            ("seen", seen),
            ("url", "https://hooks.receiver.dev/ok"),
            ("description", "mine"),
            ("events", "all"),
        ]
    };
    let refused = browser.post(&settings, &settings, &fields(&before)).await;
    assert_page(&refused, StatusCode::CONFLICT);
    assert!(
        refused.text().contains("changed elsewhere"),
        "{}",
        refused.text()
    );
    let kept = rig.call("GET", &path).key(&team.key).send().await.data();
    assert_eq!(kept["url"], "https://hooks.receiver.dev/moved");
    // What was typed is still there, and can be saved by one who knows now.
    assert!(refused.text().contains("value=\"mine\""));
    let again = seen(refused.text());
    let saved = browser.post(&settings, &settings, &fields(&again)).await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.text());
    let kept = rig.call("GET", &path).key(&team.key).send().await.data();
    assert_eq!(kept["description"], "mine");
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

/// A browser writes line ends as CR LF; a command in a page cannot hold them.
#[tokio::test(start_paused = true)]
async fn a_curl_command_sends_the_very_bytes() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let endpoint = rig.endpoint(&team, "ok?a[]=1&b={x,y}").await;
    let browser = Browser::of(&rig, "acme").await;
    let test = format!("{BASE}/webhooks/{endpoint}/test");
    let page = browser.get(&format!("{test}?type=link.created")).await;
    let typed = between(page.text(), "<textarea id=\"data\"", "</textarea>");
    let typed = typed.split_once('>').unwrap().1.replace("&#34;", "\"");
    let typed = typed.trim_start_matches('\n').replace('\n', "\r\n");
    assert!(typed.contains("\r\n"), "{typed}");
    let sent = browser
        .post(&test, &test, &[("type", "link.created"), ("data", &typed)])
        .await;
    assert_eq!(sent.status, StatusCode::SEE_OTHER, "{}", sent.text());
    let body = rig.call("POST", "/v1/events").key(&team.key);
    let body = body.header("content-type", "application/json");
    let text = format!("{}", crate::rig::link_expired("it's")).replace("\":", "\":\r\n");
    let published = body.body(text.into()).send().await;
    assert_eq!(
        published.status,
        StatusCode::ACCEPTED,
        "{}",
        published.text()
    );
    let event = published.data()["id"].as_str().unwrap().to_owned();
    let with_cr = rig.deliveries_of(&team, &event).await.remove(0);
    for (path, from_file) in [
        (sent.header("location").to_owned(), false),
        (format!("{BASE}/deliveries/{with_cr}"), true),
    ] {
        rig.until(&team, path.rsplit('/').next().unwrap(), "delivered")
            .await;
        let page = browser.get(&path).await;
        let curl = between(page.text(), "aria-label=\"curl command\">", "</pre>");
        assert!(
            curl.starts_with("curl -g -i -X POST &#39;https://hooks.receiver.dev/"),
            "{curl}"
        );
        assert_eq!(
            curl.ends_with("--data-binary @request.txt"),
            from_file,
            "{curl}"
        );
        assert_eq!(
            page.text().contains("Save the body beside it first"),
            from_file
        );
        assert!(!page.text().contains('\r'));
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_is_deleted_by_the_name_that_is_shown() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let browser = Browser::of(&rig, "acme").await;
    for (description, shown) in [
        ("My  laptop", "My laptop"),
        ("\u{200b}", "⟨U+200B⟩"),
        ("a\u{202e}b", "a⟨U+202E⟩b"),
    ] {
        let body = json!({"url": "https://hooks.receiver.dev/ok", "description": description});
        let made = rig
            .call("POST", "/v1/webhook-endpoints")
            .key(&team.key)
            .json(&body)
            .send()
            .await;
        let id = made.data()["id"].as_str().unwrap().to_owned();
        let settings = format!("{BASE}/webhooks/{id}/settings");
        let page = browser.get(&settings).await;
        assert!(
            page.text()
                .contains(&format!("type its name: <code>{shown}</code>")),
            "{}",
            page.text()
        );
        let delete = format!("{BASE}/webhooks/{id}/delete");
        let refused = browser
            .post(&settings, &delete, &[("name", "another")])
            .await;
        assert_page(&refused, StatusCode::UNPROCESSABLE_ENTITY);
        let deleted = browser.post(&settings, &delete, &[("name", shown)]).await;
        assert_eq!(deleted.status, StatusCode::SEE_OTHER, "{}", deleted.text());
    }
}

#[tokio::test(start_paused = true)]
async fn the_catalog_shows_every_type_and_who_gets_it() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    rig.endpoint(&team, "all").await;
    let browser = Browser::of(&rig, "acme").await;
    let list = browser.get(&format!("{BASE}/events")).await;
    assert_eq!(
        list.text().matches("1 endpoint<").count(),
        21,
        "{}",
        list.text()
    );
    for known in model::catalog::Catalog::vantagekit().types() {
        let page = browser.get(&format!("{BASE}/events/{}", known.name)).await;
        assert_page(&page, StatusCode::OK);
        assert!(
            page.text().contains(&format!("test?type={}", known.name)),
            "{}",
            known.name
        );
        for field in known.schema["properties"].as_object().unwrap().keys() {
            assert!(
                page.text().contains(&format!("<code>{field}</code>")),
                "{} {field}",
                known.name
            );
        }
    }
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
