//! What both doors share: an HTTP exchange becomes a call of the engine, at the time of the simulation.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode, header};
use kinesis_shard::Clock;

use crate::engine::{Answer, Engine, Loss, Reply, Request};
use crate::error::{ErrorCode, ServiceError};
use crate::stream_table::Scope;

/// 1 January 2026, midnight UTC, in milliseconds: where simulated time begins.
pub(crate) const EPOCH: u64 = 1_767_225_600_000;

const JSON: &str = "application/x-amz-json-1.1";

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

    /// Answers one HTTP request.
    ///
    /// If the future is dropped before the answer, the request has taken effect or, if delayed, still will.
    pub(crate) async fn exchange(
        &self,
        parts: &Parts,
        body: Bytes,
        caller: Arc<str>,
    ) -> Result<Response<Bytes>, NoAnswer> {
        let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let request = match admit(parts, &body, caller) {
            Ok(request) => request,
            Err(Refusal::Forbidden) => return Ok(forbidden()),
            Err(Refusal::Service(error)) => {
                let reply = self.with(|engine, _| engine.error_reply(&error));
                return Ok(respond(reply, JSON));
            }
        };
        let answer = self.with(|engine, now| engine.call(now, &request));
        let answer = match answer {
            Answer::Late { due, ticket } => self.wait(due, ticket).await?,
            answer => answer,
        };
        match answer {
            Answer::Reply(reply) => Ok(respond(reply, content_type.unwrap_or(JSON))),
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
            if let Some(answer) = abandon.door.with(|engine, now| engine.collect(now, ticket)) {
                return Ok(answer);
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

enum Refusal {
    /// Not an API request at all.
    Forbidden,
    Service(ServiceError),
}

/// The checks that stand before the engine, in the service's order.
fn admit(parts: &Parts, body: &Bytes, caller: Arc<str>) -> Result<Request, Refusal> {
    if parts.method != Method::POST {
        return Err(Refusal::Forbidden);
    }
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let bare = |code| Refusal::Service(ServiceError::bare(code));
    let media_type = header("content-type").and_then(|value| value.split(';').next()).map(str::trim);
    if media_type != Some(JSON) {
        return Err(if body.is_empty() { bare(ErrorCode::UnknownOperation) } else { Refusal::Forbidden });
    }
    let target = header("x-amz-target").and_then(|target| target.strip_prefix("Kinesis_20131202."));
    if body.is_empty() {
        let known = target.and_then(crate::operation::find).is_some();
        return Err(bare(if known { ErrorCode::Serialization } else { ErrorCode::UnknownOperation }));
    }
    let operation = target.ok_or_else(|| bare(ErrorCode::UnknownOperation))?.to_owned();
    let scope = authenticate(&parts.headers, parts.uri.query()).map_err(Refusal::Service)?;
    Ok(Request { caller, scope, operation, body: body.clone() })
}

/// Presence of a signature in one of its two forms, and what it says of account and region. Signatures are not
/// verified.
fn authenticate(headers: &HeaderMap, query: Option<&str>) -> Result<Scope, ServiceError> {
    let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let query =
        query.and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("X-Amz-Credential=")));
    let credential = match (header, query) {
        (Some(_), Some(_)) => {
            return Err(ServiceError::new(
                ErrorCode::InvalidSignature,
                "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.",
            ));
        }
        (Some(header), None) => header
            .split([' ', ','])
            .find_map(|part| part.strip_prefix("Credential="))
            .unwrap_or_default()
            .replace("%2F", "/"),
        (None, Some(query)) => query.replace("%2F", "/"),
        (None, None) => {
            return Err(ServiceError::new(
                ErrorCode::MissingAuthenticationToken,
                "Missing Authentication Token",
            ));
        }
    };
    let mut fields = credential.split('/');
    let key_id = fields.next().unwrap_or_default();
    let region = fields.nth(1).filter(|region| !region.is_empty());
    let mut scope = Scope::default();
    // The convention of local emulators: a key id of twelve digits is the account.
    if key_id.len() == 12 && key_id.bytes().all(|byte| byte.is_ascii_digit()) {
        scope.account = key_id.into();
    }
    if let Some(region) = region {
        scope.region = region.into();
    }
    Ok(scope)
}

fn respond(reply: Reply, content_type: &str) -> Response<Bytes> {
    let mut response = Response::new(reply.body);
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = [
        ("content-type", content_type),
        ("x-amzn-requestid", &reply.request_id),
        ("x-amz-id-2", &reply.extended_request_id),
    ];
    for (name, value) in headers {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// What the service answers to what is no API request.
fn forbidden() -> Response<Bytes> {
    let body = "<AccessDeniedException>\n  <Message>Unable to determine service/operation name to be authorized</Message>\n\
                </AccessDeniedException>\n";
    let mut response = Response::new(Bytes::from_static(body.as_bytes()));
    *response.status_mut() = StatusCode::FORBIDDEN;
    response
}
