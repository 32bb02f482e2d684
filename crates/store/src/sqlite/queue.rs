//! Hides how units wait for the writer: two bounded queues, drained by turns into one batch.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use crate::driver::{Commit, Line, Unit};
use crate::error::StoreError;

/// How much waits, how much goes into one transaction, and how long the log grows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Units that wait to be published.
    pub(super) publishing_units: usize,
    /// And their bytes. A single unit may be larger.
    pub(super) publishing_bytes: usize,
    /// Bytes of what waits to be recorded.
    pub(super) recording_bytes: usize,
    /// Units in one transaction.
    pub(super) batch_units: usize,
    /// Statements in one transaction: about 20 ms of work.
    pub(super) batch_statements: usize,
    /// Pages of write-ahead log at which it is copied into the database.
    pub(super) checkpoint_pages: i64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            publishing_units: 8192,
            publishing_bytes: 32 << 20,
            recording_bytes: 32 << 20,
            batch_units: 1024,
            batch_statements: 8192,
            checkpoint_pages: 16_000, // 64 MiB
        }
    }
}

/// What one transaction does.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) jobs: Vec<Job>,
    /// Statements from the publishing queue.
    published: usize,
    /// Statements from the recording queue.
    recorded: usize,
}

#[cfg(test)]
impl Batch {
    /// Of one unit, which nobody waits for.
    pub(super) fn of(unit: Unit) -> Self {
        Self {
            jobs: vec![Job {
                unit,
                answer: oneshot::channel().0,
                _room: None,
            }],
            ..Self::default()
        }
    }
}

/// A unit and whoever waits for it.
pub(super) struct Job {
    pub(super) unit: Unit,
    pub(super) answer: oneshot::Sender<Result<Commit, StoreError>>,
    /// Its share of the recording queue, given back when the job ends.
    _room: Option<OwnedSemaphorePermit>,
}

/// The two queues.
pub(super) struct Queue {
    pub(super) bounds: Bounds,
    waiting: Mutex<Waiting>,
    arrived: Notify,
    /// Room for recording, in KiB.
    room: Arc<Semaphore>,
}

#[derive(Default)]
struct Waiting {
    publishing: VecDeque<Job>,
    publishing_bytes: usize,
    recording: VecDeque<Job>,
    closed: bool,
}

impl Queue {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            waiting: Mutex::default(),
            arrived: Notify::new(),
            room: Arc::new(Semaphore::new(bounds.recording_bytes >> 10)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing panics while it is held; if it did, what waits is still whole.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a unit to the writer and waits until it is done.
    pub(super) async fn submit(&self, line: Line, unit: Unit) -> Result<Commit, StoreError> {
        let (answer, answered) = oneshot::channel();
        match line {
            Line::Publishing => self.publish(unit, answer)?,
            Line::Recording => self.record(unit, answer).await?,
        }
        self.arrived.notify_one();
        answered
            .await
            .unwrap_or_else(|_| Err(StoreError::Unavailable("its writer has stopped".into())))
    }

    fn publish(
        &self,
        unit: Unit,
        answer: oneshot::Sender<Result<Commit, StoreError>>,
    ) -> Result<(), StoreError> {
        let bytes = unit.bytes();
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(closed());
        }
        let full = waiting.publishing.len() >= self.bounds.publishing_units
            || waiting.publishing_bytes + bytes > self.bounds.publishing_bytes;
        if full && !waiting.publishing.is_empty() {
            return Err(StoreError::Overloaded);
        }
        waiting.publishing_bytes += bytes;
        waiting.publishing.push_back(Job {
            unit,
            answer,
            _room: None,
        });
        Ok(())
    }

    async fn record(
        &self,
        unit: Unit,
        answer: oneshot::Sender<Result<Commit, StoreError>>,
    ) -> Result<(), StoreError> {
        let share = (unit.bytes() >> 10).clamp(1, self.bounds.recording_bytes >> 10);
        let room = Arc::clone(&self.room)
            .acquire_many_owned(u32::try_from(share).unwrap_or(u32::MAX))
            .await
            .map_err(|_| closed())?;
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(closed());
        }
        waiting.recording.push_back(Job {
            unit,
            answer,
            _room: Some(room),
        });
        Ok(())
    }

    /// Waits until there is something to write; false once closed and empty.
    pub(super) async fn wait(&self) -> bool {
        loop {
            let arrived = self.arrived.notified();
            {
                let waiting = self.lock();
                if !waiting.publishing.is_empty() || !waiting.recording.is_empty() {
                    return true;
                }
                if waiting.closed {
                    return false;
                }
            }
            arrived.await;
        }
    }

    /// Adds to a transaction what waits for one and has room in it: by turns from both queues, the
    /// one that has had fewer statements first. Whether there was anything.
    pub(super) fn drain(&self, batch: &mut Batch) -> bool {
        let mut waiting = self.lock();
        let before = batch.jobs.len();
        while batch.jobs.len() < self.bounds.batch_units
            && batch.published + batch.recorded < self.bounds.batch_statements
        {
            let publish = !waiting.publishing.is_empty()
                && (batch.published <= batch.recorded || waiting.recording.is_empty());
            let next = if publish {
                waiting.publishing.pop_front()
            } else {
                waiting.recording.pop_front()
            };
            let Some(job) = next else { break };
            if publish {
                waiting.publishing_bytes -= job.unit.bytes();
                batch.published += job.unit.len();
            } else {
                batch.recorded += job.unit.len();
            }
            batch.jobs.push(job);
        }
        batch.jobs.len() > before
    }

    /// Units that wait now.
    pub(super) fn len(&self) -> usize {
        let waiting = self.lock();
        waiting.publishing.len() + waiting.recording.len()
    }

    /// Takes no more; what waits is still written.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.room.close();
        self.arrived.notify_waiters();
    }
}

pub(super) fn closed() -> StoreError {
    StoreError::Unavailable("it is closed".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(statements: usize) -> Unit {
        let mut unit = Unit::default();
        for _ in 0..statements {
            unit.add("SELECT 1", []);
        }
        unit
    }

    async fn submit(queue: &Arc<Queue>, line: Line, statements: usize) {
        let queue = Arc::clone(queue);
        tokio::spawn(async move { queue.submit(line, unit(statements)).await });
        tokio::task::yield_now().await;
    }

    fn drain(queue: &Queue) -> Vec<Job> {
        let mut batch = Batch::default();
        queue.drain(&mut batch);
        batch.jobs
    }

    #[tokio::test]
    async fn a_transaction_that_takes_more_keeps_its_bounds_and_its_turns() {
        let queue = Arc::new(Queue::new(Bounds {
            batch_units: 5,
            ..Bounds::default()
        }));
        let mut batch = Batch::default();
        for _ in 0..3 {
            submit(&queue, Line::Publishing, 1).await;
        }
        assert!(queue.drain(&mut batch) && batch.jobs.len() == 3);
        assert!(!queue.drain(&mut batch), "nothing waits");
        for line in [Line::Publishing, Line::Recording, Line::Recording] {
            submit(&queue, line, 1).await;
        }
        assert!(queue.drain(&mut batch) && batch.jobs.len() == 5);
        assert_eq!((batch.published, batch.recorded), (3, 2));
        assert!(!queue.drain(&mut batch), "it is full");
        assert_eq!(queue.len(), 1);
    }

    #[tokio::test]
    async fn neither_queue_starves_the_other() {
        let queue = Arc::new(Queue::new(Bounds {
            batch_units: 6,
            ..Bounds::default()
        }));
        for _ in 0..10 {
            submit(&queue, Line::Publishing, 2).await;
        }
        for _ in 0..10 {
            submit(&queue, Line::Recording, 1).await;
        }
        let sizes: Vec<_> = drain(&queue).iter().map(|job| job.unit.len()).collect();
        assert_eq!(sizes, [2, 1, 1, 2, 1, 1], "two statements of each by turns");
        let drained: usize = std::iter::repeat_with(|| drain(&queue).len())
            .take_while(|count| *count > 0)
            .sum();
        assert_eq!(drained, 14, "and nothing is left behind");
    }

    #[tokio::test]
    async fn a_full_publishing_queue_refuses_and_a_full_recording_queue_waits() {
        let queue = Arc::new(Queue::new(Bounds {
            publishing_units: 1,
            recording_bytes: 1 << 10,
            ..Bounds::default()
        }));
        submit(&queue, Line::Publishing, 1).await;
        let refused = queue.submit(Line::Publishing, unit(1)).await;
        assert_eq!(refused, Err(StoreError::Overloaded));
        submit(&queue, Line::Recording, 1).await;
        submit(&queue, Line::Recording, 1).await;
        assert_eq!(queue.len(), 2, "the second recording waits for room");
        assert_eq!(drain(&queue).len(), 2);
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        assert_eq!(queue.len(), 1, "which the first one gave back");
    }

    #[tokio::test]
    async fn a_closed_queue_takes_nothing_and_still_hands_out_what_waits() {
        let queue = Arc::new(Queue::new(Bounds::default()));
        submit(&queue, Line::Recording, 1).await;
        queue.close();
        for line in [Line::Publishing, Line::Recording] {
            assert_eq!(queue.submit(line, unit(1)).await, Err(closed()));
        }
        assert!(queue.wait().await);
        assert_eq!(drain(&queue).len(), 1);
        assert!(!queue.wait().await);
    }
}
