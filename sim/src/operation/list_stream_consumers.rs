//! `ListStreamConsumers`: by name, by page.

use kinesis_shard::limits::NEXT_TOKEN_LIFETIME;

use super::consumer;
use super::{Call, Operation, Plane, request};
use crate::engine::Engine;
use crate::error::ServiceError;
use crate::token::{TokenReader, TokenWriter};
use crate::validation::{Kind, Member};
use crate::wire::Value;
use crate::wire::writer::Writer;

/// Other kinds of tokens have other numbers.
const TOKEN: u8 = 16;

/// Consumers of a page, however many are asked for.
const PAGE: usize = 100;

pub(crate) const OPERATION: Operation = Operation {
    name: "ListStreamConsumers",
    members: &[
        request::STREAM_ARN.required(),
        request::NEXT_TOKEN,
        request::limit("MaxResults"),
        Member::new("StreamCreationTimestamp", Kind::Timestamp),
    ],
    plane: Plane::Control,
    run,
};

fn run(
    engine: &mut Engine,
    call: &mut Call<'_>,
    input: &Value<'_>,
    out: &mut Writer,
) -> Result<(), ServiceError> {
    let address = request::address(call, input)?;
    let stream = engine.streams.get(&address)?;
    let after =
        input.text("NextToken").map(|token| open_token(token, call.now, stream.generation)).transpose()?;
    let most = input.count("MaxResults").unwrap_or(PAGE).min(PAGE);
    let mut rest = stream
        .consumers
        .of(call.now)
        .filter(|consumer| after.as_ref().is_none_or(|after| consumer.name > *after));
    let page: Vec<_> = rest.by_ref().take(most).collect();
    let has_more = rest.next().is_some();
    let stream_arn = stream.arn();
    out.begin_map();
    out.key("Consumers");
    out.begin_list();
    for registered in &page {
        out.begin_map();
        consumer::write_members(registered, &stream_arn, call.now, out);
        out.end_map();
    }
    out.end_list();
    if let Some(last) = page.last().filter(|_| has_more) {
        let token = TokenWriter::new(TOKEN).number(call.now).number(stream.generation).text(&last.name);
        out.plain_member("NextToken", token.seal());
    }
    out.end_map();
    call.records = page.len();
    Ok(())
}

/// The name after which the listing goes on.
fn open_token(text: &str, now: u64, generation: u64) -> Result<String, ServiceError> {
    let fields = || {
        let mut token = TokenReader::open(TOKEN, text)?;
        let issued_at = token.number()?;
        (token.number()? == generation).then_some(())?;
        Some((issued_at, token.text()?))
    };
    let (issued_at, name) = fields().ok_or_else(|| ServiceError::invalid_argument("Invalid NextToken."))?;
    if u128::from(now.saturating_sub(issued_at)) > NEXT_TOKEN_LIFETIME.as_millis() {
        return Err(request::expired_token());
    }
    Ok(name)
}
