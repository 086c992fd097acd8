//! The engine on a socket: HTTP/1.1 and h2c (prior knowledge) on one port, the same over TLS on another.
//!
//! ```text
//! accept --> tls (second port) --> connection --> control   /health, /_sim/...
//!                                      '--------> door      everything else: the service
//! ```

mod connection;

mod control;

mod linger;

mod tls;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use self::connection::Connections;
use crate::sim::Sim;

/// How long a stop waits for answers that are under way.
const GRACE: Duration = Duration::from_secs(5);

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
    /// No certificate could be made.
    #[error("cannot make a certificate: {text}; serve without TLS")]
    Certificate {
        /// What went wrong.
        text: String,
    },
    /// There is no certificate to write.
    #[error("there is no certificate to write: serve over TLS as well")]
    NoCertificate,
    /// The certificate cannot be written.
    #[error("cannot write the certificate to {}: {source}; choose a file that you may write", path.display())]
    WriteCertificate {
        /// The file asked for.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
}

/// Who may use the control endpoint, `/_sim/`: rules, the trace, the truth, a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ControlAccess {
    /// Whoever connects from this machine.
    #[default]
    Local,
    /// Whoever connects.
    Anyone,
    /// Nobody.
    Off,
}

impl ControlAccess {
    fn admits(self, peer: IpAddr) -> bool {
        match self {
            Self::Local => peer.to_canonical().is_loopback(),
            Self::Anyone => true,
            Self::Off => false,
        }
    }
}

/// Where and how to serve; see [`Sim::serve_with`].
#[derive(Debug, Clone)]
pub struct ServeOptions {
    addr: SocketAddr,
    tls_addr: Option<SocketAddr>,
    control: ControlAccess,
    body_timeout: Duration,
}

impl ServeOptions {
    /// HTTP on this address; port 0 lets the system choose.
    pub fn new(addr: SocketAddr) -> Self {
        let body_timeout = Duration::from_mins(1);
        Self { addr, tls_addr: None, control: ControlAccess::default(), body_timeout }
    }

    /// HTTPS on this address as well. Default: none. The certificate is made anew for each server, for `localhost`,
    /// `127.0.0.1`, `::1` and the address itself.
    #[must_use]
    pub fn with_tls(mut self, addr: SocketAddr) -> Self {
        self.tls_addr = Some(addr);
        self
    }

    /// How long a request may take to send its body; then its connection ends. Default: 1 minute.
    #[must_use]
    pub fn with_body_timeout(mut self, timeout: Duration) -> Self {
        self.body_timeout = timeout;
        self
    }

    /// Who may use the control endpoint. Default: [`ControlAccess::Local`].
    #[must_use]
    pub fn with_control(mut self, control: ControlAccess) -> Self {
        self.control = control;
        self
    }
}

/// A running server; dropping it ends it at once, [`stop`](Self::stop) lets answers finish.
#[derive(Debug)]
pub struct Server {
    addr: SocketAddr,
    tls: Option<(SocketAddr, String)>,
    /// One for each task below.
    stops: Vec<Arc<Notify>>,
    /// One task for each port; it owns the tasks of its connections.
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
        self.serve_with(ServeOptions::new(addr)).await
    }

    /// As [`serve`](Self::serve), with a choice of TLS and of who may use the control endpoint.
    ///
    /// # Errors
    /// [`ServeError`] if an address cannot be listened on, or no certificate can be made.
    pub async fn serve_with(&self, options: ServeOptions) -> Result<Server, ServeError> {
        let ServeOptions { addr, tls_addr, control, body_timeout } = options;
        let (listener, addr) = listen(addr).await?;
        let mut server = Server { addr, tls: None, stops: Vec::new(), tasks: JoinSet::new() };
        let connections = Arc::new(Connections::new(self.clone(), control, body_timeout));
        if let Some(tls_addr) = tls_addr {
            let (listener, tls_addr) = listen(tls_addr).await?;
            let (config, ca_pem) =
                tls::make(tls_addr.ip()).map_err(|text| ServeError::Certificate { text })?;
            server.tls = Some((tls_addr, ca_pem));
            server.accept(listener, Some(TlsAcceptor::from(Arc::new(config))), Arc::clone(&connections));
        }
        server.accept(listener, None, connections);
        Ok(server)
    }
}

impl Server {
    /// Where it listens for HTTP.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where it listens for HTTPS, if it does.
    pub fn tls_addr(&self) -> Option<SocketAddr> {
        self.tls.as_ref().map(|(addr, _)| *addr)
    }

    /// The certificate of the authority that clients are to trust, as PEM; none without TLS.
    pub fn ca_pem(&self) -> Option<&str> {
        self.tls.as_ref().map(|(_, ca_pem)| ca_pem.as_str())
    }

    /// Writes that certificate to a file, over what is there.
    ///
    /// # Errors
    /// [`ServeError`] without TLS, or if the file cannot be written.
    pub fn write_ca(&self, path: impl AsRef<Path>) -> Result<(), ServeError> {
        let path = path.as_ref();
        let ca_pem = self.ca_pem().ok_or(ServeError::NoCertificate)?;
        std::fs::write(path, ca_pem)
            .map_err(|error| ServeError::WriteCertificate { path: path.to_owned(), source: Arc::new(error) })
    }

    /// Takes no more connections, ends subscriptions, lets requests that are under way be answered for up to
    /// 5 seconds, and ends.
    pub async fn stop(mut self) {
        self.stops.iter().for_each(|stop| stop.notify_one());
        while self.tasks.join_next().await.is_some() {}
    }

    fn accept(&mut self, listener: TcpListener, tls: Option<TlsAcceptor>, connections: Arc<Connections>) {
        let stop = Arc::new(Notify::new());
        self.stops.push(Arc::clone(&stop));
        self.tasks.spawn(accept(listener, tls, connections, stop));
    }
}

async fn listen(addr: SocketAddr) -> Result<(TcpListener, SocketAddr), ServeError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => ServeError::PortTaken { addr },
        _ => ServeError::Listen { addr, source: Arc::new(error) },
    };
    let listener = TcpListener::bind(addr).await.map_err(failed)?;
    let addr = listener.local_addr().map_err(failed)?;
    Ok((listener, addr))
}

async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    connections: Arc<Connections>,
    stop: Arc<Notify>,
) {
    let graceful = GracefulShutdown::new();
    let mut tasks = JoinSet::new();
    loop {
        // The order: a stop comes once; finished connections are few beside new ones, which starve nothing.
        tokio::select! {
            biased;
            () = stop.notified() => break,
            Some(_) = tasks.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let (connections, tls, watcher) = (Arc::clone(&connections), tls.clone(), graceful.watcher());
                    tasks.spawn(connections.serve(stream, peer.ip(), tls, watcher));
                }
                // Out of descriptors, or the peer has gone already: neither ends the server.
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
        }
    }
    drop(listener);
    connections.stop();
    let mut finished = pin!(async {
        graceful.shutdown().await;
        while tasks.join_next().await.is_some() {}
    });
    // Whoever has no answer by then is cut off: the set of connections ends with this task.
    let _in_time = tokio::time::timeout(GRACE, &mut finished).await;
}
