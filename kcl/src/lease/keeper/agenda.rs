//! What the keeper is to do when.
//!
//! Pure. Reasons for the intervals:
//!
//! - *Renew* at a third of the failover time, counted from the latest successful write of that lease: two attempts may
//!   fail before belief ends, and a checkpoint saves a renewal.
//! - *Scan* every 850 ms while the table is small and other workers live. A lease that was given up is seen only by a scan,
//!   so the interval bounds how long a clean hand-over takes; and the last write of a worker that died counts from the scan
//!   that first shows it, so it bounds what failover costs beyond the failover time (docs/decisions/0007). It grows by
//!   10 ms for each row beyond 85, so that the cost of scanning stays level, up to half the failover time. A tenth of it is
//!   jitter, so that workers that started together do not scan, and take, in the same instant. The scan that may find a
//!   lease expired is not left to the interval: it is made when that lease will have stood still for long enough.
//! - A worker for which all is *quiet* scans every 3.3 failover times, counted from a sync's listing as well, which shows the
//!   same: two listings a minute, where Java's workers make three. Quiet it is when nothing is to be taken and every other owner leaves stamps (`outlook`): then it *watches*
//!   one row of one other worker at the scan interval instead (docs/decisions/0010). Who joins asks for leases, and that
//!   shows in the answers to this worker's own writes.
//! - *Sync* with the stream's shards every minute, at the end of a shard, and when told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rand::{Rng, RngExt};

use crate::lease::LeaseKey;

/// How many renewals are under way at one time at most.
const RENEWALS_IN_FLIGHT: usize = 128;

/// By how much each lease of a large table stretches the pause between scans.
const PAUSE_PER_ROW: Duration = Duration::from_millis(10);

/// One thing that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Due {
    /// Read the table.
    Scan,
    /// Read the one row that is watched.
    Watch,
    /// Compare the stream's shards with the table.
    Sync,
    /// Renew one lease.
    Renew(LeaseKey),
}

/// A job that runs one at a time, at an interval or when asked.
#[derive(Debug, Clone, Copy)]
struct Recurring {
    at: Option<Instant>,
    running: bool,
    again: bool,
}

impl Recurring {
    fn due(&mut self, now: Instant) -> bool {
        let due = !self.running && self.at.is_some_and(|at| at <= now);
        if due {
            *self = Self { at: None, running: true, again: false };
        }
        due
    }

    fn done(&mut self, now: Instant, pause: Duration) {
        *self = Self { at: Some(if self.again { now } else { now + pause }), running: false, again: false };
    }

    /// Now, or right after the one that runs: it may have looked too early.
    fn soon(&mut self, now: Instant) {
        if self.running {
            self.again = true;
        } else if self.at.is_some() {
            self.at = Some(now);
        }
    }
}

/// All timers of one keeper.
#[derive(Debug)]
pub(crate) struct Agenda {
    scan: Recurring,
    watch: Recurring,
    sync: Recurring,
    renewals: BTreeSet<(Instant, LeaseKey)>,
    /// The same by key: a lease has one next renewal.
    renewal_of: BTreeMap<LeaseKey, Instant>,
    renewing: usize,
    scan_interval: Duration,
    longest_scan_interval: Duration,
    quiet_scan_interval: Duration,
    sync_interval: Duration,
}

impl Agenda {
    /// Nothing is due until [`start`](Self::start).
    pub(crate) fn new(scan_interval: Duration, failover_time: Duration, sync_interval: Duration) -> Self {
        let idle = Recurring { at: None, running: false, again: false };
        Self {
            scan: idle,
            watch: idle,
            sync: idle,
            renewals: BTreeSet::new(),
            renewal_of: BTreeMap::new(),
            renewing: 0,
            scan_interval,
            longest_scan_interval: scan_interval.max(failover_time / 2),
            // A little more than half of a sync's interval at the defaults, so that each listing of a sync saves a scan.
            quiet_scan_interval: scan_interval.max(failover_time * 33 / 10),
            sync_interval,
        }
    }

    /// The first sync was made: scan now, sync again after the interval.
    pub(crate) fn start(&mut self, now: Instant, rng: &mut impl Rng) {
        self.scan.at = Some(now);
        self.sync.at = Some(now + jittered(self.sync_interval, rng));
    }

    /// No more scans and syncs; renewals go on.
    pub(crate) fn stop_taking(&mut self) {
        self.scan = Recurring { at: None, running: true, again: false };
        self.watch = self.scan;
        self.sync = self.scan;
    }

    pub(crate) fn scanned(&mut self, now: Instant, rows: usize, rng: &mut impl Rng) {
        let rows = u32::try_from(rows).unwrap_or(u32::MAX);
        let stretched = PAUSE_PER_ROW.saturating_mul(rows).min(self.longest_scan_interval);
        self.scan.done(now, jittered(self.scan_interval.max(stretched), rng));
    }

    /// As `scanned`, with nothing going on.
    pub(crate) fn scanned_quiet(&mut self, now: Instant, rng: &mut impl Rng) {
        self.scan.done(now, jittered(self.quiet_scan_interval, rng));
    }

    /// Watch from now on, unless the next scan comes as soon anyhow.
    pub(crate) fn watch(&mut self, now: Instant, rng: &mut impl Rng) {
        let pause = jittered(self.scan_interval, rng);
        let far = self.scan.at.is_none_or(|at| at > now + self.scan_interval * 11 / 10);
        self.watch.at = (far && !self.watch.running).then(|| now + pause);
    }

    /// The look that was under way is over.
    pub(crate) fn watched(&mut self) {
        self.watch.running = false;
    }

    /// There is nobody to watch.
    pub(crate) fn watch_nobody(&mut self) {
        self.watch.at = None;
    }

    /// Scan at `at`, if that is earlier than planned.
    pub(crate) fn scan_by(&mut self, at: Instant) {
        if !self.scan.running {
            self.scan.at = self.scan.at.map(|planned| planned.min(at));
        }
    }

    pub(crate) fn synced(&mut self, now: Instant, rng: &mut impl Rng) {
        self.sync.done(now, jittered(self.sync_interval, rng));
    }

    pub(crate) fn scan_soon(&mut self, now: Instant) {
        self.scan.soon(now);
    }

    pub(crate) fn sync_soon(&mut self, now: Instant) {
        self.sync.soon(now);
    }

    pub(crate) fn renew_at(&mut self, at: Instant, key: LeaseKey) {
        self.forget(&key);
        if kinesis_shard::planted("nothing is renewed") {
            return;
        }
        self.renewal_of.insert(key.clone(), at);
        self.renewals.insert((at, key));
    }

    /// The lease needs no renewal any more.
    pub(crate) fn forget(&mut self, key: &LeaseKey) {
        if let Some(at) = self.renewal_of.remove(key) {
            self.renewals.remove(&(at, key.clone()));
        }
    }

    pub(crate) fn renewed(&mut self) {
        self.renewing = self.renewing.saturating_sub(1);
    }

    /// The next thing that is due now. Renewals first: they have a deadline.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Due> {
        if self.renewing < RENEWALS_IN_FLIGHT
            && self.renewals.first().is_some_and(|(at, _)| *at <= now)
            && let Some((_, key)) = self.renewals.pop_first()
        {
            self.renewal_of.remove(&key);
            self.renewing += 1;
            return Some(Due::Renew(key));
        }
        if self.sync.due(now) {
            return Some(Due::Sync);
        }
        if self.scan.due(now) {
            return Some(Due::Scan);
        }
        self.watch.due(now).then_some(Due::Watch)
    }

    /// When to look again, if nothing else happens.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        let idle = |job: &Recurring| if job.running { None } else { job.at };
        let renewal = self.renewals.first().map(|(at, _)| *at).filter(|_| self.renewing < RENEWALS_IN_FLIGHT);
        [idle(&self.scan), idle(&self.watch), idle(&self.sync), renewal].into_iter().flatten().min()
    }
}

/// The interval, give or take a twentieth.
fn jittered(interval: Duration, rng: &mut impl Rng) -> Duration {
    let tenth = u64::try_from(interval.as_micros() / 10).unwrap_or(u64::MAX);
    interval.saturating_sub(interval / 20) + Duration::from_micros(rng.random_range(0..=tenth))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::test_support::{D, key, now};
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    const SECOND: Duration = Duration::from_secs(1);

    fn agenda() -> (Agenda, SmallRng, Instant) {
        (Agenda::new(SECOND, D, Duration::from_mins(1)), SmallRng::seed_from_u64(1), now())
    }

    fn all(agenda: &mut Agenda, now: Instant) -> Vec<Due> {
        std::iter::from_fn(|| agenda.next(now)).collect()
    }

    #[test]
    fn nothing_is_due_before_the_start_then_a_scan_at_once() {
        let (mut agenda, mut rng, start) = agenda();
        agenda.scan_soon(start);
        agenda.sync_soon(start);
        assert_eq!((all(&mut agenda, start), agenda.wake_at()), (vec![], None));
        agenda.start(start, &mut rng);
        assert_eq!(all(&mut agenda, start), [Due::Scan]);
    }

    #[test]
    fn a_scan_runs_once_at_a_time_and_again_after_its_pause() {
        let (mut agenda, mut rng, start) = agenda();
        agenda.start(start, &mut rng);
        assert_eq!(all(&mut agenda, start), [Due::Scan]);
        assert_eq!(all(&mut agenda, start + D), [], "it is under way");
        agenda.scanned(start, 3, &mut rng);
        let at = agenda.wake_at().unwrap();
        assert!(at >= start + SECOND * 19 / 20 && at <= start + SECOND * 21 / 20);
        assert_eq!(all(&mut agenda, at), [Due::Scan]);
    }

    #[test]
    fn when_all_is_quiet_scans_are_seldom_until_there_is_news() {
        let (mut agenda, mut rng, start) = agenda();
        agenda.start(start, &mut rng);
        all(&mut agenda, start);
        agenda.scanned_quiet(start, &mut rng);
        assert!(agenda.wake_at().unwrap() >= start + D * 31 / 10);
        agenda.scan_soon(start + SECOND);
        assert_eq!(all(&mut agenda, start + SECOND), [Due::Scan]);
    }

    #[test]
    fn a_scan_is_made_when_a_lease_may_have_expired() {
        let (mut agenda, mut rng, start) = agenda();
        agenda.start(start, &mut rng);
        all(&mut agenda, start);
        agenda.scan_by(start);
        assert_eq!(all(&mut agenda, start), [], "one is under way");
        agenda.scanned(start, 3, &mut rng);
        agenda.scan_by(start + D);
        assert!(agenda.wake_at().unwrap() < start + D, "not later than planned");
        agenda.scan_by(start + SECOND / 10);
        assert_eq!(all(&mut agenda, start + SECOND / 10), [Due::Scan]);
    }

    #[test]
    fn between_far_scans_there_is_a_watch_at_the_scan_interval() {
        let (mut agenda, mut rng, start) = agenda();
        agenda.start(start, &mut rng);
        all(&mut agenda, start);
        agenda.scanned(start, 3, &mut rng);
        agenda.watch(start, &mut rng);
        assert_eq!(all(&mut agenda, start + SECOND * 11 / 10), [Due::Scan], "a scan sees all of it");
        agenda.scanned_quiet(start, &mut rng);
        agenda.watch(start, &mut rng);
        let at = agenda.wake_at().unwrap();
        assert!(at >= start + SECOND * 19 / 20 && at <= start + SECOND * 21 / 20);
        assert_eq!(all(&mut agenda, at), [Due::Watch]);
        assert_eq!(all(&mut agenda, at + 5 * SECOND), [], "one at a time");
        agenda.watched();
        agenda.watch(at, &mut rng);
        assert_eq!(all(&mut agenda, at + 2 * SECOND), [Due::Watch]);
        agenda.watched();
        agenda.watch(at, &mut rng);
        agenda.watch_nobody();
        assert_eq!(all(&mut agenda, at + 5 * SECOND), []);
    }

    #[test]
    fn a_scan_that_comes_no_later_than_the_last_possible_look_takes_its_place() {
        for (millis, expected) in [(1_100, Due::Scan), (1_101, Due::Watch)] {
            let (mut agenda, mut rng, start) = agenda();
            agenda.start(start, &mut rng);
            all(&mut agenda, start);
            agenda.scanned_quiet(start, &mut rng);
            agenda.scan_by(start + Duration::from_millis(millis));
            agenda.watch(start, &mut rng);
            assert_eq!(all(&mut agenda, start + SECOND * 11 / 10), [expected], "{millis}");
        }
    }

    #[test]
    fn asking_during_a_scan_makes_another_right_after() {
        let (mut agenda, mut rng, start) = agenda();
        agenda.start(start, &mut rng);
        all(&mut agenda, start);
        agenda.scan_soon(start);
        agenda.scanned(start, 3, &mut rng);
        assert_eq!(all(&mut agenda, start), [Due::Scan]);
    }

    #[test]
    fn a_large_table_is_scanned_less_often_but_within_half_the_failover_time() {
        for (rows, millis) in [(0, 1_000), (100, 1_000), (300, 3_000), (500, 5_000), (100_000, 5_000)] {
            let (mut agenda, mut rng, start) = agenda();
            agenda.scanned(start, rows, &mut rng);
            let pause = (agenda.wake_at().unwrap() - start).as_secs_f64() * 1_000.0 / f64::from(millis);
            assert!((0.95..=1.05).contains(&pause), "{rows}: {pause}");
        }
    }

    #[test]
    fn pauses_are_spread_over_a_twentieth_to_either_side() {
        let mut rng = SmallRng::seed_from_u64(1);
        let pauses: Vec<Duration> = (0..1_000).map(|_| jittered(SECOND, &mut rng)).collect();
        let millis = Duration::from_millis;
        let (least, most) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
        assert!((millis(950)..millis(955)).contains(least), "{least:?}");
        assert!((millis(1_045)..=millis(1_050)).contains(most), "{most:?}");
    }

    #[test]
    fn stopping_leaves_renewals_only() {
        let (mut agenda, mut rng, start) = agenda();
        agenda.start(start, &mut rng);
        agenda.renew_at(start, key(1));
        agenda.stop_taking();
        agenda.scan_soon(start);
        agenda.sync_soon(start);
        assert_eq!(all(&mut agenda, start + D * 100), [Due::Renew(key(1))]);
    }

    #[test]
    fn a_lease_has_one_next_renewal() {
        let (mut agenda, _, start) = agenda();
        agenda.renew_at(start, key(1));
        agenda.renew_at(start + SECOND, key(1));
        agenda.renew_at(start, key(2));
        agenda.forget(&key(2));
        assert_eq!(all(&mut agenda, start), []);
        assert_eq!(all(&mut agenda, start + SECOND), [Due::Renew(key(1))]);
    }

    #[test]
    fn renewals_under_way_are_bounded() {
        let (mut agenda, _, start) = agenda();
        for index in 0..300 {
            agenda.renew_at(start, key(index));
        }
        assert_eq!(all(&mut agenda, start).len(), RENEWALS_IN_FLIGHT);
        assert_eq!(agenda.wake_at(), None, "an answer wakes, not the time");
        agenda.renewed();
        assert_eq!(all(&mut agenda, start).len(), 1);
    }
}
