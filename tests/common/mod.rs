//! The world of the whole-system tests: one seed builds an engine, producers, workers and faults on virtual time,
//! records what happens, and judges it. `SIM_SEED=n` repeats one seed, `SIM_SEEDS=n` runs that many.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses its own part of the world")]
#![allow(
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "test support: a panic is an answer, and the world reads the clock"
)]

pub mod history;
pub mod streams;
pub mod worker;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use history::{Event, History, Violation};
use kcl::lease::{LeaseStore, MemoryLeaseStore};
use kinesis_shard::{ExtendedSequenceNumber, HashKey};
use kinesis_sim::{Limits, Sim};
use kpl::{Producer, ProducerConfig, Ticket, UserRecord};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

pub const STREAM: &str = "orders";
/// The stream beside it, where an application reads two.
pub const SECOND: &str = "payments";

/// Runs `scenario` once per seed, each in a paused runtime of its own, and names the command that repeats a failure.
pub fn for_each_seed<F>(test: &str, scenario: impl Fn(World) -> F)
where
    F: Future<Output = ()>,
{
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(8),
    };
    for seed in seeds {
        let run = AssertUnwindSafe(|| in_virtual_time(async { scenario(World::new(seed)).await }));
        if let Err(panic) = catch_unwind(run) {
            let file = env!("CARGO_CRATE_NAME");
            eprintln!("seed {seed} failed; repeat it with: SIM_SEED={seed} cargo test --test {file} {test}");
            resume_unwind(panic);
        }
    }
}

/// A single-threaded runtime whose clock jumps to the next timer when nothing else is left to do.
pub fn in_virtual_time<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O")
        .block_on(future)
}

/// Makes the lease store of a worker from its name.
pub type StoreOf = dyn Fn(&str) -> Arc<dyn LeaseStore> + Send + Sync;

/// One simulated stream with its producers and workers.
#[derive(Clone)]
pub struct World {
    pub seed: u64,
    pub sim: Sim,
    pub history: History,
    pub streams: &'static [&'static str],
    pub store: MemoryLeaseStore,
    /// The store of the worker of that name, if it is not `store`.
    pub store_of: Option<Arc<StoreOf>>,
    began: Instant,
    archive: Arc<Mutex<streams::Archive>>,
    looked_through: Arc<Mutex<streams::LookedThrough>>,
    next_uid: Arc<AtomicU64>,
    next_tenure: Arc<AtomicU64>,
}

impl World {
    /// A stream of one to four shards, limits as the service has them.
    pub fn new(seed: u64) -> Self {
        let shards = SmallRng::seed_from_u64(seed).random_range(1..=4);
        Self::with_shards(seed, shards)
    }

    pub fn with_shards(seed: u64, shards: u32) -> Self {
        Self::with_streams(seed, shards, &[STREAM])
    }

    /// Each of these streams with so many shards.
    pub fn with_streams(seed: u64, shards: u32, streams: &'static [&'static str]) -> Self {
        let sim = Sim::builder().seed(seed).limits(Limits::Aws).state_delay(Duration::from_secs(1)).build();
        for stream in streams {
            sim.create_stream(stream, shards);
        }
        Self {
            seed,
            sim,
            history: History::default(),
            streams,
            store: MemoryLeaseStore::new(),
            store_of: None,
            began: Instant::now(),
            archive: Arc::default(),
            looked_through: Arc::default(),
            next_uid: Arc::default(),
            next_tenure: Arc::default(),
        }
    }

    /// A generator of this seed for one named purpose, so that a new draw in one place shifts no other.
    pub fn rng(&self, purpose: &str) -> SmallRng {
        let salt = purpose
            .bytes()
            .fold(self.seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        SmallRng::seed_from_u64(salt)
    }

    pub fn now_millis(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis())
            .expect("a run is shorter than the age of the universe")
    }

    pub fn record(&self, event: Event) {
        self.history.record(self.now_millis(), event);
    }

    pub fn note(&self, text: impl Into<String>) {
        self.record(Event::Note(text.into()));
    }

    pub fn producer(&self, tune: impl FnOnce(ProducerConfig) -> ProducerConfig) -> Producer {
        let config = tune(ProducerConfig::new(STREAM).with_seed(self.seed));
        Producer::start(&self.sim.client_named("producer"), config).expect("the configuration is valid")
    }

    /// Puts `count` records with drawn keys and sizes; each put waits for room only.
    pub async fn put(&self, producer: &Producer, count: usize) -> Vec<(u64, Ticket)> {
        let mut rng = self.rng(&format!("put {}", self.next_uid.load(Ordering::Relaxed)));
        let mut tickets = Vec::with_capacity(count);
        for _ in 0..count {
            let size = if rng.random_bool(0.02) {
                rng.random_range(1_000..40_000)
            } else {
                rng.random_range(0..300)
            };
            let key = format!("key-{}", rng.random_range(0..64));
            tickets.push(self.put_one(producer, key, size).await);
        }
        tickets
    }

    pub fn next_uid(&self) -> u64 {
        self.next_uid.fetch_add(1, Ordering::Relaxed)
    }

    pub fn next_tenure(&self) -> u64 {
        self.next_tenure.fetch_add(1, Ordering::Relaxed)
    }

    pub async fn put_one(&self, producer: &Producer, key: String, size: usize) -> (u64, Ticket) {
        let uid = self.next_uid();
        self.record(Event::Submitted { uid });
        let ticket =
            producer.put(UserRecord::new(key, payload(uid, size))).await.expect("the producer accepts it");
        (uid, ticket)
    }

    /// Waits for every answer and books it.
    pub async fn answers(&self, tickets: Vec<(u64, Ticket)>) {
        self.answers_of(STREAM, tickets).await;
    }

    pub async fn answers_of(&self, stream: &str, tickets: Vec<(u64, Ticket)>) {
        for (uid, ticket) in tickets {
            let answer = ticket.await;
            self.pauses(uid, answer.as_ref().map_or_else(kpl::PutError::attempts, |sent| &sent.attempts));
            match answer {
                Ok(delivered) => self.record(Event::Acknowledged {
                    uid,
                    shard: streams::name(stream, &delivered.shard_id),
                    position: ExtendedSequenceNumber {
                        sequence_number: delivered.sequence_number,
                        sub_sequence_number: delivered.sub_sequence_number,
                    },
                }),
                Err(error) => self.record(Event::Refused {
                    uid,
                    may_have_been_written: error.may_have_been_written(),
                    why: error.to_string(),
                }),
            }
        }
    }

    /// P12: between two attempts lies at least the half of the shortest pause, where the first has failed by itself.
    fn pauses(&self, uid: u64, attempts: &[kpl::Attempt]) {
        for pair in attempts.windows(2) {
            let [before, next] = pair else { continue };
            // A map that came meanwhile, or a request taken apart, sends at once; a throttled shard has pauses of its own.
            let code = before.error_code.as_deref().unwrap_or("WrongShard");
            let pauses = ["InternalFailure", "RequestTimeout", "ServiceUnavailable"].contains(&code);
            let gap = next.started.saturating_sub(before.started + before.duration);
            if pauses && gap < Duration::from_millis(50) {
                let millis = u64::try_from(gap.as_millis()).unwrap_or(u64::MAX);
                self.record(Event::Hasty { uid, millis, after: code.to_owned() });
            }
        }
    }

    /// Waits until every acknowledged record was handed over; gives up after two virtual minutes.
    pub async fn until_delivered(&self) {
        for _ in 0..1_200 {
            if self.history.is_all_read() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Judges the run so far by everything but completeness.
    pub fn violations(&self) -> Vec<Violation> {
        history::judge(&self.history, &self.stored(), &self.shards())
    }

    /// Panics with the violations and the end of the history if any promise was broken.
    pub fn assert_sound(&self) {
        let found = self.violations();
        assert!(found.is_empty(), "{found:#?}\n{}", self.tail());
    }

    /// `assert_sound`, and everything acknowledged was handed over.
    pub fn assert_complete(&self) {
        self.assert_sound();
        let lost = history::judge_nothing_lost(&self.history);
        assert!(lost.is_empty(), "{lost:#?}\n{}", self.tail());
    }

    fn tail(&self) -> String {
        let text = self.history.text();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

/// A payload that carries its id, its length and a checksum: a copy, a loss, a swap and a corruption look different.
pub fn payload(uid: u64, size: usize) -> Bytes {
    let mut data = BytesMut::with_capacity(size + 16);
    data.put_u64(uid);
    data.put_u64(checksum(uid, size));
    data.resize(size + 16, (uid % 251) as u8);
    data.freeze()
}

/// The id in a payload; panics if the payload was altered.
pub fn uid_of(data: &Bytes) -> u64 {
    let word = |at: usize| u64::from_be_bytes(data[at..at + 8].try_into().expect("eight bytes"));
    let (uid, sum, filler) = (word(0), word(8), &data[16..]);
    assert_eq!(sum, checksum(uid, filler.len()), "record {uid} was altered");
    // Without an early end, it runs in lanes: there are megabytes of filler in a seed.
    let differences = filler.iter().fold(0, |all, byte| all | (byte ^ (uid % 251) as u8));
    assert_eq!(differences, 0, "record {uid} was altered");
    uid
}

fn checksum(uid: u64, size: usize) -> u64 {
    (uid ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0x2545_f491_4f6c_dd1d).wrapping_add(size as u64)
}

/// The hash key of a partition key, for tests that place records on purpose.
pub fn hash_of(key: &str) -> HashKey {
    HashKey::of_partition_key(key)
}
