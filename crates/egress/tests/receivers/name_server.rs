//! Hides the wire format of DNS: a name server on loopback whose answers are scripted.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

/// What the name server says to a query.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Addresses(Vec<IpAddr>),
    Code(ResponseCode),
    Alias(&'static str),
    Silence,
}

pub(crate) fn addresses(texts: &[&str]) -> Answer {
    Answer::Addresses(texts.iter().map(|text| text.parse().unwrap()).collect())
}

pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    /// How many queries for A records have come.
    pub(crate) queries: Arc<AtomicUsize>,
}

/// Starts a name server (UDP and TCP). `script` is given the name asked for and how many queries
/// for A records came before; its addresses are sorted to the A and AAAA queries by family.
pub(crate) async fn start(
    script: impl Fn(&str, usize) -> Answer + Send + Sync + 'static,
) -> NameServer {
    let (udp, tcp) = bind_both().await;
    let address = udp.local_addr().unwrap();
    let queries = Arc::new(AtomicUsize::new(0));
    let server = Arc::new(Server {
        script: Box::new(script),
        queries: queries.clone(),
    });
    tokio::spawn(serve_tcp(tcp, server.clone()));
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok((length, client)) = udp.recv_from(&mut buffer).await {
            if let Some(reply) = server.reply(&buffer[..length], 1232) {
                udp.send_to(&reply, client).await.unwrap();
            }
        }
    });
    NameServer { address, queries }
}

async fn bind_both() -> (UdpSocket, TcpListener) {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
}

async fn serve_tcp(listener: TcpListener, server: Arc<Server>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let server = server.clone();
        tokio::spawn(async move {
            while let Ok(length) = stream.read_u16().await {
                let mut query = vec![0; usize::from(length)];
                stream.read_exact(&mut query).await.unwrap();
                if let Some(reply) = server.reply(&query, usize::from(u16::MAX)) {
                    stream.write_u16(reply.len() as u16).await.unwrap();
                    stream.write_all(&reply).await.unwrap();
                }
            }
        });
    }
}

type Script = Box<dyn Fn(&str, usize) -> Answer + Send + Sync>;

struct Server {
    script: Script,
    queries: Arc<AtomicUsize>,
}

impl Server {
    fn reply(&self, query: &[u8], room: usize) -> Option<Vec<u8>> {
        let query = Message::from_vec(query).unwrap();
        let asked = query.queries[0].clone();
        let before = match asked.query_type {
            RecordType::A => self.queries.fetch_add(1, SeqCst),
            _ => self.queries.load(SeqCst),
        };
        let host = asked.name.to_ascii().to_lowercase();
        let answer = (self.script)(host.trim_end_matches('.'), before);
        let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
        reply.metadata.recursion_available = true;
        reply.add_query(asked.clone());
        match answer {
            Answer::Silence => return None,
            Answer::Code(code) => reply.metadata.response_code = code,
            Answer::Alias(target) => {
                let target = Name::from_ascii(target).unwrap();
                let alias = RData::CNAME(CNAME(target));
                reply.add_answer(Record::from_rdata(asked.name.clone(), 300, alias));
            }
            Answer::Addresses(addresses) => {
                for address in addresses {
                    let data = match (address, asked.query_type) {
                        (IpAddr::V4(v4), RecordType::A) => RData::A(A(v4)),
                        (IpAddr::V6(v6), RecordType::AAAA) => RData::AAAA(AAAA(v6)),
                        _ => continue,
                    };
                    reply.add_answer(Record::from_rdata(asked.name.clone(), 300, data));
                }
            }
        }
        let bytes = reply.to_vec().unwrap();
        if bytes.len() <= room {
            return Some(bytes);
        }
        Some(reply.truncate().to_vec().unwrap())
    }
}
