//! Hides how sessions of the settings pages are kept: by the hash of what the browser holds, until they end.

use std::sync::Arc;

use model::id::TeamId;
use model::key::KeyHash;
use model::time::Timestamp;

use crate::driver::{Query, Unit};
use crate::error::StoreError;
use crate::store::Store;
use crate::tokens::LinkHolder;
use crate::value::{Columns, damaged};

const PUT: &str = "\
    INSERT INTO sessions (hash, team_id, actor_name, key_hash, idle_until, expires_at) \
    VALUES ($1, $2, $3, $4, $5, $6)";
const FIND: &str = "\
    SELECT team_id, actor_name, key_hash, idle_until, expires_at FROM sessions \
    WHERE hash = $1 AND idle_until > $2 AND expires_at > $2";
const TOUCH: &str = "UPDATE sessions SET idle_until = $2 WHERE hash = $1 AND idle_until < $2";
const END: &str = "DELETE FROM sessions WHERE hash = $1";
const SWEEP: &str = "DELETE FROM sessions WHERE expires_at <= $1";

/// By what a session was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opener {
    /// A link into a team's pages.
    Link(LinkHolder),
    /// A key, with which the session ends.
    Key(KeyHash),
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// By what it was opened.
    pub opener: Opener,
    /// When it ends unless something is asked for before.
    pub idle_until: Timestamp,
    /// When it ends whatever is asked for.
    pub expires_at: Timestamp,
}

impl Store {
    /// Keeps a session.
    pub async fn put_session(&self, hash: [u8; 32], session: Session) -> Result<(), StoreError> {
        let (team, name, key) = match session.opener {
            Opener::Link(holder) => (Some(holder.team), holder.name, None),
            Opener::Key(key) => (None, None, Some(key.0)),
        };
        let values = [
            hash.into(),
            team.into(),
            name.into(),
            key.into(),
            session.idle_until.into(),
            session.expires_at.into(),
        ];
        self.change(Unit::of(PUT, values)).await.map(|_| ())
    }

    /// A session that has not ended.
    pub async fn session(
        &self,
        hash: [u8; 32],
        now: Timestamp,
    ) -> Result<Option<Session>, StoreError> {
        self.read_one(Query::new(FIND, [hash.into(), now.into()]))
            .await?
            .first(decode)
    }

    /// Moves a session's idle end.
    pub async fn touch_session(
        &self,
        hash: [u8; 32],
        idle_until: Timestamp,
    ) -> Result<(), StoreError> {
        let values = [hash.into(), idle_until.into()];
        self.change(Unit::of(TOUCH, values)).await.map(|_| ())
    }

    /// Ends a session.
    pub async fn end_session(&self, hash: [u8; 32]) -> Result<(), StoreError> {
        self.change(Unit::of(END, [hash.into()])).await.map(|_| ())
    }

    /// Deletes the sessions that ended by age; how many.
    pub async fn sweep_sessions(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.change(Unit::of(SWEEP, [now.into()])).await
    }
}

fn decode(row: &mut Columns) -> Result<Session, StoreError> {
    let team = row.maybe_int()?.map(TeamId);
    let name = row.maybe_text()?.map(Arc::from);
    let key = row.maybe_bytes()?;
    let opener = match (team, name, key) {
        (Some(team), name, None) => Opener::Link(LinkHolder { team, name }),
        (None, None, Some(key)) => {
            let key = key.as_ref().try_into();
            Opener::Key(KeyHash(key.map_err(|_| {
                damaged("the key of a session has another length than it should")
            })?))
        }
        _ => return Err(damaged("a session is of neither a team nor a key")),
    };
    Ok(Session {
        opener,
        idle_until: row.time()?,
        expires_at: row.time()?,
    })
}
