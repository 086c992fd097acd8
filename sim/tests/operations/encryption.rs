use super::*;

fn kms(key: &str) -> Value {
    json!({"StreamName": "orders", "EncryptionType": "KMS", "KeyId": key})
}

#[test]
fn descriptions_name_the_key_while_encryption_is_on() {
    let mut world = World::with_stream(1);
    world.ok("StartStreamEncryption", kms("alias/aws/kinesis"));
    assert_eq!(
        (world.status().as_str(), world.summary()["EncryptionType"].clone()),
        ("UPDATING", json!("NONE"))
    );
    world.wait(DELAY);
    let summary = world.summary();
    assert_eq!((&summary["EncryptionType"], &summary["KeyId"]), (&json!("KMS"), &json!("alias/aws/kinesis")));
    world.ok("StopStreamEncryption", kms("alias/aws/kinesis"));
    world.wait(DELAY);
    let summary = world.summary();
    assert_eq!((&summary["EncryptionType"], &summary["KeyId"]), (&json!("NONE"), &Value::Null));
}

#[test]
fn answers_and_records_are_marked_from_then_on() {
    let mut world = World::with_stream(1);
    assert!(world.put("before")["EncryptionType"].is_null());
    world.wait(1);
    world.ok("StartStreamEncryption", kms("alias/a"));
    world.wait(DELAY);
    assert_eq!(world.put("during")["EncryptionType"], json!("KMS"));
    let entries = json!({"StreamName": "orders", "Records": [{"PartitionKey": "during", "Data": ""}]});
    assert_eq!(world.ok("PutRecords", entries.clone())["EncryptionType"], json!("KMS"));
    world.wait(1);
    world.ok("StopStreamEncryption", kms("alias/a"));
    world.wait(DELAY);
    assert!(world.ok("PutRecords", entries)["EncryptionType"].is_null());
    let marks: Vec<_> = world.records(0).iter().map(|record| record["EncryptionType"].clone()).collect();
    assert_eq!(marks, [Value::Null, json!("KMS"), json!("KMS"), Value::Null]);
}

#[test]
fn keys_and_types_are_checked() {
    let mut world = World::with_stream(1);
    assert_eq!(world.code("StartStreamEncryption", kms("a key")), "InvalidArgumentException");
    assert_eq!(world.code("StartStreamEncryption", kms("")), "ValidationException");
    let none = json!({"StreamName": "orders", "EncryptionType": "NONE", "KeyId": "alias/a"});
    assert_eq!(world.code("StartStreamEncryption", none), "InvalidArgumentException");
    let other = json!({"StreamName": "orders", "EncryptionType": "ROT13", "KeyId": "alias/a"});
    assert_eq!(world.code("StopStreamEncryption", other), "ValidationException");
}

#[test]
fn each_way_is_limited_per_day() {
    let mut limits = ServiceLimits::default();
    limits.encryption_changes_per_day = 2;
    let mut world = World::new(Limits::Aws, limits);
    world.create("orders", 1);
    for _ in 0..2 {
        for operation in ["StartStreamEncryption", "StopStreamEncryption"] {
            world.ok(operation, kms("alias/a"));
            world.wait(DELAY);
        }
    }
    for operation in ["StartStreamEncryption", "StopStreamEncryption"] {
        assert_eq!(world.code(operation, kms("alias/a")), "LimitExceededException");
    }
    world.wait(DAY);
    world.ok("StartStreamEncryption", kms("alias/a"));
}
