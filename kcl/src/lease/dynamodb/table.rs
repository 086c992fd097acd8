//! The table itself: found, checked, created, waited for.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, PointInTimeRecoverySpecification,
    ProvisionedThroughput, ScalarAttributeType, TableDescription, TableStatus, Tag,
};
use kinesis_shard::Clock;

use super::error::{self, Call};
use super::item::LEASE_KEY;
use super::{Billing, DynamoDbLeaseStore};
use crate::lease::LeaseStoreError;

/// The first pause between two looks at a table that is being made; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

const ACCESS_DENIED: &str = "AccessDeniedException";

impl DynamoDbLeaseStore {
    /// Finds the table, or creates it, and waits until it can be used.
    pub(super) async fn prepare_table(&self) -> Result<(), LeaseStoreError> {
        let clock = Clock::default();
        let deadline = clock.now() + self.creation_timeout;
        let mut pause = FIRST_PAUSE;
        let mut created = false;
        loop {
            match self.describe().await? {
                Some(table) => {
                    self.check_key(&table)?;
                    match table.table_status() {
                        Some(TableStatus::Creating) => {}
                        Some(TableStatus::Deleting) => {
                            return Err(self.unavailable("it is being deleted: wait, or use another table"));
                        }
                        Some(TableStatus::InaccessibleEncryptionCredentials) => {
                            return Err(
                                self.unusable("its encryption key cannot be used: restore access to the key")
                            );
                        }
                        Some(TableStatus::Archiving | TableStatus::Archived) => {
                            return Err(self.unusable("it is archived: restore it, or use another table"));
                        }
                        // Usable while an index or its capacity changes.
                        _ => break,
                    }
                }
                None if created => {} // Not visible yet.
                None => {
                    self.create_table().await?;
                    created = true;
                }
            }
            pause = self.wait(&clock, deadline, pause).await?;
        }
        if created && self.point_in_time_recovery {
            self.switch_on_recovery(&clock, deadline).await?;
        }
        Ok(())
    }

    async fn wait(
        &self,
        clock: &Clock,
        deadline: Instant,
        pause: Duration,
    ) -> Result<Duration, LeaseStoreError> {
        if clock.now() + pause > deadline {
            let seconds = self.creation_timeout.as_secs();
            return Err(self.unavailable(&format!(
                "it cannot be used yet after {seconds} s: look at it in the console"
            )));
        }
        clock.sleep(pause).await;
        Ok((pause * 2).min(LONGEST_PAUSE))
    }

    async fn describe(&self) -> Result<Option<TableDescription>, LeaseStoreError> {
        match self.client.describe_table().table_name(&*self.table_name).send().await {
            Ok(answer) => Ok(answer.table),
            Err(error) if error::code(&error) == Some("ResourceNotFoundException") => Ok(None),
            Err(error) if error::code(&error) == Some(ACCESS_DENIED) => Err(self.unusable(&format!(
                "it may not be looked at: grant dynamodb:DescribeTable on it, beside {PERMISSIONS}"
            ))),
            Err(error) => Err(error::in_words(&self.name, Call::Read, error)),
        }
    }

    /// Everything in a lease table is found by this one key.
    fn check_key(&self, table: &TableDescription) -> Result<(), LeaseStoreError> {
        let is_text = |name: &str| {
            table
                .attribute_definitions()
                .iter()
                .any(|one| one.attribute_name() == name && *one.attribute_type() == ScalarAttributeType::S)
        };
        if let [key] = table.key_schema()
            && key.attribute_name() == LEASE_KEY
            && *key.key_type() == KeyType::Hash
            && is_text(LEASE_KEY)
        {
            return Ok(());
        }
        let parts: Vec<_> = table
            .key_schema()
            .iter()
            .map(|part| {
                let kind = if is_text(part.attribute_name()) { "" } else { ", not text" };
                format!("{} ({}{kind})", part.attribute_name(), part.key_type().as_str())
            })
            .collect();
        Err(self.unusable(&format!(
            "its key is {}, a lease table's is {LEASE_KEY} (HASH) of type text alone: it belongs to something else, \
             use another table name",
            parts.join(" and ")
        )))
    }

    async fn create_table(&self) -> Result<(), LeaseStoreError> {
        if !self.may_create {
            return Err(self.missing("this store was told not to create it"));
        }
        let key = KeySchemaElement::builder().attribute_name(LEASE_KEY).key_type(KeyType::Hash).build();
        let attribute = AttributeDefinition::builder()
            .attribute_name(LEASE_KEY)
            .attribute_type(ScalarAttributeType::S)
            .build();
        let mut request = self
            .client
            .create_table()
            .table_name(&*self.table_name)
            .key_schema(key.expect("name and type are given"))
            .attribute_definitions(attribute.expect("name and type are given"));
        request = match self.billing {
            Billing::PayPerRequest => request.billing_mode(BillingMode::PayPerRequest),
            Billing::Provisioned { read_units, write_units } => {
                let throughput = ProvisionedThroughput::builder()
                    .read_capacity_units(read_units.into())
                    .write_capacity_units(write_units.into())
                    .build();
                request
                    .billing_mode(BillingMode::Provisioned)
                    .provisioned_throughput(throughput.expect("both are given"))
            }
        };
        if self.deletion_protection {
            request = request.deletion_protection_enabled(true);
        }
        for (key, value) in &self.tags {
            let tag = Tag::builder().key(key).value(value).build();
            request = request.tags(tag.expect("key and value are given"));
        }
        match request.send().await {
            Ok(_) => {
                tracing::info!(table = %self.table_name, "lease table created");
                Ok(())
            }
            // Another worker was quicker.
            Err(error) if error::code(&error) == Some("ResourceInUseException") => Ok(()),
            Err(error) if error::code(&error) == Some(ACCESS_DENIED) => {
                Err(self.missing("it does not exist, and the permission dynamodb:CreateTable is missing"))
            }
            Err(error) => Err(error::in_words(&self.name, Call::Write, error)),
        }
    }

    async fn switch_on_recovery(&self, clock: &Clock, deadline: Instant) -> Result<(), LeaseStoreError> {
        let mut pause = FIRST_PAUSE;
        loop {
            let on = PointInTimeRecoverySpecification::builder().point_in_time_recovery_enabled(true).build();
            let request = self
                .client
                .update_continuous_backups()
                .table_name(&*self.table_name)
                .point_in_time_recovery_specification(on.expect("it is given"));
            match request.send().await {
                Ok(_) => return Ok(()),
                // Backups of a new table are being switched on.
                Err(error) if error::code(&error) == Some("ContinuousBackupsUnavailableException") => {
                    pause = self.wait(clock, deadline, pause).await?;
                }
                Err(error) if error::code(&error) == Some(ACCESS_DENIED) => {
                    return Err(self.unusable(
                        "it was created, but point-in-time recovery may not be switched on: grant \
                         dynamodb:UpdateContinuousBackups, or do not ask for it",
                    ));
                }
                Err(error) => return Err(error::in_words(&self.name, Call::Write, error)),
            }
        }
    }

    /// The command that creates the table, for somebody who may.
    fn definition(&self) -> String {
        let table = &self.table_name;
        let mut command = format!(
            "aws dynamodb create-table --table-name {table} \
             --attribute-definitions AttributeName={LEASE_KEY},AttributeType=S \
             --key-schema AttributeName={LEASE_KEY},KeyType=HASH"
        );
        let billing = match self.billing {
            Billing::PayPerRequest => " --billing-mode PAY_PER_REQUEST".to_owned(),
            Billing::Provisioned { read_units, write_units } => format!(
                " --billing-mode PROVISIONED --provisioned-throughput \
                 ReadCapacityUnits={read_units},WriteCapacityUnits={write_units}"
            ),
        };
        command += &billing;
        if self.deletion_protection {
            command += " --deletion-protection-enabled";
        }
        if !self.tags.is_empty() {
            command += " --tags";
            for (key, value) in &self.tags {
                let written = write!(command, " 'Key={key},Value={value}'");
                written.expect("a string takes everything");
            }
        }
        if self.point_in_time_recovery {
            let recovery = format!(
                " && aws dynamodb wait table-exists --table-name {table} && aws dynamodb update-continuous-backups \
                 --table-name {table} --point-in-time-recovery-specification PointInTimeRecoveryEnabled=true"
            );
            command += &recovery;
        }
        command
    }

    fn missing(&self, why: &str) -> LeaseStoreError {
        let what = format!("{why}: create it in the client's region with `{}`", self.definition());
        LeaseStoreError::TableMissing { store: std::sync::Arc::clone(&self.name), what: what.into() }
    }

    fn unusable(&self, what: &str) -> LeaseStoreError {
        LeaseStoreError::Unusable {
            store: std::sync::Arc::clone(&self.name),
            what: what.into(),
            source: None,
        }
    }

    fn unavailable(&self, what: &str) -> LeaseStoreError {
        LeaseStoreError::Unavailable {
            store: std::sync::Arc::clone(&self.name),
            what: what.into(),
            may_have_been_written: false,
            source: None,
        }
    }
}

/// What a worker needs on a table that exists.
const PERMISSIONS: &str = "dynamodb:GetItem, PutItem, UpdateItem, DeleteItem and Scan";
