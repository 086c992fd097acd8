//! The lease table of the simulation. Each worker has its own way to it, which loses, delays and repeats; every write
//! that takes effect is written down with the row before and after it, whatever its writer is told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use kcl::WorkerId;
use kcl::lease::rules::{self, Verdict};
use kcl::lease::{
    CheckpointUpdate, Lease, LeaseCounter, LeaseKey, LeaseStore, LeaseStoreError, MetaUpdate, NewLease,
    Operation, Owners, Stamp, Write,
};
use kinesis_shard::Freezer;
use kinesis_sim::SimDynamoDb;
use tokio::sync::Notify;

use super::dynamo;
use crate::common::history::Event;
use crate::common::{World, streams};

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
    /// Takes effect at once and is answered this many milliseconds later.
    SlowAnswer(u64),
    /// Takes effect twice, the second time this many milliseconds later.
    Twice(u64),
    /// Nobody ever answers; no effect.
    Hang,
    /// Nobody ever answers; it takes effect.
    HangAfter,
}

pub type Rows = Arc<Mutex<BTreeMap<LeaseKey, Lease>>>;

/// The table, as one worker reaches it.
#[derive(Clone)]
pub struct WorkerTable {
    world: World,
    worker: Arc<str>,
    rows: Rows,
    /// Where the rows are instead, if they are not here.
    double: Option<SimDynamoDb>,
    freezer: Freezer,
    state: Arc<Mutex<State>>,
    /// Rung when the write is made after which the worker is to die.
    pub crash: Arc<Notify>,
}

/// One write on its way.
#[derive(Debug, Clone)]
struct Request {
    operation: Operation,
    stamp: Option<Stamp>,
    sent: u64,
}

#[derive(Debug, Default)]
struct State {
    faults: Vec<TableFault>,
    /// Writes to go until the worker dies, and whether the last one takes effect.
    crash_in: Option<(u64, bool)>,
    cut: bool,
    last_fault: Option<u64>,
}

impl std::fmt::Debug for WorkerTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerTable").field("worker", &self.worker).finish_non_exhaustive()
    }
}

impl WorkerTable {
    pub fn new(
        world: &World,
        worker: &str,
        rows: &Rows,
        double: Option<&SimDynamoDb>,
        freezer: &Freezer,
    ) -> Self {
        Self {
            world: world.clone(),
            worker: worker.into(),
            rows: Arc::clone(rows),
            double: double.cloned(),
            freezer: freezer.clone(),
            state: Arc::default(),
            crash: Arc::default(),
        }
    }

    /// What the worker is given as its lease store.
    pub fn store(&self) -> Arc<dyn LeaseStore> {
        match &self.double {
            None => Arc::new(self.clone()),
            Some(tables) => Arc::new(dynamo::store(self, tables)),
        }
    }

    pub fn worker(&self) -> &str {
        &self.worker
    }

    pub fn is_cut(&self) -> bool {
        self.state().cut
    }

    /// The way back: an answer comes when its process runs.
    pub async fn settled(&self) {
        tokio::time::sleep(Duration::from_millis(3)).await;
        self.freezer.thawed().await;
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

    /// Whether no write goes wrong, now or soon, and none did lately.
    pub fn is_healthy(&self) -> bool {
        let (state, now) = (self.state(), self.world.now_millis());
        state.faults.is_empty() && state.last_fault.is_none_or(|at| now > at + 40_000)
    }

    /// Nothing gets through any more: the process is dead.
    pub fn cut(&self) {
        self.state().cut = true;
    }

    pub fn next_fault(&self) -> Option<TableFault> {
        let mut state = self.state();
        if state.faults.is_empty() {
            return None;
        }
        state.last_fault = Some(self.world.now_millis());
        Some(state.faults.remove(0))
    }

    /// What the dying worker's write still does; `None`: it lives.
    pub fn last_write(&self) -> Option<bool> {
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

    /// The atomic step, judged by the row as it is when the request arrives, and its entry in the history.
    fn apply(&self, key: &LeaseKey, request: &Request) -> Write {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let before = rows.get(key).cloned();
        let after = match rules::apply(before.as_ref(), &request.operation) {
            Verdict::Refused => return Write::Refused(before),
            Verdict::Becomes(after) => Some(rules::stamped(after, request.stamp.as_ref())),
            Verdict::Deleted => None,
        };
        match &after {
            Some(row) => rows.insert(key.clone(), row.clone()),
            None => rows.remove(key),
        };
        drop(rows);
        let answer = after.clone().or_else(|| before.clone());
        self.world.record(Event::TableWrite {
            worker: self.worker.to_string(),
            key: streams::key(key),
            sent: request.sent,
            before: before.map(|row| Box::new(streams::named(&row))),
            after: after.map(|row| Box::new(streams::named(&row))),
        });
        Write::Applied(answer.expect("a row was there before or is now"))
    }

    /// The same step later, whatever becomes of the caller: the request is on its way.
    fn apply_later(&self, millis: u64, key: &LeaseKey, request: &Request) {
        let (table, key, request) = (self.clone(), key.clone(), request.clone());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            drop(table.apply(&key, &request));
        });
    }

    async fn execute(&self, key: &LeaseKey, operation: Operation) -> Result<Write, LeaseStoreError> {
        self.write(key, operation, None).await
    }

    async fn send(&self, key: &LeaseKey, request: Request) -> Result<Write, LeaseStoreError> {
        if let Some(takes_effect) = self.last_write() {
            if takes_effect {
                drop(self.apply(key, &request));
            }
            self.crash.notify_one();
            return std::future::pending().await;
        }
        match self.next_fault() {
            None => {
                let done = self.apply(key, &request);
                self.settle(Ok(done)).await
            }
            Some(TableFault::Throttle) => {
                self.settle(Err(LeaseStoreError::Throttled { store: "table".into() })).await
            }
            Some(TableFault::LoseRequest) => self.settle(Err(lost())).await,
            Some(TableFault::LoseAnswer) => {
                drop(self.apply(key, &request));
                self.settle(Err(lost())).await
            }
            Some(TableFault::Late(millis)) => {
                self.apply_later(millis, key, &request);
                self.settle(Err(lost())).await
            }
            Some(TableFault::Slow(millis)) => {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                let done = self.apply(key, &request);
                self.settle(Ok(done)).await
            }
            Some(TableFault::SlowAnswer(millis)) => {
                let done = self.apply(key, &request);
                tokio::time::sleep(Duration::from_millis(millis)).await;
                self.settle(Ok(done)).await
            }
            Some(TableFault::Twice(millis)) => {
                let done = self.apply(key, &request);
                self.apply_later(millis, key, &request);
                self.settle(Ok(done)).await
            }
            Some(TableFault::Hang) => std::future::pending().await,
            Some(TableFault::HangAfter) => {
                drop(self.apply(key, &request));
                std::future::pending().await
            }
        }
    }

    async fn settle<T>(&self, answer: Result<T, LeaseStoreError>) -> Result<T, LeaseStoreError> {
        self.settled().await;
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
impl LeaseStore for WorkerTable {
    async fn prepare(&self) -> Result<(), LeaseStoreError> {
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Lease>, LeaseStoreError> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        self.settle(Ok(rows)).await
    }

    async fn get(&self, key: &LeaseKey) -> Result<Option<Lease>, LeaseStoreError> {
        Ok(self.rows.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
    }

    async fn write(
        &self,
        key: &LeaseKey,
        operation: Operation,
        stamp: Option<&Stamp>,
    ) -> Result<Write, LeaseStoreError> {
        let request = Request { operation, stamp: stamp.copied(), sent: self.world.now_millis() };
        self.send(key, request).await
    }

    async fn create_if_absent(&self, lease: NewLease) -> Result<bool, LeaseStoreError> {
        let key = lease.key.clone();
        Ok(self.execute(&key, Operation::Create(lease)).await?.is_applied())
    }

    async fn renew(
        &self,
        key: &LeaseKey,
        expected: LeaseCounter,
        during_handoff: bool,
    ) -> Result<Write, LeaseStoreError> {
        self.execute(key, Operation::Renew { expected, during_handoff }).await
    }

    async fn take(
        &self,
        key: &LeaseKey,
        expected: LeaseCounter,
        worker: &WorkerId,
    ) -> Result<Write, LeaseStoreError> {
        self.execute(key, Operation::Take { expected, worker: worker.clone() }).await
    }

    async fn assign(
        &self,
        key: &LeaseKey,
        expected: &Owners,
        worker: &WorkerId,
    ) -> Result<Write, LeaseStoreError> {
        self.execute(key, Operation::Assign { expected: expected.clone(), worker: worker.clone() }).await
    }

    async fn start_handoff(
        &self,
        key: &LeaseKey,
        from: &WorkerId,
        to: &WorkerId,
    ) -> Result<Write, LeaseStoreError> {
        self.execute(key, Operation::StartHandoff { from: from.clone(), to: to.clone() }).await
    }

    async fn end_handoff(
        &self,
        key: &LeaseKey,
        expected: &Owners,
        owner: &WorkerId,
    ) -> Result<Write, LeaseStoreError> {
        self.execute(key, Operation::EndHandoff { expected: expected.clone(), owner: owner.clone() }).await
    }

    async fn release(
        &self,
        key: &LeaseKey,
        expected: &Owners,
        counter: LeaseCounter,
    ) -> Result<Write, LeaseStoreError> {
        self.execute(key, Operation::Release { expected: expected.clone(), counter }).await
    }

    async fn checkpoint(
        &self,
        key: &LeaseKey,
        expected: LeaseCounter,
        update: CheckpointUpdate,
    ) -> Result<Write, LeaseStoreError> {
        self.execute(key, Operation::Checkpoint { expected, update }).await
    }

    async fn update_meta(&self, key: &LeaseKey, update: MetaUpdate) -> Result<Write, LeaseStoreError> {
        self.execute(key, Operation::UpdateMeta(update)).await
    }

    async fn delete(&self, key: &LeaseKey, expected: LeaseCounter) -> Result<Write, LeaseStoreError> {
        self.execute(key, Operation::Delete { expected }).await
    }
}
