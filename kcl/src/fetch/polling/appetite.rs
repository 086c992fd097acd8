//! How many records to ask for, so that the answer is about as large as memory has room for.

use kinesis_shard::limits;

use crate::fetch::{KinesisRecord, Room};

/// The size of a record before any was seen. Above most records that are put alone, below aggregates: a first read asks
/// for few enough that even aggregates of 50 kB stay far below the largest answer there is.
const UNKNOWN_RECORD_BYTES: usize = 8 * 1024;
/// What the next answer is taken for at least, after answers that brought nothing.
const LEAST_EXPECTED_BYTES: usize = 64 * 1024;

/// Learns from the answers of one shard.
#[derive(Debug)]
pub(super) struct Appetite {
    max_records: u32,
    record_bytes: usize,
    last_answer_bytes: usize,
}

impl Appetite {
    pub(super) fn new(max_records: u32) -> Self {
        Self { max_records, record_bytes: UNKNOWN_RECORD_BYTES, last_answer_bytes: LEAST_EXPECTED_BYTES }
    }

    pub(super) fn answered(&mut self, records: &[KinesisRecord]) {
        let bytes: usize = records.iter().map(KinesisRecord::memory_bytes).sum();
        // Halved, not forgotten: a busy shard that had a quiet second is still a busy shard.
        self.last_answer_bytes = bytes.max(self.last_answer_bytes / 2);
        if let Some(average) = bytes.checked_div(records.len()) {
            // Up at once, down by quarters: asking for too little costs a call, for too much memory.
            self.record_bytes = average.max(self.record_bytes - self.record_bytes / 4).max(1);
        }
    }

    /// What the next answer is likely to bring.
    pub(super) fn expected_bytes(&self, room: Room) -> usize {
        let likely = self.last_answer_bytes.saturating_mul(2).max(LEAST_EXPECTED_BYTES);
        likely.min(room.bytes).min(limits::MAX_GET_RECORDS_BYTES)
    }

    /// Whether there is room for what a read is likely to bring, or at least for some records.
    pub(super) fn fits(&self, room: Room) -> bool {
        room.bytes >= LEAST_EXPECTED_BYTES.max(self.record_bytes)
    }

    /// How many records make an answer that there is room for; at least one.
    pub(super) fn limit(&self, room: Room) -> u32 {
        let wanted = room.bytes.min(limits::MAX_GET_RECORDS_BYTES) / self.record_bytes;
        u32::try_from(wanted).unwrap_or(u32::MAX).clamp(1, self.max_records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::sync::Arc;

    const MIB: usize = 1024 * 1024;

    fn records(count: usize, bytes: usize) -> Vec<KinesisRecord> {
        let record = KinesisRecord {
            sequence_number: "1".parse().unwrap(),
            partition_key: Arc::from("p"),
            data: Bytes::from(vec![0; bytes]),
            arrived_at: None,
        };
        vec![record; count]
    }

    fn room(bytes: usize) -> Room {
        Room { empty_handed: false, bytes }
    }

    #[test]
    fn small_records_are_read_by_the_configured_number() {
        let mut appetite = Appetite::new(10_000);
        for _ in 0..20 {
            appetite.answered(&records(100, 100));
        }
        assert_eq!(appetite.limit(room(10 * MIB)), 10_000);
        assert!(appetite.limit(room(MIB)) > 4_000);
    }

    #[test]
    fn large_records_are_asked_for_by_the_room_there_is() {
        let mut appetite = Appetite::new(10_000);
        assert_eq!(appetite.limit(room(MIB)), 128, "before any was seen");
        appetite.answered(&records(3, 50_000));
        assert_eq!(appetite.limit(room(MIB)), 20);
        assert_eq!(appetite.limit(room(1)), 1, "one is always asked for");
        appetite.answered(&records(1, MIB));
        assert!(!appetite.fits(room(MIB)) && appetite.fits(room(2 * MIB)));
    }

    #[test]
    fn an_idle_shard_is_expected_to_bring_little_and_a_busy_one_much() {
        let mut appetite = Appetite::new(10_000);
        appetite.answered(&records(100, 50_000));
        assert!(appetite.expected_bytes(room(10 * MIB)) > 9 * MIB);
        for _ in 0..10 {
            appetite.answered(&[]);
        }
        assert_eq!(appetite.expected_bytes(room(10 * MIB)), LEAST_EXPECTED_BYTES);
        assert_eq!(appetite.expected_bytes(room(1_000)), 1_000, "never more than there is room for");
    }

    #[test]
    fn after_a_quiet_second_half_as_much_is_expected() {
        let (mut appetite, busy) = (Appetite::new(10_000), records(4, MIB));
        appetite.answered(&busy);
        appetite.answered(&[]);
        // Half of the last answer, doubled like every last answer.
        assert_eq!(appetite.expected_bytes(room(10 * MIB)), 4 * busy[0].memory_bytes());
    }

    #[test]
    fn records_that_grow_smaller_are_believed_by_quarters() {
        let mut appetite = Appetite::new(10_000);
        let limits = [MIB, 100, 100].map(|bytes| {
            appetite.answered(&records(1, bytes));
            appetite.limit(room(3 * MIB))
        });
        assert_eq!(limits, [2, 3, 5]);
    }
}
