//! Hides what happens to every request before and after its handler: who asks, how often,
//! how large, what a panic becomes, and the one line in the log.

use std::any::Any;
use std::convert::Infallible;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use engine::Bearer;
use futures_util::FutureExt;
use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderMap, Method, StatusCode, Uri};
use model::rate::Quota;
use tower::Service;

use crate::App;
use crate::authority::{self, Caller};
use crate::body::{BATCH_MAX, BODY_MAX, DRAINED_MAX};
use crate::problem::Problem;
use crate::rate;
use crate::request_id::RequestId;
use crate::settings;

const EVENTS: &str = "/v1/events";
const BATCH: &str = "/v1/events/batch";

/// The whole HTTP surface of the service: the door and the routes behind it. Cheap to clone.
///
/// It is no layer of the router's, as a layer costs each request several copies of the routes
/// behind it.
#[derive(Clone)]
pub struct Api {
    app: App,
    routes: Router,
    /// Who is at the other end of the connection, where that is known.
    peer: Option<IpAddr>,
    part: Part,
}

/// Which part of the surface is served.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    All,
    /// All but the metrics.
    WithoutMetrics,
    /// What a monitor asks for: the metrics, and whether the service is alive and ready.
    OnlyOperation,
}

const METRICS: &str = "/metrics";
const OPERATION: [&str; 3] = [METRICS, "/healthz", "/readyz"];

impl Part {
    fn has(self, path: &str) -> bool {
        match self {
            Self::All => true,
            Self::WithoutMetrics => path != METRICS,
            Self::OnlyOperation => OPERATION.contains(&path),
        }
    }
}

impl Api {
    /// Puts the door before the routes.
    pub(crate) fn enclose(routes: Router<App>, app: App) -> Self {
        let routes = routes
            .fallback(async |uri: Uri| Problem::no_such_path(uri.path()))
            .method_not_allowed_fallback(wrong_method)
            .with_state(app.clone());
        Self {
            app,
            routes,
            peer: None,
            part: Part::All,
        }
    }

    /// The same without the metrics.
    #[must_use]
    pub fn without_metrics(&self) -> Self {
        Self {
            part: Part::WithoutMetrics,
            ..self.clone()
        }
    }

    /// Only what a monitor asks for: `/metrics`, `/healthz` and `/readyz`.
    #[must_use]
    pub fn only_operation(&self) -> Self {
        Self {
            part: Part::OnlyOperation,
            ..self.clone()
        }
    }

    /// The same for the requests of one connection, whose other end is at this address.
    #[must_use]
    pub fn at(&self, peer: IpAddr) -> Self {
        Self {
            peer: Some(peer),
            ..self.clone()
        }
    }

    /// Answers a request. Which of the routes answers it is found at once, so that the future does
    /// not carry the request about.
    pub fn answer(
        &self,
        mut request: Request,
    ) -> impl Future<Output = Result<Response, Infallible>> + Send + use<> {
        let started = Instant::now();
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let app = self.app.clone();
        let id = app.request_ids.of(request.headers());
        let (quota, entered) = if !self.part.has(uri.path()) {
            (None, Err(Problem::no_such_path(uri.path())))
        } else if let Err(problem) = one_host(request.headers()) {
            (None, Err(problem))
        } else if is_api(uri.path()) {
            enter(&app, &mut request)
        } else {
            if let Some(peer) = self.peer {
                request.extensions_mut().insert(settings::Peer(peer));
            }
            (None, Ok(()))
        };
        let routed = entered.map(|()| self.routes.clone().call(request));
        async move {
            let mut response = match routed {
                Ok(answer) => or_panicked(answer).await,
                Err(problem) => problem.into_response(),
            };
            if let Some(quota) = quota {
                rate::write_headers(&quota, response.headers_mut());
            }
            id.write(response.headers_mut());
            app.answers.count(response.status());
            // The path only: a query may carry a token.
            log(&id, &method, uri.path(), response.status(), started);
            Ok(response)
        }
    }
}

/// Refuses a request with more than one `Host`, as RFC 9112, section 3.2 demands: a proxy and this service could each
/// look at another of them.
fn one_host(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.get_all(HOST).iter().nth(1) {
        None => Ok(()),
        Some(_) => Err(Problem::InvalidRequest(
            "The request has the header `Host` more than once; send it once.".into(),
        )),
    }
}

fn is_api(path: &str) -> bool {
    path == "/v1" || path.starts_with("/v1/")
}

async fn wrong_method(uri: Uri) -> Response {
    if settings::is_page(uri.path()) {
        settings::only_forms()
    } else {
        Problem::MethodNotAllowed.into_response()
    }
}

/// Everything under `/v1` needs a key, also what does not exist there. Puts who asks into the
/// request; the quota of who asks is told whether it may enter or not.
fn enter(app: &App, request: &mut Request) -> (Option<Quota>, Result<(), Problem>) {
    let caller = match authority::identify(app, request.headers()) {
        Ok(caller) => caller,
        Err(problem) => return (None, Err(problem)),
    };
    let quota = count(app, &caller, request);
    let entered = match quota {
        Some(quota) if !quota.allowed => {
            let wait = quota.resets_at.since(app.engine.clock().now());
            Err(Problem::RateLimited(wait))
        }
        _ if declares_too_much(request) => Err(Problem::too_large(body_max(request.uri().path()))),
        _ => {
            request.extensions_mut().insert(caller);
            Ok(())
        }
    };
    (quota, entered)
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

/// The answer, or a 500 where the handler panics.
async fn or_panicked(answer: impl Future<Output = Result<Response, Infallible>>) -> Response {
    match AssertUnwindSafe(answer).catch_unwind().await {
        Ok(Ok(response)) => response,
        Err(panic) => panicked(&*panic),
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Response {
    let what = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without words");
    Problem::internal(&format_args!("a handler panicked: {what}")).into_response()
}

fn log(id: &RequestId, method: &Method, path: &str, status: StatusCode, started: Instant) {
    let took = started.elapsed();
    let request = id.as_str();
    if status.is_server_error() && may_warn(status) {
        tracing::warn!(request, %method, path, status = status.as_u16(), ?took, "answered with an error of ours");
    } else {
        tracing::debug!(request, %method, path, status = status.as_u16(), ?took, "answered");
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
