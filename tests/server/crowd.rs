//! Who is let in: by network, by source, by rate; and who has been here for long enough.

#![allow(clippy::disallowed_types, reason = "clients of the tests are ordinary blocking ones")]
#![allow(clippy::unwrap_used, reason = "an unwrap that fails is a test that fails")]

use crate::common::file::TempFile;
use crate::common::{Client, DEADLINE, Server, until};
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use std::net::SocketAddr;

/// A client from that address. None: it was reset before it knew that it was connected.
fn come(server: &Server, listener: &str, from: [u8; 4]) -> Option<Client> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&server.address(listener).into()).ok()?;
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.set_write_timeout(Some(DEADLINE)).unwrap();
    Some(Client { stream: socket.into() })
}

/// The same of an echo listener, if it is served.
fn served(server: &Server, from: [u8; 4]) -> Option<Client> {
    let mut client = come(server, "echo", from)?;
    std::io::Write::write_all(&mut client.stream, b"a").ok()?;
    std::io::Read::read_exact(&mut client.stream, &mut [0]).ok()?;
    Some(client)
}

const A: [u8; 4] = [127, 0, 0, 7];
const B: [u8; 4] = [127, 0, 0, 8];

fn last_end(server: &Server) -> Value {
    server.wait_ends(1).pop().unwrap()
}

#[test]
fn one_source_has_so_many_connections_and_the_others_theirs() {
    let file = TempFile::new("");
    let text = |most: &str| {
        format!(
            "[[listener]]\nprotocol = 'echo'\naddress = '127.0.0.1:0'\n{most}\n[admin]\naddress = '127.0.0.1:0'"
        )
    };
    file.write(&text("source.max_connections = 2"));
    let server = Server::start(&["--config", file.path()]);
    let first = served(&server, A).expect("a place");
    let _second = served(&server, A).expect("a place");
    assert!(served(&server, A).is_none());
    let end = last_end(&server);
    assert_eq!([&end["reason"], &end["detector"], &end["close"]], ["local.source_limit", "policy", "reset"]);
    assert!(end["peer"].as_str().unwrap().starts_with("127.0.0.7:"), "{end}");
    let _other = served(&server, B).expect("a place of its own");
    drop(first);
    until("its place to be free", || server.ended("peer.fin") == 1);
    let _third = served(&server, A).expect("that place");
    assert!(served(&server, A).is_none());

    // A reload keeps what was counted, forgets what nobody asks for, and begins anew.
    server.reload(&file, &text("source.max_connections = 3"));
    let _fourth = served(&server, A).expect("one more place");
    assert!(served(&server, A).is_none());
    server.reload(&file, &text(""));
    let _fifth = served(&server, A).expect("any number");
    server.reload(&file, &text("source.max_connections = 1"));
    let _sixth = served(&server, A).expect("those who were here are not counted");
    assert!(served(&server, A).is_none());
    assert_eq!(server.ended("local.source_limit"), 4);
    assert!(server.events("reload_note").is_empty());
}

#[test]
fn one_source_comes_so_often_and_the_others_do_not_wait() {
    let server =
        Server::start(&["--listen", "echo://127.0.0.1:0?source.accept_rate=1", "--admin", "127.0.0.1:0"]);
    until("one is refused", || served(&server, A).is_none());
    assert_eq!(server.ended("local.source_rate"), 1);
    served(&server, B).expect("it has not come before");
    until("it may come again", || served(&server, A).is_some());
}

#[test]
fn networks_that_may_not_come_are_reset() {
    let file = TempFile::new("");
    let text = |who: &str| {
        format!(
            "[[listener]]\nprotocol = 'echo'\naddress = '127.0.0.1:0'\n{who}\n[admin]\naddress = '127.0.0.1:0'"
        )
    };
    file.write(&text("deny = ['127.0.0.7', '192.0.2.0/24']"));
    let server = Server::start(&["--config", file.path()]);
    assert!(served(&server, A).is_none());
    let end = last_end(&server);
    assert_eq!([&end["reason"], &end["close"]], ["local.denied", "reset"]);
    assert!(served(&server, B).is_some());
    server.reload(&file, &text("allow = '127.0.0.7'"));
    assert!(served(&server, A).is_some());
    assert!(served(&server, B).is_none());
    assert_eq!(server.ended("local.denied"), 2);
    assert!(server.metrics()["linger_connections_accepted_total"] >= 4.0);
}

#[test]
fn where_all_come_too_often_they_wait_their_turn_or_are_shed() {
    let server = Server::start(&[
        "--listen",
        "echo://127.0.0.1:0?name=echo&accept_rate=4",
        "--listen",
        "echo://127.0.0.1:0?name=shed&accept_rate=1&overload=shed",
        "--admin",
        "127.0.0.1:0",
    ]);
    // Each of them waits, and is served.
    let all: Vec<_> = (0..7).map(|_| come(&server, "echo", A).expect("the queue has room")).collect();
    for mut client in all {
        client.send("a");
        client.expect("a");
    }
    let stalled = server.events("accept_stalled");
    assert!(stalled.iter().any(|it| it["why"].as_str().unwrap().contains("accept_rate")), "{stalled:?}");
    assert!(server.admin("GET", "/readyz").0.contains("200"), "newcomers are served, if a little later");
    until("one is shed", || {
        let _ = come(&server, "shed", A);
        server.ended("local.accept_rate") > 0
    });
}

#[test]
fn who_is_old_is_told_so_and_closes_first() {
    let server = Server::start(&["--listen", "resp://127.0.0.1:0?max_age=500ms", "--admin", "127.0.0.1:0"]);
    let mut client = server.connect("resp");
    client.ask("PING", "+PONG\r\n");
    // It is told, and closes.
    client.expect_until("\r\n");
    drop(client);
    let end = last_end(&server);
    assert_eq!(
        [&end["reason"], &end["detector"], &end["close"]],
        ["local.max_age", "timer", "peer_first_after_goodbye"]
    );
    assert!(end["age_s"].as_f64().unwrap() >= 0.45, "{end}");
}

#[test]
fn the_admin_interface_has_the_same_limits_also_that_of_several_workers() {
    for workers in ["1", "2"] {
        let server = Server::start(&[
            "--listen",
            "echo://127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
            "--set",
            "admin.allow=127.0.0.8",
            "--set",
            "admin.source.max_connections=1",
            "--set",
            &format!("server.workers={workers}"),
        ]);
        let healthy = |from| -> Option<Client> {
            let mut client = come(&server, "admin", from)?;
            let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
            std::io::Write::write_all(&mut client.stream, request).ok()?;
            std::io::Read::read_exact(&mut client.stream, &mut [0; 12]).ok()?;
            Some(client)
        };
        assert!(healthy(A).is_none(), "{workers}");
        let first = healthy(B).expect("it may");
        assert!(healthy(B).is_none(), "{workers}");
        drop(first);
        until("its place is free", || healthy(B).is_some());
        let refused = |reason: &str| {
            let mut told = server.events(if workers == "1" { "end" } else { "refused" });
            told.retain(|told| told["listener"] == "admin" && told["reason"] == reason);
            !told.is_empty()
        };
        until("both are told", || refused("local.denied") && refused("local.source_limit"));
    }
}
