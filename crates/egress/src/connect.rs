//! Hides how one of several vetted addresses is reached: a new try every quarter of a second, the
//! first to connect wins.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::exchange::BoxFuture;
use crate::vet::Vetted;

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
}

impl Duplex for TcpStream {
    fn reset_when_dropped(&self) {
        // It fails only where the connection is gone already.
        let _ = self.set_zero_linger();
    }
}

/// Connects by TCP.
pub(crate) struct Tcp;

impl Dialer for Tcp {
    fn dial(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Duplex>>> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            // A request leaves in one or two writes; waiting to coalesce them only costs time.
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Duplex>)
        })
    }
}

/// How long an address is tried alone before the next joins it (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// Connects to the first of `targets` that answers. Runs until one has, or all have refused: the
/// caller's deadline ends it otherwise.
///
/// # Errors
/// The last refusal, where all refused (or there was nothing to try).
pub(crate) async fn connect(
    dialer: &dyn Dialer,
    targets: &[Vetted],
) -> io::Result<(Box<dyn Duplex>, SocketAddr)> {
    let mut waiting = targets.iter();
    let mut trying = FuturesUnordered::new();
    let mut refusal = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        if let Some(target) = waiting.next() {
            let address = target.address();
            trying.push(async move { Ok((dialer.dial(address).await?, address)) });
        } else if trying.is_empty() {
            return Err(refusal);
        }
        let more_wait = waiting.len() > 0;
        tokio::select! {
            Some(result) = trying.next() => match result {
                Ok(connected) => return Ok(connected),
                Err(error) => refusal = error,
            },
            () = tokio::time::sleep(STAGGER), if more_wait => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;
    use crate::vet::vet;

    #[tokio::test]
    async fn an_address_that_refuses_is_followed_by_the_next() {
        let listener = tokio::net::TcpListener::bind("127.0.0.2:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let policy = Policy {
            allow: vec!["127.0.0.0/8".parse().unwrap()],
            allow_http: false,
        };
        let answer = ["127.0.0.1".parse().unwrap(), "127.0.0.2".parse().unwrap()];
        let targets = vet(&answer, port, false, &policy).unwrap();
        let (_, reached) = connect(&Tcp, &targets).await.unwrap();
        assert_eq!(reached, listener.local_addr().unwrap());
        drop(listener);
        let refused = connect(&Tcp, &targets).await.map(|(_, address)| address);
        assert_eq!(
            refused.unwrap_err().kind(),
            io::ErrorKind::ConnectionRefused
        );
    }
}
