//! Hides the store's driver in a world: the real one, on real files, whose answers come when the world's dice
//! say, and who is sometimes in trouble, or dies.
//!
//! The real driver works on threads, whose answers would come in any order. Here each of its operations is
//! waited for on the spot, one at a time, and what it takes is time of the world: so a seed decides the order
//! of everything. (Group commit has its own tests in the store.)

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake};
use std::thread::Thread;
use std::time::Duration;

use store::driver::{Commit, Driver, Line, Pending, Query, Stats, Unit};
use store::value::Rows;
use store::{SqliteDriver, SqliteOptions, Store, StoreError};
use tokio::runtime::Runtime;
use tokio::sync::Mutex;
use tokio::time::sleep;

use crate::plan::Trouble;
use crate::shared::{Folder, keyring};
use crate::world::{Death, DiskState, World};

/// The runtime of all real drivers, apart from the worlds' own, which have no time.
fn beside() -> &'static Runtime {
    static BESIDE: OnceLock<Runtime> = OnceLock::new();
    BESIDE.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).build().unwrap()
    })
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for something on the spot: the world stands still meanwhile.
pub(crate) fn at_once<F: Future>(work: F) -> F::Output {
    let _beside = beside().enter();
    let mut work = pin!(tokio::task::unconstrained(work));
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = Context::from_waker(&waker);
    loop {
        match work.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// A new store's file. Making one takes longer than most lives of a process here.
fn new_file() -> &'static [u8] {
    static NEW: OnceLock<Vec<u8>> = OnceLock::new();
    NEW.get_or_init(|| {
        let folder = Folder::inside(&std::env::temp_dir());
        let path = folder.0.join("webhooks.db");
        let options = SqliteOptions { path: path.clone() };
        at_once(async {
            let store = Store::open_sqlite(options, keyring()).await.unwrap();
            store.close().await;
        });
        std::fs::read(path).unwrap()
    })
}

/// Makes a new store's file.
pub(crate) fn make(path: &Path) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, new_file()).unwrap();
}

/// The driver of one process.
pub(crate) struct Disk {
    world: Arc<World>,
    driver: SqliteDriver,
    /// One commit at a time, in the order in which they were asked for.
    turn: Mutex<()>,
}

/// What is to become of a commit.
struct Fate {
    before: Duration,
    lost: bool,
    unanswered: bool,
    after: Duration,
}

impl DiskState {
    fn strikes(&mut self, percent: u64) -> bool {
        percent > 0 && self.dice.any() % 100 < percent
    }

    fn fate(&mut self) -> Fate {
        let Trouble {
            lost,
            unanswered,
            slow,
            ..
        } = self.trouble;
        let mut below = |end: u64| Duration::from_millis(self.dice.any() % end);
        let (before, after) = (below(2 + slow), below(3));
        Fate {
            before,
            lost: self.strikes(lost),
            unanswered: self.strikes(unanswered),
            after,
        }
    }
}

impl Disk {
    /// Opens the file of the process of now.
    pub(crate) fn open(world: &Arc<World>, path: PathBuf) -> Self {
        let driver = at_once(SqliteDriver::open(SqliteOptions { path })).unwrap();
        Self {
            world: Arc::clone(world),
            driver,
            turn: Mutex::default(),
        }
    }

    async fn commit_by_turn(&self, line: Line, unit: Unit) -> Result<Commit, StoreError> {
        self.world.alive().await;
        if self.world.lock().disk.looking {
            return at_once(self.driver.commit(line, unit));
        }
        if line == Line::Publishing {
            let disk = &mut self.world.lock().disk;
            if disk.strikes(disk.trouble.full) {
                return Err(StoreError::Overloaded);
            }
        }
        let turn = self.turn.lock().await;
        let fate = self.world.lock().disk.fate();
        sleep(fate.before).await;
        self.world.alive().await;
        if fate.lost {
            return Err(StoreError::Unavailable("injected: not done".into()));
        }
        let (number, death) = {
            let disk = &mut self.world.lock().disk;
            disk.commits += 1;
            (disk.commits, disk.death)
        };
        if death == Some(Death::Before(number)) {
            self.world.die();
        }
        self.world.alive().await;
        let done = at_once(self.driver.commit(line, unit));
        self.world.tell(&format_args!("commit {number}: {done:?}"));
        if death == Some(Death::After(number)) {
            self.world.die();
        }
        self.world.alive().await;
        drop(turn);
        sleep(fate.after).await;
        self.world.alive().await;
        if fate.unanswered {
            return Err(StoreError::Unavailable("injected: not answered".into()));
        }
        done
    }

    async fn read_by_chance(&self, queries: Vec<Query>) -> Result<Vec<Rows>, StoreError> {
        self.world.alive().await;
        if self.world.lock().disk.looking {
            return at_once(self.driver.read(queries));
        }
        let (fails, takes) = {
            let disk = &mut self.world.lock().disk;
            (disk.strikes(disk.trouble.unreadable), disk.dice.any() % 3)
        };
        sleep(Duration::from_millis(takes)).await;
        self.world.alive().await;
        if fails {
            return Err(StoreError::Unavailable("injected: not read".into()));
        }
        let rows = at_once(self.driver.read(queries));
        sleep(Duration::from_millis(takes)).await;
        self.world.alive().await;
        rows
    }
}

impl Driver for Disk {
    fn commit(&self, line: Line, unit: Unit) -> Pending<'_, Result<Commit, StoreError>> {
        Box::pin(self.commit_by_turn(line, unit))
    }

    fn read(&self, queries: Vec<Query>) -> Pending<'_, Result<Vec<Rows>, StoreError>> {
        Box::pin(self.read_by_chance(queries))
    }

    fn close(&self) -> Pending<'_, ()> {
        Box::pin(async {
            self.world.alive().await;
            at_once(self.driver.close());
        })
    }

    fn stats(&self) -> Stats {
        self.driver.stats()
    }
}

/// A look at the store past all trouble, in no time. Nothing else goes on meanwhile.
pub(crate) fn look<F: Future>(world: &World, reading: F) -> F::Output {
    world.lock().disk.looking = true;
    let mut reading = pin!(tokio::task::unconstrained(reading));
    let mut context = Context::from_waker(std::task::Waker::noop());
    let polled = reading.as_mut().poll(&mut context);
    world.lock().disk.looking = false;
    match polled {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a look at the store takes no time"),
    }
}
