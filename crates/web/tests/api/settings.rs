//! The settings pages from outside: the ways in and out, what keeps others out, and what every page promises.

mod access;
mod explained;
mod log;
mod named;
mod often;
mod pages;
mod sent;
mod strangers;
mod unicode;
mod work;

use http::StatusCode;
use serde_json::json;

use crate::rig::{ADMIN, Answer, Call, Rig};

const HOST: &str = "127.0.0.1:8080";

/// A link for a team, without its host.
async fn link(rig: &Rig, team: &str) -> String {
    link_for(rig, team, None).await
}

/// The same, for somebody of this name.
async fn link_for(rig: &Rig, team: &str, name: Option<&str>) -> String {
    let call = rig
        .call("POST", &format!("/v1/teams/{team}/settings-link"))
        .key(ADMIN);
    let call = match name {
        Some(name) => call.json(&json!({ "actor": name })),
        None => call,
    };
    let made = call.header("host", HOST).send().await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    let url = made.data()["url"].as_str().unwrap().to_owned();
    url.strip_prefix(&format!("http://{HOST}"))
        .unwrap()
        .to_owned()
}

/// The cookie that an answer sets under this name, as it is sent back.
fn cookie(answer: &Answer, name: &str) -> String {
    let set = answer.headers.get_all("set-cookie").iter();
    let set = set.map(|value| value.to_str().unwrap());
    let found = set
        .into_iter()
        .find(|line| line.starts_with(&format!("{name}=")));
    let found = found.unwrap_or_else(|| panic!("no cookie {name}: {answer:?}"));
    found.split(';').next().unwrap().to_owned()
}

fn assert_page(answer: &Answer, status: StatusCode) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    let policy = answer.header("content-security-policy");
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'")
            && policy.contains("frame-ancestors 'none'")
            && policy.contains("base-uri 'none'")
            && policy.contains("form-action 'self'")
            && !policy.contains("unsafe"),
        "{policy}"
    );
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("referrer-policy"), "same-origin");
    let text = answer.text();
    // Nothing in a page runs but the script of the binary, and nothing in it styles.
    assert_eq!(
        text.matches("<script").count(),
        text.matches(r#"<script src="/settings/script.js?v="#)
            .count()
    );
    for inline in [" style=", "<style", "javascript:"] {
        assert!(!text.contains(inline), "{inline} in {text}");
    }
    assert!(
        answer.body.len() < 100 * 1024,
        "{} bytes",
        answer.body.len()
    );
}

/// A browser that was let in.
struct Browser<'r> {
    rig: &'r Rig,
    cookie: String,
}

impl<'r> Browser<'r> {
    /// By a link into a team's pages.
    async fn of(rig: &'r Rig, team: &str) -> Self {
        Self::named(rig, team, None).await
    }

    /// By a link that was made for somebody of this name.
    async fn named(rig: &'r Rig, team: &str, name: Option<&str>) -> Self {
        let link = link_for(rig, team, name).await;
        Self::after(rig, &rig.call("GET", &link).send().await)
    }

    /// By what a link was answered with.
    fn after(rig: &'r Rig, entered: &Answer) -> Self {
        assert_eq!(entered.status, StatusCode::SEE_OTHER, "{}", entered.text());
        let cookie = cookie(entered, "vk_session");
        Self { rig, cookie }
    }

    /// With a key.
    async fn with_key(rig: &'r Rig, key: &str) -> Self {
        let signed_in = sign_in(rig, key).await;
        assert_eq!(
            signed_in.status,
            StatusCode::SEE_OTHER,
            "{}",
            signed_in.text()
        );
        let cookie = cookie(&signed_in, "vk_session");
        Self { rig, cookie }
    }

    fn call(&self, method: &str, path: &str) -> Call {
        self.rig
            .call(method, path)
            .header("host", HOST)
            .header("cookie", &self.cookie)
    }

    async fn get(&self, path: &str) -> Answer {
        self.call("GET", path).send().await
    }

    /// Sends a form as a page of ours does. `page` is one whose forms have the token.
    async fn post(&self, page: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
        let token = token_of(&self.get(page).await);
        self.post_with(path, &token, fields).await
    }

    async fn post_with(&self, path: &str, token: &str, fields: &[(&str, &str)]) -> Answer {
        form(self.call("POST", path), token, fields).send().await
    }
}

/// A form of ours.
fn form(call: Call, token: &str, fields: &[(&str, &str)]) -> Call {
    let mut body = url::form_urlencoded::Serializer::new(String::new());
    body.append_pair("csrf", token).extend_pairs(fields);
    let call = call.header("origin", &format!("http://{HOST}"));
    let call = call.header("content-type", "application/x-www-form-urlencoded");
    call.body(body.finish().into())
}

/// What a page's forms carry.
fn token_of(page: &Answer) -> String {
    let text = page.text();
    let (_, rest) = text
        .split_once(r#"name="csrf" value=""#)
        .unwrap_or_else(|| panic!("no form: {text}"));
    rest.split('"').next().unwrap().to_owned()
}

/// Signs in with a key, as the page for it does.
async fn sign_in(rig: &Rig, key: &str) -> Answer {
    let page = rig.call("GET", "/settings/sign-in").send().await;
    assert_page(&page, StatusCode::OK);
    let knocking = cookie(&page, "vk_knocking");
    let call = rig
        .call("POST", "/settings/sign-in")
        .header("host", HOST)
        .header("cookie", &knocking);
    form(call, &token_of(&page), &[("key", key)]).send().await
}

/// What stands between two texts.
fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let (_, rest) = text
        .split_once(before)
        .unwrap_or_else(|| panic!("no {before} in {text}"));
    rest.split(after).next().unwrap()
}
