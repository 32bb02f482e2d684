//! The HTTP API by its public surface: the real router over a real engine and a real store on
//! disk, in virtual time, with receivers that do as their URL says.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

extern crate vk_web as web;

mod access;
mod audit;
mod conventions;
mod deliveries;
mod document;
mod endpoints;
mod errors;
mod log;
mod publishing;
mod rates;
mod rig;
mod settings;
mod teams;
