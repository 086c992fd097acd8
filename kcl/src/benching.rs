//! What benches drive. Not part of the API.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kinesis_shard::ShardId;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::lease::assign::{self, Bounds, Observations, Situation};
use crate::lease::outlook::outlook;
use crate::lease::{Lease, LeaseCounter, LeaseKey, NewLease, WorkerId};

/// A worker that has just joined a fleet, and scans.
#[derive(Debug)]
pub struct Planner {
    me: WorkerId,
    leases: Vec<Lease>,
    seen: Observations,
    now: Instant,
    rng: SmallRng,
}

impl Planner {
    /// So many leases, spread over so many workers; one in ten is nobody's.
    pub fn new(lease_count: u64, worker_count: u64, now: Instant) -> Self {
        let owners: Vec<_> =
            (0..worker_count).map(|number| WorkerId::new(format!("worker-{number}"))).collect();
        let lease = |(index, owner): (u64, &WorkerId)| {
            let key = LeaseKey::from(&ShardId::from_index(index));
            let mut lease = Lease::created(NewLease::child(key, [], None));
            lease.owner = (index % 10 != 0).then(|| owner.clone());
            lease
        };
        Self {
            me: WorkerId::new("worker-that-joins"),
            leases: (0..lease_count).zip(owners.iter().cycle()).map(lease).collect(),
            seen: Observations::default(),
            now,
            rng: SmallRng::seed_from_u64(1),
        }
    }

    /// Everything that a keeper does with a listing: takes it in, and plans. How many moves it makes.
    pub fn scan(&mut self) -> usize {
        self.now += Duration::from_secs(5);
        for lease in &mut self.leases {
            lease.counter = LeaseCounter::new(lease.counter.get() + u64::from(lease.owner.is_some()));
        }
        let failover_time = Duration::from_secs(10);
        self.seen.record(&self.leases, failover_time, self.now);
        let (held, asked, left_behind) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
        let situation = Situation {
            worker: &self.me,
            held: &held,
            left_behind: &left_behind,
            asked: &asked,
            seen: &self.seen,
            bounds: Bounds { failover_time, max_leases: usize::MAX, max_leases_to_steal: 1 },
            now: self.now,
        };
        let moves = assign::plan(&self.leases, &situation, &mut self.rng).len();
        std::hint::black_box(outlook(&self.leases, &situation));
        let next = self.seen.next_expiry(&self.leases, &held, failover_time, self.now);
        moves + usize::from(next.is_some())
    }
}
