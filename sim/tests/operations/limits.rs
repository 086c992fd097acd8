use super::*;

#[test]
fn control_calls_have_rates_per_account() {
    let mut world = World::limited(1);
    world.wait(10_000);
    for (operation, body, rate) in [
        ("ListStreams", json!({}), 5),
        ("DescribeLimits", json!({}), 1),
        ("DescribeStream", json!({"StreamName": "orders"}), 10),
        ("DescribeStreamSummary", json!({"StreamName": "orders"}), 20),
        ("ListTagsForStream", json!({"StreamName": "orders"}), 5),
        ("DescribeAccountSettings", json!({}), 5),
    ] {
        for _ in 0..rate {
            world.ok(operation, body.clone());
        }
        assert_eq!(world.code(operation, body), "LimitExceededException", "{operation}");
    }
    world.wait(1000);
    world.ok("ListStreams", json!({}));
}

#[test]
fn the_texts_of_control_rates_name_the_stream() {
    let mut world = World::limited(1);
    let hours = json!({"StreamName": "orders", "RetentionPeriodHours": 24});
    for _ in 0..5 {
        world.ok("IncreaseStreamRetentionPeriod", hours.clone());
    }
    assert_eq!(
        world.text("IncreaseStreamRetentionPeriod", hours),
        "Rate exceeded for stream orders under account 000000000000."
    );
}

#[test]
fn rates_per_stream_leave_other_streams_alone() {
    let mut world = World::limited(1);
    world.create("other", 1);
    let hours = |name: &str| json!({"StreamName": name, "RetentionPeriodHours": 24});
    for _ in 0..5 {
        world.ok("IncreaseStreamRetentionPeriod", hours("orders"));
    }
    world.ok("IncreaseStreamRetentionPeriod", hours("other"));
}

#[test]
fn requests_that_are_malformed_do_not_count() {
    let mut world = World::limited(1);
    world.wait(1000);
    for _ in 0..20 {
        assert_eq!(world.code("ListStreams", json!({"Limit": 0})), "ValidationException");
    }
    world.ok("ListStreams", json!({}));
}

#[test]
fn switched_off_there_are_no_rates_and_no_counts() {
    let mut world = World::with_stream(1);
    for _ in 0..100 {
        world.ok("DescribeLimits", json!({}));
        world.ok(
            "UpdateShardCount",
            json!({"StreamName": "orders", "TargetShardCount": 1, "ScalingType": "UNIFORM_SCALING"}),
        );
    }
}

#[test]
fn single_limits_are_settable() {
    let mut limits = ServiceLimits::default();
    limits.streams_creating = 1;
    limits.on_demand_streams = 1;
    limits.shard.write_records = 2;
    limits.calls_per_second.insert("ListStreams".to_owned(), 0);
    limits.calls_per_second.insert("DescribeStream".to_owned(), 1);
    let mut world = World::new(Limits::Aws, limits);
    world.ok("CreateStream", json!({"StreamName": "orders"}));
    assert_eq!(
        world.code("CreateStream", json!({"StreamName": "b", "ShardCount": 1})),
        "LimitExceededException"
    );
    world.wait(DELAY);
    assert_eq!(world.code("CreateStream", json!({"StreamName": "b"})), "LimitExceededException");
    world.ok("CreateStream", json!({"StreamName": "b", "ShardCount": 1}));
    for _ in 0..50 {
        world.ok("ListStreams", json!({}));
    }
    world.ok("DescribeStream", json!({"StreamName": "orders"}));
    assert_eq!(world.code("DescribeStream", json!({"StreamName": "orders"})), "LimitExceededException");
    world.put("k");
    world.put("k");
    let put = json!({"StreamName": "orders", "PartitionKey": "k", "Data": ""});
    assert_eq!(world.code("PutRecord", put), "ProvisionedThroughputExceededException");
}

#[test]
fn provisioned_streams_do_not_switch_beyond_the_on_demand_limit() {
    let mut limits = ServiceLimits::default();
    limits.on_demand_streams = 1;
    let mut world = World::new(Limits::Aws, limits);
    world.create("orders", 1);
    world.ok("CreateStream", json!({"StreamName": "free"}));
    let switch = json!({"StreamARN": ARN, "StreamModeDetails": {"StreamMode": "ON_DEMAND"}});
    assert_eq!(world.code("UpdateStreamMode", switch.clone()), "LimitExceededException");
    world.ok("DeleteStream", json!({"StreamName": "free"}));
    world.wait(DELAY);
    world.ok("UpdateStreamMode", switch);
}
