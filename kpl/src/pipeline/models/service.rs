//! The service's side: what is stored where, and the answers it can give.

use std::sync::Arc;

use bytes::Bytes;
use kinesis_shard::aggregated_record::AGGREGATE_PARTITION_KEY;
use kinesis_shard::{HashKey, HashKeyRange, SequenceNumber, ShardId, ShardMap};

use crate::error::user_records;
use crate::pipeline::answer::{CallError, EntryAnswer, PutRecordsAnswer};
use crate::pipeline::kinesis_record::Entry;
use crate::testing::shard;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Outcome {
    /// Every entry is stored, and the answer says so.
    Stored,
    /// The same but for one entry.
    Partly(usize, Trouble),
    /// Every entry fails by itself.
    None(Trouble),
    /// Refused as a whole, to be tried again.
    TryAgain,
    /// Refused as a whole, for good.
    Denied,
    /// Not stored, and no answer.
    Lost,
    /// Stored, and no answer.
    AnswerLost,
    /// No answer, and stored later, or never.
    Late,
    /// Stored, with an answer of the wrong length.
    Short,
}

/// What becomes of one entry that is not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Trouble {
    Throttled,
    /// The service failed before it was stored.
    Before,
    /// The service failed after it was stored.
    After,
}

/// An entry on its way: the numbers of its user records, and the key that routes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Sent {
    pub(super) members: Vec<usize>,
    route: HashKey,
}

impl Sent {
    pub(super) fn of(entry: &Entry) -> Self {
        let aggregated = entry.partition_key == AGGREGATE_PARTITION_KEY;
        let members = if aggregated { members_of(&entry.data) } else { vec![number(&entry.data)] };
        let route = entry.explicit_hash_key;
        Self { members, route: route.unwrap_or_else(|| HashKey::of_partition_key(&entry.partition_key)) }
    }
}

pub(super) fn members_of(aggregate: &Bytes) -> Vec<usize> {
    user_records(aggregate).iter().map(|record| number(&record.data)).collect()
}

/// The data of a record is its number.
pub(super) fn number(data: &Bytes) -> usize {
    usize::from(data[0])
}

#[derive(Debug)]
pub(super) struct Service {
    pub(super) map: Arc<ShardMap>,
    pub(super) split: bool,
    log: Vec<(ShardId, SequenceNumber, Vec<usize>)>,
}

impl Service {
    pub(super) fn new() -> Self {
        Self { map: crate::testing::shard_map(2), split: false, log: Vec::new() }
    }

    /// The first shard becomes two.
    pub(super) fn reshard(&mut self) {
        let quarters: Vec<HashKeyRange> = HashKeyRange::even(4.try_into().unwrap());
        let open = [shard(2, quarters[0]), shard(3, quarters[1]), self.map.open()[1].clone()];
        (self.map, self.split) = (Arc::new(ShardMap::new(open).unwrap()), true);
    }

    pub(super) fn range_of(&self, id: &ShardId) -> Option<HashKeyRange> {
        let before = crate::testing::shard_map(2);
        self.map.get(id).or(before.get(id)).map(|shard| shard.hash_key_range)
    }

    pub(super) fn store(&mut self, entry: &Sent) -> (ShardId, SequenceNumber) {
        let shard = self.map.shard_of(entry.route).id.clone();
        let number: SequenceNumber = (self.log.len() + 1).to_string().parse().unwrap();
        self.log.push((shard.clone(), number, entry.members.clone()));
        (shard, number)
    }

    pub(super) fn copies(&self, record: usize) -> usize {
        self.log.iter().flat_map(|(_, _, members)| members).filter(|member| **member == record).count()
    }

    pub(super) fn read(&self, shard: &ShardId, number: SequenceNumber) -> Option<&[usize]> {
        let found = self.log.iter().find(|(id, at, _)| id == shard && *at == number);
        found.map(|(_, _, members)| members.as_slice())
    }
}

pub(super) fn refused(trouble: Trouble) -> EntryAnswer {
    let code = match trouble {
        Trouble::Throttled => "ProvisionedThroughputExceededException",
        Trouble::Before | Trouble::After => "InternalFailure",
    };
    EntryAnswer::Refused { code: code.into(), message: "".into() }
}

pub(super) fn failed(code: &str) -> PutRecordsAnswer {
    PutRecordsAnswer::Failed(CallError::of_code(code, ""))
}

pub(super) fn timed_out(may_have_been_written: bool) -> PutRecordsAnswer {
    PutRecordsAnswer::Failed(CallError::unanswered("RequestTimeout", "", may_have_been_written))
}
