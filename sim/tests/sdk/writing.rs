use aws_sdk_kinesis::error::ProvideErrorMetadata;
use kinesis_shard::{HashKey, SequenceNumber};

use super::*;

#[tokio::test(start_paused = true)]
async fn a_record_goes_to_the_shard_of_its_key_and_is_stored_as_it_came() {
    let (sim, client) = simple(4);
    for key in ["a", "user-1", "日本", "\"quoted\"\n"] {
        let (shard_id, number) = put(&client, key, key.as_bytes()).await;
        let hash_key = HashKey::of_partition_key(key);
        let shards = sim.shards("orders");
        let expected = shards.iter().find(|shard| shard.hash_key_range.contains(hash_key)).unwrap();
        assert_eq!(shard_id, expected.id.as_str());
        let stored = sim.stored("orders").into_iter().find(|record| record.partition_key == key).unwrap();
        assert_eq!((stored.sequence_number.to_string(), &stored.data[..]), (number, key.as_bytes()));
        assert_eq!(stored.arrived_at_millis, sim.now_millis());
    }
}

#[tokio::test(start_paused = true)]
async fn sequence_numbers_are_in_the_services_layout() {
    let (sim, client) = simple(2);
    sleep_ms(61_500).await;
    let (shard_id, number) = put(&client, "k", b"x").await;
    assert_eq!(number.len(), 56);
    let layout = number.parse::<SequenceNumber>().unwrap().layout().unwrap();
    assert_eq!(layout.shard_created_seconds, 1_767_225_598);
    assert_eq!(layout.arrived_seconds, 1_767_225_661);
    assert_eq!(shard_id, format!("shardId-{:012}", layout.shard_index));
    let shard = sim.shards("orders").into_iter().find(|shard| shard.id.as_str() == shard_id).unwrap();
    assert!(shard.starting_sequence_number < number.parse().unwrap());
}

#[tokio::test(start_paused = true)]
async fn explicit_hash_keys_reach_both_ends_of_every_range() {
    let (sim, client) = simple(3);
    for shard in sim.shards("orders") {
        for key in [shard.hash_key_range.start(), shard.hash_key_range.end()] {
            let put = client.put_record().stream_name("orders").partition_key("k").data(Blob::new("x"));
            let answer = put.explicit_hash_key(key.to_string()).send().await.unwrap();
            assert_eq!(answer.shard_id(), shard.id.as_str());
        }
    }
    assert_eq!(sim.stored("orders")[0].explicit_hash_key, Some(HashKey::MIN));
    let put = client.put_record().stream_name("orders").partition_key("k").data(Blob::new("x"));
    let error = put.explicit_hash_key("340282366920938463463374607431768211456").send().await.unwrap_err();
    assert_eq!(
        error.message(),
        Some(
            "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value was \
             340282366920938463463374607431768211456"
        )
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_refused_as_a_whole_writes_nothing() {
    let (sim, client) = simple(1);
    let too_large = client
        .put_records()
        .stream_name("orders")
        .records(entry("a", vec![0; 10]))
        .records(entry("b", vec![0; 1_048_577]))
        .send()
        .await
        .unwrap_err();
    assert_eq!(
        too_large.message(),
        Some(
            "1 validation error detected: Value at 'records.2.member.data' failed to satisfy constraint: Member must \
             have length less than or equal to 1048576."
        )
    );
    let bad_key = PutRecordsRequestEntry::builder()
        .partition_key("k")
        .explicit_hash_key("340282366920938463463374607431768211456")
        .data(Blob::new("x"))
        .build()
        .unwrap();
    let puts = client.put_records().stream_name("orders").records(entry("a", vec![1])).records(bad_key);
    assert_eq!(puts.send().await.unwrap_err().code(), Some("InvalidArgumentException"));
    let entries = (0..11).map(|_| entry("a", vec![0; 1_000_000])).collect();
    let puts = client.put_records().stream_name("orders").set_records(Some(entries));
    assert_eq!(puts.send().await.unwrap_err().code(), Some("InvalidArgumentException"));
    let entries = (0..501).map(|_| entry("a", vec![0])).collect();
    let puts = client.put_records().stream_name("orders").set_records(Some(entries));
    assert_eq!(puts.send().await.unwrap_err().code(), Some("ValidationException"));
    let missing = client.put_records().stream_name("nowhere").records(entry("a", vec![1])).send().await;
    assert!(missing.unwrap_err().into_service_error().is_resource_not_found_exception());
    assert!(sim.stored("orders").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_record_counts_with_its_partition_key() {
    let (_, client) = simple(1);
    let put = |bytes| {
        client.put_record().stream_name("orders").partition_key("key").data(Blob::new(vec![0; bytes]))
    };
    put(1_048_573).send().await.unwrap();
    assert_eq!(put(1_048_574).send().await.unwrap_err().code(), Some("ValidationException"));
}

#[tokio::test(start_paused = true)]
async fn a_stream_may_allow_larger_records() {
    let sim = Sim::builder().limits(Limits::Off).state_delay(Duration::ZERO).build();
    let client = sim.client();
    let create = client.create_stream().stream_name("orders").shard_count(1).max_record_size_in_kib(10_240);
    create.send().await.unwrap();
    put(&client, "k", &vec![1; 5_000_000]).await;
    let iterator = iterator(&client, "0", ShardIteratorType::TrimHorizon).await;
    assert_eq!(get(&client, &iterator).await.records()[0].data().as_ref().len(), 5_000_000);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_records_a_second_and_shard_then_throttled_entry_by_entry() {
    let (sim, client) = limited(1);
    assert_eq!(put_many(&client, 500, 10).await.failed_record_count(), Some(0));
    assert_eq!(put_many(&client, 500, 10).await.failed_record_count(), Some(0));
    let answer = put_many(&client, 500, 10).await;
    assert_eq!(answer.failed_record_count(), Some(500));
    let refused = &answer.records()[0];
    assert_eq!(refused.error_code(), Some("ProvisionedThroughputExceededException"));
    assert_eq!(
        refused.error_message(),
        Some("Rate exceeded for shard shardId-000000000000 in stream orders under account 000000000000.")
    );
    assert_eq!((refused.shard_id(), refused.sequence_number()), (None, None));
    let single =
        client.put_record().stream_name("orders").partition_key("k").data(Blob::new("x")).send().await;
    assert!(single.unwrap_err().into_service_error().is_provisioned_throughput_exceeded_exception());
    sleep_ms(250).await;
    let answer = put_many(&client, 500, 10).await;
    assert_eq!(answer.failed_record_count(), Some(250), "the first ones of the call are taken");
    assert!(answer.records()[..250].iter().all(|record| record.error_code().is_none()));
    assert_eq!(sim.stored("orders").len(), 1250);
}

#[tokio::test(start_paused = true)]
async fn a_mebibyte_a_second_and_shard_keys_included() {
    let (_, client) = limited(1);
    let answer = put_many(&client, 3, 400_000).await;
    let failed: Vec<_> = answer.records().iter().map(|record| record.error_code().is_some()).collect();
    assert_eq!(failed, [false, false, true]);
    sleep_ms(1000).await;
    assert_eq!(put_many(&client, 2, 500_000).await.failed_record_count(), Some(0));
}

#[tokio::test(start_paused = true)]
async fn one_busy_shard_leaves_the_others_alone() {
    let (sim, client) = limited(2);
    let put = |hash_key: HashKey| {
        let entries = (0..500)
            .map(|_| {
                let entry = PutRecordsRequestEntry::builder().partition_key("k").data(Blob::new("x"));
                entry.explicit_hash_key(hash_key.to_string()).build().unwrap()
            })
            .collect();
        client.put_records().stream_name("orders").set_records(Some(entries)).send()
    };
    for _ in 0..2 {
        put(HashKey::MIN).await.unwrap();
    }
    assert_eq!(put(HashKey::MIN).await.unwrap().failed_record_count(), Some(500));
    assert_eq!(put(HashKey::MAX).await.unwrap().failed_record_count(), Some(0));
    assert_eq!(sim.stored("orders").len(), 1500);
}

#[tokio::test(start_paused = true)]
async fn ordering_puts_the_new_number_above_the_given_one() {
    let (_, client) = simple(6);
    let (_, high) = put(&client, "a", b"x").await;
    let put = client.put_record().stream_name("orders").partition_key("k").data(Blob::new("x"));
    let answer = put.clone().sequence_number_for_ordering(&high).send().await.unwrap();
    let index = |number: &str| number.parse::<SequenceNumber>().unwrap().layout().unwrap().index;
    assert!(index(answer.sequence_number()) > index(&high));
    let error =
        put.sequence_number_for_ordering("42535295865117307932921825928971026432").send().await.unwrap_err();
    assert_eq!(
        error.message(),
        Some(
            "ExclusiveMinimumSequenceNumber 42535295865117307932921825928971026432 used in PutRecord on stream orders \
             under account 000000000000 is invalid."
        )
    );
}
