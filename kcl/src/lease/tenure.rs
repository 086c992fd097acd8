//! What one worker believes about one lease that it holds.
//!
//! Pure: each step takes `now`, the row or the kind of failure, and says what to do next. The rules are few and each was
//! broken by a model checker in every laxer form:
//!
//! - Belief lasts from the *send* of a definitely successful write for `D (1-rho)/(1+rho)`, so that it ends on the slowest
//!   clock allowed before the fastest observer has watched a still counter for `D`.
//! - In doubt the counter is adopted, never the time: a row of ours that is one ahead is our own landed write, but only a
//!   further, definitely successful write prolongs belief.
//! - Nothing is adopted twice in a row without a write of ours in doubt at that very counter: a second one means that
//!   another process writes under our name.
//! - Belief ends before the row is given away, and never comes back in the same tenure.
//! - Who asked for the lease takes it, given up or not, once it has seen the mark for the failover time. The mark came
//!   after the last write whose answer did not show it: belief ends that write's send plus one term later, and no further
//!   write prolongs it. Until then the owner may finish, checkpoint and give the lease up.
//!
//! ```text
//!  taken ------------------> valid <--- definite write --.
//!  adopted -> unconfirmed --'  |  '--- in doubt: again ---'
//!                              |-- mark found --> asked for: valid, with a deadline
//!                              v                     |
//!      over: moved, deleted, expired, released, handed over   (finished: over, but nobody else may have it)
//! ```

#[cfg(test)]
use std::time::Duration;
use std::time::Instant;

use kinesis_shard::Checkpoint;

use super::{CheckpointUpdate, Lease, LeaseCounter, Operation, WorkerId};

// How long belief lasts, and how long a renewal may wait.
mod terms;

use terms::Rhythm;
pub(crate) use terms::Terms;

/// What a write is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To go on holding the lease.
    Renew,
    /// To move the checkpoint.
    Checkpoint(Checkpoint),
    /// To announce a checkpoint; the present one stays.
    Prepare(super::PendingCheckpoint),
}

/// What the store said to a write.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Hash))]
pub(crate) enum Answer {
    /// Written.
    Applied(Lease),
    /// Not written; the row as it is.
    Refused(Option<Lease>),
    /// Written or not, now or later.
    InDoubt,
    /// Definitely not written, for a reason that has nothing to do with the row.
    Failed,
}

/// What to do after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// The purpose is served.
    Done,
    /// Write again, at once: what is known has changed.
    Again,
    /// Write again after a pause, or give up and say so.
    Retry,
    /// Stop: the tenure is over.
    Over,
}

/// Why a tenure ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Hash))]
pub(crate) enum End {
    /// Somebody else owns the row, or writes under our name.
    Moved(Option<WorkerId>),
    /// The row is gone.
    Deleted,
    /// No write succeeded in time. The row may still name us.
    Expired,
    /// Given up by ourselves.
    Released,
    /// Given to a worker that asked for it.
    HandedOver(Option<WorkerId>),
}

/// Why a write is not even tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unwritable {
    /// The tenure is over.
    Over(End),
    /// The checkpoint lies before one that was written, or tried, in this tenure.
    Backwards {
        /// The largest checkpoint tried.
        floor: Checkpoint,
    },
}

/// One uninterrupted holding of one lease by this process.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Hash))]
pub(crate) struct Tenure {
    worker: WorkerId,
    terms: Terms,
    row: Lease,
    /// When this holding began to be ours, as far as we know.
    began_at: Instant,
    /// When the latest definitely successful write was sent; `None`: not valid yet.
    confirmed_at: Option<Instant>,
    /// The counter at which a write of ours is in doubt.
    in_doubt: Option<LeaseCounter>,
    /// The counter was adopted, and no write succeeded since.
    adopted: bool,
    /// Who asked for the lease, and when belief ends because of that.
    asked: Option<(WorkerId, Instant)>,
    /// The largest checkpoint ever tried: a late, larger one may still land.
    floor: Checkpoint,
    /// When checkpoints come, as far as that can be told.
    rhythm: Rhythm,
    finished: bool,
    end: Option<End>,
}

impl Tenure {
    /// After a take that was sent at `sent_at` and definitely succeeded.
    pub(crate) fn taken(worker: WorkerId, terms: Terms, row: Lease, sent_at: Instant) -> Self {
        let mut tenure = Self::unconfirmed(worker, terms, row, sent_at);
        tenure.adopted = false;
        tenure.prolong(sent_at);
        tenure
    }

    /// After a take that may be another process's of our name: valid once a further write succeeds, and that write must
    /// not need adopting.
    pub(crate) fn unconfirmed(worker: WorkerId, terms: Terms, row: Lease, now: Instant) -> Self {
        Self {
            worker,
            terms,
            began_at: now,
            confirmed_at: None,
            in_doubt: None,
            adopted: true,
            asked: None,
            floor: row.checkpoint,
            rhythm: Rhythm::default(),
            finished: false,
            end: None,
            row,
        }
    }

    /// The newest row known to be ours.
    pub(crate) fn row(&self) -> &Lease {
        &self.row
    }

    /// Whether this process may act as the owner.
    pub(crate) fn is_valid(&self, now: Instant) -> bool {
        self.end.is_none() && self.valid_until().is_some_and(|until| now < until)
    }

    fn valid_until(&self) -> Option<Instant> {
        let until = self.confirmed_at.map(|sent_at| sent_at + self.terms.belief())?;
        Some(self.asked.as_ref().map_or(until, |(_, deadline)| until.min(*deadline)))
    }

    /// Who asked for the lease, if somebody did and it is still held.
    pub(crate) fn asked_by(&self) -> Option<&WorkerId> {
        self.asked.as_ref().filter(|_| self.end.is_none() && !self.finished).map(|(by, _)| by)
    }

    /// For models: as if `time` had passed while `now` stayed. What was at `oldest` or before is at `oldest`, and the
    /// application's rhythm, which only postpones renewals, is forgotten.
    #[cfg(test)]
    pub(crate) fn age(&mut self, time: Duration, oldest: Instant) {
        use crate::lease::test_support::aged;
        self.began_at = aged(self.began_at, time, oldest);
        self.confirmed_at = self.confirmed_at.map(|at| aged(at, time, oldest));
        self.asked = self.asked.take().map(|(by, at)| (by, aged(at, time, oldest)));
        self.rhythm = Rhythm::default();
    }

    /// A laxer rule, for the model to break.
    #[cfg(test)]
    pub(crate) fn forget_deadline(&mut self) {
        if let Some((_, deadline)) = &mut self.asked {
            *deadline += self.terms.failover_time * 100;
        }
    }

    /// Ends the tenure by giving the lease up, to whoever asked for it. Whether this call ended it.
    pub(crate) fn give_up(&mut self) -> bool {
        let end = self.asked.as_ref().map_or(End::Released, |(by, _)| End::HandedOver(Some(by.clone())));
        self.finish_with(end)
    }

    /// When belief ends unless a write succeeds; `None` when it cannot end by time: over, or finished.
    pub(crate) fn expires_at(&self) -> Option<Instant> {
        if self.finished || self.end.is_some() { None } else { self.valid_until() }
    }

    /// When the next renewal is due; in the past when the counter was adopted. A little later if a checkpoint, which
    /// renews as well, is likely to come until then.
    pub(crate) fn renew_at(&self) -> Instant {
        match self.confirmed_at {
            Some(sent_at) if !self.adopted => {
                let twice = 1 + u32::from(kinesis_shard::planted("renewals come twice as often"));
                let due = sent_at + self.terms.renewal_interval / twice;
                self.rhythm.postponed(due, self.terms.patience())
            }
            _ => self.confirmed_at.unwrap_or(self.began_at),
        }
    }

    /// Whether the counter was adopted and no write succeeded since: a renewal is due at once.
    pub(crate) fn needs_confirming(&self) -> bool {
        self.adopted && self.end.is_none()
    }

    /// Why the tenure ended, if it did.
    pub(crate) fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Whether the shard's end is written: nothing is left to hold the lease for.
    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Counters at which a row that names us, found later, is what this tenure left behind.
    pub(crate) fn left_behind(&self) -> impl Iterator<Item = LeaseCounter> {
        let landed = (self.in_doubt == Some(self.row.counter)).then(|| self.row.counter.next());
        [Some(self.row.counter), landed].into_iter().flatten()
    }

    /// Ends the tenure, unless it is over already. Whether this call ended it.
    pub(crate) fn finish_with(&mut self, end: End) -> bool {
        let first = self.end.is_none();
        self.end.get_or_insert(end);
        first
    }

    /// Ends the tenure if belief ran out. Whether it is over.
    pub(crate) fn expire(&mut self, now: Instant) -> bool {
        if self.expires_at().is_some_and(|until| now >= until) {
            self.finish_with(End::Expired);
        }
        self.end.is_some()
    }

    /// The write that serves `purpose` now.
    ///
    /// A lease whose belief ran out is not written any more: it is over, and is taken again the normal way.
    pub(crate) fn write(&mut self, purpose: &Purpose, now: Instant) -> Result<Operation, Unwritable> {
        self.expire(now);
        if let Some(end) = &self.end {
            return Err(Unwritable::Over(end.clone()));
        }
        let expected = self.row.counter;
        let update = match purpose {
            Purpose::Renew => {
                return Ok(Operation::Renew { expected, during_handoff: self.asked.is_some() });
            }
            Purpose::Prepare(pending) if pending.checkpoint < self.floor => {
                return Err(Unwritable::Backwards { floor: self.floor });
            }
            Purpose::Prepare(pending) => {
                CheckpointUpdate { checkpoint: self.row.checkpoint, pending: Some(pending.clone()) }
            }
            Purpose::Checkpoint(to)
                if *to < self.floor && !kinesis_shard::planted("a checkpoint may go back") =>
            {
                return Err(Unwritable::Backwards { floor: self.floor });
            }
            Purpose::Checkpoint(to) => {
                self.floor = *to;
                CheckpointUpdate { checkpoint: *to, pending: None }
            }
        };
        Ok(Operation::Checkpoint { expected, update })
    }

    /// Takes in what the store said to `operation`, which was sent at `sent_at`.
    pub(crate) fn answered(&mut self, operation: &Operation, sent_at: Instant, answer: Answer) -> Next {
        if self.end.is_some() {
            return Next::Over;
        }
        match answer {
            Answer::Applied(row) => {
                if matches!(operation, Operation::Checkpoint { .. }) {
                    self.rhythm.checkpointed(sent_at);
                }
                self.applied(row, sent_at)
            }
            Answer::Refused(None) => self.over(End::Deleted),
            Answer::Refused(Some(row)) => self.refused(operation, row),
            Answer::InDoubt if kinesis_shard::planted("a write in doubt counts as done") => {
                self.prolong(sent_at);
                Next::Done
            }
            Answer::InDoubt => {
                self.in_doubt = operation.expected_counter();
                Next::Retry
            }
            Answer::Failed => Next::Retry,
        }
    }

    fn applied(&mut self, row: Lease, sent_at: Instant) -> Next {
        // A row that was deleted and made anew can come to the same counter in another's hands.
        if row.actual_owner() != Some(&self.worker) {
            return self.over(End::Moved(row.owner));
        }
        self.found(row);
        self.adopted = false;
        self.in_doubt = None;
        self.prolong(sent_at);
        Next::Done
    }

    /// Takes in a row just found to be ours: its end, and whether somebody asked for it.
    fn found(&mut self, row: Lease) {
        self.row = row;
        self.floor = self.floor.max(self.row.checkpoint);
        self.finished = self.row.is_finished();
        if let (Some(_), Some(by), None) = (&self.row.checkpoint_owner, &self.row.owner, &self.asked) {
            // The mark was not there when the last write that succeeded was sent, so nobody has seen it for longer.
            let unmarked_at = self.confirmed_at.unwrap_or(self.began_at);
            self.asked = Some((by.clone(), unmarked_at + self.terms.belief()));
        }
    }

    fn refused(&mut self, operation: &Operation, row: Lease) -> Next {
        if row.actual_owner() != Some(&self.worker) {
            return self.over(End::Moved(row.owner));
        }
        let known = self.row.counter;
        if row.counter == known {
            // Only the mark of a hand-over refuses a write with the right counter: again, knowing of it.
            let known_before = self.asked.is_some();
            self.found(row);
            return if self.asked.is_some() && !known_before { Next::Again } else { Next::Retry };
        }
        // A write of ours changes no owner, and nobody changes those of a marked row but to take it: a Java 2.x worker does,
        // and leaves the mark, which it does not know, with our name in it.
        let same_owners = row.owners() == self.row.owners();
        let marked_since = self.in_doubt == Some(known) && self.row.checkpoint_owner.is_none();
        let expected_here = marked_since || same_owners && (self.in_doubt == Some(known) || !self.adopted);
        let forgotten = kinesis_shard::planted("a landed write is taken for another's");
        if row.counter != known.next() || !expected_here || forgotten {
            return self.over(End::Moved(row.owner));
        }
        self.adopt(operation, row)
    }

    /// Our own write had landed. Its counter counts, its time does not: the next renewal is due at once.
    fn adopt(&mut self, operation: &Operation, row: Lease) -> Next {
        let served = match operation {
            Operation::Checkpoint { update, .. } => {
                row.checkpoint == update.checkpoint && row.pending_checkpoint == update.pending
            }
            _ => false,
        };
        self.found(row);
        self.adopted = true;
        self.in_doubt = None;
        if served { Next::Done } else { Next::Again }
    }

    fn over(&mut self, end: End) -> Next {
        self.finish_with(end);
        Next::Over
    }

    fn prolong(&mut self, sent_at: Instant) {
        self.confirmed_at = self.confirmed_at.max(Some(sent_at));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::PendingCheckpoint;
    use crate::lease::rules::{self, Verdict};
    use crate::lease::test_support::{D, at, now, row, worker};

    const TERMS: Terms =
        Terms { failover_time: D, renewal_interval: Duration::from_secs(3), clock_error_ppm: 10_000 };

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn taken(sent_at: Instant) -> Tenure {
        Tenure::taken(worker("ann"), TERMS, row(1, "ann", 5), sent_at)
    }

    fn after(row: &Lease, operation: &Operation) -> Lease {
        match rules::apply(Some(row), operation) {
            Verdict::Becomes(after) => after,
            other => panic!("{other:?}"),
        }
    }

    /// Sends a write that is applied at once.
    fn write(tenure: &mut Tenure, purpose: &Purpose, sent_at: Instant) -> Next {
        let operation = tenure.write(purpose, sent_at).unwrap();
        let row = after(tenure.row(), &operation);
        tenure.answered(&operation, sent_at, Answer::Applied(row))
    }

    #[test]
    fn a_write_that_succeeds_on_a_row_made_anew_in_other_hands_ends_the_tenure() {
        let start = now();
        let mut tenure = taken(start);
        let operation = tenure.write(&Purpose::Renew, start + secs(3)).unwrap();
        let theirs = after(&row(1, "bob", 5), &operation);
        assert_eq!(tenure.answered(&operation, start + secs(3), Answer::Applied(theirs)), Next::Over);
        assert_eq!(tenure.end(), Some(&End::Moved(Some(worker("bob")))));
    }

    #[test]
    fn belief_is_shorter_than_the_failover_time_by_both_clock_errors() {
        assert_eq!(TERMS.belief().as_millis(), 9_801);
        assert_eq!(Terms { clock_error_ppm: 0, ..TERMS }.belief(), D);
        assert_eq!(Terms { clock_error_ppm: 500_000, ..TERMS }.belief().as_millis(), 3_333);
    }

    #[test]
    fn a_take_is_believed_from_its_send_and_no_longer_than_the_term() {
        let sent_at = now();
        let tenure = taken(sent_at);
        let until = sent_at + TERMS.belief();
        assert!(tenure.is_valid(sent_at));
        assert!(tenure.is_valid(until.checked_sub(Duration::from_nanos(1)).unwrap()));
        assert!(!tenure.is_valid(until));
    }

    #[test]
    fn a_definite_renewal_counts_from_its_send() {
        let start = now();
        let mut tenure = taken(start);
        assert_eq!(write(&mut tenure, &Purpose::Renew, start + secs(3)), Next::Done);
        assert_eq!(tenure.expires_at(), Some(start + secs(3) + TERMS.belief()));
        assert_eq!(tenure.renew_at(), start + secs(6));
        assert_eq!(tenure.row().counter.get(), 6);
    }

    #[test]
    fn a_checkpoint_counts_as_a_renewal() {
        let start = now();
        let mut tenure = taken(start);
        assert_eq!(write(&mut tenure, &Purpose::Checkpoint(at(9)), start + secs(2)), Next::Done);
        assert_eq!(tenure.expires_at(), Some(start + secs(2) + TERMS.belief()));
        assert_eq!(tenure.renew_at(), start + secs(5));
    }

    #[test]
    fn a_renewal_waits_a_little_for_the_checkpoint_that_the_pace_promises() {
        let start = now();
        let mut tenure = taken(start);
        for second in [1, 10, 19] {
            assert_eq!(
                write(&mut tenure, &Purpose::Checkpoint(at(second)), start + secs(second)),
                Next::Done
            );
        }
        // Every 9 s: the next at 28, and renewals after 3 and 6 s.
        assert_eq!(tenure.renew_at(), start + secs(22));
        write(&mut tenure, &Purpose::Renew, start + secs(22));
        assert_eq!(tenure.renew_at(), start + secs(25));
        write(&mut tenure, &Purpose::Renew, start + secs(25));
        assert_eq!(
            tenure.renew_at(),
            start + secs(28) + TERMS.patience() / 4,
            "due at 28, when a checkpoint is expected"
        );
        assert!(tenure.renew_at() < tenure.expires_at().unwrap());
    }

    #[test]
    fn patience_is_a_quarter_of_the_interval_or_of_what_belief_leaves() {
        let belief = TERMS.belief();
        assert!(belief > secs(9) && belief < secs(10));
        for (interval, patience) in
            [(secs(2), secs(1) / 2), (secs(8), belief.saturating_sub(secs(8)) / 4), (secs(20), secs(0))]
        {
            assert_eq!(Terms { renewal_interval: interval, ..TERMS }.patience(), patience, "{interval:?}");
        }
    }

    #[test]
    fn no_pace_makes_a_renewal_wait_longer_than_its_patience() {
        for interval in [1_000, 3_308, 5_500, 9_000] {
            let terms = Terms { renewal_interval: Duration::from_millis(interval), ..TERMS };
            let start = now();
            for gap in (100..30_000).step_by(37) {
                let mut tenure = Tenure::taken(worker("ann"), terms, row(1, "ann", 5), start);
                for (number, millis) in [(1, 10), (2, 10 + gap)] {
                    write(
                        &mut tenure,
                        &Purpose::Checkpoint(at(number)),
                        start + Duration::from_millis(millis),
                    );
                    let sent_at = start + Duration::from_millis(millis);
                    let due = sent_at + terms.renewal_interval;
                    assert!(tenure.renew_at() >= due && tenure.renew_at() <= due + terms.patience());
                    assert!(due + terms.patience() < sent_at + terms.belief());
                    // Renewed meanwhile, or belief would have ended.
                    tenure.confirmed_at = Some(start + Duration::from_millis(10 + gap));
                }
            }
        }
    }

    #[test]
    fn in_doubt_neither_counter_nor_time_moves() {
        let start = now();
        let mut tenure = taken(start);
        let before = tenure.expires_at();
        let operation = tenure.write(&Purpose::Renew, start + secs(3)).unwrap();
        assert_eq!(tenure.answered(&operation, start + secs(3), Answer::InDoubt), Next::Retry);
        assert_eq!((tenure.expires_at(), tenure.row().counter.get()), (before, 5));
    }

    #[test]
    fn a_landed_write_gives_its_counter_but_not_its_time() {
        let start = now();
        let mut tenure = taken(start);
        let before = tenure.expires_at();
        let operation = tenure.write(&Purpose::Renew, start + secs(3)).unwrap();
        let landed = after(tenure.row(), &operation);
        tenure.answered(&operation, start + secs(3), Answer::InDoubt);
        let again = tenure.write(&Purpose::Renew, start + secs(4)).unwrap();
        assert_eq!(again, operation);
        assert_eq!(tenure.answered(&again, start + secs(4), Answer::Refused(Some(landed))), Next::Again);
        assert_eq!((tenure.expires_at(), tenure.row().counter.get()), (before, 6));
        assert!(tenure.needs_confirming() && tenure.renew_at() <= start, "at once, however short ago");
        assert_eq!(write(&mut tenure, &Purpose::Renew, start + secs(4)), Next::Done);
        assert_eq!(tenure.expires_at(), Some(start + secs(4) + TERMS.belief()));
        assert!(!tenure.needs_confirming());
    }

    #[test]
    fn a_landed_write_is_recognised_also_when_only_the_layer_below_retried() {
        let start = now();
        let mut tenure = taken(start);
        let operation = tenure.write(&Purpose::Renew, start).unwrap();
        let landed = after(tenure.row(), &operation);
        assert_eq!(tenure.answered(&operation, start, Answer::Refused(Some(landed))), Next::Again);
    }

    #[test]
    fn a_second_row_one_ahead_is_another_process_of_our_name() {
        let start = now();
        let mut tenure = taken(start);
        for (expected, next) in [(5, Next::Again), (6, Next::Over)] {
            let operation = tenure.write(&Purpose::Renew, start).unwrap();
            assert_eq!(operation.expected_counter().unwrap().get(), expected);
            let twin = row(1, "ann", expected + 1);
            assert_eq!(tenure.answered(&operation, start, Answer::Refused(Some(twin))), next);
        }
        assert!(!tenure.is_valid(start));
    }

    #[test]
    fn after_adopting_a_further_write_in_doubt_may_be_adopted_too() {
        let start = now();
        let mut tenure = taken(start);
        for expected in [5, 6, 7] {
            let operation = tenure.write(&Purpose::Renew, start).unwrap();
            assert_eq!(tenure.answered(&operation, start, Answer::InDoubt), Next::Retry);
            let landed = Answer::Refused(Some(row(1, "ann", expected + 1)));
            assert_eq!(tenure.answered(&operation, start, landed), Next::Again);
        }
        assert_eq!(tenure.expires_at(), Some(start + TERMS.belief()));
    }

    #[test]
    fn what_ends_a_tenure_is_told_by_the_row() {
        let cases = [
            (None, End::Deleted),
            (Some(row(1, "bob", 6)), End::Moved(Some(worker("bob")))),
            (Some(row(1, "", 6)), End::Moved(None)),
            (Some(row(1, "ann", 7)), End::Moved(Some(worker("ann")))),
            (Some(row(1, "ann", 0)), End::Moved(Some(worker("ann")))),
        ];
        for (found, end) in cases {
            let start = now();
            let mut tenure = taken(start);
            let operation = tenure.write(&Purpose::Renew, start).unwrap();
            assert_eq!(
                tenure.answered(&operation, start, Answer::Refused(found.clone())),
                Next::Over,
                "{found:?}"
            );
            assert_eq!(tenure.end(), Some(&end), "{found:?}");
            assert!(!tenure.is_valid(start));
        }
    }

    #[test]
    fn nothing_brings_a_tenure_back() {
        let start = now();
        let mut tenure = taken(start);
        let operation = tenure.write(&Purpose::Renew, start).unwrap();
        tenure.finish_with(End::Released);
        let late = after(&row(1, "ann", 5), &operation);
        assert_eq!(tenure.answered(&operation, start, Answer::Applied(late)), Next::Over);
        assert!(!tenure.is_valid(start));
        assert_eq!(tenure.end(), Some(&End::Released));
    }

    #[test]
    fn a_lease_whose_belief_ran_out_is_not_written() {
        let start = now();
        let mut tenure = taken(start);
        let late = start + TERMS.belief();
        assert_eq!(tenure.write(&Purpose::Renew, late), Err(Unwritable::Over(End::Expired)));
        assert_eq!(tenure.left_behind().map(LeaseCounter::get).collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn what_is_left_behind_includes_a_write_in_doubt() {
        let start = now();
        let mut tenure = taken(start);
        let operation = tenure.write(&Purpose::Renew, start).unwrap();
        tenure.answered(&operation, start, Answer::InDoubt);
        assert_eq!(tenure.left_behind().map(LeaseCounter::get).collect::<Vec<_>>(), [5, 6]);
    }

    fn marked(row: &Lease) -> Lease {
        after(row, &Operation::StartHandoff { from: worker("ann"), to: worker("bob") })
    }

    #[test]
    fn a_mark_found_on_refusal_leaves_time_to_finish_and_no_write_prolongs_it() {
        let start = now();
        let mut tenure = taken(start);
        let operation = tenure.write(&Purpose::Renew, start + secs(3)).unwrap();
        let refused = Answer::Refused(Some(marked(tenure.row())));
        assert_eq!(tenure.answered(&operation, start + secs(3), refused), Next::Again);
        assert_eq!(tenure.asked_by(), Some(&worker("bob")));
        let again = tenure.write(&Purpose::Renew, start + secs(3)).unwrap();
        assert!(matches!(again, Operation::Renew { during_handoff: true, .. }), "{again:?}");
        let deadline = start + TERMS.belief();
        for second in [3, 6, 9] {
            assert_eq!(write(&mut tenure, &Purpose::Renew, start + secs(second)), Next::Done);
            assert_eq!(tenure.expires_at(), Some(deadline), "counted from the last write that found no mark");
        }
        assert!(tenure.expire(deadline));
        assert_eq!(tenure.end(), Some(&End::Expired));
    }

    #[test]
    fn a_checkpoint_that_finds_a_mark_is_written_and_further_ones_too() {
        let start = now();
        let mut tenure = taken(start);
        let operation = tenure.write(&Purpose::Checkpoint(at(9)), start + secs(2)).unwrap();
        let row = marked(&after(tenure.row(), &operation));
        assert_eq!(tenure.answered(&operation, start + secs(2), Answer::Applied(row)), Next::Done);
        assert_eq!(tenure.asked_by(), Some(&worker("bob")));
        assert_eq!(
            tenure.expires_at(),
            Some(start + TERMS.belief()),
            "the mark may be older than this write"
        );
        assert_eq!(write(&mut tenure, &Purpose::Checkpoint(at(12)), start + secs(4)), Next::Done);
        assert_eq!(tenure.row().checkpoint, at(12));
    }

    #[test]
    fn a_write_that_is_refused_though_nothing_is_new_is_tried_again_after_a_pause() {
        let start = now();
        let mut tenure = taken(start);
        let marked = marked(tenure.row());
        for next in [Next::Again, Next::Retry, Next::Retry] {
            let operation = tenure.write(&Purpose::Renew, start).unwrap();
            assert_eq!(tenure.answered(&operation, start, Answer::Refused(Some(marked.clone()))), next);
        }
    }

    /// As a Java 2.x worker takes a row: it does not know the mark, and leaves it.
    fn stolen(row: &Lease, by: &str) -> Lease {
        Lease { owner: Some(worker(by)), counter: row.counter.next(), ..row.clone() }
    }

    #[test]
    fn a_marked_lease_that_was_taken_with_its_mark_is_not_ours() {
        let start = now();
        // Stolen before we saw the mark, and after.
        for seen in [false, true] {
            let mut tenure = taken(start);
            let operation = tenure.write(&Purpose::Renew, start).unwrap();
            let marked = marked(tenure.row());
            if seen {
                tenure.answered(&operation, start, Answer::Refused(Some(marked.clone())));
            }
            let operation = tenure.write(&Purpose::Renew, start).unwrap();
            if seen {
                // Not even with a write in doubt, as nobody marks a marked row.
                tenure.answered(&operation, start, Answer::InDoubt);
            }
            let refused = Answer::Refused(Some(stolen(&marked, "java")));
            assert_eq!(tenure.answered(&operation, start, refused), Next::Over, "seen: {seen}");
            assert_eq!(tenure.end(), Some(&End::Moved(Some(worker("java")))));
        }
    }

    #[test]
    fn a_landed_write_that_was_marked_afterwards_is_ours() {
        let start = now();
        let mut tenure = taken(start);
        let operation = tenure.write(&Purpose::Renew, start).unwrap();
        let landed = marked(&after(tenure.row(), &operation));
        tenure.answered(&operation, start, Answer::InDoubt);
        assert_eq!(tenure.answered(&operation, start, Answer::Refused(Some(landed))), Next::Again);
        assert_eq!(tenure.asked_by(), Some(&worker("bob")));
    }

    #[test]
    fn giving_up_says_to_whom() {
        let start = now();
        let mut free = taken(start);
        assert!(free.give_up());
        assert_eq!(free.end(), Some(&End::Released));
        let mut tenure = taken(start);
        let operation = tenure.write(&Purpose::Renew, start).unwrap();
        let refused = Answer::Refused(Some(marked(tenure.row())));
        tenure.answered(&operation, start, refused);
        assert!(tenure.give_up() && !tenure.give_up());
        assert_eq!(tenure.end(), Some(&End::HandedOver(Some(worker("bob")))));
        assert_eq!((tenure.asked_by(), tenure.is_valid(start)), (None, false));
    }

    #[test]
    fn the_end_of_a_shard_that_was_asked_for_is_written_before_the_deadline() {
        let start = now();
        let mut tenure = taken(start);
        let operation = tenure.write(&Purpose::Renew, start).unwrap();
        let refused = Answer::Refused(Some(marked(tenure.row())));
        tenure.answered(&operation, start, refused);
        assert_eq!(
            write(&mut tenure, &Purpose::Checkpoint(Checkpoint::ShardEnd), start + secs(1)),
            Next::Done
        );
        assert_eq!((tenure.is_finished(), tenure.asked_by(), tenure.expires_at()), (true, None, None));
    }

    #[test]
    fn a_landed_checkpoint_is_a_success() {
        let start = now();
        let mut tenure = taken(start);
        let operation = tenure.write(&Purpose::Checkpoint(at(9)), start).unwrap();
        let landed = after(tenure.row(), &operation);
        tenure.answered(&operation, start, Answer::InDoubt);
        assert_eq!(tenure.answered(&operation, start, Answer::Refused(Some(landed))), Next::Done);
        assert!(tenure.needs_confirming());
    }

    #[test]
    fn a_landed_renewal_is_not_mistaken_for_the_checkpoint_after_it() {
        let start = now();
        let mut tenure = taken(start);
        let renewal = tenure.write(&Purpose::Renew, start).unwrap();
        let landed = after(tenure.row(), &renewal);
        tenure.answered(&renewal, start, Answer::InDoubt);
        let checkpoint = tenure.write(&Purpose::Checkpoint(at(9)), start).unwrap();
        assert_eq!(tenure.answered(&checkpoint, start, Answer::Refused(Some(landed))), Next::Again);
        let again = tenure.write(&Purpose::Checkpoint(at(9)), start).unwrap();
        assert_eq!(again.expected_counter().unwrap().get(), 6);
    }

    #[test]
    fn the_largest_checkpoint_ever_tried_is_the_floor() {
        let start = now();
        let mut tenure = taken(start);
        let operation = tenure.write(&Purpose::Checkpoint(at(9)), start).unwrap();
        tenure.answered(&operation, start, Answer::InDoubt);
        let lower = tenure.write(&Purpose::Checkpoint(at(8)), start);
        assert_eq!(lower, Err(Unwritable::Backwards { floor: at(9) }));
        let pending = PendingCheckpoint { checkpoint: at(8), state: None };
        assert_eq!(
            tenure.write(&Purpose::Prepare(pending), start),
            Err(Unwritable::Backwards { floor: at(9) })
        );
        let same = PendingCheckpoint { checkpoint: at(9), state: None };
        assert!(tenure.write(&Purpose::Prepare(same), start).is_ok());
        assert!(tenure.write(&Purpose::Checkpoint(at(9)), start).is_ok());
        assert!(tenure.write(&Purpose::Checkpoint(at(10)), start).is_ok());
    }

    #[test]
    fn a_prepared_checkpoint_leaves_the_present_one() {
        let start = now();
        let mut tenure = taken(start);
        let pending = PendingCheckpoint { checkpoint: at(9), state: None };
        assert_eq!(write(&mut tenure, &Purpose::Prepare(pending.clone()), start), Next::Done);
        assert_eq!(tenure.row().checkpoint, Checkpoint::TrimHorizon);
        assert_eq!(tenure.row().pending_checkpoint.as_ref(), Some(&pending));
        assert_eq!(write(&mut tenure, &Purpose::Checkpoint(at(9)), start), Next::Done);
        assert_eq!(tenure.row().pending_checkpoint, None);
    }

    #[test]
    fn after_the_shards_end_only_a_release_ends_the_tenure() {
        let start = now();
        let mut tenure = taken(start);
        write(&mut tenure, &Purpose::Checkpoint(Checkpoint::ShardEnd), start);
        assert!(tenure.is_finished());
        assert!(!tenure.expire(start + D * 10));
        assert!(tenure.finish_with(End::Released));
    }

    #[test]
    fn an_unconfirmed_take_is_not_believed_until_a_write_succeeds() {
        let start = now();
        let mut tenure = Tenure::unconfirmed(worker("ann"), TERMS, row(1, "ann", 5), start);
        assert!(!tenure.is_valid(start) && tenure.needs_confirming());
        assert_eq!(write(&mut tenure, &Purpose::Renew, start + secs(1)), Next::Done);
        assert!(tenure.is_valid(start + secs(1)));
        // Strict: without a doubt of its own it adopts nothing.
        let mut strict = Tenure::unconfirmed(worker("ann"), TERMS, row(1, "ann", 5), start);
        let operation = strict.write(&Purpose::Renew, start).unwrap();
        let twin = Answer::Refused(Some(row(1, "ann", 6)));
        assert_eq!(strict.answered(&operation, start, twin), Next::Over);
    }
}
