//! What is behind one stripe's lock: the open aggregates of every shard, and in which turn records join them.

use std::sync::Arc;

use kinesis_shard::{HashKey, ShardMap, md5_many, read_soon};

use super::NotTaken;
use crate::pipeline::aggregator::{AggregationBounds, Aggregator};
use crate::pipeline::kinesis_record::KinesisRecord;
use crate::user_record::UserRecord;

/// So many keys are hashed together; they lie on the stack.
const HASHED: usize = 256;

/// So many turns before its own, what a record needs is asked for: first the aggregator, then what that points at.
const FAR: usize = 16;
const NEAR: usize = 8;

/// What one stripe knows of the routing. It is told after the routing changed, one stripe after the other.
#[derive(Debug)]
pub(super) enum Gate {
    Unknown,
    Ready(Lanes),
    Closed,
}

impl Gate {
    /// Where records go.
    pub(super) fn lanes(&mut self) -> Result<&mut Lanes, NotTaken> {
        match self {
            Self::Unknown => Err(NotTaken::NoMap),
            Self::Closed => Err(NotTaken::Closed),
            Self::Ready(lanes) => {
                lanes.open_all();
                Ok(lanes)
            }
        }
    }
}

/// The open aggregates of one stripe.
#[derive(Debug)]
pub(super) struct Lanes {
    pub(super) map: Arc<ShardMap>,
    bounds: AggregationBounds,
    /// One for each open shard of the map; made when the first record comes, since most stripes see none.
    pub(super) aggregators: Vec<Aggregator>,
    /// What a push sealed, on its way to the inbox; empty between pushes.
    pub(super) sealed: Vec<KinesisRecord>,
    /// Memory kept from run to run.
    turns: Turns,
}

impl Lanes {
    pub(super) fn new(map: Arc<ShardMap>, bounds: AggregationBounds) -> Self {
        Self { map, bounds, aggregators: Vec::new(), sealed: Vec::new(), turns: Turns::default() }
    }

    fn open_all(&mut self) {
        if self.aggregators.is_empty() {
            let bounds = Arc::new(self.bounds);
            self.aggregators.resize_with(self.map.open_count(), || Aggregator::new(Arc::clone(&bounds)));
        }
    }

    pub(super) fn seal_all(&mut self) -> impl Iterator<Item = KinesisRecord> {
        self.aggregators.iter_mut().filter_map(Aggregator::seal)
    }

    /// In which turns records with these hash keys are taken. To be [given back](Self::give_back).
    pub(super) fn turns(&mut self, hash_keys: &[HashKey]) -> Turns {
        let mut turns = std::mem::take(&mut self.turns);
        turns.sort(&self.map, hash_keys);
        turns
    }

    pub(super) fn give_back(&mut self, turns: Turns) {
        self.turns = turns;
    }

    /// Asks for the memory that the turns after this one will need.
    pub(super) fn prepare(&self, turns: &Turns, turn: usize, hash_keys: &[HashKey]) {
        let aggregator = |turn: Turn| self.aggregators.get(turn.shard as usize);
        let far = turns.get(turn + FAR);
        // What the turn before asked for is on its way.
        if let Some(far) = far
            && turns.get(turn + FAR - 1).is_none_or(|before| before.shard != far.shard)
            && let Some(aggregator) = aggregator(far)
        {
            read_soon(aggregator);
        }
        if let Some(near) = turns.get(turn + NEAR)
            && let (Some(aggregator), Some(key)) = (aggregator(near), hash_keys.get(near.place as usize))
        {
            aggregator.push_soon(*key);
        }
    }
}

/// One record's turn: its shard, and its place in the run.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Turn {
    pub(super) shard: u32,
    pub(super) place: u32,
}

/// The records of a run, those of one shard after another if there are enough of them: each shard has its memory elsewhere. Records of
/// one shard keep their order.
#[derive(Debug, Default)]
pub(super) struct Turns {
    all: Vec<Turn>,
    shards: Vec<u32>,
    /// Where the next record of each shard goes.
    next: Vec<u32>,
}

impl Turns {
    pub(super) fn get(&self, turn: usize) -> Option<Turn> {
        self.all.get(turn).copied()
    }

    fn sort(&mut self, map: &ShardMap, hash_keys: &[HashKey]) {
        let Self { all, shards, next } = self;
        shards.clear();
        // A map has far fewer shards than that.
        shards.extend(hash_keys.iter().map(|key| u32::try_from(map.open_index_of(*key)).unwrap_or(u32::MAX)));
        all.clear();
        if map.open_count() >= hash_keys.len() {
            all.extend(shards.iter().zip(0..).map(|(shard, place)| Turn { shard: *shard, place }));
            return;
        }
        next.clear();
        next.resize(map.open_count(), 0);
        for shard in &*shards {
            if let Some(count) = next.get_mut(*shard as usize) {
                *count += 1;
            }
        }
        let mut before = 0;
        for count in &mut *next {
            before += std::mem::replace(count, before);
        }
        all.resize(shards.len(), Turn::default());
        for (shard, place) in shards.iter().zip(0..) {
            if let Some(next) = next.get_mut(*shard as usize) {
                if let Some(turn) = all.get_mut(*next as usize) {
                    *turn = Turn { shard: *shard, place };
                }
                *next += 1;
            }
        }
    }
}

/// The hash keys of these records: explicit ones as they are, the others hashed together.
pub(super) fn hash_all(records: &[UserRecord], hash_keys: &mut Vec<HashKey>) {
    hash_keys.clear();
    for some in records.chunks(HASHED) {
        let mut keys: [&[u8]; HASHED] = [&[]; HASHED];
        for (key, record) in keys.iter_mut().zip(some) {
            *key = record.partition_key.as_bytes();
        }
        let mut digests = [[0; 16]; HASHED];
        md5_many(keys.split_at(some.len()).0, digests.split_at_mut(some.len()).0);
        hash_keys.extend(some.iter().zip(digests).map(|(record, digest)| {
            record.explicit_hash_key.unwrap_or_else(|| HashKey::new(u128::from_be_bytes(digest)))
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::shard_map;

    #[test]
    fn every_record_has_one_turn_and_those_of_a_shard_keep_their_order() {
        for (shards, records) in [(1, 1), (1, 700), (7, 700), (64, 65), (64, 64), (64, 3), (1_000, 999)] {
            let map = shard_map(shards);
            let records: Vec<_> =
                (0..records).map(|number| UserRecord::new(number.to_string(), "data")).collect();
            let mut hash_keys = Vec::new();
            hash_all(&records, &mut hash_keys);
            assert_eq!(hash_keys, records.iter().map(UserRecord::hash_key).collect::<Vec<_>>());
            let mut lanes = Lanes::new(Arc::clone(&map), crate::testing::bounds(1_000));
            for _ in 0..2 {
                let turns = lanes.turns(&hash_keys);
                let all: Vec<_> = (0..).map_while(|turn| turns.get(turn)).collect();
                let mut places = vec![Vec::new(); map.open_count()];
                for turn in &all {
                    assert_eq!(turn.shard as usize, map.open_index_of(hash_keys[turn.place as usize]));
                    places[turn.shard as usize].push(turn.place);
                }
                assert!(places.iter().all(|places| places.is_sorted()));
                let mut places = places.concat();
                places.sort_unstable();
                assert!(places.iter().copied().eq(0..u32::try_from(records.len()).unwrap()));
                let changes = all.windows(2).filter(|pair| pair[0].shard != pair[1].shard).count();
                assert!(map.open_count() >= records.len() || changes < map.open_count());
                lanes.give_back(turns);
            }
        }
    }
}
