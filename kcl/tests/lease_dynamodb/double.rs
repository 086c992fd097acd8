//! The double that stands under the SDK client: held to the suite that real servers are held to, and what real servers do
//! not do on demand: faults, paging, missing permissions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::types::BillingMode;
use kcl::lease::{Billing, CheckpointUpdate, DynamoDbLeaseStore, NewLease, Write, conformance};
use kcl::{Checkpoint, Lease, LeaseKey, LeaseStore, LeaseStoreError, ShardId, WorkerId};
use kinesis_sim::{Rule, SimDynamoDb, Verdict};
use serde_json::{Value, json};

const TABLE: &str = "billing";

fn key(index: u64) -> LeaseKey {
    LeaseKey::from(&ShardId::from_index(index))
}

fn ann() -> WorkerId {
    WorkerId::new("ann")
}

async fn prepared(tables: &SimDynamoDb) -> DynamoDbLeaseStore {
    let store = DynamoDbLeaseStore::new(&tables.client(), TABLE);
    store.prepare().await.unwrap();
    store
}

/// A lease that ann owns.
async fn owned(store: &DynamoDbLeaseStore, index: u64) -> Lease {
    assert!(store.create_if_absent(NewLease::child(key(index), [], None)).await.unwrap());
    match store.take(&key(index), kcl::LeaseCounter::ZERO, &ann()).await.unwrap() {
        Write::Applied(row) => row,
        Write::Refused(row) => panic!("{row:?}"),
    }
}

fn item(tables: &SimDynamoDb, index: u64) -> Value {
    let named = |item: &Value| item["leaseKey"]["S"] == key(index).as_str();
    tables.items(TABLE).into_iter().find(named).unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_double_conforms() {
    let runs = AtomicU64::new(0);
    let failures = conformance::run(|| {
        let tables = SimDynamoDb::new(runs.fetch_add(1, Ordering::Relaxed));
        let store = DynamoDbLeaseStore::new(&tables.client(), TABLE);
        async move { Arc::new(store) as Arc<dyn LeaseStore> }
    });
    let told: Vec<_> = failures.await.iter().map(ToString::to_string).collect();
    assert!(told.is_empty(), "{}", told.join("\n"));
}

#[tokio::test(start_paused = true)]
async fn every_page_and_every_segment_is_read() {
    for (page_bytes, segments) in [(1, 1), (500, 1), (500, 3), (1_000_000, 7)] {
        let tables = SimDynamoDb::new(3);
        let store = prepared(&tables).await.with_scan_segments(segments);
        tables.set_page_bytes(page_bytes);
        for index in 0..25 {
            assert!(store.create_if_absent(NewLease::child(key(index), [], None)).await.unwrap());
        }
        let mut keys: Vec<_> = store.list().await.unwrap().into_iter().map(|lease| lease.key).collect();
        keys.sort();
        assert_eq!(keys, (0..25).map(key).collect::<Vec<_>>(), "{page_bytes} {segments}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_a_doubt_and_a_throttle_is_none() {
    let tables = SimDynamoDb::new(1);
    let store = prepared(&tables).await;
    let row = owned(&store, 1).await;
    // Verdict, written, in doubt.
    let cases = [
        (Verdict::LoseAnswer, true, true),
        (Verdict::LoseRequest, false, true),
        (Verdict::Throttle, false, false),
        (Verdict::Fail, false, true),
    ];
    let mut counter = row.counter;
    for (verdict, written, doubt) in cases {
        let rule = tables.rule(Rule::operation("UpdateItem").then(verdict));
        let update = CheckpointUpdate { checkpoint: Checkpoint::Latest, pending: None };
        let errors = [
            store.renew(&key(1), counter, false).await.unwrap_err(),
            store.checkpoint(&key(1), counter, update).await.unwrap_err(),
        ];
        drop(rule);
        for error in errors {
            assert_eq!(
                (error.may_have_been_written(), error.is_retryable()),
                (doubt, true),
                "{verdict:?} {error}"
            );
        }
        let now = store.get(&key(1)).await.unwrap().unwrap();
        assert_eq!(now.counter, if written { counter.next() } else { counter }, "{verdict:?}");
        counter = now.counter;
    }
    let rule = tables.rule(Rule::operation("Scan").then(Verdict::LoseAnswer));
    assert!(!store.list().await.unwrap_err().may_have_been_written(), "a read writes nothing");
    drop(rule);
}

/// A write that is tried again below us would look refused, so the SDK is told not to.
#[tokio::test(start_paused = true)]
async fn the_sdk_does_not_try_again_whatever_the_callers_client_says() {
    let tables = SimDynamoDb::new(1);
    let eager =
        tables.client().config().to_builder().retry_config(RetryConfig::standard().with_max_attempts(5));
    let store = DynamoDbLeaseStore::new(&aws_sdk_dynamodb::Client::from_conf(eager.build()), TABLE);
    store.prepare().await.unwrap();
    let row = owned(&store, 1).await;
    let before = tables.usage_of("client").calls["UpdateItem"];
    let rule = tables.rule(Rule::operation("UpdateItem").then(Verdict::LoseAnswer));
    assert!(store.renew(&key(1), row.counter, false).await.is_err());
    assert_eq!((tables.usage_of("client").calls["UpdateItem"] - before, rule.hits()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_hangs_is_given_up() {
    let tables = SimDynamoDb::with_call_timeout(1, Duration::from_hours(1));
    let store = prepared(&tables).await.with_request_timeout(Duration::from_secs(3));
    let rule = tables.rule(Rule::operation("GetItem").then(Verdict::Delay(Duration::from_mins(10))));
    let clock = kinesis_shard::Clock::default();
    let began = clock.now();
    let error = store.get(&key(1)).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert_eq!((clock.now() - began).as_secs(), 3);
    drop(rule);
}

#[tokio::test(start_paused = true)]
async fn a_new_table_is_waited_for_and_no_longer_than_allowed() {
    let tables = SimDynamoDb::new(1);
    tables.set_creation_time(Duration::from_secs(40));
    let store = DynamoDbLeaseStore::new(&tables.client(), TABLE);
    let patient = store.clone().with_point_in_time_recovery(true).with_tag("team", "billing");
    let hasty = store.with_creation_timeout(Duration::from_secs(5));
    let error = hasty.prepare().await.unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("5 s"), "{error}");
    patient.prepare().await.unwrap();
    assert!(patient.list().await.unwrap().is_empty());
    assert_eq!(tables.usage_of("client").calls["CreateTable"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_table_is_created_as_it_was_asked_for() {
    let tables = SimDynamoDb::new(1);
    let client = tables.client();
    DynamoDbLeaseStore::new(&client, "plain").prepare().await.unwrap();
    let asked = DynamoDbLeaseStore::new(&client, "asked")
        .with_billing(Billing::Provisioned { read_units: 5, write_units: 7 })
        .with_deletion_protection(true)
        .with_point_in_time_recovery(true)
        .with_tag("team", "billing");
    asked.prepare().await.unwrap();
    asked.prepare().await.unwrap();
    let mut found = Vec::new();
    for name in ["plain", "asked"] {
        let table = client.describe_table().table_name(name).send().await.unwrap().table.unwrap();
        let tags = client.list_tags_of_resource().resource_arn(table.table_arn().unwrap());
        let tags = tags.send().await.unwrap().tags.unwrap_or_default();
        let units = table
            .provisioned_throughput()
            .map(|units| (units.read_capacity_units, units.write_capacity_units));
        found.push((
            table.billing_mode_summary().and_then(|summary| summary.billing_mode().cloned()),
            units.filter(|units| *units != (None, None)),
            table.deletion_protection_enabled.unwrap_or_default(),
            tags.into_iter().map(|tag| (tag.key, tag.value)).collect::<Vec<_>>(),
        ));
    }
    let tag = ("team".to_owned(), "billing".to_owned());
    let (plain, asked) = (BillingMode::PayPerRequest, BillingMode::Provisioned);
    let wanted =
        [(Some(plain), None, false, vec![]), (Some(asked), Some((Some(5), Some(7))), true, vec![tag])];
    assert_eq!(found, wanted);
    assert_eq!(
        tables.usage_of("client").calls["UpdateContinuousBackups"],
        1,
        "once, and only where asked for"
    );
}

/// The index that Java's 3.x workers add, with its attribute, is none of our business.
#[tokio::test(start_paused = true)]
async fn a_table_with_javas_index_is_used_as_it_is() {
    let tables = SimDynamoDb::new(1);
    crate::server::create_with_index(&tables.client(), TABLE).await;
    let store = prepared(&tables).await;
    let row = owned(&store, 1).await;
    assert_eq!(store.list().await.unwrap(), [row]);
}

#[tokio::test(start_paused = true)]
async fn without_permission_the_whole_definition_is_told() {
    let tables = SimDynamoDb::new(1);
    tables.deny("CreateTable");
    let store = DynamoDbLeaseStore::new(&tables.client(), TABLE)
        .with_billing(Billing::Provisioned { read_units: 5, write_units: 7 })
        .with_deletion_protection(true)
        .with_tag("team", "billing")
        .with_point_in_time_recovery(true);
    let error = store.prepare().await.unwrap_err();
    assert!(matches!(error, LeaseStoreError::TableMissing { .. }) && !error.is_retryable());
    let told = error.to_string();
    for part in [
        "dynamodb:CreateTable is missing",
        "aws dynamodb create-table --table-name billing --attribute-definitions AttributeName=leaseKey,AttributeType=S \
         --key-schema AttributeName=leaseKey,KeyType=HASH --billing-mode PROVISIONED --provisioned-throughput \
         ReadCapacityUnits=5,WriteCapacityUnits=7 --deletion-protection-enabled --tags 'Key=team,Value=billing'",
        "PointInTimeRecoveryEnabled=true",
    ] {
        assert!(told.contains(part), "{told}");
    }
    tables.deny("DescribeTable");
    let error = store.prepare().await.unwrap_err();
    assert!(!error.is_retryable() && error.to_string().contains("dynamodb:DescribeTable"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_missing_permission_or_table_later_on_is_told_as_such() {
    let tables = SimDynamoDb::new(1);
    let store = DynamoDbLeaseStore::new(&tables.client(), TABLE);
    let error = store.list().await.unwrap_err();
    assert!(
        matches!(error, LeaseStoreError::TableMissing { .. }) && error.to_string().contains(TABLE),
        "{error}"
    );
    store.prepare().await.unwrap();
    tables.deny("UpdateItem");
    assert!(store.create_if_absent(NewLease::child(key(1), [], None)).await.unwrap());
    let error = store.take(&key(1), kcl::LeaseCounter::ZERO, &ann()).await.unwrap_err();
    assert!(!error.is_retryable() && !error.may_have_been_written(), "{error}");
    assert!(error.to_string().contains("dynamodb:UpdateItem"), "{error}");
}

/// The items of a whole life of a lease, as Java would find them.
#[tokio::test(start_paused = true)]
async fn items_are_javas_to_the_attribute() {
    let tables = SimDynamoDb::new(1);
    let store = prepared(&tables).await;
    let row = owned(&store, 1).await;
    let digits = "49590338271490256608559692538361571095921575989136588898";
    let to = Checkpoint::parse(digits, 3).unwrap();
    let update = CheckpointUpdate { checkpoint: to, pending: None };
    assert!(store.checkpoint(&key(1), row.counter, update).await.unwrap().is_applied());
    let expected = json!({
        "leaseKey": { "S": "shardId-000000000001" },
        "leaseOwner": { "S": "ann" },
        "leaseCounter": { "N": "2" },
        "checkpoint": { "S": digits },
        "checkpointSubSequenceNumber": { "N": "3" },
        "ownerSwitchesSinceCheckpoint": { "N": "0" },
        "entityType": { "S": "LEASE" },
    });
    assert_eq!(item(&tables, 1), expected);
    // Released: the owner is gone, not empty.
    let row = store.get(&key(1)).await.unwrap().unwrap();
    assert!(store.release(&key(1), &row.owners(), row.counter).await.unwrap().is_applied());
    let item = item(&tables, 1);
    assert_eq!((item.get("leaseOwner"), &item["leaseCounter"]["N"]), (None, &json!("3")));
}

#[tokio::test(start_paused = true)]
async fn a_broken_item_is_skipped_counted_and_found_again_once_it_is_whole() {
    let tables = SimDynamoDb::new(1);
    let store = prepared(&tables).await;
    owned(&store, 1).await;
    let broken = json!({ "leaseKey": { "S": "shardId-000000000002" }, "leaseCounter": { "N": "1" }, "checkpoint": { "S": "soon" } });
    tables.put_item(TABLE, broken);
    tables.put_item(TABLE, json!({ "leaseKey": { "S": "Leader" }, "entityType": { "S": "LEADER" } }));
    for _ in 0..2 {
        assert_eq!((store.list().await.unwrap().len(), store.skipped_items()), (1, 1));
    }
    let whole = json!({ "leaseKey": { "S": "shardId-000000000002" }, "leaseCounter": { "N": "1" }, "checkpoint": { "S": "LATEST" } });
    tables.put_item(TABLE, whole);
    assert_eq!((store.list().await.unwrap().len(), store.skipped_items()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_write_is_told_when_it_takes_effect_whatever_its_caller_is_told() {
    let tables = SimDynamoDb::new(3);
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    tables.watch_writes(move |write| tell.lock().unwrap().push(write.clone()));
    let store = prepared(&tables).await;
    let row = owned(&store, 1).await;
    assert_eq!(told.lock().unwrap().len(), 2, "a creation and a take; reads are no writes");

    let renew = |counter| store.renew(&row.key, counter, false);
    let lost = tables.rule(Rule::operation("UpdateItem").times(1).then(Verdict::LoseRequest));
    renew(row.counter).await.unwrap_err();
    drop(lost);
    assert_eq!(told.lock().unwrap().len(), 2, "what is lost on the way changes nothing");

    let lost = tables.rule(Rule::operation("UpdateItem").times(1).then(Verdict::LoseAnswer));
    renew(row.counter).await.unwrap_err();
    drop(lost);
    let write = told.lock().unwrap()[2].clone();
    let counter = |item: &Option<Value>| item.as_ref().unwrap()["leaseCounter"]["N"].clone();
    assert_eq!((counter(&write.before), counter(&write.after)), (json!("1"), json!("2")));
    assert_eq!(
        (&*write.caller, write.table.as_str(), write.key.as_str()),
        ("client", TABLE, row.key.as_str())
    );
    assert_eq!(write.sent_at_millis, write.at_millis);

    assert!(!renew(row.counter).await.unwrap().is_applied());
    assert_eq!(told.lock().unwrap().len(), 3, "nor does one that is refused");
    let _late = tables.rule(Rule::operation("DeleteItem").then(Verdict::Delay(Duration::from_secs(2))));
    assert!(store.delete(&row.key, kcl::LeaseCounter::new(2)).await.unwrap().is_applied());
    let write = told.lock().unwrap()[3].clone();
    assert_eq!((write.at_millis - write.sent_at_millis, write.after), (2_000, None));
}
