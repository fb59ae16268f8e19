//! TLS where several workers serve: they have the same certificates at one moment and from one reading, the same keys for
//! session tickets, and so have those that take the place of others.

use crate::common::file::TempFile;
use crate::common::tls::{House, TlsClient};
use crate::common::{Server, until};
use crate::workers::crowd::{all_serve, pids, signal};
use rustls::{ClientConfig, HandshakeKind};
use std::collections::BTreeSet;
use std::fmt::Write as _;
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
