//! Real processes over real sockets: producers and workers that are killed, stopped and cut off while the shards change.
//!
//! ```text
//! cargo test --test chaos                                        half a minute
//! CHAOS_SECONDS=3600 CHAOS_RATE=2000 cargo test --profile seeds --test chaos     the long form
//! CHAOS_STORE=dynamodb cargo test --test chaos                   leases in a DynamoDB-compatible server
//! ```
//!
//! This program starts itself again as each producer and worker. The engine and the proxies of each worker run here, so that
//! a network can be cut without the process knowing. What counts in the end is only what the processes wrote to files, and
//! what the engine holds. Needs `kill` for the signals; without it, or on Windows, it says so and does nothing.
//! `CHAOS_STORE=dynamodb` needs node and npm as well (tests/interop/dynamodb); `CHAOS_SEED` draws another order of troubles.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "a program that reports, in real time"
)]

#[path = "chaos/actors.rs"]
mod actors;
#[path = "chaos/proxy.rs"]
mod proxy;
#[path = "chaos/table.rs"]
mod table;
#[path = "chaos/verdict.rs"]
mod verdict;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use kinesis_shard::Shard;
use kinesis_sim::{Limits, Sim};
use proxy::Proxy;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use table::Table;

/// The stream that everybody uses.
const STREAM: &str = "chaos";
const PRODUCERS: usize = 2;
const WORKERS: usize = 3;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    match std::env::var("CHAOS_ROLE").as_deref() {
        Ok("producer") => runtime.block_on(actors::producer()),
        Ok("worker") => runtime.block_on(actors::worker()),
        _ if !can_signal() => {
            println!("skip: chaos: there is no `kill` on this machine\n0 passed, 0 failed");
            return ExitCode::SUCCESS;
        }
        _ => return runtime.block_on(chaos()),
    }
    ExitCode::SUCCESS
}

fn can_signal() -> bool {
    cfg!(unix)
        && Command::new("kill").arg("-l").stdout(Stdio::null()).status().is_ok_and(|done| done.success())
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

/// One process of its own, which may be between two lives.
struct Process {
    role: &'static str,
    name: String,
    lives: u32,
    child: Option<Child>,
}

impl Process {
    fn start(&mut self, server: SocketAddr, leases: &str, folder: &Path) {
        self.lives += 1;
        let file = folder.join(format!("{}-{}", self.name, self.lives));
        let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
        command
            .env("CHAOS_ROLE", self.role)
            .env("CHAOS_NAME", &self.name)
            .env("CHAOS_LIFE", self.lives.to_string())
            .env("CHAOS_SERVER", server.to_string())
            .env("CHAOS_FILE", file)
            .env("CHAOS_LEASES", leases)
            .stdin(Stdio::null());
        self.child = Some(command.spawn().expect("this program starts again"));
    }

    fn signal(&self, signal: &str) {
        if let Some(child) = &self.child {
            // It may be gone already.
            drop(Command::new("kill").arg(signal).arg(child.id().to_string()).stderr(Stdio::null()).status());
        }
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

struct Stage {
    sim: Sim,
    server: SocketAddr,
    folder: PathBuf,
    proxies: Vec<Proxy>,
    table: Table,
    producers: Vec<Process>,
    workers: Vec<Process>,
    rng: SmallRng,
    /// What goes wrong next: each kind once before any comes again.
    deck: Vec<u32>,
}

async fn chaos() -> ExitCode {
    let (seconds, seed) = (number("CHAOS_SECONDS", 25), number("CHAOS_SEED", 1));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let Some(table) = Table::open(folder.path(), WORKERS, seconds).await else {
        println!("0 passed, 0 failed");
        return ExitCode::SUCCESS;
    };
    let sim = Sim::builder().limits(Limits::Aws).state_delay(Duration::from_millis(100)).wall_clock().build();
    sim.create_stream(STREAM, 3);
    let server = sim.serve(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port");
    let mut proxies = Vec::new();
    for _ in 0..WORKERS {
        proxies.push(Proxy::start(server.addr()).await);
    }
    let process = |role: &'static str| {
        move |index: usize| Process { role, name: format!("{role}-{index}"), lives: 0, child: None }
    };
    let mut stage = Stage {
        sim,
        server: server.addr(),
        folder: folder.path().to_owned(),
        proxies,
        table,
        producers: (0..PRODUCERS).map(process("producer")).collect(),
        workers: (0..WORKERS).map(process("worker")).collect(),
        rng: SmallRng::seed_from_u64(seed),
        deck: Vec::new(),
    };
    let began = Instant::now();
    stage.start_all();
    let mut told = std::collections::BTreeMap::<&str, u32>::new();
    while began.elapsed() < Duration::from_secs(seconds) {
        tokio::time::sleep(Duration::from_millis(stage.rng.random_range(300..1_200))).await;
        *told.entry(stage.trouble().await).or_default() += 1;
        stage.start_all();
    }
    println!("chaos of {seconds} s, seed {seed}: {told:?}");
    stage.calm().await;
    let verdict = verdict::judge(&stage.folder, &stage.sim, Duration::from_mins(2)).await;
    drop(stage);
    server.stop().await;
    println!("{verdict}");
    let failed = u32::from(!verdict.is_good());
    println!("{} passed, {failed} failed", 1 - failed);
    if verdict.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Stage {
    /// Starts whoever is not there.
    fn start_all(&mut self) {
        for producer in self.producers.iter_mut().filter(|one| one.child.is_none()) {
            producer.start(self.server, "none", &self.folder);
        }
        for (index, worker) in self.workers.iter_mut().enumerate().filter(|(_, one)| one.child.is_none()) {
            worker.start(self.proxies[index].addr(), &self.table.address(index), &self.folder);
        }
    }

    /// One thing that goes wrong.
    async fn trouble(&mut self) -> &'static str {
        let worker = self.rng.random_range(0..WORKERS);
        let millis = Duration::from_millis(self.rng.random_range(200..6_000));
        if self.deck.is_empty() {
            self.deck.extend(0..if self.table.proxy(0).is_some() { 9 } else { 6 });
            self.deck.shuffle(&mut self.rng);
        }
        match self.deck.pop() {
            Some(0) => {
                self.workers[worker].kill();
                "worker killed"
            }
            Some(1) => {
                let producer = self.rng.random_range(0..PRODUCERS);
                self.producers[producer].kill();
                "producer killed"
            }
            Some(2) => {
                self.workers[worker].signal("-STOP");
                tokio::time::sleep(millis).await;
                self.workers[worker].signal("-CONT");
                "worker stopped for a while"
            }
            Some(3) => {
                self.proxies[worker].cut();
                tokio::time::sleep(millis).await;
                self.proxies[worker].mend();
                "network cut"
            }
            Some(4) => {
                self.split();
                "split"
            }
            Some(5) => {
                self.merge();
                "merge"
            }
            other => self.trouble_of_the_table(other, worker, millis).await,
        }
    }

    /// What can go wrong between a worker and a table that is a server.
    async fn trouble_of_the_table(
        &mut self,
        kind: Option<u32>,
        worker: usize,
        millis: Duration,
    ) -> &'static str {
        let Some(way) = self.table.proxy(worker) else { return "nothing" };
        match kind {
            Some(6) => {
                way.cut();
                tokio::time::sleep(millis).await;
                way.mend();
                "way to the table cut"
            }
            Some(7) => {
                way.hold();
                tokio::time::sleep(millis).await;
                way.mend();
                "way to the table held up"
            }
            _ => {
                self.table.signal("-STOP");
                tokio::time::sleep(millis).await;
                self.table.signal("-CONT");
                "table stopped for a while"
            }
        }
    }

    fn open_shards(&self) -> Vec<Shard> {
        let mut open: Vec<Shard> = self.sim.shards(STREAM).into_iter().filter(Shard::is_open).collect();
        open.sort_by_key(|shard| shard.hash_key_range.start());
        open
    }

    fn split(&self) {
        let open = self.open_shards();
        let width = |shard: &Shard| shard.hash_key_range.end().get() - shard.hash_key_range.start().get();
        if let (Some(widest), true) = (open.iter().max_by_key(|shard| width(shard)), open.len() < 8) {
            self.sim.split_shard(STREAM, &widest.id);
        }
    }

    fn merge(&self) {
        if let [first, second, _, ..] = self.open_shards().as_slice() {
            self.sim.merge_shards(STREAM, &first.id, &second.id);
        }
    }

    /// No more trouble, and no more records.
    async fn calm(&mut self) {
        for proxy in &self.proxies {
            proxy.mend();
        }
        self.table.mend();
        self.start_all();
        for producer in &mut self.producers {
            producer.signal("-TERM");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        for producer in &mut self.producers {
            producer.kill();
        }
    }
}
