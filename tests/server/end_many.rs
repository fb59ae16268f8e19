//! Many clients that the operator ends at a pace: `linger end`, of one process and of several workers.

#![allow(clippy::unwrap_used, reason = "an unwrap that fails is a test that fails")]

use crate::common::{Client, Server, until};
use crate::workers::crowd::{RESP, start};
use std::process::Command;

/// What a command says, and with which status it ends.
fn end(server: &Server, arguments: &[&str]) -> (Option<i32>, String) {
    run(server, "end", arguments)
}

fn run(server: &Server, command: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let admin = server.address("admin").to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_linger"))
        .args([command, "--admin", &admin])
        .args(arguments)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

fn identified(server: &Server, count: usize) -> Vec<Client> {
    let named = |number| {
        let mut client = server.connect("resp");
        client.ask(&format!("IDENT dev{number}"), "+OK\r\n");
        client
    };
    (0..count).map(named).collect()
}

fn are_ended_as_they_should_be(server: &Server) {
    let mut clients = identified(server, 20);
    let (code, said) = end(server, &["--listener", "resp", "--dry-run"]);
    assert!(code == Some(0) && said.starts_with("20 connections would be ended\n  "), "{code:?} {said}");
    assert!(said.ends_with("  and others\n") && said.lines().count() == 7, "{said}");
    // One by its identity, with the same command.
    let (code, said) = end(server, &["dev7"]);
    assert_eq!((code, said.as_str()), (Some(0), "the connections that are meant are being ended\n"));
    clients[7].expect("-GOODBYE local.kicked\r\n");
    drop(clients.remove(7));
    let (code, said) = end(server, &["dev7"]);
    assert_eq!((code, said.as_str()), (Some(1), "linger: there is no such connection; nothing was ended\n"));
    // None is older than that.
    let (code, said) = end(server, &["--age-over", "1h", "--dry-run"]);
    assert_eq!((code, said.as_str()), (Some(1), "0 connections would be ended\n"));
    end(server, &["--age-over", "1h"]);
    let (code, said) = end(server, &["127.0.0.0/8", "--listener", "resp", "--over", "500ms"]);
    assert_eq!(
        (code, said.as_str()),
        (Some(0), "the connections that are meant are being ended over 500ms\n")
    );
    for client in &mut clients {
        client.expect("-GOODBYE local.kicked\r\n");
    }
    drop(clients);
    until("all to be gone", || server.connections("resp").is_empty());
    assert_eq!(server.ended("local.kicked"), 20);
    // The last steps of that may be to come: there is nobody left for them.
    end(server, &["--stop"]);
    let (code, said) = end(server, &["--stop"]);
    assert_eq!((code, said.as_str()), (Some(0), "no connections were being ended\n"));
}

#[test]
fn clients_are_ended_by_filters_and_at_a_pace() {
    are_ended_as_they_should_be(&Server::start(&["--listen", RESP]));
}

#[test]
fn clients_of_all_workers_are_ended() {
    are_ended_as_they_should_be(&start(2, RESP, &[]));
}

#[test]
fn who_is_not_named_is_not_ended() {
    let server = Server::start(&["--listen", RESP]);
    let _clients = identified(&server, 2);
    for (arguments, said) in [
        (&[][..], "linger: end whom? Name a target or a filter, or say --all"),
        (&["--over", "60s"], "linger: end whom?"),
        (
            &["--all", "--listener", "resp"],
            "error: the argument '--all' cannot be used with '--listener <NAME>'",
        ),
        (&["--stop", "dev1"], "error: the argument '--stop' cannot be used with '[TARGET]'"),
        (
            &["--listener", "resp", "--over", "60"],
            "error: invalid value '60' for '--over <TIME>': has no unit",
        ),
    ] {
        let (code, text) = end(&server, arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {text}");
        assert!(text.starts_with(said), "{arguments:?}: {text}");
    }
    let (code, text) = end(&server, &["9-9"]);
    assert_eq!((code, text.as_str()), (Some(1), "linger: connection 9-9 is gone\n"));
    assert_eq!(server.connections("resp").len(), 2);
}

#[test]
fn connections_are_listed_and_the_exit_status_says_whether_there_are_some() {
    for workers in [1, 2] {
        let server = start(workers, RESP, &[]);
        let _clients = identified(&server, 3);
        let list = |arguments: &[&str]| run(&server, "connections", arguments);
        let (code, text) = list(&["--listener", "resp"]);
        let lines: Vec<_> = text.lines().collect();
        assert!(code == Some(0) && lines[0].starts_with("KEY ") && lines[4..] == ["3 connections"], "{text}");
        assert!((0..3).all(|number| text.contains(&format!(" dev{number} "))), "{text}");
        let (code, text) = list(&["dev1", "--state", "open"]);
        assert!(code == Some(0) && text.contains(" dev1 ") && text.ends_with("\n1 connection\n"), "{text}");
        let (code, text) = list(&["--limit", "2"]);
        assert!(code == Some(0) && text.ends_with("\n3 connections; 1 more with --limit\n"), "{text}");
        assert_eq!(list(&["nobody"]), (Some(1), "0 connections\n".to_owned()));
        let (code, text) = list(&["--state", "opn"]);
        assert!(code == Some(2) && text.contains("did you mean open? "), "{text}");
        let (code, text) = list(&["--json"]);
        assert!(code == Some(0) && text.contains("\"matched\":3"), "{text}");
    }
}
