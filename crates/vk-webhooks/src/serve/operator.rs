//! Hides where the operator's key comes from: the environment, the store, or made at first start.
//!
//! A new key is shown before it is kept. If the process ends in between, the key that was shown is worth
//! nothing and the next start shows another; the other way round there would be a key that nobody knows.

use std::io;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use engine::Engine;
use model::key::{KEY_LENGTH, KeyHash, NewKey, OPERATOR_KEY_PREFIX};
use store::{Store, StoreError};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::patiently::{NotNow, patiently};
use crate::logging;

/// The variable that brings the key.
const VARIABLE: &str = "VK_WEBHOOKS_ADMIN_KEY";

/// How long the start waits until a new key was shown; beyond, it goes on without one.
const SHOWN_WITHIN: Duration = Duration::from_secs(3);
/// How often it is tried to show one, where standard error refused it.
const SHOWN_AGAIN: Duration = Duration::from_secs(60);
/// How often it is tried to keep one that was shown.
const KEPT_AGAIN: Duration = Duration::from_secs(5);

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

/// A key that was made and is to be shown, or none yet.
pub(super) type Later = Option<Showing>;

/// A key on its way to the operator's eyes. Nobody can use it before it is kept.
pub(super) struct Showing {
    key: NewKey,
    shown: oneshot::Receiver<io::Result<()>>,
}

/// Sees that the store has the hash of the key in use: the given one, else the kept one, else a new one. It is
/// the one that is kept from then on: a key that was replaced, perhaps because it leaked, must not come back
/// once the environment gives none. Where a new one could not be shown, it is to be shown later.
pub(super) async fn find(store: &Store, given: Option<&str>) -> Result<Option<Later>> {
    let kept = patiently(async || {
        let kept = store.operator_key().await.map_err(not_now);
        kept.context("cannot read the operator's key from the store")
    });
    let kept = kept.await?;
    if let Some(hash) = given.map(KeyHash::of) {
        if kept != Some(hash) {
            patiently(async || keep(store, hash).await).await?;
        }
        return Ok(None);
    }
    if kept.is_some() {
        return Ok(None);
    }
    let mut showing = Showing::begin()?;
    match timeout(SHOWN_WITHIN, &mut showing.shown).await {
        Ok(Ok(Ok(()))) => {
            let hash = showing.key.hash();
            patiently(async || keep(store, hash).await).await?;
            Ok(None)
        }
        Ok(refused) => {
            not_shown(refused);
            Ok(Some(None))
        }
        Err(_) => {
            warn!(
                "standard error does not take the operator's new key; it is kept once it was shown"
            );
            Ok(Some(Some(showing)))
        }
    }
}

/// Shows a new key and keeps it, as soon as both are possible.
pub(super) async fn show_later(engine: Engine, later: Later) {
    let mut next = later;
    loop {
        let showing = match next.take() {
            Some(showing) => showing,
            None => {
                sleep(SHOWN_AGAIN).await;
                match Showing::begin() {
                    Ok(showing) => showing,
                    Err(error) => {
                        warn!("{error:#}; trying again");
                        continue;
                    }
                }
            }
        };
        match showing.shown.await {
            Ok(Ok(())) => return keep_at_last(&engine, showing.key.hash()).await,
            refused => not_shown(Ok(refused).and_then(|refused| refused)),
        }
    }
}

async fn keep_at_last(engine: &Engine, hash: KeyHash) {
    while let Err(error) = keep(engine.store(), hash).await {
        warn!("{error:#}; trying again");
        sleep(KEPT_AGAIN).await;
    }
    engine.set_operator_key(hash);
}

async fn keep(store: &Store, hash: KeyHash) -> Result<()> {
    let kept = store.set_operator_key(hash).await.map_err(not_now);
    kept.context("cannot keep the operator's key in the store")
}

/// What the store cannot do now, it may do later.
fn not_now(error: StoreError) -> anyhow::Error {
    match error {
        StoreError::Unavailable(_) | StoreError::Overloaded => NotNow(error.to_string()).into(),
        error => error.into(),
    }
}

fn not_shown(refused: Result<io::Result<()>, oneshot::error::RecvError>) {
    let why = match refused {
        Ok(Err(error)) => error.to_string(),
        _ => "it was dropped".to_owned(),
    };
    warn!(
        "no operator's key was made, because standard error did not take it ({why}), so nobody can use the API \
         yet. It is tried again every {} s; start the service with a standard error that somebody reads, or \
         bring a key of your own in {VARIABLE}",
        SHOWN_AGAIN.as_secs()
    );
}

impl Showing {
    /// Makes a key and has it shown. Not through the log, which is kept and sent around.
    fn begin() -> Result<Self> {
        let key = engine::new_operator_key().context("cannot make the operator's key")?;
        let shown = logging::show(&format!(
            "\nThis is the operator's key. It may do everything, and is shown only this once:\
             \n\n    {}\n\nKeep it safe; send it as `Authorization: Bearer …`. To use a key of \
             your own instead, set {VARIABLE}.\n\n",
            key.text()
        ));
        Ok(Self { key, shown })
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
        let made = engine::new_operator_key().unwrap();
        let first = Service::start(&settings, Some(made.text().into()))
            .await
            .unwrap();
        first.stop(Duration::ZERO).await;

        let own = "vk_admin_0123456789ABCDEFGHIJKLMNOPQRSTUV";
        let second = Service::start(&settings, Some(own.into())).await.unwrap();
        second.stop(Duration::ZERO).await;

        let third = Service::start(&settings, None).await.unwrap();
        assert!(third.showing_key.is_none(), "there is one");
        let kept = third.store.operator_key().await.unwrap();
        assert!(kept == Some(KeyHash::of(own)) && kept != Some(made.hash()));
        third.stop(Duration::ZERO).await;
    }

    #[tokio::test]
    async fn a_key_that_cannot_be_shown_is_not_kept() {
        let folder = Folder::new("unshown");
        // Logging has not started here, so nothing takes the key.
        let service = Service::start(&settings(&folder), None).await.unwrap();
        assert!(service.showing_key.is_some());
        assert_eq!(service.store.operator_key().await.unwrap(), None);
        service.stop(Duration::ZERO).await;
    }
}
