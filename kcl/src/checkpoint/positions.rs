//! Which checkpoints are allowed. Pure: it knows positions, not stores.

use kinesis_shard::{Checkpoint, ExtendedSequenceNumber};

/// What the application asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Everything handed over so far.
    Last,
    At(ExtendedSequenceNumber),
}

/// An allowed checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admitted {
    /// It is stored already.
    Covered,
    Write(Checkpoint),
}

/// A checkpoint that is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Behind { asked: Checkpoint, stored: Checkpoint },
    NotDelivered { asked: Checkpoint, delivered: Checkpoint },
}

/// How far one tenure of one shard got: `stored <= asked <= delivered` is the rule.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Hash))]
pub(crate) struct Positions {
    stored: Checkpoint,
    /// The greatest value ever attempted. A write in doubt may have landed, so nothing below it may follow it.
    attempted: Checkpoint,
    /// The greatest position that may be checkpointed, the batch of a running call included.
    delivered: Checkpoint,
    /// The same without that batch.
    processed: Checkpoint,
    /// The first position of the batch in hand, from its second attempt on.
    repeated_from: Option<Checkpoint>,
    batch_from: Option<Checkpoint>,
    at_shard_end: bool,
}

impl Positions {
    pub(crate) fn new(start: Checkpoint) -> Self {
        Self {
            stored: start,
            attempted: start,
            delivered: start,
            processed: start,
            repeated_from: None,
            batch_from: None,
            at_shard_end: false,
        }
    }

    /// A batch is about to be handed over, for the first time or again.
    pub(crate) fn hand_over(&mut self, first: ExtendedSequenceNumber, last: ExtendedSequenceNumber) {
        let first = Checkpoint::At(first);
        self.repeated_from = self.batch_from.filter(|before| *before == first);
        self.batch_from = Some(first);
        self.delivered = self.delivered.max(Checkpoint::At(last));
    }

    /// The call returned. What a failed call was given does not count as processed, unless the application itself
    /// checkpointed in it.
    pub(crate) fn call_returned(&mut self, processed: bool) {
        if processed {
            self.processed = self.delivered;
            self.batch_from = None;
            self.repeated_from = None;
        } else {
            self.processed = self.processed.max(self.attempted);
            self.delivered = self.processed;
        }
    }

    pub(crate) fn at_shard_end(&mut self) {
        self.at_shard_end = true;
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.stored == Checkpoint::ShardEnd
    }

    /// Whether and where to write.
    #[expect(
        clippy::result_large_err,
        reason = "refusals are rare; a box would only move their two positions"
    )]
    pub(crate) fn admit(&self, asked: Asked) -> Result<Admitted, Refused> {
        let (stored, delivered) = (self.stored, self.delivered);
        if stored == Checkpoint::ShardEnd {
            return Ok(Admitted::Covered);
        }
        let wanted = match asked {
            Asked::Last => delivered,
            Asked::At(mut position) => {
                position.sub_sequence_number +=
                    u64::from(kinesis_shard::planted("a checkpoint names the next record"));
                Checkpoint::At(position)
            }
        };
        if self.at_shard_end && wanted == delivered {
            return Ok(Admitted::Write(Checkpoint::ShardEnd));
        }
        if wanted > delivered && !kinesis_shard::planted("a checkpoint names the next record") {
            return Err(Refused::NotDelivered { asked: wanted, delivered });
        }
        if wanted < stored && kinesis_shard::planted("a checkpoint may go back") {
            return Ok(Admitted::Write(wanted));
        }
        if wanted < stored {
            // A repeated batch contains records that its first attempt may have checkpointed. Refusing those would make a
            // processor that checkpoints at each record fail for ever.
            if self.repeated_from.is_some_and(|first| wanted >= first) {
                return Ok(Admitted::Covered);
            }
            return Err(Refused::Behind { asked: wanted, stored });
        }
        if wanted == stored && self.attempted <= stored {
            return Ok(Admitted::Covered);
        }
        Ok(Admitted::Write(wanted.max(self.attempted)))
    }

    /// The write is about to be sent.
    pub(crate) fn attempted(&mut self, to: Checkpoint) {
        self.attempted = self.attempted.max(to);
    }

    /// The write is known to have landed.
    pub(crate) fn stored(&mut self, to: Checkpoint) {
        self.stored = self.stored.max(to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(number: u32, sub: u64) -> ExtendedSequenceNumber {
        ExtendedSequenceNumber::new(number.to_string().parse().unwrap(), sub)
    }

    fn at(number: u32, sub: u64) -> Checkpoint {
        Checkpoint::At(position(number, sub))
    }

    /// Started at 10/0, with 11/0 to 13/2 in a running call.
    fn in_call() -> Positions {
        let mut positions = Positions::new(at(10, 0));
        positions.hand_over(position(11, 0), position(13, 2));
        positions
    }

    fn write(positions: &mut Positions, asked: Asked) {
        match positions.admit(asked) {
            Ok(Admitted::Write(to)) => {
                positions.attempted(to);
                positions.stored(to);
            }
            other => panic!("{asked:?} gave {other:?}"),
        }
    }

    #[test]
    fn allowed_is_what_lies_between_stored_and_delivered() {
        let positions = in_call();
        let behind = |asked| Refused::Behind { asked, stored: at(10, 0) };
        let ahead = |asked| Refused::NotDelivered { asked, delivered: at(13, 2) };
        let table = [
            (Asked::At(position(9, 9)), Err(behind(at(9, 9)))),
            (Asked::At(position(10, 0)), Ok(Admitted::Covered)),
            (Asked::At(position(10, 1)), Ok(Admitted::Write(at(10, 1)))),
            (Asked::At(position(12, 0)), Ok(Admitted::Write(at(12, 0)))),
            (Asked::At(position(13, 2)), Ok(Admitted::Write(at(13, 2)))),
            (Asked::At(position(13, 3)), Err(ahead(at(13, 3)))),
            (Asked::At(position(14, 0)), Err(ahead(at(14, 0)))),
            (Asked::Last, Ok(Admitted::Write(at(13, 2)))),
        ];
        for (asked, expected) in table {
            assert_eq!(positions.admit(asked), expected, "{asked:?}");
        }
    }

    #[test]
    fn without_a_record_there_is_nothing_to_write() {
        for start in [Checkpoint::TrimHorizon, Checkpoint::Latest, at(10, 3)] {
            assert_eq!(Positions::new(start).admit(Asked::Last), Ok(Admitted::Covered));
        }
    }

    #[test]
    fn a_checkpoint_never_goes_back() {
        let mut positions = in_call();
        write(&mut positions, Asked::At(position(12, 0)));
        let refused = Refused::Behind { asked: at(11, 0), stored: at(12, 0) };
        assert_eq!(positions.admit(Asked::At(position(11, 0))), Err(refused));
    }

    #[test]
    fn after_a_write_in_doubt_a_lower_request_writes_the_greater_value_again() {
        let mut positions = in_call();
        positions.attempted(at(13, 0));
        assert_eq!(positions.admit(Asked::At(position(12, 0))), Ok(Admitted::Write(at(13, 0))));
        assert_eq!(positions.admit(Asked::At(position(10, 0))), Ok(Admitted::Write(at(13, 0))));
        positions.stored(at(13, 0));
        assert!(positions.admit(Asked::At(position(12, 0))).is_err());
    }

    #[test]
    fn what_a_failed_call_was_given_is_not_delivered() {
        let mut positions = in_call();
        positions.call_returned(false);
        assert_eq!(positions.admit(Asked::Last), Ok(Admitted::Covered));
        let refused = Refused::NotDelivered { asked: at(12, 0), delivered: at(10, 0) };
        assert_eq!(positions.admit(Asked::At(position(12, 0))), Err(refused));
    }

    #[test]
    fn a_failed_call_keeps_what_it_checkpointed_itself() {
        let mut positions = in_call();
        write(&mut positions, Asked::At(position(12, 0)));
        positions.call_returned(false);
        assert_eq!(positions.admit(Asked::Last), Ok(Admitted::Covered));
        positions.hand_over(position(11, 0), position(13, 2));
        assert_eq!(positions.admit(Asked::At(position(11, 0))), Ok(Admitted::Covered), "a repeated record");
        assert_eq!(positions.admit(Asked::At(position(13, 0))), Ok(Admitted::Write(at(13, 0))));
        assert!(positions.admit(Asked::At(position(10, 5))).is_err(), "not of this batch");
    }

    #[test]
    fn the_end_is_stored_only_once_the_shard_has_ended() {
        let mut positions = in_call();
        positions.call_returned(true);
        positions.at_shard_end();
        assert!(!positions.is_finished(), "reached, but not stored");
        assert_eq!(positions.admit(Asked::At(position(12, 0))), Ok(Admitted::Write(at(12, 0))));
        assert_eq!(positions.admit(Asked::At(position(13, 2))), Ok(Admitted::Write(Checkpoint::ShardEnd)));
        write(&mut positions, Asked::Last);
        assert!(positions.is_finished());
        assert_eq!(positions.admit(Asked::Last), Ok(Admitted::Covered));
    }

    #[test]
    fn a_shard_without_records_can_end() {
        let mut positions = Positions::new(Checkpoint::TrimHorizon);
        positions.at_shard_end();
        assert_eq!(positions.admit(Asked::Last), Ok(Admitted::Write(Checkpoint::ShardEnd)));
    }
}
