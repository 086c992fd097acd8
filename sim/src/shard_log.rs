//! One shard: its place in the stream, its records in order, its rates.

mod segment;

use std::collections::VecDeque;

use kinesis_shard::{HashKeyRange, SequenceNumber, SequenceNumberLayout, Shard, ShardId};

pub(crate) use self::segment::LogRecord;
use self::segment::Segment;
use crate::quota::{Bucket, ShardRates};
use crate::subscription::readers::Readers;

/// A segment reserves an eighth of what the shard holds, so that little is reserved in vain: at least this much.
const LEAST_SEGMENT_BYTES: usize = 1024;

/// At most this much, or what a large record needs.
const MOST_SEGMENT_BYTES: usize = 256 * 1024;

/// Where a shard stands in its stream.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) index: u32,
    pub(crate) parent: Option<ShardId>,
    pub(crate) adjacent_parent: Option<ShardId>,
    pub(crate) range: HashKeyRange,
    /// The creation time that sequence numbers carry, in seconds: for children, a second after the parent's end.
    pub(crate) created_seconds: u64,
    /// When it began to take records, in milliseconds.
    pub(crate) opened_at: u64,
}

/// The rates of one shard.
#[derive(Debug)]
pub(crate) struct Quotas {
    pub(crate) write_records: Bucket,
    pub(crate) write_bytes: Bucket,
    pub(crate) read_calls: Bucket,
    pub(crate) read_bytes: Bucket,
    pub(crate) iterator_calls: Bucket,
}

#[derive(Debug)]
pub(crate) struct ShardLog {
    pub(crate) id: ShardId,
    pub(crate) place: Place,
    pub(crate) closed_at: Option<u64>,
    pub(crate) quotas: Quotas,
    /// Woken by each record, and by the end.
    pub(crate) readers: Readers,
    segments: VecDeque<Segment>,
    /// Of the records in all segments.
    bytes: usize,
}

impl ShardLog {
    pub(crate) fn new(place: Place, rates: ShardRates) -> Self {
        Self {
            id: ShardId::from_index(u64::from(place.index)),
            place,
            closed_at: None,
            quotas: Quotas {
                write_records: Bucket::new(rates.write_records),
                write_bytes: Bucket::new(rates.write_bytes),
                read_calls: Bucket::new(rates.read_calls),
                read_bytes: Bucket::new(rates.read_bytes),
                iterator_calls: Bucket::new(rates.read_calls),
            },
            readers: Readers::default(),
            segments: VecDeque::new(),
            bytes: 0,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.closed_at.is_none()
    }

    /// Takes no records any more; what it holds stays readable until retention passes.
    pub(crate) fn close(&mut self, now: u64) {
        self.closed_at = Some(now);
        self.readers.wake();
    }

    /// The second that the ending sequence number carries: never before the shard's own creation, which lies a
    /// second ahead of the clock after a reshard.
    pub(crate) fn closing_second(&self) -> Option<u64> {
        self.closed_at.map(|closed_at| (closed_at / 1000).max(self.place.created_seconds))
    }

    pub(crate) fn starting_sequence_number(&self) -> SequenceNumber {
        self.number(0, self.place.created_seconds)
    }

    pub(crate) fn ending_sequence_number(&self) -> Option<SequenceNumber> {
        self.closing_second().map(|second| self.number(SequenceNumberLayout::LAST_INDEX, second))
    }

    pub(crate) fn sequence_number(&self, record: &LogRecord<'_>) -> SequenceNumber {
        let turned = u64::from(kinesis_shard::planted("every second number is below the one before"));
        self.number(record.index ^ turned, (record.arrived_at / 1000).max(self.place.created_seconds))
    }

    /// The number that a record of this index would have at this time; no record need have it.
    pub(crate) fn number_at(&self, index: u64, seconds: u64) -> SequenceNumber {
        self.number(index, seconds.max(self.place.created_seconds))
    }

    fn number(&self, index: u64, arrived_seconds: u64) -> SequenceNumber {
        SequenceNumber::from_layout(SequenceNumberLayout {
            shard_created_seconds: self.place.created_seconds,
            index,
            arrived_seconds,
            shard_index: self.place.index,
        })
    }

    /// The shard as `ListShards` describes it.
    pub(crate) fn describe(&self) -> Shard {
        Shard {
            id: self.id.clone(),
            parent: self.place.parent.clone(),
            adjacent_parent: self.place.adjacent_parent.clone(),
            hash_key_range: self.place.range,
            starting_sequence_number: self.starting_sequence_number(),
            ending_sequence_number: self.ending_sequence_number(),
        }
    }

    /// Appends; indexes come from the stream and only grow. Times never step back, whatever the clock does.
    pub(crate) fn append(&mut self, mut record: LogRecord<'_>) -> SequenceNumber {
        if let Some(last) = self.segments.back().and_then(Segment::last_arrival) {
            record.arrived_at = record.arrived_at.max(last);
        }
        let number = self.sequence_number(&record);
        self.segment_for(&record).append(&record);
        self.readers.wake();
        number
    }

    /// The last segment, or a new one if the record does not fit there.
    fn segment_for(&mut self, record: &LogRecord<'_>) -> &mut Segment {
        let has_room = self.segments.back().is_some_and(|segment| segment.has_room_for(record));
        if !has_room {
            if let Some(full) = self.segments.back_mut() {
                full.seal();
                self.bytes += full.bytes();
            }
            let bytes = (self.bytes / 8).clamp(LEAST_SEGMENT_BYTES, MOST_SEGMENT_BYTES);
            self.segments.push_back(Segment::for_bytes(bytes, record));
        }
        self.segments.back_mut().expect("one was pushed if there was none")
    }

    /// Drops what arrived before the horizon.
    pub(crate) fn trim(&mut self, horizon: u64) {
        while let Some(first) =
            self.segments.front_mut().filter(|first| first.first_arrival() < Some(horizon))
        {
            if first.last_arrival() >= Some(horizon) {
                return first.trim(horizon);
            }
            self.bytes = self.bytes.saturating_sub(first.bytes());
            self.segments.pop_front();
        }
    }

    /// All records, or those from the first whose index is at least `position`.
    pub(crate) fn records_from(&self, position: u64) -> impl Iterator<Item = LogRecord<'_>> {
        let first = self.segments.partition_point(|segment| segment.last_index() < Some(position));
        self.segments.range(first..).flat_map(move |segment| segment.records_from(position))
    }

    /// How many records lie ahead, `most` at most, and their bytes.
    pub(crate) fn ahead(&self, position: u64, most: usize) -> (usize, usize) {
        let first = self.segments.partition_point(|segment| segment.last_index() < Some(position));
        let (mut count, mut bytes) = (0, 0);
        for segment in self.segments.range(first..) {
            let (more, more_bytes) = segment.ahead(position, most - count);
            (count, bytes) = (count + more, bytes + more_bytes);
            if count == most {
                break;
            }
        }
        (count, bytes)
    }

    /// The index of the first record that arrived at `time` or later.
    pub(crate) fn index_at_time(&self, time: u64) -> Option<u64> {
        let at = self.segments.partition_point(|segment| segment.last_arrival() < Some(time));
        self.segments.get(at).and_then(|segment| segment.index_at_time(time))
    }
}

#[cfg(test)]
mod tests {
    use kinesis_shard::HashKey;
    use proptest::prelude::*;

    use super::*;

    fn log() -> ShardLog {
        let place = Place {
            index: 3,
            parent: None,
            adjacent_parent: None,
            range: HashKeyRange::FULL,
            created_seconds: 100,
            opened_at: 100_000,
        };
        ShardLog::new(place, ShardRates::default())
    }

    fn record(index: u64, arrived_at: u64) -> LogRecord<'static> {
        LogRecord { index, arrived_at, partition_key: "k", explicit_hash_key: None, data: b"data" }
    }

    fn indexes(log: &ShardLog, position: u64) -> Vec<u64> {
        log.records_from(position).map(|record| record.index).collect()
    }

    #[test]
    fn numbers_grow_and_lie_between_start_and_end() {
        let mut log = log();
        let first = log.append(record(1, 99_000));
        let second = log.append(record(5, 102_000));
        assert!(log.starting_sequence_number() < first);
        assert!(first < second);
        assert_eq!(log.ending_sequence_number(), None);
        log.close(103_500);
        let end = log.ending_sequence_number().unwrap();
        assert!(second < end);
        let layout = end.layout().unwrap();
        assert_eq!((layout.index, layout.arrived_seconds), (SequenceNumberLayout::LAST_INDEX, 103));
        assert_eq!((layout.shard_created_seconds, layout.shard_index), (100, 3));
    }

    #[test]
    fn positions_are_found_by_index_and_by_time() {
        let mut log = log();
        for (index, at) in [(1, 100_000), (4, 101_000), (9, 101_000), (10, 102_000)] {
            log.append(record(index, at));
        }
        assert_eq!(indexes(&log, 0), [1, 4, 9, 10]);
        assert_eq!(indexes(&log, 5), [9, 10]);
        assert_eq!(indexes(&log, 11), Vec::<u64>::new());
        assert_eq!(log.index_at_time(0), Some(1));
        assert_eq!(log.index_at_time(101_000), Some(4));
        assert_eq!(log.index_at_time(101_001), Some(10));
        assert_eq!(log.index_at_time(102_001), None);
    }

    #[test]
    fn trimming_drops_only_what_is_older_than_the_horizon() {
        let mut log = log();
        for (index, at) in [(1, 1_000), (2, 2_000), (3, 3_000)] {
            log.append(record(index, at));
        }
        log.trim(2_000);
        assert_eq!(indexes(&log, 0), [2, 3]);
    }

    #[test]
    fn times_never_step_back() {
        let mut log = log();
        log.append(record(1, 200_000));
        log.append(record(2, 150_000));
        assert_eq!(log.index_at_time(160_000), Some(1));
        assert_eq!(log.records_from(2).next().unwrap().arrived_at, 200_000);
    }

    type Owned = (u64, u64, String, Option<HashKey>, Vec<u8>);

    fn read(log: &ShardLog, position: u64) -> Vec<Owned> {
        let owned = |record: LogRecord<'_>| {
            let LogRecord { index, arrived_at, partition_key, explicit_hash_key, data } = record;
            (index, arrived_at, partition_key.to_owned(), explicit_hash_key, data.to_vec())
        };
        log.records_from(position).map(owned).collect()
    }

    proptest! {
        #[test]
        fn segments_hold_what_a_list_would(
            records in proptest::collection::vec((1_u64..3, 0_u64..4, 0_usize..600, "[a-zä]{0,4}", any::<Option<u128>>()), 0..300),
            horizon in 0_u64..700,
            position in 0_u64..700,
            most in 0_usize..400,
        ) {
            let (mut log, mut expected, mut index, mut at) = (log(), Vec::new(), 0, 0);
            for (step, pause, length, key, explicit) in records {
                (index, at) = (index + step, at + pause);
                let (data, explicit) = (vec![u8::try_from(index % 251).unwrap(); length], explicit.map(HashKey::new));
                log.append(LogRecord {
                    index, arrived_at: at, partition_key: &key, explicit_hash_key: explicit, data: &data,
                });
                expected.push((index, at, key, explicit, data));
            }
            for horizon in [0, horizon / 2, horizon] {
                log.trim(horizon);
                expected.retain(|(_, at, ..)| *at >= horizon);
                prop_assert_eq!(&read(&log, 0), &expected);
                let from: Vec<_> = expected.iter().filter(|(index, ..)| *index >= position).cloned().collect();
                prop_assert_eq!(&read(&log, position), &from);
                let ahead = from.iter().take(most);
                let bytes: usize = ahead.clone().map(|(_, _, key, explicit, data)| {
                    key.len() + data.len() + explicit.map_or(0, |_| 16)
                }).sum();
                prop_assert_eq!(log.ahead(position, most), (ahead.count(), bytes));
                let at = expected.iter().find(|(_, at, ..)| *at >= position).map(|(index, ..)| *index);
                prop_assert_eq!(log.index_at_time(position), at);
            }
        }
    }

    #[test]
    fn little_is_reserved_in_vain() {
        let mut log = log();
        let data = vec![7; 100_000];
        for index in 1..=100 {
            log.append(LogRecord { data: &data, ..record(index, 1_000) });
        }
        let reserved: usize = log.segments.iter().map(Segment::reserved).sum();
        assert!(reserved < 100 * 100_000 * 9 / 8 + MOST_SEGMENT_BYTES, "{reserved}");
    }
}
