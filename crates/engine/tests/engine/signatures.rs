//! The headers and the body of a delivery, and what a rotation does to them.

use std::time::Duration;

use model::audit::Actor;
use signature::SigningKeys;

use crate::rig::{Rig, START, Seen, event, status, wait};

const NAMES: [&str; 9] = [
    "x-vantagekit-signature",
    "x-vantagekit-timestamp",
    "x-vantagekit-event",
    "x-vantagekit-delivery",
    "content-type",
    "user-agent",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
];

fn timestamp(seen: &Seen) -> i64 {
    seen.header("x-vantagekit-timestamp").parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn every_delivery_carries_the_contract_s_headers_and_the_published_bytes() {
    let rig = Rig::new().await;
    let endpoint = rig.endpoint("healthy", &[status(500), status(200)]).await;
    let id = rig
        .engine
        .store()
        .codec()
        .uuid(rig.publish().await)
        .to_string();
    wait(5).await;
    let keys = SigningKeys::new(endpoint.secrets.current.expose());
    let seen = rig.receivers.seen();
    assert_eq!(seen.len(), 2);
    for one in &seen {
        let mut names: Vec<&str> = one.headers.keys().map(|name| name.as_str()).collect();
        names.sort_unstable();
        let mut expected = NAMES;
        expected.sort_unstable();
        assert_eq!(names, expected, "and no others");
        assert_eq!(one.body, event().body);
        assert_eq!(one.header("x-vantagekit-event"), "deal_room.created");
        assert_eq!(one.header("x-vantagekit-delivery"), id);
        assert_eq!(one.header("content-type"), "application/json");
        assert_eq!(one.header("user-agent"), "VantageKit-Webhooks/1.0");
        assert_eq!(one.header("webhook-id"), id);
        let sent_at = timestamp(one);
        assert_eq!(one.header("webhook-timestamp"), sent_at.to_string());
        assert_eq!(
            one.header("x-vantagekit-signature"),
            keys.vantagekit(sent_at, &one.body).as_ref()
        );
        assert_eq!(
            one.header("webhook-signature"),
            keys.standard(&id, sent_at, &one.body).as_ref()
        );
    }
    assert_eq!(
        timestamp(&seen[1]) - timestamp(&seen[0]),
        1,
        "new for every attempt"
    );
    assert!(timestamp(&seen[0]) - START.as_seconds() < 5);
}

#[tokio::test(start_paused = true)]
async fn during_a_rotation_the_old_secret_goes_on_and_the_new_one_comes_along() {
    let rig = Rig::new().await;
    let endpoint = rig.endpoint("healthy", &[status(200)]).await;
    let old = SigningKeys::new(endpoint.secrets.current.expose());
    let hour = Duration::from_secs(3600);
    let (secret, _) = rig
        .engine
        .by(Actor::Operator)
        .rotate_secret(rig.team, endpoint.id, hour)
        .await
        .unwrap();
    let new = SigningKeys::new(secret.expose());
    assert_ne!(secret.expose(), endpoint.secrets.current.expose());

    rig.publish().await;
    wait(1).await;
    let during = rig.receivers.seen().pop().unwrap();
    let (id, at) = (during.header("x-vantagekit-delivery"), timestamp(&during));
    assert_eq!(
        during.header("x-vantagekit-signature"),
        old.vantagekit(at, &during.body).as_ref()
    );
    assert_eq!(
        during.header("x-vantagekit-signature-next"),
        new.vantagekit(at, &during.body).as_ref()
    );
    let both: Vec<&str> = during.header("webhook-signature").split(' ').collect();
    assert_eq!(
        both,
        [
            new.standard(id, at, &during.body).as_ref(),
            old.standard(id, at, &during.body).as_ref()
        ]
    );

    tokio::time::sleep(hour).await;
    rig.publish().await;
    wait(1).await;
    let after = rig.receivers.seen().pop().unwrap();
    let at = timestamp(&after);
    assert_eq!(
        after.header("x-vantagekit-signature"),
        new.vantagekit(at, &after.body).as_ref()
    );
    assert!(after.headers.get("x-vantagekit-signature-next").is_none());
    assert!(!after.header("webhook-signature").contains(' '));
}

#[tokio::test(start_paused = true)]
async fn a_rotation_at_once_leaves_nothing_of_the_old_secret() {
    let rig = Rig::new().await;
    let endpoint = rig.endpoint("healthy", &[status(200)]).await;
    let (secret, _) = rig
        .engine
        .by(Actor::Operator)
        .rotate_secret(rig.team, endpoint.id, Duration::ZERO)
        .await
        .unwrap();
    let new = SigningKeys::new(secret.expose());
    rig.publish().await;
    wait(1).await;
    let seen = rig.receivers.seen().pop().unwrap();
    assert_eq!(
        seen.header("x-vantagekit-signature"),
        new.vantagekit(timestamp(&seen), &seen.body).as_ref()
    );
    assert!(seen.headers.get("x-vantagekit-signature-next").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_second_rotation_leaves_every_secret_its_announced_end() {
    let rig = Rig::new().await;
    let endpoint = rig.endpoint("healthy", &[status(200)]).await;
    let first = SigningKeys::new(endpoint.secrets.current.expose());
    let rotate = async |seconds| {
        let overlap = Duration::from_secs(seconds);
        let rotated = rig
            .engine
            .by(Actor::Operator)
            .rotate_secret(rig.team, endpoint.id, overlap)
            .await;
        SigningKeys::new(rotated.unwrap().0.expose())
    };
    let second = rotate(100).await;
    let third = rotate(1000).await;
    // When, who signs X-VantageKit-Signature, and how many sign webhook-signature.
    for (wait_for, oldest, signatures) in [(10, &first, 3), (100, &second, 2), (1000, &third, 1)] {
        wait(wait_for).await;
        rig.publish().await;
        wait(1).await;
        let seen = rig.receivers.seen().pop().unwrap();
        let at = timestamp(&seen);
        let signed = |keys: &SigningKeys| keys.vantagekit(at, &seen.body).to_string();
        assert_eq!(seen.header("x-vantagekit-signature"), signed(oldest));
        let next = seen.headers.get("x-vantagekit-signature-next");
        assert_eq!(
            next.map(|value| value.to_str().unwrap().to_owned()),
            (signatures > 1).then(|| signed(&third))
        );
        let listed = seen.header("webhook-signature").split(' ').count();
        assert_eq!(listed, signatures);
    }
}

#[tokio::test(start_paused = true)]
async fn older_secrets_in_use_are_few_and_can_be_ended_at_once() {
    let rig = Rig::new().await;
    let endpoint = rig.endpoint("healthy", &[status(200)]).await.id;
    let hour = Duration::from_secs(3600);
    for _ in 0..model::endpoint::PREVIOUS_SECRETS_MAX {
        rig.engine
            .by(Actor::Operator)
            .rotate_secret(rig.team, endpoint, hour)
            .await
            .unwrap();
    }
    let refused = rig
        .engine
        .by(Actor::Operator)
        .rotate_secret(rig.team, endpoint, hour)
        .await;
    assert!(
        matches!(refused, Err(vk_engine::Refusal::Conflict(_))),
        "one more would be too many"
    );
    let (_, endpoint) = rig
        .engine
        .by(Actor::Operator)
        .rotate_secret(rig.team, endpoint, Duration::ZERO)
        .await
        .unwrap();
    assert!(endpoint.secrets.previous.is_empty());
}
