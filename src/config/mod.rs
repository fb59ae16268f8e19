//! Everything from the command line and the TOML file to [`Settings`]: defaults, what
//! the file says over them, what flags say over that, and every mistake at once.
//!
//! Nothing is opened or started here; the file is read by a function that the caller brings, so that [`load`] can be
//! called again while the server runs. In reading order: `keys` is the table of every key; `value` reads and
//! writes single values; `file` and `url` make layers of what they find, `layer` lays them over each
//! other; `rules` hold values against each other; `build` makes settings; `print` shows them, and `explain` tells of one key.

mod build;
mod certificates;
mod diagnostic;
mod explain;
mod file;
mod files;
mod keys;
mod layer;
mod print;
mod rules;
pub mod settings;
mod url;
mod value;

#[cfg(test)]
mod certificates_tests;
#[cfg(test)]
mod files_tests;
#[cfg(test)]
mod heartbeat_tests;
#[cfg(test)]
mod registry_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod upstream_tests;

pub use diagnostic::{Diagnostic, Place};
pub use files::Texts;

use crate::core::setting::{Key, Value};
use crate::protocol::{Declaration, Protocol, Registry};
use files::Files;
use keys::{Scope, Table};
use layer::{Layer, Resolved};
use rules::Findings;
use settings::Settings;
use std::fmt;
use std::path::{Path, PathBuf};
use value::Raw;

/// Most bytes of the file: some hundred times what the longest has. Workers are sent it as one message.
pub const FILE_BYTES_MAX: usize = 1 << 20;

/// Reads the text of a file of at most so many bytes, or says what is wrong with it.
pub type ReadFile = fn(&Path, usize) -> Result<String, String>;

/// Where settings come from: kept by the server, so that it can read them again.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sources {
    /// The file, if one was named. None is looked for.
    pub file: Option<PathBuf>,
    /// Listener URLs. If there are any, they replace the listeners of the file.
    pub listen: Vec<String>,
    /// Single keys from flags, over those of the file.
    pub overrides: Vec<Override>,
}

/// One key from a flag.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Override {
    /// The flag as it was written, for reports: `--log`.
    pub flag: String,
    /// The key with its table: `log.filter`.
    pub key: String,
    /// Its value, without quotes.
    pub value: String,
}

/// Settings, with all that is known about where they came from.
#[derive(Debug)]
pub struct Effective {
    /// The settings.
    pub settings: Settings,
    /// What is allowed, but probably not meant.
    pub hints: Vec<Diagnostic>,
    tables: Vec<Resolved>,
}

impl fmt::Display for Effective {
    /// A complete configuration file, each value with where it came from in a comment behind it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print::effective(f, &self.tables)
    }
}

impl Effective {
    /// What differs from the defaults, each value with where it came from behind it, and how many settings are as they are by
    /// default. It is a configuration file, too, for the same settings.
    pub fn differing(&self) -> (String, usize) {
        let mut text = String::new();
        let left_out = print::differing(&mut text, &self.tables).expect("a String takes everything");
        (text, left_out)
    }
}

/// Reads the sources into settings.
///
/// # Errors
/// All mistakes, in the order of the file and then of the flags.
pub fn load(sources: &Sources, read_file: ReadFile) -> Result<Settings, Vec<Diagnostic>> {
    resolve(sources, read_file).map(|effective| effective.settings)
}

/// Reads the sources into settings, and keeps where each came from.
///
/// # Errors
/// As [`load`].
pub fn resolve(sources: &Sources, read_file: ReadFile) -> Result<Effective, Vec<Diagnostic>> {
    resolve_read(sources, &read(sources, read_file)?)
}

/// Reads the file of the sources, if they name one, and those that it names. What [`resolve_read`] takes.
///
/// # Errors
/// That the file cannot be read, and what the flags have wrong besides: to be mended in the same go.
pub fn read(sources: &Sources, read_file: ReadFile) -> Result<Texts, Vec<Diagnostic>> {
    let file = match &sources.file {
        None => String::new(),
        Some(path) => read_file(path, FILE_BYTES_MAX).map_err(|wrong| {
            let unreadable = Diagnostic {
                place: Place::Whole { path: path.display().to_string().into() },
                key: String::new(),
                wrong,
                right: format!(
                    "name a regular file of at most {} KiB; `linger config` prints one to start from",
                    FILE_BYTES_MAX / 1024
                ),
            };
            let mut mistakes = vec![unreadable];
            mistakes.extend(resolve_text(sources, None, read_file).err().unwrap_or_default());
            mistakes
        })?,
    };
    Ok(read_others(sources, file_name(sources).as_deref(), file, read_file))
}

/// The text of the file, and of those that it names.
fn read_others(sources: &Sources, name: Option<&str>, file: String, read_file: ReadFile) -> Texts {
    let (tables, _) = resolve_all(sources, name.map(|name| (name, file.as_str())), Protocol::REGISTRY);
    let mut texts = Texts::of_file(file);
    texts.add(&tables, |path, bytes_max| read_file(Path::new(path), bytes_max));
    texts
}

/// As [`resolve`], with the texts that [`read`] gave, here or in another process.
///
/// # Errors
/// As [`load`].
pub fn resolve_read(sources: &Sources, texts: &Texts) -> Result<Effective, Vec<Diagnostic>> {
    resolve_texts(sources, file_name(sources).as_deref(), texts)
}

/// Stands for a host without files, for those who give the whole configuration themselves.
///
/// # Errors
/// Always.
pub fn no_files(_: &Path, _: usize) -> Result<String, String> {
    Err("there are no files here".to_owned())
}

/// As [`resolve`], with `file`, a path to report and a text, in the place of the file of the sources.
///
/// # Errors
/// As [`load`].
pub fn resolve_text(
    sources: &Sources,
    file: Option<(&str, &str)>,
    read_file: ReadFile,
) -> Result<Effective, Vec<Diagnostic>> {
    let (name, text) = file.unzip();
    let texts = read_others(sources, name, text.unwrap_or_default().to_owned(), read_file);
    resolve_texts(sources, name, &texts)
}

fn resolve_texts(sources: &Sources, name: Option<&str>, texts: &Texts) -> Result<Effective, Vec<Diagnostic>> {
    let file = name.map(|name| (name, texts.file.as_str()));
    let (mut tables, mut findings) = resolve_all(sources, file, Protocol::REGISTRY);
    for table in &mut tables {
        certificates::load(table, &|path, _| texts.read_tls(path), &mut findings);
    }
    let files = Files::read(&tables, texts, &mut findings.mistakes);
    let hints = findings.conclude()?;
    Ok(Effective { settings: settings_of(&tables, &files), hints, tables })
}

/// What the file of the sources is called, if they name one.
fn file_name(sources: &Sources) -> Option<String> {
    sources.file.as_ref().map(|path| path.display().to_string())
}

/// As [`resolve_text`], for the protocols of any registry: all of it but the making of settings. The tables, and hints.
#[cfg(test)]
fn resolve_tables(
    sources: &Sources,
    file: Option<(&str, &str)>,
    registry: &'static Registry,
) -> Result<(Vec<Resolved>, Vec<Diagnostic>), Vec<Diagnostic>> {
    let (tables, findings) = resolve_all(sources, file, registry);
    findings.conclude().map(|hints| (tables, hints))
}

/// The tables that the sources make, sound or not, and what was found about them.
fn resolve_all(
    sources: &Sources,
    file: Option<(&str, &str)>,
    registry: &'static Registry,
) -> (Vec<Resolved>, Findings) {
    let mut mistakes = Vec::new();
    let file = file.map(|(path, text)| file::read(&path.into(), text, registry, &mut mistakes));
    let well_formed = file.as_ref().is_none_or(|file| file.well_formed);
    let (mut layers, upstreams, listeners) =
        file.map_or_else(Default::default, |file| (file.tables, file.upstreams, file.listeners));

    // Flags come first in the search, so they are found before what the file says.
    layers.splice(0..0, flag_layers(&sources.overrides, registry, &mut mistakes));
    let layers_of =
        |of: Scope| -> Vec<&Layer> { layers.iter().filter(|layer| layer.table().scope == of).collect() };
    let singles = [Scope::Server, Scope::Turn, Scope::Drain, Scope::Audit, Scope::Log, Scope::Admin];
    let mut tables: Vec<Resolved> = singles
        .into_iter()
        .map(|scope| Resolved::new(Table::new(scope, registry), Place::Defaults, &layers_of(scope)))
        .collect();

    for (name, layer, place) in upstreams {
        if well_formed {
            required(&format!("upstream.{name}."), &layer, &place, &mut mistakes);
        }
        tables.push(Resolved::new(layer.table(), place, &[&layer]).named(name));
    }
    let listeners = match (sources.listen.as_slice(), listeners) {
        ([], Some(listeners)) => listeners,
        ([], None) => builtin_layers(registry),
        (urls, _) => urls.iter().filter_map(|url| listen_flag(url, registry, &mut mistakes)).collect(),
    };
    for (layer, place) in listeners {
        if well_formed {
            required("listener.", &layer, &place, &mut mistakes);
        }
        // Without a protocol there are no defaults, and so no table to hold rules against.
        if layer.table().protocol.is_none() {
            continue;
        }
        let mut below = vec![&layer];
        below.extend(layers_of(Scope::Defaults));
        tables.push(Resolved::new(layer.table(), place, &below));
    }
    name_listeners(&mut tables);

    let mut findings = rules::check(&tables);
    mistakes.append(&mut findings.mistakes);
    (tables, Findings { mistakes, ..findings })
}

/// The complete, commented default file.
pub fn template() -> String {
    print::template(Protocol::REGISTRY)
}

/// The keys that a listener URL takes, with their defaults, one a line.
pub fn listener_keys() -> String {
    print::listener_keys(Protocol::REGISTRY)
}

/// The names of all keys; those of single tables with their table.
pub fn key_names() -> Vec<String> {
    explain::names(Protocol::REGISTRY)
}

/// What the key of that name is, with or without its table; none: there is no such key.
pub fn explain_key(name: &str) -> Option<String> {
    explain::key(name, Protocol::REGISTRY)
}

/// What a part of the name of keys stands for: a table, a sub-table, or what several tables have.
pub fn explain_part(name: &str) -> Option<String> {
    explain::part(name, Protocol::REGISTRY)
}

/// The listeners that are served when nobody names one, in words.
pub fn builtin_listeners() -> String {
    builtin_protocols(Protocol::REGISTRY)
        .map(|(protocol, address)| format!("{} on {address}", protocol.name))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The listeners that are served when nobody names one.
fn builtin_layers(registry: &'static Registry) -> Vec<(Layer, Place)> {
    builtin_protocols(registry)
        .map(|(protocol, address)| (builtin_layer(protocol, address, registry), Place::Defaults))
        .collect()
}

/// The protocols that are served then, each with its address.
fn builtin_protocols(registry: &Registry) -> impl Iterator<Item = (&'static Declaration, &'static str)> {
    registry.clients().filter_map(|protocol| Some((protocol, protocol.builtin_address?)))
}

fn builtin_layer(protocol: &Declaration, address: &str, registry: &'static Registry) -> Layer {
    let mut mistakes = Vec::new();
    let url = format!("{}://{address}", protocol.name);
    let layer = url::read(&url, &Place::Defaults, registry, &mut mistakes);
    layer.filter(|_| mistakes.is_empty()).expect("the built-in listeners are sound")
}

/// The built-in listener of a protocol, for the default file.
fn builtin(protocol: &Declaration, address: &str, registry: &'static Registry) -> Resolved {
    let layer = builtin_layer(protocol, address, registry);
    let mut tables = vec![Resolved::new(layer.table(), Place::Defaults, &[&layer])];
    name_listeners(&mut tables);
    tables.remove(0)
}

fn listen_flag(
    url: &str,
    registry: &'static Registry,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<(Layer, Place)> {
    let place = Place::Flag(format!("--listen {url}"));
    url::read(url, &place, registry, mistakes).map(|layer| (layer, place))
}

fn flag_layers(
    overrides: &[Override],
    registry: &'static Registry,
    mistakes: &mut Vec<Diagnostic>,
) -> Vec<Layer> {
    let mut layers: Vec<Layer> = Vec::new();
    for Override { flag, key, value } in overrides {
        let place = Place::Flag(flag.clone());
        let (table, name) = key.split_once('.').unwrap_or((key, ""));
        let scope = Scope::ALL.into_iter().find(|scope| scope.name() == table && !name.is_empty());
        let Some(scope) = scope.filter(|scope| !matches!(scope, Scope::Listener | Scope::Upstream)) else {
            let right = "write TABLE.KEY=VALUE with one of the tables server, turn, drain, audit, log, admin and \
                         defaults; listeners are given with --listen, upstreams in a file";
            mistakes.push(Diagnostic {
                place,
                key: key.clone(),
                wrong: "is not a key with its table".to_owned(),
                right: right.to_owned(),
            });
            continue;
        };
        let at = layers.iter().position(|layer| layer.table().scope == scope).unwrap_or_else(|| {
            layers.push(Layer::new(Table::new(scope, registry)));
            layers.len() - 1
        });
        if let Some(layer) = layers.get_mut(at) {
            layer.take(&format!("{table}."), name, Raw::Bare(value), &place, mistakes);
        }
    }
    layers
}

fn required(prefix: &str, layer: &Layer, place: &Place, mistakes: &mut Vec<Diagnostic>) {
    let needed = layer.table().keys().filter(Key::is_required);
    for key in needed.filter(|key| !layer.has(key.name)) {
        mistakes.push(Diagnostic {
            place: place.clone(),
            key: format!("{prefix}{}", key.name),
            wrong: "is missing".to_owned(),
            right: format!("write {}", key.kind.expects()),
        });
    }
}

/// Names those that were not given a name: by protocol, then by protocol and port, then by number.
fn name_listeners(tables: &mut [Resolved]) {
    let mut taken: Vec<String> =
        tables.iter().filter_map(|table| table.text("name").map(str::to_owned)).collect();
    for table in tables.iter_mut().filter(|table| table.is_word("name", "auto")) {
        let protocol = table.protocol_name();
        let port = match table.address() {
            Some(crate::net::Address::Tcp { socket, .. }) => socket.port(),
            Some(crate::net::Address::Unix(_)) | None => 0,
        };
        let candidates = [protocol.to_owned(), format!("{protocol}-{port}")].into_iter();
        let name = candidates
            .chain((2..=u32::MAX).map(|number| format!("{protocol}-{port}-{number}")))
            .find(|name| !taken.contains(name))
            .expect("there are fewer listeners than numbers");
        taken.push(name.clone());
        table.set_derived("name", Value::Text(name), "by protocol, and port if that is taken");
    }
}

fn settings_of(tables: &[Resolved], files: &Files) -> Settings {
    let of = |scope| tables.iter().find(|table| table.is(scope)).expect("every single table is resolved");
    let all = |scope| tables.iter().filter(move |table| table.is(scope));
    let serving: Vec<_> = all(Scope::Listener).chain([of(Scope::Admin)]).collect();
    let named: Vec<_> = all(Scope::Upstream).collect();
    let (listeners, upstreams) = build::listeners(&serving, &named, files);
    let mut server = build::server(of(Scope::Server));
    // Endings are kept for those who ask: the admin interface, and protocols in which a client can.
    if !listeners.iter().any(|listener| listener.protocol.keeps_session()) {
        server.history_bytes = 0;
    }
    Settings {
        listeners,
        upstreams,
        turn: build::turn(of(Scope::Turn)),
        server,
        drain: build::drain(of(Scope::Drain)),
        audit: build::audit(of(Scope::Audit)),
        log: build::log(of(Scope::Log)),
    }
}
