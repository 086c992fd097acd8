//! The same table in the double of DynamoDB, under its own SDK client: what goes wrong goes wrong with single requests, and
//! what the store makes of that is the shipped store's.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use kcl::WorkerId;
use kcl::lease::{DynamoDbLeaseStore, Lease, LeaseCounter, LeaseKey, NewLease};
use kinesis_shard::{Checkpoint, ShardId};
use kinesis_sim::{Rule, RuleGuard, SimDynamoDb, SimDynamoDbHttpClient, Verdict};
use serde_json::Value;

use super::table::{Rows, TableFault, WorkerTable};
use crate::common::history::Event;
use crate::common::{World, streams};

/// The double, whose writes are written down, and kept in `rows`.
pub fn tables(world: &World, rows: &Rows) -> SimDynamoDb {
    let tables = SimDynamoDb::new(world.seed);
    assert_eq!((tables.elapsed_millis(), world.now_millis()), (0, 0), "they count from one moment");
    let (world, rows) = (world.clone(), Arc::clone(rows));
    tables.watch_writes(move |write| {
        let (before, after) = (write.before.as_ref().map(lease), write.after.as_ref().map(lease));
        let key = LeaseKey::new(write.key.as_str());
        let mut rows = rows.lock().expect("no actor panics in it");
        match &after {
            Some(row) => rows.insert(key.clone(), row.clone()),
            None => rows.remove(&key),
        };
        drop(rows);
        world.record(Event::TableWrite {
            worker: write.caller.to_string(),
            key: streams::key(&key),
            sent: write.sent_at_millis,
            before: before.map(|row| Box::new(streams::named(&row))),
            after: after.map(|row| Box::new(streams::named(&row))),
        });
    });
    tables
}

/// The row of an item, read apart from the code that is tested.
fn lease(item: &Value) -> Lease {
    let value = |name: &str, kind: &str| item.get(name)?.get(kind)?.as_str();
    let number = |name: &str| value(name, "N").map_or(0, |digits| digits.parse().expect("a number"));
    let shards = |name: &str| -> Vec<ShardId> {
        let names = item.get(name).and_then(|value| value.get("SS")?.as_array());
        names.into_iter().flatten().filter_map(|name| Some(ShardId::new(name.as_str()?))).collect()
    };
    let key = LeaseKey::new(value("leaseKey", "S").expect("an item has a key"));
    let text = value("checkpoint", "S").expect("a lease has a checkpoint");
    let mut lease = Lease::created(NewLease::child(key, shards("parentShardId"), None));
    lease.checkpoint = Checkpoint::parse(text, number("checkpointSubSequenceNumber")).expect("it is one");
    lease.owner = value("leaseOwner", "S").map(WorkerId::new);
    lease.counter = LeaseCounter::new(number("leaseCounter"));
    lease.checkpoint_owner = value("checkpointOwner", "S").map(WorkerId::new);
    lease.children = shards("childShardIds");
    lease
}

/// The way of one worker to the double.
#[derive(Debug, Clone)]
struct TableNetwork {
    table: WorkerTable,
    tables: SimDynamoDb,
    inner: SimDynamoDbHttpClient,
}

pub fn store(table: &WorkerTable, tables: &SimDynamoDb) -> DynamoDbLeaseStore {
    let name = table.worker();
    let network =
        TableNetwork { table: table.clone(), tables: tables.clone(), inner: tables.http_client(name) };
    let config = tables.client_named(name).config().to_builder().http_client(network).build();
    DynamoDbLeaseStore::new(&aws_sdk_dynamodb::Client::from_conf(config), "tests")
}

impl HttpClient for TableNetwork {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for TableNetwork {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let this = self.clone();
        HttpConnectorFuture::new(async move {
            let target = request.headers().get("x-amz-target").unwrap_or_default();
            let answer = if ["PutItem", "UpdateItem", "DeleteItem"].iter().any(|name| target.ends_with(name))
            {
                this.write(request).await
            } else if this.table.is_cut() {
                return pending().await;
            } else {
                this.inner.call(request).await
            };
            this.table.settled().await;
            answer
        })
    }
}

impl TableNetwork {
    async fn write(&self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        if let Some(takes_effect) = self.table.last_write() {
            if takes_effect {
                drop(self.inner.call(request).await);
            }
            self.table.crash.notify_one();
            return pending().await;
        }
        let millis = Duration::from_millis;
        let verdict = match self.table.next_fault() {
            None => return self.inner.call(request).await,
            Some(TableFault::Twice(late)) => {
                let (again, inner) = (request.try_clone().expect("a body in memory"), self.inner.clone());
                let answer = self.inner.call(request).await;
                tokio::spawn(async move {
                    tokio::time::sleep(millis(late)).await;
                    drop(inner.call(again).await);
                });
                return answer;
            }
            Some(TableFault::SlowAnswer(late)) => {
                let answer = self.inner.call(request).await;
                tokio::time::sleep(millis(late)).await;
                return answer;
            }
            Some(TableFault::Throttle) => Verdict::Throttle,
            Some(TableFault::LoseRequest | TableFault::Hang) => Verdict::LoseRequest,
            Some(TableFault::LoseAnswer | TableFault::HangAfter) => Verdict::LoseAnswer,
            Some(TableFault::Late(late) | TableFault::Slow(late)) => Verdict::Delay(millis(late)),
        };
        // It is struck at the first poll of the call, before any other call can be.
        let _struck: RuleGuard =
            self.tables.rule(Rule::any().caller(self.table.worker()).times(1).then(verdict));
        self.inner.call(request).await
    }
}
