//! The tasks that wait for one batch, each once, however many of its tickets they hold.

use std::num::NonZeroU32;
use std::task::Waker;

/// A slot is shared by neighbouring tickets of one task and freed by the last of them, so there are never more slots than
/// pending tickets.
#[derive(Default)]
pub(super) struct Wakers {
    slots: Vec<Slot>,
    free: Vec<Key>,
}

/// The number of a slot, from one: a ticket that has none takes no more room than one that does.
pub(super) type Key = NonZeroU32;

struct Slot {
    waker: Option<Waker>,
    tickets: u32,
}

impl Wakers {
    /// Registers a ticket's task, in place of the one it registered before.
    pub(super) fn join(&mut self, current: Option<Key>, waker: &Waker) -> Key {
        if let Some(key) = current {
            if self.wakes(key, waker) {
                return key;
            }
            self.leave(key);
        }
        // Only the newest slot is compared: tickets of one task are polled one after another, and a search through all slots
        // would make a join of n tasks quadratic.
        if let Some(last) = self.last()
            && self.wakes(last, waker)
            && let Some(slot) = self.slot(last)
        {
            slot.tickets += 1;
            return last;
        }
        let filled = Slot { waker: Some(waker.clone()), tickets: 1 };
        if let Some(key) = self.free.pop()
            && let Some(slot) = self.slot(key)
        {
            *slot = filled;
            return key;
        }
        self.slots.push(filled);
        self.last().expect("a batch has less than 2^32 tickets, and each at most one slot")
    }

    /// A ticket no longer waits.
    pub(super) fn leave(&mut self, key: Key) {
        // After `take` the slot is gone: the batch is complete and the ticket comes late.
        if let Some(slot) = self.slot(key) {
            slot.tickets = slot.tickets.saturating_sub(1);
            if slot.tickets == 0 && slot.waker.take().is_some() {
                self.free.push(key);
            }
        }
    }

    /// Every task, once; nobody waits any more.
    pub(super) fn take(&mut self) -> Vec<Waker> {
        self.free.clear();
        std::mem::take(&mut self.slots).into_iter().filter_map(|slot| slot.waker).collect()
    }

    /// Every task, once; they go on waiting.
    pub(super) fn all(&self) -> Vec<Waker> {
        self.slots.iter().filter_map(|slot| slot.waker.clone()).collect()
    }

    #[cfg(test)]
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    fn last(&self) -> Option<Key> {
        u32::try_from(self.slots.len()).ok().and_then(Key::new)
    }

    fn slot(&mut self, key: Key) -> Option<&mut Slot> {
        self.slots.get_mut(usize::try_from(key.get() - 1).ok()?)
    }

    fn wakes(&mut self, key: Key, waker: &Waker) -> bool {
        self.slot(key).and_then(|slot| slot.waker.as_ref()).is_some_and(|known| known.will_wake(waker))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    struct Task;
    impl Wake for Task {
        fn wake(self: Arc<Self>) {}
    }

    #[test]
    fn tickets_of_one_task_share_its_slot_until_the_last_of_them_leaves() {
        let (mut wakers, task) = (Wakers::default(), Waker::from(Arc::new(Task)));
        let keys: Vec<Key> = (0..3).map(|_| wakers.join(None, &task)).collect();
        assert_eq!((wakers.slots(), wakers.all().len()), (1, 1));
        wakers.leave(keys[0]);
        wakers.leave(keys[1]);
        assert_eq!(wakers.all().len(), 1, "one still waits");
        wakers.leave(keys[2]);
        assert_eq!(wakers.take().len(), 0);
    }
}
