use std::fmt;
use std::time::SystemTime;

use kinesis_shard::{Checkpoint, ExtendedSequenceNumber, SequenceNumber};

use super::{ConsumerEvent, ProcessorCall};
use crate::config::InitialPosition;
use crate::lease::WorkerId;

impl fmt::Display for ProcessorCall {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Initialize => "initialize",
            Self::ProcessRecords => "process_records",
            Self::LeaseLost => "lease_lost",
            Self::ShardEnded => "shard_ended",
            Self::ShutdownRequested => "shutdown_requested",
        })
    }
}

fn at(checkpoint: &Checkpoint) -> String {
    match checkpoint {
        Checkpoint::At(position) => place(position),
        sentinel => sentinel.sequence_text(),
    }
}

fn place(position: &ExtendedSequenceNumber) -> String {
    format!("{}/{}", position.sequence_number, position.sub_sequence_number)
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn initial(position: &InitialPosition) -> String {
    match position {
        InitialPosition::TrimHorizon => "TRIM_HORIZON".to_owned(),
        InitialPosition::Latest => "LATEST".to_owned(),
        InitialPosition::AtTimestamp(time) => format!("{} s", seconds(*time)),
    }
}

fn number(first: Option<&SequenceNumber>) -> String {
    first.map_or_else(|| "TRIM_HORIZON".to_owned(), SequenceNumber::to_string)
}

fn worker(id: Option<&WorkerId>) -> &str {
    id.map_or("nobody known", WorkerId::as_str)
}

impl fmt::Display for ConsumerEvent {
    #[expect(clippy::too_many_lines, reason = "one sentence for each kind of event")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeaseTaken { shard, checkpoint } => {
                write!(f, "lease of {shard} taken at {}", at(checkpoint))
            }
            Self::LeaseLost { shard, moved_to } => {
                write!(f, "lease of {shard} lost, its owner is {}", worker(moved_to.as_ref()))
            }
            Self::LeaseAskedFor { shard, by } => write!(f, "{by} asks for the lease of {shard}"),
            Self::LeaseHandedOver { shard, to } => {
                write!(f, "lease of {shard} handed over to {}", worker(to.as_ref()))
            }
            Self::LeaseReleased { shard } => write!(f, "lease of {shard} given back"),
            Self::LeaseCreated { shard, checkpoint, hole: false } => {
                write!(f, "lease of {shard} created at {}", at(checkpoint))
            }
            Self::LeaseCreated { shard, checkpoint, hole: true } => {
                write!(
                    f,
                    "lease of {shard} was missing behind a finished parent, created at {}",
                    at(checkpoint)
                )
            }
            Self::LeaseDeleted { shard } => write!(f, "lease of {shard} deleted, nothing needs it"),
            Self::ShardStarted { shard, checkpoint } => {
                write!(f, "{shard} is read behind {}", at(checkpoint))
            }
            Self::StartTimeStays { shard, begins_at, configured } => write!(
                f,
                "{shard} begins at the time of its lease, {} s after 1970, and not at {}, which is configured now: delete the \
                 lease to begin elsewhere",
                seconds(*begins_at),
                initial(configured)
            ),
            Self::ShardEnded { shard, children } => {
                write!(f, "{shard} is processed to its end, {} shards follow", children.len())
            }
            Self::GapBelowRetention { shard, checkpoint, first } => write!(
                f,
                "the record at checkpoint {checkpoint} of {shard} is no longer stored: reading goes on at {}, records in between may be lost",
                number(first.as_ref())
            ),
            Self::OvertakenByRetention { shard, lost, after, first } => write!(
                f,
                "{shard} was read too slowly for the stream's retention: what was put in {lost:?} behind {} is no longer stored, reading goes on at {}",
                number(after.as_ref()),
                number(first.as_ref())
            ),
            Self::LatestReopened { shard } => write!(
                f,
                "LATEST of {shard} had to be opened again before a first record: what was put in between is not read"
            ),
            Self::ShardVanished { shard } => {
                write!(f, "{shard} is no longer listed: what it still held was trimmed, its children go on")
            }
            Self::StreamVanished { stream } => {
                write!(f, "stream \"{stream}\" no longer exists: create it, or stop reading it")
            }
            Self::StreamReplaced { stream } => {
                write!(
                    f,
                    "stream \"{stream}\" was deleted and made again: it is another stream, its earlier leases are of no use"
                )
            }
            Self::StreamFollowed { stream } => write!(f, "stream \"{stream}\" is read from now on"),
            Self::StreamLeft { stream } => write!(f, "stream \"{stream}\" is not read any more"),
            Self::StreamNotReadable { stream, error } => {
                write!(f, "stream \"{stream}\" cannot be read yet, it is tried again: {error}")
            }
            Self::BrokenAggregate { shard, count } => {
                write!(f, "{count} broken aggregates of {shard} are handed over whole")
            }
            Self::AggregateOutOfRange { shard, count } => {
                write!(f, "{count} aggregates of {shard} dropped: a key lies outside the shard's range")
            }
            Self::ReadFailed { shard, error } => {
                write!(f, "reading {shard} failed, it is tried again at the same position: {error}")
            }
            Self::SubscriptionCut { shard, error } => {
                write!(
                    f,
                    "subscription to {shard} ended early ({error}): another one goes on where it stopped"
                )
            }
            Self::ProcessorFailed { shard, call, attempt, first, error } => {
                write!(f, "{call} of {shard} failed at attempt {attempt}")?;
                if let Some(first) = first {
                    write!(f, " with the batch from {}", place(first))?;
                }
                write!(f, ": {error}")
            }
            Self::EndNotAcknowledged { shard, attempt } => write!(
                f,
                "shard_ended of {shard} returned without checkpoint() at attempt {attempt}: it is called again, the children wait"
            ),
            Self::BatchSkipped { shard, first, last, record_count, attempts, error } => write!(
                f,
                "{record_count} records of {shard} from {} to {} skipped after {attempts} attempts: {error}",
                place(first),
                place(last)
            ),
            Self::ShardGivenUp { shard, error } => {
                write!(f, "{shard} given back because its processor kept failing: {error}")
            }
            Self::CheckpointFailed { shard, error } => write!(f, "checkpoint of {shard} failed: {error}"),
            Self::ProcessorSlow { shard, call, running_for } => {
                write!(f, "{call} of {shard} has been running for {running_for:?}")
            }
            Self::ShardStuck { shard, why, stuck_for } => {
                write!(f, "{shard} makes no progress for {stuck_for:?}: {why}")
            }
            Self::ShardMovesAgain { shard, stuck_for } => {
                write!(f, "{shard} makes progress again after {stuck_for:?}")
            }
            Self::ShardSyncFailed { stream, error } => write!(
                f,
                "comparing the shards of stream \"{stream}\" with the lease table failed, it is repeated: {error}"
            ),
            Self::LeaseTableUnreadable { error } => {
                write!(f, "reading the lease table failed, it is repeated: {error}")
            }
            Self::LeasesOfAnotherForm { count, example } => write!(
                f,
                "the lease table has {count} leases like {example} of an application of another form (one stream, or several) beside \
                 those of this one: nobody here goes on where they stand; delete them once no such worker runs any more"
            ),
            Self::LeaseUnreadable { error } => {
                write!(f, "a lease is passed over, its shard is not read: {error}")
            }
            Self::WorkerFailed { error } => write!(f, "the worker stops: {error}"),
        }
    }
}
