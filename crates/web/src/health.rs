//! Hides how the service says that it is alive, ready and how much it does.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::problem::Problem;
use crate::render;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(alive))
        .routes(routes!(ready))
        .routes(routes!(metrics))
}

/// How many answers of each status were given.
pub(crate) struct Answers([AtomicU64; Self::STATUSES]);

impl Default for Answers {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; Self::STATUSES])
    }
}

impl Answers {
    const STATUSES: usize = 600;

    pub(crate) fn count(&self, status: StatusCode) {
        if let Some(counter) = self.0.get(usize::from(status.as_u16())) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// In Prometheus' text format.
    fn write(&self, text: &mut String) {
        text.push_str(
            "# HELP vk_webhooks_http_answers Answers of the HTTP API by status.\n\
             # TYPE vk_webhooks_http_answers counter\n",
        );
        for (status, counter) in self.0.iter().enumerate() {
            let count = counter.load(Ordering::Relaxed);
            if count > 0 {
                // Writing to a string cannot fail.
                let _ = writeln!(
                    text,
                    "vk_webhooks_http_answers_total{{status=\"{status}\"}} {count}"
                );
            }
        }
    }
}

/// How the service is.
#[derive(Serialize, ToSchema)]
struct Condition {
    /// `ok`.
    #[schema(example = "ok")]
    status: &'static str,
}

const OK: Condition = Condition { status: "ok" };

/// Whether the process is alive.
#[utoipa::path(get, path = "/healthz", tag = "Operation", operation_id = "getHealth", security(()),
    responses((status = 200, description = "It is alive.", body = Condition))
)]
async fn alive() -> Response {
    render::json(StatusCode::OK, &OK)
}

/// Whether the store can be reached.
#[utoipa::path(get, path = "/readyz", tag = "Operation", operation_id = "getReadiness", security(()),
    responses((status = 200, description = "It can take requests.", body = Condition))
)]
async fn ready(State(app): State<App>) -> Result<Response, Problem> {
    // Who routes by this one stops sending before the listener closes.
    if app.options.stopping.load(Ordering::Acquire) {
        return Err(Problem::Unavailable);
    }
    app.engine.store().ready().await?;
    Ok(render::json(StatusCode::OK, &OK))
}

/// Metrics, in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "Operation", operation_id = "getMetrics", security(()),
    responses((status = 200, description = "The metrics.", body = String, content_type = "text/plain"))
)]
async fn metrics(State(app): State<App>) -> Response {
    const END: &str = "# EOF\n";
    let mut text = app.engine.metrics().await;
    // The engine's text may be complete in itself; ours goes before its end.
    let ended = text.ends_with(END);
    text.truncate(text.len() - if ended { END.len() } else { 0 });
    app.answers.write(&mut text);
    write_log_lines_dropped(&mut text, (app.options.log_lines_dropped)());
    text.push_str(END);
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(CONTENT_TYPE, content_type)], text).into_response()
}

fn write_log_lines_dropped(text: &mut String, dropped: u64) {
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "# HELP vk_webhooks_log_lines_dropped Log lines that standard error did not take.\n\
         # TYPE vk_webhooks_log_lines_dropped counter\n\
         vk_webhooks_log_lines_dropped_total {dropped}"
    );
}
