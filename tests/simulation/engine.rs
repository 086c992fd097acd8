//! The engine itself, judged by what it stored and listed: E1 numbers, E2 ranges, E3 closed shards, E4 retention, E5 limits.
//!
//! What it answers is judged by the promises of those who rely on it: an answer that contradicts what is stored breaks P1,
//! P3, P5 or C2.

use std::collections::BTreeMap;

use kinesis_shard::{HashKey, Shard, ShardId, limits};
use kinesis_sim::StoredRecord;

use super::judge::violation;
use crate::common::World;
use crate::common::history::{Event, Violation};

pub fn engine(world: &World, trace: &[String]) -> Vec<Violation> {
    let mut found = Vec::new();
    for stream in world.streams {
        let shards = world.sim.shards(stream);
        let mut records: BTreeMap<ShardId, Vec<StoredRecord>> = BTreeMap::new();
        for record in world.sim.stored(stream) {
            records.entry(record.shard_id.clone()).or_default().push(record);
        }
        found.extend(tiles(&shards));
        found.extend(lineage(&shards));
        for shard in &shards {
            let records = records.get(&shard.id).map_or(&[][..], Vec::as_slice);
            found.extend(numbers(shard, records));
            found.extend(places(shard, records));
            found.extend(rates(shard, records));
            found.extend(ages(shard, records, world.sim.now_millis()));
        }
    }
    found.extend(too_early(world));
    found.extend(reads(trace));
    found
}

/// E1: the numbers of a shard grow, between those that it was listed with, and so do the times.
fn numbers(shard: &Shard, records: &[StoredRecord]) -> Vec<Violation> {
    let bad = |pair: &&[StoredRecord]| {
        pair[0].sequence_number >= pair[1].sequence_number
            || pair[0].arrived_at_millis > pair[1].arrived_at_millis
    };
    let broken = records.windows(2).find(bad).map(|pair| pair[1].sequence_number);
    let outside = |record: &&StoredRecord| {
        record.sequence_number <= shard.starting_sequence_number
            || shard.ending_sequence_number.is_some_and(|end| record.sequence_number >= end)
    };
    let outside = records.iter().find(outside).map(|record| record.sequence_number);
    let found = broken.or(outside).into_iter();
    found.map(|number| violation("E1", format!("{}: {number} is out of order", shard.id))).collect()
}

/// E1: the numbers of a child come after all of its parents'.
fn lineage(shards: &[Shard]) -> Vec<Violation> {
    let ends: BTreeMap<&ShardId, _> =
        shards.iter().map(|one| (&one.id, one.ending_sequence_number)).collect();
    let begins_early = |child: &Shard, parent: &ShardId| {
        ends.get(parent).is_some_and(|end| end.is_none_or(|end| end >= child.starting_sequence_number))
    };
    let pairs = shards.iter().flat_map(|child| child.parents().map(move |parent| (child, parent)));
    let early = pairs.filter(|(child, parent)| begins_early(child, parent));
    early
        .map(|(child, parent)| {
            violation("E1", format!("the numbers of {} begin before the end of {parent}", child.id))
        })
        .collect()
}

/// E2: each key has one open shard.
fn tiles(shards: &[Shard]) -> Vec<Violation> {
    let mut open: Vec<_> =
        shards.iter().filter(|shard| shard.is_open()).map(|one| one.hash_key_range).collect();
    open.sort_by_key(|range| range.start());
    let ends = open.first().map(|range| range.start()) == Some(HashKey::MIN)
        && open.last().map(|range| range.end()) == Some(HashKey::MAX);
    let joined =
        open.windows(2).all(|pair| pair[0].end().get().checked_add(1) == Some(pair[1].start().get()));
    if ends && joined {
        return Vec::new();
    }
    vec![violation("E2", format!("the open shards leave keys out, or share some: {open:?}"))]
}

/// E2, E3: a record lies in the shard of its key, and came before that was closed.
fn places(shard: &Shard, records: &[StoredRecord]) -> Vec<Violation> {
    let mut found = Vec::new();
    let closed = shard.ending_sequence_number.and_then(|end| Some(end.layout()?.arrived_seconds));
    for record in records {
        let key =
            record.explicit_hash_key.unwrap_or_else(|| HashKey::of_partition_key(&record.partition_key));
        let number = record.sequence_number;
        if !shard.hash_key_range.contains(key) {
            found.push(violation("E2", format!("{number} of {} has the key {key}", shard.id)));
        }
        if closed.is_some_and(|second| record.arrived_at_millis / 1_000 > second) {
            found.push(violation("E3", format!("{number} came after {} was closed", shard.id)));
        }
    }
    found
}

/// E5: a shard takes a second's worth at once, and then its rate; counted in thousandths, as a rate per millisecond.
fn rates(shard: &Shard, records: &[StoredRecord]) -> Option<Violation> {
    let rates = [limits::SHARD_WRITE_RECORDS_PER_SECOND, limits::SHARD_WRITE_BYTES_PER_SECOND];
    let (mut left, mut last) = (rates.map(|rate| rate * 1_000), 0);
    for record in records {
        let passed = record.arrived_at_millis - last;
        last = record.arrived_at_millis;
        let bytes = (record.data.len() + record.partition_key.len()) as u64;
        for ((left, rate), amount) in left.iter_mut().zip(rates).zip([1, bytes]) {
            *left = (*left + passed.saturating_mul(rate)).min(rate * 1_000);
            if *left < amount * 1_000 {
                let number = record.sequence_number;
                return Some(violation("E5", format!("{} had no room for {number}", shard.id)));
            }
            *left -= amount * 1_000;
        }
    }
    None
}

/// E4: an iterator is good for five minutes; E5: a shard answers five reads at once, and then five a second. Who reads has its
/// iterator from its last answer at the latest, so one that is accused is older still.
fn reads(trace: &[String]) -> Vec<Violation> {
    const LIFETIME: u64 = 5 * 60 * 1_000;
    let mut given: BTreeMap<(&str, &str, &str), u64> = BTreeMap::new();
    let mut left: BTreeMap<(&str, &str), (u64, u64)> = BTreeMap::new();
    let rate = limits::SHARD_READ_CALLS_PER_SECOND;
    let mut found = Vec::new();
    for line in trace {
        let words: Vec<&str> = line.split(' ').collect();
        let [at, caller, operation @ ("GetShardIterator" | "GetRecords"), stream, shard, outcome, ..] =
            words[..]
        else {
            continue;
        };
        // An answer that is lost says "ok" and then a comma.
        if outcome.trim_end_matches(',') != "ok" {
            continue;
        }
        let at: u64 = at.parse().expect("a line begins with its time");
        if operation == "GetRecords" {
            let since = given.get(&(caller, stream, shard)).copied();
            if since.is_none_or(|since| at - since > LIFETIME) {
                found.push(violation("E4", format!("its iterator is of {since:?}: {line}")));
            }
            let (left, last) = left.entry((stream, shard)).or_insert((rate * 1_000, 0));
            *left = (*left + (at - *last).saturating_mul(rate)).min(rate * 1_000);
            *last = at;
            match left.checked_sub(1_000) {
                Some(rest) => *left = rest,
                None => found.push(violation("E5", format!("{shard} had no room for a read: {line}"))),
            }
        }
        if !line.ends_with("answer lost") {
            given.insert((caller, stream, shard), at);
        }
    }
    found
}

/// E4: nothing is held longer than the retention of a day.
fn ages(shard: &Shard, records: &[StoredRecord], now: u64) -> Option<Violation> {
    let day = u64::try_from(limits::RETENTION_DEFAULT.as_millis()).expect("a day");
    let old = records.first().filter(|record| record.arrived_at_millis + day < now)?;
    Some(violation("E4", format!("{} still holds {}", shard.id, old.sequence_number)))
}

/// E4: what is younger is held, and comes where it is asked for: no worker is told of a checkpoint that is gone while its
/// record is stored.
fn too_early(world: &World) -> Vec<Violation> {
    let now = world.now_millis();
    let held: Vec<_> = world.held();
    let archived = world.stored();
    let mut found = Vec::new();
    if archived.len() > held.len() {
        let kept: std::collections::BTreeSet<_> = held.iter().map(|one| (&one.shard, one.position)).collect();
        let lost = archived
            .iter()
            .filter(|one| one.trimmed_at() > now && !kept.contains(&(&one.shard, one.position)));
        found.extend(lost.map(|one| {
            violation("E4", format!("record {} of {} is gone before its time", one.uid, one.shard))
        }));
    }
    world.history.read(|events| {
        for (at, event) in events {
            let Event::Gap { shard, after: Some(checkpoint), overtaken: false, .. } = event else { continue };
            let there = archived.iter().any(|one| {
                one.shard == *shard && one.position.sequence_number == *checkpoint && one.trimmed_at() > *at
            });
            if there {
                let what = format!("at {at}: {checkpoint} of {shard} is said to be gone, and is stored");
                found.push(violation("E4", what));
            }
        }
    });
    found
}
