//! The streams of a world: what they hold, how their shards are named, how they change.
//!
//! In histories the shards of a second stream have its name before them, so that no two shards have one name.

use std::collections::BTreeMap;

use kcl::lease::{Lease, LeaseKey};
use kinesis_shard::{ExtendedSequenceNumber, ParsedRecord, SequenceNumber, Shard, ShardId};
use kinesis_sim::StoredRecord;

use super::history::StoredUserRecord;
use super::{STREAM, World, uid_of};

/// What the streams held before a night in which some of it was trimmed.
#[derive(Debug, Default)]
pub struct Archive {
    stored: BTreeMap<(ShardId, ExtendedSequenceNumber), StoredUserRecord>,
    /// Each shard, and when it was listed last.
    shards: BTreeMap<ShardId, (Shard, u64)>,
}

/// The numbers of the records of each stream, and what was in them.
pub type LookedThrough = BTreeMap<&'static str, (Vec<SequenceNumber>, Vec<StoredUserRecord>)>;

impl World {
    /// Writes down what the streams hold: before time passes in which it may be trimmed, and after it.
    pub fn keep(&self) {
        let (stored, shards, now) = (self.held(), self.listed(), self.now_millis());
        let mut archive = self.archive.lock().expect("no panic in it");
        archive.stored.extend(stored.into_iter().map(|one| ((one.shard.clone(), one.position), one)));
        archive.shards.extend(shards.into_iter().map(|shard| (shard.id.clone(), (shard, now))));
    }

    /// The shards that the service no longer lists, and when it last did.
    pub fn gone(&self) -> BTreeMap<ShardId, u64> {
        let listed = self.listed();
        let archive = self.archive.lock().expect("no panic in it");
        let gone = archive.shards.iter().filter(|(id, _)| listed.iter().all(|shard| shard.id != **id));
        gone.map(|(id, (_, at))| (id.clone(), *at)).collect()
    }

    /// The one that this number falls to.
    pub fn stream(&self, number: impl TryInto<usize>) -> &'static str {
        self.streams[number.try_into().unwrap_or(0) % self.streams.len()]
    }

    /// All shards that there are or were.
    pub fn shards(&self) -> Vec<Shard> {
        let (mut shards, gone) = (self.listed(), self.gone());
        let archive = self.archive.lock().expect("no panic in it");
        shards.extend(gone.keys().filter_map(|id| Some(archive.shards.get(id)?.0.clone())));
        shards
    }

    /// All shards of all streams that the service knows.
    pub fn listed(&self) -> Vec<Shard> {
        let of = |stream: &'static str| {
            let named = move |shard: Shard| Shard {
                id: name(stream, &shard.id),
                parent: shard.parent.map(|parent| name(stream, &parent)),
                adjacent_parent: shard.adjacent_parent.map(|parent| name(stream, &parent)),
                ..shard
            };
            self.sim.shards(stream).into_iter().map(named)
        };
        self.streams.iter().copied().flat_map(of).collect()
    }

    fn open(&self, stream: &str) -> Vec<Shard> {
        self.sim.shards(stream).into_iter().filter(Shard::is_open).collect()
    }

    /// How many shards take records.
    pub fn open_count(&self) -> usize {
        self.streams.iter().map(|stream| self.open(stream).len()).sum()
    }

    /// Splits the widest open shard in the middle.
    pub fn split_widest(&self) -> ShardId {
        self.split_widest_of(STREAM)
    }

    pub fn split_widest_of(&self, stream: &str) -> ShardId {
        let width = |shard: &Shard| shard.hash_key_range.end().get() - shard.hash_key_range.start().get();
        let open = self.open(stream);
        let widest = open.iter().max_by_key(|shard| width(shard)).expect("a stream has an open shard");
        self.sim.split_shard(stream, &widest.id);
        let widest = name(stream, &widest.id);
        self.note(format!("split {widest}"));
        widest
    }

    /// Merges the first two open shards that are neighbours; false if there is only one.
    pub fn merge_first(&self) -> bool {
        self.merge_first_of(STREAM)
    }

    pub fn merge_first_of(&self, stream: &str) -> bool {
        let mut open = self.open(stream);
        open.sort_by_key(|shard| shard.hash_key_range.start());
        let [first, second, ..] = open.as_slice() else { return false };
        self.sim.merge_shards(stream, &first.id, &second.id);
        self.note(format!("merge {} {}", name(stream, &first.id), name(stream, &second.id)));
        true
    }

    /// What was ever stored, user record by user record, in the order of each shard.
    pub fn stored(&self) -> Vec<StoredUserRecord> {
        let archive = self.archive.lock().expect("no panic in it");
        if archive.stored.is_empty() {
            return self.held();
        }
        let mut all = archive.stored.clone();
        all.extend(self.held().into_iter().map(|one| ((one.shard.clone(), one.position), one)));
        all.into_values().collect()
    }

    /// What the engine holds now.
    pub fn held(&self) -> Vec<StoredUserRecord> {
        self.streams.iter().flat_map(|stream| self.stored_in(stream)).collect()
    }

    /// What the stream held when it was last looked through, if it holds the same now: taking aggregates apart is a fifth of
    /// a short run.
    fn stored_in(&self, stream: &'static str) -> Vec<StoredUserRecord> {
        let records = self.sim.stored(stream);
        let numbers: Vec<SequenceNumber> = records.iter().map(|record| record.sequence_number).collect();
        let mut looked = self.looked_through.lock().expect("no panic in it");
        let (known, stored) = looked.entry(stream).or_default();
        if *known != numbers {
            *stored = self.taken_apart(stream, &records);
            *known = numbers;
        }
        stored.clone()
    }

    fn taken_apart(&self, stream: &str, records: &[StoredRecord]) -> Vec<StoredUserRecord> {
        let shards = self.sim.shards(stream);
        let epoch = self.sim.now_millis() - self.now_millis();
        let parsed = kinesis_shard::parse_many_aggregated(records.iter().map(|record| &record.data));
        let mut stored = Vec::new();
        for (record, parsed) in records.iter().zip(parsed) {
            let shard = shards.iter().find(|shard| shard.id == record.shard_id).expect("its shard exists");
            let range = shard.hash_key_range;
            let members: Vec<(u64, bool)> = match parsed {
                ParsedRecord::Plain(_) => vec![(uid_of(&record.data), true)],
                ParsedRecord::Aggregated(users) => {
                    users.iter().map(|user| (uid_of(&user.data), range.contains(user.hash_key()))).collect()
                }
            };
            let whole = members.iter().all(|(_, inside)| *inside);
            for (sub, (uid, _)) in members.into_iter().enumerate() {
                stored.push(StoredUserRecord {
                    shard: name(stream, &record.shard_id),
                    position: ExtendedSequenceNumber {
                        sequence_number: record.sequence_number,
                        sub_sequence_number: sub as u64,
                    },
                    uid,
                    arrived: record.arrived_at_millis.saturating_sub(epoch),
                    whole_aggregate_in_range: whole,
                });
            }
        }
        stored
    }
}

/// The name of a shard in histories.
pub fn name(stream: &str, shard: &ShardId) -> ShardId {
    if stream == STREAM { shard.clone() } else { ShardId::new(format!("{stream}/{shard}")) }
}

/// The same of a row: an application of several streams names its rows `<account>:<stream>:<epoch>:<shard>`.
pub fn key(key: &LeaseKey) -> LeaseKey {
    let stream = key.stream_identifier().and_then(|part| part.split(':').nth(1));
    LeaseKey::from(&name(stream.unwrap_or(STREAM), &key.shard_id()))
}

/// A row under the name of its shard in histories.
pub fn named(row: &Lease) -> Lease {
    let mut row = row.clone();
    row.key = key(&row.key);
    row
}
