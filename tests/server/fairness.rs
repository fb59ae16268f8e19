//! One client at full speed, or one that does not read, is no reason for the others to wait.
//!
//! The measure is the same server under the same thousand clients without the bully, so that a slow or shared
//! machine changes nothing; the bound is many times what the budgets of a turn allow, and a small part of what
//! a turn without them takes.

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

use crate::common::{Client, Server};
use std::io::{ErrorKind, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const OTHERS: usize = 1000;

/// Requests of each of the others in turn, one at a time: what a person at a terminal waits. The 99th
/// percentile and the longest.
fn latencies(others: &mut [Client], request: &[u8], reply: &[u8]) -> (Duration, Duration) {
    let mut waits: Vec<_> = others
        .iter_mut()
        .map(|client| {
            let begun = Instant::now();
            client.send(request);
            client.expect(reply);
            begun.elapsed()
        })
        .collect();
    waits.sort_unstable();
    (waits[waits.len() * 99 / 100], waits[waits.len() - 1])
}

/// Runs `bully` against `server` while the thousand ask; the 99th percentile must stay under `bound`.
fn assert_fair(
    server: &Server,
    name: &str,
    bound: Duration,
    bully: impl Fn(&AtomicBool, &dyn Fn()) + Send + Sync,
) {
    let mut others: Vec<_> = (0..OTHERS).map(|_| server.connect("resp")).collect();
    let alone = latencies(&mut others, b"PING\r\n", b"+PONG\r\n");
    let (stop, begun) = (AtomicBool::new(false), AtomicBool::new(false));
    let bullied = std::thread::scope(|scope| {
        scope.spawn(|| bully(&stop, &|| begun.store(true, Ordering::Relaxed)));
        crate::common::until("the bully to be at full speed", || begun.load(Ordering::Relaxed));
        let bullied = latencies(&mut others, b"PING\r\n", b"+PONG\r\n");
        stop.store(true, Ordering::Relaxed);
        bullied
    });
    println!("{name}: p99, max alone {alone:?}; with the bully {bullied:?}");
    assert!(
        bullied.0 <= bound,
        "{name}: p99 {:?} with the bully, {:?} alone; bound {bound:?}",
        bullied.0,
        alone.0
    );
    assert_eq!(server.stray_lines(), [""; 0]);
}

/// Sends and reads as fast as it goes until told to stop.
fn full_speed(mut client: Client, bytes: &[u8], stop: &AtomicBool, begun: &dyn Fn()) {
    client.stream.set_nonblocking(true).unwrap();
    let (mut sent, mut rounds) = (0, 0u32);
    let mut buffer = vec![0; 1 << 20];
    while !stop.load(Ordering::Relaxed) {
        match client.stream.write(&bytes[sent..]) {
            Ok(count) => sent = (sent + count) % bytes.len(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
        match client.stream.read(&mut buffer) {
            Ok(0) => panic!("the bully was thrown out"),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
        rounds += 1;
        if rounds == 100 {
            begun();
        }
    }
}

fn start(more: &[&str]) -> Server {
    let mut arguments = vec![
        "--listen",
        "resp://127.0.0.1:0?output_max=64MiB",
        "--listen",
        "echo://127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
    ];
    arguments.extend_from_slice(more);
    Server::start(&arguments)
}

const BOUND: Duration = Duration::from_millis(50);

#[test]
fn one_at_full_speed_does_not_hold_up_the_others() {
    let server = start(&[]);
    let bytes = vec![b'x'; 4 << 20];
    assert_fair(&server, "echo", BOUND, |stop, begun| {
        full_speed(server.connect("echo"), &bytes, stop, begun);
    });
    let pings = "PING\r\n".repeat(700_000).into_bytes();
    assert_fair(&server, "ping", BOUND, |stop, begun| {
        full_speed(server.connect("resp"), &pings, stop, begun);
    });
    // Commands that look at everybody and answer little: a byte of input is worth far more work than a ping.
    for command in ["CLIENT LIST ID 4294967295\r\n", "WHO nobody*\r\n", "CLIENT KILL ID 4294967295\r\n"] {
        let bytes = command.repeat(20_000).into_bytes();
        assert_fair(&server, command.trim_end(), BOUND, |stop, begun| {
            full_speed(server.connect("resp"), &bytes, stop, begun);
        });
    }
}

#[test]
fn who_asks_at_the_admin_interface_does_not_hold_up_the_clients() {
    let server = start(&[]);
    for request in
        ["HEAD /connections", "GET /connections?limit=10000", "GET /metrics", "GET /connections?peer=1.2.3.4"]
    {
        let bytes = format!("{request} HTTP/1.1\r\nHost: localhost\r\n\r\n").repeat(1_000).into_bytes();
        assert_fair(&server, request, BOUND, |stop, begun| {
            full_speed(server.connect("admin"), &bytes, stop, begun);
        });
    }
}

#[test]
fn one_that_does_not_read_does_not_hold_up_the_others() {
    let server = start(&[]);
    let bytes = "PING\r\n".repeat(700_000).into_bytes();
    assert_fair(&server, "no reader", BOUND, |stop, begun| {
        let mut client = server.connect("resp");
        client.stream.set_nonblocking(true).unwrap();
        let mut begun_at = 0;
        while !stop.load(Ordering::Relaxed) {
            match client.stream.write(&bytes[begun_at..]) {
                Ok(count) => begun_at = (begun_at + count) % bytes.len(),
                Err(_) => {
                    begun();
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
    });
}
