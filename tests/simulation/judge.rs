//! The promises about leases and requests, judged on the rows as they were and on the engine's trace.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kcl::lease::{Lease, LeaseKey};
use kinesis_shard::{Checkpoint, ExtendedSequenceNumber, HashKeyRange, Shard, ShardId};
use tokio::task::JoinSet;

use crate::common::history::{Event, Violation};
use crate::common::{STREAM, World};

type Rows = BTreeMap<LeaseKey, Lease>;

pub fn violation(invariant: &'static str, what: String) -> Violation {
    Violation { invariant, what }
}

/// L9, P2: what is still open although nothing has gone wrong for long.
pub fn unsettled(
    world: &World,
    rows: &Arc<Mutex<Rows>>,
    puts: &mut JoinSet<()>,
    open: usize,
) -> Vec<Violation> {
    while puts.try_join_next().is_some() {}
    let mut found = crate::common::history::judge_nothing_lost(&world.history);
    if !puts.is_empty() {
        found.push(violation("P2", format!("{} callers of the producer still wait", puts.len())));
    }
    if open > 0 {
        found.push(violation("P2", format!("{open} accepted records are still not answered")));
    }
    let rows = rows.lock().expect("no actor panics in it");
    for shard in world.sim.shards(STREAM).iter().filter(|shard| shard.is_open()) {
        let owner = rows.get(&LeaseKey::from(&shard.id)).map(|row| row.owner.clone());
        if !matches!(owner, Some(Some(_))) {
            found.push(violation("L9", format!("{} is open, and its row says {owner:?}", shard.id)));
        }
    }
    found
}

/// P5: where nothing went wrong and no shard changed, each record is stored once.
pub fn copies(world: &World) -> Vec<Violation> {
    let mut copies: BTreeMap<u64, usize> = BTreeMap::new();
    for record in world.stored() {
        *copies.entry(record.uid).or_default() += 1;
    }
    let more = copies.iter().filter(|(_, copies)| **copies > 1);
    more.map(|(uid, copies)| {
        violation("P5", format!("record {uid} is stored {copies} times, and nothing went wrong"))
    })
    .collect()
}

/// H2: a worker that stopped cleanly names itself on no row that it held. One that was handed to it by somebody else at
/// that moment waits for the failover time.
pub fn given_back(world: &World, rows: &Rows, stopped: &BTreeSet<String>) -> Vec<Violation> {
    let mut writers: BTreeMap<LeaseKey, String> = BTreeMap::new();
    world.history.read(|events| {
        for (_, event) in events {
            if let Event::TableWrite { worker, key, .. } = event {
                writers.insert(key.clone(), worker.clone());
            }
        }
    });
    let names_it = |row: &&Lease| {
        let owner = row.owner.as_ref().map(kcl::WorkerId::as_str);
        owner.is_some_and(|owner| stopped.contains(owner))
            && writers.get(&row.key).map(String::as_str) == owner
    };
    let kept = rows.values().filter(|row| !row.is_finished()).filter(names_it);
    kept.map(|row| violation("H2", format!("{} still belongs to {:?}, which stopped", row.key, row.owner)))
        .collect()
}

/// What the engine was asked: P8.
pub fn requests(trace: &[String]) -> Vec<Violation> {
    let bad = |line: &&String| {
        line.contains(" PutRecords ")
            && ["ValidationException", "InvalidArgumentException", "SerializationException"]
                .iter()
                .any(|refusal| line.contains(refusal))
    };
    trace.iter().filter(bad).map(|line| violation("P8", line.clone())).collect()
}

/// Everything about rows: L2, L3, L6, L8, C4, C5, C8, C9, C10, C11.
pub fn leases(world: &World, rows: &Rows, failover: Duration) -> Vec<Violation> {
    let shards = world.sim.shards(STREAM);
    world.history.read(|events| {
        let mut truth = Truth::new(&shards, failover);
        for (at, event) in events {
            truth.see(*at, event);
        }
        let mut found = truth.found;
        if !rows.is_empty() {
            found.extend(holes(rows, &shards));
        }
        found
    })
}

/// The table as it was at each moment of the history.
struct Truth<'a> {
    shards: BTreeMap<&'a ShardId, &'a Shard>,
    children: BTreeMap<&'a ShardId, Vec<&'a ShardId>>,
    failover: Duration,
    rows: BTreeMap<LeaseKey, (Lease, u64)>,
    finished: BTreeSet<ShardId>,
    /// How far each worker was handed each shard, over its lives.
    handed: BTreeMap<(String, ShardId), ExtendedSequenceNumber>,
    found: Vec<Violation>,
}

impl<'a> Truth<'a> {
    fn new(shards: &'a [Shard], failover: Duration) -> Self {
        let mut children: BTreeMap<&ShardId, Vec<&ShardId>> = BTreeMap::new();
        for shard in shards {
            for parent in shard.parents() {
                children.entry(parent).or_default().push(&shard.id);
            }
        }
        Self {
            shards: shards.iter().map(|shard| (&shard.id, shard)).collect(),
            children,
            failover,
            rows: BTreeMap::new(),
            finished: BTreeSet::new(),
            handed: BTreeMap::new(),
            found: Vec::new(),
        }
    }

    fn see(&mut self, at: u64, event: &Event) {
        match event {
            Event::TableWrite { worker, key, before, after } => {
                match (before, after) {
                    (Some(before), Some(after)) => self.changed(at, worker, before, after),
                    (Some(before), None) => self.deleted(at, before),
                    (None, _) => {}
                }
                match after {
                    Some(after) => {
                        let moved = before.as_ref().is_none_or(|before| before.counter != after.counter);
                        let since = match self.rows.get(key) {
                            Some((_, since)) if !moved => *since,
                            _ => at,
                        };
                        self.rows.insert(key.clone(), (Lease::clone(after), since));
                    }
                    None => {
                        self.rows.remove(key);
                    }
                }
            }
            // L3, L8: a call begins only while the row says that the lease is this worker's.
            Event::CallBegun { worker, shard, .. } => {
                let row = self.rows.get(&LeaseKey::from(shard)).map(|(row, _)| row);
                let owner = row.and_then(Lease::actual_owner).map(kcl::WorkerId::as_str);
                if owner != Some(worker) {
                    self.found.push(violation(
                        "L8",
                        format!(
                            "at {at}: {worker} calls its processor for {shard}, whose owner is {owner:?}"
                        ),
                    ));
                }
                self.parents_first(at, shard);
            }
            Event::Delivered { worker, shard, position, .. } => {
                self.handed.insert((worker.clone(), shard.clone()), *position);
            }
            _ => {}
        }
    }

    /// C8 on the rows: every parent that has a row is finished.
    fn parents_first(&mut self, at: u64, shard: &ShardId) {
        let Some(known) = self.shards.get(shard) else { return };
        for parent in known.parents() {
            let row = self.rows.get(&LeaseKey::from(parent)).map(|(row, _)| row);
            if row.is_some_and(|row| !row.is_finished()) {
                self.found.push(violation(
                    "C8",
                    format!("at {at}: {shard} is processed before its parent {parent} ended"),
                ));
            }
        }
    }

    fn changed(&mut self, at: u64, worker: &str, before: &Lease, after: &Lease) {
        let key = &before.key;
        let step = after.counter.get().checked_sub(before.counter.get());
        let owners_stay = before.owner == after.owner && before.checkpoint_owner == after.checkpoint_owner;
        let marked = after.checkpoint_owner.is_some() && before.checkpoint_owner.is_none();
        // A hand-over that was started, or one that will not take place: the owner goes on with its counter.
        let unmarked = after.checkpoint_owner.is_none()
            && before.checkpoint_owner.is_some()
            && after.owner == before.checkpoint_owner;
        let progress =
            before.checkpoint != after.checkpoint || before.pending_checkpoint != after.pending_checkpoint;
        let counted = progress || !(owners_stay || marked || unmarked);
        if step != Some(1) && (counted || step != Some(0)) {
            self.found.push(violation(
                "L2",
                format!(
                    "at {at}: {worker} moved the counter of {key} from {} to {}",
                    before.counter, after.counter
                ),
            ));
        }
        if after.checkpoint < before.checkpoint {
            self.found.push(violation(
                "C4",
                format!(
                    "at {at}: {worker} moved {key} back from {:?} to {:?}",
                    before.checkpoint, after.checkpoint
                ),
            ));
        }
        let actual = before.actual_owner().map(kcl::WorkerId::as_str);
        if progress && actual != Some(worker) {
            self.found.push(violation(
                "C5",
                format!("at {at}: {worker} checkpoints {key}, whose owner is {actual:?}"),
            ));
        }
        if after.is_finished() && !before.is_finished() {
            self.finished(at, key);
        }
        // C3: by what this worker was handed, whatever it asked for.
        if let (Checkpoint::At(to), true) = (after.checkpoint, progress) {
            let handed = self.handed.get(&(worker.to_owned(), key.shard_id()));
            if after.checkpoint != before.checkpoint && handed.is_none_or(|handed| *handed < to) {
                self.found.push(violation(
                    "C3",
                    format!("at {at}: {worker} checkpoints {key} at {to:?}, and was handed {handed:?}"),
                ));
            }
        }
        self.taken(at, worker, before, after);
    }

    /// L6: an owned row is taken by somebody else only after its counter stood still for the failover time, less what
    /// clocks may be off.
    fn taken(&mut self, at: u64, worker: &str, before: &Lease, after: &Lease) {
        let Some(owner) = &before.owner else { return };
        let to_writer = after.owner.as_ref().is_some_and(|after| after.as_str() == worker);
        let handed = before.checkpoint_owner.is_some() || after.checkpoint_owner.is_some();
        if owner.as_str() == worker || !to_writer || handed {
            return;
        }
        let stood_still = self.rows.get(&before.key).map_or(0, |(_, since)| at.saturating_sub(*since));
        let least = self.failover.mul_f64(0.98).as_millis();
        if u128::from(stood_still) < least {
            self.found.push(violation(
                "L6",
                format!(
                    "at {at}: {worker} took {} from {owner} after {stood_still} ms without a sign",
                    before.key
                ),
            ));
        }
    }

    /// C9: a shard that is finished is closed, and its children have rows, or are finished and gone.
    fn finished(&mut self, at: u64, key: &LeaseKey) {
        let shard = key.shard_id();
        if self.shards.get(&shard).is_none_or(|shard| shard.is_open()) {
            self.found.push(violation("C9", format!("at {at}: {shard} is open and at SHARD_END")));
        }
        for child in self.children.get(&shard).into_iter().flatten() {
            if !self.rows.contains_key(&LeaseKey::from(*child)) && !self.finished.contains(*child) {
                self.found.push(violation(
                    "C9",
                    format!("at {at}: {shard} is at SHARD_END, its child {child} has no row"),
                ));
            }
        }
        self.finished.insert(shard);
    }

    /// C11: a row goes only when its shard is finished and every child is past its first checkpoint.
    fn deleted(&mut self, at: u64, before: &Lease) {
        let shard = before.key.shard_id();
        if !self.shards.contains_key(&shard) {
            return;
        }
        if !before.is_finished() {
            self.found.push(violation(
                "C11",
                format!("at {at}: the row of {shard} was deleted at {:?}", before.checkpoint),
            ));
        }
        for child in self.children.get(&shard).into_iter().flatten() {
            let begun = match self.rows.get(&LeaseKey::from(*child)) {
                Some((row, _)) => matches!(row.checkpoint, Checkpoint::At(_) | Checkpoint::ShardEnd),
                None => self.finished.contains(*child),
            };
            if !begun {
                self.found.push(violation(
                    "C11",
                    format!("at {at}: the row of {shard} was deleted before its child {child} had begun"),
                ));
            }
        }
    }
}

/// C10: what is left of the table covers the key space: each open shard has a row, or an unfinished ancestor with one.
fn holes(rows: &Rows, shards: &[Shard]) -> Vec<Violation> {
    let by_id: BTreeMap<&ShardId, &Shard> = shards.iter().map(|shard| (&shard.id, shard)).collect();
    let covered = |start: &Shard| {
        let mut open = vec![start];
        while let Some(shard) = open.pop() {
            let row = rows.get(&LeaseKey::from(&shard.id));
            if row.is_some_and(|row| shard.id == start.id || !row.is_finished()) {
                return true;
            }
            open.extend(shard.parents().filter_map(|parent| by_id.get(parent).copied()));
        }
        false
    };
    let uncovered = shards.iter().filter(|shard| shard.is_open() && !covered(shard));
    uncovered
        .map(|shard| {
            violation("C10", format!("nobody will ever read {} ({})", shard.id, text(shard.hash_key_range)))
        })
        .collect()
}

fn text(range: HashKeyRange) -> String {
    format!("{:x} to {:x}", range.start().get(), range.end().get())
}
