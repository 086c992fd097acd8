//! How a seed draws: which kinds of trouble it knows, and how much of each.

use kcl::RetrievalMode;
use kinesis_sim::{EntryError, Verdict};
use rand::RngExt;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;

use super::super::table::TableFault;
use super::{Act, Distribution, Keys, ProducerPlan, WorkerPlan};
use crate::common::worker::Policy;

/// Which kinds of trouble a seed knows, and how much of each: a weight out of a hundred.
pub(super) struct Taste {
    pub(super) shards: u32,
    /// From and to.
    pub(super) workers: (usize, usize),
    pub(super) puts: (usize, usize),
    pub(super) acts: usize,
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
    pub(super) fn drawn(rng: &mut SmallRng, distribution: Distribution) -> Self {
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

    pub(super) fn worker(&self, rng: &mut SmallRng) -> WorkerPlan {
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
    pub(super) fn producer(&self, rng: &mut SmallRng) -> ProducerPlan {
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
    pub(super) fn put(&self, producer: usize, rng: &mut SmallRng) -> Act {
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

    pub(super) fn act(&self, producers: usize, workers: usize, rng: &mut SmallRng) -> Option<Act> {
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
