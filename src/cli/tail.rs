//! `linger tail`: what happens at a running server, a line each.

use super::admin::{AdminArgs, encoded, failed, readings, refused, span_of};
use super::follow::{Ended, Message, News, follow};
use super::{console, failure};
use crate::core::escape::printable;
use crate::core::units::{plural, thousands};
use clap::Args;
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::process::ExitCode;

pub(super) const EXAMPLES: &str = "\
Examples:
  linger tail                                everything, as it happens
  linger tail dev1                           one identity
  linger tail 10.0.0.0/8 --event ended --reason 'lost.*'
  linger tail --json | jq -r 'select(.event == \"ended\") | .reason'

Exit codes:
  0  as many events came as --count says, or the output was closed
  1  no server answers, or it refuses
  2  the command line has a mistake";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Only what happens to this: an identity, an address, address:port or network, or the key of a connection
    ///
    /// What could be several of these is taken for a key or an address first. Nothing is told then of the server as a whole.
    target: Option<String>,
    /// Only these events, with commas between them, as in ended,suspect
    #[arg(long, value_name = "EVENTS")]
    event: Option<String>,
    /// Only endings for reasons that match, as in 'lost.*'
    #[arg(long, value_name = "PATTERN")]
    reason: Option<String>,
    /// Only what happens to connections of this listener
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// First all that is still known of what happened, since somebody watched
    #[arg(long)]
    all: bool,
    /// End after so many events
    #[arg(long, value_name = "NUMBER")]
    count: Option<u64>,
    #[command(flatten)]
    admin: AdminArgs,
    /// Each as JSON in one line, as GET /events tells it
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let mut told = 0;
    let mut printed = Ok(true);
    let ended = follow(&arguments.admin, &query(arguments), |news| {
        let line = match news {
            News::Lost(why) => {
                console::err(format_args!("linger: {why}; trying again"));
                return ControlFlow::Continue(());
            }
            News::Message(message) if matches!(message.name.as_str(), "start" | "dropped") => {
                if let Some(note) = note(&message) {
                    console::err(format_args!("linger: {note}"));
                }
                return ControlFlow::Continue(());
            }
            News::Message(message) if arguments.json => message.data.to_string(),
            News::Message(message) => line(&message),
        };
        printed = console::out_on(format!("{line}\n").as_bytes());
        told += 1;
        let is_enough = !matches!(printed, Ok(true)) || arguments.count.is_some_and(|count| told >= count);
        if is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    match (ended, printed) {
        (Ended::Refused(answer), _) => refused(&answer),
        (Ended::Unreachable(why), _) => failed(&why),
        (Ended::Enough, Err(error)) => failure(&error),
        (Ended::Enough, Ok(_)) => ExitCode::SUCCESS,
    }
}

/// The query of the request.
fn query(arguments: &Arguments) -> String {
    let target = arguments.target.as_ref().map(|target| (readings(target)[0].0, target.clone()));
    let given = [
        ("event", &arguments.event),
        ("reason", &arguments.reason),
        ("listener", &arguments.listener),
        ("after", &arguments.all.then(|| "0".to_owned())),
    ];
    let given = given.into_iter().filter_map(|(name, value)| Some((name, value.clone()?)));
    let mut query = String::new();
    for (name, value) in target.into_iter().chain(given) {
        query.push(if query.is_empty() { '?' } else { '&' });
        let _ = write!(query, "{name}={}", encoded(&value));
    }
    query
}

/// What is to be said of a message that is no event, if something is missing.
fn note(message: &Message) -> Option<String> {
    let missed = &message.data["missed"];
    match (message.name.as_str(), missed.as_u64()) {
        ("start", Some(0)) => None,
        ("start", Some(missed)) => Some(format!("{} before this had to make way", events(missed))),
        ("start", None) => {
            Some("the server was started anew: what happened meanwhile is not known".to_owned())
        }
        (_, missed) => {
            let missed = events(missed.unwrap_or_default());
            Some(format!(
                "{missed} had to make way: not read fast enough, or a worker ended before they were"
            ))
        }
    }
}

fn events(number: u64) -> String {
    counted(number, "event", "events")
}

fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(number), plural(number, one, many))
}

/// An event as people read it: when, what, whose, and what more there is to say.
pub(super) fn line(message: &Message) -> String {
    let data = &message.data;
    let text = |field: &str| data[field].as_str().unwrap_or_default();
    // The day is of no use to one who watches.
    let time = text("time").split_once('T').map_or("", |(_, time)| time.trim_end_matches('Z'));
    let mut line = format!("{time:<12} {:<14}", message.name);
    if !text("key").is_empty() {
        let _ = write!(line, " {:<8} {:<21} {:<8}", text("key"), text("peer"), text("listener"));
        if !text("identity").is_empty() {
            let _ = write!(line, " {}", text("identity"));
        }
    }
    let more = more(message, &text);
    if !more.is_empty() {
        let _ = write!(line, "  {more}");
    }
    printable(line.trim_end())
}

/// What only events of its kind have to say.
fn more<'a>(message: &'a Message, text: &impl Fn(&'a str) -> &'a str) -> String {
    let data = &message.data;
    let worker = || data["worker"].as_u64().map_or(String::new(), |worker| format!("worker {worker}: "));
    match message.name.as_str() {
        "ended" => format!(
            "{} by {}, {}; lived {}, silent for {}",
            text("reason"),
            text("detector"),
            text("close"),
            span_of(&data["age_s"]),
            span_of(&data["silence_s"]),
        ),
        "suspect" => format!("{}: silent for {}", text("detector"), span_of(&data["silence_s"])),
        "verdict" => format!(
            "{} by {}, and kept; silent for {}",
            text("reason"),
            text("detector"),
            span_of(&data["silence_s"])
        ),
        "replaced" => format!("by {} from {}", text("by_key"), text("by_peer")),
        "stalled" => match (text("what"), text("listener"), text("why")) {
            ("loop", ..) => format!("{}the loop was stalled for {}", worker(), span_of(&data["lasted_s"])),
            (_, listener, "") => {
                format!("{}{listener} accepts again after {}", worker(), span_of(&data["lasted_s"]))
            }
            (_, listener, why) => format!("{}{listener} does not accept: {why}", worker()),
        },
        "drain" => {
            let over = format!("over {}", span_of(&data["spread_s"]));
            let connections = data["connections"].as_u64();
            connections.map_or_else(
                || format!("all connections, {over}"),
                |number| format!("{}, {over}", counted(number, "connection", "connections")),
            )
        }
        "reload" if data["applied"] == true => format!("{}applied", worker()),
        "reload" => {
            let mistakes = data["mistakes"].as_u64().unwrap_or_default();
            format!("{}refused: {}", worker(), counted(mistakes, "mistake", "mistakes"))
        }
        "server_up" | "server_down" => format!(
            "{}{} of {}, by {} ({})",
            worker(),
            text("server"),
            text("upstream"),
            text("by"),
            text("reason")
        ),
        "worker_started" => format!("{}process {}", worker(), data["pid"]),
        "worker_ended" => {
            format!("{}{}; lived {}", worker(), text("status"), span_of(&data["lived_s"]))
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn told(name: &str, data: Value) -> String {
        line(&Message { name: name.to_owned(), data })
    }

    #[test]
    fn each_event_is_one_line_for_people() {
        let whose = |more: Value| {
            let mut data = json!({
                "time": "2026-11-27T12:50:29.363Z", "key": "2-3", "peer": "127.0.0.1:43492", "listener": "resp",
                "identity": "dev1",
            });
            let fields = data.as_object_mut().unwrap();
            fields.extend(more.as_object().unwrap().clone());
            data
        };
        for (name, more, expected) in [
            ("opened", json!({"identity": ""}), "opened         2-3      127.0.0.1:43492       resp"),
            ("revived", json!({}), "revived        2-3      127.0.0.1:43492       resp     dev1"),
            (
                "suspect",
                json!({"detector": "heartbeat", "silence_s": 1.5}),
                "suspect        2-3      127.0.0.1:43492       resp     dev1  heartbeat: silent for 1.5s",
            ),
            (
                "verdict",
                json!({"reason": "lost.heartbeat", "detector": "heartbeat", "silence_s": 1.5}),
                "verdict        2-3      127.0.0.1:43492       resp     dev1  lost.heartbeat by heartbeat, and kept; \
                 silent for 1.5s",
            ),
            (
                "ended",
                json!({"reason": "lost.heartbeat", "detector": "heartbeat", "close": "reset", "age_s": 60.0,
                    "silence_s": 2.0}),
                "ended          2-3      127.0.0.1:43492       resp     dev1  lost.heartbeat by heartbeat, reset; lived \
                 1m 00s, silent for 2.0s",
            ),
            (
                "replaced",
                json!({"by_key": "4-5", "by_peer": "[::1]:1"}),
                "replaced       2-3      127.0.0.1:43492       resp     dev1  by 4-5 from [::1]:1",
            ),
        ] {
            assert_eq!(told(name, whose(more)), format!("12:50:29.363 {expected}"));
        }
    }

    #[test]
    fn what_is_missing_is_said() {
        let said = |name: &str, missed: Value| {
            note(&Message { name: name.to_owned(), data: json!({ "missed": missed }) })
        };
        assert_eq!(said("start", json!(0)), None);
        assert_eq!(said("start", json!(1)).as_deref(), Some("1 event before this had to make way"));
        let anew = "the server was started anew: what happened meanwhile is not known";
        assert_eq!(said("start", Value::Null).as_deref(), Some(anew));
        let dropped =
            "1,200 events had to make way: not read fast enough, or a worker ended before they were";
        assert_eq!(said("dropped", json!(1200)).as_deref(), Some(dropped));
    }

    #[test]
    fn what_happens_to_the_server_is_said_in_words() {
        for (name, data, expected) in [
            ("drain", json!({"connections": 1, "spread_s": 5.0}), "1 connection, over 5.0s"),
            ("drain", json!({"spread_s": 5.0}), "all connections, over 5.0s"),
            ("reload", json!({"applied": true, "worker": 2}), "worker 2: applied"),
            ("reload", json!({"applied": false, "mistakes": 2}), "refused: 2 mistakes"),
            ("stalled", json!({"what": "loop", "lasted_s": 0.5}), "the loop was stalled for 500ms"),
            (
                "stalled",
                json!({"what": "accept", "listener": "echo", "why": "no descriptors"}),
                "echo does not accept: no descriptors",
            ),
            (
                "stalled",
                json!({"what": "accept", "listener": "echo", "lasted_s": 2.0}),
                "echo accepts again after 2.0s",
            ),
            (
                "server_down",
                json!({"server": "10.0.0.1:1", "upstream": "app", "by": "check", "reason": "refused"}),
                "10.0.0.1:1 of app, by check (refused)",
            ),
            ("worker_started", json!({"worker": 1, "pid": 7}), "worker 1: process 7"),
            (
                "worker_ended",
                json!({"worker": 1, "status": "killed by SIGKILL", "lived_s": 2.0}),
                "worker 1: killed by SIGKILL; lived 2.0s",
            ),
        ] {
            assert_eq!(told(name, data).trim_start(), format!("{name:<14}  {expected}"));
        }
    }
}
