//! What may happen next.

use kinesis_shard::Checkpoint;

use super::stream::{
    Action, Ending, RESHARDS, SHARDS, Shown, State, Stream, Sync, Whose, children_of, has, parents_of,
};
use super::variants::Variant;
use crate::shard_consumer::Step;

impl Stream {
    pub(super) fn choices(&self, state: &State, actions: &mut Vec<Action>) {
        self.choices_of_the_service(state, actions);
        for index in 0..SHARDS {
            self.choices_of_a_reader(state, index, actions);
        }
        for (index, worker) in state.workers.iter().enumerate() {
            if worker.sync.is_some() {
                self.choices_of_a_sync(state, Whose::Worker(index), actions);
            } else if state.syncs < self.bounds.syncs && self.may_begin(state, index) {
                actions.push(Action::Begin(index));
            }
        }
        actions.extend((0..state.late.len()).map(Action::LandLate));
    }

    /// Workers that have seen nothing of a missing shard are alike: the first that is free begins.
    fn may_begin(&self, state: &State, index: usize) -> bool {
        let earlier = state.workers.iter().take(index);
        self.bounds.trims > 0 || earlier.into_iter().all(|worker| worker.sync.is_some())
    }

    fn choices_of_the_service(&self, state: &State, actions: &mut Vec<Action>) {
        let may = |one: &usize| {
            let possible = has(self.bounds.reshards, *one) && !has(state.done, *one);
            possible && (*one == 0 || has(state.done, 0))
        };
        actions.extend((0..RESHARDS.len()).filter(may).map(Action::Reshard));
        if state.before != state.done {
            actions.push(Action::ListingsCatchUp);
        }
        if state.trimmed.count_ones() < u32::from(self.bounds.trims) && state.before == state.done {
            let old = |index: &usize| {
                !children_of(state.done, *index).is_empty()
                    && !has(state.trimmed, *index)
                    && parents_of(*index).iter().all(|parent| has(state.trimmed, *parent))
            };
            actions.extend((0..SHARDS).filter(old).map(Action::Trim));
        }
    }

    fn shown(&self, state: &State) -> Vec<Shown> {
        if state.before == state.done || !self.bounds.lags {
            return vec![Shown::Now];
        }
        vec![Shown::Now, Shown::Before, Shown::NoChildren, Shown::ParentsOpen]
    }

    fn choices_of_a_reader(&self, state: &State, index: usize, actions: &mut Vec<Action>) {
        let Some(reader) = &state.readers[index] else {
            if state.rows[index].as_ref().is_some_and(|row| !row.is_finished()) {
                actions.push(Action::Take(index));
            }
            return;
        };
        if state.crashes < self.bounds.crashes {
            actions.push(Action::Lose(index));
        }
        let whose = Whose::Reader(index);
        match &reader.ending {
            Some(Ending::Syncing { sync, .. }) if !sync.is_over() => {
                return self.choices_of_a_sync(state, whose, actions);
            }
            Some(Ending::Creating(_))
                if state.crashes < self.bounds.crashes && state.lates < self.bounds.late =>
            {
                actions.push(Action::LoseLate(index));
            }
            _ => {}
        }
        let stored =
            state.rows[index].as_ref().is_some_and(|row| matches!(row.checkpoint, Checkpoint::At(_)));
        if reader.past_record && !stored && reader.events.len() < 3 {
            actions.push(Action::Checkpoint(index));
        }
        match reader.consumer(self.now).next(self.now) {
            Step::TakeBatch if !reader.past_record && !has(state.trimmed, index) => {
                actions.push(Action::Next(index));
            }
            Step::TakeBatch => {
                let ended = !children_of(state.done, index).is_empty() || self.is(Variant::StopsAtErrors);
                if ended {
                    let shown = self.shown(state).into_iter();
                    actions.extend(shown.map(|shown| Action::Confirm(index, shown)));
                }
            }
            _ => actions.push(Action::Next(index)),
        }
    }

    fn choices_of_a_sync(&self, state: &State, whose: Whose, actions: &mut Vec<Action>) {
        match state.sync_of(whose) {
            Some(Sync::Read(_)) => {
                actions.extend(self.shown(state).into_iter().map(|shown| Action::List(whose, shown)));
            }
            Some(Sync::Write { creations, .. }) if !creations.is_empty() => {
                actions.extend((0..creations.len()).map(|one| Action::Create(whose, one)));
                if let Whose::Worker(worker) = whose
                    && state.lates < self.bounds.late
                {
                    actions.extend((0..creations.len()).map(|one| Action::DropLate(worker, one)));
                }
            }
            Some(Sync::Write { .. }) => actions.push(Action::Delete(whose)),
            None => {}
        }
    }
}
