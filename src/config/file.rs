//! The TOML file: from its text to layers, with the line and column of everything.
//!
//! The parser recovers from errors of syntax, so that one of them does not hide the rest of the mistakes.
//! Which keys there are, and what they may be, is the business of [`layer`](super::layer).

use super::builtin_protocols;
use super::diagnostic::{Diagnostic, Place};
use super::keys::{self, Scope, Table};
use super::layer::Layer;
use super::value::Raw;
use crate::core::nearest::nearest;
use crate::protocol::Registry;
use crate::protocol::gateway::servers::is_name;
use std::rc::Rc;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// How upstreams are written.
const NAMED: &str = "write [upstream.NAME] and its keys below it";
/// As long as the name of a listener can be.
const NAME_BYTES_MAX: usize = 64;

/// What a file says.
#[derive(Debug)]
pub(super) struct File {
    /// The tables that there is one of.
    pub(super) tables: Vec<Layer>,
    /// The upstreams with their names and places.
    pub(super) upstreams: Vec<(String, Layer, Place)>,
    /// The listeners with their places; `None` if it has no word about them.
    pub(super) listeners: Option<Vec<(Layer, Place)>>,
    /// Whether it could be read as TOML; if not, what is missing may just not have been understood.
    pub(super) well_formed: bool,
}

/// Reads the text of the file at `path`, and reports what is wrong with it.
pub(super) fn read(
    path: &Rc<str>,
    text: &str,
    registry: &'static Registry,
    mistakes: &mut Vec<Diagnostic>,
) -> File {
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader { path, text, registry, mistakes: Vec::new() };
    let mut file =
        File { tables: Vec::new(), upstreams: Vec::new(), listeners: None, well_formed: errors.is_empty() };
    for (name, value) in root.get_ref() {
        reader.top(&mut file, name, value);
    }
    let found = reader.mistakes;

    let syntax: Vec<Diagnostic> = errors
        .iter()
        .map(|error| Diagnostic {
            place: error.span().map_or_else(
                || Place::Whole { path: Rc::clone(path) },
                |span| Place::at(path, text, span.start),
            ),
            key: String::new(),
            wrong: format!("this is not TOML: {}", error.message()),
            right: String::new(),
        })
        .collect();
    // What the parser made of a broken line says nothing about what was meant.
    let broken: Vec<String> = syntax.iter().map(|mistake| mistake.place.short()).collect();
    mistakes.extend(found.into_iter().filter(|mistake| !broken.contains(&mistake.place.short())));
    mistakes.extend(syntax);
    file
}

struct Reader<'a> {
    path: &'a Rc<str>,
    text: &'a str,
    registry: &'static Registry,
    mistakes: Vec<Diagnostic>,
}

/// The strings of an array, separated by commas; `None`: there is something else in it.
fn joined_strings(items: &DeArray<'_>) -> Option<String> {
    let strings: Option<Vec<_>> = items.iter().map(|item| item.get_ref().as_str()).collect();
    strings.map(|strings| strings.join(", "))
}

type Name<'i> = Spanned<std::borrow::Cow<'i, str>>;

impl Reader<'_> {
    fn top(&mut self, file: &mut File, name: &Name<'_>, value: &Spanned<DeValue<'_>>) {
        let place = self.at(name);
        let text: &str = name.get_ref();
        let Some(scope) = Scope::ALL.into_iter().find(|scope| scope.name() == text) else {
            return self.unknown_table(text, place);
        };
        match (scope, value.get_ref()) {
            (Scope::Listener, DeValue::Array(items)) => {
                if items.is_empty() {
                    let builtin: Vec<_> = builtin_protocols(self.registry).map(|(it, _)| it.name).collect();
                    let builtin = builtin.join(" and ");
                    let right = format!("write a [[listener]], or leave `listener` out to serve {builtin}");
                    self.report(place, text, "is an empty list", &right);
                }
                let mut listeners = Vec::new();
                for item in items {
                    self.listener(item, &mut listeners);
                }
                file.listeners = Some(listeners);
            }
            (Scope::Listener, _) => {
                self.report(place, text, "is a list of tables", "write [[listener]], with two brackets");
            }
            (Scope::Upstream, DeValue::Table(table)) => {
                for (name, value) in table {
                    file.upstreams.extend(self.upstream(name, value));
                }
            }
            (Scope::Upstream, _) => {
                self.report(place, text, "is a table of tables", NAMED);
            }
            (_, DeValue::Table(table)) => {
                let mut layer = Layer::new(Table::new(scope, self.registry));
                self.table(&mut layer, &format!("{}.", scope.name()), "", table);
                file.tables.push(layer);
            }
            (_, _) => {
                self.report(place, text, "is a table", &format!("write [{text}] and its keys below it"));
            }
        }
    }

    fn upstream(&mut self, name: &Name<'_>, value: &Spanned<DeValue<'_>>) -> Option<(String, Layer, Place)> {
        let place = self.at(name);
        let text: &str = name.get_ref();
        let DeValue::Table(table) = value.get_ref() else {
            self.report(place, &format!("upstream.{text}"), "is not a table", NAMED);
            return None;
        };
        if !is_name(text) || text.len() > NAME_BYTES_MAX {
            let wrong = format!("{text:?} cannot be a name");
            self.report(place, "upstream", &wrong, "write letters, digits, '-' and '_', 64 at most");
            return None;
        }
        let mut layer = Layer::new(Table::new(Scope::Upstream, self.registry));
        self.table(&mut layer, &format!("upstream.{text}."), "", table);
        Some((text.to_owned(), layer, place))
    }

    fn listener(&mut self, item: &Spanned<DeValue<'_>>, listeners: &mut Vec<(Layer, Place)>) {
        let place = self.at(item);
        if let DeValue::Table(table) = item.get_ref() {
            let protocol = table.iter().find(|(name, _)| name.get_ref() == "protocol");
            let protocol = protocol.and_then(|(_, value)| value.get_ref().as_str());
            let mut layer = Layer::new(Table::listener(protocol, self.registry));
            self.table(&mut layer, "listener.", "", table);
            listeners.push((layer, place));
        } else {
            self.report(place, "listener", "is not a table", "write [[listener]] and its keys below it");
        }
    }

    /// Reads the keys of a table, which has that name, with its dot; `group` is the sub-table it is, with its dot, or
    /// nothing.
    fn table(&mut self, layer: &mut Layer, prefix: &str, group: &str, table: &DeTable<'_>) {
        let of = layer.table();
        for (name, value) in table {
            let full = format!("{group}{}", name.get_ref());
            let joined;
            let raw = match value.get_ref() {
                DeValue::Table(inner) if of.is_group(&full) => {
                    self.table(layer, prefix, &format!("{full}."), inner);
                    continue;
                }
                DeValue::String(text) => Raw::Text(text),
                DeValue::Integer(integer) => Raw::Integer(integer.as_str(), integer.radix()),
                DeValue::Boolean(flag) => Raw::Flag(*flag),
                DeValue::Float(_) => Raw::Other("a number with a point"),
                DeValue::Datetime(_) => Raw::Other("a date"),
                DeValue::Array(items) => match joined_strings(items) {
                    Some(text) => {
                        joined = text;
                        Raw::List(&joined)
                    }
                    None => Raw::Other("an array"),
                },
                DeValue::Table(_) => Raw::Other("a table"),
            };
            // An unknown name is wrong itself; of a known one it is the value.
            let known = of.knows(&full);
            let place = if known { self.at(value) } else { self.at(name) };
            layer.take(prefix, &full, raw, &place, &mut self.mistakes);
        }
    }

    fn unknown_table(&mut self, name: &str, place: Place) {
        if let Some(near) = nearest(name, Scope::ALL.map(Scope::name)) {
            return self.report(place, name, "is not a table of linger", &format!("did you mean {near}?"));
        }
        let belongs = match keys::home(name, self.registry) {
            Some(home) => format!("it is a key of {home}"),
            None => format!("the tables are {}", Scope::ALL.map(Scope::name).join(", ")),
        };
        self.report(place, name, "is not a table of linger", &belongs);
    }

    fn report(&mut self, place: Place, key: &str, wrong: &str, right: &str) {
        self.mistakes.push(Diagnostic {
            place,
            key: key.to_owned(),
            wrong: wrong.to_owned(),
            right: right.to_owned(),
        });
    }

    fn at<T>(&self, spanned: &Spanned<T>) -> Place {
        Place::at(self.path, self.text, spanned.span().start)
    }
}
