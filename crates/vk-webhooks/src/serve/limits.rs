//! Hides how many files the system lets us hold open: each connection is one.

use egress::EgressOptions;
use rustix::process::{Resource, getrlimit, setrlimit};
use tracing::{info, warn};

use crate::config::Settings;

/// How many sockets one attempt may hold: two while its name is looked up, one afterwards.
const SOCKETS_PER_ATTEMPT: u64 = 2;
/// Files beside connections: the database, its log and their readers, the runtime, the standard
/// streams.
const RESERVE: u64 = 128;

/// Raises the soft limit to the hard one, and warns where that is less than these settings can
/// need. The soft one is low by default only for the sake of old programs that use `select`.
pub(super) fn raise_open_files(settings: &Settings, egress: &EgressOptions) {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            info!("the limit of open files could not be raised: {error}");
            limit = getrlimit(Resource::Nofile);
        }
    }
    let needed = needed(
        settings.max_in_flight,
        egress.max_idle,
        settings.max_connections,
    );
    // None stands for "no limit".
    if let Some(most) = limit.current
        && most < needed
    {
        warn!(
            "the system lets this service open only {most} files, and with these settings it may \
             need {needed}; raise it, for example with LimitNOFILE=65536 in the systemd unit, or \
             lower max_in_flight and max_connections"
        );
    }
}

/// How many files may be open when everything is used that the settings allow.
fn needed(max_in_flight: usize, max_idle: usize, max_connections: usize) -> u64 {
    let count = |number| u64::try_from(number).unwrap_or(u64::MAX);
    count(max_in_flight)
        .saturating_mul(SOCKETS_PER_ATTEMPT)
        .saturating_add(count(max_idle))
        .saturating_add(count(max_connections))
        .saturating_add(RESERVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_follows_from_the_settings() {
        assert_eq!(needed(2048, 1024, 4096), 2 * 2048 + 1024 + 4096 + RESERVE);
        assert_eq!(needed(usize::MAX, usize::MAX, 1), u64::MAX);
    }
}
