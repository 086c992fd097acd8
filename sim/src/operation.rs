//! The operations, one file each: what a request must look like, and what it does.

pub(crate) mod add_tags_to_stream;

pub(crate) mod create_stream;

pub(crate) mod decrease_stream_retention_period;

pub(crate) mod delete_resource_policy;

pub(crate) mod delete_stream;

pub(crate) mod deregister_stream_consumer;

pub(crate) mod describe_account_settings;

pub(crate) mod describe_limits;

pub(crate) mod describe_stream;

pub(crate) mod describe_stream_consumer;

pub(crate) mod describe_stream_summary;

pub(crate) mod disable_enhanced_monitoring;

pub(crate) mod enable_enhanced_monitoring;

pub(crate) mod get_records;

pub(crate) mod get_resource_policy;

pub(crate) mod get_shard_iterator;

pub(crate) mod increase_stream_retention_period;

pub(crate) mod list_shards;

pub(crate) mod list_stream_consumers;

pub(crate) mod list_streams;

pub(crate) mod list_tags_for_resource;

pub(crate) mod list_tags_for_stream;

pub(crate) mod merge_shards;

pub(crate) mod put_record;

pub(crate) mod put_records;

pub(crate) mod put_resource_policy;

pub(crate) mod register_stream_consumer;

pub(crate) mod remove_tags_from_stream;

pub(crate) mod split_shard;

pub(crate) mod start_stream_encryption;

pub(crate) mod stop_stream_encryption;

pub(crate) mod subscribe_to_shard;

pub(crate) mod tag_resource;

pub(crate) mod untag_resource;

pub(crate) mod update_account_settings;

pub(crate) mod update_max_record_size;

pub(crate) mod update_shard_count;

pub(crate) mod update_stream_mode;

pub(crate) mod update_stream_record_distribution_strategy;

pub(crate) mod update_stream_warm_throughput;

/// Parts that several answers share.
pub(crate) mod answer;

/// How requests name a consumer, and how answers show one.
pub(crate) mod consumer;

/// Members that several requests share, and how a request names its stream.
pub(crate) mod request;

/// What an ARN names for tags and policies.
pub(crate) mod resource;

/// Labels, of streams and consumers alike.
pub(crate) mod tags;

use crate::engine::Engine;
use crate::error::ServiceError;
use crate::rule::Strike;
use crate::stream_table::Scope;
use crate::validation::Member;
use crate::wire::Value;
use crate::wire::writer::Writer;

/// One row of the table of operations.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    pub(crate) members: &'static [Member],
    pub(crate) plane: Plane,
    pub(crate) run: Run,
}

/// Types and constraints have been checked when it is called. What it wrote before an error is discarded.
pub(crate) type Run = fn(&mut Engine, &mut Call<'_>, &Value<'_>, &mut Writer) -> Result<(), ServiceError>;

/// Which words a throttle has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plane {
    Control,
    Write,
    Read,
}

/// The circumstances of one call.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) now: u64,
    pub(crate) scope: &'a Scope,
    /// A fault that strikes entries rather than the call.
    pub(crate) strike: Option<&'a Strike>,
    /// For the trace: records that were stored or read, entries that were refused.
    pub(crate) records: usize,
    pub(crate) refused: usize,
    /// The subscription that was begun.
    pub(crate) subscription: Option<u64>,
}

static OPERATIONS: &[Operation] = &[
    add_tags_to_stream::OPERATION,
    create_stream::OPERATION,
    decrease_stream_retention_period::OPERATION,
    delete_resource_policy::OPERATION,
    delete_stream::OPERATION,
    deregister_stream_consumer::OPERATION,
    describe_account_settings::OPERATION,
    describe_limits::OPERATION,
    describe_stream::OPERATION,
    describe_stream_consumer::OPERATION,
    describe_stream_summary::OPERATION,
    disable_enhanced_monitoring::OPERATION,
    enable_enhanced_monitoring::OPERATION,
    get_records::OPERATION,
    get_resource_policy::OPERATION,
    get_shard_iterator::OPERATION,
    increase_stream_retention_period::OPERATION,
    list_shards::OPERATION,
    list_stream_consumers::OPERATION,
    list_streams::OPERATION,
    list_tags_for_resource::OPERATION,
    list_tags_for_stream::OPERATION,
    merge_shards::OPERATION,
    put_record::OPERATION,
    put_records::OPERATION,
    put_resource_policy::OPERATION,
    register_stream_consumer::OPERATION,
    remove_tags_from_stream::OPERATION,
    split_shard::OPERATION,
    start_stream_encryption::OPERATION,
    stop_stream_encryption::OPERATION,
    subscribe_to_shard::OPERATION,
    tag_resource::OPERATION,
    untag_resource::OPERATION,
    update_account_settings::OPERATION,
    update_max_record_size::OPERATION,
    update_shard_count::OPERATION,
    update_stream_mode::OPERATION,
    update_stream_record_distribution_strategy::OPERATION,
    update_stream_warm_throughput::OPERATION,
];

/// The operation of this name; `None` is answered `UnknownOperationException`.
pub(crate) fn find(name: &str) -> Option<&'static Operation> {
    OPERATIONS.iter().find(|operation| operation.name == name)
}

/// What requests of this operation must look like on a stream whose records the service distributes itself, if that
/// differs.
pub(crate) fn keyless_members(name: &str) -> Option<&'static [Member]> {
    match name {
        "PutRecord" => Some(put_record::KEYLESS),
        "PutRecords" => Some(put_records::KEYLESS),
        _ => None,
    }
}
