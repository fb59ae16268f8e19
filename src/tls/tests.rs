//! What is made of files, and what is said of those that cannot be used.

use super::pki::{Authority, Signed};
use super::*;
use indexmap::IndexMap;
use std::cell::RefCell;
use std::sync::Arc;

thread_local! {
    static FILES: RefCell<IndexMap<String, String>> = RefCell::default();
}

/// Puts a file there, for [`read`].
pub(crate) fn put(path: &str, text: &str) {
    FILES.with_borrow_mut(|files| files.insert(path.to_owned(), text.to_owned()));
}

/// Reads one of those.
pub(crate) fn read(path: &Path, _: usize) -> Result<String, String> {
    let path = path.to_str().expect("paths of tests are text");
    FILES.with_borrow(|files| files.get(path).cloned()).ok_or_else(|| "there is none".to_owned())
}

pub(crate) fn spec(certificate: &str) -> ServerSpec {
    ServerSpec {
        certificate: certificate.to_owned(),
        key: None,
        min_version: MinVersion::V12,
        client: ClientAuth::Off,
        alpn: String::new(),
    }
}

pub(crate) fn client_spec() -> ClientSpec {
    ClientSpec {
        ca: Some("ca.pem".to_owned()),
        name: "localhost".try_into().unwrap(),
        certificate: String::new(),
        key: String::new(),
        max_version: MaxVersion::V13,
        resumes: true,
    }
}

pub(crate) fn verified(crl: &str, identity: Option<Field>) -> ClientAuth {
    ClientAuth::Verified { optional: false, ca: "ca.pem".to_owned(), crl: crl.to_owned(), identity }
}

/// An authority, and a server of it, of which there are files.
pub(crate) fn house() -> (Authority, Signed) {
    let authority = Authority::new("house");
    let server = authority.sign("localhost");
    put("ca.pem", &authority.pem);
    put("server.pem", &server.both());
    (authority, server)
}

fn mistakes(spec: &ServerSpec) -> Vec<String> {
    let mistakes = Server::load(spec, &read).expect_err("there are mistakes");
    mistakes.iter().map(|mistake| format!("{:?}: {}", mistake.part, mistake.wrong)).collect()
}

#[test]
fn a_certificate_and_its_key_are_in_one_file_or_in_two() {
    let (_, signed) = house();
    assert!(Server::load(&spec("server.pem"), &read).is_ok());
    put("certificate.pem", &signed.certificate);
    put("key.pem", &signed.key);
    let in_two = ServerSpec { key: Some("key.pem".to_owned()), ..spec("certificate.pem") };
    let loaded = Server::load(&in_two, &read).unwrap();
    assert_eq!(loaded.expiries(), [Expiry { file: "certificate.pem".to_owned(), at: 64_060_588_800 }]);
}

#[test]
fn every_mistake_is_said_once_and_names_its_file() {
    let (authority, signed) = house();
    put("certificate.pem", &signed.certificate);
    put("key.pem", &signed.key);
    put("other.pem", &authority.sign("other").key);
    put("torn.pem", "-----BEGIN CERTIFICATE-----\nno base64!\n-----END CERTIFICATE-----\n");
    put("locked.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n");
    put("empty.pem", "");
    let key = |certificate: &str, key: &str| ServerSpec { key: Some(key.to_owned()), ..spec(certificate) };
    let with = |client: ClientAuth| ServerSpec { client, ..spec("server.pem") };
    for (spec, expected) in [
        (spec("none.pem"), "Certificate: none.pem: there is none"),
        (spec("certificate.pem"), "Certificate: certificate.pem: has no private key"),
        (spec("empty.pem"), "Certificate: empty.pem: has no certificate"),
        (
            key("certificate.pem", "other.pem"),
            "Key: other.pem: is not the key of the certificate in certificate.pem",
        ),
        (key("certificate.pem", "locked.pem"), "Key: locked.pem: has a key that is encrypted"),
        (key("certificate.pem,server.pem", "key.pem"), "Key: names 1 files, and there are 2 certificates"),
        (key("torn.pem", "key.pem"), "Certificate: torn.pem: is no sound PEM"),
        (
            with(ClientAuth::Verified {
                ca: "key.pem".to_owned(),
                optional: true,
                crl: String::new(),
                identity: None,
            }),
            "Ca: key.pem: has no certificate",
        ),
        (with(verified("ca.pem", None)), "Crl: ca.pem: has no list of revoked certificates"),
    ] {
        let said = mistakes(&spec);
        assert!(said[0].starts_with(expected), "{said:?}, not {expected}");
    }
    assert_eq!(mistakes(&spec("none.pem,empty.pem")).len(), 3, "all at once");
}

#[test]
fn what_was_made_of_the_same_files_is_the_same() {
    let (authority, _) = house();
    let before = Server::load(&spec("server.pem"), &read).unwrap();
    assert_eq!(Server::load(&spec("server.pem"), &read).unwrap(), before);
    put("server.pem", &authority.sign("localhost").both());
    assert_ne!(Server::load(&spec("server.pem"), &read).unwrap(), before);
    assert!(!format!("{before:?}").contains("PRIVATE"), "a key is not written anywhere");
}

#[test]
fn the_name_of_a_client_is_where_its_listener_says() {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let signed = Authority::new("house").sign("dev1.example");
    let der = CertificateDer::from_pem_slice(signed.certificate.as_bytes()).unwrap();
    assert_eq!(identity(&der, Field::Cn).as_deref(), Some("dev1.example"));
    assert_eq!(identity(&der, Field::Dns).as_deref(), Some("dev1.example"));
    assert_eq!(identity(&der, Field::Email), None);
    assert_eq!(identity(&CertificateDer::from(vec![0x30, 0]), Field::Cn), None);
}

#[test]
fn a_name_counts_whole_or_not_at_all() {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let authority = Authority::new("house");
    for (length, counts) in [(64, true), (65, true), (256, true), (257, false), (5000, false)] {
        let name = "n".repeat(length);
        let signed = authority.sign(&name);
        let der = CertificateDer::from_pem_slice(signed.certificate.as_bytes()).unwrap();
        for field in [Field::Cn, Field::Dns] {
            assert_eq!(identity(&der, field), counts.then(|| name.clone()), "{length}, {field:?}");
        }
        assert_eq!(common_name(&der).is_some(), counts);
    }
}

#[test]
fn what_is_in_use_stays_where_the_same_is_read_again() {
    let (authority, _) = house();
    let load = || Some(Server::load(&spec("server.pem"), &read).unwrap());
    let first = load();
    let mut own = first.clone();
    let is_first = |own: &Option<Server>| {
        let [own, first] = [own, &first].map(|server| &server.as_ref().unwrap().config);
        Arc::ptr_eq(own, first)
    };
    assert!(!adopt(&mut own, load().as_ref()) && is_first(&own));
    put("server.pem", &authority.sign("localhost").both());
    assert!(adopt(&mut own, load().as_ref()) && !is_first(&own));
    assert!(adopt(&mut own, None) && own.is_none());
}
