use std::time::Duration;

use aws_sdk_kinesis::error::ProvideErrorMetadata;
use aws_sdk_kinesis::types::{StreamMode, StreamModeDetails, StreamStatus};
use kinesis_sim::{Limits, Sim};

use super::*;

async fn status(client: &Client) -> Option<StreamStatus> {
    let answer = client.describe_stream_summary().stream_name("orders").send().await.ok()?;
    Some(answer.stream_description_summary().unwrap().stream_status().clone())
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_creating_without_shards_and_then_active() {
    let sim = Sim::new(1);
    let client = sim.client();
    client.create_stream().stream_name("orders").shard_count(3).send().await.unwrap();
    let answer = client.describe_stream().stream_name("orders").send().await.unwrap();
    let description = answer.stream_description().unwrap();
    assert_eq!(*description.stream_status(), StreamStatus::Creating);
    assert!(description.shards().is_empty());
    let put = client.put_record().stream_name("orders").partition_key("k").data(Blob::new("x"));
    assert!(put.send().await.unwrap_err().into_service_error().is_resource_not_found_exception());
    let iterator = at(&client, "shardId-000000000000", ShardIteratorType::Latest).send().await;
    assert_eq!(
        iterator.unwrap_err().message(),
        Some("Shard shardId-000000000000 in stream orders under account 000000000000 does not exist")
    );
    let list = client.list_shards().stream_name("orders").send().await;
    assert!(list.unwrap_err().into_service_error().is_resource_in_use_exception());

    sleep_ms(499).await;
    assert_eq!(status(&client).await, Some(StreamStatus::Creating));
    sleep_ms(1).await;
    let answer = client.describe_stream().stream_name("orders").send().await.unwrap();
    let description = answer.stream_description().unwrap();
    assert_eq!(*description.stream_status(), StreamStatus::Active);
    assert_eq!(description.stream_arn(), "arn:aws:kinesis:us-east-1:000000000000:stream/orders");
    assert_eq!(description.shards().len(), 3);
    assert_eq!(description.retention_period_hours(), 24);
    assert!(!description.has_more_shards());
    assert_eq!(description.stream_creation_timestamp().to_millis().unwrap(), 1_767_225_598_000);
}

#[tokio::test(start_paused = true)]
async fn state_changes_take_no_time_if_so_set() {
    let sim = Sim::builder().state_delay(Duration::ZERO).build();
    let client = sim.client();
    client.create_stream().stream_name("orders").shard_count(1).send().await.unwrap();
    assert_eq!(status(&client).await, Some(StreamStatus::Active));
    client.delete_stream().stream_name("orders").send().await.unwrap();
    assert_eq!(status(&client).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_stream_is_deleting_and_then_gone() {
    let (_, client) = limited(1);
    client.delete_stream().stream_name("orders").send().await.unwrap();
    assert_eq!(status(&client).await, Some(StreamStatus::Deleting));
    let again = client.create_stream().stream_name("orders").shard_count(1).send().await.unwrap_err();
    assert_eq!(again.message(), Some("Stream orders under account 000000000000 already exists."));
    sleep_ms(500).await;
    let error = client.describe_stream().stream_name("orders").send().await.unwrap_err();
    assert_eq!(error.message(), Some("Stream orders under account 000000000000 not found."));
    assert!(error.into_service_error().is_resource_not_found_exception());
}

#[tokio::test(start_paused = true)]
async fn a_sixth_stream_is_not_created_at_once() {
    let sim = Sim::new(1);
    let client = sim.client();
    let create = |index: u32| client.create_stream().stream_name(format!("s{index}")).shard_count(1).send();
    for index in 0..5 {
        create(index).await.unwrap();
    }
    assert!(create(5).await.unwrap_err().into_service_error().is_limit_exceeded_exception());
    sleep_ms(500).await;
    create(5).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_count_and_mode_a_stream_is_on_demand_with_four_shards() {
    let sim = Sim::builder().state_delay(Duration::ZERO).build();
    let client = sim.client();
    client.create_stream().stream_name("orders").send().await.unwrap();
    let answer = client.describe_stream_summary().stream_name("orders").send().await.unwrap();
    let summary = answer.stream_description_summary().unwrap();
    assert_eq!(summary.open_shard_count(), 4);
    assert_eq!(*summary.stream_mode_details().unwrap().stream_mode(), StreamMode::OnDemand);
    let provisioned = StreamModeDetails::builder().stream_mode(StreamMode::Provisioned).build().unwrap();
    let error = client.create_stream().stream_name("p").stream_mode_details(provisioned).send().await;
    assert_eq!(error.unwrap_err().code(), Some("ValidationException"));
}

#[tokio::test(start_paused = true)]
async fn the_arn_is_taken_wherever_the_name_is() {
    let (sim, client) = simple(2);
    let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/orders";
    client.describe_stream_summary().stream_arn(arn).send().await.unwrap();
    client.list_shards().stream_arn(arn).send().await.unwrap();
    client.put_record().stream_arn(arn).partition_key("k").data(Blob::new("x")).send().await.unwrap();
    client.put_records().stream_arn(arn).records(entry("k", vec![1])).send().await.unwrap();
    let iterator = client
        .get_shard_iterator()
        .stream_arn(arn)
        .shard_id("shardId-000000000000")
        .shard_iterator_type(ShardIteratorType::TrimHorizon);
    let iterator = iterator.send().await.unwrap().shard_iterator.unwrap();
    client.get_records().stream_arn(arn).shard_iterator(iterator).send().await.unwrap();
    assert_eq!(sim.stored("orders").len(), 2);
    let missing = "arn:aws:kinesis:us-east-1:123456789012:stream/orders";
    let error = client.describe_stream_summary().stream_arn(missing).send().await.unwrap_err();
    assert_eq!(error.message(), Some("Stream orders under account 123456789012 not found."));
    assert!(client.describe_stream_summary().send().await.is_err(), "neither name nor ARN");
}

#[tokio::test(start_paused = true)]
async fn streams_are_listed_by_name_and_page() {
    let sim = Sim::builder().limits(Limits::Off).build();
    let client = sim.client();
    for name in ["c", "a", "b", "d", "e"] {
        sim.create_stream(name, 1);
    }
    let first = client.list_streams().limit(2).send().await.unwrap();
    assert_eq!(
        (first.stream_names(), first.has_more_streams()),
        (&["a".to_owned(), "b".to_owned()][..], true)
    );
    assert_eq!(first.stream_summaries().len(), 2);
    let second = client.list_streams().limit(2).set_next_token(first.next_token).send().await.unwrap();
    assert_eq!(second.stream_names(), ["c", "d"]);
    let last = client.list_streams().exclusive_start_stream_name("d").send().await.unwrap();
    assert_eq!((last.stream_names(), last.has_more_streams()), (&["e".to_owned()][..], false));
    assert_eq!(last.next_token(), None);
}

#[tokio::test(start_paused = true)]
async fn all_constraint_failures_are_in_one_message() {
    let (_, client) = simple(1);
    let error = client.describe_stream().stream_name("a b").limit(0).send().await.unwrap_err();
    assert_eq!(error.code(), Some("ValidationException"));
    let text = error.message().unwrap();
    assert!(text.starts_with("2 validation errors detected: "), "{text}");
    assert!(text.contains("Value 'a b' at 'streamName' failed to satisfy constraint"), "{text}");
    assert!(text.contains("Value '0' at 'limit' failed to satisfy constraint"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn channels_are_an_unknown_operation() {
    let (_, client) = simple(1);
    let error = client.list_channels().send().await.unwrap_err();
    assert_eq!(error.code(), Some("UnknownOperationException"));
}

#[tokio::test(start_paused = true)]
async fn retention_moves_within_its_bounds() {
    let (_, client) = simple(1);
    let increase = |hours| {
        client.increase_stream_retention_period().stream_name("orders").retention_period_hours(hours).send()
    };
    let decrease = |hours| {
        client.decrease_stream_retention_period().stream_name("orders").retention_period_hours(hours).send()
    };
    increase(48).await.unwrap();
    increase(48).await.unwrap();
    assert_eq!(increase(47).await.unwrap_err().code(), Some("InvalidArgumentException"));
    assert_eq!(
        increase(8761).await.unwrap_err().message(),
        Some(
            "Maximum allowed retention period is 8760 hours. Requested retention period (8761 hours) is too long."
        )
    );
    assert_eq!(
        decrease(23).await.unwrap_err().message(),
        Some(
            "Minimum allowed retention period is 24 hours. Requested retention period (23 hours) is too short."
        )
    );
    assert_eq!(decrease(49).await.unwrap_err().code(), Some("InvalidArgumentException"));
    decrease(24).await.unwrap();
    let answer = client.describe_stream_summary().stream_name("orders").send().await.unwrap();
    assert_eq!(answer.stream_description_summary().unwrap().retention_period_hours(), 24);
}
