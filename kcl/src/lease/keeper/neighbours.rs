//! The keeper's dealings with the other workers: whom it watches, and how it tells them that there is something to do.

use std::time::Instant;

use futures::stream::{self, StreamExt};

use super::Running;
use super::jobs::Done;
use crate::lease::assign::Situation;
use crate::lease::held::Hands;
use crate::lease::outlook::{self, Outlook, Sight, Watched};
use crate::lease::{Lease, LeaseKey, LeaseStoreError, MetaUpdate, WorkerId};

/// How many nudges are under way at one time.
const NUDGES_IN_FLIGHT: usize = 32;

/// What a keeper knows of the other workers.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    watched: Option<Watched>,
    suspects: Vec<WorkerId>,
    /// Before this moment too little is known for anything to be quiet; set at the start.
    settled_at: Option<Instant>,
    /// The next listing was asked for by a nudge: the others have heard it too.
    nudged: bool,
    /// Until when leases that are left for others are not told again.
    told_until: Option<Instant>,
    /// Rows became free that the others do not know of.
    owed: bool,
    nudging: bool,
}

impl Neighbours {
    /// Nothing is left to tell.
    pub(super) fn are_told(&self) -> bool {
        !self.owed && !self.nudging
    }
}

/// Where nudges are left: known, or to be found by a listing.
#[derive(Debug)]
pub(super) enum Bells {
    Known(Vec<LeaseKey>),
    List,
}

impl Running {
    /// What this worker knows, with `held` being what it holds or is about to.
    fn situation<'a>(
        &'a self,
        held: &'a std::collections::BTreeSet<LeaseKey>,
        now: Instant,
    ) -> Situation<'a> {
        Situation {
            worker: &self.settings.worker_id,
            held,
            left_behind: &self.left_behind,
            asked: &self.asked,
            seen: &self.observations,
            bounds: self.settings.bounds(),
            now,
        }
    }

    /// The start of everything: until a dead owner would have been noticed, all leases are looked at.
    pub(super) fn settle(&mut self, now: Instant) {
        self.neighbours.settled_at = Some(now + self.settings.failover_time * 11 / 10);
    }

    /// Takes in what a listing says about the others; whether it is enough to watch from now on.
    pub(super) fn look_around(&mut self, outlook: Outlook, left_count: usize, now: Instant) -> bool {
        let others = &mut self.neighbours;
        let nudged = std::mem::take(&mut others.nudged);
        let new_suspect = outlook.suspects.iter().any(|suspect| !others.suspects.contains(suspect));
        let left = left_count > 0 && others.told_until.is_none_or(|until| until <= now);
        // Whoever was nudged does not nudge: the others were nudged as well.
        let tell = !nudged && (new_suspect || left) && !outlook.bells.is_empty();
        if left {
            others.told_until = Some(now + self.settings.failover_time / 2);
        }
        let settled = others.settled_at.is_some_and(|at| at <= now);
        // A nudge that this listing shows may be younger than some of the rows in it.
        let known = others.watched.take();
        let rung = known.is_some_and(|known| {
            let same = outlook.watched.as_ref().filter(|one| one.key == known.key);
            same.is_some_and(|one| one.nudges != known.nudges)
        });
        others.watched = outlook.watched;
        others.suspects = outlook.suspects;
        if rung {
            self.agenda.scan_soon(now);
        }
        if tell {
            self.nudge(Bells::Known(outlook.bells));
        }
        outlook.quiet && settled
    }

    /// Watches again after its pause, if there is somebody.
    pub(super) fn keep_watching(&mut self, now: Instant) {
        if self.stopping || self.neighbours.watched.is_none() {
            self.agenda.watch_nobody();
        } else {
            self.agenda.watch(now, &mut self.rng);
        }
    }

    /// The look at the watched row that is due.
    pub(super) fn begin_watch(&mut self) {
        let Some(watched) = &self.neighbours.watched else { return self.agenda.watched() };
        let (hands, key) = (self.hands.clone(), watched.key.clone());
        self.jobs.push(Box::pin(async move {
            let row = hands.calls.peek(&key).await;
            Done::Watched(key, row.map(|row| row.map(Box::new)), hands.calls.clock().now())
        }));
    }

    pub(super) fn watched(
        &mut self,
        key: &LeaseKey,
        row: Result<Option<Box<Lease>>, LeaseStoreError>,
        answered_at: Instant,
        now: Instant,
    ) {
        self.agenda.watched();
        let watching = self.neighbours.watched.as_ref().is_some_and(|watched| watched.key == *key);
        match row {
            // A listing has chosen another row meanwhile.
            _ if !watching || self.stopping => {}
            Err(error) => tracing::debug!(lease_key = %key, %error, "the watched lease could not be read"),
            Ok(row) => {
                if let Some(row) = &row {
                    self.observations.record_one(row, self.settings.failover_time, answered_at);
                }
                self.reports().board.scanned(now);
                self.judge(row.as_deref(), now);
            }
        }
        self.keep_watching(now);
    }

    fn judge(&mut self, row: Option<&Lease>, now: Instant) {
        let Some(mut watched) = self.neighbours.watched.take() else { return };
        let held = std::collections::BTreeSet::new();
        let sight = watched.look(row, &self.situation(&held, now));
        let is_suspect = watched.owner.as_ref().is_some_and(|owner| self.neighbours.suspects.contains(owner));
        match sight {
            Sight::Well => {}
            // The listing that made it a suspect has seen to it.
            Sight::Still if is_suspect => {}
            Sight::Nudged => {
                self.neighbours.nudged = true;
                self.agenda.scan_soon(now);
            }
            Sight::Moved | Sight::Still => self.agenda.scan_soon(now),
        }
        self.neighbours.watched = Some(watched);
    }

    /// Rows became free: the others are told as soon as that is possible.
    pub(super) fn owe_nudge(&mut self) {
        self.neighbours.owed = true;
        self.pay_nudge();
    }

    fn pay_nudge(&mut self) {
        if self.neighbours.owed && !self.neighbours.nudging {
            self.neighbours.owed = false;
            self.nudge(Bells::List);
        }
    }

    fn nudge(&mut self, bells: Bells) {
        if self.neighbours.nudging {
            // The one under way looks at the table; another one follows it.
            self.neighbours.owed = true;
            return;
        }
        self.neighbours.nudging = true;
        let (hands, mut view) = (self.hands.clone(), self.observations.clone());
        let settings = self.settings.clone();
        let held = self.held.keys().cloned().collect();
        self.jobs.push(Box::pin(async move {
            let keys = match bells {
                Bells::Known(keys) => keys,
                Bells::List => {
                    let Ok(leases) = hands.calls.list_briefly().await else { return Done::Nudged };
                    let now = hands.calls.clock().now();
                    view.record(&leases, settings.failover_time, now);
                    let nothing = std::collections::BTreeMap::new();
                    let situation = Situation {
                        worker: &settings.worker_id,
                        held: &held,
                        left_behind: &nothing,
                        asked: &std::collections::BTreeSet::new(),
                        seen: &view,
                        bounds: settings.bounds(),
                        now,
                    };
                    outlook::outlook(&leases, &situation).bells
                }
            };
            leave_nudges(&hands, keys).await;
            Done::Nudged
        }));
    }

    pub(super) fn nudged(&mut self) {
        self.neighbours.nudging = false;
        self.pay_nudge();
    }
}

/// Best effort: who does not get one reads the table later.
async fn leave_nudges(hands: &Hands, keys: Vec<LeaseKey>) {
    let nudges = keys.into_iter().map(|key| async move {
        let nudge = MetaUpdate { nudge: true, ..MetaUpdate::default() };
        if let Err(error) = hands.calls.note(&key, &nudge).await {
            tracing::debug!(lease_key = %key, %error, "a nudge was not left");
        }
    });
    stream::iter(nudges).buffer_unordered(NUDGES_IN_FLIGHT).for_each(|()| async {}).await;
}
