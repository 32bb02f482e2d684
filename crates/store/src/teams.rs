//! Hides how teams are kept.

use model::audit::Action;
use model::id::{Id, TeamId};
use model::team::Team;
use model::time::Timestamp;

use crate::audit::{Hand, changed, set};
use crate::driver::{Commit, Query, Unit};
use crate::error::StoreError;
use crate::page::{Page, PageRequest};
use crate::store::Store;
use crate::value::Columns;

macro_rules! columns {
    () => {
        "SELECT id, external_id, name, plan, updated_at FROM teams WHERE deleted_at IS NULL "
    };
}
pub(crate) const LIVING: &str = concat!(columns!(), "ORDER BY id");
const PAGE: &str = concat!(columns!(), "ORDER BY id LIMIT $1 OFFSET $2");
const ONE: &str = concat!(columns!(), "AND id = $1");
const TOTAL: &str = "SELECT count(*) FROM teams WHERE deleted_at IS NULL";
/// Of several the one that was deleted last.
const DELETED: &str = "\
    SELECT MAX(id) FROM teams WHERE external_id = $1 AND deleted_at IS NOT NULL \
    HAVING MAX(id) IS NOT NULL";
/// Changes no row where a living team has the external id.
const INSERT: &str = "\
    INSERT INTO teams (id, external_id, name, plan, updated_at) VALUES ($1, $2, $3, $4, $5) \
    ON CONFLICT (external_id) WHERE deleted_at IS NULL DO NOTHING";
const UPDATE: &str = "\
    UPDATE teams SET name = COALESCE($2, name), plan = COALESCE($3, plan), updated_at = $4 \
    WHERE id = $1 AND deleted_at IS NULL";
const DELETE: &str = "UPDATE teams SET deleted_at = $2 WHERE id = $1 AND deleted_at IS NULL";
const DELETE_ENDPOINTS: &str = "\
    UPDATE endpoints SET deleted_at = $2, secret = '', previous_secrets = NULL \
    WHERE team_id = $1 AND deleted_at IS NULL";
const DELETE_KEYS: &str = "DELETE FROM api_keys WHERE team_id = $1";
const DELETE_TOKENS: &str = "DELETE FROM tokens WHERE team_id = $1";

impl Hand<'_> {
    /// Makes a team; `external_id` none gets a UUIDv7. None where the external id is taken.
    pub async fn create_team(
        self,
        external_id: Option<String>,
        name: String,
        plan: String,
        now: Timestamp,
    ) -> Result<Option<Team>, StoreError> {
        let id: TeamId = self.store.new_id(now);
        let team = Team {
            id,
            external_id: external_id.unwrap_or_else(|| self.store.codec().uuid(id).to_string()),
            name,
            plan,
            created_at: id.created_at(),
            updated_at: now,
        };
        let mut unit = Unit::default();
        unit.guard(
            INSERT,
            [
                id.into(),
                team.external_id.clone().into(),
                team.name.clone().into(),
                team.plan.clone().into(),
                now.into(),
            ],
            1,
        );
        let changes = [
            set("name", Some(team.name.clone())),
            set("plan", Some(team.plan.clone())),
        ];
        self.note(&mut unit, id, Action::TeamCreated, id, &changes, now)?;
        Ok(match self.store.commit(unit).await? {
            Commit::Done { .. } => Some(team),
            Commit::Refused { .. } => None,
        })
    }

    /// Changes a team's name or plan. None where there is no such team.
    ///
    /// The answer is made of what was read before: once the change is durable nothing can fail any
    /// more but the commit's own answer. Changes of one team come one at a time.
    pub async fn update_team(
        self,
        team: TeamId,
        name: Option<String>,
        plan: Option<String>,
        now: Timestamp,
    ) -> Result<Option<Team>, StoreError> {
        let before = self
            .store
            .read_one(Query::new(ONE, [team.into()]))
            .await?
            .first(decode)?;
        let Some(before) = before else {
            return Ok(None);
        };
        let mut unit = Unit::default();
        unit.guard(
            UPDATE,
            [
                team.into(),
                name.clone().into(),
                plan.clone().into(),
                now.into(),
            ],
            1,
        );
        let new = |field, before: &str, new: &Option<String>| {
            let new = new.as_ref().filter(|new| *new != before)?;
            Some(changed(field, Some(before.to_owned()), Some(new.clone())))
        };
        let changes = [
            new("name", &before.name, &name),
            new("plan", &before.plan, &plan),
        ];
        let changes: Vec<_> = changes.into_iter().flatten().collect();
        if !changes.is_empty() {
            self.note(&mut unit, team, Action::TeamUpdated, team, &changes, now)?;
        }
        Ok(match self.store.commit(unit).await? {
            Commit::Done { .. } => Some(Team {
                name: name.unwrap_or(before.name),
                plan: plan.unwrap_or(before.plan),
                updated_at: now,
                ..before
            }),
            // It was deleted in between.
            Commit::Refused { .. } => None,
        })
    }

    /// Deletes a team with its keys, tokens and endpoints; its log goes with retention.
    pub async fn delete_team(self, team: TeamId, now: Timestamp) -> Result<bool, StoreError> {
        let mut unit = Unit::default();
        unit.guard(DELETE, [team.into(), now.into()], 1);
        unit.add(DELETE_ENDPOINTS, [team.into(), now.into()]);
        unit.add(DELETE_KEYS, [team.into()]);
        unit.add(DELETE_TOKENS, [team.into()]);
        self.note(&mut unit, team, Action::TeamDeleted, team, &[], now)?;
        Ok(matches!(
            self.store.commit(unit).await?,
            Commit::Done { .. }
        ))
    }
}

impl Store {
    /// Teams, oldest first.
    pub async fn teams(&self, page: PageRequest) -> Result<Page<Team>, StoreError> {
        let (limit, offset) = page.window();
        self.page(
            Query::new(PAGE, [limit, offset]),
            Query::new(TOTAL, []),
            decode,
        )
        .await
    }

    /// The team that had this external id and was deleted, until nothing of it is left.
    pub async fn deleted_team(&self, external_id: &str) -> Result<Option<TeamId>, StoreError> {
        let query = Query::new(DELETED, [external_id.to_owned().into()]);
        self.read_one(query).await?.first(Columns::id)
    }
}

pub(crate) fn decode(row: &mut Columns) -> Result<Team, StoreError> {
    let id: TeamId = row.id()?;
    Ok(Team {
        id,
        external_id: row.text()?,
        name: row.text()?,
        plan: row.text()?,
        created_at: id.created_at(),
        updated_at: row.time()?,
    })
}
