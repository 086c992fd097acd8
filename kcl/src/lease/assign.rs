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

// What was seen of each row.
mod observations;

pub(crate) use observations::Observations;

/// After how many failover times without an owner a lease is taken whatever the share.
const VERY_OLD: u32 = 3;

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
    /// The leases it asked for.
    pub(crate) asked: &'a BTreeSet<LeaseKey>,
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
#[cfg_attr(test, derive(Hash))]
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
    /// The same, and the row names this worker. It may be giving the lease back still, with a request that comes late and
    /// takes the next tenure's row for the last one's, so the take must be confirmed.
    OwnExpired,
}

impl Why {
    /// Whether belief begins with a renewal after the take, and not with the take.
    pub(crate) fn must_be_confirmed(self) -> bool {
        matches!(self, Self::OwnName | Self::OwnExpired)
    }
}

/// What a listing shows besides what is to be done; for whoever watches the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Census {
    pub(crate) total: usize,
    pub(crate) workers: usize,
    pub(crate) expired: usize,
    pub(crate) very_old: usize,
    pub(crate) needed: usize,
    pub(crate) to_take: usize,
    pub(crate) spillover: usize,
}

/// What to do now, given `leases` as just observed, and what was seen.
pub(crate) fn survey(leases: &[Lease], situation: &Situation<'_>, rng: &mut impl Rng) -> (Vec<Move>, Census) {
    let count = Count::of(leases, situation);
    let most = situation.bounds.max_leases;
    let moves = count.moves(situation, rng);
    let very_old = situation.bounds.failover_time * VERY_OLD;
    let census = Census {
        total: leases.len(),
        workers: count.others.len() + 1,
        expired: count.available.len(),
        very_old: count.available.iter().filter(|one| one.age >= very_old).count(),
        needed: count.need(most),
        to_take: moves.iter().filter(|one| matches!(one, Move::Take { .. })).count(),
        spillover: count.share().saturating_sub(most),
    };
    (moves, census)
}

/// What to do now, given `leases` as just observed.
pub(crate) fn plan(leases: &[Lease], situation: &Situation<'_>, rng: &mut impl Rng) -> Vec<Move> {
    Count::of(leases, situation).moves(situation, rng)
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
            } else if let Some(why) = takeable(lease, situation) {
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

    fn moves(&self, situation: &Situation<'_>, rng: &mut impl Rng) -> Vec<Move> {
        let bounds = situation.bounds;
        let room = bounds.max_leases.saturating_sub(self.mine);
        let need = self.need(bounds.max_leases);
        // Asking is the last resort: while anything is free, nobody needs to give.
        if self.available.is_empty() {
            let budget = bounds.max_leases_to_steal.saturating_sub(situation.asked.len());
            return self.asks(need, budget, rng);
        }
        self.takes(room, need, rng)
    }

    /// What this worker is short of its share.
    fn need(&self, max_leases: usize) -> usize {
        self.share().min(max_leases).saturating_sub(self.mine)
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
        if kinesis_shard::planted("nobody asks for a lease") {
            return Vec::new();
        }
        let most = self.others.values().map(Vec::len).max().unwrap_or(0);
        let loaded: Vec<_> = self.others.iter().filter(|(_, leases)| leases.len() == most).collect();
        let Some((from, leases)) = loaded.choose(rng) else { return Vec::new() };
        let above = most.saturating_sub(self.share());
        let count = if above == 0 && need > 1 && most == self.share() { 1 } else { above.min(need) };
        let greedy = kinesis_shard::planted("who has a share asks for more");
        let count = if greedy { 1 } else { count };
        // A lease that is being handed over already cannot be asked for.
        let mut free: Vec<_> = leases.iter().filter(|lease| lease.checkpoint_owner.is_none()).collect();
        free.shuffle(rng);
        let asked = free.into_iter().take(count.min(budget));
        asked.map(|lease| Move::Ask { key: lease.key.clone(), from: WorkerId::clone(from) }).collect()
    }
}

fn takeable(lease: &Lease, situation: &Situation<'_>) -> Option<Why> {
    let mut failover_time = situation.bounds.failover_time;
    if kinesis_shard::planted("half the failover time is enough") {
        failover_time /= 2;
    }
    if kinesis_shard::planted("the dead are given twice the time") {
        failover_time *= 2;
    }
    let names_me = lease.owner.as_ref() == Some(situation.worker);
    let asked_for = situation.asked.contains(&lease.key);
    let marked = lease.checkpoint_owner.is_some();
    let left = situation.left_behind.get(&lease.key).is_some_and(|ours| ours.contains(&lease.counter));
    if lease.actual_owner().is_none() {
        if kinesis_shard::planted("free leases stay free") {
            return None;
        }
        Some(Why::Free)
    } else if names_me && !marked && left {
        Some(Why::OwnName)
    } else if names_me && !marked && asked_for {
        Some(Why::HandedOver)
    } else if marked && kinesis_shard::planted("who was asked for a lease is waited for for ever") {
        None
    } else if situation.seen.has_expired(lease, failover_time, situation.now)
        && !kinesis_shard::planted("the dead keep their leases")
    {
        let mine = lease.actual_owner() == Some(situation.worker);
        Some(if mine { Why::OwnExpired } else { Why::Expired })
    } else if names_me && marked && situation.seen.owned_for(lease, situation.now) >= failover_time {
        Some(Why::Unanswered)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;
    use crate::lease::rules::{self, Verdict};
    use crate::lease::test_support::{D, key, now, row, worker};
    use crate::lease::{Operation, Stamp};
    use kinesis_shard::Checkpoint;

    const FREE: Bounds = Bounds { failover_time: D, max_leases: usize::MAX, max_leases_to_steal: 1 };

    /// A worker's view: what it holds and what it has seen.
    struct View {
        me: WorkerId,
        held: BTreeSet<LeaseKey>,
        left_behind: BTreeMap<LeaseKey, BTreeSet<LeaseCounter>>,
        asked: BTreeSet<LeaseKey>,
        seen: Observations,
        bounds: Bounds,
        rng: SmallRng,
    }

    impl View {
        fn of(me: &str) -> Self {
            Self {
                me: worker(me),
                held: BTreeSet::new(),
                left_behind: BTreeMap::new(),
                asked: BTreeSet::new(),
                seen: Observations::default(),
                bounds: FREE,
                rng: SmallRng::seed_from_u64(1),
            }
        }

        fn scan(&mut self, leases: &[Lease], now: Instant) -> Vec<Move> {
            self.survey(leases, now).0
        }

        fn survey(&mut self, leases: &[Lease], now: Instant) -> (Vec<Move>, Census) {
            self.seen.record(leases, D, now);
            let situation = Situation {
                worker: &self.me,
                held: &self.held,
                left_behind: &self.left_behind,
                asked: &self.asked,
                seen: &self.seen,
                bounds: self.bounds,
                now,
            };
            survey(leases, &situation, &mut self.rng)
        }
    }

    #[test]
    fn a_row_made_anew_in_other_hands_has_not_stood_still() {
        let (mut view, start) = (View::of("me"), now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(taken(&view.scan(&[row(1, "ann", 1)], at(0))).is_empty());
        assert!(taken(&view.scan(&[row(1, "bob", 1)], at(9))).is_empty(), "deleted, and made anew");
        assert!(taken(&view.scan(&[row(1, "bob", 1)], at(11))).is_empty());
        assert_eq!(taken(&view.scan(&[row(1, "bob", 1)], at(19))), [(key(1), Why::Expired)]);
    }

    #[test]
    fn a_row_made_anew_at_the_same_counter_by_the_same_owner_has_not_stood_still() {
        let (mut view, start) = (View::of("me"), now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let taken_at = |seconds: u64| {
            let (counter, sent_micros) = (LeaseCounter::new(1), (100 + seconds) * 1_000_000);
            Lease { stamp: Some(Stamp { process: 7, sent_micros, counter }), ..row(1, "ann", 1) }
        };
        assert!(taken(&view.scan(&[taken_at(0)], at(0))).is_empty());
        // Ended, deleted, made anew, and taken again: all of that between two looks at the table.
        assert!(taken(&view.scan(&[taken_at(9)], at(10))).is_empty(), "of the stamp, not of the counter");
        assert!(taken(&view.scan(&[taken_at(9)], at(18))).is_empty());
        assert_eq!(taken(&view.scan(&[taken_at(9)], at(20))), [(key(1), Why::Expired)]);
    }

    #[test]
    fn a_census_counts_leases_workers_and_what_is_left() {
        let (mut view, start) = (View::of("me"), now());
        view.bounds.max_leases = 1;
        let leases = rows(&["ann", "bob", "", "", ""]);
        view.seen.record(&leases, D, start);
        let mut census = |now| view.survey(&leases, now).1;
        let found = census(start + D / 2);
        let expected =
            Census { total: 5, workers: 3, expired: 3, needed: 1, to_take: 1, spillover: 1, very_old: 0 };
        assert_eq!(found, expected);
        // Who does not renew is no worker any more, and what nobody takes grows old.
        let old = census(start + D * 3);
        assert_eq!((old.workers, old.expired, old.very_old, old.spillover), (1, 5, 5, 4));
        let less = census(start + D * 2);
        assert_eq!((less.expired, less.very_old), (5, 0));
    }

    fn rows(owners: &[&str]) -> Vec<Lease> {
        (0..).zip(owners).map(|(index, owner)| row(index, owner, 1)).collect()
    }

    fn taken(moves: &[Move]) -> Vec<(LeaseKey, Why)> {
        let take = |one: &Move| match one {
            Move::Take { key, why, .. } => Some((key.clone(), *why)),
            Move::Ask { .. } => None,
        };
        moves.iter().filter_map(take).collect()
    }

    fn asked(moves: &[Move]) -> usize {
        moves.iter().filter(|one| matches!(one, Move::Ask { .. })).count()
    }

    #[test]
    fn one_worker_alone_takes_everything() {
        assert_eq!(taken(&View::of("ann").scan(&rows(&[""; 10]), now())).len(), 10);
    }

    #[test]
    fn free_leases_are_taken_up_to_the_fair_share() {
        // Bob lives and has 2 of 10: five are for me.
        let mut owners = vec!["bob", "bob"];
        owners.extend([""; 8]);
        assert_eq!(taken(&View::of("ann").scan(&rows(&owners), now())).len(), 5);
    }

    #[test]
    fn a_lease_is_expired_only_after_standing_still_for_the_failover_time_from_its_first_sight() {
        let (mut view, start) = (View::of("ann"), now());
        let leases = rows(&["bob"]);
        for (millis, expired) in [(0, false), (5_000, false), (9_999, false), (10_000, true)] {
            let moves = view.scan(&leases, start + Duration::from_millis(millis));
            assert_eq!(!taken(&moves).is_empty(), expired, "{millis}");
        }
    }

    #[test]
    fn the_next_expiry_is_that_of_the_lease_that_stands_still_longest() {
        let (mut view, start) = (View::of("ann"), now());
        view.held = BTreeSet::from([key(3)]);
        let mut finished = row(4, "bob", 1);
        finished.checkpoint = Checkpoint::ShardEnd;
        let at = |counter| {
            vec![row(0, "bob", 1), row(1, "bob", counter), row(2, "", 1), row(3, "ann", 1), finished.clone()]
        };
        view.seen.record(&at(1), D, start);
        let later = start + Duration::from_secs(4);
        view.seen.record(&at(2), D, later);
        let next = |view: &View, now| view.seen.next_expiry(&at(2), &view.held, D, now);
        assert_eq!(next(&view, later), Some(start + D));
        assert_eq!(next(&view, start + D), Some(later + D), "one that is over is not waited for");
        assert_eq!(next(&view, later + D), None);
    }

    #[test]
    fn a_counter_that_moves_starts_the_time_anew() {
        let (mut view, start) = (View::of("ann"), now());
        for second in (0..100).step_by(9) {
            let leases = [row(0, "bob", second)];
            assert_eq!(view.scan(&leases, start + Duration::from_secs(second)), []);
        }
    }

    #[test]
    fn a_counter_that_went_back_is_a_new_one() {
        let (mut view, start) = (View::of("ann"), now());
        view.scan(&[row(0, "bob", 7)], start);
        assert_eq!(view.scan(&[row(0, "bob", 2)], start + D), []);
    }

    #[test]
    fn very_old_leases_are_taken_whatever_the_share_and_first() {
        let (mut view, start) = (View::of("ann"), now());
        // Bob lives; cyd has been dead for longer than the others.
        let dead = ["cyd", "cyd", "cyd", "cyd"];
        let at = |second: u64| {
            let mut leases = rows(&dead);
            leases.extend((10..14).map(|index| row(index, "bob", second)));
            leases
        };
        view.scan(&at(0), start);
        assert_eq!(taken(&view.scan(&at(29), start + Duration::from_secs(29))).len(), 4);
        view.held = (20..24).map(key).collect();
        let mut with_mine = at(30);
        with_mine.extend((20..24).map(|index| row(index, "ann", 3)));
        let moves = taken(&view.scan(&with_mine, start + Duration::from_secs(30)));
        assert_eq!(moves.iter().filter(|(_, why)| *why == Why::Expired).count(), 4, "{moves:?}");
    }

    #[test]
    fn what_is_not_yet_very_old_waits_for_whoever_is_below_its_share() {
        let (mut view, start) = (View::of("ann"), now());
        let mut leases = rows(&["cyd", "ann", "ann"]);
        view.held = [1, 2].map(key).into();
        view.scan(&leases, start);
        leases.push(row(3, "bob", 1));
        // Of four leases two are ann's share beside bob, and she has them.
        let later = |seconds| start + Duration::from_secs(seconds);
        view.scan(&leases, later(25));
        assert!(taken(&view.scan(&leases, later(29))).is_empty());
        assert_eq!(taken(&view.scan(&leases, later(30))), [(key(0), Why::Expired)]);
    }

    #[test]
    fn with_room_for_one_the_very_old_comes_before_the_free() {
        let (mut view, start) = (View::of("ann"), now());
        view.bounds.max_leases = 1;
        view.scan(&[row(0, "cyd", 1)], start);
        for _ in 0..8 {
            let moves = view.scan(&[row(0, "cyd", 1), row(1, "", 1)], start + Duration::from_secs(30));
            assert_eq!(taken(&moves), [(key(0), Why::Expired)]);
        }
    }

    #[test]
    fn leases_that_are_asked_for_count_as_mine() {
        let (mut view, start) = (View::of("ann"), now());
        let marked = |index| Lease { checkpoint_owner: Some(worker("bob")), ..row(index, "ann", 1) };
        let mut leases = vec![marked(0), marked(1), row(2, "cyd", 1)];
        leases.extend((3..11).map(|index| row(index, "bob", 1)));
        view.bounds.max_leases_to_steal = 9;
        view.asked = [0, 1].map(key).into();
        assert_eq!(
            asked(&view.scan(&leases, start)),
            2,
            "of eleven four are a share, and two are on their way"
        );
    }

    #[test]
    fn the_oldest_comes_first_when_there_is_room_for_one() {
        let (mut view, start) = (View::of("ann"), now());
        view.bounds.max_leases = 1;
        view.scan(&[row(0, "cyd", 1)], start);
        let both = [row(0, "cyd", 1), row(1, "dan", 1)];
        view.scan(&both, start + Duration::from_secs(5));
        let moves = view.scan(&both, start + Duration::from_secs(40));
        assert_eq!(taken(&moves), [(key(0), Why::Expired)]);
    }

    #[test]
    fn the_maximum_is_never_exceeded() {
        let mut view = View::of("ann");
        view.bounds.max_leases = 3;
        assert_eq!(taken(&view.scan(&rows(&[""; 10]), now())).len(), 3);
        view.held = (0..3).map(key).collect();
        assert_eq!(view.scan(&rows(&[""; 10]), now()), []);
    }

    #[test]
    fn a_live_lease_is_asked_for_and_not_taken() {
        let moves = View::of("ann").scan(&rows(&["bob"; 4]), now());
        assert_eq!((taken(&moves).len(), asked(&moves)), (0, 1));
    }

    #[test]
    fn no_more_is_asked_for_than_allowed_at_one_time() {
        let mut view = View::of("ann");
        view.bounds.max_leases_to_steal = 3;
        assert_eq!(asked(&view.scan(&rows(&["bob"; 10]), now())), 3);
        view.asked = BTreeSet::from([key(90), key(91)]);
        assert_eq!(asked(&view.scan(&rows(&["bob"; 10]), now())), 1);
        view.bounds.max_leases_to_steal = 0;
        assert_eq!(asked(&view.scan(&rows(&["bob"; 10]), now())), 0);
    }

    #[test]
    fn nothing_is_asked_for_while_something_is_free() {
        let mut leases = rows(&["bob"; 9]);
        leases.push(row(9, "", 1));
        let moves = View::of("ann").scan(&leases, now());
        assert_eq!((taken(&moves).len(), asked(&moves)), (1, 0));
    }

    #[test]
    fn shares_that_differ_by_one_are_left_alone() {
        let cases: [(&[&str], usize); 6] = [
            (&["ann", "ann", "bob", "bob", "bob"], 0),
            (&["ann", "bob", "bob", "bob"], 1),
            (&["ann", "bob", "cyd"], 0),
            (&["ann", "ann", "bob", "bob", "bob", "bob", "cyd", "cyd", "cyd", "cyd"], 1),
            (&["ann", "ann", "ann", "bob", "bob", "bob", "cyd", "cyd", "cyd", "cyd"], 0),
            (&["bob"], 0),
        ];
        for (owners, expected) in cases {
            let mut view = View::of("ann");
            let leases = rows(owners);
            view.held = leases
                .iter()
                .filter(|row| row.owner == Some(worker("ann")))
                .map(|row| row.key.clone())
                .collect();
            assert_eq!(asked(&view.scan(&leases, now())), expected, "{owners:?}");
        }
    }

    #[test]
    fn finished_leases_are_neither_taken_nor_counted() {
        let mut leases = rows(&["", "bob", "bob"]);
        for lease in &mut leases {
            lease.checkpoint = Checkpoint::ShardEnd;
        }
        assert_eq!(View::of("ann").scan(&leases, now()), []);
        leases.push(row(9, "bob", 1));
        assert_eq!(View::of("ann").scan(&leases, now()), [], "one live lease is bob's share");
    }

    #[test]
    fn a_row_that_names_me_is_taken_only_if_i_left_it_or_was_given_it() {
        let (mut view, start) = (View::of("ann"), now());
        let leases = rows(&["ann"]);
        assert_eq!(view.scan(&leases, start), [], "another process of my name may hold it");
        view.left_behind = BTreeMap::from([(key(0), BTreeSet::from([LeaseCounter::new(9)]))]);
        assert_eq!(view.scan(&leases, start), [], "it has moved since");
        view.left_behind = BTreeMap::from([(key(0), BTreeSet::from([LeaseCounter::new(1)]))]);
        assert_eq!(taken(&view.scan(&leases, start)), [(key(0), Why::OwnName)]);
        view.left_behind.clear();
        view.asked = BTreeSet::from([key(0)]);
        assert_eq!(taken(&view.scan(&leases, start)), [(key(0), Why::HandedOver)]);
    }

    #[test]
    fn a_row_that_names_me_without_my_doing_is_taken_once_it_stands_still() {
        let (mut view, start) = (View::of("ann"), now());
        view.scan(&rows(&["ann"]), start);
        assert_eq!(taken(&view.scan(&rows(&["ann"]), start + D)), [(key(0), Why::OwnExpired)]);
    }

    #[test]
    fn an_owner_that_writes_on_without_answering_the_mark_loses_the_lease() {
        let (mut view, start) = (View::of("ann"), now());
        view.asked = BTreeSet::from([key(0)]);
        let marked = |counter| Lease { checkpoint_owner: Some(worker("java")), ..row(0, "ann", counter) };
        assert_eq!(view.scan(&[marked(5)], start + D / 2), []);
        assert_eq!(
            view.scan(&[marked(6)], start + D),
            [],
            "the time counts from when the mark was seen, not asked for"
        );
        assert_eq!(taken(&view.scan(&[marked(7)], start + D * 3 / 2)), [(key(0), Why::Unanswered)]);
    }

    #[test]
    fn a_mark_not_looked_at_for_long_counts_anew() {
        let (mut view, start) = (View::of("ann"), now());
        let marked = |counter| Lease { checkpoint_owner: Some(worker("bob")), ..row(0, "ann", counter) };
        view.scan(&[marked(5)], start);
        assert_eq!(view.scan(&[marked(9)], start + D), [], "it may be another mark");
        assert_eq!(view.scan(&[marked(10)], start + D * 3 / 2), []);
        assert_eq!(taken(&view.scan(&[marked(11)], start + D * 2)), [(key(0), Why::Unanswered)]);
    }

    #[test]
    fn a_lease_that_is_being_handed_over_is_not_asked_for() {
        let marked = |index| Lease { checkpoint_owner: Some(worker("cyd")), ..row(index, "bob", 1) };
        let leases: Vec<_> = (0..4).map(marked).collect();
        assert_eq!(View::of("ann").scan(&leases, now()), []);
    }

    proptest! {
        /// Takes never exceed the maximum, never touch a live lease of another, and never name a lease twice.
        #[test]
        fn takes_stay_within_bounds(
            owners in prop::collection::vec((0_usize..4, any::<bool>(), any::<bool>()), 0..40),
            max_leases in 0_usize..12,
            max_leases_to_steal in 0_usize..4,
            seed in any::<u64>(),
        ) {
            let names = ["", "ann", "bob", "cyd"];
            let start = now();
            let mut view = View::of("ann");
            view.bounds = Bounds { failover_time: D, max_leases, max_leases_to_steal };
            view.rng = SmallRng::seed_from_u64(seed);
            let leases = |later: bool| -> Vec<Lease> {
                let lease = |(index, (owner, alive, _)): (u64, &(usize, bool, bool))| {
                    row(index, names[*owner], 1 + u64::from(later && *alive))
                };
                (0..).zip(&owners).map(lease).collect()
            };
            view.held = (0..).zip(&owners).filter(|(_, (owner, _, held))| *owner == 1 && *held).map(|(index, _)| key(index)).collect();
            let held = view.held.len();
            view.seen.record(&leases(false), D, start);
            let moves = view.scan(&leases(true), start + D);
            let takes = taken(&moves);
            prop_assert!(takes.len() + held <= max_leases.max(held));
            prop_assert!(asked(&moves) <= max_leases_to_steal);
            let distinct: BTreeSet<_> = takes.iter().map(|(key, _)| key).collect();
            prop_assert_eq!(distinct.len(), takes.len());
            for (key, _) in &takes {
                let index = usize::try_from(key.shard_id().index().unwrap()).unwrap();
                let (owner, alive, held) = owners[index];
                prop_assert!(owner == 0 || !alive, "live lease {index} taken");
                prop_assert!(!(owner == 1 && held), "held lease {index} taken");
            }
        }

        /// From any distribution the fleet comes to shares that differ by one at most, and then nothing moves any more.
        #[test]
        fn any_fleet_comes_to_rest_in_balance(
            owners in prop::collection::vec(0_usize..5, 1..40),
            workers in 1_usize..6,
            seed in any::<u64>(),
        ) {
            let names = ["ann", "bob", "cyd", "dan", "eve"];
            let owner = |index: usize| if index < workers { names[index] } else { "" };
            let mut leases: Vec<Lease> = (0..).zip(&owners).map(|(index, one)| row(index, owner(*one), 1)).collect();
            let mut views: Vec<_> = (0..workers).map(|index| View { rng: SmallRng::seed_from_u64(seed + index as u64), ..View::of(names[index]) }).collect();
            let (mut rested, start) = (0, now());
            for round in 0..400_u64 {
                let now = start + Duration::from_secs(round);
                let mut moved = false;
                for view in &mut views {
                    view.held = leases.iter().filter(|row| row.owner.as_ref() == Some(&view.me)).map(|row| row.key.clone()).collect();
                    for one in view.scan(&leases, now) {
                        moved = true;
                        // An owner answers the mark at once here: both writes of a hand-over.
                        let (key, operations) = match one {
                            Move::Take { key, counter, .. } => (key, vec![Operation::Take { expected: counter, worker: view.me.clone() }]),
                            Move::Ask { key, from } => (key, vec![Operation::StartHandoff { from, to: view.me.clone() }]),
                        };
                        let row = leases.iter_mut().find(|row| row.key == key).unwrap();
                        for operation in operations {
                            if let Verdict::Becomes(after) = rules::apply(Some(row), &operation) {
                                *row = after;
                            }
                        }
                        row.checkpoint_owner = None;
                    }
                }
                for row in &mut leases {
                    row.counter = row.counter.next();
                }
                rested = if moved { 0 } else { rested + 1 };
            }
            prop_assert!(rested > 100, "still moving");
            let shares: Vec<_> = views.iter().map(|view| leases.iter().filter(|row| row.owner.as_ref() == Some(&view.me)).count()).collect();
            prop_assert_eq!(shares.iter().sum::<usize>(), leases.len());
            prop_assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1, "{:?}", shares);
        }
    }
}
