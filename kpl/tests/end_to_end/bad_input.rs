//! Bad input, bad credentials, bad endpoints, bad answers: one typed error each that says what to do, and every ticket answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kinesis_sim::Sim;
use kpl::{Producer, ProducerConfig, PutErrorReason, TryPutError, UserRecord, WaitedIn};
use serde_json::{Value, json};

use crate::common::{
    SECOND, STREAM, Stopwatch, all_delivered, answers, check, config, put_all, record, settled, sim, start,
};
use crate::spoiling::{Spoiled, client};

/// A producer whose first answers to `PutRecords`, this many, are spoiled.
fn spoiled(
    sim: &Sim,
    times: usize,
    config: ProducerConfig,
    spoil: impl Fn(&Value) -> Spoiled + Send + Sync + 'static,
) -> (Producer, Arc<AtomicUsize>) {
    let struck = Arc::new(AtomicUsize::new(0));
    let client = {
        let struck = Arc::clone(&struck);
        client(sim, move |operation, answer| {
            if operation != "PutRecords" || struck.load(Ordering::SeqCst) >= times {
                return Spoiled::No;
            }
            let spoiled = spoil(answer);
            if !matches!(spoiled, Spoiled::No) {
                struck.fetch_add(1, Ordering::SeqCst);
            }
            spoiled
        })
    };
    (Producer::start(&client, config).expect("the configuration is valid"), struck)
}

type Spoil = Box<dyn Fn(&Value) -> String + Send + Sync>;

/// Only answers of the engine, not requests on their way to it.
fn answer(answer: &Value, spoil: impl Fn(&Value) -> String) -> Spoiled {
    if answer.is_null() { Spoiled::No } else { Spoiled::Yes(200, spoil(answer)) }
}

fn refused(error: &str) -> Spoiled {
    Spoiled::Refused(400, json!({"__type": error, "message": "because"}).to_string())
}

#[tokio::test(start_paused = true)]
async fn keys_and_sizes_are_checked_by_every_way_in() {
    let sim = sim(1, 1);
    let producer = start(&sim, config().with_max_user_record_size(1000));
    producer.ready().await.expect("the shards are listed");
    let cases = [
        (UserRecord::new("", "x"), PutErrorReason::KeyEmpty, "1 to 256 characters"),
        (
            UserRecord::new("k".repeat(257), "x"),
            PutErrorReason::KeyTooLong { characters: 257, maximum: 256 },
            "shorten it",
        ),
        (
            UserRecord::new("\u{10FFFF}".repeat(257), "x"),
            PutErrorReason::KeyTooLong { characters: 257, maximum: 256 },
            "shorten it",
        ),
        (
            UserRecord::new("k", vec![0; 1001]),
            PutErrorReason::UserRecordTooLarge { bytes: 1001, maximum: 1000 },
            "split it",
        ),
    ];
    for (bad, reason, advice) in cases {
        let permit = producer.reserve(10_000).await.expect("there is room");
        let errors = [
            producer.put(bad.clone()).await.expect_err("bad"),
            match producer.try_put(bad.clone()) {
                Err(TryPutError::Refused(error)) => error,
                other => panic!("{other:?}"),
            },
            producer.put_many(vec![bad.clone()]).await.expect_err("bad").error,
            permit.submit(bad.clone()).expect_err("bad"),
        ];
        for error in errors {
            assert_eq!(error.reason(), &reason);
            assert!(error.to_string().contains(advice), "{error}");
            assert_eq!(error.record().as_ref(), Some(&bad));
            assert!(!error.is_retryable() && !error.may_have_been_written());
        }
    }
    settled(&producer);
    assert!(sim.stored(STREAM).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_record_that_could_never_get_room_is_refused_and_does_not_wait() {
    let sim = sim(2, 1);
    let producer = start(&sim, config().with_max_record_size(100_000).with_max_outstanding_bytes(100_032));
    let fits = UserRecord::new("k", vec![0; 99_999]);
    producer.put(fits).await.expect("just fits").await.expect("delivered");
}

#[tokio::test(start_paused = true)]
async fn revoked_credentials_fail_everything_at_once_with_what_to_do() {
    for code in ["AccessDeniedException", "UnrecognizedClientException", "InvalidSignatureException"] {
        let sim = sim(3, 2);
        let (producer, _) = spoiled(&sim, usize::MAX, config(), move |_| refused(code));
        let began = Stopwatch::start();
        for (record, answer) in answers(put_all(&producer, 0..100).await).await {
            let error = answer.expect_err("refused");
            let PutErrorReason::AccessDenied { code: said, .. } = error.reason() else { panic!("{error}") };
            assert_eq!(&**said, code);
            assert!(error.to_string().contains("allow kinesis:PutRecords"), "{error}");
            assert!(!error.is_retryable() && !error.may_have_been_written());
            assert_eq!(error.record(), Some(record));
        }
        assert!(began.elapsed() < SECOND);
        settled(&producer);
    }
}

#[tokio::test(start_paused = true)]
async fn an_expired_token_that_is_renewed_costs_a_moment() {
    let sim = sim(4, 2);
    let (producer, struck) = spoiled(&sim, 3, config(), |_| refused("ExpiredTokenException"));
    let answers = answers(put_all(&producer, 0..100).await).await;
    all_delivered(&answers);
    assert_eq!(struck.load(Ordering::SeqCst), 3);
    assert_eq!(check(&sim, &answers), (100, 0));
}

#[tokio::test(start_paused = true)]
async fn credentials_that_may_not_list_shards_are_named_by_put() {
    let sim = sim(5, 1);
    let client = client(&sim, |operation, _| match operation {
        "ListShards" => refused("AccessDeniedException"),
        _ => Spoiled::No,
    });
    let producer = Producer::start(&client, config()).expect("valid");
    let error = producer.put(record(1)).await.expect_err("denied");
    assert!(matches!(error.reason(), PutErrorReason::AccessDenied { .. }), "{error}");
    assert!(error.to_string().contains("kinesis:ListShards"), "{error}");
    assert_eq!(error.record(), Some(record(1)));
}

#[tokio::test(start_paused = true)]
async fn an_answer_shorter_than_its_request_leaves_all_of_it_in_doubt_and_is_tried_again() {
    let sim = sim(6, 4);
    let shorten = |seen: &Value| {
        answer(seen, |seen| {
            let mut seen = seen.clone();
            seen["Records"].as_array_mut().expect("records").pop();
            seen.to_string()
        })
    };
    let (producer, struck) = spoiled(&sim, 2, config(), shorten);
    let answers = answers(put_all(&producer, 0..100).await).await;
    all_delivered(&answers);
    assert_eq!(struck.load(Ordering::SeqCst), 2);
    assert_eq!(check(&sim, &answers).0, 100);
    let first = answers[0].1.as_ref().expect("delivered");
    assert_eq!(first.attempts[0].error_code.as_deref(), Some("RecordCountMismatch"));
}

#[tokio::test(start_paused = true)]
async fn answers_that_cannot_be_read_are_in_doubt_until_the_time_to_live_ends() {
    let empty_entries = |seen: &Value| {
        let count = seen["Records"].as_array().map_or(0, Vec::len);
        json!({"FailedRecordCount": 0, "Records": vec![json!({}); count]}).to_string()
    };
    let spoils: [(&str, Spoil); 4] = [
        ("UnreadableAnswer", Box::new(|_| "{\"Records\": [".to_owned())),
        ("UnreadableAnswer", Box::new(|_| "<html>proxy</html>".to_owned())),
        ("RecordCountMismatch", Box::new(|_| json!({"FailedRecordCount": 0, "Records": []}).to_string())),
        ("MalformedAnswer", Box::new(empty_entries)),
    ];
    for (code, spoil) in spoils {
        let sim = sim(7, 1);
        let config = config().with_record_ttl(3 * SECOND);
        let (producer, _) = spoiled(&sim, usize::MAX, config, move |seen| answer(seen, &spoil));
        let answers = answers(put_all(&producer, 0..20).await).await;
        for (record, answer) in &answers {
            let error = answer.as_ref().expect_err("no answer can be read");
            let PutErrorReason::Expired { last_error, .. } = error.reason() else { panic!("{error}") };
            assert_eq!(last_error.as_deref(), Some(code), "{error}");
            assert!(error.may_have_been_written() && error.is_retryable());
            assert_eq!(error.record().as_ref(), Some(record));
        }
        check(&sim, &answers);
        settled(&producer);
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_hangs_is_given_up_after_the_time_to_live() {
    let sim = sim(8, 1);
    let (producer, struck) =
        spoiled(&sim, usize::MAX, config().with_record_ttl(20 * SECOND), |_| Spoiled::Hangs);
    producer.ready().await.expect("the shards are listed");
    let began = Stopwatch::start();
    for (_, answer) in answers(put_all(&producer, 0..20).await).await {
        let error = answer.expect_err("nobody answers");
        let PutErrorReason::Expired { waited_in, last_error, time_spent, .. } = error.reason() else {
            panic!("{error}")
        };
        assert_eq!(last_error.as_deref(), Some("RequestTimeout"));
        assert!(time_spent.request >= 12 * SECOND, "{waited_in}: {time_spent}");
        assert!(error.may_have_been_written());
    }
    assert!(began.elapsed() <= 27 * SECOND, "{:?}", began.elapsed());
    assert!((3..=5).contains(&struck.load(Ordering::SeqCst)));
    settled(&producer);
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_hangs_or_makes_no_sense_is_said_after_the_time_to_live() {
    let hole = json!({"Shards": [{
        "ShardId": "shardId-000000000000",
        "HashKeyRange": {"StartingHashKey": "5", "EndingHashKey": "100"},
        "SequenceNumberRange": {"StartingSequenceNumber": "1"},
    }]});
    for hangs in [true, false] {
        let sim = sim(9, 1);
        let hole = hole.to_string();
        let client = client(&sim, move |operation, _| match operation {
            "ListShards" if hangs => Spoiled::Hangs,
            "ListShards" => Spoiled::Refused(200, hole.clone()),
            _ => Spoiled::No,
        });
        let producer = Producer::start(&client, config().with_record_ttl(10 * SECOND)).expect("valid");
        let error = producer.put(record(1)).await.expect_err("no shards");
        let PutErrorReason::Expired { waited_in: WaitedIn::ShardMap, last_error: Some(last), .. } =
            error.reason()
        else {
            panic!("{error}")
        };
        let expected = if hangs { "gave no answer" } else { "shardId-000000000000" };
        assert!(last.contains(expected), "{last}");
        assert_eq!(error.record(), Some(record(1)));
        settled(&producer);
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_stream_is_said_under_its_name_and_under_its_arn() {
    let sim = Sim::new(10);
    for stream in ["nowhere", "arn:aws:kinesis:us-east-1:000000000000:stream/nowhere"] {
        let producer = start(&sim, ProducerConfig::new(stream));
        let error = producer.put(record(1)).await.expect_err("there is no such stream");
        assert_eq!(error.reason(), &PutErrorReason::StreamNotFound);
        assert!(error.to_string().contains(stream) && error.to_string().contains("create it"), "{error}");
    }
}
