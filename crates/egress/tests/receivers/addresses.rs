//! Names with several addresses, one of which is bad.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hostile::{answer_all, read_request};
use model::attempt::Reason;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use vk_egress::{
    BoxFuture, Connections, Dialer, Duplex, Egress, Exchange, ReceiverUrl, ResolveError, Resolver,
};

use crate::peer::{failure, options, post_with, response, url};

/// A name with these addresses.
struct Name(Vec<IpAddr>);

impl Resolver for Name {
    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, ResolveError>> {
        Box::pin(async { Ok(self.0.clone()) })
    }
}

/// What an address does once it has accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Answer,
    Nothing,
    Close,
    Reset,
    Nonsense,
    /// It answers once, and on its second request does nothing.
    Once,
    /// It does not accept at all.
    Refuse,
}

async fn serve(mut stream: TcpStream, does: Does) -> io::Result<()> {
    use tokio::io::AsyncWriteExt;
    match does {
        Does::Answer => answer_all(stream).await,
        Does::Nothing | Does::Refuse => hostile::stay(stream).await,
        Does::Close => stream.read(&mut [0; 64]).await.map(|_| ()),
        Does::Reset => {
            let _ = stream.read(&mut [0; 64]).await?;
            stream.set_zero_linger()
        }
        Does::Nonsense => {
            read_request(&mut stream).await;
            stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n\r\n").await
        }
        Does::Once => {
            read_request(&mut stream).await;
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                .await?;
            hostile::stay(stream).await
        }
    }
}

/// A transport for which a name has 127.0.0.1 and 127.0.0.2, which do this on one port.
async fn two(first: Does, second: Does) -> (Egress, u16) {
    let one = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = one.local_addr().unwrap().port();
    let other = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
    for (listener, does) in [(one, first), (other, second)] {
        if does == Does::Refuse {
            continue;
        }
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, does));
            }
        });
    }
    let name = Name(vec![
        "127.0.0.1".parse().unwrap(),
        "127.0.0.2".parse().unwrap(),
    ]);
    let egress = Egress::with_resolver(options(None, None), Arc::new(name)).unwrap();
    (egress, port)
}

async fn post(egress: &Egress, connections: &Connections, url: &ReceiverUrl) -> Exchange {
    let (body, deadline) = (Bytes::from_static(b"{}"), Duration::from_millis(700));
    post_with(egress, connections, url, body, deadline).await
}

fn ip(exchange: &Exchange) -> String {
    exchange
        .remote_addr
        .map(|address| address.ip().to_string())
        .unwrap_or_default()
}

#[tokio::test]
async fn an_address_that_accepts_and_then_fails_is_not_asked_first_again() {
    for (scheme, does) in [
        ("http", Does::Nothing),
        ("http", Does::Close),
        ("http", Does::Reset),
        ("http", Does::Nonsense),
        ("https", Does::Nothing),
        ("https", Does::Close),
    ] {
        // Under TLS the good one answers nonsense too; which of them is asked is what counts.
        let (egress, port) = two(does, Does::Answer).await;
        let url = url(format!("{scheme}://receiver.example.com:{port}/"));
        let connections = Connections::default();
        let failed = post(&egress, &connections, &url).await;
        assert_eq!(ip(&failed), "127.0.0.1", "{scheme} {does:?}");
        assert!(failed.result.is_err(), "{scheme} {does:?}");
        let second = post(&egress, &connections, &url).await;
        assert_eq!(ip(&second), "127.0.0.2", "{scheme} {does:?}");
        if scheme == "http" {
            assert_eq!(response(second).status, 200);
            let third = post(&egress, &Connections::default(), &url).await;
            assert_eq!(
                ip(&third),
                "127.0.0.1",
                "another endpoint finds out by itself"
            );
        }
    }
}

#[tokio::test]
async fn idle_connections_to_an_address_that_fails_are_closed() {
    let (egress, port) = two(Does::Once, Does::Answer).await;
    let url = url(format!("http://receiver.example.com:{port}/"));
    let connections = Connections::default();
    let (one, other) = tokio::join!(
        post(&egress, &connections, &url),
        post(&egress, &connections, &url)
    );
    assert_eq!([ip(&one), ip(&other)], ["127.0.0.1", "127.0.0.1"]);
    // Both are kept. The first one used does not answer; the other would not either.
    let failed = post(&egress, &connections, &url).await;
    assert_eq!(failure(failed).reason, Reason::ResponseTimeout);
    let next = post(&egress, &connections, &url).await;
    assert_eq!(ip(&next), "127.0.0.2");
    assert_eq!(response(next).status, 200);
}

#[tokio::test]
async fn an_address_that_does_not_connect_goes_behind_too() {
    let (egress, port) = two(Does::Refuse, Does::Answer).await;
    let url = url(format!("http://receiver.example.com:{port}/"));
    let connections = Connections::default();
    let first = post(&egress, &connections, &url).await;
    assert_eq!(ip(&first), "127.0.0.2");
    assert_eq!(response(first).status, 200);
}

#[tokio::test]
async fn each_address_that_did_not_connect_has_its_own_cause_and_one_of_them_is_shown() {
    let (egress, port) = two(Does::Refuse, Does::Refuse).await;
    let url = url(format!("http://receiver.example.com:{port}/"));
    let exchange = post(&egress, &Connections::default(), &url).await;
    let first: SocketAddr = format!("127.0.0.1:{port}").parse().unwrap();
    assert_eq!(exchange.remote_addr, Some(first));
    let failed = failure(exchange);
    assert_eq!(failed.reason, Reason::ConnectionRefused);
    assert!(!failed.ours);
    for address in ["127.0.0.1", "127.0.0.2"] {
        let told = format!("{address}:{port}: Connection refused");
        assert!(failed.operator_detail.contains(&told), "{failed:?}");
        assert!(!failed.detail.contains(address));
    }
}

/// A machine that cannot connect: by address, the number of the error.
struct Machine(Vec<(IpAddr, i32)>);

impl Dialer for Machine {
    fn dial(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Duplex>>> {
        let known = self.0.iter().find(|(ip, _)| *ip == address.ip());
        let number = known.map(|(_, number)| *number).unwrap();
        Box::pin(async move { Err(io::Error::from_raw_os_error(number)) })
    }
}

#[tokio::test]
async fn what_the_machine_lacks_is_ours_unless_an_address_was_reached() {
    const EPERM: i32 = 1;
    const ENOMEM: i32 = 12;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const EADDRNOTAVAIL: i32 = 99;
    const ENETDOWN: i32 = 100;
    const ENOBUFS: i32 = 105;
    const ECONNREFUSED: i32 = 111;
    const EHOSTUNREACH: i32 = 113;
    let here = |n: u8| IpAddr::from([127, 0, 0, n]);
    for (errors, ours) in [
        (vec![EADDRNOTAVAIL], true),
        (vec![EADDRNOTAVAIL, EADDRNOTAVAIL], true),
        (vec![ENOBUFS], true),
        (vec![ENOMEM], true),
        (vec![EMFILE], true),
        (vec![ENFILE], true),
        (vec![EPERM], true),
        (vec![ENETDOWN], true),
        (vec![ECONNREFUSED], false),
        (vec![EADDRNOTAVAIL, ECONNREFUSED], false),
        (vec![ECONNREFUSED, EMFILE], false),
        (vec![EHOSTUNREACH, EMFILE], true),
    ] {
        let all: Vec<(IpAddr, i32)> = (1..).map(here).zip(errors.iter().copied()).collect();
        let name = Name(all.iter().map(|(ip, _)| *ip).collect());
        let machine = Arc::new(Machine(all));
        let egress = Egress::with_network(options(None, None), Arc::new(name), machine).unwrap();
        let url = url("http://receiver.example.com/");
        let exchange = post(&egress, &Connections::default(), &url).await;
        let failed = failure(exchange);
        assert_eq!(failed.reason, Reason::ConnectionRefused);
        assert_eq!(failed.ours, ours, "{errors:?} {failed:?}");
        let told = failed.detail.contains("the receiver is not the cause");
        assert_eq!(told, ours, "{failed:?}");
    }
}
