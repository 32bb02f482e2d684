//! Hides nothing: receivers that answer properly, with every status there is.

use super::OK;
use crate::script::{Expect, Script, Step, says};

pub(super) fn scripts() -> Vec<Script> {
    [plain(), redirects(), without_a_body(), retry_after()].concat()
}

const STATUSES: &[u16] = &[
    200, 201, 202, 203, 206, 207, 208, 226, 299, 300, 305, 306, 309, 399, 400, 401, 402, 403, 404,
    405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 421, 422, 423, 424, 425,
    426, 428, 431, 451, 499, 500, 501, 502, 503, 504, 505, 507, 508, 511, 520, 521, 522, 523, 524,
    525, 526, 530, 599, 600, 700, 999,
];

fn answered(name: &str, does: &str, status: u16, head: &str) -> Script {
    let text = format!("HTTP/1.1 {status} x\r\n{head}content-length: 2\r\n\r\nhi");
    Script::new(name, does, says(text), Expect::answer(status, "hi"))
}

fn plain() -> Vec<Script> {
    STATUSES
        .iter()
        .map(|status| {
            answered(
                &format!("status-{status}"),
                &format!("{status}"),
                *status,
                "",
            )
        })
        .chain([
            answered(
                "status-401-authenticate",
                "401 that demands a password",
                401,
                "www-authenticate: Basic realm=\"a\"\r\n",
            ),
            answered("status-401-tls", "401, under TLS", 401, "").tls(),
        ])
        .collect()
}

/// None is followed, wherever it leads.
fn redirects() -> Vec<Script> {
    [
        (
            "status-301",
            "301 to another host",
            301,
            "location: https://elsewhere.example.com/\r\n",
        ),
        (
            "status-302",
            "302 to an internal address",
            302,
            "location: http://127.0.0.1:1/\r\n",
        ),
        (
            "status-302-to-metadata",
            "302 to a cloud's metadata service",
            302,
            "location: http://169.254.169.254/\r\n",
        ),
        (
            "status-302-twice",
            "302 to two places",
            302,
            "location: /a\r\nlocation: /b\r\n",
        ),
        (
            "status-302-to-nonsense",
            "302 to what is no URL",
            302,
            "location: http://[\r\n",
        ),
        ("status-303", "303 without a place", 303, ""),
        ("status-307", "307 to another path", 307, "location: /a\r\n"),
        ("status-308", "308 to itself", 308, "location: /hook\r\n"),
    ]
    .into_iter()
    .map(|(name, does, status, head)| answered(name, does, status, head))
    .collect()
}

fn without_a_body() -> Vec<Script> {
    let rows = [
        ("status-204", "204", 204, "", ""),
        ("status-204-body", "204 with a body", 204, "", "surprise"),
        (
            "status-204-length",
            "204 with a body and its length",
            204,
            "content-length: 2\r\n",
            "hi",
        ),
        ("status-304", "304", 304, "", ""),
        ("status-304-body", "304 with a body", 304, "", "surprise"),
        (
            "status-304-length",
            "304 with a length",
            304,
            "content-length: 2\r\n",
            "",
        ),
    ];
    let mut scripts: Vec<Script> = rows
        .into_iter()
        .map(|(name, does, status, head, body)| {
            let text = format!("HTTP/1.1 {status} x\r\n{head}\r\n{body}");
            Script::new(name, does, says(text), Expect::answer(status, ""))
        })
        .collect();
    scripts.push(Script::new(
        "status-205-body",
        "205 with a body",
        says("HTTP/1.1 205 x\r\ncontent-length: 2\r\n\r\nhi"),
        Expect::answer(205, "hi"),
    ));
    scripts.push(Script::new(
        "status-200-nothing",
        "200 without a body",
        vec![
            Step::Request,
            Step::Send(format!("{OK}content-length: 0\r\n\r\n").into()),
        ],
        Expect::answer(200, ""),
    ));
    scripts
}

/// The schedule stands, whatever a receiver asks for.
fn retry_after() -> Vec<Script> {
    let long = "9".repeat(5 << 10);
    [
        ("none", "without Retry-After", String::new()),
        ("zero", "Retry-After: 0", "0".to_owned()),
        ("hour", "Retry-After: 3600", "3600".to_owned()),
        ("long", "Retry-After of three years", "99999999".to_owned()),
        ("negative", "Retry-After: -1", "-1".to_owned()),
        ("fraction", "Retry-After: 1.5", "1.5".to_owned()),
        ("word", "Retry-After: soon", "soon".to_owned()),
        ("empty", "an empty Retry-After", " ".to_owned()),
        (
            "past",
            "a Retry-After of the past",
            "Wed, 21 Oct 2015 07:28:00 GMT".to_owned(),
        ),
        (
            "future",
            "a Retry-After of the far future",
            "Wed, 21 Oct 2099 07:28:00 GMT".to_owned(),
        ),
        (
            "rfc-850",
            "a Retry-After as of RFC 850",
            "Wednesday, 21-Oct-99 07:28:00 GMT".to_owned(),
        ),
        (
            "asctime",
            "a Retry-After as of asctime",
            "Wed Oct 21 07:28:00 2099".to_owned(),
        ),
        ("digits", "a Retry-After of 30 digits", "9".repeat(30)),
        (
            "twice",
            "two Retry-Afters",
            "1\r\nretry-after: 7200".to_owned(),
        ),
        ("5-kib", "a Retry-After of 5 KiB", long),
    ]
    .into_iter()
    .map(|(name, does, value)| {
        let head = match value.as_str() {
            "" => String::new(),
            value => format!("retry-after: {value}\r\n"),
        };
        answered(
            &format!("status-429-{name}"),
            &format!("429, {does}"),
            429,
            &head,
        )
    })
    .chain([answered(
        "status-503-retry-after",
        "503, Retry-After: 3600",
        503,
        "retry-after: 3600\r\n",
    )])
    .collect()
}
