//! Hides how the real binary is started, looked at and ended.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::api::OPERATOR_KEY;
use crate::usage::{self, Memory, ThreadTimes};

/// The service under test.
pub(crate) struct Service {
    child: Child,
    address: SocketAddr,
    started_in: Duration,
    /// What it held right after its start.
    idle: Memory,
}

impl Service {
    /// Starts it with a store in this folder.
    pub(crate) async fn start(binary: &Path, folder: &Path, ca_file: &Path) -> Result<Self> {
        let start = Instant::now();
        let mut child = Command::new(binary)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(["--allow-cidr", "127.0.0.1/32"])
            .arg("--database-url")
            .arg(format!("sqlite:{}", folder.join("store.db").display()))
            .arg("--ca-file")
            .arg(ca_file)
            // Nothing else of whoever runs the bench: its settings are those of the page.
            .env_clear()
            .env("VK_WEBHOOKS_ADMIN_KEY", OPERATOR_KEY)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let mut log = BufReader::new(child.stderr.take().context("piped")?).lines();
        let mut said = String::new();
        let address = loop {
            let Some(line) = log.next_line().await? else {
                bail!("the service did not start:\n{said}");
            };
            if let Some((_, address)) = line.split_once("listening on http://") {
                break address.trim().parse()?;
            }
            said.push_str(&line);
            said.push('\n');
        };
        let started_in = start.elapsed();
        // The log has to be read on, or the service would wait for it.
        tokio::spawn(async move {
            while let Ok(Some(line)) = log.next_line().await {
                if line.contains("WARN") || line.contains("ERROR") {
                    eprintln!("  service: {line}");
                }
            }
        });
        let idle = usage::memory(child.id().context("it runs")?)?;
        Ok(Self {
            child,
            address,
            started_in,
            idle,
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From its start to the line that says where it listens.
    pub(crate) fn started_in(&self) -> Duration {
        self.started_in
    }

    /// Memory right after its start, before anything was asked of it.
    pub(crate) fn idle(&self) -> Memory {
        self.idle
    }

    /// Memory now.
    pub(crate) fn memory(&self) -> Result<Memory> {
        usage::memory(self.pid()?)
    }

    /// Processor seconds so far.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        usage::cpu_seconds(self.pid()?)
    }

    /// Processor time of its threads: exact where nothing much is used.
    pub(crate) fn thread_times(&self) -> Result<ThreadTimes> {
        ThreadTimes::of(self.pid()?)
    }

    fn pid(&self) -> Result<u32> {
        self.child.id().context("the service runs")
    }

    /// Ends it as an operator would.
    pub(crate) async fn stop(mut self) -> Result<()> {
        let pid = Pid::from_raw(self.pid()?.cast_signed());
        kill_process(pid.context("it runs")?, Signal::TERM)?;
        let ended = tokio::time::timeout(Duration::from_secs(20), self.child.wait()).await;
        let status = ended.context("the service did not end within 20 s")??;
        ensure!(status.success(), "the service ended with {status}");
        Ok(())
    }

    /// Ends it at once: its store is not needed any more.
    pub(crate) async fn kill(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }
}
