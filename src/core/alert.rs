//! Alerts of TLS, by which one side says why a connection cannot go on.

use crate::core::named::named;
use std::fmt;

named! {
    /// An alert of TLS, by its name in RFC 8446, section 6.
    Alert {
        /// A message that has no place there.
        UnexpectedMessage = "unexpected_message",
        /// A record was damaged, or made with other keys.
        BadRecordMac = "bad_record_mac",
        /// A record over its bound.
        RecordOverflow = "record_overflow",
        /// Nothing in common.
        HandshakeFailure = "handshake_failure",
        /// A certificate that is not sound, or not for that name.
        BadCertificate = "bad_certificate",
        /// A certificate of a kind that is not taken.
        UnsupportedCertificate = "unsupported_certificate",
        /// A certificate that was revoked.
        CertificateRevoked = "certificate_revoked",
        /// A certificate that is not valid at this time.
        CertificateExpired = "certificate_expired",
        /// Something else is wrong with a certificate.
        CertificateUnknown = "certificate_unknown",
        /// A field that must not have such a value.
        IllegalParameter = "illegal_parameter",
        /// A certificate of an authority that is not trusted.
        UnknownCa = "unknown_ca",
        /// A certificate that is sound, whose owner may not.
        AccessDenied = "access_denied",
        /// A message that could not be understood.
        DecodeError = "decode_error",
        /// A signature or a message of the handshake that could not be verified.
        DecryptError = "decrypt_error",
        /// No version in common.
        ProtocolVersion = "protocol_version",
        /// Ciphers that are too weak.
        InsufficientSecurity = "insufficient_security",
        /// A fault of its own.
        InternalError = "internal_error",
        /// A lower version was tried than need be.
        InappropriateFallback = "inappropriate_fallback",
        /// The user did not want to.
        UserCanceled = "user_canceled",
        /// An extension that must be there.
        MissingExtension = "missing_extension",
        /// An extension that must not be there.
        UnsupportedExtension = "unsupported_extension",
        /// There is no server of that name.
        UnrecognizedName = "unrecognized_name",
        /// A status of a certificate that is not sound.
        BadCertificateStatusResponse = "bad_certificate_status_response",
        /// A key that was agreed on before is not known.
        UnknownPskIdentity = "unknown_psk_identity",
        /// A certificate must be there.
        CertificateRequired = "certificate_required",
        /// No protocol of ALPN in common.
        NoApplicationProtocol = "no_application_protocol",
        /// Another.
        Other = "other",
    }
}

/// An alert that has ended a connection, and who has sent it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TlsAlert {
    /// The alert, as RFC 8446 6 names it.
    pub alert: Alert,
    /// Whether it was ours.
    pub is_ours: bool,
}

impl fmt::Display for TlsAlert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", if self.is_ours { "local" } else { "peer" }, self.alert)
    }
}
