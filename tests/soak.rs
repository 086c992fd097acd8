//! Random whole-system runs by number or by time, with a summary: how many, how fast, and which situations were reached.
//!
//! ```text
//! cargo test --profile seeds --test soak -- --seeds 1000000 [--of general|producers|leases|by-hand] [--from SEED]
//!     [--minutes N] [--threads N] [--all] [--lines N]
//! ```
//!
//! Without arguments, as in `cargo test`, it runs a few hundred seeds. It ends with 1 if a promise was broken or a situation
//! that a batch must reach was not; `--all` goes on after a failure and counts.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program that reports, and measures real time"
)]

mod common;
mod simulation;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use simulation::plan::{Distribution, Plan};
use simulation::reached::Reached;
use simulation::run::run;
use simulation::shrink::shrink;

/// Which plans are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Of {
    /// Everything: half of the seeds with middling settings, half with extremes.
    General,
    /// Producers alone.
    Producers,
    /// Several workers, whose clocks differ, and what makes them lose their leases.
    Leases,
    /// The same, and somebody deletes rows in the console.
    ByHand,
}

impl Of {
    fn distribution(self, seed: u64) -> Distribution {
        match self {
            Self::General => Distribution::general(seed),
            Self::Producers => Distribution::Producers,
            Self::Leases => Distribution::Leases,
            Self::ByHand => Distribution::ByHand,
        }
    }
}

/// What cargo hands to a test of the standard harness is accepted and means nothing here.
#[derive(Debug, Parser)]
struct Options {
    /// How many seeds.
    #[arg(long)]
    seeds: Option<u64>,
    /// What is drawn.
    #[arg(long, value_enum, default_value_t = Of::General)]
    of: Of,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Stop after so many minutes.
    #[arg(long)]
    minutes: Option<u64>,
    /// How many threads.
    #[arg(long)]
    threads: Option<usize>,
    /// Go on after a failure.
    #[arg(long)]
    all: bool,
    /// How many lines of the history to print of a seed that fails, from its end.
    #[arg(long, default_value_t = 60)]
    lines: usize,
    /// Filters and flags of the standard harness.
    #[arg(allow_hyphen_values = true, trailing_var_arg = true, hide = true)]
    _rest: Vec<String>,
}

#[derive(Default)]
struct Sums {
    reached: Reached,
    runs_that_reached: BTreeMap<&'static str, u64>,
    events: u64,
    virtual_millis: u64,
    failures: Vec<String>,
}

fn main() -> ExitCode {
    let options = Options::try_parse().unwrap_or_else(|error| match error.kind() {
        clap::error::ErrorKind::DisplayHelp => error.exit(),
        // A flag of the standard harness.
        _ => Options::parse_from(["soak"]),
    });
    let from_environment = std::env::var("SIM_SEEDS").ok().and_then(|text| text.parse().ok());
    let seeds = options.seeds.or(from_environment).unwrap_or(if options.minutes.is_some() {
        u64::MAX / 2
    } else {
        200
    });
    let threads =
        options.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let began = Instant::now();
    let deadline = options.minutes.map(|minutes| began + Duration::from_mins(minutes));
    let (next, done, stop) = (AtomicU64::new(options.from), AtomicU64::new(0), AtomicBool::new(false));
    let sums = Mutex::new(Sums::default());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed)
                    && deadline.is_none_or(|deadline| Instant::now() < deadline)
                {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= options.from.saturating_add(seeds) {
                        return;
                    }
                    one(&options, seed, &sums);
                    done.fetch_add(1, Ordering::Relaxed);
                    if !options.all && !sums.lock().expect("no panic in it").failures.is_empty() {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    summary(
        options.of,
        done.into_inner(),
        began.elapsed(),
        threads,
        &sums.into_inner().expect("no panic in it"),
    )
}

fn one(options: &Options, seed: u64, sums: &Mutex<Sums>) {
    let of = options.of;
    let distribution = of.distribution(seed);
    let plan = Plan::drawn(seed, distribution);
    let outcome = run(&plan);
    let failure = outcome.violations.first().map(|first| {
        let (small, small_outcome, runs) = shrink(&plan, first.invariant, 200);
        let history = small_outcome.history();
        let lines: Vec<&str> = history.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(options.lines)..).unwrap_or_default().join("\n");
        format!(
            "seed {seed} ({distribution:?}) breaks {}: {}\n{} of {} acts are left after {runs} runs: {small:#?}\n{tail}\n\
             repeat it with: cargo test --test soak -- --of {} --from {seed} --seeds 1",
            first.invariant,
            first.what,
            small.acts.len(),
            plan.acts.len(),
            of.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned()),
        )
    });
    let mut sums = sums.lock().expect("no panic in it");
    for what in outcome.reached.0.keys() {
        *sums.runs_that_reached.entry(what).or_default() += 1;
    }
    sums.reached.add(&outcome.reached);
    sums.events += outcome.events as u64;
    sums.virtual_millis += outcome.virtual_millis;
    sums.failures.extend(failure);
}

fn summary(of: Of, seeds: u64, took: Duration, threads: usize, sums: &Sums) -> ExitCode {
    for failure in &sums.failures {
        println!("{failure}\n");
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate to read, not to reckon with")]
    let per_second = |count: u64| count as f64 / took.as_secs_f64().max(0.001);
    println!("{:<46} {:>10} {:>12}", "situation", "runs", "times");
    for (what, times) in &sums.reached.0 {
        println!("{what:<46} {:>10} {times:>12}", sums.runs_that_reached.get(what).unwrap_or(&0));
    }
    println!(
        "{seeds} seeds in {:.1} s on {threads} threads: {:.0} seeds/s, {:.0} events/s, {:.0} times real time",
        took.as_secs_f64(),
        per_second(seeds),
        per_second(sums.events),
        per_second(sums.virtual_millis) / 1_000.0,
    );
    // Few runs need not have been everywhere.
    let missing = if seeds >= 200 { sums.reached.missing(of.distribution(0), seeds) } else { Vec::new() };
    if !missing.is_empty() {
        println!("never reached, so never tested: {missing:?}");
    }
    println!("{} passed, {} failed", seeds - sums.failures.len() as u64, sums.failures.len());
    if sums.failures.is_empty() && missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
