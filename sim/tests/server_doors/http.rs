//! A client that sends exactly what a test says.

use std::time::Duration;

use kinesis_sim::{Limits, ServeOptions, Server, Sim};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) const JSON: &str = "application/x-amz-json-1.1";
pub(crate) const CBOR: &str = "application/x-amz-cbor-1.1";

pub(crate) fn auth(key_id: &str) -> String {
    format!(
        "X-Amz-Date: 20260101T000000Z\r\nAuthorization: AWS4-HMAC-SHA256 \
         Credential={key_id}/20260101/us-east-1/kinesis/aws4_request, SignedHeaders=host, Signature=00\r\n"
    )
}

pub(crate) fn local() -> std::net::SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// A simulation with one stream of two shards, and a server for it.
pub(crate) async fn start() -> (Sim, Server) {
    start_with(ServeOptions::new(local())).await
}

pub(crate) async fn start_with(options: ServeOptions) -> (Sim, Server) {
    let sim = Sim::builder()
        .limits(Limits::Off)
        .state_delay(Duration::ZERO)
        .call_timeout(Duration::from_millis(50))
        .wall_clock()
        .build();
    sim.create_stream("orders", 2);
    let server = sim.serve_with(options).await.unwrap();
    (sim, server)
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?} is JSON"))
    }
}

pub(crate) struct Client<S = TcpStream> {
    pub(crate) stream: S,
}

impl Client {
    pub(crate) async fn to(server: &Server) -> Self {
        Self { stream: TcpStream::connect(server.addr()).await.unwrap() }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Sends a head of these lines, and the body; the length is added.
    pub(crate) async fn exchange(&mut self, line: &str, headers: &str, body: &[u8]) -> Answer {
        let head =
            format!("{line} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
        self.send([head.as_bytes(), body].concat()).await;
        self.receive().await.expect("the connection is kept")
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.exchange(&format!("GET {path}"), "", b"").await
    }

    pub(crate) async fn call_as(
        &mut self,
        key_id: &str,
        media_type: &str,
        operation: &str,
        body: &[u8],
    ) -> Answer {
        let headers = format!(
            "Content-Type: {media_type}\r\nX-Amz-Target: Kinesis_20131202.{operation}\r\n{}",
            auth(key_id)
        );
        self.exchange("POST /", &headers, body).await
    }

    pub(crate) async fn call(&mut self, operation: &str, body: &str) -> Answer {
        self.call_as("test", JSON, operation, body.as_bytes()).await
    }

    /// The next answer; `None` if the connection ends before one.
    pub(crate) async fn receive(&mut self) -> Option<Answer> {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            self.more(&mut bytes).await?;
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let mut answer = Answer { status, headers, body: bytes[end..].to_vec() };
        let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        while answer.body.len() < length {
            self.more(&mut answer.body).await?;
        }
        Some(answer)
    }

    async fn more(&mut self, bytes: &mut Vec<u8>) -> Option<()> {
        let mut chunk = vec![0; 64 * 1024];
        let count = self.stream.read(&mut chunk).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&chunk[..count]);
        Some(())
    }
}

/// Fails instead of hanging.
pub(crate) async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work).await.expect("this ends within 20 seconds")
}
