//! Hides how a service is started, found and ended.

use std::io::{BufRead, BufReader, PipeReader};
use std::net::SocketAddr;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use leaks::Listener;
use local_receiver::Authority;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use crate::Inbox;
use crate::api::{Api, text};
use crate::binary::{TempDir, program_under};

/// The operator's key of every service of the rig.
pub const OPERATOR_KEY: &str = "vk_admin_0123456789abcdefghijABCDEFGHIJ01";

/// What stays when a service ends: its folder, and the authority of its receivers.
pub struct Setup {
    /// Its folder.
    pub folder: TempDir,
    /// Who signs the certificates of its receivers.
    pub authority: Authority,
    /// Where its store is.
    pub database: String,
}

/// An endpoint that was made.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its id.
    pub id: String,
    /// Its secret.
    pub secret: String,
}

impl Setup {
    /// A new one.
    pub fn new() -> Result<Self> {
        let folder = TempDir::new()?;
        let authority = Authority::new()?;
        std::fs::write(folder.path().join("ca.pem"), authority.pem())?;
        let database = folder.file("store.db");
        Ok(Self {
            folder,
            authority,
            database,
        })
    }

    /// A receiver that the service trusts.
    pub async fn inbox(&self) -> Result<Inbox> {
        Inbox::open(&self.authority).await
    }

    /// A receiver without TLS.
    pub async fn plain_inbox(&self) -> Result<Inbox> {
        Inbox::open_plain().await
    }

    /// A service that may reach loopback, with these options more.
    pub async fn start(&self, options: &[&str]) -> Result<Service> {
        self.start_as(Start::default(), options).await
    }

    /// As [`Setup::start`], in another way than usual.
    pub async fn start_as(&self, start: Start<'_>, options: &[&str]) -> Result<Service> {
        let ca_file = self.folder.file("ca.pem");
        let mut all = vec!["--allow-cidr", "127.0.0.1/32", "--ca-file", &ca_file];
        all.extend(options);
        self.launch(start, Some(OPERATOR_KEY), &all).await
    }

    /// Why a service does not start, which has to be told with exit code 1.
    ///
    /// # Errors
    /// Where it does start, or ends in another way.
    pub async fn refusal(&self, options: &[&str]) -> Result<String> {
        match self.start(options).await {
            Ok(_) => bail!("it was not refused"),
            Err(error) => {
                let told = error.to_string();
                ensure!(told.contains("exit status: 1"), "{told}");
                ensure!(!told.contains("panicked"), "{told}");
                Ok(told)
            }
        }
    }

    /// A service with these options and no others but where it listens and keeps things.
    pub async fn start_strict(&self, options: &[&str]) -> Result<Service> {
        self.launch(Start::default(), Some(OPERATOR_KEY), options)
            .await
    }

    /// A service that has to make its operator's key by itself.
    pub async fn start_with_own_key(&self) -> Result<Service> {
        self.launch(Start::default(), None, &[]).await
    }

    async fn launch(
        &self,
        start: Start<'_>,
        operator_key: Option<&str>,
        options: &[&str],
    ) -> Result<Service> {
        let url = format!("sqlite:{}", self.database);
        let mut arguments = vec!["serve", "--listen", "127.0.0.1:0", "--database-url", &url];
        arguments.extend(options);
        leaks::never_say(OPERATOR_KEY);
        let given = start.environment.iter();
        for (_, keys) in given.filter(|(name, _)| *name == "VK_WEBHOOKS_SECRETS_KEY") {
            never_say_any(keys);
        }
        let mut command = program_under(start.under, &arguments)?;
        command.envs(start.environment.iter().copied());
        command.envs(operator_key.map(|key| ("VK_WEBHOOKS_ADMIN_KEY", key)));
        let started = Service::start(command).await;
        // The key that secrets are sealed under; made by now, where it was not there.
        if let Ok(keys) = std::fs::read_to_string(format!("{}.key", self.database)) {
            never_say_any(&keys);
        }
        if let Err(told) = &started
            && let Some(leak) = leaks::known_in(&format!("{told:#}"))
        {
            bail!("a refusal to start gives away {leak}");
        }
        started
    }
}

/// How a service is started, where that is not as usual.
#[derive(Clone, Copy, Default)]
pub struct Start<'s> {
    /// The program that starts it, with its options, such as `sh`.
    pub under: &'s [&'s str],
    /// Variables in its environment.
    pub environment: &'s [(&'s str, &'s str)],
}

/// A running service. Killed when dropped, and a failure of the test then where it has given something away.
pub struct Service {
    process: Child,
    address: SocketAddr,
    heard: Arc<Heard>,
    /// Those who read what it says, to its end.
    readers: Vec<JoinHandle<()>>,
}

/// What a service has said.
#[derive(Default)]
struct Heard {
    log: Mutex<String>,
    leaks: Mutex<Vec<String>>,
}

/// Every line of a file of keys.
fn never_say_any(keys: &str) {
    for key in keys.lines() {
        leaks::never_say(key.trim());
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Service {
    async fn start(mut command: Command) -> Result<Self> {
        let (out, says) = std::io::pipe()?;
        let (err, complains) = std::io::pipe()?;
        let process = command.stdout(says).stderr(complains).spawn()?;
        // With it go our ends of the pipes: they end with the process.
        drop(command);
        let heard = Arc::<Heard>::default();
        let (found, mut address) = mpsc::channel(1);
        let listen = |stream| {
            let (heard, found) = (Arc::clone(&heard), found.clone());
            std::thread::spawn(move || read_log(stream, &heard, &found))
        };
        let readers = vec![listen(err), listen(out)];
        drop(found);
        let mut service = Self {
            process,
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            heard,
            readers,
        };
        match tokio::time::timeout(Duration::from_secs(20), address.recv()).await {
            Ok(Some(address)) => service.address = address,
            Ok(None) => {
                let status = service.process.wait().await?;
                service.hear_out()?;
                let said = service.log();
                bail!("the service ended with {status} before it listened:\n{said}")
            }
            Err(_) => bail!("the service did not listen within 20 s:\n{}", service.log()),
        }
        Ok(service)
    }

    /// All it has logged.
    pub fn log(&self) -> String {
        locked(&self.heard.log).clone()
    }

    /// Waits until its streams have ended, as they do with it.
    ///
    /// # Errors
    /// Where it has given something away.
    fn hear_out(&mut self) -> Result<()> {
        for reader in self.readers.drain(..) {
            ensure!(reader.join().is_ok(), "a reader of the log panicked");
        }
        let mut leaks = std::mem::take(&mut *locked(&self.heard.leaks));
        leaks.extend(leaks::known_in(&self.log()));
        ensure!(leaks.is_empty(), "the log gives away {}", leaks.join("\n"));
        Ok(())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub fn pid(&self) -> Result<Pid> {
        let pid = self
            .process
            .id()
            .and_then(|id| Pid::from_raw(id.cast_signed()));
        pid.context("it runs")
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

    /// The operator, in the name of a team.
    pub fn operator_of(&self, team: &str) -> Api {
        let key = format!("Bearer {OPERATOR_KEY}");
        let headers = vec![
            ("authorization", key),
            ("x-vantagekit-team", team.to_owned()),
        ];
        Api::new(self.address, headers)
    }

    /// A team with a key that may do everything a team may; a caller with that key.
    pub async fn team(&self, id: &str) -> Result<Api> {
        let operator = self.operator();
        let team = json!({"id": id, "name": id});
        operator.call("POST", "/v1/teams", &team, 201).await?;
        let key = json!({"name": "tests", "scopes": ["read", "webhooks:write", "events:write"]});
        let path = format!("/v1/teams/{id}/api-keys");
        let made = operator.call("POST", &path, &key, 201).await?;
        let key = text(&made.data()["key"])?;
        leaks::never_say(&key);
        Ok(Api::new(self.address, vec![("x-api-key", key)]))
    }

    /// Asks it to stop; how it ended, within 16 s.
    pub async fn terminate(self) -> Result<(ExitStatus, String)> {
        self.ask_to_stop()?;
        self.ended().await
    }

    /// Asks it to stop, and does not wait.
    pub fn ask_to_stop(&self) -> Result<()> {
        Ok(kill_process(self.pid()?, Signal::TERM)?)
    }

    /// How it ended by itself, within 16 s.
    pub async fn ended(mut self) -> Result<(ExitStatus, String)> {
        let ended = tokio::time::timeout(Duration::from_secs(16), self.process.wait()).await;
        let status = ended.context("it did not end within 16 s")??;
        self.hear_out()?;
        Ok((status, self.log()))
    }

    /// Kills it without a warning, and waits until it is gone.
    pub async fn kill(mut self) -> Result<()> {
        self.process.kill().await?;
        self.hear_out()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return; // the test has failed already, and the process is killed all the same
        }
        // Fails only where it has ended.
        let _ = self.process.start_kill();
        if let Err(leak) = self.hear_out() {
            panic!("{leak}");
        }
    }
}

impl Api {
    /// Makes an endpoint for these types (all where there are none).
    pub async fn endpoint(&self, url: &str, event_types: &[&str]) -> Result<Endpoint> {
        let endpoint = json!({"url": url, "eventTypes": event_types});
        let made = self
            .call("POST", "/v1/webhook-endpoints", &endpoint, 201)
            .await?;
        let (id, secret) = (text(&made.data()["id"])?, text(&made.data()["secret"])?);
        ensure!(secret.starts_with("whsec_"), "{secret}");
        leaks::never_say(&secret);
        Ok(Endpoint { id, secret })
    }
}

/// Keeps what the service says, finds in it where it listens, and notes what it gives away.
fn read_log(stream: PipeReader, heard: &Heard, found: &mpsc::Sender<SocketAddr>) {
    let mut listener = Listener::default();
    for line in BufReader::new(stream).split(b'\n') {
        let Ok(line) = line else { return };
        let line = String::from_utf8_lossy(&line);
        if let Some((_, address)) = line.split_once("listening on http://")
            && let Some(Ok(address)) = address.split_whitespace().next().map(str::parse)
        {
            // Nobody listens any more where it was said twice; the log has it.
            let _ = found.try_send(address);
        }
        if let Some(leak) = listener.leak(&line) {
            locked(&heard.leaks).push(format!("{leak}: {line}"));
        }
        let mut log = locked(&heard.log);
        log.push_str(&line);
        log.push('\n');
    }
}
