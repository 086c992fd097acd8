//! How cost and memory grow: with the size of records, with how many are stored, with shards.

use bench::{Report, Row, live_bytes, thread_time};

use crate::below::{Bare, put_records, stored};
use crate::{MANY, SHARDS};

pub(crate) fn run(report: &mut Report) {
    for bytes in [10, 100, 1_000, 10_000, 100_000, 1_000_000] {
        record_size(report, bytes);
    }
    record_count(report);
    for shards in [1, 10, 100, 1_000, 10_000] {
        shard_count(report, shards);
    }
}

fn record_size(report: &mut Report, bytes: usize) {
    let name = format!("grow: engine put, {bytes} B");
    // At most 10 MiB in a call.
    let records = ((4 << 20) / bytes).clamp(1, MANY);
    let requests: Vec<_> = (0..4).map(|seed| put_records(seed, records, bytes)).collect();
    if report.wants(&name) {
        let row = if bytes <= 1_000 {
            stored(report, &name, &requests, records)
        } else {
            few_large(report, &name, &requests, records)
        };
        report.row(row.at("engine-size", "PutRecords", bytes as f64));
    }
    let name = format!("grow: engine memory a record, {bytes} B");
    if report.wants(&name) {
        let before = live_bytes();
        let mut bare = Bare::new(SHARDS);
        let calls = ((report.choose(8, 64) << 20) / (bytes * records)).clamp(1, 400);
        for request in requests.iter().cycle().take(calls) {
            bare.answer(request);
        }
        let each = (live_bytes() - before) as f64 / (calls * records) as f64;
        let payload = bytes as f64 + 7.0;
        let row = Row::new(name, "bytes", vec![each]).also("of data and key", each / payload);
        report.row(row.at("engine-record-memory", "a stored record", bytes as f64));
    }
}

/// As `stored`, but no more than 256 MiB a round.
fn few_large(report: &Report, name: &str, requests: &[kinesis_sim::Request], records: usize) -> Row {
    let calls = report.choose(4, 64);
    let rounds = (0..report.choose(2, 5))
        .map(|_| {
            let mut bare = Bare::new(SHARDS);
            let started = thread_time();
            for request in requests.iter().cycle().take(calls) {
                bare.answer(request);
            }
            (thread_time() - started) as f64 / (calls * records) as f64
        })
        .collect();
    Row::new(name, "ns a record", rounds)
}

/// One engine, ever more records in it.
fn record_count(report: &mut Report) {
    if !report.wants("grow: engine records so far") {
        return;
    }
    let requests: Vec<_> = (0..32).map(|seed| put_records(seed, MANY, 100)).collect();
    let before = live_bytes();
    let mut bare = Bare::new(SHARDS);
    let mut stored = 0;
    for decade in [10_000, 100_000, 1_000_000, report.choose(2_000_000, 10_000_000)] {
        let mut rounds = Vec::new();
        while stored < decade {
            let calls = 10;
            let started = thread_time();
            for request in requests.iter().cycle().take(calls) {
                bare.answer(request);
            }
            rounds.push((thread_time() - started) as f64 / (calls * MANY) as f64);
            stored += calls * MANY;
        }
        let name = format!("grow: engine records so far: put, {decade}");
        report.row(Row::new(name, "ns a record", rounds).at("engine-records", "PutRecords", decade as f64));
        let each = (live_bytes() - before) as f64 / decade as f64;
        let row =
            Row::new(format!("grow: engine records so far: memory, {decade}"), "bytes a record", vec![each]);
        report.row(row.at("engine-records-memory", "a stored record of 100 B", decade as f64));
    }
}

/// A put of 500 into ever more shards, and what an empty shard holds.
fn shard_count(report: &mut Report, shards: u32) {
    let name = format!("grow: engine put, {shards} shards");
    if !report.wants(&name) {
        return;
    }
    let before = live_bytes();
    let mut bare = Bare::new(shards);
    let each = (live_bytes() - before) as f64 / f64::from(shards);
    let row = Row::new(format!("grow: engine memory of an empty shard, of {shards}"), "bytes", vec![each]);
    report.row(row.at("engine-shard-memory", "an empty shard", f64::from(shards)));
    let requests: Vec<_> = (0..64).map(|seed| put_records(seed, MANY, 100)).collect();
    let rounds = (0..report.choose(2, 7))
        .map(|_| {
            let started = thread_time();
            for request in &requests {
                bare.answer(request);
            }
            (thread_time() - started) as f64 / (requests.len() * MANY) as f64
        })
        .collect();
    report.row(Row::new(name, "ns a record", rounds).at("engine-shards", "PutRecords", f64::from(shards)));
}
