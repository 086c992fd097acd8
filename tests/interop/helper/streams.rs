//! One stream, or several with commas between their names.

use aws_sdk_kinesis::Client;

use crate::{Problem, Stream, check};

/// How Java workers are told the streams: one by its name, several each by account, name and time of creation.
pub(crate) async fn identifiers(client: &Client, streams: &Stream) -> Result<String, Problem> {
    let names: Vec<&str> = streams.names().collect();
    if let [name] = names.as_slice() {
        return Ok((*name).to_owned());
    }
    let mut identifiers = Vec::new();
    for name in names {
        let answer = client.describe_stream_summary().stream_name(name).send().await?;
        let summary = answer.stream_description_summary.ok_or("no description of the stream")?;
        let account = summary.stream_arn.split(':').nth(4).unwrap_or_default();
        identifiers.push(format!("{account}:{name}:{}", summary.stream_creation_timestamp.secs()));
    }
    Ok(identifiers.join(","))
}

/// Children with their parents, named as in the workers' files.
pub(crate) async fn lineage(client: &Client, streams: &Stream) -> Result<Vec<(String, String)>, Problem> {
    let is_one = streams.names().count() == 1;
    let mut pairs = Vec::new();
    for name in streams.names() {
        let named = |shard: String| if is_one { shard } else { format!("{name}/{shard}") };
        let of_stream = check::lineage(client, name).await?;
        pairs.extend(of_stream.into_iter().map(|(child, parent)| (named(child), named(parent))));
    }
    Ok(pairs)
}
