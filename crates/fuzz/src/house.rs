//! Hides a whole service behind its router: two teams with their logs, people of one of them signed in, and
//! receivers that answer at once. Its clock stands still, and what is asked of it here changes nothing.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use axum::body::Body;
use bytes::Bytes;
use egress::{BoxFuture, Connections, Exchange, Probe, ReceiverUrl, Request, Response, Transport};
use engine::{Clock, Engine, EngineOptions};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::BodyExt as _;
use model::attempt::Timings;
use model::catalog::Catalog;
use model::key::KeyHash;
use model::rate::RateLimit;
use model::time::Timestamp;
use serde_json::{Value, json};
use store::{Keyring, SqliteOptions, Store};
use tokio::runtime::Runtime;
use web::{Api, WebOptions};

/// What the store's secrets are sealed with: the base64 of 32 bytes.
const SEALING_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
/// The operator's key.
const OPERATOR: &str = "vk_admin_0123456789ABCDEFGHIJKLMNOPQRSTUV";
/// The host that browsers ask at.
pub(crate) const HOST: &str = "hooks.example.com";
/// How many events each team has published.
const EVENTS: usize = 7;

/// A service.
pub(crate) struct House {
    runtime: Runtime,
    api: Api,
    /// The two teams.
    pub(crate) teams: [TeamOf; 2],
    /// The token of a session of the first team.
    pub(crate) session: String,
    /// What the forms of that session carry.
    pub(crate) form_token: String,
}

/// A team and what it may see.
pub(crate) struct TeamOf {
    pub(crate) id: &'static str,
    key: String,
    /// Its deliveries and the entries of its audit log, newest first.
    pub(crate) logs: [Vec<String>; 2],
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the API answers with JSON")
    }

    /// The ids of the list that it is, whose rows have one.
    pub(crate) fn ids(&self) -> Vec<String> {
        let json = self.json();
        let rows = json["data"].as_array().expect("a list");
        let ids = rows.iter().filter_map(|row| row["id"].as_str());
        ids.map(ToOwned::to_owned).collect()
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

/// The one service of this process.
pub(crate) fn house() -> MutexGuard<'static, House> {
    static HOUSE: LazyLock<Mutex<House>> = LazyLock::new(|| Mutex::new(House::new()));
    HOUSE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl House {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be made");
        let (api, engine) = runtime.block_on(open());
        let mut house = Self {
            runtime,
            api,
            teams: ["acme", "globex"].map(|id| TeamOf {
                id,
                key: String::new(),
                logs: Default::default(),
            }),
            session: String::new(),
            form_token: String::new(),
        };
        for number in 0..house.teams.len() {
            house.settle_in(number);
        }
        // What was published is delivered by now, or will be in a moment: the ids stay as they are.
        drop(engine);
        house.sign_in();
        house
    }

    /// Makes a team with an endpoint, a key and a log.
    fn settle_in(&mut self, number: usize) {
        let id = self.teams[number].id;
        let operator = Some(OPERATOR);
        self.make(
            "/v1/teams",
            operator,
            &json!({"id": id, "name": id, "plan": "scale"}),
        );
        let scopes = json!({"name": "k", "scopes": ["read", "webhooks:write", "events:write"]});
        let made = self.make(&format!("/v1/teams/{id}/api-keys"), operator, &scopes);
        let key = text_of(&made["data"]["key"]);
        let url = json!({"url": "https://receiver.example.com/"});
        self.make("/v1/webhook-endpoints", Some(&key), &url);
        for _ in 0..EVENTS {
            self.make("/v1/events", Some(&key), &event());
        }
        self.teams[number].key = key;
        self.teams[number].logs = ["/v1/deliveries", "/v1/audit-log"].map(|path| {
            let all = self.get_as_team(number, &format!("{path}?per_page=100"));
            all.ids()
        });
        let [deliveries, audit] = &self.teams[number].logs;
        assert!(deliveries.len() == EVENTS && audit.len() >= 3);
    }

    /// Opens a session by a link.
    fn sign_in(&mut self) {
        let id = self.teams[0].id;
        let link = self.make(
            &format!("/v1/teams/{id}/settings-link"),
            Some(OPERATOR),
            &Value::Null,
        );
        let link = text_of(&link["data"]["url"]);
        let path = &link[link.find("/settings").expect("a link to the pages")..];
        let entered = self.ask("GET", path, &[], Body::empty());
        let set = entered.headers.get("set-cookie").expect("a cookie is set");
        let set = set.to_str().expect("it is text");
        let pair = set.split(';').next().unwrap_or_default();
        let token = pair.strip_prefix("vk_session=").expect("the session's");
        self.session = token.to_owned();
        let cookie = [("cookie", HeaderValue::from_str(pair).expect("it is text"))];
        let page = self.ask(
            "GET",
            &format!("/settings/teams/{id}/debugger"),
            &cookie,
            Body::empty(),
        );
        let page = page.text();
        let begin = "name=\"csrf\" value=\"";
        let at = page.find(begin).expect("forms carry a token") + begin.len();
        self.form_token = page[at..].split('"').next().unwrap_or_default().to_owned();
        assert_eq!((self.session.len(), self.form_token.len()), (43, 43));
    }

    /// Posts JSON that makes something.
    fn make(&self, path: &str, key: Option<&str>, value: &Value) -> Value {
        let mut headers = vec![("host", HeaderValue::from_static(HOST))];
        let bearer = key.map(|key| HeaderValue::from_str(&format!("Bearer {key}")));
        headers.extend(bearer.map(|value| ("authorization", value.expect("it is text"))));
        let body = match value {
            Value::Null => Body::empty(),
            value => {
                let json = HeaderValue::from_static("application/json");
                headers.push(("content-type", json));
                Body::from(value.to_string())
            }
        };
        let answer = self.ask("POST", path, &headers, body);
        assert!(answer.status.is_success(), "{path}: {}", answer.text());
        answer.json()
    }

    /// Asks the API in a team's name.
    pub(crate) fn get_as_team(&self, number: usize, path: &str) -> Answer {
        let bearer = format!("Bearer {}", self.teams[number].key);
        let bearer = HeaderValue::from_str(&bearer).expect("it is text");
        self.ask("GET", path, &[("authorization", bearer)], Body::empty())
    }

    /// Asks the API as the operator.
    pub(crate) fn get_as_operator(&self, path: &str) -> Answer {
        let bearer = HeaderValue::from_str(&format!("Bearer {OPERATOR}")).expect("it is text");
        self.ask("GET", path, &[("authorization", bearer)], Body::empty())
    }

    /// The session's cookie.
    pub(crate) fn cookie(&self) -> HeaderValue {
        let pair = format!("vk_session={}", self.session);
        HeaderValue::from_str(&pair).expect("it is text")
    }

    /// Asks for anything. The path is one that a request can have.
    pub(crate) fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&'static str, HeaderValue)],
        body: Body,
    ) -> Answer {
        let mut request = http::Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(HeaderName::from_static(name), value);
        }
        let request = request.body(body).expect("a request as it is sent");
        self.runtime.block_on(async {
            let answer = self.api.answer(request).await;
            let (parts, body) = answer.unwrap_or_else(|never| match never {}).into_parts();
            let body = body.collect().await.expect("a body comes whole");
            Answer {
                status: parts.status,
                headers: parts.headers,
                body: body.to_bytes(),
            }
        })
    }
}

/// Opens a service on a new store.
async fn open() -> (Api, Engine) {
    let folder = std::env::temp_dir().join(format!("vk-fuzz-house-{}", std::process::id()));
    let keyring = Keyring::parse(SEALING_KEY).expect("a key");
    let options = SqliteOptions {
        path: PathBuf::from(&folder).join("store.db"),
    };
    let store = Store::open_sqlite(options, keyring)
        .await
        .expect("the store opens");
    // It lives as long as the process, which ends without a goodbye: open files outlive their names.
    std::fs::remove_dir_all(&folder).expect("the folder is ours");
    let options = EngineOptions::default();
    let engine = Engine::start(store, Arc::new(Obliging), Arc::new(Still), options);
    let engine = engine.await.expect("the engine starts");
    engine.set_operator_key(KeyHash::of(OPERATOR));
    let unlimited = RateLimit::per_hour(u32::MAX);
    let options = WebOptions {
        key_limit: unlimited,
        team_limit: unlimited,
        session_limit: unlimited,
        team_pages_limit: unlimited,
        wrong_key_limit: unlimited,
        public_url: None,
        ..WebOptions::default()
    };
    let api = web::api(engine.clone(), Arc::new(Catalog::vantagekit()), options);
    (api, engine)
}

fn event() -> Value {
    json!({"type": "link.expired", "data": {
        "dealRoomId": "0b9f7f5c-3c43-4c59-9d3a-0f6f3a1d6a10",
        "linkId": "5f4dcc3b-5aa7-4d61-8d83-27deb882cf99",
        "name": "Investors",
        "expiredAt": "2026-04-01T12:00:00Z"
    }})
}

/// A clock that stands still: the same bytes come to the same, whenever they are tried.
struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_795_000_000_000)
    }

    fn steady(&self) -> Timestamp {
        self.now()
    }
}

/// Receivers that take everything.
struct Obliging;

impl Transport for Obliging {
    fn exchange<'a>(&'a self, _: &'a Connections, _: Request<'a>) -> BoxFuture<'a, Exchange> {
        Box::pin(async {
            Exchange {
                remote_addr: None,
                timings: Timings::default(),
                sent_twice: false,
                result: Ok(Response {
                    status: 200,
                    ..Response::default()
                }),
            }
        })
    }

    fn probe<'a>(&'a self, _: &'a ReceiverUrl) -> BoxFuture<'a, Probe> {
        Box::pin(async { Probe::Reachable })
    }
}
