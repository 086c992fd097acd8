//! What leases cost, and how fast they change hands: planning in real time; writes, reads and gaps of whole workers on virtual
//! time, with the lease store in DynamoDB on its double, which counts units as the service bills them.
//!
//! `cargo bench -p kcl --bench leases`; `BENCH_SEEDS=n` for more seeds (default 20). The result stands in docs/benchmarks.md.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "a bench measures time, and drives the paused clock")]
#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use kcl::{
    BoxError, ConsumerConfig, DynamoDbLeaseStore, InitializationInput, LeaseLostInput, ProcessRecordsInput,
    RecordProcessor, Scheduler, ShardEndedInput, ShardId, ShutdownRequestedInput,
};
use kinesis_sim::{Rule, Sim, SimDynamoDb, TableUsage, Verdict};
use tokio::time::Instant;

const STREAM: &str = "orders";
const D: Duration = Duration::from_secs(10);
/// What Java's workers do: a renewal every third of the failover time less 25 ms, and each checkpoint besides.
const JAVAS_WRITES: f64 = 60.0 / 3.308 + 6.0;
/// A scan each 20.05 s by the taker, and one each 5 min to find the leader.
const JAVAS_SCANS: f64 = 60.0 / 20.05 + 0.2;

fn main() {
    let seeds: u64 = std::env::var("BENCH_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    planning();
    println!(
        "\n| workers | shards | renewal interval | writes per shard-minute | of Java's | listings per worker-minute | Java's | rows read per worker-minute | read units per worker-minute | Java's |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for (workers, shards, interval) in [
        (1, 8, None),
        (2, 8, None),
        (4, 100, None),
        (4, 400, None),
        (1, 8, Some(5_900)),
        (2, 8, Some(5_900)),
        (4, 100, Some(5_900)),
    ] {
        cost(workers, shards, interval);
    }
    println!("\n| what | seeds | shards | median | 95 % | worst |");
    println!("| --- | --- | --- | --- | --- | --- |");
    // The last above 85 leases, where whole listings come further apart.
    for (shards, seeds) in [(2, seeds), (8, seeds), (50, seeds), (120, seeds.div_ceil(4))] {
        gaps("clean stop to the successor's first record", seeds, shards, true, None);
        gaps("kill to the successor's first record", seeds, shards, false, None);
        gaps("the same, longest renewal interval", seeds, shards, false, Some(5_900));
    }
}

fn planning() {
    println!("| leases | workers | one scan: median of 50 | worst |\n| --- | --- | --- | --- |");
    for (leases, workers) in [(100, 5), (1_000, 50), (10_000, 500), (100_000, 500)] {
        let mut planner = kcl::benching::Planner::new(leases, workers, std::time::Instant::now());
        let mut took: Vec<Duration> = (0..50)
            .map(|_| {
                let began = std::time::Instant::now();
                std::hint::black_box(planner.scan());
                began.elapsed()
            })
            .collect();
        took.sort();
        println!("| {leases} | {workers} | {:.2?} | {:.2?} |", took[took.len() / 2], took[took.len() - 1]);
    }
}

/// Everything that is simulated.
#[derive(Clone)]
struct World {
    sim: Sim,
    tables: SimDynamoDb,
    log: Arc<Mutex<Vec<(Instant, String, ShardId)>>>,
}

struct Reader {
    world: World,
    worker: String,
    shard: ShardId,
    checkpointed_at: Option<Instant>,
}

#[kcl::async_trait]
impl RecordProcessor for Reader {
    async fn initialize(&mut self, _: InitializationInput) -> Result<(), BoxError> {
        Ok(())
    }

    async fn process_records(&mut self, input: ProcessRecordsInput) -> Result<(), BoxError> {
        let now = Instant::now();
        self.world.log.lock().unwrap().push((now, self.worker.clone(), self.shard.clone()));
        // Every ten seconds, as the issue of cost is usually put.
        if self.checkpointed_at.is_none_or(|at| now - at >= Duration::from_secs(10)) {
            self.checkpointed_at = Some(now);
            input.checkpointer.checkpoint().await?;
        }
        Ok(())
    }

    async fn lease_lost(&mut self, _: LeaseLostInput) {}

    async fn shard_ended(&mut self, input: ShardEndedInput) -> Result<(), BoxError> {
        Ok(input.checkpointer.checkpoint().await?)
    }

    async fn shutdown_requested(&mut self, input: ShutdownRequestedInput) -> Result<(), BoxError> {
        Ok(input.checkpointer.checkpoint().await?)
    }
}

impl World {
    fn new(seed: u64, shards: u32) -> Self {
        let sim = Sim::new(seed);
        sim.create_stream(STREAM, shards);
        let tables = SimDynamoDb::new(seed);
        Self { sim, tables, log: Arc::default() }
    }

    async fn worker(&self, name: &str, seed: u64, interval: Option<u64>) -> Scheduler {
        let store = Arc::new(DynamoDbLeaseStore::new(&self.tables.client_named(name), "app"));
        let mut config = ConsumerConfig::new("app", STREAM, name)
            .with_seed(seed)
            .with_failover_time(D)
            .with_max_leases_to_steal_at_one_time(8);
        if let Some(millis) = interval {
            config = config.with_lease_renewal_interval(Duration::from_millis(millis));
        }
        let (world, worker) = (self.clone(), name.to_owned());
        let factory = move |shard: kcl::StreamShard| Reader {
            world: world.clone(),
            worker: worker.clone(),
            shard: shard.shard_id,
            checkpointed_at: None,
        };
        Scheduler::start(&self.sim.client_named(name), config, store, factory).await.unwrap()
    }

    /// One record into every shard, each time; for ever.
    async fn put(self, every: Duration) {
        let client = self.sim.client_named("producer");
        let shards = self.sim.shards(STREAM);
        loop {
            let entry = |shard: &kinesis_shard::Shard| {
                PutRecordsRequestEntry::builder()
                    .data(Blob::new("x"))
                    .partition_key("k")
                    .explicit_hash_key(shard.hash_key_range.start().to_string())
                    .build()
                    .unwrap()
            };
            for some in shards.chunks(500) {
                let entries = some.iter().map(entry).collect();
                client.put_records().stream_name(STREAM).set_records(Some(entries)).send().await.unwrap();
            }
            tokio::time::sleep(every).await;
        }
    }

    /// When `worker` first handed over a record of each of these shards after `since`.
    fn firsts(&self, worker: &str, shards: &[ShardId], since: Instant) -> BTreeMap<ShardId, Duration> {
        let mut firsts = BTreeMap::new();
        for (at, by, shard) in self.log.lock().unwrap().iter() {
            if by == worker && *at >= since && shards.contains(shard) {
                firsts.entry(shard.clone()).or_insert(*at - since);
            }
        }
        firsts
    }
}

fn in_virtual_time<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(future)
}

#[expect(clippy::cast_precision_loss, reason = "small counts")]
fn cost(workers: u64, shards: u32, interval: Option<u64>) {
    let (warm_up, minutes) = (Duration::from_mins(3), 10_u64);
    let (writes, scans, gets, units, javas_units) = in_virtual_time(async {
        let world = World::new(1, shards);
        let mut running = Vec::new();
        for number in 0..workers {
            running.push(world.worker(&format!("worker-{number}"), number, interval).await);
        }
        let put = tokio::time::timeout(warm_up, world.clone().put(Duration::from_secs(1))).await;
        assert!(put.is_err());
        let usage = || -> Vec<TableUsage> {
            (0..workers).map(|number| world.tables.usage_of(&format!("worker-{number}"))).collect()
        };
        let before = usage();
        let run = Duration::from_mins(minutes);
        assert!(tokio::time::timeout(run, world.clone().put(Duration::from_secs(1))).await.is_err());
        let after = usage();
        let of = |usage: &TableUsage, name: &str| usage.calls.get(name).copied().unwrap_or(0) as f64;
        let sum = |what: &dyn Fn(&TableUsage) -> f64| -> f64 {
            after.iter().map(what).sum::<f64>() - before.iter().map(what).sum::<f64>()
        };
        let scan_units = {
            let client = world.tables.client_named("measure");
            client.scan().table_name("app").send().await.unwrap();
            world.tables.usage_of("measure").read_units
        };
        let result = (
            sum(&|usage| of(usage, "UpdateItem")),
            sum(&|usage| of(usage, "Scan")),
            sum(&|usage| of(usage, "GetItem")),
            sum(&|usage| usage.read_units),
            scan_units,
        );
        drop(running);
        result
    });
    let worker_minutes = (workers * minutes) as f64;
    let per_shard = writes / (f64::from(shards) * minutes as f64);
    let named =
        interval.map_or_else(|| "3.308 s".to_owned(), |millis| format!("{:.1} s", millis as f64 / 1_000.0));
    println!(
        "| {workers} | {shards} | {named} | {per_shard:.1} | {:.0} % | {:.1} | {JAVAS_SCANS:.1} | {:.1} | {:.1} | {:.1} |",
        per_shard / JAVAS_WRITES * 100.0,
        scans / worker_minutes,
        gets / worker_minutes,
        units / worker_minutes,
        JAVAS_SCANS * javas_units,
    );
}

fn gaps(what: &str, seeds: u64, shards: u32, clean: bool, interval: Option<u64>) {
    let mut gaps: Vec<Duration> =
        (0..seeds).flat_map(|seed| one_gap(seed, shards, clean, interval)).collect();
    gaps.sort();
    let at = |percent: usize| gaps[(gaps.len() * percent / 100).min(gaps.len() - 1)];
    println!(
        "| {what} | {seeds} | {shards} | {:.2} s | {:.2} s | {:.2} s |",
        at(50).as_secs_f64(),
        at(95).as_secs_f64(),
        at(100).as_secs_f64()
    );
}

/// Two workers share the shards; one goes at a drawn moment. For each of its shards: until the other's first record.
fn one_gap(seed: u64, shards: u32, clean: bool, interval: Option<u64>) -> Vec<Duration> {
    in_virtual_time(async {
        let world = World::new(seed, shards);
        // What calls take within a region: nothing arrives at once.
        let _table = world.tables.rule(Rule::any().then(Verdict::Delay(Duration::from_millis(5))));
        let _stream = world.sim.rule(Rule::any().then(Verdict::Delay(Duration::from_millis(10))));
        let goes = world.worker("goes", seed, interval).await;
        let stays = world.worker("stays", seed + 1_000, interval).await;
        let story = async {
            while stays.shards().len() < shards as usize / 2 || goes.shards().len() > shards as usize / 2 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            // Somewhere between two renewals.
            tokio::time::sleep(D * 2 + Duration::from_millis(seed * 7_919 % 10_000)).await;
            let moved = goes.shards().into_iter().map(|shard| shard.shard_id).collect::<Vec<_>>();
            let since = Instant::now();
            if clean {
                goes.shutdown(Duration::from_secs(30)).await;
            } else {
                drop(goes);
            }
            loop {
                let firsts = world.firsts("stays", &moved, since);
                if firsts.len() == moved.len() {
                    return firsts.into_values().collect();
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            biased;
            gaps = story => gaps,
            () = world.clone().put(Duration::from_millis(50)) => unreachable!("it puts for ever"),
        }
    })
}
