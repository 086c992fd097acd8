//! One lease as an item of the table that Java's workers read and write: pure.
//!
//! Names and types are Java's, and so are their oddities: `parentShardId` is a set in spite of its name, and
//! `pendingCheckpointState` is bytes, or a number where an old version of Java wrote it at creation. Absent stands for empty
//! everywhere: Java refuses to read an empty text or set. What we add has a name that Java does not know; it leaves
//! such attributes alone.

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;
use kinesis_shard::{Checkpoint, HashKey, HashKeyRange, ShardId};

use crate::lease::{Lease, LeaseCounter, LeaseKey, NewLease, PendingCheckpoint, Stamp, WorkerId};

pub(super) const LEASE_KEY: &str = "leaseKey";
pub(super) const LEASE_OWNER: &str = "leaseOwner";
pub(super) const LEASE_COUNTER: &str = "leaseCounter";
pub(super) const CHECKPOINT: &str = "checkpoint";
pub(super) const CHECKPOINT_SUB: &str = "checkpointSubSequenceNumber";
pub(super) const OWNER_SWITCHES: &str = "ownerSwitchesSinceCheckpoint";
pub(super) const PENDING: &str = "pendingCheckpoint";
pub(super) const PENDING_SUB: &str = "pendingCheckpointSubSequenceNumber";
pub(super) const PENDING_STATE: &str = "pendingCheckpointState";
pub(super) const PARENTS: &str = "parentShardId";
pub(super) const CHILDREN: &str = "childShardIds";
pub(super) const STARTING_HASH_KEY: &str = "startingHashKey";
pub(super) const ENDING_HASH_KEY: &str = "endingHashKey";
pub(super) const CHECKPOINT_OWNER: &str = "checkpointOwner";
pub(super) const ENTITY_TYPE: &str = "entityType";
pub(super) const STREAM_NAME: &str = "streamName";
pub(super) const SHARD_ID: &str = "shardId";
/// Ours: what `LATEST` means for this lease, in milliseconds since the epoch.
pub(super) const LATEST_PINNED_AT: &str = "latestPinnedAt";

/// Ours: which stream the lease is of.
pub(super) const STREAM_IDENTITY: &str = "streamIdentity";

/// Ours: when the row was last written, on its writer's clock.
pub(super) const STAMP: &str = "stamp";

/// Ours: how often the readers of this row were asked to read the table.
pub(super) const NUDGES: &str = "nudges";

/// The entity type of a lease. An item without one is a lease too: versions of Java before 3.5 write none.
const LEASE: &str = "LEASE";

/// An item, as the SDK has it.
#[expect(clippy::disallowed_types, reason = "the SDK's own type; nothing here depends on its order")]
pub(super) type Item = std::collections::HashMap<String, AttributeValue>;

/// An item that should be a lease and cannot be read as one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BrokenItem {
    pub(super) key: String,
    pub(super) what: String,
}

/// Reads an item; none if it is not a lease but something else that Java keeps in this table.
pub(super) fn read(item: &Item) -> Result<Option<Lease>, BrokenItem> {
    let attributes = Attributes(item);
    let key = attributes.text(LEASE_KEY).ok().flatten().unwrap_or_default();
    let lease = || {
        if attributes.text(ENTITY_TYPE)?.is_some_and(|entity| entity != LEASE) {
            return Ok(None);
        }
        attributes.lease(key).map(Some)
    };
    lease().map_err(|what| BrokenItem { key: key.to_owned(), what })
}

struct Attributes<'a>(&'a Item);

impl<'a> Attributes<'a> {
    fn lease(&self, key: &str) -> Result<Lease, String> {
        if key.is_empty() {
            return Err(format!("it has no {LEASE_KEY}: delete it"));
        }
        let text = self.text(CHECKPOINT)?.ok_or_else(|| missing(CHECKPOINT))?;
        // Java reads no item without this number, but nothing is lost by taking its absence for none.
        let sub = self.number(CHECKPOINT_SUB)?.unwrap_or(0);
        let mut lease = Lease::created(NewLease {
            key: LeaseKey::new(key),
            checkpoint: checkpoint(CHECKPOINT, text, sub)?,
            parents: self.shards(PARENTS)?,
            hash_key_range: self.hash_key_range()?,
            stream: self.text(STREAM_IDENTITY)?.map(Into::into),
            pinned_at: self.number(LATEST_PINNED_AT)?,
        });
        lease.owner = self.text(LEASE_OWNER)?.map(WorkerId::new);
        lease.counter = LeaseCounter::new(self.number(LEASE_COUNTER)?.ok_or_else(|| missing(LEASE_COUNTER))?);
        lease.owner_switches_since_checkpoint = self.number(OWNER_SWITCHES)?.unwrap_or(0);
        lease.pending_checkpoint = self.pending()?;
        lease.children = self.shards(CHILDREN)?;
        lease.checkpoint_owner = self.text(CHECKPOINT_OWNER)?.map(WorkerId::new);
        // Hints both: a row is not refused because somebody else uses these names.
        lease.stamp = self.text(STAMP).ok().flatten().and_then(Stamp::parse);
        lease.nudges = self.number(NUDGES).ok().flatten().unwrap_or(0);
        Ok(lease)
    }

    fn text(&self, name: &str) -> Result<Option<&'a str>, String> {
        match self.0.get(name) {
            None | Some(AttributeValue::Null(_)) => Ok(None),
            Some(AttributeValue::S(text)) => Ok((!text.is_empty()).then_some(text.as_str())),
            Some(other) => Err(wrong_type(name, "text", other)),
        }
    }

    fn number(&self, name: &str) -> Result<Option<u64>, String> {
        match self.0.get(name) {
            None | Some(AttributeValue::Null(_)) => Ok(None),
            Some(AttributeValue::N(digits)) => digits
                .parse()
                .map(Some)
                .map_err(|_| format!("{name} is {}, not a whole number: correct it", shortened(digits))),
            Some(other) => Err(wrong_type(name, "a number", other)),
        }
    }

    fn shards(&self, name: &str) -> Result<Vec<ShardId>, String> {
        match self.0.get(name) {
            None | Some(AttributeValue::Null(_)) => Ok(Vec::new()),
            Some(AttributeValue::Ss(names)) => {
                let mut shards: Vec<_> = names.iter().map(|name| ShardId::new(name.as_str())).collect();
                shards.sort();
                Ok(shards)
            }
            Some(other) => Err(wrong_type(name, "a set of texts", other)),
        }
    }

    fn hash_key_range(&self) -> Result<Option<HashKeyRange>, String> {
        let (start, end) = (self.text(STARTING_HASH_KEY)?, self.text(ENDING_HASH_KEY)?);
        let (Some(start), Some(end)) = (start, end) else { return Ok(None) };
        let wrong = |error: &dyn std::fmt::Display| {
            format!("{STARTING_HASH_KEY} and {ENDING_HASH_KEY} are no hash-key range ({error}): correct them")
        };
        let key = |text: &str| HashKey::parse_explicit(text).map_err(|error| wrong(&error));
        HashKeyRange::new(key(start)?, key(end)?).map(Some).map_err(|error| wrong(&error))
    }

    fn pending(&self) -> Result<Option<PendingCheckpoint>, String> {
        let Some(text) = self.text(PENDING)? else { return Ok(None) };
        let state = match self.0.get(PENDING_STATE) {
            Some(AttributeValue::B(bytes)) => {
                Some(Bytes::copy_from_slice(bytes.as_ref())).filter(|bytes| !bytes.is_empty())
            }
            // A number here is Java's sub-sequence number in the wrong place, not the application's state.
            None | Some(AttributeValue::N(_) | AttributeValue::Null(_)) => None,
            Some(other) => return Err(wrong_type(PENDING_STATE, "bytes", other)),
        };
        let sub = self.number(PENDING_SUB)?.unwrap_or(0);
        Ok(Some(PendingCheckpoint { checkpoint: checkpoint(PENDING, text, sub)?, state }))
    }
}

/// What a new lease is created with.
pub(super) fn created(new: &NewLease) -> Item {
    let mut item = Item::new();
    let mut put = |name: &str, value| item.insert(name.to_owned(), value);
    put(LEASE_KEY, text(new.key.as_str()));
    put(LEASE_COUNTER, number(0));
    put(OWNER_SWITCHES, number(0));
    put(CHECKPOINT, text(new.checkpoint.sequence_text()));
    put(CHECKPOINT_SUB, number(new.checkpoint.sub_sequence_number()));
    put(ENTITY_TYPE, text(LEASE));
    if let Some(parents) = shards(&new.parents) {
        put(PARENTS, parents);
    }
    if let Some((start, end)) = hash_keys(new.hash_key_range) {
        put(STARTING_HASH_KEY, start);
        put(ENDING_HASH_KEY, end);
    }
    if let Some(stream) = &new.stream {
        put(STREAM_IDENTITY, text(&**stream));
    }
    if let Some(pinned_at) = new.pinned_at {
        put(LATEST_PINNED_AT, number(pinned_at));
    }
    if let Some(stream) = new.key.stream_identifier() {
        put(STREAM_NAME, text(stream));
        put(SHARD_ID, text(new.key.shard_id().as_str()));
    }
    item
}

pub(super) fn text(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

/// Without a decimal point, or Java would not read it.
pub(super) fn number(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

pub(super) fn state(state: Option<&Bytes>) -> Option<AttributeValue> {
    state.filter(|bytes| !bytes.is_empty()).map(|bytes| AttributeValue::B(Blob::new(bytes.to_vec())))
}

/// A set, which holds each name once and is never empty.
pub(super) fn shards(shards: &[ShardId]) -> Option<AttributeValue> {
    let names: std::collections::BTreeSet<_> = shards.iter().map(|shard| shard.as_str().to_owned()).collect();
    (!names.is_empty()).then(|| AttributeValue::Ss(names.into_iter().collect()))
}

/// Both ends. Java refuses to read a range of one hash key, and without a range nothing is lost.
pub(super) fn hash_keys(range: Option<HashKeyRange>) -> Option<(AttributeValue, AttributeValue)> {
    let range = range.filter(|range| range.start() < range.end())?;
    Some((text(range.start().to_string()), text(range.end().to_string())))
}

fn checkpoint(name: &str, text: &str, sub: u64) -> Result<Checkpoint, String> {
    Checkpoint::parse(text, sub).map_err(|_| {
        let text = shortened(text);
        format!(
            "{name} is \"{text}\", neither TRIM_HORIZON, LATEST, AT_TIMESTAMP, SHARD_END nor a sequence number: correct it"
        )
    })
}

fn missing(name: &str) -> String {
    format!("it has no {name}: correct or delete it")
}

fn wrong_type(name: &str, wanted: &str, found: &AttributeValue) -> String {
    let found = match found {
        AttributeValue::B(_) => "bytes",
        AttributeValue::Bool(_) => "a truth value",
        AttributeValue::N(_) => "a number",
        AttributeValue::S(_) => "text",
        AttributeValue::L(_) => "a list",
        AttributeValue::M(_) => "a map",
        AttributeValue::Ss(_) => "a set of texts",
        _ => "of another type",
    };
    format!("{name} is {found} instead of {wanted}: correct it")
}

/// Enough of a text to find it again.
fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests;
