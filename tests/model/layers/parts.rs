//! Which parts of the reactor each of its files uses by name. What is changed by a function of another file that it calls is
//! in the row of that file.

use super::{assert_none, code, is_test_file, sources};
use std::collections::BTreeSet;

/// Parts that every file may use: the settings, the time of the turn, the account of work, what is counted and told, and
/// the listener that a connection came from.
const OF_ALL: &[&str] = &["kernel", "listeners", "now", "observer", "settings", "work"];

/// Parts that are made of others: a file uses one of those, or a function of the whole.
const GROUPS: &[&str] = &["annotations", "gateway", "publishing"];

/// `turn` sees all parts, and so does the view of tests.
const SEE_ALL: &[&str] = &["mod", "inspect"];

/// A file of the reactor, and the other parts that it uses. One without a row uses none of them.
const FILES: &[(&str, &[&str])] = &[
    ("accept", &["gateway.pairs", "lifecycle", "places", "timers"]),
    ("admin/ends", &["lifecycle", "worker"]),
    ("admin/events", &["admin", "hub", "timers", "worker"]),
    (
        "admin/page",
        &[
            "annotations.proxied",
            "audits",
            "gateway.pairs",
            "gateway.upstreams",
            "hub",
            "lifecycle",
            "places",
            "pool",
            "worker",
        ],
    ),
    ("admin/places", &["admin"]),
    ("admin", &["admin", "lifecycle", "posted", "worker"]),
    ("ask", &["effects", "pool", "timers", "worker"]),
    ("audit", &["annotations.proxied", "audits", "gateway", "lifecycle", "timers", "worker"]),
    (
        "close",
        &[
            "admin",
            "aftermath",
            "annotations",
            "annotations.initiators",
            "annotations.proxied",
            "annotations.secured",
            "deadlines",
            "effects",
            "gateway.pairs",
            "hub",
            "pool",
            "posted",
            "timers",
            "worker",
        ],
    ),
    ("effects", &["effects", "hub", "posted", "publishing.publications"]),
    ("endings", &["admin", "effects", "timers", "worker"]),
    ("header", &["annotations.proxied", "gateway.pairs", "pool"]),
    ("health", &["deadlines", "gateway.checks", "gateway.upstreams", "lifecycle", "timers"]),
    ("initiators", &["annotations.initiators", "effects", "hub", "worker"]),
    ("input", &["pool"]),
    ("io", &["gateway", "gateway.pairs", "pool", "posted"]),
    ("layered", &["pool", "posted", "worker"]),
    ("life", &["aftermath", "deadlines", "hub", "posted", "worker"]),
    (
        "lifecycle",
        &[
            "gateway.checks",
            "lifecycle",
            "places",
            "pool",
            "publishing.least_output_high",
            "timers",
            "worker",
        ],
    ),
    ("lists", &["effects", "hub", "pool", "posted", "worker"]),
    ("liveness", &["aftermath", "deadlines", "effects", "gateway", "hub", "pool", "posted", "worker"]),
    ("log_in", &["effects", "hub", "log_ins", "timers", "worker"]),
    ("memory", &["pool"]),
    ("naming", &["effects", "gateway.pairs", "hub", "worker"]),
    ("numbers", &["hub", "lifecycle", "places", "pool"]),
    ("output", &["aftermath", "gateway", "pool", "posted"]),
    (
        "publish",
        &[
            "effects",
            "gateway",
            "hub",
            "pool",
            "posted",
            "publishing.gathered",
            "publishing.least_output_high",
            "publishing.presence",
            "publishing.publications",
            "worker",
        ],
    ),
    ("queries", &["hub", "worker"]),
    ("queues", &["timers"]),
    (
        "relay",
        &["aftermath", "annotations.proxied", "gateway", "gateway.pairs", "gateway.upstreams", "posted"],
    ),
    ("requests", &["aftermath", "hub", "publishing.gathered", "worker"]),
    ("routes", &["annotations.secured", "gateway.pairs", "gateway.upstreams", "pool"]),
    ("service", &["lifecycle", "places", "timers"]),
    ("serving", &["effects", "posted", "publishing.gathered", "publishing.publications"]),
    ("splice", &["gateway", "gateway.pairs"]),
    ("tasks", &["gateway", "pool", "posted", "publishing.publications"]),
    ("tickets", &["tickets", "timers", "worker"]),
    (
        "timers",
        &["admin", "audits", "deadlines", "effects", "posted", "publishing.publications", "timers", "worker"],
    ),
    ("unserved", &["lifecycle", "places", "pool"]),
    (
        "upstream",
        &[
            "aftermath",
            "annotations.proxied",
            "deadlines",
            "gateway",
            "gateway.pairs",
            "gateway.upstreams",
            "places",
            "pool",
            "worker",
        ],
    ),
    ("upstreams", &["gateway.pairs", "gateway.removals", "gateway.upstreams", "places", "timers"]),
    ("worker_link", &["admin", "effects", "hub", "lifecycle", "pool", "posted", "worker"]),
];

/// The code of a file as one line, with chains of calls closed up; and that of it which is in functions of `Context`.
fn joined(text: &str) -> [String; 2] {
    let (mut all, mut of_context, mut is_context) = (String::new(), String::new(), false);
    for (_, line) in code(text) {
        is_context = (is_context || (line.starts_with("impl") && line.contains("Context<K>"))) && line != "}";
        let line = line.trim();
        let between = if line.starts_with('.') { "" } else { " " };
        all.extend([between, line]);
        if is_context {
            of_context.extend([between, line]);
        }
    }
    [all, of_context]
}

fn is_of_a_name(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// The name that a text begins with, and what follows it.
fn first_name(text: &str) -> (&str, &str) {
    text.split_at(text.find(|letter| !is_of_a_name(letter)).unwrap_or(text.len()))
}

/// The parts that `text` names directly behind `before`. What is called is no part.
fn parts_behind(text: &str, before: &str) -> BTreeSet<String> {
    let places = text.match_indices(before).filter(|(at, _)| !text[..*at].ends_with(is_of_a_name));
    let parts = places.filter_map(|(at, _)| {
        let (part, rest) = first_name(&text[at + before.len()..]);
        let (inner, behind) = rest.strip_prefix('.').map_or(("", ""), first_name);
        if rest.starts_with('(') {
            None
        } else if GROUPS.contains(&part) && !behind.starts_with('(') {
            Some(format!("{part}.{inner}"))
        } else {
            Some(part.to_owned())
        }
    });
    parts.collect()
}

/// The parts that a file uses.
fn used(text: &str) -> BTreeSet<String> {
    let [all, of_context] = joined(text);
    parts_behind(&all, "cx.").union(&parts_behind(&of_context, "self.")).cloned().collect()
}

/// How a file may use parts so that it is not found here.
fn hidden(text: &str) -> Vec<&'static str> {
    let [all, of_context] = joined(text);
    let takes_apart = all.contains("Context {") || of_context.contains("let Self {");
    let mut parameters =
        [": &Context<K>", ": &mut Context<K>"].into_iter().flat_map(|of| all.match_indices(of));
    let is_renamed = parameters.any(|(at, _)| !all[..at].ends_with("cx"));
    let found = [(takes_apart, "it takes a Context apart"), (is_renamed, "a Context that is not called cx")];
    found.into_iter().filter(|(is_so, _)| *is_so).map(|(_, what)| what).collect()
}

/// The fields of `Context`.
fn fields(text: &str) -> BTreeSet<String> {
    let (_, fields) = text.split_once("struct Context<K: Kernel> {").expect("context.rs has Context");
    let (fields, _) = fields.split_once("\n}").expect("a whole struct");
    let lines = fields.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"));
    lines.map(|line| first_name(line.trim_start_matches("pub(super) ")).0.to_owned()).collect()
}

#[test]
fn each_file_of_the_reactor_uses_the_parts_of_its_row() {
    let files = sources("src/reactor");
    let (_, context) =
        files.iter().find(|(path, _)| path.ends_with("/context.rs")).expect("src/reactor/context.rs");
    let fields = fields(context);
    let mut found: Vec<_> = OF_ALL
        .iter()
        .chain(GROUPS)
        .filter(|part| !fields.contains(**part))
        .map(|part| format!("there is no part {part}"))
        .collect();
    let mut rows: Vec<(&str, BTreeSet<&str>)> =
        FILES.iter().map(|(file, parts)| (*file, parts.iter().copied().collect())).collect();
    found.extend(
        rows.iter().filter(|(_, parts)| parts.is_empty()).map(|(file, _)| format!("{file}: an empty row")),
    );
    for (path, text) in &files {
        let file = path.trim_start_matches("src/reactor/").trim_end_matches(".rs");
        if is_test_file(path) || file.starts_with("parts/") || SEE_ALL.contains(&file) {
            continue;
        }
        found.extend(hidden(text).iter().map(|what| format!("{path}: {what}")));
        let is_part = |name: &str| fields.contains(first_name(name).0) && !OF_ALL.contains(&name);
        let used = used(text);
        let used: BTreeSet<&str> = used.iter().map(String::as_str).filter(|name| is_part(name)).collect();
        let at = rows.iter().position(|(named, _)| *named == file);
        let row: BTreeSet<&str> = at.map(|at| rows.swap_remove(at).1).unwrap_or_default();
        if used != row {
            found.push(format!("{path} uses {used:?}, its row says {row:?}"));
        }
    }
    found.extend(rows.iter().map(|(file, _)| format!("{file}: a row too many")));
    assert_none("files and rows that differ", &found);
}

#[test]
fn parts_are_found_however_they_are_named() {
    let text = "
impl<K: Kernel> Reactor<K> {
    fn one(&mut self) {
        // cx.pool is not used
        self.cx
            .posted
            .resume();
        self.table.get();
        cx.places();
        self.cx.gateway.pairs.of(key);
        self.cx.gateway.lose(key);
    }
}

impl<K: Kernel> Context<K> {
    fn two(&mut self) {
        for x in
            self.timers {}
        self.apply();
        my_cx.admin.ask();
    }
}
";
    let expected = ["gateway", "gateway.pairs", "posted", "timers"];
    assert_eq!(used(text), expected.map(str::to_owned).into());
    assert!(hidden(text).is_empty());
    let apart = "fn one() {\n    let Context { pool, .. } = cx;\n}\n";
    assert_eq!(hidden(apart), ["it takes a Context apart"]);
    let unnamed = "fn one<K: Kernel>(c: &mut Context<K>) {}\n";
    assert_eq!(hidden(unnamed), ["a Context that is not called cx"]);
}
