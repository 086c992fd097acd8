//! Stages 2 to 4 joined, on sealed Kinesis records: limiter, collector, retrier.
//!
//! No I/O, no clock: events go in with `now`, `next` says the one thing to do. Ask again after every event and after every
//! step but the last two.
//!
//! ```text
//! sealed --> route --> limiter --> collector --> Step::Send
//!              ^  '-> parked until a newer map        |
//!              |          |                        answered
//!              '-- pausing, or cut up <-- retrier <---'--> Step::Settle
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kinesis_shard::{SequenceNumber, ShardId, ShardMap};

use crate::config::Ordering;
use crate::error::{PutErrorReason, WaitedIn};
use crate::stats::{Counters, QueueStatus};

/// Collect until count, bytes or deadline: shared by 1 and 3.
pub(crate) mod reducer;

/// 1. User records to Kinesis records, one buffer per shard; runs in `put`.
pub(crate) mod aggregator;

/// What travels: one Kinesis record.
pub(crate) mod kinesis_record;

/// An aggregate cut along a new shard map.
mod division;

/// 2. One queue and token bucket per shard.
mod limiter;

/// How fast one shard is sent to.
mod bucket;

/// In ordered mode: ranges with a record on its way.
mod holds;

/// 3. Kinesis records to requests.
mod collector;

/// What the service said.
pub(crate) mod answer;

/// 4. What each answer means, and the pauses before retries.
mod retrier;

/// Answers applied.
mod answered;

/// Which shard's queue a record joins, also when the shards change.
mod routing;

/// When to ask for the shards again.
mod map_watch;

/// The stream's own limit, and who decides where records go.
pub(crate) mod summary;

/// Where the records are, and whether any of them moves.
mod status;

#[cfg(test)]
mod tests;

/// Small worlds, searched to the last state.
#[cfg(test)]
mod models;

pub(crate) use bucket::Rate;
use collector::Collector;
use kinesis_record::{Entry, KinesisRecord, Settlement};
use limiter::{Limiter, Released};
use map_watch::{MapWatch, Pauses, Watch};
use reducer::Bounds;
use retrier::Retrier;
use status::Progress;
use summary::Summary;

/// What the pipeline needs of the configuration.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) stream: Arc<str>,
    pub(crate) ttl: Duration,
    pub(crate) max_in_flight: usize,
    pub(crate) fail_if_throttled: bool,
    pub(crate) rate: Rate,
    pub(crate) collection: Bounds,
    pub(crate) ordering: Ordering,
    pub(crate) aggregation_on_auto: bool,
    pub(crate) fleet_size: u32,
    /// Whether a hook takes samples.
    pub(crate) sampled: bool,
    pub(crate) seeds: [u64; 3],
}

/// One `PutRecords` to make. Its records stay in the pipeline until it is answered.
#[derive(Debug)]
pub(crate) struct PutRecordsRequest {
    pub(crate) id: u64,
    pub(crate) entries: Vec<Entry>,
}

/// The one thing to do now.
#[derive(Debug)]
pub(crate) enum Step {
    /// Make this call and bring its answer.
    Send(PutRecordsRequest),
    /// Give this answer.
    Settle(Settlement),
    /// Ask for the shards and bring the map, or say that there is none.
    ListShards,
    /// Ask for the stream's summary and bring it, or say that there is none.
    Describe,
    /// Nothing was answered for too long: tell somebody.
    Report(QueueStatus),
    /// Nothing before then, unless something happens.
    WaitUntil(Instant),
    /// Nothing until something happens.
    Idle,
}

#[derive(Debug)]
pub(crate) struct Pipeline {
    settings: Settings,
    map: Option<Arc<ShardMap>>,
    /// The map before, which still names shards that answers on their way may name.
    previous: Option<Arc<ShardMap>>,
    /// The number of the question that the map answered, and the first whose answer is to be trusted.
    map_question: u64,
    trusted_from: u64,
    watch: MapWatch,
    summary: Summary,
    /// Whose turn it is where the service ignores keys.
    turn: usize,
    limiter: Limiter,
    collector: Collector,
    retrier: Retrier,
    /// Waiting for a map, by expiry.
    parked: BTreeMap<(Instant, u64), Parked>,
    in_flight: BTreeMap<u64, InFlight>,
    due: VecDeque<Settlement>,
    flushed_epoch: Option<u64>,
    counters: Counters,
    progress: Progress,
    last_error: Option<Arc<str>>,
    map_error: Option<Arc<str>>,
    numbers: u64,
    closed: bool,
}

/// A record that waits for the answer to this question about the shards, or a later one.
#[derive(Debug)]
struct Parked {
    question: u64,
    why: Why,
    record: KinesisRecord,
}

#[derive(Debug)]
enum Why {
    /// There is no map.
    Unrouted,
    /// It landed where its members do not all belong, and the map did not know better.
    WrongShard,
    /// It landed on a shard that the map does not name.
    Unknown { shard_id: ShardId, sequence_number: SequenceNumber },
}

#[derive(Debug)]
struct InFlight {
    started: Instant,
    records: Vec<KinesisRecord>,
}

impl Pipeline {
    pub(crate) fn new(settings: Settings) -> Self {
        let [map_seed, retry_seed, summary_seed] = settings.seeds;
        Self {
            map: None,
            previous: None,
            map_question: 0,
            trusted_from: 0,
            watch: MapWatch::new(map_seed, Pauses::shards(settings.fleet_size)),
            summary: Summary::new(summary_seed, settings.fleet_size),
            turn: 0,
            limiter: Limiter::new(settings.rate, settings.ttl, settings.ordering),
            collector: Collector::new(settings.collection),
            retrier: Retrier::new(retry_seed),
            parked: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            due: VecDeque::new(),
            flushed_epoch: None,
            counters: Counters::new(Arc::clone(&settings.stream), settings.sampled),
            progress: Progress::default(),
            last_error: None,
            map_error: None,
            numbers: 0,
            closed: false,
            settings,
        }
    }

    /// A Kinesis record is complete.
    pub(crate) fn sealed(&mut self, now: Instant, mut record: KinesisRecord) {
        record.number = self.unique();
        self.counters.sealed(&record);
        if self.closed {
            self.fail(now, record, PutErrorReason::Closed);
        } else {
            self.route(now, record);
        }
    }

    /// Nothing of this epoch or earlier is to wait for company any more.
    pub(crate) fn flush(&mut self, now: Instant, epoch: u64) {
        self.flushed_epoch = self.flushed_epoch.max(Some(epoch));
        self.collector.hurry(now);
    }

    /// Gives everything up, with what was sealed and not seen here yet: the answers that are due, and how many user records had to be
    /// given up. What is in flight may still be written.
    pub(crate) fn close(
        &mut self,
        now: Instant,
        unseen: impl IntoIterator<Item = KinesisRecord>,
    ) -> (Vec<Settlement>, u64) {
        self.closed = true;
        let mut records = self.limiter.drain();
        records.extend(self.collector.take());
        records.extend(self.retrier.drain());
        for Parked { why, mut record, .. } in std::mem::take(&mut self.parked).into_values() {
            record.in_doubt |= !matches!(why, Why::Unrouted);
            records.push(record);
        }
        for flight in std::mem::take(&mut self.in_flight).into_values() {
            records.extend(flight.records.into_iter().map(|record| KinesisRecord {
                in_doubt: !kinesis_shard::planted("closing forgets what is in flight"),
                ..record
            }));
        }
        for record in unseen {
            self.counters.sealed(&record);
            records.push(record);
        }
        let left = records.iter().map(|record| record.origin.len()).sum::<usize>();
        for record in records {
            if kinesis_shard::planted("closing answers nothing that is left") {
                std::mem::forget(record);
                continue;
            }
            self.fail(now, record, PutErrorReason::Closed);
        }
        (self.due.drain(..).collect(), u64::try_from(left).unwrap_or(u64::MAX))
    }

    /// What to do now.
    pub(crate) fn next(&mut self, now: Instant) -> Step {
        if self.due.is_empty() && !self.closed {
            self.wake_up(now);
        }
        if let Some(settlement) = self.due.pop_front() {
            return Step::Settle(settlement);
        }
        if self.closed {
            return Step::Idle;
        }
        let watch = self.watch.next(now);
        if watch == Watch::Ask {
            return Step::ListShards;
        }
        let summary = self.summary.next(now);
        if summary == Watch::Ask {
            return Step::Describe;
        }
        if let Some(records) = self.fill(now) {
            return Step::Send(self.send(now, records));
        }
        if let Some(settlement) = self.due.pop_front() {
            return Step::Settle(settlement);
        }
        if let Some(status) = self.stuck(now) {
            return Step::Report(status);
        }
        let asks =
            [watch, summary].map(|watch| if let Watch::WaitUntil(at) = watch { Some(at) } else { None });
        // Without a free request nothing can leave the limiter or the collector, but it can expire there.
        let sends = if self.may_send() {
            [self.limiter.wake(), self.collector.wake()]
        } else {
            [None, self.collector.oldest().map(|opened| opened + self.settings.ttl)]
        };
        let parked = self.parked.first_key_value().map(|((at, _), _)| *at);
        let lives = [parked, self.limiter.expires(), self.retrier.wake(), self.reports_at()];
        let wakes = lives.into_iter().chain(sends).chain(asks);
        wakes.flatten().min().map_or(Step::Idle, Step::WaitUntil)
    }

    /// Pauses that are over, and lives.
    fn wake_up(&mut self, now: Instant) {
        while let Some(record) = self.retrier.next(now) {
            if record.expires(self.settings.ttl) <= now {
                self.expire(now, record);
            } else {
                self.route(now, record);
            }
        }
        while let Some(record) = self.limiter.expired(now) {
            self.expire(now, record);
        }
        // With a free request the collector empties long before anything in it can expire.
        if !self.may_send() && self.collector.oldest().is_some_and(|opened| opened + self.settings.ttl <= now)
        {
            for record in self.collector.expired(now, self.settings.ttl) {
                self.expire(now, record);
            }
        }
        while let Some(entry) = self.parked.first_entry()
            && entry.key().0 <= now
        {
            let Parked { why, mut record, .. } = entry.remove();
            record.in_doubt |= !matches!(why, Why::Unrouted);
            self.expire(now, record);
        }
    }

    fn may_send(&self) -> bool {
        self.in_flight.len() < self.settings.max_in_flight
    }

    /// Fills the next request; returns it when it is to go.
    fn fill(&mut self, now: Instant) -> Option<Vec<KinesisRecord>> {
        // Nothing leaves the limiter without a free request: tokens are spent on what is really sent.
        while self.may_send() {
            if self.collector.is_full() {
                return Some(self.collector.take());
            }
            match self.limiter.next(now) {
                // Only now: what may go at this moment fills up the request that is due.
                None => return self.collector.is_due(now).then(|| self.collector.take()),
                Some(Released::Expired(record)) => self.expire(now, record),
                Some(Released::Send(shard, record)) => {
                    let full = (!self.collector.fits(&record)).then(|| self.collector.take());
                    let hurry = self.flushed_epoch.is_some_and(|epoch| record.origin.epoch() <= epoch);
                    self.collector.push(now, shard, record);
                    if hurry {
                        self.collector.hurry(now);
                    }
                    if full.is_some() {
                        return full;
                    }
                }
            }
        }
        None
    }

    fn send(&mut self, now: Instant, mut records: Vec<KinesisRecord>) -> PutRecordsRequest {
        let id = self.unique();
        let predicting = if self.auto() { None } else { self.map.clone() };
        for record in &mut records {
            record.predicted = predicting.as_ref().map(|map| map.shard_of(record.route).id.clone());
            record.moved(now, WaitedIn::Request);
        }
        self.counters.sent(now, &records);
        KinesisRecord::write_digests(&mut records);
        let entries = records.iter().map(KinesisRecord::entry).collect();
        self.in_flight.insert(id, InFlight { started: now, records });
        PutRecordsRequest { id, entries }
    }

    fn expire(&mut self, now: Instant, record: KinesisRecord) {
        let waited = now.saturating_duration_since(record.opened);
        let (waited_in, time_spent) = (record.timeline.place(), Box::new(record.timeline.spent(now)));
        let last_error = record.last_error().or_else(|| self.map_error.clone());
        tracing::debug!(stream = %self.settings.stream, ?waited, ?waited_in, "expired");
        self.fail(now, record, PutErrorReason::Expired { waited, waited_in, time_spent, last_error });
    }

    fn fail(&mut self, now: Instant, mut record: KinesisRecord, reason: PutErrorReason) {
        self.unhold(now, &mut record);
        let expired = matches!(reason, PutErrorReason::Expired { .. });
        if expired && kinesis_shard::planted("what expires is not answered") {
            return std::mem::forget(record);
        }
        self.counters.failed(&record, expired);
        self.progress.moved(now);
        self.due.push_back(record.failed(&self.settings.stream, reason));
    }

    fn unique(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }
}
