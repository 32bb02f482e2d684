//! Hides what the settings pages ask for beyond the API's verbs: the headers that an attempt was sent
//! with, how many subscribe to a type, a recovery that can be watched, and when the service begins to stop.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use http::HeaderMap;
use model::delivery::Delivery;
use model::endpoint::Endpoint;
use model::id::{EndpointId, TeamId};
use model::time::Timestamp;
use store::{DueDelivery, RetryFilter};

use crate::lane::Target;
use crate::sender::Signed;
use crate::{Engine, Refusal};

impl Engine {
    /// The headers of an attempt that started at `started_at`, made again: what was sent, as long as
    /// the endpoint's secrets are those of then.
    pub fn headers_of(
        &self,
        endpoint: &Endpoint,
        delivery: &Delivery,
        body: &Bytes,
        started_at: Timestamp,
    ) -> HeaderMap {
        let house = &self.house;
        let target = Target::new(endpoint, &house.options.policy, None);
        let delivery = DueDelivery {
            id: delivery.id,
            event: delivery.event,
            event_type: delivery.event_type.as_str().into(),
            body: body.clone(),
            attempt_count: 0,
            schedule_start: 0,
            due_at: started_at,
            test: delivery.test,
        };
        let signed = Signed::new(&target, &delivery, started_at, house.store.codec());
        house.headers.of(&signed)
    }

    /// How many of a team's endpoints have subscribed to each of these event types.
    pub fn subscribers(&self, team: TeamId, event_types: &[&str]) -> Vec<usize> {
        let mut counts = vec![0; event_types.len()];
        for lane in self.house.roster.lanes_of(team).iter() {
            let target = lane.target.load();
            for (count, event_type) in counts.iter_mut().zip(event_types) {
                *count += usize::from(target.subscription.wants(event_type));
            }
        }
        counts
    }

    /// As [`Engine::retry_dead_letters`], adding to `done` while it goes on.
    ///
    /// # Errors
    /// Where the team has no such endpoint, or the store cannot.
    pub async fn retry_dead_letters_watched(
        &self,
        team: TeamId,
        endpoint: EndpointId,
        filter: RetryFilter,
        done: Arc<AtomicU64>,
    ) -> Result<u64, Refusal> {
        let work = Arc::clone(&self.house).retry_dead_letters(team, endpoint, filter, done);
        self.watched_to_the_end(work).await
    }

    /// Waits until the engine begins to stop, so that what would go on for ever can end.
    pub async fn stopping(&self) {
        self.house.closing.cancelled().await;
    }
}
