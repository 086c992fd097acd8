//! The processes that read: workers with processors of their own, and scans, which are one closure over every record.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kcl::{
    ConsumerConfig, ConsumerEvent, EventSink, InitialPosition, Scheduler, ShutdownReport, StreamSet,
    UserRecord,
};
use kinesis_shard::{Clock, Freezer, ShardId};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::network::Network;
use super::plan::WorkerPlan;
use super::run::FAILOVER;
use super::table::WorkerTable;
use crate::common::history::Event;
use crate::common::streams::name;
use crate::common::worker::{Plan as Work, Policy};
use crate::common::{STREAM, World, uid_of};

/// What a worker's process has around it.
pub struct Process {
    pub name: String,
    pub network: Network,
    pub table: WorkerTable,
    pub freezer: Freezer,
}

/// What runs in it.
pub enum Consumer {
    Worker(Scheduler),
    Scan(Scanning),
}

/// A scan that its operator starts again when it ends by itself. Dropping it is a crash.
pub struct Scanning {
    stop: watch::Sender<bool>,
    task: JoinHandle<ShutdownReport>,
}

impl Drop for Scanning {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Consumer {
    pub async fn start(world: &World, how: WorkerPlan, life: usize, process: &Process) -> Self {
        let config = config(world, how, life, process);
        if how.scans {
            return Self::Scan(Scanning::start(world, how, config, process));
        }
        let work = Work {
            policy: how.policy,
            work: Duration::from_millis(how.work_millis),
            fail_every: how.fail_every,
            at_shutdown: how.at_shutdown,
            forgets_end: how.forgets_end,
        };
        let name = process.name.as_str();
        // A start can meet a fault that is still in force; an operator would start again.
        loop {
            let (client, factory) = (process.network.client(&world.sim, name), world.recorders(name, work));
            match Scheduler::start(&client, config.clone(), process.table.store(), factory).await {
                Ok(scheduler) => return Self::Worker(scheduler),
                Err(error) => {
                    world.note(format!("{name} does not start: {error}"));
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    pub async fn shutdown(self, grace: Duration) -> ShutdownReport {
        match self {
            Self::Worker(scheduler) => scheduler.shutdown(grace).await,
            Self::Scan(mut scanning) => {
                scanning.stop.send_replace(true);
                (&mut scanning.task).await.expect("a scan does not panic")
            }
        }
    }
}

fn config(world: &World, how: WorkerPlan, life: usize, process: &Process) -> ConsumerConfig {
    let name = process.name.as_str();
    let clock = Clock::with_rate(1.0 + f64::from(how.clock_ppm) / 1e6).frozen_by(&process.freezer);
    let config = if world.streams.len() == 1 {
        ConsumerConfig::new("tests", STREAM, name)
    } else {
        ConsumerConfig::multi_stream("tests", StreamSet::new(world.streams.iter().copied()), name)
    };
    config
        .with_initial_position(InitialPosition::TrimHorizon)
        .with_failover_time(FAILOVER)
        .with_max_records(how.max_records)
        .with_retrieval_mode(how.retrieval)
        .with_seed(world.seed ^ (life as u64) << 8)
        .with_clock(clock)
        .with_events(EventSink::hook(gaps(world, name)))
}

/// Writes down where a worker says that records may be missing.
fn gaps(world: &World, worker: &str) -> impl Fn(&ConsumerEvent) + Send + Sync + use<> {
    let (world, worker) = (world.clone(), worker.to_owned());
    move |event| {
        let (shard, after, first, overtaken) = match event {
            ConsumerEvent::GapBelowRetention { shard, checkpoint, first } => {
                (shard, Some(*checkpoint), *first, false)
            }
            ConsumerEvent::OvertakenByRetention { shard, after, first, .. } => (shard, *after, *first, true),
            ConsumerEvent::ShardVanished { shard } => (shard, None, None, true),
            _ => return,
        };
        let shard = name(&shard.stream, &shard.shard_id);
        world.record(Event::Gap { worker: worker.clone(), shard, after, first, overtaken });
    }
}

impl Scanning {
    fn start(world: &World, how: WorkerPlan, config: ConsumerConfig, process: &Process) -> Self {
        // It stays asked for, also when a scan fails that was being stopped and another one is begun.
        let (stop, stopped) = watch::channel(false);
        let (world, name) = (world.clone(), process.name.clone());
        world.record(Event::Scans { worker: name.clone() });
        let (client, store) = (process.network.client(&world.sim, &name), process.table.store());
        let calls = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(async move {
            loop {
                let tenures = Tenures::default();
                let sink = EventSink::hook(tenures.follow(&world, &name));
                let mut stopped = stopped.clone();
                let scan = kcl::scan(&client, STREAM)
                    .configure(|_| config.clone().with_events(sink))
                    .store(Arc::clone(&store))
                    .checkpoint_every(checkpoint_every(how.policy))
                    .until(async move {
                        drop(stopped.wait_for(|asked| *asked).await);
                    });
                let (world_of, name_of, calls) = (world.clone(), name.clone(), Arc::clone(&calls));
                let each = move |record: UserRecord| {
                    let (world, worker) = (world_of.clone(), name_of.clone());
                    let (tenure, call) = (tenures.of(&record), calls.fetch_add(1, Ordering::Relaxed) + 1);
                    async move {
                        tokio::time::sleep(Duration::from_millis(how.work_millis.min(20))).await;
                        if how.fail_every > 0 && call.is_multiple_of(how.fail_every * 40) {
                            return Err("the application fails as planned".into());
                        }
                        world.record(Event::Delivered {
                            worker,
                            tenure,
                            shard: record.shard_id().clone(),
                            position: record.position(),
                            uid: uid_of(record.data()),
                        });
                        Ok(())
                    }
                };
                match scan.run(each).await {
                    Ok(report) => return report.shutdown,
                    Err(error) => {
                        let (worker, why) = (name.clone(), error.to_string());
                        world.record(Event::ScanEnded { worker, why });
                    }
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        Self { stop, task }
    }
}

fn checkpoint_every(policy: Policy) -> Duration {
    match policy {
        Policy::EveryBatch | Policy::MidBatch => Duration::ZERO,
        Policy::EveryNthBatch(_) | Policy::Wavering => Duration::from_secs(5),
        Policy::Never => Duration::from_mins(1),
    }
}

/// The tenure of each shard that a scan reads, as its events tell.
#[derive(Clone, Default)]
struct Tenures(Arc<Mutex<BTreeMap<ShardId, u64>>>);

impl Tenures {
    fn of(&self, record: &UserRecord) -> u64 {
        // None: it came without having been started, which a judge sees.
        self.0.lock().expect("no panic in it").get(record.shard_id()).copied().unwrap_or(u64::MAX)
    }

    fn follow(&self, world: &World, worker: &str) -> impl Fn(&ConsumerEvent) + Send + Sync + use<> {
        let (tenures, world, worker) = (self.clone(), world.clone(), worker.to_owned());
        let gaps = gaps(&world, &worker);
        move |event| {
            gaps(event);
            if let ConsumerEvent::ShardStarted { shard, checkpoint } = event {
                let (tenure, shard) = (world.next_tenure(), shard.shard_id.clone());
                tenures.0.lock().expect("no panic in it").insert(shard.clone(), tenure);
                world.record(Event::Started { worker: worker.clone(), tenure, shard, from: *checkpoint });
            }
        }
    }
}
