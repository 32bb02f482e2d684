//! Hides how a delivery's status follows from what is stored of it and from its endpoint.
//!
//! Only the three states that the delivery itself goes through are stored. `held` and
//! `canceled` are facts about its endpoint, so pausing or deleting an endpoint with a million
//! unfinished deliveries changes one row, and nothing can fall out of step.

use crate::attempt::words;
use crate::id::{DeliveryId, EndpointId, EventId};
use crate::time::Timestamp;

words! {
    /// The word for where a delivery stands (contract, "Statuses of a delivery").
    Status {
        /// Not yet tried.
        Pending = "pending",
        /// Tried; will be tried again.
        Retrying = "retrying",
        /// Unfinished; its endpoint is paused or disabled.
        Held = "held",
        /// Arrived.
        Delivered = "delivered",
        /// Given up.
        DeadLetter = "dead_letter",
        /// Unfinished when its endpoint was deleted.
        Canceled = "canceled",
    }
}

/// What the store keeps of where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Owed.
    Open,
    /// Arrived.
    Delivered,
    /// Given up.
    DeadLetter,
}

/// What an unfinished delivery has to know of its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointCondition {
    /// It takes deliveries.
    Active,
    /// It is paused or disabled.
    Holding,
    /// It was deleted, then.
    Deleted(Timestamp),
}

/// One event owed to one endpoint, as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its id: the same on every retry.
    pub id: DeliveryId,
    /// The event it carries.
    pub event: EventId,
    /// The endpoint it is owed to.
    pub endpoint: EndpointId,
    /// The event's type.
    pub event_type: String,
    /// Where it stands.
    pub state: State,
    /// What its endpoint is up to.
    pub condition: EndpointCondition,
    /// How many attempts were made.
    pub attempt_count: u32,
    /// When it is due, while it is owed.
    pub next_attempt_at: Option<Timestamp>,
    /// When it arrived or was given up.
    pub completed_at: Option<Timestamp>,
    /// Whether it was made by "send test event".
    pub test: bool,
}

impl Delivery {
    /// The word for where it stands.
    pub fn status(&self) -> Status {
        match (self.state, self.condition) {
            (State::Delivered, _) => Status::Delivered,
            (State::DeadLetter, _) => Status::DeadLetter,
            (State::Open, EndpointCondition::Deleted(_)) => Status::Canceled,
            (State::Open, EndpointCondition::Holding) => Status::Held,
            (State::Open, EndpointCondition::Active) if self.attempt_count == 0 => Status::Pending,
            (State::Open, EndpointCondition::Active) => Status::Retrying,
        }
    }

    /// When the next attempt will be made; none where none will.
    pub fn upcoming(&self) -> Option<Timestamp> {
        match self.status() {
            Status::Pending | Status::Retrying => self.next_attempt_at,
            _ => None,
        }
    }

    /// When it came to its end, whichever that was.
    pub fn ended_at(&self) -> Option<Timestamp> {
        match (self.state, self.condition) {
            (State::Open, EndpointCondition::Deleted(at)) => Some(at),
            (State::Open, _) => None,
            _ => self.completed_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Id;

    #[test]
    fn the_status_follows_from_the_state_the_endpoint_and_the_attempts() {
        use EndpointCondition::{Active, Deleted, Holding};
        let at = Timestamp::from_millis(7);
        for (state, condition, attempts, status) in [
            (State::Open, Active, 0, Status::Pending),
            (State::Open, Active, 1, Status::Retrying),
            (State::Open, Holding, 0, Status::Held),
            (State::Open, Holding, 3, Status::Held),
            (State::Open, Deleted(at), 0, Status::Canceled),
            (State::Delivered, Active, 1, Status::Delivered),
            (State::Delivered, Deleted(at), 1, Status::Delivered),
            (State::Delivered, Holding, 1, Status::Delivered),
            (State::DeadLetter, Active, 6, Status::DeadLetter),
            (State::DeadLetter, Deleted(at), 6, Status::DeadLetter),
        ] {
            let delivery = Delivery {
                id: DeliveryId::from_raw(2),
                event: EventId::from_raw(1),
                endpoint: EndpointId::from_raw(3),
                event_type: "link.created".into(),
                state,
                condition,
                attempt_count: attempts,
                next_attempt_at: Some(at),
                completed_at: None,
                test: false,
            };
            assert_eq!(
                delivery.status(),
                status,
                "{state:?} {condition:?} {attempts}"
            );
            let will_be_tried = matches!(status, Status::Pending | Status::Retrying);
            assert_eq!(delivery.upcoming().is_some(), will_be_tried);
            assert_eq!(delivery.ended_at().is_some(), status == Status::Canceled);
        }
    }
}
