//! The command line.

use std::path::PathBuf;

use serde_json::{Value, json};

pub(crate) struct Options {
    /// Programs by name; none means all.
    only: Vec<String>,
    pub(crate) cases: Vec<String>,
    pub(crate) quick: bool,
    pub(crate) json: PathBuf,
    pub(crate) plots: PathBuf,
    /// An earlier JSON, for the rows of what is not run now.
    pub(crate) keep: Option<PathBuf>,
    /// For what the programs write.
    pub(crate) folder: PathBuf,
    /// Of the repository.
    pub(crate) root: PathBuf,
}

pub(crate) const PROGRAMS: [&str; 8] =
    ["codecs", "producer", "leases", "consumer", "engine", "server", "producers", "consumers"];

impl Options {
    pub(crate) fn from_arguments() -> Self {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned();
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let folder = std::path::absolute(target.join("bench")).unwrap();
        let mut options = Self {
            only: Vec::new(),
            cases: Vec::new(),
            quick: false,
            json: folder.join("bench.json"),
            plots: folder.join("plots"),
            keep: None,
            folder,
            root,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} needs a value"));
            match argument.as_str() {
                "--quick" => options.quick = true,
                "--cases" => options.cases = value().split(',').map(str::to_owned).collect(),
                "--json" => options.json = std::path::absolute(value()).unwrap(),
                "--keep" => options.keep = Some(std::path::absolute(value()).unwrap()),
                "--plots" => options.plots = std::path::absolute(value()).unwrap(),
                name if PROGRAMS.contains(&name) => options.only.push(argument),
                other => panic!("{other} is none of {PROGRAMS:?}, --cases, --quick, --json, --plots, --keep"),
            }
        }
        options
    }

    pub(crate) fn wants(&self, program: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == program)
    }

    pub(crate) fn settings(&self) -> Value {
        json!({"programs": self.only, "cases": self.cases, "quick": self.quick, "others_kept": self.keep.is_some()})
    }
}
