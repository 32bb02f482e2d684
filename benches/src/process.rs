//! Hides how a mode of this program is started as a process of its own, and talked to.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::usage;

/// A process of the bench, ended with us.
pub(crate) struct Process {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts a mode of this very program.
    pub(crate) fn mode(arguments: &[&str]) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let input = child.stdin.take().context("piped")?;
        let output = child.stdout.take().context("piped")?;
        Ok(Self {
            child,
            input,
            output: BufReader::new(output).lines(),
        })
    }

    /// The next line it prints. May be given up and asked for again.
    pub(crate) async fn line(&mut self) -> Result<String> {
        let line = self.output.next_line().await?;
        line.context("a process of the bench ended without a word; see above")
    }

    /// The next line it prints, read as JSON.
    pub(crate) async fn told<T: DeserializeOwned>(&mut self) -> Result<T> {
        Ok(serde_json::from_str(&self.line().await?)?)
    }

    /// Hands it a line.
    pub(crate) async fn tell(&mut self, line: &str) -> Result<()> {
        self.input.write_all(line.as_bytes()).await?;
        self.input.write_all(b"\n").await?;
        Ok(())
    }

    /// Hands it a line, and takes the one it answers with.
    pub(crate) async fn ask<T: DeserializeOwned>(&mut self, line: &str) -> Result<T> {
        self.tell(line).await?;
        self.told().await
    }

    /// Waits until it has done what it was started for.
    pub(crate) async fn ended(mut self) -> Result<()> {
        let status = self.child.wait().await?;
        ensure!(
            status.success(),
            "a process of the bench ended with {status}"
        );
        Ok(())
    }

    /// Processor seconds it has used so far.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        usage::cpu_seconds(self.child.id().context("it runs")?)
    }
}
