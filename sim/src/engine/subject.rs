//! What a call is about, and the faults that refuse or lose it.

use super::{Engine, Loss, Request};
use crate::error::{ErrorCode, ServiceError};
use crate::iterator::ShardIterator;
use crate::operation::put_record::keyed;
use crate::operation::request::try_address;
use crate::operation::{Operation, Plane};
use crate::rule::{Draw, Strike, Verdict};
use crate::stream::features::Distribution;
use crate::stream::reshard::parse_shard_id;
use crate::stream_table::Scope;
use crate::wire::Value;

impl Engine {
    /// The shards that a request is about, for rules.
    pub(super) fn touched_shards(&self, request: &Request, input: &Value<'_>) -> Vec<String> {
        let id = |index: u32| kinesis_shard::ShardId::from_index(u64::from(index)).to_string();
        let mut shards: Vec<_> = ["ShardId", "ShardToSplit", "ShardToMerge", "AdjacentShardToMerge"]
            .into_iter()
            .filter_map(|name| input.text(name).and_then(parse_shard_id).map(id))
            .collect();
        if let Some(iterator) = input.text("ShardIterator").and_then(|text| ShardIterator::open(text).ok()) {
            shards.push(id(iterator.shard_index));
        }
        let address = try_address(&request.scope, input);
        if let Some(stream) = address.as_ref().and_then(|address| self.streams.get(address).ok()) {
            let single = input.get("PartitionKey").map(|_| input);
            let keyed_by_caller = stream.distribution == Distribution::UserPartitionKey;
            for record in input.list("Records").iter().chain(single).filter(|_| keyed_by_caller) {
                let place = keyed(record).ok().and_then(|keyed| stream.open_shard_of(keyed.hash_key));
                let shard = place.and_then(|place| stream.shards.get(place));
                shards.extend(shard.map(|shard| shard.id.to_string()));
            }
        }
        shards.sort_unstable();
        shards.dedup();
        shards
    }
}

/// The stream that a request names, directly or through its iterator.
pub(super) fn named_stream(scope: &Scope, input: &Value<'_>) -> Option<String> {
    named(scope, input).0
}

/// Stream and shard that a request names, directly or through its iterator.
pub(super) fn named(scope: &Scope, input: &Value<'_>) -> (Option<String>, Option<u32>) {
    match input.text("ShardIterator").map(ShardIterator::open) {
        Some(Ok(iterator)) => (Some(iterator.stream), Some(iterator.shard_index)),
        Some(Err(_)) => (None, None),
        None => {
            let stream = try_address(scope, input).map(|address| address.name);
            (stream, input.text("ShardId").and_then(parse_shard_id))
        }
    }
}

/// The error with which a fault refuses the call as a whole.
pub(super) fn whole_call_fault(
    operation: &Operation,
    strike: &Strike,
    input: &Value<'_>,
    request: &Request,
) -> Option<ServiceError> {
    let only_entries = operation.name == "PutRecords" && strike.shard.is_some();
    if only_entries {
        return None;
    }
    let stream = named_stream(&request.scope, input).unwrap_or_default();
    let named = crate::error::Named { stream: &stream, account: &request.scope.account };
    let shard = strike.shard.as_deref().unwrap_or("shardId-000000000000");
    match (strike.verdict, operation.plane) {
        (Verdict::Throttle, Plane::Control) => Some(ServiceError::control_rate(named)),
        (Verdict::Throttle, Plane::Write) => Some(ServiceError::write_rate(named, shard)),
        (Verdict::Throttle, Plane::Read) => Some(ServiceError::read_rate(named, shard)),
        (Verdict::Fail, _) => Some(ServiceError::bare(ErrorCode::InternalFailure)),
        _ => None,
    }
}

/// Half of the lost calls break their connection within a second; the others are never heard of again.
pub(crate) fn loss(strike: &Strike) -> Option<Loss> {
    let Strike { verdict: Verdict::LoseRequest | Verdict::LoseAnswer, draw, .. } = strike else {
        return None;
    };
    Some(Loss { broken_after: broken_after(*draw) })
}

fn broken_after(draw: Draw) -> Option<u64> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 1,000")]
    (draw.unit(1) < 0.5).then(|| 1 + (draw.unit(2) * 999.0) as u64)
}
