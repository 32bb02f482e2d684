//! Hides where the operator's key comes from: the environment, the store, or made at first start.

use anyhow::{Context, Result, bail};
use model::key::{KEY_LENGTH, KeyHash, NewKey, OPERATOR_KEY_PREFIX, is_key};
use store::Store;

/// The variable that brings the key.
const VARIABLE: &str = "VK_WEBHOOKS_ADMIN_KEY";

/// The key that may do everything, as far as we know it.
pub(crate) enum OperatorKey {
    /// Brought by the environment.
    Given(KeyHash),
    /// Made at an earlier start; only its hash is left.
    Kept(KeyHash),
    /// Made just now: the only time its text is known.
    New(NewKey),
}

/// The key in the environment, where there is one. A key that could be guessed is refused.
pub(crate) fn key_from_environment() -> Result<Option<String>> {
    match std::env::var(VARIABLE) {
        Err(std::env::VarError::NotPresent) => Ok(None),
        Ok(key) if key.is_empty() => Ok(None),
        Ok(key) if is_key(OPERATOR_KEY_PREFIX, &key) => Ok(Some(key)),
        // Whatever is there may be somebody's secret, so it is not repeated.
        _ => bail!(
            "{VARIABLE} has to be {OPERATOR_KEY_PREFIX} followed by exactly {KEY_LENGTH} random \
             letters and digits; what it holds is something else. Leave it unset to have a key \
             made"
        ),
    }
}

impl OperatorKey {
    /// The key in use: the given one, else the kept one, else a new one, which is then kept.
    pub(super) async fn find(store: &Store, given: Option<String>) -> Result<Self> {
        if let Some(key) = given {
            return Ok(Self::Given(KeyHash::of(&key)));
        }
        let kept = store.operator_key().await;
        if let Some(hash) = kept.context("cannot read the operator's key from the store")? {
            return Ok(Self::Kept(hash));
        }
        let key = new_key()?;
        let keep = store.set_operator_key(key.hash()).await;
        keep.context("cannot keep the new operator's key in the store")?;
        Ok(Self::New(key))
    }

    /// What recognises it.
    pub(super) fn hash(&self) -> KeyHash {
        match self {
            Self::Given(hash) | Self::Kept(hash) => *hash,
            Self::New(key) => key.hash(),
        }
    }

    /// Tells the operator a key that was just made. Not through the log, which is kept and sent
    /// around.
    pub(super) fn announce(&self) {
        if let Self::New(key) = self {
            eprintln!(
                "\nThis is the operator's key. It may do everything, and is shown only this once:\
                 \n\n    {}\n\nKeep it safe; send it as `Authorization: Bearer …`. To use a key of \
                 your own instead, set {VARIABLE}.\n",
                key.text()
            );
        }
    }
}

fn new_key() -> Result<NewKey> {
    loop {
        let mut random = [0; 64];
        getrandom::fill(&mut random).context("the system has no random bytes")?;
        // One byte in 32 is skipped, so almost always 64 are enough.
        if let Some(key) = NewKey::from_random(OPERATOR_KEY_PREFIX, &random) {
            return Ok(key);
        }
    }
}
