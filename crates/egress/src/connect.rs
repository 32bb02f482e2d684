//! Hides how one of several vetted addresses is reached: a new try every quarter of a second, the
//! first to connect wins.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;

use crate::vet::Vetted;

/// How long an address is tried alone before the next joins it (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// Connects to the first of `targets` that answers. Runs until one has, or all have refused: the
/// caller's deadline ends it otherwise.
///
/// # Errors
/// The last refusal, where all refused (or there was nothing to try).
pub(crate) async fn connect(targets: &[Vetted]) -> io::Result<(TcpStream, SocketAddr)> {
    let mut waiting = targets.iter();
    let mut trying = FuturesUnordered::new();
    let mut refusal = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        if let Some(target) = waiting.next() {
            trying.push(connect_one(target.address()));
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

async fn connect_one(address: SocketAddr) -> io::Result<(TcpStream, SocketAddr)> {
    let stream = TcpStream::connect(address).await?;
    // A request leaves in one or two writes; waiting to coalesce them only costs time.
    stream.set_nodelay(true)?;
    Ok((stream, address))
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
        let (_, reached) = connect(&targets).await.unwrap();
        assert_eq!(reached, listener.local_addr().unwrap());
        drop(listener);
        let refused = connect(&targets).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
}
