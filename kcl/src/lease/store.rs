//! The store in which workers agree on leases: one call for each operation, each with its own condition.

use async_trait::async_trait;

use super::{
    CheckpointUpdate, Lease, LeaseCounter, LeaseKey, LeaseStoreError, MetaUpdate, NewLease, Operation,
    Owners, Stamp, WorkerId,
};

/// The answer to a conditional write.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Write {
    /// Written. The row as it is now; after a delete, the row as it was.
    Applied(Lease),
    /// The condition did not hold, nothing was written. The row as it is; `None`: there is none.
    Refused(Option<Lease>),
}

impl Write {
    /// Whether the condition held.
    pub fn is_applied(&self) -> bool {
        matches!(self, Self::Applied(_))
    }
}

/// Where workers agree on leases: one call for each operation of the lease protocol, each with its own condition.
///
/// A store makes each call atomic, and answers from the newest row (no stale reads but in [`list`](Self::list)). It
/// does not retry: an answer that was lost is reported as such, because the worker has rules for that case.
/// [`conformance`](crate::lease) states the contract as tests.
///
/// Dropping a future of this trait leaves the call in doubt: it may take effect or not, now or later.
#[async_trait]
pub trait LeaseStore: Send + Sync + std::fmt::Debug {
    /// Makes the store ready, creating the table if there is none. Called once at the start of each worker.
    ///
    /// # Errors
    /// When the table can neither be found nor created.
    async fn prepare(&self) -> Result<(), LeaseStoreError>;

    /// Every lease of the application, in any order. It need not be a snapshot.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn list(&self) -> Result<Vec<Lease>, LeaseStoreError>;

    /// The rows that the latest [`list`](Self::list) passed over because they hold no lease that can be read, each as
    /// [`LeaseStoreError::Corrupt`]. Workers make an event of each. Default: none.
    fn broken_leases(&self) -> Vec<LeaseStoreError> {
        Vec::new()
    }

    /// One lease, as of its newest write.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn get(&self, key: &LeaseKey) -> Result<Option<Lease>, LeaseStoreError>;

    /// One lease, possibly as it was a moment ago, if that is cheaper than [`get`](Self::get). Workers look at one another
    /// this way, about once a second. Default: the same as `get`.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn peek(&self, key: &LeaseKey) -> Result<Option<Lease>, LeaseStoreError> {
        self.get(key).await
    }

    /// Any operation by value, and beside the row, in the same write, the `stamp` of the worker that makes it.
    ///
    /// Default: the call for that operation, without the stamp. Leases in a store that keeps no stamps are watched by
    /// reading the whole table each [`lease_scan_interval`](crate::ConsumerConfig::with_lease_scan_interval); with stamps a worker
    /// reads one row each time.
    ///
    /// # Errors
    /// As the operation's own call.
    async fn write(
        &self,
        key: &LeaseKey,
        operation: Operation,
        stamp: Option<&Stamp>,
    ) -> Result<Write, LeaseStoreError> {
        let _ = stamp;
        match operation {
            Operation::Create(lease) => {
                let created = self.create_if_absent(lease.clone()).await?;
                Ok(if created { Write::Applied(Lease::created(lease)) } else { Write::Refused(None) })
            }
            Operation::Renew { expected, during_handoff } => self.renew(key, expected, during_handoff).await,
            Operation::Take { expected, worker } => self.take(key, expected, &worker).await,
            Operation::Assign { expected, worker } => self.assign(key, &expected, &worker).await,
            Operation::StartHandoff { from, to } => self.start_handoff(key, &from, &to).await,
            Operation::EndHandoff { expected, owner } => self.end_handoff(key, &expected, &owner).await,
            Operation::Release { expected, counter } => self.release(key, &expected, counter).await,
            Operation::Checkpoint { expected, update } => self.checkpoint(key, expected, update).await,
            Operation::UpdateMeta(update) => self.update_meta(key, update).await,
            Operation::Delete { expected } => self.delete(key, expected).await,
        }
    }

    /// Creates a lease if there is none of that name; whether it did.
    ///
    /// # Errors
    /// When the store cannot be written, or the answer was lost.
    async fn create_if_absent(&self, lease: NewLease) -> Result<bool, LeaseStoreError>;

    /// Raises the counter, if it is `expected` and (unless `during_handoff`) no hand-over was started.
    ///
    /// # Errors
    /// When the store cannot be written, or the answer was lost.
    async fn renew(
        &self,
        key: &LeaseKey,
        expected: LeaseCounter,
        during_handoff: bool,
    ) -> Result<Write, LeaseStoreError>;

    /// Makes `worker` the owner and raises the counter, if it is `expected`. Ends any hand-over.
    ///
    /// # Errors
    /// When the store cannot be written, or the answer was lost.
    async fn take(
        &self,
        key: &LeaseKey,
        expected: LeaseCounter,
        worker: &WorkerId,
    ) -> Result<Write, LeaseStoreError>;

    /// Makes `worker` the owner and raises the counter, if the owner fields are `expected`. Ends any hand-over.
    ///
    /// # Errors
    /// When the store cannot be written, or the answer was lost.
    async fn assign(
        &self,
        key: &LeaseKey,
        expected: &Owners,
        worker: &WorkerId,
    ) -> Result<Write, LeaseStoreError>;

    /// Asks `from` to hand the lease over to `to`, if it is the owner and no hand-over was started. The counter stays,
    /// so that the old owner's writes go on.
    ///
    /// # Errors
    /// When the store cannot be written, or the answer was lost.
    async fn start_handoff(
        &self,
        key: &LeaseKey,
        from: &WorkerId,
        to: &WorkerId,
    ) -> Result<Write, LeaseStoreError>;

    /// Ends a hand-over that will not take place: `owner` owns the lease, if the owner fields are `expected` and name a
    /// hand-over. The counter stays, so that the owner's writes go on. A worker that stops takes back with it what it had
    /// asked for.
    ///
    /// # Errors
    /// When the store cannot be written, or the answer was lost.
    async fn end_handoff(
        &self,
        key: &LeaseKey,
        expected: &Owners,
        owner: &WorkerId,
    ) -> Result<Write, LeaseStoreError>;

    /// Gives the lease up and raises the counter, if owner fields and counter are as expected. Without a hand-over the
    /// row is then free; with one it belongs to the new owner.
    ///
    /// # Errors
    /// When the store cannot be written, or the answer was lost.
    async fn release(
        &self,
        key: &LeaseKey,
        expected: &Owners,
        counter: LeaseCounter,
    ) -> Result<Write, LeaseStoreError>;

    /// Writes checkpoint and pending checkpoint and raises the counter, if it is `expected`. Sets the owner switches to 0.
    ///
    /// # Errors
    /// When the store cannot be written, or the answer was lost.
    async fn checkpoint(
        &self,
        key: &LeaseKey,
        expected: LeaseCounter,
        update: CheckpointUpdate,
    ) -> Result<Write, LeaseStoreError>;

    /// Notes what is known about the shard, if there is a row. The counter stays.
    ///
    /// # Errors
    /// When the store cannot be written, or the answer was lost.
    async fn update_meta(&self, key: &LeaseKey, update: MetaUpdate) -> Result<Write, LeaseStoreError>;

    /// Deletes the row, if its counter is `expected`.
    ///
    /// # Errors
    /// When the store cannot be written, or the answer was lost.
    async fn delete(&self, key: &LeaseKey, expected: LeaseCounter) -> Result<Write, LeaseStoreError>;
}
