//! A first script against the plain SDK: puts random ticks as JSON with one partition key, then reads one shard raw.

#![allow(clippy::print_stdout, reason = "an example talks to its user")]

#[path = "common/connection.rs"]
mod connection;

use std::process::ExitCode;

use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::ShardIteratorType;
use clap::Parser;
use connection::Connection;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

#[derive(Parser)]
struct Arguments {
    /// How many ticks to put.
    #[arg(long, default_value_t = 10)]
    count: u32,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Serialize, Deserialize)]
struct Tick {
    ticker: String,
    price: f64,
    event_time: u32,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("stock_ticker: {problem}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let stream = arguments.connection.open("ticks", 1).await?;
    if stream.created {
        println!("created stream {}", stream.name);
    }
    let client = stream.client;

    let mut random = SmallRng::try_from_rng(&mut rand::rngs::SysRng)?;
    for event_time in 0..arguments.count {
        let ticker = ["AAPL", "AMZN", "MSFT", "INTC", "TBV"]
            .choose(&mut random)
            .copied()
            .unwrap_or_default()
            .to_owned();
        let tick =
            Tick { ticker, price: (random.random_range(0.0_f64..100.0) * 100.0).round() / 100.0, event_time };
        client
            .put_record()
            .stream_name(&stream.name)
            .partition_key("partitionkey")
            .data(Blob::new(serde_json::to_vec(&tick)?))
            .send()
            .await?;
    }

    // One key: all ticks are in the shard that this key's hash falls into; with one shard, the first.
    let shards = client.list_shards().stream_name(&stream.name).send().await?;
    let shard = shards.shards().first().ok_or("the stream has no shards")?;
    let iterator = client
        .get_shard_iterator()
        .stream_name(&stream.name)
        .shard_id(shard.shard_id())
        .shard_iterator_type(ShardIteratorType::TrimHorizon)
        .send()
        .await?;
    let mut next = iterator.shard_iterator;
    while let Some(position) = next {
        let page = client.get_records().shard_iterator(position).limit(5).send().await?;
        for record in page.records() {
            let tick: Tick = serde_json::from_slice(record.data().as_ref())?;
            println!("{:<5} {:>6.2}  {}", tick.ticker, tick.price, record.sequence_number());
        }
        let caught_up = page.millis_behind_latest() == Some(0);
        next = page.next_shard_iterator.filter(|_| !caught_up);
    }
    Ok(())
}
