//! What is stored, past all limits and faults.

use http::StatusCode;
use kinesis_shard::SequenceNumber;
use serde_json::{Value, json};

use crate::door::credential::percent_decoded;
use crate::shard_log::{LogRecord, ShardLog};
use crate::sim::Sim;
use crate::stream_table::{Address, Scope};

const DEFAULT_LIMIT: usize = 1_000;

const MOST_RECORDS: usize = 10_000;

/// About how many bytes of payload one answer holds.
const MOST_BYTES: usize = 64 * 1024 * 1024;

pub(super) fn streams(sim: &Sim) -> Value {
    sim.door.with(|engine, _| {
        let streams: Vec<_> = engine
            .streams
            .iter()
            .map(|stream| {
                json!({
                    "name": stream.name,
                    "account": &*stream.scope.account,
                    "region": &*stream.scope.region,
                    "status": stream.status.name(),
                    "open_shards": stream.open_count(),
                    "shards": stream.shards.len(),
                })
            })
            .collect();
        json!({ "streams": streams })
    })
}

#[derive(Debug)]
struct Page {
    address: Address,
    shard: Option<String>,
    after: Option<(SequenceNumber, u32)>,
    limit: usize,
}

fn page(name: &str, query: &str) -> Result<Page, String> {
    let address = Address { scope: Scope::default(), name: percent_decoded(name).into_owned() };
    let mut page = Page { address, shard: None, after: None, limit: DEFAULT_LIMIT };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_decoded(value);
        match key {
            "shard" => page.shard = Some(value.into_owned()),
            "account" => page.address.scope.account = value.into(),
            "region" => page.address.scope.region = value.into(),
            "after" => {
                let number = value.parse::<SequenceNumber>().ok();
                let layout = number.and_then(|number| Some((number, number.layout()?.shard_index)));
                page.after = Some(layout.ok_or_else(|| format!("`{value}` is no sequence number"))?);
            }
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=MOST_RECORDS).contains(limit));
                page.limit =
                    limit.ok_or_else(|| format!("`{value}` is no limit: use 1 to {MOST_RECORDS}"))?;
            }
            _ => return Err(format!("`{key}` is unknown: use shard, after, limit, account and region")),
        }
    }
    Ok(page)
}

/// One page of a stream's records, in order per shard. `next` is the number after which to go on, while there is more.
pub(super) fn records(sim: &Sim, name: &str, query: &str) -> Result<Value, (StatusCode, String)> {
    let page = page(name, query).map_err(|text| (StatusCode::BAD_REQUEST, text))?;
    sim.door.with(|engine, now| {
        let stream = engine.streams.get_mut(&page.address).map_err(|error| {
            (StatusCode::NOT_FOUND, error.text.unwrap_or_else(|| "there is no such stream".to_owned()))
        })?;
        stream.trim(now);
        // Shards come by index, and a number tells its shard's: whoever goes on skips what lies before.
        let shards = stream.shards.iter().filter(|shard| {
            page.shard.as_ref().is_none_or(|wanted| shard.id.as_str() == wanted)
                && page.after.is_none_or(|(_, index)| shard.place.index >= index)
        });
        let mut left = shards
            .flat_map(|shard| shard.records_from(0).map(move |record| (shard, record)))
            .filter(|(shard, record)| {
                page.after.is_none_or(|(after, index)| {
                    shard.place.index != index || shard.sequence_number(record) > after
                })
            })
            .peekable();
        let (mut records, mut bytes, mut last) = (Vec::new(), 0, None);
        while records.len() < page.limit && bytes < MOST_BYTES {
            let Some((shard, record)) = left.next() else { break };
            bytes += record.len();
            last = Some(shard.sequence_number(&record).to_string());
            records.push(describe(shard, &record));
        }
        let mut answer = json!({ "records": records });
        if let (Some(last), Some(_), Some(answer)) = (last, left.peek(), answer.as_object_mut()) {
            answer.insert("next".to_owned(), last.into());
        }
        Ok(answer)
    })
}

fn describe(shard: &ShardLog, record: &LogRecord<'_>) -> Value {
    let mut described = json!({
        "shard": shard.id.as_str(),
        "sequence_number": shard.sequence_number(record).to_string(),
        "partition_key": record.partition_key,
        "data": base64_simd::STANDARD.encode_to_string(record.data),
        "arrived_at_ms": record.arrived_at,
    });
    if let (Some(key), Some(described)) = (record.explicit_hash_key, described.as_object_mut()) {
        described.insert("explicit_hash_key".to_owned(), key.to_string().into());
    }
    described
}
