//! Hides how all that the roster holds is read at start.

use model::endpoint::Endpoint;
use model::key::ApiKey;
use model::team::Team;

use crate::driver::Query;
use crate::error::StoreError;
use crate::store::Store;
use crate::value::damaged;
use crate::{endpoints, keys, teams};

/// All that the roster holds.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The teams that are not deleted.
    pub teams: Vec<Team>,
    /// Their endpoints that are not deleted.
    pub endpoints: Vec<Endpoint>,
    /// Their keys.
    pub keys: Vec<ApiKey>,
}

impl Store {
    /// All teams, endpoints and keys.
    pub async fn load(&self) -> Result<Loaded, StoreError> {
        let queries = [teams::LIVING, endpoints::LIVING, keys::ALL].map(|sql| Query::new(sql, []));
        let mut answers = self.driver().read(queries.into()).await?.into_iter();
        let mut next = || {
            answers
                .next()
                .ok_or_else(|| damaged("an answer is missing"))
        };
        Ok(Loaded {
            teams: next()?.decode(teams::decode)?,
            endpoints: next()?.decode(|row| endpoints::decode(row, self.keyring()))?,
            keys: next()?.decode(keys::decode)?,
        })
    }
}
