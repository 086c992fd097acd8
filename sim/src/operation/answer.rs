use kinesis_shard::{HashKeyRange, Shard};

use crate::engine::Commitment;
use crate::shard_log::ShardLog;
use crate::stream::features::WarmThroughput;
use crate::stream::{Mode, Stream};
use crate::wire::writer::Writer;

/// One shard, as `DescribeStream` and `ListShards` show it.
pub(crate) fn write_shard(shard: &Shard, out: &mut Writer) {
    out.begin_map();
    out.plain_member("ShardId", &shard.id);
    if let Some(parent) = &shard.parent {
        out.plain_member("ParentShardId", parent);
    }
    if let Some(parent) = &shard.adjacent_parent {
        out.plain_member("AdjacentParentShardId", parent);
    }
    write_range(shard.hash_key_range, out);
    out.key("SequenceNumberRange");
    out.begin_map();
    out.plain_member("StartingSequenceNumber", shard.starting_sequence_number);
    if let Some(end) = shard.ending_sequence_number {
        out.plain_member("EndingSequenceNumber", end);
    }
    out.end_map();
    out.end_map();
}

/// One shard that took over, as readers are told at a shard's end.
pub(crate) fn write_child_shard(shard: &ShardLog, out: &mut Writer) {
    out.begin_map();
    out.plain_member("ShardId", &shard.id);
    out.key("ParentShards");
    out.begin_list();
    for parent in [&shard.place.parent, &shard.place.adjacent_parent].into_iter().flatten() {
        out.plain(parent);
    }
    out.end_list();
    write_range(shard.place.range, out);
    out.end_map();
}

fn write_range(range: HashKeyRange, out: &mut Writer) {
    out.key("HashKeyRange");
    out.begin_map();
    out.plain_member("StartingHashKey", range.start());
    out.plain_member("EndingHashKey", range.end());
    out.end_map();
}

/// What all descriptions of a stream begin with. Never a `StreamId`: it would send clients to the real service.
pub(crate) fn write_stream_members(stream: &Stream, out: &mut Writer) {
    out.text_member("StreamName", &stream.name);
    out.plain_member("StreamARN", stream.arn());
    out.plain_member("StreamStatus", stream.status.name());
    write_mode(stream.mode, out);
    out.key("StreamCreationTimestamp");
    out.timestamp(stream.created_at);
}

/// What `DescribeStream` and its summary say of a stream beyond that.
pub(crate) fn write_details(stream: &Stream, out: &mut Writer) {
    write_stream_members(stream, out);
    out.integer_member("RetentionPeriodHours", stream.retention_hours);
    match stream.encryption.key() {
        None => out.plain_member("EncryptionType", "NONE"),
        Some(key) => {
            out.plain_member("EncryptionType", "KMS");
            out.text_member("KeyId", key);
        }
    }
    out.key("EnhancedMonitoring");
    out.begin_list();
    out.begin_map();
    write_texts("ShardLevelMetrics", &stream.metrics, out);
    out.end_map();
    out.end_list();
}

/// A list of texts of ours.
pub(crate) fn write_texts(name: &str, texts: &[&str], out: &mut Writer) {
    out.key(name);
    out.begin_list();
    for text in texts {
        out.plain(text);
    }
    out.end_list();
}

/// The member that only answers about encrypted records have.
pub(crate) fn write_record_encryption(is_encrypted: bool, out: &mut Writer) {
    if is_encrypted {
        out.plain_member("EncryptionType", "KMS");
    }
}

pub(crate) fn write_warm_throughput(warm: WarmThroughput, out: &mut Writer) {
    out.key("WarmThroughput");
    out.begin_map();
    out.integer_member("TargetMiBps", warm.target);
    out.integer_member("CurrentMiBps", warm.current);
    out.end_map();
}

/// The whole answer of both operations on account settings.
pub(crate) fn write_account_settings(commitment: Commitment, now: u64, out: &mut Writer) {
    out.begin_map();
    out.key("MinimumThroughputBillingCommitment");
    out.begin_map();
    out.plain_member("Status", commitment.status(now));
    let times = [
        ("StartedAt", commitment.started_at()),
        ("EndedAt", commitment.ended_at().filter(|end| *end <= now)),
        ("EarliestAllowedEndAt", commitment.earliest_end().filter(|_| commitment.is_in_force(now))),
    ];
    for (name, time) in times {
        if let Some(time) = time {
            out.key(name);
            out.timestamp(time);
        }
    }
    out.end_map();
    out.end_map();
}

fn write_mode(mode: Mode, out: &mut Writer) {
    out.key("StreamModeDetails");
    out.begin_map();
    out.plain_member("StreamMode", mode.name());
    out.end_map();
}
