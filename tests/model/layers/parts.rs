//! What the rooms of the reactor may touch: for ten lines of any of them, the parts that they can change.

use super::{assert_none, code, is_test_file, sources};
use std::collections::{BTreeMap, BTreeSet};

/// Parts that every room may touch: the settings, the time of the turn, the account of work, what is counted and told, and
/// the listener that a connection came from.
const OF_ALL: &[&str] = &["kernel", "listeners", "now", "observer", "settings", "work"];

/// A file of the reactor, and which of the other parts it may touch. One that has no row touches none of them.
const ROOMS: &[(&str, &[&str])] = &[
    ("accept", &["gateway", "lifecycle", "places", "timers"]),
    ("admin/ends", &["lifecycle", "worker"]),
    ("admin/events", &["admin", "hub", "timers", "worker"]),
    ("admin/page", &["annotations", "audits", "gateway", "hub", "lifecycle", "places", "pool", "worker"]),
    ("admin/places", &["admin"]),
    ("admin", &["admin", "lifecycle", "posted", "worker"]),
    ("ask", &["effects", "pool", "timers", "worker"]),
    ("audit", &["annotations", "audits", "gateway", "lifecycle", "timers", "worker"]),
    (
        "close",
        &[
            "admin",
            "aftermath",
            "annotations",
            "deadlines",
            "effects",
            "gateway",
            "hub",
            "pool",
            "posted",
            "timers",
            "worker",
        ],
    ),
    ("effects", &["effects", "hub", "posted", "publishing"]),
    ("endings", &["admin", "effects", "timers", "worker"]),
    ("header", &["annotations", "gateway", "pool"]),
    ("health", &["deadlines", "gateway", "lifecycle", "timers"]),
    ("initiators", &["annotations", "effects", "hub", "worker"]),
    ("input", &["pool"]),
    ("io", &["gateway", "pool", "posted"]),
    ("layered", &["pool", "posted", "worker"]),
    ("life", &["aftermath", "deadlines", "hub", "posted", "worker"]),
    ("lifecycle", &["gateway", "lifecycle", "places", "pool", "publishing", "timers", "worker"]),
    ("lists", &["effects", "hub", "pool", "posted", "worker"]),
    ("liveness", &["aftermath", "deadlines", "effects", "gateway", "hub", "pool", "posted", "worker"]),
    ("log_in", &["effects", "hub", "log_ins", "timers", "worker"]),
    ("memory", &["pool"]),
    ("naming", &["effects", "gateway", "hub", "worker"]),
    ("numbers", &["hub", "lifecycle", "places", "pool"]),
    ("output", &["aftermath", "gateway", "pool", "posted"]),
    ("publish", &["effects", "gateway", "hub", "pool", "posted", "publishing", "worker"]),
    ("queries", &["hub", "worker"]),
    ("queues", &["timers"]),
    ("relay", &["aftermath", "annotations", "gateway", "posted"]),
    ("requests", &["aftermath", "hub", "publishing", "worker"]),
    ("routes", &["annotations", "gateway", "pool"]),
    ("service", &["lifecycle", "places", "timers"]),
    ("serving", &["effects", "posted", "publishing"]),
    ("splice", &["gateway"]),
    ("tasks", &["gateway", "pool", "posted", "publishing"]),
    ("tickets", &["tickets", "timers", "worker"]),
    ("timers", &["admin", "audits", "deadlines", "effects", "posted", "publishing", "timers", "worker"]),
    ("unserved", &["lifecycle", "places", "pool"]),
    ("upstream", &["aftermath", "annotations", "deadlines", "gateway", "places", "pool", "worker"]),
    ("upstreams", &["gateway", "places", "timers"]),
    ("worker_link", &["admin", "effects", "hub", "lifecycle", "pool", "posted", "worker"]),
];

/// Files that see all: those of `turn` and of the parts themselves, and what tests look at.
const SEES_ALL: &[&str] = &["context", "inspect", "mod"];

/// The fields of `Context`.
fn parts(text: &str) -> BTreeSet<String> {
    let (_, fields) = text.split_once("struct Context<K: Kernel> {").expect("context.rs has Context");
    let (fields, _) = fields.split_once("\n}").expect("a whole struct");
    let names = fields.lines().filter_map(|line| line.trim().strip_prefix("pub(super) ")?.split_once(':'));
    names.map(|(name, _)| name.to_owned()).collect()
}

/// What follows `before` in `text`, up to what is no letter of a name; no calls.
fn names_behind<'a>(text: &'a str, before: &'a str) -> impl Iterator<Item = &'a str> {
    text.match_indices(before).filter_map(move |(at, _)| {
        let is_letter = |c: char| c.is_alphanumeric() || c == '_';
        let rest = &text[at + before.len()..];
        let end = rest.find(|c| !is_letter(c)).unwrap_or(rest.len());
        let is_whole = !text[..at].ends_with(is_letter);
        (is_whole && !rest[end..].starts_with('(')).then_some(&rest[..end])
    })
}

/// The names behind `cx.`, and those behind `self.` in functions of `Context`.
fn touched(text: &str) -> BTreeSet<String> {
    let (mut all, mut of_context, mut is_context) = (String::new(), String::new(), false);
    for (_, line) in code(text) {
        is_context = (is_context || line.starts_with("impl<K: Kernel> Context<K>")) && line != "}";
        // A chain of calls over several lines is one.
        all.push_str(line.trim());
        if is_context {
            of_context.push_str(line.trim());
        }
    }
    names_behind(&all, "cx.").chain(names_behind(&of_context, "self.")).map(str::to_owned).collect()
}

#[test]
fn each_room_of_the_reactor_touches_what_its_row_says() {
    let files = sources("src/reactor");
    let context =
        files.iter().find(|(path, _)| path.ends_with("/context.rs")).expect("src/reactor/context.rs");
    let parts = parts(&context.1);
    let mut rows: BTreeMap<_, BTreeSet<_>> = ROOMS
        .iter()
        .map(|(room, parts)| (*room, parts.iter().map(|part| (*part).to_owned()).collect()))
        .collect();
    let mut found = Vec::new();
    for (path, text) in &files {
        let room = path.trim_start_matches("src/reactor/").trim_end_matches(".rs");
        if is_test_file(path) || room.starts_with("parts/") || SEES_ALL.contains(&room) {
            continue;
        }
        let touched: BTreeSet<_> = touched(text)
            .into_iter()
            .filter(|name| parts.contains(name) && !OF_ALL.contains(&name.as_str()))
            .collect();
        let row = rows.remove(room).unwrap_or_default();
        if touched != row {
            found.push(format!("{path} touches {touched:?}, its row says {row:?}"));
        }
    }
    found.extend(rows.keys().map(|room| format!("there is no {room}.rs")));
    assert_none("rooms and rows that differ", &found);
}
