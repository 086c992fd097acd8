//! The consumers of one stream that have a throughput of their own.
//!
//! ```text
//!   CREATING ------> ACTIVE ------> DELETING ------> gone
//! ```
//!
//! States follow from times, so nothing has to be done when one is due.

use std::collections::BTreeMap;

use kinesis_shard::limits::SUBSCRIBE_INTERVAL;

use crate::error::{ErrorCode, Named, ServiceError};
use crate::quota::ServiceLimits;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConsumerStatus {
    Creating,
    Active,
    Deleting,
}

impl ConsumerStatus {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Creating => "CREATING",
            Self::Active => "ACTIVE",
            Self::Deleting => "DELETING",
        }
    }
}

/// The last subscription that a consumer was granted on a shard.
#[derive(Debug, Clone, Copy)]
struct Grant {
    at: u64,
    ticket: u64,
}

#[derive(Debug)]
pub(crate) struct Consumer {
    pub(crate) name: String,
    /// Milliseconds; no two consumers of a name share the second, which is part of the ARN.
    pub(crate) created_at: u64,
    pub(crate) tags: BTreeMap<String, String>,
    active_at: u64,
    gone_at: Option<u64>,
    /// By shard index.
    grants: BTreeMap<u32, Grant>,
}

impl Consumer {
    pub(crate) fn status(&self, now: u64) -> ConsumerStatus {
        match self.gone_at {
            Some(_) => ConsumerStatus::Deleting,
            None if now < self.active_at => ConsumerStatus::Creating,
            None => ConsumerStatus::Active,
        }
    }

    pub(crate) fn created_seconds(&self) -> u64 {
        self.created_at / 1000
    }

    pub(crate) fn arn(&self, stream_arn: &str) -> String {
        format!("{stream_arn}/consumer/{}:{}", self.name, self.created_seconds())
    }

    /// Only an ACTIVE consumer reads.
    pub(crate) fn check_active(&self, now: u64, named: Named<'_>) -> Result<(), ServiceError> {
        if self.status(now) == ConsumerStatus::Active { Ok(()) } else { Err(self.not_active(named)) }
    }

    pub(crate) fn not_active(&self, Named { stream, account }: Named<'_>) -> ServiceError {
        ServiceError::new(
            ErrorCode::ResourceInUse,
            format!(
                "Consumer {} with creation timestamp {} under stream: {stream}, account {account} is not in ACTIVE \
                 status.",
                self.name,
                self.created_seconds()
            ),
        )
    }

    /// Whether a subscription to this shard may begin: not within five seconds of the last one that did, even if
    /// that one has ended since.
    pub(crate) fn may_subscribe(&self, now: u64, shard_index: u32) -> bool {
        self.grants.get(&shard_index).is_none_or(|grant| now.saturating_sub(grant.at) >= interval())
    }

    /// Notes a subscription that begins; the one that it takes over from, if there was any.
    pub(crate) fn subscribed(&mut self, now: u64, shard_index: u32, ticket: u64) -> Option<u64> {
        self.grants.insert(shard_index, Grant { at: now, ticket }).map(|grant| grant.ticket)
    }

    /// The subscriptions that were granted last, one per shard; they may have ended.
    pub(crate) fn tickets(&self) -> impl Iterator<Item = u64> {
        self.grants.values().map(|grant| grant.ticket)
    }
}

fn interval() -> u64 {
    u64::try_from(SUBSCRIBE_INTERVAL.as_millis()).unwrap_or(u64::MAX)
}

/// All consumers of a stream, by name.
#[derive(Debug, Default)]
pub(crate) struct Consumers {
    by_name: BTreeMap<String, Consumer>,
    /// The creation seconds of consumers that are gone, while a new one could still share theirs.
    retired: BTreeMap<String, u64>,
}

impl Consumers {
    /// Those that are not gone, by name.
    pub(crate) fn of(&self, now: u64) -> impl Iterator<Item = &Consumer> {
        self.by_name.values().filter(move |consumer| consumer.gone_at.is_none_or(|at| now < at))
    }

    pub(crate) fn get(&self, now: u64, name: &str) -> Option<&Consumer> {
        self.by_name.get(name).filter(|consumer| consumer.gone_at.is_none_or(|at| now < at))
    }

    pub(crate) fn get_mut(&mut self, now: u64, name: &str) -> Option<&mut Consumer> {
        self.by_name.get_mut(name).filter(|consumer| consumer.gone_at.is_none_or(|at| now < at))
    }

    /// Registers a consumer that is ACTIVE from `active_at` on.
    pub(crate) fn register(
        &mut self,
        now: u64,
        active_at: u64,
        name: &str,
        tags: BTreeMap<String, String>,
    ) -> &Consumer {
        self.forget_gone(now);
        let free_second = self.retired.get(name).map_or(0, |second| (second + 1) * 1000);
        let consumer = Consumer {
            name: name.to_owned(),
            created_at: now.max(free_second),
            tags,
            active_at,
            gone_at: None,
            grants: BTreeMap::new(),
        };
        self.by_name.entry(name.to_owned()).insert_entry(consumer).into_mut()
    }

    /// Whether one more may be registered under this name.
    pub(crate) fn check_room(
        &self,
        now: u64,
        name: &str,
        limits: Option<&ServiceLimits>,
        Named { stream, account }: Named<'_>,
    ) -> Result<(), ServiceError> {
        // The texts are not verified against the service: no source was found for any of the three.
        if self.get(now, name).is_some() {
            return Err(ServiceError::new(
                ErrorCode::ResourceInUse,
                format!("Consumer {name} under stream {stream} already exists for account {account}."),
            ));
        }
        let Some(limits) = limits else { return Ok(()) };
        let (most, most_creating) = (limits.consumers_per_stream, limits.consumers_creating);
        let exceeded = |text: String| Err(ServiceError::new(ErrorCode::LimitExceeded, text));
        let creating =
            self.of(now).filter(|consumer| consumer.status(now) == ConsumerStatus::Creating).count();
        if creating >= most_creating {
            return exceeded(format!(
                "Only {most_creating} consumers of a stream can be in CREATING status at the same time. Stream \
                 {stream} under account {account} has {creating}."
            ));
        }
        if self.of(now).count() >= most {
            return exceeded(format!(
                "Stream {stream} under account {account} already has the maximum number of registered consumers: \
                 {most}."
            ));
        }
        Ok(())
    }

    /// Lets a consumer go: DELETING, and gone at `gone_at`. One that is on its way keeps its time.
    pub(crate) fn deregister(&mut self, now: u64, gone_at: u64, name: &str) {
        if let Some(consumer) = self.get_mut(now, name) {
            consumer.gone_at.get_or_insert(gone_at);
        }
        self.forget_gone(now);
    }

    fn forget_gone(&mut self, now: u64) {
        self.retired.retain(|_, second| *second >= now / 1000);
        let gone = self
            .by_name
            .extract_if(.., |_, consumer| consumer.gone_at.is_some_and(|at| at <= now))
            .map(|(name, consumer)| (name, consumer.created_seconds()))
            .filter(|(_, second)| *second >= now / 1000);
        self.retired.extend(gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMED: Named<'static> = Named { stream: "orders", account: "000000000000" };

    fn register(consumers: &mut Consumers, now: u64, name: &str) -> u64 {
        consumers.register(now, now + 500, name, BTreeMap::new()).created_seconds()
    }

    fn code(outcome: Result<(), ServiceError>) -> Option<ErrorCode> {
        outcome.err().map(|error| error.code)
    }

    #[test]
    fn states_follow_from_times() {
        let mut consumers = Consumers::default();
        register(&mut consumers, 10_000, "a");
        let status = |consumers: &Consumers, now| consumers.get(now, "a").map(|a| a.status(now).name());
        assert_eq!(status(&consumers, 10_499), Some("CREATING"));
        assert_eq!(status(&consumers, 10_500), Some("ACTIVE"));
        consumers.deregister(11_000, 11_500, "a");
        consumers.deregister(11_100, 11_600, "a");
        assert_eq!(status(&consumers, 11_499), Some("DELETING"));
        assert_eq!(status(&consumers, 11_500), None);
        assert_eq!(consumers.of(11_500).count(), 0);
    }

    #[test]
    fn names_are_taken_until_their_consumer_is_gone() {
        let mut consumers = Consumers::default();
        register(&mut consumers, 0, "a");
        let check = |consumers: &Consumers, now| code(consumers.check_room(now, "a", None, NAMED));
        assert_eq!(check(&consumers, 0), Some(ErrorCode::ResourceInUse));
        consumers.deregister(1_000, 1_500, "a");
        assert_eq!(check(&consumers, 1_499), Some(ErrorCode::ResourceInUse));
        assert_eq!(check(&consumers, 1_500), None);
    }

    #[test]
    fn five_may_be_creating_and_twenty_be_there() {
        let mut consumers = Consumers::default();
        let limits = ServiceLimits::default();
        let on = Some(&limits);
        let check =
            |consumers: &Consumers, now, limits| code(consumers.check_room(now, "new", limits, NAMED));
        for round in 0..4u64 {
            let now = round * 1_000;
            for index in 0..5 {
                assert_eq!(check(&consumers, now, on), None);
                register(&mut consumers, now, &format!("c{round}-{index}"));
            }
            assert_eq!(check(&consumers, now, on), Some(ErrorCode::LimitExceeded), "five CREATING");
        }
        assert_eq!(check(&consumers, 9_000, on), Some(ErrorCode::LimitExceeded), "twenty");
        assert_eq!(check(&consumers, 9_000, None), None);
        consumers.deregister(9_000, 9_500, "c0-0");
        assert_eq!(check(&consumers, 9_499, on), Some(ErrorCode::LimitExceeded), "still DELETING");
        assert_eq!(check(&consumers, 9_500, on), None);
    }

    #[test]
    fn a_consumer_registered_again_has_another_second_and_so_another_arn() {
        let mut consumers = Consumers::default();
        let mut seconds = Vec::new();
        for _ in 0..3 {
            seconds.push(register(&mut consumers, 7_300, "a"));
            consumers.deregister(7_300, 7_300, "a");
        }
        assert_eq!(seconds, [7, 8, 9]);
        assert_eq!(register(&mut consumers, 20_000, "a"), 20);
        assert!(consumers.retired.is_empty(), "what cannot be met again is forgotten");
        let arn =
            consumers.get(20_000, "a").unwrap().arn("arn:aws:kinesis:us-east-1:000000000000:stream/orders");
        assert_eq!(arn, "arn:aws:kinesis:us-east-1:000000000000:stream/orders/consumer/a:20");
    }

    #[test]
    fn five_seconds_lie_between_two_subscriptions_to_one_shard() {
        let mut consumers = Consumers::default();
        register(&mut consumers, 0, "a");
        let a = consumers.get_mut(1_000, "a").unwrap();
        assert_eq!(a.subscribed(1_000, 0, 11), None);
        assert!(!a.may_subscribe(5_999, 0));
        assert!(a.may_subscribe(6_000, 0));
        assert!(a.may_subscribe(1_000, 1), "another shard");
        assert_eq!(a.subscribed(6_000, 0, 12), Some(11), "the second takes over");
        assert_eq!(a.tickets().collect::<Vec<_>>(), [12]);
    }

    #[test]
    fn only_an_active_consumer_reads() {
        let mut consumers = Consumers::default();
        register(&mut consumers, 1_700_000_000_123, "app");
        let error = consumers.get(1_700_000_000_200, "app").unwrap().check_active(1_700_000_000_200, NAMED);
        assert_eq!(
            error.unwrap_err().text.unwrap(),
            "Consumer app with creation timestamp 1700000000 under stream: orders, account 000000000000 is not in \
             ACTIVE status."
        );
        assert_eq!(
            consumers.get(1_700_000_001_000, "app").unwrap().check_active(1_700_000_001_000, NAMED),
            Ok(())
        );
    }
}
