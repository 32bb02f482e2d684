//! Hides how who starts the service for the first time is led to the page that makes the first team.

use std::time::Duration;

use engine::Engine;
use tokio::task::JoinHandle;
use tracing::warn;

use crate::logging;

/// How long to wait before the store is asked again.
const ASKED_AGAIN: Duration = Duration::from_secs(5);

/// Shows the link, where there is no team yet. Where the store cannot make one now, as while another program holds its
/// lock, that is no reason not to start: it is tried again by the task that is returned.
pub(super) async fn lead(engine: &Engine, public_url: Option<&str>) -> Option<JoinHandle<()>> {
    let error = announce(engine, public_url).await.err()?;
    warn!(
        "cannot look for the first team yet: {error}. The link to the page that makes it, where there is none, is shown \
         as soon as the store can make one"
    );
    let (engine, public_url) = (engine.clone(), public_url.map(str::to_owned));
    Some(tokio::spawn(async move {
        loop {
            tokio::time::sleep(ASKED_AGAIN).await;
            if announce(&engine, public_url.as_deref()).await.is_ok() {
                return;
            }
        }
    }))
}

/// Shows the link, where there is no team yet. Not through the log, which is kept and sent around: who has
/// the link gets in.
async fn announce(engine: &Engine, public_url: Option<&str>) -> Result<(), String> {
    let Some(path) = web::first_run_link(engine).await? else {
        return Ok(());
    };
    let base = public_url.map_or("http://<this machine's address and port>", |url| {
        url.trim_end_matches('/')
    });
    logging::say(&format!(
        "\nThere is no team yet. This page makes the first one; it works once, within a day:\
         \n\n    {base}{path}\n\nYour product makes the others with POST /v1/teams.\n\n"
    ));
    Ok(())
}
