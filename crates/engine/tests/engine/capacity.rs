//! Backlogs, and endpoints that hang: nobody else notices.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use model::attempt::Timings;
use model::delivery::Status;
use model::time::Timestamp;
use vk_engine::{Clock, EngineOptions, Publication, VirtualClock};

use crate::rig::{Answer, Rig, event, status, wait};

#[tokio::test(start_paused = true)]
async fn a_backlog_larger_than_memory_is_delivered_whole_and_once() {
    let rig = Rig::new().await;
    rig.endpoint("slow", &[Answer::Status(200, Duration::from_millis(20))])
        .await;
    for _ in 0..30 {
        let publications = vec![
            Publication {
                event: event(),
                idempotency_key: None
            };
            100
        ];
        rig.engine.publish(rig.team, publications).await.unwrap();
    }
    wait(60).await;
    let seen = rig.receivers.seen();
    let ids: HashSet<_> = seen
        .iter()
        .map(|seen| seen.header("x-vantagekit-delivery").to_owned())
        .collect();
    assert_eq!((seen.len(), ids.len()), (3000, 3000));
    assert_eq!(rig.engine.store().backlog().await.unwrap(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_hanging_endpoint_holds_only_its_own_places() {
    let options = EngineOptions {
        max_in_flight: 40,
        max_in_flight_per_team: 16,
        max_in_flight_per_endpoint: 8,
        ..EngineOptions::default()
    };
    let rig = Rig::with(options).await;
    rig.endpoint("hanging", &[Answer::Hangs]).await;
    rig.endpoint("healthy", &[status(200)]).await;
    let other = rig.another_team().await;
    rig.endpoint_of(other.id, "neighbour", &[status(200)], &[])
        .await;
    for _ in 0..100 {
        rig.publish().await;
    }
    rig.publish_to(other.id).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let seen = |name: &str| {
        rig.receivers
            .seen_at(&format!("https://{name}.receivers.vantagekit.com/hook"))
            .len()
    };
    assert_eq!(seen("hanging"), 1, "one at a time until one has gone well");
    assert_eq!(
        seen("healthy"),
        100,
        "its neighbour in the team does not notice"
    );
    assert_eq!(seen("neighbour"), 1, "nor does another team");
}

/// Every endpoint of a team hangs but one, and so do all of three other teams, always or every other time: more of
/// them than there are places.
#[tokio::test(start_paused = true)]
async fn endpoints_that_hang_leave_places_to_the_others_however_many_they_are() {
    let options = EngineOptions {
        max_in_flight: 256,
        max_in_flight_per_team: 128,
        max_in_flight_per_endpoint: 32,
        ..EngineOptions::default()
    };
    let rig = Rig::with(options).await;
    let mut teams = vec![rig.team];
    for _ in 0..3 {
        teams.push(rig.another_team().await.id);
    }
    let by_turns = [Answer::Hangs, status(200)].repeat(10_000);
    for (team, id) in teams.iter().enumerate() {
        for endpoint in 0..5 {
            let name = format!("hanging-{team}-{endpoint}");
            let answers = if endpoint < 2 {
                &by_turns[..1]
            } else {
                &by_turns
            };
            rig.endpoint_of(*id, &name, answers, &[]).await;
        }
    }
    for _ in 0..1000 {
        for team in &teams {
            rig.publish_to(*team).await;
        }
    }
    wait(60).await;
    // By now all that may hang does.
    rig.endpoint("healthy", &[Answer::Status(200, Duration::from_millis(20))])
        .await;
    let url = "https://healthy.receivers.vantagekit.com/hook";
    for published in 1..=100 {
        rig.publish().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let seen = rig.receivers.seen_at(url).len();
        assert_eq!(seen, published, "each is sent at once");
    }
    let hung = rig.receivers.seen().len();
    assert!(hung > 300, "the others are attempted all the while: {hung}");
}

#[tokio::test(start_paused = true)]
async fn a_dead_endpoint_that_keeps_failing_does_not_keep_others_from_being_tried() {
    let rig = Rig::new().await;
    rig.endpoint("dead", &[status(500)]).await;
    rig.endpoint("healthy", &[status(200)]).await;
    for _ in 0..50 {
        rig.publish().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    wait(120).await;
    assert_eq!(rig.count(Status::Delivered).await, 50);
    assert_eq!(rig.count(Status::DeadLetter).await, 50);
    assert_eq!(rig.receivers.seen().len(), 50 + 6 * 50);
}

/// A receiver that takes fifty a second gets a thousand events at once.
#[tokio::test(start_paused = true)]
async fn a_batch_that_is_too_much_at_once_arrives_whole_at_the_receiver_s_own_pace() {
    for (per_second, burst, took) in [(50, 1, 2), (50, 5, 0), (50, 50, 100), (20, 5, 2)] {
        let rig = Rig::new().await;
        let answer = Answer::Status(200, Duration::from_millis(took));
        rig.endpoint("limited", &[answer]).await;
        rig.receivers.limit(per_second, burst);
        let one = Publication {
            event: event(),
            idempotency_key: None,
        };
        rig.engine.publish(rig.team, vec![one; 1000]).await.unwrap();
        wait(90).await;
        let requests = rig.receivers.seen().len();
        assert_eq!(
            rig.engine.store().backlog().await.unwrap(),
            (0, 0),
            "all delivered, no dead letter: {per_second} a second, {burst} at once"
        );
        assert!(requests < 1_400, "{requests} requests");
        rig.engine.stop(Duration::from_secs(1)).await;
    }
}

/// Answers that take long are no reason to send less at once, and a receiver that is quick gets all there may be soon.
#[tokio::test(start_paused = true)]
async fn an_endpoint_that_takes_all_is_not_slowed() {
    for (took, least) in [(5, 40), (200, 1_400), (2_000, 14_000)] {
        let rig = Rig::new().await;
        let answer = Answer::Status(200, Duration::from_millis(took));
        rig.endpoint("healthy", &[answer]).await;
        let one = Publication {
            event: event(),
            idempotency_key: None,
        };
        let began = rig.at();
        rig.engine.publish(rig.team, vec![one; 64]).await.unwrap();
        wait(60).await;
        let seen = rig.receivers.seen();
        let last = seen.iter().map(|seen| seen.at).max().unwrap() - began;
        assert!(last <= least, "the last of 64 after {last} ms");
        // From now on all at once.
        let one = Publication {
            event: event(),
            idempotency_key: None,
        };
        let began = rig.at();
        rig.engine.publish(rig.team, vec![one; 64]).await.unwrap();
        wait(60).await;
        let seen = rig.receivers.seen();
        let last = seen.iter().map(|seen| seen.at).max().unwrap() - began;
        assert!(last <= took as u128 + 5, "the last of 64 after {last} ms");
        rig.engine.stop(Duration::from_secs(1)).await;
    }
}

/// A bug in the engine itself: its steady clock panics once an exchange has ended. An exchange that panics is
/// that attempt's failure and nothing more, see `faults`.
#[derive(Default)]
struct Trap(AtomicBool);

impl egress::Transport for Trap {
    fn exchange<'a>(
        &'a self,
        _: &'a egress::Connections,
        _: egress::Request<'a>,
    ) -> egress::BoxFuture<'a, egress::Exchange> {
        self.0.store(true, Ordering::Relaxed);
        Box::pin(std::future::ready(egress::Exchange {
            remote_addr: None,
            timings: Timings::default(),
            sent_twice: false,
            result: Ok(egress::Response {
                status: 200,
                ..egress::Response::default()
            }),
        }))
    }

    fn probe<'a>(&'a self, _: &'a egress::ReceiverUrl) -> egress::BoxFuture<'a, egress::Probe> {
        Box::pin(std::future::ready(egress::Probe::Reachable))
    }
}

struct Panicking(Arc<Trap>, Arc<VirtualClock>);

impl Clock for Panicking {
    fn now(&self) -> Timestamp {
        self.1.now()
    }

    fn steady(&self) -> Timestamp {
        assert!(
            !self.0.0.load(Ordering::Relaxed),
            "injected: a bug in the engine"
        );
        self.1.steady()
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_inside_the_engine_is_noticed() {
    let rig = Rig::new().await;
    rig.endpoint("healthy", &[status(200)]).await;
    rig.publish().await;
    wait(1).await;
    let minute = Duration::from_secs(60);
    let noticed = tokio::time::timeout(minute, rig.engine.broken()).await;
    assert!(noticed.is_err(), "nothing is broken");

    let trap = Arc::<Trap>::default();
    let clock = Arc::new(Panicking(Arc::clone(&trap), Arc::clone(&rig.clock)));
    let rig = rig.with_parts(trap, clock).await;
    rig.publish().await;
    let noticed = tokio::time::timeout(minute, rig.engine.broken()).await;
    assert!(noticed.is_ok());
}
