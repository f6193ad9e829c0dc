//! TLS by rustls with the ring provider.

use anyhow::Context as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::path::Path;

/// Installs the process's crypto provider; later calls change nothing.
pub fn install_crypto() {
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
}

/// The TLS side of a client that trusts the authorities of a PEM file, and no others.
///
/// # Errors
/// When the file cannot be read or holds no certificate of an authority.
pub fn client_config(ca_file: &Path) -> anyhow::Result<ClientConfig> {
    install_crypto();
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(ca_file)
        .with_context(|| format!("read certificates from {}", ca_file.display()))?;
    for certificate in certificates {
        let certificate =
            certificate.with_context(|| format!("read certificates from {}", ca_file.display()))?;
        roots
            .add(certificate)
            .with_context(|| format!("use the certificates of {}", ca_file.display()))?;
    }
    Ok(ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// The TLS side of a listener, from PEM files.
///
/// # Errors
/// When a file cannot be read or the key does not fit the certificate.
pub fn server_config(cert_file: &Path, key_file: &Path) -> anyhow::Result<ServerConfig> {
    install_crypto();
    let chain = CertificateDer::pem_file_iter(cert_file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("read certificates from {}", cert_file.display()))?;
    let key = PrivateKeyDer::from_pem_file(key_file)
        .with_context(|| format!("read the private key from {}", key_file.display()))?;
    ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("use the certificate and key for TLS")
}
