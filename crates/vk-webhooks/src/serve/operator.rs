//! Hides where the operator's key comes from: the environment, the store, or made at first start.

use anyhow::{Context, Result, bail};
use engine::Engine;
use model::key::{KEY_LENGTH, KeyHash, NewKey, OPERATOR_KEY_PREFIX, is_key};

/// The variable that brings the key.
const VARIABLE: &str = "VK_WEBHOOKS_ADMIN_KEY";

/// The key that may do everything, as far as we know it.
pub(crate) enum OperatorKey {
    /// Brought by the environment, or made at an earlier start: whoever needs it has it.
    Known,
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
    pub(super) async fn find(engine: &Engine, given: Option<&str>) -> Result<Self> {
        if let Some(key) = given {
            engine.set_operator_key(KeyHash::of(key));
            return Ok(Self::Known);
        }
        let kept = engine.store().operator_key().await;
        let kept = kept.context("cannot read the operator's key from the store")?;
        if kept.is_some() {
            return Ok(Self::Known);
        }
        let made = engine.make_operator_key().await;
        Ok(Self::New(made.context("cannot make the operator's key")?))
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
