use super::*;

#[test]
fn a_policy_is_kept_as_it_is() {
    let mut world = World::with_stream(1);
    let policy = r#"{ "Version": "2012-10-17", "Statement": [] }"#;
    let get = |world: &mut World| world.ok("GetResourcePolicy", json!({"ResourceARN": ARN}));
    assert_eq!(get(&mut world), json!({"Policy": "{}"}), "none yet");
    assert_eq!(world.ok("PutResourcePolicy", json!({"ResourceARN": ARN, "Policy": policy})), Value::Null);
    assert_eq!(get(&mut world), json!({"Policy": policy}));
    world.ok("DeleteResourcePolicy", json!({"ResourceARN": ARN}));
    assert_eq!(get(&mut world), json!({"Policy": "{}"}));
    assert_eq!(world.code("DeleteResourcePolicy", json!({"ResourceARN": ARN})), "ResourceNotFoundException");
}

#[test]
fn a_policy_must_be_json() {
    let mut world = World::with_stream(1);
    let put = json!({"ResourceARN": ARN, "Policy": "allow all"});
    assert_eq!(world.code("PutResourcePolicy", put), "InvalidArgumentException");
}

#[test]
fn stream_and_consumer_have_policies_of_their_own() {
    let mut world = World::with_stream(1);
    let answer = world.ok("RegisterStreamConsumer", json!({"StreamARN": ARN, "ConsumerName": "app"}));
    let arn = answer["Consumer"]["ConsumerARN"].clone();
    world.ok("PutResourcePolicy", json!({"ResourceARN": arn, "Policy": "{\"a\":1}"}));
    assert_eq!(world.ok("GetResourcePolicy", json!({"ResourceARN": ARN})), json!({"Policy": "{}"}));
    assert_eq!(world.ok("GetResourcePolicy", json!({"ResourceARN": arn})), json!({"Policy": "{\"a\":1}"}));
}

#[test]
fn resources_that_do_not_exist_are_not_found() {
    let mut world = World::with_stream(1);
    for arn in [
        "arn:aws:kinesis:us-east-1:000000000000:stream/other".to_owned(),
        "arn:aws:kinesis:eu-west-1:000000000000:stream/orders".to_owned(),
        format!("{ARN}/consumer/app:1700000000"),
    ] {
        for operation in ["GetResourcePolicy", "DeleteResourcePolicy", "ListTagsForResource"] {
            let code = world.code(operation, json!({"ResourceARN": arn}));
            assert_eq!(code, "ResourceNotFoundException", "{operation} {arn}");
        }
    }
    for arn in ["orders", "arn:aws:s3:::bucket"] {
        assert_eq!(world.code("GetResourcePolicy", json!({"ResourceARN": arn})), "ValidationException");
    }
}
