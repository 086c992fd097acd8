//! Runs in which nothing goes wrong, or one thing at a time: there everything must be exact. Without them whatever breaks
//! renewals hides behind failover.

use std::collections::{BTreeMap, BTreeSet};

use kcl::RetrievalMode;
use kinesis_shard::{Checkpoint, ShardId};

use super::judge::violation;
use super::plan::{Act, Keys, Plan, ProducerPlan, WorkerPlan};
use super::run::{FAILOVER, Outcome, run};
use super::table::TableFault;
use crate::common::history::{Event, Violation};
use crate::common::worker::Policy;

/// What happens besides records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing: two workers, one of which comes later.
    Nothing,
    /// Single answers of the lease table are lost, further apart than a lease lasts.
    LostAnswers,
    /// One worker dies.
    OneDeath,
    /// One worker's application takes its time.
    SlowApplication,
    /// The table goes away for the worker with the slowest clock.
    CutOff,
}

const PRODUCER: ProducerPlan = ProducerPlan {
    stream: 0,
    aggregation: true,
    buffered_millis: 100,
    ttl_millis: 30_000,
    outstanding_bytes: 8_000_000,
    request_timeout_millis: 6_000,
    ordered: false,
    rate_limit_percent: 80,
};

const WORKER: WorkerPlan = WorkerPlan {
    scans: false,
    clock_ppm: 0,
    policy: Policy::Never,
    work_millis: 0,
    fail_every: 0,
    max_records: 10_000,
    at_shutdown: false,
    forgets_end: false,
    retrieval: RetrievalMode::Polling,
};

/// By then the leases are shared out.
const SETTLED: u64 = 60_000;
const DEATH: u64 = 150_000;
const END: u64 = 300_000;
const SLOW_CALL: u64 = 100_000;

/// Runs one and judges it by everything, and by what must be exact.
pub fn quiet(seed: u64, kind: Kind) -> Outcome {
    let mut outcome = run(&plan(seed, kind));
    let found = outcome.log.read(|events| {
        let mut found = Vec::new();
        if !matches!(kind, Kind::OneDeath | Kind::CutOff) {
            found.extend(nothing_lost(events));
            found.extend(each_once(events));
        }
        match kind {
            Kind::Nothing => {
                found.extend(balanced(events));
                found.extend(renewals(events));
                found.extend(prompt(events));
            }
            Kind::OneDeath => found.extend(taken_over(events)),
            Kind::LostAnswers | Kind::SlowApplication | Kind::CutOff => {}
        }
        found
    });
    outcome.violations.extend(found);
    if kind == Kind::SlowApplication {
        outcome.violations.extend(read_ahead(&outcome));
    } else {
        outcome.violations.extend(throttled(&outcome.trace));
    }
    outcome
}

fn plan(seed: u64, kind: Kind) -> Plan {
    let mut acts: Vec<(u64, Act)> = Vec::new();
    let put = |count, keys, largest| Act::Put { producer: 0, count, keys, largest };
    acts.extend((1..280).map(|second| (second * 1_000 + seed % 700, put(8, Keys::Many, 200))));
    let mut workers = vec![WORKER; 2];
    match kind {
        Kind::Nothing => {
            acts.push((5_000, Act::Start { worker: 1 }));
            // More for one shard than it takes in a second.
            acts.push((20_500, put(60, Keys::One, 60_000)));
        }
        Kind::LostAnswers => {
            acts.push((5_000, Act::Start { worker: 1 }));
            let faults = (SETTLED..280_000).step_by(15_000).enumerate();
            acts.extend(faults.map(|(index, at)| {
                (at, Act::Table { worker: index % 2, fault: TableFault::LoseAnswer, times: 1 })
            }));
        }
        Kind::OneDeath => {
            acts.push((5_000, Act::Start { worker: 1 }));
            acts.push((DEATH, Act::Crash { worker: 1 }));
        }
        Kind::CutOff => {
            // As wrong as clocks may be: belief must end on the slow one before the fast one has waited long enough.
            (workers[0].clock_ppm, workers[1].clock_ppm) = (-10_000, 10_000);
            acts.push((5_000, Act::Start { worker: 1 }));
            let often =
                (SETTLED / 50..(SETTLED + 25_000) / 50).map(|tick| (tick * 50, put(4, Keys::Many, 20)));
            acts.extend(often);
            let cut = SETTLED + seed % 3_000;
            acts.push((cut, Act::Table { worker: 0, fault: TableFault::Hang, times: 100 }));
        }
        Kind::SlowApplication => {
            workers = vec![WorkerPlan { work_millis: SLOW_CALL, ..WORKER }];
        }
    }
    acts.sort_by_key(|(at, _)| *at);
    let shards = match kind {
        Kind::SlowApplication => 1,
        Kind::CutOff => 2,
        _ => 4,
    };
    Plan { seed, shards, two_streams: false, dynamodb: false, producers: vec![PRODUCER], workers, acts }
}

/// L12, L13: nobody loses a lease, and none is taken from anybody.
fn nothing_lost(events: &[(u64, Event)]) -> Vec<Violation> {
    let mut found = Vec::new();
    for (at, event) in events {
        match event {
            Event::LeaseLost { shard, .. } => {
                found.push(violation("L12", format!("at {at}: the lease of {shard} was lost")));
            }
            Event::TableWrite { worker, key, before: Some(before), after: Some(after), .. } => {
                let own = before.owner == after.owner
                    && before.checkpoint_owner.is_none()
                    && before.counter != after.counter;
                let stopped = *at > END;
                if own && after.owner.as_ref().is_some_and(|owner| owner.as_str() != worker) && !stopped {
                    found.push(violation("L12", format!("at {at}: {worker} wrote another's {key}")));
                }
            }
            _ => {}
        }
    }
    found
}

/// L12, C2: a record comes once. A lease that changes hands brings what its owner did not checkpoint again.
fn each_once(events: &[(u64, Event)]) -> Vec<Violation> {
    let mut tenures: BTreeMap<&ShardId, u64> = BTreeMap::new();
    for (_, event) in events {
        if let Event::Started { shard, .. } = event {
            *tenures.entry(shard).or_default() += 1;
        }
    }
    let many = tenures.into_iter().filter(|(_, count)| *count > 2);
    many.map(|(shard, count)| violation("L12", format!("{shard} had {count} tenures, and nobody died")))
        .collect()
}

/// L11: with the same to hold for everybody nothing moves any more.
fn balanced(events: &[(u64, Event)]) -> Vec<Violation> {
    let (mut owners, mut found) = (BTreeMap::new(), Vec::new());
    for (at, event) in events.iter().filter(|(at, _)| *at < END) {
        let Event::TableWrite { worker, key, before, after: Some(after), .. } = event else { continue };
        let owner = after.owner.as_ref().map(ToString::to_string);
        if *at > SETTLED && before.as_ref().is_some_and(|before| before.owner != after.owner) {
            found.push(violation("L11", format!("at {at}: {worker} moves {key} to {owner:?}")));
        }
        owners.insert(key.clone(), owner);
    }
    let mut counts: BTreeMap<Option<String>, usize> = BTreeMap::new();
    for owner in owners.into_values() {
        *counts.entry(owner).or_default() += 1;
    }
    if counts.len() != 2 || counts.values().any(|count| *count != 2) {
        found.push(violation("L11", format!("two workers share four leases as {counts:?}")));
    }
    found
}

/// L12: each lease is written every third of its time, and not more often.
fn renewals(events: &[(u64, Event)]) -> Vec<Violation> {
    let mut writes: BTreeMap<String, u64> = BTreeMap::new();
    for (at, event) in events {
        if let (Event::TableWrite { key, .. }, true) = (event, (SETTLED..END).contains(at)) {
            *writes.entry(key.to_string()).or_default() += 1;
        }
    }
    let third = u64::try_from(FAILOVER.as_millis() / 3).expect("seconds");
    let expected = (END - SETTLED) / third;
    let allowed = expected * 98 / 100 - 1..=expected * 102 / 100 + 1;
    let mut found: Vec<_> = writes
        .iter()
        .filter(|(_, count)| !allowed.contains(count))
        .map(|(key, count)| violation("L12", format!("{key} was written {count} times, not {expected}")))
        .collect();
    if writes.len() != 4 {
        found.push(violation("L12", format!("of four leases {} were written", writes.len())));
    }
    found
}

/// P10: what no limit holds back is on its way after the longest buffering time. The burst to one shard is held back.
fn prompt(events: &[(u64, Event)]) -> Vec<Violation> {
    let (mut submitted, mut found) = (BTreeMap::new(), Vec::new());
    let calm = |at: u64| !(20_000..40_000).contains(&at);
    for (at, event) in events {
        match event {
            Event::Submitted { uid } => {
                submitted.insert(*uid, *at);
            }
            Event::Acknowledged { uid, .. } => {
                let took = submitted.get(uid).map_or(0, |since| at - since);
                // And the round trip.
                if calm(*at) && took > PRODUCER.buffered_millis + 100 {
                    found.push(violation(
                        "P10",
                        format!("at {at}: record {uid} was answered after {took} ms"),
                    ));
                }
            }
            _ => {}
        }
    }
    found
}

/// P13: a producer alone, told to use four fifths of a shard, is never throttled.
fn throttled(trace: &[String]) -> Option<Violation> {
    let throttled = trace.iter().find(|line| line.contains(" PutRecords ") && line.contains(" refused "));
    throttled.map(|line| violation("P13", line.clone()))
}

/// L10: what the dead held is processed by the other after one lease, one scan, and two calls.
fn taken_over(events: &[(u64, Event)]) -> Vec<Violation> {
    let mut owned: BTreeMap<ShardId, String> = BTreeMap::new();
    let mut waiting: BTreeSet<ShardId> = BTreeSet::new();
    let mut found = Vec::new();
    for (at, event) in events {
        match event {
            Event::Crashed { worker } => {
                let its = owned.iter().filter(|(_, owner)| *owner == worker);
                waiting = its.map(|(shard, _)| shard.clone()).collect();
                if waiting.is_empty() {
                    found.push(violation("L11", format!("at {at}: {worker} dies and held nothing")));
                }
            }
            Event::Started { worker, shard, from, .. } => {
                owned.insert(shard.clone(), worker.clone());
                let allowed = DEATH + u64::try_from(FAILOVER.as_millis()).expect("seconds") + 1_400;
                if waiting.remove(shard) && *at > allowed {
                    found.push(violation(
                        "L10",
                        format!("at {at}: {shard} of the dead goes on at {from:?}, {} ms after", at - DEATH),
                    ));
                }
                debug_assert!(*from != Checkpoint::ShardEnd);
            }
            _ => {}
        }
    }
    found.extend(waiting.iter().map(|shard| violation("L9", format!("{shard} of the dead stays alone"))));
    found
}

/// C16: while the first call lasts, no more is read than may wait.
fn read_ahead(outcome: &Outcome) -> Option<Violation> {
    let begun = outcome.log.read(|events| {
        let first = events.iter().find(|(_, event)| matches!(event, Event::CallBegun { .. }));
        first.map_or(0, |(at, _)| *at)
    });
    let during = |line: &&String| {
        let mut words = line.split(' ');
        let at: u64 = words.next().and_then(|at| at.parse().ok()).unwrap_or(0);
        let brought_some = !line.ends_with(" ok");
        line.contains(" GetRecords ") && brought_some && (begun..begun + SLOW_CALL).contains(&at)
    };
    let answers = outcome.trace.iter().filter(during).count();
    // Four batches may wait, and one is on its way.
    (answers > 5).then(|| violation("C16", format!("{answers} batches were read while one call lasted")))
}
