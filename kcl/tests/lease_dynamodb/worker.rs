//! Whole workers on tables that hold more than leases, or something else.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeDefinition, KeySchemaElement, KeyType, ScalarAttributeType};
use kcl::{
    BoxError, ConsumerConfig, ConsumerEvent, DynamoDbLeaseStore, EventSink, InitializationInput,
    LeaseLostInput, LeaseStore, ProcessRecordsInput, RecordProcessor, Scheduler, ShardEndedInput, ShardId,
    ShutdownRequestedInput, StartError,
};
use kinesis_sim::{Sim, SimDynamoDb};
use serde_json::json;

struct Idle;

#[kcl::async_trait]
impl RecordProcessor for Idle {
    async fn initialize(&mut self, _: InitializationInput) -> Result<(), BoxError> {
        Ok(())
    }
    async fn process_records(&mut self, input: ProcessRecordsInput) -> Result<(), BoxError> {
        Ok(input.checkpointer.checkpoint().await?)
    }
    async fn lease_lost(&mut self, _: LeaseLostInput) {}
    async fn shard_ended(&mut self, input: ShardEndedInput) -> Result<(), BoxError> {
        Ok(input.checkpointer.checkpoint().await?)
    }
    async fn shutdown_requested(&mut self, _: ShutdownRequestedInput) -> Result<(), BoxError> {
        Ok(())
    }
}

fn config() -> ConsumerConfig {
    ConsumerConfig::new("billing", "orders", "ann").with_seed(1)
}

#[tokio::test(start_paused = true)]
async fn a_broken_lease_is_told_once_and_holds_up_no_other() {
    let (sim, tables) = (Sim::new(1), SimDynamoDb::new(1));
    sim.create_stream("orders", 3);
    let store = DynamoDbLeaseStore::new(&tables.client(), "billing");
    store.prepare().await.unwrap();
    let row = |checkpoint: &str| {
        json!({ "leaseKey": { "S": "shardId-000000000001" }, "leaseCounter": { "N": "1" }, "checkpoint": { "S": checkpoint },
            "ownerSwitchesSinceCheckpoint": { "N": "0" }, "checkpointSubSequenceNumber": { "N": "0" } })
    };
    tables.put_item("billing", row("one hundred"));
    tables.put_item("billing", json!({ "leaseKey": { "S": "Leader" }, "entityType": { "S": "LEADER" } }));
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&told);
    let hook = EventSink::hook(move |event| {
        if let ConsumerEvent::LeaseUnreadable { error } = event {
            heard.lock().unwrap().push(error.to_string());
        }
    });
    let worker =
        Scheduler::start(&sim.client(), config().with_events(hook), Arc::new(store), |_| Idle).await.unwrap();
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert_eq!(
        worker.shards().into_iter().map(|shard| shard.shard_id).collect::<Vec<_>>(),
        [ShardId::from_index(0), ShardId::from_index(2)]
    );
    {
        let told = told.lock().unwrap();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("shardId-000000000001") && told[0].contains("one hundred"), "{told:?}");
    }
    tables.put_item("billing", row("TRIM_HORIZON"));
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert_eq!(worker.shards().len(), 3, "once it is whole it is read");
    worker.shutdown(Duration::from_secs(30)).await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_does_not_start_on_a_table_of_something_else() {
    let (sim, tables) = (Sim::new(1), SimDynamoDb::new(1));
    sim.create_stream("orders", 1);
    let client = tables.client();
    let key = KeySchemaElement::builder().attribute_name("invoice").key_type(KeyType::Hash).build().unwrap();
    let number = ScalarAttributeType::N;
    let attribute =
        AttributeDefinition::builder().attribute_name("invoice").attribute_type(number).build().unwrap();
    let create = client.create_table().table_name("billing").key_schema(key).attribute_definitions(attribute);
    create.send().await.unwrap();
    let store = Arc::new(DynamoDbLeaseStore::new(&client, "billing"));
    let error = Scheduler::start(&sim.client(), config(), store, |_| Idle).await.unwrap_err();
    assert!(matches!(error, StartError::Store { .. }));
    let told = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
    assert!(told.contains("invoice (HASH, not text)") && told.contains("another table name"), "{told}");
    assert!(tables.items("billing").is_empty());
}
