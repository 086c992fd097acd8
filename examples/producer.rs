//! Puts a line every few seconds, or every line of stdin with `--stdin`.
//!
//! `cargo run --example producer` works on an engine inside this process. With `kinesis-sim --port 4567` running,
//! `cargo run --example producer -- --endpoint http://127.0.0.1:4567` feeds the `consumer` example in another terminal.

#![allow(clippy::print_stdout, reason = "an example talks to its user")]

#[path = "common/connection.rs"]
mod connection;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use connection::Connection;
use kpl::{Producer, ProducerConfig, UserRecord};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

#[derive(Parser)]
struct Arguments {
    /// Put every line of stdin instead of a line every few seconds.
    #[arg(long)]
    stdin: bool,
    /// Seconds between two lines.
    #[arg(long, default_value_t = 2.0)]
    every: f64,
    /// Set a knob of the producer by name, as in a Java KPL properties file; may be repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Stop after this many lines; by default ctrl-c stops.
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
            eprintln!("producer: {problem}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let stream = arguments.connection.open("lines", 1).await?;
    if stream.created {
        println!("created stream {}", stream.name);
    }
    let config = ProducerConfig::from_properties(stream.name.as_str(), &arguments.set.join("\n"))?;
    let producer = Producer::start(&stream.client, config)?;
    let mut input = BufReader::new(stdin()).lines();
    for number in 1..=arguments.count.unwrap_or(u64::MAX) {
        let line = tokio::select! {
            biased; // ctrl-c first: it must stop a producer that never runs dry
            _ = tokio::signal::ctrl_c() => None,
            line = input.next_line(), if arguments.stdin => line?,
            () = pause(arguments.every, number), if !arguments.stdin => Some(format!("line {number}")),
        };
        let Some(line) = line else { break };
        let delivered =
            producer.put(UserRecord::new(format!("line-{number}"), line.into_bytes())).await?.await?;
        println!("line {number} is in {} at {}", delivered.shard_id, delivered.sequence_number);
    }
    let report = producer.close(Duration::from_secs(30)).await;
    if report.is_complete() { Ok(()) } else { Err(format!("{report}").into()) }
}

/// The first line comes at once.
async fn pause(seconds: f64, number: u64) {
    if number > 1 {
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    }
}
