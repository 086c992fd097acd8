//! `PutRecords`: up to 500 records. The request is refused as a whole, with nothing written, or each entry
//! succeeds or fails for itself.

use kinesis_shard::limits::MAX_PUT_RECORDS_BYTES;

use super::put_record::{Keyed, keyed, record_len};
use super::{Call, Operation, Plane, request};
use crate::engine::Engine;
use crate::error::{ErrorCode, ServiceError, write_rate_text};
use crate::rule::EntryError;
use crate::stream::{NewRecord, Stream};
use crate::validation::Constraint::{Longest, Shortest};
use crate::validation::{Kind, Member, longer_than};
use crate::wire::Value;
use crate::wire::writer::Writer;

const ENTRY: Member = Member::new(
    "Records",
    Kind::Structure(&[
        request::DATA,
        // Optional in the model only for streams whose records the service distributes itself.
        Member { required: true, ..request::PARTITION_KEY },
        request::hash_key("ExplicitHashKey"),
    ]),
);

pub(crate) const OPERATION: Operation = Operation {
    name: "PutRecords",
    members: &[
        request::STREAM_NAME,
        request::STREAM_ARN,
        Member::new("Records", Kind::List(&ENTRY)).required().with(&[Shortest(1), Longest(500)]),
        Member::new("DryRun", Kind::Boolean),
    ],
    plane: Plane::Write,
    run,
};

/// About how long the answer to one entry is.
const ANSWER_BYTES: usize = 128;

fn run(
    engine: &mut Engine,
    call: &mut Call<'_>,
    input: &Value<'_>,
    out: &mut Writer,
) -> Result<(), ServiceError> {
    let address = request::address(call, input)?;
    let limits = engine.settings.limits;
    let stream = engine.streams.get_writable(&address)?;
    let records = input.list("Records");
    let keys = check(stream, records)?;
    out.reserve(records.len() * ANSWER_BYTES + 64);
    out.begin_map();
    out.key("Records");
    out.begin_list();
    for (index, (record, keyed)) in (0..).zip(records.iter().zip(keys)) {
        let not_found = || ServiceError::stream_not_found(address.named());
        let place = stream.open_shard_of(keyed.hash_key).ok_or_else(not_found)?;
        let shard_id = stream.shards.get(place).map(|shard| shard.id.clone()).ok_or_else(not_found)?;
        let struck = call.strike.and_then(|strike| strike.on_entry(shard_id.as_str(), index));
        let refusal = struck.or_else(|| {
            let admitted = stream.admits(place, call.now, record_len(record), limits);
            (!admitted).then_some(EntryError::Throttled)
        });
        out.begin_map();
        if let Some(refusal) = refusal {
            call.refused += 1;
            write_refusal(refusal, &write_rate_text(address.named(), &shard_id), out);
        } else {
            let record = NewRecord {
                partition_key: record.text("PartitionKey").unwrap_or_default(),
                explicit_hash_key: keyed.explicit,
                data: record.blob("Data").cloned().unwrap_or_default(),
            };
            let number = stream.append(place, call.now, record, None).ok_or_else(not_found)?;
            out.plain_member("SequenceNumber", number);
            out.plain_member("ShardId", &shard_id);
        }
        out.end_map();
    }
    out.end_list();
    out.integer_member("FailedRecordCount", call.refused as u64);
    out.end_map();
    call.records = records.len() - call.refused;
    Ok(())
}

/// Everything for which the request is refused as a whole.
fn check(stream: &Stream, records: &[Value<'_>]) -> Result<Vec<Keyed>, ServiceError> {
    let mut total = 0;
    for (number, record) in (1..).zip(records) {
        let length = record_len(record);
        total += length;
        if length > stream.max_record_bytes {
            return Err(longer_than(&format!("records.{number}.member.data"), stream.max_record_bytes));
        }
    }
    if total > MAX_PUT_RECORDS_BYTES {
        // The wording of the 5 MB era with today's number.
        return Err(ServiceError::invalid_argument("Records size exceeds 10 MB limit"));
    }
    records.iter().map(keyed).collect()
}

fn write_refusal(refusal: EntryError, rate_text: &str, out: &mut Writer) {
    let (code, text) = match refusal {
        EntryError::Throttled => (ErrorCode::ProvisionedThroughputExceeded.name(), rate_text),
        EntryError::Internal => (ErrorCode::InternalFailure.name(), "Internal Service Failure"),
    };
    out.plain_member("ErrorCode", code);
    out.text_member("ErrorMessage", text);
}
