use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_sdk_kinesis::Client;
use kinesis_shard::ListShardsError;
use tokio::sync::mpsc;

use super::StreamSet;
use crate::config::InitialPosition;
use crate::event::ConsumerEvent;
use crate::lease::keeper::{KeeperCommand, ListShards, Syncs};
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

/// Keeps what is read the same as what is wanted.
pub(crate) struct Follower {
    pub(crate) worker: Arc<Worker>,
    pub(crate) client: Client,
    pub(crate) set: StreamSet,
    pub(crate) readable: Arc<Readable>,
    pub(crate) syncs: Arc<Syncs>,
    pub(crate) keeper: mpsc::Sender<KeeperCommand>,
}

impl Follower {
    /// Until the worker shuts down.
    pub(crate) async fn run(self) {
        let worker = Arc::clone(&self.worker);
        // Names, with the stream part under which each is read.
        let mut followed: BTreeMap<Arc<str>, Arc<str>> = BTreeMap::new();
        // Told once that they do not exist.
        let mut missing: BTreeSet<Arc<str>> = BTreeSet::new();
        loop {
            // Before the set is read, so that a change meanwhile makes another turn.
            let (changes, vanished) = (self.set.changed().rings(), worker.streams.rings());
            let wanted = self.set.wanted();
            followed.retain(|name, part| {
                let stays = wanted.contains_key(name) && !self.has_vanished(part);
                if !stays {
                    self.leave(name, part, &mut missing);
                }
                stays
            });
            missing.retain(|name| wanted.contains_key(name));
            let before = followed.len();
            for (name, position) in &wanted {
                if !followed.contains_key(name)
                    && let Some(part) = self.follow(name, *position, &mut missing).await
                {
                    followed.insert(Arc::clone(name), part);
                }
            }
            if followed.len() > before && self.keeper.try_send(KeeperCommand::SyncShards).is_err() {
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
                () = worker.clock.sleep(pause), if followed.len() < wanted.len() => {}
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
        missing: &mut BTreeSet<Arc<str>>,
    ) -> Option<Arc<str>> {
        let mut config = (*self.worker.config).clone();
        config.stream = Arc::clone(name);
        config.initial_position = position.unwrap_or(config.initial_position);
        let transport = Arc::new(SdkTransport::new(&self.client, &config));
        let stream = Arc::clone(name);
        let identity = transport.identity().await;
        let part = match identity.map(|stream| stream.as_deref().and_then(identity::key_part)) {
            Ok(Some(part)) => part,
            Ok(None) => {
                let error =
                    "lease keys of several streams need the permission kinesis:DescribeStreamSummary".into();
                self.tell(ConsumerEvent::StreamNotReadable { stream, error });
                return None;
            }
            Err(ListShardsError::NotFound { .. }) => {
                if missing.insert(Arc::clone(name)) {
                    self.tell(ConsumerEvent::StreamVanished { stream });
                }
                return None;
            }
            Err(error) => {
                self.tell(ConsumerEvent::StreamNotReadable { stream, error: error.to_string().into() });
                return None;
            }
        };
        if let Err(error) = transport.prepare(config.retrieval_mode).await {
            self.tell(ConsumerEvent::StreamNotReadable { stream, error: error.to_string().into() });
            return None;
        }
        missing.remove(name);
        let initial_position = config.initial_position;
        let context = Context::new(Arc::clone(&self.worker), Arc::new(config), Arc::clone(&transport) as _);
        // What a gained lease is read with comes before what makes leases be gained.
        self.readable.insert(Arc::clone(&part), Arc::new(context));
        self.syncs.follow(Arc::clone(&part), name, transport, initial_position);
        self.tell(ConsumerEvent::StreamFollowed { stream });
        Some(part)
    }

    /// Ends the reading of a stream: no lease of it is taken any more, its shards are given back.
    fn leave(&self, name: &Arc<str>, part: &str, missing: &mut BTreeSet<Arc<str>>) {
        self.syncs.leave(part);
        let Some(context) = self.readable.remove(part) else { return };
        context.leave.ring();
        if context.has_vanished() {
            // That was told already.
            missing.insert(Arc::clone(name));
        } else {
            self.tell(ConsumerEvent::StreamLeft { stream: Arc::clone(name) });
        }
    }

    fn tell(&self, event: ConsumerEvent) {
        self.worker.reports.events.emit(event);
    }
}
