//! Known records into a stream: 100 bytes each, no two alike.

use std::collections::VecDeque;
use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use kpl::{Producer, ProducerConfig, Ticket, UserRecord};
use tokio::task::JoinSet;

use crate::Outcome;
use crate::tally::digest;

const KEYS: u64 = 262_144;
const DATA_BYTES: usize = 100;
/// Tickets that are held before the oldest is awaited.
const WINDOW: usize = 131_072;
/// Calls of PutRecords at a time.
const LOOPS: u64 = 4;

fn key(number: u64) -> String {
    // Spread like random keys, the same in every run.
    format!("customer-{:011}", number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % KEYS)
}

fn data(number: u64) -> Vec<u8> {
    format!("{number:0DATA_BYTES$}").into_bytes()
}

pub(crate) async fn fill(kind: &str, client: &Client, stream: &str, count: u64) -> Outcome<()> {
    match kind {
        // The engine's limits are off, and so are our own.
        "aggregated" => {
            aggregated(client, ProducerConfig::new(stream).with_rate_limit(100_000), count).await?;
        }
        "limited" => aggregated(client, ProducerConfig::new(stream), count).await?,
        "plain" => plain(client, stream, count).await?,
        other => return Err(format!("records are aggregated, limited or plain, not {other}").into()),
    }
    let sum = (0..count).map(|number| digest(&key(number), &data(number))).fold(0, u64::wrapping_add);
    println!("filled {count} {sum}");
    Ok(())
}

async fn aggregated(client: &Client, config: ProducerConfig, count: u64) -> Outcome<()> {
    let producer = Producer::start(client, config)?;
    let mut window: VecDeque<Ticket> = VecDeque::new();
    for number in 0..count {
        window.push_back(producer.put(UserRecord::new(key(number), data(number))).await?);
        if window.len() > WINDOW
            && let Some(ticket) = window.pop_front()
        {
            ticket.await?;
        }
    }
    producer.flush().await;
    for ticket in window {
        ticket.await?;
    }
    let report = producer.close(Duration::from_mins(1)).await;
    if report.is_complete() { Ok(()) } else { Err(report.to_string().into()) }
}

async fn plain(client: &Client, stream: &str, count: u64) -> Outcome<()> {
    let mut loops = JoinSet::new();
    for part in 0..LOOPS {
        let (client, stream) = (client.clone(), stream.to_owned());
        loops.spawn(async move {
            let (mut number, end) = (count * part / LOOPS, count * (part + 1) / LOOPS);
            while number < end {
                let next = (number + 500).min(end);
                put_all(&client, &stream, number..next).await?;
                number = next;
            }
            Outcome::Ok(())
        });
    }
    while let Some(done) = loops.join_next().await {
        done??;
    }
    Ok(())
}

async fn put_all(client: &Client, stream: &str, numbers: std::ops::Range<u64>) -> Outcome<()> {
    let entry = |number| {
        PutRecordsRequestEntry::builder().partition_key(key(number)).data(Blob::new(data(number))).build()
    };
    let mut entries = numbers.map(entry).collect::<Result<Vec<_>, _>>()?;
    while !entries.is_empty() {
        let call = client.put_records().stream_name(stream).set_records(Some(entries.clone()));
        let answers = call.send().await?.records;
        let answered = entries.into_iter().zip(answers);
        entries =
            answered.filter(|(_, answer)| answer.error_code.is_some()).map(|(entry, _)| entry).collect();
    }
    Ok(())
}

/// A record into each shard, then a pause, until killed. The data is the time.
pub(crate) async fn tick(client: &Client, stream: &str, pause: Duration) -> Outcome<()> {
    let shards = client.list_shards().stream_name(stream).send().await?.shards.unwrap_or_default();
    let starts: Vec<String> = shards
        .iter()
        .filter_map(|shard| shard.hash_key_range.as_ref())
        .map(|range| range.starting_hash_key.clone())
        .collect();
    let mut ticks = tokio::time::interval(pause);
    loop {
        ticks.tick().await;
        let entry = |start: &String| {
            PutRecordsRequestEntry::builder()
                .partition_key("tick")
                .explicit_hash_key(start)
                .data(Blob::new(crate::now_millis().to_string()))
                .build()
        };
        let entries = starts.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
        client.put_records().stream_name(stream).set_records(Some(entries)).send().await?;
    }
}
