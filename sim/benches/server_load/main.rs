//! The server beside its peers: how fast each answers, what it takes of processor and memory, how soon it is there.
//! One load client for all, each server in a process of its own, runs alternating.
//!
//! ```text
//! cargo bench -p kinesis-sim --features server --bench server_load -- [--rounds N] [--seconds N] [--peers DIR]
//!     [--only NAME,NAME] [--before FILE] [--json FILE]
//! ```
//!
//! `sim/benches/server_load/run.sh` installs the peers first. `--before` is an older build of ours, to see what a change
//! brought. `--quick` (or cargo's `--test`) runs each once, for a moment.
#![cfg(feature = "server")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a measuring program: it reads the clock, prints, and stops at the first surprise"
)]

mod client;

mod floor;

mod load;

mod report;

mod server;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use self::report::Results;
use self::server::Subject;

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)
    };
    if let Some(port) = value("--floor") {
        return floor::serve(port.parse().unwrap());
    }
    let is_test = arguments.iter().any(|argument| argument == "--test" || argument == "--quick");
    let rounds = value("--rounds").map_or(if is_test { 1 } else { 5 }, |text| text.parse::<u32>().unwrap());
    let seconds = value("--seconds").map_or(if is_test { 0.2 } else { 5.0 }, |text| text.parse().unwrap());
    let only: Option<Vec<_>> = value("--only").map(|names| names.split(',').collect());
    let mut subjects = server::subjects(
        value("--peers").map(PathBuf::from).as_deref(),
        value("--before").map(String::as_str),
    );
    subjects.retain(|Subject { name, .. }| only.as_ref().is_none_or(|only| only.contains(name)));

    let setting = json!({
        "connections": load::CONNECTIONS, "shards": load::SHARDS, "records_per_put": load::RECORDS_PER_CALL,
        "payload_bytes": load::PAYLOAD_BYTES, "records_per_get": load::RECORDS_PER_GET,
        "seconds_each": seconds, "rounds": rounds,
        "processors": std::thread::available_parallelism().map_or(0, usize::from),
        "processor": processor(),
    });
    println!("{setting}");
    for subject in &subjects {
        println!("{:18} {:8} {}", subject.name, subject.version, subject.settings());
    }
    let mut results: Vec<_> =
        subjects.iter().map(|subject| Results { subject, rounds: Vec::new() }).collect();
    for round in 0..rounds {
        for result in &mut results {
            eprintln!("round {}, {}", round + 1, result.subject.name);
            result.rounds.push(load::run(result.subject, Duration::from_secs_f64(seconds)));
        }
    }
    report::print(&results);
    let memory = if is_test { Vec::new() } else { load::memory(&subjects[0]) };
    for (payload, bytes) in &memory {
        let per_byte = bytes / payload;
        println!(
            "memory of {}: {payload} bytes of data and key take {bytes:.0}, {per_byte:.2} each",
            subjects[0].name
        );
    }
    let folder = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned();
    let path = value("--json").map_or_else(|| folder.join("bench/engine.json"), PathBuf::from);
    report::write_json(&path, &results, &setting, &memory);
}

fn processor() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find(|line| line.starts_with("model name")).unwrap_or_default();
    model.split(": ").nth(1).unwrap_or("unknown").to_owned()
}
