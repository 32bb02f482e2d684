//! Hides every list that can be asked for, and which cursors each of them may take.

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{StatusCode, Uri};
use url::form_urlencoded;
use uuid::Uuid;

use crate::choices::Choices;
use crate::house::{House, house};

/// The logs, which have cursors.
const LOGS: [&str; 2] = ["/v1/deliveries", "/v1/audit-log"];
/// The pages that show them.
const PAGES: [&str; 2] = [
    "/settings/teams/acme/deliveries",
    "/settings/teams/acme/history",
];
/// The lists of a team that have numbered pages, and the operator's.
const LISTS: [&str; 5] = [
    "/v1/events",
    "/v1/webhook-endpoints",
    "/v1/event-types",
    "/v1/deliveries",
    "/v1/audit-log",
];
const OPERATORS: [&str; 2] = ["/v1/teams", "/v1/teams/acme/api-keys"];

pub(super) fn target(bytes: &[u8]) {
    let mut choices = Choices::of(bytes);
    let house = house();
    match choices.below(4) {
        0 => any_query(&house, &mut choices),
        1 => any_page_query(&house, &mut choices),
        _ => any_cursor(&house, &mut choices),
    }
}

/// What stands after the question mark of a request, where it can stand there.
fn asked(path: &str, query: &[u8]) -> Option<String> {
    let query = std::str::from_utf8(query).ok()?;
    let path = format!("{path}?{query}");
    // What a request line cannot hold never comes to us.
    path.parse::<Uri>().ok().map(|_| path)
}

/// Any query of any list: a list, or what is wrong with the query.
fn any_query(house: &House, choices: &mut Choices<'_>) {
    let lists = [&LISTS[..], &OPERATORS[..]].concat();
    let list = *choices.one_of(&lists);
    let Some(path) = asked(list, choices.rest()) else {
        return;
    };
    let answer = match OPERATORS.contains(&list) {
        true => house.get_as_operator(&path),
        false => house.get_as_team(0, &path),
    };
    match answer.status {
        StatusCode::OK => {
            let ids = answer.ids();
            assert!(ids.len() <= 100, "{path}");
            let logs = &house.teams[1].logs;
            let foreign = |id: &String| logs.iter().any(|log| log.contains(id));
            assert!(!ids.iter().any(foreign), "another team's: {path}");
        }
        StatusCode::BAD_REQUEST => {
            let sentence = answer.json()["error"].as_str().map(str::len);
            assert!(sentence.is_some_and(|length| length > 10), "{path}");
        }
        status => panic!("{status} for {path}"),
    }
}

/// The same of the pages: a page, or one that says what is wrong.
fn any_page_query(house: &House, choices: &mut Choices<'_>) {
    let page = *choices.one_of(&PAGES);
    let Some(path) = asked(page, choices.rest()) else {
        return;
    };
    let answer = house.ask("GET", &path, &[("cookie", house.cookie())], Body::empty());
    let status = answer.status;
    assert!(
        status.is_success() || status.is_client_error(),
        "{status} for {path}"
    );
    let text = answer.text();
    // A page shows its filters again as they were asked for, so an id that the request itself names proves nothing.
    let named = named_by(&path);
    for foreign in house.teams[1].logs.iter().flatten() {
        let leaked = text.contains(foreign.as_str()) && !named.contains(foreign.as_str());
        assert!(!leaked, "another team's: {path}");
    }
}

/// All that the query of a request says, decoded and as it stands, since links of the page carry it on; in lower
/// case as ids are.
fn named_by(path: &str) -> String {
    let query = path.split_once('?').map_or("", |(_, query)| query);
    let decoded = form_urlencoded::parse(query.as_bytes());
    let decoded = decoded.map(|(name, value)| format!("{name}={value}\n"));
    let named: String = decoded.chain([query.to_owned()]).collect();
    named.to_ascii_lowercase()
}

/// A cursor that was issued, perhaps with something changed, or any text.
fn any_cursor(house: &House, choices: &mut Choices<'_>) {
    let (number, which) = (choices.below(2), choices.below(2));
    let origin = (choices.below(2), choices.below(2));
    let issued = cursor_after(choices.one_of::<String>(&house.teams[origin.0].logs[origin.1]));
    let text = match choices.below(4) {
        0 => String::from_utf8_lossy(choices.rest()).into_owned(),
        1 => issued,
        2 => {
            let mut bytes = issued.into_bytes();
            let place = choices.below(bytes.len());
            bytes[place] = choices.byte();
            String::from_utf8_lossy(&bytes).into_owned()
        }
        _ => {
            let rest = String::from_utf8_lossy(choices.rest());
            let end = usize::min(rest.len(), issued.len());
            format!("{}{rest}", &issued[..issued.len() - end])
        }
    };
    let asked: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
    let own = &house.teams[number].logs[which];
    let path = format!("{}?per_page=2&cursor={asked}", LOGS[which]);
    let answer = house.get_as_team(number, &path);
    // Where a cursor may lead: after each entry of this log, be it of another team.
    let logs = house.teams.iter().map(|team| &team.logs[which]);
    let known = logs.flatten().find(|id| cursor_after(id) == text);
    if text.is_empty() {
        assert_eq!(answer.ids(), own[..2], "no cursor is the beginning");
    } else if let Some(id) = known {
        assert_eq!(answer.status, StatusCode::OK, "an issued cursor: {text:?}");
        // Ids begin with their time, and what is newer is larger; of one moment it is the log that says.
        let after: &[String] = match own.iter().position(|own| own == id) {
            Some(place) => &own[place + 1..],
            None => &[],
        };
        let ids = answer.ids();
        if own.contains(id) {
            assert_eq!(ids, after[..after.len().min(2)]);
        }
        assert!(ids.iter().all(|id| own.contains(id)), "another team's");
        let next = answer.json()["meta"]["pagination"]["nextCursor"].clone();
        let expected = (after.len() > 2).then(|| cursor_after(&after[1]));
        if own.contains(id) {
            assert_eq!(next.as_str(), expected.as_deref());
        }
    } else {
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "taken: {text:?}");
    }
    if number == 0 {
        let path = format!("{}?cursor={asked}", PAGES[which]);
        let page = house.ask("GET", &path, &[("cookie", house.cookie())], Body::empty());
        // A page takes the spaces around a field for nothing.
        let trimmed = text.trim();
        let logs = house.teams.iter().map(|team| &team.logs[which]);
        let issued = logs.flatten().any(|id| cursor_after(id) == trimmed);
        let expected = match issued || trimmed.is_empty() {
            true => StatusCode::OK,
            false => StatusCode::NOT_FOUND,
        };
        assert_eq!(page.status, expected, "{text:?}");
    }
}

/// The cursor of the page that begins after this entry.
fn cursor_after(id: &str) -> String {
    let uuid: Uuid = id.parse().expect("ids are UUIDs");
    URL_SAFE_NO_PAD.encode(uuid.as_bytes())
}
