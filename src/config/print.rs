//! The configuration as text: the complete default file with its reasons, the effective settings with
//! where each came from, and the list of keys for the help. All of it comes from the table of keys, and
//! what looks like TOML here reads back as what was shown.

use super::diagnostic::Place;
use super::keys::{Scope, Table};
use super::layer::{Entry, Origin, Resolved};
use super::{builtin, builtin_protocols};
use crate::core::setting::{Key, Value};
use crate::protocol::Registry;
use std::fmt;
use std::fmt::Write as _;

const INTRO: &str = "The complete configuration of linger, each key with its default, and why it is that. A \
    file needs only the keys that differ; `linger check --config FILE` shows what results, and `linger explain KEY` tells of one. Durations are \
    written 500ms, 30s, 5m, 2h or 1d; sizes in bytes, or with KiB, MiB or GiB.";

/// Columns of the default file, comments included.
const COLUMNS: usize = 100;

/// The complete, commented default file. Read back, it gives exactly the defaults.
pub(super) fn template(registry: &'static Registry) -> String {
    let mut out = String::new();
    comment(&mut out, INTRO);
    let is_single = |scope: &Scope| !matches!(scope, Scope::Listener | Scope::Upstream);
    for scope in Scope::ALL.into_iter().filter(is_single) {
        section(&mut out, Table::new(scope, registry));
    }
    out.push('\n');
    comment(&mut out, Scope::Listener.doc());
    for (at, (protocol, address)) in builtin_protocols(registry).enumerate() {
        listener(&mut out, &builtin(protocol, address, registry), at == 0);
    }
    for protocol in registry.clients().filter(|protocol| protocol.builtin_address.is_none()) {
        let table = Table::listener(Some(protocol.name), registry);
        apart(&mut out, table, &format!("What only a {} has.", table.heading()));
    }
    apart(&mut out, Table::new(Scope::Upstream, registry), Scope::Upstream.doc());
    out
}

fn section(out: &mut String, table: Table) {
    out.push('\n');
    comment(out, table.scope.doc());
    put(out, format_args!("{}\n", table.scope.heading()));
    let shared = Table::new(Scope::Defaults, table.registry);
    for key in table.keys() {
        if table.scope == Scope::Admin && shared.key(key.name).is_some() {
            // What the admin table shares is explained in [defaults]; here it stands only if it differs.
            let value = key.default_for(table.protocol);
            if value != common(&key, table.registry) {
                assignment(out, &key, value.as_ref());
            }
            continue;
        }
        explained(out, &key, table.registry);
        match common(&key, table.registry) {
            Some(value) => assignment(out, &key, Some(&value)),
            None => {
                comment(out, &format!("{} is by protocol: {}", key.name, by_protocol(&key, table.registry)));
            }
        }
    }
}

/// A listener of the default file: its own keys, and those whose default is the protocol's.
fn listener(out: &mut String, defaults: &Resolved, first: bool) {
    let table = defaults.table;
    put(out, format_args!("\n{}\n", Scope::Listener.heading()));
    for key in table.keys() {
        let own = Table::new(Scope::Defaults, table.registry).key(key.name).is_none();
        if own && (first || is_of_protocol(&key, table)) {
            explained(out, &key, table.registry);
        }
        if own || common(&key, table.registry).is_none() {
            assignment(out, &key, defaults.value(key.name));
        }
    }
}

/// The keys of a protocol that no listener of the default file speaks, or of a table that it has none of, all in comments.
fn apart(out: &mut String, table: Table, about: &str) {
    let own: Vec<Key> =
        if table.scope == Scope::Upstream { table.keys().collect() } else { table.declared_keys().to_vec() };
    for (at, key) in own.iter().enumerate() {
        if at == 0 {
            out.push('\n');
            comment(out, about);
        }
        explained(out, key, table.registry);
        match key.default_for(table.protocol) {
            Some(value) => put(out, format_args!("# {} = {value}\n", key.name)),
            None => comment(out, &format!("{} must be given.", key.name)),
        }
    }
}

/// Whether the protocol of the table declares the key.
fn is_of_protocol(key: &Key, table: Table) -> bool {
    table.declared_keys().iter().any(|own| own.name == key.name)
}

/// The default of all listeners for clients, if it does not depend on the protocol.
pub(super) fn common(key: &Key, registry: &Registry) -> Option<Value> {
    let mut each = registry.clients().map(|protocol| key.default_for(Some(protocol)));
    let first = each.next()?;
    first.filter(|first| each.all(|other| other.as_ref() == Some(first)))
}

pub(super) fn by_protocol(key: &Key, registry: &Registry) -> String {
    let each = registry.clients().map(|protocol| {
        let value = key.default_for(Some(protocol)).map_or_else(String::new, |value| value.to_string());
        format!("{value} ({})", protocol.name)
    });
    each.collect::<Vec<_>>().join(", ")
}

fn explained(out: &mut String, key: &Key, registry: &Registry) {
    out.push('\n');
    comment(out, &key.explanation(registry));
    comment(out, &format!("Takes {}.", key.kind.expects()));
    comment(out, &format!("Why: {}", key.why));
}

fn assignment(out: &mut String, key: &Key, value: Option<&Value>) {
    let value = value.expect("every key of a built-in table has a value");
    put(out, format_args!("{} = {value}\n", key.name));
}

fn comment(out: &mut String, text: &str) {
    let mut line = "#".to_owned();
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > COLUMNS {
            put(out, format_args!("{line}\n"));
            "#".clone_into(&mut line);
        }
        line.push(' ');
        line.push_str(word);
    }
    put(out, format_args!("{line}\n"));
}

/// Effective tables, each value with where it came from behind it.
pub(super) fn effective(f: &mut fmt::Formatter<'_>, tables: &[Resolved]) -> fmt::Result {
    for (at, of) in tables.iter().enumerate() {
        if at > 0 {
            writeln!(f)?;
        }
        entries(f, of, |_, _| true)?;
    }
    Ok(())
}

/// The same of what somebody gave, and what follows from that. How many others are left out.
pub(super) fn differing(out: &mut String, tables: &[Resolved]) -> Result<usize, fmt::Error> {
    let mut left_out = 0;
    for of in tables {
        let usual = Resolved::new(of.table, Place::Defaults, &[]);
        let differs = |name: &str, entry: &Entry| {
            matches!(entry.origin, Origin::Given(_)) || usual.value(name) != Some(&entry.value)
        };
        let mut text = String::new();
        let shown = entries(&mut text, of, differs)?;
        // Of an admin interface that is off, nothing else counts.
        left_out += if is_off(of) { 0 } else { of.entries().count() - shown };
        if shown > 0 {
            out.push_str(if out.is_empty() { "" } else { "\n" });
            out.push_str(&text);
        }
    }
    Ok(left_out)
}

/// One table with those of its values that are wanted. How many these are.
fn entries(
    f: &mut dyn fmt::Write,
    of: &Resolved,
    is_wanted: impl Fn(&str, &Entry) -> bool,
) -> Result<usize, fmt::Error> {
    let mut shown = 0;
    writeln!(f, "{}", of.heading())?;
    for (name, entry) in of.entries().filter(|(name, entry)| is_wanted(name, entry)) {
        shown += 1;
        let origin = match &entry.origin {
            Origin::Default | Origin::Mistaken => "default".to_owned(),
            Origin::Derived(why) => format!("derived: {why}"),
            Origin::Given(place) => place.short(),
        };
        // A comment ends at a line break, and an argument of the command line may hold one.
        let origin = origin.replace(char::is_control, " ");
        let setting = format!("{name} = {}", entry.value);
        writeln!(f, "{setting:<40} # {origin}")?;
        if is_off(of) {
            break;
        }
    }
    Ok(shown)
}

/// Whether it is an admin interface that is not there.
fn is_off(of: &Resolved) -> bool {
    of.is(Scope::Admin) && of.is_word("address", "off")
}

/// The keys of a listener, for the help of `--listen`.
pub(super) fn listener_keys(registry: &'static Registry) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        put(&mut out, format_args!("  {name:<20} {}\n", value.replace('"', "")));
    };
    for key in Table::new(Scope::Listener, registry).keys().filter(|key| !key.is_required()) {
        let default = common(&key, registry).map_or_else(|| by_protocol(&key, registry), |it| it.to_string());
        line(key.name, &default);
    }
    for protocol in registry.clients() {
        for key in protocol.settings {
            let default = key.default_for(Some(protocol)).map_or("required".to_owned(), |it| it.to_string());
            line(key.name, &format!("{default} ({} only)", protocol.name));
        }
    }
    out
}

fn put(out: &mut String, text: fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use crate::config::{Sources, no_files, resolve_text};

    #[test]
    fn what_differs_from_the_defaults_is_a_file_for_the_same_settings() {
        let resolved = |text: &str| resolve_text(&Sources::default(), Some(("f", text)), no_files).unwrap();
        let first = resolved(
            "[drain]\nspread = '1s'\n[defaults]\nlinger = '5s'\n[[listener]]\nprotocol = 'resp'\naddress = '[::]:7000'\n\
             heartbeat = '30s'\nkeepalive.enabled = false\nnodelay = true\n",
        );
        let (text, others) = first.differing();
        let lines: Vec<_> =
            text.lines().map(|line| line.split(" # ").next().unwrap_or_default().trim_end()).collect();
        let expected = [
            "[drain]",
            "spread = \"1s\"",
            "",
            "[[listener]]",
            // It was not given, and is not what nobody would have made of it.
            "name = \"resp\"",
            "protocol = \"resp\"",
            "address = \"[::]:7000\"",
            // Given, and as it is by default.
            "nodelay = true",
            "heartbeat.style = \"client\"",
            "heartbeat.timeout = \"30s\"",
            "heartbeat.interval = \"15s\"",
            "keepalive.enabled = false",
            "user_timeout = \"off\"",
            "linger = \"5s\"",
        ];
        assert_eq!(lines, expected);
        assert_eq!(resolved(&text).settings, first.settings);
        let all = first.to_string().lines().filter(|line| line.contains(" = ")).count();
        assert_eq!(others + expected.iter().filter(|line| line.contains(" = ")).count(), all);
        let off = resolved("[admin]\naddress = 'off'").differing();
        assert!(off.0.starts_with("[admin]\naddress = \"off\" ") && off.1 > 0, "{off:?}");
        let lines = off.0.lines().filter(|line| line.starts_with('['));
        assert_eq!(lines.collect::<Vec<_>>(), ["[admin]", "[[listener]]", "[[listener]]"]);
    }
}
