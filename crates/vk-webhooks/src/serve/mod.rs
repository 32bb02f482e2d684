//! Hides the order in which the service starts and stops.
//!
//! Rooms: [`operator`] is who may do everything, [`first_run`] is how the first team is made,
//! [`sealing_key`] what secrets are kept under, [`limits`] what the system grants us, [`door`]
//! accepts connections, [`patience`] ends those that are stuck, [`housekeeping`] removes what is
//! past its time.

mod door;
mod first_run;
mod housekeeping;
mod limits;
mod operator;
mod patience;
mod sealing_key;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use egress::{Egress, EgressOptions, Policy};
use engine::{Engine, EngineOptions, SystemClock};
use model::catalog::Catalog;
use store::{SqliteOptions, Store};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tracing::{error, info, warn};
use web::WebOptions;

use crate::config::Settings;
use crate::logging;

use door::Door;
use limits::Places;
pub(crate) use operator::{OperatorKey, key_from_environment};

/// How long requests and attempts in flight may take to end after we were asked to stop. The
/// contract grants 15 s for all of it: two are left for the store to close in.
const GRACE: Duration = Duration::from_secs(13);

/// How long all of stopping may take. A disk that does not answer could hold up the closing of the store for
/// ever, so the process ends then whatever still goes on in it.
const STOPPED_AT_LAST: Duration = Duration::from_secs(14);

/// `vk-webhooks serve`: runs until it is told to stop.
pub(crate) async fn run(settings: Settings) -> Result<()> {
    logging::start(&settings)?;
    if let Err(error) = limits::keep_pages_small() {
        warn!(
            "memory comes in huge pages, so about twice as much of it will be in use as is needed: {error}"
        );
    }
    for remark in &settings.remarks {
        warn!("{remark}");
    }
    let mut signals = Signals::watch()?;
    let service = Service::start(&settings, key_from_environment()?).await?;
    service.operator_key().announce();
    first_run::announce(&service.engine, service.public_url.as_deref()).await?;
    info!(target: logging::ALWAYS, "listening on http://{}", service.address());
    let name = tokio::select! {
        name = signals.next() => name,
        () = service.store.failed() => {
            // The error itself is in the log already.
            end_at_last();
            service.stop().await;
            anyhow::bail!(
                "the disk failed to keep what was written to the database. Look at the disk and at the \
                 system's log, then start the service again: it reads what is there, and nothing that was \
                 acknowledged before is affected by what failed now"
            );
        }
        () = service.engine.broken() => {
            // The panic itself is on standard error already.
            end_at_last();
            service.stop().await;
            anyhow::bail!(
                "a part of the delivery engine panicked, which is a bug: please report it with the \
                 lines above. Start the service again: it takes up all unfinished deliveries"
            );
        }
    };
    end_at_last();
    info!(
        "stopping because of {name}: requests and attempts in flight may take {} s to end; a \
         second signal ends the service at once",
        GRACE.as_secs()
    );
    tokio::spawn(async move {
        signals.next().await;
        warn!(
            "ended at once by a second signal; what was in flight is sent again at the next start"
        );
        std::process::exit(1);
    });
    service.stop().await;
    info!("stopped");
    Ok(())
}

/// From now on the process has [`STOPPED_AT_LAST`] to end by itself. On a thread of its own, which counts also
/// where the runtime waits for one that is blocked in a sync.
fn end_at_last() {
    let end = || {
        std::thread::sleep(STOPPED_AT_LAST);
        error!(
            "ended before the store was closed: stopping took {} s, most likely since the disk does not answer. \
             Nothing that was acknowledged is lost; attempts that are not recorded are made again at the next \
             start. Look at the disk and at the system's log, then start the service again",
            STOPPED_AT_LAST.as_secs()
        );
        std::process::exit(1);
    };
    let started = std::thread::Builder::new()
        .name("end-at-last".into())
        .spawn(end);
    if let Err(error) = started {
        warn!(%error, "nothing ends the service if stopping takes too long: no thread can be started");
    }
}

/// The running service.
pub(crate) struct Service {
    store: Store,
    engine: Engine,
    door: Door,
    housekeeping: JoinHandle<()>,
    operator_key: OperatorKey,
    public_url: Option<String>,
}

impl Service {
    /// Starts everything, the door last: once it accepts, it can answer.
    pub(crate) async fn start(settings: &Settings, given_key: Option<String>) -> Result<Self> {
        let policy = policy(settings);
        let mut egress_options = egress_options(settings, &policy)?;
        let places = limits::places(settings, &egress_options);
        egress_options.max_idle = places.idle;
        egress_options.max_lookups = places.in_flight;
        let catalog = Arc::new(catalog(settings)?);
        let keyring = sealing_key::find(&settings.secrets_key_file, &settings.database)?;
        let options = SqliteOptions {
            path: settings.database.clone(),
        };
        let store = Store::open_sqlite(options, keyring).await?;
        let transport = Egress::new(egress_options)?;
        let clock = Arc::new(SystemClock::default());
        let options = engine_options(settings, &policy, &places);
        let engine = Engine::start(store.clone(), Arc::new(transport), clock, options).await?;
        let operator_key = OperatorKey::find(&engine, given_key.as_deref()).await?;
        let listener = door::listen(settings.listen)?;
        let web_options = web_options(settings, listener.local_addr()?);
        let public_url = web_options.public_url.clone();
        let api = web::api(engine.clone(), catalog, web_options);
        let door = Door::open(listener, places.connections, api)?;
        let housekeeping = housekeeping::start(engine.clone(), settings.retention);
        Ok(Self {
            store,
            engine,
            door,
            housekeeping,
            operator_key,
            public_url,
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.door.address()
    }

    /// The key that may do everything.
    pub(crate) fn operator_key(&self) -> &OperatorKey {
        &self.operator_key
    }

    /// Lets what is in flight end, at most [`GRACE`], and closes the store.
    pub(crate) async fn stop(self) {
        self.housekeeping.abort();
        // Together: while the last requests are answered no new attempt starts.
        tokio::join!(self.door.close(GRACE), self.engine.stop(GRACE));
        self.store.close().await;
    }
}

fn catalog(settings: &Settings) -> Result<Catalog> {
    let Some(path) = &settings.catalog else {
        return Ok(Catalog::vantagekit());
    };
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("the catalog {} cannot be read", path.display()))?;
    Catalog::from_json(&text)
        .map_err(|problem| anyhow::anyhow!("the catalog {}: {problem}", path.display()))
}

fn policy(settings: &Settings) -> Policy {
    Policy {
        allow: settings.allow_cidr.clone(),
        allow_http: settings.allow_http,
    }
}

/// What the real transport is made of; whatever loosens the rules is said loudly.
fn egress_options(settings: &Settings, policy: &Policy) -> Result<EgressOptions> {
    let extra_roots_pem = match &settings.ca_file {
        None => None,
        Some(path) => {
            let pem = std::fs::read(path)
                .with_context(|| format!("ca_file {} cannot be read", path.display()))?;
            Some(pem)
        }
    };
    let options = EgressOptions {
        policy: policy.clone(),
        extra_roots_pem,
        dns_server: settings.dns_server.first().copied(),
        further_dns_servers: settings.dns_server.iter().skip(1).copied().collect(),
        ..EgressOptions::default()
    };
    for sentence in options.relaxations() {
        warn!("{sentence}");
    }
    Ok(options)
}

fn engine_options(settings: &Settings, policy: &Policy, places: &Places) -> EngineOptions {
    EngineOptions {
        schedule: settings.retry_schedule.clone(),
        attempt_timeout: settings.attempt_timeout,
        brand: settings.brand.clone(),
        plans: settings.plans.clone(),
        policy: policy.clone(),
        max_in_flight: places.in_flight,
        max_in_flight_per_team: places.in_flight_per_team,
        max_in_flight_per_endpoint: places.in_flight_per_endpoint,
    }
}

fn web_options(settings: &Settings, address: SocketAddr) -> WebOptions {
    let public_url = settings.public_url.clone();
    WebOptions {
        key_limit: settings.rate_limit_per_key,
        team_limit: settings.rate_limit_per_team,
        public_url: public_url.or_else(|| reached_at(address)),
        ..WebOptions::default()
    }
}

/// Where people reach what listens at `address`. None where that is every address of the machine:
/// it cannot be known then which one they can use.
fn reached_at(address: SocketAddr) -> Option<String> {
    (!address.ip().is_unspecified()).then(|| format!("http://{address}"))
}

/// The signals that ask us to stop.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on these signals do not end the process by themselves.
    pub(crate) fn watch() -> Result<Self> {
        let watch = |kind| signal(kind).context("cannot watch for signals");
        Ok(Self {
            terminate: watch(SignalKind::terminate())?,
            interrupt: watch(SignalKind::interrupt())?,
        })
    }

    /// Waits for one; its name.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config::{self, Given};

    /// A folder that goes when the test ends.
    pub(super) struct Folder(PathBuf);

    impl Folder {
        pub(super) fn new(name: &str) -> Self {
            let name = format!("vk-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// Of a service whose store is in there, at any free port.
    pub(super) fn settings(folder: &Folder) -> Settings {
        let set = |key, value: String| (key, vec![value]);
        let given = Given {
            config: None,
            values: vec![
                set("listen", "127.0.0.1:0".into()),
                set("dns_server", "127.0.0.1:9".into()),
                set(
                    "database_url",
                    format!("sqlite:{}/store.db", folder.0.display()),
                ),
            ],
        };
        config::load(&given, std::iter::empty()).unwrap()
    }

    #[test]
    fn links_start_with_the_listening_address_where_it_is_one() {
        for (address, url) in [
            ("127.0.0.1:8080", Some("http://127.0.0.1:8080")),
            ("[::1]:80", Some("http://[::1]:80")),
            ("0.0.0.0:8080", None),
            ("[::]:8080", None),
        ] {
            let reached = reached_at(address.parse().unwrap());
            assert_eq!(reached.as_deref(), url, "{address}");
        }
    }
}
