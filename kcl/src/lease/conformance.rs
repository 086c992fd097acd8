//! The contract of [`LeaseStore`] as a suite: each check states one sentence of it.
//!
//! Run it in the tests of a store of your own, with a fresh, empty store for every check:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! use std::sync::Arc;
//! use kcl::lease::{LeaseStore, MemoryLeaseStore, conformance};
//!
//! let failures = conformance::run(|| async { Arc::new(MemoryLeaseStore::new()) as Arc<dyn LeaseStore> }).await;
//! assert!(failures.is_empty(), "{failures:?}");
//! # }
//! ```

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use futures::future::BoxFuture;

use super::{
    CheckpointUpdate, Lease, LeaseCounter, LeaseKey, LeaseStore, LeaseStoreError, MetaUpdate, NewLease,
    Operation, Owners, PendingCheckpoint, Stamp, WorkerId, Write,
};

// Creating, reading, renewing, taking, deleting.
mod ownership;

// Hand-over, release, checkpoints, notes.
mod progress;

/// One sentence of the contract.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    name: &'static str,
    sentence: &'static str,
    run: fn(Table) -> BoxFuture<'static, Outcome>,
}

impl Check {
    /// A short name, in words joined by underscores.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What the store promises.
    pub fn sentence(&self) -> &'static str {
        self.sentence
    }

    /// Runs the check on an empty store.
    ///
    /// # Errors
    /// When the store does not keep the promise, or fails.
    pub async fn run(&self, store: Arc<dyn LeaseStore>) -> Result<(), Failure> {
        let found = async {
            store.prepare().await?;
            (self.run)(Table(store)).await
        };
        let Check { name, sentence, .. } = *self;
        found.await.map_err(|Broken(found)| Failure { name, sentence, found })
    }
}

/// A promise that a store does not keep.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// The check's name.
    pub name: &'static str,
    /// What the store should do.
    pub sentence: &'static str,
    /// What it did.
    pub found: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; found: {}", self.name, self.sentence, self.found)
    }
}

/// Every check, in the order in which they build on each other.
pub fn checks() -> Vec<Check> {
    let mut checks = ownership::checks();
    checks.extend(progress::checks());
    checks
}

/// Runs every check, each on a store of its own from `fresh`; the promises that were not kept.
pub async fn run<F, S>(mut fresh: F) -> Vec<Failure>
where
    F: FnMut() -> S,
    S: Future<Output = Arc<dyn LeaseStore>>,
{
    let mut failures = Vec::new();
    for check in checks() {
        failures.extend(check.run(fresh().await).await.err());
    }
    failures
}

type Outcome = Result<(), Broken>;

/// What was found instead.
struct Broken(String);

impl From<LeaseStoreError> for Broken {
    fn from(error: LeaseStoreError) -> Self {
        Self(format!("an error: {error}"))
    }
}

fn ensure(holds: bool, found: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(Broken(found())) }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the checks read better without a reference on every literal"
)]
fn equal<T: PartialEq + fmt::Debug>(found: T, expected: T) -> Outcome {
    ensure(found == expected, || format!("{found:?} instead of {expected:?}"))
}

fn applied(write: Write) -> Result<Lease, Broken> {
    match write {
        Write::Applied(lease) => Ok(lease),
        Write::Refused(row) => Err(Broken(format!("refused, although the condition holds for {row:?}"))),
    }
}

fn refused(write: Write) -> Result<Option<Lease>, Broken> {
    match write {
        Write::Refused(row) => Ok(row),
        Write::Applied(row) => Err(Broken(format!("written, although the condition does not hold: {row:?}"))),
    }
}

/// The store under test, with what most checks begin with.
struct Table(Arc<dyn LeaseStore>);

impl Table {
    async fn created(&self, key: &LeaseKey) -> Result<Lease, Broken> {
        let new = NewLease::child(key.clone(), [], None);
        ensure(self.0.create_if_absent(new).await?, || "a new lease was not created".to_owned())?;
        self.row(key).await
    }

    async fn owned(&self, key: &LeaseKey, worker: &WorkerId) -> Result<Lease, Broken> {
        let row = self.created(key).await?;
        applied(self.0.take(key, row.counter, worker).await?)
    }

    async fn row(&self, key: &LeaseKey) -> Result<Lease, Broken> {
        self.0.get(key).await?.ok_or_else(|| Broken(format!("no row of lease {key}")))
    }

    /// The operation was refused with the row as it is, and the row did not change.
    async fn untouched(&self, before: &Lease, write: Write) -> Outcome {
        equal(refused(write)?.as_ref(), Some(before))?;
        equal(&self.row(&before.key).await?, before)
    }
}

fn key() -> LeaseKey {
    LeaseKey::new("shardId-000000000007")
}

fn ann() -> WorkerId {
    WorkerId::new("ann")
}

fn bob() -> WorkerId {
    WorkerId::new("bob")
}

#[cfg(test)]
mod tests;
