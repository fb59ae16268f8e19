//! An authority of certificates, for tests.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};

/// An authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, in PEM.
    pub pem: String,
}

/// What an authority has signed.
pub struct Signed {
    /// The certificate, in PEM.
    pub certificate: String,
    /// Its key, in PEM.
    pub key: String,
    serial: u64,
}

impl Signed {
    /// Both, as one file.
    pub fn both(&self) -> String {
        format!("{}{}", self.certificate, self.key)
    }
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("there is randomness");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let pem = params.self_signed(&key).expect("the parameters are sound").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for a host, or for a client of that common name.
    pub fn sign(&self, name: &str) -> Signed {
        self.sign_until(name, 4000)
    }

    /// The same, valid up to a year.
    pub fn sign_until(&self, name: &str, year: i32) -> Signed {
        let key = KeyPair::generate().expect("there is randomness");
        let serial = name.bytes().fold(17, |serial, byte| serial * 31 % 1_000_003 + u64::from(byte));
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names.push(SanType::DnsName(name.to_owned().try_into().expect("a name of ASCII")));
        params.serial_number = Some(SerialNumber::from(serial));
        params.not_after = date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).expect("the parameters are sound").pem();
        Signed { certificate, key: key.serialize_pem(), serial }
    }

    /// A list of what it has revoked, in PEM.
    pub fn revoke(&self, all: &[&Signed]) -> String {
        let revoked_certs = all
            .iter()
            .map(|signed| RevokedCertParams {
                serial_number: SerialNumber::from(signed.serial),
                revocation_time: date_time_ymd(2024, 1, 1),
                reason_code: None,
                invalidity_date: None,
            })
            .collect();
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(4000, 1, 1),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).expect("the parameters are sound").pem().expect("it can be written")
    }
}
