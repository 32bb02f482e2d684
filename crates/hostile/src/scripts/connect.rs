//! Hides nothing: receivers that cannot be connected to, or break the connection off.

use model::attempt::Reason::{
    ConnectTimeout, ConnectionClosed, ConnectionRefused, ConnectionReset, ResponseTimeout,
    SendTimeout, TlsTimeout,
};

use crate::script::{Expect, Layer, Listens, Script, Step, says_and, send};

pub(super) fn scripts() -> Vec<Script> {
    use Step::{Close, CloseTcp, Drop, Freeze, Read, Request, Reset, Stay};
    let script = Script::new;
    let fail = Expect::fail;
    vec![
        script(
            "connect-nobody",
            "nobody listens",
            vec![],
            fail(ConnectionRefused),
        )
        .listens(Listens::Nobody),
        script(
            "connect-full-queue",
            "listens and never accepts, its queue being full",
            vec![],
            fail(ConnectTimeout),
        )
        .listens(Listens::FullBacklog),
        script(
            "connect-never-accepts",
            "listens and never accepts, while its system completes connections",
            vec![],
            fail(ResponseTimeout),
        )
        .listens(Listens::NeverAccepts),
        script(
            "connect-never-accepts-tls",
            "listens for TLS and never accepts, while its system completes connections",
            vec![],
            fail(TlsTimeout),
        )
        .over(Layer::Raw)
        .listens(Listens::NeverAccepts),
        script(
            "silent-before-tls",
            "accepts and says nothing, before TLS",
            vec![Stay],
            fail(TlsTimeout),
        )
        .over(Layer::Raw),
        script(
            "silent",
            "reads and never answers",
            vec![Request, Stay],
            fail(ResponseTimeout),
        ),
        script(
            "silent-after-tls",
            "reads and never answers, under TLS",
            vec![Request, Stay],
            fail(ResponseTimeout),
        )
        .tls(),
        Script {
            body: 250 << 10,
            ..script(
                "reads-nothing",
                "accepts and reads nothing, with next to no room for what comes",
                vec![Freeze],
                fail(SendTimeout),
            )
            .listens(Listens::Narrow)
        },
        script(
            "close-at-once",
            "closes as soon as it has accepted",
            vec![Close],
            fail(ConnectionClosed),
        ),
        script(
            "close-unread",
            "reads the request and closes",
            vec![Request, Close],
            fail(ConnectionClosed),
        ),
        script(
            "close-unread-tls",
            "reads the request and closes, under TLS",
            vec![Request, Close],
            fail(ConnectionClosed),
        )
        .tls(),
        script(
            "close-unread-tls-without-goodbye",
            "reads the request and closes without close_notify",
            vec![Request, CloseTcp],
            fail(ConnectionClosed),
        )
        .tls(),
        script(
            "close-in-status-line",
            "closes inside the status line",
            says_and("HTTP/1.1 20", Close),
            fail(ConnectionClosed),
        ),
        script(
            "close-in-headers",
            "closes inside a header",
            says_and("HTTP/1.1 200 OK\r\nfoo: b", Close),
            fail(ConnectionClosed),
        ),
        script(
            "reset-before-answer",
            "reads the request and resets",
            vec![Request, Reset],
            fail(ConnectionReset),
        ),
        script(
            "reset-before-answer-tls",
            "reads the request and resets, under TLS",
            vec![Request, Reset],
            fail(ConnectionReset),
        )
        .tls(),
        script(
            "reset-in-headers",
            "resets inside a header",
            says_and("HTTP/1.1 200 OK\r\nfoo: b", Reset),
            fail(ConnectionReset),
        ),
        script(
            "refuses-unread",
            "answers 413 before it reads the body, and closes with a reset",
            vec![
                Read(5),
                send("HTTP/1.1 413 x\r\ncontent-length: 0\r\n\r\n"),
                Drop,
            ],
            Expect::answer(413, ""),
        ),
        Script {
            body: 250 << 10,
            ..script(
                "refuses-unread-tls",
                "answers 401 before it reads a large body, and closes, under TLS",
                vec![
                    Read(5),
                    send("HTTP/1.1 401 x\r\ncontent-length: 0\r\n\r\n"),
                    Close,
                ],
                Expect::answer(401, ""),
            )
            .tls()
        },
    ]
}
