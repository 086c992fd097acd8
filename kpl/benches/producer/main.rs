//! What a user record costs on its way through the producer: CPU time and allocations, beside the work that nobody can avoid.
//!
//! ```text
//! cargo bench -p kpl --features bench --bench producer [-- WORD...] [--quick] [--json FILE]
//! ```
//!
//! 100-byte records under 262,144 keys of 20 bytes, aggregates of 50 kB, every ticket awaited. `seal` ends where a request would be
//! serialized; `body` goes through the real SDK client to the signed request and back from a canned answer. One thread does
//! everything but in the cases with `threads`; times are the CPU time of that thread, so that a busy machine only blurs them. `grow`
//! follows cost and memory over record size, over ever more records, and over what is outstanding.
//! Only cases whose name contains one of the words are run.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a measuring program: it reads the clock, and stops at the first surprise"
)]

mod connector;
mod growth;
mod limits;
mod producing;

use bench::Report;

#[global_allocator]
static COUNTING: bench::Counting = bench::Counting;

fn main() {
    let mut report = Report::from_arguments();
    limits::run(&mut report);
    producing::run(&mut report);
    growth::run(&mut report);
    report.finish();
}
