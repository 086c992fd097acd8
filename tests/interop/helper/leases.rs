//! Rows of a lease table: made by our store, or read by it. Java's `LeaseRows` makes and prints the same.
//!
//! ```text
//! key  owner  counter  checkpoint  sub  owner-switches  pending  sub  state-in-hex  parents  children  hash-keys
//! ```
//!
//! Of an application of several streams also the stream and the shard of each.

use kcl::lease::{
    CheckpointUpdate, DynamoDbLeaseStore, Lease, LeaseStore, MetaUpdate, NewLease, PendingCheckpoint, Write,
};
use kcl::{Checkpoint, ExtendedSequenceNumber, LeaseKey, ShardId, WorkerId};
use kinesis_shard::{HashKey, HashKeyRange};

use crate::Problem;
use crate::line::hex;
use crate::worker::dynamodb;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where the DynamoDB-compatible server listens.
    #[arg(long)]
    dynamodb: String,
    /// The lease table.
    #[arg(long)]
    table: String,
    /// Make the table and its rows before they are printed.
    #[arg(long)]
    make: bool,
    /// The table of an application of several streams.
    #[arg(long)]
    streams: bool,
}

const STREAMS: [&str; 2] = ["123456789012:clicks:1690000000", "123456789012:orders:1700000000"];

pub(crate) async fn run(arguments: Arguments) -> Result<String, Problem> {
    let store = DynamoDbLeaseStore::new(&dynamodb(&arguments.dynamodb), arguments.table.as_str());
    store.prepare().await?;
    if arguments.make && arguments.streams {
        for stream in STREAMS {
            make(&store, Some(stream)).await?;
        }
    } else if arguments.make {
        make(&store, None).await?;
        let key = LeaseKey::new(format!("{}:shardId-000000000003", STREAMS[1]));
        created(&store, NewLease::child(key, [ShardId::from_index(1)], None)).await?;
    }
    let leases = store.list().await?;
    if store.skipped_items() > 0 {
        return Err(format!("{} items could not be read", store.skipped_items()).into());
    }
    let line = |lease: &Lease| {
        let stream = lease.key.stream_identifier().filter(|_| arguments.streams);
        let stream = stream.map(|stream| format!("\t{stream}\t{}", lease.key.shard_id()));
        row(lease) + &stream.unwrap_or_default()
    };
    let mut lines: Vec<_> = leases.iter().map(line).collect();
    lines.sort();
    Ok(lines.join("\n"))
}

/// One row of every kind, each by the operations that a worker makes it with.
async fn make(store: &DynamoDbLeaseStore, stream: Option<&str>) -> Result<(), Problem> {
    let at = |text: &str, sub| Checkpoint::parse(text, sub);
    let shard = |index: u64| ShardId::from_index(index);
    let key = |index: u64| match stream {
        Some(stream) => LeaseKey::new(format!("{stream}:{}", shard(index))),
        None => LeaseKey::from(&shard(index)),
    };
    let worker = WorkerId::new("worker-a");
    let new = |index: u64, checkpoint| NewLease {
        key: key(index),
        checkpoint,
        parents: Vec::new(),
        hash_key_range: None,
        // An attribute that Java does not know.
        stream: Some("123456789012:orders:1700000000".into()),
        // Another one, on every lease that could have it.
        pinned_at: (checkpoint == Checkpoint::AtTimestamp).then_some(1_700_000_000_123),
    };
    let range = HashKeyRange::new(HashKey::MIN, HashKey::MAX)?;
    let number = "49590338271490256608559692538361571095921575989136588898";
    for lease in [
        new(0, Checkpoint::TrimHorizon),
        new(1, Checkpoint::Latest),
        new(2, Checkpoint::AtTimestamp),
        NewLease { hash_key_range: Some(range), ..new(3, Checkpoint::TrimHorizon) },
        // The children of a split and of a merge.
        NewLease::child(key(4), [shard(0)], None),
        NewLease::child(key(5), [shard(1), shard(2)], None),
        new(6, Checkpoint::TrimHorizon),
        new(7, Checkpoint::TrimHorizon),
    ] {
        created(store, lease).await?;
    }
    // Owned, renewed, checkpointed in the middle of an aggregate, then prepared further on.
    let mut lease = taken(store, &key(6), &worker).await?;
    lease = applied(store.renew(&lease.key, lease.counter, false).await?)?;
    let position = ExtendedSequenceNumber::new(number.parse()?, 17);
    let pending = PendingCheckpoint {
        checkpoint: at("49590338271490256608559692538361571095921575989136588900", 3)?,
        state: Some(bytes::Bytes::from_static(&[0, 0xff, 7])),
    };
    let update = CheckpointUpdate { checkpoint: Checkpoint::from(position), pending: Some(pending) };
    applied(store.checkpoint(&lease.key, lease.counter, update).await?)?;
    // At its end, with children; and given back.
    lease = taken(store, &key(7), &worker).await?;
    let children = MetaUpdate { children: Some(vec![shard(8), shard(9)]), ..MetaUpdate::default() };
    applied(store.update_meta(&lease.key, children).await?)?;
    let update = CheckpointUpdate { checkpoint: Checkpoint::ShardEnd, pending: None };
    lease = applied(store.checkpoint(&lease.key, lease.counter, update).await?)?;
    applied(store.release(&lease.key, &lease.owners(), lease.counter).await?)?;
    Ok(())
}

async fn created(store: &DynamoDbLeaseStore, lease: NewLease) -> Result<(), Problem> {
    let is_new = store.create_if_absent(lease).await?;
    if is_new { Ok(()) } else { Err("the table is not empty".into()) }
}

async fn taken(store: &DynamoDbLeaseStore, key: &LeaseKey, worker: &WorkerId) -> Result<Lease, Problem> {
    let lease = store.get(key).await?.ok_or("the lease is not there")?;
    applied(store.take(key, lease.counter, worker).await?)
}

fn applied(write: Write) -> Result<Lease, Problem> {
    match write {
        Write::Applied(lease) => Ok(lease),
        Write::Refused(row) => Err(format!("refused: {row:?}").into()),
    }
}

fn row(lease: &Lease) -> String {
    let dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let shards = |shards: &[ShardId]| dash(shards.iter().map(ShardId::as_str).collect::<Vec<_>>().join(","));
    let pending = lease.pending_checkpoint.as_ref();
    [
        lease.key.to_string(),
        dash(lease.owner.as_ref().map(ToString::to_string).unwrap_or_default()),
        lease.counter.to_string(),
        lease.checkpoint.sequence_text(),
        lease.checkpoint.sub_sequence_number().to_string(),
        lease.owner_switches_since_checkpoint.to_string(),
        dash(pending.map(|pending| pending.checkpoint.sequence_text()).unwrap_or_default()),
        dash(pending.map(|pending| pending.checkpoint.sub_sequence_number().to_string()).unwrap_or_default()),
        dash(pending.and_then(|pending| pending.state.as_ref()).map(|state| hex(state)).unwrap_or_default()),
        shards(&lease.parents),
        shards(&lease.children),
        dash(
            lease
                .hash_key_range
                .map(|range| format!("{}-{}", range.start(), range.end()))
                .unwrap_or_default(),
        ),
    ]
    .join("\t")
}
