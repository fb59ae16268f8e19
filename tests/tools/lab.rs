//! `linger lab` from the outside: cells that are right, mistakes that are told, and that nothing of it stays behind,
//! however it ends.

#![allow(clippy::unwrap_used, reason = "an unwrap that fails is a test that fails")]

use crate::common::{in_own_namespace, until};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::process::{Child, Command, Output, Stdio};

fn lab(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_linger"));
    command.arg("lab").args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn played(arguments: &[&str]) -> Output {
    assert!(in_own_namespace(), "run by `unshare -n` with LINGER_TEST_NAMESPACE=1: see scripts/ci.sh");
    lab(arguments).output().unwrap()
}

fn words(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn what_is_not_there_is_told_with_what_is() {
    for (arguments, part) in [
        (["--case", "nonsense"], "freeze-flight"),
        (["--method", "nonsense"], "keepalive+user_timeout"),
        (["--greet", "x"], "--server"),
        (["--server=true", "--gateway"], "--gateway"),
        (["--server=true", "--tls"], "--tls"),
    ] {
        let output = lab(&arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(words(&output.stderr).contains(part), "{}", words(&output.stderr));
    }
}

#[test]
fn what_could_not_be_told_is_not_tried() {
    let into = ["--quick", "--into", "Cargo.toml"];
    for (arguments, part) in [
        (&into[..], "--format markdown"),
        (&["--quick", "--into", "Cargo.toml", "--format", "markdown"], "has no lines"),
        (&["--quick", "--into", "nonexistent.md", "--format", "markdown"], "nonexistent.md"),
        (&["--server", "true", "--format", "svg"], "a table, and json"),
        (&["--server", "true", "--into", "README.md"], "our own matrix"),
    ] {
        let output = lab(arguments).output().unwrap();
        assert_eq!((output.status.code(), words(&output.stdout)), (Some(2), String::new()), "{arguments:?}");
        assert!(words(&output.stderr).contains(part), "{}", words(&output.stderr));
    }
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn some_cells_are_as_expected() {
    let output = played(&[
        "--quick",
        "--case",
        "close",
        "--case",
        "freeze",
        "--case",
        "cable-flight",
        "--case",
        "outage",
        "--method",
        "keepalive",
        "--method",
        "user_timeout",
        "--method",
        "heartbeat",
        "--method",
        "ping",
        "--format",
        "json",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}{}", words(&output.stdout), words(&output.stderr));
    let matrix: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&matrix["format"], &matrix["right"]), (&Value::from(1), &Value::from(true)));
    let verdicts: Vec<Vec<&str>> = matrix["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            row["cells"].as_array().unwrap().iter().map(|cell| cell["verdict"].as_str().unwrap()).collect()
        })
        .collect();
    assert_eq!(
        verdicts,
        [
            ["ended", "ended", "ended", "ended"],
            ["unnoticed", "unnoticed", "ended", "ended"],
            ["unnoticed", "ended", "ended", "ended"],
            // A client that is well: frequent pings end it, with a limit that a seldom beat survives.
            ["unnoticed", "unnoticed", "unnoticed", "ended"]
        ]
    );
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn over_tls_a_client_that_closes_is_told_from_one_that_is_killed() {
    let rows = ["--case", "close", "--case", "kill", "--case", "reset", "--method", "base"];
    for (way, path) in [(&["--tls"][..], "direct"), (&["--tls", "--gateway"], "gateway")] {
        let output = played(&[&["--quick", "--format", "json"][..], way, &rows].concat());
        assert_eq!(output.status.code(), Some(0), "{}{}", words(&output.stdout), words(&output.stderr));
        let matrix: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&matrix["path"], &matrix["transport"]), (&Value::from(path), &Value::from("tls")));
        let rows = matrix["rows"].as_array().unwrap();
        let reasons = rows.iter().map(|row| (row["case"].as_str(), row["cells"][0]["reason"].as_str()));
        assert_eq!(
            reasons.collect::<Vec<_>>(),
            [("close", "peer.fin"), ("reset", "peer.reset"), ("kill", "peer.truncated")]
                .map(|(case, reason)| (Some(case), Some(reason)))
        );
    }
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn a_gateway_says_what_the_server_says_and_what_it_cannot_is_named() {
    let rows = ["--case", "goodbye", "--case", "freeze", "--case", "reset"];
    let columns = ["--method", "base", "--method", "heartbeat", "--method", "ping"];
    let output = played(&[&["--quick", "--gateway", "--format", "json"][..], &rows, &columns].concat());
    assert_eq!(output.status.code(), Some(0), "{}{}", words(&output.stdout), words(&output.stderr));
    let matrix: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&matrix["path"], &matrix["right"]), (&Value::from("gateway"), &Value::from(true)));
    let rows = matrix["rows"].as_array().unwrap();
    let of = |row: &Value, key: &str| -> Vec<String> {
        let cells = row["cells"].as_array().unwrap();
        cells.iter().map(|cell| cell[key].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert!(rows[0]["not_applicable"].as_str().unwrap().contains("goodbye"), "{}", rows[0]);
    assert_eq!(of(&rows[0], "verdict"), ["not_applicable"; 3]);
    assert_eq!(of(&rows[1], "reason"), ["peer.reset", "peer.reset", ""]);
    assert_eq!(of(&rows[2], "reason"), ["", "stuck.frozen", ""]);
    assert_eq!(of(&rows[2], "verdict"), ["unnoticed", "ended", "not_applicable"]);
    let columns = matrix["methods"].as_array().unwrap();
    assert!(columns[0]["not_applicable"].is_null());
    assert!(columns[2]["not_applicable"].as_str().unwrap().contains("ping"), "{}", columns[2]);
}

/// Its protocol is none of linger's: the server behind the gateway says who it is.
#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn the_old_connection_of_a_device_that_comes_back_through_a_gateway_is_replaced() {
    let rows = ["--case", "vanish", "--case", "reboot", "--method", "base", "--method", "take_over"];
    let output = played(&[&["--quick", "--gateway", "--format", "json"][..], &rows].concat());
    assert_eq!(output.status.code(), Some(0), "{}{}", words(&output.stdout), words(&output.stderr));
    let matrix: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = matrix["rows"].as_array().unwrap();
    let reasons = rows.iter().map(|row| {
        let cells = row["cells"].as_array().unwrap();
        cells.iter().map(|cell| cell["reason"].as_str().unwrap_or_default()).collect::<Vec<_>>()
    });
    // Where nobody names it, the old connection is a ghost.
    assert_eq!(reasons.collect::<Vec<_>>(), [["", "peer.replaced"], ["peer.replaced", "peer.replaced"]]);
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn any_server_can_be_looked_at_from_outside() {
    let server = format!(
        "{} serve --admin off --log debug --log-format json --listen 'resp://{{address}}:{{port}}'",
        env!("CARGO_BIN_EXE_linger")
    );
    let output = played(&[
        "--server",
        &server,
        "--name",
        "subject",
        "--greet",
        r"PING\r\n",
        "--case",
        "reset",
        "--case",
        "freeze",
        "--case",
        "goodbye",
        "--patience",
        "1s",
        "--format",
        "json",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", words(&output.stderr));
    let matrix: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = matrix["rows"].as_array().unwrap();
    let verdicts: Vec<&str> = rows.iter().map(|row| row["verdict"].as_str().unwrap()).collect();
    assert_eq!(verdicts, ["not_tried", "let_go", "held_on"]);
    assert!(rows[1]["log"].to_string().contains("peer.reset"), "{}", rows[1]);
    assert_eq!(rows[2]["left"]["server"], "ESTABLISHED");
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn a_server_that_does_not_start_fails_with_what_it_said() {
    let output = played(&["--server", "echo no such luck; exit 1", "--case", "reset"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(words(&output.stdout).contains("no such luck"), "{}", words(&output.stdout));
}

/// What could be left in the namespace in which the lab is started: devices, and rules.
fn surroundings() -> [String; 3] {
    [["ip", "link"], ["nft", "list"], ["ip", "netns"]].map(|[program, argument]| {
        let more: &[&str] = if program == "nft" { &["ruleset"] } else { &[] };
        words(&Command::new(program).arg(argument).args(more).output().unwrap().stdout)
    })
}

/// All that descend from a process.
fn descendants(of: u32) -> BTreeSet<u32> {
    let mut found = BTreeSet::from([of]);
    loop {
        let before = found.len();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            // What stands before the last parenthesis may hold blanks; state and parent come after it.
            let parent =
                stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok());
            if parent.is_some_and(|parent: u32| found.contains(&parent)) {
                found.insert(pid);
            }
        }
        if found.len() == before {
            found.remove(&of);
            return found;
        }
    }
}

/// The network namespaces that processes are in.
fn namespaces(of: &BTreeSet<u32>) -> BTreeSet<String> {
    let link = |pid: &u32| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    of.iter().filter_map(link).map(|path| path.display().to_string()).collect()
}

fn everybody() -> BTreeSet<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok()).collect()
}

/// Ends a lab in the middle of rows whose clients are frozen, and looks for what is left.
fn nothing_stays(how: &str, arguments: &[&str], end: impl FnOnce(&Child)) {
    let before = surroundings();
    let ours = namespaces(&BTreeSet::from([std::process::id()]));
    let mut child = lab(arguments).spawn().unwrap();
    let mut family = BTreeSet::new();
    until("servers and clients", || {
        family = descendants(child.id());
        &namespaces(&family) - &ours != BTreeSet::new() && family.len() >= 6
    });
    // Helpers such as ip come and go: those are asked for that are there now.
    let away = &namespaces(&family) - &ours;
    // One that is gone leaves its number to the next, of another test's: not while it is held.
    let open = |pid: &u32| fs::File::open(format!("/proc/{pid}/ns/net")).ok();
    let _held: Vec<_> = family.iter().filter_map(open).collect();
    assert_eq!(surroundings(), before, "{how}: while it runs");
    end(&child);
    child.wait().unwrap();
    until("all of them to be gone", || family.iter().all(|pid| !fs::exists(format!("/proc/{pid}")).unwrap()));
    until("their networks to be gone", || away.is_disjoint(&namespaces(&everybody())));
    assert_eq!(surroundings(), before, "{how}: after it");
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()), "kill -{name}");
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn nothing_of_it_stays_however_it_ends() {
    assert!(in_own_namespace(), "run by `unshare -n` with LINGER_TEST_NAMESPACE=1: see scripts/ci.sh");
    let rows =
        ["--quick", "--case", "freeze", "--case", "drop-both", "--method", "base", "--method", "keepalive"];
    nothing_stays("an ordinary end", &rows, |_| {});
    for name in ["INT", "TERM", "KILL", "ABRT"] {
        nothing_stays(name, &rows, |child| signal(child, name));
    }
    // A server that starts others, and would outlive them.
    let foreign = ["--server", "sleep 1000 & sleep 1001", "--case", "freeze", "--case", "cable"];
    nothing_stays("KILL with a foreign server", &foreign, |child| signal(child, "KILL"));
    // One that is not root any more, as most daemons.
    let daemon = "exec setpriv --reuid=65534 --clear-groups sleep 1000";
    let foreign = ["--server", daemon, "--case", "freeze", "--case", "cable"];
    nothing_stays("KILL with a daemon", &foreign, |child| signal(child, "KILL"));
}
