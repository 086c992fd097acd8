use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::{Counter, LeaseStats, Times};
use crate::lease::assign::Census;
use crate::lease::{LeaseStoreError, Operation, Write};

/// The live counters of what is asked of the lease store.
#[derive(Debug, Default)]
pub(crate) struct LeaseCounters {
    renewed: Counter,
    renew_time: Times,
    taken: Counter,
    untaken: Counter,
    take_time: Times,
    update_time: Times,
    created: Counter,
    create_time: Times,
    listed: Counter,
    list_time: Times,
    pub(crate) synced: Counter,
    total: AtomicU64,
    workers: AtomicU64,
    expired: AtomicU64,
    very_old: AtomicU64,
    needed: AtomicU64,
    to_take: AtomicU64,
    spillover: AtomicU64,
}

impl LeaseCounters {
    /// A conditional write was answered, or not in time.
    pub(crate) fn wrote(
        &self,
        operation: &Operation,
        time: Duration,
        answer: &Result<Write, LeaseStoreError>,
    ) {
        let applied = answer.as_ref().is_ok_and(Write::is_applied);
        match operation {
            Operation::Renew { .. } => {
                self.renew_time.took(time);
                self.renewed.add(applied.into());
            }
            Operation::Take { .. } => {
                self.take_time.took(time);
                self.taken.add(applied.into());
                self.untaken.add(matches!(answer, Ok(Write::Refused(_))).into());
            }
            Operation::Checkpoint { .. } => self.update_time.took(time),
            _ => {}
        }
    }

    /// A creation was answered, or not in time.
    pub(crate) fn created(&self, time: Duration, created: bool) {
        self.create_time.took(time);
        self.created.add(created.into());
    }

    /// A listing was answered, or not in time.
    pub(crate) fn listed(&self, time: Duration, listed: bool) {
        self.list_time.took(time);
        self.listed.add(listed.into());
    }

    /// What the last listing showed.
    pub(crate) fn seen(&self, census: &Census) {
        let set = |gauge: &AtomicU64, value: usize| gauge.store(value as u64, Relaxed);
        set(&self.total, census.total);
        set(&self.workers, census.workers);
        set(&self.expired, census.expired);
        set(&self.very_old, census.very_old);
        set(&self.needed, census.needed);
        set(&self.to_take, census.to_take);
        set(&self.spillover, census.spillover);
    }

    pub(super) fn snapshot(&self) -> LeaseStats {
        let count = |counter: &Counter| counter.0.load(Relaxed);
        let now = |gauge: &AtomicU64| gauge.load(Relaxed);
        LeaseStats {
            renewed: count(&self.renewed),
            renew_time: self.renew_time.snapshot(),
            taken: count(&self.taken),
            untaken: count(&self.untaken),
            take_time: self.take_time.snapshot(),
            update_time: self.update_time.snapshot(),
            created: count(&self.created),
            create_time: self.create_time.snapshot(),
            listed: count(&self.listed),
            list_time: self.list_time.snapshot(),
            synced: count(&self.synced),
            total: now(&self.total),
            workers: now(&self.workers),
            expired: now(&self.expired),
            very_old: now(&self.very_old),
            needed: now(&self.needed),
            to_take: now(&self.to_take),
            spillover: now(&self.spillover),
        }
    }
}
