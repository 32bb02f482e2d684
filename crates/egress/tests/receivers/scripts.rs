//! Every script of the hostile receivers, to one exchange each and one more, at a twentieth of the
//! time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hostile::certificates::Flaw;
use hostile::{DEADLINE, Expect, Layer, Script, Street, Takes};
use model::attempt::Reason::{
    BlockedAddress, DnsFailed, DnsNotFound, DnsTimeout, HttpStatus, Redirect,
};
use tokio::sync::Semaphore;
use vk_egress::{Connections, Exchange, Transport};

use crate::peer::{AUTHORITY, egress, post_with, url};

const PACE: f64 = 0.05;

/// How many are played at once: more would be late for the shortened deadline.
const AT_ONCE: usize = 24;

/// Until when an exchange may last.
fn deadline(expect: &Expect) -> Duration {
    match expect.takes {
        Takes::Deadline => DEADLINE.mul_f64(PACE),
        Takes::Lookup if expect.reason.is_some() => DEADLINE.mul_f64(PACE),
        _ => DEADLINE,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_script_comes_to_the_outcome_it_deserves() {
    // What needs real time is played to the whole service.
    let scripts: Vec<Script> = hostile::all()
        .into_iter()
        .filter(|script| !script.alone)
        .collect();
    assert!(scripts.len() > 200);
    let street = Street::open(scripts, &AUTHORITY, PACE).await.unwrap();
    let street = Arc::new(street);
    let egress = Arc::new(egress(None, Some(street.name_server())));
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = Vec::new();
    for number in 0..street.receivers().len() {
        let (street, egress, places) = (street.clone(), egress.clone(), places.clone());
        tasks.push(tokio::spawn(async move {
            let _place = places.acquire().await.unwrap();
            let receiver = &street.receivers()[number];
            let script = receiver.script();
            let url = url(receiver.url());
            // As when the endpoint is made; what it says does not matter here.
            let _ = tokio::time::timeout(deadline(&script.expect), egress.probe(&url)).await;
            let connections = Connections::default();
            for number in 0..2 {
                let expect = script.expected(number);
                let body = Bytes::from(vec![b'x'; script.body.max(100)]);
                let begun = Instant::now();
                let exchange = post_with(&egress, &connections, &url, body, deadline(expect)).await;
                judge(script, expect, &exchange, begun.elapsed());
            }
            // A redirect is not followed, and nothing is tried twice.
            assert!(receiver.requests() <= 2, "{}", script.name);
        }));
    }
    let mut slips = 0;
    for task in tasks {
        slips += usize::from(task.await.is_err());
    }
    assert_eq!(slips, 0, "so many scripts came to something else");
}

fn judge(script: &Script, expect: &Expect, exchange: &Exchange, took: Duration) {
    let context = format!("{}: {}", script.name, shown(exchange));
    let body = match &exchange.result {
        Ok(response) => {
            let answered = matches!(expect.reason, None | Some(HttpStatus | Redirect));
            assert!(answered, "{context}");
            assert_eq!(Some(response.status), expect.status, "{context}");
            Some(&response.body)
        }
        Err(failure) => {
            assert_eq!(Some(failure.reason), expect.reason, "{context}");
            let status = failure.partial.as_ref().map(|partial| partial.status);
            assert_eq!(status, expect.status, "{context}");
            let detail = &failure.detail;
            assert!(
                detail.ends_with('.') && detail.contains(expect.tells),
                "{context}"
            );
            assert!(detail.contains(&script.name), "{context}");
            assert_eq!(hostile::address_in(detail), None, "{context}");
            None
        }
    };
    if let (Some(wanted), Some(body)) = (&expect.body, body) {
        assert!(wanted == body, "another body: {context}");
    }
    let connected = !matches!(
        expect.reason,
        Some(DnsFailed | DnsNotFound | DnsTimeout | BlockedAddress)
    );
    if !connected {
        assert_eq!(exchange.remote_addr, None, "{context}");
    }
    let most = match expect.takes {
        Takes::Deadline => {
            assert!(took >= deadline(expect), "{took:?} {context}");
            deadline(expect) + Duration::from_secs(1)
        }
        _ => Duration::from_secs(5),
    };
    assert!(took < most, "{took:?} {context}");
    if matches!(script.layer, Layer::Tls(Flaw::None, _)) && exchange.result.is_ok() {
        assert!(exchange.timings.connect_ms.is_none() || exchange.timings.tls_ms.is_some());
    }
}

fn shown(exchange: &Exchange) -> String {
    format!("{exchange:?}").chars().take(600).collect()
}
