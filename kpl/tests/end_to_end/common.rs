//! What the end-to-end tests share: a simulated stream, unique records, and an oracle that reads what readers can read.

use std::time::{Duration, Instant};

use kinesis_shard::{Clock, HashKey, HashKeyRange, ParsedRecord, ShardId, parse_aggregated};
use kinesis_sim::{Limits, Sim};
use kpl::{Delivered, Producer, ProducerConfig, PutError, Ticket, UserRecord};

pub(crate) const STREAM: &str = "orders";

/// A stream with this many shards and the service's limits.
pub(crate) fn sim(seed: u64, shards: u32) -> Sim {
    let sim = Sim::builder().seed(seed).limits(Limits::Aws).build();
    sim.create_stream(STREAM, shards);
    sim
}

pub(crate) fn config() -> ProducerConfig {
    ProducerConfig::new(STREAM).with_seed(7)
}

pub(crate) fn start(sim: &Sim, config: ProducerConfig) -> Producer {
    Producer::start(&sim.client_named("producer"), config).expect("the configuration is valid")
}

/// A record that no other test record is equal to.
pub(crate) fn record(number: usize) -> UserRecord {
    UserRecord::new(format!("key-{}", number % 1000), format!("uid-{number:08}"))
}

pub(crate) async fn put_all(
    producer: &Producer,
    numbers: impl IntoIterator<Item = usize>,
) -> Vec<(UserRecord, Ticket)> {
    let mut tickets = Vec::new();
    for number in numbers {
        let ticket = producer.put(record(number)).await.expect("accepted");
        tickets.push((record(number), ticket));
    }
    tickets
}

pub(crate) type Answered = (UserRecord, Result<Delivered, PutError>);

pub(crate) async fn answers(tickets: Vec<(UserRecord, Ticket)>) -> Vec<Answered> {
    let mut answers = Vec::new();
    for (record, ticket) in tickets {
        answers.push((record, ticket.await));
    }
    answers
}

/// One user record as a reader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) shard_id: ShardId,
    pub(crate) position: (String, u64),
    pub(crate) record: UserRecord,
    /// A reader that filters by range drops it, and its whole aggregate.
    pub(crate) dropped: bool,
}

/// Everything in the stream, in order per shard, taken apart.
pub(crate) fn read(sim: &Sim) -> Vec<Read> {
    let ranges: Vec<(ShardId, HashKeyRange)> =
        sim.shards(STREAM).into_iter().map(|shard| (shard.id, shard.hash_key_range)).collect();
    let mut all = Vec::new();
    for stored in sim.stored(STREAM) {
        let range = ranges.iter().find(|(id, _)| *id == stored.shard_id).expect("the shard is listed").1;
        let read = |sub: u64, record: UserRecord, dropped: bool| Read {
            shard_id: stored.shard_id.clone(),
            position: (stored.sequence_number.to_string(), sub),
            record,
            dropped,
        };
        match parse_aggregated(&stored.data) {
            ParsedRecord::Plain(reason) => {
                assert!(!reason.is_suspicious(), "a broken aggregate was stored: {reason:?}");
                let record = user_record(&stored.partition_key, stored.explicit_hash_key, &stored.data);
                all.push(read(0, record, false));
            }
            ParsedRecord::Aggregated(members) => {
                let dropped = members.iter().any(|member| !range.contains(member.hash_key()));
                for (sub, member) in (0..).zip(members) {
                    let record = user_record(&member.partition_key, member.explicit_hash_key, &member.data);
                    all.push(read(sub, record, dropped));
                }
            }
        }
    }
    all
}

fn user_record(key: &str, explicit: Option<HashKey>, data: &bytes::Bytes) -> UserRecord {
    let record = UserRecord::new(key, data.clone());
    match explicit {
        Some(hash_key) => record.with_explicit_hash_key(hash_key),
        None => record,
    }
}

/// Every acknowledged record is found exactly where its ticket says, by a reader that filters; nothing was invented.
/// Returns how many records were acknowledged and how many copies are readable beyond one each.
pub(crate) fn check(sim: &Sim, answers: &[Answered]) -> (usize, usize) {
    let read = read(sim);
    let mut acknowledged = 0;
    for (record, answer) in answers {
        let copies: Vec<&Read> = read.iter().filter(|read| read.record == *record).collect();
        match answer {
            Ok(delivered) => {
                acknowledged += 1;
                let position = (delivered.sequence_number.to_string(), delivered.sub_sequence_number);
                let found = copies
                    .iter()
                    .find(|copy| copy.position == position && copy.shard_id == delivered.shard_id);
                let found =
                    found.unwrap_or_else(|| panic!("{record:?} is not where its ticket says: {delivered:?}"));
                assert!(!found.dropped, "{record:?} was acknowledged in an aggregate that readers drop");
            }
            Err(error) if !error.may_have_been_written() => {
                assert!(
                    copies.is_empty(),
                    "{record:?} is stored although its error says it cannot be: {error}"
                );
            }
            Err(_) => {}
        }
    }
    for stored in &read {
        assert!(
            answers.iter().any(|(record, _)| *record == stored.record),
            "{:?} was never put",
            stored.record
        );
    }
    (acknowledged, read.iter().filter(|read| !read.dropped).count().saturating_sub(acknowledged))
}

pub(crate) fn all_delivered(answers: &[Answered]) {
    for (record, answer) in answers {
        if let Err(error) = answer {
            panic!("{record:?} failed: {error}");
        }
    }
}

/// Nothing is outstanding any more.
pub(crate) fn settled(producer: &Producer) {
    let stats = producer.stats();
    assert_eq!((stats.outstanding_records, stats.outstanding_bytes), (0, 0), "{stats:?}");
    assert_eq!(stats.user_records_received, stats.user_records_put + stats.user_records_failed);
}

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Virtual time since it was started.
pub(crate) struct Stopwatch {
    clock: Clock,
    started: Instant,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        let clock = Clock::default();
        Self { started: clock.now(), clock }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.clock.now() - self.started
    }
}
