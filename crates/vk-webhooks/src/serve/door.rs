//! Hides how connections are accepted, bounded and ended.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::warn;
use web::Api;

use super::conversation::converse;
use super::idle::Lines;

/// How many connections the system keeps that are not accepted yet, where it keeps so many
/// (`net.core.somaxconn`). Beyond them it resets clients: the usual 128 are less than a burst.
const QUEUE: u32 = 4096;
/// How long to wait before accepting again where the system refuses to (no more open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The open door.
pub(super) struct Door {
    address: SocketAddr,
    close: oneshot::Sender<Duration>,
    closed: JoinHandle<()>,
}

impl Door {
    /// Answers who comes to `listener` by `api`, within the bounds of `lines`.
    pub(super) fn open(listener: TcpListener, lines: Arc<Lines>, api: Api) -> Result<Self> {
        let address = listener.local_addr()?;
        let (close, closing) = oneshot::channel();
        let closed = tokio::spawn(accept(listener, lines, api, closing));
        Ok(Self {
            address,
            close,
            closed,
        })
    }

    /// Where it is.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts no more, and lets the requests in flight end within `grace`.
    pub(super) async fn close(self, grace: Duration) {
        // Either fails only where the task has panicked, and then the door is closed.
        let _ = self.close.send(grace);
        let _ = self.closed.await;
    }
}

/// Listens at `address`, which `option` chose; until the door is open, whoever comes waits in the system's queue.
pub(super) fn listen(address: SocketAddr, option: &str) -> Result<TcpListener> {
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
    listener: TcpListener,
    lines: Arc<Lines>,
    api: Api,
    mut closing: oneshot::Receiver<Duration>,
) {
    let graceful = GracefulShutdown::new();
    let grace = loop {
        let arrival = async {
            // A place first: connections beyond the limit wait in the system's queue.
            let place = lines.place(&listener).await;
            (place, listener.accept().await)
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
    drop(listener);
    if tokio::time::timeout(grace, graceful.shutdown())
        .await
        .is_err()
    {
        warn!("some requests did not end in time and are cut off");
    }
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
        service.stop().await;
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
        service.stop().await;
    }
}
