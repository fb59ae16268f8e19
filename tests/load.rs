//! `linger load` against `linger serve` on the real kernel: its counts agree with the server's, its latencies count
//! what a stall held up, its verdicts are the server's, and what it prints for programs has the promised shape.

mod common;

use common::{Server, until};
use serde_json::Value;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// A server whose grace is short; no connection makes a promise unless its client does.
fn server() -> Server {
    Server::start(&[
        "--listen",
        "resp://127.0.0.1:0?heartbeat.grace=2s&slow_time=1s",
        "--listen",
        "echo://127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
    ])
}

fn url(server: &Server, scheme: &str) -> String {
    format!("{scheme}://{}", server.address(scheme))
}

fn start(url: &str, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_linger"))
        .args(["load", url])
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts")
}

fn load(url: &str, arguments: &[&str]) -> Output {
    start(url, arguments).wait_with_output().expect("the child can be waited for")
}

/// What it prints for programs, checked against the schema.
fn json(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let run: Value = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error}: {text} {}", String::from_utf8_lossy(&output.stderr)));
    let mut mistakes = Vec::new();
    let schema = schema();
    conform(&run, &schema, &schema, "run", &mut mistakes);
    assert!(mistakes.is_empty(), "{mistakes:#?}");
    run
}

fn schema() -> Value {
    let output =
        Command::new(env!("CARGO_BIN_EXE_linger")).args(["load", "--schema"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(0));
    serde_json::from_slice(&output.stdout).expect("a schema is JSON")
}

/// The part of JSON Schema that ours uses; and that nothing is there which it does not describe.
fn conform(value: &Value, schema: &Value, root: &Value, at: &str, mistakes: &mut Vec<String>) {
    let schema = match schema["$ref"].as_str() {
        Some(reference) => root.pointer(reference.trim_start_matches('#')).expect("such a definition"),
        None => schema,
    };
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let fits = |name: &Value| *name == kind || (*name == "number" && kind == "integer");
    let typed = match schema["type"].as_array() {
        Some(kinds) => kinds.iter().any(fits),
        None => schema.get("type").is_none_or(fits),
    };
    let listed = schema["enum"].as_array().is_none_or(|all| all.contains(value));
    let constant = schema.get("const").is_none_or(|constant| constant == value);
    if !typed || !listed || !constant {
        mistakes.push(format!("{at}: {value}"));
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        conform(item, &schema["items"], root, &format!("{at}[{index}]"), mistakes);
    }
    for (name, field) in value.as_object().into_iter().flatten() {
        match schema["properties"].get(name).or(schema.get("additionalProperties")) {
            Some(described) => conform(field, described, root, &format!("{at}.{name}"), mistakes),
            None => mistakes.push(format!("{at}.{name} is not described")),
        }
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value.is_object() && value.get(name).is_none() {
            mistakes.push(format!("{at}.{name} is missing"));
        }
    }
}

fn count(run: &Value, path: &str) -> u64 {
    run.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("{path} of {run}"))
}

fn micros(run: &Value, path: &str) -> f64 {
    run.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path} of {run}"))
}

#[test]
fn its_counts_are_the_servers_counts() {
    let server = server();
    let output = load(&url(&server, "resp"), &["-c", "7", "-P", "3", "-d", "300ms", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let run = json(&output);
    let answered = count(&run, "/requests/answered");
    assert!(answered > 0);
    assert_eq!(answered, count(&run, "/requests/sent"));
    assert_eq!(answered, count(&run, "/latency_us/count"));
    // Each of its seven clients has been seen to leave.
    let ends = server.wait_ends(7);
    let sum = |field: &str| ends.iter().filter_map(|end| end[field].as_u64()).sum::<u64>();
    assert_eq!((sum("messages_in"), sum("messages_out")), (answered, answered));
    assert_eq!(sum("bytes_in"), count(&run, "/requests/bytes_out"));
    assert_eq!(sum("bytes_out"), count(&run, "/requests/bytes_in"));
    assert_eq!(server.ended("peer.fin"), 7);
    assert_eq!(server.stray_lines(), Vec::<String>::new());
}

#[test]
fn spinning_keeps_the_same_schedule() {
    let server = server();
    let output =
        load(&url(&server, "echo"), &["-c", "5", "--rate", "1000", "--spin", "-d", "500ms", "--json"]);
    let run = json(&output);
    assert_eq!(output.status.code(), Some(0), "{run}");
    assert_eq!(count(&run, "/requests/sent") + count(&run, "/requests/overdue"), 500, "{run}");
    assert_eq!(count(&run, "/requests/answered"), count(&run, "/requests/sent"), "{run}");
}

/// A run of 1.5 s in which the server is stopped for 400 ms.
fn stalled(arguments: &[&str]) -> Value {
    let server = server();
    let mut all = vec!["-c", "4", "--rate", "1000", "-d", "1500ms", "--json"];
    all.extend(arguments);
    let child = start(&url(&server, "echo"), &all);
    until("requests are answered", || server.metrics()["linger_received_bytes_total"] > 64.0 * 100.0);
    server.signal("STOP");
    common::pass(Duration::from_millis(400));
    server.signal("CONT");
    let output = child.wait_with_output().expect("the child can be waited for");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    json(&output)
}

#[test]
fn an_open_loop_is_charged_for_all_that_a_stall_held_up() {
    let run = stalled(&[]);
    assert_eq!(run["latency_from"], "schedule");
    // 400 of 1500 requests were due meanwhile, and waited 200 ms on average.
    assert!(micros(&run, "/latency_us/p90") > 100_000.0, "{}", run["latency_us"]);
    assert_eq!(count(&run, "/requests/overdue"), 0);
    assert_eq!(count(&run, "/requests/answered"), 1500);
}

#[test]
fn a_closed_loop_hides_it() {
    let run = stalled(&["--closed"]);
    assert_eq!(run["latency_from"], "send");
    // Only the four that were under way, one for each connection, saw it.
    assert!(micros(&run, "/latency_us/max") > 300_000.0, "{}", run["latency_us"]);
    assert!(micros(&run, "/latency_us/p99") < 100_000.0, "{}", run["latency_us"]);
}

const MIX: &str = "goodbye=5%,fin=5%,fin_midframe=5%,rst=5%,half_close=5%,freeze=5%,vanish=5%,slow_read=5%,\
                   trickle=5%,reboot=5%,garbage=5%,late_beat=5%";

#[test]
fn every_fault_is_named_by_the_server_for_what_it_was() {
    let server = server();
    let arguments = [
        "-c",
        "40",
        "--rate",
        "200",
        "-d",
        "2s",
        "--heartbeat",
        "1500ms",
        "--grace",
        "2s",
        "--slow-time",
        "1s",
        "--patience",
        "20s",
        "--fault",
        MIX,
        "--json",
    ];
    let output = load(&url(&server, "resp"), &arguments);
    let run = json(&output);
    assert_eq!(count(&run, "/verdicts/wrong"), 0, "{}", run["verdicts"]["listed"]);
    assert_eq!(output.status.code(), Some(0), "{run}");
    let rows = run["verdicts"]["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 13, "each fault, and the healthy");
    for row in rows {
        let expected = if row["fault"].is_null() { 16 } else { 2 };
        assert_eq!(row["clients"], expected, "{row}");
    }
    assert_eq!(server.ended("stuck.frozen"), 2);
    assert_eq!(server.ended("peer.replaced"), 2);
    assert_eq!(server.ended("lost.heartbeat") + server.ended("lost.unacked"), 2);
    assert_eq!(server.stray_lines(), Vec::<String>::new());
}

/// Runs `--fault mix` on 40 clients that promise a heartbeat of 1 s, with a grace of 2 s, and ask for nothing.
fn judged(server: &Server, mix: &str) -> Value {
    judged_with(server, mix, &[])
}

fn judged_with(server: &Server, mix: &str, more: &[&str]) -> Value {
    let timing = ["--heartbeat", "1s", "--grace", "2s", "--slow-time", "1s", "--patience", "20s"];
    let load_of = ["-c", "40", "--rate", "0", "-d", "2s", "-P", "3", "--fault", mix, "--json"];
    let output = load(&url(server, "resp"), &[&load_of[..], &timing[..], more].concat());
    let run = json(&output);
    assert_eq!(count(&run, "/verdicts/wrong"), 0, "{mix}: {}", run["verdicts"]);
    assert_eq!(output.status.code(), Some(0), "{run}");
    run
}

/// What was said of those who committed each fault.
fn said(run: &Value) -> Vec<(String, Value)> {
    let rows = run["verdicts"]["rows"].as_array().expect("rows").iter();
    let rows = rows.filter_map(|row| Some((row["fault"].as_str()?.to_owned(), row["said"].clone())));
    rows.collect()
}

fn four(fault: &str, word: &str) -> (String, Value) {
    (fault.to_owned(), serde_json::json!({ word: 4 }))
}

#[test]
fn what_is_said_of_a_silence_depends_on_how_long_it_was() {
    let server = server();
    let run = judged(
        &server,
        "freeze=10%:for=500ms,vanish=10%:for=2s,slow_read=10%:for=600ms,late_beat=10%:for=2500ms",
    );
    let expected = [
        four("freeze", "no ending"),
        four("vanish", "revived"),
        four("slow_read", "no ending"),
        four("late_beat", "revived"),
    ];
    assert_eq!(said(&run), expected);
    assert_eq!(run["verdicts"]["rows"][0]["expected"], "no ending, never suspect");

    let run = judged(&server, "vanish=10%:for=500ms,freeze=10%:for=4s,reboot=10%:for=500ms");
    let expected =
        [four("freeze", "stuck.frozen"), four("vanish", "no ending"), four("reboot", "peer.replaced")];
    assert_eq!(said(&run), expected);

    // Too late for a take-over.
    judged(&server, "reboot=10%:for=5s");
    assert_eq!((server.ended("lost.heartbeat"), server.ended("peer.replaced")), (4, 4));
}

#[test]
fn a_fault_is_committed_when_and_of_as_much_as_was_asked() {
    let server = server();
    let run = judged(&server, "rst=50%:at=0s");
    let points = run["points"].as_array().expect("points");
    let first = points.iter().filter_map(|point| point["misdeeds"].as_u64()).find(|&misdeeds| misdeeds > 0);
    assert_eq!(first, Some(20), "all at one moment: {points:?}");

    // As late as can be, and still.
    let run = judged(&server, "rst=50%:at=1999.9ms");
    assert_eq!(said(&run), [("rst".to_owned(), serde_json::json!({"peer.reset": 20}))]);

    let run = judged(&server, "half_close=10%:requests=3,fin_midframe=10%:bytes=1,garbage=10%:bytes=100000");
    assert_eq!((count(&run, "/requests/sent"), count(&run, "/requests/answered")), (12, 12));
    assert!(count(&run, "/requests/bytes_out") >= 400_000, "{run}");
    assert_eq!(run["plan"]["faults"][2]["parameters"]["bytes"], 100_000.0);

    // 800 bytes if nothing holds it up, and 40 at the usual pace; identities and the rest take some 300.
    let arguments =
        ["-c", "4", "--rate", "0", "-d", "1s", "--fault", "trickle=100%:every=5ms:at=0s", "--json"];
    let run = json(&load(&url(&server, "resp"), &arguments));
    assert!(count(&run, "/requests/bytes_out") > 500, "{run}");
}

#[test]
fn who_does_not_misbehave_after_all_is_told() {
    let server = server();
    let kinds = |run: &Value| -> Vec<String> {
        let warnings = run["warnings"].as_array().expect("warnings").iter();
        warnings.map(|warning| warning["kind"].as_str().expect("a kind").to_owned()).collect()
    };
    // Fewer than one.
    let arguments = ["-c", "9", "--rate", "0", "-d", "300ms", "--fault", "rst=1%", "--json"];
    let run = json(&load(&url(&server, "resp"), &arguments));
    assert_eq!(kinds(&run), ["few_misdeeds"]);

    // Ended before their time has come: they are let off, and nobody waits for them.
    let arguments = ["-c", "9", "--rate", "0", "-d", "1h", "--fault", "rst=50%:at=59m", "--json"];
    let child = start(&url(&server, "resp"), &arguments);
    until("they are up", || server.connections("resp").len() >= 10);
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()));
    let run = json(&child.wait_with_output().expect("the child can be waited for"));
    assert_eq!(
        (said(&run), kinds(&run)),
        (vec![], vec!["few_misdeeds".to_owned(), "interrupted".to_owned()])
    );
}

#[test]
fn a_reboot_is_judged_though_clients_are_replaced_all_the_time() {
    let server = server();
    let run = judged_with(&server, "reboot=30%:for=200ms:at=200ms", &["--churn", "200"]);
    assert_eq!(said(&run)[1], ("reboot".to_owned(), serde_json::json!({"peer.replaced": 12})), "{run}");
}

#[test]
fn a_verdict_that_does_not_come_is_wrong_and_is_listed() {
    let server = Server::start(&[
        "--listen",
        "resp://127.0.0.1:0?heartbeat.grace=1m",
        "--listen",
        "echo://127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
    ]);
    // The server waits a minute; it is said here that it waits for nothing.
    let arguments = [
        "-c",
        "10",
        "--rate",
        "100",
        "-d",
        "500ms",
        "--heartbeat",
        "500ms",
        "--grace",
        "0s",
        "--patience",
        "3s",
        "--fault",
        "freeze=20%,fin=10%",
        "--json",
    ];
    let output = load(&url(&server, "resp"), &arguments);
    let run = json(&output);
    assert_eq!(output.status.code(), Some(1), "{run}");
    assert_eq!(run["ok"], false);
    let listed = run["verdicts"]["listed"].as_array().expect("a list");
    let wrong: Vec<_> = listed.iter().map(|wrong| (&wrong["expected"], &wrong["said"])).collect();
    let frozen = (&Value::from("stuck.frozen"), &Value::from("suspect"));
    assert_eq!(wrong, [frozen; 2], "{run}");
}

#[test]
fn ctrl_c_ends_it_early_with_what_there_is() {
    let server = server();
    for procs in ["1", "2"] {
        let before = server.metrics()["linger_commands_total"];
        let arguments = ["-c", "4", "--rate", "1000", "-d", "10m", "--procs", procs, "--json"];
        let child = start(&url(&server, "resp"), &arguments);
        until("requests are answered", || server.metrics()["linger_commands_total"] > before + 100.0);
        let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()));
        let run = json(&child.wait_with_output().expect("the child can be waited for"));
        assert_eq!(run["interrupted"], true);
        assert!(count(&run, "/requests/answered") > 100, "{run}");
    }
}

#[test]
fn processes_add_up() {
    let server = server();
    let arguments =
        ["-c", "21", "--rate", "600", "-d", "500ms", "--procs", "3", "--fault", "fin=30%,rst=30%", "--json"];
    let output = load(&url(&server, "resp"), &arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let run = json(&output);
    assert_eq!(count(&run, "/plan/processes"), 3);
    assert_eq!(count(&run, "/connections/up"), 21);
    assert_eq!(count(&run, "/requests/answered"), 300);
    assert_eq!(count(&run, "/latency_us/count"), 300);
    let clients: u64 = (0..3).map(|row| count(&run, &format!("/verdicts/rows/{row}/clients"))).sum();
    assert_eq!(clients, 21, "{}", run["verdicts"]);
}

#[test]
fn clients_without_an_identity_are_counted() {
    let server = server();
    let admin = server.address("admin").to_string();
    let arguments = [
        "-c",
        "20",
        "--rate",
        "200",
        "-d",
        "500ms",
        "--admin",
        &admin,
        "--fault",
        "fin=10%,rst=20%,half_close=10%,trickle=5%",
        "--json",
    ];
    let output = load(&url(&server, "echo"), &arguments);
    let run = json(&output);
    assert_eq!(output.status.code(), Some(0), "{run}");
    let rows = run["endings"].as_array().expect("rows");
    let counted =
        |reason: &str| rows.iter().find(|row| row["reasons"][0] == reason).map(|row| &row["counted"]);
    assert_eq!(counted("peer.fin"), Some(&16.into()), "4 that did wrong, and 12 at the end");
    assert_eq!(counted("peer.reset"), Some(&4.into()));

    // Who has not read everything when the run ends is neither ended before nor forgotten then.
    let arguments = [
        "-c",
        "4",
        "-d",
        "1s",
        "--rate",
        "0",
        "--admin",
        &admin,
        "--fault",
        "slow_read=50%:for=20s:at=0s",
        "--json",
    ];
    let run = json(&load(&url(&server, "echo"), &arguments));
    assert_eq!(run["ok"], true, "{run}");

    // Somebody else's ending in the meantime is one too many.
    let arguments =
        ["-c", "2", "--rate", "20", "-d", "1s", "--admin", &admin, "--patience", "500ms", "--json"];
    let child = start(&url(&server, "echo"), &arguments);
    until("it is connected", || server.ended("peer.fin") > 0 && server.connections("echo").len() == 2);
    drop(server.connect("echo"));
    let output = child.wait_with_output().expect("the child can be waited for");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[test]
fn churn_replaces_connections_and_each_leaves_as_it_should() {
    let server = server();
    let arguments = ["-c", "10", "--rate", "100", "--churn", "100", "-d", "1s", "--identities", "--json"];
    let output = load(&url(&server, "resp"), &arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let run = json(&output);
    let churned = count(&run, "/connections/churned");
    assert!((50..=100).contains(&churned), "{churned}");
    assert_eq!(server.ended("peer.goodbye"), churned);
}

#[test]
fn the_course_of_a_run_is_drawn() {
    let server = server();
    let file = std::env::temp_dir().join(format!("linger-load-{}.svg", std::process::id()));
    let path = file.to_str().expect("the temporary directory has a name in UTF-8");
    let arguments = ["-c", "10", "--rate", "200", "-d", "1200ms", "--fault", "fin=20%", "--svg", path];
    let output = load(&url(&server, "resp"), &arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let drawn = std::fs::read_to_string(&file).expect("it was written");
    let _ = std::fs::remove_file(&file);
    for part in ["<svg ", "latency", "p99", "misdeeds and verdicts", "</svg>"] {
        assert!(drawn.contains(part), "{part}: {drawn}");
    }
    let nowhere = load(&url(&server, "resp"), &["--svg", "/no/such/directory/run.svg"]);
    assert_eq!(nowhere.status.code(), Some(2));
}

#[test]
fn the_servers_cpu_time_is_told_for_each_request() {
    let server = server();
    let pid = server.pid().to_string();
    let output = load(&url(&server, "resp"), &["-c", "5", "-d", "300ms", "--server-pid", &pid, "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let run = json(&output);
    assert!((0.1..1000.0).contains(&micros(&run, "/server_us_per_request")), "{run}");
    assert!(micros(&run, "/server_cpu") > 0.0, "{run}");
}

#[test]
fn http_is_spoken_too() {
    let server = server();
    let url = format!("http://{}/healthz", server.address("admin"));
    let output = load(&url, &["-c", "3", "-d", "200ms", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(count(&json(&output), "/requests/answered") > 0);
    let missing =
        load(&format!("http://{}/no-such", server.address("admin")), &["-d", "100ms", "-c", "1", "--json"]);
    assert_eq!(missing.status.code(), Some(1));
    assert_eq!(json(&missing)["errors"][0]["kind"], "error_answer");
}

#[test]
fn what_makes_no_sense_is_told_in_a_sentence() {
    let server = server();
    let resp_on_echo = format!("resp://{}", server.address("echo"));
    let http_on_echo = format!("http://{}", server.address("echo"));
    for (url, arguments, code, part) in [
        ("resp://127.0.0.1:1", &["-c", "2"][..], 1, "nothing listens on 127.0.0.1:1"),
        (&resp_on_echo, &["-d", "100ms"], 1, "is it an echo server?"),
        (&http_on_echo, &["-d", "100ms"], 1, "did not answer in HTTP/1"),
        (&resp_on_echo, &["--identities", "--patience", "1s"], 1, "subscribe to presence"),
        ("tcp://127.0.0.1:1", &[], 2, "is not a scheme"),
        ("echo://127.0.0.1:1", &["--fault", "fin=5%"], 2, "--unjudged"),
        ("resp://127.0.0.1:1", &["--fault", "freeze=5%"], 2, "--heartbeat"),
        ("resp://127.0.0.1:1", &["--fault", "frieze=5%"], 2, "is not a fault"),
        ("resp://127.0.0.1:1", &["--fault", "rst=5%:for=1s"], 2, "it takes at"),
        ("resp://127.0.0.1:1", &["--fault", "rst=5%:at=1m"], 2, "after the load, which lasts 10s"),
        ("resp://127.0.0.1:1", &["--spin"], 2, "which only --rate gives it"),
        ("resp://127.0.0.1:1", &["--fault", ""], 2, "nothing is given"),
        ("echo://127.0.0.1:1", &["--size", "9999999999999999999"], 2, "at most 1 MiB"),
        ("resp://127.0.0.1:1", &["--rate", "fast"], 2, "20k"),
        ("resp://127.0.0.1:1", &["--rate", "-1"], 2, "20k"),
        ("resp://127.0.0.1:1", &["-d", "0s"], 2, "--duration 0s"),
        ("resp://127.0.0.1:1", &["--source", "192.0.2.1"], 1, "no address of this host"),
        ("resp://127.0.0.1:1", &["--server-pid", "4194305"], 2, "no process 4194305"),
    ] {
        let output = load(url, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{url} {arguments:?}: {said}");
        assert!(said.contains(part), "{url} {arguments:?}: {said}");
        assert_eq!(output.stdout, b"", "{url} {arguments:?}");
    }
}
