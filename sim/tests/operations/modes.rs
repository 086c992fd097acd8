use super::*;

fn switch(mode: &str) -> Value {
    json!({"StreamARN": ARN, "StreamModeDetails": {"StreamMode": mode}})
}

#[test]
fn a_stream_moves_between_modes_and_keeps_its_shards() {
    let mut world = World::with_stream(3);
    assert_eq!(world.ok("UpdateStreamMode", switch("ON_DEMAND")), Value::Null);
    assert_eq!(world.status(), "UPDATING");
    world.wait(DELAY);
    let summary = world.summary();
    assert_eq!(summary["StreamModeDetails"]["StreamMode"], json!("ON_DEMAND"));
    assert_eq!((&summary["StreamStatus"], &summary["OpenShardCount"]), (&json!("ACTIVE"), &json!(3)));
    world.ok("UpdateStreamMode", switch("PROVISIONED"));
    world.wait(DELAY);
    assert_eq!(world.summary()["StreamModeDetails"]["StreamMode"], json!("PROVISIONED"));
}

#[test]
fn the_mode_is_switched_twice_a_day() {
    let mut world = World::limited(1);
    for mode in ["ON_DEMAND", "PROVISIONED"] {
        world.ok("UpdateStreamMode", switch(mode));
        world.wait(DELAY);
    }
    assert_eq!(world.code("UpdateStreamMode", switch("ON_DEMAND")), "LimitExceededException");
    world.ok("UpdateStreamMode", switch("PROVISIONED"));
    world.wait(DAY);
    world.ok("UpdateStreamMode", switch("ON_DEMAND"));
}

#[test]
fn the_mode_needs_an_arn() {
    let mut world = World::with_stream(1);
    let text = world.text(
        "UpdateStreamMode",
        json!({"StreamName": "orders", "StreamModeDetails": {"StreamMode": "ON_DEMAND"}}),
    );
    assert!(
        text.contains("Value null at 'streamARN' failed to satisfy constraint: Member must not be null"),
        "{text}"
    );
}

#[test]
fn warm_throughput_needs_on_demand_and_the_commitment() {
    let mut world = World::with_stream(1);
    let warm = |mib: u32| json!({"StreamName": "orders", "WarmThroughputMiBps": mib});
    assert_eq!(world.code("UpdateStreamWarmThroughput", warm(10)), "InvalidArgumentException");
    let mut world = World::on_demand();
    world.ok("UpdateAccountSettings", json!({"MinimumThroughputBillingCommitment": {"Status": "DISABLED"}}));
    world.wait(DAY);
    assert_eq!(world.code("UpdateStreamWarmThroughput", warm(10)), "InvalidArgumentException");
    world.ok("UpdateAccountSettings", json!({"MinimumThroughputBillingCommitment": {"Status": "ENABLED"}}));
    assert_eq!(world.code("UpdateStreamWarmThroughput", warm(10_241)), "InvalidArgumentException");
    let answer = world.ok("UpdateStreamWarmThroughput", warm(10));
    assert_eq!(
        answer,
        json!({"StreamName": "orders", "StreamARN": ARN, "WarmThroughput": {"TargetMiBps": 10, "CurrentMiBps": 0}})
    );
    assert_eq!(world.status(), "UPDATING");
    world.wait(DELAY);
    let summary = world.summary();
    assert_eq!(summary["WarmThroughput"], json!({"TargetMiBps": 10, "CurrentMiBps": 10}));
    assert_eq!(summary["OpenShardCount"], json!(10), "a shard takes one MiB a second");
}

#[test]
fn a_larger_record_fits_after_the_size_was_raised() {
    let mut world = World::with_stream(1);
    let put = json!({"StreamName": "orders", "PartitionKey": "k", "Data": "A".repeat(2_000_000)});
    assert_eq!(
        world.text("PutRecord", put.clone()),
        "1 validation error detected: Value at 'data' failed to satisfy constraint: Member must have length less than \
         or equal to 1048576."
    );
    world.ok("UpdateMaxRecordSize", json!({"StreamARN": ARN, "MaxRecordSizeInKiB": 2048}));
    assert_eq!(world.status(), "UPDATING");
    assert_eq!(world.code("PutRecord", put.clone()), "ValidationException");
    world.wait(DELAY);
    assert_eq!(world.summary()["MaxRecordSizeInKiB"], json!(2048));
    world.ok("PutRecord", put);
}

#[test]
fn record_sizes_have_bounds() {
    let mut world = World::with_stream(1);
    for size in [1023, 10_241] {
        let body = json!({"StreamARN": ARN, "MaxRecordSizeInKiB": size});
        assert_eq!(world.code("UpdateMaxRecordSize", body), "ValidationException", "{size}");
    }
}

#[test]
fn automatic_distribution_is_for_on_demand_streams() {
    let strategy = |name: &str| json!({"StreamARN": ARN, "RecordDistributionStrategy": name});
    let operation = "UpdateStreamRecordDistributionStrategy";
    let mut world = World::with_stream(1);
    assert_eq!(world.code(operation, strategy("AUTO")), "InvalidArgumentException");
    world.ok(operation, strategy("USER_PARTITION_KEY"));
    assert_eq!(world.code(operation, strategy("RANDOM")), "ValidationException");
    let mut world = World::on_demand();
    world.ok(operation, strategy("AUTO"));
    let summary = world.summary();
    assert_eq!(
        (&summary["RecordDistributionStrategy"], &summary["StreamStatus"]),
        (&json!("AUTO"), &json!("ACTIVE"))
    );
}

#[test]
fn a_switch_to_provisioned_ends_what_needs_on_demand() {
    let mut world = World::on_demand();
    world.ok(
        "UpdateStreamRecordDistributionStrategy",
        json!({"StreamARN": ARN, "RecordDistributionStrategy": "AUTO"}),
    );
    world.ok("UpdateStreamWarmThroughput", json!({"StreamARN": ARN, "WarmThroughputMiBps": 5}));
    world.wait(DELAY);
    world.ok("UpdateStreamMode", switch("PROVISIONED"));
    world.wait(DELAY);
    let summary = world.summary();
    assert_eq!(summary["RecordDistributionStrategy"], json!("USER_PARTITION_KEY"));
    assert!(summary["WarmThroughput"].is_null());
}

#[test]
fn updates_in_any_other_state_are_refused_with_the_state() {
    for (operation, body) in [
        ("UpdateStreamMode", switch("ON_DEMAND")),
        ("UpdateMaxRecordSize", json!({"StreamARN": ARN, "MaxRecordSizeInKiB": 2048})),
        ("StartStreamEncryption", json!({"StreamARN": ARN, "EncryptionType": "KMS", "KeyId": "alias/a"})),
        ("AddTagsToStream", json!({"StreamARN": ARN, "Tags": {"a": "b"}})),
        ("EnableEnhancedMonitoring", json!({"StreamARN": ARN, "ShardLevelMetrics": ["ALL"]})),
        ("IncreaseStreamRetentionPeriod", json!({"StreamARN": ARN, "RetentionPeriodHours": 48})),
    ] {
        let mut world = World::new(Limits::Off, ServiceLimits::default());
        world.ok("CreateStream", json!({"StreamName": "orders", "ShardCount": 1}));
        assert_eq!(
            world.refused(operation, body),
            (
                "ResourceInUseException".to_owned(),
                "Stream orders under account 000000000000 not ACTIVE, instead in state CREATING".to_owned()
            ),
            "{operation}"
        );
    }
}
