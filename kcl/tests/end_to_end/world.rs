//! A simulated stream, a lease table, and workers that write down every call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use kcl::{
    BoxError, Checkpoint, Checkpointer, ConsumerConfig, ConsumerEvent, EventSink, ExtendedSequenceNumber,
    InitializationInput, Lease, LeaseLostInput, LeaseStore, MemoryLeaseStore, ProcessRecordsInput,
    RecordProcessor, Scheduler, ShardEndedInput, ShardId, ShutdownRequestedInput, StreamShard, UserRecord,
};
use kinesis_shard::{AggregatedRecordWriter, Payload, parse_aggregated};
use kinesis_sim::Sim;
use tokio::time::Instant;

mod recorder;

pub(crate) use recorder::Nobody;
use recorder::Recorder;

pub(crate) const STREAM: &str = "orders";

/// One call of a processor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Initialize(Checkpoint),
    /// Each record handed over, in each attempt.
    Record {
        position: ExtendedSequenceNumber,
        text: String,
        attempt: u32,
    },
    LeaseLost,
    ShardEnded,
    ShutdownRequested,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) at: Instant,
    pub(crate) worker: String,
    /// Which processor: a new number for each tenure.
    pub(crate) tenure: usize,
    pub(crate) stream: Arc<str>,
    pub(crate) shard: ShardId,
    pub(crate) kind: Kind,
}

/// A pending checkpoint and the bytes left with it.
pub(crate) type Pending = (Checkpoint, Option<Vec<u8>>);

/// What the processors do with a batch, besides writing it down.
type Script = dyn Fn(&ProcessRecordsInput) -> Result<Act, BoxError> + Send + Sync;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    CheckpointBatch,
    CheckpointEachRecord,
    /// Checkpoint at this index of the batch, if it has one, and no further.
    CheckpointAt(usize),
    Nothing,
    /// Announce a checkpoint at the end of the batch, with a state, and do not make it.
    Prepare,
    /// Take this long, then checkpoint.
    Take(Duration),
    NeverReturn,
}

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) sim: Sim,
    pub(crate) store: MemoryLeaseStore,
    pub(crate) began: Instant,
    log: Arc<Mutex<Vec<Event>>>,
    news: Arc<Mutex<Vec<ConsumerEvent>>>,
    tenures: Arc<Mutex<usize>>,
    pending: Arc<Mutex<Vec<Pending>>>,
    script: Arc<Script>,
    /// Calls of `shard_ended` and `shutdown_requested` that go without a checkpoint first.
    pub(crate) unacknowledged_ends: Arc<Mutex<u32>>,
    /// How long `initialize` takes.
    pub(crate) initialize_takes: Arc<Mutex<Duration>>,
    producer: Client,
}

impl World {
    pub(crate) fn new(shard_count: u32) -> Self {
        Self::with_script(shard_count, |_| Ok(Act::CheckpointBatch))
    }

    pub(crate) fn with_script(
        shard_count: u32,
        script: impl Fn(&ProcessRecordsInput) -> Result<Act, BoxError> + Send + Sync + 'static,
    ) -> Self {
        let sim = Sim::new(11);
        if shard_count > 0 {
            sim.create_stream(STREAM, shard_count);
        }
        Self {
            producer: sim.client_named("producer"),
            sim,
            store: MemoryLeaseStore::new(),
            began: Instant::now(),
            log: Arc::default(),
            news: Arc::default(),
            tenures: Arc::default(),
            pending: Arc::default(),
            script: Arc::new(script),
            unacknowledged_ends: Arc::default(),
            initialize_takes: Arc::default(),
        }
    }

    /// The same stream, table and log, processed in another way.
    pub(crate) fn scripted(
        &self,
        script: impl Fn(&ProcessRecordsInput) -> Result<Act, BoxError> + Send + Sync + 'static,
    ) -> Self {
        Self { script: Arc::new(script), ..self.clone() }
    }

    pub(crate) fn config(worker: &str) -> ConsumerConfig {
        ConsumerConfig::new("app", STREAM, worker).with_seed(5)
    }

    pub(crate) async fn worker(&self, name: &str) -> Scheduler {
        self.configured(Self::config(name)).await
    }

    pub(crate) async fn configured(&self, config: ConsumerConfig) -> Scheduler {
        self.on_store(config, Arc::new(self.store.clone())).await
    }

    /// A worker whose leases are somewhere else than in the world's own table.
    pub(crate) async fn on_store(&self, config: ConsumerConfig, store: Arc<dyn LeaseStore>) -> Scheduler {
        let world = self.clone();
        let worker = config.worker_id().to_string();
        let client = self.sim.client_named(worker.clone());
        let news = Arc::clone(&self.news);
        let config =
            config.with_events(EventSink::hook(move |event| news.lock().unwrap().push(event.clone())));
        Scheduler::start(&client, config, store, move |shard| world.recorder(&worker, shard)).await.unwrap()
    }

    fn recorder(&self, worker: &str, shard: StreamShard) -> Recorder {
        let mut tenures = self.tenures.lock().unwrap();
        *tenures += 1;
        Recorder {
            world: self.clone(),
            worker: worker.to_owned(),
            tenure: *tenures,
            stream: shard.stream,
            shard: shard.shard_id,
        }
    }

    /// Puts one plain record per text.
    pub(crate) async fn put(&self, texts: impl IntoIterator<Item = String>) {
        for text in texts {
            let put = self.producer.put_record().stream_name(STREAM).partition_key(text.as_str());
            put.data(Blob::new(text.clone())).send().await.unwrap();
        }
    }

    /// Puts one aggregate of these texts.
    pub(crate) async fn put_aggregate(&self, texts: &[&str]) {
        let mut writer = AggregatedRecordWriter::new();
        for (key_hash, text) in (0..).zip(texts) {
            writer.push(text, key_hash, None, text.as_bytes());
        }
        let Payload::Aggregated(data) = writer.finish().payload else { panic!("too few members") };
        let put = self.producer.put_record().stream_name(STREAM).partition_key("a");
        put.data(Blob::new(data.to_vec())).send().await.unwrap();
    }

    /// The pending checkpoints that processors were initialized with.
    pub(crate) fn pending_found(&self) -> Vec<Pending> {
        self.pending.lock().unwrap().clone()
    }

    /// What the workers told about themselves, all of them together, in order.
    pub(crate) fn news(&self) -> Vec<ConsumerEvent> {
        self.news.lock().unwrap().clone()
    }

    /// The news in words.
    pub(crate) fn told(&self) -> Vec<String> {
        self.news().iter().map(ConsumerEvent::to_string).collect()
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.log.lock().unwrap().clone()
    }

    /// Every text handed over, in order of the calls.
    pub(crate) fn texts(&self) -> Vec<String> {
        let text = |event: Event| match event.kind {
            Kind::Record { text, .. } => Some(text),
            _ => None,
        };
        self.events().into_iter().filter_map(text).collect()
    }

    /// The same from one worker.
    pub(crate) fn texts_of(&self, worker: &str) -> Vec<String> {
        let text = |event: Event| match event.kind {
            Kind::Record { text, .. } if event.worker == worker => Some(text),
            _ => None,
        };
        self.events().into_iter().filter_map(text).collect()
    }

    /// The kinds of call other than records, of one shard, in order.
    pub(crate) fn life(&self, shard: u64) -> Vec<Kind> {
        let shard = ShardId::from_index(shard);
        let of_shard = |event: &Event| event.shard == shard && !matches!(event.kind, Kind::Record { .. });
        self.events().into_iter().filter(of_shard).map(|event| event.kind).collect()
    }

    /// The row of a shard.
    pub(crate) fn row(&self, shard: u64) -> Lease {
        let key = kcl::LeaseKey::from(&ShardId::from_index(shard));
        self.store.row(&key).unwrap_or_else(|| panic!("shard {shard} has no lease"))
    }

    /// What `LATEST` means for the first shard, if that is written down.
    pub(crate) fn pin(&self) -> Option<u64> {
        self.store.row(&kcl::LeaseKey::from(&ShardId::from_index(0)))?.latest_pinned_at
    }

    /// Waits in virtual time, at most ten minutes.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        for _ in 0..60_000 {
            if holds(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not within ten minutes: {what}; events: {:#?}", self.events());
    }

    pub(crate) async fn until_delivered(&self, count: usize) {
        let distinct = |world: &Self| world.texts().into_iter().collect::<BTreeSet<_>>().len();
        self.until(&format!("{count} records delivered"), |world| distinct(world) >= count).await;
    }

    /// C1, C2 and C12 over the whole log; call it last.
    pub(crate) fn check(&self) {
        let delivered: BTreeSet<String> = self.texts().into_iter().collect();
        let mut stored = BTreeSet::new();
        for record in self.sim.stored(STREAM) {
            match parse_aggregated(&record.data) {
                kinesis_shard::ParsedRecord::Aggregated(members) => {
                    stored.extend(
                        members.iter().map(|member| String::from_utf8(member.data.to_vec()).unwrap()),
                    );
                }
                kinesis_shard::ParsedRecord::Plain(_) => {
                    stored.insert(String::from_utf8_lossy(&record.data).into_owned());
                }
            }
        }
        assert_eq!(delivered, stored, "what was put and what was delivered differ");
        self.check_order();
    }

    /// In a tenure positions only grow (but for repeated attempts), and nothing follows the last call.
    pub(crate) fn check_order(&self) {
        let mut last: BTreeMap<usize, ExtendedSequenceNumber> = BTreeMap::new();
        let mut over = BTreeSet::new();
        for event in self.events() {
            assert!(!over.contains(&event.tenure), "a call after the last one: {event:?}");
            match event.kind {
                Kind::Record { position, attempt: 1, .. } => {
                    let before = last.insert(event.tenure, position);
                    assert!(before.is_none_or(|before| before < position), "out of order: {position:?}");
                }
                Kind::LeaseLost => {
                    over.insert(event.tenure);
                }
                _ => {}
            }
        }
    }
}

pub(crate) fn text_of(record: &UserRecord) -> String {
    String::from_utf8_lossy(record.data()).into_owned()
}

/// The texts `from..to`, padded so that they sort.
pub(crate) fn texts(from: u32, to: u32) -> Vec<String> {
    (from..to).map(|index| format!("uid-{index:05}")).collect()
}
