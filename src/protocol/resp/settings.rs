//! What only a listener of commands can be asked: who may come in.

use crate::core::setting::{Default, Key, Kind, Value, Values};
use crate::protocol::Access;
use crate::protocol::access::read_path;

pub(super) const SETTINGS: [Key; 2] = [
    Key {
        name: "users",
        kind: Kind::Text {
            words: &["none"],
            read: read_path,
            expects: "the path of a file of users, or \"none\"",
        },
        default: Default::Same("none"),
        doc: "The file of those who may log in, and what each may do, in the format of an ACL file of Redis; \"none\": \
              everybody may come in. 'linger user' edits it, SIGHUP has it read again. Listeners may share one.",
        why: "On loopback every program of the host may come in anyway. A listener for other hosts needs one: see \
              protected_mode.",
    },
    Key {
        name: "protected_mode",
        kind: Kind::Flag,
        default: Default::Same("true"),
        doc: "On an address that other hosts can reach, or behind a proxy (accept_proxy), without users, refuse what acts on other connections or tells of \
              them: CLIENT KILL and LIST, WHO, STATE, SEND, BEATFOR, IDENTFOR, $presence channels, and to take an identity \
              that is held from another address.",
        why: "Otherwise anybody who reaches the port could end and impersonate everybody. Switch it off in a network where \
              all are trusted.",
    },
];

/// Who may use a listener.
pub(super) fn access(own: &Values) -> Access {
    Access {
        users: own.value("users").and_then(Value::text).map(str::to_owned),
        protects_others: own.value("protected_mode").is_some_and(Value::is_set),
        ..Access::default()
    }
}
