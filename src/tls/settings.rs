//! The keys of TLS: what listeners inherit from `[defaults]`, and what an upstream can say.

use crate::core::setting::{Default, Key, Kind};

/// The paths of files.
const FILES: Kind = Kind::Text {
    words: &["off"],
    read: read_files,
    expects: "the paths of PEM files, separated by commas, or \"off\"",
};

fn read_files(paths: &str) -> Result<String, String> {
    let all: Vec<_> = paths.split(',').map(str::trim).collect();
    if all.iter().any(|path| path.is_empty()) {
        return Err(format!("{paths:?} has a path that is empty"));
    }
    Ok(all.join(","))
}

/// Names of protocols (RFC 7301).
const PROTOCOLS: Kind = Kind::Text {
    words: &["off"],
    read: read_protocols,
    expects: "names of protocols, as \"mqtt\" or \"h2,http/1.1\", the preferred first, or \"off\"",
};

fn read_protocols(names: &str) -> Result<String, String> {
    let all: Vec<_> = names.split(',').map(str::trim).collect();
    if all.iter().any(|name| name.is_empty() || name.len() > 255) {
        return Err(format!("{names:?} has a name that is empty, or longer than 255 bytes"));
    }
    Ok(all.join(","))
}

/// What a listener can say.
pub static LISTENER: [Key; 9] = [
    Key {
        name: "tls.enabled",
        kind: Kind::Choice(&["auto", "on", "off"]),
        default: Default::Usual("auto"),
        doc: "TLS: \"auto\" where there is a certificate. A URL says \"on\" by its scheme: resps://, echos://, tls:// (which \
              is tcp:// over TLS).",
        why: "Who names a certificate wants it to be used; \"off\" is for the listener that is to have none of [defaults].",
    },
    Key {
        name: "tls.certificate",
        kind: FILES,
        default: Default::Usual("off"),
        doc: "Files in PEM, each with a certificate and behind it those that lead to its authority. A client gets the one for \
              the name that it asks for (SNI), else the first. Read again on SIGHUP; connections that are there stay.",
        why: "No default: a certificate is for a name, and only you know yours.",
    },
    Key {
        name: "tls.key",
        kind: FILES,
        default: Default::Usual("off"),
        doc: "Files in PEM with the private keys, RSA or EC, in the order of the certificates; \"off\" where each is in the file \
              of its certificate.",
        why: "Both ways are usual.",
    },
    Key {
        name: "tls.min_version",
        kind: Kind::Choice(&["1.2", "1.3"]),
        default: Default::Usual("1.2"),
        doc: "The least version of TLS that is spoken; the other is 1.3.",
        why: "Devices that know only 1.2 will be in use for years, and with the cipher suites that are left (AEAD, forward \
              secrecy) it is sound. Older ones are not offered (RFC 8996).",
    },
    Key {
        name: "tls.alpn",
        kind: PROTOCOLS,
        default: Default::Usual("off"),
        doc: "Protocols to agree on with clients that ask (ALPN); one with none in common is refused.",
        why: "Most clients of such servers do not ask.",
    },
    Key {
        name: "tls.client_certificate",
        kind: Kind::Choice(&["off", "optional", "required"]),
        default: Default::Usual("off"),
        doc: "Whether clients are asked for a certificate, and whether one without is refused. A client with one that cannot be \
              verified is refused in any case. Sessions are not resumed then: a ticket would let a client back in that was \
              revoked meanwhile.",
        why: "It needs an authority of one's own.",
    },
    Key {
        name: "tls.client_ca",
        kind: FILES,
        default: Default::Usual("off"),
        doc: "Files in PEM with the authorities that clients' certificates must be signed by.",
        why: "No default: authorities that the public trusts sign certificates of servers for anybody.",
    },
    Key {
        name: "tls.client_crl",
        kind: FILES,
        default: Default::Usual("off"),
        doc: "Files in PEM with lists of certificates that were revoked; with any, there must be one for each authority between \
              a client and tls.client_ca.",
        why: "Without a list nothing was revoked.",
    },
    Key {
        name: "tls.identity",
        kind: Kind::Choice(&["off", "cn", "dns", "email", "uri"]),
        default: Default::Usual("off"),
        doc: "The name in a client's certificate that is the identity of its connection, whatever it speaks: the common name of \
              its subject, or the first alternative name of that kind. An older connection of that identity is replaced.",
        why: "A certificate may be shared by clients that are not the same.",
    },
];

/// What `[upstream.NAME]` can say.
pub static UPSTREAM: [Key; 6] = [
    Key {
        name: "tls.enabled",
        kind: Kind::Flag,
        default: Default::Same("false"),
        doc: "Speak TLS to the servers. The handshake belongs to the connect: it has connect_timeout, and another server is tried \
              if it fails.",
        why: "Most servers stand beside their gateway, on a network of their own.",
    },
    Key {
        name: "tls.name",
        kind: NAME,
        default: Default::Same("off"),
        doc: "The name that the servers' certificates are for, and that they are asked for (SNI).",
        why: "Servers of one upstream do the same work, and so have one name; addresses say nothing of that.",
    },
    Key {
        name: "tls.verify",
        kind: Kind::Flag,
        default: Default::Same("true"),
        doc: "Verify the servers' certificates; without it, who is in between can read and change everything.",
        why: "What is not verified is not protected.",
    },
    Key {
        name: "tls.ca",
        kind: FILES,
        default: Default::Same("/etc/ssl/certs/ca-certificates.crt"),
        doc: "Files in PEM with the authorities that the servers' certificates must be signed by.",
        why: "Where Debian, Ubuntu and Alpine have those that the public trusts.",
    },
    Key {
        name: "tls.certificate",
        kind: FILES,
        default: Default::Same("off"),
        doc: "A file in PEM with a certificate of our own, for servers that ask for one.",
        why: "Few do.",
    },
    Key {
        name: "tls.key",
        kind: FILES,
        default: Default::Same("off"),
        doc: "A file in PEM with its private key; \"off\": it is in the same file.",
        why: "Both ways are usual.",
    },
];

/// The name of a host.
const NAME: Kind = Kind::Text { words: &["off"], read: read_name, expects: "the name of a host, or \"off\"" };

fn read_name(name: &str) -> Result<String, String> {
    match rustls::pki_types::ServerName::try_from(name) {
        Ok(_) => Ok(name.to_owned()),
        Err(_) => Err(format!("{name:?} is no name of a host")),
    }
}
