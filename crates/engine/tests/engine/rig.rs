//! A house in virtual time: a real store on disk, receivers that follow a script.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use egress::{
    BoxFuture, Connections, Exchange, Failure, Probe, ReceiverUrl, Request, Response, Transport,
};
use http::HeaderMap;
use model::attempt::{Reason, Timings};
use model::audit::Actor;
use model::delivery::{Delivery, Status};
use model::endpoint::{Endpoint, Subscription};
use model::event::NewEvent;
use model::id::{DeliveryId, TeamId};
use model::team::Team;
use store::driver::{Commit, Driver, Line, Pending, Query, Stats, Unit};
use store::value::Rows;
use store::{LogFilter, SqliteDriver, SqliteOptions, Store, StoreError};
use tokio::time::Instant;
use vk_engine::{Clock, Engine, EngineOptions, Publication, VirtualClock};

use crate::shared::{Folder, keyring};
pub(crate) use crate::shared::{START, url};

/// How a receiver answers one request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    /// This status, after so long.
    Status(u16, Duration),
    /// A failure of the network, after so long.
    Fails(Reason, Duration),
    /// Nothing until the deadline.
    Hangs,
    /// A bug of ours in reading what it answers.
    Panics,
    /// The attempt cannot be made, for a reason of this service's own.
    Ours(Reason, Duration),
    /// This status, to a request that was sent again on another connection.
    Twice(u16),
}

pub(crate) fn status(code: u16) -> Answer {
    Answer::Status(code, Duration::ZERO)
}

/// A request as a receiver saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) url: String,
    /// Milliseconds since the test began.
    pub(crate) at: u128,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .unwrap_or_else(|| panic!("no header {name}"))
            .to_str()
            .unwrap()
    }
}

/// Receivers that follow a script by URL: one answer a request, the last one for ever.
pub(crate) struct Scripted {
    began: Instant,
    scripts: Mutex<HashMap<String, Vec<Answer>>>,
    /// What all receivers take together; beyond it they answer 429.
    bucket: Mutex<Option<Bucket>>,
    /// Until when this service itself cannot send.
    trouble: Mutex<Option<(Instant, Answer)>>,
    /// Attempts that could not be made.
    not_made: AtomicUsize,
    seen: Mutex<Vec<Seen>>,
}

/// So many a second, and so many at once.
struct Bucket {
    per_second: f64,
    burst: f64,
    tokens: f64,
    last: Instant,
}

impl Bucket {
    fn takes(&mut self) -> bool {
        let gone = self.last.elapsed().as_secs_f64();
        self.last = Instant::now();
        self.tokens = (self.tokens + gone * self.per_second).min(self.burst);
        let takes = self.tokens >= 1.0;
        if takes {
            self.tokens -= 1.0;
        }
        takes
    }
}

impl Scripted {
    /// All receivers together take so many a second, and so many at once.
    pub(crate) fn limit(&self, per_second: u32, burst: u32) {
        *self.bucket.lock().unwrap() = Some(Bucket {
            per_second: per_second.into(),
            burst: burst.into(),
            tokens: burst.into(),
            last: Instant::now(),
        });
    }

    /// For so long no attempt can be made: each comes to this.
    pub(crate) fn trouble(&self, span: Duration, answer: Answer) {
        *self.trouble.lock().unwrap() = Some((Instant::now() + span, answer));
    }

    /// How many attempts could not be made.
    pub(crate) fn not_made(&self) -> usize {
        self.not_made.load(Ordering::Relaxed)
    }

    pub(crate) fn script(&self, url: &str, answers: &[Answer]) {
        let mut answers = answers.to_vec();
        answers.reverse();
        self.scripts.lock().unwrap().insert(url.to_owned(), answers);
    }

    fn answer(&self, url: &str) -> Answer {
        if let Some(bucket) = self.bucket.lock().unwrap().as_mut()
            && !bucket.takes()
        {
            return status(429);
        }
        let mut scripts = self.scripts.lock().unwrap();
        let script = scripts
            .get_mut(url)
            .unwrap_or_else(|| panic!("no script for {url}"));
        if script.len() > 1 {
            script.pop().unwrap()
        } else {
            script[0]
        }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn seen_at(&self, url: &str) -> Vec<u128> {
        self.seen()
            .iter()
            .filter(|seen| seen.url == url)
            .map(|seen| seen.at)
            .collect()
    }
}

impl Transport for Scripted {
    fn exchange<'a>(&'a self, _: &'a Connections, request: Request<'a>) -> BoxFuture<'a, Exchange> {
        let url = request.url.as_str().to_owned();
        let headers = (request.headers)();
        assert_eq!(headers, (request.headers)(), "a second try has the same");
        let trouble = *self.trouble.lock().unwrap();
        if let Some((until, answer)) = trouble
            && Instant::now() < until
        {
            self.not_made.fetch_add(1, Ordering::Relaxed);
            return Box::pin(exchange(answer, request.deadline));
        }
        self.seen.lock().unwrap().push(Seen {
            url: url.clone(),
            at: self.began.elapsed().as_millis(),
            headers,
            body: request.body,
        });
        let answer = self.answer(&url);
        Box::pin(exchange(answer, request.deadline))
    }

    fn probe<'a>(&'a self, _: &'a ReceiverUrl) -> BoxFuture<'a, Probe> {
        Box::pin(std::future::ready(Probe::Reachable))
    }
}

/// What an answer comes to.
async fn exchange(answer: Answer, deadline: Instant) -> Exchange {
    let failure = |reason, detail: &str, ours| Failure {
        reason,
        detail: detail.to_owned(),
        operator_detail: detail.to_owned(),
        ours,
        partial: None,
    };
    let response = |status| Response {
        status,
        headers: vec![("server".into(), "scripted".into())],
        body: Bytes::from_static(b"thanks"),
    };
    let result = match answer {
        Answer::Status(status, after) => {
            tokio::time::sleep(after).await;
            Ok(response(status))
        }
        Answer::Twice(status) => Ok(response(status)),
        Answer::Panics => panic!("an answer that was not thought of"),
        Answer::Fails(reason, after) => {
            tokio::time::sleep(after).await;
            Err(failure(reason, "it failed", false))
        }
        Answer::Hangs => {
            tokio::time::sleep_until(deadline).await;
            Err(failure(Reason::ResponseTimeout, "no answer in time", false))
        }
        Answer::Ours(reason, after) => {
            tokio::time::sleep(after).await;
            Err(failure(reason, "no socket", true))
        }
    };
    Exchange {
        remote_addr: None,
        timings: Timings::default(),
        sent_twice: matches!(answer, Answer::Twice(_)),
        result,
    }
}

pub(crate) struct Rig {
    pub(crate) engine: Engine,
    pub(crate) receivers: Arc<Scripted>,
    pub(crate) team: TeamId,
    began: Instant,
    pub(crate) clock: Arc<VirtualClock>,
    options: EngineOptions,
    folder: Folder,
    /// Faults in the store, by will.
    pub(crate) faults: Arc<Faults>,
}

/// What the store's driver is made to refuse.
#[derive(Default)]
pub(crate) struct Faults {
    /// How many commits of each line go well before the fault; none: no fault.
    after: Mutex<Option<usize>>,
    /// How many commits fail then.
    failing: Mutex<usize>,
    /// What they fail with; none: the disk is full.
    error: Mutex<Option<StoreError>>,
    /// What no commit can name, since the file is damaged where it stands.
    damaged: Mutex<Option<DeliveryId>>,
    /// Whether they are done all the same.
    unanswered: AtomicBool,
}

impl Faults {
    /// Lets `well` commits pass and then fails `failing`.
    pub(crate) fn fail(&self, well: usize, failing: usize) {
        *self.after.lock().unwrap() = Some(well);
        *self.failing.lock().unwrap() = failing;
    }

    /// As [`Faults::fail`], with an error that trying again does not mend.
    pub(crate) fn refuse(&self, well: usize, failing: usize) {
        let error = StoreError::Internal("injected: the statement is wrong".into());
        *self.error.lock().unwrap() = Some(error);
        self.fail(well, failing);
    }

    /// As [`Faults::fail`], as where the file is damaged in its whole.
    pub(crate) fn damage_all(&self, well: usize, failing: usize) {
        *self.error.lock().unwrap() = Some(StoreError::Damaged);
        self.fail(well, failing);
    }

    /// Nothing can be written of this delivery any more, as where the file is damaged at its rows.
    pub(crate) fn damage(&self, delivery: DeliveryId) {
        *self.damaged.lock().unwrap() = Some(delivery);
    }

    /// As [`Faults::fail`], but what fails is done: it is the answer that gets lost.
    pub(crate) fn leave_unanswered(&self, well: usize, failing: usize) {
        self.unanswered.store(true, Ordering::Relaxed);
        self.fail(well, failing);
    }

    /// From now on all goes well.
    pub(crate) fn mend(&self) {
        *self.after.lock().unwrap() = None;
        *self.damaged.lock().unwrap() = None;
    }

    fn reaches_damage(&self, unit: &Unit) -> bool {
        let Some(damaged) = *self.damaged.lock().unwrap() else {
            return false;
        };
        let mut values = unit.statements().flat_map(|(_, values)| values);
        values.any(|value| *value == damaged.into())
    }

    fn strikes(&self) -> bool {
        let mut after = self.after.lock().unwrap();
        let mut failing = self.failing.lock().unwrap();
        match after.as_mut() {
            None => false,
            Some(0) if *failing == 0 => false,
            Some(0) => {
                *failing -= 1;
                true
            }
            Some(well) => {
                *well -= 1;
                false
            }
        }
    }
}

/// A real driver whose commits fail where the faults strike: the disk is full, say.
struct Faulty {
    driver: SqliteDriver,
    faults: Arc<Faults>,
}

impl Driver for Faulty {
    fn commit(&self, line: Line, unit: Unit) -> Pending<'_, Result<Commit, StoreError>> {
        if self.faults.strikes() {
            if self.faults.unanswered.load(Ordering::Relaxed) {
                let done = self.driver.commit(line, unit);
                return Box::pin(async {
                    done.await?;
                    Err(StoreError::Unavailable("injected: not answered".into()))
                });
            }
            let error = self.faults.error.lock().unwrap().clone();
            let full = || StoreError::Unavailable("injected: the disk is full".into());
            return Box::pin(std::future::ready(Err(error.unwrap_or_else(full))));
        }
        if self.faults.reaches_damage(&unit) {
            return Box::pin(std::future::ready(Err(StoreError::Damaged)));
        }
        self.driver.commit(line, unit)
    }

    fn read(&self, queries: Vec<Query>) -> Pending<'_, Result<Vec<Rows>, StoreError>> {
        self.driver.read(queries)
    }

    fn close(&self) -> Pending<'_, ()> {
        self.driver.close()
    }

    fn stats(&self) -> Stats {
        self.driver.stats()
    }
}

impl Rig {
    pub(crate) async fn new() -> Self {
        Self::with(EngineOptions::default()).await
    }

    pub(crate) async fn with(options: EngineOptions) -> Self {
        let folder = Folder::inside(&std::env::temp_dir());
        let receivers = Arc::new(Scripted {
            began: Instant::now(),
            scripts: Mutex::default(),
            bucket: Mutex::default(),
            trouble: Mutex::default(),
            not_made: AtomicUsize::new(0),
            seen: Mutex::default(),
        });
        let clock = Arc::new(VirtualClock::starting_at(START));
        let faults = Arc::default();
        let engine = start(
            &folder,
            Arc::clone(&receivers) as _,
            Arc::clone(&clock) as _,
            &options,
            &faults,
        )
        .await;
        let team = engine
            .by(Actor::Operator)
            .create_team(None, "Acme".into(), "scale".into())
            .await
            .unwrap();
        Self {
            began: receivers.began,
            engine,
            receivers,
            team: team.id,
            clock,
            options,
            folder,
            faults,
        }
    }

    /// Ends the engine and starts another on the same store. A grace of zero is a crash that
    /// leaves the attempts in flight unrecorded.
    pub(crate) async fn restart(&mut self, grace: Duration) {
        self.engine.stop(grace).await;
        self.engine.store().close().await;
        let transport = Arc::clone(&self.receivers) as _;
        self.engine = start(
            &self.folder,
            transport,
            Arc::clone(&self.clock) as _,
            &self.options,
            &self.faults,
        )
        .await;
    }

    /// The same store under an engine with another transport and another clock.
    pub(crate) async fn with_parts(
        mut self,
        transport: Arc<dyn Transport>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        self.engine.stop(Duration::from_secs(1)).await;
        self.engine.store().close().await;
        self.engine = start(&self.folder, transport, clock, &self.options, &self.faults).await;
        self
    }

    pub(crate) async fn another_team(&self) -> Team {
        self.engine
            .by(Actor::Operator)
            .create_team(None, "Other".into(), "scale".into())
            .await
            .unwrap()
    }

    /// An endpoint whose receiver follows a script.
    pub(crate) async fn endpoint(&self, name: &str, answers: &[Answer]) -> Endpoint {
        self.endpoint_of(self.team, name, answers, &[]).await
    }

    pub(crate) async fn endpoint_of(
        &self,
        team: TeamId,
        name: &str,
        answers: &[Answer],
        types: &[&str],
    ) -> Endpoint {
        let url = url(name);
        self.receivers.script(url.as_str(), answers);
        let types = types.iter().map(ToString::to_string).collect();
        let subscription = Subscription::from_names(Some(types));
        self.engine
            .by(Actor::Operator)
            .create_endpoint(team, &url, None, subscription)
            .await
            .unwrap()
    }

    pub(crate) async fn publish(&self) -> DeliveryId {
        self.publish_to(self.team).await
    }

    /// Publishes an event; the id of its first delivery.
    pub(crate) async fn publish_to(&self, team: TeamId) -> DeliveryId {
        let publication = Publication {
            event: event(),
            idempotency_key: None,
        };
        let accepted = self.engine.publish(team, vec![publication]).await.unwrap();
        DeliveryId(accepted[0].event.0 + 1)
    }

    pub(crate) fn at(&self) -> u128 {
        self.began.elapsed().as_millis()
    }

    /// When a delivery of which each attempt fails after `took` is attempted, in milliseconds from its first
    /// attempt: the whole schedule, by the rule that spreads its retries.
    pub(crate) fn schedule_of(&self, delivery: DeliveryId, took: u128) -> Vec<u128> {
        let (mut times, mut at) = (Vec::new(), 0);
        for nth in 1.. {
            times.push(at);
            let Some(wait) = self.options.schedule.wait(delivery, nth) else {
                break;
            };
            at += took + wait.as_millis();
        }
        times
    }

    /// Whether a delivery was attempted at these times, but for the moments that recording takes.
    pub(crate) fn follows_schedule(&self, delivery: DeliveryId, times: &[u128]) -> bool {
        let due = self.schedule_of(delivery, 0);
        let mut pairs = times.iter().zip(&due);
        times.len() == due.len() && pairs.all(|(at, due)| at.abs_diff(*due) < 50)
    }

    pub(crate) async fn delivery(
        &self,
        id: DeliveryId,
    ) -> (Delivery, Vec<model::attempt::Attempt>) {
        self.engine
            .store()
            .delivery(self.team, id)
            .await
            .unwrap()
            .expect("the delivery is there")
    }

    pub(crate) async fn log(&self) -> Vec<Delivery> {
        self.engine
            .store()
            .delivery_log(self.team, &LogFilter::default(), None, 100)
            .await
            .unwrap()
    }

    /// How many of the newest hundred deliveries stand here.
    pub(crate) async fn count(&self, status: Status) -> usize {
        self.log()
            .await
            .iter()
            .filter(|delivery| delivery.status() == status)
            .count()
    }
}

async fn start(
    folder: &Folder,
    transport: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    options: &EngineOptions,
    faults: &Arc<Faults>,
) -> Engine {
    let path = folder.0.join("webhooks.db");
    let driver = Faulty {
        driver: SqliteDriver::open(SqliteOptions { path }).await.unwrap(),
        faults: Arc::clone(faults),
    };
    let store = Store::with_driver(Arc::new(driver), keyring())
        .await
        .unwrap();
    Engine::start(store, transport, clock, options.clone())
        .await
        .unwrap()
}

pub(crate) fn event() -> NewEvent {
    let data = r#"{"dealRoomId":"0198a6f0-3a5b-7c1d-9e2f-0123456789ab","name":"Series A"}"#;
    NewEvent {
        event_type: "deal_room.created".into(),
        body: Bytes::from(format!(r#"{{"type":"deal_room.created","data":{data}}}"#)),
    }
}

/// Lets virtual time go by.
pub(crate) async fn wait(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}
