use super::*;

fn automatic() -> World {
    let mut world = World::on_demand();
    world.ok(
        "UpdateStreamRecordDistributionStrategy",
        json!({"StreamARN": ARN, "RecordDistributionStrategy": "AUTO"}),
    );
    world
}

#[test]
fn a_dry_run_reports_success_as_an_error_and_changes_nothing() {
    let mut world = World::limited(1);
    world.put("k");
    let iterator = world.ok(
        "GetShardIterator",
        json!({"StreamName": "orders", "ShardId": "0", "ShardIteratorType": "TRIM_HORIZON"}),
    )["ShardIterator"]
        .clone();
    let cases = [
        ("PutRecord", json!({"StreamName": "orders", "PartitionKey": "k", "Data": "", "DryRun": true})),
        (
            "PutRecords",
            json!({"StreamName": "orders", "Records": [{"PartitionKey": "k", "Data": ""}], "DryRun": true}),
        ),
        (
            "GetShardIterator",
            json!({"StreamName": "orders", "ShardId": "0", "ShardIteratorType": "LATEST", "DryRun": true}),
        ),
        ("GetRecords", json!({"ShardIterator": iterator, "DryRun": true})),
    ];
    for _ in 0..20 {
        for (operation, body) in &cases {
            assert_eq!(world.code(operation, body.clone()), "DryRunOperationException", "{operation}");
        }
    }
    assert_eq!(world.records(0).len(), 1, "nothing was stored, and no rate was used up");
}

#[test]
fn a_dry_run_that_would_fail_says_how() {
    let mut world = World::with_stream(1);
    let put = json!({"StreamName": "no", "PartitionKey": "k", "Data": "", "DryRun": true});
    assert_eq!(world.code("PutRecord", put), "ResourceNotFoundException");
    let get = json!({"ShardIterator": "no", "DryRun": true});
    assert_eq!(world.code("GetRecords", get), "InvalidArgumentException");
    let put = json!({"StreamName": "orders", "PartitionKey": "k", "Data": "", "DryRun": "yes"});
    assert_eq!(world.text("PutRecord", put), "'yes' can not be converted to an Boolean");
}

#[test]
fn a_dry_run_that_is_false_runs() {
    let mut world = World::with_stream(1);
    world.ok("PutRecord", json!({"StreamName": "orders", "PartitionKey": "k", "Data": "", "DryRun": false}));
}

#[test]
fn a_key_is_required_unless_the_service_distributes() {
    let put = json!({"StreamName": "orders", "Data": ""});
    let puts = json!({"StreamName": "orders", "Records": [{"Data": ""}]});
    let mut world = World::with_stream(1);
    assert_eq!(
        world.text("PutRecord", put.clone()),
        "1 validation error detected: Value null at 'partitionKey' failed to satisfy constraint: Member must not be null"
    );
    assert_eq!(
        world.text("PutRecords", puts.clone()),
        "1 validation error detected: Value null at 'records.1.member.partitionKey' failed to satisfy constraint: \
         Member must not be null"
    );
    let mut world = automatic();
    world.ok("PutRecord", put);
    assert_eq!(world.ok("PutRecords", puts)["FailedRecordCount"], json!(0));
    let text = world.text("PutRecord", json!({"StreamName": "orders", "PartitionKey": ""}));
    assert!(text.starts_with("2 validation errors detected: "), "what is given is still checked: {text}");
}

#[test]
fn the_service_spreads_records_over_all_shards_whatever_their_keys() {
    let mut world = automatic();
    let records: Vec<Value> =
        (0..40).map(|_| json!({"Data": "", "PartitionKey": "same", "ExplicitHashKey": "0"})).collect();
    let answer = world.ok("PutRecords", json!({"StreamName": "orders", "Records": records}));
    assert_eq!(answer["FailedRecordCount"], json!(0));
    let counts: Vec<usize> = (0..4).map(|shard| world.records(shard).len()).collect();
    assert_eq!(counts, [10; 4]);
}

#[test]
fn records_without_a_key_come_back_without_one() {
    let mut world = automatic();
    for _ in 0..4 {
        world.ok("PutRecord", json!({"StreamName": "orders", "Data": "QQ=="}));
        world.ok("PutRecord", json!({"StreamName": "orders", "Data": "QQ==", "PartitionKey": "k"}));
    }
    let records: Vec<Value> = (0..4).flat_map(|shard| world.records(shard)).collect();
    let keyed = records.iter().filter(|record| record["PartitionKey"] == json!("k")).count();
    let keyless = records.iter().filter(|record| record.get("PartitionKey").is_none()).count();
    assert_eq!((keyed, keyless), (4, 4));
}

#[test]
fn records_of_one_call_are_numbered_shard_by_shard() {
    let mut world = World::with_stream(2);
    let low = "0";
    let high = u128::MAX.to_string();
    let records: Vec<Value> = [low, &high, low, &high, low]
        .iter()
        .map(|key| json!({"Data": "", "PartitionKey": "k", "ExplicitHashKey": key}))
        .collect();
    let answer = world.ok("PutRecords", json!({"StreamName": "orders", "Records": records}));
    let entries = answer["Records"].as_array().unwrap();
    let shard = |entry: &Value| entry["ShardId"].as_str().unwrap().ends_with('1');
    assert_eq!(
        entries.iter().map(shard).collect::<Vec<_>>(),
        [false, true, false, true, false],
        "the order of the request"
    );
    let indexes: Vec<u64> = entries
        .iter()
        .map(|entry| {
            let number: kinesis_shard::SequenceNumber =
                entry["SequenceNumber"].as_str().unwrap().parse().unwrap();
            number.layout().unwrap().index
        })
        .collect();
    assert_eq!(indexes, [3, 1, 4, 2, 5], "one counter, the last shard first");
}

#[test]
fn numbers_of_older_layouts_are_told_apart() {
    let mut world = World::with_stream(1);
    let at = |number: &str| {
        json!({
            "StreamName": "orders", "ShardId": "0", "ShardIteratorType": "AT_SEQUENCE_NUMBER",
            "StartingSequenceNumber": number,
        })
    };
    assert_eq!(
        world.text("GetShardIterator", at("5")),
        "Invalid StartingSequenceNumber. It encodes shardId-000000000005, while it was used in a call to a shard with \
         shardId-000000000000"
    );
    let (status, answer) = world.call("GetShardIterator", &at("0"));
    assert_eq!((status, answer), (500, json!({"__type": "InternalFailure"})));
    let negative = kinesis_shard::SequenceNumber::from_layout(kinesis_shard::SequenceNumberLayout {
        shard_created_seconds: 0,
        index: 0,
        arrived_seconds: 0,
        shard_index: 1 << 31,
    });
    let text = world.text("GetShardIterator", at(&negative.to_string()));
    assert!(text.contains("It encodes shardId--02147483648, while"), "{text}");
}

#[test]
fn base64_is_judged_as_the_service_does() {
    let mut world = World::with_stream(1);
    for (data, reason) in [
        ("23456", "Base64 encoded length is expected a multiple of 4 bytes but found: 5"),
        ("=+/=", "Invalid Base64 character: '='"),
        ("+/+=", "Invalid last non-pad Base64 character dectected"),
    ] {
        let (code, text) =
            world.refused("PutRecord", json!({"StreamName": "orders", "PartitionKey": "k", "Data": data}));
        assert_eq!(code, "SerializationException");
        assert_eq!(text, format!("'{data}' can not be converted to a Blob: {reason}"));
    }
}
