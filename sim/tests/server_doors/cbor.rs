//! CBOR in and out, against an implementation that is not ours.

use ciborium::Value;

use crate::http::{Answer, CBOR, Client, JSON, start};

fn map(members: Vec<(&str, Value)>) -> Value {
    Value::Map(members.into_iter().map(|(name, value)| (name.into(), value)).collect())
}

fn encoded(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).unwrap();
    bytes
}

fn decoded(answer: &Answer) -> Value {
    ciborium::from_reader(answer.body.as_slice()).unwrap()
}

fn member<'a>(value: &'a Value, name: &str) -> &'a Value {
    let members = value.as_map().unwrap();
    &members
        .iter()
        .find(|(key, _)| key.as_text() == Some(name))
        .unwrap_or_else(|| panic!("{name} in {value:?}"))
        .1
}

async fn call(client: &mut Client, operation: &str, body: &Value) -> Answer {
    let answer = client.call_as("test", CBOR, operation, &encoded(body)).await;
    assert_eq!(answer.header("content-type"), Some(CBOR));
    answer
}

#[tokio::test]
async fn records_go_in_and_out_as_byte_strings_with_times_in_milliseconds() {
    let (sim, server) = start().await;
    let mut client = Client::to(&server).await;
    let data: Vec<u8> = (0..=255).collect();
    let record = map(vec![("Data", Value::Bytes(data.clone())), ("PartitionKey", "k".into())]);
    let put =
        map(vec![("StreamName", "orders".into()), ("Records", Value::Array(vec![record.clone(), record]))]);
    let answer = call(&mut client, "PutRecords", &put).await;
    assert_eq!(answer.status, 200);
    let answer = decoded(&answer);
    assert_eq!(member(&answer, "FailedRecordCount"), &Value::from(0));
    let placed = member(&answer, "Records").as_array().unwrap();
    assert_eq!(placed.len(), 2);
    assert_eq!(sim.stored("orders")[0].data, data);

    for timestamp in [Value::Tag(1, Box::new(Value::from(1))), Value::from(1)] {
        let ask = map(vec![
            ("StreamName", "orders".into()),
            ("ShardId", member(&placed[0], "ShardId").clone()),
            ("ShardIteratorType", "AT_TIMESTAMP".into()),
            ("Timestamp", timestamp),
        ]);
        let answer = decoded(&call(&mut client, "GetShardIterator", &ask).await);
        let ask = map(vec![("ShardIterator", member(&answer, "ShardIterator").clone())]);
        let page = decoded(&call(&mut client, "GetRecords", &ask).await);
        let records = member(&page, "Records").as_array().unwrap();
        assert_eq!(records.len(), 2);
        assert_eq!(member(&records[0], "Data"), &Value::Bytes(data.clone()));
        let Value::Tag(1, millis) = member(&records[0], "ApproximateArrivalTimestamp") else {
            panic!("tag 1 in {records:?}")
        };
        let millis: u64 = millis.as_integer().unwrap().try_into().unwrap();
        assert_eq!(millis, sim.stored("orders")[0].arrived_at_millis);
    }
}

#[tokio::test]
async fn times_are_milliseconds_and_not_seconds_or_half_of_them() {
    let (_sim, server) = start().await;
    let mut client = Client::to(&server).await;
    let described =
        decoded(&call(&mut client, "DescribeStream", &map(vec![("StreamName", "orders".into())])).await);
    let description = member(&described, "StreamDescription");
    let Value::Tag(1, millis) = member(description, "StreamCreationTimestamp") else {
        panic!("{description:?}")
    };
    let millis: u64 = millis.as_integer().unwrap().try_into().unwrap();
    assert!((1_600_000_000_000..5_000_000_000_000).contains(&millis), "{millis}");
    assert_eq!(member(description, "HasMoreShards"), &Value::Bool(false));
    assert_eq!(member(description, "Shards").as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn errors_are_maps_with_the_same_texts_as_in_json() {
    let (_sim, server) = start().await;
    let mut client = Client::to(&server).await;
    for (operation, json, cbor) in [
        ("DescribeStream", r#"{"StreamName":"none"}"#, map(vec![("StreamName", "none".into())])),
        ("DescribeStream", r#"{"StreamName":"a b"}"#, map(vec![("StreamName", "a b".into())])),
        ("DescribeStream", r#"{"StreamName":true}"#, map(vec![("StreamName", true.into())])),
        ("GetRecords", "{}", map(vec![])),
    ] {
        let expected = client.call_as("test", JSON, operation, json.as_bytes()).await;
        let answer = call(&mut client, operation, &cbor).await;
        assert_eq!((answer.status, expected.status), (400, 400));
        let (answer, expected) = (decoded(&answer), expected.json());
        for (name, text) in expected.as_object().unwrap() {
            assert_eq!(member(&answer, name).as_text(), text.as_str());
        }
        assert_eq!(answer.as_map().unwrap().len(), expected.as_object().unwrap().len());
    }
    let by_arn = map(vec![("StreamARN", "arn:aws:kinesis:us-east-1:000000000000:stream/none".into())]);
    let answer = decoded(&call(&mut client, "DescribeStream", &by_arn).await);
    assert_eq!(
        member(&answer, "message").as_text(),
        Some("Stream none under account 000000000000 not found."),
        "by its name, though asked for by ARN"
    );
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_in_cbor() {
    let (_sim, server) = start().await;
    let mut client = Client::to(&server).await;
    for body in [b"\xA1".as_slice(), b"{}", b"\x80", b"\xBF\x61a", &b"\x81".repeat(100_000)] {
        let answer = client.call_as("test", CBOR, "ListStreams", body).await;
        assert_eq!(answer.status, 400);
        assert_eq!(decoded(&answer), map(vec![("__type", "SerializationException".into())]));
    }
    let answer = call(&mut client, "MakeCoffee", &map(vec![])).await;
    assert_eq!(decoded(&answer), map(vec![("__type", "UnknownOperationException".into())]));
}

#[tokio::test]
async fn subscriptions_are_not_to_be_had_in_cbor() {
    let (_sim, server) = start().await;
    let mut client = Client::to(&server).await;
    let answer = call(&mut client, "SubscribeToShard", &map(vec![("ConsumerARN", "a".into())])).await;
    assert_eq!(answer.status, 500);
    assert_eq!(decoded(&answer), map(vec![("__type", "InternalFailure".into())]));
}

#[tokio::test]
async fn operations_without_output_answer_nothing_at_all() {
    let (_sim, server) = start().await;
    let mut client = Client::to(&server).await;
    let answer = call(&mut client, "DeleteStream", &map(vec![("StreamName", "orders".into())])).await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
}

#[tokio::test]
async fn open_ended_forms_and_unknown_members_are_taken() {
    let (sim, server) = start().await;
    let mut client = Client::to(&server).await;
    let body = b"\xBF\x6AStreamName\x7F\x62or\x64ders\xFF\x67Records\x9F\xBF\x64Data\x5F\x42he\x43llo\xFF\x6CPartitionKey\x61k\
                 \x66Colour\xC1\x9F\xF6\xF7\xF9\x3C\0\xFF\xFF\xFF\xFF";
    let answer = client.call_as("test", CBOR, "PutRecords", body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(sim.stored("orders")[0].data.as_ref(), b"hello");
}
