use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use kinesis_sim::{EntryError, Rule, Verdict};

use super::*;

#[tokio::test(start_paused = true)]
async fn a_throttled_call_has_no_effect_and_the_rule_ends_with_its_guard() {
    let (sim, client) = simple(1);
    let guard = sim.rule(Rule::operation("PutRecord").stream("orders").then(Verdict::Throttle));
    let call = || client.put_record().stream_name("orders").partition_key("k").data(Blob::new("x")).send();
    for _ in 0..2 {
        let error = call().await.unwrap_err().into_service_error();
        assert!(error.is_provisioned_throughput_exceeded_exception());
    }
    assert_eq!(guard.hits(), 2);
    assert!(sim.stored("orders").is_empty());
    drop(guard);
    call().await.unwrap();
    let _guard = sim.rule(Rule::operation("DescribeStreamSummary").then(Verdict::Throttle));
    let error = client.describe_stream_summary().stream_name("orders").send().await.unwrap_err();
    assert!(error.into_service_error().is_limit_exceeded_exception(), "the control plane's throttle");
}

#[tokio::test(start_paused = true)]
async fn a_failed_call_is_an_internal_failure() {
    let (sim, client) = simple(1);
    let _guard = sim.rule(Rule::any().times(1).then(Verdict::Fail));
    let error = client.list_streams().send().await.unwrap_err();
    assert_eq!(error.code(), Some("InternalFailure"));
    assert_eq!(error.raw_response().unwrap().status().as_u16(), 500);
    client.list_streams().send().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn some_entries_fail_and_the_others_are_stored() {
    let (sim, client) = simple(1);
    let verdict = Verdict::FailEntries { probability: 0.5, error: EntryError::Internal };
    let _guard = sim.rule(Rule::operation("PutRecords").then(verdict));
    let answer = put_many(&client, 200, 5).await;
    let failed =
        answer.records().iter().filter(|record| record.error_code() == Some("InternalFailure")).count();
    assert!((60..140).contains(&failed), "{failed}");
    assert_eq!(answer.failed_record_count(), Some(i32::try_from(failed).unwrap()));
    assert_eq!(sim.stored("orders").len(), 200 - failed);
}

#[tokio::test(start_paused = true)]
async fn a_rule_with_a_shard_strikes_only_its_entries() {
    let (sim, client) = simple(2);
    let _guard =
        sim.rule(Rule::operation("PutRecords").shard("shardId-000000000001").then(Verdict::Throttle));
    let answer = put_many(&client, 100, 5).await;
    assert!(answer.failed_record_count().unwrap() > 0);
    let stored = sim.stored("orders");
    assert!(!stored.is_empty());
    assert!(stored.iter().all(|record| record.shard_id.as_str() == "shardId-000000000000"));
    assert_eq!(stored.len() + usize::try_from(answer.failed_record_count().unwrap()).unwrap(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_delayed_call_takes_effect_after_its_delay() {
    let (sim, client) = simple(1);
    let _guard = sim.rule(Rule::operation("PutRecord").times(1).then(Verdict::Delay(Duration::from_secs(3))));
    put(&client, "k", b"late").await;
    assert_eq!(sim.now_millis(), 1_767_225_603_000);
    assert_eq!(sim.stored("orders")[0].arrived_at_millis, 1_767_225_603_000);
}

#[tokio::test(start_paused = true)]
async fn a_delayed_call_takes_effect_even_if_its_caller_has_gone() {
    let (sim, client) = simple(1);
    let _guard = sim.rule(Rule::operation("PutRecord").times(1).then(Verdict::Delay(Duration::from_secs(3))));
    let gone = tokio::time::timeout(Duration::from_secs(1), put(&client, "k", b"late")).await;
    assert!(gone.is_err());
    put(&client, "k", b"early").await;
    sleep_ms(5_000).await;
    let stored = sim.stored("orders");
    assert_eq!(stored.iter().map(|record| &record.data[..]).collect::<Vec<_>>(), [&b"early"[..], b"late"]);
    assert_eq!(stored[1].arrived_at_millis, 1_767_225_603_000);
}

#[tokio::test(start_paused = true)]
async fn a_delay_beyond_the_callers_patience_is_a_timeout_with_a_late_effect() {
    let (sim, client) = simple(1);
    let _guard = sim.rule(Rule::operation("PutRecord").times(1).then(Verdict::Delay(Duration::from_mins(1))));
    let call = client.put_record().stream_name("orders").partition_key("k").data(Blob::new("x"));
    let error = call.send().await.unwrap_err();
    assert!(matches!(&error, SdkError::DispatchFailure(failure) if failure.is_timeout()), "{error:?}");
    assert_eq!(sim.now_millis(), 1_767_225_610_000);
    assert!(sim.stored("orders").is_empty());
    sleep_ms(50_000).await;
    assert_eq!(sim.stored("orders").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn lost_requests_have_no_effect_and_lost_answers_have_one() {
    let (sim, client) = simple(1);
    let call = || client.put_record().stream_name("orders").partition_key("k").data(Blob::new("x")).send();
    for (verdict, expected) in [(Verdict::LoseRequest, 0), (Verdict::LoseAnswer, 20)] {
        let _guard = sim.rule(Rule::operation("PutRecord").then(verdict));
        let (mut broken, mut timed_out) = (0, 0);
        for _ in 0..20 {
            match call().await.unwrap_err() {
                SdkError::DispatchFailure(failure) if failure.is_io() => broken += 1,
                SdkError::DispatchFailure(failure) if failure.is_timeout() => timed_out += 1,
                error => panic!("{error:?}"),
            }
        }
        assert!(broken > 0 && timed_out > 0, "{broken} {timed_out}");
        assert_eq!(sim.stored("orders").len(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn iterators_can_be_made_to_expire() {
    let (sim, client) = simple(1);
    let iterator = iterator(&client, "0", ShardIteratorType::TrimHorizon).await;
    let guard =
        sim.rule(Rule::operation("GetRecords").stream("orders").times(1).then(Verdict::ExpireIterator));
    let error = client.get_records().shard_iterator(&iterator).send().await.unwrap_err();
    assert!(error.into_service_error().is_expired_iterator_exception());
    assert_eq!(guard.hits(), 1);
    get(&client, &iterator).await;
}

#[tokio::test(start_paused = true)]
async fn rules_tell_callers_windows_and_shards_apart() {
    let (sim, _) = simple(2);
    let (a, b) = (sim.client_named("worker-a"), sim.client_named("worker-b"));
    let window = Duration::from_secs(10)..Duration::from_secs(20);
    let _guard = sim.rule(Rule::any().caller("worker-a").window(window).then(Verdict::Fail));
    a.list_streams().send().await.unwrap();
    sleep_ms(10_000).await;
    a.list_streams().send().await.unwrap_err();
    b.list_streams().send().await.unwrap();
    sleep_ms(10_000).await;
    a.list_streams().send().await.unwrap();
    let _guard = sim.rule(Rule::operation("GetRecords").shard("shardId-000000000001").then(Verdict::Fail));
    let zero = iterator(&a, "0", ShardIteratorType::TrimHorizon).await;
    let one = iterator(&a, "1", ShardIteratorType::TrimHorizon).await;
    get(&a, &zero).await;
    a.get_records().shard_iterator(one).send().await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_pass_exempts_calls_from_later_rules() {
    let (sim, client) = simple(1);
    let _pass = sim.rule(Rule::operation("ListStreams").then(Verdict::Pass));
    let _fail = sim.rule(Rule::any().then(Verdict::Fail));
    client.list_streams().send().await.unwrap();
    client.describe_stream().stream_name("orders").send().await.unwrap_err();
}

/// A little of everything: faults of every kind, a reshard, two callers.
async fn eventful(seed: u64) -> (Vec<String>, Vec<String>) {
    let sim = Sim::new(seed);
    sim.create_stream("orders", 2);
    let clients = [sim.client_named("a"), sim.client_named("b")];
    let rules = [
        Rule::any().probability(0.1).then(Verdict::Delay(Duration::from_millis(70))),
        Rule::operation("PutRecords")
            .probability(0.3)
            .then(Verdict::FailEntries { probability: 0.2, error: EntryError::Throttled }),
        Rule::any().probability(0.05).then(Verdict::LoseAnswer),
        Rule::any().probability(0.05).then(Verdict::Throttle),
    ];
    let _guards: Vec<_> = rules.into_iter().map(|rule| sim.rule(rule)).collect();
    for round in 0..40u32 {
        for client in &clients {
            let entries = (0..20).map(|index| entry(&format!("{round}-{index}"), vec![1; 30])).collect();
            let _ = client.put_records().stream_name("orders").set_records(Some(entries)).send().await;
            let shard = at(client, "shardId-000000000000", ShardIteratorType::TrimHorizon).send().await;
            if let Ok(Some(iterator)) = shard.map(|answer| answer.shard_iterator) {
                let _ = client.get_records().shard_iterator(iterator).limit(50).send().await;
            }
        }
        if round == 20 {
            sim.split_shard("orders", "shardId-000000000001");
        }
        sleep_ms(100).await;
    }
    let stored = sim.stored("orders").iter().map(|record| format!("{record:?}")).collect();
    (sim.trace(), stored)
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_and_calls_give_the_same_bytes() {
    let first = eventful(11).await;
    assert_eq!(first.0.len(), first.0.iter().filter(|line| !line.is_empty()).count());
    assert!(first.0.iter().any(|line| line.ends_with("answer lost")), "{:?}", &first.0[..20]);
    assert_eq!(eventful(11).await, first);
    assert_ne!(eventful(12).await.0, first.0);
}

#[tokio::test(start_paused = true)]
async fn the_trace_has_one_line_per_call() {
    let (sim, _) = simple(1);
    let client = sim.client_named("worker-a");
    sleep_ms(1_234).await;
    put_many(&client, 3, 1).await;
    let _ = client.describe_stream().stream_name("nowhere").send().await;
    client.list_streams().send().await.unwrap();
    let opening = client.get_shard_iterator().stream_name("orders").shard_id("shardId-000000000000");
    let opened = opening.shard_iterator_type("TRIM_HORIZON".into()).send().await.unwrap();
    client.get_records().set_shard_iterator(opened.shard_iterator).send().await.unwrap();
    assert_eq!(
        sim.trace(),
        [
            "1234 worker-a PutRecords orders ok 3",
            "1234 worker-a DescribeStream nowhere ResourceNotFoundException",
            "1234 worker-a ListStreams ok",
            "1234 worker-a GetShardIterator orders shardId-000000000000 ok",
            "1234 worker-a GetRecords orders shardId-000000000000 ok 3",
        ]
    );
}
