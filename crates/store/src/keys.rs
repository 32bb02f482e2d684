//! Hides how API keys and the operator's key are kept: as hashes.

use bytes::Bytes;
use model::audit::Action;
use model::id::{KeyId, TeamId};
use model::key::{ApiKey, KeyHash, Scope, Scopes};
use model::time::Timestamp;

use crate::audit::{Hand, changed, set};
use crate::driver::{Commit, Query, Unit};
use crate::error::{LimitedError, StoreError};
use crate::page::{Page, PageRequest};
use crate::store::Store;
use crate::value::Columns;

macro_rules! columns {
    () => {
        "SELECT id, team_id, name, shown, hash, scopes, last_used_at, expires_at FROM api_keys "
    };
}
pub(crate) const ALL: &str = columns!();
const PAGE: &str = concat!(
    columns!(),
    "WHERE team_id = $1 ORDER BY id LIMIT $2 OFFSET $3"
);
const TOTAL: &str = "SELECT count(*) FROM api_keys WHERE team_id = $1";
/// Changes no row where the team has as many as it may, or is gone.
const ROOM: &str = "\
    UPDATE teams SET updated_at = updated_at \
    WHERE id = $1 AND deleted_at IS NULL \
      AND (SELECT count(*) FROM api_keys WHERE team_id = $1) < $2";
const INSERT: &str = "\
    INSERT INTO api_keys (id, team_id, name, shown, hash, scopes, last_used_at, expires_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
const ONE: &str = concat!(columns!(), "WHERE id = $1 AND team_id = $2");
const DELETE: &str = "DELETE FROM api_keys WHERE id = $1 AND team_id = $2";
const TOUCH: &str = "\
    UPDATE api_keys SET last_used_at = $2 \
    WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)";
const OPERATOR: &str = "SELECT value FROM meta WHERE key = 'operator_key'";
const SET_OPERATOR: &str = "\
    INSERT INTO meta (key, value) VALUES ('operator_key', $1) \
    ON CONFLICT (key) DO UPDATE SET value = excluded.value";

impl Hand<'_> {
    /// Makes a key, where the team has fewer than `limit`. The key's id is given by the store.
    pub async fn create_key(
        self,
        team: TeamId,
        key: ApiKey,
        limit: u32,
        now: Timestamp,
    ) -> Result<ApiKey, LimitedError> {
        let key = ApiKey {
            id: self.store.new_id(now),
            team,
            ..key
        };
        let mut unit = Unit::default();
        unit.guard(ROOM, [team.into(), limit.into()], 1);
        unit.add(
            INSERT,
            [
                key.id.into(),
                team.into(),
                key.name.clone().into(),
                key.shown.clone().into(),
                key.hash.0.into(),
                key.scopes.bits().into(),
                key.last_used_at.into(),
                key.expires_at.into(),
            ],
        );
        let scopes: Vec<_> = key.scopes.iter().map(Scope::as_str).collect();
        let mut changes = vec![
            set("name", Some(key.name.clone())),
            set("prefix", Some(key.shown.clone())),
            set("scopes", Some(scopes.join(", "))),
        ];
        if let Some(expires_at) = key.expires_at {
            changes.push(set("expiresAt", Some(expires_at.to_string())));
        }
        self.note(&mut unit, team, Action::KeyCreated, key.id, &changes, now)?;
        match self.store.commit(unit).await? {
            Commit::Done { .. } => Ok(key),
            Commit::Refused { .. } => Err(LimitedError::LimitReached(limit)),
        }
    }

    /// Deletes a key; its hash, so that the roster can forget it.
    pub async fn delete_key(
        self,
        team: TeamId,
        key: KeyId,
        now: Timestamp,
    ) -> Result<Option<KeyHash>, StoreError> {
        let query = Query::new(ONE, [key.into(), team.into()]);
        let Some(before) = self.store.read_one(query).await?.first(decode)? else {
            return Ok(None);
        };
        let mut unit = Unit::default();
        unit.guard(DELETE, [key.into(), team.into()], 1);
        let changes = [
            changed("name", Some(before.name), None),
            changed("prefix", Some(before.shown), None),
        ];
        self.note(&mut unit, team, Action::KeyDeleted, key, &changes, now)?;
        Ok(match self.store.commit(unit).await? {
            Commit::Done { .. } => Some(before.hash),
            Commit::Refused { .. } => None,
        })
    }
}

impl Store {
    /// A team's keys, oldest first.
    pub async fn keys(&self, team: TeamId, page: PageRequest) -> Result<Page<ApiKey>, StoreError> {
        let (limit, offset) = page.window();
        let rows = Query::new(PAGE, [team.into(), limit, offset]);
        self.page(rows, Query::new(TOTAL, [team.into()]), decode)
            .await
    }

    /// Notes when keys were last used.
    pub async fn touch_keys(&self, used: Vec<(KeyId, Timestamp)>) -> Result<(), StoreError> {
        let mut unit = Unit::with_capacity(used.len(), 2 * used.len());
        for (key, at) in used {
            unit.add(TOUCH, [key.into(), at.into()]);
        }
        if unit.is_empty() {
            return Ok(());
        }
        self.change(unit).await.map(|_| ())
    }

    /// The hash of the operator's key, where one was made.
    pub async fn operator_key(&self) -> Result<Option<KeyHash>, StoreError> {
        let rows = self.read_one(Query::new(OPERATOR, [])).await?;
        Ok(rows.first(Columns::array)?.map(KeyHash))
    }

    /// Keeps the hash of the operator's key.
    pub async fn set_operator_key(&self, hash: KeyHash) -> Result<(), StoreError> {
        let hash = Bytes::copy_from_slice(&hash.0);
        self.change(Unit::of(SET_OPERATOR, [hash.into()]))
            .await
            .map(|_| ())
    }
}

pub(crate) fn decode(row: &mut Columns) -> Result<ApiKey, StoreError> {
    Ok(ApiKey {
        id: row.id()?,
        team: row.id()?,
        name: row.text()?,
        shown: row.text()?,
        hash: KeyHash(row.array()?),
        scopes: Scopes::from_bits(row.int()?),
        last_used_at: row.maybe_time()?,
        expires_at: row.maybe_time()?,
    })
}
