//! Hides who makes a change by hand: whatever one does through a [`Hand`] is remembered as theirs.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use egress::ReceiverUrl;
use model::audit::Actor;
use model::endpoint::{Endpoint, Secret, Subscription};
use model::id::{EndpointId, KeyId, TeamId};
use model::key::{ApiKey, NewKey, Scopes};
use model::team::Team;
use model::time::Timestamp;

use crate::house::House;
use crate::to_the_end::to_the_end;
use crate::{EndpointEdit, Refusal};

/// Somebody who changes teams, endpoints and keys.
#[derive(Clone)]
pub struct Hand<'e> {
    pub(crate) house: &'e Arc<House>,
    pub(crate) actor: Actor,
}

impl Hand<'_> {
    /// Makes a change after those before it, to its end.
    async fn make<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T, Refusal>> + Send + 'static,
    ) -> Result<T, Refusal> {
        to_the_end(
            self.house
                .watched(Arc::clone(self.house).one_change(change)),
        )
        .await
    }

    /// Makes a team; without an external id it gets a UUIDv7.
    ///
    /// # Errors
    /// `Conflict` where the external id is taken.
    pub async fn create_team(
        self,
        external_id: Option<String>,
        name: String,
        plan: String,
    ) -> Result<Team, Refusal> {
        let house = Arc::clone(self.house);
        self.make(house.create_team(self.actor.clone(), external_id, name, plan))
            .await
    }

    /// Changes a team.
    ///
    /// # Errors
    /// Where there is no such team, or the store cannot.
    pub async fn update_team(
        self,
        team: TeamId,
        name: Option<String>,
        plan: Option<String>,
    ) -> Result<Team, Refusal> {
        let house = Arc::clone(self.house);
        self.make(house.update_team(self.actor.clone(), team, name, plan))
            .await
    }

    /// Deletes a team with its keys and endpoints.
    ///
    /// # Errors
    /// Where there is no such team, or the store cannot.
    pub async fn delete_team(self, team: TeamId) -> Result<(), Refusal> {
        let house = Arc::clone(self.house);
        self.make(house.delete_team(self.actor.clone(), team)).await
    }

    /// Makes an endpoint with a new secret.
    ///
    /// # Errors
    /// Where the plan has no webhooks or grants no more endpoints, or the store cannot.
    pub async fn create_endpoint(
        self,
        team: TeamId,
        url: &ReceiverUrl,
        description: Option<String>,
        subscription: Subscription,
    ) -> Result<Endpoint, Refusal> {
        let url = url.as_written().to_owned();
        let house = Arc::clone(self.house);
        self.make(house.create_endpoint(self.actor.clone(), team, url, description, subscription))
            .await
    }

    /// Changes an endpoint; when this returns no attempt starts by the old settings.
    ///
    /// # Errors
    /// Where the team has no such endpoint, or the store cannot.
    pub async fn update_endpoint(
        self,
        team: TeamId,
        endpoint: EndpointId,
        edit: EndpointEdit,
    ) -> Result<Endpoint, Refusal> {
        let house = Arc::clone(self.house);
        self.make(house.update_endpoint(self.actor.clone(), team, endpoint, edit))
            .await
    }

    /// Deletes an endpoint, which cancels what it was owed.
    ///
    /// # Errors
    /// Where the team has no such endpoint, or the store cannot.
    pub async fn delete_endpoint(self, team: TeamId, endpoint: EndpointId) -> Result<(), Refusal> {
        let house = Arc::clone(self.house);
        self.make(house.delete_endpoint(self.actor.clone(), team, endpoint))
            .await
    }

    /// A new secret, and the endpoint with it; the old one stays in use for `expire_old_after`.
    ///
    /// # Errors
    /// Where the team has no such endpoint, or the store cannot.
    pub async fn rotate_secret(
        self,
        team: TeamId,
        endpoint: EndpointId,
        expire_old_after: Duration,
    ) -> Result<(Secret, Endpoint), Refusal> {
        let house = Arc::clone(self.house);
        self.make(house.rotate_secret(self.actor.clone(), team, endpoint, expire_old_after))
            .await
    }

    /// Makes an API key.
    ///
    /// # Errors
    /// Where the plan grants no more keys, or the store cannot.
    pub async fn create_key(
        self,
        team: TeamId,
        name: String,
        scopes: Scopes,
        expires_at: Option<Timestamp>,
    ) -> Result<(NewKey, ApiKey), Refusal> {
        let house = Arc::clone(self.house);
        self.make(house.create_key(self.actor.clone(), team, name, scopes, expires_at))
            .await
    }

    /// Revokes an API key.
    ///
    /// # Errors
    /// Where the team has no such key, or the store cannot.
    pub async fn delete_key(self, team: TeamId, key: KeyId) -> Result<(), Refusal> {
        let house = Arc::clone(self.house);
        self.make(house.delete_key(self.actor.clone(), team, key))
            .await
    }
}
