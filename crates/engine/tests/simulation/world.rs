//! Hides what outlives the processes of a simulated world: its time, its files, what was seen of it, and how
//! a process dies.

use std::fmt::Display;
use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use model::time::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;
use vk_engine::Clock;

use crate::ledger::Ledger;
use crate::plan::{Net, Plan, Trouble};
use crate::random::Random;
use crate::shared::{Folder, START};
use crate::wire::Wire;

/// How long after trouble everything may still be late: the longest that the engine waits before it tries
/// again to read or to write, and some time to catch up.
const AFTERMATH: u64 = 7_000;

/// How long after the service could not send everything may still be late: a try that began before the end goes
/// on until its deadline, and the others follow it.
const AFTER_SILENCE: u64 = 12_000;

/// How long a process may take until it works.
const STARTING: u64 = 500;

/// A world. Its processes come and go.
pub(crate) struct World {
    pub(crate) plan: Plan,
    folder: Folder,
    state: Mutex<State>,
    dead: AtomicBool,
    died: Notify,
    /// A task of the test's own panicked.
    panicked: Arc<AtomicBool>,
    story: Story,
}

/// What becomes of all that happens in a world, step by step.
pub(crate) enum Story {
    Untold,
    Printed,
    Kept(Mutex<Vec<String>>),
}

/// At which commit the process dies, counted from 1 over the whole life of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    Before(u64),
    After(u64),
}

/// What is known of a world.
pub(crate) struct State {
    /// Milliseconds gone by when the process of now began, and that moment by its clock.
    base: u64,
    began: Option<Instant>,
    /// How far the wall clock is from where it would be had nobody set it, in milliseconds.
    pub(crate) wall_offset: i64,
    pub(crate) ledger: Ledger,
    pub(crate) wire: Wire,
    pub(crate) disk: DiskState,
    pub(crate) processes: Vec<Process>,
    pub(crate) deaths: u64,
    next_step: usize,
    /// When there was no process.
    pub(crate) down: Vec<(u64, u64)>,
    /// When the store was in trouble, or things were still late from that.
    pub(crate) troubled: Vec<(u64, u64)>,
    /// Whether it can send, and since when.
    pub(crate) net: (Net, u64),
    /// When it could not send, or things were still late from that.
    pub(crate) cut_off: Vec<(u64, u64)>,
    violations: Vec<String>,
}

/// How the store's disk is.
pub(crate) struct DiskState {
    pub(crate) trouble: Trouble,
    since: u64,
    pub(crate) dice: Random,
    pub(crate) commits: u64,
    pub(crate) death: Option<Death>,
    /// Reads and writes are the test's own: at once, and well.
    pub(crate) looking: bool,
}

/// One process of a world.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process {
    pub(crate) began: u64,
    /// What its steady clock shows at the beginning of the world's time.
    pub(crate) steady_zero: Timestamp,
    /// When it ended, and whether what was in flight then was cut off.
    pub(crate) ended: Option<(u64, bool)>,
}

impl State {
    pub(crate) fn now(&self) -> u64 {
        self.base + self.began.map_or(0, |began| millis(began.elapsed()))
    }

    pub(crate) fn wall(&self) -> Timestamp {
        Timestamp::from_millis(START.as_millis() + self.now() as i64 + self.wall_offset)
    }

    /// The number of the process of now.
    pub(crate) fn process(&self) -> usize {
        self.processes.len() - 1
    }

    /// Whether the store was in trouble at some time between these.
    pub(crate) fn was_troubled(&self, from: u64, to: u64) -> bool {
        self.troubled
            .iter()
            .any(|(begin, end)| *begin <= to && from <= *end)
    }

    pub(crate) fn violation(&mut self, law: impl Display) {
        let now = self.now();
        // The first says most, and one that breaks for good breaks all the time.
        if self.violations.len() < 20 {
            self.violations.push(format!("at {now} ms: {law}"));
        }
    }
}

pub(crate) fn millis(span: Duration) -> u64 {
    span.as_millis() as u64
}

impl World {
    pub(crate) fn new(plan: Plan, death: Option<Death>, story: Story) -> Arc<Self> {
        let dice = Random::new(plan.seed ^ 0xD15C);
        let state = State {
            base: 0,
            began: None,
            wall_offset: 0,
            ledger: Ledger::default(),
            wire: Wire::default(),
            disk: DiskState {
                trouble: Trouble::default(),
                since: 0,
                dice,
                commits: 0,
                death,
                looking: false,
            },
            processes: Vec::new(),
            deaths: 0,
            next_step: 0,
            down: Vec::new(),
            troubled: Vec::new(),
            net: (Net::Well, 0),
            cut_off: Vec::new(),
            violations: Vec::new(),
        };
        Arc::new(Self {
            plan,
            folder: Folder::inside(&fast_folder()),
            state: Mutex::new(state),
            dead: AtomicBool::new(false),
            died: Notify::new(),
            panicked: Arc::default(),
            story,
        })
    }

    /// What is known, held still. Not across a wait, and not while the engine is asked for anything.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn now(&self) -> u64 {
        self.lock().now()
    }

    pub(crate) fn violation(&self, law: impl Display) {
        self.tell(&format_args!("VIOLATION: {law}"));
        self.lock().violation(law);
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        if self.panicked.load(Ordering::Relaxed) {
            return vec!["a task of the test panicked".into()];
        }
        self.lock().violations.clone()
    }

    /// Work of the test's own, which nobody waits for.
    pub(crate) fn watched<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        let watch = Watch(Arc::clone(&self.panicked));
        async move {
            let _watch = watch;
            work.await
        }
    }

    /// Says what happens, where somebody listens.
    pub(crate) fn tell(&self, what: &dyn Display) {
        let line = || format!("{:>12.3} s  {what}", self.now() as f64 / 1000.0);
        match &self.story {
            Story::Untold => {}
            Story::Printed => println!("{}", line()),
            Story::Kept(lines) => lines.lock().unwrap().push(line()),
        }
    }

    /// What has happened, where it is kept.
    pub(crate) fn story(&self) -> Vec<String> {
        match &self.story {
            Story::Untold | Story::Printed => Vec::new(),
            Story::Kept(lines) => lines.lock().unwrap().clone(),
        }
    }

    /// The store's file in the folder of the process of this number.
    pub(crate) fn file(&self, process: usize) -> PathBuf {
        self.folder.0.join(format!("{process}/webhooks.db"))
    }

    /// Where the store of the process of now is.
    pub(crate) fn file_of_now(&self) -> PathBuf {
        let process = self.lock().process();
        self.file(process)
    }

    /// A process begins. Within its runtime.
    pub(crate) fn begin(&self) {
        let mut state = self.lock();
        self.dead.store(false, Ordering::Relaxed);
        state.began = Some(Instant::now());
        let (began, wall) = (state.base, state.wall());
        state.processes.push(Process {
            began,
            steady_zero: wall.before(Duration::from_millis(began)),
            ended: None,
        });
        state.wire.all_gone();
        let before = state.processes.iter().rev().nth(1);
        if let Some((ended, _)) = before.and_then(|before| before.ended) {
            state.down.push((ended, began + STARTING));
        }
    }

    /// A process has ended; the next one begins so much later. Within its runtime.
    pub(crate) fn end(&self, down: u64) {
        let mut state = self.lock();
        let now = state.now();
        state.base = now + down;
        state.began = None;
    }

    /// The process dies now: of its files there is what there is at this moment.
    pub(crate) fn die(&self) {
        self.tell(&"the process dies");
        let mut state = self.lock();
        let (process, now) = (state.process(), state.now());
        state.processes[process].ended = Some((now, true));
        state.deaths += 1;
        drop(state);
        self.dead.store(true, Ordering::Relaxed);
        self.hand_over();
        self.died.notify_one();
    }

    /// The next process gets the files of this one as they are now.
    pub(crate) fn hand_over(&self) {
        let process = self.lock().process();
        let (from, to) = (self.file(process), self.file(process + 1));
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        for name in ["webhooks.db", "webhooks.db-wal"] {
            let file = from.with_file_name(name);
            if file.exists() {
                std::fs::copy(file, to.with_file_name(name)).unwrap();
            }
        }
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Waits until the process dies.
    pub(crate) async fn death(&self) {
        self.died.notified().await;
    }

    /// Goes on only if the process is alive.
    pub(crate) async fn alive(&self) {
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }

    /// The number of the next step of the plan; it is not taken again.
    pub(crate) fn next_step(&self) -> Option<usize> {
        let mut state = self.lock();
        let step = state.next_step;
        (step < self.plan.steps.len()).then(|| {
            state.next_step += 1;
            step
        })
    }

    pub(crate) async fn sleep_until(&self, at: u64) {
        let wait = at.saturating_sub(self.now());
        if wait > 0 {
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
    }

    /// The store's disk behaves like this from now on.
    pub(crate) fn set_trouble(&self, trouble: Trouble) {
        let mut state = self.lock();
        let now = state.now();
        let (before, since) = (state.disk.trouble, state.disk.since);
        if before != Trouble::default() {
            state.troubled.push((since, now + before.slow + AFTERMATH));
        }
        (state.disk.trouble, state.disk.since) = (trouble, now);
    }

    /// The service can or cannot send from now on.
    pub(crate) fn set_net(&self, net: Net) {
        let mut state = self.lock();
        let now = state.now();
        let (before, since) = std::mem::replace(&mut state.net, (net, now));
        if before != Net::Well {
            state.cut_off.push((since, now + AFTER_SILENCE));
        }
    }

    pub(crate) fn set_clock(&self, step: i64) {
        self.lock().wall_offset += step;
    }
}

/// Notes that the task holding it panicked.
struct Watch(Arc<AtomicBool>);

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

/// Memory, where there is a folder in it: nothing here asks what a disk keeps.
fn fast_folder() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() {
        memory
    } else {
        std::env::temp_dir()
    }
}

/// The clocks of one process: the wall's, which anybody may set, and a steady one.
pub(crate) struct ProcessClock {
    world: Arc<World>,
    steady_zero: Timestamp,
}

impl ProcessClock {
    pub(crate) fn new(world: &Arc<World>) -> Self {
        let state = world.lock();
        Self {
            world: Arc::clone(world),
            steady_zero: state.processes[state.process()].steady_zero,
        }
    }
}

impl Clock for ProcessClock {
    fn now(&self) -> Timestamp {
        self.world.lock().wall()
    }

    fn steady(&self) -> Timestamp {
        let now = Duration::from_millis(self.world.now());
        self.steady_zero.after(now)
    }
}
