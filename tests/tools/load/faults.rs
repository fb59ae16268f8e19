//! Faults of `linger load`: each is what it says, when and as it was asked, and is compared with what the server says of
//! it.

use crate::common::{Server, pass, until};
use crate::load::{count, interrupt, json, load, server, start, url};
use serde_json::Value;
use std::time::Duration;

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
        "4s",
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

/// Runs `--fault mix` on 40 clients that promise a heartbeat of 4 s, with a grace of 2 s, and ask for nothing.
fn judged(server: &Server, mix: &str) -> Value {
    judged_with(server, mix, &[])
}

fn judged_with(server: &Server, mix: &str, more: &[&str]) -> Value {
    let timing = ["--heartbeat", "4s", "--grace", "2s", "--slow-time", "1s", "--patience", "20s"];
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
        "freeze=10%:for=500ms,vanish=10%:for=5s,slow_read=10%:for=600ms,late_beat=10%:for=5s",
    );
    let expected = [
        four("freeze", "no ending"),
        four("vanish", "revived"),
        four("slow_read", "no ending"),
        four("late_beat", "revived"),
    ];
    assert_eq!(said(&run), expected);
    assert_eq!(run["verdicts"]["rows"][0]["expected"], "no ending, never suspect");

    let run = judged(&server, "vanish=10%:for=500ms,freeze=10%:for=8s,reboot=10%:for=500ms");
    let expected =
        [four("freeze", "stuck.frozen"), four("vanish", "no ending"), four("reboot", "peer.replaced")];
    assert_eq!(said(&run), expected);

    // Too late for a take-over.
    judged(&server, "reboot=10%:for=8s");
    assert_eq!((server.ended("lost.heartbeat"), server.ended("peer.replaced")), (4, 4));
}

#[test]
fn a_fault_is_committed_when_and_of_as_much_as_was_asked() {
    let server = server();
    let run = judged(&server, "rst=50%:at=0s");
    let points = run["points"].as_array().expect("points");
    let first = points.iter().filter_map(|point| point["faults"].as_u64()).find(|&faults| faults > 0);
    assert_eq!(first, Some(20), "all at one moment: {points:?}");

    // As late as can be, and still; also who has to wait for an acknowledgement first.
    let run = judged(&server, "rst=10%:at=1999ms,vanish=10%:for=5s:at=1999ms");
    assert_eq!(said(&run), [four("rst", "peer.reset"), four("vanish", "revived")]);
    let arguments = ["-c", "8", "--rate", "0", "-d", "500ms", "--heartbeat", "20s", "--json"];
    let late = ["--fault", "vanish=50%:for=1s:at=499ms"];
    let run = json(&load(&url(&server, "resp"), &[&arguments[..], &late].concat()));
    assert_eq!(said(&run), [four("vanish", "no ending")]);

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
fn several_processes_commit_what_was_asked_of_all() {
    let server = server();
    // A fifth of each process's seven or six would be one, and three in all.
    let arguments = ["-c", "20", "--procs", "3", "--rate", "0", "-d", "500ms", "--fault", "rst=20%,fin=20%"];
    let run = json(&load(&url(&server, "resp"), &[&arguments[..], &["--json"]].concat()));
    assert_eq!(said(&run), [four("fin", "peer.fin"), four("rst", "peer.reset")]);
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
    assert_eq!(kinds(&run), ["few_faults"]);

    // Ended before their time has come: they are let off, and nobody waits for them.
    let arguments = ["-c", "9", "--rate", "0", "-d", "1h", "--fault", "rst=50%:at=59m", "--json"];
    let child = start(&url(&server, "resp"), &arguments);
    until("they are up", || server.connections("resp").len() >= 10);
    interrupt(&child);
    let run = json(&child.wait_with_output().expect("the child can be waited for"));
    assert_eq!((said(&run), kinds(&run)), (vec![], vec!["interrupted".to_owned()]));
}

#[test]
fn what_is_not_due_when_it_is_cut_short_is_no_fault_of_the_server() {
    let server =
        Server::start(&["--listen", "resp://127.0.0.1:0?heartbeat.grace=1h", "--admin", "127.0.0.1:0"]);
    let contract = ["--heartbeat", "10m", "--grace", "1h"];
    let fault = ["--fault", "freeze=50%:at=0s,rst=10%:at=0s"];
    let arguments = ["-c", "10", "--rate", "0", "-d", "1h", "--json"];
    let child = start(&url(&server, "resp"), &[&arguments[..], &contract, &fault].concat());
    until("one has reset", || server.ended("peer.reset") == 1);
    interrupt(&child);
    // Two signals at one moment are one.
    pass(Duration::from_millis(300));
    interrupt(&child);
    let run = json(&child.wait_with_output().expect("the child can be waited for"));
    assert_eq!((&run["interrupted"], count(&run, "/verdicts/wrong")), (&Value::from(true), 0), "{run}");
    assert_eq!(said(&run), [("rst".to_owned(), serde_json::json!({"peer.reset": 1}))]);
}

#[test]
fn where_nobody_judges_no_silence_is_too_close_to_a_deadline() {
    let server = server();
    let arguments = ["-c", "10", "--rate", "100", "-d", "500ms", "--unjudged", "--heartbeat", "100ms"];
    let fault = ["--grace", "100ms", "--fault", "freeze=50%:for=200ms:at=100ms", "--json"];
    let output = load(&url(&server, "resp"), &[&arguments[..], &fault].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(json(&output)["skipped"], serde_json::json!([]));
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
    // The server waits for half of the promise, another 4 s; it is said here that it waits for nothing.
    let arguments = [
        "-c",
        "10",
        "--rate",
        "100",
        "-d",
        "500ms",
        "--heartbeat",
        "8s",
        "--grace",
        "0s",
        "--patience",
        "2s",
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
        "slow_read=50%:for=1500ms:at=0s",
        "--json",
    ];
    let run = json(&load(&url(&server, "echo"), &arguments));
    assert_eq!(run["ok"], true, "{run}");
    let lasted = run["points"].as_array().and_then(|points| points.last()?["at_s"].as_f64());
    assert!(lasted >= Some(1.5), "it is waited for until it would read again: {lasted:?}");

    // Somebody else's ending in the meantime is one too many.
    let arguments =
        ["-c", "2", "--rate", "20", "-d", "1s", "--admin", &admin, "--patience", "500ms", "--json"];
    let child = start(&url(&server, "echo"), &arguments);
    until("it is connected", || server.ended("peer.fin") > 0 && server.connections("echo").len() == 2);
    drop(server.connect("echo"));
    let output = child.wait_with_output().expect("the child can be waited for");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}
