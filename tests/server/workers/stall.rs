//! A worker whose loop does not turn: what becomes of its newcomers, of those who wait for it, and of itself.

use crate::common::{pass, until, wait_for};
use crate::workers::crowd::{
    RESP, all_serve, asking, one_of_each, pids, served, signal, start, stop, worker_of,
};
use std::time::Duration;

#[test]
fn newcomers_go_to_the_others_while_a_worker_is_stalled_and_nobody_loses_a_place_in_its_queue() {
    // However long all of this takes on a busy machine: it is not ended for it.
    let server = start(2, RESP, &["server.stall_timeout=off"]);
    let mut clients = one_of_each(&server);
    let stuck = pids(&server)[&2];
    stop(stuck);
    // The kernel does not know, and goes on giving it its share.
    let mut early = asking(&server, 20);
    let said = wait_for("it to be said", || server.events("worker_stalled").pop());
    assert_eq!((&said["worker"], &said["level"]), (&2.into(), &"WARN".into()));
    let mut newcomers: Vec<_> = (0..20).map(|_| served(&server)).collect();
    // A supervisor that was held up itself condemns nobody, and looks again.
    until("it to be shown", || server.metrics()["linger_worker_stalled{worker=\"2\"}"] == 1.0);
    let metrics = server.metrics();
    assert_eq!(metrics["linger_worker_stalled{worker=\"1\"}"], 0.0);
    assert!(metrics["linger_worker_stalls_total{worker=\"2\"}"] >= 1.0);
    signal(stuck, "CONT");
    until("it to be heard from", || !server.events("worker_resumed").is_empty());
    for client in &mut early {
        client.expect("+PONG\r\n");
    }
    all_serve(&server, 2);
    assert_eq!(server.metrics()["linger_worker_stalled{worker=\"2\"}"], 0.0);
    until("a newcomer of it", || worker_of(&server, &served(&server)) == 2);
    for client in clients.iter_mut().chain(&mut newcomers) {
        client.ask("PING", "+PONG\r\n");
    }
    assert!(server.events("worker_ended").is_empty());
}

#[test]
fn a_worker_that_is_stalled_for_too_long_is_ended_and_its_successor_serves_those_who_waited() {
    let server = start(2, RESP, &["server.stall_timeout=3s"]);
    let stuck = pids(&server)[&1];
    stop(stuck);
    let mut waiting = asking(&server, 20);
    until("the end of it", || server.events("worker_ended").len() == 1);
    assert_eq!(server.events("worker_given_up")[0]["worker"], 1);
    for client in &mut waiting {
        client.expect("+PONG\r\n");
    }
    all_serve(&server, 2);
    until("a newcomer of its successor", || worker_of(&server, &served(&server)) == 1);
}

#[test]
fn a_supervisor_that_stalled_itself_condemns_nobody() {
    let server = start(2, RESP, &["server.stall_timeout=3s"]);
    let mut clients = one_of_each(&server);
    let pid = u64::from(server.pid());
    stop(pid);
    pass(Duration::from_secs(5));
    signal(pid, "CONT");
    all_serve(&server, 2);
    for client in &mut clients {
        client.ask("PING", "+PONG\r\n");
    }
    assert!(server.events("worker_given_up").is_empty() && server.events("worker_ended").is_empty());
}

#[test]
fn a_worker_that_was_behind_is_told_the_last_word_on_every_identity() {
    let server = start(2, RESP, &[]);
    let [mut busy, mut listener] = one_of_each(&server);
    listener.ask("PSUBSCRIBE $presence:*", "*3\r\n$10\r\npsubscribe\r\n$11\r\n$presence:*\r\n:1\r\n");
    let stuck = pids(&server)[&2];
    stop(stuck);
    // More than is kept for a worker that does not take it, and what matters last.
    let long = "x".repeat(110);
    for round in 0..200 {
        let idents: String = (0..100).map(|number| format!("IDENT {long}{round}-{number}\r\n")).collect();
        busy.send(idents);
        busy.expect("+OK\r\n".repeat(100));
    }
    busy.ask("IDENT dev", "+OK\r\n");
    until("something to be dropped", || server.metrics()["linger_relays_dropped_total"] > 0.0);
    signal(stuck, "CONT");
    let heard = std::thread::spawn(move || {
        let wanted = "$13\r\n$presence:dev\r\n$6\r\nonline\r\n";
        let (mut bytes, mut tail) = (vec![0; 65_536], Vec::new());
        while !tail.windows(wanted.len()).any(|window| window == wanted.as_bytes()) {
            tail.drain(..tail.len().saturating_sub(wanted.len()));
            let length = std::io::Read::read(&mut listener.stream, &mut bytes).unwrap();
            assert!(length > 0, "the server has closed");
            tail.extend_from_slice(&bytes[..length]);
        }
    });
    until("the last word", || heard.is_finished());
    heard.join().unwrap();
}
