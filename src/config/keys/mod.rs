//! The table of every key: its name, what it may be, its default, what it does and why its default is what
//! it is. The file, URLs, flags, `linger check`, `linger config` and the help all read this table, and
//! nothing else knows the name of a key but [`build`](super::build), which makes settings of the values.
//!
//! Read [`listener`] for what a listener can be asked, [`process`] for the rest. What only the listeners of one
//! protocol can be asked, that protocol declares ([`Spec::SETTINGS`](crate::protocol::Spec::SETTINGS)); a [`Table`]
//! knows whose listener it is about.

mod listener;
mod process;
mod texts;

use super::value::Raw;
use crate::core::setting::{Default, Key, Value};
use crate::core::time::Duration;
use crate::protocol::{Declaration, Inapplicable, Registry, gateway};
use crate::tls;
use std::borrow::Cow;

impl Key {
    /// The default on a listener of that protocol, or in a table that is about none; `None` if it must be given.
    pub(super) fn default_for(&self, protocol: Option<&Declaration>) -> Option<Value> {
        let text = match self.default {
            Default::Required => return None,
            Default::Same(text) => text,
            Default::Usual(usual) => {
                let own = protocol
                    .and_then(|protocol| protocol.defaults.iter().find(|(name, _)| *name == self.name));
                own.map_or(usual, |(_, text)| text)
            }
        };
        Some(self.kind.read(Raw::Bare(text)).expect("a test reads every default with its own kind"))
    }

    /// Whether it must be given.
    pub(super) fn is_required(&self) -> bool {
        self.default == Default::Required
    }

    /// What it does; of the key that names a protocol, what each of them does.
    pub(super) fn explanation(&self, registry: &Registry) -> Cow<'static, str> {
        if self.name != "protocol" {
            return self.doc.into();
        }
        let each: Vec<_> =
            registry.clients().map(|protocol| format!("{} {}", protocol.name, protocol.summary)).collect();
        format!("{}: {}.", self.doc.trim_end_matches('.'), each.join("; ")).into()
    }
}

/// A table of the file.
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
    /// `[upstream.NAME]`
    Upstream,
    /// `[[listener]]`
    Listener,
}

impl Scope {
    /// All of them, in the order of the file.
    pub(super) const ALL: [Self; 9] = [
        Self::Server,
        Self::Turn,
        Self::Drain,
        Self::Audit,
        Self::Log,
        Self::Admin,
        Self::Defaults,
        Self::Upstream,
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
            Self::Upstream => "upstream",
            Self::Listener => "listener",
        }
    }

    /// How the file opens the table.
    pub(super) fn heading(self) -> String {
        match self {
            Self::Listener => "[[listener]]".to_owned(),
            Self::Upstream => "[upstream.NAME]".to_owned(),
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
                "The admin interface: /metrics, /healthz, /readyz, /connections and /ends over HTTP. Every key of \
                 [defaults] but heartbeat and probe may be set here too; [defaults] itself does not \
                 apply here."
            }
            Self::Defaults => {
                "What every listener inherits; a listener's own keys come first. Keys whose default \
                 depends on the protocol are shown in the listeners below."
            }
            Self::Upstream => {
                "Servers behind gateways, one [upstream.NAME] each: any number of listeners that say upstream = \"NAME\" \
                 share its servers, and what is known of them."
            }
            Self::Listener => {
                "The listeners for clients, one [[listener]] each. Without any, and without --listen, \
                 these are served."
            }
        }
    }
}

/// A table of the file, or what stands for one: which keys it has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    /// The table of the file that the keys belong to.
    pub(super) scope: Scope,
    /// What is spoken on the listener that it is about. `None`: it is about none, or its protocol is not known.
    pub(super) protocol: Option<&'static Declaration>,
    /// The protocols that there are.
    pub(super) registry: &'static Registry,
}

impl Table {
    /// One of which there is one, or a listener whose protocol is not known.
    pub(super) fn new(scope: Scope, registry: &'static Registry) -> Self {
        let protocol = (scope == Scope::Admin).then(|| registry.operator());
        Self { scope, protocol, registry }
    }

    /// A listener of a protocol for clients, by its name.
    pub(super) fn listener(protocol: Option<&str>, registry: &'static Registry) -> Self {
        let protocol = protocol.and_then(|name| registry.client(name));
        Self { scope: Scope::Listener, protocol, registry }
    }

    /// How the file opens it; of a listener, with what it speaks.
    pub(super) fn heading(self) -> String {
        match self.protocol.filter(|_| self.scope == Scope::Listener) {
            Some(protocol) => format!("{} with protocol = {:?}", self.scope.heading(), protocol.name),
            None => self.scope.heading(),
        }
    }

    /// Its keys, in the order of the file.
    pub(super) fn keys(self) -> impl Iterator<Item = Key> {
        self.all_keys().filter(move |key| self.inapplicable(key.name).is_none())
    }

    /// Its keys, also those that do not apply to its protocol and so keep their default.
    pub(super) fn all_keys(self) -> impl Iterator<Item = Key> {
        let (own, shared): (&[Key], &[&[Key]]) = match self.scope {
            Scope::Server => (&process::SERVER, &[]),
            Scope::Turn => (&process::TURN, &[]),
            Scope::Drain => (&process::DRAIN, &[]),
            Scope::Audit => (&process::AUDIT, &[]),
            Scope::Log => (&process::LOG, &[]),
            Scope::Defaults => (&[], &LISTENER),
            Scope::Upstream => (self.declared_keys(), &UPSTREAM),
            Scope::Admin | Scope::Listener => (self.declared_keys(), &LISTENER),
        };
        let is_listener = self.scope == Scope::Listener;
        let first = is_listener.then(|| listener::own(self.registry.client_names));
        first.into_iter().flatten().chain(own.iter().chain(shared.iter().copied().flatten()).copied())
    }

    /// The keys that are declared elsewhere: those of its protocol, or of all upstreams.
    pub(super) fn declared_keys(self) -> &'static [Key] {
        if self.scope == Scope::Upstream {
            return &gateway::settings::SETTINGS;
        }
        self.protocol.map_or(&[], |protocol| protocol.settings)
    }

    /// The key of that name.
    pub(super) fn key(self, name: &str) -> Option<Key> {
        self.keys().find(|key| key.name == name)
    }

    /// Whether `name` is a sub-table: some key lives in it.
    pub(super) fn is_group(self, name: &str) -> bool {
        is_group(self.keys(), name)
    }

    /// Whether `name` is one of its keys or sub-tables.
    pub(super) fn knows(self, name: &str) -> bool {
        self.key(name).is_some() || self.is_group(name)
    }

    /// Why a key is not one of this table, if its protocol says so.
    pub(super) fn inapplicable(self, name: &str) -> Option<&'static Inapplicable> {
        self.protocol.and_then(|protocol| protocol.inapplicable_key(name))
    }
}

/// Where a key or sub-table of that name belongs, as the file opens it; the admin table last, which borrows from the
/// others.
pub(super) fn home(name: &str, registry: &'static Registry) -> Option<String> {
    let of = |scope: Scope| Table::new(scope, registry).knows(name).then(|| scope.heading());
    let scopes = Scope::ALL.into_iter().filter(|scope| *scope != Scope::Admin);
    scopes.clone().find_map(of).or_else(|| home_of_own(name, registry)).or_else(|| of(Scope::Admin))
}

/// Where a key or sub-table of that name belongs, if a protocol for clients declares it.
pub(super) fn home_of_own(name: &str, registry: &'static Registry) -> Option<String> {
    let declares = |protocol: &&Declaration| {
        let own = protocol.settings.iter().copied();
        own.clone().any(|key| key.name == name) || is_group(own, name)
    };
    let protocol = registry.clients().find(declares)?;
    Some(Table::listener(Some(protocol.name), registry).heading())
}

fn is_group(mut keys: impl Iterator<Item = Key>, name: &str) -> bool {
    keys.any(|key| key.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

/// What listeners inherit.
static LISTENER: [&[Key]; 2] = [&listener::SHARED, &tls::settings::LISTENER];
/// What there is to say of an upstream beside what it is.
static UPSTREAM: [&[Key]; 1] = [&tls::settings::UPSTREAM];

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
    use crate::protocol::Protocol;

    /// Every table that there is: those of which there is one, and a listener of each protocol.
    fn tables() -> Vec<Table> {
        let registry = Protocol::REGISTRY;
        let listeners = registry.clients().map(|protocol| Table::listener(Some(protocol.name), registry));
        Scope::ALL.map(|scope| Table::new(scope, registry)).into_iter().chain(listeners).collect()
    }

    #[test]
    fn every_default_is_a_value_of_its_key_and_every_key_is_explained() {
        for key in tables().into_iter().flat_map(Table::all_keys) {
            for protocol in Protocol::REGISTRY.all {
                assert_eq!(key.default_for(Some(protocol)).is_none(), key.is_required(), "{}", key.name);
            }
            assert!(key.doc.ends_with('.') && key.why.ends_with('.'), "{}: doc and why", key.name);
        }
    }

    #[test]
    fn protocols_name_keys_that_there_are() {
        let registry = Protocol::REGISTRY;
        for protocol in registry.all {
            let table = if protocol.serves_clients {
                Table::listener(Some(protocol.name), registry)
            } else {
                Table::new(Scope::Admin, registry)
            };
            for (name, value) in protocol.defaults {
                let key = table.key(name).unwrap_or_else(|| panic!("{name} of {}", protocol.name));
                let Default::Usual(usual) = key.default else { panic!("{name} has no usual default") };
                assert_ne!(*value, usual, "{name} of {} is the usual one", protocol.name);
            }
            for inapplicable in protocol.inapplicable {
                let mut about = table.all_keys().filter(|key| inapplicable.is_about(key.name));
                let key = about.next().unwrap_or_else(|| panic!("{}", inapplicable.key));
                assert!(inapplicable.values.iter().all(|value| key.kind.read(Raw::Bare(value)).is_ok()));
            }
            if let Some(local) = protocol.local_only {
                assert!(protocol.settings.iter().any(|key| key.name == local.unless), "{}", local.unless);
            }
        }
    }

    #[test]
    fn a_default_of_a_protocol_is_that_of_its_listeners_alone() {
        let default = |scope: Scope| {
            let key = Table::new(scope, Protocol::REGISTRY).key("max_connections").expect("it is there");
            [Protocol::Echo, Protocol::Admin].map(|protocol| key.default_for(Some(protocol.declaration())))
        };
        assert_eq!(default(Scope::Server), [Some(Value::Word("auto")), Some(Value::Word("auto"))]);
        assert_eq!(default(Scope::Admin), [Some(Value::Word("auto")), Some(Value::Count(64))]);
    }

    #[test]
    fn names_are_unique_in_their_table_and_never_a_group_of_others() {
        for table in tables() {
            let names: Vec<&str> = table.all_keys().map(|key| key.name).collect();
            for (at, name) in names.iter().enumerate() {
                assert!(!names[..at].contains(name), "{} has {name} twice", table.heading());
                assert!(!table.is_group(name), "{name} is a key and a table");
            }
        }
    }
}
