//! Which registered consumer an application subscribes as: looks it up, registers it, waits until it can be used.
//!
//! ```text
//! Unnamed --DescribeStreamSummary--> Named --DescribeStreamConsumer--> ACTIVE --> Ready
//!                                      ^          |  not found             ^
//!                                      |          v                       |
//!                                      '-- RegisterStreamConsumer --> CREATING, a second later
//! ```
//!
//! It never deregisters: other workers, and the next start, use the same consumer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kinesis_shard::Backoff;

/// Between two looks at a consumer that is being made; the KCL's figure.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The one thing to do now. It stays the same until it is answered, so that a driver may be dropped at any time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RegistrationStep {
    /// Ask for the stream's ARN.
    DescribeStream,
    DescribeConsumer {
        stream_arn: Arc<str>,
    },
    Register {
        stream_arn: Arc<str>,
    },
    WaitUntil(Instant),
    /// Subscribe as this consumer.
    Ready(Arc<str>),
}

/// What the service said of a consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Described {
    pub(crate) arn: Arc<str>,
    /// Neither being made nor being deleted.
    pub(crate) active: bool,
}

/// Why a call of the registration failed, as far as it decides what comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    NotFound,
    /// The consumer exists already, or the stream is being changed.
    InUse,
    /// Throttled, no answer, or too many consumers: it may pass.
    Later,
    /// It will not pass by itself.
    Permanent,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Unnamed,
    Named { stream_arn: Arc<str>, unknown: bool },
    Ready { stream_arn: Option<Arc<str>>, consumer_arn: Arc<str> },
}

/// See the module's diagram.
#[derive(Debug)]
pub(crate) struct Registration {
    state: State,
    not_before: Option<Instant>,
    backoff: Backoff,
}

impl Registration {
    /// `consumer_arn`: one that is registered already. `stream_arn`: the stream's, if it is known.
    pub(crate) fn new(
        consumer_arn: Option<Arc<str>>,
        stream_arn: Option<Arc<str>>,
        backoff: Backoff,
    ) -> Self {
        let state = match (consumer_arn, stream_arn) {
            (Some(consumer_arn), _) => State::Ready { stream_arn: None, consumer_arn },
            (None, Some(stream_arn)) => State::Named { stream_arn, unknown: false },
            (None, None) => State::Unnamed,
        };
        Self { state, not_before: None, backoff }
    }

    pub(crate) fn next(&mut self, now: Instant) -> RegistrationStep {
        if let Some(not_before) = self.not_before.filter(|instant| now < *instant) {
            return RegistrationStep::WaitUntil(not_before);
        }
        match &self.state {
            State::Unnamed => RegistrationStep::DescribeStream,
            State::Named { stream_arn, unknown: false } => {
                RegistrationStep::DescribeConsumer { stream_arn: Arc::clone(stream_arn) }
            }
            State::Named { stream_arn, unknown: true } => {
                RegistrationStep::Register { stream_arn: Arc::clone(stream_arn) }
            }
            State::Ready { consumer_arn, .. } => RegistrationStep::Ready(Arc::clone(consumer_arn)),
        }
    }

    /// The stream's ARN. `Err` comes back if trying again would not help.
    pub(crate) fn stream_described(
        &mut self,
        now: Instant,
        result: Result<Arc<str>, Refusal>,
    ) -> Result<(), Refusal> {
        match result {
            Ok(stream_arn) => self.state = State::Named { stream_arn, unknown: false },
            Err(refusal) => return self.failed(now, refusal),
        }
        Ok(())
    }

    pub(crate) fn consumer_described(
        &mut self,
        now: Instant,
        result: Result<Described, Refusal>,
    ) -> Result<(), Refusal> {
        let State::Named { stream_arn, unknown } = &mut self.state else { return Ok(()) };
        match result {
            Ok(Described { arn: consumer_arn, active: true }) => {
                self.backoff.reset();
                let stream_arn = Some(Arc::clone(stream_arn));
                self.state = State::Ready { stream_arn, consumer_arn };
            }
            Ok(Described { active: false, .. }) => self.not_before = Some(now + LOOK_AGAIN),
            Err(Refusal::NotFound) => *unknown = true,
            Err(refusal) => return self.failed(now, refusal),
        }
        Ok(())
    }

    pub(crate) fn registered(&mut self, now: Instant, result: Result<(), Refusal>) -> Result<(), Refusal> {
        // Whatever was answered, a look tells what is there now: the answer may be lost and the consumer made.
        if let State::Named { unknown, .. } = &mut self.state {
            *unknown = false;
        }
        match result {
            Ok(()) | Err(Refusal::InUse) => self.not_before = Some(now + LOOK_AGAIN),
            Err(refusal) => return self.failed(now, refusal),
        }
        Ok(())
    }

    /// The service did not know this consumer when it was subscribed to: somebody has deregistered it, or the shard is
    /// gone. A later look tells; one that was given by its ARN is kept.
    pub(crate) fn not_found(&mut self, arn: &str) {
        if let State::Ready { stream_arn: Some(stream_arn), consumer_arn } = &self.state
            && **consumer_arn == *arn
        {
            self.state = State::Named { stream_arn: Arc::clone(stream_arn), unknown: false };
        }
    }

    fn failed(&mut self, now: Instant, refusal: Refusal) -> Result<(), Refusal> {
        self.not_before = Some(now + self.backoff.next_delay());
        match refusal {
            Refusal::Later | Refusal::InUse => Ok(()),
            Refusal::NotFound | Refusal::Permanent => Err(refusal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/orders";
    const CONSUMER: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/orders/consumer/app:1";

    fn registration(consumer: Option<&str>, stream: Option<&str>) -> (Registration, Instant) {
        #[expect(clippy::disallowed_methods, reason = "an arbitrary instant to count from")]
        let now = Instant::now();
        let backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30), 2.0, 1);
        (Registration::new(consumer.map(Into::into), stream.map(Into::into), backoff), now)
    }

    fn described(active: bool) -> Described {
        Described { arn: CONSUMER.into(), active }
    }

    fn describe() -> RegistrationStep {
        RegistrationStep::DescribeConsumer { stream_arn: STREAM.into() }
    }

    fn register() -> RegistrationStep {
        RegistrationStep::Register { stream_arn: STREAM.into() }
    }

    #[test]
    fn a_given_consumer_is_used_as_it_is() {
        let (mut registration, now) = registration(Some(CONSUMER), None);
        assert_eq!(registration.next(now), RegistrationStep::Ready(CONSUMER.into()));
        registration.not_found(CONSUMER);
        assert_eq!(registration.next(now), RegistrationStep::Ready(CONSUMER.into()), "it was given");
    }

    #[test]
    fn an_unknown_consumer_is_registered_and_waited_for() {
        let (mut registration, mut now) = registration(None, None);
        assert_eq!(registration.next(now), RegistrationStep::DescribeStream);
        registration.stream_described(now, Ok(STREAM.into())).unwrap();
        assert_eq!(registration.next(now), describe());
        registration.consumer_described(now, Err(Refusal::NotFound)).unwrap();
        assert_eq!(registration.next(now), register());
        assert_eq!(registration.next(now), register(), "the same until it is answered");
        registration.registered(now, Ok(())).unwrap();
        for active in [false, true] {
            assert_eq!(registration.next(now), RegistrationStep::WaitUntil(now + LOOK_AGAIN));
            now += LOOK_AGAIN;
            assert_eq!(registration.next(now), describe());
            registration.consumer_described(now, Ok(described(active))).unwrap();
        }
        assert_eq!(registration.next(now), RegistrationStep::Ready(CONSUMER.into()));
    }

    #[test]
    fn a_known_consumer_is_not_registered_again() {
        let (mut registration, now) = registration(None, Some(STREAM));
        assert_eq!(registration.next(now), describe());
        registration.consumer_described(now, Ok(described(true))).unwrap();
        assert_eq!(registration.next(now), RegistrationStep::Ready(CONSUMER.into()));
    }

    #[test]
    fn two_workers_that_register_at_once_both_find_it() {
        let (mut registration, now) = registration(None, Some(STREAM));
        registration.consumer_described(now, Err(Refusal::NotFound)).unwrap();
        registration.registered(now, Err(Refusal::InUse)).unwrap();
        assert_eq!(registration.next(now + LOOK_AGAIN), describe());
    }

    #[test]
    fn what_may_pass_is_tried_again_after_growing_pauses() {
        let (mut registration, mut now) = registration(None, Some(STREAM));
        registration.consumer_described(now, Err(Refusal::NotFound)).unwrap();
        let mut pauses = Vec::new();
        for _ in 0..6 {
            registration.registered(now, Err(Refusal::Later)).unwrap();
            let RegistrationStep::WaitUntil(until) = registration.next(now) else { panic!("no pause") };
            pauses.push(until - now);
            now = until;
            assert_eq!(registration.next(now), describe(), "it may have been registered all the same");
            registration.consumer_described(now, Err(Refusal::NotFound)).unwrap();
        }
        assert!(pauses[5] > 4 * pauses[0], "{pauses:?}");
    }

    #[test]
    fn what_will_not_pass_is_told_and_still_tried_later() {
        let (mut registration, now) = registration(None, None);
        assert_eq!(registration.stream_described(now, Err(Refusal::NotFound)), Err(Refusal::NotFound));
        assert!(matches!(registration.next(now), RegistrationStep::WaitUntil(_)));
        assert_eq!(registration.next(now + Duration::from_secs(1)), RegistrationStep::DescribeStream);
        assert_eq!(registration.stream_described(now, Err(Refusal::Permanent)), Err(Refusal::Permanent));
    }

    #[test]
    fn a_consumer_that_was_deregistered_is_looked_up_again_once() {
        let (mut registration, now) = registration(None, Some(STREAM));
        registration.consumer_described(now, Ok(described(true))).unwrap();
        registration.not_found("another");
        assert_eq!(registration.next(now), RegistrationStep::Ready(CONSUMER.into()));
        registration.not_found(CONSUMER);
        assert_eq!(registration.next(now), describe());
        registration.not_found(CONSUMER);
        assert_eq!(registration.next(now), describe(), "a second shard's news changes nothing");
    }
}
