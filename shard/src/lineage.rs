//! Lineage: how shards descend from each other by splits and merges.

use std::collections::{BTreeMap, BTreeSet};

use crate::{SequenceNumber, Shard, ShardId};

/// The family tree of the shards of one listing.
///
/// Records of one partition key keep their order across a reshard only if a shard is read after its parents have
/// been read to their end; this says which those are. Parents that were not listed (their records have aged out)
/// do not count. A listing that contradicts itself, with a shard among its own ancestors, gives an arbitrary but
/// fixed order; nothing here loops or panics on it.
#[derive(Debug, Clone)]
pub struct Lineage {
    shards: BTreeMap<ShardId, Family>,
}

#[derive(Debug, Clone)]
struct Family {
    shard: Shard,
    children: Vec<ShardId>,
}

impl Lineage {
    /// Builds the tree from the shards of one listing; of shards with the same id, the last counts.
    pub fn new<'a>(shards: impl IntoIterator<Item = &'a Shard>) -> Self {
        let mut families: BTreeMap<ShardId, Family> = shards
            .into_iter()
            .map(|shard| (shard.id.clone(), Family { shard: shard.clone(), children: Vec::new() }))
            .collect();
        let descents: Vec<(ShardId, ShardId)> = families
            .values()
            .flat_map(|family| {
                let child = &family.shard.id;
                family.shard.parents().map(|parent| (parent.clone(), child.clone()))
            })
            .filter(|(parent, child)| parent != child)
            .collect();
        for (parent, child) in descents {
            if let Some(family) = families.get_mut(&parent) {
                family.children.push(child);
            }
        }
        Self { shards: families }
    }

    /// The listed parents of a shard: none, one or two.
    pub fn parents_of(&self, id: &ShardId) -> Vec<&ShardId> {
        let Some(family) = self.shards.get(id) else { return Vec::new() };
        family
            .shard
            .parents()
            .filter(|parent| *parent != id)
            .filter_map(|parent| self.shards.get_key_value(parent).map(|(parent, _)| parent))
            .collect()
    }

    /// The listed children of a shard, by id.
    pub fn children_of(&self, id: &ShardId) -> Vec<&ShardId> {
        self.shards.get(id).map(|family| family.children.iter().collect()).unwrap_or_default()
    }

    /// Every listed ancestor of a shard, nearest first, each once.
    pub fn ancestors_of(&self, id: &ShardId) -> Vec<&ShardId> {
        let mut found = Vec::new();
        let mut seen = BTreeSet::from([id]);
        let mut generation = self.parents_of(id);
        while !generation.is_empty() {
            generation.retain(|ancestor| seen.insert(ancestor));
            found.extend(&generation);
            generation = generation.iter().flat_map(|ancestor| self.parents_of(ancestor)).collect();
        }
        found
    }

    /// The shards without a listed parent, by id.
    pub fn roots(&self) -> Vec<&ShardId> {
        self.shards.keys().filter(|id| self.parents_of(id).is_empty()).collect()
    }

    /// Every listed shard, each after all its listed parents; where that leaves a choice, by starting sequence
    /// number, then by id.
    pub fn in_start_order(&self) -> Vec<&Shard> {
        let mut waiting_for: BTreeMap<&ShardId, usize> =
            self.shards.keys().map(|id| (id, self.parents_of(id).len())).collect();
        let mut ready: BTreeSet<(SequenceNumber, &ShardId)> = waiting_for
            .iter()
            .filter(|(_, parents)| **parents == 0)
            .filter_map(|(id, _)| self.start_key(id))
            .collect();
        let mut ordered = Vec::with_capacity(self.shards.len());
        while !waiting_for.is_empty() {
            // Only a listing that contradicts itself has shards waiting and none ready: any one breaks the circle.
            let next =
                ready.pop_first().or_else(|| waiting_for.keys().filter_map(|id| self.start_key(id)).min());
            let Some((_, id)) = next else { break };
            if waiting_for.remove(id).is_none() {
                continue;
            }
            ordered.extend(self.shards.get(id).map(|family| &family.shard));
            for child in self.children_of(id) {
                let Some(parents) = waiting_for.get_mut(child) else { continue };
                *parents = parents.saturating_sub(1);
                if *parents == 0 {
                    ready.extend(self.start_key(child));
                }
            }
        }
        ordered
    }

    /// Whether reading a shard may start: every listed parent has ended, as far as `ended` knows.
    ///
    /// A shard that was not listed has no listed parents and may start.
    pub fn may_start(&self, id: &ShardId, ended: impl Fn(&ShardId) -> bool) -> bool {
        self.parents_of(id).into_iter().all(ended)
    }

    /// The shard of that name, if it was listed.
    pub fn get(&self, id: &ShardId) -> Option<&Shard> {
        self.shards.get(id).map(|family| &family.shard)
    }

    fn start_key(&self, id: &ShardId) -> Option<(SequenceNumber, &ShardId)> {
        let (id, family) = self.shards.get_key_value(id)?;
        Some((family.shard.starting_sequence_number, id))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::HashKeyRange;

    fn id(index: u64) -> ShardId {
        ShardId::from_index(index)
    }

    fn shard(index: u64, start: u64, parents: &[u64]) -> Shard {
        Shard {
            id: id(index),
            parent: parents.first().map(|parent| id(*parent)),
            adjacent_parent: parents.get(1).map(|parent| id(*parent)),
            hash_key_range: HashKeyRange::FULL,
            starting_sequence_number: SequenceNumber::from(start),
            ending_sequence_number: None,
        }
    }

    /// 0 splits into 2 and 3; 2 and 1 merge into 4.
    fn family() -> Vec<Shard> {
        vec![
            shard(0, 0, &[]),
            shard(1, 0, &[]),
            shard(2, 10, &[0]),
            shard(3, 10, &[0]),
            shard(4, 20, &[2, 1]),
        ]
    }

    fn order(lineage: &Lineage) -> Vec<u64> {
        lineage.in_start_order().iter().map(|shard| shard.id.index().unwrap()).collect()
    }

    #[test]
    fn a_shard_is_found_by_its_id_if_it_was_listed() {
        let lineage = Lineage::new(&family());
        assert_eq!(lineage.get(&id(3)), Some(&shard(3, 10, &[0])));
        assert_eq!(lineage.get(&id(5)), None);
    }

    #[test]
    fn parents_and_children_mirror_each_other() {
        let lineage = Lineage::new(&family());
        assert_eq!(lineage.parents_of(&id(4)), [&id(2), &id(1)]);
        assert_eq!(lineage.children_of(&id(0)), [&id(2), &id(3)]);
        assert_eq!(lineage.children_of(&id(1)), [&id(4)]);
        assert_eq!(lineage.parents_of(&id(0)), Vec::<&ShardId>::new());
        assert_eq!(lineage.roots(), [&id(0), &id(1)]);
    }

    #[test]
    fn ancestors_come_nearest_first_and_once() {
        let lineage = Lineage::new(&family());
        assert_eq!(lineage.ancestors_of(&id(4)), [&id(2), &id(1), &id(0)]);
        // Split and merged again: both parents share the grandparent.
        let diamond = [shard(0, 0, &[]), shard(1, 1, &[0]), shard(2, 1, &[0]), shard(3, 2, &[1, 2])];
        assert_eq!(Lineage::new(&diamond).ancestors_of(&id(3)), [&id(1), &id(2), &id(0)]);
    }

    #[test]
    fn parents_that_have_aged_out_do_not_hold_a_child_back() {
        let lineage = Lineage::new(&[shard(2, 10, &[0]), shard(4, 20, &[2, 1])]);
        assert!(lineage.parents_of(&id(2)).is_empty());
        assert_eq!(lineage.parents_of(&id(4)), [&id(2)]);
        assert_eq!(lineage.roots(), [&id(2)]);
        assert!(lineage.may_start(&id(2), |_| false));
        assert!(!lineage.may_start(&id(4), |_| false));
        assert!(lineage.may_start(&id(4), |parent| *parent == id(2)));
    }

    #[test]
    fn a_merged_shard_waits_for_both_parents() {
        let lineage = Lineage::new(&family());
        assert!(!lineage.may_start(&id(4), |parent| *parent == id(1)));
        assert!(!lineage.may_start(&id(4), |parent| *parent == id(2)));
        assert!(lineage.may_start(&id(4), |parent| [id(1), id(2)].contains(parent)));
    }

    #[test]
    fn a_shard_that_was_not_listed_may_start() {
        assert!(Lineage::new(&family()).may_start(&id(99), |_| false));
        assert!(Lineage::new(&family()).get(&id(99)).is_none());
    }

    #[test]
    fn start_order_is_by_parents_then_position_then_id() {
        assert_eq!(order(&Lineage::new(&family())), [0, 1, 2, 3, 4]);
        // A child whose listed position lies before its parent's still comes after it.
        assert_eq!(
            order(&Lineage::new(&[shard(0, 50, &[]), shard(1, 5, &[0]), shard(2, 60, &[])])),
            [0, 1, 2]
        );
        // Position is compared as a number, before the id.
        assert_eq!(order(&Lineage::new(&[shard(1, 9, &[]), shard(0, 10, &[])])), [1, 0]);
    }

    #[test]
    fn a_listing_that_contradicts_itself_still_gives_every_shard_once() {
        let circle = [shard(0, 0, &[1]), shard(1, 1, &[0]), shard(2, 2, &[2]), shard(3, 3, &[1])];
        let lineage = Lineage::new(&circle);
        assert_eq!(order(&lineage), [2, 0, 1, 3]);
        assert_eq!(lineage.ancestors_of(&id(0)), [&id(1)]);
    }

    proptest! {
        #[test]
        fn parents_always_come_first(
            steps in proptest::collection::vec((any::<bool>(), any::<proptest::sample::Index>(), any::<u64>()), 0..60),
            keep in proptest::collection::vec(prop::bool::weighted(0.8), 200),
            roots in 1_u64..6,
        ) {
            let mut shards: Vec<Shard> = (0..roots).map(|index| shard(index, index, &[])).collect();
            let mut open: Vec<u64> = (0..roots).collect();
            for (split, at, start) in steps {
                let position = at.index(open.len());
                let next = shards.len() as u64;
                if split {
                    let parent = open.remove(position);
                    shards.push(shard(next, start, &[parent]));
                    shards.push(shard(next + 1, start, &[parent]));
                    open.extend([next, next + 1]);
                } else if position + 1 < open.len() {
                    let (first, second) = (open.remove(position), open.remove(position));
                    shards.push(shard(next, start, &[first, second]));
                    open.push(next);
                }
            }
            let listed: Vec<Shard> =
                shards.into_iter().zip(keep).filter_map(|(shard, keep)| keep.then_some(shard)).collect();
            let lineage = Lineage::new(&listed);
            let ordered = lineage.in_start_order();
            prop_assert_eq!(ordered.len(), listed.len());
            let mut started = BTreeSet::new();
            for shard in ordered {
                prop_assert!(lineage.may_start(&shard.id, |parent| started.contains(parent)));
                for parent in lineage.parents_of(&shard.id) {
                    prop_assert!(lineage.ancestors_of(&shard.id).contains(&parent));
                    prop_assert!(lineage.children_of(parent).contains(&&shard.id));
                }
                prop_assert!(started.insert(shard.id.clone()));
            }
        }
    }
}
