//! Answers applied: each record of a request goes its way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kinesis_shard::{HashKeyRange, SequenceNumber, Shard, ShardId, ShardMap};

use crate::error::PutErrorReason;
use crate::pipeline::answer::{EntryAnswer, ErrorClass, PutRecordsAnswer};
use crate::pipeline::kinesis_record::KinesisRecord;
use crate::pipeline::retrier::{Verdict, judge_call, judge_entry};
use crate::pipeline::{InFlight, Pipeline, Why};

/// Our own code for a record that was stored where a reader drops it.
const WRONG_SHARD: &str = "WrongShard";

/// One request's answer: when it was sent, and the pauses drawn for it. Records that failed equally often come back together, so that
/// they fill requests again.
struct Answering {
    now: Instant,
    started: Instant,
    pauses: BTreeMap<u32, Duration>,
}

impl Pipeline {
    /// A request was answered, or failed.
    pub(crate) fn answered(&mut self, now: Instant, id: u64, answer: PutRecordsAnswer) {
        // Closed meanwhile: its records were answered then.
        let Some(InFlight { started, records }) = self.in_flight.remove(&id) else { return };
        let mut answering = Answering { now, started, pauses: BTreeMap::new() };
        self.counters.answered(now.saturating_duration_since(started));
        let fail_if_throttled = self.settings.fail_if_throttled;
        // Who takes aggregates from anywhere has said so.
        let anywhere = self.auto() && self.settings.aggregation_on_auto;
        match answer {
            PutRecordsAnswer::Entries(entries) if entries.len() == records.len() => {
                let mut entries = entries;
                if kinesis_shard::planted("answers are matched from the end") {
                    entries.reverse();
                }
                let refused = entries.iter().any(|entry| !matches!(entry, EntryAnswer::Stored { .. }));
                let spoilt = refused && kinesis_shard::planted("a partial failure sends everything again");
                for (record, entry) in records.into_iter().zip(entries) {
                    let range_of = |id: &ShardId, number| {
                        if anywhere { Some(HashKeyRange::FULL) } else { self.range_of(id, number) }
                    };
                    let mut verdict = judge_entry(&record, entry, fail_if_throttled, range_of);
                    if spoilt {
                        verdict = Verdict::Again("Spoilt".into(), false);
                    }
                    self.apply(&mut answering, record, verdict);
                }
            }
            PutRecordsAnswer::Entries(_) => {
                for record in records {
                    let verdict = Verdict::Again("RecordCountMismatch".into(), true);
                    self.apply(&mut answering, record, verdict);
                }
            }
            PutRecordsAnswer::Failed(error) => {
                let (stream, code, message) = (&self.settings.stream, &error.code, &error.message);
                if error.class == ErrorClass::Permanent {
                    tracing::warn!(%stream, %code, %message, records = records.len(), "PutRecords was refused");
                } else {
                    tracing::debug!(%stream, %code, %message, records = records.len(), "PutRecords failed");
                }
                let entries = records.len();
                for record in records {
                    let verdict = judge_call(&error, entries, fail_if_throttled);
                    self.apply(&mut answering, record, verdict);
                }
            }
        }
    }

    fn apply(&mut self, answering: &mut Answering, mut record: KinesisRecord, verdict: Verdict) {
        let now = answering.now;
        let error_code = match &verdict {
            Verdict::Delivered { .. } | Verdict::Unknown { .. } => None,
            Verdict::WrongShard => Some(WRONG_SHARD.into()),
            Verdict::Throttled(code)
            | Verdict::Again(code, _)
            | Verdict::Alone(code)
            | Verdict::Refused(code, _) => Some(Arc::clone(code)),
        };
        if let Some(code) = &error_code {
            self.counters.error(code, record.predicted.as_ref());
            self.last_error = Some(Arc::clone(code));
        }
        record.attempted(answering.started, now, error_code);
        match verdict {
            Verdict::Delivered { shard_id, sequence_number } => {
                self.delivered(now, record, shard_id, sequence_number);
            }
            Verdict::WrongShard => self.wrong_shard(now, record),
            Verdict::Unknown { shard_id, sequence_number } => {
                let question = self.watch.want(now);
                self.park(now, question, Why::Unknown { shard_id, sequence_number }, record);
            }
            Verdict::Throttled(_) => self.throttled(answering, record),
            Verdict::Again(_, in_doubt) => {
                record.in_doubt |= in_doubt;
                self.again(answering, record);
            }
            Verdict::Alone(_) => {
                record.alone = true;
                self.route(now, record);
            }
            Verdict::Refused(_, reason) => {
                if reason == PutErrorReason::StreamNotFound {
                    // Created anew, the stream may use the same shard ids for other ranges.
                    self.trusted_from = self.watch.want(now);
                }
                self.fail(now, record, reason);
            }
        }
    }

    fn delivered(
        &mut self,
        now: Instant,
        mut record: KinesisRecord,
        shard_id: ShardId,
        sequence_number: SequenceNumber,
    ) {
        self.limiter.delivered(record.lane);
        if !self.auto() && record.predicted.as_ref() != Some(&shard_id) {
            // It counts all the same, but what comes after it is predicted better with a newer map.
            self.watch.want(now);
        }
        self.unhold(now, &mut record);
        self.counters.delivered(&record, &shard_id);
        self.progress.moved(now);
        self.due.push_back(record.delivered(shard_id, sequence_number));
    }

    /// Stored, but a reader drops it: undelivered as a whole.
    fn wrong_shard(&mut self, now: Instant, mut record: KinesisRecord) {
        tracing::debug!(stream = %self.settings.stream, records = record.origin.len(), predicted = ?record.predicted, "aggregate on the wrong shard");
        record.in_doubt = true;
        self.counters.wrong_shard(record.predicted.as_ref());
        if self.goes_elsewhere(&record) {
            // The map was renewed while the request was on its way.
            self.route(now, record);
        } else {
            let question = self.watch.want(now);
            self.park(now, question, Why::WrongShard, record);
        }
    }

    /// Slows its shard down and takes its place at the head of that shard's queue.
    fn throttled(&mut self, answering: &Answering, record: KinesisRecord) {
        let Answering { now, started, .. } = *answering;
        if record.expires(self.settings.ttl) <= now {
            return self.expire(now, record);
        }
        self.counters.throttled(record.predicted.as_ref());
        let lane = match &self.map {
            Some(map) if !self.auto() => map.open_index_of(record.route),
            // Nobody knows which shard it was; the lane that sent it sends less.
            _ => record.lane,
        };
        let pause = self.retrier.pause(self.limiter.throttles(lane) + 1);
        self.limiter.throttled(now, lane, started, pause);
        self.route(now, record);
    }

    fn again(&mut self, answering: &mut Answering, record: KinesisRecord) {
        let now = answering.now;
        let expires = record.expires(self.settings.ttl);
        if expires <= now {
            return self.expire(now, record);
        }
        let failures = u32::try_from(record.attempts.len()).unwrap_or(u32::MAX);
        let pause = *answering.pauses.entry(failures).or_insert_with(|| self.retrier.pause(failures));
        self.retrier.push(now, (now + pause).min(expires), record);
    }

    /// The map that a record waited for is here.
    pub(super) fn unpark(&mut self, now: Instant, why: Why, mut record: KinesisRecord) {
        match why {
            Why::Unrouted => self.route(now, record),
            Why::WrongShard if self.goes_elsewhere(&record) => self.route(now, record),
            // The listing lags behind, or the shard was closed before anyone could list it: the same place again, but not at once.
            Why::WrongShard => {
                let mut answering = Answering { now, started: now, pauses: BTreeMap::new() };
                self.again(&mut answering, record);
            }
            // Listed after the record was stored, so the name is enough.
            Why::Unknown { shard_id, sequence_number } => match self
                .named(&shard_id)
                .map(|shard| shard.hash_key_range)
            {
                Some(range) if record.fits(range) => self.delivered(now, record, shard_id, sequence_number),
                _ => {
                    let code: Arc<str> = WRONG_SHARD.into();
                    self.counters.error(&code, record.predicted.as_ref());
                    if let Some(attempt) = record.attempts.last_mut() {
                        attempt.error_code = Some(code);
                    }
                    record.in_doubt = true;
                    self.counters.wrong_shard(record.predicted.as_ref());
                    self.unpark(now, Why::WrongShard, record);
                }
            },
        }
    }

    /// Whether the map now sends it to another shard than last time, or to several.
    fn goes_elsewhere(&self, record: &KinesisRecord) -> bool {
        self.auto()
            || self.map.as_ref().is_some_and(|map| {
                let shard = map.shard_of(record.route);
                Some(&shard.id) != record.predicted.as_ref() || !record.fits(shard.hash_key_range)
            })
    }

    /// The range of a shard that this map or the one before names, while they are to be trusted.
    ///
    /// A stream that was deleted and created anew uses the same names for other shards. Its sequence numbers give it away: they hold
    /// when their shard was created. Nothing promises that, so all that a mismatch does is to ask for a new map.
    fn range_of(&self, id: &ShardId, sequence_number: SequenceNumber) -> Option<HashKeyRange> {
        if self.map_question < self.trusted_from {
            return None;
        }
        let shard = self.named(id)?;
        let created = |number: SequenceNumber| number.layout().map(|layout| layout.shard_created_seconds);
        let (listed, stored) = (created(shard.starting_sequence_number), created(sequence_number));
        let another = listed.zip(stored).is_some_and(|(listed, stored)| listed != stored);
        if another { None } else { Some(shard.hash_key_range) }
    }

    fn named(&self, id: &ShardId) -> Option<&Shard> {
        let of = |map: &'_ Option<Arc<ShardMap>>| map.as_ref().is_some_and(|map| map.get(id).is_some());
        let map = if of(&self.map) { &self.map } else { &self.previous };
        map.as_ref()?.get(id)
    }
}
