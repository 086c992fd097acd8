//! What can go wrong, in sentences, with what to do about it.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use kinesis_shard::ParsedRecord;
use kinesis_shard::aggregated_record::parse_unchecked;

use crate::batch::Tickets;
use crate::user_record::{Attempt, Attempts, UserRecord};

/// Where the time of a Kinesis record goes.
mod time_spent;

pub(crate) use time_spent::Timeline;
pub use time_spent::{TimeSpent, WaitedIn};

/// Why a [`ProducerConfig`](crate::ProducerConfig) was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A value lies outside its range.
    #[error("{name} is {}: set it between {} and {}", grouped(*.value), grouped(*.minimum), grouped(*.maximum))]
    OutOfRange {
        /// The knob, with its unit.
        name: &'static str,
        /// What was given.
        value: u64,
        /// The least allowed.
        minimum: u64,
        /// The greatest allowed.
        maximum: u64,
    },
    /// A name that neither this producer nor the Java KPL has.
    #[error("there is no knob \"{name}\": {}", .nearest.map_or_else(|| "see the methods of ProducerConfig".to_owned(), |nearest| format!("did you mean {nearest}?")))]
    UnknownKnob {
        /// As it was given.
        name: Arc<str>,
        /// The known name that is spelled most like it.
        nearest: Option<&'static str>,
    },
    /// A text that is no value of its knob.
    #[error("{name} is \"{value}\": give {expected}")]
    Unreadable {
        /// The knob.
        name: &'static str,
        /// What was given.
        value: Arc<str>,
        /// What can be given.
        expected: String,
    },
    /// Two values contradict each other.
    #[error("{0}")]
    Contradiction(&'static str),
    /// There is no tokio runtime to run the driver on.
    #[error("no tokio runtime here: call Producer::start inside one")]
    NoRuntime,
}

/// What kind of failure a [`PutError`] is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PutErrorReason {
    /// The partition key has no characters.
    #[error("partition key is empty: give it 1 to 256 characters")]
    KeyEmpty,
    /// The partition key has too many characters.
    #[error("partition key has {characters} characters, the service allows {maximum}: shorten it")]
    KeyTooLong {
        /// Unicode characters in the key.
        characters: usize,
        /// The service's limit.
        maximum: usize,
    },
    /// Data and key exceed what the stream takes.
    #[error(
        "record is {} bytes with its partition key, the stream allows {}: split it, or raise the stream's maximum record size (and max_record_size where it is set)",
        grouped(widened(*.bytes)), grouped(widened(*.maximum))
    )]
    RecordTooLarge {
        /// Bytes of data and key.
        bytes: usize,
        /// The stream's limit, or the configured one.
        maximum: usize,
    },
    /// Data exceeds `max_user_record_size`.
    #[error("record holds {} bytes of data, max_user_record_size allows {}: split it, or raise the setting", grouped(widened(*.bytes)), grouped(widened(*.maximum)))]
    UserRecordTooLarge {
        /// Bytes of data.
        bytes: usize,
        /// The configured limit.
        maximum: usize,
    },
    /// An explicit hash key given as text is none.
    #[error("{0}")]
    HashKeyInvalid(kinesis_shard::ParseHashKeyError),
    /// Order was asked for on a stream that has none.
    #[error(
        "the stream distributes records itself (AUTO), so no order can be kept: switch it to USER_PARTITION_KEY, or the producer to Ordering::Relaxed"
    )]
    OrderImpossible,
    /// More bytes were reserved, or needed by the record, than a permit may hold or holds.
    #[error("{} bytes are needed, {} can be held: raise max_outstanding_bytes, or reserve what UserRecord::outstanding_bytes says", grouped(widened(*.bytes)), grouped(widened(*.maximum)))]
    PermitTooSmall {
        /// Bytes needed.
        bytes: usize,
        /// Bytes that the permit holds, or that the producer may hold.
        maximum: usize,
    },
    /// The stream does not exist.
    #[error("stream not found: create it or check the client's region")]
    StreamNotFound,
    /// The credentials do not allow the call.
    #[error(
        "access denied: allow kinesis:PutRecords and kinesis:ListShards to these credentials ({code}: {message})"
    )]
    AccessDenied {
        /// The service's code.
        code: Arc<str>,
        /// The service's words.
        message: Arc<str>,
    },
    /// The stream's shards cannot be listed, and trying again will not help.
    #[error("the stream's shards are not known: {message}")]
    ShardsUnknown {
        /// What went wrong and what to do.
        message: Arc<str>,
    },
    /// The stream's encryption key cannot be used.
    #[error(
        "the stream's encryption key cannot be used: check the key's state and policy ({code}: {message})"
    )]
    Encryption {
        /// The service's code.
        code: Arc<str>,
        /// The service's words.
        message: Arc<str>,
    },
    /// The service will never take this record.
    #[error("the service refused the record: correct it before putting it again ({code}: {message})")]
    Rejected {
        /// The service's code.
        code: Arc<str>,
        /// The service's words.
        message: Arc<str>,
    },
    /// The shard was over its limit and `fail_if_throttled` is set.
    #[error(
        "the shard is over its write limit and fail_if_throttled is set: put it again later, or add shards"
    )]
    Throttled,
    /// The time to live passed.
    #[error("not delivered within record_ttl: waited {:.1} s ({time_spent}), at the end in {waited_in}; last error: {}", .waited.as_secs_f64(), .last_error.as_deref().unwrap_or("none"))]
    Expired {
        /// From the acceptance of the oldest user record in its aggregate.
        waited: Duration,
        /// Where the time ran out.
        waited_in: WaitedIn,
        /// Where all of the time went. Boxed, because errors should be small.
        time_spent: Box<TimeSpent>,
        /// The code of the last failed attempt, or what ListShards said.
        last_error: Option<Arc<str>>,
    },
    /// The producer was closed or dropped, or its runtime ended.
    #[error("the producer is closed: start another one")]
    Closed,
}

impl PutErrorReason {
    fn is_retryable(&self) -> bool {
        matches!(self, Self::Throttled | Self::Expired { .. })
    }
}

/// Why a user record was not delivered. Cheap to clone: all records of an aggregate share it.
#[derive(Clone)]
pub struct PutError {
    failure: Arc<Failure>,
    position: u32,
}

impl PutError {
    /// A failure of a record that never left the caller's hands.
    pub(crate) fn refused(stream: &Arc<str>, reason: PutErrorReason, record: Option<UserRecord>) -> Self {
        let failure = Failure {
            stream: Arc::clone(stream),
            reason,
            attempts: Attempts::none(),
            may_have_been_written: false,
            held: record.map_or(Held::Nothing, Held::Plain),
        };
        Self { failure: Arc::new(failure), position: 0 }
    }

    pub(crate) fn of_member(failure: Arc<Failure>, position: u32) -> Self {
        Self { failure, position }
    }

    /// What kind of failure this is.
    pub fn reason(&self) -> &PutErrorReason {
        &self.failure.reason
    }

    /// Every attempt that was made, oldest first.
    pub fn attempts(&self) -> &[Attempt] {
        &self.failure.attempts
    }

    /// Whether the same record, put again unchanged, may be delivered.
    pub fn is_retryable(&self) -> bool {
        self.failure.reason.is_retryable()
    }

    /// Whether a reader may find the record all the same: an attempt's outcome is unknown, or it was stored where readers may drop it.
    pub fn may_have_been_written(&self) -> bool {
        self.failure.may_have_been_written
    }

    /// The record itself, decoded from its aggregate when it was in one. `None`: it was never taken from the caller.
    pub fn record(&self) -> Option<UserRecord> {
        self.failure.held.record(self.position)
    }
}

impl fmt::Display for PutError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "put to stream \"{}\": {}", self.failure.stream, self.failure.reason)
    }
}

impl fmt::Debug for PutError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PutError")
            .field("stream", &self.failure.stream)
            .field("reason", &self.failure.reason)
            .field("attempts", &self.failure.attempts)
            .field("may_have_been_written", &self.failure.may_have_been_written)
            .finish_non_exhaustive()
    }
}

impl std::error::Error for PutError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.failure.reason)
    }
}

/// Why [`Producer::try_put`](crate::Producer::try_put) did not take a record at once.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TryPutError {
    /// There is no room in `max_outstanding_bytes`.
    #[error("the producer is full: wait for tickets, or use put, which waits for room")]
    Full(UserRecord),
    /// The stream's shards are not known yet.
    #[error("the stream's shards are not known yet: await Producer::ready once, or use put")]
    NotReady(UserRecord),
    /// The record would not be taken by `put` either.
    #[error(transparent)]
    Refused(PutError),
}

impl TryPutError {
    /// The record, when `put` may take it after all; else why it may not.
    ///
    /// # Errors
    /// [`TryPutError::Refused`]'s error.
    pub fn into_record(self) -> Result<UserRecord, PutError> {
        match self {
            Self::Full(record) | Self::NotReady(record) => Ok(record),
            Self::Refused(error) => Err(error),
        }
    }
}

/// Why [`Producer::put_many`](crate::Producer::put_many) took only a part.
#[derive(Debug, thiserror::Error)]
#[error("{} of {} records were not accepted: {error}", .rest.len(), .rest.len() + .accepted.len())]
#[non_exhaustive]
pub struct PutManyError {
    /// Tickets of the first records, which were accepted.
    pub accepted: Tickets,
    /// The records that were not accepted, in their order.
    pub rest: Vec<UserRecord>,
    /// Why; about the first of `rest`.
    #[source]
    pub error: PutError,
}

/// One failure, shared by all records of an aggregate.
pub(crate) struct Failure {
    pub(crate) stream: Arc<str>,
    pub(crate) reason: PutErrorReason,
    pub(crate) attempts: Attempts,
    pub(crate) may_have_been_written: bool,
    pub(crate) held: Held,
}

impl fmt::Debug for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Failure").field("reason", &self.reason).finish_non_exhaustive()
    }
}

/// What is left of the records of a failed Kinesis record.
pub(crate) enum Held {
    Nothing,
    Plain(UserRecord),
    /// Decoded when the first of its records is asked for, once for all.
    Aggregated {
        bytes: Bytes,
        decoded: OnceLock<Vec<UserRecord>>,
    },
}

impl Held {
    fn record(&self, position: u32) -> Option<UserRecord> {
        match self {
            Self::Nothing => None,
            Self::Plain(record) => Some(record.clone()),
            Self::Aggregated { bytes, decoded } => {
                let records = decoded.get_or_init(|| user_records(bytes));
                records.get(usize::try_from(position).ok()?).cloned()
            }
        }
    }
}

/// The user records of an aggregate that this producer wrote.
pub(crate) fn user_records(aggregate: &Bytes) -> Vec<UserRecord> {
    match parse_unchecked(aggregate) {
        ParsedRecord::Aggregated(records) => records
            .into_iter()
            .map(|record| UserRecord {
                partition_key: String::from(&*record.partition_key),
                explicit_hash_key: record.explicit_hash_key,
                data: record.data,
            })
            .collect(),
        ParsedRecord::Plain(reason) => {
            unreachable!("an aggregate that this producer wrote does not decode: {reason:?}")
        }
    }
}

fn widened(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// 1048576 as 1,048,576.
fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_what_happened_and_what_to_do() {
        let stream: Arc<str> = "orders".into();
        let say = |reason| PutError::refused(&stream, reason, None).to_string();
        assert_eq!(
            say(PutErrorReason::RecordTooLarge { bytes: 1_245_184, maximum: 1_048_576 }),
            "put to stream \"orders\": record is 1,245,184 bytes with its partition key, the stream allows 1,048,576: \
             split it, or raise the stream's maximum record size (and max_record_size where it is set)"
        );
        assert_eq!(
            say(PutErrorReason::StreamNotFound),
            "put to stream \"orders\": stream not found: create it or check the client's region"
        );
        let expired = PutErrorReason::Expired {
            waited: Duration::from_millis(30_040),
            waited_in: WaitedIn::Limiter,
            time_spent: Box::new(TimeSpent {
                limiter: Duration::from_millis(30_040),
                ..TimeSpent::default()
            }),
            last_error: Some("ProvisionedThroughputExceededException".into()),
        };
        assert!(say(expired).ends_with(
            "waited 30.0 s (30.0 s queued for the shard), at the end in the rate limiter of its shard; last error: ProvisionedThroughputExceededException"
        ));
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let cases = [(0, "0"), (999, "999"), (1000, "1,000"), (10_485_760, "10,485,760")];
        for (value, text) in cases {
            assert_eq!(grouped(value), text);
        }
    }

    #[test]
    fn only_throttling_and_expiry_are_worth_another_put() {
        assert!(PutErrorReason::Throttled.is_retryable());
        assert!(!PutErrorReason::StreamNotFound.is_retryable());
        assert!(!PutErrorReason::Closed.is_retryable());
    }

    #[test]
    fn a_refused_record_is_handed_back_and_was_not_written() {
        let error =
            PutError::refused(&"orders".into(), PutErrorReason::Closed, Some(UserRecord::new("k", "secret")));
        assert_eq!(error.record(), Some(UserRecord::new("k", "secret")));
        assert!(!error.may_have_been_written());
        assert!(!format!("{error:?}").contains("secret"));
    }
}
