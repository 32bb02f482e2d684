//! Hides how many receivers are opened at once, each at a port and under a name of its own.

use std::collections::HashMap;
use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Result;
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::certificates::Authority;
use crate::name_server::{self, Answer, NameServer, addresses};
use crate::peer::Play;
use crate::script::{Layer, Listens, Script, Twist};

/// How long an attempt may take by the contract; scripts count on it.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// How long a connection to the name server may carry no query, so that it does not outlast what it was made for.
const NAME_SERVER_IDLE: Duration = Duration::from_secs(10);

const DOMAIN: &str = ".receivers.example.com";
const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Receivers, and the name server that knows them. All end when it is dropped.
pub struct Street {
    receivers: Vec<Receiver>,
    name_server: NameServer,
    _tasks: JoinSet<()>,
}

/// One of a street's receivers.
pub struct Receiver {
    script: Script,
    port: u16,
    requests: Arc<AtomicUsize>,
}

impl Receiver {
    /// What it does.
    pub fn script(&self) -> &Script {
        &self.script
    }

    /// Where it is reached.
    pub fn url(&self) -> String {
        let scheme = match self.script.layer {
            Layer::Plain => "http",
            Layer::Raw | Layer::Tls(..) => "https",
        };
        format!("{scheme}://{}{DOMAIN}:{}/hook", self.script.name, self.port)
    }

    /// How many requests it has read.
    pub fn requests(&self) -> usize {
        self.requests.load(Relaxed)
    }
}

impl Street {
    /// Opens a receiver for each script; every pause is multiplied by `pace`.
    ///
    /// # Errors
    /// Where a port or a certificate cannot be had.
    pub async fn open(scripts: Vec<Script>, authority: &Authority, pace: f64) -> Result<Self> {
        let mut zone: HashMap<String, Vec<Answer>> = HashMap::new();
        for (label, answers) in scripts.iter().flat_map(|script| &script.zone) {
            zone.insert(format!("{label}{DOMAIN}"), answers.clone());
        }
        let name_server = name_server::start_patient(NAME_SERVER_IDLE, move |host, before| {
            match zone.get(host) {
                None => addresses(&["127.0.0.1"]),
                Some(answers) => {
                    let turn = before.min(answers.len().saturating_sub(1));
                    answers.get(turn).cloned().unwrap_or(Answer::Silence)
                }
            }
        })
        .await?;
        let mut acceptors: HashMap<String, TlsAcceptor> = HashMap::new();
        let mut tasks = JoinSet::new();
        let mut receivers = vec![];
        for script in scripts {
            if let Layer::Tls(flaw, twist) = script.layer
                && !acceptors.contains_key(&script.name)
            {
                let acceptor = authority.acceptor(flaw, twist)?;
                acceptors.insert(script.name.clone(), acceptor);
            }
            let requests = Arc::new(AtomicUsize::new(0));
            let counter = requests.clone();
            let play = Play {
                steps: script.steps.clone(),
                pace,
                on_request: Box::new(move || {
                    counter.fetch_add(1, Relaxed);
                }),
            };
            let tls = acceptors.get(&script.name).cloned();
            receivers.push(Receiver {
                port: open(&script, play, tls, &mut tasks).await?,
                script,
                requests,
            });
        }
        Ok(Self {
            receivers,
            name_server,
            _tasks: tasks,
        })
    }

    /// The name server to ask for them.
    pub fn name_server(&self) -> SocketAddr {
        self.name_server.address
    }

    /// All of them, in the order of their scripts.
    pub fn receivers(&self) -> &[Receiver] {
        &self.receivers
    }
}

/// Opens one receiver; its port.
async fn open(
    script: &Script,
    play: Play,
    tls: Option<TlsAcceptor>,
    tasks: &mut JoinSet<()>,
) -> Result<u16> {
    let listener = match script.listens {
        Listens::Nobody => {
            let socket = TcpSocket::new_v4()?;
            socket.bind(LOOPBACK)?;
            let port = socket.local_addr()?.port();
            tasks.spawn(keep(socket));
            return Ok(port);
        }
        Listens::FullBacklog => {
            let socket = TcpSocket::new_v4()?;
            socket.bind(LOOPBACK)?;
            let listener = socket.listen(1)?;
            let address = listener.local_addr()?;
            tasks.spawn(keep(listener));
            for _ in 0..8 {
                tasks.spawn(async move { keep(TcpStream::connect(address).await).await });
            }
            // Until the queue is full.
            tokio::time::sleep(Duration::from_millis(50)).await;
            return Ok(address.port());
        }
        Listens::NeverAccepts => {
            let listener = TcpListener::bind(LOOPBACK).await?;
            let port = listener.local_addr()?.port();
            tasks.spawn(keep(listener));
            return Ok(port);
        }
        Listens::Usual => TcpListener::bind(LOOPBACK).await?,
        Listens::Narrow => {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.set_recv_buffer_size(4096)?;
            socket.set_tcp_mss(536)?;
            socket.bind(&LOOPBACK.into())?;
            socket.listen(16)?;
            socket.set_nonblocking(true)?;
            TcpListener::from_std(socket.into())?
        }
    };
    let port = listener.local_addr()?.port();
    tasks.spawn(accept(listener, Arc::new(play), script.layer, tls));
    Ok(port)
}

/// Holds on to something for as long as the street is there.
async fn keep<T>(_kept: T) {
    pending().await
}

async fn accept(listener: TcpListener, play: Arc<Play>, layer: Layer, tls: Option<TlsAcceptor>) {
    let (late, silent_after) = match layer {
        Layer::Tls(_, Twist::Late(span)) => (span, usize::MAX),
        Layer::Tls(_, Twist::SilentAfter(bytes)) => (Duration::ZERO, bytes),
        _ => (Duration::ZERO, usize::MAX),
    };
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((tcp, _)) => {
                let (play, tls) = (play.clone(), tls.clone());
                connections.spawn(async move {
                    // However it ends: what counts is what became of the attempt.
                    let _ = match tls {
                        None => play.plain(tcp).await,
                        Some(tls) => play.tls(tcp, &tls, late, silent_after).await,
                    };
                });
            }
            // Too many files are open: others will be closed.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
        while connections.try_join_next().is_some() {}
    }
}
