//! Which leases to create for the listed shards, and which to delete.
//!
//! Pure. Creation follows the Java library's walk, so that both kinds of worker make the same rows:
//!
//! - An open shard without a lease and without an ancestor that has one starts at the initial position (`LATEST`), or its
//!   oldest ancestors that nobody tracks do (`TRIM_HORIZON`, `AT_TIMESTAMP`), one generation at a time.
//! - An open shard with a tracked ancestor gets nothing: the end of its parent creates it.
//! - The other parent of a merge, if nobody tracks it, gets a lease too; nobody would create it later.
//!
//! Two rules are stricter than Java's, and lose nothing where it does:
//!
//! - A child of a finished shard without a lease is a *hole*: its parents' ends should have created it, and will not come
//!   again. It is created at its first record, at the next sync. Rows go only when their parents' rows are gone, so a
//!   parent's row proves that the child was never there, and nothing is read twice. So is a child of a shard whose own row
//!   was deleted by hand while it was read, once another child has one: that shard will not end a second time.
//! - An open shard whose parent is not listed any more but has a lease starts at its first record, also where the initial
//!   position is `LATEST`: the application was reading what came before it.
//!
//! Deletion waits until nothing can need the row any more. It is never guessed from one listing, because listings lag.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kinesis_shard::{Checkpoint, HashKey, Lineage, Shard, ShardId};

use super::{Lease, LeaseCounter, LeaseKey, NewLease};

/// In how many listings in a row, and for how long, a shard must be missing before its lease is deleted. Listings lag by
/// seconds; a needless row costs nothing, a deleted one can make a hole.
const MISSING_LISTINGS: u32 = 3;
const MISSING_TIME: Duration = Duration::from_mins(5);

/// The leases of an application that has none yet: one for each shard that was listed for the initial position.
pub(crate) fn first_leases(shards: &[Shard], initial: Checkpoint) -> Vec<NewLease> {
    Lineage::new(shards).in_start_order().into_iter().map(|shard| new_lease(shard, initial)).collect()
}

/// Whether the shards together take every hash key. A listing with a hole was made in the middle of a change.
pub(crate) fn covers_everything(shards: &[Shard]) -> bool {
    let mut ranges: Vec<_> = shards.iter().map(|shard| shard.hash_key_range).collect();
    ranges.sort_by_key(|range| range.start());
    let mut next = Some(HashKey::MIN.get());
    for range in ranges {
        match next {
            Some(next) if range.start().get() > next => return false,
            Some(reached) => next = range.end().get().checked_add(1).map(|end| end.max(reached)),
            None => {}
        }
    }
    next.is_none()
}

/// Whether a listing can be true: no open shard follows one that is open still.
pub(crate) fn is_consistent(shards: &[Shard]) -> bool {
    let open: BTreeSet<&ShardId> =
        shards.iter().filter(|shard| shard.is_open()).map(|shard| &shard.id).collect();
    shards
        .iter()
        .filter(|shard| shard.is_open())
        .all(|shard| !shard.parents().any(|parent| open.contains(parent)))
}

/// The leases to create beside those that exist, parents before children. `initial` is a sentinel.
pub(crate) fn leases_to_create(shards: &[Shard], leases: &[Lease], initial: Checkpoint) -> Vec<NewLease> {
    let lineage = Lineage::new(shards);
    let mut walk = Walk {
        tracked: leases.iter().map(|lease| lease.key.shard_id()).collect(),
        lineage: &lineage,
        initial,
        descends: BTreeMap::new(),
        marked: BTreeSet::new(),
        created: BTreeMap::new(),
    };
    for shard in lineage.in_start_order().into_iter().filter(|shard| shard.is_open()) {
        if !walk.tracked.contains(&shard.id) && !walk.descends(&shard.id) {
            let follows = initial == Checkpoint::Latest && walk.follows_an_unlisted_lease(shard);
            walk.created.insert(shard.id.clone(), if follows { Checkpoint::TrimHorizon } else { initial });
        }
    }
    let created = &walk.created;
    let checkpoint_of = |shard: &Shard| created.get(&shard.id).map(|at| new_lease(shard, *at));
    lineage.in_start_order().into_iter().filter_map(checkpoint_of).collect()
}

struct Walk<'a> {
    tracked: BTreeSet<ShardId>,
    lineage: &'a Lineage,
    initial: Checkpoint,
    descends: BTreeMap<ShardId, bool>,
    marked: BTreeSet<ShardId>,
    created: BTreeMap<ShardId, Checkpoint>,
}

/// The shards that no worker would give a lease any more: a parent has ended, and they have none. See the module.
pub(crate) fn holes(shards: &[Shard], leases: &[Lease]) -> Vec<NewLease> {
    if kinesis_shard::planted("a hole stays a hole") {
        return Vec::new();
    }
    let lineage = Lineage::new(shards);
    let rows = Rows::new(&lineage, leases);
    // A child that has begun was created by somebody who knows better.
    let is_hole = |shard: &&Shard| {
        !rows.has(&shard.id)
            && !rows.has_descendant_with_one(&shard.id)
            && rows.before(shard) == Before::Ended
    };
    let holes = lineage.in_start_order().into_iter().filter(is_hole);
    holes.map(|shard| new_lease(shard, Checkpoint::TrimHorizon)).collect()
}

/// The listed shards without a lease that a shard with one came out of: nobody needs to read them (again).
pub(crate) fn passed(shards: &[Shard], leases: &[Lease]) -> BTreeSet<ShardId> {
    let lineage = Lineage::new(shards);
    let rows = Rows::new(&lineage, leases);
    shards.iter().map(|shard| &shard.id).filter(|id| rows.is_past(id)).cloned().collect()
}

/// What the parents' rows say about a shard that has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// A parent ended, and none that goes on can create the shard any more.
    Ended,
    /// A parent goes on, and its end will create it; or it has to get a lease itself first.
    GoesOn,
    /// Nobody tracks what came before it.
    Unknown,
}

/// The rows of the table, seen along the lineage of the listed shards.
struct Rows<'a> {
    lineage: &'a Lineage,
    by_shard: BTreeMap<ShardId, &'a Lease>,
}

impl<'a> Rows<'a> {
    fn new(lineage: &'a Lineage, leases: &'a [Lease]) -> Self {
        let by_shard = leases.iter().map(|lease| (lease.key.shard_id(), lease)).collect();
        Self { lineage, by_shard }
    }

    fn has(&self, shard: &ShardId) -> bool {
        self.by_shard.contains_key(shard)
    }

    /// The depth is that of the lineage within retention: one generation for each reshard.
    fn before(&self, shard: &Shard) -> Before {
        let mut all = Before::Unknown;
        for id in shard.parents() {
            let one = match (self.by_shard.get(id), self.lineage.get(id)) {
                (Some(row), _) if row.is_finished() => Before::Ended,
                // It was read, and will not come again to create this one: what came before it decides.
                (None, Some(parent)) if self.is_past(id) => self.before(parent),
                (Some(_), _) | (None, Some(_)) => Before::GoesOn,
                (None, None) => Before::Unknown,
            };
            match one {
                Before::GoesOn => return Before::GoesOn,
                Before::Ended => all = Before::Ended,
                Before::Unknown => {}
            }
        }
        all
    }

    /// Whether a shard without a row has one that came out of it.
    fn is_past(&self, shard: &ShardId) -> bool {
        !self.has(shard) && self.has_descendant_with_one(shard)
    }

    fn has_descendant_with_one(&self, shard: &ShardId) -> bool {
        let mut open: Vec<ShardId> = self.lineage.children_of(shard).into_iter().cloned().collect();
        let mut seen = BTreeSet::new();
        while let Some(next) = open.pop() {
            if self.has(&next) {
                return true;
            }
            if seen.insert(next.clone()) {
                open.extend(self.lineage.children_of(&next).into_iter().cloned());
            }
        }
        false
    }
}

impl Walk<'_> {
    fn follows_an_unlisted_lease(&self, shard: &Shard) -> bool {
        shard.parents().any(|parent| self.lineage.get(parent).is_none() && self.tracked.contains(parent))
    }

    /// Whether the shard has a lease, or follows one that has or will have one. Marks the oldest that have none.
    /// The depth is that of the lineage within retention: one generation for each reshard.
    fn descends(&mut self, shard: &ShardId) -> bool {
        if let Some(known) = self.descends.get(shard) {
            return *known;
        }
        let descends = self.tracked.contains(shard) || self.parents_descend(shard);
        self.descends.insert(shard.clone(), descends);
        descends
    }

    fn parents_descend(&mut self, shard: &ShardId) -> bool {
        let parents: Vec<ShardId> = self.lineage.parents_of(shard).into_iter().cloned().collect();
        let mut followed = BTreeSet::new();
        for parent in &parents {
            if self.descends(parent) || self.marked.contains(parent) {
                followed.insert(parent.clone());
            }
        }
        if followed.is_empty() {
            if self.initial != Checkpoint::Latest {
                self.marked.insert(shard.clone());
            }
            return false;
        }
        for parent in parents {
            let follows = followed.contains(&parent);
            if !self.tracked.contains(&parent) && (self.marked.contains(&parent) || !follows) {
                let from_start = follows && self.initial != Checkpoint::AtTimestamp;
                self.created.insert(parent, if from_start { Checkpoint::TrimHorizon } else { self.initial });
            }
        }
        true
    }
}

fn new_lease(shard: &Shard, checkpoint: Checkpoint) -> NewLease {
    let key = LeaseKey::from(&shard.id);
    NewLease { checkpoint, ..NewLease::child(key, shard.parents().cloned(), Some(shard.hash_key_range)) }
}

/// The leases of the listed shards that follow `parent`: for a shard whose end came without a list of children.
#[cfg(test)]
pub(crate) fn children_to_create(parent: &LeaseKey, listed: &[Shard]) -> Vec<NewLease> {
    let ended = parent.shard_id();
    let children = listed.iter().filter(|shard| shard.parents().any(|id| *id == ended));
    children
        .map(|shard| {
            let range = Some(shard.hash_key_range);
            NewLease::child(parent.sibling(&shard.id), shard.parents().cloned(), range)
        })
        .collect()
}

/// In how many complete listings in a row each leased shard was missing, and since when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(test, derive(Hash))]
pub(crate) struct Absences(BTreeMap<LeaseKey, (u32, Instant)>);

impl Absences {
    /// Takes in one complete listing, and the leases that were read before it.
    pub(crate) fn record(&mut self, leases: &[Lease], listed: &[Shard], now: Instant) {
        let ids: BTreeSet<&ShardId> = listed.iter().map(|shard| &shard.id).collect();
        // A shard younger than all listed ones may not be listed yet. An empty listing says nothing.
        let youngest = listed.iter().filter_map(|shard| shard.id.index()).max();
        let missing = |lease: &&Lease| {
            let id = lease.key.shard_id();
            !listed.is_empty() && !ids.contains(&id) && id.index() <= youngest
        };
        let counted = leases.iter().filter(missing).map(|lease| {
            let (times, since) = self.0.get(&lease.key).copied().unwrap_or((0, now));
            (lease.key.clone(), (times.saturating_add(1), since))
        });
        self.0 = counted.collect();
    }

    /// For models: as if half of the time had passed after which a shard is gone, while `now` stayed.
    #[cfg(test)]
    pub(crate) fn age(&mut self, now: Instant) {
        let oldest = now.checked_sub(MISSING_TIME).unwrap_or(now);
        for (times, since) in self.0.values_mut() {
            *times = (*times).min(MISSING_LISTINGS);
            *since = crate::lease::test_support::aged(*since, MISSING_TIME / 2, oldest);
        }
    }

    fn is_gone(&self, key: &LeaseKey, now: Instant) -> bool {
        self.0.get(key).is_some_and(|(times, since)| {
            *times >= MISSING_LISTINGS && now.saturating_duration_since(*since) >= MISSING_TIME
        })
    }
}

/// The leases that nothing needs any more, with the counter that the deletion is to expect.
///
/// A finished lease: once every child's lease exists and was checkpointed, and no parent's lease is left. Any lease: once
/// its shard is gone from the stream for certain.
pub(crate) fn leases_to_delete(
    leases: &[Lease],
    listed: &[Shard],
    absences: &Absences,
    now: Instant,
) -> Vec<(LeaseKey, LeaseCounter)> {
    let rows: BTreeMap<&LeaseKey, &Lease> = leases.iter().map(|lease| (&lease.key, lease)).collect();
    let lineage = Lineage::new(listed);
    let hasty = kinesis_shard::planted("a finished lease is deleted at once");
    let started = |key: &LeaseKey, child: &ShardId| {
        // Before its first checkpoint a child's start depends on what its parent's row says about it.
        rows.get(&key.sibling(child))
            .is_some_and(|row| matches!(row.checkpoint, Checkpoint::At(_) | Checkpoint::ShardEnd))
    };
    let done = |lease: &Lease| {
        let id = lease.key.shard_id();
        let mut children: BTreeSet<ShardId> = lease.children.iter().cloned().collect();
        children.extend(lineage.children_of(&id).into_iter().cloned());
        let parents_gone = lease.parents.iter().all(|parent| !rows.contains_key(&lease.key.sibling(parent)));
        lease.is_finished()
            && !children.is_empty()
            && (hasty || children.iter().all(|child| started(&lease.key, child)))
            && parents_gone
    };
    let needless = leases.iter().filter(|lease| done(lease) || absences.is_gone(&lease.key, now));
    needless.map(|lease| (lease.key.clone(), lease.counter)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::test_support::{at, even_shards, key, now, row, shard};

    const START: Checkpoint = Checkpoint::TrimHorizon;
    const LATEST: Checkpoint = Checkpoint::Latest;
    const TIME: Checkpoint = Checkpoint::AtTimestamp;

    fn created(shards: &[Shard], leased: &[u64], initial: Checkpoint) -> Vec<(u64, Checkpoint)> {
        let rows: Vec<_> = leased.iter().map(|index| row(*index, "", 0)).collect();
        let created = leases_to_create(shards, &rows, initial);
        created.into_iter().map(|new| (new.key.shard_id().index().unwrap(), new.checkpoint)).collect()
    }

    /// 0+1 -> 6, 2+3 -> 7, 6+7 -> 8, 5 -> 9 and 10; 4, 8, 9, 10 are open.
    fn worked_example() -> Vec<Shard> {
        vec![
            shard(0, &[], false),
            shard(1, &[], false),
            shard(2, &[], false),
            shard(3, &[], false),
            shard(4, &[], true),
            shard(5, &[], false),
            shard(6, &[0, 1], false),
            shard(7, &[2, 3], false),
            shard(8, &[6, 7], true),
            shard(9, &[5], true),
            shard(10, &[5], true),
        ]
    }

    #[test]
    fn what_came_before_a_shard_with_a_lease_is_passed_unless_it_has_one_itself() {
        let index = |ids: BTreeSet<ShardId>| -> Vec<u64> { ids.iter().filter_map(ShardId::index).collect() };
        let leased =
            |indices: &[u64]| -> Vec<Lease> { indices.iter().map(|one| row(*one, "ann", 1)).collect() };
        assert!(passed(&worked_example(), &leased(&[])).is_empty());
        assert_eq!(index(passed(&worked_example(), &leased(&[8]))), [0, 1, 2, 3, 6, 7]);
        assert_eq!(index(passed(&worked_example(), &leased(&[6, 10]))), [0, 1, 5]);
        assert_eq!(index(passed(&worked_example(), &leased(&[5, 6, 8]))), [0, 1, 2, 3, 7]);
    }

    #[test]
    fn the_worked_example_of_the_reference() {
        let shards = worked_example();
        let cases = [
            (LATEST, vec![(6, LATEST)]),
            (START, vec![(0, START), (1, START)]),
            (TIME, vec![(0, TIME), (1, TIME)]),
        ];
        for (initial, expected) in cases {
            assert_eq!(created(&shards, &[4, 5, 7], initial), expected, "{initial:?}");
        }
    }

    #[test]
    fn tables_of_lineages() {
        // Name, shards, leases, then what each initial position creates.
        type Case = (&'static str, Vec<Shard>, Vec<u64>, [Vec<(u64, Checkpoint)>; 3]);
        let split = || vec![shard(0, &[], false), shard(1, &[0], true), shard(2, &[0], true)];
        let merge = || vec![shard(0, &[], false), shard(1, &[], false), shard(2, &[0, 1], true)];
        let grandchildren = || {
            let mut shards = split();
            shards[1] = shard(1, &[0], false);
            shards.extend([shard(3, &[1], true), shard(4, &[1], true)]);
            shards
        };
        let orphans = || vec![shard(7, &[3], true), shard(8, &[3], true)];
        let cases: Vec<Case> = vec![
            ("one open shard, tracked", vec![shard(0, &[], true)], vec![0], [vec![], vec![], vec![]]),
            (
                "an open shard beside the tracked one",
                vec![shard(0, &[], true), shard(1, &[], true)],
                vec![0],
                [vec![(1, LATEST)], vec![(1, START)], vec![(1, TIME)]],
            ),
            ("children of a tracked parent wait for its end", split(), vec![0], [vec![], vec![], vec![]]),
            (
                "one child is tracked, the other is not",
                split(),
                vec![1],
                [vec![(2, LATEST)], vec![(0, START)], vec![(0, TIME)]],
            ),
            ("merge, both parents tracked", merge(), vec![0, 1], [vec![], vec![], vec![]]),
            (
                "merge, one parent untracked: nobody else would create it",
                merge(),
                vec![0],
                [vec![(1, LATEST)], vec![(1, START)], vec![(1, TIME)]],
            ),
            ("merge, child tracked", merge(), vec![2], [vec![], vec![], vec![]]),
            ("grandchildren of a tracked shard", grandchildren(), vec![0], [vec![], vec![], vec![]]),
            (
                "grandchildren of a tracked child, the other child untracked",
                grandchildren(),
                vec![1],
                [vec![(2, LATEST)], vec![(0, START)], vec![(0, TIME)]],
            ),
            (
                "parents that are not listed any more",
                orphans(),
                vec![7],
                [vec![(8, LATEST)], vec![(8, START)], vec![(8, TIME)]],
            ),
            (
                "children of an expired parent that has a lease: its records were being read",
                orphans(),
                vec![3],
                [vec![(7, START), (8, START)], vec![(7, START), (8, START)], vec![(7, TIME), (8, TIME)]],
            ),
        ];
        for (name, shards, leased, expected) in cases {
            for (initial, expected) in [LATEST, START, TIME].into_iter().zip(expected) {
                assert_eq!(created(&shards, &leased, initial), expected, "{name}, {initial:?}");
            }
        }
    }

    #[test]
    fn what_is_created_is_not_created_again() {
        for initial in [LATEST, START, TIME] {
            let shards = worked_example();
            let mut leased = vec![4, 5, 7];
            leased.extend(created(&shards, &leased, initial).into_iter().map(|(index, _)| index));
            assert_eq!(created(&shards, &leased, initial), [], "{initial:?}");
        }
    }

    #[test]
    fn a_new_lease_knows_its_parents_and_range() {
        let shards = [shard(0, &[], false), shard(1, &[], false), shard(2, &[1, 0], true)];
        let new = first_leases(&shards[2..], LATEST).remove(0);
        assert_eq!(new.parents, [ShardId::from_index(0), ShardId::from_index(1)]);
        assert_eq!(new.hash_key_range, Some(shards[2].hash_key_range));
        assert_eq!(new.checkpoint, LATEST);
    }

    #[test]
    fn the_first_leases_come_in_the_order_in_which_the_shards_began() {
        let mut shards = even_shards(3);
        shards.reverse();
        let keys: Vec<_> = first_leases(&shards, START).into_iter().map(|new| new.key).collect();
        assert_eq!(keys, [key(0), key(1), key(2)]);
    }

    #[test]
    fn a_first_listing_must_cover_every_hash_key() {
        let shards = even_shards(4);
        assert!(covers_everything(&shards));
        for hole in 0..4 {
            let mut shards = shards.clone();
            shards.remove(hole);
            assert!(!covers_everything(&shards), "without {hole}");
        }
        assert!(!covers_everything(&[]));
        // The trim horizon may lie in the middle of a reshard: ranges may overlap.
        assert!(covers_everything(&[shards.clone(), even_shards(3)].concat()));
    }

    #[test]
    fn an_open_shard_after_an_open_shard_is_no_true_listing() {
        assert!(is_consistent(&worked_example()));
        assert!(!is_consistent(&[shard(0, &[], true), shard(1, &[0], true)]));
    }

    #[test]
    fn children_come_from_the_listing_when_no_list_of_them_came() {
        let children = children_to_create(&key(5), &worked_example());
        let keys: Vec<_> = children.iter().map(|new| new.key.clone()).collect();
        assert_eq!(keys, [key(9), key(10)]);
        assert!(
            children.iter().all(|new| new.checkpoint == START && new.parents == [ShardId::from_index(5)])
        );
        assert_eq!(children_to_create(&key(8), &worked_example()), []);
    }

    /// Name, shards, leases with their checkpoints, holes.
    type HoleCase = (&'static str, Vec<Shard>, Vec<(u64, Checkpoint)>, Vec<u64>);

    #[test]
    fn holes_are_children_of_ended_shards_that_nobody_will_create() {
        use Checkpoint::ShardEnd;
        let split = || vec![shard(0, &[], false), shard(1, &[0], true), shard(2, &[0], true)];
        let deep = || {
            let mut shards = split();
            shards[1] = shard(1, &[0], false);
            shards.extend([shard(3, &[1], true), shard(4, &[1], true)]);
            shards
        };
        let merge = || vec![shard(0, &[], false), shard(1, &[], false), shard(2, &[0, 1], true)];
        let unlisted = || vec![shard(2, &[0, 1], true), shard(1, &[], false)];
        let cases: Vec<HoleCase> = vec![
            ("nothing ended", split(), vec![(0, at(5))], vec![]),
            ("both children are missing", split(), vec![(0, ShardEnd)], vec![1, 2]),
            ("one child is missing", split(), vec![(0, ShardEnd), (2, START)], vec![1]),
            ("no child is missing", split(), vec![(0, ShardEnd), (1, START), (2, START)], vec![]),
            ("a closed child is missing", deep(), vec![(0, ShardEnd), (2, at(5))], vec![1]),
            (
                "its children have begun without it",
                deep(),
                vec![(0, ShardEnd), (2, at(5)), (3, at(6)), (4, START)],
                vec![],
            ),
            (
                "the grandchildren wait for a child",
                deep(),
                vec![(0, ShardEnd), (1, at(5)), (2, at(5))],
                vec![],
            ),
            (
                "a parent whose row was deleted while it was read, and one of its children",
                deep(),
                vec![(0, ShardEnd), (2, at(5)), (3, START)],
                vec![4],
            ),
            (
                "such a parent comes again while a grandparent goes on",
                deep(),
                vec![(0, at(4)), (3, START)],
                vec![],
            ),
            ("nobody knows what came before such a parent", deep(), vec![(3, START)], vec![]),
            ("without a row of a parent nothing is known", split(), vec![(1, at(5))], vec![]),
            ("merge, the other parent goes on", merge(), vec![(0, ShardEnd), (1, at(5))], vec![]),
            ("merge, the other parent has no lease", merge(), vec![(0, ShardEnd)], vec![]),
            ("merge, both parents ended", merge(), vec![(0, ShardEnd), (1, ShardEnd)], vec![2]),
            ("merge, one parent is not listed any more", unlisted(), vec![(1, ShardEnd)], vec![2]),
        ];
        for (name, shards, leases, expected) in cases {
            let rows: Vec<_> = leases.iter().map(|(index, at)| leased(*index, *at, &[], &[])).collect();
            let found: Vec<_> = holes(&shards, &rows)
                .into_iter()
                .map(|new| {
                    assert_eq!(new.checkpoint, START, "{name}");
                    new.key.shard_id().index().unwrap()
                })
                .collect();
            assert_eq!(found, expected, "{name}");
        }
    }

    fn leased(index: u64, checkpoint: Checkpoint, parents: &[u64], children: &[u64]) -> Lease {
        let ids = |indexes: &[u64]| indexes.iter().map(|index| ShardId::from_index(*index)).collect();
        Lease { checkpoint, parents: ids(parents), children: ids(children), ..row(index, "ann", 3) }
    }

    #[test]
    fn a_finished_lease_goes_when_its_children_started_and_its_parents_went() {
        use Checkpoint::ShardEnd;
        let cases = [
            ("children started", leased(1, ShardEnd, &[], &[2, 3]), Some(at(5)), Some(at(1)), true),
            ("a child ended", leased(1, ShardEnd, &[], &[2, 3]), Some(ShardEnd), Some(at(1)), true),
            ("not finished", leased(1, at(9), &[], &[2, 3]), Some(at(5)), Some(at(1)), false),
            (
                "a child at its first record",
                leased(1, ShardEnd, &[], &[2, 3]),
                Some(at(5)),
                Some(START),
                false,
            ),
            ("a child at a time", leased(1, ShardEnd, &[], &[2, 3]), Some(at(5)), Some(TIME), false),
            ("a child at latest", leased(1, ShardEnd, &[], &[2, 3]), Some(at(5)), Some(LATEST), false),
            ("a child has no lease", leased(1, ShardEnd, &[], &[2, 3]), Some(at(5)), None, false),
            ("a parent has a lease", leased(1, ShardEnd, &[2], &[3]), Some(at(5)), Some(at(1)), false),
            ("children only listed", leased(1, ShardEnd, &[], &[]), Some(at(5)), Some(at(1)), true),
            ("a listed child missing on the row", leased(1, ShardEnd, &[], &[2]), Some(at(5)), None, false),
        ];
        let listed = [shard(1, &[], false), shard(2, &[1], true), shard(3, &[1], true)];
        for (name, lease, second, third, goes) in cases {
            let mut leases = vec![lease.clone()];
            leases.extend(second.map(|checkpoint| leased(2, checkpoint, &[1], &[])));
            leases.extend(third.map(|checkpoint| leased(3, checkpoint, &[1], &[])));
            let gone = leases_to_delete(&leases, &listed, &Absences::default(), now());
            assert_eq!(gone.contains(&(lease.key.clone(), lease.counter)), goes, "{name}");
        }
    }

    #[test]
    fn a_finished_lease_without_any_known_child_stays() {
        let lease = leased(1, Checkpoint::ShardEnd, &[], &[]);
        assert_eq!(leases_to_delete(&[lease], &[shard(1, &[], false)], &Absences::default(), now()), []);
    }

    #[test]
    fn a_shard_is_gone_only_after_several_listings_and_minutes() {
        let (leases, listed) = ([row(1, "", 3)], [shard(5, &[], true)]);
        let start = now();
        let mut absences = Absences::default();
        for (minute, gone) in [(0, 0), (1, 0), (2, 0), (4, 0), (5, 1)] {
            let now = start + Duration::from_mins(minute);
            absences.record(&leases, &listed, now);
            assert_eq!(leases_to_delete(&leases, &listed, &absences, now).len(), gone, "{minute}");
        }
        // Seen again once: counted anew.
        absences.record(&leases, &[shard(1, &[], true), shard(5, &[], true)], start + Duration::from_mins(6));
        absences.record(&leases, &listed, start + Duration::from_mins(7));
        assert_eq!(leases_to_delete(&leases, &listed, &absences, start + Duration::from_mins(8)), []);
    }

    #[test]
    fn a_shard_younger_than_the_listing_and_an_empty_listing_say_nothing() {
        let start = now();
        for listed in [vec![shard(5, &[], true)], vec![]] {
            let leases = [row(9, "", 3)];
            let mut absences = Absences::default();
            for minute in 0..20 {
                absences.record(&leases, &listed, start + Duration::from_mins(minute));
            }
            let late = start + Duration::from_mins(20);
            assert_eq!(leases_to_delete(&leases, &listed, &absences, late), []);
        }
    }
}
