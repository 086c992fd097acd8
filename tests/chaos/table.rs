//! Where the leases are: a file that all workers open, or a DynamoDB-compatible server behind a proxy for each of them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::proxy::Proxy;

/// The exit status of start.sh where its tools are missing.
const NOT_INSTALLED: i32 = 75;

pub(crate) enum Table {
    File(PathBuf),
    Server { process: u32, proxies: Vec<Proxy> },
}

impl Table {
    /// The one that `CHAOS_STORE` names; nothing, with a line that says why, where its server cannot be had.
    pub(crate) async fn open(folder: &Path, workers: usize, seconds: u64) -> Option<Self> {
        match std::env::var("CHAOS_STORE").as_deref() {
            Ok("dynamodb") => Self::serve(folder, workers, seconds).await,
            Ok("sqlite") | Err(_) => Some(Self::File(folder.join("leases.sqlite"))),
            Ok(other) => panic!("CHAOS_STORE is sqlite or dynamodb, not {other:?}"),
        }
    }

    async fn serve(folder: &Path, workers: usize, seconds: u64) -> Option<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/dynamodb/start.sh");
        let started = Command::new("sh")
            .arg(script)
            .arg(folder)
            // It ends by itself if this program is killed.
            .env("DYNAMODB_LIFETIME", (seconds + 600).to_string())
            .output()
            .expect("there is a shell where there is `kill`");
        if started.status.code() == Some(NOT_INSTALLED) {
            println!("{}", String::from_utf8_lossy(&started.stderr).trim());
            return None;
        }
        assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
        let port = String::from_utf8_lossy(&started.stdout).trim().parse().expect("a port");
        let process = std::fs::read_to_string(folder.join("dynamodb.pid")).expect("it is written");
        let mut proxies = Vec::new();
        for _ in 0..workers {
            proxies.push(Proxy::start(SocketAddr::from(([127, 0, 0, 1], port))).await);
        }
        Some(Self::Server { process: process.trim().parse().expect("a process id"), proxies })
    }

    /// What a worker is told: the value of `CHAOS_LEASES`.
    pub(crate) fn address(&self, worker: usize) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Server { proxies, .. } => format!("http://{}", proxies[worker].addr()),
        }
    }

    /// A worker's way to the table, if there is a network between them.
    pub(crate) fn proxy(&self, worker: usize) -> Option<&Proxy> {
        match self {
            Self::File(_) => None,
            Self::Server { proxies, .. } => proxies.get(worker),
        }
    }

    /// To the server, if there is one.
    pub(crate) fn signal(&self, signal: &str) {
        if let Self::Server { process, .. } = self {
            drop(Command::new("kill").arg(signal).arg(process.to_string()).status());
        }
    }

    pub(crate) fn mend(&self) {
        if let Self::Server { proxies, .. } = self {
            for proxy in proxies {
                proxy.mend();
            }
        }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        self.signal("-KILL");
    }
}
