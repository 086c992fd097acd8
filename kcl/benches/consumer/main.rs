//! What a record costs on its way to the processor, and what a shard costs that brings none.
//!
//! ```text
//! cargo bench -p kcl --bench consumer [-- WORD...] [--quick] [--json FILE]
//! ```
//!
//! `delivered`: whole workers on the simulated engine in this process, through the real SDK client, on one thread and on
//! virtual time, so that waiting costs nothing: 100-byte records in aggregates of 50 kB. Times are the CPU time of that
//! thread, for *everything*: engine, SDK, de-aggregation, hand-over. `floor` is the same calls without the consumer: the
//! SDK client alone reads the same data and looks at none of it; what is above it is ours.
//!
//! `idle`: a thousand leased shards that nobody writes to, polled at the default interval over plain HTTP at an engine in a
//! process of its own: CPU and resident memory of the worker's process.
//!
//! `grow` follows cost and memory over the size of records, over their number, and over the shards of a worker.
//!
//! Only cases whose name contains one of the words are run.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a measuring program: it reads the clock, prints, and stops at the first surprise"
)]

mod delivered;
mod growth;
mod idle;

use bench::{Report, Row};
use kcl::RetrievalMode;

use self::delivered::{Data, delivered, floor};

#[global_allocator]
static COUNTING: bench::Counting = bench::Counting;

fn main() {
    if std::env::args().nth(1).is_some_and(|word| word == "serve") {
        return idle::serve();
    }
    let mut report = Report::from_arguments();
    // First: what the others leave behind would be counted as resident.
    if report.wants("idle") {
        idle::run(&mut report);
    }
    let few = report.choose(10, 1);
    let rounds = report.choose(1, 5);
    // The last row has what the others have in one read of a shard, so that what a shard costs is shared as in theirs.
    for (shards, each) in [(1, 3_200), (10, 320), (100, 32), (1_000, 3), (1_000, 16)] {
        if report.is_quick() && shards > 100 {
            continue;
        }
        let data = Data { shards, each: (each / few).max(1), bytes: 100 };
        let of = format!("shards {shards} of {each}");
        let line = |what: &str| {
            format!("{what}{}", if (shards, each) == (1_000, 3) { ", 3 aggregates a shard" } else { "" })
        };
        for (mode, shown) in [(RetrievalMode::Polling, "polling"), (RetrievalMode::FanOut, "fanout")] {
            let name = format!("delivered {shown} {of}");
            if report.wants(&name) {
                let nanos = (0..rounds).map(|_| delivered(data, mode).nanos).collect();
                let row = Row::new(name, "ns a record", nanos);
                report.row(row.at("consumer-shards", line(shown), f64::from(shards)));
            }
        }
        let name = format!("floor {of}");
        if report.wants(&name) {
            let row = Row::new(name, "ns a record", (0..rounds).map(|_| floor(data)).collect());
            report.row(row.at("consumer-shards", line("SDK alone"), f64::from(shards)));
        }
    }
    growth::run(&mut report);
    report.finish();
}
