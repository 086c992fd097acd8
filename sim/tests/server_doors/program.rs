//! The program itself: its lines, its signals, its refusals.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tokio::net::TcpStream;

use crate::http::{Client, soon};

/// Ended when it is dropped.
pub(crate) struct Program {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Program {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_kinesis-sim"))
            .args(["--port", "0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// The address of the next line.
    pub(crate) fn addr(&mut self, scheme: &str) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        let addr = line.trim().strip_prefix(&format!("kinesis-sim is listening on {scheme}://"));
        addr.unwrap_or_else(|| panic!("{line:?}")).to_owned()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, name: &str) {
        let sent =
            Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    async fn ended(&mut self) -> ExitStatus {
        soon(async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _outcome = self.child.kill();
        let _outcome = self.child.wait();
    }
}

#[tokio::test]
async fn signals_end_it_cleanly_with_connections_open() {
    for signal in ["INT", "TERM"] {
        let mut program = Program::start(&["--stream", "orders:2"]);
        let addr = program.addr("http");
        let mut client = Client { stream: TcpStream::connect(&addr).await.unwrap() };
        assert_eq!(client.call("ListStreams", "{}").await.json()["StreamNames"][0], "orders");
        let _silent = TcpStream::connect(&addr).await.unwrap();
        program.signal(signal);
        assert!(program.ended().await.success(), "{signal}");
    }
}

#[tokio::test]
async fn a_taken_port_is_told_in_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut program = Program::start(&["--tls-port", &port.to_string()]);
    assert_eq!(program.ended().await.code(), Some(1));
    let mut text = String::new();
    program.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(
        text,
        format!(
            "kinesis-sim: 127.0.0.1:{port} is already in use: stop the program that listens there, or choose another port\n"
        )
    );
}

#[tokio::test]
async fn tls_and_its_authority_come_by_argument() {
    let path = std::env::temp_dir().join(format!("kinesis-sim-program-{}.pem", std::process::id()));
    let mut program =
        Program::start(&["--tls-port", "0", "--write-ca", path.to_str().unwrap(), "--control", "off"]);
    let (plain, tls) = (program.addr("http"), program.addr("https"));
    assert_ne!(plain, tls);
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
    std::fs::remove_file(&path).unwrap();
    let mut client = Client { stream: TcpStream::connect(&plain).await.unwrap() };
    assert_eq!(client.get("/_sim/rules").await.status, 403);
    assert_eq!(client.get("/health").await.status, 200);
}

#[tokio::test]
async fn arguments_that_contradict_each_other_are_refused() {
    let mut program = Program::start(&["--write-ca", "x"]);
    assert_eq!(program.ended().await.code(), Some(2));
    let mut program = Program::start(&["--stream", "a", "--stream", "a"]);
    assert_eq!(program.ended().await.code(), Some(1));
}
