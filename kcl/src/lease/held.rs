//! A lease in the hands of a worker: its writes one at a time, and the news of its loss.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use kinesis_shard::Checkpoint;
use tokio::sync::Notify;

use super::calls::Calls;
use super::keeper::Syncs;
use super::tenure::{Answer, End, Next, Purpose, Tenure, Unwritable};
use super::{Lease, LeaseKey, LeaseStoreError, MetaUpdate, Operation, PendingCheckpoint, WorkerId, Write};

// Why a write was not made.
mod error;

// The news of tenures that are over, for the keeper.
mod ended;

// What comes before a shard and after it.
mod family;

pub(crate) use ended::EndedLeases;
pub(crate) use error::HeldLeaseError;

/// How often a checkpoint or a release is tried before its error is told.
const ATTEMPTS: u32 = 4;

/// A lease that this worker holds, or held. Clones are the same holding.
#[derive(Debug, Clone)]
pub(crate) struct HeldLease(Arc<Holding>);

#[derive(Debug)]
struct Holding {
    worker: WorkerId,
    start: Lease,
    number: u64,
    calls: Calls,
    syncs: Arc<Syncs>,
    ended: Arc<EndedLeases>,
    announced: AtomicBool,
    /// Held during a write: renewals and checkpoints of one lease are one sequence.
    writes: tokio::sync::Mutex<()>,
    tenure: Mutex<Tenure>,
    over: Notify,
    asked: Notify,
    /// A note of what `LATEST` means may have landed untold.
    pin_in_doubt: AtomicBool,
}

/// What `LATEST` means for a lease, in milliseconds since the epoch of the service's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pinned {
    pub(crate) millis: u64,
    /// It was written down just now, so what was opened is at that time; or else an earlier attempt was, and its answer lost.
    pub(crate) just_now: bool,
}

/// What every held lease of a keeper shares.
#[derive(Debug, Clone)]
pub(crate) struct Hands {
    pub(crate) worker: WorkerId,
    pub(crate) calls: Calls,
    pub(crate) syncs: Arc<Syncs>,
    pub(crate) ended: Arc<EndedLeases>,
}

impl HeldLease {
    pub(crate) fn new(hands: Hands, tenure: Tenure, number: u64) -> Self {
        Self(Arc::new(Holding {
            worker: hands.worker,
            start: tenure.row().clone(),
            number,
            calls: hands.calls,
            syncs: hands.syncs,
            ended: hands.ended,
            announced: AtomicBool::new(false),
            writes: tokio::sync::Mutex::new(()),
            tenure: Mutex::new(tenure),
            over: Notify::new(),
            asked: Notify::new(),
            pin_in_doubt: AtomicBool::new(false),
        }))
    }

    pub(crate) fn key(&self) -> &LeaseKey {
        &self.0.start.key
    }

    pub(crate) fn worker(&self) -> &WorkerId {
        &self.0.worker
    }

    /// The row as the take left it: start position, parents, pending checkpoint.
    pub(crate) fn start(&self) -> &Lease {
        &self.0.start
    }

    /// A number no other holding of this keeper has.
    pub(crate) fn tenure(&self) -> u64 {
        self.0.number
    }

    /// Whether this worker may act as the owner. Ask right before each call of a processor, with no await between.
    pub(crate) fn is_valid(&self, now: Instant) -> bool {
        self.belief().is_valid(now)
    }

    pub(crate) fn renew_at(&self) -> Instant {
        self.belief().renew_at()
    }

    /// A copy of what is believed, for the keeper's books.
    pub(crate) fn snapshot(&self) -> Tenure {
        self.belief().clone()
    }

    fn now(&self) -> Instant {
        self.0.calls.clock().now()
    }

    fn belief(&self) -> MutexGuard<'_, Tenure> {
        self.0.tenure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves once the lease is lost, given up or handed over, also when nothing but time ended it. After `SHARD_END`
    /// was written it resolves only by [`release`](Self::release). Cancel safe.
    pub(crate) async fn lost(&self) {
        let clock = self.0.calls.clock();
        if kinesis_shard::planted("nobody looks whether a lease is held") {
            return std::future::pending().await;
        }
        loop {
            let over = self.0.over.notified();
            tokio::pin!(over);
            // Before the check, so that an end between check and await is not missed.
            over.as_mut().enable();
            let expires_at = {
                let mut belief = self.belief();
                (!belief.expire(clock.now())).then(|| belief.expires_at())
            };
            let Some(expires_at) = expires_at else {
                self.announce_end();
                return;
            };
            match expires_at {
                Some(until) => tokio::select! {
                    // Either way the loop looks again; no order can starve.
                    biased;
                    () = over => {}
                    () = clock.sleep_until(until) => {}
                },
                None => over.await,
            }
        }
    }

    /// Resolves once another worker has asked for the lease, with its name: finish, checkpoint and
    /// [`release`](Self::release) before belief ends. Cancel safe.
    pub(crate) async fn asked_for(&self) -> WorkerId {
        loop {
            let asked = self.0.asked.notified();
            tokio::pin!(asked);
            // Before the check, so that a mark found between check and await is not missed.
            asked.as_mut().enable();
            let by = self.belief().asked_by().cloned();
            if let Some(by) = by {
                return by;
            }
            asked.await;
        }
    }

    /// Tells the keeper, once, that there is nothing to renew any more, and wakes whoever waits for the loss.
    fn announce_end(&self) {
        let (over, finished) = {
            let belief = self.belief();
            (belief.end().is_some(), belief.is_finished())
        };
        if over {
            self.0.over.notify_waiters();
        }
        if (over || finished) && !self.0.announced.swap(true, Ordering::Relaxed) {
            self.0.ended.announce(self.key().clone(), self.tenure());
        }
    }

    /// Renews if that is due: a checkpoint written meanwhile counts. Tries until it is answered or belief runs out.
    ///
    /// Dropping the future leaves the renewal in doubt.
    pub(crate) async fn renew(&self) -> Result<(), HeldLeaseError> {
        let _turn = self.0.writes.lock().await;
        if self.renew_at() > self.now() && !self.belief().needs_confirming() {
            return Ok(());
        }
        self.serve(&Purpose::Renew, u32::MAX).await
    }

    /// Writes a checkpoint; success counts as a renewal. Waits for a renewal of the same lease that is under way.
    ///
    /// An error other than [`Lost`](HeldLeaseError::Lost) and [`Backwards`](HeldLeaseError::Backwards) may leave it in
    /// doubt; the same call may then be made again. Dropping the future leaves it in doubt too.
    pub(crate) async fn checkpoint(&self, to: Checkpoint) -> Result<(), HeldLeaseError> {
        self.write_down(Purpose::Checkpoint(to)).await
    }

    /// Announces a checkpoint, the first of two phases. The checkpoint itself stays.
    pub(crate) async fn prepare_checkpoint(
        &self,
        to: Checkpoint,
        state: Option<Bytes>,
    ) -> Result<(), HeldLeaseError> {
        // Java's table cannot tell an empty state from none.
        let state = state.filter(|bytes| !bytes.is_empty());
        self.write_down(Purpose::Prepare(PendingCheckpoint { checkpoint: to, state })).await
    }

    async fn write_down(&self, purpose: Purpose) -> Result<(), HeldLeaseError> {
        let _turn = self.0.writes.lock().await;
        self.serve(&purpose, ATTEMPTS).await?;
        if self.belief().needs_confirming() {
            // It had landed and only its answer was lost: that gives the counter, not the time. Whether the renewal
            // works is the next caller's news, the checkpoint is written.
            if let Err(error) = self.serve(&Purpose::Renew, ATTEMPTS).await {
                tracing::debug!(lease_key = %self.key(), %error, "renewal after a checkpoint in doubt failed");
            }
        }
        Ok(())
    }

    /// Writes until `purpose` is served; the caller holds the turn.
    async fn serve(&self, purpose: &Purpose, mut attempts: u32) -> Result<(), HeldLeaseError> {
        let clock = self.0.calls.clock();
        let mut backoff = self.0.calls.backoff(self.key());
        // Who loses the lease meanwhile must not be told that nothing was written.
        let mut in_doubt: Option<LeaseStoreError> = None;
        loop {
            let sent_at = clock.now();
            let operation = self.belief().write(purpose, sent_at);
            let operation = operation.map_err(|why| self.unwritable(&why, purpose, in_doubt.take()))?;
            let result = self.0.calls.write(self.key(), &operation).await;
            let written = *purpose != Purpose::Renew && self.is_written(&result);
            let sent_at =
                if kinesis_shard::planted("belief counts from the answer") { clock.now() } else { sent_at };
            let error = result.as_ref().err().cloned();
            let doubted = error.as_ref().filter(|error| error.may_have_been_written());
            in_doubt = doubted.cloned().or(in_doubt);
            let (next, asked) = {
                let mut belief = self.belief();
                (belief.answered(&operation, sent_at, answer(result)), belief.asked_by().is_some())
            };
            if asked {
                self.0.asked.notify_waiters();
            }
            self.announce_end();
            match next {
                Next::Done => return Ok(()),
                Next::Again => {}
                Next::Retry => {
                    attempts -= 1;
                    if let Some(error) = error.filter(|error| attempts == 0 || !error.is_retryable()) {
                        return Err(error.into());
                    }
                    if attempts == 0 {
                        return Err(self.lost_error());
                    }
                    clock.sleep_until(clock.now() + backoff.next_delay()).await;
                }
                // Its time ran out before the answer came, as that of a process that stood still.
                Next::Over if written => return Ok(()),
                Next::Over => return Err(in_doubt.map_or_else(|| self.lost_error(), HeldLeaseError::from)),
            }
        }
    }

    fn is_written(&self, result: &Result<Write, LeaseStoreError>) -> bool {
        matches!(result, Ok(Write::Applied(row)) if row.actual_owner() == Some(self.worker()))
    }

    fn unwritable(
        &self,
        why: &Unwritable,
        purpose: &Purpose,
        in_doubt: Option<LeaseStoreError>,
    ) -> HeldLeaseError {
        let asked = match purpose {
            Purpose::Checkpoint(to) => *to,
            Purpose::Prepare(pending) => pending.checkpoint,
            Purpose::Renew => self.belief().row().checkpoint,
        };
        match why {
            Unwritable::Backwards { floor } => {
                HeldLeaseError::Backwards { key: self.key().clone(), asked, floor: *floor }
            }
            Unwritable::Over(_) => {
                self.announce_end();
                in_doubt.map_or_else(|| self.lost_error(), HeldLeaseError::from)
            }
        }
    }

    fn lost_error(&self) -> HeldLeaseError {
        let moved_to = match self.belief().end() {
            Some(End::Moved(to) | End::HandedOver(to)) => to.clone().filter(|to| to != self.worker()),
            _ => None,
        };
        HeldLeaseError::Lost { key: self.key().clone(), moved_to }
    }

    /// Notes what `LATEST` means for this lease. Returns what stands there: the first note stays.
    pub(crate) async fn pin_latest(&self, millis: u64) -> Result<Pinned, HeldLeaseError> {
        let update = MetaUpdate { latest_pinned_at: Some(millis), ..MetaUpdate::default() };
        // The service tells its time in whole seconds, so two attempts may tell the same and mean different ones.
        let doubted = self.0.pin_in_doubt.swap(true, Ordering::Relaxed);
        match self.0.calls.note(self.key(), &update).await? {
            Write::Applied(row) => {
                let stands = row.latest_pinned_at.unwrap_or(millis);
                Ok(Pinned { millis: stands, just_now: stands == millis && !doubted })
            }
            Write::Refused(_) => Err(self.lost_error()),
        }
    }

    /// Gives the lease up, so that another worker can take it at once. Ok also when it was not ours any more.
    ///
    /// Belief ends before the row is given away. An error means that the row still names this worker: others take it
    /// after the failover time. The same holds when the future is dropped.
    pub(crate) async fn release(&self) -> Result<(), HeldLeaseError> {
        let _turn = self.0.writes.lock().await;
        let (first, finished, awaited) = {
            let mut belief = self.belief();
            belief.expire(self.now());
            let expired = belief.end() == Some(&End::Expired);
            let awaited = belief.asked_by().is_some();
            (belief.give_up() || expired, belief.is_finished(), awaited)
        };
        self.announce_end();
        // A finished lease needs no owner, nobody takes it: that write is saved.
        if !first || finished {
            return Ok(());
        }
        self.give_away().await?;
        // Who asked for the lease looks at it; of one that is free the others must be told.
        if !awaited {
            self.0.ended.row_is_free();
        }
        Ok(())
    }

    /// Removes this worker from the row, with belief ended before.
    async fn give_away(&self) -> Result<(), HeldLeaseError> {
        if kinesis_shard::planted("a clean stop keeps its leases") {
            return Ok(());
        }
        let mut backoff = self.0.calls.backoff(self.key());
        let mut row = self.belief().row().clone();
        // At most one write of ours is in doubt; a counter beyond it is another process of our name.
        let ours = row.counter.next();
        let mut attempts = ATTEMPTS;
        loop {
            let operation = Operation::Release { expected: row.owners(), counter: row.counter };
            match self.0.calls.write(self.key(), &operation).await {
                Ok(Write::Refused(Some(now)))
                    if now.actual_owner() == Some(self.worker()) && now.counter <= ours && attempts > 1 =>
                {
                    // A late write of ours had landed, or somebody asked for the lease meanwhile.
                    row = now;
                }
                Ok(_) => return Ok(()),
                Err(error) if attempts == 1 || !error.is_retryable() => return Err(error.into()),
                Err(_) => {
                    let clock = self.0.calls.clock();
                    clock.sleep_until(clock.now() + backoff.next_delay()).await;
                }
            }
            attempts -= 1;
        }
    }
}

/// What the rules make of a store's answer.
pub(crate) fn answer(result: Result<Write, LeaseStoreError>) -> Answer {
    match result {
        Ok(Write::Applied(row)) => Answer::Applied(row),
        Ok(Write::Refused(row)) => Answer::Refused(row),
        Err(error) if error.may_have_been_written() => Answer::InDoubt,
        Err(_) => Answer::Failed,
    }
}

#[cfg(test)]
mod tests;
