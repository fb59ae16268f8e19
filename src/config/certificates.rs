//! What tables say of TLS, and what is made of the files that they name: before any socket is opened, and again on a
//! reload.

use super::keys::Scope;
use super::layer::Resolved;
use super::rules::Findings;
use crate::core::setting::Value;
use crate::core::time::Duration;
use crate::tls::{
    self, Client, ClientAuth, ClientSpec, Field, MaxVersion, MinVersion, Mistake, Part, ReadFile, Server,
    ServerSpec,
};

/// The deadline of the opening exchange, and what it is where nobody says and the protocol has none.
const TIMEOUT: &str = "handshake_timeout";
const HANDSHAKE: Duration = Duration::from_secs(10);
/// What is agreed on.
pub(super) const ALPN: &str = "tls.alpn";

/// The files that a table needs for TLS.
pub(super) fn files(of: &Resolved) -> Vec<String> {
    let lists = if of.is(Scope::Upstream) {
        match of.flag("tls.enabled") {
            true if of.flag("tls.verify") => vec!["tls.ca", "tls.certificate", "tls.key"],
            true => vec!["tls.certificate", "tls.key"],
            false => Vec::new(),
        }
    } else if of.serves() && is_on(of) {
        vec!["tls.certificate", "tls.key", "tls.client_ca", "tls.client_crl"]
    } else {
        Vec::new()
    };
    let lists = lists.into_iter().filter_map(|key| of.text(key));
    lists.flat_map(tls::paths).filter_map(|path| path.to_str().map(str::to_owned)).collect()
}

/// Loads what a table says of TLS, if it says anything.
pub(super) fn load(of: &mut Resolved, read_file: ReadFile<'_>, findings: &mut Findings) {
    if of.is(Scope::Upstream) {
        load_client(of, read_file, findings);
    } else if of.serves() {
        load_server(of, read_file, findings);
    }
}

fn load_client(of: &mut Resolved, read_file: ReadFile<'_>, findings: &mut Findings) {
    let before = findings.mistakes.len();
    let on = of.flag("tls.enabled");
    for key in tls::settings::UPSTREAM.iter().map(|key| key.name).filter(|key| !on && *key != "tls.enabled") {
        if of.differs(key) {
            findings.mistake(of, &[key, "tls.enabled"], || {
                let wrong = "has no effect without TLS".to_owned();
                (wrong, "write tls.enabled = true, or leave it out".to_owned())
            });
        }
    }
    if on && of.text("tls.name").is_none() && of.sound(&["tls.name"]) {
        findings.mistake(of, &["tls.name", "tls.enabled"], || {
            let wrong = "is missing: a certificate is for a name, and a server is asked for it".to_owned();
            (wrong, "write the name of the host that the servers are".to_owned())
        });
    }
    if on && of.is_word("check.style", "exchange") {
        findings.mistake(of, &["check.style", "tls.enabled"], || {
            let wrong = "\"exchange\" cannot be read through TLS".to_owned();
            (wrong, "write check.style = \"connect\"".to_owned())
        });
    }
    if !on || findings.mistakes.len() > before {
        return;
    }
    let owned = |key| of.text(key).map(str::to_owned);
    let Some(name) = owned("tls.name").and_then(|name| name.try_into().ok()) else { return };
    let spec = ClientSpec {
        ca: owned("tls.ca").filter(|_| of.flag("tls.verify")),
        name,
        certificate: owned("tls.certificate").unwrap_or_default(),
        key: owned("tls.key").unwrap_or_default(),
        max_version: MaxVersion::V13,
        resumes: true,
    };
    match Client::load(&spec, read_file) {
        Ok(client) => of.client = Some(client),
        Err(mistakes) => report(of, mistakes, findings),
    }
}

fn load_server(of: &mut Resolved, read_file: ReadFile<'_>, findings: &mut Findings) {
    let before = findings.mistakes.len();
    rules(of, findings);
    let is_routed = of.gateway().is_some_and(|gateway| !gateway.routes.is_empty());
    if (is_on(of) || is_routed) && !of.is_given(TIMEOUT) && of.is_word(TIMEOUT, "off") {
        of.set_derived(TIMEOUT, Value::Period(HANDSHAKE), "who begins a handshake has to finish it");
    }
    let Some(spec) = spec(of).filter(|_| findings.mistakes.len() == before) else { return };
    match Server::load(&spec, read_file) {
        Ok(server) => of.tls = Some(server),
        Err(mistakes) => report(of, mistakes, findings),
    }
}

fn report(of: &Resolved, mistakes: Vec<Mistake>, findings: &mut Findings) {
    for Mistake { part, wrong, right } in mistakes {
        let name = match part {
            Part::Certificate => "tls.certificate",
            Part::Key => "tls.key",
            Part::Ca if of.is(Scope::Upstream) => "tls.ca",
            Part::Ca => "tls.client_ca",
            Part::Crl => "tls.client_crl",
        };
        findings.mistake(of, &[name], || (wrong, right));
    }
}

/// What belongs together, and what is of no use without another.
fn rules(of: &Resolved, findings: &mut Findings) {
    const CLIENT: [&str; 3] = ["tls.client_ca", "tls.client_crl", "tls.identity"];
    if is_on(of) && of.text("tls.certificate").is_none() {
        findings.mistake(of, &["tls.certificate", "tls.enabled"], || {
            let wrong = "is missing: TLS cannot be spoken without".to_owned();
            (wrong, "write the path of a file with a certificate and its key".to_owned())
        });
    }
    let asks = !of.is_word("tls.client_certificate", "off");
    if asks && !is_on(of) {
        findings.mistake(of, &["tls.client_certificate", "tls.certificate"], || {
            let wrong = "has no effect without TLS, which needs a certificate of ours".to_owned();
            (wrong, "write tls.certificate, or leave it out".to_owned())
        });
    }
    if asks && of.text("tls.client_ca").is_none() {
        findings.mistake(of, &["tls.client_ca", "tls.client_certificate"], || {
            let wrong = "is missing: certificates of clients cannot be verified without".to_owned();
            (wrong, "write the path of a file with the authorities that sign them".to_owned())
        });
    }
    for key in CLIENT.into_iter().filter(|key| !asks && of.differs(key) && of.sound(&[key])) {
        findings.mistake(of, &[key, "tls.client_certificate"], || {
            let wrong = "has no effect on clients that are not asked for a certificate".to_owned();
            (wrong, "write tls.client_certificate = \"required\" or \"optional\", or leave it out".to_owned())
        });
    }
}

/// Whether it speaks TLS.
pub(super) fn is_on(of: &Resolved) -> bool {
    of.is_word("tls.enabled", "on")
        || (of.is_word("tls.enabled", "auto") && of.text("tls.certificate").is_some())
}

fn spec(of: &Resolved) -> Option<ServerSpec> {
    if !is_on(of) {
        return None;
    }
    let owned = |key| of.text(key).map(str::to_owned);
    let identity = match of.word("tls.identity") {
        Some("cn") => Some(Field::Cn),
        Some("dns") => Some(Field::Dns),
        Some("email") => Some(Field::Email),
        Some("uri") => Some(Field::Uri),
        _ => None,
    };
    let client = match of.word("tls.client_certificate") {
        Some(word @ ("optional" | "required")) => ClientAuth::Verified {
            optional: word == "optional",
            ca: owned("tls.client_ca").unwrap_or_default(),
            crl: owned("tls.client_crl").unwrap_or_default(),
            identity,
        },
        _ => ClientAuth::Off,
    };
    let min_version = if of.is_word("tls.min_version", "1.3") { MinVersion::V13 } else { MinVersion::V12 };
    Some(ServerSpec {
        certificate: owned("tls.certificate")?,
        key: owned("tls.key"),
        min_version,
        client,
        alpn: owned(ALPN).unwrap_or_default(),
    })
}
