//! Hides how one vetted address is connected to, and what a connection is to the rest of the crate.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::exchange::BoxFuture;
use crate::flow::{Flow, TcpFlow};

/// An address that was vetted → a connection to it. The seam for tests that bring their own network;
/// the real one is TCP.
pub trait Dialer: Send + Sync + 'static {
    /// Connects. Whoever asks has a deadline, and drops the future when it comes.
    fn dial(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Duplex>>>;
}

/// A connection as what it is to us: bytes in and bytes out.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {
    /// Has the connection reset when it is dropped, instead of closed in order: whatever has not left
    /// by then is thrown away.
    fn reset_when_dropped(&self);

    /// A view of the connection that says what of its bytes was acknowledged, where there is one.
    fn flow(&self) -> Option<Box<dyn Flow>> {
        None
    }
}

/// How long a connection is silent before the system asks whether the other end is still there, how often
/// it then asks, and how many questions may stay without answer. Together less than a connection may be
/// idle, so that one that died is found while it is.
const PROBE_AFTER: Duration = Duration::from_secs(10);
const PROBE_EVERY: Duration = Duration::from_secs(3);
const PROBES: u32 = 3;

impl Duplex for TcpStream {
    fn reset_when_dropped(&self) {
        // It fails only where the connection is gone already.
        let _ = self.set_zero_linger();
    }

    fn flow(&self) -> Option<Box<dyn Flow>> {
        let (local, remote) = (self.local_addr().ok()?, self.peer_addr().ok()?);
        Some(Box::new(TcpFlow { local, remote }))
    }
}

/// Connects by TCP.
pub(crate) struct Tcp;

impl Dialer for Tcp {
    fn dial(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Duplex>>> {
        Box::pin(async move {
            let stream = begin(address)?;
            stream.writable().await?;
            if let Some(error) = stream.take_error()? {
                return Err(from_the_network(error));
            }
            // A request leaves in one or two writes; waiting to coalesce them only costs time.
            stream.set_nodelay(true)?;
            let keepalive = TcpKeepalive::new()
                .with_time(PROBE_AFTER)
                .with_interval(PROBE_EVERY)
                .with_retries(PROBES);
            socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
            Ok(Box::new(stream) as Box<dyn Duplex>)
        })
    }
}

/// Begins to connect. What fails here was refused by this machine itself: nothing has left it.
fn begin(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    match socket.connect(&address.into()) {
        Err(error) if Errno::from_io_error(&error) != Some(Errno::INPROGRESS) => Err(error),
        _ => TcpStream::from_std(socket.into()),
    }
}

/// Something on the way refused.
#[derive(Debug, thiserror::Error)]
#[error("refused on the way: {0}")]
struct OnTheWay(io::Error);

/// An error that came by the network. Some have the number of an error of our own machine (a router's
/// "no route", a firewall's "prohibited" in IPv6) and must not be taken for one.
fn from_the_network(error: io::Error) -> io::Error {
    match Errno::from_io_error(&error) {
        Some(Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::ACCESS | Errno::PERM) => {
            io::Error::new(io::ErrorKind::HostUnreachable, OnTheWay(error))
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_is_made_and_a_refusal_is_said() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connected = Tcp.dial(address).await.unwrap();
        assert!(connected.flow().is_some());
        drop(listener);
        let refused = Tcp.dial(address).await.map(|_| ()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn what_the_network_says_is_not_taken_for_what_this_machine_says() {
        for (errno, same) in [
            (Errno::CONNREFUSED, true),
            (Errno::TIMEDOUT, true),
            (Errno::HOSTUNREACH, false),
            (Errno::NETUNREACH, false),
            (Errno::ACCESS, false),
            (Errno::PERM, false),
        ] {
            let error = from_the_network(errno.into());
            assert_eq!(Errno::from_io_error(&error).is_some(), same, "{errno}");
            let kind = io::Error::from(errno).kind();
            let expected = if same {
                kind
            } else {
                io::ErrorKind::HostUnreachable
            };
            assert_eq!(error.kind(), expected);
        }
    }
}
