//! `vk-webhooks backup`: a whole copy beside a service under load, and on any failure a sentence and no file.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use vk_tests::{Api, Setup, SmallDisk, Storm, TempDir, eventually, member_removed, program, run};

/// Makes a store of so many megabytes, without an endpoint that would be sent them.
async fn fill(team: &Api, megabytes: usize) -> Result<()> {
    let mut data = member_removed();
    data["padding"] = "x".repeat(200_000).into();
    let event = json!({"type": "team.member_removed", "data": data});
    let batch = json!({"events": vec![event; 5]});
    for _ in 0..megabytes {
        team.call("POST", "/v1/events/batch", &batch, 202).await?;
    }
    Ok(())
}

fn files(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for file in std::fs::read_dir(folder)? {
        names.push(file?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_beside_a_loaded_service_holds_all_that_was_acknowledged() -> Result<()> {
    let setup = Setup::new()?;
    let service = setup.start(&[]).await?;
    let team = service.team("acme").await?;
    fill(&team, 30).await?;
    let inbox = setup.inbox().await?;
    team.endpoint(&inbox.url(), &[]).await?;
    // All that is acknowledged here has to be in it.
    let mut acknowledged = Vec::new();
    for _ in 0..20 {
        let event = team
            .publish("team.member_removed", &member_removed())
            .await?;
        acknowledged.push(event);
    }
    // And this goes on all the while.
    let load = Storm::begin(&team);
    load.progress(10).await;
    let folder = TempDir::new()?;
    let (target, url) = (folder.file("copy.db"), format!("sqlite:{}", setup.database));
    let made = run(&["backup", &target, "--database-url", &url], &[]).await?;
    assert_eq!(made.code, Some(0), "{made:?}");
    for said in [
        "Backed up",
        &target,
        " MB in ",
        " s, with ",
        "1 team",
        "checked",
        ".key",
    ] {
        assert!(made.out.contains(said), "{said}: {}", made.out);
    }
    load.progress(10).await;
    let later = load.end().await?;
    assert!(!later.is_empty());
    assert_eq!(files(folder.path())?, ["copy.db"]);
    let mode = std::fs::metadata(&target)?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // A second one with that name changes nothing.
    let size = std::fs::metadata(&target)?.len();
    ensure!(size > 30_000_000, "{size}");
    let again = run(&["backup", &target, "--database-url", &url], &[]).await?;
    assert_eq!(again.code, Some(1));
    assert!(
        again.err.contains("never writes over a file"),
        "{}",
        again.err
    );
    assert_eq!(std::fs::metadata(&target)?.len(), size);
    service.terminate().await?;

    // A service starts from it, and has what was acknowledged.
    let mut restored = Setup::new()?;
    std::fs::copy(&target, &restored.database)?;
    let key = format!("{}.key", setup.database);
    std::fs::copy(key, format!("{}.key", restored.database))?;
    restored.authority = setup.authority;
    std::fs::write(
        restored.folder.path().join("ca.pem"),
        restored.authority.pem(),
    )?;
    let service = restored.start(&[]).await?;
    let operator = service.operator_of("acme");
    for id in acknowledged {
        operator.get(&format!("/v1/events/{id}")).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_backup_that_cannot_be_made_says_why_and_leaves_no_file() -> Result<()> {
    let setup = Setup::new()?;
    let service = setup.start(&[]).await?;
    fill(&service.team("acme").await?, 4).await?;
    let folder = TempDir::new()?;
    let disk = SmallDisk::mount(1)?;
    let good = format!("sqlite:{}", setup.database);
    let foreign = folder.file("foreign.db");
    Connection::open(&foreign)?.execute_batch("CREATE TABLE t (x)")?;
    let newer = folder.file("newer.db");
    Connection::open(&newer)?.execute_batch(
        "CREATE TABLE t (x); PRAGMA application_id = 0x564b5748; PRAGMA user_version = 9999",
    )?;
    std::fs::write(folder.file("empty.db"), "")?;
    std::fs::write(
        folder.file("text.db"),
        "no database, but a text of some length\n".repeat(200),
    )?;
    std::fs::create_dir(folder.path().join("out"))?;
    let link = folder.path().join("out/link.db");
    std::os::unix::fs::symlink(folder.file("nowhere.db"), link)?;
    let target = folder.file("out/copy.db");
    let of = |name: &str| format!("sqlite:{}", folder.file(name));
    for (target, url, said) in [
        (&target, of("missing.db"), "There is no database"),
        (&target, of("out"), "is no file"),
        (&target, of("empty.db"), "is empty"),
        (&target, of("text.db"), "is not a database"),
        (&target, of("foreign.db"), "another program"),
        (&target, of("newer.db"), "newer version"),
        (
            &target,
            "postgres://user:secretpw@db/x".into(),
            "PostgreSQL",
        ),
        (
            &folder.file("none/copy.db"),
            good.clone(),
            "its folder does not exist",
        ),
        (
            &folder.file("text.db/copy.db"),
            good.clone(),
            "its folder does not exist",
        ),
        (
            &folder.file("text.db"),
            good.clone(),
            "never writes over a file",
        ),
        (
            &folder.file("out/link.db"),
            good.clone(),
            "never writes over a file",
        ),
        (
            &folder.file("out"),
            good.clone(),
            "never writes over a file",
        ),
        (&setup.database, good.clone(), "never writes over a file"),
        (&disk.file("copy.db"), good.clone(), "is full"),
    ] {
        let made = run(&["backup", target, "--database-url", &url], &[]).await?;
        assert_eq!(
            (made.code, made.out.as_str()),
            (Some(1), ""),
            "{url} {target}"
        );
        assert!(made.err.starts_with("error: "), "{}", made.err);
        assert!(made.err.contains(said), "{}", made.err);
        assert!(!made.err.contains("secretpw"), "{}", made.err);
    }
    assert_eq!(files(&folder.path().join("out"))?, ["link.db"]);
    assert_eq!(files(disk.path())?, [""; 0]);

    // The database may be named in each way that it is for `serve`.
    let config = folder.file("my.toml");
    std::fs::write(&config, format!("database_url = \"{good}\"\n"))?;
    for (number, (arguments, environment)) in [
        (vec!["--config", config.as_str()], vec![]),
        (vec![], vec![("VK_WEBHOOKS_CONFIG", config.as_str())]),
        (vec![], vec![("VK_WEBHOOKS_DATABASE_URL", good.as_str())]),
    ]
    .into_iter()
    .enumerate()
    {
        let target = folder.file(&format!("{number}.db"));
        let all = [vec!["backup", &target], arguments].concat();
        let made = run(&all, &environment).await?;
        assert_eq!(made.code, Some(0), "{}", made.err);
    }
    // And the service need not run.
    service.terminate().await?;
    let target = folder.file("stopped.db");
    let made = run(&["backup", &target, "--database-url", &good], &[]).await?;
    assert_eq!(made.code, Some(0), "{}", made.err);
    setup.start(&[]).await?;
    Ok(())
}

#[tokio::test]
async fn a_backup_of_a_damaged_database_is_refused() -> Result<()> {
    let setup = Setup::new()?;
    let service = setup.start(&[]).await?;
    fill(&service.team("acme").await?, 2).await?;
    service.terminate().await?;
    let mut bytes = std::fs::read(&setup.database)?;
    for byte in bytes.iter_mut().skip(4096) {
        *byte ^= 0x5a;
    }
    std::fs::write(&setup.database, bytes)?;
    let folder = TempDir::new()?;
    let url = format!("sqlite:{}", setup.database);
    let made = run(
        &["backup", &folder.file("copy.db"), "--database-url", &url],
        &[],
    )
    .await?;
    assert_eq!(made.code, Some(1), "{made:?}");
    assert!(made.err.contains("damaged"), "{}", made.err);
    assert_eq!(files(folder.path())?, [""; 0]);
    Ok(())
}

#[tokio::test]
async fn a_backup_that_is_stopped_removes_what_it_has_written() -> Result<()> {
    let setup = Setup::new()?;
    let service = setup.start(&[]).await?;
    fill(&service.team("acme").await?, 60).await?;
    let url = format!("sqlite:{}", setup.database);
    for signal in [Signal::INT, Signal::TERM] {
        // Where it was quicker than the signal, it has ended well: once more.
        for _ in 0..10 {
            let folder = TempDir::new()?;
            let mut command =
                program(&["backup", &folder.file("copy.db"), "--database-url", &url])?;
            command.stdout(Stdio::null()).stderr(Stdio::piped());
            let child = command.spawn()?;
            let partial = folder.path().join("copy.db.partial");
            eventually("it writes", async || {
                let made = partial.metadata().is_ok_and(|meta| meta.len() > 0);
                (made || folder.path().join("copy.db").exists()).then_some(())
            })
            .await;
            let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
            kill_process(pid.context("it runs")?, signal)?;
            let ended = tokio::time::timeout(Duration::from_secs(30), child.wait_with_output());
            let ended = ended.await??;
            if ended.status.success() {
                continue;
            }
            let said = String::from_utf8_lossy(&ended.stderr);
            assert_eq!(ended.status.code(), Some(1), "{said}");
            assert!(said.contains("was stopped, and no file was made"), "{said}");
            assert_eq!(files(folder.path())?, [""; 0]);
            break;
        }
    }
    Ok(())
}
