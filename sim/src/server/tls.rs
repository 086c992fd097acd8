//! Certificates for one server: an authority, and a leaf that it signs. They live as long as the server.
//!
//! Two of them, because clients that are strict refuse a certificate that is its own authority.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// Clocks differ; a container's may be behind.
const BEFORE: Duration = Duration::from_hours(24);

/// Some clients refuse leaves that are valid for longer than 398 days.
const AFTER: Duration = Duration::from_hours(365 * 24);

/// The configuration of a server that is reached by loopback names and this address, and the authority to trust, as
/// PEM.
pub(super) fn make(addr: IpAddr) -> Result<(ServerConfig, String), String> {
    let text = |error: rcgen::Error| error.to_string();
    let key = KeyPair::generate().map_err(text)?;
    let params = authority();
    let ca_pem = params.self_signed(&key).map_err(text)?.pem();
    let issuer = Issuer::new(params, key);

    let key = KeyPair::generate().map_err(text)?;
    let certificate = leaf(addr).map_err(text)?.signed_by(&key, &issuer).map_err(text)?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    // Named, because the process may hold other providers for other reasons.
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key)
        })
        .map_err(|error| error.to_string())?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((config, ca_pem))
}

fn authority() -> CertificateParams {
    let mut params = dated("kinesis-sim authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn leaf(addr: IpAddr) -> Result<CertificateParams, rcgen::Error> {
    let mut params = dated("kinesis-sim");
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let own = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])];
    params.subject_alt_names = vec![SanType::DnsName("localhost".try_into()?)];
    params.subject_alt_names.extend(own.map(SanType::IpAddress));
    if !own.contains(&addr) && !addr.is_unspecified() {
        params.subject_alt_names.push(SanType::IpAddress(addr));
    }
    Ok(params)
}

fn dated(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    params.distinguished_name = subject;
    #[expect(clippy::disallowed_methods, reason = "the edge of a server in real time")]
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(BEFORE);
    params.not_after = epoch + (now + AFTER);
    params
}
