//! Reaches a stranger's server safely: resolve, vet, pin, TLS, one exchange under one deadline.
//!
//! SKELETON of the public surface. The rooms are to be made by whoever fills it.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;

use bytes::Bytes;
use http::HeaderMap;
use ipnet::IpNet;
use model::attempt::{Reason, Timings};

/// A boxed future, for the seams.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What may be reached beyond the default rules.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Addresses allowed in spite of the SSRF rules (`--allow-cidr`).
    pub allow: Vec<IpNet>,
    /// Whether `http:` is allowed too (`--allow-http`).
    pub allow_http: bool,
}

/// A URL that deliveries may be sent to: parsed once, and only this form is ever used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiverUrl {
    // private
}

/// Why a URL may not receive deliveries; displays as a sentence that says which rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub struct UrlProblem {
    /// The sentence, for the customer.
    pub sentence: String,
}

impl ReceiverUrl {
    /// Parses and checks what can be checked without resolving a name.
    pub fn parse(_text: &str, _policy: &Policy) -> Result<Self, UrlProblem> {
        todo!()
    }
    /// The URL in its normal form.
    pub fn as_str(&self) -> &str {
        todo!()
    }
}

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

/// One HTTP request to send.
pub struct Request<'a> {
    /// Where to.
    pub url: &'a ReceiverUrl,
    /// All headers but `Host` and `Content-Length`.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// When the attempt is over, whatever phase it is in.
    pub deadline: tokio::time::Instant,
}

/// What one exchange came to.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The address connected to.
    pub remote_addr: Option<SocketAddr>,
    /// Where the time went.
    pub timings: Timings,
    /// A complete response of any status but 1xx, or a failure.
    pub result: Result<Response, Failure>,
}

/// A complete response (or one cut at our own cap).
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// Its status, 200-999.
    pub status: u16,
    /// Its headers: lower-case names, values lossily UTF-8, in order, bounded.
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
    /// What was read of a response before it failed: status, headers and body so far.
    pub partial: Option<Response>,
}

/// The connections kept alive to one endpoint. The engine keeps one such value per endpoint and
/// drops it when the endpoint changes; connections are never shared between endpoints.
#[derive(Default)]
pub struct Connections {
    // private
}

/// One exchange with a receiver. The seam that tests replace: [`Egress`] is the real one.
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

/// Name → addresses. The seam for tests of rebinding and stalls.
pub trait Resolver: Send + Sync + 'static {
    /// Every address of `host`.
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, ResolveError>>;
}

/// Why a name has no addresses.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ResolveError {
    /// There is no such name, or it has no address.
    #[error("the name does not exist")]
    NotFound,
    /// The name servers answered with an error.
    #[error("the name servers answered with an error: {0}")]
    Failed(String),
    /// The name servers did not answer in time.
    #[error("the name servers did not answer in time")]
    Timeout,
}

/// What the real transport is made of.
#[derive(Clone, Debug, Default)]
pub struct EgressOptions {
    /// What may be reached beyond the default rules.
    pub policy: Policy,
    /// Extra trust roots, as PEM (`--ca-file`).
    pub extra_roots_pem: Option<Vec<u8>>,
    /// The name server to ask instead of the system's (`--dns-server`).
    pub dns_server: Option<SocketAddr>,
}

/// The real transport: DNS, vetting, TCP, TLS, HTTP/1.1.
pub struct Egress {
    // private
}

/// Why the transport could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct EgressError(pub String);

impl Egress {
    /// The real transport.
    pub fn new(_options: EgressOptions) -> Result<Self, EgressError> {
        todo!()
    }
}

impl Transport for Egress {
    fn exchange<'a>(
        &'a self,
        _connections: &'a Connections,
        _request: Request<'a>,
    ) -> BoxFuture<'a, Exchange> {
        todo!()
    }
    fn probe<'a>(&'a self, _url: &'a ReceiverUrl) -> BoxFuture<'a, Probe> {
        todo!()
    }
}
