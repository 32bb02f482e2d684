//! Every hostile receiver at once, through the real binary and in real time: the log says what each
//! deserves, its place is free again in time, memory stays flat from round to round and low meanwhile, and a
//! healthy neighbour does not notice.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hostile::certificates::Authority;
use hostile::{DEADLINE, Script, Street, Takes};
use model::time::Timestamp;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use vk_tests::{Api, Peak, QUERY, Setup, Steady, Usage, eventually_within};

/// The types of events that the receivers want, by what they need.
const SLOW: &str = "deal_room.created";
const ALONE: &str = "document.removed";
const LARGE: &str = "agreement.expired";
/// The quick ones in parts, a little apart: the handshakes of all at once, on both sides and in a
/// debug build, would take some seconds.
const QUICK: [&str; 5] = [
    "deal_room.archived",
    "document.added",
    "link.expired",
    "team.member_joined",
    "team.member_removed",
];
const APART: Duration = Duration::from_millis(700);

/// When a failed delivery is tried again, by the schedule; no receiver's `Retry-After` asks for just that.
const RETRY_AFTER: Duration = Duration::from_secs(3 * 3600);

/// How much later than it should a thing may be, on a loaded machine.
const SLACK: Duration = Duration::from_millis(500);
/// How long what takes no time may take where everything happens at once.
const AT_ONCE: Duration = Duration::from_secs(5);

// One test: what else ran beside it would be in its way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_hostile_receiver_comes_to_what_it_deserves_and_harms_nobody() -> Result<()> {
    let setup = Setup::new()?;
    let authority = Authority::new()?;
    let roots = setup.folder.file("roots.pem");
    std::fs::write(&roots, authority.pem() + &setup.authority.pem())?;
    let street = Street::open(hostile::all(), &authority, 1.0).await?;
    let name_server = street.name_server().to_string();
    let options = [
        ["--allow-cidr", "127.0.0.0/8"],
        ["--ca-file", &roots],
        ["--dns-server", &name_server],
        ["--plans", "scale:1000:5"],
        ["--retry-schedule", "3h"],
        ["--max-in-flight-per-endpoint", "1"],
        // What an operator is told of each failure is looked through for secrets, too.
        ["--log-level", "debug"],
    ];
    let options = [&["--allow-http"][..], &options.concat()].concat();
    let service = setup.start_strict(&options).await?;
    service.team("acme").await?;
    let team = service.operator_of("acme");
    let scripts = make_endpoints(&team, &street).await?;

    let every = Duration::from_millis(50);
    let steady = Steady::start(&team, setup.inbox().await?, every).await?;
    // What is a matter of a tenth of a second comes before all others, one event after the other: beside the healthy
    // endpoint nothing else is to do then.
    let mut first = vec![publish(&team, ALONE).await?];
    let mut second = vec![publish(&team, ALONE).await?];
    tried(&team, &first).await;
    tried(&team, &second).await;
    let before = Usage::of(&service).await?;
    let peak = Peak::of(&service)?;
    // Of these the second waits for the first to free the place, and is beside all that is quick in its turn.
    for event_type in [LARGE, SLOW] {
        first.push(publish(&team, event_type).await?);
        second.push(publish(&team, event_type).await?);
        tokio::time::sleep(APART).await;
    }
    for event_type in QUICK {
        first.push(publish(&team, event_type).await?);
        tokio::time::sleep(APART).await;
    }
    tried(&team, &first).await;
    let after_one = Usage::of(&service).await?;
    // Not before: it would be over by now, and none of what is quick in the comparison.
    for event_type in QUICK {
        second.push(publish(&team, event_type).await?);
        tokio::time::sleep(APART).await;
    }
    tried(&team, &second).await;
    let after_two = Usage::of(&service).await?;
    let most = peak.memory();
    let latency = steady.stop().await?;
    println!(
        "before {before:?}, after one round {after_one:?}, after two {after_two:?}, at most {most} MB, healthy \
         {latency:?}"
    );

    let mut slips = vec![];
    for events in first.into_iter().zip(second) {
        slips.extend(judge(&team, &scripts, &<[String; 2]>::from(events)).await?);
    }
    assert!(
        slips.is_empty(),
        "{} slips:\n{}",
        slips.len(),
        slips.join("\n")
    );
    for receiver in street.receivers() {
        // A redirect is not followed, and nothing is tried twice.
        let script = receiver.script();
        assert!(receiver.requests() <= 2, "{}", script.name);
    }
    let grown = after_two.memory - after_one.memory;
    assert!(grown < 8.0, "memory has grown by {grown} MB");
    let held = most - before.memory;
    assert!(held < 24.0, "{held} MB were held at once");
    assert!(latency.count > 200, "{latency:?}");
    // The machine is busy with all these handshakes at once, on both sides; the service is not.
    assert!(latency.p50 < Duration::from_millis(100), "{latency:?}");
    assert!(latency.p99 < Duration::from_secs(1), "{latency:?}");
    let stranger = service.stranger();
    let in_flight = stranger.metric("vk_webhooks_attempts_in_flight").await?;
    assert_eq!(in_flight, 0.0);
    Ok(())
}

fn wants(number: usize, script: &Script) -> &'static str {
    match script {
        script if script.alone => ALONE,
        script if script.body > 0 => LARGE,
        script if script.expect.takes == Takes::AtOnce => QUICK[number % QUICK.len()],
        _ => SLOW,
    }
}

/// Makes an endpoint for each receiver; the scripts by the endpoints' ids.
async fn make_endpoints(team: &Api, street: &Street) -> Result<HashMap<String, Script>> {
    // All at once: some names take seconds to be given up.
    let mut made = JoinSet::new();
    for (number, receiver) in street.receivers().iter().enumerate() {
        let (team, script) = (team.clone(), receiver.script().clone());
        let url = format!("{}?{QUERY}", receiver.url());
        made.spawn(async move {
            let endpoint = team.endpoint(&url, &[wants(number, &script)]).await;
            endpoint.map(|endpoint| (endpoint.id, script))
        });
    }
    made.join_all().await.into_iter().collect()
}

/// Publishes an event whose data has what any of these types needs.
async fn publish(team: &Api, event_type: &str) -> Result<String> {
    let id = "0198a6f0-3a5b-7c1d-9e2f-0123456789ab";
    let mut data = json!({
        "dealRoomId": id, "documentId": id, "linkId": id, "agreementId": id, "name": "a name",
        "teamId": id, "memberId": id, "email": "a@example.com", "role": "viewer",
        "expiredAt": "2026-01-01T00:00:00Z",
    });
    if event_type == LARGE {
        data["filler"] = "x".repeat(250 << 10).into();
    }
    team.publish(event_type, &data).await
}

/// Waits until every delivery of these events has been tried.
async fn tried(team: &Api, events: &[String]) {
    eventually_within(Duration::from_secs(30), "all are tried", async || {
        for event in events {
            let untried = format!("event_id={event}&status=pending");
            if !team.deliveries(&untried).await.ok()?.is_empty() {
                return None;
            }
        }
        Some(())
    })
    .await;
}

/// What is not in the log as it should be, of events that the same endpoints wanted, in their order.
async fn judge(
    team: &Api,
    scripts: &HashMap<String, Script>,
    events: &[String],
) -> Result<Vec<String>> {
    let mut slips = vec![];
    let mut begun: HashMap<String, Timestamp> = HashMap::new();
    for (number, event) in events.iter().enumerate() {
        for delivery in team.deliveries_of(event).await? {
            let delivery = team.delivery(text(&delivery, "id")?).await?;
            let endpoint = text(&delivery, "endpointId")?.to_owned();
            let script = scripts.get(&endpoint).context("a script")?;
            let attempt = &delivery["attempts"][0];
            let mut say = |what: String| {
                slips.push(format!("{} ({number}): {what}: {delivery}", script.name));
            };
            if let Err(slip) = fits(script, number, &delivery, attempt) {
                say(slip.to_string());
            }
            let start = moment(attempt, "startedAt")?;
            if let Some(before) = begun.insert(endpoint, start) {
                let published = moment(&delivery, "createdAt")?;
                let by = before.after(DEADLINE + SLACK).max(published.after(AT_ONCE));
                if start > by {
                    let after = start.since(before);
                    say(format!("the place was free after {after:?} only"));
                }
            }
        }
    }
    Ok(slips)
}

fn fits(script: &Script, number: usize, delivery: &Value, attempt: &Value) -> Result<()> {
    let expect = script.expected(number);
    let outcome = expect.outcome.as_str();
    ensure!(
        attempt["outcome"] == outcome,
        "the outcome is not {outcome}"
    );
    let reason = expect.reason.map(|reason| reason.as_str());
    ensure!(
        attempt["reason"] == json!(reason),
        "the reason is not {reason:?}"
    );
    let status = expect.status;
    ensure!(
        attempt["statusCode"] == json!(status),
        "the status is not {status:?}"
    );
    if let Some(body) = &expect.body {
        let body = String::from_utf8_lossy(body);
        let shown = attempt["responseBody"].as_str().unwrap_or_default();
        ensure!(shown == body, "the body is another");
    }
    if let Some(detail) = attempt["detail"].as_str() {
        ensure!(detail.ends_with('.'), "the detail is no sentence");
        ensure!(detail.contains(expect.tells), "the detail is another");
        let told = hostile::address_in(detail);
        ensure!(told.is_none(), "the detail has an internal address");
    } else {
        ensure!(expect.reason.is_none(), "there is no detail");
    }
    let took = Duration::from_millis(attempt["durationMs"].as_u64().context("a duration")?);
    let (least, most) = match expect.takes {
        Takes::AtOnce => (Duration::ZERO, AT_ONCE),
        Takes::About(span) if script.alone => (span, span + SLACK),
        Takes::About(span) => (span, span + AT_ONCE),
        Takes::Lookup => (Duration::ZERO, DEADLINE / 2 + SLACK),
        Takes::Deadline => (DEADLINE, DEADLINE + SLACK),
    };
    ensure!((least..=most).contains(&took), "it took {took:?}");
    if delivery["status"] == "retrying" {
        // The schedule stands, whatever the receiver asks for: its wait, and up to a quarter more.
        let ended = moment(attempt, "startedAt")?.after(took);
        let wait = moment(delivery, "nextAttemptAt")?.since(ended);
        let rounding = Duration::from_secs(5);
        ensure!(
            (RETRY_AFTER - rounding..=RETRY_AFTER + RETRY_AFTER / 4 + rounding).contains(&wait),
            "the retry waits {wait:?}"
        );
    }
    Ok(())
}

fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str> {
    let text = value[field].as_str();
    text.with_context(|| format!("{field} of {value}"))
}

fn moment(value: &Value, field: &str) -> Result<Timestamp> {
    Timestamp::parse_iso(text(value, field)?).map_err(anyhow::Error::msg)
}
