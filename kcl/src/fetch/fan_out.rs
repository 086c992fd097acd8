//! Reading with `SubscribeToShard`: the service sends records as they come, two mebibytes a second for this consumer alone.
//!
//! ```text
//!            subscribed                 event with a continuation
//! Closed ------------------> Open ----------------------------------> Open
//!   ^                          |
//!   |  five minutes over, cut, |-- no continuation, children given -----------------------> Ended
//!   |  silent, taken over      |
//!   '--------------------------|-- no continuation, nothing else --> Confirming(end) -----> Ended
//!   ^                          '-- shard not found ----------------> Confirming(missing) -> Ended | StreamGone
//!   '------------- listed, so it is still there -------------------------'
//! ```
//!
//! What was received waits here until it is handed over, whatever becomes of the subscription: the next one goes on
//! behind the last event received, and nothing received is forgotten. While nothing more may wait the subscription is left
//! open and unread, so that the connection's own flow control holds the service back.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use kinesis_shard::{Backoff, ShardId, limits};

use super::confirmation::{Confirmation, Doubt, Verdict};
use super::overtaking::Overtaking;
use super::position::Position;
use super::{
    FetchAnswer, FetchEvent, FetchStep, Fetched, Fetcher, Gone, Listing, Pushed, ReadError, ReadFrom, Room,
    SubscriptionEvent,
};

/// Events that may wait. They are merged into one batch when they are taken, so this bounds small ones only.
const MAX_WAITING_EVENTS: usize = 64;
/// Bytes beyond which nothing more is received ahead, as with polling.
const MAX_WAITING_BYTES: usize = 8 * 1024 * 1024;
/// What the next event is taken for at least.
const LEAST_EXPECTED_BYTES: usize = 64 * 1024;
/// Between attempts while another subscription is in the way; the service lets go after five seconds.
const IN_USE_PAUSE: Duration = Duration::from_secs(1);

/// The part of the configuration that fan-out needs.
#[derive(Debug, Clone)]
pub(crate) struct FanOutSettings {
    /// The most Kinesis records that are merged into one batch.
    pub(crate) max_records: u32,
    /// How long the service may send nothing at all.
    pub(crate) silence_limit: Duration,
    /// Whether an event that brought nothing is handed over, too.
    pub(crate) keep_empty: bool,
    pub(crate) backoff: Duration,
    pub(crate) max_backoff: Duration,
    pub(crate) seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    /// `heard`: it has brought an event, so it was worth opening.
    Open {
        heard: bool,
    },
    /// The list of shards decides.
    Confirming(Doubt),
    Ended,
    StreamGone(Gone),
}

/// See the module's diagram.
#[derive(Debug)]
pub(crate) struct FanOut {
    settings: FanOutSettings,
    state: State,
    position: Position,
    confirmation: Confirmation,
    overtaking: Overtaking,
    call_began: Option<Instant>,
    not_before: Option<Instant>,
    /// When the service last accepted a subscription; it refuses another one for five seconds.
    subscribed_at: Option<Instant>,
    backoff: Backoff,
    in_use_backoff: Backoff,
    waiting: VecDeque<Fetched>,
    last_event_bytes: usize,
    events: VecDeque<FetchEvent>,
}

impl FanOut {
    pub(crate) fn new(shard: ShardId, start: ReadFrom, settings: FanOutSettings) -> Self {
        let backoff = Backoff::new(settings.backoff, settings.max_backoff, 2.0, settings.seed);
        let in_use_backoff =
            Backoff::new(IN_USE_PAUSE, limits::SUBSCRIBE_INTERVAL, 1.5, settings.seed.wrapping_add(1));
        Self {
            settings,
            state: State::Closed,
            position: Position::new(start),
            confirmation: Confirmation::new(shard),
            overtaking: Overtaking::default(),
            call_began: None,
            not_before: None,
            subscribed_at: None,
            backoff,
            in_use_backoff,
            waiting: VecDeque::new(),
            last_event_bytes: 0,
            events: VecDeque::new(),
        }
    }

    fn may_receive(&self, room: Room) -> bool {
        let bytes: usize = self.waiting.iter().map(|batch| batch.memory_bytes).sum();
        let ahead = self.waiting.len() < MAX_WAITING_EVENTS && bytes < MAX_WAITING_BYTES;
        room.empty_handed || (ahead && room.bytes >= self.expected_bytes())
    }

    fn expected_bytes(&self) -> usize {
        self.last_event_bytes.max(LEAST_EXPECTED_BYTES)
    }

    fn pause(&mut self, now: Instant) {
        self.not_before = Some(now + self.backoff.next_delay());
    }

    /// When a subscription may be asked for.
    fn subscribe_at(&self) -> Option<Instant> {
        let accepted_from = self.subscribed_at.map(|at| at + limits::SUBSCRIBE_INTERVAL);
        self.not_before.max(accepted_from)
    }

    fn subscribed(&mut self, now: Instant, result: Result<(), ReadError>) {
        let error = match result {
            Ok(()) => {
                self.state = State::Open { heard: false };
                self.subscribed_at = Some(now);
                self.position.opened();
                self.not_before = None;
                return;
            }
            Err(error) => error,
        };
        self.pause(now);
        match error {
            ReadError::InUse(_) => self.in_use(now),
            ReadError::Throttled => self.events.push_back(FetchEvent::Throttled),
            error => {
                match &error {
                    ReadError::NotFound => self.state = State::Confirming(Doubt::Missing),
                    ReadError::InvalidArgument(_) if self.position.is_number() => {
                        self.state = State::Confirming(Doubt::Refused);
                    }
                    _ => {}
                }
                let event = self.position.explain(error);
                self.events.push_back(event);
            }
        }
    }

    fn in_use(&mut self, now: Instant) {
        self.events.push_back(FetchEvent::SubscriptionInUse);
        self.not_before = Some(now + self.in_use_backoff.next_delay());
    }

    fn pushed(&mut self, now: Instant, pushed: Pushed) -> usize {
        let State::Open { heard } = self.state else {
            panic!("an event arrived in {:?}, which has no subscription", self.state);
        };
        let missing = pushed == Pushed::Cut(ReadError::NotFound);
        let event = match pushed {
            Pushed::Event(event) => return self.accept(now, event),
            Pushed::Cut(ReadError::InUse(_)) => {
                // Somebody believes in the lease as we do. Whoever is wrong learns it within the failover time; until
                // then neither must take the subscription from the other at every turn.
                self.close();
                self.in_use(now);
                return 0;
            }
            Pushed::Closed => None,
            Pushed::Cut(error) => Some(FetchEvent::SubscriptionCut(error)),
            Pushed::Silent => Some(FetchEvent::SubscriptionSilent),
        };
        self.close();
        self.events.extend(event);
        if missing {
            self.state = State::Confirming(Doubt::Missing);
        }
        // One that was of use is followed by the next at once.
        if missing || !heard {
            self.pause(now);
        }
        0
    }

    fn close(&mut self) {
        self.state = State::Closed;
        self.events.extend(self.position.reopens());
    }

    fn accept(&mut self, now: Instant, mut event: SubscriptionEvent) -> usize {
        let orphan = event.children.iter().any(|child| child.parents.is_empty());
        let contradiction = match (event.continuation, event.children.is_empty()) {
            (Some(_), false) => Some("children together with a continuation"),
            (None, false) if orphan => Some("a child without parents"),
            _ => None,
        };
        if let Some(contradiction) = contradiction {
            self.events.push_back(FetchEvent::InvalidAnswer(contradiction));
            // What it held must come again, so what follows it in this subscription is of no use.
            self.close();
            self.pause(now);
            return 0;
        }
        self.backoff.reset();
        self.in_use_backoff.reset();
        self.confirmation.seen();
        // What was sent while nobody listened is older than that: the error is on the side of telling.
        let asked_at = self.call_began.unwrap_or(now);
        if let Some(lost) = self.overtaking.answered(asked_at, now, event.millis_behind_latest) {
            let first = event.records.first().map(|record| record.sequence_number);
            self.events.push_back(FetchEvent::Overtaken { lost, after: self.position.newest(), first });
        }
        let nothing_left = event.millis_behind_latest == Some(0) || !event.children.is_empty();
        self.events.extend(self.position.accept(&mut event.records, nothing_left));
        let ended = match event.continuation {
            Some(number) => {
                self.position.continues_after(number);
                self.state = State::Open { heard: true };
                None
            }
            None if !event.children.is_empty() => {
                self.state = State::Ended;
                Some(event.children)
            }
            None => {
                self.events.push_back(FetchEvent::InvalidAnswer("neither a continuation nor children"));
                // With records it may have been cut short; without any it looks like the end.
                if event.records.is_empty() {
                    self.state = State::Confirming(Doubt::AtEnd);
                } else {
                    self.close();
                }
                self.pause(now);
                None
            }
        };
        let batch = Fetched::new(now, event.records, event.millis_behind_latest, ended);
        self.last_event_bytes = batch.memory_bytes.max(self.last_event_bytes / 2);
        if batch.records.is_empty() && batch.ended.is_none() && !self.settings.keep_empty {
            return 0;
        }
        self.queue(batch)
    }

    fn queue(&mut self, batch: Fetched) -> usize {
        let bytes = batch.memory_bytes;
        self.waiting.push_back(batch);
        bytes
    }

    fn listed(&mut self, now: Instant, listing: Listing) -> usize {
        let State::Confirming(doubt) = self.state else {
            panic!("a listing arrived in {:?}, which asked for none", self.state);
        };
        let (verdict, event) = self.confirmation.judge(doubt, self.position.newest(), listing);
        self.events.extend(event);
        match verdict {
            Verdict::Ended(children) | Verdict::Gone(children) => {
                self.state = State::Ended;
                return self.queue(Fetched::new(now, Vec::new(), None, Some(children)));
            }
            Verdict::StreamGone(gone) => self.state = State::StreamGone(gone),
            Verdict::StillThere if doubt == Doubt::Refused => {
                self.state = State::Closed;
                self.events.extend(self.position.refused());
                return 0;
            }
            Verdict::StillThere => self.close(),
            Verdict::Undecided => {}
        }
        self.pause(now);
        0
    }
}

impl Fetcher for FanOut {
    fn next(&mut self, now: Instant, room: Room) -> FetchStep {
        match self.state {
            State::Ended => return FetchStep::Idle,
            State::StreamGone(gone) => return FetchStep::StreamGone(gone),
            _ if self.call_began.is_some() || !self.may_receive(room) => return FetchStep::Idle,
            State::Open { .. } => {
                self.call_began = Some(now);
                return FetchStep::NextEvent {
                    until: now + self.settings.silence_limit,
                    expected_bytes: self.expected_bytes().min(room.bytes),
                };
            }
            State::Closed | State::Confirming(_) => {}
        }
        let confirming = matches!(self.state, State::Confirming(_));
        let due = if confirming { self.not_before } else { self.subscribe_at() };
        if let Some(due) = due.filter(|due| now < *due) {
            return FetchStep::WaitUntil(due);
        }
        self.call_began = Some(now);
        if confirming { FetchStep::ListShards } else { FetchStep::Subscribe(self.position.next()) }
    }

    fn answered(&mut self, now: Instant, answer: FetchAnswer) -> usize {
        let queued = match answer {
            FetchAnswer::Subscribed(result) => {
                self.subscribed(now, result);
                0
            }
            FetchAnswer::Pushed(pushed) => self.pushed(now, pushed),
            FetchAnswer::Shards(listing) => self.listed(now, listing),
            FetchAnswer::Iterator(_) | FetchAnswer::Records(_) => panic!("fan-out opens no iterator"),
        };
        self.call_began = None;
        queued
    }

    /// Merges the events that wait, up to the size of a batch: at a high rate the service sends many small ones, and a
    /// processor that is called for each would fall behind.
    fn take(&mut self) -> Option<Fetched> {
        let mut batch = self.waiting.pop_front()?;
        while let Some(next) = self.waiting.pop_front_if(|next| {
            batch.ended.is_none()
                && batch.records.len() + next.records.len() <= self.settings.max_records as usize
        }) {
            batch.records.extend(next.records);
            batch.millis_behind_latest = next.millis_behind_latest.or(batch.millis_behind_latest);
            batch.memory_bytes += next.memory_bytes;
            batch.ended = next.ended;
        }
        Some(batch)
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
