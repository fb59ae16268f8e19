//! Values with where they came from: one [`Layer`] for each table, URL or set of flags, laid over each
//! other into a [`Resolved`] table in which every key has a value.
//!
//! A layer takes only what is sound by itself; what is not becomes a [`Diagnostic`], and its key is marked so
//! that [`rules`](super::rules) draw no conclusion from a value that nobody gave.

use super::diagnostic::{Diagnostic, Place};
use super::keys::{self, Scope, Table, USER_TIMEOUT_MAX};
use super::value::{self, Raw, ValueError};
use crate::core::nearest::nearest;
use crate::core::setting::{Key, Value, Values};
use crate::core::time::Duration;
use crate::net::Address;
use crate::protocol::gateway::{self, Gateway, Target};
use crate::tls::{Client, Server};
use indexmap::IndexMap;

/// Where a value came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Origin {
    /// The default of its key.
    Default,
    /// Worked out from other values, as this says.
    Derived(&'static str),
    /// Given there.
    Given(Place),
    /// Given there, but not usable; the default stands in so that the other checks can go on.
    Mistaken,
}

/// A value and where it came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    /// The value.
    pub(super) value: Value,
    /// Where it came from.
    pub(super) origin: Origin,
}

/// The values that one source gives for one table.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    table: Table,
    /// By key name. `None`: given, but not usable.
    entries: IndexMap<&'static str, Option<(Value, Place)>>,
}

impl Layer {
    /// A layer that says nothing yet.
    pub(super) fn new(table: Table) -> Self {
        Self { table, entries: IndexMap::new() }
    }

    /// The table that it is for.
    pub(super) const fn table(&self) -> Table {
        self.table
    }

    /// Takes what a source says about `name`, or reports what is wrong with it. `prefix` is put before the
    /// name in reports.
    pub(super) fn take(
        &mut self,
        prefix: &str,
        name: &str,
        raw: Raw<'_>,
        place: &Place,
        mistakes: &mut Vec<Diagnostic>,
    ) {
        if name == HEARTBEAT && self.table.is_group(HEARTBEAT) {
            return self.take_heartbeat(prefix, raw, place, mistakes);
        }
        let mut report = |ValueError { wrong, right }| {
            mistakes.push(Diagnostic { place: place.clone(), key: format!("{prefix}{name}"), wrong, right });
        };
        let Some(key) = self.table.key(name) else { return report(unknown(self.table, name)) };
        if self.entries.contains_key(key.name) {
            return report(ValueError { wrong: "is given twice".to_owned(), right: "keep one".to_owned() });
        }
        let value = key.kind.read(raw).map_err(|ValueError { wrong, right }| {
            report(ValueError { wrong, right: format!("write {right}") });
        });
        self.entries.insert(key.name, value.ok().map(|value| (value, place.clone())));
    }

    /// The shorthand `heartbeat = "[STYLE:]TIMEOUT"`, which stands for two keys.
    fn take_heartbeat(&mut self, prefix: &str, raw: Raw<'_>, place: &Place, mistakes: &mut Vec<Diagnostic>) {
        let (Raw::Bare(text) | Raw::Text(text)) = raw else {
            mistakes.push(Diagnostic {
                place: place.clone(),
                key: format!("{prefix}{HEARTBEAT}"),
                wrong: format!("{raw} is neither a table nor a string"),
                right: "write a timeout, as \"30s\", with a style before it if it is not client, as \
                        \"server:30s\", or \"off\", or a table"
                    .to_owned(),
            });
            return;
        };
        let (style, timeout) = match text.split_once(':') {
            Some((style, timeout)) => (style, Some(timeout)),
            None if text == "off" => ("off", None),
            None => ("client", Some(text)),
        };
        self.take(prefix, "heartbeat.style", Raw::Text(style), place, mistakes);
        if let Some(timeout) = timeout {
            self.take(prefix, "heartbeat.timeout", Raw::Text(timeout), place, mistakes);
        }
    }

    /// Whether the key was given, usable or not.
    pub(super) fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }
}

/// A key whose name is also that of its sub-table.
const HEARTBEAT: &str = "heartbeat";

/// What to say about a name that is no key of `table`.
fn unknown(table: Table, name: &str) -> ValueError {
    if let Some(inapplicable) = table.inapplicable(name) {
        return ValueError { wrong: inapplicable.wrong.to_owned(), right: inapplicable.right.to_owned() };
    }
    if table.is_group(name) {
        let within = |key: &&str| key.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
        let keys: Vec<&str> = table.keys().map(|key| key.name).filter(within).collect();
        return ValueError {
            wrong: "is a table, not a value".to_owned(),
            right: format!("its keys are {}", keys.join(", ")),
        };
    }
    let Table { scope, registry, .. } = table;
    if let Some(home) = keys::home_of_own(name, registry) {
        return ValueError {
            wrong: format!("is not a key of {}", table.heading()),
            right: format!("it is a key of {home}"),
        };
    }
    // What is right elsewhere is no slip.
    let right = if let Some(leaf) = key_of_group(table, name) {
        format!("did you mean {leaf}?")
    } else if let Some(other) = Scope::ALL.into_iter().find(|other| other.name() == name) {
        format!("it is a table of its own, {}", other.heading())
    } else if let Some(home) = keys::home(name, registry) {
        format!("it is a key of {home}")
    } else if let Some(near) = near_key(table, name) {
        format!("did you mean {near}?")
    } else {
        "`linger config` lists all keys".to_owned()
    };
    ValueError { wrong: format!("is not a key of {}", scope.heading()), right }
}

/// The key of `table` that has that name in a sub-table.
fn key_of_group(table: Table, name: &str) -> Option<&'static str> {
    let is_leaf = |key: &Key| key.name.split_once('.').is_some_and(|(_, leaf)| leaf == name);
    table.keys().find(is_leaf).map(|key| key.name)
}

/// The key or sub-table of `table` that `name` was probably meant to be.
fn near_key(table: Table, name: &str) -> Option<&'static str> {
    let groups = table.keys().filter_map(|key| key.name.split_once('.').map(|(group, _)| group));
    nearest(name, table.keys().map(|key| key.name).chain(groups))
}

/// A table in which every key has a value.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    /// Which table, and whose defaults it took.
    pub(super) table: Table,
    /// Where it stands as a whole.
    pub(super) place: Place,
    /// What it is called, if that is no key of its own.
    name: Option<String>,
    /// What its certificates have become, if it has any.
    pub(super) tls: Option<Server>,
    /// The same of an upstream that is spoken to over TLS.
    pub(super) client: Option<Client>,
    /// In the order of the keys.
    entries: IndexMap<&'static str, Entry>,
}

impl Resolved {
    /// Lays `layers` over the defaults of the table's protocol; the first that has a key wins. A required key that no
    /// layer has is left out; what reads the layers reports it. A key that does not apply keeps its default.
    pub(super) fn new(table: Table, place: Place, layers: &[&Layer]) -> Self {
        let mut entries = IndexMap::new();
        for key in table.all_keys() {
            let layers = if table.inapplicable(key.name).is_some() { &[] } else { layers };
            if let Some(entry) = resolve(key, table, layers) {
                entries.insert(key.name, entry);
            }
        }
        let mut resolved = Self { table, place, name: None, tls: None, client: None, entries };
        resolved.derive();
        resolved
    }

    /// The same, of that name.
    pub(super) fn named(self, name: String) -> Self {
        Self { name: Some(name), ..self }
    }

    /// How the file opens it.
    pub(super) fn heading(&self) -> String {
        match &self.name {
            Some(_) => format!("[{}]", self.qualified_name()),
            None => self.table.scope.heading(),
        }
    }

    /// What its keys have before their names.
    pub(super) fn qualified_name(&self) -> String {
        let scope = self.table.scope.name();
        self.name.as_ref().map_or_else(|| scope.to_owned(), |name| format!("{scope}.{name}"))
    }

    /// Whether somebody gave the key, soundly.
    pub(super) fn is_given(&self, name: &str) -> bool {
        self.entries.get(name).is_some_and(|entry| matches!(entry.origin, Origin::Given(_)))
    }

    /// Whether the key has another value than where nobody says.
    pub(super) fn differs(&self, name: &str) -> bool {
        let default = self.table.key(name).and_then(|key| key.default_for(self.table.protocol));
        self.value(name) != default.as_ref()
    }

    /// Whether it is that table, or one of those listeners.
    pub(super) fn is(&self, scope: Scope) -> bool {
        self.table.scope == scope
    }

    /// Whether it is of something that listens.
    pub(super) fn serves(&self) -> bool {
        (self.is(Scope::Listener) || self.is(Scope::Admin)) && !self.is_word("address", "off")
    }

    /// Puts a number in the place of each `auto` that follows from other values.
    fn derive(&mut self) {
        if self.is_word("user_timeout", "auto") {
            let value = match self.keepalive_span() {
                // With it set, the kernel compares the quiet time with this when it is time for a probe, and counts
                // none (net/ipv4/tcp_timer.c: tcp_keepalive_timer). So it lies between the last probe and the end of
                // the wait for its answer: a timer that is late by less than the margin changes nothing.
                Some(span) => {
                    let interval = self.period("keepalive.interval").unwrap_or_default();
                    let margin = Duration::from_secs(1).min(interval / 2);
                    Value::Period(span.saturating_sub(margin).min(USER_TIMEOUT_MAX))
                }
                None => Value::Word("off"),
            };
            self.set_derived("user_timeout", value, "just under keepalive.idle + interval x count");
        }
        if self.is_word("heartbeat.interval", "auto")
            && let Some(timeout) = self.period("heartbeat.timeout")
        {
            let half = Duration::from_millis(u64::try_from(timeout.as_millis() / 2).unwrap_or(u64::MAX));
            self.set_derived("heartbeat.interval", Value::Period(half), "half of heartbeat.timeout");
        }
    }

    /// How long keepalive takes to find an idle peer dead; `None` if it is off.
    pub(super) fn keepalive_span(&self) -> Option<Duration> {
        let interval = self.period("keepalive.interval")?;
        let count = u32::try_from(self.count("keepalive.count")?).unwrap_or(u32::MAX);
        Some(self.keepalive_idle()?.saturating_add(interval.saturating_mul(count)))
    }

    /// Quiet time before the first keepalive probe; `None` if keepalive is off.
    pub(super) fn keepalive_idle(&self) -> Option<Duration> {
        if self.flag("keepalive.enabled") { self.period("keepalive.idle") } else { None }
    }

    /// Puts a value that was worked out in the place of `auto`.
    pub(super) fn set_derived(&mut self, name: &'static str, value: Value, why: &'static str) {
        self.entries.insert(name, Entry { value, origin: Origin::Derived(why) });
    }

    /// Every key that applies with its value, in order.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'static str, &Entry)> {
        let elsewhere = self.gateway().is_some_and(|it| !matches!(it.target, Some(Target::Own(_))));
        let is_elsewhere = move |name: &str| elsewhere && gateway::settings::is_of_upstream(name);
        let entries = self.entries.iter().map(|(name, entry)| (*name, entry));
        entries.filter(move |(name, _)| self.table.inapplicable(name).is_none() && !is_elsewhere(name))
    }

    /// How its listener relays, if it does.
    pub(super) fn gateway(&self) -> Option<Gateway> {
        (self.table.protocol?.gateway)(&self.own())
    }

    /// The values of the keys that are declared elsewhere.
    pub(super) fn own(&self) -> Values {
        let keys = self.table.declared_keys().iter().map(|key| key.name);
        keys.filter_map(|name| Some((name, self.value(name)?.clone()))).collect()
    }

    /// Whether all of these apply and none was mistaken, so that a conclusion from them is one about the source.
    pub(super) fn sound(&self, names: &[&str]) -> bool {
        names.iter().all(|name| {
            let entry = self.entries.get(name).filter(|_| self.table.inapplicable(name).is_none());
            entry.is_some_and(|entry| entry.origin != Origin::Mistaken)
        })
    }

    /// What its listener speaks, by name.
    pub(super) fn protocol_name(&self) -> &'static str {
        self.table.protocol.expect("every listener speaks one").name
    }

    /// What it or its listener is called: by its own name, or by that of its table.
    pub(super) fn name(&self) -> &str {
        self.name.as_deref().or_else(|| self.text("name")).unwrap_or(self.table.scope.name())
    }

    /// The place to name for a conflict among these keys: that of the first which somebody gave.
    pub(super) fn blame(&self, names: &[&str]) -> Place {
        let given = names.iter().find_map(|name| match &self.entries.get(name)?.origin {
            Origin::Given(place) if *place != Place::Defaults => Some(place),
            Origin::Given(_) | Origin::Default | Origin::Derived(_) | Origin::Mistaken => None,
        });
        given.unwrap_or(&self.place).clone()
    }

    /// The value of a key of this table.
    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        self.entries.get(name).map(|entry| &entry.value)
    }

    /// Whether the key has that word for a value.
    pub(super) fn is_word(&self, name: &str, word: &str) -> bool {
        self.word(name) == Some(word)
    }

    /// The word that the key has for a value.
    pub(super) fn word(&self, name: &str) -> Option<&'static str> {
        self.value(name)?.word()
    }

    /// The key's flag; unset if it has none.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.value(name).is_some_and(Value::is_set)
    }

    /// The key's number, if it is one.
    pub(super) fn count(&self, name: &str) -> Option<u64> {
        self.value(name)?.count()
    }

    /// The key's bytes, if it is a size.
    pub(super) fn size(&self, name: &str) -> Option<u64> {
        self.value(name)?.size()
    }

    /// The key's length of time, if it is one.
    pub(super) fn period(&self, name: &str) -> Option<Duration> {
        self.value(name)?.period()
    }

    /// The key's text, if it is one.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.value(name)?.text()
    }

    /// Where the table listens, if it does.
    pub(super) fn address(&self) -> Option<Address> {
        match value::address(self.value("address")?)? {
            Address::Tcp { socket, interface, .. } => {
                Some(Address::Tcp { socket, v6_only: self.flag("v6_only"), interface })
            }
            unix @ Address::Unix(_) => Some(unix),
        }
    }
}

fn resolve(key: Key, table: Table, layers: &[&Layer]) -> Option<Entry> {
    let default = || key.default_for(table.protocol);
    let given = layers.iter().find_map(|layer| layer.entries.get(key.name));
    match given {
        Some(Some((value, place))) => {
            Some(Entry { value: value.clone(), origin: Origin::Given(place.clone()) })
        }
        Some(None) => Some(Entry { value: default()?, origin: Origin::Mistaken }),
        None => Some(Entry { value: default()?, origin: Origin::Default }),
    }
}
