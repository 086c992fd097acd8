use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use aws_sdk_kinesis::Client;
use kinesis_shard::{ListShardsError, Shard};
use tokio::sync::mpsc;

use super::{Gone, StreamSet};
use crate::config::InitialPosition;
use crate::event::ConsumerEvent;
use crate::lease::keeper::{KeeperCommand, ListShards, Syncs, WhichShards};
use crate::lease::{LeaseKey, identity};
use crate::shard_task::{Context, Worker};
use crate::transport::SdkTransport;

/// The streams that are read, by the stream part of their lease keys; the part is empty in an application of one stream.
#[derive(Default)]
pub(crate) struct Readable(Mutex<BTreeMap<Arc<str>, Arc<Context>>>);

impl Readable {
    fn by_part(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Arc<Context>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn insert(&self, part: Arc<str>, context: Arc<Context>) {
        self.by_part().insert(part, context);
    }

    fn remove(&self, part: &str) -> Option<Arc<Context>> {
        self.by_part().remove(part)
    }

    /// What the shard of this lease is read with, if its stream is read.
    pub(crate) fn of(&self, key: &LeaseKey) -> Option<Arc<Context>> {
        self.by_part().get(key.stream_part()).cloned()
    }
}

/// The shards of a stream, for the sync of its leases.
#[derive(Debug)]
pub(crate) struct Listings {
    pub(crate) transport: Arc<SdkTransport>,
    pub(crate) context: Arc<Context>,
}

#[async_trait]
impl ListShards for Listings {
    async fn list_shards(&self, which: WhichShards) -> Result<Vec<Shard>, ListShardsError> {
        self.transport.list_shards(which).await
    }

    async fn identity(&self) -> Result<Option<Arc<str>>, ListShardsError> {
        self.transport.identity().await
    }

    fn gone(&self, gone: Gone) {
        self.context.stream_gone(gone);
    }
}

/// Keeps what is read the same as what is wanted.
pub(crate) struct Follower {
    pub(crate) worker: Arc<Worker>,
    pub(crate) client: Client,
    pub(crate) set: StreamSet,
    pub(crate) readable: Arc<Readable>,
    pub(crate) syncs: Arc<Syncs>,
    pub(crate) keeper: mpsc::Sender<KeeperCommand>,
}

/// What became of the wanted streams, by name.
#[derive(Debug, Default)]
struct Book {
    /// With the stream part of the lease keys under which each is read.
    followed: BTreeMap<Arc<str>, Arc<str>>,
    /// Told once that they do not exist.
    missing: BTreeSet<Arc<str>>,
    /// They went while they were read, with the part under which they were.
    gone: BTreeMap<Arc<str>, Arc<str>>,
}

impl Follower {
    /// Until the worker shuts down.
    pub(crate) async fn run(self) {
        let worker = Arc::clone(&self.worker);
        let mut book = Book::default();
        loop {
            // Before the set is read, so that a change meanwhile makes another turn.
            let (changes, vanished) = (self.set.changed().rings(), worker.streams.rings());
            let wanted = self.set.wanted();
            for (name, part) in std::mem::take(&mut book.followed) {
                if wanted.contains_key(&name) && !self.has_vanished(&part) {
                    book.followed.insert(name, part);
                } else {
                    self.leave(name, part, &mut book);
                }
            }
            book.missing.retain(|name| wanted.contains_key(name));
            book.gone.retain(|name, _| wanted.contains_key(name));
            let before = book.followed.len();
            for (name, position) in &wanted {
                if !book.followed.contains_key(name)
                    && let Some(part) = self.follow(name, *position, &mut book).await
                {
                    book.followed.insert(Arc::clone(name), part);
                }
            }
            if book.followed.len() > before && self.keeper.try_send(KeeperCommand::SyncShards).is_err() {
                tracing::debug!("the lease keeper takes no command now, it syncs at its interval");
            }
            // Streams that could not be read yet are tried again at the interval of the shard sync.
            let pause = worker.config.shard_sync_interval;
            tokio::select! {
                // Nothing starves: each of them only makes the loop look again.
                biased;
                () = worker.shutdown.rung() => return,
                _ = self.set.changed().beyond(changes) => {}
                _ = worker.streams.beyond(vanished) => {}
                () = worker.clock.sleep(pause), if book.followed.len() < wanted.len() => {}
            }
        }
    }

    fn has_vanished(&self, part: &Arc<str>) -> bool {
        self.readable.of(&LeaseKey::new(format!("{part}:"))).is_none_or(|context| context.has_vanished())
    }

    /// Begins to read a stream; the stream part of its lease keys.
    async fn follow(
        &self,
        name: &Arc<str>,
        position: Option<InitialPosition>,
        book: &mut Book,
    ) -> Option<Arc<str>> {
        let mut config = (*self.worker.config).clone();
        config.stream = Arc::clone(name);
        config.initial_position = position.unwrap_or(config.initial_position);
        let transport = SdkTransport::new(&self.client, &config);
        let part = self.identify(name, &transport, book).await?;
        match book.gone.remove(name) {
            // It looks as before: listings that did not find it, or this answer, are behind. Another look will tell.
            Some(before) if before == part => return None,
            // Made again while it was being read: nothing that was put since may be missed.
            Some(_) if config.initial_position == InitialPosition::Latest => {
                config.initial_position = InitialPosition::TrimHorizon;
            }
            _ => {}
        }
        let transport = Arc::new(SdkTransport::new(&self.client, &config));
        if let Err(error) = transport.prepare(config.retrieval_mode).await {
            let (stream, error) = (Arc::clone(name), error.to_string().into());
            self.tell(ConsumerEvent::StreamNotReadable { stream, error });
            return None;
        }
        book.missing.remove(name);
        let initial_position = config.initial_position;
        let context = Context::new(Arc::clone(&self.worker), Arc::new(config), Arc::clone(&transport) as _);
        let context = Arc::new(context);
        // What a gained lease is read with comes before what makes leases be gained.
        self.readable.insert(Arc::clone(&part), Arc::clone(&context));
        let listings = Arc::new(Listings { transport, context });
        self.syncs.follow(Arc::clone(&part), name, listings, initial_position);
        self.tell(ConsumerEvent::StreamFollowed { stream: Arc::clone(name) });
        Some(part)
    }

    /// Which stream has this name now: the stream part of its lease keys.
    async fn identify(&self, name: &Arc<str>, transport: &SdkTransport, book: &mut Book) -> Option<Arc<str>> {
        let stream = Arc::clone(name);
        let error = match transport.identity().await {
            Ok(identity) => match identity.as_deref().and_then(identity::key_part) {
                Some(part) => return Some(part),
                None => {
                    "lease keys of several streams need the permission kinesis:DescribeStreamSummary".into()
                }
            },
            Err(ListShardsError::NotFound { .. }) => {
                if book.missing.insert(Arc::clone(name)) {
                    self.tell(ConsumerEvent::StreamVanished { stream });
                }
                return None;
            }
            Err(error) => error.to_string().into(),
        };
        self.tell(ConsumerEvent::StreamNotReadable { stream, error });
        None
    }

    /// Ends the reading of a stream: no lease of it is taken any more, its shards are given back.
    fn leave(&self, name: Arc<str>, part: Arc<str>, book: &mut Book) {
        self.syncs.leave(&part);
        let Some(context) = self.readable.remove(&part) else { return };
        context.leave.ring();
        if context.has_vanished() {
            // That was told already.
            book.missing.insert(Arc::clone(&name));
            book.gone.insert(name, part);
        } else {
            self.tell(ConsumerEvent::StreamLeft { stream: name });
        }
    }

    fn tell(&self, event: ConsumerEvent) {
        self.worker.reports.events.emit(event);
    }
}
