//! A producer of known records: keys that repeat, explicit hash keys, data of every size, some alone and some aggregated.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_sdk_kinesis::Client;
use kinesis_shard::HashKey;
use kpl::{Producer, ProducerConfig, Ticket, UserRecord};
use tokio::time::Interval;

use crate::line::{Line, hex};
use crate::split::split_all;
use crate::{Problem, Stream};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    stream: Stream,
    /// How many records to put.
    #[arg(long)]
    count: u32,
    /// How many of them in a second.
    #[arg(long, default_value_t = 2_000)]
    per_second: u32,
    /// Split every open shard after this many records.
    #[arg(long)]
    split_after: Option<u32>,
    /// The number of the first record; producers that put at the same time take different ones.
    #[arg(long, default_value_t = 0)]
    first: u32,
    /// Where to write down what was delivered where.
    #[arg(long)]
    out: PathBuf,
}

pub(crate) async fn run(arguments: Arguments) -> Result<String, Problem> {
    let client = arguments.stream.client();
    let mut writer = Writer::start(&client, &arguments.stream.stream, arguments.per_second)?;
    for number in 0..arguments.count {
        if arguments.split_after == Some(number) {
            split_all(&client, &arguments.stream.stream).await?;
        }
        writer.put(arguments.first + number).await?;
    }
    writer.finish(&mut BufWriter::new(File::create(&arguments.out)?)).await
}

/// Puts into each stream until it is told that it is enough. Of several streams the file names `stream/shard`.
pub(crate) async fn put_until(
    streams: &Stream,
    enough: &AtomicBool,
    per_second: u32,
    out: &Path,
) -> Result<String, Problem> {
    let client = streams.client();
    let names: Vec<&str> = streams.names().collect();
    let mut writers = Vec::new();
    for name in &names {
        let mut writer = Writer::start(&client, name, per_second)?;
        if names.len() > 1 {
            writer.prefix = format!("{name}/");
        }
        writers.push(writer);
    }
    // No two records are alike in all streams together.
    let step = u32::try_from(writers.len())?;
    for number in (0..).step_by(writers.len()) {
        if enough.load(Ordering::Relaxed) {
            break;
        }
        for (writer, which) in writers.iter_mut().zip(0..step) {
            writer.put(number + which).await?;
        }
    }
    let mut summaries = Vec::new();
    let mut out = BufWriter::new(File::create(out)?);
    for writer in writers {
        summaries.push(writer.finish(&mut out).await?);
    }
    Ok(summaries.join("; "))
}

struct Writer {
    /// What stands before a shard's name in the file.
    prefix: String,
    producer: Producer,
    tickets: Vec<(UserRecord, Ticket)>,
    tick: Interval,
    in_one_tick: usize,
}

impl Writer {
    fn start(client: &Client, stream: &str, per_second: u32) -> Result<Self, Problem> {
        // Small aggregates, so that there are many of them.
        let config = ProducerConfig::new(stream).with_aggregation_max_size(4_096);
        Ok(Self {
            prefix: String::new(),
            producer: Producer::start(client, config)?,
            tickets: Vec::new(),
            tick: tokio::time::interval(Duration::from_millis(20)),
            in_one_tick: usize::try_from(per_second / 50)?.max(1),
        })
    }

    async fn put(&mut self, number: u32) -> Result<(), Problem> {
        if self.tickets.len().is_multiple_of(self.in_one_tick) {
            self.tick.tick().await;
        }
        let record = record(number);
        let ticket = self.producer.put(record.clone()).await?;
        self.tickets.push((record, ticket));
        if number % 100 == 50 {
            // Whatever is open leaves now: now and then that is one record alone.
            self.producer.flush().await;
        }
        Ok(())
    }

    /// Waits for every answer and writes down what was delivered where.
    async fn finish(self, out: &mut impl Write) -> Result<String, Problem> {
        let (count, mut aggregated) = (self.tickets.len(), 0);
        for (record, ticket) in self.tickets {
            let delivered = ticket.await?;
            aggregated += u32::from(delivered.sub_sequence_number > 0);
            let line = Line {
                shard: format!("{}{}", self.prefix, delivered.shard_id),
                sequence_number: delivered.sequence_number,
                sub_sequence_number: Some(delivered.sub_sequence_number),
                key: record.partition_key().to_owned(),
                explicit_hash_key: record.explicit_hash_key(),
                data: hex(record.data()),
                is_aggregated: None,
                millis: 0,
            };
            writeln!(out, "{line}")?;
        }
        out.flush()?;
        let report = self.producer.close(Duration::from_secs(30)).await;
        if report.left > 0 {
            return Err(format!("{} records were left when the producer closed", report.left).into());
        }
        Ok(format!("{count} records put, {aggregated} of them behind another in an aggregate"))
    }
}

/// The record of this number. Key and data together are like no other record's.
fn record(number: u32) -> UserRecord {
    let key = match number % 4 {
        0 => format!("customer-{}", number % 97),
        1 => format!("größe-{}-日本", number % 13),
        2 => "k".repeat(1 + usize::try_from(number % 200).unwrap_or(0)),
        _ => format!("unique-{number}"),
    };
    let data = match number % 100 {
        // Nothing, under a key of its own.
        3 => Vec::new(),
        // Too large for an aggregate.
        10 | 60 => [format!("{number}:").into_bytes(), vec![0xff; 6_000]].concat(),
        // Begins like an aggregate.
        20 | 70 => [&[0xf3, 0x89, 0x9a, 0xc2][..], format!("{number}").as_bytes()].concat(),
        _ => {
            [format!("{number}:").into_bytes(), (0..=u8::MAX).cycle().take((number % 300) as usize).collect()]
                .concat()
        }
    };
    let record = UserRecord::new(key, data);
    match number % 6 {
        0 => record.with_explicit_hash_key(HashKey::from(u128::from(number))),
        2 => record.with_explicit_hash_key(HashKey::MAX),
        4 => record.with_explicit_hash_key(HashKey::from((u128::MAX / 1_000) * u128::from(number % 1_000))),
        _ => record,
    }
}
