//! What an operator does to a running server by signals: drain it, reload it, ask it; and what the loss of
//! its terminal does to it.

#![allow(clippy::unwrap_used, reason = "an unwrap that fails is a test that fails")]
#![allow(clippy::float_cmp, reason = "metrics are whole numbers")]
#![allow(clippy::disallowed_types, reason = "clients of the tests are ordinary blocking ones")]
#![allow(clippy::disallowed_methods, reason = "tests measure on the real clock")]

use crate::common::file::TempFile;
use crate::common::{Client, DEADLINE, Server, pass, until, wait_for};
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const RESP: &str = "resp://127.0.0.1:0";
const GOODBYE: &str = "-GOODBYE local.drain\r\n";

fn start(listen: &str, settings: &[&str]) -> Server {
    let mut arguments = vec!["--listen", listen, "--admin", "127.0.0.1:0"];
    arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    Server::start(&arguments)
}

fn served(server: &Server) -> Client {
    let mut client = server.connect("resp");
    client.ask("PING", "+PONG\r\n");
    client
}

/// The summary of a server that has exited, after checking that it adds up.
fn summary(server: &Server) -> serde_json::Value {
    let stopped = wait_for("the summary", || server.events("stopped").pop());
    assert_eq!(stopped["accepted"], stopped["ended"], "{stopped}");
    let counts = stopped["reasons"].as_str().unwrap().split(',');
    let sum: u64 = counts.map(|count| count.rsplit(':').next().unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(stopped["ended"], sum, "{stopped}");
    let of_clients = server.ends().into_iter().filter(|end| end["listener"] != "admin");
    assert_eq!(of_clients.count() as u64, sum, "a line for each");
    stopped
}

#[test]
fn sigterm_says_goodbye_to_everyone_but_not_to_all_at_once() {
    let spread = Duration::from_secs(1);
    let mut server = start(&format!("{RESP}?linger=1m"), &["drain.spread=1s", "drain.timeout=1m"]);
    let mut last = served(&server);
    let clients: Vec<_> = (0..40).map(|_| served(&server)).collect();
    let address = server.address("resp");
    server.signal("TERM");
    let told: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            std::thread::spawn(move || {
                client.expect(GOODBYE);
                Instant::now()
            })
        })
        .collect();
    until("the drain", || server.events("draining").len() == 1);
    assert_eq!(server.events("draining")[0]["connections"], 41);
    // Newcomers are refused, so that they go elsewhere, rather than left to believe that they are connected.
    until("the listener to be closed", || TcpStream::connect(address).is_err());
    let (status, body) = server.admin("GET", "/readyz");
    assert!(status.contains("503") && body == "draining\n", "{status} {body}");
    assert_eq!(server.metrics()["linger_draining"], 1.0);

    let mut times: Vec<Instant> = told.into_iter().map(|thread| thread.join().unwrap()).collect();
    times.sort();
    let whole = times[39] - times[0];
    assert!(whole > spread * 3 / 4 && whole < spread * 3, "spread over {whole:?}");
    let most_in_a_tenth = times
        .iter()
        .map(|&from| times.iter().filter(|&&at| at >= from && at - from < spread / 10).count())
        .max()
        .unwrap();
    assert!(most_in_a_tenth <= 20, "{most_in_a_tenth} of 40 in a tenth of the time");
    // It waits for the one that has not closed yet, and what it says still counts.
    assert_eq!(server.events("stopped").len(), 0);
    last.expect(GOODBYE);
    drop(last);
    assert_eq!(server.wait_exit(), Some(0));
    let stopped = summary(&server);
    assert!(stopped["reasons"].as_str().unwrap().contains("local.drain:41"), "{stopped}");
    assert_eq!(stopped["cut_at_the_end"], 0);
}

#[test]
fn a_second_signal_ends_at_once_and_cleanly() {
    let mut server = start(RESP, &["drain.spread=1h", "drain.timeout=2h"]);
    let clients: Vec<_> = (0..10).map(|_| served(&server)).collect();
    // SIGINT, which is Ctrl-C, asks for the same as SIGTERM.
    server.signal("INT");
    until("the drain", || server.events("draining").len() == 1);
    server.signal("TERM");
    assert_eq!(server.wait_exit(), Some(0));
    for mut client in clients {
        assert_eq!(client.read_to_end().unwrap(), GOODBYE.as_bytes(), "told, and a clean end of file");
    }
    // The summary is the last line: once it is read, the others are.
    assert_eq!(summary(&server)["cut_at_the_end"], 10);
    server.logs("drain_cut_short", 1);
}

#[test]
fn a_drain_waits_no_longer_than_its_timeout() {
    let mut server =
        start(&format!("{RESP}?linger=1h&linger_max=1h"), &["drain.spread=0s", "drain.timeout=400ms"]);
    let mut stubborn = served(&server);
    let begun = Instant::now();
    server.signal("TERM");
    assert_eq!(server.wait_exit(), Some(0));
    assert!(begun.elapsed() >= Duration::from_millis(400), "it did wait: {:?}", begun.elapsed());
    assert_eq!(stubborn.read_to_end().unwrap(), GOODBYE.as_bytes());
    assert_eq!(summary(&server)["cut_at_the_end"], 1);
}

#[test]
fn a_client_that_waits_in_the_accept_queue_is_let_in_and_told() {
    // A full server, and fewer accepts in a turn than wait.
    let settings = ["drain.spread=200ms", "turn.accepts=2"];
    let mut server = start(&format!("{RESP}?max_connections=1"), &settings);
    let mut inside = served(&server);
    let mut waiting: Vec<_> = (0..7).map(|_| server.connect("resp")).collect();
    until("the stall", || server.events("accept_stalled").len() == 1);
    server.signal("TERM");
    for client in &mut waiting {
        client.expect(GOODBYE);
    }
    inside.expect(GOODBYE);
    drop((inside, waiting));
    assert_eq!(server.wait_exit(), Some(0));
    assert_eq!(summary(&server)["cut_at_the_end"], 0);
}

#[test]
fn connections_that_came_while_the_server_was_stalled_are_told_too() {
    let mut server = start(RESP, &["drain.spread=0s"]);
    let _ = served(&server);
    server.signal("STOP");
    let mut waiting: Vec<_> = (0..20).map(|_| server.connect("resp")).collect();
    // Both the edge of the listener and the signal are there when it goes on.
    server.signal("TERM");
    server.signal("CONT");
    for client in &mut waiting {
        client.expect(GOODBYE);
    }
    drop(waiting);
    assert_eq!(server.wait_exit(), Some(0));
    assert!(summary(&server)["reasons"].as_str().unwrap().contains("local.drain:20"));
}

/// A `[[listener]]` table, by its extra keys.
fn listener(keys: &str) -> String {
    format!("[[listener]]\nname = 'resp'\nprotocol = 'resp'\naddress = '127.0.0.1:0'\n{keys}\n")
}

/// Whether the kernel has a keepalive timer on the server's side of `client`: field `tr` of /proc/net/tcp.
fn kept_alive(client: &Client) -> bool {
    let local = format!(":{:04X}", client.stream.peer_addr().unwrap().port());
    let remote = format!(":{:04X}", client.stream.local_addr().unwrap().port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut ours = rows.filter(|row| row[1].ends_with(&local) && row[2].ends_with(&remote));
    ours.next().expect("the kernel lists it")[5].starts_with("02:")
}

#[test]
fn sighup_applies_what_can_be_applied() {
    let plain = "heartbeat.style = 'client'\nheartbeat.timeout = '1h'\nkeepalive.enabled = false";
    let file = TempFile::new(&format!("[server]\nmax_connections = 1\n{}", listener(plain)));
    let server = Server::start(&["--config", file.path(), "--admin", "127.0.0.1:0"]);
    let old = served(&server);
    let mut waiting = server.connect("resp");
    waiting.send("PING\r\n");
    until("the stall", || server.events("accept_stalled").len() == 1);

    // A limit: a client that waits for room has it. Socket options: for those that come from now on.
    let kept = "heartbeat.style = 'client'\nheartbeat.timeout = '1h'\nkeepalive.enabled = true";
    server.reload(&file, &format!("[server]\nmax_connections = 9\n{}", listener(kept)));
    waiting.expect("+PONG\r\n");
    assert_eq!(server.metrics()["linger_connections_max"], 9.0);
    let notes = server.events("reload_note");
    assert!(notes[0]["note"].as_str().unwrap().contains("connections accepted from now on"), "{notes:?}");
    let new = served(&server);
    assert!(!kept_alive(&old) && kept_alive(&new));

    // A heartbeat: for everyone, those with a deadline an hour away included.
    let quick = "heartbeat.style = 'client'\nheartbeat.timeout = '100ms'\nheartbeat.grace = '100ms'\nkeepalive.enabled = true";
    server.reload(&file, &format!("[server]\nmax_connections = 9\n{}", listener(quick)));
    let ends = server.wait_ends(3);
    assert!(ends.iter().all(|end| end["detector"] == "heartbeat"), "{ends:?}");
}

#[test]
fn a_heartbeat_that_sighup_turns_on_does_not_count_the_silence_before() {
    let file = TempFile::new(&listener("heartbeat.style = 'off'"));
    let server = Server::start(&["--config", file.path(), "--admin", "127.0.0.1:0"]);
    let _silent = served(&server);
    let silent_for = Duration::from_millis(1500);
    pass(silent_for);
    let timeout = Duration::from_secs(1);
    let on = "heartbeat.style = 'client'\nheartbeat.timeout = '1s'\nheartbeat.grace = '100ms'";
    server.reload(&file, &listener(on));
    let end = server.wait_ends(1).remove(0);
    assert_eq!(end["detector"], "heartbeat", "{end}");
    let silence = end["silence_s"].as_f64().expect("seconds");
    assert!(silence >= (silent_for + timeout).as_secs_f64(), "{silence} s: it was not given the time it has");
}

#[test]
fn connections_that_are_older_than_linger2_leave_no_time_wait_either() {
    let file = TempFile::new(&listener("linger2 = false"));
    let server = Server::start(&["--config", file.path(), "--admin", "127.0.0.1:0"]);
    let mut old = served(&server);
    server.reload(&file, &listener("linger2 = true"));
    old.send("QUIT\r\n");
    assert_eq!(old.read_to_end().expect("an end of file"), b"+OK\r\n", "the server closes first");
    drop(old);
    until("the connection to be over", || {
        server.socket_states("resp").keys().all(|state| ["LISTEN", "TIME_WAIT"].contains(state))
    });
    assert_eq!(server.sockets_in("resp", "TIME_WAIT"), 0, "{:?}", server.socket_states("resp"));
}

#[test]
fn sighup_says_what_cannot_be_applied() {
    let file = TempFile::new(&listener(""));
    let server = Server::start(&["--config", file.path(), "--admin", "127.0.0.1:0"]);
    let other = "[[listener]]\nprotocol = 'echo'\naddress = '127.0.0.1:0'\n";
    server.reload(&file, &format!("{}{other}", listener("backlog = 7")));
    server.reload(&file, other);
    let notes: Vec<String> =
        server.events("reload_note").iter().map(|event| event["note"].as_str().unwrap().to_owned()).collect();
    for part in ["backlog", "listener echo is new", "listener resp is gone from the file"] {
        assert!(
            notes.iter().any(|note| note.contains(part) && note.contains("restart")),
            "{part}: {notes:?}"
        );
    }
    // It stays, as said.
    drop(served(&server));
}

#[test]
fn a_broken_file_changes_nothing_and_all_its_mistakes_are_told() {
    let file = TempFile::new(&format!("[server]\nmax_connections = 5\n{}", listener("")));
    let server = Server::start(&["--config", file.path(), "--admin", "127.0.0.1:0"]);
    let broken =
        format!("[server]\nmax_connections = 6\nacept_retry = '1s'\n{}", listener("linger = 'soon'"));
    server.reload(&file, &broken);
    let refused = wait_for("both mistakes", || {
        let refused = server.events("reload_refused");
        (refused.len() == 2).then_some(refused)
    });
    let mistakes: Vec<&str> = refused.iter().map(|event| event["mistake"].as_str().unwrap()).collect();
    assert!(mistakes[0].contains("acept_retry") && mistakes[0].contains(":3"), "{mistakes:?}");
    assert!(mistakes[1].contains("linger") && mistakes[1].contains("soon"), "{mistakes:?}");
    assert_eq!(server.metrics()["linger_connections_max"], 5.0);
    std::fs::remove_file(file.path()).unwrap();
    server.signal("HUP");
    until("a missing file to be refused", || server.events("reload_refused").len() == 3);
    drop(served(&server));
}

#[test]
fn sigusr1_logs_the_state() {
    let server = start(RESP, &[]);
    let _clients = [served(&server), served(&server), server.connect("resp")];
    until("all to be accepted", || {
        server.metrics()["linger_listener_connections{listener=\"resp\",protocol=\"resp\"}"] == 3.0
    });
    server.signal("USR1");
    until("the listeners' state", || server.events("listener_state").len() == 2);
    let state = &server.events("state")[0];
    assert_eq!((&state["open"], &state["handshaking"]), (&2.into(), &1.into()), "{state}");
    assert!(state["accepted"].as_u64().unwrap() >= 3 && state["output_waiting_bytes"] == 0, "{state}");
    let listeners = server.events("listener_state");
    assert_eq!((&listeners[0]["listener"], &listeners[0]["connections"]), (&"resp".into(), &3.into()));
    assert_eq!((&listeners[0]["queue_length"], &listeners[1]["listener"]), (&0.into(), &"admin".into()));
}

#[test]
fn a_server_whose_terminal_is_gone_serves_on() {
    // As `linger serve 2>&1 | head -1`: the reader leaves after a line, and each later one is a write to a
    // pipe without a reader. By default that signal kills; the same is true of sending to a reset peer.
    let mut child = Command::new(env!("CARGO_BIN_EXE_linger"))
        .args([
            "serve",
            "--log",
            "debug",
            "--log-format",
            "json",
            "--admin",
            "off",
            "--listen",
            "echo://127.0.0.1:0",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    drop(child.stdout.take());
    let event: serde_json::Value = serde_json::from_str(&line).unwrap();
    let address = event["address"].as_str().unwrap().parse().unwrap();
    for _ in 0..3 {
        // Closing with the echo unread resets; what was sent before it makes the server answer into that.
        let mut client = Client::connect(address);
        client.send("hello");
        assert_eq!(client.stream.peek(&mut [0]).unwrap(), 1);
        client.send(vec![b'x'; 100_000]);
        drop(client);
    }
    let mut client = Client::connect(address);
    client.send("still there?");
    client.expect("still there?");
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim();
    // SIGPIPE is 13, the signal of bit 12 (proc_pid_status(5)).
    assert_eq!(u64::from_str_radix(ignored, 16).unwrap() >> 12 & 1, 1, "SIGPIPE is ignored: {ignored}");
    drop(client);
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0), "and it drains without a log");
}

#[test]
fn verdicts_of_two_thousand_silent_clients_come_in_time() {
    const CLIENTS: usize = 2_000;
    let listen = format!("{RESP}?heartbeat=1s&heartbeat.grace=100ms&keepalive.enabled=false");
    let server = start(&listen, &[]);
    let address = server.address("resp");
    let clients: Vec<TcpStream> = (0..CLIENTS)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            std::io::Write::write_all(&mut stream, b"PING\r\n").unwrap();
            stream
        })
        .collect();
    let ends = server.wait_ends(CLIENTS);
    assert!(ends.iter().all(|end| end["detector"] == "heartbeat"));
    let mut lateness: Vec<f64> = ends.iter().map(|end| end["silence_s"].as_f64().unwrap() - 1.1).collect();
    lateness.sort_by(f64::total_cmp);
    assert!(lateness[0] > -0.002, "never early: {}", lateness[0]);
    let (median, p99) = (lateness[CLIENTS / 2], lateness[CLIENTS * 99 / 100]);
    assert!(p99 < 0.3, "late by {median} s at the median, {p99} s at p99");
    // Their kernels answered all along.
    assert_eq!(server.ended("stuck.frozen"), CLIENTS as u64);
    for mut stream in clients {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"+PONG\r\n");
    }
}
