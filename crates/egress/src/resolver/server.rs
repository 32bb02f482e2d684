//! Hides how one name server is asked over UDP and TCP, and how it is known whether it answers at
//! all.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout};

/// The largest answer over UDP that is asked for: the size that DNS operators agreed on.
const UDP_MAX: u16 = 1232;
/// A query over UDP is sent again after these waits, because a packet may be lost.
const RESEND_AFTER: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
];
/// How long a probe is waited for.
const PROBE_BUDGET: Duration = Duration::from_secs(3);
/// A new probe is sent at most this often.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// A server that leaves a probe unanswered for so long counts as silent until it answers anything.
const PROBE_PATIENCE: Duration = Duration::from_millis(100);
/// For so long a useful answer shows that a server is able to resolve names.
const USEFUL_FOR: Duration = Duration::from_secs(10);

/// Why a server gave no useful answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// This service's own machine or network did not let it be asked.
    Io(io::Error),
    /// It answered with an error code.
    Code(ResponseCode),
    /// It answered in a way that cannot be used.
    Unusable(&'static str),
}

/// One name server.
#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    health: Mutex<Health>,
}

#[derive(Debug, Default)]
struct Health {
    /// When it last answered anything.
    heard: Option<Instant>,
    /// When it last gave an answer that was no error.
    useful: Option<Instant>,
    /// When the first probe was sent that nothing was heard after.
    doubted: Option<Instant>,
    /// When the last probe was sent.
    probed: Option<Instant>,
    /// Whether the system gave an error at the last try, and nothing was heard since.
    unreachable: bool,
}

impl Server {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            health: Mutex::default(),
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    fn health(&self) -> std::sync::MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heard(&self, code: ResponseCode) {
        let now = Instant::now();
        let mut health = self.health();
        health.heard = Some(now);
        health.doubted = None;
        health.unreachable = false;
        if is_useful(code) {
            health.useful = Some(now);
        }
    }

    /// Returns true if the server did not answer its probe for `PROBE_PATIENCE`, or cannot be reached.
    pub(super) fn is_silent(&self) -> bool {
        let health = self.health();
        let doubted = health.doubted;
        health.unreachable || doubted.is_some_and(|since| since.elapsed() >= PROBE_PATIENCE)
    }

    /// Returns true if the server gave an answer that was no error a short while ago.
    pub(super) fn is_useful(&self) -> bool {
        let useful = self.health().useful;
        useful.is_some_and(|at| at.elapsed() < USEFUL_FOR)
    }

    /// Probes the server if it answered nothing since `sent`, and no probe is under way.
    pub(super) fn doubt(self: &Arc<Self>, sent: Instant) {
        let mut health = self.health();
        let now = Instant::now();
        let heard = health.heard.is_some_and(|at| at >= sent);
        let probed = health.probed.is_some_and(|at| now - at < PROBE_EVERY);
        if heard || (probed && health.doubted.is_some()) {
            return;
        }
        health.doubted.get_or_insert(now);
        health.probed = Some(now);
        let server = Arc::clone(self);
        tokio::spawn(async move { server.probe(PROBE_BUDGET).await });
    }

    /// Asks what every name server can answer cheaply. What it says is remembered by `heard`.
    pub(super) async fn probe(&self, budget: Duration) {
        let asked = timeout(budget, self.ask(&Name::root(), RecordType::NS)).await;
        if let Ok(Err(trouble)) = asked {
            tracing::debug!(server = %self.address, ?trouble, "the probe of a name server failed");
        }
    }

    /// Asks for `name`'s records of one type. Never gives up by itself, unless the server or the
    /// system says something: the caller bounds it.
    pub(super) async fn ask(&self, name: &Name, of: RecordType) -> Result<Message, Trouble> {
        let mut answer = self.exchange(name, of, true).await?;
        let code = |answer: &Message| answer.metadata.response_code;
        // An old server may know no EDNS (RFC 6891, section 7).
        use ResponseCode::{BADVERS, FormErr, NotImp};
        if matches!(code(&answer), FormErr | NotImp | BADVERS) {
            answer = self.exchange(name, of, false).await?;
        }
        match code(&answer) {
            code if is_useful(code) => Ok(answer),
            code => Err(Trouble::Code(code)),
        }
    }

    async fn exchange(&self, name: &Name, of: RecordType, edns: bool) -> Result<Message, Trouble> {
        let mut message = Message::query();
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(name.clone(), of));
        if edns {
            let mut edns = Edns::new();
            edns.set_max_payload(UDP_MAX).set_version(0);
            message.edns = Some(edns);
        }
        let bytes = message.to_vec();
        let bytes = bytes.map_err(|_| Trouble::Unusable("the name cannot be asked for"))?;
        let over_udp = self.over_udp(&message, &bytes).await;
        let answer = over_udp.inspect_err(|error| self.note(error))?;
        if !answer.metadata.truncation {
            return Ok(answer);
        }
        let over_tcp = self.over_tcp(&message, &bytes).await;
        over_tcp.inspect_err(|error| self.note(error))
    }

    fn note(&self, trouble: &Trouble) {
        if let Trouble::Io(_) = trouble {
            self.health().unreachable = true;
        }
    }

    /// A socket of its own for each query, so that its port is as random as its id; connected, so
    /// that answers from elsewhere never arrive and the system's errors do.
    async fn over_udp(&self, query: &Message, bytes: &[u8]) -> Result<Message, Trouble> {
        let any: IpAddr = match self.address {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).await.map_err(Trouble::Io)?;
        socket.connect(self.address).await.map_err(Trouble::Io)?;
        for wait in RESEND_AFTER {
            socket.send(bytes).await.map_err(Trouble::Io)?;
            if let Ok(heard) = timeout(wait, self.hear(&socket, query)).await {
                return heard;
            }
        }
        socket.send(bytes).await.map_err(Trouble::Io)?;
        self.hear(&socket, query).await
    }

    /// Waits for the answer to `query`; whatever else arrives is ignored.
    async fn hear(&self, socket: &UdpSocket, query: &Message) -> Result<Message, Trouble> {
        let mut buffer = [0; 4096];
        loop {
            let length = socket.recv(&mut buffer).await.map_err(Trouble::Io)?;
            let bytes = &buffer[..length];
            if bytes.first_chunk() != Some(&query.metadata.id.to_be_bytes()) {
                continue;
            }
            let Ok(answer) = Message::from_vec(bytes) else {
                return Err(Trouble::Unusable("an answer that cannot be read"));
            };
            if answers(query, &answer) {
                self.heard(answer.metadata.response_code);
                return Ok(answer);
            }
        }
    }

    /// A connection of its own for each query, so that none waits for another's answer.
    async fn over_tcp(&self, query: &Message, bytes: &[u8]) -> Result<Message, Trouble> {
        let length = u16::try_from(bytes.len());
        let length = length.map_err(|_| Trouble::Unusable("the name cannot be asked for"))?;
        let exchange = async {
            let mut stream = TcpStream::connect(self.address).await?;
            let framed = [&length.to_be_bytes()[..], bytes].concat();
            stream.write_all(&framed).await?;
            let mut answer = vec![0; usize::from(stream.read_u16().await?)];
            stream.read_exact(&mut answer).await?;
            Ok(answer)
        };
        let answer = exchange.await.map_err(|error: io::Error| {
            use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, UnexpectedEof};
            match error.kind() {
                // It answered over UDP, so that it is well: it does not speak over TCP.
                BrokenPipe | ConnectionRefused | ConnectionReset | UnexpectedEof => {
                    Trouble::Unusable("a truncated answer, and none over TCP")
                }
                _ => Trouble::Io(error),
            }
        })?;
        match Message::from_vec(&answer) {
            Ok(answer) if answers(query, &answer) => {
                self.heard(answer.metadata.response_code);
                Ok(answer)
            }
            _ => Err(Trouble::Unusable("an answer that cannot be read")),
        }
    }
}

/// Returns true if the code tells about the name, rather than about the server.
fn is_useful(code: ResponseCode) -> bool {
    matches!(code, ResponseCode::NoError | ResponseCode::NXDomain)
}

/// Returns true if `answer` is to `query`: its id and its question. An error may come without a
/// question.
fn answers(query: &Message, answer: &Message) -> bool {
    let errs = !is_useful(answer.metadata.response_code);
    answer.metadata.message_type == MessageType::Response
        && answer.metadata.id == query.metadata.id
        && (answer.queries == query.queries || (errs && answer.queries.is_empty()))
}
