//! What is known of the TLS of a client, whether we terminate it or only look at how it begins.

use super::escape::escape;
use std::fmt;

/// What a client of TLS wants, and what it has shown.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Secured {
    /// The host that it asks for (SNI, RFC 6066 3), in lower case.
    pub server_name: Option<String>,
    /// Protocols (ALPN, RFC 7301): the one that was agreed on, or where TLS only passes through those that the client offers.
    pub alpn: Alpn,
    /// The version that was agreed on, as OpenSSL calls it: `TLSv1.3`. `None`: its TLS only passes through, or its handshake
    /// is not over.
    pub version: Option<&'static str>,
}

/// A client's certificate that was verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificate {
    /// The common name of its subject, if it has one.
    pub common_name: Option<String>,
}

impl Secured {
    /// Whether it asks for nothing by name.
    pub fn asks_for_nothing(&self) -> bool {
        self.server_name.is_none() && self.alpn.0.is_empty()
    }

    /// The protocols as one word; `None`: there are none.
    pub fn alpn_text(&self) -> Option<String> {
        self.alpn().map(Alpn::to_string)
    }

    /// The protocols, if there are some.
    pub fn alpn(&self) -> Option<&Alpn> {
        Some(&self.alpn).filter(|alpn| !alpn.0.is_empty())
    }
}

impl fmt::Display for Secured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.server_name.iter().try_for_each(|name| write!(f, " sni={name}"))?;
        self.alpn().map_or(Ok(()), |alpn| write!(f, " alpn={alpn}"))
    }
}

/// Names of protocols, as one word: escaped, and separated by commas.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Alpn(pub Vec<Vec<u8>>);

impl fmt::Display for Alpn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, name) in self.0.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            write!(f, "{comma}{}", escape(name))?;
        }
        Ok(())
    }
}
