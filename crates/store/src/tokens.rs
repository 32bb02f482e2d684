//! Hides how one-time links into the settings pages are kept: as hashes, until they expire.

use std::sync::Arc;

use model::id::TeamId;
use model::time::Timestamp;

use crate::driver::{Commit, Query, Unit};
use crate::error::StoreError;
use crate::store::Store;
use crate::value::{Columns, Value};

const PUT: &str = "\
    INSERT INTO tokens (kind, hash, team_id, actor_name, expires_at) \
    VALUES ($1, $2, $3, $4, $5)";
const FIND: &str = "\
    SELECT team_id, actor_name FROM tokens WHERE kind = $1 AND hash = $2 AND expires_at > $3";
const TAKE: &str = "DELETE FROM tokens WHERE kind = $1 AND hash = $2 AND expires_at > $3";

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// A link into the settings pages.
    SettingsLink,
    /// A link to the page that makes the first team; kept for no team, so for the one of number 0.
    FirstRun,
}

impl From<TokenKind> for Value {
    fn from(kind: TokenKind) -> Self {
        Self::Word(match kind {
            TokenKind::SettingsLink => "settings_link",
            TokenKind::FirstRun => "first_run",
        })
    }
}

/// Whom a link lets in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkHolder {
    /// The team whose pages it opens.
    pub team: TeamId,
    /// Who it was made for, where the product said so.
    pub name: Option<Arc<str>>,
}

impl From<TeamId> for LinkHolder {
    /// Somebody of the team's.
    fn from(team: TeamId) -> Self {
        Self { team, name: None }
    }
}

impl Store {
    /// Keeps a token until it expires.
    pub async fn put_token(
        &self,
        holder: LinkHolder,
        kind: TokenKind,
        hash: [u8; 32],
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        let values = [
            kind.into(),
            hash.into(),
            holder.team.into(),
            holder.name.into(),
            expires_at.into(),
        ];
        self.change(Unit::of(PUT, values)).await.map(|_| ())
    }

    /// Uses a token up: whom it lets in, where it was there and not expired.
    pub async fn take_token(
        &self,
        kind: TokenKind,
        hash: [u8; 32],
        now: Timestamp,
    ) -> Result<Option<LinkHolder>, StoreError> {
        let Some(holder) = self.token(kind, hash, now).await? else {
            return Ok(None);
        };
        // Of two who take it at once, the guard lets one have it.
        let mut unit = Unit::default();
        unit.guard(TAKE, [kind.into(), hash.into(), now.into()], 1);
        Ok(match self.commit(unit).await? {
            Commit::Done { .. } => Some(holder),
            Commit::Refused { .. } => None,
        })
    }

    /// Whom a token lets in, where it is there and not expired.
    pub async fn token(
        &self,
        kind: TokenKind,
        hash: [u8; 32],
        now: Timestamp,
    ) -> Result<Option<LinkHolder>, StoreError> {
        self.read_one(Query::new(FIND, [kind.into(), hash.into(), now.into()]))
            .await?
            .first(decode)
    }
}

fn decode(row: &mut Columns) -> Result<LinkHolder, StoreError> {
    Ok(LinkHolder {
        team: row.id()?,
        name: row.maybe_text()?.map(Arc::from),
    })
}
