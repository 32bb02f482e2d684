//! Hides how the rooms of this crate make one exchange: a kept connection or a new one, one
//! deadline over everything.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use model::attempt::Timings;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::connect::{Dialer, Tcp, connect};
use crate::connection::{Connection, Received};
use crate::connections::Connections;
use crate::exchange::{BoxFuture, Exchange, Failure, Probe, Request, Transport};
use crate::failure::{self, Phase};
use crate::policy::Policy;
use crate::receiver_url::{Host, ReceiverUrl};
use crate::resolver::{NameServers, ResolveError, Resolver};
use crate::stream::{Gauge, Socket, Wire};
use crate::tls::Tls;
use crate::vet::{Blocked, Vetted, vet};

/// What the real transport is made of.
#[derive(Clone, Debug)]
pub struct EgressOptions {
    /// What may be reached beyond the default rules.
    pub policy: Policy,
    /// Extra trust roots, as PEM (`--ca-file`).
    pub extra_roots_pem: Option<Vec<u8>>,
    /// The name server to ask instead of the system's (`--dns-server`).
    pub dns_server: Option<SocketAddr>,
    /// How many connections, to all endpoints together, may be kept open while nothing is sent on
    /// them; each is an open file. Beyond it a connection is closed after its exchange.
    pub max_idle: usize,
    /// How many names may be looked up at once; each lookup holds two sockets. Best as many as
    /// attempts can be in flight: then no team waits for another's silent name servers.
    pub max_lookups: usize,
}

impl Default for EgressOptions {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            extra_roots_pem: None,
            dns_server: None,
            max_idle: 1024,
            max_lookups: 2048,
        }
    }
}

impl EgressOptions {
    /// One sentence for each protection that is relaxed or replaced, for the operator's log at
    /// start. Empty by default.
    pub fn relaxations(&self) -> Vec<String> {
        let mut sentences = self.policy.relaxations();
        if self.extra_roots_pem.is_some() {
            sentences.push(
                "receivers' certificates are trusted under extra roots beside the system's (--ca-file)"
                    .to_owned(),
            );
        }
        if let Some(server) = self.dns_server {
            sentences.push(format!(
                "names are resolved by {server} instead of the system's name servers \
                 (--dns-server)"
            ));
        }
        sentences
    }
}

/// How long a probe may take: somebody waits for it, and may save the URL without.
const PROBE_BUDGET: Duration = Duration::from_secs(5);

/// Why the transport could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct EgressError(pub String);

/// The real transport: DNS, vetting, TCP, TLS, HTTP/1.1. No proxy is ever used, whatever the
/// environment says; redirects are not followed; bodies are not decompressed.
pub struct Egress {
    policy: Policy,
    resolver: Arc<dyn Resolver>,
    dialer: Arc<dyn Dialer>,
    tls: Tls,
    /// Places for idle connections, shared by all endpoints.
    idle_places: Arc<Semaphore>,
}

impl Egress {
    /// The real transport.
    ///
    /// # Errors
    /// The trust roots or the system's name servers cannot be read; the sentence says what to do.
    pub fn new(options: EgressOptions) -> Result<Self, EgressError> {
        let resolver = Arc::new(NameServers::new(options.dns_server, options.max_lookups)?);
        Self::with_resolver(options, resolver)
    }

    /// The real transport with another resolver; `options.dns_server` is not used. What the
    /// resolver says is vetted like any answer.
    ///
    /// # Errors
    /// The trust roots cannot be read; the sentence says what to do.
    pub fn with_resolver(
        options: EgressOptions,
        resolver: Arc<dyn Resolver>,
    ) -> Result<Self, EgressError> {
        Self::with_network(options, resolver, Arc::new(Tcp))
    }

    /// The real transport in another network: names resolve there, and vetted addresses are connected
    /// to there. All else is as ever: vetting, TLS, HTTP and the deadline.
    ///
    /// # Errors
    /// The trust roots cannot be read; the sentence says what to do.
    pub fn with_network(
        options: EgressOptions,
        resolver: Arc<dyn Resolver>,
        dialer: Arc<dyn Dialer>,
    ) -> Result<Self, EgressError> {
        Ok(Self {
            tls: Tls::new(options.extra_roots_pem.as_deref())?,
            policy: options.policy,
            resolver,
            dialer,
            idle_places: Arc::new(Semaphore::new(options.max_idle.min(Semaphore::MAX_PERMITS))),
        })
    }

    async fn addresses_of(&self, url: &ReceiverUrl) -> Result<Vec<Vetted>, Unreachable> {
        let (answer, reserved) = match url.host_kind() {
            Host::Address(address) => (vec![*address], false),
            Host::Name { name, .. } if is_localhost(name) => (self.loopback(), true),
            Host::Name { name, reserved } => {
                let answer = self.resolver.resolve(name).await;
                (answer.map_err(Unreachable::Unresolved)?, *reserved)
            }
        };
        vet(&answer, url.port(), reserved, &self.policy).map_err(Unreachable::Blocked)
    }

    /// `localhost` is answered here and never asked for (RFC 6761, section 6.3): by the loopback
    /// addresses that the operator has allowed, else by both of them, which vetting then refuses.
    fn loopback(&self) -> Vec<IpAddr> {
        let both = [
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ];
        let allowed: Vec<IpAddr> = both
            .into_iter()
            .filter(|address| self.policy.allows(*address))
            .collect();
        if allowed.is_empty() {
            both.into()
        } else {
            allowed
        }
    }

    async fn attempt(
        &self,
        connections: &Connections,
        request: &Request<'_>,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let url = request.url;
        if !url.is_encrypted() && !self.policy.allow_http {
            return Err(failure::unencrypted(url));
        }
        if let Some(kept) = connections.take(url) {
            match self.converse(connections, kept, request, progress).await {
                Err(_) if !progress.answered() => {
                    // The receiver closed it, as it may at any time, before or while the request
                    // was on its way. That is no failure of the receiver's yet.
                    *progress = Progress::default();
                }
                result => return result,
            }
        }
        // Boxed, because it is large and rare: every exchange has this one's memory.
        let connection = Box::pin(self.open(url, progress)).await?;
        self.converse(connections, connection, request, progress)
            .await
    }

    /// One request and its response on `connection`, which is kept for the next where it can be.
    async fn converse(
        &self,
        connections: &Connections,
        mut connection: Connection,
        request: &Request<'_>,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        progress.phase = Phase::Exchanging;
        progress.remote = Some(connection.remote());
        progress.gauge = Some(connection.gauge().clone());
        progress.begun = Some(Instant::now());
        match connection.post(request, &mut progress.received).await {
            Ok(()) => {
                connections.park(connection, &self.idle_places);
                Ok(())
            }
            Err(broken) => Err(failure::broken(request.url, &broken, connection.gauge())),
        }
    }

    async fn open(
        &self,
        url: &ReceiverUrl,
        progress: &mut Progress,
    ) -> Result<Connection, Failure> {
        let timings = &mut progress.timings;
        progress.phase = Phase::Resolving;
        let clock = Instant::now();
        let targets = self.addresses_of(url).await;
        timings.dns_ms = matches!(url.host_kind(), Host::Name { .. }).then(|| millis_since(clock));
        let targets = targets.map_err(|error| error.into_failure(url))?;

        progress.phase = Phase::Connecting;
        let clock = Instant::now();
        let connected = connect(&*self.dialer, &targets).await;
        timings.connect_ms = Some(millis_since(clock));
        let (tcp, remote) = connected.map_err(|error| failure::unconnected(url, &error))?;
        progress.remote = Some(remote);
        let gauge = Arc::new(Gauge::default());
        let socket = Socket::new(tcp, gauge.clone());

        let wire = if url.is_encrypted() {
            progress.phase = Phase::Handshake;
            let clock = Instant::now();
            let name = url.server_name().clone();
            let encrypted = self.tls.connect(name, socket, &gauge).await;
            timings.tls_ms = Some(millis_since(clock));
            let encrypted =
                encrypted.map_err(|error| failure::unencryptable(url, &error, &gauge))?;
            Wire::Tls(Box::new(encrypted))
        } else {
            Wire::Plain(socket)
        };
        progress.phase = Phase::Exchanging;
        let opened = Connection::open(wire, gauge.clone(), url, remote).await;
        opened.map_err(|error| {
            let broken = crate::connection::Broken::Http(Some(error));
            failure::broken(url, &broken, &gauge)
        })
    }
}

/// Why a host has no addresses to connect to.
enum Unreachable {
    Unresolved(ResolveError),
    Blocked(Blocked),
}

impl Unreachable {
    fn into_failure(self, url: &ReceiverUrl) -> Failure {
        match self {
            Self::Unresolved(error) => failure::unresolved(url, &error),
            Self::Blocked(blocked) => failure::blocked(url, &blocked),
        }
    }
}

/// How far an attempt has come. It outlives the attempt, so that one cut by its deadline still says
/// what it was doing.
#[derive(Default)]
struct Progress {
    phase: Phase,
    timings: Timings,
    remote: Option<SocketAddr>,
    /// When the request was handed to the connection.
    begun: Option<Instant>,
    /// The connection's, once there is one.
    gauge: Option<Arc<Gauge>>,
    received: Received,
}

impl Progress {
    fn answered(&self) -> bool {
        self.gauge.as_ref().is_some_and(|gauge| gauge.answered())
    }

    fn into_exchange(self, result: Result<(), Failure>) -> Exchange {
        let Self {
            mut timings,
            remote,
            begun,
            received,
            ..
        } = self;
        if let (Some(begun), Some(first_byte)) = (begun, received.first_byte) {
            timings.first_byte_ms = Some(millis(first_byte.duration_since(begun)));
        }
        let response = received.into_response();
        let result = match result {
            Ok(()) => Ok(response.unwrap_or_default()),
            Err(mut failure) => {
                failure.partial = response;
                Err(failure)
            }
        };
        Exchange {
            remote_addr: remote,
            timings,
            sent_twice: false,
            result,
        }
    }
}

impl Transport for Egress {
    fn exchange<'a>(
        &'a self,
        connections: &'a Connections,
        request: Request<'a>,
    ) -> BoxFuture<'a, Exchange> {
        Box::pin(async move {
            let mut progress = Progress::default();
            let attempt = self.attempt(connections, &request, &mut progress);
            let result = match tokio::time::timeout_at(request.deadline, attempt).await {
                Ok(result) => result,
                Err(_) => {
                    let gauge = progress.gauge.as_deref();
                    Err(failure::timed_out(request.url, progress.phase, gauge))
                }
            };
            progress.into_exchange(result)
        })
    }

    fn probe<'a>(&'a self, url: &'a ReceiverUrl) -> BoxFuture<'a, Probe> {
        Box::pin(async move {
            let addresses = tokio::time::timeout(PROBE_BUDGET, self.addresses_of(url)).await;
            match addresses.unwrap_or(Err(Unreachable::Unresolved(ResolveError::Timeout))) {
                Ok(_) => Probe::Reachable,
                Err(Unreachable::Unresolved(error)) => {
                    Probe::Unresolved(failure::unresolved(url, &error).detail)
                }
                Err(Unreachable::Blocked(blocked)) => {
                    Probe::Blocked(failure::blocked_sentence(url, &blocked))
                }
            }
        })
    }
}

fn is_localhost(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

fn millis_since(start: Instant) -> u32 {
    millis(start.elapsed())
}

fn millis(span: std::time::Duration) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_that_relaxes_a_rule_says_so() {
        assert!(EgressOptions::default().relaxations().is_empty());
        let options = EgressOptions {
            policy: Policy {
                allow: vec!["10.0.0.0/8".parse().unwrap()],
                allow_http: true,
            },
            extra_roots_pem: Some(Vec::new()),
            dns_server: Some("192.0.2.53:53".parse().unwrap()),
            ..EgressOptions::default()
        };
        let said = options.relaxations().join("\n");
        for option in ["--allow-cidr", "--allow-http", "--ca-file", "--dns-server"] {
            assert!(said.contains(option), "{said}");
        }
    }
}
