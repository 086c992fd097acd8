//! Leases that are taken or asked for, and what becomes of those that were taken.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use tracing::Instrument;

use super::Running;
use super::jobs::{self, Done};
use crate::event::ConsumerEvent;
use crate::lease::assign::Move;
use crate::lease::held::HeldLease;
use crate::lease::tenure::Tenure;
use crate::lease::{Lease, LeaseCounter, LeaseKey};

impl Running {
    pub(super) fn stop_taking(&mut self) {
        self.stopping = true;
        self.agenda.stop_taking();
        for key in self.asked.clone() {
            self.give_up_claim(key);
        }
    }

    /// Nothing more is wanted, and nothing is left half way.
    pub(super) fn has_ended(&self) -> bool {
        let under_way = !self.taking.is_empty() || !self.asking.is_empty() || !self.releasing.is_empty();
        self.ending && !under_way && self.neighbours.are_told()
    }

    pub(super) fn make(&mut self, one: Move) {
        let hands = self.hands.clone();
        match one {
            Move::Take { key, counter, why } => {
                self.taking.insert(key.clone());
                let terms = self.settings.terms();
                let span = tracing::debug_span!("take", lease_key = %key, ?why);
                let take = async move {
                    let tenure = jobs::take(hands, terms, key.clone(), counter, why).await;
                    Done::Took(key, counter, tenure.map(Box::new))
                };
                self.jobs.push(Box::pin(take.instrument(span)));
            }
            Move::Ask { key, from } => {
                self.asked.insert(key.clone());
                self.asking.insert(key.clone());
                let ask = async move { Done::Asked(key.clone(), jobs::ask(hands, key, from).await) };
                self.jobs.push(Box::pin(ask));
            }
        }
    }

    pub(super) fn took(&mut self, key: LeaseKey, counter: LeaseCounter, tenure: Option<Tenure>) {
        self.taking.remove(&key);
        let Some(tenure) = tenure else {
            // If a take in doubt landed after all, the row it made is ours to take again. A row of somebody else with
            // that counter does not name this worker.
            self.left_behind.insert(key.clone(), BTreeSet::from([counter, counter.next()]));
            if self.stopping {
                self.give_up_claim(key);
            }
            return;
        };
        self.asked.remove(&key);
        self.moved.remove(&key);
        self.left_behind.remove(&key);
        let held = HeldLease::new(self.hands.clone(), tenure, self.next_tenure);
        self.next_tenure += 1;
        if self.stopping {
            self.releasing.insert(key.clone());
            let release = async move {
                if let Err(error) = held.release().await {
                    tracing::info!(lease_key = %key, %error, "lease not released, it expires");
                }
                Done::Released(key)
            };
            self.jobs.push(Box::pin(release));
            return;
        }
        let (shard, checkpoint) = (self.reports().events.shard(&key), held.start().checkpoint);
        self.reports().events.emit(ConsumerEvent::LeaseTaken { shard, checkpoint });
        self.agenda.renew_at(held.renew_at(), key.clone());
        self.held.insert(key, held.clone());
        let gained = self.gained.clone();
        self.jobs.push(Box::pin(async move { Done::Delivered(gained.send(held).await.is_ok()) }));
    }

    /// Nobody must hand a lease over to a worker that is going: it would stand still for the failover time.
    pub(super) fn give_up_claim(&mut self, key: LeaseKey) {
        // While a request or a take is under way its answer comes first.
        let settled = !self.asking.contains(&key) && !self.taking.contains(&key);
        if settled && self.asked.remove(&key) {
            self.releasing.insert(key.clone());
            let hands = self.hands.clone();
            self.jobs.push(Box::pin(async move {
                jobs::give_up_claim(hands, key.clone()).await;
                Done::Released(key)
            }));
        }
    }

    /// Keeps the marks that stand: rows that name this worker while the old owner still has them, or has just let go.
    pub(super) fn note_marks(&mut self, leases: &[Lease], now: Instant) {
        let me = &self.settings.worker_id;
        let rows: BTreeMap<&LeaseKey, &Lease> = leases.iter().map(|lease| (&lease.key, lease)).collect();
        // A listing may have been read before a mark landed that was answered first.
        let (asking, marked_at, patience) = (&self.asking, &self.marked_at, self.settings.store_call_timeout);
        let is_fresh = |key: &LeaseKey| {
            asking.contains(key) || marked_at.get(key).is_some_and(|at| now < *at + patience)
        };
        let names_me = |key: &LeaseKey| rows.get(key).is_some_and(|row| row.owner.as_ref() == Some(me));
        self.asked.retain(|key| is_fresh(key) || names_me(key));
        self.marked_at.retain(|key, _| self.asked.contains(key));
        for row in leases {
            if row.owner.as_ref() == Some(me) && row.checkpoint_owner.is_some() {
                self.asked.insert(row.key.clone());
            }
        }
        self.left_behind.retain(|key, _| rows.contains_key(key));
        self.moved.retain(|key| rows.contains_key(key));
        // With such a mark the row could not be asked for, by anybody.
        for (key, row) in rows.into_iter().filter(|(key, _)| self.moved.contains(*key)) {
            let ours = row.checkpoint_owner.as_ref() == Some(me) && !self.held.contains_key(key);
            if let Some(owner) = row.owner.clone().filter(|owner| ours && owner != me) {
                let clear = jobs::clear_mark(self.hands.clone(), key.clone(), owner);
                self.jobs.push(Box::pin(async move {
                    clear.await;
                    Done::Cleared
                }));
            }
        }
    }
}
