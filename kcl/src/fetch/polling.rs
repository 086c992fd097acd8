//! Reading with `GetShardIterator` and `GetRecords`.
//!
//! ```text
//!             opened                       next iterator given
//! Closed ----------------> Reading -----------------------------> Reading
//!   ^                         |
//!   |  expired, refused       |-- no next iterator, children given ------------------------> Ended
//!   '-------------------------|
//!   ^                         |-- no next iterator, nothing else --> Confirming(end) ------> Ended
//!   |                         '-- shard not found -----------------> Confirming(missing) --> Ended | StreamGone
//!   '------------- listed, so it is still there ------------------------'
//! ```
//!
//! An error, or an answer that only looks like the end, never ends a shard: listing the stream's shards must confirm it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use kinesis_shard::{Backoff, SequenceNumber, Shard, ShardId, limits};

use super::{
    ChildShard, FetchAnswer, FetchEvent, FetchStep, Fetched, Fetcher, GetRecordsAnswer, Listing, ReadError,
    ReadFrom, ShardIterator,
};

/// Batches that may wait, the KCL's `maxPendingProcessRecordsInput`.
const MAX_WAITING_BATCHES: usize = 4;
/// Bytes beyond which one shard reads no further ahead, the KCL's 8 MiB: one slow shard must not take the whole budget.
const MAX_WAITING_BYTES: usize = 8 * 1024 * 1024;
/// The service takes five reads a second for one shard; evenly spaced, so that no burst starves another application.
const CALL_SPACING: Duration = Duration::from_millis(1_000 / limits::SHARD_READ_CALLS_PER_SECOND);
/// Listings in a row that must agree before a shard or stream is believed to be gone: a list may lag.
const CONFIRMATIONS: u32 = 3;

/// The part of the configuration that polling needs.
#[derive(Debug, Clone)]
pub(crate) struct PollingSettings {
    pub(crate) max_records: u32,
    pub(crate) idle_time: Duration,
    /// Whether a read that brought nothing is handed over, too.
    pub(crate) keep_empty: bool,
    pub(crate) backoff: Duration,
    pub(crate) max_backoff: Duration,
    pub(crate) seed: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Closed,
    Reading(ShardIterator),
    /// The list of shards decides. `at_end`: the last answer had no next iterator and no records.
    Confirming {
        at_end: bool,
    },
    Ended,
    StreamGone,
}

/// See the module's diagram.
#[derive(Debug)]
pub(crate) struct Polling {
    shard: ShardId,
    settings: PollingSettings,
    state: State,
    start: ReadFrom,
    /// The last record received: where a new iterator goes on.
    last_read: Option<SequenceNumber>,
    /// The position was refused; read from the oldest record instead until one is received.
    from_horizon: bool,
    opened_before: bool,
    call_began: Option<Instant>,
    not_before: Option<Instant>,
    backoff: Backoff,
    missing_count: u32,
    waiting: VecDeque<Fetched>,
    events: VecDeque<FetchEvent>,
}

impl Polling {
    pub(crate) fn new(shard: ShardId, start: ReadFrom, settings: PollingSettings) -> Self {
        let backoff = Backoff::new(settings.backoff, settings.max_backoff, 2.0, settings.seed);
        Self {
            shard,
            settings,
            state: State::Closed,
            start,
            last_read: None,
            from_horizon: false,
            opened_before: false,
            call_began: None,
            not_before: None,
            backoff,
            missing_count: 0,
            waiting: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    fn may_read(&self, read_ahead: bool) -> bool {
        let bytes: usize = self.waiting.iter().map(|batch| batch.data_bytes).sum();
        self.waiting.is_empty()
            || (read_ahead && self.waiting.len() < MAX_WAITING_BATCHES && bytes < MAX_WAITING_BYTES)
    }

    fn position(&self) -> ReadFrom {
        match self.last_read {
            _ if self.from_horizon => ReadFrom::TrimHorizon,
            Some(last) => ReadFrom::After(last),
            None => self.start,
        }
    }

    fn pause(&mut self, now: Instant) {
        self.not_before = Some(now + self.backoff.next_delay());
    }

    fn opened(&mut self, now: Instant, result: Result<ShardIterator, ReadError>) {
        let error = match result {
            Ok(iterator) => {
                self.state = State::Reading(iterator);
                self.opened_before = true;
                self.not_before = None;
                return;
            }
            Err(error) => error,
        };
        match (&error, self.position()) {
            (ReadError::NotFound, _) => self.state = State::Confirming { at_end: false },
            // Older than retention, or of a stream that was made anew under the same name. Both go on with what there
            // is; positions up to the checkpoint are filtered later, so at worst nothing is repeated.
            (ReadError::InvalidArgument(_), ReadFrom::At(checkpoint) | ReadFrom::After(checkpoint)) => {
                self.from_horizon = true;
                self.events.push_back(FetchEvent::CheckpointTrimmed { checkpoint, first: None });
            }
            _ => {}
        }
        self.failed(now, error);
    }

    fn failed(&mut self, now: Instant, error: ReadError) {
        self.events.push_back(match error {
            ReadError::ExpiredIterator => FetchEvent::ExpiredIterator,
            ReadError::Throttled => FetchEvent::Throttled,
            error => FetchEvent::Failed(error),
        });
        self.pause(now);
    }

    fn read(&mut self, now: Instant, result: Result<GetRecordsAnswer, ReadError>) -> bool {
        match result {
            Ok(answer) => self.accept(now, answer),
            Err(error) => {
                match &error {
                    ReadError::ExpiredIterator => {
                        self.reopen();
                        self.events.push_back(FetchEvent::ExpiredIterator);
                        return false;
                    }
                    ReadError::InvalidArgument(_) => self.reopen(),
                    ReadError::NotFound => self.state = State::Confirming { at_end: false },
                    // The iterator is still good: nothing was consumed.
                    _ => {}
                }
                self.failed(now, error);
                false
            }
        }
    }

    fn reopen(&mut self) {
        self.state = State::Closed;
        if self.opened_before && self.position() == ReadFrom::Latest {
            self.events.push_back(FetchEvent::LatestReopened);
        }
    }

    fn accept(&mut self, now: Instant, mut answer: GetRecordsAnswer) -> bool {
        let orphan = answer.children.iter().any(|child| child.parents.is_empty());
        let contradiction = match (&answer.next, answer.children.is_empty()) {
            (Some(_), false) => Some("children together with a next iterator"),
            (None, false) if orphan => Some("a child without parents"),
            _ => None,
        };
        if let Some(contradiction) = contradiction {
            self.events.push_back(FetchEvent::InvalidAnswer(contradiction));
            if answer.next.is_none() {
                self.reopen();
            }
            self.pause(now);
            return false;
        }
        self.backoff.reset();
        self.missing_count = 0;
        self.pace(now, &answer);
        // What an iterator opened too early brings again was received already.
        answer.records.retain(|record| self.last_read.is_none_or(|last| record.sequence_number > last));
        self.note_gap(&answer);
        if let Some(last) = answer.records.last() {
            self.last_read = Some(last.sequence_number);
            self.from_horizon = false;
        }
        let ended = match answer.next {
            Some(next) => {
                self.state = State::Reading(next);
                None
            }
            None if !answer.children.is_empty() => {
                self.state = State::Ended;
                Some(answer.children)
            }
            // Neither an iterator nor children. With records it may be a truncated answer: read on behind them. Without
            // any it looks like the end, which the list of shards has to confirm.
            None if answer.records.is_empty() => {
                self.state = State::Confirming { at_end: true };
                self.events.push_back(FetchEvent::InvalidAnswer("neither a next iterator nor children"));
                self.pause(now);
                None
            }
            None => {
                self.reopen();
                None
            }
        };
        if answer.records.is_empty() && ended.is_none() && !self.settings.keep_empty {
            return false;
        }
        self.queue(now, answer.records, answer.millis_behind_latest, ended);
        true
    }

    fn queue(
        &mut self,
        now: Instant,
        records: Vec<super::KinesisRecord>,
        millis_behind_latest: Option<u64>,
        ended: Option<Vec<ChildShard>>,
    ) {
        let data_bytes = records.iter().map(|record| record.data.len()).sum();
        let received_at = now;
        self.waiting.push_back(Fetched { records, millis_behind_latest, received_at, ended, data_bytes });
    }

    /// When the shard may be read again: at the service's limits when behind, at the idle time when caught up.
    fn pace(&mut self, now: Instant, answer: &GetRecordsAnswer) {
        let began = self.call_began.unwrap_or(now);
        let caught_up =
            answer.millis_behind_latest.map_or(answer.records.is_empty(), |millis_behind| millis_behind == 0);
        let bytes: usize = answer.records.iter().map(|record| record.data.len()).sum();
        let debt = Duration::from_micros(
            (bytes as u64).saturating_mul(1_000_000) / limits::SHARD_READ_BYTES_PER_SECOND,
        );
        let spacing = if caught_up { self.settings.idle_time } else { CALL_SPACING };
        self.not_before = Some(began + spacing.max(debt));
    }

    /// The record at the checkpoint itself must come first; if it does not, it has been trimmed, and maybe more with it.
    fn note_gap(&mut self, answer: &GetRecordsAnswer) {
        if let (None, ReadFrom::At(checkpoint), Some(first)) =
            (self.last_read, self.start, answer.records.first())
            && first.sequence_number > checkpoint
        {
            let first = Some(first.sequence_number);
            self.events.push_back(FetchEvent::CheckpointTrimmed { checkpoint, first });
        }
    }

    fn listed(&mut self, now: Instant, listing: Listing) -> bool {
        let State::Confirming { at_end } = self.state else {
            panic!("a listing arrived in {:?}, which asked for none", self.state);
        };
        match listing {
            Listing::Failed(message) => {
                self.events.push_back(FetchEvent::ListingFailed(message));
                self.pause(now);
            }
            Listing::StreamNotFound => {
                self.missing_count += 1;
                if self.missing_count >= CONFIRMATIONS {
                    self.state = State::StreamGone;
                }
                self.pause(now);
            }
            Listing::Shards(shards) => return self.confirm(now, at_end, &shards),
        }
        false
    }

    fn confirm(&mut self, now: Instant, at_end: bool, shards: &[Shard]) -> bool {
        let children: Vec<ChildShard> = shards
            .iter()
            .filter(|shard| shard.parents().any(|parent| *parent == self.shard))
            .map(|shard| ChildShard {
                id: shard.id.clone(),
                parents: shard.parents().cloned().collect(),
                hash_key_range: Some(shard.hash_key_range),
            })
            .collect();
        if let Some(shard) = shards.iter().find(|shard| shard.id == self.shard) {
            self.missing_count = 0;
            if at_end && !shard.is_open() && !children.is_empty() {
                self.end(now, children);
                return true;
            }
            self.reopen();
        } else {
            self.missing_count += 1;
            if self.missing_count >= CONFIRMATIONS {
                self.events.push_back(FetchEvent::ShardGone);
                self.end(now, children);
                return true;
            }
        }
        self.pause(now);
        false
    }

    fn end(&mut self, now: Instant, children: Vec<ChildShard>) {
        self.state = State::Ended;
        self.queue(now, Vec::new(), None, Some(children));
    }
}

impl Fetcher for Polling {
    fn next(&mut self, now: Instant, read_ahead: bool) -> FetchStep {
        match self.state {
            State::Ended => return FetchStep::Idle,
            State::StreamGone => return FetchStep::StreamGone,
            _ if self.call_began.is_some() || !self.may_read(read_ahead) => return FetchStep::Idle,
            _ => {}
        }
        if let Some(not_before) = self.not_before
            && now < not_before
        {
            return FetchStep::WaitUntil(not_before);
        }
        self.call_began = Some(now);
        match &self.state {
            State::Reading(iterator) => {
                FetchStep::GetRecords { iterator: iterator.clone(), limit: self.settings.max_records }
            }
            State::Confirming { .. } => FetchStep::ListShards,
            State::Closed | State::Ended | State::StreamGone => FetchStep::OpenIterator(self.position()),
        }
    }

    fn answered(&mut self, now: Instant, answer: FetchAnswer) -> bool {
        let queued = match answer {
            FetchAnswer::Iterator(result) => {
                self.opened(now, result);
                false
            }
            FetchAnswer::Records(result) => self.read(now, result),
            FetchAnswer::Shards(listing) => self.listed(now, listing),
        };
        self.call_began = None;
        queued
    }

    fn take(&mut self) -> Option<Fetched> {
        self.waiting.pop_front()
    }

    fn take_events(&mut self) -> VecDeque<FetchEvent> {
        std::mem::take(&mut self.events)
    }
}

#[cfg(test)]
mod tests;
