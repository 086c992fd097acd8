use std::sync::Arc;

use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use aws_sdk_kinesis::types::ShardIteratorType::{Latest, TrimHorizon};

use super::*;

/// Records in one call, faster than one by one.
async fn fill(client: &Client, count: usize, bytes: usize) {
    for _ in 0..count.div_ceil(8) {
        let entry = PutRecordsRequestEntry::builder().partition_key("k").data(Blob::new(vec![b'x'; bytes]));
        let entries = vec![entry.build().unwrap(); 8];
        client.put_records().stream_name("orders").set_records(Some(entries)).send().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn the_call_returns_at_once_though_nothing_is_there_to_read() {
    let (sim, client, consumer) = simple(1).await;
    let before = sim.now_millis();
    let _reader = Reader::open(&client, &consumer, SHARD, start(Latest)).await;
    assert_eq!(sim.now_millis(), before);
    assert_eq!(sim.subscription_count(), 1);
    assert_eq!(sim.trace().last().unwrap(), "0 client SubscribeToShard orders shardId-000000000000 ok");
}

#[tokio::test(start_paused = true)]
async fn records_arrive_when_they_are_put() {
    let (sim, client, consumer) = simple(1).await;
    let mut reader = Reader::open(&client, &consumer, SHARD, start(Latest)).await;
    let number = Arc::new(std::sync::Mutex::new(String::new()));
    let putting = async {
        sleep_ms(1_700).await;
        *number.lock().unwrap() = put(&client, "k", b"one").await;
    };
    let reading = async {
        let event = reader.next().await;
        (event, sim.now_millis())
    };
    let before = sim.now_millis();
    let ((), (event, at)) = tokio::join!(putting, reading);
    assert_eq!(at - before, 1_700, "woken by the record, not by a timer");
    assert_eq!(payloads(&event), ["one"]);
    let record = &event.records()[0];
    assert_eq!(record.sequence_number(), *number.lock().unwrap());
    assert_eq!(record.partition_key(), Some("k"));
    assert_eq!(event.continuation_sequence_number(), record.sequence_number());
    assert_eq!(event.millis_behind_latest(), 0);
    assert!(event.child_shards().is_empty());
}

#[tokio::test(start_paused = true)]
async fn silence_is_broken_every_five_seconds_and_continuations_move_on() {
    let (sim, client, consumer) = simple(1).await;
    let mut reader = Reader::open(&client, &consumer, SHARD, start(Latest)).await;
    let begun = sim.now_millis();
    let mut last = sim.shards("orders")[0].starting_sequence_number;
    for round in 1..=12 {
        let event = reader.next().await;
        assert_eq!(sim.now_millis() - begun, round * 5_000);
        assert_eq!((event.records().len(), event.millis_behind_latest()), (0, 0));
        let continuation = event.continuation_sequence_number().parse().unwrap();
        assert!(last < continuation);
        last = continuation;
    }
}

#[tokio::test(start_paused = true)]
async fn only_records_of_the_shard_are_pushed_and_in_order() {
    let (sim, client, consumer) = simple(4).await;
    for index in 0..200 {
        put(&client, &format!("key-{index}"), index.to_string().as_bytes()).await;
    }
    for shard in sim.shards("orders") {
        let shard_id = shard.id.to_string();
        let expected: Vec<_> = sim
            .stored("orders")
            .iter()
            .filter(|record| record.shard_id == shard.id)
            .map(|record| String::from_utf8(record.data.to_vec()).unwrap())
            .collect();
        let mut reader = Reader::open(&client, &consumer, &shard_id, start(TrimHorizon)).await;
        assert_eq!(reader.records(expected.len()).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn events_stay_moderate_however_much_there_is() {
    let (_, client, consumer) = simple(1).await;
    fill(&client, 40, 300_000).await;
    let mut reader = Reader::open(&client, &consumer, SHARD, start(TrimHorizon)).await;
    let mut seen = 0;
    while seen < 40 {
        let event = reader.next().await;
        assert!(event.records().len() <= 3, "{}", event.records().len());
        seen += event.records().len();
    }
}

#[tokio::test(start_paused = true)]
async fn two_mebibytes_a_second_for_each_consumer_by_itself() {
    let sim = Sim::new(7);
    sim.create_stream("orders", 1);
    let client = sim.client();
    let consumers = [register(&client, "one").await, register(&client, "two").await];
    for _ in 0..8 {
        put(&client, "k", &vec![0; (1 << 20) - 1]).await;
        sleep_ms(1_000).await;
    }
    let read = async |consumer: &str| {
        let mut reader = Reader::open(&client, consumer, SHARD, start(TrimHorizon)).await;
        let begun = sim.now_millis();
        reader.records(8).await;
        sim.now_millis() - begun
    };
    let (one, two) = tokio::join!(read(&consumers[0]), read(&consumers[1]));
    assert_eq!((one, two), (3_500, 3_500), "eight events, half a second apart, side by side");
}

#[tokio::test(start_paused = true)]
async fn lag_tells_how_old_the_last_pushed_record_is() {
    let (_, client, consumer) = simple(1).await;
    put(&client, "k", &vec![0; 900_000]).await;
    sleep_ms(2_000).await;
    put(&client, "k", &vec![0; 900_000]).await;
    sleep_ms(1_000).await;
    let mut reader = Reader::open(&client, &consumer, SHARD, start(TrimHorizon)).await;
    assert_eq!(reader.next().await.millis_behind_latest(), 3_000);
    assert_eq!(reader.next().await.millis_behind_latest(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_has_nothing_queued_for_it() {
    let (sim, client, consumer) = simple(1).await;
    let mut reader = Reader::open(&client, &consumer, SHARD, start(TrimHorizon)).await;
    fill(&client, 64, 500_000).await;
    assert_eq!(reader.next().await.records().len(), 2);
    sleep_ms(60_000).await;
    // Whatever was made before the stream went away would still come first.
    sim.delete_stream("orders");
    let mut late = 0;
    let error = loop {
        match reader.try_next().await {
            Ok(event) => late += event.unwrap().records().len(),
            Err(error) => break error.into_service_error(),
        }
    };
    assert!(late <= 2, "{late} records were waiting");
    assert!(error.is_resource_not_found_exception());
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_misses_nothing() {
    let (_, client, consumer) = simple(1).await;
    let mut reader = Reader::open(&client, &consumer, SHARD, start(Latest)).await;
    for index in 0..500 {
        put(&client, "k", format!("{index}").as_bytes()).await;
        sleep_ms(100).await;
    }
    let expected: Vec<_> = (0..500).map(|index| index.to_string()).collect();
    assert_eq!(reader.records(500).await, expected);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_reader_frees_its_subscription() {
    let (sim, client, consumer) = simple(3).await;
    let mut readers = Vec::new();
    for shard in sim.shards("orders") {
        let mut reader = Reader::open(&client, &consumer, shard.id.as_ref(), start(Latest)).await;
        // Parked, so that it is known to the shard.
        let _idle = tokio::time::timeout(Duration::from_secs(1), reader.next()).await.unwrap_err();
        readers.push(reader);
    }
    assert_eq!(sim.subscription_count(), 3);
    readers.pop();
    assert_eq!(sim.subscription_count(), 2);
    readers.clear();
    assert_eq!(sim.subscription_count(), 0);
    put(&client, "k", b"nobody waits").await;
}

#[tokio::test(start_paused = true)]
async fn a_burst_in_the_middle_of_an_idle_minute_is_seen_whole() {
    let (_, client, consumer) = simple(1).await;
    let mut reader = Reader::open(&client, &consumer, SHARD, start(Latest)).await;
    let putting = async {
        sleep_ms(27_003).await;
        for index in 0..50 {
            put(&client, "k", index.to_string().as_bytes()).await;
        }
    };
    let reading = reader.records(50);
    let ((), seen) = tokio::join!(putting, reading);
    assert_eq!(seen, (0..50).map(|index| index.to_string()).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn records_below_the_horizon_are_skipped() {
    let (_, client, consumer) = simple(1).await;
    put(&client, "k", b"old").await;
    sleep_ms(24 * 3_600_000 + 1).await;
    put(&client, "k", b"new").await;
    let mut reader = Reader::open(&client, &consumer, SHARD, start(TrimHorizon)).await;
    assert_eq!(reader.records(1).await, ["new"]);
}

#[test]
fn the_same_seed_gives_the_same_events() {
    let run = || {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (sim, client, consumer) = simple(2).await;
            let other = register(&client, "other").await;
            let mut one = Reader::open(&client, &consumer, SHARD, start(Latest)).await;
            let mut two = Reader::open(&client, &other, SHARD, start(TrimHorizon)).await;
            let putting = async {
                for index in 0..40 {
                    put(&client, &format!("key-{index}"), b"x").await;
                    sleep_ms(700).await;
                }
            };
            let log = |event: &SubscribeToShardEvent, at: u64| format!("{at} {event:?}");
            let reading = async |reader: &mut Reader| {
                let mut seen = Vec::new();
                for _ in 0..15 {
                    let event = reader.next().await;
                    seen.push(log(&event, sim.now_millis()));
                }
                seen
            };
            let ((), one, two) = tokio::join!(putting, reading(&mut one), reading(&mut two));
            (one, two, sim.trace())
        })
    };
    assert_eq!(run(), run());
}
