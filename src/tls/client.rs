//! What connections to upstream servers need to speak TLS: whom they trust, and who they are themselves.

use super::certificate::Parsed;
use super::files::{Digest, Files};
use super::server::authorities;
use super::{Expiry, MaxVersion, Mistake, Part, ReadFile, paths, provider};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// What the settings say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientSpec {
    /// Files with the authorities that servers are verified by, separated by commas; none: they are not.
    pub ca: Option<String>,
    /// The name that a server's certificate is to be for, and that it is asked for (SNI).
    pub name: ServerName<'static>,
    /// A file with our own certificate and those that lead to an authority; empty: we have none.
    pub certificate: String,
    /// The file with its key; empty: it is in the same.
    pub key: String,
    /// The newest version.
    pub max_version: MaxVersion,
    /// Whether sessions of earlier connections are resumed.
    pub resumes: bool,
}

/// What the connections to upstream servers share.
#[derive(Clone)]
pub struct Client {
    spec: ClientSpec,
    /// Of what was read of files.
    read: Digest,
    expiry: Option<Expiry>,
    pub(crate) config: Arc<ClientConfig>,
}

impl PartialEq for Client {
    fn eq(&self, other: &Self) -> bool {
        self.spec == other.spec && self.read == other.read
    }
}

impl Eq for Client {}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("spec", &self.spec).finish_non_exhaustive()
    }
}

impl Client {
    /// Reads the files that `spec` names.
    ///
    /// # Errors
    /// All mistakes in them.
    pub fn load(spec: &ClientSpec, read_file: ReadFile<'_>) -> Result<Self, Vec<Mistake>> {
        let provider = provider();
        let mut files = Files::default();
        let verifier: Option<Arc<dyn ServerCertVerifier>> = match &spec.ca {
            None => Some(Arc::new(Trusting(provider.signature_verification_algorithms))),
            Some(ca) => verifier(ca, &provider, read_file, &mut files),
        };
        let key_path = paths(&spec.key).next();
        let own = paths(&spec.certificate).next().map(|path| files.pair(path, key_path, read_file));
        let (Some(verifier), true) = (verifier, files.mistakes.is_empty()) else {
            return Err(files.mistakes);
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(spec.max_version.versions())
            .expect("the provider has cipher suites for both versions")
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let own = own.flatten();
        let parsed = own.as_ref().and_then(|(chain, _)| Parsed::new(&chain[0]));
        let expiry = parsed.map(|it| Expiry { file: spec.certificate.clone(), at: it.not_after() });
        let mut config = match own {
            None => config.with_no_client_auth(),
            Some((chain, key)) => config.with_client_auth_cert(chain, key).map_err(|error| {
                let path = Path::new(if spec.key.is_empty() { &spec.certificate } else { &spec.key });
                let right = "write the key of the same pair";
                vec![Mistake::new(Part::Key, path, format_args!("cannot be used: {error}"), right)]
            })?,
        };
        if !spec.resumes {
            config.resumption = Resumption::disabled();
        }
        Ok(Self { spec: spec.clone(), read: files.digest(), expiry, config: Arc::new(config) })
    }

    /// When our own certificate expires, if we have one.
    pub fn expiry(&self) -> Option<&Expiry> {
        self.expiry.as_ref()
    }

    /// The name that a server's certificate is to be for.
    pub(crate) fn name(&self) -> ServerName<'static> {
        self.spec.name.clone()
    }
}

fn verifier(
    ca: &str,
    provider: &Arc<CryptoProvider>,
    read_file: ReadFile<'_>,
    files: &mut Files,
) -> Option<Arc<dyn ServerCertVerifier>> {
    let roots = Arc::new(authorities(ca, read_file, files));
    if !files.mistakes.is_empty() {
        return None;
    }
    match WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider)).build() {
        Ok(verifier) => Some(verifier),
        Err(error) => {
            files.mistake(Mistake {
                part: Part::Ca,
                wrong: format!("names no authority that can be used: {error}"),
                right: "write the path of a file with their certificates".to_owned(),
            });
            None
        }
    }
}

/// Takes any certificate. That its owner has the key to it is verified all the same.
#[derive(Debug)]
struct Trusting(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
