//! What was learned of the stream, for the callers' side: its record size limit, and whether it goes by keys.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use kinesis_shard::Clock;
use tokio::sync::Notify;

use crate::pipeline::summary::StreamSummary;

#[derive(Debug)]
pub(crate) struct StreamFacts {
    /// What is configured stands, whatever the stream says.
    configured: bool,
    max_record_bytes: AtomicUsize,
    auto: AtomicBool,
    /// The question was answered, or given up for now.
    settled: AtomicBool,
    /// Somebody would like to know.
    wanted: AtomicBool,
    changed: Notify,
}

impl StreamFacts {
    pub(crate) fn new(configured: bool, max_record_bytes: usize) -> Self {
        Self {
            configured,
            max_record_bytes: AtomicUsize::new(max_record_bytes),
            auto: AtomicBool::new(false),
            settled: AtomicBool::new(false),
            wanted: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

    pub(crate) fn max_record_bytes(&self) -> usize {
        self.max_record_bytes.load(Ordering::Relaxed)
    }

    /// The service picks shards itself.
    pub(crate) fn auto(&self) -> bool {
        self.auto.load(Ordering::Relaxed)
    }

    /// Whether the limit may turn out to be higher in a moment.
    pub(crate) fn may_rise(&self) -> bool {
        !self.configured && !self.settled.load(Ordering::Relaxed)
    }

    pub(crate) fn learned(&self, summary: StreamSummary) {
        if !self.configured {
            self.max_record_bytes.store(summary.max_record_bytes, Ordering::Relaxed);
        }
        self.auto.store(summary.auto, Ordering::Relaxed);
        self.settle();
    }

    /// There is no answer and none is waited for.
    pub(crate) fn settle(&self) {
        self.settled.store(true, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    /// A record did not fit: perhaps the stream's limit was raised. True if somebody has to be told.
    pub(crate) fn wish(&self) -> bool {
        !self.configured && !self.wanted.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn take_wish(&self) -> bool {
        self.wanted.swap(false, Ordering::Relaxed)
    }

    /// Waits until the limit will not rise in a moment, at most this long. Cancel safe.
    pub(crate) async fn settled(&self, clock: &Clock, patience: Duration) {
        let mut patience_ends = pin!(clock.sleep(patience));
        loop {
            let mut changed = pin!(self.changed.notified());
            // From here on no notification is missed.
            changed.as_mut().enable();
            if !self.may_rise() {
                return;
            }
            tokio::select! {
                // An answer that comes with the last moment still counts; it comes once, so time is not starved.
                biased;
                () = changed => {}
                () = patience_ends.as_mut() => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_configured_stands_and_what_is_assumed_is_replaced() {
        let summary = StreamSummary { max_record_bytes: 2 << 20, auto: true };
        for (configured, expected) in [(true, 1 << 20), (false, 2 << 20)] {
            let facts = StreamFacts::new(configured, 1 << 20);
            assert_eq!(facts.may_rise(), !configured);
            facts.learned(summary);
            assert_eq!((facts.max_record_bytes(), facts.auto(), facts.may_rise()), (expected, true, false));
            assert_eq!(facts.wish(), !configured);
            assert!(!facts.wish(), "told once");
            assert_eq!(facts.take_wish(), !configured);
        }
    }
}
