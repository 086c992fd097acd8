//! One lease as columns.

use kinesis_shard::{Checkpoint, HashKey, HashKeyRange, ShardId};
use rusqlite::{Connection, OptionalExtension, Row, named_params};

use crate::lease::{Lease, LeaseCounter, LeaseKey, NewLease, PendingCheckpoint, Stamp, WorkerId};

/// Positions and hash keys are decimal text: they are larger than the database's integers.
pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS kcl_schema (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS kcl_lease (
    application TEXT NOT NULL,
    lease_key TEXT NOT NULL,
    lease_owner TEXT,
    lease_counter INTEGER NOT NULL,
    checkpoint TEXT NOT NULL,
    checkpoint_sub_sequence_number INTEGER NOT NULL,
    owner_switches_since_checkpoint INTEGER NOT NULL,
    pending_checkpoint TEXT,
    pending_checkpoint_sub_sequence_number INTEGER,
    pending_checkpoint_state BLOB,
    parent_shard_ids TEXT NOT NULL,
    child_shard_ids TEXT NOT NULL,
    starting_hash_key TEXT,
    ending_hash_key TEXT,
    checkpoint_owner TEXT,
    latest_pinned_at INTEGER,
    stream TEXT,
    stamp TEXT,
    nudges INTEGER NOT NULL,
    PRIMARY KEY (application, lease_key)
) WITHOUT ROWID;
";

const COLUMNS: &str = "lease_key, lease_owner, lease_counter, checkpoint, checkpoint_sub_sequence_number, \
    owner_switches_since_checkpoint, pending_checkpoint, pending_checkpoint_sub_sequence_number, \
    pending_checkpoint_state, parent_shard_ids, child_shard_ids, starting_hash_key, ending_hash_key, \
    checkpoint_owner, latest_pinned_at, stream, stamp, nudges";

/// A row that is no lease.
#[derive(Debug)]
pub(super) struct BrokenRow {
    pub(super) key: String,
    pub(super) what: String,
}

type Read = Result<Lease, BrokenRow>;

pub(super) fn select_all(connection: &Connection, application: &str) -> rusqlite::Result<Vec<Read>> {
    let query = format!("SELECT {COLUMNS} FROM kcl_lease WHERE application = ?1 ORDER BY lease_key");
    let mut statement = connection.prepare_cached(&query)?;
    let rows = statement.query_map([application], |row| Ok(read(row)))?;
    rows.collect()
}

pub(super) fn select(
    connection: &Connection,
    application: &str,
    key: &LeaseKey,
) -> rusqlite::Result<Option<Read>> {
    let query = format!("SELECT {COLUMNS} FROM kcl_lease WHERE application = ?1 AND lease_key = ?2");
    let mut statement = connection.prepare_cached(&query)?;
    statement.query_row([application, key.as_str()], |row| Ok(read(row))).optional()
}

pub(super) fn delete(connection: &Connection, application: &str, key: &LeaseKey) -> rusqlite::Result<()> {
    let mut statement =
        connection.prepare_cached("DELETE FROM kcl_lease WHERE application = ?1 AND lease_key = ?2")?;
    statement.execute([application, key.as_str()])?;
    Ok(())
}

pub(super) fn upsert(connection: &Connection, application: &str, lease: &Lease) -> rusqlite::Result<()> {
    let query = format!(
        "INSERT OR REPLACE INTO kcl_lease (application, {COLUMNS}) VALUES (:application, :key, :owner, :counter, \
         :checkpoint, :sub, :switches, :pending, :pending_sub, :pending_state, :parents, :children, :start, :end, \
         :checkpoint_owner, :pinned, :stream, :stamp, :nudges)"
    );
    let pending = lease.pending_checkpoint.as_ref();
    let range = lease.hash_key_range;
    let mut statement = connection.prepare_cached(&query)?;
    statement.execute(named_params! {
        ":application": application,
        ":key": lease.key.as_str(),
        ":owner": lease.owner.as_ref().map(WorkerId::as_str),
        ":counter": stored(lease.counter.get()),
        ":checkpoint": lease.checkpoint.sequence_text(),
        ":sub": stored(lease.checkpoint.sub_sequence_number()),
        ":switches": stored(lease.owner_switches_since_checkpoint),
        ":pending": pending.map(|pending| pending.checkpoint.sequence_text()),
        ":pending_sub": pending.map(|pending| stored(pending.checkpoint.sub_sequence_number())),
        ":pending_state": pending.and_then(|pending| pending.state.as_deref()),
        ":parents": names(&lease.parents),
        ":children": names(&lease.children),
        ":start": range.map(|range| range.start().to_string()),
        ":end": range.map(|range| range.end().to_string()),
        ":checkpoint_owner": lease.checkpoint_owner.as_ref().map(WorkerId::as_str),
        ":pinned": lease.latest_pinned_at.map(stored),
        ":stream": lease.stream.as_deref(),
        ":stamp": lease.stamp.map(|stamp| stamp.to_string()),
        ":nudges": stored(lease.nudges),
    })?;
    Ok(())
}

/// The database's integers are signed: the same 64 bits, there and back.
fn stored(number: u64) -> i64 {
    number.cast_signed()
}

fn names(shards: &[ShardId]) -> String {
    serde_json::Value::from(shards.iter().map(ShardId::as_str).collect::<Vec<_>>()).to_string()
}

fn read(row: &Row<'_>) -> Read {
    let key: String = row.get("lease_key").unwrap_or_default();
    columns(row, &key).map_err(|what| BrokenRow { key, what })
}

fn columns(row: &Row<'_>, key: &str) -> Result<Lease, String> {
    let text = |column: &str| row.get::<_, String>(column).map_err(|error| broken(column, &error));
    let optional =
        |column: &str| row.get::<_, Option<String>>(column).map_err(|error| broken(column, &error));
    let number = |column: &str| {
        let number = row.get::<_, Option<i64>>(column).map_err(|error| broken(column, &error))?;
        Ok::<_, String>(number.map(i64::cast_unsigned))
    };
    let needed =
        |column: &str| number(column)?.ok_or_else(|| format!("column {column} is empty: delete the row"));
    let mut lease = Lease::created(NewLease {
        key: LeaseKey::new(key),
        checkpoint: checkpoint(&text("checkpoint")?, needed("checkpoint_sub_sequence_number")?)?,
        parents: shards("parent_shard_ids", &text("parent_shard_ids")?)?,
        hash_key_range: range(optional("starting_hash_key")?, optional("ending_hash_key")?)?,
        stream: optional("stream")?.map(Into::into),
        pinned_at: number("latest_pinned_at")?,
    });
    lease.owner = optional("lease_owner")?.map(WorkerId::new);
    lease.counter = LeaseCounter::new(needed("lease_counter")?);
    lease.owner_switches_since_checkpoint = needed("owner_switches_since_checkpoint")?;
    if let Some(pending) = optional("pending_checkpoint")? {
        let sub = number("pending_checkpoint_sub_sequence_number")?.unwrap_or(0);
        let state: Option<Vec<u8>> = row
            .get("pending_checkpoint_state")
            .map_err(|error| broken("pending_checkpoint_state", &error))?;
        lease.pending_checkpoint =
            Some(PendingCheckpoint { checkpoint: checkpoint(&pending, sub)?, state: state.map(Into::into) });
    }
    lease.children = shards("child_shard_ids", &text("child_shard_ids")?)?;
    lease.checkpoint_owner = optional("checkpoint_owner")?.map(WorkerId::new);
    lease.stamp = optional("stamp")?.and_then(|text| Stamp::parse(&text));
    lease.nudges = needed("nudges")?;
    Ok(lease)
}

fn broken(column: &str, error: &dyn std::fmt::Display) -> String {
    format!("column {column} cannot be read ({error}): correct or delete the row")
}

fn checkpoint(text: &str, sub: u64) -> Result<Checkpoint, String> {
    Checkpoint::parse(text, sub).map_err(|error| broken("checkpoint", &error))
}

fn shards(column: &str, text: &str) -> Result<Vec<ShardId>, String> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| broken(column, &error))?;
    let names = value.as_array().ok_or_else(|| broken(column, &"it is no list"))?;
    let shard = |name: &serde_json::Value| name.as_str().map(ShardId::new);
    names.iter().map(|name| shard(name).ok_or_else(|| broken(column, &"it holds no text"))).collect()
}

fn range(start: Option<String>, end: Option<String>) -> Result<Option<HashKeyRange>, String> {
    let (Some(start), Some(end)) = (start, end) else { return Ok(None) };
    let key = |text: &str| HashKey::parse_explicit(text).map_err(|error| broken("hash key", &error));
    let range = HashKeyRange::new(key(&start)?, key(&end)?).map_err(|error| broken("hash key", &error))?;
    Ok(Some(range))
}
