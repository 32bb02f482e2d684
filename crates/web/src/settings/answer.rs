//! Hides what every page has in common: its headers, the frame around it, and what is shown instead where
//! something is wrong.

use std::time::Duration;

use askama::Template;
use axum::response::{IntoResponse, Response};
use engine::Refusal;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use store::StoreError;

use super::assets;
use super::session::{Cookies, Visit};
use super::words::{self, Prose};
use crate::App;
use crate::problem::Problem;

/// No other site may frame a page or take its forms, no other host is asked for anything, and only the
/// script and the style that the binary carries are run: nothing that is inside a page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

/// The part of the pages that one is looking at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tab {
    Webhooks,
    Deliveries,
    Catalog,
    Debugger,
    Keys,
    History,
}

/// The frame around a page.
pub(super) struct Frame {
    pub(super) title: String,
    pub(super) product: String,
    pub(super) style: &'static str,
    pub(super) script: &'static str,
    pub(super) icon: &'static str,
    /// Who is signed in; none on the pages before that.
    pub(super) inside: Option<Inside>,
}

/// What the frame says about who is signed in.
pub(super) struct Inside {
    /// For every form, so that no other site can send one.
    pub(super) csrf: String,
    pub(super) operator: bool,
    /// The team that is looked at; none in the operator's list of teams.
    pub(super) team: Option<InsideTeam>,
}

pub(super) struct InsideTeam {
    pub(super) name: String,
    pub(super) base: String,
    pub(super) tab: Tab,
    pub(super) can_keys: bool,
}

impl Frame {
    /// The frame of a page before signing in.
    pub(super) fn outside(product: &str, title: &str) -> Self {
        Self {
            title: title.to_owned(),
            product: product.to_owned(),
            style: assets::style_path(),
            script: assets::script_path(),
            icon: assets::icon_path(),
            inside: None,
        }
    }

    /// The frame of a team's page.
    pub(super) fn of(app: &App, visit: &Visit, tab: Tab, title: &str) -> Self {
        let team = InsideTeam {
            name: visit.team.name.clone(),
            base: visit.base(),
            tab,
            can_keys: visit.can_keys,
        };
        Self {
            inside: Some(Inside {
                csrf: visit.csrf.clone(),
                operator: visit.operator,
                team: Some(team),
            }),
            ..Self::outside(app.product(), &format!("{title} · {}", visit.team.name))
        }
    }

    /// What forms carry; empty where nobody is signed in.
    pub(super) fn csrf(&self) -> &str {
        self.inside.as_ref().map_or("", |inside| &inside.csrf)
    }

    /// Whether this tab is the one looked at.
    pub(super) fn is(&self, team: &InsideTeam, tab: &str) -> bool {
        let name = match team.tab {
            Tab::Webhooks => "webhooks",
            Tab::Deliveries => "deliveries",
            Tab::Catalog => "catalog",
            Tab::Debugger => "debugger",
            Tab::Keys => "keys",
            Tab::History => "history",
        };
        name == tab
    }
}

impl App {
    /// What the product is called whose webhooks these are.
    pub(super) fn product(&self) -> &str {
        &self.engine.options().brand.name
    }
}

/// A page.
pub(super) fn page(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => html_answer(status, html),
        Err(error) => {
            Problem::internal(&error);
            let sorry = "Something went wrong on our side; it has been logged. Try again later.";
            html_answer(StatusCode::INTERNAL_SERVER_ERROR, sorry.to_owned())
        }
    }
}

/// A page, 200.
pub(super) fn ok(template: &impl Template) -> Response {
    page(StatusCode::OK, template)
}

fn html_answer(status: StatusCode, html: String) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Not `no-referrer`: under it browsers hide a form's own origin from us too.
        (REFERRER_POLICY, "same-origin"),
    ];
    (status, headers, html).into_response()
}

/// 303 to another page.
pub(super) fn to(path: &str) -> Response {
    let mut response = html_answer(StatusCode::SEE_OTHER, String::new());
    match HeaderValue::from_str(path) {
        Ok(path) => {
            response.headers_mut().insert(LOCATION, path);
            response
        }
        Err(error) => Problem::internal(&error).into_response(),
    }
}

/// Why the page is not shown.
pub(super) enum Trouble {
    LinkOver,
    SignedOut,
    /// There is no such thing, or it is another team's.
    Missing,
    /// A form that did not come from a page of ours.
    NotFromHere,
    /// What only takes forms was looked at.
    OnlyForms,
    /// What happened too often, and how long it is not answered.
    TooMany {
        sentence: &'static str,
        wait: Duration,
    },
    Other(Problem),
}

impl From<Problem> for Trouble {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::NotFound => Self::Missing,
            problem => Self::Other(problem),
        }
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Problem::from(error).into()
    }
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        Problem::from(refusal).into()
    }
}

/// A page that says one thing.
#[derive(Template)]
#[template(path = "settings/message.html")]
struct Message {
    frame: Frame,
    heading: &'static str,
    text: Prose,
    /// Whether a key gets one in from here.
    sign_in: bool,
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        let headers = match &self {
            Self::Other(problem) => problem.headers(),
            Self::TooMany { wait, .. } => Problem::RateLimited(*wait).headers(),
            _ => HeaderMap::new(),
        };
        let (status, heading, text, sign_in) = match self {
            Self::LinkOver => (
                StatusCode::GONE,
                "This link does not work any more",
                "A link works once and for a few minutes only; the one that makes the first team, for \
                 a day, and as long as there is no team. Open the webhook settings from your product \
                 again to get a new one."
                    .to_owned(),
                true,
            ),
            Self::SignedOut => (
                StatusCode::UNAUTHORIZED,
                "You are not signed in",
                "Open the webhook settings from your product again, or sign in with an API key of \
                 your team."
                    .to_owned(),
                true,
            ),
            Self::Missing => (
                StatusCode::NOT_FOUND,
                "There is nothing here",
                "There is no such page, or what it showed is gone or belongs to another team."
                    .to_owned(),
                false,
            ),
            Self::NotFromHere => (
                StatusCode::FORBIDDEN,
                "That was not done",
                "It was not sent from these pages as they are now. Go back, load the page again and \
                 repeat it."
                    .to_owned(),
                false,
            ),
            Self::OnlyForms => (
                StatusCode::METHOD_NOT_ALLOWED,
                "There is nothing to see here",
                "This address only takes what a form sends. Go back to the page with the form, and \
                 send it again."
                    .to_owned(),
                false,
            ),
            Self::TooMany { sentence, wait } => (
                StatusCode::TOO_MANY_REQUESTS,
                "Too many requests",
                format!("{sentence} Try again in {}.", words::span(wait)),
                false,
            ),
            Self::Other(problem) => (
                problem.status(),
                "That did not work",
                problem.sentence(),
                // Another key may do it.
                matches!(problem, Problem::Forbidden(_) | Problem::PaymentRequired),
            ),
        };
        let message = Message {
            frame: Frame::outside("", heading),
            heading,
            text: Prose::of(&text),
            sign_in,
        };
        let mut response = page(status, &message);
        response.headers_mut().extend(headers);
        response
    }
}

/// A page with cookies to keep.
pub(super) fn with_cookies(mut response: Response, cookies: &Cookies) -> Response {
    for cookie in cookies.lines() {
        match HeaderValue::from_str(cookie) {
            Ok(cookie) => {
                response
                    .headers_mut()
                    .append(http::header::SET_COOKIE, cookie);
            }
            Err(error) => return Problem::internal(&error).into_response(),
        }
    }
    response
}
