//! The audit of ourselves on the real kernel: what it finds in the accept queue, in the place of every other means,
//! and in the hands of other programs; and how it tells.

#![allow(clippy::unwrap_used, reason = "an unwrap that fails is a test that fails")]
#![allow(clippy::float_cmp, reason = "metrics are whole numbers")]
#![allow(clippy::disallowed_types, reason = "clients of the tests are ordinary blocking ones")]

use crate::common::means::{Means, flood};
use crate::common::{Server, now, until, wait_for};
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

const OFTEN: [&str; 4] = ["--admin", "127.0.0.1:0", "--set", "audit.interval=100ms"];
/// A listener whose output is soon more than the kernel takes.
const SMALL: &str = "send_buffer=64KiB&output_high=4KiB&output_low=1KiB";

fn start(listen: &[&str], more: &[&str]) -> Server {
    let listeners: Vec<_> = listen.iter().flat_map(|url| ["--listen", url]).collect();
    Server::start(&[listeners.as_slice(), &OFTEN, more].concat())
}

fn anomalies(server: &Server, kind: &str) -> f64 {
    server.metrics()[&format!("linger_audit_anomalies_total{{kind=\"{kind}\"}}")]
}

fn audits(server: &Server) -> f64 {
    server.metrics()["linger_audits_total"]
}

/// Waits for some more audits than there were.
fn some_audits_later(server: &Server, count: f64) {
    let before = audits(server);
    until("more audits", || audits(server) >= before + count);
}

fn page(server: &Server) -> Value {
    let (status, body) = server.admin("GET", "/audit");
    assert!(status.contains("200"), "{status}");
    serde_json::from_str(&body).unwrap()
}

/// How often a kind was said to have come, and to have gone.
fn said(server: &Server, kind: &str) -> [usize; 2] {
    ["audit_anomaly", "audit_anomaly_gone"]
        .map(|event| server.events(event).iter().filter(|line| line["kind"] == kind).count())
}

#[test]
fn a_ghost_in_the_accept_queue_is_found_told_once_and_seen_to_go() {
    let server = start(&["resp://127.0.0.1:0?max_connections=1&overload=queue"], &[]);
    let mut inside = server.connect("resp");
    inside.ask("PING", "+PONG\r\n");
    let waiting = server.connect("resp");
    let ghost = server.connect("resp");
    drop(ghost);
    until("the ghost", || server.sockets_in("resp", "CLOSE_WAIT") == 1);
    until("it is found", || anomalies(&server, "queued_ghost") == 1.0);
    until("the other is found", || anomalies(&server, "queued_long") == 1.0);
    some_audits_later(&server, 5.0);
    for kind in ["queued_ghost", "queued_long"] {
        assert_eq!((anomalies(&server, kind), said(&server, kind)), (1.0, [1, 0]), "once: {kind}");
    }
    let page = page(&server);
    assert_eq!([&page["anomalies"]["queued_ghost"], &page["anomalies"]["queued_long"]], [1, 1], "{page}");
    let found = page["found"].as_array().unwrap();
    let peer = waiting.stream.local_addr().unwrap().to_string();
    assert!(found.iter().any(|found| found["kind"] == "queued_long" && found["peer"] == *peer), "{page}");
    drop((inside, waiting));
    for kind in ["queued_ghost", "queued_long"] {
        until("it is said to be gone", || said(&server, kind) == [1, 1]);
    }
}

#[test]
fn connections_that_are_well_are_no_anomalies_whatever_their_family() {
    let server = start(&["echo://127.0.0.1:0?name=four", "echo://[::]:0?name=six"], &[]);
    let six = server.address("six").port();
    let mut clients = vec![server.connect("four"), server.connect("four")];
    for host in ["127.0.0.1", "[::1]"] {
        clients.push(crate::common::Client::connect(format!("{host}:{six}").parse().unwrap()));
    }
    for client in &mut clients {
        client.send("x");
        client.expect("x");
    }
    let established = |listener: &str| {
        let name = format!("linger_audit_sockets{{listener=\"{listener}\",state=\"ESTABLISHED\"}}");
        server.metrics().get(&name).copied()
    };
    until("all are counted", || established("four") == Some(2.0) && established("six") == Some(2.0));
    // Clients that come and go between the rows.
    for _ in 0..200 {
        let mut client = server.connect("four");
        client.send("x");
        client.expect("x");
    }
    some_audits_later(&server, 3.0);
    let page = page(&server);
    assert!(page["anomalies"].as_object().unwrap().values().all(|count| count == 0), "{page}");
    assert_eq!(page["listeners"].as_array().unwrap().len(), 3, "{page}");
    assert!(server.events("audit_anomaly").is_empty() && server.events("audit_refused").is_empty());
}

#[test]
fn what_is_not_read_and_not_taken_is_counted_in_bytes() {
    let server = start(&[&format!("echo://127.0.0.1:0?{SMALL}")], &[]);
    let mut client = server.connect("echo");
    let metrics = || server.metrics();
    flood(&mut client, || metrics()["linger_connections_paused"] == 1.0);
    until("its bytes", || {
        let of = |name: &str| metrics().get(&format!("{name}{{listener=\"echo\"}}")).copied().unwrap_or(0.0);
        of("linger_audit_unread_bytes") > 0.0 && of("linger_audit_unsent_bytes") > 0.0
    });
}

/// Two clients that do not read, and on which the server has paused reading.
fn paused(means: &Means) -> [crate::common::Client; 2] {
    let (mut with, mut without) = means.clients();
    flood(&mut without, || means.count("linger_connections_paused") == 1);
    flood(&mut with, || means.count("linger_connections_paused") == 2);
    [with, without]
}

#[test]
fn an_audit_alone_finds_a_reset_while_reading_is_paused() {
    let means = Means::start("echo", SMALL, "audit.end=missing");
    let clients = paused(&means);
    let since = now();
    drop(clients);
    let end = means.found(since, ["local.audit", "audit", "reset"]);
    assert_eq!(end["tcp_state"], "CLOSE", "{end}");
    assert_eq!(anomalies(&means.server, "missing"), 2.0, "the other is found, too, and left");
}

#[test]
fn an_audit_alone_finds_a_client_that_has_closed_and_takes_nothing() {
    let setting = format!("{SMALL}&audit.close_wait=500ms");
    let means = Means::start("echo", &setting, "audit.end=all");
    let (mut with, mut without) = means.clients();
    // Only as much as it takes: all of it must get through before the FIN does.
    for (client, paused) in [(&mut without, 1), (&mut with, 2)] {
        until("reading is paused", || {
            client.send([b'x'; 8 * 1024]);
            means.count("linger_connections_paused") == paused
        });
    }
    let since = now();
    for client in [&with, &without] {
        client.stream.shutdown(Shutdown::Write).unwrap();
    }
    let end = wait_for("an ending", || means.ends_of("with").pop());
    assert!(since.elapsed() >= Duration::from_millis(500), "no sooner than it was told");
    assert_eq!([&end["reason"], &end["detector"], &end["close"]], ["local.audit", "audit", "reset"], "{end}");
    until("the other is found, too", || anomalies(&means.server, "close_wait") == 2.0);
    assert!(means.ends_of("without").is_empty());
}

/// A connection whose port at this end a listener may have as well.
fn connected_and_sharing(to: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket
}

#[test]
fn a_socket_of_another_program_on_a_listeners_port_is_unknown() {
    // Two may have one port if both allow it (SO_REUSEADDR) and, when the second comes, none listens.
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let to = other.local_addr().unwrap();
    let held = connected_and_sharing(to);
    let port = held.local_addr().unwrap().as_socket().unwrap().port();
    let server = start(&[&format!("echo://127.0.0.1:{port}")], &[]);
    until("it is found", || anomalies(&server, "unknown") == 1.0);
    drop(held);
    until("it is gone", || said(&server, "unknown") == [1, 1]);
}

#[test]
fn without_an_interval_there_is_no_audit_and_the_page_says_so() {
    let server = Server::start(&[
        "--listen",
        "echo://127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--set",
        "audit.interval=off",
    ]);
    let page = page(&server);
    assert_eq!([&page["age_s"], &page["interval_s"]], [&Value::Null, &Value::Null]);
    assert!(server.metrics().keys().all(|name| !name.starts_with("linger_audit_slice")));
}

#[test]
fn descriptors_are_given_back_and_one_audit_that_finds_none_is_not_the_last() {
    let limited = ["bash", "-c", "ulimit -n 128; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_linger")];
    let server =
        Server::start_as(&limited, &[&["--listen", "echo://127.0.0.1:0"], OFTEN.as_slice()].concat());
    some_audits_later(&server, 2.0);
    let open = || std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count();
    let soft = |limit: usize| {
        let pid = server.pid().to_string();
        let set = std::process::Command::new("prlimit")
            .args(["--pid", &pid, &format!("--nofile={limit}:")])
            .status();
        assert!(set.is_ok_and(|status| status.success()), "prlimit (util-linux) sets the limit");
    };
    // No descriptor beyond those that it has, between two audits.
    let mut least = usize::MAX;
    until("it is between two audits", || {
        least = least.min(open());
        audits(&server) > 6.0
    });
    soft(8);
    until("it is told", || server.events("audit_refused").len() == 1);
    soft(128);
    some_audits_later(&server, 2.0);
    server.logs("audit_refused", 1);
    until("nothing was leaked", || open() <= least);
}
