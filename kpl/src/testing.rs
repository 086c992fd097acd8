//! What the unit tests share.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use kinesis_shard::{HashKey, HashKeyRange, SequenceNumber, Shard, ShardId, ShardMap};

use crate::batch::{Answer, Batch, Ledger, Receipt, Ticket};
use crate::error::{Failure, Held, PutErrorReason};
use crate::pipeline::aggregator::{AggregationBounds, Aggregator, Host, Opening};
use crate::pipeline::kinesis_record::KinesisRecord;
use crate::pipeline::reducer::Bounds;
use crate::user_record::{Attempts, UserRecord};

/// The instant at which every pure test begins.
#[expect(clippy::disallowed_methods, reason = "an origin to count from; it never moves")]
pub(crate) fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(|| Instant::now() + Duration::from_hours(1))
}

#[derive(Debug, Default)]
pub(crate) struct CountingLedger {
    delivered: AtomicU64,
    failed: AtomicU64,
    bytes: AtomicU64,
    finished: Mutex<Vec<u64>>,
}

impl CountingLedger {
    pub(crate) fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::SeqCst)
    }
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::SeqCst)
    }
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::SeqCst)
    }
    pub(crate) fn finished_epochs(&self) -> Vec<u64> {
        self.finished.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Ledger for CountingLedger {
    fn answered(&self, delivered: bool, records: u32, bytes: usize) {
        let counter = if delivered { &self.delivered } else { &self.failed };
        counter.fetch_add(u64::from(records), Ordering::SeqCst);
        self.bytes.fetch_add(bytes as u64, Ordering::SeqCst);
    }
    fn finished(&self, epoch: u64) {
        self.finished.lock().unwrap_or_else(PoisonError::into_inner).push(epoch);
    }
}

pub(crate) fn delivered(shard: &str, sequence_number: u64) -> Answer {
    Answer::Delivered(Receipt {
        shard_id: ShardId::new(shard),
        sequence_number: sequence_number.to_string().parse().unwrap(),
        attempts: Attempts::none(),
    })
}

pub(crate) fn failed() -> Answer {
    Answer::Failed(Arc::new(Failure {
        stream: "orders".into(),
        reason: PutErrorReason::Throttled,
        attempts: Attempts::none(),
        may_have_been_written: false,
        held: Held::Nothing,
    }))
}

pub(crate) fn shard(index: u64, range: HashKeyRange) -> Shard {
    Shard {
        id: ShardId::from_index(index),
        parent: None,
        adjacent_parent: None,
        hash_key_range: range,
        starting_sequence_number: SequenceNumber::ZERO,
        ending_sequence_number: None,
    }
}

pub(crate) fn shards(count: u32) -> Vec<Shard> {
    let ranges = HashKeyRange::even(NonZeroU32::new(count).unwrap());
    (0..).zip(ranges).map(|(index, range)| shard(index, range)).collect()
}

pub(crate) fn shard_map(count: u32) -> Arc<ShardMap> {
    Arc::new(ShardMap::new(shards(count)).unwrap())
}

pub(crate) fn aggregator(max_bytes: usize) -> Aggregator {
    Aggregator::new(bounds(max_bytes))
}

pub(crate) fn bounds(max_bytes: usize) -> AggregationBounds {
    let linger = Duration::from_millis(80);
    AggregationBounds { enabled: true, collected: Bounds { max_count: usize::MAX, max_bytes, linger } }
}

pub(crate) fn push(
    aggregator: &mut Aggregator,
    record: &UserRecord,
    now: Instant,
    epoch: u64,
    ledger: &Arc<CountingLedger>,
) -> (Ticket, Vec<KinesisRecord>) {
    let host = TestHost::new(now, epoch, ledger);
    let (pushed, sealed) = host.push(aggregator, record, record.hash_key());
    (Ticket::new(pushed.batch, pushed.index), sealed)
}

/// What became of a push.
#[derive(Debug)]
pub(crate) struct Pushed {
    pub(crate) batch: Arc<Batch>,
    pub(crate) index: u32,
    pub(crate) opened: Option<Instant>,
}

/// Stands in for an intake during one push.
pub(crate) struct TestHost {
    now: Instant,
    epoch: u64,
    ledger: Arc<CountingLedger>,
    joined: Option<(Arc<Batch>, u32)>,
    sealed: Vec<KinesisRecord>,
}

impl TestHost {
    pub(crate) fn new(now: Instant, epoch: u64, ledger: &Arc<CountingLedger>) -> Self {
        Self { now, epoch, ledger: Arc::clone(ledger), joined: None, sealed: Vec::new() }
    }

    pub(crate) fn push(
        mut self,
        aggregator: &mut Aggregator,
        record: &UserRecord,
        hash_key: HashKey,
    ) -> (Pushed, Vec<KinesisRecord>) {
        let opened = aggregator.push(record, hash_key, &mut self);
        let (batch, index) = self.joined.unwrap();
        (Pushed { batch, index, opened }, self.sealed)
    }
}

impl Host for TestHost {
    fn open(&mut self) -> Opening {
        let ledger = Arc::clone(&self.ledger) as Arc<dyn Ledger>;
        Opening { now: self.now, batch: Batch::new(self.epoch, ledger) }
    }

    fn joined(&mut self, batch: &Arc<Batch>, index: u32) {
        assert!(self.joined.is_none(), "a record joins once");
        self.joined = Some((Arc::clone(batch), index));
    }

    fn sealed(&mut self, record: KinesisRecord) {
        self.sealed.push(record);
    }
}

/// One sealed aggregate of these keys, accepted at the start, and its tickets.
pub(crate) fn aggregate_of(keys: &[impl AsRef<str>]) -> (KinesisRecord, Vec<Ticket>) {
    let ledger = Arc::new(CountingLedger::default());
    aggregate_in(keys, &ledger)
}

pub(crate) fn aggregate_in(
    keys: &[impl AsRef<str>],
    ledger: &Arc<CountingLedger>,
) -> (KinesisRecord, Vec<Ticket>) {
    let mut aggregator = aggregator(1_000_000);
    let tickets = keys
        .iter()
        .map(|key| {
            let record = UserRecord::new(key.as_ref(), key.as_ref().as_bytes().to_vec());
            push(&mut aggregator, &record, start(), 0, ledger).0
        })
        .collect();
    (aggregator.seal().unwrap(), tickets)
}

/// A plain Kinesis record that counts as this many bytes, accepted at the start.
pub(crate) fn plain_of_bytes(bytes: usize) -> KinesisRecord {
    let ledger = Arc::new(CountingLedger::default());
    let mut aggregator = aggregator(64);
    let record = UserRecord::new("k", vec![0; bytes.saturating_sub(1)]);
    let (_, mut sealed) = push(&mut aggregator, &record, start(), 0, &ledger);
    sealed.pop().or_else(|| aggregator.seal()).unwrap()
}
