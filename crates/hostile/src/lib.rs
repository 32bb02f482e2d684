//! Receivers that misbehave, on loopback: what each does is data, beside the outcome and the
//! reason that the log of attempts has to show for it.
//!
//! Rooms: `script` is the language, [`scripts`] is all that is said in it; `peer` plays a script on
//! a connection, `records` makes TLS records that are wrong, `certificates` certificates, `weak_key` signs
//! with a key that is too short, `name_server` answers for names
//! as it is told; `street` opens many receivers at once. Nothing here knows who calls: the same
//! scripts are played to one exchange and to the whole service.

pub mod certificates;
pub mod name_server;
mod peer;
mod records;
mod script;
pub mod scripts;
mod street;
mod weak_key;

pub use peer::{answer_all, peer, read_request, stay};
pub use script::{Expect, Layer, Listens, Script, Step, Takes, Twist};
pub use scripts::{address_in, all};
pub use street::{DEADLINE, Street};
