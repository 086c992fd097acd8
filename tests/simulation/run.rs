//! Carries a plan out: trouble first, then quiet, in which everything has to be put right, then the end and the verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kcl::{ConsumerConfig, InitialPosition, Scheduler};
use kinesis_shard::{Clock, Freezer, HashKey};
use kinesis_sim::{Rule, RuleGuard, Verdict};
use kpl::{Ordering, Producer, ProducerConfig, Ticket, UserRecord};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;

use super::judge;
use super::network::Network;
use super::plan::{Act, Keys, Plan, ProducerPlan, WorkerPlan};
use super::reached::Reached;
use super::table::WorkerTable;
use crate::common::history::{Event, HAND, History, Violation};
use crate::common::worker::Plan as Work;
use crate::common::{STREAM, World, in_virtual_time, payload};

/// The time of a lease of the simulated application.
pub const FAILOVER: Duration = Duration::from_secs(10);

/// How much longer than the trouble the quiet may last until everything is delivered. A lease whose owner is gone may
/// take the failover time and two scans to find a new one, once per generation of shards and failed attempt.
const PATIENCE: Duration = Duration::from_mins(20);

/// How long everything has to stay as it is before it counts as settled: what is handed over arrives meanwhile.
const HAND_OVERS: Duration = Duration::from_secs(25);

/// What became of a plan.
#[derive(Debug)]
pub struct Outcome {
    pub violations: Vec<Violation>,
    pub reached: Reached,
    pub history: String,
    pub log: History,
    pub trace: String,
    pub events: usize,
    pub virtual_millis: u64,
}

/// Runs a plan on a clock of its own.
pub fn run(plan: &Plan) -> Outcome {
    in_virtual_time(async {
        let mut stage = Stage::new(plan);
        stage.trouble().await;
        stage.quiet().await;
        stage.end().await
    })
}

struct Running {
    scheduler: Scheduler,
    process: Process,
}

/// What a worker's process has around it.
struct Process {
    name: String,
    network: Network,
    table: WorkerTable,
    freezer: Freezer,
}

struct Stage<'a> {
    plan: &'a Plan,
    world: World,
    rows: Arc<Mutex<BTreeMap<kcl::lease::LeaseKey, kcl::lease::Lease>>>,
    workers: Vec<Option<Running>>,
    lives: usize,
    /// How often each worker was started.
    running: Arc<Mutex<Vec<u64>>>,
    /// Puts so far: each is a line of its own.
    lines: usize,
    /// Each with the number of its life.
    producers: Vec<Option<(usize, Producer)>>,
    puts: JoinSet<()>,
    open: OpenTickets,
    rules: Vec<(RuleGuard, &'static str)>,
    reached: Reached,
}

impl<'a> Stage<'a> {
    fn new(plan: &'a Plan) -> Self {
        let world = World::with_shards(plan.seed, plan.shards);
        let producers = plan.producers.iter().enumerate();
        let producers: Vec<_> =
            producers.map(|(index, how)| Some((index, producer(&world, index, how)))).collect();
        Self {
            plan,
            rows: Arc::default(),
            workers: plan.workers.iter().map(|_| None).collect(),
            lives: producers.len(),
            lines: 0,
            running: Arc::new(Mutex::new(vec![0; plan.workers.len()])),
            producers,
            puts: JoinSet::new(),
            open: OpenTickets::default(),
            rules: Vec::new(),
            reached: Reached::default(),
            world,
        }
    }

    async fn trouble(&mut self) {
        if !self.plan.workers.is_empty() {
            self.start(0).await;
        }
        for index in 0..self.plan.acts.len() {
            let (at, act) = &self.plan.acts[index];
            let wait = at.saturating_sub(self.world.now_millis());
            self.pass(Duration::from_millis(wait)).await;
            self.act(act.clone()).await;
        }
    }

    /// Lets time pass; a worker whose last write was made dies meanwhile.
    async fn pass(&mut self, time: Duration) {
        let deadline = tokio::time::Instant::now() + time;
        loop {
            let alarms: Vec<_> = self
                .workers
                .iter()
                .flatten()
                .map(|running| Arc::clone(&running.process.table.crash))
                .collect();
            let names: Vec<usize> = self
                .workers
                .iter()
                .enumerate()
                .filter(|(_, worker)| worker.is_some())
                .map(|(index, _)| index)
                .collect();
            let dying = async {
                if alarms.is_empty() {
                    return std::future::pending().await;
                }
                let waits = alarms.iter().map(|alarm| Box::pin(alarm.notified()));
                futures::future::select_all(waits).await.1
            };
            let died = tokio::select! {
                biased;
                which = dying => Some(names[which]),
                () = tokio::time::sleep_until(deadline) => None,
            };
            match died {
                Some(worker) => {
                    self.reached.note("died at a write");
                    self.crash(worker);
                }
                None => return,
            }
        }
    }

    async fn act(&mut self, act: Act) {
        match act {
            Act::Put { producer, count, keys, largest } => self.put(producer, count, keys, largest),
            Act::Flush { producer: index } => {
                if let Some((life, handle)) = self.producers[index].clone() {
                    self.reached.note("flush");
                    self.puts.spawn(self.open.clone().flush(self.world.clone(), life, handle));
                }
            }
            Act::CloseProducer { producer } => self.close_producer(producer),
            Act::DropProducer { producer } => {
                self.reached.note("producer dropped");
                drop(self.replace_producer(producer));
            }
            Act::Split => self.split().await,
            Act::Merge => self.merge().await,
            Act::Kinesis { operation, caller, verdict, times } => {
                let rule = Rule::operation(operation).times(times).then(verdict);
                let rule = if let Some(caller) = caller { rule.caller(caller) } else { rule };
                let cuts =
                    operation == "SubscribeToShard" && matches!(verdict, Verdict::CutSubscription { .. });
                let what = if cuts { "subscription cut" } else { "fault of the service struck" };
                self.rules.push((self.world.sim.rule(rule), what));
            }
            Act::Outage { operation, verdict, millis } => {
                self.reached.note("outage");
                let outage = self.world.sim.rule(Rule::operation(operation).then(verdict));
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(millis)).await;
                    drop(outage);
                });
            }
            Act::Start { worker } => self.start(worker).await,
            Act::Stop { worker } => self.stop(worker),
            Act::Crash { worker } => self.crash(worker),
            Act::DeleteRow { nth } => self.delete_row(nth),
            Act::Table { worker, fault, times } => {
                if let Some(running) = &self.workers[worker] {
                    running.process.table.fail_next(fault, times);
                }
            }
            Act::CrashAtWrite { worker, nth, after } => {
                if let Some(running) = &self.workers[worker] {
                    running.process.table.crash_at_write(nth, after);
                }
            }
            Act::Freeze { worker, millis } => {
                if let Some(running) = &self.workers[worker] {
                    self.reached.note("worker frozen");
                    running.process.freezer.freeze(Duration::from_millis(millis));
                }
            }
        }
    }

    fn close_producer(&mut self, producer: usize) {
        self.reached.note("producer closed");
        if let Some(closing) = self.replace_producer(producer) {
            self.puts.spawn(async move {
                closing.close(Duration::from_secs(5)).await;
            });
        }
    }

    fn replace_producer(&mut self, index: usize) -> Option<Producer> {
        self.lives += 1;
        let new = producer(&self.world, index, &self.plan.producers[index]);
        self.producers[index].replace((self.lives, new)).map(|(_, old)| old)
    }

    async fn split(&mut self) {
        if self.world.sim.shards(STREAM).iter().filter(|shard| shard.is_open()).count() < 12 {
            self.until_active().await;
            self.reached.note("split");
            self.world.split_widest();
        }
    }

    async fn merge(&mut self) {
        self.until_active().await;
        if self.world.merge_first() {
            self.reached.note("merge");
        }
    }

    fn stop(&mut self, worker: usize) {
        if let Some(Running { scheduler, process }) = self.workers[worker].take() {
            self.reached.note("worker stopped");
            let (rows, world, broken) = (Arc::clone(&self.rows), self.world.clone(), self.open.clone());
            let (healthy, began) = (process.table.is_healthy(), tokio::time::Instant::now());
            let (running, life) = (Arc::clone(&self.running), self.life_of(worker));
            self.puts.spawn(async move {
                let report = scheduler.shutdown(Duration::from_secs(5)).await;
                // Neither a write that went wrong, nor a process that stood still; and a new one of the same name has
                // rows of its own.
                let undisturbed = healthy
                    && began.elapsed() < Duration::from_secs(2)
                    && report.forced.is_empty()
                    && running.lock().expect("no panic in it")[worker] == life;
                if undisturbed {
                    let rows = rows.lock().expect("no actor panics in it");
                    broken.accuse(judge::given_back(&world, &rows, &BTreeSet::from([process.name])));
                }
            });
        }
    }

    fn life_of(&self, worker: usize) -> u64 {
        self.running.lock().expect("no panic in it")[worker]
    }

    /// Resharding needs an active stream: waits until the change before is done.
    async fn until_active(&mut self) {
        self.pass(Duration::from_millis(1_100)).await;
    }

    async fn start(&mut self, worker: usize) {
        if self.workers[worker].is_some() {
            return;
        }
        self.lives += 1;
        self.running.lock().expect("no panic in it")[worker] += 1;
        let (name, freezer) = (format!("worker-{worker}"), Freezer::new());
        let process = Process {
            network: Network::new(&self.world.sim, &name, &freezer),
            table: WorkerTable::new(&self.world, &name, &self.rows, &freezer),
            freezer,
            name,
        };
        self.world.record(Event::Life { worker: process.name.clone() });
        if self.plan.workers[worker].retrieval == kcl::RetrievalMode::FanOut {
            self.reached.note("worker read by fan-out");
        }
        let scheduler = worker_of(&self.world, self.plan.workers[worker], self.lives, &process).await;
        self.workers[worker] = Some(Running { scheduler, process });
    }

    fn crash(&mut self, worker: usize) {
        if let Some(running) = self.workers[worker].take() {
            self.reached.note("worker crashed");
            running.process.network.cut();
            running.process.table.cut();
            drop(running);
            self.world.record(Event::Crashed { worker: format!("worker-{worker}") });
        }
    }

    /// Somebody deletes a row in the console: of a shard that is open, so that nothing waits for it.
    fn delete_row(&mut self, nth: usize) {
        let open: BTreeSet<kcl::lease::LeaseKey> = self
            .world
            .sim
            .shards(STREAM)
            .iter()
            .filter(|shard| shard.is_open())
            .map(|shard| kcl::lease::LeaseKey::from(&shard.id))
            .collect();
        let mut rows = self.rows.lock().expect("no actor panics in it");
        let candidates: Vec<_> = rows.keys().filter(|key| open.contains(key)).cloned().collect();
        let Some(key) = candidates.get(nth % candidates.len().max(1)) else { return };
        let before = rows.remove(key).map(Box::new);
        drop(rows);
        self.reached.note("row deleted by hand");
        let (worker, key) = (HAND.to_owned(), key.clone());
        let sent = self.world.now_millis();
        self.world.record(Event::TableWrite { worker, key, sent, before, after: None });
    }

    fn put(&mut self, producer: usize, count: usize, keys: Keys, largest: usize) {
        let Some((life, handle)) = self.producers[producer].clone() else { return };
        let (world, open) = (self.world.clone(), self.open.clone());
        self.lines += 1;
        let in_order = self.plan.producers[producer].ordered.then_some(self.lines);
        self.puts.spawn(async move {
            let uids: Vec<u64> = (0..count).map(|_| world.next_uid()).collect();
            for uid in uids {
                let mut rng = SmallRng::seed_from_u64(world.seed ^ uid.wrapping_mul(0x9e37_79b9));
                let record = record(uid, keys, largest, &mut rng);
                let key = record
                    .explicit_hash_key()
                    .map_or_else(|| record.partition_key().to_owned(), |key| key.to_string());
                world.record(Event::Submitted { uid });
                match handle.put(record).await {
                    Ok(ticket) => {
                        if let Some(line) = in_order {
                            world.record(Event::InLine { uid, line: format!("put {line} of {key}") });
                        }
                        open.watch(&world, life, uid, ticket);
                    }
                    Err(error) => world.record(Event::Refused {
                        uid,
                        may_have_been_written: error.may_have_been_written(),
                        why: error.to_string(),
                    }),
                }
            }
        });
    }

    /// No more trouble: what was begun has to come to its end.
    async fn quiet(&mut self) {
        self.world.note("quiet");
        for (rule, what) in self.rules.drain(..).filter(|(rule, _)| rule.hits() > 0) {
            self.reached.note(what);
            drop(rule);
        }
        for running in self.workers.iter().flatten() {
            running.process.table.heal();
            running.process.freezer.thawed().await;
        }
        if !self.plan.workers.is_empty() && self.workers.iter().all(Option::is_none) {
            self.start(0).await;
        }
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut settled_since = None;
        while tokio::time::Instant::now() < deadline {
            self.pass(Duration::from_millis(500)).await;
            while self.puts.try_join_next().is_some() {}
            if !self.is_settled() {
                settled_since = None;
            } else if self.plan.workers.is_empty()
                || settled_since.get_or_insert_with(tokio::time::Instant::now).elapsed() > HAND_OVERS
            {
                return;
            }
        }
    }

    fn is_settled(&self) -> bool {
        let open: Vec<_> =
            self.world.sim.shards(STREAM).into_iter().filter(kinesis_shard::Shard::is_open).collect();
        let rows = self.rows.lock().expect("no actor panics in it");
        let reaches = |shard: &kinesis_shard::Shard| {
            rows.get(&kcl::lease::LeaseKey::from(&shard.id)).is_some_and(|row| row.owner.is_some())
        };
        let answered = self.puts.is_empty() && self.open.count() == 0;
        let read = self.world.history.is_all_read() && open.iter().all(reaches);
        answered && (read || self.plan.workers.is_empty())
    }

    async fn close_all(&mut self, settled: bool) -> Vec<Violation> {
        let mut violations = Vec::new();
        for (_, producer) in self.producers.iter_mut().filter_map(Option::take) {
            let report = producer.close(Duration::from_secs(30)).await;
            let stats = producer.stats();
            if stats.outstanding_bytes + stats.outstanding_records != 0 {
                violations.push(judge::violation("P11", format!("closed, and still held: {stats:?}")));
            }
            if !report.is_complete() && settled {
                violations.push(judge::violation("P15", format!("at the end {report}")));
            }
        }
        violations
    }

    async fn end(mut self) -> Outcome {
        let settled = self.is_settled();
        let mut violations = Vec::new();
        if !settled {
            let (read, open) = (!self.plan.workers.is_empty(), self.open.count());
            violations.extend(judge::unsettled(&self.world, &self.rows, &mut self.puts, open, read));
        }
        violations.extend(self.close_all(settled).await);
        let mut stopped = BTreeSet::new();
        for (index, running) in self.workers.iter_mut().enumerate() {
            if let Some(running) = running.take() {
                // A write of it that is still on its way may land when it is gone.
                if running.process.table.is_healthy() {
                    stopped.insert(running.process.name);
                }
                let grace = Duration::from_secs(30);
                let stopped = tokio::time::timeout(grace * 2, running.scheduler.shutdown(grace)).await;
                if stopped.is_err() {
                    violations
                        .push(judge::violation("H4", format!("worker-{index} did not stop in {grace:?}")));
                }
            }
        }
        self.puts.abort_all();
        let world = &self.world;
        violations.extend(world.violations());
        let rows = self.rows.lock().expect("no actor panics in it");
        violations.extend(judge::leases(world, &rows, FAILOVER));
        violations.extend(judge::last_words(world));
        violations.extend(self.open.broken());
        if settled {
            violations.extend(judge::given_back(world, &rows, &stopped));
        }
        if self.plan.makes_no_copies() {
            violations.extend(judge::copies(world));
        }
        if self.plan.refuses_nothing() {
            violations.extend(judge::refusals(world));
        }
        violations.extend(judge::requests(&world.sim.trace()));
        self.reached.observe(&world.history);
        if judge::has_copies(world) {
            self.reached.note("record stored more than once");
        }
        Outcome {
            violations,
            reached: self.reached,
            history: world.history.text(),
            log: world.history.clone(),
            trace: world.sim.trace().join("\n"),
            events: world.history.read(<[_]>::len),
            virtual_millis: world.now_millis(),
        }
    }
}

/// Which accepted records wait for their answer, by producer: what a flush must have seen answered.
#[derive(Clone, Default)]
struct OpenTickets(Arc<Mutex<Open>>);

#[derive(Default)]
struct Open {
    waiting: BTreeSet<(usize, u64)>,
    broken: Vec<Violation>,
}

impl OpenTickets {
    fn open(&self) -> std::sync::MutexGuard<'_, Open> {
        self.0.lock().expect("no actor panics in it")
    }

    fn count(&self) -> usize {
        self.open().waiting.len()
    }

    fn accuse(&self, found: Vec<Violation>) {
        self.open().broken.extend(found);
    }

    fn broken(&self) -> Vec<Violation> {
        self.open().broken.clone()
    }

    /// Books the answer the moment it is there.
    fn watch(&self, world: &World, producer: usize, uid: u64, ticket: Ticket) {
        self.open().waiting.insert((producer, uid));
        let (open, world) = (self.clone(), world.clone());
        tokio::spawn(async move {
            world.answers(vec![(uid, ticket)]).await;
            open.open().waiting.remove(&(producer, uid));
        });
    }

    /// P9: when a flush is over, everything accepted before it is answered.
    async fn flush(self, world: World, index: usize, producer: Producer) {
        let before: Vec<u64> =
            self.open().waiting.iter().filter(|(of, _)| *of == index).map(|(_, uid)| *uid).collect();
        producer.flush().await;
        // Those who wait for the answers are woken by the same event; they get their turn.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let mut open = self.open();
        for uid in before.into_iter().filter(|uid| open.waiting.contains(&(index, *uid))).collect::<Vec<_>>()
        {
            let what = format!(
                "at {}: a flush is over, and record {uid}, accepted before it, is open",
                world.now_millis()
            );
            open.broken.push(judge::violation("P9", what));
        }
    }
}

fn producer(world: &World, index: usize, how: &ProducerPlan) -> Producer {
    let config = ProducerConfig::new(STREAM)
        .with_seed(world.seed ^ index as u64)
        .with_aggregation_enabled(how.aggregation)
        .with_record_max_buffered_time(Duration::from_millis(how.buffered_millis))
        .with_record_ttl(Duration::from_millis(how.ttl_millis))
        .with_max_record_size(100_000)
        .with_max_outstanding_bytes(how.outstanding_bytes)
        .with_request_timeout(Duration::from_millis(how.request_timeout_millis))
        .with_rate_limit(how.rate_limit_percent)
        .with_ordering(if how.ordered { Ordering::PerShard } else { Ordering::Relaxed });
    Producer::start(&world.sim.client_named(format!("producer-{index}")), config)
        .expect("a valid configuration")
}

async fn worker_of(world: &World, how: WorkerPlan, life: usize, process: &Process) -> Scheduler {
    let name = process.name.as_str();
    let clock = Clock::with_rate(1.0 + f64::from(how.clock_ppm) / 1e6).frozen_by(&process.freezer);
    let config = ConsumerConfig::new("tests", STREAM, name)
        .with_initial_position(InitialPosition::TrimHorizon)
        .with_failover_time(FAILOVER)
        .with_max_records(how.max_records)
        .with_retrieval_mode(how.retrieval)
        .with_seed(world.seed ^ (life as u64) << 8)
        .with_clock(clock);
    let work = Work {
        policy: how.policy,
        work: Duration::from_millis(how.work_millis),
        fail_every: how.fail_every,
        at_shutdown: how.at_shutdown,
        forgets_end: how.forgets_end,
    };
    let store = Arc::new(process.table.clone());
    // A start can meet a fault that is still in force; an operator would start again.
    loop {
        let (client, factory) = (process.network.client(&world.sim, name), world.recorders(name, work));
        match Scheduler::start(&client, config.clone(), Arc::<WorkerTable>::clone(&store), factory).await {
            Ok(scheduler) => return scheduler,
            Err(error) => {
                world.note(format!("{name} does not start: {error}"));
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

fn record(uid: u64, keys: Keys, largest: usize, rng: &mut SmallRng) -> UserRecord {
    let data = payload(uid, rng.random_range(0..=largest));
    match keys {
        Keys::Many => UserRecord::new(format!("key-{}", rng.random_range(0..64)), data),
        Keys::One => UserRecord::new("the-one-key", data),
        Keys::Edges => {
            let half = u128::MAX / 2;
            let edges = [0, 1, half, half + 1, u128::MAX - 1, u128::MAX];
            let key = HashKey::new(edges[rng.random_range(0..edges.len())]);
            UserRecord::new("edge", data).with_explicit_hash_key(key)
        }
    }
}
