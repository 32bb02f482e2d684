//! Hides how the house knows, without asking the store, who is who: teams, keys, endpoints.
//!
//! A snapshot of what the store has, changed only after the store was. Publishing and every
//! request's authentication read it, so a read takes one short lock and copies one pointer.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use model::id::{EndpointId, KeyId, TeamId};
use model::key::{ApiKey, KeyHash};
use model::team::Team;
use model::time::Timestamp;

use crate::capacity::Places;
use crate::lane::Lane;

#[derive(Default)]
pub(crate) struct Roster {
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    teams: HashMap<TeamId, TeamEntry>,
    by_external_id: HashMap<String, TeamId>,
    lanes: HashMap<EndpointId, Arc<Lane>>,
    keys: HashMap<KeyHash, Arc<KeyEntry>>,
    operator: Option<KeyHash>,
}

struct TeamEntry {
    team: Arc<Team>,
    places: Arc<Places>,
    /// In the order they were made: an event's deliveries are made in this order too.
    lanes: Arc<Vec<Arc<Lane>>>,
}

/// A key and when it was last used.
pub(crate) struct KeyEntry {
    pub(crate) key: Arc<ApiKey>,
    /// Milliseconds since the epoch; 0 where it was not used since the last flush.
    used_at: AtomicI64,
}

impl Roster {
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn team(&self, team: TeamId) -> Option<Arc<Team>> {
        self.read()
            .teams
            .get(&team)
            .map(|entry| Arc::clone(&entry.team))
    }

    pub(crate) fn team_named(&self, external_id: &str) -> Option<Arc<Team>> {
        let state = self.read();
        let team = state.by_external_id.get(external_id)?;
        state.teams.get(team).map(|entry| Arc::clone(&entry.team))
    }

    /// A team's share of the places for attempts in flight.
    pub(crate) fn places(&self, team: TeamId) -> Option<Arc<Places>> {
        self.read()
            .teams
            .get(&team)
            .map(|entry| Arc::clone(&entry.places))
    }

    /// A team's lanes.
    pub(crate) fn lanes_of(&self, team: TeamId) -> Arc<Vec<Arc<Lane>>> {
        self.read()
            .teams
            .get(&team)
            .map(|entry| Arc::clone(&entry.lanes))
            .unwrap_or_default()
    }

    pub(crate) fn lane(&self, endpoint: EndpointId) -> Option<Arc<Lane>> {
        self.read().lanes.get(&endpoint).cloned()
    }

    /// All teams.
    pub(crate) fn teams(&self) -> Vec<TeamId> {
        self.read().teams.keys().copied().collect()
    }

    /// All lanes.
    pub(crate) fn lanes(&self) -> Vec<Arc<Lane>> {
        self.read().lanes.values().cloned().collect()
    }

    pub(crate) fn lane_count(&self) -> usize {
        self.read().lanes.len()
    }

    /// A key, and its team where that is still there.
    pub(crate) fn key(&self, hash: &KeyHash) -> Option<(Arc<KeyEntry>, Option<Arc<Team>>)> {
        let state = self.read();
        let entry = state.keys.get(hash)?;
        let team = state.teams.get(&entry.key.team);
        Some((Arc::clone(entry), team.map(|entry| Arc::clone(&entry.team))))
    }

    pub(crate) fn is_operator(&self, hash: &KeyHash) -> bool {
        // Hashes of keys with 190 random bits: how long a comparison takes tells nothing usable.
        self.read().operator.as_ref() == Some(hash)
    }

    pub(crate) fn set_operator(&self, hash: KeyHash) {
        self.write().operator = Some(hash);
    }

    /// Adds a team, or replaces what is known of it.
    pub(crate) fn put_team(&self, team: Team, in_flight: usize) {
        let mut state = self.write();
        state
            .by_external_id
            .insert(team.external_id.clone(), team.id);
        let team = Arc::new(team);
        let entry = state.teams.entry(team.id).or_insert_with(|| TeamEntry {
            team: Arc::clone(&team),
            places: Arc::new(Places::new(in_flight)),
            lanes: Arc::default(),
        });
        entry.team = team;
    }

    /// Forgets a team and its keys; returns the lanes it had.
    pub(crate) fn remove_team(&self, team: TeamId) -> Arc<Vec<Arc<Lane>>> {
        let mut state = self.write();
        let Some(entry) = state.teams.remove(&team) else {
            return Arc::default();
        };
        state.by_external_id.remove(&entry.team.external_id);
        state.keys.retain(|_, key| key.key.team != team);
        for lane in entry.lanes.iter() {
            state.lanes.remove(&lane.endpoint);
        }
        entry.lanes
    }

    pub(crate) fn put_lane(&self, lane: &Arc<Lane>) {
        let mut state = self.write();
        state.lanes.insert(lane.endpoint, Arc::clone(lane));
        if let Some(entry) = state.teams.get_mut(&lane.team) {
            Arc::make_mut(&mut entry.lanes).push(Arc::clone(lane));
        }
    }

    pub(crate) fn remove_lane(&self, endpoint: EndpointId) -> Option<Arc<Lane>> {
        let mut state = self.write();
        let lane = state.lanes.remove(&endpoint)?;
        if let Some(entry) = state.teams.get_mut(&lane.team) {
            Arc::make_mut(&mut entry.lanes).retain(|other| other.endpoint != endpoint);
        }
        Some(lane)
    }

    pub(crate) fn put_key(&self, key: ApiKey) {
        let entry = KeyEntry {
            key: Arc::new(key),
            used_at: AtomicI64::new(0),
        };
        self.write().keys.insert(entry.key.hash, Arc::new(entry));
    }

    /// Knows these keys and no others.
    pub(crate) fn keep_keys(&self, keys: Vec<ApiKey>) {
        let known: HashSet<KeyHash> = keys.iter().map(|key| key.hash).collect();
        self.write().keys.retain(|hash, _| known.contains(hash));
        for key in keys {
            // Of those that were known it is also known when they were used.
            if self.key(&key.hash).is_none() {
                self.put_key(key);
            }
        }
    }

    pub(crate) fn remove_key(&self, hash: &KeyHash) {
        self.write().keys.remove(hash);
    }

    /// The keys used since this was last asked, and when.
    pub(crate) fn take_used_keys(&self) -> Vec<(KeyId, Timestamp)> {
        let state = self.read();
        let used = state.keys.values().filter_map(|entry| {
            let at = entry.used_at.swap(0, Ordering::Relaxed);
            (at != 0).then(|| (entry.key.id, Timestamp::from_millis(at)))
        });
        used.collect()
    }
}

impl KeyEntry {
    pub(crate) fn note_use(&self, now: Timestamp) {
        self.used_at.store(now.as_millis(), Ordering::Relaxed);
    }
}
