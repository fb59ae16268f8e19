//! TLS where several workers serve: they have the same certificates at one moment and from one reading, the same keys for
//! session tickets, and so have those that take the place of others.

use crate::common::file::TempFile;
use crate::common::tls::{House, TlsClient};
use crate::common::{Server, until};
use crate::workers::crowd::{all_serve, pids, served, signal, stop};
use rustls::{ClientConfig, HandshakeKind};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

/// Workers with a listener for echo, whose table of TLS says more.
fn configuration(workers: u32, house: &House, more: &str) -> String {
    format!(
        "[server]\nworkers = {workers}\n[admin]\naddress = '127.0.0.1:0'\n[[listener]]\nprotocol = 'echo'\naddress = \
         '127.0.0.1:0'\n[listener.tls]\ncertificate = '{}'\n{more}",
        house.server.path()
    )
}

/// Connects, and speaks until there are tickets for the next time.
fn connect(server: &Server, trust: &Arc<ClientConfig>) -> (TlsClient, bool) {
    let mut client = server.connect_tls("echo", trust);
    client.asks("hello", "hello");
    let is_resumed = client.0.conn.handshake_kind() == Some(HandshakeKind::Resumed);
    (client, is_resumed)
}

/// Connects until each of these workers has served somebody. Whether all of them had resumed their session.
fn all_resume(server: &Server, trust: &Arc<ClientConfig>, workers: &[u64]) -> bool {
    let (mut clients, mut resumed) = (Vec::new(), true);
    until("connections to all workers", || {
        let (client, is_resumed) = connect(server, trust);
        clients.push(client);
        resumed &= is_resumed;
        let rows = server.connections("echo");
        let seen: BTreeSet<u64> = rows.iter().filter_map(|row| row["worker"].as_u64()).collect();
        workers.iter().all(|worker| seen.contains(worker))
    });
    resumed
}

#[test]
fn a_session_is_resumed_at_any_worker_at_its_successor_and_after_a_reload() {
    let house = House::new();
    let text = configuration(4, &house, "");
    let file = TempFile::new(&text);
    let server = Server::start(&["--config", file.path()]);
    all_serve(&server, 4);
    let trust = house.trust(None);
    assert!(!connect(&server, &trust).1, "nobody has a ticket before");
    assert!(all_resume(&server, &trust, &[1, 2, 3, 4]));
    server.signal("HUP");
    until("the reload of all", || server.events("reloaded").len() == 5);
    assert!(all_resume(&server, &trust, &[1, 2, 3, 4]), "nothing has changed");
    let first = pids(&server)[&2];
    signal(first, "KILL");
    until("its successor", || pids(&server).get(&2).is_some_and(|&pid| pid != first));
    all_serve(&server, 4);
    assert!(all_resume(&server, &trust, &[2]));
}

#[test]
fn who_is_verified_is_given_no_ticket_by_any_worker() {
    let house = House::new();
    let asks = format!("client_certificate = 'required'\nclient_ca = '{}'\n", house.ca.path());
    let file = TempFile::new(&configuration(2, &house, &asks));
    let server = Server::start(&["--config", file.path()]);
    let trust = house.trust(Some(&house.authority.sign("dev1")));
    for _ in 0..4 {
        assert!(!connect(&server, &trust).1);
    }
}

#[test]
fn a_worker_that_is_started_anew_has_what_was_read_last_and_reads_no_file() {
    let house = House::new();
    let text = configuration(2, &house, "");
    let file = TempFile::new(&text);
    let server = Server::start(&["--config", file.path()]);
    all_serve(&server, 2);
    let replaced = |count: usize| {
        for pid in pids(&server).into_values().collect::<Vec<_>>() {
            signal(pid, "KILL");
        }
        until("both successors", || server.events("worker_started").len() == 2 + count);
        all_serve(&server, 2);
    };
    // A renewal that is half done: what is on the disk is nobody's until a reload.
    house.server.write("no PEM");
    replaced(2);
    connect(&server, &house.trust(None));
    let renewed = House::new();
    house.server.write(&renewed.authority.sign("localhost").both());
    server.signal("HUP");
    until("the reload of all", || server.events("reloaded").len() == 3);
    house.server.write("no PEM");
    replaced(4);
    for _ in 0..8 {
        connect(&server, &renewed.trust(None));
    }
}

#[test]
fn a_long_list_of_what_was_revoked_reaches_all_workers() {
    let house = House::new();
    let (device, revoked) = (house.authority.sign("dev1"), house.authority.sign("dev2"));
    // PEM takes any text before its first line (RFC 7468, 2).
    let mut list = String::new();
    while list.len() < 12 << 20 {
        writeln!(list, "line {} of what somebody has to say", list.len()).unwrap();
    }
    let crl = TempFile::new(&house.authority.revoke(&[]));
    let asks = format!(
        "client_certificate = 'required'\nclient_ca = '{}'\nclient_crl = '{}'\n",
        house.ca.path(),
        crl.path()
    );
    let file = TempFile::new(&configuration(2, &house, &asks));
    let server = Server::start(&["--config", file.path()]);
    all_serve(&server, 2);
    crl.write(&(list + &house.authority.revoke(&[&revoked])));
    server.signal("HUP");
    until("the reload of all", || server.events("reloaded").len() == 3);
    let (may, may_not) = (house.trust(Some(&device)), house.trust(Some(&revoked)));
    for _ in 0..4 {
        connect(&server, &may);
        TlsClient::connect(server.address("echo"), &may_not).expect_refusal();
    }
}

#[test]
fn a_worker_that_reads_nothing_is_told_the_newest_configuration_once_it_does() {
    let house = House::new();
    let (device, revoked) = (house.authority.sign("dev1"), house.authority.sign("dev2"));
    // More than its socket takes.
    let long = "what somebody has to say\n".repeat(100_000);
    let crl = TempFile::new(&house.authority.revoke(&[]));
    let asks = format!(
        "client_certificate = 'required'\nclient_ca = '{}'\nclient_crl = '{}'\n",
        house.ca.path(),
        crl.path()
    );
    let text = configuration(2, &house, &asks).replacen("[server]", "[server]\nstall_timeout = 'off'", 1);
    let file = TempFile::new(&text);
    let server = Server::start(&["--config", file.path()]);
    all_serve(&server, 2);
    let stuck = pids(&server)[&2];
    stop(stuck);
    for reload in 1..=6 {
        let list = if reload < 6 { house.authority.revoke(&[]) } else { house.authority.revoke(&[&revoked]) };
        crl.write(&format!("{long}{list}"));
        server.signal("HUP");
        until("a reload of the others", || server.events("reloaded").len() == 2 * reload);
    }
    signal(stuck, "CONT");
    // The first, which has gone out in part, and the last.
    until("its own reloads", || server.events("reloaded").len() >= 6 * 2 + 2);
    let (may, may_not) = (house.trust(Some(&device)), house.trust(Some(&revoked)));
    assert!(!all_resume(&server, &may, &[1, 2]));
    for _ in 0..8 {
        TlsClient::connect(server.address("echo"), &may_not).expect_refusal();
    }
    assert_eq!(server.events("reloaded").len(), 6 * 2 + 2);
}

/// How often a text stands in what a process can write to.
fn times_in_memory(pid: u64, text: &str) -> usize {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let regions = maps.lines().filter_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (from, to) = range.split_once('-').filter(|_| rest.starts_with("rw"))?;
        let [from, to] = [from, to].map(|address| u64::from_str_radix(address, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        // What was given back since it was listed has nothing.
        memory.read_exact_at(&mut bytes, from).ok().map(|()| bytes)
    });
    regions.map(|bytes| memmem(&bytes, text.as_bytes())).sum()
}

fn memmem(bytes: &[u8], text: &[u8]) -> usize {
    let starts = bytes.iter().enumerate().filter(|(_, byte)| **byte == text[0]);
    starts.filter(|(at, _)| bytes[*at..].starts_with(text)).count()
}

#[test]
fn the_text_of_a_private_key_is_wiped_from_the_memory_of_a_worker_once_it_is_read() {
    let house = House::new();
    let text = configuration(2, &house, "");
    let file = TempFile::new(&text);
    let server = Server::start(&["--config", file.path()]);
    all_serve(&server, 2);
    // The end of a line and the beginning of the next: what decodes PEM has only lines.
    let part_of = |key: &str| {
        let (first, rest) = key.split_once("KEY-----\n").unwrap().1.split_once('\n').unwrap();
        format!("{}\n{}", &first[32..], &rest[..32])
    };
    let is_wiped = |part: &str| {
        assert!(times_in_memory(server.pid().into(), part) > 0, "the supervisor has it for those to come");
        for (number, pid) in pids(&server) {
            until(&format!("no trace of it in worker {number}"), || times_in_memory(pid, part) == 0);
        }
    };
    is_wiped(&part_of(&std::fs::read_to_string(house.server.path()).unwrap()));
    for reloads in 1..=2 {
        let renewed = house.authority.sign("localhost");
        house.server.write(&renewed.both());
        server.signal("HUP");
        until("the reload of all", || server.events("reloaded").len() == 3 * reloads);
        is_wiped(&part_of(&renewed.key));
    }
}

/// Two workers behind an admin interface that speaks TLS, whose table says more.
fn with_admin(house: &House, more: &str) -> String {
    format!(
        "[server]\nworkers = 2\n[admin]\naddress = '127.0.0.1:0'\nidle_timeout = '1h'\n{more}tls.certificate = '{}'\n[[listener]]\nprotocol = \
         'resp'\naddress = '127.0.0.1:0'\n",
        house.server.path()
    )
}

/// A request to the admin interface, its answer, and whether its session was resumed.
fn asked(server: &Server, trust: &Arc<ClientConfig>, request: &str) -> (String, bool) {
    let mut client = server.connect_tls("admin", trust);
    client.send(request);
    let mut answer = String::new();
    client.0.read_to_string(&mut answer).expect("an answer, and a last word behind it");
    (answer, client.0.conn.handshake_kind() == Some(HandshakeKind::Resumed))
}

#[test]
fn the_admin_interface_of_several_workers_speaks_tls() {
    let house = House::new();
    let file = TempFile::new(&with_admin(&house, ""));
    let server = Server::start(&["--config", file.path()]);
    let trust = house.trust(None);
    let _client = served(&server);
    until("all workers to serve", || {
        asked(&server, &trust, "GET /readyz HTTP/1.0\r\n\r\n").0.contains(" 200 OK\r\n")
    });
    let (page, is_resumed) = asked(&server, &trust, "GET /metrics HTTP/1.0\r\n\r\n");
    assert!(is_resumed, "it has come before");
    assert!(page.contains("linger_worker_up{worker=\"2\"} 1\n"), "{page}");
    assert!(page.contains("linger_tls_handshakes_total{listener=\"admin\",kind=\"full\"} 1\n"), "{page}");
    let expiry =
        "linger_tls_certificate_expiry_timestamp_seconds{listener=\"admin\",protocol=\"admin\",file=";
    assert!(page.lines().any(|line| line.starts_with(expiry) && line.ends_with(" 64060588800")), "{page}");
    // One connection for several requests, a long answer in pieces, and the client says the last word.
    let mut client = server.connect_tls("admin", &trust);
    for _ in 0..3 {
        client.asks("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1.1 200 OK\r\n");
        while !client.next_line().is_empty() {}
        client.expect("ok\n");
    }
    client.say_last_word();
    client.expect_end();
    drop(client);
    // A request and a last word in one segment are answered before ours.
    let mut client = server.connect_tls("admin", &trust);
    client.0.conn.writer().write_all(b"GET /connections HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    client.say_last_word();
    let mut answer = String::new();
    client.0.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("\"listener\":\"resp\""), "{answer}");
}

#[test]
fn who_speaks_no_tls_to_that_admin_interface_is_told_by_an_alert_and_holds_up_nobody() {
    let house = House::new();
    let file = TempFile::new(&with_admin(&house, "max_connections = 2\nlinger = '100ms'\n"));
    let server = Server::start(&["--config", file.path()]);
    let mut plain = server.connect("admin");
    plain.send("GET /healthz HTTP/1.0\r\n\r\n");
    plain.expect([21, 3, 3, 0, 2, 2, 50]);
    assert_eq!(plain.read_to_end().unwrap(), b"");
    until("it to be said", || server.events("refused").iter().any(|event| event["reason"] == "protocol.tls"));
    // Who begins and does not go on makes way for who has something to ask.
    let _silent: Vec<_> = (0..40).map(|_| server.connect("admin")).collect();
    let (answer, _) = asked(&server, &house.trust(None), "GET /healthz HTTP/1.0\r\n\r\n");
    assert!(answer.ends_with("ok\n"), "{answer}");
}

#[test]
fn the_certificate_of_that_admin_interface_is_read_again_and_may_ask_for_one() {
    let house = House::new();
    let text = with_admin(&house, "");
    let file = TempFile::new(&text);
    let server = Server::start(&["--config", file.path()]);
    let trust = house.trust(None);
    let mut before = server.connect_tls("admin", &trust);
    before.asks("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1.1 200 OK\r\n");
    house.server.write(&house.authority.sign_until("localhost", 2000).both());
    let asks = format!("tls.client_certificate = 'required'\ntls.client_ca = '{}'\n", house.ca.path());
    file.write(&with_admin(&house, &asks));
    server.signal("HUP");
    until("the reload of all", || server.events("reloaded").len() == 3);
    // The admin interface's, by the supervisor.
    server.logs("certificate_expires", 1);
    TlsClient::connect(server.address("admin"), &trust).expect_refusal();
    house.server.write(&house.authority.sign("localhost").both());
    server.signal("HUP");
    until("the reload of all", || server.events("reloaded").len() == 6);
    TlsClient::connect(server.address("admin"), &trust).expect_refusal();
    let known = house.trust(Some(&house.authority.sign("operator")));
    let (answer, _) = asked(&server, &known, "GET /healthz HTTP/1.0\r\n\r\n");
    assert!(answer.ends_with("ok\n"), "{answer}");
    before.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
}

#[test]
fn the_header_of_a_proxy_goes_before_tls_there_as_well() {
    let house = House::new();
    // Everybody is from elsewhere behind a proxy.
    let token = TempFile::new("a-token-that-only-tests-have");
    let keys = "accept_proxy = 'require'\naccept_proxy_trusted = '127.0.0.1'\n";
    let file = TempFile::new(&with_admin(&house, &format!("{keys}token_file = '{}'\n", token.path())));
    let server = Server::start(&["--config", file.path()]);
    for at_once in [true, false] {
        let mut client = TlsClient::connect(server.address("admin"), &house.trust(None));
        let rustls::StreamOwned { conn, sock } = &mut client.0;
        let mut wire = b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n".to_vec();
        if at_once {
            conn.write_tls(&mut wire).unwrap();
        }
        sock.write_all(&wire).unwrap();
        client.send("GET /healthz HTTP/1.0\r\n\r\n");
        let mut answer = String::new();
        client.0.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("ok\n"), "{answer}");
    }
}
