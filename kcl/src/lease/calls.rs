//! Calls to the lease store, each given up after its time.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use kinesis_shard::{Backoff, Clock};

use crate::stats::Stats;

use super::stamp::Stamper;
use super::{Lease, LeaseKey, LeaseStore, LeaseStoreError, MetaUpdate, NewLease, Operation, WorkerId, Write};

/// How often a call that changes nothing when repeated is tried before its error is told.
const ATTEMPTS: u32 = 4;

/// The store, as keeper and held leases use it.
#[derive(Debug, Clone)]
pub(crate) struct Calls {
    store: Arc<dyn LeaseStore>,
    clock: Clock,
    timeout: Duration,
    seed: u64,
    /// The stream that the table is of, once that is known.
    stream: Arc<OnceLock<Arc<str>>>,
    stats: Arc<Stats>,
    /// Stamps what is written, once the table was seen.
    stamper: Arc<OnceLock<Stamper>>,
}

impl Calls {
    pub(crate) fn new(store: Arc<dyn LeaseStore>, clock: Clock, timeout: Duration, seed: u64) -> Self {
        Self {
            store,
            clock,
            timeout,
            seed,
            stream: Arc::default(),
            stats: Arc::default(),
            stamper: Arc::default(),
        }
    }

    /// The same, counted here.
    pub(crate) fn counted(self, stats: Arc<Stats>) -> Self {
        Self { stats, ..self }
    }

    /// Leases created from now on say which stream they are of. The first call counts.
    pub(crate) fn is_of_stream(&self, stream: Arc<str>) {
        self.stream.get_or_init(|| stream);
    }

    /// Writes are stamped from now on. `table`: as it was before this worker wrote anything. The first call counts.
    pub(crate) fn stamp_for(&self, worker: &WorkerId, table: &[Lease]) {
        let now = self.clock.now();
        self.stamper.get_or_init(|| Stamper::new(worker, self.seed, table, now));
    }

    /// Whether the last write of an owner was another process's, as far as stamps tell.
    pub(crate) fn is_of_another_process(&self, row: &Lease) -> bool {
        self.stamper.get().is_some_and(|stamper| stamper.is_of_another(row))
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Pauses between attempts on one row; from the seed and the key, so that rows do not try in step.
    pub(crate) fn backoff(&self, key: &LeaseKey) -> Backoff {
        let salt = key.as_str().bytes().fold(self.seed, |sum, byte| sum.rotate_left(5) ^ u64::from(byte));
        Backoff::new(self.timeout / 40, self.timeout, 2.0, salt)
    }

    pub(crate) async fn prepare(&self) -> Result<(), LeaseStoreError> {
        // Creating a table may take minutes: the store itself knows how long to wait.
        self.store.prepare().await
    }

    pub(crate) async fn list(&self) -> Result<Vec<Lease>, LeaseStoreError> {
        // A large table is read page by page: its time grows with it, so only a dead connection is cut off here.
        let sent_at = self.clock.now();
        let listed = self.within(self.timeout * 5, "a listing", self.store.list()).await;
        self.stats.leases.listed(self.since(sent_at), listed.is_ok());
        listed
    }

    /// The same for one who can do without.
    pub(crate) async fn list_briefly(&self) -> Result<Vec<Lease>, LeaseStoreError> {
        self.within(self.timeout, "a listing", self.store.list()).await
    }

    /// What the latest listing passed over.
    pub(crate) fn broken_leases(&self) -> Vec<LeaseStoreError> {
        self.store.broken_leases()
    }

    pub(crate) async fn get(&self, key: &LeaseKey) -> Result<Option<Lease>, LeaseStoreError> {
        self.repeated(key, || self.within(self.timeout, "a read", self.store.get(key))).await
    }

    /// A row, possibly as it was a moment ago. Tried once: the next look is not far.
    pub(crate) async fn peek(&self, key: &LeaseKey) -> Result<Option<Lease>, LeaseStoreError> {
        self.within(self.timeout, "a look", self.store.peek(key)).await
    }

    /// Creates a lease if there is none. Tried again when in doubt: a second creation changes nothing.
    pub(crate) async fn create(&self, lease: &NewLease) -> Result<bool, LeaseStoreError> {
        let mut lease = lease.clone();
        if lease.stream.is_none() && lease.key.stream_identifier().is_none() {
            lease.stream = self.stream.get().cloned();
        }
        let create = || async {
            let sent_at = self.clock.now();
            let call = self.store.create_if_absent(lease.clone());
            let created = self.within(self.timeout, "a creation", call).await;
            self.stats.leases.created(self.since(sent_at), matches!(created, Ok(true)));
            created
        };
        self.repeated(&lease.key, create).await
    }

    /// Notes what is known about the shard. Tried again when in doubt.
    pub(crate) async fn note(&self, key: &LeaseKey, update: &MetaUpdate) -> Result<Write, LeaseStoreError> {
        let note = || self.within(self.timeout, "a note", self.store.update_meta(key, update.clone()));
        self.repeated(key, note).await
    }

    /// One conditional write, tried once: what to do in doubt is for the caller's rules.
    pub(crate) async fn write(
        &self,
        key: &LeaseKey,
        operation: &Operation,
    ) -> Result<Write, LeaseStoreError> {
        let sent_at = self.clock.now();
        let stamp = self.stamper.get().and_then(|stamper| stamper.stamp(operation, sent_at));
        let call = self.store.write(key, operation.clone(), stamp.as_ref());
        let answer = self.within(self.timeout, operation.name(), call).await;
        self.stats.leases.wrote(operation, self.since(sent_at), &answer);
        answer
    }

    fn since(&self, sent_at: Instant) -> Duration {
        self.clock.now().saturating_duration_since(sent_at)
    }

    async fn repeated<T, F>(&self, key: &LeaseKey, call: impl Fn() -> F + Send) -> Result<T, LeaseStoreError>
    where
        F: Future<Output = Result<T, LeaseStoreError>> + Send,
        T: Send,
    {
        let mut backoff = self.backoff(key);
        for _ in 1..ATTEMPTS {
            match call().await {
                Err(error) if error.is_retryable() => {
                    tracing::debug!(lease_key = %key, %error, "lease store call failed, trying again");
                    self.clock.sleep_until(self.clock.now() + backoff.next_delay()).await;
                }
                answer => return answer,
            }
        }
        call().await
    }

    async fn within<T>(
        &self,
        time: Duration,
        what: &str,
        call: impl Future<Output = Result<T, LeaseStoreError>> + Send,
    ) -> Result<T, LeaseStoreError> {
        let deadline = self.clock.now() + time;
        tokio::select! {
            // The answer first: one that arrived together with the deadline is better than a doubt.
            biased;
            answer = call => answer,
            () = self.clock.sleep_until(deadline) => Err(LeaseStoreError::timed_out(what)),
        }
    }
}
