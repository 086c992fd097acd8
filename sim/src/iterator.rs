//! Shard iterators: a position in one shard of one stream, good for five minutes.

use kinesis_shard::limits::ITERATOR_LIFETIME;

use crate::error::ServiceError;
use crate::token::{TokenReader, TokenWriter};

const KIND: u8 = 1;

/// What an iterator text carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShardIterator {
    pub(crate) stream: String,
    /// Which creation of that name: a stream that was deleted and created again refuses older iterators.
    pub(crate) generation: u64,
    pub(crate) shard_index: u32,
    /// The least sequence index that is still to be read.
    pub(crate) position: u64,
    /// Milliseconds since the epoch.
    pub(crate) issued_at: u64,
    /// Makes each text a new one, even when nothing was read within a millisecond.
    pub(crate) serial: u64,
}

impl ShardIterator {
    pub(crate) fn seal(&self) -> String {
        TokenWriter::new(KIND)
            .number(self.issued_at)
            .number(self.generation)
            .number(u64::from(self.shard_index))
            .number(self.position)
            .number(self.serial)
            .text(&self.stream)
            .seal()
    }

    /// Reads an iterator text back; surrounding double quotes are tolerated, as the service does.
    pub(crate) fn open(text: &str) -> Result<Self, ServiceError> {
        let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        let fields = || {
            let mut token = TokenReader::open(KIND, bare)?;
            Some(Self {
                issued_at: token.number()?,
                generation: token.number()?,
                shard_index: u32::try_from(token.number()?).ok()?,
                position: token.number()?,
                serial: token.number()?,
                stream: token.text()?,
            })
        };
        fields().ok_or_else(ServiceError::invalid_shard_iterator)
    }

    /// Whether its five minutes are over.
    pub(crate) fn is_expired(&self, now: u64) -> bool {
        u128::from(now.saturating_sub(self.issued_at)) > ITERATOR_LIFETIME.as_millis()
            && !kinesis_shard::planted("an iterator lives for ever")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_position_survives_the_round_trip(
            stream in "[a-zA-Z0-9_.-]{1,128}", generation: u64, shard_index: u32, position: u64, issued_at: u64
        ) {
            let iterator = ShardIterator { stream, generation, shard_index, position, issued_at, serial: 1 };
            let text = iterator.seal();
            prop_assert!(text.len() <= 512);
            prop_assert_eq!(ShardIterator::open(&text), Ok(iterator.clone()));
            prop_assert_eq!(ShardIterator::open(&format!("\"{text}\"")), Ok(iterator));
        }
    }

    #[test]
    fn texts_that_we_did_not_issue_are_refused() {
        for text in ["", "AAAA", "not base64", "AAAAAAAAAAE="] {
            assert_eq!(ShardIterator::open(text), Err(ServiceError::invalid_shard_iterator()), "{text:?}");
        }
    }

    #[test]
    fn five_minutes_are_inclusive() {
        let iterator = ShardIterator {
            stream: "s".to_owned(),
            generation: 0,
            shard_index: 0,
            position: 0,
            issued_at: 1_000,
            serial: 0,
        };
        assert!(!iterator.is_expired(301_000));
        assert!(iterator.is_expired(301_001));
    }
}
