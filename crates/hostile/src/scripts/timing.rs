//! Hides nothing: receivers that answer slowly, or just in time, or just too late.

use std::time::Duration;

use model::attempt::Reason::{BodyTimeout, ResponseTimeout};

use super::{DONE, OK};
use crate::certificates::Flaw;
use crate::script::{Expect, Layer, Script, Step, Takes, Twist, says, send};

pub(super) fn scripts() -> Vec<Script> {
    use Step::{Request, Stay, Wait};
    let seconds = Duration::from_secs_f64;
    let drip = |whole: &str, dripped: &str| {
        let dripped = dripped.as_bytes().to_vec().into();
        vec![
            Request,
            send(whole.to_owned()),
            Step::Drip(dripped, seconds(1.0)),
            Stay,
        ]
    };
    let in_time = || Expect::answer(200, "hi").takes(Takes::About(seconds(9.9)));
    let half = format!("{OK}content-length: 2\r\n\r\nh");
    let script = Script::new;
    vec![
        script(
            "drip-status-line",
            "one byte a second in the status line",
            drip("", "HTTP/1.1 200 OOOOOOOOOO"),
            Expect::fail(ResponseTimeout),
        )
        .tls(),
        script(
            "drip-headers",
            "one byte a second in the headers",
            drip(OK, "header: aaaaaaaaaaaaaaa"),
            Expect::fail(ResponseTimeout),
        )
        .tls(),
        script(
            "drip-body",
            "one byte a second in the body",
            drip(
                &format!("{OK}content-length: 99\r\n\r\n"),
                "bbbbbbbbbbbbbbbbbbbbb",
            ),
            Expect::fail_in_body(BodyTimeout),
        )
        .tls(),
        script(
            "answer-at-9-9-s",
            "answers after 9.9 s",
            vec![Request, Wait(seconds(9.9)), send(DONE)],
            in_time(),
        )
        .alone(),
        script(
            "answer-at-10-1-s",
            "answers after 10.1 s",
            vec![Request, Wait(seconds(10.1)), send(DONE)],
            Expect::fail(ResponseTimeout),
        )
        .alone(),
        script(
            "body-ends-at-9-9-s",
            "begins to answer after 5 s and ends after 9.9 s",
            vec![
                Request,
                Wait(seconds(5.0)),
                send(half.clone()),
                Wait(seconds(4.9)),
                send("i"),
            ],
            in_time(),
        )
        .alone(),
        script(
            "body-ends-at-10-1-s",
            "begins to answer after 5 s and ends after 10.1 s",
            vec![
                Request,
                Wait(seconds(5.0)),
                send(half),
                Wait(seconds(5.1)),
                send("i"),
            ],
            Expect::fail_in_body(BodyTimeout),
        )
        .alone(),
        script(
            "tls-at-9-7-s",
            "begins its handshake after 9.7 s, and answers at once",
            // It closes, so that the next attempt has a handshake, too.
            says(format!(
                "{OK}connection: close\r\ncontent-length: 2\r\n\r\nhi"
            )),
            Expect::answer(200, "hi").takes(Takes::About(seconds(9.7))),
        )
        .over(Layer::Tls(Flaw::None, Twist::Late(seconds(9.7))))
        .alone(),
    ]
}
