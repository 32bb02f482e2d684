//! Hides in which order the name servers are asked, and what their answers and failures come to
//! together.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::ResolveError;
use super::server::{Server, Trouble};
use crate::shortage;

/// A server that did not answer for so long is joined by the next one.
const PATIENCE: Duration = Duration::from_millis(1500);
/// As [`PATIENCE`], with a server that does not answer its probe either.
const PATIENCE_WITH_SILENT: Duration = Duration::from_millis(300);
/// Once the servers that did not answer leave their probes unanswered too, they are given up after
/// so long.
const GIVEN_UP_SILENT: Duration = Duration::from_secs(2);
/// How often the servers that did not answer yet are looked at.
const TICK: Duration = Duration::from_millis(150);
/// A server that refuses is asked once more after this wait: dnsmasq refuses what is too much at once.
const REFUSED_WAIT: Duration = Duration::from_millis(250);
/// How long a server that only says errors has to show that it can resolve anything.
const PROBE_BUDGET: Duration = Duration::from_secs(1);
/// Once one family's addresses are there, how long the other's are waited for (RFC 8305, section 3).
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);
/// How many aliases are followed that a server leaves to us.
const ALIASES_MAX: usize = 8;

/// Addresses, and for how long they may be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) ttl: Duration,
}

/// How one server stands at the end of a query that had no useful answer.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// This service had no socket left to ask it with.
    NoSocket,
    /// The system gave an error.
    Unreachable(String),
    /// It answers nothing.
    Silent,
    /// It answers, but did not answer this query.
    Unanswered,
    /// It answered with an error; `useful` says whether it can resolve anything.
    Error { what: String, useful: bool },
}

/// The addresses of both families. One family's are enough.
pub(super) async fn addresses(
    servers: &[Arc<Server>],
    name: &Name,
    until: Instant,
) -> Result<Found, ResolveError> {
    let v4 = family(servers, name, RecordType::A, until);
    let v6 = family(servers, name, RecordType::AAAA, until);
    tokio::pin!(v4, v6);
    let (first, second) = tokio::select! {
        first = &mut v4 => match first {
            Ok(_) => (first, timeout(RESOLUTION_DELAY, v6).await.unwrap_or(Err(ResolveError::Timeout))),
            Err(_) => (first, v6.await),
        },
        first = &mut v6 => match first {
            Ok(_) => (timeout(RESOLUTION_DELAY, v4).await.unwrap_or(Err(ResolveError::Timeout)), first),
            Err(_) => (v4.await, first),
        },
    };
    both(first, second)
}

/// What the answers for both families come to. One family's addresses are enough; but that there are
/// none is known only where both answers say so.
fn both(
    v4: Result<Found, ResolveError>,
    v6: Result<Found, ResolveError>,
) -> Result<Found, ResolveError> {
    match (v4, v6) {
        (Ok(v4), Ok(v6)) => Ok(Found {
            addresses: [v4.addresses, v6.addresses].concat(),
            ttl: v4.ttl.min(v6.ttl),
        }),
        (Ok(found), Err(_)) | (Err(_), Ok(found)) => Ok(found),
        // A trouble of our own says nothing of the name.
        (Err(error), _) | (_, Err(error)) if error.is_ours() => Err(error),
        (Err(ResolveError::NotFound), Err(error)) | (Err(error), Err(_)) => Err(error),
    }
}

/// The addresses of one family; a name without any is [`ResolveError::NotFound`].
async fn family(
    servers: &[Arc<Server>],
    name: &Name,
    of: RecordType,
    until: Instant,
) -> Result<Found, ResolveError> {
    let mut name = name.clone();
    let mut ttl = Duration::MAX;
    for _ in 0..=ALIASES_MAX {
        let answer = first_answer(servers, &name, of, until).await?;
        let said = read(&answer, &name);
        ttl = ttl.min(said.ttl);
        if !said.addresses.is_empty() {
            let addresses = said.addresses;
            return Ok(Found { addresses, ttl });
        }
        let complete = answer.metadata.response_code == ResponseCode::NXDomain
            || !answer.authorities.is_empty()
            || said.owner == name;
        if complete {
            break;
        }
        name = said.owner;
    }
    Err(ResolveError::NotFound)
}

/// What an answer says of a name.
struct Said {
    /// The name at the end of its aliases.
    owner: Name,
    addresses: Vec<IpAddr>,
    ttl: Duration,
}

/// Follows the aliases in `answer`; records of any other name are not looked at.
fn read(answer: &Message, name: &Name) -> Said {
    let mut owner = name.clone();
    let mut ttl = u32::MAX;
    for _ in 0..answer.answers.len() {
        let of_owner = answer.answers.iter().filter(|record| record.name == owner);
        let alias = of_owner.into_iter().find_map(|record| match &record.data {
            RData::CNAME(target) => Some((target.0.clone(), record.ttl)),
            _ => None,
        });
        let Some((target, its)) = alias else { break };
        owner = target;
        ttl = ttl.min(its);
    }
    let mut addresses = Vec::new();
    for record in answer.answers.iter().filter(|record| record.name == owner) {
        if let Some(address) = record.data.ip_addr() {
            addresses.push(address);
            ttl = ttl.min(record.ttl);
        }
    }
    let ttl = Duration::from_secs(ttl.into());
    Said {
        owner,
        addresses,
        ttl,
    }
}

/// The answer of the first server in order that answers usefully. One that answers with an error,
/// cannot be reached or does not answer for a while is followed by the next; it is not given up
/// while there is time.
async fn first_answer(
    servers: &[Arc<Server>],
    name: &Name,
    of: RecordType,
    until: Instant,
) -> Result<Message, ResolveError> {
    let mut standings = vec![Standing::Unanswered; servers.len()];
    let mut refused = Vec::new();
    let asked = |at: usize, after: Duration| {
        let server = &servers[at];
        async move {
            sleep(after).await;
            (at, server.ask(name, of).await)
        }
    };
    let mut waiting = FuturesUnordered::new();
    let (mut next, mut begun) = (0, Instant::now());
    loop {
        if waiting.is_empty() {
            if next < servers.len() {
                waiting.push(asked(next, Duration::ZERO));
                (next, begun) = (next + 1, Instant::now());
            } else if refused.is_empty() {
                break;
            } else {
                let again = refused.drain(..);
                waiting.extend(again.map(|at| asked(at, REFUSED_WAIT)));
            }
        }
        tokio::select! {
            Some((at, result)) = waiting.next() => {
                let trouble = match result {
                    Ok(answer) => return Ok(answer),
                    Err(trouble) => trouble,
                };
                let is_new = standings[at] == Standing::Unanswered;
                if is_new && matches!(trouble, Trouble::Code(ResponseCode::Refused)) {
                    refused.push(at);
                }
                standings[at] = standing(&trouble, &servers[at]);
            }
            () = sleep(TICK) => {
                let begun_with = servers.iter().zip(&standings).take(next);
                for (server, _) in begun_with.filter(|(_, one)| **one == Standing::Unanswered) {
                    server.doubt(begun);
                }
                let mut unanswered = servers
                    .iter()
                    .zip(&standings)
                    .filter(|(_, one)| **one == Standing::Unanswered);
                let all_silent = unanswered.all(|(server, _)| server.is_silent());
                if next == servers.len() && all_silent && begun.elapsed() >= GIVEN_UP_SILENT {
                    break;
                }
                let patience = match servers[next - 1].is_silent() {
                    true => PATIENCE_WITH_SILENT,
                    false => PATIENCE,
                };
                if next < servers.len() && begun.elapsed() >= patience {
                    waiting.push(asked(next, Duration::ZERO));
                    (next, begun) = (next + 1, Instant::now());
                }
            }
            () = sleep_until(until) => break,
        }
    }
    drop(waiting);
    Err(final_verdict(servers, standings).await)
}

fn standing(trouble: &Trouble, server: &Server) -> Standing {
    match trouble {
        Trouble::Io(error) if shortage::is_ours(error) => Standing::NoSocket,
        Trouble::Io(error) => Standing::Unreachable(format!("{}: {error}", server.address())),
        Trouble::Code(code) => Standing::Error {
            what: code.to_string(),
            useful: true,
        },
        Trouble::Unusable(what) => Standing::Error {
            what: (*what).to_owned(),
            useful: true,
        },
    }
}

/// The verdict, once it is known which servers answer anything.
async fn final_verdict(servers: &[Arc<Server>], mut standings: Vec<Standing>) -> ResolveError {
    for (server, standing) in servers.iter().zip(&mut standings) {
        if *standing == Standing::Unanswered && server.is_silent() {
            *standing = Standing::Silent;
        }
    }
    let is_mixed = standings
        .iter()
        .any(|standing| !matches!(standing, Standing::Error { .. }));
    if is_mixed {
        for (server, standing) in servers.iter().zip(&mut standings) {
            if let Standing::Error { useful, .. } = standing {
                if !server.is_useful() {
                    server.probe(PROBE_BUDGET).await;
                }
                *useful = server.is_useful();
            }
        }
    }
    let verdict = verdict(&standings);
    if matches!(verdict, ResolveError::Silent | ResolveError::Unreachable(_)) {
        shortage::warn_once_a_minute(
            "name servers",
            &format!(
                "attempts wait because {verdict} ({}); check the name servers in /etc/resolv.conf \
                 or dns_server, and the network and firewall between",
                listed(servers)
            ),
        );
    }
    verdict
}

fn listed(servers: &[Arc<Server>]) -> String {
    let addresses: Vec<String> = servers.iter().map(|s| s.address().to_string()).collect();
    addresses.join(", ")
}

/// What the failures of all servers come to. A server that answers other queries, and not this one
/// or with an error, tells about the name; one that is down or unable tells nothing.
fn verdict(standings: &[Standing]) -> ResolveError {
    use Standing::{Error, NoSocket, Silent, Unanswered, Unreachable};
    if standings.contains(&NoSocket) {
        return ResolveError::NoSocket;
    }
    let is_down = |one: &Standing| matches!(one, Unreachable(_) | Silent);
    let any_down = standings.iter().any(is_down);
    let errors = standings.iter().find_map(|one| match one {
        Error { what, useful } if *useful || !any_down => Some(what.clone()),
        _ => None,
    });
    if standings.contains(&Unanswered) {
        return ResolveError::Timeout;
    }
    if let Some(what) = errors {
        return ResolveError::Failed(what);
    }
    let unreachable = standings.iter().find_map(|one| match one {
        Unreachable(what) => Some(what.clone()),
        _ => None,
    });
    match unreachable {
        Some(what) if !standings.contains(&Silent) => ResolveError::Unreachable(what),
        _ => ResolveError::Silent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(address: &str) -> Found {
        Found {
            addresses: vec![address.parse().unwrap()],
            ttl: Duration::from_secs(1),
        }
    }

    #[test]
    fn a_name_is_not_found_only_where_neither_family_failed() {
        use ResolveError::{NoSocket, NotFound, Silent, Timeout};
        let failed = || ResolveError::Failed("SERVFAIL".to_owned());
        let (v4, v6) = (found("192.0.2.1"), found("2001:db8::1"));
        let all = Found {
            addresses: [v4.addresses.clone(), v6.addresses.clone()].concat(),
            ttl: v4.ttl,
        };
        for (one, other, expected) in [
            (Err(NotFound), Err(NotFound), Err(NotFound)),
            (Err(NotFound), Err(failed()), Err(failed())),
            (Err(failed()), Err(NotFound), Err(failed())),
            (Err(NotFound), Err(Timeout), Err(Timeout)),
            (Err(Timeout), Err(failed()), Err(Timeout)),
            (Err(Timeout), Err(NoSocket), Err(NoSocket)),
            (Err(NotFound), Err(Silent), Err(Silent)),
            (Ok(v4.clone()), Err(NoSocket), Ok(v4.clone())),
            (Ok(v4.clone()), Err(failed()), Ok(v4.clone())),
            (Err(NotFound), Ok(v6.clone()), Ok(v6.clone())),
            (Ok(v4), Ok(v6), Ok(all)),
        ] {
            assert_eq!(both(one, other), expected);
        }
    }

    #[test]
    fn only_a_server_that_is_well_tells_about_the_name() {
        use Standing::{NoSocket, Silent, Unanswered};
        let down = || Standing::Unreachable("refused".to_owned());
        let error = |what: &str, useful| Standing::Error {
            what: what.to_owned(),
            useful,
        };
        let failed = |what: &str| ResolveError::Failed(what.to_owned());
        let unreachable = || ResolveError::Unreachable("refused".to_owned());
        for (standings, expected) in [
            (vec![Silent], ResolveError::Silent),
            (vec![Silent, Silent], ResolveError::Silent),
            (vec![down()], unreachable()),
            (vec![down(), down()], unreachable()),
            (vec![down(), Silent], ResolveError::Silent),
            (vec![Unanswered], ResolveError::Timeout),
            (vec![Silent, Unanswered], ResolveError::Timeout),
            (vec![down(), Unanswered], ResolveError::Timeout),
            (vec![error("SERVFAIL", true)], failed("SERVFAIL")),
            // Alone, or among others that all answer so, an error is what is known of the name.
            (vec![error("REFUSED", false)], failed("REFUSED")),
            (
                vec![error("REFUSED", false), error("SERVFAIL", true)],
                failed("REFUSED"),
            ),
            // A server that resolves other names, and fails for this one.
            (vec![down(), error("SERVFAIL", true)], failed("SERVFAIL")),
            (vec![error("SERVFAIL", true), Silent], failed("SERVFAIL")),
            // One that resolves nothing, while the one that may know is down.
            (vec![down(), error("SERVFAIL", false)], unreachable()),
            (vec![error("REFUSED", false), Silent], ResolveError::Silent),
            (
                vec![NoSocket, error("SERVFAIL", true)],
                ResolveError::NoSocket,
            ),
            (vec![NoSocket, Unanswered], ResolveError::NoSocket),
        ] {
            assert_eq!(verdict(&standings), expected, "{standings:?}");
        }
    }
}
