//! Which shards of a worker stand still by the application's wish.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::bell::Bell;
use crate::lease::LeaseKey;

/// Read by the shards' tasks when the bell rings.
#[derive(Debug, Default)]
pub(crate) struct Pauses {
    paused: Mutex<BTreeSet<LeaseKey>>,
    pub(crate) changed: Bell,
}

impl Pauses {
    fn paused(&self) -> MutexGuard<'_, BTreeSet<LeaseKey>> {
        self.paused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether that changed anything.
    pub(crate) fn pause(&self, key: LeaseKey) -> bool {
        let changed = self.paused().insert(key);
        if changed {
            self.changed.ring();
        }
        changed
    }

    /// Whether that changed anything.
    pub(crate) fn resume(&self, key: &LeaseKey) -> bool {
        let changed = self.paused().remove(key);
        if changed {
            self.changed.ring();
        }
        changed
    }

    pub(crate) fn contains(&self, key: &LeaseKey) -> bool {
        self.paused().contains(key)
    }
}
