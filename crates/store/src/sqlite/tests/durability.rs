//! Nothing is answered or shown before it is on disk, and a disk that fails to keep it ends all of it.

use std::future::Future;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as blocking;

use tokio::sync::mpsc;

use super::super::*;
use super::Folder;
use super::commits::{keys, put};

/// The disk under a driver: says when it is asked to sync, and does so when it is told what comes of it.
struct Disk {
    asked: mpsc::UnboundedReceiver<()>,
    told: blocking::Sender<io::Result<()>>,
    /// From now on it syncs without asking.
    free: Arc<AtomicBool>,
}

impl Disk {
    async fn asked(&mut self) {
        self.asked.recv().await.unwrap();
    }

    fn is_asked(&mut self) -> bool {
        self.asked.try_recv().is_ok()
    }

    fn tell(&self, what: io::Result<()>) {
        self.told.send(what).unwrap();
    }
}

async fn driver_on_a_disk(folder: &Folder) -> (Arc<SqliteDriver>, Disk) {
    let (asks, asked) = mpsc::unbounded_channel();
    let (told, hears) = blocking::channel::<io::Result<()>>();
    let hears = Mutex::new(hears);
    let free = Arc::new(AtomicBool::new(false));
    let disk = Disk {
        asked,
        told,
        free: Arc::clone(&free),
    };
    let path = folder.0.join("store.db");
    let around = |sync: PutOnDisk| -> PutOnDisk {
        Box::new(move || {
            if !free.load(Ordering::Relaxed) {
                asks.send(()).unwrap();
                hears.lock().unwrap().recv().unwrap()?;
            }
            sync()
        })
    };
    let driver = SqliteDriver::open_with(SqliteOptions { path }, Bounds::default(), around);
    (Arc::new(driver.await.unwrap()), disk)
}

fn commit(
    driver: &Arc<SqliteDriver>,
    key: &str,
) -> tokio::task::JoinHandle<Result<Commit, StoreError>> {
    let (driver, unit) = (Arc::clone(driver), put(key));
    tokio::spawn(async move { driver.commit(Line::Recording, unit).await })
}

/// Whether it is still not done after a moment in which it could have been many times over.
async fn waits<T>(work: impl Future<Output = T> + Unpin) -> bool {
    tokio::time::timeout(Duration::from_millis(50), work)
        .await
        .is_err()
}

#[tokio::test]
async fn nothing_is_answered_or_shown_before_it_is_on_disk() {
    let folder = Folder::new();
    let (driver, mut disk) = driver_on_a_disk(&folder).await;
    let mut answer = commit(&driver, "first");
    disk.asked().await;
    let reader = Arc::clone(&driver);
    let mut read = tokio::spawn(async move { keys(&reader).await });
    assert!(waits(&mut answer).await, "it was answered too early");
    assert!(waits(&mut read).await, "it was shown too early");
    disk.tell(Ok(()));
    assert!(answer.await.unwrap().is_ok());
    assert_eq!(read.await.unwrap(), ["first"]);
    assert_eq!(
        keys(&driver).await,
        ["first"],
        "and reading waits for nothing"
    );
}

#[tokio::test]
async fn what_comes_while_the_disk_is_busy_is_committed_together_after_that() {
    let folder = Folder::new();
    let (driver, mut disk) = driver_on_a_disk(&folder).await;
    let first = commit(&driver, "first");
    disk.asked().await;
    let mut others: Vec<_> = ["b", "c"].map(|key| commit(&driver, key)).into();
    assert!(waits(&mut others[0]).await);
    others.push(commit(&driver, "d"));
    assert!(waits(&mut others[2]).await);
    assert!(!disk.is_asked(), "two syncs at a time");
    disk.tell(Ok(()));
    assert!(first.await.unwrap().is_ok());
    disk.asked().await;
    disk.tell(Ok(()));
    for other in others {
        assert!(other.await.unwrap().is_ok());
    }
    assert!(!disk.is_asked(), "one sync for all that came meanwhile");
    assert_eq!(keys(&driver).await, ["b", "c", "d", "first"]);
}

#[tokio::test]
async fn once_a_sync_failed_nothing_is_accepted_or_shown_until_the_file_is_opened_anew() {
    let folder = Folder::new();
    let (driver, mut disk) = driver_on_a_disk(&folder).await;
    let kept = commit(&driver, "kept");
    disk.asked().await;
    disk.tell(Ok(()));
    assert!(kept.await.unwrap().is_ok());
    assert!(waits(driver.failed()).await);

    let lost = commit(&driver, "lost");
    disk.asked().await;
    let behind = commit(&driver, "behind");
    disk.tell(Err(io::Error::other("no such sector")));
    disk.free.store(true, Ordering::Relaxed);
    for refused in [lost.await.unwrap(), behind.await.unwrap()] {
        let Err(StoreError::Unavailable(why)) = refused else {
            panic!("{refused:?}");
        };
        assert!(why.contains("started again"), "{why}");
    }
    assert_eq!(driver.failed().await, Fatal::Disk);
    let later = commit(&driver, "later").await.unwrap();
    assert!(
        matches!(later, Err(StoreError::Unavailable(_))),
        "{later:?}"
    );
    let read = driver.read(vec![Query::new("SELECT 1", [])]).await;
    assert!(matches!(read, Err(StoreError::Unavailable(_))));
    assert_eq!(driver.stats().commits, 1);
    let log = || folder.0.join("store.db-wal").metadata().unwrap().len();
    let before = log();
    driver.close().await;
    assert_eq!(log(), before, "closing copies nothing into the database");
}

#[tokio::test]
async fn a_panic_of_the_writer_is_told_and_answers_who_waits() {
    let folder = Folder::new();
    let path = folder.0.join("store.db");
    let breaks = Arc::new(AtomicBool::new(false));
    let broken = Arc::clone(&breaks);
    let around = |sync: PutOnDisk| -> PutOnDisk {
        Box::new(move || match broken.load(Ordering::Relaxed) {
            true => panic!("while syncing"),
            false => sync(),
        })
    };
    let driver = SqliteDriver::open_with(SqliteOptions { path }, Bounds::default(), around);
    let driver = Arc::new(driver.await.unwrap());
    assert!(commit(&driver, "kept").await.unwrap().is_ok());
    assert!(waits(driver.failed()).await);
    breaks.store(true, Ordering::Relaxed);
    assert!(commit(&driver, "lost").await.unwrap().is_err());
    assert_eq!(driver.failed().await, Fatal::Panic);
    breaks.store(false, Ordering::Relaxed);
    // What is in the queue is still written before the process ends.
    driver.close().await;
}
