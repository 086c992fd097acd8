//! The judge of a history, who knows nothing of the implementation: it sees only records put, answers given, positions
//! handed over and checkpoints applied.

use std::collections::{BTreeMap, BTreeSet};

use kinesis_shard::{Checkpoint, ExtendedSequenceNumber, Shard, ShardId, limits};

use super::{Event, HAND, History, StoredUserRecord, Violation};

fn violation(invariant: &'static str, what: String) -> Violation {
    Violation { invariant, what }
}

/// Judges one history against what the engine stored. Empty: nothing is wrong.
pub fn judge(history: &History, stored: &[StoredUserRecord], shards: &[Shard]) -> Vec<Violation> {
    history.read(|events| {
        let mut found = Vec::new();
        found.extend(judge_answers(events, stored));
        found.extend(judge_order(events, stored));
        // Where somebody deletes rows nobody can know what was read: it comes again, and nothing is lost.
        let by_hand =
            |(_, event): &(u64, Event)| matches!(event, Event::TableWrite { worker, .. } if worker == HAND);
        if !events.iter().any(by_hand) {
            found.extend(judge_checkpoints(events, stored));
            found.extend(judge_lineage(events, shards));
        }
        found.extend(judge_lives(events));
        found.extend(judge_lines(events, stored, shards));
        found
    })
}

/// P1, P2, P3, P6: each submission answered once, and truthfully.
fn judge_answers(events: &[(u64, Event)], stored: &[StoredUserRecord]) -> Vec<Violation> {
    let mut found = Vec::new();
    let present: BTreeSet<u64> = stored.iter().map(|record| record.uid).collect();
    let mut answers: BTreeMap<u64, usize> = BTreeMap::new();
    let places: BTreeMap<(&ShardId, ExtendedSequenceNumber), &StoredUserRecord> =
        stored.iter().map(|record| ((&record.shard, record.position), record)).collect();
    for (_, event) in events {
        match event {
            Event::Submitted { uid } => {
                answers.entry(*uid).or_insert(0);
            }
            Event::Acknowledged { uid, shard, position } => {
                *answers.entry(*uid).or_default() += 1;
                match places.get(&(shard, *position)) {
                    Some(record) if record.uid == *uid && record.whole_aggregate_in_range => {}
                    Some(record) if record.uid == *uid => found.push(violation(
                        "P6",
                        format!("record {uid} was acknowledged in {shard}, whose range does not cover its whole aggregate"),
                    )),
                    other => found.push(violation(
                        "P1",
                        format!("record {uid} was acknowledged at {shard} {position:?}, where the log holds {other:?}"),
                    )),
                }
            }
            Event::Hasty { uid, millis, after } => {
                found
                    .push(violation("P12", format!("record {uid} was sent again {millis} ms after {after}")));
            }
            Event::Refused { uid, may_have_been_written, .. } => {
                *answers.entry(*uid).or_default() += 1;
                if !may_have_been_written && present.contains(uid) {
                    found.push(violation(
                        "P3",
                        format!("record {uid} is stored, but its error says it cannot be"),
                    ));
                }
            }
            _ => {}
        }
    }
    for (uid, count) in answers {
        if count != 1 {
            found.push(violation("P2", format!("record {uid} was answered {count} times")));
        }
    }
    found
}

/// C2: in a tenure the positions handed over are exactly the stored ones after its start: no gap, repeat or inversion.
fn judge_order(events: &[(u64, Event)], stored: &[StoredUserRecord]) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut logs: BTreeMap<&ShardId, Vec<(ExtendedSequenceNumber, u64)>> = BTreeMap::new();
    for record in stored {
        logs.entry(&record.shard).or_default().push((record.position, record.trimmed_at()));
    }
    let mut next: BTreeMap<u64, (ShardId, usize)> = BTreeMap::new();
    for (at, event) in events {
        match event {
            Event::Started { tenure, shard, from, .. } => {
                let log = logs.get(shard).map_or(&[][..], Vec::as_slice);
                let first = match from {
                    Checkpoint::At(position) => log.partition_point(|(stored, _)| stored <= position),
                    Checkpoint::ShardEnd => log.len(),
                    _ => 0,
                };
                next.insert(*tenure, (shard.clone(), first));
            }
            Event::Delivered { tenure, shard, position, uid, .. } => {
                let log = logs.get(shard).map_or(&[][..], Vec::as_slice);
                let Some((_, expected)) = next.get_mut(tenure) else {
                    found.push(violation("C12", format!("{shard}: record {uid} came before initialize")));
                    continue;
                };
                // What the stream no longer held is no gap of the tenure; whether it was told is another question.
                let held = |(stored, gone): &&(ExtendedSequenceNumber, u64)| gone > at || stored == position;
                let comes_next = log.iter().skip(*expected).find(held).map(|(stored, _)| stored);
                if comes_next != Some(position) {
                    found.push(violation(
                        "C2",
                        format!(
                            "{shard}: tenure {tenure} was handed {position:?} where {comes_next:?} comes next"
                        ),
                    ));
                }
                *expected = log.partition_point(|(stored, _)| stored <= position);
            }
            _ => {}
        }
    }
    found
}

/// C3, C4, C6: a checkpoint covers only what was handed over, never goes back, and the next tenure starts right there.
fn judge_checkpoints(events: &[(u64, Event)], stored: &[StoredUserRecord]) -> Vec<Violation> {
    let mut found = Vec::new();
    let rows_known = events.iter().any(|(_, event)| matches!(event, Event::TableWrite { .. }));
    let mut applied: BTreeMap<&ShardId, Checkpoint> = BTreeMap::new();
    let mut handed: BTreeMap<u64, ExtendedSequenceNumber> = BTreeMap::new();
    let mut delivered: BTreeSet<(&ShardId, ExtendedSequenceNumber)> = BTreeSet::new();
    for (time, event) in events {
        match event {
            Event::Started { tenure, shard, from, .. } => {
                if let (Some(last), Checkpoint::At(_) | Checkpoint::ShardEnd) = (applied.get(shard), from)
                    && from < last
                {
                    found.push(violation(
                        "C6",
                        format!(
                            "{shard}: tenure {tenure} starts at {from:?}, before the checkpoint {last:?}"
                        ),
                    ));
                }
                if let Checkpoint::At(position) = from
                    && applied.get(shard).is_none_or(|last| from > last)
                {
                    // The answer to the last checkpoint may have been lost; then it must at least have been handed over.
                    let known = handed.values().any(|reached| reached >= position);
                    if !known {
                        found.push(violation(
                            "C6",
                            format!("{shard}: tenure {tenure} starts at {from:?}, which nobody was handed"),
                        ));
                    }
                }
            }
            // A row made anew begins anew: a creation that was repeated below us may land after the row was done with and
            // deleted. What was read comes again; nothing is skipped.
            Event::TableWrite { key, before: None, .. } => {
                applied.remove(&key.shard_id());
            }
            Event::Delivered { tenure, shard, position, .. } => {
                handed.insert(*tenure, *position);
                delivered.insert((shard, *position));
            }
            Event::CheckpointApplied { tenure, shard, at } => {
                // Where the rows are known they are judged, not the answers: those of a frozen process come late.
                if !rows_known && applied.get(shard).is_some_and(|last| at < last) {
                    found.push(violation("C4", format!("{shard}: checkpoint went back to {at:?}")));
                }
                if let Checkpoint::At(position) = at
                    && handed.get(tenure).is_none_or(|reached| reached < position)
                {
                    found.push(violation(
                        "C3",
                        format!("{shard}: checkpoint {at:?} is past what tenure {tenure} was handed"),
                    ));
                }
                found.extend(judge_shard_end(&delivered, stored, shard, (*time, *at)));
                applied.insert(shard, *at);
            }
            _ => {}
        }
    }
    found
}

/// C9: SHARD_END only after every record of the shard was handed over.
fn judge_shard_end(
    delivered: &BTreeSet<(&ShardId, ExtendedSequenceNumber)>,
    stored: &[StoredUserRecord],
    shard: &ShardId,
    (time, at): (u64, Checkpoint),
) -> Option<Violation> {
    if at != Checkpoint::ShardEnd {
        return None;
    }
    let missing = stored
        .iter()
        .filter(|record| record.shard == *shard && record.trimmed_at() > time)
        .find(|record| !delivered.contains(&(&record.shard, record.position)))?;
    Some(violation("C9", format!("{shard}: SHARD_END before record {} was handed over", missing.uid)))
}

/// C8: no record of a child before each of its parents has reached SHARD_END, unless the stream has forgotten the parent.
fn judge_lineage(events: &[(u64, Event)], shards: &[Shard]) -> Vec<Violation> {
    let mut found = Vec::new();
    let retention = u64::try_from(limits::RETENTION_DEFAULT.as_millis()).expect("a day");
    // A shard is created when its parents are closed. The history begins with the first one.
    let created =
        |shard: &Shard| shard.starting_sequence_number.layout().map(|parts| parts.shard_created_seconds);
    let begun = shards.iter().filter_map(created).min().unwrap_or(0);
    let parents_gone_at: BTreeMap<&ShardId, u64> = shards
        .iter()
        // A child's numbers begin in a second after the last of its parents', which is some after they were closed.
        .filter_map(|shard| {
            Some((&shard.id, (created(shard)? - begun).saturating_sub(5) * 1_000 + retention))
        })
        .collect();
    let parents: BTreeMap<&ShardId, Vec<&ShardId>> =
        shards.iter().map(|shard| (&shard.id, shard.parents().collect())).collect();
    let mut ended: BTreeSet<ShardId> = BTreeSet::new();
    for (time, event) in events {
        match event {
            // Asked, not applied: the answer to the last checkpoint of a shard may be lost after it took effect.
            Event::CheckpointAsked { shard, at: Checkpoint::ShardEnd, .. } => {
                ended.insert(shard.clone());
            }
            // A scan does not say what it asks for.
            Event::TableWrite { key, after: Some(after), .. } if after.is_finished() => {
                ended.insert(key.shard_id());
            }
            Event::Delivered { shard, uid, .. } => {
                let listed = parents_gone_at.get(shard).is_none_or(|gone| time <= gone);
                for parent in parents.get(shard).into_iter().flatten() {
                    if listed && !ended.contains(*parent) {
                        found.push(violation(
                            "C8",
                            format!("record {uid} of {shard} came before its parent {parent} ended"),
                        ));
                    }
                }
            }
            _ => {}
        }
    }
    found
}

/// P7: the first copies of a line's records are stored in its order, along reshards too.
fn judge_lines(events: &[(u64, Event)], stored: &[StoredUserRecord], shards: &[Shard]) -> Vec<Violation> {
    let lineage = kinesis_shard::Lineage::new(shards);
    let generation = |shard: &ShardId| {
        let (mut depth, mut at) = (0_u32, shard.clone());
        while let Some(parent) = lineage.parents_of(&at).into_iter().next().cloned() {
            (depth, at) = (depth + 1, parent);
        }
        depth
    };
    // Records of one key meet in one shard at a time; a later one came out of it.
    let mut first: BTreeMap<u64, (u32, ExtendedSequenceNumber)> = BTreeMap::new();
    for record in stored.iter().filter(|record| record.whole_aggregate_in_range) {
        let place = (generation(&record.shard), record.position);
        let known = first.entry(record.uid).or_insert(place);
        *known = place.min(*known);
    }
    // One that was given up with an answer missing may still arrive, late.
    let mut refused: BTreeSet<u64> = BTreeSet::new();
    for (_, event) in events {
        if let Event::Refused { uid, .. } = event {
            refused.insert(*uid);
        }
    }
    let mut reached: BTreeMap<&str, (u64, (u32, ExtendedSequenceNumber))> = BTreeMap::new();
    let mut found = Vec::new();
    for (_, event) in events {
        let Event::InLine { uid, line } = event else { continue };
        let Some(place) = first.get(uid).filter(|_| !refused.contains(uid)) else { continue };
        match reached.get(line.as_str()) {
            Some((before, last)) if place < last => {
                found.push(violation("P7", format!("{line}: record {uid} is stored before {before}")));
            }
            _ => {
                reached.insert(line, (*uid, *place));
            }
        }
    }
    found
}

/// C12: nothing reaches a processor after its last call.
fn judge_lives(events: &[(u64, Event)]) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut over: BTreeMap<u64, &'static str> = BTreeMap::new();
    for (_, event) in events {
        match event {
            Event::Delivered { tenure, shard, uid, .. } => {
                if let Some(how) = over.get(tenure) {
                    found.push(violation("C12", format!("{shard}: record {uid} came after {how}")));
                }
            }
            Event::LeaseLost { tenure, shard } => {
                if let Some(how) = over.insert(*tenure, "lease_lost") {
                    found.push(violation("C12", format!("{shard}: lease_lost came after {how}")));
                }
            }
            Event::ShutdownRequested { tenure, .. } => {
                over.entry(*tenure).or_insert("shutdown_requested");
            }
            _ => {}
        }
    }
    found
}

/// C1 in tests without retention: everything acknowledged was handed over at least once.
pub fn judge_nothing_lost(history: &History) -> Vec<Violation> {
    let log = history.log();
    let lost = log.unread.iter();
    lost.map(|uid| violation("C1", format!("record {uid} was acknowledged and never handed over"))).collect()
}
