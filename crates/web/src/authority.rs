//! Hides how a caller proves a right, and hands a team to a handler only after the proof.
//!
//! The door finds out who bears the key ([`identify`]); the extractors here decide what that
//! bearer may do. A handler gets hold of a team only through one of them, so a handler that
//! forgot to ask does not compile.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use engine::Bearer;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use model::audit::Actor;
use model::id::{DeliveryId, EndpointId, EventId, Id, KeyId, TeamId};
use model::key::{KeyHash, Scope};
use model::team::Team;

use crate::App;
use crate::body::shortened;
use crate::problem::Problem;

/// The header by which the operator names the team it acts for.
pub(crate) const TEAM_HEADER: &str = "X-VantageKit-Team";
const TEAM: HeaderName = HeaderName::from_static("x-vantagekit-team");
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Who asks; put into the request by the door and by nobody else.
#[derive(Clone)]
pub(crate) struct Caller(pub(crate) Bearer);

/// Who bears the key of these headers.
pub(crate) fn identify(app: &App, headers: &HeaderMap) -> Result<Caller, Problem> {
    let key = presented_key(headers)?.ok_or(Problem::Unauthorized { presented: false })?;
    app.engine
        .bearer(&KeyHash::of(key))
        .map(Caller)
        .ok_or(Problem::Unauthorized { presented: true })
}

/// The key itself, of `Authorization: Bearer` or of `X-API-Key`. It may be there more than once.
///
/// # Errors
/// Where two keys differ: a proxy that looks at one of them and this service at the other would not agree on who asks.
fn presented_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let bearers = headers.get_all(AUTHORIZATION).iter().filter_map(|value| {
        let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    let keys = headers.get_all(API_KEY).iter();
    let keys = keys.filter_map(|value| value.to_str().ok().map(str::trim));
    let mut keys = bearers.chain(keys).filter(|key| !key.is_empty());
    let first = keys.next();
    if keys.any(|key| Some(key) != first) {
        return Err(Problem::InvalidRequest(
            "The request has two different API keys; send one, as `Authorization: Bearer …` or `X-API-Key: …`.".into(),
        ));
    }
    Ok(first)
}

fn caller(parts: &Parts) -> Result<&Caller, Problem> {
    parts
        .extensions
        .get::<Caller>()
        .ok_or(Problem::Unauthorized { presented: false })
}

/// What a handler wants to do, and so the scope a team's key needs for it.
pub(crate) trait Right: Send + Sync {
    const SCOPE: Scope;
}

pub(crate) struct Reading;
pub(crate) struct WritingWebhooks;
pub(crate) struct Publishing;

impl Right for Reading {
    const SCOPE: Scope = Scope::Read;
}
impl Right for WritingWebhooks {
    const SCOPE: Scope = Scope::WebhooksWrite;
}
impl Right for Publishing {
    const SCOPE: Scope = Scope::EventsWrite;
}

/// Proof that the caller has the right `R` for `team`, and that its plan has webhooks.
pub(crate) struct Authorised<R> {
    pub(crate) team: Arc<Team>,
    actor: Actor,
    right: PhantomData<R>,
}

/// May look at the team's endpoints, events and deliveries.
pub(crate) type TeamRead = Authorised<Reading>;
/// May change the team's endpoints, send tests and retry deliveries.
pub(crate) type TeamWrite = Authorised<WritingWebhooks>;
/// May publish events for the team.
pub(crate) type Publisher = Authorised<Publishing>;

impl<R> Authorised<R> {
    /// The team inside.
    pub(crate) fn id(&self) -> TeamId {
        self.team.id
    }

    /// Whose change it is.
    pub(crate) fn actor(&self) -> Actor {
        self.actor.clone()
    }
}

impl<R: Right> FromRequestParts<App> for Authorised<R> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let (team, actor) = match &caller(parts)?.0 {
            Bearer::Operator => (named_team(app, &parts.headers)?, Actor::Operator),
            Bearer::Team { team, key } => {
                require_scope(key.scopes.has(R::SCOPE), R::SCOPE)?;
                (team.clone(), Actor::Key(key.id))
            }
        };
        let plan = app.engine.options().plans.get(&team.plan);
        if plan.is_none_or(|plan| plan.endpoints == 0) {
            return Err(Problem::PaymentRequired);
        }
        Ok(Self {
            team,
            actor,
            right: PhantomData,
        })
    }
}

/// Proof that the caller may read a team's audit log: as [`TeamRead`], and the operator also that of a team that was
/// deleted.
pub(crate) struct AuditRead(pub(crate) TeamId);

impl FromRequestParts<App> for AuditRead {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        match TeamRead::from_request_parts(parts, app).await {
            // Whoever bears a team's key has a team: this is the operator.
            Err(Problem::NoSuchTeam(name)) => {
                let deleted = app.engine.store().deleted_team(&name).await?;
                deleted.map(Self).ok_or(Problem::NoSuchTeam(name))
            }
            reader => Ok(Self(reader?.id())),
        }
    }
}

fn require_scope(has: bool, scope: Scope) -> Result<(), Problem> {
    if has {
        return Ok(());
    }
    Err(Problem::Forbidden(format!(
        "This call needs the scope `{}`, which the API key does not have.",
        scope.as_str()
    )))
}

fn named_team(app: &App, headers: &HeaderMap) -> Result<Arc<Team>, Problem> {
    let name = headers.get(TEAM).ok_or_else(|| {
        Problem::InvalidRequest(format!(
            "The operator's key belongs to no team: name the team by the header `{TEAM_HEADER}: <team id>`."
        ))
    })?;
    let name = name.to_str().map_err(|_| Problem::NotFound)?;
    app.engine.team(name).ok_or_else(|| no_team(name))
}

/// The operator may know which teams there are.
fn no_team(id: &str) -> Problem {
    Problem::NoSuchTeam(shortened(id).into_owned())
}

/// Proof that the caller may read the catalog, which belongs to no team.
pub(crate) struct CatalogRead;

impl FromRequestParts<App> for CatalogRead {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        if let Bearer::Team { key, .. } = &caller(parts)?.0 {
            require_scope(key.scopes.has(Scope::Read), Scope::Read)?;
        }
        Ok(Self)
    }
}

/// Proof that the caller is the operator.
pub(crate) struct Operator;

impl FromRequestParts<App> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        match &caller(parts)?.0 {
            Bearer::Operator => Ok(Self),
            Bearer::Team { .. } => Err(Problem::Forbidden(
                "Only the operator's key may do this; a team's key may not.".into(),
            )),
        }
    }
}

/// Proof that the caller is the operator, and the team that the path names.
pub(crate) struct OperatorOf(pub(crate) Arc<Team>);

impl FromRequestParts<App> for OperatorOf {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        Operator::from_request_parts(parts, app).await?;
        let name = path_parameter(parts, app, "id").await?;
        app.engine
            .team(&name)
            .map(Self)
            .ok_or_else(|| no_team(&name))
    }
}

/// The id that the path names. That the team has such a thing is for the store to say; what no
/// store of ours ever named is not found either.
pub(crate) struct PathId<I>(pub(crate) I);

/// What an id's path parameter is called.
pub(crate) trait InPath: Id {
    const PARAMETER: &str = "id";
}

impl InPath for EndpointId {}
impl InPath for EventId {}
impl InPath for DeliveryId {}
impl InPath for KeyId {
    const PARAMETER: &str = "keyId";
}

impl<I: InPath> FromRequestParts<App> for PathId<I> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let text = path_parameter(parts, app, I::PARAMETER).await?;
        let codec = app.engine.store().codec();
        codec.parse(&text).map(Self).ok_or(Problem::NotFound)
    }
}

/// A parameter of the path, as text. A path that is not UTF-8 names nothing.
pub(crate) async fn path_parameter(
    parts: &mut Parts,
    app: &App,
    name: &str,
) -> Result<String, Problem> {
    let params = RawPathParams::from_request_parts(parts, app)
        .await
        .map_err(|_| Problem::NotFound)?;
    let value = params.iter().find(|(key, _)| *key == name);
    value
        .map(|(_, value)| value.to_owned())
        .ok_or(Problem::NotFound)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_key_is_taken_from_either_header() {
        for (headers, key) in [
            (vec![], None),
            (vec![("authorization", "Bearer k1")], Some("k1")),
            (
                vec![
                    ("authorization", "Bearer k1"),
                    ("authorization", "Bearer k1"),
                ],
                Some("k1"),
            ),
            (vec![("authorization", "bearer  k1 ")], Some("k1")),
            (vec![("authorization", "Bearer ")], None),
            (vec![("authorization", "Bearer")], None),
            (vec![("authorization", "Basic k1")], None),
            (vec![("x-api-key", "k2")], Some("k2")),
            (
                vec![("authorization", "Basic k1"), ("x-api-key", "k2")],
                Some("k2"),
            ),
            (
                vec![("authorization", "Bearer k1"), ("x-api-key", " k1")],
                Some("k1"),
            ),
        ] {
            let map = headers
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect();
            assert_eq!(presented_key(&map).unwrap(), key, "{headers:?}");
        }
    }

    #[test]
    fn two_keys_that_differ_are_refused() {
        for headers in [
            [("authorization", "Bearer k1"), ("x-api-key", "k2")],
            [
                ("authorization", "Bearer k1"),
                ("authorization", "Bearer k2"),
            ],
            [("x-api-key", "k1"), ("x-api-key", "k2")],
        ] {
            let map = headers
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect::<Vec<(HeaderName, HeaderValue)>>();
            let mut all = HeaderMap::new();
            for (name, value) in map {
                all.append(name, value);
            }
            let refused = presented_key(&all);
            assert!(
                matches!(refused, Err(Problem::InvalidRequest(_))),
                "{headers:?}"
            );
        }
    }
}
