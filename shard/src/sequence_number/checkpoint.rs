//! Positions of user records, and checkpoints in the text form of the Java lease table.

use std::fmt;

use super::{ParseSequenceNumberError, SequenceNumber};

/// The position of a user record: its Kinesis record, and its index in there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtendedSequenceNumber {
    /// The sequence number of the Kinesis record.
    pub sequence_number: SequenceNumber,
    /// The index within an aggregate, from 0; 0 for a record that is not aggregated.
    pub sub_sequence_number: u64,
}

impl ExtendedSequenceNumber {
    /// The position of the user record with that index in the Kinesis record with that number.
    pub const fn new(sequence_number: SequenceNumber, sub_sequence_number: u64) -> Self {
        Self { sequence_number, sub_sequence_number }
    }
}

impl fmt::Display for ExtendedSequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.sequence_number, self.sub_sequence_number)
    }
}

/// How far a shard has been processed, ordered as the Java KCL orders it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Checkpoint {
    /// Start at a time that each worker takes from its own configuration.
    AtTimestamp,
    /// Start at the oldest record.
    TrimHorizon,
    /// Start after the newest record.
    Latest,
    /// Everything up to and including this user record is done.
    At(ExtendedSequenceNumber),
    /// Everything is done, and the shard is closed.
    ShardEnd,
}

impl Checkpoint {
    /// What the `checkpoint` attribute of a lease holds: a decimal sequence number, or the name of a sentinel.
    pub fn sequence_text(&self) -> String {
        match self {
            Self::AtTimestamp => "AT_TIMESTAMP".to_owned(),
            Self::TrimHorizon => "TRIM_HORIZON".to_owned(),
            Self::Latest => "LATEST".to_owned(),
            Self::At(position) => position.sequence_number.to_string(),
            Self::ShardEnd => "SHARD_END".to_owned(),
        }
    }

    /// What the `checkpointSubSequenceNumber` attribute holds; 0 for sentinels.
    pub fn sub_sequence_number(&self) -> u64 {
        match self {
            Self::At(position) => position.sub_sequence_number,
            Self::AtTimestamp | Self::TrimHorizon | Self::Latest | Self::ShardEnd => 0,
        }
    }

    /// Reads the two attributes back. A sentinel has no position inside, so `sub_sequence_number` does not count there.
    ///
    /// # Errors
    ///
    /// [`ParseCheckpointError`] when the text is neither a sentinel nor a sequence number.
    pub fn parse(sequence_text: &str, sub_sequence_number: u64) -> Result<Self, ParseCheckpointError> {
        Ok(match sequence_text {
            "AT_TIMESTAMP" => Self::AtTimestamp,
            "TRIM_HORIZON" => Self::TrimHorizon,
            "LATEST" => Self::Latest,
            "SHARD_END" => Self::ShardEnd,
            digits => Self::At(ExtendedSequenceNumber {
                sequence_number: digits.parse().map_err(|source| ParseCheckpointError { source })?,
                sub_sequence_number,
            }),
        })
    }
}

impl From<ExtendedSequenceNumber> for Checkpoint {
    fn from(position: ExtendedSequenceNumber) -> Self {
        Self::At(position)
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(position) => position.fmt(f),
            sentinel => f.write_str(&sentinel.sequence_text()),
        }
    }
}

/// A text that is neither a sentinel nor a sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "checkpoint is neither TRIM_HORIZON, LATEST, AT_TIMESTAMP, SHARD_END nor a sequence number: correct the lease"
)]
pub struct ParseCheckpointError {
    /// Why it is not a sequence number.
    pub source: ParseSequenceNumberError,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(sequence_number: u64, sub_sequence_number: u64) -> Checkpoint {
        ExtendedSequenceNumber::new(sequence_number.into(), sub_sequence_number).into()
    }

    #[test]
    fn checkpoints_order_as_the_java_library_orders_them() {
        let ascending = [
            Checkpoint::AtTimestamp,
            Checkpoint::TrimHorizon,
            Checkpoint::Latest,
            at(0, 0),
            at(0, 1),
            at(9, 7),
            at(10, 0),
            Checkpoint::At(ExtendedSequenceNumber::new(SequenceNumber::MAX, u64::MAX)),
            Checkpoint::ShardEnd,
        ];
        assert!(ascending.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn sentinels_are_stored_by_name_with_sub_sequence_number_zero() {
        for (checkpoint, text) in [
            (Checkpoint::AtTimestamp, "AT_TIMESTAMP"),
            (Checkpoint::TrimHorizon, "TRIM_HORIZON"),
            (Checkpoint::Latest, "LATEST"),
            (Checkpoint::ShardEnd, "SHARD_END"),
        ] {
            assert_eq!(checkpoint.sequence_text(), text);
            assert_eq!(checkpoint.sub_sequence_number(), 0);
            assert_eq!(Checkpoint::parse(text, 3), Ok(checkpoint));
            assert_eq!(checkpoint.to_string(), text);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "latest", "TRIM_HORIZON ", "-5", "1.0", "0x1f"] {
            assert!(Checkpoint::parse(text, 0).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_position_shows_both_parts() {
        assert_eq!(at(12, 3).to_string(), "12/3");
    }

    proptest! {
        #[test]
        fn stored_and_read_back_is_the_same(sequence_number: u128, sub: u64) {
            let checkpoint = Checkpoint::At(ExtendedSequenceNumber::new(sequence_number.into(), sub));
            let read = Checkpoint::parse(&checkpoint.sequence_text(), checkpoint.sub_sequence_number());
            prop_assert_eq!(read, Ok(checkpoint));
        }
    }
}
