//! Who connects and is not served: one too many for a listener that sheds, and who speaks something else.

#![allow(clippy::float_cmp, reason = "metrics are whole numbers")]
#![allow(clippy::disallowed_types, reason = "clients of the tests are ordinary blocking ones")]

use crate::common::{Client, Server, until};
use serde_json::Value;
use std::io::Read;
use std::net::TcpStream;

/// A client whose first command is answered.
fn served(server: &Server) -> Client {
    let mut client = server.connect("resp");
    client.ask("PING", "+PONG\r\n");
    client
}

fn gauge(server: &Server, name: &str) -> f64 {
    server.metrics()[name]
}

#[test]
fn who_finds_all_places_taken_is_told_and_takes_none() {
    const FULL: &str = "-ERR max number of clients reached\r\n";
    // None of them closes; each client has a minute for that.
    let server = Server::start(&[
        "--listen",
        "resp://127.0.0.1:0?overload=shed&linger=60s&max_connections=4",
        "--admin",
        "127.0.0.1:0",
    ]);
    let before = server.descriptors();
    let mut clients: Vec<_> = (0..4).map(|_| served(&server)).collect();
    clients[0].ask("SUBSCRIBE news", "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");

    // Some are reset before they know that they are connected.
    let come = |_| TcpStream::connect(server.address("resp")).ok().map(|stream| Client { stream });
    let mut crowd: Vec<_> = (0..300).filter_map(come).collect();
    until("all of them", || gauge(&server, "linger_connections_shed_total") >= 300.0);
    // Of those, a few are held, and for as short a time.
    assert!(server.descriptors() <= before + 4 + 32 + 4, "{} descriptors", server.descriptors());
    assert_eq!(gauge(&server, "linger_listener_connections{listener=\"resp\",protocol=\"resp\"}"), 4.0);
    let open = server.metrics().into_iter().filter(|(name, _)| name.starts_with("linger_connections{"));
    assert_eq!(open.map(|(_, count)| count).sum::<f64>(), 4.0);
    clients[1].send("CLIENT LIST\r\n");
    let mut header = [0; 4];
    clients[1].stream.read_exact(&mut header).expect("a length");
    clients[1].expect_until("\r\n");
    for _ in 0..4 {
        clients[1].expect_until("\n");
    }
    clients[1].expect("\r\n");

    // They are told, or reset; what they say is not understood.
    let mut told = 0;
    for client in &mut crowd {
        let said = client.read_to_end().unwrap_or_default();
        assert!(said.is_empty() || said == FULL.as_bytes(), "{}", said.escape_ascii());
        told += usize::from(!said.is_empty());
    }
    assert!((1..=64).contains(&told), "{told} of them were told");
    until("the last of them to be gone", || server.ended("local.limit") == 300);
    let mut late = server.connect("resp");
    late.send("PUBLISH news lies\r\nIDENT thief\r\nCLIENT KILL TYPE pubsub\r\n");
    late.expect(FULL);
    clients[1].ask("WHO", "*0\r\n");
    clients[1].ask("PUBLISH news true", ":1\r\n");
    clients[0].expect("*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$4\r\ntrue\r\n");

    // A place that is free is free at once, although those who were refused are not gone yet.
    let refused: Vec<_> = (0..20)
        .map(|_| {
            let mut client = server.connect("resp");
            client.expect(FULL);
            client
        })
        .collect();
    drop(clients.pop());
    until("its place", || gauge(&server, "linger_ends_total{class=\"peer\",reason=\"peer.fin\"}") >= 1.0);
    let _newcomer = served(&server);
    drop((refused, late));
}

#[test]
fn echo_has_no_words_for_it_and_resets() {
    let server = Server::start(&["--listen", "echo://127.0.0.1:0?overload=shed&max_connections=1"]);
    let mut first = server.connect("echo");
    first.send("a");
    first.expect("a");
    let mut second = server.connect("echo");
    assert!(second.read_to_end().is_err(), "it is reset");
    let end = &server.wait_ends(1)[0];
    assert_eq!([&end["reason"], &end["close"]], ["local.limit", "reset"]);
}

/// What a client is told that begins like this, and its record.
fn told(server: &Server, listener: &str, bytes: &[u8], ends: usize) -> (String, Value) {
    let mut client = server.connect(listener);
    // In two pieces: it is the same however it is cut.
    client.send(&bytes[..3]);
    let _ = std::io::Write::write(&mut client.stream, &bytes[3..]);
    client.half_close();
    let said = client.read_to_end().expect("an end of file");
    until("its record", || server.ends().len() >= ends);
    let end = server.ends().swap_remove(ends - 1);
    (String::from_utf8_lossy(&said).into_owned(), end)
}

#[test]
fn who_speaks_something_else_is_named() {
    let server = Server::start(&["--listen", "resp://127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    let rows: &[(&str, &[u8], &str, &str)] = &[
        ("resp", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x0a'\x0a", "tls", "TLS"),
        ("resp", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "http", "HTTP"),
        ("resp", b"\x10\x12\x00\x04MQTT\x04\x02\x00<\x00\x06device", "mqtt", "MQTT"),
        ("resp", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nPING\r\n", "proxy_v1", "the PROXY protocol"),
        ("resp", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c", "proxy_v2", "the PROXY protocol"),
        ("resp", b"SSH-2.0-OpenSSH_9.2\r\n", "ssh", "SSH"),
        ("admin", b"*1\r\n$7\r\nCOMMAND\r\n", "resp", ""),
        ("admin", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "tls", ""),
    ];
    for (index, &(listener, bytes, spoke, title)) in rows.iter().enumerate() {
        let (said, end) = told(&server, listener, bytes, index + 1);
        if listener == "resp" {
            assert_eq!(said, format!("-ERR Protocol error: {title} is not spoken here\r\n"));
        } else {
            assert!(said.starts_with("HTTP/1.1 400 "), "{said}");
        }
        assert_eq!([&end["reason"], &end["spoke"]], ["protocol.unsupported", spoke], "{end}");
    }
    // It is said once, with what to do; the record says it each time.
    told(&server, "resp", rows[0].1, rows.len() + 1);
    let lines = server.events("foreign_protocol");
    assert_eq!(lines.len(), rows.len(), "{lines:?}");
    assert!(lines.iter().all(|line| line["level"] == "INFO" && line["advice"].is_string()), "{lines:?}");
}
