//! A network that can be cut, or stand still: bytes go through it, or nothing does, or they come later.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// What is on its way stays there.
    Still,
    Cut,
}

pub(crate) struct Proxy {
    addr: SocketAddr,
    state: Arc<watch::Sender<State>>,
}

impl Proxy {
    /// In front of a server, on a port of its own.
    pub(crate) async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        let state = Arc::new(watch::Sender::new(State::Open));
        let changes = state.subscribe();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(through(client, server, changes.clone()));
            }
        });
        Self { addr, state }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Every connection ends in the middle of whatever it carries, and none gets through.
    pub(crate) fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    /// Nothing moves, and nobody is told: a request that is under way arrives when its sender has given up.
    pub(crate) fn hold(&self) {
        self.state.send_replace(State::Still);
    }

    pub(crate) fn mend(&self) {
        self.state.send_replace(State::Open);
    }
}

async fn through(client: TcpStream, server: SocketAddr, mut changes: watch::Receiver<State>) {
    if *changes.borrow() == State::Cut {
        return;
    }
    let Ok(upstream) = TcpStream::connect(server).await else { return };
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), upstream.into_split());
    let requests = carry(from_client, to_server, changes.clone());
    let answers = carry(from_server, to_client, changes.clone());
    tokio::select! {
        biased;
        _ = changes.wait_for(|state| *state == State::Cut) => {}
        // A client that gave up is gone only when what it sent has arrived.
        ((), ()) = async { tokio::join!(requests, answers) } => {}
    }
}

/// One direction, until its sender has said everything.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut changes: watch::Receiver<State>,
) {
    let mut buffer = vec![0; 64 * 1_024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let moves = changes.wait_for(|state| *state != State::Still).await.is_ok();
        if !moves || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
    // Nobody may be left to hear it.
    drop(to.shutdown().await);
}
