//! What only the admin interface can be asked: where it is, and who may use it.

use crate::core::setting::{Default, Key, Kind, Value, Values};
use crate::protocol::access::read_path;
use crate::protocol::{Access, Hosts, LocalOnly};

pub(super) const SETTINGS: [Key; 4] = [
    Key {
        name: "address",
        kind: Kind::AddressOrOff,
        default: Default::Same("127.0.0.1:7070"),
        doc: "Where the admin interface listens: an address and port, \"unix:/run/linger.sock\", or \"off\".",
        why: "It can end connections and names every client, and without a token (token_file) it asks for \
              no password: it is for this host only then.",
    },
    Key {
        name: "token_file",
        kind: Kind::Text {
            words: &["none"],
            read: read_path,
            expects: "the path of a file with a token, or \"none\"",
        },
        default: Default::Same("none"),
        doc: "The file of the token that each request has to bring, as \"Authorization: Bearer TOKEN\": 16 visible \
              characters or more. /healthz and /readyz are answered without it, a unix socket asks for none. Read again on \
              SIGHUP. An address that other hosts can reach needs one.",
        why: "On loopback and on a unix socket the host says who may come. Those who ask whether the server is well \
              have no secrets, and are told nothing else.",
    },
    Key {
        name: "hosts",
        kind: HOSTS,
        default: Default::Same("none"),
        doc: "Names in the Host header that are answered besides IP addresses and localhost, separated by commas; \
              \"any\" answers all. A unix socket answers all anyway.",
        why: "A web page whose name is made to resolve to this host has a browser send requests here (DNS \
              rebinding). The name it uses is what gives it away.",
    },
    Key {
        name: "socket_mode",
        kind: Kind::Mode,
        default: Default::Same("0660"),
        doc: "Permissions of the unix socket's file. Who may write to it may use the interface.",
        why: "The server's user and group are the operators; other users of the host are not.",
    },
];

/// Names of hosts, or a word.
const HOSTS: Kind = Kind::Text {
    words: &["none", "any"],
    read: read_hosts,
    expects: "names of hosts without ports, separated by commas, as \"linger.example,ops\", or \"none\" or \"any\"",
};

pub(super) const LOCAL_ONLY: LocalOnly = LocalOnly {
    unless: "token_file",
    wrong: "can be reached from other hosts, and the admin interface has no token",
    right: "use 127.0.0.1 or unix:PATH, or write a token into a file and set admin.token_file to its path",
};

/// Who may use it.
pub(super) fn access(own: &Values) -> Access {
    let text = |name| own.value(name).and_then(Value::text);
    let is_unix = text("address").is_some_and(|address| address.starts_with("unix:"));
    let is_any = own.value("hosts").and_then(Value::word) == Some("any");
    // No browser connects to a unix socket.
    let hosts = if is_any || is_unix {
        Hosts::Any
    } else {
        let names = text("hosts").unwrap_or_default().split(',').filter(|name| !name.is_empty());
        Hosts::Named(names.map(str::to_owned).collect())
    };
    let socket_mode = own.value("socket_mode").and_then(Value::mode);
    let usual = Access::default();
    // Who may write to a unix socket may use the interface.
    let token_file = text("token_file").filter(|_| !is_unix).map(str::to_owned);
    Access { hosts, socket_mode: socket_mode.unwrap_or(usual.socket_mode), token_file, ..usual }
}

/// Names of hosts, in small letters, with single commas between them.
fn read_hosts(given: &str) -> Result<String, String> {
    let mut names = Vec::new();
    for name in given.split(',').map(str::trim) {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 253 || !name.chars().all(plain) {
            return Err(format!("{name:?} is not the name of a host"));
        }
        names.push(name.trim_end_matches('.').to_ascii_lowercase());
    }
    Ok(names.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lists_in_small_letters() {
        assert_eq!(read_hosts("Linger.Example., ops"), Ok("linger.example,ops".to_owned()));
        for wrong in ["", "a,,b", "a b", "a:7070", "http://a"] {
            assert!(read_hosts(wrong).is_err(), "{wrong:?}");
        }
    }
}
