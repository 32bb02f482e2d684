//! Hides the schedule that waits for nobody: an event is due when it is due, however slow the
//! answers to those before it are.
//!
//! Each event carries the moment it was due, so a late start counts as latency ("without
//! coordinated omission"). There are more connections than answers can be outstanding; should
//! there ever be none free, the event waits and its latency says so.

use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use anyhow::Result;

use crate::clock::sleep_until;
use crate::event::Publication;
use crate::load::{Connection, Notes, Orders, since};

/// An event that is due.
struct Due {
    at_us: u64,
    /// Of which team it is.
    team: usize,
}

/// Starts the schedule and whoever publishes by it.
pub(crate) fn start(
    orders: &Orders,
    connections: Vec<Connection>,
    started_us: u64,
    per_second: f64,
    seconds: f64,
) -> JoinSet<Result<Notes>> {
    let (sender, receiver) = unbounded_channel();
    let (teams, events) = (orders.keys.len(), (per_second * seconds) as u64);
    // A thread of its own: it sleeps more exactly than the runtime's timer, and nothing delays it.
    std::thread::spawn(move || keep_time(&sender, started_us, per_second, events, teams));
    let publications: Vec<Publication> = orders
        .keys
        .iter()
        .map(|key| Publication::timed(key))
        .collect();
    let (publications, receiver) = (Arc::new(publications), Arc::new(Mutex::new(receiver)));
    let mut publishers = JoinSet::new();
    for connection in connections {
        let (publications, receiver) = (Arc::clone(&publications), Arc::clone(&receiver));
        publishers.spawn(publish(connection, publications, receiver));
    }
    publishers
}

fn keep_time(
    sender: &UnboundedSender<Due>,
    started_us: u64,
    per_second: f64,
    events: u64,
    teams: usize,
) {
    for number in 0..events {
        let at_us = started_us + (number as f64 * 1e6 / per_second) as u64;
        sleep_until(at_us);
        let team = number as usize % teams.max(1);
        if sender.send(Due { at_us, team }).is_err() {
            return; // all publishers have failed, and have said why
        }
    }
}

/// Publishes whatever is due next, until nothing will be.
async fn publish(
    mut connection: Connection,
    publications: Arc<Vec<Publication>>,
    receiver: Arc<Mutex<UnboundedReceiver<Due>>>,
) -> Result<Notes> {
    let mut notes = Notes::default();
    loop {
        let due = receiver.lock().await.recv().await;
        let Some(Due { at_us, team }) = due else {
            return Ok(notes);
        };
        let mut publication = publications[team].clone();
        publication.set_due(at_us);
        notes.sent.push(since(at_us));
        connection.call(publication.bytes()).await?;
        notes.acknowledged.push(since(at_us));
    }
}
