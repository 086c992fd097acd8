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
use std::time::{Duration, Instant, SystemTime};

use kinesis_shard::{Backoff, ShardId};

use super::confirmation::{Confirmation, Doubt, Verdict};
use super::overtaking::Overtaking;
use super::position::Position;
use super::{
    ChildShard, FetchAnswer, FetchEvent, FetchStep, Fetched, Fetcher, GetRecordsAnswer, Gone, Listing,
    ReadError, ReadFrom, Room, ShardIterator,
};

// How much to ask for.
mod appetite;

// How fast to ask.
mod pace;

use appetite::Appetite;
use pace::Pace;

/// Batches that may wait, the KCL's `maxPendingProcessRecordsInput`.
const MAX_WAITING_BATCHES: usize = 4;
/// Bytes beyond which one shard reads no further ahead, the KCL's 8 MiB: one slow shard must not take the whole budget.
const MAX_WAITING_BYTES: usize = 8 * 1024 * 1024;

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
    /// The list of shards decides.
    Confirming(Doubt),
    Ended,
    StreamGone(Gone),
}

/// See the module's diagram.
#[derive(Debug)]
pub(crate) struct Polling {
    settings: PollingSettings,
    state: State,
    position: Position,
    confirmation: Confirmation,
    overtaking: Overtaking,
    appetite: Appetite,
    pace: Pace,
    call_began: Option<Instant>,
    not_before: Option<Instant>,
    backoff: Backoff,
    waiting: VecDeque<Fetched>,
    events: VecDeque<FetchEvent>,
}

impl Polling {
    pub(crate) fn new(shard: ShardId, start: ReadFrom, settings: PollingSettings) -> Self {
        let backoff = Backoff::new(settings.backoff, settings.max_backoff, 2.0, settings.seed);
        Self {
            appetite: Appetite::new(settings.max_records),
            pace: Pace::new(settings.idle_time),
            settings,
            state: State::Closed,
            position: Position::new(start),
            confirmation: Confirmation::new(shard),
            overtaking: Overtaking::default(),
            call_began: None,
            not_before: None,
            backoff,
            waiting: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    fn may_read(&self, room: Room) -> bool {
        let bytes: usize = self.waiting.iter().map(|batch| batch.memory_bytes).sum();
        let ahead = self.waiting.len() < MAX_WAITING_BATCHES && bytes < MAX_WAITING_BYTES;
        room.empty_handed
            || kinesis_shard::planted("reading never waits for the application")
            || (ahead && self.appetite.fits(room))
    }

    fn pause(&mut self, now: Instant) {
        self.not_before = Some(now + self.backoff.next_delay());
    }

    fn opened(&mut self, now: Instant, result: Result<ShardIterator, ReadError>) {
        match result {
            Ok(iterator) => {
                self.state = State::Reading(iterator);
                self.position.opened();
                self.not_before = None;
            }
            Err(error) => {
                match &error {
                    ReadError::NotFound => self.state = State::Confirming(Doubt::Missing),
                    ReadError::InvalidArgument(_) if self.position.is_number() => {
                        self.state = State::Confirming(Doubt::Refused);
                    }
                    _ => {}
                }
                if error == ReadError::Throttled {
                    self.events.push_back(FetchEvent::Throttled);
                } else {
                    let event = self.position.explain(error);
                    self.events.push_back(event);
                }
                self.pause(now);
            }
        }
    }

    fn failed(&mut self, now: Instant, error: ReadError) {
        let throttled = error == ReadError::Throttled;
        self.events.push_back(match error {
            ReadError::ExpiredIterator => FetchEvent::ExpiredIterator,
            ReadError::Throttled => FetchEvent::Throttled,
            error => FetchEvent::Failed(error),
        });
        if throttled && matches!(self.state, State::Reading(_)) {
            self.not_before = Some(now + self.pace.refused());
        } else {
            self.pause(now);
        }
    }

    fn read(&mut self, now: Instant, result: Result<GetRecordsAnswer, ReadError>) -> usize {
        match result {
            Ok(answer) => self.accept(now, answer),
            Err(error) => {
                match &error {
                    ReadError::ExpiredIterator => {
                        self.reopen();
                        self.events.push_back(FetchEvent::ExpiredIterator);
                        return 0;
                    }
                    ReadError::InvalidArgument(_) => self.reopen(),
                    ReadError::NotFound => self.state = State::Confirming(Doubt::Missing),
                    // The iterator is still good: nothing was consumed.
                    _ => {}
                }
                self.failed(now, error);
                0
            }
        }
    }

    fn reopen(&mut self) {
        self.state = State::Closed;
        self.events.extend(self.position.reopens());
    }

    fn accept(&mut self, now: Instant, mut answer: GetRecordsAnswer) -> usize {
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
            return 0;
        }
        self.backoff.reset();
        self.confirmation.seen();
        self.appetite.answered(&answer.records);
        self.pace(now, &answer);
        let sent_at = self.call_began.unwrap_or(now);
        if let Some(lost) = self.overtaking.answered(sent_at, now, answer.millis_behind_latest) {
            let first = answer.records.first().map(|record| record.sequence_number);
            self.events.push_back(FetchEvent::Overtaken { lost, after: self.position.newest(), first });
        }
        let nothing_left = answer.millis_behind_latest == Some(0) || !answer.children.is_empty();
        self.events.extend(self.position.accept(&mut answer.records, nothing_left));
        let nothing = answer.records.is_empty() && answer.next.is_some();
        if nothing && kinesis_shard::planted("an empty answer is the end of the shard") {
            return self.end(now, Vec::new());
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
                self.state = State::Confirming(Doubt::AtEnd);
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
            return 0;
        }
        self.queue(Fetched::new(now, answer.records, answer.millis_behind_latest, ended))
    }

    fn queue(&mut self, batch: Fetched) -> usize {
        let bytes = batch.memory_bytes;
        self.waiting.push_back(batch);
        bytes
    }

    /// When the shard may be read again: at the service's limits when behind, at the idle time when caught up.
    fn pace(&mut self, now: Instant, answer: &GetRecordsAnswer) {
        let began = self.call_began.unwrap_or(now);
        let caught_up =
            answer.millis_behind_latest.map_or(answer.records.is_empty(), |millis_behind| millis_behind == 0);
        let bytes: usize = answer.records.iter().map(|record| record.data.len()).sum();
        self.not_before = Some(self.pace.answered(began, caught_up, bytes));
    }

    fn listed(&mut self, now: Instant, listing: Listing) -> usize {
        let State::Confirming(doubt) = self.state else {
            panic!("a listing arrived in {:?}, which asked for none", self.state);
        };
        let (verdict, event) = self.confirmation.judge(doubt, self.position.newest(), listing);
        self.events.extend(event);
        match verdict {
            Verdict::Ended(children) | Verdict::Gone(children) => return self.end(now, children),
            Verdict::StreamGone(gone) => self.state = State::StreamGone(gone),
            Verdict::StillThere if doubt == Doubt::Refused => {
                self.state = State::Closed;
                self.events.extend(self.position.refused());
                return 0;
            }
            Verdict::StillThere => self.reopen(),
            Verdict::Undecided => {}
        }
        self.pause(now);
        0
    }

    fn end(&mut self, now: Instant, children: Vec<ChildShard>) -> usize {
        self.state = State::Ended;
        self.queue(Fetched::new(now, Vec::new(), None, Some(children)))
    }
}

impl Fetcher for Polling {
    fn next(&mut self, now: Instant, room: Room) -> FetchStep {
        match self.state {
            State::Ended => return FetchStep::Idle,
            State::StreamGone(gone) => return FetchStep::StreamGone(gone),
            _ if self.call_began.is_some() || !self.may_read(room) => return FetchStep::Idle,
            _ => {}
        }
        if let Some(not_before) = self.not_before
            && now < not_before
        {
            return FetchStep::WaitUntil(not_before);
        }
        self.call_began = Some(now);
        match &self.state {
            State::Reading(iterator) => FetchStep::GetRecords {
                iterator: iterator.clone(),
                limit: self.appetite.limit(room),
                expected_bytes: self.appetite.expected_bytes(room),
            },
            State::Confirming(_) => FetchStep::ListShards,
            State::Closed | State::Ended | State::StreamGone(_) => {
                FetchStep::OpenIterator(self.position.next())
            }
        }
    }

    fn answered(&mut self, now: Instant, answer: FetchAnswer) -> usize {
        let queued = match answer {
            FetchAnswer::Iterator(result) => {
                self.opened(now, result);
                0
            }
            FetchAnswer::Records(result) => self.read(now, result),
            FetchAnswer::Shards(listing) => self.listed(now, listing),
            FetchAnswer::Subscribed(_) | FetchAnswer::Pushed(_) => panic!("polling subscribes to nothing"),
        };
        self.call_began = None;
        queued
    }

    fn take(&mut self) -> Option<Fetched> {
        self.waiting.pop_front()
    }

    fn is_far_behind(&self, now: Instant) -> bool {
        self.overtaking.is_possible(now)
    }

    fn retention(&mut self, retention: Option<Duration>) {
        self.overtaking.retention(retention);
    }

    fn pin(&mut self, at: SystemTime) {
        self.position.pin(at);
    }

    fn take_events(&mut self) -> VecDeque<FetchEvent> {
        std::mem::take(&mut self.events)
    }
}

#[cfg(test)]
mod tests;
