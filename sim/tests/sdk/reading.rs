use aws_sdk_kinesis::error::ProvideErrorMetadata;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::ShardIteratorType::{
    AfterSequenceNumber, AtSequenceNumber, AtTimestamp, Latest, TrimHorizon,
};

use super::*;

const SHARD: &str = "shardId-000000000000";

#[tokio::test(start_paused = true)]
async fn every_kind_of_iterator_starts_where_it_says() {
    let (sim, client) = simple(1);
    let mut numbers = Vec::new();
    let mut times = Vec::new();
    for text in ["a", "b", "c"] {
        times.push(i64::try_from(sim.now_millis()).unwrap());
        numbers.push(put(&client, "k", text.as_bytes()).await.1);
        sleep_ms(1000).await;
    }
    let read = async |request: GetShardIteratorFluentBuilder| {
        let iterator = request.send().await.unwrap().shard_iterator.unwrap();
        payloads(&get(&client, &iterator).await)
    };
    assert_eq!(read(at(&client, SHARD, TrimHorizon)).await, ["a", "b", "c"]);
    assert_eq!(read(at(&client, SHARD, Latest)).await, Vec::<String>::new());
    let from = |kind, number: &str| at(&client, SHARD, kind).starting_sequence_number(number);
    assert_eq!(read(from(AtSequenceNumber, &numbers[1])).await, ["b", "c"]);
    assert_eq!(read(from(AfterSequenceNumber, &numbers[1])).await, ["c"]);
    assert_eq!(read(from(AfterSequenceNumber, &numbers[2])).await, Vec::<String>::new());
    let starting = sim.shards("orders")[0].starting_sequence_number.to_string();
    assert_eq!(read(from(AtSequenceNumber, &starting)).await, ["a", "b", "c"]);
    let since = |millis| at(&client, SHARD, AtTimestamp).timestamp(DateTime::from_millis(millis));
    assert_eq!(read(since(times[1])).await, ["b", "c"]);
    assert_eq!(read(since(times[1] + 1)).await, ["c"]);
    assert_eq!(read(since(0)).await, ["a", "b", "c"], "before the horizon is the horizon");
    assert_eq!(read(since(times[2] + 500)).await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn latest_on_an_empty_shard_sees_what_comes_after_it() {
    let (_, client) = simple(1);
    let latest = iterator(&client, SHARD, Latest).await;
    put(&client, "k", b"later").await;
    assert_eq!(payloads(&get(&client, &latest).await), ["later"]);
    assert_eq!(payloads(&get(&client, &latest).await), ["later"], "an iterator can be used again");
}

#[tokio::test(start_paused = true)]
async fn pages_follow_each_other_and_every_iterator_is_a_new_text() {
    let (sim, client) = simple(1);
    put_many(&client, 25, 3).await;
    let mut iterator = iterator(&client, SHARD, TrimHorizon).await;
    let mut counts = Vec::new();
    let mut numbers = Vec::new();
    for _ in 0..4 {
        let answer = client.get_records().shard_iterator(&iterator).limit(10).send().await.unwrap();
        counts.push(answer.records().len());
        numbers.extend(answer.records().iter().map(|record| record.sequence_number().to_owned()));
        let next = answer.next_shard_iterator.unwrap();
        assert_ne!(next, iterator);
        iterator = next;
    }
    assert_eq!(counts, [10, 10, 5, 0]);
    let stored: Vec<_> =
        sim.stored("orders").iter().map(|record| record.sequence_number.to_string()).collect();
    assert_eq!(numbers, stored);
}

#[tokio::test(start_paused = true)]
async fn an_answer_holds_at_most_ten_mebibytes() {
    let (_, client) = simple(1);
    for _ in 0..12 {
        put(&client, "k", &vec![1; 1_000_000]).await;
    }
    let iterator = iterator(&client, SHARD, TrimHorizon).await;
    let answer = get(&client, &iterator).await;
    assert_eq!(answer.records().len(), 10);
    assert_eq!(get(&client, &answer.next_shard_iterator.unwrap()).await.records().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn records_tell_when_they_arrived_and_answers_how_far_behind_they_are() {
    let (_, client) = simple(1);
    put(&client, "k", b"a").await;
    sleep_ms(5_123).await;
    put(&client, "k", b"b").await;
    sleep_ms(1_000).await;
    let iterator = iterator(&client, SHARD, TrimHorizon).await;
    let first = client.get_records().shard_iterator(iterator).limit(1).send().await.unwrap();
    assert_eq!(first.millis_behind_latest(), Some(6_123));
    let arrived = first.records()[0].approximate_arrival_timestamp().unwrap();
    assert_eq!(arrived.to_millis().unwrap(), 1_767_225_600_000);
    let second = get(&client, &first.next_shard_iterator.unwrap()).await;
    assert_eq!(second.millis_behind_latest(), Some(0));
}

#[tokio::test(start_paused = true)]
async fn iterators_expire_after_five_minutes() {
    let (_, client) = simple(1);
    let iterator = iterator(&client, SHARD, TrimHorizon).await;
    sleep_ms(300_000).await;
    get(&client, &iterator).await;
    sleep_ms(1).await;
    let error = client.get_records().shard_iterator(iterator).send().await.unwrap_err();
    assert_eq!(
        error.message(),
        Some(
            "Iterator expired. The iterator was created at time Thu Jan 01 00:00:00 UTC 2026 while right now it is Thu \
             Jan 01 00:05:00 UTC 2026 which is further in the future than the tolerated delay of 300000 milliseconds."
        )
    );
    assert!(error.into_service_error().is_expired_iterator_exception());
}

#[tokio::test(start_paused = true)]
async fn five_reads_a_second_and_shard() {
    let (_, client) = limited(1);
    let iterator = iterator(&client, SHARD, TrimHorizon).await;
    for _ in 0..5 {
        get(&client, &iterator).await;
    }
    let error = client.get_records().shard_iterator(&iterator).send().await.unwrap_err();
    assert_eq!(error.message(), Some("Rate exceeded for Shard - 000000000000/orders/shardId-000000000000"));
    assert!(error.into_service_error().is_provisioned_throughput_exceeded_exception());
    sleep_ms(200).await;
    get(&client, &iterator).await;
}

#[tokio::test(start_paused = true)]
async fn a_large_answer_is_paid_for_with_time() {
    let (_, client) = limited(1);
    for _ in 0..4 {
        put(&client, "k", &vec![1; 1_000_000]).await;
        sleep_ms(1000).await;
    }
    let iterator = iterator(&client, SHARD, TrimHorizon).await;
    assert_eq!(get(&client, &iterator).await.records().len(), 4);
    let again = || client.get_records().shard_iterator(&iterator).send();
    sleep_ms(1900).await;
    assert!(again().await.unwrap_err().into_service_error().is_provisioned_throughput_exceeded_exception());
    sleep_ms(10).await;
    assert_eq!(again().await.unwrap().records().len(), 4, "nothing is lost");
}

#[tokio::test(start_paused = true)]
async fn a_foreign_iterator_is_invalid_and_a_recreated_stream_refuses_old_ones() {
    let (sim, client) = simple(1);
    let error = client.get_records().shard_iterator("AAAA").send().await.unwrap_err();
    assert_eq!(error.message(), Some("Invalid ShardIterator."));
    assert!(error.into_service_error().is_invalid_argument_exception());
    let iterator = iterator(&client, SHARD, TrimHorizon).await;
    sim.delete_stream("orders");
    sim.create_stream("orders", 1);
    let error = client.get_records().shard_iterator(iterator).send().await.unwrap_err();
    assert_eq!(
        error.message(),
        Some("Shard shardId-000000000000 in stream orders under account 000000000000 does not exist")
    );
    assert!(error.into_service_error().is_resource_not_found_exception());
}

#[tokio::test(start_paused = true)]
async fn wrong_starting_positions_are_told_apart() {
    let (sim, client) = simple(2);
    let other = sim.shards("orders")[1].starting_sequence_number.to_string();
    sleep_ms(10_000).await;
    sim.create_stream("later", 1);
    let later = sim.shards("later")[0].starting_sequence_number.to_string();
    let fails = async |request: GetShardIteratorFluentBuilder| {
        let error = request.send().await.unwrap_err();
        assert_eq!(error.code(), Some("InvalidArgumentException"));
        error.message().unwrap().to_owned()
    };
    let from = |number: &str| at(&client, SHARD, AtSequenceNumber).starting_sequence_number(number);
    assert_eq!(
        fails(from(&other)).await,
        "Invalid StartingSequenceNumber. It encodes shardId-000000000001, while it was used in a call to a shard with \
         shardId-000000000000"
    );
    assert!(
        fails(from("42535295865117307932921825928971026432"))
            .await
            .ends_with("in stream orders under account 000000000000 is invalid.")
    );
    assert!(fails(from(&later)).await.ends_with("is invalid because it did not come from this stream."));
    let text = fails(at(&client, SHARD, Latest).starting_sequence_number(&other)).await;
    assert!(text.ends_with("Request specified LATEST and also a StartingSequenceNumber."), "{text}");
    let text = fails(at(&client, SHARD, AtSequenceNumber)).await;
    assert!(text.ends_with("Request specified AT_SEQUENCE_NUMBER and no StartingSequenceNumber."), "{text}");
    let future = i64::try_from(sim.now_millis()).unwrap() + 1;
    let request = at(&client, SHARD, AtTimestamp).timestamp(DateTime::from_millis(future));
    assert!(fails(request).await.starts_with("The timestampInMillis parameter cannot be greater"));
    let missing = at(&client, "shardId-000000000009", Latest).send().await.unwrap_err();
    assert!(missing.into_service_error().is_resource_not_found_exception());
}

#[tokio::test(start_paused = true)]
async fn records_are_gone_when_retention_has_passed() {
    let (sim, client) = simple(1);
    put(&client, "k", b"old").await;
    sleep_ms(12 * 3_600_000).await;
    put(&client, "k", b"new").await;
    let read = async || {
        let iterator = iterator(&client, SHARD, TrimHorizon).await;
        payloads(&get(&client, &iterator).await)
    };
    sleep_ms(12 * 3_600_000).await;
    assert_eq!(read().await, ["old", "new"]);
    sleep_ms(1).await;
    assert_eq!(read().await, ["new"]);
    let increase = client.increase_stream_retention_period().stream_name("orders").retention_period_hours(48);
    increase.send().await.unwrap();
    assert_eq!(read().await, ["new"], "a longer retention brings nothing back");
    sleep_ms(24 * 3_600_000).await;
    assert_eq!(read().await, ["new"]);
    let decrease = client.decrease_stream_retention_period().stream_name("orders").retention_period_hours(24);
    decrease.send().await.unwrap();
    assert_eq!(read().await, Vec::<String>::new());
    assert!(sim.stored("orders").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_position_before_the_horizon_moves_up_to_it() {
    let (_, client) = simple(1);
    let (_, number) = put(&client, "k", b"old").await;
    sleep_ms(13 * 3_600_000).await;
    put(&client, "k", b"new").await;
    sleep_ms(12 * 3_600_000).await;
    let request = at(&client, SHARD, AtSequenceNumber).starting_sequence_number(number);
    let iterator = request.send().await.unwrap().shard_iterator.unwrap();
    assert_eq!(payloads(&get(&client, &iterator).await), ["new"]);
}
