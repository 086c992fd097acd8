//! `ListStreams`: names in alphabetical order, by page.

use kinesis_shard::limits::NEXT_TOKEN_LIFETIME;

use super::{Call, Operation, Plane, answer, request};
use crate::engine::Engine;
use crate::error::ServiceError;
use crate::token::{TokenReader, TokenWriter};
use crate::wire::Value;
use crate::wire::writer::Writer;

/// Names in one answer, whatever is asked for.
const PAGE: usize = 100;

const TOKEN: u8 = 3;

pub(crate) const OPERATION: Operation = Operation {
    name: "ListStreams",
    members: &[
        request::limit("Limit"),
        crate::validation::Member { name: "ExclusiveStartStreamName", ..request::STREAM_NAME },
        request::NEXT_TOKEN,
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
    let after = after(call, input)?;
    let page = input.count("Limit").unwrap_or(PAGE).min(PAGE);
    let mut rest = engine.streams.of(call.scope).filter(|stream| stream.name > after);
    let streams: Vec<_> = rest.by_ref().take(page).collect();
    let has_more = rest.next().is_some();
    out.begin_map();
    out.key("StreamNames");
    out.begin_list();
    for stream in &streams {
        out.text(&stream.name);
    }
    out.end_list();
    out.key("StreamSummaries");
    out.begin_list();
    for stream in &streams {
        out.begin_map();
        answer::write_stream_members(stream, out);
        out.end_map();
    }
    out.end_list();
    out.boolean_member("HasMoreStreams", has_more);
    if let Some(last) = streams.last().filter(|_| has_more) {
        out.plain_member("NextToken", TokenWriter::new(TOKEN).number(call.now).text(&last.name).seal());
    }
    out.end_map();
    Ok(())
}

/// The name after which the page begins.
fn after(call: &Call<'_>, input: &Value<'_>) -> Result<String, ServiceError> {
    let Some(token) = input.text("NextToken") else {
        return Ok(input.text("ExclusiveStartStreamName").unwrap_or_default().to_owned());
    };
    let fields = || {
        let mut token = TokenReader::open(TOKEN, token)?;
        Some((token.number()?, token.text()?))
    };
    let (issued_at, name) = fields().ok_or_else(|| ServiceError::invalid_argument("Invalid NextToken."))?;
    if u128::from(call.now.saturating_sub(issued_at)) > NEXT_TOKEN_LIFETIME.as_millis() {
        return Err(request::expired_token());
    }
    Ok(name)
}
