//! Who waits for news of a shard.

use std::task::Waker;

/// The subscriptions that have read everything there is. News wakes them; so does the end of the shard's log.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    waiting: Vec<(u64, Waker)>,
}

impl Readers {
    /// Wakes this subscription once, with the next news. At most 20 consumers read a shard, so a list will do.
    pub(crate) fn wait(&mut self, ticket: u64, waker: &Waker) {
        match self.waiting.iter_mut().find(|(waiting, _)| *waiting == ticket) {
            Some((_, known)) => known.clone_from(waker),
            None => self.waiting.push((ticket, waker.clone())),
        }
    }

    pub(crate) fn leave(&mut self, ticket: u64) {
        self.waiting.retain(|(waiting, _)| *waiting != ticket);
    }

    /// In the order in which they came to wait.
    pub(crate) fn wake(&mut self) {
        for (_, waker) in self.waiting.drain(..) {
            waker.wake();
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn each_waiting_subscription_is_woken_once() {
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut readers = Readers::default();
        readers.wait(1, &waker);
        readers.wait(1, &waker);
        readers.wait(2, &waker);
        readers.wait(3, &waker);
        readers.leave(3);
        readers.wake();
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
        readers.wake();
        assert_eq!(count.0.load(Ordering::Relaxed), 2, "nobody waits any more");
    }

    #[test]
    fn a_log_that_is_dropped_wakes_its_readers() {
        let count = Arc::new(Count::default());
        let mut readers = Readers::default();
        readers.wait(1, &Waker::from(Arc::clone(&count)));
        drop(readers);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }
}
