//! The engine on a socket: HTTP/1.1 and h2c (prior knowledge) on one port.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::door::{Door, NoAnswer};
use crate::sim::Sim;

/// Ten MiB of payload are about 14 MiB as base64 in JSON, and keys come on top.
const MOST_BODY_BYTES: usize = 16 * 1024 * 1024;

/// How long a stop waits for answers that are under way.
const GRACE: Duration = Duration::from_secs(5);

/// How long a connection may take to send a request's head, idle time included; longer than clients pool.
const HEAD_TIMEOUT: Duration = Duration::from_mins(2);

/// Keeps the machine from being asked again and again while it has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why a server did not start.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Another program listens there.
    #[error("{addr} is already in use: stop the program that listens there, or choose another port")]
    PortTaken {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// The address cannot be listened on for another reason.
    #[error("cannot listen on {addr}: {source}; choose an address of this machine and a port you may use")]
    Listen {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        source: Arc<io::Error>,
    },
}

/// A running server; dropping it ends it at once, [`stop`](Self::stop) lets answers finish.
#[derive(Debug)]
pub struct Server {
    addr: SocketAddr,
    stop: Arc<Notify>,
    /// The one task that accepts; it owns the tasks of all connections.
    tasks: JoinSet<()>,
}

impl Sim {
    /// Serves this simulation over HTTP/1.1 and h2c; port 0 lets the system choose.
    ///
    /// Must be called within a tokio runtime that is not paused: real sockets need real time.
    ///
    /// # Errors
    /// [`ServeError`] if the address cannot be listened on.
    pub async fn serve(&self, addr: SocketAddr) -> Result<Server, ServeError> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::AddrInUse => ServeError::PortTaken { addr },
            _ => ServeError::Listen { addr, source: Arc::new(error) },
        };
        let listener = TcpListener::bind(addr).await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        let stop = Arc::new(Notify::new());
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&self.door), Arc::clone(&stop)));
        Ok(Server { addr, stop, tasks })
    }
}

impl Server {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Takes no more connections, lets requests that are under way be answered for up to 5 seconds, and ends.
    pub async fn stop(mut self) {
        self.stop.notify_one();
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn accept(listener: TcpListener, door: Arc<Door>, stop: Arc<Notify>) {
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        // The order: a stop comes once; finished connections are few beside new ones, which starve nothing.
        tokio::select! {
            biased;
            () = stop.notified() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(stream, Arc::clone(&door), graceful.watcher()));
                }
                // Out of descriptors, or the peer has gone already: neither ends the server.
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
        }
    }
    drop(listener);
    let mut finished = pin!(async {
        graceful.shutdown().await;
        while connections.join_next().await.is_some() {}
    });
    // Whoever has no answer by then is cut off: the set of connections ends with this task.
    let _in_time = tokio::time::timeout(GRACE, &mut finished).await;
}

async fn serve_connection(stream: TcpStream, door: Arc<Door>, watcher: Watcher) {
    // Without it answers wait for the peer's delayed acknowledgement, some 40 ms.
    let _best_effort = stream.set_nodelay(true);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(1000);
    let service = service_fn(move |request| answer(request, Arc::clone(&door)));
    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    // A broken connection is the peer's business; nothing of ours depends on it.
    let _outcome = watcher.watch(connection).await;
}

async fn answer(request: Request<Incoming>, door: Arc<Door>) -> Result<Response<Full<Bytes>>, io::Error> {
    let (parts, body) = request.into_parts();
    let body = match Limited::new(body, MOST_BODY_BYTES).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Ok(too_large()),
        Err(error) => return Err(io::Error::other(error)),
    };
    match door.exchange(&parts, body, Arc::from("http")).await {
        Ok(response) => Ok(response.map(Full::new)),
        // An error ends the connection (or the h2 stream) without an answer, which is what the fault asks for.
        Err(NoAnswer::ConnectionBroken) => Err(io::ErrorKind::ConnectionReset.into()),
        Err(NoAnswer::TimedOut) => Err(io::ErrorKind::TimedOut.into()),
    }
}

fn too_large() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
    response.headers_mut().insert(http::header::CONNECTION, http::HeaderValue::from_static("close"));
    response
}
