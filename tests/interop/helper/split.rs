//! Splits every open shard in the middle, one after the other, as a user would: each once the stream is ACTIVE again.

use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::types::{Shard, StreamStatus};

use crate::{Problem, Stream};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    stream: Stream,
}

pub(crate) async fn run(arguments: Arguments) -> Result<String, Problem> {
    let count = split_all(&arguments.stream.client(), &arguments.stream.stream).await?;
    Ok(format!("{count} shards split"))
}

pub(crate) async fn split_all(client: &Client, stream: &str) -> Result<u32, Problem> {
    let shards = client.list_shards().stream_name(stream).send().await?.shards.unwrap_or_default();
    let mut count = 0;
    for shard in shards {
        let Some(middle) = middle(&shard) else { continue };
        client
            .split_shard()
            .stream_name(stream)
            .shard_to_split(shard.shard_id())
            .new_starting_hash_key(middle.to_string())
            .send()
            .await?;
        while !is_active(client, stream).await? {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        count += 1;
    }
    Ok(count)
}

async fn is_active(client: &Client, stream: &str) -> Result<bool, Problem> {
    let answer = client.describe_stream_summary().stream_name(stream).send().await?;
    Ok(answer
        .stream_description_summary()
        .is_some_and(|stream| stream.stream_status() == &StreamStatus::Active))
}

/// The middle of an open shard's range.
fn middle(shard: &Shard) -> Option<u128> {
    if shard.sequence_number_range()?.ending_sequence_number().is_some() {
        return None;
    }
    let range = shard.hash_key_range()?;
    let (start, end): (u128, u128) =
        (range.starting_hash_key().parse().ok()?, range.ending_hash_key().parse().ok()?);
    Some(start + (end - start) / 2 + 1)
}
