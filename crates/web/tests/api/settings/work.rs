//! What a team keeps from the pages, done as a browser without scripts does it: endpoints, keys, and the catalog.

use http::StatusCode;
use serde_json::json;

use super::{Browser, assert_page, between};
use crate::rig::Rig;

const BASE: &str = "/settings/teams/acme";

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
