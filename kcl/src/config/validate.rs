use kinesis_shard::limits;

use super::{ConsumerConfig, RetrievalMode};
use crate::error::ConfigError;

impl ConsumerConfig {
    /// Checks every value against its range, and the pairs that could contradict each other.
    ///
    /// # Errors
    /// The first value that is out of range, missing, or contradicts another.
    pub fn validate(&self) -> Result<(), ConfigError> {
        for (name, text) in [
            ("application_name", &*self.application_name),
            ("stream", &*self.stream),
            ("worker_id", self.worker_id.as_str()),
        ] {
            if text.trim().is_empty() {
                return Err(ConfigError::Empty { name });
            }
        }
        for (name, given, least, most) in self.table() {
            if given < least || given > most {
                return Err(ConfigError::OutOfRange { name, given, least, most });
            }
        }
        self.validate_consumer()?;
        if self.streams.is_some() && self.consumer_arn.is_some() {
            return Err(ConfigError::Contradiction {
                sentence: "one consumer_arn is for one stream: with several, give a consumer_name instead",
            });
        }
        if self.max_task_backoff < self.task_backoff {
            return Err(ConfigError::Contradiction {
                sentence: "max_task_backoff is shorter than task_backoff: raise it to at least the first pause",
            });
        }
        Ok(())
    }

    fn validate_consumer(&self) -> Result<(), ConfigError> {
        if self.retrieval_mode != RetrievalMode::FanOut {
            return Ok(());
        }
        if self.consumer_name.is_some() && self.consumer_arn.is_some() {
            return Err(ConfigError::Contradiction {
                sentence: "both consumer_name and consumer_arn are set: an ARN names the consumer already, leave the name out",
            });
        }
        if self
            .consumer_arn
            .as_ref()
            .is_some_and(|arn| !arn.contains(":stream/") || !arn.contains("/consumer/"))
        {
            return Err(ConfigError::Contradiction {
                sentence: "consumer_arn is not the ARN of a stream's consumer: it looks like arn:aws:kinesis:<region>:<account>:stream/<stream>/consumer/<name>:<second>",
            });
        }
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        let name = self.consumer_name();
        if self.consumer_arn.is_none() && (name.len() > 128 || name.is_empty() || !name.bytes().all(allowed))
        {
            return Err(ConfigError::Contradiction {
                sentence: "the application's name cannot be a consumer's (1 to 128 characters of a-z A-Z 0-9 _ . -): set consumer_name",
            });
        }
        Ok(())
    }

    /// Name, value, minimum, maximum; durations in milliseconds.
    fn table(&self) -> [(&'static str, u128, u128, u128); 17] {
        const HOUR: u128 = 3_600_000;
        let attempts = self.failure_policy.limit().unwrap_or(1);
        let least_bytes = limits::MAX_GET_RECORDS_BYTES as u128;
        [
            ("failover_time (ms)", self.failover_time.as_millis(), 1_000, HOUR),
            (
                "lease_renewal_interval (ms)",
                self.lease_renewal_interval.unwrap_or(self.failover_time / 3).as_millis(),
                10,
                self.failover_time.as_millis() * 6 / 10,
            ),
            (
                "lease_scan_interval (ms)",
                self.lease_scan_interval.map_or(850, |interval| interval.as_millis()),
                50,
                HOUR,
            ),
            ("shard_sync_interval (ms)", self.shard_sync_interval.as_millis(), 100, 24 * HOUR),
            ("parent_shard_poll_interval (ms)", self.parent_shard_poll_interval.as_millis(), 10, HOUR),
            ("max_leases_for_worker", self.max_leases_for_worker as u128, 1, u128::MAX),
            ("max_leases_to_steal_at_one_time", self.max_leases_to_steal_at_one_time as u128, 1, u128::MAX),
            ("max_records", self.max_records.into(), 1, limits::MAX_RECORDS_PER_GET_RECORDS as u128),
            // The service takes five calls a second for a shard.
            ("idle_time_between_reads (ms)", self.idle_time_between_reads.as_millis(), 200, HOUR),
            // The service sends an event every five seconds at least, and ends a subscription after five minutes.
            (
                "subscription_silence_limit (ms)",
                self.subscription_silence_limit.as_millis(),
                6_000,
                limits::SUBSCRIPTION_LIFETIME.as_millis(),
            ),
            ("request_timeout (ms)", self.request_timeout.as_millis(), 100, 600_000),
            // One read must fit, or nothing could ever be read.
            ("max_prefetch_bytes", self.max_prefetch_bytes as u128, least_bytes, 1 << 40),
            ("task_backoff (ms)", self.task_backoff.as_millis(), 1, HOUR),
            ("max_task_backoff (ms)", self.max_task_backoff.as_millis(), 1, HOUR),
            ("slow_processor_after (ms)", self.slow_processor_after.as_millis(), 100, 24 * HOUR),
            ("stuck_after (ms)", self.stuck_after.as_millis(), 100, 24 * HOUR),
            ("failure_policy.after_attempts", attempts.into(), 1, 1_000_000),
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::FailurePolicy;

    fn config() -> ConsumerConfig {
        ConsumerConfig::new("app", "orders", "worker-a").with_seed(1)
    }

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(config().validate(), Ok(()));
    }

    #[test]
    fn what_is_exactly_at_a_limit_is_allowed() {
        let (hour, day) = (Duration::from_hours(1), Duration::from_hours(24));
        let fan_out = || config().with_retrieval_mode(RetrievalMode::FanOut);
        let at_limits = [
            config().with_task_backoff(hour).with_max_task_backoff(hour),
            config().with_shard_sync_interval(day).with_slow_processor_after(day).with_stuck_after(day),
            fan_out().with_consumer_name("n".repeat(128)),
        ];
        for config in at_limits {
            assert_eq!(config.validate(), Ok(()), "{config:?}");
        }
        let beyond = [
            config().with_shard_sync_interval(day + Duration::from_millis(1)),
            fan_out().with_consumer_name("n".repeat(129)),
            fan_out().with_consumer_arn("arn:aws:kinesis:us-east-1:000000000000:stream/orders"),
            fan_out().with_consumer_arn("arn:aws:kinesis:us-east-1:000000000000/consumer/app:1"),
        ];
        for config in beyond {
            assert!(config.validate().is_err(), "{config:?}");
        }
    }

    #[test]
    fn every_value_out_of_range_is_refused_by_name() {
        let wrong = [
            ("failover_time (ms)", config().with_failover_time(Duration::from_millis(999))),
            (
                "lease_renewal_interval (ms)",
                config().with_lease_renewal_interval(Duration::from_millis(6_001)),
            ),
            ("lease_scan_interval (ms)", config().with_lease_scan_interval(Duration::ZERO)),
            ("shard_sync_interval (ms)", config().with_shard_sync_interval(Duration::ZERO)),
            ("parent_shard_poll_interval (ms)", config().with_parent_shard_poll_interval(Duration::ZERO)),
            ("max_leases_for_worker", config().with_max_leases_for_worker(0)),
            ("max_leases_to_steal_at_one_time", config().with_max_leases_to_steal_at_one_time(0)),
            ("max_records", config().with_max_records(10_001)),
            ("max_records", config().with_max_records(0)),
            (
                "idle_time_between_reads (ms)",
                config().with_idle_time_between_reads(Duration::from_millis(199)),
            ),
            (
                "subscription_silence_limit (ms)",
                config().with_subscription_silence_limit(Duration::from_secs(5)),
            ),
            ("request_timeout (ms)", config().with_request_timeout(Duration::from_secs(601))),
            ("max_prefetch_bytes", config().with_max_prefetch_bytes(1)),
            ("task_backoff (ms)", config().with_task_backoff(Duration::ZERO)),
            ("max_task_backoff (ms)", config().with_max_task_backoff(Duration::from_secs(3_601))),
            ("slow_processor_after (ms)", config().with_slow_processor_after(Duration::ZERO)),
            ("stuck_after (ms)", config().with_stuck_after(Duration::from_hours(25))),
            (
                "failure_policy.after_attempts",
                config().with_failure_policy(FailurePolicy::StopShard { after_attempts: 0 }),
            ),
        ];
        for (name, config) in wrong {
            match config.validate() {
                Err(ConfigError::OutOfRange { name: found, .. }) => assert_eq!(found, name),
                other => panic!("{name}: {other:?}"),
            }
        }
    }

    #[test]
    fn empty_names_and_contradictions_are_refused() {
        let config = ConsumerConfig::new("app", " ", "worker-a");
        assert_eq!(config.validate(), Err(ConfigError::Empty { name: "stream" }));
        let config = self::config().with_task_backoff(Duration::from_mins(1));
        assert!(matches!(config.validate(), Err(ConfigError::Contradiction { .. })));
    }
    #[test]
    fn a_consumer_that_cannot_be_registered_is_refused() {
        let fan_out =
            |name: &str| ConsumerConfig::new(name, "orders", "a").with_retrieval_mode(RetrievalMode::FanOut);
        let arn = "arn:aws:kinesis:us-east-1:123456789012:stream/orders/consumer/app:1700000000";
        let good = [
            fan_out("app-1"),
            fan_out("my app").with_consumer_name("my-app"),
            fan_out("my app").with_consumer_arn(arn),
            ConsumerConfig::new("my app", "orders", "a"),
        ];
        for config in good {
            assert_eq!(config.validate(), Ok(()), "{config:?}");
        }
        let bad = [
            fan_out("my app"),
            fan_out(&"a".repeat(129)),
            fan_out("app").with_consumer_arn(arn).with_consumer_name("app"),
            fan_out("app").with_consumer_arn("app"),
        ];
        for config in bad {
            assert!(matches!(config.validate(), Err(ConfigError::Contradiction { .. })), "{config:?}");
        }
    }
}
