//! `linger why`: how and when a client left, from the last endings that a running server has, in sentences.

use super::admin::{AdminArgs, encoded, readings, span_of, time};
use super::{print, usage_mistake};
use crate::core::end::{CloseMode, Detector, Reason};
use crate::core::escape::printable;
use crate::core::time::Duration;
use crate::core::units::{bytes, plural, span, thousands};
use crate::guide::Language;
use crate::guide::meaning::{self, Meaning};
use clap::Args;
use serde_json::Value;
use std::fmt::Write as _;
use std::process::ExitCode;

pub(super) const EXAMPLES: &str = "\
Examples:
  linger why dev1                            every ending of that identity that is still known
  linger why                                 the last endings of all clients
  linger why 10.0.0.0/8 --reason 'lost.*' --last 1h
  linger why 2.17-4711 --json | jq '.ends[0]'

Exit codes:
  0  an ending was found
  1  none was found, or no answer came
  2  the command line has a mistake";

/// Connections that are told of one by one.
const NOW_SHOWN: usize = 5;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Whose endings: an identity, an address, address:port or network, or the key of a connection; without it, of all
    ///
    /// What could be several of these is looked for as a key or address first, then as an identity.
    target: Option<String>,
    /// Only endings in this time, as in 1h
    #[arg(long, value_name = "TIME", value_parser = time)]
    last: Option<String>,
    /// Only endings for reasons that match, as in 'lost.*'
    #[arg(long, value_name = "PATTERN")]
    reason: Option<String>,
    /// Most endings that are told, the newest first
    #[arg(long, value_name = "NUMBER", default_value_t = 10)]
    limit: u32,
    #[command(flatten)]
    admin: AdminArgs,
    /// JSON, as GET /ends answers
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let mut last = None;
    let filters = arguments.target.as_deref().map_or_else(|| vec![("", "")], readings);
    for (filter, what) in filters {
        match ask(arguments, filter) {
            Ok((now, ends, body)) => {
                let is_known = !now.is_empty() || !list(&ends["ends"]).is_empty();
                last.get_or_insert((what, now.clone(), ends.clone(), body.clone()));
                if is_known {
                    last = Some((what, now, ends, body));
                    break;
                }
            }
            Err(code) => return code,
        }
    }
    let Some((what, now, ends, body)) = last else { return usage_mistake() };
    let found = !list(&ends["ends"]).is_empty();
    let told = || told(arguments, what, &now, &ends).lines().map(|line| printable(line) + "\n").collect();
    let text = if arguments.json { body } else { told() };
    match print(text.as_bytes()) {
        code if found => code,
        _ => ExitCode::FAILURE,
    }
}

/// Asks for the connections and the endings that pass a filter.
fn ask(arguments: &Arguments, filter: &str) -> Result<(Vec<Value>, Value, String), ExitCode> {
    let target = arguments.target.as_deref().map(|target| format!("&{filter}={}", encoded(target)));
    let mut path = format!("/ends?limit={}{}", arguments.limit, target.as_deref().unwrap_or_default());
    let given = [("last", &arguments.last), ("reason", &arguments.reason)];
    for (name, value) in given.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
        let _ = write!(path, "&{name}={}", encoded(value));
    }
    let (body, ends) = arguments.admin.get(&path)?;
    // Of all clients, those that are there are no answer.
    let Some(target) = target else { return Ok((Vec::new(), ends, body)) };
    let (_, now) = arguments.admin.get(&format!("/connections?limit=100{target}"))?;
    Ok((clients(&now), ends, body))
}

/// The connections of an answer, without those of the admin interface: one of them asks.
fn clients(now: &Value) -> Vec<Value> {
    list(&now["connections"]).iter().filter(|row| row["listener"] != "admin").cloned().collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_default()
}

fn count(row: &Value, field: &str) -> u64 {
    row[field].as_u64().unwrap_or_default()
}

/// All that is told.
fn told(arguments: &Arguments, what: &str, now: &[Value], ends: &Value) -> String {
    let mut out = String::new();
    for connection in now.iter().take(NOW_SHOWN) {
        let _ = writeln!(
            out,
            "Connected now: {} on listener {} from {}, {}, connected for {}; last heard from {} ago.",
            text(connection, "key"),
            text(connection, "listener"),
            text(connection, "peer"),
            text(connection, "state"),
            span_of(&connection["age_s"]),
            span_of(&connection["silence_s"]),
        );
        let suspect_for = connection.get("suspect_for_s").map(span_of);
        let verdict = text(connection, "verdict");
        let _ = match suspect_for {
            None => Ok(()),
            Some(time) if verdict.is_empty() => {
                writeln!(out, "It has been suspect for {time}: there is no verdict on its silence yet.")
            }
            Some(time) => writeln!(
                out,
                "It has been suspect for {time}: the verdict {verdict} was reported, and the connection is kept because \
                 heartbeat.verdict = \"report\" ('linger explain {verdict}')."
            ),
        };
        let is_server = text(connection, "leg") == "upstream";
        if connection.get("heartbeat").is_some_and(Value::is_null) && !is_server {
            out.push_str(
                "It is asked for no heartbeat of its own, without which nobody notices that its program hangs ('linger explain \
                 heartbeats').\n",
            );
        }
    }
    if now.len() > NOW_SHOWN {
        let _ = writeln!(out, "And others; GET /connections lists them.");
    }
    let rows = list(&ends["ends"]);
    if !out.is_empty() {
        out.push('\n');
    }
    let mut reasons = Vec::new();
    for row in rows {
        ending(row, &mut out);
        let reason = Reason::ALL.iter().copied().find(|reason| reason.name() == text(row, "reason"));
        reasons.extend(reason.filter(|reason| !reasons.contains(reason)));
    }
    for reason in reasons {
        let Meaning { usually, advice, .. } = meaning::of(reason, Language::English);
        let _ = writeln!(out, "{reason} usually means: {usually}\nWhat to do: {advice}\n");
    }
    if rows.is_empty() {
        let within = arguments.last.as_ref().map(|last| format!(" within {last}")).unwrap_or_default();
        let why = arguments.reason.as_ref().map(|why| format!(" for {why}")).unwrap_or_default();
        let whose =
            arguments.target.as_ref().map(|target| format!(" of the {what} {target}")).unwrap_or_default();
        let _ = writeln!(out, "No ending{whose} is known{within}{why}.");
    } else if !ends["before"].is_null() {
        let _ = writeln!(out, "There may be more: --limit tells of more than {}.", arguments.limit);
    }
    reach(ends, &mut out);
    out
}

/// One ending.
pub(super) fn ending(row: &Value, out: &mut String) {
    let when = text(row, "time").split('.').next().unwrap_or_default().replace('T', " ");
    let when = (!when.is_empty()).then(|| format!("{when} UTC"));
    // An event is told as it happens.
    let ago = row.get("ago_s").map(|_| format!("{} ago", span_of(&row["ago_s"])));
    let when: Vec<_> = when.into_iter().chain(ago).collect();
    let reason = text(row, "reason");
    let _ = writeln!(out, "{}: {reason}", when.join(", "));
    let mut say = |sentence: &str| {
        let _ = writeln!(out, "  {sentence}");
    };
    if let Some(reason) = Reason::ALL.iter().find(|known| known.name() == reason) {
        say(&format!("{} {}", subject(row), meaning::of(*reason, Language::English).what));
    }
    say(&whose(row));
    say(&traffic(row));
    let detector = text(row, "detector");
    if let Some(detector) = Detector::ALL.iter().find(|known| known.name() == detector) {
        say(meaning::noticed(*detector, Language::English));
    }
    for sentence in evidence(row) {
        say(&sentence);
    }
    let close = text(row, "close");
    if let Some(close) = CloseMode::ALL.iter().find(|known| known.name() == close) {
        say(meaning::closed(*close, Language::English));
    }
    out.push('\n');
}

/// Who has left.
fn subject(row: &Value) -> String {
    match (text(row, "leg"), text(row, "identity")) {
        // The leg to the server was ended for what its client did.
        ("upstream", _) if !text(row, "reason").starts_with("upstream.") => "Its client".to_owned(),
        ("upstream", _) => "The connection to the server".to_owned(),
        (_, "") => "The client".to_owned(),
        (_, identity) => identity.to_owned(),
    }
}

fn whose(row: &Value) -> String {
    let (key, listener, peer) = (text(row, "key"), text(row, "listener"), text(row, "peer"));
    let stayed = span_of(&row["age_s"]);
    match (text(row, "leg"), text(row, "pair")) {
        ("upstream", pair) => {
            format!(
                "The connection to the server was made to {peer} for client {pair} of listener {listener}, as {key}, and \
                 stayed {stayed}."
            )
        }
        _ => format!("It was {key} on listener {listener}, came from {peer}, and stayed {stayed}."),
    }
}

fn traffic(row: &Value) -> String {
    let amount = |of: &str, messages: &str| {
        let number = count(row, messages);
        let messages = match number {
            0 => String::new(),
            _ => format!(" in {} {}", thousands(number), plural(number, "message", "messages")),
        };
        format!("{}{messages}", bytes(count(row, of)))
    };
    let mut sentence = format!(
        "It was silent for {}. {} were received from it, and {} sent to it",
        span_of(&row["silence_s"]),
        amount("bytes_in", "messages_in"),
        amount("bytes_out", "messages_out"),
    );
    match count(row, "unsent_bytes") {
        0 => sentence.push('.'),
        unsent => {
            let _ = write!(sentence, "; {} were not delivered.", bytes(unsent));
        }
    }
    sentence
}

/// What is known beyond that.
fn evidence(row: &Value) -> Vec<String> {
    let mut sentences = Vec::new();
    if !text(row, "tcp_state").is_empty() {
        let millis = |field: &str| span(Duration::from_millis(count(row, field)));
        sentences.push(format!(
            "The kernel said: {}, {} sent and not acknowledged, {} retransmissions and {} probes without an answer; it last \
             had an acknowledgement {} and data {} before; the peer's window was {}.",
            text(row, "tcp_state"),
            segments(count(row, "unacked")),
            count(row, "retransmits"),
            count(row, "probes"),
            millis("last_ack_recv_ms"),
            millis("last_data_recv_ms"),
            bytes(count(row, "snd_wnd")),
        ));
    }
    if !text(row, "by_peer").is_empty() {
        let identity = match text(row, "by_identity") {
            "" => String::new(),
            identity => format!(", with identity {identity}"),
        };
        sentences.push(format!(
            "{} from {}{identity} brought it about.",
            text(row, "by_key"),
            text(row, "by_peer")
        ));
    }
    for (field, said) in [
        ("user", "It had logged in as"),
        ("spoke", "It spoke"),
        ("alert", "The alert of TLS, and whose it was:"),
        ("sni", "It asked for the server name"),
        ("alpn", "It asked for the protocol"),
        ("proxy", "It came through the proxy"),
    ] {
        if !text(row, field).is_empty() {
            sentences.push(format!("{said} {}.", text(row, field)));
        }
    }
    sentences
}

fn segments(number: u64) -> String {
    format!("{number} {}", plural(number, "segment", "segments"))
}

/// How far back the answer reaches.
fn reach(ends: &Value, out: &mut String) {
    if count(ends, "history_bytes") == 0 && list(&ends["unanswered_workers"]).is_empty() {
        out.push_str("The server keeps no endings: server.history is \"off\".\n");
        return;
    }
    let (kept, dropped) = (count(ends, "kept"), count(ends, "dropped"));
    let _ = write!(
        out,
        "The server has the last {} {} of all its clients, and reaches back {}",
        thousands(kept),
        plural(kept, "ending", "endings"),
        span_of(&ends["reach_s"])
    );
    // Each of several workers was started by itself, and what one knew that has ended is gone.
    let is_all = ends["from_start"] == true && ends["unanswered_workers"].is_null();
    let _ = match dropped {
        0 if is_all => writeln!(out, ", to its start."),
        0 => writeln!(out, "."),
        _ => writeln!(out, "; {} older made way (server.history sets the memory).", thousands(dropped)),
    };
    for worker in list(&ends["unanswered_workers"]) {
        let _ = writeln!(out, "Worker {worker} does not answer: its endings are missing.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use serde_json::json;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn arguments(line: &str) -> Arguments {
        Line::try_parse_from(line.split(' ')).unwrap().arguments
    }

    #[test]
    fn a_target_is_a_key_or_an_address_before_it_is_an_identity() {
        let filters = |target| readings(target).into_iter().map(|(filter, _)| filter).collect::<Vec<_>>();
        for (target, expected) in [
            ("dev1", vec!["identity"]),
            ("17-4711", vec!["key", "identity"]),
            ("2.17-4711", vec!["key", "identity"]),
            ("10.0.0.1", vec!["peer", "identity"]),
            ("10.0.0.1:80", vec!["peer", "identity"]),
            ("[::1]:80", vec!["peer", "identity"]),
            ("10.0.0.0/8", vec!["peer", "identity"]),
        ] {
            assert_eq!(filters(target), expected, "{target}");
        }
        assert!(Line::try_parse_from(["why", "dev1", "--last", "1"]).is_err());
    }

    #[test]
    fn an_ending_is_told_in_sentences() {
        let ends = json!({
            "ends": [{
                "time": "2026-11-27T08:27:16.250Z", "ago_s": 75.0, "number": 4, "key": "2.17-4711", "peer": "10.0.0.7:51234",
                "listener": "resp", "identity": "dev1", "reason": "lost.heartbeat", "detector": "heartbeat",
                "close": "reset", "silence_s": 45.0, "age_s": 7380.0, "bytes_in": 1229, "bytes_out": 1, "messages_in": 12,
                "messages_out": 1, "unsent_bytes": 7, "tcp_state": "ESTABLISHED", "retransmits": 3, "probes": 0, "unacked": 1,
                "last_ack_recv_ms": 44_800, "last_data_recv_ms": 45_000, "snd_wnd": 65_536, "notsent_bytes": 0,
            }],
            "before": "2.4", "kept": 5, "dropped": 1200, "reach_s": 600.0, "history_bytes": 65_536, "unanswered_workers": [1],
        });
        let now = clients(&json!({ "connections": [{ "listener": "admin" }, {
            "key": "1.3-9", "listener": "resp", "peer": "10.0.0.7:51236", "state": "open", "age_s": 70.0, "silence_s": 2.5, "heartbeat": null,
        }] }));
        let told = told(&arguments("why dev1 --limit 1"), "identity", &now, &ends);
        let expected = "\
Connected now: 1.3-9 on listener resp from 10.0.0.7:51236, open, connected for 1m 10s; last heard from 2.5s ago.
It is asked for no heartbeat of its own, without which nobody notices that its program hangs ('linger explain heartbeats').

2026-11-27 08:27:16 UTC, 1m 15s ago: lost.heartbeat
  dev1 was lost: its heartbeat did not come in time, and nothing of its host was heard either.
  It was 2.17-4711 on listener resp, came from 10.0.0.7:51234, and stayed 2h 03m.
  It was silent for 45s. 1.2 KiB in 12 messages were received from it, and 1 byte in 1 message sent to it; 7 bytes were not \
delivered.
  Its heartbeat timeout and grace had passed.
  The kernel said: ESTABLISHED, 1 segment sent and not acknowledged, 3 retransmissions and 0 probes without an answer; it \
last had an acknowledgement 44s and data 45s before; the peer's window was 64 KiB.
  It was closed by a reset (RST): nothing is left on this host.

lost.heartbeat usually means: ";
        assert!(told.starts_with(expected), "{told}");
        assert!(
            told.contains("\nWhat to do: ")
                && told.contains("\nThere may be more: --limit tells of more than 1.\n")
        );
        assert!(told.ends_with(
            "The server has the last 5 endings of all its clients, and reaches back 10m 00s; 1,200 older made way \
             (server.history sets the memory).\nWorker 1 does not answer: its endings are missing.\n"
        ), "{told}");
    }

    #[test]
    fn where_nothing_is_found_it_says_how_far_back_it_looked() {
        let one = json!({
            "ends": [], "kept": 1, "dropped": 0, "reach_s": 60.0, "from_start": true, "history_bytes": 65_536,
        });
        let asked = arguments("why dev1 --last 1h --reason lost.*");
        assert_eq!(
            told(&asked, "identity", &[], &one),
            "No ending of the identity dev1 is known within 1h for lost.*.\n\
             The server has the last 1 ending of all its clients, and reaches back 1m 00s, to its start.\n"
        );
        // Of several workers, one may have been started later; and the history may have been off before.
        for (name, value) in [("unanswered_workers", json!([])), ("from_start", json!(false))] {
            let mut ends = one.clone();
            ends[name] = value;
            let told = told(&asked, "identity", &[], &ends);
            assert!(told.ends_with(", and reaches back 1m 00s.\n"), "{told}");
        }
        let off = json!({ "ends": [], "kept": 0, "dropped": 0, "reach_s": 0.0, "history_bytes": 0 });
        assert!(told(&asked, "identity", &[], &off).ends_with("server.history is \"off\".\n"));
    }
}
