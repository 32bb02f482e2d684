//! Hides the life of a world, from its first process to its last: each has a runtime of its own, and when it
//! dies, all that it was doing goes with that.

use std::sync::Arc;
use std::time::Duration;

use egress::Policy;
use store::Store;
use tokio::runtime::Builder;
use vk_engine::{Engine, EngineOptions};

use crate::disk::{self, Disk};
use crate::figures::Figures;
use crate::laws;
use crate::people;
use crate::plan::{Net, Plan, Trouble, What};
use crate::shared::keyring;
use crate::wire::Wires;
use crate::world::{Death, ProcessClock, Story, World};

/// How long a world may take to come to rest after its last step.
const PATIENCE: u64 = 6 * 3600 * 1000;
/// How long a world that is at rest is watched after it was opened once more.
const WATCH: Duration = Duration::from_secs(40);

/// How long a service has to stop, in milliseconds.
const GRACE: u64 = 15_000;

/// How a process ended.
enum End {
    /// It is to be started again, after so many milliseconds.
    Again(u64),
    /// All steps are done, and all laws were looked at.
    AtRest,
    /// Nothing more was done after that.
    StillAtRest,
}

/// What a world came to.
pub(crate) struct Life {
    pub(crate) violations: Vec<String>,
    pub(crate) figures: Figures,
    /// All that happened, where it is kept.
    pub(crate) story: Vec<String>,
}

/// Lives a whole world through.
pub(crate) fn live(plan: Plan, death: Option<Death>, story: Story) -> Life {
    let world = World::new(plan, death, story);
    let mut at_rest = false;
    disk::make(&world.file(0));
    loop {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().unwrap();
        let (end, disk) = runtime.block_on(process(&world, at_rest));
        drop(runtime); // and with it every task
        drop(disk); // its files are no longer of interest
        match end {
            End::Again(_) => {}
            End::AtRest => at_rest = true,
            End::StillAtRest => break,
        }
        if !world.violations().is_empty() {
            break; // what follows would mostly be about the same
        }
    }
    let state = world.lock();
    let figures = Figures::of(&world.plan, &state);
    drop(state);
    Life {
        violations: world.violations(),
        figures,
        story: world.story(),
    }
}

/// One process, to its end.
async fn process(world: &Arc<World>, at_rest: bool) -> (End, Arc<Disk>) {
    world.begin();
    let disk = Arc::new(Disk::open(world, world.file_of_now()));
    let mut down = 1_000;
    let end = tokio::select! {
        biased;
        () = world.death() => End::Again(0),
        end = work(world, &disk, at_rest, &mut down) => end,
    };
    if let End::Again(after) = end {
        down = down.max(after);
    }
    world.end(down);
    (end, disk)
}

async fn work(world: &Arc<World>, disk: &Arc<Disk>, at_rest: bool, down: &mut u64) -> End {
    let engine = start(world, disk).await;
    if at_rest {
        let before = world.lock().wire.requests.len();
        tokio::time::sleep(WATCH).await;
        let after = world.lock().wire.requests.len();
        if after > before {
            world.violation(format_args!(
                "{} requests after all was done",
                after - before
            ));
        }
        stop(world, &engine, GRACE).await;
        return End::StillAtRest;
    }
    people::settle_in(world, &engine).await;
    while let Some(step) = world.next_step() {
        let step = &world.plan.steps[step];
        world.sleep_until(step.at).await;
        world.tell(&format_args!("{:?}", step.what));
        match step.what.clone() {
            What::Act(act) => {
                let act = people::act(Arc::clone(world), engine.clone(), act);
                tokio::spawn(world.watched(act));
            }
            What::Disk(trouble) => world.set_trouble(trouble),
            What::Net(net) => world.set_net(net),
            What::Clock(step) => world.set_clock(step),
            What::Crash { down: so_long } => {
                *down = so_long;
                world.die();
                std::future::pending::<()>().await;
            }
            What::Restart {
                grace,
                down: so_long,
            } => {
                *down = so_long;
                stop(world, &engine, grace).await;
                return End::Again(so_long);
            }
        }
    }
    world.set_trouble(Trouble::default());
    world.set_net(Net::Well);
    come_to_rest(world, &engine).await;
    if tokio::time::timeout(Duration::ZERO, engine.broken())
        .await
        .is_ok()
    {
        world.violation("a part of the engine panicked");
    }
    laws::check(world, &engine);
    stop(world, &engine, GRACE).await;
    End::AtRest
}

async fn start(world: &Arc<World>, disk: &Arc<Disk>) -> Engine {
    // Nobody starts a service on a disk in trouble: that it refuses then has its own tests.
    let trouble = std::mem::take(&mut world.lock().disk.trouble);
    let driver = Arc::clone(disk) as _;
    let store = Store::with_driver(driver, keyring()).await.unwrap();
    let limits = world.plan.limits;
    let options = EngineOptions {
        policy: Policy::default(),
        max_in_flight: limits.all,
        max_in_flight_per_team: limits.team,
        max_in_flight_per_endpoint: limits.endpoint,
        ..EngineOptions::default()
    };
    let wires = Arc::new(Wires {
        world: Arc::clone(world),
        codec: store.codec().clone(),
    });
    let clock = Arc::new(ProcessClock::new(world));
    let engine = Engine::start(store, wires, clock, options).await.unwrap();
    world.lock().disk.trouble = trouble;
    engine
}

/// Stops a process as an operator does. Its files go on to the next one.
async fn stop(world: &Arc<World>, engine: &Engine, grace: u64) {
    let asked = world.now();
    engine.stop(Duration::from_millis(grace)).await;
    engine.store().close().await;
    world.hand_over();
    let mut state = world.lock();
    let now = state.now();
    state.down.push((asked, now));
    // With enough time on a good disk whatever was in flight is recorded.
    let cut = grace < GRACE || state.disk.trouble != Trouble::default();
    if let Some(process) = state.processes.last_mut() {
        process.ended = Some((now, cut));
    }
}

/// Waits until nothing is left to be done.
async fn come_to_rest(world: &Arc<World>, engine: &Engine) {
    let until = world.now() + PATIENCE;
    // Also the rows of what was accepted last, and of what was in doubt.
    tokio::time::sleep(Duration::from_secs(8)).await;
    loop {
        let mut rest = laws::at_rest(engine).await;
        if rest.is_ok() {
            // What had just ended may be being recorded.
            tokio::time::sleep(Duration::from_millis(100)).await;
            rest = laws::at_rest(engine).await;
        }
        match rest {
            Ok(()) => return,
            Err(wrong) if world.now() > until => {
                world.violation(format_args!("the world does not come to rest: {wrong}"));
                return;
            }
            Err(_) => tokio::time::sleep(Duration::from_secs(5)).await,
        }
    }
}
