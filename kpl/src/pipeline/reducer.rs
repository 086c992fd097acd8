//! Collect until count, bytes or deadline: the one rule by which user records become aggregates and Kinesis records requests.

use std::time::{Duration, Instant};

/// When a collection is complete.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) max_count: usize,
    pub(crate) max_bytes: usize,
    /// From the first item on.
    pub(crate) linger: Duration,
}

impl Bounds {
    /// How many bytes all may be with one more item than so many. The first always may join.
    pub(crate) fn room(&self, count: usize) -> usize {
        match count {
            0 => usize::MAX,
            count if count < self.max_count => self.max_bytes,
            _ => 0,
        }
    }

    pub(crate) fn is_full(&self, count: usize, bytes: usize) -> bool {
        count >= self.max_count || bytes >= self.max_bytes
    }
}

/// How far a collection has come. What is collected stays with the caller.
#[derive(Debug)]
pub(crate) struct Reducer {
    bounds: Bounds,
    count: usize,
    bytes: usize,
    deadline: Option<Instant>,
}

impl Reducer {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { bounds, count: 0, bytes: 0, deadline: None }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether one more item may join, which would make it this many bytes in all. The first always may.
    pub(crate) fn fits(&self, bytes_with_it: usize) -> bool {
        bytes_with_it <= self.bounds.room(self.count)
    }

    /// The clock starts with the first item.
    pub(crate) fn open(&mut self, now: Instant) {
        let linger = if kinesis_shard::planted("a record waits ten times as long for company") {
            self.bounds.linger * 10
        } else {
            self.bounds.linger
        };
        self.deadline = Some(now + linger);
    }

    /// One item joined; it is this many bytes in all now.
    pub(crate) fn add(&mut self, bytes_with_it: usize) {
        self.count += 1;
        self.bytes = bytes_with_it;
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bounds.is_full(self.count, self.bytes)
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// What is collected must not wait any longer.
    pub(crate) fn hurry(&mut self, now: Instant) {
        if let Some(deadline) = &mut self.deadline {
            *deadline = now.min(*deadline);
        }
    }

    pub(crate) fn reset(&mut self) {
        *self = Self::new(self.bounds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::start;

    fn reducer(max_count: usize, max_bytes: usize) -> Reducer {
        Reducer::new(Bounds { max_count, max_bytes, linger: Duration::from_millis(80) })
    }

    #[test]
    fn the_first_item_always_fits_and_others_up_to_count_and_bytes() {
        let mut reducer = reducer(2, 100);
        assert!(reducer.fits(1000));
        reducer.add(60);
        assert!(reducer.fits(100));
        assert!(!reducer.fits(101));
        assert!(!reducer.is_full());
        reducer.add(90);
        assert!(reducer.is_full());
        assert!(!reducer.fits(91));
    }

    #[test]
    fn bytes_alone_make_it_full() {
        let mut reducer = reducer(500, 100);
        reducer.add(100);
        assert!(reducer.is_full());
    }

    #[test]
    fn the_deadline_counts_from_the_first_item_and_hurry_brings_it_forward() {
        let now = start();
        let mut reducer = reducer(2, 100);
        assert!(!reducer.is_due(now));
        reducer.open(now);
        assert_eq!(reducer.deadline(), Some(now + Duration::from_millis(80)));
        assert!(!reducer.is_due(now + Duration::from_millis(79)));
        assert!(reducer.is_due(now + Duration::from_millis(80)));
        reducer.hurry(now + Duration::from_millis(5));
        assert!(reducer.is_due(now + Duration::from_millis(5)));
        reducer.reset();
        assert_eq!(reducer.deadline(), None);
    }
}
