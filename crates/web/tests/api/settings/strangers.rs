//! A stranger on every route there is: what is another team's is answered as what does not exist.

use http::StatusCode;

use super::{Browser, assert_page, token_of};
use crate::rig::{Answer, Rig};

/// The ids that routes name, of one team or of nobody.
struct Ids {
    endpoint: String,
    delivery: String,
    key: String,
    recovery: String,
}

impl Ids {
    /// The same text for all of them.
    fn all(text: &str) -> Self {
        Self {
            endpoint: text.into(),
            delivery: text.into(),
            key: text.into(),
            recovery: text.into(),
        }
    }

    /// A route's path with a team and these ids in it.
    fn fill(&self, path: &str, team: &str) -> String {
        let mut before = "";
        let filled = path.split('/').map(|part| {
            let filled = match (before, part) {
                (_, "{team}") => team,
                ("webhooks", "{id}") => &self.endpoint,
                ("deliveries", "{id}") => &self.delivery,
                ("keys", "{id}") => &self.key,
                (_, "{recovery}") => &self.recovery,
                // The catalog is everybody's.
                (_, "{type}") => "link.expired",
                (_, name) if name.starts_with('{') => panic!("{path}: whose is {name}?"),
                (_, part) => part,
            };
            before = part;
            filled.to_owned()
        });
        filled.collect::<Vec<_>>().join("/")
    }

    /// What is said, whatever of these it was said of.
    fn hide(&self, answer: &Answer) -> String {
        let ids = [&self.endpoint, &self.delivery, &self.key, &self.recovery];
        let text = answer.text().to_owned();
        ids.iter().fold(text, |text, id| text.replace(*id, "ID"))
    }
}

/// All that a form of any route asks for.
fn fields(ids: &Ids) -> [(&str, &str); 8] {
    [
        ("url", "https://hooks.receiver.dev/mine"),
        ("to", "pause"),
        ("name", "https://hooks.receiver.dev/gone"),
        ("type", "link.expired"),
        ("scope", "read"),
        ("secret", "whsec_x"),
        ("endpoint", &ids.endpoint),
        ("pick", &ids.delivery),
    ]
}

/// Another team with one of everything; what it has.
async fn furnished(rig: &Rig, id: &str) -> Ids {
    let team = rig.team(id).await;
    let endpoint = rig.endpoint(&team, "gone").await;
    let event = rig.publish(&team).await;
    let delivery = rig.deliveries_of(&team, &event).await.remove(0);
    rig.until(&team, &delivery, "dead_letter").await;
    let browser = Browser::of(rig, id).await;
    let log = format!("/settings/teams/{id}/deliveries");
    let status = [("status", "dead_letter")];
    let begun = browser
        .post(&log, &format!("{log}/retry-all"), &status)
        .await;
    assert_eq!(begun.status, StatusCode::SEE_OTHER, "{}", begun.text());
    let (_, recovery) = begun.header("location").rsplit_once('/').unwrap();
    assert_page(&browser.get(begun.header("location")).await, StatusCode::OK);
    // A dead letter again, so that there would be something to be retried.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    rig.until(&team, &delivery, "dead_letter").await;
    Ids {
        endpoint,
        delivery,
        key: rig.key_ids(id).await.remove(0),
        recovery: recovery.to_owned(),
    }
}

/// The routes that need no team: each is for everybody, or asks who is there by itself.
const NOBODYS: [&str; 13] = [
    "GET /settings",
    "GET /settings/enter",
    "GET /settings/first-run",
    "GET /settings/icon.svg",
    "GET /settings/script.js",
    "GET /settings/sign-in",
    "GET /settings/style.css",
    "POST /settings",
    "POST /settings/enter",
    "POST /settings/first-run",
    "POST /settings/sign-in",
    "POST /settings/sign-out",
    "GET /settings/teams/{team}",
];

#[tokio::test(start_paused = true)]
async fn on_every_route_another_team_s_things_are_as_if_they_were_not_there() {
    let rig = Rig::new().await;
    let acme = rig.team("acme").await;
    rig.endpoint(&acme, "ok").await;
    let theirs = furnished(&rig, "other").await;
    let (none, nonsense) = (
        Ids::all("019a6c3e-7d40-7a11-8f3b-5d2c1e0f9a87"),
        Ids::all("x"),
    );
    let browser = Browser::of(&rig, "acme").await;
    let token = token_of(&browser.get("/settings/teams/acme/webhooks").await);
    let missing = browser.get("/settings/teams/nobody/webhooks").await;
    assert_page(&missing, StatusCode::NOT_FOUND);
    let ask = async |method: &str, path: &str, ids: &Ids| match method {
        "GET" => browser.get(path).await,
        _ => browser.post_with(path, &token, &fields(ids)).await,
    };
    let routes = web::page_routes();
    let (mut walked, mut of_nobody) = (0, Vec::new());
    for (method, route) in &routes {
        let method = method.as_str();
        if !route.starts_with("/settings/teams/{team}/") {
            of_nobody.push(format!("{method} {route}"));
            continue;
        }
        // Below the other team, whatever else the path names.
        for (team, ids) in [("other", &theirs), ("other", &none), ("nobody", &theirs)] {
            let path = ids.fill(route, team);
            let answer = ask(method, &path, ids).await;
            assert_eq!(
                (answer.status, answer.text()),
                (StatusCode::NOT_FOUND, missing.text()),
                "{method} {path}"
            );
            walked += 1;
        }
        // Below one's own, naming what is the other's.
        if !route.contains("{id}") && !route.contains("{recovery}") {
            continue;
        }
        for ids in [&theirs, &none, &nonsense] {
            let path = ids.fill(route, "acme");
            let query = if route.ends_with("response.txt") {
                "?attempt=1"
            } else {
                ""
            };
            let answer = ask(method, &format!("{path}{query}"), ids).await;
            assert_eq!(
                (answer.status, answer.text()),
                (StatusCode::NOT_FOUND, missing.text()),
                "{method} {path}"
            );
            walked += 1;
        }
        // A form's address that is looked at says the same of everything.
        let only_forms = !routes.contains(&(http::Method::GET, route.clone()));
        for ids in [&theirs, &none].into_iter().filter(|_| only_forms) {
            let path = ids.fill(route, "acme");
            let answer = browser.get(&path).await;
            assert_page(&answer, StatusCode::METHOD_NOT_ALLOWED);
            assert_eq!(answer.header("allow"), "POST", "{path}");
            assert!(
                answer.text().contains("There is nothing to see here"),
                "{path}"
            );
        }
    }
    let (mut expected, mut found) = (NOBODYS.map(str::to_owned).to_vec(), of_nobody);
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    assert!(walked > 100, "{walked}");
}

#[tokio::test(start_paused = true)]
async fn what_a_query_or_a_form_names_of_another_team_s_is_as_if_it_were_not_there() {
    let rig = Rig::new().await;
    rig.team("acme").await;
    let theirs = furnished(&rig, "other").await;
    let none = Ids::all("019a6c3e-7d40-7a11-8f3b-5d2c1e0f9a87");
    let browser = Browser::of(&rig, "acme").await;
    let base = "/settings/teams/acme";
    let token = token_of(&browser.get(&format!("{base}/webhooks")).await);
    for (query, status) in [
        ("deliveries?endpoint={endpoint}", StatusCode::OK),
        ("deliveries?id={endpoint}", StatusCode::OK),
        ("deliveries?id={delivery}", StatusCode::OK),
        ("deliveries?cursor={delivery}", StatusCode::NOT_FOUND),
        (
            "deliveries/retry?endpoint={endpoint}",
            StatusCode::NOT_FOUND,
        ),
        ("deliveries/retry?id={endpoint}", StatusCode::NOT_FOUND),
        ("deliveries/retry?id={delivery}", StatusCode::NOT_FOUND),
        ("history?cursor={key}", StatusCode::NOT_FOUND),
    ] {
        let mut said = Vec::new();
        for ids in [&theirs, &none] {
            let query = query.replace("{endpoint}", &ids.endpoint);
            let query = query.replace("{delivery}", &ids.delivery);
            let query = query.replace("{key}", &ids.key);
            let answer = browser.get(&format!("{base}/{query}")).await;
            assert_page(&answer, status);
            said.push(ids.hide(&answer));
        }
        assert_eq!(said[0], said[1], "{query}");
    }
    let received = rig.receivers.received().len();
    let headers = |ids: &Ids| {
        format!(
            "X-VantageKit-Delivery: {}\nX-VantageKit-Timestamp: 1",
            ids.delivery
        )
    };
    for (path, status) in [
        ("deliveries/retry", StatusCode::NOT_FOUND),
        ("deliveries/retry-all", StatusCode::NOT_FOUND),
        ("debugger", StatusCode::OK),
    ] {
        let mut said = Vec::new();
        for ids in [&theirs, &none] {
            let headers = headers(ids);
            let mut fields = fields(ids).to_vec();
            fields.extend([("headers", headers.as_str()), ("body", "{}")]);
            let answer = browser
                .post_with(&format!("{base}/{path}"), &token, &fields)
                .await;
            assert_page(&answer, status);
            said.push(ids.hide(&answer));
        }
        assert_eq!(said[0], said[1], "{path}");
    }
    // Picked beside one's own it is no other: nothing of both is done.
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    assert_eq!(rig.receivers.received().len(), received);
}
