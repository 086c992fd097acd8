//! Carries a plan out: trouble first, then quiet, in which everything has to be put right, then the end and the verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use kcl::lease::{Lease, LeaseKey};
use kinesis_shard::Freezer;
use kinesis_sim::{Rule, RuleGuard, SimDynamoDb, Verdict};
use kpl::Producer;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::task::JoinSet;

use super::consumer::{Consumer, Process};
use super::dynamo;
use super::engine::engine;
use super::judge;
use super::network::Network;
use super::plan::{Act, Keys, Plan};
use super::producers::{OpenTickets, producer, record};
use super::reached::Reached;
use super::retention;
use super::table::{Rows, WorkerTable};
use crate::common::history::{Event, HAND, History, Violation};
use crate::common::{STREAM, World, in_virtual_time, streams};

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
    consumer: Consumer,
    process: Process,
    /// Whether no older process of its name was there when it began: what such a one writes late looks like its own.
    alone: bool,
}

struct Stage<'a> {
    plan: &'a Plan,
    world: World,
    rows: Rows,
    /// Where they are instead of in a table of the tests' own.
    double: Option<SimDynamoDb>,
    workers: Vec<Option<Running>>,
    lives: usize,
    /// How much later than planned everything happens, in milliseconds.
    late: u64,
    /// Whether what was not handed over, if anything, was trimmed.
    rest_was_trimmed: bool,
    /// How often each worker was started.
    running: Arc<Mutex<Vec<u64>>>,
    /// How many processes of each worker there are: an old one may still be stopping.
    alive: Arc<Mutex<Vec<usize>>>,
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
        let world = World::with_streams(plan.seed, plan.shards, plan.streams());
        let producers = plan.producers.iter().enumerate();
        let producers: Vec<_> =
            producers.map(|(index, how)| Some((index, producer(&world, index, how)))).collect();
        let rows = Rows::default();
        Self {
            plan,
            double: plan.dynamodb.then(|| dynamo::tables(&world, &rows)),
            rows,
            workers: plan.workers.iter().map(|_| None).collect(),
            lives: producers.len(),
            lines: 0,
            late: 0,
            rest_was_trimmed: false,
            running: Arc::new(Mutex::new(vec![0; plan.workers.len()])),
            alive: Arc::new(Mutex::new(vec![0; plan.workers.len()])),
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
            let wait = (at + self.late).saturating_sub(self.world.now_millis());
            self.pass(Duration::from_millis(wait)).await;
            self.act(*at, act.clone()).await;
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

    async fn act(&mut self, at: u64, act: Act) {
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
            // Of several streams the one that this moment falls to.
            Act::Split => self.split(self.world.stream(at)).await,
            Act::Merge => self.merge(self.world.stream(at)).await,
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
            Act::Night { frozen, hours } => self.night(frozen, &hours).await,
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

    async fn split(&mut self, stream: &str) {
        if self.world.open_count() < 12 {
            self.until_active().await;
            self.reached.note("split");
            self.world.split_widest_of(stream);
        }
    }

    async fn merge(&mut self, stream: &str) {
        self.until_active().await;
        if self.world.merge_first_of(stream) {
            self.reached.note("merge");
        }
    }

    fn stop(&mut self, worker: usize) {
        if let Some(Running { consumer, process, alone }) = self.workers[worker].take() {
            self.reached.note("worker stopped");
            // One that stands still is told of the stop when it wakes; its leases may have run out until then.
            let undisturbed = alone && process.freezer.thawed().now_or_never().is_some();
            let (rows, world, broken) = (Arc::clone(&self.rows), self.world.clone(), self.open.clone());
            let (healthy, began) = (process.table.is_healthy(), tokio::time::Instant::now());
            let (running, life) = (Arc::clone(&self.running), self.life_of(worker));
            let alive = Arc::clone(&self.alive);
            self.puts.spawn(async move {
                let report = consumer.shutdown(Duration::from_secs(5)).await;
                alive.lock().expect("no panic in it")[worker] -= 1;
                // Neither a write that went wrong, nor a process that stood still; and another one of the same name
                // has rows of its own.
                let undisturbed = undisturbed
                    && healthy
                    && began.elapsed() < Duration::from_secs(2)
                    && report.forced.is_empty()
                    && running.lock().expect("no panic in it")[worker] == life;
                if undisturbed {
                    let rows = named(&rows);
                    broken.accuse(judge::given_back(&world, &rows, &BTreeSet::from([process.name])));
                }
            });
        }
    }

    /// Nobody reads for hours, in which records come and perhaps grow too old.
    async fn night(&mut self, frozen: bool, hours: &[u64]) {
        let began = self.world.now_millis();
        let hour = Duration::from_hours(1);
        let running: Vec<usize> =
            (0..self.workers.len()).filter(|worker| self.workers[*worker].is_some()).collect();
        for worker in &running {
            if let (true, Some(running)) = (frozen, &self.workers[*worker]) {
                let total: u64 = hours.iter().sum();
                running.process.freezer.freeze(hour * u32::try_from(total).unwrap_or(u32::MAX));
            } else {
                self.crash(*worker);
            }
        }
        for (index, hours) in hours.iter().enumerate() {
            self.put(index % self.producers.len(), 5, Keys::Many, 20);
            self.pass(Duration::from_mins(2)).await;
            self.world.keep();
            self.pass(hour * u32::try_from(*hours).unwrap_or(u32::MAX)).await;
            self.world.keep();
        }
        for worker in running {
            self.start(worker).await;
        }
        self.late += self.world.now_millis() - began;
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
        let alone = {
            let mut alive = self.alive.lock().expect("no panic in it");
            alive[worker] += 1;
            alive[worker] == 1
        };
        let (name, freezer) = (format!("worker-{worker}"), Freezer::new());
        let process = Process {
            network: Network::new(&self.world.sim, &name, &freezer),
            table: WorkerTable::new(&self.world, &name, &self.rows, self.double.as_ref(), &freezer),
            freezer,
            name,
        };
        self.world.record(Event::Life { worker: process.name.clone() });
        let how = self.plan.workers[worker];
        if how.retrieval == kcl::RetrievalMode::FanOut {
            self.reached.note("worker read by fan-out");
        }
        if how.scans {
            self.reached.note("scan began");
        }
        let consumer = Consumer::start(&self.world, how, self.lives, &process).await;
        self.workers[worker] = Some(Running { consumer, process, alone });
    }

    fn crash(&mut self, worker: usize) {
        if let Some(running) = self.workers[worker].take() {
            self.reached.note("worker crashed");
            running.process.network.cut();
            running.process.table.cut();
            drop(running);
            self.alive.lock().expect("no panic in it")[worker] -= 1;
            self.world.record(Event::Crashed { worker: format!("worker-{worker}") });
        }
    }

    /// Somebody deletes a row in the console: of a shard that is open, so that nothing waits for it.
    fn delete_row(&mut self, nth: usize) {
        let open: BTreeSet<LeaseKey> = self
            .world
            .sim
            .shards(STREAM)
            .iter()
            .filter(|shard| shard.is_open())
            .map(|shard| LeaseKey::from(&shard.id))
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
        let stream = world.stream(self.plan.producers[producer].stream);
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
                        open.watch(&world, stream, (life, uid), ticket);
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

    fn is_settled(&mut self) -> bool {
        // Then all that is stored is looked through, so not at each turn.
        if self.late > 0 && self.world.now_millis() % 10_000 < 500 {
            self.rest_was_trimmed = retention::unread(&self.world).1.is_empty();
        }
        let answered = self.puts.is_empty() && self.open.count() == 0;
        let all_read = self.world.history.is_all_read() || self.rest_was_trimmed;
        answered && (self.plan.workers.is_empty() || all_read && self.is_owned())
    }

    /// Whether each open shard has an owner.
    fn is_owned(&self) -> bool {
        let rows = named(&self.rows);
        let reaches = |shard: &kinesis_shard::Shard| {
            rows.get(&LeaseKey::from(&shard.id)).is_some_and(|row| row.owner.is_some())
        };
        self.world.shards().iter().filter(|shard| shard.is_open()).all(reaches)
    }

    async fn close_all(&mut self, settled: bool) -> Vec<Violation> {
        let mut violations = Vec::new();
        for (_, producer) in self.producers.iter_mut().filter_map(Option::take) {
            let report = producer.close(Duration::from_secs(30)).await;
            let stats = producer.stats();
            if stats.outstanding_bytes + stats.outstanding_records != 0 {
                violations.push(judge::violation("P11", format!("closed, and still held: {stats:?}")));
            }
            let late = kpl::UserRecord::new("late", vec![0; 16]);
            if producer.try_put(late).is_ok() {
                violations.push(judge::violation("P15", "closed, and still takes records".to_owned()));
            }
            if !report.is_complete() && settled {
                violations.push(judge::violation("P15", format!("at the end {report}")));
            }
        }
        violations
    }

    /// Which situations the run was in.
    fn observe(&mut self) {
        let world = &self.world;
        self.reached.observe(&world.history);
        if let Some(tables) = &self.double {
            self.reached.observe_double(&tables.trace());
        }
        for trimmed in retention::unread(world).0 {
            self.reached.note(trimmed.situation());
        }
        if world.streams.len() > 1 {
            self.reached.note("application read two streams");
        }
        if judge::has_copies(world) {
            self.reached.note("record stored more than once");
        }
    }

    async fn end(mut self) -> Outcome {
        self.rest_was_trimmed = self.late > 0 && retention::unread(&self.world).1.is_empty();
        let settled = self.is_settled();
        let mut violations = Vec::new();
        if !settled {
            let (read, open) = (!self.plan.workers.is_empty(), self.open.count());
            let rows = named(&self.rows);
            violations.extend(judge::unsettled(&self.world, &rows, &mut self.puts, open, read));
        }
        if !self.plan.workers.is_empty() {
            violations.extend(judge::handovers(&self.world));
        }
        violations.extend(self.close_all(settled).await);
        let mut stopped = BTreeSet::new();
        for (index, running) in self.workers.iter_mut().enumerate() {
            if let Some(running) = running.take() {
                // A write of it that is still on its way may land when it is gone.
                if running.alone && running.process.table.is_healthy() {
                    stopped.insert(running.process.name);
                }
                let grace = Duration::from_secs(30);
                let stopped = tokio::time::timeout(grace * 2, running.consumer.shutdown(grace)).await;
                if stopped.is_err() {
                    violations
                        .push(judge::violation("H4", format!("worker-{index} did not stop in {grace:?}")));
                }
            }
        }
        self.puts.abort_all();
        let world = &self.world;
        violations.extend(world.violations());
        let rows = named(&self.rows);
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
        violations.extend(engine(world));
        self.observe();
        let world = &self.world;
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

/// The rows, under the names that their shards have in histories.
fn named(rows: &Mutex<BTreeMap<LeaseKey, Lease>>) -> BTreeMap<LeaseKey, Lease> {
    let rows = rows.lock().expect("no actor panics in it");
    rows.values().map(|row| (streams::key(&row.key), streams::named(row))).collect()
}
