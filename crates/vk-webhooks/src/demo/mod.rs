//! Hides the whole thing at work: the real service, receivers of five tempers, a publisher, and
//! a look at what becomes of every delivery.
//!
//! Rooms: [`temper`] is how receivers behave, [`stage`] sets everything up and takes it down,
//! [`ledger`] follows every delivery through the API, [`view`] shows it.

mod ledger;
mod stage;
mod temper;
mod view;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::serve::Signals;

use ledger::Ledger;
use stage::Stage;
use view::View;

/// How `demo` runs.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// End by itself after so many seconds; without it, Ctrl-C does
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Events published a second
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=200))]
    rate: u32,
}

/// How often the view is drawn again in a terminal.
const REDRAW: Duration = Duration::from_millis(500);
/// How often a line is printed where there is no terminal.
const LINE: Duration = Duration::from_secs(1);
/// How long first attempts may take to end after the last event.
const SETTLE: Duration = Duration::from_secs(10);

/// Runs the demo; fails where a signature did not verify or the sums do not add up.
pub(crate) async fn run(options: Options) -> Result<ExitCode> {
    let mut signals = Signals::watch()?;
    let mut view = View::new();
    let stage = Stage::set(&mut signals).await?;
    let mut ledger = Ledger::new(&stage);
    view.introduce(&stage, options.seconds);

    let over = async {
        match options.seconds {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    let stop = async {
        tokio::select! {
            () = over => {}
            _ = signals.next() => {}
        }
    };
    perform(&stage, &mut ledger, &mut view, options.rate, stop).await?;
    view.end();
    let adds_up = tokio::select! {
        settled = settle(&stage, &mut ledger) => settled?,
        _ = signals.next() => false,
    };
    let verified = stage
        .tempers()
        .iter()
        .all(|temper| temper.tally().forged == 0);
    view.conclude(&stage, &ledger, adds_up);
    stage.strike().await;
    Ok(if adds_up && verified {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Publishes one type after the other at a steady rate, and shows what becomes of it, until
/// `stop`. An event that is being published then is published and noted first.
async fn perform(
    stage: &Stage,
    ledger: &mut Ledger,
    view: &mut View,
    rate: u32,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    tokio::pin!(stop);
    let mut publishing = interval(Duration::from_secs(1) / rate);
    publishing.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looking = interval(if view.is_live() { REDRAW } else { LINE });
    looking.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut types = stage.event_types().iter().cycle();
    loop {
        tokio::select! {
            () = &mut stop => return Ok(()),
            _ = publishing.tick() => {
                let Some((name, example)) = types.next() else {
                    continue;
                };
                let event = json!({"type": name, "data": example});
                let accepted = stage.publisher().post("/v1/events", &event).await?;
                ledger.note(&accepted["data"])?;
            }
            _ = looking.tick() => {
                ledger.look(stage.reader()).await?;
                view.show(stage, ledger);
            }
        }
    }
}

/// Waits until what the service says was delivered is what the receivers accepted, and whatever
/// is still owed waits for its retry. Whether that came to be.
async fn settle(stage: &Stage, ledger: &mut Ledger) -> Result<bool> {
    let deadline = Instant::now() + SETTLE;
    loop {
        ledger.look(stage.reader()).await?;
        if ledger.untried() == 0 && ledger.agrees_with(stage.tempers()) {
            return Ok(true);
        }
        if Instant::now() > deadline {
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
