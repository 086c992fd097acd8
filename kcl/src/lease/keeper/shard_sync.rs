//! Compares the stream's shards with the table, and creates and deletes leases.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::stream::{self, StreamExt, TryStreamExt};
use kinesis_shard::{Checkpoint, ListShardsError, Shard, ShardId};

use super::KeeperError;
use crate::config::InitialPosition;
use crate::event::{ConsumerEvent, Events};
use crate::lease::calls::Calls;
use crate::lease::sync::{self, Absences};
use crate::lease::{Lease, LeaseKey, LeaseStoreError, NewLease, Operation, identity};
use crate::streams::{Gone, StreamWatch};

/// How many leases are created or deleted at one time.
const AT_ONE_TIME: usize = 16;

/// Which shards to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhichShards {
    /// Every shard that the service still knows.
    All,
    /// Those that hold the configured initial position: open now, at the trim horizon, or at the timestamp.
    AtInitialPosition,
}

/// The stream's shards, all pages.
#[async_trait]
pub(crate) trait ListShards: Send + Sync + std::fmt::Debug {
    async fn list_shards(&self, which: WhichShards) -> Result<Vec<Shard>, ListShardsError>;

    /// Which stream it is, in the words of `lease::identity`; none if that cannot be found out.
    async fn identity(&self) -> Result<Option<Arc<str>>, ListShardsError> {
        Ok(None)
    }

    /// Told when listings show that the stream is not there any more.
    fn gone(&self, _: Gone) {}
}

/// Why a sync did nothing, or not everything.
#[derive(Debug)]
pub(crate) enum SyncError {
    Store(LeaseStoreError),
    Shards(ListShardsError),
    /// The listing was made in the middle of a reshard.
    Inconsistent,
    /// The listing is of another stream of the same name.
    Replaced,
}

impl SyncError {
    /// Why it cannot ever succeed, if so.
    pub(crate) fn into_fatal(self) -> Result<KeeperError, Self> {
        match self {
            Self::Store(error) if !error.is_retryable() => Ok(KeeperError::Store(error)),
            Self::Shards(error) if !error.is_retryable() => Ok(KeeperError::Shards(error)),
            other => Err(other),
        }
    }
}

impl std::fmt::Display for SyncError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Shards(error) => error.fmt(f),
            Self::Inconsistent => {
                f.write_str("the listed shards do not fit together: a reshard is under way")
            }
            Self::Replaced => f.write_str("the stream was deleted and made again: its leases are left alone"),
        }
    }
}

impl From<LeaseStoreError> for SyncError {
    fn from(error: LeaseStoreError) -> Self {
        Self::Store(error)
    }
}

impl From<ListShardsError> for SyncError {
    fn from(error: ListShardsError) -> Self {
        Self::Shards(error)
    }
}

/// What a sync changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Synced {
    /// The shards that it saw.
    pub(crate) listed: BTreeSet<ShardId>,
    /// Those of them that have no lease, while a shard that came out of them has one: they were read and are done with.
    pub(crate) passed: BTreeSet<ShardId>,
    pub(crate) created: usize,
    pub(crate) deleted: usize,
}

/// The sync of one application with one stream.
#[derive(Debug)]
pub(crate) struct ShardSync {
    calls: Calls,
    shards: Arc<dyn ListShards>,
    initial: Checkpoint,
    /// What `AT_TIMESTAMP` means, milliseconds since the epoch.
    starts_at: Option<u64>,
    absences: Mutex<Absences>,
    watch: Mutex<StreamWatch>,
    events: Events,
    /// The stream part of the lease keys; empty in an application of one stream.
    part: Arc<str>,
}

impl ShardSync {
    pub(crate) fn new(
        calls: Calls,
        shards: Arc<dyn ListShards>,
        initial_position: InitialPosition,
        events: Events,
    ) -> Self {
        let initial = match initial_position {
            InitialPosition::TrimHorizon => Checkpoint::TrimHorizon,
            InitialPosition::Latest => Checkpoint::Latest,
            InitialPosition::AtTimestamp(_) => Checkpoint::AtTimestamp,
        };
        let starts_at = initial_position.start_millis();
        Self {
            calls,
            shards,
            initial,
            starts_at,
            absences: Mutex::default(),
            watch: Mutex::default(),
            events,
            part: "".into(),
        }
    }

    /// The same for one stream among several.
    pub(crate) fn for_stream(self, part: Arc<str>) -> Self {
        Self { part, ..self }
    }

    /// The stream, in the words of an event.
    pub(crate) fn stream(&self) -> Arc<str> {
        self.events.stream()
    }

    /// Makes sure that the leases, as they were found at the start, are of this stream, and that they say so from now on.
    pub(crate) async fn identify(&self, leases: &[Lease]) -> Result<(), SyncError> {
        let stream = self.shards.identity().await?;
        let mut contradiction = stream.as_deref().and_then(|stream| identity::contradiction(leases, stream));
        if contradiction.is_none() && identity::says_nothing(leases) {
            let listed = self.list(WhichShards::All).await?;
            contradiction = identity::contradiction_of_positions(leases, &listed);
        }
        if let Some(what) = contradiction {
            let store = "the lease table".into();
            return Err(LeaseStoreError::Unusable { store, what: what.into(), source: None }.into());
        }
        let Some(stream) = stream else { return Ok(()) };
        self.calls.is_of_stream(Arc::clone(&stream));
        let notes = identity::to_note(leases, &stream).into_iter();
        let notes = notes.map(|(key, note)| async move { self.calls.note(&key, &note).await });
        // A lease that is gone meanwhile says nothing, and needs not.
        stream::iter(notes).buffered(AT_ONE_TIME).try_for_each(|_| async { Ok(()) }).await?;
        Ok(())
    }

    /// One sync. Safe to run at any time and by any number of workers: creation is conditional, and so is deletion.
    pub(crate) async fn run(&self) -> Result<Synced, SyncError> {
        // The leases first: a shard that ends in between has its children in the listing already.
        let leases = self.calls.list().await?;
        self.run_on(&leases).await
    }

    /// The same with a table that was just read; rows of other streams are left alone.
    pub(crate) async fn run_on(&self, table: &[Lease]) -> Result<Synced, SyncError> {
        let own = table.iter().filter(|lease| *lease.key.stream_part() == *self.part);
        let leases: Vec<Lease> = own.cloned().collect();
        if leases.is_empty() {
            return self.begin().await;
        }
        let listed = self.list(WhichShards::All).await?;
        if !sync::is_consistent(&listed) {
            return Err(SyncError::Inconsistent);
        }
        let wanted = sync::leases_to_create(&listed, &leases, self.initial);
        let created =
            self.create(wanted, false).await? + self.create(sync::holes(&listed, &leases), true).await?;
        let needless = {
            let mut absences = self.absences.lock().unwrap_or_else(PoisonError::into_inner);
            let now = self.calls.clock().now();
            absences.record(&leases, &listed, now);
            sync::leases_to_delete(&leases, &listed, &absences, now)
        };
        let mut deleted = 0;
        for (key, expected) in needless {
            // Somebody else's write, or deletion, is no error: the next sync looks again.
            if self.calls.write(&key, &Operation::Delete { expected }).await?.is_applied() {
                deleted += 1;
                self.events.emit(ConsumerEvent::LeaseDeleted { shard: self.events.shard(&key) });
            }
        }
        Ok(Synced { listed: ids(&listed), passed: sync::passed(&listed, &leases), created, deleted })
    }

    /// The shards, unless they are of another stream by now.
    async fn list(&self, which: WhichShards) -> Result<Vec<Shard>, SyncError> {
        let listed = self.shards.list_shards(which).await;
        let gone = {
            let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
            match &listed {
                Ok(shards) => watch.listed(shards),
                Err(ListShardsError::NotFound { .. }) => watch.not_found(),
                Err(_) => None,
            }
        };
        if let Some(gone) = gone {
            self.shards.gone(gone);
        }
        if gone == Some(Gone::Replaced) { Err(SyncError::Replaced) } else { Ok(listed?) }
    }

    async fn begin(&self) -> Result<Synced, SyncError> {
        let listed = self.list(WhichShards::AtInitialPosition).await?;
        if !sync::covers_everything(&listed) {
            return Err(SyncError::Inconsistent);
        }
        let created = self.create(sync::first_leases(&listed, self.initial), false).await?;
        Ok(Synced { listed: ids(&listed), passed: BTreeSet::new(), created, deleted: 0 })
    }

    /// Creates in the given order, a few at a time; how many were not there.
    async fn create(&self, leases: Vec<NewLease>, hole: bool) -> Result<usize, LeaseStoreError> {
        let creations = leases.into_iter().map(|lease| async move {
            let key = LeaseKey::of_stream(&self.part, &lease.key.shard_id());
            let pinned_at = self.starts_at.filter(|_| lease.checkpoint == Checkpoint::AtTimestamp);
            let lease = NewLease { key, pinned_at, ..lease };
            let created = self.calls.create(&lease).await?;
            if created {
                let (shard, checkpoint) = (self.events.shard(&lease.key), lease.checkpoint);
                self.events.emit(ConsumerEvent::LeaseCreated { shard, checkpoint, hole });
            }
            Ok(created)
        });
        let created: Vec<bool> = stream::iter(creations).buffered(AT_ONE_TIME).try_collect().await?;
        Ok(created.into_iter().filter(|created| *created).count())
    }
}

fn ids(shards: &[Shard]) -> BTreeSet<ShardId> {
    shards.iter().map(|shard| shard.id.clone()).collect()
}
