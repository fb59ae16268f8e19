//! The table of every key: its name, what it may be, its default, what it does and why its default is what
//! it is. The file, URLs, flags, `linger check`, `linger config` and the help all read this table, and
//! nothing else knows the name of a key but [`build`](super::build), which makes settings of the values.
//!
//! Read [`listener`] for what a listener can be asked, [`process`] for the rest.

mod listener;
mod process;

use super::value::{Kind, Raw, Value};
use crate::core::time::Duration;
use crate::protocol::{Inapplicable, Protocol};
use std::borrow::Cow;

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    /// Its name within its scope, dotted when it lives in a sub-table.
    pub(super) name: &'static str,
    /// What it may be.
    pub(super) kind: Kind,
    /// What it is when nobody says.
    pub(super) default: Default,
    /// What it does.
    pub(super) doc: &'static str,
    /// Why its default is what it is.
    pub(super) why: &'static str,
}

/// The default of a key, as text that its own kind reads.
#[derive(Clone, Copy, Debug)]
pub(super) enum Default {
    /// None: the key must be given.
    Required,
    /// This. The key is not about listeners.
    Same(&'static str),
    /// This, on a listener whose protocol has none of its own.
    Usual(&'static str),
}

impl Key {
    /// The default for a protocol; `None` if the key must be given.
    pub(super) fn default_for(&self, protocol: Protocol) -> Option<Value> {
        let text = match self.default {
            Default::Required => return None,
            Default::Same(text) => text,
            Default::Usual(usual) => {
                let own = protocol.defaults().iter().find(|(name, _)| *name == self.name);
                own.map_or(usual, |(_, text)| text)
            }
        };
        Some(self.kind.read(Raw::Bare(text)).expect("a test reads every default with its own kind"))
    }

    /// What it does; of the key that names a protocol, what each of them does.
    pub(super) fn explanation(&self) -> Cow<'static, str> {
        if !matches!(self.kind, Kind::Protocol) {
            return self.doc.into();
        }
        let each = Protocol::CLIENTS.map(|protocol| format!("{} {}", protocol.name(), protocol.summary()));
        format!("{}: {}.", self.doc.trim_end_matches('.'), each.join("; ")).into()
    }
}

/// A table of the file: which keys it has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Scope {
    /// `[server]`
    Server,
    /// `[turn]`
    Turn,
    /// `[drain]`
    Drain,
    /// `[audit]`
    Audit,
    /// `[log]`
    Log,
    /// `[admin]`
    Admin,
    /// `[defaults]`
    Defaults,
    /// `[[listener]]`
    Listener,
}

impl Scope {
    /// All of them, in the order of the file.
    pub(super) const ALL: [Self; 8] = [
        Self::Server,
        Self::Turn,
        Self::Drain,
        Self::Audit,
        Self::Log,
        Self::Admin,
        Self::Defaults,
        Self::Listener,
    ];

    /// The name of the table.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Turn => "turn",
            Self::Drain => "drain",
            Self::Audit => "audit",
            Self::Log => "log",
            Self::Admin => "admin",
            Self::Defaults => "defaults",
            Self::Listener => "listener",
        }
    }

    /// How the file opens the table.
    pub(super) fn heading(self) -> String {
        match self {
            Self::Listener => "[[listener]]".to_owned(),
            Self::Server
            | Self::Turn
            | Self::Drain
            | Self::Audit
            | Self::Log
            | Self::Admin
            | Self::Defaults => {
                format!("[{}]", self.name())
            }
        }
    }

    /// What the table is about.
    pub(super) const fn doc(self) -> &'static str {
        match self {
            Self::Server => "What belongs to the whole process.",
            Self::Turn => {
                "Bounds on one turn of the loop. What is over them waits for the next turn, so that one \
                 client at full speed, or a flood of new ones, cannot hold up the others."
            }
            Self::Drain => "How the server goes away after SIGTERM.",
            Self::Audit => {
                "The audit: the kernel's table of sockets on the listeners' ports is compared with the \
                 server's own. What it finds is told in the log, in /metrics and at /audit."
            }
            Self::Log => "Log lines, on standard error.",
            Self::Admin => {
                "The admin interface: /metrics, /healthz, /readyz and /connections over HTTP. Every key of \
                 [defaults] but heartbeat and probe may be set here too; [defaults] itself does not \
                 apply here."
            }
            Self::Defaults => {
                "What every listener inherits; a listener's own keys come first. Keys whose default \
                 depends on the protocol are shown in the listeners below."
            }
            Self::Listener => {
                "The listeners for clients, one [[listener]] each. Without any, and without --listen, \
                 these are served."
            }
        }
    }

    /// Its keys, in the order of the file.
    pub(super) fn keys(self) -> impl Iterator<Item = &'static Key> {
        let (own, shared): (&[Key], &[Key]) = match self {
            Self::Server => (&process::SERVER, &[]),
            Self::Turn => (&process::TURN, &[]),
            Self::Drain => (&process::DRAIN, &[]),
            Self::Audit => (&process::AUDIT, &[]),
            Self::Log => (&process::LOG, &[]),
            Self::Admin => (&process::ADMIN, &listener::SHARED),
            Self::Defaults => (&[], &listener::SHARED),
            Self::Listener => (&listener::OWN, &listener::SHARED),
        };
        let applies = move |key: &&Key| self != Self::Admin || inapplicable_to_admin(key.name).is_none();
        own.iter().chain(shared).filter(applies)
    }

    /// The key of that name.
    pub(super) fn key(self, name: &str) -> Option<&'static Key> {
        self.keys().find(|key| key.name == name)
    }

    /// Where a key or sub-table of that name belongs; the admin table last, which borrows from the others.
    pub(super) fn home(name: &str) -> Option<Self> {
        let clients = Self::ALL.into_iter().filter(|scope| *scope != Self::Admin);
        clients.chain([Self::Admin]).find(|scope| scope.key(name).is_some() || scope.is_group(name))
    }

    /// Whether `name` is a sub-table: some key lives in it.
    pub(super) fn is_group(self, name: &str) -> bool {
        self.keys().any(|key| key.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
    }
}

/// Why a key is not one of the admin table, if its protocol says so.
pub(super) fn inapplicable_to_admin(name: &str) -> Option<&'static Inapplicable> {
    let all = Protocol::Admin.inapplicable().iter();
    all.clone().find(|inapplicable| inapplicable.values.is_empty() && inapplicable.is_about(name))
}

const MILLISECOND: Duration = Duration::from_millis(1);
/// The shortest timeout that the wheel can keep within a tick.
const TIMEOUT_MIN: Duration = Duration::from_millis(10);
/// Half of that, which is what a ping has when nobody says.
const PING_MIN: Duration = Duration::from_millis(5);
/// More audits than this would be one without an end.
const AUDIT_MIN: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const MONTH: Duration = Duration::from_secs(30 * 86_400);
/// `TCP_USER_TIMEOUT` is a signed number of milliseconds in effect: 24 days fit.
pub(super) const USER_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 86_400);
/// `MAX_TCP_KEEPIDLE` and `MAX_TCP_KEEPINTVL` (include/net/tcp.h).
const KEEPALIVE_MAX: Duration = Duration::from_secs(32_767);
/// `MAX_TCP_KEEPCNT` (include/net/tcp.h).
const KEEPALIVE_COUNT_MAX: u64 = 127;
const CONNECTIONS_MAX: u64 = 10_000_000;
/// More than the processors of any host that one kernel runs on well.
const WORKERS_MAX: u64 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_a_value_of_its_key_and_every_key_is_explained() {
        for scope in Scope::ALL {
            for key in scope.keys() {
                for &protocol in Protocol::ALL {
                    let value = key.default_for(protocol);
                    assert_eq!(value.is_none(), matches!(key.default, Default::Required), "{}", key.name);
                }
                assert!(key.doc.ends_with('.') && key.why.ends_with('.'), "{}: doc and why", key.name);
            }
        }
    }

    #[test]
    fn protocols_name_keys_that_there_are() {
        for protocol in Protocol::ALL {
            let scope = if protocol.serves_clients() { Scope::Listener } else { Scope::Admin };
            for (name, value) in protocol.defaults() {
                let key = scope.key(name).unwrap_or_else(|| panic!("{name} of {}", protocol.name()));
                let Default::Usual(usual) = key.default else { panic!("{name} has no usual default") };
                assert_ne!(*value, usual, "{name} of {} is the usual one", protocol.name());
            }
            for inapplicable in protocol.inapplicable() {
                let mut about = Scope::Listener.keys().filter(|key| inapplicable.is_about(key.name));
                let key = about.next().unwrap_or_else(|| panic!("{}", inapplicable.key));
                assert!(inapplicable.values.iter().all(|value| key.kind.read(Raw::Bare(value)).is_ok()));
            }
        }
    }

    #[test]
    fn a_default_of_a_protocol_is_that_of_its_listeners_alone() {
        let default = |scope: Scope| {
            let key = scope.key("max_connections").expect("it is there");
            [Protocol::Echo, Protocol::Admin].map(|protocol| key.default_for(protocol))
        };
        assert_eq!(default(Scope::Server), [Some(Value::Word("auto")), Some(Value::Word("auto"))]);
        assert_eq!(default(Scope::Admin), [Some(Value::Word("auto")), Some(Value::Count(64))]);
    }

    #[test]
    fn names_are_unique_in_their_scope_and_never_a_group_of_others() {
        for scope in Scope::ALL {
            let names: Vec<&str> = scope.keys().map(|key| key.name).collect();
            for (at, name) in names.iter().enumerate() {
                assert!(!names[..at].contains(name), "{} has {name} twice", scope.name());
                assert!(!scope.is_group(name), "{name} is a key and a table");
            }
        }
    }
}
