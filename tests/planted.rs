//! The tests bite: each bug of this list is put into the code, and must be found by the invariant that it breaks, within
//! so many seeds. The list and what found it: docs/verification.md.
//!
//! ```text
//! cargo test --profile seeds --test planted -- --all     all of them; with words of a name: that one
//! ```

#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a harness of its own, in real time")]

mod common;
mod simulation;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use kinesis_shard::planted::plant;
use simulation::plan::{Distribution, Plan};
use simulation::quiet::{Kind, quiet};
use simulation::run::{Outcome, run};

/// Where a bug is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Runs {
    /// Plans drawn from seeds: of both general kinds, or of this one.
    Drawn,
    Of(Distribution),
    /// Runs that must be exact.
    Quiet(Kind),
}

struct Bug {
    name: &'static str,
    /// The promises that it breaks: whichever is found broken first is one of these.
    breaks: &'static [&'static str],
    runs: Runs,
    /// Within so many seeds.
    budget: u64,
}

/// The budget of a bug that is looked for in every test run.
const QUICK: u64 = 10;

const fn bug(name: &'static str, breaks: &'static [&'static str], runs: Runs, budget: u64) -> Bug {
    Bug { name, breaks, runs, budget }
}

include!("planted/list.rs");

struct Found {
    at: Option<u64>,
    invariant: String,
    reached: u64,
    seconds: f64,
}

fn main() -> ExitCode {
    let accused = innocent();
    if !accused.is_empty() {
        println!(
            "without a bug these runs break something: {accused:#?}\n0 passed, {} failed",
            accused.len()
        );
        return ExitCode::FAILURE;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let only: Vec<&String> = arguments.iter().filter(|word| !word.starts_with('-')).collect();
    // Unless told otherwise those that show soon: without optimisation the others take minutes.
    let all = !only.is_empty() || arguments.iter().any(|word| word == "--all");
    let chosen =
        |bug: &&Bug| (all || bug.budget <= QUICK) && only.iter().all(|word| bug.name.contains(word.as_str()));
    let bugs: Vec<&Bug> = BUGS.iter().filter(chosen).collect();
    // A panic is one of the ways in which a bug shows; it is told in the table.
    std::panic::set_hook(Box::new(|_| {}));
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, Found)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = hunt(bug);
                    let index =
                        bugs.iter().position(|other| other.name == bug.name).expect("it is one of them");
                    results.lock().expect("no panic in it").push((index, found));
                }
            });
        }
    });
    let mut results = results.into_inner().expect("no panic in it");
    results.sort_by_key(|(index, _)| *index);
    println!("{:<56} {:>9} {:>6} {:>7} {:>7}  found by", "planted bug", "reached", "seeds", "budget", "s");
    let mut failed = 0;
    for (index, found) in &results {
        let Some(bug) = bugs.get(*index) else { continue };
        let good = found.at.is_some();
        failed += usize::from(!good);
        println!(
            "{:<56} {:>9} {:>6} {:>7} {:>7.2}  {}{}",
            bug.name,
            found.reached,
            found.at.map_or_else(|| "-".to_owned(), |at| at.to_string()),
            bug.budget,
            found.seconds,
            found.invariant,
            if good { "" } else { "   <-- NOT AS IT SHOULD BE" },
        );
    }
    println!("{} passed, {failed} failed", results.len() - failed);
    if failed == 0 && !results.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs seed after seed with the bug in the code until one shows it.
fn hunt(bug: &Bug) -> Found {
    let began = Instant::now();
    let (mut reached, mut others) = (0, BTreeSet::new());
    for seed in 0..bug.budget {
        let planted = plant(bug.name);
        let broken = broken(bug.runs, seed);
        reached += planted.times_reached();
        drop(planted);
        let expected = broken.iter().find(|invariant| bug.breaks.contains(&invariant.as_str()));
        if let Some(invariant) = expected.cloned() {
            return Found { at: Some(seed + 1), invariant, reached, seconds: began.elapsed().as_secs_f64() };
        }
        others.extend(broken);
    }
    let invariant = format!("nothing, but {others:?}");
    Found { at: None, invariant, reached, seconds: began.elapsed().as_secs_f64() }
}

/// What one run breaks.
fn broken(runs: Runs, seed: u64) -> Vec<String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| outcome(runs, seed)));
    match outcome {
        Ok(outcome) => outcome.violations.iter().map(|violation| violation.invariant.to_owned()).collect(),
        Err(panic) => vec![of_panic(panic.downcast_ref::<String>().map_or("", String::as_str))],
    }
}

fn outcome(runs: Runs, seed: u64) -> Outcome {
    match runs {
        Runs::Drawn => run(&Plan::drawn(seed, Distribution::general(seed))),
        Runs::Of(distribution) => run(&Plan::drawn(seed, distribution)),
        Runs::Quiet(kind) => quiet(seed, kind),
    }
}

/// Without a bug nothing is found: a run that accuses the innocent proves nothing.
fn innocent() -> Vec<String> {
    let kinds = [Kind::Nothing, Kind::LostAnswers, Kind::OneDeath, Kind::SlowApplication, Kind::CutOff];
    let runs = [Runs::Drawn, Runs::Of(Distribution::Producers), Runs::Of(Distribution::Leases)]
        .into_iter()
        .chain(kinds.map(Runs::Quiet));
    let accused = runs.flat_map(|runs| (0..10).map(move |seed| (runs, seed))).filter_map(|(runs, seed)| {
        let broken = outcome(runs, seed).violations;
        broken.first().map(|first| format!("{runs:?}, seed {seed}: {}: {}", first.invariant, first.what))
    });
    accused.collect()
}

/// The world itself panics when it meets a payload that nobody wrote.
fn of_panic(text: &str) -> String {
    if text.contains("was altered") { "P4".to_owned() } else { format!("panic: {text}") }
}
