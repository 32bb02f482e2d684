//! Hides the whole house behind the router, and what a call and its answer look like.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use egress::{BoxFuture, Connections, Exchange, Failure, Probe, Request, Response, Transport};
use engine::{Engine, EngineOptions, VirtualClock};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use model::attempt::{Reason, Timings};
use model::brand::Brand;
use model::catalog::Catalog;
use model::key::KeyHash;
use model::team::{Plan, Plans};
use model::time::Timestamp;
use serde_json::{Value, json};
use store::{Keyring, SqliteOptions, Store};
use web::{Api, WebOptions};

/// What the store's secrets are sealed with: the base64 of 32 bytes.
const SEALING_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

pub(crate) const ADMIN: &str = "vk_admin_0123456789ABCDEFGHIJKLMNOPQRSTUV";
/// When every test begins.
pub(crate) const START: &str = "2026-04-01T12:00:00.000Z";

/// What receivers were sent: path, headers and body.
pub(crate) type Received = (String, HeaderMap, Bytes);

/// Receivers that do as their URL says: the host decides how it resolves, the path what it answers.
#[derive(Default)]
pub(crate) struct Receivers(Mutex<Vec<Received>>);

impl Receivers {
    pub(crate) fn received(&self) -> Vec<Received> {
        self.0.lock().unwrap().clone()
    }
}

impl Transport for Receivers {
    fn exchange<'a>(&'a self, _: &'a Connections, request: Request<'a>) -> BoxFuture<'a, Exchange> {
        let url = request.url.as_str().to_owned();
        let path = url.splitn(4, '/').nth(3).unwrap_or_default().to_owned();
        let received = (path.clone(), (request.headers)(), request.body);
        self.0.lock().unwrap().push(received);
        let response = |status, headers: &[(&str, &str)], body: &'static [u8]| {
            let owned = |(name, value): &(&str, &str)| ((*name).into(), (*value).into());
            Ok(Response {
                status,
                headers: headers.iter().map(owned).collect(),
                body: Bytes::from_static(body),
            })
        };
        let result = match path.as_str() {
            "gone" => response(410, &[], b"no"),
            "fail" => response(500, &[("x-a", "1"), ("x-a", "2")], b"\xffoops"),
            "refuse" => Err(Failure {
                reason: Reason::ConnectionRefused,
                detail: "Nothing listens there.".into(),
                operator_detail: String::new(),
                ours: false,
                partial: None,
            }),
            _ => response(200, &[("content-type", "text/plain")], b"ok"),
        };
        Box::pin(async move {
            Exchange {
                remote_addr: Some("203.0.113.7:443".parse().unwrap()),
                timings: Timings {
                    dns_ms: Some(2),
                    first_byte_ms: Some(9),
                    ..Timings::default()
                },
                sent_twice: false,
                result,
            }
        })
    }

    fn probe<'a>(&'a self, url: &'a egress::ReceiverUrl) -> BoxFuture<'a, Probe> {
        let host = url
            .as_str()
            .split('/')
            .nth(2)
            .unwrap_or_default()
            .to_owned();
        Box::pin(async move {
            match host.as_str() {
                "new.receiver.dev" => Probe::Unresolved("The name does not resolve yet.".into()),
                "inside.receiver.dev" => Probe::Blocked(egress::UrlProblem {
                    sentence: "It resolves to an address that may not be reached.".into(),
                }),
                "panic.receiver.dev" => panic!("a probe that panics"),
                _ => Probe::Reachable,
            }
        })
    }
}

/// The whole house.
pub(crate) struct Rig {
    pub(crate) api: Api,
    pub(crate) engine: Engine,
    pub(crate) receivers: Arc<Receivers>,
    folder: PathBuf,
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A team with a key that may do everything.
pub(crate) struct Team {
    pub(crate) id: String,
    pub(crate) key: String,
}

impl Rig {
    pub(crate) async fn new() -> Self {
        Self::with(WebOptions::default()).await
    }

    pub(crate) async fn with(options: WebOptions) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        crate::log::keep();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("vk-web-{}-{number}", std::process::id()));
        let path = folder.join("store.db");
        let store =
            Store::open_sqlite(SqliteOptions { path }, Keyring::parse(SEALING_KEY).unwrap())
                .await
                .unwrap();
        let receivers = Arc::new(Receivers::default());
        let clock = Arc::new(VirtualClock::starting_at(
            Timestamp::parse_iso(START).unwrap(),
        ));
        let plan = |name: &str, endpoints, api_keys| Plan {
            name: name.into(),
            endpoints,
            api_keys,
        };
        let plans = Plans::new([
            plan("free", 0, 2),
            plan("small", 1, 1),
            plan("scale", 10, 5),
        ]);
        let engine_options = EngineOptions {
            plans: plans.unwrap(),
            brand: Brand {
                name: "Deals & Rooms".into(),
                ..Brand::default()
            },
            ..EngineOptions::default()
        };
        let engine = Engine::start(store, receivers.clone(), clock, engine_options);
        let engine = engine.await.unwrap();
        engine.set_operator_key(KeyHash::of(ADMIN));
        let catalog = Arc::new(Catalog::vantagekit());
        Self {
            api: web::api(engine.clone(), catalog, options),
            engine,
            receivers,
            folder,
        }
    }

    pub(crate) fn call(&self, method: &str, path: &str) -> Call {
        Call {
            api: self.api.clone(),
            request: http::Request::builder().method(method).uri(path),
            body: Body::empty(),
        }
    }

    /// A team on this plan.
    pub(crate) async fn team_on(&self, id: &str, plan: &str) -> Team {
        let made = self.call("POST", "/v1/teams").key(ADMIN);
        let made = made
            .json(&json!({"name": id, "id": id, "plan": plan}))
            .send()
            .await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
        let all = json!(["read", "webhooks:write", "events:write"]);
        Team {
            id: id.into(),
            key: self.key(id, all).await,
        }
    }

    pub(crate) async fn team(&self, id: &str) -> Team {
        self.team_on(id, "scale").await
    }

    /// A key of this team with these scopes.
    pub(crate) async fn key(&self, team: &str, scopes: Value) -> String {
        let path = format!("/v1/teams/{team}/api-keys");
        let made = self.call("POST", &path).key(ADMIN);
        let made = made
            .json(&json!({"name": "k", "scopes": scopes}))
            .send()
            .await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
        made.data()["key"].as_str().unwrap().to_owned()
    }

    /// An endpoint of this team for all events; its id.
    pub(crate) async fn key_ids(&self, team: &str) -> Vec<String> {
        let list = format!("/v1/teams/{team}/api-keys");
        let keys = self.call("GET", &list).key(ADMIN).send().await.data();
        let ids = keys.as_array().unwrap().iter();
        ids.map(|key| key["id"].as_str().unwrap().to_owned())
            .collect()
    }

    pub(crate) async fn endpoint(&self, team: &Team, path: &str) -> String {
        let url = format!("https://hooks.receiver.dev/{path}");
        let made = self.call("POST", "/v1/webhook-endpoints").key(&team.key);
        let made = made.json(&json!({ "url": url })).send().await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
        made.data()["id"].as_str().unwrap().to_owned()
    }

    /// Publishes an event; its id.
    pub(crate) async fn publish(&self, team: &Team) -> String {
        self.publish_text(team, &link_expired("Investors").to_string())
            .await
    }

    /// Publishes an event as it stands here; its id.
    pub(crate) async fn publish_text(&self, team: &Team, text: &str) -> String {
        let call = self.call("POST", "/v1/events").key(&team.key);
        let call = call.header("content-type", "application/json");
        let published = call.body(text.to_owned().into()).send().await;
        assert_eq!(
            published.status,
            StatusCode::ACCEPTED,
            "{}",
            published.text()
        );
        published.data()["id"].as_str().unwrap().to_owned()
    }

    /// Waits, in virtual time, until a delivery stands like this; the delivery with its attempts.
    pub(crate) async fn until(&self, team: &Team, delivery: &str, status: &str) -> Value {
        let path = format!("/v1/deliveries/{delivery}");
        for _ in 0..600 {
            let found = self
                .call("GET", &path)
                .key(ADMIN)
                .team(&team.id)
                .send()
                .await;
            assert_eq!(found.status, StatusCode::OK, "{}", found.text());
            if found.data()["status"] == status {
                return found.data();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("delivery {delivery} is not {status} after a minute");
    }

    /// The deliveries of an event.
    pub(crate) async fn deliveries_of(&self, team: &Team, event: &str) -> Vec<String> {
        let path = format!("/v1/events/{event}");
        let found = self
            .call("GET", &path)
            .key(ADMIN)
            .team(&team.id)
            .send()
            .await;
        let deliveries = found.data()["deliveries"].as_array().unwrap().clone();
        deliveries
            .iter()
            .map(|one| one["id"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// A valid event.
pub(crate) fn link_expired(name: &str) -> Value {
    json!({"type": "link.expired", "data": {
        "dealRoomId": "0b9f7f5c-3c43-4c59-9d3a-0f6f3a1d6a10",
        "linkId": "5f4dcc3b-5aa7-4d61-8d83-27deb882cf99",
        "name": name,
        "expiredAt": "2026-04-01T12:00:00Z"
    }})
}

/// A call in the making.
pub(crate) struct Call {
    api: Api,
    request: http::request::Builder,
    body: Body,
}

impl Call {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub(crate) fn key(self, key: &str) -> Self {
        self.header("authorization", &format!("Bearer {key}"))
    }

    pub(crate) fn team(self, id: &str) -> Self {
        self.header("x-vantagekit-team", id)
    }

    pub(crate) fn json(self, value: &Value) -> Self {
        self.raw_json(value.to_string())
    }

    pub(crate) fn raw_json(self, text: impl Into<Bytes>) -> Self {
        let text = text.into();
        self.header("content-type", "application/json")
            .body(Body::from(text))
    }

    pub(crate) fn body(mut self, body: Body) -> Self {
        self.body = body;
        self
    }

    /// The answer as it comes, its body unread.
    pub(crate) async fn open(self) -> http::Response<Body> {
        let request = self.request.body(self.body).unwrap();
        self.api.answer(request).await.unwrap()
    }

    pub(crate) async fn send(self) -> Answer {
        let response = self.open().await;
        let (parts, body) = response.into_parts();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// `data` of the envelope, which is checked.
    pub(crate) fn data(&self) -> Value {
        let mut whole = self.json();
        assert_eq!(whole["meta"]["apiVersion"], "2026-04-01", "{whole}");
        assert_eq!(whole.as_object().unwrap().len(), 2, "{whole}");
        whole["data"].take()
    }

    pub(crate) fn pagination(&self) -> Value {
        self.json()["meta"]["pagination"].take()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }

    /// Asserts the status and code of an error, and that it has nothing but its two fields, and where fields of the
    /// body are wrong the list of them.
    #[track_caller]
    pub(crate) fn assert_error(&self, status: u16, code: &str) -> String {
        let body = self.json();
        assert_eq!(
            (self.status.as_u16(), &body["code"]),
            (status, &json!(code)),
            "{body}"
        );
        let fields = if code == "invalid_payload" { 3 } else { 2 };
        assert_eq!(body.as_object().unwrap().len(), fields, "{body}");
        if let Some(first) = body["errors"].get(0) {
            let pointer = first["pointer"].as_str().unwrap();
            let error = first["error"].as_str().unwrap();
            let place = if pointer.is_empty() {
                "the body"
            } else {
                pointer
            };
            assert_eq!(body["error"], format!("{place}: {error}"), "{body}");
        }
        assert!(!self.header("x-request-id").is_empty());
        assert_eq!(self.header("content-type"), "application/json");
        let sentence = body["error"].as_str().unwrap();
        assert!(sentence.len() > 10, "{body}");
        sentence.to_owned()
    }
}
