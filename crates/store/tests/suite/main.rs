//! The store's public verbs, as every driver has to do them, and (in `files`) what is SQLite's own.

extern crate vk_store as store;

mod events;
mod files;
mod house;
mod idempotency;
mod log;
mod machine;
mod retention;
mod teams;
