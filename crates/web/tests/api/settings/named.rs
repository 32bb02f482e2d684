//! Whom the product names when it asks for a link is who made the changes in the session that the link opens.

use http::StatusCode;
use serde_json::{Value, json};

use super::{Browser, HOST, assert_page, link_for};
use crate::rig::{ADMIN, Answer, Rig};

const BASE: &str = "/settings/teams/acme";
const JANE: &str = "jane@acme.example";

async fn ask(rig: &Rig, body: &str) -> Answer {
    let call = rig.call("POST", "/v1/teams/acme/settings-link").key(ADMIN);
    let call = call.header("host", HOST);
    match body {
        "" => call.send().await,
        body => call.raw_json(body.to_owned()).send().await,
    }
}

/// The actors of the team's audit log, newest first, each with what it did.
async fn actors(rig: &Rig) -> Vec<(Value, String)> {
    let call = rig.call("GET", "/v1/audit-log?per_page=100");
    let answer = call.key(ADMIN).team("acme").send().await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let entries = answer.json()["data"].take();
    let actor = |entry: &Value| {
        let action = entry["action"].as_str().unwrap().to_owned();
        (entry["actor"].clone(), action)
    };
    entries.as_array().unwrap().iter().map(actor).collect()
}

/// The rows of the first page of the history: who, and what they did to what, without its markup.
async fn rows(browser: &Browser<'_>) -> Vec<(String, String)> {
    let page = browser.get(&format!("{BASE}/history")).await;
    assert_page(&page, StatusCode::OK);
    let cell = |row: &str, label: &str| {
        let (_, rest) = row.split_once(&format!("data-label=\"{label}\">")).unwrap();
        let cell = rest.split_once("</td>").unwrap().0;
        let pieces = cell.split('<').map(|piece| {
            let (_, text) = piece.split_once('>').unwrap_or(("", piece));
            text
        });
        pieces.collect::<String>()
    };
    let rows = page.text().split("<tr>").skip(2);
    rows.map(|row| (cell(row, "Who"), cell(row, "What")))
        .collect()
}

/// Changes an endpoint, rotates its secret, deletes it, makes a key and revokes it, all on the pages.
async fn change_everything(browser: &Browser<'_>, endpoint: &str) {
    let (path, keys) = (
        format!("{BASE}/webhooks/{endpoint}"),
        format!("{BASE}/keys"),
    );
    let settings = format!("{path}/settings");
    let url = ("url", "https://hooks.receiver.dev/ok");
    let edit = [url, ("description", "CRM"), ("events", "all")];
    let key = [("name", "Backend"), ("scope", "read")];
    for (to, fields, status) in [
        (settings.clone(), &edit[..], StatusCode::SEE_OTHER),
        (
            format!("{path}/rotate"),
            &[("overlap", "0")],
            StatusCode::OK,
        ),
        (
            format!("{path}/delete"),
            &[("name", "CRM")],
            StatusCode::SEE_OTHER,
        ),
        (keys.clone(), &key, StatusCode::CREATED),
    ] {
        let from = if to == keys { &keys } else { &settings };
        let done = browser.post(from, &to, fields).await;
        assert_eq!(done.status, status, "{to}: {}", done.text());
    }
    let list = browser.get(&keys).await;
    let (before, _) = list.text().rsplit_once("/revoke\"").unwrap();
    let (_, key) = before.rsplit_once("action=\"").unwrap();
    let revoked = browser.post(&keys, &format!("{key}/revoke"), &[]).await;
    assert_eq!(revoked.status, StatusCode::SEE_OTHER);
}

/// What [`change_everything`] leaves, newest first, in the API and on the page.
const ACTIONS: [(&str, &str); 5] = [
    ("api_key.deleted", "revoked the API key a revoked key"),
    ("api_key.created", "made the API key a revoked key"),
    (
        "webhook_endpoint.deleted",
        "deleted the endpoint a deleted endpoint",
    ),
    (
        "webhook_endpoint.secret_rotated",
        "rotated the secret of a deleted endpoint",
    ),
    (
        "webhook_endpoint.updated",
        "changed the endpoint a deleted endpoint",
    ),
];

#[tokio::test(start_paused = true)]
async fn who_a_link_is_for_is_checked_and_need_not_be_said() {
    let rig = Rig::new().await;
    rig.team("acme").await;
    let named = |name: &str| json!({ "actor": name }).to_string();
    for body in [
        String::new(),
        "{}".into(),
        "null".into(),
        r#"{"actor": null}"#.into(),
        named("x"),
        named(&"é".repeat(200)),
        named("Jane <jane@acme.example> \u{202e}"),
    ] {
        let made = ask(&rig, &body).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
        let made = made.data();
        let fields: Vec<_> = made.as_object().unwrap().keys().collect();
        assert_eq!(fields, ["expiresAt", "url"], "{body}");
    }
    for (body, pointer) in [
        (named(""), "/actor"),
        (named("  "), "/actor"),
        (named("a\nb"), "/actor"),
        (named("a\u{0}"), "/actor"),
        (named(&"é".repeat(201)), "/actor"),
        (r#"{"actor": 5}"#.into(), "/actor"),
        (r#"{"actor": ["a"]}"#.into(), "/actor"),
        (r#"{"actor": {"name": "a"}}"#.into(), "/actor"),
        (r#"{"name": "a"}"#.into(), "/name"),
        (r#"{"actor": "a", "team": "b"}"#.into(), "/team"),
        (r#"["a"]"#.into(), ""),
    ] {
        let refused = ask(&rig, &body).await;
        let sentence = refused.assert_error(422, "invalid_payload");
        assert!(
            sentence.starts_with(&format!("{pointer}: ")) || pointer.is_empty(),
            "{body}: {sentence}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn each_change_by_a_link_names_whom_the_link_was_made_for() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    for (name, actor, who) in [
        (
            Some(JANE),
            json!({"type": "settings_page", "name": JANE}),
            "jane@acme.example, at these pages",
        ),
        (
            None,
            json!({"type": "settings_page"}),
            "Somebody at these pages",
        ),
    ] {
        let endpoint = rig.endpoint(&team, "ok").await;
        let browser = Browser::named(&rig, "acme", name).await;
        change_everything(&browser, &endpoint).await;
        let of_api = ACTIONS.map(|(action, _)| (actor.clone(), action.to_owned()));
        assert_eq!(actors(&rig).await[..5], of_api);
        let of_page = ACTIONS.map(|(_, what)| (who.to_owned(), what.to_owned()));
        assert_eq!(rows(&browser).await[..5], of_page);
    }
    // Nobody else has a name.
    let others = actors(&rig).await;
    let others = others
        .iter()
        .filter(|(actor, _)| actor.get("name").is_some());
    assert_eq!(others.count(), 5);
    let log = crate::log::kept();
    assert!(!log.is_empty() && !log.contains(JANE), "{log}");
}

#[tokio::test(start_paused = true)]
async fn two_people_in_two_sessions_are_told_apart() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let endpoint = rig.endpoint(&team, "ok").await;
    let settings = format!("{BASE}/webhooks/{endpoint}/settings");
    let rotate = format!("{BASE}/webhooks/{endpoint}/rotate");
    let browsers = [
        Browser::named(&rig, "acme", Some(JANE)).await,
        Browser::named(&rig, "acme", Some("bob@acme.example")).await,
        Browser::named(&rig, "acme", None).await,
    ];
    let mut expected = Vec::new();
    for turn in [0, 1, 2, 1, 0] {
        let browser = &browsers[turn];
        let fields = [("overlap", "0")];
        let rotated = browser.post(&settings, &rotate, &fields).await;
        assert_page(&rotated, StatusCode::OK);
        let name = [Some(JANE), Some("bob@acme.example"), None][turn];
        expected.insert(0, name.map(str::to_owned));
    }
    let found = actors(&rig).await;
    let names = found[..5].iter();
    let names = names.map(|(actor, _)| actor["name"].as_str().map(str::to_owned));
    assert_eq!(names.collect::<Vec<_>>(), expected);

    // One who opens another link in the same browser is whom that one was made for, and Jane no longer.
    let other = link_for(&rig, "acme", Some("eve@acme.example")).await;
    let entered = browsers[0].get(&other).await;
    let eve = Browser::after(&rig, &entered);
    let rotated = eve.post(&settings, &rotate, &[("overlap", "0")]).await;
    assert_page(&rotated, StatusCode::OK);
    let newest = rows(&eve).await.remove(0);
    assert_eq!(newest.0, "eve@acme.example, at these pages");
    let left = browsers[0].get(&settings).await;
    assert_page(&left, StatusCode::UNAUTHORIZED);
}

#[tokio::test(start_paused = true)]
async fn a_name_is_shown_harmless_and_no_page_grows_with_it() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let endpoint = rig.endpoint(&team, "ok").await;
    let path = format!("{BASE}/webhooks/{endpoint}");
    let settings = format!("{path}/settings");
    let long = "'".repeat(200);
    for (name, shown) in [
        (
            "<script>alert(1)</script>",
            "&#60;script&#62;alert(1)&#60;/script&#62;, at these pages".to_owned(),
        ),
        (
            "jane\u{202e}moc.emca\u{200b}",
            "jane⟨U+202E⟩moc.emca⟨U+200B⟩, at these pages".to_owned(),
        ),
        ("The operator", "The operator, at these pages".to_owned()),
        (
            &"é".repeat(200),
            format!("{}…, at these pages", "é".repeat(125)),
        ),
        (&long, format!("{}…, at these pages", "&#39;".repeat(50))),
    ] {
        let browser = Browser::named(&rig, "acme", Some(name)).await;
        // A page full of them, each with values of the longest.
        for number in 0..26 {
            let description = "'".repeat(480 + number % 2);
            let url = ("url", "https://hooks.receiver.dev/ok");
            let edit = [url, ("description", &description), ("events", "all")];
            let saved = browser.post(&settings, &settings, &edit).await;
            assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.text());
        }
        let page = browser.get(&format!("{BASE}/history")).await;
        // Small, and no script of others.
        assert_page(&page, StatusCode::OK);
        let cell = format!("data-label=\"Who\">{shown}</td>");
        assert_eq!(page.text().matches(&cell).count(), 25, "{}", page.text());
        for hidden in ['\u{202e}', '\u{200b}'] {
            assert!(!page.text().contains(hidden), "{name}");
        }
        // The API says it as it was said.
        let found = actors(&rig).await;
        assert_eq!(found[0].0["name"], name);
    }
}
