//! What is accepted and not yet answered: bytes, for which callers wait, and batches by epoch, for which a flush waits.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{AcquireError, Notify, OwnedSemaphorePermit, TryAcquireError};

use crate::batch::Ledger;

/// Bytes, over all streams of a producer.
mod room;

pub(crate) use room::{Room, Taken};

/// One stream's part of it.
#[derive(Debug)]
pub(crate) struct Outstanding {
    room: Room,
    /// The room is shared, so a stream that is closed turns its own callers away and no others.
    closed: AtomicBool,
    closing: Notify,
    /// Batches that are not finished, by epoch.
    epochs: Mutex<BTreeMap<u64, u64>>,
    finished: Notify,
    delivered: AtomicU64,
    failed: AtomicU64,
}

/// The stream is closed.
#[derive(Debug)]
pub(crate) struct Closed;

impl Outstanding {
    pub(crate) fn new(room: Room) -> Self {
        Self {
            room,
            closed: AtomicBool::new(false),
            closing: Notify::new(),
            epochs: Mutex::new(BTreeMap::new()),
            finished: Notify::new(),
            delivered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// The most bytes that one call can ask for.
    pub(crate) fn largest(&self) -> usize {
        self.room.largest()
    }

    /// Waits for room, in the order of asking, so that a large record is not overtaken for ever. Given back when dropped. A thread in a
    /// crowd has a number. Cancel safe.
    pub(crate) async fn acquire(&self, bytes: usize, thread: Option<usize>) -> Result<Taken<'_>, Closed> {
        if let Ok(room) = self.try_acquire(bytes, thread) {
            // A caller that never waits still lets others run, as every await of the runtime does.
            tokio::task::coop::consume_budget().await;
            return Ok(room);
        }
        self.until_closed(self.room.take(bytes)).await
    }

    pub(crate) async fn acquire_owned(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Closed> {
        self.until_closed(self.room.take_owned(bytes)).await
    }

    pub(crate) fn try_acquire(
        &self,
        bytes: usize,
        thread: Option<usize>,
    ) -> Result<Taken<'_>, TryAcquireError> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(TryAcquireError::Closed);
        }
        self.room.try_take(bytes, thread)
    }

    /// Nobody waits for room to this stream any more.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.closing.notify_waiters();
    }

    /// Of all streams that share the room.
    pub(crate) fn bytes(&self) -> usize {
        self.room.bytes()
    }

    async fn until_closed<T>(
        &self,
        room: impl Future<Output = Result<T, AcquireError>>,
    ) -> Result<T, Closed> {
        let mut closing = pin!(self.closing.notified());
        // From here on no notification is missed.
        closing.as_mut().enable();
        if self.closed.load(Ordering::SeqCst) {
            return Err(Closed);
        }
        tokio::select! {
            // Nobody gets room of a closed stream; it is closed once, so room is not starved.
            biased;
            () = closing => Err(Closed),
            room = room => room.map_err(|_| Closed),
        }
    }

    /// User records delivered, and failed.
    pub(crate) fn answered_so_far(&self) -> (u64, u64) {
        (self.delivered.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }

    /// A batch of this epoch begins.
    pub(crate) fn opened(&self, epoch: u64) {
        *self.epochs().entry(epoch).or_default() += 1;
    }

    /// Waits until every batch of this epoch and those before is finished. Cancel safe.
    pub(crate) async fn finished_up_to(&self, epoch: u64) {
        loop {
            let mut finished = pin!(self.finished.notified());
            // From here on no notification is missed.
            finished.as_mut().enable();
            let early = kinesis_shard::planted("a flush leaves out its own epoch");
            let over = |oldest: u64| oldest > epoch || early && oldest == epoch;
            if kinesis_shard::planted("a flush waits for nothing") {
                return;
            }
            if self.epochs().first_key_value().is_none_or(|(oldest, _)| over(*oldest)) {
                return;
            }
            finished.await;
        }
    }

    fn epochs(&self) -> MutexGuard<'_, BTreeMap<u64, u64>> {
        self.epochs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger for Outstanding {
    fn answered(&self, delivered: bool, records: u32, bytes: usize) {
        let counter = if delivered { &self.delivered } else { &self.failed };
        counter.fetch_add(u64::from(records), Ordering::Relaxed);
        if delivered || !kinesis_shard::planted("what failed still takes room") {
            self.room.give_back(bytes);
        }
    }

    fn finished(&self, epoch: u64) {
        let last = {
            let mut epochs = self.epochs();
            let left = epochs.get_mut(&epoch).expect("a batch is opened before it is finished");
            *left -= 1;
            let last = *left == 0;
            if last {
                epochs.remove(&epoch);
            }
            last
        };
        if last {
            self.finished.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const MOMENT: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn bytes_are_lent_up_to_the_capacity_and_come_back_with_answers() {
        let outstanding = Outstanding::new(Room::new(100));
        outstanding.acquire(60, None).await.unwrap().spend();
        assert!(timeout(MOMENT, outstanding.acquire(41, None)).await.is_err(), "no room");
        assert_eq!(outstanding.bytes(), 60, "the cancelled wait took nothing");
        outstanding.answered(true, 1, 60);
        drop(outstanding.acquire(100, None).await.expect("all of it is there again"));
        assert_eq!(outstanding.answered_so_far(), (1, 0));
        assert_eq!(outstanding.bytes(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_one_lends_nothing_and_whoever_waits_is_told() {
        let outstanding = Outstanding::new(Room::new(100));
        assert_eq!(outstanding.largest(), 100);
        outstanding.acquire(60, None).await.unwrap().spend();
        let waiting = futures::future::join(outstanding.acquire(50, None), outstanding.acquire_owned(50));
        let (told, ()) = futures::future::join(waiting, async { outstanding.close() }).await;
        assert!(told.0.is_err() && told.1.is_err());
        assert!(matches!(outstanding.try_acquire(1, None), Err(TryAcquireError::Closed)));
        assert!(outstanding.acquire(1, None).await.is_err() && outstanding.acquire_owned(1).await.is_err());
        outstanding.answered(false, 2, 50);
        outstanding.answered(true, 3, 10);
        assert_eq!((outstanding.answered_so_far(), outstanding.bytes()), ((3, 2), 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_flush_waits_for_its_epoch_and_earlier_ones_only() {
        let outstanding = Outstanding::new(Room::new(100));
        for epoch in [0, 0, 1, 2] {
            outstanding.opened(epoch);
        }
        outstanding.finished(0);
        outstanding.finished(1);
        assert!(timeout(MOMENT, outstanding.finished_up_to(1)).await.is_err(), "one of epoch 0 is left");
        let both = futures::future::join(outstanding.finished_up_to(0), outstanding.finished_up_to(1));
        let done = futures::future::join(both, async { outstanding.finished(0) });
        timeout(MOMENT, done).await.expect("epoch 2 does not hold them up");
        assert!(timeout(MOMENT, outstanding.finished_up_to(2)).await.is_err());
    }
}
