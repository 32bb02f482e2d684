//! The commit of a batch: events with their deliveries, and what came of these.

use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use model::attempt::{Attempt, Outcome, Timings};
use model::audit::Actor;
use model::endpoint::{Secret, Secrets, Subscription};
use model::event::NewEvent;
use model::health::Health;
use model::id::{DeliveryId, EndpointId, TeamId};
use model::retry::Verdict;
use model::tally::{Tally, hour_of};
use model::time::Timestamp;
use tokio::runtime::{Builder, Runtime};
use vk_hot_path::EVENT;
use vk_store::{
    Acceptance, EndpointHour, EndpointProgress, Keyring, Settlement, SqliteOptions, Store,
};

const NOW: Timestamp = Timestamp::from_millis(1_775_044_800_000);
const BATCH: usize = 100;
/// What the store's secrets are sealed with: the base64 of 32 bytes.
const SEALING_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

fn main() -> ExitCode {
    vk_hot_path::measure("store", |paths| {
        // What is accepted here piles up, and a store with a pile works otherwise than one that
        // keeps up: so few runs that there is none.
        for (name, endpoints, runs) in [
            ("accept-100-for-1-endpoint", 1, 4),
            ("accept-100-for-10-endpoints", 10, 2),
        ] {
            paths.add(name, runs, || {
                let scene = Scene::new(endpoints);
                move || scene.accept()
            });
        }
        paths.add_with_input("settle-100", 4, || {
            let scene = Rc::new(Scene::new(1));
            let accepting = Rc::clone(&scene);
            (
                move || accepting.accept(),
                move |deliveries| scene.settle(deliveries),
            )
        });
        paths.add("accept-and-settle-100-for-10-endpoints", 2, || {
            let scene = Scene::new(10);
            move || scene.settle(scene.accept())
        });
    })
}

/// A team with endpoints, in a store on disk.
struct Scene {
    runtime: Runtime,
    store: Store,
    folder: PathBuf,
    team: TeamId,
    endpoints: Vec<EndpointId>,
}

impl Scene {
    fn new(endpoints: usize) -> Self {
        let folder = std::env::temp_dir().join(format!("vk-hot-paths-{}", std::process::id()));
        let path = folder.join("store.db");
        // One thread beside the store's own: what runs when is then nearly always the same.
        let runtime = Builder::new_current_thread().enable_time().build();
        let runtime = runtime.expect("a runtime");
        let made = runtime.block_on(async {
            let store =
                Store::open_sqlite(SqliteOptions { path }, Keyring::parse(SEALING_KEY)?).await?;
            let team =
                store
                    .by(Actor::Operator)
                    .create_team(None, "Acme".into(), "scale".into(), NOW);
            let team = team.await?.ok_or("the team is there")?.id;
            let mut ids = Vec::new();
            for _ in 0..endpoints {
                let url = "https://receiver.example/".to_owned();
                let secrets = Secrets::new(Secret::from_random(&[7; 32]));
                let all = Subscription::All;
                let made = store
                    .by(Actor::Operator)
                    .create_endpoint(team, url, None, all, secrets, 10, NOW);
                ids.push(made.await?.id);
            }
            Ok::<_, Box<dyn std::error::Error>>((store, team, ids))
        });
        let (store, team, endpoints) = made.expect("a store with a team");
        Self {
            runtime,
            store,
            folder,
            team,
            endpoints,
        }
    }

    /// Accepts a batch of events; their deliveries.
    fn accept(&self) -> Vec<DeliveryId> {
        let acceptance = Acceptance {
            event: NewEvent {
                event_type: "document.viewed".into(),
                body: Bytes::from_static(EVENT.as_bytes()),
            },
            endpoints: self.endpoints.clone(),
            idempotency: None,
            due_at: NOW,
            test: false,
        };
        let accepting = self.store.accept(self.team, vec![acceptance; BATCH], NOW);
        let accepted = self.runtime.block_on(accepting).expect("room for them");
        accepted
            .iter()
            .flat_map(|event| (0..event.deliveries).map(|index| event.delivery(index)))
            .collect()
    }

    /// Settles deliveries at their first attempt.
    fn settle(&self, deliveries: Vec<DeliveryId>) {
        let settlements: Vec<_> = deliveries.into_iter().map(delivered).collect();
        let mut hour = EndpointHour {
            hour: hour_of(NOW),
            tally: Tally::default(),
        };
        for one in &settlements {
            hour.tally.count(&one.attempt, one.verdict);
        }
        let progress = self.endpoints.iter().map(|endpoint| EndpointProgress {
            endpoint: *endpoint,
            health: Some(Health::default()),
            last_delivery_at: NOW,
            hours: vec![hour.clone()],
        });
        let progress = progress.collect();
        let settling = self.store.settle(Arc::new(settlements), Arc::new(progress));
        self.runtime.block_on(settling).expect("room for them");
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // Nobody is left to tell that it stays behind.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn delivered(delivery: DeliveryId) -> Settlement {
    Settlement {
        delivery,
        attempt: Attempt {
            number: 1,
            started_at: NOW,
            duration_ms: 3,
            outcome: Outcome::Delivered,
            status_code: Some(200),
            reason: None,
            detail: None,
            remote_addr: Some([93, 184, 215, 14].into()),
            response_headers: vec![("content-length".into(), "2".into())],
            response_body: Some(Bytes::from_static(b"ok")),
            timings: Timings {
                first_byte_ms: Some(3),
                ..Timings::default()
            },
        },
        due_at: NOW,
        verdict: Verdict::Delivered,
        ended_at: NOW,
    }
}
