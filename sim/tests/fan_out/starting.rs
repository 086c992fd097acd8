use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::ShardIteratorType::{
    AfterSequenceNumber, AtSequenceNumber, AtTimestamp, Latest, TrimHorizon,
};

use super::*;

fn at_number(kind: ShardIteratorType, number: &str) -> StartingPosition {
    StartingPosition::builder().r#type(kind).sequence_number(number).build().unwrap()
}

fn at_time(millis: u64) -> StartingPosition {
    let time = DateTime::from_millis(i64::try_from(millis).unwrap());
    StartingPosition::builder().r#type(AtTimestamp).timestamp(time).build().unwrap()
}

/// What a new subscription is pushed until it is caught up; earlier ones are five seconds old.
async fn seen(client: &Client, consumer: &str, start: StartingPosition) -> Vec<String> {
    sleep_ms(5_000).await;
    let mut reader = Reader::open(client, consumer, SHARD, start).await;
    let event = reader.next().await;
    payloads(&event)
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_position_starts_where_it_says() {
    let (sim, client, consumer) = simple(1).await;
    let (mut numbers, mut times) = (Vec::new(), Vec::new());
    for record in ["a", "b", "c"] {
        times.push(sim.now_millis());
        numbers.push(put(&client, "k", record.as_bytes()).await);
        sleep_ms(1_000).await;
    }
    let starting = sim.shards("orders")[0].starting_sequence_number.to_string();
    let cases: [(StartingPosition, &[&str]); 10] = [
        (start(TrimHorizon), &["a", "b", "c"]),
        (start(Latest), &[]),
        (at_number(AtSequenceNumber, &numbers[1]), &["b", "c"]),
        (at_number(AfterSequenceNumber, &numbers[1]), &["c"]),
        (at_number(AfterSequenceNumber, &numbers[2]), &[]),
        (at_number(AtSequenceNumber, &starting), &["a", "b", "c"]),
        (at_time(times[1]), &["b", "c"]),
        (at_time(times[1] + 1), &["c"]),
        (at_time(1_000), &["a", "b", "c"]),
        (at_time(times[2] + 500), &[]),
    ];
    for (position, expected) in cases {
        assert_eq!(seen(&client, &consumer, position.clone()).await, expected, "{position:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn wrong_positions_are_refused_before_the_stream_begins() {
    let (sim, client, consumer) = simple(2).await;
    let other = sim.shards("orders")[1].starting_sequence_number.to_string();
    let number = put(&client, "k", b"x").await;
    let cases = [
        at_number(AtSequenceNumber, &other),
        at_number(AtSequenceNumber, "99999999999999999999999999999999999999999999999999999999999"),
        at_number(Latest, &number),
        start(AtSequenceNumber),
        start(AtTimestamp),
        at_time(sim.now_millis() + 1_000),
    ];
    for position in cases {
        let error = subscribing(&client, &consumer, SHARD, position.clone()).send().await.unwrap_err();
        assert_eq!(code(&error), "InvalidArgumentException", "{position:?}");
        assert_eq!(error.raw_response().unwrap().status().as_u16(), 400);
    }
    let unknown = start(ShardIteratorType::from("SOMEWHERE"));
    let error = subscribing(&client, &consumer, SHARD, unknown).send().await.unwrap_err();
    assert_eq!(code(&error), "ValidationException");
    assert!(text(&error).contains("'startingPosition.type'"), "{error:?}");
    assert_eq!(sim.subscription_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn unknown_consumers_shards_and_streams_are_not_found() {
    let (_, client, consumer) = simple(1).await;
    let cases = [
        (format!("{STREAM_ARN}/consumer/nobody:1767225600"), SHARD),
        (format!("{STREAM_ARN}/consumer/app:1"), SHARD),
        (format!("{}/consumer/app:1767225600", STREAM_ARN.replace("orders", "other")), SHARD),
        (consumer.clone(), "shardId-000000000007"),
        (consumer.clone(), "shard-x"),
    ];
    for (arn, shard) in cases {
        let error = subscribing(&client, &arn, shard, start(Latest)).send().await.unwrap_err();
        assert_eq!(code(&error), "ResourceNotFoundException", "{arn} {shard}");
    }
    let lenient = subscribing(&client, &consumer, "0", start(Latest)).send().await;
    assert!(lenient.is_ok(), "shard ids are read as leniently as elsewhere");
}

#[tokio::test(start_paused = true)]
async fn a_consumer_reads_only_while_it_is_active() {
    let sim = Sim::builder().limits(Limits::Off).build();
    sim.create_stream("orders", 1);
    let client = sim.client();
    let consumer = register(&client, "app").await;
    let second = sim.now_millis() / 1000;
    let expected = format!(
        "Consumer app with creation timestamp {second} under stream: orders, account 000000000000 is not in ACTIVE \
         status."
    );
    let refused = async || {
        let error = subscribing(&client, &consumer, SHARD, start(Latest)).send().await.unwrap_err();
        assert_eq!((code(&error), text(&error)), ("ResourceInUseException", expected.as_str()));
    };
    refused().await;
    sleep_ms(500).await;
    let mut reader = Reader::open(&client, &consumer, SHARD, start(Latest)).await;
    client.deregister_stream_consumer().consumer_arn(&consumer).send().await.unwrap();
    let error = reader.refusal().await;
    assert!(error.is_resource_in_use_exception(), "no reader takes this for the end of the shard");
    assert_eq!(text(&error), expected);
    refused().await;
    assert_eq!(sim.subscription_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_to_the_same_shard_within_five_seconds_is_refused() {
    let (sim, client, consumer) = simple(2).await;
    let mut reader = Reader::open(&client, &consumer, SHARD, start(Latest)).await;
    sleep_ms(4_999).await;
    let error = subscribing(&client, &consumer, SHARD, start(Latest)).send().await.unwrap_err();
    assert_eq!(code(&error), "ResourceInUseException");
    assert_eq!(
        text(&error),
        "Another active subscription exists for this consumer: 000000000000:orders:shardId-000000000000:app"
    );
    assert_eq!(reader.next().await.records().len(), 0, "the first goes on");
    // Another shard, and another consumer, are independent.
    let _other_shard = Reader::open(&client, &consumer, "shardId-000000000001", start(Latest)).await;
    let other = register(&client, "other").await;
    let _other_consumer = Reader::open(&client, &other, SHARD, start(Latest)).await;
    assert_eq!(sim.subscription_count(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_refused_call_does_not_put_off_the_next_one() {
    let (_, client, consumer) = simple(1).await;
    let wrong = start(AtSequenceNumber);
    subscribing(&client, &consumer, SHARD, wrong).send().await.unwrap_err();
    let first = Reader::open(&client, &consumer, SHARD, start(Latest)).await;
    drop(first);
    sleep_ms(4_000).await;
    subscribing(&client, &consumer, SHARD, start(Latest)).send().await.unwrap_err();
    sleep_ms(1_000).await;
    Reader::open(&client, &consumer, SHARD, start(Latest)).await;
}

#[tokio::test(start_paused = true)]
async fn after_five_seconds_a_new_subscription_takes_over() {
    let (sim, client, consumer) = simple(1).await;
    let mut old = Reader::open(&client, &consumer, SHARD, start(Latest)).await;
    sleep_ms(5_000).await;
    old.next().await;
    let taking_over = async {
        sleep_ms(1_000).await;
        let new = Reader::open(&client, &consumer, SHARD, start(Latest)).await;
        (new, sim.now_millis())
    };
    let (error, (mut new, at)) = tokio::join!(
        async {
            let error = old.refusal().await;
            (error, sim.now_millis())
        },
        taking_over
    );
    assert_eq!(error.1, at, "told at once");
    assert!(error.0.is_resource_in_use_exception());
    assert_eq!(
        text(&error.0),
        "Another active subscription exists for this consumer: 000000000000:orders:shardId-000000000000:app"
    );
    assert!(old.try_next().await.unwrap().is_none(), "and the body stays at its end");
    assert_eq!(sim.subscription_count(), 1);
    put(&client, "k", b"x").await;
    assert_eq!(new.records(1).await, ["x"]);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_subscribes_nothing() {
    let (sim, client, consumer) = simple(1).await;
    let request = subscribing(&client, &consumer, SHARD, start(Latest));
    let body = sim.trace().len();
    let error = request.dry_run(true).send().await.unwrap_err();
    assert_eq!(code(&error), "DryRunOperationException");
    assert_eq!((sim.trace().len(), sim.subscription_count()), (body + 1, 0));
    Reader::open(&client, &consumer, SHARD, start(Latest)).await;
}
