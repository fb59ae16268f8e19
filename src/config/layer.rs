//! Values with where they came from: one [`Layer`] for each table, URL or set of flags, laid over each
//! other into a [`Resolved`] table in which every key has a value.
//!
//! A layer takes only what is sound by itself; what is not becomes a [`Diagnostic`], and its key is marked so
//! that [`rules`](super::rules) draw no conclusion from a value that nobody gave.

use super::diagnostic::{Diagnostic, Place, nearest};
use super::keys::{Key, Scope, USER_TIMEOUT_MAX, inapplicable_to_admin};
use super::value::{Raw, Value, ValueError};
use crate::core::time::Duration;
use crate::net::Address;
use crate::protocol::Protocol;
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
    scope: Scope,
    /// By key name. `None`: given, but not usable.
    entries: IndexMap<&'static str, Option<(Value, Place)>>,
}

impl Layer {
    /// A layer that says nothing yet.
    pub(super) fn new(scope: Scope) -> Self {
        Self { scope, entries: IndexMap::new() }
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
        if name == HEARTBEAT && self.scope.is_group(HEARTBEAT) {
            return self.take_heartbeat(prefix, raw, place, mistakes);
        }
        let mut report = |ValueError { wrong, right }| {
            mistakes.push(Diagnostic { place: place.clone(), key: format!("{prefix}{name}"), wrong, right });
        };
        let Some(key) = self.scope.key(name) else { return report(unknown(self.scope, name)) };
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

    /// The usable value given for the key.
    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        self.entries.get(name)?.as_ref().map(|(value, _)| value)
    }
}

/// A key whose name is also that of its sub-table.
const HEARTBEAT: &str = "heartbeat";

/// What to say about a name that is no key of `scope`.
fn unknown(scope: Scope, name: &str) -> ValueError {
    if scope == Scope::Admin
        && let Some(inapplicable) = inapplicable_to_admin(name)
    {
        return ValueError { wrong: inapplicable.wrong.to_owned(), right: inapplicable.right.to_owned() };
    }
    if scope.is_group(name) {
        let within = |key: &&str| key.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
        let keys: Vec<&str> = scope.keys().map(|key| key.name).filter(within).collect();
        return ValueError {
            wrong: "is a table, not a value".to_owned(),
            right: format!("its keys are {}", keys.join(", ")),
        };
    }
    let right = if let Some(near) = near_key(scope, name) {
        format!("did you mean {near}?")
    } else if let Some(other) = Scope::ALL.into_iter().find(|other| other.name() == name) {
        format!("it is a table of its own, {}", other.heading())
    } else if let Some(other) = Scope::home(name) {
        format!("it is a key of {}", other.heading())
    } else {
        "`linger config` lists all keys".to_owned()
    };
    ValueError { wrong: format!("is not a key of {}", scope.heading()), right }
}

/// The key or sub-table of `scope` that `name` was probably meant to be: the same without its table, or
/// misspelt.
fn near_key(scope: Scope, name: &str) -> Option<&'static str> {
    let split = |key: &'static Key| key.name.split_once('.');
    let bare = scope.keys().find(|key| split(key).is_some_and(|(_, leaf)| leaf == name));
    let groups = scope.keys().filter_map(|key| split(key).map(|(group, _)| group));
    bare.map(|key| key.name).or_else(|| nearest(name, scope.keys().map(|key| key.name).chain(groups)))
}

/// A table in which every key has a value.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    /// Which table.
    pub(super) scope: Scope,
    /// The protocol whose defaults it took.
    pub(super) protocol: Protocol,
    /// Where it stands as a whole.
    pub(super) place: Place,
    /// In the order of the keys.
    entries: IndexMap<&'static str, Entry>,
}

impl Resolved {
    /// Lays `layers` over the defaults of `protocol`; the first that has a key wins. A required key that no
    /// layer has is left out; whoever reads the layers reports it.
    pub(super) fn new(scope: Scope, protocol: Protocol, place: Place, layers: &[&Layer]) -> Self {
        let mut entries = IndexMap::new();
        for key in scope.keys() {
            if let Some(entry) = resolve(key, protocol, layers) {
                entries.insert(key.name, entry);
            }
        }
        let mut resolved = Self { scope, protocol, place, entries };
        resolved.derive();
        resolved
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

    /// Every key with its value, in order.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'static str, &Entry)> {
        self.entries.iter().map(|(name, entry)| (*name, entry))
    }

    /// Whether no value of these was mistaken, so that a conclusion from them is one about the source.
    pub(super) fn sound(&self, names: &[&str]) -> bool {
        names.iter().all(|name| self.entries.get(name).is_some_and(|entry| entry.origin != Origin::Mistaken))
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
        if let Some(Value::Word(word)) = self.value(name) { Some(word) } else { None }
    }

    /// The key's flag; unset if it has none.
    pub(super) fn flag(&self, name: &str) -> bool {
        matches!(self.value(name), Some(Value::Flag(true)))
    }

    /// The key's number, if it is one.
    pub(super) fn count(&self, name: &str) -> Option<u64> {
        if let Some(Value::Count(count)) = self.value(name) { Some(*count) } else { None }
    }

    /// The key's bytes, if it is a size.
    pub(super) fn size(&self, name: &str) -> Option<u64> {
        if let Some(Value::Size(bytes)) = self.value(name) { Some(*bytes) } else { None }
    }

    /// The key's length of time, if it is one.
    pub(super) fn period(&self, name: &str) -> Option<Duration> {
        if let Some(Value::Period(period)) = self.value(name) { Some(*period) } else { None }
    }

    /// The key's text, if it is one.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        if let Some(Value::Text(text)) = self.value(name) { Some(text) } else { None }
    }

    /// The key's permissions, if it has some.
    pub(super) fn mode(&self, name: &str) -> Option<u32> {
        if let Some(Value::Mode(mode)) = self.value(name) { Some(*mode) } else { None }
    }

    /// Where the table listens, if it does.
    pub(super) fn address(&self) -> Option<Address> {
        match self.value("address") {
            Some(Value::Address(Address::Tcp { socket, interface, .. })) => Some(Address::Tcp {
                socket: *socket,
                v6_only: self.flag("v6_only"),
                interface: interface.clone(),
            }),
            Some(Value::Address(unix @ Address::Unix(_))) => Some(unix.clone()),
            _ => None,
        }
    }
}

fn resolve(key: &'static Key, protocol: Protocol, layers: &[&Layer]) -> Option<Entry> {
    let given = layers.iter().find_map(|layer| layer.entries.get(key.name));
    match given {
        Some(Some((value, place))) => {
            Some(Entry { value: value.clone(), origin: Origin::Given(place.clone()) })
        }
        Some(None) => Some(Entry { value: key.default_for(protocol)?, origin: Origin::Mistaken }),
        None => Some(Entry { value: key.default_for(protocol)?, origin: Origin::Default }),
    }
}
