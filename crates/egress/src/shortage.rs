//! Hides which errors of system calls are trouble of this service's own machine, how the machine is
//! asked for its routes, and how trouble is reported to the operator.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tracing::warn;

/// How long the log is quiet about a kind of trouble after a warning: every attempt fails the same
/// way meanwhile.
const QUIET: Duration = Duration::from_secs(60);

/// What this service's own machine lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shortage {
    /// Open files.
    Files,
    /// Local ports for one more connection to an address.
    Ports,
    /// Memory or tables of the system's network.
    Memory,
    /// A permission: a firewall or a security module of this machine refuses.
    Permission,
    /// A network: it is down, or nothing outside has a route.
    Network,
}

impl Shortage {
    /// What `error` of a system call says that this machine lacks. The one list of them. Errors that
    /// came by the network are not to be given here.
    pub(crate) fn of(error: &io::Error) -> Option<Self> {
        Some(match Errno::from_io_error(error)? {
            Errno::MFILE | Errno::NFILE => Self::Files,
            // Also by `bind`, where it chooses a port itself.
            Errno::ADDRNOTAVAIL | Errno::ADDRINUSE => Self::Ports,
            // AGAIN and NOSPC: the tables of routes and of watched files are full.
            Errno::NOBUFS | Errno::NOMEM | Errno::AGAIN | Errno::NOSPC => Self::Memory,
            Errno::PERM | Errno::ACCESS => Self::Permission,
            Errno::NETDOWN => Self::Network,
            _ => return None,
        })
    }

    /// Whether it may pass with the load, or hits one family of addresses for good.
    pub(crate) fn passes(self) -> bool {
        matches!(self, Self::Files | Self::Ports | Self::Memory)
    }

    /// What is wrong, as the end of a sentence that begins with "attempts fail because".
    fn cause(self) -> &'static str {
        match self {
            Self::Files => "this service has too many open files",
            Self::Ports => "this machine has no local port left for another connection",
            Self::Memory => "this machine has no memory left for another connection",
            Self::Permission => "this machine does not permit the connection",
            Self::Network => "this machine's network is down, or has no route to the outside",
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Self::Files => {
                "raise the limit, for example with LimitNOFILE=65536 in the systemd unit"
            }
            Self::Ports => {
                "widen net.ipv4.ip_local_port_range (sysctl), give the machine more addresses, or lower \
                 the number of attempts in flight"
            }
            Self::Memory => {
                "look at the machine's free memory, net.ipv4.tcp_mem and fs.epoll.max_user_watches \
                 (sysctl)"
            }
            Self::Permission => {
                "look at its rules for outgoing connections: the firewall, IPAddressDeny= in the systemd \
                 unit, SELinux or AppArmor"
            }
            Self::Network => {
                "look at its interfaces and its default route (ip link, ip route, ip -6 route)"
            }
        }
    }

    /// Tells the operator, at most once a minute for each kind.
    pub(crate) fn report(self, error: &dyn std::fmt::Display) {
        let sentence = format!(
            "attempts fail because {} ({error}); {}. No receiver is blamed for it",
            self.cause(),
            self.remedy()
        );
        warn_once_a_minute(self.cause(), &sentence);
    }
}

/// Whether `error` says that this service may not open another socket. Then it is logged, once a
/// minute at most.
pub(crate) fn is_ours(error: &io::Error) -> bool {
    let shortage = Shortage::of(error);
    if let Some(shortage) = shortage {
        shortage.report(error);
    }
    shortage.is_some()
}

/// Which families of addresses this machine has a route to the outside for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Routes {
    pub(crate) v4: bool,
    pub(crate) v6: bool,
}

impl Routes {
    /// Asks the system. To connect a UDP socket looks for a route and sends nothing.
    pub(crate) fn now() -> Self {
        // Any public addresses will do: these are of root name servers (a and k).
        let v4 = Ipv4Addr::new(198, 41, 0, 4);
        let v6 = Ipv6Addr::new(0x2001, 0x7fd, 0, 0, 0, 0, 0, 1);
        Self {
            v4: has_route(v4.into()),
            v6: has_route(v6.into()),
        }
    }

    pub(crate) fn none(self) -> bool {
        !self.v4 && !self.v6
    }

    pub(crate) fn reach(self, address: &SocketAddr) -> bool {
        match address {
            SocketAddr::V4(_) => self.v4,
            SocketAddr::V6(_) => self.v6,
        }
    }
}

/// Whether this machine knows a way to `to`. Only an answer of the routing table counts: where there is no
/// socket to ask with, there may be one.
pub(crate) fn has_route(to: IpAddr) -> bool {
    let from: IpAddr = match to {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let connected = UdpSocket::bind((from, 0)).and_then(|socket| socket.connect((to, 53)));
    !connected.is_err_and(|error| is_no_route(&error))
}

/// Whether `error` of a system call, not of the network, says that there is no route or no such family
/// here. Where a family is switched off, the system has no address of it to send from.
pub(crate) fn is_no_route(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT)
    )
}

/// Whether `error` says that the system has no address, or no port of one, to send from.
pub(crate) fn is_no_address(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::ADDRNOTAVAIL)
}

/// Logs `sentence`, unless one of the same kind was logged less than a minute ago.
pub(crate) fn warn_once_a_minute(kind: &'static str, sentence: &str) {
    static SAID: Mutex<BTreeMap<&str, Instant>> = Mutex::new(BTreeMap::new());
    // A panic while the lock was held leaves at worst one warning more.
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    let mut last = said.get(kind).copied();
    if is_due(&mut last, Instant::now()) {
        warn!("{sentence}");
    }
    if let Some(last) = last {
        said.insert(kind, last);
    }
}

fn is_due(said: &mut Option<Instant>, now: Instant) -> bool {
    let due = said.is_none_or(|said| now.duration_since(said) >= QUIET);
    if due {
        *said = Some(now);
    }
    due
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_machine_lacks_is_ours_and_what_the_other_says_is_not() {
        use Shortage::{Files, Memory, Network, Permission, Ports};
        for (number, expected) in [
            (Errno::MFILE, Some(Files)),
            (Errno::NFILE, Some(Files)),
            (Errno::ADDRNOTAVAIL, Some(Ports)),
            (Errno::ADDRINUSE, Some(Ports)),
            (Errno::NOBUFS, Some(Memory)),
            (Errno::NOMEM, Some(Memory)),
            (Errno::AGAIN, Some(Memory)),
            (Errno::NOSPC, Some(Memory)),
            (Errno::PERM, Some(Permission)),
            (Errno::ACCESS, Some(Permission)),
            (Errno::NETDOWN, Some(Network)),
            (Errno::CONNREFUSED, None),
            (Errno::CONNRESET, None),
            (Errno::TIMEDOUT, None),
            (Errno::HOSTUNREACH, None),
            (Errno::NETUNREACH, None),
        ] {
            let error = io::Error::from(number);
            assert_eq!(Shortage::of(&error), expected, "{number}");
            assert_eq!(is_ours(&error), expected.is_some(), "{number}");
        }
        assert!(!is_ours(&io::ErrorKind::ConnectionRefused.into()));
    }

    #[test]
    fn it_is_said_once_a_minute() {
        let (mut said, start) = (None, Instant::now());
        let due = [0, 1, 59, 60, 61, 119, 120]
            .map(|second| is_due(&mut said, start + Duration::from_secs(second)));
        assert_eq!(due, [true, false, false, true, false, false, true]);
    }
}
