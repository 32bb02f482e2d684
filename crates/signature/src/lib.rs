//! Hides the byte-level details of both webhook signature schemes behind sign, verify and explain.
//!
//! The rooms, in reading order:
//!
//! - `sign`: from a secret to keys ([`SigningKeys`]), from a message to a header value
//!   ([`HexSignature`], [`StandardSignature`]);
//! - `header`: finding a header and reading a signature or a time out of it;
//! - `verify`: whether a delivery is genuine and recent ([`Verifier`], [`Scheme`], [`Verified`]);
//! - `failure`: everything that can be wrong with a delivery, as values ([`Failure`],
//!   [`SecretMistake`], [`BodyChange`]); `sentence`: how each is put to people;
//! - `explain`: which mistake made a well-formed signature differ;
//! - `json`: the other ways to write the same JSON text, which `explain` tries.
//!
//! Nothing here reads a clock, allocates to sign, or prints a secret.
//!
//! # Using it in a receiver
#![doc = include_str!("../README.md")]

mod explain;
mod failure;
mod header;
mod json;
mod sentence;
mod sign;
mod verify;

pub use failure::{BodyChange, Failure, JsonEscapes, JsonLayout, SecretMistake};
pub use sign::{HexSignature, SignatureText, SigningKeys, StandardSignature};
pub use verify::{
    DEFAULT_HEADER_PREFIX, DEFAULT_TOLERANCE_SECONDS, MatchedHeader, Scheme, Verified, Verifier,
};
