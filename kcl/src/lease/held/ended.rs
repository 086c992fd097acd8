//! The news of tenures that are over, for the keeper.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::lease::LeaseKey;

/// Leases whose tenure is over or whose shard is done, for the keeper to drop.
#[derive(Debug, Default)]
pub(crate) struct EndedLeases {
    // Unbounded in type only: each holding announces itself once.
    queue: Mutex<VecDeque<(LeaseKey, u64)>>,
    /// A lease was given up since somebody asked: its row is free by now.
    freed: AtomicBool,
    news: Notify,
}

impl EndedLeases {
    pub(super) fn announce(&self, key: LeaseKey, tenure: u64) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back((key, tenure));
        self.news.notify_one();
    }

    pub(crate) fn take_all(&self) -> VecDeque<(LeaseKey, u64)> {
        std::mem::take(&mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn row_is_free(&self) {
        self.freed.store(true, Ordering::Relaxed);
        self.news.notify_one();
    }

    /// Whether a row became free since the last time this was asked.
    pub(crate) fn take_freed(&self) -> bool {
        self.freed.swap(false, Ordering::Relaxed)
    }

    /// Resolves when something was announced. Cancel safe.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }
}
