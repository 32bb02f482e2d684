//! A wall clock that is stepped by an hour and by thirty days, both ways, while the service runs and while it
//! does not: nothing is lost, retries are neither hastened nor stalled, and ids, logs and pages keep their order.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use model::time::Timestamp;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use vk_tests::{
    Answer, Api, Arrival, Clock, Endpoint, Inbox, Service, Setup, Start, eventually,
    member_removed, verify_at,
};

const HOUR: i64 = 3600;
const MONTH: i64 = 30 * 24 * HOUR;
/// Each from where the one before led to: first an hour ahead of the machine's clock, then an hour behind it.
const STEPS: [i64; 8] = [HOUR, -HOUR, -HOUR, HOUR, MONTH, -MONTH, -MONTH, MONTH];

/// What a retry waits, and how much later it may be on a busy machine.
const WAIT: Duration = Duration::from_secs(2);
const SLACK: Duration = Duration::from_millis(1500);
/// How far from the clock what a service says of the time may be, in seconds.
const NEAR: i64 = 5;

struct Scene {
    clock: Clock,
    setup: Setup,
    inbox: Inbox,
    endpoint: Option<Endpoint>,
    /// The ids of all events, in the order in which they were published.
    published: Vec<String>,
}

impl Scene {
    async fn new() -> Result<Self> {
        let setup = Setup::new()?;
        let inbox = setup.inbox().await?;
        Ok(Self {
            clock: Clock::new()?,
            setup,
            inbox,
            endpoint: None,
            published: Vec::new(),
        })
    }

    async fn start(&self, options: &[&str]) -> Result<Service> {
        let environment = self.clock.environment();
        let environment = environment
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        let start = Start {
            environment: &environment,
            ..Start::default()
        };
        let options = [&["--retry-schedule", "2s,2s"], options].concat();
        self.setup.start_as(start, &options).await
    }

    async fn publish(&mut self, service: &Service) -> Result<String> {
        let operator = service.operator_of("acme");
        let id = operator
            .publish("team.member_removed", &member_removed())
            .await?;
        self.published.push(id.clone());
        Ok(id)
    }

    /// Sees that a request was signed by the clock as it is.
    fn signed_now(&self, arrival: &Arrival) -> Result<()> {
        let secret = &self.endpoint.as_ref().context("an endpoint")?.secret;
        let now = self.clock.now();
        verify_at(arrival, secret, now).map_err(anyhow::Error::msg)?;
        let sent: i64 = arrival.header("x-vantagekit-timestamp").parse()?;
        ensure!((sent - now).abs() <= NEAR, "sent at {sent}, it is {now}");
        Ok(())
    }

    /// Sees that the log has everything once, newest first, by each way to look through it.
    async fn logs_are_in_order(&self, service: &Service) -> Result<()> {
        let operator = service.operator_of("acme");
        let newest: Vec<&String> = self.published.iter().rev().collect();
        let mut cursor = String::new();
        let mut listed = Vec::new();
        loop {
            let path = format!("/v1/deliveries?per_page=3&cursor={cursor}");
            let reply = operator.get(&path).await?;
            for one in reply.data().as_array().context("a list")? {
                listed.push(text(one, "eventId")?);
            }
            match reply.json["meta"]["pagination"]["nextCursor"].as_str() {
                Some(next) => cursor = next.to_owned(),
                None => break,
            }
        }
        ensure!(
            listed.iter().eq(newest.iter().copied()),
            "{listed:?} is not {newest:?}"
        );
        let events = operator.get("/v1/events?per_page=100").await?;
        let events = events.data().as_array().context("a list")?.iter();
        let events: Vec<String> = events.map(|one| text(one, "id")).collect::<Result<_>>()?;
        ensure!(
            events.iter().eq(newest.iter().copied()),
            "{events:?} is not {newest:?}"
        );
        // Ids begin with a time in milliseconds, and it never goes back.
        let times = events.iter().rev().map(|id| &id[..13]);
        ensure!(times.is_sorted(), "{events:?}");
        ensure!(
            events.iter().collect::<HashSet<_>>().len() == events.len(),
            "{events:?}"
        );
        Ok(())
    }
}

fn text(value: &Value, field: &str) -> Result<String> {
    let text = value[field].as_str().map(str::to_owned);
    text.with_context(|| format!("{field} of {value}"))
}

/// A link into the team's pages: its path.
async fn link(service: &Service) -> Result<String> {
    let path = "/v1/teams/acme/settings-link";
    let made = service
        .operator()
        .call("POST", path, &json!({}), 201)
        .await?;
    let url = text(made.data(), "url")?;
    let path = url.strip_prefix(&format!("http://{}", service.address()));
    Ok(path.context("it leads to the service")?.to_owned())
}

/// Opens a link; the session's cookie, where it works.
async fn enter(service: &Service, link: &str) -> Result<Option<String>> {
    let entered = service.stranger().send("GET", link, &[], "").await?;
    let Some(cookie) = entered.headers.get("set-cookie") else {
        return Ok(None);
    };
    let cookie = cookie.to_str()?.split(';').next();
    Ok(cookie
        .map(str::to_owned)
        .filter(|cookie| cookie.starts_with("vk_session=")))
}

/// Whether a session may look at every page of the team; an error where it may at some only.
async fn may_look(service: &Service, cookie: &str, endpoint: &str) -> Result<bool> {
    let pages = [
        "webhooks",
        "deliveries",
        "history",
        "events",
        "keys",
        "debugger",
    ];
    let mut paths: Vec<String> = pages
        .map(|page| format!("/settings/teams/acme/{page}"))
        .into();
    paths.push(format!("/settings/teams/acme/webhooks/{endpoint}"));
    let mut allowed = HashSet::new();
    for path in paths {
        let reply = service
            .stranger()
            .send("GET", &path, &[("cookie", cookie)], "")
            .await?;
        ensure!(
            [200, 401].contains(&reply.status),
            "{path} {}: {}",
            reply.status,
            reply.text
        );
        allowed.insert(reply.status == 200);
    }
    ensure!(allowed.len() == 1, "some pages only");
    Ok(allowed.contains(&true))
}

/// How many attempts the rows by the hour have counted, delivered and failed.
fn counted(setup: &Setup) -> Result<(i64, i64)> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let database = Connection::open_with_flags(&setup.database, flags)?;
    let sums = "SELECT sum(delivered), sum(failed) FROM endpoint_hours";
    Ok(database.query_row(sums, [], |row| Ok((row.get(0)?, row.get(1)?)))?)
}

async fn owed_nothing(operator: &Api) {
    eventually("nothing is owed any more", async || {
        for status in ["pending", "retrying"] {
            let owed = operator
                .deliveries(&format!("status={status}"))
                .await
                .ok()?;
            owed.is_empty().then_some(())?;
        }
        Some(())
    })
    .await;
}

#[tokio::test]
async fn a_clock_stepped_while_the_service_runs_moves_nothing_but_the_time_of_day() -> Result<()> {
    let mut scene = Scene::new().await?;
    let service = scene.start(&[]).await?;
    let team = service.team("acme").await?;
    let endpoint = team.endpoint(&scene.inbox.url(), &[]).await?;
    scene.endpoint = Some(endpoint.clone());
    let operator = service.operator_of("acme");
    let mut before = String::new();
    for (round, step) in STEPS.into_iter().enumerate() {
        let told = format!("round {round}, a step of {step} s");
        let old_link = link(&service).await?;
        let cookie = enter(&service, &link(&service).await?)
            .await?
            .context("a session")?;
        ensure!(
            may_look(&service, &cookie, &endpoint.id).await?,
            "{told}: it has a session"
        );

        // A retry that waits while the clock is stepped.
        scene.inbox.script([Answer::status(500)]);
        let arrived = scene.inbox.count();
        scene.publish(&service).await?;
        scene.inbox.wait_for(arrived + 1).await;
        scene.clock.step(step)?;
        let arrivals = scene.inbox.wait_for(arrived + 2).await;
        let waited = arrivals[arrived + 1]
            .at
            .duration_since(arrivals[arrived].at)?;
        ensure!(
            waited >= WAIT && waited < WAIT + SLACK,
            "{told}: the retry waited {waited:?}"
        );
        scene
            .signed_now(&arrivals[arrived + 1])
            .context(told.clone())?;

        // What comes after the step.
        let late = scene.publish(&service).await?;
        let arrivals = scene.inbox.wait_for(arrived + 3).await;
        scene
            .signed_now(&arrivals[arrived + 2])
            .context(told.clone())?;
        owed_nothing(&operator).await;
        scene
            .logs_are_in_order(&service)
            .await
            .context(told.clone())?;
        let event = operator.get(&format!("/v1/events/{late}")).await?;
        let created = text(event.data(), "createdAt")?;
        ensure!(created >= before, "{told}: {created} is before {before}");
        before = created;

        // Links last ten minutes and sessions two hours, by the clock on the wall.
        ensure!(
            enter(&service, &old_link).await?.is_some() == (step < 0),
            "{told}: the old link"
        );
        let goes_on = step < 2 * HOUR;
        ensure!(
            may_look(&service, &cookie, &endpoint.id).await? == goes_on,
            "{told}: the session"
        );
        let new_link = link(&service).await?;
        let cookie = enter(&service, &new_link).await?.context("a session")?;
        ensure!(
            may_look(&service, &cookie, &endpoint.id).await?,
            "{told}: a new session"
        );
        ensure!(
            enter(&service, &new_link).await?.is_none(),
            "{told}: a link works once"
        );

        if step.abs() == HOUR {
            // Later ones are past the eight days that these are kept for.
            let rounds = round as i64 + 1;
            assert_eq!(counted(&scene.setup)?, (2 * rounds, rounds), "{told}");
        }
        let ready = service.stranger().send("GET", "/readyz", &[], "").await?;
        assert_eq!(ready.status, 200, "{told}");
    }
    assert_eq!(scene.inbox.count(), 3 * STEPS.len());
    for delivery in operator.deliveries("").await? {
        assert_eq!(delivery["status"], "delivered", "{delivery}");
    }
    let (status, log) = service.terminate().await?;
    assert!(status.success(), "{log}");
    Ok(())
}

#[tokio::test]
async fn a_clock_stepped_between_two_runs_stalls_nothing() -> Result<()> {
    let mut scene = Scene::new().await?;
    let mut service = scene.start(&[]).await?;
    let team = service.team("acme").await?;
    scene.endpoint = Some(team.endpoint(&scene.inbox.url(), &[]).await?);
    for (round, step) in STEPS.into_iter().enumerate() {
        let told = format!("round {round}, a step of {step} s");
        scene.inbox.script([Answer::status(500)]);
        let arrived = scene.inbox.count();
        scene.publish(&service).await?;
        scene.inbox.wait_for(arrived + 1).await;
        // Its outcome is recorded, so the retry is owed.
        let (status, log) = service.terminate().await?;
        ensure!(status.success(), "{told}: {log}");
        scene.clock.step(step)?;
        service = scene.start(&[]).await?;
        let started = std::time::SystemTime::now();
        let arrivals = scene.inbox.wait_for(arrived + 2).await;
        let waited = arrivals[arrived + 1]
            .at
            .duration_since(started)
            .unwrap_or_default();
        ensure!(waited < WAIT + SLACK, "{told}: the retry waited {waited:?}");
        scene
            .signed_now(&arrivals[arrived + 1])
            .context(told.clone())?;
        scene.publish(&service).await?;
        let arrivals = scene.inbox.wait_for(arrived + 3).await;
        scene
            .signed_now(&arrivals[arrived + 2])
            .context(told.clone())?;
        owed_nothing(&service.operator_of("acme")).await;
        scene
            .logs_are_in_order(&service)
            .await
            .context(told.clone())?;
    }
    assert_eq!(scene.inbox.count(), 3 * STEPS.len());
    Ok(())
}

#[tokio::test]
async fn retention_by_a_stepped_clock_takes_what_is_finished_and_old_by_it_and_nothing_else()
-> Result<()> {
    let week = ["--retention-days", "7"];
    let mut scene = Scene::new().await?;
    let service = scene.start(&week).await?;
    let team = service.team("acme").await?;
    let endpoint = team.endpoint(&scene.inbox.url(), &[]).await?;
    scene.endpoint = Some(endpoint.clone());
    let path = format!("/v1/webhook-endpoints/{}", endpoint.id);
    let finished = scene.publish(&service).await?;
    scene.inbox.wait_for(1).await;
    owed_nothing(&service.operator_of("acme")).await;
    team.call("PATCH", &path, &json!({"paused": true}), 200)
        .await?;
    let owed = scene.publish(&service).await?;
    service.terminate().await?;

    scene.clock.step(MONTH)?;
    let service = scene.start(&week).await?;
    let operator = service.operator_of("acme");
    let status = async |operator: &Api, event: &str| -> Result<u16> {
        let path = format!("/v1/events/{event}");
        Ok(operator.send("GET", &path, &[], "").await?.status)
    };
    let new = scene.publish(&service).await?;
    eventually("what is finished and old is deleted", async || {
        (status(&operator, &finished).await.ok()? == 404).then_some(())
    })
    .await;
    for event in [&owed, &new] {
        assert_eq!(status(&operator, event).await?, 200, "it is owed");
    }
    operator
        .call("PATCH", &path, &json!({"paused": false}), 200)
        .await?;
    scene.inbox.wait_for(3).await;
    service.terminate().await?;

    // Back by twenty days: what was published when the clock was ahead is not old, nor what is published
    // now, which has ids of then.
    scene.clock.step(-20 * 24 * HOUR)?;
    let service = scene.start(&week).await?;
    let operator = service.operator_of("acme");
    let newest = scene.publish(&service).await?;
    scene.inbox.wait_for(4).await;
    eventually("what is finished now, and old, is deleted", async || {
        (status(&operator, &owed).await.ok()? == 404).then_some(())
    })
    .await;
    for event in [&new, &newest] {
        assert_eq!(status(&operator, event).await?, 200);
    }
    Ok(())
}

#[tokio::test]
async fn an_overlap_of_secrets_and_a_key_end_by_the_clock_on_the_wall() -> Result<()> {
    let mut scene = Scene::new().await?;
    let service = scene.start(&[]).await?;
    let team = service.team("acme").await?;
    let endpoint = team.endpoint(&scene.inbox.url(), &[]).await?;
    let path = format!("/v1/webhook-endpoints/{}", endpoint.id);
    let overlap = json!({"expireOldAfterSeconds": 2 * HOUR});
    let rotate = format!("{path}/rotate-secret");
    team.call("POST", &rotate, &overlap, 200).await?;
    let end = Timestamp::from_millis((scene.clock.now() + 2 * HOUR) * 1000);
    let key = json!({"name": "expires", "scopes": ["read"], "expiresAt": end.to_string()});
    let keys = "/v1/teams/acme/api-keys";
    let made = service.operator().call("POST", keys, &key, 201).await?;
    let key = text(made.data(), "key")?;

    // Each from where the one before led to.
    let steps = [
        (HOUR, true),
        (-MONTH, true),
        (MONTH, true),
        (2 * HOUR, false),
        (-2 * HOUR, true),
    ];
    for (number, (step, in_use)) in steps.into_iter().enumerate() {
        let told = format!("step {number}, of {step} s");
        scene.clock.step(step)?;
        let headers = [("x-api-key", key.as_str())];
        let shown = service.stranger().send("GET", &path, &headers, "").await?;
        assert_eq!(shown.status == 200, in_use, "{told}: {}", shown.text);
        scene.publish(&service).await?;
        let arrival = scene.inbox.wait_for(number + 1).await.remove(number);
        let next = arrival.header("x-vantagekit-signature-next");
        assert_eq!(!next.is_empty(), in_use, "{told}");
        let old = verify_at(&arrival, &endpoint.secret, scene.clock.now());
        assert_eq!(old.is_ok(), in_use, "{told}: {old:?}");
    }
    Ok(())
}
