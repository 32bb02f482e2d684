//! Names: what the name server says, what may be connected to, and what rebinding achieves.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use hickory_proto::op::ResponseCode;
use hostile::name_server::{Answer, NameServer, addresses};
use hostile::{answer_all, read_request};
use model::attempt::Reason;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use vk_egress::{
    BoxFuture, Connections, Egress, EgressOptions, Policy, Probe, ReceiverUrl, ResolveError,
    Resolver, Transport,
};

use crate::peer::{AUTHORITY, egress, failure, name_server, peer, post, post_with, response, url};

/// A policy that allows 127.0.0.0/9 only, so that 127.128.0.1 plays the internal address.
fn half_of_loopback() -> Policy {
    Policy {
        allow: vec!["127.0.0.0/9".parse().unwrap()],
        allow_http: true,
    }
}

fn egress_with(policy: Policy, dns: &NameServer) -> Egress {
    let options = EgressOptions {
        policy,
        extra_roots_pem: Some(AUTHORITY.pem().into()),
        dns_server: Some(dns.address),
        ..EgressOptions::default()
    };
    Egress::new(options).unwrap()
}

#[tokio::test]
async fn a_wholly_silent_name_server_is_a_trouble_of_our_own() {
    let dns = name_server(|_, _| Answer::Silence).await;
    let egress = egress(None, Some(dns.address));
    let (connections, deadline) = (Connections::default(), Duration::from_millis(300));
    let url = url("https://stalled.example.com/");
    let exchange = post_with(&egress, &connections, &url, Bytes::new(), deadline).await;
    let failure = failure(exchange);
    assert_eq!((failure.reason, failure.ours), (Reason::DnsTimeout, true));
    // Without a deadline of ours the resolver's own budget ends it.
    let begun = std::time::Instant::now();
    let Probe::Unresolved(warning) = egress.probe(&url).await else {
        panic!("expected a warning");
    };
    assert!(warning.contains("own name servers"), "{warning}");
    assert!(begun.elapsed() < Duration::from_secs(6));
}

#[tokio::test]
async fn a_name_that_alone_is_silent_is_a_timeout_of_the_name() {
    let dns = name_server(|host, _| match host {
        "stalled.example.com" => Answer::Silence,
        _ => addresses(&["127.0.0.1"]),
    })
    .await;
    let egress = egress(None, Some(dns.address));
    let url = url("https://stalled.example.com/");
    // By the caller's deadline, and by the resolver's own.
    for deadline in [Duration::from_secs(1), Duration::from_secs(10)] {
        let connections = Connections::default();
        let exchange = post_with(&egress, &connections, &url, Bytes::new(), deadline).await;
        let failure = failure(exchange);
        assert_eq!((failure.reason, failure.ours), (Reason::DnsTimeout, false));
    }
}

#[tokio::test]
async fn a_name_server_that_is_down_is_a_trouble_of_our_own_at_once() {
    let down = name_server(|_, _| Answer::Silence).await.address;
    let egress = egress(None, Some(down));
    let begun = std::time::Instant::now();
    let failure = failure(post(&egress, &url("https://a.example.com/")).await);
    assert_eq!((failure.reason, failure.ours), (Reason::DnsFailed, true));
    assert!(begun.elapsed() < Duration::from_secs(4));
}

/// Two name servers, asked in this order.
fn with_two(one: &NameServer, other: &NameServer) -> Egress {
    let options = EgressOptions {
        policy: half_of_loopback(),
        extra_roots_pem: Some(AUTHORITY.pem().into()),
        dns_server: Some(one.address),
        further_dns_servers: vec![other.address],
        ..EgressOptions::default()
    };
    Egress::new(options).unwrap()
}

#[tokio::test]
async fn a_name_server_that_answers_with_an_error_does_not_decide() {
    use ResponseCode::{FormErr, NotImp, Refused, ServFail};
    let address = peer(|stream, _| answer_all(stream)).await;
    let good = || name_server(|_, _| addresses(&["127.0.0.1"]));
    let url = url(format!("http://a.example.com:{}/", address.port()));
    for code in [ServFail, Refused, NotImp, FormErr] {
        let bad = name_server(move |_, _| Answer::Code(code)).await;
        let good = good().await;
        for egress in [with_two(&bad, &good), with_two(&good, &bad)] {
            let status = response(post(&egress, &url).await).status;
            assert_eq!(status, 200, "{code}");
        }
    }
    // A name that is not there counts from the first in order that answers at all.
    let lame = name_server(|_, _| Answer::Code(ResponseCode::NXDomain)).await;
    let (good, bad) = (
        good().await,
        name_server(|_, _| Answer::Code(ServFail)).await,
    );
    assert_eq!(
        response(post(&with_two(&good, &lame), &url).await).status,
        200
    );
    for egress in [with_two(&lame, &good), with_two(&bad, &lame)] {
        let failure = failure(post(&egress, &url).await);
        assert_eq!((failure.reason, failure.ours), (Reason::DnsNotFound, false));
    }
    // A silent one does not hold up the next, neither the first time nor later.
    let silent = name_server(|_, _| Answer::Silence).await;
    let egress = with_two(&silent, &good);
    for _ in 0..2 {
        let begun = std::time::Instant::now();
        assert_eq!(response(post(&egress, &url).await).status, 200);
        assert!(begun.elapsed() < Duration::from_secs(3));
    }
}

#[tokio::test]
async fn an_error_of_a_server_that_resolves_nothing_tells_nothing_while_the_other_is_silent() {
    let silent = name_server(|_, _| Answer::Silence).await;
    let lame = name_server(|_, _| Answer::Code(ResponseCode::ServFail)).await;
    let able = name_server(|host, _| match host {
        "a.example.com" => Answer::Code(ResponseCode::ServFail),
        _ => addresses(&[]),
    })
    .await;
    for (other, ours) in [(&lame, true), (&able, false)] {
        for egress in [with_two(&silent, other), with_two(other, &silent)] {
            let failure = failure(post(&egress, &url("https://a.example.com/")).await);
            assert_eq!(failure.ours, ours, "{failure:?}");
        }
    }
}

#[tokio::test]
async fn a_family_that_is_never_answered_costs_a_moment() {
    let address = peer(|stream, _| answer_all(stream)).await;
    let dns = name_server(|host, _| {
        let good = || Box::new(addresses(&["127.0.0.1"]));
        match host {
            "silent6.example.com" => Answer::ByFamily(good(), Box::new(Answer::Silence)),
            _ => Answer::ByFamily(Box::new(Answer::Silence), Box::new(addresses(&["fd00::1"]))),
        }
    })
    .await;
    let egress = egress(None, Some(dns.address));
    let to = |host: &str| url(format!("http://{host}.example.com:{}/", address.port()));
    let begun = std::time::Instant::now();
    let exchange = post(&egress, &to("silent6")).await;
    assert!(exchange.timings.dns_ms.unwrap() < 1000, "{exchange:?}");
    assert_eq!(response(exchange).status, 200);
    // What came alone is vetted like a whole answer.
    assert_eq!(
        failure(post(&egress, &to("silent4")).await).reason,
        Reason::BlockedAddress
    );
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn who_joins_a_look_up_has_a_time_of_its_own() {
    let address = peer(|stream, _| answer_all(stream)).await;
    // The first two seconds' queries are lost; those of a second look-up are answered.
    let dns = name_server(|host, before| match (host, before) {
        ("a.example.com", 0..4) => Answer::Silence,
        _ => addresses(&["127.0.0.1"]),
    })
    .await;
    let egress = egress(None, Some(dns.address));
    let url = url(format!("http://a.example.com:{}/", address.port()));
    let first = async {
        let connections = Connections::default();
        post_with(
            &egress,
            &connections,
            &url,
            Bytes::new(),
            Duration::from_secs(6),
        )
        .await
    };
    let joins = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        post(&egress, &url).await
    };
    let (first, joined) = tokio::join!(first, joins);
    assert_eq!(failure(first).reason, Reason::DnsTimeout);
    assert_eq!(response(joined).status, 200);
}

#[tokio::test]
async fn a_burst_for_one_name_asks_once_and_a_refusal_is_asked_again_once() {
    let address = peer(|stream, _| answer_all(stream)).await;
    let dns = name_server(|host, before| match (host, before) {
        ("busy.example.com", 0) => Answer::Code(ResponseCode::Refused),
        _ => addresses(&["127.0.0.1"]),
    })
    .await;
    let egress = egress(None, Some(dns.address));
    let to = |host: &str| url(format!("http://{host}.example.com:{}/", address.port()));
    assert_eq!(response(post(&egress, &to("busy")).await).status, 200);
    let before = dns.queries.load(SeqCst);
    let burst = to("burst");
    let all = futures_util::future::join_all((0..50).map(|_| post(&egress, &burst))).await;
    for exchange in all {
        assert_eq!(response(exchange).status, 200);
    }
    let asked = dns.queries.load(SeqCst) - before;
    assert!(asked < 10, "{asked} queries");
}

/// No script of `hostile`: all names that take TCP share one connection to the name server, and would wait
/// behind it.
#[tokio::test]
async fn a_name_server_that_drips_over_tcp_is_a_timeout_of_the_name_and_holds_up_no_other() {
    let address = peer(|stream, _| answer_all(stream)).await;
    let dns = name_server(|host, _| match host {
        "drips.example.com" => Answer::Drip(vec!["127.0.0.1".parse().unwrap()]),
        _ => addresses(&["127.0.0.1"]),
    })
    .await;
    let egress = egress(None, Some(dns.address));
    let to = |host| url(format!("http://{host}.example.com:{}/", address.port()));
    let (drips, works) = (to("drips"), to("works"));
    let begun = std::time::Instant::now();
    let dripping = async {
        assert_eq!(
            failure(post(&egress, &drips).await).reason,
            Reason::DnsTimeout
        );
        begun.elapsed()
    };
    let working = async {
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert_eq!(response(post(&egress, &works).await).status, 200);
        }
        begun.elapsed()
    };
    let (given_up, worked) = tokio::join!(dripping, working);
    assert!(given_up < Duration::from_secs(6), "{given_up:?}");
    assert!(worked < given_up, "{worked:?}: it did not drip meanwhile");
}

#[tokio::test]
async fn one_blocked_address_among_good_ones_refuses_the_whole_answer() {
    let connections_made = Arc::new(AtomicUsize::new(0));
    let counter = connections_made.clone();
    let address = peer(move |stream, _| {
        counter.fetch_add(1, SeqCst);
        answer_all(stream)
    })
    .await;
    let dns = name_server(|host, _| match host {
        "good.example.com" => addresses(&["127.0.0.1"]),
        "mixed.example.com" => addresses(&["127.0.0.1", "10.0.0.1"]),
        "mixed6.example.com" => addresses(&["127.0.0.1", "fd00::1"]),
        "mapped.example.com" => addresses(&["127.0.0.1", "::ffff:10.0.0.1"]),
        _ => {
            let many = (0..1000u32).map(|n| IpAddr::V4((0x0800_0000 + n).into()));
            Answer::Addresses(many.chain(["10.0.0.1".parse().unwrap()]).collect())
        }
    })
    .await;
    let egress = egress_with(half_of_loopback(), &dns);
    let port = address.port();
    for host in ["mixed", "mixed6", "mapped", "thousand"] {
        let url = url(format!("http://{host}.example.com:{port}/"));
        assert_eq!(
            failure(post(&egress, &url).await).reason,
            Reason::BlockedAddress,
            "{host}"
        );
    }
    assert_eq!(connections_made.load(SeqCst), 0);
    let url = url(format!("http://good.example.com:{port}/"));
    assert_eq!(response(post(&egress, &url).await).status, 200);
    assert_eq!(connections_made.load(SeqCst), 1);
}

/// Listeners at the same port of two addresses: one that is free at the first may be taken at the second.
async fn at_one_port(one: &str, other: &str) -> (TcpListener, TcpListener) {
    for _ in 0..100 {
        let first = TcpListener::bind((one, 0)).await.unwrap();
        let port = first.local_addr().unwrap().port();
        if let Ok(second) = TcpListener::bind((other, port)).await {
            return (first, second);
        }
    }
    panic!("no port is free at both {one} and {other}");
}

#[tokio::test]
async fn rebinding_between_connections_is_refused_and_the_vetted_address_is_the_one_reached() {
    // The same port on an allowed and on a forbidden address: a transport that resolved once more
    // between looking and connecting would end up at the second.
    let (inside, outside) = at_one_port("127.128.0.1", "127.0.0.1").await;
    let port = inside.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = outside.accept().await {
            let request = read_request(&mut stream).await.unwrap();
            assert!(
                request.contains(&format!("host: rebind.example.com:{port}")),
                "{request}"
            );
            let answer = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let dns = name_server(|_, before| match before {
        0 => addresses(&["127.0.0.1"]),
        _ => addresses(&["127.128.0.1"]),
    })
    .await;
    let egress = egress_with(half_of_loopback(), &dns);
    let url = url(format!("http://rebind.example.com:{port}/"));
    let connections = Connections::default();
    let exchange = || {
        post_with(
            &egress,
            &connections,
            &url,
            Bytes::new(),
            Duration::from_secs(5),
        )
    };

    let first = exchange().await;
    assert_eq!(
        first.remote_addr.unwrap().ip(),
        IpAddr::from([127, 0, 0, 1])
    );
    assert_eq!(response(first).status, 200);
    assert_eq!(
        dns.queries.load(SeqCst),
        1,
        "resolved exactly once for a connection"
    );

    let second = exchange().await;
    assert_eq!(second.remote_addr, None);
    assert_eq!(failure(second).reason, Reason::BlockedAddress);
    assert_eq!(
        dns.queries.load(SeqCst),
        2,
        "resolved again for the next connection"
    );
    let reached = tokio::time::timeout(Duration::from_millis(50), inside.accept()).await;
    assert!(reached.is_err(), "the forbidden address was connected to");
}

#[tokio::test]
async fn an_unreachable_first_address_is_followed_by_the_next() {
    let address = peer(|stream, _| answer_all(stream)).await;
    let dns = name_server(|_, _| addresses(&["127.0.0.9", "127.0.0.1"])).await;
    let egress = egress(None, Some(dns.address));
    let url = url(format!("http://two.example.com:{}/", address.port()));
    let exchange = post(&egress, &url).await;
    assert_eq!(exchange.remote_addr, Some(address));
    assert_eq!(response(exchange).status, 200);
}

#[tokio::test]
async fn a_reserved_name_needs_every_address_in_an_allowed_range() {
    let address = peer(|stream, _| answer_all(stream)).await;
    let port = address.port();
    let dns = name_server(|host, _| match host {
        "receiver.test" | "receiver" => addresses(&["127.0.0.1"]),
        _ => addresses(&["127.0.0.1", "8.8.8.8"]),
    })
    .await;
    let egress = egress_with(half_of_loopback(), &dns);
    for host in ["receiver.test", "receiver", "localhost", "a.localhost"] {
        let exchange = post(&egress, &url(format!("http://{host}:{port}/"))).await;
        assert_eq!(response(exchange).status, 200, "{host}");
    }
    let mixed = url(format!("http://mixed.test:{port}/"));
    assert_eq!(
        failure(post(&egress, &mixed).await).reason,
        Reason::BlockedAddress
    );
    let queried = dns.queries.load(SeqCst);
    assert_eq!(queried, 3, "localhost is never asked for");
}

#[tokio::test]
async fn localhost_is_blocked_where_loopback_is_not_allowed() {
    let policy = Policy {
        allow: vec!["10.0.0.0/8".parse().unwrap()],
        allow_http: true,
    };
    let dns = name_server(|_, _| addresses(&["10.0.0.1"])).await;
    let egress = egress_with(policy, &dns);
    let exchange = post(&egress, &url("http://localhost:8080/")).await;
    assert_eq!(failure(exchange).reason, Reason::BlockedAddress);
    assert_eq!(dns.queries.load(SeqCst), 0);
}

#[tokio::test]
async fn a_probe_tells_what_a_customer_should_know_when_saving_a_url() {
    let dns = name_server(|host, _| match host {
        "public.example.com" => addresses(&["8.8.8.8", "2a00:1450::1"]),
        "private.example.com" => addresses(&["192.168.1.1"]),
        _ => Answer::Code(ResponseCode::NXDomain),
    })
    .await;
    let egress = egress_with(Policy::default(), &dns);
    let parse = |host: &str| {
        ReceiverUrl::parse(&format!("https://{host}.example.com/"), &Policy::default()).unwrap()
    };
    assert_eq!(egress.probe(&parse("public")).await, Probe::Reachable);
    let Probe::Unresolved(warning) = egress.probe(&parse("later")).await else {
        panic!("expected a warning");
    };
    assert!(
        warning.contains("later.example.com does not exist"),
        "{warning}"
    );
    let Probe::Blocked(problem) = egress.probe(&parse("private")).await else {
        panic!("expected a refusal");
    };
    assert!(problem.sentence.contains("RFC 1918") && !problem.sentence.contains("192.168"));
}

/// A resolver from memory, for virtual time.
struct Scripted(Result<Vec<IpAddr>, ResolveError>, Duration);

impl Resolver for Scripted {
    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, ResolveError>> {
        Box::pin(async {
            tokio::time::sleep(self.1).await;
            self.0.clone()
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_resolver_of_ones_own_works_in_virtual_time() {
    for (answer, delay, expected) in [
        (
            Ok(vec!["10.0.0.1".parse().unwrap()]),
            1,
            Reason::BlockedAddress,
        ),
        (Err(ResolveError::NotFound), 1, Reason::DnsNotFound),
        (Ok(vec![]), 20, Reason::DnsTimeout),
    ] {
        let options = EgressOptions {
            extra_roots_pem: Some(AUTHORITY.pem().into()),
            ..EgressOptions::default()
        };
        let resolver = Arc::new(Scripted(answer, Duration::from_secs(delay)));
        let egress = Egress::with_resolver(options, resolver).unwrap();
        let url = ReceiverUrl::parse("https://a.example.com/", &Policy::default()).unwrap();
        let connections = Connections::default();
        let begun = tokio::time::Instant::now();
        let exchange = post_with(
            &egress,
            &connections,
            &url,
            Bytes::new(),
            Duration::from_secs(10),
        )
        .await;
        assert_eq!(failure(exchange).reason, expected);
        assert_eq!(begun.elapsed().as_secs(), delay.min(10));
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_ends_in_time_whatever_the_resolver_does() {
    let resolver = Arc::new(Scripted(Ok(vec![]), Duration::from_secs(600)));
    let options = EgressOptions {
        extra_roots_pem: Some(AUTHORITY.pem().into()),
        ..EgressOptions::default()
    };
    let egress = Egress::with_resolver(options, resolver).unwrap();
    let url = ReceiverUrl::parse("https://a.example.com/", &Policy::default()).unwrap();
    let begun = tokio::time::Instant::now();
    let probe = egress.probe(&url).await;
    assert!(matches!(probe, Probe::Unresolved(_)), "{probe:?}");
    assert_eq!(begun.elapsed().as_secs(), 5);
}
