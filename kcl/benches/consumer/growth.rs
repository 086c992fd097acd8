//! How cost and memory grow: with the size of records, with how many there are, and with the shards of a worker.

use bench::{Report, Row};
use kcl::RetrievalMode;

use crate::delivered::{Data, delivered, floor, held_by_a_shard};

pub(crate) fn run(report: &mut Report) {
    for bytes in [10, 100, 1_000, 10_000, 100_000, 1_000_000] {
        record_size(report, bytes);
    }
    for records in [10_000, 100_000, 1_000_000, 10_000_000] {
        record_count(report, records);
    }
    for shards in [1, 10, 100, 1_000, 10_000] {
        let name = format!("grow: memory of a leased shard, of {shards}");
        if report.wants(&name) && !(report.is_quick() && shards > 1_000) {
            let row = Row::new(name, "bytes", vec![held_by_a_shard(shards)]);
            report.row(row.at("consumer-memory", "a leased idle shard", f64::from(shards)));
        }
    }
}

fn record_size(report: &mut Report, bytes: usize) {
    let one = Data { shards: 1, each: 1, bytes };
    let total = report.choose(4 << 20, 96 << 20);
    let data = Data { each: (total / (bytes as u64 * one.members())).max(4), ..one };
    let rounds = report.choose(1, 5);
    let name = format!("grow: delivered: {bytes} B");
    if report.wants(&name) {
        let rounds = (0..rounds).map(|_| delivered(data, RetrievalMode::Polling).nanos).collect();
        let row = Row::new(name, "ns a record", rounds);
        report.row(row.at("consumer-size", "polling, everything", bytes as f64));
    }
    let name = format!("grow: floor: {bytes} B");
    if report.wants(&name) {
        let rounds = (0..rounds).map(|_| floor(data)).collect();
        report.row(Row::new(name, "ns a record", rounds).at("consumer-size", "SDK alone", bytes as f64));
    }
}

/// Ever more records in one shard: neither what one costs nor what the worker holds may grow.
fn record_count(report: &mut Report, records: u64) {
    let name = format!("grow: records: {records}");
    if !report.wants(&name) || (report.is_quick() && records > 100_000) {
        return;
    }
    let one = Data { shards: 1, each: 1, bytes: 100 };
    let data = Data { each: records / one.members(), ..one };
    let rounds = if records > 1_000_000 { 1 } else { report.choose(1, 5) };
    let costs: Vec<_> = (0..rounds).map(|_| delivered(data, RetrievalMode::Polling)).collect();
    let row = Row::new(&name, "ns a record", costs.iter().map(|cost| cost.nanos).collect());
    report.row(row.at("consumer-records", "polling, everything", records as f64));
    let held = costs.iter().map(|cost| cost.held_bytes / 1_048_576.0).collect();
    let row = Row::new(format!("{name}: the most memory"), "MiB", held);
    report.row(row.at(
        "memory-records",
        "consumer, the most at any time, answers on their way included",
        records as f64,
    ));
}
