//! What the benchmarks of this repository share: how a figure is taken, and the form in which they hand figures to the one
//! command that runs them all (`cargo run --release -p bench`).
//!
//! ```text
//! shard, kpl, kcl, sim: benches --Report--> rows as JSON --+
//! scripts beside peers --------------------> JSON ---------+--> the program `bench`: one table, JSON, plots
//! ```
//!
//! Every benchmark takes the same arguments: words (only cases whose name contains one of them), `--quick` (fewer and
//! smaller rounds, to see that it works), `--json FILE`. `--test`, which cargo passes, means `--quick`.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::cast_precision_loss,
    reason = "a measuring program prints, and stops at the first surprise"
)]

/// Counting allocations.
mod allocations;

/// Times and memory, as the system counts them.
mod usage;

/// Cases in, lines and JSON out.
mod report;

pub use allocations::{Counting, allocations, live_bytes, most_bytes};
pub use report::{Report, Row};
pub use usage::{peak_bytes, process_time, resident_bytes, thread_time};
