//! Puts each proxy before a real service, set up by the very block of docs/operating.md, and sees that refusals reach
//! the publisher and that the proxy keeps its connections to the service. `cargo xtask test --only proxies` runs it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::process::{Child, Command};
use vk_tests::{Authority, Setup, TempDir, free_port, operating_blocks};

/// One proxy: the language of its block, and how it is made to run beside others without rights.
struct Proxy {
    name: &'static str,
    start: fn(&Place) -> Result<Command>,
}

/// Where a proxy is tried.
struct Place {
    folder: TempDir,
    port: u16,
    service: SocketAddr,
}

const PROXIES: [Proxy; 4] = [
    Proxy {
        name: "nginx",
        start: nginx,
    },
    Proxy {
        name: "caddyfile",
        start: caddy,
    },
    Proxy {
        name: "haproxy",
        start: haproxy,
    },
    Proxy {
        name: "apache",
        start: apache,
    },
];

impl Place {
    /// The block of this proxy, with the addresses and files of this place.
    fn block(&self, language: &str, more: &[(&str, &str)]) -> Result<String> {
        let blocks = operating_blocks()?;
        let block = blocks.iter().find(|block| block.language == language);
        let service = self.service.to_string();
        let mut replaced = vec![("127.0.0.1:8080", service.as_str())];
        replaced.extend(more);
        block.context("its block")?.fitted(&replaced)
    }

    fn file(&self, name: &str) -> String {
        self.folder.file(name)
    }

    fn write(&self, name: &str, text: &str) -> Result<String> {
        let path = self.file(name);
        std::fs::write(&path, text)?;
        Ok(path)
    }
}

fn nginx(place: &Place) -> Result<Command> {
    let (certificate, key) = (place.file("cert.pem"), place.file("key.pem"));
    let listen = format!("listen 127.0.0.1:{} ssl;", place.port);
    let block = place.block(
        "nginx",
        &[
            ("/etc/ssl/webhooks.pem", &certificate),
            ("/etc/ssl/webhooks.key", &key),
            ("listen 443 ssl;", &listen),
        ],
    )?;
    let folder = place.folder.path().display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("    {kind}_temp_path {folder}/{kind};\n"))
        .collect();
    let whole = format!(
        "daemon off;\nmaster_process off;\npid {folder}/nginx.pid;\nerror_log stderr;\nevents {{}}\n\
         http {{\n    access_log off;\n{temporary}{block}}}\n"
    );
    let path = place.write("nginx.conf", &whole)?;
    let mut command = Command::new("nginx");
    command.args(["-c", &path, "-e", "stderr"]);
    Ok(command)
}

fn caddy(place: &Place) -> Result<Command> {
    let (certificate, key) = (place.file("cert.pem"), place.file("key.pem"));
    let site = format!(
        "{{\n    admin off\n    auto_https off\n}}\nhttps://localhost:{} {{\n    tls {certificate} {key}\n",
        place.port
    );
    let block = place.block("caddyfile", &[("webhooks.example.com {\n", &site)])?;
    // Options are the first block of a Caddyfile, behind comments or not.
    let path = place.write("Caddyfile", &block)?;
    let mut command = Command::new("caddy");
    command
        .args(["run", "--adapter", "caddyfile", "--config", &path])
        .env("XDG_DATA_HOME", place.folder.path())
        .env("XDG_CONFIG_HOME", place.folder.path());
    Ok(command)
}

fn haproxy(place: &Place) -> Result<Command> {
    let bind = format!("bind 127.0.0.1:{}", place.port);
    let both = place.file("both.pem");
    let block = place.block(
        "haproxy",
        &[
            ("bind :443", &bind),
            ("/etc/ssl/webhooks-and-key.pem", &both),
        ],
    )?;
    let path = place.write("haproxy.cfg", &block)?;
    let mut command = Command::new("haproxy");
    command.args(["-db", "-f", &path]);
    Ok(command)
}

fn apache(place: &Place) -> Result<Command> {
    let (certificate, key) = (place.file("cert.pem"), place.file("key.pem"));
    let host = format!("127.0.0.1:{}", place.port);
    let block = place.block(
        "apache",
        &[
            ("*:443", &host),
            ("/etc/ssl/webhooks.pem", &certificate),
            ("/etc/ssl/webhooks.key", &key),
        ],
    )?;
    let modules: String = [
        "mpm_event",
        "authz_core",
        "reqtimeout",
        "socache_shmcb",
        "ssl",
        "proxy",
        "proxy_http",
    ]
    .iter()
    .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
    .collect();
    let folder = place.folder.path().display();
    let whole = format!(
        "ServerRoot {folder}\nDefaultRuntimeDir {folder}\nPidFile {folder}/apache.pid\nMutex file:{folder}\n\
         ErrorLog /dev/stderr\nServerName localhost\nListen {host}\n{modules}{block}"
    );
    let path = place.write("apache.conf", &whole)?;
    let mut command = Command::new("apache2");
    command.args(["-X", "-f", &path]);
    Ok(command)
}

/// What `curl` got: the status, and the body.
async fn curl(place: &Place, arguments: &[&str], path: &str) -> Result<(String, String)> {
    let mut command = Command::new("curl");
    command
        .args([
            "--silent",
            "--insecure",
            "--max-time",
            "30",
            "--noproxy",
            "*",
        ])
        .args(["--write-out", "\n%{http_code}", "--resolve"])
        .arg(format!("localhost:{}:127.0.0.1", place.port))
        .args(arguments)
        .arg(format!("https://localhost:{}{path}", place.port));
    let output = command.stdin(Stdio::null()).output().await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').context("curl said a status")?;
    let failed = if output.status.success() { "" } else { " cut" };
    Ok((format!("{status}{failed}"), body.to_owned()))
}

async fn until_it_serves(place: &Place, process: &mut Child) -> Result<()> {
    for _ in 0..200 {
        if let Some(status) = process.try_wait()? {
            bail!("it ended with {status}");
        }
        if curl(place, &[], "/healthz").await?.0 == "200" {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("it does not serve");
}

/// How many connections to the service are open and kept by the proxy.
fn kept(service: SocketAddr) -> Result<usize> {
    let port = format!(":{:04X}", service.port());
    let table = std::fs::read_to_string("/proc/net/tcp")?;
    let open = |line: &&str| {
        let mut words = line.split_whitespace().skip(2);
        words.next().is_some_and(|remote| remote.ends_with(&port)) && words.next() == Some("01")
    };
    Ok(table.lines().filter(open).count())
}

/// Tries one proxy; what is not as it should be, each in a line.
async fn tried(proxy: &Proxy, authority: &Authority, service: SocketAddr) -> Result<Vec<String>> {
    let place = Place {
        folder: TempDir::new()?,
        port: free_port()?,
        service,
    };
    let (certificate, key) = authority.certificate(&["localhost"])?;
    place.write("cert.pem", &certificate)?;
    place.write("key.pem", &key)?;
    place.write("both.pem", &format!("{certificate}{key}"))?;
    for (name, size) in [("60k", 60_000), ("1m", 1_000_000), ("8m", 8_000_000)] {
        place.write(name, &"x".repeat(size))?;
    }
    let log = std::fs::File::create(place.file("log"))?;
    let mut command = (proxy.start)(&place)?;
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true);
    let mut process = command.spawn().context("it starts")?;
    let served = until_it_serves(&place, &mut process).await;
    let said = || std::fs::read_to_string(place.file("log")).unwrap_or_default();
    if let Err(error) = served {
        bail!("{error}: {}", said());
    }
    let mut wrong = Vec::new();
    for (body, times, more) in [
        ("60k", 30, &["--http1.1"][..]),
        ("60k", 10, &[]),
        (
            "60k",
            10,
            &["--header", "Transfer-Encoding: chunked", "--http1.1"],
        ),
        ("1m", 15, &["--http1.1"]),
        ("1m", 15, &["--http1.1", "--header", "Expect:"]),
        ("1m", 10, &[]),
        ("8m", 10, &["--http1.1"]),
    ] {
        let data = format!("@{}", place.file(body));
        let mut arguments = vec![
            "--data-binary",
            &data,
            "--header",
            "X-API-Key: vk_live_wrong",
        ];
        arguments.extend(more);
        let mut others = Vec::new();
        for _ in 0..times {
            let (status, text) = curl(&place, &arguments, "/v1/events").await?;
            if status != "401" || !text.contains("\"unauthorized\"") {
                others.push(status);
            }
        }
        if !others.is_empty() {
            let lost = others.len();
            wrong.push(format!(
                "{body} {more:?}: {lost} of {times} were not the 401: {others:?}"
            ));
        }
    }
    // Some do not keep one on which a body was refused.
    curl(&place, &[], "/healthz").await?;
    if kept(service)? == 0 {
        wrong.push("it keeps no connection to the service".to_owned());
    }
    let pid = process
        .id()
        .and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()));
    rustix::process::kill_process(pid.context("it runs")?, rustix::process::Signal::TERM)?;
    tokio::time::timeout(Duration::from_secs(20), process.wait()).await??;
    Ok(wrong)
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    ensure!(Path::new("/proc/net/tcp").exists(), "this needs Linux");
    let authority = Authority::new()?;
    let (mut passed, mut failed) = (0, 0);
    for proxy in &PROXIES {
        // One service each, so that its connections are this proxy's.
        let setup = Setup::new()?;
        let service = setup.start(&[]).await?;
        let begun = std::time::Instant::now();
        match tried(proxy, &authority, service.address()).await {
            Ok(wrong) if wrong.is_empty() => {
                passed += 1;
                println!(
                    "{}: every refusal arrived ({:?})",
                    proxy.name,
                    begun.elapsed()
                );
            }
            Ok(wrong) => {
                failed += 1;
                println!("{}: {}", proxy.name, wrong.join("; "));
            }
            Err(error) => {
                failed += 1;
                println!("{}: {error:#}", proxy.name);
            }
        }
        let (status, log) = service.terminate().await?;
        ensure!(status.success(), "{log}");
    }
    println!("{passed} passed, {failed} failed");
    Ok(ExitCode::from(u8::from(failed > 0)))
}
