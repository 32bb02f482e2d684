//! Hides name servers that fail in the ways that real ones do, and come back.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

/// How a name server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serves {
    /// Every name is 127.0.0.1, said after so long; of names that end in `.nowhere` there is none.
    After(Duration),
    /// Queries get lost.
    Nothing,
    /// Nobody listens: queries come back as refused by the machine.
    Closed,
    /// Every query is answered at once with an error.
    Error(ResponseCode),
    /// As `After`, but for queries beyond so many at a time, which are refused at once.
    AtMost(usize, Duration),
}

impl Serves {
    /// As it should be.
    pub const WELL: Self = Self::After(Duration::ZERO);
}

/// A name server at an address of its own, whose ways can be changed while it runs. Ends when dropped.
pub struct Names {
    address: SocketAddr,
    state: Arc<State>,
    running: Mutex<Option<JoinHandle<()>>>,
}

struct State {
    serves: Mutex<Serves>,
    queries: AtomicUsize,
    refused: AtomicUsize,
    under_way: AtomicUsize,
}

impl Names {
    /// Starts one that serves well.
    ///
    /// # Errors
    /// Where the address cannot be had.
    pub async fn start(address: SocketAddr) -> Result<Self> {
        let state = Arc::new(State {
            serves: Mutex::new(Serves::WELL),
            queries: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
        });
        let names = Self {
            address,
            state,
            running: Mutex::default(),
        };
        names.open().await?;
        Ok(names)
    }

    /// Where it is asked.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many queries have come.
    pub fn queries(&self) -> usize {
        self.state.queries.load(Ordering::Relaxed)
    }

    /// How many were refused since too many were under way.
    pub fn refused(&self) -> usize {
        self.state.refused.load(Ordering::Relaxed)
    }

    /// From now on it is like this.
    ///
    /// # Errors
    /// Where its address cannot be had again.
    pub async fn serve(&self, serves: Serves) -> Result<()> {
        *locked(&self.state.serves) = serves;
        if serves == Serves::Closed {
            let running = locked(&self.running).take();
            if let Some(running) = running {
                running.abort();
                // Ends with an error, since it was aborted; its sockets are closed by then.
                let _ = running.await;
            }
            return Ok(());
        }
        let is_open = locked(&self.running).is_some();
        if !is_open {
            self.open().await?;
        }
        Ok(())
    }

    async fn open(&self) -> Result<()> {
        let what = || format!("a name server at {}", self.address);
        let udp = UdpSocket::bind(self.address).await.with_context(what)?;
        let tcp = TcpListener::bind(self.address).await.with_context(what)?;
        let state = Arc::clone(&self.state);
        let running = tokio::spawn(async move {
            tokio::join!(serve_udp(Arc::new(udp), &state), serve_tcp(tcp, &state));
        });
        *locked(&self.running) = Some(running);
        Ok(())
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        if let Some(running) = locked(&self.running).take() {
            running.abort();
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve_udp(udp: Arc<UdpSocket>, state: &Arc<State>) {
    let mut queries = JoinSet::new();
    let mut buffer = [0; 4096];
    loop {
        // An error here is of an answer before, whose client is gone.
        let Ok((length, client)) = udp.recv_from(&mut buffer).await else {
            continue;
        };
        let (udp, state, query) = (
            Arc::clone(&udp),
            Arc::clone(state),
            buffer[..length].to_vec(),
        );
        queries.spawn(async move {
            if let Some(reply) = state.reply(&query).await {
                // A client that is gone needs no answer.
                let _ = udp.send_to(&reply, client).await;
            }
        });
        while queries.try_join_next().is_some() {}
    }
}

async fn serve_tcp(listener: TcpListener, state: &Arc<State>) {
    let mut clients = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(state);
        clients.spawn(async move {
            // It ends where the client goes.
            let _ = converse(stream, &state).await;
        });
        while clients.try_join_next().is_some() {}
    }
}

async fn converse(mut stream: TcpStream, state: &State) -> Result<()> {
    loop {
        let length = stream.read_u16().await?;
        let mut query = vec![0; usize::from(length)];
        stream.read_exact(&mut query).await?;
        if let Some(reply) = state.reply(&query).await {
            stream.write_u16(u16::try_from(reply.len())?).await?;
            stream.write_all(&reply).await?;
        }
    }
}

impl State {
    async fn reply(&self, query: &[u8]) -> Option<Vec<u8>> {
        self.queries.fetch_add(1, Ordering::Relaxed);
        let query = Message::from_vec(query).ok()?;
        let serves = *locked(&self.serves);
        let before = self.under_way.fetch_add(1, Ordering::Relaxed);
        let answer = match serves {
            Serves::Nothing | Serves::Closed => None,
            Serves::Error(code) => error(&query, code),
            Serves::AtMost(most, _) if before >= most => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                error(&query, ResponseCode::Refused)
            }
            Serves::After(delay) | Serves::AtMost(_, delay) => {
                sleep(delay).await;
                addresses(&query)
            }
        };
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        answer
    }
}

fn error(query: &Message, code: ResponseCode) -> Option<Vec<u8>> {
    let mut reply = reply_to(query)?;
    reply.metadata.response_code = code;
    reply.to_vec().ok()
}

fn addresses(query: &Message) -> Option<Vec<u8>> {
    let asked = query.queries.first()?;
    let mut reply = reply_to(query)?;
    let host = asked.name.to_ascii().to_lowercase();
    if host.trim_end_matches('.').ends_with(".nowhere") {
        reply.metadata.response_code = ResponseCode::NXDomain;
    } else if asked.query_type == RecordType::A {
        let data = RData::A(A(Ipv4Addr::LOCALHOST));
        // Not kept for long: look-ups go on.
        reply.add_answer(Record::from_rdata(asked.name.clone(), 1, data));
    }
    reply.to_vec().ok()
}

fn reply_to(query: &Message) -> Option<Message> {
    let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
    reply.metadata.recursion_available = true;
    reply.add_query(query.queries.first()?.clone());
    Some(reply)
}

/// The lines of a `resolv.conf` that names these servers.
pub fn resolv_conf(servers: &[&Names]) -> String {
    let lines = servers
        .iter()
        .map(|names| format!("nameserver {}\n", names.address.ip()));
    lines.collect()
}
