//! The lease table of the Java library, in DynamoDB.
//!
//! A Rust worker and a Java worker can share one table: names, types and conditions are Java's, and attributes that this
//! version does not know stay as they are. Items that are no leases are passed over, broken ones are counted and told once.
//!
//! Every write is one conditional request, and is not repeated here: a repeated write that had succeeded the first time
//! would look refused. What a lost answer means is for the worker's rules ([`LeaseStore`](super::LeaseStore)).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{ReturnValue, ReturnValuesOnConditionCheckFailure};

use super::compare_and_set::lease_store_by_operation;
use super::{Lease, LeaseCounter, LeaseKey, LeaseStoreError, NewLease, Operation, Stamp, WorkerId, Write};

// One lease as an item: pure.
mod item;

// Any bytes as an item, for fuzzing.
pub mod fuzzing;

// An operation as one conditional update: pure.
mod change;

// Reading the whole table.
mod listing;

// Finding, checking and creating the table.
mod table;

// What an error means.
mod error;

use change::Change;
use error::Call;
use item::{BrokenItem, Item, LEASE_KEY};

/// How often a take starts over because the owners changed between read and write.
const ROUNDS: u32 = 5;

/// How a table that this store creates is paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Billing {
    /// By request. The default, as the Java library's.
    #[default]
    PayPerRequest,
    /// By the hour, for so many units a second.
    Provisioned {
        /// Read units a second: half of one reads an item of up to 4 kB. At least 1.
        read_units: u32,
        /// Write units a second: one writes an item of up to 1 kB. At least 1.
        write_units: u32,
    },
}

/// A lease store in a DynamoDB table, which workers of the Java library can share. Clones are the same store.
///
/// The table is created if there is none; how is said by the `with_` methods, which have no effect on a table that exists.
/// A worker needs the permissions `dynamodb:DescribeTable`, `GetItem`, `PutItem`, `UpdateItem`, `DeleteItem` and `Scan`
/// on the table, and `CreateTable` (with `TagResource` and `UpdateContinuousBackups` if asked for) to create it.
///
/// ```no_run
/// // Needs credentials; `client` is an `aws_sdk_dynamodb::Client`.
/// # fn example(client: aws_sdk_dynamodb::Client) {
/// // By convention the table has the application's name.
/// let store = kcl::lease::DynamoDbLeaseStore::new(&client, "billing").with_deletion_protection(true);
/// # let _ = store;
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct DynamoDbLeaseStore {
    client: Client,
    table_name: Arc<str>,
    /// The table in a sentence.
    name: Arc<str>,
    may_create: bool,
    billing: Billing,
    tags: BTreeMap<String, String>,
    point_in_time_recovery: bool,
    deletion_protection: bool,
    creation_timeout: Duration,
    scan_segments: u32,
    /// As the latest listing saw them.
    skipped: Arc<Mutex<Vec<BrokenItem>>>,
}

impl DynamoDbLeaseStore {
    /// A store in the table of that name, which by the Java library's convention is the application's.
    ///
    /// `client` brings region, credentials and connections. Its retries are switched off, because a write that is repeated
    /// below this store would look refused; one request may take 10 s, unless the client has a limit of its own.
    pub fn new(client: &Client, table_name: impl Into<Arc<str>>) -> Self {
        let table_name = table_name.into();
        Self {
            client: without_retries(client, Duration::from_secs(10)),
            name: format!("lease table \"{table_name}\"").into(),
            table_name,
            may_create: true,
            billing: Billing::default(),
            tags: BTreeMap::new(),
            point_in_time_recovery: false,
            deletion_protection: false,
            creation_timeout: Duration::from_mins(10),
            scan_segments: 1,
            skipped: Arc::default(),
        }
    }

    /// Whether the table may be created. Default yes. With no, a missing table is an error that says how to create it.
    #[must_use]
    pub fn with_table_creation(mut self, may_create: bool) -> Self {
        self.may_create = may_create;
        self
    }

    /// How a new table is paid for. Default [`Billing::PayPerRequest`].
    #[must_use]
    pub fn with_billing(mut self, billing: Billing) -> Self {
        self.billing = billing;
        self
    }

    /// One more tag of a new table.
    #[must_use]
    pub fn with_tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.insert(key.into(), value.into());
        self
    }

    /// Whether a new table can be restored to any point of the last days. Default no.
    #[must_use]
    pub fn with_point_in_time_recovery(mut self, on: bool) -> Self {
        self.point_in_time_recovery = on;
        self
    }

    /// Whether a new table is protected from deletion. Default no.
    #[must_use]
    pub fn with_deletion_protection(mut self, on: bool) -> Self {
        self.deletion_protection = on;
        self
    }

    /// How long to wait for a table that is being created. Default 10 min, as the Java library.
    #[must_use]
    pub fn with_creation_timeout(mut self, timeout: Duration) -> Self {
        self.creation_timeout = timeout;
        self
    }

    /// In how many parts, at the same time, the table is read. Default 1; 0 counts as 1, and more than 32 as 32.
    ///
    /// One request reads up to 1 MB, some 2,500 leases, one after the other; a part is worth its request from there on.
    #[must_use]
    pub fn with_scan_segments(mut self, count: u32) -> Self {
        self.scan_segments = count.clamp(1, 32);
        self
    }

    /// How long one request may take. Default 10 s, or the client's own limit if it has one.
    ///
    /// A worker gives a call up after a fifth of its failover time, so this matters for listings and at the start.
    #[must_use]
    pub fn with_request_timeout(mut self, timeout: Duration) -> Self {
        let timeouts = self.client.config().timeout_config().cloned().unwrap_or_else(TimeoutConfig::disabled);
        let timeouts = timeouts.to_builder().operation_timeout(timeout).build();
        self.client = Client::from_conf(self.client.config().to_builder().timeout_config(timeouts).build());
        self
    }

    /// The table's name.
    pub fn table_name(&self) -> &str {
        &self.table_name
    }

    /// How many items the latest listing passed over because they could not be read as leases. A worker tells each in an
    /// event. Items that are no leases at all, which newer versions of the Java library keep in the table, do not count.
    pub fn skipped_items(&self) -> usize {
        self.skipped.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn broken(&self) -> Vec<LeaseStoreError> {
        let skipped = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
        skipped.iter().map(|one| self.corrupt(one.clone())).collect()
    }

    fn corrupt(&self, BrokenItem { key, what }: BrokenItem) -> LeaseStoreError {
        LeaseStoreError::Corrupt { store: Arc::clone(&self.name), key: key.into(), what: what.into() }
    }

    async fn load(&self, key: &LeaseKey) -> Result<Option<Lease>, LeaseStoreError> {
        self.read_row(key, true).await
    }

    /// At half the price.
    async fn glance(&self, key: &LeaseKey) -> Result<Option<Lease>, LeaseStoreError> {
        self.read_row(key, false).await
    }

    async fn read_row(&self, key: &LeaseKey, newest: bool) -> Result<Option<Lease>, LeaseStoreError> {
        let request = self
            .client
            .get_item()
            .table_name(&*self.table_name)
            .key(LEASE_KEY, item::text(key.as_str()))
            .consistent_read(newest);
        let answer = request.send().await.map_err(|error| error::in_words(&self.name, Call::Read, error))?;
        answer.item.as_ref().map_or(Ok(None), |item| self.read(item))
    }

    fn read(&self, item: &Item) -> Result<Option<Lease>, LeaseStoreError> {
        item::read(item).map_err(|broken| self.corrupt(broken))
    }

    async fn execute(
        &self,
        key: &LeaseKey,
        operation: Operation,
        stamp: Option<&Stamp>,
    ) -> Result<Write, LeaseStoreError> {
        match operation {
            Operation::Create(new) => self.create(new).await,
            Operation::Renew { expected, during_handoff } => {
                self.update(key, &Change::renew(expected, during_handoff).stamped(stamp)).await
            }
            Operation::Take { expected, worker } => self.take_row(key, expected, &worker, stamp).await,
            Operation::Assign { expected, worker } => {
                self.update(key, &Change::assign(&expected, &worker)).await
            }
            Operation::StartHandoff { from, to } if from == to => self.refuse(key).await,
            Operation::StartHandoff { from, to } => {
                self.update(key, &Change::start_handoff(&from, &to)).await
            }
            Operation::EndHandoff { expected, .. } if expected.checkpoint_owner.is_none() => {
                self.refuse(key).await
            }
            Operation::EndHandoff { expected, owner } => {
                self.update(key, &Change::end_handoff(&expected, &owner)).await
            }
            Operation::Release { expected, counter } => {
                self.update(key, &Change::release(&expected, counter)).await
            }
            Operation::Checkpoint { expected, update } => {
                self.update(key, &Change::checkpoint(expected, &update).stamped(stamp)).await
            }
            Operation::UpdateMeta(update) => match Change::note(&update) {
                Some(change) => self.update(key, &change).await,
                None => Ok(self.load(key).await?.map_or(Write::Refused(None), Write::Applied)),
            },
            Operation::Delete { expected } => self.delete_row(key, expected).await,
        }
    }

    async fn create(&self, new: NewLease) -> Result<Write, LeaseStoreError> {
        let condition = Change::if_new();
        let request = self
            .client
            .put_item()
            .table_name(&*self.table_name)
            .set_item(Some(item::created(&new)))
            .condition_expression(condition.condition())
            .set_expression_attribute_names(condition.names());
        match request.send().await {
            Ok(_) => Ok(Write::Applied(Lease::created(new))),
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(_)) => Ok(Write::Refused(None)),
                _ => Err(error::in_words(&self.name, Call::Write, error)),
            },
        }
    }

    /// Read first: whether the take counts as a switch of owners depends on them, and no expression can say so.
    async fn take_row(
        &self,
        key: &LeaseKey,
        expected: LeaseCounter,
        worker: &WorkerId,
        stamp: Option<&Stamp>,
    ) -> Result<Write, LeaseStoreError> {
        let mut row = self.load(key).await?;
        for _ in 0..ROUNDS {
            let Some(seen) = row.as_ref().filter(|row| row.counter == expected) else {
                return Ok(Write::Refused(row));
            };
            match self.update(key, &Change::take(expected, worker, &seen.owners()).stamped(stamp)).await? {
                Write::Refused(now) => row = now,
                applied @ Write::Applied(_) => return Ok(applied),
            }
        }
        Err(LeaseStoreError::Throttled { store: format!("the row of lease {key}").into() })
    }

    async fn update(&self, key: &LeaseKey, change: &Change) -> Result<Write, LeaseStoreError> {
        let request = self
            .client
            .update_item()
            .table_name(&*self.table_name)
            .key(LEASE_KEY, item::text(key.as_str()))
            .update_expression(change.update())
            .condition_expression(change.condition())
            .set_expression_attribute_names(change.names())
            .set_expression_attribute_values(change.values())
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match request.send().await {
            Ok(answer) => self.applied(key, answer.attributes.as_ref()),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                    self.refused(key, failed.item()).await
                }
                _ => Err(error::in_words(&self.name, Call::Write, error)),
            },
        }
    }

    async fn delete_row(&self, key: &LeaseKey, expected: LeaseCounter) -> Result<Write, LeaseStoreError> {
        let condition = Change::if_counter(expected);
        let request = self
            .client
            .delete_item()
            .table_name(&*self.table_name)
            .key(LEASE_KEY, item::text(key.as_str()))
            .condition_expression(condition.condition())
            .set_expression_attribute_names(condition.names())
            .set_expression_attribute_values(condition.values())
            .return_values(ReturnValue::AllOld)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match request.send().await {
            Ok(answer) => self.applied(key, answer.attributes.as_ref()),
            Err(error) => match error.as_service_error() {
                Some(DeleteItemError::ConditionalCheckFailedException(failed)) => {
                    self.refused(key, failed.item()).await
                }
                _ => Err(error::in_words(&self.name, Call::Write, error)),
            },
        }
    }

    fn applied(&self, key: &LeaseKey, attributes: Option<&Item>) -> Result<Write, LeaseStoreError> {
        let row = attributes.map_or(Ok(None), |item| self.read(item))?;
        row.map(Write::Applied).ok_or_else(|| LeaseStoreError::Corrupt {
            store: Arc::clone(&self.name),
            key: key.as_str().into(),
            what: "the answer to a write holds no lease: look at the item".into(),
        })
    }

    /// The row as the refusal saw it. Some servers do not send it, and none can if there is no such row.
    async fn refused(&self, key: &LeaseKey, item: Option<&Item>) -> Result<Write, LeaseStoreError> {
        match item.filter(|item| !item.is_empty()) {
            Some(item) => Ok(Write::Refused(self.read(item)?)),
            None => self.refuse(key).await,
        }
    }

    async fn refuse(&self, key: &LeaseKey) -> Result<Write, LeaseStoreError> {
        Ok(Write::Refused(self.load(key).await?))
    }
}

lease_store_by_operation!([] DynamoDbLeaseStore, broken_by broken, peeked_by glance);

/// The caller's client with one attempt per call, and a limit on its time if it has none.
fn without_retries(client: &Client, timeout: Duration) -> Client {
    let given = client.config();
    let timeouts = given.timeout_config().cloned().unwrap_or_else(TimeoutConfig::disabled);
    let limited = timeouts.operation_timeout().is_some() || timeouts.operation_attempt_timeout().is_some();
    let mut builder = given.to_builder().retry_config(RetryConfig::disabled());
    if !limited {
        builder = builder.timeout_config(timeouts.to_builder().operation_timeout(timeout).build());
    }
    Client::from_conf(builder.build())
}
