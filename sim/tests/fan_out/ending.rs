use aws_sdk_kinesis::types::ShardIteratorType::{AfterSequenceNumber, Latest, TrimHorizon};

use super::*;

#[tokio::test(start_paused = true)]
async fn it_ends_after_five_minutes_and_going_on_loses_and_repeats_nothing() {
    let (sim, client, consumer) = simple(1).await;
    let mut reader = Reader::open(&client, &consumer, SHARD, start(Latest)).await;
    let putting = async {
        for index in 0..300 {
            put(&client, "k", index.to_string().as_bytes()).await;
            sleep_ms(3_000).await;
        }
    };
    let reading = async {
        let (mut seen, mut lives) = (Vec::new(), Vec::new());
        while seen.len() < 300 {
            let begun = sim.now_millis();
            let mut continuation = String::new();
            while let Some(event) = reader.try_next().await.unwrap() {
                seen.extend(payloads(&event));
                event.continuation_sequence_number().clone_into(&mut continuation);
            }
            lives.push(sim.now_millis() - begun);
            // Records come while nobody is subscribed.
            sleep_ms(7_000).await;
            reader = Reader::open(&client, &consumer, SHARD, after(&continuation)).await;
        }
        (seen, lives)
    };
    let ((), (seen, lives)) = tokio::join!(putting, reading);
    assert_eq!(seen, (0..300).map(|index| index.to_string()).collect::<Vec<_>>());
    assert!(lives.len() >= 3 && lives.iter().all(|life| *life == 300_000), "{lives:?}");
}

#[tokio::test(start_paused = true)]
async fn a_continuation_of_a_subscription_that_saw_nothing_is_a_start() {
    let (_, client, consumer) = simple(1).await;
    let mut reader = Reader::open(&client, &consumer, SHARD, start(Latest)).await;
    let continuation = reader.next().await.continuation_sequence_number().to_owned();
    drop(reader);
    put(&client, "k", b"while away").await;
    sleep_ms(5_000).await;
    let mut reader = Reader::open(&client, &consumer, SHARD, after(&continuation)).await;
    assert_eq!(reader.records(1).await, ["while away"]);
    // GetShardIterator takes it as well.
    let iterator = client
        .get_shard_iterator()
        .stream_name("orders")
        .shard_id(SHARD)
        .shard_iterator_type(AfterSequenceNumber)
        .starting_sequence_number(continuation);
    let iterator = iterator.send().await.unwrap().shard_iterator;
    let page = client.get_records().set_shard_iterator(iterator).send().await.unwrap();
    assert_eq!(page.records().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_ended_stream_stays_ended() {
    let (sim, client, consumer) = simple(1).await;
    let mut reader = Reader::open(&client, &consumer, SHARD, start(Latest)).await;
    assert_eq!(reader.rest().await.len(), 59, "keep-alives up to the end");
    for _ in 0..3 {
        assert!(reader.try_next().await.unwrap().is_none());
    }
    assert_eq!(sim.subscription_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_split_ends_with_both_children_and_no_continuation() {
    let (sim, client, consumer) = simple(1).await;
    put(&client, "k", b"before").await;
    let mut reader = Reader::open(&client, &consumer, SHARD, start(TrimHorizon)).await;
    reader.records(1).await;
    let splitting = async {
        sleep_ms(1_300).await;
        put(&client, "k", b"last").await;
        sim.split_shard("orders", SHARD);
        sim.now_millis()
    };
    let (split_at, events) = tokio::join!(splitting, async {
        let events = reader.rest().await;
        (events, sim.now_millis())
    });
    assert_eq!(events.1, split_at, "told at once");
    let [records, last] = events.0.as_slice() else { panic!("{events:?}") };
    assert_eq!(payloads(records), ["last"]);
    assert!(records.child_shards().is_empty() && !records.continuation_sequence_number().is_empty());
    assert!(last.records().is_empty() && last.continuation_sequence_number().is_empty());
    let children = last.child_shards();
    let ids: Vec<_> = children.iter().map(aws_sdk_kinesis::types::ChildShard::shard_id).collect();
    assert_eq!(ids, ["shardId-000000000001", "shardId-000000000002"]);
    assert!(children.iter().all(|child| child.parent_shards() == [SHARD]));
    let range = children[0].hash_key_range().unwrap();
    assert_eq!(range.starting_hash_key(), "0");
}

#[tokio::test(start_paused = true)]
async fn a_merge_ends_both_parents_with_the_same_child() {
    let (sim, client, consumer) = simple(2).await;
    let shards = [SHARD, "shardId-000000000001"];
    let mut readers = Vec::new();
    for shard in shards {
        readers.push(Reader::open(&client, &consumer, shard, start(Latest)).await);
    }
    sim.merge_shards("orders", shards[0], shards[1]);
    for reader in &mut readers {
        let events = reader.rest().await;
        let children = events.last().unwrap().child_shards();
        assert_eq!((events.len(), children.len()), (1, 1));
        assert_eq!(children[0].shard_id(), "shardId-000000000002");
        assert_eq!(children[0].parent_shards(), shards);
    }
    let mut child = Reader::open(&client, &consumer, "shardId-000000000002", start(TrimHorizon)).await;
    put(&client, "k", b"x").await;
    assert_eq!(child.records(1).await, ["x"]);
}

#[tokio::test(start_paused = true)]
async fn a_reshard_that_takes_its_time_is_told_when_it_takes_effect() {
    let sim = Sim::builder().limits(Limits::Off).state_delay(Duration::from_millis(1_700)).build();
    sim.create_stream("orders", 1);
    let client = sim.client();
    let consumer = register(&client, "app").await;
    sleep_ms(1_700).await;
    let mut reader = Reader::open(&client, &consumer, SHARD, start(Latest)).await;
    let begun = sim.now_millis();
    let splitting = async {
        sleep_ms(1_000).await;
        let half = (1u128 << 127).to_string();
        let split = client.split_shard().stream_name("orders").shard_to_split(SHARD);
        split.new_starting_hash_key(half).send().await.unwrap();
    };
    let ((), events) = tokio::join!(splitting, reader.rest());
    assert_eq!(sim.now_millis() - begun, 2_700, "not at the next keep-alive");
    assert_eq!(events.last().unwrap().child_shards().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_closed_shard_is_read_to_its_end_from_anywhere() {
    let (sim, client, consumer) = simple(1).await;
    put(&client, "k", b"a").await;
    sim.split_shard("orders", SHARD);
    let ending = sim.shards("orders")[0].ending_sequence_number.unwrap().to_string();
    for (position, records) in [(start(TrimHorizon), 1), (start(Latest), 0), (after(&ending), 0)] {
        let mut reader = Reader::open(&client, &consumer, SHARD, position).await;
        let events = reader.rest().await;
        assert_eq!(events.iter().map(|event| event.records().len()).sum::<usize>(), records);
        assert_eq!(events.last().unwrap().child_shards().len(), 2);
        sleep_ms(5_000).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_deleted_stream_ends_its_subscriptions_with_not_found() {
    let (sim, client, consumer) = simple(1).await;
    let mut reader = Reader::open(&client, &consumer, SHARD, start(Latest)).await;
    let deleting = async {
        sleep_ms(700).await;
        client.delete_stream().stream_name("orders").enforce_consumer_deletion(true).send().await.unwrap();
        sim.now_millis()
    };
    let (deleted_at, (error, told_at)) = tokio::join!(deleting, async {
        let error = reader.refusal().await;
        (error, sim.now_millis())
    });
    assert_eq!(told_at, deleted_at);
    assert!(error.is_resource_not_found_exception());
    assert_eq!(text(&error), "Stream orders under account 000000000000 not found.");
    assert_eq!(sim.subscription_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_created_again_is_not_read_by_old_subscriptions() {
    let (sim, client, consumer) = simple(1).await;
    let mut reader = Reader::open(&client, &consumer, SHARD, start(TrimHorizon)).await;
    sim.delete_stream("orders");
    sim.create_stream("orders", 1);
    put(&client, "k", b"of the new stream").await;
    assert!(reader.refusal().await.is_resource_not_found_exception());
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_expires_under_its_reader_is_not_found() {
    let (sim, client, consumer) = simple(1).await;
    sim.split_shard("orders", SHARD);
    let mut reader = Reader::open(&client, &consumer, SHARD, start(TrimHorizon)).await;
    sleep_ms(24 * 3_600_000 + 1).await;
    assert!(reader.refusal().await.is_resource_not_found_exception());
}
