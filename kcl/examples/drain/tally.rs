//! What a consumer got: how many records, and a digest of all of them that does not depend on their order.
//!
//! The digest is the sum of the CRC-32 of each record's key followed by its data: every language has that at hand, at the
//! speed of its own library. No two records of a filled stream are equal, so a loss and a copy do not cancel out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::now_millis;

pub(crate) fn digest(key: &str, data: &[u8]) -> u64 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key.as_bytes());
    hasher.update(data);
    hasher.finalize().into()
}

/// Shared by everything that reads.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    expected: u64,
    count: AtomicU64,
    digest: AtomicU64,
    first_at: AtomicU64,
    last_at: AtomicU64,
    enough: Notify,
}

impl Tally {
    pub(crate) fn new(expected: u64) -> Arc<Self> {
        Arc::new(Self { expected, ..Self::default() })
    }

    /// So many records with this sum of digests were delivered.
    pub(crate) fn add(&self, count: u64, digest: u64) {
        if count == 0 {
            return;
        }
        self.digest.fetch_add(digest, Ordering::Relaxed);
        let before = self.count.fetch_add(count, Ordering::AcqRel);
        if before == 0 {
            self.first_at.store(now_millis(), Ordering::Relaxed);
        }
        if before < self.expected && before + count >= self.expected {
            self.last_at.store(now_millis(), Ordering::Relaxed);
            self.enough.notify_one();
        }
    }

    /// Waits until as many came as there are, and half a second more for copies; then says what came. Whoever measures reads
    /// the counters of the process and ends it.
    pub(crate) async fn finish(&self) {
        self.enough.notified().await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let read = |counter: &AtomicU64| counter.load(Ordering::Acquire);
        let (count, digest) = (read(&self.count), read(&self.digest));
        println!("result {count} {digest} {} {}", read(&self.first_at), read(&self.last_at));
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
}
