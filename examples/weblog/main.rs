//! The main job: the lines of a web server's access log go through `kpl`, Kinesis and `kcl`, while a shard is split
//! and a worker dies half way, and nothing is lost.
//!
//! ```text
//! lines -> Producer -> stream (engine in this process, or --endpoint/--stream/--region) -> worker-a, worker-b -> table
//!                        '-- half way: a shard splits                                      '-- half way: dies
//! ```
//!
//! `cargo run --example weblog` reads the log shipped in `examples/data`; `-- FILE` another one, `-- -` stdin.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example talks to its user")]

#[path = "../common/connection.rs"]
mod connection;
mod ledger;
mod lines;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use aws_sdk_kinesis::error::DisplayErrorContext;
use clap::Parser;
use connection::{Connection, OpenStream};
use indicatif::{ProgressBar, ProgressStyle};
use kcl::{BoxError, InitialPosition, Scheduler};
use kinesis_shard::{ExtendedSequenceNumber, ShardFilter, StreamName};
use kpl::{Producer, ProducerConfig, Ticket, UserRecord};
use ledger::{Ledger, ProducerFigures, Report};
use lines::Lines;
use tokio::sync::mpsc;

#[derive(Parser)]
struct Arguments {
    /// Access log in the combined format, plain or gzip; `-` reads stdin. Without it: the log in examples/data.
    file: Option<PathBuf>,
    /// SQLite file that holds the leases; by default a temporary one.
    #[arg(long)]
    leases: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(report) => {
            print!("{report}");
            if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(problem) => {
            eprintln!("weblog: {problem}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<Report, BoxError> {
    let lines = Lines::open(arguments.file.as_deref())?;
    #[expect(clippy::disallowed_methods, reason = "an older stream is read from the time of this run on")]
    let began = std::time::SystemTime::now();
    let directory = tempfile::tempdir()?;
    let leases = arguments.leases.unwrap_or_else(|| directory.path().join("leases.sqlite"));
    let stream = arguments.connection.open("weblog", 4).await?;
    let from =
        if stream.created { InitialPosition::TrimHorizon } else { InitialPosition::AtTimestamp(began) };

    let ledger = Ledger::default();
    let start = |name| worker::start(&stream, name, &leases, from, ledger.clone());
    let survivor = start("worker-a").await?;
    let victim = start("worker-b").await?;
    until_shared(&survivor, &victim).await;
    let mut drama = Drama { victim: Some(victim), stream: &stream, ledger: ledger.clone() };

    let producer = Producer::start(&stream.client, ProducerConfig::new(stream.name.as_str()))?;
    let (tickets, answers) = mpsc::channel(10_000);
    let booked = book_answers(answers, ledger.clone());
    let (fed, ()) = futures::future::join(feed(lines, &producer, tickets, &mut drama), booked).await;

    until_processed(&ledger).await;
    survivor.shutdown(Duration::from_secs(10)).await;
    let figures = ProducerFigures::from(&producer.stats());
    producer.close(Duration::from_secs(10)).await;
    let report = Report::new(ledger, figures);
    if fed.is_err() {
        print!("{report}"); // what was accepted before the problem was not lost
    }
    fed.map(|()| report)
}

/// Puts every line; half way the drama happens.
async fn feed(
    mut lines: Lines,
    producer: &Producer,
    tickets: mpsc::Sender<Ticket>,
    drama: &mut Drama<'_>,
) -> Result<(), BoxError> {
    let bar = progress_bar(lines.size());
    while let Some(line) = lines.next() {
        let line = line?;
        let client = line.split(' ').next().filter(|client| !client.is_empty()).unwrap_or("-");
        let record = UserRecord::new(client.chars().take(256).collect::<String>(), line.clone().into_bytes());
        let ticket = producer.put(record).await.map_err(|error| format!("{}: {error}", lines.here()))?;
        drama.ledger.put();
        tickets.send(ticket).await?;
        bar.set_position(lines.taken());
        bar.set_message(format!(
            "{} put, {} processed",
            drama.ledger.put_count(),
            drama.ledger.processed_count()
        ));
        if lines.is_half_way() {
            drama.happen(&bar).await?;
        }
    }
    drama.happen(&bar).await?; // a short input ends before its half
    bar.finish();
    Ok(())
}

/// What goes wrong half way, once: a worker dies in the middle of its work, and a shard is split.
struct Drama<'a> {
    victim: Option<Scheduler>,
    stream: &'a OpenStream,
    ledger: Ledger,
}

impl Drama<'_> {
    async fn happen(&mut self, bar: &ProgressBar) -> Result<(), BoxError> {
        let Some(victim) = self.victim.take() else { return Ok(()) };
        for _ in 0..100 {
            if self.ledger.processed_by("worker-b") > 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        drop(victim); // no goodbye: its leases must expire
        tell(bar, "half way: worker-b died without warning");
        if self.stream.created {
            let shard = split_first_shard(self.stream).await?;
            tell(bar, &format!("half way: {shard} is being split"));
        }
        Ok(())
    }
}

/// Splits the first open shard in the middle of its range; returns its id.
async fn split_first_shard(stream: &OpenStream) -> Result<String, BoxError> {
    let shards = kinesis_shard::list_shards(
        &stream.client,
        &StreamName::new(stream.name.as_str()),
        ShardFilter::AtLatest,
    )
    .await?;
    let shard = shards.first().ok_or("the stream has no open shard")?;
    stream
        .client
        .split_shard()
        .stream_name(&stream.name)
        .shard_to_split(shard.id.as_str())
        .new_starting_hash_key(shard.hash_key_range.midpoint().to_string())
        .send()
        .await
        .map_err(|error| format!("cannot split {}: {}", shard.id, DisplayErrorContext(error)))?;
    Ok(shard.id.to_string())
}

async fn book_answers(mut tickets: mpsc::Receiver<Ticket>, ledger: Ledger) {
    while let Some(ticket) = tickets.recv().await {
        match ticket.await {
            Ok(delivered) => {
                let position = ExtendedSequenceNumber {
                    sequence_number: delivered.sequence_number,
                    sub_sequence_number: delivered.sub_sequence_number,
                };
                ledger.acknowledged(delivered.shard_id, position);
            }
            Err(error) => ledger.failed(error.to_string()),
        }
    }
}

/// Waits until both workers have shards, or the one that dies would have nothing to lose; gives up after 20 seconds.
async fn until_shared(survivor: &Scheduler, victim: &Scheduler) {
    for _ in 0..400 {
        if !survivor.shards().is_empty() && !victim.shards().is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until every acknowledged line was processed; gives up after a minute without progress.
async fn until_processed(ledger: &Ledger) {
    let (mut seen, mut idle) = (0, 0);
    while ledger.missing() > 0 && idle < 600 {
        idle = if ledger.processed_count() == seen { idle + 1 } else { 0 };
        seen = ledger.processed_count();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn progress_bar(size: Option<u64>) -> ProgressBar {
    let style = "{elapsed:>4} [{bar:30}] {percent:>3} %  {msg}";
    let style = if size.is_some() { style } else { "{elapsed:>4} {spinner} {msg}" };
    ProgressBar::new(size.unwrap_or(0))
        .with_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Says it above the bar, or plainly where no bar is shown.
fn tell(bar: &ProgressBar, what: &str) {
    bar.suspend(|| eprintln!("{what}"));
}
