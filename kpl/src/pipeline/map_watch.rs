//! When to ask the service about the stream again: one question at a time, with growing pauses while the answers bring nothing new, and
//! after a random moment when a whole fleet has seen the same surprise.

use std::time::{Duration, Instant};

use kinesis_shard::Backoff;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// How long to wait between questions of one kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pauses {
    pub(crate) least: Duration,
    pub(crate) greatest: Duration,
    /// A question that a surprise brings up waits for a random part of this, so that a fleet does not ask in one moment.
    pub(crate) spread: Duration,
}

impl Pauses {
    /// For `ListShards`, of which the service answers 1,000 a second and stream: a producer alone asks almost at once, one of a thousand
    /// within two seconds.
    pub(crate) fn shards(fleet_size: u32) -> Self {
        let spread = Duration::from_millis(50).max(Duration::from_millis(2) * fleet_size);
        Self { least: Duration::from_millis(100), greatest: Duration::from_secs(10), spread }
    }

    /// For `DescribeStreamSummary`, of which the service answers 20 a second and *account*: never in a hurry.
    pub(crate) fn summary(fleet_size: u32) -> Self {
        let spread = Duration::from_millis(100).max(Duration::from_millis(50) * fleet_size);
        Self { least: Duration::from_secs(1), greatest: Duration::from_mins(1), spread }
    }
}

/// What a first throttled question makes of the spread, and the most that further ones make of it.
const CROWDED: Duration = Duration::from_secs(2);
const MOST_CROWDED: Duration = Duration::from_secs(8);

/// ```text
/// content --want--> wanted --next, pause over--> asking --arrived--> content
///    ^                 ^                            '--failed, or wanted meanwhile--> wanted
/// ```
#[derive(Debug)]
pub(crate) struct MapWatch {
    wanted: bool,
    asking: bool,
    /// Questions asked so far; the last one has this number.
    asked: u64,
    not_before: Option<Instant>,
    least_spread: Duration,
    /// Wider while questions are throttled: then many others ask at the same time, however many of them were configured.
    spread: Duration,
    backoff: Backoff,
    rng: SmallRng,
}

/// What there is to do about the shard map.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    Ask,
    WaitUntil(Instant),
    Nothing,
}

impl MapWatch {
    pub(crate) fn new(seed: u64, pauses: Pauses) -> Self {
        let Pauses { least, greatest, spread } = pauses;
        let (backoff, rng) = (Backoff::new(least, greatest, 2.0, seed), SmallRng::seed_from_u64(seed));
        Self {
            wanted: false,
            asking: false,
            asked: 0,
            not_before: None,
            least_spread: spread,
            spread,
            backoff,
            rng,
        }
    }

    /// An answer is needed to a question that is asked from now on. Returns the number of the first that will do.
    pub(crate) fn want(&mut self, now: Instant) -> u64 {
        // The first question of all is asked at once: nothing can be sent before it is answered.
        if !self.wanted && self.asked > 0 {
            let at = now + self.moment_of_spread();
            self.not_before = self.not_before.max(Some(at));
        }
        self.wanted = self.asked == 0 || !kinesis_shard::planted("the shards are asked for once");
        self.asked + 1
    }

    /// The number of the question that was asked last.
    pub(crate) fn asked(&self) -> u64 {
        self.asked
    }

    pub(crate) fn next(&mut self, now: Instant) -> Watch {
        if !self.wanted || self.asking {
            return Watch::Nothing;
        }
        match self.not_before {
            Some(at) if at > now => Watch::WaitUntil(at),
            _ => {
                (self.wanted, self.asking) = (false, true);
                self.asked += 1;
                Watch::Ask
            }
        }
    }

    /// An answer came. One that brings news is followed by a short pause, others by growing ones.
    pub(crate) fn arrived(&mut self, now: Instant, news: bool) {
        if news {
            self.backoff.reset();
        }
        self.spread = self.least_spread.max(self.spread / 2);
        self.pause(now);
    }

    /// The question was turned away because too many asked. Said before [`failed`](Self::failed).
    pub(crate) fn throttled(&mut self) {
        self.spread = self.spread.max((self.spread * 4).clamp(CROWDED, MOST_CROWDED));
    }

    /// No answer came; the question stands.
    pub(crate) fn failed(&mut self, now: Instant) {
        self.wanted = true;
        self.pause(now);
        if self.spread > self.least_spread {
            let moment = self.moment_of_spread();
            self.not_before = self.not_before.map(|at| at + moment);
        }
    }

    /// Nobody waits for an answer any more.
    pub(crate) fn forget(&mut self) {
        self.wanted = false;
    }

    fn moment_of_spread(&mut self) -> Duration {
        let nanos = u64::try_from(self.spread.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.rng.random_range(0..=nanos))
    }

    fn pause(&mut self, now: Instant) {
        self.asking = false;
        self.not_before = Some(now + self.backoff.next_delay());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::start;

    const PAUSES: Pauses = Pauses {
        least: Duration::from_millis(100),
        greatest: Duration::from_secs(10),
        spread: Duration::from_millis(50),
    };

    #[test]
    fn a_fleet_spreads_its_questions_and_a_failure_alone_adds_nothing() {
        assert_eq!(Pauses::shards(1_000).spread, Duration::from_secs(2));
        assert_eq!(Pauses::summary(1_000).spread, Duration::from_secs(50));
        assert_eq!(Pauses::summary(1).spread, Duration::from_millis(100));
        for seed in 0..50 {
            let mut watch = MapWatch::new(seed, PAUSES);
            watch.want(start());
            assert_eq!(watch.next(start()), Watch::Ask);
            watch.failed(start());
            let Watch::WaitUntil(at) = watch.next(start()) else { panic!("it pauses") };
            assert!(at <= start() + PAUSES.least, "nobody was turned away");
        }
    }

    #[test]
    fn one_question_at_a_time_and_a_wish_meanwhile_asks_again() {
        let mut watch = MapWatch::new(1, PAUSES);
        assert_eq!(watch.next(start()), Watch::Nothing);
        assert_eq!(watch.want(start()), 1);
        assert_eq!(watch.next(start()), Watch::Ask);
        assert_eq!(watch.want(start()), 2, "what is under way was asked too early");
        assert_eq!(watch.next(start()), Watch::Nothing);
        watch.arrived(start(), true);
        let Watch::WaitUntil(at) = watch.next(start()) else { panic!("it pauses first") };
        assert!(at <= start() + PAUSES.least);
        assert_eq!(watch.next(at), Watch::Ask);
        watch.arrived(at, true);
        assert_eq!(watch.next(at + PAUSES.greatest), Watch::Nothing);
    }

    #[test]
    fn pauses_grow_while_nothing_new_comes_and_start_again_with_news() {
        let mut watch = MapWatch::new(2, PAUSES);
        let mut now = start();
        let mut pauses = Vec::new();
        for round in 0..12 {
            watch.want(now);
            if let Watch::WaitUntil(at) = watch.next(now) {
                pauses.push(at - now);
                now = at;
                assert_eq!(watch.next(now), Watch::Ask);
            }
            if round % 2 == 0 { watch.failed(now) } else { watch.arrived(now, false) }
        }
        assert!(pauses.iter().all(|pause| *pause <= PAUSES.greatest));
        assert!(pauses[9] >= PAUSES.greatest / 2, "{pauses:?}");
        watch.arrived(now, true);
        watch.want(now);
        let Watch::WaitUntil(at) = watch.next(now) else { panic!("it pauses first") };
        assert!(at - now <= PAUSES.least);
    }

    #[test]
    fn throttling_widens_the_spread_and_answers_narrow_it_again() {
        let mut watch = MapWatch::new(3, PAUSES);
        watch.want(start());
        watch.next(start());
        let mut spreads = Vec::new();
        for _ in 0..3 {
            watch.throttled();
            spreads.push(watch.spread.as_millis());
        }
        for _ in 0..10 {
            watch.arrived(start(), false);
            spreads.push(watch.spread.as_millis());
        }
        assert_eq!(spreads[..6], [2_000, 8_000, 8_000, 4_000, 2_000, 1_000]);
        assert_eq!(spreads[12], 50, "a producer alone asks almost at once again");
        let alone = MapWatch::new(3, Pauses::shards(10_000)).spread;
        let mut fleet = MapWatch::new(3, Pauses::shards(10_000));
        fleet.throttled();
        assert_eq!(fleet.spread, alone, "a configured spread is never narrowed");
    }

    #[test]
    fn a_throttled_question_comes_back_within_the_spread_and_its_pause() {
        let mut waits: Vec<_> = (0..1000)
            .map(|seed| {
                let mut watch = MapWatch::new(seed, PAUSES);
                watch.want(start());
                assert_eq!(watch.next(start()), Watch::Ask);
                watch.throttled();
                watch.failed(start());
                let Watch::WaitUntil(at) = watch.next(start()) else { panic!("it pauses first") };
                at - start()
            })
            .collect();
        waits.sort();
        assert!(waits[999] <= CROWDED + PAUSES.least, "{:?}", waits[999]);
        assert!((CROWDED / 3..CROWDED * 2 / 3).contains(&waits[500]), "{:?}", waits[500]);
    }

    #[test]
    fn a_fleet_that_is_surprised_in_one_moment_asks_over_the_spread() {
        let pauses = Pauses::shards(1000);
        let mut waits = Vec::new();
        for seed in 0..1000 {
            let mut watch = MapWatch::new(seed, pauses);
            watch.want(start());
            assert_eq!(watch.next(start()), Watch::Ask, "the first question waits for nothing");
            watch.arrived(start(), true);
            let surprise = start() + Duration::from_hours(1);
            watch.want(surprise);
            let Watch::WaitUntil(at) = watch.next(surprise) else { continue };
            watch.want(surprise + Duration::from_millis(1));
            assert_eq!(watch.next(surprise), Watch::WaitUntil(at), "a second wish postpones nothing");
            waits.push(at - surprise);
        }
        waits.sort();
        assert!(waits[999] <= pauses.spread && waits[500] > pauses.spread / 3, "{:?}", waits[500]);
    }
}
