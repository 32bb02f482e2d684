//! Hides how a delivery's state is numbered in the store: `Open` is two numbers there, so that each
//! of the log's status filters is one range of an index.

use model::delivery::State;

use crate::error::StoreError;
use crate::value::damaged;

/// Owed, not yet tried.
pub(crate) const UNTRIED: i64 = 0;
/// Owed, tried.
pub(crate) const TRIED: i64 = 1;
/// Arrived.
pub(crate) const DELIVERED: i64 = 2;
/// Given up.
pub(crate) const DEAD: i64 = 3;

/// The state behind a number.
pub(crate) fn state(standing: i64) -> Result<State, StoreError> {
    match standing {
        UNTRIED | TRIED => Ok(State::Open),
        DELIVERED => Ok(State::Delivered),
        DEAD => Ok(State::DeadLetter),
        _ => Err(damaged(&format!("a delivery stands at {standing}"))),
    }
}
