//! Carries a plan out: trouble first, then quiet, in which everything has to be put right, then the end and the verdict.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kcl::lease::{Lease, LeaseKey};
use kinesis_sim::{Rule, RuleGuard, SimDynamoDb, Verdict};
use kpl::Producer;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::task::JoinSet;

use super::consumer::{Consumer, Process};
use super::dynamo;
use super::plan::{Act, Keys, Plan};
use super::producers::{OpenTickets, producer, record};
use super::reached::Reached;
use super::stranger;
use super::table::Rows;
use crate::common::history::{Event, History, Violation};
use crate::common::{World, in_virtual_time, streams};

// The end, and the verdict.
mod ending;

// What happens to workers.
mod workers;

/// The time of a lease of the simulated application.
pub const FAILOVER: Duration = Duration::from_secs(10);

/// What became of a plan.
#[derive(Debug)]
pub struct Outcome {
    pub violations: Vec<Violation>,
    pub reached: Reached,
    pub log: History,
    /// The engine's.
    pub trace: Vec<String>,
    pub events: usize,
    pub virtual_millis: u64,
}

impl Outcome {
    /// One line per event. Not made of each run: writing it takes as long as a part of the run itself.
    pub fn history(&self) -> String {
        self.log.text()
    }
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
            Act::Stranger(how) => {
                self.reached.note("another application read");
                tokio::spawn(stranger::read(self.world.clone(), self.world.stream(at), how));
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

    /// Resharding needs an active stream: waits until the change before is done.
    async fn until_active(&mut self) {
        self.pass(Duration::from_millis(1_100)).await;
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
}

/// The rows, under the names that their shards have in histories.
fn named(rows: &Mutex<BTreeMap<LeaseKey, Lease>>) -> BTreeMap<LeaseKey, Lease> {
    let rows = rows.lock().expect("no actor panics in it");
    rows.values().map(|row| (streams::key(&row.key), streams::named(row))).collect()
}
