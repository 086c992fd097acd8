//! The life of one shard under one tenure of its lease.
//!
//! A [`ShardConsumer`] says which step comes next; it does none itself. Steps that take time are *begun* when
//! [`next`](ShardConsumer::next) returns them and *ended* by the event of the same name; in between it returns
//! [`Step::Idle`], so that calls of one shard never overlap.

use std::time::{Duration, Instant};

use kinesis_shard::Backoff;

use crate::config::FailurePolicy;

// What it asks for, and what it is told.
mod steps;

pub(crate) use steps::{Call, End, Processed, Step};

/// How soon a call is tried again that did not begin because the lease was not believed in at that moment.
/// The next renewal settles the matter; waiting for it in small steps keeps the driver free of one more signal.
const BELIEF_PAUSE: Duration = Duration::from_millis(200);

/// ```text
///                    parents ended          done               shutdown           done
/// WAITING_ON_PARENTS -------------> INITIALIZING -> PROCESSING -------> SHUTDOWN_REQUESTED --.
///        |                              |             |    |                   |             |
///        | shutdown                     | shutdown    |    | end of shard,     | lost        |
///        |                              |             |    | given up, lost    |             |
///        '------------------------------+-------------'    v                   v             v
///                                       '-----------> SHUTTING_DOWN <--------------- (release the lease)
///                                                          |
///                                                          v
///                                                       COMPLETE
/// ```
/// Losing the lease outranks the end of the shard, which outranks a requested shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    WaitingOnParents,
    Initializing,
    Processing { batch: Option<Batch> },
    ShutdownRequested,
    ShuttingDown(Ending),
    Complete(End),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Batch {
    ends_shard: bool,
}

/// The steps of `SHUTTING_DOWN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    CreatingChildren,
    TellingShardEnded,
    /// `told`: the processor has had its last call already.
    Releasing {
        end: End,
        told: bool,
    },
    TellingLeaseLost(End),
}

/// The part of the configuration that the life of a shard needs.
#[derive(Debug, Clone)]
pub(crate) struct ShardConsumerSettings {
    pub(crate) parent_poll_interval: Duration,
    pub(crate) backoff: Duration,
    pub(crate) max_backoff: Duration,
    pub(crate) failure_policy: FailurePolicy,
    pub(crate) seed: u64,
}

/// See the module and the diagram above `State`.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is set by an event of its own, and none excludes another"
)]
#[derive(Debug)]
pub(crate) struct ShardConsumer {
    settings: ShardConsumerSettings,
    state: State,
    /// The step that was begun and has not ended.
    begun: Option<Step>,
    not_before: Option<Instant>,
    backoff: Backoff,
    /// Failed attempts of the step in hand.
    failures: u32,
    /// `initialize` was called, so a last call is owed.
    met_processor: bool,
    lost: bool,
    shutdown: bool,
    paused: bool,
}

impl ShardConsumer {
    pub(crate) fn new(settings: ShardConsumerSettings) -> Self {
        let backoff = Backoff::new(settings.backoff, settings.max_backoff, 2.0, settings.seed);
        Self {
            settings,
            state: State::WaitingOnParents,
            begun: None,
            not_before: None,
            backoff,
            failures: 0,
            met_processor: false,
            lost: false,
            shutdown: false,
            paused: false,
        }
    }

    /// A consumer of a shard that was finished by an earlier tenure: nothing is left to do.
    pub(crate) fn finished(settings: ShardConsumerSettings) -> Self {
        Self { state: State::Complete(End::Finished), ..Self::new(settings) }
    }

    /// The one thing to do now.
    pub(crate) fn next(&mut self, now: Instant) -> Step {
        if let State::Complete(end) = self.state {
            return Step::Complete(end);
        }
        if self.begun.is_some() || (self.paused && matches!(self.state, State::Processing { .. })) {
            return Step::Idle;
        }
        if let Some(not_before) = self.not_before
            && now < not_before
        {
            return Step::WaitUntil(not_before);
        }
        self.not_before = None;
        let step = match self.state {
            State::WaitingOnParents => Step::CheckParents,
            State::Initializing => Step::Initialize,
            State::Processing { batch: None } => return Step::TakeBatch,
            State::Processing { batch: Some(_) } => Step::Process,
            State::ShutdownRequested => Step::ShutdownRequested,
            State::ShuttingDown(Ending::CreatingChildren) => Step::CreateChildren,
            State::ShuttingDown(Ending::TellingShardEnded) => Step::ShardEnded,
            State::ShuttingDown(Ending::Releasing { .. }) => Step::Release,
            State::ShuttingDown(Ending::TellingLeaseLost(_)) => Step::LeaseLost,
            State::Complete(end) => return Step::Complete(end),
        };
        self.begun = Some(step);
        step
    }

    /// Whether records of this shard are wanted at all.
    pub(crate) fn reads(&self) -> bool {
        matches!(self.state, State::Processing { .. }) && !self.lost && !self.shutdown && !self.paused
    }

    /// The application wants the shard to stand still, or to go on. A running call may finish; none begins. The lease is
    /// kept; losing it, or a shutdown, is told all the same. Whether that changes anything.
    pub(crate) fn set_paused(&mut self, paused: bool) -> bool {
        std::mem::replace(&mut self.paused, paused) != paused
    }

    /// Whether the end of a parent would change anything.
    pub(crate) fn waits_on_parents(&self) -> bool {
        self.state == State::WaitingOnParents
    }

    /// The number of the attempt that is next or under way, from 1.
    pub(crate) fn attempt(&self) -> u32 {
        self.failures.saturating_add(1)
    }

    /// The parents were looked up: `Ok(true)` when each has ended or has no lease.
    pub(crate) fn parents_checked(&mut self, now: Instant, ended: Result<bool, ()>) {
        self.end_step(Step::CheckParents);
        match ended {
            Ok(true) => self.enter(State::Initializing),
            Ok(false) => self.not_before = Some(now + self.settings.parent_poll_interval),
            Err(()) => self.pause(now),
        }
        self.settle();
    }

    /// Some shard ended in this process; it may have been a parent.
    pub(crate) fn parent_may_have_ended(&mut self) {
        if self.waits_on_parents() {
            self.not_before = None;
        }
    }

    /// `initialize` returned.
    pub(crate) fn initialized(&mut self, now: Instant, call: Call) {
        self.end_step(Step::Initialize);
        self.met_processor |= call != Call::NotBegun;
        match call {
            Call::Done => self.enter(State::Processing { batch: None }),
            Call::Failed | Call::NotBegun => self.again(now, call),
        }
        self.settle();
    }

    /// A batch is in hand. `deliver`: it is to be handed over; `ends_shard`: nothing comes after it.
    pub(crate) fn batch_taken(&mut self, deliver: bool, ends_shard: bool) {
        assert!(
            self.state == State::Processing { batch: None },
            "a batch was taken in {:?}, which did not ask for one",
            self.state
        );
        let hasty = ends_shard && kinesis_shard::planted("a shard ends without its last records");
        if deliver && !hasty {
            self.enter(State::Processing { batch: Some(Batch { ends_shard }) });
        } else if ends_shard {
            self.enter(State::ShuttingDown(Ending::CreatingChildren));
        }
        self.settle();
    }

    /// `process_records` returned.
    pub(crate) fn processed(&mut self, now: Instant, call: Call) -> Processed {
        self.end_step(Step::Process);
        let policy = self.settings.failure_policy;
        let enough = policy.limit().is_some_and(|most| self.attempt() >= most);
        let processed = match call {
            Call::Failed if kinesis_shard::planted("a failed batch counts as processed") => Processed::Done,
            Call::Done => Processed::Done,
            Call::Failed if enough && matches!(policy, FailurePolicy::SkipBatch { .. }) => Processed::Skip,
            Call::Failed | Call::NotBegun => Processed::Keep,
        };
        match (processed, self.state) {
            (Processed::Keep, _) if call == Call::Failed && enough => {
                self.enter(State::ShuttingDown(Ending::Releasing { end: End::GaveUp, told: false }));
            }
            (Processed::Keep, _) => self.again(now, call),
            (_, State::Processing { batch: Some(Batch { ends_shard: true }) }) => {
                self.enter(State::ShuttingDown(Ending::CreatingChildren));
            }
            _ => self.enter(State::Processing { batch: None }),
        }
        self.settle();
        processed
    }

    /// The children's leases exist, or could not be created.
    pub(crate) fn children_created(&mut self, now: Instant, created: Result<(), ()>) {
        self.end_step(Step::CreateChildren);
        match created {
            Ok(()) => self.enter(State::ShuttingDown(Ending::TellingShardEnded)),
            Err(()) => self.pause(now),
        }
        self.settle();
    }

    /// `shard_ended` returned. Without `SHARD_END` in the store it comes again: a shard that is not acknowledged as
    /// finished would keep its children waiting for ever.
    pub(crate) fn shard_ended(&mut self, now: Instant, call: Call, acknowledged: bool) {
        self.end_step(Step::ShardEnded);
        if acknowledged || kinesis_shard::planted("a shard ends without SHARD_END") {
            self.enter(State::Complete(End::Finished));
        } else if self.shutdown && call != Call::NotBegun {
            self.enter(State::ShuttingDown(Ending::Releasing { end: End::Released, told: true }));
        } else {
            self.again(now, if call == Call::NotBegun { call } else { Call::Failed });
        }
        self.settle();
    }

    /// `shutdown_requested` returned.
    pub(crate) fn shutdown_notified(&mut self, now: Instant, call: Call) {
        self.end_step(Step::ShutdownRequested);
        match call {
            Call::Done => {
                self.enter(State::ShuttingDown(Ending::Releasing { end: End::Released, told: true }));
            }
            Call::Failed | Call::NotBegun => self.again(now, call),
        }
        self.settle();
    }

    /// `lease_lost` returned, in whatever way: it is called once.
    pub(crate) fn lease_lost_told(&mut self) {
        self.end_step(Step::LeaseLost);
        if let State::ShuttingDown(Ending::TellingLeaseLost(end)) = self.state {
            self.enter(State::Complete(end));
        }
    }

    /// The lease was given back, or the store could not be reached.
    pub(crate) fn released(&mut self, now: Instant, released: Result<(), ()>) {
        self.end_step(Step::Release);
        match (released, self.state) {
            (Ok(()), State::ShuttingDown(Ending::Releasing { end, told })) => self.leave(end, told),
            _ => self.pause(now),
        }
        self.settle();
    }

    /// The lease is lost. A running call may finish; then `lease_lost` follows, once.
    pub(crate) fn lease_lost(&mut self) {
        self.lost = true;
        self.settle();
    }

    /// The worker shuts down, or another one asked for the lease: finish the running call, tell the processor, give the lease back.
    pub(crate) fn shutdown(&mut self) {
        self.shutdown = !kinesis_shard::planted("a shard hears of no shutdown");
        self.settle();
    }

    /// Where lost leases and requested shutdowns take effect: only between steps.
    fn settle(&mut self) {
        if self.begun.is_some() {
            return;
        }
        if self.lost {
            match self.state {
                State::Complete(_) | State::ShuttingDown(Ending::TellingLeaseLost(_)) => {}
                State::ShuttingDown(Ending::Releasing { end, told }) => self.leave(end, told),
                _ => self.leave(End::LeaseLost, false),
            }
        } else if self.shutdown {
            match self.state {
                State::WaitingOnParents | State::Initializing => {
                    self.enter(State::ShuttingDown(Ending::Releasing { end: End::Released, told: false }));
                }
                State::Processing { .. }
                    if kinesis_shard::planted("a lease is given back without a word") =>
                {
                    self.enter(State::ShuttingDown(Ending::Releasing { end: End::Released, told: true }));
                }
                State::Processing { .. } => self.enter(State::ShutdownRequested),
                State::ShutdownRequested | State::ShuttingDown(_) | State::Complete(_) => {}
            }
        }
    }

    /// The lease is no longer ours: tell the processor if it is owed a last call.
    fn leave(&mut self, end: End, told: bool) {
        let twice = told && kinesis_shard::planted("a processor has two last calls");
        self.enter(if (told || !self.met_processor) && !twice {
            State::Complete(end)
        } else {
            State::ShuttingDown(Ending::TellingLeaseLost(end))
        });
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.failures = 0;
        self.not_before = None;
        self.backoff.reset();
    }

    fn again(&mut self, now: Instant, call: Call) {
        if call == Call::NotBegun {
            self.not_before = Some(now + BELIEF_PAUSE);
        } else {
            self.pause(now);
        }
    }

    fn pause(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(now + self.backoff.next_delay());
    }

    fn end_step(&mut self, step: Step) {
        let begun = self.begun.take();
        assert!(begun == Some(step), "{step:?} ended in {:?}, but {begun:?} was begun", self.state);
    }
}

#[cfg(test)]
mod tests;
