//! The configuration: nothing panics, every mistake names a place that is there, what loads is shown as a file
//! that loads as the same, and a listener URL says what a `[[listener]]` says.

use super::Choices;
use linger::config::{Diagnostic, Effective, Override, Place, Sources, no_files, resolve_text};

/// Between the file and the flags in the input.
const FLAGS: &str = "\n%%\n";

/// `bytes`: a file; then, after a line `%%`, a flag a line: a listener URL, or `table.key=value`.
pub(crate) fn holds(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let (text, flags) = text.split_once(FLAGS).unwrap_or((text, ""));
    let mut sources = Sources::default();
    for flag in flags.lines() {
        match flag.split_once('=') {
            Some((key, value)) if !flag.contains("://") => sources.overrides.push(Override {
                flag: format!("--set {flag}"),
                key: key.to_owned(),
                value: value.to_owned(),
            }),
            Some(_) | None => sources.listen.push(flag.to_owned()),
        }
    }
    let file = (!text.is_empty()).then_some(("f", text));
    match resolve_text(&sources, file, no_files) {
        Ok(effective) => assert_shown_as_it_is(&effective),
        Err(mistakes) => {
            assert!(!mistakes.is_empty(), "a refusal has a reason");
            for mistake in &mistakes {
                assert_placed(mistake, text, &sources);
            }
        }
    }
}

/// What the settings are shown as is a file that gives the same settings, and is shown as itself.
fn assert_shown_as_it_is(effective: &Effective) {
    let shown = effective.to_string();
    let again = resolve_text(&Sources::default(), Some(("shown", &shown)), no_files)
        .unwrap_or_else(|mistakes| panic!("{shown}\n{mistakes:#?}"));
    assert_eq!(again.settings, effective.settings, "{shown}");
    assert_eq!(values(&again.to_string()), values(&shown));
    let (short, _) = effective.differing();
    let again = resolve_text(&Sources::default(), Some(("short", &short)), no_files)
        .unwrap_or_else(|mistakes| panic!("{short}\n{mistakes:#?}"));
    assert_eq!(again.settings, effective.settings, "{short}");
}

/// What the file says, without the comments that tell where each value came from: they may themselves hold a `#`.
fn values(shown: &str) -> toml::Table {
    shown.parse().unwrap_or_else(|mistake| panic!("{shown}\n{mistake}"))
}

fn assert_placed(mistake: &Diagnostic, text: &str, sources: &Sources) {
    assert!(!mistake.wrong.is_empty(), "{mistake:?}");
    match &mistake.place {
        Place::Whole { path } => assert_eq!(&**path, "f"),
        Place::File { path, line, column } => {
            assert_eq!(&**path, "f");
            // One past the end of either, where something is missing.
            let at = text.split('\n').nth(line - 1).unwrap_or_else(|| panic!("{mistake}: no such line"));
            assert!((1..=at.chars().count() + 1).contains(column), "{mistake}: no such column");
        }
        Place::Flag(flag) => {
            let listen = sources.listen.iter().any(|url| *flag == format!("--listen {url}"));
            assert!(listen || sources.overrides.iter().any(|given| given.flag == *flag), "{mistake}");
        }
        Place::Defaults => panic!("nobody made a mistake: {mistake}"),
    }
}

/// A listener with keys and values as `bytes` say is the same, or mistaken in the same way, whether a URL or a
/// file says it.
pub(crate) fn url_says_what_a_file_says(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let protocol = choices.pick(&["echo", "resp", "http", ""]);
    let address = choices.pick(ADDRESSES);
    let listing = linger::config::listener_keys();
    let keys: Vec<(&str, &str)> =
        listing.lines().filter_map(|line| line.trim().split_once(char::is_whitespace)).collect();
    let mut given: Vec<(&str, &str)> = Vec::new();
    while !choices.is_over() && given.len() < 8 {
        let (key, default) = choices.pick(&keys);
        if given.iter().all(|(other, _)| *other != key) {
            // Mostly what the key can take, or no listener would ever be sound as a whole.
            let values = if choices.byte() < 32 { VALUES } else { like(default.trim()) };
            given.push((key, choices.pick(values)));
        }
    }

    let parameters: Vec<String> = given.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let url = format!("{protocol}://{address}?{}", parameters.join("&"));
    let lines: Vec<String> =
        given.iter().map(|(key, value)| format!("{key} = {}", toml(key, value))).collect();
    let file =
        format!("[[listener]]\nprotocol = {protocol:?}\naddress = {address:?}\n{}\n", lines.join("\n"));

    let by_url = resolve_text(&Sources { listen: vec![url.clone()], ..Sources::default() }, None, no_files);
    let by_file = resolve_text(&Sources::default(), Some(("f", &file)), no_files);
    match (by_url, by_file) {
        (Ok(by_url), Ok(by_file)) => {
            assert_eq!(by_url.settings, by_file.settings, "{url}\n{file}");
            assert_shown_as_it_is(&by_url);
        }
        (Err(by_url), Err(by_file)) => {
            // All mistakes of a URL are at one place, so only those of the file have an order; and only TOML
            // knows what a number is, and shows it without quotes.
            let said = |mistakes: Vec<Diagnostic>| {
                let mut said: Vec<String> =
                    mistakes.into_iter().map(|mistake| mistake.wrong.replace('"', "")).collect();
                said.sort();
                said.dedup();
                said
            };
            assert_eq!(said(by_url), said(by_file), "{url}\n{file}");
        }
        (by_url, by_file) => panic!("{url}: {by_url:?}\n{file}: {by_file:?}"),
    }
}

const ADDRESSES: &[&str] =
    &["127.0.0.1:7001", "0.0.0.0:7001", "[::]:7001", "[::1]:0", "127.0.0.1:7070", "localhost:1", "7001", ""];

const VALUES: &[&str] = &[
    "off",
    "auto",
    "true",
    "false",
    "client",
    "server",
    "both",
    "linger2",
    "reset",
    "queue",
    "shed",
    "devices",
    "0",
    "1",
    "3",
    "100",
    "4096",
    "70000",
    "9999999999",
    "0s",
    "5ms",
    "10ms",
    "15ms",
    "999ms",
    "1s",
    "1500ms",
    "10s",
    "1m30s",
    "2h",
    "32767s",
    "1d",
    "24d",
    "25d",
    "1KiB",
    "64KiB",
    "65537",
    "1MiB",
    "16MiB",
    "1GiB",
    "4GiB",
];

/// Values that a key with this default is likely to take.
fn like(default: &str) -> &'static [&'static str] {
    match default {
        "true" | "false" => &["true", "false"],
        _ if default.ends_with('B') => {
            &["1KiB", "4096", "20000", "64KiB", "65537", "3000001", "16MiB", "1GiB"]
        }
        _ if default.ends_with(['s', 'm', 'h', 'd']) => {
            &["1s", "15s", "59s", "90s", "10m", "10ms", "1500ms", "32767s"]
        }
        _ if default.bytes().all(|byte| byte.is_ascii_digit()) => &["1", "3", "100", "127", "4096"],
        _ => VALUES,
    }
}

/// A value as TOML writes it: without quotes where it is a number or a flag.
fn toml(key: &str, value: &str) -> String {
    let bare = value.bytes().all(|byte| byte.is_ascii_digit()) || matches!(value, "true" | "false");
    let is_text = matches!(key, "name" | "users" | "allow" | "deny" | "accept_proxy_trusted")
        || key.starts_with("tls.");
    if bare && !is_text { value.to_owned() } else { format!("{value:?}") }
}
