//! What the parts of a producer need of its configuration.

use std::num::NonZeroUsize;
use std::sync::Arc;

use kinesis_shard::limits::{SHARD_WRITE_BYTES_PER_SECOND, SHARD_WRITE_RECORDS_PER_SECOND};
use rand::rngs::{SmallRng, SysRng};
use rand::{RngExt, SeedableRng};

use crate::config::{Ordering, ProducerConfig};
use crate::pipeline::reducer::Bounds;
use crate::pipeline::{Rate, Settings};

/// As many as threads can put at the same time; one where order must be kept.
pub(super) fn stripes(config: &ProducerConfig) -> usize {
    match config.ordering {
        Ordering::PerShard => 1,
        _ => std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(16),
    }
}

pub(super) fn settings(config: &ProducerConfig) -> Settings {
    let seed = config.seed.unwrap_or_else(|| {
        // Jitter only: a system without entropy gets the same jitter everywhere, which is worse, not wrong.
        SmallRng::try_from_rng(&mut SysRng).map_or(0, |mut rng| rng.random())
    });
    let mut seeds = SmallRng::seed_from_u64(seed);
    let percent = |limit: u64| (limit * u64::from(config.rate_limit) / 100).max(1);
    Settings {
        stream: Arc::clone(&config.stream),
        ttl: config.record_ttl,
        max_in_flight: config.max_connections,
        fail_if_throttled: config.fail_if_throttled,
        rate: Rate {
            records_per_second: percent(SHARD_WRITE_RECORDS_PER_SECOND),
            bytes_per_second: percent(SHARD_WRITE_BYTES_PER_SECOND),
            shared_by: config.fleet_size,
        },
        collection: Bounds {
            max_count: config.collection_max_count,
            max_bytes: config.collection_max_size,
            linger: config.collection_wait(),
        },
        ordering: config.ordering,
        aggregation_on_auto: config.aggregation_on_auto,
        fleet_size: config.fleet_size,
        sampled: config.metrics_hook.is_some(),
        seeds: [seeds.random(), seeds.random(), seeds.random()],
    }
}
