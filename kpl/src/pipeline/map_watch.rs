//! When to ask for the shards again: one question at a time, with growing pauses while the answers bring nothing new.

use std::time::{Duration, Instant};

use kinesis_shard::Backoff;

const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(10);

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
    backoff: Backoff,
}

/// What there is to do about the shard map.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    Ask,
    WaitUntil(Instant),
    Nothing,
}

impl MapWatch {
    pub(crate) fn new(seed: u64) -> Self {
        let backoff = Backoff::new(MIN_PAUSE, MAX_PAUSE, 2.0, seed);
        Self { wanted: false, asking: false, asked: 0, not_before: None, backoff }
    }

    /// A map is needed that was asked for from now on. Returns the number of the first question that will do.
    pub(crate) fn want(&mut self) -> u64 {
        self.wanted = true;
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
        self.pause(now);
    }

    /// No answer came; the question stands.
    pub(crate) fn failed(&mut self, now: Instant) {
        self.wanted = true;
        self.pause(now);
    }

    /// Nobody waits for an answer any more.
    pub(crate) fn forget(&mut self) {
        self.wanted = false;
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

    #[test]
    fn one_question_at_a_time_and_a_wish_meanwhile_asks_again() {
        let mut watch = MapWatch::new(1);
        assert_eq!(watch.next(start()), Watch::Nothing);
        assert_eq!(watch.want(), 1);
        assert_eq!(watch.next(start()), Watch::Ask);
        assert_eq!(watch.want(), 2, "what is under way was asked too early");
        assert_eq!(watch.next(start()), Watch::Nothing);
        watch.arrived(start(), true);
        let Watch::WaitUntil(at) = watch.next(start()) else { panic!("it pauses first") };
        assert!(at <= start() + MIN_PAUSE);
        assert_eq!(watch.next(at), Watch::Ask);
        watch.arrived(at, true);
        assert_eq!(watch.next(at + MAX_PAUSE), Watch::Nothing);
    }

    #[test]
    fn pauses_grow_while_nothing_new_comes_and_start_again_with_news() {
        let mut watch = MapWatch::new(2);
        let mut now = start();
        let mut pauses = Vec::new();
        for round in 0..12 {
            watch.want();
            if let Watch::WaitUntil(at) = watch.next(now) {
                pauses.push(at - now);
                now = at;
                assert_eq!(watch.next(now), Watch::Ask);
            }
            if round % 2 == 0 { watch.failed(now) } else { watch.arrived(now, false) }
        }
        assert!(pauses.iter().all(|pause| *pause <= MAX_PAUSE));
        assert!(pauses[9] >= MAX_PAUSE / 2, "{pauses:?}");
        watch.arrived(now, true);
        watch.want();
        let Watch::WaitUntil(at) = watch.next(now) else { panic!("it pauses first") };
        assert!(at - now <= MIN_PAUSE);
    }
}
