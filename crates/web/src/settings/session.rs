//! Hides who is looking at a page: the cookie, the session behind it, and the team it may see.
//!
//! The browser holds a random token in a cookie; only its hash is kept. A session ends when nothing was
//! asked for a while, at a certain age, when it is signed out, and with the key that opened it. What forms
//! carry against other sites' forms follows from the token, and is no use without it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, RawPathParams};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use engine::{Bearer, Hand};
use http::HeaderMap;
use http::header::COOKIE;
use http::request::Parts;
use model::audit::Actor;
use model::id::{Id, TeamId};
use model::key::{Scope, Scopes};
use model::team::Team;
use store::{LinkHolder, Opener, Session, StoreError};

use super::answer::Trouble;
use crate::App;
use crate::problem::Problem;
use crate::token::{self, Token};

/// When a session ends in which nothing is asked for.
const IDLE: Duration = Duration::from_secs(2 * 3600);
/// When it ends whatever is asked for.
const AGE: Duration = Duration::from_secs(12 * 3600);
/// How often an idle end is moved at most: a write that every page would else cost.
const MOVED_EVERY: Duration = Duration::from_secs(60);
/// How long one may look at the page for signing in before sending it.
const KNOCKING: Duration = Duration::from_secs(3600);

/// The names of our cookies. Where the service is served by HTTPS they are bound to this very host and
/// to HTTPS (`__Host-`); over plain HTTP a browser would refuse such cookies.
#[derive(Clone, Copy)]
pub(super) struct Jar {
    https: bool,
}

/// Cookies to be set.
#[derive(Default)]
pub(super) struct Cookies(Vec<String>);

impl Cookies {
    pub(super) fn lines(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl App {
    pub(super) fn jar(&self) -> Jar {
        let url = self.options.public_url.as_deref();
        Jar {
            https: url.is_some_and(|url| url.starts_with("https://")),
        }
    }
}

impl Jar {
    fn session(self) -> &'static str {
        if self.https {
            "__Host-vk_session"
        } else {
            "vk_session"
        }
    }

    /// Held by who is about to sign in, so that even that form is proved to be ours.
    fn knocking(self) -> &'static str {
        if self.https {
            "__Host-vk_knocking"
        } else {
            "vk_knocking"
        }
    }

    fn set(self, name: &str, value: &str, lasts: Duration) -> String {
        let secure = if self.https { "; Secure" } else { "" };
        let lasts = lasts.as_secs();
        format!("{name}={value}; Path=/; Max-Age={lasts}; HttpOnly; SameSite=Lax{secure}")
    }

    fn get(self, name: &str, headers: &HeaderMap) -> Option<String> {
        headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(other, value)| *other == name && !value.is_empty())
            .map(|(_, value)| value.to_owned())
    }

    /// The token of the session.
    pub(super) fn token(self, headers: &HeaderMap) -> Option<String> {
        self.get(self.session(), headers)
    }

    /// What a form has to carry of who came with these headers: what follows from the session.
    pub(super) fn csrf(self, headers: &HeaderMap) -> Option<String> {
        self.token(headers).map(|token| csrf_of(&token))
    }

    /// What a form has to carry by which one signs in: what follows from knocking.
    pub(super) fn knocking_csrf(self, headers: &HeaderMap) -> Option<String> {
        let token = self.get(self.knocking(), headers);
        token.map(|token| csrf_of(&token))
    }

    /// A new token for who is about to sign in, as a cookie, and what the form then carries. A session that
    /// is there stays: looking at the page for signing in signs nobody out.
    pub(super) fn knock(self) -> Result<(Cookies, String), Problem> {
        let token = Token::random()?;
        let set = self.set(self.knocking(), token.expose(), KNOCKING);
        Ok((Cookies(vec![set]), csrf_of(token.expose())))
    }

    /// Takes the session's cookie back.
    pub(super) fn forget(self) -> Cookies {
        Cookies(vec![self.set(self.session(), "", Duration::ZERO)])
    }
}

fn csrf_of(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(token::hash(&format!("form {token}")))
}

/// Opens a session; the cookie that holds it.
pub(super) async fn open(app: &App, opener: Opener) -> Result<Cookies, Trouble> {
    let token = Token::random()?;
    let now = app.engine.clock().now();
    let session = Session {
        opener,
        idle_until: now.after(IDLE),
        expires_at: now.after(AGE),
    };
    let store = app.engine.store();
    store.put_session(token.hash(), session).await?;
    let jar = app.jar();
    let set = jar.set(jar.session(), token.expose(), AGE);
    let knocked = jar.set(jar.knocking(), "", Duration::ZERO);
    Ok(Cookies(vec![set, knocked]))
}

/// Ends the session of these headers.
pub(super) async fn close(app: &App, headers: &HeaderMap) -> Result<(), Trouble> {
    if let Some(token) = app.jar().token(headers) {
        app.engine.store().end_session(token::hash(&token)).await?;
    }
    Ok(())
}

/// Who has the session of these headers, where it is open. Looking does not prolong it.
pub(super) async fn whose(app: &App, headers: &HeaderMap) -> Result<Option<Who>, Trouble> {
    let Some(token) = app.jar().token(headers) else {
        return Ok(None);
    };
    let found = open_session(app, &token).await?;
    Ok(found.map(|(_, who)| who))
}

/// Proof that the browser has a session, and whose it is.
pub(super) struct Visitor {
    pub(super) who: Who,
    pub(super) csrf: String,
}

pub(super) enum Who {
    Operator,
    /// A team's people, and what they may do.
    Of {
        team: Arc<Team>,
        scopes: Scopes,
        /// Whose changes theirs are.
        actor: Actor,
    },
}

impl Who {
    /// Whether a link for these lets the same people in, by the same name.
    pub(super) fn is(&self, holder: &LinkHolder) -> bool {
        match self {
            Self::Operator => false,
            Self::Of { team, actor, .. } => {
                team.id == holder.team && *actor == Actor::Session(holder.name.clone())
            }
        }
    }

    fn team(&self) -> Option<TeamId> {
        match self {
            Self::Operator => None,
            Self::Of { team, .. } => Some(team.id),
        }
    }
}

impl FromRequestParts<App> for Visitor {
    type Rejection = Trouble;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Trouble> {
        let token = app.jar().token(&parts.headers).ok_or(Trouble::SignedOut)?;
        let hash = token::hash(&token);
        let (now, store) = (app.engine.clock().now(), app.engine.store());
        let (session, who) = open_session(app, &token).await?.ok_or(Trouble::SignedOut)?;
        app.bounds.ask(hash, who.team(), now)?;
        let idle_until = now.after(IDLE).min(session.expires_at);
        if idle_until.since(session.idle_until) >= MOVED_EVERY {
            store.touch_session(hash, idle_until).await?;
        }
        let csrf = csrf_of(&token);
        Ok(Self { who, csrf })
    }
}

/// The session that a token opens, and whose it is. Looking does not prolong it.
async fn open_session(app: &App, token: &str) -> Result<Option<(Session, Who)>, StoreError> {
    let (now, store) = (app.engine.clock().now(), app.engine.store());
    let session = store.session(token::hash(token), now).await?;
    Ok(session.and_then(|session| {
        let who = who(app, &session.opener)?;
        Some((session, who))
    }))
}

fn who(app: &App, opener: &Opener) -> Option<Who> {
    match opener {
        Opener::Link(holder) => {
            let team = app.engine.team_by_id(holder.team)?;
            let scopes = Scopes::all();
            Some(Who::Of {
                team,
                scopes,
                actor: Actor::Session(holder.name.clone()),
            })
        }
        Opener::Key(hash) => match app.engine.bearer(hash)? {
            Bearer::Operator => Some(Who::Operator),
            Bearer::Team { team, key } => {
                let (scopes, actor) = (key.scopes, Actor::Key(key.id));
                Some(Who::Of {
                    team,
                    scopes,
                    actor,
                })
            }
        },
    }
}

/// Proof that who is here may look at the team that the path names.
pub(super) struct Visit {
    pub(super) team: Arc<Team>,
    /// May change endpoints, send tests and retry.
    pub(super) can_write: bool,
    /// May make and revoke API keys: may everything, since a key may.
    pub(super) can_keys: bool,
    pub(super) operator: bool,
    actor: Actor,
    pub(super) csrf: String,
}

impl Visit {
    /// What the paths of the team's pages begin with. A team's id outside needs no escaping.
    pub(super) fn base(&self) -> String {
        format!("/settings/teams/{}", self.team.external_id)
    }

    /// Whether the session of these headers is still open, and still may look at this team. Does not prolong it.
    pub(super) async fn lasts(&self, headers: &HeaderMap, app: &App) -> bool {
        let Some(token) = app.jar().token(headers) else {
            return false;
        };
        match open_session(app, &token).await {
            // It cannot be asked now; it is asked again soon.
            Err(_) => true,
            Ok(None) => false,
            Ok(Some((_, Who::Operator))) => app.engine.team_by_id(self.team.id).is_some(),
            Ok(Some((_, Who::Of { team, scopes, .. }))) => {
                team.id == self.team.id && scopes.has(Scope::Read)
            }
        }
    }

    /// What is changed by whoever is here.
    pub(super) fn hand<'a>(&self, app: &'a App) -> Hand<'a> {
        app.engine.by(self.actor.clone())
    }
}

impl FromRequestParts<App> for Visit {
    type Rejection = Trouble;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Trouble> {
        let visitor = Visitor::from_request_parts(parts, app).await?;
        let name = path_text(parts, app, "team").await?;
        let named = app.engine.team(&name).ok_or(Trouble::Missing)?;
        let (team, scopes, actor) = match visitor.who {
            Who::Operator => (named, Scopes::all(), Actor::Operator),
            Who::Of {
                team,
                scopes,
                actor,
            } if team.id == named.id => (team, scopes, actor),
            Who::Of { .. } => return Err(Trouble::Missing),
        };
        let plan = app.engine.options().plans.get(&team.plan);
        if plan.is_none_or(|plan| plan.endpoints == 0) {
            return Err(Problem::PaymentRequired.into());
        }
        if !scopes.has(Scope::Read) {
            return Err(Problem::Forbidden(
                "These pages need a key with the scope `read`, which yours does not have. Sign in \
                 with another one."
                    .into(),
            )
            .into());
        }
        Ok(Self {
            team,
            can_write: scopes.has(Scope::WebhooksWrite),
            can_keys: scopes == Scopes::all(),
            operator: actor == Actor::Operator,
            actor,
            csrf: visitor.csrf,
        })
    }
}

/// A [`Visit`] by somebody who may change endpoints, send tests and retry.
pub(super) struct Change(pub(super) Visit);

impl FromRequestParts<App> for Change {
    type Rejection = Trouble;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Trouble> {
        let visit = Visit::from_request_parts(parts, app).await?;
        if visit.can_write {
            return Ok(Self(visit));
        }
        Err(Problem::Forbidden(
            "The key you signed in with may only look: this needs the scope `webhooks:write`."
                .into(),
        )
        .into())
    }
}

/// A [`Visit`] by somebody who may make and revoke API keys.
pub(super) struct KeyKeeper(pub(super) Visit);

impl FromRequestParts<App> for KeyKeeper {
    type Rejection = Trouble;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Trouble> {
        let visit = Visit::from_request_parts(parts, app).await?;
        if visit.can_keys {
            return Ok(Self(visit));
        }
        Err(Problem::Forbidden(
            "API keys are kept by who may do everything for the team: open the settings from your \
             product, or sign in with a key that has every scope."
                .into(),
        )
        .into())
    }
}

/// The id that the path names; what no store of ours ever named is missing like what is not there.
pub(super) struct Named<I>(pub(super) I);

impl<I: Id + Send> FromRequestParts<App> for Named<I> {
    type Rejection = Trouble;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Trouble> {
        let text = path_text(parts, app, "id").await?;
        let codec = app.engine.store().codec();
        codec.parse(&text).map(Self).ok_or(Trouble::Missing)
    }
}

/// A parameter of the path.
async fn path_text(parts: &mut Parts, app: &App, name: &str) -> Result<String, Trouble> {
    let params = RawPathParams::from_request_parts(parts, app)
        .await
        .map_err(|_| Trouble::Missing)?;
    let found = params.iter().find(|(key, _)| *key == name);
    found
        .map(|(_, value)| value.to_owned())
        .ok_or(Trouble::Missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_as_strict_as_the_scheme_allows() {
        let (https, http) = (Jar { https: true }, Jar { https: false });
        assert_eq!(
            https.set(https.session(), "t", AGE),
            "__Host-vk_session=t; Path=/; Max-Age=43200; HttpOnly; SameSite=Lax; Secure"
        );
        assert_eq!(
            http.set(http.session(), "t", AGE),
            "vk_session=t; Path=/; Max-Age=43200; HttpOnly; SameSite=Lax"
        );
        let mut headers = HeaderMap::new();
        let cookies = "a=b; vk_session=x; __Host-vk_session=y";
        headers.insert(COOKIE, cookies.parse().unwrap());
        let tokens = (https.token(&headers), http.token(&headers));
        assert_eq!(tokens, (Some("y".into()), Some("x".into())));
        let csrf = |jar: Jar| jar.csrf(&headers);
        assert_eq!(
            (csrf(https), csrf(http)),
            (Some(csrf_of("y")), Some(csrf_of("x")))
        );
        assert_eq!(http.knocking_csrf(&headers), None, "nobody knocked");
    }
}
