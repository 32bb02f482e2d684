//! The way of an event through the engine: matched, offered, signed, sent, judged, recorded. What
//! the store and the network take is left out.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use egress::{
    BoxFuture, Connections, Exchange, Policy, Probe, ReceiverUrl, Request, Response, Transport,
};
use model::attempt::Timings;
use model::audit::Actor;
use model::endpoint::Subscription;
use model::event::NewEvent;
use model::id::TeamId;
use model::time::Timestamp;
use store::driver::{Commit, Driver, Line, Pending, Query, Stats, Unit};
use store::value::Rows;
use store::{Keyring, SqliteDriver, SqliteOptions, Store, StoreError};
use tokio::runtime::{Builder, Runtime};
use vk_engine::{Engine, EngineOptions, Publication, VirtualClock};
use vk_hot_path::EVENT;

const NOW: Timestamp = Timestamp::from_millis(1_775_044_800_000);
const BATCH: usize = 100;
/// What the store's secrets are sealed with: the base64 of 32 bytes.
const SEALING_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

fn main() -> ExitCode {
    vk_hot_path::measure("engine", |paths| {
        for (name, endpoints, runs) in [
            ("deliver-100-to-1-endpoint", 1, 10),
            ("deliver-100-to-10-endpoints", 10, 2),
        ] {
            paths.add(name, runs, || {
                let scene = Scene::new(endpoints);
                move || scene.deliver()
            });
        }
    })
}

/// A team with endpoints, in an engine whose commits and exchanges succeed at once.
struct Scene {
    runtime: Runtime,
    engine: Engine,
    folder: PathBuf,
    team: TeamId,
    receivers: Arc<Obliging>,
    /// How many deliveries a batch makes.
    deliveries: usize,
}

impl Scene {
    fn new(endpoints: usize) -> Self {
        let folder = std::env::temp_dir().join(format!("vk-hot-paths-{}", std::process::id()));
        let path = folder.join("store.db");
        let mut runtime = Builder::new_current_thread();
        // Its clock goes on when nothing is left to do, which is how a batch's end is known.
        let runtime = runtime.enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime");
        let receivers = Arc::new(Obliging::default());
        let transport = Arc::clone(&receivers);
        let made = runtime.block_on(async {
            let driver = Arc::new(Forgetful {
                driver: SqliteDriver::open(SqliteOptions { path }).await?,
                forgets: AtomicBool::new(false),
            });
            let engine = Engine::start(
                Store::with_driver(driver.clone(), Keyring::parse(SEALING_KEY)?).await?,
                transport,
                Arc::new(VirtualClock::starting_at(NOW)),
                EngineOptions::default(),
            );
            let engine = engine.await?;
            let team = engine
                .by(Actor::Operator)
                .create_team(None, "Acme".into(), "scale".into());
            let team = team.await?.id;
            let url = ReceiverUrl::parse(
                "https://hooks.acme-fabrication.com/vantagekit",
                &Policy::default(),
            )?;
            for _ in 0..endpoints {
                let made =
                    engine
                        .by(Actor::Operator)
                        .create_endpoint(team, &url, None, Subscription::All);
                made.await?;
            }
            driver.forgets.store(true, Ordering::Relaxed);
            Ok::<_, Box<dyn std::error::Error>>((engine, team))
        });
        let (engine, team) = made.expect("an engine with a team");
        Self {
            runtime,
            engine,
            folder,
            team,
            receivers,
            deliveries: BATCH * endpoints,
        }
    }

    /// Publishes a batch of events and waits until what became of them is recorded.
    fn deliver(&self) {
        let publication = Publication {
            event: NewEvent {
                event_type: "document.viewed".into(),
                body: Bytes::from_static(EVENT.as_bytes()),
            },
            idempotency_key: None,
        };
        self.runtime.block_on(async {
            let publications = vec![publication; BATCH];
            let published = self.engine.publish(self.team, publications).await;
            published.expect("room for them");
            // Longer than outcomes wait for others to be recorded with.
            tokio::time::sleep(Duration::from_millis(10)).await;
        });
        let answered = self.receivers.answered.swap(0, Ordering::Relaxed);
        assert_eq!(answered, self.deliveries, "a batch is delivered wholly");
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // Nobody is left to tell that it stays behind.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Answers every request well, at once.
#[derive(Default)]
struct Obliging {
    answered: AtomicUsize,
}

impl Transport for Obliging {
    fn exchange<'a>(&'a self, _: &'a Connections, _: Request<'a>) -> BoxFuture<'a, Exchange> {
        self.answered.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::ready(Exchange {
            remote_addr: Some(([93, 184, 215, 14], 443).into()),
            timings: Timings::default(),
            sent_twice: false,
            result: Ok(Response {
                status: 200,
                headers: vec![("content-length".into(), "2".into())],
                body: Bytes::from_static(b"ok"),
            }),
        }))
    }

    fn probe<'a>(&'a self, _: &'a ReceiverUrl) -> BoxFuture<'a, Probe> {
        Box::pin(std::future::ready(Probe::Reachable))
    }
}

/// A real driver that from some time on takes every write for done.
struct Forgetful {
    driver: SqliteDriver,
    forgets: AtomicBool,
}

impl Driver for Forgetful {
    fn commit(&self, line: Line, unit: Unit) -> Pending<'_, Result<Commit, StoreError>> {
        if self.forgets.load(Ordering::Relaxed) {
            let affected = unit.len() as u64;
            return Box::pin(std::future::ready(Ok(Commit::Done { affected })));
        }
        self.driver.commit(line, unit)
    }

    fn read(&self, queries: Vec<Query>) -> Pending<'_, Result<Vec<Rows>, StoreError>> {
        self.driver.read(queries)
    }

    fn close(&self) -> Pending<'_, ()> {
        self.driver.close()
    }

    fn stats(&self) -> Stats {
        self.driver.stats()
    }
}
