//! Hides how one connection is served to its end: its requests, its limits, and how it closes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http::header::{CONNECTION, EXPECT};
use http::{HeaderValue, Request, Response};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpStream;
use tracing::debug;
use web::Api;

use super::idle::{Line, Lines, Member};
use super::linger::{Lingering, lend};
use super::patience::Patient;

/// How much of a connection is read ahead: the largest head of a request, line and headers.
const HEAD_MAX: usize = 64 * 1024;

/// Serves one connection to its end.
pub(super) fn converse(
    stream: TcpStream,
    api: Api,
    lines: &Arc<Lines>,
    member: Member,
    graceful: &GracefulShutdown,
) -> impl Future<Output = ()> + Send + use<> {
    // Answers are small and whole: waiting to fill a packet would only delay them. Where the
    // option cannot be set the client is gone, and the first read says so.
    let _ = stream.set_nodelay(true);
    let lines = Arc::clone(lines);
    let line = Arc::clone(&member.line);
    let idle_limit = lines.idle_limit();
    let stream = Lingering::new(Patient::new(stream), Arc::clone(&line));
    let connection = http1::Builder::new()
        // `over` bounds it: hyper would bound the time between two requests by the same.
        .header_read_timeout(None)
        .max_buf_size(HEAD_MAX)
        .serve_connection(
            TokioIo::new(stream),
            service_fn(move |request| answer(&api, request, Arc::clone(&line), Arc::clone(&lines))),
        );
    let watched = graceful.watch(connection);
    async move {
        tokio::select! {
            biased; // what has come is read before it is asked whether the time is over
            ended = watched => if let Err(error) = ended {
                debug!("a connection ended early: {error}");
            },
            why = member.line.over(idle_limit) => debug!("a connection is closed: {why}"),
        }
    }
}

/// Answers one request once its body is read, so that no answer is lost to a client that still sends.
fn answer(
    api: &Api,
    request: Request<Incoming>,
    line: Arc<Line>,
    lines: Arc<Lines>,
) -> impl Future<Output = Result<Response<Told>, std::convert::Infallible>> + Send + use<> {
    line.request_begun();
    let asks = request.headers().contains_key(EXPECT);
    let (head, body) = request.into_parts();
    let (lent, remains) = lend(body);
    let answered = api.answer(Request::from_parts(head, Body::new(lent)));
    async move {
        let mut response = answered.await?;
        let read = remains.dropped(asks).await;
        if !read {
            line.leave_unread();
        }
        if !read || lines.are_wanted() {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        Ok(response.map(|body| Told { body, line }))
    }
}

/// The body of an answer, which tells the connection when all of it was given out.
struct Told {
    body: Body,
    line: Arc<Line>,
}

impl Drop for Told {
    fn drop(&mut self) {
        self.line.answered();
    }
}

impl http_body::Body for Told {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
