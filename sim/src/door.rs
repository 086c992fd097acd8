//! What both doors share: an HTTP exchange becomes a call of the engine, at the time of the simulation.
//!
//! ```text
//! admission (method, encoding, body, target, credential) --> decode, outside the lock --> engine, inside it
//!     '--> refusal: XML, the old JSON form, or an error                                        |
//!                                       the answer <-- wait, if delayed; break, if lost <------'
//! ```

mod admission;

pub(crate) mod credential;

mod cross_origin;

mod refusal;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::Response;
use http::request::Parts;
use kinesis_shard::Clock;

use self::admission::{Admitted, admit};
use self::refusal::Refusal;
use crate::engine::{Answer, Engine, Loss, Request, decode_input};
use crate::event_stream;
use crate::subscription::body::{EventBody, ReplyBody};
use crate::wire::Encoding;

/// 1 January 2026, midnight UTC, in milliseconds: where simulated time begins.
pub(crate) const EPOCH: u64 = 1_767_225_600_000;

/// The engine, its clock, and how long callers wait.
#[derive(Debug)]
pub(crate) struct Door {
    engine: Mutex<Engine>,
    clock: SimClock,
    /// After which a caller without an answer is told of a timeout.
    pub(crate) call_timeout: Duration,
}

/// Where the time comes from.
#[derive(Debug)]
pub(crate) enum SimClock {
    /// The epoch plus what has passed on tokio's clock since the first reading: virtual under a paused runtime.
    Virtual { clock: Clock, base: OnceLock<Instant> },
    /// The machine's, for servers whose clients sign and compare with their own.
    Wall,
}

impl SimClock {
    /// Milliseconds since the epoch.
    pub(crate) fn now(&self) -> u64 {
        match self {
            Self::Virtual { clock, base } => {
                let now = clock.now();
                let elapsed = now.saturating_duration_since(*base.get_or_init(|| now));
                EPOCH + u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX - EPOCH)
            }
            Self::Wall => {
                #[expect(clippy::disallowed_methods, reason = "the edge of a server in real time")]
                let now = SystemTime::now();
                let elapsed = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
            }
        }
    }
}

/// Why a caller gets no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    ConnectionBroken,
    TimedOut,
}

impl Door {
    pub(crate) fn new(engine: Engine, clock: SimClock, call_timeout: Duration) -> Self {
        Self { engine: Mutex::new(engine), clock, call_timeout }
    }

    /// Milliseconds since the epoch.
    pub(crate) fn now(&self) -> u64 {
        self.clock.now()
    }

    /// Works on the engine as it is now. No await happens inside, so a plain lock will do.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Engine, u64) -> T) -> T {
        let now = self.clock.now();
        let mut engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        engine.advance(now);
        work(&mut engine, now)
    }

    /// Answers one HTTP request. Without a name the caller goes by its access key id.
    ///
    /// If the future is dropped before the answer, the request has taken effect or, if delayed, still will.
    pub(crate) async fn exchange(
        self: &Arc<Self>,
        parts: &Parts,
        body: Bytes,
        caller: Option<Arc<str>>,
    ) -> Result<Response<ReplyBody>, NoAnswer> {
        let mut response = match self.enter(parts, &body, caller) {
            Entered::Refused(refusal) => self.with(|engine, _| refusal.respond(engine)),
            Entered::Answered(encoding, answer) => self.settle(encoding, answer).await?,
        };
        cross_origin::allow(parts, &mut response);
        Ok(response)
    }

    /// Everything up to the first answer of the engine. What can be done outside its lock is done outside.
    fn enter(&self, parts: &Parts, body: &Bytes, caller: Option<Arc<str>>) -> Entered {
        let Admitted { encoding, operation, input, credential } = match admit(parts, body) {
            Ok(admitted) => admitted,
            Err(refusal) => return Entered::Refused(refusal),
        };
        let request = Request {
            caller: caller.unwrap_or_else(|| credential.caller()),
            scope: credential.scope(),
            operation: operation.name.to_owned(),
            encoding,
            body: body.clone(),
        };
        let decoded = decode_input(operation, encoding, input);
        Entered::Answered(encoding, self.with(|engine, now| engine.call_decoded(now, &request, &decoded)))
    }

    async fn settle(
        self: &Arc<Self>,
        encoding: Encoding,
        answer: Answer,
    ) -> Result<Response<ReplyBody>, NoAnswer> {
        let answer = match answer {
            Answer::Late { due, ticket } => self.wait(due, ticket).await?,
            answer => answer,
        };
        match answer {
            Answer::Reply(reply) => {
                let (body, head) = refusal::head_of(reply, Some(encoding.media_type()));
                Ok(head.map(|()| ReplyBody::from(body)))
            }
            Answer::Stream { reply, subscription } => {
                let events = EventBody::new(Arc::clone(self), subscription);
                let (_, head) = refusal::head_of(reply, Some(event_stream::CONTENT_TYPE));
                Ok(head.map(|()| ReplyBody::Events(events)))
            }
            Answer::Lost(loss) => Err(self.lose(loss).await),
            Answer::Late { .. } => unreachable!("a delayed call is delayed once"),
        }
    }

    async fn wait(&self, due: u64, ticket: u64) -> Result<Answer, NoAnswer> {
        let abandon = Abandon { door: self, due, ticket };
        let delay = Duration::from_millis(due.saturating_sub(self.now()));
        if delay >= self.call_timeout {
            tokio::time::sleep(self.call_timeout).await;
            return Err(NoAnswer::TimedOut);
        }
        loop {
            let (answer, now) = abandon.door.with(|engine, now| (engine.collect(now, ticket), now));
            if let Some(answer) = answer {
                return Ok(answer);
            }
            if now >= due {
                // The engine was reset meanwhile, and knows nothing of this call.
                return Err(NoAnswer::ConnectionBroken);
            }
            let rest = due.saturating_sub(self.now()).max(1);
            tokio::time::sleep(Duration::from_millis(rest)).await;
        }
    }

    async fn lose(&self, loss: Loss) -> NoAnswer {
        match loss.broken_after.map(Duration::from_millis) {
            Some(after) if after < self.call_timeout => {
                tokio::time::sleep(after).await;
                NoAnswer::ConnectionBroken
            }
            _ => {
                tokio::time::sleep(self.call_timeout).await;
                NoAnswer::TimedOut
            }
        }
    }
}

/// Tells the engine, however the wait ends, that nobody will collect this answer any more.
struct Abandon<'a> {
    door: &'a Door,
    due: u64,
    ticket: u64,
}

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        let mut engine = self.door.engine.lock().unwrap_or_else(PoisonError::into_inner);
        engine.abandon(self.due, self.ticket);
    }
}

/// How far a request came without waiting.
enum Entered {
    Refused(Refusal),
    Answered(Encoding, Answer),
}
