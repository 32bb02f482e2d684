//! Hides how many files the system lets us hold open: each connection is one.

use rustix::process::{Resource, getrlimit, setrlimit};
use tracing::{info, warn};

/// Fewer than this and a busy service runs out.
const COMFORTABLE: u64 = 4096;

/// Raises the soft limit to the hard one. It is low by default only for the sake of old programs
/// that use `select`.
pub(super) fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            info!("the limit of open files could not be raised: {error}");
            limit = getrlimit(Resource::Nofile);
        }
    }
    // None stands for "no limit".
    if let Some(most) = limit.current
        && most < COMFORTABLE
    {
        warn!(
            "the system lets this service open only {most} files, so about that many connections; \
             raise it, for example with LimitNOFILE=65536 in the systemd unit"
        );
    }
}
