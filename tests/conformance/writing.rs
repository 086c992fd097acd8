use aws_sdk_kinesis::error::ProvideErrorMetadata;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use kinesis_shard::HashKey;

use super::*;

fn entry(key: &str, data: Vec<u8>) -> PutRecordsRequestEntry {
    PutRecordsRequestEntry::builder().partition_key(key).data(Blob::new(data)).build().expect("complete")
}

fn holds(shard: &Shard, key: HashKey) -> bool {
    let range = shard.hash_key_range.as_ref().expect("a range");
    let at = |text: &str| text.parse::<HashKey>().expect("a hash key");
    at(&range.starting_hash_key) <= key && key <= at(&range.ending_hash_key)
}

#[tokio::test]
async fn a_record_goes_to_the_shard_of_its_key() {
    on_a_stream("keys", 4, |subject| async move {
        let shards = subject.shards().await;
        for key in ["a", "user-1", "日本", "\"quoted\"\n"] {
            let (shard_id, _) = subject.put(key, "x").await;
            let of_key = shards.iter().find(|shard| holds(shard, HashKey::of_partition_key(key)));
            assert_eq!(Some(shard_id), of_key.map(|shard| shard.shard_id.clone()), "{key}");
        }
        // Both ends of each range.
        for shard in &shards {
            let range = shard.hash_key_range.as_ref().expect("a range");
            for explicit in [&range.starting_hash_key, &range.ending_hash_key] {
                let put = subject.client.put_record().stream_name(&subject.stream).partition_key("k");
                let put = put.explicit_hash_key(explicit).data(Blob::new("x")).send().await.expect("put");
                assert_eq!(put.shard_id, shard.shard_id);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn sequence_numbers_grow_within_a_shard() {
    on_a_stream("numbers", 1, |subject| async move {
        let mut last = None;
        for _ in 0..20 {
            let (_, sequence_number) = subject.put("k", "x").await;
            let sequence_number = number(&sequence_number);
            assert!(last.is_none_or(|last| last < sequence_number));
            last = Some(sequence_number);
        }
    })
    .await;
}

#[tokio::test]
async fn a_batch_is_answered_entry_by_entry_in_its_order() {
    on_a_stream("batch", 4, |subject| async move {
        let shards = subject.shards().await;
        let keys: Vec<String> = (0..100).map(|key| format!("key-{key}")).collect();
        let entries = keys.iter().map(|key| entry(key, key.clone().into_bytes())).collect();
        let put = subject.client.put_records().stream_name(&subject.stream).set_records(Some(entries));
        let answer = put.send().await.expect("taken");
        assert_eq!((answer.failed_record_count, answer.records.len()), (Some(0), 100));
        for (key, answer) in keys.iter().zip(&answer.records) {
            let shard =
                shards.iter().find(|shard| holds(shard, HashKey::of_partition_key(key))).expect("a shard");
            assert_eq!(answer.shard_id(), Some(shard.shard_id.as_str()), "{key}");
            assert!(answer.sequence_number().is_some());
        }
        for shard in &shards {
            let (records, _) =
                subject.read_on(subject.iterator(&shard.shard_id, ShardIteratorType::TrimHorizon)).await;
            for record in records {
                let key = record.partition_key().expect("a key");
                assert_eq!(key.as_bytes(), record.data.as_ref());
                assert!(holds(shard, HashKey::of_partition_key(key)));
            }
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_refused_as_a_whole_writes_nothing() {
    on_a_stream("refused", 1, |subject| async move {
        let puts = |entries: Vec<PutRecordsRequestEntry>| {
            subject.client.put_records().stream_name(&subject.stream).set_records(Some(entries)).send()
        };
        let bad_key = PutRecordsRequestEntry::builder()
            .partition_key("k")
            .explicit_hash_key("340282366920938463463374607431768211456")
            .data(Blob::new("x"))
            .build()
            .expect("complete");
        let cases = [
            (
                "a record that is too large",
                vec![entry("a", vec![0; 10]), entry("b", vec![0; 1_048_577])],
                "ValidationException",
            ),
            ("501 records", (0..501).map(|_| entry("a", vec![0])).collect(), "ValidationException"),
            ("a hash key that is too great", vec![entry("a", vec![1]), bad_key], "InvalidArgumentException"),
        ];
        for (what, entries, code) in cases {
            let refused = puts(entries).await.expect_err(what);
            assert_eq!(refused.code(), Some(code), "{what}");
        }
        let shard = subject.shards().await.remove(0).shard_id;
        let (records, _) = subject.read_on(subject.iterator(&shard, ShardIteratorType::TrimHorizon)).await;
        assert_eq!(texts(&records), Vec::<String>::new());
    })
    .await;
}
