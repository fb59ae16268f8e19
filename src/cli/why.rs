//! `linger why`: how and when a client left, from the last endings that a running server has. Of a gateway's pair, each ending
//! is told with that of the other side. [`sentences`] has what is said.

mod sentences;

use super::admin::{AdminArgs, encoded, readings, span_of, time};
use super::lang::LangArgs;
use super::{print, usage_mistake};
use crate::core::escape::printable;
use crate::guide::Language;
use crate::protocol::admin::PAIRS_MAX;
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
  linger why dev1 --lang zh

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
    /// JSON, as GET /ends answers; of a gateway's pair, `partner` is the ending of the other side
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    lang: LangArgs,
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
    let told = || told(arguments, what, &now, &ends, arguments.lang.language());
    let lines = || told().lines().map(|line| printable(line) + "\n").collect();
    let text = if arguments.json { body } else { lines() };
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
    let (mut body, mut ends) = arguments.admin.get(&path)?;
    if add_partners(&mut ends, |path| Ok(arguments.admin.get(path)?.1))? {
        body = format!("{ends}\n");
    }
    // Of all clients, those that are there are no answer.
    let Some(target) = target else { return Ok((Vec::new(), ends, body)) };
    let (_, now) = arguments.admin.get(&format!("/connections?limit=100{target}"))?;
    Ok((clients(&now), ends, body))
}

/// Gives each ending of a pair that of the other side, where the server has it: that side may be there still, or its ending had
/// to make way. Whether there was one.
fn add_partners(ends: &mut Value, ask: impl Fn(&str) -> Result<Value, ExitCode>) -> Result<bool, ExitCode> {
    let mut known = list(&ends["ends"]).to_vec();
    let mut wanted: Vec<_> = known.iter().filter(|row| partner_of(row, &known).is_none()).collect();
    wanted.retain(|row| row.get("pair").is_some());
    let pairs: Vec<_> = wanted.into_iter().map(|row| encoded(text(row, "pair"))).collect();
    for pairs in pairs.chunks(PAIRS_MAX) {
        // Two legs each, and those to servers that were tried before.
        let answer = ask(&format!("/ends?limit={}&pair={}", 10 * PAIRS_MAX, pairs.join(",")))?;
        known.extend_from_slice(list(&answer["ends"]));
    }
    let mut found = false;
    for row in ends["ends"].as_array_mut().into_iter().flatten() {
        if let Some(partner) = partner_of(row, &known).cloned() {
            row["partner"] = partner;
            found = true;
        }
    }
    Ok(found)
}

/// The ending of the other side of its pair: newest first, so that of the server that was reached.
pub(super) fn partner_of<'a>(row: &Value, known: impl IntoIterator<Item = &'a Value>) -> Option<&'a Value> {
    let other = match text(row, "leg") {
        "client" => "upstream",
        "upstream" => "client",
        _ => return None,
    };
    known.into_iter().find(|known| is_leg(known, text(row, "pair"), other))
}

/// Whether it is the ending of that leg of that pair.
fn is_leg(row: &Value, pair: &str, leg: &str) -> bool {
    text(row, "pair") == pair && text(row, "leg") == leg
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
fn told(arguments: &Arguments, what: &str, now: &[Value], ends: &Value, language: Language) -> String {
    let mut out = String::new();
    for connection in now.iter().take(NOW_SHOWN) {
        let _ = writeln!(out, "{}", sentences::connected(connection, language));
        if let Some(time) = connection.get("suspect_for_s").map(span_of) {
            let _ = writeln!(out, "{}", sentences::suspect(&time, text(connection, "verdict"), language));
        }
        let is_server = text(connection, "leg") == "upstream";
        if connection.get("heartbeat").is_some_and(Value::is_null) && !is_server {
            let _ = writeln!(out, "{}", sentences::no_heartbeat(language));
        }
    }
    if now.len() > NOW_SHOWN {
        let _ = writeln!(out, "{}", sentences::others(language));
    }
    let rows = list(&ends["ends"]);
    if !out.is_empty() {
        out.push('\n');
    }
    let mut reasons = Vec::new();
    for row in rows {
        ending(row, language, &mut out);
        if let Some(partner) = row.get("partner") {
            let is_listed =
                rows.iter().any(|other| is_leg(other, text(partner, "pair"), text(partner, "leg")));
            side(partner, is_listed, language, &mut out);
        }
        out.push('\n');
        reasons.extend(sentences::reason_of(row).filter(|reason| !reasons.contains(reason)));
    }
    for reason in reasons {
        let _ = writeln!(out, "{}\n", sentences::advice(reason, language));
    }
    if rows.is_empty() {
        let target = arguments.target.as_deref().map(|target| (what, target));
        let (last, reason) = (arguments.last.as_deref(), arguments.reason.as_deref());
        let _ = writeln!(out, "{}", sentences::none_found(target, last, reason, language));
    } else if !ends["before"].is_null() {
        let _ = writeln!(out, "{}", sentences::more(arguments.limit, language));
    }
    out + &sentences::reach(ends, language)
}

/// One ending.
pub(super) fn ending(row: &Value, language: Language, out: &mut String) {
    let _ = writeln!(out, "{}", sentences::heading(row, language));
    let sentences = sentences::what(row, language).into_iter().chain([sentences::whose(row, language)]);
    for sentence in sentences.chain(sentences::account(row, language)) {
        let _ = writeln!(out, "  {sentence}");
    }
}

/// How the other side of its pair ended; in a line, if that is among the endings that are told.
pub(super) fn side(partner: &Value, is_listed: bool, language: Language, out: &mut String) {
    let _ = writeln!(out, "  {}", sentences::other_side(partner, language));
    if !is_listed {
        for sentence in sentences::account(partner, language) {
            let _ = writeln!(out, "    {sentence}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guide::names_kept;
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
        let told = told(&arguments("why dev1 --limit 1"), "identity", &now, &ends, Language::English);
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

    /// The two legs of a pair.
    fn legs() -> [Value; 2] {
        [
            json!({
                "time": "2026-11-27T08:27:16.250Z", "ago_s": 75.0, "key": "3-9", "peer": "10.0.0.7:51234", "listener": "gate",
                "identity": "dev1", "reason": "lost.heartbeat", "detector": "heartbeat", "close": "reset", "silence_s": 45.0,
                "age_s": 90.0, "bytes_in": 10, "bytes_out": 20, "unsent_bytes": 5, "leg": "client", "pair": "3-9",
                "tcp_state": "ESTABLISHED", "unacked": 2, "retransmits": 3, "probes": 4, "last_ack_recv_ms": 44_800,
                "last_data_recv_ms": 45_000, "snd_wnd": 100, "by_key": "7-1", "by_peer": "10.0.0.8:1", "by_identity": "ops",
                "user": "root", "spoke": "http", "alert": "peer:unknown_ca", "sni": "a.example", "alpn": "h2", "proxy": "10.9.9.9:1",
            }),
            json!({
                "time": "2026-11-27T08:27:16.251Z", "ago_s": 75.0, "key": "4-10", "peer": "10.0.0.5:9001", "listener": "gate",
                "identity": "", "reason": "lost.heartbeat", "detector": "partner", "close": "linger2", "silence_s": 1.5,
                "age_s": 89.0, "bytes_in": 25, "bytes_out": 10, "unsent_bytes": 0, "leg": "upstream", "pair": "3-9",
            }),
        ]
    }

    #[test]
    fn of_a_pair_each_ending_is_told_with_that_of_the_other_side() {
        let [client, upstream] = legs();
        let asked = arguments("why 3-9");
        let told = |ends: &Value| told(&asked, "connection", &[], ends, Language::English);
        let cannot_be_asked = |_: &str| -> Result<Value, ExitCode> { panic!("all are known") };
        let asks = |expected: &'static str, answer: Value| {
            move |path: &str| {
                assert_eq!(path, expected);
                Ok(json!({ "ends": answer }))
            }
        };
        let path = "/ends?limit=1000&pair=3-9";
        for (row, other, expected) in [
            (
                &client,
                &upstream,
                "
  Its server's side: 4-10 to 10.0.0.5:9001 ended with lost.heartbeat.
    It was silent for 1.5s. 25 bytes were received from it, and 10 bytes sent to it.
    The other connection of its pair had ended.
    This side closed first, with TCP_LINGER2 = -1: output that was queued is delivered, and no TIME_WAIT stays.

lost.heartbeat usually means: ",
            ),
            (
                &upstream,
                &client,
                "
  Its client's side: 3-9 from 10.0.0.7:51234, identity dev1, ended with lost.heartbeat.
    It was silent for 45s. 10 bytes were received from it, and 20 bytes sent to it; 5 bytes were not delivered.
    Its heartbeat timeout and grace had passed.
",
            ),
        ] {
            let mut ends = json!({ "ends": [row] });
            assert_eq!(add_partners(&mut ends, asks(path, json!([client, upstream]))), Ok(true));
            assert_eq!(&ends["ends"][0]["partner"], other);
            assert!(told(&ends).contains(expected), "{}", told(&ends));
        }
        // Both are told anyway: each has a line about the other.
        let mut both = json!({ "ends": [upstream, client] });
        assert_eq!(add_partners(&mut both, cannot_be_asked), Ok(true));
        let said = told(&both);
        assert!(said.contains("ended with lost.heartbeat.\n\n2026-11-27 08:27:16 UTC"), "{said}");
        assert!(said.contains("  Its server's side: ") && said.contains("  Its client's side: "), "{said}");
        assert!(!said.contains("    It was silent"), "{said}");
        // That side is still there, and there is nothing else in the answer.
        let mut one = json!({ "ends": [client] });
        assert_eq!(add_partners(&mut one, asks(path, json!([client]))), Ok(false));
        assert!(!told(&one).contains("side:"), "{}", told(&one));
        let mut plain = json!({ "ends": [{ "key": "1-1" }] });
        assert_eq!(add_partners(&mut plain, cannot_be_asked), Ok(false));
    }

    #[test]
    fn of_a_client_that_never_said_a_word_both_usual_causes_are_told() {
        let told = |row: &Value, language| {
            let ends = json!({ "ends": [row] });
            told(&arguments("why"), "", &[], &ends, language)
        };
        let cases = [
            (Language::English, "  It never said a word: ", ["port scan", "device that hung"]),
            (Language::Chinese, "  它从未发来任何数据：", ["端口扫描", "卡死的设备"]),
        ];
        for (language, sentence, causes) in cases {
            for reason in ["protocol.handshake_timeout", "stuck.frozen", "lost.heartbeat"] {
                let mute = json!({ "reason": reason, "bytes_in": 0, "leg": "client" });
                let said = told(&mute, language);
                let line = said.lines().find(|line| line.starts_with(sentence));
                let line = line.unwrap_or_else(|| panic!("{reason}: {said}"));
                assert!(causes.iter().all(|cause| line.contains(cause)), "{line}");
            }
            for other in [
                json!({ "reason": "stuck.frozen", "bytes_in": 1 }),
                json!({ "reason": "peer.fin", "bytes_in": 0 }),
                json!({ "reason": "stuck.frozen", "bytes_in": 0, "leg": "upstream" }),
            ] {
                assert!(!told(&other, language).contains(sentence), "{other}");
            }
        }
        // Of one that began and did not finish, the reason itself has both.
        for (language, causes) in [
            (Language::English, ["A port scan or a check of health", "a device that hung"]),
            (Language::Chinese, ["端口扫描或健康检查", "设备还没说第一句话"]),
        ] {
            let said = told(&json!({ "reason": "protocol.handshake_timeout", "bytes_in": 9 }), language);
            assert!(causes.iter().all(|cause| said.contains(cause)), "{said}");
        }
    }

    #[test]
    fn what_is_told_has_the_same_lines_names_and_numbers_in_both_languages() {
        let [mut client, upstream] = legs();
        client["partner"] = upstream.clone();
        let mut lonely = upstream;
        lonely["reason"] = json!("upstream.reset");
        let now = [
            json!({ "key": "1-3", "listener": "gate", "peer": "10.0.0.7:51236", "state": "suspect", "age_s": 70.0,
                "silence_s": 2.5, "heartbeat": null, "suspect_for_s": 9.0, "verdict": "stuck.frozen" }),
            json!({ "key": "1-4", "listener": "gate", "peer": "10.0.0.7:51237", "state": "suspect", "age_s": 70.0,
                "silence_s": 2.5, "suspect_for_s": 9.0 }),
        ];
        let now = [&now[..], &vec![now[1].clone(); NOW_SHOWN]].concat();
        for ends in [
            json!({ "ends": [client, lonely], "before": "4", "kept": 5, "dropped": 1200, "reach_s": 600.0,
                "history_bytes": 65_536, "unanswered_workers": [1] }),
            json!({ "ends": [], "kept": 5, "dropped": 0, "reach_s": 600.0, "history_bytes": 65_536, "from_start": true }),
            json!({ "ends": [], "kept": 5, "dropped": 0, "reach_s": 600.0, "history_bytes": 65_536 }),
            json!({ "ends": [] }),
        ] {
            let asked = arguments("why dev1 --last 1h --reason lost.*");
            let [english, chinese] = [Language::English, Language::Chinese]
                .map(|language| told(&asked, "identity", &now, &ends, language));
            let chinese_typed = chinese.replace(" --lang zh", "");
            assert_eq!(names_kept(&english, &chinese_typed), Ok(()), "{english}{chinese}");
            for (line, other) in english.lines().zip(chinese_typed.lines()) {
                let numbers = |text: &str| -> Vec<String> {
                    let numbers =
                        text.split(|c: char| !c.is_ascii_digit()).filter(|number| !number.is_empty());
                    let mut numbers: Vec<_> = numbers.map(str::to_owned).collect();
                    numbers.sort_unstable();
                    numbers
                };
                assert_eq!(numbers(line), numbers(other), "{line}\n{other}");
                assert!(other.is_empty() || !other.is_ascii(), "{other}");
            }
            assert_eq!(english.lines().count(), chinese.lines().count(), "{chinese}");
        }
    }

    #[test]
    fn where_nothing_is_found_it_says_how_far_back_it_looked() {
        let one = json!({
            "ends": [], "kept": 1, "dropped": 0, "reach_s": 60.0, "from_start": true, "history_bytes": 65_536,
        });
        let asked = arguments("why dev1 --last 1h --reason lost.*");
        assert_eq!(
            told(&asked, "identity", &[], &one, Language::English),
            "No ending of the identity dev1 is known within 1h for lost.*.\n\
             The server has the last 1 ending of all its clients, and reaches back 1m 00s, to its start.\n"
        );
        // Of several workers, one may have been started later; and the history may have been off before.
        for (name, value) in [("unanswered_workers", json!([])), ("from_start", json!(false))] {
            let mut ends = one.clone();
            ends[name] = value;
            let told = told(&asked, "identity", &[], &ends, Language::English);
            assert!(told.ends_with(", and reaches back 1m 00s.\n"), "{told}");
        }
        let off = json!({ "ends": [], "kept": 0, "dropped": 0, "reach_s": 0.0, "history_bytes": 0 });
        assert!(
            told(&asked, "identity", &[], &off, Language::English).ends_with("server.history is \"off\".\n")
        );
    }
}
