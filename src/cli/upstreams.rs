//! `linger upstreams` and `linger upstream`: how the upstream servers of a running gateway are, and the operator's word about
//! one of them, by way of its admin interface.

use super::admin::{AdminArgs, encoded, span_of};
use super::{console, print};
use crate::core::health::Word;
use clap::{Args, ValueEnum};
use serde_json::Value;
use std::fmt::Write as _;
use std::process::ExitCode;

pub(super) const EXAMPLES: &str = "\
Examples:
  linger upstreams
  linger upstreams --admin unix:/run/linger.sock --json | jq '.upstreams[].servers[]'

Exit codes:
  0  every server that is in service is up
  1  a server is down, or no answer came
  2  the command line has a mistake";

pub(super) const EXAMPLES_OF_ONE: &str = "\
Examples:
  linger upstream drain app 10.0.0.5:9001    before it is restarted; wait until it has no connections
  linger upstream ready app 10.0.0.5:9001    afterwards
  linger upstream down app unix:/run/app.sock";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    admin: AdminArgs,
    /// JSON, as GET /upstreams answers
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct OneArguments {
    /// Whether it gets connections
    state: State,
    /// The name of its upstream: of the [upstream.NAME], or of the listener that has servers of its own
    name: String,
    /// Its address, as linger upstreams lists it
    server: String,
    #[command(flatten)]
    admin: AdminArgs,
}

/// What the operator can say.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum State {
    /// It gets connections, as its checks and its clients find it
    Ready,
    /// It gets no new ones; those that it has go on, and it is still checked
    Drain,
    /// The same, and it is not checked
    Down,
}

pub(super) fn list(arguments: &Arguments) -> ExitCode {
    let (body, value) = match arguments.admin.get("/upstreams") {
        Ok(answer) => answer,
        Err(code) => return code,
    };
    if arguments.json {
        return print(body.as_bytes());
    }
    let Listed { text, sound } = listed(&value);
    match console::out(text.as_bytes()) {
        Ok(()) if sound => ExitCode::SUCCESS,
        Ok(()) | Err(_) => ExitCode::FAILURE,
    }
}

pub(super) fn say(arguments: &OneArguments) -> ExitCode {
    let word = match arguments.state {
        State::Ready => Word::Ready,
        State::Drain => Word::Drain,
        State::Down => Word::Down,
    };
    let (name, server) = (encoded(&arguments.name), encoded(&arguments.server));
    arguments.admin.act(&format!("/upstreams/{name}/{server}?state={word}"))
}

/// What is shown of all servers, and whether all that are in service are up.
struct Listed {
    text: String,
    sound: bool,
}

fn listed(told: &Value) -> Listed {
    let sound = |server: &Value| {
        let is = |field: &str, text: &str| server[field] == text;
        is("state", "up") || !is("operator", "ready") || server["configured"] == false
    };
    let mut listed =
        Listed { text: console::table(&rows(told)), sound: servers(told).all(|(_, server)| sound(server)) };
    for worker in told["unanswered_workers"].as_array().into_iter().flatten() {
        let _ = writeln!(listed.text, "worker {worker} does not answer");
        listed.sound = false;
    }
    listed
}

/// All servers, each with its upstream.
fn servers(told: &Value) -> impl Iterator<Item = (&Value, &Value)> {
    let list = |value| Value::as_array(value).map_or(&[][..], Vec::as_slice).iter();
    list(&told["upstreams"])
        .flat_map(move |upstream| list(&upstream["servers"]).map(move |server| (&upstream["name"], server)))
}

/// A row for each server, below a head.
pub(super) fn rows(told: &Value) -> Vec<Vec<String>> {
    let head = ["UPSTREAM", "SERVER", "STATE", "OPERATOR", "FOR", "CONNECTIONS", "FAILED", "LAST CHECK"];
    let rows = servers(told).map(|(name, server)| {
        let text = |field: &str| server[field].as_str().unwrap_or_default().to_owned();
        vec![
            name.as_str().unwrap_or_default().to_owned(),
            text("address"),
            if server["configured"] == false { "gone".to_owned() } else { state(server) },
            text("operator"),
            span_of(&server["since_s"]),
            server["connections"].to_string(),
            failures(server).to_string(),
            check(&server["check"]),
        ]
    });
    std::iter::once(head.map(str::to_owned).to_vec()).chain(rows).collect()
}

/// Its state; where workers differ, how many of them take it for up.
fn state(server: &Value) -> String {
    let state = server["state"].as_str().unwrap_or_default();
    match (state, server["down_by"].as_str()) {
        ("mixed", _) => format!("up for {} of {}", server["workers_up"], server["workers"]),
        (state, Some(by)) => format!("{state} ({by})"),
        (state, None) => state.to_owned(),
    }
}

/// Connections that came to nothing.
fn failures(server: &Value) -> u64 {
    server["failed"].as_object().map_or(0, |failed| failed.values().filter_map(Value::as_u64).sum())
}

fn check(check: &Value) -> String {
    match check["result"].as_str() {
        Some(result) => {
            format!("{result} in {}, {} ago", span_of(&check["took_s"]), span_of(&check["age_s"]))
        }
        None => "none".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn servers_are_listed_in_columns() {
        let server = |address: &str, state: &str, operator: &str| {
            json!({ "address": address, "state": state, "operator": operator, "since_s": 8.0, "connections": 3,
                    "failed": { "upstream.refused": 2, "upstream.reset": 1 }, "down_by": null, "check": null })
        };
        let mut down = server("b:1", "down", "ready");
        down["down_by"] = "check".into();
        down["check"] = json!({ "result": "refused", "age_s": 1.5, "took_s": 0.002 });
        let told =
            json!({ "upstreams": [{ "name": "app", "servers": [server("a:1", "up", "ready"), down] }] });
        let Listed { text, sound } = listed(&told);
        assert!(!sound, "{text}");
        let lines: Vec<_> =
            text.lines().map(|line| line.split("  ").filter(|cell| !cell.is_empty())).collect();
        let cells = |line: usize| lines[line].clone().map(str::trim).collect::<Vec<_>>();
        assert_eq!(cells(1)[..4], ["app", "a:1", "up", "ready"], "{text}");
        assert_eq!(cells(1)[5..], ["3", "3", "none"], "{text}");
        assert_eq!(cells(2)[2], "down (check)", "{text}");
        assert_eq!(cells(2)[7], "refused in 2ms, 1.5s ago", "{text}");
        let mut mixed = server("a:1", "mixed", "ready");
        (mixed["workers_up"], mixed["workers"]) = (1.into(), 3.into());
        let mixed = listed(&json!({ "upstreams": [{ "name": "app", "servers": [mixed] }] }));
        assert!(!mixed.sound && mixed.text.contains(" up for 1 of 3 "), "{}", mixed.text);
        let mut gone = server("a:1", "down", "ready");
        gone["configured"] = false.into();
        let gone = listed(&json!({ "upstreams": [{ "name": "app", "servers": [gone] }] }));
        assert!(gone.sound && gone.text.contains(" gone "), "{}", gone.text);
        let drained =
            json!({ "upstreams": [{ "name": "app", "servers": [server("a:1", "down", "drain")] }] });
        assert!(listed(&drained).sound, "the operator knows");
        let silent = json!({ "upstreams": [], "unanswered_workers": [2] });
        assert!(listed(&silent).text.ends_with("worker 2 does not answer\n"));
    }
}
