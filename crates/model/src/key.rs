//! Hides what an API key looks like, what of it is kept, and what its scopes allow
//! (contract, "API conventions" and "Keys").

use std::fmt;

use sha2::{Digest, Sha256};

use crate::attempt::words;
use crate::id::{KeyId, TeamId};
use crate::time::Timestamp;

/// What a team's keys start with.
pub const TEAM_KEY_PREFIX: &str = "vk_live_";
/// What the operator's key starts with.
pub const OPERATOR_KEY_PREFIX: &str = "vk_admin_";
/// How many characters follow the prefix.
pub const KEY_LENGTH: usize = 32;
/// How many of them a list shows.
pub const SHOWN_LENGTH: usize = 8;

words! {
    /// What a key allows its bearer to do.
    Scope {
        /// Look at everything the team has.
        Read = "read",
        /// Change endpoints, send tests, retry deliveries.
        WebhooksWrite = "webhooks:write",
        /// Publish events.
        EventsWrite = "events:write",
    }
}

/// A set of scopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// Every scope there is.
    pub fn all() -> Self {
        Scope::ALL.iter().copied().collect()
    }

    /// Whether `scope` is among them.
    pub fn has(self, scope: Scope) -> bool {
        self.0 & (1 << scope as u8) != 0
    }

    /// The scopes, in the order of [`Scope::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL
            .iter()
            .copied()
            .filter(move |scope| self.has(*scope))
    }

    /// The set as a number, for the store.
    pub fn bits(self) -> i64 {
        i64::from(self.0)
    }

    /// The set of that number; bits that stand for no scope are dropped.
    pub fn from_bits(bits: i64) -> Self {
        Scope::ALL
            .iter()
            .copied()
            .filter(|scope| bits & (1 << *scope as u8) != 0)
            .collect()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(
            scopes
                .into_iter()
                .fold(0, |bits, scope| bits | 1 << scope as u8),
        )
    }
}

/// What is kept of a key: enough to recognise it, not enough to use it.
///
/// A plain SHA-256 is right here: a key has 190 bits of randomness, so there is nothing to guess,
/// and every request pays for the hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyHash(pub [u8; 32]);

impl KeyHash {
    /// The hash of a key, prefix included.
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }
}

/// A key as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id.
    pub id: KeyId,
    /// Whose it is.
    pub team: TeamId,
    /// For people.
    pub name: String,
    /// The first [`SHOWN_LENGTH`] characters after the prefix.
    pub shown: String,
    /// What recognises it.
    pub hash: KeyHash,
    /// What it allows.
    pub scopes: Scopes,
    /// When it was last used, to about a minute.
    pub last_used_at: Option<Timestamp>,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
}

/// A key just made: the only time its text is seen.
#[derive(Clone)]
pub struct NewKey {
    text: String,
}

impl NewKey {
    /// A key out of 32 random bytes or more: `prefix` and [`KEY_LENGTH`] alphanumerics.
    ///
    /// Bytes past the largest multiple of 62 are skipped, so that every character is equally
    /// likely; none where too few bytes remain, in which case the caller brings others.
    pub fn from_random(prefix: &str, random: &[u8]) -> Option<Self> {
        const ALPHABET: &[u8; 62] =
            b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let mut text = String::with_capacity(prefix.len() + KEY_LENGTH);
        text.push_str(prefix);
        let fair = random.iter().filter(|byte| **byte < 248);
        text.extend(
            fair.take(KEY_LENGTH)
                .map(|byte| char::from(ALPHABET[usize::from(*byte) % 62])),
        );
        (text.len() == prefix.len() + KEY_LENGTH).then_some(Self { text })
    }

    /// The key itself, to be shown once.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What to keep of it.
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(&self.text)
    }

    /// What a list shows of it.
    pub fn shown(&self) -> &str {
        let start = self.text.len() - KEY_LENGTH;
        &self.text[start..start + SHOWN_LENGTH]
    }
}

impl fmt::Debug for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_its_prefix_and_32_alphanumerics() {
        let random: Vec<u8> = (0..=255).collect();
        let key = NewKey::from_random(TEAM_KEY_PREFIX, &random).unwrap();
        assert_eq!(key.text(), "vk_live_0123456789ABCDEFGHIJKLMNOPQRSTUV");
        assert_eq!(key.shown(), "01234567");
        assert_eq!(key.hash(), KeyHash::of(key.text()));
        assert_eq!(format!("{key:?}"), "NewKey(…)");
        assert!(NewKey::from_random(TEAM_KEY_PREFIX, &random[..31]).is_none());
        assert!(
            NewKey::from_random(TEAM_KEY_PREFIX, &[250; 64]).is_none(),
            "unfair bytes are skipped"
        );
    }

    #[test]
    fn scopes_survive_the_store() {
        let some: Scopes = [Scope::Read, Scope::EventsWrite].into_iter().collect();
        assert_eq!(Scopes::from_bits(some.bits()), some);
        assert!(some.has(Scope::Read) && !some.has(Scope::WebhooksWrite));
        assert_eq!(
            some.iter().map(Scope::as_str).collect::<Vec<_>>(),
            ["read", "events:write"]
        );
        assert_eq!(Scopes::all().iter().count(), 3);
        assert_eq!(Scopes::from_bits(-1), Scopes::all());
    }
}
