//! Real sockets on loopback: receivers of every temper, a name server that lies, and certificates
//! that are wrong, each with the reason the transport must give.

// What a test calls fails by panicking, too; clippy exempts only the test functions themselves.
#![allow(clippy::unwrap_used)]

mod peer;

mod addresses;
mod dns;
mod endings;
mod http;
mod keep_alive;
mod lost;
mod scripts;
mod tls;
mod unicode;
