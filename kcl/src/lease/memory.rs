//! The store for tests and for programs of one process.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::compare_and_set::lease_store_by_operation;
use super::{CompareAndSet, CompareAndSetStore, Lease, LeaseKey, LeaseStoreError, Operation, Stamp, Write};

/// What goes wrong with one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The call has no effect, and the caller cannot know that.
    LoseRequest,
    /// The call takes effect, and the caller cannot know that.
    LoseAnswer,
    /// The call is refused because of load: no effect, and the caller knows.
    Throttle,
    /// No effect, and no answer either: the caller waits until it gives up.
    Hang,
    /// The call takes effect, but no answer comes.
    HangAfter,
}

/// One call, as a fault rule sees it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum StoreCall<'a> {
    /// Reading every lease.
    List,
    /// Reading one lease.
    Get(&'a LeaseKey),
    /// A conditional write.
    Write(&'a LeaseKey, &'a Operation),
}

type Rule = Box<dyn FnMut(&StoreCall<'_>) -> Option<Fault> + Send>;

/// A lease store in memory. Clones share their rows, as workers share a table.
///
/// Calls can be made to fail: the next ones with [`fail_next`](Self::fail_next), or chosen ones with
/// [`fail_by`](Self::fail_by).
///
/// ```
/// # use kcl::lease::{LeaseStore, MemoryLeaseStore};
/// # fn with_a_store(_: impl LeaseStore) {}
/// let table = MemoryLeaseStore::new();
/// with_a_store(table.clone());
/// assert!(table.rows().is_empty());
/// ```
#[derive(Clone, Default)]
pub struct MemoryLeaseStore(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    rows: BTreeMap<LeaseKey, Lease>,
    faults: VecDeque<Fault>,
    rule: Option<Rule>,
    applied: BTreeMap<&'static str, u64>,
    calls: u64,
}

impl MemoryLeaseStore {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the next write fail; called again, the one after it.
    pub fn fail_next(&self, fault: Fault) {
        self.table().faults.push_back(fault);
    }

    /// Asks `rule` before each call. It replaces the rule before it.
    pub fn fail_by(&self, rule: impl FnMut(&StoreCall<'_>) -> Option<Fault> + Send + 'static) {
        self.table().rule = Some(Box::new(rule));
    }

    /// Removes every fault.
    pub fn heal(&self) {
        let mut table = self.table();
        table.rule = None;
        table.faults.clear();
    }

    /// The rows as they are, by key.
    pub fn rows(&self) -> Vec<Lease> {
        self.table().rows.values().cloned().collect()
    }

    /// One row as it is.
    pub fn row(&self, key: &LeaseKey) -> Option<Lease> {
        self.table().rows.get(key).cloned()
    }

    /// Puts a row there, as somebody outside the protocol might.
    pub fn put_row(&self, lease: Lease) {
        self.table().rows.insert(lease.key.clone(), lease);
    }

    /// Deletes a row, as somebody outside the protocol might.
    pub fn remove_row(&self, key: &LeaseKey) -> Option<Lease> {
        self.table().rows.remove(key)
    }

    /// How many writes took effect, by the name of the operation.
    pub fn writes(&self) -> BTreeMap<&'static str, u64> {
        self.table().applied.clone()
    }

    /// How many calls were made, failed ones included.
    pub fn calls(&self) -> u64 {
        self.table().calls
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fault(&self, call: &StoreCall<'_>) -> Option<Fault> {
        let mut table = self.table();
        table.calls += 1;
        let next = match call {
            StoreCall::Write(..) => table.faults.pop_front(),
            StoreCall::List | StoreCall::Get(_) => None,
        };
        next.or_else(|| table.rule.as_mut().and_then(|rule| rule(call)))
    }

    #[expect(clippy::unused_async, reason = "one shape for every store behind the macro")]
    async fn prepare_table(&self) -> Result<(), LeaseStoreError> {
        Ok(())
    }

    async fn load_all(&self) -> Result<Vec<Lease>, LeaseStoreError> {
        before(self.fault(&StoreCall::List), false).await?;
        Ok(self.rows())
    }

    async fn load(&self, key: &LeaseKey) -> Result<Option<Lease>, LeaseStoreError> {
        before(self.fault(&StoreCall::Get(key)), false).await?;
        Ok(self.row(key))
    }

    async fn execute(
        &self,
        key: &LeaseKey,
        operation: Operation,
        stamp: Option<&Stamp>,
    ) -> Result<Write, LeaseStoreError> {
        let fault = self.fault(&StoreCall::Write(key, &operation));
        before(fault, true).await?;
        let name = operation.name();
        let write = CompareAndSetStore::new(Rows(self.clone())).execute(key, operation, stamp).await?;
        if write.is_applied() {
            *self.table().applied.entry(name).or_default() += 1;
        }
        match fault {
            Some(Fault::LoseAnswer) => Err(lost(true)),
            Some(Fault::HangAfter) => std::future::pending().await,
            _ => Ok(write),
        }
    }
}

/// What a fault does before any effect.
async fn before(fault: Option<Fault>, write: bool) -> Result<(), LeaseStoreError> {
    match fault {
        Some(Fault::LoseRequest) => Err(lost(write)),
        Some(Fault::LoseAnswer) if !write => Err(lost(false)),
        Some(Fault::Throttle) => Err(LeaseStoreError::Throttled { store: "memory".into() }),
        Some(Fault::HangAfter) if !write => std::future::pending().await,
        Some(Fault::Hang) => std::future::pending().await,
        _ => Ok(()),
    }
}

fn lost(may_have_been_written: bool) -> LeaseStoreError {
    let what = "the answer was lost by a fault that a test asked for".into();
    LeaseStoreError::Unavailable { store: "memory".into(), what, may_have_been_written, source: None }
}

impl fmt::Debug for MemoryLeaseStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLeaseStore").field("rows", &self.table().rows.len()).finish_non_exhaustive()
    }
}

lease_store_by_operation!([] MemoryLeaseStore);

/// The rows alone, without faults.
#[derive(Debug)]
struct Rows(MemoryLeaseStore);

#[async_trait]
impl CompareAndSet for Rows {
    async fn prepare(&self) -> Result<(), LeaseStoreError> {
        Ok(())
    }

    async fn load_all(&self) -> Result<Vec<Lease>, LeaseStoreError> {
        Ok(self.0.rows())
    }

    async fn load(&self, key: &LeaseKey) -> Result<Option<Lease>, LeaseStoreError> {
        Ok(self.0.row(key))
    }

    async fn replace(
        &self,
        key: &LeaseKey,
        expected: Option<&Lease>,
        new: Option<&Lease>,
    ) -> Result<bool, LeaseStoreError> {
        let mut table = self.0.table();
        if table.rows.get(key) != expected {
            return Ok(false);
        }
        match new {
            Some(row) => table.rows.insert(key.clone(), row.clone()),
            None => table.rows.remove(key),
        };
        Ok(true)
    }
}
