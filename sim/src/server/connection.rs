//! One connection: its protocol, its requests, and what they may cost.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::Watcher;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use super::linger::Linger;
use super::{ControlAccess, control};
use crate::door::NoAnswer;
use crate::sim::Sim;
use crate::subscription::body::ReplyBody;

/// Ten MiB of payload are about 14 MiB as base64 in JSON, and keys come on top.
const MOST_BODY_BYTES: usize = 16 * 1024 * 1024;

/// How much of a body that is too large is still read, so that its sender gets to see the refusal.
const MOST_DISCARDED_BYTES: usize = 4 * MOST_BODY_BYTES;

/// Bodies of all requests together that are being received.
const MOST_BUFFERED_BYTES: usize = 1024 * 1024 * 1024;

/// What is set aside for a body before any of it is there.
const FIRST_BODY_BYTES: usize = 256 * 1024;

/// How long a connection may take to send a request's head, idle time included; longer than clients pool.
const HEAD_TIMEOUT: Duration = Duration::from_mins(10);

/// The longest that a connection which is to break is still there.
const BREAK_TIME: Duration = Duration::from_secs(1);

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Subscriptions of one client share a connection: one stream each.
const MOST_H2_STREAMS: u32 = 10_000;

/// The most that an h2 client may send ahead: a body of 16 MiB should not wait for leave too often.
const H2_WINDOW_BYTES: u32 = 1024 * 1024;

/// What all connections of a server share.
#[derive(Debug)]
pub(super) struct Connections {
    sim: Sim,
    control: ControlAccess,
    body_timeout: Duration,
    buffered_bytes: AtomicUsize,
    is_stopping: Arc<AtomicBool>,
}

impl Connections {
    pub(super) fn new(sim: Sim, control: ControlAccess, body_timeout: Duration) -> Self {
        Self { sim, control, body_timeout, buffered_bytes: AtomicUsize::new(0), is_stopping: Arc::default() }
    }

    /// Ends subscriptions, and waits for no peer from now on.
    pub(super) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        self.sim.door.with(crate::engine::Engine::stop_subscriptions);
    }

    /// Serves one connection to its end.
    pub(super) async fn serve(
        self: Arc<Self>,
        stream: TcpStream,
        peer: IpAddr,
        tls: Option<TlsAcceptor>,
        watcher: Watcher,
    ) {
        // Without it answers wait for the peer's delayed acknowledgement, some 40 ms.
        let _best_effort = stream.set_nodelay(true);
        let Some(tls) = tls else { return self.speak(stream, peer, watcher).await };
        // A peer that does not speak TLS, or does not trust us, is told by TLS itself.
        if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
            self.speak(stream, peer, watcher).await;
        }
    }

    /// HTTP/1.1 or h2, by what the peer says first: some clients speak h2 without having agreed on it.
    async fn speak<S>(self: Arc<Self>, stream: S, peer: IpAddr, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        // A peer that has closed its half counts as gone: a subscription must be freed when its reader goes, and the end
        // of the peer's half is all that is seen of that.
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).half_close(false);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MOST_H2_STREAMS)
            .initial_stream_window_size(H2_WINDOW_BYTES)
            .initial_connection_window_size(4 * H2_WINDOW_BYTES);
        let stream = Linger::new(stream, Arc::clone(&self.is_stopping));
        let broken = Arc::new(Notify::new());
        let breaks = Arc::clone(&broken);
        let service = service_fn(move |request| Arc::clone(&self).answer(request, peer, Arc::clone(&broken)));
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        // The order: a break is final, so nothing is left to starve. Why a connection ended otherwise is the peer's
        // business; nothing of ours depends on it.
        tokio::select! {
            biased;
            () = breaks.notified() => {}
            _outcome = watcher.watch(connection) => {}
        }
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: IpAddr,
        broken: Arc<Notify>,
    ) -> Result<Response<ReplyBody>, io::Error> {
        let (parts, body) = request.into_parts();
        let received = tokio::time::timeout(self.body_timeout, self.receive(body)).await;
        let body = match received.unwrap_or(Err(NotReceived::Broken(io::ErrorKind::TimedOut.into()))) {
            Ok(received) => received,
            Err(NotReceived::TooLarge) => return Ok(bare(StatusCode::PAYLOAD_TOO_LARGE)),
            Err(NotReceived::Busy) => return Ok(bare(StatusCode::SERVICE_UNAVAILABLE)),
            Err(NotReceived::Broken(error)) => return Err(error),
        };
        if control::is_meant(parts.uri.path(), self.control.admits(peer)) {
            return Ok(control::answer(&self.sim, &parts, &body.bytes));
        }
        match self.sim.door.exchange(&parts, body.bytes.clone(), None).await {
            Ok(response) => Ok(response),
            // What the fault asks for. An error alone would break an HTTP/1.1 connection, but only reset the stream of an
            // h2 one, which some clients take for an answer and do not retry.
            Err(NoAnswer::ConnectionBroken | NoAnswer::TimedOut) => {
                broken.notify_one();
                // By then the connection has gone, unless it ends by itself at this moment.
                tokio::time::sleep(BREAK_TIME).await;
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
    }

    async fn receive(&self, mut body: Incoming) -> Result<Received<'_>, NotReceived> {
        let expected = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        let mut share = Share { of: &self.buffered_bytes, bytes: 0 };
        let mut whole = BytesMut::new();
        let mut discarded = 0;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| NotReceived::Broken(io::Error::other(error)))?;
            let Ok(data) = frame.into_data() else { continue };
            if discarded > 0 || whole.len() + data.len() > MOST_BODY_BYTES {
                whole = BytesMut::new();
                discarded += data.len();
                if discarded > MOST_DISCARDED_BYTES {
                    break;
                }
                continue;
            }
            if !share.grow(data.len()) {
                return Err(NotReceived::Busy);
            }
            if whole.is_empty() && body.is_end_stream() {
                // The common small request: nothing to join.
                return Ok(Received { bytes: data, _share: share });
            }
            if whole.is_empty() {
                whole.reserve(expected.clamp(data.len(), FIRST_BODY_BYTES.max(data.len())));
            }
            whole.extend_from_slice(&data);
        }
        if discarded > 0 {
            return Err(NotReceived::TooLarge);
        }
        Ok(Received { bytes: whole.freeze(), _share: share })
    }
}

/// A body, and its share of what may be received at a time.
struct Received<'a> {
    bytes: Bytes,
    _share: Share<'a>,
}

enum NotReceived {
    TooLarge,
    /// Too much is being received already.
    Busy,
    Broken(io::Error),
}

struct Share<'a> {
    of: &'a AtomicUsize,
    bytes: usize,
}

impl Share<'_> {
    fn grow(&mut self, bytes: usize) -> bool {
        self.bytes += bytes;
        self.of.fetch_add(bytes, Ordering::Relaxed) + bytes <= MOST_BUFFERED_BYTES
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.of.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn bare(status: StatusCode) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::Whole(None));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
