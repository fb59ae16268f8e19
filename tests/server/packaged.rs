//! What `scripts/` ships for other programs names only what the server has: each metric, and each label, of the dashboard for
//! Grafana and of the alerts for Prometheus is on a page of a real server.

#![allow(clippy::unwrap_used, reason = "an unwrap that fails is a test that fails")]

use crate::common::file::TempFile;
use crate::common::pki::Authority;
use crate::common::{Server, until};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

type Labels = BTreeSet<String>;

fn is_of_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

/// The metrics with their labels that an expression, or a page, speaks of: each name of ours, and what stands in the braces
/// behind it.
fn metrics(text: &str) -> Vec<(String, Labels)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(is_of_name) {
        let word = &rest[at..];
        let end = word.find(|letter| !is_of_name(letter)).unwrap_or(word.len());
        let (name, behind) = word.split_at(end);
        rest = behind;
        if !name.starts_with("linger_") && !name.starts_with("process_") {
            continue;
        }
        let inside = behind.strip_prefix('{').and_then(|inside| inside.split_once('}')).map_or("", |it| it.0);
        let labels = inside.split_inclusive(['=', '!']).filter_map(|part| {
            let label = part.strip_suffix(['=', '!'])?;
            Some(label[label.rfind(|letter| !is_of_name(letter)).map_or(0, |at| at + 1)..].to_owned())
        });
        found.push((name.to_owned(), labels.filter(|label| !label.is_empty()).collect()));
    }
    found
}

/// The labels by which an expression groups or joins.
fn grouped(expression: &str) -> Labels {
    let lists = expression.match_indices("by (").chain(expression.match_indices("on ("));
    let lists = lists.map(|(at, begin)| expression[at + begin.len()..].split_once(')').unwrap().0);
    lists.flat_map(|list| list.split(',')).map(|label| label.trim().to_owned()).collect()
}

/// Everything that a server, alone and with workers, has on its page, where all is set up that adds to it.
fn pages() -> BTreeMap<String, Labels> {
    let authority = Authority::new("tests");
    let certificate = TempFile::new(&authority.sign("localhost").both());
    let users = TempFile::new("user ops on nopass ~* &* +@all\n");
    let config = TempFile::new(&format!(
        "[admin]\naddress = '127.0.0.1:0'\n[audit]\ninterval = '100ms'\n\
         [[listener]]\nprotocol = 'resp'\naddress = '127.0.0.1:0'\nusers = '{users}'\ntls = {{ certificate = '{own}' }}\n\
         [[listener]]\nprotocol = 'tcp'\naddress = '127.0.0.1:0'\nupstream = 'app'\n\
         [upstream.app]\nservers = '127.0.0.1:1'\n\
         tls = {{ enabled = true, name = 'app', verify = false, certificate = '{own}' }}\n",
        users = users.path(),
        own = certificate.path(),
    ));
    let mut all: BTreeMap<String, Labels> = BTreeMap::new();
    for workers in ["server.workers=1", "server.workers=2"] {
        let server = Server::start(&["--config", config.path(), "--set", workers]);
        let mut page = String::new();
        until("an audit", || {
            page = server.admin("GET", "/metrics").1;
            page.contains("\nlinger_audit_age_seconds ")
        });
        for (name, labels) in page.lines().filter(|line| !line.starts_with('#')).flat_map(metrics) {
            all.entry(name).or_default().extend(labels);
        }
    }
    all
}

/// The expressions of the dashboard: of panels, annotations and variables.
fn of_dashboard(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                if let ("expr" | "definition", Some(text)) = (key.as_str(), value.as_str()) {
                    found.push(text.to_owned());
                }
                of_dashboard(value, found);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| of_dashboard(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => (),
    }
}

/// The expressions of the alerts: a line each, or a block that is indented further.
fn of_alerts(text: &str) -> Vec<String> {
    let rules = text.split("\n        expr: ").skip(1);
    rules.map(|rule| rule.split("\n        labels:").next().unwrap().to_owned()).collect()
}

#[test]
fn the_dashboard_and_the_alerts_name_what_the_server_has() {
    let dashboard: Value = serde_json::from_str(include_str!("../../scripts/grafana/linger.json")).unwrap();
    let mut expressions = of_alerts(include_str!("../../scripts/prometheus/linger.rules.yml"));
    assert!(expressions.len() > 15, "{expressions:?}");
    of_dashboard(&dashboard, &mut expressions);
    assert!(expressions.len() > 80, "{} expressions", expressions.len());
    let pages = pages();
    let mut named = BTreeSet::new();
    for expression in &expressions {
        // What Prometheus adds to everything it reads.
        let mut known: Labels = ["job", "instance"].map(str::to_owned).into();
        let added = known.clone();
        for (name, labels) in metrics(expression) {
            let own = pages.get(&name).unwrap_or_else(|| panic!("no page has {name}: {expression}"));
            let strange: Vec<_> = labels.difference(own).filter(|&label| !added.contains(label)).collect();
            assert!(strange.is_empty(), "{name} has no {strange:?}: {expression}");
            known.extend(own.iter().cloned());
            named.insert(name);
        }
        let groups = grouped(expression);
        assert!(
            groups.is_subset(&known),
            "not all of {groups:?} are labels of what is grouped: {expression}"
        );
    }
    assert!(named.len() > 45, "{named:?}");
}
