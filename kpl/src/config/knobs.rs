//! Every knob in one table: name, unit, range, and how it is read and set. Validation and loading go by it.

use std::time::Duration;

use kinesis_shard::limits::{MAX_MAX_RECORD_BYTES, MAX_PUT_RECORDS_BYTES, MAX_RECORDS_PER_PUT_RECORDS};

use crate::config::{Ordering, ProducerConfig, bytes, millis};
use crate::error::ConfigError;

const KIB: u64 = 1024;
/// An instant plus any configured time must exist.
const YEAR: u64 = 365 * 24 * 3600 * 1000;

/// One knob.
pub(super) struct Knob {
    /// As the field is called.
    pub(super) name: &'static str,
    pub(super) value: Value,
}

/// What it holds.
pub(super) enum Value {
    Switch(fn(&mut ProducerConfig, bool)),
    Number {
        /// The name with its unit, as errors say it.
        with_unit: &'static str,
        minimum: u64,
        maximum: u64,
        /// `None`: left to the stream or the client.
        get: fn(&ProducerConfig) -> Option<u64>,
        /// The value was checked.
        set: fn(&mut ProducerConfig, u64),
    },
    Choice {
        choices: &'static [&'static str],
        /// The index of the choice.
        set: fn(&mut ProducerConfig, usize),
    },
}

const fn switch(name: &'static str, set: fn(&mut ProducerConfig, bool)) -> Knob {
    Knob { name, value: Value::Switch(set) }
}

const fn number(
    name: &'static str,
    with_unit: &'static str,
    (minimum, maximum): (u64, u64),
    get: fn(&ProducerConfig) -> Option<u64>,
    set: fn(&mut ProducerConfig, u64),
) -> Knob {
    Knob { name, value: Value::Number { with_unit, minimum, maximum, get, set } }
}

pub(super) const KNOBS: [Knob; 19] = [
    switch("aggregation_enabled", |config, on| config.aggregation_enabled = on),
    switch("aggregation_on_auto", |config, on| config.aggregation_on_auto = on),
    number(
        "aggregation_max_count",
        "aggregation_max_count",
        (1, u32::MAX as u64),
        |config| Some(u64::from(config.aggregation_max_count)),
        |config, value| config.aggregation_max_count = narrow(value),
    ),
    number(
        "aggregation_max_size",
        "aggregation_max_size in bytes",
        (64, MAX_MAX_RECORD_BYTES as u64),
        |config| Some(bytes(config.aggregation_max_size)),
        |config, value| config.aggregation_max_size = size(value),
    ),
    number(
        "collection_max_count",
        "collection_max_count",
        (1, MAX_RECORDS_PER_PUT_RECORDS as u64),
        |config| Some(bytes(config.collection_max_count)),
        |config, value| config.collection_max_count = size(value),
    ),
    number(
        "collection_max_size",
        "collection_max_size in bytes",
        (51 * KIB, MAX_PUT_RECORDS_BYTES as u64),
        |config| Some(bytes(config.collection_max_size)),
        |config, value| config.collection_max_size = size(value),
    ),
    number(
        "max_user_record_size",
        "max_user_record_size in bytes",
        (64, MAX_MAX_RECORD_BYTES as u64),
        |config| Some(bytes(config.max_user_record_size)),
        |config, value| config.max_user_record_size = size(value),
    ),
    number(
        "max_record_size",
        "max_record_size in bytes",
        (64, MAX_MAX_RECORD_BYTES as u64),
        |config| config.max_record_size.map(bytes),
        |config, value| config.max_record_size = Some(size(value)),
    ),
    number(
        "record_max_buffered_time",
        "record_max_buffered_time in milliseconds",
        (0, YEAR),
        |config| Some(millis(config.record_max_buffered_time)),
        |config, value| config.record_max_buffered_time = Duration::from_millis(value),
    ),
    number(
        "record_ttl",
        "record_ttl in milliseconds",
        (100, YEAR),
        |config| Some(millis(config.record_ttl)),
        |config, value| config.record_ttl = Duration::from_millis(value),
    ),
    Knob {
        name: "ordering",
        value: Value::Choice {
            choices: &["relaxed", "per_shard"],
            set: |config, choice| {
                config.ordering = if choice == 0 { Ordering::Relaxed } else { Ordering::PerShard };
            },
        },
    },
    number(
        "rate_limit",
        "rate_limit in percent",
        (1, 100_000),
        |config| Some(u64::from(config.rate_limit)),
        |config, value| config.rate_limit = narrow(value),
    ),
    number(
        "fleet_size",
        "fleet_size",
        (1, 10_000),
        |config| Some(u64::from(config.fleet_size)),
        |config, value| config.fleet_size = narrow(value),
    ),
    switch("fail_if_throttled", |config, on| config.fail_if_throttled = on),
    number(
        "max_connections",
        "max_connections",
        (1, 256),
        |config| Some(bytes(config.max_connections)),
        |config, value| config.max_connections = size(value),
    ),
    number(
        "request_timeout",
        "request_timeout in milliseconds",
        (100, 600_000),
        |config| Some(millis(config.request_timeout)),
        |config, value| config.request_timeout = Duration::from_millis(value),
    ),
    number(
        "connect_timeout",
        "connect_timeout in milliseconds",
        (100, 300_000),
        |config| config.connect_timeout.map(millis),
        |config, value| config.connect_timeout = Some(Duration::from_millis(value)),
    ),
    number(
        "max_outstanding_bytes",
        "max_outstanding_bytes",
        (64 * KIB, 1 << 40),
        |config| Some(bytes(config.max_outstanding_bytes)),
        |config, value| config.max_outstanding_bytes = size(value),
    ),
    number("seed", "seed", (0, u64::MAX), |config| config.seed, |config, value| config.seed = Some(value)),
];

/// The first knob out of its range.
pub(super) fn all_in_range(config: &ProducerConfig) -> Result<(), ConfigError> {
    KNOBS.iter().try_for_each(|knob| match &knob.value {
        Value::Number { with_unit, minimum, maximum, get, .. } => {
            get(config).map_or(Ok(()), |value| in_range(with_unit, value, *minimum, *maximum))
        }
        Value::Switch(_) | Value::Choice { .. } => Ok(()),
    })
}

pub(super) fn in_range(
    name: &'static str,
    value: u64,
    minimum: u64,
    maximum: u64,
) -> Result<(), ConfigError> {
    if value < minimum || value > maximum {
        return Err(ConfigError::OutOfRange { name, value, minimum, maximum });
    }
    Ok(())
}

fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn size(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A knob that reads or sets its neighbour's field would show here: each is set to its least value, alone.
    #[test]
    fn each_number_sets_the_field_that_it_reads_and_no_other() {
        let values = |config: &ProducerConfig| -> Vec<Option<u64>> {
            let get = |knob: &Knob| match &knob.value {
                Value::Number { get, .. } => get(config),
                Value::Switch(_) | Value::Choice { .. } => None,
            };
            KNOBS.iter().map(get).collect()
        };
        let defaults = values(&ProducerConfig::new("orders"));
        for (index, knob) in KNOBS.iter().enumerate() {
            let Value::Number { minimum, maximum, set, .. } = &knob.value else { continue };
            let value = if defaults[index] == Some(*minimum) { *maximum } else { *minimum };
            let mut config = ProducerConfig::new("orders");
            set(&mut config, value);
            let mut expected = defaults.clone();
            expected[index] = Some(value);
            assert_eq!(values(&config), expected, "{}", knob.name);
        }
    }
}
