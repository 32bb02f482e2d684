//! How a connection ends: in order where its exchange ended well, else by a reset, so that the system
//! keeps nothing for a receiver that does not read.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use hostile::certificates::Flaw;
use hostile::{Twist, read_request};
use model::attempt::Reason;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use vk_egress::{Connections, Exchange};

use crate::peer::{AUTHORITY, egress, peer, post_with, reason, response, url};

const PLENTY: usize = 16 << 20;

async fn post(url_text: &str, connections: &Connections, length: usize) -> Exchange {
    let (body, deadline) = (Bytes::from(vec![0; length]), Duration::from_millis(500));
    post_with(
        &egress(None, None),
        connections,
        &url(url_text),
        body,
        deadline,
    )
    .await
}

/// Reads what there is to read; how it ended.
async fn ending(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    let mut chunk = vec![0; 1 << 16];
    while stream.read(&mut chunk).await? > 0 {}
    Ok(())
}

/// A peer that reads a request and says `answer`, and the kinds of error by which its connections
/// ended then; `None` for an end in order.
async fn endings(
    tls: bool,
    answer: &'static str,
) -> (String, UnboundedReceiver<Option<io::ErrorKind>>) {
    let (told, endings) = unbounded_channel();
    let acceptor = AUTHORITY.acceptor(Flaw::None, Twist::None).unwrap();
    let address = peer(move |mut tcp: TcpStream, _| {
        let (told, acceptor) = (told.clone(), acceptor.clone());
        async move {
            let ended = if tls {
                let mut stream = acceptor.accept(tcp).await?;
                read_request(&mut stream).await;
                stream.write_all(answer.as_bytes()).await?;
                let (mut tcp, _) = stream.into_inner();
                ending(&mut tcp).await
            } else {
                read_request(&mut tcp).await;
                tcp.write_all(answer.as_bytes()).await?;
                ending(&mut tcp).await
            };
            told.send(ended.err().map(|error| error.kind())).unwrap();
            Ok(())
        }
    })
    .await;
    let scheme = if tls { "https" } else { "http" };
    (format!("{scheme}://{address}/"), endings)
}

#[tokio::test]
async fn after_a_failure_the_connection_is_reset() {
    for (tls, answer, expected) in [
        (false, "", Reason::ResponseTimeout),
        (true, "", Reason::ResponseTimeout),
        (
            false,
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
            Reason::BodyTimeout,
        ),
        (true, "HTTP/1.1 101 x\r\n\r\n", Reason::UnexpectedUpgrade),
    ] {
        let (text, mut endings) = endings(tls, answer).await;
        let exchange = post(&text, &Connections::default(), 100).await;
        assert_eq!(reason(exchange), expected);
        let ended = endings.recv().await.unwrap();
        assert_eq!(
            ended,
            Some(io::ErrorKind::ConnectionReset),
            "{answer:?} {tls}"
        );
    }
}

#[tokio::test]
async fn after_a_response_the_connection_is_closed_in_order() {
    for tls in [false, true] {
        for answer in [
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi",
            "HTTP/1.1 500 x\r\ncontent-length: 0\r\n\r\n",
            // More than was asked for: the connection cannot be used again.
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\n\r\n",
        ] {
            let (text, mut endings) = endings(tls, answer).await;
            let connections = Connections::default();
            response(post(&text, &connections, 100).await);
            drop(connections);
            assert_eq!(endings.recv().await.unwrap(), None, "{answer:?} {tls}");
        }
    }
}

/// How many sockets of this machine are connected to `address`, or were and wait for more than time.
fn sockets_to(address: SocketAddr) -> usize {
    const TIME_WAIT: &str = "06";
    let port = format!(":{:04X}", address.port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table.lines().map(|line| line.split_whitespace().collect());
    rows.filter(|row: &Vec<&str>| row[2].ends_with(&port) && row[3] != TIME_WAIT)
        .count()
}

#[tokio::test]
async fn nothing_is_kept_for_a_receiver_that_does_not_read() {
    for (answer, expected) in [
        ("", Reason::SendTimeout),
        ("no HTTP\r\n\r\n", Reason::InvalidResponse),
        (
            "HTTP/1.1 401 x\r\ncontent-length: 0\r\n\r\n",
            Reason::HttpStatus,
        ),
        (
            "HTTP/1.1 401 x\r\nconnection: close\r\n\r\n",
            Reason::BodyTimeout,
        ),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream
        });
        let text = format!("http://{address}/");
        let exchange = post(&text, &Connections::default(), PLENTY).await;
        match exchange.result {
            Ok(response) => assert_eq!((response.status, expected), (401, Reason::HttpStatus)),
            Err(failure) => assert_eq!(failure.reason, expected),
        }
        assert_eq!(sockets_to(address), 0, "{answer:?}");
        drop(accepted);
    }
}
