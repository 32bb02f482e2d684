//! Hides the scenario whose every commit the process dies before, and after.
//!
//! Before: the commit never happens. After: it is on disk, and nobody is told. The next process finds the files
//! as they were at that moment, the rest of the scenario goes on, and the laws are those of every world.

use std::time::{Duration, Instant};

use crate::habit::Habit;
use crate::plan::{Act, Item, Limits, PlacePlan, Plan, Step, TYPES, What};
use crate::process::live;
use crate::seeds::{Outcome, live_all, number, try_to_live};
use crate::world::{Death, Story};

/// Somebody publishes, receivers take, fail and refuse, and everything that can be done by hand is done while
/// there is something in flight.
fn scenario() -> Plan {
    let place = |team, habit, types: &[&'static str]| PlacePlan {
        team,
        habit,
        types: types.to_vec(),
    };
    let item = |marker, key: Option<&str>| Item {
        marker,
        event_type: TYPES[marker as usize % 2],
        key: key.map(str::to_owned),
    };
    let publish = |team, items: Vec<Item>| Act::Publish {
        team,
        items,
        persists: true,
    };
    let acts = [
        (1_000, publish(0, vec![item(1, None)])),
        (1_001, publish(0, vec![item(2, Some("a"))])),
        (
            1_002,
            publish(1, vec![item(3, Some("b")), item(4, Some("c"))]),
        ),
        (2_500, Act::Pause(1, true)),
        (3_000, publish(0, vec![item(5, Some("d")), item(6, None)])),
        (3_500, publish(0, vec![item(2, Some("a"))])),
        (5_000, Act::Pause(1, false)),
        (5_500, Act::Rotate(0, 20_000)),
        (6_000, Act::Test(2, item(7, None))),
        (7_000, Act::RetryAll(2, None)),
        (8_000, publish(0, vec![item(8, None)])),
        (8_001, Act::Delete(1)),
        (9_000, Act::Disable(0, true)),
        (9_500, publish(0, vec![item(9, Some("e"))])),
        (11_000, Act::Disable(0, false)),
        (12_000, Act::RetryOne(6)),
        (12_500, Act::Move(2, Habit::Healthy)),
        (13_000, Act::RetryAll(2, Some(60_000))),
        (60_000, Act::Sweep(Some(0))),
        (61_000, publish(0, vec![item(10, None)])),
    ];
    let step = |(at, act)| Step {
        at,
        what: What::Act(act),
    };
    let mut steps: Vec<Step> = acts.into_iter().map(step).collect();
    let restart = What::Restart {
        grace: 15_000,
        down: 1_000,
    };
    steps.insert(
        18,
        Step {
            at: 14_000,
            what: restart,
        },
    );
    Plan {
        seed: 0,
        limits: Limits {
            all: 16,
            team: 8,
            endpoint: 4,
        },
        teams: 2,
        places: vec![
            place(0, Habit::FailsFirst(4, 503), &[]),
            place(0, Habit::Slow(1_500), &[TYPES[0]]),
            place(0, Habit::Always(422), &[]),
            place(1, Habit::Refusing, &[]),
        ],
        steps,
    }
}

#[test]
fn a_death_before_or_after_any_commit_loses_nothing() {
    let began = Instant::now();
    if let Some(commit) = number("VK_SIMULATION_DEATH") {
        // An odd number is a death after the commit of its half.
        let death = death(commit);
        match try_to_live(|| live(scenario(), Some(death), Story::Printed)) {
            Ok(figures) => return println!("{figures}"),
            Err(laws) => panic!("a death {death:?} breaks the laws:\n{laws}"),
        }
    }
    let whole = try_to_live(|| live(scenario(), None, Story::Untold));
    let whole = whole.unwrap_or_else(|laws| panic!("without a death the laws are broken:\n{laws}"));
    let deaths = 2..2 * (whole.commits + 1);
    let Outcome { figures, broken } = live_all(deaths, Duration::MAX, |number| {
        live(scenario(), Some(death(number)), Story::Untold)
    });
    println!("{figures}, in {} s", began.elapsed().as_secs());
    let told = broken.iter().map(|(number, laws)| {
        format!(
            "a death {:?} breaks the laws; to see it again:\n  VK_SIMULATION_DEATH={number} cargo test -p \
             vk-engine --test simulation death -- --nocapture\n{laws}",
            death(*number)
        )
    });
    let told: Vec<String> = told.collect();
    assert!(
        told.is_empty(),
        "{} deaths; {}",
        broken.len(),
        told.join("\n\n")
    );
    assert!(
        whole.commits >= 50,
        "the scenario has {} commits only",
        whole.commits
    );
    assert_eq!(
        figures.deaths,
        2 * whole.commits,
        "each world has its death"
    );
}

/// The deaths in their order: before and after the first commit, the second, and so on.
fn death(number: u64) -> Death {
    match number % 2 {
        0 => Death::Before(number / 2),
        _ => Death::After(number / 2),
    }
}
