//! What a proxy has said of a connection that came through it, as its record and the lists show it.

use crate::core::named::named;
use serde::Serialize;
use std::net::SocketAddr;

named! {
    /// Whose connection a proxy says it is.
    Origin {
        /// A client's, whose address it has told.
        Client = "client",
        /// A client's of a unix socket, which has no address.
        Unix = "unix",
        /// A client's that it does not know.
        Unknown = "unknown",
        /// Its own, such as a health check.
        Local = "local",
    }
}

/// The header of the PROXY protocol that came before the first byte of a connection.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Proxied {
    /// The address of the proxy.
    pub sender: String,
    /// The version of the protocol: 1 or 2.
    pub version: u8,
    /// Whose connection it is.
    #[serde(serialize_with = "name")]
    pub origin: Origin,
    /// The length of the header in bytes: they are not the client's.
    #[serde(skip)]
    pub header_bytes: usize,
    /// What the client had connected to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<SocketAddr>,
    /// The host name that the client asked for, the SNI of TLS (`PP2_TYPE_AUTHORITY`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// What the proxy calls the connection (`PP2_TYPE_UNIQUE_ID`), escaped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unique_id: Option<String>,
    /// The version of TLS that the client speaks with the proxy (`PP2_SUBTYPE_SSL_VERSION`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// The common name of the client's certificate (`PP2_SUBTYPE_SSL_CN`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub common_name: Option<String>,
    /// Whether that certificate was verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<bool>,
    /// The endpoint of AWS that the client has come through (`PP2_SUBTYPE_AWS_VPCE_ID`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aws_endpoint: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn name<S: serde::Serializer>(origin: &Origin, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(origin.name())
}

impl Proxied {
    /// What it says, as fields of a line.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let version = if self.version == 1 { "1" } else { "2" };
        let verified = self.verified.map(|verified| if verified { "true" } else { "false" });
        let origin = self.origin.name();
        let always = [("proxy", &*self.sender), ("proxy_version", version), ("proxy_origin", origin)];
        let told = [
            ("proxy_authority", self.authority.as_deref()),
            ("proxy_unique_id", self.unique_id.as_deref()),
            ("proxy_tls", self.tls.as_deref()),
            ("proxy_common_name", self.common_name.as_deref()),
            ("proxy_verified", verified),
            ("proxy_aws_endpoint", self.aws_endpoint.as_deref()),
        ];
        always.into_iter().chain(told.into_iter().filter_map(|(name, value)| Some((name, value?))))
    }
}
