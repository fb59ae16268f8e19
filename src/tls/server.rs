//! What a listener needs to speak TLS: its certificates by name, and which clients it trusts.

use super::certificate::{Field, Parsed};
use super::files::{Digest, Files, finish, key_of};
use super::tickets::{TicketKeys, Ticketer};
use super::{Expiry, MinVersion, Mistake, Part, ReadFile, paths, provider};
use crate::core::server_name;
use aws_lc_rs::digest;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore, ServerConfig};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// What the settings of a listener say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerSpec {
    /// Files with a certificate each, separated by commas; the first is for clients that ask for no other's name.
    pub certificate: String,
    /// Files with their keys, in the same order; `None`: each is in the file of its certificate.
    pub key: Option<String>,
    /// The least version.
    pub min_version: MinVersion,
    /// Whether clients are asked for certificates.
    pub client: ClientAuth,
    /// Protocols to agree on by ALPN (RFC 7301), the preferred first, separated by commas; none: the client's wish is
    /// not looked at.
    pub alpn: String,
}

/// Which clients may connect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClientAuth {
    /// Any: they are not asked for a certificate.
    Off,
    /// Those with a certificate that these authorities have signed.
    Verified {
        /// Those with none, too.
        optional: bool,
        /// Files with the certificates of authorities, separated by commas.
        ca: String,
        /// Files with what those have revoked, separated by commas; empty: nothing was.
        crl: String,
        /// The name in the certificate that is the identity of its connection.
        identity: Option<Field>,
    },
}

/// What the connections of a listener share.
#[derive(Clone)]
pub struct Server {
    spec: ServerSpec,
    /// Of what was read of files.
    read: Box<Digest>,
    expiries: Vec<Expiry>,
    /// None: clients are verified each time.
    ticketer: Option<Arc<Ticketer>>,
    pub(crate) config: Arc<ServerConfig>,
}

impl PartialEq for Server {
    fn eq(&self, other: &Self) -> bool {
        self.spec == other.spec && self.read == other.read
    }
}

impl Eq for Server {}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("spec", &self.spec).finish_non_exhaustive()
    }
}

impl Server {
    /// Reads the files that `spec` names, and makes of them what can be used.
    ///
    /// # Errors
    /// All mistakes in them.
    pub fn load(spec: &ServerSpec, read_file: ReadFile<'_>) -> Result<Self, Vec<Mistake>> {
        let provider = provider();
        let mut files = Files::default();
        let mut expiries = Vec::new();
        let by_name = certified(spec, &provider, read_file, &mut files, &mut expiries);
        let verifier = client_verifier(&spec.client, &provider, read_file, &mut files);
        let (Some(by_name), Some(verifier)) = (by_name, verifier) else { return Err(files.mistakes) };
        if !files.mistakes.is_empty() {
            return Err(files.mistakes);
        }
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(spec.min_version.versions())
            .expect("the provider has cipher suites for both versions");
        let mut config = match &spec.client {
            ClientAuth::Off => config.with_no_client_auth(),
            ClientAuth::Verified { .. } => config.with_client_cert_verifier(verifier),
        }
        .with_cert_resolver(Arc::new(by_name));
        config.alpn_protocols = list(&spec.alpn).map(|protocol| protocol.as_bytes().to_vec()).collect();
        let read = files.digest();
        let ticketer = match &spec.client {
            ClientAuth::Off => {
                let ticketer = Arc::new(Ticketer::new(digest_of(spec, &read)));
                config.ticketer = Arc::clone(&ticketer) as _;
                Some(ticketer)
            }
            // A client that resumes is not verified again: one that was revoked meanwhile would come back.
            ClientAuth::Verified { .. } => {
                config.session_storage = Arc::new(NoServerSessionStorage {});
                config.send_tls13_tickets = 0;
                None
            }
        };
        Ok(Self { spec: spec.clone(), read: Box::new(read), expiries, ticketer, config: Arc::new(config) })
    }

    /// Makes its session tickets with these keys from now on, if it makes any.
    pub fn use_ticket_keys(&self, keys: &TicketKeys) {
        if let Some(ticketer) = &self.ticketer {
            ticketer.adopt(keys);
        }
    }

    /// When its certificates expire.
    pub fn expiries(&self) -> &[Expiry] {
        &self.expiries
    }

    /// The name in a client's certificate that is the identity of its connection, if one is.
    pub const fn identity(&self) -> Option<Field> {
        match self.spec.client {
            ClientAuth::Off => None,
            ClientAuth::Verified { identity, .. } => identity,
        }
    }

    /// Whether no client without a certificate is served.
    pub const fn requires_certificate(&self) -> bool {
        matches!(self.spec.client, ClientAuth::Verified { optional: false, .. })
    }
}

/// What a listener is to its clients: the same in all workers, and after a reload that changes nothing.
fn digest_of(spec: &ServerSpec, read: &Digest) -> Digest {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(read);
    context.update(format!("{:?}", (spec.min_version, &spec.alpn)).as_bytes());
    finish(context)
}

fn list(separated: &str) -> impl Iterator<Item = &str> {
    separated.split(',').map(str::trim).filter(|one| !one.is_empty())
}

/// The certificates of a listener, with their keys.
fn certified(
    spec: &ServerSpec,
    provider: &CryptoProvider,
    read_file: ReadFile<'_>,
    files: &mut Files,
    expiries: &mut Vec<Expiry>,
) -> Option<ByName> {
    let certificates: Vec<_> = paths(&spec.certificate).collect();
    let keys: Vec<_> = spec.key.iter().flat_map(|keys| paths(keys)).map(Some).collect();
    let keys = if spec.key.is_none() { vec![None; certificates.len()] } else { keys };
    if keys.len() != certificates.len() {
        files.mistake(Mistake {
            part: Part::Key,
            wrong: format!("names {} files, and there are {} certificates", keys.len(), certificates.len()),
            right: "write one for each, in the same order".to_owned(),
        });
        return None;
    }
    let mut by_name = ByName(Vec::new());
    for (path, key_path) in certificates.into_iter().zip(keys) {
        by_name.0.extend(entry(path, key_path, provider, read_file, files, expiries));
    }
    (!by_name.0.is_empty()).then_some(by_name)
}

fn entry(
    path: &Path,
    key_path: Option<&Path>,
    provider: &CryptoProvider,
    read_file: ReadFile<'_>,
    files: &mut Files,
    expiries: &mut Vec<Expiry>,
) -> Option<Entry> {
    let (chain, key) = files.pair(path, key_path, read_file)?;
    let (part, key_path) = key_of(path, key_path);
    let Some(parsed) = Parsed::new(&chain[0]) else {
        let right = "write one in X.509, version 3";
        files.mistake(Mistake::new(Part::Certificate, path, "its certificate cannot be understood", right));
        return None;
    };
    match CertifiedKey::from_der(chain, key, provider) {
        Ok(certified) => {
            expiries.push(Expiry { file: path.display().to_string(), at: parsed.not_after() });
            let names = parsed.dns_names().into_iter().map(|name| name.to_ascii_lowercase()).collect();
            return Some(Entry { names, certified: Arc::new(certified) });
        }
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            let wrong = format!("is not the key of the certificate in {}", path.display());
            files.mistake(Mistake::new(part, key_path, wrong, "write that of the same pair"));
        }
        Err(error) => {
            let right = "write an RSA key of 2048 bits or more, or an EC key on P-256, P-384 or Ed25519";
            files.mistake(Mistake::new(
                part,
                key_path,
                format_args!("its key cannot be used: {error}"),
                right,
            ));
        }
    }
    None
}

/// Who verifies clients. `None`: there is a mistake.
fn client_verifier(
    client: &ClientAuth,
    provider: &Arc<CryptoProvider>,
    read_file: ReadFile<'_>,
    files: &mut Files,
) -> Option<Arc<dyn ClientCertVerifier>> {
    let ClientAuth::Verified { optional, ca, crl, .. } = client else {
        return Some(WebPkiClientVerifier::no_client_auth());
    };
    let before = files.mistakes.len();
    let roots = Arc::new(authorities(ca, read_file, files));
    let mut revoked = Vec::new();
    for path in paths(crl) {
        let text = files.text(Part::Crl, path, read_file);
        revoked.extend(text.and_then(|text| files.revoked(Part::Crl, path, &text)).into_iter().flatten());
    }
    if files.mistakes.len() > before {
        return None;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider)).with_crls(revoked);
    let builder = if *optional { builder.allow_unauthenticated() } else { builder };
    builder
        .build()
        .map_err(|error| {
            files.mistake(Mistake {
                part: Part::Crl,
                wrong: format!("cannot be used: {error}"),
                right: "write a list that is as RFC 5280 says, section 5".to_owned(),
            });
        })
        .ok()
}

/// The authorities of a list of files.
pub(super) fn authorities(list: &str, read_file: ReadFile<'_>, files: &mut Files) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for path in paths(list) {
        let text = files.text(Part::Ca, path, read_file);
        for certificate in
            text.and_then(|text| files.certificates(Part::Ca, path, &text)).into_iter().flatten()
        {
            if let Err(error) = roots.add(certificate) {
                let wrong = format!("has a certificate that cannot be one of an authority: {error}");
                files.mistake(Mistake::new(Part::Ca, path, wrong, "write certificates of authorities alone"));
            }
        }
    }
    roots
}

/// The certificates of a listener by the names that they are for.
#[derive(Debug)]
struct ByName(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    /// Or patterns, in lower case.
    names: Vec<String>,
    certified: Arc<CertifiedKey>,
}

impl Entry {
    fn is_for(&self, name: &str) -> bool {
        self.names.iter().any(|own| server_name::is_for(own, name))
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let is_usable =
            |entry: &&Entry| entry.certified.key.choose_scheme(hello.signature_schemes()).is_some();
        // One with a key that the client can verify, where there are several; else the first, for it to say what is wrong.
        let named = || self.0.iter().filter(|entry| name.as_ref().is_some_and(|name| entry.is_for(name)));
        let entry = named().find(is_usable).or_else(|| named().next());
        let entry = entry.or_else(|| self.0.iter().find(is_usable)).or_else(|| self.0.first())?;
        Some(Arc::clone(&entry.certified))
    }
}
