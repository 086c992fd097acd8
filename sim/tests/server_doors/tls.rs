//! HTTPS: the certificate, the protocols, and who trusts them.

use std::process::{Command, Stdio};
use std::sync::Arc;

use kinesis_sim::{ServeError, ServeOptions, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::http::{Client, local, soon, start, start_with};

async fn start_tls() -> (kinesis_sim::Sim, Server) {
    start_with(ServeOptions::new(local()).with_tls(local())).await
}

async fn connect(
    server: &Server,
    ca_pem: &str,
    name: &str,
    alpn: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(server.tls_addr().unwrap()).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(name.to_owned()).unwrap(), stream).await
}

#[tokio::test]
async fn a_strict_client_trusts_the_leaf_by_each_of_its_names() {
    let (_sim, server) = start_tls().await;
    let ca = server.ca_pem().unwrap().to_owned();
    for name in ["localhost", "127.0.0.1", "::1"] {
        let stream = connect(&server, &ca, name, &["http/1.1"]).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"http/1.1".as_slice()));
        let mut client = Client { stream };
        assert_eq!(client.call("ListStreams", "{}").await.json()["StreamNames"][0], "orders");
    }
    assert!(connect(&server, &ca, "kinesis.us-east-1.amazonaws.com", &[]).await.is_err(), "no name of ours");
}

#[tokio::test]
async fn another_servers_authority_is_not_trusted() {
    let (_sim, server) = start_tls().await;
    let (_other_sim, other) = start_tls().await;
    assert!(connect(&server, other.ca_pem().unwrap(), "localhost", &[]).await.is_err());
}

#[tokio::test]
async fn h2_is_agreed_on_or_spoken_without_agreement() {
    let (_sim, server) = start_tls().await;
    let ca = server.ca_pem().unwrap().to_owned();
    for (alpn, agreed) in [(&["h2", "http/1.1"][..], Some(b"h2".as_slice())), (&[][..], None)] {
        let mut stream = connect(&server, &ca, "localhost", alpn).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), agreed);
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        stream.flush().await.unwrap();
        let mut frame = [0; 9];
        soon(stream.read_exact(&mut frame)).await.unwrap();
        assert_eq!(frame[3], 4, "a SETTINGS frame: {frame:?}");
    }
}

#[tokio::test]
async fn plain_text_on_the_tls_port_ends_the_connection_and_nothing_else() {
    let (_sim, server) = start_tls().await;
    let mut plain = TcpStream::connect(server.tls_addr().unwrap()).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    let _outcome = soon(plain.read_to_end(&mut rest)).await;
    assert!(!rest.starts_with(b"HTTP"));
    let ca = server.ca_pem().unwrap().to_owned();
    assert!(connect(&server, &ca, "localhost", &[]).await.is_ok());
    assert_eq!(Client::to(&server).await.get("/health").await.status, 200, "both ports serve");
}

#[tokio::test]
async fn the_authority_is_written_where_it_is_asked_for() {
    let (_sim, server) = start_tls().await;
    let path = std::env::temp_dir().join(format!("kinesis-sim-ca-{}.pem", server.addr().port()));
    server.write_ca(&path).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), server.ca_pem().unwrap());
    std::fs::remove_file(&path).unwrap();
    let error = server.write_ca("/nowhere/at/all/ca.pem").unwrap_err();
    assert!(matches!(error, ServeError::WriteCertificate { .. }));
    assert!(
        error.to_string().starts_with("cannot write the certificate to /nowhere/at/all/ca.pem: "),
        "{error}"
    );
    let (_sim, plain) = start().await;
    assert!(plain.tls_addr().is_none() && plain.ca_pem().is_none());
    assert!(matches!(plain.write_ca("x"), Err(ServeError::NoCertificate)));
}

#[tokio::test]
async fn a_taken_tls_port_is_told() {
    let (sim, server) = start_tls().await;
    let taken = server.tls_addr().unwrap();
    let error = sim.serve_with(ServeOptions::new(local()).with_tls(taken)).await.unwrap_err();
    assert!(matches!(error, ServeError::PortTaken { addr } if addr == taken));
}

#[tokio::test]
async fn openssl_accepts_the_chain_where_it_is_installed() {
    let (_sim, server) = start_tls().await;
    let path = std::env::temp_dir().join(format!("kinesis-sim-openssl-{}.pem", server.addr().port()));
    server.write_ca(&path).unwrap();
    let address = server.tls_addr().unwrap().to_string();
    let file = path.clone();
    let output = tokio::task::spawn_blocking(move || {
        Command::new("openssl")
            .args(["s_client", "-connect", &address, "-servername", "localhost", "-verify_return_error"])
            .args(["-verify_hostname", "localhost", "-alpn", "h2", "-x509_strict", "-CAfile"])
            .arg(file)
            .stdin(Stdio::null())
            .output()
    });
    let output = soon(output).await.unwrap();
    std::fs::remove_file(&path).unwrap();
    let Ok(output) = output else { return };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("Verify return code: 0 (ok)"),
        "{text} {}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.contains("ALPN protocol: h2"), "{text}");
}
