//! The store in one file, for several processes of one machine.
//!
//! The file is in write-ahead mode, in which readers do not wait for writers; a write is durable once it is answered
//! (`synchronous = FULL`), so that a checkpoint survives a power cut. Write-ahead mode needs shared memory: the file must be
//! on a local disk, not on a network share.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use super::compare_and_set::lease_store_by_operation;
use super::{CompareAndSet, CompareAndSetStore, Lease, LeaseKey, LeaseStoreError, Operation, Stamp, Write};

// One lease as columns.
mod row;

/// How long a call waits for another process's write. Writes take milliseconds: after this somebody holds the lock for good.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The layout of the tables. Another number in the file means another version of this library.
const SCHEMA_VERSION: i64 = 3;

/// A lease store in one SQLite file: several processes of one machine, restarts, no server.
///
/// One file can hold the leases of any number of applications, and tables of others beside them.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("leases.db");
/// let leases = kcl::lease::SqliteLeaseStore::open(&path, "billing")?;
/// # drop(leases);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct SqliteLeaseStore(CompareAndSetStore<File>);

impl SqliteLeaseStore {
    /// Opens or creates the file at `path`, for the application of that name.
    ///
    /// Blocks while it opens the file, for at most five seconds when another process holds it.
    ///
    /// # Errors
    /// When the path is a directory or cannot be opened, when the file is no SQLite database, is damaged, or is locked by
    /// another process, and when its lease table is of another version of this library.
    pub fn open(path: impl AsRef<Path>, application: impl Into<Arc<str>>) -> Result<Self, LeaseStoreError> {
        let path = path.as_ref();
        let name: Arc<str> = format!("lease file {}", path.display()).into();
        if path.is_dir() {
            return Err(LeaseStoreError::Unusable {
                store: name,
                what: "it is a directory: name a file in it".into(),
                source: None,
            });
        }
        let connection = connect(path).and_then(|connection| {
            create_tables(&connection)?;
            Ok(connection)
        });
        let connection = connection.map_err(|error| in_words(&name, error))?;
        let version = schema_version(&connection).map_err(|error| in_words(&name, error))?;
        if version != SCHEMA_VERSION {
            let what = format!(
                "its lease table has version {version}, this program writes version {SCHEMA_VERSION}: \
                 use the program that made it, or another file"
            );
            return Err(LeaseStoreError::Unusable { store: name, what: what.into(), source: None });
        }
        let application = application.into();
        let connection = Arc::new(Mutex::new(connection));
        Ok(Self(CompareAndSetStore::new(File {
            path: path.into(),
            name,
            application,
            connection,
            broken: Arc::default(),
        })))
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.0.database().path
    }

    fn broken(&self) -> Vec<LeaseStoreError> {
        self.0.database().broken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn prepare_table(&self) -> Result<(), LeaseStoreError> {
        self.0.prepare_table().await
    }

    async fn load_all(&self) -> Result<Vec<Lease>, LeaseStoreError> {
        self.0.load_all().await
    }

    async fn load(&self, key: &LeaseKey) -> Result<Option<Lease>, LeaseStoreError> {
        self.0.load(key).await
    }

    async fn execute(
        &self,
        key: &LeaseKey,
        operation: Operation,
        stamp: Option<&Stamp>,
    ) -> Result<Write, LeaseStoreError> {
        self.0.execute(key, operation, stamp).await
    }
}

lease_store_by_operation!([] SqliteLeaseStore, broken_by broken);

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::ZERO)?;
    use_write_ahead_log(&connection)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(connection)
}

/// Two processes that switch a new file at the same time each hold what the other waits for, and `SQLite`'s own waiting
/// would end with both giving up: so this one never waits with a lock, and tries again.
#[expect(clippy::disallowed_methods, reason = "opening a file blocks, as its documentation says")]
fn use_write_ahead_log(connection: &Connection) -> rusqlite::Result<()> {
    const PAUSE: Duration = Duration::from_millis(10);
    let mut waited = Duration::ZERO;
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error) if is_busy(&error) && waited < BUSY_TIMEOUT => {
                std::thread::sleep(PAUSE);
                waited += PAUSE;
            }
            done => return done,
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

fn create_tables(connection: &Connection) -> rusqlite::Result<()> {
    // Immediate: a transaction that begins by reading could not wait for another's write. Rolled back when dropped.
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    transaction.execute_batch(row::TABLES)?;
    // Left alone if there is one: it says which version made the table.
    transaction.execute("INSERT OR IGNORE INTO kcl_schema (id, version) VALUES (1, ?1)", [SCHEMA_VERSION])?;
    transaction.commit()
}

fn schema_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT version FROM kcl_schema WHERE id = 1", [], |row| row.get(0))
}

/// What an error of the database means for whoever runs the program.
fn in_words(store: &Arc<str>, error: rusqlite::Error) -> LeaseStoreError {
    let store = Arc::clone(store);
    let code = error.sqlite_error_code();
    let what = match code {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            let seconds = BUSY_TIMEOUT.as_secs();
            let what = format!(
                "another program has locked it for more than {seconds} s: close that program, or use another file"
            );
            return LeaseStoreError::Unavailable {
                store,
                what: what.into(),
                may_have_been_written: false,
                source: Some(Arc::new(error)),
            };
        }
        Some(ErrorCode::NotADatabase) => {
            "file is not a database: name another file, or remove this one".to_owned()
        }
        Some(ErrorCode::DatabaseCorrupt) => {
            "it is damaged: restore it, or remove it to begin anew".to_owned()
        }
        Some(ErrorCode::CannotOpen) => {
            "it cannot be opened: check that its folder exists and that it may be read and written".to_owned()
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            "it may not be written: check its permissions and those of its folder".to_owned()
        }
        Some(ErrorCode::DiskFull) => "the disk is full: make room".to_owned(),
        _ => format!("the database refused ({error}): check the file"),
    };
    LeaseStoreError::Unusable { store, what: what.into(), source: Some(Arc::new(error)) }
}

/// One file, through one connection.
#[derive(Debug, Clone)]
struct File {
    path: PathBuf,
    name: Arc<str>,
    application: Arc<str>,
    connection: Arc<Mutex<Connection>>,
    /// Rows that the latest listing passed over.
    broken: Arc<Mutex<Vec<LeaseStoreError>>>,
}

/// What goes wrong inside the blocking part.
enum Trouble {
    Database(rusqlite::Error),
    Broken(row::BrokenRow),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

impl From<row::BrokenRow> for Trouble {
    fn from(row: row::BrokenRow) -> Self {
        Self::Broken(row)
    }
}

impl File {
    /// Runs `work` where blocking does no harm. When the future is dropped the work still runs to its end.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection, &str) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, LeaseStoreError> {
        let (connection, application) = (Arc::clone(&self.connection), Arc::clone(&self.application));
        let done = tokio::task::spawn_blocking(move || {
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut connection, &application)
        });
        match done.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Trouble::Database(error))) => Err(in_words(&self.name, error)),
            Ok(Err(Trouble::Broken(row))) => Err(LeaseStoreError::Corrupt {
                store: Arc::clone(&self.name),
                key: row.key.into(),
                what: row.what.into(),
            }),
            Err(_) => Err(LeaseStoreError::Unavailable {
                store: Arc::clone(&self.name),
                what: "the runtime is shutting down: nothing to do".into(),
                may_have_been_written: true,
                source: None,
            }),
        }
    }
}

#[async_trait]
impl CompareAndSet for File {
    async fn prepare(&self) -> Result<(), LeaseStoreError> {
        self.blocking(|connection, _| Ok(create_tables(connection)?)).await
    }

    async fn load_all(&self) -> Result<Vec<Lease>, LeaseStoreError> {
        let rows =
            self.blocking(|connection, application| Ok(row::select_all(connection, application)?)).await?;
        let (mut leases, mut broken) = (Vec::with_capacity(rows.len()), Vec::new());
        for row in rows {
            match row {
                Ok(lease) => leases.push(lease),
                // One broken row must not stop the others.
                Err(row::BrokenRow { key, what }) => broken.push(LeaseStoreError::Corrupt {
                    store: Arc::clone(&self.name),
                    key: key.into(),
                    what: what.into(),
                }),
            }
        }
        *self.broken.lock().unwrap_or_else(PoisonError::into_inner) = broken;
        Ok(leases)
    }

    async fn load(&self, key: &LeaseKey) -> Result<Option<Lease>, LeaseStoreError> {
        let key = key.clone();
        self.blocking(move |connection, application| {
            Ok(row::select(connection, application, &key)?.transpose()?)
        })
        .await
    }

    async fn replace(
        &self,
        key: &LeaseKey,
        expected: Option<&Lease>,
        new: Option<&Lease>,
    ) -> Result<bool, LeaseStoreError> {
        let (key, expected, new) = (key.clone(), expected.cloned(), new.cloned());
        self.blocking(move |connection, application| {
            // The write lock before the read: a lock upgrade could be refused half way.
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let row = row::select(&transaction, application, &key)?.transpose()?;
            if row != expected {
                return Ok(false);
            }
            match new {
                Some(lease) => row::upsert(&transaction, application, &lease)?,
                None => row::delete(&transaction, application, &key)?,
            }
            transaction.commit()?;
            Ok(true)
        })
        .await
    }
}
