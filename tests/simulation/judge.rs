//! The promises about leases and requests, judged on the rows as they were and on the engine's trace.

use std::collections::{BTreeMap, BTreeSet};

use kcl::lease::{Lease, LeaseKey};
use kinesis_shard::ShardId;
use tokio::task::JoinSet;

use crate::common::World;
use crate::common::history::{Event, Violation};

type Rows = BTreeMap<LeaseKey, Lease>;

// Rows.
mod rows;

pub use self::rows::leases;

pub fn violation(invariant: &'static str, what: String) -> Violation {
    Violation { invariant, what }
}

/// L9, P2: what is still open although nothing has gone wrong for long. `read`: there are workers.
pub fn unsettled(
    world: &World,
    rows: &Rows,
    puts: &mut JoinSet<()>,
    open: usize,
    read: bool,
) -> Vec<Violation> {
    while puts.try_join_next().is_some() {}
    let mut found = Vec::new();
    if !puts.is_empty() {
        found.push(violation("P2", format!("{} callers of the producer still wait", puts.len())));
    }
    if open > 0 {
        found.push(violation("P2", format!("{open} accepted records are still not answered")));
    }
    if !read {
        return found;
    }
    found.extend(super::retention::unread(world).1);
    for shard in world.shards().iter().filter(|shard| shard.is_open()) {
        let owner = rows.get(&LeaseKey::from(&shard.id)).map(|row| row.owner.clone());
        if !matches!(owner, Some(Some(_))) {
            found.push(violation("L9", format!("{} is open, and its row says {owner:?}", shard.id)));
        }
    }
    found
}

fn copies_of(world: &World) -> BTreeMap<u64, usize> {
    let mut copies: BTreeMap<u64, usize> = BTreeMap::new();
    for record in world.stored() {
        *copies.entry(record.uid).or_default() += 1;
    }
    copies
}

pub fn has_copies(world: &World) -> bool {
    copies_of(world).values().any(|copies| *copies > 1)
}

/// P5, P12: where every answer came and no shard changed, each record is stored once.
pub fn copies(world: &World) -> Vec<Violation> {
    let copies = copies_of(world);
    let more = copies.iter().filter(|(_, copies)| **copies > 1);
    more.map(|(uid, copies)| {
        violation("P5", format!("record {uid} is stored {copies} times, and nothing went wrong"))
    })
    .collect()
}

/// P14: where nothing fails, and only the shards change, each record finds its place.
pub fn refusals(world: &World) -> Vec<Violation> {
    world.history.read(|events| {
        let refused = events.iter().filter_map(|(at, event)| match event {
            Event::Refused { uid, why, .. } => Some((at, uid, why)),
            _ => None,
        });
        refused
            .map(|(at, uid, why)| {
                violation("P14", format!("at {at}: record {uid} was refused, and nothing failed: {why}"))
            })
            .collect()
    })
}

/// H2: a worker that stopped cleanly names itself on no row that it held. One that was handed to it by somebody else at
/// that moment waits for the failover time.
pub fn given_back(world: &World, rows: &Rows, stopped: &BTreeSet<String>) -> Vec<Violation> {
    // What was not renewed in time ran out and cannot be given back; what an earlier process held is not this one's.
    let mut since = world.now_millis().saturating_sub(4_000);
    let mut writers: BTreeMap<LeaseKey, (String, u64)> = BTreeMap::new();
    world.history.read(|events| {
        for (at, event) in events {
            match event {
                Event::Life { worker } if stopped.contains(worker) => since = since.max(*at),
                Event::TableWrite { worker, key, .. } => {
                    writers.insert(key.clone(), (worker.clone(), *at));
                }
                _ => {}
            }
        }
    });
    let names_it = |row: &&Lease| {
        let owner = row.owner.as_ref().map(kcl::WorkerId::as_str);
        owner.is_some_and(|owner| stopped.contains(owner))
            && writers.get(&row.key).is_some_and(|(by, at)| owner == Some(by.as_str()) && *at >= since)
    };
    let kept = rows.values().filter(|row| !row.is_finished()).filter(names_it);
    kept.map(|row| violation("H2", format!("{} still belongs to {:?}, which stopped", row.key, row.owner)))
        .collect()
}

/// H1: who gives a lease back has told its processor before.
pub fn last_words(world: &World) -> Vec<Violation> {
    world.history.read(|events| {
        let mut living: BTreeMap<(&str, &ShardId), u64> = BTreeMap::new();
        let mut of: BTreeMap<u64, (&str, &ShardId)> = BTreeMap::new();
        let mut found = Vec::new();
        let mut scans = BTreeSet::new();
        for (at, event) in events {
            match event {
                // The closure of a scan is told of nothing but records.
                Event::Scans { worker } => {
                    scans.insert(worker.as_str());
                }
                Event::Started { worker, .. } if scans.contains(worker.as_str()) => {}
                Event::Started { worker, tenure, shard, .. } => {
                    living.insert((worker, shard), *tenure);
                    of.insert(*tenure, (worker, shard));
                }
                Event::ShutdownRequested { tenure, .. }
                | Event::LeaseLost { tenure, .. }
                | Event::ShardEnded { tenure, .. } => {
                    if let Some(place) = of.get(tenure) {
                        living.remove(place);
                    }
                }
                Event::Crashed { worker } | Event::Life { worker } => {
                    living.retain(|(of, _), _| of != worker);
                }
                Event::TableWrite { worker, key, before: Some(before), after: Some(after), .. } => {
                    let is = |row: &Lease| row.actual_owner().is_some_and(|owner| owner.as_str() == worker);
                    let shard = key.shard_id();
                    if is(before) && !is(after) && living.contains_key(&(worker.as_str(), &shard)) {
                        found.push(violation(
                            "H1",
                            format!("at {at}: {worker} gives {key} back, and its processor was not told"),
                        ));
                    }
                }
                _ => {}
            }
        }
        found
    })
}

/// How long a hand-over may take when nothing goes wrong: the failover time for an owner that does not answer, and two looks
/// at the table.
const HAND_OVER: u64 = 24_000;

/// H3: no lease is marked as asked for, and stays so.
pub fn handovers(world: &World) -> Vec<Violation> {
    let mut marked: BTreeMap<LeaseKey, u64> = BTreeMap::new();
    world.history.read(|events| {
        for (at, event) in events {
            let Event::TableWrite { key, after, .. } = event else { continue };
            match after {
                Some(row) if row.checkpoint_owner.is_some() && !row.is_finished() => {
                    marked.entry(key.clone()).or_insert(*at);
                }
                _ => {
                    marked.remove(key);
                }
            }
        }
    });
    let now = world.now_millis();
    let stuck = marked.into_iter().filter(|(_, at)| now > at + HAND_OVER);
    stuck
        .map(|(key, at)| violation("H3", format!("{key} is asked for since {at}, and it is {now}")))
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
