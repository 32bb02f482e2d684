//! Hides what strangers may put into the headers and forms of the settings pages. In the bytes, some control
//! characters stand for what is worth having: the session's token, its name, what its forms carry.

use axum::body::Body;
use http::{HeaderValue, Method, StatusCode};
use url::form_urlencoded;

use crate::choices::Choices;
use crate::house::{HOST, House, house};

/// Pages that show something only to who is signed in.
const PAGES: [&str; 5] = [
    "/settings/teams/acme/webhooks",
    "/settings/teams/acme/deliveries",
    "/settings/teams/acme/keys",
    "/settings/teams/acme/history",
    "/settings",
];
/// Where a form is judged and nothing is changed.
const DEBUGGER: &str = "/settings/teams/acme/debugger";
/// What of another team there is none of for this one.
const FOREIGN: &str = "/settings/teams/globex/webhooks";

pub(super) fn target(bytes: &[u8]) {
    let mut choices = Choices::of(bytes);
    let house = house();
    match choices.below(3) {
        0 => look(&house, &mut choices),
        1 => send(&house, &mut choices),
        _ => enter(&house, &mut choices),
    }
}

/// Bytes with what is worth having in the place of some of them.
fn spelled(house: &House, bytes: &[u8]) -> Vec<u8> {
    let mut spelled = Vec::new();
    for byte in bytes {
        match byte {
            1 => spelled.extend_from_slice(house.session.as_bytes()),
            2 => spelled.extend_from_slice(b"vk_session="),
            3 => spelled.extend_from_slice(house.form_token.as_bytes()),
            4 => spelled.extend_from_slice(b"; "),
            5 => spelled.extend_from_slice(HOST.as_bytes()),
            6 => spelled.extend_from_slice(b"http://"),
            7 => spelled.extend_from_slice(b"csrf="),
            8 => spelled.extend_from_slice(&house.session.as_bytes()[..42]),
            11 => spelled.extend_from_slice(b"same-origin"),
            other => spelled.push(*other),
        }
    }
    spelled
}

type Headers = Vec<(&'static str, HeaderValue)>;

/// A header, where its value is one that a request can have.
fn header(house: &House, name: &'static str, bytes: &[u8]) -> Option<(&'static str, HeaderValue)> {
    let value = HeaderValue::from_bytes(&spelled(house, bytes)).ok()?;
    Some((name, value))
}

/// One or several `Cookie` headers.
fn cookies(house: &House, choices: &mut Choices<'_>) -> Headers {
    let lines: Vec<_> = (0..=choices.below(3)).map(|_| choices.piece()).collect();
    lines
        .into_iter()
        .filter_map(|line| header(house, "cookie", line))
        .collect()
}

/// What a simple reader finds under a cookie's name: the first that is not empty.
fn token(headers: &Headers) -> Option<String> {
    let cookies = headers.iter().filter(|(name, _)| *name == "cookie");
    let lines = cookies.filter_map(|(_, value)| value.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).map(str::trim);
    let values = pairs.filter_map(|pair| pair.strip_prefix("vk_session="));
    let mut values = values.filter(|value| !value.is_empty());
    values.next().map(ToOwned::to_owned)
}

/// Looking at a page: shown to who holds the token, and to nobody else.
fn look(house: &House, choices: &mut Choices<'_>) {
    let page = *choices.one_of(&PAGES);
    let headers = cookies(house, choices);
    let signed_in = token(&headers).as_deref() == Some(&house.session);
    let answer = house.ask("GET", page, &headers, Body::empty());
    let expected = match (signed_in, page) {
        (true, "/settings") => StatusCode::SEE_OTHER,
        (true, _) => StatusCode::OK,
        (false, _) => StatusCode::UNAUTHORIZED,
    };
    assert_eq!(answer.status, expected, "{headers:?}");
    assert!(!answer.headers.contains_key("set-cookie"));
    if !signed_in {
        assert!(
            !answer.text().contains("acme"),
            "something is shown: {headers:?}"
        );
    }
    let foreign = house.ask("GET", FOREIGN, &headers, Body::empty());
    let expected = match signed_in {
        true => StatusCode::NOT_FOUND,
        false => StatusCode::UNAUTHORIZED,
    };
    assert_eq!(foreign.status, expected, "{headers:?}");
}

/// Sending a form: taken with the token in the cookie, its form token in the form, and from a page of ours.
fn send(house: &House, choices: &mut Choices<'_>) {
    let mut headers = cookies(house, choices);
    let signed_in = token(&headers).as_deref() == Some(&house.session);
    let mut origin = None;
    for name in ["origin", "sec-fetch-site"] {
        let piece = choices.piece();
        let given = (!piece.is_empty())
            .then(|| header(house, name, piece))
            .flatten();
        if let Some((_, value)) = &given {
            origin = origin.or_else(|| Some((name, value.clone())));
        }
        headers.extend(given);
    }
    headers.push(("host", HeaderValue::from_static(HOST)));
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    headers.push(("content-type", form));
    let body = spelled(house, choices.rest());
    let mut fields = form_urlencoded::parse(&body);
    let csrf = fields
        .find(|(name, _)| name == "csrf")
        .map(|(_, value)| value);
    let proved = csrf.as_deref() == Some(house.form_token.as_str());
    let from_here = match &origin {
        Some(("origin", value)) => {
            let rest = value
                .to_str()
                .ok()
                .and_then(|value| value.split_once("://"));
            rest.is_some_and(|(_, host)| host.eq_ignore_ascii_case(HOST))
        }
        Some((_, value)) => value == "same-origin",
        None => false,
    };
    let answer = house.ask("POST", DEBUGGER, &headers, Body::from(body.clone()));
    let expected = match (signed_in, from_here && proved) {
        (false, _) => StatusCode::UNAUTHORIZED,
        (true, true) => StatusCode::OK,
        (true, false) => StatusCode::FORBIDDEN,
    };
    assert_eq!(answer.status, expected, "{headers:?}");
}

/// The ways in: no text is a link, or what a form for signing in has to carry.
fn enter(house: &House, choices: &mut Choices<'_>) {
    let text: String = form_urlencoded::byte_serialize(&spelled(house, choices.piece())).collect();
    for (method, path, status) in [
        (Method::GET, "/settings/enter", StatusCode::GONE),
        (Method::HEAD, "/settings/enter", StatusCode::GONE),
        (Method::GET, "/settings/first-run", StatusCode::GONE),
    ] {
        let path = format!("{path}?token={text}");
        let answer = house.ask(method.as_str(), &path, &[], Body::empty());
        assert_eq!(answer.status, status, "{path}");
        assert!(!answer.headers.contains_key("set-cookie"), "{path}");
    }
    let mut headers = cookies(house, choices);
    headers.push(("host", HeaderValue::from_static(HOST)));
    headers.push((
        "origin",
        HeaderValue::from_static("http://hooks.example.com"),
    ));
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    headers.push(("content-type", form));
    let body = spelled(house, choices.rest());
    let answer = house.ask("POST", "/settings/sign-in", &headers, Body::from(body));
    // Nobody knocked, so there is no form by which one could sign in.
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{headers:?}");
    assert!(!answer.headers.contains_key("set-cookie"), "{headers:?}");
}
