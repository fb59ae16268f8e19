//! One key of the configuration, explained: `linger explain KEY`. What is said of it comes from the
//! [table of keys](super::keys), as the default file's comments do; the one thing that this adds is what a reload changes.

use super::keys::{Scope, Table};
use super::print::{by_protocol, common};
use crate::core::setting::Key;
use crate::protocol::Registry;
use std::fmt::Write as _;

/// A key, and the tables that have it.
struct Known {
    key: Key,
    tables: Vec<Table>,
}

/// What a reload (SIGHUP) does with another value of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reload {
    /// It holds from then on.
    Applies,
    /// Connections that are there keep what they have.
    OfNewConnections,
    /// It stays as it was.
    NeedsRestart,
}

/// Keys, with their tables, that only a start reads.
const AT_START: [(Scope, &str); 10] = [
    (Scope::Server, "workers"),
    (Scope::Log, "filter"),
    (Scope::Log, "format"),
    (Scope::Admin, "address"),
    (Scope::Admin, "socket_mode"),
    (Scope::Listener, "name"),
    (Scope::Listener, "protocol"),
    (Scope::Listener, "address"),
    (Scope::Listener, "v6_only"),
    (Scope::Listener, "backlog"),
];

/// Keys of listeners, or their groups, that a connection has from its beginning: options that the kernel lets it inherit,
/// and what is before its first byte.
const AT_ACCEPT: [&str; 7] =
    ["nodelay", "send_buffer", "keepalive", "user_timeout", "linger2", "tls", "accept_proxy"];

/// How `word` is the key, or the group that it stands in.
fn is_within(name: &str, word: &str) -> bool {
    name.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

impl Known {
    /// What a reload does with it.
    pub(super) fn reload(&self) -> Reload {
        let name = self.key.name;
        let has = |scope: Scope| self.tables.iter().any(|table| table.scope == scope);
        if AT_START.iter().any(|(scope, key)| has(*scope) && *key == name) {
            return Reload::NeedsRestart;
        }
        let is_at_accept =
            AT_ACCEPT.iter().any(|word| is_within(name, word)) || name.starts_with("accept_proxy_");
        if has(Scope::Listener) && is_at_accept { Reload::OfNewConnections } else { Reload::Applies }
    }

    /// Its name as one writes it: of the keys of listeners without a table, for they stand in several.
    fn full_name(&self) -> String {
        let is_of_listeners = |table: &Table| matches!(table.scope, Scope::Listener | Scope::Defaults);
        match self.tables.iter().find(|table| is_of_listeners(table)) {
            Some(_) => self.key.name.to_owned(),
            None => format!("{}.{}", self.tables[0].scope.name(), self.key.name),
        }
    }

    /// Whether a table's name before it makes it that.
    fn is_called(&self, topic: &str) -> bool {
        let is_of = |table: &Table| {
            let rest = topic.strip_prefix(table.scope.name()).and_then(|rest| rest.strip_prefix('.'));
            rest == Some(self.key.name)
        };
        topic == self.full_name() || self.tables.iter().any(is_of)
    }

    fn explained(&self, registry: &Registry) -> String {
        let Self { key, tables } = self;
        let mut out =
            format!("{}, a key of the configuration: {}\n\n", self.full_name(), key.explanation(registry));
        let mut say = |text: &str| writeln!(out, "{text}").expect("a String takes everything");
        say(&format!("Takes {}.", key.kind.expects()));
        say(&format!("Default: {}. {}", self.default(registry), key.why));
        let has = |scope: Scope| tables.iter().any(|table| table.scope == scope);
        let mut places: Vec<String> = Vec::new();
        if has(Scope::Defaults) {
            places.push("[[listener]]".to_owned());
            places.push("[defaults], for all listeners".to_owned());
        }
        for table in tables.iter().filter(|table| table.scope != Scope::Defaults) {
            let heading = table.heading();
            let is_said = table.scope == Scope::Listener && has(Scope::Defaults);
            if !is_said && !places.contains(&heading) {
                places.push(heading);
            }
        }
        let lacking = registry
            .clients()
            .filter(|protocol| has(Scope::Defaults) && protocol.inapplicable_key(key.name).is_some());
        let lacking: Vec<_> = lacking.map(|protocol| protocol.name).collect();
        let but =
            if lacking.is_empty() { String::new() } else { format!(" (not at {})", lacking.join(", ")) };
        say(&format!("In a file: {}{but}.", places.join("; ")));
        if let Some(flag) = self.flag(&has) {
            say(&format!("Without a file: {flag}."));
        }
        say(match self.reload() {
            Reload::Applies => "A reload (SIGHUP) applies another value.",
            Reload::OfNewConnections => {
                "A reload (SIGHUP) applies another value to connections from then on; those that are there keep theirs."
            }
            Reload::NeedsRestart => "Another value takes a restart.",
        });
        out
    }

    fn default(&self, registry: &Registry) -> String {
        let Self { key, tables } = self;
        let own = |table: &Table| key.default_for(table.protocol).map(|value| value.to_string());
        if key.is_required() {
            return "none, it must be given".to_owned();
        }
        if !tables.iter().any(|table| table.scope == Scope::Defaults) {
            return tables.first().and_then(own).unwrap_or_default();
        }
        let usual =
            common(key, registry).map_or_else(|| by_protocol(key, registry), |value| value.to_string());
        let of_admin = tables.iter().find(|table| table.scope == Scope::Admin).and_then(own);
        match of_admin.filter(|value| *value != usual) {
            Some(value) => format!("{usual}; {value} of the admin interface"),
            None => usual,
        }
    }

    /// How the command line has it.
    fn flag(&self, has: &dyn Fn(Scope) -> bool) -> Option<String> {
        let name = self.key.name;
        let url = match name {
            "protocol" | "address" => "PROTOCOL://ADDRESS:PORT of --listen".to_owned(),
            _ => format!("{name}=VALUE in the URL of --listen"),
        };
        if has(Scope::Defaults) {
            return Some(format!("{url}; --set defaults.{name}=VALUE"));
        }
        if has(Scope::Listener) {
            return Some(url);
        }
        (!has(Scope::Upstream)).then(|| format!("--set {}=VALUE", self.full_name()))
    }
}

/// All keys, each once.
fn all(registry: &'static Registry) -> Vec<Known> {
    let listeners = registry.clients().map(|protocol| Table::listener(Some(protocol.name), registry));
    let single = Scope::ALL.into_iter().filter(|scope| *scope != Scope::Listener);
    let mut all: Vec<Known> = Vec::new();
    for table in single.map(|scope| Table::new(scope, registry)).chain(listeners) {
        for key in table.keys() {
            let is_same = |known: &&mut Known| (known.key.name, known.key.doc) == (key.name, key.doc);
            match all.iter_mut().find(is_same) {
                Some(known) => known.tables.push(table),
                None => all.push(Known { key, tables: vec![table] }),
            }
        }
    }
    all
}

/// The names of all keys.
pub(super) fn names(registry: &'static Registry) -> Vec<String> {
    all(registry).iter().map(Known::full_name).collect()
}

/// What the key of that name is, and beside one of listeners those of single tables that have its name.
pub(super) fn key(topic: &str, registry: &'static Registry) -> Option<String> {
    of(registry, |known| known.is_called(topic))?;
    of(registry, |known| known.is_called(topic) || known.key.name == topic)
}

/// What a part of a name stands for: the keys that are called so in some table, a sub-table, or a table.
pub(super) fn part(topic: &str, registry: &'static Registry) -> Option<String> {
    let table = || {
        let scope = Scope::ALL.into_iter().find(|scope| scope.name() == topic)?;
        let keys: Vec<_> = Table::new(scope, registry).keys().map(|key| key.name).collect();
        Some(format!(
            "{}, a table of the configuration: {}\n\nIts keys: {}.\n",
            scope.heading(),
            scope.doc(),
            keys.join(", ")
        ))
    };
    let by_name = of(registry, |known| known.key.name == topic);
    by_name.or_else(table).or_else(|| of(registry, |known| is_within(known.key.name, topic)))
}

fn of(registry: &'static Registry, is_meant: impl Fn(&Known) -> bool) -> Option<String> {
    let texts: Vec<_> =
        all(registry).iter().filter(|known| is_meant(known)).map(|known| known.explained(registry)).collect();
    (!texts.is_empty()).then(|| texts.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{other_than_default, settings};
    use crate::protocol::Protocol;

    fn explained(topic: &str) -> String {
        key(topic, Protocol::REGISTRY)
            .or_else(|| part(topic, Protocol::REGISTRY))
            .unwrap_or_else(|| panic!("{topic}"))
    }

    #[test]
    fn every_key_of_every_table_is_found_with_all_that_is_known_of_it() {
        let registry = Protocol::REGISTRY;
        let listeners = registry.clients().map(|protocol| Table::listener(Some(protocol.name), registry));
        for table in Scope::ALL.map(|scope| Table::new(scope, registry)).into_iter().chain(listeners) {
            for key in table.keys() {
                for topic in [key.name.to_owned(), format!("{}.{}", table.scope.name(), key.name)] {
                    let text = explained(&topic);
                    let [doc, takes] = [
                        key.explanation(registry).into_owned(),
                        format!("\nTakes {}.\n", key.kind.expects()),
                    ];
                    for part in [doc.as_str(), &takes, key.why, "\nDefault: ", "\nIn a file: ["] {
                        assert!(text.contains(part), "{topic}: {part} is not in {text}");
                    }
                }
            }
        }
        let names = names(registry);
        assert!(names.iter().all(|name| key(name, registry).is_some()));
        let mut once = names.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), names.len(), "each has a name of its own");
    }

    #[test]
    fn a_key_is_told_with_its_places_and_what_a_reload_does() {
        let timeout = explained("heartbeat.timeout");
        for part in [
            "heartbeat.timeout, a key of the configuration: ",
            "\nIn a file: [[listener]]; [defaults], for all listeners.\n",
            "\nWithout a file: heartbeat.timeout=VALUE in the URL of --listen; --set defaults.heartbeat.timeout=VALUE.\n",
            "\nA reload (SIGHUP) applies another value.\n",
        ] {
            assert!(timeout.contains(part), "{part}: {timeout}");
        }
        assert!(
            explained("server.history")
                .contains("\nIn a file: [server].\nWithout a file: --set server.history=VALUE.\n")
        );
        assert!(explained("upstream.servers").contains("\nDefault: none, it must be given. "));
        let servers = explained("slow_start");
        assert!(
            servers.starts_with("upstream.slow_start, ")
                && servers.contains("\nIn a file: [upstream.NAME].\nA reload "),
            "{servers}"
        );
        assert!(explained("probe.after_eof").contains(" (not at tcp"));
        assert!(explained("users").contains("\nIn a file: [[listener]] with protocol = \"resp\".\n"));
        // By its table, or by the first part of its name.
        assert!(explained("drain").starts_with("[drain], a table of the configuration: "));
        assert_eq!(explained("source").matches(", a key of").count(), 1, "{}", explained("source"));
        assert_eq!(explained("max_connections").matches(", a key of").count(), 2);
        assert!(explained("keepalive.idle").ends_with("those that are there keep theirs.\n"));
        assert!(
            key("nonsense", Protocol::REGISTRY).is_none() && part("nonsense", Protocol::REGISTRY).is_none()
        );
    }

    /// By what a listener compares when it takes new settings (`reactor/parts/listener.rs: adopt`).
    #[test]
    fn what_a_reload_does_with_a_key_of_listeners_is_what_listeners_do() {
        let listener = |line: &str| {
            let text = format!("[[listener]]\nprotocol = 'resp'\naddress = '[::]:7000'\n{line}");
            settings(&text).listeners.remove(0)
        };
        let plain = listener("");
        for known in all(Protocol::REGISTRY) {
            let (name, reload) = (known.key.name, known.reload());
            let is_shared = known.tables.iter().any(|table| table.scope == Scope::Defaults);
            let is_own = matches!(name, "name" | "v6_only");
            if !(is_shared || is_own) || name.starts_with("tls.") || name.starts_with("accept_proxy") {
                continue;
            }
            let other = listener(&format!("{name} = {}", other_than_default(Scope::Listener, &known.key)));
            let of_start = |of: &crate::config::settings::ListenerSettings| {
                (of.name.clone(), of.protocol, of.address.clone(), of.backlog)
            };
            assert_eq!(of_start(&other) != of_start(&plain), reload == Reload::NeedsRestart, "{name}");
            let is_inherited = other.socket_options() != plain.socket_options();
            assert_eq!(is_inherited, reload == Reload::OfNewConnections, "{name}");
        }
    }
}
