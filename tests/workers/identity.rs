//! Who holds an identity, over all workers, and what reaches it there.

use crate::common::{Client, pass, until};
use crate::crowd::{RESP, all_serve, one_of_each, pids, signal, start, worker_of};
use serde_json::Value;
use std::io::Read;
use std::time::{Duration, Instant};

#[test]
fn an_identity_moves_from_worker_to_worker_and_is_never_held_twice() {
    let server = start(2, RESP, &[]);
    let mut moves = 0;
    let mut holder: Option<(u64, Client)> = None;
    let mut replaced = 0;
    while moves < 4 {
        let mut newer = server.connect("resp");
        newer.ask("IDENT dev BEAT 60", "+OK\r\n");
        let its = worker_of(&server, &newer);
        if let Some((before, mut older)) = holder.take() {
            moves += usize::from(before != its);
            replaced += 1;
            older.expect("-GOODBYE peer.replaced\r\n");
            drop(older);
        }
        newer.ask("PING", "+PONG\r\n");
        until("one to hold it", || {
            let (_, body) = server.admin("GET", "/connections?identity=dev");
            let answer: Value = serde_json::from_str(&body).unwrap();
            answer["matched"] == 1 && answer["connections"][0]["worker"] == its
        });
        holder = Some((its, newer));
    }
    until("each to be counted", || server.ended("peer.replaced") == replaced);
    assert_eq!(server.metrics()["linger_identities_moved_total"], 4.0);
    let elsewhere =
        server.events("identity_replaced").iter().filter(|event| !event["newer_worker"].is_null()).count();
    assert_eq!(elsewhere, 4);
    // A worker that dies gives up what it held: the next one replaces nobody.
    let (worker, mut last) = holder.unwrap();
    signal(pids(&server)[&worker], "KILL");
    let _ = last.read_to_end();
    all_serve(&server, 2);
    let mut next = server.connect("resp");
    next.ask("IDENT dev", "+OK\r\n");
    next.ask("PING", "+PONG\r\n");
    assert_eq!(server.metrics()["linger_identities"], 1.0);
    assert_eq!(server.metrics()["linger_identities_moved_total"], 4.0);
}

#[test]
fn claims_that_race_leave_one_holder() {
    let server = start(3, RESP, &[]);
    let address = server.address("resp");
    let claimers = (0..6).map(|_| {
        std::thread::spawn(move || {
            let mut won = None;
            for _ in 0..20 {
                let mut client = Client::connect(address);
                client.ask("IDENT dev", "+OK\r\n");
                won = Some(client);
            }
            won
        })
    });
    let last: Vec<_> =
        claimers.collect::<Vec<_>>().into_iter().filter_map(|one| one.join().unwrap()).collect();
    until("the others to be replaced", || server.connections("resp").len() == 1);
    let rows = server.connections("resp");
    assert_eq!(rows[0]["id"], "dev", "{rows:?}");
    // The one that is left is well.
    let peer = rows[0]["peer"].as_str().unwrap().to_owned();
    let mut survivors: Vec<_> =
        last.into_iter().filter(|client| client.stream.local_addr().unwrap().to_string() == peer).collect();
    assert_eq!(survivors.len(), 1, "it is among those that nobody closed");
    survivors[0].ask("PING", "+PONG\r\n");
}

#[test]
fn a_heartbeat_channel_reaches_an_identity_of_another_worker() {
    let server = start(2, &format!("{RESP}?heartbeat.grace=1h"), &[]);
    let [mut holder, mut channel] = one_of_each(&server);
    holder.ask("IDENT dev BEAT 1", "+OK\r\n");
    channel.ask("BEATFOR dev", "+OK\r\n");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(2500) {
        channel.send("BEAT\r\n");
        pass(Duration::from_millis(100));
    }
    assert_eq!(server.metrics()["linger_suspected_total"], 0.0, "it was vouched for all the time");
    // Without its beats the holder is suspect, and with them it is not.
    until("suspicion", || server.metrics()["linger_suspected_total"] == 1.0);
    until("its revival", || {
        channel.send("BEAT\r\n");
        server.metrics()["linger_revived_total"] == 1.0
    });
    // A channel that ends makes its holder suspect at once; long before its heartbeat would.
    holder.ask("IDENT dev BEAT 3600", "+OK\r\n");
    channel.ask("PING", "+PONG\r\n");
    drop(channel);
    until("suspicion of the holder", || server.metrics()["linger_suspected_total"] == 2.0);
}

#[test]
fn what_cannot_cross_workers_is_refused_rather_than_lost() {
    let server = start(2, RESP, &[]);
    let [mut holder, mut other] = one_of_each(&server);
    holder.ask("IDENT dev", "+OK\r\n");
    let reads = |client: &mut Client| {
        let mut bytes = [0; 512];
        let length = client.stream.read(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    };
    for command in ["SEND dev hello", "STATE dev"] {
        other.send(format!("{command}\r\n"));
        let said = reads(&mut other);
        assert!(said.starts_with("-ERR no client of this worker, 2 of 2, holds that identity"), "{said}");
    }
    holder.ask("STATE dev", "+online\r\n");
    holder.ask("SEND dev hello", ":1\r\n");
}
