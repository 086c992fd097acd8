//! What goes into the engine and what comes out.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::quota::{Limits, ServiceLimits};
use crate::stream_table::Scope;
use crate::wire::Encoding;

/// How an [`Engine`](crate::Engine) behaves.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EngineSettings {
    /// Decides everything that is drawn. Default: 0.
    pub seed: u64,
    /// Whether the service's rates are enforced. Default: [`Limits::Aws`].
    pub limits: Limits,
    /// What [`Limits::Aws`] means. Default: the service's.
    pub service_limits: ServiceLimits,
    /// How long creating, deleting and resharding take. Default: 500 ms; zero is allowed.
    pub state_delay: Duration,
    /// The time of the first call, milliseconds since the epoch; windows of rules and the trace count from it.
    pub started_at: u64,
    /// How many calls the trace keeps. Default: 1,000,000; zero switches it off.
    pub trace_lines: usize,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            seed: 0,
            limits: Limits::Aws,
            service_limits: ServiceLimits::default(),
            state_delay: Duration::from_millis(500),
            started_at: 0,
            trace_lines: 1_000_000,
        }
    }
}

/// One request, as a door hands it in.
#[derive(Debug, Clone)]
pub struct Request {
    /// Who calls: for rules and the trace.
    pub caller: Arc<str>,
    /// Account and region of the caller.
    pub scope: Scope,
    /// The operation's name, as in `X-Amz-Target` after the dot.
    pub operation: String,
    /// How the body is written, and how the answer is to be.
    pub encoding: Encoding,
    /// One object.
    pub body: Bytes,
}

/// What the service answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The body; empty for operations that answer nothing.
    pub body: Bytes,
    /// For the header `x-amzn-RequestId`.
    pub request_id: String,
    /// For the header `x-amz-id-2`.
    pub extended_request_id: String,
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Answered at once.
    Reply(Reply),
    /// The request arrives at this time (milliseconds since the epoch); the answer is to be collected then.
    Late {
        /// When.
        due: u64,
        /// Names it to [`Engine::collect`](crate::Engine::collect) and [`Engine::abandon`](crate::Engine::abandon).
        ticket: u64,
    },
    /// Answered with a stream of events.
    Stream {
        /// Status and ids; the body is the stream's.
        reply: Reply,
        /// Names the subscription whose events are to be sent.
        subscription: u64,
    },
    /// The caller gets no answer.
    Lost(Loss),
}

/// How a caller learns that there is no answer; drawn by rule, caller and ordinal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// Milliseconds until the connection breaks; `None`: it never does, the caller runs into its timeout.
    pub broken_after: Option<u64>,
}
