//! Somebody else who reads the stream: another application, with iterators of its own and no word to anybody. It takes its
//! part of the limits of a shard, so that those of the workers are reached.

use std::time::Duration;

use aws_sdk_kinesis::operation::get_records::GetRecordsError;
use aws_sdk_kinesis::types::ShardIteratorType;

use crate::common::World;

/// How it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stranger {
    pub reads: u32,
    pub every_millis: u64,
    /// Before its last read, which it makes with the iterator that it has.
    pub rest_millis: u64,
}

/// Reads one shard until it has had enough.
pub async fn read(world: World, stream: &'static str, how: Stranger) {
    let client = world.sim.client_named("stranger");
    let Some(shard) = world.sim.shards(stream).into_iter().find(kinesis_shard::Shard::is_open) else {
        return;
    };
    let mut iterator = None;
    for read in 0..=how.reads {
        let rest = if read == how.reads { how.rest_millis } else { how.every_millis };
        tokio::time::sleep(Duration::from_millis(rest)).await;
        if iterator.is_none() {
            let open = client.get_shard_iterator().stream_name(stream).shard_id(shard.id.to_string());
            let opened = open.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await;
            iterator = opened.ok().and_then(|answer| answer.shard_iterator);
        }
        let Some(given) = iterator.clone() else { continue };
        match client.get_records().shard_iterator(given).limit(1).send().await {
            Ok(answer) => iterator = answer.next_shard_iterator,
            // The service did not take this one; another is opened.
            Err(error)
                if error.as_service_error().is_some_and(GetRecordsError::is_expired_iterator_exception) =>
            {
                iterator = None;
            }
            Err(_) => {}
        }
    }
}
