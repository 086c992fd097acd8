//! The lease store in one file: several connections, restarts, and files that cannot be used.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, helpers included")]

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use kcl::lease::{
    CheckpointUpdate, LeaseCounter, LeaseKey, LeaseStore, LeaseStoreError, NewLease, PendingCheckpoint,
    SqliteLeaseStore, WorkerId, Write,
};
use kinesis_shard::{Checkpoint, ExtendedSequenceNumber, HashKeyRange, ShardId};
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::task::JoinSet;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn open(path: &Path) -> SqliteLeaseStore {
    SqliteLeaseStore::open(path, "billing").unwrap()
}

fn key() -> LeaseKey {
    LeaseKey::new("shardId-000000000001")
}

fn new_lease() -> NewLease {
    NewLease::child(key(), [ShardId::from_index(0)], Some(HashKeyRange::FULL))
}

fn worker(number: u32) -> WorkerId {
    WorkerId::new(format!("worker-{number}"))
}

fn refusal(path: &Path) -> String {
    let error = SqliteLeaseStore::open(path, "billing").unwrap_err();
    assert!(matches!(error, LeaseStoreError::Unusable { .. }), "{error:?}");
    assert!(!error.is_retryable());
    let text = error.to_string();
    assert!(text.contains(&path.display().to_string()), "it names the file: {text}");
    assert!(!text.contains('\n'), "one sentence: {text}");
    text
}

#[tokio::test]
async fn everything_survives_a_restart() {
    let folder = folder();
    let path = folder.path().join("leases.db");
    let store = open(&path);
    store.create_if_absent(new_lease()).await.unwrap();
    let Write::Applied(row) = store.take(&key(), LeaseCounter::ZERO, &worker(1)).await.unwrap() else {
        panic!()
    };
    let position = ExtendedSequenceNumber {
        sequence_number: "49590338271490256608559692538361571095921575989136588898".parse().unwrap(),
        sub_sequence_number: u64::MAX,
    };
    let pending =
        PendingCheckpoint { checkpoint: Checkpoint::ShardEnd, state: Some(Bytes::from_static(b"\0mine")) };
    let update = CheckpointUpdate { checkpoint: Checkpoint::At(position), pending: Some(pending) };
    let Write::Applied(row) = store.checkpoint(&key(), row.counter, update).await.unwrap() else { panic!() };
    drop(store);
    assert_eq!(open(&path).get(&key()).await.unwrap(), Some(row));
}

#[tokio::test]
async fn applications_in_one_file_do_not_see_each_other() {
    let folder = folder();
    let path = folder.path().join("leases.db");
    let (one, other) = (open(&path), SqliteLeaseStore::open(&path, "audit").unwrap());
    one.create_if_absent(new_lease()).await.unwrap();
    assert_eq!(other.list().await.unwrap(), []);
    assert!(other.create_if_absent(new_lease()).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_connections_that_take_at_once_one_wins_each_round() {
    let folder = folder();
    let path = folder.path().join("leases.db");
    open(&path).create_if_absent(new_lease()).await.unwrap();
    let stores: Vec<_> = (0..8).map(|_| Arc::new(open(&path))).collect();
    for round in 0..10 {
        let mut takes = JoinSet::new();
        for (number, store) in (0..).zip(&stores) {
            let store = Arc::clone(store);
            takes.spawn(async move { store.take(&key(), LeaseCounter::new(round), &worker(number)).await });
        }
        let answers = takes.join_all().await;
        let won = answers.iter().filter(|answer| answer.as_ref().unwrap().is_applied()).count();
        assert_eq!(won, 1, "round {round}");
    }
    let row = stores[0].get(&key()).await.unwrap().unwrap();
    assert_eq!(row.counter, LeaseCounter::new(10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writes_of_several_connections_are_all_there() {
    let folder = folder();
    let path = folder.path().join("leases.db");
    let mut tasks = JoinSet::new();
    for number in 0..4_u32 {
        let store = open(&path);
        tasks.spawn(async move {
            let key = LeaseKey::new(format!("shardId-{number:012}"));
            let new = NewLease::child(key.clone(), [], None);
            assert!(store.create_if_absent(new).await.unwrap());
            for counter in 0..25 {
                let write = store.renew(&key, LeaseCounter::new(counter), false).await.unwrap();
                assert!(write.is_applied());
            }
        });
    }
    tasks.join_all().await;
    let rows = open(&path).list().await.unwrap();
    assert_eq!(rows.iter().map(|row| row.counter.get()).collect::<Vec<_>>(), [25; 4]);
}

#[test]
fn processes_that_start_together_all_open_the_new_file() {
    for _ in 0..30 {
        let folder = folder();
        let path = folder.path().join("leases.db");
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| open(&path));
            }
        });
    }
}

#[test]
fn a_directory_is_refused() {
    let folder = folder();
    assert!(refusal(folder.path()).contains("it is a directory: name a file in it"));
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let folder = folder();
    let path = folder.path().join("notes.txt");
    let notes = "nothing that a database could read\n".repeat(100);
    std::fs::write(&path, &notes).unwrap();
    assert!(refusal(&path).contains("file is not a database"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), notes);
}

#[test]
fn a_missing_folder_is_named() {
    let folder = folder();
    assert!(
        refusal(&folder.path().join("nowhere").join("leases.db")).contains("check that its folder exists")
    );
}

#[tokio::test]
async fn a_damaged_file_is_told_from_an_empty_one() {
    let folder = folder();
    let path = folder.path().join("leases.db");
    let store = open(&path);
    for number in 0..200_u32 {
        let key = LeaseKey::new(format!("shardId-{number:012}"));
        store.create_if_absent(NewLease::child(key, [], None)).await.unwrap();
    }
    drop(store);
    let mut bytes = std::fs::read(&path).unwrap();
    for byte in bytes.iter_mut().skip(4096) {
        *byte = 0xAB;
    }
    std::fs::write(&path, bytes).unwrap();
    let error = match SqliteLeaseStore::open(&path, "billing") {
        Ok(store) => store.list().await.unwrap_err(),
        Err(error) => error,
    };
    assert!(error.to_string().contains("it is damaged: restore it"), "{error}");
}

#[test]
fn a_table_of_another_version_is_refused() {
    let folder = folder();
    let path = folder.path().join("leases.db");
    drop(open(&path));
    Connection::open(&path).unwrap().execute("UPDATE kcl_schema SET version = 7", []).unwrap();
    assert!(refusal(&path).contains("has version 7, this program writes version 3"));
}

#[test]
fn tables_of_others_in_the_same_file_are_left_alone() {
    let folder = folder();
    let path = folder.path().join("app.db");
    let theirs = Connection::open(&path).unwrap();
    theirs.execute_batch("CREATE TABLE orders (id INTEGER); INSERT INTO orders VALUES (7)").unwrap();
    drop(open(&path));
    let id: i64 = theirs.query_row("SELECT id FROM orders", [], |row| row.get(0)).unwrap();
    assert_eq!(id, 7);
}

/// In real time, as the wait is the database's: five seconds.
#[tokio::test]
async fn a_file_locked_by_another_program_is_told_after_the_wait() {
    let folder = folder();
    let path = folder.path().join("leases.db");
    let store = open(&path);
    store.create_if_absent(new_lease()).await.unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let error = store.take(&key(), LeaseCounter::ZERO, &worker(1)).await.unwrap_err();
    assert!(error.to_string().contains("another program has locked it for more than 5 s"), "{error}");
    assert!(error.is_retryable() && !error.may_have_been_written());
    other.execute_batch("ROLLBACK").unwrap();
    assert!(store.take(&key(), LeaseCounter::ZERO, &worker(1)).await.unwrap().is_applied());
}

#[tokio::test]
async fn a_broken_row_is_skipped_in_a_listing_and_named_when_asked_for() {
    let folder = folder();
    let path = folder.path().join("leases.db");
    let store = open(&path);
    store.create_if_absent(new_lease()).await.unwrap();
    let good = LeaseKey::new("shardId-000000000002");
    store.create_if_absent(NewLease::child(good.clone(), [], None)).await.unwrap();
    for spoil in ["checkpoint = 'not a number'", "parent_shard_ids = '{}'", "starting_hash_key = '-1'"] {
        let by_hand = Connection::open(&path).unwrap();
        let statement = format!("UPDATE kcl_lease SET {spoil} WHERE lease_key = ?1");
        by_hand.execute(&statement, [key().as_str()]).unwrap();
        let listed: Vec<_> = store.list().await.unwrap().into_iter().map(|row| row.key).collect();
        assert_eq!(listed, std::slice::from_ref(&good), "{spoil}");
        let error = store.get(&key()).await.unwrap_err();
        assert!(matches!(error, LeaseStoreError::Corrupt { .. }), "{spoil}: {error}");
        assert!(error.to_string().contains(key().as_str()), "{error}");
    }
}
