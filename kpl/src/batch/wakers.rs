//! The tasks that wait for one batch, each once, however many of its tickets they hold.

use std::task::Waker;

/// A slot is shared by neighbouring tickets of one task and freed by the last of them, so there are never more slots than
/// pending tickets.
#[derive(Default)]
pub(super) struct Wakers {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

struct Slot {
    waker: Option<Waker>,
    tickets: u32,
}

impl Wakers {
    /// Registers a ticket's task, in place of the one it registered before.
    pub(super) fn join(&mut self, current: Option<u32>, waker: &Waker) -> u32 {
        if let Some(index) = current {
            if self.wakes(index, waker) {
                return index;
            }
            self.leave(index);
        }
        // Only the newest slot is compared: tickets of one task are polled one after another, and a search through all slots
        // would make a join of n tasks quadratic.
        if let Some(last) = self.slots.len().checked_sub(1).and_then(|last| u32::try_from(last).ok())
            && self.wakes(last, waker)
            && let Some(slot) = self.slot(last)
        {
            slot.tickets += 1;
            return last;
        }
        let filled = Slot { waker: Some(waker.clone()), tickets: 1 };
        if let Some(index) = self.free.pop()
            && let Some(slot) = self.slot(index)
        {
            *slot = filled;
            return index;
        }
        self.slots.push(filled);
        u32::try_from(self.slots.len() - 1)
            .expect("a batch has at most 2^32 tickets, and each at most one slot")
    }

    /// A ticket no longer waits.
    pub(super) fn leave(&mut self, index: u32) {
        // After `take` the slot is gone: the batch is complete and the ticket comes late.
        if let Some(slot) = self.slot(index) {
            slot.tickets = slot.tickets.saturating_sub(1);
            if slot.tickets == 0 && slot.waker.take().is_some() {
                self.free.push(index);
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

    fn slot(&mut self, index: u32) -> Option<&mut Slot> {
        self.slots.get_mut(usize::try_from(index).ok()?)
    }

    fn wakes(&mut self, index: u32, waker: &Waker) -> bool {
        self.slot(index).and_then(|slot| slot.waker.as_ref()).is_some_and(|known| known.will_wake(waker))
    }
}
