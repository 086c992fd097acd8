//! From Kinesis records to user records: de-aggregation, sub-sequence numbers, where to resume.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use kinesis_shard::{
    AggregateMember, ExtendedSequenceNumber, HashKey, HashKeyRange, SequenceNumber, ShardId,
    parse_many_in_place,
};

use crate::fetch::KinesisRecord;

/// One record as its producer put it, with its place in the shard. Cloning it copies no data.
//
// There are millions a second: what the members of one Kinesis record share is made once, and a member has no allocation.
#[derive(Clone)]
pub struct UserRecord {
    carrier: Arc<Carrier>,
    /// Its index in the carrier.
    index: u32,
    /// Where its key begins and ends in the carrier's data, if that is an aggregate.
    key: (u32, u32),
    data: Bytes,
}

/// The Kinesis record that carried it, or several.
struct Carrier {
    shard_id: ShardId,
    sequence_number: SequenceNumber,
    arrived_at: Option<SystemTime>,
    keys: Keys,
}

enum Keys {
    /// One record that was put alone.
    Alone(Arc<str>),
    /// Those of an aggregate: its data, where they stand, and the explicit hash keys of the members that have one, by index.
    Within(Bytes, Vec<(u32, HashKey)>),
}

impl UserRecord {
    /// The shard it was read from.
    pub fn shard_id(&self) -> &ShardId {
        &self.carrier.shard_id
    }

    /// Sequence number and sub-sequence number: its place in the shard, and what a checkpoint at it stores.
    pub fn position(&self) -> ExtendedSequenceNumber {
        ExtendedSequenceNumber::new(self.carrier.sequence_number, self.sub_sequence_number())
    }

    /// The sequence number of the Kinesis record that carried it; members of one aggregate share it.
    pub fn sequence_number(&self) -> SequenceNumber {
        self.carrier.sequence_number
    }

    /// Its index in its aggregate, from 0; 0 for a record that was put alone.
    pub fn sub_sequence_number(&self) -> u64 {
        self.index.into()
    }

    /// The partition key it was put with.
    pub fn partition_key(&self) -> &str {
        match &self.carrier.keys {
            Keys::Alone(key) => key,
            Keys::Within(aggregate, _) => {
                let bytes = aggregate.get(self.key.0 as usize..self.key.1 as usize);
                // It was UTF-8 when the aggregate was taken apart, and nobody can change it.
                bytes.and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or_default()
            }
        }
    }

    /// The explicit hash key, if it was put with one inside an aggregate; the service does not return others.
    pub fn explicit_hash_key(&self) -> Option<HashKey> {
        let Keys::Within(_, explicit) = &self.carrier.keys else { return None };
        let at = explicit.binary_search_by_key(&self.index, |(index, _)| *index).ok()?;
        explicit.get(at).map(|(_, key)| *key)
    }

    /// The payload.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// The payload, without copying it.
    pub fn into_data(self) -> Bytes {
        self.data
    }

    /// When the service stored the Kinesis record, to the millisecond, by its own clock.
    pub fn approximate_arrival_timestamp(&self) -> Option<SystemTime> {
        self.carrier.arrived_at
    }

    /// Whether it travelled inside an aggregate.
    pub fn is_aggregated(&self) -> bool {
        matches!(self.carrier.keys, Keys::Within(..))
    }
}

/// The same record: its place, its keys and its payload.
impl PartialEq for UserRecord {
    fn eq(&self, other: &Self) -> bool {
        let of_carrier = |record: &Self| (record.approximate_arrival_timestamp(), record.is_aggregated());
        self.position() == other.position()
            && self.data == other.data
            && self.shard_id() == other.shard_id()
            && self.partition_key() == other.partition_key()
            && self.explicit_hash_key() == other.explicit_hash_key()
            && of_carrier(self) == of_carrier(other)
    }
}

impl Eq for UserRecord {}

impl fmt::Debug for UserRecord {
    // Never the payload, and not the key either: both may be personal data.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("UserRecord")
            .field("shard_id", &self.shard_id())
            .field("position", &self.position())
            .field("data_bytes", &self.data.len())
            .finish_non_exhaustive()
    }
}

/// So that a checkpoint can be asked for at a record.
impl From<&UserRecord> for ExtendedSequenceNumber {
    fn from(record: &UserRecord) -> Self {
        record.position()
    }
}

/// What unpacking a batch found besides records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Unpacked {
    /// Blobs that begin like an aggregate but are none; each was handed over whole.
    pub(crate) suspicious_count: u64,
    /// Aggregates dropped because a key lies outside the shard's range (only with the filter switched on).
    pub(crate) out_of_range_count: u64,
}

/// How the batches of one shard are unpacked.
#[derive(Debug, Clone)]
pub(crate) struct Unpacker {
    shard_id: ShardId,
    /// Positions up to this one were processed by an earlier tenure.
    after: Option<ExtendedSequenceNumber>,
    /// Drop aggregates with a key outside this range.
    range: Option<HashKeyRange>,
}

impl Unpacker {
    pub(crate) fn new(
        shard_id: ShardId,
        after: Option<ExtendedSequenceNumber>,
        range: Option<HashKeyRange>,
    ) -> Self {
        Self { shard_id, after, range }
    }

    /// The user records of a batch in order, without those at or before the starting checkpoint.
    pub(crate) fn unpack(&self, batch: &[KinesisRecord]) -> (Vec<UserRecord>, Unpacked) {
        let mut found = Unpacked::default();
        let mut records = Vec::with_capacity(batch.len());
        let parsed = parse_many_in_place(batch.iter().map(|record| &record.data));
        for (record, parsed) in batch.iter().zip(parsed) {
            match parsed {
                Ok(members) if self.is_out_of_range(&record.data, &members) => found.out_of_range_count += 1,
                Ok(members) => self.unpack_members(record, members, &mut records),
                Err(reason) => {
                    found.suspicious_count += u64::from(reason.is_suspicious());
                    self.unpack_alone(record, &mut records);
                }
            }
        }
        (records, found)
    }

    fn unpack_alone(&self, record: &KinesisRecord, into: &mut Vec<UserRecord>) {
        if self.is_new(ExtendedSequenceNumber::new(record.sequence_number, 0)) {
            let carrier = self.carrier(record, Keys::Alone(Arc::clone(&record.partition_key)));
            into.push(UserRecord { carrier, index: 0, key: (0, 0), data: record.data.clone() });
        }
    }

    fn unpack_members(
        &self,
        record: &KinesisRecord,
        members: Vec<AggregateMember>,
        into: &mut Vec<UserRecord>,
    ) {
        let explicit =
            (0..).zip(&members).filter_map(|(index, member)| Some((index, member.explicit_hash_key?)));
        let keys = Keys::Within(record.data.clone(), explicit.collect());
        let carrier = self.carrier(record, keys);
        into.reserve(members.len());
        let dropped = usize::from(kinesis_shard::planted("an aggregate's last member is dropped"));
        let kept = members.len() - dropped;
        for (index, member) in (0_u32..).zip(members.into_iter().take(kept)) {
            if self.is_new(ExtendedSequenceNumber::new(record.sequence_number, index.into())) {
                into.push(UserRecord {
                    carrier: Arc::clone(&carrier),
                    index,
                    key: (offset(member.partition_key.start), offset(member.partition_key.end)),
                    data: record.data.slice(member.data),
                });
            }
        }
    }

    fn carrier(&self, record: &KinesisRecord, keys: Keys) -> Arc<Carrier> {
        let KinesisRecord { sequence_number, arrived_at, .. } = *record;
        Arc::new(Carrier { shard_id: self.shard_id.clone(), sequence_number, arrived_at, keys })
    }

    fn is_out_of_range(&self, aggregate: &Bytes, members: &[AggregateMember]) -> bool {
        let hash_key = |member: &AggregateMember| {
            let key = || aggregate.get(member.partition_key.clone()).and_then(|key| str::from_utf8(key).ok());
            member.explicit_hash_key.unwrap_or_else(|| HashKey::of_partition_key(key().unwrap_or_default()))
        };
        self.range.is_some_and(|range| members.iter().any(|member| !range.contains(hash_key(member))))
    }

    fn is_new(&self, position: ExtendedSequenceNumber) -> bool {
        if kinesis_shard::planted("a checkpoint covers its whole aggregate") {
            return self.after.is_none_or(|after| position.sequence_number > after.sequence_number);
        }
        if kinesis_shard::planted("the record at the checkpoint comes again") {
            return self.after.is_none_or(|after| position >= after);
        }
        self.after.is_none_or(|after| position > after)
    }
}

/// A Kinesis record has 10 MiB at most.
fn offset(within: usize) -> u32 {
    u32::try_from(within).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinesis_shard::{AggregatedRecordWriter, Payload};

    fn number(value: u32) -> SequenceNumber {
        value.to_string().parse().unwrap()
    }

    fn position(sequence_number: u32, sub_sequence_number: u64) -> ExtendedSequenceNumber {
        ExtendedSequenceNumber::new(number(sequence_number), sub_sequence_number)
    }

    fn kinesis_record(sequence_number: u32, data: Bytes) -> KinesisRecord {
        KinesisRecord {
            sequence_number: number(sequence_number),
            partition_key: "p".into(),
            data,
            arrived_at: None,
        }
    }

    fn aggregate(members: &[&str]) -> Bytes {
        let mut writer = AggregatedRecordWriter::new();
        for (index, member) in (0_u64..).zip(members) {
            writer.push(&format!("key-{member}"), index, None, member.as_bytes());
        }
        match writer.finish().payload {
            Payload::Aggregated(data) => data,
            plain @ Payload::Plain { .. } => panic!("{} members made {plain:?}", members.len()),
        }
    }

    fn unpacker(after: Option<ExtendedSequenceNumber>, range: Option<HashKeyRange>) -> Unpacker {
        Unpacker::new(ShardId::from_index(0), after, range)
    }

    fn texts(records: &[UserRecord]) -> Vec<&str> {
        records.iter().map(|record| std::str::from_utf8(record.data()).unwrap()).collect()
    }

    #[test]
    fn members_of_an_aggregate_get_sub_sequence_numbers_in_order() {
        let (records, found) = unpacker(None, None).unpack(&[
            kinesis_record(7, aggregate(&["a", "b", "c"])),
            kinesis_record(9, Bytes::from_static(b"plain")),
        ]);
        assert_eq!(texts(&records), ["a", "b", "c", "plain"]);
        let positions: Vec<_> = records.iter().map(UserRecord::position).collect();
        assert_eq!(positions, [position(7, 0), position(7, 1), position(7, 2), position(9, 0)]);
        assert_eq!([records[2].sequence_number(), records[3].sequence_number()], [number(7), number(9)]);
        assert_eq!(records[1].partition_key(), "key-b");
        assert_eq!(records[3].partition_key(), "p");
        assert!(records[0].is_aggregated() && !records[3].is_aggregated());
        assert_eq!(records[1].clone().into_data(), "b");
        assert_eq!(found, Unpacked::default());
    }

    #[test]
    fn records_that_differ_in_anything_are_not_equal() {
        let one = |record: KinesisRecord| unpacker(None, None).unpack(&[record]).0.remove(0);
        let given = || kinesis_record(7, Bytes::from_static(b"plain"));
        let record = one(given());
        assert_eq!(record, one(given()));
        let arrived_at = Some(SystemTime::UNIX_EPOCH);
        for other in [
            kinesis_record(8, Bytes::from_static(b"plain")),
            kinesis_record(7, Bytes::from_static(b"other")),
            kinesis_record(7, aggregate(&["plain", "b"])),
            KinesisRecord { partition_key: "q".into(), ..given() },
            KinesisRecord { arrived_at, ..given() },
        ] {
            assert_ne!(record, one(other));
        }
        let elsewhere = Unpacker::new(ShardId::from_index(1), None, None).unpack(&[given()]).0;
        assert_ne!(record, elsewhere[0]);
    }

    #[test]
    fn each_member_has_its_own_keys() {
        let mut writer = AggregatedRecordWriter::new();
        let given = |number: u128| HashKey::new(number);
        for (index, (key, explicit)) in (0..).zip([("k", None), ("ß", Some(given(7))), ("k", Some(given(9)))])
        {
            writer.push(key, index, explicit, b"x");
        }
        let Payload::Aggregated(data) = writer.finish().payload else { panic!("three members") };
        let (records, _) = unpacker(Some(position(7, 0)), None).unpack(&[kinesis_record(7, data)]);
        let keys: Vec<_> =
            records.iter().map(|record| (record.partition_key(), record.explicit_hash_key())).collect();
        assert_eq!(keys, [("ß", Some(given(7))), ("k", Some(given(9)))]);
        assert_eq!(records[0], records[0].clone());
        assert_ne!(records[0], records[1]);
    }

    #[test]
    fn a_record_is_small() {
        assert!(size_of::<UserRecord>() <= 56, "{}", size_of::<UserRecord>());
    }

    #[test]
    fn resuming_inside_an_aggregate_starts_behind_the_checkpoint() {
        let table: [(_, &[&str]); 6] = [
            (None, &["a", "b", "c", "d"]),
            (Some(position(6, 9)), &["a", "b", "c", "d"]),
            (Some(position(7, 0)), &["b", "c", "d"]),
            (Some(position(7, 1)), &["c", "d"]),
            (Some(position(7, 2)), &["d"]),
            (Some(position(8, 0)), &[]),
        ];
        for (after, expected) in table {
            let batch = vec![
                kinesis_record(7, aggregate(&["a", "b", "c"])),
                kinesis_record(8, Bytes::from_static(b"d")),
            ];
            let (records, _) = unpacker(after, None).unpack(&batch);
            assert_eq!(texts(&records), expected, "{after:?}");
        }
    }

    #[test]
    fn a_broken_aggregate_is_handed_over_whole_and_counted() {
        let mut broken = aggregate(&["a", "b"]).to_vec();
        *broken.last_mut().unwrap() ^= 1;
        let broken = Bytes::from(broken);
        let (records, found) = unpacker(None, None).unpack(&[kinesis_record(7, broken.clone())]);
        assert_eq!(records.len(), 1);
        assert_eq!(*records[0].data(), broken);
        assert_eq!(found.suspicious_count, 1);
    }

    #[test]
    fn the_range_filter_is_off_by_default_and_counts_when_on() {
        let batch =
            || vec![kinesis_record(7, aggregate(&["a", "b"])), kinesis_record(8, Bytes::from_static(b"d"))];
        let inside = HashKey::of_partition_key("key-a");
        let only_a = HashKeyRange::new(inside, inside).unwrap();
        let (records, found) = unpacker(None, Some(only_a)).unpack(&batch());
        assert_eq!(texts(&records), ["d"], "the whole aggregate goes, the plain record stays");
        assert_eq!(found.out_of_range_count, 1);
        let (records, found) = unpacker(None, Some(HashKeyRange::FULL)).unpack(&batch());
        assert_eq!((records.len(), found.out_of_range_count), (3, 0));
        let (records, found) = unpacker(None, None).unpack(&batch());
        assert_eq!((records.len(), found.out_of_range_count), (3, 0));
    }

    #[test]
    fn debug_shows_neither_payload_nor_key() {
        let (records, _) =
            unpacker(None, None).unpack(&[kinesis_record(7, aggregate(&["secret-a", "secret-b"]))]);
        assert!(!format!("{records:?}").contains("secret"), "{records:?}");
    }
}
