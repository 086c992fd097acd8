//! `ListShards` to the end, through a caller's SDK client.

use std::{error::Error, sync::Arc, time::SystemTime};

use aws_sdk_kinesis::{
    Client,
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
    operation::list_shards::{ListShardsError as SdkListShardsError, ListShardsOutput},
    primitives::DateTime,
    types as sdk,
};

use crate::{
    HashKey, HashKeyRange, HashKeyRangeError, ParseHashKeyError, ParseSequenceNumberError, Shard, ShardId,
    StreamName, limits,
};

/// Which shards to list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ShardFilter {
    /// Every shard that still has records or is open.
    #[default]
    All,
    /// The open shards.
    AtLatest,
    /// The shards that were open at the oldest record kept.
    AtTrimHorizon,
    /// The shards that were open at that time.
    AtTimestamp(SystemTime),
    /// The shards that were open at that time or later.
    FromTimestamp(SystemTime),
    /// The shards whose id is above this one.
    AfterShardId(ShardId),
}

impl ShardFilter {
    fn to_sdk(&self) -> Option<sdk::ShardFilter> {
        use sdk::ShardFilterType as Type;
        let filter = sdk::ShardFilter::builder();
        let filter = match self {
            Self::All => return None,
            Self::AtLatest => filter.r#type(Type::AtLatest),
            Self::AtTrimHorizon => filter.r#type(Type::AtTrimHorizon),
            Self::AtTimestamp(time) => filter.r#type(Type::AtTimestamp).timestamp(DateTime::from(*time)),
            Self::FromTimestamp(time) => filter.r#type(Type::FromTimestamp).timestamp(DateTime::from(*time)),
            Self::AfterShardId(id) => filter.r#type(Type::AfterShardId).shard_id(id.as_str()),
        };
        Some(filter.build().expect("every filter has a type"))
    }
}

/// Lists the shards of a stream, all pages.
///
/// A page token that expired between two pages makes the listing start over, once. Nothing is retried otherwise
/// and nothing is checked: [`ShardMap::new`](crate::ShardMap::new) says whether the open shards are complete.
///
/// Cancel safe: it only reads.
///
/// # Errors
///
/// [`ListShardsError`], which says whether to try again.
pub async fn list_shards(
    client: &Client,
    stream: &StreamName,
    filter: ShardFilter,
) -> Result<Vec<Shard>, ListShardsError> {
    let mut listing = Listing::default();
    loop {
        let request = client.list_shards();
        let request = match listing.next_token.take() {
            // Beside a token the service accepts neither stream nor filter.
            Some(token) => request.next_token(token),
            None if stream.is_arn() => request.stream_arn(stream.as_str()).set_shard_filter(filter.to_sdk()),
            None => request.stream_name(stream.as_str()).set_shard_filter(filter.to_sdk()),
        };
        let page = request.max_results(PAGE).send().await;
        if let Some(shards) = listing.answered(page, stream)? {
            return Ok(shards);
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "one thousand fits")]
const PAGE: i32 = limits::LIST_SHARDS_PAGE as i32;

/// What has been listed so far.
#[derive(Debug, Default)]
struct Listing {
    shards: Vec<Shard>,
    next_token: Option<String>,
    restarted: bool,
}

impl Listing {
    /// Takes an answer in; the shards when it was the last one.
    fn answered<R>(
        &mut self,
        page: Result<ListShardsOutput, SdkError<SdkListShardsError, R>>,
        stream: &StreamName,
    ) -> Result<Option<Vec<Shard>>, ListShardsError>
    where
        R: std::fmt::Debug + Send + Sync + 'static,
    {
        let page = match page {
            Ok(page) => page,
            Err(error) => {
                let expired = matches!(
                    error.as_service_error(),
                    Some(SdkListShardsError::ExpiredNextTokenException(_))
                );
                if expired && !self.restarted {
                    *self = Self { restarted: true, ..Self::default() };
                    return Ok(None);
                }
                return Err(ListShardsError::from_sdk(error, stream));
            }
        };
        for shard in page.shards() {
            let shard = shard_from_sdk(shard).map_err(|source| ListShardsError::UnreadableShard {
                stream: stream.clone(),
                source: Box::new(source),
            })?;
            self.shards.push(shard);
        }
        self.next_token = page.next_token;
        Ok(if self.next_token.is_none() { Some(std::mem::take(&mut self.shards)) } else { None })
    }
}

/// Why the shards of a stream could not be listed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ListShardsError {
    /// There is no such stream where the client looked.
    #[error("stream {stream:?} not found: create it, or check the client's region and account", stream = stream.as_str())]
    NotFound {
        /// The stream.
        stream: StreamName,
    },
    /// The client's credentials do not permit it, or are none.
    #[error("not allowed to list the shards of stream {stream:?}: grant kinesis:ListShards ({message})", stream = stream.as_str())]
    AccessDenied {
        /// The stream.
        stream: StreamName,
        /// What the service said.
        message: String,
    },
    /// Too many calls; the limit is 1,000 per second and stream.
    #[error("listing the shards of stream {stream:?} was throttled: try again after a delay", stream = stream.as_str())]
    Throttled {
        /// The stream.
        stream: StreamName,
    },
    /// The stream is being created or deleted.
    #[error("stream {stream:?} is neither active nor updating: wait until it is", stream = stream.as_str())]
    NotReady {
        /// The stream.
        stream: StreamName,
    },
    /// The service listed a shard that makes no sense.
    #[error("stream {stream:?} listed a shard that cannot be read: {source}", stream = stream.as_str())]
    UnreadableShard {
        /// The stream.
        stream: StreamName,
        /// What is wrong with it.
        source: Box<ShardFromSdkError>,
    },
    /// Anything else: no connection, a time-out, a fault of the service, a request it did not accept.
    #[error(
        "listing the shards of stream {stream:?} failed, {advice}: {message}",
        stream = stream.as_str(),
        advice = if *retryable { "try again after a delay" } else { "check the client's configuration" }
    )]
    Other {
        /// The stream.
        stream: StreamName,
        /// Whether the same call can succeed later.
        retryable: bool,
        /// What the SDK said, with its causes.
        message: String,
        /// The SDK's own error.
        source: Arc<dyn Error + Send + Sync>,
    },
}

impl ListShardsError {
    /// Whether the same call can succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Throttled { .. } | Self::NotReady { .. } => true,
            Self::Other { retryable, .. } => *retryable,
            Self::NotFound { .. } | Self::AccessDenied { .. } | Self::UnreadableShard { .. } => false,
        }
    }

    fn from_sdk<R>(error: SdkError<SdkListShardsError, R>, stream: &StreamName) -> Self
    where
        R: std::fmt::Debug + Send + Sync + 'static,
    {
        let stream = stream.clone();
        let code = error.code().unwrap_or_default();
        match Class::of(code) {
            Class::NotFound => Self::NotFound { stream },
            Class::Throttled => Self::Throttled { stream },
            Class::NotReady => Self::NotReady { stream },
            Class::AccessDenied => {
                let message = error.message().unwrap_or(code).to_owned();
                Self::AccessDenied { stream, message }
            }
            Class::Other => {
                let retryable = match &error {
                    SdkError::TimeoutError(_) | SdkError::ResponseError(_) => true,
                    SdkError::DispatchFailure(failure) => !failure.is_user(),
                    // A code of the service's that is not ours to understand is its own fault only in these cases.
                    SdkError::ServiceError(_) => {
                        matches!(
                            code,
                            "InternalFailure"
                                | "InternalFailureException"
                                | "ServiceUnavailable"
                                | "ExpiredNextTokenException"
                                | ""
                        )
                    }
                    _ => false,
                };
                let message = DisplayErrorContext(&error).to_string();
                Self::Other { stream, retryable, message, source: Arc::new(error) }
            }
        }
    }
}

/// What an error code means.
#[derive(Debug, PartialEq, Eq)]
enum Class {
    NotFound,
    AccessDenied,
    Throttled,
    NotReady,
    Other,
}

impl Class {
    fn of(code: &str) -> Self {
        match code {
            "ResourceNotFoundException" => Self::NotFound,
            "ResourceInUseException" => Self::NotReady,
            "LimitExceededException" | "ProvisionedThroughputExceededException" | "ThrottlingException" => {
                Self::Throttled
            }
            "AccessDeniedException"
            | "UnrecognizedClientException"
            | "InvalidSignatureException"
            | "IncompleteSignatureException"
            | "MissingAuthenticationTokenException"
            | "InvalidClientTokenId"
            | "ExpiredTokenException" => Self::AccessDenied,
            _ => Self::Other,
        }
    }
}

/// Reads a shard as the SDK describes it.
///
/// # Errors
///
/// [`ShardFromSdkError`] when a part is missing or is not the number it should be.
pub fn shard_from_sdk(shard: &sdk::Shard) -> Result<Shard, ShardFromSdkError> {
    let id = ShardId::from(shard.shard_id());
    let missing = |part| ShardFromSdkError::Missing { shard: id.clone(), part };
    let range = shard.hash_key_range().ok_or_else(|| missing("hash key range"))?;
    let positions = shard.sequence_number_range().ok_or_else(|| missing("sequence number range"))?;
    let hash_key = |text: &str| {
        HashKey::parse_explicit(text)
            .map_err(|source| ShardFromSdkError::HashKey { shard: id.clone(), source })
    };
    let sequence_number = |text: &str| {
        text.parse().map_err(|source| ShardFromSdkError::SequenceNumber { shard: id.clone(), source })
    };
    let (start, end) = (hash_key(range.starting_hash_key())?, hash_key(range.ending_hash_key())?);
    Ok(Shard {
        parent: shard.parent_shard_id().map(ShardId::from),
        adjacent_parent: shard.adjacent_parent_shard_id().map(ShardId::from),
        hash_key_range: HashKeyRange::new(start, end)
            .map_err(|source| ShardFromSdkError::Range { shard: id.clone(), source })?,
        starting_sequence_number: sequence_number(positions.starting_sequence_number())?,
        ending_sequence_number: positions.ending_sequence_number().map(sequence_number).transpose()?,
        id,
    })
}

/// Why a shard as the SDK describes it is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShardFromSdkError {
    /// A part is missing.
    #[error("{shard} has no {part}: check what the client's endpoint is")]
    Missing {
        /// The shard.
        shard: ShardId,
        /// The part.
        part: &'static str,
    },
    /// An end of its hash key range is not a hash key.
    #[error("{shard} has an unreadable hash key range: {source}")]
    HashKey {
        /// The shard.
        shard: ShardId,
        /// Why not.
        source: ParseHashKeyError,
    },
    /// Its hash key range is reversed.
    #[error("{shard} has an impossible hash key range: {source}")]
    Range {
        /// The shard.
        shard: ShardId,
        /// Why not.
        source: HashKeyRangeError,
    },
    /// One of its sequence numbers is not one.
    #[error("{shard} has an unreadable sequence number: {source}")]
    SequenceNumber {
        /// The shard.
        shard: ShardId,
        /// Why not.
        source: ParseSequenceNumberError,
    },
}

#[cfg(test)]
mod tests;
