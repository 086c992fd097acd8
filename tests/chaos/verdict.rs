//! What the files say, beside what the engine holds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use kinesis_shard::ParsedRecord;
use kinesis_sim::Sim;

use super::STREAM;

/// Where a record stands: shard, sequence number, index in its aggregate.
type Place = (String, String, u64);

#[derive(Debug, Default)]
pub(crate) struct Verdict {
    acknowledged: usize,
    stored: usize,
    handed: usize,
    copies_stored: usize,
    handed_again: usize,
    batches_failed: usize,
    workers_that_read: usize,
    broken: Vec<String>,
}

impl Verdict {
    pub(crate) fn is_good(&self) -> bool {
        self.broken.is_empty() && self.acknowledged > 0 && self.workers_that_read > 1
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acknowledged, stored, handed, copies_stored, handed_again, .. } = self;
        let Self { batches_failed, workers_that_read, broken, .. } = self;
        write!(
            f,
            "acknowledged {acknowledged}, stored {stored} ({copies_stored} of them again), handed over {handed} \
             ({handed_again} of them again) to {workers_that_read} workers, {batches_failed} batches could not be checkpointed"
        )?;
        broken.iter().take(20).try_for_each(|what| write!(f, "\nbroken: {what}"))
    }
}

/// Waits until everything acknowledged was handed over, at most this long, and judges.
pub(crate) async fn judge(folder: &Path, sim: &Sim, patience: Duration) -> Verdict {
    let deadline = Instant::now() + patience;
    loop {
        let (acknowledged, handed) = (acknowledged(folder), handed(folder));
        let read: BTreeSet<&str> = handed.iter().flat_map(Life::uids).collect();
        let missing = acknowledged.keys().find(|uid| !read.contains(uid.as_str()));
        if missing.is_none() || Instant::now() > deadline {
            return verdict(sim, &acknowledged, &handed);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// One file of a worker.
struct Life {
    worker: String,
    lines: Vec<Line>,
}

/// Each with the number of the tenure.
enum Line {
    Begins(u64),
    Record(u64, String, Place),
    /// The batch is not done with, and comes again.
    Failed(u64),
}

impl Line {
    fn read(words: &[&str]) -> Self {
        let number = |at: usize| words[at].parse().expect("a number");
        match words[0] {
            ">" => Self::Begins(number(1)),
            "!" => Self::Failed(number(1)),
            uid => Self::Record(number(4), uid.to_owned(), place(words)),
        }
    }
}

impl Life {
    fn uids(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().filter_map(|line| match line {
            Line::Record(_, uid, _) => Some(uid.as_str()),
            _ => None,
        })
    }
}

fn files(folder: &Path, role: &str) -> Vec<(String, String)> {
    let entries = std::fs::read_dir(folder).expect("the folder is there").filter_map(Result::ok);
    let mut files: Vec<_> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let text = name.starts_with(role).then(|| std::fs::read_to_string(entry.path()).ok())??;
            Some((name, text))
        })
        .collect();
    files.sort();
    files
}

/// The lines that were written to the end: who is killed may leave a half one.
fn lines(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| line.split(' ').collect())
}

fn place(words: &[&str]) -> Place {
    (words[1].to_owned(), words[2].to_owned(), words[3].parse().expect("an index"))
}

fn acknowledged(folder: &Path) -> BTreeMap<String, Place> {
    let mut all = BTreeMap::new();
    for (_, text) in files(folder, "producer") {
        all.extend(lines(&text).map(|words| (words[0].to_owned(), place(&words))));
    }
    all
}

fn handed(folder: &Path) -> Vec<Life> {
    let life = |(name, text): (String, String)| Life {
        worker: name.rsplit_once('-').map_or(String::new(), |(worker, _)| worker.to_owned()),
        lines: lines(&text).map(|words| Line::read(&words)).collect(),
    };
    files(folder, "worker").into_iter().map(life).collect()
}

fn verdict(sim: &Sim, acknowledged: &BTreeMap<String, Place>, handed: &[Life]) -> Verdict {
    let mut verdict = Verdict { acknowledged: acknowledged.len(), ..Verdict::default() };
    let log = stored(sim);
    let mut copies: BTreeMap<&str, usize> = BTreeMap::new();
    for uid in log.values() {
        *copies.entry(uid).or_default() += 1;
    }
    verdict.stored = log.len();
    verdict.copies_stored = log.len() - copies.len();
    for (uid, place) in acknowledged {
        if log.get(place) != Some(uid) {
            verdict
                .broken
                .push(format!("P1: {uid} was acknowledged at {place:?}, where {:?} is", log.get(place)));
        }
    }
    let mut read: BTreeSet<&str> = BTreeSet::new();
    let mut readers = BTreeSet::new();
    for life in handed {
        if life.uids().next().is_some() {
            readers.insert(life.worker.as_str());
        }
        for uid in life.uids() {
            verdict.handed += 1;
            verdict.handed_again += usize::from(!read.insert(uid));
        }
        verdict.judge_life(&log, life);
    }
    verdict.workers_that_read = readers.len();
    for uid in acknowledged.keys().filter(|uid| !read.contains(uid.as_str())) {
        verdict.broken.push(format!("C1: {uid} was acknowledged and never handed over"));
    }
    verdict
}

impl Verdict {
    /// What one process was handed is stored there, and comes in order; a batch that failed comes again from its beginning.
    fn judge_life(&mut self, log: &BTreeMap<Place, String>, life: &Life) {
        // Numbers of one length: their order is that of their texts.
        let order = |place: &Place| (place.1.len(), place.1.clone(), place.2);
        let (mut last, mut before_batch) = (BTreeMap::new(), BTreeMap::new());
        for line in &life.lines {
            match line {
                Line::Begins(tenure) => {
                    before_batch.insert(*tenure, last.get(tenure).cloned());
                }
                Line::Failed(tenure) => {
                    self.batches_failed += 1;
                    match before_batch.get(tenure).cloned().flatten() {
                        Some(before) => last.insert(*tenure, before),
                        None => last.remove(tenure),
                    };
                }
                Line::Record(tenure, uid, place) => {
                    let there = log.get(place);
                    if there != Some(uid) {
                        self.broken
                            .push(format!("C14: {uid} was handed over from {place:?}, where {there:?} is"));
                    }
                    let before = last.insert(*tenure, order(place));
                    if before.as_ref().is_some_and(|before| *before >= order(place)) {
                        let worker = &life.worker;
                        self.broken.push(format!("C2: {uid} at {place:?} came after {before:?} to {worker}"));
                    }
                }
            }
        }
    }
}

/// What the engine holds, user record by user record.
fn stored(sim: &Sim) -> BTreeMap<Place, String> {
    let mut log = BTreeMap::new();
    let text = |data: &[u8]| String::from_utf8_lossy(data).into_owned();
    for record in sim.stored(STREAM) {
        let number = record.sequence_number.to_string();
        match kinesis_shard::parse_aggregated(&record.data) {
            ParsedRecord::Plain(_) => {
                log.insert((record.shard_id.to_string(), number, 0), text(&record.data));
            }
            ParsedRecord::Aggregated(users) => {
                for (index, user) in (0_u64..).zip(&users) {
                    log.insert((record.shard_id.to_string(), number.clone(), index), text(&user.data));
                }
            }
        }
    }
    log
}
