//! Whole workers on an engine in this process, on virtual time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, ShardIteratorType};
use bench::{live_bytes, most_bytes, thread_time};
use kcl::{
    BoxError, ConsumerConfig, InitializationInput, LeaseLostInput, MemoryLeaseStore, ProcessRecordsInput,
    RecordProcessor, RetrievalMode, Scheduler, ShardEndedInput, ShutdownRequestedInput,
};
use kinesis_shard::{AggregatedRecordWriter, HashKey, Payload};
use kinesis_sim::{Limits, Sim};

pub(crate) const STREAM: &str = "bench";
/// Data of the members of an aggregate, which has 50 kB with their keys of 20 bytes.
const AGGREGATE_BYTES: usize = 45_600;

/// What is in the stream before the worker starts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Data {
    pub(crate) shards: u32,
    /// Kinesis records in each.
    pub(crate) each: u64,
    /// Data of a user record.
    pub(crate) bytes: usize,
}

impl Data {
    /// User records in a Kinesis record.
    pub(crate) fn members(self) -> u64 {
        // 20 bytes of key, less what a length and a tag save.
        (AGGREGATE_BYTES / (self.bytes + 20)).max(1) as u64
    }
}

/// A stream with so many Kinesis records in each of its shards: how many user records that is.
async fn filled(sim: &Sim, data: Data) -> u64 {
    let Data { shards, each, bytes } = data;
    sim.create_stream(STREAM, shards);
    let client = sim.client_named("producer");
    let aggregate = aggregate(bytes);
    let ranges: Vec<HashKey> = sim.shards(STREAM).iter().map(|shard| shard.hash_key_range.start()).collect();
    let entry = |start: &HashKey| {
        PutRecordsRequestEntry::builder()
            .partition_key("a")
            .explicit_hash_key(start.to_string())
            .data(aggregate.clone())
            .build()
            .unwrap()
    };
    for _ in 0..each {
        for some in ranges.chunks(100) {
            let entries = some.iter().map(entry).collect();
            client.put_records().stream_name(STREAM).set_records(Some(entries)).send().await.unwrap();
        }
    }
    u64::from(shards) * each * data.members()
}

/// One Kinesis record: an aggregate of 50 kB, or what is too large to be in one.
fn aggregate(bytes: usize) -> Blob {
    let members = Data { shards: 1, each: 1, bytes }.members();
    let payload = vec![b'x'; bytes];
    if members == 1 {
        return Blob::new(payload);
    }
    let mut writer = AggregatedRecordWriter::new();
    for index in 0..members {
        writer.push(&format!("partition-key-{index:06}"), index, None, &payload);
    }
    let Payload::Aggregated(data) = writer.finish().payload else { panic!("one member only") };
    Blob::new(data.to_vec())
}

fn on_virtual_time<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap().block_on(future)
}

fn quiet_sim() -> Sim {
    Sim::builder().limits(Limits::Off).state_delay(Duration::ZERO).trace_lines(0).build()
}

/// What delivering cost: CPU nanoseconds a user record, and the most bytes that were held for it at any time: the engine's
/// answers, the SDK's copies and the worker's own.
pub(crate) struct Cost {
    pub(crate) nanos: f64,
    pub(crate) held_bytes: f64,
}

pub(crate) fn delivered(data: Data, mode: RetrievalMode) -> Cost {
    on_virtual_time(async {
        let sim = quiet_sim();
        let records = filled(&sim, data).await;
        let config = ConsumerConfig::new("bench", STREAM, "worker").with_seed(1).with_retrieval_mode(mode);
        let seen = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&seen);
        let began = thread_time();
        let store = Arc::new(MemoryLeaseStore::new());
        let client = sim.client();
        let work = async {
            let factory = move |_| Counter(Arc::clone(&counter));
            let worker = Scheduler::start(&client, config, store, factory).await.unwrap();
            while seen.load(Relaxed) < records {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            worker
        };
        let (worker, most) = most_bytes(work).await;
        let took = thread_time() - began;
        assert_eq!(seen.load(Relaxed), records, "no duplicate");
        worker.shutdown(Duration::from_secs(10)).await;
        Cost { nanos: took as f64 / records as f64, held_bytes: most as f64 }
    })
}

/// The same data read by the SDK's client alone, which looks at none of it: CPU nanoseconds a user record.
pub(crate) fn floor(data: Data) -> f64 {
    on_virtual_time(async {
        let sim = quiet_sim();
        let records = filled(&sim, data).await;
        let client = sim.client();
        let began = thread_time();
        let mut read = 0;
        for shard in sim.shards(STREAM) {
            let open = client.get_shard_iterator().stream_name(STREAM).shard_id(shard.id.as_str());
            let open = open.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await.unwrap();
            read += read_out(&client, open.shard_iterator).await;
        }
        assert_eq!(read * data.members(), records);
        (thread_time() - began) as f64 / records as f64
    })
}

/// What a worker holds for a shard that brings nothing, in bytes.
pub(crate) fn held_by_a_shard(shards: u32) -> f64 {
    on_virtual_time(async {
        let sim = quiet_sim();
        sim.create_stream(STREAM, shards);
        let (client, before) = (sim.client(), live_bytes());
        let config = ConsumerConfig::new("bench", STREAM, "worker").with_seed(1);
        let store = Arc::new(MemoryLeaseStore::new());
        let worker = Scheduler::start(&client, config, store, |_| Counter(Arc::default())).await.unwrap();
        while worker.stats().get_records_success < 3 * u64::from(shards) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(worker.shards().len(), shards as usize);
        let held = (live_bytes() - before) as f64 / f64::from(shards);
        worker.shutdown(Duration::from_secs(10)).await;
        held
    })
}

async fn read_out(client: &Client, mut iterator: Option<String>) -> u64 {
    let mut read = 0;
    loop {
        let answer = client.get_records().set_shard_iterator(iterator).send().await.unwrap();
        read += answer.records().len() as u64;
        if answer.millis_behind_latest() == Some(0) {
            return read;
        }
        iterator = answer.next_shard_iterator;
    }
}

/// Counts records and looks at each, as the least that any processor does.
pub(crate) struct Counter(pub(crate) Arc<AtomicU64>);

#[kcl::async_trait]
impl RecordProcessor for Counter {
    async fn initialize(&mut self, _: InitializationInput) -> Result<(), BoxError> {
        Ok(())
    }

    async fn process_records(&mut self, input: ProcessRecordsInput) -> Result<(), BoxError> {
        let bytes: usize = input.records.iter().map(|record| record.data().len()).sum();
        let first = input.records.first().map_or(0, |record| record.data().len());
        assert_eq!(bytes, input.records.len() * first);
        self.0.fetch_add(input.records.len() as u64, Relaxed);
        Ok(input.checkpointer.checkpoint().await?)
    }

    async fn lease_lost(&mut self, _: LeaseLostInput) {}

    async fn shard_ended(&mut self, input: ShardEndedInput) -> Result<(), BoxError> {
        Ok(input.checkpointer.checkpoint().await?)
    }

    async fn shutdown_requested(&mut self, _: ShutdownRequestedInput) -> Result<(), BoxError> {
        Ok(())
    }
}
