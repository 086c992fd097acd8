//! Items as Java writes them, and as it must be able to read ours.

use proptest::prelude::*;

use super::*;

fn item(attributes: &[(&str, AttributeValue)]) -> Item {
    attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

fn set(names: &[&str]) -> AttributeValue {
    AttributeValue::Ss(names.iter().map(|name| (*name).to_owned()).collect())
}

/// A lease in the middle of its life, with every attribute that Java writes.
fn javas() -> Item {
    item(&[
        ("leaseKey", text("shardId-000000000012")),
        ("leaseOwner", text("host:3f0c")),
        ("leaseCounter", number(417)),
        ("checkpoint", text("49590338271490256608559692538361571095921575989136588898")),
        ("checkpointSubSequenceNumber", number(3)),
        ("ownerSwitchesSinceCheckpoint", number(2)),
        ("pendingCheckpoint", text("49590338271490256608559692538361571095921575989136588899")),
        ("pendingCheckpointSubSequenceNumber", number(1)),
        ("pendingCheckpointState", AttributeValue::B(Blob::new(*b"\0mine"))),
        ("parentShardId", set(&["shardId-000000000009", "shardId-000000000002"])),
        ("childShardIds", set(&["shardId-000000000020"])),
        ("startingHashKey", text("0")),
        ("endingHashKey", text("340282366920938463463374607431768211455")),
        ("throughputKBps", AttributeValue::N("12.5".into())),
        ("checkpointOwner", text("host:77aa")),
        ("entityType", text("LEASE")),
    ])
}

fn lease(item: &Item) -> Lease {
    read(item).unwrap().unwrap()
}

#[test]
fn a_whole_item_of_javas_is_read() {
    let lease = lease(&javas());
    assert_eq!(lease.key.as_str(), "shardId-000000000012");
    assert_eq!(lease.owner, Some(WorkerId::new("host:3f0c")));
    assert_eq!(lease.checkpoint_owner, Some(WorkerId::new("host:77aa")));
    assert_eq!((lease.counter.get(), lease.owner_switches_since_checkpoint), (417, 2));
    assert_eq!(
        lease.checkpoint.to_string(),
        Checkpoint::parse("49590338271490256608559692538361571095921575989136588898", 3).unwrap().to_string()
    );
    let pending = lease.pending_checkpoint.unwrap();
    assert_eq!(
        (pending.checkpoint.sub_sequence_number(), pending.state.unwrap()),
        (1, Bytes::from("\0mine"))
    );
    let names = |shards: &[ShardId]| shards.iter().map(|shard| shard.as_str().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&lease.parents), ["shardId-000000000002", "shardId-000000000009"]);
    assert_eq!(names(&lease.children), ["shardId-000000000020"]);
    assert_eq!(lease.hash_key_range, Some(HashKeyRange::FULL));
}

#[test]
fn the_least_that_java_writes_is_read() {
    let short = item(&[
        ("leaseKey", text("shardId-000000000000")),
        ("leaseCounter", number(0)),
        ("checkpoint", text("LATEST")),
    ]);
    let lease = lease(&short);
    assert_eq!(
        (lease.checkpoint, lease.owner, lease.counter),
        (Checkpoint::Latest, None, LeaseCounter::ZERO)
    );
    assert_eq!(
        (lease.parents.len(), lease.hash_key_range, lease.owner_switches_since_checkpoint),
        (0, None, 0)
    );
}

#[test]
fn a_pending_state_that_is_a_number_is_no_state() {
    let mut item = javas();
    item.insert("pendingCheckpointState".into(), number(1));
    let pending = lease(&item).pending_checkpoint.unwrap();
    assert_eq!((pending.checkpoint.sub_sequence_number(), pending.state), (1, None));
}

#[test]
fn other_entities_are_no_leases_and_not_broken() {
    for entity in
        ["STREAM", "LEADER", "CLIENT_VERSION_MIGRATION", "TABLE_MIGRATION", "WORKER_METRIC_STATS", "NEW"]
    {
        let foreign = item(&[("leaseKey", text("Leader")), ("entityType", text(entity))]);
        assert_eq!(read(&foreign), Ok(None), "{entity}");
    }
}

#[test]
fn each_defect_is_told_with_its_attribute() {
    let broken: [(&str, AttributeValue); 10] = [
        ("checkpoint", text("one hundred")),
        ("checkpoint", number(5)),
        ("pendingCheckpoint", text("-1")),
        ("leaseCounter", AttributeValue::N("1.5".into())),
        ("leaseCounter", text("5")),
        ("ownerSwitchesSinceCheckpoint", AttributeValue::N("-3".into())),
        ("parentShardId", text("shardId-000000000001")),
        ("startingHashKey", text("a")),
        ("endingHashKey", text("340282366920938463463374607431768211456")),
        ("leaseOwner", AttributeValue::Bool(true)),
    ];
    for (name, value) in broken {
        let mut item = javas();
        item.insert(name.into(), value.clone());
        let found = read(&item).unwrap_err();
        assert_eq!(found.key, "shardId-000000000012");
        assert!(found.what.contains(name), "{name} {value:?}: {}", found.what);
    }
    for name in ["checkpoint", "leaseCounter"] {
        let mut item = javas();
        item.remove(name);
        assert!(read(&item).unwrap_err().what.contains(name));
    }
}

#[test]
fn an_item_without_a_key_is_broken() {
    let found = read(&item(&[("wid", text("worker"))])).unwrap_err();
    assert_eq!(found.key, "");
}

#[test]
fn a_new_lease_has_what_java_needs_and_no_empty_value() {
    let new = NewLease::child(LeaseKey::new("shardId-000000000005"), [], None);
    let item = created(&new);
    let mut names: Vec<_> = item.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "checkpoint",
            "checkpointSubSequenceNumber",
            "entityType",
            "leaseCounter",
            "leaseKey",
            "ownerSwitchesSinceCheckpoint"
        ]
    );
    assert_eq!(item["leaseCounter"], AttributeValue::N("0".into()));
    assert_eq!(item["checkpoint"], AttributeValue::S("TRIM_HORIZON".into()));
}

#[test]
fn a_merged_shard_has_a_set_of_parents_and_decimal_hash_keys() {
    let parents = [ShardId::from_index(3), ShardId::from_index(2), ShardId::from_index(3)];
    let new = NewLease {
        parents: parents.to_vec(),
        ..NewLease::child(LeaseKey::new("s"), [], Some(HashKeyRange::FULL))
    };
    let item = created(&new);
    assert_eq!(item["parentShardId"], set(&["shardId-000000000002", "shardId-000000000003"]));
    assert_eq!(item["startingHashKey"], text("0"));
    assert_eq!(item["endingHashKey"], text("340282366920938463463374607431768211455"));
}

#[test]
fn a_range_of_one_hash_key_is_left_out_because_java_refuses_it() {
    let one = HashKey::parse_explicit("5").unwrap();
    let range = HashKeyRange::new(one, one).ok();
    assert!(range.is_some());
    assert!(!created(&NewLease::child(LeaseKey::new("s"), [], range)).contains_key("startingHashKey"));
}

#[test]
fn a_lease_of_several_streams_names_stream_and_shard() {
    let key = LeaseKey::new("123456789012:orders:1700000000:shardId-000000000003");
    let item = created(&NewLease::child(key, [], None));
    assert_eq!(item["streamName"], text("123456789012:orders:1700000000"));
    assert_eq!(item["shardId"], text("shardId-000000000003"));
}

proptest! {
    /// Whatever stands in the table, reading it does not panic.
    #[test]
    fn any_item_is_read_or_told(attributes in prop::collection::vec((0_usize..17, any_value()), 0..17)) {
        let names = [
            LEASE_KEY, LEASE_OWNER, LEASE_COUNTER, CHECKPOINT, CHECKPOINT_SUB, OWNER_SWITCHES, PENDING, PENDING_SUB,
            PENDING_STATE, PARENTS, CHILDREN, STARTING_HASH_KEY, ENDING_HASH_KEY, CHECKPOINT_OWNER, ENTITY_TYPE,
            LATEST_PINNED_AT, "somebodyElses",
        ];
        let item: Item = attributes.into_iter().map(|(name, value)| (names[name].to_owned(), value)).collect();
        prop_assert!(read(&item).is_ok() || read(&item).is_err());
    }
}

fn any_value() -> impl Strategy<Value = AttributeValue> {
    prop_oneof![
        "[0-9A-Z_-]{0,12}".prop_map(AttributeValue::S),
        "-?[0-9.]{0,24}".prop_map(AttributeValue::N),
        any::<bool>().prop_map(AttributeValue::Bool),
        any::<bool>().prop_map(AttributeValue::Null),
        prop::collection::vec("[a-z]{0,3}", 0..3).prop_map(AttributeValue::Ss),
        prop::collection::vec(any::<u8>(), 0..5).prop_map(|bytes| AttributeValue::B(Blob::new(bytes))),
        Just(AttributeValue::L(Vec::new())),
        Just(AttributeValue::M(Item::new())),
    ]
}
