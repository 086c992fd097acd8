//! What the tests of the lease side share: rows, shards, and a listing that is plain data.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use kinesis_shard::{
    Checkpoint, Clock, ExtendedSequenceNumber, HashKeyRange, ListShardsError, SequenceNumber, Shard, ShardId,
};

use super::calls::Calls;
use super::held::{EndedLeases, Hands, HeldLease};
use super::keeper::{ListShards, Syncs, WhichShards};
use super::tenure::{Tenure, Terms};
use super::{Lease, LeaseCounter, LeaseKey, MemoryLeaseStore, NewLease, WorkerId};
use crate::event::Events;

pub(crate) const D: Duration = Duration::from_secs(10);

pub(crate) fn key(index: u64) -> LeaseKey {
    LeaseKey::from(&ShardId::from_index(index))
}

pub(crate) fn worker(name: &str) -> WorkerId {
    WorkerId::new(name)
}

pub(crate) fn at(number: u64) -> Checkpoint {
    let sequence_number: SequenceNumber = number.to_string().parse().unwrap();
    Checkpoint::At(ExtendedSequenceNumber { sequence_number, sub_sequence_number: 0 })
}

/// A row at its first record; an empty name means no owner.
pub(crate) fn row(index: u64, owner: &str, counter: u64) -> Lease {
    let mut lease = Lease::created(NewLease::child(key(index), [], None));
    lease.owner = (!owner.is_empty()).then(|| worker(owner));
    lease.counter = LeaseCounter::new(counter);
    lease
}

/// A shard with the whole range: the lease side looks at lineage, and at ranges only when a table is empty.
pub(crate) fn shard(index: u64, parents: &[u64], open: bool) -> Shard {
    let mut parents = parents.iter().map(|parent| ShardId::from_index(*parent));
    Shard {
        id: ShardId::from_index(index),
        parent: parents.next(),
        adjacent_parent: parents.next(),
        hash_key_range: HashKeyRange::FULL,
        starting_sequence_number: (1000 + index).to_string().parse().unwrap(),
        ending_sequence_number: (!open).then(|| (2000 + index).to_string().parse().unwrap()),
    }
}

/// Open shards that share the hash keys evenly.
pub(crate) fn even_shards(count: u32) -> Vec<Shard> {
    let ranges = HashKeyRange::even(count.try_into().unwrap());
    let shard = |(index, hash_key_range)| Shard { hash_key_range, ..shard(index, &[], true) };
    (0..).zip(ranges).map(shard).collect()
}

/// A lease that was taken just now, with this row, in a table of its own.
pub(crate) fn holding(lease: Lease) -> HeldLease {
    let (store, clock) = (MemoryLeaseStore::new(), Clock::default());
    store.put_row(lease.clone());
    let worker = lease.owner.clone().expect("held by somebody");
    let terms = Terms { failover_time: D, renewal_interval: D / 3, clock_error_ppm: 10_000 };
    let tenure = Tenure::taken(worker.clone(), terms, lease, clock.now());
    let calls = Calls::new(Arc::new(store), clock, D / 5, 1);
    let syncs = Arc::new(Syncs::new(calls.clone(), Events::default(), false));
    HeldLease::new(Hands { worker, calls, syncs, ended: Arc::new(EndedLeases::default()) }, tenure, 1)
}

/// As if `time` had passed since then while `now` stayed: earlier, but not before `oldest`.
pub(crate) fn aged(at: Instant, time: Duration, oldest: Instant) -> Instant {
    at.checked_sub(time).map_or(oldest, |earlier| earlier.max(oldest))
}

pub(crate) fn now() -> Instant {
    Clock::default().now()
}

/// The shards of a stream, as data.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listing(Arc<Mutex<(Vec<Shard>, u64)>>);

impl Listing {
    pub(crate) fn of(shards: Vec<Shard>) -> Self {
        Self(Arc::new(Mutex::new((shards, 0))))
    }

    pub(crate) fn set(&self, shards: Vec<Shard>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 = shards;
    }

    pub(crate) fn calls(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}

#[async_trait]
impl ListShards for Listing {
    async fn list_shards(&self, which: WhichShards) -> Result<Vec<Shard>, ListShardsError> {
        let mut listing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        listing.1 += 1;
        let wanted = |shard: &&Shard| which == WhichShards::All || shard.is_open();
        Ok(listing.0.iter().filter(wanted).cloned().collect())
    }
}
