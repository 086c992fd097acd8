//! One subscription of one consumer to one shard: what to push, and when.
//!
//! ```text
//!              initial-response            records, keep-alives
//!   Opening -------------------> Streaming --------------------> Streaming
//!      |                             |
//!      |  refused(error): taken over, consumer gone, stream gone --> exception --> Done
//!      |                             |  shard end -----> last event, children ---> Done
//!      |                             |  five minutes, server stops --------------> Done
//!      '--- cut by a fault ----------'-------------------------------------------> Done, connection broken
//! ```
//!
//! Events go in by method; `next(now, shard)` says the one thing to do. Nothing is queued here: records are read
//! from the log when the connection can take them, so a slow reader costs no memory.

pub(crate) mod body;

pub(crate) mod live;

pub(crate) mod readers;

use kinesis_shard::SequenceNumber;
use kinesis_shard::limits::SUBSCRIPTION_LIFETIME;

use crate::error::ServiceError;
use crate::shard_log::ShardLog;

/// Milliseconds without an event after which an empty one is sent. Clients give up after 10 s of silence.
const KEEP_ALIVE: u64 = 5_000;

/// Milliseconds between looks at a connection that a fault has silenced for good: any long time.
const LOOK_WHILE_STALLED: u64 = 3_600_000;

/// Data and partition keys of one event; a single record may be larger.
const MOST_EVENT_BYTES: usize = 1024 * 1024;

/// Records of one event: what a shard takes in a second.
const MOST_EVENT_RECORDS: usize = 1_000;

/// What a subscription was granted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// The least sequence index to push.
    pub(crate) position: u64,
    /// The rate at which it is pushed; `None`: as fast as the connection takes it.
    pub(crate) bytes_per_second: Option<u64>,
    /// When a fault breaks the connection.
    pub(crate) cut_at: Option<u64>,
    /// When a fault silences the connection, which stays open.
    pub(crate) stall_at: Option<u64>,
}

/// The shard as it is now, trimmed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) shard: &'a ShardLog,
    /// The index that the shard's next record will at least have.
    pub(crate) next_index: u64,
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Send `initial-response`.
    Open,
    /// Send an event.
    Push(Batch),
    /// Send the last event: no continuation, but the shards that took over.
    ShardEnd,
    /// Send the error as an exception.
    Refuse(ServiceError),
    /// Ask again at this time, or when there is news of the shard.
    WaitUntil(u64),
    /// Close normally.
    End,
    /// Break the connection.
    Break,
}

/// One event: the records to read from the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Batch {
    /// The least sequence index.
    pub(crate) from: u64,
    /// May be zero: a keep-alive.
    pub(crate) count: usize,
    /// Where a later subscription goes on, after this number. Usable even if nothing was pushed yet.
    pub(crate) continuation: SequenceNumber,
    pub(crate) millis_behind: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Nothing may come before `initial-response`, not even the reason why it ends.
    Opening {
        refusal: Option<ServiceError>,
    },
    Streaming,
    Refused(ServiceError),
    Done,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Subscription {
    terms: Terms,
    state: State,
    ends_at: u64,
    last_event_at: u64,
    /// Until when the rate is used up, in microseconds: a small event must not cost a whole millisecond.
    paid_until: u64,
    /// The time in continuation numbers never steps back, whatever the clock does.
    latest_seconds: u64,
}

impl Subscription {
    pub(crate) fn new(now: u64, terms: Terms) -> Self {
        let lifetime = u64::try_from(SUBSCRIPTION_LIFETIME.as_millis()).unwrap_or(u64::MAX);
        Self {
            terms,
            state: State::Opening { refusal: None },
            ends_at: now.saturating_add(lifetime),
            last_event_at: now,
            paid_until: 0,
            latest_seconds: 0,
        }
    }

    /// It ends with this error in the stream: another call took over, or what it reads is gone.
    pub(crate) fn refused(&mut self, error: ServiceError) {
        match &mut self.state {
            State::Opening { refusal } => *refusal = Some(error),
            State::Streaming => self.state = State::Refused(error),
            State::Refused(_) | State::Done => {}
        }
    }

    /// It ends normally before its time: the server stops.
    pub(crate) fn stopped(&mut self, now: u64) {
        self.ends_at = self.ends_at.min(now);
        self.terms.stall_at = None;
    }

    /// The one thing to do now. An error in place of the shard is told in the stream.
    pub(crate) fn next(&mut self, now: u64, shard: Result<View<'_>, ServiceError>) -> Step {
        match &mut self.state {
            State::Done => Step::End,
            State::Opening { refusal } => {
                self.state = refusal.take().map_or(State::Streaming, State::Refused);
                Step::Open
            }
            // Whoever is cut at once has got the first frame by now, so its call has returned.
            _ if self.terms.cut_at.is_some_and(|at| at <= now) => self.end_with(Step::Break),
            // Neither news nor an end gets through; whoever waits must find out by himself.
            _ if self.terms.stall_at.is_some_and(|at| at <= now) => {
                Step::WaitUntil(self.terms.cut_at.unwrap_or(now + LOOK_WHILE_STALLED))
            }
            State::Refused(error) => {
                let step = Step::Refuse(error.clone());
                self.end_with(step)
            }
            State::Streaming => match shard {
                Ok(_) if now >= self.ends_at => self.end_with(Step::End),
                Ok(view) => self.stream(now, view),
                Err(error) => self.end_with(Step::Refuse(error)),
            },
        }
    }

    fn stream(&mut self, now: u64, view: View<'_>) -> Step {
        let ahead_since = view.shard.records_from(self.terms.position).next().map(|record| record.arrived_at);
        if ahead_since.is_none() && !view.shard.is_open() {
            return self.end_with(Step::ShardEnd);
        }
        let paid_at = ahead_since.map(|_| self.paid_until / 1000);
        if paid_at.is_some_and(|at| at <= now) {
            return Step::Push(self.push(now, view.shard));
        }
        let keep_alive_at = self.last_event_at.saturating_add(KEEP_ALIVE);
        if now >= keep_alive_at {
            return Step::Push(self.keep_alive(now, view, ahead_since));
        }
        let timers = [paid_at, self.terms.cut_at, self.terms.stall_at, Some(self.ends_at)];
        Step::WaitUntil(timers.into_iter().flatten().fold(keep_alive_at, u64::min))
    }

    /// Takes records until the event is full; a single record may be larger.
    fn push(&mut self, now: u64, shard: &ShardLog) -> Batch {
        let from = self.terms.position;
        let (mut count, mut bytes, mut behind_since) = (0, 0, None);
        let mut continuation = shard.starting_sequence_number();
        let mut last_arrival = None;
        for record in shard.records_from(from) {
            let too_large = count > 0 && bytes + record.len() > MOST_EVENT_BYTES;
            if count >= MOST_EVENT_RECORDS || too_large {
                behind_since = last_arrival;
                break;
            }
            count += 1;
            bytes += record.len();
            continuation = shard.sequence_number(&record);
            last_arrival = Some(record.arrived_at);
            self.terms.position = record.index + 1;
        }
        if let Some(rate) = self.terms.bytes_per_second {
            let cost = (bytes as u64).saturating_mul(1_000_000) / rate.max(1);
            self.paid_until = self.paid_until.max(now.saturating_mul(1000)).saturating_add(cost);
        }
        self.last_event_at = now;
        self.latest_seconds = self.latest_seconds.max(now / 1000);
        Batch { from, count, continuation, millis_behind: behind(now, behind_since) }
    }

    /// An empty event. Its continuation lies above all that was pushed and below all that is to come, and moves on
    /// with the stream, so that checkpoints do.
    fn keep_alive(&mut self, now: u64, view: View<'_>, ahead_since: Option<u64>) -> Batch {
        if ahead_since.is_none() {
            // Everything below has been pushed, so a later subscription need not look there again.
            self.terms.position = self.terms.position.max(view.next_index);
        }
        self.last_event_at = now;
        self.latest_seconds = self.latest_seconds.max(now / 1000);
        let from = self.terms.position;
        let continuation = view.shard.number_at(from.saturating_sub(1), self.latest_seconds);
        Batch { from, count: 0, continuation, millis_behind: behind(now, ahead_since) }
    }

    fn end_with(&mut self, step: Step) -> Step {
        self.state = State::Done;
        step
    }
}

fn behind(now: u64, since: Option<u64>) -> u64 {
    since.map_or(0, |since| now.saturating_sub(since).max(1))
}

#[cfg(test)]
mod tests;
