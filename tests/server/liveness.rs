//! Each means of detection alone: what it finds, under which name, and that without it nothing is found.
//!
//! Here are those that a socket on loopback can show; `liveness_heartbeat.rs` has the application's
//! heartbeat, and `liveness_netns.rs` what takes a network that can be unplugged.

use crate::common::means::{Means, arrived, flood, leave_unread};
use crate::common::{in_flight, now, until};
use std::fmt::Write as _;

/// A listener whose output is soon more than the kernel takes.
const SMALL: &str = "send_buffer=64KiB&output_high=4KiB&output_low=1KiB";

// recv and send. These cannot be switched off, so there is no listener without them: they are what the
// listeners `without` have everywhere else, and what everything else is there to supplement.

#[test]
fn recv_finds_a_close() {
    let means = Means::start("echo", "", "");
    let client = means.server.connect("with");
    let since = now();
    drop(client);
    means.found(since, ["peer.fin", "zero_read", "peer_first"]);
}

#[test]
fn recv_finds_a_reset() {
    let means = Means::start("echo", "", "");
    let mut client = means.server.connect("with");
    client.send("x");
    leave_unread(&client);
    let since = now();
    drop(client);
    means.found(since, ["peer.reset", "recv_error", "reset"]);
}

#[test]
fn send_finds_a_reset_and_what_came_before_it_still_counts() {
    let means = Means::start("echo", "", "");
    let mut client = means.server.connect("with");
    client.send("x");
    leave_unread(&client);
    // Stopped, the server sees data and reset in one turn: it reads the data, and its answer meets the reset.
    means.server.signal("STOP");
    client.send("last words");
    drop(client);
    let since = now();
    means.server.signal("CONT");
    let end = means.found(since, ["peer.reset", "send_error", "reset"]);
    assert_eq!(end["bytes_in"], 11);
    assert_eq!([&end["bytes_out"], &end["unsent_bytes"]], [1, 10], "what the failed send was to take: {end}");
}

#[test]
fn what_was_published_before_a_reset_is_read_before_the_error() {
    const ROUNDS: usize = 200;
    let means = Means::start("resp", "", "readiness=true");
    let (mut subscriber, mut published) = (means.helper(), String::new());
    subscriber.ask("SUBSCRIBE feed", "*3\r\n$9\r\nsubscribe\r\n$4\r\nfeed\r\n:1\r\n");
    for round in 0..ROUNDS {
        let mut client = means.server.connect("with");
        // One after the other, so that what follows the first finds the reply to it unwelcome.
        for half in ["a", "b"] {
            client.send(format!("PUBLISH feed {round:04}{half}\r\n"));
            write!(published, "*3\r\n$7\r\nmessage\r\n$4\r\nfeed\r\n$5\r\n{round:04}{half}\r\n").unwrap();
        }
        // What the client's kernel still holds goes with the reset.
        let port = client.stream.local_addr().unwrap().port();
        until("it has arrived", || in_flight("/proc/net/tcp", Some(port)) == 0);
        client.reset();
    }
    subscriber.expect(published);
    until("their ends", || means.ends_of("with").len() == ROUNDS);
    let ended = |reason| means.server.ended(reason);
    assert_eq!(ended("peer.reset") + ended("peer.reset_after_fin"), ROUNDS as u64);
}

#[test]
fn send_finds_a_reset_after_the_fin() {
    // Output may pile up without reading being paused, so that the FIN behind the data is read.
    let means = Means::start("echo", "send_buffer=4KiB&output_high=512MiB&output_max=1GiB", "");
    let mut client = means.server.connect("with");
    // More than the client's kernel takes for a program that does not read (net.ipv4.tcp_rmem: 6 MB).
    client.send(vec![b'x'; 32 << 20]);
    client.half_close();
    until("the FIN is read", || means.server.connections("with").iter().any(|c| c["state"] == "peer_closed"));
    let since = now();
    drop(client);
    let end = means.found(since, ["peer.reset_after_fin", "send_error", "reset"]);
    assert!(end["unsent_bytes"].as_u64() > Some(0), "{end}");
}

#[test]
fn an_interrupted_call_is_no_ending() {
    let means = Means::start("echo", "", "");
    let mut client = means.server.connect("with");
    let pid = means.server.pid().to_string();
    let signals = std::thread::spawn(move || {
        let script = format!("for i in $(seq 300); do kill -USR1 {pid}; sleep 0.002; done");
        std::process::Command::new("sh").args(["-c", &script]).status().is_ok_and(|status| status.success())
    });
    let block = vec![b'x'; 16 * 1024];
    let mut rounds = 0;
    while !signals.is_finished() {
        client.send(&block);
        client.expect(&block);
        rounds += 1;
    }
    assert!(signals.join().expect("no panic"), "kill");
    // Pending signals of one kind are one, so not each of them was handled by itself.
    until("many interruptions", || means.server.events("state").len() > 10);
    assert!(rounds > 10);
    client.send("still there");
    client.expect("still there");
    assert_eq!(means.ends_of("with"), [] as [serde_json::Value; 0]);
}

// Reading is paused, so recv is not there to find anything.

/// Two clients that do not read, and on which the server has paused reading.
fn paused(means: &Means) -> (crate::common::Client, crate::common::Client) {
    let (mut with, mut without) = means.clients();
    // The watched one last: from here on the means may find it at any moment.
    flood(&mut without, || means.count("linger_connections_paused") == 1);
    flood(&mut with, || means.count("linger_connections_paused") == 2);
    (with, without)
}

#[test]
fn readiness_flags_find_a_reset_while_reading_is_paused() {
    let means = Means::start("echo", SMALL, "readiness=true");
    let clients = paused(&means);
    let since = now();
    drop(clients);
    means.found(since, ["peer.reset", "readiness", "reset"]);
}

#[test]
fn tcp_info_finds_a_reset_while_reading_is_paused() {
    let means = Means::start("echo", SMALL, "tcp_info.interval=200ms");
    let clients = paused(&means);
    let since = now();
    drop(clients);
    means.found(since, ["peer.reset", "tcp_info", "reset"]);
}

#[test]
fn a_heartbeat_finds_a_reset_behind_what_waits_to_be_read() {
    let means = Means::start("echo", SMALL, "heartbeat.style=client&heartbeat.timeout=1s");
    let clients = paused(&means);
    let since = now();
    drop(clients);
    means.found(since, ["peer.reset", "tcp_info", "reset"]);
}

// Kernel timers; what they find is told by recv, so reading must not be paused.

#[test]
fn tcp_user_timeout_finds_a_client_that_does_not_read() {
    const UNPAUSED: &str = "send_buffer=64KiB&output_high=512MiB&output_max=1GiB";
    let means = Means::start("echo", UNPAUSED, "user_timeout=2s");
    let (mut with, mut without) = means.clients();
    for client in [&mut without, &mut with] {
        // More than the client's kernel takes for a program that does not read (net.ipv4.tcp_rmem: 6 MB).
        client.send(vec![b'x'; 32 << 20]);
    }
    let end = means.found(now(), ["stuck.zero_window", "user_timeout", "reset"]);
    assert!(end["last_ack_recv_ms"].as_u64() < Some(2000), "its kernel answers: {end}");
}

// Probes of ours.

#[test]
fn a_probe_after_eof_makes_a_closed_client_answer_and_spares_both_sides_the_time_wait() {
    let means = Means::start("echo", "", "probe.after_eof=true");
    let (with, without) = means.clients();
    let server = [means.server.address("with").port(), means.server.address("without").port()];
    let client = [&with, &without].map(|c| c.stream.local_addr().expect("connected").port());
    drop((with, without));
    let end = means.end_of("with");
    assert_eq!([&end["reason"], &end["detector"], &end["close"]], ["peer.fin", "eof_probe", "probe_reset"]);
    let end = means.end_of("without");
    assert_eq!([&end["reason"], &end["detector"], &end["close"]], ["peer.fin", "zero_read", "peer_first"]);
    // Without the probe the client, which closed first, pays.
    until("the client's TIME_WAIT", || pairs_in_time_wait(client[1], server[1]) == [true, false]);
    assert_eq!(pairs_in_time_wait(client[0], server[0]), [false, false], "the probed client, and its server");
}

/// Whether the kernel has a TIME_WAIT for the client's side of a connection, and one for the server's. By both
/// ports: the client's may be in use towards other servers as well.
fn pairs_in_time_wait(client: u16, server: u16) -> [bool; 2] {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's table");
    let port = |field: &str| field.rsplit(':').next().and_then(|hex| u16::from_str_radix(hex, 16).ok());
    let has = |local, remote| {
        table.lines().skip(1).any(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            // TCP_TIME_WAIT is 6 (include/net/tcp_states.h).
            (port(fields[1]), port(fields[2]), fields[3]) == (Some(local), Some(remote), "06")
        })
    };
    [has(client, server), has(server, client)]
}

#[test]
fn a_half_closed_client_takes_the_probe_after_eof_and_still_closes_first() {
    for (protocol, say, hear) in [
        ("echo", "hello", "hello\n"),
        ("resp", "PING\r\n", "+PONG\r\n+PING\r\n"),
        ("resp", "PING\r\nHELLO 3\r\n", ">1\r\n$9\r\nheartbeat\r\n"),
    ] {
        let means = Means::start(protocol, "linger=1s", "probe.after_eof=true");
        let mut client = means.server.connect("with");
        client.send(say);
        client.half_close();
        let heard = client.read_to_end().expect("a clean end of file");
        assert!(heard.ends_with(hear.as_bytes()), "{}", String::from_utf8_lossy(&heard));
        let end = means.end_of("with");
        assert_eq!(
            [&end["reason"], &end["detector"], &end["close"]],
            ["peer.fin", "zero_read", "peer_first"]
        );
    }
}

#[test]
fn out_of_band_probes_are_invisible_to_a_client_that_reads() {
    let means = Means::start("echo", "", "probe.oob=50ms");
    let mut client = means.server.connect("with");
    client.send("a");
    client.expect("a");
    let port = client.stream.local_addr().expect("connected").port();
    // Nothing in the metrics tells of them; on the wire they are bytes that arrive and are not read.
    until("five probes", || urgent_bytes(port) >= 5);
    assert_eq!(arrived(&mut client), b"");
    client.send("b");
    client.expect("b");
    client.half_close();
    assert_eq!(client.read_to_end().expect("a clean end of file"), b"");
    assert_eq!(means.end_of("with")["reason"], "peer.fin");
}

#[test]
fn out_of_band_probes_get_into_the_stream_of_a_client_that_does_not_read() {
    // The hazard that the option is described with, and why it is off.
    let means = Means::start("echo", "", "probe.oob=50ms");
    let mut client = means.server.connect("with");
    client.send("a");
    leave_unread(&client);
    let port = client.stream.local_addr().expect("connected").port();
    until("three probes", || urgent_bytes(port) >= 3);
    let bytes = arrived(&mut client);
    assert!(bytes.starts_with(b"a\0") || bytes == b"a", "{bytes:?}");
    println!("a client that has not read sees {bytes:?}");
}

/// Bytes that the client on `port` was sent beyond its own echo, by the kernel's count.
fn urgent_bytes(port: u16) -> u64 {
    let output = std::process::Command::new("ss").args(["-tinH", &format!("sport = :{port}")]).output();
    let text = String::from_utf8(output.expect("ss runs").stdout).expect("text");
    let count = |name: &str| {
        text.split_whitespace().find_map(|word| word.strip_prefix(name)?.parse::<u64>().ok()).unwrap_or(0)
    };
    count("bytes_received:").saturating_sub(count("bytes_sent:"))
}
