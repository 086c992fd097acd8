//! A server that is running: `DYNAMODB_ENDPOINT` names it, and without that there is nothing to test here.
//! `tests/interop/lease_table/run.sh` starts several, one after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Region};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType,
    Projection, ProjectionType, ScalarAttributeType,
};
use kcl::lease::{DynamoDbLeaseStore, LeaseStore, LeaseStoreError, NewLease, conformance};
use kcl::{Checkpoint, LeaseKey, WorkerId};

/// A table name that no other test and no earlier run uses.
fn table_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("leases-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn client() -> Option<Client> {
    let Ok(endpoint) = std::env::var("DYNAMODB_ENDPOINT") else {
        return None;
    };
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::from_keys("any", "any", None))
        .endpoint_url(endpoint)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    Some(Client::from_conf(config))
}

#[tokio::test]
async fn a_running_server_conforms() {
    let Some(client) = client() else { return };
    let failures = conformance::run(|| {
        let store = DynamoDbLeaseStore::new(&client, table_name());
        async move { Arc::new(store) as Arc<dyn LeaseStore> }
    });
    let told: Vec<_> = failures.await.iter().map(ToString::to_string).collect();
    assert!(told.is_empty(), "{}", told.join("\n"));
    eprintln!("{} checks passed", conformance::checks().len());
}

/// A lease table with the index that Java's 3.x workers add.
pub(crate) async fn create_with_index(client: &Client, table: &str) {
    let key =
        |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap();
    let text = |name: &str| {
        let attribute = AttributeDefinition::builder().attribute_name(name);
        attribute.attribute_type(ScalarAttributeType::S).build().unwrap()
    };
    let index = GlobalSecondaryIndex::builder()
        .index_name("LeaseOwnerToLeaseKeyIndex")
        .key_schema(key("leaseOwner", KeyType::Hash))
        .key_schema(key("leaseKey", KeyType::Range))
        .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build())
        .build()
        .unwrap();
    let create = client.create_table().table_name(table).billing_mode(BillingMode::PayPerRequest);
    let create = create.key_schema(key("leaseKey", KeyType::Hash)).global_secondary_indexes(index);
    create
        .attribute_definitions(text("leaseKey"))
        .attribute_definitions(text("leaseOwner"))
        .send()
        .await
        .unwrap();
}

#[tokio::test]
async fn a_table_with_javas_index_conforms() {
    let Some(client) = client() else { return };
    let failures = conformance::run(|| async {
        let table = table_name();
        create_with_index(&client, &table).await;
        Arc::new(DynamoDbLeaseStore::new(&client, table)) as Arc<dyn LeaseStore>
    });
    let told: Vec<_> = failures.await.iter().map(ToString::to_string).collect();
    assert!(told.is_empty(), "{}", told.join("\n"));
}

#[tokio::test]
async fn a_table_read_in_segments_lists_the_same() {
    let Some(client) = client() else { return };
    let store = DynamoDbLeaseStore::new(&client, table_name()).with_scan_segments(4);
    store.prepare().await.unwrap();
    for index in 0..40 {
        let key = LeaseKey::from(&kcl::ShardId::from_index(index));
        assert!(store.create_if_absent(NewLease::child(key, [], None)).await.unwrap());
    }
    let mut keys: Vec<_> = store.list().await.unwrap().into_iter().map(|lease| lease.key).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 40);
}

/// What others keep in the table stays as it is, and broken items hold up nothing.
#[tokio::test]
async fn foreign_attributes_stay_and_foreign_items_are_passed_over() {
    let Some(client) = client() else { return };
    let table = table_name();
    let store = DynamoDbLeaseStore::new(&client, table.as_str());
    store.prepare().await.unwrap();
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let number = |digits: &str| AttributeValue::N(digits.to_owned());
    let javas = client
        .put_item()
        .table_name(&table)
        .item("leaseKey", text("shardId-000000000001"))
        .item("leaseCounter", number("7"))
        .item("ownerSwitchesSinceCheckpoint", number("0"))
        .item("checkpoint", text("TRIM_HORIZON"))
        .item("checkpointSubSequenceNumber", number("0"))
        .item("throughputKBps", number("12.5"))
        .item("tomorrows", AttributeValue::Ss(vec!["x".into()]));
    javas.send().await.unwrap();
    let leader = client.put_item().table_name(&table).item("leaseKey", text("Leader"));
    leader.item("entityType", text("LEADER")).item("ownerName", text("w")).send().await.unwrap();
    let broken = client.put_item().table_name(&table).item("leaseKey", text("shardId-000000000002"));
    broken.item("leaseCounter", number("1")).item("checkpoint", text("soon")).send().await.unwrap();

    let leases = store.list().await.unwrap();
    assert_eq!((leases.len(), store.skipped_items()), (1, 1));
    assert_eq!(store.get(&LeaseKey::new("Leader")).await.unwrap(), None);
    let error = store.get(&LeaseKey::new("shardId-000000000002")).await.unwrap_err();
    assert!(
        matches!(error, LeaseStoreError::Corrupt { .. }) && error.to_string().contains("soon"),
        "{error}"
    );

    let (key, worker) = (leases[0].key.clone(), WorkerId::new("ann"));
    assert!(store.take(&key, leases[0].counter, &worker).await.unwrap().is_applied());
    let update = kcl::lease::CheckpointUpdate { checkpoint: Checkpoint::Latest, pending: None };
    assert!(store.checkpoint(&key, leases[0].counter.next(), update).await.unwrap().is_applied());
    let item = client.get_item().table_name(&table).key("leaseKey", text(key.as_str())).send().await.unwrap();
    let item = item.item.unwrap();
    assert_eq!(item["throughputKBps"], number("12.5"));
    assert_eq!(item["tomorrows"], AttributeValue::Ss(vec!["x".into()]));
    assert_eq!(item["leaseCounter"], number("9"));
    assert_eq!(item["leaseOwner"], text("ann"));
    assert!(!item.contains_key("entityType"), "never added to an item that exists");
}

#[tokio::test]
async fn a_table_with_another_key_is_refused_in_a_sentence() {
    let Some(client) = client() else { return };
    let table = table_name();
    let part = |name: &str, key: KeyType| {
        KeySchemaElement::builder().attribute_name(name).key_type(key).build().unwrap()
    };
    let typed = |name: &str, kind: ScalarAttributeType| {
        AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build().unwrap()
    };
    let created = client
        .create_table()
        .table_name(&table)
        .billing_mode(BillingMode::PayPerRequest)
        .key_schema(part("customer", KeyType::Hash))
        .key_schema(part("at", KeyType::Range))
        .attribute_definitions(typed("customer", ScalarAttributeType::S))
        .attribute_definitions(typed("at", ScalarAttributeType::N));
    created.send().await.unwrap();
    let error = DynamoDbLeaseStore::new(&client, table.as_str()).prepare().await.unwrap_err();
    assert!(!error.is_retryable());
    let told = error.to_string();
    assert!(told.contains("customer (HASH) and at (RANGE, not text)") && told.contains("leaseKey"), "{told}");
}

#[tokio::test]
async fn a_missing_table_that_may_not_be_created_is_defined_for_whoever_may() {
    let Some(client) = client() else { return };
    let table = table_name();
    let store = DynamoDbLeaseStore::new(&client, table.as_str()).with_table_creation(false);
    let error = store.prepare().await.unwrap_err();
    assert!(matches!(error, LeaseStoreError::TableMissing { .. }) && !error.is_retryable());
    let command = format!(
        "aws dynamodb create-table --table-name {table} --attribute-definitions AttributeName=leaseKey,AttributeType=S \
         --key-schema AttributeName=leaseKey,KeyType=HASH --billing-mode PAY_PER_REQUEST"
    );
    assert!(error.to_string().contains(&command), "{error}");
}
