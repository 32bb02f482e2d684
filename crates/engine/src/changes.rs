//! Hides how a change by hand takes effect: first in the store, then in the roster, in one order.

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use egress::ReceiverUrl;
use model::audit::Actor;
use model::endpoint::{Endpoint, PREVIOUS_SECRETS_MAX, Secret, Secrets, Subscription};
use model::id::{DeliveryId, EndpointId, KeyId, TeamId};
use model::key::{ApiKey, NewKey, Scopes, TEAM_KEY_PREFIX};
use model::team::{Plan, Team};
use model::time::Timestamp;
use store::{EndpointChange, LimitedError, Loaded, Retried, RetryFilter, StoreError};

use crate::house::House;
use crate::lane::{Bounds, Lane, Target};
use crate::{EndpointEdit, Refusal};

const ENDPOINT: Refusal = Refusal::NotFound("webhook endpoint");
const TEAM: Refusal = Refusal::NotFound("team");
/// The least by which two moments differ.
const A_MOMENT: Duration = Duration::from_millis(1);

impl House {
    /// Makes a change by hand: one at a time, and none on top of one of which nobody knows whether it was
    /// made.
    pub(crate) async fn one_change<T>(
        self: Arc<Self>,
        change: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        let mut doubt = self.changes.lock().await;
        self.resolve(&mut doubt).await?;
        let made = change.await;
        // The store may have done it before it failed, or without being able to say so.
        *doubt = matches!(&made, Err(Refusal::Store(error)) if *error != StoreError::Overloaded);
        made
    }

    /// Finds out what came of a change that failed in doubt, unless the next one is doing that.
    pub(crate) async fn resolve_change(self: &Arc<Self>) -> Result<(), StoreError> {
        match self.changes.try_lock() {
            Ok(mut doubt) => self.resolve(&mut doubt).await,
            Err(_) => Ok(()),
        }
    }

    async fn resolve(self: &Arc<Self>, doubt: &mut bool) -> Result<(), StoreError> {
        if *doubt {
            self.follow_store().await?;
            *doubt = false;
        }
        Ok(())
    }

    /// Makes the roster what it would be after a start: whatever was changed, the store knows it.
    async fn follow_store(self: &Arc<Self>) -> Result<(), StoreError> {
        let Loaded {
            teams,
            endpoints,
            keys,
        } = self.store.load().await?;
        let living: HashSet<TeamId> = teams.iter().map(|team| team.id).collect();
        for team in self.roster.teams() {
            if !living.contains(&team) {
                for lane in self.roster.remove_team(team).iter() {
                    self.retire(lane);
                }
            }
        }
        for team in teams {
            self.roster
                .put_team(team, self.options.max_in_flight_per_team);
        }
        self.roster.keep_keys(keys);
        let living: HashSet<EndpointId> = endpoints.iter().map(|endpoint| endpoint.id).collect();
        for lane in self.roster.lanes() {
            if !living.contains(&lane.endpoint) {
                self.roster.remove_lane(lane.endpoint);
                self.retire(&lane);
            }
        }
        for endpoint in &endpoints {
            match self.roster.lane(endpoint.id) {
                Some(lane) => self.retarget(&lane, endpoint),
                None => self.admit(endpoint),
            }
        }
        Ok(())
    }

    fn retarget(self: &Arc<Self>, lane: &Arc<Lane>, endpoint: &Endpoint) {
        let policy = &self.options.policy;
        let next = lane.retarget(|before| Target::new(endpoint, policy, Some(before)));
        self.follow(lane, next);
    }

    /// The lane of an endpoint as it was loaded or just made.
    pub(crate) fn admit(&self, endpoint: &Endpoint) {
        let Some(team_places) = self.roster.places(endpoint.team) else {
            return;
        };
        let bounds = Bounds::with_in_flight(self.options.max_in_flight_per_endpoint);
        let target = Target::new(endpoint, &self.options.policy, None);
        let memory = self.memory.clone();
        let lane = Lane::new(
            endpoint.id,
            endpoint.team,
            team_places,
            target,
            bounds,
            memory,
            self.trouble.clone(),
        );
        self.roster.put_lane(&Arc::new(lane));
    }

    fn plan_of(&self, team: TeamId) -> Result<&Plan, Refusal> {
        let team = self.roster.team(team).ok_or(TEAM)?;
        // A plan taken out of the configuration grants nothing until the team is given another.
        self.options
            .plans
            .get(&team.plan)
            .ok_or(Refusal::NoWebhooks)
    }

    pub(crate) async fn create_team(
        self: Arc<Self>,
        by: Actor,
        external_id: Option<String>,
        name: String,
        plan: String,
    ) -> Result<Team, Refusal> {
        let taken = external_id.clone().unwrap_or_default();
        let team = self
            .store
            .by(by)
            .create_team(external_id, name, plan, self.clock.now())
            .await?;
        let team = team.ok_or_else(|| {
            Refusal::Conflict(format!("there is a team with the id {taken:?} already"))
        })?;
        self.roster
            .put_team(team.clone(), self.options.max_in_flight_per_team);
        Ok(team)
    }

    pub(crate) async fn update_team(
        self: Arc<Self>,
        by: Actor,
        team: TeamId,
        name: Option<String>,
        plan: Option<String>,
    ) -> Result<Team, Refusal> {
        let team = self
            .store
            .by(by)
            .update_team(team, name, plan, self.clock.now())
            .await?
            .ok_or(TEAM)?;
        self.roster
            .put_team(team.clone(), self.options.max_in_flight_per_team);
        Ok(team)
    }

    pub(crate) async fn delete_team(
        self: Arc<Self>,
        by: Actor,
        team: TeamId,
    ) -> Result<(), Refusal> {
        if !self
            .store
            .by(by)
            .delete_team(team, self.clock.now())
            .await?
        {
            return Err(TEAM);
        }
        for lane in self.roster.remove_team(team).iter() {
            self.retire(lane);
        }
        Ok(())
    }

    pub(crate) async fn create_endpoint(
        self: Arc<Self>,
        by: Actor,
        team: TeamId,
        url: String,
        description: Option<String>,
        subscription: Subscription,
    ) -> Result<Endpoint, Refusal> {
        let limit = match self.plan_of(team)?.endpoints {
            0 => return Err(Refusal::NoWebhooks),
            limit => limit,
        };
        let secrets = Secrets::new(new_secret()?);
        let endpoint = self
            .store
            .by(by)
            .create_endpoint(
                team,
                url,
                description,
                subscription,
                secrets,
                limit,
                self.clock.now(),
            )
            .await
            .map_err(limited)?;
        self.admit(&endpoint);
        Ok(endpoint)
    }

    pub(crate) async fn update_endpoint(
        self: Arc<Self>,
        by: Actor,
        team: TeamId,
        endpoint: EndpointId,
        edit: EndpointEdit,
    ) -> Result<Endpoint, Refusal> {
        let change = EndpointChange {
            url: edit
                .url
                .as_ref()
                .map(|url: &ReceiverUrl| url.as_written().to_owned()),
            description: edit.description,
            subscription: edit.subscription,
            disabled: edit.disabled,
            paused: edit.paused,
            secrets: None,
        };
        self.change_endpoint(by, team, endpoint, change).await
    }

    pub(crate) async fn rotate_secret(
        self: Arc<Self>,
        by: Actor,
        team: TeamId,
        endpoint: EndpointId,
        expire_old_after: Duration,
    ) -> Result<(Secret, Endpoint), Refusal> {
        let before = self.store.endpoint(team, endpoint).await?.ok_or(ENDPOINT)?;
        let now = self.clock.now();
        let new = new_secret()?;
        let secrets = before
            .secrets
            .rotated(new.clone(), now, now.after(expire_old_after));
        let secrets = secrets.ok_or_else(|| {
            Refusal::Conflict(format!(
                "{PREVIOUS_SECRETS_MAX} older secrets of the endpoint are still in use; wait until \
                 one has expired, or let all of them expire at once (expireOldAfterSeconds 0)"
            ))
        })?;
        let change = EndpointChange {
            secrets: Some(secrets),
            ..EndpointChange::default()
        };
        Ok((new, self.change_endpoint(by, team, endpoint, change).await?))
    }

    /// Changes the store, then the lane.
    async fn change_endpoint(
        self: &Arc<Self>,
        by: Actor,
        team: TeamId,
        endpoint: EndpointId,
        change: EndpointChange,
    ) -> Result<Endpoint, Refusal> {
        let now = self.clock.now();
        let mut endpoint = self
            .store
            .by(by)
            .update_endpoint(team, endpoint, change, now)
            .await?
            .ok_or(ENDPOINT)?;
        if let Some(lane) = self.roster.lane(endpoint.id) {
            self.retarget(&lane, &endpoint);
        }
        if endpoint.sent_as_since == now {
            self.tell_sent_as(&mut endpoint).await;
        }
        Ok(endpoint)
    }

    /// While the change was being committed, attempts still began by what was before. The store is told from
    /// when on none does, so that nobody is shown what they were not sent with.
    async fn tell_sent_as(&self, endpoint: &mut Endpoint) {
        let since = self.clock.now().after(A_MOMENT);
        match self
            .store
            .sent_as_since(endpoint.team, endpoint.id, since)
            .await
        {
            Ok(()) => endpoint.sent_as_since = since,
            // The change itself is done. Only of attempts in those milliseconds too much would be said.
            Err(error) => {
                tracing::warn!(%error, "it was not noted when the change of an endpoint took hold")
            }
        }
    }

    pub(crate) async fn delete_endpoint(
        self: Arc<Self>,
        by: Actor,
        team: TeamId,
        endpoint: EndpointId,
    ) -> Result<(), Refusal> {
        if !self
            .store
            .by(by)
            .delete_endpoint(team, endpoint, self.clock.now())
            .await?
        {
            return Err(ENDPOINT);
        }
        if let Some(lane) = self.roster.remove_lane(endpoint) {
            self.retire(&lane);
        }
        Ok(())
    }

    pub(crate) async fn create_key(
        self: Arc<Self>,
        by: Actor,
        team: TeamId,
        name: String,
        scopes: Scopes,
        expires_at: Option<Timestamp>,
    ) -> Result<(NewKey, ApiKey), Refusal> {
        let limit = self.plan_of(team)?.api_keys;
        let new = new_key(TEAM_KEY_PREFIX)?;
        let key = ApiKey {
            id: KeyId(0), // the store gives it
            team,
            name,
            shown: new.shown().to_owned(),
            hash: new.hash(),
            scopes,
            last_used_at: None,
            expires_at,
        };
        let key = self
            .store
            .by(by)
            .create_key(team, key, limit, self.clock.now())
            .await
            .map_err(limited)?;
        self.roster.put_key(key.clone());
        Ok((new, key))
    }

    pub(crate) async fn delete_key(
        self: Arc<Self>,
        by: Actor,
        team: TeamId,
        key: KeyId,
    ) -> Result<(), Refusal> {
        let hash = self
            .store
            .by(by)
            .delete_key(team, key, self.clock.now())
            .await?
            .ok_or(Refusal::NotFound("API key"))?;
        self.roster.remove_key(&hash);
        Ok(())
    }

    pub(crate) async fn retry_delivery(
        self: Arc<Self>,
        team: TeamId,
        delivery: DeliveryId,
    ) -> Result<(), Refusal> {
        let now = self.due_now();
        let retried = self.store.retry_delivery(team, delivery, now).await;
        if retried.is_err() {
            // It may have its fresh schedule all the same: whose it is only the store could tell.
            self.poke_all(self.roster.lanes_of(team).iter());
        }
        match retried? {
            Retried::NotFound => Err(Refusal::NotFound("delivery")),
            Retried::EndpointDeleted => {
                let sentence =
                    "the delivery's endpoint was deleted, so there is nowhere to send it";
                Err(Refusal::Conflict(sentence.into()))
            }
            Retried::Fresh(endpoint) => {
                if let Some(lane) = self.roster.lane(endpoint) {
                    let next = lane.retried(delivery);
                    self.follow(&lane, next);
                }
                Ok(())
            }
        }
    }

    pub(crate) async fn retry_dead_letters(
        self: Arc<Self>,
        team: TeamId,
        endpoint: EndpointId,
        filter: RetryFilter,
        done: Arc<AtomicU64>,
    ) -> Result<u64, Refusal> {
        let lane = self
            .roster
            .lane(endpoint)
            .filter(|lane| lane.team == team)
            .ok_or(ENDPOINT)?;
        let retried = self
            .store
            .retry_dead_letters_watched(team, endpoint, &filter, self.due_now(), &done)
            .await;
        // Also after a failure: a part of the range may have been given its schedules before.
        let next = lane.poke();
        self.follow(&lane, next);
        Ok(retried?)
    }

    /// Ends a lane whose endpoint is gone: what it was owed is canceled by that.
    fn retire(self: &Arc<Self>, lane: &Arc<Lane>) {
        let next = lane.retarget(Target::into_deleted);
        self.follow(lane, next);
    }

    /// Has lanes look for what they may be owed without having been told.
    pub(crate) fn poke_all<'l>(self: &Arc<Self>, lanes: impl IntoIterator<Item = &'l Arc<Lane>>) {
        for lane in lanes {
            let next = lane.poke();
            self.follow(lane, next);
        }
    }

    /// What a fresh schedule is due at: the time lanes go by.
    fn due_now(&self) -> Timestamp {
        self.clock.steady()
    }
}

fn limited(error: LimitedError) -> Refusal {
    match error {
        LimitedError::LimitReached(limit) => Refusal::LimitReached(limit),
        LimitedError::Store(error) => Refusal::Store(error),
    }
}

fn random<const N: usize>() -> Result<[u8; N], Refusal> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Refusal::Randomness(error.to_string()))?;
    Ok(bytes)
}

fn new_secret() -> Result<Secret, Refusal> {
    Ok(Secret::from_random(&random()?))
}

/// A new key; more random bytes are drawn in the rare case that too many were unfair.
pub(crate) fn new_key(prefix: &str) -> Result<NewKey, Refusal> {
    loop {
        if let Some(key) = NewKey::from_random(prefix, &random::<64>()?) {
            return Ok(key);
        }
    }
}
