//! Hides where Linux, and the service itself, tell what a service has in use.

use std::num::NonZeroI32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::JoinHandle;

use crate::{Api, Service};

/// How often the memory is looked at that a service has at most.
const LOOK: Duration = Duration::from_millis(10);

/// What a service has in use now.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// What it has allocated, in MB (of 1,000,000 bytes).
    pub memory: f64,
    /// Its open files, sockets among them.
    pub files: usize,
    /// Its tasks.
    pub tasks: usize,
}

impl Usage {
    /// Of this service.
    ///
    /// # Errors
    /// Where it has ended.
    pub async fn of(service: &Service) -> Result<Self> {
        let pid = service.pid()?.as_raw_nonzero();
        let files = std::fs::read_dir(format!("/proc/{pid}/fd"))?.count();
        let tasks = service.stranger().metric("vk_webhooks_tasks").await?;
        Ok(Self {
            memory: megabytes(allocated(pid)?),
            files,
            tasks: tasks as usize,
        })
    }
}

/// The most memory that a service has, looked at as long as this is kept.
pub struct Peak {
    kib: Arc<AtomicU64>,
    looking: JoinHandle<()>,
}

impl Peak {
    /// Of this service, from now on.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn of(service: &Service) -> Result<Self> {
        let pid = service.pid()?.as_raw_nonzero();
        let kib = Arc::new(AtomicU64::new(allocated(pid)?));
        let most = Arc::clone(&kib);
        let looking = tokio::spawn(async move {
            while let Ok(now) = allocated(pid) {
                most.fetch_max(now, Ordering::Relaxed);
                tokio::time::sleep(LOOK).await;
            }
        });
        Ok(Self { kib, looking })
    }

    /// What it has allocated at most until now, in MB (of 1,000,000 bytes).
    #[must_use]
    pub fn memory(&self) -> f64 {
        megabytes(self.kib.load(Ordering::Relaxed))
    }
}

impl Drop for Peak {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

/// What a process has allocated, in KiB.
fn allocated(pid: NonZeroI32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    Ok(kib.context("RssAnon of a process")?.parse()?)
}

fn megabytes(kib: u64) -> f64 {
    kib as f64 * 1024.0 / 1e6
}

impl Api {
    /// A metric without labels.
    ///
    /// # Errors
    /// Where it is not among the metrics.
    pub async fn metric(&self, name: &str) -> Result<f64> {
        let text = self.send("GET", "/metrics", &[], "").await?.text;
        let line = text.lines().find_map(|line| {
            let (found, value) = line.split_once(' ')?;
            (found == name).then_some(value)
        });
        let value = line.with_context(|| format!("{name} is not among the metrics"))?;
        Ok(value.parse()?)
    }
}
