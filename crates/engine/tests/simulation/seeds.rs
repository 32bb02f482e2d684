//! Hides how many worlds are lived through, and how one that fails is told.
//!
//! `VK_SIMULATION_SEEDS` says how many (1,000), `VK_SIMULATION_FIRST` with which seed they begin (1), and
//! `VK_SIMULATION_SEED` names a single one, which is told step by step.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::figures::Figures;
use crate::plan::Plan;
use crate::process::{Life, live};

/// After so many worlds that broke a law no other is begun.
const ENOUGH: usize = 5;

pub(crate) fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")),
    )
}

/// Does `work` with the numbers from `first` on, `count` of them, on all processors; what it returned, in no order.
pub(crate) fn on_all_processors<T: Send>(
    first: u64,
    count: u64,
    work: impl Fn(u64) -> Option<T> + Sync,
) -> Vec<T> {
    let (next, found) = (AtomicU64::new(first), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= first.saturating_add(count) {
                        return;
                    }
                    if let Some(one) = work(number) {
                        found.lock().unwrap().push(one);
                    }
                }
            });
        }
    });
    found.into_inner().unwrap()
}

/// Lives a world through, a panic included.
pub(crate) fn outcome(life: impl FnOnce() -> Life) -> Result<Figures, String> {
    match catch_unwind(AssertUnwindSafe(life)) {
        Ok(life) if life.violations.is_empty() => Ok(life.figures),
        Ok(life) => Err(life.violations.join("\n")),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref().map(|text: &&str| (*text).to_owned()));
            Err(format!("a panic: {}", text.unwrap_or_default()))
        }
    }
}

#[test]
fn whatever_happens_in_a_world_the_laws_hold() {
    if let Some(seed) = number("VK_SIMULATION_SEED") {
        let plan = Plan::of(seed);
        println!("{:#?}\n{:#?}", plan.limits, plan.places);
        match outcome(|| live(plan, None, true)) {
            Ok(figures) => return println!("{figures}"),
            Err(laws) => panic!("seed {seed} breaks the laws:\n{laws}"),
        }
    }
    let count = number("VK_SIMULATION_SEEDS").unwrap_or(1_000);
    let first = number("VK_SIMULATION_FIRST").unwrap_or(1);
    let (began, broken) = (Instant::now(), Mutex::new(Vec::new()));
    let all = on_all_processors(first, count, |seed| {
        if broken.lock().unwrap().len() >= ENOUGH {
            return None;
        }
        let found = outcome(|| live(Plan::of(seed), None, false));
        let told = found.map_err(|laws| broken.lock().unwrap().push((seed, laws)));
        told.ok()
    });
    let mut sum = Figures::default();
    all.iter().for_each(|one| sum.add(one));
    println!("{sum}, in {} s", began.elapsed().as_secs());
    let mut broken = broken.into_inner().unwrap();
    broken.sort();
    let told = broken.iter().map(|(seed, laws)| {
        format!(
            "seed {seed} breaks the laws; to see it again:\n  VK_SIMULATION_SEED={seed} cargo test -p \
             vk-engine --test simulation whatever -- --nocapture\n{laws}"
        )
    });
    let told: Vec<String> = told.collect();
    assert!(told.is_empty(), "{}", told.join("\n\n"));
}
