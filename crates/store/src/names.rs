//! Hides how a team's endpoints are called without reading all that is known of them: their secrets stay sealed.

use std::collections::HashMap;

use model::id::{EndpointId, TeamId};

use crate::driver::Query;
use crate::error::StoreError;
use crate::store::Store;
use crate::value::Columns;

/// As `name_of` of the settings pages says it: the description, else the URL.
const FIRST: &str = "\
    SELECT id, COALESCE(description, url) FROM endpoints \
    WHERE team_id = $1 AND deleted_at IS NULL ORDER BY id LIMIT $2";
const ONE: &str = "\
    SELECT id, COALESCE(description, url) FROM endpoints \
    WHERE id = $1 AND team_id = $2 AND deleted_at IS NULL";
const EVER: &str = "SELECT 1 FROM endpoints WHERE id = $1 AND team_id = $2";

impl Store {
    /// What the first of a team's endpoints are called, oldest first: their description, else their URL.
    pub async fn endpoint_names(
        &self,
        team: TeamId,
        limit: u32,
    ) -> Result<Vec<(EndpointId, String)>, StoreError> {
        let query = Query::new(FIRST, [team.into(), limit.into()]);
        self.read_one(query).await?.decode(named)
    }

    /// What those of a team's endpoints are called that are there.
    pub async fn names_of(
        &self,
        team: TeamId,
        endpoints: impl IntoIterator<Item = EndpointId>,
    ) -> Result<HashMap<EndpointId, String>, StoreError> {
        let mut ids: Vec<EndpointId> = endpoints.into_iter().collect();
        ids.sort_unstable_by_key(|id| id.0);
        ids.dedup();
        let query = |id: EndpointId| Query::new(ONE, [id.into(), team.into()]);
        let queries = ids.into_iter().map(query).collect();
        let mut names = HashMap::new();
        for rows in self.driver().read(queries).await? {
            names.extend(rows.first(named)?);
        }
        Ok(names)
    }

    /// Whether an endpoint is the team's, or was until it was deleted.
    pub async fn was_endpoint_of(
        &self,
        team: TeamId,
        endpoint: EndpointId,
    ) -> Result<bool, StoreError> {
        let query = Query::new(EVER, [endpoint.into(), team.into()]);
        Ok(!self.read_one(query).await?.is_empty())
    }
}

fn named(row: &mut Columns) -> Result<(EndpointId, String), StoreError> {
    Ok((row.id()?, row.text()?))
}
