//! Hides how the demo is shown: a table that is drawn again in a terminal, plain lines elsewhere.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use super::ledger::{Account, Ledger};
use super::stage::Stage;

/// Writes to standard output.
pub(super) struct View {
    live: bool,
    started: Instant,
    /// When the last event was published.
    ended: Option<Instant>,
    /// Lines drawn last time, to be drawn over.
    drawn: usize,
}

impl View {
    pub(super) fn new() -> Self {
        Self {
            live: std::io::stdout().is_terminal(),
            started: Instant::now(),
            ended: None,
            drawn: 0,
        }
    }

    /// Whether it is drawn over and over.
    pub(super) fn is_live(&self) -> bool {
        self.live
    }

    /// Says what there is and what to try.
    pub(super) fn introduce(&mut self, stage: &Stage, seconds: Option<u64>) {
        self.started = Instant::now();
        let end = match seconds {
            Some(seconds) => format!("It ends by itself after {seconds} s."),
            None => "Ctrl-C ends it.".to_owned(),
        };
        let example = stage
            .event_types()
            .iter()
            .find(|(name, _)| name == "team.member_removed");
        let mut text = format!(
            "\nThe real service, on a temporary store, with five local HTTPS receivers. {end}\n\n  \
             service        {}\n  operator's key {}\n  settings page  {} (opens once, within 10 minutes)\n\n",
            stage.url(),
            stage.operator_key(),
            stage.settings_link()
        );
        if let Some((name, data)) = example {
            let _ = writeln!(
                text,
                "Publish an event of your own:\n\n  curl -s {}/v1/events -H 'X-API-Key: {}' \\\n    \
                 -H 'Content-Type: application/json' \\\n    -d '{{\"type\":\"{name}\",\"data\":{data}}}'\n",
                stage.url(),
                stage.team_key()
            );
        }
        for temper in stage.tempers() {
            let _ = writeln!(
                text,
                "  {:10} {}",
                temper.kind.name(),
                temper.kind.explained()
            );
        }
        self.print(&text);
    }

    /// Shows how things stand.
    pub(super) fn show(&mut self, stage: &Stage, ledger: &Ledger) {
        if self.live {
            let table = self.table(stage, ledger);
            let over = match self.drawn {
                0 => String::new(),
                lines => format!("\x1b[{lines}A\x1b[J"),
            };
            self.drawn = table.lines().count();
            self.print(&format!("{over}{table}"));
        } else {
            let line = self.line(stage, ledger);
            self.print(&line);
        }
    }

    /// Says that no more events are published.
    pub(super) fn end(&mut self) {
        self.ended = Some(Instant::now());
        self.drawn = 0;
        self.print("Stopping: no more events; waiting for what is under way …\n");
    }

    fn elapsed(&self) -> Duration {
        let end = self.ended.unwrap_or_else(Instant::now);
        end.duration_since(self.started)
    }

    /// Sums everything up.
    pub(super) fn conclude(&mut self, stage: &Stage, ledger: &Ledger, adds_up: bool) {
        let mut text = self.table(stage, ledger);
        let sum = |of: fn(&Account) -> usize| ledger.accounts().iter().map(of).sum::<usize>();
        let (delivered, dead) = (sum(|one| one.delivered), sum(|one| one.dead_letter));
        let (owed, total) = (sum(|one| one.retrying + one.pending), sum(Account::total));
        let _ = writeln!(
            text,
            "\n{} events made {} deliveries: {delivered} delivered + {dead} dead-lettered + {owed} \
             still to be retried = {total}.",
            ledger.events, ledger.promised
        );
        let _ = writeln!(
            text,
            "{}",
            if adds_up {
                "It adds up, and the receivers accepted exactly what the service calls delivered."
            } else {
                "IT DOES NOT ADD UP with what the receivers accepted."
            }
        );
        let (genuine, forged) = signatures(stage);
        let _ = writeln!(
            text,
            "Receivers verified both signatures of {genuine} requests; {forged} did not verify."
        );
        self.print(&text);
    }

    fn line(&self, stage: &Stage, ledger: &Ledger) -> String {
        let sum = |of: fn(&Account) -> usize| ledger.accounts().iter().map(of).sum::<usize>();
        let (genuine, forged) = signatures(stage);
        format!(
            "{:4} s: {} events, {} delivered, {} retrying, {} dead-lettered; {genuine} signatures \
             verified, {forged} wrong\n",
            self.elapsed().as_secs(),
            ledger.events,
            sum(|one| one.delivered),
            sum(|one| one.retrying + one.pending),
            sum(|one| one.dead_letter),
        )
    }

    fn table(&self, stage: &Stage, ledger: &Ledger) -> String {
        let elapsed = self.elapsed().as_secs_f64().max(0.001);
        let mut text = format!(
            "\n{:>5.0} s   {} events, {:.1} a second\n\n  {:10} {:>9} {:>6} {:>9} {:>12} {:>8}  {}\n",
            elapsed,
            ledger.events,
            per_second(ledger.events, elapsed),
            "receiver",
            "delivered",
            "/s",
            "retrying",
            "dead letters",
            "verified",
            "last failure"
        );
        for (temper, account) in stage.tempers().iter().zip(ledger.accounts()) {
            let _ = writeln!(
                text,
                "  {:10} {:>9} {:>6.1} {:>9} {:>12} {:>8}  {}",
                temper.kind.name(),
                account.delivered,
                per_second(account.delivered, elapsed),
                account.retrying + account.pending,
                account.dead_letter,
                temper.tally().genuine,
                account.last_reason.as_deref().unwrap_or("-")
            );
        }
        text
    }

    fn print(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        // Nobody is left to tell where standard output is closed.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

fn per_second(count: usize, seconds: f64) -> f64 {
    // A count of events is far below where a float loses whole numbers.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let count = count as f64;
    count / seconds
}

fn signatures(stage: &Stage) -> (u64, u64) {
    let tallies = stage.tempers().iter().map(|temper| temper.tally());
    tallies.fold((0, 0), |(genuine, forged), tally| {
        (genuine + tally.genuine, forged + tally.forged)
    })
}
