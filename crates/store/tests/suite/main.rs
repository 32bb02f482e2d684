//! The store's public verbs, as every driver has to do them, and (in `files`) what is SQLite's own.

#![allow(clippy::unwrap_used)] // A test that cannot go on has failed.

extern crate vk_store as store;

mod damage;
mod events;
mod files;
mod house;
mod idempotency;
mod log;
mod machine;
mod pages;
mod retention;
mod teams;
