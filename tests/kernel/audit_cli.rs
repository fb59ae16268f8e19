//! `linger audit` on the real kernel, against servers that are not linger: plain sockets of this process,
//! each treated badly in one way.

#![expect(
    clippy::disallowed_types,
    reason = "the servers and clients of the tests are ordinary blocking ones"
)]

use crate::common::{in_own_namespace, until, wait_for};
use serde_json::Value;
use socket2::SockRef;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::time::Duration;

pub(super) fn audit(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_linger")).arg("audit").args(arguments).output().expect("the binary runs")
}

/// A server in this process that somebody else might have written.
pub(super) struct Server {
    pub(super) listener: TcpListener,
}

impl Server {
    pub(super) fn new() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").expect("a free port") }
    }

    pub(super) fn port(&self) -> u16 {
        self.listener.local_addr().expect("it is bound").port()
    }

    pub(super) fn client(&self) -> TcpStream {
        TcpStream::connect(self.listener.local_addr().expect("it is bound")).expect("there is room")
    }

    /// A client and the server's end of it.
    pub(super) fn pair(&self) -> (TcpStream, TcpStream) {
        let client = self.client();
        (client, self.listener.accept().expect("a client").0)
    }

    /// What the audit says of it, with these options.
    pub(super) fn audit(&self, options: &[&str]) -> Value {
        let port = self.port().to_string();
        let output = audit(&[&["--json", "--port", &port], options].concat());
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let report: Value = serde_json::from_str(&text).unwrap_or_else(|error| {
            panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr));
        });
        let found = report["findings_total"] != 0;
        assert_eq!(output.status.code(), Some(i32::from(found)), "{report}");
        report["listeners"][0].clone()
    }

    /// Waits until the audit finds this and nothing else, with anything older than 300 ms being old.
    pub(super) fn finds(&self, anomaly: &str, options: &[&str]) -> Value {
        let options = [&["--older-than", "300ms"], options].concat();
        wait_for(&format!("{anomaly} alone"), || {
            let findings = self.audit(&options)["findings"].take();
            let names: Vec<&Value> = findings.as_array()?.iter().map(|finding| &finding["anomaly"]).collect();
            (names == [anomaly]).then(|| findings[0].clone())
        })
    }
}

/// Keepalive whose first probe leaves after so many seconds of silence.
fn keep_alive(held: &TcpStream, seconds: u64) {
    let keepalive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(seconds));
    SockRef::from(held).set_tcp_keepalive(&keepalive).expect("it can be told");
}

/// Writes until nothing more goes.
fn fill(stream: &TcpStream) {
    stream.set_nonblocking(true).expect("it can be told");
    let mut stream = stream;
    while stream.write(&[0; 8192]).is_ok() {}
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn a_healthy_server_exits_with_0() {
    let server = Server::new();
    let (_client, held) = server.pair();
    keep_alive(&held, 60);
    let said = server.audit(&["--idle", "0ms", "--older-than", "0ms"]);
    assert_eq!(
        (said["findings"].as_array().map(Vec::len), &said["connections"]),
        (Some(0), &1.into()),
        "{said}"
    );
    assert_eq!(said["sockets"][0]["pid"], std::process::id(), "{said}");
}

#[test]
fn nobody_accepts() {
    let server = Server::new();
    let client = server.client();
    let finding = server.finds("queued_long", &[]);
    let example = &finding["examples"][0];
    assert_eq!(example["peer"], client.local_addr().expect("it is connected").to_string());
    assert!(number(&example["at_least_ms"]) >= 300, "{finding}");
    // It goes away, unserved.
    drop(client);
    assert_eq!(server.finds("queued_ghost", &[])["examples"][0]["state"], "close_wait");
}

#[test]
fn a_full_queue() {
    let server = Server::new();
    let socket = SockRef::from(&server.listener);
    socket.listen(1).expect("the backlog of a listener can be changed");
    let _clients = [server.client(), server.client()];
    let findings = wait_for("a full queue", || {
        let said = server.audit(&["--older-than", "1h"]);
        (said["findings"][0]["anomaly"] == "queue_full").then_some(said)
    });
    assert_eq!(findings["sockets"][0]["queue"], serde_json::json!({ "length": 2, "limit": 1 }));
}

#[test]
fn close_wait_tells_who_has_read_the_end_of_file() {
    let server = Server::new();
    let (read, unread) = (server.pair(), server.pair());
    let mut ends = Vec::new();
    for ((mut client, end), bytes) in [(read, b"".as_slice()), (unread, b"abc")] {
        client.write_all(bytes).expect("it is open");
        ends.push(end);
    }
    assert_eq!(ends[0].read(&mut [0; 8]).expect("an end of file"), 0);
    let finding = wait_for("both", || {
        let finding = server.finds("close_wait", &[]);
        (finding["connections"] == 2).then_some(finding)
    });
    let meaning = finding["meaning"].as_str().expect("a sentence");
    assert!(meaning.contains("On 1 of them it has read the end of file"), "{meaning}");
    assert!(meaning.contains("On 1 of them it has not read 3 bytes and the end of file"), "{meaning}");
    assert!(meaning.contains("No timer runs there"), "{meaning}");
}

#[test]
fn keepalive_makes_a_close_wait_look_young_and_a_second_look_does_not_mind() {
    let server = Server::new();
    let (client, held) = server.pair();
    let keepalive =
        socket2::TcpKeepalive::new().with_time(Duration::from_secs(1)).with_interval(Duration::from_secs(1));
    SockRef::from(&held).set_tcp_keepalive(&keepalive).expect("it can be told");
    client.shutdown(Shutdown::Write).expect("it is open");
    // Its host answers each second, so that the table alone never shows more than about that.
    let finding = wait_for("what two looks prove", || {
        let said = server.audit(&["--wait", "2s", "--older-than", "2s"]);
        said["findings"].get(0).cloned()
    });
    assert_eq!(finding["anomaly"], "close_wait");
    // It has lasted that long by now, and one look does not see it.
    let said = server.audit(&["--older-than", "2s"]);
    assert_eq!(said["findings"], serde_json::json!([]), "{said}");
}

#[test]
fn nobody_reads_here() {
    let server = Server::new();
    let (mut client, held) = server.pair();
    SockRef::from(&held).set_keepalive(true).expect("it can be told");
    client.write_all(b"hello").expect("it is open");
    assert_eq!(server.finds("unread", &[])["examples"][0]["unread_bytes"], 5);
}

#[test]
fn nobody_reads_there_and_closing_does_not_help() {
    let server = Server::new();
    let (_client, held) = server.pair();
    fill(&held);
    let finding = server.finds("zero_window", &[]);
    assert!(number(&finding["examples"][0]["undelivered_bytes"]) > 0, "{finding}");
    drop(held);
    let finding = server.finds("orphan", &[]);
    assert_eq!(
        (&finding["examples"][0]["state"], &finding["examples"][0]["pid"]),
        (&"fin_wait1".into(), &Value::Null)
    );
}

#[test]
fn nothing_watches() {
    let server = Server::new();
    let _pair = server.pair();
    let finding = server.finds("unwatched", &["--idle", "300ms"]);
    assert_eq!(finding["examples"][0]["state"], "established");
}

#[test]
fn keepalive_that_asks_after_hours() {
    let server = Server::new();
    let (soon, late) = (server.pair(), server.pair());
    keep_alive(&soon.1, 60);
    keep_alive(&late.1, 7200);
    let finding = server.finds("late_keepalive", &["--idle", "300ms"]);
    assert_eq!((&finding["connections"], &finding["page"]), (&1.into(), &"ghosts".into()));
    let asked_in = number(&finding["examples"][0]["probe_in_ms"]);
    assert!((3_600_000..=7_200_000).contains(&asked_in), "{finding}");
    // Where two hours are what was meant, nothing is wrong.
    let said = server.audit(&["--idle", "300ms", "--older-than", "1h", "--late-keepalive", "3h"]);
    assert_eq!(said["findings"], serde_json::json!([]), "{said}");
}

#[test]
fn ended_here_and_not_there() {
    let server = Server::new();
    let (_open, closed) = server.pair();
    drop(closed);
    let finding = server.finds("fin_wait2", &[]);
    assert!((1..60_000).contains(&number(&finding["examples"][0]["left_ms"])), "{finding}");
    let other = Server::new();
    let (_open, shut) = other.pair();
    shut.shutdown(Shutdown::Write).expect("it is open");
    let finding = other.finds("fin_wait2", &[]);
    assert_eq!(finding["examples"][0]["left_ms"], Value::Null, "without a limit");
}

#[test]
fn the_server_closes_first() {
    let server = Server::new();
    for _ in 0..3 {
        let (mut client, held) = server.pair();
        drop(held);
        assert_eq!(client.read(&mut [0; 8]).expect("an end of file"), 0);
    }
    let finding = server.finds("time_wait", &["--time-waits", "3", "--examples", "2"]);
    assert_eq!((&finding["connections"], finding["examples"].as_array().map(Vec::len)), (&3.into(), Some(2)));
}

#[test]
fn a_port_on_which_nothing_listens_is_answered_with_those_that_do() {
    let server = Server::new();
    let output = audit(&["--port", "1", "--port", &server.port().to_string()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{said}");
    assert!(said.contains("nothing listens on TCP port 1 in this"), "{said}");
    assert!(said.contains("the nearest first: "), "{said}");
}

#[test]
fn people_are_told_what_it_means_and_that_there_is_more() {
    let server = Server::new();
    let _clients: Vec<_> = (0..5).map(|_| server.client()).collect();
    let port = server.port().to_string();
    let output = || audit(&["--port", &port, "--older-than", "0ms", "--examples", "2"]);
    until("all are in the queue", || {
        String::from_utf8_lossy(&output().stdout).contains("accept queue  5 of ")
    });
    let output = output();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1));
    for part in
        ["queued_long: 5 connections", "Nobody has accepted them", "-> Find what", "and 3 more: --examples 5"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.contains("1 finding on 1 of 1 listener; 5 connections looked at"), "{text}");
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn a_peer_that_cannot_be_reached() {
    assert!(in_own_namespace(), "run by `unshare -n` with LINGER_TEST_NAMESPACE=1: see scripts/ci.sh");
    let server = Server::new();
    let (one, other) = (server.pair(), server.pair());
    // Nothing that this port sends arrives any more; at the ingress, as tests/common/netns.rs says why.
    let port = server.port();
    let rules = format!(
        "nft add table ip audit && nft 'add chain ip audit in {{ type filter hook prerouting priority 0; }}' &&
         nft 'add rule ip audit in tcp sport {port} drop'"
    );
    assert!(Command::new("sh").args(["-c", &rules]).status().is_ok_and(|status| status.success()), "{rules}");
    for end in [&one.1, &other.1] {
        let mut end = end;
        end.write_all(b"hello").expect("it is queued");
    }
    let finding = server.finds("unacknowledged", &[]);
    assert_eq!(finding["examples"][0]["undelivered_bytes"], 5);
    drop((one.1, other.1));
    let finding = wait_for("both are orphans", || {
        let finding = server.finds("orphan", &[]);
        (finding["connections"] == 2).then_some(finding)
    });
    let left = number(&finding["examples"][0]["left_ms"]);
    assert!((1..120_000).contains(&left), "{finding}");
    assert!(
        finding["meaning"].as_str().is_some_and(|text| text.contains("5 bytes") || text.contains("10 bytes"))
    );
    let _ = Command::new("nft").args(["delete", "table", "ip", "audit"]).status();
}
