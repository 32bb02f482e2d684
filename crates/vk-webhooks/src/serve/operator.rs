//! Hides where the operator's key comes from: the environment, the store, or made at first start.

use anyhow::{Context, Result, bail};
use engine::Engine;
use model::key::{KEY_LENGTH, KeyHash, NewKey, OPERATOR_KEY_PREFIX};
use tracing::warn;

/// The variable that brings the key.
const VARIABLE: &str = "VK_WEBHOOKS_ADMIN_KEY";

/// The key that may do everything, as far as we know it.
pub(crate) enum OperatorKey {
    /// Brought by the environment, or made at an earlier start: whoever needs it has it.
    Known,
    /// Made just now: the only time its text is known.
    New(NewKey),
}

/// The key in the environment, where there is one. One that is short is taken, and said loudly:
/// it is the operator's own choice.
pub(crate) fn key_from_environment() -> Result<Option<String>> {
    match std::env::var(VARIABLE) {
        Err(std::env::VarError::NotPresent) => Ok(None),
        Ok(key) if key.is_empty() => Ok(None),
        Ok(key) if is_operator_key(&key) => {
            if key.len() < OPERATOR_KEY_PREFIX.len() + KEY_LENGTH {
                warn!(
                    "the operator's key in {VARIABLE} is short, so it could be guessed, and with it \
                     everything could be done: use {KEY_LENGTH} random letters and digits behind \
                     {OPERATOR_KEY_PREFIX}"
                );
            }
            Ok(Some(key))
        }
        // Whatever is there may be somebody's secret, so it is not repeated.
        _ => bail!(
            "{VARIABLE} has to be {OPERATOR_KEY_PREFIX} followed by random letters and digits, best \
             {KEY_LENGTH} of them; what it holds is something else. Leave it unset to have a key \
             made"
        ),
    }
}

/// Whether `key` can be an operator's: the prefix, and something behind it that a header can carry.
fn is_operator_key(key: &str) -> bool {
    key.strip_prefix(OPERATOR_KEY_PREFIX)
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_graphic()))
}

impl OperatorKey {
    /// The key in use: the given one, else the kept one, else a new one. It is the one that is
    /// kept from then on: a key that was replaced, perhaps because it leaked, must not come back
    /// once the environment gives none.
    pub(super) async fn find(engine: &Engine, given: Option<&str>) -> Result<Self> {
        let store = engine.store();
        let kept = store.operator_key().await;
        let kept = kept.context("cannot read the operator's key from the store")?;
        if let Some(hash) = given.map(KeyHash::of) {
            if kept.as_ref() != Some(&hash) {
                let replaced = store.set_operator_key(hash).await;
                replaced.context("cannot keep the operator's key in the store")?;
            }
            engine.set_operator_key(hash);
            return Ok(Self::Known);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::Service;
    use crate::serve::tests::{Folder, settings};

    #[tokio::test]
    async fn a_key_from_the_environment_retires_the_one_before() {
        let folder = Folder::new("operator");
        let settings = settings(&folder);
        let first = Service::start(&settings, None).await.unwrap();
        let OperatorKey::New(made) = first.operator_key() else {
            panic!("a new store has no key");
        };
        let made = made.hash();
        first.stop().await;

        let own = "vk_admin_0123456789ABCDEFGHIJKLMNOPQRSTUV";
        let second = Service::start(&settings, Some(own.into())).await.unwrap();
        second.stop().await;

        let third = Service::start(&settings, None).await.unwrap();
        assert!(matches!(third.operator_key(), OperatorKey::Known));
        let kept = third.store.operator_key().await.unwrap();
        assert!(kept == Some(KeyHash::of(own)) && kept != Some(made));
        third.stop().await;
    }
}
