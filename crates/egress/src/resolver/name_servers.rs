//! Hides how look-ups share the name servers: how many are under way, who shares one, and which
//! answers are kept for a moment.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_proto::rr::Name;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};

use super::ask::{Found, addresses};
use super::server::Server;
use super::system::{Names, System, kept_servers};
use super::{ResolveError, Resolver};
use crate::exchange::BoxFuture;
use crate::transport::EgressError;

/// How long one look-up may take once it has its place; less than any sensible attempt, so that a
/// stalled name server is told apart from a stalled receiver. Waiting for the place is no fault of
/// the name server's: only the caller's deadline ends it.
const LOOKUP_BUDGET: Duration = Duration::from_secs(5);
/// How many look-ups are under way at once. Each asks two questions, and dnsmasq takes 150 at once
/// and refuses the rest.
const PLACES: usize = 40;
/// How many look-ups of names that timed out last time are under way at once: they hold their
/// places for the whole budget, and must leave the others to the rest.
const SLOW_PLACES: usize = 10;
/// A look-up that takes longer gives its place to another, and goes on without.
const PLACE_HELD_MAX: Duration = Duration::from_millis(500);
/// For so long a name that timed out is taken for slow.
const SLOW_FOR: Duration = Duration::from_secs(60);
/// For so long an answer is kept at most, and never longer than its TTL. It is used only while no
/// place is free; else every connection's name is resolved again.
const KEPT_MAX: Duration = Duration::from_secs(5);
/// Beyond so many names what is over is thrown away.
const NAMES_MAX: usize = 4096;

/// Asks the system's name servers, or those that the operator named.
pub(crate) struct NameServers {
    shared: Arc<Shared>,
    lookups: Semaphore,
}

type Outcome = Result<Vec<IpAddr>, ResolveError>;

struct Shared {
    source: Source,
    places: Arc<Semaphore>,
    slow_places: Arc<Semaphore>,
    books: Mutex<Books>,
}

enum Source {
    Named(Names),
    System(System),
}

/// What is known of names.
#[derive(Default)]
struct Books {
    flights: HashMap<String, Flight>,
    kept: HashMap<String, (Vec<IpAddr>, Instant)>,
    slow: HashMap<String, Instant>,
}

/// A look-up that is under way.
#[derive(Clone)]
struct Flight {
    begun: Instant,
    outcome: watch::Receiver<Option<Outcome>>,
}

impl NameServers {
    /// Search domains are never appended, because `example.com` must not become
    /// `example.com.corp.example`. The hosts file is read with the system's name servers only:
    /// `dns_servers` alone decide when given.
    pub(crate) fn new(dns_servers: &[SocketAddr], max_lookups: usize) -> Result<Self, EgressError> {
        let source = if dns_servers.is_empty() {
            let (resolv_conf, hosts) = (Path::new("/etc/resolv.conf"), Path::new("/etc/hosts"));
            Source::System(System::read(resolv_conf, hosts)?)
        } else {
            Source::Named(Names {
                servers: kept_servers(&[], dns_servers),
                hosts: Arc::default(),
            })
        };
        Ok(Self {
            shared: Arc::new(Shared {
                source,
                places: Arc::new(Semaphore::new(PLACES)),
                slow_places: Arc::new(Semaphore::new(SLOW_PLACES)),
                books: Mutex::default(),
            }),
            lookups: Semaphore::new(max_lookups.clamp(1, Semaphore::MAX_PERMITS)),
        })
    }

    /// A look-up joins one of the same name that is under way. It has a time of its own: where the one
    /// it joined was begun before it and ran out of time, it begins another.
    async fn look_up(&self, host: &str) -> Outcome {
        let asked = Instant::now();
        loop {
            if let Some(kept) = self.shared.kept_under_pressure(host) {
                return Ok(kept);
            }
            let mut flight = self.shared.flight(host);
            let outcome = match flight.outcome.wait_for(Option::is_some).await {
                Ok(outcome) => outcome.clone(),
                Err(_) => None,
            };
            let outcome = outcome.unwrap_or_else(|| {
                Err(ResolveError::Failed(
                    "the look-up was broken off".to_owned(),
                ))
            });
            let ran_out = matches!(outcome, Err(ResolveError::Timeout | ResolveError::Silent));
            if !ran_out || flight.begun >= asked {
                return outcome;
            }
        }
    }
}

impl Resolver for NameServers {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let turn = self.lookups.acquire().await;
            let _turn =
                turn.map_err(|_| ResolveError::Failed("the resolver is closed".to_owned()))?;
            self.look_up(host).await
        })
    }

    fn is_silent(&self) -> bool {
        let servers = match &self.shared.source {
            Source::Named(names) => Arc::clone(&names.servers),
            Source::System(system) => system.last_servers(),
        };
        servers
            .iter()
            .all(|server: &Arc<Server>| server.is_silent())
    }
}

impl Shared {
    fn books(&self) -> std::sync::MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An answer of the last seconds, while no place is free.
    fn kept_under_pressure(&self, host: &str) -> Option<Vec<IpAddr>> {
        if self.places.available_permits() > 0 {
            return None;
        }
        let books = self.books();
        let (addresses, until) = books.kept.get(host)?;
        (*until > Instant::now()).then(|| addresses.clone())
    }

    /// The look-up of `host` that is under way, else a new one. It is a task of its own, because
    /// whoever began it may be gone before those who joined it.
    fn flight(self: &Arc<Self>, host: &str) -> Flight {
        let mut books = self.books();
        if let Some(flight) = books.flights.get(host) {
            return flight.clone();
        }
        let (sender, outcome) = watch::channel(None);
        let flight = Flight {
            begun: Instant::now(),
            outcome,
        };
        books.flights.insert(host.to_owned(), flight.clone());
        let is_slow = books
            .slow
            .get(host)
            .is_some_and(|until| *until > flight.begun);
        drop(books);
        let landing = Landing {
            shared: Arc::clone(self),
            host: host.to_owned(),
        };
        tokio::spawn(async move {
            let outcome = landing.shared.fly(&landing.host, is_slow).await;
            // Nobody may join any more once there is an outcome.
            drop(landing);
            sender.send_replace(Some(outcome));
        });
        flight
    }

    async fn fly(&self, host: &str, is_slow: bool) -> Outcome {
        let names = match &self.source {
            Source::Named(names) => names.clone(),
            Source::System(system) => system.names(),
        };
        if let Some(addresses) = names.hosts.get(host) {
            return Ok(addresses.clone());
        }
        let mut name = Name::from_ascii(host).map_err(|_| ResolveError::NotFound)?;
        name.set_fqdn(true);
        let places = if is_slow {
            &self.slow_places
        } else {
            &self.places
        };
        let place = places.acquire().await;
        let place = place.map_err(|_| ResolveError::Failed("the resolver is closed".to_owned()))?;
        let lookup = addresses(&names.servers, &name, Instant::now() + LOOKUP_BUDGET);
        tokio::pin!(lookup);
        let result = if is_slow {
            lookup.await
        } else {
            match timeout(PLACE_HELD_MAX, &mut lookup).await {
                Ok(result) => result,
                Err(_) => {
                    drop(place);
                    lookup.await
                }
            }
        };
        self.books().note(host, &result);
        result.map(|found| found.addresses)
    }
}

impl Books {
    fn note(&mut self, host: &str, result: &Result<Found, ResolveError>) {
        let now = Instant::now();
        if self.kept.len() >= NAMES_MAX || self.slow.len() >= NAMES_MAX {
            self.kept.retain(|_, (_, until)| *until > now);
            self.slow.retain(|_, until| *until > now);
        }
        self.kept.remove(host);
        self.slow.remove(host);
        match result {
            Ok(found) if !found.ttl.is_zero() && self.kept.len() < NAMES_MAX => {
                let until = now + found.ttl.min(KEPT_MAX);
                let kept = (found.addresses.clone(), until);
                self.kept.insert(host.to_owned(), kept);
            }
            Err(ResolveError::Timeout) if self.slow.len() < NAMES_MAX => {
                self.slow.insert(host.to_owned(), now + SLOW_FOR);
            }
            _ => {}
        }
    }
}

/// Ends a look-up, however its task ends: the next one of its name is a new one.
struct Landing {
    shared: Arc<Shared>,
    host: String,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.shared.books().flights.remove(&self.host);
    }
}
