//! `idle_timeout` ends a connection that is not used. What a client is sent is use as much as what it sends; heartbeats are none.

#![expect(clippy::disallowed_methods, reason = "tests on the real kernel have to let time pass")]

use crate::common::{Client, Server, until};
use std::io::Read;
use std::thread::sleep;
use std::time::{Duration, Instant};

const IDLE: Duration = Duration::from_secs(2);

fn start(listener: &str) -> Server {
    let listener = format!("{listener}&idle_timeout=2s");
    Server::start(&["--listen", &listener, "--admin", "127.0.0.1:0"])
}

fn idle(server: &Server) -> usize {
    server.ends().iter().filter(|end| end["reason"] == "local.idle").count()
}

/// Does something every 0.2 s, for longer than nothing may happen.
fn for_a_while(mut act: impl FnMut()) {
    let begun = Instant::now();
    while begun.elapsed() < IDLE * 2 {
        act();
        sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_subscriber_that_receives_messages_is_in_use() {
    let server = start("resp://127.0.0.1:0?name=resp");
    // A large one goes to the socket at once, and not by way of the output.
    let payloads = ["x".to_owned(), "x".repeat(20_000)];
    let mut subscribers = [server.connect("resp"), server.connect("resp")];
    for (number, subscriber) in subscribers.iter_mut().enumerate() {
        let confirmation = format!("*3\r\n$9\r\nsubscribe\r\n$1\r\n{number}\r\n:1\r\n");
        subscriber.ask(&format!("SUBSCRIBE {number}"), &confirmation);
    }
    let mut publisher = server.connect("resp");
    for_a_while(|| {
        for (number, (subscriber, payload)) in subscribers.iter_mut().zip(&payloads).enumerate() {
            publisher.ask(&format!("PUBLISH {number} {payload}"), ":1\r\n");
            let length = payload.len();
            subscriber.expect(format!("*3\r\n$7\r\nmessage\r\n$1\r\n{number}\r\n${length}\r\n{payload}\r\n"));
        }
    });
    assert_eq!(idle(&server), 0);
    drop(publisher);
    until("the subscribers to be ended once nothing comes any more", || idle(&server) == 2);
}

#[test]
fn heartbeats_and_pings_are_no_use() {
    let server = start("resp://127.0.0.1:0?name=resp");
    let (mut beating, mut pinging) = (server.connect("resp"), server.connect("resp"));
    beating.ask("IDENT dev BEAT 1 SERVERPING", "+OK\r\n");
    let begun = Instant::now();
    // What fails is that the server has ended them.
    while begun.elapsed() < crate::common::DEADLINE && idle(&server) < 2 {
        let _ = std::io::Write::write_all(&mut beating.stream, b"BEAT\r\n");
        let _ = std::io::Write::write_all(&mut pinging.stream, b"PING\r\n");
        sleep(Duration::from_millis(100));
    }
    assert_eq!(idle(&server), 2);
}

#[test]
fn a_command_that_comes_in_pieces_is_use() {
    let server = start("resp://127.0.0.1:0?name=resp");
    let mut client = server.connect("resp");
    // Nobody is idle who has not opened yet.
    client.ask("ECHO x", "$1\r\nx\r\n");
    client.send("*2\r\n$4\r\nECHO\r\n$1000\r\n");
    let mut sent = 0;
    for_a_while(|| {
        client.send("x");
        sent += 1;
    });
    client.send("x".repeat(1000 - sent));
    client.send("\r\n");
    client.expect(format!("$1000\r\n{}\r\n", "x".repeat(1000)));
    assert_eq!(idle(&server), 0);
}

/// Takes the pending output bit by bit, for twice as long as nothing may happen, and then asks for more.
fn takes_slowly(server: &Server, client: &mut Client, request: &[u8], more: &[u8]) {
    let mut buffer = vec![0; 64 * 1024];
    client.send(request);
    for_a_while(|| {
        let _ = client.stream.read(&mut buffer).expect("it is not ended");
    });
    // Now as fast as it comes, up to the last byte of this answer; which counts as the last use.
    client.send(more);
    until("the answer to more", || {
        let count = client.stream.read(&mut buffer).expect("it is not ended");
        assert!(count > 0, "it was ended");
        buffer[..count].ends_with(b"more")
    });
    assert_eq!(idle(server), 0);
    until("its end", || idle(server) == 1);
}

#[test]
fn who_takes_its_output_slowly_is_in_use() {
    let server = start("echo://127.0.0.1:0?name=echo&send_buffer=8KiB&output_high=64MiB&output_max=128MiB");
    let mut client = server.connect("echo");
    // More than the kernels hold between them (net.ipv4.tcp_rmem: 6 MB).
    let request = vec![b'x'; 12 << 20];
    takes_slowly(&server, &mut client, &request, b"more");
}
