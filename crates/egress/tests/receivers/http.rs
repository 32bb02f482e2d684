//! What an exchange sends, what it keeps, and receivers that no script can play.

use std::time::Duration;

use bytes::Bytes;
use hostile::{answer_all, read_request, stay};
use model::attempt::Reason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use vk_egress::Connections;

use crate::peer::{egress, failure, peer, post, post_with, reason, response, url};

#[tokio::test]
async fn what_was_read_before_a_body_broke_off_is_kept() {
    let address = peer(|mut stream, _| async move {
        read_request(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 201 x\r\nSeen: Yes\r\ncontent-length: 9\r\n\r\nhalf")
            .await
    })
    .await;
    let failed = failure(post(&egress(None, None), &url(format!("http://{address}/"))).await);
    assert_eq!(failed.reason, Reason::BodyIncomplete);
    let partial = failed.partial.unwrap();
    assert_eq!((partial.status, &partial.body[..]), (201, &b"half"[..]));
    assert_eq!(partial.headers[0], ("seen".to_owned(), "Yes".to_owned()));
}

#[tokio::test]
async fn framing_that_comes_with_the_head_is_not_taken_for_a_part_of_it() {
    let zeros = "0".repeat(1 << 20);
    let text = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{zeros}");
    let address = peer(move |mut stream, _| {
        let text = text.clone();
        async move {
            read_request(&mut stream).await;
            stream.write_all(text.as_bytes()).await
        }
    })
    .await;
    let failed = failure(post(&egress(None, None), &url(format!("http://{address}/"))).await);
    assert_eq!(failed.reason, Reason::InvalidResponse, "{failed:?}");
    assert_eq!(failed.partial.map(|partial| partial.status), Some(200));
}

#[tokio::test]
async fn the_request_is_what_the_contract_says_and_nothing_more() {
    let (seen, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let address = peer(move |mut stream, _| {
        let seen = seen.clone();
        async move {
            seen.send(read_request(&mut stream).await.unwrap()).unwrap();
            stream.write_all(b"HTTP/1.1 204 x\r\n\r\n").await
        }
    })
    .await;
    let url = url(format!("http://{address}/a%20b/../c?d=e"));
    response(post(&egress(None, None), &url).await);
    let request = requests.recv().await.unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let lines: Vec<String> = head.lines().map(str::to_lowercase).collect();
    let host = format!("host: {address}");
    assert_eq!(
        lines,
        [
            "post /c?d=e http/1.1",
            &host,
            "accept: */*",
            "accept-encoding: identity",
            "content-type: application/json",
            "content-length: 22",
        ],
        "the host first (RFC 9112, section 3.2)"
    );
    assert_eq!(body, "{\"type\":\"x\",\"data\":{}}");
}

#[tokio::test]
async fn a_compressed_response_is_kept_as_it_came() {
    let body: &[u8] =
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let address = peer(move |mut stream, _| {
        let answer = [head.as_bytes(), body].concat();
        async move {
            read_request(&mut stream).await;
            stream.write_all(&answer).await
        }
    })
    .await;
    let response = response(post(&egress(None, None), &url(format!("http://{address}/"))).await);
    assert_eq!((response.status, &response.body[..]), (200, body));
}

#[tokio::test]
async fn header_values_are_read_lossily_and_cookies_mean_nothing() {
    let (seen, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let address = peer(move |mut stream, _| {
        let seen = seen.clone();
        async move {
            while let Some(request) = read_request(&mut stream).await {
                seen.send(request).unwrap();
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nodd: \xff!\r\nalt-svc: h3=\":1\"\r\ncontent-length: 0\r\n\r\n")
                    .await?;
            }
            Ok(())
        }
    })
    .await;
    let (egress, connections) = (egress(None, None), Connections::default());
    let url = url(format!("http://{address}/"));
    for _ in 0..2 {
        let exchange = post_with(
            &egress,
            &connections,
            &url,
            Bytes::new(),
            Duration::from_secs(5),
        )
        .await;
        let response = response(exchange);
        assert!(
            response
                .headers
                .contains(&("odd".to_owned(), "\u{fffd}!".to_owned()))
        );
        let request = requests.recv().await.unwrap().to_lowercase();
        assert!(!request.contains("cookie"));
    }
}

#[tokio::test]
async fn a_receiver_that_reads_nothing_is_told_apart_from_one_that_does_not_answer() {
    let address = peer(|stream, _| stay(stream)).await;
    let egress = egress(None, None);
    let url = url(format!("http://{address}/"));
    let deadline = Duration::from_millis(400);
    for (length, expected) in [
        (0, Reason::ResponseTimeout),
        (64 << 20, Reason::SendTimeout),
    ] {
        let body = Bytes::from(vec![0; length]);
        let exchange = post_with(&egress, &Connections::default(), &url, body, deadline).await;
        assert_eq!(reason(exchange), expected, "{length}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_before_the_body_was_read_counts_also_if_the_connection_is_closed() {
    for closes in [false, true] {
        let address = peer(move |mut stream, _| async move {
            stream.read_exact(&mut [0; 5]).await?;
            stream
                .write_all(b"HTTP/1.1 413 x\r\ncontent-length: 0\r\n\r\n")
                .await?;
            // Closing with bytes unread resets the connection.
            if closes { Ok(()) } else { stay(stream).await }
        })
        .await;
        let (egress, url) = (egress(None, None), url(format!("http://{address}/")));
        for length in [0, 1 << 10, 256 << 10, 16 << 20].repeat(10) {
            let (connections, body) = (Connections::default(), Bytes::from(vec![0; length]));
            let deadline = Duration::from_secs(10);
            let exchange = post_with(&egress, &connections, &url, body, deadline).await;
            assert_eq!(response(exchange).status, 413, "{length} {closes}");
        }
    }
}

#[tokio::test]
async fn a_plain_url_is_refused_by_a_transport_that_does_not_allow_it() {
    let address = peer(|stream, _| answer_all(stream)).await;
    let strict = vk_egress::EgressOptions {
        policy: vk_egress::Policy {
            allow_http: false,
            ..crate::peer::loopback()
        },
        ..crate::peer::options(None, None)
    };
    let strict = vk_egress::Egress::new(strict).unwrap();
    let exchange = post(&strict, &url(format!("http://{address}/"))).await;
    assert_eq!(reason(exchange), Reason::BlockedAddress);
}
