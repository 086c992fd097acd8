use super::*;

fn metrics(names: &[&str]) -> Value {
    json!({"StreamName": "orders", "ShardLevelMetrics": names})
}

#[test]
fn answers_say_before_and_after() {
    let mut world = World::with_stream(1);
    let answer = world.ok("EnableEnhancedMonitoring", metrics(&["OutgoingBytes", "IncomingBytes"]));
    assert_eq!(
        answer,
        json!({
            "StreamName": "orders",
            "StreamARN": ARN,
            "CurrentShardLevelMetrics": [],
            "DesiredShardLevelMetrics": ["IncomingBytes", "OutgoingBytes"],
        })
    );
    let answer = world.ok("DisableEnhancedMonitoring", metrics(&["IncomingBytes", "IncomingRecords"]));
    assert_eq!(answer["CurrentShardLevelMetrics"], json!(["IncomingBytes", "OutgoingBytes"]));
    assert_eq!(answer["DesiredShardLevelMetrics"], json!(["OutgoingBytes"]));
    assert_eq!(world.summary()["EnhancedMonitoring"], json!([{"ShardLevelMetrics": ["OutgoingBytes"]}]));
}

#[test]
fn all_stands_for_the_seven() {
    let mut world = World::with_stream(1);
    let answer = world.ok("EnableEnhancedMonitoring", metrics(&["ALL"]));
    assert_eq!(answer["DesiredShardLevelMetrics"].as_array().unwrap().len(), 7);
    let answer = world.ok("DisableEnhancedMonitoring", metrics(&["ALL"]));
    assert_eq!(answer["DesiredShardLevelMetrics"], json!([]));
}

#[test]
fn unknown_and_missing_metrics_are_refused() {
    let mut world = World::with_stream(1);
    let text = world.text("EnableEnhancedMonitoring", metrics(&["IncomingBytes", "Colour"]));
    assert!(text.contains("Value '[IncomingBytes, Colour]' at 'shardLevelMetrics'"), "{text}");
    assert!(text.contains("Member must satisfy enum value set: [IncomingBytes, "), "{text}");
    assert_eq!(world.code("EnableEnhancedMonitoring", metrics(&[])), "ValidationException");
    assert_eq!(world.code("DisableEnhancedMonitoring", metrics(&["ALL"; 8])), "ValidationException");
}
