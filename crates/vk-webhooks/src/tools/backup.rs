//! Hides how a backup is asked for, stopped, and told about.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use store::{Backup, Stopper};

use crate::config::{Given, StorePlace, load_store_place};
use crate::serve::Signals;

/// What `backup` is given.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The file to make; it must not be there yet
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The database, as for serve
    #[arg(
        long,
        value_name = "URL",
        help = "The database, as for `serve`: sqlite:PATH [env: VK_WEBHOOKS_DATABASE_URL]"
    )]
    database_url: Option<String>,
    /// The settings file of the service, which may name the database
    #[arg(long, value_name = "FILE", env = "VK_WEBHOOKS_CONFIG")]
    config: Option<PathBuf>,
}

/// Makes the backup; what to tell about it.
pub(crate) async fn run(
    options: Options,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<String> {
    let given = Given {
        config: options.config,
        values: options
            .database_url
            .map(|url| ("database_url", vec![url]))
            .into_iter()
            .collect(),
    };
    let place = load_store_place(&given, environment)?;
    let (source, target) = (place.database.clone(), options.file.clone());
    let mut signals = Signals::watch()?;
    let stopper = Arc::new(Stopper::default());
    let stops = Arc::clone(&stopper);
    let begun = Instant::now();
    let mut copying =
        tokio::task::spawn_blocking(move || store::backup(&source, &target, &stopper));
    let copied = tokio::select! {
        copied = &mut copying => copied,
        _ = signals.next() => {
            stops.stop();
            copying.await
        }
    };
    let backup = copied.context("the backup panicked")??;
    Ok(told(&options.file, &place, &backup, begun.elapsed()))
}

fn told(file: &std::path::Path, place: &StorePlace, backup: &Backup, took: Duration) -> String {
    let key = match std::env::var_os("VK_WEBHOOKS_SECRETS_KEY") {
        Some(_) => "what is in VK_WEBHOOKS_SECRETS_KEY".to_owned(),
        None => format!("the key file {}", place.secrets_key_file.display()),
    };
    let plural = |count: u64, one: &str| match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {one}s"),
    };
    format!(
        "Backed up {} into {}: {:.1} MB in {:.1} s, with {} of {}. It is on disk, and was opened and checked. Keep \
         {key} too, in another place: without it nobody can start from this backup.",
        place.database.display(),
        file.display(),
        backup.bytes as f64 / 1e6,
        took.as_secs_f64(),
        plural(backup.events, "event"),
        plural(backup.teams, "team"),
    )
}
