//! Medians and spread of all rounds, as a table and as JSON.

use std::fmt::Write;
use std::path::Path;

use serde_json::{Value, json};

use crate::load::Measures;
use crate::server::Subject;

/// A subject, and what each round measured.
pub(crate) struct Results<'a> {
    pub(crate) subject: &'a Subject,
    pub(crate) rounds: Vec<Measures>,
}

struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Results<'_> {
    /// `None`: not measured for this subject.
    fn spread(&self, name: &str) -> Option<Spread> {
        let values = self.rounds.iter().flatten().filter(|(known, _)| *known == name);
        let mut values: Vec<_> = values.map(|(_, value)| *value).collect();
        values.sort_by(f64::total_cmp);
        Some(Spread { least: *values.first()?, median: values[values.len() / 2], most: *values.last()? })
    }
}

/// One table for each measure: the median and what the rounds lay between, and the first subject's median as a multiple
/// of it.
pub(crate) fn print(results: &[Results<'_>]) {
    for (name, _) in &results[0].rounds[0] {
        println!("\n{name:54} median        least to most    {} / this", results[0].subject.name);
        for result in results {
            let (Some(first), Some(spread)) = (results[0].spread(name), result.spread(name)) else {
                continue;
            };
            let Spread { least, median, most } = spread;
            let (subject, shown_median, least, most) =
                (result.subject.name, shown(median), shown(least), shown(most));
            println!(
                "  {subject:46} {shown_median:>12} {least:>12} to {most:<12} {:.3}",
                first.median / median
            );
        }
    }
}

fn shown(value: f64) -> String {
    let decimals = match value.abs() {
        0.0..1.0 => 4,
        1.0..100.0 => 2,
        100.0..10_000.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

pub(crate) fn write_json(path: &Path, results: &[Results<'_>], setting: &Value, memory: &[(f64, f64)]) {
    let subjects: Vec<_> = results
        .iter()
        .map(|result| {
            let rounds: Vec<_> = result
                .rounds
                .iter()
                .map(|round| round.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect())
                .map(Value::Object)
                .collect();
            let Subject { name, version, .. } = result.subject;
            json!({"name": name, "version": version, "command": result.subject.settings(), "rounds": rounds})
        })
        .collect();
    let memory: Vec<_> = memory
        .iter()
        .map(|(payload, bytes)| json!({"payload_bytes": payload, "memory_bytes": bytes}))
        .collect();
    let all = json!({"setting": setting, "subjects": subjects, "memory": memory});
    let mut text = String::new();
    writeln!(text, "{all:#}").unwrap();
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).unwrap();
    }
    std::fs::write(path, text).unwrap();
    println!("\nwritten to {}", path.display());
}
