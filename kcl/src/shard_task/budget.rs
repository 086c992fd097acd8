//! The bytes that the shards of a process hold: received and not yet processed.
//!
//! Nobody waits here. The budget has two halves:
//!
//! - one is divided evenly: each shard may hold its *share* of it, whatever the others do;
//! - the other is *common*: a shard that is behind may take an eighth of what is left of it, so that a lone busy shard among
//!   idle ones reads at full speed, and many stalled ones can only ever take less and less.
//!
//! A shard that holds nothing may always read. So one that stands still never keeps another from reading, and a thousand
//! idle ones do not wait for each other. The bytes held stay within the budget as long as a share has room for one
//! answer; with more shards than that the bound is one answer a shard. An answer may be larger than was expected, when
//! records grow from one read to the next: up to 10 MiB, the largest there is. It is counted in full as soon as it is
//! there, and the next reads become smaller until it is processed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use kinesis_shard::limits;

use crate::fetch::Room;

/// What one shard may take at a time of what is left in common.
const COMMON_PART: usize = 8;

/// Shared by all shards of a process.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes: usize,
    held: AtomicUsize,
    shards: AtomicUsize,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        Self { bytes, held: AtomicUsize::new(0), shards: AtomicUsize::new(0) }
    }

    /// Bytes held now, those of reads under way as far as expected.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Relaxed)
    }

    fn room(&self, own: usize) -> Room {
        let half = self.bytes / 2;
        let share = half / self.shards.load(Relaxed).max(1);
        let common = half.saturating_sub(self.held()) / COMMON_PART;
        // Half a share at a time, so that the next half can be read while the first is processed.
        let bytes = share.saturating_sub(own).min(share / 2).max(common.min(limits::MAX_GET_RECORDS_BYTES));
        Room { empty_handed: own == 0, bytes }
    }
}

/// What one shard holds of the budget. Dropping it gives everything back.
#[derive(Debug)]
pub(super) struct Holding {
    budget: Arc<Budget>,
    own: usize,
    /// The part of it that is expected of the read under way.
    expected: usize,
}

impl Holding {
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        budget.shards.fetch_add(1, Relaxed);
        Self { budget, own: 0, expected: 0 }
    }

    pub(super) fn room(&self) -> Room {
        self.budget.room(self.own)
    }

    /// A read begins that is likely to bring this.
    pub(super) fn expect(&mut self, bytes: usize) {
        self.settle(0);
        self.expected = bytes;
        self.add(bytes);
    }

    /// The read is over and brought this, expected or not.
    pub(super) fn settle(&mut self, bytes: usize) {
        let expected = std::mem::take(&mut self.expected);
        self.remove(expected);
        self.add(bytes);
    }

    pub(super) fn add(&mut self, bytes: usize) {
        self.own += bytes;
        self.budget.held.fetch_add(bytes, Relaxed);
    }

    pub(super) fn remove(&mut self, bytes: usize) {
        let bytes = bytes.min(self.own);
        self.own -= bytes;
        self.budget.held.fetch_sub(bytes, Relaxed);
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.remove(self.own);
        self.budget.shards.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIB: usize = 1024 * 1024;

    fn holdings(bytes: usize, count: usize) -> Vec<Holding> {
        let budget = Arc::new(Budget::new(bytes));
        (0..count).map(|_| Holding::new(Arc::clone(&budget))).collect()
    }

    /// Reads until there is no room for another record of this size.
    fn fill(holding: &mut Holding, record: usize) {
        while holding.own == 0 || holding.room().bytes >= record {
            let bytes = holding.room().bytes.max(record);
            holding.expect(bytes);
            holding.settle(bytes);
        }
    }

    #[test]
    fn a_lone_shard_reads_the_largest_answers() {
        let mut shards = holdings(256 * MIB, 1);
        assert_eq!(shards[0].room(), Room { empty_handed: true, bytes: 64 * MIB });
        shards[0].expect(10 * MIB);
        assert!(!shards[0].room().empty_handed, "a read under way counts");
        shards[0].settle(0);
        assert!(shards[0].room().empty_handed);
    }

    #[test]
    fn a_busy_shard_among_a_thousand_idle_ones_reads_the_largest_answers() {
        let shards = holdings(256 * MIB, 1_000);
        assert_eq!(shards[0].room().bytes, 10 * MIB);
    }

    #[test]
    fn stalled_shards_leave_every_other_its_share() {
        let mut shards = holdings(256 * MIB, 1_000);
        let share = 128 * MIB / 1_000;
        for stalled in &mut shards[..999] {
            fill(stalled, 10_000);
        }
        let last = &shards[999];
        assert!(last.budget.held() <= 256 * MIB, "{}", last.budget.held());
        assert!(last.room().empty_handed && last.room().bytes >= share / 2, "{:?}", last.room());
    }

    #[test]
    fn what_a_dropped_shard_held_is_free_again() {
        let mut shards = holdings(64 * MIB, 3);
        for shard in &mut shards {
            fill(shard, MIB);
        }
        let budget = Arc::clone(&shards[0].budget);
        assert!(budget.held() > 32 * MIB);
        drop(shards);
        assert_eq!((budget.held(), budget.shards.load(Relaxed)), (0, 0));
    }

    proptest! {
        /// Whatever is read, processed and stalled in whatever order: within the budget, as answers are as expected.
        #[test]
        fn the_budget_holds(shards in 1_usize..50, turns in prop::collection::vec((0_usize..50, any::<bool>()), 0..300)) {
            const RECORD: usize = 50_000;
            let mut holdings = holdings(64 * MIB, shards);
            for (turn, process) in turns {
                let holding = &mut holdings[turn % shards];
                if process {
                    holding.remove(holding.own);
                } else if holding.room().bytes >= RECORD {
                    let bytes = holding.room().bytes;
                    holding.expect(bytes);
                    holding.settle(bytes);
                }
                prop_assert!(holding.budget.held() <= 64 * MIB);
            }
        }
    }
}
