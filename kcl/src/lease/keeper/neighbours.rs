//! The keeper's dealings with the other workers: whom it watches, and how it tells them that there is something to do.

use std::time::Instant;

use futures::stream::{self, StreamExt};

use super::Running;
use super::jobs::Done;
use crate::lease::assign::Situation;
use crate::lease::held::Hands;
use crate::lease::outlook::{self, Outlook, Sight, Watched};
use crate::lease::{Lease, LeaseKey, LeaseStoreError, MetaUpdate, WorkerId};

/// How many nudges are under way at one time.
const NUDGES_IN_FLIGHT: usize = 32;

/// What a keeper knows of the other workers.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    watched: Option<Watched>,
    suspects: Vec<WorkerId>,
    /// Before this moment too little is known for anything to be quiet; set at the start.
    settled_at: Option<Instant>,
    /// The next listing was asked for by a nudge: the others have heard it too.
    nudged: bool,
    /// Until when leases that are left for others are not told again.
    told_until: Option<Instant>,
    /// Rows became free that the others do not know of.
    owed: bool,
    nudging: bool,
}

impl Neighbours {
    /// Nothing is left to tell.
    pub(super) fn are_told(&self) -> bool {
        !self.owed && !self.nudging
    }
}

/// Where nudges are left: known, or to be found by a listing.
#[derive(Debug)]
pub(super) enum Bells {
    Known(Vec<LeaseKey>),
    List,
}

impl Running {
    /// What this worker knows, with `held` being what it holds or is about to.
    fn situation<'a>(
        &'a self,
        held: &'a std::collections::BTreeSet<LeaseKey>,
        now: Instant,
    ) -> Situation<'a> {
        Situation {
            worker: &self.settings.worker_id,
            held,
            left_behind: &self.left_behind,
            asked: &self.asked,
            seen: &self.observations,
            bounds: self.settings.bounds(),
            now,
        }
    }

    /// The start of everything: until a dead owner would have been noticed, all leases are looked at.
    pub(super) fn settle(&mut self, now: Instant) {
        self.neighbours.settled_at = Some(now + self.settings.failover_time * 11 / 10);
    }

    /// Takes in what a listing says about the others; whether it is enough to watch from now on.
    pub(super) fn look_around(&mut self, outlook: Outlook, left_count: usize, now: Instant) -> bool {
        let others = &mut self.neighbours;
        let nudged = std::mem::take(&mut others.nudged);
        let new_suspect = outlook.suspects.iter().any(|suspect| !others.suspects.contains(suspect));
        let left = left_count > 0 && others.told_until.is_none_or(|until| until <= now);
        // Whoever was nudged does not nudge: the others were nudged as well.
        let tell = !nudged && (new_suspect || left) && !outlook.bells.is_empty();
        if left {
            others.told_until = Some(now + self.settings.failover_time / 2);
        }
        let settled = others.settled_at.is_some_and(|at| at <= now);
        // A nudge that this listing shows may be younger than some of the rows in it.
        let known = others.watched.take();
        let rung = known.is_some_and(|known| {
            let same = outlook.watched.as_ref().filter(|one| one.key == known.key);
            same.is_some_and(|one| one.nudges != known.nudges)
        });
        others.watched = outlook.watched;
        others.suspects = outlook.suspects;
        if rung {
            self.agenda.scan_soon(now);
        }
        if tell {
            self.nudge(Bells::Known(outlook.bells));
        }
        outlook.quiet && settled
    }

    /// Watches again after its pause, if there is somebody.
    pub(super) fn keep_watching(&mut self, now: Instant) {
        if self.stopping || self.neighbours.watched.is_none() {
            self.agenda.watch_nobody();
        } else {
            self.agenda.watch(now, &mut self.rng);
        }
    }

    /// The look at the watched row that is due.
    pub(super) fn begin_watch(&mut self) {
        let Some(watched) = &self.neighbours.watched else { return self.agenda.watched() };
        let (hands, key) = (self.hands.clone(), watched.key.clone());
        self.jobs.push(Box::pin(async move {
            let row = hands.calls.peek(&key).await;
            Done::Watched(key, row.map(|row| row.map(Box::new)), hands.calls.clock().now())
        }));
    }

    pub(super) fn watched(
        &mut self,
        key: &LeaseKey,
        row: Result<Option<Box<Lease>>, LeaseStoreError>,
        answered_at: Instant,
        now: Instant,
    ) {
        self.agenda.watched();
        let watching = self.neighbours.watched.as_ref().is_some_and(|watched| watched.key == *key);
        match row {
            // A listing has chosen another row meanwhile.
            _ if !watching || self.stopping => {}
            Err(error) => tracing::debug!(lease_key = %key, %error, "the watched lease could not be read"),
            Ok(row) => {
                if let Some(row) = &row {
                    self.observations.record_one(row, self.settings.failover_time, answered_at);
                }
                self.reports().board.scanned(now);
                self.judge(row.as_deref(), now);
            }
        }
        self.keep_watching(now);
    }

    fn judge(&mut self, row: Option<&Lease>, now: Instant) {
        let Some(mut watched) = self.neighbours.watched.take() else { return };
        let held = std::collections::BTreeSet::new();
        let sight = watched.look(row, &self.situation(&held, now));
        let is_suspect = watched.owner.as_ref().is_some_and(|owner| self.neighbours.suspects.contains(owner));
        match sight {
            Sight::Well => {}
            // The listing that made it a suspect has seen to it.
            Sight::Still if is_suspect => {}
            Sight::Nudged => {
                self.neighbours.nudged = true;
                self.agenda.scan_soon(now);
            }
            Sight::Moved | Sight::Still => self.agenda.scan_soon(now),
        }
        self.neighbours.watched = Some(watched);
    }

    /// Rows became free: the others are told as soon as that is possible.
    pub(super) fn owe_nudge(&mut self) {
        self.neighbours.owed = true;
        self.pay_nudge();
    }

    fn pay_nudge(&mut self) {
        if self.neighbours.owed && !self.neighbours.nudging {
            self.neighbours.owed = false;
            self.nudge(Bells::List);
        }
    }

    fn nudge(&mut self, bells: Bells) {
        if self.neighbours.nudging {
            // The one under way looks at the table; another one follows it.
            self.neighbours.owed = true;
            return;
        }
        self.neighbours.nudging = true;
        let (hands, mut view) = (self.hands.clone(), self.observations.clone());
        let settings = self.settings.clone();
        let held = self.held.keys().cloned().collect();
        self.jobs.push(Box::pin(async move {
            let keys = match bells {
                Bells::Known(keys) => keys,
                Bells::List => {
                    let Ok(leases) = hands.calls.list_briefly().await else { return Done::Nudged };
                    let now = hands.calls.clock().now();
                    view.record(&leases, settings.failover_time, now);
                    let nothing = std::collections::BTreeMap::new();
                    let situation = Situation {
                        worker: &settings.worker_id,
                        held: &held,
                        left_behind: &nothing,
                        asked: &std::collections::BTreeSet::new(),
                        seen: &view,
                        bounds: settings.bounds(),
                        now,
                    };
                    outlook::outlook(&leases, &situation).bells
                }
            };
            leave_nudges(&hands, keys).await;
            Done::Nudged
        }));
    }

    pub(super) fn nudged(&mut self) {
        self.neighbours.nudging = false;
        self.pay_nudge();
    }
}

/// Best effort: who does not get one reads the table later.
async fn leave_nudges(hands: &Hands, keys: Vec<LeaseKey>) {
    let nudges = keys.into_iter().map(|key| async move {
        let nudge = MetaUpdate { nudge: true, ..MetaUpdate::default() };
        if let Err(error) = hands.calls.note(&key, &nudge).await {
            tracing::debug!(lease_key = %key, %error, "a nudge was not left");
        }
    });
    stream::iter(nudges).buffer_unordered(NUDGES_IN_FLIGHT).for_each(|()| async {}).await;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use kinesis_shard::Clock;
    use tokio::sync::mpsc;

    use super::*;
    use crate::lease::keeper::{Due, Keeper, KeeperSettings};
    use crate::lease::test_support::{D, Listing, key, now, row, worker};
    use crate::lease::{LeaseCounter, MemoryLeaseStore, Stamp};

    /// The keeper of ann, with nothing under way and its next scan far ahead: a scan at once was asked for.
    fn running_on(store: &MemoryLeaseStore, start: Instant) -> Running {
        let (store, listing) = (Arc::new(store.clone()), Arc::new(Listing::default()));
        let settings = KeeperSettings::new(worker("ann"), D, 1);
        let keeper = Keeper::new(store, listing, Clock::default(), settings);
        let mut running = Running::new(keeper, mpsc::channel(1).0);
        running.jobs.clear();
        running.agenda.start(start, &mut running.rng);
        assert_eq!(running.agenda.next(start), Some(Due::Scan));
        running.agenda.scanned_quiet(start, &mut running.rng);
        running
    }

    fn running(start: Instant) -> Running {
        running_on(&MemoryLeaseStore::new(), start)
    }

    /// A lease of bob.
    fn bobs(index: u64, nudges: u64) -> Watched {
        Watched { key: key(index), owner: Some(worker("bob")), nudges }
    }

    #[test]
    fn the_others_are_told_when_nothing_is_owed_and_no_nudge_is_under_way() {
        let table = [(false, false, true), (true, false, false), (false, true, false), (true, true, false)];
        for (owed, nudging, told) in table {
            let neighbours = Neighbours { owed, nudging, ..Neighbours::default() };
            assert_eq!(neighbours.are_told(), told, "{owed}, {nudging}");
        }
    }

    #[test]
    fn nothing_is_quiet_before_a_dead_owner_would_have_been_noticed() {
        let start = now();
        let mut running = running(start);
        assert!(!running.look_around(Outlook { quiet: true, ..Outlook::default() }, 0, start));
        running.settle(start);
        for (millis, quiet, expected) in
            [(0, true, false), (10_999, true, false), (11_000, true, true), (11_000, false, false)]
        {
            let at = start + Duration::from_millis(millis);
            let outlook = Outlook { quiet, ..Outlook::default() };
            assert_eq!(running.look_around(outlook, 0, at), expected, "{millis}, {quiet}");
        }
    }

    #[test]
    fn what_a_listing_shows_is_told_unless_a_nudge_made_it_or_nobody_can_be_told() {
        let table = [
            (false, false, 0, 1, false),
            (false, true, 0, 1, true),
            (false, false, 1, 1, true),
            (false, true, 1, 0, false),
            (true, true, 1, 1, false),
        ];
        for (nudged, suspected, left_count, bells, told) in table {
            let start = now();
            let mut running = running(start);
            running.neighbours.nudged = nudged;
            let suspects = suspected.then(|| worker("bob")).into_iter().collect();
            let outlook = Outlook { suspects, bells: (0..bells).map(key).collect(), ..Outlook::default() };
            running.look_around(outlook, left_count, start);
            assert_eq!(running.neighbours.nudging, told, "{nudged}, {suspected}, {left_count}, {bells}");
            assert!(!running.neighbours.nudged, "it counts for one listing");
        }
    }

    #[test]
    fn leases_left_for_others_are_told_again_after_half_the_failover_time() {
        let start = now();
        let mut running = running(start);
        for (millis, told) in [(0, true), (4_999, false), (5_000, true), (9_999, false), (10_000, true)] {
            let outlook = Outlook { bells: vec![key(1)], ..Outlook::default() };
            running.look_around(outlook, 1, start + Duration::from_millis(millis));
            assert_eq!(std::mem::take(&mut running.neighbours.nudging), told, "{millis}");
        }
    }

    #[test]
    fn a_suspect_is_told_once_for_as_long_as_it_is_one() {
        let start = now();
        let mut running = running(start);
        let table: [(&[&str], bool); 5] =
            [(&["bob"], true), (&["bob"], false), (&["bob", "cyd"], true), (&[], false), (&["bob"], true)];
        for (names, told) in table {
            let suspects = names.iter().map(|name| worker(name)).collect();
            running.look_around(Outlook { suspects, bells: vec![key(1)], ..Outlook::default() }, 0, start);
            assert_eq!(std::mem::take(&mut running.neighbours.nudging), told, "{names:?}");
        }
    }

    #[test]
    fn a_nudge_that_a_listing_shows_makes_another_one_follow() {
        let table = [
            (None, Some(bobs(1, 2)), false),
            (Some(bobs(1, 2)), None, false),
            (Some(bobs(1, 2)), Some(bobs(1, 2)), false),
            (Some(bobs(1, 2)), Some(bobs(1, 3)), true),
            (Some(bobs(1, 2)), Some(bobs(2, 3)), false),
        ];
        for (known, watched, follows) in table {
            let start = now();
            let mut running = running(start);
            running.neighbours.watched = known;
            running.look_around(Outlook { watched: watched.clone(), ..Outlook::default() }, 0, start);
            assert_eq!(running.agenda.wake_at() == Some(start), follows, "{watched:?}");
            assert_eq!(running.neighbours.watched, watched);
        }
    }

    #[test]
    fn it_goes_on_watching_while_there_is_somebody_and_it_does_not_stop() {
        let table = [(false, true, true), (false, false, false), (true, true, false), (true, false, false)];
        for (stopping, somebody, watches) in table {
            let start = now();
            let mut running = running(start);
            running.agenda.watch(start, &mut running.rng);
            running.stopping = stopping;
            running.neighbours.watched = somebody.then(|| bobs(1, 0));
            running.keep_watching(start);
            let soon = running.agenda.wake_at().is_some_and(|at| at < start + D);
            assert_eq!(soon, watches, "{stopping}, {somebody}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_reads_the_row_that_is_watched() {
        let (store, bobs_row) = (MemoryLeaseStore::new(), row(1, "bob", 5));
        store.put_row(bobs_row.clone());
        let mut running = running_on(&store, now());
        running.neighbours.watched = Some(bobs(1, 0));
        running.begin_watch();
        let Some(Done::Watched(key_read, Ok(Some(read)), _)) = running.jobs.next().await else {
            panic!("it does not look")
        };
        assert_eq!((key_read, *read), (key(1), bobs_row));
    }

    #[test]
    fn a_look_counts_while_its_row_is_watched_and_nothing_is_stopping() {
        for (index, stopping, counts) in
            [(1, false, true), (2, false, false), (1, true, false), (2, true, false)]
        {
            let start = now();
            let mut running = running(start);
            running.neighbours.watched = Some(bobs(1, 0));
            running.stopping = stopping;
            // A row that is gone is a reason to scan.
            running.watched(&key(index), Ok(None), start, start);
            assert_eq!(running.agenda.wake_at() == Some(start), counts, "{index}, {stopping}");
            let scanned_at = running.reports().board.pulse().scanned_at;
            assert_eq!(scanned_at.is_some(), counts, "{index}, {stopping}");
        }
    }

    #[test]
    fn a_look_asks_for_a_scan_unless_the_row_is_well_or_its_owner_a_suspect_already() {
        let as_it_was = || row(1, "bob", 5);
        let table = [
            (Some(as_it_was()), 1, false, (false, false)),
            (Some(as_it_was()), 8, false, (true, false)),
            (Some(as_it_was()), 8, true, (false, false)),
            (Some(Lease { nudges: 1, ..as_it_was() }), 1, false, (true, true)),
            (None, 1, true, (true, false)),
        ];
        for (seen, seconds, suspected, expected) in table {
            let start = now();
            let mut running = running(start);
            running.observations.record(&[as_it_was()], D, start);
            running.neighbours.watched = Some(bobs(1, 0));
            running.neighbours.suspects = suspected.then(|| worker("bob")).into_iter().collect();
            let at = start + Duration::from_secs(seconds);
            running.judge(seen.as_ref(), at);
            let found = (running.agenda.wake_at() == Some(at), running.neighbours.nudged);
            assert_eq!(found, expected, "{seen:?} after {seconds} s, suspected: {suspected}");
            assert!(running.neighbours.watched.is_some(), "it is watched further");
        }
    }

    #[test]
    fn what_is_owed_is_paid_once_no_nudge_is_under_way() {
        let table = [
            (false, false, (false, false, 0)),
            (true, false, (false, true, 1)),
            (false, true, (false, true, 0)),
            (true, true, (true, true, 0)),
        ];
        for (owed, nudging, expected) in table {
            let mut running = running(now());
            (running.neighbours.owed, running.neighbours.nudging) = (owed, nudging);
            running.pay_nudge();
            let found = (running.neighbours.owed, running.neighbours.nudging, running.jobs.len());
            assert_eq!(found, expected, "{owed}, {nudging}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_to_be_owed_during_a_nudge_is_told_by_another_one() {
        let (store, counter) = (MemoryLeaseStore::new(), LeaseCounter::new(5));
        let stamp = Some(Stamp { process: 2, sent_micros: 0, counter });
        store.put_row(Lease { stamp, ..row(1, "bob", 5) });
        let mut running = running_on(&store, now());
        running.owe_nudge();
        running.owe_nudge();
        assert_eq!(running.jobs.len(), 1);
        for nudges in [1, 2] {
            assert!(matches!(running.jobs.next().await, Some(Done::Nudged)));
            assert_eq!(store.row(&key(1)).unwrap().nudges, nudges);
            running.nudged();
        }
        assert!(running.jobs.is_empty() && running.neighbours.are_told());
    }
}
