//! Hides what of the log is asked for: as it was typed, as a link carries it, and what it comes to.

use model::delivery::{Delivery, Status};
use model::id::{DeliveryId, EndpointId, EventId};
use model::time::Timestamp;
use store::LogFilter;
use url::form_urlencoded;

use super::answer::Trouble;
use super::form::Form;
use super::session::Visit;
use crate::App;
use crate::body::shortened;
use crate::problem::Problem;

/// What of the log is asked for, as it was typed.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) endpoint: String,
    pub(super) status: String,
    pub(super) event_type: String,
    pub(super) since: String,
    pub(super) until: String,
    pub(super) id: String,
}

/// What that comes to.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    pub(super) log: LogFilter,
    /// Only this delivery.
    only: Option<DeliveryId>,
    /// Only ids, of deliveries or events, that begin so.
    begins: String,
    /// Nothing can match.
    nothing: bool,
}

impl Asked {
    pub(super) fn of(form: &Form) -> Self {
        // What is cut is none of what can be asked for: it lets nothing through, instead of everything.
        let text = |name| shortened(form.text(name)).into_owned();
        let time = |name| as_field(&text(name));
        Self {
            endpoint: text("endpoint"),
            status: text("status"),
            event_type: text("type"),
            since: time("since"),
            until: time("until"),
            id: text("id"),
        }
    }

    fn pairs(&self) -> [(&'static str, &str); 6] {
        [
            ("endpoint", &self.endpoint),
            ("status", &self.status),
            ("type", &self.event_type),
            ("since", &self.since),
            ("until", &self.until),
            ("id", &self.id),
        ]
    }

    pub(super) fn is_any(&self) -> bool {
        self.pairs().iter().any(|(_, value)| !value.is_empty())
    }

    /// As the query of a link, with something more in front.
    pub(super) fn query(&self, more: &[(&str, &str)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(more);
        query.extend_pairs(self.pairs().iter().filter(|(_, value)| !value.is_empty()));
        query.finish()
    }

    /// What it comes to.
    pub(super) async fn read(&self, app: &App, visit: &Visit) -> Result<Filter, Trouble> {
        let mut filter = self.read_alone(app)?;
        if let Some(endpoint) = filter.log.endpoint {
            let store = app.engine.store();
            // Another team's is as one that does not exist.
            filter.nothing |= !store.was_endpoint_of(visit.team.id, endpoint).await?;
        }
        Ok(filter)
    }

    fn read_alone(&self, app: &App) -> Result<Filter, Problem> {
        let codec = app.engine.store().codec();
        let mut filter = Filter::default();
        if !self.endpoint.is_empty() {
            filter.log.endpoint = codec.parse(&self.endpoint);
            filter.nothing |= filter.log.endpoint.is_none();
        }
        if !self.status.is_empty() {
            filter.log.status = Status::parse(&self.status);
            filter.nothing |= filter.log.status.is_none();
        }
        if !self.event_type.is_empty() {
            filter.log.event_type = Some(self.event_type.clone());
        }
        filter.log.since = moment(&self.since)?;
        filter.log.until = moment(&self.until)?;
        if !self.id.is_empty() {
            filter.find_id(&self.id, app)?;
        }
        Ok(filter)
    }
}

/// A time as a field for date and time can hold it: such a field has no room for an offset.
fn as_field(text: &str) -> String {
    match moment(text) {
        Ok(Some(moment)) if text.len() != 16 => {
            let iso = moment.to_string();
            let iso = iso.trim_end_matches('Z');
            iso.strip_suffix(".000").unwrap_or(iso).to_owned()
        }
        _ => text.to_owned(),
    }
}

/// What a field for date and time holds: with or without seconds, in UTC.
fn moment(text: &str) -> Result<Option<Timestamp>, Problem> {
    if text.is_empty() {
        return Ok(None);
    }
    let whole = match text.len() {
        16 => format!("{text}:00Z"),
        19 | 23 if !text.ends_with(['Z', 'z']) => format!("{text}Z"),
        _ => text.to_owned(),
    };
    let wrong = |_| {
        Problem::InvalidRequest(format!(
            "{:?} is not a time: it is written like 2026-04-01T12:00.",
            shortened(text)
        ))
    };
    Timestamp::parse_iso(&whole).map(Some).map_err(wrong)
}

impl Filter {
    /// What lets nothing through.
    pub(super) fn nothing() -> Self {
        Self {
            nothing: true,
            ..Self::default()
        }
    }

    /// Narrows it to an id, or to ids that begin so. Ids begin with their time, so their beginning is a
    /// span of time, and is found as quickly.
    fn find_id(&mut self, text: &str, app: &App) -> Result<(), Problem> {
        let codec = app.engine.store().codec();
        let text = text.to_ascii_lowercase();
        if uuid::Uuid::try_parse(&text).is_ok() {
            match (
                codec.parse::<DeliveryId>(&text),
                codec.parse::<EventId>(&text),
            ) {
                (Some(delivery), _) => self.only = Some(delivery),
                (None, Some(event)) => self.log.event = Some(event),
                (None, None) => match codec.parse::<EndpointId>(&text) {
                    // It narrows what else is asked for, and does not replace it.
                    Some(endpoint) => {
                        let before = self.log.endpoint.replace(endpoint);
                        self.nothing |= before.is_some_and(|before| before != endpoint);
                    }
                    None => self.nothing = true,
                },
            }
            return Ok(());
        }
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        // Of digits only: reading a number would also take a sign, and so a span of all times.
        let are_digits = (1..=32).contains(&digits.len())
            && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let shown: String = digits.chars().take(12).collect();
        let first = format!("{shown:0<12}");
        let last = format!("{shown:f<12}");
        let (Ok(first), Ok(last), true) = (
            i64::from_str_radix(&first, 16),
            i64::from_str_radix(&last, 16),
            are_digits,
        ) else {
            return Err(Problem::InvalidRequest(
                "An id, or its beginning, has only the digits 0 to 9, the letters a to f, and \
                 hyphens."
                    .into(),
            ));
        };
        let (first, beyond) = (
            Timestamp::from_millis(first),
            Timestamp::from_millis(last + 1),
        );
        let log = &mut self.log;
        log.since = Some(log.since.map_or(first, |since| since.max(first)));
        log.until = Some(log.until.map_or(beyond, |until| until.min(beyond)));
        self.begins = digits;
        Ok(())
    }

    fn begins_so(&self, delivery: &Delivery, app: &App) -> bool {
        let codec = app.engine.store().codec();
        let begins = |uuid: uuid::Uuid| uuid.simple().to_string().starts_with(&self.begins);
        begins(codec.uuid(delivery.id)) || begins(codec.uuid(delivery.event))
    }

    /// The deliveries it lets through, newest first, after a position.
    pub(super) async fn page(
        &self,
        app: &App,
        visit: &Visit,
        before: Option<DeliveryId>,
        limit: u32,
    ) -> Result<Vec<Delivery>, Trouble> {
        let (store, team) = (app.engine.store(), visit.team.id);
        if self.nothing {
            return Ok(Vec::new());
        }
        if let Some(only) = self.only {
            return Ok(store
                .delivery_alone(team, only)
                .await?
                .into_iter()
                .collect());
        }
        let (mut found, mut position) = (Vec::new(), before);
        // A beginning longer than an id's time lets through only some of a millisecond's deliveries, so
        // there may be more behind a page of which it lets through few.
        loop {
            let page = store.delivery_log(team, &self.log, position, limit);
            let page = page.await?;
            let is_last = page.len() < limit as usize;
            position = page.last().map(|delivery| delivery.id);
            found.extend(page.into_iter().filter(|one| self.begins_so(one, app)));
            if is_last || found.len() >= limit as usize {
                found.truncate(limit as usize);
                return Ok(found);
            }
        }
    }

    /// Whether dead letters of it can be retried together: not where it is about single deliveries, or
    /// about those that are no dead letters.
    pub(super) fn is_recoverable(&self) -> bool {
        let dead = self
            .log
            .status
            .is_none_or(|status| status == Status::DeadLetter);
        dead && self.only.is_none()
            && self.log.event.is_none()
            && !self.nothing
            && self.begins.len() <= 12
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_as_browsers_send_it() {
        for (text, iso) in [
            ("", None),
            ("2026-04-01T12:00", Some("2026-04-01T12:00:00.000Z")),
            ("2026-04-01T12:00:07", Some("2026-04-01T12:00:07.000Z")),
            (
                "2026-04-01T12:00:07+02:00",
                Some("2026-04-01T10:00:07.000Z"),
            ),
        ] {
            let read = moment(text).unwrap().map(|moment| moment.to_string());
            assert_eq!(read.as_deref(), iso, "{text}");
        }
        assert!(moment("yesterday").is_err());
        for (asked, field) in [
            ("2026-04-01T12:00", "2026-04-01T12:00"),
            ("2026-04-01T12:00:07+02:00", "2026-04-01T10:00:07"),
            ("2026-04-01T12:00:07.5Z", "2026-04-01T12:00:07.500"),
            ("yesterday", "yesterday"),
        ] {
            assert_eq!(as_field(asked), field);
            assert_eq!(moment(asked).ok(), moment(field).ok(), "{asked}");
        }
    }

    #[test]
    fn a_filter_goes_into_a_link_and_comes_back() {
        let asked = Asked {
            status: "dead_letter".into(),
            id: "01a2 &x".into(),
            ..Asked::default()
        };
        let query = asked.query(&[("cursor", "c")]);
        assert_eq!(query, "cursor=c&status=dead_letter&id=01a2+%26x");
        let again = Asked::of(&Form::of_query(Some(&query)));
        assert_eq!(again.query(&[]), asked.query(&[]));
        assert!(asked.is_any() && !Asked::default().is_any());
        let long = Asked::of(&Form::of_query(Some(&format!("type={}", "a".repeat(400)))));
        assert!(long.event_type.ends_with('…'), "{}", long.event_type);
    }
}
