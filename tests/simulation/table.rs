//! The lease table of the simulation. Each worker has its own way to it, which loses, delays and repeats; every write
//! that takes effect is written down with the row before and after it, whatever its writer is told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use kcl::lease::{CompareAndSet, Lease, LeaseKey, LeaseStoreError};
use kinesis_shard::Freezer;
use tokio::sync::Notify;

use crate::common::World;
use crate::common::history::Event;

/// What goes wrong with one conditional write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableFault {
    /// Refused because of load.
    Throttle,
    /// No effect, and the caller cannot know.
    LoseRequest,
    /// Takes effect, and the caller cannot know.
    LoseAnswer,
    /// Takes effect this many milliseconds after the caller was told that it failed.
    Late(u64),
    /// Takes effect and is answered this many milliseconds later.
    Slow(u64),
    /// Takes effect twice, the second time this many milliseconds later.
    Twice(u64),
    /// Nobody ever answers; no effect.
    Hang,
    /// Nobody ever answers; it takes effect.
    HangAfter,
}

type Rows = Arc<Mutex<BTreeMap<LeaseKey, Lease>>>;

/// The table, as one worker reaches it.
#[derive(Clone)]
pub struct WorkerTable {
    world: World,
    worker: Arc<str>,
    rows: Rows,
    freezer: Freezer,
    state: Arc<Mutex<State>>,
    /// Rung when the write is made after which the worker is to die.
    pub crash: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    faults: Vec<TableFault>,
    /// Writes to go until the worker dies, and whether the last one takes effect.
    crash_in: Option<(u64, bool)>,
    cut: bool,
}

impl std::fmt::Debug for WorkerTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerTable").field("worker", &self.worker).finish_non_exhaustive()
    }
}

impl WorkerTable {
    pub fn new(world: &World, worker: &str, rows: &Rows, freezer: &Freezer) -> Self {
        Self {
            world: world.clone(),
            worker: worker.into(),
            rows: Arc::clone(rows),
            freezer: freezer.clone(),
            state: Arc::default(),
            crash: Arc::default(),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next writes of this worker go wrong like this, one after another.
    pub fn fail_next(&self, fault: TableFault, times: usize) {
        self.state().faults.extend(std::iter::repeat_n(fault, times));
    }

    pub fn heal(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.crash_in = None;
    }

    /// The worker dies at its `nth` write from now on: before it takes effect, or right after.
    pub fn crash_at_write(&self, nth: u64, after: bool) {
        self.state().crash_in = Some((nth, after));
    }

    /// Nothing gets through any more: the process is dead.
    pub fn cut(&self) {
        self.state().cut = true;
    }

    fn next_fault(&self) -> Option<TableFault> {
        let mut state = self.state();
        (!state.faults.is_empty()).then(|| state.faults.remove(0))
    }

    /// What the dying worker's write still does; `None`: it lives.
    fn last_write(&self) -> Option<bool> {
        let mut state = self.state();
        if state.cut {
            return Some(false);
        }
        let (left, after) = state.crash_in?;
        if left > 1 {
            state.crash_in = Some((left - 1, after));
            return None;
        }
        state.cut = true;
        Some(after)
    }

    /// The atomic step, and its entry in the history.
    fn write(&self, key: &LeaseKey, expected: Option<&Lease>, new: Option<&Lease>) -> bool {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        if rows.get(key) != expected {
            return false;
        }
        match new {
            Some(row) => rows.insert(key.clone(), row.clone()),
            None => rows.remove(key),
        };
        drop(rows);
        self.world.record(Event::TableWrite {
            worker: self.worker.to_string(),
            key: key.clone(),
            before: expected.cloned().map(Box::new),
            after: new.cloned().map(Box::new),
        });
        true
    }

    /// The same step later, whatever becomes of the caller: the request is on its way.
    fn write_later(&self, after: u64, key: &LeaseKey, expected: Option<&Lease>, new: Option<&Lease>) {
        let (table, key, expected, new) = (self.clone(), key.clone(), expected.cloned(), new.cloned());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(after)).await;
            table.write(&key, expected.as_ref(), new.as_ref());
        });
    }

    async fn settle<T>(&self, answer: Result<T, LeaseStoreError>) -> Result<T, LeaseStoreError> {
        tokio::time::sleep(Duration::from_millis(3)).await;
        self.freezer.thawed().await;
        answer
    }
}

fn lost() -> LeaseStoreError {
    LeaseStoreError::Unavailable {
        store: "table".into(),
        what: "the answer was lost".into(),
        may_have_been_written: true,
        source: None,
    }
}

#[async_trait]
impl CompareAndSet for WorkerTable {
    async fn prepare(&self) -> Result<(), LeaseStoreError> {
        Ok(())
    }

    async fn load_all(&self) -> Result<Vec<Lease>, LeaseStoreError> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        self.settle(Ok(rows)).await
    }

    async fn load(&self, key: &LeaseKey) -> Result<Option<Lease>, LeaseStoreError> {
        Ok(self.rows.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
    }

    async fn replace(
        &self,
        key: &LeaseKey,
        expected: Option<&Lease>,
        new: Option<&Lease>,
    ) -> Result<bool, LeaseStoreError> {
        if let Some(takes_effect) = self.last_write() {
            if takes_effect {
                self.write(key, expected, new);
            }
            self.crash.notify_one();
            return std::future::pending().await;
        }
        match self.next_fault() {
            None => {
                let done = self.write(key, expected, new);
                self.settle(Ok(done)).await
            }
            Some(TableFault::Throttle) => {
                self.settle(Err(LeaseStoreError::Throttled { store: "table".into() })).await
            }
            Some(TableFault::LoseRequest) => self.settle(Err(lost())).await,
            Some(TableFault::LoseAnswer) => {
                self.write(key, expected, new);
                self.settle(Err(lost())).await
            }
            Some(TableFault::Late(millis)) => {
                self.write_later(millis, key, expected, new);
                self.settle(Err(lost())).await
            }
            Some(TableFault::Slow(millis)) => {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                let done = self.write(key, expected, new);
                self.settle(Ok(done)).await
            }
            Some(TableFault::Twice(millis)) => {
                let done = self.write(key, expected, new);
                self.write_later(millis, key, expected, new);
                self.settle(Ok(done)).await
            }
            Some(TableFault::Hang) => std::future::pending().await,
            Some(TableFault::HangAfter) => {
                self.write(key, expected, new);
                std::future::pending().await
            }
        }
    }
}
