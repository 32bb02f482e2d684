//! Hides how who starts the service for the first time is led to the page that makes the first team.

use anyhow::{Result, anyhow};
use engine::Engine;

use crate::logging;

/// Tells the link, where there is no team yet. Not through the log, which is kept and sent around: who has
/// the link gets in.
pub(super) async fn announce(engine: &Engine, public_url: Option<&str>) -> Result<()> {
    let path = web::first_run_link(engine).await;
    let path = path.map_err(|error| anyhow!("cannot look for the first team: {error}"))?;
    if let Some(path) = path {
        let base = public_url.map_or("http://<this machine's address and port>", |url| {
            url.trim_end_matches('/')
        });
        logging::say(&format!(
            "\nThere is no team yet. This page makes the first one; it works once, within a day:\
             \n\n    {base}{path}\n\nYour product makes the others with POST /v1/teams.\n\n"
        ));
    }
    Ok(())
}
