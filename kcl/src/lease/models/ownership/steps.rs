//! What each step makes of the state: the thin code around the pure one, as `keeper`, `keeper/jobs` and `held` do it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kinesis_shard::Checkpoint;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::network::{Call, Flow, Releasing, What};
use super::variants::Variant;
use super::world::{Action, D, Held, Rule, State, Taking, Worker, World};
use crate::checkpoint::{Admitted, Asked, Positions};
use crate::lease::assign::{self, Move, Observations, Situation, Why};
use crate::lease::tenure::{Answer, Next, Purpose, Tenure};
use crate::lease::test_support::{aged, at, key};
use crate::lease::{CheckpointUpdate, Lease, Operation, WorkerId};

impl World {
    pub(super) fn step(&self, state: &mut State, action: Action) {
        match action {
            Action::Tick => self.tick(state),
            Action::Scan(index) => self.scan(state, index),
            Action::AskForScan(index) => state.workers[index].reading_since = Some(self.now),
            Action::TakeAgain(index) => self.send_take(state, index),
            Action::AbandonTake(index) => Self::abandon_take(&mut state.workers[index]),
            Action::Renew(index) => self.write(state, index, &Purpose::Renew),
            Action::HandOver(index) => self.hand_over(state, index),
            Action::Checkpoint(index, record) => self.checkpoint(state, index, record),
            Action::Expire(index) => self.expire(&mut state.workers[index]),
            Action::GiveUpLease(index) => self.give_up_lease(state, index),
            Action::Crash(index) => self.crash(state, index),
            Action::Start(index) => {
                let mine = state.row.actual_owner() == Some(self.me(index));
                let left_behind = mine.then_some(state.row.counter).into_iter().collect();
                let life = state.workers[index].life;
                state.workers[index] = Worker { left_behind, ..self.process(life) };
            }
            Action::Stop(index) => self.gone(state, index),
            other => self.step_network(state, other),
        }
    }

    fn tick(&self, state: &mut State) {
        let oldest = self.now.checked_sub(D).expect("now is an hour late");
        state.ticks += u8::from(self.bounds.ticks.is_some());
        self.age_stamps(state);
        for (one, seconds) in state.workers.iter_mut().zip(self.bounds.clocks) {
            let time = Duration::from_secs(*seconds);
            one.seen.age(time, oldest);
            if self.has_stamps() {
                one.seen.age_stamps(time, |process, micros| self.older(process, micros));
            }
            let older = |at: &mut Instant| *at = aged(*at, time, oldest);
            one.watched.iter_mut().for_each(|(_, since)| older(since));
            one.reading_since.iter_mut().for_each(older);
            one.call.iter_mut().for_each(|call| older(&mut call.sent_at));
            if let Some(held) = &mut one.held {
                held.tenure.age(time, oldest);
                held.definite.iter_mut().for_each(older);
                held.first_attempt.iter_mut().for_each(|(_, at)| older(at));
            }
        }
    }

    fn scan(&self, state: &mut State, index: usize) {
        let me = self.me(index).clone();
        let mut rows = [state.row.clone()];
        if let (Some(Variant::StampsOutliveTheirWrites), Some(stamp)) = (self.variant, &mut rows[0].stamp) {
            stamp.counter = rows[0].counter;
        }
        let one = &mut state.workers[index];
        let asked_at = one.reading_since.take();
        let answered_at = if self.is(Variant::WatchesFromTheRequest) { asked_at } else { None };
        one.seen.record(&rows, D, answered_at.unwrap_or(self.now));
        if one.watched.is_none_or(|(counter, _)| counter != rows[0].counter) {
            one.watched = Some((rows[0].counter, self.now));
        }
        let names_me = rows[0].owner.as_ref() == Some(&me);
        one.asked = names_me && (one.asked || rows[0].checkpoint_owner.is_some());
        let failover_time = if self.is(Variant::WatchesTooShort) { D / 2 } else { D };
        let situation = Situation {
            worker: &me,
            held: &BTreeSet::new(),
            left_behind: &BTreeMap::from([(key(1), one.left_behind.clone())]),
            asked: &one.asked.then(|| key(1)).into_iter().collect(),
            seen: &one.seen,
            bounds: assign::Bounds { failover_time, max_leases: 1, max_leases_to_steal: 1 },
            now: self.now,
        };
        let moves = assign::plan(&rows, &situation, &mut SmallRng::seed_from_u64(1));
        let Some(Move::Take { counter, why, .. }) = moves.into_iter().next() else { return };
        if counter.get() >= self.bounds.counter {
            return;
        }
        let stood_still = one.watched.map_or(Duration::ZERO, |(_, since)| self.now - since);
        one.taking = Some(Taking { counter, why, in_doubt: false });
        let expired = matches!(why, Why::Expired | Why::OwnExpired);
        // A stamp may say that the counter was written before it was seen; some of the time it must have been seen.
        let least = if self.has_stamps() { D / 5 } else { D };
        state.by_stamp |= expired && stood_still < D;
        state.judge(!expired || stood_still >= least, Rule::Unobserved);
        self.send_take(state, index);
    }

    fn send_take(&self, state: &mut State, index: usize) {
        let one = &mut state.workers[index];
        let Some(taking) = &one.taking else { return };
        let operation = Operation::Take { expected: taking.counter, worker: self.me(index).clone() };
        let stamp = self.stamp(index, one.life, &operation);
        one.call = Some(Call { operation, stamp, sent_at: self.now, what: What::Take, answer: None });
    }

    /// As `Keeper::took` without a tenure.
    fn abandon_take(one: &mut Worker) {
        let confirming = one.held.take().and_then(|held| held.confirming);
        let counter = one.taking.take().map(|taking| taking.counter).or(confirming);
        one.left_behind = counter.into_iter().flat_map(|counter| [counter, counter.next()]).collect();
    }

    pub(super) fn took(&self, state: &mut State, index: usize, answer: Answer, sent_at: Instant) {
        let me = self.me(index).clone();
        let one = &mut state.workers[index];
        let Some(taking) = one.taking.take() else { return };
        let Taking { counter, why, in_doubt } = taking;
        let stamp = if self.is(Variant::CountsFromTheResponse) { self.now } else { sent_at };
        let ours = |row: &Lease| {
            row.owner.as_ref() == Some(&me) && row.checkpoint_owner.is_none() && row.counter == counter.next()
        };
        let (tenure, definite) = match answer {
            Answer::Applied(row) if why.must_be_confirmed() && !self.is(Variant::TrustsItsOwnName) => {
                (Tenure::unconfirmed(me, self.terms(), row, sent_at), None)
            }
            Answer::Applied(row) => (Tenure::taken(me, self.terms(), row, stamp), Some(sent_at)),
            Answer::Refused(Some(row)) if in_doubt && ours(&row) => match self.variant {
                Some(Variant::AdoptsTheTime | Variant::LatestAttemptCounts) => {
                    (Tenure::taken(me, self.terms(), row, stamp), None)
                }
                _ => (Tenure::unconfirmed(me, self.terms(), row, sent_at), None),
            },
            Answer::InDoubt if self.is(Variant::DoubtIsSuccess) => {
                let mut row = state.row.clone();
                (row.owner, row.counter) = (Some(me.clone()), counter.next());
                (Tenure::taken(me, self.terms(), row, sent_at), None)
            }
            Answer::InDoubt => {
                one.taking = Some(Taking { in_doubt: true, ..taking });
                return;
            }
            Answer::Failed => {
                one.taking = Some(taking);
                return;
            }
            Answer::Refused(_) => {
                one.taking = Some(taking);
                return Self::abandon_take(one);
            }
        };
        one.asked = false;
        let confirming = tenure.needs_confirming().then_some(counter);
        if confirming.is_none() {
            one.left_behind.clear();
        }
        let valid = tenure.is_valid(self.now);
        let start = tenure.row().checkpoint;
        let positions = Positions::new(start);
        one.held =
            Some(Held { tenure, positions, delivered: start, definite, confirming, first_attempt: None });
        state.judge(definite.is_some() || !valid, Rule::TimeAdopted);
    }

    fn write(&self, state: &mut State, index: usize, purpose: &Purpose) {
        let one = &mut state.workers[index];
        let Some(held) = &mut one.held else { return };
        let Ok(operation) = held.tenure.write(purpose, self.now) else { return };
        if self.is(Variant::FirstAttemptCounts) {
            let counter = held.tenure.row().counter;
            held.first_attempt =
                held.first_attempt.filter(|(at, _)| *at == counter).or(Some((counter, self.now)));
        }
        let stamp = self.stamp(index, one.life, &operation);
        one.call = Some(Call { operation, stamp, sent_at: self.now, what: What::Write, answer: None });
    }

    fn hand_over(&self, state: &mut State, index: usize) {
        let owns = state.row.actual_owner() == Some(self.me(index));
        let Some(held) = &mut state.workers[index].held else { return };
        let next = at(self.position_after(held.delivered));
        let Checkpoint::At(position) = next else { return };
        held.positions.hand_over(position, position);
        held.positions.call_returned(true);
        held.delivered = next;
        state.judge(owns, Rule::CallWithoutBelief);
    }

    /// The application asks for a checkpoint at this record.
    fn checkpoint(&self, state: &mut State, index: usize, record: u64) {
        let Checkpoint::At(position) = at(record) else { return };
        let Some(held) = &mut state.workers[index].held else { return };
        let admitted = held.positions.admit(Asked::At(position));
        let to = match admitted {
            Ok(Admitted::Write(to)) => to,
            _ if self.is(Variant::CheckpointsBeforeHandOver) => at(record),
            _ => return,
        };
        let to = if self.is(Variant::ForgetsTheFloor) { at(record) } else { to };
        held.positions.attempted(to);
        let handed_over = to <= held.delivered;
        if self.is(Variant::ForgetsTheFloor) {
            let row = held.tenure.row().clone();
            let expected = row.counter;
            let update = CheckpointUpdate { checkpoint: to, pending: None };
            let operation = Operation::Checkpoint { expected, update };
            let call = Call { operation, stamp: None, sent_at: self.now, what: What::Write, answer: None };
            state.workers[index].call = Some(call);
        } else {
            self.write(state, index, &Purpose::Checkpoint(to));
        }
        state.judge(handed_over, Rule::NotHandedOver);
    }

    /// As `Keeper::drop_ended`.
    fn expire(&self, one: &mut Worker) {
        let Some(held) = &mut one.held else { return };
        if held.tenure.expire(self.now) {
            one.left_behind = held.tenure.left_behind().collect();
            one.held = None;
        }
    }

    /// As `HeldLease::release`: belief ends before the row is given away.
    fn give_up_lease(&self, state: &mut State, index: usize) {
        state.releases += 1;
        let one = &mut state.workers[index];
        let Some(mut held) = one.held.take() else { return };
        if self.is(Variant::ReleasesBeforeBeliefEnds) {
            one.held = Some(held.clone());
        }
        if held.tenure.expire(self.now) {
            one.left_behind = held.tenure.left_behind().collect();
        }
        held.tenure.give_up();
        let row = held.tenure.row().clone();
        one.releasing = Some(Releasing { ours: row.counter.next(), row, flow: Flow::Request });
    }

    pub(super) fn answered(&self, state: &mut State, index: usize, call: &Call, answer: Answer) {
        let me = self.me(index).clone();
        let one = &mut state.workers[index];
        let Some(held) = &mut one.held else { return };
        let before = held.tenure.expires_at();
        let definite = matches!(answer, Answer::Applied(_));
        let (answer, stamp) = self.laxer_answer(held, &me, call, answer);
        let next = held.tenure.answered(&call.operation, stamp, answer);
        if self.is(Variant::DeafToMarks) {
            held.tenure.forget_deadline();
        }
        if definite {
            held.definite = held.definite.max(Some(call.sent_at));
        }
        let prolonged = held.tenure.expires_at() > before;
        if let (Operation::Checkpoint { update, .. }, Next::Done) = (&call.operation, next) {
            held.positions.stored(update.checkpoint);
        }
        if held.confirming.is_some() && next == Next::Done && !held.tenure.needs_confirming() {
            held.confirming = None;
            one.left_behind.clear();
        }
        if next == Next::Over {
            if held.confirming.is_some() { Self::abandon_take(one) } else { one.held = None }
        }
        state.judge(definite || !prolonged, Rule::TimeAdopted);
    }

    fn laxer_answer(&self, held: &Held, me: &WorkerId, call: &Call, answer: Answer) -> (Answer, Instant) {
        let known = held.tenure.row();
        let landed = |row: &Lease| row.actual_owner() == Some(me) && row.counter == known.counter.next();
        match (self.variant, answer) {
            (Some(Variant::CountsFromTheResponse), answer) => (answer, self.now),
            (Some(Variant::LatestAttemptCounts), Answer::Refused(Some(row))) if landed(&row) => {
                (Answer::Applied(row), call.sent_at)
            }
            (Some(Variant::AdoptsTheTime), Answer::Refused(Some(row))) if landed(&row) => {
                (Answer::Applied(row), self.now)
            }
            (Some(Variant::FirstAttemptCounts), Answer::Refused(Some(row))) if landed(&row) => {
                (Answer::Applied(row), held.first_attempt.map_or(call.sent_at, |(_, at)| at))
            }
            (Some(Variant::DoubtIsSuccess), Answer::InDoubt) => {
                let row = Lease { counter: known.counter.next(), ..known.clone() };
                (Answer::Applied(row), call.sent_at)
            }
            (_, answer) => (answer, call.sent_at),
        }
    }

    fn crash(&self, state: &mut State, index: usize) {
        state.crashes += 1;
        self.gone(state, index);
    }

    /// The process is gone; what it sent is not.
    fn gone(&self, state: &mut State, index: usize) {
        self.leave_requests(state, index);
        // Only the stamps of another process of the same name are another clock's.
        let life = state.workers[index].life + u8::from(self.has_stamps());
        state.workers[index] = Worker { life, ..Worker::default() };
    }

    /// Forgets what makes no difference any more.
    pub(super) fn tidy(&self, state: &mut State) {
        let counter = state.row.counter;
        state.row.owner_switches_since_checkpoint = state.row.owner_switches_since_checkpoint.min(1);
        state.late.retain(|late| late.may_apply(&state.row, self.bounds.asks > 0));
        for one in &mut state.workers {
            one.left_behind.retain(|left| *left >= counter);
            if self.bounds.asks == 0 {
                one.seen.forget_marks();
                if !self.has_stamps() && one.watched.is_some_and(|(watched, _)| watched != counter) {
                    (one.seen, one.watched) = (Observations::default(), None);
                }
            }
        }
    }
}
