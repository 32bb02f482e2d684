//! A host name in Unicode stands beside its encoded form wherever its URL is shown, so that a look-alike is seen.

use http::StatusCode;

use super::{Browser, assert_page};
use crate::rig::Rig;

const BASE: &str = "/settings/teams/acme";

#[tokio::test(start_paused = true)]
async fn every_page_shows_a_host_name_in_both_forms() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let browser = Browser::of(&rig, "acme").await;
    let list = format!("{BASE}/webhooks");
    for (url, query, both) in [
        (
            "https://münchen.de/ok",
            "https%3A%2F%2Fm%C3%BCnchen.de%2Fok",
            "https://münchen.de/ok (xn--mnchen-3ya.de)",
        ),
        // Cyrillic letters that look like "apple".
        (
            "https://xn--80ak6aa92e.com/ok",
            "https%3A%2F%2Fxn--80ak6aa92e.com%2Fok",
            "https://xn--80ak6aa92e.com/ok (аррӏе.com)",
        ),
    ] {
        let checked = browser.get(&format!("{list}/check?url={query}")).await;
        assert!(checked.text().contains(" (xn--"), "{}", checked.text());
        let fields = [("url", url), ("events", "all")];
        let made = browser.post(&format!("{list}/new"), &list, &fields).await;
        assert_page(&made, StatusCode::CREATED);
        assert!(made.text().contains(both), "{}", made.text());
        let listed = rig.call("GET", "/v1/webhook-endpoints").key(&team.key);
        let id = listed.send().await.data()[0]["id"].clone();
        let path = format!("{list}/{}", id.as_str().unwrap());
        let event = rig.publish(&team).await;
        let delivery = rig.deliveries_of(&team, &event).await.remove(0);
        rig.until(&team, &delivery, "delivered").await;
        let sent = format!("{BASE}/deliveries/{delivery}");
        let pages = [&list, &path, &format!("{path}/settings"), &sent];
        for page in pages.into_iter().chain([&format!("{BASE}/history")]) {
            let page = browser.get(page).await;
            assert_page(&page, StatusCode::OK);
            assert!(page.text().contains(both), "{}", page.text());
        }
        // What is sent names the encoded form alone, and so does the command that sends it again.
        let page = browser.get(&sent).await;
        let text = page.text().replace("&#39;", "'").replace("&#x27;", "'");
        let host = both
            .split(['/', ' ', '(', ')'])
            .find(|part| part.starts_with("xn--"));
        let host = host.unwrap();
        assert!(text.contains(&format!("host:</span> {host}\n")), "{text}");
        assert!(
            text.contains(&format!("-X POST 'https://{host}/ok'")),
            "{text}"
        );
        // The name that a deletion asks for is the URL as it was written.
        let fields = [("name", url)];
        let settings = format!("{path}/settings");
        let gone = browser
            .post(&settings, &format!("{path}/delete"), &fields)
            .await;
        assert_eq!(gone.status, StatusCode::SEE_OTHER, "{}", gone.text());
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_name_in_ascii_stands_alone() {
    let rig = Rig::new().await;
    let team = rig.team("acme").await;
    let id = rig.endpoint(&team, "ok").await;
    let browser = Browser::of(&rig, "acme").await;
    for page in [
        "webhooks".to_owned(),
        format!("webhooks/{id}"),
        "history".into(),
    ] {
        let page = browser.get(&format!("{BASE}/{page}")).await;
        assert_page(&page, StatusCode::OK);
        assert!(page.text().contains("https://hooks.receiver.dev/ok"));
        assert!(!page.text().contains("https://hooks.receiver.dev/ok ("));
    }
}
