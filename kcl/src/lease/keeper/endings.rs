//! Leases that are over, rows that hold none, and what is told of both.

use std::collections::BTreeSet;
use std::time::Instant;

use super::Running;
use crate::event::ConsumerEvent;
use crate::lease::tenure::End;
use crate::lease::{Lease, LeaseKey};

impl Running {
    /// Makes an event of each row that the listing passed over, when it is new.
    pub(super) fn tell_broken(&mut self) {
        let broken: BTreeSet<String> =
            self.hands.calls.broken_leases().iter().map(ToString::to_string).collect();
        for error in broken.difference(&self.broken) {
            let error = error.as_str().into();
            self.reports().events.emit(ConsumerEvent::LeaseUnreadable { error });
        }
        self.broken = broken;
    }

    /// Whether this worker holds every lease that there is to hold.
    pub(super) fn holds_all(&self, leases: &[Lease]) -> bool {
        let unfinished = leases.iter().filter(|lease| !lease.is_finished());
        !leases.is_empty() && unfinished.into_iter().all(|lease| self.held.contains_key(&lease.key))
    }

    fn tell_end(&self, key: &LeaseKey, end: Option<&End>) {
        let events = &self.reports().events;
        let shard = events.shard(key);
        events.emit(match end {
            // The shard's task tells this one itself.
            None => return,
            Some(End::Released) => ConsumerEvent::LeaseReleased { shard },
            Some(End::HandedOver(to)) => ConsumerEvent::LeaseHandedOver { shard, to: to.clone() },
            Some(End::Moved(to)) => ConsumerEvent::LeaseLost { shard, moved_to: to.clone() },
            Some(End::Deleted | End::Expired) => ConsumerEvent::LeaseLost { shard, moved_to: None },
        });
    }

    /// Forgets the leases that are over. What ended by time is still ours to take again.
    pub(super) fn drop_ended(&mut self, now: Instant) {
        for (key, tenure) in self.hands.ended.take_all() {
            if self.held.get(&key).is_none_or(|held| held.tenure() != tenure) {
                continue;
            }
            let Some(held) = self.held.remove(&key) else { continue };
            self.agenda.forget(&key);
            let belief = held.snapshot();
            self.tell_end(&key, belief.end());
            match belief.end() {
                Some(End::Expired) => {
                    self.left_behind.insert(key, belief.left_behind().collect());
                    self.agenda.scan_soon(now);
                }
                None => {
                    // The shard is done: its children wait for an owner, and the listing may know more of them.
                    self.agenda.scan_soon(now);
                    self.agenda.sync_soon(now);
                }
                // Somebody else is there, or somebody may take it: a worker that was alone looks again.
                Some(end) => {
                    if matches!(end, End::Moved(_)) {
                        self.moved.insert(key);
                    }
                    self.agenda.scan_soon(now);
                }
            }
        }
    }
}
