//! From one worker to another: two workers share the shards of a stream; one is stopped or killed, and the gap of each shard that
//! it had is from then to the first record that the other one gets of it.
//!
//! The command starts a worker of any library; `{app}`, `{worker}` and `{out}` in it are replaced. A worker appends to its file
//! a line for what it gets, of which the first field is the shard and the last one the time (see `worker.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use crate::{Outcome, now_millis};

/// How long workers may take to share the shards, and one of them to take over.
const PATIENCE: Duration = Duration::from_mins(3);

pub(crate) async fn measure(
    how: &str,
    rounds: u32,
    settle: Duration,
    folder: &Path,
    command: &[&str],
) -> Outcome<()> {
    let mut stop = signal(SignalKind::terminate())?;
    for round in 1..=rounds {
        let gaps = tokio::select! {
            biased; // the signal first: what is dropped then ends its workers
            _ = stop.recv() => return Err("stopped before the end".into()),
            gaps = one(how, round, settle, folder, command) => gaps?,
        };
        for gap in gaps {
            println!("gap {how} {round} {gap}");
        }
    }
    Ok(())
}

/// A worker that runs, and the file it writes.
struct Worker {
    child: Child,
    out: PathBuf,
}

/// The gaps of one hand-over in milliseconds.
async fn one(how: &str, round: u32, settle: Duration, folder: &Path, command: &[&str]) -> Outcome<Vec<u64>> {
    let application = format!("gaps-{how}-{}-{round}", std::process::id());
    let first = start(command, &application, "first", folder)?;
    until("the first worker gets records", || Ok(!last_of_each(&first.out)?.is_empty())).await?;
    let second = start(command, &application, "second", folder)?;
    until("the second worker gets records of half the shards", || {
        Ok(last_of_each(&second.out)?.len() * 2 >= last_of_each(&first.out)?.len())
    })
    .await?;
    // Everybody has what is theirs: the moment of the end is not to hit a move that is under way.
    sleep(settle).await;
    sleep(Duration::from_millis(u64::from(round) * 1_370 % 4_000)).await;
    let Worker { mut child, out } = first;
    let began = now_millis();
    match how {
        "kill" => child.kill().await?,
        _ => terminate(&child).await?,
    }
    // What it had at the end: a worker that is alive gets something of each of its shards every second.
    let lost: BTreeSet<String> = last_of_each(&out)?
        .into_iter()
        .filter(|(_, at)| at + 4_000 > began)
        .map(|(shard, _)| shard)
        .collect();
    if lost.is_empty() {
        return Err("the first worker had no shard".into());
    }
    let mut gaps = Vec::new();
    until("the second worker gets records of every shard", || {
        let found = first_of_each(&second.out, began)?;
        gaps = lost.iter().filter_map(|shard| found.get(shard)).map(|at| at - began).collect();
        Ok(gaps.len() == lost.len())
    })
    .await?;
    end(child).await?;
    terminate(&second.child).await?;
    end(second.child).await?;
    Ok(gaps)
}

fn start(command: &[&str], application: &str, worker: &str, folder: &Path) -> Outcome<Worker> {
    let out = folder.join(format!("{application}-{worker}.got"));
    let log = File::create(folder.join(format!("{application}-{worker}.log")))?;
    let replaced = |word: &&str| {
        let word = word.replace("{app}", application).replace("{worker}", worker);
        word.replace("{out}", &out.to_string_lossy())
    };
    let mut words = command.iter().map(replaced);
    let program = words.next().ok_or("no command for a worker")?;
    let child = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()?;
    Ok(Worker { child, out })
}

async fn until(what: &str, mut is_so: impl FnMut() -> Outcome<bool>) -> Outcome<()> {
    let began = Instant::now();
    while !is_so()? {
        if began.elapsed() > PATIENCE {
            return Err(format!("not within {} s: {what}", PATIENCE.as_secs()).into());
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn terminate(child: &Child) -> Outcome<()> {
    if let Some(id) = child.id() {
        // The standard library sends no other signal than SIGKILL.
        Command::new("kill").arg(id.to_string()).status().await?;
    }
    Ok(())
}

/// One that does not end by itself is killed: it has nothing any more that would be lost.
async fn end(mut child: Child) -> Outcome<()> {
    if tokio::time::timeout(Duration::from_secs(30), child.wait()).await.is_err() {
        child.kill().await?;
    }
    Ok(())
}

/// Shards and times, as far as whole lines were written.
fn entries(path: &Path) -> Outcome<Vec<(String, u64)>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(path)?;
    let whole = text.rfind('\n').map_or("", |end| text.get(..end).unwrap_or_default());
    let entry = |line: &str| {
        let (shard, rest) = line.split_once('\t')?;
        let at = rest.rsplit('\t').next()?.parse().ok()?;
        Some((shard.to_owned(), at))
    };
    Ok(whole.lines().filter(|line| !line.starts_with('#')).filter_map(entry).collect())
}

fn last_of_each(path: &Path) -> Outcome<BTreeMap<String, u64>> {
    Ok(entries(path)?.into_iter().collect())
}

fn first_of_each(path: &Path, from: u64) -> Outcome<BTreeMap<String, u64>> {
    Ok(entries(path)?.into_iter().rev().filter(|(_, at)| *at >= from).collect())
}
