//! A count that many tasks can wait on: news that must not be missed and need not be counted exactly.
//!
//! Not tokio's `watch`: the order in which that wakes its receivers is drawn from a generator without a seed.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(crate) struct Bell {
    rings: AtomicU64,
    notify: Notify,
}

impl Bell {
    pub(crate) fn ring(&self) {
        self.rings.fetch_add(1, Ordering::SeqCst);
        self.notify.notify_waiters();
    }

    pub(crate) fn rings(&self) -> u64 {
        self.rings.load(Ordering::SeqCst)
    }

    pub(crate) fn has_rung(&self) -> bool {
        self.rings() > 0
    }

    /// Resolves with the new count once it differs from `seen`. Cancel safe.
    pub(crate) async fn beyond(&self, seen: u64) -> u64 {
        loop {
            let notified = self.notify.notified();
            tokio::pin!(notified);
            // Before the count is read, so that a ring between reading and waiting is not missed.
            notified.as_mut().enable();
            let rings = self.rings();
            if rings != seen {
                return rings;
            }
            notified.await;
        }
    }

    /// Resolves once it has rung at all. Cancel safe.
    pub(crate) async fn rung(&self) {
        self.beyond(0).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn a_ring_before_the_wait_is_not_missed() {
        let bell = Bell::default();
        assert!(bell.rung().now_or_never().is_none());
        bell.ring();
        assert!(bell.rung().now_or_never().is_some());
        assert!(bell.beyond(1).now_or_never().is_none());
        bell.ring();
        assert_eq!(bell.beyond(1).await, 2);
    }
}
