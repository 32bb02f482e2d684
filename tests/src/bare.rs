//! Hides a service whose standard error, standard input or start is not as usual.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::api::Api;
use crate::binary::program;
use crate::service::OPERATOR_KEY;
use crate::{eventually_within, free_port};

/// A service of which nothing is read. Killed when dropped.
pub struct Bare {
    process: Child,
    address: SocketAddr,
}

impl Bare {
    /// Starts one on this database, with standard error where `err` is. `shell` is how a shell executes
    /// `"$0" "$@"`, such as with a redirection behind it. Without `with_key` it has to make its own.
    pub async fn start(
        database: &str,
        shell: &str,
        err: impl Into<Stdio>,
        with_key: bool,
        options: &[&str],
    ) -> Result<Self> {
        Self::launch(database, shell, Stdio::null(), err, with_key, options).await
    }

    /// As [`Bare::start`], with something at standard input.
    pub async fn launch(
        database: &str,
        shell: &str,
        input: impl Into<Stdio>,
        err: impl Into<Stdio>,
        with_key: bool,
        options: &[&str],
    ) -> Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let (listen, url) = (address.to_string(), format!("sqlite:{database}"));
        let mut arguments = vec!["serve", "--listen", &listen, "--database-url", &url];
        arguments.extend(["--allow-cidr", "127.0.0.1/32", "--allow-http"]);
        arguments.extend(options);
        let plain = program(&arguments)?;
        let mut command = Command::new("sh");
        command.args([OsStr::new("-c"), OsStr::new(shell)]);
        command.arg(plain.as_std().get_program());
        command.args(plain.as_std().get_args());
        command.env_remove("VK_WEBHOOKS_ADMIN_KEY");
        command.envs(with_key.then_some(("VK_WEBHOOKS_ADMIN_KEY", OPERATOR_KEY)));
        let process = command
            .stdin(input)
            .stderr(err)
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self { process, address })
    }

    /// Waits until it answers.
    pub async fn is_up(&self) {
        eventually_within(Duration::from_secs(30), "the service answers", async || {
            let reply = self.stranger().get("/healthz").await;
            reply.ok().map(|_| ())
        })
        .await;
    }

    /// Somebody without a key.
    pub fn stranger(&self) -> Api {
        Api::to(self.address)
    }

    /// The operator.
    pub fn operator(&self) -> Api {
        let key = format!("Bearer {OPERATOR_KEY}");
        Api::new(self.address, vec![("authorization", key)])
    }

    /// Asks it to stop; how it ended, within 16 s.
    pub async fn terminate(mut self) -> Result<ExitStatus> {
        let pid = self.process.id();
        let pid = pid.and_then(|pid| Pid::from_raw(pid.cast_signed()));
        kill_process(pid.context("it runs")?, Signal::TERM)?;
        self.ended().await
    }

    /// How it ended by itself, within 16 s.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        let ended = tokio::time::timeout(Duration::from_secs(16), self.process.wait()).await;
        let status = ended.context("it did not end within 16 s")??;
        ensure!(status.code() != Some(101), "it panicked");
        Ok(status)
    }
}
