//! Hides how the rooms of this crate make one exchange: a kept connection or a new one, one
//! deadline over everything.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::connect::{Dialer, Tcp};
use crate::connection::Connection;
use crate::connections::{Connections, Kept};
use crate::exchange::{BoxFuture, Exchange, Failure, Probe, Request, Transport};
use crate::failure::{self, Phase};
use crate::order::connect;
use crate::policy::Policy;
use crate::progress::{Progress, millis_since};
use crate::receiver_url::{Host, ReceiverUrl};
use crate::resolver::{NameServers, ResolveError, Resolver};
use crate::stream::{Gauge, Socket, Wire};
use crate::tls::Tls;
use crate::vet::{Blocked, Vetted, vet};
use crate::watch::{closing_idle_ones, unless_lost};

/// What the real transport is made of.
#[derive(Clone, Debug)]
pub struct EgressOptions {
    /// What may be reached beyond the default rules.
    pub policy: Policy,
    /// Extra trust roots, as PEM (`--ca-file`).
    pub extra_roots_pem: Option<Vec<u8>>,
    /// The name server to ask instead of the system's (`--dns-server`).
    pub dns_server: Option<SocketAddr>,
    /// The name servers to ask after `dns_server`, in order; only with it.
    pub further_dns_servers: Vec<SocketAddr>,
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
            further_dns_servers: Vec::new(),
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
        let servers: Vec<String> = self.dns_servers().iter().map(ToString::to_string).collect();
        if !servers.is_empty() {
            sentences.push(format!(
                "names are resolved by {} instead of the system's name servers (--dns-server)",
                servers.join(", ")
            ));
        }
        sentences
    }

    /// The name servers in the order in which they are asked; none where the system's are.
    fn dns_servers(&self) -> Vec<SocketAddr> {
        let first = self.dns_server.into_iter();
        let all = first.flat_map(|first| [&[first], &self.further_dns_servers[..]].concat());
        all.collect()
    }
}

/// How long the name servers have for the name of an old connection, before it is used on.
const RENEWAL: Duration = Duration::from_secs(2);
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
        let resolver = Arc::new(NameServers::new(
            &options.dns_servers(),
            options.max_lookups,
        )?);
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

    /// Why a look-up had not ended at the caller's deadline.
    fn unanswered(&self) -> ResolveError {
        match self.resolver.is_silent() {
            true => ResolveError::Silent,
            false => ResolveError::Timeout,
        }
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
        let mut targets = None;
        if let Some(Kept { connection, is_old }) = connections.take(url) {
            // Boxed, as all below that is rare: every exchange has this one's memory.
            let renewed = match is_old {
                true => Box::pin(self.renew(connections, url, progress)).await,
                false => None,
            };
            match renewed {
                Some(renewed) => targets = Some(renewed?),
                None => match self
                    .on_kept(connections, connection, request, progress)
                    .await
                {
                    Some(result) => return result,
                    None => {
                        let gauge = progress.gauge.as_ref();
                        let sent_twice = gauge.is_some_and(|gauge| gauge.asked());
                        *progress = Progress {
                            sent_twice,
                            ..Progress::default()
                        };
                    }
                },
            }
        }
        Box::pin(self.on_new(connections, targets, request, progress)).await
    }

    /// Resolves and vets again for a connection that has become old. Nothing where the name servers do not
    /// answer: then the connection is used on, since nobody said that its address is wrong.
    async fn renew(
        &self,
        connections: &Connections,
        url: &ReceiverUrl,
        progress: &mut Progress,
    ) -> Option<Result<Vec<Vetted>, Failure>> {
        let asked = tokio::time::timeout(RENEWAL, self.targets(url, progress)).await;
        match asked.unwrap_or(Err(Unreachable::Unresolved(ResolveError::Timeout))) {
            Err(Unreachable::Unresolved(error)) if is_silence(&error) => {
                connections.names_are_silent();
                None
            }
            answer => Some(answer.map_err(|error| error.into_failure(url))),
        }
    }

    /// One exchange on a connection that was kept. Nothing where the connection was closed, had idled out
    /// or is dead, so that the request has to be sent on a new one: the receiver may close a connection at
    /// any time, before or while the request is on its way, and that is no failure of its yet.
    async fn on_kept(
        &self,
        connections: &Connections,
        connection: Connection,
        request: &Request<'_>,
        progress: &mut Progress,
    ) -> Option<Result<(), Failure>> {
        let gauge = connection.gauge().clone();
        let exchange = self.converse(connection, request, progress);
        let Some(result) = unless_lost(&gauge, exchange).await else {
            // What has swallowed one connection, such as a firewall that was started anew, has swallowed
            // all that were made before.
            connections.close_idle();
            return None;
        };
        match result {
            Ok(connection) if connection.has_idled_out() => None,
            Ok(connection) => {
                connections.park(connection, &self.idle_places);
                Some(Ok(()))
            }
            Err(_) if !progress.answered() => None,
            Err(failure) => Some(Err(failure)),
        }
    }

    /// One exchange on a new connection.
    async fn on_new(
        &self,
        connections: &Connections,
        targets: Option<Vec<Vetted>>,
        request: &Request<'_>,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let url = request.url;
        let targets = match targets {
            Some(targets) => targets,
            None => {
                let targets = self.targets(url, progress).await;
                targets.map_err(|error| error.into_failure(url))?
            }
        };
        let exchange = async {
            let connection = self.open(connections, &targets, url, progress).await?;
            self.converse(connection, request, progress).await
        };
        let connection = closing_idle_ones(connections, exchange).await?;
        connections.worked(connection.remote());
        connections.park(connection, &self.idle_places);
        Ok(())
    }

    /// One request and its response on `connection`.
    async fn converse(
        &self,
        mut connection: Connection,
        request: &Request<'_>,
        progress: &mut Progress,
    ) -> Result<Connection, Failure> {
        progress.phase = Phase::Exchanging;
        progress.remote = Some(connection.remote());
        progress.gauge = Some(connection.gauge().clone());
        progress.begun = Some(Instant::now());
        match connection.post(request, &mut progress.received).await {
            Ok(()) => Ok(connection),
            Err(broken) => Err(failure::broken(request.url, &broken, connection.gauge())),
        }
    }

    /// The addresses that may be connected to.
    async fn targets(
        &self,
        url: &ReceiverUrl,
        progress: &mut Progress,
    ) -> Result<Vec<Vetted>, Unreachable> {
        progress.phase = Phase::Resolving;
        let clock = Instant::now();
        let targets = self.addresses_of(url).await;
        let is_name = matches!(url.host_kind(), Host::Name { .. });
        progress.timings.dns_ms = is_name.then(|| millis_since(clock));
        targets
    }

    async fn open(
        &self,
        connections: &Connections,
        targets: &[Vetted],
        url: &ReceiverUrl,
        progress: &mut Progress,
    ) -> Result<Connection, Failure> {
        let timings = &mut progress.timings;
        progress.phase = Phase::Connecting;
        let clock = Instant::now();
        let targets = connections.arrange(targets);
        let connected = connect(&*self.dialer, &targets, &mut progress.tries).await;
        timings.connect_ms = Some(millis_since(clock));
        let (tcp, remote) = connected.ok_or_else(|| failure::unconnected(url, &progress.tries))?;
        progress.remote = Some(remote);
        let gauge = Arc::new(Gauge::of(tcp.flow()));
        progress.gauge = Some(gauge.clone());
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

/// Whether the name servers said nothing of the name: a resolver that reaches nobody itself answers with an
/// error (RFC 8767, section 4, has old answers used then).
fn is_silence(error: &ResolveError) -> bool {
    match error {
        ResolveError::Timeout | ResolveError::Failed(_) => true,
        ResolveError::NotFound => false,
        other => other.is_ours(),
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
                Err(_) if progress.phase == Phase::Resolving => {
                    Err(failure::unresolved(request.url, &self.unanswered()))
                }
                Err(_) => Err(progress.timed_out(request.url)),
            };
            progress.remember(connections, result.is_ok());
            progress.into_exchange(result)
        })
    }

    fn probe<'a>(&'a self, url: &'a ReceiverUrl) -> BoxFuture<'a, Probe> {
        Box::pin(async move {
            let addresses = tokio::time::timeout(PROBE_BUDGET, self.addresses_of(url)).await;
            match addresses.unwrap_or_else(|_| Err(Unreachable::Unresolved(self.unanswered()))) {
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
