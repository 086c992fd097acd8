//! What it is measured on, and with.

use std::process::Command;

use serde_json::{Value, json};

pub(crate) fn describe() -> Value {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find(|line| line.starts_with("model name")).unwrap_or_default();
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory.lines().next().unwrap_or_default();
    json!({
        "processor": model.split(": ").nth(1).unwrap_or("unknown"),
        "processors": std::thread::available_parallelism().map_or(0, usize::from),
        "memory": memory.split(':').nth(1).map(str::trim),
        "system": said("uname", &["-sr"]),
        "compiler": said("rustc", &["--version"]),
        "commit": said("git", &["describe", "--always", "--dirty", "--abbrev=12"]),
        "load": load(),
    })
}

/// The averages of 1, 5 and 15 minutes: how many others there were.
pub(crate) fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
