//! C1 where the stream's retention overtakes its readers: what was trimmed unread was told, and nothing else is missing.

use std::collections::BTreeMap;

use kinesis_shard::{Checkpoint, SequenceNumber, ShardId};

use super::judge::violation;
use crate::common::World;
use crate::common::history::{Event, StoredUserRecord, Violation};

/// Why a record that nobody was handed is no loss of the library's, if it is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trimmed {
    /// A worker told that records may be missing there.
    Told,
    /// It was gone before its shard had a first checkpoint: reading began at the oldest record that there was.
    BeforeACheckpoint,
    /// It was gone, and its shard too, before anybody who was awake could give that a lease.
    BeforeALease,
}

/// How long a fleet that is awake may take to find a shard, in milliseconds: by the end of its parents, or by comparing.
const FOUND_WITHIN: u64 = 300_000;

/// How long it may take from the start of a shard's reading to its first read, in milliseconds, with requests that fail.
const FIRST_READ_WITHIN: u64 = 60_000;

impl Trimmed {
    pub fn situation(self) -> &'static str {
        match self {
            Self::Told => "record trimmed unread, and told",
            Self::BeforeACheckpoint => "record trimmed before a first checkpoint",
            Self::BeforeALease => "record trimmed with its shard, while all slept",
        }
    }
}

/// Which acknowledged records were trimmed before anybody was handed them, and which are lost.
pub fn unread(world: &World) -> (Vec<Trimmed>, Vec<Violation>) {
    let unread = world.history.unread();
    let (mut trimmed, mut found) = (Vec::new(), Vec::new());
    if unread.is_empty() {
        return (trimmed, found);
    }
    let now = world.now_millis();
    let mut copies: BTreeMap<u64, Vec<StoredUserRecord>> = BTreeMap::new();
    for record in world.stored().into_iter().filter(|record| unread.contains(&record.uid)) {
        copies.entry(record.uid).or_default().push(record);
    }
    world.history.read(|events| {
        for uid in unread {
            let copies = copies.get(&uid).map_or(&[][..], Vec::as_slice);
            if copies.is_empty() || copies.iter().any(|copy| copy.trimmed_at() > now) {
                let what = format!("record {uid} was acknowledged and never handed over");
                found.push(violation("C1", what));
                continue;
            }
            for copy in copies {
                match reason(events, copy) {
                    Some(reason) => trimmed.push(reason),
                    None => found.push(violation(
                        "C1",
                        format!(
                            "record {uid} was trimmed unread from {}, at {}, untold",
                            copy.shard,
                            copy.trimmed_at()
                        ),
                    )),
                }
            }
        }
    });
    (trimmed, found)
}

fn reason(events: &[(u64, Event)], copy: &StoredUserRecord) -> Option<Trimmed> {
    let gone = copy.trimmed_at();
    let number = copy.position.sequence_number;
    let covers = |shard: &ShardId, after: Option<SequenceNumber>, first: Option<SequenceNumber>| {
        *shard == copy.shard
            && after.is_none_or(|after| after <= number)
            && first.is_none_or(|first| number < first)
    };
    let told = events.iter().any(|(at, event)| match event {
        Event::Gap { shard, after, first, .. } => *at >= gone && covers(shard, *after, *first),
        _ => false,
    });
    if told {
        return Some(Trimmed::Told);
    }
    if starts_without_a_checkpoint(events, copy) {
        return Some(Trimmed::BeforeACheckpoint);
    }
    let leased = events
        .iter()
        .any(|(_, event)| matches!(event, Event::TableWrite { key, .. } if key.shard_id() == copy.shard));
    // Whoever is awake renews.
    let awake = |at: &u64| *at > copy.arrived + FOUND_WITHIN && *at < gone;
    let somebody = events.iter().any(|(at, event)| matches!(event, Event::TableWrite { .. }) && awake(at));
    (!leased && !somebody).then_some(Trimmed::BeforeALease)
}

/// Whether whoever read the shard when the record went, or came next, had no checkpoint and was handed nothing yet.
fn starts_without_a_checkpoint(events: &[(u64, Event)], copy: &StoredUserRecord) -> bool {
    let gone = copy.trimmed_at();
    let starts = || {
        events.iter().filter_map(|(at, event)| match event {
            Event::Started { shard, from, tenure, .. } if *shard == copy.shard => Some((*at, *from, *tenure)),
            _ => None,
        })
    };
    let next = starts().find(|(at, ..)| *at >= gone);
    if next.is_some_and(|(_, from, _)| from == Checkpoint::TrimHorizon) {
        return true;
    }
    // It reads from the oldest record that there is when its first request arrives, which is not long after.
    let last = starts().take_while(|(at, ..)| *at < gone).last();
    let Some((at, Checkpoint::TrimHorizon, reader)) = last else { return false };
    let handed = events
        .iter()
        .take_while(|(at, _)| *at < gone)
        .any(|(_, event)| matches!(event, Event::Delivered { tenure, .. } if *tenure == reader));
    !handed && gone < at + FIRST_READ_WITHIN
}
