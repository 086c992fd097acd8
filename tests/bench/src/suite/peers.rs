//! The scripts that install peers through their package clients and run them beside ours.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::measured::{Figures, Measured};
use crate::options::Options;

pub(crate) fn run(options: &Options, figures: &mut Figures) {
    let file = |name: &str| options.folder.join(format!("{name}.peers.json"));
    if options.wants("server") {
        let file = file("server");
        let arguments: &[&str] =
            if options.quick { &["--quick"] } else { &["--rounds", "3", "--seconds", "3"] };
        let path = file.display().to_string();
        let arguments = [arguments, &["--json", &path]].concat();
        script(options, figures, "sim/benches/server_load/run.sh", &arguments);
        server(figures, &read(&file));
    }
    if options.wants("producers") {
        let file = file("producers");
        let path = file.display().to_string();
        let arguments = if options.quick { ["1", "100000", &path] } else { ["3", "2000000", &path] };
        script(options, figures, "tests/bench/producers/run.sh", &arguments);
        producers(figures, &read(&file));
    }
    if options.wants("consumers") {
        let file = file("consumers");
        let path = file.display().to_string();
        let arguments: &[&str] = if options.quick { &["--rounds", "1", "--records", "100000"] } else { &[] };
        let arguments = [arguments, &["--json", &path]].concat();
        script(options, figures, "tests/bench/consumers/run.sh", &arguments);
        consumers(figures, &read(&file));
    }
}

/// Runs it; its skip lines are kept.
fn script(options: &Options, figures: &mut Figures, path: &str, arguments: &[&str]) {
    println!("\n== {path}");
    let file = options.root.join(path);
    if !file.exists() {
        return figures.skip(format!("{path}: it is not there"));
    }
    let mut child = Command::new("sh")
        .arg(file)
        .args(arguments)
        .current_dir(&options.root)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        match line.strip_prefix("skip: ") {
            Some(what) => figures.skip(what),
            None => println!("{line}"),
        }
    }
    if !child.wait().unwrap().success() {
        figures.skip(format!("{path}: it failed"));
    }
}

/// What it wrote, which is then taken away, so that no run is taken for the next one.
fn read(file: &Path) -> Value {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    if !text.is_empty() {
        std::fs::rename(file, file.with_extension("last.json")).unwrap();
    }
    serde_json::from_str(&text).unwrap_or_default()
}

/// The engine's: all rounds of each subject.
fn server(figures: &mut Figures, all: &Value) {
    let none = Vec::new();
    let subjects = all.get("subjects").and_then(Value::as_array).unwrap_or(&none);
    for subject in subjects {
        let name = subject.get("name").and_then(Value::as_str).unwrap_or_default();
        let rounds: Vec<_> = subject
            .get("rounds")
            .and_then(Value::as_array)
            .unwrap_or(&none)
            .iter()
            .filter_map(Value::as_object)
            .collect();
        for measure in rounds.first().map(|round| round.keys()).into_iter().flatten() {
            let values = rounds.iter().filter_map(|round| round.get(measure)?.as_f64()).collect();
            let unit = measure.rsplit(", ").next().unwrap_or_default();
            let mut row = Measured::of_rounds("server", format!("{name}: {measure}"), unit, values);
            row.also.insert("version".into(), subject.get("version").cloned().unwrap_or_default());
            figures.rows.push(row);
        }
    }
}

/// The producers': a list of objects, one for each.
fn producers(figures: &mut Figures, all: &Value) {
    for peer in all.as_array().into_iter().flatten() {
        let name = peer.get("producer").and_then(Value::as_str).unwrap_or_default();
        let number = |what: &str| peer.get(what).and_then(Value::as_f64);
        let rounds = peer.get("rounds").and_then(Value::as_u64).map_or(1, |count| count.try_into().unwrap());
        if let (Some(rate), Some(cpu)) = (number("records_per_second"), number("cpu_us_per_record")) {
            let of = |what: &str, value| {
                Measured::of_rounds("producers", format!("{name}: {what}"), what, vec![value])
            };
            let (min, max) = (number("lowest").unwrap_or(rate), number("highest").unwrap_or(rate));
            figures.rows.push(Measured { min, max, rounds, ..of("records/s", rate) });
            figures.rows.push(Measured { rounds, ..of("CPU us a record", cpu) });
            if let Some(peak) = number("peak_mib") {
                figures.rows.push(Measured { rounds, ..of("peak MiB", peak) });
            }
        }
    }
}

/// The consumers': rows of a name and a scenario, every other object a figure with its spread.
fn consumers(figures: &mut Figures, all: &Value) {
    for row in all.get("rows").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object) {
        let text = |what: &str| row.get(what).and_then(Value::as_str).unwrap_or_default();
        let (name, scenario) = (text("name"), text("scenario"));
        for (what, spread) in row {
            let number = |at: &str| spread.get(at).and_then(Value::as_f64);
            if let (Some(min), Some(median), Some(max)) = (number("min"), number("median"), number("max")) {
                let case = format!("{name}, {scenario}: {what}");
                let measured = Measured::of_rounds("consumers", case, what, vec![median]);
                let rounds = row.get("rounds").and_then(Value::as_u64).unwrap_or(1).try_into().unwrap();
                figures.rows.push(Measured { min, max, rounds, ..measured });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rounds_of_a_server_and_rows_of_a_producer_become_figures() {
        let mut figures = Figures::default();
        let round = |value: f64| json!({"PutRecords, records/s": value});
        server(
            &mut figures,
            &json!({"subjects": [{"name": "ours", "version": "1", "rounds": [round(3.0), round(1.0), round(2.0)]}]}),
        );
        assert_eq!(figures.value("server/ours: PutRecords, records/s"), Some(2.0));
        assert_eq!(figures.value("server/ours: PutRecords, records/s#max"), Some(3.0));
        let row = json!({"producer": "kpl", "records_per_second": 5, "lowest": 4, "highest": 6, "cpu_us_per_record": 0.5, "peak_mib": 7, "rounds": 3});
        producers(&mut figures, &json!([row]));
        assert_eq!(figures.value("producers/kpl: records/s#min"), Some(4.0));
        assert_eq!(figures.value("producers/kpl: CPU us a record#max"), Some(0.5));
        assert_eq!(figures.value("producers/kpl: peak MiB"), Some(7.0));
        let row = json!({"name": "kcl", "scenario": "plain", "rounds": 3, "cpu_s": {"min": 1.0, "median": 2.0, "max": 3.0}});
        consumers(&mut figures, &json!({"rows": [row]}));
        assert_eq!(figures.value("consumers/kcl, plain: cpu_s"), Some(2.0));
    }
}
