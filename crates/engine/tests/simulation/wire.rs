//! Hides the receivers of a world: they answer by their habits, and hold every request against the laws.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use egress::{BoxFuture, Connections, Exchange, Failure, Probe, ReceiverUrl, Request, Response};
use http::HeaderMap;
use model::attempt::{Reason, Timings};
use model::id::{DeliveryId, IdCodec};
use model::time::Timestamp;
use signature::SigningKeys;

use crate::habit::{Habit, Reply};
use crate::ledger::{Settings, marker_of};
use crate::plan::Net;
use crate::random::Random;
use crate::world::{State, World};

/// What receivers saw.
#[derive(Default)]
pub(crate) struct Wire {
    pub(crate) requests: Vec<Seen>,
    /// The receivers by the first part of their names.
    receivers: HashMap<String, Receiver>,
    /// The endpoint and the event of every delivery that was ever seen.
    identities: HashMap<DeliveryId, (usize, u64)>,
    in_flight: HashSet<DeliveryId>,
    by_place: HashMap<usize, usize>,
    by_team: HashMap<usize, usize>,
    ends: u64,
    /// Attempts that reached nobody, for a reason of the service's own.
    pub(crate) not_made: u64,
    /// Requests that came while their endpoint was being changed, and do not fit what it was before.
    doubted: Vec<Doubted>,
    /// The keys of every secret that was ever seen: making them costs more than using them.
    keys: HashMap<String, SigningKeys>,
}

struct Receiver {
    place: usize,
    habit: Habit,
    requests: u32,
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) delivery: DeliveryId,
    pub(crate) place: usize,
    pub(crate) marker: u64,
    pub(crate) process: usize,
    pub(crate) began: u64,
    pub(crate) wall: Timestamp,
    pub(crate) reply: Reply,
    pub(crate) end: Option<End>,
}

/// A request that has to fit what its endpoint is found to be set as.
struct Doubted {
    place: usize,
    url: String,
    headers: HeaderMap,
    body: Bytes,
    at: u64,
    wall: Timestamp,
}

impl Doubted {
    fn fits(&self, wire: &mut Wire, settings: &Settings) -> bool {
        settings.url == self.url && wire.signs(settings, self.wall, &self.body, &self.headers)
    }

    fn wrong(&self, settings: &[Settings]) -> String {
        let Self {
            url,
            headers,
            at,
            wall,
            ..
        } = self;
        format!(
            "a request to {url} is signed or addressed otherwise than {settings:?} at {wall} ({at} ms): {headers:?}"
        )
    }
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) at: u64,
    pub(crate) wall: Timestamp,
    /// Which of all ends it was.
    pub(crate) nth: u64,
}

impl Wire {
    /// A receiver moves in; its name.
    pub(crate) fn open(&mut self, place: usize, habit: Habit) -> String {
        let number = self.receivers.len();
        let name = format!("r{number}-e{place}");
        let receiver = Receiver {
            place,
            habit,
            requests: 0,
        };
        self.receivers.insert(name.clone(), receiver);
        name
    }

    /// The name of a place's first receiver, which moves in if it has not.
    pub(crate) fn name_of(&mut self, place: usize, habit: Habit) -> String {
        let found = self.receivers.iter().find(|(_, one)| one.place == place);
        match found {
            Some((name, _)) => name.clone(),
            None => self.open(place, habit),
        }
    }

    /// The process that had requests in flight is gone.
    pub(crate) fn all_gone(&mut self) {
        self.in_flight.clear();
        self.by_place.clear();
        self.by_team.clear();
    }

    fn count(&mut self, place: usize, team: usize, by: isize) {
        for (counts, of) in [(&mut self.by_place, place), (&mut self.by_team, team)] {
            let count = counts.entry(of).or_default();
            *count = count.saturating_add_signed(by);
        }
    }

    /// Whether a request's headers are those that an endpoint with these settings is owed (contract A, and
    /// B on rotations).
    fn signs(
        &mut self,
        settings: &Settings,
        wall: Timestamp,
        body: &Bytes,
        headers: &HeaderMap,
    ) -> bool {
        let seconds = wall.as_seconds();
        let id = header(headers, "x-vantagekit-delivery").unwrap_or_default();
        let current = self.keys(&settings.secret);
        let in_use = settings.previous.iter().filter(|(_, end)| wall < *end);
        let old: Vec<_> = in_use.map(|(secret, _)| self.keys(secret)).collect();
        let first = old.first().unwrap_or(&current);
        let mut standard: HashSet<String> = HashSet::new();
        for keys in old.iter().chain([&current]) {
            standard.insert(keys.standard(id, seconds, body).as_str().to_owned());
        }
        let told = header(headers, "webhook-signature").unwrap_or_default();
        let next = (!old.is_empty()).then(|| current.vantagekit(seconds, body));
        header(headers, "x-vantagekit-signature") == Some(first.vantagekit(seconds, body).as_str())
            && header(headers, "x-vantagekit-signature-next")
                == next.as_ref().map(|next| next.as_str())
            && told.split(' ').map(str::to_owned).collect::<HashSet<_>>() == standard
            && header(headers, "x-vantagekit-timestamp") == Some(&seconds.to_string())
            && header(headers, "webhook-timestamp") == Some(&seconds.to_string())
            && header(headers, "webhook-id") == Some(id)
    }

    fn keys(&mut self, secret: &str) -> SigningKeys {
        let made = self.keys.entry(secret.to_owned());
        made.or_insert_with(|| SigningKeys::new(secret)).clone()
    }
}

/// The way to the receivers of a world.
pub(crate) struct Wires {
    pub(crate) world: Arc<World>,
    pub(crate) codec: IdCodec,
}

impl egress::Transport for Wires {
    fn exchange<'a>(&'a self, _: &'a Connections, request: Request<'a>) -> BoxFuture<'a, Exchange> {
        if self.world.is_dead() {
            return Box::pin(std::future::pending());
        }
        if let Some(net) = self.cut_off() {
            return Box::pin(self.not_made(net, request.deadline));
        }
        let Some((number, reply)) = self.arrives(&request) else {
            return Box::pin(std::future::pending());
        };
        let url = request.url.as_str();
        self.world
            .tell(&format_args!("request {number} to {url}: {reply:?}"));
        Box::pin(async move {
            let result = match reply {
                Reply::Status(status, after) => {
                    tokio::time::sleep(after).await;
                    Ok(Response {
                        status,
                        headers: vec![("server".into(), "simulated".into())],
                        body: Bytes::from_static(b"thanks"),
                    })
                }
                Reply::Fails(_, after) => {
                    tokio::time::sleep(after).await;
                    Err(())
                }
                Reply::Hangs => {
                    tokio::time::sleep_until(request.deadline).await;
                    Err(())
                }
            };
            self.world.alive().await;
            self.world.tell(&format_args!("request {number} is over"));
            self.ends(number);
            Exchange {
                remote_addr: None,
                timings: Timings::default(),
                sent_twice: false,
                result: result.map_err(|()| Failure {
                    reason: reply.judged().1.unwrap(),
                    detail: "it failed".into(),
                    operator_detail: "it failed".into(),
                    ours: false,
                    partial: None,
                }),
            }
        })
    }

    fn probe<'a>(&'a self, _: &'a ReceiverUrl) -> BoxFuture<'a, Probe> {
        Box::pin(std::future::ready(Probe::Reachable))
    }
}

impl Wires {
    /// Why nothing can be sent, where it is so.
    fn cut_off(&self) -> Option<Net> {
        let state = &mut *self.world.lock();
        let (net, _) = state.net;
        state.wire.not_made += u64::from(net != Net::Well);
        (net != Net::Well).then_some(net)
    }

    /// Nobody sees an attempt that is not made.
    async fn not_made(&self, net: Net, deadline: tokio::time::Instant) -> Exchange {
        self.world
            .tell(&format_args!("an attempt is not made: {net:?}"));
        let reason = match net {
            Net::Silent => {
                tokio::time::sleep_until(deadline).await;
                Reason::DnsTimeout
            }
            Net::Well | Net::NoPorts => Reason::ConnectionRefused,
        };
        self.world.alive().await;
        Exchange {
            remote_addr: None,
            timings: Timings::default(),
            sent_twice: false,
            result: Err(Failure {
                reason,
                detail: "it was not made".into(),
                operator_detail: "it was not made".into(),
                ours: true,
                partial: None,
            }),
        }
    }

    /// A request arrives: which one it is, and what becomes of it. None where it is so wrong that nobody
    /// can be told.
    fn arrives(&self, request: &Request<'_>) -> Option<(usize, Reply)> {
        let headers = (request.headers)();
        let text = request.url.as_str();
        let state = &mut *self.world.lock();
        let Some(delivery) = header(&headers, "x-vantagekit-delivery")
            .and_then(|text| self.codec.parse::<DeliveryId>(text))
        else {
            state.violation(format_args!("a request to {text} without a delivery's id"));
            return None;
        };
        let name = text.strip_prefix("https://")?.split('.').next()?;
        let (now, wall, process) = (state.now(), state.wall(), state.process());
        let Some(receiver) = state.wire.receivers.get_mut(name) else {
            state.violation(format_args!("a request to {text}, where nobody is"));
            return None;
        };
        let (place, nth) = (receiver.place, receiver.requests);
        receiver.requests += 1;
        let mut dice = Random::new(self.world.plan.seed ^ (place as u64) << 40 ^ u64::from(nth));
        let reply = receiver.habit.reply(nth, now, &mut dice);
        let Some(marker) = marker_of(&request.body) else {
            state.violation(format_args!(
                "{delivery:?} has a body that nobody published"
            ));
            return None;
        };
        if let Err(wrong) = self.judge(state, delivery, place, marker, request, &headers) {
            state.violation(format_args!("{delivery:?} to {text}: {wrong}"));
        }
        let team = state.ledger.places[place].team;
        state.wire.in_flight.insert(delivery);
        state.wire.count(place, team, 1);
        let limits = self.world.plan.limits;
        let wire = &state.wire;
        let counts = [
            (wire.in_flight.len(), limits.all),
            (wire.by_team[&team], limits.team),
            (wire.by_place[&place], limits.endpoint),
        ];
        if counts.iter().any(|(count, limit)| count > limit) {
            state.violation(format_args!(
                "in flight in all, of a team, of an endpoint, and their limits: {counts:?}"
            ));
        }
        state.wire.requests.push(Seen {
            delivery,
            place,
            marker,
            process,
            began: now,
            wall,
            reply,
            end: None,
        });
        Some((state.wire.requests.len() - 1, reply))
    }

    /// What is wrong with a request.
    fn judge(
        &self,
        state: &mut State,
        delivery: DeliveryId,
        place: usize,
        marker: u64,
        request: &Request<'_>,
        headers: &HeaderMap,
    ) -> Result<(), String> {
        if state.wire.in_flight.contains(&delivery) {
            return Err("another attempt of it is in flight".into());
        }
        let identity = (place, marker);
        let known = *state.wire.identities.entry(delivery).or_insert(identity);
        if known != identity {
            return Err(format!("it is {identity:?}, and was {known:?}"));
        }
        let settings = state.ledger.places[place].settings.clone();
        if !state.ledger.places[place].may_be(Settings::sends) {
            return Err(format!("nothing may be sent there: {settings:?}"));
        }
        let doubted = Doubted {
            place,
            url: request.url.as_str().to_owned(),
            headers: headers.clone(),
            body: request.body.clone(),
            at: state.now(),
            wall: state.wall(),
        };
        let mut fit = settings.iter().filter(|one| one.sends());
        if fit.any(|one| doubted.fits(&mut state.wire, one)) {
            return Ok(());
        }
        if state.ledger.places[place].asked.is_empty() {
            return Err(doubted.wrong(&settings));
        }
        // A change takes hold a little before it is answered.
        state.wire.doubted.push(doubted);
        Ok(())
    }

    fn ends(&self, number: usize) {
        let state = &mut *self.world.lock();
        let (at, wall) = (state.now(), state.wall());
        let nth = state.wire.ends;
        state.wire.ends += 1;
        let seen = &mut state.wire.requests[number];
        seen.end = Some(End { at, wall, nth });
        let (delivery, place) = (seen.delivery, seen.place);
        let team = state.ledger.places[place].team;
        state.wire.in_flight.remove(&delivery);
        state.wire.count(place, team, -1);
    }
}

/// What came of the changes of an endpoint is known: it must be what the requests went by that came meanwhile.
pub(crate) fn judge_doubted(state: &mut State, place: usize) {
    let (of_place, others) = std::mem::take(&mut state.wire.doubted)
        .into_iter()
        .partition(|one| one.place == place);
    state.wire.doubted = others;
    let of_place: Vec<Doubted> = of_place;
    let settings = state.ledger.places[place].settings.clone();
    for doubted in of_place {
        if !settings
            .iter()
            .any(|one| doubted.fits(&mut state.wire, one))
        {
            state.violation(doubted.wrong(&settings));
        }
    }
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}
