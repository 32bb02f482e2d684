//! Hides nothing: the words for one exchange with a receiver, and the seam tests replace.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;

use bytes::Bytes;
use http::HeaderMap;
use model::attempt::{Reason, Timings};

use crate::connections::Connections;
use crate::receiver_url::{ReceiverUrl, UrlProblem};

/// A boxed future, for the seams.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What looking at the addresses behind a URL came to, when an endpoint is made or edited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// All its addresses may be reached.
    Reachable,
    /// It does not resolve now; the sentence is a warning for the customer.
    Unresolved(String),
    /// It resolves to an address that may not be reached; the sentence says which rule.
    Blocked(UrlProblem),
}

/// One HTTP request to send: a `POST`.
pub struct Request<'a> {
    /// Where to.
    pub url: &'a ReceiverUrl,
    /// Makes all headers but `Host`, `Content-Length`, `Accept` and `Accept-Encoding`, which are
    /// the transport's: the same ones each time. Asked once, and once more where a connection that was kept
    /// turns out to be closed, since what is sent is used up.
    pub headers: &'a (dyn Fn() -> HeaderMap + Sync),
    /// The body.
    pub body: Bytes,
    /// When the attempt is over, whatever phase it is in.
    pub deadline: tokio::time::Instant,
}

/// What one exchange came to.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The address connected to; where none could be, the one tried whose failure is told.
    pub remote_addr: Option<SocketAddr>,
    /// Where the time went.
    pub timings: Timings,
    /// Whether the request's bytes went out on two connections, so that the receiver may have seen it twice.
    pub sent_twice: bool,
    /// A complete response of any status but 1xx, or a failure.
    pub result: Result<Response, Failure>,
}

/// A complete response (or one cut at our own cap).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// Its status, 200-999.
    pub status: u16,
    /// Its headers: lower-case names, values lossily UTF-8; as many whole ones, in order, as fit
    /// in 16 KiB of names and values.
    pub headers: Vec<(String, String)>,
    /// The first 16 KiB of its body.
    pub body: Bytes,
}

/// An exchange that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The phase that failed.
    pub reason: Reason,
    /// A sentence for the customer; never an internal address.
    pub detail: String,
    /// What the operator may know on top of it (for the debug log): addresses, library errors.
    pub operator_detail: String,
    /// Whether the cause is this service's own machine or network (its sockets, its routes, its name
    /// servers), so that the receiver was not reached through no fault of its own. Then no byte of the
    /// request was sent.
    pub ours: bool,
    /// What was read of a response before it failed: status, headers and body so far.
    pub partial: Option<Response>,
}

/// One exchange with a receiver. The seam that tests replace; [`Egress`](crate::Egress) is the
/// real one.
pub trait Transport: Send + Sync + 'static {
    /// Sends `request` and reads the answer, all before its deadline.
    fn exchange<'a>(
        &'a self,
        connections: &'a Connections,
        request: Request<'a>,
    ) -> BoxFuture<'a, Exchange>;

    /// Resolves and vets a URL without connecting.
    fn probe<'a>(&'a self, url: &'a ReceiverUrl) -> BoxFuture<'a, Probe>;
}
