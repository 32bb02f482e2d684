//! Fuzz targets: each takes any bytes, does with them what a stranger could, and panics where a rule of the
//! product is broken.
//!
//! [`TARGETS`] is the table of them, one room in `targets` each. The bytes come from libFuzzer (`main`,
//! `cargo xtask fuzz`), which looks for bytes that reach new code, or from the corpus that is kept in the
//! repository (`tests/corpus.rs`, in every `cargo test`). What targets share: `choices` makes decisions out
//! of bytes; `network` is a network in memory; `house` is a whole service behind its router.

mod choices;
mod house;
mod network;
mod targets;

pub use targets::{TARGETS, Target, find};
