//! Hides how connections are accepted, read and answered.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::answer::{Answer, Arrival};

/// A receiver on loopback. It stops, with all its connections, when it is dropped.
pub struct Receiver {
    address: SocketAddr,
    scheme: &'static str,
    _running: DropGuard,
}

impl Receiver {
    /// Listens on a port of 127.0.0.1 (0 takes a free one), with TLS where there is a
    /// configuration for it, and asks `handler` about each request.
    ///
    /// # Errors
    /// Where the port cannot be had.
    pub async fn start<H, F>(port: u16, tls: Option<Arc<ServerConfig>>, handler: H) -> Result<Self>
    where
        H: Fn(Arrival) -> F + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = TcpListener::bind(wanted).await.with_context(|| {
            format!("cannot listen on {wanted}; choose another port, or 0 for a free one")
        })?;
        let address = listener.local_addr()?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let stopped = CancellationToken::new();
        let acceptor = tls.map(TlsAcceptor::from);
        let handler: Handler = Arc::new(move |arrival| Box::pin(handler(arrival)));
        tokio::spawn(accept(listener, acceptor, handler, stopped.clone()));
        Ok(Self {
            address,
            scheme,
            _running: stopped.drop_guard(),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a path of it, by its address.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }
}

type Handler = Arc<dyn Fn(Arrival) -> BoxFuture<'static, Answer> + Send + Sync>;

async fn accept(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    handler: Handler,
    stopped: CancellationToken,
) {
    loop {
        let stream = tokio::select! {
            () = stopped.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                // The client is gone again, or there are no files left for a moment.
                Err(_) => {
                    tokio::task::yield_now().await;
                    continue;
                }
            },
        };
        let (acceptor, handler) = (acceptor.clone(), Arc::clone(&handler));
        let stopped = stopped.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = converse(stream, acceptor, handler) => {}
            }
        });
    }
}

/// One connection to its end. How it ends is the sender's to judge: it is what is looked at.
async fn converse(stream: TcpStream, acceptor: Option<TlsAcceptor>, handler: Handler) {
    let _ = stream.set_nodelay(true);
    match acceptor {
        None => serve(stream, handler).await,
        Some(acceptor) => {
            if let Ok(stream) = acceptor.accept(stream).await {
                serve(stream, handler).await;
            }
        }
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, handler: Handler) {
    let service = service_fn(move |request| respond(request, Arc::clone(&handler)));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let _ = connection.await;
}

type Body = UnsyncBoxBody<Bytes, io::Error>;

async fn respond(request: Request<Incoming>, handler: Handler) -> io::Result<Response<Body>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let answer = handler(Arrival {
        method: parts.method,
        path: path.to_owned(),
        headers: parts.headers,
        body,
        at: SystemTime::now(),
    })
    .await;
    match answer {
        Answer::Respond {
            after,
            status,
            headers,
            body,
        } => {
            if !after.is_zero() {
                tokio::time::sleep(after).await;
            }
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            let body = Full::new(body).map_err(|never: Infallible| match never {});
            response.body(body.boxed_unsync()).map_err(io::Error::other)
        }
        Answer::Hang => std::future::pending().await,
        // An error of the service makes hyper close the connection.
        Answer::Close => Err(io::Error::other("closed on purpose")),
        Answer::StallBody => Ok(Response::new(beginning_then(None))),
        Answer::CutBody => Ok(Response::new(beginning_then(Some(io::Error::other(
            "cut on purpose",
        ))))),
    }
}

/// How long the beginning of a body takes to reach the other side before the body breaks off.
const BEGINNING: Duration = Duration::from_millis(100);

/// A body that begins, and then either fails or never goes on.
fn beginning_then(failure: Option<io::Error>) -> Body {
    let beginning = stream::once(async { Ok(Frame::data(Bytes::from_static(b"beginning"))) });
    let end = stream::once(async move {
        match failure {
            Some(error) => {
                tokio::time::sleep(BEGINNING).await;
                Err(error)
            }
            None => std::future::pending().await,
        }
    });
    StreamBody::new(beginning.chain(end)).boxed_unsync()
}
