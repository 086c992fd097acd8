use kinesis_shard::HashKeyRange;

use super::*;

#[tokio::test]
async fn a_stream_is_described_by_name_and_by_arn() {
    on_a_stream("described", 3, |subject| async move {
        let by_name = subject.client.describe_stream_summary().stream_name(&subject.stream).send().await;
        let by_name = by_name.expect("by name").stream_description_summary.expect("a summary");
        assert_eq!(by_name.stream_name, subject.stream);
        assert_eq!((by_name.open_shard_count, by_name.retention_period_hours), (3, 24));
        let arn = by_name.stream_arn;
        assert!(arn.starts_with("arn:aws") && arn.ends_with(&format!(":stream/{}", subject.stream)), "{arn}");
        let by_arn = subject.client.describe_stream_summary().stream_arn(&arn).send().await;
        assert_eq!(by_arn.expect("by ARN").stream_description_summary.expect("a summary").stream_arn, arn);
    })
    .await;
}

#[tokio::test]
async fn the_open_shards_tile_all_hash_keys() {
    on_a_stream("tiles", 5, |subject| async move {
        let mut ranges: Vec<HashKeyRange> = subject
            .shards()
            .await
            .iter()
            .map(|shard| {
                let range = shard.hash_key_range.as_ref().expect("a range");
                let key = |text: &str| text.parse().expect("a hash key");
                HashKeyRange::new(key(&range.starting_hash_key), key(&range.ending_hash_key))
                    .expect("in order")
            })
            .collect();
        ranges.sort();
        assert_eq!(ranges.len(), 5);
        assert_eq!(ranges[0].start(), kinesis_shard::HashKey::MIN);
        assert_eq!(ranges[4].end(), kinesis_shard::HashKey::MAX);
        for pair in ranges.windows(2) {
            assert_eq!(pair[0].end().get() + 1, pair[1].start().get());
        }
    })
    .await;
}

#[tokio::test]
async fn shards_are_listed_by_pages() {
    on_a_stream("pages", 5, |subject| async move {
        let list = || subject.client.list_shards();
        let first = list().stream_name(&subject.stream).max_results(2).send().await.expect("a page");
        let second =
            list().set_next_token(first.next_token.clone()).max_results(2).send().await.expect("a page");
        let third = list().set_next_token(second.next_token.clone()).send().await.expect("a page");
        assert_eq!(third.next_token(), None);
        let pages = [first, second, third];
        let ids: Vec<_> = pages
            .iter()
            .flat_map(aws_sdk_kinesis::operation::list_shards::ListShardsOutput::shards)
            .map(|shard| shard.shard_id.clone())
            .collect();
        let all: Vec<_> = subject.shards().await.into_iter().map(|shard| shard.shard_id).collect();
        assert_eq!((ids.len(), &ids), (5, &all));
    })
    .await;
}

#[tokio::test]
async fn a_stream_has_one_name_and_is_unknown_once_it_is_gone() {
    let subject = Subject::new("gone").await;
    let create = || subject.client.create_stream().stream_name(&subject.stream).shard_count(1).send();
    let unknown = subject.client.describe_stream_summary().stream_name(&subject.stream).send().await;
    assert!(unknown.expect_err("not there").into_service_error().is_resource_not_found_exception());
    create().await.expect("created");
    let again = create().await.expect_err("there already").into_service_error();
    assert!(again.is_resource_in_use_exception(), "{again:?}");
    subject.until_active().await;
    subject.client.delete_stream().stream_name(&subject.stream).send().await.expect("deleted");
    let began = Instant::now();
    while subject.status().await.is_some() {
        assert!(began.elapsed() < PATIENCE, "not deleted after {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let put =
        subject.client.put_record().stream_name(&subject.stream).partition_key("k").data(Blob::new("x"));
    assert!(put.send().await.expect_err("gone").into_service_error().is_resource_not_found_exception());
}

#[tokio::test]
async fn retention_is_between_a_day_and_a_year() {
    on_a_stream("retention", 1, |subject| async move {
        let increase = |hours| {
            subject
                .client
                .increase_stream_retention_period()
                .stream_name(&subject.stream)
                .retention_period_hours(hours)
                .send()
        };
        increase(48).await.expect("two days");
        subject.until_active().await;
        let too_long = increase(8_761).await.expect_err("more than a year").into_service_error();
        assert!(too_long.is_invalid_argument_exception(), "{too_long:?}");
        let decrease = subject.client.decrease_stream_retention_period().stream_name(&subject.stream);
        let too_short = decrease.retention_period_hours(23).send().await.expect_err("less than a day");
        assert!(too_short.into_service_error().is_invalid_argument_exception());
        let summary = subject.client.describe_stream_summary().stream_name(&subject.stream).send().await;
        let summary = summary.expect("described").stream_description_summary.expect("a summary");
        assert_eq!(summary.retention_period_hours, 48);
    })
    .await;
}
