//! The store's public verbs, as every driver has to do them, and what is SQLite's own.

extern crate vk_store as store;

mod events;
mod house;
mod idempotency;
mod retention;
mod teams;
