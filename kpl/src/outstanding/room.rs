//! Bytes that may be accepted and not answered, over all streams of a producer.
//!
//! One number that every record changes would be all that threads share when each has its own open aggregates. So threads that crowd
//! take some more than they need, each for itself, and use that up first. What one has to spare is taken back before anybody waits: no
//! caller waits for room that nobody uses.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, TryAcquireError};

/// As many threads have something to spare; more of them share.
const SPARES: usize = 16;
/// What a thread takes at once, at most; and of the capacity, at most this part.
const SPARE_BYTES: usize = 64 * 1024;
const SPARE_PART: usize = 256;

/// The room of one producer.
#[derive(Debug, Clone)]
pub(crate) struct Room(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    capacity: usize,
    permits: Arc<Semaphore>,
    spares: [Spare; SPARES],
    /// Callers that may be waiting. Whoever has put something by looks here after, and who waits looks at what was put by after he
    /// has said so here: one of them sees the other.
    waiting: AtomicUsize,
}

/// Apart from its neighbours, so that threads share no cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Spare(AtomicUsize);

/// Bytes that were taken. Dropped, they are given back.
#[derive(Debug)]
#[must_use = "dropping it gives the room back"]
pub(crate) struct Taken<'a> {
    room: &'a Room,
    bytes: usize,
}

impl Taken<'_> {
    /// Whoever answers the record gives it back.
    pub(crate) fn spend(mut self) {
        self.bytes = 0;
    }

    /// A part of it; none if it is smaller than that.
    pub(crate) fn split(&mut self, bytes: usize) -> Option<Self> {
        self.bytes = self.bytes.checked_sub(bytes)?;
        Some(Self { room: self.room, bytes })
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.room.give_back(self.bytes);
        }
    }
}

/// While it lives, nobody keeps anything to spare.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Room {
    pub(crate) fn new(capacity: usize) -> Self {
        Self(Arc::new(Inner {
            capacity,
            permits: Arc::new(Semaphore::new(capacity)),
            spares: std::array::from_fn(|_| Spare::default()),
            waiting: AtomicUsize::new(0),
        }))
    }

    pub(crate) fn capacity(&self) -> usize {
        self.0.capacity
    }

    /// The most bytes that one call can ask for.
    pub(crate) fn largest(&self) -> usize {
        self.0.capacity.min(usize::try_from(u32::MAX).unwrap_or(usize::MAX))
    }

    /// What is taken and not given back.
    pub(crate) fn bytes(&self) -> usize {
        let spared: usize = self.0.spares.iter().map(|spare| spare.0.load(Ordering::Relaxed)).sum();
        self.0.capacity.saturating_sub(self.0.permits.available_permits()).saturating_sub(spared)
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        self.0.permits.add_permits(bytes);
    }

    /// Takes room if that needs no waiting; fails while others wait, so it overtakes nobody for long. In a crowd the thread has a number.
    pub(crate) fn try_take(&self, bytes: usize, thread: Option<usize>) -> Result<Taken<'_>, TryAcquireError> {
        let taken = Taken { room: self, bytes };
        if thread.is_some_and(|thread| self.take_spare(thread, bytes)) {
            return Ok(taken);
        }
        // Not given back by `taken` before it was taken.
        match self.take_exactly(bytes) {
            Ok(()) => Ok(taken),
            Err(error) => {
                taken.spend();
                Err(error)
            }
        }
    }

    fn take_exactly(&self, bytes: usize) -> Result<(), TryAcquireError> {
        let permits = &self.0.permits;
        let taken = match permits.try_acquire_many(permits_of(bytes)) {
            Err(TryAcquireError::NoPermits) if self.reclaim() => permits.try_acquire_many(permits_of(bytes)),
            taken => taken,
        };
        taken.map(tokio::sync::SemaphorePermit::forget)
    }

    /// Waits for room, in the order of asking. Cancel safe.
    pub(crate) async fn take(&self, bytes: usize) -> Result<Taken<'_>, AcquireError> {
        let permit = self.queued(self.0.permits.acquire_many(permits_of(bytes))).await?;
        permit.forget();
        Ok(Taken { room: self, bytes })
    }

    /// The same for longer.
    pub(crate) async fn take_owned(&self, bytes: usize) -> Result<OwnedSemaphorePermit, AcquireError> {
        self.queued(Arc::clone(&self.0.permits).acquire_many_owned(permits_of(bytes))).await
    }

    async fn queued<T>(&self, permit: impl Future<Output = T>) -> T {
        self.0.waiting.fetch_add(1, Ordering::SeqCst);
        let _waiting = Waiting(&self.0.waiting);
        let mut permit = pin!(permit);
        let mut queued = false;
        std::future::poll_fn(|context| {
            let poll = permit.as_mut().poll(context);
            if poll.is_pending() && !std::mem::replace(&mut queued, true) && self.reclaim() {
                // What was reclaimed went to whoever waits first, perhaps to us.
                return permit.as_mut().poll(context);
            }
            poll
        })
        .await
    }

    /// From what this thread has to spare, which is filled up when it is used up.
    fn take_spare(&self, thread: usize, bytes: usize) -> bool {
        let Some(Spare(spare)) = self.0.spares.get(thread % SPARES) else { return false };
        let less = |there: usize| there.checked_sub(bytes);
        if spare.fetch_update(Ordering::SeqCst, Ordering::Relaxed, less).is_ok() {
            return true;
        }
        let more = SPARE_BYTES.min(self.0.capacity / SPARE_PART);
        let Ok(permit) = self.0.permits.try_acquire_many(permits_of(bytes + more)) else { return false };
        permit.forget();
        spare.fetch_add(more, Ordering::SeqCst);
        if self.0.waiting.load(Ordering::SeqCst) > 0 {
            self.reclaim();
        }
        true
    }

    /// Takes back what every thread has to spare; false if there was nothing.
    fn reclaim(&self) -> bool {
        let spared: usize = self.0.spares.iter().map(|spare| spare.0.swap(0, Ordering::SeqCst)).sum();
        if spared > 0 {
            self.give_back(spared);
        }
        spared > 0
    }
}

/// A record is far smaller; a reservation is checked against [`Room::largest`].
fn permits_of(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;
    use tokio::time::timeout;

    use super::*;

    const CAPACITY: usize = 1 << 20;

    #[test]
    fn more_threads_than_there_are_places_share_them() {
        let room = Room::new(CAPACITY);
        assert_eq!((room.capacity(), room.largest()), (CAPACITY, CAPACITY));
        room.try_take(100, Some(1_000)).unwrap().spend();
        assert_eq!(CAPACITY - room.0.permits.available_permits(), 100 + CAPACITY / SPARE_PART);
    }

    #[test]
    fn what_was_taken_can_be_parted() {
        let room = Room::new(CAPACITY);
        let mut taken = room.try_take(100, None).unwrap();
        assert!(taken.split(101).is_none());
        let part = taken.split(30).expect("it is large enough");
        assert_eq!(room.bytes(), 100);
        drop(taken);
        assert_eq!(room.bytes(), 30);
        part.spend();
        assert_eq!(room.bytes(), 30, "whoever answers gives it back");
    }

    #[test]
    fn threads_that_crowd_take_more_than_they_need_and_nobody_else_notices() {
        let room = Room::new(CAPACITY);
        let first = room.try_take(100, Some(3)).unwrap();
        assert_eq!(CAPACITY - room.0.permits.available_permits(), 100 + CAPACITY / SPARE_PART);
        let second = room.try_take(50, Some(3)).unwrap();
        assert_eq!(CAPACITY - room.0.permits.available_permits(), 100 + CAPACITY / SPARE_PART);
        assert_eq!(room.bytes(), 150, "what is put by is not used");
        drop(second);
        first.spend();
        assert_eq!(room.bytes(), 100);
        room.try_take(CAPACITY - 100, None).expect("what is put by can be had").spend();
        assert_eq!((room.bytes(), room.0.permits.available_permits()), (CAPACITY, 0));
        assert!(room.try_take(1, Some(3)).is_err() && room.try_take(1, None).is_err());
        room.give_back(CAPACITY);
        assert_eq!(room.bytes(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_room_that_nobody_uses() {
        let room = Room::new(CAPACITY);
        for thread in 0..SPARES {
            room.try_take(100, Some(thread)).unwrap().spend();
        }
        let rest = CAPACITY - 100 * SPARES;
        let moment = Duration::from_millis(1);
        assert!(room.take(rest + 1).now_or_never().is_none());
        for thread in 0..SPARES {
            room.try_take(0, Some(thread)).unwrap().spend();
        }
        assert!(room.take(rest).now_or_never().is_some(), "taken back at the first look");
        timeout(moment, room.take(rest)).await.expect("all of it was put by").unwrap().spend();
        let mut waits = pin!(room.take_owned(150));
        assert!(timeout(moment, waits.as_mut()).await.is_err());
        room.give_back(100);
        assert!(room.try_take(10, Some(1)).is_err(), "it went to who waits");
        room.give_back(100);
        drop(timeout(moment, waits).await.expect("there is room"));
        assert_eq!((room.bytes(), room.0.waiting.load(Ordering::SeqCst)), (CAPACITY - 200, 0));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn crowding_and_waiting_threads_never_hold_more_than_there_is_and_lose_nothing() {
        let room = Room::new(40_000);
        let used = Arc::new(AtomicUsize::new(0));
        let mut tasks = tokio::task::JoinSet::new();
        for thread in 0..8 {
            let (room, used) = (room.clone(), Arc::clone(&used));
            tasks.spawn(async move {
                for round in 0..3_000 {
                    let bytes = 1 + (thread * 7919 + round * 104_729) % 20_000;
                    let taken = match room.try_take(bytes, Some(thread)) {
                        Ok(taken) => taken,
                        Err(_) => room.take(bytes).await.unwrap(),
                    };
                    let now = used.fetch_add(bytes, Ordering::SeqCst) + bytes;
                    assert!(now <= 40_000, "{now} bytes are taken");
                    if round % 3 == 0 {
                        tokio::task::yield_now().await;
                    }
                    used.fetch_sub(bytes, Ordering::SeqCst);
                    drop(taken);
                }
            });
        }
        timeout(Duration::from_mins(1), async {
            while tasks.join_next().await.is_some_and(|task| task.is_ok()) {}
        })
        .await
        .expect("nobody waits for ever");
        assert!(tasks.is_empty(), "a task failed");
        assert_eq!(room.bytes(), 0);
        room.try_take(40_000, None).expect("all of it is there again").spend();
    }
}
