//! The words and the rules of webhook delivery, as pure values and functions.
//!
//! Nothing here knows a runtime, a socket, SQL or a clock: time and randomness come in as
//! arguments, so every rule can be tested as a table. Rooms, in reading order:
//!
//! - [`time`] and [`id`]: how moments and things are named, inside and outside;
//! - [`catalog`]: which events exist, and (`schema`) what their data must look like;
//!   [`event`]: from a publisher's bytes, read with care (`json`), to an accepted fact;
//! - [`team`] and [`key`]: who may do what, and how much of it ([`rate`]);
//! - [`endpoint`]: where deliveries go, for which events, signed with which secrets;
//! - [`attempt`]: one HTTP try and why it failed; [`retry`]: what follows from it; [`hint`]: what a response gives
//!   away about who answered;
//! - [`health`]: what a row of failures says about an endpoint; [`tally`]: what an hour of attempts came to;
//! - [`delivery`]: one event owed to one endpoint, and its status;
//! - [`brand`]: the names a receiver sees; [`audit`]: who changed what by hand.

pub mod attempt;
pub mod audit;
pub mod brand;
pub mod catalog;
pub mod delivery;
pub mod endpoint;
pub mod event;
pub mod health;
pub mod hint;
pub mod id;
mod json;
pub mod key;
pub mod rate;
pub mod retry;
mod schema;
pub mod tally;
pub mod team;
pub mod time;
