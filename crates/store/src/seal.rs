//! Hides how signing secrets are kept: sealed under a key that is not in the database, so that the
//! database, or a backup of it, gives none away.
//!
//! A sealed secret is text: `v1.`, the id of the key, a dot, and base64 of nonce, cipher text and tag
//! (AES-256-GCM). It is bound to its endpoint, so what was moved to another row does not open.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::{digest, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use model::endpoint::{Secret, Secrets};
use model::id::EndpointId;
use model::time::Timestamp;
use zeroize::Zeroizing;

use crate::driver::{Driver, Line, Query, Unit};
use crate::error::{StoreError, TakeUpError};
use crate::store::read_one;
use crate::value::{Value, damaged};

const KEY_LENGTH: usize = 32;
/// What a sealed text begins with: how it is sealed.
const VERSION: &str = "v1.";

const PAGE: &str = "\
    SELECT id, secret, previous_secrets FROM endpoints \
    WHERE deleted_at IS NULL AND id > $1 ORDER BY id LIMIT $2";
const RESEAL: &str = "UPDATE endpoints SET secret = $2, previous_secrets = $3 WHERE id = $1";
const PROOF: &str = "SELECT value FROM meta WHERE key = 'sealed_under'";
const PUT_PROOF: &str = "\
    INSERT INTO meta (key, value) VALUES ('sealed_under', $1) \
    ON CONFLICT (key) DO UPDATE SET value = excluded.value";
/// Endpoints looked at in one step.
const SLICE: u32 = 512;

/// The keys that signing secrets are sealed with. Its `Debug` shows the keys' ids only.
pub struct Keyring {
    /// Seals, and opens.
    current: Key,
    /// Only open, what was sealed before the current one came.
    older: Vec<Key>,
}

struct Key {
    /// Tells keys apart, and nothing about them: the beginning of a hash.
    id: String,
    cipher: RandomizedNonceKey,
}

/// What becomes of a text that cannot be opened.
#[derive(Debug, PartialEq, Eq)]
enum Unopened {
    /// No key of the ring has this id.
    UnknownKey(String),
    /// It is not what was sealed.
    Damaged,
}

impl Keyring {
    /// Reads keys, one a line, each the base64 of 32 random bytes: the first seals, all open. Empty lines
    /// and lines that begin with `#` mean nothing.
    ///
    /// # Errors
    /// The sentence says which line is wrong, without repeating it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut keys = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let bytes = BASE64.decode(line).map(Zeroizing::new);
            let bytes = bytes.ok().filter(|bytes| bytes.len() == KEY_LENGTH);
            let bytes = bytes.ok_or_else(|| {
                format!("line {number} is not the base64 of {KEY_LENGTH} random bytes")
            })?;
            keys.push(Key::new(&bytes)?);
        }
        let mut keys = keys.into_iter();
        let current = keys.next().ok_or("it holds no key")?;
        Ok(Self {
            current,
            older: keys.collect(),
        })
    }

    /// A new key, as a line for [`Keyring::parse`].
    ///
    /// # Errors
    /// Where the system has no random bytes.
    pub fn new_line() -> Result<Zeroizing<String>, String> {
        let mut key = Zeroizing::new([0; KEY_LENGTH]);
        rand::fill(&mut *key).map_err(|_| "the system has no random bytes".to_owned())?;
        Ok(Zeroizing::new(BASE64.encode(key.as_slice())))
    }

    fn with_id(&self, id: &str) -> Option<&Key> {
        std::iter::once(&self.current)
            .chain(&self.older)
            .find(|key| key.id == id)
    }

    fn seal(&self, text: &str, bound_to: &[u8]) -> Result<String, StoreError> {
        let mut sealed = text.as_bytes().to_vec();
        let nonce = self
            .current
            .cipher
            .seal_in_place_append_tag(Aad::from(bound_to), &mut sealed)
            .map_err(|_| StoreError::Internal("a secret could not be sealed".into()))?;
        let mut bytes = nonce.as_ref().to_vec();
        bytes.append(&mut sealed);
        Ok(format!(
            "{VERSION}{}.{}",
            self.current.id,
            BASE64.encode(bytes)
        ))
    }

    fn open(&self, sealed: &str, bound_to: &[u8]) -> Result<Zeroizing<String>, Unopened> {
        let (id, text) = parts(sealed).ok_or(Unopened::Damaged)?;
        let key = self
            .with_id(id)
            .ok_or_else(|| Unopened::UnknownKey(id.into()))?;
        let mut bytes = BASE64
            .decode(text)
            .map(Zeroizing::new)
            .map_err(|_| Unopened::Damaged)?;
        let (nonce, rest) = bytes
            .split_first_chunk_mut::<NONCE_LEN>()
            .ok_or(Unopened::Damaged)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = key
            .cipher
            .open_in_place(nonce, Aad::from(bound_to), rest)
            .map_err(|_| Unopened::Damaged)?;
        let opened = std::str::from_utf8(opened).map_err(|_| Unopened::Damaged)?;
        Ok(Zeroizing::new(opened.to_owned()))
    }

    /// An endpoint's columns `secret` and `previous_secrets`: the latter a JSON array of [sealed, end],
    /// or null.
    pub(crate) fn seal_all(
        &self,
        endpoint: EndpointId,
        secrets: &Secrets,
    ) -> Result<[Value; 2], StoreError> {
        let bound_to = bound_to(endpoint);
        let current = self.seal(secrets.current.expose(), &bound_to)?;
        let previous = secrets.previous.iter().map(|(secret, end)| {
            let sealed = self.seal(secret.expose(), &bound_to)?;
            Ok((sealed, end.as_millis()))
        });
        let previous: Vec<(String, i64)> = previous.collect::<Result<_, StoreError>>()?;
        let previous = match previous.as_slice() {
            [] => Value::Null,
            previous => serde_json::to_string(previous)
                .map(Value::Text)
                .map_err(|error| StoreError::Internal(error.to_string()))?,
        };
        Ok([current.into(), previous])
    }

    /// What [`Keyring::seal_all`] sealed.
    pub(crate) fn open_all(
        &self,
        endpoint: EndpointId,
        current: &str,
        previous: Option<&str>,
    ) -> Result<Secrets, StoreError> {
        let bound_to = bound_to(endpoint);
        let open = |sealed: &str| match self.open(sealed, &bound_to) {
            Ok(text) => Ok(Secret::from_text(text.as_str())),
            Err(unopened) => Err(damaged(&match unopened {
                Unopened::UnknownKey(id) => format!("a secret is sealed with the unknown key {id}"),
                Unopened::Damaged => "a secret does not open".into(),
            })),
        };
        read_columns(current, previous, open)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let older: Vec<&str> = self.older.iter().map(|key| key.id.as_str()).collect();
        f.debug_struct("Keyring")
            .field("current", &self.current.id)
            .field("older", &older)
            .finish()
    }
}

impl Key {
    fn new(bytes: &[u8]) -> Result<Self, String> {
        let cipher = RandomizedNonceKey::new(&AES_256_GCM, bytes)
            .map_err(|_| format!("a key has {KEY_LENGTH} bytes"))?;
        let mut hashed = digest::Context::new(&digest::SHA256);
        hashed.update(b"vk-webhooks sealing key");
        hashed.update(bytes);
        let hash = hashed.finish();
        let id = hash.as_ref().iter().take(4);
        Ok(Self {
            id: id.map(|byte| format!("{byte:02x}")).collect(),
            cipher,
        })
    }
}

/// The key's id and the rest of a sealed text; none where it is not sealed.
fn parts(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix(VERSION)?.split_once('.')
}

fn bound_to(endpoint: EndpointId) -> Vec<u8> {
    [b"endpoint".as_slice(), &endpoint.0.to_be_bytes()].concat()
}

/// What an endpoint's columns hold, each text opened so.
fn read_columns<E: From<StoreError>>(
    current: &str,
    previous: Option<&str>,
    mut open: impl FnMut(&str) -> Result<Secret, E>,
) -> Result<Secrets, E> {
    let texts: Vec<(String, i64)> = match previous {
        None => Vec::new(),
        Some(previous) => serde_json::from_str(previous)
            .map_err(|_| damaged("the previous secrets of an endpoint are not readable"))?,
    };
    let current = open(current)?;
    let previous = texts
        .iter()
        .map(|(text, end)| Ok((open(text)?, Timestamp::from_millis(*end))));
    Ok(Secrets {
        current,
        previous: previous.collect::<Result<_, E>>()?,
    })
}

/// Sees that every secret in the store opens, and is sealed with the ring's current key: seals what a
/// version before kept as it was, and what an older key sealed. Returns how many endpoints that changed.
///
/// # Errors
/// Where something does not open, or is sealed with a key that the ring has not.
pub(crate) async fn seal_store(driver: &dyn Driver, keyring: &Keyring) -> Result<u64, TakeUpError> {
    let proof = read_one(driver, Query::new(PROOF, [])).await?;
    let proof = proof.first(|row| row.bytes())?;
    let mut is_current = false;
    if let Some(proof) = &proof {
        let text = std::str::from_utf8(proof).map_err(|_| Unopened::Damaged)?;
        keyring.open(text, PROVES)?;
        is_current = parts(text).is_some_and(|(id, _)| id == keyring.current.id);
    }
    let resealing = Resealing {
        keyring,
        // Afterwards what is not sealed was put there by somebody else.
        plain_is_ours: proof.is_none(),
    };
    let changed = resealing.all(driver).await?;
    if !is_current {
        // Last: where this was broken off, the next start does all of it again.
        let proof: Bytes = keyring.seal("", PROVES)?.into_bytes().into();
        let unit = Unit::of(PUT_PROOF, [proof.into()]);
        driver.commit(Line::Recording, unit).await?;
    }
    Ok(changed)
}

/// What is sealed to tell at every start, also where there is no endpoint, whether the key is right.
const PROVES: &[u8] = b"proof";

struct Resealing<'k> {
    keyring: &'k Keyring,
    /// Whether a secret that is not sealed is one that a version before kept so.
    plain_is_ours: bool,
}

impl Resealing<'_> {
    async fn all(&self, driver: &dyn Driver) -> Result<u64, TakeUpError> {
        let mut position = EndpointId(i64::MIN);
        let mut changed = 0;
        loop {
            let query = Query::new(PAGE, [position.into(), SLICE.into()]);
            let rows = read_one(driver, query).await?.decode(|row| {
                let id: EndpointId = row.id()?;
                Ok((id, Zeroizing::new(row.text()?), row.maybe_text()?))
            })?;
            let Some((last, ..)) = rows.last() else {
                return Ok(changed);
            };
            position = *last;
            let mut unit = Unit::default();
            for (endpoint, current, previous) in &rows {
                let previous = previous.as_deref();
                if let Some(secrets) = self.to_be_sealed(*endpoint, current, previous)? {
                    let [current, previous] = self.keyring.seal_all(*endpoint, &secrets)?;
                    unit.add(RESEAL, [(*endpoint).into(), current, previous]);
                    changed += 1;
                }
            }
            if !unit.is_empty() {
                driver.commit(Line::Recording, unit).await?;
            }
        }
    }

    /// An endpoint's secrets, where they are to be sealed anew.
    fn to_be_sealed(
        &self,
        endpoint: EndpointId,
        current: &str,
        previous: Option<&str>,
    ) -> Result<Option<Secrets>, TakeUpError> {
        let bound_to = bound_to(endpoint);
        let mut is_current = true;
        let secrets = read_columns(current, previous, |text| match parts(text) {
            None if self.plain_is_ours => {
                is_current = false;
                Ok(Secret::from_text(text))
            }
            id => {
                is_current &= id.is_some_and(|(id, _)| id == self.keyring.current.id);
                let opened = self.keyring.open(text, &bound_to)?;
                Ok::<_, TakeUpError>(Secret::from_text(opened.as_str()))
            }
        })?;
        Ok((!is_current).then_some(secrets))
    }
}

impl From<Unopened> for TakeUpError {
    fn from(unopened: Unopened) -> Self {
        match unopened {
            Unopened::UnknownKey(id) => Self::UnknownKey(id),
            Unopened::Damaged => damaged("a sealed secret does not open").into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(byte: u8) -> String {
        BASE64.encode([byte; KEY_LENGTH])
    }

    fn ring(bytes: &[u8]) -> Keyring {
        let lines: Vec<String> = bytes.iter().map(|byte| line(*byte)).collect();
        Keyring::parse(&lines.join("\n")).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_with_its_key_in_its_place_only() {
        let sealed = ring(&[1]).seal("whsec_abc", b"here").unwrap();
        assert!(sealed.starts_with(VERSION) && !sealed.contains("whsec"));
        let again = ring(&[1]).seal("whsec_abc", b"here").unwrap();
        assert_ne!(sealed, again, "each has a nonce of its own");
        let id = ring(&[1]).current.id;
        let mut flipped = sealed.clone().into_bytes();
        let last = flipped.len() - 5;
        flipped[last] = if flipped[last] == b'A' { b'B' } else { b'A' };
        let flipped = String::from_utf8(flipped).unwrap();
        let unknown = Unopened::UnknownKey(id.clone());
        type Case<'c> = (&'c [u8], &'c str, &'c [u8], Result<&'c str, Unopened>);
        let cases: [Case<'_>; 8] = [
            (&[1], &sealed, b"here", Ok("whsec_abc")),
            (&[2, 3, 1], &sealed, b"here", Ok("whsec_abc")),
            (&[2], &sealed, b"here", Err(unknown)),
            (&[1], &sealed, b"there", Err(Unopened::Damaged)),
            (&[1], &flipped, b"here", Err(Unopened::Damaged)),
            (
                &[1],
                &format!("v1.{id}.AAAA"),
                b"here",
                Err(Unopened::Damaged),
            ),
            (&[1], &format!("v1.{id}.%"), b"here", Err(Unopened::Damaged)),
            (&[1], "whsec_abc", b"here", Err(Unopened::Damaged)),
        ];
        for (keys, text, place, expected) in cases {
            let opened = ring(keys).open(text, place);
            let opened = opened.as_ref().map(|text| text.as_str());
            assert_eq!(opened, expected.as_ref().copied(), "{keys:?} {text}");
        }
    }

    #[test]
    fn a_key_file_is_lines_of_base64_and_a_wrong_one_is_not_repeated() {
        let file = format!("# the new one\n{}\n\n  {}  \n", line(1), line(2));
        let keyring = Keyring::parse(&file).unwrap();
        assert_eq!(keyring.older.len(), 1);
        let shown = format!("{keyring:?}");
        assert!(!shown.contains(&line(1)) && shown.contains(&keyring.current.id));
        for (text, says) in [
            ("", "it holds no key"),
            ("# nothing\n", "it holds no key"),
            (
                &format!("{}\nshort", line(1)),
                "line 2 is not the base64 of 32 random bytes",
            ),
            ("c2VjcmV0", "line 1 is not the base64 of 32 random bytes"),
        ] {
            assert_eq!(Keyring::parse(text).unwrap_err(), says, "{text}");
        }
        let made = Keyring::new_line().unwrap();
        assert!(Keyring::parse(&made).is_ok());
        assert_ne!(made, Keyring::new_line().unwrap());
    }
}
