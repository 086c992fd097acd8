//! `SubscribeToShard`: events of one shard pushed to one consumer. Refusals are ordinary answers; once it has begun,
//! the subscription goes on in [`crate::subscription`].

use std::time::Duration;

use kinesis_shard::ShardId;

use super::consumer::{CONSUMER_ARN, named_consumer, not_found};
use super::{Call, Operation, Plane, get_shard_iterator, request};
use crate::engine::Engine;
use crate::error::{ErrorCode, Named, ServiceError};
use crate::rule::Verdict;
use crate::stream::Stream;
use crate::stream::reshard::parse_shard_id;
use crate::subscription::live::Target;
use crate::subscription::{Subscription, Terms};
use crate::validation::Constraint::OneOf;
use crate::validation::{Kind, Member};
use crate::wire::Value;
use crate::wire::writer::Writer;

pub(crate) const OPERATION: Operation = Operation {
    name: "SubscribeToShard",
    members: &[
        CONSUMER_ARN.required(),
        Member { required: true, ..request::shard_id("ShardId") },
        Member::new(
            "StartingPosition",
            Kind::Structure(&[
                Member::new("Type", Kind::Text).required().with(&[OneOf(&get_shard_iterator::TYPES)]),
                request::sequence_number("SequenceNumber"),
                Member::new("Timestamp", Kind::Timestamp),
            ]),
        )
        .required(),
        Member::new("DryRun", Kind::Boolean),
    ],
    // Of the throttles it knows only LimitExceededException.
    plane: Plane::Control,
    run,
};

fn run(
    engine: &mut Engine,
    call: &mut Call<'_>,
    input: &Value<'_>,
    _: &mut Writer,
) -> Result<(), ServiceError> {
    let now = call.now;
    let consumer = named_consumer(call, input)?;
    let address = consumer.address.clone();
    let named = address.named();
    let text = input.text("ShardId").unwrap_or_default();
    let shard_index = parse_shard_id(text).ok_or_else(|| ServiceError::shard_not_found(named, text))?;
    let stream = engine.streams.get(&address)?;
    let registered = consumer.find(stream, now).ok_or_else(|| not_found(&consumer))?;
    let place = usize::try_from(shard_index).unwrap_or(usize::MAX);
    let shard = stream.shards.get(place).filter(|shard| !stream.is_expired(shard, now)).ok_or_else(|| {
        ServiceError::shard_does_not_exist(named, ShardId::from_index(u64::from(shard_index)))
    })?;
    registered.check_active(now, named)?;
    let start = input.get("StartingPosition").unwrap_or(&Value::Null);
    let position = get_shard_iterator::position(
        stream,
        shard,
        now,
        &get_shard_iterator::Start {
            operation: "SubscribeToShard",
            kind: start.text("Type").unwrap_or_default(),
            sequence_number: start.text("SequenceNumber"),
            timestamp: start.timestamp("Timestamp"),
        },
    )?;
    let in_use = subscribed_already(named, &shard.id, &registered.name);
    if !registered.may_subscribe(now, shard_index) {
        return Err(in_use);
    }
    if input.boolean("DryRun") {
        return Err(ServiceError::dry_run());
    }
    let limits = engine.limits_in_force();
    let later = |after: Duration| now.saturating_add(u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
    let (cut_at, stall_at) = match call.strike.map(|strike| strike.verdict) {
        Some(Verdict::CutSubscription { after }) => (Some(later(after)), None),
        Some(Verdict::StallSubscription { after }) => (None, Some(later(after))),
        _ => (None, None),
    };
    let terms = Terms {
        position,
        bytes_per_second: limits.map(|limits| limits.subscription_bytes_per_second),
        cut_at,
        stall_at,
    };
    let target = Target { generation: stream.generation, address, place };
    let ticket = engine.subscribe(target, Subscription::new(now, terms));
    call.subscription = Some(ticket);
    let before = engine
        .streams
        .get_mut(&consumer.address)
        .ok()
        .and_then(|stream: &mut Stream| stream.consumers.get_mut(now, &consumer.name))
        .and_then(|registered| registered.subscribed(now, shard_index, ticket));
    if let Some(before) = before {
        engine.refuse_subscription(before, in_use);
    }
    Ok(())
}

/// Told to a call that comes too soon, and to the subscription that a later call takes over.
fn subscribed_already(Named { stream, account }: Named<'_>, shard: &ShardId, consumer: &str) -> ServiceError {
    ServiceError::new(
        ErrorCode::ResourceInUse,
        format!(
            "Another active subscription exists for this consumer: {account}:{stream}:{shard}:{consumer}"
        ),
    )
}
