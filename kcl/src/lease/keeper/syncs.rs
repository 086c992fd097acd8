//! The shard syncs of all streams of an application, over one table.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::stream::{self, StreamExt};

use super::shard_sync::{ListShards, ShardSync, SyncError, Synced};
use crate::config::InitialPosition;
use crate::event::{ConsumerEvent, Events};
use crate::lease::calls::Calls;
use crate::lease::identity::{self, OtherForm};
use crate::lease::{Lease, LeaseKey, LeaseStoreError};

/// How many streams are compared at one time: each listing takes a share of the account's rate.
const AT_ONE_TIME: usize = 8;

/// The streams that are read, by the stream part of their lease keys. Leases of other streams are left alone.
#[derive(Debug)]
pub(crate) struct Syncs {
    calls: Calls,
    events: Events,
    by_stream: Mutex<BTreeMap<Arc<str>, Arc<ShardSync>>>,
    /// An application of one stream stops when that cannot be listed; one of several goes on with the others.
    several: bool,
}

impl Syncs {
    pub(crate) fn new(calls: Calls, events: Events, several: bool) -> Self {
        Self { calls, events, by_stream: Mutex::default(), several }
    }

    fn by_stream(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Arc<ShardSync>>> {
        self.by_stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a stream from now on. `part` is empty in an application of one stream.
    pub(crate) fn follow(
        &self,
        part: Arc<str>,
        name: &Arc<str>,
        shards: Arc<dyn ListShards>,
        initial_position: InitialPosition,
    ) {
        let (calls, events) = (self.calls.clone(), self.events.of_stream(name));
        let sync = ShardSync::new(calls, shards, initial_position, events).for_stream(Arc::clone(&part));
        self.by_stream().insert(part, Arc::new(sync));
    }

    /// Leaves a stream alone from now on.
    pub(crate) fn leave(&self, part: &str) {
        self.by_stream().remove(part);
    }

    /// The sync of a lease's stream, if that is read.
    pub(crate) fn of(&self, key: &LeaseKey) -> Option<Arc<ShardSync>> {
        self.by_stream().get(key.stream_part()).cloned()
    }

    /// The leases of the streams that are read.
    pub(crate) fn followed(&self, mut leases: Vec<Lease>) -> Vec<Lease> {
        let by_stream = self.by_stream();
        leases.retain(|lease| by_stream.contains_key(lease.key.stream_part()));
        leases
    }

    /// Makes sure that the leases found at the start are of this form of application, and of the one stream. Of several, each
    /// key says which it is.
    pub(crate) async fn identify(&self, leases: &[Lease]) -> Result<(), SyncError> {
        match identity::other_form(leases, self.several) {
            Some(OtherForm::Alone(what)) => {
                let store = "the lease table".into();
                return Err(LeaseStoreError::Unusable { store, what: what.into(), source: None }.into());
            }
            Some(OtherForm::Beside { count, example }) => {
                self.events.emit(ConsumerEvent::LeasesOfAnotherForm { count, example });
            }
            None => {}
        }
        let sync = self.by_stream().get("").cloned();
        match sync {
            Some(sync) => sync.identify(leases).await,
            None => Ok(()),
        }
    }

    /// One sync of every stream, with a listing of its own.
    pub(crate) async fn run(&self) -> Result<Synced, SyncError> {
        // Once for all of them, and before any listing: a shard that ends in between has its children there already.
        let leases = self.calls.list().await?;
        self.run_on(&leases).await
    }

    /// The same with a table that was just read. Of several streams, one that fails is told and holds up no other.
    pub(crate) async fn run_on(&self, leases: &[Lease]) -> Result<Synced, SyncError> {
        let syncs: Vec<Arc<ShardSync>> = self.by_stream().values().cloned().collect();
        let runs = syncs.into_iter().map(|sync| async move {
            let result = sync.run_on(leases).await;
            (sync, result)
        });
        let mut all = Synced::default();
        let mut runs = stream::iter(runs).buffered(AT_ONE_TIME);
        while let Some((sync, result)) = runs.next().await {
            match result {
                Ok(synced) => {
                    all.listed.extend(synced.listed);
                    all.passed.extend(synced.passed);
                    all.created += synced.created;
                    all.deleted += synced.deleted;
                }
                Err(error) if !self.several => return Err(error),
                Err(error) => self.events.emit(ConsumerEvent::ShardSyncFailed {
                    stream: sync.stream(),
                    error: error.to_string().into(),
                }),
            }
        }
        Ok(all)
    }
}
