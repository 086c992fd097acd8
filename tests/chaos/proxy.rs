//! A network that can be cut: bytes go through it, or nothing does.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub(crate) struct Proxy {
    addr: SocketAddr,
    is_cut: Arc<watch::Sender<bool>>,
}

impl Proxy {
    /// In front of a server, on a port of its own.
    pub(crate) async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        let is_cut = Arc::new(watch::Sender::new(false));
        let cuts = is_cut.subscribe();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(through(client, server, cuts.clone()));
            }
        });
        Self { addr, is_cut }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Every connection ends in the middle of whatever it carries, and none gets through.
    pub(crate) fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    pub(crate) fn mend(&self) {
        self.is_cut.send_replace(false);
    }
}

async fn through(mut client: TcpStream, server: SocketAddr, mut cuts: watch::Receiver<bool>) {
    if *cuts.borrow() {
        return;
    }
    let Ok(mut upstream) = TcpStream::connect(server).await else { return };
    tokio::select! {
        biased;
        _ = cuts.wait_for(|cut| *cut) => {}
        _ = copy_bidirectional(&mut client, &mut upstream) => {}
    }
}
