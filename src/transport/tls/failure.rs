//! What a failure of TLS is called, and what may help.

use crate::core::end::{Alert, Foreign, TlsAlert};
use crate::protocol::ProtocolError;
use crate::protocol::first_bytes::{LOOK_BYTES_MAX, Look, look};
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

/// The first bytes of a connection, as many as it takes to tell what they are of.
#[derive(Clone, Copy, Default)]
pub(super) struct FirstBytes {
    bytes: [u8; LOOK_BYTES_MAX],
    count: u8,
}

impl FirstBytes {
    /// Takes what is still missing of what has come next.
    pub(super) fn note(&mut self, wire: &[u8]) {
        let have = usize::from(self.count);
        let take = wire.len().min(LOOK_BYTES_MAX - have);
        self.bytes[have..have + take].copy_from_slice(&wire[..take]);
        self.count = u8::try_from(have + take).expect("they are no more than LOOK_BYTES_MAX");
    }

    /// What they are of, if that is known and not TLS.
    fn spoke(&self) -> Option<Foreign> {
        match look(Foreign::Tls, &self.bytes[..usize::from(self.count)]) {
            Look::Foreign(spoke) => Some(spoke),
            Look::Expected | Look::Unclear => None,
        }
    }
}

/// What a client is told whose first message is too long: a fatal alert, `illegal_parameter`, as OpenSSL says it then
/// (`ssl/statem/statem.c: SSL_R_EXCESSIVE_MESSAGE_SIZE`; RFC 8446, 6, has none of its own). rustls says nothing.
pub(super) const TOO_LONG: [u8; 7] = [21, 3, 3, 0, 2, 2, 47];

/// Whether a message of the handshake is longer than rustls takes: 64 KiB.
pub(super) const fn is_too_long(error: &Error) -> bool {
    matches!(
        error,
        Error::PeerSentOversizedRecord | Error::InvalidMessage(InvalidMessage::HandshakePayloadTooLarge)
    )
}

/// A first message that is too long, which is answered by [`TOO_LONG`].
pub(super) fn oversized(text: &'static str) -> ProtocolError {
    let alert = Some(TlsAlert { alert: Alert::IllegalParameter, is_ours: true });
    ProtocolError { alert, ..ProtocolError::oversized(text) }
}

/// What a failure is to us. `said`: what was answered to it; `first`: what came first of a client. `None`: the peer is a
/// server that we have connected to.
pub(super) fn refusal(error: &Error, said: &[u8], first: Option<&FirstBytes>) -> ProtocolError {
    let alert = match error {
        Error::AlertReceived(description) => {
            named(*description).map(|alert| TlsAlert { alert, is_ours: false })
        }
        _ => plain_alert(said)
            .or_else(|| sealed_alert(error))
            .and_then(named)
            .map(|alert| TlsAlert { alert, is_ours: true }),
    };
    let advice = match first {
        None => advice_about_server(error),
        Some(_) => advice_about_client(error),
    };
    let spoke = first.filter(|_| matches!(error, Error::InvalidMessage(_))).and_then(FirstBytes::spoke);
    ProtocolError { spoke, ..ProtocolError::tls(format!("{error}: {advice}"), alert) }
}

/// The alert that was said, if it was said before there were keys (RFC 8446, 5.1 and 6).
fn plain_alert(said: &[u8]) -> Option<AlertDescription> {
    const ALERT: u8 = 21;
    let start = said.len().checked_sub(7)?;
    let [ALERT, 3, _, 0, 2, _, description] = said[start..] else { return None };
    Some(description.into())
}

/// The alert that rustls says where there are keys.
fn sealed_alert(error: &Error) -> Option<AlertDescription> {
    match error {
        Error::InvalidCertificate(why) => Some(why.clone().into()),
        Error::NoCertificatesPresented => Some(AlertDescription::CertificateRequired),
        Error::DecryptError => Some(AlertDescription::BadRecordMac),
        _ => None,
    }
}

/// What may help where an upstream server is the peer.
fn advice_about_server(error: &Error) -> &'static str {
    use AlertDescription as D;
    match error {
        Error::AlertReceived(
            D::CertificateRequired | D::UnknownCA | D::BadCertificate | D::CertificateUnknown,
        ) => "the server wants a certificate of ours that it trusts; see tls.certificate of the upstream",
        Error::AlertReceived(D::UnrecognisedName) => {
            "the server has nothing of that name; see tls.name of the upstream"
        }
        Error::AlertReceived(_) => "the server has refused",
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "the server's certificate is of no authority that we trust; see tls.ca of the upstream, or --cacert"
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "the server's certificate is not for tls.name of the upstream",
        Error::InvalidCertificate(_) => "the server's certificate cannot be used",
        Error::PeerIncompatible(_) => "the server has no version, cipher suite or group in common with us",
        Error::InvalidMessage(_) => "the server speaks no TLS at this port",
        _ => "the server does not keep to TLS",
    }
}

/// What may help where a client is the peer.
fn advice_about_client(error: &Error) -> &'static str {
    use AlertDescription as D;
    match error {
        Error::AlertReceived(D::UnknownCA | D::CertificateUnknown | D::BadCertificate) => {
            "the client does not trust our certificate; does it know our authority, and is the whole chain in tls.certificate?"
        }
        Error::AlertReceived(D::CertificateExpired) => {
            "our certificate has expired, or the client's clock is wrong"
        }
        Error::AlertReceived(D::ProtocolVersion) => {
            "the client speaks none of our versions; see tls.min_version"
        }
        Error::AlertReceived(D::HandshakeFailure | D::InsufficientSecurity) => {
            "the client has no cipher suite, group or signature scheme in common with us"
        }
        Error::AlertReceived(D::UserCanceled) => "the client has thought better of it",
        Error::AlertReceived(_) => "the client has refused",
        Error::NoCertificatesPresented => {
            "the client has no certificate, and tls.client_certificate requires one"
        }
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "the client's certificate is of no authority in tls.client_ca"
        }
        Error::InvalidCertificate(CertificateError::Revoked) => {
            "the client's certificate was revoked, by tls.client_crl"
        }
        Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => "the client's certificate is not valid now; look at its dates, and at our clock",
        Error::InvalidCertificate(CertificateError::UnknownRevocationStatus) => {
            "tls.client_crl has no list of the authority that has signed the client's certificate"
        }
        Error::InvalidCertificate(_) => "the client's certificate cannot be used",
        error if is_too_long(error) => "a message of the client's handshake, or a record, is too long",
        Error::PeerIncompatible(_) => "the client has no version, cipher suite or group in common with us",
        Error::InvalidMessage(_) => "what came is no TLS, or was damaged",
        Error::DecryptError => {
            "what came was damaged on its way, or was not made with the keys of this connection"
        }
        _ => "the client does not keep to TLS",
    }
}

/// An alert by its name (RFC 8446, 6).
fn named(description: AlertDescription) -> Option<Alert> {
    use AlertDescription as D;
    Some(match description {
        D::CloseNotify => return None,
        D::UnexpectedMessage => Alert::UnexpectedMessage,
        D::BadRecordMac => Alert::BadRecordMac,
        D::RecordOverflow => Alert::RecordOverflow,
        D::HandshakeFailure => Alert::HandshakeFailure,
        D::BadCertificate => Alert::BadCertificate,
        D::UnsupportedCertificate => Alert::UnsupportedCertificate,
        D::CertificateRevoked => Alert::CertificateRevoked,
        D::CertificateExpired => Alert::CertificateExpired,
        D::CertificateUnknown => Alert::CertificateUnknown,
        D::IllegalParameter => Alert::IllegalParameter,
        D::UnknownCA => Alert::UnknownCa,
        D::AccessDenied => Alert::AccessDenied,
        D::DecodeError => Alert::DecodeError,
        D::DecryptError => Alert::DecryptError,
        D::ProtocolVersion => Alert::ProtocolVersion,
        D::InsufficientSecurity => Alert::InsufficientSecurity,
        D::InternalError => Alert::InternalError,
        D::InappropriateFallback => Alert::InappropriateFallback,
        D::UserCanceled => Alert::UserCanceled,
        D::MissingExtension => Alert::MissingExtension,
        D::UnsupportedExtension => Alert::UnsupportedExtension,
        D::UnrecognisedName => Alert::UnrecognizedName,
        D::BadCertificateStatusResponse => Alert::BadCertificateStatusResponse,
        D::UnknownPSKIdentity => Alert::UnknownPskIdentity,
        D::CertificateRequired => Alert::CertificateRequired,
        D::NoApplicationProtocol => Alert::NoApplicationProtocol,
        _ => Alert::Other,
    })
}
