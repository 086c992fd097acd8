//! `PutRecords`: up to 500 records. The request is refused as a whole, with nothing written, or each entry
//! succeeds or fails for itself.

use std::cmp::Reverse;

use kinesis_shard::limits::MAX_PUT_RECORDS_BYTES;
use kinesis_shard::{HashKey, SequenceNumber, md5_many};

use super::put_record::{Keyed, record_len};
use super::{Call, Operation, Plane, answer, request};
use crate::engine::Engine;
use crate::error::{ErrorCode, ServiceError, write_rate_text};
use crate::quota::Limits;
use crate::rule::EntryError;
use crate::stream::features::Distribution;
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
    for (_, index) in order {
        let at = usize::try_from(index).unwrap_or(usize::MAX);
        let Some(entry) = entries.get_mut(at) else { continue };
        let shard_id = stream.shards.get(entry.place).map_or("", |shard| shard.id.as_str());
        let struck = call.strike.and_then(|strike| strike.on_entry(shard_id, entry.index));
        entry.outcome = match struck {
            Some(refusal) => {
                if kinesis_shard::planted("an entry that is refused is stored") {
                    let _stored = entry.store(stream, call.now, limits);
                }
                Err(refusal)
            }
            None => entry.store(stream, call.now, limits),
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
                out.ascii_member("SequenceNumber", number.decimal().as_str());
                out.ascii_member("ShardId", shard.id.as_str());
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
    fn store(&self, stream: &mut Stream, now: u64, limits: Limits) -> Result<SequenceNumber, EntryError> {
        if !stream.admits(self.place, now, record_len(self.record), limits) {
            return Err(EntryError::Throttled);
        }
        let record = NewRecord {
            partition_key: self.record.text("PartitionKey").unwrap_or_default(),
            explicit_hash_key: self.keyed.explicit,
            data: self.record.blob("Data").map_or(b"".as_slice(), |data| data),
        };
        stream.append(self.place, now, record, None).ok_or(EntryError::Internal)
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
    keyed(stream, records)
}

/// As [`Keyed::of`] each, with the partition keys hashed together.
fn keyed(stream: &Stream, records: &[Value<'_>]) -> Result<Vec<Keyed>, ServiceError> {
    let hashes = |record: &&Value<'_>| {
        stream.distribution == Distribution::UserPartitionKey && record.text("ExplicitHashKey").is_none()
    };
    let to_hash = records.iter().filter(hashes);
    let keys: Vec<_> =
        to_hash.map(|record| record.text("PartitionKey").unwrap_or_default().as_bytes()).collect();
    let mut digests = vec![[0; 16]; keys.len()];
    md5_many(&keys, &mut digests);
    let mut digests = digests.into_iter();
    let keyed = |record: &Value<'_>| match if hashes(&record) { digests.next() } else { None } {
        Some(digest) => Ok(Keyed { hash_key: HashKey::new(u128::from_be_bytes(digest)), explicit: None }),
        None => Keyed::of(stream, record),
    };
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
