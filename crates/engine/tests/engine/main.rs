//! The engine in virtual time, through its public surface: a real store, scripted receivers,
//! and the whole list of attempt times.

// A test and its rig fail by panicking.
#![allow(clippy::unwrap_used)]

mod by_hand;
mod capacity;
mod faults;
mod hours;
mod rig;
mod schedule;
#[path = "../shared/mod.rs"]
mod shared;
mod signatures;
mod trouble;
