//! A store that cannot be written for a while: nothing is lost, nothing is made up for twice.

use model::delivery::Status;
use store::{AcceptError, RetryFilter, StoreError};
use vk_engine::{Publication, Refusal};

use crate::rig::{Rig, event, status, wait};

#[tokio::test(start_paused = true)]
async fn what_cannot_be_made_durable_is_refused_and_nothing_of_it_is_sent() {
    let rig = Rig::new().await;
    rig.endpoint("healthy", &[status(200)]).await;
    rig.faults.fail(0, usize::MAX);
    let publication = Publication {
        event: event(),
        idempotency_key: None,
    };
    let refused = rig
        .engine
        .publish(rig.team, vec![publication.clone()])
        .await;
    assert!(
        matches!(refused, Err(AcceptError::Store(StoreError::Unavailable(_)))),
        "{refused:?}"
    );
    wait(60).await;
    assert!(rig.receivers.seen().is_empty());
    rig.faults.mend();
    rig.engine
        .publish(rig.team, vec![publication])
        .await
        .unwrap();
    wait(1).await;
    assert_eq!(
        rig.receivers.seen().len(),
        1,
        "and goes on without a restart"
    );
}

#[tokio::test(start_paused = true)]
async fn an_outcome_waits_for_the_store_and_its_delivery_is_not_sent_again() {
    let rig = Rig::new().await;
    rig.endpoint("healthy", &[status(200)]).await;
    rig.faults.fail(1, usize::MAX); // the event is accepted, its outcome is not recorded
    let id = rig.publish().await;
    wait(300).await;
    assert_eq!(rig.delivery(id).await.0.status(), Status::Pending);
    assert_eq!(rig.receivers.seen().len(), 1);
    rig.faults.mend();
    wait(5).await;
    let (delivery, attempts) = rig.delivery(id).await;
    assert_eq!((delivery.status(), attempts.len()), (Status::Delivered, 1));
    assert_eq!(rig.receivers.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_retry_of_many_that_fails_half_way_sends_the_half_that_was_committed() {
    let rig = Rig::new().await;
    let endpoint = rig.endpoint("rejecting", &[status(400)]).await;
    for _ in 0..25 {
        let publications = vec![
            Publication {
                event: event(),
                idempotency_key: None,
            };
            100
        ];
        rig.engine.publish(rig.team, publications).await.unwrap();
    }
    wait(10).await;
    assert_eq!(rig.engine.store().backlog().await.unwrap(), (0, 2500));
    rig.receivers.script(
        "https://rejecting.receivers.vantagekit.com/hook",
        &[status(200)],
    );
    rig.faults.fail(1, 1);
    let all = RetryFilter::default();
    let retried = rig
        .engine
        .retry_dead_letters(rig.team, endpoint.id, all.clone())
        .await;
    assert!(
        matches!(retried, Err(Refusal::Store(StoreError::Unavailable(_)))),
        "{retried:?}"
    );
    wait(10).await;
    assert_eq!(rig.engine.store().backlog().await.unwrap(), (0, 500));
    rig.engine
        .retry_dead_letters(rig.team, endpoint.id, all)
        .await
        .unwrap();
    wait(10).await;
    assert_eq!(rig.engine.store().backlog().await.unwrap(), (0, 0));
    assert_eq!(rig.receivers.seen().len(), 5000);
}

#[tokio::test(start_paused = true)]
async fn an_outcome_the_store_will_never_take_holds_nothing_up_and_is_attempted_again() {
    let rig = Rig::new().await;
    rig.endpoint("healthy", &[status(200)]).await;
    // The event is accepted; its outcome is refused in its batch, and alone.
    rig.faults.refuse(1, 2);
    let id = rig.publish().await;
    wait(5).await;
    let (delivery, attempts) = rig.delivery(id).await;
    assert_eq!((delivery.status(), attempts.len()), (Status::Delivered, 1));
    assert_eq!(rig.receivers.seen().len(), 2, "at least once");
}
