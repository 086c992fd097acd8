use aws_sdk_kinesis::error::ProvideErrorMetadata;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{ShardFilter, ShardFilterType, StreamStatus};
use kinesis_shard::{HashKey, ShardMap};

use super::*;

const HALF: &str = "170141183460469231731687303715884105728";

async fn split(client: &Client, shard: &str, at: &str) -> Result<(), String> {
    let call = client.split_shard().stream_name("orders").shard_to_split(shard).new_starting_hash_key(at);
    call.send().await.map(drop).map_err(|error| error.message().unwrap_or_default().to_owned())
}

async fn merge(client: &Client, one: &str, two: &str) -> Result<(), String> {
    let call = client.merge_shards().stream_name("orders").shard_to_merge(one).adjacent_shard_to_merge(two);
    call.send().await.map(drop).map_err(|error| error.message().unwrap_or_default().to_owned())
}

async fn listed(client: &Client, filter: ShardFilter) -> Vec<String> {
    let answer = client.list_shards().stream_name("orders").shard_filter(filter).send().await.unwrap();
    answer.shards().iter().map(|shard| shard.shard_id()[18..].to_owned()).collect()
}

fn filter(kind: ShardFilterType) -> ShardFilter {
    ShardFilter::builder().r#type(kind).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_split_shard_ends_with_its_children_exactly_when_all_is_read() {
    let (sim, client) = limited(1);
    put(&client, "a", b"1").await;
    put(&client, "a", b"2").await;
    split(&client, "shardId-000000000000", HALF).await.unwrap();
    let summary = client.describe_stream_summary().stream_name("orders").send().await.unwrap();
    assert_eq!(*summary.stream_description_summary().unwrap().stream_status(), StreamStatus::Updating);
    let (shard, _) = put(&client, "a", b"3").await;
    assert_eq!(shard, "shardId-000000000000", "writes go to the parent until the split is done");
    assert!(split(&client, "0", HALF).await.unwrap_err().ends_with("not ACTIVE, instead in state UPDATING"));
    let open = iterator(&client, "0", ShardIteratorType::TrimHorizon).await;
    let answer = get(&client, &open).await;
    assert_eq!(payloads(&answer), ["1", "2", "3"]);
    assert!(answer.next_shard_iterator().is_some() && answer.child_shards().is_empty());

    sleep_ms(500).await;
    let (shard, _) = put(&client, "a", b"4").await;
    assert_ne!(shard, "shardId-000000000000");
    let first = client.get_records().shard_iterator(&open).limit(2).send().await.unwrap();
    assert!(first.child_shards().is_empty(), "not before the end");
    let last = get(&client, first.next_shard_iterator().unwrap()).await;
    assert_eq!(payloads(&last), ["3"]);
    assert_eq!((last.next_shard_iterator(), last.millis_behind_latest()), (None, Some(0)));
    let children: Vec<_> =
        last.child_shards().iter().map(|child| (child.shard_id(), child.parent_shards())).collect();
    let parents = &["shardId-000000000000".to_owned()][..];
    assert_eq!(children, [("shardId-000000000001", parents), ("shardId-000000000002", parents)]);
    let range = last.child_shards()[1].hash_key_range().unwrap();
    assert_eq!((range.starting_hash_key(), range.ending_hash_key()), (HALF, u128::MAX.to_string().as_str()));

    let shards = sim.shards("orders");
    assert!(shards[0].ending_sequence_number.is_some() && shards[1].is_open() && shards[2].is_open());
    assert_eq!(shards[1].parent.as_ref(), Some(&shards[0].id));
    assert_eq!(shards[1].adjacent_parent, None);
    assert_eq!(ShardMap::new(shards).unwrap().open_count(), 2);
}

#[tokio::test(start_paused = true)]
async fn latest_on_a_closed_shard_tells_its_children() {
    let (sim, client) = simple(1);
    put(&client, "a", b"1").await;
    sim.split_shard("orders", "shardId-000000000000");
    let latest = iterator(&client, "shardId-000000000000", ShardIteratorType::Latest).await;
    let answer = get(&client, &latest).await;
    assert_eq!((answer.records().len(), answer.child_shards().len()), (0, 2));
    assert_eq!(answer.next_shard_iterator(), None);
}

#[tokio::test(start_paused = true)]
async fn a_merged_child_is_told_by_both_parents() {
    let (sim, client) = simple(2);
    merge(&client, "shardId-000000000000", "shardId-000000000001").await.unwrap();
    for parent in ["shardId-000000000000", "shardId-000000000001"] {
        let iterator = iterator(&client, parent, ShardIteratorType::TrimHorizon).await;
        let answer = get(&client, &iterator).await;
        let [child] = answer.child_shards() else { panic!("one child") };
        assert_eq!(child.shard_id(), "shardId-000000000002");
        assert_eq!(child.parent_shards(), ["shardId-000000000000", "shardId-000000000001"]);
    }
    let shards = sim.shards("orders");
    assert_eq!(shards[2].adjacent_parent.as_ref(), Some(&shards[1].id));
    assert_eq!(put(&client, "k", b"x").await.0, "shardId-000000000002");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_resharded_is_refused_in_the_services_words() {
    let (_, client) = simple(3);
    assert!(merge(&client, "1", "0").await.unwrap_err().contains("are not an adjacent pair of shards"));
    assert!(merge(&client, "0", "2").await.unwrap_err().contains("are not an adjacent pair of shards"));
    assert_eq!(
        split(&client, "9", HALF).await.unwrap_err(),
        "Could not find shard shardId-000000000009 in stream orders under account 000000000000."
    );
    assert!(split(&client, "0", HALF).await.unwrap_err().contains("is not both greater than one plus"));
    split(&client, "1", HALF).await.unwrap();
    assert!(split(&client, "1", HALF).await.unwrap_err().contains("has already been merged or split"));
    assert!(merge(&client, "0", "1").await.unwrap_err().contains("has already been merged or split"));
}

#[tokio::test(start_paused = true)]
async fn filters_show_the_shards_of_their_time() {
    let (sim, client) = simple(1);
    sleep_ms(10_000).await;
    sim.split_shard("orders", "shardId-000000000000");
    sleep_ms(10_000).await;
    sim.merge_shards("orders", "shardId-000000000001", "shardId-000000000002");
    sleep_ms(10_000).await;
    let timed = |kind, seconds: i64| {
        let time = DateTime::from_secs(1_767_225_600 + seconds);
        ShardFilter::builder().r#type(kind).timestamp(time).build().unwrap()
    };
    assert_eq!(listed(&client, filter(ShardFilterType::AtLatest)).await, ["03"]);
    assert_eq!(listed(&client, filter(ShardFilterType::AtTrimHorizon)).await, ["00"]);
    assert_eq!(listed(&client, filter(ShardFilterType::FromTrimHorizon)).await, ["00", "01", "02", "03"]);
    assert_eq!(listed(&client, timed(ShardFilterType::AtTimestamp, 5)).await, ["00"]);
    assert_eq!(listed(&client, timed(ShardFilterType::AtTimestamp, 15)).await, ["01", "02"]);
    assert_eq!(listed(&client, timed(ShardFilterType::FromTimestamp, 15)).await, ["01", "02", "03"]);
    let after = ShardFilter::builder().r#type(ShardFilterType::AfterShardId).shard_id("shardId-000000000001");
    assert_eq!(listed(&client, after.build().unwrap()).await, ["02", "03"]);
    let missing =
        client.list_shards().stream_name("orders").shard_filter(filter(ShardFilterType::AtTimestamp));
    assert!(missing.send().await.is_err());
    sleep_ms(24 * 3_600_000).await;
    assert_eq!(listed(&client, filter(ShardFilterType::FromTrimHorizon)).await, ["03"], "aged out");
    let gone = at(&client, "0", ShardIteratorType::TrimHorizon).send().await.unwrap_err();
    assert!(gone.into_service_error().is_resource_not_found_exception());
}

#[tokio::test(start_paused = true)]
async fn shards_are_listed_by_page_and_tokens_expire() {
    let (_, client) = simple(5);
    let first = client.list_shards().stream_name("orders").max_results(2).send().await.unwrap();
    assert_eq!(first.shards().len(), 2);
    let token = first.next_token().unwrap();
    let both = client.list_shards().stream_name("orders").next_token(token).send().await.unwrap_err();
    assert_eq!(both.message(), Some("NextToken and StreamName cannot be provided together."));
    let neither = client.list_shards().send().await.unwrap_err();
    assert_eq!(neither.message(), Some("Either NextToken or StreamName should be provided."));
    let rest = client.list_shards().next_token(token).send().await.unwrap();
    let ids: Vec<_> = rest.shards().iter().map(|shard| shard.shard_id().to_owned()).collect();
    assert_eq!(ids, ["shardId-000000000002", "shardId-000000000003", "shardId-000000000004"]);
    assert_eq!(rest.next_token(), None);
    sleep_ms(300_001).await;
    let late = client.list_shards().next_token(token).send().await.unwrap_err();
    assert!(late.into_service_error().is_expired_next_token_exception());
    let described = client.describe_stream().stream_name("orders").limit(2).send().await.unwrap();
    assert!(described.stream_description().unwrap().has_more_shards());
    let rest =
        client.describe_stream().stream_name("orders").exclusive_start_shard_id("shardId-000000000001");
    assert_eq!(rest.send().await.unwrap().stream_description().unwrap().shards().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn records_put_after_a_split_lie_in_the_children_and_the_parents_stay_readable() {
    let (sim, client) = simple(1);
    put_many(&client, 50, 5).await;
    sim.split_shard("orders", &sim.shards("orders")[0].id);
    put_many(&client, 50, 5).await;
    let shards = sim.shards("orders");
    let stored = sim.stored("orders");
    assert_eq!(stored.iter().filter(|record| record.shard_id == shards[0].id).count(), 50);
    for record in &stored[50..] {
        let shard = shards.iter().find(|shard| shard.id == record.shard_id).unwrap();
        assert!(shard.hash_key_range.contains(HashKey::of_partition_key(&record.partition_key)));
        assert!(record.sequence_number > shard.starting_sequence_number);
    }
}
