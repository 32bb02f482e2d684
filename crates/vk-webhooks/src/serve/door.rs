//! Hides how connections are accepted, bounded and ended.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, anyhow};
use axum::body::Body;
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tracing::{debug, info, warn};
use web::Api;

use super::patience::Patient;

/// How long a client may take to send the head of a request; also how long an idle connection
/// is kept. How long a body may take is the router's to say.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// How much of a connection is read ahead: the largest head of a request, line and headers.
const HEAD_MAX: usize = 64 * 1024;
/// How many connections the system keeps that are not accepted yet, where it keeps so many
/// (`net.core.somaxconn`). Beyond them it resets clients: the usual 128 are less than a burst.
const QUEUE: u32 = 4096;
/// How long to wait before accepting again where the system refuses to (no more open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long connections that were just accepted have to show a request, once the listener closes.
const SETTLED: Duration = Duration::from_millis(100);
/// How long those that were in the queue then may take.
const QUEUED_WITHIN: Duration = Duration::from_secs(5);

/// The open door.
pub(super) struct Door {
    close: oneshot::Sender<Duration>,
    closed: JoinHandle<()>,
}

impl Door {
    /// Answers who comes to `listener` by `api`, at most `most` connections at once. Once `stopping` is set
    /// each answer says that its connection ends with it.
    pub(super) fn open(
        listener: Listener,
        most: usize,
        api: Api,
        stopping: Arc<AtomicBool>,
    ) -> Self {
        let (close, closing) = oneshot::channel();
        let places = Arc::new(Semaphore::new(most));
        let answers = Answers { api, stopping };
        let closed = tokio::spawn(accept(listener, places, answers, closing));
        Self { close, closed }
    }

    /// Waits until it accepts no more although nobody closed it: its task has panicked.
    pub(super) async fn broken(&mut self) {
        // Why is in the log already.
        let _ = (&mut self.closed).await;
    }

    /// Accepts who has come already and no more, and lets the requests in flight end within `grace`.
    pub(super) async fn close(self, grace: Duration) {
        if self.closed.is_finished() {
            return; // it has panicked
        }
        // Either fails only where the task has panicked, and then the door is closed.
        let _ = self.close.send(grace);
        let _ = self.closed.await;
    }
}

/// Where connections come from.
pub(super) struct Listener {
    tcp: TcpListener,
    address: SocketAddr,
    /// A service manager has it too: who is in its queue is served by the next start.
    passed: bool,
}

impl Listener {
    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// The listener that was passed, else one at `address`; until the door is open, whoever comes waits in the
/// system's queue.
pub(super) fn listen(
    address: SocketAddr,
    passed: Option<std::net::TcpListener>,
) -> Result<Listener> {
    let is_passed = passed.is_some();
    let tcp = match passed {
        None => bind(address)?,
        Some(passed) => {
            passed.set_nonblocking(true)?;
            info!("the listener was passed by the service manager; the setting listen is not used");
            TcpListener::from_std(passed)?
        }
    };
    Ok(Listener {
        address: tcp.local_addr()?,
        tcp,
        passed: is_passed,
    })
}

fn bind(address: SocketAddr) -> Result<TcpListener> {
    let listen = || {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // A port that an earlier run still has old connections at can be had.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(QUEUE)
    };
    listen().map_err(|error| anyhow!(why_not(address, &error)))
}

fn why_not(address: SocketAddr, error: &std::io::Error) -> String {
    use std::io::ErrorKind::{AddrInUse, AddrNotAvailable, PermissionDenied};
    let advice = match error.kind() {
        AddrInUse => {
            "another program listens there already: stop it, or choose another address with \
             --listen (port 0 takes a free one)"
        }
        AddrNotAvailable => {
            "this machine does not have that address: choose one it has with --listen, such as \
             127.0.0.1:8080 or 0.0.0.0:8080"
        }
        PermissionDenied => {
            "the system does not allow it; ports below 1024 need a privilege: choose a higher one \
             with --listen"
        }
        _ => "choose another address with --listen",
    };
    format!("cannot listen on {address}: {advice} ({error})")
}

/// What answers requests.
#[derive(Clone)]
struct Answers {
    api: Api,
    stopping: Arc<AtomicBool>,
}

async fn accept(
    listener: Listener,
    places: Arc<Semaphore>,
    answers: Answers,
    mut closing: oneshot::Receiver<Duration>,
) {
    let graceful = GracefulShutdown::new();
    let grace = loop {
        let arrival = async {
            // A place first: connections beyond the limit wait in the system's queue.
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.tcp.accept().await)
        };
        let (place, stream) = tokio::select! {
            arrived = arrival => arrived,
            grace = &mut closing => break grace.unwrap_or_default(),
        };
        match stream {
            Ok((stream, peer)) => {
                let connection = converse(stream, answers.at(peer), &graceful);
                tokio::spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) if concerns_one_client(&error) => {}
            Err(error) => {
                warn!("cannot accept connections now: {error}; trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    };
    let last = serve_queue(listener, places, answers);
    let settled = async {
        // Those accepted last have their requests read first: a connection without one is closed.
        tokio::time::sleep(SETTLED).await;
        graceful.shutdown().await;
    };
    let ended = async { tokio::join!(settled, last) };
    if tokio::time::timeout(grace, ended).await.is_err() {
        warn!("some requests did not end in time and are cut off");
    }
}

/// Serves those who have connected and were not accepted yet: closing the listener would reset them. Each is
/// answered once, and its connection ends with that.
async fn serve_queue(listener: Listener, places: Arc<Semaphore>, answers: Answers) {
    // Never shut down: that would end a connection whose request was not read yet.
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    for (stream, peer) in queued(listener) {
        // Connections that are idle give their places back now.
        let place = Arc::clone(&places).acquire_owned().await;
        let connection = converse(stream, answers.at(peer), &graceful);
        connections.spawn(async move {
            connection.await;
            drop(place);
        });
    }
    // Who sends nothing is not waited for.
    if tokio::time::timeout(QUEUED_WITHIN, connections.join_all())
        .await
        .is_err()
    {
        debug!("clients of the queue sent no whole request in time");
    }
}

/// All who wait in the system's queue, which is closed then.
fn queued(listener: Listener) -> Vec<(TcpStream, SocketAddr)> {
    let mut queued = Vec::new();
    if listener.passed {
        return queued;
    }
    // Asked of the system itself: what the runtime knows may be a little old.
    let Ok(listener) = listener.tcp.into_std() else {
        return queued;
    };
    while queued.len() < QUEUE as usize {
        match listener.accept() {
            Ok((stream, peer)) => {
                // Where it cannot be set up the client sees its connection end.
                let stream = stream
                    .set_nonblocking(true)
                    .and_then(|()| TcpStream::from_std(stream));
                queued.extend(stream.map(|stream| (stream, peer)));
            }
            Err(error) if concerns_one_client(&error) => {}
            // Nobody is left, or no more files can be opened.
            Err(_) => break,
        }
    }
    queued
}

impl Answers {
    /// For who connects from there.
    fn at(&self, peer: SocketAddr) -> Self {
        Self {
            api: self.api.at(peer.ip()),
            stopping: Arc::clone(&self.stopping),
        }
    }

    fn answer(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<Body>, Infallible>> + Send + use<> {
        let answer = self.api.answer(request.map(Body::new));
        let stopping = Arc::clone(&self.stopping);
        async move {
            let mut response = answer.await?;
            if stopping.load(Ordering::Acquire) {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            Ok(response)
        }
    }
}

fn concerns_one_client(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

/// Serves one connection to its end.
fn converse(
    stream: TcpStream,
    answers: Answers,
    graceful: &GracefulShutdown,
) -> impl Future<Output = ()> + Send + use<> {
    // Answers are small and whole: waiting to fill a packet would only delay them. Where the
    // option cannot be set the client is gone, and the first read says so.
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_MAX)
        .serve_connection(
            TokioIo::new(Patient::new(stream)),
            service_fn(move |request: Request<Incoming>| answers.answer(request)),
        );
    let watched = graceful.watch(connection);
    async move {
        if let Err(error) = watched.await {
            debug!("a connection ended early: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::serve::Service;
    use crate::serve::tests::{Folder, settings};

    const SECOND: Duration = Duration::from_secs(1);
    const BEGINNING: &[u8] = b"GET /healthz HTTP/1.1\r\nconnection: close\r\nhost: x";

    #[tokio::test]
    async fn a_head_that_does_not_end_is_given_up_and_a_slow_one_is_not() {
        let folder = Folder::new("door");
        let service = Service::start(&settings(&folder), None).await.unwrap();
        // Time goes by where all wait.
        tokio::time::pause();
        for (beginning, drips) in [(&b""[..], false), (BEGINNING, false), (BEGINNING, true)] {
            let client = TcpStream::connect(service.address()).await.unwrap();
            let begun = Instant::now();
            let (mut reader, mut writer) = client.into_split();
            let write = async {
                writer.write_all(beginning).await.unwrap();
                loop {
                    sleep(10 * SECOND).await;
                    if drips {
                        // The reader learns of its end, too.
                        let _ = writer.write_all(b"x").await;
                    }
                }
            };
            let mut answer = Vec::new();
            tokio::select! {
                // A reset is an end as well.
                _ = reader.read_to_end(&mut answer) => {}
                _ = write => {}
                () = sleep(2 * HEAD_TIMEOUT) => {}
            }
            let told = String::from_utf8_lossy(beginning);
            assert!(!answer.starts_with(b"HTTP/1.1 2"), "{told:?}, {drips}");
            let waited = begun.elapsed();
            // Some time may go by while the system passes on what was written.
            let due = HEAD_TIMEOUT..HEAD_TIMEOUT * 3 / 2;
            assert!(due.contains(&waited), "{told:?}, {drips}: {waited:?}");
        }

        let mut client = TcpStream::connect(service.address()).await.unwrap();
        client.write_all(BEGINNING).await.unwrap();
        sleep(HEAD_TIMEOUT / 2).await;
        client.write_all(b"\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        tokio::time::resume();
        service.stop(Duration::ZERO).await;
    }
}
