//! What a certificate says (RFC 5280): whose it is, and until when it is valid.

use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::asn1::{Ia5StringRef, PrintableStringRef, TeletexStringRef, Utf8StringRef};
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// `id-at-commonName` (RFC 5280, appendix A.1).
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// Longest name that is read of a certificate, in bytes: 64 characters of 4 bytes, the most that X.520 lets a common name have
/// (RFC 5280, A.1: `ub-common-name`). Characters are not counted: the authority has signed it. A name counts whole or, if it is longer, not
/// at all; no part of it is another's name. So a header that tells a server of it is bounded, too.
const NAME_BYTES_MAX: usize = 256;

/// Where in a certificate the name stands that counts as the identity of a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Field {
    /// The common name of its subject.
    Cn,
    /// The first DNS name among its alternative names.
    Dns,
    /// The first mail address among those.
    Email,
    /// The first URI among those.
    Uri,
}

/// One certificate, understood.
pub(super) struct Parsed(Certificate);

impl Parsed {
    /// `None`: it is no certificate.
    pub(super) fn new(der: &CertificateDer<'_>) -> Option<Self> {
        Certificate::from_der(der).ok().map(Self)
    }

    /// The last second in which it is valid, since 1970.
    pub(super) fn not_after(&self) -> u64 {
        self.0.tbs_certificate.validity.not_after.to_unix_duration().as_secs()
    }

    /// The DNS names that it is for. Without any, its common name, as of old.
    pub(super) fn dns_names(&self) -> Vec<String> {
        let names: Vec<_> = self.alternative_names(Field::Dns).collect();
        if names.is_empty() { self.common_name().into_iter().collect() } else { names }
    }

    /// The name that stands there.
    pub(super) fn name(&self, field: Field) -> Option<String> {
        match field {
            Field::Cn => self.common_name(),
            Field::Dns | Field::Email | Field::Uri => {
                self.alternative_names(field).next().filter(|name| fits(name))
            }
        }
    }

    fn common_name(&self) -> Option<String> {
        let mut attributes = self.0.tbs_certificate.subject.0.iter().flat_map(|set| set.0.iter());
        let value = &attributes.find(|attribute| attribute.oid == COMMON_NAME)?.value;
        // A directory string is one of these (RFC 5280, 4.1.2.4).
        let text = value.decode_as::<Utf8StringRef<'_>>().map(|text| text.as_str().to_owned());
        text.or_else(|_| value.decode_as::<PrintableStringRef<'_>>().map(|text| text.as_str().to_owned()))
            .or_else(|_| value.decode_as::<TeletexStringRef<'_>>().map(|text| text.as_str().to_owned()))
            .or_else(|_| value.decode_as::<Ia5StringRef<'_>>().map(|text| text.as_str().to_owned()))
            .ok()
            .filter(|name| fits(name))
    }

    fn alternative_names(&self, field: Field) -> impl Iterator<Item = String> {
        let names = self.0.tbs_certificate.get::<SubjectAltName>().ok().flatten();
        let names = names.map(|(_, names)| names.0).unwrap_or_default();
        names.into_iter().filter_map(move |name| {
            let ((Field::Dns, GeneralName::DnsName(text))
            | (Field::Email, GeneralName::Rfc822Name(text))
            | (Field::Uri, GeneralName::UniformResourceIdentifier(text))) = (field, &name)
            else {
                return None;
            };
            Some(text.to_string())
        })
    }
}

fn fits(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX
}

/// The common name of a certificate's subject.
pub(crate) fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    identity(certificate, Field::Cn)
}

/// The name in a client's certificate that is its identity.
pub(crate) fn identity(certificate: &CertificateDer<'_>, field: Field) -> Option<String> {
    Parsed::new(certificate)?.name(field)
}
