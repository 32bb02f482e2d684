//! Hides how query parameters are read: each known, each once, each checked and named when wrong.

use axum::extract::FromRequestParts;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::request::Parts;
use model::id::{Id, IdCodec};
use model::time::Timestamp;
use store::PageRequest;
use url::form_urlencoded;
use utoipa::IntoParams;

use crate::App;
use crate::body::shortened;
use crate::problem::Problem;

/// Items a page where the query does not say.
pub(crate) const PER_PAGE: u32 = 20;
/// The most items a page (contract).
pub(crate) const PER_PAGE_MAX: u32 = 100;
/// The last page that can be asked for: far past any list, and no overflow behind it.
const PAGE_MAX: u64 = 1_000_000_000;

/// The parameters of a query.
pub(crate) struct Query(Vec<(String, String)>);

/// What an id in a query stands for.
#[derive(Clone, Copy)]
pub(crate) enum Filter<I> {
    /// The parameter is not there.
    Any,
    /// Just this one.
    Just(I),
    /// A UUID that nothing here has, so nothing matches.
    Nothing,
}

impl Query {
    /// The parameters of `query`. A name that is not known is most likely a typo, which must not
    /// silently widen what is asked for.
    pub(crate) fn read(query: Option<&str>, known: &[&str]) -> Result<Self, Problem> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if !known.contains(&name.as_ref()) {
                let name = shortened(&name);
                return Err(Problem::InvalidRequest(format!(
                    "There is no query parameter {name:?} here; there are {}.",
                    known.join(", ")
                )));
            }
            if pairs.iter().any(|(other, _)| *other == name) {
                return Err(wrong(&name, "must be given only once"));
            }
            pairs.push((name.into_owned(), value.into_owned()));
        }
        // An empty value is how a form sends a filter that was left out.
        pairs.retain(|(_, value)| !value.is_empty());
        Ok(Self(pairs))
    }

    /// A parameter's text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let pair = self.0.iter().find(|(key, _)| key == name)?;
        Some(&pair.1)
    }

    /// `page` and `per_page`, which is `default` where it is not given.
    pub(crate) fn page(&self, default: u32) -> Result<PageRequest, Problem> {
        let page = self.number("page", 1, PAGE_MAX)?;
        Ok(PageRequest {
            page: page.unwrap_or(1),
            per_page: self.per_page(default)?,
        })
    }

    /// `per_page`, which is `default` where it is not given.
    pub(crate) fn per_page(&self, default: u32) -> Result<u32, Problem> {
        let given = self.number("per_page", 1, u64::from(PER_PAGE_MAX))?;
        Ok(given.map_or(default, |number| number as u32))
    }

    fn number(&self, name: &str, least: u64, most: u64) -> Result<Option<u64>, Problem> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|_| digits);
        match number.filter(|number| (least..=most).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(wrong(
                name,
                &format!("must be a whole number from {least} to {most}"),
            )),
        }
    }

    /// A moment.
    pub(crate) fn moment(&self, name: &str) -> Result<Option<Timestamp>, Problem> {
        let read = |text| {
            Timestamp::parse_iso(text).map_err(|_| {
                wrong(
                    name,
                    "must be an ISO 8601 time such as 2026-04-01T12:00:00Z (in a URL a `+` is written %2B)",
                )
            })
        };
        self.text(name).map(read).transpose()
    }

    /// An id.
    pub(crate) fn id<I: Id>(&self, name: &str, codec: &IdCodec) -> Result<Filter<I>, Problem> {
        let Some(text) = self.text(name) else {
            return Ok(Filter::Any);
        };
        if uuid::Uuid::try_parse(text).is_err() {
            return Err(wrong(name, "must be a UUID"));
        }
        Ok(codec.parse(text).map_or(Filter::Nothing, Filter::Just))
    }

    /// The place in a log that `cursor` names.
    pub(crate) fn cursor<I: Id>(&self, codec: &IdCodec) -> Result<Option<I>, Problem> {
        let read = |text| {
            read_cursor(text, codec)
                .ok_or_else(|| wrong("cursor", "must be a `nextCursor` of this log"))
        };
        self.text("cursor").map(read).transpose()
    }

    /// One of these words.
    pub(crate) fn word<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Option<T>,
        words: &[&str],
    ) -> Result<Option<T>, Problem> {
        let read = |text| {
            parse(text).ok_or_else(|| wrong(name, &format!("must be one of {}", words.join(", "))))
        };
        self.text(name).map(read).transpose()
    }
}

/// Cuts rows that were read for a page of a log, one more than it holds, to the page; the cursor of the page
/// after it, where there is one.
pub(crate) fn cut_page<T, I: Id>(
    rows: &mut Vec<T>,
    per_page: u32,
    codec: &IdCodec,
    id: impl Fn(&T) -> I,
) -> Option<String> {
    let more = rows.len() > per_page as usize;
    rows.truncate(per_page as usize);
    let last = rows.last().filter(|_| more);
    last.map(|last| write_cursor(id(last), codec))
}

/// A place in a log: after this entry. It is the entry's UUID, whose tag only we can make; it holds no
/// filter, so it means the same place in time under any.
fn write_cursor(last: impl Id, codec: &IdCodec) -> String {
    URL_SAFE_NO_PAD.encode(codec.uuid(last).as_bytes())
}

pub(crate) fn read_cursor<I: Id>(text: &str, codec: &IdCodec) -> Option<I> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    codec.id(uuid::Uuid::from_slice(&bytes).ok()?)
}

/// The problem with a parameter that is there.
pub(crate) fn wrong(name: &str, rule: &str) -> Problem {
    Problem::InvalidRequest(format!("The query parameter `{name}` {rule}."))
}

/// The parameters of a list, for the document.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "only its schema is used")]
pub(crate) struct PageParameters {
    /// Which page, from 1.
    #[param(minimum = 1, maximum = 1_000_000_000, default = 1)]
    page: Option<u64>,
    /// How many items a page.
    #[param(minimum = 1, maximum = 100, default = 20)]
    per_page: Option<u32>,
}

/// The query of a list that has `DEFAULT` items a page where the request does not say.
pub(crate) struct Paging<const DEFAULT: u32 = PER_PAGE>(pub(crate) PageRequest);

impl<const DEFAULT: u32> FromRequestParts<App> for Paging<DEFAULT> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        Query::read(parts.uri.query(), &["page", "per_page"])?
            .page(DEFAULT)
            .map(Self)
    }
}

#[cfg(test)]
mod tests {
    use model::id::{DeliveryId, EventId};

    use super::*;

    #[test]
    fn a_cursor_is_a_place_in_the_log_and_nothing_else_is_a_cursor() {
        let codec = IdCodec::new(*b"0123456789abcdef");
        let last = DeliveryId(91_234_567_890_123);
        let cursor = write_cursor(last, &codec);
        assert_eq!(read_cursor(&cursor, &codec), Some(last));
        let other = IdCodec::new(*b"another key here");
        assert_eq!(
            read_cursor::<DeliveryId>(&cursor, &other),
            None,
            "another store's"
        );
        for wrong in ["", "x", "AAAAAAAAAAAAAAAAAAAAAA", &cursor[1..], "é", "%00"] {
            assert_eq!(read_cursor::<DeliveryId>(wrong, &codec), None, "{wrong}");
        }
        let event = URL_SAFE_NO_PAD.encode(codec.uuid(EventId(7)).as_bytes());
        assert_eq!(
            read_cursor::<DeliveryId>(&event, &codec),
            None,
            "an event's id"
        );
    }

    #[test]
    fn pages_are_checked_and_named_when_wrong() {
        for (query, expected) in [
            ("", Ok((1, 20))),
            ("page=3&per_page=100", Ok((3, 100))),
            ("page=&per_page=", Ok((1, 20))),
            ("page=1000000000", Ok((1_000_000_000, 20))),
            ("page=0", Err("page")),
            ("page=-1", Err("page")),
            ("page=%2B1", Err("page")),
            ("page=1000000001", Err("page")),
            ("page=99999999999999999999", Err("page")),
            ("page=1&page=2", Err("page")),
            ("per_page=0", Err("per_page")),
            ("per_page=101", Err("per_page")),
            ("per_page=x", Err("per_page")),
            ("perPage=5", Err("perPage")),
            ("%FF=5", Err("\u{fffd}")),
        ] {
            let page =
                Query::read(Some(query), &["page", "per_page"]).and_then(|q| q.page(PER_PAGE));
            match (page, expected) {
                (Ok(page), Ok(expected)) => assert_eq!((page.page, page.per_page), expected),
                (Err(Problem::InvalidRequest(text)), Err(name)) => {
                    assert!(text.contains(name), "{query}: {text}");
                }
                (page, _) => panic!("{query}: {page:?}"),
            }
        }
    }
}
