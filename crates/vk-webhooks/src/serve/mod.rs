//! Hides the order in which the service starts and stops.
//!
//! Rooms: [`signals`] is how it is asked to stop, [`mod@patiently`] how a start waits for what may pass,
//! [`passed`] the listener of a service manager, [`operator`] who may do everything, [`first_run`] how the
//! first team is made, [`sealing_key`] what secrets are kept under, [`limits`] what the system grants us,
//! [`door`] accepts connections, [`conversation`] serves one, [`idle`] ends those that are silent, [`patience`]
//! those that are stuck, [`linger`] lets answers arrive, [`housekeeping`] removes what is past its time.

mod conversation;
mod door;
mod first_run;
mod housekeeping;
mod idle;
mod limits;
mod linger;
mod operator;
pub(crate) mod passed;
mod patience;
mod patiently;
mod sealing_key;
mod signals;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use egress::{Egress, EgressOptions, Policy};
use engine::{Engine, EngineOptions, SystemClock};
use model::catalog::Catalog;
use store::driver::Fatal;
use store::{SqliteOptions, Store};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};
use web::WebOptions;

use crate::config::Settings;
use crate::logging;

use door::{Door, Listener};
use idle::Lines;
use limits::Places;
pub(crate) use operator::key_from_environment;
use patiently::{NotNow, patiently};
pub(crate) use signals::Signals;

/// How long requests and attempts in flight may take to end after the drain delay. The contract grants
/// 15 s for all of it: two are left for the store to close in.
const GRACE: Duration = Duration::from_secs(13);

/// How much of that the attempts may take, while requests are still accepted: the longest attempt by the
/// contract, and its recording. The rest is left for the last requests.
const ATTEMPTS_GRACE: Duration = Duration::from_secs(11);

/// How many connections are served at once where the metrics have an address of their own.
const METRICS_CONNECTIONS: usize = 16;
/// How long a request for them may take to end after all else has.
const METRICS_GRACE: Duration = Duration::from_millis(200);

/// How long all of stopping may take after the drain delay. A disk that does not answer could hold up the
/// closing of the store for ever, so the process ends then whatever still goes on in it.
const STOPPED_AT_LAST: Duration = Duration::from_secs(14);

/// `vk-webhooks serve`: runs until it is told to stop.
pub(crate) async fn run(settings: Settings, passed: Option<std::net::TcpListener>) -> Result<()> {
    logging::start(&settings)?;
    if let Err(error) = limits::keep_pages_small() {
        warn!(
            "memory comes in huge pages, so about twice as much of it will be in use as is needed: {error}"
        );
    }
    for remark in &settings.remarks {
        warn!("{remark}");
    }
    let mut signals = Signals::watch_to_stop(settings.drain_delay + STOPPED_AT_LAST)?;
    // First what can only be a mistake: none of it is waited for, and nothing was made yet.
    let given_key = key_from_environment()?;
    let plan = Plan::read(&settings)?;
    let listeners = Listeners::open(&settings, passed)?;
    let store = tokio::select! {
        opened = plan.open() => opened?,
        name = signals.next() => {
            info!("stopped by {name} before it had started");
            return Ok(());
        }
    };
    let mut service = Service::begin(plan, store, listeners, given_key).await?;
    service.first_team = first_run::lead(&service.engine, service.public_url.as_deref()).await;
    service.accept();
    if let Some(address) = service.metrics_address {
        info!(target: logging::ALWAYS, "metrics are at http://{address}/metrics, and nowhere else");
    }
    info!(target: logging::ALWAYS, "listening on http://{}", service.address());
    let name = tokio::select! {
        name = signals.next() => name,
        why = service.broken() => {
            // The cause itself is in the log already.
            signals::end_at_last(STOPPED_AT_LAST);
            service.stop(Duration::ZERO).await;
            bail!(why);
        }
    };
    info!(
        "stopping because of {name}: requests and attempts in flight may take {} s to end; a \
         second signal ends the service at once",
        GRACE.as_secs()
    );
    service.stop(settings.drain_delay).await;
    info!("stopped");
    Ok(())
}

/// Where it listens. Whoever connects waits in the system's queue until the doors are open.
struct Listeners {
    api: Listener,
    /// For the metrics, if they have an address of their own.
    metrics: Option<Listener>,
}

impl Listeners {
    fn open(settings: &Settings, passed: Option<std::net::TcpListener>) -> Result<Self> {
        let bind_metrics = |address| Listener::bind(address, "--metrics-listen");
        Ok(Self {
            api: match passed {
                Some(passed) => Listener::passed(passed)?,
                None => Listener::bind(settings.listen, "--listen")?,
            },
            metrics: settings.metrics_listen.map(bind_metrics).transpose()?,
        })
    }
}

/// What the settings come to, before anything is opened.
struct Plan<'s> {
    settings: &'s Settings,
    policy: Policy,
    places: Places,
    catalog: Arc<Catalog>,
    egress: EgressOptions,
}

impl<'s> Plan<'s> {
    fn read(settings: &'s Settings) -> Result<Self> {
        let policy = policy(settings);
        let mut egress = egress_options(settings, &policy)?;
        let places = limits::places(settings, &egress);
        egress.max_idle = places.idle;
        egress.max_lookups = places.in_flight;
        Ok(Self {
            settings,
            policy,
            places,
            catalog: Arc::new(catalog(settings)?),
            egress,
        })
    }

    /// Opens what the machine may not have for now: the name servers and the store.
    async fn open(&self) -> Result<(Egress, Store)> {
        let transport = patiently(async || transport(&self.egress)).await?;
        let store = patiently(async || {
            let settings = self.settings;
            let (file, database) = (settings.secrets_key_file.clone(), settings.database.clone());
            let options = SqliteOptions {
                path: settings.database.clone(),
            };
            // On a thread of its own: a disk that does not answer must not keep a signal waiting.
            let keyring =
                tokio::task::spawn_blocking(move || sealing_key::find(&file, &database)).await??;
            Ok(Store::open_sqlite(options, keyring).await?)
        });
        Ok((transport, store.await?))
    }
}

/// The real transport. Only name servers may come later; trust roots are a matter of the settings.
fn transport(options: &EgressOptions) -> Result<Egress> {
    let error = match Egress::new(options.clone()) {
        Ok(transport) => return Ok(transport),
        Err(error) => error,
    };
    // With a name server given nothing is read that may come later.
    let any = SocketAddr::from(([127, 0, 0, 1], 53));
    let given = options.dns_server.is_some();
    let with_one = EgressOptions {
        dns_server: Some(any),
        ..options.clone()
    };
    match Egress::new(with_one) {
        Ok(_) if !given => Err(NotNow(error.to_string()).into()),
        _ => Err(error.into()),
    }
}

/// The running service.
pub(crate) struct Service {
    store: Store,
    engine: Engine,
    /// What will be answered where, until the doors are open.
    closed: Vec<(Listener, Arc<Lines>, web::Api)>,
    /// The door to the API, then that to the metrics where they have an address of their own.
    doors: Vec<Door>,
    address: SocketAddr,
    /// Where the metrics are, if that is an address of its own.
    metrics_address: Option<SocketAddr>,
    /// Whether `/readyz` says that the service is stopping.
    stopping: Arc<AtomicBool>,
    housekeeping: JoinHandle<()>,
    /// Shows the operator's key, where that was not possible yet.
    showing_key: Option<JoinHandle<()>>,
    public_url: Option<String>,
    /// Leads to the page that makes the first team, where that was not possible yet.
    first_team: Option<JoinHandle<()>>,
}

impl Service {
    /// Starts everything. A trouble that may pass is waited out.
    pub(crate) async fn start(settings: &Settings, given_key: Option<String>) -> Result<Self> {
        let plan = Plan::read(settings)?;
        let listeners = Listeners::open(settings, None)?;
        let opened = plan.open().await?;
        let mut service = Self::begin(plan, opened, listeners, given_key).await?;
        service.accept();
        Ok(service)
    }

    /// Starts all but the door: first the operator's key, then the engine, which begins to deliver.
    async fn begin(
        plan: Plan<'_>,
        (transport, store): (Egress, Store),
        listeners: Listeners,
        given_key: Option<String>,
    ) -> Result<Self> {
        let key = operator::find(&store, given_key.as_deref()).await?;
        let clock = Arc::new(SystemClock::default());
        let options = engine_options(plan.settings, &plan.policy, &plan.places);
        let engine = Engine::start(store.clone(), Arc::new(transport), clock, options).await?;
        let showing_key =
            key.map(|later| tokio::spawn(operator::show_later(engine.clone(), later)));
        let stopping = Arc::<AtomicBool>::default();
        let address = listeners.api.address();
        let metrics_address = listeners.metrics.as_ref().map(Listener::address);
        let web_options = web_options(plan.settings, address, Arc::clone(&stopping));
        let public_url = web_options.public_url.clone();
        let mut api = web::api(engine.clone(), plan.catalog, web_options);
        let lines = |most| Lines::new(most, plan.settings.idle_timeout, Arc::clone(&stopping));
        let metrics = listeners.metrics.map(|listener| {
            let metrics = (listener, lines(METRICS_CONNECTIONS), api.only_operation());
            api = api.without_metrics();
            metrics
        });
        let api = (listeners.api, lines(plan.places.connections), api);
        let housekeeping = housekeeping::start(engine.clone(), plan.settings.retention);
        Ok(Self {
            store,
            engine,
            closed: std::iter::once(api).chain(metrics).collect(),
            doors: Vec::new(),
            address,
            metrics_address,
            stopping,
            housekeeping,
            showing_key,
            public_url,
            first_team: None,
        })
    }

    /// Opens the doors: from now on it answers.
    fn accept(&mut self) {
        let closed = self.closed.drain(..);
        self.doors = closed
            .map(|(listener, lines, api)| Door::open(listener, lines, api))
            .collect();
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until a part of it can never go on; what happened, and what to do.
    async fn broken(&mut self) -> anyhow::Error {
        const PANICKED: &str = "panicked, which is a bug: please report it with the lines above. Start the service \
                                again: it takes up all unfinished deliveries";
        let doors = self.doors.as_mut_slice();
        let doors = async {
            match doors {
                [] => std::future::pending().await,
                [api] => api.broken().await,
                [api, metrics, ..] => tokio::select! {
                    () = api.broken() => {}
                    () = metrics.broken() => {}
                },
            }
        };
        tokio::select! {
            fatal = self.store.failed() => match fatal {
                Fatal::Disk => anyhow!(
                    "the disk failed to keep what was written to the database. Look at the disk and at the \
                     system's log, then start the service again: it reads what is there, and nothing that was \
                     acknowledged before is affected by what failed now"
                ),
                Fatal::Panic => anyhow!("a part of the store {PANICKED}"),
            },
            () = self.engine.broken() => anyhow!("a part of the delivery engine {PANICKED}"),
            () = doors => anyhow!("what accepts connections {PANICKED}"),
            _ = &mut self.housekeeping => anyhow!("what deletes finished events {PANICKED}"),
        }
    }

    /// Stops, the listener last: `/readyz` says 503 at once, and everything is still answered for
    /// `drain_delay` and until the attempts in flight have ended. Then the listener closes, the requests in
    /// flight end, and the store is closed.
    pub(crate) async fn stop(self, drain_delay: Duration) {
        self.stopping.store(true, Ordering::Release);
        self.housekeeping.abort();
        for showing in [&self.showing_key, &self.first_team].into_iter().flatten() {
            showing.abort();
        }
        if !drain_delay.is_zero() {
            info!(
                "/readyz says 503 from now on; requests are answered as before for another {} s",
                drain_delay.as_secs_f32()
            );
            tokio::time::sleep(drain_delay).await;
        }
        let begun = Instant::now();
        let attempts = self.engine.stop(ATTEMPTS_GRACE);
        // A little more, since what it writes in the end may wait for a disk that does not answer.
        if timeout(ATTEMPTS_GRACE + Duration::from_secs(1), attempts)
            .await
            .is_err()
        {
            warn!("the store did not take the engine's last writes in time");
        }
        let grace = GRACE.saturating_sub(begun.elapsed());
        for (door, grace) in self.doors.into_iter().zip([grace, METRICS_GRACE]) {
            door.close(grace).await;
        }
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

fn web_options(settings: &Settings, address: SocketAddr, stopping: Arc<AtomicBool>) -> WebOptions {
    let public_url = settings.public_url.clone();
    WebOptions {
        key_limit: settings.rate_limit_per_key,
        team_limit: settings.rate_limit_per_team,
        public_url: public_url.or_else(|| reached_at(address)),
        stopping,
        log_lines_dropped: logging::dropped,
        ..WebOptions::default()
    }
}

/// Where people reach what listens at `address`. None where that is every address of the machine:
/// it cannot be known then which one they can use.
fn reached_at(address: SocketAddr) -> Option<String> {
    (!address.ip().is_unspecified()).then(|| format!("http://{address}"))
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
