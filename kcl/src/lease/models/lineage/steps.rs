//! What each step makes of the state: the thin code around the pure one, as `held`, `shard_sync` and `shard_task` do it.

use kinesis_shard::{Checkpoint, ShardId};

use super::stream::{
    Action, Ending, Event, Reader, Rule, Shown, State, Stream, Sync, Whose, children_of, has, index_of,
    parents_of,
};
use super::variants::Variant;
use crate::checkpoint::{Admitted, Asked, Positions};
use crate::fetch::{ChildShard, Confirmation, Doubt, Listing, Verdict as Listed};
use crate::lease::rules::{self, Verdict};
use crate::lease::sync;
use crate::lease::test_support::{key, worker};
use crate::lease::{CheckpointUpdate, Lease, MetaUpdate, NewLease, Operation};
use crate::shard_consumer::Step;

impl Stream {
    pub(super) fn step(&self, state: &mut State, action: Action) {
        match action {
            Action::Reshard(one) => {
                state.before = state.done;
                state.done |= 1 << one;
            }
            Action::ListingsCatchUp => state.before = state.done,
            Action::Trim(index) => state.trimmed |= 1 << index,
            Action::Take(index) => Self::take(state, index),
            Action::Lose(index) => {
                state.crashes += 1;
                state.readers[index] = None;
            }
            Action::LoseLate(index) => {
                state.crashes += 1;
                state.lates += 1;
                if let Some(Ending::Creating(left)) =
                    state.readers[index].take().and_then(|reader| reader.ending)
                {
                    state.late.extend(left.into_iter().next());
                }
            }
            Action::Next(index) => self.next(state, index),
            Action::Confirm(index, shown) => self.confirm(state, index, shown),
            Action::Checkpoint(index) => {
                Self::write(state, index, Self::record());
            }
            Action::Begin(index) => {
                state.syncs += 1;
                state.workers[index].sync = Some(Sync::Read(state.leases()));
            }
            Action::List(whose, shown) => self.list(state, whose, shown),
            Action::Create(whose, one) => {
                let Some(Sync::Write { mut creations, deletions, listed, passed }) =
                    state.sync_of(whose).cloned()
                else {
                    return;
                };
                let new = creations.remove(one);
                self.create(state, new);
                state.set_sync(whose, Sync::Write { creations, deletions, listed, passed });
            }
            Action::Delete(whose) => Self::delete(state, whose),
            Action::DropLate(index, one) => {
                state.lates += 1;
                if let Some(Sync::Write { mut creations, .. }) = state.workers[index].sync.take() {
                    state.late.push(creations.remove(one));
                }
            }
            Action::LandLate(one) => {
                let new = state.late.remove(one);
                self.create(state, new);
            }
        }
    }

    /// The store judges an operation on this row. Whether it applied.
    fn apply(state: &mut State, index: usize, operation: &Operation) -> bool {
        match rules::apply(state.rows[index].as_ref(), operation) {
            Verdict::Becomes(mut row) => {
                row.owner_switches_since_checkpoint = 0;
                state.rows[index] = Some(row);
                true
            }
            Verdict::Deleted => {
                state.rows[index] = None;
                true
            }
            Verdict::Refused => false,
        }
    }

    fn take(state: &mut State, index: usize) {
        let Some(row) = state.rows[index].clone() else { return };
        Self::apply(state, index, &Operation::Take { expected: row.counter, worker: worker("ann") });
        state.readers[index] = Some(Reader {
            counter: row.counter.next(),
            events: Vec::new(),
            past_record: matches!(row.checkpoint, Checkpoint::At(_)),
            missing: 0,
            children: Vec::new(),
            ending: None,
        });
    }

    fn create(&self, state: &mut State, new: NewLease) {
        let index = index_of(&new.key.shard_id());
        if self.is(Variant::CreatesOverRows)
            && let Some(row) = state.rows[index].take()
        {
            state.judge(row.checkpoint <= new.checkpoint, Rule::Backwards);
        }
        let first_record = index < 2 || new.checkpoint == Checkpoint::TrimHorizon;
        if Self::apply(state, index, &Operation::Create(new)) {
            state.known |= 1 << index;
            state.judge(first_record, Rule::FirstRecord);
        }
    }

    /// Writes a checkpoint; a reader whose write is refused is over.
    fn write(state: &mut State, index: usize, to: Checkpoint) {
        let Some(reader) = &mut state.readers[index] else { return };
        let update = CheckpointUpdate { checkpoint: to, pending: None };
        let operation = Operation::Checkpoint { expected: reader.counter, update };
        reader.counter = reader.counter.next();
        if !Self::apply(state, index, &operation) {
            state.readers[index] = None;
            return;
        }
        state.started |= 1 << index;
        if to == Checkpoint::ShardEnd {
            state.readers[index] = None;
            let children = children_of(state.done, index);
            let read = has(state.delivered | state.trimmed, index);
            let known = children.iter().all(|child| has(state.known, *child));
            state.judge(!children.is_empty() && read && known, Rule::EarnedEnd);
        }
    }

    fn next(&self, state: &mut State, index: usize) {
        let Some(reader) = &mut state.readers[index] else { return };
        match reader.consumer(self.now).next(self.now) {
            Step::CheckParents => {
                let ended = |parent: &usize| state.rows[*parent].as_ref().is_none_or(Lease::is_finished);
                if parents_of(index).iter().all(ended) || self.is(Variant::ReadsChildrenFirst) {
                    // `initialize` touches nothing outside: one step with what is before it.
                    reader.events.extend([Event::ParentsEnded, Event::Initialized]);
                }
            }
            Step::TakeBatch => Self::hand_over(state, index),
            Step::CreateChildren => self.end_shard(state, index),
            Step::ShardEnded => {
                let mut positions =
                    Positions::new(if reader.past_record { Self::record() } else { Checkpoint::TrimHorizon });
                positions.at_shard_end();
                if let Ok(Admitted::Write(to)) = positions.admit(Asked::Last) {
                    Self::write(state, index, to);
                }
            }
            step => unreachable!("{step:?} is not the next step of a reader here"),
        }
    }

    fn hand_over(state: &mut State, index: usize) {
        let Some(reader) = &mut state.readers[index] else { return };
        reader.past_record = true;
        let first = parents_of(index).iter().all(|parent| {
            let ended = state.rows[*parent].as_ref().is_none_or(Lease::is_finished);
            ended && has(state.delivered | state.trimmed, *parent)
        });
        state.delivered |= 1 << index;
        state.judge(first, Rule::ParentsFirst);
    }

    fn confirm(&self, state: &mut State, index: usize, shown: Shown) {
        let listed = Self::listing(state, shown);
        let doubt = if has(state.trimmed, index) { Doubt::Missing } else { Doubt::AtEnd };
        let Some(reader) = &mut state.readers[index] else { return };
        let id = key(index as u64).shard_id();
        let mut confirmation = Confirmation::new(id.clone());
        for _ in 0..reader.missing {
            confirmation.judge(Doubt::Missing, None, Listing::Shards(Vec::new()));
        }
        let (verdict, _) = confirmation.judge(doubt, None, Listing::Shards(listed));
        let verdict = match (self.variant, verdict) {
            (Some(Variant::TrustsAnyEnd | Variant::StopsAtErrors), Listed::StillThere) => {
                Listed::Ended(Vec::new())
            }
            (_, verdict) => verdict,
        };
        match verdict {
            Listed::Ended(children) | Listed::Gone(children) => {
                reader.children = children.into_iter().map(|child| self.new_lease(child)).collect();
                if self.is(Variant::LeavesHoles) {
                    reader.children.pop();
                }
                reader.events.push(Event::End);
                if self.is(Variant::EndsBeforeChildren) {
                    reader.events.push(Event::ChildrenCreated);
                }
            }
            Listed::Undecided => reader.missing += 1,
            Listed::StillThere | Listed::StreamGone(_) => reader.missing = 0,
        }
    }

    fn new_lease(&self, child: ChildShard) -> NewLease {
        let new = NewLease::child((&child.id).into(), child.parents, child.hash_key_range);
        let checkpoint = if self.is(Variant::ChildrenAtLatest) { Checkpoint::Latest } else { new.checkpoint };
        NewLease { checkpoint, ..new }
    }

    /// One step of `HeldLease::end_shard`.
    fn end_shard(&self, state: &mut State, index: usize) {
        let Some(reader) = state.readers[index].clone() else { return };
        let has_row = |id: &ShardId| state.rows[index_of(id)].is_some();
        let ending = match reader.ending {
            None => {
                let merged = reader.children.iter().filter(|child| child.parents.len() > 1);
                let open = merged.filter(|child| !has_row(&child.key.shard_id()));
                let unknown: Vec<ShardId> = open
                    .flat_map(|child| &child.parents)
                    .filter(|parent| !has_row(parent))
                    .cloned()
                    .collect();
                if unknown.is_empty() || self.is(Variant::ForgetsTheOtherParent) {
                    Some(Ending::Creating(reader.children.clone()))
                } else {
                    Some(Ending::Syncing { unknown, sync: Sync::Read(state.leases()) })
                }
            }
            Some(Ending::Syncing { unknown, sync: Sync::Write { listed, passed, .. } }) => {
                let missing = |parent: &ShardId| {
                    listed.contains(parent) && !passed.contains(parent) && !has_row(parent)
                };
                if unknown.iter().any(missing) {
                    // A reshard is under way: again after a pause.
                    None
                } else {
                    let left = reader.children.iter().filter(|child| !passed.contains(&child.key.shard_id()));
                    Some(Ending::Creating(left.cloned().collect()))
                }
            }
            Some(Ending::Creating(left)) if !left.is_empty() => {
                let mut left = left.into_iter();
                if let Some(new) = left.next() {
                    self.create(state, new);
                }
                Some(Ending::Creating(left.collect()))
            }
            Some(Ending::Creating(_)) => return Self::note_children(state, index),
            other => other,
        };
        if let Some(reader) = &mut state.readers[index] {
            reader.ending = ending;
        }
    }

    fn note_children(state: &mut State, index: usize) {
        let Some(reader) = &mut state.readers[index] else { return };
        let names: Vec<ShardId> = reader.children.iter().map(|child| child.key.shard_id()).collect();
        reader.ending = None;
        reader.events.push(Event::ChildrenCreated);
        if names.is_empty() {
            return;
        }
        let note = MetaUpdate { children: Some(names), ..MetaUpdate::default() };
        if !Self::apply(state, index, &Operation::UpdateMeta(note)) {
            state.readers[index] = None;
        }
    }

    /// As `ShardSync::run_on`, after the table was read.
    fn list(&self, state: &mut State, whose: Whose, shown: Shown) {
        let Some(Sync::Read(leases)) = state.sync_of(whose).cloned() else { return };
        let listed = Self::listing(state, shown);
        if !sync::is_consistent(&listed) {
            // It fails, and is begun again some time.
            match whose {
                Whose::Worker(index) => state.workers[index].sync = None,
                Whose::Reader(index) => {
                    if let Some(reader) = &mut state.readers[index] {
                        reader.ending = None;
                    }
                }
            }
            return;
        }
        let worker = match whose {
            Whose::Worker(index) => index,
            Whose::Reader(index) => index % 2,
        };
        let absences = &mut state.workers[worker].absences;
        absences.age(self.now);
        absences.record(&leases, &listed, self.now);
        let mut deletions = sync::leases_to_delete(&leases, &listed, absences, self.now);
        if self.is(Variant::DeletesEarly) {
            deletions = leases
                .iter()
                .filter(|row| row.is_finished())
                .map(|row| (row.key.clone(), row.counter))
                .collect();
        }
        if self.is(Variant::GuessesGone) {
            let gone = leases.iter().filter(|row| listed.iter().all(|shard| shard.id != row.key.shard_id()));
            deletions.extend(gone.map(|row| (row.key.clone(), row.counter)));
        }
        let to = Sync::Write {
            creations: self.wanted(&listed, &leases),
            deletions,
            listed: listed.iter().map(|shard| shard.id.clone()).collect(),
            passed: sync::passed(&listed, &leases),
        };
        state.set_sync(whose, to);
    }

    fn delete(state: &mut State, whose: Whose) {
        let Some(Sync::Write { creations, mut deletions, listed, passed }) = state.sync_of(whose).cloned()
        else {
            return;
        };
        let (key, expected) = deletions.remove(0);
        let index = index_of(&key.shard_id());
        let finished = state.rows[index].as_ref().is_some_and(Lease::is_finished);
        let children = children_of(state.done, index);
        let begun = !children.is_empty() && children.iter().all(|child| has(state.started, *child));
        let gone = has(state.trimmed, index);
        if Self::apply(state, index, &Operation::Delete { expected }) {
            state.judge(gone || finished && begun, Rule::RowsLast);
        }
        state.set_sync(whose, Sync::Write { creations, deletions, listed, passed });
    }
}
