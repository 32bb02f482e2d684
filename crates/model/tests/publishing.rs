//! From a publisher's request body to events, or to a problem that says where and what.

use std::sync::LazyLock;

use proptest::prelude::*;
use vk_model::catalog::Catalog;
use vk_model::event::{
    BATCH_BODY_MAX, BATCH_EVENTS_MAX, EVENT_BODY_MAX, EventProblem, NewEvent,
    check_idempotency_key, parse_batch, parse_publication,
};

static CATALOG: LazyLock<Catalog> = LazyLock::new(Catalog::vantagekit);

const DATA: &str = r#"{ "teamId":"01907f3d-2b6a-7e15-8c4d-1a9b0f3e5d62", "memberId":"0198c5f0-6d8b-7354-bb1e-4c2a7f9d0e13","email":"a@b.example" , "n":1.0}"#;

fn entry(rest: &str) -> String {
    format!(r#"{{"type":"team.member_removed","data":{DATA}{rest}}}"#)
}

fn batch(events: &[String]) -> String {
    format!(r#"{{"events":[{}]}}"#, events.join(","))
}

fn published(body: impl AsRef<[u8]>) -> Result<NewEvent, EventProblem> {
    parse_publication(&CATALOG, body.as_ref())
}

#[test]
fn a_publication_is_framed_with_the_bytes_of_its_data() {
    let framed = entry("");
    for body in [
        framed.clone(),
        format!(" {{ \"data\" : {DATA}\n,\t\"type\" : \"team.member_removed\" }}\r\n"),
        format!(r#"{{"\u0074ype":"team\u002emember_removed","data":{DATA}}}"#),
    ] {
        let event = published(&body).unwrap();
        assert_eq!(event.body, framed, "{body}");
        assert_eq!(event.data(), DATA);
        assert_eq!(&*event.event_type, "team.member_removed");
    }
}

#[test]
fn a_wrong_publication_is_refused_with_the_place_and_the_reason() {
    for (body, sentence) in [
        ("", "the body is not valid JSON: it is empty"),
        (
            " ",
            "the body is not valid JSON: it breaks off at line 1 column 1",
        ),
        (
            "{\"type\":\"x\",\n \"data\": {secret}}",
            "the body is not valid JSON: it goes wrong at line 2 column 11",
        ),
        (
            "{\"type\":\"x\"",
            "the body is not valid JSON: it breaks off at line 1 column 11",
        ),
        (
            "[1,2",
            "the body is not valid JSON: it breaks off at line 1 column 4",
        ),
        (
            "{} {}",
            "the body is not valid JSON: it goes wrong at line 1 column 4",
        ),
        (
            "{\"type\":\"\u{7}\"}",
            "the body is not valid JSON: it goes wrong at line 1 column 9 (a control character inside a string is written as \\n, \\t or \\u00XX)",
        ),
        (
            "{\"type\":\"\\ud800\",\"data\":{}}",
            "the body is not valid JSON: it goes wrong at line 1 column 8 (see the escapes there: \\u takes four hexadecimal digits, and half of a surrogate pair is no character) of /type",
        ),
        ("[]", "the body: expected an object, found an array"),
        ("\"secret\"", "the body: expected an object, found a string"),
        ("12", "the body: expected an object, found a number"),
        ("null", "the body: expected an object, found null"),
        (
            "{}",
            "/type: expected the event's type: this field is required, and it is missing",
        ),
        (
            r#"{"type":"link.expired"}"#,
            "/data: expected the event's data: this field is required, and it is missing",
        ),
        (
            r#"{"type":null,"data":{}}"#,
            "/type: expected a string, found null",
        ),
        (
            r#"{"type":["link.expired"],"data":{}}"#,
            "/type: expected a string, found an array",
        ),
        (
            r#"{"type":"link.expired","data":[]}"#,
            "/data: expected an object, found an array",
        ),
        (
            r#"{"type":"link.expired","data":"{}"}"#,
            "/data: expected an object, found a string",
        ),
        (
            r#"{"type":"link.expired","data":null}"#,
            "/data: expected an object, found null",
        ),
        (
            r#"{"type":"Link.expired","data":{}}"#,
            "unknown event type \"Link.expired\"; did you mean \"link.expired\"? GET /v1/event-types lists the known ones",
        ),
        (
            r#"{"type":"link.expired","data":{}}"#,
            "/data/dealRoomId: this field is required, and it is missing",
        ),
        (
            r#"{"type":"link.expired","data":{},"type":"link.expired"}"#,
            "/type: expected each field once, found this one twice",
        ),
        (
            r#"{"type":"link.expired","data":{},"dat/a":1,"x":2}"#,
            "/dat~1a: this field is not known here, only type, data",
        ),
        (
            r#"{"type":"link.expired","data":{},"idempotencyKey":"k"}"#,
            "/idempotencyKey: this field is not known here, only type, data; of a single event the key is the header Idempotency-Key",
        ),
        (
            r#"{"x":1,"type":"secret""#,
            "the body is not valid JSON: it breaks off at line 1 column 22",
        ),
    ] {
        let found = published(body).unwrap_err().to_string();
        assert_eq!(found, sentence, "{body}");
        assert!(!found.contains("secret"));
    }
    assert_eq!(
        published(b"{\"type\":\"\xff\"}").unwrap_err().to_string(),
        "the body is not valid JSON: it is not UTF-8 from byte 9 on (the first is 0)"
    );
}

#[test]
fn a_large_body_is_refused_as_too_large_whatever_fills_it() {
    let filled = |length: usize| entry(&" ".repeat(length - entry("").len()));
    assert!(published(filled(EVENT_BODY_MAX)).is_ok());
    assert_eq!(
        published(filled(EVENT_BODY_MAX + 1)),
        Err(EventProblem::TooLarge {
            what: "the body",
            bytes: EVENT_BODY_MAX + 1,
            max: EVENT_BODY_MAX
        })
    );
}

#[test]
fn deep_nesting_ends_in_a_problem_not_in_a_full_stack() {
    for body in [
        "[".repeat(EVENT_BODY_MAX),
        format!(
            r#"{{"type":"link.expired","data":{{"a":{}"#,
            "[".repeat(200_000)
        ),
        format!(
            r#"{{"type":"link.expired","x":{}{}}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        ),
        format!(
            r#"{{"type":"link.expired","data":{{"a":{}{}}}}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        ),
    ] {
        assert!(published(body).is_err());
    }
}

#[test]
fn a_batch_is_its_events_with_their_keys() {
    let body = batch(&[
        entry(""),
        entry(r#","idempotencyKey":"k-1\u002b""#),
        entry(r#","idempotencyKey":null"#),
    ]);
    let events = parse_batch(&CATALOG, body.as_bytes()).unwrap();
    let keys: Vec<Option<&str>> = events.iter().map(|(_, key)| key.as_deref()).collect();
    assert_eq!(keys, [None, Some("k-1+"), None]);
    for (event, _) in events {
        assert_eq!(event.body, entry(""));
    }
    let most = batch(&vec![entry(""); BATCH_EVENTS_MAX]);
    assert_eq!(
        parse_batch(&CATALOG, most.as_bytes()).unwrap().len(),
        BATCH_EVENTS_MAX
    );
}

#[test]
fn a_wrong_batch_is_refused_with_the_index_the_place_and_the_reason() {
    let large = entry(&format!(r#","idempotencyKey":"k{}""#, "x".repeat(255)));
    let huge = format!(
        r#"{{"type":"team.member_removed","data":{{"x":"{}",{}}}"#,
        "x".repeat(EVENT_BODY_MAX),
        &DATA[1..]
    );
    let too_large = format!(
        "/events/1: the event has {} bytes; at most 262144 are accepted",
        huge.len()
    );
    for (body, index, sentence) in [
        ("".into(), None, "the body is not valid JSON: it is empty"),
        (
            "{".into(),
            None,
            "the body is not valid JSON: it breaks off at line 1 column 1",
        ),
        (
            "[]".into(),
            None,
            "the body: expected an object, found an array",
        ),
        (
            "{}".into(),
            None,
            "/events: expected an array of events: this field is required, and it is missing",
        ),
        (
            r#"{"event":[]}"#.into(),
            None,
            "/event: this field is not known here, only events",
        ),
        (
            r#"{"events":{}}"#.into(),
            None,
            "/events: expected an array, found an object",
        ),
        (
            r#"{"events":null}"#.into(),
            None,
            "/events: expected an array, found null",
        ),
        (
            r#"{"events":[]}"#.into(),
            None,
            "/events: expected 1 to 1000 events, found 0",
        ),
        (
            batch(&vec![entry(""); BATCH_EVENTS_MAX + 5]),
            None,
            "/events: expected 1 to 1000 events, found 1005",
        ),
        (
            batch(&[entry(""), "7".into()]),
            Some(1),
            "/events/1: expected an object, found a number",
        ),
        (
            batch(&[entry(""), entry(""), r#"{"type":"x.y","data":{}}"#.into()]),
            Some(2),
            "/events/2: unknown event type \"x.y\"; GET /v1/event-types lists the known ones",
        ),
        (
            batch(&[
                entry(""),
                r#"{"type":"team.member_removed","data":{}}"#.into(),
                "7".into(),
            ]),
            Some(1),
            "/events/1/data/teamId: this field is required, and it is missing",
        ),
        (
            batch(&[entry(r#","key":1"#)]),
            Some(0),
            "/events/0/key: this field is not known here, only type, data, idempotencyKey",
        ),
        (
            batch(&[entry(r#","idempotencyKey":5"#)]),
            Some(0),
            "/events/0/idempotencyKey: expected a string, found a number",
        ),
        (
            batch(&[entry(r#","idempotencyKey":"""#)]),
            Some(0),
            "/events/0/idempotencyKey: expected an idempotency key of 1 to 255 characters",
        ),
        (
            batch(&[large]),
            Some(0),
            "/events/0/idempotencyKey: expected an idempotency key of 1 to 255 characters",
        ),
        (batch(&[entry(""), huge]), Some(1), too_large.as_str()),
    ] {
        let problem = parse_batch(&CATALOG, body.as_bytes()).unwrap_err();
        assert_eq!(
            (problem.index, problem.to_string().as_str()),
            (index, sentence),
            "{body:.200}"
        );
    }
    let problem = parse_batch(&CATALOG, &vec![b' '; BATCH_BODY_MAX + 1]).unwrap_err();
    assert_eq!(
        problem.to_string(),
        "the batch has 8388609 bytes; at most 8388608 are accepted"
    );
    assert_eq!(problem.index, None);
}

#[test]
fn an_idempotency_key_is_1_to_255_visible_ascii_characters() {
    let longest = "k".repeat(255);
    for good in [
        "k",
        "order-42/2026:\"é\"".replace('é', "e").as_str(),
        "!~",
        longest.as_str(),
    ] {
        assert_eq!(check_idempotency_key(good), Ok(()), "{good}");
    }
    let too_long = "k".repeat(256);
    for bad in [
        "",
        " ",
        "a b",
        "a\n",
        "a\u{7f}",
        "é",
        "\0",
        too_long.as_str(),
    ] {
        assert!(check_idempotency_key(bad).is_err(), "{bad:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_parsed_without_a_panic(bytes: Vec<u8>) {
        prop_assert!(published(&bytes).is_err());
        prop_assert!(parse_batch(&CATALOG, &bytes).is_err());
    }

    #[test]
    fn a_damaged_body_is_accepted_only_with_its_own_bytes(at in 0usize..400, to: u8, cut in 0usize..400) {
        let mut bytes = batch(&[entry(r#","idempotencyKey":"k""#)]).into_bytes();
        let (at, cut) = (at % bytes.len(), cut.max(1));
        bytes[at] = to;
        if let Ok(events) = parse_batch(&CATALOG, &bytes) {
            let data = events[0].0.data();
            prop_assert!(bytes.windows(data.len()).any(|window| window == data));
        }
        let inner = &bytes[r#"{"events":["#.len()..];
        let inner = &inner[..inner.len().saturating_sub(2 + cut % 8)];
        if let Ok(event) = published(inner) {
            let data = event.data();
            prop_assert!(inner.windows(data.len()).any(|window| window == data));
        }
    }
}
