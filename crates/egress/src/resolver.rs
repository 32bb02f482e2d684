//! Hides how a name becomes addresses: which name servers are asked, for how long, and what their
//! refusals mean.
//!
//! - `name_servers`: one look-up: which places it takes, who shares it, which answers are kept.
//! - `ask`: the servers are asked in order, and what they say becomes one verdict.
//! - `server`: one server: queries over UDP and TCP, and whether it answers at all.
//! - `system`: `/etc/resolv.conf` and `/etc/hosts`, read again when they change.

mod ask;
mod name_servers;
mod server;
mod system;

use std::net::IpAddr;

use crate::exchange::BoxFuture;

pub(crate) use name_servers::NameServers;

/// Name → addresses. The seam for tests of rebinding and stalls.
pub trait Resolver: Send + Sync + 'static {
    /// Every address of `host`, which is a name in lower case without a dot at its end.
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, ResolveError>>;

    /// Returns true while no name server answers anything. A look-up that is cut off by its
    /// caller's deadline meanwhile is a failure of this service's own.
    fn is_silent(&self) -> bool {
        false
    }
}

/// Why a name has no addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// There is no such name, or it has no address.
    #[error("the name does not exist")]
    NotFound,
    /// The name servers answered with an error.
    #[error("the name servers answered with an error: {0}")]
    Failed(String),
    /// This service has no socket left to ask with.
    #[error("this service has no socket left to ask the name servers with")]
    NoSocket,
    /// The name servers could not be asked: this service's own network gave the error.
    #[error("the name servers cannot be reached: {0}")]
    Unreachable(String),
    /// No name server answers anything at all, this name or another.
    #[error("none of the name servers answers")]
    Silent,
    /// The name servers are well, and did not answer for this name in time.
    #[error("the name servers did not answer in time")]
    Timeout,
}

impl ResolveError {
    /// Returns true if the cause is this service's own machine, network or name servers, and says
    /// nothing about the name.
    pub fn is_ours(&self) -> bool {
        match self {
            Self::NoSocket | Self::Unreachable(_) | Self::Silent => true,
            Self::NotFound | Self::Failed(_) | Self::Timeout => false,
        }
    }
}
