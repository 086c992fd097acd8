//! One lock for all callers while that does; one for each when they crowd.
//!
//! Sharing costs less by waiting than by cache lines that move from core to core. But what is split over several stripes fills
//! aggregates later, so threads are spread only while they collide, and come together again when aggregates are not filled in time.
//! Nothing of this depends on time or chance: a single thread always uses the first stripe.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// So many collisions, while load filled every aggregate in time, are a crowd. Few are enough: threads that take turns at a lock soon
/// fall into step, and then hardly collide any more, while the cache lines behind it move with every record.
const CROWD: u32 = 16;

#[derive(Debug)]
pub(super) struct Stripes<T> {
    /// A power of two of them.
    all: Box<[Stripe<T>]>,
    /// How many are in use, from the first; a power of two.
    used: AtomicUsize,
    collisions: AtomicU32,
}

/// Apart from its neighbours, so that threads on different stripes share no cache line.
#[derive(Debug)]
#[repr(align(128))]
struct Stripe<T>(Mutex<T>);

impl<T> Stripe<T> {
    fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Stripes<T> {
    /// At most this many, rounded down to a power of two; at least one.
    pub(super) fn new(most: usize, make: impl Fn() -> T) -> Self {
        let count = 1 << most.max(1).ilog2();
        let all = (0..count).map(|_| Stripe(Mutex::new(make()))).collect();
        Self { all, used: AtomicUsize::new(1), collisions: AtomicU32::new(0) }
    }

    /// This thread's stripe, and its number.
    pub(super) fn lock(&self) -> (usize, MutexGuard<'_, T>) {
        let number = self.number();
        let stripe = self.all.get(number).expect("no more are used than there are");
        match stripe.0.try_lock() {
            Ok(guard) => (number, guard),
            Err(TryLockError::Poisoned(poisoned)) => (number, poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => {
                self.collided();
                let number = self.number();
                (number, self.all.get(number).expect("no more are used than there are").lock())
            }
        }
    }

    /// That stripe, used or not.
    pub(super) fn at(&self, number: usize) -> Option<MutexGuard<'_, T>> {
        self.all.get(number).map(Stripe::lock)
    }

    /// All of them, used or not, locked one after the other.
    pub(super) fn all(&self) -> impl Iterator<Item = MutexGuard<'_, T>> {
        self.all.iter().map(Stripe::lock)
    }

    /// All threads use the first stripe again, and collisions are counted from here.
    pub(super) fn join(&self) {
        // Read first: a line that nobody writes stays in every core's cache.
        if self.collisions.load(Ordering::Relaxed) > 0 {
            self.collisions.store(0, Ordering::Relaxed);
        }
        if self.used.load(Ordering::Relaxed) > 1 {
            self.used.store(1, Ordering::Relaxed);
        }
    }

    /// All threads part, as if they had collided.
    #[cfg(test)]
    pub(super) fn crowd(&self) {
        self.used.store(self.all.len(), Ordering::Relaxed);
    }

    /// This thread's number, while threads are apart.
    pub(super) fn crowd_number(&self) -> Option<usize> {
        (self.used.load(Ordering::Relaxed) > 1).then(|| THREAD.with(|number| *number))
    }

    fn number(&self) -> usize {
        match self.used.load(Ordering::Relaxed) {
            1 => 0,
            used => THREAD.with(|number| *number) & (used - 1),
        }
    }

    fn collided(&self) {
        if self.collisions.fetch_add(1, Ordering::Relaxed) + 1 >= CROWD {
            self.collisions.store(0, Ordering::Relaxed);
            let used = self.used.load(Ordering::Relaxed);
            self.used.store((used * 2).min(self.all.len()), Ordering::Relaxed);
        }
    }
}

thread_local! {
    /// Threads are numbered as they come, so that neighbours get different stripes.
    static THREAD: usize = NEXT_THREAD.fetch_add(1, Ordering::Relaxed);
}

static NEXT_THREAD: AtomicUsize = AtomicUsize::new(0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_alone_uses_the_first_stripe() {
        let stripes = Stripes::new(8, || ());
        for _ in 0..1000 {
            assert_eq!(stripes.lock().0, 0);
        }
    }

    #[test]
    fn threads_that_collide_part_and_come_together_when_told() {
        let stripes = Stripes::new(5, || ());
        assert_eq!(stripes.all.len(), 4);
        for _ in 0..CROWD - 1 {
            stripes.collided();
        }
        assert_eq!(stripes.used.load(Ordering::Relaxed), 1);
        stripes.collided();
        assert_eq!(stripes.used.load(Ordering::Relaxed), 2);
        for _ in 0..10 * CROWD {
            stripes.collided();
        }
        assert_eq!(stripes.used.load(Ordering::Relaxed), 4, "no more than there are");
        stripes.join();
        assert_eq!(stripes.lock().0, 0);
    }

    #[test]
    fn rare_collisions_are_no_crowd() {
        let stripes = Stripes::new(2, || ());
        for _ in 0..100 {
            stripes.collided();
            stripes.join();
        }
        assert_eq!(stripes.used.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn one_stripe_stays_one() {
        let stripes = Stripes::new(1, || ());
        for _ in 0..100 {
            stripes.collided();
        }
        assert_eq!(stripes.lock().0, 0);
    }
}
