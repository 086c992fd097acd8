use super::*;

fn scale(world: &mut World, target: u32) -> (u16, Value) {
    let body = json!({"StreamName": "orders", "TargetShardCount": target, "ScalingType": "UNIFORM_SCALING"});
    world.call("UpdateShardCount", &body)
}

fn open(shards: &[Value]) -> Vec<&Value> {
    shards.iter().filter(|shard| shard["SequenceNumberRange"]["EndingSequenceNumber"].is_null()).collect()
}

#[test]
fn totals_open_and_closed_are_the_services() {
    for (from, to, total) in [(2, 4, 6), (4, 5, 15), (10, 13, 37), (4, 2, 6), (5, 3, 7), (3, 3, 3), (1, 2, 3)]
    {
        let mut world = World::with_stream(from);
        let (status, answer) = scale(&mut world, to);
        assert_eq!(status, 200, "{answer}");
        assert_eq!(
            answer,
            json!({"StreamName": "orders", "StreamARN": ARN, "CurrentShardCount": from, "TargetShardCount": to})
        );
        world.wait(DELAY);
        let shards = world.shards();
        assert_eq!((open(&shards).len(), shards.len()), (to as usize, total), "{from} to {to}");
    }
}

#[test]
fn the_map_stays_the_old_one_until_the_change_is_due() {
    let mut world = World::with_stream(2);
    scale(&mut world, 4);
    assert_eq!((world.status(), world.shards().len()), ("UPDATING".to_owned(), 2));
    world.put("a");
    world.wait(DELAY);
    assert_eq!((world.status(), world.shards().len()), ("ACTIVE".to_owned(), 6));
}

#[test]
fn the_same_count_changes_nothing() {
    let mut world = World::with_stream(3);
    assert_eq!(scale(&mut world, 3).0, 200);
    assert_eq!((world.status(), world.shards().len()), ("ACTIVE".to_owned(), 3));
}

#[test]
fn open_ranges_tile_all_keys_afterwards() {
    let mut world = World::with_stream(5);
    for target in [7, 14, 9, 5, 3] {
        assert_eq!(scale(&mut world, target).0, 200);
        world.wait(DELAY);
        let shards = world.shards();
        let mut ranges: Vec<(u128, u128)> = open(&shards)
            .iter()
            .map(|shard| {
                let end = |name: &str| shard["HashKeyRange"][name].as_str().unwrap().parse().unwrap();
                (end("StartingHashKey"), end("EndingHashKey"))
            })
            .collect();
        ranges.sort_unstable();
        assert_eq!((ranges[0].0, ranges[ranges.len() - 1].1), (0, u128::MAX));
        assert!(ranges.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0));
    }
}

#[test]
fn no_more_than_double_and_no_less_than_half() {
    let cases = [
        (
            4,
            9,
            "UpdateShardCount cannot scale up over double your current open shard count. Current open shard count: 4, \
             Target shard count: 9",
        ),
        (
            5,
            2,
            "UpdateShardCount cannot scale down below half your current open shard count. Current open shard count: 5, \
             Target shard count: 2",
        ),
    ];
    for (from, to, expected) in cases {
        let mut world = World::with_stream(from);
        let (status, answer) = scale(&mut world, to);
        assert_eq!((status, &answer["__type"]), (400, &json!("LimitExceededException")));
        assert_eq!(answer["message"], json!(expected));
        assert_eq!(world.status(), "ACTIVE");
    }
    for (from, to) in [(4, 8), (5, 3), (4, 2)] {
        assert_eq!(scale(&mut World::with_stream(from), to).0, 200, "{from} to {to}");
    }
}

#[test]
fn ten_thousand_shards_are_the_most() {
    let mut world = World::with_stream(6000);
    assert_eq!(scale(&mut world, 10_001).1["__type"], json!("LimitExceededException"));
    assert_eq!(scale(&mut world, 10_000).0, 200);
}

#[test]
fn ten_calls_in_a_day_are_the_most() {
    let mut world = World::limited(2);
    for _ in 0..10 {
        assert_eq!(scale(&mut world, 2).0, 200);
        world.wait(60_000);
    }
    assert_eq!(scale(&mut world, 2).1["__type"], json!("LimitExceededException"));
    world.wait(DAY - 600_000);
    assert_eq!(scale(&mut world, 2).0, 200, "the first call is a day old");
    assert_eq!(scale(&mut world, 2).0, 400, "the second is not");
}

#[test]
fn the_accounts_shard_limit_holds() {
    let mut limits = ServiceLimits::default();
    limits.open_shards = 5;
    let mut world = World::new(Limits::Aws, limits);
    world.create("orders", 3);
    let (_, answer) = scale(&mut world, 6);
    let text = answer["message"].as_str().unwrap();
    assert!(text.contains("Current shard count for the account: 3. Limit: 5."), "{text}");
    assert!(text.contains("resulted from this request: 3."), "{text}");
    assert_eq!(scale(&mut world, 5).0, 200);
}

#[test]
fn on_demand_streams_refuse() {
    let mut world = World::on_demand();
    let (status, answer) = scale(&mut world, 8);
    assert_eq!(status, 400);
    assert_eq!(
        answer,
        json!({
            "__type": "ValidationException",
            "message": "Request is invalid. Stream orders under account 000000000000 is in On-Demand mode.",
        })
    );
}

#[test]
fn only_an_active_stream_scales() {
    let mut world = World::with_stream(2);
    scale(&mut world, 4);
    let (_, answer) = scale(&mut world, 4);
    assert_eq!(
        answer["message"],
        json!("Stream orders under account 000000000000 not ACTIVE, instead in state UPDATING")
    );
}

#[test]
fn what_is_missing_is_told_in_one_message() {
    let text = World::with_stream(1)
        .text("UpdateShardCount", json!({"StreamName": "orders", "TargetShardCount": 0}));
    assert!(text.starts_with("2 validation errors detected: "), "{text}");
    assert!(text.contains("Value '0' at 'targetShardCount'"), "{text}");
    assert!(text.contains("Value null at 'scalingType'"), "{text}");
}
