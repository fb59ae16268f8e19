//! Accepting when there is no room: it stalls, says so once, spins never, goes on by itself; and what
//! the kernel does meanwhile with clients that believe they are connected.

#![allow(clippy::unwrap_used, reason = "an unwrap that fails is a test that fails")]
#![allow(clippy::float_cmp, reason = "metrics are whole numbers")]
#![allow(clippy::disallowed_types, reason = "clients of the tests are ordinary blocking ones")]
#![allow(clippy::disallowed_methods, reason = "tests measure on the real clock")]

use crate::common::{Client, DEADLINE, Server, until};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

const RESP: &str = "resp://127.0.0.1:0";
const ADMIN: [&str; 2] = ["--admin", "127.0.0.1:0"];

fn start(listen: &str, more: &[&str]) -> Server {
    Server::start(&[&["--listen", listen], ADMIN.as_slice(), more].concat())
}

/// A client that has been served: it is known to be out of the accept queue.
fn served(server: &Server, listener: &str) -> Client {
    let mut client = server.connect(listener);
    client.ask("PING", "+PONG\r\n");
    client
}

/// A client that has sent its command; whether it will be answered is another question.
fn hopeful(server: &Server, listener: &str) -> Client {
    let mut client = server.connect(listener);
    client.send("PING\r\n");
    client
}

/// Whether nothing has come for `client` within a tenth of a second.
fn unanswered(client: &Client) -> bool {
    client.stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let peeked = client.stream.peek(&mut [0]);
    client.stream.set_read_timeout(Some(DEADLINE)).unwrap();
    peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// Turns of the loop in `span`, those for the question itself included (accept, request, close: a handful).
fn turns_in(server: &Server, span: Duration) -> f64 {
    let before = server.metrics()["linger_loop_turns_total"];
    std::thread::sleep(span);
    server.metrics()["linger_loop_turns_total"] - before
}

/// Sets the descriptor limit of a running process, as an operator would; the hard limit stays.
fn set_descriptor_limit(server: &Server, soft: usize) {
    let pid = server.pid().to_string();
    let status = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={soft}:")]).status();
    assert!(status.is_ok_and(|status| status.success()), "prlimit (util-linux) sets the limit");
}

/// The descriptor that the server would get next.
fn free_descriptor(server: &Server) -> usize {
    let open: Vec<usize> = std::fs::read_dir(format!("/proc/{}/fd", server.pid()))
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
        .collect();
    (0..=open.len()).find(|number| !open.contains(number)).expect("one more number than descriptors")
}

fn metric_of(server: &Server, name: &str, listener: &str) -> f64 {
    let metrics = server.metrics();
    *metrics
        .iter()
        .find(|(key, _)| key.starts_with(&format!("{name}{{listener=\"{listener}\"")))
        .unwrap_or_else(|| panic!("{name} of {listener}"))
        .1
}

fn ready(server: &Server) -> (bool, String) {
    let (status, body) = server.admin("GET", "/readyz");
    (status.contains("200"), body)
}

#[test]
fn full_by_the_descriptor_limit_newcomers_wait_and_are_let_in_one_for_one() {
    let limited = ["bash", "-c", "ulimit -n 120; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_linger")];
    // No help from the timer: it is the closes that must let the next ones in.
    let patient = ["--set", "server.accept_retry=1m"];
    let server = Server::start_as(&limited, &[&["--listen", RESP], ADMIN.as_slice(), &patient].concat());
    let max = server.metrics()["linger_connections_max"];
    assert!((10.0..120.0).contains(&max), "derived from RLIMIT_NOFILE: {max}");
    let mut inside = Vec::new();
    while f64::from(u32::try_from(inside.len()).unwrap()) < max {
        inside.push(served(&server, "resp"));
    }
    assert!(!ready(&server).0, "a newcomer would have to wait");
    assert!(server.events("accept_stalled").is_empty(), "nobody does, so it is not worth a line");
    let mut waiting: Vec<Client> = (0..3).map(|_| hopeful(&server, "resp")).collect();
    until("the stall to be told", || server.events("accept_stalled").len() == 1);
    assert!(waiting.iter().all(unanswered));

    // The operator is still let in, and told.
    let (yes, why) = ready(&server);
    assert!(
        !yes && why.contains("listener resp cannot accept: all") && why.contains("max_connections"),
        "{why}"
    );
    until("the queue to be seen", || metric_of(&server, "linger_accept_queue_length", "resp") == 3.0);
    assert_eq!(metric_of(&server, "linger_accept_stalled", "resp"), 1.0);
    let turns = turns_in(&server, Duration::from_secs(1));
    assert!(turns < 30.0, "it stalls, it does not spin: {turns} turns in a second");

    // Each one that leaves lets one in, in order.
    for _ in 0..3 {
        drop(inside.pop());
        let mut first = waiting.remove(0);
        first.expect("+PONG\r\n");
        inside.push(first);
    }
    until("the end of it to be told", || server.events("accept_resumed").len() == 1);
    assert!(!ready(&server).0, "still full");
    drop(inside.pop());
    until("readiness", || ready(&server).0);
    // Told once, until it was over.
    server.logs("accept_stalled", 1);
    assert_eq!(server.metrics()["linger_accept_stalls_total"], 1.0);
}

#[test]
fn out_of_descriptors_accepting_stalls_and_the_reserve_lets_the_operator_in() {
    let server = start(RESP, &["--set", "server.accept_retry=200ms"]);
    let mut inside: Vec<Client> = (0..5).map(|_| served(&server, "resp")).collect();
    // The limit bounds the numbers of descriptors, and the kernel gives out the lowest that is free.
    until("the admin connections to be gone", || server.connections("admin").len() == 1);
    let limit = free_descriptor(&server);
    set_descriptor_limit(&server, limit);
    let mut first = hopeful(&server, "resp");
    let mut second = hopeful(&server, "resp");
    until("the stall to be told", || server.events("accept_stalled").len() == 1);
    assert!(server.events("accept_stalled")[0]["why"].as_str().unwrap().starts_with("EMFILE"));
    assert!(unanswered(&first));
    // More often than there are reserves: it is taken back each time.
    for _ in 0..5 {
        let (yes, why) = ready(&server);
        assert!(!yes && why.contains("EMFILE"), "{why}");
    }
    let turns = turns_in(&server, Duration::from_secs(1));
    assert!(turns < 60.0, "five tries in a second, no spinning: {turns} turns");

    // A close makes room for one.
    drop(inside.remove(0));
    first.expect("+PONG\r\n");
    assert!(unanswered(&second));
    assert_eq!(server.events("accept_resumed").len(), 0);
    // Nothing closes now: only the timer can find that the limit was raised.
    set_descriptor_limit(&server, limit + 50);
    second.expect("+PONG\r\n");
    until("the end of it to be told", || server.events("accept_resumed").len() == 1);
    server.logs("accept_stalled", 1);
    assert_eq!(ready(&server), (true, "ready\n".to_owned()));
    let host = "linger_host_listen_overflows_total";
    assert!(server.metrics().contains_key(host), "could be read again");
}

#[test]
fn the_last_descriptor_in_use_is_no_stall() {
    let server = start(RESP, &[]);
    let _first = served(&server, "resp");
    until("the admin connections to be gone", || server.connections("admin").len() == 1);
    // Room for one more. accept4(2) then says EMFILE although nobody waits.
    set_descriptor_limit(&server, free_descriptor(&server) + 1);
    let _last = served(&server, "resp");
    assert_eq!(ready(&server), (true, "ready\n".to_owned()));
    assert!(server.events("accept_stalled").is_empty());
}

#[test]
fn shedding_says_so_and_leaves_nothing_behind() {
    let listen = format!("{RESP}?overload=shed&max_connections=2&linger=100ms");
    let server = start(&listen, &[]);
    let _inside = [served(&server, "resp"), served(&server, "resp")];
    let mut polite = server.connect("resp");
    let full = "-ERR max number of clients reached\r\n";
    polite.expect(full);
    drop(polite);
    // One that waits for the server to close first.
    assert_eq!(server.connect("resp").read_to_end().unwrap(), full.as_bytes());
    let ends = server.wait_ends(2);
    assert!(ends.iter().all(|end| end["reason"] == "local.limit"), "{ends:?}");
    let metrics = server.metrics();
    assert_eq!(metrics["linger_connections_shed_total"], 2.0);
    assert_eq!(metrics["linger_accept_stalls_total"], 0.0);
    assert_eq!(server.sockets_in("resp", "TIME_WAIT"), 0);
}

#[test]
fn a_listener_has_a_limit_of_its_own() {
    let small = "resp://127.0.0.1:0?name=small&max_connections=1";
    let server = start(small, &["--listen", "resp://127.0.0.1:0?name=large"]);
    let first = served(&server, "small");
    let mut second = hopeful(&server, "small");
    until("the stall to be told", || server.events("accept_stalled").len() == 1);
    assert_eq!(server.events("accept_stalled")[0]["listener"], "small");
    assert!(unanswered(&second));
    drop([served(&server, "large"), served(&server, "large")]);
    drop(first);
    second.expect("+PONG\r\n");
}

/// Fills the queue of a listener that is not being emptied: limit + 1 connections get in, the next gets none.
fn fill(address: SocketAddr, limit: usize) -> Vec<TcpStream> {
    let mut queued = Vec::new();
    for _ in 0..=limit {
        let mut stream = TcpStream::connect(address).expect("the kernel connects without the program");
        stream.write_all(b"PING\r\n").expect("and takes data for it");
        queued.push(stream);
    }
    // The SYN is dropped: the client hears nothing at all.
    let refused = TcpStream::connect_timeout(&address, Duration::from_millis(300));
    assert_eq!(refused.expect_err("the queue is full").kind(), ErrorKind::TimedOut);
    queued
}

#[test]
fn a_full_server_tells_of_clients_that_are_connected_to_nobody() {
    let listen = format!("{RESP}?backlog=4&max_connections=1");
    let server = start(&listen, &["--set", "server.queue_watch=50ms"]);
    let overflows = server.metrics()["linger_host_listen_overflows_total"];
    let inside = served(&server, "resp");
    let mut queued = fill(server.address("resp"), 4);
    // The client's side: connected, everything written, and no answer. `ESTABLISHED` proves nothing.
    queued[0].set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert_eq!(queued[0].read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    // Ours: the queue and what the host counted, in the metrics and as a warning with advice.
    until("the full queue to be seen", || metric_of(&server, "linger_accept_queue_length", "resp") == 5.0);
    assert_eq!(metric_of(&server, "linger_accept_queue_limit", "resp"), 4.0);
    until("the overflow to be counted", || {
        server.metrics()["linger_host_listen_overflows_total"] > overflows
    });
    until("the warning", || !server.events("accept_queue_fills").is_empty());
    let warning = &server.events("accept_queue_fills")[0];
    assert_eq!((&warning["level"], &warning["listener"]), (&"WARN".into(), &"resp".into()));
    assert!(warning["advice"].as_str().unwrap().contains("believe that they are connected"), "{warning}");
    // None of them is lost.
    drop(inside);
    for mut stream in queued.drain(..) {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut answer = [0; 7];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"+PONG\r\n");
    }
    // Told once while it lasted.
    server.logs("accept_queue_fills", 1);
}

#[test]
fn a_server_that_did_not_run_tells_afterwards_that_its_queue_was_full() {
    let server = start(&format!("{RESP}?backlog=4"), &[]);
    let overflows = server.metrics()["linger_host_listen_overflows_total"];
    let address = server.address("resp");
    server.signal("STOP");
    let queued = fill(address, 4);
    server.signal("CONT");
    for stream in &queued {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        assert_eq!(stream.peek(&mut [0; 7]).unwrap(), 7, "served as soon as it runs again");
    }
    until("the warning", || server.events("accept_queue_fills").len() == 1);
    let warning = &server.events("accept_queue_fills")[0];
    assert_eq!((&warning["length"], &warning["limit"]), (&5.into(), &4.into()));
    assert!(warning["overflowed_since_last_look"].as_u64().unwrap() >= 1, "{warning}");
    assert!(server.metrics()["linger_host_listen_overflows_total"] > overflows);
}

#[test]
fn a_connection_reset_in_the_queue_is_an_ending_like_others() {
    let server = start(&format!("{RESP}?max_connections=1"), &[]);
    let inside = served(&server, "resp");
    let client = hopeful(&server, "resp");
    let from = client.stream.local_addr().unwrap();
    until("it to wait", || metric_of(&server, "linger_accept_queue_length", "resp") == 1.0);
    client.reset();
    drop(inside);
    let ends = server.wait_ends(2);
    assert_eq!(ends[1]["reason"], "peer.reset");
    assert_eq!(ends[1]["peer"], from.to_string(), "accept(2) gave the address; getpeername(2) would fail");
    drop(served(&server, "resp"));
    assert!(server.stray_lines().is_empty(), "{:?}", server.stray_lines());
    assert!(server.events("unforeseen_socket_error").is_empty());
}

#[test]
fn an_idle_server_sleeps() {
    let server = start(&format!("{RESP}?heartbeat=60s"), &[]);
    let bare = turns_in(&server, Duration::from_secs(1));
    assert!(bare <= 12.0, "without clients: {bare} turns, those of the question included");
    let clients: Vec<Client> = (0..200).map(|_| served(&server, "resp")).collect();
    let idle = turns_in(&server, Duration::from_secs(2));
    assert!(idle <= 12.0, "{} idle clients: {idle} turns in two seconds", clients.len());
}
