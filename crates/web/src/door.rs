//! Hides what happens to every request before and after its handler: who asks, how often,
//! how large, what a panic becomes, and the one line in the log.

use std::any::Any;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use engine::Bearer;
use http::header::CONTENT_LENGTH;
use http::{Method, StatusCode};
use model::rate::Quota;
use tower_http::catch_panic::CatchPanicLayer;

use crate::App;
use crate::authority::{self, Caller};
use crate::body::{BATCH_MAX, BODY_MAX, DRAINED_MAX};
use crate::problem::Problem;
use crate::rate;

const EVENTS: &str = "/v1/events";
const BATCH: &str = "/v1/events/batch";

/// Puts the door before the routes.
pub(crate) fn enclose(routes: Router<App>, app: App) -> Router {
    routes
        .fallback(async || Problem::NotFound)
        .method_not_allowed_fallback(async || Problem::MethodNotAllowed)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(app.clone(), pass))
        .with_state(app)
}

async fn pass(State(app): State<App>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let response = if is_api(uri.path()) {
        pass_api(&app, request, next).await
    } else {
        next.run(request).await
    };
    app.answers.count(response.status());
    // The path only: a query may carry a token.
    log(&method, uri.path(), response.status(), started);
    response
}

fn is_api(path: &str) -> bool {
    path == "/v1" || path.starts_with("/v1/")
}

/// Everything under `/v1` needs a key, also what does not exist there.
async fn pass_api(app: &App, mut request: Request, next: Next) -> Response {
    let caller = match authority::identify(app, request.headers()) {
        Ok(caller) => caller,
        Err(problem) => return problem.into_response(),
    };
    let quota = count(app, &caller, &request);
    let mut response = match quota {
        Some(quota) if !quota.allowed => {
            let wait = quota.resets_at.since(app.engine.clock().now());
            Problem::RateLimited(wait).into_response()
        }
        _ if declares_too_much(&request) => {
            Problem::too_large(body_max(request.uri().path())).into_response()
        }
        _ => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
    };
    if let Some(quota) = quota {
        rate::write_headers(&quota, response.headers_mut());
    }
    response
}

/// The quota of a team's key; the operator has none. Publishing does not count.
fn count(app: &App, caller: &Caller, request: &Request) -> Option<Quota> {
    let Bearer::Team { team, key } = &caller.0 else {
        return None;
    };
    let publishes =
        request.method() == Method::POST && matches!(request.uri().path(), EVENTS | BATCH);
    let now = app.engine.clock().now();
    Some(app.rates.count(key.id, team.id, !publishes, now))
}

fn body_max(path: &str) -> usize {
    if path == BATCH { BATCH_MAX } else { BODY_MAX }
}

/// Whether the declared length alone rules the body out. Where a handler will read a body that is
/// a little too large, it is left to that handler, which can drain it: see [`crate::body`].
fn declares_too_much(request: &Request) -> bool {
    let length = request.headers().get(CONTENT_LENGTH);
    let Some(length) = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok()) else {
        return false;
    };
    let bodyless = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::DELETE
    );
    let most = if bodyless {
        body_max(request.uri().path())
    } else {
        DRAINED_MAX
    };
    length > most as u64
}

fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let what = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without words");
    Problem::internal(&format_args!("a handler panicked: {what}")).into_response()
}

fn log(method: &Method, path: &str, status: StatusCode, started: Instant) {
    let took = started.elapsed();
    if status.is_server_error() && may_warn(status) {
        tracing::warn!(%method, path, status = status.as_u16(), ?took, "answered with an error of ours");
    } else {
        tracing::debug!(%method, path, status = status.as_u16(), ?took, "answered");
    }
}

/// Every 500, but at most one 503 a second: under overload the log must not become the load.
fn may_warn(status: StatusCode) -> bool {
    static LAST: AtomicI64 = AtomicI64::new(i64::MIN);
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    if status != StatusCode::SERVICE_UNAVAILABLE {
        return true;
    }
    let second = START.get_or_init(Instant::now).elapsed().as_secs() as i64;
    LAST.swap(second, Ordering::Relaxed) != second
}
