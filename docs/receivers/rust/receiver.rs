//! A webhook receiver on axum and vk-signature.
//!
//!     WEBHOOK_SECRET=whsec_… PORT=3000 cargo run --example receiver
//!
//! Cargo.toml: vk-signature, axum 0.8, tokio 1 (features "macros", "net", "rt-multi-thread"),
//! serde_json 1.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use vk_signature::{Failure, Scheme, Verified, Verifier};

const MAX_BODY_BYTES: usize = 1024 * 1024;
const MAX_REMEMBERED: usize = 100_000;

/// Whether a request is genuine and recent: the body is the raw body, `now` is in Unix seconds.
pub(crate) fn verify(
    verifier: &Verifier,
    headers: &HeaderMap,
    body: &[u8],
    now: i64,
) -> Result<Verified, Failure> {
    verifier.verify(Scheme::VantageKit, headers, body, now)
}

/// The deliveries that were handled: each may arrive twice, under the same id. In production this
/// is a unique column of your database, written in the same transaction as the work, so that it
/// outlives a restart.
#[derive(Default)]
struct Seen {
    ids: HashSet<Vec<u8>>,
    order: VecDeque<Vec<u8>>,
}

impl Seen {
    fn is_new(&mut self, id: &[u8]) -> bool {
        if !self.ids.insert(id.to_vec()) {
            return false;
        }
        self.order.push_back(id.to_vec());
        if self.order.len() > MAX_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}

struct Receiver {
    verifier: Verifier,
    seen: Mutex<Seen>,
}

async fn receive(
    State(receiver): State<Arc<Receiver>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let Ok(since_1970) = SystemTime::now().duration_since(UNIX_EPOCH) else {
        return StatusCode::INTERNAL_SERVER_ERROR; // the clock is wrong; it will be sent again
    };
    let now = since_1970.as_secs().try_into().unwrap_or(i64::MAX);
    if let Err(failure) = verify(&receiver.verifier, &headers, &body, now) {
        eprintln!("refused: {failure}");
        return StatusCode::UNAUTHORIZED;
    }
    // Only now: what is parsed has been verified.
    let Ok(event) = serde_json::from_slice::<serde_json::Value>(&body) else {
        return StatusCode::BAD_REQUEST;
    };
    let id = headers
        .get("X-VantageKit-Delivery")
        .map_or(&b""[..], |id| id.as_bytes());
    let mut seen = receiver.seen.lock().unwrap_or_else(PoisonError::into_inner);
    if seen.is_new(id) {
        tokio::spawn(handle(event));
    }
    StatusCode::NO_CONTENT
}

/// Your work. Slow work belongs into a durable queue, written before the answer.
async fn handle(event: serde_json::Value) {
    println!("received {}", event["type"].as_str().unwrap_or_default());
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let secret = std::env::var("WEBHOOK_SECRET").map_err(
        |_| "WEBHOOK_SECRET is not set: set it to the endpoint's secret, whsec_ included.",
    )?;
    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".to_owned());
    let receiver = Receiver {
        verifier: Verifier::new(&secret),
        seen: Mutex::default(),
    };
    let app = Router::new()
        .route("/", post(receive))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(Arc::new(receiver));
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on port {port}");
    axum::serve(listener, app).await?;
    Ok(())
}
