//! Hides how a team's people get into their settings page, what keeps them in, and what lets
//! nobody else in.
//!
//! A link of the operator's carries a token that works once: opening it trades it for a session, held
//! by a cookie. Of both only hashes are kept.

mod html;
mod page;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{FromRequestParts, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, HOST, LOCATION, ORIGIN,
    REFERRER_POLICY, SET_COOKIE, X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use model::id::TeamId;
use model::team::Team;
use model::time::Timestamp;
use store::{LogFilter, PageRequest, StoreError, TokenKind};
use url::{Url, form_urlencoded};

use crate::App;
use crate::problem::Problem;
use crate::token::{self, Token};
use html::Html;

/// How long a link works (contract).
const LINK_LASTS: Duration = Duration::from_secs(10 * 60);
/// How long a session lasts.
const SESSION_LASTS: Duration = Duration::from_secs(12 * 3600);
/// How many of the latest deliveries the page shows.
const DELIVERIES_SHOWN: u32 = 20;
/// The most endpoints the page shows.
const ENDPOINTS_SHOWN: u32 = 100;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/settings", get(show))
        .route("/settings/enter", get(enter))
        .route("/settings/sign-out", post(sign_out))
        .route("/settings/style.css", get(style))
}

/// Makes a link into a team's settings page; when it stops working.
pub(crate) async fn link(
    app: &App,
    team: TeamId,
    headers: &HeaderMap,
) -> Result<(String, Timestamp), Problem> {
    let base = match &app.options.public_url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => format!("http://{}", host(headers).ok_or_else(no_host)?),
    };
    let expires_at = app.engine.clock().now().after(LINK_LASTS);
    let token = Token::random()?;
    let store = app.engine.store();
    store
        .put_token(team, TokenKind::SettingsLink, token.hash(), expires_at)
        .await?;
    Ok((
        format!("{base}/settings/enter?token={}", token.expose()),
        expires_at,
    ))
}

fn no_host() -> Problem {
    Problem::InvalidRequest(
        "The header `Host` is missing or malformed, so no link can be made.".into(),
    )
}

/// The `Host` of a request, where it is one.
fn host(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(HOST)?.to_str().ok()?;
    let authority: http::uri::Authority = text.parse().ok()?;
    (!text.contains('@') && !authority.host().is_empty()).then_some(text)
}

/// Trades a link for a session. Opening it uses it up; asking only for its head, as previews of
/// links do, does not.
async fn enter(State(app): State<App>, method: Method, uri: Uri) -> Result<Response, Trouble> {
    let link = field(uri.query().unwrap_or_default().as_bytes(), "token").unwrap_or_default();
    let hash = token::hash(&link);
    let now = app.engine.clock().now();
    let store = app.engine.store();
    if method == Method::HEAD {
        let team = store.token(TokenKind::SettingsLink, hash, now).await?;
        team.ok_or(Trouble::LinkOver)?;
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let team = store.take_token(TokenKind::SettingsLink, hash, now).await?;
    let team = team.ok_or(Trouble::LinkOver)?;
    let session = Token::random()?;
    let expires_at = now.after(SESSION_LASTS);
    store
        .put_token(team, TokenKind::Session, session.hash(), expires_at)
        .await?;
    Ok(to_page(&app.cookie().set(session.expose(), SESSION_LASTS)))
}

/// Ends the session.
async fn sign_out(State(app): State<App>, headers: HeaderMap) -> Result<Response, Trouble> {
    require_same_origin(&app, &headers)?;
    if let Some(session) = app.cookie().of(&headers) {
        let now = app.engine.clock().now();
        let hash = token::hash(session);
        app.engine
            .store()
            .take_token(TokenKind::Session, hash, now)
            .await?;
    }
    Ok(to_page(&app.cookie().set("", Duration::ZERO)))
}

/// Proof that the browser has a session, and the team it is for.
struct Session(Arc<Team>);

impl FromRequestParts<App> for Session {
    type Rejection = Trouble;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Trouble> {
        let cookie = app.cookie();
        let session = cookie.of(&parts.headers).ok_or(Trouble::SignedOut)?;
        let now = app.engine.clock().now();
        let store = app.engine.store();
        let team = store
            .token(TokenKind::Session, token::hash(session), now)
            .await?;
        let team = team.and_then(|id| app.engine.team_by_id(id));
        team.map(Self).ok_or(Trouble::SignedOut)
    }
}

/// The team's page.
async fn show(Session(team): Session, State(app): State<App>) -> Result<Response, Trouble> {
    let store = app.engine.store();
    let first = PageRequest {
        page: 1,
        per_page: ENDPOINTS_SHOWN,
    };
    let endpoints = store.endpoints(team.id, first).await?;
    let any = LogFilter::default();
    let deliveries = store
        .delivery_log(team.id, &any, None, DELIVERIES_SHOWN)
        .await?;
    let granted = app
        .engine
        .options()
        .plans
        .get(&team.plan)
        .map_or(0, |plan| plan.endpoints);
    let html = page::overview(
        app.product(),
        &team,
        granted,
        &endpoints,
        &deliveries,
        store.codec(),
    );
    Ok(answer(StatusCode::OK, html))
}

async fn style() -> Response {
    let headers = [
        (CONTENT_TYPE, "text/css; charset=utf-8"),
        (CACHE_CONTROL, "max-age=3600"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, include_str!("settings/style.css")).into_response()
}

/// A field of a form or a query.
fn field(form: &[u8], name: &str) -> Option<String> {
    let (_, value) = form_urlencoded::parse(form).find(|(key, _)| key == name)?;
    Some(value.into_owned())
}

/// A request that changes something must come from a page of ours. Browsers name where a form
/// was sent from, and a page elsewhere cannot change what they say.
fn require_same_origin(app: &App, headers: &HeaderMap) -> Result<(), Trouble> {
    if is_same_origin(app.options.public_url.as_deref(), headers) {
        return Ok(());
    }
    Err(Trouble::Other(Problem::Forbidden(
        "This was not sent from the settings page itself; go back to it and try again.".into(),
    )))
}

fn is_same_origin(public_url: Option<&str>, headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else {
        return headers
            .get("sec-fetch-site")
            .is_some_and(|site| site == "same-origin");
    };
    let Ok(origin) = origin.to_str() else {
        return false;
    };
    let public = public_url.and_then(|url| Url::parse(url).ok());
    let is_public = public.is_some_and(|url| url.origin().ascii_serialization() == origin);
    let named = origin.split_once("://").map(|(_, authority)| authority);
    is_public
        || named
            .is_some_and(|name| host(headers).is_some_and(|host| host.eq_ignore_ascii_case(name)))
}

/// The cookie that holds a session. Where the service is served by HTTPS it is bound to this very
/// host and to HTTPS (`__Host-`); over plain HTTP a browser would refuse such a cookie.
struct Cookie {
    https: bool,
}

impl App {
    /// What the product is called whose webhooks these are.
    fn product(&self) -> &str {
        &self.engine.options().brand.name
    }

    fn cookie(&self) -> Cookie {
        let url = self.options.public_url.as_deref();
        Cookie {
            https: url.is_some_and(|url| url.starts_with("https://")),
        }
    }
}

impl Cookie {
    fn name(&self) -> &'static str {
        if self.https {
            "__Host-vk_session"
        } else {
            "vk_session"
        }
    }

    fn set(&self, value: &str, lasts: Duration) -> String {
        let secure = if self.https { "; Secure" } else { "" };
        format!(
            "{}={value}; Path=/; Max-Age={}; HttpOnly; SameSite=Lax{secure}",
            self.name(),
            lasts.as_secs()
        )
    }

    fn of<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(name, value)| *name == self.name() && !value.is_empty())
            .map(|(_, value)| value)
    }
}

/// 303 to the page, with this cookie.
fn to_page(cookie: &str) -> Response {
    let mut response = answer(StatusCode::SEE_OTHER, Html::default());
    let headers = response.headers_mut();
    headers.insert(LOCATION, HeaderValue::from_static("/settings"));
    match HeaderValue::from_str(cookie) {
        Ok(cookie) => {
            headers.insert(SET_COOKIE, cookie);
            response
        }
        Err(error) => Problem::internal(&error).into_response(),
    }
}

/// A page that no other site may frame, that runs no script, asks no other host for anything,
/// and stays in no cache.
fn answer(status: StatusCode, html: Html) -> Response {
    const POLICY: &str = "default-src 'none'; style-src 'self'; form-action 'self'; \
                          base-uri 'none'; frame-ancestors 'none'";
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Not `no-referrer`: under it browsers hide a form's own origin from us too.
        (REFERRER_POLICY, "same-origin"),
    ];
    (status, headers, html.into_text()).into_response()
}

/// Why the page is not shown.
enum Trouble {
    LinkOver,
    SignedOut,
    Other(Problem),
}

impl From<Problem> for Trouble {
    fn from(problem: Problem) -> Self {
        Self::Other(problem)
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Other(error.into())
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        const AGAIN: &str = "Open the webhook settings from your product again to get a new link.";
        match self {
            Self::LinkOver => {
                let html = page::message("This link does not work any more", AGAIN);
                answer(StatusCode::GONE, html)
            }
            Self::SignedOut => {
                let html = page::message("You are not signed in", AGAIN);
                answer(StatusCode::UNAUTHORIZED, html)
            }
            Self::Other(problem) => {
                let html = page::message("That did not work", &problem.sentence());
                answer(problem.status(), html)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_forms_of_our_own_pages_are_taken() {
        let public = Some("https://hooks.example.com/base");
        for (headers, same) in [
            (
                vec![
                    ("origin", "https://hooks.example.com"),
                    ("host", "10.0.0.1:8080"),
                ],
                true,
            ),
            (
                vec![
                    ("origin", "http://127.0.0.1:8080"),
                    ("host", "127.0.0.1:8080"),
                ],
                true,
            ),
            (
                vec![
                    ("origin", "https://evil.example"),
                    ("host", "127.0.0.1:8080"),
                ],
                false,
            ),
            (
                vec![("origin", "http://hooks.example.com"), ("host", "a.b")],
                false,
            ),
            (vec![("origin", "null"), ("host", "null")], false),
            (
                vec![
                    ("origin", "https://evil.example"),
                    ("sec-fetch-site", "same-origin"),
                ],
                false,
            ),
            (vec![("sec-fetch-site", "same-origin")], true),
            (vec![("sec-fetch-site", "cross-site")], false),
            (vec![("host", "a.b")], false),
        ] {
            let map = headers
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect();
            assert_eq!(is_same_origin(public, &map), same, "{headers:?}");
        }
    }

    #[test]
    fn the_cookie_is_as_strict_as_the_scheme_allows() {
        let (https, http) = (Cookie { https: true }, Cookie { https: false });
        assert_eq!(
            https.set("t", SESSION_LASTS),
            "__Host-vk_session=t; Path=/; Max-Age=43200; HttpOnly; SameSite=Lax; Secure"
        );
        assert_eq!(
            http.set("t", SESSION_LASTS),
            "vk_session=t; Path=/; Max-Age=43200; HttpOnly; SameSite=Lax"
        );
        let mut headers = HeaderMap::new();
        headers.insert(
            COOKIE,
            HeaderValue::from_static("a=b; vk_session=x; __Host-vk_session=y"),
        );
        assert_eq!(
            (https.of(&headers), http.of(&headers)),
            (Some("y"), Some("x"))
        );
    }
}
