//! The engine: a request and the time go in, an answer comes out. No clock, no I/O, no threads; equal inputs
//! give equal bytes.
//!
//! ```text
//! call(now, request) --> what is due by now: changes of streams, delayed requests
//!                    --> decode, types, constraints          SerializationException, ValidationException
//!                    --> rules                               lost, delayed, refused
//!                    --> the operation                       writes its answer, or an error
//!                    --> trace
//! ```

pub(crate) mod exchange;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

pub use self::exchange::{Answer, EngineSettings, Loss, Reply, Request};
use crate::error::{ErrorCode, ServiceError};
use crate::iterator::ShardIterator;
use crate::operation::put_record::keyed;
use crate::operation::request::try_address;
use crate::operation::{self, Call, Operation, Plane};
use crate::quota::Limits;
use crate::rule::{Decision, Draw, Rule, RuleBook, Strike, Subject, Verdict};
use crate::stream::Change;
use crate::stream::reshard::parse_shard_id;
use crate::stream_table::{Address, Scope, StreamTable};
use crate::trace::{Line, Trace};
use crate::validation::{check_constraints, check_types};
use crate::wire::writer::Writer;
use crate::wire::{Value, json};

/// Shards that an account may have open in a region, unless limits are off.
const SHARD_LIMIT: usize = 20_000;

#[derive(Debug)]
struct LateCall {
    request: Request,
    decision: Decision,
    wanted: bool,
}

/// A simulated Kinesis: all streams, and everything that decides how calls are answered.
#[derive(Debug)]
pub struct Engine {
    pub(crate) settings: EngineSettings,
    pub(crate) streams: StreamTable,
    pub(crate) rules: RuleBook,
    pub(crate) trace: Trace,
    rng: StdRng,
    serial: u64,
    late: BTreeMap<(u64, u64), LateCall>,
    answers: BTreeMap<u64, Answer>,
}

impl Engine {
    /// An engine without streams.
    pub fn new(settings: EngineSettings) -> Self {
        Self {
            streams: StreamTable::default(),
            rules: RuleBook::new(settings.seed),
            trace: Trace::new(settings.trace_lines),
            rng: StdRng::seed_from_u64(settings.seed),
            serial: 0,
            late: BTreeMap::new(),
            answers: BTreeMap::new(),
            settings,
        }
    }

    /// Takes one request at this time (milliseconds since the epoch).
    pub fn call(&mut self, now: u64, request: &Request) -> Answer {
        self.advance(now);
        self.answer(now, request, None)
    }

    /// The answer to a late request, once its time has come; `None` before, or if it was collected.
    pub fn collect(&mut self, now: u64, ticket: u64) -> Option<Answer> {
        self.advance(now);
        self.answers.remove(&ticket)
    }

    /// The caller of a late request has gone: it still takes effect, but nobody will collect its answer.
    pub fn abandon(&mut self, due: u64, ticket: u64) {
        self.answers.remove(&ticket);
        if let Some(late) = self.late.get_mut(&(due, ticket)) {
            late.wanted = false;
        }
    }

    /// Lets everything take effect that is due: changes of streams and late requests, each at its own time.
    pub fn advance(&mut self, now: u64) {
        while let Some(entry) = self.late.first_entry().filter(|entry| entry.key().0 <= now) {
            let ((due, ticket), late) = entry.remove_entry();
            self.streams.settle(due);
            let answer = self.answer(due, &late.request, Some(late.decision));
            if late.wanted {
                self.answers.insert(ticket, answer);
            }
        }
        self.streams.settle(now);
    }

    /// Adds a rule; see [`Rule`]. The number removes it, the counter shows its hits.
    pub fn add_rule(&mut self, rule: Rule) -> (u64, Arc<AtomicU64>) {
        self.rules.add(rule)
    }

    /// Removes a rule; unknown numbers are ignored.
    pub fn remove_rule(&mut self, number: u64) {
        self.rules.remove(number);
    }

    /// The trace: one line per call.
    pub fn trace(&self) -> Vec<String> {
        self.trace.lines()
    }

    /// A number that no earlier call returned.
    pub(crate) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub(crate) fn draw(&mut self) -> u64 {
        self.rng.next_u64()
    }

    /// Announces a change of a stream; without a delay it takes effect at once.
    pub(crate) fn announce(
        &mut self,
        now: u64,
        address: &Address,
        change: Change,
    ) -> Result<(), ServiceError> {
        let delay = u64::try_from(self.settings.state_delay.as_millis()).unwrap_or(u64::MAX);
        self.streams.announce(address, now.saturating_add(delay), change)?;
        self.streams.settle(now);
        Ok(())
    }

    pub(crate) fn check_shard_limit(
        &self,
        scope: &Scope,
        current: usize,
        additional: usize,
    ) -> Result<(), ServiceError> {
        if self.settings.limits == Limits::Off || current + additional <= SHARD_LIMIT {
            return Ok(());
        }
        let Scope { account, region } = scope;
        Err(ServiceError::new(
            ErrorCode::LimitExceeded,
            format!(
                "This request would exceed the shard limit for the account {account} in {region}. Current shard \
                 count for the account: {current}. Limit: {SHARD_LIMIT}. Number of additional shards that would have \
                 resulted from this request: {additional}. Refer to the AWS Service Limits page \
                 (http://docs.aws.amazon.com/general/latest/gr/aws_service_limits.html) for current limits and how \
                 to request higher limits."
            ),
        ))
    }

    fn answer(&mut self, now: u64, request: &Request, settled: Option<Decision>) -> Answer {
        let decoded = match decode(request) {
            Ok(decoded) => decoded,
            Err(error) => {
                self.note(now, request, None, || error.code.name().to_owned());
                return Answer::Reply(self.error_reply(&error));
            }
        };
        let decision = settled.unwrap_or_else(|| self.decide(now, request, &decoded));
        if decision.delay > Duration::ZERO {
            return self.postpone(now, request, decision);
        }
        let loss = decision.strike.as_ref().and_then(loss);
        if decision.strike.as_ref().is_some_and(|strike| strike.verdict == Verdict::LoseRequest) {
            self.note(now, request, Some(&decoded.input), || "request lost".to_owned());
        } else {
            let reply = self.run(now, request, &decoded, decision.strike.as_ref());
            if loss.is_none() {
                return Answer::Reply(reply);
            }
        }
        Answer::Lost(loss.unwrap_or(Loss { broken_after: None }))
    }

    fn decide(&mut self, now: u64, request: &Request, decoded: &Decoded<'_>) -> Decision {
        if self.rules.is_empty() {
            return Decision::default();
        }
        let (stream, shards) = self.touched(request, &decoded.input);
        let elapsed = Duration::from_millis(now.saturating_sub(self.settings.started_at));
        let subject = Subject {
            operation: decoded.operation.name,
            stream: stream.as_deref(),
            shards,
            caller: &request.caller,
        };
        self.rules.decide(elapsed, &subject)
    }

    fn postpone(&mut self, now: u64, request: &Request, decision: Decision) -> Answer {
        // Whole milliseconds, rounded up: a delay is never shorter than asked for.
        let millis = u64::try_from(decision.delay.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        let (due, ticket) = (now.saturating_add(millis), self.next_serial());
        let decision = Decision { delay: Duration::ZERO, ..decision };
        self.late.insert((due, ticket), LateCall { request: request.clone(), decision, wanted: true });
        Answer::Late { due, ticket }
    }

    fn run(&mut self, now: u64, request: &Request, decoded: &Decoded<'_>, strike: Option<&Strike>) -> Reply {
        let Decoded { operation, input } = decoded;
        let mut out = Writer::default();
        let mut call = Call { now, scope: &request.scope, strike, records: 0, refused: 0 };
        let outcome = match strike.and_then(|strike| whole_call_fault(operation, strike, input, request)) {
            Some(error) => Err(error),
            None => (operation.run)(self, &mut call, input, &mut out),
        };
        let lost = if strike.is_some_and(|strike| strike.verdict == Verdict::LoseAnswer) {
            ", answer lost"
        } else {
            ""
        };
        match outcome {
            Ok(()) => {
                let (records, refused) = (call.records, call.refused);
                self.note(now, request, Some(input), || match (records, refused) {
                    (0, 0) => format!("ok{lost}"),
                    (records, 0) => format!("ok {records}{lost}"),
                    (records, refused) => format!("ok {records} refused {refused}{lost}"),
                });
                self.reply(200, out.into_body())
            }
            Err(error) => {
                self.note(now, request, Some(input), || format!("{}{lost}", error.code.name()));
                self.error_reply(&error)
            }
        }
    }

    pub(crate) fn error_reply(&mut self, error: &ServiceError) -> Reply {
        let mut out = Writer::default();
        out.begin_map();
        out.plain_member("__type", error.code.name());
        if let Some(text) = &error.text {
            out.text_member(error.code.text_member(), text);
        }
        out.end_map();
        self.reply(error.code.status(), out.into_body())
    }

    fn reply(&mut self, status: u16, body: Vec<u8>) -> Reply {
        let (high, low) = (self.rng.next_u64(), self.rng.next_u64());
        let request_id = format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            high >> 16 & 0xFFFF,
            high & 0xFFF,
            low >> 48 & 0x3FFF | 0x8000,
            low & 0xFFFF_FFFF_FFFF
        );
        let mut random = [0; 72];
        self.rng.fill_bytes(&mut random);
        let extended_request_id = base64_simd::STANDARD.encode_to_string(random);
        Reply { status, body: body.into(), request_id, extended_request_id }
    }

    fn note(
        &mut self,
        now: u64,
        request: &Request,
        input: Option<&Value<'_>>,
        outcome: impl FnOnce() -> String,
    ) {
        if !self.trace.is_on() {
            return;
        }
        let stream = input.and_then(|input| named_stream(&request.scope, input)).unwrap_or_default();
        self.trace.add(Line {
            at: now.saturating_sub(self.settings.started_at),
            caller: Arc::clone(&request.caller),
            operation: request.operation.clone(),
            stream,
            outcome: outcome(),
        });
    }

    /// The stream and the shards that a request is about, for rules.
    fn touched(&self, request: &Request, input: &Value<'_>) -> (Option<String>, Vec<String>) {
        let id = |index: u32| kinesis_shard::ShardId::from_index(u64::from(index)).to_string();
        let mut shards: Vec<_> = ["ShardId", "ShardToSplit", "ShardToMerge", "AdjacentShardToMerge"]
            .into_iter()
            .filter_map(|name| input.text(name).and_then(parse_shard_id).map(id))
            .collect();
        if let Some(iterator) = input.text("ShardIterator").and_then(|text| ShardIterator::open(text).ok()) {
            shards.push(id(iterator.shard_index));
        }
        let address = try_address(&request.scope, input);
        if let Some(stream) = address.as_ref().and_then(|address| self.streams.get(address).ok()) {
            let single = input.get("PartitionKey").map(|_| input);
            for record in input.list("Records").iter().chain(single) {
                let place = keyed(record).ok().and_then(|keyed| stream.open_shard_of(keyed.hash_key));
                let shard = place.and_then(|place| stream.shards.get(place));
                shards.extend(shard.map(|shard| shard.id.to_string()));
            }
        }
        shards.sort_unstable();
        shards.dedup();
        (named_stream(&request.scope, input), shards)
    }
}

/// A request whose types and constraints have been checked.
struct Decoded<'a> {
    operation: &'static Operation,
    input: Value<'a>,
}

fn decode(request: &Request) -> Result<Decoded<'_>, ServiceError> {
    let operation =
        operation::find(&request.operation).ok_or(ServiceError::bare(ErrorCode::UnknownOperation))?;
    let mut input = json::read(&request.body).ok_or(ServiceError::bare(ErrorCode::Serialization))?;
    check_types(&mut input, operation.members)?;
    check_constraints(&input, operation.members)?;
    Ok(Decoded { operation, input })
}

/// The stream that a request names, directly or through its iterator.
fn named_stream(scope: &Scope, input: &Value<'_>) -> Option<String> {
    match input.text("ShardIterator") {
        Some(text) => ShardIterator::open(text).ok().map(|iterator| iterator.stream),
        None => try_address(scope, input).map(|address| address.name),
    }
}

/// The error with which a fault refuses the call as a whole.
fn whole_call_fault(
    operation: &Operation,
    strike: &Strike,
    input: &Value<'_>,
    request: &Request,
) -> Option<ServiceError> {
    let only_entries = operation.name == "PutRecords" && strike.shard.is_some();
    if only_entries {
        return None;
    }
    let stream = named_stream(&request.scope, input).unwrap_or_default();
    let named = crate::error::Named { stream: &stream, account: &request.scope.account };
    let shard = strike.shard.as_deref().unwrap_or("shardId-000000000000");
    match (strike.verdict, operation.plane) {
        (Verdict::Throttle, Plane::Control) => Some(ServiceError::control_rate(named)),
        (Verdict::Throttle, Plane::Write) => Some(ServiceError::write_rate(named, shard)),
        (Verdict::Throttle, Plane::Read) => Some(ServiceError::read_rate(named, shard)),
        (Verdict::Fail, _) => Some(ServiceError::bare(ErrorCode::InternalFailure)),
        _ => None,
    }
}

/// Half of the lost calls break their connection within a second; the others are never heard of again.
fn loss(strike: &Strike) -> Option<Loss> {
    let Strike { verdict: Verdict::LoseRequest | Verdict::LoseAnswer, draw, .. } = strike else {
        return None;
    };
    Some(Loss { broken_after: broken_after(*draw) })
}

fn broken_after(draw: Draw) -> Option<u64> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 1,000")]
    (draw.unit(1) < 0.5).then(|| 1 + (draw.unit(2) * 999.0) as u64)
}
