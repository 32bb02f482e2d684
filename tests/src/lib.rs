//! The rig of the whole-service tests: the real binary, spoken to as anyone would, and receivers
//! that remember everything.
//!
//! Rooms: `binary` finds and runs the program, `service` is one that serves, `api` speaks HTTP to
//! it, `bare` is one with unusual streams, `example` is what is published, `inbox` is a receiver that records and answers by a script,
//! `storm` is publishers that go on over restarts, `steady` publishes at a steady pace, `random` is
//! choices that can be made again, `setting` is how a test is made longer from outside, `usage` is what the
//! service has in use, `wait` waits for something to become true, `manual` is the blocks of docs/operating.md.
//!
//! What the world does to it: `disk` is full or cannot be written, `clock` is stepped, `names` are name
//! servers that fail, `sink` is a log that goes away; `apart` runs a test with a network and mounts of its own,
//! `preload` brings what is put before its C library. Two crates of their own: `machine` mounts and limits,
//! `leaks` looks through all that it says.

mod apart;
mod api;
mod bare;
mod binary;
mod clock;
mod disk;
mod example;
mod inbox;
mod manual;
mod names;
mod preload;
mod random;
mod service;
mod setting;
mod sink;
mod steady;
mod storm;
mod usage;
mod wait;

pub use ::leaks::QUERY;
pub use apart::apart;
pub use api::{Api, Reply};
pub use bare::Bare;
pub use binary::{Output, TempDir, program, run};
pub use clock::Clock;
pub use disk::{ReadOnlyFile, SmallDisk};
pub use example::{free_port, member_removed};
pub use inbox::{Inbox, unix_seconds, verify, verify_at};
pub use local_receiver::{Answer, Arrival, Authority};
pub use machine::{Etc, MemoryLimit, Ports, Space};
pub use manual::{Block, operating_blocks};
pub use names::{Names, Serves, resolv_conf};
pub use preload::compile;
pub use random::Random;
pub use service::{Endpoint, OPERATOR_KEY, Service, Setup, Start};
pub use setting::setting;
pub use sink::{Reads, Sink};
pub use steady::{Latency, Steady};
pub use storm::{Storm, assert_arrived, assert_kept};
pub use usage::{Peak, Usage};
pub use wait::{eventually, eventually_within};
