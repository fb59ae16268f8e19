//! Certificates, keys, and what is made of them: all of TLS (RFC 8446, RFC 5246) but the connections.
//!
//! The protocol itself is rustls, its cryptography aws-lc-rs: a full handshake costs 68 µs of CPU time with it, and 117
//! with ring; both build with a C compiler alone. Nothing of rustls is named outside of this room and of
//! `transport/tls.rs`, so that its next version has one seam to fit into.
//!
//! A [`Server`] is what a listener needs, also to verify certificates of its clients: made of files once, off the loop, and
//! shared by its connections. A [`Client`] is the same for the connections to upstream servers. Both are compared by what they
//! were made of, so that a reload that changes nothing keeps the one that is in use. The [`TicketKeys`] of a server outlive all of them.

mod certificate;
mod client;
mod files;
#[cfg(test)]
#[path = "../../tests/common/pki.rs"]
#[expect(unreachable_pub, reason = "integration tests share it")]
pub(crate) mod pki;
mod server;
pub mod settings;
#[cfg(test)]
pub(crate) mod tests;
mod tickets;

pub use certificate::Field;
pub(crate) use certificate::{common_name, identity};
pub use client::{Client, ClientSpec};
pub use files::FILE_BYTES_MAX;
pub use server::{ClientAuth, Server, ServerSpec};
pub use tickets::{TicketKeys, Tickets};

use rustls::crypto::CryptoProvider;
use rustls::{SupportedProtocolVersion, version};
use std::path::Path;
use std::sync::Arc;

/// Reads the text of a file of at most so many bytes, or says what is wrong with it.
pub type ReadFile<'a> = &'a dyn Fn(&Path, usize) -> Result<String, String>;

/// The file that a mistake is about, by the last part of the name of its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// Certificates.
    Certificate,
    /// Their keys.
    Key,
    /// The certificates that others are verified with.
    Ca,
    /// What was revoked of those.
    Crl,
}

/// Something that cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake {
    /// What it is about.
    pub part: Part,
    /// What is wrong.
    pub wrong: String,
    /// What would be right.
    pub right: String,
}

impl Mistake {
    fn new(part: Part, path: &Path, wrong: impl std::fmt::Display, right: impl Into<String>) -> Self {
        Self { part, wrong: format!("{}: {wrong}", path.display()), right: right.into() }
    }
}

/// The least version of TLS that is spoken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MinVersion {
    /// TLS 1.2 (RFC 5246), and 1.3.
    V12,
    /// TLS 1.3 (RFC 8446).
    V13,
}

impl MinVersion {
    const fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        static ALL: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
        match self {
            Self::V12 => &ALL,
            Self::V13 => ALL.split_at(1).0,
        }
    }
}

/// The newest version of TLS that a client speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MaxVersion {
    /// TLS 1.2 alone, as devices of some years ago.
    V12,
    /// TLS 1.2 and 1.3.
    V13,
}

impl MaxVersion {
    const fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        static OLD: [&SupportedProtocolVersion; 1] = [&version::TLS12];
        match self {
            Self::V12 => &OLD,
            Self::V13 => MinVersion::V12.versions(),
        }
    }
}

/// When a certificate is no longer valid.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expiry {
    /// The file that it is in.
    pub file: String,
    /// Seconds since 1970.
    pub at: u64,
}

impl Expiry {
    /// How many days are left, where these are so few that somebody should be told. `now`: seconds since 1970.
    pub fn few_days_left(&self, now: u64) -> Option<i64> {
        const SOON: i64 = 14;
        const DAY: i64 = 86_400;
        let [at, now] = [self.at, now].map(|seconds| i64::try_from(seconds).unwrap_or(i64::MAX));
        let days = (at - now).div_euclid(DAY);
        (days < SOON).then_some(days)
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Takes over what was made of files that were read again; whether that is another. The same stays: sessions are resumed by
/// what those have that are in use.
pub(crate) fn adopt<T: Clone + PartialEq>(own: &mut Option<T>, new: Option<&T>) -> bool {
    let is_other = own.as_ref() != new;
    if is_other {
        *own = new.cloned();
    }
    is_other
}

/// The paths of a list that is separated by commas.
pub(crate) fn paths(list: &str) -> impl Iterator<Item = &Path> {
    list.split(',').map(str::trim).filter(|path| !path.is_empty()).map(Path::new)
}
