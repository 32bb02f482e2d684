//! Hides how a name becomes addresses: which name servers are asked, for how long, and what their
//! refusals mean.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, RecordType};
use tokio::sync::Semaphore;

use crate::exchange::BoxFuture;
use crate::shortage;
use crate::transport::EgressError;

/// How long one lookup may take once it has its turn; less than any sensible attempt, so that a
/// stalled name server is told apart from a stalled receiver. Waiting for the turn is no fault of
/// the name server's: only the caller's deadline ends it.
const LOOKUP_BUDGET: Duration = Duration::from_secs(5);
/// How long one name server has for one query before it is asked again.
const QUERY_TIMEOUT: Duration = Duration::from_millis(1500);

/// Name → addresses. The seam for tests of rebinding and stalls.
pub trait Resolver: Send + Sync + 'static {
    /// Every address of `host`, which is a name in lower case without a dot at its end.
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, ResolveError>>;
}

/// Why a name has no addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// There is no such name, or it has no address.
    #[error("the name does not exist")]
    NotFound,
    /// The name servers answered with an error.
    #[error("the name servers answered with an error: {0}")]
    Failed(String),
    /// This service has no socket left to ask with.
    #[error("this service has no socket left to ask the name servers with")]
    NoSocket,
    /// The name servers could not be asked: this service's own network gave the error.
    #[error("the name servers cannot be reached: {0}")]
    Unreachable(String),
    /// No name server answers anything at all, this name or another.
    #[error("none of the name servers answers")]
    Silent,
    /// The name servers are well, and did not answer for this name in time.
    #[error("the name servers did not answer in time")]
    Timeout,
}

impl ResolveError {
    /// Returns true if the cause is this service's own machine, network or name servers, and says
    /// nothing about the name.
    pub fn is_ours(&self) -> bool {
        match self {
            Self::NoSocket | Self::Unreachable(_) | Self::Silent => true,
            Self::NotFound | Self::Failed(_) | Self::Timeout => false,
        }
    }
}

/// Asks the system's name servers, or the one that the operator named.
pub(crate) struct NameServers {
    resolver: TokioResolver,
    lookups: Semaphore,
}

impl NameServers {
    /// Nothing is cached, because a name is resolved again for every connection; search domains
    /// are never appended, because `example.com` must not become `example.com.corp.example`. The
    /// hosts file is read with the system's name servers only: `dns_server` alone decides when given.
    pub(crate) fn new(
        dns_server: Option<SocketAddr>,
        max_lookups: usize,
    ) -> Result<Self, EgressError> {
        let servers = match dns_server {
            Some(server) => vec![server],
            None => system_name_servers(Path::new("/etc/resolv.conf"))?,
        };
        let servers = servers.into_iter().map(name_server).collect();
        let config = ResolverConfig::from_name_servers(servers);
        let mut builder =
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let options = builder.options_mut();
        options.cache_size = 0;
        options.timeout = QUERY_TIMEOUT;
        options.attempts = 1;
        options.use_hosts_file = match dns_server {
            Some(_) => ResolveHosts::Never,
            None => ResolveHosts::Always,
        };
        let resolver = builder
            .build()
            .map_err(|error| EgressError(format!("The resolver cannot be made: {error}.")))?;
        Ok(Self {
            resolver,
            lookups: Semaphore::new(max_lookups.clamp(1, Semaphore::MAX_PERMITS)),
        })
    }

    async fn look_up(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let mut name = Name::from_ascii(host).map_err(|_| ResolveError::NotFound)?;
        name.set_fqdn(true);
        let (v4, v6) = tokio::join!(
            self.records(&name, RecordType::A),
            self.records(&name, RecordType::AAAA)
        );
        both(v4, v6)
    }

    /// The addresses of one family; a name without any is [`ResolveError::NotFound`].
    async fn records(&self, name: &Name, of: RecordType) -> Result<Vec<IpAddr>, ResolveError> {
        let answer = self.resolver.lookup(name.clone(), of).await;
        let answer = answer.map_err(|error| meaning(&error))?;
        let addresses: Vec<IpAddr> = answer
            .answers()
            .iter()
            .filter_map(|record| record.data.ip_addr())
            .collect();
        match addresses.is_empty() {
            true => Err(ResolveError::NotFound),
            false => Ok(addresses),
        }
    }
}

/// What the answers for both families come to. One family's addresses are enough; but that there are
/// none is known only where both answers say so.
fn both(
    v4: Result<Vec<IpAddr>, ResolveError>,
    v6: Result<Vec<IpAddr>, ResolveError>,
) -> Result<Vec<IpAddr>, ResolveError> {
    match (v4, v6) {
        (Ok(v4), Ok(v6)) => Ok([v4, v6].concat()),
        (Ok(addresses), Err(_)) | (Err(_), Ok(addresses)) => Ok(addresses),
        // A trouble of our own says nothing of the name.
        (Err(error), _) | (_, Err(error)) if error.is_ours() => Err(error),
        (Err(ResolveError::NotFound), Err(error)) | (Err(error), Err(_)) => Err(error),
    }
}

impl Resolver for NameServers {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, ResolveError>> {
        Box::pin(async move {
            let turn = self.lookups.acquire().await;
            let _turn =
                turn.map_err(|_| ResolveError::Failed("the resolver is closed".to_owned()))?;
            match tokio::time::timeout(LOOKUP_BUDGET, self.look_up(host)).await {
                Ok(result) => result,
                Err(_) => Err(ResolveError::Timeout),
            }
        })
    }
}

fn meaning(error: &NetError) -> ResolveError {
    use hickory_resolver::proto::op::ResponseCode::{NXDomain, NoError};
    match error {
        NetError::Timeout => ResolveError::Timeout,
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            NXDomain | NoError => ResolveError::NotFound,
            code => ResolveError::Failed(code.to_string()),
        },
        NetError::Io(error) if shortage::is_ours(error) => ResolveError::NoSocket,
        other => ResolveError::Failed(other.to_string()),
    }
}

fn name_server(server: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
    let connections = connections.map(|mut connection| {
        connection.port = server.port();
        connection
    });
    NameServerConfig::new(server.ip(), true, connections.into())
}

fn system_name_servers(path: &Path) -> Result<Vec<SocketAddr>, EgressError> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        EgressError(format!(
            "The name servers cannot be read from {}: {error}. Make the file readable, or name a \
             server with --dns-server IP:PORT.",
            path.display()
        ))
    })?;
    let servers = name_servers_of(&text);
    if servers.is_empty() {
        return Err(EgressError(format!(
            "{} names no name server. Add a line such as \"nameserver 192.0.2.53\", or name a \
             server with --dns-server IP:PORT.",
            path.display()
        )));
    }
    Ok(servers)
}

/// The `nameserver` lines of a resolv.conf(5), at most three as in the C library. All its other
/// lines are about search domains and timeouts, which are ours to decide.
fn name_servers_of(text: &str) -> Vec<SocketAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next()? == "nameserver").then_some(())?;
            let address: IpAddr = words.next()?.parse().ok()?;
            Some(SocketAddr::new(address, 53))
        })
        .take(3)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_servers_are_read_from_a_resolv_conf() {
        let text = "# comment\n; other\nsearch corp.example\nnameserver 192.0.2.1 # first\n\
                    options ndots:5\nnameserver\t2001:db8::53\nnameserver nonsense\n\
                    nameserver 192.0.2.2\nnameserver 192.0.2.3\n";
        let servers: Vec<String> = name_servers_of(text)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            servers,
            ["192.0.2.1:53", "[2001:db8::53]:53", "192.0.2.2:53"]
        );
        assert!(name_servers_of("search example.com\n").is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_a_turn_is_not_held_against_the_name_server() {
        let silent = "127.0.0.1:9".parse().unwrap();
        let servers = NameServers::new(Some(silent), 1).unwrap();
        let turn = servers.lookups.acquire().await.unwrap();
        let lookup = tokio::time::timeout(LOOKUP_BUDGET * 3, servers.resolve("a.example.com"));
        assert!(lookup.await.is_err(), "ended before it had its turn");
        drop(turn);
        let begun = tokio::time::Instant::now();
        assert!(servers.resolve("a.example.com").await.is_err());
        assert!(begun.elapsed() <= LOOKUP_BUDGET, "{:?}", begun.elapsed());
    }

    #[test]
    fn a_name_is_not_found_only_where_neither_family_failed() {
        use ResolveError::{NoSocket, NotFound, Timeout};
        let failed = || ResolveError::Failed("SERVFAIL".to_owned());
        let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = (
            vec!["192.0.2.1".parse().unwrap()],
            vec!["2001:db8::1".parse().unwrap()],
        );
        for (one, other, expected) in [
            (Err(NotFound), Err(NotFound), Err(NotFound)),
            (Err(NotFound), Err(failed()), Err(failed())),
            (Err(failed()), Err(NotFound), Err(failed())),
            (Err(NotFound), Err(Timeout), Err(Timeout)),
            (Err(Timeout), Err(failed()), Err(Timeout)),
            (Err(Timeout), Err(NoSocket), Err(NoSocket)),
            (Ok(v4.clone()), Err(NoSocket), Ok(v4.clone())),
            (Ok(v4.clone()), Err(failed()), Ok(v4.clone())),
            (Err(NotFound), Ok(v6.clone()), Ok(v6.clone())),
            (Ok(v4.clone()), Ok(v6.clone()), Ok([v4, v6].concat())),
        ] {
            assert_eq!(both(one, other), expected);
        }
    }

    #[test]
    fn a_lack_of_sockets_is_not_held_against_the_name_server() {
        let error = std::io::Error::from_raw_os_error(24); // EMFILE
        assert_eq!(meaning(&NetError::from(error)), ResolveError::NoSocket);
        let error = std::io::Error::from_raw_os_error(111); // ECONNREFUSED
        assert!(matches!(
            meaning(&NetError::from(error)),
            ResolveError::Failed(_)
        ));
    }

    #[test]
    fn an_unreadable_configuration_is_an_error_that_says_what_to_do() {
        let error = system_name_servers(Path::new("/nonexistent/resolv.conf")).unwrap_err();
        assert!(error.0.contains("--dns-server"), "{error}");
    }
}
