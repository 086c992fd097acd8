//! The promises about leases, judged on the rows as they were at each moment.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kcl::lease::{Lease, LeaseKey};
use kinesis_shard::{Checkpoint, ExtendedSequenceNumber, HashKeyRange, Shard, ShardId};

use super::{Rows, violation};
use crate::common::World;
use crate::common::history::{Event, HAND, Violation};

/// Everything about rows: L2, L3, L6, L8, C4, C5, C8, C9, C10, C11.
pub fn leases(world: &World, rows: &Rows, failover: Duration) -> Vec<Violation> {
    let shards = world.shards();
    world.history.read(|events| {
        let mut truth = Truth::new(&shards, world.gone(), failover);
        for (at, event) in events {
            truth.see(*at, event);
        }
        let mut found = truth.found;
        // Where somebody deletes rows, a counter can be met again in other hands, and nobody can know what was read: it
        // comes again. Nothing is lost, and nobody calls its processor without belief.
        if !truth.by_hand.is_empty() {
            found.retain(|violation| ["L8", "C10"].contains(&violation.invariant));
        }
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
    /// Shards that the service no longer lists, and when it last did.
    gone: BTreeMap<ShardId, u64>,
    failover: Duration,
    rows: BTreeMap<LeaseKey, (Lease, u64)>,
    finished: BTreeSet<ShardId>,
    /// When each worker last raised the counter of each row, and when somebody deleted one.
    written: BTreeMap<(LeaseKey, String), u64>,
    by_hand: BTreeMap<LeaseKey, u64>,
    /// How far each worker was handed each shard, over its lives.
    handed: BTreeMap<(String, ShardId), ExtendedSequenceNumber>,
    found: Vec<Violation>,
}

impl<'a> Truth<'a> {
    fn new(shards: &'a [Shard], gone: BTreeMap<ShardId, u64>, failover: Duration) -> Self {
        let mut children: BTreeMap<&ShardId, Vec<&ShardId>> = BTreeMap::new();
        for shard in shards {
            for parent in shard.parents() {
                children.entry(parent).or_default().push(&shard.id);
            }
        }
        Self {
            shards: shards.iter().map(|shard| (&shard.id, shard)).collect(),
            children,
            gone,
            failover,
            rows: BTreeMap::new(),
            finished: BTreeSet::new(),
            written: BTreeMap::new(),
            by_hand: BTreeMap::new(),
            handed: BTreeMap::new(),
            found: Vec::new(),
        }
    }

    fn see(&mut self, at: u64, event: &Event) {
        match event {
            Event::TableWrite { worker, key, sent, before, after } => {
                match (before, after) {
                    (Some(before), Some(after)) => self.changed(at, worker, before, after),
                    (Some(before), None) if worker != HAND => self.deleted(at, before),
                    (Some(_), None) | (None, _) => {}
                }
                self.note_writer(at, worker, key, (before.as_deref(), after.as_deref()));
                match after {
                    Some(after) => {
                        let moved = before.as_ref().is_none_or(|before| before.counter != after.counter);
                        let since = match self.rows.get(key) {
                            Some((_, since)) if !moved => *since,
                            // Its owner believes from there on.
                            _ => *sent,
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
                let key = LeaseKey::from(shard);
                // Nobody can know yet of what was done by hand.
                let by_hand = self.by_hand.get(&key).is_some_and(|gone| at < *gone + self.lease_millis());
                let last = self.written.get(&(key, worker.clone())).copied().unwrap_or(0);
                if at > last + self.lease_millis() && !by_hand {
                    self.found.push(violation(
                        "L8",
                        format!(
                            "at {at}: {worker} calls its processor for {shard}, and last wrote the row at {last}"
                        ),
                    ));
                }
                if owner != Some(worker) && !by_hand {
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

    fn note_writer(&mut self, at: u64, worker: &str, key: &LeaseKey, row: (Option<&Lease>, Option<&Lease>)) {
        let counted = match row {
            (Some(before), Some(after)) => before.counter != after.counter,
            _ => true,
        };
        if counted {
            self.written.insert((key.clone(), worker.to_owned()), at);
        }
        if worker == HAND {
            self.by_hand.insert(key.clone(), at);
        }
    }

    /// How long a worker may believe after its last write took effect, which is not before it was sent.
    fn lease_millis(&self) -> u64 {
        u64::try_from(self.failover.as_millis()).unwrap_or(u64::MAX)
    }

    /// C8 on the rows: every parent that has a row is finished.
    fn parents_first(&mut self, at: u64, shard: &ShardId) {
        let Some(known) = self.shards.get(shard).filter(|_| self.by_hand.is_empty()) else { return };
        for parent in known.parents() {
            let row = self.rows.get(&LeaseKey::from(parent)).map(|(row, _)| row);
            // One that ended, and whose row came back by a creation that landed late, is read again and holds up nobody.
            if row.is_some_and(|row| !row.is_finished()) && !self.finished.contains(parent) {
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
        let renewed = step == Some(1) && owners_stay && !progress;
        if renewed && actual != Some(worker) && self.by_hand.is_empty() {
            self.found
                .push(violation("L1", format!("at {at}: {worker} renews {key}, whose owner is {actual:?}")));
        }
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
        if owner.as_str() == worker || !to_writer || handed || self.by_hand.contains_key(&before.key) {
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

    /// C9: a shard that is finished is closed, and its children have rows, or are finished and gone, or were forgotten by the stream.
    fn finished(&mut self, at: u64, key: &LeaseKey) {
        let shard = key.shard_id();
        if self.shards.get(&shard).is_none_or(|shard| shard.is_open()) {
            self.found.push(violation("C9", format!("at {at}: {shard} is open and at SHARD_END")));
        }
        for child in self.children.get(&shard).into_iter().flatten() {
            let forgotten = self.gone.get(*child).is_some_and(|last| at > *last);
            if !forgotten
                && !self.rows.contains_key(&LeaseKey::from(*child))
                && !self.finished.contains(*child)
            {
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
        if !self.shards.contains_key(&shard) || self.gone.get(&shard).is_some_and(|last| at > *last) {
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
