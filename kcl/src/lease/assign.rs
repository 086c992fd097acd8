//! Which leases to take, and which to ask for, so that every lease has an owner and every worker its share.
//!
//! Pure: what was observed and `now` in, moves out. This is the plan of the family in which all workers are equal (KCL 2.x);
//! the family with a leader gets a plan of its own beside it.
//!
//! Four kinds of lease may be taken: free ones, those whose counter stood still for the failover time as *this* worker saw
//! it, those this worker left behind itself, and those that were handed over to it. A live lease is never taken. A worker
//! below its share marks one as asked for instead (`start_handoff`): the owner finds the mark at its next write, stops
//! believing, and gives the row over. Java's 2.x workers, which take a live lease outright, leave two believers meanwhile.
//! An owner that goes on writing and does not answer the mark for a failover time does not know of marks; only from such a
//! worker is the lease taken in the Java manner.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};

use super::{Lease, LeaseCounter, LeaseKey, WorkerId};

/// After how many failover times without an owner a lease is taken whatever the share.
const VERY_OLD: u32 = 3;

/// Since when each counter stands still, on this worker's monotonic clock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Observations(BTreeMap<LeaseKey, (LeaseCounter, Instant)>);

impl Observations {
    /// Takes in a listing whose *response* arrived at `answered_at`.
    pub(crate) fn record(&mut self, leases: &[Lease], answered_at: Instant) {
        let since = |lease: &Lease| match self.0.get(&lease.key) {
            Some((counter, since)) if *counter == lease.counter => *since,
            _ => answered_at,
        };
        self.0 = leases.iter().map(|lease| (lease.key.clone(), (lease.counter, since(lease)))).collect();
    }

    /// For how long the counter of this row was seen to stand still.
    fn still_for(&self, lease: &Lease, now: Instant) -> Duration {
        match self.0.get(&lease.key) {
            Some((counter, since)) if *counter == lease.counter => now.saturating_duration_since(*since),
            _ => Duration::ZERO,
        }
    }
}

/// What bounds a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// How long a counter must stand still.
    pub(crate) failover_time: Duration,
    /// How many leases this worker may hold.
    pub(crate) max_leases: usize,
    /// How many leases this worker may have asked for at one time.
    pub(crate) max_leases_to_steal: usize,
}

/// What this worker knows, of itself and of the leases.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Situation<'a> {
    pub(crate) worker: &'a WorkerId,
    /// The leases it holds, or is about to.
    pub(crate) held: &'a BTreeSet<LeaseKey>,
    /// The counters at which a row that names it is its own, left behind by a tenure that is over.
    pub(crate) left_behind: &'a BTreeMap<LeaseKey, BTreeSet<LeaseCounter>>,
    /// The leases it asked for, and since when.
    pub(crate) asked: &'a BTreeMap<LeaseKey, Instant>,
    pub(crate) seen: &'a Observations,
    pub(crate) bounds: Bounds,
    pub(crate) now: Instant,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Move {
    /// Take the lease, if the counter is still this.
    Take {
        /// Which one.
        key: LeaseKey,
        /// The counter as it was read.
        counter: LeaseCounter,
        /// Why it may be taken.
        why: Why,
    },
    /// Ask its owner for the lease.
    Ask {
        /// Which one.
        key: LeaseKey,
        /// Who owns it.
        from: WorkerId,
    },
}

/// Why a lease may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Why {
    /// The row names this worker. Another process of the same name may live, so the take must be confirmed.
    OwnName,
    /// It was asked for, and handed over.
    HandedOver,
    /// Its owner does not answer the mark but goes on writing.
    Unanswered,
    /// Nobody owns it.
    Free,
    /// Its counter stood still for the failover time.
    Expired,
}

/// What to do now, given `leases` as just observed.
pub(crate) fn plan(leases: &[Lease], situation: &Situation<'_>, rng: &mut impl Rng) -> Vec<Move> {
    let bounds = situation.bounds;
    let count = Count::of(leases, situation);
    let room = bounds.max_leases.saturating_sub(count.mine);
    let need = count.share().min(bounds.max_leases).saturating_sub(count.mine);
    // Asking is the last resort: while anything is free, nobody needs to give.
    if count.available.is_empty() {
        let budget = bounds.max_leases_to_steal.saturating_sub(situation.asked.len());
        return count.asks(need, budget, rng);
    }
    count.takes(room, need, rng)
}

struct Available<'a> {
    lease: &'a Lease,
    why: Why,
    age: Duration,
    /// To be taken whatever the share.
    urgent: bool,
}

struct Count<'a> {
    mine: usize,
    unfinished: usize,
    /// The live leases of the others, by owner.
    others: BTreeMap<&'a WorkerId, Vec<&'a Lease>>,
    available: Vec<Available<'a>>,
}

impl<'a> Count<'a> {
    fn of(leases: &'a [Lease], situation: &Situation<'_>) -> Self {
        let failover_time = situation.bounds.failover_time;
        let mut count = Self { mine: 0, unfinished: 0, others: BTreeMap::new(), available: Vec::new() };
        // A finished lease is nobody's work: it is neither taken nor counted.
        for lease in leases.iter().filter(|lease| !lease.is_finished()) {
            count.unfinished += 1;
            let age = situation.seen.still_for(lease, situation.now);
            if situation.held.contains(&lease.key) {
                count.mine += 1;
            } else if let Some(why) = takeable(lease, age, situation) {
                let own = matches!(why, Why::OwnName | Why::HandedOver | Why::Unanswered);
                let urgent = own || age >= failover_time * VERY_OLD;
                count.available.push(Available { lease, why, age, urgent });
            } else if lease.owner.as_ref() == Some(situation.worker) {
                count.mine += 1;
            } else if let Some(owner) = &lease.owner {
                count.others.entry(owner).or_default().push(lease);
            }
        }
        count
    }

    /// The fair share of each worker that is alive, rounded up.
    fn share(&self) -> usize {
        self.unfinished.div_ceil(self.others.len() + 1)
    }

    fn takes(&self, room: usize, need: usize, rng: &mut impl Rng) -> Vec<Move> {
        let mut order: Vec<&Available<'_>> = self.available.iter().collect();
        // Shuffled first, so that workers that scan together do not all begin with the same lease.
        order.shuffle(rng);
        order.sort_by_key(|one| (!one.urgent, one.urgent.then_some((one.why, std::cmp::Reverse(one.age)))));
        let urgent = order.iter().filter(|one| one.urgent).count();
        let takes = order.into_iter().take(need.max(urgent).min(room));
        takes
            .map(|one| Move::Take { key: one.lease.key.clone(), counter: one.lease.counter, why: one.why })
            .collect()
    }

    /// As the Java library bounds it: what the most loaded worker has above the share, or one if this worker is two short.
    fn asks(&self, need: usize, budget: usize, rng: &mut impl Rng) -> Vec<Move> {
        let most = self.others.values().map(Vec::len).max().unwrap_or(0);
        let loaded: Vec<_> = self.others.iter().filter(|(_, leases)| leases.len() == most).collect();
        let Some((from, leases)) = loaded.choose(rng) else { return Vec::new() };
        let above = most.saturating_sub(self.share());
        let count = if above == 0 && need > 1 && most == self.share() { 1 } else { above.min(need) };
        // A lease that is being handed over already cannot be asked for.
        let mut free: Vec<_> = leases.iter().filter(|lease| lease.checkpoint_owner.is_none()).collect();
        free.shuffle(rng);
        let asked = free.into_iter().take(count.min(budget));
        asked.map(|lease| Move::Ask { key: lease.key.clone(), from: WorkerId::clone(from) }).collect()
    }
}

fn takeable(lease: &Lease, age: Duration, situation: &Situation<'_>) -> Option<Why> {
    let failover_time = situation.bounds.failover_time;
    let names_me = lease.owner.as_ref() == Some(situation.worker);
    let asked_for = situation.asked.get(&lease.key).map(|at| situation.now.saturating_duration_since(*at));
    let marked = lease.checkpoint_owner.is_some();
    let left = situation.left_behind.get(&lease.key).is_some_and(|ours| ours.contains(&lease.counter));
    if lease.actual_owner().is_none() {
        Some(Why::Free)
    } else if names_me && !marked && left {
        Some(Why::OwnName)
    } else if names_me && !marked && asked_for.is_some() {
        Some(Why::HandedOver)
    } else if age >= failover_time {
        Some(Why::Expired)
    } else if names_me && marked && asked_for.is_some_and(|waited| waited >= failover_time) {
        Some(Why::Unanswered)
    } else {
        None
    }
}
