//! `linger connections` and `linger name`: who is connected to a running server, and the identity of a gateway's client.

use super::admin::{AdminArgs, Narrowing, encoded, span_of};
use super::{console, print};
use crate::core::units::{bytes, plural, thousands};
use clap::Args;
use serde_json::Value;
use std::fmt::Write as _;
use std::process::ExitCode;

pub(super) const EXAMPLES: &str = "\
Examples:
  linger connections                        the first hundred
  linger connections 10.0.0.0/8 --state suspect
  linger connections --age-over 1d --limit 1000 --json | jq '.connections[].id'

Exit codes:
  0  there are some
  1  there are none, or no answer came
  2  the command line has a mistake";

pub(super) const EXAMPLES_OF_NAME: &str = "\
Example:
  linger name 17-4711 sensor-7               from now on, why, SEND and presence know it by that name";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    narrowing: Narrowing,
    /// Most connections that are listed
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    limit: u32,
    #[command(flatten)]
    admin: AdminArgs,
    /// JSON, as GET /connections answers
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct NameArguments {
    /// The key of the connection, as linger connections lists it
    key: String,
    /// Its identity: 1 to 128 bytes of UTF-8 without blanks
    identity: String,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(super) fn list(arguments: &Arguments) -> ExitCode {
    let query = arguments.narrowing.behind_others();
    let target = format!("/connections?clients=true&limit={}{query}", arguments.limit);
    let (body, value) = match arguments.admin.get(&target) {
        Ok(answer) => answer,
        Err(code) => return code,
    };
    let (text, is_any) = listed(&value);
    match print(if arguments.json { body.as_bytes() } else { text.as_bytes() }) {
        code if is_any => code,
        _ => ExitCode::FAILURE,
    }
}

pub(super) fn name(arguments: &NameArguments) -> ExitCode {
    let (key, identity) = (encoded(&arguments.key), encoded(&arguments.identity));
    arguments.admin.act(&format!("/connections/{key}/identity?id={identity}"))
}

/// The connections of an answer in columns, and whether there are any.
fn listed(told: &Value) -> (String, bool) {
    let head = ["KEY", "PEER", "LISTENER", "STATE", "IDENTITY", "FOR", "SILENT FOR", "IN", "OUT"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for row in told["connections"].as_array().into_iter().flatten() {
        let text = |field: &str| row[field].as_str().unwrap_or_default().to_owned();
        let size = |field: &str| bytes(row[field].as_u64().unwrap_or_default());
        rows.push(vec![
            text("key"),
            text("peer"),
            text("listener"),
            text("state"),
            if row["id"].is_null() { "-".to_owned() } else { text("id") },
            span_of(&row["age_s"]),
            span_of(&row["silence_s"]),
            size("bytes_in"),
            size("bytes_out"),
        ]);
    }
    let (listed, matched) = (rows.len() as u64 - 1, told["matched"].as_u64().unwrap_or_default());
    let mut text = if listed == 0 { String::new() } else { console::table(&rows) };
    let more = matched.saturating_sub(listed);
    let connections =
        |number| format!("{} {}", thousands(number), plural(number, "connection", "connections"));
    let _ = match (matched, more) {
        (_, 0) => writeln!(text, "{}", connections(matched)),
        (_, more) => writeln!(text, "{}; {} more with --limit", connections(matched), thousands(more)),
    };
    for worker in told["unanswered_workers"].as_array().into_iter().flatten() {
        let _ = writeln!(text, "worker {worker} does not answer");
    }
    (text, matched > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn connections_are_listed_in_columns() {
        let row = json!({"key": "2.17-1", "peer": "10.0.0.1:7", "listener": "app", "state": "open", "id": null,
            "age_s": 61.0, "silence_s": 1.5, "bytes_in": 2048, "bytes_out": 0});
        let (text, is_any) =
            listed(&json!({"connections": [row], "matched": 1234, "unanswered_workers": [2]}));
        assert!(is_any);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("KEY "), "{text}");
        let cells: Vec<_> = lines[1].split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        let expected = ["2.17-1", "10.0.0.1:7", "app", "open", "-", "1m 01s", "1.5s", "2.0 KiB", "0 bytes"];
        assert_eq!(cells, expected, "{text}");
        assert_eq!(lines[2..], ["1,234 connections; 1,233 more with --limit", "worker 2 does not answer"]);
        assert_eq!(listed(&json!({"connections": [], "matched": 0})), ("0 connections\n".to_owned(), false));
    }
}
