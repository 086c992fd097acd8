//! One shard: its place in the stream, its records in order, its rates.

use std::collections::VecDeque;

use bytes::Bytes;
use kinesis_shard::{HashKey, HashKeyRange, SequenceNumber, SequenceNumberLayout, Shard, ShardId};

use crate::quota::{Bucket, ShardRates};
use crate::subscription::readers::Readers;

/// One stored record. Besides its payload and partition key it costs about 120 bytes: this struct and the
/// allocator's share of two allocations. The sequence number is not stored: index, time and shard give it.
#[derive(Debug, Clone)]
pub(crate) struct LogRecord {
    pub(crate) index: u64,
    /// Milliseconds since the epoch.
    pub(crate) arrived_at: u64,
    pub(crate) partition_key: Box<str>,
    /// Rare, so it is kept out of the struct.
    pub(crate) explicit_hash_key: Option<Box<HashKey>>,
    pub(crate) data: Bytes,
}

impl LogRecord {
    /// What counts against rates and sizes.
    pub(crate) fn len(&self) -> usize {
        self.data.len() + self.partition_key.len()
    }
}

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
    records: VecDeque<LogRecord>,
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
            records: VecDeque::new(),
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

    pub(crate) fn sequence_number(&self, record: &LogRecord) -> SequenceNumber {
        self.number(record.index, (record.arrived_at / 1000).max(self.place.created_seconds))
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
    pub(crate) fn append(&mut self, mut record: LogRecord) -> SequenceNumber {
        if let Some(last) = self.records.back() {
            record.arrived_at = record.arrived_at.max(last.arrived_at);
        }
        let number = self.sequence_number(&record);
        self.records.push_back(record);
        self.readers.wake();
        number
    }

    /// Drops what arrived before the horizon.
    pub(crate) fn trim(&mut self, horizon: u64) {
        while self.records.front().is_some_and(|record| record.arrived_at < horizon) {
            self.records.pop_front();
        }
    }

    /// All records, or those from the first whose index is at least `position`.
    pub(crate) fn records_from(&self, position: u64) -> impl Iterator<Item = &LogRecord> {
        self.records.range(self.records.partition_point(|record| record.index < position)..)
    }

    /// The index of the first record that arrived at `time` or later.
    pub(crate) fn index_at_time(&self, time: u64) -> Option<u64> {
        let at = self.records.partition_point(|record| record.arrived_at < time);
        self.records.get(at).map(|record| record.index)
    }
}

#[cfg(test)]
mod tests {
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

    fn record(index: u64, arrived_at: u64) -> LogRecord {
        LogRecord {
            index,
            arrived_at,
            partition_key: "k".into(),
            explicit_hash_key: None,
            data: Bytes::from_static(b"data"),
        }
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
}
