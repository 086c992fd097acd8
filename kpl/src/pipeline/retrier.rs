//! Stage 4: what each answer means for a record: delivered, again, on the wrong shard, refused; and the pauses before retries.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kinesis_shard::{Backoff, HashKeyRange, SequenceNumber, ShardId};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::error::{PutErrorReason, WaitedIn};
use crate::pipeline::answer::{CallError, EntryAnswer, ErrorClass, permanent_reason};
use crate::pipeline::kinesis_record::KinesisRecord;

const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// The pause no longer grows after so many steps.
const MAX_STEPS: u32 = 8;

/// What to do with a record after an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Delivered {
        shard_id: ShardId,
        sequence_number: SequenceNumber,
    },
    /// Stored where its members do not all belong: a reader drops it as a whole, so as a whole it is undelivered.
    WrongShard,
    /// Stored on a shard that no map has named: not to be judged before a newer map is there.
    Unknown {
        shard_id: ShardId,
        sequence_number: SequenceNumber,
    },
    Throttled(Arc<str>),
    /// Again after a pause; whether this attempt may have stored it.
    Again(Arc<str>, bool),
    /// Again in a request of its own.
    Alone(Arc<str>),
    Refused(Arc<str>, PutErrorReason),
}

/// What one entry's answer means. `range_of` knows the ranges of shards, those of the last map included; it says none when the sequence
/// number shows that its shard is another of that name.
pub(crate) fn judge_entry(
    record: &KinesisRecord,
    answer: EntryAnswer,
    fail_if_throttled: bool,
    range_of: impl Fn(&ShardId, SequenceNumber) -> Option<HashKeyRange>,
) -> Verdict {
    match answer {
        EntryAnswer::Stored { shard_id, sequence_number } => {
            if !record.is_aggregate() {
                // Readers never check the range of a plain record.
                return Verdict::Delivered { shard_id, sequence_number };
            }
            match range_of(&shard_id, sequence_number) {
                Some(range) if record.fits(range) || kinesis_shard::planted("a wrong shard is as good") => {
                    Verdict::Delivered { shard_id, sequence_number }
                }
                Some(_) => Verdict::WrongShard,
                None if kinesis_shard::planted("an unknown shard is as good") => {
                    Verdict::Delivered { shard_id, sequence_number }
                }
                None => Verdict::Unknown { shard_id, sequence_number },
            }
        }
        // The batch was taken apart by the service; the fault of one entry is its own.
        EntryAnswer::Refused { code, message } => {
            judge_call(&CallError::of_code(&code, &message), 1, fail_if_throttled)
        }
        EntryAnswer::Malformed => Verdict::Again("MalformedAnswer".into(), true),
    }
}

/// What the failure of a request with so many entries means for each of its records.
pub(crate) fn judge_call(error: &CallError, entries: usize, fail_if_throttled: bool) -> Verdict {
    let code = Arc::clone(&error.code);
    match error.class {
        ErrorClass::Invalid if entries > 1 => Verdict::Alone(code),
        ErrorClass::Permanent | ErrorClass::Invalid => {
            let reason = permanent_reason(&code, &error.message);
            Verdict::Refused(code, reason)
        }
        ErrorClass::Throttled if fail_if_throttled => Verdict::Refused(code, PutErrorReason::Throttled),
        ErrorClass::Throttled => Verdict::Throttled(code),
        ErrorClass::Transient if kinesis_shard::planted("a lost answer means not written") => {
            Verdict::Again(code, false)
        }
        ErrorClass::Transient => Verdict::Again(code, error.may_have_been_written),
    }
}

/// Records that pause before their next attempt.
#[derive(Debug)]
pub(crate) struct Retrier {
    rng: SmallRng,
    pausing: BTreeMap<(Instant, u64), KinesisRecord>,
    pushed: u64,
}

impl Retrier {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: SmallRng::seed_from_u64(seed), pausing: BTreeMap::new(), pushed: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.pausing.len()
    }

    /// The pause after so many failures: 100 ms, doubled each time up to 5 s, the upper half of it drawn.
    pub(crate) fn pause(&mut self, failures: u32) -> Duration {
        if kinesis_shard::planted("a retry follows at once") {
            return Duration::ZERO;
        }
        let mut backoff = Backoff::new(MIN_PAUSE, MAX_PAUSE, 2.0, self.rng.random());
        for _ in 1..failures.min(MAX_STEPS) {
            backoff.next_delay();
        }
        backoff.next_delay()
    }

    /// Keeps a record until then.
    pub(crate) fn push(&mut self, now: Instant, until: Instant, mut record: KinesisRecord) {
        record.moved(now, WaitedIn::Backoff);
        if kinesis_shard::planted("a record is forgotten before its retry") {
            return std::mem::forget(record);
        }
        self.pushed += 1;
        self.pausing.insert((until, self.pushed), record);
    }

    /// A record whose pause is over.
    pub(crate) fn next(&mut self, now: Instant) -> Option<KinesisRecord> {
        let entry = self.pausing.first_entry()?;
        if entry.key().0 <= now { Some(entry.remove()) } else { None }
    }

    /// For models: what pauses, and until when.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> impl Iterator<Item = (Instant, &KinesisRecord)> {
        self.pausing.iter().map(|((until, _), record)| (*until, record))
    }

    /// When the oldest pausing record was accepted.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.pausing.values().map(|record| record.opened).min()
    }

    pub(crate) fn wake(&self) -> Option<Instant> {
        self.pausing.first_key_value().map(|((at, _), _)| *at)
    }

    pub(crate) fn drain(&mut self) -> Vec<KinesisRecord> {
        std::mem::take(&mut self.pausing).into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{aggregate_of, plain_of_bytes, shard_map, start};

    fn stored(shard: &str) -> EntryAnswer {
        EntryAnswer::Stored { shard_id: ShardId::new(shard), sequence_number: SequenceNumber::ZERO }
    }

    fn refused(code: &str) -> EntryAnswer {
        EntryAnswer::Refused { code: code.into(), message: "".into() }
    }

    fn name(verdict: &Verdict) -> &'static str {
        match verdict {
            Verdict::Delivered { .. } => "delivered",
            Verdict::WrongShard => "wrong shard",
            Verdict::Unknown { .. } => "unknown",
            Verdict::Throttled(_) => "throttled",
            Verdict::Again(_, false) => "again",
            Verdict::Again(_, true) => "again, in doubt",
            Verdict::Alone(_) => "alone",
            Verdict::Refused(..) => "refused",
        }
    }

    #[test]
    fn an_aggregate_is_delivered_only_where_all_its_members_belong() {
        // Over the whole key space: only a shard that covers everything will do.
        let keys: Vec<_> = (0..20).map(|index| format!("key-{index}")).collect();
        let (aggregate, _tickets) = aggregate_of(&keys);
        let range_of = |count: u32| {
            let map = shard_map(count);
            move |id: &ShardId, _| map.get(id).map(|shard| shard.hash_key_range)
        };
        let judge = |record: &KinesisRecord, count, shard: &str| {
            name(&judge_entry(record, stored(shard), false, range_of(count)))
        };
        assert_eq!(judge(&aggregate, 1, "shardId-000000000000"), "delivered");
        assert_eq!(judge(&aggregate, 2, "shardId-000000000000"), "wrong shard");
        assert_eq!(judge(&aggregate, 2, "shardId-000000000001"), "wrong shard");
        assert_eq!(judge(&aggregate, 1, "shardId-000000000001"), "unknown");
        let plain = plain_of_bytes(10);
        for shard in ["shardId-000000000000", "shardId-000000000001", "shardId-000000000009"] {
            assert_eq!(judge(&plain, 2, shard), "delivered");
        }
    }

    #[test]
    fn entry_errors_by_code() {
        let plain = plain_of_bytes(10);
        let cases = [
            ("ProvisionedThroughputExceededException", false, "throttled"),
            ("ProvisionedThroughputExceededException", true, "refused"),
            ("InternalFailure", false, "again, in doubt"),
            ("ServiceUnavailable", true, "again, in doubt"),
            ("AccessDeniedException", false, "refused"),
            ("KMSThrottlingException", false, "throttled"),
        ];
        for (code, fail_if_throttled, expected) in cases {
            let verdict = judge_entry(&plain, refused(code), fail_if_throttled, |_, _| None);
            assert_eq!(name(&verdict), expected, "{code}");
        }
        assert_eq!(name(&judge_entry(&plain, EntryAnswer::Malformed, false, |_, _| None)), "again, in doubt");
    }

    #[test]
    fn request_errors_by_class() {
        let cases = [
            ("ResourceNotFoundException", 500, "refused"),
            ("ValidationException", 500, "alone"),
            ("ValidationException", 1, "refused"),
            ("InternalFailure", 500, "again, in doubt"),
            ("ExpiredTokenException", 500, "again"),
            ("LimitExceededException", 500, "throttled"),
        ];
        for (code, entries, expected) in cases {
            assert_eq!(name(&judge_call(&CallError::of_code(code, ""), entries, false)), expected, "{code}");
        }
    }

    #[test]
    fn pauses_double_up_to_five_seconds_and_half_of_each_is_drawn() {
        let mut retrier = Retrier::new(3);
        for (failures, longest) in
            [(0, 100), (1, 100), (2, 200), (3, 400), (6, 3200), (7, 5000), (1000, 5000)]
        {
            let pause = retrier.pause(failures);
            let longest = Duration::from_millis(longest);
            assert!(pause <= longest && pause >= longest / 2, "{failures}: {pause:?}");
        }
    }

    #[test]
    fn records_come_back_when_their_pause_is_over_in_order() {
        let mut retrier = Retrier::new(3);
        let after = |millis| start() + Duration::from_millis(millis);
        for (number, millis) in [(1, 30), (2, 10), (3, 10)] {
            retrier.push(start(), after(millis), KinesisRecord { number, ..plain_of_bytes(1) });
        }
        assert_eq!(retrier.wake(), Some(after(10)));
        assert!(retrier.next(after(9)).is_none());
        let numbers: Vec<_> =
            std::iter::from_fn(|| retrier.next(after(30))).map(|record| record.number).collect();
        assert_eq!(numbers, [2, 3, 1]);
    }
}
