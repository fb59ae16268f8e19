//! `linger end`: ends clients of a running server, one or many, at a pace.

use super::admin::{AdminArgs, Narrowing, encoded, readings, time};
use super::{console, print, usage_mistake};
use crate::core::escape::printable;
use crate::core::units::{plural, thousands};
use clap::Args;
use serde_json::Value;
use std::fmt::Write as _;
use std::process::ExitCode;

pub(super) const EXAMPLES: &str = "\
Examples:
  linger end 17-4711                           one connection, by its key
  linger end dev1                              the connection of an identity
  linger end --listener app --over 10m --dry-run
  linger end 10.0.0.0/8 --age-over 12h --over 1h
  linger end --stop                            ends no more than were ended so far

Exit codes:
  0  the server does it; of a dry run, there are such connections
  1  there are none, no server answers, or it refuses
  2  the command line has a mistake";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    narrowing: Narrowing,
    /// Every client of the server
    #[arg(long, conflicts_with_all = ["target", "listener", "state", "age_over"])]
    all: bool,
    /// Spread the endings evenly over this time, so that the clients do not all come back at once
    #[arg(long, value_name = "TIME", value_parser = time)]
    over: Option<String>,
    /// End nobody: tell how many it would be, and some of them
    #[arg(long)]
    dry_run: bool,
    /// End no more of those that earlier commands have begun to end
    #[arg(long, conflicts_with_all = ["target", "listener", "state", "age_over", "all", "over", "dry_run"])]
    stop: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    if arguments.stop {
        return arguments.admin.act("/connections/end?stop=true");
    }
    let filters = arguments.narrowing.filters();
    if filters.is_empty() && !arguments.all {
        console::err("linger: end whom? Name a target or a filter, or say --all");
        return usage_mistake();
    }
    if arguments.dry_run {
        return preview(arguments);
    }
    match &arguments.narrowing.target {
        // By its key, it is one: there is nothing to spread.
        Some(key) if readings(key)[0].0 == "key" => {
            arguments.admin.act(&format!("/connections/{}/end", encoded(key)))
        }
        _ => {
            let all = if arguments.all { vec!["all=true".to_owned()] } else { Vec::new() };
            let over = arguments.over.iter().map(|over| format!("over={}", encoded(over)));
            let list = match meant(arguments, 1) {
                Ok(list) => list,
                Err(code) => return code,
            };
            // A worker that does not answer now may have some, and hears of it all the same.
            let is_whole = list["unanswered_workers"].as_array().is_none_or(Vec::is_empty);
            if is_whole && list["matched"] == 0 {
                console::err("linger: there is no such connection; nothing was ended");
                return ExitCode::FAILURE;
            }
            let query: Vec<_> = filters.into_iter().chain(all).chain(over).collect();
            arguments.admin.act(&format!("/connections/end?{}", query.join("&")))
        }
    }
}

/// Whom the filters mean: how many, and so many of them at most.
fn meant(arguments: &Arguments, limit: u32) -> Result<Value, ExitCode> {
    let query = arguments.narrowing.behind_others();
    let (_, list) = arguments.admin.get(&format!("/connections?clients=true&limit={limit}{query}"))?;
    Ok(list)
}

/// Prints who would be ended.
fn preview(arguments: &Arguments) -> ExitCode {
    let list = match meant(arguments, 100) {
        Ok(list) => list,
        Err(code) => return code,
    };
    let (text, found) = told(&list);
    match print(text.as_bytes()) {
        code if found => code,
        _ => ExitCode::FAILURE,
    }
}

/// How many connections a list has, and some of them.
fn told(list: &Value) -> (String, bool) {
    /// Connections that are shown.
    const SHOWN: usize = 5;
    let clients: Vec<_> = list["connections"].as_array().into_iter().flatten().collect();
    let matched = list["matched"].as_u64().unwrap_or_default();
    let mut text =
        format!("{} {} would be ended\n", thousands(matched), plural(matched, "connection", "connections"));
    for row in clients.iter().take(SHOWN) {
        let field = |name: &str| row[name].as_str().unwrap_or_default();
        let _ = writeln!(
            text,
            "  {:<8} {:<21} {:<8} {:<10} {}",
            field("key"),
            field("peer"),
            field("listener"),
            field("state"),
            printable(field("id"))
        );
    }
    if clients.len() > SHOWN {
        text.push_str("  and others\n");
    }
    (text, matched > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_dry_run_tells_how_many_and_some_of_them() {
        let row = |key: &str, listener: &str| json!({"key": key, "peer": "10.0.0.1:7", "listener": listener, "state": "open", "id": "dev1"});
        let list = json!({"matched": 2, "connections": [row("1-1", "app"), row("3-1", "app")]});
        let (text, found) = told(&list);
        assert!(found);
        assert_eq!(
            text,
            "2 connections would be ended\n  1-1      10.0.0.1:7            app      open       dev1\n  3-1      \
             10.0.0.1:7            app      open       dev1\n"
        );
        let rows: Vec<_> = (0..9).map(|_| row("1-1", "app")).collect();
        let (text, _) = told(&json!({"matched": 1234, "connections": rows}));
        assert!(text.starts_with("1,234 connections") && text.ends_with("  and others\n"), "{text}");
        assert_eq!(told(&json!({"matched": 0})), ("0 connections would be ended\n".to_owned(), false));
    }
}
