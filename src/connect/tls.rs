//! TLS as libpq's `sslmode` words it, on rustls with the ring provider (never a process-wide default provider:
//! a library must not depend on who installed one).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::{Error, Result};

const PHASE: &str = "TLS";

/// What is checked of the server's certificate. The path is that of the root certificates; none: the system's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verify {
    /// `prefer`, `require`: encrypts, and believes anyone.
    Nothing,
    /// `verify-ca`: somebody trusted signed it.
    Chain(Option<PathBuf>),
    /// `verify-full`: and it is for the host that we asked for.
    ChainAndName(Option<PathBuf>),
}

pub(super) fn connector(verify: &Verify) -> Result<MakeRustlsConnect> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Verifier::new(verify, Arc::clone(&provider))?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::config(PHASE, e.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    /// None: nothing is checked but that the server owns its certificate.
    chain: Option<Arc<WebPkiServerVerifier>>,
    name: bool,
    /// The certificates of `sslrootcert`: a server's self-signed one may stand there itself.
    given: Vec<CertificateDer<'static>>,
}

impl Verifier {
    fn new(verify: &Verify, provider: Arc<CryptoProvider>) -> Result<Self> {
        let (path, name) = match verify {
            Verify::Nothing => return Ok(Self { provider, chain: None, name: false, given: Vec::new() }),
            Verify::Chain(path) => (path, false),
            Verify::ChainAndName(path) => (path, true),
        };
        let (given, mut roots) =
            (path.as_deref().map(read_given).transpose()?.unwrap_or_default(), RootCertStore::empty());
        let usable = if path.is_some() {
            roots.add_parsable_certificates(given.iter().cloned()).0
        } else {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs).0
        };
        if usable == 0 {
            let what = path.as_deref().map_or("the system's store".into(), Path::to_string_lossy);
            return Err(Error::config(PHASE, format!("no root certificate in {what}: name a file with sslrootcert=")));
        }
        let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|e| Error::config(PHASE, e.to_string()))?;
        Ok(Self { provider, chain: Some(chain), name, given })
    }
}

fn read_given(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let failed =
        |e: rustls::pki_types::pem::Error| Error::config(PHASE, format!("sslrootcert={}: {e}", path.display()));
    CertificateDer::pem_file_iter(path).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        if self.given.iter().any(|root| root.as_ref() == end_entity.as_ref()) {
            // Pinned: webpki refuses an authority's certificate as a server's, which OpenSSL, and so the servers that
            // follow Postgres' manual on self-signed ones, do not.
            if self.name {
                rustls::client::verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            }
            return Ok(ServerCertVerified::assertion());
        }
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is looked at last, when the chain has been found good.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.name => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
