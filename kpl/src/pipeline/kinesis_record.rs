//! What travels through the pipeline: one Kinesis record, its history, and whose answer it is.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kinesis_shard::aggregated_record::AGGREGATE_PARTITION_KEY;
use kinesis_shard::{HashKey, HashKeyRange, Payload, SequenceNumber, ShardId, write_digests};

use crate::batch::{Answer, Origin, Receipt};
use crate::error::{Failure, Held, PutErrorReason, Timeline, WaitedIn};
use crate::user_record::{Attempt, Attempts, UserRecord};

/// One entry of a `PutRecords` request, as the transport needs it. Cheap to make: the data is shared.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) partition_key: Cow<'static, str>,
    pub(crate) explicit_hash_key: Option<HashKey>,
    pub(crate) data: Bytes,
}

/// One plain or aggregated Kinesis record on its way.
#[derive(Debug)]
pub(crate) struct KinesisRecord {
    /// Its place in line: by sealing, kept across retries.
    pub(crate) number: u64,
    pub(crate) payload: Payload,
    /// What routes it: the hash key of its first user record.
    pub(crate) route: HashKey,
    /// From the least to the greatest hash key of its user records. Ranges of shards are intervals, so nothing else matters.
    pub(crate) span: HashKeyRange,
    pub(crate) origin: Origin,
    /// When its oldest user record was accepted.
    pub(crate) opened: Instant,
    pub(crate) timeline: Timeline,
    pub(crate) attempts: History,
    /// The aggregate ends with its digest, not with zeros.
    pub(crate) digested: bool,
    /// A reader may find it although no attempt succeeded.
    pub(crate) in_doubt: bool,
    /// Shares no request: one of its last request was refused as invalid, and it must be found out which.
    pub(crate) alone: bool,
    /// Where the last attempt was expected to land.
    pub(crate) predicted: Option<ShardId>,
    /// The limiter's lane that let it go last.
    pub(crate) lane: usize,
    /// In ordered mode: nothing else goes into this range until it is answered or back in its queue.
    pub(crate) held: Option<HashKeyRange>,
}

impl KinesisRecord {
    pub(crate) fn new(
        payload: Payload,
        route: HashKey,
        span: HashKeyRange,
        origin: Origin,
        opened: Instant,
    ) -> Self {
        Self {
            number: 0,
            payload,
            route,
            span,
            origin,
            opened,
            timeline: Timeline::opened(opened),
            attempts: History::default(),
            digested: false,
            in_doubt: false,
            alone: false,
            predicted: None,
            lane: 0,
            held: None,
        }
    }

    /// A record of two or more user records, which readers drop as a whole when one of them is out of range.
    pub(crate) fn is_aggregate(&self) -> bool {
        matches!(self.payload, Payload::Aggregated(_))
    }

    pub(crate) fn fits(&self, range: HashKeyRange) -> bool {
        if kinesis_shard::planted("the first key says where an aggregate belongs") {
            return range.contains(self.route);
        }
        range.contains(self.span.start()) && range.contains(self.span.end())
    }

    /// As the service counts: data and partition key.
    pub(crate) fn entry_bytes(&self) -> usize {
        self.payload.charged_len()
    }

    /// Writes the digests that are missing, all at once. Nothing may be sent without.
    pub(crate) fn write_digests(records: &mut [Self]) {
        if kinesis_shard::planted("an aggregate is sent without its digest") {
            return;
        }
        let missing = records.iter_mut().filter_map(|record| match &mut record.payload {
            Payload::Aggregated(blob) if !record.digested => {
                record.digested = true;
                Some(blob)
            }
            _ => None,
        });
        write_digests(&mut missing.collect::<Vec<_>>());
    }

    pub(crate) fn entry(&self) -> Entry {
        match &self.payload {
            Payload::Plain { partition_key, explicit_hash_key, data } => Entry {
                partition_key: Cow::Owned(partition_key.clone()),
                explicit_hash_key: *explicit_hash_key,
                data: data.clone(),
            },
            Payload::Aggregated(data) => Entry {
                partition_key: Cow::Borrowed(AGGREGATE_PARTITION_KEY),
                explicit_hash_key: (!kinesis_shard::planted("an aggregate goes where its label points"))
                    .then_some(self.route),
                data: data.clone(),
            },
        }
    }

    pub(crate) fn expires(&self, ttl: Duration) -> Instant {
        self.opened + ttl
    }

    /// It is here from now on.
    pub(crate) fn moved(&mut self, now: Instant, place: WaitedIn) {
        self.timeline.moved(now, place);
    }

    /// Writes an attempt down.
    pub(crate) fn attempted(&mut self, started: Instant, now: Instant, error_code: Option<Arc<str>>) {
        self.attempts.push(Attempt {
            started: started.saturating_duration_since(self.opened),
            duration: now.saturating_duration_since(started),
            error_code,
        });
    }

    pub(crate) fn last_error(&self) -> Option<Arc<str>> {
        self.attempts.iter().rev().find_map(|attempt| attempt.error_code.clone())
    }

    pub(crate) fn delivered(self, shard_id: ShardId, sequence_number: SequenceNumber) -> Settlement {
        let receipt = Receipt { shard_id, sequence_number, attempts: self.attempts.into() };
        Settlement { origin: self.origin, answer: Answer::Delivered(receipt) }
    }

    pub(crate) fn failed(self, stream: &Arc<str>, reason: PutErrorReason) -> Settlement {
        let held = match self.payload {
            Payload::Plain { partition_key, explicit_hash_key, data } => {
                Held::Plain(UserRecord { partition_key, explicit_hash_key, data })
            }
            Payload::Aggregated(bytes) => Held::Aggregated { bytes, decoded: OnceLock::new() },
        };
        let failure = Failure {
            stream: Arc::clone(stream),
            reason,
            attempts: self.attempts.into(),
            may_have_been_written: self.in_doubt,
            held,
        };
        Settlement { origin: self.origin, answer: Answer::Failed(Arc::new(failure)) }
    }
}

/// The attempts so far. The last one is kept in place: most records have no other, and cost no allocation.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    earlier: Vec<Attempt>,
    last: Option<Attempt>,
}

impl History {
    fn push(&mut self, attempt: Attempt) {
        self.earlier.extend(self.last.replace(attempt));
    }

    pub(crate) fn len(&self) -> usize {
        self.earlier.len() + usize::from(self.last.is_some())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    pub(crate) fn last(&self) -> Option<&Attempt> {
        self.last.as_ref()
    }

    pub(crate) fn last_mut(&mut self) -> Option<&mut Attempt> {
        self.last.as_mut()
    }

    /// Oldest first.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Attempt> {
        self.earlier.iter().chain(&self.last)
    }
}

impl From<History> for Attempts {
    fn from(History { earlier, last }: History) -> Self {
        earlier.into_iter().chain(last).collect()
    }
}

/// An answer that is due to the user records of one Kinesis record. The driver gives it, outside every lock.
#[derive(Debug)]
#[must_use]
pub(crate) struct Settlement {
    origin: Origin,
    answer: Answer,
}

impl Settlement {
    pub(crate) fn settle(self) {
        self.origin.settle(self.answer);
    }
}
