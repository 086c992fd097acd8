//! `ListShards`: shards by filter, by page. A page token stands for everything that the first request said.

use kinesis_shard::limits::{LIST_SHARDS_PAGE, NEXT_TOKEN_LIFETIME};

use super::{Call, Operation, Plane, answer, request};
use crate::engine::Engine;
use crate::error::{ErrorCode, ServiceError};
use crate::stream::Status;
use crate::stream::listing::Filter;
use crate::stream::reshard::parse_shard_id;
use crate::stream_table::{Address, Scope};
use crate::token::{TokenReader, TokenWriter};
use crate::validation::Constraint::OneOf;
use crate::validation::{Kind, Member};
use crate::wire::Value;
use crate::wire::writer::Writer;

const TOKEN: u8 = 2;

pub(crate) const OPERATION: Operation = Operation {
    name: "ListShards",
    members: &[
        request::STREAM_NAME,
        request::STREAM_ARN,
        request::NEXT_TOKEN,
        request::shard_id("ExclusiveStartShardId"),
        request::limit("MaxResults"),
        Member::new("StreamCreationTimestamp", Kind::Timestamp),
        Member::new(
            "ShardFilter",
            Kind::Structure(&[
                Member::new("Type", Kind::Text).required().with(&[OneOf(&Filter::NAMES)]),
                request::shard_id("ShardId"),
                Member::new("Timestamp", Kind::Timestamp),
            ]),
        ),
    ],
    plane: Plane::Control,
    run,
};

/// Where a listing stands.
struct Page {
    address: Address,
    filter: Filter,
    after: Option<u32>,
}

fn run(
    engine: &mut Engine,
    call: &mut Call<'_>,
    input: &Value<'_>,
    out: &mut Writer,
) -> Result<(), ServiceError> {
    let page = page(call, input)?;
    let stream = engine.streams.get(&page.address)?;
    if !matches!(stream.status, Status::Active | Status::Updating) {
        return Err(ServiceError::stream_not_active(stream.named(), stream.status.name()));
    }
    let most = input.count("MaxResults").unwrap_or(LIST_SHARDS_PAGE).min(LIST_SHARDS_PAGE);
    let mut rest = stream
        .listed(call.now, page.filter)
        .filter(|shard| page.after.is_none_or(|after| shard.place.index > after));
    let shards: Vec<_> = rest.by_ref().take(most).collect();
    let has_more = rest.next().is_some();
    out.begin_map();
    out.key("Shards");
    out.begin_list();
    for shard in &shards {
        answer::write_shard(&shard.describe(), out);
    }
    out.end_list();
    if let Some(last) = shards.last().filter(|_| has_more) {
        let (kind, value) = page.filter.to_numbers();
        let token = TokenWriter::new(TOKEN)
            .number(call.now)
            .number(kind)
            .number(value)
            .number(u64::from(last.place.index))
            .text(&page.address.scope.account)
            .text(&page.address.scope.region)
            .text(&page.address.name);
        out.plain_member("NextToken", token.seal());
    }
    out.end_map();
    call.records = shards.len();
    Ok(())
}

fn page(call: &Call<'_>, input: &Value<'_>) -> Result<Page, ServiceError> {
    let named = input.text("StreamName").is_some() || input.text("StreamARN").is_some();
    match input.text("NextToken") {
        Some(_) if named => {
            Err(ServiceError::invalid_argument("NextToken and StreamName cannot be provided together."))
        }
        Some(token) => next_page(call, token),
        None if named => first_page(call, input),
        None => Err(ServiceError::invalid_argument("Either NextToken or StreamName should be provided.")),
    }
}

fn next_page(call: &Call<'_>, token: &str) -> Result<Page, ServiceError> {
    let fields = || {
        let mut token = TokenReader::open(TOKEN, token)?;
        let issued_at = token.number()?;
        let filter = Filter::from_numbers(token.number()?, token.number()?)?;
        let after = u32::try_from(token.number()?).ok();
        let scope = Scope { account: token.text()?.into(), region: token.text()?.into() };
        Some((issued_at, Page { address: Address { scope, name: token.text()? }, filter, after }))
    };
    let (issued_at, page) = fields().ok_or_else(|| ServiceError::invalid_argument("Invalid NextToken."))?;
    if u128::from(call.now.saturating_sub(issued_at)) > NEXT_TOKEN_LIFETIME.as_millis() {
        return Err(request::expired_token());
    }
    Ok(page)
}

fn first_page(call: &Call<'_>, input: &Value<'_>) -> Result<Page, ServiceError> {
    let address = request::address(call, input)?;
    let index =
        |text: &str| parse_shard_id(text).ok_or_else(|| ServiceError::shard_not_found(address.named(), text));
    let after = input.text("ExclusiveStartShardId").map(index).transpose()?;
    let filter = match input.get("ShardFilter") {
        None => Filter::FromTrimHorizon,
        Some(filter) => {
            let kind = filter.text("Type").unwrap_or_default();
            // Texts of missing members are not verified against the service.
            let missing = |name: &str| {
                ServiceError::new(
                    ErrorCode::Validation,
                    format!("{name} must be provided with a ShardFilter of type {kind}."),
                )
            };
            let time = || filter.timestamp("Timestamp").ok_or_else(|| missing("Timestamp"));
            match kind {
                "AT_TRIM_HORIZON" => Filter::AtTrimHorizon,
                "AT_LATEST" => Filter::AtLatest,
                "AT_TIMESTAMP" => Filter::AtTimestamp(time()?),
                "FROM_TIMESTAMP" => Filter::FromTimestamp(time()?),
                "AFTER_SHARD_ID" => {
                    Filter::AfterShardId(index(filter.text("ShardId").ok_or_else(|| missing("ShardId"))?)?)
                }
                _ => Filter::FromTrimHorizon,
            }
        }
    };
    Ok(Page { address, filter, after })
}
