//! Hides how endpoints are kept, and that a deleted one leaves a row without secrets behind.

use model::attempt::Reason;
use model::audit::{Action, Change, without_query};
use model::endpoint::{Endpoint, Secrets, Subscription};
use model::health::Health;
use model::id::{EndpointId, TeamId};
use model::time::Timestamp;

use crate::audit::{Hand, changed, set};
use crate::driver::{Commit, Query, Unit};
use crate::error::{LimitedError, StoreError};
use crate::page::{Page, PageRequest};
use crate::seal::Keyring;
use crate::store::Store;
use crate::value::{Columns, Value, damaged};

macro_rules! columns {
    () => {
        "SELECT id, team_id, url, description, event_types, secret, previous_secrets, \
         disabled, paused, consecutive_failures, failing_since, \
         last_reason, updated_at, sent_as_since, last_delivery_at FROM endpoints WHERE deleted_at IS NULL "
    };
}
pub(crate) const LIVING: &str = columns!();
const PAGE: &str = concat!(
    columns!(),
    "AND team_id = $1 ORDER BY id LIMIT $2 OFFSET $3"
);
const ONE: &str = concat!(columns!(), "AND id = $1 AND team_id = $2");
const TOTAL: &str = "SELECT count(*) FROM endpoints WHERE team_id = $1 AND deleted_at IS NULL";
/// Changes no row where the team has as many as it may, or is gone.
const ROOM: &str = "\
    UPDATE teams SET updated_at = updated_at \
    WHERE id = $1 AND deleted_at IS NULL \
      AND (SELECT count(*) FROM endpoints \
           WHERE team_id = $1 AND deleted_at IS NULL) < $2";
const INSERT: &str = "\
    INSERT INTO endpoints (id, team_id, url, description, event_types, secret, previous_secrets, \
                           disabled, paused, consecutive_failures, updated_at, sent_as_since) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 0, 0, $8, $8)";
/// Where a change may set NULL, a flag before the value says whether there is a change.
const UPDATE: &str = "\
    UPDATE endpoints SET \
        url = COALESCE($3, url), \
        description = CASE WHEN $4 = 1 THEN $5 ELSE description END, \
        event_types = CASE WHEN $6 = 1 THEN $7 ELSE event_types END, \
        disabled = COALESCE($8, disabled), \
        paused = COALESCE($9, paused), \
        secret = COALESCE($10, secret), \
        previous_secrets = CASE WHEN $10 IS NULL THEN previous_secrets ELSE $11 END, \
        updated_at = $12, \
        sent_as_since = COALESCE($13, sent_as_since) \
    WHERE id = $1 AND team_id = $2 AND deleted_at IS NULL";
const SENT_AS: &str = "\
    UPDATE endpoints SET sent_as_since = $3 \
    WHERE id = $1 AND team_id = $2 AND deleted_at IS NULL AND sent_as_since < $3";
const DELETE: &str = "\
    UPDATE endpoints SET deleted_at = $3, secret = '', previous_secrets = NULL \
    WHERE id = $1 AND team_id = $2 AND deleted_at IS NULL";

/// A change by hand; absent means unchanged.
#[derive(Clone, Debug, Default)]
pub struct EndpointChange {
    /// The URL, in normal form.
    pub url: Option<String>,
    /// The description; `Some(None)` removes it.
    pub description: Option<Option<String>>,
    /// The subscription.
    pub subscription: Option<Subscription>,
    /// Disabled or not.
    pub disabled: Option<bool>,
    /// Paused or not.
    pub paused: Option<bool>,
    /// The secrets after a rotation.
    pub secrets: Option<Secrets>,
}

impl EndpointChange {
    /// What of an endpoint it changes, for the audit log.
    fn of(&self, before: &Endpoint) -> Vec<Change> {
        let flag = |value: bool| Some(value.to_string());
        let types = |subscription: &Subscription| Some(subscription.names().join(", "));
        let mut all = Vec::new();
        if let Some(url) = &self.url {
            let shown = |url: &str| Some(without_query(url));
            // A change of nothing but the query is one all the same.
            if *url != before.url {
                all.push(changed("url", shown(&before.url), shown(url)));
            }
        }
        if let Some(description) = &self.description {
            let before = before.description.clone();
            all.push(changed("description", before, description.clone()));
        }
        if let Some(subscription) = &self.subscription {
            let before = types(&before.subscription);
            all.push(changed("eventTypes", before, types(subscription)));
        }
        if let Some(disabled) = self.disabled {
            all.push(changed("disabled", flag(before.disabled), flag(disabled)));
        }
        if let Some(paused) = self.paused {
            all.push(changed("paused", flag(before.paused), flag(paused)));
        }
        all.retain(|change| change.field == "url" || change.from != change.to);
        all
    }

    /// Whether attempts are sent elsewhere or signed otherwise by it.
    fn changes_what_is_sent(&self, before: &Endpoint) -> bool {
        let url = self.url.as_ref();
        url.is_some_and(|url| *url != before.url) || self.secrets.is_some()
    }

    /// The endpoint after the change.
    fn applied_to(self, endpoint: Endpoint, now: Timestamp) -> Endpoint {
        let sent_as_since = if self.changes_what_is_sent(&endpoint) {
            now
        } else {
            endpoint.sent_as_since
        };
        Endpoint {
            sent_as_since,
            url: self.url.unwrap_or(endpoint.url),
            description: self.description.unwrap_or(endpoint.description),
            subscription: self.subscription.unwrap_or(endpoint.subscription),
            disabled: self.disabled.unwrap_or(endpoint.disabled),
            paused: self.paused.unwrap_or(endpoint.paused),
            secrets: self.secrets.unwrap_or(endpoint.secrets),
            updated_at: now,
            ..endpoint
        }
    }
}

impl Hand<'_> {
    /// Makes an endpoint, where the team has fewer than `limit`.
    #[expect(clippy::too_many_arguments, reason = "an endpoint has that many parts")]
    pub async fn create_endpoint(
        self,
        team: TeamId,
        url: String,
        description: Option<String>,
        subscription: Subscription,
        secrets: Secrets,
        limit: u32,
        now: Timestamp,
    ) -> Result<Endpoint, LimitedError> {
        let endpoint = Endpoint {
            id: self.store.new_id(now),
            team,
            url,
            description,
            subscription,
            secrets,
            disabled: false,
            paused: false,
            health: Health::default(),
            updated_at: now,
            sent_as_since: now,
            last_delivery_at: None,
        };
        let [secret, previous] = self
            .store
            .keyring()
            .seal_all(endpoint.id, &endpoint.secrets)?;
        let mut unit = Unit::default();
        unit.guard(ROOM, [team.into(), limit.into()], 1);
        unit.add(
            INSERT,
            [
                endpoint.id.into(),
                team.into(),
                endpoint.url.clone().into(),
                endpoint.description.clone().into(),
                types_value(&endpoint.subscription)?,
                secret,
                previous,
                now.into(),
            ],
        );
        let mut changes = vec![
            set("url", Some(without_query(&endpoint.url))),
            set("eventTypes", Some(endpoint.subscription.names().join(", "))),
        ];
        if endpoint.description.is_some() {
            changes.push(set("description", endpoint.description.clone()));
        }
        let action = Action::EndpointCreated;
        self.note(&mut unit, team, action, endpoint.id, &changes, now)?;
        match self.store.commit(unit).await? {
            Commit::Done { .. } => Ok(endpoint),
            Commit::Refused { .. } => Err(LimitedError::LimitReached(limit)),
        }
    }

    /// Changes an endpoint by hand. None where the team has no such endpoint.
    ///
    /// The answer is made of what was read before: once the change is durable nothing can fail any
    /// more but the commit's own answer. Changes of one endpoint come one at a time.
    pub async fn update_endpoint(
        self,
        team: TeamId,
        endpoint: EndpointId,
        change: EndpointChange,
        now: Timestamp,
    ) -> Result<Option<Endpoint>, StoreError> {
        let Some(before) = self.store.endpoint(team, endpoint).await? else {
            return Ok(None);
        };
        let [secret, previous] = match &change.secrets {
            None => [Value::Null, Value::Null],
            Some(secrets) => self.store.keyring().seal_all(endpoint, secrets)?,
        };
        let types = change.subscription.as_ref().map(types_value).transpose()?;
        let values = [
            endpoint.into(),
            team.into(),
            change.url.clone().into(),
            change.description.is_some().into(),
            change.description.clone().flatten().into(),
            types.is_some().into(),
            types.unwrap_or(Value::Null),
            change.disabled.into(),
            change.paused.into(),
            secret,
            previous,
            now.into(),
            change.changes_what_is_sent(&before).then_some(now).into(),
        ];
        let mut unit = Unit::default();
        unit.guard(UPDATE, values, 1);
        if change.secrets.is_some() {
            self.note(&mut unit, team, Action::SecretRotated, endpoint, &[], now)?;
        }
        let changes = change.of(&before);
        if !changes.is_empty() {
            let action = Action::EndpointUpdated;
            self.note(&mut unit, team, action, endpoint, &changes, now)?;
        }
        Ok(match self.store.commit(unit).await? {
            Commit::Done { .. } => Some(change.applied_to(before, now)),
            // It was deleted in between.
            Commit::Refused { .. } => None,
        })
    }

    /// Deletes an endpoint: its unfinished deliveries are canceled by that.
    pub async fn delete_endpoint(
        self,
        team: TeamId,
        endpoint: EndpointId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let Some(before) = self.store.endpoint(team, endpoint).await? else {
            return Ok(false);
        };
        let mut unit = Unit::default();
        unit.guard(DELETE, [endpoint.into(), team.into(), now.into()], 1);
        let changes = [changed("url", Some(without_query(&before.url)), None)];
        let action = Action::EndpointDeleted;
        self.note(&mut unit, team, action, endpoint, &changes, now)?;
        Ok(matches!(
            self.store.commit(unit).await?,
            Commit::Done { .. }
        ))
    }
}

impl Store {
    /// A team's endpoint.
    pub async fn endpoint(
        &self,
        team: TeamId,
        endpoint: EndpointId,
    ) -> Result<Option<Endpoint>, StoreError> {
        self.read_one(Query::new(ONE, [endpoint.into(), team.into()]))
            .await?
            .first(|row| decode(row, self.keyring()))
    }

    /// Says that no attempt that starts at `since` or later goes by anything but what the endpoint has now. For
    /// whoever makes the attempts: between a change and their knowing of it some may start.
    pub async fn sent_as_since(
        &self,
        team: TeamId,
        endpoint: EndpointId,
        since: Timestamp,
    ) -> Result<(), StoreError> {
        let values = [endpoint.into(), team.into(), since.into()];
        self.change(Unit::of(SENT_AS, values)).await.map(|_| ())
    }

    /// A team's endpoints, oldest first.
    pub async fn endpoints(
        &self,
        team: TeamId,
        page: PageRequest,
    ) -> Result<Page<Endpoint>, StoreError> {
        let (limit, offset) = page.window();
        let rows = Query::new(PAGE, [team.into(), limit, offset]);
        let decode = |row: &mut Columns| decode(row, self.keyring());
        self.page(rows, Query::new(TOTAL, [team.into()]), decode)
            .await
    }
}

fn types_value(subscription: &Subscription) -> Result<Value, StoreError> {
    match subscription {
        Subscription::All => Ok(Value::Null),
        Subscription::Types(names) => serde_json::to_string(names)
            .map(Value::Text)
            .map_err(|error| StoreError::Internal(error.to_string())),
    }
}

fn read_types(text: Option<String>) -> Result<Subscription, StoreError> {
    match text {
        None => Ok(Subscription::All),
        Some(text) => serde_json::from_str(&text)
            .map(Subscription::Types)
            .map_err(|error| damaged(&format!("an endpoint's event types: {error}"))),
    }
}

fn read_reason(text: Option<String>) -> Result<Option<Reason>, StoreError> {
    text.map(|text| {
        Reason::parse(&text).ok_or_else(|| damaged(&format!("the reason {text:?} is unknown")))
    })
    .transpose()
}

pub(crate) fn decode(row: &mut Columns, keyring: &Keyring) -> Result<Endpoint, StoreError> {
    let id = row.id()?;
    Ok(Endpoint {
        id,
        team: row.id()?,
        url: row.text()?,
        description: row.maybe_text()?,
        subscription: read_types(row.maybe_text()?)?,
        secrets: keyring.open_all(id, &row.text()?, row.maybe_text()?.as_deref())?,
        disabled: row.flag()?,
        paused: row.flag()?,
        health: Health {
            consecutive_failures: row.count()?,
            failing_since: row.maybe_time()?,
            last_reason: read_reason(row.maybe_text()?)?,
        },
        updated_at: row.time()?,
        sent_as_since: row.time()?,
        last_delivery_at: row.maybe_time()?,
    })
}
