//! Errors that concern a worker as a whole. The narrower ones stand beside the call that returns them.

use std::sync::Arc;

use kinesis_shard::{ListShardsError, ShardId};

use crate::lease::LeaseStoreError;

/// Any error of the user's code: `?` turns every error type into it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Why a configuration was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A required name is empty.
    #[error("{name} is empty: give it a name")]
    Empty {
        /// The option.
        name: &'static str,
    },
    /// A number outside its range.
    #[error("{name} is {given}, allowed are {least} to {most}: choose a value in that range")]
    OutOfRange {
        /// The option, with its unit.
        name: &'static str,
        /// What was set.
        given: u128,
        /// The smallest value allowed.
        least: u128,
        /// The greatest value allowed.
        most: u128,
    },
    /// Two options that cannot both hold.
    #[error("{sentence}")]
    Contradiction {
        /// What contradicts what, and what to do.
        sentence: &'static str,
    },
}

/// Why a worker did not start. Nothing was leased.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration is not usable.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The stream cannot be listed, and trying again would not help.
    #[error(transparent)]
    Stream(#[from] ListShardsError),
    /// The application cannot be registered as a consumer for enhanced fan-out.
    #[error(transparent)]
    Consumer(#[from] StreamConsumerError),
    /// The lease store cannot be used.
    #[error("lease store of application \"{application}\" cannot be used: {source}")]
    Store {
        /// The application's name.
        application: Arc<str>,
        /// What the store said.
        source: LeaseStoreError,
    },
}

/// Why an application is not, or not any more, a registered consumer of a stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamConsumerError {
    /// There is no such stream.
    #[error(
        "consumer \"{consumer}\" of stream \"{stream}\": the stream does not exist, create it or check the client's region"
    )]
    StreamNotFound {
        /// The stream's name or ARN.
        stream: Arc<str>,
        /// The consumer's name.
        consumer: Arc<str>,
    },
    /// The service refused a call.
    #[error(
        "consumer \"{consumer}\" of stream \"{stream}\": {operation} was refused ({message}); allow the worker kinesis:DescribeStreamSummary, DescribeStreamConsumer, RegisterStreamConsumer and SubscribeToShard, or register the consumer yourself and give its ARN"
    )]
    Refused {
        /// The stream's name or ARN.
        stream: Arc<str>,
        /// The consumer's name.
        consumer: Arc<str>,
        /// The call.
        operation: &'static str,
        /// What the service said.
        message: Arc<str>,
    },
}

/// Why a running worker stopped by itself.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// A batch failed as often as [`FailurePolicy::StopWorker`](crate::FailurePolicy::StopWorker) allows.
    #[error(
        "processor of {shard_id} failed {attempts} times on one batch: {message}; nothing was skipped, start again once it is repaired"
    )]
    Processor {
        /// The shard whose batch failed.
        shard_id: ShardId,
        /// Attempts made.
        attempts: u32,
        /// The last error or panic, as text.
        message: Arc<str>,
    },
    /// The stream was deleted; listing its shards confirmed it.
    #[error("stream \"{stream}\" no longer exists: create it, or stop this application")]
    StreamGone {
        /// The stream's name or ARN.
        stream: Arc<str>,
    },
    /// The stream was deleted and made again. Read with the leases of the earlier one, it would lose records.
    #[error(
        "stream \"{stream}\" was deleted and made again: delete its leases to begin anew, or use another application name"
    )]
    StreamReplaced {
        /// The stream's name or ARN.
        stream: Arc<str>,
    },
    /// The lease store cannot be used, and trying again would not help.
    #[error(transparent)]
    Store(LeaseStoreError),
    /// The stream's shards cannot be listed, and trying again would not help.
    #[error(transparent)]
    Stream(ListShardsError),
    /// A task of this crate panicked: a bug of ours. The worker gave up its leases.
    #[error("a task of the worker panicked ({message}): please report it, and start the worker again")]
    Panicked {
        /// The panic's text.
        message: Arc<str>,
    },
}

/// The text of a panic, as far as it has one.
pub(crate) fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic without a text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panic_texts_of_both_kinds_are_found() {
        assert_eq!(panic_text(&"static"), "static");
        assert_eq!(panic_text(&String::from("owned")), "owned");
        assert_eq!(panic_text(&7), "panic without a text");
    }

    #[test]
    fn messages_name_the_option_and_both_numbers() {
        let error = ConfigError::OutOfRange { name: "max_records", given: 0, least: 1, most: 10_000 };
        assert_eq!(
            error.to_string(),
            "max_records is 0, allowed are 1 to 10000: choose a value in that range"
        );
    }
}
