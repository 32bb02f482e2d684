//! Hides how what a page sends back is read, and how it is known to come from a page of ours.

use axum::extract::{FromRequest, Request};
use http::HeaderMap;
use http::header::{CONTENT_TYPE, HOST, ORIGIN};
use subtle::ConstantTimeEq as _;
use url::{Url, form_urlencoded};

use super::answer::Trouble;
use super::harmless::escaped_len;
use crate::App;
use crate::problem::Problem;

/// The largest form: an event of the largest size, each byte of it escaped.
const FORM_MAX: usize = 1024 * 1024;

/// The most of one field that a page shows again, as it stands in the page. A page has at most 100 KB.
const AGAIN_MAX: usize = 32 * 1024;

/// The fields of a form, or of a query.
#[derive(Debug, Default)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// The fields of a query.
    pub(super) fn of_query(query: Option<&str>) -> Self {
        Self::parse(query.unwrap_or_default().as_bytes())
    }

    fn parse(bytes: &[u8]) -> Self {
        Self(form_urlencoded::parse(bytes).into_owned().collect())
    }

    /// A field's text; empty where it is not there.
    pub(super) fn raw(&self, name: &str) -> &str {
        let field = self.0.iter().find(|(key, _)| key == name);
        field.map_or("", |(_, value)| value)
    }

    /// A field's text without the spaces around it; empty where it is not there.
    pub(super) fn text(&self, name: &str) -> &str {
        self.raw(name).trim()
    }

    /// A field's text where a page shows it again: empty where it is so long that the page would be too large.
    pub(super) fn again(&self, name: &str) -> &str {
        let text = self.raw(name);
        if escaped_len(text) > AGAIN_MAX {
            ""
        } else {
            text
        }
    }

    /// The texts of a field that may be there many times.
    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.0.iter().filter(|(key, _)| key == name);
        fields.map(|(_, value)| value.as_str()).collect()
    }
}

impl FromRequest<App> for Form {
    type Rejection = Trouble;

    /// A form changes something, so it must come from a page of ours: by the origin that the browser
    /// names, and by what only our page can have put into it.
    async fn from_request(request: Request, app: &App) -> Result<Self, Trouble> {
        let expected = app.jar().csrf(request.headers());
        Self::proved(request, app, expected).await
    }
}

/// A form sent by somebody who has no session yet.
pub(super) struct KnockingForm(pub(super) Form);

impl FromRequest<App> for KnockingForm {
    type Rejection = Trouble;

    async fn from_request(request: Request, app: &App) -> Result<Self, Trouble> {
        let expected = app.jar().knocking_csrf(request.headers());
        Form::proved(request, app, expected).await.map(Self)
    }
}

impl Form {
    /// Reads a form that has to carry this token.
    async fn proved(
        request: Request,
        app: &App,
        expected: Option<String>,
    ) -> Result<Self, Trouble> {
        let (parts, body) = request.into_parts();
        let is_form = parts.headers.get(CONTENT_TYPE).is_some_and(|value| {
            let text = value.to_str().unwrap_or_default();
            let essence = text.split(';').next().unwrap_or_default().trim();
            essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
        });
        let bytes = app.room.read(body, FORM_MAX).await?;
        if !is_same_origin(app.options.public_url.as_deref(), &parts.headers) {
            return Err(Trouble::NotFromHere);
        }
        if !is_form {
            return Err(Problem::InvalidRequest("This takes a form of these pages.".into()).into());
        }
        let form = Self::parse(&bytes);
        let given = form.raw("csrf").as_bytes();
        if expected.is_some_and(|one| bool::from(one.as_bytes().ct_eq(given))) {
            Ok(form)
        } else {
            Err(Trouble::NotFromHere)
        }
    }
}

/// The `Host` of a request, where it is one.
pub(super) fn host(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(HOST)?.to_str().ok()?;
    let authority: http::uri::Authority = text.parse().ok()?;
    (!text.contains('@') && !authority.host().is_empty()).then_some(text)
}

/// Browsers name where a form was sent from, and a page elsewhere cannot change what they say.
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
    let public = public.map(|url| url.origin().ascii_serialization());
    let is_public = public.as_deref() == Some(origin);
    let public_name = public
        .as_deref()
        .and_then(|public| public.split_once("://"));
    let public_name = public_name.map(|(_, authority)| authority);
    if is_public {
        return true;
    }
    let named = origin.split_once("://").map(|(_, authority)| authority);
    let is_host = |name: &str| host(headers).is_some_and(|host| host.eq_ignore_ascii_case(name));
    // The public host by another scheme is somebody in between.
    named.is_some_and(|name| is_host(name) && public_name.is_none_or(|public| public != name))
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
                    ("origin", "http://hooks.example.com"),
                    ("host", "hooks.example.com"),
                ],
                false,
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
}
