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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use kinesis_shard::Clock;
    use tokio::sync::mpsc;

    use super::*;
    use crate::lease::MemoryLeaseStore;
    use crate::lease::keeper::{Keeper, KeeperSettings};
    use crate::lease::test_support::{D, Listing, holding, key, now, row, worker};

    /// The keeper of ann, with nothing under way.
    fn running() -> Running {
        let store = Arc::new(MemoryLeaseStore::new());
        let settings = KeeperSettings::new(worker("ann"), D, 1);
        let keeper = Keeper::new(store, Arc::new(Listing::default()), Clock::default(), settings);
        let mut running = Running::new(keeper, mpsc::channel(1).0);
        running.jobs.clear();
        running
    }

    #[test]
    fn no_two_holdings_of_a_keeper_have_the_same_number() {
        let mut running = running();
        for index in 1..=3 {
            let terms = running.settings.terms();
            let tenure = Tenure::taken(worker("ann"), terms, row(index, "ann", 5), now());
            running.took(key(index), LeaseCounter::new(4), Some(tenure));
        }
        let numbers: BTreeSet<u64> = running.held.values().map(HeldLease::tenure).collect();
        assert_eq!(numbers.len(), 3, "{numbers:?}");
    }

    #[test]
    fn a_claim_is_given_up_once_no_answer_is_awaited() {
        let table = [
            (true, false, false, true),
            (true, true, false, false),
            (true, false, true, false),
            (false, false, false, false),
        ];
        for (asked, asking, taking, given_up) in table {
            let mut running = running();
            let only = |is: bool| is.then(|| key(1)).into_iter().collect::<BTreeSet<_>>();
            (running.asked, running.asking, running.taking) = (only(asked), only(asking), only(taking));
            running.give_up_claim(key(1));
            let case = format!("{asked}, {asking}, {taking}");
            assert_eq!(running.releasing, only(given_up), "{case}");
            assert_eq!(running.jobs.len(), usize::from(given_up), "{case}");
            assert_eq!(running.asked, only(asked && !given_up), "{case}");
        }
    }

    #[test]
    fn a_mark_stands_while_its_row_names_this_worker_or_its_answer_is_fresh() {
        let table = [
            (true, None, "bob", true),
            (false, Some(0), "bob", true),
            (false, Some(1_999), "bob", true),
            (false, Some(2_000), "bob", false),
            (false, Some(2_001), "bob", false),
            (false, None, "ann", true),
            (false, None, "bob", false),
        ];
        for (asking, answered_before, owner, stands) in table {
            let (mut running, start) = (running(), now());
            running.settings.store_call_timeout = Duration::from_secs(2);
            running.asked.insert(key(1));
            running.asking.extend(asking.then(|| key(1)));
            running.marked_at.extend(answered_before.map(|_| (key(1), start)));
            let at = start + Duration::from_millis(answered_before.unwrap_or(0));
            running.note_marks(&[row(1, owner, 5)], at);
            assert_eq!(running.asked.contains(&key(1)), stands, "{asking}, {answered_before:?}, {owner}");
        }
    }

    #[test]
    fn a_mark_for_this_worker_that_a_listing_shows_was_asked_for() {
        for (owner, marked, asked) in
            [("ann", true, true), ("ann", false, false), ("bob", true, false), ("bob", false, false)]
        {
            let mut running = running();
            let checkpoint_owner = marked.then(|| worker("cyd"));
            running.note_marks(&[Lease { checkpoint_owner, ..row(1, owner, 5) }], now());
            assert_eq!(running.asked.contains(&key(1)), asked, "{owner}, {marked}");
        }
    }

    #[test]
    fn only_its_own_mark_is_cleared_and_only_on_a_row_that_moved_to_somebody_else() {
        let table = [
            ("java", "ann", true, false, true),
            ("java", "ann", false, false, false),
            ("java", "ann", true, true, false),
            ("java", "bob", true, false, false),
            ("java", "", true, false, false),
            ("ann", "ann", true, false, false),
        ];
        for (owner, mark, moved, held, cleared) in table {
            let mut running = running();
            running.moved.extend(moved.then(|| key(1)));
            running.held.extend(held.then(|| (key(1), holding(row(1, "ann", 5)))));
            let checkpoint_owner = (!mark.is_empty()).then(|| worker(mark));
            running.note_marks(&[Lease { checkpoint_owner, ..row(1, owner, 5) }], now());
            assert_eq!(running.jobs.len(), usize::from(cleared), "{owner}, {mark}, {moved}, {held}");
        }
    }
}
