//! Figures, whoever measured them.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::options::PROGRAMS;

/// One case of one program.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    pub(crate) program: &'static str,
    pub(crate) name: String,
    pub(crate) unit: String,
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
    pub(crate) rounds: usize,
    pub(crate) also: Map<String, Value>,
    pub(crate) point: Option<Point>,
}

/// Where the median is drawn.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Point {
    pub(crate) plot: String,
    pub(crate) line: String,
    pub(crate) x: f64,
}

/// Everything that was measured, and what was not.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) rows: Vec<Measured>,
    pub(crate) skipped: Vec<String>,
}

impl Measured {
    pub(crate) fn of_rounds(program: &'static str, name: String, unit: &str, mut rounds: Vec<f64>) -> Self {
        rounds.sort_by(f64::total_cmp);
        let at = |index: usize| rounds.get(index).copied().unwrap_or(f64::NAN);
        let (min, median, max) = (at(0), at(rounds.len() / 2), at(rounds.len().saturating_sub(1)));
        let (rounds, also) = (rounds.len(), Map::new());
        Self { program, name, unit: unit.to_owned(), min, median, max, rounds, also, point: None }
    }

    fn from_json(program: &'static str, row: &Value) -> Option<Self> {
        let number = |name: &str| row.get(name)?.as_f64();
        let text = |value: &Value, name: &str| Some(value.get(name)?.as_str()?.to_owned());
        let point = row.get("point").and_then(|point| {
            let x = point.get("x")?.as_f64()?;
            Some(Point { plot: text(point, "plot")?, line: text(point, "line")?, x })
        });
        Some(Self {
            program,
            name: text(row, "name")?,
            unit: text(row, "unit")?,
            min: number("min")?,
            median: number("median")?,
            max: number("max")?,
            rounds: usize::try_from(row.get("rounds")?.as_u64()?).ok()?,
            also: row.get("also")?.as_object()?.clone(),
            point,
        })
    }

    pub(crate) fn json(&self) -> Value {
        let Self { program, name, unit, min, median, max, rounds, also, point } = self;
        let point = point.as_ref().map(|Point { plot, line, x }| json!({"plot": plot, "line": line, "x": x}));
        json!({
            "program": program, "name": name, "unit": unit, "min": min, "median": median, "max": max,
            "rounds": rounds, "also": also, "point": point,
        })
    }
}

impl Figures {
    pub(crate) fn skip(&mut self, line: impl Into<String>) {
        let line = line.into();
        println!("skip: {line}");
        self.skipped.push(line);
    }

    /// Takes in the file that a benchmark of ours wrote.
    pub(crate) fn read(&mut self, program: &'static str, file: &Path) {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let rows: Vec<Value> = serde_json::from_str(&text).unwrap_or_default();
        let before = self.rows.len();
        self.rows.extend(rows.iter().filter_map(|row| Measured::from_json(program, row)));
        if self.rows.len() - before < rows.len() || rows.is_empty() {
            self.skip(format!(
                "{program}: it wrote {} rows, {} are readable",
                rows.len(),
                self.rows.len() - before
            ));
        }
    }

    /// Takes the rows of all but these programs from what an earlier run wrote.
    pub(crate) fn keep(&mut self, file: &Path, but: impl Fn(&str) -> bool) {
        let text = std::fs::read_to_string(file).unwrap();
        let all: Value = serde_json::from_str(&text).unwrap();
        for row in all.get("rows").and_then(Value::as_array).into_iter().flatten() {
            let name = row.get("program").and_then(Value::as_str).unwrap_or_default();
            if let Some(program) = PROGRAMS.into_iter().find(|program| *program == name && !but(program)) {
                self.rows.extend(Measured::from_json(program, row));
            }
        }
    }

    pub(crate) fn find(&self, program: &str, name: &str) -> Option<&Measured> {
        self.rows.iter().find(|row| row.program == program && row.name == name)
    }

    /// The median of `program/name`; with `#max` or `#something` at its end the greatest, or what stands beside.
    pub(crate) fn value(&self, path: &str) -> Option<f64> {
        let (program, rest) = path.split_once('/')?;
        let (name, part) = rest.split_once('#').unwrap_or((rest, ""));
        let row = self.find(program, name)?;
        match part {
            "" => Some(row.median),
            "min" => Some(row.min),
            "max" => Some(row.max),
            other => row.also.get(other)?.as_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_by_its_path() {
        let row = json!({"name": "seal: put", "unit": "ns", "min": 1.0, "median": 2.0, "max": 9.0, "rounds": 3,
            "also": {"allocations": 0.5}, "point": {"plot": "p", "line": "l", "x": 64.0}});
        let row = Measured::from_json("producer", &row).unwrap();
        assert_eq!(row.point, Some(Point { plot: "p".into(), line: "l".into(), x: 64.0 }));
        let figures = Figures { rows: vec![row], skipped: Vec::new() };
        assert_eq!(figures.value("producer/seal: put"), Some(2.0));
        assert_eq!(figures.value("producer/seal: put#max"), Some(9.0));
        assert_eq!(figures.value("producer/seal: put#allocations"), Some(0.5));
        assert_eq!(figures.value("consumer/seal: put"), None);
    }

    #[test]
    fn what_is_not_run_again_is_kept() {
        let row = |program, value| Measured::of_rounds(program, "x".into(), "ns", vec![value]);
        let all = json!({"rows": [row("engine", 1.0).json(), row("server", 2.0).json()]});
        let file = std::env::temp_dir().join(format!("bench-keep-{}.json", std::process::id()));
        std::fs::write(&file, all.to_string()).unwrap();
        let mut figures = Figures::default();
        figures.keep(&file, |program| program == "engine");
        std::fs::remove_file(&file).unwrap();
        assert_eq!((figures.value("engine/x"), figures.value("server/x")), (None, Some(2.0)));
    }

    #[test]
    fn rounds_become_least_median_and_most() {
        let row = Measured::of_rounds("server", "x".into(), "ms", vec![3.0, 1.0, 2.0]);
        assert_eq!((row.min, row.median, row.max, row.rounds), (1.0, 2.0, 3.0, 3));
    }
}
