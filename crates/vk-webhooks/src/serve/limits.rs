//! Hides what the system grants us: how many files we may hold open, each connection being one, and in
//! what pieces it gives memory.

use egress::EgressOptions;
use rustix::process::{Resource, getrlimit, setrlimit};
use tracing::{info, warn};

use crate::config::Settings;

/// How many sockets one attempt may hold: two while its name is looked up, one afterwards.
const SOCKETS_PER_ATTEMPT: u64 = 2;
/// Files beside connections: the database, its log and their readers, the runtime, the standard
/// streams.
const RESERVE: u64 = 128;
/// No kind of place gets fewer than this, however low the limit.
const FEWEST: usize = 8;

/// How many connections of each kind there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Places {
    /// Attempts under way, in all.
    pub(super) in_flight: usize,
    pub(super) in_flight_per_team: usize,
    pub(super) in_flight_per_endpoint: usize,
    /// Connections kept alive to receivers.
    pub(super) idle: usize,
    /// Connections at the door.
    pub(super) connections: usize,
}

/// The places that the settings grant, or fewer where the system does not let us open so many files: then
/// each kind gets its share, so that attempts cannot take the last file from the door, nor the other way
/// round. Raises the soft limit to the hard one before: it is low by default only for the sake of old
/// programs that use `select`.
pub(super) fn places(settings: &Settings, egress: &EgressOptions) -> Places {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            info!("the limit of open files could not be raised: {error}");
            limit = getrlimit(Resource::Nofile);
        }
    }
    let granted = Places::granted(settings, egress);
    // None stands for "no limit".
    let places = limit.current.map_or(granted, |most| granted.within(most));
    if places != granted {
        warn!(
            "the system lets this service open only {} files, and with these settings it may need \
             {}: it makes {} attempts at a time and serves {} connections. Raise the limit, for example \
             with LimitNOFILE=65536 in the systemd unit, or lower max_in_flight and max_connections",
            limit.current.unwrap_or(u64::MAX),
            granted.files(),
            places.in_flight,
            places.connections,
        );
    }
    places
}

/// Has the system give memory by the page. A buffer that is touched here and there in a huge page (2 MB)
/// would have all of it: half of what a busy service has in use, and two thirds of what an idle one has,
/// for no gain in speed (docs/performance.md).
///
/// # Errors
/// Where the system does not let us, which costs memory and nothing else.
pub(super) fn keep_pages_small() -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::thread::disable_transparent_huge_pages(true)?;
    Ok(())
}

impl Places {
    /// What the settings grant.
    fn granted(settings: &Settings, egress: &EgressOptions) -> Self {
        Self {
            in_flight: settings.max_in_flight,
            in_flight_per_team: settings.max_in_flight_per_team,
            in_flight_per_endpoint: settings.max_in_flight_per_endpoint,
            idle: egress.max_idle,
            connections: settings.max_connections,
        }
    }

    /// How many files may be open when every place is taken.
    fn files(&self) -> u64 {
        let count = |number| u64::try_from(number).unwrap_or(u64::MAX);
        count(self.in_flight)
            .saturating_mul(SOCKETS_PER_ATTEMPT)
            .saturating_add(count(self.idle))
            .saturating_add(count(self.connections))
            .saturating_add(RESERVE)
    }

    /// These places, where they need no more than so many files; else fewer: half of the files for
    /// attempts, a quarter for what is kept alive, a quarter for the door.
    fn within(self, most: u64) -> Self {
        if self.files() <= most {
            return self;
        }
        let quarter = most.saturating_sub(RESERVE) / 4;
        let at_most = |granted: usize, share: u64| {
            let share = usize::try_from(share).unwrap_or(usize::MAX);
            granted.min(share.max(FEWEST))
        };
        let in_flight = at_most(self.in_flight, 2 * quarter / SOCKETS_PER_ATTEMPT);
        Self {
            in_flight,
            // One team, or one endpoint, still cannot take all of them.
            in_flight_per_team: self.in_flight_per_team.min((in_flight / 2).max(1)),
            in_flight_per_endpoint: self.in_flight_per_endpoint.min((in_flight / 4).max(1)),
            idle: at_most(self.idle, quarter),
            connections: at_most(self.connections, quarter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    const DEFAULTS: Places = Places {
        in_flight: 2048,
        in_flight_per_team: 512,
        in_flight_per_endpoint: 64,
        idle: 1024,
        connections: 2048,
    };

    #[test]
    fn places_need_no_more_files_than_there_are() {
        let settings = config::load(&config::Given::default(), std::iter::empty()).unwrap();
        let granted = Places::granted(&settings, &EgressOptions::default());
        assert_eq!(granted, DEFAULTS);
        assert_eq!(DEFAULTS.files(), 2 * 2048 + 1024 + 2048 + RESERVE);
        for most in [200, 256, 1024, 4096, 9000, 1 << 20] {
            let places = DEFAULTS.within(most);
            assert!(places.files() <= most, "{most}: {places:?}");
            assert_eq!(places == DEFAULTS, most >= DEFAULTS.files(), "{most}");
        }
        let few = DEFAULTS.within(256);
        let expected = Places {
            in_flight: 32,
            in_flight_per_team: 16,
            in_flight_per_endpoint: 8,
            idle: 32,
            connections: 32,
        };
        assert_eq!(few, expected);
        assert_eq!(DEFAULTS.within(0).connections, FEWEST);
        let modest = Places {
            in_flight: 4,
            connections: 100,
            ..DEFAULTS
        };
        let within = modest.within(256);
        assert_eq!(
            (within.in_flight, within.connections),
            (4, 32),
            "never more"
        );
        let endless = Places {
            in_flight: usize::MAX,
            ..DEFAULTS
        };
        assert_eq!(endless.files(), u64::MAX);
    }
}
