//! A place that cannot be written, a database file that is damaged or is none: a refusal to start that says
//! what to do and changes nothing, never a silent new database; and where damage shows only later, an error and
//! never a wrong answer.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rusqlite::Connection;
use serde_json::{Value, json};
use vk_tests::{
    Answer, Api, ReadOnlyFile, Service, Setup, SmallDisk, eventually, eventually_within, verify,
};

const PAGE: usize = 4096;

/// Publishes an event whose data is known by its number, and as long as that; its id.
async fn publish(team: &Api, number: usize, padding: usize) -> Result<String> {
    team.publish("team.member_removed", &data(number, padding))
        .await
}

fn data(number: usize, padding: usize) -> Value {
    json!({"teamId": "0198a6f0-3a5b-7c1d-9e2f-0123456789ab", "memberId": "0198a6f0-3a5b-7c1d-9e2f-0123456789ac",
        "email": format!("{number}@example.com"), "padding": "x".repeat(padding)})
}

/// A service that has lived a little: a team, an endpoint, events.
async fn lived(setup: &Setup) -> Result<Service> {
    let service = setup.start(&[]).await?;
    let team = service.team("acme").await?;
    let inbox = setup.inbox().await?;
    team.endpoint(&inbox.url(), &[]).await?;
    for number in 0..60 {
        publish(&team, number, 1000).await?;
    }
    inbox.wait_for(60).await;
    eventually("all are delivered", async || {
        let pending = team.deliveries("status=pending").await.ok()?;
        pending.is_empty().then_some(())
    })
    .await;
    Ok(service)
}

/// The store's files by name, with what is in them; none for a folder.
fn files(folder: &Path) -> Result<BTreeMap<String, Option<Vec<u8>>>> {
    let mut files = BTreeMap::new();
    for file in fs::read_dir(folder)? {
        let path = file?.path();
        let name = path
            .file_name()
            .context("a name")?
            .to_string_lossy()
            .into_owned();
        // The lock and what is shared in memory hold nothing.
        if name.starts_with("store.db") && !name.ends_with(".lock") && !name.ends_with("-shm") {
            let bytes = if path.is_dir() {
                None
            } else {
                Some(fs::read(&path)?)
            };
            // An empty log is none.
            if bytes.as_ref().is_none_or(|bytes| !bytes.is_empty()) || name == "store.db" {
                files.insert(name, bytes);
            }
        }
    }
    Ok(files)
}

/// Puts these files in place of all the store's.
fn put(folder: &Path, wanted: &BTreeMap<String, Option<Vec<u8>>>) -> Result<()> {
    for name in ["store.db", "store.db-wal", "store.db-shm", "store.db.key"] {
        let path = folder.join(name);
        if path.is_dir() {
            fs::remove_dir(&path)?;
        } else if path.exists() {
            fs::remove_file(&path)?;
        }
    }
    for (name, bytes) in wanted {
        fs::write(folder.join(name), bytes.as_deref().unwrap_or_default())?;
    }
    Ok(())
}

/// What is done to the files in a folder.
type Harm = fn(&Path) -> Result<()>;

/// Overwrites a part of the database.
fn overwrite(folder: &Path, at: usize, bytes: &[u8]) -> Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .open(folder.join("store.db"))?;
    Ok(file.write_all_at(bytes, at as u64)?)
}

fn pages(folder: &Path) -> Result<usize> {
    Ok(fs::metadata(folder.join("store.db"))?.len() as usize / PAGE)
}

fn cut(folder: &Path, to: usize) -> Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .open(folder.join("store.db"))?;
    Ok(file.set_len(to as u64)?)
}

fn other_database(folder: &Path, ours: bool) -> Result<()> {
    fs::remove_file(folder.join("store.db"))?;
    let database = Connection::open(folder.join("store.db"))?;
    database.execute_batch("CREATE TABLE recipes (name TEXT)")?;
    if ours {
        database.pragma_update(None, "application_id", 0x564b_5748)?;
        database.pragma_update(None, "user_version", 5)?;
    }
    Ok(())
}

/// What is done to the database of a service that was stopped, and what has to be said.
const STOPPED: [(&str, Harm, &str); 16] = [
    (
        "its header is zeroed",
        |it| overwrite(it, 0, &[0; 100]),
        "is not a database of this service",
    ),
    (
        "its first page is zeroed",
        |it| overwrite(it, 0, &[0; PAGE]),
        "is not a database of this service",
    ),
    (
        "its page size is nonsense",
        |it| overwrite(it, 16, &[3, 7]),
        "is damaged",
    ),
    (
        "its schema is overwritten",
        |it| overwrite(it, 200, &[0xa5; PAGE - 200]),
        "is damaged",
    ),
    (
        "a page in the middle is overwritten",
        |it| overwrite(it, pages(it)? / 2 * PAGE, &[0xa5; PAGE]),
        "is damaged",
    ),
    (
        "a page in the middle is zeroed",
        |it| overwrite(it, pages(it)? / 2 * PAGE, &[0; PAGE]),
        "is damaged",
    ),
    (
        "its last page is overwritten",
        |it| overwrite(it, (pages(it)? - 1) * PAGE, &[0xa5; PAGE]),
        "is damaged",
    ),
    (
        "it is cut to its half",
        |it| cut(it, pages(it)? / 2 * PAGE),
        "is damaged",
    ),
    (
        "it is cut inside a page",
        |it| cut(it, pages(it)? / 2 * PAGE + 100),
        "is damaged",
    ),
    ("it is cut to its header", |it| cut(it, 100), "is damaged"),
    (
        "it is cut inside its first word",
        |it| cut(it, 5),
        "is not a database of this service",
    ),
    (
        "it is a letter",
        |it| {
            Ok(fs::write(
                it.join("store.db"),
                "Dear database,\n".repeat(1000),
            )?)
        },
        "is not a database of this service",
    ),
    (
        "it is a folder",
        |it| {
            fs::remove_file(it.join("store.db"))?;
            Ok(fs::create_dir(it.join("store.db"))?)
        },
        "cannot be opened for reading and writing",
    ),
    (
        "it is another program's",
        |it| other_database(it, false),
        "is a database of another program",
    ),
    (
        "it says that it is ours, and has other tables",
        |it| other_database(it, true),
        "is damaged",
    ),
    (
        "its log is another program's file",
        |it| {
            Ok(fs::write(
                it.join("store.db-wal"),
                "Dear log,\n".repeat(1000),
            )?)
        },
        "is damaged at its beginning",
    ),
];

/// The same for one that was killed, so that its log holds what was written last.
const KILLED: [(&str, Harm, &str); 6] = [
    (
        "the log's header is garbage",
        |it| {
            let file = OpenOptions::new()
                .write(true)
                .open(it.join("store.db-wal"))?;
            Ok(file.write_all_at(&[0xa5; 32], 0)?)
        },
        "is damaged at its beginning",
    ),
    (
        "the database is emptied",
        |it| cut(it, 0),
        "is not there or empty",
    ),
    (
        "the database is gone",
        |it| Ok(fs::remove_file(it.join("store.db"))?),
        "is not there or empty",
    ),
    (
        "the database's header is zeroed",
        |it| overwrite(it, 0, &[0; 100]),
        "is not a database of this service",
    ),
    (
        "the database is a letter",
        |it| {
            Ok(fs::write(
                it.join("store.db"),
                "Dear database,\n".repeat(1000),
            )?)
        },
        "is not a database of this service",
    ),
    (
        "a page of the log is garbage inside, rightly summed",
        garble_a_table,
        "is damaged",
    ),
];

/// Damages a table by way of the log, as no cut of the power does: the sums are right.
fn garble_a_table(folder: &Path) -> Result<()> {
    let database = Connection::open(folder.join("store.db"))?;
    // The log has to stay as it is when this connection closes.
    database.set_db_config(
        rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE,
        true,
    )?;
    database.pragma_update(None, "writable_schema", true)?;
    database.execute(
        "UPDATE sqlite_schema SET rootpage = 3 WHERE name IN ('events', 'deliveries')",
        [],
    )?;
    Ok(())
}

/// Does each harm to a copy of the store, and sees that it is refused and stays as it is.
async fn refuse_all(setup: &Setup, harms: &[(&'static str, Harm, &str)]) -> Result<()> {
    let folder = setup.folder.path();
    let whole = files(folder)?;
    let mut slips = Vec::new();
    for (what, harm, tells) in harms {
        put(folder, &whole)?;
        harm(folder).context(*what)?;
        let before = files(folder)?;
        match setup.refusal(&[]).await {
            Err(error) => slips.push(format!("{what}: {error}")),
            Ok(told) if !told.contains(tells) => slips.push(format!("{what}: {told}")),
            Ok(told) if !told.contains(&setup.database) => slips.push(format!("{what}: {told}")),
            Ok(_) => {}
        }
        let after = files(folder)?;
        if after != before {
            let lengths = |files: &BTreeMap<String, Option<Vec<u8>>>| {
                let lengths = files
                    .iter()
                    .map(|(name, file)| (name.clone(), file.as_ref().map(Vec::len)));
                lengths.collect::<Vec<_>>()
            };
            slips.push(format!(
                "{what}: {:?} became {:?}",
                lengths(&before),
                lengths(&after)
            ));
        }
    }
    ensure!(
        slips.is_empty(),
        "{} slips:\n{}",
        slips.len(),
        slips.join("\n")
    );
    put(folder, &whole)
}

/// How many events the team has.
async fn total(service: &Service) -> Result<Value> {
    let operator = service.operator_of("acme");
    let events = operator.get("/v1/events?per_page=1").await?;
    Ok(events.json["meta"]["pagination"]["total"].clone())
}

#[tokio::test]
async fn a_damaged_database_is_refused_and_left_as_it_is() -> Result<()> {
    let setup = Setup::new()?;
    lived(&setup).await?.terminate().await?;
    refuse_all(&setup, &STOPPED).await?;
    // It was the harm: the copy itself is good.
    assert_eq!(total(&setup.start(&[]).await?).await?, 60);
    Ok(())
}

#[tokio::test]
async fn what_was_written_last_is_not_lost_in_silence() -> Result<()> {
    let setup = Setup::new()?;
    lived(&setup).await?.kill().await?;
    let log = setup.folder.path().join("store.db-wal");
    ensure!(log.metadata()?.len() > 100_000, "all of it is in the log");
    refuse_all(&setup, &KILLED).await?;
    // What is shared in memory is made anew from the log.
    fs::write(setup.folder.path().join("store.db-shm"), [0xa5; 32 << 10])?;
    assert_eq!(total(&setup.start(&[]).await?).await?, 60);
    Ok(())
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_named_and_works_once_it_can() -> Result<()> {
    let disk = SmallDisk::mount(8)?;
    let mut setup = Setup::new()?;
    setup.database = disk.file("store.db");
    lived(&setup).await?.terminate().await?;
    let before = files(disk.path())?;

    disk.set_read_only(true)?;
    let told = setup.refusal(&[]).await?;
    for part in [
        &setup.database,
        "Read-only file system",
        "See that its folder exists",
    ] {
        assert!(told.contains(part), "{part:?} is not in: {told}");
    }
    disk.set_read_only(false)?;
    assert!(files(disk.path())? == before, "it was left as it was");

    for name in ["store.db", "store.db.lock"] {
        let read_only = ReadOnlyFile::make(&disk.path().join(name))?;
        let told = setup.refusal(&[]).await?;
        for part in [&setup.database, "Read-only file system"] {
            assert!(told.contains(part), "{part:?} is not in: {told}");
        }
        drop(read_only);
        assert!(files(disk.path())? == before, "it was left as it was");
    }
    assert_eq!(total(&setup.start(&[]).await?).await?, 60);

    // Nor is one made where none can be.
    let nothing = SmallDisk::mount(1)?;
    nothing.set_read_only(true)?;
    setup.database = nothing.file("store.db");
    let told = setup.refusal(&[]).await?;
    assert!(told.contains("Read-only file system"), "{told}");
    Ok(())
}

/// A database larger than what is looked through wholly when it is opened.
const LARGE: usize = 40 << 20;
const LONG: usize = 250_000;
/// How a page begins that is a leaf of a tree of keys.
const LEAF: u8 = 0x0a;

#[tokio::test]
async fn damage_that_shows_later_is_an_error_and_never_a_wrong_answer() -> Result<()> {
    let setup = Setup::new()?;
    let service = setup.start(&[]).await?;
    let team = service.team("acme").await?;
    let inbox = setup.inbox().await?;
    let endpoint = team.endpoint(&inbox.url(), &[]).await?;
    let path = format!("/v1/webhook-endpoints/{}", endpoint.id);
    team.call("PATCH", &path, &json!({"paused": true}), 200)
        .await?;
    let mut events = Vec::new();
    for number in 0..LARGE / LONG {
        events.push(publish(&team, number, LONG).await?);
    }
    service.terminate().await?;
    let database = PathBuf::from(&setup.database);
    ensure!(database.metadata()?.len() > 36 << 20, "it is not large");
    for part in 1..6 {
        overwrite(
            setup.folder.path(),
            pages(setup.folder.path())? * part / 6 * PAGE,
            &[0xa5; PAGE],
        )?;
    }

    let service = setup.start(&[]).await?;
    let operator = service.operator_of("acme");
    let mut readable = BTreeSet::new();
    let mut refused = 0;
    for (number, event) in events.iter().enumerate() {
        let reply = operator
            .send("GET", &format!("/v1/events/{event}"), &[], "")
            .await?;
        match reply.status {
            200 => {
                assert_eq!(reply.data()["data"], data(number, LONG), "{number}");
                readable.insert(number);
            }
            503 => refused += 1,
            _ => panic!("{} {}", reply.status, reply.text),
        }
    }
    let right = readable.len();
    println!("figure: {right} events are right, {refused} are refused");
    assert!(refused > 0 && right > events.len() / 2, "{right} {refused}");
    assert!(service.log().contains("is damaged"), "{}", service.log());
    // All that can be read is sent, as it was published, and nothing else.
    operator
        .call("PATCH", &path, &json!({"paused": false}), 200)
        .await?;
    let mut sent = BTreeSet::new();
    // Some 40 MB: a while, in a debug build on a busy machine.
    let all = "all that can be read has arrived";
    let arrivals = eventually_within(Duration::from_secs(120), all, async || {
        (inbox.count() >= right).then(|| inbox.arrivals())
    });
    for arrival in arrivals.await {
        assert_eq!(verify(&arrival, &endpoint.secret), Ok(()));
        let body: Value = serde_json::from_slice(&arrival.body)?;
        let number = body["data"]["email"].as_str().context("an address")?;
        let number: usize = number.trim_end_matches("@example.com").parse()?;
        assert_eq!(body["data"], data(number, LONG));
        sent.insert(number);
    }
    assert_eq!(sent, readable);
    // What cannot be is told, stays owed, and holds up nothing that comes later.
    let later = publish(&operator, events.len(), LONG).await?;
    eventually("what came later is delivered", async || {
        let deliveries = operator.deliveries_of(&later).await.ok()?;
        (deliveries[0]["status"] == "delivered").then_some(())
    })
    .await;
    eventually("all outcomes are recorded", async || {
        let pending = operator.deliveries("status=pending").await.ok()?;
        (pending.len() == refused).then_some(())
    })
    .await;
    assert!(
        service
            .log()
            .contains("deliveries are due and cannot be sent"),
        "{}",
        service.log()
    );
    Ok(())
}

#[tokio::test]
async fn an_outcome_for_a_damaged_page_is_refused_alone_and_its_receiver_is_not_flooded()
-> Result<()> {
    let setup = Setup::new()?;
    let service = setup.start(&[]).await?;
    let team = service.team("acme").await?;
    let (inbox, silo) = (setup.inbox().await?, setup.inbox().await?);
    let mark = |number: usize| format!("this is the answer to number {number}");
    inbox.script((0..60).map(|number| Answer::status(200).with_body(mark(number))));
    team.endpoint(&inbox.url(), &["team.member_removed"])
        .await?;
    let mut deliveries = Vec::new();
    for number in 0..60 {
        let event = publish(&team, number, 100).await?;
        inbox.wait_for(number + 1).await; // so that each gets its own answer
        let made = team.deliveries_of(&event).await?;
        deliveries.push(made[0]["id"].as_str().context("an id")?.to_owned());
    }
    // So large that it is not looked through when it is opened.
    let held = team.endpoint(&silo.url(), &["team.member_joined"]).await?;
    let path = format!("/v1/webhook-endpoints/{}", held.id);
    team.call("PATCH", &path, &json!({"paused": true}), 200)
        .await?;
    for number in 0..LARGE / LONG {
        let mut joined = data(number, LONG);
        joined["role"] = json!("admin");
        team.publish("team.member_joined", &joined).await?;
    }
    service.terminate().await?;
    let bytes = fs::read(&setup.database)?;
    let holds = |page: &[u8], text: &str| {
        page.windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    // A leaf of the tree of attempts: all others go through what is above it.
    let leaf_of = |number: usize| {
        let mut pages = bytes.chunks(PAGE);
        pages.position(|page| page[0] == LEAF && holds(page, &mark(number)))
    };
    let broken = (20..40).find(|number| leaf_of(*number).is_some());
    let broken = broken.context("some attempt is on a leaf")?;
    let page = leaf_of(broken).context("it was found")?;
    let whole = (0..60).find(|number| leaf_of(*number).is_some_and(|other| other != page));
    let whole = whole.context("another attempt is on another leaf")?;
    overwrite(setup.folder.path(), page * PAGE, &[0xa5; PAGE])?;

    let service = setup.start(&[]).await?;
    let operator = service.operator_of("acme");
    let arrivals_of = |delivery: &str| {
        let arrivals = inbox.arrivals().into_iter();
        arrivals
            .filter(|arrival| arrival.header("x-vantagekit-delivery") == delivery)
            .count()
    };
    let retried = Instant::now();
    for number in [broken, whole] {
        let path = format!("/v1/deliveries/{}/retry", deliveries[number]);
        operator.call("POST", &path, &json!({}), 202).await?;
    }
    eventually("the one is attempted again and again", async || {
        (arrivals_of(&deliveries[broken]) > 3).then_some(())
    })
    .await;
    // What came before it, beside it and after it is recorded.
    publish(&operator, 60, 100).await?;
    eventually("all the others are recorded", async || {
        let mut open = operator.deliveries("status=pending").await.ok()?;
        open.extend(operator.deliveries("status=retrying").await.ok()?);
        (open.len() == 1 && open[0]["id"] == deliveries[broken]).then_some(())
    })
    .await;
    assert_eq!(
        operator.delivery(&deliveries[whole]).await?["attemptCount"],
        2
    );
    assert_eq!(arrivals_of(&deliveries[whole]), 2);
    // Once before, and then at 0, 1, 3, 7, 15 s, …
    let most = 2 + (retried.elapsed().as_secs() + 2).ilog2() as usize;
    let arrived = arrivals_of(&deliveries[broken]);
    assert!(arrived <= most, "it is flooded: {arrived} of {most}");
    let log = service.log();
    ensure!(log.contains("the store refused an outcome"), "{log}");
    Ok(())
}
