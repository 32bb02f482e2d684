//! Whole worlds in virtual time: the engine on a real store, receivers with habits, people, a disk in trouble,
//! clocks that are set, and processes that die; and the laws that hold whatever happens.
//!
//! Rooms, in reading order: `plan` is what happens in a world, and follows from its seed; `habit` is how a
//! receiver behaves; `world` is what outlives a process; `process` lives a world through; `people` do what the
//! plan says; `wire` and `disk` are what the engine has instead of a network and a good disk; `ledger` is the
//! plain model of it all, and `laws` hold the world against that. `seeds` and `deaths` are the tests.
//!
//! A seed fixes the plan, how receivers answer, how long each operation of the store takes, which one fails, and
//! so in which order everything goes on: the runtime has one thread, the store is waited for on the spot, and
//! time goes by only where somebody waits for it. It does not fix the secrets, the order in which a few maps are
//! gone through, and which of several branches a task that waits for them looks at first: a test compares worlds
//! that were lived through twice, step by step, and sees no difference by these.

// A test and its rig fail by panicking.
#![allow(clippy::unwrap_used)]

mod deaths;
mod disk;
mod figures;
mod habit;
mod laws;
mod ledger;
mod people;
mod plan;
mod process;
#[allow(unreachable_pub, reason = "another test's room")]
#[path = "../../../../tests/src/random.rs"]
mod random;
mod seeds;
#[path = "../shared/mod.rs"]
mod shared;
mod wire;
mod world;
