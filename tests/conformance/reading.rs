use aws_sdk_kinesis::error::ProvideErrorMetadata;
use aws_sdk_kinesis::types::ShardIteratorType::{
    AfterSequenceNumber, AtSequenceNumber, AtTimestamp, Latest, TrimHorizon,
};

use super::*;

#[tokio::test]
async fn every_kind_of_iterator_starts_where_it_says() {
    on_a_stream("iterators", 1, |subject| async move {
        let shard = subject.shards().await.remove(0).shard_id;
        let latest =
            subject.iterator(&shard, Latest).send().await.expect("opened").shard_iterator.expect("one");
        let mut numbers = Vec::new();
        for text in ["a", "b", "c"] {
            numbers.push(subject.put("k", text).await.1);
            tokio::time::sleep(Duration::from_millis(1_100)).await;
        }
        let read = async |from| subject.read_on(from).await.0;
        let all = read(subject.iterator(&shard, TrimHorizon)).await;
        assert_eq!(texts(&all), ["a", "b", "c"]);
        let stored: Vec<_> = all.iter().map(|record| record.sequence_number.clone()).collect();
        assert_eq!(stored, numbers);
        let from = |kind, number: &str| subject.iterator(&shard, kind).starting_sequence_number(number);
        assert_eq!(texts(&read(from(AtSequenceNumber, &numbers[1])).await), ["b", "c"]);
        assert_eq!(texts(&read(from(AfterSequenceNumber, &numbers[1])).await), ["c"]);
        let arrived = all[1].approximate_arrival_timestamp.expect("a time");
        let since = subject.iterator(&shard, AtTimestamp).timestamp(arrived);
        assert_eq!(texts(&read(since).await), ["b", "c"]);
        let behind = subject.get(&latest).await;
        assert_eq!(texts(&behind.records), ["a", "b", "c"], "LATEST is where it was opened");
    })
    .await;
}

#[tokio::test]
async fn pages_follow_each_other_to_the_newest_record() {
    on_a_stream("limit", 1, |subject| async move {
        let shard = subject.shards().await.remove(0).shard_id;
        for text in 0..7 {
            subject.put("k", &text.to_string()).await;
        }
        let mut iterator =
            subject.iterator(&shard, TrimHorizon).send().await.expect("opened").shard_iterator.expect("one");
        let (mut read, mut behind) = (Vec::new(), None);
        for _ in 0..20 {
            let answer =
                subject.client.get_records().shard_iterator(&iterator).limit(3).send().await.expect("read");
            assert!(answer.records().len() <= 3);
            read.extend(texts(answer.records()));
            behind = answer.millis_behind_latest;
            let next = answer.next_shard_iterator.expect("an open shard goes on");
            assert_ne!(next, iterator);
            iterator = next;
            if read.len() == 7 && behind == Some(0) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(220)).await;
        }
        assert_eq!(read, ["0", "1", "2", "3", "4", "5", "6"]);
        assert_eq!(behind, Some(0));
    })
    .await;
}

#[tokio::test]
async fn a_record_comes_back_as_it_was_put() {
    on_a_stream("bytes", 1, |subject| async move {
        let shard = subject.shards().await.remove(0).shard_id;
        let every_byte: Vec<u8> = (0..=255).collect();
        let put = subject.client.put_record().stream_name(&subject.stream).partition_key("日本 \u{1F600}");
        put.data(Blob::new(every_byte.clone())).send().await.expect("put");
        let (records, _) = subject.read_on(subject.iterator(&shard, TrimHorizon)).await;
        assert_eq!(records[0].partition_key(), Some("日本 \u{1F600}"));
        assert_eq!(records[0].data.as_ref(), every_byte);
    })
    .await;
}

#[tokio::test]
async fn what_is_no_iterator_and_no_shard_is_refused() {
    on_a_stream("unknown", 1, |subject| async move {
        let no_iterator = subject.client.get_records().shard_iterator("no iterator").send().await;
        assert_eq!(no_iterator.expect_err("refused").code(), Some("InvalidArgumentException"));
        let no_shard = subject.iterator("shardId-000000000099", TrimHorizon).send().await;
        assert!(no_shard.expect_err("unknown").into_service_error().is_resource_not_found_exception());
    })
    .await;
}
