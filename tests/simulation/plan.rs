//! What a seed decides, written out: everything that happens from outside, each act on its own, so that leaving one out
//! moves no other.

use kcl::RetrievalMode;
use kinesis_sim::Verdict;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use self::taste::Taste;
use super::stranger::Stranger;
use super::table::TableFault;
use crate::common::worker::Policy;
use crate::common::{SECOND, STREAM};

// What a seed likes.
mod taste;

/// How seeds are drawn: with middling settings, or each with its own extremes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distribution {
    Balanced,
    Swarm,
    /// Producers alone: their requests, their shards, their lives.
    Producers,
    /// Several workers with clocks that differ, and what makes them lose their leases.
    Leases,
    /// The same, and somebody deletes rows in the console.
    ByHand,
}

impl Distribution {
    /// The one of this seed, where both general ones take part.
    pub fn general(seed: u64) -> Self {
        if seed.is_multiple_of(2) { Self::Balanced } else { Self::Swarm }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub seed: u64,
    /// Of each stream.
    pub shards: u32,
    /// Whether the application reads two streams.
    pub two_streams: bool,
    /// Whether its leases are in the double of DynamoDB.
    pub dynamodb: bool,
    pub producers: Vec<ProducerPlan>,
    pub workers: Vec<WorkerPlan>,
    /// By time, in milliseconds.
    pub acts: Vec<(u64, Act)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProducerPlan {
    /// Which of the streams it writes to.
    pub stream: usize,
    pub aggregation: bool,
    pub buffered_millis: u64,
    pub ttl_millis: u64,
    pub outstanding_bytes: usize,
    pub request_timeout_millis: u64,
    /// Whether it keeps the order of each key.
    pub ordered: bool,
    /// Of a shard's limits.
    pub rate_limit_percent: u32,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WorkerPlan {
    /// Whether it is a scan.
    pub scans: bool,
    /// How much its clock is off.
    pub clock_ppm: i32,
    pub policy: Policy,
    pub work_millis: u64,
    pub fail_every: u64,
    pub max_records: u32,
    pub retrieval: RetrievalMode,
    pub at_shutdown: bool,
    /// Whether its first call of `shard_ended` forgets to checkpoint.
    pub forgets_end: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    Put {
        producer: usize,
        count: usize,
        keys: Keys,
        largest: usize,
    },
    Flush {
        producer: usize,
    },
    CloseProducer {
        producer: usize,
    },
    DropProducer {
        producer: usize,
    },
    Split,
    Merge,
    Kinesis {
        operation: &'static str,
        caller: Option<String>,
        verdict: Verdict,
        times: u64,
    },
    /// Every call of an operation fares like this for so long.
    Outage {
        operation: &'static str,
        verdict: Verdict,
        millis: u64,
    },
    Table {
        worker: usize,
        fault: TableFault,
        times: usize,
    },
    /// Somebody deletes the row of an open shard.
    DeleteRow {
        nth: usize,
    },
    Start {
        worker: usize,
    },
    Stop {
        worker: usize,
    },
    Crash {
        worker: usize,
    },
    CrashAtWrite {
        worker: usize,
        nth: u64,
        after: bool,
    },
    Freeze {
        worker: usize,
        millis: u64,
    },
    /// No worker runs for so many hours, once or more often, with records put in before each.
    Night {
        /// Whether they stand still, instead of dying and being started again.
        frozen: bool,
        hours: Vec<u64>,
    },
    Stranger(Stranger),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    Many,
    One,
    /// Explicit hash keys at the ends of the key space and of its halves.
    Edges,
}

/// How long the faults last.
const MILLIS: u64 = 90_000;

impl Plan {
    pub fn drawn(seed: u64, distribution: Distribution) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed ^ (0x5eed_0000 + ((distribution as u64) << 48)));
        let taste = Taste::drawn(&mut rng, distribution);
        let shards = rng.random_range(1..=taste.shards);
        let workers = rng.random_range(taste.workers.0..=taste.workers.1);
        let workers: Vec<WorkerPlan> = (0..workers).map(|_| taste.worker(&mut rng)).collect();
        let producers: Vec<ProducerPlan> =
            (0..rng.random_range(1..=2)).map(|_| taste.producer(&mut rng)).collect();
        let mut acts = Vec::new();
        for producer in 0..producers.len() {
            for _ in 0..rng.random_range(taste.puts.0..taste.puts.1) {
                acts.push((rng.random_range(0..MILLIS), taste.put(producer, &mut rng)));
            }
        }
        for worker in 1..workers.len() {
            acts.push((rng.random_range(0..MILLIS / 3), Act::Start { worker }));
        }
        for _ in 0..rng.random_range(0..=taste.acts) {
            let at = rng.random_range(0..MILLIS);
            if let Some(act) = taste.act(producers.len(), workers.len(), &mut rng) {
                acts.push((at, act));
            }
        }
        acts.sort_by_key(|(at, _)| *at);
        let mut plan = Self { seed, shards, two_streams: false, dynamodb: false, producers, workers, acts };
        if matches!(distribution, Distribution::Balanced | Distribution::Swarm) {
            plan.vary();
        }
        plan
    }

    /// What the application is like as a whole, from draws of its own.
    fn vary(&mut self) {
        let mut rng = SmallRng::seed_from_u64(self.seed ^ 0x0dd5_0000);
        self.dynamodb = rng.random_bool(0.05);
        self.two_streams = rng.random_bool(0.15);
        if self.two_streams {
            self.shards = self.shards.min(3);
            for (index, producer) in self.producers.iter_mut().enumerate() {
                producer.stream = index + 1;
            }
        }
        if rng.random_bool(0.1) {
            // As if each had the shards to itself many times over: the service throttles.
            for producer in &mut self.producers {
                producer.rate_limit_percent = 1_000;
            }
        }
        if rng.random_bool(0.06) {
            let hours = (0..rng.random_range(1..=4)).map(|_| rng.random_range(1..=11)).collect();
            let night = Act::Night { frozen: rng.random_bool(0.5), hours };
            let at = rng.random_range(0..MILLIS);
            self.acts.insert(self.acts.partition_point(|(before, _)| *before < at), (at, night));
        }
        self.invite();
        if !self.two_streams {
            // A scan reads one stream.
            for worker in &mut self.workers {
                worker.scans = rng.random_bool(0.2);
            }
        }
    }

    /// Another application, in every twelfth run; before every other night, which it sleeps through.
    fn invite(&mut self) {
        let mut rng = SmallRng::seed_from_u64(self.seed ^ 0x57a4_0000);
        let night = self.acts.iter().position(|(_, act)| matches!(act, Act::Night { .. }));
        if rng.random_bool(if night.is_some() { 0.5 } else { 0.08 }) {
            let at = night.map_or_else(|| rng.random_range(0..MILLIS), |night| self.acts[night].0);
            let how = Stranger {
                reads: rng.random_range(20..200),
                every_millis: rng.random_range(50..400),
                rest_millis: if night.is_some() { 400_000 } else { 1_000 },
            };
            self.acts.insert(self.acts.partition_point(|(before, _)| *before < at), (at, Act::Stranger(how)));
        }
    }

    pub fn streams(&self) -> &'static [&'static str] {
        if self.two_streams { &[STREAM, SECOND] } else { &[STREAM] }
    }

    /// Whether nothing happens after which a record may be stored that its producer must send again: a lost answer, one
    /// that comes too late, or a reshard, which an aggregate can land across.
    pub fn makes_no_copies(&self) -> bool {
        !self.acts.iter().any(|(_, act)| match act {
            Act::Split | Act::Merge => true,
            Act::Kinesis { operation: "PutRecords", verdict, .. }
            | Act::Outage { operation: "PutRecords", verdict, .. } => {
                matches!(verdict, Verdict::LoseAnswer | Verdict::Delay(_))
            }
            _ => false,
        })
    }

    /// Whether nothing happens for which a producer may refuse a record, reshards apart.
    pub fn refuses_nothing(&self) -> bool {
        let harmless = self.acts.iter().all(|(_, act)| match act {
            Act::Kinesis { operation, .. } | Act::Outage { operation, .. } => {
                !matches!(*operation, "PutRecords" | "ListShards")
            }
            Act::CloseProducer { .. } | Act::DropProducer { .. } => false,
            // More than a shard takes while a record lives.
            Act::Put { largest, .. } => *largest <= 2_000,
            _ => true,
        });
        // In order, and each record alone, a shard takes one for each round trip.
        let patient = |producer: &ProducerPlan| producer.ttl_millis >= 30_000 && !producer.ordered;
        harmless && self.producers.iter().all(patient)
    }
}
