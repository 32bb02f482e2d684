//! Hides what it takes to receive webhooks on this machine: a certificate authority, TLS, HTTP.
//!
//! Not a floor of the service: the demo, `listen`, the tests and the bench receive with it.
//! Rooms: `authority` makes certificates, `answer` is what may be done with a request,
//! `receiver` listens and asks its handler.

mod answer;
mod authority;
mod receiver;

pub use answer::{Answer, Arrival};
pub use authority::Authority;
pub use receiver::Receiver;
