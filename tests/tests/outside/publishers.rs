//! Hides how events are published at a steady pace on kept connections, each until it is acknowledged.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::receivers::event;

const PUBLISHERS: u64 = 16;
/// How long a publisher waits for an answer before it asks again on another connection.
const ANSWERED: Duration = Duration::from_secs(30);
/// How long after a refusal it asks again.
const AGAIN: Duration = Duration::from_millis(50);

/// Publishers at work.
pub(crate) struct Publishers {
    common: Arc<Common>,
    tasks: JoinSet<Result<Vec<u64>>>,
}

struct Common {
    address: SocketAddr,
    key: String,
    over: AtomicBool,
    numbers: AtomicU64,
    refused: AtomicU64,
    broken: AtomicU64,
}

/// What they have done.
pub(crate) struct Published {
    /// The numbers of the events that were acknowledged.
    pub(crate) acknowledged: Vec<u64>,
    /// How often they were told that the service cannot now.
    pub(crate) refused: u64,
    /// How often a connection broke, could not be made, or no answer came.
    pub(crate) broken: u64,
}

impl Publishers {
    /// Lets them loose: so many events a second, as far as the service keeps up.
    pub(crate) fn begin(address: SocketAddr, key: &str, rate: u64) -> Self {
        let common = Arc::new(Common {
            address,
            key: key.to_owned(),
            over: AtomicBool::new(false),
            numbers: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            broken: AtomicU64::new(0),
        });
        let every = Duration::from_secs(PUBLISHERS) / u32::try_from(rate).unwrap_or(u32::MAX);
        let mut tasks = JoinSet::new();
        for _ in 0..PUBLISHERS {
            tasks.spawn(publish(Arc::clone(&common), every));
        }
        Self { common, tasks }
    }

    /// Lets each be acknowledged the event it is at, within `most`.
    ///
    /// # Errors
    /// Where one was not, or got an answer that it should not.
    pub(crate) async fn end(self, most: Duration) -> Result<Published> {
        self.common.over.store(true, Ordering::Relaxed);
        let ended = timeout(most, self.tasks.join_all()).await;
        let ended = ended.with_context(|| format!("publishers hang after {most:?}"))?;
        let each: Vec<Vec<u64>> = ended.into_iter().collect::<Result<_>>()?;
        Ok(Published {
            acknowledged: each.concat(),
            refused: self.common.refused.load(Ordering::Relaxed),
            broken: self.common.broken.load(Ordering::Relaxed),
        })
    }
}

async fn publish(common: Arc<Common>, every: Duration) -> Result<Vec<u64>> {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut acknowledged = Vec::new();
    let mut connection = None;
    while !common.over.load(Ordering::Relaxed) {
        ticks.tick().await;
        let number = common.numbers.fetch_add(1, Ordering::Relaxed);
        while !common.acknowledged(&mut connection, number).await? {
            sleep(AGAIN).await;
        }
        acknowledged.push(number);
    }
    Ok(acknowledged)
}

type Connection = SendRequest<Full<Bytes>>;

impl Common {
    /// Publishes an event once; whether it was acknowledged.
    async fn acknowledged(&self, kept: &mut Option<Connection>, number: u64) -> Result<bool> {
        let asked = timeout(ANSWERED, self.ask(kept, number)).await;
        match asked {
            Ok(Ok((202, _))) => Ok(true),
            Ok(Ok((503, _))) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                Ok(false)
            }
            Ok(Ok((status, body))) => bail!("event {number} was answered {status}: {body}"),
            // Nobody knows what became of it: it is sent again under the same key.
            Ok(Err(_)) | Err(_) => {
                *kept = None;
                self.broken.fetch_add(1, Ordering::Relaxed);
                Ok(false)
            }
        }
    }

    async fn ask(&self, kept: &mut Option<Connection>, number: u64) -> Result<(u16, String)> {
        let connection = match kept {
            Some(connection) => connection,
            None => kept.insert(self.connect().await?),
        };
        let request = Request::post("/v1/events")
            .header("host", self.address.to_string())
            .header("content-type", "application/json")
            .header("x-api-key", &self.key)
            .header("idempotency-key", format!("event-{number}"))
            .body(Full::new(Bytes::from(event(number).to_string())))?;
        connection.ready().await?;
        let (parts, body) = connection.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        let body = String::from_utf8_lossy(&body).into_owned();
        Ok((parts.status.as_u16(), body))
    }

    async fn connect(&self) -> Result<Connection> {
        let stream = TcpStream::connect(self.address).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Its errors come out of the requests too.
        tokio::spawn(connection);
        Ok(sender)
    }
}
