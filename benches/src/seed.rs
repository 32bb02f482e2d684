//! Hides how a store with millions of deliveries is made quickly: through the store's own verbs, in
//! large commits, as a service would have left it after thirty days.
//!
//! Most deliveries arrived at once, some at the second attempt; some are dead letters; the newest
//! few of the third team are still owed. All event types are there, [`RARE`] of one of them.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use model::attempt::{Attempt, Outcome, Reason, Timings};
use model::audit::Actor;
use model::catalog::Catalog;
use model::endpoint::{Secret, Secrets, Subscription};
use model::event::NewEvent;
use model::id::{DeliveryId, EndpointId, TeamId};
use model::retry::Verdict;
use model::time::Timestamp;
use store::{Acceptance, EndpointProgress, Keyring, Settlement, SqliteOptions, Store};

/// What `seed` is given.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The database to make
    #[arg(long)]
    store: PathBuf,
    /// About how many deliveries to make
    #[arg(long)]
    deliveries: u64,
    /// Where the endpoints of the first two teams are
    #[arg(long)]
    url: String,
    /// Where those of the third are
    #[arg(long)]
    failing_url: String,
}

/// The teams, each with its share of all events (of 100) and its endpoints.
pub(crate) const TEAMS: [(&str, u64, usize); 3] =
    [("ten", 40, 10), ("one", 40, 1), ("pair", 20, 2)];
/// The type of which there are only [`RARE`] events a team.
pub(crate) const RARE_TYPE: &str = "team.member_removed";
const RARE: u64 = 5;

/// Over how long the log reaches back.
const SPAN: Duration = Duration::from_secs(30 * 24 * 3600);
/// Events in one commit.
const CHUNK: u64 = 500;
/// How many of the third team's newest events are still owed.
const OWED: u64 = 200;

/// A team as it is being seeded.
struct Team {
    id: TeamId,
    endpoints: Vec<EndpointId>,
    /// How many events it gets.
    events: u64,
    /// How many it has.
    made: u64,
    /// How many of the last are left owed.
    owed: u64,
}

/// What becomes of a delivery.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Delivered,
    /// At the second attempt.
    DeliveredLater,
    /// The receiver would not have it.
    Refused,
    /// All six attempts failed.
    GivenUp,
    /// One attempt failed; more will follow.
    Retrying,
    /// Not tried yet.
    Pending,
}

/// Makes the store.
pub(crate) async fn run(options: Options) -> Result<()> {
    let path = options.store.clone();
    // The service looks for the key beside the store.
    let key = Keyring::new_line().map_err(anyhow::Error::msg)?;
    std::fs::write(path.with_added_extension("key"), &*key)?;
    let keyring = Keyring::parse(&key).map_err(anyhow::Error::msg)?;
    let store = Store::open_sqlite(SqliteOptions { path }, keyring).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let now = Timestamp::from_millis(i64::try_from(now.as_millis())?);
    let start = now.before(SPAN);
    let mut teams = furnish(&store, &options, start).await?;
    let events = examples(&Catalog::vantagekit())?;
    let total: u64 = teams.iter().map(|team| team.events).sum();
    let (mut made, mut before) = (0, Vec::new());
    while made < total {
        for team in &mut teams {
            let at = start.after(SPAN.mul_f64(made as f64 / (total + CHUNK) as f64));
            let next = team.next(&events, total, at);
            made += next.len() as u64;
            // What was accepted before is settled while the next are being accepted.
            let (settled, accepted) =
                tokio::join!(settle(&store, before), accept(&store, team, next, at));
            settled?;
            before = accepted?;
        }
    }
    settle(&store, before).await?;
    store.close().await;
    Ok(())
}

async fn furnish(store: &Store, options: &Options, now: Timestamp) -> Result<Vec<Team>> {
    let per_event: u64 = TEAMS
        .iter()
        .map(|(_, share, endpoints)| share * *endpoints as u64)
        .sum();
    let mut teams = Vec::new();
    for (name, share, endpoints) in TEAMS {
        let made = store.by(Actor::Operator).create_team(
            Some(name.into()),
            name.into(),
            "scale".into(),
            now,
        );
        let id = made.await?.context("a new store has no teams")?.id;
        let last = name == "pair";
        let mut ids = Vec::new();
        for number in 0..endpoints {
            let url = if last {
                &options.failing_url
            } else {
                &options.url
            };
            let secrets = Secrets::new(Secret::from_random(&[number as u8; 32]));
            let made = store.by(Actor::Operator).create_endpoint(
                id,
                url.clone(),
                None,
                Subscription::All,
                secrets,
                10,
                now,
            );
            ids.push(made.await?.id);
        }
        teams.push(Team {
            id,
            endpoints: ids,
            events: options.deliveries * share / per_event,
            made: 0,
            owed: if last { OWED } else { 0 },
        });
    }
    Ok(teams)
}

/// An event of every type, the rare one last.
fn examples(catalog: &Catalog) -> Result<Vec<NewEvent>> {
    let mut names: Vec<&str> = catalog.types().iter().map(|known| &*known.name).collect();
    names.sort_by_key(|name| *name == RARE_TYPE);
    let examples = names
        .into_iter()
        .map(|name| NewEvent::example(catalog, name));
    Ok(examples.collect::<Result<_, _>>()?)
}

impl Team {
    /// The next events of it: those of other teams are as far, for their share.
    fn next(
        &mut self,
        examples: &[NewEvent],
        total: u64,
        due_at: Timestamp,
    ) -> Vec<(Acceptance, u64)> {
        let most = (CHUNK * self.events).div_ceil(total);
        let end = (self.made + most).min(self.events);
        let common = examples.len() as u64 - 1;
        let rare_every = (self.events / RARE).max(1);
        let made = (self.made..end).map(|number| {
            let which = if number % rare_every == rare_every / 2 {
                common
            } else {
                number % common
            };
            let acceptance = Acceptance {
                event: examples[which as usize].clone(),
                endpoints: self.endpoints.clone(),
                idempotency: None,
                due_at,
                test: false,
            };
            (acceptance, number)
        });
        let made = made.collect();
        self.made = end;
        made
    }

    /// What becomes of the delivery of an event to an endpoint.
    fn fate(&self, event: u64, endpoint: usize) -> Fate {
        if event + self.owed >= self.events {
            return if event.is_multiple_of(2) {
                Fate::Pending
            } else {
                Fate::Retrying
            };
        }
        match (event * 7 + endpoint as u64) % 1000 {
            0..10 => Fate::DeliveredLater,
            10..15 => Fate::Refused,
            15..18 => Fate::GivenUp,
            _ => Fate::Delivered,
        }
    }
}

/// A delivery that was accepted, and what is to become of it.
struct Fated {
    delivery: DeliveryId,
    endpoint: EndpointId,
    at: Timestamp,
    fate: Fate,
}

async fn accept(
    store: &Store,
    team: &Team,
    events: Vec<(Acceptance, u64)>,
    at: Timestamp,
) -> Result<Vec<Fated>> {
    let (acceptances, numbers): (Vec<_>, Vec<_>) = events.into_iter().unzip();
    let accepted = store.accept(team.id, acceptances, at).await?;
    let mut fated = Vec::new();
    for (accepted, number) in accepted.iter().zip(numbers) {
        for (index, endpoint) in team.endpoints.iter().enumerate() {
            fated.push(Fated {
                delivery: accepted.delivery(u32::try_from(index)?),
                endpoint: *endpoint,
                at,
                fate: team.fate(number, index),
            });
        }
    }
    Ok(fated)
}

/// Records the attempts, all first ones together, then all second ones, and so on.
async fn settle(store: &Store, fated: Vec<Fated>) -> Result<()> {
    for number in 1..=6 {
        let settlements: Vec<Settlement> = fated
            .iter()
            .filter_map(|fated| attempt(fated, number))
            .collect();
        if settlements.is_empty() {
            break;
        }
        let progress = match fated.last() {
            Some(last) => vec![EndpointProgress {
                hours: Vec::new(),
                endpoint: last.endpoint,
                health: None,
                last_delivery_at: last.at,
            }],
            None => Vec::new(),
        };
        store
            .settle(Arc::new(settlements), Arc::new(progress))
            .await?;
    }
    Ok(())
}

/// The attempt of that number, where there was one.
fn attempt(fated: &Fated, number: u32) -> Option<Settlement> {
    let at = |number: u32| fated.at.after(Duration::from_secs((1 << (number - 1)) - 1));
    let (due_at, ended_at) = (at(number), at(number).after(Duration::from_millis(8)));
    let (outcome, status, verdict) = match (fated.fate, number) {
        (Fate::Delivered, 1) | (Fate::DeliveredLater, 2) => {
            (Outcome::Delivered, 200, Verdict::Delivered)
        }
        (Fate::Refused, 1) => (Outcome::PermanentFailure, 410, Verdict::DeadLetter),
        (Fate::GivenUp, 6) => (Outcome::Retry, 503, Verdict::DeadLetter),
        (Fate::DeliveredLater | Fate::Retrying, 1) | (Fate::GivenUp, _) => {
            (Outcome::Retry, 503, Verdict::RetryAt(at(number + 1)))
        }
        _ => return None,
    };
    let failed = outcome != Outcome::Delivered;
    Some(Settlement {
        delivery: fated.delivery,
        attempt: Attempt {
            number,
            started_at: due_at,
            duration_ms: 8,
            outcome,
            status_code: Some(status),
            reason: failed.then_some(Reason::HttpStatus),
            detail: failed.then(|| format!("the receiver answered with {status}")),
            remote_addr: Some(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7))),
            response_headers: vec![
                ("content-length".into(), "0".into()),
                ("date".into(), "Wed, 01 Apr 2026 12:00:00 GMT".into()),
            ],
            response_body: None,
            timings: Timings {
                first_byte_ms: Some(7),
                ..Timings::default()
            },
        },
        due_at,
        verdict,
        ended_at,
    })
}
