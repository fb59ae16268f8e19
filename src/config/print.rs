//! The configuration as text: the complete default file with its reasons, the effective settings with
//! where each came from, and the list of keys for the help. All of it comes from the table of keys, and
//! what looks like TOML here reads back as what was shown.

use super::keys::{Default, Key, Scope};
use super::layer::{Origin, Resolved};
use super::value::Value;
use super::{builtin, builtin_protocols};
use crate::protocol::Protocol;
use std::fmt;
use std::fmt::Write as _;

const INTRO: &str = "The complete configuration of linger, each key with its default, and why it is that. A \
    file needs only the keys that differ; `linger check --config FILE` shows what results. Durations are \
    written 500ms, 30s, 5m, 2h or 1d; sizes in bytes, or with KiB, MiB or GiB.";

/// Columns of the default file, comments included.
const COLUMNS: usize = 100;

/// The complete, commented default file. Read back, it gives exactly the defaults.
pub(super) fn template() -> String {
    let mut out = String::new();
    comment(&mut out, INTRO);
    for scope in Scope::ALL.into_iter().filter(|scope| *scope != Scope::Listener) {
        section(&mut out, scope);
    }
    out.push('\n');
    comment(&mut out, Scope::Listener.doc());
    for (at, (protocol, address)) in builtin_protocols().enumerate() {
        listener(&mut out, &builtin(protocol, address), at == 0);
    }
    out
}

fn section(out: &mut String, scope: Scope) {
    out.push('\n');
    comment(out, scope.doc());
    put(out, format_args!("{}\n", scope.heading()));
    for key in scope.keys() {
        if scope == Scope::Admin && Scope::Defaults.key(key.name).is_some() {
            // What the admin table shares is explained in [defaults]; here it stands only if it differs.
            let value = key.default_for(Protocol::Admin);
            if value != common(key) {
                assignment(out, key, value.as_ref());
            }
            continue;
        }
        explained(out, key);
        match common(key) {
            Some(value) => assignment(out, key, Some(&value)),
            None => comment(out, &format!("{} is by protocol: {}", key.name, by_protocol(key))),
        }
    }
}

/// A listener of the default file: its own keys, and those whose default is the protocol's.
fn listener(out: &mut String, defaults: &Resolved, first: bool) {
    put(out, format_args!("\n{}\n", Scope::Listener.heading()));
    for key in Scope::Listener.keys() {
        let own = Scope::Defaults.key(key.name).is_none();
        if own && first {
            explained(out, key);
        }
        if own || common(key).is_none() {
            assignment(out, key, defaults.value(key.name));
        }
    }
}

/// The default of all listeners for clients, if it does not depend on the protocol.
fn common(key: &Key) -> Option<Value> {
    let [first, others @ ..] = Protocol::CLIENTS.map(|protocol| key.default_for(protocol));
    first.filter(|first| others.iter().all(|other| other.as_ref() == Some(first)))
}

fn by_protocol(key: &Key) -> String {
    let each = Protocol::CLIENTS.map(|protocol| {
        let value = key.default_for(protocol).map_or_else(String::new, |value| value.to_string());
        format!("{value} ({})", protocol.name())
    });
    each.join(", ")
}

fn explained(out: &mut String, key: &Key) {
    out.push('\n');
    comment(out, &key.explanation());
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
    for (at, table) in tables.iter().enumerate() {
        if at > 0 {
            writeln!(f)?;
        }
        writeln!(f, "{}", table.scope.heading())?;
        for (name, entry) in table.entries() {
            let origin = match &entry.origin {
                Origin::Default | Origin::Mistaken => "default".to_owned(),
                Origin::Derived(why) => format!("derived: {why}"),
                Origin::Given(place) => place.short(),
            };
            // A comment ends at a line break, and an argument of the command line may hold one.
            let origin = origin.replace(char::is_control, " ");
            let setting = format!("{name} = {}", entry.value);
            writeln!(f, "{setting:<40} # {origin}")?;
            if table.scope == Scope::Admin && table.is_word("address", "off") {
                break;
            }
        }
    }
    Ok(())
}

/// The keys of a listener, for the help of `--listen`.
pub(super) fn listener_keys() -> String {
    let mut out = String::new();
    for key in Scope::Listener.keys().filter(|key| !matches!(key.default, Default::Required)) {
        let default = common(key).map_or_else(|| by_protocol(key), |value| value.to_string());
        put(&mut out, format_args!("  {:<20} {}\n", key.name, default.replace('"', "")));
    }
    out
}

fn put(out: &mut String, text: fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes everything");
}
