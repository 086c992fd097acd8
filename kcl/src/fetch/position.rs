//! Where a shard is read next, whatever brings its records.

use std::time::SystemTime;

use kinesis_shard::SequenceNumber;

use super::{FetchEvent, KinesisRecord, ReadError, ReadFrom};

/// The position in one shard: of the next iterator, or of the next subscription.
#[derive(Debug, Clone)]
pub(crate) struct Position {
    start: ReadFrom,
    /// The last record received.
    last_read: Option<SequenceNumber>,
    /// Where the service said that a later subscription goes on; moves also while nothing is put.
    continuation: Option<SequenceNumber>,
    /// The position was refused; read from the oldest record instead until one is received.
    from_horizon: bool,
    opened_before: bool,
    told: Told,
}

/// What is told once.
#[derive(Debug, Clone, Copy, Default)]
struct Told {
    /// The service refuses the start time.
    start: bool,
    /// The record at the checkpoint is gone, and nothing came in its place.
    gap: bool,
}

impl Position {
    pub(crate) fn new(start: ReadFrom) -> Self {
        Self {
            start,
            last_read: None,
            continuation: None,
            from_horizon: false,
            opened_before: false,
            told: Told::default(),
        }
    }

    /// Where to open now.
    pub(crate) fn next(&self) -> ReadFrom {
        if self.opened_before && kinesis_shard::planted("a second iterator starts at the newest record") {
            return ReadFrom::Latest;
        }
        let again = kinesis_shard::planted("a second iterator starts at the last record");
        match self.continuation.max(self.last_read) {
            Some(last) if again && !self.from_horizon => ReadFrom::At(last),
            _ if self.from_horizon => ReadFrom::TrimHorizon,
            Some(last) => ReadFrom::After(last),
            None => self.start,
        }
    }

    /// The newest sequence number that is known: nothing of the shard up to it is needed any more.
    pub(crate) fn newest(&self) -> Option<SequenceNumber> {
        let started_at = match self.start {
            ReadFrom::At(number) | ReadFrom::After(number) => Some(number),
            ReadFrom::TrimHorizon | ReadFrom::Latest | ReadFrom::AtTimestamp(_) => None,
        };
        self.continuation.max(self.last_read).max(started_at)
    }

    /// Whether a number is what would be opened now, so that a refusal means that the service does not know it.
    pub(crate) fn is_number(&self) -> bool {
        matches!(self.next(), ReadFrom::At(_) | ReadFrom::After(_))
    }

    /// What `LATEST` or `AT_TIMESTAMP` means from now on.
    pub(crate) fn pin(&mut self, at: SystemTime) {
        if matches!(self.start, ReadFrom::Latest | ReadFrom::AtTimestamp(_)) {
            self.start = ReadFrom::AtTimestamp(at);
        }
    }

    /// What a refusal of this position means: nothing but a start time can be wrong only for now. That is told once, however
    /// long it lasts.
    pub(crate) fn explain(&mut self, error: ReadError) -> FetchEvent {
        match (error, self.next()) {
            (ReadError::InvalidArgument(text), ReadFrom::AtTimestamp(_)) => {
                let told = std::mem::replace(&mut self.told.start, true);
                let error = ReadError::StartTime(text);
                if told { FetchEvent::StillTooEarly(error) } else { FetchEvent::Failed(error) }
            }
            (error, _) => FetchEvent::Failed(error),
        }
    }

    /// Something was opened at [`next`](Self::next).
    pub(crate) fn opened(&mut self) {
        self.opened_before = true;
    }

    /// What was opened is of no use any more; another follows.
    pub(crate) fn reopens(&self) -> Option<FetchEvent> {
        (self.opened_before && self.next() == ReadFrom::Latest).then_some(FetchEvent::LatestReopened)
    }

    /// The service refused the position as an argument, though the stream is the same: it is older than the retention.
    /// Reading goes on with what there is; positions up to the checkpoint are filtered later, so nothing is repeated.
    pub(crate) fn refused(&mut self) -> Option<FetchEvent> {
        let (ReadFrom::At(checkpoint) | ReadFrom::After(checkpoint)) = self.next() else { return None };
        self.from_horizon = true;
        self.continuation = None;
        Some(FetchEvent::CheckpointTrimmed { checkpoint, first: None })
    }

    /// Moves on behind these records, and drops those of them that were received before: what was opened too early
    /// brings them again. Tells of a gap. `nothing_left`: there is nothing in the shard behind them.
    pub(crate) fn accept(
        &mut self,
        records: &mut Vec<KinesisRecord>,
        nothing_left: bool,
    ) -> Option<FetchEvent> {
        let again = kinesis_shard::planted("a second iterator starts at the last record");
        records.retain(|record| again || self.last_read.is_none_or(|last| record.sequence_number > last));
        let first = records.first().map(|record| record.sequence_number);
        let gap = (first.is_some() || nothing_left).then(|| self.gap(first)).flatten();
        if let Some(last) = records.last() {
            self.last_read = Some(last.sequence_number);
            self.from_horizon = false;
        }
        gap
    }

    /// The record at the checkpoint itself must come first; if another does, or none at all, it has been trimmed, and maybe
    /// more with it.
    fn gap(&mut self, first: Option<SequenceNumber>) -> Option<FetchEvent> {
        let ReadFrom::At(checkpoint) = self.start else { return None };
        if kinesis_shard::planted("a gap is passed over in silence") {
            return None;
        }
        let is_first = self.last_read.is_none() && !self.told.gap;
        if !is_first || first == Some(checkpoint) || first.is_some_and(|first| first < checkpoint) {
            return None;
        }
        self.told.gap = first.is_none();
        Some(FetchEvent::CheckpointTrimmed { checkpoint, first })
    }

    /// The service named where to go on, behind everything it has sent so far.
    pub(crate) fn continues_after(&mut self, number: SequenceNumber) {
        self.from_horizon = false;
        self.continuation = Some(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn number(value: u64) -> SequenceNumber {
        value.to_string().parse().unwrap()
    }

    fn records(numbers: &[u64]) -> Vec<KinesisRecord> {
        let record = |value: &u64| KinesisRecord {
            sequence_number: number(*value),
            partition_key: "p".into(),
            data: Bytes::new(),
            arrived_at: None,
        };
        numbers.iter().map(record).collect()
    }

    #[test]
    fn it_moves_behind_what_was_read_and_then_where_the_service_says() {
        let mut position = Position::new(ReadFrom::At(number(5)));
        assert_eq!(position.next(), ReadFrom::At(number(5)));
        assert_eq!(position.accept(&mut records(&[5, 6]), false), None);
        assert_eq!(position.next(), ReadFrom::After(number(6)));
        position.continues_after(number(9));
        assert_eq!(position.next(), ReadFrom::After(number(9)));
        position.accept(&mut records(&[12]), true);
        assert_eq!(position.next(), ReadFrom::After(number(12)), "a record behind that number moves it on");
    }

    #[test]
    fn what_comes_again_is_dropped_and_tells_no_gap() {
        let mut position = Position::new(ReadFrom::TrimHorizon);
        position.accept(&mut records(&[3, 4]), true);
        let mut again = records(&[3, 4, 5]);
        assert_eq!(position.accept(&mut again, true), None);
        assert_eq!(again, records(&[5]));
        let mut nothing_new = records(&[4]);
        assert_eq!(position.accept(&mut nothing_new, true), None);
        assert!(nothing_new.is_empty());
        assert_eq!(position.next(), ReadFrom::After(number(5)));
    }

    #[test]
    fn a_first_record_behind_the_checkpoint_tells_of_the_gap() {
        let gap = |first| Some(FetchEvent::CheckpointTrimmed { checkpoint: number(5), first });
        let mut position = Position::new(ReadFrom::At(number(5)));
        assert_eq!(position.accept(&mut records(&[8]), false), gap(Some(number(8))));
        let mut position = Position::new(ReadFrom::At(number(5)));
        assert_eq!(position.refused(), gap(None));
        assert_eq!(position.next(), ReadFrom::TrimHorizon);
        assert_eq!(position.clone().accept(&mut records(&[3, 4]), false), None, "it may still come");
        position.continues_after(number(7));
        assert_eq!(position.next(), ReadFrom::After(number(7)));
        for start in [ReadFrom::TrimHorizon, ReadFrom::Latest] {
            assert_eq!(
                Position::new(start).refused(),
                None,
                "{start:?} names no number that could be too old"
            );
        }
    }

    #[test]
    fn a_checkpoint_in_whose_place_nothing_is_left_tells_of_the_gap_once() {
        let gap = Some(FetchEvent::CheckpointTrimmed { checkpoint: number(5), first: None });
        let mut position = Position::new(ReadFrom::At(number(5)));
        assert_eq!(position.accept(&mut records(&[]), false), None, "it may still come");
        position.continues_after(number(6));
        assert_eq!(position.accept(&mut records(&[]), true), gap);
        assert_eq!(position.accept(&mut records(&[]), true), None);
        assert_eq!(position.accept(&mut records(&[8]), true), None, "that one came later");
        let mut position = Position::new(ReadFrom::At(number(5)));
        assert_eq!(position.accept(&mut records(&[5]), true), None);
        assert_eq!(position.accept(&mut records(&[]), true), None);
        for start in [ReadFrom::TrimHorizon, ReadFrom::Latest] {
            assert_eq!(Position::new(start).accept(&mut records(&[]), true), None, "{start:?}");
        }
    }

    #[test]
    fn only_latest_opened_twice_loses_anything() {
        let mut position = Position::new(ReadFrom::Latest);
        assert_eq!(position.reopens(), None, "it was not open before");
        position.opened();
        assert_eq!(position.reopens(), Some(FetchEvent::LatestReopened));
        position.continues_after(number(1));
        assert_eq!(position.reopens(), None);
        let mut position = Position::new(ReadFrom::Latest);
        position.opened();
        position.pin(SystemTime::UNIX_EPOCH);
        assert_eq!(
            (position.reopens(), position.next()),
            (None, ReadFrom::AtTimestamp(SystemTime::UNIX_EPOCH))
        );
        let mut position = Position::new(ReadFrom::TrimHorizon);
        position.opened();
        assert_eq!(position.reopens(), None);
    }
}
