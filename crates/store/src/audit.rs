//! Hides how changes by hand are remembered: each in the commit that makes it, so that none is without
//! its entry and no entry without its change. All of them go through a [`Hand`].

use std::sync::Arc;

use model::audit::{Action, Actor, AuditEntry, Change, Subject};
use model::id::{AuditId, EndpointId, Id, TeamId, first_raw_at};
use model::time::Timestamp;

use crate::driver::{Query, Unit};
use crate::error::StoreError;
use crate::store::Store;
use crate::value::{Columns, damaged};

const INSERT: &str = "\
    INSERT INTO audit_log (id, team_id, actor, actor_key, actor_name, action, subject, changes) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
const PAGE: &str = "\
    SELECT id, actor, actor_key, actor_name, action, subject, changes FROM audit_log \
    WHERE team_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3";
/// In the JSON of changes nothing but a field's name stands behind `["`.
const URL_CHANGE: &str = "\
    SELECT changes FROM audit_log \
    WHERE subject = $1 AND id >= $2 AND team_id = $3 AND action <> $4 AND changes LIKE $5 \
    ORDER BY id LIMIT 1";

/// Somebody who changes what is in the store.
#[derive(Clone)]
pub struct Hand<'s> {
    pub(crate) store: &'s Store,
    actor: Actor,
}

impl Store {
    /// The store in somebody's hand: what they change is remembered as theirs.
    pub fn by(&self, actor: Actor) -> Hand<'_> {
        Hand { store: self, actor }
    }

    /// A team's changes by hand, newest first, before a position.
    pub async fn audit_log(
        &self,
        team: TeamId,
        before: Option<AuditId>,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        let before = before.unwrap_or(AuditId(i64::MAX));
        let query = Query::new(PAGE, [team.into(), before.into(), limit.into()]);
        self.read_one(query).await?.decode(decode)
    }

    /// The URL that one of a team's endpoints had at a moment, without its query, where it has another since or
    /// was deleted. None where it has that one still, or nothing is remembered.
    pub async fn url_before_change(
        &self,
        team: TeamId,
        endpoint: EndpointId,
        at: Timestamp,
    ) -> Result<Option<String>, StoreError> {
        let values = [
            endpoint.into(),
            first_raw_at(at).into(),
            team.into(),
            Action::EndpointCreated.as_str().into(),
            "%[\"url\",%".into(),
        ];
        let rows = self.read_one(Query::new(URL_CHANGE, values)).await?;
        let changes = rows.first(|row| changes_of(&row.text()?))?;
        let url = changes.into_iter().flatten().find(|one| one.field == "url");
        Ok(url.and_then(|change| change.from))
    }
}

impl Hand<'_> {
    /// Adds to a change's unit the entry that remembers it.
    pub(crate) fn note(
        &self,
        unit: &mut Unit,
        team: TeamId,
        action: Action,
        subject: impl Id,
        changes: &[Change],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let id: AuditId = self.store.new_id(now);
        let changes: Vec<_> = changes
            .iter()
            .map(|change| (&change.field, &change.from, &change.to))
            .collect();
        let changes = serde_json::to_string(&changes)
            .map_err(|error| StoreError::Internal(error.to_string()))?;
        unit.add(
            INSERT,
            [
                id.into(),
                team.into(),
                self.actor.as_str().into(),
                self.actor.key().into(),
                self.actor.name().cloned().into(),
                action.as_str().into(),
                subject.raw().into(),
                changes.into(),
            ],
        );
        Ok(())
    }
}

/// What becomes of a field of something new.
pub(crate) fn set(field: &str, to: Option<String>) -> Change {
    changed(field, None, to)
}

/// What becomes of a field.
pub(crate) fn changed(field: &str, from: Option<String>, to: Option<String>) -> Change {
    Change {
        field: field.into(),
        from,
        to,
    }
}

fn decode(row: &mut Columns) -> Result<AuditEntry, StoreError> {
    let id = row.id()?;
    let (actor, key) = (row.text()?, row.maybe_int()?.map(Id::from_raw));
    let name = row.maybe_text()?.map(Arc::from);
    let actor = Actor::parse(&actor, key, name)
        .ok_or_else(|| damaged(&format!("the actor {actor:?} is unknown")))?;
    let action = row.text()?;
    let action = Action::parse(&action)
        .ok_or_else(|| damaged(&format!("the action {action:?} is unknown")))?;
    let subject: Subject = action.subject(row.int()?);
    Ok(AuditEntry {
        id,
        actor,
        action,
        subject,
        changes: changes_of(&row.text()?)?,
    })
}

fn changes_of(text: &str) -> Result<Vec<Change>, StoreError> {
    let changes: Vec<(String, Option<String>, Option<String>)> = serde_json::from_str(text)
        .map_err(|_| damaged("the changes of an audit entry are not readable"))?;
    let changes = changes
        .into_iter()
        .map(|(field, from, to)| Change { field, from, to });
    Ok(changes.collect())
}
