//! Hides where Linux, and the service itself, tell what a service has in use.

use anyhow::{Context, Result};

use crate::{Api, Service};

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
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let files = std::fs::read_dir(format!("/proc/{pid}/fd"))?.count();
        let tasks = service.stranger().metric("vk_webhooks_tasks").await?;
        Ok(Self {
            memory: megabytes(&status, "RssAnon:").context("RssAnon of a process")?,
            files,
            tasks: tasks as usize,
        })
    }
}

fn megabytes(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024.0 / 1e6)
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
