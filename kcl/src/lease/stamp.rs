//! When a row was last written, by its writer's own clock, and what another worker makes of that: pure.
//!
//! Nobody compares clocks, and nobody has to: what is compared is two times of *one* clock. Each write of an owner leaves a
//! stamp, which is when it was sent on the clock of its process. Who reads a stamp knows one thing for sure: it was
//! written before the read was answered. So the difference between that stamp and any other of the same process, stretched by
//! what clocks may be off, bounds when the other one was written, on the reader's clock, although nobody read it then.
//!
//! A bound is never too early, so a lease that is taken by it is taken no earlier than one whose every write was read at once.
//! Writers that leave no stamp (the Java library, stores that cannot keep one) are judged by what was seen of them alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use super::{Lease, LeaseCounter, Operation, WorkerId};

/// For what stamps, which are whole microseconds, may have been rounded.
const ROUNDING: Duration = Duration::from_millis(1);

/// After how many failover times a bound must come from newer reads: so that a clock that stood still once, as that of a
/// machine that was suspended, is not held against its process for ever.
const FORGOTTEN_AFTER: u32 = 3;

/// When a write was sent, on the clock of the process that sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Hash))]
pub struct Stamp {
    /// Whose clock: a number that no other process of the application has.
    pub process: u64,
    /// Microseconds on that clock.
    pub sent_micros: u64,
    /// The counter that the write left. A row with another counter was written by somebody who leaves no stamps.
    pub counter: LeaseCounter,
}

impl Stamp {
    /// From its text; `None` if that is none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':').map(|part| u64::from_str_radix(part, 16).ok());
        let stamp = Self {
            process: parts.next()??,
            sent_micros: parts.next()??,
            counter: LeaseCounter::new(parts.next()??),
        };
        parts.next().is_none().then_some(stamp)
    }
}

/// Short, because each byte of a row is read again and again.
impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}:{:x}:{:x}", self.process, self.sent_micros, self.counter.get())
    }
}

/// What stamps the writes of one process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamper {
    process: u64,
    origin: Instant,
}

impl Stamper {
    /// A process's number is made of its seed and of the table as it found it, so that a worker that is started
    /// again with the seed of its earlier life has another one.
    pub(crate) fn new(worker: &WorkerId, seed: u64, table: &[Lease], origin: Instant) -> Self {
        let mut process =
            mixed(mixed(0xcbf2_9ce4_8422_2325, worker.as_str().as_bytes()), &seed.to_le_bytes());
        for lease in table {
            process = mixed(process, lease.key.as_str().as_bytes());
            process = mixed(process, &lease.counter.get().to_le_bytes());
        }
        Self { process, origin }
    }

    /// Whether another process wrote the row last, as an owner. Who leaves no stamp is not known.
    pub(crate) fn is_of_another(&self, row: &Lease) -> bool {
        row.stamp.is_some_and(|stamp| stamp.counter == row.counter && stamp.process != self.process)
    }

    /// The stamp of an operation that is sent now; only those of an owner have one.
    pub(crate) fn stamp(&self, operation: &Operation, now: Instant) -> Option<Stamp> {
        let counter = match operation {
            Operation::Renew { expected, .. }
            | Operation::Take { expected, .. }
            | Operation::Checkpoint { expected, .. } => expected.next(),
            _ => return None,
        };
        let micros = now.saturating_duration_since(self.origin).as_micros();
        Some(Stamp { process: self.process, sent_micros: u64::try_from(micros).unwrap_or(u64::MAX), counter })
    }
}

/// FNV-1a, which gives the same number everywhere.
fn mixed(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The clocks of the other processes, as far as their stamps show them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Hash))]
pub(crate) struct Clocks {
    of: BTreeMap<u64, Known>,
    clock_error_ppm: u32,
}

/// A stamp, and when it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Hash))]
struct Reading {
    sent_micros: u64,
    read_at: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Hash))]
struct Known {
    /// The one that gives the earliest bounds.
    best: Reading,
    /// The same among those since `since`: what will be known when the others are forgotten.
    recent: Reading,
    since: Instant,
}

impl Clocks {
    /// `clock_error_ppm`: by how much any clock may be off, in millionths.
    pub(crate) fn new(clock_error_ppm: u32) -> Self {
        Self { of: BTreeMap::new(), clock_error_ppm: clock_error_ppm.min(999_999) }
    }

    /// Takes in a stamp whose read was *answered* at `read_at`.
    pub(crate) fn read(&mut self, stamp: &Stamp, failover_time: Duration, read_at: Instant) {
        let reading = Reading { sent_micros: stamp.sent_micros, read_at };
        let error = self.clock_error_ppm;
        let known =
            self.of.entry(stamp.process).or_insert(Known { best: reading, recent: reading, since: read_at });
        let tighter = |than: &Reading| read_at < than.bound(stamp.sent_micros, error);
        if tighter(&known.recent) {
            known.recent = reading;
        }
        if tighter(&known.best) {
            known.best = reading;
        }
        if read_at.saturating_duration_since(known.since) >= failover_time * FORGOTTEN_AFTER / 2 {
            *known = Known { best: known.recent, recent: reading, since: read_at };
        }
    }

    /// When this write was sent at the latest, on the reader's clock; `None` if nothing is known of its process.
    pub(crate) fn sent_by(&self, stamp: &Stamp) -> Option<Instant> {
        let known = self.of.get(&stamp.process)?;
        Some(known.best.bound(stamp.sent_micros, self.clock_error_ppm))
    }

    /// For models: as if `time` had passed for the reader while its clock stayed, and for each process what `older` says.
    #[cfg(test)]
    pub(crate) fn age(&mut self, time: Duration, older: impl Fn(u64, u64) -> u64) {
        for (process, known) in &mut self.of {
            known.since -= time;
            for reading in [&mut known.best, &mut known.recent] {
                reading.read_at -= time;
                reading.sent_micros = older(*process, reading.sent_micros);
            }
        }
    }

    /// Forgets all processes but these.
    pub(crate) fn retain(&mut self, processes: &BTreeSet<u64>) {
        self.of.retain(|process, _| processes.contains(process));
    }
}

impl Reading {
    /// When another stamp of the same clock was set at the latest. Whatever the two clocks are off, the time between the
    /// two stamps is stretched if the other is the later one, and shrunk if it is the earlier one.
    fn bound(&self, sent_micros: u64, clock_error_ppm: u32) -> Instant {
        let (slow, fast) = (1_000_000 - u128::from(clock_error_ppm), 1_000_000 + u128::from(clock_error_ppm));
        let scaled = |micros: u64, by: u128, of: u128| {
            Duration::from_micros(u64::try_from(u128::from(micros) * by / of).unwrap_or(u64::MAX))
        };
        let bound = if let Some(later) = sent_micros.checked_sub(self.sent_micros) {
            self.read_at.checked_add(scaled(later, fast, slow) + ROUNDING)
        } else {
            let earlier = scaled(self.sent_micros - sent_micros, slow, fast);
            self.read_at.checked_sub(earlier.saturating_sub(ROUNDING))
        };
        bound.unwrap_or(self.read_at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::lease::test_support::{D, now, row, worker};

    fn stamp(process: u64, millis: u64) -> Stamp {
        Stamp { process, sent_micros: millis * 1_000, counter: LeaseCounter::new(7) }
    }

    #[test]
    fn a_stamp_is_read_as_it_was_written_and_nothing_else_is_one() {
        let stamp = Stamp { process: u64::MAX, sent_micros: 86_400_000_000, counter: LeaseCounter::new(12) };
        assert_eq!(stamp.to_string(), "ffffffffffffffff:141dd76000:c");
        assert_eq!(Stamp::parse(&stamp.to_string()), Some(stamp));
        for text in ["", "1", "1:2", "1:2:3:4", "1:2:x", "1::3", "-1:2:3", "11111111111111111:2:3"] {
            assert_eq!(Stamp::parse(text), None, "{text}");
        }
    }

    #[test]
    fn writes_of_an_owner_are_stamped_and_no_others() {
        let start = now();
        let stamper = Stamper::new(&worker("ann"), 1, &[], start);
        let (expected, later) = (LeaseCounter::new(6), start + Duration::from_millis(1_500));
        let renewed = stamper.stamp(&Operation::Renew { expected, during_handoff: false }, later).unwrap();
        assert_eq!((renewed.sent_micros, renewed.counter.get()), (1_500_000, 7));
        assert!(stamper.stamp(&Operation::Take { expected, worker: worker("ann") }, later).is_some());
        assert_eq!(stamper.stamp(&Operation::Delete { expected }, later), None);
        assert_eq!(stamper.stamp(&Operation::UpdateMeta(crate::lease::MetaUpdate::default()), later), None);
    }

    #[test]
    fn a_row_is_of_another_process_if_its_last_write_says_so() {
        let stamper = Stamper::new(&worker("ann"), 1, &[], now());
        let written = |process, counter: u64| {
            let counter = LeaseCounter::new(counter);
            Lease { stamp: Some(Stamp { process, sent_micros: 1, counter }), ..row(1, "ann", 5) }
        };
        assert!(!stamper.is_of_another(&row(1, "ann", 5)), "nobody says");
        assert!(!stamper.is_of_another(&written(stamper.process, 5)));
        assert!(stamper.is_of_another(&written(stamper.process ^ 1, 5)));
        assert!(!stamper.is_of_another(&written(stamper.process ^ 1, 4)), "that write was not the last");
    }

    #[test]
    fn a_worker_that_comes_back_with_its_seed_is_another_process() {
        let number = |table: &[Lease]| Stamper::new(&worker("ann"), 1, table, now()).process;
        let tables = [vec![], vec![row(1, "ann", 3)], vec![row(1, "ann", 4)], vec![row(2, "ann", 4)]];
        let numbers: BTreeSet<u64> = tables.iter().map(|table| number(table)).collect();
        assert_eq!(numbers.len(), 4);
        assert_eq!(number(&tables[1]), number(&tables[1]));
        assert_ne!(
            Stamper::new(&worker("ann"), 2, &[], now()).process,
            Stamper::new(&worker("bob"), 2, &[], now()).process
        );
    }

    #[test]
    fn one_read_bounds_the_writes_before_it_and_after_it() {
        let (mut clocks, start) = (Clocks::new(10_000), now());
        assert_eq!(clocks.sent_by(&stamp(1, 0)), None);
        clocks.read(&stamp(1, 50_000), D, start);
        let bound = |millis| clocks.sent_by(&stamp(1, millis)).unwrap();
        // A second later on its clock may be 1.0202 s on ours, and a second earlier only 0.9802 s.
        let later = bound(51_000) - start;
        assert!((1_020..=1_023).contains(&later.as_millis()), "{later:?}");
        let earlier = start - bound(49_000);
        assert!((978..=981).contains(&earlier.as_millis()), "{earlier:?}");
        assert_eq!(clocks.sent_by(&stamp(2, 0)), None, "of another process nothing is known");
    }

    #[test]
    fn the_quickest_read_counts_and_old_ones_are_forgotten() {
        let (mut clocks, start) = (Clocks::new(0), now());
        let at = |millis| start + Duration::from_millis(millis);
        clocks.read(&stamp(1, 1_000), D, at(3_000));
        clocks.read(&stamp(1, 4_000), D, at(4_100));
        clocks.read(&stamp(1, 8_000), D, at(9_000));
        let slack = |clocks: &Clocks| clocks.sent_by(&stamp(1, 8_000)).unwrap() - at(8_000);
        assert_eq!(slack(&clocks).as_millis(), 101);
        // From here on its clock stands still for five seconds: the first bound is five seconds too early from then on.
        for second in (0..60).step_by(3) {
            clocks.read(&stamp(1, 10_000 + second * 1_000), D, at(15_500 + second * 1_000));
        }
        let slack = clocks.sent_by(&stamp(1, 60_000)).unwrap() - at(65_000);
        assert!(slack >= Duration::from_millis(490), "{slack:?}");
    }

    #[test]
    fn processes_that_are_gone_are_forgotten() {
        let mut clocks = Clocks::new(0);
        for process in 0..5 {
            clocks.read(&stamp(process, 0), D, now());
        }
        clocks.retain(&BTreeSet::from([2]));
        assert_eq!(clocks.of.keys().copied().collect::<Vec<_>>(), [2]);
    }

    proptest! {
        /// Whatever the clocks' rates, and whichever writes were read and how late: no bound lies before the write.
        #[test]
        fn a_bound_is_never_too_early(
            writer in 0.99_f64..=1.01, reader in 0.99_f64..=1.01,
            writes in prop::collection::vec((1_u64..6_000, 0_u64..40_000, any::<bool>()), 1..60),
        ) {
            let (mut clocks, start) = (Clocks::new(10_000), now());
            let (mut millis, mut sent) = (0_u64, Vec::new());
            let mut reads = Vec::new();
            for (pause, late, read) in writes {
                millis += pause;
                let at = Duration::from_millis(millis);
                let stamp = stamp(1, 0);
                let stamp = Stamp { sent_micros: u64::try_from(at.mul_f64(writer).as_micros()).unwrap(), ..stamp };
                sent.push((stamp, start + at.mul_f64(reader)));
                if read {
                    reads.push((millis + late, stamp));
                }
            }
            reads.sort_by_key(|(at, _)| *at);
            for (at, stamp) in reads {
                clocks.read(&stamp, D, start + Duration::from_millis(at).mul_f64(reader));
                for (stamp, truly) in &sent {
                    prop_assert!(clocks.sent_by(stamp).unwrap() >= *truly);
                }
            }
        }
    }
}
