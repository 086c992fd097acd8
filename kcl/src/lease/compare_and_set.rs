//! All operations of the protocol for any database that can replace a value if it is still the one that was read.

use async_trait::async_trait;

use super::rules::{self, Verdict};
use super::{Lease, LeaseKey, LeaseStoreError, Operation, Stamp, Write};

/// How often an operation starts over because the row changed between read and write. Somebody else got through each
/// time; more than this many in a row means a store that never says yes.
const ROUNDS: u32 = 20;

/// What a database must be able to do to hold leases; [`CompareAndSetStore`] makes a
/// [`LeaseStore`](super::LeaseStore) of it.
///
/// Rows are compared as a whole: a [`Lease`] that was read is equal to itself until somebody writes the row.
#[async_trait]
pub trait CompareAndSet: Send + Sync + std::fmt::Debug {
    /// Makes the table if there is none.
    ///
    /// # Errors
    /// When the table can neither be found nor made.
    async fn prepare(&self) -> Result<(), LeaseStoreError>;

    /// Every row, in any order.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn load_all(&self) -> Result<Vec<Lease>, LeaseStoreError>;

    /// One row, as of its newest write.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn load(&self, key: &LeaseKey) -> Result<Option<Lease>, LeaseStoreError>;

    /// Atomically makes the row `new` if it is `expected`; `None` stands for no row. Whether it was.
    ///
    /// # Errors
    /// When the database cannot be written, or the answer was lost.
    async fn replace(
        &self,
        key: &LeaseKey,
        expected: Option<&Lease>,
        new: Option<&Lease>,
    ) -> Result<bool, LeaseStoreError>;
}

/// A lease store on a database that can replace a value conditionally.
#[derive(Debug, Clone)]
pub struct CompareAndSetStore<D>(D);

impl<D: CompareAndSet> CompareAndSetStore<D> {
    /// A lease store on `database`.
    pub fn new(database: D) -> Self {
        Self(database)
    }

    /// The database below.
    pub fn database(&self) -> &D {
        &self.0
    }

    pub(crate) async fn prepare_table(&self) -> Result<(), LeaseStoreError> {
        self.0.prepare().await
    }

    pub(crate) async fn load_all(&self) -> Result<Vec<Lease>, LeaseStoreError> {
        self.0.load_all().await
    }

    pub(crate) async fn load(&self, key: &LeaseKey) -> Result<Option<Lease>, LeaseStoreError> {
        self.0.load(key).await
    }

    pub(crate) async fn execute(
        &self,
        key: &LeaseKey,
        operation: Operation,
        stamp: Option<&Stamp>,
    ) -> Result<Write, LeaseStoreError> {
        for _ in 0..ROUNDS {
            let row = self.0.load(key).await?;
            let after = match rules::apply(row.as_ref(), &operation) {
                Verdict::Refused => return Ok(Write::Refused(row)),
                Verdict::Becomes(after) => Some(rules::stamped(after, stamp)),
                Verdict::Deleted => None,
            };
            if self.0.replace(key, row.as_ref(), after.as_ref()).await?
                && let Some(answer) = after.or(row)
            {
                return Ok(Write::Applied(answer));
            }
        }
        Err(LeaseStoreError::Throttled { store: format!("the row of lease {key}").into() })
    }
}

/// Implements [`LeaseStore`](super::LeaseStore) by `prepare_table`, `load_all`, `load` and `execute`.
macro_rules! lease_store_by_operation {
    ([$($generics:tt)*] $store:ty $(, broken_by $broken:ident)? $(, peeked_by $peek:ident)?) => {
        #[async_trait::async_trait]
        impl<$($generics)*> $crate::lease::LeaseStore for $store {
            async fn prepare(&self) -> Result<(), $crate::lease::LeaseStoreError> {
                self.prepare_table().await
            }

            async fn list(&self) -> Result<Vec<$crate::lease::Lease>, $crate::lease::LeaseStoreError> {
                self.load_all().await
            }

            $(
                fn broken_leases(&self) -> Vec<$crate::lease::LeaseStoreError> {
                    self.$broken()
                }
            )?

            async fn get(
                &self,
                key: &$crate::lease::LeaseKey,
            ) -> Result<Option<$crate::lease::Lease>, $crate::lease::LeaseStoreError> {
                self.load(key).await
            }

            async fn write(
                &self,
                key: &$crate::lease::LeaseKey,
                operation: $crate::lease::Operation,
                stamp: Option<&$crate::lease::Stamp>,
            ) -> Result<$crate::lease::Write, $crate::lease::LeaseStoreError> {
                self.execute(key, operation, stamp).await
            }

            $(
                async fn peek(
                    &self,
                    key: &$crate::lease::LeaseKey,
                ) -> Result<Option<$crate::lease::Lease>, $crate::lease::LeaseStoreError> {
                    self.$peek(key).await
                }
            )?

            async fn create_if_absent(
                &self,
                lease: $crate::lease::NewLease,
            ) -> Result<bool, $crate::lease::LeaseStoreError> {
                let key = lease.key.clone();
                Ok(self.execute(&key, $crate::lease::Operation::Create(lease), None).await?.is_applied())
            }

            async fn renew(
                &self,
                key: &$crate::lease::LeaseKey,
                expected: $crate::lease::LeaseCounter,
                during_handoff: bool,
            ) -> Result<$crate::lease::Write, $crate::lease::LeaseStoreError> {
                self.execute(key, $crate::lease::Operation::Renew { expected, during_handoff }, None).await
            }

            async fn take(
                &self,
                key: &$crate::lease::LeaseKey,
                expected: $crate::lease::LeaseCounter,
                worker: &$crate::lease::WorkerId,
            ) -> Result<$crate::lease::Write, $crate::lease::LeaseStoreError> {
                let worker = worker.clone();
                self.execute(key, $crate::lease::Operation::Take { expected, worker }, None).await
            }

            async fn assign(
                &self,
                key: &$crate::lease::LeaseKey,
                expected: &$crate::lease::Owners,
                worker: &$crate::lease::WorkerId,
            ) -> Result<$crate::lease::Write, $crate::lease::LeaseStoreError> {
                let (expected, worker) = (expected.clone(), worker.clone());
                self.execute(key, $crate::lease::Operation::Assign { expected, worker }, None).await
            }

            async fn start_handoff(
                &self,
                key: &$crate::lease::LeaseKey,
                from: &$crate::lease::WorkerId,
                to: &$crate::lease::WorkerId,
            ) -> Result<$crate::lease::Write, $crate::lease::LeaseStoreError> {
                let (from, to) = (from.clone(), to.clone());
                self.execute(key, $crate::lease::Operation::StartHandoff { from, to }, None).await
            }

            async fn end_handoff(
                &self,
                key: &$crate::lease::LeaseKey,
                expected: &$crate::lease::Owners,
                owner: &$crate::lease::WorkerId,
            ) -> Result<$crate::lease::Write, $crate::lease::LeaseStoreError> {
                let (expected, owner) = (expected.clone(), owner.clone());
                self.execute(key, $crate::lease::Operation::EndHandoff { expected, owner }, None).await
            }

            async fn release(
                &self,
                key: &$crate::lease::LeaseKey,
                expected: &$crate::lease::Owners,
                counter: $crate::lease::LeaseCounter,
            ) -> Result<$crate::lease::Write, $crate::lease::LeaseStoreError> {
                let expected = expected.clone();
                self.execute(key, $crate::lease::Operation::Release { expected, counter }, None).await
            }

            async fn checkpoint(
                &self,
                key: &$crate::lease::LeaseKey,
                expected: $crate::lease::LeaseCounter,
                update: $crate::lease::CheckpointUpdate,
            ) -> Result<$crate::lease::Write, $crate::lease::LeaseStoreError> {
                self.execute(key, $crate::lease::Operation::Checkpoint { expected, update }, None).await
            }

            async fn update_meta(
                &self,
                key: &$crate::lease::LeaseKey,
                update: $crate::lease::MetaUpdate,
            ) -> Result<$crate::lease::Write, $crate::lease::LeaseStoreError> {
                self.execute(key, $crate::lease::Operation::UpdateMeta(update), None).await
            }

            async fn delete(
                &self,
                key: &$crate::lease::LeaseKey,
                expected: $crate::lease::LeaseCounter,
            ) -> Result<$crate::lease::Write, $crate::lease::LeaseStoreError> {
                self.execute(key, $crate::lease::Operation::Delete { expected }, None).await
            }
        }
    };
}
pub(crate) use lease_store_by_operation;

lease_store_by_operation!([D: CompareAndSet] CompareAndSetStore<D>);
