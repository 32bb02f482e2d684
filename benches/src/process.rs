//! Hides how a process is started, asked, measured and ended.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::param::clock_ticks_per_second;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// A process of the bench, ended with us.
pub(crate) struct Process {
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Processor seconds, in user and kernel.
    pub(crate) cpu_seconds: f64,
    /// The most memory it ever had, in MiB.
    pub(crate) peak_mib: f64,
}

impl Process {
    /// Starts a mode of this very program.
    pub(crate) fn mode(arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments);
        Self::start(command)
    }

    fn start(mut command: Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let input = child.stdin.take().context("piped")?;
        let output = child.stdout.take().context("piped")?;
        Ok(Self {
            _child: child,
            input,
            output: BufReader::new(output).lines(),
        })
    }

    /// The next line it prints.
    pub(crate) async fn line(&mut self) -> Result<String> {
        let line = self.output.next_line().await?;
        line.context("a process of the bench ended without a word; see above")
    }

    /// Asks the receiver how many requests it has answered.
    pub(crate) async fn count(&mut self) -> Result<u64> {
        self.input.write_all(b"\n").await?;
        Ok(self.line().await?.parse()?)
    }
}

/// The service under test.
pub(crate) struct Service {
    child: Child,
    address: String,
}

impl Service {
    /// Starts it, with its store in this folder.
    pub(crate) async fn start(binary: &Path, folder: &Path, key: &str) -> Result<Self> {
        let mut child = Command::new(binary)
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--allow-cidr",
                "127.0.0.1/32",
            ])
            .arg("--database-url")
            .arg(format!("sqlite:{}", folder.join("store.db").display()))
            .arg("--ca-file")
            .arg(folder.join("receiver.pem"))
            .env("VK_WEBHOOKS_ADMIN_KEY", key)
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
                break address.trim().to_owned();
            }
            said.push_str(&line);
            said.push('\n');
        };
        // The log has to be read on, or the service would wait for it; errors are shown.
        tokio::spawn(async move {
            while let Ok(Some(line)) = log.next_line().await {
                eprintln!("  service: {line}");
            }
        });
        Ok(Self { child, address })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// What it has used so far.
    pub(crate) fn usage(&self) -> Result<Usage> {
        let pid = self.child.id().context("it runs")?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // Past the name, which may hold spaces: user and kernel time are the 12th and 13th.
        let (_, rest) = stat.rsplit_once(')').context("/proc/PID/stat")?;
        let ticks: u64 = rest
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u64>().ok())
            .sum();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|rest| rest.split_whitespace().next()?.parse::<u32>().ok());
        Ok(Usage {
            cpu_seconds: ticks as f64 / clock_ticks_per_second() as f64,
            peak_mib: f64::from(kib.context("VmHWM")?) / 1024.0,
        })
    }

    /// Ends it as an operator would.
    pub(crate) async fn stop(mut self) -> Result<()> {
        let pid = self
            .child
            .id()
            .and_then(|id| Pid::from_raw(id.cast_signed()));
        kill_process(pid.context("it runs")?, Signal::TERM)?;
        let ended = tokio::time::timeout(Duration::from_secs(20), self.child.wait()).await;
        let status = ended.context("the service did not end within 20 s")??;
        ensure!(status.success(), "the service ended with {status}");
        Ok(())
    }
}
