//! Hides how a published event reaches its lanes: match, commit, offer.

use std::sync::Arc;

use model::event::NewEvent;
use model::id::{DeliveryId, EndpointId, TeamId};
use model::time::Timestamp;
use store::{AcceptError, Acceptance, Accepted, DueDelivery, Idempotency, StoreError};

use crate::house::House;
use crate::lane::Lane;
use crate::{IDEMPOTENCY_KEPT, Publication, Refusal};

impl House {
    /// Accepts events of a team. Runs to its end once begun (see [`crate::to_the_end`]).
    pub(crate) async fn publish(
        self: Arc<Self>,
        team: TeamId,
        publications: Vec<Publication>,
    ) -> Result<Vec<Accepted>, AcceptError> {
        let (now, due_at) = (self.clock.now(), self.clock.steady());
        let lanes = self.roster.lanes_of(team);
        let mut wanted: Vec<Vec<Arc<Lane>>> = Vec::with_capacity(publications.len());
        let mut acceptances = Vec::with_capacity(publications.len());
        for Publication {
            event,
            idempotency_key,
        } in publications
        {
            let wanting: Vec<Arc<Lane>> = lanes
                .iter()
                .filter(|lane| wants(lane, &event))
                .cloned()
                .collect();
            let idempotency = idempotency_key.map(|key| Idempotency {
                key,
                fingerprint: event.fingerprint(),
                expires_at: now.after(IDEMPOTENCY_KEPT),
            });
            let endpoints = wanting.iter().map(|lane| lane.endpoint).collect();
            acceptances.push(Acceptance {
                event,
                endpoints,
                idempotency,
                due_at,
                test: false,
            });
            wanted.push(wanting);
        }
        let events: Vec<NewEvent> = acceptances
            .iter()
            .map(|acceptance| acceptance.event.clone())
            .collect();
        let accepted = self.store.accept(team, acceptances, now).await;
        if matches!(&accepted, Err(AcceptError::Store(error)) if *error != StoreError::Overloaded) {
            // They may be there all the same, and nobody else tells the lanes.
            self.poke_all(wanted.iter().flatten());
        }
        let accepted = accepted?;
        for ((accepted, event), wanting) in accepted.iter().zip(&events).zip(&wanted) {
            if !accepted.replayed {
                self.metrics.accepted(1, wanting.len() as u64);
                self.offer(accepted, event, wanting, due_at, false);
            }
        }
        Ok(accepted)
    }

    /// Sends an event to one endpoint, whatever it subscribes to.
    pub(crate) async fn send_test(
        self: Arc<Self>,
        team: TeamId,
        endpoint: EndpointId,
        event: NewEvent,
    ) -> Result<DeliveryId, Refusal> {
        let lane = self.roster.lane(endpoint).filter(|lane| lane.team == team);
        let lane = lane.ok_or(Refusal::NotFound("webhook endpoint"))?;
        if lane.target.load().disabled {
            let sentence = "the endpoint is disabled, so nothing is sent to it; enable it first";
            return Err(Refusal::Conflict(sentence.into()));
        }
        let (now, due_at) = (self.clock.now(), self.clock.steady());
        let acceptance = Acceptance {
            event: event.clone(),
            endpoints: vec![endpoint],
            idempotency: None,
            due_at,
            test: true,
        };
        let accepted = self.store.accept(team, vec![acceptance], now).await;
        if accepted.is_err() {
            self.poke_all([&lane]);
        }
        let accepted = accepted.map_err(|error| match error {
            AcceptError::Store(error) => Refusal::Store(error),
            AcceptError::Conflict { .. } => Refusal::Conflict(error.to_string()),
        })?;
        let [accepted] = accepted[..] else {
            return Err(Refusal::Store(StoreError::Internal(format!(
                "one event was to be accepted, not {}",
                accepted.len()
            ))));
        };
        self.metrics.accepted(1, 1);
        self.offer(&accepted, &event, &[lane], due_at, true);
        Ok(accepted.delivery(0))
    }

    fn offer(
        self: &Arc<Self>,
        accepted: &Accepted,
        event: &NewEvent,
        lanes: &[Arc<Lane>],
        due_at: Timestamp,
        test: bool,
    ) {
        for (index, lane) in (0..).zip(lanes) {
            let next = lane.offer(DueDelivery {
                id: accepted.delivery(index),
                event: accepted.event,
                event_type: Arc::clone(&event.event_type),
                body: event.body.clone(),
                attempt_count: 0,
                schedule_start: 0,
                due_at,
                test,
            });
            self.follow(lane, next);
        }
    }
}

fn wants(lane: &Lane, event: &NewEvent) -> bool {
    let target = lane.target.load();
    !target.disabled && !target.deleted && target.subscription.wants(&event.event_type)
}
