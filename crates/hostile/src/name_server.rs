//! Hides the wire format of DNS: a name server on loopback that answers as it is told.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// The largest answer over UDP, as name servers have it today.
const UDP_MAX: usize = 1232;

/// How often a byte comes where an answer drips.
const DRIPS_EVERY: Duration = Duration::from_millis(400);

/// What the name server says to a query.
#[derive(Clone, Debug)]
pub enum Answer {
    /// These, sorted to the queries for A and AAAA records by their family.
    Addresses(Vec<IpAddr>),
    /// An error.
    Code(ResponseCode),
    /// Another name, and nothing about that one.
    Alias(String),
    /// Another name, and its addresses with it.
    AliasTo(String, Vec<IpAddr>),
    /// The first to queries for A records, the second to those for AAAA records.
    ByFamily(Box<Answer>, Box<Answer>),
    /// Addresses, in an answer to a query that nobody made.
    WrongId(Vec<IpAddr>),
    /// Addresses of another name than was asked for.
    OfAnother(Vec<IpAddr>),
    /// Over UDP that the answer is too long for it, and over TCP nothing.
    Truncated,
    /// Over UDP that the answer is too long for it, and over TCP these, a byte at a time.
    Drip(Vec<IpAddr>),
    /// Bytes that are no DNS.
    Garbage,
    /// Nothing.
    Silence,
}

/// These addresses; those that are none are left out.
pub fn addresses(texts: &[&str]) -> Answer {
    Answer::Addresses(list(texts))
}

pub(crate) fn list(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// A name server. Ends when dropped.
pub struct NameServer {
    /// Where it listens, for UDP and TCP.
    pub address: SocketAddr,
    /// How many queries for A records have come.
    pub queries: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

/// Starts a name server. `script` is given the name asked for, in lower case and without the last
/// dot, and how many queries for its records of the same type came before.
///
/// # Errors
/// Where no port is free.
pub async fn start(
    script: impl Fn(&str, usize) -> Answer + Send + Sync + 'static,
) -> Result<NameServer> {
    start_patient(Duration::MAX, script).await
}

/// As [`start`], and closes a connection that has carried no query for so long, as most name servers do.
pub(crate) async fn start_patient(
    idle_max: Duration,
    script: impl Fn(&str, usize) -> Answer + Send + Sync + 'static,
) -> Result<NameServer> {
    let (udp, tcp) = bind_both().await?;
    let address = udp.local_addr()?;
    let queries = Arc::new(AtomicUsize::new(0));
    let server = Arc::new(Server {
        script: Box::new(script),
        idle_max,
        queries: queries.clone(),
        before: Mutex::default(),
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(serve_tcp(tcp, server.clone()));
    tasks.spawn(serve_udp(udp, server));
    Ok(NameServer {
        address,
        queries,
        _tasks: tasks,
    })
}

async fn bind_both() -> Result<(UdpSocket, TcpListener)> {
    // Another program may have the port that is free for UDP.
    for _ in 0..100 {
        let udp = UdpSocket::bind("127.0.0.1:0").await?;
        if let Ok(tcp) = TcpListener::bind(udp.local_addr()?).await {
            return Ok((udp, tcp));
        }
    }
    anyhow::bail!("no port is free for both UDP and TCP")
}

async fn serve_udp(udp: UdpSocket, server: Arc<Server>) {
    let mut buffer = [0; 4096];
    while let Ok((length, client)) = udp.recv_from(&mut buffer).await {
        if let Ok(Some(reply)) = server.reply(&buffer[..length], Some(UDP_MAX)) {
            // A client that is gone needs no answer.
            let _ = udp.send_to(&reply.bytes, client).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, server: Arc<Server>) {
    let mut clients = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let server = server.clone();
        clients.spawn(async move {
            // It ends where the client goes, or is told nothing.
            let _ = converse(stream, &server).await;
        });
        while clients.try_join_next().is_some() {}
    }
}

/// One connection may carry the queries of many: where one is not answered, the next is. One that carries none for
/// too long is closed.
async fn converse(mut stream: TcpStream, server: &Server) -> Result<()> {
    loop {
        let length = timeout(server.idle_max, stream.read_u16()).await??;
        let mut query = vec![0; usize::from(length)];
        stream.read_exact(&mut query).await?;
        if let Some(Reply { bytes, drips }) = server.reply(&query, None)? {
            let length = u16::try_from(bytes.len())?.to_be_bytes();
            let whole = [&length[..], &bytes].concat();
            for piece in whole.chunks(if drips { 1 } else { whole.len() }) {
                if drips {
                    sleep(DRIPS_EVERY).await;
                }
                stream.write_all(piece).await?;
            }
        }
    }
}

/// An answer, and whether it comes a byte at a time.
struct Reply {
    bytes: Vec<u8>,
    drips: bool,
}

type Script = Box<dyn Fn(&str, usize) -> Answer + Send + Sync>;

struct Server {
    script: Script,
    idle_max: Duration,
    queries: Arc<AtomicUsize>,
    /// How many queries for each name's records of each type have come.
    before: Mutex<HashMap<(String, RecordType), usize>>,
}

impl Server {
    /// How many queries for these records of `host` came before this one.
    fn count(&self, host: &str, asked: RecordType) -> usize {
        if asked == RecordType::A {
            self.queries.fetch_add(1, SeqCst);
        }
        let mut before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        let count = before.entry((host.to_owned(), asked)).or_default();
        *count += 1;
        *count - 1
    }

    /// The reply; over UDP with `room` for so many bytes.
    fn reply(&self, query: &[u8], room: Option<usize>) -> Result<Option<Reply>> {
        let query = Message::from_vec(query)?;
        let asked = query.queries.first().context("a question")?.clone();
        let host = asked.name.to_ascii().to_lowercase();
        let host = host.trim_end_matches('.');
        let mut answer = (self.script)(host, self.count(host, asked.query_type));
        if let Answer::ByFamily(v4, v6) = answer {
            answer = match asked.query_type {
                RecordType::A => *v4,
                _ => *v6,
            };
        }
        let mut drips = false;
        let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
        reply.metadata.recursion_available = true;
        reply.add_query(asked.clone());
        let add = |reply: &mut Message, name: &Name, addresses: Vec<IpAddr>| {
            for address in addresses {
                let data = match (address, asked.query_type) {
                    (IpAddr::V4(v4), RecordType::A) => RData::A(A(v4)),
                    (IpAddr::V6(v6), RecordType::AAAA) => RData::AAAA(AAAA(v6)),
                    _ => continue,
                };
                reply.add_answer(Record::from_rdata(name.clone(), 300, data));
            }
        };
        let alias = |reply: &mut Message, target: &Name| {
            let data = RData::CNAME(CNAME(target.clone()));
            reply.add_answer(Record::from_rdata(asked.name.clone(), 300, data));
        };
        match answer {
            Answer::Silence | Answer::ByFamily(..) => return Ok(None),
            Answer::Garbage => {
                let bytes = b"this is no answer".to_vec();
                return Ok(Some(Reply { bytes, drips }));
            }
            Answer::Code(code) => reply.metadata.response_code = code,
            Answer::Alias(target) => alias(&mut reply, &Name::from_ascii(&target)?),
            Answer::AliasTo(target, addresses) => {
                let target = Name::from_ascii(&target)?;
                alias(&mut reply, &target);
                add(&mut reply, &target, addresses);
            }
            Answer::Addresses(addresses) => add(&mut reply, &asked.name, addresses),
            Answer::WrongId(addresses) => {
                reply.metadata.id = reply.metadata.id.wrapping_add(1);
                add(&mut reply, &asked.name, addresses);
            }
            Answer::OfAnother(addresses) => {
                add(
                    &mut reply,
                    &Name::from_ascii("another.example.com.")?,
                    addresses,
                );
            }
            Answer::Truncated | Answer::Drip(_) if room.is_some() => {
                reply.metadata.truncation = true
            }
            Answer::Drip(addresses) => {
                add(&mut reply, &asked.name, addresses);
                drips = true;
            }
            Answer::Truncated => return Ok(None),
        }
        let mut bytes = reply.to_vec()?;
        if room.is_some_and(|room| bytes.len() > room) {
            bytes = reply.truncate().to_vec()?;
        }
        Ok(Some(Reply { bytes, drips }))
    }
}
