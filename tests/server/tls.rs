//! TLS on listeners and towards upstream servers, with ordinary clients on the real kernel.

#![allow(clippy::unwrap_used, reason = "an unwrap that fails is a test that fails")]
#![allow(clippy::disallowed_types, reason = "clients and servers of the tests are ordinary blocking ones")]

use crate::common::file::TempFile;
use crate::common::tls::{House, TlsClient};
use crate::common::{DEADLINE, Server, until, wait_for};
use rustls::StreamOwned;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

fn start(listeners: &[String]) -> Server {
    let mut arguments = vec!["--admin", "127.0.0.1:0"];
    arguments.extend(listeners.iter().flat_map(|url| ["--listen", url.as_str()]));
    Server::start(&arguments)
}

/// The reason, the detector and the way of closing of the only ending.
fn only_end(server: &Server) -> [String; 3] {
    let end = server.wait_ends(1).remove(0);
    ["reason", "detector", "close"].map(|field| end[field].as_str().unwrap().to_owned())
}

#[test]
fn echo_and_commands_work_over_tls_and_so_does_the_admin_interface() {
    let house = House::new();
    let admin = format!("admin.tls.certificate={}", house.server.path());
    let (echo, resp) = (house.listener("echos", ""), house.listener("resps", ""));
    let server =
        Server::start(&["--listen", &echo, "--listen", &resp, "--admin", "127.0.0.1:0", "--set", &admin]);
    let trust = house.trust(None);
    let mut echo = server.connect_tls("echo", &trust);
    let long = "x".repeat(60_000);
    for text in ["hello", &long] {
        echo.asks(text, text);
    }
    server.connect_tls("resp", &trust).asks("PING\r\n", "+PONG\r\n");
    let mut admin = server.connect_tls("admin", &trust);
    admin.send("GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n");
    let mut page = String::new();
    admin.0.read_to_string(&mut page).unwrap();
    assert!(page.contains("linger_tls_handshakes_total{listener=\"echo\",kind=\"full\"} 1\n"), "{page}");
    assert!(page.contains("linger_tls_certificate_expiry_timestamp_seconds{listener=\"resp\""));
}

#[test]
fn the_end_of_a_stream_is_told_from_one_that_was_cut() {
    let house = House::new();
    let trust = house.trust(None);
    for (says_it, expected) in [
        (true, ["peer.fin", "protocol", "peer_first"]),
        (false, ["peer.truncated", "zero_read", "peer_first"]),
    ] {
        let server = start(&[house.listener("echos", "")]);
        let mut client = server.connect_tls("echo", &trust);
        client.asks("hello", "hello");
        if says_it {
            client.say_last_word();
            client.expect_end();
        }
        client.0.sock.shutdown(Shutdown::Write).unwrap();
        assert_eq!(only_end(&server), expected);
    }
}

#[test]
fn we_say_our_last_word_and_let_the_client_close_first() {
    let house = House::new();
    let server = start(&[house.listener("resps", "")]);
    let mut client = server.connect_tls("resp", &house.trust(None));
    client.asks("PING\r\n", "+PONG\r\n");
    server.signal("TERM");
    let mut rest = Vec::new();
    client.0.read_to_end(&mut rest).expect("a last word, and no FIN alone");
    drop(client);
    assert_eq!(only_end(&server), ["local.drain", "policy", "peer_first_after_goodbye"]);
}

#[test]
fn who_never_finishes_the_handshake_is_ended() {
    let house = House::new();
    let server = start(&[house.listener("echos", "&handshake_timeout=300ms")]);
    let _silent = server.connect("echo");
    assert_eq!(only_end(&server)[0], "protocol.handshake_timeout");
}

#[test]
fn what_is_no_tls_is_refused_with_an_alert() {
    let house = House::new();
    let server = start(&[house.listener("resps", "")]);
    let mut client = server.connect("resp");
    client.send("GET / HTTP/1.1\r\n\r\n");
    client.expect([21, 3, 3, 0, 2, 2, 50]);
    drop(client);
    assert_eq!(only_end(&server)[0], "protocol.tls");
    let end = server.ends().remove(0);
    assert_eq!((&end["alert"], &end["spoke"]), (&"local:decode_error".into(), &"http".into()));
    server.connect("resp").send("*1\r\n$4\r\nPING\r\n");
    assert_eq!(server.wait_ends(2)[1]["spoke"], "resp");
    // What to do about it is said.
    server.logs("foreign_protocol", 2);
}

#[test]
fn keys_may_be_renewed_and_who_does_nothing_else_is_ended() {
    let house = House::new();
    let server = start(&[house.listener("echos", "")]);
    let mut client = server.connect_tls("echo", &house.trust(None));
    let renew = |client: &mut TlsClient| client.0.conn.refresh_traffic_keys().unwrap();
    for _ in 0..100 {
        renew(&mut client);
        client.asks("hello", "hello");
    }
    (0..100).for_each(|_| renew(&mut client));
    // It may be answered by a reset before all of that is sent.
    let _ = client.0.flush();
    assert_eq!(only_end(&server)[0], "protocol.tls");
}

#[test]
fn a_certificate_names_a_client_whatever_it_speaks_and_the_newer_one_stays() {
    let house = House::new();
    let asks = format!("&tls.client_certificate=required&tls.client_ca={}&tls.identity=cn", house.ca.path());
    let server = start(&[house.listener("echos", &asks), house.listener("resps", &asks)]);
    let device = house.trust(Some(&house.authority.sign("dev1")));
    let mut first = server.connect_tls("echo", &device);
    first.asks("hello", "hello");
    let mut second = server.connect_tls("resp", &device);
    second.asks("STATE dev1\r\n", "+online\r\n");
    second.asks(
        "IDENT dev2\r\n",
        "-ERR this connection has the identity that its certificate says, and no other\r\n",
    );
    first.expect_end();
    drop(first);
    let end = server.wait_ends(1).remove(0);
    assert_eq!((&end["reason"], &end["identity"]), (&"peer.replaced".into(), &"dev1".into()));
    // Without one, nobody is served.
    TlsClient::connect(server.address("echo"), &house.trust(None)).expect_refusal();
    assert_eq!(server.wait_ends(2)[1]["alert"], "local:certificate_required");
}

#[test]
fn a_name_in_a_certificate_is_an_identity_whole_or_its_client_is_refused() {
    let house = House::new();
    let asks = format!("&tls.client_certificate=required&tls.client_ca={}&tls.identity=cn", house.ca.path());
    let server = start(&[house.listener("resps", &asks)]);
    let device = |name: &str| house.trust(Some(&house.authority.sign(name)));
    // Longer than X.520 says, and as long as an identity may be.
    for name in ["n".repeat(65), "n".repeat(128)] {
        let mut client = server.connect_tls("resp", &device(&name));
        client.asks(format!("STATE {name}\r\n"), "+online\r\n");
    }
    for (name, why) in [
        ("n".repeat(129), "an identity is 1 to 128 bytes of UTF-8 without blanks"),
        ("n".repeat(257), "has no name where tls.identity says, or one of more than 256 bytes"),
    ] {
        TlsClient::connect(server.address("resp"), &device(&name)).expect_refusal();
        let says = |event: &Value| event["text"].as_str().is_some_and(|text| text.contains(why));
        until(why, || server.events("protocol_error").iter().any(says));
    }
    until("their records", || server.ended("protocol.tls") == 2);
}

#[test]
fn certificates_and_what_was_revoked_are_read_again_without_touching_a_connection() {
    let house = House::new();
    let (device, crl) = (house.authority.sign("dev1"), TempFile::new(&house.authority.revoke(&[])));
    let asks = format!(
        "client_certificate = 'required'\nclient_ca = '{}'\nclient_crl = '{}'",
        house.ca.path(),
        crl.path()
    );
    let text = format!(
        "[admin]\naddress = '127.0.0.1:0'\n[[listener]]\nprotocol = 'echo'\naddress = '127.0.0.1:0'\n[listener.tls]\ncertificate = '{}'\n{asks}\n",
        house.server.path()
    );
    let file = TempFile::new(&text);
    let server = Server::start(&["--config", file.path()]);
    let trust = house.trust(Some(&device));
    let mut before = server.connect_tls("echo", &trust);
    before.asks("hello", "hello");
    crl.write(&house.authority.revoke(&[&device]));
    house.server.write(&house.authority.sign_until("localhost", 3000).both());
    server.reload(&file, &text);
    assert!(server.events("reload_refused").is_empty());
    before.asks("still here", "still here");
    TlsClient::connect(server.address("echo"), &trust).expect_refusal();
    assert_eq!(server.wait_ends(1)[0]["alert"], "local:certificate_revoked");
    // What cannot be used changes nothing.
    house.server.write("no PEM");
    server.reload(&file, &text);
    until("the refusal", || !server.events("reload_refused").is_empty());
    let said = server.events("reload_refused")[0]["mistake"].as_str().unwrap().to_owned();
    assert!(said.contains("has no certificate"), "{said}");
    before.asks("and still", "and still");
}

#[test]
fn what_protects_an_address_stays_with_it_when_the_file_moves_it() {
    let house = House::new();
    let tls = format!("[listener.tls]\ncertificate = '{}'\n", house.server.path());
    let at = |address: &str, tls: &str| {
        format!(
            "[admin]\naddress = '127.0.0.1:0'\n[[listener]]\nprotocol = 'echo'\naddress = '{address}'\n{tls}"
        )
    };
    for workers in ["1", "2"] {
        let file = TempFile::new(&at("127.0.0.1:0", &tls));
        let server = Server::start(&["--config", file.path(), "--workers", workers]);
        server.reload(&file, &at("127.0.0.2:0", ""));
        assert!(server.events("reload_refused").is_empty());
        server.connect_tls("echo", &house.trust(None)).asks("still secret", "still secret");
    }
}

#[test]
fn mistakes_in_certificates_stop_the_start_with_one_sentence_each() {
    let house = House::new();
    let other = TempFile::new(&house.authority.sign("other").key);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_linger"))
        .args(["check", "--listen", &house.listener("echos", &format!("&tls.key={}", other.path()))])
        .args(["--listen", "resps://127.0.0.1:0?tls.certificate=/nowhere.pem"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(said.contains("is not the key of the certificate in"), "{said}");
    assert!(said.contains("/nowhere.pem: "), "{said}");
    assert!(said.contains("2 mistakes"), "{said}");
}

#[test]
fn a_gateway_speaks_tls_to_clients_and_a_fin_goes_both_ways_behind_the_last_words() {
    let house = House::new();
    let backend = TcpListener::bind("127.0.0.1:0").unwrap();
    let server =
        start(&[house.listener("tls", &format!("&name=gate&upstream={}", backend.local_addr().unwrap()))]);
    let mut client = server.connect_tls("gate", &house.trust(None));
    let mut app = accept(&backend);
    client.send("hello");
    let mut got = [0; 5];
    app.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"hello");
    client.say_last_word();
    assert_eq!(app.read(&mut [0]).unwrap(), 0, "a last word is what a FIN is");
    app.write_all(b"answer").unwrap();
    client.expect("answer");
    drop(app);
    client.expect_end();
    drop(client);
    let pair = wait_for("the pair", || server.events("pair").into_iter().next());
    assert_eq!((&pair["bytes_up"], &pair["bytes_down"]), (&5.into(), &6.into()));
    assert_eq!((&pair["lost_up"], &pair["lost_down"]), (&0.into(), &0.into()));
}

#[test]
fn all_that_comes_with_the_last_of_the_handshake_reaches_the_server_behind_a_gateway() {
    let house = House::new();
    let backend = TcpListener::bind("127.0.0.1:0").unwrap();
    let server =
        start(&[house.listener("tls", &format!("&name=gate&upstream={}", backend.local_addr().unwrap()))]);
    let mut client = TlsClient::connect(server.address("gate"), &house.trust(None));
    let StreamOwned { conn, sock } = &mut client.0;
    conn.write_tls(sock).unwrap();
    while conn.is_handshaking() {
        conn.read_tls(sock).unwrap();
        conn.process_new_packets().unwrap();
    }
    // The rest of the handshake, the data and the last word leave in one segment.
    conn.writer().write_all(b"all at once").unwrap();
    conn.send_close_notify();
    let mut wire = Vec::new();
    while conn.wants_write() {
        conn.write_tls(&mut wire).unwrap();
    }
    sock.write_all(&wire).unwrap();
    let mut app = accept(&backend);
    let mut got = Vec::new();
    app.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"all at once");
    app.write_all(b"answer").unwrap();
    drop(app);
    client.expect("answer");
    client.expect_end();
}

#[test]
fn what_comes_behind_the_header_of_a_proxy_waits_for_the_handshake_with_the_server() {
    let house = House::new();
    let app = start(&[house.listener("echos", "")]);
    let (gate, _) =
        before(&app, &house, "localhost", "accept_proxy = 'require'\naccept_proxy_trusted = '127.0.0.1'\n");
    let mut client = gate.connect("gate");
    client.send("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nhello");
    client.expect("hello");
}

#[test]
fn who_speaks_no_tls_to_a_gateway_holds_no_place_for_it() {
    let house = House::new();
    let server = start(&[house.listener("tls", "&name=gate&linger=100ms&linger_max=1s")]);
    let mut client = server.connect("gate");
    client.send("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(only_end(&server)[0], "protocol.tls", "although it stays connected");
}

#[test]
fn a_reset_of_its_session_leaves_a_client_who_it_is() {
    let house = House::new();
    let asks = format!("&tls.client_certificate=required&tls.client_ca={}&tls.identity=cn", house.ca.path());
    let server = start(&[house.listener("resps", &asks)]);
    let mut client = server.connect_tls("resp", &house.trust(Some(&house.authority.sign("dev1"))));
    client.asks("RESET\r\nSTATE dev1\r\n", "+RESET\r\n+online\r\n");
}

/// The next connection to the server behind a gateway.
fn accept(backend: &TcpListener) -> TcpStream {
    backend.set_nonblocking(true).unwrap();
    let (app, _) = wait_for("its gateway", || backend.accept().ok());
    app.set_read_timeout(Some(DEADLINE)).unwrap();
    app
}

/// A gateway of ours before a server of ours that speaks TLS: `query` is of the server.
fn before_tls(house: &House, name: &str, query: &str) -> (Server, Server) {
    let app = start(&[house.listener("echos", query)]);
    let (gate, _) = before(&app, house, name, "");
    (gate, app)
}

/// The gateway, whose listener has these settings more, and its configuration.
fn before(app: &Server, house: &House, name: &str, more: &str) -> (Server, TempFile) {
    let text = format!(
        "[admin]\naddress = '127.0.0.1:0'\n[[listener]]\nprotocol = 'tcp'\nname = 'gate'\naddress = '127.0.0.1:0'\nupstream = 'app'\n{more}\
         [upstream.app]\nservers = '{}'\ntls = {{ enabled = true, name = '{name}', ca = '{}' }}\n",
        app.address("echo"),
        house.ca.path()
    );
    let file = TempFile::new(&text);
    (Server::start(&["--config", file.path()]), file)
}

#[test]
fn an_upstream_server_is_spoken_to_over_tls_and_is_said_goodbye() {
    let house = House::new();
    let (gate, app) = before_tls(&house, "localhost", "");
    let mut client = gate.connect("gate");
    let long = "x".repeat(200_000);
    client.send(&long);
    client.expect(&long);
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read_to_end().unwrap(), b"");
    assert_eq!(app.wait_ends(1)[0]["reason"], "peer.fin", "a last word went before the FIN");
    let pair = wait_for("the pair", || gate.events("pair").into_iter().next());
    assert_eq!((&pair["bytes_up"], &pair["bytes_down"]), (&200_000.into(), &200_000.into()));
    assert_eq!((&pair["lost_up"], &pair["lost_down"]), (&0.into(), &0.into()));
}

#[test]
fn a_server_whose_certificate_is_not_its_own_is_not_spoken_to() {
    let house = House::new();
    let (gate, app) = before_tls(&house, "other.example", "");
    let mut client = gate.connect("gate");
    assert!(client.read_to_end().is_err(), "a reset");
    let ends = gate.wait_ends(2);
    let upstream = ends.iter().find(|end| end["leg"] == "upstream").unwrap();
    assert_eq!(
        (&upstream["reason"], &upstream["alert"]),
        (&"upstream.tls".into(), &"local:bad_certificate".into())
    );
    assert_eq!(app.wait_ends(1)[0]["alert"], "peer:bad_certificate");
}

#[test]
fn a_server_that_never_finishes_the_handshake_is_given_up() {
    let house = House::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = format!(
        "[admin]\naddress = '127.0.0.1:0'\n[[listener]]\nprotocol = 'tcp'\nname = 'gate'\naddress = '127.0.0.1:0'\nupstream = 'app'\n\
         [upstream.app]\nservers = '{}'\nconnect_timeout = '200ms'\ntls = {{ enabled = true, name = 'app', ca = '{}' }}\n",
        silent.local_addr().unwrap(),
        house.ca.path()
    );
    let file = TempFile::new(&text);
    let gate = Server::start(&["--config", file.path()]);
    assert!(gate.connect("gate").read_to_end().is_err(), "a reset");
    let upstream = wait_for("its end", || gate.ends().into_iter().find(|end| end["leg"] == "upstream"));
    assert_eq!(upstream["reason"], "upstream.connect_timeout");
}

/// The settings of a gateway's listener that speaks TLS, too.
fn and_here(house: &House) -> String {
    format!("tls = {{ certificate = '{}' }}\n", house.server.path())
}

#[test]
fn what_was_cut_on_one_side_of_a_gateway_is_seen_as_cut_on_the_other() {
    let house = House::new();
    for half_close in ["forward", "end"] {
        let app = start(&[house.listener("echos", "")]);
        let more = format!("half_close = '{half_close}'\n{}", and_here(&house));
        let (gate, _file) = before(&app, &house, "localhost", &more);
        let mut client = gate.connect_tls("gate", &house.trust(None));
        client.asks("hello", "hello");
        client.0.sock.shutdown(Shutdown::Write).unwrap();
        assert_eq!(app.wait_ends(1)[0]["reason"], "peer.truncated", "{half_close}");
        assert!(gate.wait_ends(2).iter().all(|end| end["reason"] == "peer.truncated"));
        // The server is killed: its kernel closes for it.
        let mut client = gate.connect_tls("gate", &house.trust(None));
        client.asks("hello", "hello");
        app.signal("KILL");
        let error = client.0.read(&mut [0]).expect_err("an end without a last word");
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{half_close}");
        drop(client);
        let ends = gate.wait_ends(4);
        let upstream = ends.iter().rfind(|end| end["leg"] == "upstream").unwrap();
        assert_eq!(upstream["reason"], "upstream.truncated", "{half_close}");
    }
}

#[test]
fn a_client_of_a_gateway_that_waits_for_our_last_word_with_its_fin_has_left_by_its_own() {
    let house = House::new();
    let app = start(&["echo://127.0.0.1:0".to_owned()]);
    let text = format!(
        "[admin]\naddress = '127.0.0.1:0'\n[[listener]]\nprotocol = 'tcp'\nname = 'gate'\naddress = '127.0.0.1:0'\nupstream = '{}'\n{}",
        app.address("echo"),
        and_here(&house)
    );
    let file = TempFile::new(&text);
    let gate = Server::start(&["--config", file.path()]);
    let mut client = gate.connect_tls("gate", &house.trust(None));
    client.asks("hello", "hello");
    client.say_last_word();
    client.expect_end();
    drop(client);
    let ends = gate.wait_ends(2);
    let of = |leg: &str| {
        let end = ends.iter().find(|end| end["leg"] == leg).unwrap();
        ["reason", "detector"].map(|key| end[key].as_str().unwrap().to_owned())
    };
    assert_eq!([of("client"), of("upstream")], [["peer.fin", "protocol"], ["peer.fin", "partner"]]);
    let pair = wait_for("the pair", || gate.events("pair").into_iter().next());
    assert_eq!((&pair["reason"], &pair["by"]), (&"peer.fin".into(), &"client".into()), "{pair}");
}

#[test]
fn an_alert_right_before_a_reset_is_read() {
    let backend = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = format!(
        "[admin]\naddress = '127.0.0.1:0'\n[[listener]]\nprotocol = 'tcp'\nname = 'gate'\naddress = '127.0.0.1:0'\nupstream = 'app'\n\
         [upstream.app]\nservers = '{}'\ntls = {{ enabled = true, name = 'app', verify = false }}\n",
        backend.local_addr().unwrap()
    );
    let file = TempFile::new(&text);
    let gate = Server::start(&["--config", file.path()]);
    let mut client = gate.connect("gate");
    let mut app = accept(&backend);
    app.read_exact(&mut [0; 5]).unwrap();
    // Both are there when it looks; what is unread makes the close a reset.
    gate.signal("STOP");
    app.write_all(&[21, 3, 3, 0, 2, 2, 40]).unwrap();
    drop(app);
    gate.signal("CONT");
    assert!(client.read_to_end().is_err(), "a reset");
    let upstream = wait_for("its end", || gate.ends().into_iter().find(|end| end["leg"] == "upstream"));
    assert_eq!(
        (&upstream["reason"], &upstream["alert"], &upstream["detector"]),
        (&"upstream.tls".into(), &"peer:handshake_failure".into(), &"connect".into())
    );
}

#[test]
fn our_certificate_towards_a_server_is_watched_as_those_of_listeners_are() {
    let house = House::new();
    let own = TempFile::new(&house.authority.sign_until("gate", 2020).both());
    let text = format!(
        "[admin]\naddress = '127.0.0.1:0'\n[[listener]]\nprotocol = 'tcp'\naddress = '127.0.0.1:0'\nupstream = 'app'\n\
         [upstream.app]\nservers = '127.0.0.1:1'\ntls = {{ enabled = true, name = 'app', verify = false, certificate = '{}' }}\n",
        own.path()
    );
    let file = TempFile::new(&text);
    let gate = Server::start(&["--config", file.path()]);
    let warned = wait_for("the warning", || gate.events("certificate_expires").pop());
    assert_eq!((&warned["upstream"], &warned["file"]), (&"app".into(), &own.path().into()));
    let metric = format!(
        "linger_upstream_tls_certificate_expiry_timestamp_seconds{{upstream=\"app\",file=\"{}\"}}",
        own.path()
    );
    let expires = gate.metrics()[&metric];
    assert!((1.5e9..1.6e9).contains(&expires), "{expires}");
}
