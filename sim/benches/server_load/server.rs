//! The servers under load: how each is started, and what the system says of its process.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::client::{Connection, Target, trusting};

/// One row of the table.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) version: String,
    /// Program and arguments; `{port}` and `{ca}` are filled in at each start.
    pub(crate) command: Vec<String>,
    pub(crate) environment: Vec<(&'static str, &'static str)>,
    /// Where it is started, if that matters to it.
    folder: Option<PathBuf>,
    pub(crate) is_tls: bool,
    /// How many rules are in force that match none of the calls.
    pub(crate) rules: usize,
    /// Whether most entries are refused, for their rate.
    pub(crate) is_limited: bool,
}

impl Subject {
    fn new(name: &'static str, version: &str, command: &[&str]) -> Self {
        let command = command.iter().map(|&word| word.to_owned()).collect();
        let version = version.to_owned();
        let (environment, folder) = (Vec::new(), None);
        Self { name, version, command, environment, folder, is_tls: false, rules: 0, is_limited: false }
    }

    pub(crate) fn settings(&self) -> String {
        let environment = self.environment.iter().map(|(name, value)| format!("{name}={value}"));
        let program = Path::new(&self.command[0]).file_name().map(|name| name.to_string_lossy().into_owned());
        environment.chain(program).chain(self.command[1..].iter().cloned()).collect::<Vec<_>>().join(" ")
    }
}

/// Ours, the least that a server costs, and the peers that are installed in this folder.
pub(crate) fn subjects(peers: Option<&Path>, before: Option<&str>) -> Vec<Subject> {
    let ours = env!("CARGO_BIN_EXE_kinesis-sim");
    let own = env!("CARGO_PKG_VERSION");
    let this = std::env::current_exe().unwrap();
    let mut subjects = vec![
        Subject::new("kinesis-sim", own, &[ours, "--port", "{port}", "--limits", "off"]),
        Subject {
            is_tls: true,
            ..Subject::new(
                "kinesis-sim + TLS",
                own,
                &[ours, "--port", "0", "--tls-port", "{port}", "--write-ca", "{ca}", "--limits", "off"],
            )
        },
        Subject {
            rules: 20,
            ..Subject::new("kinesis-sim + rules", own, &[ours, "--port", "{port}", "--limits", "off"])
        },
        Subject {
            is_limited: true,
            ..Subject::new("kinesis-sim + limits", own, &[ours, "--port", "{port}", "--limits", "aws"])
        },
        Subject::new("loopback alone", own, &[&this.to_string_lossy(), "--floor", "{port}"]),
    ];
    if let Some(before) = before {
        let command = [before, "--port", "{port}", "--limits", "off"];
        subjects.push(Subject::new("before", "", &command));
    }
    match peers {
        Some(folder) => subjects.extend(peers_in(folder)),
        None => println!(
            "skip: peers: name the folder that they are installed in (--peers DIR; see docs/benchmarks.md)"
        ),
    }
    subjects
}

/// Those that are there; a line says what is missing.
fn peers_in(folder: &Path) -> Vec<Subject> {
    let mut subjects = Vec::new();
    let path = |path: &str| folder.join(path).to_string_lossy().into_owned();
    let version = |name| std::fs::read_to_string(folder.join(name)).unwrap_or_default().trim().to_owned();
    let mut peer = |file: &str, subject: Subject| {
        if folder.join(file).exists() {
            subjects.push(subject);
        } else {
            println!("skip: {}: not installed ({} is missing)", subject.name, path(file));
        }
    };
    let file = "cargo/bin/ferrokinesis";
    let command = [&path(file), "--port", "{port}", "--create-stream-ms", "0", "--shard-limit", "1000"];
    peer(file, Subject::new("ferrokinesis", &version("ferrokinesis.version"), &command));
    let file = "npm/node_modules/kinesalite/cli.js";
    let command = ["node", &path(file), "--port", "{port}", "--createStreamMs", "0", "--shardLimit", "1000"];
    peer(file, Subject::new("kinesalite", &version("kinesalite.version"), &command));
    let file = "npm/node_modules/kinesis-local/main.js";
    let mut subject =
        Subject::new("kinesis-local", &version("kinesis-local.version"), &["node", &path(file)]);
    subject.environment = vec![
        ("KINESIS_MOCK_PLAIN_PORT", "{port}"),
        ("KINESIS_MOCK_TLS_PORT", "{other}"),
        ("CREATE_STREAM_DURATION", "0ms"),
        ("SHARD_LIMIT", "1000"),
        ("LOG_LEVEL", "ERROR"),
    ];
    // It reads its certificate from there.
    subject.folder = Some(folder.join("npm/node_modules/kinesis-local"));
    peer(file, subject);
    let file = "py/bin/moto_server";
    let command = [&path(file), "-H", "127.0.0.1", "-p", "{port}"];
    peer(file, Subject::new("moto", &version("moto.version"), &command));
    subjects
}

/// A server that runs.
pub(crate) struct Started {
    child: Child,
    pub(crate) target: Target,
    /// From the start of the process to the first answer.
    pub(crate) start: Duration,
    folder: PathBuf,
}

/// What the system says of a process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) resident_bytes: f64,
    pub(crate) peak_bytes: f64,
    pub(crate) processor_seconds: f64,
}

impl Started {
    pub(crate) fn new(subject: &Subject) -> Self {
        let (port, other) = (free_port(), free_port());
        let folder = std::env::temp_dir().join(format!("kinesis-bench-{port}"));
        std::fs::create_dir_all(&folder).unwrap();
        let ca = folder.join("ca.pem");
        let fill = |text: &str| {
            text.replace("{port}", &port.to_string())
                .replace("{other}", &other.to_string())
                .replace("{ca}", &ca.to_string_lossy())
        };
        let started = Instant::now();
        let child = Command::new(&subject.command[0])
            .args(subject.command[1..].iter().map(|word| fill(word)))
            .envs(subject.environment.iter().map(|(name, value)| (name, fill(value))))
            .current_dir(subject.folder.as_ref().unwrap_or(&folder))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut target = Target { addr: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), tls: None };
        let mut connection = loop {
            if subject.is_tls && target.tls.is_none() {
                // Written once it listens, and not all at once.
                let pem = std::fs::read(&ca).unwrap_or_default();
                if pem.ends_with(b"-----END CERTIFICATE-----\n") {
                    target.tls = Some(trusting(&pem));
                }
            } else if let Some(connection) = Connection::try_to(&target) {
                break connection;
            }
            assert!(started.elapsed() < Duration::from_mins(1), "{} does not listen", subject.name);
            std::thread::sleep(Duration::from_micros(100));
        };
        connection.call("ListStreams", "{}");
        let start = started.elapsed();
        Self { child, target, start, folder }
    }

    pub(crate) fn usage(&self) -> Usage {
        let read = |name: &str| {
            std::fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).unwrap_or_default()
        };
        let status = read("status");
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0 kB");
            line.trim().split(' ').next().unwrap().parse().unwrap_or(0.0)
        };
        let stat = read("stat");
        let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
        Usage {
            resident_bytes: kib("VmRSS:") * 1024.0,
            peak_bytes: kib("VmHWM:") * 1024.0,
            // User and system mode; Linux counts in hundredths of a second.
            processor_seconds: (ticks(11) + ticks(12)) / 100.0,
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}
