//! Hides what endpoints share and none may take from the others: places for attempts in flight, and memory for
//! what waits to be sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Places for attempts in flight: those of the whole house, or a team's share of them.
pub(crate) struct Places {
    all: Semaphore,
    /// As many of them as endpoints that are slow may hold together: whatever hangs, others find the rest free.
    slow: Semaphore,
}

impl Places {
    /// So many, half of them for endpoints that are slow.
    pub(crate) fn new(places: usize) -> Self {
        Self {
            all: Semaphore::new(places),
            slow: Semaphore::new((places / 2).max(1)),
        }
    }

    /// Waits for a place; none once they are closed.
    pub(crate) async fn take(&self) -> Option<SemaphorePermit<'_>> {
        self.all.acquire().await.ok()
    }

    /// Waits until one more endpoint that is slow may have a place; none once they are closed.
    pub(crate) async fn share_of_slow(&self) -> Option<SemaphorePermit<'_>> {
        self.slow.acquire().await.ok()
    }

    /// Nobody gets a place any more.
    pub(crate) fn close(&self) {
        self.all.close();
        self.slow.close();
    }
}

/// How much may wait in memory, in bytes, before every lane makes do with little.
const PLENTY: usize = 64 << 20;

/// What a delivery takes in a lane beside its body, about.
const BESIDE_THE_BODY: usize = 256;

/// The memory that deliveries take while they wait to be sent.
#[derive(Clone, Default)]
pub(crate) struct Memory(Arc<AtomicUsize>);

impl Memory {
    /// Whether so much waits that every lane should make do with little.
    pub(crate) fn is_short(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= PLENTY
    }

    /// Holds what a delivery with such a body takes.
    pub(crate) fn hold_delivery(&self, body: usize) -> Hold {
        self.hold(body + BESIDE_THE_BODY)
    }

    /// Holds so many bytes.
    pub(crate) fn hold(&self, bytes: usize) -> Hold {
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Hold {
            memory: self.clone(),
            bytes,
        }
    }

    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Memory that is held until this is dropped.
pub(crate) struct Hold {
    memory: Memory,
    bytes: usize,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.memory.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
