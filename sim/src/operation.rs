//! The operations, one file each: what a request must look like, and what it does.

pub(crate) mod create_stream;

pub(crate) mod decrease_stream_retention_period;

pub(crate) mod delete_stream;

pub(crate) mod describe_stream;

pub(crate) mod describe_stream_summary;

pub(crate) mod get_records;

pub(crate) mod get_shard_iterator;

pub(crate) mod increase_stream_retention_period;

pub(crate) mod list_shards;

pub(crate) mod list_streams;

pub(crate) mod merge_shards;

pub(crate) mod put_record;

pub(crate) mod put_records;

pub(crate) mod split_shard;

/// Parts that several answers share.
pub(crate) mod answer;

/// Members that several requests share, and how a request names its stream.
pub(crate) mod request;

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
}

static OPERATIONS: [Operation; 14] = [
    create_stream::OPERATION,
    decrease_stream_retention_period::OPERATION,
    delete_stream::OPERATION,
    describe_stream::OPERATION,
    describe_stream_summary::OPERATION,
    get_records::OPERATION,
    get_shard_iterator::OPERATION,
    increase_stream_retention_period::OPERATION,
    list_shards::OPERATION,
    list_streams::OPERATION,
    merge_shards::OPERATION,
    put_record::OPERATION,
    put_records::OPERATION,
    split_shard::OPERATION,
];

/// The operation of this name; `None` is answered `UnknownOperationException`.
pub(crate) fn find(name: &str) -> Option<&'static Operation> {
    OPERATIONS.iter().find(|operation| operation.name == name)
}
