//! `PutRecords`: up to 500 records. The request is refused as a whole, with nothing written, or each entry
//! succeeds or fails for itself.

use std::cmp::Reverse;

use bytes::{Bytes, BytesMut};
use kinesis_shard::SequenceNumber;
use kinesis_shard::limits::MAX_PUT_RECORDS_BYTES;

use super::put_record::{Keyed, record_len};
use super::{Call, Operation, Plane, answer, request};
use crate::engine::Engine;
use crate::error::{ErrorCode, ServiceError, write_rate_text};
use crate::quota::Limits;
use crate::rule::EntryError;
use crate::stream::{NewRecord, Stream};
use crate::validation::Constraint::{Longest, Shortest};
use crate::validation::{Kind, Member, longer_than};
use crate::wire::Value;
use crate::wire::writer::Writer;

const KEYED_ENTRY: Member = Member::new("Records", Kind::Structure(&entry_members(true)));
const KEYLESS_ENTRY: Member = Member::new("Records", Kind::Structure(&entry_members(false)));

const fn entry_members(is_keyed: bool) -> [Member; 3] {
    [
        request::DATA,
        Member { required: is_keyed, ..request::PARTITION_KEY },
        request::hash_key("ExplicitHashKey"),
    ]
}

const fn members(entry: &'static Member) -> [Member; 4] {
    [
        request::STREAM_NAME,
        request::STREAM_ARN,
        Member::new("Records", Kind::List(entry)).required().with(&[Shortest(1), Longest(500)]),
        request::DRY_RUN,
    ]
}

pub(crate) const OPERATION: Operation = Operation {
    name: "PutRecords",
    // A key is optional in the model only for streams whose records the service distributes itself.
    members: &members(&KEYED_ENTRY),
    plane: Plane::Write,
    run,
};

/// What a request must look like on such a stream.
pub(crate) const KEYLESS: &[Member] = &members(&KEYLESS_ENTRY);

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
    if input.boolean("DryRun") {
        return Err(ServiceError::dry_run());
    }
    let not_found = || ServiceError::stream_not_found(address.named());
    let mut entries = Vec::with_capacity(records.len());
    for (index, (record, keyed)) in (0..).zip(records.iter().zip(keys)) {
        let place = keyed.shard(stream).ok_or_else(not_found)?;
        entries.push(Entry { index, place, record, keyed, outcome: Err(EntryError::Throttled) });
    }
    // The service stores shard by shard, from the last one down: what goes to one shard is numbered without gaps.
    let mut order: Vec<_> = entries.iter().map(|entry| (Reverse(entry.place), entry.index)).collect();
    order.sort_unstable();
    let mut payloads = Payloads::of(records);
    for (_, index) in order {
        let at = usize::try_from(index).unwrap_or(usize::MAX);
        let Some(entry) = entries.get_mut(at) else { continue };
        let shard_id = stream.shards.get(entry.place).map_or("", |shard| shard.id.as_str());
        let struck = call.strike.and_then(|strike| strike.on_entry(shard_id, entry.index));
        entry.outcome = match struck {
            Some(refusal) => Err(refusal),
            None => entry.store(stream, call.now, limits, &mut payloads),
        };
    }
    out.reserve(records.len() * ANSWER_BYTES + 64);
    out.begin_map();
    out.key("Records");
    out.begin_list();
    for entry in entries {
        let shard = stream.shards.get(entry.place).ok_or_else(not_found)?;
        out.begin_map();
        match entry.outcome {
            Ok(number) => {
                out.plain_member("SequenceNumber", number);
                out.plain_member("ShardId", &shard.id);
            }
            Err(refusal) => {
                call.refused += 1;
                write_refusal(refusal, &write_rate_text(address.named(), &shard.id), out);
            }
        }
        out.end_map();
    }
    out.end_list();
    out.integer_member("FailedRecordCount", call.refused as u64);
    answer::write_record_encryption(stream.encryption.key().is_some(), out);
    out.end_map();
    call.records = records.len() - call.refused;
    Ok(())
}

/// One record of the request, and what became of it.
struct Entry<'a, 'v> {
    index: u64,
    place: usize,
    record: &'a Value<'v>,
    keyed: Keyed,
    outcome: Result<SequenceNumber, EntryError>,
}

impl Entry<'_, '_> {
    fn store(
        &self,
        stream: &mut Stream,
        now: u64,
        limits: Limits,
        payloads: &mut Payloads,
    ) -> Result<SequenceNumber, EntryError> {
        if !stream.admits(self.place, now, record_len(self.record), limits) {
            return Err(EntryError::Throttled);
        }
        let record = NewRecord {
            partition_key: self.record.text("PartitionKey").unwrap_or_default(),
            explicit_hash_key: self.keyed.explicit,
            data: self.record.blob("Data").map(|data| payloads.gather(data)).unwrap_or_default(),
        };
        stream.append(self.place, now, record, None).ok_or(EntryError::Internal)
    }
}

/// Small payloads, copied in the order in which they are stored: those of one shard lie together, and whoever reads
/// the shard does not wait for memory at each record.
struct Payloads(BytesMut);

impl Payloads {
    /// Above this size on average a copy costs more than it gains.
    const MOST_BYTES_EACH: usize = 2048;

    fn of(records: &[Value<'_>]) -> Self {
        let total: usize = records.iter().filter_map(|record| record.blob("Data")).map(Bytes::len).sum();
        let is_worth_it = total <= records.len() * Self::MOST_BYTES_EACH;
        Self(BytesMut::with_capacity(if is_worth_it { total } else { 0 }))
    }

    fn gather(&mut self, data: &Bytes) -> Bytes {
        if data.len() > self.0.capacity() {
            return data.clone();
        }
        self.0.extend_from_slice(data);
        self.0.split().freeze()
    }
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
    records.iter().map(|record| Keyed::of(stream, record)).collect()
}

fn write_refusal(refusal: EntryError, rate_text: &str, out: &mut Writer) {
    let (code, text) = match refusal {
        EntryError::Throttled => (ErrorCode::ProvisionedThroughputExceeded.name(), rate_text),
        EntryError::Internal => (ErrorCode::InternalFailure.name(), "Internal Service Failure"),
    };
    out.plain_member("ErrorCode", code);
    out.text_member("ErrorMessage", text);
}
