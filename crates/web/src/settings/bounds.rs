//! Hides how often the pages answer, and how many keys that are not valid may be tried: what the API's limits are to
//! keys, these are to browsers.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use axum::extract::FromRequestParts;
use http::request::Parts;
use model::id::TeamId;
use model::rate::{Quota, RateLimit};
use model::time::Timestamp;

use super::answer::Trouble;
use crate::App;
use crate::WebOptions;
use crate::rate::{Rates, Windows};

/// Whose requests the operator's are: no team's.
const NO_TEAM: TeamId = TeamId(0);

/// How often pages were asked for and wrong keys tried.
pub(crate) struct Bounds {
    /// By the hash of a session's token.
    pages: Rates<[u8; 32]>,
    wrong_keys: Mutex<Windows<IpAddr>>,
}

impl Bounds {
    pub(crate) fn new(options: &WebOptions) -> Self {
        Self {
            pages: Rates::new(options.session_limit, options.team_pages_limit),
            wrong_keys: Mutex::new(Windows::new(options.wrong_key_limit)),
        }
    }

    /// Counts a request within a session, of a team's people or of the operator.
    pub(super) fn ask(
        &self,
        session: [u8; 32],
        team: Option<TeamId>,
        now: Timestamp,
    ) -> Result<(), Trouble> {
        let quota = self
            .pages
            .count(session, team.unwrap_or(NO_TEAM), true, now);
        within(
            quota,
            now,
            "These pages are asked for faster than anybody reads them, in this session or in all of your team's.",
        )
    }

    /// Whether somebody may try a key now. Nothing is counted.
    pub(super) fn may_try(&self, peer: Peer, now: Timestamp) -> Result<(), Trouble> {
        let mut quota = self.wrong_keys().look(peer.network(), now);
        quota.allowed = quota.remaining > 0;
        within(
            quota,
            now,
            "Too many keys that are not valid were tried from where you are. Links from your product work all \
             the same.",
        )
    }

    /// Counts a key that was not valid.
    pub(super) fn tried_in_vain(&self, peer: Peer, now: Timestamp) {
        self.wrong_keys().count(peer.network(), now);
    }

    fn wrong_keys(&self) -> std::sync::MutexGuard<'_, Windows<IpAddr>> {
        self.wrong_keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn within(quota: Quota, now: Timestamp, sentence: &'static str) -> Result<(), Trouble> {
    if quota.allowed {
        return Ok(());
    }
    Err(Trouble::TooMany {
        sentence,
        wait: quota.resets_at.since(now),
    })
}

/// Whose connection a request came by: behind a proxy the proxy's, so that all its clients count as one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

impl Peer {
    /// What one customer of a provider has: an IPv4 address, or 64 bits of IPv6.
    fn network(self) -> IpAddr {
        match self.0.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => {
                let bits = address.to_bits() & !u128::from(u64::MAX);
                IpAddr::V6(Ipv6Addr::from_bits(bits))
            }
        }
    }
}

impl FromRequestParts<App> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Infallible> {
        let known = parts.extensions.get::<Self>().copied();
        Ok(known.unwrap_or(Self(IpAddr::V4(Ipv4Addr::UNSPECIFIED))))
    }
}

/// How often pages may be asked for by default: within one session twenty times a second, which is more than the
/// pages' own script and somebody in a hurry come to.
pub(crate) const PER_SESSION: RateLimit = RateLimit::per_minute(1_200);
/// The same for all sessions of a team.
pub(crate) const PER_TEAM: RateLimit = RateLimit::per_minute(6_000);
/// How many keys that are not valid may be tried from an address by default.
pub(crate) const WRONG_KEYS: RateLimit = RateLimit::per_minute(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_as_much_as_one_customer_has() {
        for (address, network) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:db8:1:2::7", "2001:db8:1:2::"),
            ("2001:db8:1:3::7", "2001:db8:1:3::"),
        ] {
            let peer = Peer(address.parse().unwrap());
            assert_eq!(peer.network().to_string(), network, "{address}");
        }
    }
}
