//! Hides how a receiver follows its script on one connection.

use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Result;
use rustls::ServerConnection;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use crate::records;
use crate::script::Step;

/// How long a receiver that stays or freezes keeps its connection at most.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long what was sent is given to arrive and to be read.
const SETTLING: Duration = Duration::from_secs(2);

/// Listens on a loopback port and runs `script` on each connection, with its number from 0. For
/// what a script cannot say.
///
/// # Errors
/// Where no port is free.
pub async fn peer<S, F>(script: S) -> Result<SocketAddr>
where
    S: Fn(TcpStream, usize) -> F + Send + 'static,
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        for number in 0.. {
            let Ok((stream, _)) = listener.accept().await else {
                return;
            };
            tokio::spawn(script(stream, number));
        }
    });
    Ok(address)
}

/// Reads one request, head and body; `None` where the connection ends before it does.
pub async fn read_request<T: AsyncRead + Unpin>(stream: &mut T) -> Option<String> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    // What the request has in all, once its head is there.
    let mut whole = None;
    loop {
        whole = whole.or_else(|| length_of(&bytes));
        if whole.is_some_and(|whole| bytes.len() >= whole) {
            return Some(String::from_utf8_lossy(&bytes).into_owned());
        }
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return None,
            Ok(n) => bytes.extend_from_slice(&chunk[..n]),
        }
    }
}

fn length_of(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let text = String::from_utf8_lossy(&bytes[..head]);
    let body = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().ok())?
    });
    Some(head + 4 + body.unwrap_or(0))
}

/// Answers every request on the connection with 200 and no body, until the client goes.
///
/// # Errors
/// Where it cannot be written to.
pub async fn answer_all<T: AsyncRead + AsyncWrite + Unpin>(mut stream: T) -> io::Result<()> {
    while read_request(&mut stream).await.is_some() {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .await?;
    }
    Ok(())
}

/// Keeps the connection open and silent.
///
/// # Errors
/// Never; it is an answer like another's.
pub async fn stay<T>(stream: T) -> io::Result<()> {
    sleep(PATIENCE).await;
    drop(stream);
    Ok(())
}

/// A script's steps and at which pace they are played.
pub(crate) struct Play {
    pub(crate) steps: Vec<Step>,
    /// What every pause is multiplied by.
    pub(crate) pace: f64,
    /// Told of each request that was read.
    pub(crate) on_request: Box<dyn Fn() + Send + Sync>,
}

/// How the steps end where the connection itself is needed for it.
enum End {
    /// The other is gone, or was told all.
    Gone,
    Close,
    CloseTcp,
    Drop,
    Reset,
    Tickets,
    Bytes(Special),
}

/// What only somebody inside TLS can send.
enum Special {
    CorruptRecord,
    Alert,
    KeyUpdates(usize),
    Padding { records: usize, typed: bool },
}

impl Play {
    fn span(&self, span: Duration) -> Duration {
        span.mul_f64(self.pace)
    }

    /// Follows the steps until one of them ends the connection.
    async fn follow<T: AsyncRead + AsyncWrite + Unpin>(&self, stream: &mut T) -> io::Result<End> {
        loop {
            for step in &self.steps {
                if let Some(end) = self.step(step, stream).await? {
                    return Ok(end);
                }
            }
        }
    }

    async fn step<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        step: &Step,
        stream: &mut T,
    ) -> io::Result<Option<End>> {
        Ok(match step {
            Step::Request => match read_request(stream).await {
                None => Some(End::Gone),
                Some(_) => {
                    (self.on_request)();
                    None
                }
            },
            Step::Read(count) => {
                stream.read_exact(&mut vec![0; *count]).await?;
                None
            }
            Step::Send(bytes) => {
                stream.write_all(bytes).await?;
                stream.flush().await?;
                None
            }
            Step::Drip(bytes, every) => {
                for byte in bytes {
                    sleep(self.span(*every)).await;
                    stream.write_all(&[*byte]).await?;
                    stream.flush().await?;
                }
                None
            }
            Step::Repeat(piece, every) => loop {
                stream.write_all(piece).await?;
                stream.flush().await?;
                if let Some(every) = every {
                    sleep(self.span(*every)).await;
                }
            },
            Step::Wait(span) => {
                sleep(self.span(*span)).await;
                None
            }
            Step::Stay => {
                drain(stream).await;
                Some(End::Gone)
            }
            Step::Freeze => {
                sleep(PATIENCE).await;
                Some(End::Gone)
            }
            Step::Close => Some(End::Close),
            Step::CloseTcp => Some(End::CloseTcp),
            Step::Drop => Some(End::Drop),
            Step::Reset => Some(End::Reset),
            Step::CorruptRecord => Some(End::Bytes(Special::CorruptRecord)),
            Step::Alert => Some(End::Bytes(Special::Alert)),
            Step::KeyUpdates(count) => Some(End::Bytes(Special::KeyUpdates(*count))),
            Step::Padding { records, typed } => {
                let (records, typed) = (*records, *typed);
                Some(End::Bytes(Special::Padding { records, typed }))
            }
            Step::Tickets => Some(End::Tickets),
            Step::HelloRetries(count) => {
                for group in records::GROUPS.into_iter().cycle().take(*count) {
                    let session = records::read_hello(stream).await?;
                    stream
                        .write_all(&records::hello_retry(&session, group))
                        .await?;
                }
                None
            }
        })
    }

    /// On a connection without TLS.
    pub(crate) async fn plain(&self, mut tcp: TcpStream) -> io::Result<()> {
        tcp.set_nodelay(true)?;
        let end = self.follow(&mut tcp).await?;
        self.finish(tcp, end, None).await
    }

    /// On a connection with TLS, whose handshake comes `late` and which falls silent after
    /// `silent_after` bytes.
    pub(crate) async fn tls(
        &self,
        tcp: TcpStream,
        acceptor: &TlsAcceptor,
        late: Duration,
        silent_after: usize,
    ) -> io::Result<()> {
        tcp.set_nodelay(true)?;
        sleep(self.span(late)).await;
        let room = silent_after;
        let mut stream = acceptor.accept(Valve { tcp, room }).await?;
        let end = self.follow(&mut stream).await?;
        if matches!(end, End::Close) {
            stream.shutdown().await?;
        }
        let (valve, session) = stream.into_inner();
        self.finish(valve.tcp, end, Some(session)).await
    }

    async fn finish(
        &self,
        mut tcp: TcpStream,
        end: End,
        session: Option<ServerConnection>,
    ) -> io::Result<()> {
        match end {
            End::Gone | End::Drop => return Ok(()),
            End::Close | End::CloseTcp => tcp.shutdown().await?,
            End::Reset => {
                // What was sent must arrive before the reset does.
                sleep(self.span(SETTLING)).await;
                return tcp.set_zero_linger();
            }
            End::Tickets => {
                let mut sealer = records::Sealer::new(encrypted(session)?)?;
                loop {
                    tcp.write_all(&sealer.record(records::tickets())?).await?;
                }
            }
            End::Bytes(special) => {
                // Nor does TLS give away what came just before a broken record.
                sleep(self.span(SETTLING)).await;
                tcp.write_all(&special.bytes(encrypted(session)?)?).await?;
            }
        }
        drain(&mut tcp).await;
        Ok(())
    }
}

fn encrypted(session: Option<ServerConnection>) -> io::Result<ServerConnection> {
    session.ok_or_else(|| io::Error::other("it takes TLS to send this"))
}

/// A record of application data, of the right form, that nobody encrypted.
const CORRUPT: &[u8] = b"\x17\x03\x03\x00\x20\
    0123456789abcdef0123456789abcdef";

impl Special {
    fn bytes(self, mut session: ServerConnection) -> io::Result<Vec<u8>> {
        match self {
            Self::CorruptRecord => return Ok(CORRUPT.to_vec()),
            Self::Padding { records, typed } => {
                return records::of_padding(session, records, typed);
            }
            // Whoever is sent such a record answers it with a fatal alert.
            Self::Alert => {
                session.read_tls(&mut &*CORRUPT)?;
                if session.process_new_packets().is_ok() {
                    return Err(io::Error::other("a corrupt record was taken"));
                }
            }
            Self::KeyUpdates(count) => {
                for _ in 0..count {
                    session.refresh_traffic_keys().map_err(io::Error::other)?;
                }
            }
        }
        let mut bytes = Vec::new();
        while session.wants_write() {
            session.write_tls(&mut bytes)?;
        }
        Ok(bytes)
    }
}

/// Reads and forgets until the other goes.
async fn drain<T: AsyncRead + Unpin>(stream: &mut T) {
    let mut chunk = [0; 4096];
    let read = async { while stream.read(&mut chunk).await.is_ok_and(|n| n > 0) {} };
    // One who never goes is left after a while.
    let _ = tokio::time::timeout(PATIENCE, read).await;
}

/// A connection whose writes are lost once so many bytes have gone out.
struct Valve {
    tcp: TcpStream,
    room: usize,
}

impl AsyncRead for Valve {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for Valve {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.room == usize::MAX {
            return Pin::new(&mut self.tcp).poll_write(cx, bytes);
        }
        if self.room == 0 {
            return Poll::Ready(Ok(bytes.len()));
        }
        let some = &bytes[..bytes.len().min(self.room)];
        let polled = Pin::new(&mut self.tcp).poll_write(cx, some);
        if let Poll::Ready(Ok(count)) = polled {
            self.room -= count;
        }
        polled
    }

    /// In several pieces only where all of them may go out: what is lost is counted by the piece.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.room == usize::MAX {
            return Pin::new(&mut self.tcp).poll_write_vectored(cx, pieces);
        }
        let piece = pieces.iter().find(|piece| !piece.is_empty());
        self.poll_write(cx, piece.map_or(&[], |piece| &**piece))
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
