//! Hides the two names everything has: a time-ordered 64-bit integer inside, a UUIDv7 outside.
//!
//! Integers make the store's indexes small and append-only; UUIDs tell an outsider nothing but
//! the time. One follows from the other under a key that never leaves the store, so no table
//! maps them, and a UUID we did not make is recognised without looking it up.

use std::hash::Hasher;

use siphasher::sip::SipHasher24;
use uuid::Uuid;

use crate::time::Timestamp;

/// 2025-01-01T00:00:00Z: the first millisecond an id can carry.
const EPOCH_MS: i64 = 1_735_689_600_000;
const NODE_BITS: u32 = 8;
const SEQUENCE_BITS: u32 = 14;
const LOW_BITS: u32 = NODE_BITS + SEQUENCE_BITS;
const LOW_MASK: u64 = (1 << LOW_BITS) - 1;
const TAG_BITS: u32 = 52;
const TAG_MASK: u64 = (1 << TAG_BITS) - 1;

/// The most ids that one block can hold (see [`IdAllocator::block`]).
pub const BLOCK_MAX: usize = 1 << SEQUENCE_BITS;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident = $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub i64);

        impl Id for $name {
            const KIND: u8 = $kind;
            fn from_raw(raw: i64) -> Self {
                Self(raw)
            }
            fn raw(self) -> i64 {
                self.0
            }
        }
    };
}

/// What all ids have in common.
pub trait Id: Copy {
    /// Goes into the UUID's tag, so that an endpoint's UUID is not a delivery's.
    const KIND: u8;
    /// The id with this integer.
    fn from_raw(raw: i64) -> Self;
    /// The integer inside.
    fn raw(self) -> i64;

    /// When the thing was made: ids carry their own creation time, so no row has to.
    fn created_at(self) -> Timestamp {
        Timestamp::from_millis((self.raw() >> LOW_BITS) + EPOCH_MS)
    }
}

/// The smallest integer an id made at `moment` or later can have: turns a time filter into a
/// range of keys.
pub fn first_raw_at(moment: Timestamp) -> i64 {
    let since_epoch = moment.as_millis().saturating_sub(EPOCH_MS);
    since_epoch.clamp(0, i64::MAX >> LOW_BITS) << LOW_BITS
}

// The numbers go into UUIDs that outsiders keep: they never change, and 0 is the mask's.
id!(
    /// A team inside. Outside a team has the text the operator gave it, or a UUIDv7.
    TeamId = 1
);
id!(
    /// An API key.
    KeyId = 2
);
id!(
    /// An endpoint.
    EndpointId = 3
);
id!(
    /// An accepted event.
    EventId = 4
);
id!(
    /// One event owed to one endpoint.
    DeliveryId = 5
);
id!(
    /// A change by hand, as the audit log has it.
    AuditId = 6
);

/// Turns ids into UUIDv7s and back, under a key that belongs to one store.
///
/// The UUID carries the id's millisecond in clear (that is UUIDv7), its node and sequence masked
/// (they would tell how much traffic there is), and a 52-bit tag over all of it and the kind.
#[derive(Clone)]
pub struct IdCodec {
    key: [u8; 16],
}

impl IdCodec {
    /// A codec under `key`: 16 random bytes, made once for a store and kept with it.
    pub fn new(key: [u8; 16]) -> Self {
        Self { key }
    }

    /// The name outsiders know `id` by.
    pub fn uuid<I: Id>(&self, id: I) -> Uuid {
        let raw = id.raw() as u64;
        let millis = (raw >> LOW_BITS) + EPOCH_MS as u64;
        let tag = self.tag(I::KIND, raw);
        let low = (raw & LOW_MASK) ^ self.mask(tag, millis);
        let tail = (u128::from(tag) << LOW_BITS) | u128::from(low); // 74 bits
        let rand_a = (tail >> 62) & 0xfff;
        let rand_b = tail & ((1 << 62) - 1);
        Uuid::from_u128(
            (u128::from(millis) << 80) | (0x7 << 76) | (rand_a << 64) | (0b10 << 62) | rand_b,
        )
    }

    /// The id behind `uuid`; none where this store made no such id of this kind.
    pub fn id<I: Id>(&self, uuid: Uuid) -> Option<I> {
        let bits = uuid.as_u128();
        if (bits >> 76) & 0xf != 0x7 || (bits >> 62) & 0b11 != 0b10 {
            return None;
        }
        let millis = (bits >> 80) as u64;
        let tail = (((bits >> 64) & 0xfff) << 62) | (bits & ((1 << 62) - 1));
        let tag = (tail >> LOW_BITS) as u64;
        let low = (tail as u64 & LOW_MASK) ^ self.mask(tag, millis);
        let since_epoch = millis.checked_sub(EPOCH_MS as u64)?;
        if since_epoch >= 1 << (63 - LOW_BITS) {
            return None;
        }
        let raw = (since_epoch << LOW_BITS) | low;
        (self.tag(I::KIND, raw) == tag).then(|| I::from_raw(raw as i64))
    }

    /// As [`IdCodec::id`], from text as it stands in a path or a query.
    pub fn parse<I: Id>(&self, text: &str) -> Option<I> {
        // Only the hyphenated form: one thing has one spelling.
        if text.len() != uuid::fmt::Hyphenated::LENGTH {
            return None;
        }
        self.id(Uuid::try_parse(text).ok()?)
    }

    fn tag(&self, kind: u8, raw: u64) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write_u8(kind);
        hasher.write_u64(raw);
        hasher.finish() & TAG_MASK
    }

    fn mask(&self, tag: u64, millis: u64) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write_u8(0);
        hasher.write_u64(tag);
        hasher.write_u64(millis);
        hasher.finish() & LOW_MASK
    }
}

/// Hands out ids that only ever grow, whatever the clock does.
#[derive(Debug)]
pub struct IdAllocator {
    node: i64,
    /// The next millisecond (since [`EPOCH_MS`]) and sequence to hand out.
    next: (i64, i64),
}

impl IdAllocator {
    /// An allocator for `node`, whose ids all come after `last`, the largest in the store.
    pub fn new(node: u8, last: i64) -> Self {
        // The millisecond after the last one used: also past every other node's ids in it.
        let next = if last <= 0 {
            (0, 0)
        } else {
            ((last >> LOW_BITS) + 1, 0)
        };
        Self {
            node: i64::from(node),
            next,
        }
    }

    /// The first of `count` consecutive ids (at most [`BLOCK_MAX`]), larger than all before.
    /// When the clock stands still or goes back, ids run ahead of it rather than repeat.
    pub fn block(&mut self, now: Timestamp, count: usize) -> i64 {
        assert!(
            count <= BLOCK_MAX,
            "an id block holds at most {BLOCK_MAX} ids, not {count}"
        );
        let count = count as i64;
        let now = now.as_millis().saturating_sub(EPOCH_MS).max(0);
        let (mut millis, mut sequence) = self.next.max((now, 0));
        if sequence + count > 1 << SEQUENCE_BITS {
            (millis, sequence) = (millis + 1, 0);
        }
        self.next = (millis, sequence + count);
        (millis << LOW_BITS) | (self.node << SEQUENCE_BITS) | sequence
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_000_000_000);

    proptest! {
        #[test]
        fn an_id_survives_its_uuid_and_no_other_kind_or_store_accepts_it(raw in 0..i64::MAX) {
            let codec = IdCodec::new(*b"0123456789abcdef");
            let uuid = codec.uuid(DeliveryId(raw));
            prop_assert_eq!(uuid.get_version_num(), 7);
            prop_assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
            prop_assert_eq!(codec.id(uuid), Some(DeliveryId(raw)));
            prop_assert_eq!(codec.parse(&uuid.to_string()), Some(DeliveryId(raw)));
            prop_assert_eq!(codec.id::<EndpointId>(uuid), None);
            let other = IdCodec::new(*b"another store's!");
            prop_assert_eq!(other.id::<DeliveryId>(uuid), None);
        }

        #[test]
        fn any_128_bits_are_read_without_a_panic(bits: u128) {
            let codec = IdCodec::new([7; 16]);
            prop_assert_eq!(codec.id::<EventId>(Uuid::from_u128(bits)), None);
        }
    }

    #[test]
    fn an_id_carries_its_creation_time() {
        let mut ids = IdAllocator::new(0, 0);
        let id = EventId(ids.block(NOW, 1));
        assert_eq!(id.created_at(), NOW);
        assert_eq!(first_raw_at(NOW), id.0);
        let uuid = IdCodec::new([1; 16]).uuid(id);
        assert_eq!(uuid.get_timestamp().unwrap().to_unix().0, 1_795_000_000);
    }

    #[test]
    fn ids_grow_through_a_clock_that_stands_jumps_and_goes_back() {
        let mut ids = IdAllocator::new(3, 0);
        let hour = std::time::Duration::from_secs(3600);
        let mut last = 0;
        for now in [
            NOW,
            NOW,
            NOW.after(hour),
            NOW.before(hour),
            NOW,
            Timestamp::from_millis(-5),
        ] {
            for count in [1, 11, BLOCK_MAX, 1, 16_000, 500] {
                let first = ids.block(now, count);
                assert!(first > last, "{first} after {last}");
                last = first + count as i64 - 1;
                assert_eq!(
                    (last >> SEQUENCE_BITS) & 0xff,
                    3,
                    "a block never runs into the node bits"
                );
            }
        }
        assert!(
            IdAllocator::new(0, last).block(NOW.before(hour), 1) > last,
            "nor after a restart"
        );
    }

    #[test]
    fn only_the_hyphenated_spelling_is_read() {
        let codec = IdCodec::new([1; 16]);
        let uuid = codec.uuid(EventId(1 << 40));
        assert!(codec.parse::<EventId>(&uuid.to_string()).is_some());
        for text in [
            uuid.simple().to_string(),
            uuid.urn().to_string(),
            String::new(),
            "x".repeat(36),
        ] {
            assert_eq!(codec.parse::<EventId>(&text), None, "{text}");
        }
    }
}
