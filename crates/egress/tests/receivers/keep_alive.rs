//! Connections kept alive: used again, noticed when they die, never shared.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use hostile::{answer_all, read_request, stay};
use model::attempt::Reason;
use tokio::io::AsyncWriteExt;
use vk_egress::{Connections, Egress, EgressOptions, Exchange, ReceiverUrl};

use crate::peer::{egress, options, peer, post_with, reason, response, url};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

async fn post(egress: &Egress, connections: &Connections, url: &ReceiverUrl) -> Exchange {
    let body = Bytes::from_static(b"{}");
    post_with(egress, connections, url, body, Duration::from_secs(5)).await
}

/// A peer that counts its connections.
async fn counted() -> (String, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    let address = peer(move |stream, _| {
        counter.fetch_add(1, SeqCst);
        answer_all(stream)
    })
    .await;
    (format!("http://{address}/"), count)
}

#[tokio::test]
async fn exchanges_one_after_the_other_share_a_connection() {
    let (text, count) = counted().await;
    let (egress, connections, url) = (egress(None, None), Connections::default(), url(text));
    for n in 0..20 {
        let exchange = post(&egress, &connections, &url).await;
        assert_eq!(exchange.timings.connect_ms.is_some(), n == 0, "{n}");
        assert!(exchange.timings.first_byte_ms.is_some());
        assert!(exchange.remote_addr.is_some());
        assert_eq!(response(exchange).status, 200);
    }
    assert_eq!(count.load(SeqCst), 1);
}

#[tokio::test]
async fn exchanges_at_the_same_time_have_a_connection_each() {
    let (text, count) = counted().await;
    let (egress, connections, url) = (egress(None, None), Connections::default(), url(text));
    for _ in 0..3 {
        let (a, b) = tokio::join!(
            post(&egress, &connections, &url),
            post(&egress, &connections, &url)
        );
        assert_eq!((response(a).status, response(b).status), (200, 200));
    }
    assert_eq!(count.load(SeqCst), 2);
}

#[tokio::test]
async fn two_endpoints_never_share_a_connection() {
    let (text, count) = counted().await;
    let (egress, url) = (egress(None, None), url(text));
    let (one, other) = (Connections::default(), Connections::default());
    for _ in 0..3 {
        response(post(&egress, &one, &url).await);
        response(post(&egress, &other, &url).await);
    }
    assert_eq!(count.load(SeqCst), 2);
}

#[tokio::test]
async fn all_endpoints_share_a_number_of_idle_connections() {
    let (text, count) = counted().await;
    let egress = Egress::new(EgressOptions {
        max_idle: 1,
        ..options(None, None)
    });
    let (egress, url) = (egress.unwrap(), url(text));
    let (one, other) = (Connections::default(), Connections::default());
    for _ in 0..2 {
        response(post(&egress, &one, &url).await);
    }
    assert_eq!(count.load(SeqCst), 1, "the place is taken and given back");
    for _ in 0..2 {
        response(post(&egress, &other, &url).await);
    }
    assert_eq!(count.load(SeqCst), 3, "there is no place for the other");
    drop(one);
    for _ in 0..2 {
        response(post(&egress, &other, &url).await);
    }
    assert_eq!(count.load(SeqCst), 4, "what is dropped leaves its place");
}

#[tokio::test]
async fn a_connection_serves_one_origin_only() {
    let (first, first_count) = counted().await;
    let (second, second_count) = counted().await;
    let (egress, connections) = (egress(None, None), Connections::default());
    response(post(&egress, &connections, &url(&first)).await);
    response(post(&egress, &connections, &url(format!("{first}other?path"))).await);
    assert_eq!(first_count.load(SeqCst), 1);
    response(post(&egress, &connections, &url(&second)).await);
    assert_eq!(second_count.load(SeqCst), 1);
}

#[tokio::test]
async fn a_kept_connection_serves_every_path_of_its_origin() {
    let (seen, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let address = peer(move |mut stream, number| {
        let seen = seen.clone();
        async move {
            while let Some(request) = read_request(&mut stream).await {
                let line = request.lines().next().unwrap().to_owned();
                seen.send((number, line)).unwrap();
                stream.write_all(OK).await?;
            }
            Ok(())
        }
    })
    .await;
    let (egress, connections) = (egress(None, None), Connections::default());
    for path in ["one", "two?three"] {
        let url = url(format!("http://{address}/{path}"));
        response(post(&egress, &connections, &url).await);
        let expected = (0, format!("POST /{path} HTTP/1.1"));
        assert_eq!(requests.recv().await.unwrap(), expected);
    }
}

#[tokio::test]
async fn dropping_the_connections_closes_them() {
    let (gone, mut closed) = tokio::sync::mpsc::unbounded_channel();
    let address = peer(move |stream, _| {
        let gone = gone.clone();
        async move {
            answer_all(stream).await?;
            gone.send(()).unwrap();
            Ok(())
        }
    })
    .await;
    let (egress, connections) = (egress(None, None), Connections::default());
    response(post(&egress, &connections, &url(format!("http://{address}/"))).await);
    assert!(closed.try_recv().is_err());
    drop(connections);
    let waiting = tokio::time::timeout(Duration::from_secs(5), closed.recv());
    assert!(waiting.await.unwrap().is_some());
}

/// What the peer does to its first connection once it has answered on it.
async fn after_the_first_answer(spoil: &'static [u8], close: bool) -> (String, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    let address = peer(move |mut stream, number| {
        counter.fetch_add(1, SeqCst);
        async move {
            if number > 0 {
                return answer_all(stream).await;
            }
            read_request(&mut stream).await;
            stream.write_all(OK).await?;
            stream.write_all(spoil).await?;
            if close {
                return stream.shutdown().await;
            }
            stay(stream).await
        }
    })
    .await;
    (format!("http://{address}/"), count)
}

#[tokio::test]
async fn an_idle_connection_that_died_or_spoke_unasked_is_not_used_again() {
    for (spoil, close) in [
        (&b""[..], true),
        (b"HTTP/1.1 408 x\r\n\r\n", false),
        (OK, false),
    ] {
        let (text, count) = after_the_first_answer(spoil, close).await;
        let (egress, connections, url) = (egress(None, None), Connections::default(), url(text));
        assert_eq!(
            response(post(&egress, &connections, &url).await).status,
            200
        );
        tokio::time::sleep(Duration::from_millis(30)).await;
        let second = post(&egress, &connections, &url).await;
        assert!(
            second.timings.connect_ms.is_some(),
            "a new connection was made"
        );
        assert_eq!(response(second).status, 200);
        assert_eq!(count.load(SeqCst), 2);
    }
}

/// A peer whose first `bad` connections die on their second request, which they have read; the
/// later ones do what `fresh` says.
async fn dies_on_second_request(fresh_answers: bool) -> (String, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    let address = peer(move |mut stream, number| {
        counter.fetch_add(1, SeqCst);
        async move {
            if number == 0 {
                read_request(&mut stream).await;
                stream.write_all(OK).await?;
                read_request(&mut stream).await;
                return stream.set_zero_linger();
            }
            if fresh_answers {
                return answer_all(stream).await;
            }
            read_request(&mut stream).await;
            Ok(())
        }
    })
    .await;
    (format!("http://{address}/"), count)
}

#[tokio::test]
async fn a_kept_connection_that_dies_unanswered_is_replaced_once() {
    let (text, count) = dies_on_second_request(true).await;
    let (egress, connections, url) = (egress(None, None), Connections::default(), url(text));
    response(post(&egress, &connections, &url).await);
    assert_eq!(
        response(post(&egress, &connections, &url).await).status,
        200
    );
    assert_eq!(count.load(SeqCst), 2);

    let (text, count) = dies_on_second_request(false).await;
    let url = crate::peer::url(text);
    let connections = Connections::default();
    response(post(&egress, &connections, &url).await);
    let failed = post(&egress, &connections, &url).await;
    assert_eq!(reason(failed), Reason::ConnectionClosed);
    assert_eq!(
        count.load(SeqCst),
        2,
        "a fresh connection's failure is final"
    );
}

#[tokio::test]
async fn what_is_sent_again_is_the_very_same() {
    let (seen, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let address = peer(move |mut stream, number| {
        let seen = seen.clone();
        async move {
            // The first connection dies on its second request, which it has read.
            for dies in [false, number == 0] {
                let Some(request) = read_request(&mut stream).await else {
                    break;
                };
                seen.send((number, request)).unwrap();
                if dies {
                    return stream.set_zero_linger();
                }
                stream.write_all(OK).await?;
            }
            Ok(())
        }
    })
    .await;
    let (egress, connections) = (egress(None, None), Connections::default());
    let url = url(format!("http://{address}/path?query"));
    for _ in 0..2 {
        assert_eq!(
            response(post(&egress, &connections, &url).await).status,
            200
        );
    }
    let mut tries = Vec::new();
    while let Ok(one) = requests.try_recv() {
        tries.push(one);
    }
    let connections: Vec<usize> = tries.iter().map(|(connection, _)| *connection).collect();
    assert_eq!(connections, [0, 0, 1]);
    assert!(tries[0].1.contains("content-type: application/json\r\n"));
    assert_eq!(tries[1].1, tries[2].1);
}

#[tokio::test]
async fn a_connection_is_kept_only_after_a_whole_response() {
    for answer in [
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".to_owned(),
        "HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned(),
        format!(
            "HTTP/1.1 200 OK\r\ncontent-length: 20000\r\n\r\n{}",
            "x".repeat(20000)
        ),
    ] {
        let count = Arc::new(AtomicUsize::new(0));
        let counter = count.clone();
        let address = peer(move |mut stream, _| {
            counter.fetch_add(1, SeqCst);
            let answer = answer.clone();
            async move {
                while read_request(&mut stream).await.is_some() {
                    stream.write_all(answer.as_bytes()).await?;
                }
                Ok(())
            }
        })
        .await;
        let (egress, connections) = (egress(None, None), Connections::default());
        let url = url(format!("http://{address}/"));
        for n in 1..=3 {
            response(post(&egress, &connections, &url).await);
            assert_eq!(count.load(SeqCst), n);
        }
    }
}

/// Lets `span` pass for every timer, without waiting for it.
async fn let_pass(span: Duration) {
    tokio::time::pause();
    tokio::time::sleep(span).await;
    tokio::time::resume();
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_a_while_without_anybody_asking() {
    let (gone, mut closed) = tokio::sync::mpsc::unbounded_channel();
    let address = peer(move |stream, _| {
        let gone = gone.clone();
        async move {
            answer_all(stream).await?;
            gone.send(()).unwrap();
            Ok(())
        }
    })
    .await;
    let (egress, connections) = (egress(None, None), Connections::default());
    response(post(&egress, &connections, &url(format!("http://{address}/"))).await);
    let_pass(Duration::from_secs(20)).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(closed.try_recv().is_err(), "closed too early");
    let_pass(Duration::from_secs(20)).await;
    let waiting = tokio::time::timeout(Duration::from_secs(5), closed.recv());
    assert!(waiting.await.unwrap().is_some());
}

#[tokio::test]
async fn a_connection_in_use_is_replaced_in_time_so_that_its_name_is_resolved_again() {
    let (text, count) = counted().await;
    let (egress, connections, url) = (egress(None, None), Connections::default(), url(text));
    let mut used = Vec::new();
    for _ in 0..7 {
        response(post(&egress, &connections, &url).await);
        used.push(count.load(SeqCst));
        let_pass(Duration::from_secs(20)).await;
    }
    assert_eq!(used, [1, 1, 1, 1, 1, 2, 2], "a new one after 90 s");
}

/// A peer whose first connection answers `first` to its first request and `then` to its second, and closes.
/// The later ones answer each request with `fresh`.
async fn says(
    first: &'static [u8],
    then: &'static [u8],
    fresh: &'static [u8],
) -> (String, Arc<AtomicUsize>) {
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = requests.clone();
    let address = peer(move |mut stream, number| {
        let counter = counter.clone();
        async move {
            for answer in [first, then] {
                if read_request(&mut stream).await.is_none() {
                    break;
                }
                counter.fetch_add(1, SeqCst);
                let answer = if number == 0 { answer } else { fresh };
                stream.write_all(answer).await?;
            }
            stream.shutdown().await
        }
    })
    .await;
    (format!("http://{address}/"), requests)
}

#[tokio::test]
async fn a_408_that_closes_a_used_connection_is_no_answer_to_the_request() {
    for end in [
        &b"HTTP/1.1 408 x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"[..],
        b"HTTP/1.1 408 x\r\nContent-Type: text/html\r\nConnection: Close\r\n\r\n<html>late</html>",
        b"HTTP/1.0 408 x\r\ncache-control: no-cache\r\n\r\n<html>late</html>",
    ] {
        let (text, requests) = says(OK, end, OK).await;
        let (egress, connections, url) = (egress(None, None), Connections::default(), url(text));
        response(post(&egress, &connections, &url).await);
        let second = post(&egress, &connections, &url).await;
        assert!(second.sent_twice);
        assert_eq!(response(second).status, 200);
        assert_eq!(requests.load(SeqCst), 3);
    }
}

#[tokio::test]
async fn any_other_4xx_and_a_408_that_keeps_or_is_the_first_response_is_an_answer() {
    const CLOSE: &[u8] = b"HTTP/1.1 408 x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    const TOO_LARGE: &[u8] = b"HTTP/1.1 413 x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    // On a connection that carried nothing before.
    let (text, requests) = says(CLOSE, OK, OK).await;
    let egress = egress(None, None);
    let exchange = post(&egress, &Connections::default(), &url(text)).await;
    assert!(!exchange.sent_twice);
    assert_eq!((response(exchange).status, requests.load(SeqCst)), (408, 1));

    let (text, requests) = says(OK, TOO_LARGE, OK).await;
    let (connections, url) = (Connections::default(), url(text));
    response(post(&egress, &connections, &url).await);
    let exchange = post(&egress, &connections, &url).await;
    assert_eq!((response(exchange).status, requests.load(SeqCst)), (413, 2));

    // Twice: the second is on a new connection, and final.
    let (text, requests) = says(OK, CLOSE, CLOSE).await;
    let (connections, url) = (Connections::default(), crate::peer::url(text));
    response(post(&egress, &connections, &url).await);
    let exchange = post(&egress, &connections, &url).await;
    assert!(exchange.sent_twice);
    assert_eq!((response(exchange).status, requests.load(SeqCst)), (408, 3));
}

#[tokio::test]
async fn a_connection_that_was_found_closed_is_not_said_to_have_been_written_to() {
    let (text, _) = after_the_first_answer(b"", true).await;
    let (egress, connections, url) = (egress(None, None), Connections::default(), url(text));
    response(post(&egress, &connections, &url).await);
    tokio::time::sleep(Duration::from_millis(30)).await;
    let found_closed = post(&egress, &connections, &url).await;
    assert!(!found_closed.sent_twice);

    let (text, _) = dies_on_second_request(true).await;
    let (connections, url) = (Connections::default(), crate::peer::url(text));
    response(post(&egress, &connections, &url).await);
    let died = post(&egress, &connections, &url).await;
    assert!(
        died.sent_twice,
        "it was read and not answered, and sent again"
    );
}

#[tokio::test]
async fn a_receiver_that_says_how_long_it_keeps_a_connection_is_believed() {
    for (said, uses) in [
        ("timeout=5", vec![(3500, true), (4500, false)]),
        ("timeout=2, max=50", vec![(500, true), (1500, false)]),
        ("timeout=1", vec![(0, false)]),
        ("timeout=0", vec![(0, false)]),
        ("timeout=60, max=0", vec![(0, false)]),
        // Longer than we keep any.
        ("timeout=600", vec![(20_000, true), (31_000, false)]),
        ("nonsense", vec![(20_000, true), (31_000, false)]),
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\nKeep-Alive: {said}\r\ncontent-length: 0\r\n\r\n");
        let address = peer(move |mut stream, _| {
            let answer = answer.clone();
            async move {
                while read_request(&mut stream).await.is_some() {
                    stream.write_all(answer.as_bytes()).await?;
                }
                Ok(())
            }
        })
        .await;
        let (egress, connections) = (egress(None, None), Connections::default());
        let url = url(format!("http://{address}/"));
        response(post(&egress, &connections, &url).await);
        for (idle, again) in uses {
            let_pass(Duration::from_millis(idle)).await;
            let exchange = post(&egress, &connections, &url).await;
            assert_eq!(
                exchange.timings.connect_ms.is_none(),
                again,
                "{said} {idle}"
            );
            response(exchange);
        }
    }
}

/// A server with one thread: it serves one connection until that ends, and meanwhile no other.
async fn one_thread() -> (String, Arc<AtomicUsize>) {
    let served = Arc::new(AtomicUsize::new(0));
    let counter = served.clone();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            while read_request(&mut stream).await.is_some() {
                counter.fetch_add(1, SeqCst);
                if stream.write_all(OK).await.is_err() {
                    break;
                }
            }
        }
    });
    (format!("http://{address}/"), served)
}

#[tokio::test]
async fn a_server_with_one_thread_gets_all_and_each_once() {
    let (text, served) = one_thread().await;
    let (egress, connections, url) = (egress(None, None), Connections::default(), url(text));
    let deadline = Duration::from_secs(20);
    let begun = std::time::Instant::now();
    let all = (0..10).map(|_| {
        post_with(
            &egress,
            &connections,
            &url,
            Bytes::from_static(b"{}"),
            deadline,
        )
    });
    for exchange in futures_util::future::join_all(all).await {
        assert_eq!(response(exchange).status, 200);
    }
    assert_eq!(served.load(SeqCst), 10);
    assert!(begun.elapsed() < deadline / 2, "{:?}", begun.elapsed());
    // Nobody waits any more, so that connections are kept as ever.
    let alone = post(&egress, &connections, &url).await;
    assert!(alone.result.is_ok());
    let again = post(&egress, &connections, &url).await;
    assert!(
        again.timings.connect_ms.is_none(),
        "on the connection before"
    );
}

#[tokio::test]
async fn a_slow_receivers_connection_is_kept() {
    let address = peer(|mut stream, _| async move {
        while read_request(&mut stream).await.is_some() {
            tokio::time::sleep(Duration::from_millis(1200)).await;
            stream.write_all(OK).await?;
        }
        Ok(())
    })
    .await;
    let (egress, connections) = (egress(None, None), Connections::default());
    let url = url(format!("http://{address}/"));
    for n in 0..2 {
        let exchange = post(&egress, &connections, &url).await;
        assert_eq!(exchange.timings.connect_ms.is_some(), n == 0);
        response(exchange);
    }
}
