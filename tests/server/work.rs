//! What one client may ask for: names are bounded where they enter, lists of any length reach the one who asks, and
//! all waiting bytes of the process have one bound. How long the others wait meanwhile is measured by
//! `scripts/bench.sh --only attack`.

#![allow(clippy::unwrap_used, reason = "an unwrap that fails is a test that fails")]
#![allow(clippy::format_collect, reason = "a test need not save an allocation")]

use crate::common::{Client, Server, until};
use std::io::{BufRead, BufReader, Read};

const TOO_LONG: &str = "-ERR name too long\r\n";

fn start(more: &[&str]) -> Server {
    let mut arguments = vec!["--listen", "resp://127.0.0.1:0", "--admin", "127.0.0.1:0"];
    arguments.extend_from_slice(more);
    Server::start(&arguments)
}

#[test]
fn names_and_patterns_are_bounded_wherever_they_enter() {
    let server = start(&[]);
    let mut client = server.connect("resp");
    let long = "x".repeat(513);
    for command in ["PUBLISH @ x", "WHO @", "PUBSUB CHANNELS @", "SUBSCRIBE @"] {
        client.ask(&command.replace('@', &long), TOO_LONG);
    }
    let longest = "x".repeat(512);
    client.ask(&format!("PUBLISH {longest} x"), ":0\r\n");
    client.ask(&format!("WHO {longest}"), "*0\r\n");
}

/// The pattern is one that would take the square of its length, the text one that the worst of them goes over.
#[test]
fn a_pattern_takes_no_more_than_its_length_for_each_byte() {
    let server = start(&[]);
    let mut client = server.connect("resp");
    let pattern = format!("*{}b", "a".repeat(500));
    let mut subscriber = server.connect("resp");
    subscriber.send(format!("PSUBSCRIBE {pattern}\r\n"));
    subscriber.expect(format!("*3\r\n$10\r\npsubscribe\r\n$502\r\n{pattern}\r\n:1\r\n"));
    for _ in 0..1000 {
        client.ask(&format!("PUBLISH {} x", "a".repeat(512)), ":0\r\n");
    }
    client.ask(&format!("PUBLISH {}b x", "a".repeat(511)), ":1\r\n");
}

/// A list that is longer than the output that a connection may leave waiting is no reason to end who asks for it.
#[test]
fn a_long_list_is_no_slow_reader() {
    const CHANNELS: usize = 6000;
    let server = start(&["--set", "defaults.output_high=64KiB", "--set", "defaults.output_max=2MiB"]);
    let mut subscribers = Vec::new();
    for from in (0..CHANNELS).step_by(1000) {
        let mut subscriber = server.connect("resp");
        let names: Vec<_> = (from..from + 1000).map(|number| format!("{number:0>500}")).collect();
        for names in names.chunks(100) {
            subscriber.send(format!("SUBSCRIBE {}\r\n", names.join(" ")));
        }
        subscribers.push(subscriber);
    }
    until("all channels", || server.metrics()["linger_channels"] >= 6000.0);
    let mut asker = server.connect("resp");
    asker.send("PUBSUB CHANNELS\r\nPING\r\n");
    // It is asked to wait before it reads a byte of 3 MB.
    crate::common::pass(std::time::Duration::from_millis(200));
    let mut reader = BufReader::new(&mut asker.stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, format!("*{CHANNELS}\r\n"));
    let mut names = vec![0; CHANNELS * ("$500\r\n".len() + 500 + 2)];
    reader.read_exact(&mut names).unwrap();
    line.clear();
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "+PONG\r\n");
    assert_eq!(server.ended("slow.bytes"), 0);
}

/// Each of them is within its own bound, and all together would take ten times what the process may.
#[test]
fn waiting_bytes_of_all_connections_have_one_bound() {
    const BOUND: f64 = 32.0 * 1024.0 * 1024.0;
    let server = start(&["--set", "server.memory_max=32MiB", "--set", "defaults.send_buffer=16KiB"]);
    let mut readers: Vec<Client> = (0..320).map(|_| server.connect("resp")).collect();
    for reader in &mut readers {
        reader.ask("SUBSCRIBE feed", "*3\r\n$9\r\nsubscribe\r\n$4\r\nfeed\r\n:1\r\n");
    }
    assert_eq!(server.metrics()["linger_buffered_bytes_max"].to_string(), BOUND.to_string());
    let mut publisher = server.connect("resp");
    let command = format!("PUBLISH feed {}\r\n", "x".repeat(16 * 1024));
    let mut most = 0.0_f64;
    until("readers that are ended", || {
        publisher.send(&command);
        let mut answer = String::new();
        BufReader::new(&mut publisher.stream).read_line(&mut answer).unwrap();
        assert!(answer.starts_with(':') || answer.starts_with("-OOM "), "{answer}");
        most = most.max(server.metrics()["linger_buffered_bytes"]);
        server.ended("slow.bytes") > 100
    });
    assert!(most <= BOUND, "{most}");
    assert!(!server.events("memory_reclaimed").is_empty());
    publisher.ask("PING", "+PONG\r\n");
}

/// What is published while its receivers are many goes to all of them, once, in order.
#[test]
fn a_publish_that_takes_many_turns_reaches_everybody_once() {
    const READERS: usize = 1500;
    const MESSAGES: usize = 100;
    let server = start(&[]);
    let mut readers: Vec<Client> = (0..READERS).map(|_| server.connect("resp")).collect();
    for reader in &mut readers {
        reader.ask("SUBSCRIBE feed", "*3\r\n$9\r\nsubscribe\r\n$4\r\nfeed\r\n:1\r\n");
    }
    let mut publisher = server.connect("resp");
    for number in 0..MESSAGES {
        publisher.send(format!("PUBLISH feed {number:03}\r\n"));
    }
    // Its ending is no reason to lose what it has published.
    publisher.half_close();
    let expected: String = (0..MESSAGES)
        .map(|number| format!("*3\r\n$7\r\nmessage\r\n$4\r\nfeed\r\n$3\r\n{number:03}\r\n"))
        .collect();
    for reader in &mut readers {
        reader.expect(&expected);
    }
    publisher.expect(format!(":{READERS}\r\n").repeat(MESSAGES));
}

/// Those of one client to one channel that follow each other directly go together: nobody can tell.
#[test]
fn messages_that_go_together_are_told_and_answered_in_order() {
    let server = start(&[]);
    let mut reader = server.connect("resp");
    reader.ask("SUBSCRIBE a", "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n");
    let mut all = server.connect("resp");
    all.ask("PSUBSCRIBE *", "*3\r\n$10\r\npsubscribe\r\n$1\r\n*\r\n:1\r\n");
    let mut publisher = server.connect("resp");
    let long = "x".repeat(600);
    publisher.send(format!(
        "PUBLISH a 1\r\nPUBLISH a 2\r\npublish a 3\r\nPUBLISH {long} 4\r\nPUBLISH b 5\r\nPUBLISH a 6\r\nPING\r\n\
         PUBLISH a\r\nPUBLISH a 7\r\nPUBLISH $presence:a 8\r\nPUBLISH a 9\r\nQUIT\r\nPUBLISH a 10\r\n"
    ));
    publisher.expect(format!(
        ":2\r\n:2\r\n:2\r\n{TOO_LONG}:1\r\n:2\r\n+PONG\r\n\
         -ERR wrong number of arguments for 'publish' command\r\n:2\r\n\
         -ERR channels $presence:* are the server's; clients may only subscribe\r\n:2\r\n+OK\r\n"
    ));
    assert_eq!(publisher.read_to_end().unwrap(), b"");
    for payload in [1, 2, 3, 6, 7, 9] {
        reader.expect(format!("*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\n{payload}\r\n"));
    }
    for (channel, payload) in [("a", 1), ("a", 2), ("a", 3), ("b", 5), ("a", 6), ("a", 7), ("a", 9)] {
        all.expect(format!("*4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$1\r\n{channel}\r\n$1\r\n{payload}\r\n"));
    }
}

/// The memory of a list becomes output as it is: what stands before and behind it is in its place all the same.
#[test]
fn replies_around_a_long_list_are_in_their_place() {
    let server = start(&[]);
    let mut clients: Vec<Client> = (0..200).map(|_| server.connect("resp")).collect();
    for client in &mut clients {
        client.ask("PING", "+PONG\r\n");
    }
    let mut asker = server.connect("resp");
    asker.send("PING\r\nCLIENT LIST\r\nPING\r\n");
    let mut reader = BufReader::new(&mut asker.stream);
    let mut next = || {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        line
    };
    assert_eq!(next(), "+PONG\r\n");
    let length: usize = next().trim().trim_start_matches('$').parse().unwrap();
    assert!(length > 16 * 1024, "it is long: {length}");
    let mut rows = vec![0; length];
    reader.read_exact(&mut rows).unwrap();
    assert_eq!(str::from_utf8(&rows).unwrap().lines().count(), 201);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "\r\n+PONG\r\n");
}
