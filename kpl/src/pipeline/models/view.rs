//! What a state looks like: all that decides what can come, counted from now.

use std::time::{Duration, Instant};

use kinesis_shard::Payload;

use super::service::{Sent, members_of, number};
use super::world::{Action, Live, Rule};
use crate::pipeline::kinesis_record::KinesisRecord;
use crate::pipeline::{InFlight, Parked, Why};

#[expect(clippy::struct_excessive_bools, reason = "each is something of its own that may have happened")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct View {
    pub(super) choices: Vec<Action>,
    pub(super) all_delivered: bool,
    pub(super) stored_twice: bool,
    pub(super) failed_for_certain: bool,
    pub(super) failed_in_doubt: bool,
    broken: u16,
    records: Vec<Known>,
    places: Vec<Place>,
    late: Vec<Sent>,
    /// The time to the next thing that is due.
    wake: Option<Duration>,
    collector: Option<Duration>,
    limiter: (Option<Duration>, u32, u32),
    asked: bool,
    knows_the_map: bool,
    split: bool,
    flushes: Vec<usize>,
    used: [usize; 5],
    closed: (bool, bool),
}

/// A user record.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Known {
    answer: Option<(bool, bool)>,
    copies: usize,
    allowed: usize,
    acknowledged: bool,
    age: Duration,
}

/// A Kinesis record in the pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Place {
    stage: (u8, u64),
    members: Vec<usize>,
    attempts: usize,
    in_doubt: bool,
    alone: bool,
    lives_for: Duration,
    waits_for: Duration,
}

impl View {
    pub(super) fn broke(&self, rule: Rule) -> bool {
        self.broken & 1 << rule as u16 != 0
    }

    pub(super) fn of(live: &Live) -> Self {
        let now = live.now();
        let until = |at: Instant| at.saturating_duration_since(now);
        let pipeline = &live.pipeline;
        let answer = |record: usize| live.answer_of(record);
        let known = |record: usize| Known {
            answer: answer(record),
            copies: live.service.copies(record),
            allowed: live.allowed[record],
            acknowledged: live.acknowledged[record],
            age: if answer(record).is_some() { Duration::ZERO } else { now - live.put_at[record] },
        };
        let records = 0..live.tickets.len();
        let answers: Vec<_> = records.clone().filter_map(answer).collect();
        let mut late = live.late.clone();
        late.sort();
        Self {
            choices: live.choices(),
            all_delivered: answers.len() == live.bounds.records && answers.iter().all(|(ok, _)| *ok),
            stored_twice: records.clone().any(|record| live.service.copies(record) > 1),
            failed_for_certain: answers.contains(&(false, false)),
            failed_in_doubt: answers.contains(&(false, true)) && live.terminated,
            broken: live.broken,
            records: records.map(known).collect(),
            places: places(live),
            late: late.into_iter().flatten().collect(),
            wake: live.wake.map(until),
            collector: pipeline.collector.wake().map(until),
            limiter: (
                pipeline.limiter.wake().map(until),
                pipeline.limiter.throttles(0),
                pipeline.limiter.throttles(1),
            ),
            asked: live.asked,
            knows_the_map: pipeline.map.as_ref().is_some_and(|map| map.open() == live.service.map.open()),
            split: live.service.split,
            flushes: live.flushes.iter().map(|(_, records)| *records).collect(),
            used: [live.failures, live.lates, live.stalls, live.closes, live.flushed],
            closed: (live.closed, live.terminated),
        }
    }
}

fn places(live: &Live) -> Vec<Place> {
    let (pipeline, now) = (&live.pipeline, live.now());
    let place = |stage: u8, which: u64, waits_for: Duration, record: &KinesisRecord| Place {
        stage: (stage, which),
        members: members(record),
        attempts: record.attempts.len(),
        in_doubt: record.in_doubt,
        alone: record.alone,
        lives_for: record.expires(pipeline.settings.ttl).saturating_duration_since(now),
        waits_for,
    };
    let zero = Duration::ZERO;
    let mut all: Vec<Place> =
        pipeline.limiter.waiting().map(|(lane, record)| place(0, lane as u64, zero, record)).collect();
    all.extend(pipeline.collector.waiting().iter().map(|record| place(1, 0, zero, record)));
    for (order, InFlight { records, .. }) in pipeline.in_flight.values().enumerate() {
        all.extend(records.iter().map(|record| place(2, order as u64, zero, record)));
    }
    all.extend(
        pipeline
            .retrier
            .waiting()
            .map(|(until, record)| place(3, 0, until.saturating_duration_since(now), record)),
    );
    for Parked { why, record, .. } in pipeline.parked.values() {
        let which = match why {
            Why::Unrouted => 0,
            Why::WrongShard => 1,
            Why::Unknown { .. } => 2,
        };
        all.push(place(4, which, zero, record));
    }
    all
}

fn members(record: &KinesisRecord) -> Vec<usize> {
    match &record.payload {
        Payload::Plain { data, .. } => vec![number(data)],
        Payload::Aggregated(bytes) => members_of(bytes),
    }
}
