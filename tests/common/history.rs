//! What happened in one run, written by the actors and the engine.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kcl::lease::{Lease, LeaseKey};
use kinesis_shard::{Checkpoint, ExtendedSequenceNumber, SequenceNumber, ShardId, limits};

// The judge of it.
mod judge;

pub use self::judge::{judge, judge_nothing_lost};

/// Who deletes a row in the console.
pub const HAND: &str = "somebody";

/// One thing that happened, with the virtual time in milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Submitted {
        uid: u64,
    },
    /// Accepted after every other one of this line, by a producer that keeps order.
    InLine {
        uid: u64,
        line: String,
    },
    Acknowledged {
        uid: u64,
        shard: ShardId,
        position: ExtendedSequenceNumber,
    },
    /// A record was sent again so soon after an attempt failed.
    Hasty {
        uid: u64,
        millis: u64,
        after: String,
    },
    Refused {
        uid: u64,
        may_have_been_written: bool,
        why: String,
    },
    Started {
        worker: String,
        tenure: u64,
        shard: ShardId,
        from: Checkpoint,
    },
    Delivered {
        worker: String,
        tenure: u64,
        shard: ShardId,
        position: ExtendedSequenceNumber,
        uid: u64,
    },
    CheckpointAsked {
        tenure: u64,
        shard: ShardId,
        at: Checkpoint,
    },
    CheckpointApplied {
        tenure: u64,
        shard: ShardId,
        at: Checkpoint,
    },
    LeaseLost {
        tenure: u64,
        shard: ShardId,
    },
    ShardEnded {
        tenure: u64,
        shard: ShardId,
    },
    ShutdownRequested {
        tenure: u64,
        shard: ShardId,
    },
    /// A call of the processor begins or ends; between them the application has the records.
    CallBegun {
        worker: String,
        tenure: u64,
        shard: ShardId,
    },
    CallEnded {
        tenure: u64,
        shard: ShardId,
        failed: bool,
    },
    /// A write that took effect on the lease table, whether or not its writer learnt of it.
    TableWrite {
        worker: String,
        key: LeaseKey,
        /// When it was sent; it takes effect when it is written down.
        sent: u64,
        before: Option<Box<Lease>>,
        after: Option<Box<Lease>>,
    },
    /// All tasks of the worker are gone from here on.
    Crashed {
        worker: String,
    },
    /// A process of this worker begins.
    Life {
        worker: String,
    },
    /// What runs in it is a scan, which tells its closure of records only.
    Scans {
        worker: String,
    },
    /// The worker tells that records of a shard may be gone: those behind `after`, if it says so, and before `first`.
    Gap {
        worker: String,
        shard: ShardId,
        after: Option<SequenceNumber>,
        first: Option<SequenceNumber>,
        /// Whether it was reading, instead of about to begin.
        overtaken: bool,
    },
    ScanEnded {
        worker: String,
        why: String,
    },
    Note(String),
}

/// The append-only list of events of one run; cheap to clone, shared by all actors.
#[derive(Debug, Clone, Default)]
pub struct History {
    log: Arc<Mutex<Log>>,
}

#[derive(Debug, Default)]
struct Log {
    events: Vec<(u64, Event)>,
    acknowledged: BTreeSet<u64>,
    delivered: BTreeSet<u64>,
    unread: BTreeSet<u64>,
}

impl History {
    pub fn record(&self, at_millis: u64, event: Event) {
        let mut log = self.log();
        match event {
            Event::Acknowledged { uid, .. } => {
                log.acknowledged.insert(uid);
                if !log.delivered.contains(&uid) {
                    log.unread.insert(uid);
                }
            }
            Event::Delivered { uid, .. } => {
                log.delivered.insert(uid);
                log.unread.remove(&uid);
            }
            _ => {}
        }
        log.events.push((at_millis, event));
    }

    pub fn events(&self) -> Vec<(u64, Event)> {
        self.log().events.clone()
    }

    /// Works on the events as they are, without a copy.
    pub fn read<T>(&self, work: impl FnOnce(&[(u64, Event)]) -> T) -> T {
        work(&self.log().events)
    }

    /// What was acknowledged and not handed over.
    pub fn unread(&self) -> BTreeSet<u64> {
        self.log().unread.clone()
    }

    /// Whether everything acknowledged so far was handed over.
    pub fn is_all_read(&self) -> bool {
        self.log().unread.is_empty()
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One line per event: what two runs of one seed must agree on, byte for byte.
    pub fn text(&self) -> String {
        self.read(|events| {
            events.iter().fold(String::new(), |mut text, (at, event)| {
                match event {
                    Event::TableWrite { worker, key, before, after, .. } => {
                        let (before, after) = (row_text(before.as_deref()), row_text(after.as_deref()));
                        writeln!(text, "{at:>8} {worker} writes {key}: {before} becomes {after}")
                    }
                    event => writeln!(text, "{at:>8} {event:?}"),
                }
                .expect("writing to a string cannot fail");
                text
            })
        })
    }

    pub fn acknowledged(&self) -> BTreeSet<u64> {
        self.log().acknowledged.clone()
    }

    pub fn refused(&self) -> BTreeSet<u64> {
        self.collect(|event| match event {
            Event::Refused { uid, .. } => Some(*uid),
            _ => None,
        })
    }

    pub fn submitted(&self) -> BTreeSet<u64> {
        self.collect(|event| match event {
            Event::Submitted { uid } => Some(*uid),
            _ => None,
        })
    }

    pub fn delivered(&self) -> BTreeSet<u64> {
        self.log().delivered.clone()
    }

    /// How often each record was handed over, over all workers.
    pub fn deliveries(&self) -> BTreeMap<u64, usize> {
        let mut counts = BTreeMap::new();
        for (_, event) in self.events() {
            if let Event::Delivered { uid, .. } = event {
                *counts.entry(uid).or_default() += 1;
            }
        }
        counts
    }

    /// How often the most repeated stored position was handed over: 1 unless a tenure had to start again.
    pub fn most_repeated_position(&self) -> usize {
        let mut counts: BTreeMap<(ShardId, ExtendedSequenceNumber), usize> = BTreeMap::new();
        for (_, event) in self.events() {
            if let Event::Delivered { shard, position, .. } = event {
                *counts.entry((shard, position)).or_default() += 1;
            }
        }
        counts.into_values().max().unwrap_or(0)
    }

    pub fn workers_that_delivered(&self) -> BTreeSet<String> {
        let events = self.events();
        let workers = events.iter().filter_map(|(_, event)| match event {
            Event::Delivered { worker, .. } => Some(worker.clone()),
            _ => None,
        });
        workers.collect()
    }

    pub fn shards_ended(&self) -> BTreeSet<ShardId> {
        let events = self.events();
        let ended = events.iter().filter_map(|(_, event)| match event {
            Event::ShardEnded { shard, .. } => Some(shard.clone()),
            _ => None,
        });
        ended.collect()
    }

    fn collect(&self, pick: impl Fn(&Event) -> Option<u64>) -> BTreeSet<u64> {
        self.events().iter().filter_map(|(_, event)| pick(event)).collect()
    }
}

/// What matters of a row, in one line.
fn row_text(row: Option<&Lease>) -> String {
    let Some(row) = row else { return "nothing".to_owned() };
    let name =
        |worker: &Option<kcl::WorkerId>| worker.as_ref().map_or("nobody".to_owned(), ToString::to_string);
    let marked = row.checkpoint_owner.as_ref().map_or(String::new(), |old| format!(", held by {old}"));
    format!("[{} of {}{marked}, at {:?}]", row.counter, name(&row.owner), row.checkpoint)
}

/// One user record as the engine stores it: the truth that clients' beliefs are compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredUserRecord {
    pub shard: ShardId,
    pub position: ExtendedSequenceNumber,
    pub uid: u64,
    /// When it arrived, in the milliseconds of the history.
    pub arrived: u64,
    /// Every member of its Kinesis record hashes into its shard's range: a KCL reader with the range filter delivers it.
    pub whole_aggregate_in_range: bool,
}

impl StoredUserRecord {
    /// From when on the stream does not hold it any more. No retention but the default is used.
    pub fn trimmed_at(&self) -> u64 {
        let retention = u64::try_from(limits::RETENTION_DEFAULT.as_millis()).expect("a day");
        self.arrived + retention + 1
    }
}

/// A broken promise: the invariant of docs/guarantees.md and what shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub invariant: &'static str,
    pub what: String,
}
