//! Hides how every delivery is followed, through the API alone: what the service says of it is
//! what anyone would see.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::client::Client;

use super::stage::{Stage, text};
use super::temper::Temper;

/// What became of one endpoint's deliveries.
#[derive(Clone, Debug, Default)]
pub(super) struct Account {
    pub(super) delivered: usize,
    pub(super) dead_letter: usize,
    pub(super) retrying: usize,
    pub(super) pending: usize,
    /// Why the latest failed attempt that was looked at had failed.
    pub(super) last_reason: Option<String>,
}

impl Account {
    /// All of them.
    pub(super) fn total(&self) -> usize {
        self.delivered + self.dead_letter + self.retrying + self.pending
    }
}

/// Every delivery and where it stands.
pub(super) struct Ledger {
    /// Which account an endpoint has.
    places: HashMap<String, usize>,
    accounts: Vec<Account>,
    /// Events whose deliveries are not known yet.
    unread: Vec<String>,
    /// Deliveries that have not come to their end, with their account.
    open: HashMap<String, usize>,
    /// Events the service accepted, and the deliveries it said they made.
    pub(super) events: usize,
    pub(super) promised: usize,
}

impl Ledger {
    pub(super) fn new(stage: &Stage) -> Self {
        let endpoints = stage.endpoints().iter().cloned();
        let places: HashMap<_, _> = endpoints.enumerate().map(|(i, id)| (id, i)).collect();
        Self {
            accounts: vec![Account::default(); places.len()],
            places,
            unread: Vec::new(),
            open: HashMap::new(),
            events: 0,
            promised: 0,
        }
    }

    /// Notes an event that was accepted.
    pub(super) fn note(&mut self, accepted: &Value) -> Result<()> {
        self.events += 1;
        let made = accepted["deliveries"]
            .as_u64()
            .context("how many it made")?;
        self.promised += usize::try_from(made)?;
        self.unread.push(text(&accepted["id"])?);
        Ok(())
    }

    pub(super) fn accounts(&self) -> &[Account] {
        &self.accounts
    }

    /// Deliveries that no attempt was made of yet.
    pub(super) fn untried(&self) -> usize {
        self.unread.len()
            + self
                .accounts
                .iter()
                .map(|account| account.pending)
                .sum::<usize>()
    }

    /// Whether each receiver accepted just what the service says it delivered there, and every
    /// delivery that was promised is accounted for.
    pub(super) fn agrees_with(&self, tempers: &[Temper]) -> bool {
        let pairs = tempers.iter().zip(&self.accounts);
        let total: usize = self.accounts.iter().map(Account::total).sum();
        total == self.promised
            && pairs
                .into_iter()
                .all(|(temper, account)| temper.tally().accepted() == account.delivered)
    }

    /// Looks at everything that may have changed.
    pub(super) async fn look(&mut self, reader: &Client) -> Result<()> {
        for event in std::mem::take(&mut self.unread) {
            let answer = reader.get(&format!("/v1/events/{event}")).await?;
            let deliveries = answer["data"]["deliveries"].as_array();
            for delivery in deliveries.context("an event has its deliveries")? {
                let place = self.places.get(&text(&delivery["endpointId"])?);
                let place = *place.context("an endpoint of the demo")?;
                self.open.insert(text(&delivery["id"])?, place);
            }
        }
        let mut unfinished = HashSet::new();
        for account in &mut self.accounts {
            (account.pending, account.retrying) = (0, 0);
        }
        for status in ["pending", "retrying"] {
            for id in all_with_status(reader, status).await? {
                // One that has moved on between the two lists counts once.
                let Some(place) = self.open.get(&id) else {
                    continue;
                };
                if unfinished.insert(id) {
                    let account = &mut self.accounts[*place];
                    match status {
                        "pending" => account.pending += 1,
                        _ => account.retrying += 1,
                    }
                }
            }
        }
        let gone: Vec<String> = self
            .open
            .keys()
            .filter(|id| !unfinished.contains(*id))
            .cloned()
            .collect();
        for id in gone {
            self.look_at(reader, &id).await?;
        }
        Ok(())
    }

    /// Where a delivery stands that no list of unfinished ones has.
    async fn look_at(&mut self, reader: &Client, id: &str) -> Result<()> {
        let answer = reader.get(&format!("/v1/deliveries/{id}")).await?;
        let delivery = &answer["data"];
        let place = *self.open.get(id).context("an open delivery")?;
        let account = &mut self.accounts[place];
        let attempts = delivery["attempts"].as_array();
        let reasons = attempts.into_iter().flatten().rev().filter_map(explain);
        if let Some(reason) = reasons.into_iter().next() {
            account.last_reason = Some(reason);
        }
        match delivery["status"].as_str() {
            Some("delivered") => account.delivered += 1,
            Some("dead_letter") => account.dead_letter += 1,
            // It was between two states while the lists were read.
            Some("pending") => {
                account.pending += 1;
                return Ok(());
            }
            _ => {
                account.retrying += 1;
                return Ok(());
            }
        }
        self.open.remove(id);
        Ok(())
    }
}

/// Why an attempt failed, in a few words.
fn explain(attempt: &Value) -> Option<String> {
    let reason = attempt["reason"].as_str()?;
    Some(match attempt["statusCode"].as_u64() {
        Some(status) => format!("{reason} {status}"),
        None => reason.to_owned(),
    })
}

/// The ids of all deliveries with a status.
async fn all_with_status(reader: &Client, status: &str) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    let first = format!("/v1/deliveries?status={status}&per_page=100");
    let mut path = first.clone();
    loop {
        let answer = reader.get(&path).await?;
        for delivery in answer["data"].as_array().context("a list")? {
            ids.push(text(&delivery["id"])?);
        }
        match answer["meta"]["pagination"]["nextCursor"].as_str() {
            Some(cursor) => path = format!("{first}&cursor={cursor}"),
            None => return Ok(ids),
        }
    }
}
