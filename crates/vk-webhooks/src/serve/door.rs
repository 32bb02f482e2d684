//! Hides how connections are accepted, bounded and ended.

use std::net::SocketAddr;
use std::sync::Arc;

use std::time::Duration;

use anyhow::{Result, anyhow};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tracing::{debug, info, warn};
use web::Api;

use super::conversation::converse;
use super::idle::Lines;

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
    /// Answers who comes to `listener` by `api`, within the bounds of `lines`.
    pub(super) fn open(listener: Listener, lines: Arc<Lines>, api: Api) -> Self {
        let (close, closing) = oneshot::channel();
        let closed = tokio::spawn(accept(listener, lines, api, closing));
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

    /// Listens at `address`, which `option` chose; until the door is open, whoever comes waits in the system's
    /// queue.
    pub(super) fn bind(address: SocketAddr, option: &str) -> Result<Self> {
        let tcp = bind(address, option)?;
        Ok(Self {
            address: tcp.local_addr()?,
            tcp,
            passed: false,
        })
    }

    /// The listener of a service manager.
    pub(super) fn passed(tcp: std::net::TcpListener) -> Result<Self> {
        tcp.set_nonblocking(true)?;
        info!("the listener was passed by the service manager; the setting listen is not used");
        let tcp = TcpListener::from_std(tcp)?;
        Ok(Self {
            address: tcp.local_addr()?,
            tcp,
            passed: true,
        })
    }
}

fn bind(address: SocketAddr, option: &str) -> Result<TcpListener> {
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
    listen().map_err(|error| anyhow!(why_not(address, option, &error)))
}

fn why_not(address: SocketAddr, option: &str, error: &std::io::Error) -> String {
    use std::io::ErrorKind::{AddrInUse, AddrNotAvailable, PermissionDenied};
    let advice = match error.kind() {
        AddrInUse => format!(
            "another program listens there already: stop it, or choose another address with \
             {option} (port 0 takes a free one)"
        ),
        AddrNotAvailable => format!(
            "this machine does not have that address: choose one it has with {option}, such as \
             127.0.0.1:8080 or 0.0.0.0:8080"
        ),
        PermissionDenied => format!(
            "the system does not allow it; ports below 1024 need a privilege: choose a higher one \
             with {option}"
        ),
        _ => format!("choose another address with {option}"),
    };
    format!("cannot listen on {address}: {advice} ({error})")
}

async fn accept(
    listener: Listener,
    lines: Arc<Lines>,
    api: Api,
    mut closing: oneshot::Receiver<Duration>,
) {
    let graceful = GracefulShutdown::new();
    let grace = loop {
        let arrival = async {
            // A place first: connections beyond the limit wait in the system's queue.
            let place = lines.place(&listener.tcp).await;
            (place, listener.tcp.accept().await)
        };
        let (place, stream) = tokio::select! {
            arrived = arrival => arrived,
            grace = &mut closing => break grace.unwrap_or_default(),
        };
        match stream {
            Ok((stream, peer)) => {
                let member = lines.admit(place);
                let api = api.at(peer.ip());
                tokio::spawn(converse(stream, api, &lines, member, &graceful));
            }
            Err(error) if concerns_one_client(&error) => {}
            Err(error) => {
                warn!("cannot accept connections now: {error}; trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    };
    let last = serve_queue(listener, lines, api);
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
async fn serve_queue(listener: Listener, lines: Arc<Lines>, api: Api) {
    // Never shut down: that would end a connection whose request was not read yet.
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    for (stream, peer) in queued(listener) {
        // Connections that are idle give their places back now.
        let member = lines.admit(lines.next_free_place().await);
        connections.spawn(converse(
            stream,
            api.at(peer.ip()),
            &lines,
            member,
            &graceful,
        ));
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

fn concerns_one_client(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::serve::Service;
    use crate::serve::idle::HEAD_TIMEOUT;
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

    #[tokio::test]
    async fn a_connection_is_kept_for_longer_than_a_proxy_keeps_it() {
        let folder = Folder::new("kept");
        let service = Service::start(&settings(&folder), None).await.unwrap();
        tokio::time::pause();
        let mut client = TcpStream::connect(service.address()).await.unwrap();
        let mut answer = [0; 12];
        for idle in [0, 59, 61, 350, 600] {
            sleep(idle * SECOND).await;
            let request = b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n";
            client.write_all(request).await.unwrap();
            client.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200", "after {idle} s");
            let mut rest = Vec::new();
            while !rest.ends_with(b"}") {
                client.read_buf(&mut rest).await.unwrap();
            }
        }
        let begun = Instant::now();
        assert_eq!(client.read(&mut answer).await.unwrap(), 0);
        let waited = begun.elapsed();
        assert!((620 * SECOND..650 * SECOND).contains(&waited), "{waited:?}");
        tokio::time::resume();
        service.stop(Duration::ZERO).await;
    }
}
