//! Hides the two ways to measure a hot path: by the clock, and by counting its instructions.
//!
//! A floor names its hot paths once, in `benches/hot_paths.rs`. `cargo bench` has Criterion time
//! them. `cargo xtask instructions` runs each alone under valgrind, a fixed number of times and
//! without Criterion: other than the time a path takes, its instructions are the same on a busy
//! machine, and so small a rise as 10 % can be told.

use std::cell::LazyCell;
use std::hint::black_box;
use std::process::ExitCode;

use criterion::{BatchSize, Criterion};

/// The binary's own: what a path allocates is part of what it costs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An event of ordinary size, as it is published and as it is sent.
pub const EVENT: &str = r#"{"type":"document.viewed","data":{"dealRoomId":"0198a6f0-3a5b-7c1d-9e2f-0123456789ab","documentId":"0198a6f0-3a5b-7c1d-9e2f-0123456789ac","linkId":"0198a6f0-3a5b-7c1d-9e2f-0123456789ad","viewerEmail":"ada@example.com","pageCount":12,"duration":184,"timestamp":"2026-04-01T12:00:00.000Z"}}"#;

/// The hot paths of one floor, each to be named, counted or timed as the command line says.
pub struct Paths {
    floor: &'static str,
    purpose: Purpose,
}

enum Purpose {
    /// `--paths`: a line for each with how often it is run to be counted.
    Name,
    /// `--count PATH RUNS`: just that one, so often.
    Count {
        path: String,
        runs: usize,
        found: bool,
    },
    /// What `cargo bench` asks for, with Criterion's own options.
    Time(Box<Criterion>),
}

/// The `main` of a floor's benches: `add` names its paths.
pub fn measure(floor: &'static str, add: impl FnOnce(&mut Paths)) -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let purpose = match args[..] {
        ["--paths"] => Purpose::Name,
        ["--count", path, runs] => match runs.parse() {
            Ok(runs) => Purpose::Count {
                path: path.to_owned(),
                runs,
                found: false,
            },
            Err(error) => return failed(&format!("--count PATH RUNS, not {runs:?}: {error}")),
        },
        _ => Purpose::Time(Box::new(Criterion::default().configure_from_args())),
    };
    let mut paths = Paths { floor, purpose };
    add(&mut paths);
    match paths.purpose {
        Purpose::Count {
            path, found: false, ..
        } => failed(&format!("there is no path {path:?}; --paths names them")),
        Purpose::Time(criterion) => {
            criterion.final_summary();
            ExitCode::SUCCESS
        }
        _ => ExitCode::SUCCESS,
    }
}

fn failed(why: &str) -> ExitCode {
    eprintln!("error: {why}");
    ExitCode::FAILURE
}

impl Paths {
    /// A path that can be walked again and again. `set_up` makes what it needs; to be counted it
    /// is run `runs` times, and twice as often.
    pub fn add<W, R>(&mut self, name: &str, runs: usize, set_up: impl FnOnce() -> W)
    where
        W: FnMut() -> R,
    {
        let mut walk = LazyCell::new(set_up);
        self.each(name, runs, |how| match how {
            How::Count(runs) => {
                for _ in 0..runs {
                    black_box(walk());
                }
            }
            How::Time(criterion, name) => {
                criterion.bench_function(name, |bencher| bencher.iter(&mut *walk));
            }
        });
    }

    /// A path that uses something up each time it is walked. `set_up` makes two things: what
    /// brings that, which is not measured, and the path.
    pub fn add_with_input<I, F, W, R>(
        &mut self,
        name: &str,
        runs: usize,
        set_up: impl FnOnce() -> (F, W),
    ) where
        F: FnMut() -> I,
        W: FnMut(I) -> R,
    {
        let mut made = LazyCell::new(set_up);
        self.each(name, runs, |how| match how {
            How::Count(times) => {
                let (input, walk) = &mut *made;
                // As many whether it is run `runs` times or twice as often, so that bringing them
                // is the same in both and drops out of the difference.
                let inputs: Vec<I> = (0..times.max(2 * runs)).map(|_| input()).collect();
                for input in inputs.into_iter().take(times) {
                    black_box(walk(input));
                }
            }
            How::Time(criterion, name) => {
                criterion.bench_function(name, |bencher| {
                    let (input, walk) = &mut *made;
                    bencher.iter_batched(input, walk, BatchSize::PerIteration);
                });
            }
        });
    }

    fn each(&mut self, name: &str, runs: usize, walk: impl FnOnce(How<'_>)) {
        let name = format!("{}/{name}", self.floor);
        match &mut self.purpose {
            Purpose::Name => println!("{name} {runs}"),
            Purpose::Count { path, runs, found } if *path == name => {
                *found = true;
                walk(How::Count(*runs));
            }
            Purpose::Count { .. } => {}
            Purpose::Time(criterion) => walk(How::Time(criterion, &name)),
        }
    }
}

enum How<'c> {
    Count(usize),
    Time(&'c mut Criterion, &'c str),
}
