//! Hides what the tries of one connect, each at its own address, come to together: whose fault it is,
//! and which cause is told.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use crate::shortage::{Routes, Shortage, has_route, is_no_address, is_no_route};

/// The addresses that a connect tried, in order.
#[derive(Debug, Default)]
pub(crate) struct Tries(Vec<Try>);

#[derive(Debug)]
struct Try {
    address: SocketAddr,
    /// Why it failed; `None` while it lasts.
    error: Option<io::Error>,
    /// Whether this machine has a route to it, where the error leaves that open: the system says "no
    /// address" both where a family is switched off and where all ports are in use.
    has_route: bool,
    connected: bool,
}

/// What a connect that failed is told as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The receiver's machine refused.
    Refused,
    /// The receiver's machine reset the connection while it was made.
    Reset,
    /// Nobody answered in time.
    Silent,
    /// Something else went wrong on the way.
    Other,
    /// The network says that the receiver's machine cannot be reached.
    NoRoute,
    /// The receiver has addresses of one family only, and this machine has no route for it.
    NoFamily {
        /// Whether it is IPv6.
        v6: bool,
    },
    /// The receiver was not reached because of this machine.
    Ours(Shortage),
}

/// What one try says. In order of how much it says of the receiver: the first is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    Refused,
    Reset,
    Silent,
    Other,
    NoRoute,
    Ours,
    NoFamily,
}

impl Tries {
    /// Begins a try; its number ends it.
    pub(crate) fn begin(&mut self, address: SocketAddr) -> usize {
        self.0.push(Try {
            address,
            error: None,
            has_route: false,
            connected: false,
        });
        self.0.len() - 1
    }

    pub(crate) fn failed(&mut self, number: usize, error: io::Error) {
        let ask = |one: &Try| is_no_address(&error) && has_route(one.address.ip());
        let has_route = self.0.get(number).is_some_and(ask);
        self.record(number, error, has_route);
    }

    fn record(&mut self, number: usize, error: io::Error, has_route: bool) {
        if let Some(one) = self.0.get_mut(number) {
            one.error = Some(error);
            one.has_route = has_route;
        }
    }

    /// A try connected, and is none of those without success any more.
    pub(crate) fn won(&mut self, number: usize) -> Option<SocketAddr> {
        let won = self.0.get_mut(number)?;
        won.connected = true;
        Some(won.address)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The addresses that were tried without success.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let failed = self.0.iter().filter(|one| !one.connected);
        failed.map(|one| one.address)
    }

    /// What they come to, and the address that stands for it.
    pub(crate) fn verdict(&self) -> (Verdict, Option<SocketAddr>) {
        let lacks = |one: &Try| one.error.as_ref().is_some_and(is_no_route);
        let routes = match self.0.iter().any(lacks) {
            true => Routes::now(),
            false => Routes { v4: true, v6: true },
        };
        self.verdict_with(routes)
    }

    fn verdict_with(&self, routes: Routes) -> (Verdict, Option<SocketAddr>) {
        let causes = || self.0.iter().map(|one| (one.cause(routes), one));
        // The first of those that say most.
        let Some((cause, told)) = causes().min_by_key(|(cause, _)| *cause) else {
            return (Verdict::Other, None);
        };
        let reached = matches!(cause, Cause::Refused | Cause::Reset);
        // Where an address could not be tried for lack of something, and no other one was reached, nobody
        // knows whether the receiver would have been. What holds for one family for good is no excuse
        // where another address was tried and is dead: its deliveries would wait for ever.
        let ours = causes().find_map(|(_, one)| {
            let shortage = one.shortage(routes)?;
            let all = matches!(cause, Cause::Ours | Cause::NoFamily);
            (!reached && (shortage.passes() || all)).then_some((shortage, one.address))
        });
        if let Some((shortage, address)) = ours {
            return (Verdict::Ours(shortage), Some(address));
        }
        let verdict = match cause {
            Cause::Refused => Verdict::Refused,
            Cause::Reset => Verdict::Reset,
            Cause::Silent => Verdict::Silent,
            Cause::Other | Cause::Ours => Verdict::Other,
            Cause::NoRoute => Verdict::NoRoute,
            Cause::NoFamily if routes.none() => Verdict::Ours(Shortage::Network),
            Cause::NoFamily => Verdict::NoFamily {
                v6: told.address.is_ipv6(),
            },
        };
        (verdict, Some(told.address))
    }
}

impl Try {
    fn cause(&self, routes: Routes) -> Cause {
        use io::ErrorKind::{
            ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable, TimedOut,
        };
        let Some(error) = &self.error else {
            return Cause::Silent;
        };
        if is_no_route(error) && !self.has_route && !routes.reach(&self.address) {
            return Cause::NoFamily;
        }
        if Shortage::of(error).is_some() {
            return Cause::Ours;
        }
        match error.kind() {
            ConnectionRefused => Cause::Refused,
            ConnectionReset => Cause::Reset,
            TimedOut => Cause::Silent,
            NetworkUnreachable | HostUnreachable => Cause::NoRoute,
            _ => Cause::Other,
        }
    }

    fn shortage(&self, routes: Routes) -> Option<Shortage> {
        match self.cause(routes) {
            Cause::Ours => Shortage::of(self.error.as_ref()?),
            _ => None,
        }
    }
}

/// Each address with its own cause, for the operator.
impl fmt::Display for Tries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, one) in self.0.iter().enumerate() {
            let comma = if number == 0 { "" } else { "; " };
            match &one.error {
                Some(error) => write!(f, "{comma}{}: {error}", one.address)?,
                None => write!(f, "{comma}{}: no answer so far", one.address)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    const V4: &str = "192.0.2.1:443";
    const V4B: &str = "192.0.2.2:443";
    const V6: &str = "[2001:db8::1]:443";

    fn tries(all: &[(&str, Option<Errno>)]) -> Tries {
        let mut tries = Tries::default();
        for (address, errno) in all {
            let number = tries.begin(address.parse().unwrap());
            if let Some(errno) = errno {
                tries.record(number, io::Error::from(*errno), false);
            }
        }
        tries
    }

    #[test]
    fn where_all_ports_are_in_use_there_may_be_no_route_to_the_outside() {
        let mut tries = Tries::default();
        let number = tries.begin("127.0.0.1:443".parse().unwrap());
        tries.failed(number, Errno::ADDRNOTAVAIL.into());
        let none = Routes {
            v4: false,
            v6: false,
        };
        assert_eq!(tries.verdict_with(none).0, Verdict::Ours(Shortage::Ports));
    }

    #[test]
    fn what_is_told_is_what_says_most_and_ours_only_where_the_receiver_was_not_reached() {
        use Errno as E;
        use Shortage::{Files, Network, Permission, Ports};
        let both = Routes { v4: true, v6: true };
        let only_v4 = Routes {
            v4: true,
            v6: false,
        };
        let none = Routes {
            v4: false,
            v6: false,
        };
        let no_v6 = Verdict::NoFamily { v6: true };
        for (all, routes, verdict, told) in [
            // One address.
            (
                &[(V4, Some(E::CONNREFUSED))][..],
                both,
                Verdict::Refused,
                V4,
            ),
            (&[(V4, Some(E::CONNRESET))], both, Verdict::Reset, V4),
            (&[(V4, Some(E::TIMEDOUT))], both, Verdict::Silent, V4),
            (&[(V4, None)], both, Verdict::Silent, V4),
            (&[(V4, Some(E::HOSTUNREACH))], both, Verdict::NoRoute, V4),
            (&[(V4, Some(E::NETUNREACH))], both, Verdict::NoRoute, V4),
            (&[(V4, Some(E::INVAL))], both, Verdict::Other, V4),
            (
                &[(V4, Some(E::ADDRNOTAVAIL))],
                both,
                Verdict::Ours(Ports),
                V4,
            ),
            (&[(V4, Some(E::MFILE))], both, Verdict::Ours(Files), V4),
            (&[(V4, Some(E::PERM))], both, Verdict::Ours(Permission), V4),
            (
                &[(V4, Some(E::NETUNREACH))],
                none,
                Verdict::Ours(Network),
                V4,
            ),
            (&[(V4, Some(E::NETDOWN))], both, Verdict::Ours(Network), V4),
            (&[(V6, Some(E::NETUNREACH))], only_v4, no_v6, V6),
            (&[(V6, Some(E::ADDRNOTAVAIL))], only_v4, no_v6, V6),
            (&[(V6, Some(E::AFNOSUPPORT))], only_v4, no_v6, V6),
            // A refusal is an answer, whatever became of the others.
            (
                &[(V6, Some(E::NETUNREACH)), (V4, Some(E::CONNREFUSED))],
                only_v4,
                Verdict::Refused,
                V4,
            ),
            (
                &[(V4, Some(E::HOSTUNREACH)), (V4B, Some(E::CONNREFUSED))],
                both,
                Verdict::Refused,
                V4B,
            ),
            (
                &[(V4, Some(E::ADDRNOTAVAIL)), (V4B, Some(E::CONNREFUSED))],
                both,
                Verdict::Refused,
                V4B,
            ),
            (
                &[(V4, Some(E::CONNREFUSED)), (V4B, None)],
                both,
                Verdict::Refused,
                V4,
            ),
            // Of two causes alike the first is told.
            (
                &[(V4, Some(E::TIMEDOUT)), (V4B, None)],
                both,
                Verdict::Silent,
                V4,
            ),
            // Nobody was reached, and one could not be tried.
            (
                &[(V4, Some(E::ADDRNOTAVAIL)), (V4B, Some(E::TIMEDOUT))],
                both,
                Verdict::Ours(Ports),
                V4,
            ),
            (
                &[(V4, None), (V4B, Some(E::NOBUFS))],
                both,
                Verdict::Ours(Shortage::Memory),
                V4B,
            ),
            (
                &[(V4, Some(E::ADDRNOTAVAIL)), (V6, Some(E::NETUNREACH))],
                only_v4,
                Verdict::Ours(Ports),
                V4,
            ),
            // A firewall that forbids one family, and a receiver that is dead by the other.
            (
                &[(V6, Some(E::ACCESS)), (V4, Some(E::TIMEDOUT))],
                both,
                Verdict::Silent,
                V4,
            ),
            (
                &[(V6, Some(E::ACCESS)), (V4, Some(E::PERM))],
                both,
                Verdict::Ours(Permission),
                V6,
            ),
            (
                &[(V4, Some(E::NETUNREACH)), (V6, Some(E::NETUNREACH))],
                none,
                Verdict::Ours(Network),
                V4,
            ),
            (
                &[(V4, Some(E::TIMEDOUT)), (V6, Some(E::NETUNREACH))],
                only_v4,
                Verdict::Silent,
                V4,
            ),
        ] {
            let (got, address) = tries(all).verdict_with(routes);
            let address = address.unwrap().to_string();
            assert_eq!((got, address.as_str()), (verdict, told), "{all:?}");
        }
        assert_eq!(Tries::default().verdict(), (Verdict::Other, None));
    }

    #[test]
    fn the_operator_reads_each_address_with_its_own_cause() {
        let all = tries(&[
            (V4, Some(Errno::CONNREFUSED)),
            (V6, Some(Errno::NETUNREACH)),
            (V4B, None),
        ]);
        let text = all.to_string();
        let parts: Vec<&str> = text.split("; ").collect();
        assert!(
            parts[0].starts_with(V4) && parts[0].contains("refused"),
            "{text}"
        );
        assert!(
            parts[1].starts_with(V6) && parts[1].contains("unreachable"),
            "{text}"
        );
        assert!(
            parts[2].starts_with(V4B) && parts[2].contains("no answer"),
            "{text}"
        );
    }
}
