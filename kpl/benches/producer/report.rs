//! Rounds in, a table and JSON out.

use rustix::time::{ClockId, clock_gettime};
use std::fmt::Write;

/// CPU time of this thread so far, in nanoseconds.
pub(crate) fn thread_time() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).unwrap()
}

/// CPU time of all threads so far, in nanoseconds.
pub(crate) fn process_time() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).unwrap()
}

pub(crate) struct Report {
    words: Vec<String>,
    rows: Vec<Row>,
}

struct Row {
    name: String,
    median: f64,
    best: f64,
    worst: f64,
    rounds: usize,
    extra: Vec<(&'static str, f64)>,
}

impl Report {
    pub(crate) fn new(words: Vec<String>) -> Self {
        println!("{:<44} {:>10} {:>10} {:>10} {:>10}   also", "case", "ns median", "best", "worst", "M/s");
        Self { words, rows: Vec::new() }
    }

    pub(crate) fn wants(&self, name: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| name.contains(word.as_str()))
    }

    /// A case: nanoseconds for one item, by round.
    pub(crate) fn row(&mut self, name: &str, mut rounds: Vec<f64>, extra: &[(&'static str, f64)]) {
        rounds.sort_by(f64::total_cmp);
        let (best, worst, median) = (rounds[0], rounds[rounds.len() - 1], rounds[rounds.len() / 2]);
        let row =
            Row { name: name.to_owned(), median, best, worst, rounds: rounds.len(), extra: extra.to_vec() };
        let mut line =
            format!("{name:<44} {median:>10.1} {best:>10.1} {worst:>10.1} {:>10.2}  ", 1000.0 / median);
        for (what, value) in extra {
            write!(line, " {what} {value:.4}").unwrap();
        }
        println!("{line}");
        self.rows.push(row);
    }

    pub(crate) fn json(&self) -> String {
        let rows: Vec<String> = self
            .rows
            .iter()
            .map(|Row { name, median, best, worst, rounds, extra }| {
                let mut text = format!(
                    r#"{{"case":"{name}","ns_median":{median:.2},"ns_best":{best:.2},"ns_worst":{worst:.2},"rounds":{rounds}"#
                );
                for (what, value) in extra {
                    write!(text, r#","{what}":{value:.5}"#).unwrap();
                }
                text + "}"
            })
            .collect();
        format!("[\n{}\n]\n", rows.join(",\n"))
    }
}
