//! What goes in and what comes out: a user record, and where it was delivered after which attempts.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kinesis_shard::limits::MAX_PARTITION_KEY_CHARS;
use kinesis_shard::{HashKey, SequenceNumber, ShardId};

use crate::error::PutErrorReason;

/// What one accepted user record costs beside its key and data: its share of tickets, tables and framing.
pub(crate) const RECORD_OVERHEAD_BYTES: usize = 32;

/// What a record may be at most, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Largest {
    /// Its data.
    pub(crate) user_record: usize,
    /// Data and key.
    pub(crate) record: usize,
    /// Data, key and overhead.
    pub(crate) outstanding: usize,
}

/// One record as the caller means it: a partition key, optionally an explicit hash key, and data.
#[derive(Clone, PartialEq, Eq)]
pub struct UserRecord {
    pub(crate) partition_key: String,
    pub(crate) explicit_hash_key: Option<HashKey>,
    pub(crate) data: Bytes,
}

impl UserRecord {
    /// A record that is routed by the MD5 of its partition key. The key must hold 1 to 256 Unicode characters; `put` checks it.
    pub fn new(partition_key: impl Into<String>, data: impl Into<Bytes>) -> Self {
        Self { partition_key: partition_key.into(), explicit_hash_key: None, data: data.into() }
    }

    /// Routes the record by this hash key instead of the MD5 of its partition key.
    #[must_use]
    pub fn with_explicit_hash_key(mut self, hash_key: HashKey) -> Self {
        self.explicit_hash_key = Some(hash_key);
        self
    }

    /// The same for a key that comes as text: a decimal number from 0 to 2^128-1. As in the Java KPL, space around it, a plus sign and
    /// leading zeros do no harm.
    ///
    /// # Errors
    /// [`PutErrorReason::HashKeyInvalid`].
    pub fn with_explicit_hash_key_text(self, text: &str) -> Result<Self, PutErrorReason> {
        let text = text.trim();
        let digits = text.strip_prefix('+').unwrap_or(text);
        let significant = digits.trim_start_matches('0');
        let number = if significant.is_empty() && !digits.is_empty() { "0" } else { significant };
        number
            .parse()
            .map(|hash_key| self.with_explicit_hash_key(hash_key))
            .map_err(PutErrorReason::HashKeyInvalid)
    }

    /// The partition key.
    pub fn partition_key(&self) -> &str {
        &self.partition_key
    }

    /// The explicit hash key, if one was given.
    pub fn explicit_hash_key(&self) -> Option<HashKey> {
        self.explicit_hash_key
    }

    /// The data.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// What decides the shard: the explicit hash key, else the MD5 of the partition key.
    pub fn hash_key(&self) -> HashKey {
        self.explicit_hash_key.unwrap_or_else(|| HashKey::of_partition_key(&self.partition_key))
    }

    /// What the record takes of `max_outstanding_bytes` until it is answered: key, data and 32 bytes.
    pub fn outstanding_bytes(&self) -> usize {
        self.partition_key.len() + self.data.len() + RECORD_OVERHEAD_BYTES
    }

    #[inline]
    pub(crate) fn check(&self, largest: Largest) -> Result<(), PutErrorReason> {
        if self.partition_key.is_empty() {
            return Err(PutErrorReason::KeyEmpty);
        }
        // A key of 256 bytes cannot hold more characters, so most keys are not walked.
        if self.partition_key.len() > MAX_PARTITION_KEY_CHARS {
            let characters = self.partition_key.chars().count();
            if characters > MAX_PARTITION_KEY_CHARS {
                return Err(PutErrorReason::KeyTooLong { characters, maximum: MAX_PARTITION_KEY_CHARS });
            }
        }
        let bytes = self.data.len();
        if bytes > largest.user_record {
            return Err(PutErrorReason::UserRecordTooLarge { bytes, maximum: largest.user_record });
        }
        let bytes = self.partition_key.len() + bytes;
        if bytes > largest.record {
            return Err(PutErrorReason::RecordTooLarge { bytes, maximum: largest.record });
        }
        let (bytes, maximum) = (self.outstanding_bytes(), largest.outstanding);
        if bytes > maximum {
            return Err(PutErrorReason::PermitTooSmall { bytes, maximum });
        }
        Ok(())
    }
}

impl fmt::Debug for UserRecord {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("UserRecord")
            .field("partition_key", &self.partition_key)
            .field("explicit_hash_key", &self.explicit_hash_key)
            .field("data_bytes", &self.data.len())
            .finish()
    }
}

/// Where a user record can be read, and what it took.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivered {
    /// The shard that holds the record.
    pub shard_id: ShardId,
    /// The sequence number of the Kinesis record that carries it.
    pub sequence_number: SequenceNumber,
    /// The index in that Kinesis record when it is an aggregate, else 0.
    pub sub_sequence_number: u64,
    /// Every attempt of the Kinesis records that carried it, oldest first; the last one succeeded.
    pub attempts: Attempts,
}

/// Attempts, oldest first; a slice to look at, and cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Attempts(Repr);

/// Nearly every record has one attempt: kept in place, it costs neither an allocation nor a reference count that threads would share.
#[derive(Clone, PartialEq, Eq)]
enum Repr {
    One(Attempt),
    Several(Arc<[Attempt]>),
}

impl Attempts {
    pub(crate) fn none() -> Self {
        std::iter::empty().collect()
    }
}

impl Deref for Attempts {
    type Target = [Attempt];

    fn deref(&self) -> &[Attempt] {
        match &self.0 {
            Repr::One(attempt) => std::slice::from_ref(attempt),
            Repr::Several(attempts) => attempts,
        }
    }
}

impl<'a> IntoIterator for &'a Attempts {
    type Item = &'a Attempt;
    type IntoIter = std::slice::Iter<'a, Attempt>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl FromIterator<Attempt> for Attempts {
    fn from_iter<I: IntoIterator<Item = Attempt>>(attempts: I) -> Self {
        let mut attempts = attempts.into_iter();
        let Some(first) = attempts.next() else { return Self(Repr::Several(Arc::from([]))) };
        match attempts.next() {
            None => Self(Repr::One(first)),
            Some(second) => Self(Repr::Several([first, second].into_iter().chain(attempts).collect())),
        }
    }
}

impl fmt::Debug for Attempts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self).finish()
    }
}

/// One attempt to deliver the Kinesis record that carries a user record.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// When it began, counted from the acceptance of the oldest user record in its aggregate.
    pub started: Duration,
    /// How long the request took.
    pub duration: Duration,
    /// Why it failed: the service's code, or one of ours (`WrongShard`, `RequestTimeout`, `RecordCountMismatch`). `None`: it succeeded.
    pub error_code: Option<Arc<str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_counted_in_characters_and_records_in_bytes_with_their_key() {
        let largest = Largest { user_record: 800, record: 1000, outstanding: 1020 };
        let check = |key: &str, data: usize| UserRecord::new(key, vec![0; data]).check(largest);
        assert_eq!(check("", 1), Err(PutErrorReason::KeyEmpty));
        assert_eq!(check(&"k".repeat(256), 700), Ok(()));
        assert_eq!(check(&"é".repeat(256), 0), Ok(()));
        let too_long = PutErrorReason::KeyTooLong { characters: 257, maximum: 256 };
        assert_eq!(check(&"é".repeat(257), 0), Err(too_long));
        let too_large = PutErrorReason::UserRecordTooLarge { bytes: 801, maximum: 800 };
        assert_eq!(check("k", 801), Err(too_large));
        let too_large = PutErrorReason::RecordTooLarge { bytes: 1001, maximum: 1000 };
        assert_eq!(check(&"k".repeat(256), 745), Err(too_large));
        assert_eq!(check("k", 800), Ok(()), "exactly the largest user record");
        assert_eq!(check(&"k".repeat(256), 732), Ok(()), "exactly the room that there is");
        let too_large = PutErrorReason::PermitTooSmall { bytes: 1032, maximum: 1020 };
        assert_eq!(check(&"k".repeat(256), 744), Err(too_large));
    }

    #[test]
    fn a_record_gives_back_what_it_was_made_of() {
        let record = UserRecord::new("key", "data");
        assert_eq!((record.partition_key(), &record.data()[..]), ("key", &b"data"[..]));
        assert_eq!(record.outstanding_bytes(), 3 + 4 + 32);
    }

    #[test]
    fn explicit_hash_keys_come_as_text_too() {
        let with = |text| UserRecord::new("k", "").with_explicit_hash_key_text(text);
        for (text, number) in [(" 007 ", 7), ("+7", 7), ("0", 0), ("000", 0)] {
            assert_eq!(with(text).unwrap().explicit_hash_key(), Some(HashKey::new(number)), "{text:?}");
        }
        let greatest = "340282366920938463463374607431768211455";
        assert_eq!(with(greatest).unwrap().explicit_hash_key(), Some(HashKey::MAX));
        for bad in ["", "+", "-1", "0x7", "340282366920938463463374607431768211456"] {
            let message = with(bad).unwrap_err().to_string();
            assert!(message.contains("2^128-1"), "{message}");
        }
    }

    #[test]
    fn attempts_are_a_slice_however_many_there_are() {
        let attempt = |second| Attempt {
            started: Duration::from_secs(second),
            duration: Duration::ZERO,
            error_code: (second == 0).then(|| "Code".into()),
        };
        for count in 0..4 {
            let expected: Vec<_> = (0..count).map(attempt).collect();
            let attempts: Attempts = (0..count).map(attempt).collect();
            assert_eq!(&attempts[..], expected);
            assert_eq!(attempts, attempts.clone());
            assert_eq!(format!("{attempts:?}"), format!("{expected:?}"));
        }
    }

    #[test]
    fn debug_never_shows_the_payload() {
        let shown = format!("{:?}", UserRecord::new("key", "secret"));
        assert!(shown.contains("data_bytes: 6") && !shown.contains("secret"), "{shown}");
    }

    #[test]
    fn an_explicit_hash_key_wins_over_the_partition_key() {
        let record = UserRecord::new("key", "");
        assert_eq!(record.hash_key(), HashKey::of_partition_key("key"));
        assert_eq!(record.with_explicit_hash_key(HashKey::MAX).hash_key(), HashKey::MAX);
    }
}
