//! `linger load` against `linger serve` on the real kernel: its counts agree with the server's, its latencies count
//! what a stall held up, its verdicts are the server's, and what it prints for programs has the promised shape.

mod faults;
mod http;
mod tls;
mod users;

use crate::common::{Server, until};
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

/// As Ctrl-C does.
fn interrupt(child: &Child) {
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()));
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
fn spinning_keeps_the_schedule_without_a_sleep() {
    let server = server();
    // With so many under way, there is always one more to send when it is due, whatever else runs on the processors.
    let arguments = ["-c", "5", "-P", "1000", "--rate", "20k", "--spin", "-d", "1s", "--json"];
    let child = start(&url(&server, "echo"), &arguments);
    until("half of it is done", || server.metrics()["linger_received_bytes_total"] > 640_000.0);
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it still runs");
    let slept = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    let slept: u64 = slept.and_then(|text| text.trim().parse().ok()).expect("a number");
    assert!(slept < 1000, "it slept {slept} times before 10,000 requests");
    let run = json(&child.wait_with_output().expect("the child can be waited for"));
    assert_eq!(count(&run, "/requests/sent") + count(&run, "/requests/overdue"), 20_000, "{run}");
    assert_eq!(count(&run, "/requests/answered"), count(&run, "/requests/sent"), "{run}");
}

/// A run of 3 s in which the server is stopped for 800 ms.
fn stalled(arguments: &[&str]) -> Value {
    let server = server();
    let mut all = vec!["-c", "4", "--rate", "1000", "-d", "3s", "--json"];
    all.extend(arguments);
    let child = start(&url(&server, "echo"), &all);
    until("requests are answered", || server.metrics()["linger_received_bytes_total"] > 64.0 * 100.0);
    server.signal("STOP");
    crate::common::pass(Duration::from_millis(800));
    server.signal("CONT");
    let output = child.wait_with_output().expect("the child can be waited for");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    json(&output)
}

#[test]
fn an_open_loop_is_charged_for_all_that_a_stall_held_up() {
    let run = stalled(&[]);
    assert_eq!(run["latency_from"], "schedule");
    // 800 of 3000 requests were due meanwhile, and waited 400 ms on average.
    assert!(micros(&run, "/latency_us/p90") > 100_000.0, "{}", run["latency_us"]);
    assert_eq!(count(&run, "/requests/overdue"), 0);
    assert_eq!(count(&run, "/requests/answered"), 3000);
}

#[test]
fn a_closed_loop_hides_it() {
    let run = stalled(&["--closed"]);
    assert_eq!(run["latency_from"], "send");
    // Only the four that were under way, one for each connection, saw it.
    assert!(micros(&run, "/latency_us/max") > 300_000.0, "{}", run["latency_us"]);
    assert!(micros(&run, "/latency_us/p99") < 100_000.0, "{}", run["latency_us"]);
}

#[test]
fn ctrl_c_ends_it_early_with_what_there_is() {
    let server = server();
    for procs in ["1", "2"] {
        let before = server.metrics()["linger_commands_total"];
        let arguments = ["-c", "4", "--rate", "1000", "-d", "10m", "--procs", procs, "--json"];
        let child = start(&url(&server, "resp"), &arguments);
        until("requests are answered", || server.metrics()["linger_commands_total"] > before + 100.0);
        interrupt(&child);
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
    for part in ["<svg ", "latency", "p99", "faults and verdicts", "</svg>"] {
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
        ("udp://127.0.0.1:1", &[], 2, "is not a scheme"),
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
        ("resp://127.0.0.1:1", &["-d", "0s"], 2, "lasts no time"),
        ("resp://127.0.0.1:1", &["-d", "5"], 2, "has no unit; known are ms, s, m, h and d"),
        ("resp://127.0.0.1:1", &["-c", "20000000"], 2, "at most 10000000"),
        ("resp://127.0.0.1:1", &["-c", "100000", "-P", "100000"], 2, "at most 100000000 may be under way"),
        ("resp://[fe80::1%nosuch0]:1", &[], 2, "no interface of this host is called"),
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
