//! Hides hyper: one HTTP/1.1 connection on which a request goes out and a bounded response comes
//! in.
//!
//! The connection is driven by whoever awaits the exchange, in the same task: no task per
//! connection, no hand-over between threads, and dropping the exchange closes the connection.

use std::borrow::Cow;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use model::attempt::RESPONSE_BODY_MAX;
use tokio::time::Instant;

use crate::exchange::{Request, Response};
use crate::receiver_url::ReceiverUrl;
use crate::stream::{Gauge, HEAD_MAX, INTERIM_MAX, Stream, Wire};

/// How many bytes of a response's headers are kept, names and values together. Every attempt
/// stores them, and a receiver chooses them.
const HEADERS_KEPT_MAX: usize = 16 * 1024;

/// One connection to a receiver.
pub(crate) struct Connection {
    url: ReceiverUrl,
    remote: SocketAddr,
    opened: Instant,
    sender: http1::SendRequest<Full<Bytes>>,
    driver: Box<Driver>,
    gauge: Arc<Gauge>,
    reusable: bool,
    /// Whether it carried a response before the exchange that is on it.
    used: bool,
    /// Whether the last response ended the connection's wait for a request (408).
    idled_out: bool,
    /// How long the receiver keeps it open while nothing is sent, where it said so.
    kept_for: Option<Duration>,
}

/// What moves the connection on. It is kept once it has ended, and with it the socket: how that is
/// closed shows only when the exchange is over.
struct Driver {
    connection: http1::Connection<TokioIo<Stream>, Full<Bytes>>,
    ended: bool,
}

/// What has come of a response so far. It outlives the exchange that fills it, so that an exchange
/// cut by its deadline leaves what it has read.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// When the response's first byte came (an interim answer's, where there is one).
    pub(crate) first_byte: Option<Instant>,
    head: Option<(u16, Vec<(String, String)>)>,
    body: Vec<u8>,
}

impl Received {
    /// The response so far, where its head has come.
    pub(crate) fn into_response(self) -> Option<Response> {
        let (status, headers) = self.head?;
        Some(Response {
            status,
            headers,
            body: self.body.into(),
        })
    }
}

/// Why there is no complete response.
#[derive(Debug)]
pub(crate) enum Broken {
    /// hyper's word; `None` where the connection ended without one.
    Http(Option<hyper::Error>),
    /// More came than we read.
    Overrun(Excess),
    /// 101 Switching Protocols.
    Upgrade,
}

/// Of what too much came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Excess {
    /// Interim answers.
    Interim,
    /// What comes before the body.
    Head,
    /// What frames the body, without being part of it.
    Framing,
}

impl Connection {
    /// Begins HTTP/1.1 on `wire`, whose socket counts with `gauge`.
    pub(crate) async fn open(
        wire: Wire,
        gauge: Arc<Gauge>,
        url: &ReceiverUrl,
        remote: SocketAddr,
    ) -> Result<Self, hyper::Error> {
        let stream = TokioIo::new(Stream::new(wire, gauge.clone()));
        // hyper takes 100 header fields at most unless it is told another number, and is slower at
        // each response once it is told one. A test holds it to that.
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_MAX)
            .handshake(stream)
            .await?;
        Ok(Self {
            url: url.clone(),
            remote,
            opened: Instant::now(),
            sender,
            driver: Box::new(Driver {
                connection,
                ended: false,
            }),
            gauge,
            reusable: false,
            used: false,
            idled_out: false,
            kept_for: None,
        })
    }

    pub(crate) fn url(&self) -> &ReceiverUrl {
        &self.url
    }

    pub(crate) fn remote(&self) -> SocketAddr {
        self.remote
    }

    pub(crate) fn opened(&self) -> Instant {
        self.opened
    }

    pub(crate) fn gauge(&self) -> &Arc<Gauge> {
        &self.gauge
    }

    /// How long the receiver keeps the connection open while nothing is sent, where it said so.
    pub(crate) fn kept_for(&self) -> Option<Duration> {
        self.kept_for
    }

    /// Whether the last response answered no request: a server that has waited long enough for the next
    /// request on a connection says 408 and closes it (RFC 9110, section 15.5.9), and that may cross ours on
    /// the way. On a connection that carried no response before, it is the answer to the request.
    pub(crate) fn has_idled_out(&self) -> bool {
        self.idled_out
    }

    /// Whether the connection is open, its last exchange is wholly over, and nothing has come on it
    /// since. Asks the socket, and leaves no waker behind: the next request, or what comes on the
    /// idle connection, would else wake the task that used it last.
    pub(crate) fn is_idle(&mut self) -> bool {
        self.driver.step(&mut Context::from_waker(Waker::noop()));
        self.reusable && !self.driver.ended && self.sender.is_ready()
    }

    /// Sends `request`, which is to this connection's origin, and reads the answer into `received`.
    ///
    /// The first step on the connection, before anything is written, looks whether the receiver
    /// has closed it or has spoken unasked: then nothing is sent.
    pub(crate) async fn post(
        &mut self,
        request: &Request<'_>,
        received: &mut Received,
    ) -> Result<(), Broken> {
        self.reusable = false;
        self.gauge.begin();
        let headers = headers_of(request);
        let (target, body) = (request.url.target().clone(), request.body.clone());
        let mut request = http::Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = target;
        *request.headers_mut() = headers;
        let gauge = self.gauge.clone();
        hyper::ext::on_informational(&mut request, move |_| gauge.count_interim());

        let response = self.head(request, received).await?;
        self.gauge.enter_body();
        let (head, body) = response.into_parts();
        // Two lengths of one body: whoever sends that may mean what follows to be taken for a
        // response to the next request (RFC 9112, section 6.3).
        let plain = !(head.headers.contains_key(CONTENT_LENGTH)
            && head.headers.contains_key(TRANSFER_ENCODING));
        received.head = Some((head.status.as_u16(), text_of(&head.headers)));
        self.kept_for = kept_for(&head.headers);
        let ended = self.body(body, received).await?;
        self.reusable = ended && plain && self.gauge.sent();
        self.gauge.end();
        self.idled_out = self.used
            && head.status == StatusCode::REQUEST_TIMEOUT
            && (closes(head.version, &head.headers) || !self.is_idle());
        self.used = true;
        Ok(())
    }

    /// Sends the request and waits for the response's head.
    async fn head(
        &mut self,
        request: http::Request<Full<Bytes>>,
        received: &mut Received,
    ) -> Result<http::Response<Incoming>, Broken> {
        let response = pin!(self.sender.send_request(request));
        let answer = drive_until(&mut self.driver, response, || {
            if received.first_byte.is_none() && self.gauge.answered() {
                received.first_byte = Some(Instant::now());
            }
        })
        .await;
        if self.gauge.interim() > INTERIM_MAX {
            return Err(Broken::Overrun(Excess::Interim));
        }
        match answer {
            // hyper reads on while we have not yet looked: a head that is there was not too much.
            None | Some(Err(_)) if self.gauge.overrun() => Err(Broken::Overrun(Excess::Head)),
            None => Err(Broken::Http(None)),
            Some(Err(error)) => Err(Broken::Http(Some(error))),
            Some(Ok(response)) if response.status() == http::StatusCode::SWITCHING_PROTOCOLS => {
                Err(Broken::Upgrade)
            }
            Some(Ok(response)) => Ok(response),
        }
    }

    /// Reads the body until its end or our cap; says whether it was its end.
    async fn body(&mut self, mut body: Incoming, received: &mut Received) -> Result<bool, Broken> {
        while !body.is_end_stream() {
            let frame = drive_until(&mut self.driver, pin!(body.frame()), || {}).await;
            let frame = match frame {
                None | Some(Some(Err(_))) if self.gauge.overrun() => {
                    return Err(Broken::Overrun(Excess::Framing));
                }
                None => return Err(Broken::Http(None)),
                Some(None) => return Ok(true),
                Some(Some(Err(error))) => return Err(Broken::Http(Some(error))),
                Some(Some(Ok(frame))) => frame,
            };
            let Some(data) = frame.data_ref() else {
                continue; // Trailers mean nothing to us; hyper bounds them.
            };
            let room = RESPONSE_BODY_MAX - received.body.len();
            received
                .body
                .extend_from_slice(&data[..data.len().min(room)]);
            if received.body.len() == RESPONSE_BODY_MAX {
                return Ok(data.len() <= room && body.is_end_stream());
            }
        }
        Ok(true)
    }
}

impl Driver {
    /// Moves the connection on, until it has ended. How it ended is told to whoever waits for the
    /// response.
    fn step(&mut self, cx: &mut Context<'_>) {
        self.ended = self.ended || Pin::new(&mut self.connection).poll(cx).is_ready();
    }
}

/// Drives the connection until `waiting` has its answer; `None` where the connection ended and
/// left no answer.
async fn drive_until<F: Future>(
    driver: &mut Driver,
    mut waiting: Pin<&mut F>,
    mut after_each_step: impl FnMut(),
) -> Option<F::Output> {
    poll_fn(|cx| {
        // The first look only tells hyper that somebody wants the next piece. It must not leave
        // our waker behind, or the driver below would wake this very task for nothing.
        let mut silent = Context::from_waker(Waker::noop());
        if let Poll::Ready(answer) = waiting.as_mut().poll(&mut silent) {
            return Poll::Ready(Some(answer));
        }
        driver.step(cx);
        after_each_step();
        match waiting.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending if driver.ended => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// What is sent: `Host` first (RFC 9112, section 3.2), then what firewalls miss in a request without, then
/// what the caller says.
fn headers_of(request: &Request<'_>) -> HeaderMap {
    let mut theirs = (request.headers)();
    for ours in [HOST, CONTENT_LENGTH, TRANSFER_ENCODING] {
        theirs.remove(ours);
    }
    let mut headers = HeaderMap::with_capacity(theirs.len() + 4);
    headers.insert(HOST, request.url.authority().clone());
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.extend(theirs);
    headers
}

/// Whether a response ends its connection (RFC 9112, section 9.3).
fn closes(version: Version, headers: &HeaderMap) -> bool {
    let says = |option: &str| {
        let values = headers.get_all(CONNECTION).into_iter();
        let mut texts = values.filter_map(|value| value.to_str().ok());
        texts.any(|text| {
            text.split(',')
                .any(|one| one.trim().eq_ignore_ascii_case(option))
        })
    };
    says("close") || (version == Version::HTTP_10 && !says("keep-alive"))
}

/// How long the receiver says that it keeps an idle connection: `Keep-Alive: timeout=5, max=100`. Nothing
/// where that was its last request.
fn kept_for(headers: &HeaderMap) -> Option<Duration> {
    const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
    let text = headers.get(KEEP_ALIVE)?.to_str().ok()?;
    let parameter = |name: &str| {
        let mut parameters = text.split([',', ';']).filter_map(|one| one.split_once('='));
        let (_, value) = parameters.find(|(key, _)| key.trim().eq_ignore_ascii_case(name))?;
        value.trim().trim_matches('"').parse::<u64>().ok()
    };
    match parameter("max") {
        Some(0) => Some(Duration::ZERO),
        _ => parameter("timeout").map(Duration::from_secs),
    }
}

/// The headers as text, as many whole ones as fit in [`HEADERS_KEPT_MAX`]. A byte that is not
/// UTF-8 becomes three, so it is the text that is measured.
fn text_of(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut room = HEADERS_KEPT_MAX;
    headers
        .iter()
        .map_while(|(name, value)| {
            // Nearly all are ASCII, which this finds out much faster.
            let value = std::str::from_utf8(value.as_bytes())
                .map_or_else(|_| String::from_utf8_lossy(value.as_bytes()), Cow::Borrowed);
            room = room.checked_sub(name.as_str().len() + value.len())?;
            Some((name.as_str().to_owned(), value.into_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use model::attempt::Reason;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::failure;
    use crate::policy::Policy;
    use crate::stream::Socket;

    #[tokio::test]
    async fn a_receiver_that_speaks_before_it_is_asked_is_no_http_server() {
        let policy = Policy {
            allow: vec![],
            allow_http: true,
        };
        let url = ReceiverUrl::parse("http://example.com/", &policy).unwrap();
        for banner in ["SSH-2.0-OpenSSH_9.9\r\n", "HTTP/1.1 200 OK\r\n\r\n"] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let tcp = TcpStream::connect(address).await.unwrap();
            let (mut peer, _) = listener.accept().await.unwrap();
            peer.write_all(banner.as_bytes()).await.unwrap();
            tcp.readable().await.unwrap();
            let gauge = Arc::new(Gauge::default());
            let wire = Wire::Plain(Socket::new(Box::new(tcp), gauge.clone()));
            let opened = Connection::open(wire, gauge, &url, address).await;
            let mut connection = opened.unwrap();
            let mut received = Received::default();
            let request = Request {
                url: &url,
                headers: &HeaderMap::new,
                body: Bytes::new(),
                deadline: Instant::now(),
            };
            let post = connection.post(&request, &mut received);
            let broken = post.await.unwrap_err();
            let failure = failure::broken(&url, &broken, connection.gauge());
            assert_eq!(failure.reason, Reason::InvalidResponse, "{broken:?}");
            assert!(received.into_response().is_none());
        }
    }

    fn headers(text: &[(&'static str, &str)]) -> HeaderMap {
        let one = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), value.parse().unwrap())
        };
        text.iter().map(one).collect()
    }

    #[test]
    fn how_long_a_connection_is_kept_is_what_the_receiver_says() {
        let seconds = |n| Some(Duration::from_secs(n));
        for (text, expected) in [
            ("timeout=5", seconds(5)),
            ("timeout=5, max=100", seconds(5)),
            ("max=100,Timeout = 1", seconds(1)),
            ("timeout=\"20\"", seconds(20)),
            ("timeout=0", seconds(0)),
            ("timeout=60, max=0", seconds(0)),
            ("max=3", None),
            ("timeout=-1", None),
            ("timeout=soon", None),
            ("timeout", None),
            ("", None),
        ] {
            assert_eq!(
                kept_for(&headers(&[("keep-alive", text)])),
                expected,
                "{text}"
            );
        }
        assert_eq!(kept_for(&HeaderMap::new()), None);
    }

    #[test]
    fn a_response_closes_where_it_says_so_or_is_of_http_1_0() {
        for (version, text, expected) in [
            (Version::HTTP_11, "close", true),
            (Version::HTTP_11, "foo, Close", true),
            (Version::HTTP_11, "keep-alive", false),
            (Version::HTTP_11, "closed", false),
            (Version::HTTP_10, "foo", true),
            (Version::HTTP_10, "Keep-Alive", false),
        ] {
            let headers = headers(&[("connection", text)]);
            assert_eq!(closes(version, &headers), expected, "{version:?} {text}");
        }
    }

    #[test]
    fn headers_are_kept_whole_and_only_as_many_as_fit() {
        let value = |bytes: Vec<u8>| http::HeaderValue::from_bytes(&bytes).unwrap();
        let kept = |values: Vec<Vec<u8>>| {
            let mut headers = HeaderMap::new();
            for one in values {
                headers.append("x", value(one));
            }
            text_of(&headers)
        };
        let full = HEADERS_KEPT_MAX - 1;
        assert_eq!(kept(vec![vec![b'a'; full]]).len(), 1);
        assert_eq!(kept(vec![vec![b'a'; full + 1]]).len(), 0);
        assert_eq!(kept(vec![vec![b'a'; full - 2], vec![b'b'; 1]]).len(), 2);
        assert_eq!(kept(vec![vec![b'a'; full - 1], vec![b'b'; 1]]).len(), 1);
        // Each of these bytes is three in UTF-8.
        let hostile = kept(vec![vec![0xff; 1024]; 60]);
        assert_eq!(hostile.len(), 5);
        assert!(hostile.iter().all(|(_, value)| value.len() == 3 * 1024));
    }
}
