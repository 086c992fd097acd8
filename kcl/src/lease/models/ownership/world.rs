//! What there is, what may happen, and what each step makes of it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kinesis_shard::Checkpoint;

use super::Bounds;
use super::network::{Call, Flow, Late, Releasing};
use super::variants::Variant;
use crate::checkpoint::Positions;
use crate::lease::assign::{Observations, Why};
use crate::lease::tenure::{Tenure, Terms};
use crate::lease::test_support::{at, row, worker};
use crate::lease::{Lease, LeaseCounter, WorkerId};

/// The failover time. A worker whose clock runs at the faster extreme sees it pass in two ticks.
pub(super) const D: Duration = Duration::from_secs(8);
/// The clocks run 2 and 4 seconds a tick, a third off 3: the bound, rounded up so that a belief is over within its tick.
const RHO_PPM: u32 = 340_000;

/// The rules that are judged when something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    Conditional,
    CounterByOne,
    TimeAdopted,
    Unobserved,
    CallWithoutBelief,
    NotHandedOver,
    Backwards,
    NotTheOwner,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) bounds: Bounds,
    pub(super) variant: Option<Variant>,
    pub(super) now: Instant,
    pub(super) ids: Vec<WorkerId>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub(super) row: Lease,
    pub(super) workers: Vec<Worker>,
    /// Requests that nobody waits for any more; sorted.
    pub(super) late: Vec<Late>,
    pub(super) crashes: u8,
    pub(super) doubles: u8,
    pub(super) releases: u8,
    pub(super) asks: u8,
    pub(super) stops: u8,
    pub(super) ticks: u8,
    /// A mark was taken back by the one who had set it.
    pub(super) taken_back: bool,
    /// A lease was taken sooner than reading alone would have allowed.
    pub(super) by_stamp: bool,
    broken: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Worker {
    pub(super) up: bool,
    pub(super) held: Option<Held>,
    pub(super) taking: Option<Taking>,
    pub(super) releasing: Option<Releasing>,
    /// The one call of a take, a write or an ask that is under way.
    pub(super) call: Option<Call>,
    pub(super) seen: Observations,
    /// What `seen` should say: the counter, and since when it was seen to stand still.
    pub(super) watched: Option<(LeaseCounter, Instant)>,
    pub(super) left_behind: BTreeSet<LeaseCounter>,
    pub(super) asked: bool,
    /// It takes back what it asked for, and then it is gone.
    pub(super) stopping: bool,
    /// Which process of its name it is, from 0.
    pub(super) life: u8,
    /// For one variant: when the read that is under way was sent.
    pub(super) reading_since: Option<Instant>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Held {
    pub(super) tenure: Tenure,
    pub(super) positions: Positions,
    /// How far records were handed over, as the model saw it.
    pub(super) delivered: Checkpoint,
    /// When the last write that definitely succeeded was sent.
    pub(super) definite: Option<Instant>,
    /// The take must be confirmed first; at which counter it was made.
    pub(super) confirming: Option<LeaseCounter>,
    /// For one variant: the first attempt at this counter.
    pub(super) first_attempt: Option<(LeaseCounter, Instant)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Taking {
    pub(super) counter: LeaseCounter,
    pub(super) why: Why,
    pub(super) in_doubt: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Time passes on all clocks.
    Tick,
    /// A listing, and what it leads to.
    Scan(usize),
    /// For one variant: the listing is asked for, and answered later.
    AskForScan(usize),
    TakeAgain(usize),
    AbandonTake(usize),
    Renew(usize),
    HandOver(usize),
    /// Up to this record.
    Checkpoint(usize, u64),
    Expire(usize),
    GiveUpLease(usize),
    ReleaseAgain(usize),
    AbandonRelease(usize),
    Ask(usize),
    /// The worker stops, and takes back what it asked for and has not got.
    GiveUpClaim(usize),
    /// It is gone, whatever became of that.
    Stop(usize),
    /// The request reaches the store; its answer is on its way.
    Deliver(usize),
    /// It reaches the store twice, and the second answer comes.
    DeliverTwice(usize),
    /// It definitely does not reach the store.
    Fail(usize),
    Hear(usize),
    /// No answer in time: in doubt.
    TimeOut(usize),
    DeliverRelease(usize),
    HearRelease(usize),
    TimeOutRelease(usize),
    /// A request arrives that nobody waits for.
    DeliverLate(usize),
    Crash(usize),
    Start(usize),
}

impl State {
    pub(super) fn broke(&self, rule: Rule) -> bool {
        self.broken & 1 << rule as u16 != 0
    }

    pub(super) fn judge(&mut self, kept: bool, rule: Rule) {
        if !kept {
            self.broken |= 1 << rule as u16;
        }
    }
}

impl World {
    pub(super) fn new(bounds: Bounds, variant: Option<Variant>) -> Self {
        let ids = ["ann", "bob", "cyd"].iter().take(bounds.clocks.len()).map(|name| worker(name)).collect();
        // Far from where a monotonic clock may begin.
        let now = crate::lease::test_support::now() + Duration::from_hours(1);
        Self { bounds, variant, now, ids }
    }

    pub(super) fn is(&self, variant: Variant) -> bool {
        self.variant == Some(variant)
    }

    pub(super) fn terms(&self) -> Terms {
        let clock_error_ppm = if self.is(Variant::NoMarginForClocks) { 0 } else { RHO_PPM };
        Terms { failover_time: D, renewal_interval: D / 8, clock_error_ppm }
    }

    pub(super) fn first(&self) -> State {
        let fresh = self.process(0);
        State {
            row: row(1, "", 0),
            workers: vec![fresh; self.ids.len()],
            late: Vec::new(),
            crashes: 0,
            doubles: 0,
            releases: 0,
            asks: 0,
            stops: 0,
            ticks: 0,
            taken_back: false,
            by_stamp: false,
            broken: 0,
        }
    }

    pub(super) fn has_stamps(&self) -> bool {
        self.bounds.stamps.contains(&true)
    }

    /// A worker that has seen nothing yet.
    pub(super) fn process(&self, life: u8) -> Worker {
        let seen = match self.variant {
            Some(Variant::StampsAreExact) => Observations::with_clock_error(0),
            _ if self.has_stamps() => Observations::with_clock_error(RHO_PPM),
            _ => Observations::default(),
        };
        Worker { up: true, seen, life, ..Worker::default() }
    }

    pub(super) fn me(&self, index: usize) -> &WorkerId {
        &self.ids[index]
    }

    fn valid(&self, one: &Worker) -> bool {
        one.held.as_ref().is_some_and(|held| held.tenure.is_valid(self.now))
    }

    pub(super) fn believers(&self, state: &State) -> impl Iterator<Item = usize> {
        let valid = |index: &usize| self.valid(&state.workers[*index]);
        (0..state.workers.len()).filter(valid).collect::<Vec<_>>().into_iter()
    }

    pub(super) fn believers_own(&self, state: &State) -> bool {
        self.believers(state).all(|index| state.row.actual_owner() == Some(self.me(index)))
    }

    pub(super) fn belief_is_earned(&self, state: &State) -> bool {
        let belief = Terms { clock_error_ppm: RHO_PPM, ..self.terms() }.belief();
        self.believers(state).all(|index| {
            let definite = state.workers[index].held.as_ref().and_then(|held| held.definite);
            definite.is_some_and(|sent_at| self.now - sent_at < belief)
        })
    }

    pub(super) fn moved(&self, state: &State) -> bool {
        state.row.owner_switches_since_checkpoint > 0 && self.believers(state).count() > 0
    }

    pub(super) fn resumed(&self, state: &State) -> bool {
        self.moved(state) && state.row.checkpoint != row(1, "", 0).checkpoint
    }

    pub(super) fn adopted(state: &State) -> bool {
        state.workers.iter().filter_map(|one| one.held.as_ref()).any(|held| held.tenure.needs_confirming())
    }

    pub(super) fn asked_for(&self, state: &State) -> bool {
        let asked = |held: &Held| held.tenure.asked_by().is_some() && held.tenure.is_valid(self.now);
        state.workers.iter().filter_map(|one| one.held.as_ref()).any(asked)
    }

    pub(super) fn choices(&self, state: &State, actions: &mut Vec<Action>) {
        if self.bounds.ticks.is_none_or(|ticks| state.ticks < ticks) {
            actions.push(Action::Tick);
        }
        for index in 0..state.workers.len() {
            let one = &state.workers[index];
            if !one.up {
                actions.push(Action::Start(index));
                continue;
            }
            self.choices_of(state, index, one, actions);
            if state.crashes < self.bounds.crashes {
                actions.push(Action::Crash(index));
            }
        }
        for index in 0..state.late.len() {
            if state.late[index].applies(&state.row) {
                actions.push(Action::DeliverLate(index));
            }
        }
    }

    fn choices_of(&self, state: &State, index: usize, one: &Worker, actions: &mut Vec<Action>) {
        let may_write = state.row.counter.get() < self.bounds.counter;
        if let Some(releasing) = &one.releasing {
            match &releasing.flow {
                Flow::Request => {
                    actions.extend([Action::DeliverRelease(index), Action::TimeOutRelease(index)]);
                }
                Flow::Answer(_) => {
                    actions.extend([Action::HearRelease(index), Action::TimeOutRelease(index)]);
                }
                Flow::Nothing => actions.extend([Action::ReleaseAgain(index), Action::AbandonRelease(index)]),
            }
        }
        match (&one.call, &one.held, &one.taking) {
            (Some(call), _, _) => {
                if call.answer.is_some() {
                    actions.push(Action::Hear(index));
                } else {
                    actions.push(Action::Deliver(index));
                }
                if self.bounds.losses {
                    actions.push(Action::TimeOut(index));
                }
                if self.bounds.losses && call.answer.is_none() {
                    actions.push(Action::Fail(index));
                }
                if call.answer.is_none() && state.doubles < self.bounds.doubles {
                    actions.push(Action::DeliverTwice(index));
                }
            }
            (None, Some(held), _) => self.choices_of_holder(state, index, held, actions),
            (None, None, Some(_)) => actions.extend([Action::TakeAgain(index), Action::AbandonTake(index)]),
            (None, None, None) if one.stopping => {
                actions.push(Action::Stop(index));
                if state.row.owner.as_ref() == Some(self.me(index)) && may_write {
                    actions.push(Action::GiveUpClaim(index));
                }
            }
            (None, None, None) => {
                let waits = one.asked && state.row.owner.as_ref() == Some(self.me(index));
                if state.stops < self.bounds.stops && waits && may_write {
                    actions.push(Action::GiveUpClaim(index));
                }
                if self.is(Variant::WatchesFromTheRequest) && one.reading_since.is_none() {
                    actions.push(Action::AskForScan(index));
                } else if may_write || one.left_behind.is_empty() {
                    actions.push(Action::Scan(index));
                }
                let owned = state.row.owner.as_ref().is_some_and(|owner| owner != self.me(index));
                if state.asks < self.bounds.asks && owned && !one.asked && may_write {
                    actions.push(Action::Ask(index));
                }
            }
        }
    }

    fn choices_of_holder(&self, state: &State, index: usize, held: &Held, actions: &mut Vec<Action>) {
        let expired = held.tenure.expires_at().is_some_and(|until| until <= self.now);
        let may_write = held.tenure.row().counter.get() < self.bounds.counter;
        let may_release = state.releases < self.bounds.releases && held.confirming.is_none();
        if may_release && may_write && state.workers[index].releasing.is_none() {
            actions.push(Action::GiveUpLease(index));
        }
        if expired {
            actions.push(Action::Expire(index));
        }
        if held.confirming.is_some() {
            actions.push(Action::AbandonTake(index));
        }
        if may_write && !expired {
            actions.push(Action::Renew(index));
        }
        if held.confirming.is_some() || expired && !self.is(Variant::CallsWithoutBelief) {
            return;
        }
        let next = self.position_after(held.delivered);
        if next <= self.bounds.records
            && (held.tenure.is_valid(self.now) || self.is(Variant::CallsWithoutBelief))
        {
            actions.push(Action::HandOver(index));
        }
        if may_write && !expired {
            let last = if self.is(Variant::CheckpointsBeforeHandOver) { next } else { next - 1 };
            actions.extend((1..=last).map(|record| Action::Checkpoint(index, record)));
        }
    }

    /// The number of the record after this checkpoint.
    pub(super) fn position_after(&self, checkpoint: Checkpoint) -> u64 {
        (1..=self.bounds.records).find(|record| at(*record) > checkpoint).unwrap_or(self.bounds.records + 1)
    }
}
