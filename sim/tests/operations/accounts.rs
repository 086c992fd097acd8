use super::*;

fn commit(status: &str) -> Value {
    json!({"MinimumThroughputBillingCommitment": {"Status": status}})
}

#[test]
fn limits_count_shards_and_on_demand_streams() {
    let mut world = World::limited(3);
    world.ok("CreateStream", json!({"StreamName": "free"}));
    world.wait(DELAY);
    assert_eq!(
        world.ok("DescribeLimits", json!({})),
        json!({
            "ShardLimit": 20_000,
            "OpenShardCount": 7,
            "OnDemandStreamCount": 1,
            "OnDemandStreamCountLimit": 50,
            "ChannelCount": 0,
            "ChannelCountLimit": 0,
        })
    );
}

#[test]
fn an_account_begins_without_a_commitment() {
    let mut world = World::with_stream(1);
    assert_eq!(world.ok("DescribeAccountSettings", json!({})), commit("DISABLED"));
}

#[test]
fn a_commitment_lasts_a_day_at_least() {
    let mut world = World::with_stream(1);
    let start = world.now;
    let seconds = |millis: u64| {
        if millis.is_multiple_of(1000) {
            json!(millis / 1000)
        } else {
            serde_json::from_str(&format!("{}.5", millis / 1000)).unwrap()
        }
    };
    let answer = world.ok("UpdateAccountSettings", commit("ENABLED"));
    let enabled = json!({"MinimumThroughputBillingCommitment": {
        "Status": "ENABLED", "StartedAt": seconds(start), "EarliestAllowedEndAt": seconds(start + DAY),
    }});
    assert_eq!(answer, enabled);
    assert_eq!(world.ok("DescribeAccountSettings", json!({})), enabled);
    let status = |answer: &Value| answer["MinimumThroughputBillingCommitment"]["Status"].clone();
    let answer = world.ok("UpdateAccountSettings", commit("DISABLED"));
    assert_eq!(status(&answer), json!("ENABLED_UNTIL_EARLIEST_ALLOWED_END"));
    world.wait(DAY);
    let answer = world.ok("DescribeAccountSettings", json!({}));
    assert_eq!(status(&answer), json!("DISABLED"));
    assert_eq!(answer["MinimumThroughputBillingCommitment"]["EndedAt"], seconds(start + DAY));
}

#[test]
fn only_two_states_can_be_asked_for() {
    let mut world = World::with_stream(1);
    let code = world.code("UpdateAccountSettings", commit("ENABLED_UNTIL_EARLIEST_ALLOWED_END"));
    assert_eq!(code, "ValidationException");
    assert_eq!(world.code("UpdateAccountSettings", json!({})), "ValidationException");
}
