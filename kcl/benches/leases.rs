//! What leases cost, and how fast they change hands: planning in real time; writes, reads and gaps of whole workers on virtual
//! time, with the lease store in DynamoDB on its double, which counts units as the service bills them.
//!
//! `cargo bench -p kcl --bench leases [-- WORD...] [--quick] [--json FILE]`; `BENCH_SEEDS=n` for more seeds (default 20). The
//! result stands in docs/benchmarks.md.

#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "a bench measures time, and drives the paused clock")]

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use bench::{Report, Row};
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
    let mut report = Report::from_arguments();
    let seeds: Option<u64> = std::env::var("BENCH_SEEDS").ok().and_then(|text| text.parse().ok());
    let seeds = seeds.unwrap_or(report.choose(2, 20));
    planning(&mut report);
    for (workers, shards, interval) in [
        (1, 8, None),
        (2, 8, None),
        (4, 100, None),
        (4, 400, None),
        (1, 8, Some(5_900)),
        (2, 8, Some(5_900)),
        (4, 100, Some(5_900)),
    ] {
        cost(&mut report, workers, shards, interval);
    }
    for workers in [1, 2, 5, 10, 20, 50] {
        fleet(&mut report, workers);
    }
    // The last above 85 leases, where whole listings come further apart.
    for (shards, seeds) in [(2, seeds), (8, seeds), (50, seeds), (120, seeds.div_ceil(4))] {
        for going in [
            Going { what: "clean stop", clean: true, interval: None },
            Going { what: "kill", clean: false, interval: None },
            Going { what: "kill, longest renewal interval", clean: false, interval: Some(5_900) },
        ] {
            gaps(&mut report, seeds, shards, going);
        }
    }
    report.finish();
}

/// Real time of one scan.
fn planning(report: &mut Report) {
    let over_leases =
        [(100, 5), (1_000, 50), (10_000, 500), (100_000, 500)].map(|case| ("planning-leases", case));
    let over_workers = [1, 5, 20, 50].map(|workers| ("planning-workers", (1_000, workers)));
    for (plot, (leases, workers)) in over_leases.into_iter().chain(over_workers) {
        let name = format!("planning: {leases} leases, {workers} workers");
        let name = if plot == "planning-workers" { format!("{name}, by workers") } else { name };
        if !report.wants(&name) {
            continue;
        }
        let mut planner = kcl::benching::Planner::new(leases, workers, std::time::Instant::now());
        let took = (0..report.choose(5, 50))
            .map(|_| {
                let began = std::time::Instant::now();
                std::hint::black_box(planner.scan());
                began.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        let x = if plot == "planning-workers" { workers } else { leases };
        report.row(Row::new(name, "ms", took).at(plot, "one scan", f64::from(u32::try_from(x).unwrap())));
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

/// What a fleet did to its lease table in a minute, and what Java's would read.
struct Minute {
    writes_a_shard: f64,
    listings_a_worker: f64,
    looks_a_worker: f64,
    units_a_worker: f64,
    /// Of one listing.
    listing_units: f64,
}

fn cost(report: &mut Report, workers: u64, shards: u32, interval: Option<u64>) {
    let named = interval.map_or_else(
        || "3.308 s".to_owned(),
        |millis| format!("{}.{} s", millis / 1_000, millis % 1_000 / 100),
    );
    let name = format!("lease table: {workers} workers, {shards} shards, renewed each {named}");
    if !report.wants(&name) {
        return;
    }
    let minute = minute(workers, shards, interval, report.choose(1, 10));
    let row = Row::new(format!("{name}: writes"), "a shard and minute", vec![minute.writes_a_shard]);
    report.row(row.also("Java's", JAVAS_WRITES).also("of Java's", minute.writes_a_shard / JAVAS_WRITES));
    let row = Row::new(format!("{name}: listings"), "a worker and minute", vec![minute.listings_a_worker]);
    report.row(row.also("Java's", JAVAS_SCANS).also("rows read", minute.looks_a_worker));
    let row = Row::new(format!("{name}: read units"), "a worker and minute", vec![minute.units_a_worker]);
    report.row(row.also("Java's", JAVAS_SCANS * minute.listing_units));
}

/// Calls over the number of workers, with four shards for each.
fn fleet(report: &mut Report, workers: u64) {
    let name = format!("fleet: {workers} workers, 4 shards each");
    if !report.wants(&name) || (report.is_quick() && workers > 5) {
        return;
    }
    let x = f64::from(u32::try_from(workers).unwrap());
    let minute = minute(workers, 4 * u32::try_from(workers).unwrap(), None, report.choose(1, 3));
    for (what, line, value, javas) in [
        ("writes", "writes", minute.writes_a_shard * 4.0, JAVAS_WRITES * 4.0),
        ("listings", "listings of the table", minute.listings_a_worker, JAVAS_SCANS),
        ("rows read", "single rows read", minute.looks_a_worker, 0.0),
    ] {
        let row = Row::new(format!("{name}: {what}"), "a worker and minute", vec![value]);
        report.row(row.also("Java's", javas).at("fleet", line, x));
    }
}

#[expect(clippy::cast_precision_loss, reason = "small counts")]
fn minute(workers: u64, shards: u32, interval: Option<u64>, minutes: u64) -> Minute {
    let warm_up = Duration::from_mins(3);
    in_virtual_time(async {
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
        let listing_units = {
            let client = world.tables.client_named("measure");
            client.scan().table_name("app").send().await.unwrap();
            world.tables.usage_of("measure").read_units
        };
        let worker_minutes = (workers * minutes) as f64;
        let result = Minute {
            writes_a_shard: sum(&|usage| of(usage, "UpdateItem")) / (f64::from(shards) * minutes as f64),
            listings_a_worker: sum(&|usage| of(usage, "Scan")) / worker_minutes,
            looks_a_worker: sum(&|usage| of(usage, "GetItem")) / worker_minutes,
            units_a_worker: sum(&|usage| usage.read_units) / worker_minutes,
            listing_units,
        };
        drop(running);
        result
    })
}

/// How one of two workers goes.
#[derive(Clone, Copy)]
struct Going {
    what: &'static str,
    clean: bool,
    /// Milliseconds between renewals, if not the default.
    interval: Option<u64>,
}

fn gaps(report: &mut Report, seeds: u64, shards: u32, going: Going) {
    let name = format!("gap: {}, {shards} shards", going.what);
    if !report.wants(&name) {
        return;
    }
    let gaps = (0..seeds).flat_map(|seed| one_gap(seed, shards, going));
    report.row(Row::new(name, "s", gaps.map(|gap| gap.as_secs_f64()).collect()));
}

/// Two workers share the shards; one goes at a drawn moment. For each of its shards: until the other's first record.
fn one_gap(seed: u64, shards: u32, going: Going) -> Vec<Duration> {
    let Going { clean, interval, .. } = going;
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
