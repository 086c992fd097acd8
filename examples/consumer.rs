//! Prints every record of a stream from the start, or from its checkpoint with `--checkpoints FILE`, until ctrl-c.
//!
//! `cargo run --example consumer` reads an engine inside this process, with a producer beside it. With
//! `--endpoint http://127.0.0.1:4567` it reads what the `producer` example puts in another terminal.

#![allow(clippy::print_stdout, reason = "an example talks to its user")]

#[path = "common/connection.rs"]
mod connection;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Parser;
use connection::Connection;
use kcl::BoxError;
use kcl::lease::SqliteLeaseStore;
use kpl::{Producer, ProducerConfig, UserRecord};
use tokio::sync::Notify;
use tokio::task::JoinSet;

#[derive(Parser)]
struct Arguments {
    /// File that keeps the checkpoints, so that the next run goes on where this one ended.
    #[arg(long)]
    checkpoints: Option<PathBuf>,
    /// Stop once this many records were read (the batch at hand is finished first); by default ctrl-c stops.
    #[arg(long)]
    count: Option<u64>,
    #[command(flatten)]
    connection: Connection,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("consumer: {problem}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), BoxError> {
    let embedded = arguments.connection.is_embedded();
    let stream = arguments.connection.open("lines", 1).await?;
    if stream.created {
        println!("created stream {}", stream.name);
    }
    let mut side = JoinSet::new();
    if embedded {
        side.spawn(feed(Producer::start(&stream.client, ProducerConfig::new(stream.name.as_str()))?));
    }

    let enough = Arc::new(Notify::new());
    let (seen, wanted, stop) = (Arc::new(AtomicU64::new(0)), arguments.count, Arc::clone(&enough));
    let scan = kcl::scan(&stream.client, stream.name.as_str()).application("consumer");
    let mut scan = match wanted {
        Some(_) => scan.until(async move { enough.notified().await }),
        None => scan.until_ctrl_c(),
    };
    if let Some(file) = arguments.checkpoints {
        scan = scan.store(Arc::new(SqliteLeaseStore::open(file, "consumer")?));
    }
    let report = scan
        .run(move |record| {
            let number = seen.fetch_add(1, Ordering::Relaxed) + 1;
            if wanted.is_some_and(|wanted| number >= wanted) {
                stop.notify_one();
            }
            async move {
                println!(
                    "{} {}: {}",
                    record.shard_id(),
                    record.sequence_number(),
                    String::from_utf8_lossy(record.data())
                );
                Ok(())
            }
        })
        .await?;
    println!("{report}");
    Ok(())
}

/// Beside an engine inside this process nobody else puts anything.
async fn feed(producer: Producer) {
    for number in 1.. {
        let record = UserRecord::new(format!("line-{number}"), format!("line {number}").into_bytes());
        if producer.put(record).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
