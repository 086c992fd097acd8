//! One kept HTTP/1.1 connection, plain or over TLS, that costs as little as it can: requests are bytes made before, and
//! of an answer only what is needed is looked at.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Where a server is, and how to speak to it.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) addr: SocketAddr,
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

/// Trust in one authority: the one that the server wrote down.
pub(crate) fn trusting(ca_pem: &[u8]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem).unwrap()).unwrap();
    Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

trait Wire: Read + Write + Send {}

impl<T: Read + Write + Send> Wire for T {}

pub(crate) struct Connection {
    target: Target,
    socket: TcpStream,
    wire: Box<dyn Wire>,
    pub(crate) buffer: Vec<u8>,
    /// Whether other statuses than success are answers too.
    pub(crate) expects_refusals: bool,
}

/// A request as it goes over the wire.
pub(crate) fn request(operation: &str, body: &str) -> Vec<u8> {
    format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-amz-json-1.1\r\n\
         X-Amz-Target: Kinesis_20131202.{operation}\r\nX-Amz-Date: 20260101T000000Z\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential=load/20260101/us-east-1/kinesis/aws4_request, SignedHeaders=host, Signature=00\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// What the head of an answer says of its body.
enum Framing {
    Length(usize),
    Chunked,
    ToTheEnd,
}

impl Connection {
    pub(crate) fn to(target: &Target) -> Self {
        let mut connection = Self::try_to(target).expect("the server listens");
        connection.buffer.resize(1 << 20, 0);
        connection
    }

    /// `None` while nobody listens.
    pub(crate) fn try_to(target: &Target) -> Option<Self> {
        let (socket, wire) = connect(target)?;
        let buffer = vec![0; 64 << 10];
        Some(Self { target: target.clone(), socket, wire, buffer, expects_refusals: false })
    }

    pub(crate) fn call(&mut self, operation: &str, body: &str) -> String {
        let answer = self.exchange(&request(operation, body));
        String::from_utf8(self.buffer[answer].to_vec()).unwrap()
    }

    /// Sends a request and says where in the buffer the answer's body is.
    pub(crate) fn exchange(&mut self, request: &[u8]) -> Range<usize> {
        self.wire.write_all(request).unwrap();
        self.wire.flush().unwrap();
        let mut filled = 0;
        let (body, framing, is_last) = loop {
            filled += self.read(filled);
            let Some(end) = self.buffer[..filled].windows(4).position(|window| window == b"\r\n\r\n") else {
                continue;
            };
            let head = std::str::from_utf8(&self.buffer[..end]).unwrap().to_ascii_lowercase();
            let status = head.split(' ').nth(1).unwrap_or_default();
            assert!(
                self.expects_refusals || status.starts_with('2'),
                "{}",
                String::from_utf8_lossy(&self.buffer[..filled])
            );
            let value = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            let framing = match (value("content-length:"), value("transfer-encoding:")) {
                (Some(length), _) => Framing::Length(length.parse().unwrap()),
                (None, Some("chunked")) => Framing::Chunked,
                (None, _) => Framing::ToTheEnd,
            };
            break (end + 4, framing, value("connection:") == Some("close"));
        };
        let end = match framing {
            Framing::Length(length) => self.fill(filled, body + length),
            Framing::Chunked => self.unchunk(body, filled),
            Framing::ToTheEnd => self.drain(filled),
        };
        if is_last || matches!(framing, Framing::ToTheEnd) {
            (self.socket, self.wire) = connect(&self.target).expect("the server listens");
        }
        body..end
    }

    fn fill(&mut self, mut filled: usize, end: usize) -> usize {
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        while filled < end {
            filled += self.read(filled);
        }
        end
    }

    /// Moves the chunks together; says where they end.
    fn unchunk(&mut self, body: usize, mut filled: usize) -> usize {
        let (mut end, mut at) = (body, body);
        loop {
            let Some(line) = self.buffer[at..filled].windows(2).position(|pair| pair == b"\r\n") else {
                filled = self.more(filled);
                continue;
            };
            let size = std::str::from_utf8(&self.buffer[at..at + line]).unwrap();
            let size = usize::from_str_radix(size.split(';').next().unwrap().trim(), 16).unwrap();
            let chunk = at + line + 2;
            while filled < chunk + size + 2 {
                filled = self.more(filled);
            }
            self.buffer.copy_within(chunk..chunk + size, end);
            (end, at) = (end + size, chunk + size + 2);
            if size == 0 {
                return end;
            }
        }
    }

    fn more(&mut self, filled: usize) -> usize {
        if filled == self.buffer.len() {
            self.buffer.resize(2 * filled, 0);
        }
        filled + self.read(filled)
    }

    fn drain(&mut self, mut filled: usize) -> usize {
        loop {
            if filled == self.buffer.len() {
                self.buffer.resize(2 * filled, 0);
            }
            match self.wire.read(&mut self.buffer[filled..]).unwrap() {
                0 => return filled,
                count => filled += count,
            }
        }
    }

    fn read(&mut self, filled: usize) -> usize {
        // It does not last: the system turns it off again by itself.
        #[cfg(target_os = "linux")]
        socket2::SockRef::from(&self.socket).set_tcp_quickack(true).unwrap();
        let count = self.wire.read(&mut self.buffer[filled..]).unwrap();
        assert!(count > 0, "the server hung up");
        count
    }
}

fn connect(target: &Target) -> Option<(TcpStream, Box<dyn Wire>)> {
    let stream = TcpStream::connect(target.addr).ok()?;
    stream.set_nodelay(true).ok()?;
    stream.set_read_timeout(Some(Duration::from_mins(1))).ok()?;
    let socket = stream.try_clone().ok()?;
    let Some(config) = &target.tls else { return Some((socket, Box::new(stream))) };
    let name = ServerName::try_from("localhost").unwrap();
    let session = ClientConnection::new(Arc::clone(config), name).unwrap();
    Some((socket, Box::new(StreamOwned::new(session, stream))))
}
