use aws_sdk_kinesis::types::ShardIteratorType::{Latest, TrimHorizon};
use kinesis_sim::{Rule, Verdict};

use super::*;

fn cut(millis: u64) -> Verdict {
    Verdict::CutSubscription { after: Duration::from_millis(millis) }
}

#[tokio::test(start_paused = true)]
async fn a_cut_breaks_the_stream_at_its_time_and_frees_the_subscription() {
    let (sim, client, consumer) = simple(1).await;
    put(&client, "k", b"a").await;
    let rule = sim.rule(Rule::operation("SubscribeToShard").times(1).then(cut(6_000)));
    let mut reader = Reader::open(&client, &consumer, SHARD, start(TrimHorizon)).await;
    let begun = sim.now_millis();
    let event = reader.next().await;
    assert_eq!(payloads(&event), ["a"]);
    let continuation = reader.next().await.continuation_sequence_number().to_owned();
    let error = reader.try_next().await.unwrap_err();
    assert!(error.as_service_error().is_none(), "a broken connection, not an exception: {error:?}");
    assert_eq!((sim.now_millis() - begun, rule.hits(), sim.subscription_count()), (6_000, 1, 0));
    put(&client, "k", b"b").await;
    let mut reader = Reader::open(&client, &consumer, SHARD, after(&continuation)).await;
    assert_eq!(reader.records(1).await, ["b"]);
}

#[tokio::test(start_paused = true)]
async fn a_cut_at_once_still_lets_the_call_return() {
    let (sim, client, consumer) = simple(1).await;
    let _rule = sim.rule(Rule::any().then(cut(0)));
    let mut reader = Reader::open(&client, &consumer, SHARD, start(Latest)).await;
    let begun = sim.now_millis();
    reader.try_next().await.unwrap_err();
    assert_eq!(sim.now_millis(), begun);
    assert!(client.list_streams().send().await.is_ok(), "other operations pass");
}

#[tokio::test(start_paused = true)]
async fn a_stalled_subscription_is_open_and_silent_until_another_takes_its_place() {
    let (sim, client, consumer) = simple(1).await;
    let stall = Verdict::StallSubscription { after: Duration::from_secs(6) };
    let rule = sim.rule(Rule::operation("SubscribeToShard").times(1).then(stall));
    let mut reader = Reader::open(&client, &consumer, SHARD, start(TrimHorizon)).await;
    put(&client, "k", b"a").await;
    assert_eq!(payloads(&reader.next().await), ["a"]);
    let continuation = reader.next().await.continuation_sequence_number().to_owned();
    put(&client, "k", b"b").await;
    assert_eq!(payloads(&reader.next().await), ["b"]);
    tokio::time::sleep(Duration::from_secs(2)).await;
    put(&client, "k", b"c").await;
    let silence = tokio::time::timeout(Duration::from_mins(20), reader.try_next()).await;
    assert!(silence.is_err(), "beyond the five minutes that a subscription lives: {silence:?}");
    assert_eq!((rule.hits(), sim.subscription_count()), (1, 1));
    let mut reader = Reader::open(&client, &consumer, SHARD, after(&continuation)).await;
    assert_eq!(reader.records(2).await, ["b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn rules_select_subscriptions_by_consumer_and_shard() {
    let (sim, client, consumer) = simple(2).await;
    let other = register(&client, "other").await;
    let of_app = sim.rule(Rule::operation("SubscribeToShard").consumer("app").then(Verdict::Fail));
    let error = subscribing(&client, &consumer, SHARD, start(Latest)).send().await.unwrap_err();
    assert_eq!(code(&error), "InternalFailure");
    Reader::open(&client, &other, SHARD, start(Latest)).await;
    assert_eq!(of_app.hits(), 1);
    drop(of_app);
    let second = "shardId-000000000001";
    let of_shard = sim.rule(Rule::any().stream("orders").shard(second).then(cut(0)));
    Reader::open(&client, &consumer, SHARD, start(Latest)).await.next().await;
    let mut reader = Reader::open(&client, &consumer, second, start(Latest)).await;
    reader.try_next().await.unwrap_err();
    assert_eq!(of_shard.hits(), 1);
    drop(of_shard);
    let by_name = sim.rule(Rule::any().consumer("app").then(Verdict::Throttle));
    let describe = client.describe_stream_consumer().stream_arn(STREAM_ARN).consumer_name("app");
    assert_eq!(code(&describe.send().await.unwrap_err()), "LimitExceededException");
    assert_eq!(by_name.hits(), 1);
}

#[tokio::test(start_paused = true)]
async fn throttles_and_delays_strike_the_request() {
    let (sim, client, consumer) = simple(1).await;
    let throttle = sim.rule(Rule::operation("SubscribeToShard").times(1).then(Verdict::Throttle));
    let error = subscribing(&client, &consumer, SHARD, start(Latest)).send().await.unwrap_err();
    assert_eq!(code(&error), "LimitExceededException", "the throttle that the operation knows");
    drop(throttle);
    let _delay = sim.rule(Rule::any().times(1).then(Verdict::Delay(Duration::from_millis(800))));
    let before = sim.now_millis();
    let mut reader = Reader::open(&client, &consumer, SHARD, start(Latest)).await;
    assert_eq!(sim.now_millis() - before, 800);
    reader.next().await;
    assert_eq!(sim.now_millis() - before, 5_800, "counted from when the request arrived");
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_has_subscribed_but_leaves_nothing_behind() {
    let (sim, client, consumer) = simple(1).await;
    let rule = sim.rule(Rule::operation("SubscribeToShard").times(1).then(Verdict::LoseAnswer));
    assert!(subscribing(&client, &consumer, SHARD, start(Latest)).send().await.is_err());
    assert_eq!((rule.hits(), sim.subscription_count()), (1, 0));
    let trace = sim.trace();
    assert!(
        trace.last().unwrap().ends_with("SubscribeToShard orders shardId-000000000000 ok, answer lost"),
        "{trace:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_delayed_call_whose_caller_has_gone_leaves_nothing_behind() {
    let (sim, client, consumer) = simple(1).await;
    let _rule = sim.rule(Rule::any().then(Verdict::Delay(Duration::from_secs(2))));
    let call = subscribing(&client, &consumer, SHARD, start(Latest)).send();
    tokio::time::timeout(Duration::from_secs(1), call).await.unwrap_err();
    sleep_ms(2_000).await;
    assert_eq!(sim.subscription_count(), 0);
    // It took effect all the same, so the five seconds count from then.
    assert!(
        sim.trace().iter().any(|line| line == "2000 client SubscribeToShard orders shardId-000000000000 ok"),
        "{:?}",
        sim.trace()
    );
}
