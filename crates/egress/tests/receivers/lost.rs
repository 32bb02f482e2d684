//! Requests that the network swallows: on a kept connection whose flow a firewall forgot, and on a new
//! one. In a network of our own, with simulated time.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use model::attempt::Reason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use vk_egress::{
    BoxFuture, Connections, Dialer, Duplex, Egress, Exchange, Flow, ReceiverUrl, ResolveError,
    Resolver, Unacknowledged,
};

use crate::peer::{failure, options, post_with, response, url};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// A network with one receiver. It answers each request at once, unless:
#[derive(Default)]
struct Network {
    /// what is sent on connections made before this changed is lost;
    forgot: AtomicUsize,
    /// all that is sent is lost;
    down: AtomicBool,
    /// or the receiver takes what is sent and says nothing, or does not even take it.
    silent: AtomicBool,
    full: AtomicBool,
    connections: AtomicUsize,
    requests: AtomicUsize,
    /// What the resolver says.
    names: Mutex<Option<Result<Vec<IpAddr>, ResolveError>>>,
    asked: AtomicUsize,
}

struct Wire {
    network: Arc<Network>,
    made_at: usize,
    unacknowledged: Arc<AtomicUsize>,
    answers: VecDeque<u8>,
    waker: Option<Waker>,
}

impl Wire {
    fn loses(&self) -> bool {
        let forgot = self.network.forgot.load(SeqCst);
        self.made_at < forgot || self.network.down.load(SeqCst)
    }
}

struct View {
    network: Arc<Network>,
    unacknowledged: Arc<AtomicUsize>,
}

impl Flow for View {
    fn unacknowledged(&self) -> Option<Unacknowledged> {
        let no_room = self.network.full.load(SeqCst);
        Some(Unacknowledged {
            bytes: self.unacknowledged.load(SeqCst) as u32,
            resent: 4,
            no_room,
        })
    }
}

struct Net(Arc<Network>);

impl Dialer for Net {
    fn dial(&self, _: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Duplex>>> {
        let network = self.0.clone();
        Box::pin(async move {
            network.connections.fetch_add(1, SeqCst);
            Ok(Box::new(Wire {
                made_at: network.forgot.load(SeqCst),
                network,
                unacknowledged: Arc::default(),
                answers: VecDeque::new(),
                waker: None,
            }) as Box<dyn Duplex>)
        })
    }
}

impl Resolver for Net {
    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, ResolveError>> {
        self.0.asked.fetch_add(1, SeqCst);
        let names = self.0.names.lock().unwrap().clone();
        Box::pin(async move {
            match names {
                Some(answer) => answer,
                // Silent.
                None => std::future::pending().await,
            }
        })
    }
}

impl Duplex for Wire {
    fn reset_when_dropped(&self) {}

    fn flow(&self) -> Option<Box<dyn Flow>> {
        Some(Box::new(View {
            network: self.network.clone(),
            unacknowledged: self.unacknowledged.clone(),
        }))
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.answers.is_empty() {
            this.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let some = this.answers.len().min(buf.remaining());
        let bytes: Vec<u8> = this.answers.drain(..some).collect();
        buf.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.loses() || this.network.full.load(SeqCst) {
            this.unacknowledged.fetch_add(bytes.len(), SeqCst);
            return Poll::Ready(Ok(bytes.len()));
        }
        // The body ends the request.
        if bytes.ends_with(b"{}") {
            this.network.requests.fetch_add(1, SeqCst);
            if !this.network.silent.load(SeqCst) {
                this.answers.extend(OK);
            }
            if let Some(waker) = this.waker.take() {
                waker.wake();
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn network() -> (Arc<Network>, Egress) {
    let network = Arc::new(Network::default());
    *network.names.lock().unwrap() = Some(Ok(vec!["127.0.0.1".parse().unwrap()]));
    let resolver = Arc::new(Net(network.clone()));
    let dialer = Arc::new(Net(network.clone()));
    let egress = Egress::with_network(options(None, None), resolver, dialer);
    (network, egress.unwrap())
}

async fn post(egress: &Egress, connections: &Connections, url: &ReceiverUrl) -> Exchange {
    let (body, deadline) = (Bytes::from_static(b"{}"), Duration::from_secs(10));
    post_with(egress, connections, url, body, deadline).await
}

/// So many at the same time.
async fn wave(
    count: usize,
    egress: &Egress,
    connections: &Connections,
    url: &ReceiverUrl,
) -> Vec<Exchange> {
    futures_util::future::join_all((0..count).map(|_| post(egress, connections, url))).await
}

fn receiver() -> ReceiverUrl {
    url("http://receiver.example.com/")
}

#[tokio::test(start_paused = true)]
async fn dead_kept_connections_cost_no_attempt() {
    let (network, egress) = network();
    let (connections, url) = (Connections::default(), receiver());
    for exchange in wave(60, &egress, &connections, &url).await {
        assert!(!exchange.sent_twice);
        assert_eq!(response(exchange).status, 200);
    }
    assert_eq!(network.connections.load(SeqCst), 60);
    network.forgot.fetch_add(1, SeqCst);
    let begun = Instant::now();
    for exchange in wave(64, &egress, &connections, &url).await {
        let fresh = exchange.timings.connect_ms.is_some();
        assert!(fresh, "on a connection that was made anew");
        assert_eq!(response(exchange).status, 200);
    }
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn one_dead_kept_connection_closes_all_that_are_idle() {
    let (network, egress) = network();
    let (connections, url) = (Connections::default(), receiver());
    wave(8, &egress, &connections, &url).await;
    network.forgot.fetch_add(1, SeqCst);
    let exchange = post(&egress, &connections, &url).await;
    assert!(exchange.sent_twice, "its bytes went out on two connections");
    assert_eq!(response(exchange).status, 200);
    let begun = Instant::now();
    let exchanges = wave(7, &egress, &connections, &url).await;
    assert!(
        exchanges
            .iter()
            .all(|one| one.result.is_ok() && !one.sent_twice)
    );
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "none of them was on a dead one"
    );
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_alive_and_slow_keeps_its_request() {
    for full in [false, true] {
        let (network, egress) = network();
        let (connections, url) = (Connections::default(), receiver());
        post(&egress, &connections, &url).await;
        network.silent.store(!full, SeqCst);
        network.full.store(full, SeqCst);
        let exchange = post(&egress, &connections, &url).await;
        assert!(!exchange.sent_twice);
        let expected = if full {
            Reason::SendTimeout
        } else {
            Reason::ResponseTimeout
        };
        let failed = failure(exchange);
        assert_eq!(failed.reason, expected);
        let told = if full {
            "did not read the request"
        } else {
            "read the request and did not answer"
        };
        assert!(failed.detail.contains(told), "{failed:?}");
        assert_eq!(network.connections.load(SeqCst), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_network_did_not_deliver_is_not_said_to_have_been_read() {
    let (network, egress) = network();
    network.down.store(true, SeqCst);
    let exchange = post(&egress, &Connections::default(), &receiver()).await;
    assert!(exchange.remote_addr.is_some());
    let failed = failure(exchange);
    assert_eq!(failed.reason, Reason::SendTimeout);
    let told = "The network between did not deliver the request to receiver.example.com";
    assert!(failed.detail.contains(told), "{failed:?}");
    assert!(!failed.ours);

    let tls = url("https://receiver.example.com/");
    let failed = failure(post(&egress, &Connections::default(), &tls).await);
    assert_eq!(failed.reason, Reason::TlsTimeout);
    assert!(
        failed
            .detail
            .contains("the network between did not deliver"),
        "{failed:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_old_is_kept_while_the_name_servers_are_silent() {
    let says = |network: &Network, what| *network.names.lock().unwrap() = what;
    let here = || vec!["127.0.0.1".parse().unwrap()];
    let (network, egress) = network();
    let (connections, url) = (Connections::default(), receiver());
    // Used often enough not to be closed for being idle, until `span` has passed.
    let use_for = async |span: u64| {
        let mut slowest = Duration::ZERO;
        for _ in 0..span / 5 {
            let begun = Instant::now();
            assert_eq!(
                response(post(&egress, &connections, &url).await).status,
                200
            );
            slowest = slowest.max(begun.elapsed());
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        slowest
    };
    use_for(80).await;
    assert_eq!(
        (network.connections.load(SeqCst), network.asked.load(SeqCst)),
        (1, 1)
    );
    for silent in [
        None,
        Some(Err(ResolveError::Timeout)),
        Some(Err(ResolveError::NoSocket)),
        Some(Err(ResolveError::Silent)),
        Some(Err(ResolveError::Unreachable("no route".to_owned()))),
        Some(Err(ResolveError::Failed("SERVFAIL".to_owned()))),
    ] {
        says(&network, silent);
        let slowest = use_for(100).await;
        assert_eq!(network.connections.load(SeqCst), 1, "it is used on");
        assert!(slowest <= Duration::from_secs(2), "{slowest:?}");
    }
    let asked = network.asked.load(SeqCst);
    assert!(
        (20..=50).contains(&asked),
        "they are asked again, and not each time: {asked}"
    );
    says(&network, Some(Ok(here())));
    use_for(20).await;
    assert_eq!(
        network.connections.load(SeqCst),
        2,
        "they answer: a new one"
    );

    // Whatever else they say, the old one goes.
    use_for(65).await;
    says(&network, Some(Err(ResolveError::NotFound)));
    tokio::time::sleep(Duration::from_secs(25)).await;
    let failed = failure(post(&egress, &connections, &url).await);
    assert_eq!(failed.reason, Reason::DnsNotFound);
    let internal = vec!["10.0.0.1".parse().unwrap()];
    says(&network, Some(Ok(internal)));
    let failed = failure(post(&egress, &connections, &url).await);
    assert_eq!(failed.reason, Reason::BlockedAddress);
}
