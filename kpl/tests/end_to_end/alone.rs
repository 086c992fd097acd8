//! What a producer does not do: start processes, pass credentials to anybody, upload metrics.

use std::collections::BTreeSet;

use crate::common::{SECOND, all_delivered, answers, config, put_all, sim, start};

/// Everything that the libraries can link to; `cargo` writes it.
const LOCK_FILE: &str = include_str!("../../../Cargo.lock");

/// The processes that this one has started, by each of its threads. Empty where the system does not say.
fn children() -> Vec<String> {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return Vec::new() };
    let of_thread = |thread: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(thread.ok()?.path().join("children")).ok()
    };
    let lists: Vec<String> = threads.filter_map(of_thread).collect();
    lists.iter().flat_map(|list| list.split_whitespace()).map(str::to_owned).collect()
}

/// The Java KPL hands its credentials to a native process on the command line. Here there is none to hand them to.
#[tokio::test(start_paused = true)]
async fn a_producer_starts_no_process() {
    assert_eq!(children(), Vec::<String>::new(), "this program has started some itself");
    let sim = sim(1, 2);
    let producer = start(&sim, config());
    let tickets = put_all(&producer, 0..100).await;
    assert_eq!(children(), Vec::<String>::new());
    all_delivered(&answers(tickets).await);
    producer.close(SECOND).await;
}

/// The Java KPL uploads a metric of each shard each minute by default, which the service bills.
#[tokio::test(start_paused = true)]
async fn a_producer_calls_its_stream_and_uploads_nothing() {
    let sim = sim(2, 4);
    let producer = start(&sim, config());
    for round in 0..30 {
        let tickets = put_all(&producer, round * 50..round * 50 + 50).await;
        all_delivered(&answers(tickets).await);
        tokio::time::sleep(20 * SECOND).await;
    }
    producer.close(SECOND).await;
    let called: BTreeSet<String> = sim
        .trace()
        .iter()
        .filter(|line| line.contains(" producer "))
        .map(|line| line.split_whitespace().nth(2).unwrap_or_default().to_owned())
        .collect();
    let expected = ["DescribeStreamSummary", "ListShards", "PutRecords"].map(str::to_owned);
    assert_eq!(called, BTreeSet::from(expected), "{:#?}", sim.trace().first());
    assert!(!LOCK_FILE.contains("aws-sdk-cloudwatch"), "nothing here can talk to CloudWatch");
}
