use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::{allocations, thread_time};

/// One case: what was measured, round by round.
#[derive(Debug)]
pub struct Row {
    name: String,
    unit: &'static str,
    rounds: Vec<f64>,
    also: Vec<(&'static str, f64)>,
    point: Option<(&'static str, String, f64)>,
}

impl Row {
    /// `unit` says what of, too: `ns a record`.
    pub fn new(name: impl Into<String>, unit: &'static str, rounds: Vec<f64>) -> Self {
        let mut rounds = rounds;
        assert!(!rounds.is_empty(), "a case has rounds");
        rounds.sort_by(f64::total_cmp);
        Self { name: name.into(), unit, rounds, also: Vec::new(), point: None }
    }

    /// A figure beside the one that is measured.
    #[must_use]
    pub fn also(mut self, what: &'static str, value: f64) -> Self {
        self.also.push((what, value));
        self
    }

    /// The median is a point of this line of this plot.
    #[must_use]
    pub fn at(mut self, plot: &'static str, line: impl Into<String>, x: f64) -> Self {
        self.point = Some((plot, line.into(), x));
        self
    }

    fn median(&self) -> f64 {
        self.rounds.get(self.rounds.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn json(&self) -> Value {
        let also: Map<_, _> =
            self.also.iter().map(|(what, value)| ((*what).to_owned(), json!(value))).collect();
        let mut row = json!({
            "name": self.name, "unit": self.unit,
            "min": self.rounds.first(), "median": self.median(), "max": self.rounds.last(),
            "rounds": self.rounds.len(), "also": also,
        });
        if let (Some((plot, line, x)), Some(row)) = (&self.point, row.as_object_mut()) {
            row.insert("point".into(), json!({"plot": plot, "line": line, "x": x}));
        }
        row
    }
}

/// The cases of one program.
#[derive(Debug)]
pub struct Report {
    words: Vec<String>,
    quick: bool,
    json: Option<PathBuf>,
    rows: Vec<Row>,
}

impl Report {
    /// From the command line.
    pub fn from_arguments() -> Self {
        let mut report = Self { words: Vec::new(), quick: false, json: None, rows: Vec::new() };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--json" => report.json = arguments.next().map(PathBuf::from),
                "--quick" | "--test" => report.quick = true,
                "--bench" => {}
                _ => report.words.push(argument),
            }
        }
        report
    }

    /// Whether a case of this name is asked for.
    pub fn wants(&self, name: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| name.contains(word.as_str()))
    }

    /// Whether it is only to be seen that everything works.
    pub fn is_quick(&self) -> bool {
        self.quick
    }

    /// `quick` or `full`, as was asked.
    pub fn choose<T>(&self, quick: T, full: T) -> T {
        if self.quick { quick } else { full }
    }

    /// Prints a case and keeps it.
    pub fn row(&mut self, row: Row) {
        if self.rows.is_empty() {
            println!("{:<56} {:>11} {:>11} {:>11}  unit; also", "case", "median", "least", "most");
        }
        let (least, most) = (row.rounds.first(), row.rounds.last());
        let shown = |value: Option<&f64>| value.map_or_else(String::new, |value| shown(*value));
        let mut line = format!(
            "{:<56} {:>11} {:>11} {:>11}  {}",
            row.name,
            shown(Some(&row.median())),
            shown(least),
            shown(most),
            row.unit
        );
        for (what, value) in &row.also {
            write!(line, "; {what} {}", crate::report::shown(*value)).unwrap();
        }
        println!("{line}");
        self.rows.push(row);
    }

    /// CPU nanoseconds and allocations of `work`, of which one call does `items` items; some 10 ms a round.
    pub fn time(&mut self, name: &str, unit: &'static str, items: f64, mut work: impl FnMut()) {
        if !self.wants(name) {
            return;
        }
        let (rounds, nanos) = self.choose((3, 1_000_000), (15, 10_000_000));
        // Reading the thread's clock is a call of the system: so many at once that it does not count.
        let mut at_once = 8;
        let mut run = |times: u32| {
            let started = thread_time();
            (0..times).for_each(|_| work());
            thread_time() - started
        };
        while run(at_once) < 200_000 {
            at_once *= 2;
        }
        let (mut allocated, mut times_in_all) = (allocations(), 0.0);
        let rounds = (0..rounds)
            .map(|_| {
                let (mut spent, mut times) = (0, 0.0);
                while spent < nanos {
                    spent += run(at_once);
                    times += f64::from(at_once);
                }
                times_in_all += times;
                spent as f64 / times / items
            })
            .collect();
        allocated = allocations() - allocated;
        let allocated = allocated as f64 / times_in_all / items;
        self.row(Row::new(name, unit, rounds).also("allocations", allocated));
    }

    /// Writes the JSON, if it was asked for.
    pub fn finish(self) {
        if let Some(file) = &self.json {
            let rows: Vec<_> = self.rows.iter().map(Row::json).collect();
            std::fs::write(file, format!("{:#}\n", Value::Array(rows))).unwrap();
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
