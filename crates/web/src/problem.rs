//! Hides how everything that can go wrong becomes an answer: one type, one code, one sentence.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use egress::UrlProblem;
use engine::Refusal;
use http::header::{HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use model::event::{BatchProblem, EventProblem, FieldError};
use serde::Serialize;
use store::StoreError;
use utoipa::ToSchema;

use crate::body::shortened;
use crate::render;

/// How long a client should wait before it asks a busy store again.
const BUSY: Duration = Duration::from_secs(1);

/// Why a request was not done. Each has one status and one code (contract, "API conventions" and
/// "Further codes"); the texts are sentences for whoever reads them.
#[derive(Debug)]
pub(crate) enum Problem {
    /// The body is not JSON.
    InvalidJson(String),
    /// A query parameter or a header is wrong.
    InvalidRequest(String),
    /// No key, or none that is valid.
    Unauthorized { presented: bool },
    /// The team's plan has no webhooks.
    PaymentRequired,
    /// The key does not allow it.
    Forbidden(String),
    /// There is no such thing, or it is another team's.
    NotFound,
    /// No call has this path.
    NoSuchPath(String),
    /// There is no team of this id.
    NoSuchTeam(String),
    /// The catalog has no such event type.
    NoSuchType(String),
    /// The path is right, the method is not.
    MethodNotAllowed,
    /// It clashes with what is there.
    Conflict(String),
    /// The plan grants no more.
    LimitReached(String),
    /// The body is too large.
    PayloadTooLarge(String),
    /// The body does not say that it is JSON in UTF-8, or is compressed.
    UnsupportedMediaType(String),
    /// The catalog has no such event type.
    UnknownEventType(String),
    /// JSON, but not what was expected at this JSON pointer; what else is wrong.
    InvalidPayload {
        pointer: String,
        expected: String,
        others: Vec<FieldError>,
    },
    /// A receiver's URL breaks a rule.
    InvalidUrl(String),
    /// Too many requests; how long until there may be more.
    RateLimited(Duration),
    /// The store cannot do it now; nothing was accepted.
    Unavailable,
    /// A bug of ours, already logged.
    Internal,
}

/// What every error looks like.
#[derive(Serialize, ToSchema)]
#[schema(as = Error)]
pub(crate) struct ErrorBody<'a> {
    /// What happened, why, and what to do, in a sentence for people.
    #[schema(example = "There is no such thing, or it belongs to another team.")]
    error: &'a str,
    /// What happened, for programs; never changes for the same cause.
    #[schema(value_type = ErrorCode)]
    code: &'static str,
    /// What is wrong with each field, the one that `error` names first. Only where fields of the body are wrong;
    /// at most 20.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<FieldErrorBody<'a>>,
}

/// What is wrong with one field of the body.
#[derive(Serialize, ToSchema)]
#[schema(as = FieldError)]
pub(crate) struct FieldErrorBody<'a> {
    /// The field's JSON pointer (RFC 6901); of a missing field, where it should have been.
    #[schema(example = "/data/name")]
    pointer: &'a str,
    /// What was expected there.
    #[schema(example = "this field is required, and it is missing")]
    error: &'a str,
}

/// Every code an error can have; the schema's list, kept whole by a test.
#[derive(ToSchema)]
#[schema(example = "not_found")]
#[allow(
    dead_code,
    non_camel_case_types,
    reason = "only its names are used, in the schema"
)]
pub(crate) enum ErrorCode {
    invalid_json,
    invalid_request,
    unauthorized,
    payment_required,
    forbidden,
    not_found,
    method_not_allowed,
    conflict,
    limit_reached,
    payload_too_large,
    unsupported_media_type,
    unknown_event_type,
    invalid_payload,
    invalid_url,
    rate_limit,
    unavailable,
    internal_error,
}

impl Problem {
    /// A field of the body that is not what was expected.
    pub(crate) fn payload(pointer: impl Into<String>, expected: impl Into<String>) -> Self {
        Self::InvalidPayload {
            pointer: pointer.into(),
            expected: expected.into(),
            others: Vec::new(),
        }
    }

    /// No call has this path.
    pub(crate) fn no_such_path(path: &str) -> Self {
        Self::NoSuchPath(shortened(path).into_owned())
    }

    /// A body of more than `max` bytes.
    pub(crate) fn too_large(max: usize) -> Self {
        Self::PayloadTooLarge(format!(
            "The body is too large: at most {max} bytes are accepted here."
        ))
    }

    /// A bug of ours: logged here in full, told in general.
    pub(crate) fn internal(what: &dyn std::fmt::Display) -> Self {
        tracing::error!(%what, "a request failed for a reason that is a bug");
        Self::Internal
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status_and_code().0
    }

    fn status_and_code(&self) -> (StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::InvalidJson(_) => (S::BAD_REQUEST, "invalid_json"),
            Self::InvalidRequest(_) => (S::BAD_REQUEST, "invalid_request"),
            Self::Unauthorized { .. } => (S::UNAUTHORIZED, "unauthorized"),
            Self::PaymentRequired => (S::PAYMENT_REQUIRED, "payment_required"),
            Self::Forbidden(_) => (S::FORBIDDEN, "forbidden"),
            Self::NotFound | Self::NoSuchType(_) | Self::NoSuchPath(_) | Self::NoSuchTeam(_) => {
                (S::NOT_FOUND, "not_found")
            }
            Self::MethodNotAllowed => (S::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::Conflict(_) => (S::CONFLICT, "conflict"),
            Self::LimitReached(_) => (S::CONFLICT, "limit_reached"),
            Self::PayloadTooLarge(_) => (S::PAYLOAD_TOO_LARGE, "payload_too_large"),
            Self::UnsupportedMediaType(_) => (S::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"),
            Self::UnknownEventType(_) => (S::UNPROCESSABLE_ENTITY, "unknown_event_type"),
            Self::InvalidPayload { .. } => (S::UNPROCESSABLE_ENTITY, "invalid_payload"),
            Self::InvalidUrl(_) => (S::UNPROCESSABLE_ENTITY, "invalid_url"),
            Self::RateLimited(_) => (S::TOO_MANY_REQUESTS, "rate_limit"),
            Self::Unavailable => (S::SERVICE_UNAVAILABLE, "unavailable"),
            Self::Internal => (S::INTERNAL_SERVER_ERROR, "internal_error"),
        }
    }

    /// What happened, why and what to do.
    pub(crate) fn sentence(&self) -> String {
        match self {
            Self::Unauthorized { presented: false } => {
                "This call needs an API key: send it as `Authorization: Bearer …` or `X-API-Key: …`."
                    .into()
            }
            Self::Unauthorized { presented: true } => {
                "The API key is not valid: it is unknown, revoked or expired.".into()
            }
            Self::PaymentRequired => {
                "The team's plan has no webhooks; move the team to a plan that has.".into()
            }
            Self::NotFound => "There is no such thing, or it belongs to another team.".into(),
            Self::NoSuchPath(path) => {
                format!("There is no such path {path:?}; GET /openapi.json lists the calls there are.")
            }
            Self::NoSuchTeam(id) => format!("There is no team {id:?}."),
            Self::MethodNotAllowed => {
                "This path does not take this method; the header Allow lists those it takes.".into()
            }
            Self::InvalidPayload {
                pointer, expected, ..
            } if pointer.is_empty() => {
                format!("the body: {expected}")
            }
            Self::InvalidPayload {
                pointer, expected, ..
            } => format!("{pointer}: {expected}"),
            Self::RateLimited(wait) => format!(
                "Too many requests for now; the limit resets in {} s. Publishing events is not limited.",
                whole_seconds(*wait)
            ),
            Self::Unavailable => {
                "The service cannot take this now and nothing was accepted; try again shortly.".into()
            }
            Self::Internal => {
                "Something went wrong on our side; it has been logged. Try again later.".into()
            }
            Self::InvalidJson(text)
            | Self::InvalidRequest(text)
            | Self::Forbidden(text)
            | Self::PayloadTooLarge(text)
            | Self::UnsupportedMediaType(text)
            | Self::Conflict(text)
            | Self::LimitReached(text)
            | Self::UnknownEventType(text)
            | Self::NoSuchType(text)
            | Self::InvalidUrl(text) => text.clone(),
        }
    }

    /// What is wrong with each field.
    fn fields(&self) -> Vec<FieldErrorBody<'_>> {
        let Self::InvalidPayload {
            pointer,
            expected: error,
            others,
        } = self
        else {
            return Vec::new();
        };
        let others = others.iter().map(|one| FieldErrorBody {
            pointer: &one.pointer,
            error: &one.expected,
        });
        std::iter::once(FieldErrorBody { pointer, error })
            .chain(others)
            .collect()
    }

    pub(crate) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        match self {
            Self::Unauthorized { presented } => {
                let challenge = if *presented {
                    r#"Bearer realm="webhooks", error="invalid_token""#
                } else {
                    r#"Bearer realm="webhooks""#
                };
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            }
            Self::RateLimited(wait) => {
                headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(*wait)));
            }
            Self::Unavailable => {
                headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(BUSY)));
            }
            _ => {}
        }
        headers
    }
}

/// Rounded up, so that who waits this long has waited long enough; at least 1.
fn whole_seconds(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis().div_ceil(1000))
        .unwrap_or(u64::MAX)
        .max(1)
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, code) = self.status_and_code();
        let error = &self.sentence();
        let errors = self.fields();
        let mut response = render::json(
            status,
            &ErrorBody {
                error,
                code,
                errors,
            },
        );
        response.headers_mut().extend(self.headers());
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Overloaded => Self::Unavailable,
            StoreError::Unavailable(_) | StoreError::Damaged => {
                tracing::debug!(%error, "refused for now");
                Self::Unavailable
            }
            StoreError::Internal(_) => Self::internal(&error),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotFound(_) => Self::NotFound,
            Refusal::NoWebhooks => Self::PaymentRequired,
            Refusal::LimitReached(limit) => Self::LimitReached(format!(
                "The plan's limit of {limit} is reached; delete one first, or move the team to a larger plan."
            )),
            Refusal::Conflict(sentence) => Self::Conflict(sentence),
            Refusal::Randomness(_) => Self::internal(&refusal),
            Refusal::Store(error) => error.into(),
        }
    }
}

impl From<EventProblem> for Problem {
    fn from(problem: EventProblem) -> Self {
        match problem {
            EventProblem::InvalidJson(_) => Self::InvalidJson(problem.to_string()),
            EventProblem::UnknownType(_) => Self::UnknownEventType(problem.to_string()),
            EventProblem::TooLarge { .. } => Self::PayloadTooLarge(problem.to_string()),
            EventProblem::InvalidPayload {
                pointer,
                expected,
                others,
            } => Self::InvalidPayload {
                pointer,
                expected,
                others,
            },
        }
    }
}

impl From<BatchProblem> for Problem {
    fn from(batch: BatchProblem) -> Self {
        let sentence = batch.to_string(); // names the event
        match Self::from(batch.problem) {
            Self::UnknownEventType(_) => Self::UnknownEventType(sentence),
            Self::PayloadTooLarge(_) => Self::PayloadTooLarge(sentence),
            problem => problem,
        }
    }
}

impl From<UrlProblem> for Problem {
    fn from(problem: UrlProblem) -> Self {
        Self::InvalidUrl(problem.sentence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use utoipa::PartialSchema;

    #[test]
    fn every_problem_has_its_status_and_a_code_the_schema_lists() {
        let text = String::new;
        let listed = serde_json::to_string(&ErrorCode::schema()).unwrap();
        for (problem, status, code) in [
            (Problem::InvalidJson(text()), 400, "invalid_json"),
            (Problem::InvalidRequest(text()), 400, "invalid_request"),
            (
                Problem::Unauthorized { presented: true },
                401,
                "unauthorized",
            ),
            (Problem::PaymentRequired, 402, "payment_required"),
            (Problem::Forbidden(text()), 403, "forbidden"),
            (Problem::NotFound, 404, "not_found"),
            (Problem::NoSuchPath(text()), 404, "not_found"),
            (Problem::NoSuchTeam(text()), 404, "not_found"),
            (Problem::MethodNotAllowed, 405, "method_not_allowed"),
            (Problem::Conflict(text()), 409, "conflict"),
            (Problem::LimitReached(text()), 409, "limit_reached"),
            (Problem::too_large(1), 413, "payload_too_large"),
            (
                Problem::UnsupportedMediaType(text()),
                415,
                "unsupported_media_type",
            ),
            (Problem::UnknownEventType(text()), 422, "unknown_event_type"),
            (Problem::payload("/a", "b"), 422, "invalid_payload"),
            (Problem::InvalidUrl(text()), 422, "invalid_url"),
            (Problem::RateLimited(BUSY), 429, "rate_limit"),
            (Problem::Unavailable, 503, "unavailable"),
            (Problem::Internal, 500, "internal_error"),
        ] {
            assert_eq!(
                problem.status_and_code(),
                (StatusCode::from_u16(status).unwrap(), code)
            );
            assert!(listed.contains(&format!("\"{code}\"")), "{code}");
        }
    }

    #[test]
    fn a_store_that_cannot_now_is_a_503_and_a_bug_of_it_a_500() {
        for (error, status) in [
            (StoreError::Overloaded, 503),
            (StoreError::Unavailable("disk full".into()), 503),
            (StoreError::Damaged, 503),
            (StoreError::Internal("no such table".into()), 500),
        ] {
            let response = Problem::from(error).into_response();
            assert_eq!(response.status(), status);
            let told = response.headers().get(RETRY_AFTER);
            assert_eq!(told.is_some_and(|after| after == "1"), status == 503);
        }
    }

    #[test]
    fn waiting_as_long_as_told_is_long_enough() {
        for (millis, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (3_599_001, 3600)] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds);
        }
    }
}
