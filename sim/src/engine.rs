//! The engine: a request and the time go in, an answer comes out. No clock, no I/O, no threads; equal inputs
//! give equal bytes.
//!
//! ```text
//! call(now, request) --> what is due by now: changes of streams, delayed requests
//!                    --> decode, types, constraints          SerializationException, ValidationException
//!                    --> rules                               lost, delayed, refused
//!                    --> rates of the control plane          LimitExceededException
//!                    --> the operation                       writes its answer, or an error
//!                    --> trace
//! ```

pub(crate) mod account;

mod decode;

pub(crate) mod exchange;

mod limits;

mod subject;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

pub(crate) use self::account::Commitment;
use self::decode::decode;
pub(crate) use self::decode::{Decoded, decode_input};
pub use self::exchange::{Answer, EngineSettings, Loss, Reply, Request};
#[cfg(feature = "dynamodb")]
pub(crate) use self::subject::loss as loss_of;
use self::subject::{loss, named, named_stream, whole_call_fault};
use crate::error::ServiceError;
use crate::operation::Call;
use crate::operation::consumer::consumer_name;
use crate::quota::call_rates::CallRates;
use crate::rule::{Decision, Rule, RuleBook, Strike, Subject, Verdict};
use crate::stream::{Change, Stream};
use crate::stream_table::{Address, Scope, StreamTable};
use crate::subscription::live::Subscriptions;
use crate::trace::{Line, Trace};
use crate::wire::writer::Writer;
use crate::wire::{Encoding, Value};

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
    pub(crate) subscriptions: Subscriptions,
    call_rates: CallRates,
    accounts: BTreeMap<Scope, Commitment>,
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
            subscriptions: Subscriptions::default(),
            call_rates: CallRates::default(),
            accounts: BTreeMap::new(),
            rng: StdRng::seed_from_u64(settings.seed),
            serial: 0,
            late: BTreeMap::new(),
            answers: BTreeMap::new(),
            settings,
        }
    }

    /// Takes one request at this time (milliseconds since the epoch).
    pub fn call(&mut self, now: u64, request: &Request) -> Answer {
        self.call_decoded(now, request, &decode(request))
    }

    /// As [`call`](Self::call), for doors that decode before they take the engine's lock.
    pub(crate) fn call_decoded(
        &mut self,
        now: u64,
        request: &Request,
        decoded: &Result<Decoded<'_>, ServiceError>,
    ) -> Answer {
        self.advance(now);
        self.answer(now, request, decoded, None)
    }

    /// Forgets everything but the settings, as if it had just been made. Subscriptions end normally.
    pub(crate) fn reset(&mut self, now: u64) {
        self.stop_subscriptions(now);
        let settings = EngineSettings { started_at: now, ..self.settings.clone() };
        // Tickets of calls that still wait must not be met again.
        *self = Self { serial: self.serial, ..Self::new(settings) };
    }

    /// The answer to a late request, once its time has come; `None` before, or if it was collected.
    pub fn collect(&mut self, now: u64, ticket: u64) -> Option<Answer> {
        self.advance(now);
        self.answers.remove(&ticket)
    }

    /// The caller of a late request has gone: it still takes effect, but nobody will collect its answer.
    pub fn abandon(&mut self, due: u64, ticket: u64) {
        if let Some(answer) = self.answers.remove(&ticket) {
            self.discard(&answer);
        }
        if let Some(late) = self.late.get_mut(&(due, ticket)) {
            late.wanted = false;
        }
    }

    /// Lets everything take effect that is due: changes of streams and late requests, each at its own time.
    pub fn advance(&mut self, now: u64) {
        while let Some(entry) = self.late.first_entry().filter(|entry| entry.key().0 <= now) {
            let ((due, ticket), late) = entry.remove_entry();
            self.streams.settle(due);
            let answer = self.answer(due, &late.request, &decode(&late.request), Some(late.decision));
            if late.wanted {
                self.answers.insert(ticket, answer);
            } else {
                self.discard(&answer);
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

    /// A stream in its first state, under the settings of this engine; it still has to be inserted.
    pub(crate) fn new_stream(&mut self, now: u64, address: &Address) -> Stream {
        let generation = self.draw();
        let mut stream = Stream::new(&address.name, address.scope.clone(), now, generation);
        stream.rates = self.settings.service_limits.shard;
        stream
    }

    /// The billing commitment of an account in a region.
    pub(crate) fn commitment(&mut self, scope: &Scope) -> &mut Commitment {
        self.accounts.entry(scope.clone()).or_default()
    }

    /// When a late request is next due.
    pub(crate) fn next_late(&self) -> Option<u64> {
        self.late.first_key_value().map(|((due, _), _)| *due)
    }

    /// When a change that is announced now takes effect.
    pub(crate) fn effective_at(&self, now: u64) -> u64 {
        now.saturating_add(u64::try_from(self.settings.state_delay.as_millis()).unwrap_or(u64::MAX))
    }

    /// Announces a change of a stream; without a delay it takes effect at once.
    pub(crate) fn announce(
        &mut self,
        now: u64,
        address: &Address,
        change: Change,
    ) -> Result<(), ServiceError> {
        self.streams.announce(address, self.effective_at(now), change)?;
        self.streams.settle(now);
        Ok(())
    }

    fn answer(
        &mut self,
        now: u64,
        request: &Request,
        decoded: &Result<Decoded<'_>, ServiceError>,
        settled: Option<Decision>,
    ) -> Answer {
        let accepted = match decoded {
            Ok(decoded) => self.check_unmet(request, decoded).map_or(Ok(decoded), Err),
            Err(error) => Err(error),
        };
        let decoded = match accepted {
            Ok(decoded) => decoded,
            Err(error) => {
                self.note(now, request, None, || error.code.name().to_owned());
                return Answer::Reply(self.error_reply(request.encoding, error));
            }
        };
        let decision = settled.unwrap_or_else(|| self.decide(now, request, decoded));
        if decision.delay > Duration::ZERO {
            return self.postpone(now, request, decision);
        }
        let loss = decision.strike.as_ref().and_then(loss);
        if decision.strike.as_ref().is_some_and(|strike| strike.verdict == Verdict::LoseRequest) {
            self.note(now, request, Some(&decoded.input), || "request lost".to_owned());
        } else {
            let answer = self.run(now, request, decoded, decision.strike.as_ref());
            if loss.is_none() {
                return answer;
            }
            self.discard(&answer);
        }
        Answer::Lost(loss.unwrap_or(Loss { broken_after: None }))
    }

    /// Nobody will get this answer: a subscription that it began ends.
    fn discard(&mut self, answer: &Answer) {
        if let Answer::Stream { subscription, .. } = answer {
            self.unsubscribe(*subscription);
        }
    }

    fn decide(&mut self, now: u64, request: &Request, decoded: &Decoded<'_>) -> Decision {
        if self.rules.is_empty() {
            return Decision::default();
        }
        let stream = named_stream(&request.scope, &decoded.input);
        let asks = self.rules.asks_for_shards();
        let shards = if asks { self.touched_shards(request, &decoded.input) } else { Vec::new() };
        let elapsed = Duration::from_millis(now.saturating_sub(self.settings.started_at));
        let subject = Subject {
            operation: decoded.operation.name,
            stream: stream.as_deref(),
            shards,
            consumer: consumer_name(&decoded.input),
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

    fn run(&mut self, now: u64, request: &Request, decoded: &Decoded<'_>, strike: Option<&Strike>) -> Answer {
        let Decoded { operation, input, .. } = decoded;
        let mut out = Writer::new(request.encoding);
        let mut call =
            Call { now, scope: &request.scope, strike, records: 0, refused: 0, subscription: None };
        let fault = strike.and_then(|strike| whole_call_fault(operation, strike, input, request));
        let outcome = match fault.or_else(|| self.rate_exceeded(now, request, decoded)) {
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
                let reply = self.reply(200, out.into_body());
                match call.subscription {
                    Some(subscription) => Answer::Stream { reply, subscription },
                    None => Answer::Reply(reply),
                }
            }
            Err(error) => {
                self.note(now, request, Some(input), || format!("{}{lost}", error.code.name()));
                Answer::Reply(self.error_reply(request.encoding, &error))
            }
        }
    }

    pub(crate) fn error_reply(&mut self, encoding: Encoding, error: &ServiceError) -> Reply {
        let mut out = Writer::new(encoding);
        out.begin_map();
        out.plain_member("__type", error.code.name());
        if let Some(text) = &error.text {
            out.text_member(error.code.text_member(), text);
        }
        out.end_map();
        self.reply(error.code.status(), out.into_body())
    }

    /// An answer with ids of its own.
    pub(crate) fn reply(&mut self, status: u16, body: Vec<u8>) -> Reply {
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
        let (stream, shard) = input.map_or((None, None), |input| named(&request.scope, input));
        let stream = stream.unwrap_or_default();
        self.trace.add(Line {
            at: now.saturating_sub(self.settings.started_at),
            caller: Arc::clone(&request.caller),
            operation: request.operation.clone(),
            stream,
            shard,
            outcome: outcome(),
        });
    }
}
