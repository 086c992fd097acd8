//! What there is, and what may happen.
//!
//! ```text
//!   0 --split--> 2 --split--> 5, 6
//!          '---> 3 --merge--> 4
//!   1 -----------------'
//! ```

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kinesis_shard::{Checkpoint, HashKeyRange, Lineage, Shard, ShardId};

use super::Bounds;
use super::variants::Variant;
use crate::config::FailurePolicy;
use crate::lease::rules::{self, Verdict};
use crate::lease::sync::{self, Absences};
use crate::lease::test_support::{at, key, shard};
use crate::lease::{Lease, LeaseCounter, LeaseKey, NewLease, Operation};
use crate::shard_consumer::{Call, ShardConsumer, ShardConsumerSettings};

pub(super) const SHARDS: usize = 7;
/// Each reshard: the parents that it closes, and the children that it opens.
pub(super) const RESHARDS: [(&[usize], &[usize]); 3] = [(&[0], &[2, 3]), (&[3, 1], &[4]), (&[2], &[5, 6])];

/// The rules that are judged when something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    ParentsFirst,
    FirstRecord,
    EarnedEnd,
    RowsLast,
    Backwards,
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) bounds: Bounds,
    pub(super) variant: Option<Variant>,
    pub(super) now: Instant,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct State {
    /// The reshards that happened, and those that happened before the last.
    pub(super) done: u8,
    pub(super) before: u8,
    /// The shards that left the stream.
    pub(super) trimmed: u8,
    pub(super) rows: Vec<Option<Lease>>,
    pub(super) readers: Vec<Option<Reader>>,
    pub(super) workers: Vec<Worker>,
    /// Creations that nobody waits for.
    pub(super) late: Vec<NewLease>,
    pub(super) syncs: u8,
    pub(super) crashes: u8,
    pub(super) lates: u8,
    /// The shards whose record was handed over and processed, that were checkpointed, and that ever had a row.
    pub(super) delivered: u8,
    pub(super) started: u8,
    pub(super) known: u8,
    broken: u8,
}

/// One tenure of one shard.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Reader {
    pub(super) counter: LeaseCounter,
    pub(super) events: Vec<Event>,
    /// Its record was handed over, in this tenure or before.
    pub(super) past_record: bool,
    /// Listings in a row without it.
    pub(super) missing: u8,
    pub(super) children: Vec<NewLease>,
    pub(super) ending: Option<Ending>,
}

/// What a `ShardConsumer` was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Event {
    ParentsEnded,
    Initialized,
    End,
    ChildrenCreated,
}

/// As `HeldLease::end_shard`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Ending {
    /// Another parent of a child has no lease: a sync of its own, and then a look at these.
    Syncing {
        unknown: Vec<ShardId>,
        sync: Sync,
    },
    Creating(Vec<NewLease>),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Worker {
    pub(super) absences: Absences,
    pub(super) sync: Option<Sync>,
}

/// As `ShardSync::run`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Sync {
    /// The table was read.
    Read(Vec<Lease>),
    /// The shards were listed: what is left to do.
    Write {
        creations: Vec<NewLease>,
        deletions: Vec<(LeaseKey, LeaseCounter)>,
        listed: BTreeSet<ShardId>,
        passed: BTreeSet<ShardId>,
    },
}

impl Sync {
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Write { creations, deletions, .. } if creations.is_empty() && deletions.is_empty())
    }
}

/// What a listing shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    Now,
    Before,
    /// Parents closed, and no children yet.
    NoChildren,
    /// Children, and their parents open still.
    ParentsOpen,
}

/// Whose sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    Worker(usize),
    /// A reader that ends its shard.
    Reader(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Reshard(usize),
    /// Listings show the last reshard from now on.
    ListingsCatchUp,
    Trim(usize),
    Take(usize),
    Lose(usize),
    /// The same, with a creation under way.
    LoseLate(usize),
    /// What its consumer says is next, where that is one thing.
    Next(usize),
    /// It comes to the end of what there is to read, and looks at the list of shards.
    Confirm(usize, Shown),
    Checkpoint(usize),
    Begin(usize),
    List(Whose, Shown),
    /// Which of those that are left.
    Create(Whose, usize),
    Delete(Whose),
    /// A worker dies with its sync half done and this creation under way.
    DropLate(usize, usize),
    LandLate(usize),
}

impl State {
    pub(super) fn broke(&self, rule: Rule) -> bool {
        self.broken & 1 << rule as u8 != 0
    }

    pub(super) fn judge(&mut self, kept: bool, rule: Rule) {
        if !kept {
            self.broken |= 1 << rule as u8;
        }
    }

    pub(super) fn a_row_is_gone(&self) -> bool {
        (0..SHARDS).any(|index| has(self.known, index) && self.rows[index].is_none())
    }

    pub(super) fn leases(&self) -> Vec<Lease> {
        self.rows.iter().flatten().cloned().collect()
    }

    pub(super) fn sync_of(&self, whose: Whose) -> Option<&Sync> {
        match whose {
            Whose::Worker(index) => self.workers[index].sync.as_ref(),
            Whose::Reader(index) => match &self.readers[index].as_ref()?.ending {
                Some(Ending::Syncing { sync, .. }) => Some(sync),
                _ => None,
            },
        }
    }

    pub(super) fn set_sync(&mut self, whose: Whose, to: Sync) {
        match whose {
            Whose::Worker(index) => self.workers[index].sync = (!to.is_over()).then_some(to),
            Whose::Reader(index) => {
                if let Some(Ending::Syncing { sync, .. }) =
                    self.readers[index].as_mut().and_then(|reader| reader.ending.as_mut())
                {
                    *sync = to;
                }
            }
        }
    }
}

pub(super) fn has(mask: u8, index: usize) -> bool {
    mask & 1 << index != 0
}

pub(super) fn index_of(id: &ShardId) -> usize {
    usize::try_from(id.index().expect("shards have numbers")).expect("a small one")
}

pub(super) fn parents_of(index: usize) -> &'static [usize] {
    RESHARDS.iter().find(|(_, children)| children.contains(&index)).map_or(&[], |(parents, _)| *parents)
}

/// The children of a shard, given which reshards happened.
pub(super) fn children_of(done: u8, index: usize) -> &'static [usize] {
    let reshard = (0..RESHARDS.len()).find(|one| has(done, *one) && RESHARDS[*one].0.contains(&index));
    reshard.map_or(&[], |one| RESHARDS[one].1)
}

/// The shards of these reshards, closed by those, without the trimmed.
pub(super) fn shards(exists: u8, closed: u8, trimmed: u8) -> Vec<Shard> {
    let there = |index: &usize| {
        let reshard = RESHARDS.iter().position(|(_, children)| children.contains(index));
        reshard.is_none_or(|one| has(exists, one)) && !has(trimmed, *index)
    };
    let one = |index: usize| {
        let parents: Vec<u64> = parents_of(index).iter().map(|parent| *parent as u64).collect();
        let hash_key_range = HashKeyRange::even(4.try_into().unwrap())[index % 4];
        Shard { hash_key_range, ..shard(index as u64, &parents, children_of(closed, index).is_empty()) }
    };
    (0..SHARDS).filter(there).map(one).collect()
}

impl Reader {
    /// The consumer as it is, from what it was told.
    pub(super) fn consumer(&self, now: Instant) -> ShardConsumer {
        let mut consumer = ShardConsumer::new(ShardConsumerSettings {
            parent_poll_interval: Duration::from_secs(1),
            backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(1),
            failure_policy: FailurePolicy::RetryForever,
            seed: 1,
        });
        for event in &self.events {
            consumer.next(now);
            match event {
                Event::ParentsEnded => consumer.parents_checked(now, Ok(true)),
                Event::Initialized => consumer.initialized(now, Call::Done),
                Event::End => consumer.batch_taken(false, true),
                Event::ChildrenCreated => consumer.children_created(now, Ok(())),
            }
        }
        consumer
    }
}

impl Stream {
    pub(super) fn new(bounds: Bounds, variant: Option<Variant>) -> Self {
        let now = crate::lease::test_support::now() + Duration::from_hours(1);
        Self { bounds, variant, now }
    }

    pub(super) fn is(&self, variant: Variant) -> bool {
        self.variant == Some(variant)
    }

    pub(super) fn first() -> State {
        let created =
            |index: u64| NewLease { checkpoint: Checkpoint::Latest, ..NewLease::child(key(index), [], None) };
        let mut rows = vec![None; SHARDS];
        for (index, row) in (0..2).zip(&mut rows) {
            *row = Some(Lease::created(created(index)));
        }
        State {
            done: 0,
            before: 0,
            trimmed: 0,
            rows,
            readers: vec![None; SHARDS],
            workers: vec![Worker::default(); 2],
            late: Vec::new(),
            syncs: 0,
            crashes: 0,
            lates: 0,
            delivered: 0,
            started: 0,
            known: 0b11,
            broken: 0,
        }
    }

    pub(super) fn listing(state: &State, shown: Shown) -> Vec<Shard> {
        let (exists, closed) = match shown {
            Shown::Now => (state.done, state.done),
            Shown::Before => (state.before, state.before),
            Shown::NoChildren => (state.before, state.done),
            Shown::ParentsOpen => (state.done, state.before),
        };
        shards(exists, closed, state.trimmed)
    }

    pub(super) fn all_read(&self, state: &State) -> bool {
        let listed = shards(self.bounds.reshards, self.bounds.reshards, 0);
        state.done == self.bounds.reshards
            && listed.iter().all(|shard| has(state.delivered | state.trimmed, index_of(&shard.id)))
    }

    /// What was not read will be: there is an unfinished row of each such shard or of an ancestor, once the next sync has
    /// seen the stream as it is.
    pub(super) fn has_no_hole(&self, state: &State) -> bool {
        let listed = Self::listing(state, Shown::Now);
        let mut rows = state.rows.clone();
        for _ in 0..2 {
            let leases: Vec<Lease> = rows.iter().flatten().cloned().collect();
            let wanted = self.wanted(&listed, &leases);
            if wanted.is_empty() {
                break;
            }
            for new in wanted {
                let index = index_of(&new.key.shard_id());
                if let Verdict::Becomes(row) = rules::apply(rows[index].as_ref(), &Operation::Create(new)) {
                    rows[index] = Some(row);
                }
            }
        }
        let unfinished = |index: usize| rows[index].as_ref().is_some_and(|row| !row.is_finished());
        let lineage = Lineage::new(&listed);
        listed.iter().filter(|shard| !has(state.delivered, index_of(&shard.id))).all(|shard| {
            unfinished(index_of(&shard.id))
                || lineage.ancestors_of(&shard.id).into_iter().any(|id| unfinished(index_of(id)))
        })
    }

    pub(super) fn wanted(&self, listed: &[Shard], leases: &[Lease]) -> Vec<NewLease> {
        let mut wanted = sync::leases_to_create(listed, leases, Checkpoint::Latest);
        if !self.is(Variant::LeavesHoles) {
            wanted.extend(sync::holes(listed, leases));
        }
        wanted
    }

    /// The record of each shard.
    pub(super) fn record() -> Checkpoint {
        at(7)
    }
}
