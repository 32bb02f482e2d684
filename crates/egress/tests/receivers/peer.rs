//! Hides how a test makes a transport and one exchange with it.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use hostile::certificates::Authority;
use hostile::name_server::{Answer, NameServer};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use model::attempt::Reason;
use tokio::net::TcpStream;
use vk_egress::{
    Connections, Egress, EgressOptions, Exchange, Failure, Policy, ReceiverUrl, Request, Response,
    Transport,
};

/// Who signs the certificates of the receivers.
pub(crate) static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| Authority::new().unwrap());

/// A policy that allows loopback (IPv4 and IPv6) and plain HTTP.
pub(crate) fn loopback() -> Policy {
    Policy {
        allow: vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
        allow_http: true,
    }
}

/// A transport that may reach loopback, trusts `roots` and asks `dns_server`.
pub(crate) fn egress(roots: Option<String>, dns_server: Option<SocketAddr>) -> Egress {
    Egress::new(options(roots, dns_server)).unwrap()
}

/// What [`egress`] is made of.
pub(crate) fn options(roots: Option<String>, dns_server: Option<SocketAddr>) -> EgressOptions {
    EgressOptions {
        policy: loopback(),
        extra_roots_pem: Some(roots.unwrap_or_else(|| AUTHORITY.pem()).into()),
        // Where a test needs no names, an address where nobody answers.
        dns_server: dns_server.or(Some("127.0.0.1:9".parse().unwrap())),
        ..EgressOptions::default()
    }
}

/// Parses under the loopback policy.
pub(crate) fn url(text: impl AsRef<str>) -> ReceiverUrl {
    ReceiverUrl::parse(text.as_ref(), &loopback()).unwrap()
}

/// Posts `body` with a deadline.
pub(crate) async fn post_with(
    egress: &Egress,
    connections: &Connections,
    url: &ReceiverUrl,
    body: Bytes,
    deadline: Duration,
) -> Exchange {
    let headers = || {
        let json = HeaderValue::from_static("application/json");
        HeaderMap::from_iter([(CONTENT_TYPE, json)])
    };
    let request = Request {
        url,
        headers: &headers,
        body,
        deadline: tokio::time::Instant::now() + deadline,
    };
    egress.exchange(connections, request).await
}

/// Posts a small body on a fresh connection with a generous deadline.
pub(crate) async fn post(egress: &Egress, url: &ReceiverUrl) -> Exchange {
    let body = Bytes::from_static(b"{\"type\":\"x\",\"data\":{}}");
    let deadline = Duration::from_secs(5);
    post_with(egress, &Connections::default(), url, body, deadline).await
}

/// The response of an exchange that must have one.
pub(crate) fn response(exchange: Exchange) -> Response {
    exchange.result.unwrap()
}

/// The failure of an exchange that must have one, checked for what a customer must never read.
pub(crate) fn failure(exchange: Exchange) -> Failure {
    let failure = exchange.result.unwrap_err();
    let detail = &failure.detail;
    assert!(detail.ends_with('.') && detail.len() > 20, "{detail:?}");
    failure
}

/// The reason of an exchange that must have failed.
pub(crate) fn reason(exchange: Exchange) -> Reason {
    failure(exchange).reason
}

/// Listens on a loopback port and runs `script` on each connection, with its number from 0.
pub(crate) async fn peer<S, F>(script: S) -> SocketAddr
where
    S: Fn(TcpStream, usize) -> F + Send + 'static,
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    hostile::peer(script).await.unwrap()
}

/// A name server that follows `script`.
pub(crate) async fn name_server(
    script: impl Fn(&str, usize) -> Answer + Send + Sync + 'static,
) -> NameServer {
    hostile::name_server::start(script).await.unwrap()
}
