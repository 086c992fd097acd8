use super::*;

#[test]
fn every_member_of_today_is_taken_at_creation() {
    let mut world = World::new(Limits::Off, ServiceLimits::default());
    world.ok("UpdateAccountSettings", json!({"MinimumThroughputBillingCommitment": {"Status": "ENABLED"}}));
    world.ok(
        "CreateStream",
        json!({
            "StreamName": "orders",
            "StreamModeDetails": {"StreamMode": "ON_DEMAND"},
            "Tags": {"team": "a"},
            "WarmThroughputMiBps": 6,
            "MaxRecordSizeInKiB": 10_240,
            "RecordDistributionStrategy": "AUTO",
        }),
    );
    world.wait(DELAY);
    let mut summary = world.summary();
    summary.as_object_mut().unwrap().remove("StreamCreationTimestamp");
    assert_eq!(
        summary,
        json!({
            "StreamName": "orders",
            "StreamARN": ARN,
            "StreamStatus": "ACTIVE",
            "StreamModeDetails": {"StreamMode": "ON_DEMAND"},
            "RetentionPeriodHours": 24,
            "EncryptionType": "NONE",
            "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
            "OpenShardCount": 6,
            "ConsumerCount": 0,
            "MaxRecordSizeInKiB": 10_240,
            "WarmThroughput": {"TargetMiBps": 6, "CurrentMiBps": 6},
            "RecordDistributionStrategy": "AUTO",
            "ChannelCount": 0,
            "QueueCount": 0,
        })
    );
}

#[test]
fn without_count_and_mode_it_is_on_demand_with_four_shards() {
    let mut world = World::on_demand();
    let summary = world.summary();
    assert_eq!(
        (&summary["StreamModeDetails"]["StreamMode"], &summary["OpenShardCount"]),
        (&json!("ON_DEMAND"), &json!(4))
    );
}

#[test]
fn contradictions_at_creation_are_refused() {
    let provisioned = |more: Value| {
        let mut body = json!({"StreamName": "new", "ShardCount": 1});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let cases = [
        (provisioned(json!({"RecordDistributionStrategy": "AUTO"})), "InvalidArgumentException"),
        (provisioned(json!({"WarmThroughputMiBps": 1})), "InvalidArgumentException"),
        (provisioned(json!({"MaxRecordSizeInKiB": 1})), "ValidationException"),
        (provisioned(json!({"Tags": {"a;b": "c"}})), "InvalidArgumentException"),
        (
            json!({"StreamName": "new", "StreamModeDetails": {"StreamMode": "PROVISIONED"}}),
            "ValidationException",
        ),
        (json!({"StreamName": "new", "StreamModeDetails": {}}), "ValidationException"),
        (json!({"StreamName": "new", "WarmThroughputMiBps": 1}), "InvalidArgumentException"),
        (json!({"StreamName": "orders", "ShardCount": 1}), "ResourceInUseException"),
    ];
    let mut world = World::with_stream(1);
    for (body, expected) in cases {
        assert_eq!(world.code("CreateStream", body.clone()), expected, "{body}");
    }
    assert_eq!(world.ok("ListStreams", json!({}))["StreamNames"], json!(["orders"]));
}

#[test]
fn no_answer_holds_a_stream_id() {
    let mut world = World::with_stream(1);
    for operation in ["DescribeStream", "DescribeStreamSummary", "ListShards"] {
        let answer =
            world.ok(operation, json!({"StreamName": "orders", "StreamId": "abcdefghijklmnopqrst-abc"}));
        assert!(!answer.to_string().contains("StreamId"), "{operation}");
    }
    assert!(!world.ok("ListStreams", json!({})).to_string().contains("StreamId"));
}

#[test]
fn streams_are_listed_by_page_and_token() {
    let mut world = World::new(Limits::Off, ServiceLimits::default());
    for name in ["c", "a", "b"] {
        world.create(name, 1);
    }
    let first = world.ok("ListStreams", json!({"Limit": 2}));
    assert_eq!((&first["StreamNames"], &first["HasMoreStreams"]), (&json!(["a", "b"]), &json!(true)));
    assert_eq!(first["StreamSummaries"][1]["StreamName"], json!("b"));
    let second = world.ok("ListStreams", json!({"NextToken": first["NextToken"]}));
    assert_eq!((&second["StreamNames"], &second["HasMoreStreams"]), (&json!(["c"]), &json!(false)));
    assert!(second["NextToken"].is_null());
    let by_name = world.ok("ListStreams", json!({"ExclusiveStartStreamName": "aa"}));
    assert_eq!(by_name["StreamNames"], json!(["b", "c"]));
    world.wait(300_001);
    let code = world.code("ListStreams", json!({"NextToken": first["NextToken"]}));
    assert_eq!(code, "ExpiredNextTokenException");
    assert_eq!(world.code("ListStreams", json!({"NextToken": "made up"})), "InvalidArgumentException");
}

#[test]
fn a_stream_with_consumers_is_deleted_only_if_told_so() {
    let mut world = World::with_stream(1);
    world.ok("RegisterStreamConsumer", json!({"StreamARN": ARN, "ConsumerName": "app"}));
    assert_eq!(world.summary()["ConsumerCount"], json!(1));
    let delete = |enforce: bool| json!({"StreamName": "orders", "EnforceConsumerDeletion": enforce});
    assert_eq!(world.code("DeleteStream", delete(false)), "ResourceInUseException");
    assert_eq!(world.status(), "ACTIVE");
    world.ok("DeleteStream", delete(true));
    assert_eq!(world.status(), "DELETING");
}

#[test]
fn retention_reaches_a_year() {
    let mut world = World::with_stream(1);
    let hours = |hours: u32| json!({"StreamName": "orders", "RetentionPeriodHours": hours});
    world.ok("IncreaseStreamRetentionPeriod", hours(8760));
    assert_eq!(world.summary()["RetentionPeriodHours"], json!(8760));
    world.put("old");
    world.wait(364 * DAY);
    assert_eq!(world.records(0).len(), 1);
    world.wait(2 * DAY);
    assert_eq!(world.records(0).len(), 0);
    assert_eq!(
        world.text("IncreaseStreamRetentionPeriod", hours(8761)),
        "Maximum allowed retention period is 8760 hours. Requested retention period (8761 hours) is too long."
    );
}

#[test]
fn queues_and_channels_are_unknown() {
    let mut world = World::with_stream(1);
    for operation in [
        "CreateQueue",
        "DescribeQueue",
        "UpdateQueue",
        "DeleteQueue",
        "ListQueues",
        "ReceiveQueueRecords",
        "AcknowledgeQueueRecords",
        "UpdateQueueRecordsVisibility",
        "CreateChannel",
        "DescribeChannel",
        "UpdateChannel",
        "DeleteChannel",
        "ListChannels",
        "ListStreamsPlease",
    ] {
        assert_eq!(world.code(operation, json!({})), "UnknownOperationException", "{operation}");
    }
}

#[test]
fn every_classic_operation_is_served() {
    let mut world = World::with_stream(1);
    for operation in [
        "AddTagsToStream",
        "CreateStream",
        "DecreaseStreamRetentionPeriod",
        "DeleteResourcePolicy",
        "DeleteStream",
        "DeregisterStreamConsumer",
        "DescribeAccountSettings",
        "DescribeLimits",
        "DescribeStream",
        "DescribeStreamConsumer",
        "DescribeStreamSummary",
        "DisableEnhancedMonitoring",
        "EnableEnhancedMonitoring",
        "GetRecords",
        "GetResourcePolicy",
        "GetShardIterator",
        "IncreaseStreamRetentionPeriod",
        "ListShards",
        "ListStreamConsumers",
        "ListStreams",
        "ListTagsForResource",
        "ListTagsForStream",
        "MergeShards",
        "PutRecord",
        "PutRecords",
        "PutResourcePolicy",
        "RegisterStreamConsumer",
        "RemoveTagsFromStream",
        "SplitShard",
        "StartStreamEncryption",
        "StopStreamEncryption",
        "SubscribeToShard",
        "TagResource",
        "UntagResource",
        "UpdateAccountSettings",
        "UpdateMaxRecordSize",
        "UpdateShardCount",
        "UpdateStreamMode",
        "UpdateStreamRecordDistributionStrategy",
        "UpdateStreamWarmThroughput",
    ] {
        let (_, answer) = world.call(operation, &json!({}));
        assert_ne!(answer["__type"], json!("UnknownOperationException"), "{operation}");
    }
}

#[test]
fn neither_name_nor_arn_is_an_invalid_argument() {
    let mut world = World::with_stream(1);
    for operation in ["DescribeStream", "DescribeStreamSummary", "DeleteStream", "ListTagsForStream"] {
        assert_eq!(world.code(operation, json!({})), "InvalidArgumentException", "{operation}");
    }
}

#[test]
fn a_shard_id_that_cannot_be_one_is_told_before_the_stream() {
    let mut world = World::with_stream(1);
    assert_eq!(
        world.text(
            "SplitShard",
            json!({"StreamName": "no", "ShardToSplit": "2147483648", "NewStartingHashKey": "2"})
        ),
        "Could not find shard 2147483648 in stream no under account 000000000000."
    );
    assert_eq!(
        world.text(
            "MergeShards",
            json!({"StreamName": "no", "ShardToMerge": "0", "AdjacentShardToMerge": "X"})
        ),
        "Could not find shard X in stream no under account 000000000000."
    );
    assert_eq!(
        world.text(
            "MergeShards",
            json!({"StreamName": "no", "ShardToMerge": "0", "AdjacentShardToMerge": "1"})
        ),
        "Stream no under account 000000000000 not found."
    );
}
