//! Who asks afterwards why a client left: `GET /ends`, `STATE id LAST` and `linger why`, of one process and of several workers.

#![allow(clippy::unwrap_used, reason = "an unwrap that fails is a test that fails")]

use crate::common::file::TempFile;
use crate::common::{Client, Server, wait_for};
use crate::workers::crowd::{RESP, one_of_each, pids, signal, start};
use serde_json::Value;
use std::process::Command;

/// What a command says, and with which status it ends.
pub(crate) fn linger(server: &Server, arguments: &[&str]) -> (Option<i32>, String) {
    let admin = server.address("admin").to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_linger"))
        .args(arguments)
        .args(["--admin", &admin])
        .env("LINGER_ADMIN_TOKEN", "a-token-that-only-tests-have")
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

fn ends(server: &Server, query: &str) -> Value {
    let (status, body) = server.admin("GET", &format!("/ends{query}"));
    assert!(status.contains("200"), "{query}: {status} {body}");
    serde_json::from_str(&body).unwrap()
}

/// Endings, once there are so many.
fn wait_for_ends(server: &Server, count: u64) -> Value {
    wait_for(&format!("{count} endings"), || Some(ends(server, "")).filter(|ends| ends["kept"] == count))
}

/// A client with that identity that resets its connection.
fn leave(mut client: Client, identity: &str) {
    client.ask(&format!("IDENT {identity}"), "+OK\r\n");
    client.reset();
}

/// What `STATE` says of the last ending of one that was reset some seconds ago.
fn last(client: &mut Client, identity: &str, state: &str) {
    client.ask(&format!("STATE {identity} LAST"), &format!("*3\r\n+{state}\r\n$10\r\npeer.reset\r\n:"));
    client.expect_until("\r\n");
}

fn field<'a>(ends: &'a Value, field: &str) -> Vec<&'a str> {
    ends["ends"].as_array().unwrap().iter().map(|row| row[field].as_str().unwrap()).collect()
}

#[test]
fn why_a_client_left_is_told_afterwards() {
    let server = Server::start(&["--listen", RESP]);
    leave(server.connect("resp"), "dev1");
    let told = wait_for_ends(&server, 1);
    // The row is the record, as the log has it.
    let logged = server.wait_ends(1).remove(0);
    for (name, value) in logged.as_object().unwrap() {
        if !["time", "level", "event"].contains(&name.as_str()) {
            assert_eq!(&told["ends"][0][name], value, "{name}");
        }
    }
    let key = told["ends"][0]["key"].as_str().unwrap();
    let peer = told["ends"][0]["peer"].as_str().unwrap();
    for target in ["dev1", key, peer, "127.0.0.0/8"] {
        let (code, said) = linger(&server, &["why", target, "--last", "1h", "--reason", "peer.*"]);
        assert_eq!(code, Some(0), "{target}: {said}");
        for part in
            ["peer.reset\n  dev1 reset the connection.\n", "peer.reset usually means: ", "to its start.\n"]
        {
            assert!(said.contains(part), "{target}: {part} in {said}");
        }
        assert!(!said.contains("Connected now"), "{said}");
    }
    let (code, said) = linger(&server, &["why", "dev1", "--json"]);
    let json: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, field(&json, "reason")), (Some(0), vec!["peer.reset"]));

    // It is back, and what it had is still known.
    let mut back = server.connect("resp");
    back.ask("IDENT dev1", "+OK\r\n");
    let (code, said) = linger(&server, &["why", "dev1"]);
    assert!(code == Some(0) && said.starts_with("Connected now: "), "{said}");
    assert!(said.contains("\nIt is asked for no heartbeat of its own, "), "{said}");
    back.ask("IDENT dev1 BEAT 3600", "+OK\r\n");
    let (_, said) = linger(&server, &["why", "dev1"]);
    assert!(!said.contains("no heartbeat"), "{said}");
    // Of all clients, the endings alone.
    let (code, said) = linger(&server, &["why"]);
    assert!(
        code == Some(0) && !said.contains("Connected now") && said.contains("peer.reset\n  dev1 reset"),
        "{said}"
    );
    last(&mut back, "dev1", "online");
    back.ask("STATE dev1", "+online\r\n");
    back.ask("STATE dev2 LAST", "*3\r\n+offline\r\n$-1\r\n$-1\r\n");
    back.ask("STATE dev1 FIRST", "-ERR syntax error\r\n");

    let (code, said) = linger(&server, &["why", "dev2"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.starts_with("No ending of the identity dev2 is known.\nThe server has the last 1 ending"),
        "{said}"
    );
    let (code, said) = linger(&server, &["why", "dev1", "--reason", "lots.*"]);
    assert!(code == Some(2) && said.contains("no reason is called \"lots.*\""), "{code:?}: {said}");
}

/// `heartbeat.verdict = "report"`: the connection is there, and so is what it would have ended for.
#[test]
fn a_verdict_that_was_reported_is_told_of_a_connection_that_is_kept() {
    let contract = "heartbeat.style=client&heartbeat.timeout=1s&heartbeat.grace=1s&heartbeat.verdict=report";
    for workers in [1, 2] {
        let server = start(workers, &format!("{RESP}?{contract}"), &[]);
        let mut dev = server.connect("resp");
        dev.ask("IDENT dev", "+OK\r\n");
        let row = |server: &Server| -> Value {
            let (status, body) = server.admin("GET", "/connections?identity=dev");
            assert!(status.contains("200"), "{status} {body}");
            serde_json::from_str::<Value>(&body).unwrap()["connections"][0].clone()
        };
        let suspect = wait_for("suspicion", || Some(row(&server)).filter(|row| row["state"] == "suspect"));
        assert!(suspect["suspect_for_s"].is_f64() && suspect.get("verdict").is_none(), "{suspect}");
        let (_, said) = linger(&server, &["why", "dev"]);
        assert!(said.contains(": there is no verdict on its silence yet.\n"), "{said}");
        let judged =
            wait_for("the verdict", || Some(row(&server)).filter(|row| row.get("verdict").is_some()));
        assert_eq!(
            (&judged["state"], &judged["verdict"]),
            (&"suspect".into(), &"stuck.frozen".into()),
            "{judged}"
        );
        let seconds = |field: &str| judged[field].as_f64().unwrap();
        assert!(
            seconds("suspect_for_s") >= 1.0 && seconds("suspect_for_s") < seconds("silence_s"),
            "{judged}"
        );
        let (_, said) = linger(&server, &["why", "dev"]);
        let kept = ": the verdict stuck.frozen was reported, and the connection is kept because heartbeat.verdict = \"report\"";
        assert!(said.contains("\nIt has been suspect for ") && said.contains(kept), "{said}");
        // What it says revives it, and that is over.
        dev.ask("PING", "+PONG\r\n");
        let revived = wait_for("its revival", || Some(row(&server)).filter(|row| row["state"] == "open"));
        assert!(revived.get("suspect_for_s").is_none() && revived.get("verdict").is_none(), "{revived}");
    }
}

#[test]
fn the_endings_of_all_workers_are_one_list_the_newest_first() {
    let server = start(2, RESP, &[]);
    let [first, second] = one_of_each(&server);
    let before = ends(&server, "")["kept"].as_u64().unwrap();
    leave(second, "dev2");
    wait_for_ends(&server, before + 1);
    leave(first, "dev1");
    let all = wait_for_ends(&server, before + 2);
    assert_eq!(field(&all, "identity")[..2], ["dev1", "dev2"]);
    assert!(field(&all, "key")[0].starts_with("1.") && field(&all, "key")[1].starts_with("2."), "{all}");
    assert_eq!(
        (&all["unanswered_workers"], &all["ends"][1]["worker"]),
        (&Value::Array(Vec::new()), &2.into())
    );

    // Who asks for none is told from where to go on, too.
    let none = ends(&server, "?limit=0");
    assert_eq!((&none["listed"], &none["kept"], &none["after"]), (&0.into(), &all["kept"], &all["after"]));

    // Page by page, each goes on behind the one before.
    let one = ends(&server, "?limit=1");
    let cursor = one["before"].as_str().unwrap();
    let next = ends(&server, &format!("?limit=1&before={cursor}"));
    assert_eq!((field(&one, "identity"), field(&next, "identity")), (vec!["dev1"], vec!["dev2"]));
    // And what came since.
    let after = all["after"].as_str().unwrap();
    assert_eq!(ends(&server, &format!("?after={after}"))["listed"], 0);
    leave(server.connect("resp"), "dev3");
    wait_for_ends(&server, before + 3);
    assert_eq!(field(&ends(&server, &format!("?after={after}")), "identity"), ["dev3"]);
    assert_eq!(field(&ends(&server, "?identity=dev2&reason=peer.*"), "identity"), ["dev2"]);

    let mut helper = server.connect("resp");
    for identity in ["dev1", "dev2", "dev3"] {
        last(&mut helper, identity, "offline");
    }
    let (code, said) = linger(&server, &["why", "dev2"]);
    assert!(code == Some(0) && said.contains("dev2 reset the connection."), "{said}");

    // One that does not answer is named, and holds nobody up.
    signal(pids(&server)[&2], "STOP");
    let rest = ends(&server, "");
    assert_eq!(rest["unanswered_workers"], serde_json::json!([2]));
    assert!(field(&rest, "key").iter().all(|key| key.starts_with("1.")), "{rest}");
    let (code, said) = linger(&server, &["why", "dev1"]);
    assert!(
        code == Some(0) && said.ends_with("Worker 2 does not answer: its endings are missing.\n"),
        "{said}"
    );
    signal(pids(&server)[&2], "CONT");
}

#[test]
fn another_size_at_a_reload_keeps_what_fits() {
    let text = |history: &str| {
        format!(
            "[server]\nhistory = \"{history}\"\n[admin]\naddress = \"127.0.0.1:0\"\n[[listener]]\nprotocol = \"resp\"\n\
             address = \"127.0.0.1:0\"\n"
        )
    };
    let file = TempFile::new(&text("1MiB"));
    let server = Server::start(&["--config", file.path()]);
    leave(server.connect("resp"), "dev1");
    wait_for_ends(&server, 1);
    for (history, bytes, kept) in
        [("64KiB", 65_536, 1), ("2MiB", 2_097_152, 1), ("off", 0, 0), ("1MiB", 1_048_576, 0)]
    {
        server.reload(&file, &text(history));
        let told = ends(&server, "");
        assert_eq!((&told["history_bytes"], &told["kept"]), (&bytes.into(), &kept.into()), "{history}");
        let (code, said) = linger(&server, &["why", "dev1"]);
        assert_eq!(code, Some(1 - kept), "{history}: {said}");
        assert_eq!(said.contains("server.history is \"off\""), bytes == 0, "{history}: {said}");
    }
    leave(server.connect("resp"), "dev2");
    let told = wait_for_ends(&server, 1);
    assert_eq!((field(&told, "identity"), &told["dropped"]), (vec!["dev2"], &1.into()));
    let file = TempFile::new("[server]\nhistory = \"1KiB\"\n");
    let checked =
        Command::new(env!("CARGO_BIN_EXE_linger")).args(["check", "--config", file.path()]).output().unwrap();
    let said = String::from_utf8(checked.stderr).unwrap();
    assert!(said.contains("write a size from \"64KiB\" to \"256MiB\", or \"off\""), "{said}");
}
