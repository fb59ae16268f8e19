//! PEM files (RFC 7468): what is in them, or in one clear sentence why it cannot be used.

use super::{Mistake, Part, ReadFile};
use crate::core::secret::Secret;
use aws_lc_rs::digest;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use std::path::Path;

/// Most bytes of a file. More is no file of certificates: those of all public authorities are 200 KiB; a list of what was revoked may be long.
pub const FILE_BYTES_MAX: usize = 16 << 20;

/// Of SHA-256.
pub(super) type Digest = [u8; 32];

/// Of a context for SHA-256.
pub(super) fn finish(context: digest::Context) -> Digest {
    context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// The certificates of an owner, and the key.
pub(super) type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Where the key of a certificate is, and which setting says so.
pub(super) fn key_of<'a>(path: &'a Path, key_path: Option<&'a Path>) -> (Part, &'a Path) {
    key_path.map_or((Part::Certificate, path), |path| (Part::Key, path))
}

/// All that is read of files, and what is wrong with it.
pub(super) struct Files {
    read: digest::Context,
    pub(super) mistakes: Vec<Mistake>,
}

impl Default for Files {
    fn default() -> Self {
        Self { read: digest::Context::new(&digest::SHA256), mistakes: Vec::new() }
    }
}

impl Files {
    /// The text of a file.
    pub(super) fn text(
        &mut self,
        part: Part,
        path: &Path,
        read_file: ReadFile<'_>,
    ) -> Option<Secret<String>> {
        match read_file(path, FILE_BYTES_MAX).map(Secret::new) {
            Ok(text) => {
                self.read.update(&(text.len() as u64).to_le_bytes());
                self.read.update(text.as_bytes());
                Some(text)
            }
            Err(wrong) => {
                self.mistake(Mistake::new(part, path, wrong, "name a file in PEM that linger may read"));
                None
            }
        }
    }

    /// What stands for all that was read, to be compared with what is read next time: the texts are not kept, since keys are
    /// among them.
    pub(super) fn digest(&self) -> Digest {
        finish(self.read.clone())
    }

    pub(super) fn mistake(&mut self, mistake: Mistake) {
        self.mistakes.push(mistake);
    }

    /// The certificates of a file and the key of the first, which is in another or, if none is named, in the same. `None`: there is
    /// a mistake.
    pub(super) fn pair(
        &mut self,
        path: &Path,
        key_path: Option<&Path>,
        read_file: ReadFile<'_>,
    ) -> Option<Pair> {
        let text = self.text(Part::Certificate, path, read_file);
        let apart = key_path.map(|path| self.text(Part::Key, path, read_file));
        let chain = text.as_ref().and_then(|text| self.certificates(Part::Certificate, path, text));
        let (part, key_path) = key_of(path, key_path);
        let key_text = apart.as_ref().unwrap_or(&text);
        let key = key_text.as_ref().and_then(|text| self.key(part, key_path, text));
        Some((chain?, key?))
    }

    /// The certificates of a file: its owner's first, and what leads to an authority behind it.
    pub(super) fn certificates(
        &mut self,
        part: Part,
        path: &Path,
        text: &str,
    ) -> Option<Vec<CertificateDer<'static>>> {
        let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
        match all {
            Ok(all) if !all.is_empty() => return Some(all),
            Ok(_) => self.mistake(Mistake::new(
                part,
                path,
                "has no certificate",
                "write the path of a file with -----BEGIN CERTIFICATE-----",
            )),
            Err(error) => self.mistake(no_pem(part, path, &error)),
        }
        None
    }

    /// The private key of a file.
    fn key(&mut self, part: Part, path: &Path, text: &str) -> Option<PrivateKeyDer<'static>> {
        match PrivateKeyDer::from_pem_slice(text.as_bytes()) {
            Ok(key) => return Some(key),
            Err(pem::Error::NoItemsFound) if text.contains("ENCRYPTED") => self.mistake(Mistake::new(
                part,
                path,
                "has a key that is encrypted, and a server that starts by itself is not told the password",
                "decrypt it, as with openssl pkey, and let nobody else read it",
            )),
            Err(pem::Error::NoItemsFound) => self.mistake(Mistake::new(
                part,
                path,
                "has no private key",
                "write the path of a file with -----BEGIN PRIVATE KEY-----, or put it behind its certificate",
            )),
            Err(error) => self.mistake(no_pem(part, path, &error)),
        }
        None
    }

    /// The lists of what was revoked of a file.
    pub(super) fn revoked(
        &mut self,
        part: Part,
        path: &Path,
        text: &str,
    ) -> Option<Vec<CertificateRevocationListDer<'static>>> {
        let all: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(text.as_bytes()).collect();
        match all {
            Ok(all) if !all.is_empty() => return Some(all),
            Ok(_) => self.mistake(Mistake::new(
                part,
                path,
                "has no list of revoked certificates",
                "write the path of a file with -----BEGIN X509 CRL-----",
            )),
            Err(error) => self.mistake(no_pem(part, path, &error)),
        }
        None
    }
}

fn no_pem(part: Part, path: &Path, error: &pem::Error) -> Mistake {
    Mistake::new(
        part,
        path,
        format_args!("is no sound PEM: {error}"),
        "write it as openssl does, in base64 between two lines",
    )
}
