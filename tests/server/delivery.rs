//! No byte is lost: the pending output of a client that reads arrives whole in every orderly ending, however slowly
//! it reads, and what a client said last still counts.
//!
//! "Pending" means held by the server itself: each test waits until `/connections` shows a megabyte in the queue
//! of the connection, behind a kernel buffer that is full.

#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::float_cmp,
    clippy::single_match_else,
    reason = "tests may panic, print, compare counters, wait on the real clock, and close a client by taking it"
)]

use crate::common::{Client, Server, until, wait_for};
use socket2::{Domain, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const MIB: u64 = 1 << 20;

/// A small window, so that little of the output hides in the client's kernel. Not the smallest: loopback
/// segments are 64 KiB, and a window below that is opened in steps of a delayed ACK.
fn connect_narrow(address: SocketAddr) -> Client {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    // Before connecting: the window scale is agreed on in the handshake.
    socket.set_recv_buffer_size(128 * 1024).unwrap();
    socket.connect(&address.into()).unwrap();
    let stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(crate::common::DEADLINE)).unwrap();
    stream.set_write_timeout(Some(crate::common::DEADLINE)).unwrap();
    Client { stream }
}

/// Reads to the end, `chunk` bytes at a time with a rest in between: a client that is slow and not stuck.
fn read_slowly(client: &mut Client, chunk: usize, rest: Duration) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = vec![0; chunk];
    loop {
        match client.stream.read(&mut buffer) {
            Ok(0) => return all,
            Ok(count) => all.extend_from_slice(&buffer[..count]),
            Err(error) => panic!("{error} after {} bytes", all.len()),
        }
        std::thread::sleep(rest);
    }
}

/// Reads `length` bytes, by 8 KiB at a time.
fn read_exactly(mut stream: &TcpStream, length: usize, rest: Duration) -> Vec<u8> {
    let mut got = vec![0; length];
    for chunk in got.chunks_mut(8 * 1024) {
        stream.read_exact(chunk).expect("it is not given up");
        std::thread::sleep(rest);
    }
    got
}

fn read_at_ease(client: &mut Client) -> Vec<u8> {
    read_slowly(client, 32 * 1024, Duration::from_millis(1))
}

/// Bytes that differ everywhere, so that a gap, a repetition or a swap is seen.
fn pattern(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(length)
    .collect()
}

/// Says where two streams part ways: megabytes in a failure help nobody.
fn assert_same(got: &[u8], expected: &[u8]) {
    let same = got.iter().zip(expected).take_while(|(a, b)| a == b).count();
    let shown = |bytes: &[u8]| String::from_utf8_lossy(&bytes[same..bytes.len().min(same + 60)]).into_owned();
    assert!(
        got == expected,
        "{} bytes instead of {}, the same up to {same}: {:?} instead of {:?}",
        got.len(),
        expected.len(),
        shown(got),
        shown(expected)
    );
}

/// What the admin interface knows of the one connection of `listener` for which `wanted` holds.
fn connection(
    server: &Server,
    listener: &str,
    wanted: impl Fn(&serde_json::Value) -> bool,
) -> serde_json::Value {
    server.connections(listener).into_iter().find(|connection| wanted(connection)).unwrap_or_default()
}

fn of_dev(connection: &serde_json::Value) -> bool {
    connection["id"] == "dev"
}

fn kick(server: &Server, connection: &serde_json::Value) {
    let key = connection["key"].as_str().expect("such a connection");
    let (status, body) = server.admin("POST", &format!("/connections/{key}/end"));
    assert!(status.contains("202"), "{status}: {body}");
}

fn start(listener: &str, more: &[&str]) -> Server {
    let mut arguments = vec!["--listen", listener, "--admin", "127.0.0.1:0"];
    arguments.extend_from_slice(more);
    Server::start(&arguments)
}

fn message(channel: &str, payload: &[u8]) -> Vec<u8> {
    let mut frame =
        format!("*3\r\n$7\r\nmessage\r\n${}\r\n{channel}\r\n${}\r\n", channel.len(), payload.len());
    frame.push_str(std::str::from_utf8(payload).unwrap());
    frame.push_str("\r\n");
    frame.into_bytes()
}

/// A subscriber called `dev` with a megabyte of pending output, and everything that it must come to read.
struct Pending {
    server: Server,
    subscriber: Client,
    _publisher: Client,
    expected: Vec<u8>,
}

/// `query`: of the listener's URL. With a small `send_buffer` it takes little before the server itself must
/// hold it.
fn pending(query: &str, more: &[&str]) -> Pending {
    let server = start(&format!("resp://127.0.0.1:0?output_max=16MiB{query}"), more);
    let mut subscriber = connect_narrow(server.address("resp"));
    subscriber.ask("IDENT dev", "+OK\r\n");
    subscriber.ask("SUBSCRIBE feed", "*3\r\n$9\r\nsubscribe\r\n$4\r\nfeed\r\n:1\r\n");
    let mut publisher = server.connect("resp");
    let mut expected = Vec::new();
    let mut number = 0u32;
    until("a megabyte to be pending", || {
        for _ in 0..16 {
            number += 1;
            let payload = format!("{number:08}").repeat(2000);
            publisher.ask(&format!("PUBLISH feed {payload}"), ":1\r\n");
            expected.extend(message("feed", payload.as_bytes()));
        }
        connection(&server, "resp", of_dev)["queue_bytes"].as_u64().unwrap_or(0) >= MIB
    });
    Pending { server, subscriber, _publisher: publisher, expected }
}

fn end_of_dev(server: &Server) -> serde_json::Value {
    wait_for("the subscriber's end", || server.ends().into_iter().find(|end| end["identity"] == "dev"))
}

impl Pending {
    /// Reads at ease, and compares that with what was expected and the goodbye that follows it.
    fn expect_whole(&mut self, goodbye: &str) {
        let got = read_at_ease(&mut self.subscriber);
        self.compare(&got, goodbye);
    }

    fn compare(&mut self, got: &[u8], goodbye: &str) {
        self.expected.extend_from_slice(goodbye.as_bytes());
        assert_same(got, &self.expected);
    }

    fn expect_end(&self, reason: &str, close: &str) {
        let end = end_of_dev(&self.server);
        assert_eq!((&end["reason"], &end["close"]), (&reason.into(), &close.into()), "{end}");
        assert_eq!(
            end["bytes_out"],
            self.expected.len() + "+OK\r\n*3\r\n$9\r\nsubscribe\r\n$4\r\nfeed\r\n:1\r\n".len()
        );
        assert_eq!(self.server.stray_lines(), [""; 0]);
    }
}

#[test]
fn a_half_closed_client_gets_all_pending_output() {
    let mut pending = pending("&send_buffer=256KiB&linger=1s", &[]);
    pending.subscriber.half_close();
    pending.expect_whole("");
    pending.expect_end("peer.fin", "peer_first");
}

#[test]
fn a_kicked_client_gets_all_pending_output_and_then_the_goodbye() {
    let mut pending = pending("&send_buffer=256KiB&linger=1s", &[]);
    kick(&pending.server, &connection(&pending.server, "resp", of_dev));
    pending.expect_whole("-GOODBYE local.kicked\r\n");
    pending.expect_end("local.kicked", "linger2");
}

#[test]
fn an_idle_client_gets_all_pending_output() {
    // It is in use as long as it takes pending output, and idle after that.
    let mut pending = pending("&send_buffer=256KiB&linger=1s&idle_timeout=2s", &[]);
    pending.expect_whole("-GOODBYE local.idle\r\n");
    pending.expect_end("local.idle", "linger2");
}

#[test]
fn a_draining_server_delivers_all_pending_output_before_it_exits() {
    let mut pending = pending("&send_buffer=256KiB&linger=1s", &["--set", "drain.spread=0s"]);
    pending.server.signal("TERM");
    pending.expect_whole("-GOODBYE local.drain\r\n");
    assert_eq!(pending.server.wait_exit(), Some(0));
    pending.expect_end("local.drain", "linger2");
}

#[test]
fn a_replaced_client_gets_all_pending_output() {
    let mut pending = pending("&send_buffer=256KiB&linger=1s", &[]);
    let mut newer = pending.server.connect("resp");
    newer.ask("IDENT dev", "+OK\r\n");
    pending.expect_whole("-GOODBYE peer.replaced\r\n");
    newer.ask("STATE dev", "+online\r\n");
    // The older connection's record names it by its key alone: the identity is the newer one's now.
    let end = pending.server.end_of("peer.replaced");
    assert_eq!(end["close"], "linger2");
}

/// Silent beyond timeout and grace, but its program still reads: the verdict ends it, and nothing is lost.
#[test]
fn a_client_taken_for_frozen_gets_all_pending_output() {
    let mut pending = pending("&send_buffer=256KiB&linger=1s&heartbeat=700ms&heartbeat.grace=500ms", &[]);
    let got = read_slowly(&mut pending.subscriber, 8 * 1024, Duration::from_millis(10));
    pending.compare(&got, "");
    pending.expect_end("stuck.frozen", "linger2");
}

/// At the linger deadline the kernel holds it all: the server is rid of the socket, the client is not robbed.
#[test]
fn what_the_kernel_holds_at_the_linger_deadline_is_delivered() {
    let server = start("resp://127.0.0.1:0?linger=50ms&output_max=16MiB", &[]);
    let mut subscriber = connect_narrow(server.address("resp"));
    subscriber.ask("IDENT dev", "+OK\r\n");
    subscriber.ask("SUBSCRIBE feed", "*3\r\n$9\r\nsubscribe\r\n$4\r\nfeed\r\n:1\r\n");
    let mut publisher = server.connect("resp");
    let mut expected = Vec::new();
    for number in 0..32 {
        let payload = format!("{number:08}").repeat(4000);
        publisher.ask(&format!("PUBLISH feed {payload}"), ":1\r\n");
        expected.extend(message("feed", payload.as_bytes()));
    }
    assert_eq!(connection(&server, "resp", of_dev)["queue_bytes"], 0, "the kernel took it all");
    kick(&server, &connection(&server, "resp", of_dev));
    let end = &server.wait_ends(1)[0];
    assert_eq!((&end["reason"], &end["close"]), (&"local.kicked".into(), &"linger2".into()));
    expected.extend_from_slice(b"-GOODBYE local.kicked\r\n");
    assert_same(&read_at_ease(&mut subscriber), &expected);
}

/// The pace, for each 8 KiB, of a client that is slower than the edges of the kernel. That says that there is room only
/// when a third of its buffer is free (`sk_stream_is_writeable`), which then takes twice the deadlines below.
const SLOWLY: Duration = Duration::from_millis(16);

/// Such a client reads, so it is not given up.
#[test]
fn a_client_slower_than_the_edges_of_the_kernel_is_not_given_up() {
    let mut pending = pending("&linger=750ms", &[]);
    kick(&pending.server, &connection(&pending.server, "resp", of_dev));
    let got = read_slowly(&mut pending.subscriber, 8 * 1024, SLOWLY);
    pending.compare(&got, "-GOODBYE local.kicked\r\n");
    pending.expect_end("local.kicked", "linger2");
}

/// The same for the bound on slow consumers.
#[test]
fn a_subscriber_slower_than_the_edges_of_the_kernel_is_not_slow() {
    let pending = pending("&slow_time=750ms", &[]);
    let got = read_exactly(&pending.subscriber.stream, pending.expected.len(), SLOWLY);
    assert_same(&got, &pending.expected);
    assert_eq!(pending.server.ended("slow.time"), 0);
}

/// Writes without reading until the server's queue for it holds a megabyte; gives what was written.
fn flood(server: &Server, client: &mut Client, listener: &str, bytes: &[u8]) -> usize {
    client.stream.set_nonblocking(true).unwrap();
    let mut sent = 0;
    until("a megabyte to be pending", || {
        loop {
            match client.stream.write(&bytes[sent..]) {
                Ok(0) => break,
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        connection(server, listener, |_| true)["queue_bytes"].as_u64().unwrap_or(0) >= MIB
    });
    client.stream.set_nonblocking(false).unwrap();
    sent
}

#[test]
fn an_echo_client_that_is_kicked_gets_its_bytes_back() {
    let server = start("echo://127.0.0.1:0?output_high=2MiB&output_max=4MiB&linger=500ms", &[]);
    let mut client = connect_narrow(server.address("echo"));
    let bytes = pattern(32 << 20);
    flood(&server, &mut client, "echo", &bytes);
    kick(&server, &connection(&server, "echo", |_| true));
    let got = read_at_ease(&mut client);
    let end = &server.wait_ends(1)[0];
    assert_eq!((&end["reason"], &end["close"]), (&"local.kicked".into(), &"linger2".into()), "{end}");
    assert_eq!(end["bytes_in"], end["bytes_out"], "all that was received went back");
    assert_same(&got, &bytes[..got.len()]);
    assert_eq!(end["bytes_out"], got.len());
}

#[test]
fn an_echo_client_that_half_closes_gets_its_bytes_back() {
    let server = start("echo://127.0.0.1:0?output_high=2MiB&output_max=4MiB", &[]);
    let mut client = connect_narrow(server.address("echo"));
    let bytes = pattern(32 << 20);
    let sent = flood(&server, &mut client, "echo", &bytes);
    client.half_close();
    assert_same(&read_at_ease(&mut client), &bytes[..sent]);
    assert_eq!(server.wait_ends(1)[0]["reason"], "peer.fin");
}

#[test]
fn replies_to_what_came_before_quit_all_arrive() {
    let server =
        start("resp://127.0.0.1:0?send_buffer=256KiB&output_high=2MiB&output_max=4MiB&linger=1s", &[]);
    let mut client = connect_narrow(server.address("resp"));
    let (mut commands, mut expected) = (Vec::new(), Vec::new());
    for number in 0..1000 {
        let payload = format!("{number:08}").repeat(1600);
        write!(commands, "*2\r\n$4\r\nECHO\r\n${0}\r\n{payload}\r\n", payload.len()).unwrap();
        write!(expected, "${0}\r\n{payload}\r\n", payload.len()).unwrap();
    }
    commands.extend_from_slice(b"QUIT\r\nPING\r\n");
    expected.extend_from_slice(b"+OK\r\n");
    let sent = flood(&server, &mut client, "resp", &commands);
    let rest = commands.split_off(sent);
    let mut writer = client.stream.try_clone().unwrap();
    let writer = std::thread::spawn(move || writer.write_all(&rest));
    assert_same(&read_at_ease(&mut client), &expected);
    writer.join().unwrap().expect("it was all taken");
    assert_eq!(server.wait_ends(1)[0]["reason"], "peer.goodbye");
}

#[test]
fn what_a_client_says_after_the_goodbye_still_counts() {
    let server = start("resp://127.0.0.1:0?linger=30s", &[]);
    let mut other = server.connect("resp");
    other.ask("IDENT other", "+OK\r\n");
    other.ask("SUBSCRIBE news", "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
    let mut client = server.connect("resp");
    client.ask("IDENT dev", "+OK\r\n");
    kick(&server, &connection(&server, "resp", of_dev));
    client.expect("-GOODBYE local.kicked\r\n");
    client.ask("SEND other late", ":1\r\n");
    client.ask("PUBLISH news last", ":1\r\n");
    drop(client);
    other.expect("*3\r\n$7\r\nmessage\r\n$13\r\n$direct:other\r\n$4\r\nlate\r\n");
    other.expect(message("news", b"last"));
    assert_eq!(server.wait_ends(1)[0]["reason"], "local.kicked");
}

#[test]
fn what_an_echo_client_says_while_suspect_comes_back() {
    let server = start("echo://127.0.0.1:0?heartbeat=200ms&heartbeat.grace=60s", &[]);
    let mut client = server.connect("echo");
    for round in 1..=3u8 {
        until("suspicion", || connection(&server, "echo", |_| true)["state"] == "suspect");
        client.send([round; 3]);
        client.expect([round; 3]);
    }
    assert!(server.metrics()["linger_revived_total"] >= 3.0);
}

#[test]
fn output_withheld_in_suspicion_comes_in_order_after_it() {
    // The bound on slowness is shorter than the suspicion: what we withhold is not the client's slowness.
    let query = "heartbeat=200ms&heartbeat.grace=60s&slow_time=100ms";
    let server = start(&format!("resp://127.0.0.1:0?{query}"), &[]);
    let mut client = server.connect("resp");
    client.ask("IDENT dev", "+OK\r\n");
    let mut sender = server.connect("resp");
    until("suspicion", || connection(&server, "resp", of_dev)["state"] == "suspect");
    for number in 0..100 {
        sender.ask(&format!("SEND dev {number:03}"), ":1\r\n");
    }
    assert_eq!(connection(&server, "resp", of_dev)["state"], "suspect");
    assert!(connection(&server, "resp", of_dev)["queue_bytes"].as_u64() > Some(0), "withheld, not sent");
    // Well beyond slow_time: several looks at the clock by way of the admin interface would not prove it.
    std::thread::sleep(Duration::from_millis(300));
    client.send("PING\r\n");
    for number in 0..100 {
        client.expect(format!("*3\r\n$7\r\nmessage\r\n$11\r\n$direct:dev\r\n$3\r\n{number:03}\r\n"));
    }
    client.expect("+PONG\r\n");
    assert_eq!(server.ended("slow.time"), 0);
}

/// Reading was paused because the client had not read. Its heartbeats lie in our own receive buffer: that
/// silence is ours. And once it is suspect all the same, what it says must be read in spite of the pause.
#[test]
fn a_pause_of_ours_is_no_silence_of_the_client() {
    let mut pending = pending("&heartbeat=400ms&heartbeat.grace=3s&linger=500ms", &[]);
    until("suspicion", || connection(&pending.server, "resp", of_dev)["state"] == "suspect");
    // Still over the watermark, and not a byte of the pending output has been read.
    pending.subscriber.send("BEAT\r\n");
    until("revival", || pending.server.metrics()["linger_revived_total"] >= 1.0);
    let (reader, total) = (pending.subscriber.stream.try_clone().unwrap(), pending.expected.len());
    let reader = std::thread::spawn(move || read_exactly(&reader, total, Duration::from_millis(6)));
    let mut beats = 0;
    while !reader.is_finished() {
        pending.subscriber.send("BEAT\r\n");
        beats += 1;
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_same(&reader.join().unwrap(), &pending.expected);
    assert!(beats > 20, "{beats}: longer than timeout and grace together");
    assert_eq!(connection(&pending.server, "resp", of_dev)["state"], "open");
}

#[test]
fn messages_of_one_publisher_keep_their_order() {
    const PUBLISHERS: usize = 4;
    const MESSAGES: usize = 3000;
    let server = start("resp://127.0.0.1:0?output_max=64MiB", &[]);
    let mut subscriber = server.connect("resp");
    subscriber.ask("SUBSCRIBE feed", "*3\r\n$9\r\nsubscribe\r\n$4\r\nfeed\r\n:1\r\n");
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|publisher| {
            let mut client = server.connect("resp");
            std::thread::spawn(move || {
                let mut commands = Vec::new();
                for number in 0..MESSAGES {
                    write!(commands, "PUBLISH feed {publisher}-{number:05}\r\n").unwrap();
                }
                client.send(commands);
                client.expect(":1\r\n".repeat(MESSAGES));
            })
        })
        .collect();
    let mut next = [0; PUBLISHERS];
    let frame_length = message("feed", b"0-00000").len();
    for _ in 0..PUBLISHERS * MESSAGES {
        let mut frame = vec![0; frame_length];
        subscriber.stream.read_exact(&mut frame).unwrap();
        let text = String::from_utf8(frame[frame_length - 9..frame_length - 2].to_vec()).unwrap();
        let (publisher, number) = text.split_once('-').unwrap();
        let publisher: usize = publisher.parse().unwrap();
        assert_eq!(number.parse(), Ok(next[publisher]), "publisher {publisher}");
        next[publisher] += 1;
    }
    for publisher in publishers {
        publisher.join().unwrap();
    }
}

/// Its last words wait unread behind a pause of ours, and behind them is the reset: whatever tells of that, they count.
#[test]
fn last_words_before_a_reset_are_heard_in_spite_of_a_pause() {
    for (means, detectors) in [
        ("readiness=true", ["readiness"].as_slice()),
        ("readiness=false&tcp_info.interval=200ms", &["tcp_info"]),
        ("readiness=false&tcp_info.interval=off&probe.oob=200ms", &["oob_probe"]),
        // If it was suspect when it spoke, that has revived it, and what was withheld has met the reset.
        ("readiness=false&tcp_info.interval=off&heartbeat=2s", &["tcp_info", "send_error"]),
    ] {
        let mut pending = pending(&format!("&{means}"), &[]);
        pending.subscriber.send("PUBLISH news last\r\n");
        pending.subscriber.reset();
        let end = end_of_dev(&pending.server);
        assert_eq!(end["reason"], "peer.reset", "{end}");
        assert!(detectors.contains(&end["detector"].as_str().unwrap_or_default()), "{means}: {end}");
        assert_eq!(end["messages_in"], 3, "{means}: IDENT, SUBSCRIBE and PUBLISH; {end}");
        assert!(end["unsent_bytes"].as_u64() >= Some(MIB / 2), "{means}: {end}");
    }
}

/// More of them than are served in one go.
#[test]
fn all_that_a_suspect_said_before_a_reset_counts() {
    let mut pending =
        pending("&readiness=true&tcp_info.interval=off&heartbeat=500ms&heartbeat.grace=60s", &[]);
    let until_suspect =
        |server| until("suspicion", || connection(server, "resp", of_dev)["state"] == "suspect");
    until_suspect(&pending.server);
    pending.subscriber.send("PING\r\n".repeat(6000));
    until("revival", || pending.server.metrics()["linger_revived_total"] >= 1.0);
    until_suspect(&pending.server);
    pending.subscriber.reset();
    assert_eq!(end_of_dev(&pending.server)["messages_in"], 6002);
}
