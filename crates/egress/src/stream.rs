//! Hides the difference between a plain and an encrypted connection, and counts the bytes that
//! HTTP reads from it, and TLS below: hyper itself bounds neither the number nor the bytes of 1xx
//! answers, nor rustls the number of session tickets.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use crate::connect::Duplex;
use crate::fate::Fate;
use crate::flow::Flow;

/// How many bytes may come before the response's body: its head and all interim answers.
pub(crate) const HEAD_MAX: usize = 64 * 1024;
/// How many bytes may come after the head: the part of the body that is kept, even in chunks of one
/// byte (six on the wire), and its trailers. hyper skips zeros and spaces around a chunk's size for
/// as long as they come.
const BODY_WIRE_MAX: usize = 256 * 1024;
/// How many bytes may come on the wire in one exchange, or in the handshake before the first. HTTP
/// reads less than half of it; the rest is room for records of a few bytes each, and for certificates.
const WIRE_MAX: usize = 1 << 20;
/// How many interim (1xx) answers may come before the response. The usual number is 0 or 1.
pub(crate) const INTERIM_MAX: u32 = 10;

/// What has gone over a connection in the current exchange. The exchange reads it, the stream
/// under hyper writes it; both live in one task, so relaxed order is enough.
#[derive(Default)]
pub(crate) struct Gauge {
    /// Says what was acknowledged of what was written.
    flow: Option<Box<dyn Flow>>,
    /// What it said before the connection was closed, where no response had come.
    at_the_end: OnceLock<Fate>,
    /// Bytes that were written to the wire.
    written: AtomicUsize,
    /// Bytes that came on the wire: under TLS also what HTTP never sees.
    on_wire: AtomicUsize,
    /// Bytes that came once the request was on its way: what comes before is no answer to it.
    received: AtomicUsize,
    asked: AtomicBool,
    interim: AtomicU32,
    in_body: AtomicBool,
    /// How much of `received` had come when the body began.
    before_body: AtomicUsize,
    sent: AtomicBool,
    overrun: AtomicBool,
    /// Whether the exchange has come to its end.
    over: AtomicBool,
    /// Whether the handshake asked for a client certificate, until an exchange has gone well without.
    certificate_asked: AtomicBool,
}

impl fmt::Debug for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gauge")
            .field("written", &self.written)
            .field("sent", &self.sent)
            .field("received", &self.received)
            .field("interim", &self.interim)
            .field("in_body", &self.in_body)
            .field("fate", &self.at_the_end.get())
            .finish_non_exhaustive()
    }
}

impl Gauge {
    /// Of a connection that `flow` looks at.
    pub(crate) fn of(flow: Option<Box<dyn Flow>>) -> Self {
        Self {
            flow,
            ..Self::default()
        }
    }

    /// What has become of what was written so far. Asks the system.
    pub(crate) fn fate(&self) -> Fate {
        let written = self.written.load(Relaxed);
        if written == 0 || self.answered() {
            return Fate::Arrived;
        }
        let flow = self.flow.as_ref();
        Fate::of(flow.and_then(|flow| flow.unacknowledged()), written)
    }

    /// What had become of what was written when the connection was closed without a response.
    pub(crate) fn fate_at_the_end(&self) -> Fate {
        self.at_the_end.get().copied().unwrap_or(Fate::Arrived)
    }

    /// Whether any byte of the request was written.
    pub(crate) fn asked(&self) -> bool {
        self.asked.load(Relaxed)
    }

    /// A new exchange begins.
    pub(crate) fn begin(&self) {
        self.written.store(0, Relaxed);
        self.on_wire.store(0, Relaxed);
        self.received.store(0, Relaxed);
        self.asked.store(false, Relaxed);
        self.interim.store(0, Relaxed);
        self.in_body.store(false, Relaxed);
        self.sent.store(false, Relaxed);
        self.overrun.store(false, Relaxed);
        self.over.store(false, Relaxed);
    }

    /// The exchange has come to its end: there is a response.
    pub(crate) fn end(&self) {
        self.over.store(true, Relaxed);
        self.certificate_asked.store(false, Relaxed);
    }

    /// The handshake asked for a client certificate.
    pub(crate) fn note_certificate_asked(&self) {
        self.certificate_asked.store(true, Relaxed);
    }

    /// Whether the handshake asked for a client certificate, and no exchange has gone well without.
    pub(crate) fn certificate_asked(&self) -> bool {
        self.certificate_asked.load(Relaxed)
    }

    /// The response's head is complete: what comes now is its body.
    pub(crate) fn enter_body(&self) {
        let received = self.received.load(Relaxed);
        self.before_body.store(received, Relaxed);
        self.in_body.store(true, Relaxed);
    }

    /// An interim answer came.
    pub(crate) fn count_interim(&self) {
        self.interim.fetch_add(1, Relaxed);
    }

    /// Whether any byte of a response has come.
    pub(crate) fn answered(&self) -> bool {
        self.received.load(Relaxed) > 0
    }

    /// Whether the whole request has left.
    pub(crate) fn sent(&self) -> bool {
        self.sent.load(Relaxed)
    }

    /// Whether the response's body has begun.
    pub(crate) fn in_body(&self) -> bool {
        self.in_body.load(Relaxed)
    }

    /// Whether reading was stopped because too much came, before the body or in it.
    pub(crate) fn overrun(&self) -> bool {
        self.overrun.load(Relaxed)
    }

    /// How many interim answers came.
    pub(crate) fn interim(&self) -> u32 {
        self.interim.load(Relaxed)
    }

    /// Whether the last exchange had a response, and its whole request has left.
    fn ended_well(&self) -> bool {
        self.over.load(Relaxed) && self.sent()
    }

    fn count(&self, bytes: usize) {
        if self.asked.load(Relaxed) {
            self.received.fetch_add(bytes, Relaxed);
        }
    }

    fn may_read(&self) -> bool {
        let received = self.received.load(Relaxed);
        let within = match self.in_body() {
            false => received < HEAD_MAX && self.interim() <= INTERIM_MAX,
            true => received - self.before_body.load(Relaxed) < BODY_WIRE_MAX,
        };
        if !within {
            self.overrun.store(true, Relaxed);
        }
        within
    }
}

/// More came on the wire than any exchange takes.
#[derive(Debug, thiserror::Error)]
#[error("more came on the wire than is read")]
pub(crate) struct Flood;

/// A connection below TLS. It is closed in order once an exchange has ended well, and else reset: the
/// system would keep what the receiver has not read for a minute or more, for each attempt anew.
pub(crate) struct Socket {
    tcp: Box<dyn Duplex>,
    gauge: Arc<Gauge>,
}

impl Socket {
    pub(crate) fn new(tcp: Box<dyn Duplex>, gauge: Arc<Gauge>) -> Self {
        Self { tcp, gauge }
    }

    fn written(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &polled {
            self.gauge.written.fetch_add(*bytes, Relaxed);
        }
        polled
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if !self.gauge.ended_well() {
            let fate = self.gauge.fate();
            self.gauge.at_the_end.get_or_init(|| fate);
            self.tcp.reset_when_dropped();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.gauge.on_wire.load(Relaxed) >= WIRE_MAX {
            return Poll::Ready(Err(io::Error::other(Flood)));
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.tcp).poll_read(cx, buf);
        let came = buf.filled().len() - before;
        this.gauge.on_wire.fetch_add(came, Relaxed);
        polled
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.tcp).poll_write(cx, buf);
        this.written(polled)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.tcp).poll_write_vectored(cx, bufs);
        this.written(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}

/// The bytes of one connection.
pub(crate) struct Stream {
    wire: Wire,
    gauge: Arc<Gauge>,
    /// Why no more can be written. What was written since is thrown away.
    write_error: Option<io::Error>,
}

pub(crate) enum Wire {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

impl Stream {
    pub(crate) fn new(wire: Wire, gauge: Arc<Gauge>) -> Self {
        Self {
            wire,
            gauge,
            write_error: None,
        }
    }

    /// A receiver that refuses a request early (413, 401) answers and closes without reading the
    /// rest, so that writing the rest fails while the answer is already here. Writing therefore
    /// never fails: reading tells whether there was an answer, and else how the connection ended.
    fn written(&mut self, polled: Poll<io::Result<usize>>, len: usize) -> Poll<io::Result<usize>> {
        match polled {
            Poll::Ready(Err(error)) => {
                self.write_error = Some(error);
                Poll::Ready(Ok(len))
            }
            polled => polled,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.gauge.may_read() {
            return Poll::Ready(Err(io::Error::other("the response is more than is read")));
        }
        let before = buf.filled().len();
        let polled = match &mut this.wire {
            Wire::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Wire::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        };
        this.gauge.count(buf.filled().len() - before);
        let ended = match &polled {
            Poll::Ready(Ok(())) => buf.filled().len() == before && buf.remaining() > 0,
            // Many TLS servers close without saying goodbye (close_notify). That is an end like
            // any other to HTTP, which knows by itself whether the response was complete; a
            // body that only the end delimits cannot be told from a cut one (RFC 9112, section
            // 9.8), and there the status, which came whole, counts.
            Poll::Ready(Err(error)) => error.kind() == io::ErrorKind::UnexpectedEof,
            Poll::Pending => false,
        };
        match (ended, this.write_error.take()) {
            (true, Some(error)) => Poll::Ready(Err(error)),
            (true, None) => Poll::Ready(Ok(())),
            (false, kept) => {
                this.write_error = kept;
                polled
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.gauge.asked.store(true, Relaxed);
        if this.write_error.is_some() {
            return Poll::Ready(Ok(buf.len()));
        }
        let polled = match &mut this.wire {
            Wire::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Wire::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
        };
        this.written(polled, buf.len())
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.gauge.asked.store(true, Relaxed);
        let len = bufs.iter().map(|buf| buf.len()).sum();
        if this.write_error.is_some() {
            return Poll::Ready(Ok(len));
        }
        let polled = match &mut this.wire {
            Wire::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Wire::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, bufs),
        };
        this.written(polled, len)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.wire {
            Wire::Plain(tcp) => tcp.is_write_vectored(),
            Wire::Tls(tls) => tls.is_write_vectored(),
        }
    }

    /// hyper flushes once it has written all it has: a flush that succeeds is the request's end.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.write_error.is_some() {
            return Poll::Ready(Ok(()));
        }
        let polled = match &mut this.wire {
            Wire::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Wire::Tls(tls) => Pin::new(tls).poll_flush(cx),
        };
        match polled {
            Poll::Ready(Ok(())) => this.gauge.sent.store(true, Relaxed),
            Poll::Ready(Err(error)) => this.write_error = Some(error),
            Poll::Pending => return Poll::Pending,
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().wire {
            Wire::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Wire::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
