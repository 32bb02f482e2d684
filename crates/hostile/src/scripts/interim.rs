//! Hides nothing: receivers that say something before they answer.

use std::time::Duration;

use bytes::Bytes;
use model::attempt::Reason::{HeadersTooLarge, ResponseTimeout, TooManyInterim, UnexpectedUpgrade};

use super::{DONE, OK};
use crate::script::{Expect, Script, Step, Takes, repeat, says, says_and};

const EARLY: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";

pub(super) fn scripts() -> Vec<Script> {
    let good = || Expect::answer(200, "hi");
    let fail = Expect::fail;
    let now_and_then = |every| {
        vec![
            Step::Request,
            Step::Repeat(Bytes::from_static(EARLY.as_bytes()), Some(every)),
        ]
    };
    let large = format!("HTTP/1.1 103 x\r\nlink: {}\r\n\r\n", "a".repeat(20 << 10));
    let endless = |start: &str| {
        vec![
            Step::Request,
            Step::Send(start.to_owned().into()),
            repeat("aaaaaaaaaaaa"),
        ]
    };
    let mut scripts = vec![
        (
            "interim-100",
            "100, then 200",
            says(format!("HTTP/1.1 100 Continue\r\n\r\n{DONE}")),
            good(),
        ),
        (
            "interim-100-twice",
            "100 twice, then 200",
            says(format!(
                "{}{DONE}",
                "HTTP/1.1 100 Continue\r\n\r\n".repeat(2)
            )),
            good(),
        ),
        (
            "interim-102",
            "102, then 200",
            says(format!("HTTP/1.1 102 x\r\n\r\n{DONE}")),
            good(),
        ),
        (
            "interim-103",
            "103, then 200",
            says(format!("{EARLY}{DONE}")),
            good(),
        ),
        (
            "interim-104",
            "104, then 200",
            says(format!("HTTP/1.1 104 x\r\n\r\n{DONE}")),
            good(),
        ),
        (
            "interim-199",
            "199, then 200",
            says(format!("HTTP/1.1 199 x\r\n\r\n{DONE}")),
            good(),
        ),
        (
            "interim-10",
            "ten times 103, then 200",
            says(format!("{}{DONE}", EARLY.repeat(10))),
            good(),
        ),
        (
            "interim-11",
            "eleven times 103, then 200",
            says(format!("{}{DONE}", EARLY.repeat(11))),
            fail(TooManyInterim),
        ),
        (
            "interim-103-flood",
            "103 for ever",
            vec![Step::Request, repeat("HTTP/1.1 103 x\r\n\r\n")],
            fail(TooManyInterim),
        ),
        (
            "interim-100-flood",
            "100 for ever",
            vec![Step::Request, repeat("HTTP/1.1 100 Continue\r\n\r\n")],
            fail(TooManyInterim),
        ),
        (
            "interim-103-every-200-ms",
            "103 every 200 ms",
            now_and_then(Duration::from_millis(200)),
            fail(TooManyInterim).takes(Takes::About(Duration::from_secs(2))),
        ),
        (
            "interim-103-every-3-s",
            "103 every three seconds",
            now_and_then(Duration::from_secs(3)),
            fail(ResponseTimeout),
        ),
        (
            "interim-then-nothing",
            "103, then nothing",
            says_and(EARLY, Step::Stay),
            fail(ResponseTimeout),
        ),
        (
            "interim-large",
            "five times 103 with headers of 20 KiB",
            says_and(large.repeat(5), Step::Stay),
            fail(HeadersTooLarge),
        ),
        (
            "interim-then-endless-header",
            "103, then a response with a header without end",
            endless(&format!("{EARLY}{OK}big: ")),
            fail(HeadersTooLarge),
        ),
        (
            "upgrade-websocket",
            "101 with the headers of a websocket",
            says_and(
                "HTTP/1.1 101 x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
                Step::Stay,
            ),
            fail(UnexpectedUpgrade),
        ),
        (
            "upgrade-bare",
            "101 without headers",
            says_and("HTTP/1.1 101 x\r\n\r\n", Step::Stay),
            fail(UnexpectedUpgrade),
        ),
    ]
    .into_iter()
    .map(|(name, does, steps, expect)| Script::new(name, does, steps, expect))
    .collect::<Vec<_>>();
    scripts.push(
        Script::new(
            "upgrade-websocket-tls",
            "101 and frames of a websocket, under TLS",
            says_and(
                "HTTP/1.1 101 x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n\u{1}\u{2}hi",
                Step::Stay,
            ),
            fail(UnexpectedUpgrade),
        )
        .tls(),
    );
    scripts
}
