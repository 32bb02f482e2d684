//! Hides a network in memory: names resolve as it is told, connections lead to a receiver that follows a
//! script, and time is virtual.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use egress::{BoxFuture, Dialer, Duplex, Egress, EgressOptions, Policy, ResolveError, Resolver};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// What every request to such a receiver has as its body.
pub(crate) const BODY: &[u8] = br#"{"n":1}"#;

/// A trust root, so that this is independent of which the system has. It signed nothing.
const ROOT: &[u8] = include_bytes!("root.pem");

/// What a receiver does on one connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    /// What it sends, and how long after the request.
    pub(crate) sends: Vec<(Duration, Bytes)>,
    /// What it does once it has sent everything.
    pub(crate) end: End,
    /// Whether it does not wait for the request.
    pub(crate) unasked: bool,
    /// Whether it reads nothing.
    pub(crate) deaf: bool,
    /// What it answers to a second request.
    pub(crate) second: Bytes,
}

/// How a script ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum End {
    /// Nothing more comes.
    #[default]
    Silence,
    /// The connection is closed.
    Close,
    /// The connection is reset.
    Reset,
}

/// What a network has seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// The names that were looked up.
    pub(crate) names: Vec<String>,
    /// The addresses that were connected to.
    pub(crate) dialed: Vec<SocketAddr>,
    /// What was written to the first connection.
    pub(crate) written: Vec<u8>,
    /// How many bytes were read from all connections.
    pub(crate) read: usize,
}

/// The real transport in a network of its own.
pub(crate) struct Outside {
    pub(crate) policy: Policy,
    egress: Egress,
    network: Arc<Network>,
}

#[derive(Default)]
struct Network(Mutex<Inside>);

#[derive(Default)]
struct Inside {
    answer: Vec<IpAddr>,
    /// The scripts of the connections to come.
    scripts: VecDeque<Script>,
    seen: Seen,
}

impl Outside {
    pub(crate) fn new(policy: Policy) -> Self {
        let network = Arc::new(Network::default());
        let options = EgressOptions {
            policy: policy.clone(),
            extra_roots_pem: Some(ROOT.to_vec()),
            ..EgressOptions::default()
        };
        let egress =
            Egress::with_network(options, network.clone(), Arc::new(Gate(network.clone())));
        Self {
            policy,
            egress: egress.expect("a trust root is given"),
            network,
        }
    }

    /// Does something in this network, in virtual time. Every name leads to `answer`; connections follow
    /// the scripts, one after the other. What came of it, and what the network saw.
    pub(crate) fn run<T>(
        &self,
        answer: &[IpAddr],
        scripts: impl IntoIterator<Item = Script>,
        what: impl AsyncFnOnce(&Egress) -> T,
    ) -> (T, Seen) {
        *self.network.lock() = Inside {
            answer: answer.to_vec(),
            scripts: scripts.into_iter().collect(),
            seen: Seen::default(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        let done = runtime
            .expect("a runtime can be made")
            .block_on(what(&self.egress));
        (done, std::mem::take(&mut self.network.lock().seen))
    }
}

impl Network {
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Resolver for Network {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, ResolveError>> {
        let mut inside = self.lock();
        inside.seen.names.push(host.to_owned());
        let answer = inside.answer.clone();
        Box::pin(async move { Ok(answer) })
    }
}

/// The way into the network.
struct Gate(Arc<Network>);

impl Dialer for Gate {
    fn dial(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Duplex>>> {
        let mut inside = self.0.lock();
        let first = inside.seen.dialed.is_empty();
        inside.seen.dialed.push(address);
        let script = inside.scripts.pop_front();
        drop(inside);
        let network = self.0.clone();
        Box::pin(async move {
            let script = script.ok_or(io::ErrorKind::ConnectionRefused)?;
            Ok(Box::new(Receiver::new(script, network, first)) as Box<dyn Duplex>)
        })
    }
}

/// A receiver's end of a connection, as ours sees it.
struct Receiver {
    network: Arc<Network>,
    first: bool,
    script: Script,
    sends: VecDeque<(Duration, Bytes)>,
    /// Since when the script runs.
    begun: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
    /// The end of what was written, to find the ends of requests in it.
    tail: Vec<u8>,
    requests: u32,
    answered_again: bool,
    waker: Option<std::task::Waker>,
}

impl Receiver {
    fn new(script: Script, network: Arc<Network>, first: bool) -> Self {
        Self {
            network,
            first,
            sends: script.sends.iter().cloned().collect(),
            begun: script.unasked.then(Instant::now),
            script,
            sleep: None,
            tail: Vec::new(),
            requests: 0,
            answered_again: false,
            waker: None,
        }
    }

    fn put(&mut self, bytes: &mut Bytes, buf: &mut ReadBuf<'_>) {
        let some = bytes.len().min(buf.remaining());
        buf.put_slice(&bytes[..some]);
        bytes.advance(some);
        self.network.lock().seen.read += some;
    }
}

impl Duplex for Receiver {
    fn reset_when_dropped(&self) {}
}

impl AsyncRead for Receiver {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.waker = Some(cx.waker().clone());
        let Some(begun) = this.begun else {
            return Poll::Pending;
        };
        while let Some((after, mut bytes)) = this.sends.pop_front() {
            if begun.elapsed() < after {
                this.sends.push_front((after, bytes));
                let mut sleep = Box::pin(tokio::time::sleep_until(begun + after));
                let waits = sleep.as_mut().poll(cx).is_pending();
                this.sleep = Some(sleep);
                if waits {
                    return Poll::Pending;
                }
                continue;
            }
            if !bytes.is_empty() {
                this.put(&mut bytes, buf);
                if !bytes.is_empty() {
                    this.sends.push_front((after, bytes));
                }
                return Poll::Ready(Ok(()));
            }
        }
        match this.script.end {
            End::Close => Poll::Ready(Ok(())),
            End::Reset => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            End::Silence if this.requests > 1 && !this.answered_again => {
                this.answered_again = true;
                let mut second = this.script.second.clone();
                this.put(&mut second, buf);
                Poll::Ready(Ok(()))
            }
            End::Silence => Poll::Pending,
        }
    }
}

impl AsyncWrite for Receiver {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.script.deaf {
            return Poll::Pending;
        }
        if this.first {
            this.network.lock().seen.written.extend_from_slice(bytes);
        }
        this.tail.extend_from_slice(bytes);
        let whole = [b"\r\n\r\n", BODY].concat();
        while let Some(end) = find(&this.tail, &whole) {
            this.tail.drain(..end + whole.len());
            this.requests += 1;
        }
        // What is written first under TLS ends in no body of ours: it counts as a request.
        if this.requests > 0 || this.tail.first() == Some(&0x16) {
            this.begun.get_or_insert_with(Instant::now);
        }
        if let Some(waker) = this.waker.take() {
            waker.wake();
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

/// Where `needle` begins in `bytes`.
pub(crate) fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|part| part == needle)
}
