//! Hides how a real service is started for checks from outside, ended again, and listened to all the while: what it
//! must never say fails the check.

use std::io::{BufRead, BufReader, PipeReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail, ensure};
use leaks::Listener;
use rustix::process::{Pid, Signal, kill_process};

use crate::command::{cargo, run, target_dir};

/// A key for a service that lives for a minute on loopback.
const OPERATOR_KEY: &str = "vk_admin_checkCHECKcheckCHECKcheckCHECK01";

/// A service on a free port of loopback, with a store of its own. Ended when dropped.
pub(crate) struct Service {
    process: Child,
    address: String,
    folder: PathBuf,
    /// Those who read what it says, to its end: what it gave away.
    readers: Vec<JoinHandle<Vec<String>>>,
}

impl Service {
    /// Builds and starts one.
    pub(crate) fn start() -> Result<Self> {
        run(cargo(&["build", "--package", "vk-webhooks", "--quiet"]))?;
        let folder = std::env::temp_dir().join(format!("vk-xtask-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        leaks::never_say(OPERATOR_KEY);
        let (out, says) = std::io::pipe()?;
        let (err, complains) = std::io::pipe()?;
        let mut command = Command::new(target_dir().join("debug/vk-webhooks"));
        command
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--log-level",
                "warn,vk_webhooks=info",
            ])
            .arg("--database-url")
            .arg(format!("sqlite:{}", folder.join("store.db").display()))
            .env("VK_WEBHOOKS_ADMIN_KEY", OPERATOR_KEY)
            .stdin(Stdio::null())
            .stdout(says)
            .stderr(complains);
        let mut process = command.spawn().context("cannot start the service")?;
        // With it go our ends of the pipes: they end with the process.
        drop(command);
        let (found, address) = channel();
        // Both have to be read to their ends, or the service would block on them.
        let readers = [out, err].map(|stream| {
            let found = found.clone();
            std::thread::spawn(move || read_log(stream, &found))
        });
        drop(found);
        let Ok(address) = address.recv() else {
            bail!("the service ended before it listened: {}", process.wait()?);
        };
        let service = Self {
            process,
            address,
            folder,
            readers: readers.into(),
        };
        // The key that secrets are sealed under: by now it is there.
        let sealing = std::fs::read_to_string(service.folder.join("store.db.key"))?;
        for key in sealing.lines() {
            leaks::never_say(key.trim());
        }
        Ok(service)
    }

    /// The URL of a path of it.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The key that may do everything.
    pub(crate) fn operator_key(&self) -> &'static str {
        OPERATOR_KEY
    }

    /// Makes a team; its id.
    pub(crate) fn create_team(&self) -> Result<String> {
        let id = "checks";
        let body = format!(r#"{{"name":"Checks","id":"{id}"}}"#);
        let mut stream = TcpStream::connect(&self.address)?;
        write!(
            stream,
            "POST /v1/teams HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {OPERATOR_KEY}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.address,
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        if !answer.starts_with("HTTP/1.1 201 ") {
            bail!("the team could not be made: {answer}");
        }
        Ok(id.to_owned())
    }

    /// Ends it as an operator would; an error unless it exits with 0 and has given nothing away.
    pub(crate) fn stop(mut self) -> Result<()> {
        let pid = Pid::from_raw(self.process.id().cast_signed()).context("a process has an id")?;
        kill_process(pid, Signal::TERM).context("cannot ask the service to stop")?;
        let status = self.process.wait()?;
        if !status.success() {
            bail!("the service ended with {status} after SIGTERM");
        }
        for reader in self.readers.drain(..) {
            let Ok(leaks) = reader.join() else {
                bail!("a reader of the service's log panicked");
            };
            ensure!(leaks.is_empty(), "the log gives away {}", leaks.join("\n"));
        }
        Ok(())
    }
}

/// Shows what the service says and finds in it where it listens; what it gives away.
fn read_log(stream: PipeReader, found: &Sender<String>) -> Vec<String> {
    let mut listener = Listener::default();
    let mut leaks = vec![];
    for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        eprintln!("  service: {line}");
        if let Some((_, rest)) = line.split_once("listening on http://")
            && let Some(address) = rest.split_whitespace().next()
        {
            // Nobody listens any more where it was said twice.
            let _ = found.send(address.to_owned());
        }
        leaks.extend(listener.leak(&line).map(|leak| format!("{leak}: {line}")));
    }
    leaks
}

impl Drop for Service {
    fn drop(&mut self) {
        // Both may have happened already; there is nobody left to tell.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
