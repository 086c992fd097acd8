//! What a stream is set to beside its shards: encryption, metrics, distribution of records, warm throughput; and how
//! often that was changed today.

use crate::quota::daily::DayLog;

/// The shard-level metrics, in the order in which they are listed.
pub(crate) const METRICS: [&str; 7] = [
    "IncomingBytes",
    "IncomingRecords",
    "OutgoingBytes",
    "OutgoingRecords",
    "WriteProvisionedThroughputExceeded",
    "ReadProvisionedThroughputExceeded",
    "IteratorAgeMilliseconds",
];

/// Who decides which shard a record goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Distribution {
    /// Its partition key or explicit hash key.
    #[default]
    UserPartitionKey,
    /// The service; keys are ignored. How it spreads records is not published: here the open shards take turns.
    Auto,
}

impl Distribution {
    pub(crate) const NAMES: [&'static str; 2] = ["AUTO", "USER_PARTITION_KEY"];

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        match name {
            "AUTO" => Some(Self::Auto),
            "USER_PARTITION_KEY" => Some(Self::UserPartitionKey),
            _ => None,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::UserPartitionKey => "USER_PARTITION_KEY",
            Self::Auto => "AUTO",
        }
    }
}

/// The key that records are encrypted with, and since when: nothing is encrypted here, but readers are told which
/// records would be. Changes are few, so a record's own flag is looked up by its time instead of stored.
#[derive(Debug, Clone, Default)]
pub(crate) struct Encryption {
    key: Option<String>,
    /// When it was switched, and whether on; ascending.
    switched: Vec<(u64, bool)>,
}

impl Encryption {
    /// The key in use now.
    pub(crate) fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    pub(crate) fn switch(&mut self, now: u64, key: Option<String>) {
        self.switched.push((now, key.is_some()));
        self.key = key;
    }

    /// Whether a record that arrived then is encrypted.
    pub(crate) fn was_on(&self, arrived_at: u64) -> bool {
        let before = self.switched.partition_point(|(time, _)| *time <= arrived_at);
        before.checked_sub(1).and_then(|last| self.switched.get(last)).is_some_and(|(_, on)| *on)
    }
}

/// Throughput that an on-demand stream is kept ready for, in MiB per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WarmThroughput {
    pub(crate) target: u64,
    pub(crate) current: u64,
}

/// What counts against limits per 24 hours.
#[derive(Debug, Clone, Default)]
pub(crate) struct Days {
    pub(crate) shard_count_updates: DayLog,
    pub(crate) mode_switches: DayLog,
    pub(crate) encryption_starts: DayLog,
    pub(crate) encryption_stops: DayLog,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_keep_the_encryption_of_their_time() {
        let mut encryption = Encryption::default();
        assert!(!encryption.was_on(1));
        encryption.switch(10, Some("alias/a".to_owned()));
        encryption.switch(20, None);
        encryption.switch(30, Some("alias/b".to_owned()));
        let seen: Vec<_> = [9, 10, 19, 20, 29, 30, 99].map(|time| encryption.was_on(time)).into();
        assert_eq!(seen, [false, true, true, false, false, true, true]);
        assert_eq!(encryption.key(), Some("alias/b"));
    }

    #[test]
    fn distributions_have_the_names_of_the_model() {
        for name in Distribution::NAMES {
            assert_eq!(Distribution::from_name(name).map(Distribution::name), Some(name));
        }
        assert_eq!(Distribution::from_name("auto"), None);
    }
}
