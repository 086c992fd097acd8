//! From Kinesis records to user records: de-aggregation, sub-sequence numbers, where to resume.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use kinesis_shard::{
    ExtendedSequenceNumber, HashKey, HashKeyRange, ParsedRecord, SequenceNumber, ShardId,
    parse_many_aggregated,
};

use crate::fetch::KinesisRecord;

/// One record as its producer put it, with its place in the shard. Cloning it copies no data.
#[derive(Clone, PartialEq, Eq)]
pub struct UserRecord {
    shard_id: ShardId,
    position: ExtendedSequenceNumber,
    partition_key: Arc<str>,
    explicit_hash_key: Option<HashKey>,
    data: Bytes,
    arrived_at: Option<SystemTime>,
    aggregated: bool,
}

impl UserRecord {
    /// The shard it was read from.
    pub fn shard_id(&self) -> &ShardId {
        &self.shard_id
    }

    /// Sequence number and sub-sequence number: its place in the shard, and what a checkpoint at it stores.
    pub fn position(&self) -> ExtendedSequenceNumber {
        self.position
    }

    /// The sequence number of the Kinesis record that carried it; members of one aggregate share it.
    pub fn sequence_number(&self) -> SequenceNumber {
        self.position.sequence_number
    }

    /// Its index in its aggregate, from 0; 0 for a record that was put alone.
    pub fn sub_sequence_number(&self) -> u64 {
        self.position.sub_sequence_number
    }

    /// The partition key it was put with.
    pub fn partition_key(&self) -> &str {
        &self.partition_key
    }

    /// The explicit hash key, if it was put with one inside an aggregate; the service does not return others.
    pub fn explicit_hash_key(&self) -> Option<HashKey> {
        self.explicit_hash_key
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
        self.arrived_at
    }

    /// Whether it travelled inside an aggregate.
    pub fn is_aggregated(&self) -> bool {
        self.aggregated
    }
}

impl fmt::Debug for UserRecord {
    // Never the payload, and not the key either: both may be personal data.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("UserRecord")
            .field("shard_id", &self.shard_id)
            .field("position", &self.position)
            .field("data_bytes", &self.data.len())
            .finish_non_exhaustive()
    }
}

/// So that a checkpoint can be asked for at a record.
impl From<&UserRecord> for ExtendedSequenceNumber {
    fn from(record: &UserRecord) -> Self {
        record.position
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
    pub(crate) fn unpack(&self, batch: Vec<KinesisRecord>) -> (Vec<UserRecord>, Unpacked) {
        let mut found = Unpacked::default();
        let mut records = Vec::with_capacity(batch.len());
        let parsed = parse_many_aggregated(batch.iter().map(|record| &record.data));
        for (record, parsed) in batch.into_iter().zip(parsed) {
            self.unpack_one(record, parsed, &mut records, &mut found);
        }
        (records, found)
    }

    fn unpack_one(
        &self,
        record: KinesisRecord,
        parsed: ParsedRecord,
        into: &mut Vec<UserRecord>,
        found: &mut Unpacked,
    ) {
        let members = match parsed {
            ParsedRecord::Aggregated(members) => members,
            ParsedRecord::Plain(reason) => {
                found.suspicious_count += u64::from(reason.is_suspicious());
                let position = ExtendedSequenceNumber::new(record.sequence_number, 0);
                if self.is_new(position) {
                    into.push(UserRecord {
                        shard_id: self.shard_id.clone(),
                        position,
                        partition_key: record.partition_key,
                        explicit_hash_key: None,
                        data: record.data,
                        arrived_at: record.arrived_at,
                        aggregated: false,
                    });
                }
                return;
            }
        };
        if self.range.is_some_and(|range| members.iter().any(|member| !range.contains(member.hash_key()))) {
            found.out_of_range_count += 1;
            return;
        }
        into.reserve(members.len());
        for (index, member) in (0_u64..).zip(members) {
            let position = ExtendedSequenceNumber::new(record.sequence_number, index);
            if self.is_new(position) {
                into.push(UserRecord {
                    shard_id: self.shard_id.clone(),
                    position,
                    partition_key: member.partition_key,
                    explicit_hash_key: member.explicit_hash_key,
                    data: member.data,
                    arrived_at: record.arrived_at,
                    aggregated: true,
                });
            }
        }
    }

    fn is_new(&self, position: ExtendedSequenceNumber) -> bool {
        self.after.is_none_or(|after| position > after)
    }
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
        let (records, found) = unpacker(None, None).unpack(vec![
            kinesis_record(7, aggregate(&["a", "b", "c"])),
            kinesis_record(9, Bytes::from_static(b"plain")),
        ]);
        assert_eq!(texts(&records), ["a", "b", "c", "plain"]);
        let positions: Vec<_> = records.iter().map(UserRecord::position).collect();
        assert_eq!(positions, [position(7, 0), position(7, 1), position(7, 2), position(9, 0)]);
        assert_eq!(records[1].partition_key(), "key-b");
        assert_eq!(records[3].partition_key(), "p");
        assert!(records[0].is_aggregated() && !records[3].is_aggregated());
        assert_eq!(found, Unpacked::default());
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
            let (records, _) = unpacker(after, None).unpack(batch);
            assert_eq!(texts(&records), expected, "{after:?}");
        }
    }

    #[test]
    fn a_broken_aggregate_is_handed_over_whole_and_counted() {
        let mut broken = aggregate(&["a", "b"]).to_vec();
        *broken.last_mut().unwrap() ^= 1;
        let broken = Bytes::from(broken);
        let (records, found) = unpacker(None, None).unpack(vec![kinesis_record(7, broken.clone())]);
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
        let (records, found) = unpacker(None, Some(only_a)).unpack(batch());
        assert_eq!(texts(&records), ["d"], "the whole aggregate goes, the plain record stays");
        assert_eq!(found.out_of_range_count, 1);
        let (records, found) = unpacker(None, Some(HashKeyRange::FULL)).unpack(batch());
        assert_eq!((records.len(), found.out_of_range_count), (3, 0));
        let (records, found) = unpacker(None, None).unpack(batch());
        assert_eq!((records.len(), found.out_of_range_count), (3, 0));
    }

    #[test]
    fn debug_shows_neither_payload_nor_key() {
        let (records, _) =
            unpacker(None, None).unpack(vec![kinesis_record(7, aggregate(&["secret-a", "secret-b"]))]);
        assert!(!format!("{records:?}").contains("secret"), "{records:?}");
    }
}
