//! Our own benchmarks: built by one call of cargo, so that they share what they are made of, and run one after the other.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::measured::Figures;
use crate::options::Options;

const OURS: [&str; 5] = ["codecs", "producer", "leases", "consumer", "engine"];

pub(crate) fn run(options: &Options, figures: &mut Figures) {
    let wanted: Vec<_> = OURS.into_iter().filter(|name| options.wants(name)).collect();
    if wanted.is_empty() {
        return;
    }
    let built = build(options, &wanted);
    for program in wanted {
        let Some(executable) = built.get(program) else { panic!("cargo built no benchmark {program}") };
        println!("\n== {program}");
        let file = options.folder.join(format!("{program}.rows.json"));
        let mut command = Command::new(executable);
        command.args(&options.cases).arg("--json").arg(&file).current_dir(&options.root);
        if options.quick {
            command.arg("--quick");
        }
        let status = command.status().unwrap();
        assert!(status.success(), "{program} failed");
        figures.read(program, &file);
    }
}

/// Where each is. Not with the features of the root package's tests, which plant bugs.
fn build(options: &Options, wanted: &[&str]) -> BTreeMap<String, PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut child = Command::new(cargo)
        .args(["bench", "--no-run", "--message-format", "json-render-diagnostics"])
        .args(["-p", "kinesis-shard", "-p", "kpl", "-p", "kcl", "-p", "kinesis-sim"])
        .args(["--features", "kpl/bench,kcl/dynamodb,kinesis-sim/server"])
        // By name: the libraries' own tests need not be built with all optimisation.
        .args(wanted.iter().flat_map(|name| ["--bench", name]))
        .current_dir(&options.root)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut built = BTreeMap::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let message: Value = serde_json::from_str(&line.unwrap()).unwrap_or_default();
        let text = |path: &str| message.pointer(path).and_then(Value::as_str);
        let is_bench = text("/target/kind/0") == Some("bench");
        if let (true, Some(name), Some(file)) = (is_bench, text("/target/name"), text("/executable")) {
            built.insert(name.to_owned(), file.into());
        }
    }
    assert!(child.wait().unwrap().success(), "the benchmarks do not build");
    built
}
