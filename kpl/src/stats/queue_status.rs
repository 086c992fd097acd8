//! What waits where, and why nothing moves.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kinesis_shard::ShardId;

/// Sealed Kinesis records by where they are, and the ages of the oldest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueStatus {
    /// Queued for the rate of their shard, for a free request, or in ordered mode for the record before.
    pub in_limiter: usize,
    /// In the request that is being filled.
    pub in_collector: usize,
    /// Pausing before a retry.
    pub in_backoff: usize,
    /// Waiting for a shard map.
    pub waiting_for_shard_map: usize,
    /// In requests.
    pub in_flight: usize,
    /// Requests in flight.
    pub requests_in_flight: usize,
    /// Whether one more request may be sent.
    pub request_is_free: bool,
    /// Shards that are sent less than their full rate after throttling.
    pub throttled_shards: usize,
    /// The longest queue of one shard.
    pub longest_queue: Option<(usize, ShardId)>,
    /// Since the oldest of them was accepted.
    pub oldest_record: Option<Duration>,
    /// Since the oldest request was sent.
    pub oldest_request: Option<Duration>,
    /// Since something was answered, or since there was anything to answer. `None`: nothing waits.
    pub stuck_for: Option<Duration>,
    /// The code of the last failed attempt.
    pub last_error: Option<Arc<str>>,
    /// Why there is no shard map.
    pub map_error: Option<Arc<str>>,
}

impl QueueStatus {
    /// Kinesis records that wait somewhere and are in no request.
    pub fn queued(&self) -> usize {
        self.in_limiter + self.in_collector + self.in_backoff + self.waiting_for_shard_map
    }
}

/// Where the records are, then the likely reason.
impl fmt::Display for QueueStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { in_limiter, in_collector, in_backoff, waiting_for_shard_map, in_flight, .. } = self;
        write!(
            formatter,
            "{in_limiter} Kinesis records queued for their shards, {in_collector} collected, {in_backoff} pausing, \
             {waiting_for_shard_map} waiting for a shard map, {in_flight} in {} requests: ",
            self.requests_in_flight
        )?;
        let last_error = self.last_error.as_deref().unwrap_or("none");
        let seconds = |age: Option<Duration>| age.unwrap_or_default().as_secs_f64();
        if *waiting_for_shard_map > 0 {
            let error = self.map_error.as_deref().unwrap_or("no answer yet");
            write!(formatter, "the shards are not known ({error})")
        } else if !self.request_is_free {
            write!(
                formatter,
                "every request is taken, the oldest for {:.1} s: the service is slow or cannot be reached, or max_connections is low",
                seconds(self.oldest_request)
            )
        } else if *in_flight > 0 && *in_flight >= self.queued() {
            write!(
                formatter,
                "requests are not answered, the oldest for {:.1} s (last error: {last_error})",
                seconds(self.oldest_request)
            )
        } else if *in_backoff > 0 && in_backoff >= in_limiter {
            write!(formatter, "attempts keep failing (last error: {last_error})")
        } else if let Some((count, shard)) = &self.longest_queue {
            write!(
                formatter,
                "{shard} alone has {count} queued, {} shards are throttled: more is put than the shards take",
                self.throttled_shards
            )
        } else {
            write!(formatter, "last error: {last_error}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likely_reason_is_named() {
        let status = || QueueStatus { request_is_free: true, ..QueueStatus::default() };
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let cases = [
            (
                QueueStatus { waiting_for_shard_map: 1, map_error: Some("denied".into()), ..status() },
                "not known (denied)",
            ),
            (
                QueueStatus {
                    in_limiter: 9,
                    in_flight: 99,
                    requests_in_flight: 24,
                    request_is_free: false,
                    oldest_request: seconds(5),
                    ..status()
                },
                "every request is taken, the oldest for 5.0 s",
            ),
            (
                QueueStatus { in_flight: 9, requests_in_flight: 1, oldest_request: seconds(12), ..status() },
                "not answered, the oldest for 12.0 s",
            ),
            (
                QueueStatus { in_backoff: 9, last_error: Some("InternalFailure".into()), ..status() },
                "keep failing (last error: InternalFailure)",
            ),
            (
                QueueStatus {
                    in_limiter: 9,
                    longest_queue: Some((8, ShardId::from_index(3))),
                    throttled_shards: 1,
                    ..status()
                },
                "shardId-000000000003 alone has 8 queued",
            ),
        ];
        for (status, reason) in cases {
            assert!(status.to_string().contains(reason), "{status} does not say {reason}");
        }
    }
}
