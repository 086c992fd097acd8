//! What a seed decides, written out: everything that happens from outside, each act on its own, so that leaving one out
//! moves no other.

use kcl::RetrievalMode;
use kinesis_sim::{EntryError, Verdict};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::table::TableFault;
use crate::common::worker::Policy;
use crate::common::{SECOND, STREAM};

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
        if !self.two_streams {
            // A scan reads one stream.
            for worker in &mut self.workers {
                worker.scans = rng.random_bool(0.2);
            }
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

/// Which kinds of trouble a seed knows, and how much of each: a weight out of a hundred.
struct Taste {
    shards: u32,
    /// From and to.
    workers: (usize, usize),
    puts: (usize, usize),
    acts: usize,
    clock_ppm: i32,
    weights: [(Kind, u32); 8],
    slow: bool,
    failing: bool,
    /// The chance of a worker to read by enhanced fan-out.
    fan_out: f64,
    by_hand: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Reshard,
    Put,
    Read,
    Table,
    Crash,
    Freeze,
    Membership,
    Producer,
}

/// Nothing but these.
fn weights(some: &[(Kind, u32)]) -> [(Kind, u32); 8] {
    use Kind::{Crash, Freeze, Membership, Producer, Put, Read, Reshard, Table};
    [Reshard, Put, Read, Table, Crash, Freeze, Membership, Producer]
        .map(|kind| some.iter().find(|(of, _)| *of == kind).copied().unwrap_or((kind, 0)))
}

impl Taste {
    fn drawn(rng: &mut SmallRng, distribution: Distribution) -> Self {
        use Kind::{Crash, Freeze, Membership, Producer, Put, Read, Reshard, Table};
        let mut weights = [
            (Reshard, 10),
            (Put, 25),
            (Read, 20),
            (Table, 25),
            (Crash, 8),
            (Freeze, 5),
            (Membership, 5),
            (Producer, 5),
        ];
        let balanced = Self {
            shards: 4,
            workers: (1, 3),
            puts: (4, 12),
            acts: 30,
            clock_ppm: 5_000,
            weights,
            slow: false,
            failing: true,
            fan_out: 0.4,
            by_hand: false,
        };
        match distribution {
            Distribution::Balanced => return balanced,
            Distribution::Producers => return balanced.producers(),
            Distribution::Leases => return balanced.leases(),
            Distribution::ByHand => return Self { by_hand: true, ..balanced.leases() },
            Distribution::Swarm => {}
        }
        for (_, weight) in &mut weights {
            *weight = *[0, 0, 1, 10, 40].choose(rng).unwrap_or(&0);
        }
        Self {
            shards: *[1, 2, 8].choose(rng).unwrap_or(&1),
            workers: (1, *[1, 2, 5].choose(rng).unwrap_or(&1)),
            puts: (4, 12),
            acts: *[5, 40, 120].choose(rng).unwrap_or(&5),
            clock_ppm: *[0, 10_000].choose(rng).unwrap_or(&0),
            weights,
            slow: rng.random_bool(0.3),
            failing: rng.random_bool(0.3),
            fan_out: *[0.0, 0.5, 1.0].choose(rng).unwrap_or(&0.5),
            by_hand: false,
        }
    }

    fn producers(self) -> Self {
        let weights = weights(&[(Kind::Reshard, 25), (Kind::Put, 60), (Kind::Producer, 15)]);
        Self { workers: (0, 0), weights, ..self }
    }

    fn leases(self) -> Self {
        use Kind::{Crash, Freeze, Membership, Reshard, Table};
        let weights = weights(&[(Table, 55), (Freeze, 15), (Crash, 10), (Membership, 10), (Reshard, 10)]);
        Self {
            shards: 2,
            workers: (2, 4),
            puts: (8, 14),
            acts: 40,
            clock_ppm: 10_000,
            weights,
            failing: false,
            ..self
        }
    }

    fn worker(&self, rng: &mut SmallRng) -> WorkerPlan {
        let policies =
            [Policy::EveryBatch, Policy::MidBatch, Policy::EveryNthBatch(3), Policy::Wavering, Policy::Never];
        let work_millis = if self.slow { *[0, 200, 12_000].choose(rng).unwrap_or(&0) } else { 0 };
        WorkerPlan {
            scans: false,
            // The ends as often as the middle: that is where margins show.
            clock_ppm: *[-self.clock_ppm, 0, self.clock_ppm].choose(rng).unwrap_or(&0),
            policy: *policies.choose(rng).unwrap_or(&Policy::EveryBatch),
            work_millis,
            fail_every: if self.failing { *[0, 0, 3].choose(rng).unwrap_or(&0) } else { 0 },
            // Slow and one at a time, it would not be through before the end.
            max_records: if work_millis > 1_000 {
                10_000
            } else {
                *[1, 7, 10_000].choose(rng).unwrap_or(&10_000)
            },
            retrieval: if rng.random_bool(self.fan_out) {
                RetrievalMode::FanOut
            } else {
                RetrievalMode::Polling
            },
            at_shutdown: rng.random_bool(0.5),
            forgets_end: rng.random_bool(0.2),
        }
    }

    #[expect(clippy::unused_self, reason = "one shape for all that is drawn")]
    fn producer(&self, rng: &mut SmallRng) -> ProducerPlan {
        ProducerPlan {
            stream: 0,
            aggregation: rng.random_bool(0.85),
            buffered_millis: *[0, 100, 1_000].choose(rng).unwrap_or(&100),
            ttl_millis: *[2_000, 30_000, 120_000].choose(rng).unwrap_or(&30_000),
            outstanding_bytes: *[300_000, 8_000_000].choose(rng).unwrap_or(&300_000),
            request_timeout_millis: *[500, 6_000].choose(rng).unwrap_or(&6_000),
            ordered: rng.random_bool(0.25),
            rate_limit_percent: 150,
        }
    }

    #[expect(clippy::unused_self, reason = "one shape for all that is drawn")]
    fn put(&self, producer: usize, rng: &mut SmallRng) -> Act {
        // Now and then enough for the limits of a request.
        let burst = rng.random_bool(0.04);
        Act::Put {
            producer,
            count: if burst { 700 } else { rng.random_range(1..40) },
            keys: *[Keys::Many, Keys::Many, Keys::One, Keys::Edges].choose(rng).unwrap_or(&Keys::Many),
            largest: if burst { 20 } else { *[0, 200, 200, 2_000, 60_000].choose(rng).unwrap_or(&200) },
        }
    }

    fn kind(&self, rng: &mut SmallRng) -> Option<Kind> {
        let total: u32 = self.weights.iter().map(|(_, weight)| weight).sum();
        let mut draw = rng.random_range(0..total.max(1));
        for (kind, weight) in self.weights {
            if draw < weight {
                return Some(kind);
            }
            draw -= weight;
        }
        None
    }

    fn act(&self, producers: usize, workers: usize, rng: &mut SmallRng) -> Option<Act> {
        let worker = rng.random_range(0..workers.max(1));
        let producer = rng.random_range(0..producers);
        let times = rng.random_range(1..=4);
        Some(match self.kind(rng)? {
            Kind::Reshard if rng.random_bool(0.6) => Act::Split,
            Kind::Reshard => Act::Merge,
            Kind::Put if rng.random_bool(0.08) => Act::Outage {
                operation: "PutRecords",
                verdict: *[Verdict::Fail, Verdict::Throttle].choose(rng).unwrap_or(&Verdict::Fail),
                millis: rng.random_range(2_000..12_000),
            },
            Kind::Put => Act::Kinesis {
                operation: if rng.random_bool(0.85) { "PutRecords" } else { "ListShards" },
                caller: None,
                verdict: put_verdict(rng),
                times,
            },
            Kind::Read => {
                let operation = READS.choose(rng).unwrap_or(&"GetRecords");
                let cut = *operation == "SubscribeToShard" && rng.random_bool(0.6);
                Act::Kinesis {
                    operation,
                    caller: rng.random_bool(0.5).then(|| format!("worker-{worker}")),
                    verdict: if cut { cut_verdict(rng) } else { read_verdict(rng) },
                    times,
                }
            }
            Kind::Table if self.by_hand && rng.random_bool(0.08) => {
                Act::DeleteRow { nth: rng.random_range(0..8) }
            }
            Kind::Table => Act::Table { worker, fault: table_fault(rng), times: rng.random_range(1..=3) },
            Kind::Crash if rng.random_bool(0.5) => Act::Crash { worker },
            Kind::Crash => {
                Act::CrashAtWrite { worker, nth: rng.random_range(1..6), after: rng.random_bool(0.5) }
            }
            Kind::Freeze => {
                Act::Freeze { worker, millis: *[1_000, 5_000, 11_000, 30_000].choose(rng).unwrap_or(&1_000) }
            }
            Kind::Membership if rng.random_bool(0.5) => Act::Stop { worker },
            Kind::Membership => Act::Start { worker },
            Kind::Producer => match rng.random_range(0..4) {
                0 => Act::CloseProducer { producer },
                1 => Act::DropProducer { producer },
                _ => Act::Flush { producer },
            },
        })
    }
}

/// What a fault of reading may strike.
const READS: [&str; 8] = [
    "GetRecords",
    "GetRecords",
    "GetShardIterator",
    "SubscribeToShard",
    "SubscribeToShard",
    "SubscribeToShard",
    "DescribeStreamConsumer",
    "ListShards",
];

fn put_verdict(rng: &mut SmallRng) -> Verdict {
    match rng.random_range(0..7) {
        0 => Verdict::Throttle,
        1 => Verdict::Fail,
        2 => Verdict::FailEntries { probability: 0.5, error: EntryError::Internal },
        3 => Verdict::FailEntries { probability: 0.3, error: EntryError::Throttled },
        4 => Verdict::LoseRequest,
        5 => Verdict::LoseAnswer,
        _ => Verdict::Delay(std::time::Duration::from_millis(rng.random_range(1..8_000))),
    }
}

fn read_verdict(rng: &mut SmallRng) -> Verdict {
    match rng.random_range(0..6) {
        0 => Verdict::Throttle,
        1 => Verdict::Fail,
        2 => Verdict::LoseRequest,
        3 => Verdict::LoseAnswer,
        4 => Verdict::ExpireIterator,
        _ => Verdict::Delay(std::time::Duration::from_millis(rng.random_range(1..8_000))),
    }
}

/// At once, or in the middle of whatever comes.
fn cut_verdict(rng: &mut SmallRng) -> Verdict {
    let most = *[1, 20_000].choose(rng).unwrap_or(&1);
    Verdict::CutSubscription { after: std::time::Duration::from_millis(rng.random_range(0..most)) }
}

fn table_fault(rng: &mut SmallRng) -> TableFault {
    match rng.random_range(0..10) {
        8 | 9 => TableFault::SlowAnswer(rng.random_range(1..6_000)),
        0 => TableFault::Throttle,
        1 => TableFault::LoseRequest,
        2 => TableFault::LoseAnswer,
        3 => TableFault::Late(rng.random_range(1..30_000)),
        4 => TableFault::Slow(rng.random_range(1..6_000)),
        5 => TableFault::Twice(rng.random_range(1..30_000)),
        6 => TableFault::Hang,
        _ => TableFault::HangAfter,
    }
}
