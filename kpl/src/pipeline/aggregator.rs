//! Stage 1: user records to Kinesis records, one open aggregate per shard. Runs in the caller's `put`, under the shard's lock.

use std::sync::Arc;
use std::time::Instant;

use kinesis_shard::{AggregatedRecordWriter, HashKey, HashKeyRange, Payload};

use crate::batch::{Batch, Origin};
use crate::pipeline::kinesis_record::KinesisRecord;
use crate::pipeline::reducer::Bounds;
use crate::user_record::UserRecord;

/// What an aggregate may become.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AggregationBounds {
    pub(crate) enabled: bool,
    pub(crate) collected: Bounds,
}

/// What a new aggregate needs from outside: the time, read once, and its completion.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) now: Instant,
    pub(crate) batch: Arc<Batch>,
}

/// Whom an aggregator works for.
pub(crate) trait Host {
    /// An aggregate begins.
    fn open(&mut self) -> Opening;
    /// The record that is pushed has become this member of that batch. Told once a push.
    fn joined(&mut self, batch: &Arc<Batch>, index: u32);
    /// A Kinesis record is complete; told in order.
    fn sealed(&mut self, record: KinesisRecord);
}

/// The open aggregate of one shard.
#[derive(Debug)]
pub(crate) struct Aggregator {
    /// Shared: with thousands of shards, what is looked at of each should be little.
    bounds: Arc<AggregationBounds>,
    writer: AggregatedRecordWriter,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    batch: Arc<Batch>,
    opened: Instant,
    route: HashKey,
    least: HashKey,
    greatest: HashKey,
    records: u32,
    outstanding_bytes: usize,
}

impl Aggregator {
    pub(crate) fn new(bounds: impl Into<Arc<AggregationBounds>>) -> Self {
        Self { bounds: bounds.into(), writer: AggregatedRecordWriter::new(), open: None }
    }

    /// User records in the open aggregate.
    pub(crate) fn records(&self) -> u32 {
        self.open.as_ref().map_or(0, |open| open.records)
    }

    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.open.as_ref().is_some_and(|open| open.opened + self.bounds.collected.linger <= now)
    }

    /// A record with this hash key will soon be pushed.
    #[inline]
    pub(crate) fn push_soon(&self, hash_key: HashKey) {
        self.writer.push_soon(hash_key.low_64());
        if let Some(open) = &self.open {
            open.batch.join_soon();
        }
    }

    /// Takes a record whose hash key lies in this shard. Returns the deadline of the aggregate that this push opened and left open.
    pub(crate) fn push(
        &mut self,
        record: &UserRecord,
        hash_key: HashKey,
        host: &mut impl Host,
    ) -> Option<Instant> {
        // Key and data alone leave no room for the framing: it can never be joined by another.
        let alone = record.data.len() + record.partition_key.len() >= self.bounds.collected.max_bytes;
        if alone || !self.bounds.enabled {
            self.push_alone(record, hash_key, host);
            return None;
        }
        let UserRecord { partition_key, explicit_hash_key, data } = record;
        let key_hash = match explicit_hash_key {
            None => hash_key.low_64(),
            // Not what routes it, but what equal keys have in common.
            Some(_) => HashKey::of_partition_key(partition_key).low_64(),
        };
        let room = self.bounds.collected.room(self.writer.len());
        if !self.writer.push_within(room, partition_key, key_hash, *explicit_hash_key, data) {
            self.seal().into_iter().for_each(|sealed| host.sealed(sealed));
            self.writer.push(partition_key, key_hash, *explicit_hash_key, data);
        }
        let opens = self.open.is_none();
        let current = self.open.get_or_insert_with(|| {
            let Opening { now, batch } = host.open();
            Open {
                batch,
                opened: now,
                route: hash_key,
                least: hash_key,
                greatest: hash_key,
                records: 0,
                outstanding_bytes: 0,
            }
        });
        host.joined(&current.batch, current.records);
        current.records += 1;
        current.least = current.least.min(hash_key);
        current.greatest = current.greatest.max(hash_key);
        current.outstanding_bytes += record.outstanding_bytes();

        let opened = current.opened;
        if self.bounds.collected.is_full(self.writer.len(), self.writer.encoded_len()) {
            self.seal().into_iter().for_each(|sealed| host.sealed(sealed));
            return None;
        }
        opens.then(|| opened + self.bounds.collected.linger)
    }

    /// A record of its own, not copied. What is open goes first, so that order is kept.
    fn push_alone(&mut self, record: &UserRecord, hash_key: HashKey, host: &mut impl Host) {
        self.seal().into_iter().for_each(|sealed| host.sealed(sealed));
        let Opening { now, batch } = host.open();
        host.joined(&batch, 0);
        let origin = Origin::whole(batch, 1, record.outstanding_bytes());
        let UserRecord { partition_key, explicit_hash_key, data } = record.clone();
        let payload = Payload::Plain { partition_key, explicit_hash_key, data };
        host.sealed(KinesisRecord::new(payload, hash_key, span(hash_key, hash_key), origin, now));
    }

    /// Closes the open aggregate, if there is one.
    pub(crate) fn seal(&mut self) -> Option<KinesisRecord> {
        let open = self.open.take()?;
        // Sealed aggregates are sent many at once, and get their digests then.
        let payload = self.writer.finish_without_digest().payload;
        let origin = Origin::whole(open.batch, open.records, open.outstanding_bytes);
        Some(KinesisRecord::new(payload, open.route, span(open.least, open.greatest), origin, open.opened))
    }
}

impl Drop for Aggregator {
    /// What is open is sealed and dropped, which answers its tickets.
    fn drop(&mut self) {
        drop(self.seal());
    }
}

fn span(least: HashKey, greatest: HashKey) -> HashKeyRange {
    HashKeyRange::new(least, greatest).expect("the least hash key is not above the greatest")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::user_records;
    use crate::testing::{CountingLedger, Pushed, TestHost, start};

    fn bounds() -> AggregationBounds {
        crate::testing::bounds(1000)
    }

    fn collected(change: impl Fn(&mut Bounds)) -> AggregationBounds {
        let mut bounds = bounds();
        change(&mut bounds.collected);
        bounds
    }

    fn push(aggregator: &mut Aggregator, key: &str, bytes: usize) -> (Pushed, Vec<KinesisRecord>) {
        let record = UserRecord::new(key, vec![b'x'; bytes]);
        let hash_key = record.hash_key();
        TestHost::new(start(), 0, &Arc::new(CountingLedger::default())).push(aggregator, &record, hash_key)
    }

    fn aggregated(record: &KinesisRecord) -> usize {
        let Payload::Aggregated(data) = &record.payload else { panic!("not an aggregate") };
        assert_eq!(user_records(data).len(), record.origin.len());
        data.len()
    }

    #[test]
    fn records_share_a_batch_until_the_next_would_not_fit() {
        let mut aggregator = Aggregator::new(bounds());
        let (first, _) = push(&mut aggregator, "a", 300);
        assert_eq!(first.opened, Some(start() + Duration::from_millis(80)));
        let (second, sealed) = push(&mut aggregator, "b", 300);
        assert!(sealed.is_empty());
        assert_eq!((second.index, second.opened), (1, None));
        assert!(Arc::ptr_eq(&first.batch, &second.batch));
        assert_eq!(aggregator.records(), 2);
        let (due, moment) = (start() + Duration::from_millis(80), Duration::from_millis(1));
        assert!(aggregator.is_due(due) && !aggregator.is_due(due.checked_sub(moment).unwrap()));
        let (third, mut sealed) = push(&mut aggregator, "c", 400);
        assert_eq!((third.index, sealed.len()), (0, 1));
        let sealed = sealed.pop().unwrap();
        assert!(aggregated(&sealed) <= 1000);
        assert_eq!((sealed.origin.len(), sealed.origin.bytes()), (2, 2 * (1 + 300 + 32)));
        assert_eq!(aggregator.records(), 1);
    }

    #[test]
    fn keys_and_data_count_together_and_an_open_aggregate_that_is_dropped_answers() {
        let mut aggregator = Aggregator::new(bounds());
        let (first, _) = push(&mut aggregator, "a-key-of-some-letters", 400);
        let (second, sealed) = push(&mut aggregator, "a-key-of-some-letters", 400);
        assert!(Arc::ptr_eq(&first.batch, &second.batch) && sealed.is_empty());
        let ticket = crate::batch::Ticket::new(Arc::clone(&second.batch), second.index);
        drop(aggregator);
        assert_eq!(ticket.answer().unwrap().unwrap_err().reason(), &crate::PutErrorReason::Closed);
    }

    #[test]
    fn the_size_limit_is_exact() {
        // Two records of 482 bytes with one key of one byte: 20 + 3 + 2 * (3 + 2 + 3 + 480).
        let mut aggregator = Aggregator::new(collected(|bounds| bounds.max_bytes = 20 + 3 + 2 * 488));
        push(&mut aggregator, "k", 480);
        let (second, mut sealed) = push(&mut aggregator, "k", 480);
        assert_eq!((second.index, second.opened), (1, None));
        let sealed = sealed.pop().expect("full to the last byte");
        assert_eq!(aggregated(&sealed), 999);
    }

    #[test]
    fn the_count_limit_seals_at_once() {
        let mut aggregator = Aggregator::new(collected(|bounds| bounds.max_count = 2));
        assert!(push(&mut aggregator, "a", 1).1.is_empty());
        assert_eq!(push(&mut aggregator, "b", 1).1.len(), 1);
        assert_eq!((aggregator.records(), aggregator.is_due(start() + Duration::from_hours(1))), (0, false));
        assert!(aggregator.seal().is_none());
    }

    #[test]
    fn a_record_too_large_to_be_joined_leaves_alone_after_what_is_open() {
        let mut aggregator = Aggregator::new(bounds());
        push(&mut aggregator, "a", 1);
        push(&mut aggregator, "b", 1);
        let (_, sealed) = push(&mut aggregator, "c", 5000);
        let [before, alone] = sealed.as_slice() else { panic!("two were sealed") };
        assert!(before.is_aggregate() && !alone.is_aggregate());
        assert_eq!(alone.entry_bytes(), 5001);
    }

    #[test]
    fn a_single_record_is_not_wrapped_and_keeps_its_key() {
        let mut aggregator = Aggregator::new(bounds());
        push(&mut aggregator, "only", 3);
        let sealed = aggregator.seal().unwrap();
        let entry = sealed.entry();
        assert_eq!((&*entry.partition_key, entry.explicit_hash_key), ("only", None));
        assert_eq!(&entry.data[..], b"xxx");
    }

    #[test]
    fn an_aggregate_knows_the_least_and_the_greatest_hash_key_and_goes_by_the_first() {
        let mut aggregator = Aggregator::new(bounds());
        let mut keys: Vec<_> =
            ["a", "b", "c", "d"].iter().map(|key| HashKey::of_partition_key(key)).collect();
        for key in ["a", "b", "c", "d"] {
            push(&mut aggregator, key, 1);
        }
        let sealed = aggregator.seal().unwrap();
        assert_eq!(sealed.route, keys[0]);
        assert_eq!(sealed.entry().explicit_hash_key, Some(keys[0]));
        assert_eq!(sealed.entry().partition_key, "a");
        keys.sort();
        assert_eq!((sealed.span.start(), sealed.span.end()), (keys[0], keys[3]));
    }

    #[test]
    fn without_aggregation_every_record_is_sealed_at_once() {
        let mut aggregator = Aggregator::new(AggregationBounds { enabled: false, ..bounds() });
        let (pushed, sealed) = push(&mut aggregator, "a", 1);
        assert_eq!((sealed.len(), pushed.opened), (1, None));
    }
}
