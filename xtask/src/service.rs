//! Hides how a real service is started for checks from outside, and ended again.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::command::{cargo, run, target_dir};

/// A key for a service that lives for a minute on loopback.
const OPERATOR_KEY: &str = "vk_admin_checkCHECKcheckCHECKcheckCHECK01";

/// A service on a free port of loopback, with a store of its own. Ended when dropped.
pub(crate) struct Service {
    process: Child,
    address: String,
    folder: PathBuf,
}

impl Service {
    /// Builds and starts one.
    pub(crate) fn start() -> Result<Self> {
        run(cargo(&["build", "--package", "vk-webhooks", "--quiet"]))?;
        let folder = std::env::temp_dir().join(format!("vk-xtask-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let mut process = Command::new(target_dir().join("debug/vk-webhooks"))
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
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start the service")?;
        let log = process.stderr.take().context("its log was not piped")?;
        let mut lines = BufReader::new(log).lines();
        let mut address = None;
        for line in lines.by_ref() {
            let line = line?;
            eprintln!("  service: {line}");
            if let Some((_, rest)) = line.split_once("listening on http://") {
                address = rest.split_whitespace().next().map(str::to_owned);
                break;
            }
        }
        let Some(address) = address else {
            bail!("the service ended before it listened: {}", process.wait()?);
        };
        // The log has to be read to its end, or the service would block on it.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                eprintln!("  service: {line}");
            }
        });
        Ok(Self {
            process,
            address,
            folder,
        })
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

    /// Ends it as an operator would; an error unless it exits with 0.
    pub(crate) fn stop(mut self) -> Result<()> {
        run(crate::command::program(
            "kill",
            &["-TERM", &self.process.id().to_string()],
        ))?;
        let status = self.process.wait()?;
        if !status.success() {
            bail!("the service ended with {status} after SIGTERM");
        }
        Ok(())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Both may have happened already; there is nobody left to tell.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
