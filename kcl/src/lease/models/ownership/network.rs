//! Requests, answers, and the store that judges them.

use std::time::Instant;

use super::variants::Variant;
use super::world::{Action, Rule, State, World};
use crate::lease::rules::{self, Verdict};
use crate::lease::tenure::Answer;
use crate::lease::{Lease, LeaseCounter, Operation, Stamp};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Call {
    pub(super) operation: Operation,
    pub(super) stamp: Option<Stamp>,
    pub(super) sent_at: Instant,
    pub(super) what: What,
    /// On its way back.
    pub(super) answer: Option<Answer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum What {
    Take,
    Write,
    Ask,
    TakeBack,
}

/// As `HeldLease::give_away`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Releasing {
    pub(super) row: Lease,
    pub(super) ours: LeaseCounter,
    pub(super) flow: Flow,
}

/// What is under way.
#[expect(clippy::large_enum_variant, reason = "there are few of them, and none is moved about")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Flow {
    Nothing,
    Request,
    Answer(Answer),
}

impl Releasing {
    fn operation(&self) -> Operation {
        Operation::Release { expected: self.row.owners(), counter: self.row.counter }
    }
}

/// A request that nobody waits for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Late {
    from: usize,
    operation: Operation,
    pub(super) stamp: Option<Stamp>,
}

impl Late {
    pub(super) fn applies(&self, row: &Lease) -> bool {
        matches!(rules::apply(Some(row), &self.operation), Verdict::Becomes(_))
    }

    /// Whether it may apply some day: a counter that was passed does not come back.
    pub(super) fn may_apply(&self, row: &Lease, marks: bool) -> bool {
        match self.operation.expected_counter() {
            Some(expected) if expected == row.counter => marks || self.applies(row),
            Some(expected) => expected > row.counter,
            None => true,
        }
    }

    /// Something to sort by: the order of what is under way has no meaning.
    fn rank(&self) -> (usize, &'static str, Option<LeaseCounter>, Option<kinesis_shard::Checkpoint>, bool) {
        let (checkpoint, flag) = match &self.operation {
            Operation::Checkpoint { update, .. } => (Some(update.checkpoint), false),
            Operation::Renew { during_handoff, .. } => (None, *during_handoff),
            Operation::Release { expected, .. } => (None, expected.checkpoint_owner.is_some()),
            _ => (None, false),
        };
        (self.from, self.operation.name(), self.operation.expected_counter(), checkpoint, flag)
    }
}

impl World {
    pub(super) fn step_network(&self, state: &mut State, action: Action) {
        match action {
            Action::Deliver(index) => self.deliver(state, index),
            Action::DeliverTwice(index) => {
                state.doubles += 1;
                self.deliver(state, index);
                self.deliver(state, index);
            }
            Action::GiveUpClaim(index) => self.give_up_claim(state, index),
            Action::Fail(index) => self.hear(state, index, Some(Answer::Failed)),
            Action::Hear(index) => self.hear(state, index, None),
            Action::TimeOut(index) => {
                let call = state.workers[index].call.clone();
                if let Some(Call { operation, stamp, answer: None, .. }) = call {
                    self.leave(state, Late { from: index, operation, stamp });
                }
                self.hear(state, index, Some(Answer::InDoubt));
            }
            Action::Ask(index) => {
                state.asks += 1;
                let (Some(from), to) = (state.row.owner.clone(), self.ids[index].clone()) else { return };
                let operation = Operation::StartHandoff { from, to };
                let one = &mut state.workers[index];
                one.asked = true;
                let what = What::Ask;
                one.call = Some(Call { operation, stamp: None, sent_at: self.now, what, answer: None });
            }
            Action::DeliverLate(index) => {
                let Late { from, operation, stamp } = state.late.remove(index);
                self.land(state, from, &operation, stamp);
            }
            other => self.step_release(state, other),
        }
    }

    fn step_release(&self, state: &mut State, action: Action) {
        match action {
            Action::DeliverRelease(index) => {
                let Some(operation) = state.workers[index].releasing.as_ref().map(Releasing::operation)
                else {
                    return;
                };
                let answer = self.land(state, index, &operation, None);
                if let Some(releasing) = &mut state.workers[index].releasing {
                    releasing.flow = Flow::Answer(answer);
                }
            }
            Action::HearRelease(index) => {
                let Some(mut releasing) = state.workers[index].releasing.take() else { return };
                let flow = std::mem::replace(&mut releasing.flow, Flow::Nothing);
                let Flow::Answer(answer) = flow else { return };
                if let Answer::Refused(Some(now)) = answer
                    && now.actual_owner() == Some(&self.ids[index])
                    && now.counter <= releasing.ours
                {
                    // A late write of ours had landed, or somebody asked for the lease meanwhile.
                    state.workers[index].releasing = Some(Releasing { row: now, ..releasing });
                }
                if self.is(Variant::ReleasesBeforeBeliefEnds) {
                    state.workers[index].held = None;
                }
            }
            Action::TimeOutRelease(index) => {
                let Some(mut releasing) = state.workers[index].releasing.clone() else { return };
                if std::mem::replace(&mut releasing.flow, Flow::Nothing) == Flow::Request {
                    let operation = releasing.operation();
                    self.leave(state, Late { from: index, operation, stamp: None });
                }
                state.workers[index].releasing = Some(releasing);
            }
            Action::ReleaseAgain(index) => {
                if let Some(releasing) = &mut state.workers[index].releasing {
                    releasing.flow = Flow::Request;
                }
            }
            Action::AbandonRelease(index) => state.workers[index].releasing = None,
            other => unreachable!("{other:?} is no step of the network"),
        }
    }

    fn deliver(&self, state: &mut State, index: usize) {
        let Some(Call { operation, stamp, .. }) = state.workers[index].call.clone() else { return };
        let answer = self.land(state, index, &operation, stamp);
        if let Some(call) = &mut state.workers[index].call {
            call.answer = Some(answer);
        }
    }

    /// The answer that came, or what is made of none.
    fn hear(&self, state: &mut State, index: usize, instead: Option<Answer>) {
        let Some(call) = state.workers[index].call.take() else { return };
        let Some(answer) = instead.or_else(|| call.answer.clone()) else { return };
        match call.what {
            What::Take => self.took(state, index, answer, call.sent_at),
            What::Write => self.answered(state, index, &call, answer),
            What::Ask => state.workers[index].asked = matches!(answer, Answer::Applied(_)),
            // Refused: the row has changed, and is looked at again. In doubt or failed: the same, or it is left at that.
            What::TakeBack => {
                state.workers[index].asked = !matches!(answer, Answer::Applied(_));
                state.taken_back |=
                    matches!((&answer, &call.operation), (Answer::Applied(_), Operation::EndHandoff { .. }));
            }
        }
    }

    /// The store judges a request.
    fn land(&self, state: &mut State, from: usize, operation: &Operation, stamp: Option<Stamp>) -> Answer {
        let before = state.row.clone();
        let known = operation.expected_counter();
        let mut operation = operation.clone();
        if let (Some(Variant::ChecksNoCounter), Operation::Checkpoint { expected, .. }) =
            (self.variant, &mut operation)
        {
            *expected = before.counter;
        }
        if let (Some(Variant::TakesBackWhateverStands), Operation::EndHandoff { owner, .. }) =
            (self.variant, &operation)
        {
            let after = Lease { owner: Some(owner.clone()), checkpoint_owner: None, ..before };
            state.row = after.clone();
            return Answer::Applied(after);
        }
        // No tenure looks at stamps, so that what they say in answers makes no difference.
        let unstamped = |row: Lease| Lease { stamp: None, ..row };
        let Verdict::Becomes(after) = rules::apply(Some(&before), &operation) else {
            return Answer::Refused(Some(unstamped(before)));
        };
        let after = rules::stamped(after, stamp.as_ref());
        let (writer, owner) = (Some(&self.ids[from]), before.actual_owner());
        let marks = matches!(operation, Operation::StartHandoff { .. } | Operation::EndHandoff { .. });
        let checkpoints = matches!(operation, Operation::Checkpoint { .. });
        let next = if marks { before.counter } else { before.counter.next() };
        state.judge(known.is_none_or(|known| known == before.counter), Rule::Conditional);
        state.judge(after.counter == next, Rule::CounterByOne);
        state.judge(!checkpoints || after.checkpoint >= before.checkpoint, Rule::Backwards);
        state.judge(!checkpoints || writer == owner, Rule::NotTheOwner);
        state.row = after.clone();
        Answer::Applied(unstamped(after))
    }

    /// As `jobs::give_up_claim`: the row is looked at, and what is asked for is taken back, or freed if it was handed over.
    fn give_up_claim(&self, state: &mut State, index: usize) {
        let row = state.row.clone();
        let expected = row.owners();
        let operation = match row.checkpoint_owner {
            Some(owner) if !self.is(Variant::FreesWhatIsMarked) => Operation::EndHandoff { expected, owner },
            _ => Operation::Release { expected, counter: row.counter },
        };
        let one = &mut state.workers[index];
        state.stops += u8::from(!one.stopping);
        one.stopping = true;
        let what = What::TakeBack;
        one.call = Some(Call { operation, stamp: None, sent_at: self.now, what, answer: None });
    }

    /// What is on its way stays on its way, if there is room.
    fn leave(&self, state: &mut State, late: Late) {
        if state.late.len() < self.bounds.late && !state.late.contains(&late) {
            state.late.push(late);
            state.late.sort_by(|one, other| one.rank().cmp(&other.rank()));
        }
    }

    pub(super) fn leave_requests(&self, state: &mut State, index: usize) {
        if let Some(Call { operation, stamp, answer: None, .. }) = state.workers[index].call.clone() {
            self.leave(state, Late { from: index, operation, stamp });
        }
        if let Some(releasing) = state.workers[index].releasing.clone()
            && releasing.flow == Flow::Request
        {
            self.leave(state, Late { from: index, operation: releasing.operation(), stamp: None });
        }
    }
}
