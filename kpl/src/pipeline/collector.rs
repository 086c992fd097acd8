//! Stage 3: Kinesis records to `PutRecords` requests.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::error::WaitedIn;
use crate::pipeline::kinesis_record::KinesisRecord;
use crate::pipeline::reducer::{Bounds, Reducer};

/// So much for one shard fills a request: more would be throttled anyway, and small requests spread a hot shard's load.
const MAX_BYTES_PER_SHARD: usize = 256 * 1024;

/// The request that is being filled.
#[derive(Debug)]
pub(crate) struct Collector {
    reducer: Reducer,
    records: Vec<KinesisRecord>,
    bytes_by_shard: BTreeMap<usize, usize>,
    closed: bool,
}

impl Collector {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let one_more = usize::from(kinesis_shard::planted("a request takes one record more"));
        let bounds = Bounds { max_count: bounds.max_count + one_more, ..bounds };
        Self {
            reducer: Reducer::new(bounds),
            records: Vec::new(),
            bytes_by_shard: BTreeMap::new(),
            closed: false,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// For models: what waits.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> &[KinesisRecord] {
        &self.records
    }

    pub(crate) fn fits(&self, record: &KinesisRecord) -> bool {
        self.records.is_empty()
            || (!self.closed
                && !record.alone
                && self.reducer.fits(self.reducer.bytes() + record.entry_bytes()))
    }

    /// Takes a record that fits, towards the shard at this index.
    pub(crate) fn push(&mut self, now: Instant, shard: usize, mut record: KinesisRecord) {
        record.moved(now, WaitedIn::Collector);
        if self.reducer.is_empty() {
            self.reducer.open(now);
        }
        let bytes = record.entry_bytes();
        let of_shard = self.bytes_by_shard.entry(shard).or_default();
        *of_shard += bytes;
        self.closed |= record.alone || *of_shard >= MAX_BYTES_PER_SHARD;
        self.reducer.add(self.reducer.bytes() + bytes);
        self.records.push(record);
    }

    /// Whether nothing more may join.
    pub(crate) fn is_full(&self) -> bool {
        self.closed || self.reducer.is_full()
    }

    /// Whether what is here has waited long enough.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.reducer.is_due(now)
    }

    /// When what is here must go.
    pub(crate) fn wake(&self) -> Option<Instant> {
        self.reducer.deadline()
    }

    pub(crate) fn hurry(&mut self, now: Instant) {
        self.reducer.hurry(now);
    }

    /// When the first record in here was accepted.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.records.iter().map(|record| record.opened).min()
    }

    /// Takes out what has expired: all slots for requests may be taken for longer than a record lives.
    pub(crate) fn expired(&mut self, now: Instant, ttl: Duration) -> Vec<KinesisRecord> {
        let due = self.wake();
        let (expired, living): (Vec<_>, Vec<_>) =
            self.take().into_iter().partition(|record| record.expires(ttl) <= now);
        for record in living {
            self.push(now, record.lane, record);
        }
        // What is left waits no longer than it would have.
        if let Some(due) = due {
            self.hurry(due);
        }
        expired
    }

    pub(crate) fn take(&mut self) -> Vec<KinesisRecord> {
        debug_assert_eq!(self.reducer.count(), self.records.len());
        self.reducer.reset();
        self.bytes_by_shard.clear();
        self.closed = false;
        std::mem::take(&mut self.records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{plain_of_bytes, start};

    fn collector() -> Collector {
        Collector::new(Bounds { max_count: 500, max_bytes: 1_000_000, linger: Duration::from_millis(20) })
    }

    #[test]
    fn a_request_goes_by_count_bytes_or_time() {
        let mut by_count = collector();
        for _ in 0..499 {
            by_count.push(start(), 0, plain_of_bytes(10));
        }
        assert!(!by_count.is_full());
        by_count.push(start(), 0, plain_of_bytes(10));
        assert!(by_count.is_full());
        assert_eq!(by_count.take().len(), 500);

        let mut by_time = collector();
        assert!(!by_time.is_due(start() + Duration::from_secs(1)), "nothing is never due");
        by_time.push(start(), 0, plain_of_bytes(10));
        assert!(!by_time.is_due(start() + Duration::from_millis(19)));
        assert!(by_time.is_due(start() + Duration::from_millis(20)));

        let mut by_bytes = collector();
        for shard in 0..4 {
            by_bytes.push(start(), shard, plain_of_bytes(240_000));
        }
        assert!(by_bytes.fits(&plain_of_bytes(40_000)));
        assert!(!by_bytes.fits(&plain_of_bytes(40_001)));
        assert!(!by_bytes.is_full());
    }

    #[test]
    fn a_quarter_mebibyte_for_one_shard_closes_the_request() {
        let mut collector = collector();
        collector.push(start(), 3, plain_of_bytes(200_000));
        assert!(!collector.is_full());
        collector.push(start(), 3, plain_of_bytes(62_144));
        assert!(collector.is_full());
        assert!(!collector.fits(&plain_of_bytes(10)));
    }

    #[test]
    fn what_expires_while_no_request_is_free_is_taken_out() {
        let mut collector = collector();
        let later = start() + Duration::from_secs(1);
        collector.push(start(), 0, plain_of_bytes(10));
        collector.push(start(), 0, KinesisRecord { opened: later, ..plain_of_bytes(20) });
        let ttl = Duration::from_secs(30);
        assert_eq!(collector.oldest(), Some(start()));
        assert_eq!(collector.expired(start() + ttl, ttl).len(), 1);
        assert_eq!((collector.len(), collector.oldest()), (1, Some(later)));
        assert!(collector.is_due(start() + ttl));
    }

    #[test]
    fn a_suspected_record_shares_no_request() {
        let suspect = || KinesisRecord { alone: true, ..plain_of_bytes(10) };
        let mut collector = collector();
        collector.push(start(), 0, plain_of_bytes(10));
        assert!(!collector.fits(&suspect()));
        collector.take();
        collector.push(start(), 0, suspect());
        assert!(collector.is_full());
        assert!(!collector.fits(&plain_of_bytes(10)));
    }
}
