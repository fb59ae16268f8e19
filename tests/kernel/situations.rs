//! What people find on their hosts and cannot explain, each with what `linger audit` and `linger doctor` say of it: ghosts,
//! `CLOSE_WAIT`s of a server and of a client, `TIME_WAIT`s, a full accept queue. And `linger audit --watch`.

#![expect(
    clippy::disallowed_types,
    reason = "the servers and clients of the tests are ordinary blocking ones"
)]

use crate::audit_cli::{Server, audit};
use crate::common::{in_own_namespace, wait_for};
use serde_json::{Value, json};
use socket2::{Domain, SockRef, Socket, Type};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

/// What the doctor says of this host: verdict and value of each finding.
fn doctor() -> BTreeMap<String, (String, String)> {
    let output = Command::new(env!("CARGO_BIN_EXE_linger")).args(["doctor", "-c", "100", "--json"]).output();
    let report: Value = serde_json::from_slice(&output.expect("the binary runs").stdout).expect("JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let findings = report["findings"].as_array().expect("findings").iter();
    findings.map(|one| (text(&one["name"]), (text(&one["verdict"]), text(&one["value"])))).collect()
}

/// Without what is counted, which other tests move: the settings that the doctor objects to.
fn blamed() -> Vec<String> {
    let all =
        doctor().into_iter().filter(|(name, (verdict, _))| !name.starts_with("TcpExt.") && verdict == "harm");
    all.map(|(name, _)| name).collect()
}

/// The first number of a value.
fn counted(name: &str) -> u64 {
    let all = doctor();
    let value = &all[name].1;
    let digits = value.split(|c: char| !c.is_ascii_digit()).find(|part| !part.is_empty());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("{name}: {value}"))
}

fn connect_from(address: &str, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let from: SocketAddr = format!("{address}:0").parse().expect("an address");
    socket.bind(&from.into()).expect("all of 127/8 is here");
    socket.connect(&to.into()).expect("there is room");
    socket.into()
}

/// A client of that host and the server's end of it.
fn pair(server: &Server, host: &str) -> (TcpStream, TcpStream) {
    let client = connect_from(host, server.listener.local_addr().expect("it is bound"));
    (client, server.listener.accept().expect("a client").0)
}

fn say_something((client, held): &mut (TcpStream, TcpStream)) {
    client.write_all(b"x").expect("it is open");
    held.read_exact(&mut [0]).expect("it is well");
}

/// Waits until the silent connections of a host are told beside its other one, which says something all the time.
fn likely_ghosts(server: &Server, pair: &mut (TcpStream, TcpStream)) -> Value {
    wait_for("all but one are silent", || {
        say_something(pair);
        let finding = server.audit(&["--idle", "2s"])["findings"].get(0)?.clone();
        (finding["groups"][0]["silent"] == 7).then_some(finding)
    })
}

#[test]
fn silent_connections_beside_one_that_is_heard_are_named_and_silence_is_no_proof() {
    let host = "127.88.1.2";
    let server = Server::new();
    let _silent: Vec<_> = (0..7).map(|_| pair(&server, host)).collect();
    let mut heard = pair(&server, host);
    let finding = likely_ghosts(&server, &mut heard);
    let group = &finding["groups"][0];
    assert_eq!(
        (&finding["anomaly"], &group["address"], &group["connections"], &group["likely_ghosts"]),
        (&json!("unwatched"), &json!(host), &json!(8), &json!(true)),
        "{finding}"
    );
    say_something(&mut heard);
    let output = audit(&["--port", &server.port().to_string(), "--idle", "2s"]);
    let text = String::from_utf8_lossy(&output.stdout);
    let said =
        [&format!("8 from {host}, 7 silent for at least "), ": likely ghosts, for it was heard on another "];
    assert!(said.iter().all(|part| text.contains(*part)), "{text}");
    let meaning = finding["meaning"].as_str().expect("a sentence");
    assert!(meaning.contains("Silence is no proof"), "{meaning}");
}

#[test]
#[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
fn ghosts_of_a_host_that_lost_its_power_stay_established() {
    assert!(in_own_namespace(), "run by `unshare -n` with LINGER_TEST_NAMESPACE=1: see scripts/ci.sh");
    let host = "127.88.2.2";
    let server = Server::new();
    let blamed_before = blamed();
    let (clients, held): (Vec<_>, Vec<_>) = (0..7).map(|_| pair(&server, host)).unzip();
    // At the ingress, as tests/common/netns.rs says why. Whatever its kernel says as it goes is lost.
    let rules = format!(
        "nft add table ip ghosts && nft 'add chain ip ghosts in {{ type filter hook prerouting priority 0; }}' &&
         nft 'add rule ip ghosts in ip saddr {host} tcp dport {} drop'",
        server.port()
    );
    assert!(Command::new("sh").args(["-c", &rules]).status().is_ok_and(|status| status.success()), "{rules}");
    for client in clients {
        SockRef::from(&client).set_linger(Some(Duration::ZERO)).expect("it can be told");
    }
    let back = Command::new("nft").args(["delete", "table", "ip", "ghosts"]).status();
    assert!(back.is_ok_and(|status| status.success()));
    // It boots, and comes back on another port.
    let mut new = pair(&server, host);
    let finding = likely_ghosts(&server, &mut new);
    assert_eq!(
        (&finding["anomaly"], &finding["connections"], &finding["groups"][0]["likely_ghosts"]),
        (&json!("unwatched"), &json!(7), &json!(true)),
        "{finding}"
    );
    let states = server.audit(&[])["states"].take();
    assert_eq!(states["established"], 8, "nobody has told the server: {states}");
    assert_eq!(blamed(), blamed_before, "no setting of the host finds them");
    drop(held);
}

#[test]
fn close_waits_of_a_server_pile_up_and_no_setting_of_the_host_is_to_blame() {
    let server = Server::new();
    let blamed_before = blamed();
    let held: Vec<_> = (0..20).map(|_| server.pair().1).collect();
    let finding = wait_for("all of them", || {
        let finding = server.finds("close_wait", &[]);
        (finding["connections"] == 20).then_some(finding)
    });
    assert_eq!(finding["page"], "close_wait");
    assert_eq!(blamed(), blamed_before);
    drop(held);
}

#[test]
fn time_waits_pile_up_where_the_server_closes_first_and_the_doctor_counts_them() {
    let server = Server::new();
    for _ in 0..20 {
        let (mut client, held) = server.pair();
        drop(held);
        assert_eq!(client.read(&mut [0; 8]).expect("an end of file"), 0);
    }
    let finding = server.finds("time_wait", &["--time-waits", "20"]);
    assert!(
        finding["meaning"].as_str().is_some_and(|said| said.contains("The server closes first")),
        "{finding}"
    );
    // The kernel counts each when it is over; how many there are now is told beside it.
    let all = doctor();
    let (_, value) = &all["TcpExt.TW"];
    let now =
        value.rsplit(", ").next().and_then(|part| part.strip_suffix(" now")).and_then(|now| now.parse().ok());
    assert!(now.is_some_and(|now: u64| now >= 20), "{value}");
}

#[test]
fn established_and_never_in_the_program_and_the_doctor_counts_who_was_turned_away() {
    let server = Server::new();
    SockRef::from(&server.listener).listen(1).expect("the backlog of a listener can be changed");
    let overflows = counted("TcpExt.ListenOverflows");
    // Both are connected, as far as they can see.
    let mut clients = [server.client(), server.client()];
    clients[1].write_all(b"hello?").expect("it is connected");
    let third = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    third.set_nonblocking(true).expect("it can be told");
    let _ = third.connect(&server.listener.local_addr().expect("it is bound").into());
    let said = wait_for("a full queue with somebody in it for long", || {
        let said = server.audit(&["--older-than", "300ms"]);
        (said["findings"].as_array()?.len() == 2).then_some(said)
    });
    let findings: Vec<_> = [0, 1].map(|at| said["findings"][at]["anomaly"].clone()).into();
    assert_eq!(findings, ["queue_full", "queued_long"], "{said}");
    assert_eq!(said["states"]["established"], 2, "{said}");
    wait_for("the doctor counts it", || {
        let (verdict, _) = doctor().remove("TcpExt.ListenOverflows")?;
        (verdict == "advice" && counted("TcpExt.ListenOverflows") > overflows).then_some(())
    });
}

/// A program that connects, and does nothing then. It listens on nothing.
struct Program(Child);

impl Program {
    fn connected_to(server: &Server) -> (Self, TcpStream) {
        let script = format!("exec 3<>/dev/tcp/127.0.0.1/{}; read -r", server.port());
        let child =
            Command::new("bash").args(["-c", &script]).stdin(Stdio::piped()).spawn().expect("bash runs");
        (Self(child), server.listener.accept().expect("it connects").0)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn close_waits_of_a_program_that_listens_on_nothing() {
    let server = Server::new();
    let blamed_before = blamed();
    let (program, held) = Program::connected_to(&server);
    drop(held);
    let pid = program.0.id();
    let client = wait_for("what it has not closed", || {
        let output = audit(&["--json", "--older-than", "300ms"]);
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let client = report["clients"].as_array()?.iter().find(|client| client["pid"] == pid)?;
        assert_eq!(output.status.code(), Some(1), "{report}");
        Some(client.clone())
    });
    let finding = &client["findings"][0];
    assert_eq!(
        (&client["program"], &finding["anomaly"], &finding["examples"][0]["peer"]),
        (&json!("bash"), &json!("close_wait"), &json!(format!("127.0.0.1:{}", server.port()))),
        "{client}"
    );
    let output = audit(&["--older-than", "300ms"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains(&format!("Connections of no listener here, made by bash (pid {pid})")), "{text}");
    // Of a port, nobody has asked for it.
    let output = audit(&["--json", "--older-than", "300ms", "--port", &server.port().to_string()]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["clients"], json!([]));
    assert_eq!(blamed(), blamed_before);
}

/// `linger audit --watch` at a server, and what it prints.
struct Watch {
    child: Child,
    lines: Option<BufReader<ChildStdout>>,
}

impl Watch {
    fn start(server: &Server, options: &[&str]) -> Self {
        let port = server.port().to_string();
        let arguments = ["audit", "--port", &port, "--older-than", "0ms", "--watch", "50ms"];
        let mut command = Command::new(env!("CARGO_BIN_EXE_linger"));
        let mut child =
            command.args(arguments).args(options).stdout(Stdio::piped()).spawn().expect("the binary runs");
        let lines = child.stdout.take().map(BufReader::new);
        Self { child, lines }
    }

    /// The next line that has something of this in it.
    fn line(&mut self, part: &str) -> String {
        let mut line = String::new();
        while !line.contains(part) {
            line.clear();
            let lines = self.lines.as_mut().expect("it is read");
            assert!(lines.read_line(&mut line).expect("text") > 0, "it has ended before {part}");
        }
        line
    }

    /// The next change about connections that were not closed. What is in the queue for a moment is found, too.
    fn change(&mut self) -> Value {
        let line = self.line("\"close_wait\"");
        serde_json::from_str(&line).expect("an object in each line")
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn who_watches_is_told_what_changes_and_nothing_else() {
    let server = Server::new();
    let mut watch = Watch::start(&server, &["--json"]);
    let (client, first) = server.pair();
    drop(client);
    let new = watch.change();
    assert_eq!(
        (&new["change"], &new["connections"], &new["before"]),
        (&json!("new"), &json!(1), &Value::Null)
    );
    assert_eq!(new["finding"]["anomaly"], "close_wait");
    let (client, second) = server.pair();
    drop(client);
    let changed = watch.change();
    assert_eq!(
        [&changed["change"], &changed["connections"], &changed["before"], &changed["came"], &changed["left"]],
        [&json!("changed"), &json!(2), &json!(1), &json!(1), &json!(0)]
    );
    drop((first, second));
    // They may go one after the other.
    let gone =
        wait_for("nothing is left", || Some(watch.change()).filter(|change| change["change"] != "changed"));
    assert_eq!(
        (&gone["change"], &gone["connections"], &gone["finding"]),
        (&json!("gone"), &json!(0), &Value::Null)
    );
    assert!(gone["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{gone}");
}

#[test]
fn people_who_watch_see_everything_once_and_then_lines_until_they_read_no_more() {
    let server = Server::new();
    let (client, _held) = server.pair();
    drop(client);
    server.finds("close_wait", &[]);
    let mut watch = Watch::start(&server, &[]);
    let port = server.port();
    assert!(watch.line("close_wait: ").contains("1 connection"));
    watch.line("looked at");
    let (client, _other) = server.pair();
    drop(client);
    let line = watch.line("close_wait: ");
    assert!(
        line.contains(&format!("127.0.0.1:{port}  close_wait: 1 -> 2 connections, 1 came, 0 left")),
        "{line}"
    );
    // Nobody reads any more, and it has something to say.
    drop(watch.lines.take());
    let mut more = Vec::new();
    let code = wait_for("it ends", || {
        more.push(server.pair().1);
        watch.child.try_wait().expect("it is ours")
    });
    assert_eq!(code.code(), Some(0));
}
