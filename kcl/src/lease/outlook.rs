//! Whom to watch, and whether anything is going on that the whole table must be read for: pure.
//!
//! Workers that leave stamps need not be read row by row, and not often. Each watches one lease of one other worker, the next
//! one by name, so that every worker is watched by somebody:
//!
//! - a row that changes hands, or carries a nudge, is a reason to read the table now;
//! - a row that stands still for most of the failover time makes its owner a suspect. The table is read, the stamps say when
//!   each lease of the suspect was last written, and it is read again at the moments when they expire.
//!
//! A nudge is a hint and nothing else: one that is lost costs the time until the table is read anyhow.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Duration;

use super::assign::Situation;
use super::{Lease, LeaseKey, WorkerId};

/// After how many tenths of the failover time without a write an owner is a suspect. The longest interval between two
/// renewals, with what they may wait for a checkpoint, is just below; what is left is for reading the table in time.
const SUSPECT_TENTHS: u32 = 7;

/// On how many leases of each worker a nudge is left: more than one, since the watcher may have read the table some
/// time ago and watch another one than the first.
const NUDGED_LEASES: usize = 3;

/// What a listing says about the others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Outlook {
    /// Nothing is going on: it is enough to watch.
    pub(crate) quiet: bool,
    /// Owners of which no lease was written for most of the failover time.
    pub(crate) suspects: Vec<WorkerId>,
    /// Which lease to watch.
    pub(crate) watched: Option<Watched>,
    /// Where nudges for the others are left.
    pub(crate) bells: Vec<LeaseKey>,
}

/// A lease that is watched, as it was last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Watched {
    pub(crate) key: LeaseKey,
    /// Who may write it.
    pub(crate) owner: Option<WorkerId>,
    pub(crate) nudges: u64,
}

/// What a look at the watched lease says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    /// As it was.
    Well,
    /// Somebody wants the table to be read.
    Nudged,
    /// It changed hands, ended, or is gone.
    Moved,
    /// It stands still.
    Still,
}

impl Watched {
    fn of(lease: &Lease) -> Self {
        Self { key: lease.key.clone(), owner: lease.actual_owner().cloned(), nudges: lease.nudges }
    }

    /// Compares with the row as it is now.
    pub(crate) fn look(&mut self, row: Option<&Lease>, situation: &Situation<'_>) -> Sight {
        let Some(row) = row.filter(|row| !row.is_finished() && row.actual_owner() == self.owner.as_ref())
        else {
            return Sight::Moved;
        };
        if row.nudges != self.nudges {
            self.nudges = row.nudges;
            return Sight::Nudged;
        }
        let age = situation.seen.still_for(row, situation.now);
        if is_suspect(age, situation.bounds.failover_time) { Sight::Still } else { Sight::Well }
    }
}

fn is_suspect(age: Duration, failover_time: Duration) -> bool {
    age >= failover_time * SUSPECT_TENTHS / 10
}

/// The leases of one other worker.
struct Other<'a> {
    leases: Vec<&'a Lease>,
    stamped: bool,
    /// How long ago the newest write of any of them was.
    age: Duration,
}

/// What to make of `leases`, which were just taken in.
pub(crate) fn outlook(leases: &[Lease], situation: &Situation<'_>) -> Outlook {
    let me = situation.worker;
    let mut others: BTreeMap<&WorkerId, Other<'_>> = BTreeMap::new();
    let mut asked = None;
    let mut mine_elsewhere = false;
    for lease in leases.iter().filter(|lease| !lease.is_finished() && !situation.held.contains(&lease.key)) {
        let Some(owner) = lease.actual_owner() else { continue };
        if situation.asked.contains(&lease.key) {
            asked = asked.or(Some(lease));
        }
        // What names this worker and is not held is about to be taken, or another process has its name.
        mine_elsewhere |= owner == me;
        let age = situation.seen.still_for(lease, situation.now);
        let other = others.entry(owner).or_insert(Other { leases: Vec::new(), stamped: true, age });
        other.age = other.age.min(age);
        other.stamped &= lease.written().is_some();
        other.leases.push(lease);
    }
    others.remove(me);
    let failover_time = situation.bounds.failover_time;
    let suspect = |other: &Other<'_>| other.stamped && is_suspect(other.age, failover_time);
    let suspects: Vec<WorkerId> =
        others.iter().filter(|(_, other)| suspect(other)).map(|(owner, _)| WorkerId::clone(owner)).collect();
    let after_me = others.range::<WorkerId, _>((Excluded(me), Unbounded)).next();
    let next = after_me.or_else(|| others.iter().next());
    // A lease that was asked for is taken as soon as it is given up.
    let watched = asked.or_else(|| next.filter(|(_, other)| other.stamped)?.1.leases.first().copied());
    let stamped = others.values().filter(|other| other.stamped);
    Outlook {
        quiet: suspects.is_empty()
            && asked.is_none()
            && !mine_elsewhere
            && others.values().all(|other| other.stamped),
        suspects,
        watched: watched.map(Watched::of),
        bells: stamped
            .flat_map(|other| other.leases.iter().take(NUDGED_LEASES))
            .map(|lease| lease.key.clone())
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Instant;

    use super::*;
    use crate::lease::assign::{Bounds, Observations};
    use crate::lease::test_support::{D, key, now, row, worker};
    use crate::lease::{LeaseCounter, Stamp};
    use kinesis_shard::Checkpoint;

    const SECOND: Duration = Duration::from_secs(1);

    fn stamped(index: u64, owner: &str, process: u64, seconds: u64) -> Lease {
        let mut lease = row(index, owner, 5);
        let counter = LeaseCounter::new(5);
        lease.stamp = Some(Stamp { process, sent_micros: seconds * 1_000_000, counter });
        lease
    }

    struct View {
        me: WorkerId,
        held: BTreeSet<LeaseKey>,
        asked: BTreeSet<LeaseKey>,
        seen: Observations,
        left_behind: BTreeMap<LeaseKey, BTreeSet<LeaseCounter>>,
    }

    impl View {
        fn of(me: &str) -> Self {
            Self {
                me: worker(me),
                held: BTreeSet::new(),
                asked: BTreeSet::new(),
                seen: Observations::default(),
                left_behind: BTreeMap::new(),
            }
        }

        fn situation(&self, now: Instant) -> Situation<'_> {
            Situation {
                worker: &self.me,
                held: &self.held,
                left_behind: &self.left_behind,
                asked: &self.asked,
                seen: &self.seen,
                bounds: Bounds { failover_time: D, max_leases: usize::MAX, max_leases_to_steal: 1 },
                now,
            }
        }

        fn scan(&mut self, leases: &[Lease], now: Instant) -> Outlook {
            self.seen.record(leases, D, now);
            outlook(leases, &self.situation(now))
        }
    }

    fn watched(outlook: &Outlook) -> Option<&str> {
        outlook.watched.as_ref().map(|watched| watched.key.as_str())
    }

    #[test]
    fn each_worker_watches_the_first_lease_of_the_next_one() {
        let leases = [
            stamped(0, "cyd", 3, 1),
            stamped(1, "ann", 1, 1),
            stamped(2, "bob", 2, 1),
            stamped(3, "ann", 1, 1),
        ];
        for (me, index) in [("ann", 2), ("bob", 0), ("cyd", 1), ("aaa", 1), ("zoe", 1)] {
            let mut view = View::of(me);
            let own = leases.iter().filter(|lease| lease.owner == Some(worker(me)));
            view.held = own.map(|lease| lease.key.clone()).collect();
            let outlook = view.scan(&leases, now());
            assert_eq!((outlook.quiet, watched(&outlook)), (true, Some(key(index).as_str())), "{me}");
        }
    }

    #[test]
    fn nobody_is_watched_by_who_holds_everything() {
        let mut view = View::of("ann");
        view.held = BTreeSet::from([key(1)]);
        let mut finished = row(2, "bob", 1);
        finished.checkpoint = Checkpoint::ShardEnd;
        assert_eq!(
            view.scan(&[stamped(1, "ann", 1, 1), finished, row(3, "", 1)], now()),
            Outlook { quiet: true, ..Outlook::default() }
        );
    }

    #[test]
    fn a_row_that_names_this_worker_and_is_not_held_is_not_quiet() {
        let leases = [stamped(1, "ann", 1, 1), stamped(2, "bob", 2, 1)];
        let mut view = View::of("ann");
        assert!(!view.scan(&leases, now()).quiet);
        view.held = [key(1)].into();
        assert!(view.scan(&leases, now()).quiet);
    }

    #[test]
    fn workers_that_leave_no_stamps_are_read_row_by_row() {
        let mut stale = stamped(2, "bob", 2, 1);
        stale.counter = LeaseCounter::new(6);
        for foreign in [row(2, "bob", 1), stale] {
            let outlook = View::of("ann").scan(&[stamped(1, "bob", 2, 1), foreign.clone()], now());
            assert_eq!(
                (outlook.quiet, watched(&outlook), outlook.bells.len()),
                (false, None, 0),
                "{foreign:?}"
            );
        }
    }

    #[test]
    fn what_was_asked_for_is_watched_first_and_is_not_quiet() {
        let mut asked = stamped(5, "ann", 2, 1);
        asked.checkpoint_owner = Some(worker("bob"));
        let mut view = View::of("ann");
        view.asked = BTreeSet::from([key(5)]);
        let outlook = view.scan(&[stamped(1, "bob", 2, 1), asked.clone()], now());
        assert_eq!((outlook.quiet, watched(&outlook)), (false, Some(key(5).as_str())));
        let mut watched = outlook.watched.unwrap();
        assert_eq!(watched.look(Some(&asked), &view.situation(now())), Sight::Well);
        asked.checkpoint_owner = None;
        assert_eq!(watched.look(Some(&asked), &view.situation(now())), Sight::Moved, "it is mine to take");
    }

    #[test]
    fn a_worker_is_a_suspect_when_none_of_its_leases_was_written_for_most_of_the_failover_time() {
        let (mut view, start) = (View::of("ann"), now());
        let at = |seconds| [stamped(1, "bob", 2, 1), stamped(2, "bob", 2, seconds), stamped(3, "cyd", 3, 9)];
        view.scan(&at(3), start);
        assert_eq!(view.scan(&at(3), start + 6 * SECOND).suspects, []);
        let late = view.scan(&at(3), start + 8 * SECOND);
        assert_eq!((late.suspects.len(), late.quiet), (2, false));
        let mut leases = at(3);
        leases[2].counter = leases[2].counter.next();
        assert_eq!(view.scan(&leases, start + 9 * SECOND).suspects, [worker("bob")]);
    }

    #[test]
    fn a_look_tells_what_happened_to_the_lease() {
        let (mut view, start) = (View::of("ann"), now());
        let mut lease = stamped(1, "bob", 2, 3);
        let mut watched = view.scan(&[lease.clone()], start).watched.unwrap();
        let mut look = |lease: Option<&Lease>, seconds| {
            watched.look(lease, &view.situation(start + Duration::from_secs(seconds)))
        };
        assert_eq!(look(Some(&lease), 1), Sight::Well);
        assert_eq!(look(Some(&lease), 8), Sight::Still);
        lease.nudges = 3;
        assert_eq!(look(Some(&lease), 1), Sight::Nudged);
        assert_eq!(look(Some(&lease), 1), Sight::Well, "once");
        assert_eq!(look(None, 1), Sight::Moved);
        assert_eq!(look(Some(&row(1, "", 6)), 1), Sight::Moved);
        lease.checkpoint = Checkpoint::ShardEnd;
        assert_eq!(look(Some(&lease), 1), Sight::Moved);
    }

    #[test]
    fn nudges_are_left_on_the_first_leases_of_each_other_worker() {
        let mut leases: Vec<_> = (0..10).map(|index| stamped(index, "bob", 2, 1)).collect();
        leases.extend([stamped(20, "cyd", 3, 1), row(21, "java", 1), row(22, "", 1)]);
        let bells = View::of("ann").scan(&leases, now()).bells;
        assert_eq!(bells, [key(0), key(1), key(2), key(20)]);
    }
}
