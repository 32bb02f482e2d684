//! Every block of docs/operating.md does what the page says: the shell's are run beside a loaded service, with the
//! page's folders replaced by those of the test. A block that no rule is for fails the test.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use tokio::process::Command;
use vk_tests::{
    Block, OPERATOR_KEY, Service, Setup, Storm, TempDir, operating_blocks, program, run,
};

/// What is done with a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// Run beside a loaded service, which has to go on.
    Beside,
    /// Run while the service is stopped, which then starts again.
    Stopped,
    /// A unit of systemd, which would need the machine's own: read, and what it starts is started.
    Unit,
    /// A socket of systemd, which would need the machine's own: read. tests/start.rs passes such a listener.
    Socket,
    /// A proxy's, which needs that program: `cargo xtask test --only proxies` runs it.
    Proxy,
    /// Settings of ours: a service starts with them.
    Settings,
}

/// The rule for each block, by its language and something that stands in it.
const RULES: &[(&str, &str, Rule)] = &[
    ("ini", "[Service]", Rule::Unit),
    ("ini", "[Socket]", Rule::Socket),
    ("nginx", "upstream", Rule::Proxy),
    ("caddyfile", "reverse_proxy", Rule::Proxy),
    ("haproxy", "backend", Rule::Proxy),
    ("apache", "ProxyPass", Rule::Proxy),
    ("toml", "public_url", Rule::Settings),
    (
        "sh",
        "vk-webhooks backup /backup/vk-webhooks.db",
        Rule::Beside,
    ),
    ("sh", "-mtime +14 -delete", Rule::Beside),
    ("sh", "sqlite3 -readonly", Rule::Beside),
    ("sh", "chown --reference", Rule::Stopped),
    ("sh", "openssl rand", Rule::Stopped),
];

/// The folders of the page, and where they are here.
struct Machine {
    root: TempDir,
    programs: PathBuf,
}

impl Machine {
    const FOLDERS: [&str; 3] = ["/var/lib/vk-webhooks", "/backup", "/etc"];

    fn new() -> Result<Self> {
        let root = TempDir::new()?;
        for folder in Self::FOLDERS {
            std::fs::create_dir_all(root.path().join(&folder[1..]))?;
        }
        let test = std::env::current_exe()?;
        let programs = test.parent().and_then(Path::parent).context("a folder")?;
        Ok(Self {
            programs: programs.to_owned(),
            root,
        })
    }

    fn path(&self, path: &str) -> String {
        self.root.path().join(&path[1..]).display().to_string()
    }

    /// The text with the page's folders replaced by those here.
    fn fitted(&self, text: &str) -> String {
        Self::FOLDERS.iter().fold(text.to_owned(), |text, folder| {
            let whole = format!("{}/", self.path(folder));
            // Where a path begins, and nowhere else.
            let text = [" ", "\"", "=", ":", "'"]
                .iter()
                .fold(text, |text, before| {
                    text.replace(&format!("{before}{folder}/"), &format!("{before}{whole}"))
                });
            text.replace(&format!(" {folder} "), &format!(" {} ", self.path(folder)))
                .replace(
                    &format!(" {folder}\n"),
                    &format!(" {}\n", self.path(folder)),
                )
        })
    }

    /// Runs a block of the shell in the store's folder; it has to end well, within a minute.
    async fn shell(&self, block: &Block) -> Result<String> {
        let script = self.fitted(&block.text);
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &script])
            .current_dir(self.path("/var/lib/vk-webhooks"))
            .env("PATH", format!("{}:{path}", self.programs.display()))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let ended = tokio::time::timeout(std::time::Duration::from_secs(60), shell.output());
        let ended = ended.await.context("it did not end within a minute")??;
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        ensure!(
            ended.status.success(),
            "{}: {}",
            ended.status,
            said(&ended.stderr)
        );
        Ok(said(&ended.stdout))
    }
}

fn rule_for(block: &Block) -> Result<Rule> {
    let fits = |(language, has, _): &&(&str, &str, Rule)| {
        block.language == *language && block.text.contains(has)
    };
    let mut rules = RULES.iter().filter(fits);
    match (rules.next(), rules.next()) {
        (Some((_, _, rule)), None) => Ok(*rule),
        (None, _) => bail!(
            "no rule is for the block at line {}: {}",
            block.line,
            block.text
        ),
        (Some(one), Some(two)) => bail!(
            "{one:?} and {two:?} are for the block at line {}",
            block.line
        ),
    }
}

#[test]
fn there_is_a_rule_for_each_block_and_a_block_for_each_rule() -> Result<()> {
    let blocks = operating_blocks()?;
    for block in &blocks {
        rule_for(block)?;
    }
    for (language, has, _) in RULES {
        let found = |block: &&Block| block.language == *language && block.text.contains(has);
        assert_eq!(blocks.iter().filter(found).count(), 1, "{language}: {has}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_shell_block_does_what_it_says_beside_a_loaded_service() -> Result<()> {
    let machine = Machine::new()?;
    let mut setup = Setup::new()?;
    setup.database = machine.path("/var/lib/vk-webhooks/store.db");
    let config = machine.path("/etc/vk-webhooks.toml");
    std::fs::write(
        &config,
        format!("database_url = \"sqlite:{}\"\n", setup.database),
    )?;
    let mut service = setup.start(&["--config", &config]).await?;
    let team = service.team("acme").await?;
    let inbox = setup.inbox().await?;
    team.endpoint(&inbox.url(), &[]).await?;
    let storm = Storm::begin(&team);
    storm.progress(20).await;
    for block in operating_blocks()?
        .iter()
        .filter(|block| block.language == "sh")
    {
        let at = || format!("the block at line {} of docs/operating.md", block.line);
        if rule_for(block)? == Rule::Stopped {
            service.terminate().await?;
            storm.down();
            machine.shell(block).await.with_context(at)?;
            service = setup.start(&["--config", &config]).await.with_context(at)?;
            storm.up(&team.moved_to(service.address()));
        } else {
            machine.shell(block).await.with_context(at)?;
        }
        storm.progress(5).await;
    }
    storm.end().await?;
    came_true(&machine, &service).await
}

/// What the blocks should have led to.
async fn came_true(machine: &Machine, service: &Service) -> Result<()> {
    let mut backups: Vec<String> = Vec::new();
    for file in std::fs::read_dir(machine.path("/backup"))? {
        backups.push(file?.file_name().to_string_lossy().into_owned());
    }
    backups.sort();
    assert_eq!(backups.len(), 2, "{backups:?}");
    assert!(
        backups[0].starts_with("vk-webhooks-20") && backups[1] == "vk-webhooks.db",
        "{backups:?}"
    );
    let store = machine.path("/var/lib/vk-webhooks");
    assert!(Path::new(&store).join("replaced/store.db").exists());
    let keys = std::fs::read_to_string(Path::new(&store).join("store.db.key"))?;
    assert_eq!(keys.lines().count(), 2, "a new key above the old one");
    for key in keys.lines() {
        assert!(!service.log().contains(key.trim()));
    }
    assert!(
        service.log().contains("were sealed with the current key"),
        "{}",
        service.log()
    );
    Ok(())
}

#[tokio::test]
async fn the_unit_is_one_and_what_it_starts_starts() -> Result<()> {
    let blocks = operating_blocks()?;
    let block = blocks
        .iter()
        .find(|block| rule_for(block).is_ok_and(|rule| rule == Rule::Unit))
        .context("the unit")?;
    let mut section = String::new();
    let mut settings = Vec::new();
    for line in block.text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            name.clone_into(&mut section);
            continue;
        }
        let (key, value) = line
            .split_once('=')
            .with_context(|| format!("{line:?} in the unit"))?;
        settings.push((section.clone(), key.to_owned(), value.to_owned()));
    }
    let of = |wanted: &str| {
        let found = settings.iter().filter(|(_, key, _)| key == wanted);
        found
            .map(|(_, _, value)| value.as_str())
            .collect::<Vec<_>>()
    };
    for section in ["Unit", "Service", "Install"] {
        assert!(settings.iter().any(|(of, _, _)| of == section), "{section}");
    }
    // Of systemd there may be none here, or one that looks at the machine's own files: what it says of ours counts.
    let folder = TempDir::new()?;
    let unit = folder.file("vk-webhooks.service");
    let here = std::env::current_exe()?;
    std::fs::write(
        &unit,
        block
            .text
            .replace("/usr/local/bin/vk-webhooks", &here.display().to_string()),
    )?;
    if let Ok(verified) = Command::new("systemd-analyze")
        .args(["verify", &unit])
        .output()
        .await
    {
        let said = String::from_utf8_lossy(&verified.stderr);
        let ours: Vec<&str> = said
            .lines()
            .filter(|line| line.contains("vk-webhooks.service:"))
            .collect();
        assert!(ours.is_empty(), "{ours:?}");
    }
    let machine = Machine::new()?;
    let defaults = run(&["config"], &[]).await?.out;
    std::fs::write(machine.path("/etc/vk-webhooks.toml"), defaults)?;
    let starts = machine.fitted(of("ExecStart")[0]);
    let words: Vec<&str> = starts.split(' ').collect();
    assert_eq!(words[0], "/usr/local/bin/vk-webhooks");
    let variables: Vec<String> = of("Environment")
        .iter()
        .map(|value| machine.fitted(value))
        .collect();
    let mut command = program(&[&words[1..], &["--listen", "127.0.0.1:0"]].concat())?;
    command.env("VK_WEBHOOKS_ADMIN_KEY", OPERATOR_KEY);
    for variable in &variables {
        let (name, value) = variable.split_once('=').context("a variable")?;
        command.env(name, value);
    }
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let database = machine.path("/var/lib/vk-webhooks/store.db");
    vk_tests::eventually("it has made its database", async || {
        Path::new(&database).exists().then_some(())
    })
    .await;
    assert!(child.try_wait()?.is_none(), "it runs");
    child.kill().await?;
    Ok(())
}

#[tokio::test]
async fn the_socket_listens_where_the_service_would() -> Result<()> {
    let blocks = operating_blocks()?;
    let block = blocks
        .iter()
        .find(|block| rule_for(block).is_ok_and(|rule| rule == Rule::Socket))
        .context("the socket")?;
    let listens = block
        .text
        .lines()
        .find_map(|line| line.strip_prefix("ListenStream="))
        .context("ListenStream")?;
    let defaults = run(&["config"], &[]).await?.out;
    assert!(
        defaults.contains(&format!("listen = \"{listens}\"")),
        "{listens} is not the default of the setting listen"
    );
    Ok(())
}

#[tokio::test]
async fn the_settings_are_settings() -> Result<()> {
    let blocks = operating_blocks()?;
    let block = blocks
        .iter()
        .find(|block| block.language == "toml")
        .context("the settings")?;
    let setup = Setup::new()?;
    let settings = block.fitted(&[("127.0.0.1:9464", "127.0.0.1:0")])?;
    let config = setup.folder.file("settings.toml");
    std::fs::write(&config, settings)?;
    let service = setup.start(&["--config", &config]).await?;
    service.team("acme").await?;
    let operator = service.operator();
    let link = operator
        .call("POST", "/v1/teams/acme/settings-link", &json!({}), 201)
        .await?;
    let url = link.data()["url"].as_str().unwrap_or_default().to_owned();
    assert!(url.starts_with("https://webhooks.example.com/"), "{url}");
    assert!(
        service.log().contains("metrics are at http://127.0.0.1:"),
        "{}",
        service.log()
    );
    Ok(())
}

#[test]
fn each_proxy_of_the_page_is_tried_by_its_check() -> Result<()> {
    let check = include_str!("../examples/proxies.rs");
    for (language, _, rule) in RULES {
        if *rule == Rule::Proxy {
            assert!(
                check.contains(&format!("name: \"{language}\"")),
                "{language}"
            );
        }
    }
    Ok(())
}
