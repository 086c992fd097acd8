//! A thousand shards that bring nothing.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use aws_sdk_kinesis::Client;
use bench::{Report, Row, process_time, resident_bytes};
use kcl::{ConsumerConfig, MemoryLeaseStore, Scheduler};
use kinesis_sim::{Limits, Sim};

use crate::delivered::{Counter, STREAM};

const SHARDS: u32 = 1_000;

/// The engine's process: prints its address, ends with its standard input.
pub(crate) fn serve() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let sim = Sim::builder().limits(Limits::Off).trace_lines(0).wall_clock().build();
        sim.create_stream(STREAM, SHARDS);
        let server = sim.serve(([127, 0, 0, 1], 0).into()).await.unwrap();
        println!("http://{}", server.addr());
        tokio::task::spawn_blocking(|| std::io::stdin().lines().count()).await.unwrap();
    });
}

pub(crate) fn run(report: &mut Report) {
    let mut engine = Command::new(std::env::current_exe().unwrap())
        .arg("serve")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut url = String::new();
    BufReader::new(engine.stdout.take().unwrap()).read_line(&mut url).unwrap();
    let before = resident_bytes();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(watch(report, url.trim(), before));
    drop(engine.stdin.take());
    engine.wait().unwrap();
}

async fn watch(report: &mut Report, url: &str, before: f64) {
    let config = aws_sdk_kinesis::Config::builder()
        .behavior_version(aws_sdk_kinesis::config::BehaviorVersion::latest())
        .region(aws_sdk_kinesis::config::Region::from_static("us-east-1"))
        .credentials_provider(aws_credential_types::Credentials::from_keys("bench", "bench", None))
        .endpoint_url(url)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    let store = Arc::new(MemoryLeaseStore::new());
    let config_of_worker = ConsumerConfig::new("bench", STREAM, "worker").with_seed(1);
    let counter = Arc::new(AtomicU64::new(0));
    let client = Client::from_conf(config);
    let worker = Scheduler::start(&client, config_of_worker, store, move |_| Counter(Arc::clone(&counter)));
    let worker = worker.await.unwrap();
    while worker.stats().get_records_success < 3 * u64::from(SHARDS) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (cpu, reads) = (process_time(), worker.stats().get_records_success);
    let began = std::time::Instant::now();
    tokio::time::sleep(Duration::from_secs(report.choose(2, 20))).await;
    let seconds = began.elapsed().as_secs_f64();
    let (cpu, reads) = ((process_time() - cpu) as f64, worker.stats().get_records_success - reads);
    let name = format!("idle: {SHARDS} shards polled over HTTP");
    let row = Row::new(format!("{name}: CPU"), "% of a core", vec![cpu / seconds / 1e7]);
    report.row(row.also("reads/s", reads as f64 / seconds).also("us a read", cpu / reads as f64 / 1e3));
    let row = Row::new(format!("{name}: memory"), "MiB", vec![resident_bytes() / 1_048_576.0]);
    report.row(row.also("before the worker", before / 1_048_576.0));
    worker.shutdown(Duration::from_secs(10)).await;
}
