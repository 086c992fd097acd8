//! Stores that keep the lease store's contract.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, helpers included")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use kcl::lease::{
    CompareAndSet, CompareAndSetStore, Lease, LeaseKey, LeaseStore, LeaseStoreError, MemoryLeaseStore,
    SqliteLeaseStore, conformance,
};

fn assert_conforms(failures: &[conformance::Failure]) {
    let told: Vec<_> = failures.iter().map(ToString::to_string).collect();
    assert!(failures.is_empty(), "{}", told.join("\n"));
}

#[tokio::test]
async fn memory_conforms() {
    let failures = conformance::run(|| async { Arc::new(MemoryLeaseStore::new()) as Arc<dyn LeaseStore> });
    assert_conforms(&failures.await);
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = 0;
    let failures = conformance::run(|| {
        files += 1;
        let path = folder.path().join(format!("{files}.db"));
        async move { Arc::new(SqliteLeaseStore::open(path, "billing").unwrap()) as Arc<dyn LeaseStore> }
    });
    assert_conforms(&failures.await);
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_conforms_with_many_applications_in_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases.db");
    let mut applications = 0;
    let failures = conformance::run(|| {
        applications += 1;
        let store = SqliteLeaseStore::open(&path, format!("application-{applications}")).unwrap();
        async move { Arc::new(store) as Arc<dyn LeaseStore> }
    });
    assert_conforms(&failures.await);
}

/// What a user writes for a database of their own.
#[derive(Debug, Default)]
struct TheirDatabase(Mutex<BTreeMap<LeaseKey, Lease>>);

#[async_trait]
impl CompareAndSet for TheirDatabase {
    async fn prepare(&self) -> Result<(), LeaseStoreError> {
        Ok(())
    }

    async fn load_all(&self) -> Result<Vec<Lease>, LeaseStoreError> {
        Ok(self.0.lock().unwrap().values().cloned().collect())
    }

    async fn load(&self, key: &LeaseKey) -> Result<Option<Lease>, LeaseStoreError> {
        let row = self.0.lock().unwrap().get(key).cloned();
        // Others come in between read and write.
        tokio::task::yield_now().await;
        Ok(row)
    }

    async fn replace(
        &self,
        key: &LeaseKey,
        expected: Option<&Lease>,
        new: Option<&Lease>,
    ) -> Result<bool, LeaseStoreError> {
        let mut rows = self.0.lock().unwrap();
        if rows.get(key) != expected {
            return Ok(false);
        }
        match new {
            Some(row) => rows.insert(key.clone(), row.clone()),
            None => rows.remove(key),
        };
        Ok(true)
    }
}

#[tokio::test]
async fn any_database_with_a_conditional_replace_conforms() {
    let failures = conformance::run(|| async {
        Arc::new(CompareAndSetStore::new(TheirDatabase::default())) as Arc<dyn LeaseStore>
    });
    assert_conforms(&failures.await);
}
