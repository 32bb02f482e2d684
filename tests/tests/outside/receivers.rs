//! Hides who gets the events, and what arrived.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::{Context, Result, ensure};
use local_receiver::Receiver;
use serde_json::{Value, json};
use vk_tests::{Answer, Api, Arrival, Authority, QUERY, Random, verify};

/// The endpoints: their host names and the types of events that they want. Each event goes to one or two of them.
const ENDPOINTS: [(&str, &[&str]); 5] = [
    ("alpha.example.com", &["deal_room.created"]),
    ("beta.example.com", &["deal_room.archived"]),
    ("gamma.example.com", &["team.member_removed"]),
    ("delta.example.com", &["link.clicked"]),
    ("both.example.com", &["deal_room.created", "link.clicked"]),
];
const TYPES: [&str; 4] = [
    "deal_room.created",
    "deal_room.archived",
    "team.member_removed",
    "link.clicked",
];

/// Of so many answers one ends its connection: the next attempt needs a name, a port and a handshake.
const ENDS: usize = 25;
/// Of so many requests one has its signatures verified.
const VERIFIED: usize = 16;

/// The event of a number. Its type follows from it.
pub(crate) fn event(number: u64) -> Value {
    let id = "0198a6f0-3a5b-7c1d-9e2f-0123456789ab";
    json!({"type": kind(number), "data": {"dealRoomId": id, "linkId": id, "teamId": id, "memberId": id,
        "name": "An event", "email": "a@example.com", "timestamp": "2026-01-01T00:00:00Z", "number": number}})
}

fn kind(number: u64) -> &'static str {
    TYPES[(number % TYPES.len() as u64) as usize]
}

/// All receivers.
pub(crate) struct Receivers(Vec<One>);

struct One {
    host: &'static str,
    wants: &'static [&'static str],
    book: Arc<Book>,
    receiver: Receiver,
}

#[derive(Default)]
struct Book {
    secret: OnceLock<String>,
    pages: Mutex<Pages>,
}

struct Pages {
    random: Random,
    arrived: HashSet<u64>,
    requests: u64,
    wrong: Vec<String>,
}

impl Default for Pages {
    fn default() -> Self {
        Self {
            random: Random::new(0),
            arrived: HashSet::new(),
            requests: 0,
            wrong: vec![],
        }
    }
}

impl Book {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a request; the answer is always 200.
    fn note(&self, arrival: &Arrival) -> Answer {
        let body: Value = serde_json::from_slice(&arrival.body).unwrap_or_default();
        let mut pages = self.pages();
        pages.requests += 1;
        match body["data"]["number"].as_u64() {
            Some(number) => drop(pages.arrived.insert(number)),
            None => pages.wrong.push(format!("{body} is no event")),
        }
        if pages.random.below(VERIFIED) == 0
            && let Some(secret) = self.secret.get()
            && let Err(error) = verify(arrival, secret)
        {
            pages.wrong.push(error);
        }
        match pages.random.below(ENDS) {
            0 => Answer::status(200).with_header("connection", "close"),
            _ => Answer::status(200),
        }
    }
}

impl Receivers {
    /// Opens them.
    ///
    /// # Errors
    /// Where no port is free.
    pub(crate) async fn open(authority: &Authority, seed: u64) -> Result<Self> {
        let mut all = vec![];
        for (number, (host, wants)) in ENDPOINTS.into_iter().enumerate() {
            let book = Arc::<Book>::default();
            book.pages().random = Random::new(seed.wrapping_add(number as u64));
            let tls = authority.server_config(&[host])?;
            let noted = Arc::clone(&book);
            let handler = move |arrival: Arrival| std::future::ready(noted.note(&arrival));
            let receiver = Receiver::start(0, Some(tls), handler).await?;
            all.push(One {
                host,
                wants,
                book,
                receiver,
            });
        }
        Ok(Self(all))
    }

    /// Makes an endpoint for each.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub(crate) async fn subscribe(&self, team: &Api) -> Result<()> {
        for one in &self.0 {
            let port = one.receiver.address().port();
            let url = format!("https://{}:{port}/hooks?{QUERY}", one.host);
            let endpoint = team.endpoint(&url, one.wants).await?;
            let set = one.book.secret.set(endpoint.secret);
            ensure!(set.is_ok(), "{} has two secrets", one.host);
        }
        Ok(())
    }

    /// How many requests have arrived.
    pub(crate) fn requests(&self) -> u64 {
        self.0.iter().map(|one| one.book.pages().requests).sum()
    }

    /// How many deliveries have arrived, those that came twice once.
    pub(crate) fn deliveries(&self) -> usize {
        self.0
            .iter()
            .map(|one| one.book.pages().arrived.len())
            .sum()
    }

    /// Those of these events that have not arrived everywhere, each with an endpoint that lacks it.
    pub(crate) fn missing(&self, acknowledged: &[u64]) -> HashMap<u64, &'static str> {
        let mut missing = HashMap::new();
        for one in &self.0 {
            let pages = one.book.pages();
            for number in acknowledged {
                if one.wants.contains(&kind(*number)) && !pages.arrived.contains(number) {
                    missing.insert(*number, one.host);
                }
            }
        }
        missing
    }

    /// Sees that every request was an event, rightly signed.
    ///
    /// # Errors
    /// Where one was not.
    pub(crate) fn verified(&self) -> Result<()> {
        for one in &self.0 {
            let pages = one.book.pages();
            let wrong = pages.wrong.first().context("none").ok();
            ensure!(wrong.is_none(), "{}: {:?}", one.host, pages.wrong);
            ensure!(pages.requests > 0, "nothing arrived at {}", one.host);
        }
        Ok(())
    }
}
