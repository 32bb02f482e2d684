//! Hides how an answer reaches a client that is still sending its request.
//!
//! A connection that is closed while something of the client's is unread is reset by the system, and a reset takes
//! the answer with it, on the way or in a proxy. So what a request's handler leaves of the body is read and dropped
//! before the answer is given; what is too much for that, or was not to be waited for, is dropped while the closing
//! connection lingers (RFC 9112, section 9.6).

use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::idle::Line;

/// How much of a body is read and dropped before the answer: twice the largest that is ever accepted.
const DROPPED_MAX: u64 = 16 * 1024 * 1024;
/// How long that may take.
const DROPPED_WITHIN: Duration = Duration::from_secs(30);

/// How much is dropped after the answer, in bytes and time.
const LINGER_MAX: usize = 64 * 1024 * 1024;
const LINGER_WITHIN: Duration = Duration::from_secs(30);
/// A client that sends nothing for so long has read the answer, or never will.
const LINGER_QUIET: Duration = Duration::from_secs(5);

/// A body that is lent to a handler: what the handler leaves of it comes back.
pub(super) struct Lent<B: Body + Unpin> {
    body: Option<B>,
    begun: bool,
    back: Arc<Mutex<Back<B>>>,
}

/// What came back of a body.
enum Back<B> {
    /// It is still lent.
    Lent,
    /// It was read to its end, or broke off.
    Ended,
    /// Something of it was left. `begun` says whether the handler had begun to read it.
    Left { body: B, begun: bool },
}

/// What remains of a body once its handler is done with it.
pub(super) struct Remains<B>(Arc<Mutex<Back<B>>>);

/// Lends a body.
pub(super) fn lend<B: Body + Unpin>(body: B) -> (Lent<B>, Remains<B>) {
    let back = Arc::new(Mutex::new(Back::Lent));
    let lent = Lent {
        body: Some(body),
        begun: false,
        back: Arc::clone(&back),
    };
    (lent, Remains(back))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B: Body<Data = Bytes> + Unpin> Body for Lent<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        this.begun = true;
        let Some(body) = &mut this.body else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            this.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(B::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::new, B::size_hint)
    }
}

impl<B: Body + Unpin> Drop for Lent<B> {
    fn drop(&mut self) {
        let left = self.body.take().filter(|body| !body.is_end_stream());
        *locked(&self.back) = match left {
            Some(body) => Back::Left {
                body,
                begun: self.begun,
            },
            None => Back::Ended,
        };
    }
}

impl<B: Body<Data = Bytes> + Unpin> Remains<B> {
    /// Reads and drops what the handler left. Returns true if nothing of the body is left then; false where it is
    /// too much, takes too long, is still in the handler's hands, or is not to be asked for: a client that `asks`
    /// before it sends (`Expect: 100-continue`) and was not told to go on will not send it.
    pub(super) async fn dropped(self, asks: bool) -> bool {
        let (mut body, begun) = match mem::replace(&mut *locked(&self.0), Back::Ended) {
            Back::Ended => return true,
            Back::Lent => return false,
            Back::Left { body, begun } => (body, begun),
        };
        if (asks && !begun) || body.size_hint().lower() > DROPPED_MAX {
            return false;
        }
        let drop_all = async {
            let mut total = 0;
            while let Some(frame) = body.frame().await {
                // A body that breaks off has ended: nothing more comes.
                let Ok(frame) = frame else { return true };
                total += frame.data_ref().map_or(0, |data| data.len() as u64);
                if total > DROPPED_MAX {
                    return false;
                }
            }
            true
        };
        timeout(DROPPED_WITHIN, drop_all).await.unwrap_or(false)
    }
}

/// A connection that lingers at its end where the client may still be sending, and that tells its [`Line`] when
/// bytes come.
pub(super) struct Lingering<T> {
    inner: T,
    line: Arc<Line>,
    ending: Ending,
}

enum Ending {
    /// It has not begun.
    No,
    /// Our side is shut down; what comes is dropped.
    Dropping(Box<Dropping>),
    /// Over.
    Ended,
}

struct Dropping {
    left: usize,
    until: Pin<Box<Sleep>>,
    quiet: Pin<Box<Sleep>>,
}

impl<T> Lingering<T> {
    pub(super) fn new(inner: T, line: Arc<Line>) -> Self {
        Self {
            inner,
            line,
            ending: Ending::No,
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Lingering<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.inner).poll_read(cx, buf));
        if buf.filled().len() > before {
            self.line.bytes_came();
        }
        Poll::Ready(read)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Lingering<T> {
    /// Drops what comes, until the client closes or a bound is reached.
    fn poll_drop(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Ending::Dropping(dropping) = &mut self.ending else {
            return Poll::Ready(());
        };
        let mut room = [0; 8 * 1024];
        while dropping.until.as_mut().poll(cx).is_pending() {
            let mut buf = ReadBuf::new(&mut room);
            match Pin::new(&mut self.inner).poll_read(cx, &mut buf) {
                Poll::Pending => {
                    ready!(dropping.quiet.as_mut().poll(cx));
                    break;
                }
                Poll::Ready(Err(_)) => break, // the client is gone
                Poll::Ready(Ok(())) => {}
            }
            let came = buf.filled().len();
            if came == 0 || came > dropping.left {
                break;
            }
            dropping.left -= came;
            dropping.quiet.as_mut().reset(Instant::now() + LINGER_QUIET);
        }
        self.ending = Ending::Ended;
        Poll::Ready(())
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.ending, Ending::No) {
            ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
            self.ending = match self.line.begin_closing() {
                false => Ending::Ended,
                true => Ending::Dropping(Box::new(Dropping {
                    left: LINGER_MAX,
                    until: Box::pin(sleep(LINGER_WITHIN)),
                    quiet: Box::pin(sleep(LINGER_QUIET)),
                })),
            };
        }
        ready!(self.poll_drop(cx));
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt, stream};
    use http_body_util::StreamBody;
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

    use super::*;
    use crate::serve::idle::Lines;

    const KIB: usize = 1024;

    /// A body of so many pieces of 1 KiB, each after `wait`; it never ends where `ends` is false.
    fn pieces(
        number: usize,
        wait: Duration,
        ends: bool,
    ) -> impl Body<Data = Bytes, Error = io::Error> + Unpin {
        let some = stream::iter(0..number).then(move |_| async move {
            sleep(wait).await;
            Ok(Frame::data(Bytes::from(vec![b'x'; KIB])))
        });
        let rest = stream::pending().take(usize::from(!ends));
        StreamBody::new(Box::pin(some.chain(rest)))
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_handler_leaves_is_read_within_bounds() {
        let second = Duration::from_secs(1);
        let none = Duration::ZERO;
        for (what, body, read, asks, whole, seconds) in [
            ("all read", pieces(3, none, true), 4, false, true, 0),
            ("none read", pieces(60, none, true), 0, false, true, 0),
            ("some read", pieces(60, none, true), 2, false, true, 0),
            ("slow", pieces(20, second, true), 0, false, true, 20),
            ("too slow", pieces(60, second, true), 0, false, false, 30),
            ("endless", pieces(1, none, false), 0, false, false, 30),
            ("too much", pieces(17 * KIB, none, true), 0, false, false, 0),
            ("asks first", pieces(60, none, true), 0, true, false, 0),
            ("was asked for", pieces(60, none, true), 1, true, true, 0),
        ] {
            let (mut lent, remains) = lend(body);
            for _ in 0..read {
                lent.frame().await;
            }
            drop(lent);
            let begun = Instant::now();
            assert_eq!(remains.dropped(asks).await, whole, "{what}");
            assert_eq!(begun.elapsed().as_secs(), seconds, "{what}");
        }
        let (lent, remains) = lend(pieces(1, none, true));
        assert!(!remains.dropped(false).await, "still in use");
        drop(lent);
    }

    /// Our end of a connection in which the head of a request was refused, and the client's.
    async fn refused() -> (Lingering<DuplexStream>, DuplexStream) {
        let (ours, client) = duplex(16 * KIB);
        let lines = Lines::new(1, Duration::from_secs(620), Arc::default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let member = lines.admit(lines.place(&listener).await);
        member.line.leave_unread();
        (Lingering::new(ours, Arc::clone(&member.line)), client)
    }

    #[tokio::test(start_paused = true)]
    async fn a_closing_connection_lingers_until_the_client_has_closed_or_a_bound_is_reached() {
        for (what, pause_ms, pieces, seconds) in [
            ("it closes after it has sent all", 100, 20, 2),
            ("it sends nothing more", 60_000, 1, 5),
            ("it never ends", 1000, 100, 30),
        ] {
            let (mut ours, mut client) = refused().await;
            let begun = Instant::now();
            let sends = async move {
                for _ in 0..pieces {
                    sleep(Duration::from_millis(pause_ms)).await;
                    if client.write_all(&[b'x'; KIB]).await.is_err() {
                        break;
                    }
                }
            };
            let sends = tokio::spawn(sends);
            ours.shutdown().await.unwrap();
            assert_eq!(begun.elapsed().as_secs(), seconds, "{what}");
            drop(ours);
            sends.abort();
        }
        let (mut ours, mut client) = refused().await;
        let floods =
            tokio::spawn(async move { while client.write_all(&[b'x'; 8 * KIB]).await.is_ok() {} });
        ours.shutdown().await.unwrap();
        drop(ours);
        floods.await.unwrap();
    }
}
