//! What this worker saw of the rows of the table, and for how long each has stood still: pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::lease::stamp::Clocks;
use crate::lease::{Lease, LeaseCounter, LeaseKey, Owners, Stamp};

/// How long a row may go unseen, in quarters of the failover time, for its mark to count as the same one. A mark that went
/// and came back is another one, on another tenure; between the two the lease must have expired, which takes longer.
const SAME_MARK_QUARTERS: u32 = 3;

/// What part of the failover time a counter must have been *seen* to stand still before its lease is taken, whatever its
/// stamp says. Bounds by stamps need no such rule; it is there for clocks that are worse than they may be.
const SEEN_PART: u32 = 5;

/// What this worker saw of each row, and since when, on its own monotonic clock.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Hash))]
pub(crate) struct Observations {
    rows: BTreeMap<LeaseKey, Seen>,
    latest: Option<Instant>,
    clocks: Clocks,
}

#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Hash))]
struct Seen {
    counter: LeaseCounter,
    /// When the counter was first seen.
    read_at: Instant,
    /// The stamp of the write that left it, if its writer leaves any.
    stamp: Option<Stamp>,
    /// When it was written at the latest: when it was first seen, or what its stamp says if that is earlier.
    counter_since: Instant,
    owners: Owners,
    owners_since: Instant,
}

impl Default for Observations {
    /// With clocks that are off by what workers allow by default.
    fn default() -> Self {
        Self::with_clock_error(10_000)
    }
}

impl Observations {
    /// Nothing seen yet. `clock_error_ppm`: by how much any clock may be off, in millionths.
    pub(crate) fn with_clock_error(clock_error_ppm: u32) -> Self {
        Self { rows: BTreeMap::new(), latest: None, clocks: Clocks::new(clock_error_ppm) }
    }

    /// Takes in a listing whose *response* arrived at `answered_at`.
    pub(crate) fn record(&mut self, leases: &[Lease], failover_time: Duration, answered_at: Instant) {
        let unseen = self.latest.map(|latest| answered_at.saturating_duration_since(latest));
        let unbroken = unseen.is_some_and(|unseen| unseen < failover_time * SAME_MARK_QUARTERS / 4);
        let stamps = || leases.iter().filter_map(Lease::written);
        self.clocks.retain(&stamps().map(|stamp| stamp.process).collect());
        for stamp in stamps() {
            self.clocks.read(&stamp, failover_time, answered_at);
        }
        let seen = |lease: &Lease| {
            let before = self.rows.get(&lease.key);
            (lease.key.clone(), self.seen(lease, before, unbroken, answered_at))
        };
        self.rows = leases.iter().map(seen).collect();
        self.latest = Some(answered_at);
    }

    /// Takes in one row of which the *response* arrived at `answered_at`. What is known of marks rests on listings alone.
    pub(crate) fn record_one(&mut self, lease: &Lease, failover_time: Duration, answered_at: Instant) {
        if let Some(stamp) = lease.written() {
            self.clocks.read(&stamp, failover_time, answered_at);
        }
        if let Some(before) = self.rows.get(&lease.key) {
            let seen = self.seen(lease, Some(before), true, answered_at);
            self.rows.insert(lease.key.clone(), seen);
        }
    }

    fn seen(&self, lease: &Lease, before: Option<&Seen>, unbroken: bool, answered_at: Instant) -> Seen {
        let (counter, owners) = (lease.counter, lease.owners());
        let stamp = lease.written();
        // In other hands, or with another write's stamp, it is another row, made anew after one that was deleted, and its
        // counter another counter.
        let same = |seen: &&Seen| {
            seen.counter == counter && seen.owners.actual() == lease.actual_owner() && seen.stamp == stamp
        };
        let first_seen = if kinesis_shard::planted("a counter stood still before it was seen") {
            answered_at.checked_sub(Duration::from_mins(1)).unwrap_or(answered_at)
        } else {
            answered_at
        };
        let known = before.filter(same);
        let (read_at, since) =
            known.map_or((first_seen, first_seen), |seen| (seen.read_at, seen.counter_since));
        let sent_by = stamp.and_then(|stamp| self.clocks.sent_by(&stamp));
        let owners_since = before
            .filter(|seen| unbroken && seen.owners == owners)
            .map_or(answered_at, |seen| seen.owners_since);
        Seen {
            counter,
            stamp,
            read_at,
            counter_since: sent_by.map_or(since, |sent_by| sent_by.min(since)),
            owners,
            owners_since,
        }
    }

    /// For models: as if `time` had passed while `now` stayed. What was at `oldest` or before is at `oldest`.
    #[cfg(test)]
    pub(crate) fn age(&mut self, time: Duration, oldest: Instant) {
        use crate::lease::test_support::aged;
        self.latest = self.latest.map(|at| aged(at, time, oldest));
        for seen in self.rows.values_mut() {
            seen.read_at = aged(seen.read_at, time, oldest);
            seen.counter_since = aged(seen.counter_since, time, oldest);
            seen.owners_since = aged(seen.owners_since, time, oldest);
        }
    }

    /// For models of rows with stamps: the same for these, and for what is known of the writers' clocks.
    #[cfg(test)]
    pub(crate) fn age_stamps(&mut self, time: Duration, older: impl Fn(u64, u64) -> u64) {
        for stamp in self.rows.values_mut().filter_map(|seen| seen.stamp.as_mut()) {
            stamp.sent_micros = older(stamp.process, stamp.sent_micros);
        }
        self.clocks.age(time, older);
    }

    /// For models without hand-overs: since when owners own makes no difference.
    #[cfg(test)]
    pub(crate) fn forget_marks(&mut self) {
        self.latest = None;
        for seen in self.rows.values_mut() {
            seen.owners_since = seen.counter_since;
        }
    }

    /// When the next lease of somebody else will have stood still for the failover time, if nothing moves until then.
    pub(crate) fn next_expiry(
        &self,
        leases: &[Lease],
        held: &BTreeSet<LeaseKey>,
        failover_time: Duration,
        now: Instant,
    ) -> Option<Instant> {
        let watched = leases.iter().filter(|lease| {
            !lease.is_finished() && lease.actual_owner().is_some() && !held.contains(&lease.key)
        });
        let expiry = |lease: &Lease| {
            let seen = self.rows.get(&lease.key).filter(|seen| seen.counter == lease.counter)?;
            let seen_enough = seen.read_at.checked_add(failover_time / SEEN_PART)?;
            Some(seen.counter_since.checked_add(failover_time)?.max(seen_enough))
        };
        watched.filter_map(expiry).filter(|at| *at > now).min()
    }

    /// For how long the counter of this row has stood still, at least.
    pub(crate) fn still_for(&self, lease: &Lease, now: Instant) -> Duration {
        let seen = self.rows.get(&lease.key).filter(|seen| seen.counter == lease.counter);
        seen.map_or(Duration::ZERO, |seen| now.saturating_duration_since(seen.counter_since))
    }

    /// Whether the stamp of this row said more than reading it did.
    #[cfg(test)]
    pub(crate) fn stamp_was_earlier(&self, lease: &Lease) -> bool {
        self.rows.get(&lease.key).is_some_and(|seen| seen.counter_since < seen.read_at)
    }

    /// Whether the counter of this row has stood still for the failover time.
    pub(super) fn has_expired(&self, lease: &Lease, failover_time: Duration, now: Instant) -> bool {
        let seen = self.rows.get(&lease.key).filter(|seen| seen.counter == lease.counter);
        let watched = seen.map_or(Duration::ZERO, |seen| now.saturating_duration_since(seen.read_at));
        watched >= failover_time / SEEN_PART && self.still_for(lease, now) >= failover_time
    }

    /// For how long this row was seen to have these owners, and so a mark of a hand-over if it has one. Not since the
    /// mark was *asked for*: that request may have taken any time to arrive, and until it does the owner renews.
    pub(super) fn owned_for(&self, lease: &Lease, now: Instant) -> Duration {
        let seen = self.rows.get(&lease.key).filter(|seen| seen.owners == lease.owners());
        seen.map_or(Duration::ZERO, |seen| now.saturating_duration_since(seen.owners_since))
    }
}

#[cfg(test)]
mod tests {
    use kinesis_shard::Checkpoint;

    use super::*;
    use crate::lease::test_support::{D, key, now, row, worker};

    #[test]
    fn only_unfinished_leases_of_others_are_waited_for() {
        let start = now();
        let finished = Lease { checkpoint: Checkpoint::ShardEnd, ..row(0, "bob", 1) };
        for (lease, held, waited_for) in [
            (row(0, "bob", 1), None, true),
            (row(0, "bob", 1), Some(key(1)), true),
            (row(0, "bob", 1), Some(key(0)), false),
            (row(0, "", 1), None, false),
            (finished, None, false),
        ] {
            let (mut seen, leases) = (Observations::default(), [lease]);
            seen.record(&leases, D, start);
            let next = seen.next_expiry(&leases, &BTreeSet::from_iter(held), D, start);
            assert_eq!(next, waited_for.then_some(start + D), "{leases:?}");
        }
    }

    #[test]
    fn a_row_read_by_itself_counts_if_a_listing_has_shown_it() {
        let (mut seen, start) = (Observations::default(), now());
        let at = |seconds| start + Duration::from_secs(seconds);
        seen.record(&[row(0, "bob", 1)], D, start);
        seen.record_one(&row(0, "bob", 2), D, at(4));
        seen.record_one(&row(1, "bob", 1), D, at(4));
        assert_eq!(seen.still_for(&row(0, "bob", 2), at(9)), Duration::from_secs(5));
        assert_eq!(seen.still_for(&row(1, "bob", 1), at(9)), Duration::ZERO);
    }

    #[test]
    fn a_mark_that_went_unseen_for_three_quarters_of_the_failover_time_is_another_one() {
        let start = now();
        let marked = [Lease { checkpoint_owner: Some(worker("bob")), ..row(0, "ann", 1) }];
        for (unseen_millis, owned_millis) in [(7_499, 7_499), (7_500, 0)] {
            let later = start + Duration::from_millis(unseen_millis);
            let mut seen = Observations::default();
            seen.record(&marked, D, start);
            seen.record(&marked, D, later);
            assert_eq!(seen.owned_for(&marked[0], later), Duration::from_millis(owned_millis));
        }
    }
}
