//! What a user record costs on its way through the producer: CPU time and allocations, beside the work that nobody can avoid.
//!
//! ```text
//! cargo bench -p kpl --features bench --bench producer [-- WORD... [--json FILE]]
//! ```
//!
//! 100-byte records under 262,144 keys of 20 bytes, aggregates of 50 kB, every ticket awaited. `seal` ends where a request would be
//! serialized; `body` goes through the real SDK client to the signed request and back from a canned answer. One thread does
//! everything but in the cases with `threads`; times are the CPU time of that thread, so that a busy machine only blurs them.
//! Only cases whose name contains one of the words are run.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a measuring program: it reads the clock, prints, and stops at the first surprise"
)]

mod allocations;
mod connector;
mod limits;
mod producing;
mod report;

use report::Report;

fn main() {
    // `cargo bench` passes flags of its own.
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let (mut words, mut json) = (Vec::new(), None);
    while let Some(argument) = arguments.next() {
        if argument == "--json" {
            json = arguments.next();
        } else {
            words.push(argument);
        }
    }
    let mut report = Report::new(words);
    limits::run(&mut report);
    producing::run(&mut report);
    if let Some(file) = json {
        std::fs::write(file, report.json()).unwrap();
    }
}
