//! How cost and memory grow: with the size of records, with how many there were, and with how many are outstanding.

use std::time::Duration;

use bench::{Report, Row, live_bytes, thread_time};
use kpl::{Producer, UserRecord};

use crate::connector::Connector;
use crate::producing::{RECORD_BYTES, SHARDS, Source, Window, config, runtime};

/// Bytes of data that wait for their answers: more than the open aggregates of 64 shards and a request.
const WINDOW_BYTES: usize = 24 << 20;
/// Records of one round, where ever more of them go through one producer.
const CHUNK: usize = 10_000;

pub(crate) fn run(report: &mut Report) {
    for bytes in [10, 100, 1_000, 10_000, 100_000, 1_000_000] {
        record_size(report, bytes);
    }
    record_count(report);
    for records in [1_000, 10_000, 100_000, 400_000] {
        outstanding(report, records);
    }
}

/// Through the SDK's client to the signed request and back.
fn record_size(report: &mut Report, bytes: usize) {
    let name = format!("grow: body: put, {bytes} B");
    if !report.wants(&name) {
        return;
    }
    let connector = Connector::new(SHARDS);
    runtime().block_on(async {
        let producer = Producer::start(&connector.client(), config(SHARDS)).unwrap();
        producer.ready().await.unwrap();
        let mut source = Source::new(7, bytes);
        let mut window = Window::of((WINDOW_BYTES / bytes).min(131_072));
        let size = ((32 << 20) / bytes).min(262_144);
        let mut rounds = Vec::new();
        let warm = 2;
        for round in 0..warm + report.choose(1, 7) {
            let records = source.records(size);
            let (started, far) = (thread_time(), connector.time());
            window.put(&producer, records).await;
            let worked = thread_time() - started - (connector.time() - far);
            if round >= warm {
                rounds.push(worked as f64 / size as f64);
            }
        }
        window.finish(&producer).await;
        let stats = producer.stats();
        let median = rounds[rounds.len() / 2];
        let row = Row::new(&name, "ns a record", rounds)
            .also("MB/s", bytes as f64 * 1e3 / median)
            .also("body bytes", connector.body_bytes() as f64 / stats.user_records_put.max(1) as f64)
            .at("producer-size", "put, signed", bytes as f64);
        report.row(row);
        producer.close(Duration::from_mins(1)).await;
    });
}

/// One producer, ever more records: neither what one costs nor what all hold may grow.
fn record_count(report: &mut Report) {
    if !report.wants("grow: records so far") {
        return;
    }
    runtime().block_on(async {
        let before = live_bytes();
        let producer = kpl::bench::start_sealing(config(SHARDS), SHARDS).unwrap();
        producer.ready().await.unwrap();
        let (mut source, mut window) = (Source::new(7, RECORD_BYTES), Window::of(65_536));
        let mut put = 0;
        for decade in [10_000, 100_000, 1_000_000, report.choose(2_000_000, 10_000_000)] {
            let mut rounds = Vec::new();
            while put < decade {
                let records: Vec<UserRecord> = source.records(CHUNK);
                let started = thread_time();
                window.put(&producer, records).await;
                rounds.push((thread_time() - started) as f64 / CHUNK as f64);
                put += CHUNK;
            }
            let name = format!("grow: records so far: put, {decade}");
            report.row(Row::new(name, "ns a record", rounds).at(
                "producer-records",
                "put, sealed",
                decade as f64,
            ));
            let held = (live_bytes() - before) as f64 / 1_048_576.0;
            let name = format!("grow: records so far: memory, {decade}");
            let row = Row::new(name, "MiB", vec![held]);
            report.row(row.at("memory-records", "producer, 65,536 tickets held", decade as f64));
        }
        window.finish(&producer).await;
        producer.close(Duration::from_mins(1)).await;
    });
}

/// What a record that is not answered holds: its data and key, its ticket, its share of what is open.
fn outstanding(report: &mut Report, records: usize) {
    let name = format!("grow: outstanding: {records} records");
    if !report.wants(&name) {
        return;
    }
    runtime().block_on(async {
        let producer = kpl::bench::start_unanswered(config(SHARDS), SHARDS).unwrap();
        producer.ready().await.unwrap();
        let mut source = Source::new(7, RECORD_BYTES);
        let before = live_bytes();
        let mut tickets = Vec::with_capacity(records);
        for record in source.records(records) {
            tickets.push(producer.put(record).await.unwrap());
        }
        tokio::task::yield_now().await;
        let each = (live_bytes() - before) as f64 / records as f64;
        let row = Row::new(&name, "bytes a record", vec![each]);
        report.row(row.at("producer-outstanding", "data, key, ticket and all", records as f64));
        drop(tickets);
        producer.close(Duration::ZERO).await;
    });
}
