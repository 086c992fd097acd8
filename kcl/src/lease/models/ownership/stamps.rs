//! What stands on the rows of a worker's clock.
//!
//! A process's clock shows the same time at each moment, as everything here: what it stamped before is moved back instead, by
//! what a tick is on that clock.

use std::time::Duration;

use super::world::{State, World};
use crate::lease::Operation;
use crate::lease::stamp::{Stamp, Stamper};

/// How long each process has been running: longer than anything is looked back.
const RUNNING: Duration = Duration::from_mins(30);

impl World {
    /// As `Stamper` has it, under a number that says whose clock it is.
    pub(super) fn stamp(&self, index: usize, life: u8, operation: &Operation) -> Option<Stamp> {
        if !self.bounds.stamps[index] {
            return None;
        }
        let origin = self.now.checked_sub(RUNNING).expect("now is an hour late");
        let stamper = Stamper::new(self.me(index), 1, &[], origin);
        let process = u64::from(life) * self.ids.len() as u64 + index as u64;
        stamper.stamp(operation, self.now).map(|stamp| Stamp { process, ..stamp })
    }

    /// What was stamped at this time of that process's clock, one tick later.
    pub(super) fn older(&self, process: u64, micros: u64) -> u64 {
        let index = usize::try_from(process).expect("a small number") % self.ids.len();
        micros - self.bounds.clocks[index] * 1_000_000
    }

    /// One tick, for all that is stamped.
    pub(super) fn age_stamps(&self, state: &mut State) {
        let calls = state.workers.iter_mut().filter_map(|one| one.call.as_mut());
        let stamps = calls.filter_map(|call| call.stamp.as_mut());
        let stamps = stamps.chain(state.late.iter_mut().filter_map(|late| late.stamp.as_mut()));
        for stamp in stamps.chain(state.row.stamp.as_mut()) {
            stamp.sent_micros = self.older(stamp.process, stamp.sent_micros);
        }
    }
}
