//! Rates of the control plane: calls per second of one operation, per account or per stream.

use std::collections::BTreeMap;

use super::{Bucket, ServiceLimits};
use crate::stream_table::{Address, Scope};

/// What shares one rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Per {
    Account,
    Stream,
}

/// Calls per second, from the API model; those marked "guide" from the developer guide's tables. Operations that
/// are not listed have no rate.
const RATES: [(&str, u64, Per); 35] = [
    ("AddTagsToStream", 5, Per::Account),
    ("CreateStream", 5, Per::Account),
    ("DecreaseStreamRetentionPeriod", 5, Per::Stream), // guide
    ("DeleteResourcePolicy", 5, Per::Account),         // as its neighbours; no figure was found
    ("DeleteStream", 5, Per::Account),
    ("DeregisterStreamConsumer", 5, Per::Stream),
    ("DescribeAccountSettings", 5, Per::Account),
    ("DescribeLimits", 1, Per::Account),
    ("DescribeStream", 10, Per::Account),
    ("DescribeStreamConsumer", 20, Per::Stream),
    ("DescribeStreamSummary", 20, Per::Account),
    ("DisableEnhancedMonitoring", 5, Per::Stream),     // guide
    ("EnableEnhancedMonitoring", 5, Per::Stream),      // guide
    ("GetResourcePolicy", 5, Per::Account),            // as its neighbours
    ("IncreaseStreamRetentionPeriod", 5, Per::Stream), // guide
    ("ListShards", 1000, Per::Stream),
    ("ListStreamConsumers", 5, Per::Stream),
    ("ListStreams", 5, Per::Account),
    ("ListTagsForResource", 5, Per::Account), // as ListTagsForStream
    ("ListTagsForStream", 5, Per::Account),
    ("MergeShards", 5, Per::Account),
    ("PutResourcePolicy", 5, Per::Account), // as its neighbours
    ("RegisterStreamConsumer", 5, Per::Account),
    ("RemoveTagsFromStream", 5, Per::Account),
    ("SplitShard", 5, Per::Account),
    ("StartStreamEncryption", 5, Per::Account), // as its neighbours
    ("StopStreamEncryption", 5, Per::Account),  // as its neighbours
    ("TagResource", 5, Per::Account),           // as AddTagsToStream
    ("UntagResource", 5, Per::Account),         // as RemoveTagsFromStream
    ("UpdateAccountSettings", 5, Per::Account),
    ("UpdateMaxRecordSize", 5, Per::Account), // guide
    ("UpdateShardCount", 10, Per::Account),
    ("UpdateStreamMode", 5, Per::Account),                       // guide
    ("UpdateStreamRecordDistributionStrategy", 5, Per::Account), // as its neighbours
    ("UpdateStreamWarmThroughput", 5, Per::Account),
];

/// Buckets that are full again are dropped when there are so many.
const MOST_BUCKETS: usize = 4096;

/// The buckets in use: by account and region, operation, and stream where the rate is per stream.
#[derive(Debug, Default)]
pub(crate) struct CallRates {
    buckets: BTreeMap<(Scope, &'static str, String), Bucket>,
}

impl CallRates {
    /// Whether one more call on this stream (or none, by an empty name) is within its rate; if so it is counted.
    pub(crate) fn admits(
        &mut self,
        now: u64,
        operation: &str,
        limits: &ServiceLimits,
        address: &Address,
    ) -> bool {
        let Some((name, default, per)) = RATES.iter().find(|(name, ..)| *name == operation) else {
            return true;
        };
        let rate = limits.calls_per_second.get(*name).unwrap_or(default);
        if *rate == 0 {
            return true;
        }
        if self.buckets.len() >= MOST_BUCKETS {
            self.buckets.retain(|_, bucket| !bucket.is_full(now));
        }
        let stream = if *per == Per::Stream { address.name.clone() } else { String::new() };
        let bucket =
            self.buckets.entry((address.scope.clone(), name, stream)).or_insert_with(|| Bucket::new(*rate));
        let admitted = bucket.allows(now, 1);
        if admitted {
            bucket.take(now, 1);
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(stream: &str) -> Address {
        Address { scope: Scope::default(), name: stream.to_owned() }
    }

    fn admitted(rates: &mut CallRates, limits: &ServiceLimits, now: u64, call: (&str, &str)) -> usize {
        let address = address(call.1);
        (0..100).filter(|_| rates.admits(now, call.0, limits, &address)).count()
    }

    #[test]
    fn a_second_admits_the_rate_and_no_more() {
        let limits = ServiceLimits::default();
        let mut rates = CallRates::default();
        assert_eq!(admitted(&mut rates, &limits, 5000, ("DescribeStream", "a")), 10);
        assert_eq!(admitted(&mut rates, &limits, 5100, ("DescribeStream", "b")), 1, "shared by the account");
        assert_eq!(admitted(&mut rates, &limits, 9000, ("DescribeStream", "a")), 10);
        assert_eq!(admitted(&mut rates, &limits, 9000, ("DescribeLimits", "")), 1);
    }

    #[test]
    fn rates_per_stream_do_not_meet() {
        let limits = ServiceLimits::default();
        let mut rates = CallRates::default();
        for stream in ["a", "b"] {
            assert_eq!(admitted(&mut rates, &limits, 5000, ("ListStreamConsumers", stream)), 5);
        }
    }

    #[test]
    fn each_rate_is_settable_and_zero_switches_it_off() {
        let mut limits = ServiceLimits::default();
        limits.calls_per_second.insert("DescribeStream".to_owned(), 3);
        limits.calls_per_second.insert("ListStreams".to_owned(), 0);
        let mut rates = CallRates::default();
        assert_eq!(admitted(&mut rates, &limits, 5000, ("DescribeStream", "a")), 3);
        assert_eq!(admitted(&mut rates, &limits, 5000, ("ListStreams", "")), 100);
        assert_eq!(
            admitted(&mut rates, &limits, 5000, ("PutRecords", "a")),
            100,
            "not a matter of this table"
        );
    }

    #[test]
    fn buckets_that_are_full_again_are_dropped() {
        let limits = ServiceLimits::default();
        let mut rates = CallRates::default();
        for stream in 0..MOST_BUCKETS {
            rates.admits(1000, "ListShards", &limits, &address(&stream.to_string()));
        }
        rates.admits(1_000_000, "ListShards", &limits, &address("last"));
        assert_eq!(rates.buckets.len(), 1);
    }
}
