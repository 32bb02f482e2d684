//! What explains a delivery to whoever receives it: the signature debugger, and the request as a command.

use http::StatusCode;
use serde_json::json;

use super::{Browser, assert_page, between};
use crate::rig::Rig;

const BASE: &str = "/settings/teams/acme";

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
    let text = crate::rig::link_expired("it's").to_string();
    let text = text.replace("\":", "\":\r\n");
    let event = rig.publish_text(&team, &text).await;
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
