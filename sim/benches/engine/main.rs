//! What an operation of the engine costs in this process: below HTTP, and through the unmodified SDK; and how that and memory grow.
//!
//! ```text
//! cargo bench -p kinesis-sim --bench engine [-- WORD...] [--quick] [--json FILE]
//! ```
//!
//! `engine`: bytes of a JSON request in, bytes of the answer out. `sdk`: the SDK's client on top, in the same thread, both sides
//! counted. 100-byte records under keys of 8 or 9 bytes, 32 shards, every limit off. CPU time of the thread.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a measuring program: it stops at the first surprise"
)]

mod below;
mod growth;
mod through_sdk;

use bench::Report;

#[global_allocator]
static COUNTING: bench::Counting = bench::Counting;

/// Shards of the stream, where their number is not what is looked at.
const SHARDS: u32 = 32;
/// Records of a `PutRecords`.
const MANY: usize = 500;
/// Records of a `GetRecords`.
const PAGE: usize = 1_000;
const STREAM: &str = "load";

fn main() {
    let mut report = Report::from_arguments();
    below::run(&mut report);
    through_sdk::run(&mut report);
    growth::run(&mut report);
    report.finish();
}
