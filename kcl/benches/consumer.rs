//! What a record costs on its way to the processor, and what a shard costs that brings none.
//!
//! ```text
//! cargo bench -p kcl --bench consumer [-- WORD...]
//! ```
//!
//! `delivered`: whole workers on the simulated engine in this process, through the real SDK client, on one thread and on
//! virtual time, so that waiting costs nothing: 100-byte records in aggregates of 50 kB. Times are the CPU time of that
//! thread, for *everything*: engine, SDK, de-aggregation, hand-over. `floor` is the same calls without the consumer: the
//! SDK client alone reads the same data and looks at none of it; what is above it is ours.
//!
//! `idle`: a thousand leased shards that nobody writes to, polled at the default interval over plain HTTP at an engine in a
//! process of its own: CPU and resident memory of the worker's process.
//!
//! Only cases whose name contains one of the words are run.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a measuring program: it reads the clock, prints, and stops at the first surprise"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, ShardIteratorType};
use kcl::{
    BoxError, ConsumerConfig, InitializationInput, LeaseLostInput, MemoryLeaseStore, ProcessRecordsInput,
    RecordProcessor, RetrievalMode, Scheduler, ShardEndedInput, ShutdownRequestedInput,
};
use kinesis_shard::{AggregatedRecordWriter, HashKey, Payload};
use kinesis_sim::{Limits, Sim};

const STREAM: &str = "bench";
const PAYLOAD: [u8; 100] = [b'x'; 100];
/// Members of an aggregate of 50 kB, with keys of 20 bytes.
const MEMBERS: u64 = 380;
const ROUNDS: usize = 5;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    if words.first().is_some_and(|word| word == "serve") {
        return idle::serve();
    }
    let wants = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    // The last row has what the others have in one read of a shard, so that what a shard costs is shared as in theirs.
    for (shards, each) in [(1, 3_200), (10, 320), (100, 32), (1_000, 3), (1_000, 16)] {
        for mode in [RetrievalMode::Polling, RetrievalMode::FanOut] {
            let name = format!("delivered {mode:?} shards {shards} of {each}").to_lowercase();
            if wants(&name) {
                row(&name, || delivered(shards, each, mode));
            }
        }
        let name = format!("floor shards {shards} of {each}");
        if wants(&name) {
            row(&name, || floor(shards, each));
        }
    }
    if wants("idle") {
        idle::run();
    }
}

/// Nanoseconds of CPU a record, by round.
fn row(name: &str, round: impl Fn() -> f64) {
    let mut rounds: Vec<f64> = (0..ROUNDS).map(|_| round()).collect();
    rounds.sort_by(f64::total_cmp);
    let (best, median, worst) = (rounds[0], rounds[ROUNDS / 2], rounds[ROUNDS - 1]);
    let millions = 1_000.0 / median;
    println!("{name:<36} {median:8.1} ns/record ({best:.1} to {worst:.1}), {millions:.2} M/s");
}

/// A stream with so many aggregates in each of its shards: how many user records that is.
async fn filled(sim: &Sim, shards: u32, each: u64) -> u64 {
    sim.create_stream(STREAM, shards);
    let client = sim.client_named("producer");
    let aggregate = aggregate();
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
    u64::from(shards) * each * MEMBERS
}

fn aggregate() -> Blob {
    let mut writer = AggregatedRecordWriter::new();
    for index in 0..MEMBERS {
        writer.push(&format!("partition-key-{index:06}"), index, None, &PAYLOAD);
    }
    let Payload::Aggregated(data) = writer.finish().payload else { panic!("one member only") };
    Blob::new(data.to_vec())
}

fn thread_nanos() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

fn on_virtual_time<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap().block_on(future)
}

fn quiet_sim() -> Sim {
    Sim::builder().limits(Limits::Off).state_delay(Duration::ZERO).trace_lines(0).build()
}

fn delivered(shards: u32, each: u64, mode: RetrievalMode) -> f64 {
    on_virtual_time(async {
        let sim = quiet_sim();
        let records = filled(&sim, shards, each).await;
        let config = ConsumerConfig::new("bench", STREAM, "worker").with_seed(1).with_retrieval_mode(mode);
        let seen = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&seen);
        let began = thread_nanos();
        let store = Arc::new(MemoryLeaseStore::new());
        let client = sim.client();
        let worker = Scheduler::start(&client, config, store, move |_| Counter(Arc::clone(&counter)));
        let worker = worker.await.unwrap();
        while seen.load(Relaxed) < records {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let took = thread_nanos() - began;
        assert_eq!(seen.load(Relaxed), records, "no duplicate");
        worker.shutdown(Duration::from_secs(10)).await;
        took / records as f64
    })
}

fn floor(shards: u32, each: u64) -> f64 {
    on_virtual_time(async {
        let sim = quiet_sim();
        let records = filled(&sim, shards, each).await;
        let client = sim.client();
        let began = thread_nanos();
        let mut read = 0;
        for shard in sim.shards(STREAM) {
            let open = client.get_shard_iterator().stream_name(STREAM).shard_id(shard.id.as_str());
            let open = open.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await.unwrap();
            read += read_out(&client, open.shard_iterator).await;
        }
        assert_eq!(read * MEMBERS, records);
        (thread_nanos() - began) / records as f64
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
struct Counter(Arc<AtomicU64>);

#[kcl::async_trait]
impl RecordProcessor for Counter {
    async fn initialize(&mut self, _: InitializationInput) -> Result<(), BoxError> {
        Ok(())
    }

    async fn process_records(&mut self, input: ProcessRecordsInput) -> Result<(), BoxError> {
        let bytes: usize = input.records.iter().map(|record| record.data().len()).sum();
        assert_eq!(bytes, input.records.len() * PAYLOAD.len());
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

/// A thousand shards that bring nothing.
mod idle {
    use super::{
        Arc, AtomicU64, Client, ConsumerConfig, Counter, Duration, Limits, MemoryLeaseStore, STREAM,
        Scheduler, Sim,
    };
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    const SHARDS: u32 = 1_000;
    const WATCHED: Duration = Duration::from_secs(20);

    /// The engine's process: prints its address, ends with its standard input.
    pub(super) fn serve() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let sim = Sim::builder().limits(Limits::Off).trace_lines(0).wall_clock().build();
            sim.create_stream(STREAM, SHARDS);
            let server = sim.serve(([127, 0, 0, 1], 0).into()).await.unwrap();
            println!("http://{}", server.addr());
            tokio::task::spawn_blocking(|| std::io::stdin().lines().count()).await.unwrap();
        });
    }

    pub(super) fn run() {
        let mut engine = Command::new(std::env::current_exe().unwrap())
            .arg("serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(engine.stdout.take().unwrap()).read_line(&mut url).unwrap();
        let before = resident_mib();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(watch(url.trim(), before));
        drop(engine.stdin.take());
        engine.wait().unwrap();
    }

    async fn watch(url: &str, before: f64) {
        let config = aws_sdk_kinesis::Config::builder()
            .behavior_version(aws_sdk_kinesis::config::BehaviorVersion::latest())
            .region(aws_sdk_kinesis::config::Region::from_static("us-east-1"))
            .credentials_provider(aws_credential_types::Credentials::from_keys("bench", "bench", None))
            .endpoint_url(url)
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build();
        let store = Arc::new(MemoryLeaseStore::new());
        let config_of_worker = ConsumerConfig::new("bench", STREAM, "worker").with_seed(1);
        let counter = Arc::new(AtomicU64::new(0));
        let client = Client::from_conf(config);
        let worker =
            Scheduler::start(&client, config_of_worker, store, move |_| Counter(Arc::clone(&counter)));
        let worker = worker.await.unwrap();
        while worker.stats().get_records_success < 3 * u64::from(SHARDS) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let (cpu, reads) = (process_nanos(), worker.stats().get_records_success);
        let began = std::time::Instant::now();
        tokio::time::sleep(WATCHED).await;
        let seconds = began.elapsed().as_secs_f64();
        let (cpu, reads) = (process_nanos() - cpu, worker.stats().get_records_success - reads);
        let after = resident_mib();
        println!(
            "idle, {SHARDS} shards polled over HTTP    {:8.1} % of a core, {:.0} reads/s at {:.1} us, {after:.1} MiB resident ({before:.1} before the worker)",
            cpu / seconds / 1e7,
            reads as f64 / seconds,
            cpu / reads as f64 / 1e3,
        );
        worker.shutdown(Duration::from_secs(10)).await;
    }

    fn process_nanos() -> f64 {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let nanos = |task: std::io::Result<std::fs::DirEntry>| -> f64 {
            let text = std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap_or_default();
            text.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0.0)
        };
        tasks.map(nanos).sum()
    }

    fn resident_mib() -> f64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().split(' ').next().unwrap().parse::<f64>().unwrap() / 1024.0
    }
}
