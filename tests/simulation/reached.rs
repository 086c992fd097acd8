//! Which situations a batch of runs has been in. One that no run reached is one that no run tested.

use std::collections::BTreeMap;

use kinesis_shard::Checkpoint;

use super::plan::Distribution;
use crate::common::history::{Event, History};

/// Named situations, and in how many places of how many runs.
#[derive(Debug, Clone, Default)]
pub struct Reached(pub BTreeMap<&'static str, u64>);

/// What a batch of at least a few hundred seeds must have reached.
const BY_PRODUCERS: [&str; 11] = [
    "flush",
    "outage",
    "split",
    "merge",
    "producer closed",
    "producer dropped",
    "fault of the service struck",
    "record accepted in order",
    "record refused",
    "record that may have been written refused",
    "record stored more than once",
];
const BY_WORKERS: [&str; 13] = [
    "split",
    "merge",
    "worker crashed",
    "died at a write",
    "worker stopped",
    "worker frozen",
    "worker read by fan-out",
    "shard ended",
    "lease lost",
    "started inside an aggregate",
    "lease taken from another owner",
    "hand-over asked for",
    "lease deleted",
];
const BY_HAND: [&str; 1] = ["row deleted by hand"];
const BY_BOTH: [&str; 7] = [
    "subscription cut",
    "processor failed",
    "scan began",
    "scan ended by itself",
    "application read two streams",
    "another application read",
    "leases in the double of DynamoDB",
];
/// What a batch of thousands must have reached, too.
const RARE: [&str; 6] = [
    "request to DynamoDB lost",
    "answer of DynamoDB lost",
    "throttled by DynamoDB",
    "told that records may be missing",
    "record trimmed unread, and told",
    "record trimmed before a first checkpoint",
];
/// From so many runs on.
const THOUSANDS: u64 = 2_000;

impl Reached {
    pub fn note(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    pub fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    /// What was expected of so many runs and never happened.
    pub fn missing(&self, distribution: Distribution, runs: u64) -> Vec<&'static str> {
        let rare: &[_] = if runs >= THOUSANDS { &RARE } else { &[] };
        let (producers, workers): (&[_], &[_]) = (&BY_PRODUCERS, &BY_WORKERS);
        let expected = match distribution {
            Distribution::Producers => [producers, &[], &[], &[]],
            Distribution::Leases => [&[], workers, &[], &[]],
            Distribution::ByHand => [&[], workers, &BY_HAND, &[]],
            Distribution::Balanced | Distribution::Swarm => [producers, workers, &BY_BOTH, rare],
        };
        expected.concat().into_iter().filter(|what| !self.0.contains_key(what)).collect()
    }

    pub fn observe(&mut self, history: &History) {
        history.read(|events| {
            for (_, event) in events {
                if let Some(what) = situation(event) {
                    self.note(what);
                }
            }
        });
    }
}

impl Reached {
    /// What the double of DynamoDB says of its calls.
    pub fn observe_double(&mut self, trace: &[String]) {
        self.note("leases in the double of DynamoDB");
        for line in trace {
            if line.ends_with("request lost") {
                self.note("request to DynamoDB lost");
            } else if line.ends_with("answer lost") {
                self.note("answer of DynamoDB lost");
            } else if line.ends_with("ProvisionedThroughputExceededException") {
                self.note("throttled by DynamoDB");
            }
        }
    }
}

fn situation(event: &Event) -> Option<&'static str> {
    match event {
        Event::Refused { may_have_been_written: true, .. } => {
            Some("record that may have been written refused")
        }
        Event::Refused { .. } => Some("record refused"),
        Event::InLine { .. } => Some("record accepted in order"),
        Event::ShardEnded { .. } => Some("shard ended"),
        Event::LeaseLost { .. } => Some("lease lost"),
        Event::Started { from: Checkpoint::At(position), .. } if position.sub_sequence_number > 0 => {
            Some("started inside an aggregate")
        }
        Event::CallEnded { failed: true, .. } => Some("processor failed"),
        Event::TableWrite { before: Some(before), after: Some(after), worker, .. } => {
            let taken = after.owner.as_ref().is_some_and(|owner| owner.as_str() == worker);
            if after.checkpoint_owner.is_some() && before.checkpoint_owner.is_none() {
                Some("hand-over asked for")
            } else if taken && before.owner.is_some() && before.owner != after.owner {
                Some("lease taken from another owner")
            } else {
                None
            }
        }
        Event::TableWrite { after: None, .. } => Some("lease deleted"),
        Event::Gap { .. } => Some("told that records may be missing"),
        Event::ScanEnded { .. } => Some("scan ended by itself"),
        _ => None,
    }
}
